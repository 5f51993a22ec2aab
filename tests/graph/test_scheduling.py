"""Orders of launches: each reads what it read before, nothing passes what may fail, and no more is alive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
from few_examples import few
from hypothesis import strategies as st

import weft as wf
from weft import nn, optim
from weft.compiler.kernels import Nest
from weft.core import dtypes as dt
from weft.graph import kept, scheduling
from weft.graph.ir import Value, make_node
from weft.graph.lower.launch import Launch
from weft.graph.memory import nbytes_of
from weft.graph.protocol import COPY, TensorType
from weft.graph.scheduling import scheduled

EAGERLY = patch.multiple(scheduling, LEAST=0, WORTH=1)
OFF = patch.object(scheduling, "LEAST", 1 << 60)
KERNEL = Nest((), 1, 0, 1, (), ())
MILLION = 1 << 20


def launch(reads: Sequence[Value], writes: Sequence[Value], in_place: Sequence[tuple[Value, Value]] = ()) -> Launch:
    return Launch(KERNEL, (), (), 1, 1, tuple(reads), tuple(writes), tuple(in_place))


def made(count: int) -> Value:
    """A value that a node makes."""
    return make_node(COPY, (Value(TensorType(dt.float32, (count,))),), {}).output


@st.composite
def programs(draw: st.DrawFn) -> tuple[list[Launch], list[Value], dict[Value, Value]]:
    """Launches, outputs, and values that are written to the memory of an input."""
    inputs = [Value(TensorType(dt.float32, (17,))) for _ in range(draw(st.integers(1, 3)))]
    known, launches = list(inputs), list[Launch]()
    for _ in range(draw(st.integers(1, 14))):
        reads = draw(st.lists(st.sampled_from(known), max_size=3, unique=True))
        writes = [made(draw(st.sampled_from([0, 1, 17, 40]))) for _ in range(draw(st.integers(0, 2)))]
        if launches and draw(st.booleans()):  # several launches may write one value
            writes += [v for v in launches[-1].writes[:1] if v not in reads]
        pairs = [(new, old) for new in writes for old in reads if old not in inputs and draw(st.booleans())]
        launches.append(replace(launch(reads, writes, pairs), checks=draw(st.integers(0, 9)) == 0))
        known += writes
    direct = dict[Value, Value]()
    for old in draw(st.lists(st.sampled_from(inputs), max_size=2, unique=True)):
        new = made(17)
        at = draw(st.integers(0, len(launches)))
        reads = draw(st.lists(st.sampled_from([v for x in launches[:at] for v in x.writes] or inputs), max_size=2))
        if all(old not in x.reads for x in launches[at:]):
            launches.insert(at, launch([*dict.fromkeys(reads), old], [new], [(new, old)]))
            direct[new] = old
    outputs = draw(st.lists(st.sampled_from(known), max_size=3, unique=True))
    return launches, outputs, direct


def seen(launches: Sequence[Launch], direct: dict[Value, Value]) -> dict[Any, Any]:
    """For each launch, who had written what it reads by then; for each memory, all who have written it."""
    writers: dict[Value, tuple[Launch, ...]] = {}
    found: dict[Any, Any] = {}
    for each in launches:
        found[each] = [writers.get(direct.get(v, v)) for v in each.reads]
        for v in each.writes:
            memory = direct.get(v, v)
            writers[memory] = (*writers.get(memory, ()), each)
    return found | writers


def alive(launches: Sequence[Launch], outputs: Sequence[Value], direct: dict[Value, Value]) -> int:
    """Most bytes at once, where each value has memory of its own."""
    touched = [[*x.reads, *x.writes] for x in launches]
    values = {v for each in touched for v in each if v.node is not None and v not in outputs and v not in direct}
    spans = {v: [n for n, each in enumerate(touched) if v in each] for v in values}
    return max(
        (sum(nbytes_of(v) for v, at in spans.items() if at[0] <= n <= at[-1]) for n in range(len(launches))), default=0
    )


@few(33, 300, programs())
def test_each_reads_what_it_read_and_nothing_passes_what_may_fail(drawn: Any) -> None:
    launches, outputs, direct = drawn
    with EAGERLY:
        found = list(scheduled(launches, outputs, direct))
    assert sorted(map(id, found)) == sorted(map(id, launches))
    assert seen(found, direct) == seen(launches, direct)
    for at, each in enumerate(launches):
        if each.checks:
            assert set(found[: found.index(each)]) == set(launches[:at])


@few(33, 300, programs())
def test_no_more_is_alive(drawn: Any) -> None:
    launches, outputs, direct = drawn
    launches = [replace(x, in_place=()) for x in launches]
    with EAGERLY:
        found = scheduled(launches, outputs, direct)
    assert alive(found, outputs, direct) <= alive(launches, outputs, direct)


def test_what_ends_values_comes_early_and_what_begins_them_late() -> None:
    """A product of activations that only a gradient reads at the end; zeros that are filled at the beginning."""
    given, *chain, zeros = (Value(TensorType(dt.float32, (MILLION,))), *(made(MILLION) for _ in range(6)))
    steps = [launch([v], [new]) for v, new in zip([given, *chain], chain, strict=False)]
    fill, use = launch([], [zeros]), launch([chain[-1], zeros], [chain[-1]])
    gradient = launch([chain[0], chain[1]], [last := made(4)])
    order = scheduled([fill, *steps, use, gradient], [last], {})
    assert order == [steps[0], steps[1], gradient, *steps[2:], fill, use]


def test_an_update_waits_for_who_reads_the_old_value_and_for_nobody_else() -> None:
    weight = Value(TensorType(dt.float32, (MILLION,)))
    new, gradient, a, b, c, d = (made(MILLION) for _ in range(6))
    reader, update = launch([weight, gradient, a], [b]), launch([gradient, weight], [new], [(new, weight)])
    launches = [launch([], [gradient]), launch([], [a]), reader, launch([b], [c, d]), update]
    order = scheduled(launches, [new], {new: weight})
    assert order == [*launches[:3], update, launches[3]]


def test_little_is_left_alone() -> None:
    a, b, c = made(9), made(9), made(1)
    launches = [launch([], [a]), launch([], [b]), launch([b], [c]), launch([a, c], [])]
    assert scheduled(launches, [], {}) is launches


def test_a_training_step_has_its_bits_in_less_memory() -> None:
    """Two branches, of which the one that is differentiated first is kept for a weight's gradient."""
    found = {}
    for way, setting in (("off", OFF), ("on", EAGERLY)):
        with setting, patch.object(kept, "get", lambda name: None), patch.object(kept, "put"):
            wf.random.seed(0)
            layers = nn.ModuleList([nn.Linear(96, 96) for _ in range(6)])
            opt = optim.SGD(layers.parameters(), lr=0.1, momentum=0.9)

            @wf.compile
            def train(x: Any) -> Any:
                for one, other in zip(layers[::2], layers[1::2], strict=True):  # noqa: B023
                    x = wf.tanh(one(x)) + wf.tanh(other(x))
                loss = wf.mean(x * x)
                opt.zero_grad()  # noqa: B023
                loss.backward()
                opt.step()  # noqa: B023
                return loss

            x = wf.tensor(np.linspace(-1, 1, 64 * 96, dtype=np.float32).reshape(64, 96))
            bits = [train(x).numpy().tobytes() for _ in range(3)]
            ((entry,),) = train._entries.values()
            found[way] = bits, int(entry.exe.plan.arena_nbytes)
    assert found["on"][0] == found["off"][0]
    assert found["on"][1] <= found["off"][1]
