"""Where blocks of memory are put, and that no value lies where another one is looked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
from few_examples import few
from hypothesis import given
from hypothesis import strategies as st

import weft as wf
from weft.compiler.kernels import Nest
from weft.core import dtypes as dt
from weft.core.symbolic import Sizes, SymDim, typical
from weft.graph import memory as memory_module
from weft.graph.ir import Value
from weft.graph.lower.launch import Launch
from weft.graph.memory import ALIGNMENT, _Arena, _in_blocks, nbytes_of, plan_memory
from weft.graph.protocol import TensorType

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


@given(BLOCKS, st.integers(2, 5000), st.integers(2, 5000))
def test_blocks_of_symbolic_sizes_are_right_for_all_sizes(
    drawn: list[tuple[int, int, int]], example: int, number: int
) -> None:
    n: Any = Sizes({"n": example})["n"]
    kinds = [64 * n, 4096, -(-4 * n // 64) * 64, 128 * n * n, 64 * n + 128, 64]
    values = [Value(TensorType(dt.bool_, ())) for _ in drawn]
    sizes = {v: kinds[kind - 1] for v, (kind, _, _) in zip(values, drawn, strict=True)}
    spans = [(v, (start, start + length)) for v, (_, start, length) in zip(values, drawn, strict=True)]
    spans.sort(key=lambda item: -typical(sizes[item[0]]))
    offsets, nbytes = _in_blocks(spans, sizes)

    def at(size: Any) -> int:
        found = size.substitute({"n": number}) if isinstance(size, SymDim) else size
        assert isinstance(found, int)
        return found

    for k, (one, (first, last)) in enumerate(spans):
        assert at(offsets[one]) % ALIGNMENT == 0 and at(offsets[one]) + at(sizes[one]) <= at(nbytes)
        for other, (start, stop) in spans[:k]:
            apart = at(offsets[one]) + at(sizes[one]) <= at(offsets[other])
            apart |= at(offsets[other]) + at(sizes[other]) <= at(offsets[one])
            assert apart or last < start or stop < first


@pytest.mark.parametrize("unit", [64, 1 << 61])
@given(drawn=BLOCKS)
def test_a_block_gets_the_lowest_place_that_is_free_all_its_time(unit: int, drawn: list[tuple[int, int, int]]) -> None:
    blocks = [(unit * units, start, start + length) for units, start, length in drawn]
    arena = _Arena(len(blocks), sum(size for size, *_ in blocks))
    offsets = [arena.add(*block) for block in blocks]
    assert offsets == naive(blocks)
    assert arena.nbytes == max((o + size for o, (size, _, _) in zip(offsets, blocks, strict=True)), default=0)


def test_intermediate_values_that_no_memory_holds_together_are_an_error() -> None:
    @wf.compile
    def f(x: wf.Tensor) -> wf.Tensor:
        by_rows = wf.sort(wf.broadcast_to(x, (1 << 38, 1 << 20, 2)), axis=0)
        by_columns = wf.sort(by_rows, axis=1)
        return wf.sum(wf.sort(wf.sort(by_columns, axis=2) * by_rows, axis=0) * by_columns)

    with pytest.raises(wf.OutOfMemoryError, match=r"more than 2\*\*63 bytes"):
        f(wf.ones(2))


# --- plans: what is read is what was written ------------------------------------------------------------------------

KERNEL = Nest((), 1, 0, 1, (), ())


def launch(reads: Sequence[Value], writes: Sequence[Value], in_place: Sequence[tuple[Value, Value]]) -> Launch:
    return Launch(KERNEL, (), (), 1, 1, tuple(reads), tuple(writes), tuple(in_place))


@st.composite
def programs(draw: st.DrawFn) -> tuple[list[Launch], list[Value], list[Value], dict[Value, Value]]:
    """Launches, inputs, outputs, and values that take the memory of an input."""

    def value() -> Value:
        return Value(TensorType(dt.float32, (draw(st.sampled_from([0, 1, 1, 17])),)))

    inputs = [value() for _ in range(draw(st.integers(1, 3)))]
    known, launches, updates = list(inputs), [], dict[Value, Value]()
    for _ in range(draw(st.integers(1, 12))):
        reads = draw(st.lists(st.sampled_from(known), max_size=3, unique=True))
        writes = [value() for _ in range(draw(st.integers(1, 2)))]
        if launches and draw(st.booleans()):  # several launches may write one value
            writes += [v for v in launches[-1].writes[:1] if v not in reads]
        pairs = [(new, old) for new in writes for old in reads if old not in inputs and draw(st.booleans())]
        launches.append(launch(reads, writes, pairs))
        known += writes
    made = [v for v in known if v not in inputs]
    outputs = draw(st.lists(st.sampled_from(known), max_size=3, unique=True))
    if draw(st.booleans()):  # the last launch writes an update, which nothing looks at afterwards
        old, new = draw(st.sampled_from(inputs)), Value(inputs[0].type)
        updates[new] = old
        reads = draw(st.lists(st.sampled_from(made), max_size=2, unique=True))
        launches.append(launch(reads, [new], [(new, v) for v in reads]))
    return launches, inputs, outputs, updates


@few(33, 300, programs(), st.integers(-1, 12))
def test_every_value_is_there_when_it_is_read(drawn: Any, last_check: int) -> None:
    launches, inputs, outputs, updates = drawn
    if updates:
        last_check = min(last_check, len(launches) - 2)
    launches = [replace(x, checks=at == last_check) for at, x in enumerate(launches)]
    with patch.object(memory_module, "LENT", 0):
        plan = plan_memory(launches, inputs, outputs, updates, inputs)
    for each in launches[: last_check + 1]:
        assert all(plan.place[v][0] >= len(inputs) for v in each.writes), "inputs are as they were if the run fails"
    memory: dict[tuple[int, int], Value] = {}  # (place, byte) -> whose it is

    def cells(value: Value) -> set[tuple[int, int]]:
        place, start = plan.place[value]
        return {(place, start + n) for n in range(nbytes_of(value))}

    def holds(value: Value) -> bool:
        return all(memory[cell] is value for cell in cells(value))

    for number, value in enumerate(inputs):
        assert plan.place[value] == (number, 0)
        memory |= dict.fromkeys(cells(value), value)
    for each in launches:
        assert all(map(holds, each.reads))
        for new in each.writes:
            over = {memory[cell] for cell in cells(new) if cell in memory}
            assert all((new, old) in each.in_place for old in over & set(each.reads))
            assert not over & (set(each.writes) - {new})
            memory |= dict.fromkeys(cells(new), new)
    assert all(map(holds, [v for v in outputs if v not in updates.values()]))
    assert all(plan.place[new] == plan.place[old] for new, old in updates.items())
    arena = len(inputs) + len(plan.outputs)
    assert all(start + nbytes_of(v) <= plan.arena_nbytes for v, (place, start) in plan.place.items() if place == arena)
    assert [plan.place[v] for v in plan.outputs] == [(len(inputs) + n, 0) for n in range(len(plan.outputs))]


@few(33, 300, programs())
def test_a_program_has_one_plan(drawn: Any) -> None:
    """Whatever addresses its values have: ties are broken by their order in the program."""
    launches, inputs, outputs, updates = drawn
    known = dict.fromkeys([*inputs, *(v for x in launches for v in (*x.reads, *x.writes))])
    others = {v: Value(v.type) for v in reversed(known)}

    def other(values: Sequence[Value]) -> list[Value]:
        return [others[v] for v in values]

    renamed = [
        launch(other(x.reads), other(x.writes), [(others[a], others[b]) for a, b in x.in_place]) for x in launches
    ]
    again = plan_memory(
        renamed, other(inputs), other(outputs), {others[new]: others[old] for new, old in updates.items()}
    )
    plan = plan_memory(launches, inputs, outputs, updates)
    assert {others[v]: place for v, place in plan.place.items()} == again.place


def test_what_a_later_part_of_a_value_reads_is_still_there() -> None:
    """A value that two launches write takes no memory that only the second lets go of."""
    x, old, new = (Value(TensorType(dt.float32, (16,))) for _ in range(3))
    launches = [launch([x], [old], []), launch([x], [new], []), launch([old], [new], [(new, old)])]
    plan = plan_memory([*launches, launch([new], [Value(x.type)], [])], [x], [], {})
    assert plan.place[old] != plan.place[new]


def test_memory_of_an_output_is_lent_until_the_output_is_there() -> None:
    """What comes first ends last, as what gradients need does: each lies where a later output will be."""
    given, *early = (Value(TensorType(dt.float32, (2000,))) for _ in range(5))
    late = [Value(TensorType(dt.float32, (2000,))) for _ in range(4)]
    launches = [launch([given], [v], []) for v in early]
    launches += [launch([v], [out], []) for v, out in zip(reversed(early), late, strict=True)]
    plan = plan_memory(launches, [given], late, {})
    assert plan.arena_nbytes == 8000, "one of four has no output that is written after its end"
    old = [Value(v.type) for v in late]
    handed = plan_memory(launches, [given, *old], [], dict(zip(late, old, strict=True)), old)
    assert handed.arena_nbytes == 8000
    launches[2] = replace(launches[2], checks=True)
    plan = plan_memory(launches, [given, *old], [], dict(zip(late, old, strict=True)), old)
    assert plan.arena_nbytes > 8000, "inputs may not be written as early as that"
