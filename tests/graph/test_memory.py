"""Where blocks of memory are put."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from weft.graph.memory import _Arena

BLOCKS = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 30), st.integers(0, 12)), max_size=40)


def naive(blocks: list[tuple[int, int, int]]) -> list[int]:
    """The lowest offset at which nothing of a block's time lies, one after another."""
    placed: list[tuple[int, int, int, int]] = []
    for size, start, stop in blocks:
        offset = 0
        for low, high, _, _ in sorted(p for p in placed if p[2] <= stop and start <= p[3]):
            if offset + size <= low:
                break
            offset = max(offset, high)
        placed.append((offset, offset + size, start, stop))
    return [low for low, _, _, _ in placed]


@given(BLOCKS)
def test_a_block_gets_the_lowest_place_that_is_free_all_its_time(drawn: list[tuple[int, int, int]]) -> None:
    blocks = [(64 * units, start, start + length) for units, start, length in drawn]
    arena = _Arena(len(blocks))
    offsets = [arena.add(*block) for block in blocks]
    assert offsets == naive(blocks)
    assert arena.nbytes == max((o + size for o, (size, _, _) in zip(offsets, blocks, strict=True)), default=0)
