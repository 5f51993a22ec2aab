"""Memory: writes in place, views and results that share it are as in eager code, whatever is called with what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reported import Case, Reports, check, data

import weft as wf
from weft import nn
from weft.nn import functional as F

report = Reports()

NOT_YET: dict[str, str | int] = {}
KNOWN_WRONG: dict[str, str] = {}


@report("pytorch/pytorch#195422")
def a_write_through_what_dropout_returns(compiled: Any) -> Any:
    """Dropout out of training may return its argument; a write there is seen, or not, as in eager code."""

    @compiled
    def run(x: Any) -> Any:
        y = F.dropout(x, 0.5, False)
        y += y
        return y, x * 3.0

    found = []
    for n in range(2):
        x = data(2, 2, seed=n)
        found += [run(x), x]
    return found


@report("pytorch/pytorch#113793")
def views_that_were_written_before(compiled: Any) -> Any:
    """Views of one buffer, written in place outside, are arguments of a compiled update in place."""

    @compiled
    def update(w: Any, g: Any) -> None:
        w.mul_(0.5).add_(g, alpha=-0.1)

    buffer = data(12)
    parts = [buffer[:4].view(2, 2), buffer[4:10].view(2, 3), buffer[10:]]
    parts[1].mul_(3.0)
    for n in range(3):
        for part in parts:
            update(part, data(*part.shape, seed=n))
    return [buffer, *parts]


@report("pytorch/pytorch#139789")
def arguments_that_overlap_at_the_second_call(compiled: Any) -> Any:
    """First two tensors of their own, then two windows of one, one of which is written."""

    @compiled
    def run(x: Any, y: Any) -> Any:
        x.mul_(2.0)
        return x + y

    base = data(8)
    first = run(data(4), data(4, seed=1))
    second = run(base[:4], base[2:6])
    third = run(base[2:6], base[:4])
    return [first, second, third, base, run(data(4), data(4, seed=1))]


@report("pytorch/pytorch#153389")
def rows_of_arguments_that_are_rows(compiled: Any) -> Any:
    """Rows are written; then what is computed from rows of them goes to a third tensor."""

    @compiled
    def run(x1: Any, x2: Any, out: Any) -> Any:
        x1.add_(1.0)
        x2.add_(2.0)
        out.copy_(x1[0] + x2[0] + 2.0)
        return out

    found = []
    for n in range(2):
        both, out = data(2, 3, 4, seed=n), wf.zeros((3, 4))
        found += [run(both[0], both[1], out), both, out]
    return found


@report("pytorch/pytorch#198101")
def a_read_before_a_later_write(compiled: Any) -> Any:
    """What was computed from an argument before it was written keeps those numbers."""

    @compiled
    def run(x: Any) -> Any:
        y = x.T * 2
        y.sub_(-4)
        x[:, 2:5] = 2
        return y.T

    found = []
    for n in range(2):
        x = wf.asarray(np.arange(-12 + n, 12 + n).reshape(4, 6))
        found += [run(x), x]
    return found


@report("pytorch/pytorch#94773")
def an_alias_taken_by_a_full_slice(compiled: Any) -> Any:
    """``x[:]`` is written, then ``x.data`` is read; the caller writes the alias that it got."""

    @compiled
    def run(x: Any) -> Any:
        alias = x[:]
        alias[0] = 5.0
        return alias, x + 1.0

    x = data(2, 3)
    alias, y = run(x)
    alias[1] = 7.0
    return [x, alias, y]


@report("pytorch/pytorch#198095", "pytorch/pytorch#198097")
def a_view_of_a_view_that_is_an_argument(compiled: Any) -> Any:
    """The base is written, and a row of the other argument, a window of it, is returned."""

    @compiled
    def row(t: Any, a: Any) -> Any:
        t.add_(100.0)
        return a[0]

    @compiled
    def flat(t: Any, a: Any) -> Any:
        t.add_(100.0)
        return a.view(-1)

    found = []
    for run in (row, flat):
        base = data(4, 6)
        y = run(base, base[1:])
        y.mul_(2.0)
        found += [y, base]
    return found


@report("pytorch/xla#5430")
def a_view_that_is_returned_and_written(compiled: Any) -> Any:
    """``x.view(-1)`` comes back; writing it writes x."""

    @compiled
    def run(x: Any) -> Any:
        return x.view(-1)

    found = []
    for n in range(2):
        x = data(2, 3, seed=n)
        y = run(x)
        y.mul_(2.0)
        found += [x, y]
    return found


@report("pytorch/pytorch#191844")
def two_views_of_what_is_computed(compiled: Any) -> Any:
    """Two views of one new tensor: the caller writes the one and sees it in the other."""

    @compiled
    def run(x: Any) -> Any:
        base = x + 1.0
        return base.view(-1), base.view(3, 2), base

    found = []
    for n in range(2):
        a, b, base = run(data(2, 3, seed=n))
        a[0] = 9.0
        b[2] = 8.0
        found += [a, b, base]
    return found


@report("pytorch/pytorch#100348")
def a_loss_and_the_loss_detached(compiled: Any) -> Any:
    """Both are returned: two objects, one of which has a gradient."""

    @compiled
    def run(x: Any) -> Any:
        loss = x.mean()
        return {"loss": loss, "log": loss.detach()}

    found = []
    for n in range(2):
        x = data(4, 4, seed=n).requires_grad_(True)
        y = run(x)
        y["loss"].backward()
        found += [y["loss"] is y["log"], y, x.grad]
    return found


@report("pytorch/pytorch#93078")
def the_reciprocal_of_a_stack_of_one_tensor(compiled: Any) -> Any:
    """The stack and its reciprocal are both returned."""

    @compiled
    def run(x: Any) -> Any:
        v = wf.stack([x, x, x], axis=-1)
        return v, wf.reciprocal(v)

    return [run(data(3, 4, seed=n)) for n in range(2)]


@report("jax-ml/jax#9635", "jax-ml/jax#9675")
def one_tensor_as_two_arguments(compiled: Any) -> Any:
    """One of the arguments is written; both are that tensor at some calls."""

    @compiled
    def run(x: Any, y: Any) -> Any:
        x.add_(y)
        return x * y

    x, y = data(4), data(4, seed=1)
    return [run(x, y), run(x, x), x, run(y, x), y, run(y, y), y]


@report("pytorch/pytorch#126474")
def a_write_of_a_window_from_a_window(compiled: Any) -> Any:
    """``x[1:] = x[:-1] + y``: all reads come before the write."""

    @compiled
    def run(x: Any, y: Any) -> Any:
        x[1:] = x[:-1] + y
        x[:-1].add_(x[1:])
        return x * 1.0

    x = data(40)
    return [run(x, data(39, seed=1)), x, run(x, data(39, seed=2)), x]


@report("pytorch/pytorch#118959")
def arguments_that_eager_code_has_changed(compiled: Any) -> Any:
    """A chain of in-place forms on an argument, called with the same tensor again and again."""

    @compiled
    def run(x: Any) -> Any:
        y = x.clamp_(-0.5, 0.5).mul_(2.0)
        return wf.prod(y, axis=0), y

    x, found = data(3, 4), []
    for _ in range(3):
        product, y = run(x)
        found += [product, y is x]
    return [*found, x]


@report("pytorch/pytorch#195422", "pytorch/pytorch#104943")
def in_place_activations_of_an_argument(compiled: Any) -> Any:
    """``relu_`` of what is an argument, and of what is computed."""

    @compiled
    def run(x: Any) -> Any:
        y = (x + 1.0).relu_()
        x.relu_()
        return y + x

    found = []
    for n in range(2):
        x = data(5, seed=n)
        found += [run(x), x]
    return found


@report("jax-ml/jax#23084")
def state_keeps_its_memory(compiled: Any) -> Any:
    """A step that updates its state in place leaves it where it is, views and all."""
    state = wf.zeros((2, 3))
    window, address = state[1], state.data_ptr()

    @compiled
    def step(x: Any) -> Any:
        state.copy_(state * 0.5 + x)
        return state.sum()

    found = [step(data(2, 3, seed=n)) for n in range(3)]
    return [*found, window, state, state.data_ptr() == address, window.data_ptr() == address + 12]


@report("karpathy/nanoGPT#21")
def one_parameter_in_two_layers(compiled: Any) -> Any:
    """Tied weights: a write by way of one layer is read by way of the other."""
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight

    @compiled
    def run(x: Any) -> Any:
        with wf.no_grad():
            first.weight.mul_(0.5)
        return second(x)

    return [[run(data(2, 3)).detach(), second.weight.detach()] for _ in range(3)]


@report("pytorch/pytorch#198094", "pytorch/pytorch#198096")
def a_scattered_copy_of_what_is_zeroed_later(compiled: Any) -> Any:
    """A copy with some rows replaced is returned; the argument that it came from is zeroed after it."""

    @compiled
    def run(x: Any, src: Any) -> Any:
        y = x.clone()
        y[1:3] = src[1:3]
        z = x.index_copy(0, wf.asarray([0, 3]), src[:2])
        x.zero_()
        return y, z

    found = []
    for n in range(2):
        x = data(4, 6, seed=n)
        found += [run(x, data(4, 6, seed=9)), x]
    return found


@report("pytorch/pytorch#198270")
def an_update_that_reads_other_places_after_a_scatter(compiled: Any) -> Any:
    """Rows are written by index, then the flipped tensor is added to itself."""

    @compiled
    def put(x: Any) -> None:
        x[wf.arange(x.shape[0])] = x * 2.0
        x.add_(wf.flip(x, axis=0))

    @compiled
    def copy(x: Any) -> None:
        x.index_copy_(0, wf.arange(x.shape[0]), x * 2.0)
        x.copy_(wf.flip(x, axis=0))

    @compiled
    def shift(x: Any) -> None:
        x.index_add_(0, wf.asarray([0, 0, 1]), x[:3] * 2.0)
        x[1:] = x[:-1].clone()

    found = []
    for run in (put, copy, shift):
        for shape in ((4, 8), (33, 40), (64, 129)):
            x = data(*shape)
            run(x)
            found.append(x)
    return found


@report("pytorch/pytorch#195451", "pytorch/pytorch#197829")
def a_result_that_was_copied_into_an_argument(compiled: Any) -> Any:
    """The updated copy and the argument that it is copied into are two tensors afterwards."""

    @compiled
    def run(x: Any, src: Any) -> Any:
        updated = wf.concat([src, x[1:]], axis=0)
        x.copy_(updated)
        return updated

    found = []
    for n in range(2):
        x = data(4, seed=n)
        y = run(x, data(1))
        y.add_(100.0)
        found += [x, y, y.data_ptr() == x.data_ptr()]
    return found


@report("pytorch/pytorch#160311")
def rows_put_from_the_tensor_itself(compiled: Any) -> Any:
    """Values and target are one tensor, in another order; then a row of it is the index's own."""

    @compiled
    def run(x: Any, i: Any) -> Any:
        x[i] = x
        i[0:2] = i[1:3]
        return x[i]

    found = []
    for order in ([2, 0, 1], [1, 2, 0], [0, 0, 2]):
        x, i = data(3, 4), wf.asarray(order)
        found += [run(x, i), x, i]
    return found


@pytest.mark.parametrize("case", report.cases(NOT_YET, KNOWN_WRONG))
def test_memory_is_shared_as_in_eager_code(case: Case) -> None:
    check(case)
