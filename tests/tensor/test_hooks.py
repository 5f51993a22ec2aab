"""Hooks on gradients: PyTorch's rules, with in-place forms, of any order, and over compiled calls."""

from __future__ import annotations

import copy
import gc
import warnings
import weakref
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weft as wf
from weft.core.errors import ArgumentError, AutogradError, CaptureError, DTypeError, ShapeError


def leaf(*values: float) -> wf.Tensor:
    return wf.tensor([float(v) for v in values]).requires_grad_()


# --- programs, as PyTorch runs them ----------------------------------------------------------------------------------


class Run:
    """A program over a library ("weft" or "torch"): what its hooks saw, what tensors kept, and the gradient of x."""

    def __init__(self, library: Any):
        self.library = library
        self.seen: list[tuple[str, Any]] = []
        self.x = self.tensor([1.0, 2.0, 3.0, 4.0]).requires_grad_()

    def tensor(self, values: list[float]) -> Any:
        if self.library is wf:
            return wf.tensor(values, dtype=wf.float32)
        return self.library.tensor(values, dtype=self.library.float32)

    def hook(self, tensor: Any, name: str, factor: float | None = None) -> Any:
        def seen(gradient: Any) -> Any:
            self.seen.append((name, gradient.tolist()))
            return None if factor is None else gradient * factor

        return tensor.register_hook(seen)

    def told(self, *kept: Any) -> Any:
        grads = [None if t.grad is None else t.grad.tolist() for t in (self.x, *kept)]
        return self.seen, grads


def uses(r: Run) -> Any:
    y = r.x * 2
    r.hook(y, "y")
    (y.sum() + (y * y).sum()).backward()
    return r.told()


def replaced(r: Run) -> Any:
    y = r.x * 2
    r.hook(y, "first", 10.0)
    r.hook(y, "second")
    r.hook(y, "third", 3.0)
    y.sum().backward()
    return r.told()


def on_leaf(r: Run) -> Any:
    r.hook(r.x, "x", 2.0)
    for _ in range(2):
        (r.x * 3 + r.x).sum().backward()
    return r.told()


def on_root(r: Run) -> Any:
    loss = r.x.sum()
    r.hook(loss, "loss", 2.0)
    loss.backward()
    return r.told()


def changed_later(r: Run) -> Any:
    y = r.x * 2
    r.hook(y, "before", 5.0)
    y.retain_grad()
    y.mul_(3)
    r.hook(y, "after")
    (y * y).sum().backward()
    return r.told(y)


def written_in_part(r: Run) -> Any:
    y = r.x * 2
    r.hook(y, "before")
    y.retain_grad()
    y[0] = 5.0
    y[1:3].mul_(r.x[:2])
    r.hook(y, "after", 2.0)
    (y * y).sum().backward()
    return r.told(y)


def overwritten(r: Run) -> Any:
    y = r.x * 2
    r.hook(y, "zeroed")
    y.zero_()
    r.hook(y, "copied")
    y.copy_(r.x * r.x)
    y.sum().backward()
    return r.told()


def of_views(r: Run) -> Any:
    y = r.x * 2
    v = y[:2]
    v.mul_(2)
    r.hook(v, "v", 7.0)
    v.retain_grad()
    w = v.reshape(2, 1)
    r.hook(w, "w")
    (y.sum() + v.sum() + (w * w).sum()).backward()
    return r.told(v)


def view_of_written(r: Run) -> Any:
    y = r.x * 2
    v = y[:2]
    r.hook(v, "lost with the value")
    v.retain_grad()
    y.mul_(3)
    (y.sum() + (v * v).sum()).backward()
    return r.told(v)


def view_of_leaf(r: Run) -> Any:
    v = r.x[1:3]
    r.hook(v, "v", 2.0)
    (r.x.sum() + v.sum()).backward()
    return r.told()


def kept_twice(r: Run) -> Any:
    y = r.x * 2
    y.retain_grad()
    y.retain_grad()
    r.hook(y, "y", 3.0)
    loss = (y * y).sum()
    loss.backward(retain_graph=True)
    first = y.grad
    loss.backward()
    return r.told(y), first.tolist(), y.retains_grad, r.x.retains_grad, loss.retains_grad


