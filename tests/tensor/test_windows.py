"""Recorded reads and writes at basic indices: PyTorch's gradients of any order, the bits of captured code, no graph for
each index."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weft as wf
from weft.core.errors import CaptureError
from weft.tensor import alias, calls, windows

Step = Callable[[Any, Any, Any], Any]  # (library, a (4, 3, 5) result of recorded calls, a value) -> what is looked at

KEYS: dict[str, Any] = {
    "int": 2,
    "negative int": -1,
    "ints": (1, 2),
    "an element": (3, 0, 4),
    "slice": slice(1, 3),
    "steps": (slice(None, None, 2), slice(None), slice(1, None, 3)),
    "None": (None, 1),
    "Ellipsis": (..., 2),
    "all at once": (0, None, ..., slice(1, 4, 2)),
    "nothing": slice(2, 2),
    "everything": slice(None),
}


def _whole(m: Any, a: Any) -> Any:
    return a


# What is between the recorded tensor and the key.
BASES: dict[str, Callable[[Any, Any], Any]] = {
    "itself": _whole,
    "transposed": lambda m, a: a.reshape(5, 3, 4).transpose(0, 2),
    "a view of a view": lambda m, a: m.concat([a, a])[1:5],
    "in other strides": lambda m, a: m.concat([a.transpose(0, 1)] * 2)[::2].transpose(0, 1),
    "reshaped": lambda m, a: a.reshape(2, 2, 3, 5).transpose(0, 1).reshape(4, 3, 5),
    "expanded": lambda m, a: a[:1].expand(4, 3, 5),
}


def _read(m: Any, a: Any, b: Any, key: Any) -> Any:
    return (a[key] * a[key].sin()).sum()


def _set(m: Any, a: Any, b: Any, key: Any) -> Any:
    a[key] = b[key] * b[key]
    return (a * a).sum()


def _set_number(m: Any, a: Any, b: Any, key: Any) -> Any:
    a[key] = 2.0
    return (a * a * b).sum()


def _copy(m: Any, a: Any, b: Any, key: Any) -> Any:
    part = a[key]
    part.copy_(b[key].exp())
    return (a * part.sum()).sum()


def _add(m: Any, a: Any, b: Any, key: Any) -> Any:
    a[key].add_(b[key]).mul_(b[key])
    return (a * a).sum()


def _twice(m: Any, a: Any, b: Any, key: Any) -> Any:
    first, second = a[key], a[1:]
    first.mul_(b[key])
    second.mul_(b[1:])
    return (first * first).sum() + (a * b).sum()


def _fresh(m: Any, a: Any, b: Any, key: Any) -> Any:
    out = m.zeros_like(a)
    out[key] = a[key] * b[key]
    out[0].add_(b[0])
    return (out * out * a).sum()


USES = {
    "read": _read,
    "set": _set,
    "set number": _set_number,
    "copy_": _copy,
    "add_": _add,
    "two": _twice,
    "new": _fresh,
}


def _values(seed: int, dtype: type = np.float64) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=(4, 3, 5)).astype(dtype)


def _gradients(m: Any, loss: Any, leaves: list[Any]) -> list[Any]:
    """Of a loss, recorded in their turn."""
    if m is not wf:
        return list(m.autograd.grad(loss, leaves, create_graph=True, materialize_grads=True))
    loss.backward(create_graph=True)
    found = [wf.zeros_like(t) if t.grad is None else t.grad for t in leaves]
    for t in leaves:
        t.grad = None
    return found


# What shows elements several times is not written.
_PAIRS = [(base, use) for base in BASES for use in USES if base != "expanded" or use in ("read", "new")]


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("base", "use"), _PAIRS)
@pytest.mark.parametrize("key", KEYS)
def test_gradients_of_both_orders_are_pytorchs(key: str, base: str, use: str) -> None:
    torch = pytest.importorskip("torch")
    found = []
    for m in (wf, torch):
        leaves = [m.tensor(_values(seed)).requires_grad_() for seed in (0, 1)]
        x, y = leaves
        loss = USES[use](m, BASES[base](m, x * 1.5), y, KEYS[key])
        gx, gy = _gradients(m, loss, leaves)
        second = _gradients(m, (gx * gx * y).sum() + (gy * gy * x).sum(), leaves)
        found.append([t.detach().numpy().copy() for t in (loss, gx, gy, *second)])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("key", KEYS)
def test_bits_are_those_of_captured_code(key: str, use: str, dtype: str) -> None:
    def step(x: Any, y: Any, g: Any) -> Any:
        x, y = (t.detach().requires_grad_() for t in (x, y))
        made = x * 1.5
        (made * y).backward(g, retain_graph=True)  # a gradient that is there, with zeros of both signs
        loss = USES[use](wf, made, y, KEYS[key])
        loss.backward()
        return loss, x.grad, y.grad

    cotangent = np.where(_values(2) > 0, 0.0, -0.0)
    operands = [wf.tensor(a).astype(getattr(wf, dtype)) for a in (_values(0), _values(1), cotangent)]
    for eager, captured in zip(step(*operands), wf.compile(step)(*operands), strict=True):
        bits = [t.contiguous().view(-1).astype(wf.float64).numpy() for t in (eager, captured)]
        assert bits[0].tobytes() == bits[1].tobytes()


@pytest.mark.parametrize("cotangent", ["row-major", "transposed", "expanded"])
def test_cotangents_of_any_strides(cotangent: str) -> None:
    x = wf.tensor(_values(0)).requires_grad_()
    made = x * 1.0
    made[1:3, :2] = made[2:, 1:] * 2.0
    g = {
        "row-major": wf.tensor(_values(3)),
        "transposed": wf.tensor(_values(3).T.copy()).transpose(0, 2),
        "expanded": wf.tensor(_values(3)[0]).expand(4, 3, 5),
    }[cotangent]
    made.backward(g)
    expected = g.numpy().copy()
    hidden = expected[1:3, :2].copy()
    expected[1:3, :2] = 0
    expected[2:, 1:] += 2 * hidden
    assert x.grad is not None
    assert x.grad.numpy().tobytes() == expected.tobytes()


def test_gradients_own_their_memory() -> None:
    x, y = wf.zeros(4).requires_grad_(), wf.zeros(2).requires_grad_()
    out = x * 1.0
    out[1:3] = y
    g = wf.ones(4)
    out.backward(g)
    assert x.grad is not None and y.grad is not None
    g.zero_()
    y.grad.add_(5.0)
    assert x.grad.tolist() == [1.0, 0.0, 0.0, 1.0]
    assert y.grad.tolist() == [6.0, 6.0]


STEPS: dict[str, Step] = {
    "x[i]": lambda a, h, i: (a[i] * h).sum(),
    "x[i:i + 2]": lambda a, h, i: (a[i : i + 2] * h).sum(),
    "x[:, i]": lambda a, h, i: (a[:, i] * a[3, i : i + 1] * h).sum(),
    "x[i] = h": lambda a, h, i: _written(a, i, h),
    "x[i, 1:] = h": lambda a, h, i: _written(a, (i, slice(1, None)), h[1:]),
    "x[i:i + 3, None] = h": lambda a, h, i: _written(a, (slice(i, i + 3), None), h),
    "x[i].copy_(h)": lambda a, h, i: (a[i].copy_(h) * a).sum(),
    "x[i].add_(h)": lambda a, h, i: (a[i].add_(h) * a).sum(),
    "x[2:, i].mul_(h)": lambda a, h, i: (a[2:, i].mul_(h[2:]) * a[0, 0]).sum(),
}


def _written(a: Any, key: Any, value: Any) -> Any:
    a[key] = value
    return (a * a).sum()


@pytest.mark.parametrize("step", STEPS)
def test_a_new_index_makes_no_graph(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, h = wf.ones((30, 30)).requires_grad_(), wf.ones(30).requires_grad_()

    def at(i: int) -> None:
        STEPS[step](x * 1.0, h * 1.0, i).backward(create_graph=True)
        assert x.grad is not None
        x.grad.sum().backward()
        x.grad = h.grad = None

    at(3)  # compiles
    made: list[str] = []
    before = calls.GraphCall.__init__

    def counted(self: Any, graph: Any, *args: Any, **kwargs: Any) -> None:
        made.append(graph.name)
        before(self, graph, *args, **kwargs)

    monkeypatch.setattr(calls.GraphCall, "__init__", counted)
    for i in (4, 9, 17, 26):
        at(i)
    assert made == []


def test_many_views_follow_a_write() -> None:
    x, h = wf.tensor(_values(0)).requires_grad_(), wf.tensor(_values(1)).requires_grad_()
    base = x * 1.0
    views = [base[i] for i in range(4)] + [base.transpose(0, 1), base[1:, 0], base.view(-1)[::7]]
    before = views[1] * 1.0
    for i, view in enumerate(views[:4]):
        view.mul_(h[i])
    with wf.no_grad():
        untracked = base[2]
    views[0].add_(1.0)
    assert len({id(v._node) for v in views}) == 1  # one record, until a gradient comes
    assert (base._index, base._node.__class__.__name__) == (0, "Record")
    (sum((v * v).sum() for v in views) + before.sum()).backward()
    a, b = _values(0), _values(1)
    shown = a * b
    shown[0] += 1
    g = 4 * shown  # by its row, and transposed
    g[1:, 0] += 2 * shown[1:, 0]
    g.reshape(-1)[::7] += 2 * shown.reshape(-1)[::7]
    assert x.grad is not None and h.grad is not None
    expected = g * b
    expected[1] += 1
    np.testing.assert_allclose(x.grad.numpy(), expected)
    np.testing.assert_allclose(h.grad.numpy(), g * a)
    with pytest.raises(wf.AutogradError, match="no_grad"):
        untracked.sum().backward()


def test_records_of_parts_are_freed_without_the_collector() -> None:
    gc.disable()
    try:
        x = wf.ones((8, 4)).requires_grad_()
        out = x * 1.0
        views = [out[i] for i in range(8)]
        for i, view in enumerate(views):
            view.add_(views[i - 1])
        total = (out * out).sum() + views[3].sum()
        total.backward(create_graph=True)
        gone = [weakref.ref(t) for t in (out, *views)]
        del out, views, view, total
        x.grad = None
        assert [r() for r in gone] == [None] * 9
    finally:
        gc.enable()


def test_a_capture_does_not_go_back_through_a_part_from_outside() -> None:
    x = wf.ones((3, 2)).requires_grad_()
    out = x * 1.0
    out[1] = 2.0
    row = out[0]

    @wf.compile
    def step(h: Any) -> Any:
        (h * row).sum().backward()
        return h

    with pytest.raises(CaptureError, match="before"):
        step(wf.ones(2).requires_grad_())


def test_what_is_known_of_ways_is_bounded() -> None:
    x = wf.ones((6000, 1)).requires_grad_() * 1.0
    for i in range(6000):
        assert x[i].requires_grad
    assert len(alias._ways) <= 4097


PARTS: list[Any] = [
    *((slice(None), i) for i in range(4)),
    *((slice(None), slice(i, i + 2)) for i in range(3)),
    (0,),
    (1, 2),
    (slice(None), slice(None), 1),
    (slice(0, 1), slice(1, 4), slice(0, 2)),
    (Ellipsis, slice(None, None, 2)),
    (slice(None), slice(None, None, -1)),
    (slice(2, 2),),
    (None, 1),
    (Ellipsis,),
]
SIGNED = np.array([0.0, -0.0, 1.5, -2.5, np.inf, np.nan, 3e-45], np.float32)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([*range(len(PARTS)), -1]), st.integers(0, 1 << 30)), min_size=1, max_size=8),
    st.sampled_from(["float32", "float64", "bfloat16"]),
    st.booleans(),
)
def test_sums_of_parts_are_those_that_are_recorded(terms: list[tuple[int, int]], dtype: str, through: bool) -> None:
    """A recorded pass adds tensors of the whole size; -1 is a contribution to all of it."""

    def gradient(recorded: bool) -> Any:
        leaf = wf.zeros((2, 4, 3), dtype=dtype).requires_grad_()
        x = leaf * 1.0 if through else leaf
        total: Any = 0.0
        for number, seed in terms:
            part = x if number < 0 else x[PARTS[number]]
            drawn = np.random.default_rng(seed).choice(SIGNED, size=tuple(part.shape))
            total = total + (part * wf.asarray(drawn).astype(dtype)).sum()
        total.backward(create_graph=recorded)
        found = leaf.grad.detach().clone()
        return found.view(-1).astype(wf.float64).numpy().tobytes()

    assert gradient(False) == gradient(True)


def test_parts_are_added_to_memory_that_nobody_else_has() -> None:
    x = wf.zeros((3, 4)).requires_grad_()
    whole = wf.ones((3, 4))
    parts = [x[0], x[1], x[0]]
    (x + parts[0] + parts[1] + parts[2]).backward(whole)  # the sum hands the cotangent itself on to x
    assert whole.tolist() == np.ones((3, 4)).tolist()
    np.testing.assert_array_equal(x.grad.numpy(), np.repeat([[7.0], [4.0], [1.0]], 4, axis=1))
    x.grad, held = None, []
    y = x * 1.0
    parts = [y[i] for i in (0, 1, 2, 0)]
    z = y * 2.0
    z.register_hook(held.append)
    y.register_hook(held.append)
    (z + sum(parts)).backward(whole)
    np.testing.assert_array_equal(held[0].numpy(), np.ones((3, 4)))
    np.testing.assert_array_equal(held[1].numpy(), np.repeat([[8.0], [5.0], [5.0]], 4, axis=1))
    held[1].zero_()
    assert whole.tolist() == np.ones((3, 4)).tolist()


def test_what_a_pass_has_summed_is_freed_on_the_way() -> None:
    y = x = wf.zeros((1 << 18,)).requires_grad_()
    for _ in range(40):  # each total is the next cotangent, and needed no more after that
        a, b = y[: 1 << 17], y[1 << 17 :]
        y = wf.concat([b * 1.0, a * 1.0])
    loss = y.sum()
    wf.memory.reset_peak()
    before = wf.memory.stats().current
    loss.backward()
    assert wf.memory.stats().peak - before < 10 << 20  # of 40 totals of 1 MiB
    assert x.grad is not None


def test_the_columns_of_a_matrix_are_summed_in_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    spread = windows.Window.spread
    monkeypatch.setattr(windows.Window, "spread", lambda self, g: counted.append(1) or spread(self, g))
    x = wf.zeros((50, 300, 40)).requires_grad_()
    sum((x[:, i] * float(i)).sum() for i in range(300)).backward()
    assert len(counted) == 2  # the first, and one that the first's is added to
    np.testing.assert_array_equal(x.grad.numpy()[3, :, 5], np.arange(300))
