"""The least cut, against all cuts of small networks."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from weft.graph.flow import SINK, SOURCE, Network

EDGES = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 9)), max_size=24)


@given(EDGES)
def test_no_cut_is_less_and_none_as_little_is_nearer_to_the_sink(edges: list[tuple[int, int, int]]) -> None:
    edges = [(a, b, c) for a, b, c in edges if a != b]
    network = Network()
    for _ in range(5):
        network.vertex()
    for edge in edges:
        network.edge(*edge)
    found = network.sink_side()
    assert SINK in found and SOURCE not in found

    def through(side: set[int]) -> int:
        return sum(c for a, b, c in edges if a not in side and b in side)

    sides = [
        {SINK, *(v for v, there in zip(range(2, 7), chosen, strict=True) if there)}
        for chosen in product((0, 1), repeat=5)
    ]
    least = min(map(through, sides))
    assert through(found) == least
    assert all(found <= side for side in sides if through(side) == least)
