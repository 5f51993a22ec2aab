"""Joint updates: one native call does what the calls do one after the other, or says that it cannot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weft as wf
from weft.ops.op import Array, composite
from weft.tensor.in_place import Update
from weft.tensor.joint import Call, Joint, update_each


@composite
def moved(x: Array, y: Array, g: Array, rate: float) -> tuple[Array, Array]:
    return x - rate * y, y + g


@composite
def counted(x: Array) -> tuple[Array, Array]:
    return x + 1, x * 2


@composite
def scaled(x: Array, by: Array, limit: float) -> Array:
    return x * by + limit


move, count, scale = Update(moved), Update(counted), Update(scaled)
SHAPES = st.sampled_from([(), (3,), (2, 5), (0, 2), (40, 70)])


def numbers(shape: Any, seed: int) -> wf.Tensor:
    return wf.tensor(np.random.default_rng(seed).normal(size=shape).astype(np.float32)).clone()


def made(shapes: list[Any], rates: list[float]) -> tuple[list[Call], list[wf.Tensor], list[wf.Tensor]]:
    """Calls of one update for each shape: its calls, kept and moving tensors."""
    calls: list[Call] = []
    kept, moving = [], []
    for k, (shape, rate) in enumerate(zip(shapes, rates, strict=True)):
        x, y, g = (numbers(shape, 3 * k + i) for i in range(3))
        calls.append((move, (x, y), (x, y, g, rate)))
        kept += [x, y]
        moving.append(g)
    return calls, kept, moving


@given(st.lists(st.tuples(SHAPES, st.sampled_from([0.5, 0.25])), min_size=1, max_size=12))
@settings(max_examples=40)
def test_a_joint_is_its_calls_in_order(cases: list[tuple[Any, float]]) -> None:
    shapes, rates = [c[0] for c in cases], [c[1] for c in cases]
    calls, kept, _ = made(shapes, rates)
    for update, targets, args in calls:
        update(targets, *args)
    again, others, gradients = made(shapes, rates)
    joint = Joint.of(again, others, gradients)
    assert joint is not None and joint.run(others, gradients)
    assert [t.numpy().tobytes() for t in kept] == [t.numpy().tobytes() for t in others]


def test_other_moving_tensors_of_the_same_specs() -> None:
    calls, kept, moving = made([(3,), (2,)], [1.0, 1.0])
    joint = Joint.of(calls, kept, moving)
    assert joint is not None
    before = kept[1].tolist()
    assert joint.run(kept, [wf.ones(3), wf.ones(2)])
    assert kept[1].tolist() == pytest.approx([v + 1.0 for v in before])


def other_memory(kept: list[Any], moving: list[Any]) -> None:
    kept[0].data = wf.ones(3)


def other_strides(kept: list[Any], moving: list[Any]) -> None:
    moving[0] = wf.ones(6)[::2]


def other_dtype(kept: list[Any], moving: list[Any]) -> None:
    moving[0] = wf.ones(3, dtype="float64")


def the_target_itself(kept: list[Any], moving: list[Any]) -> None:
    moving[0] = kept[0].detach()


def memory_that_reaches_into_the_target(kept: list[Any], moving: list[Any]) -> None:
    moving[0] = wf.from_numpy(kept[0].numpy())


def fewer(kept: list[Any], moving: list[Any]) -> None:
    del kept[2:], moving[1:]


def other_settings(kept: list[Any], moving: list[Any]) -> None:
    wf.set_num_threads(wf.get_num_threads())


@pytest.mark.parametrize(
    "change",
    [
        other_memory,
        other_strides,
        other_dtype,
        the_target_itself,
        memory_that_reaches_into_the_target,
        fewer,
        other_settings,
    ],
)
def test_a_joint_does_nothing_where_something_is_not_as_it_was(change: Any) -> None:
    calls, kept, moving = made([(3,), (2,)], [1.0, 1.0])
    joint = Joint.of(calls, kept, moving)
    assert joint is not None
    change(kept, moving)
    before = [t.tolist() for t in kept]
    assert not joint.run(kept, moving) and [t.tolist() for t in kept] == before


def test_windows_on_one_block_are_joined() -> None:
    block, g = wf.zeros(6), wf.ones(3)
    x, y = block[:3], block[3:]
    joint = Joint.of([(move, (x, y), (x, y, g, 1.0))], [x, y], [g])
    assert joint is not None and joint.run([x, y], [g])
    assert block.tolist() == [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    assert not joint.run([x, y], [block[2:5]])


@pytest.mark.parametrize("case", ["shared", "read-only", "twice"])
def test_what_cannot_be_joined(case: str) -> None:
    block = wf.zeros(6)
    x, y, g = block[:3], block[3:], wf.ones(3)
    if case == "shared":
        y = block[2:5]
    elif case == "read-only":
        array = np.zeros(3, np.float32)
        array.flags.writeable = False
        y = wf.from_numpy(array)
    else:
        g = y
    assert Joint.of([(move, (x, y), (x, y, g, 1.0))], [x, y], [g]) is None


def test_writes_are_counted() -> None:
    calls, kept, moving = made([(3,)], [1.0])
    joint = Joint.of(calls, kept, moving)
    assert joint is not None
    w = wf.ones(3).requires_grad_()
    loss = (w * kept[0]).sum()
    joint.run(kept, moving)
    with pytest.raises(wf.AutogradError, match="changed in place since"):
        loss.backward()


# --- one update of many targets -------------------------------------------------------------------------------------


@given(st.lists(SHAPES, max_size=8), st.sampled_from(["blocks", "windows", "one block", "twice"]))
@settings(max_examples=40)
def test_an_update_of_each_is_the_updates_in_order(shapes: list[Any], kind: str) -> None:
    def targets() -> list[wf.Tensor]:
        if kind == "windows":
            return [wf.from_numpy(np.full(s, 1.5, np.float32)) for s in shapes]
        if kind == "one block":
            block = wf.ones((5, 4))
            return [block[k : k + 2] for k in range(min(4, len(shapes)))]
        made = [numbers(s, k) for k, s in enumerate(shapes)]
        return made * 2 if kind == "twice" else made

    each, alone, by = targets(), targets(), wf.full((), 2.0)
    for _ in range(4):
        update_each(scale, each, by, 0.5)
        for t in alone:
            scale((t,), t, by, 0.5)
    assert [t.numpy().tobytes() for t in each] == [t.numpy().tobytes() for t in alone]


def test_an_update_of_each_counts_its_writes() -> None:
    targets, by = [wf.ones(7), wf.ones(7)], wf.full((), 2.0)
    for _ in range(4):
        w = wf.ones(7).requires_grad_()
        loss = (w * targets[1]).sum()
        update_each(scale, targets, by, 0.25)
        with pytest.raises(wf.AutogradError, match="changed in place since"):
            loss.backward()


# --- single updates -------------------------------------------------------------------------------------------------


def test_further_results_are_returned() -> None:
    x = wf.tensor([1.0, 2.0])
    (rest,) = count((x,), x)
    assert x.tolist() == [2.0, 3.0] and rest.tolist() == [2.0, 4.0]


def test_targets_that_share_memory_are_written_in_order() -> None:
    x, g = wf.zeros(3), wf.ones(3)
    y = x.detach()
    move((x, y), x, y, g, 1.0)
    assert x.tolist() == [1.0, 1.0, 1.0]


def test_an_operand_that_is_part_of_a_target_is_read_first() -> None:
    block = wf.tensor([1.0, 2.0, 3.0, 4.0]).clone()
    x, y = block[:3], wf.zeros(3)
    move((x, y), x, y, block[1:], 1.0)
    assert y.tolist() == [2.0, 3.0, 4.0]


def test_a_read_only_target_is_refused() -> None:
    array = np.zeros(3, np.float32)
    array.flags.writeable = False
    x, y = wf.from_numpy(array), wf.ones(3)
    with pytest.raises(wf.WeftError, match="lent read-only"):
        move((x, y), x, y, wf.ones(3), 1.0)


def test_an_expanded_target_is_refused() -> None:
    x, y = wf.zeros(1).expand(3), wf.ones(3)
    with pytest.raises(wf.ShapeError, match="lie in one place"):
        move((x, y), x, y, wf.ones(3), 1.0)


def test_inside_a_captured_function() -> None:
    x, y, g = numbers((3,), 0), numbers((3,), 1), numbers((3,), 2)
    a, b = x.clone(), y.clone()

    @wf.compile
    def step(g: Any) -> Any:
        move((x, y), x, y, g, 0.5)
        return x[0] * 1.0

    for _ in range(3):
        move((a, b), a, b, g, 0.5)
        assert step(g).item() == a[0].item()
    assert x.tolist() == a.tolist() and y.tolist() == b.tolist()


def test_a_result_of_another_type_than_its_target_is_refused() -> None:
    """Before it is written, whatever it would have written over."""
    x, g = wf.ones(3), wf.ones((2, 3))
    with pytest.raises(wf.DTypeError, match=r"scaled: .*float64\[3\] cannot replace .*float32\[3\]"):
        Update(scaled)((x,), x, wf.ones(3, dtype=wf.float64), 1.0)
    with pytest.raises(wf.DTypeError, match=r"scaled: .*float32\[2, 3\] cannot replace .*float32\[3\]"):
        Update(scaled)((x,), x, g, 1.0)
    assert x.tolist() == [1.0, 1.0, 1.0]