def taken_away(r: Run) -> Any:
    y = r.x * 2
    handles = [r.hook(y, str(i), 2.0) for i in range(3)]
    loss = y.sum()
    loss.backward(retain_graph=True)
    handles[1].remove()
    handles[1].remove()
    loss.backward(retain_graph=True)
    with handles[0]:
        loss.backward(retain_graph=True)
    loss.backward()
    return r.told()


def during_the_pass(r: Run) -> Any:
    y = r.x * 2
    z = y * 3
    going = r.hook(y, "going")
    z.register_hook(lambda gradient: going.remove())
    z.register_hook(lambda gradient: r.hook(y, "coming", 2.0) and None)
    z.sum().backward()
    return r.told()


def after_accumulating(r: Run) -> Any:
    x = r.x

    def step(tensor: Any) -> None:
        r.seen.append(("after", tensor.grad.tolist()))
        assert tensor is x
        tensor.grad = None

    handle = x.register_post_accumulate_grad_hook(step)
    r.hook(x, "before", 2.0)
    (x * 3).sum().backward()
    (x * x).sum().backward()
    handle.remove()
    (x * 3).sum().backward()
    return r.told()


def at_rest(r: Run) -> Any:
    loss = (r.x * 2).sum()
    r.hook(r.x, "x")
    r.x.requires_grad_(False)
    loss.backward()
    r.x.requires_grad_()
    (r.x * 5).sum().backward()
    return r.told()


def of_higher_order(r: Run) -> Any:
    y = r.x * r.x
    modes = []

    def cubed(gradient: Any) -> Any:
        modes.append(gradient.requires_grad)
        return gradient * y * r.x

    y.register_hook(cubed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's, of a cycle
        (y * r.x).sum().backward(create_graph=True)
    first = r.x.grad
    seen = first.tolist()
    r.x.grad = None
    first.sum().backward()
    return r.told(), seen, modes


def same_memory(r: Run) -> Any:
    """A hook that writes into what it gets changes nobody else's gradient."""
    a, b = r.x * 1, r.x * 1
    a.register_hook(lambda gradient: gradient.mul_(10))
    ((a + b) * 1).sum().backward()
    return r.told()


PROGRAMS = [
    *(uses, replaced, on_leaf, on_root, changed_later, written_in_part, overwritten, of_views, view_of_written),
    *(view_of_leaf, kept_twice, taken_away, during_the_pass, after_accumulating, at_rest, of_higher_order),
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_a_program_is_what_it_is_in_pytorch(program: Any) -> None:
    torch = pytest.importorskip("torch")
    assert program(Run(wf)) == program(Run(torch))


def test_a_hook_may_change_its_gradient_in_place() -> None:
    assert same_memory(Run(wf)) == ([], [[11.0] * 4])


class Written:
    """A tensor and views of it, written in place. (PyTorch itself is no oracle for drawn programs: it crashes where a
    view gets two hooks with a write between.)"""

    def __init__(self, y: wf.Tensor):
        self.tensors = [y]

    def view(self, at: int, low: int, high: int) -> None:
        self.tensors.append(self.tensors[at][low:high])

    def write(self, at: int, kind: str, what: wf.Tensor) -> None:
        t = self.tensors[at]
        if kind == "mul":
            t.mul_(what[: t.shape[0]])
        elif kind == "add":
            t += what[: t.shape[0]]
        elif kind == "copy":
            t.copy_(what[: t.shape[0]])
        else:
            t[0] = what[0]


class Functional:
    """The same in values alone: a write makes another base, and other views of it; hooks stay where they were."""

    def __init__(self, y: wf.Tensor):
        self.tensors, self.places = [y], [(0, y.shape[0])]

    def view(self, at: int, low: int, high: int) -> None:
        first = self.places[at][0]
        self.tensors.append(self.tensors[at][low:high])
        self.places.append((first + low, first + high))

    def write(self, at: int, kind: str, what: wf.Tensor) -> None:
        t, (low, high) = self.tensors[at], self.places[at]
        if kind == "mul":
            now = t * what[: t.shape[0]]
        elif kind == "add":
            now = t + what[: t.shape[0]]
        elif kind == "copy":
            now = t * 0 + what[: t.shape[0]]
        else:
            now, high = t[:1] * 0 + what[:1], low + 1
        base = wf.concat([self.tensors[0][:low], now, self.tensors[0][high:]])
        self.tensors = [base, *[base[low:high] for low, high in self.places[1:]]]


def play(kind: Any, x: wf.Tensor, steps: list[tuple[str, int, Any]], seen: list[Any]) -> list[Any]:
    """A drawn program: views of one tensor, hooked and written in any order; what their hooks saw, in the order in
    which they were registered."""
    y = x * 2
    r = kind(y)
    loss = y.sum()
    for number, (step, at, what) in enumerate(steps):
        at %= len(r.tensors)
        t = r.tensors[at]
        if step == "view":
            low = what % t.shape[0]
            r.view(at, low, max(low + 1, t.shape[0] - what // 4))
        elif step == "hook":
            place = len(seen)
            seen.append(None)

            def hook(g: wf.Tensor, place: int = place, factor: float = float(what) - 3.5) -> wf.Tensor:
                seen[place] = g.detach()
                return g * factor

            t.register_hook(hook)
        elif step == "use":
            loss = loss + (t * (number + 1)).sum()
        else:
            r.write(at, step, x * x if what % 2 else x.detach() + what)
    for number, t in enumerate(r.tensors):
        t.retain_grad()
        loss = loss + (t * t * (number + 2)).sum()
    loss.backward()
    return [t.grad for t in r.tensors]


_step = st.tuples(
    st.sampled_from(["view", "view", "hook", "hook", "use", "mul", "add", "copy", "set"]),
    st.integers(0, 5),
    st.integers(0, 7),
)


def listed(tensors: list[Any]) -> list[Any]:
    return [None if t is None else [round(v, 3) for v in t.tolist()] for t in tensors]


@given(st.lists(_step, min_size=2, max_size=10))
@settings(max_examples=100)
def test_drawn_programs_of_views_writes_and_hooks(steps: list[tuple[str, int, Any]]) -> None:
    found = []
    for kind in (Written, Functional):
        x, seen = wf.tensor([1.0, -0.5, 0.25, 2.0], dtype=wf.float64).requires_grad_(), list[Any]()
        kept = play(kind, x, steps, seen)
        found.append((listed(seen), listed([x.grad]), listed(kept)))
    assert found[0] == found[1]


@given(st.lists(_step, min_size=3, max_size=8))
@settings(max_examples=8)
def test_drawn_programs_in_captured_code(steps: list[tuple[str, int, Any]]) -> None:
    def step(x: wf.Tensor) -> Any:
        seen: list[Any] = []
        kept = play(Written, x, steps, seen)
        return [g for g in (*seen, *kept) if g is not None]

    found = []
    for run in (step, wf.compile(step)):
        x = wf.tensor([1.0, -0.5, 0.25, 2.0]).requires_grad_()
        found.append(([g.tolist() for g in run(x)], x.grad.tolist()))
    assert found[0] == found[1]


# --- rules -----------------------------------------------------------------------------------------------------------


def test_a_hook_on_a_view_that_is_written_stays_with_the_value_before() -> None:
    x, seen = leaf(1, 2), []
    y = x * 2
    v = y[:1]
    v.register_hook(lambda g: seen.append(g.tolist()))
    v.mul_(3)
    y.sum().backward()
    assert seen == [[3.0]]
    assert x.grad.tolist() == [6.0, 2.0]


def test_what_hooks_return_is_checked() -> None:
    for returned, error in ((3, ArgumentError), (wf.ones(3), ShapeError), (wf.ones(2).double(), DTypeError)):
        x = leaf(1, 2)
        x.register_hook(lambda g, returned=returned: returned)
        with pytest.raises(error, match=r"the hook <lambda> \(.*test_hooks.py"):
            (x * 2).sum().backward()
        assert x.grad is None
    x = leaf(1, 2)
    x.register_post_accumulate_grad_hook(lambda t: 5)
    with pytest.raises(ArgumentError, match="returned a value of type int"):
        (x * 2).sum().backward()


def test_who_may_have_a_hook() -> None:
    x = leaf(1, 2)
    for method in ("register_hook", "register_post_accumulate_grad_hook"):
        with pytest.raises(AutogradError, match=f"{method} on a tensor that does not require grad"):
            getattr(wf.ones(2), method)(print)
        with pytest.raises(ArgumentError, match="a hook is a function, not a value of type int"):
            getattr(x, method)(3)
    with pytest.raises(AutogradError, match="retain_grad on a tensor that does not require grad"):
        wf.ones(2).retain_grad()
    with pytest.raises(AutogradError, match="on a result of recorded calls"):
        (x * 2).register_post_accumulate_grad_hook(print)
    with pytest.raises(AutogradError, match="only a floating leaf has a gradient to set"):
        (x * 2).grad = wf.ones(2)


def test_a_hook_that_raises_leaves_all_gradients_as_they_were() -> None:
    x, z = leaf(1, 2), leaf(3, 4)
    x.grad = wf.ones(2)

    def fails(g: wf.Tensor) -> None:
        raise ValueError("no")

    for hooked in (x, x * 1):
        handle = hooked.register_hook(fails)
        with pytest.raises(ValueError, match="no"):
            ((x if hooked is x else hooked) * z).sum().backward()
        assert x.grad.tolist() == [1, 1]
        assert z.grad is None
        handle.remove()


def test_what_a_hook_returns_stays_its_own() -> None:
    x, mine, kept = leaf(1, 2), wf.tensor([7.0, 7.0]), []
    handle = x.register_hook(lambda g: mine)
    for _ in range(2):
        (x * 2).sum().backward()
    assert x.grad.tolist() == [14, 14]
    assert mine.tolist() == [7, 7]
    handle.remove()
    x.grad = None
    x.register_hook(kept.append)
    for _ in range(2):
        (x * 2).sum().backward()
    assert [g.tolist() for g in kept] == [[2, 2], [2, 2]]


def test_the_gradient_that_backward_is_given_is_not_the_hooks() -> None:
    x, given_ = leaf(1, 2), wf.ones(2)
    y = x * 2
    y.register_hook(lambda g: g.mul_(5))
    y.backward(given_)
    assert given_.tolist() == [1, 1]
    assert x.grad.tolist() == [10, 10]


def test_gradients_of_functions_run_the_hooks_of_what_they_pass_through() -> None:
    torch = pytest.importorskip("torch")
    outer: list[Any] = []

    def f(x: Any, p: Any, inner: list[Any]) -> Any:
        x.register_hook(lambda g: inner.append("x") or g * 2)
        y = x * p
        y.register_hook(lambda g: inner.append("y") or g * 5)
        return y.sum()

    p = leaf(3, 4)
    p.register_hook(outer.append)
    inner: list[Any] = []
    assert wf.grad(f)(wf.tensor([1.0, 2.0]), p, inner).tolist() == [30.0, 40.0]
    assert (inner, outer, p.grad) == (["y", "x"], [], None)
    a, b = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([3.0, 4.0], requires_grad=True)
    b.register_hook(outer.append)
    theirs: list[Any] = []
    assert torch.autograd.grad(f(a, b, theirs), a)[0].tolist() == [30.0, 40.0]
    assert (theirs, outer) == (inner, [])


def test_kept_gradients_are_let_go_of_and_set() -> None:
    x = leaf(1, 2)
    y = x * 2
    y.retain_grad()
    (y * 3).sum().backward(retain_graph=True)
    y.grad = None
    assert y.retains_grad
    y.grad = wf.ones(2)
    (y * 3).sum().backward(retain_graph=True)
    assert y.grad.tolist() == [4, 4]
    gone = weakref.ref(y)
    del y
    gc.collect()
    assert gone() is None
    assert x.retain_grad() is None


def test_hooks_do_not_hold_their_tensors_and_are_not_copied() -> None:
    x, seen = leaf(1, 2), []
    y = x * 2
    y.register_hook(seen.append)
    gone = weakref.ref(y)
    loss = y.sum()
    del y
    assert gone() is None
    loss.backward()
    assert len(seen) == 1
    x.register_hook(seen.append)
    (copy.deepcopy(x) * 2).sum().backward()
    assert len(seen) == 1


# --- compiled --------------------------------------------------------------------------------------------------------


class Kept:
    """Where code that is captured puts what its hooks see."""

    first: Any = None
    second: Any = None


def inside(p: wf.Tensor, a: wf.Tensor, kept: Any) -> Any:
    def first(g: wf.Tensor) -> wf.Tensor:
        kept.first = g
        return g * a

    y = p * a
    y.register_hook(first)
    y.retain_grad()
    y[0] = 5.0
    y.mul_(p)
    v = y[1:]
    v.register_hook(lambda g: g * 3)
    handle = y.register_hook(lambda g: g * 100)
    handle.remove()
    (v.sum() + (y * y).sum()).backward()
    return y.grad.clone()


def test_a_backward_pass_inside_runs_the_hooks_that_are_registered_there() -> None:
    results = []
    for run in (inside, wf.compile(inside)):
        p, kept = leaf(1, 2, 3), Kept()
        for scale in (1.0, 2.0, 3.0):
            found = run(p, wf.tensor([1.0, 2.0, 3.0]) * scale, kept)
            results.append((found.tolist(), kept.first.tolist(), p.grad.tolist()))
    assert results[:3] == results[3:]


def sevenfold(t: wf.Tensor) -> None:
    t.grad.mul_(7)


@pytest.mark.parametrize("as_argument", [False, True])
def test_hooks_of_leaves_from_outside_are_a_condition_of_the_graph(as_argument: bool) -> None:
    p, other = leaf(1, 2), leaf(1, 2)

    def step(a: wf.Tensor, q: Any) -> None:
        ((p if q is None else q) * a).sum().backward()

    compiled, a = wf.compile(step), wf.tensor([1.0, 2.0])

    def run(tensor: wf.Tensor = p) -> list[float]:
        tensor.grad = None
        compiled(a, tensor if as_argument else None)
        return tensor.grad.tolist()

    def captures() -> int:
        return sum(map(len, compiled._entries.values()))

    assert run() == [1, 2]
    count = captures()
    handle = p.register_hook(lambda g: g * 10)
    assert (run(), run()) == ([10, 20], [10, 20])
    assert captures() == count + 1
    if as_argument:
        assert run(other) == [1, 2]
    second = p.register_hook(lambda g: g + 1)
    assert run() == [11, 21]
    handle.remove()
    assert run() == [2, 3]
    second.remove()
    count = captures()
    assert run() == [1, 2]
    assert captures() == count  # as it was in the beginning
    p.register_post_accumulate_grad_hook(sevenfold)
    assert (run(), run()) == ([7, 14], [7, 14])


@pytest.mark.parametrize("as_argument", [False, True])
def test_an_optimizer_step_in_a_hook_is_captured(as_argument: bool) -> None:
    def sgd(t: wf.Tensor) -> None:
        with wf.no_grad():
            t.sub_(t.grad * 0.5)
        t.grad = None

    results = []
    for compiling in (lambda f: f, wf.compile):
        p, other = leaf(1, 2), leaf(5, 6)

        def step(a: wf.Tensor, q: Any, p: wf.Tensor = p) -> None:
            ((p if q is None else q) * a).sum().backward()

        run = compiling(step)
        for t in (p, other):
            t.register_post_accumulate_grad_hook(sgd)
        for t in (p, p, other):
            run(wf.tensor([1.0, 2.0]), t if as_argument else None)
        results.append((p.tolist(), other.tolist(), p.grad, other.grad))
    assert results[0] == results[1]


def test_what_the_hook_of_a_leaf_names_is_a_condition_too() -> None:
    p, scale, table = leaf(1, 2), [1.0], wf.tensor([3.0, 4.0])
    p.register_hook(lambda g: g * scale[0] + table)

    @wf.compile
    def step(a: wf.Tensor) -> None:
        p.grad = None
        (p * a).sum().backward()

    for factor in (1.0, 5.0, 1.0):
        scale[0] = factor
        table.add_(1)
        step(wf.ones(2))
        assert p.grad.tolist() == [factor + table[0].item(), factor + table[1].item()]


def test_a_hook_moves_from_one_leaf_to_another() -> None:
    p, q = leaf(1, 2), leaf(1, 2)

    @wf.compile
    def step() -> None:
        p.grad = q.grad = None
        (p * q).sum().backward()

    def tenfold(g: wf.Tensor) -> wf.Tensor:
        return g * 10

    for hooked, other in ((p, q), (q, p)):
        with hooked.register_hook(tenfold):
            step()
            assert (hooked.grad.tolist(), other.grad.tolist()) == ([10, 20], [1, 2])


def both(x: wf.Tensor) -> tuple[wf.Tensor, wf.Tensor]:
    a = x * 2
    return a, a * a * x


@pytest.mark.parametrize("create_graph", [False, True])
def test_the_results_of_a_compiled_call_have_hooks(create_graph: bool) -> None:
    results = []
    for run in (both, wf.compile(both), wf.compile(both)):
        x, seen = leaf(1, 2), []
        a, b = run(x)
        a.register_hook(lambda g, seen=seen: seen.append(g.tolist()) or g * 5)
        a.retain_grad()
        b.retain_grad()
        c, d = run(b)
        handle = c.register_hook(lambda g: g * 1000)
        (d.sum() + a.sum() + c.sum()).backward(retain_graph=True)
        handle.remove()
        (d.sum() + a.sum() + c.sum()).backward(create_graph=create_graph)
        if create_graph:
            x.grad.sum().backward()
        results.append((seen, x.grad.tolist(), a.grad.tolist(), b.grad.tolist()))
        if not create_graph:
            with pytest.raises(AutogradError, match="a second time"):
                d.sum().backward()
    assert results[0] == results[1] == results[2]


def test_a_compiled_call_that_is_spent_says_so_with_create_graph_too() -> None:
    x = leaf(1, 2)
    z = wf.compile(lambda x: (x * x).sum())(x)
    z.backward()
    with pytest.raises(AutogradError, match="a second time through multiply"):
        z.backward(create_graph=True)


def _escapes(p: wf.Tensor, a: wf.Tensor) -> Any:
    y = p * a
    y.register_hook(lambda g: g * 2)
    return y.sum()


def _escapes_with_a_leaf(p: wf.Tensor, a: wf.Tensor) -> Any:
    y = a.clone().detach().requires_grad_()
    y.register_hook(lambda g: g * 2)
    return y


def _hangs_on_a_leaf(p: wf.Tensor, a: wf.Tensor) -> Any:
    y = a.clone().detach().requires_grad_()
    y.register_post_accumulate_grad_hook(lambda t: None)
    return y * 2


def _from_outside(p: wf.Tensor, a: wf.Tensor) -> Any:
    p.register_hook(lambda g: g * 2)
    return p * a


def _result_from_outside(p: wf.Tensor, a: wf.Tensor) -> Any:
    a.register_hook(lambda g: g * 2)
    return p * a


def _keeps(p: wf.Tensor, a: wf.Tensor) -> Any:
    y = p * a
    y.retain_grad()
    return y


def _keeps_from_outside(p: wf.Tensor, a: wf.Tensor) -> Any:
    a.retain_grad()
    return p * a


def _stores_in_a_list(p: wf.Tensor, a: wf.Tensor) -> Any:
    y = p * 3
    y.register_hook(_list.append)
    y.sum().backward()


_list: list[Any] = []


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_escapes, "whose gradient is asked for outside of it"),
        (_escapes_with_a_leaf, "whose gradient is asked for outside of it"),
        (_hangs_on_a_leaf, "whose gradient is asked for outside of it"),
        (_from_outside, "register_hook inside a captured function on a tensor float32.2. from outside"),
        (_result_from_outside, "register_hook inside a captured function on a tensor float32.2. from outside"),
        (_keeps, "retain_grad inside a captured function on a tensor that is returned or stored"),
        (_keeps_from_outside, "retain_grad inside a captured function on a tensor float32.2. from outside"),
        (_stores_in_a_list, "is kept in a list"),
    ],
)
def test_what_a_capture_would_ignore_is_refused_at_the_line(function: Any, message: str) -> None:
    p = leaf(1, 2)
    with pytest.raises(CaptureError, match=message) as caught:
        wf.compile(function)(p, leaf(3, 4) * 1)
    assert caught.value.where[0] == __file__
    first = function.__code__.co_firstlineno
    assert first < caught.value.where[1] <= first + 4
    (p * 2).sum().backward()
    assert p.grad.tolist() == [2, 2]  # nothing stays behind


@pytest.mark.parametrize("as_argument", [False, True])
def test_a_kept_gradient_is_not_read_inside(as_argument: bool) -> None:
    y = leaf(1, 2) * 2
    y.retain_grad()
    y.sum().backward()
    with pytest.raises(CaptureError, match="from outside keeps"):
        wf.compile(lambda a: (a if as_argument else y).grad * 1)(y)


def _of_a_leaf_made_inside(a: wf.Tensor) -> Any:
    y = (a * 2).detach().requires_grad_()
    y.register_hook(lambda g: g * 10)
    y.register_post_accumulate_grad_hook(sevenfold)
    (y * y).sum().backward()
    return y.grad * 1


def _of_a_function(a: wf.Tensor) -> Any:
    def cubed(x: wf.Tensor) -> wf.Tensor:
        x.register_hook(lambda g: g + 1)
        y = x * x
        y.register_hook(lambda g: g * a)
        return (y * x).sum()

    return wf.grad(cubed)(a), wf.grad(lambda x: wf.grad(cubed)(x).sum())(a)


@pytest.mark.parametrize("function", [_of_a_leaf_made_inside, _of_a_function])
def test_hooks_of_what_is_made_inside(function: Any) -> None:
    compiled = wf.compile(function)
    for values in ([1.0, 2.0], [3.0, -1.0]):
        expected, found = function(wf.tensor(values)), compiled(wf.tensor(values))
        for e, f in zip(*[x if isinstance(x, tuple) else (x,) for x in (expected, found)], strict=True):
            assert e.tolist() == f.tolist()


def test_hooks_of_parameters_of_a_compiled_module_run_in_the_pass_outside() -> None:
    begun = wf.nn.Sequential(wf.nn.Linear(3, 4), wf.nn.ReLU(), wf.nn.Linear(4, 2))
    results = []
    for compiling in (lambda f: f, wf.compile):
        model, seen = copy.deepcopy(begun), []
        run = compiling(model)
        run(wf.ones((2, 3)))
        model[0].weight.register_hook(lambda g, seen=seen: seen.append(g.tolist()) or g * 2)
        model[2].bias.register_post_accumulate_grad_hook(sevenfold)
        for scale in (1.0, 2.0):
            out = run(wf.ones((2, 3)) * scale)
            out.register_hook(lambda g: g.clamp_(-1, 1))
            (out * out * 5).sum().backward()
        results.append((seen, [p.grad.tolist() for p in model.parameters()]))
    assert results[0] == results[1]


def test_a_tensor_that_becomes_a_leaf_has_the_gradient_of_one() -> None:
    y = leaf(1, 2) * 2
    y.retain_grad()
    y.sum().backward()
    y.detach_().requires_grad_()
    assert not y.retains_grad
    (y * 3).sum().backward()
    assert y.grad.tolist() == [3, 3]


def test_a_hook_may_run_a_pass_of_its_own() -> None:
    x, z = leaf(1, 2), leaf(3, 4)

    def hook(g: wf.Tensor) -> None:
        with wf.enable_grad():
            (z * g).sum().backward()

    y = x * 2
    y.register_hook(hook)
    (y * 3).sum().backward()
    assert (x.grad.tolist(), z.grad.tolist()) == ([6, 6], [3, 3])
