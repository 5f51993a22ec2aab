"""Tensors that a captured function stores in Python objects: every run leaves behind what an eager call would."""

from __future__ import annotations

import copy
import gc
import pickle
import queue
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn

X = [1.0, -2.0, 3.0]


class Slotted:
    """An object without a dict."""

    __slots__ = ("__weakref__", "kept", "other")


def attribute() -> tuple[Callable[..., Any], Callable[[], Any]]:
    box = SimpleNamespace(kept=None)

    def f(x: wf.Tensor) -> wf.Tensor:
        box.kept = x * 2.0
        return x + 1.0

    return f, lambda: box.kept


def key_of_a_dict() -> tuple[Callable[..., Any], Callable[[], Any]]:
    logs: dict[str, Any] = {}

    def f(x: wf.Tensor) -> wf.Tensor:
        loss = (x * x).sum()
        logs["loss"] = loss.detach()
        return loss

    return f, lambda: logs["loss"]


def the_result_itself() -> tuple[Callable[..., Any], Callable[[], Any]]:
    logs: dict[str, Any] = {"n": 3}

    def f(x: wf.Tensor) -> wf.Tensor:
        logs["loss"] = (x * x).sum()
        return logs["loss"]

    return f, lambda: logs["loss"]


def slot() -> tuple[Callable[..., Any], Callable[[], Any]]:
    box = Slotted()

    def f(x: wf.Tensor) -> wf.Tensor:
        box.kept = wf.tanh(x)
        return x

    return f, lambda: box.kept


def variable() -> tuple[Callable[..., Any], Callable[[], Any]]:
    last = None

    def f(x: wf.Tensor) -> wf.Tensor:
        nonlocal last
        last = x - 1.0
        return x

    return f, lambda: last


def variable_that_is_read_too() -> tuple[Callable[..., Any], Callable[[], Any]]:
    h = wf.zeros(3)

    def f(x: wf.Tensor) -> wf.Tensor:
        nonlocal h
        h = h * 0.5 + x
        return h.sum()

    return f, lambda: h


def tuple_of_two() -> tuple[Callable[..., Any], Callable[[], Any]]:
    box = SimpleNamespace(state=(wf.zeros(3), wf.ones(3)))

    def f(x: wf.Tensor) -> wf.Tensor:
        h, c = box.state
        box.state = (h + x, c * x)
        return box.state[0] * 2.0

    return f, lambda: list(box.state)


def two_places() -> tuple[Callable[..., Any], Callable[[], Any]]:
    box, logs = SimpleNamespace(a=None), {}

    def f(x: wf.Tensor) -> wf.Tensor:
        box.a = logs["a"] = x * 3.0
        return x

    def look() -> Any:
        assert box.a is logs["a"]
        return box.a

    return f, look


def module_attribute_made_once() -> tuple[Callable[..., Any], Callable[[], Any]]:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mask: Any = None
            self.register_buffer("seen", None)

        def forward(self, x: wf.Tensor) -> wf.Tensor:
            if self.mask is None:
                self.mask = wf.arange(3) > 0
            self.seen = x * 1.0
            return wf.where(self.mask, x, 0.0)

    net = Masked()
    return net, lambda: [net.mask, net.seen]


def the_argument() -> tuple[Callable[..., Any], Callable[[], Any]]:
    box = SimpleNamespace(last=None)

    def f(x: wf.Tensor) -> wf.Tensor:
        box.last = x
        return x * 2.0

    return f, lambda: box.last


def the_argument_that_is_rebound() -> tuple[Callable[..., Any], Callable[[], Any]]:
    logs: dict[str, Any] = {}

    def f(x: wf.Tensor) -> wf.Tensor:
        x += 1.0
        logs["in"] = x
        return x * 2.0

    return f, lambda: logs["in"]


def a_running_average_in_a_dict() -> tuple[Callable[..., Any], Callable[[], Any]]:
    shadow = {"w": wf.zeros(3), "v": wf.ones(3)}

    def f(x: wf.Tensor) -> wf.Tensor:
        for name in shadow:
            shadow[name] = shadow[name] * 0.5 + x
        return shadow["w"] + shadow["v"]

    return f, lambda: list(shadow.values())


def a_sum_that_begins_as_a_number() -> tuple[Callable[..., Any], Callable[[], Any]]:
    logs: dict[str, Any] = {"loss": 0.0, "n": 3}

    def f(x: wf.Tensor) -> wf.Tensor:
        logs["loss"] += (x * x).sum().detach()
        return x

    return f, lambda: logs["loss"]


def plain_layers_in_a_list() -> tuple[Callable[..., Any], Callable[[], Any]]:
    class Norm:
        def __init__(self) -> None:
            self.mean = wf.zeros(3)

        def __call__(self, x: wf.Tensor) -> wf.Tensor:
            self.mean = self.mean * 0.5 + x * 0.5
            return x - self.mean

    layers = [Norm(), Norm()]

    def f(x: wf.Tensor) -> wf.Tensor:
        for layer in layers:
            x = layer(x)
        return x

    return f, lambda: [layer.mean for layer in layers]


PLACES = [
    attribute,
    key_of_a_dict,
    the_result_itself,
    slot,
    variable,
    variable_that_is_read_too,
    tuple_of_two,
    two_places,
    module_attribute_made_once,
    the_argument,
    the_argument_that_is_rebound,
    a_running_average_in_a_dict,
    a_sum_that_begins_as_a_number,
    plain_layers_in_a_list,
]


def numbers(tree: Any) -> Any:
    return [numbers(t) for t in tree] if isinstance(tree, list) else tree.tolist()


@pytest.mark.parametrize("make", PLACES)
def test_what_is_stored_is_as_after_an_eager_call(make: Callable[[], Any]) -> None:
    seen = []
    for compiled in (False, True):
        function, look = make()
        run = wf.compile(function) if compiled else function
        found = []
        for k in range(4):
            result = run(wf.asarray(X) * float(k + 1))
            found.append((numbers(result), numbers(look())))
        seen.append(found)
    assert seen[0] == seen[1]


@pytest.mark.parametrize("make", [attribute, key_of_a_dict, variable, tuple_of_two])
def test_each_call_leaves_a_tensor_of_its_own(make: Callable[[], Any]) -> None:
    function, look = make()
    run = wf.compile(function)
    run(wf.asarray(X))
    first = look()
    before = numbers(first)
    run(wf.asarray(X) * 5.0)
    assert numbers(first) == before and numbers(look()) != before, "a tensor that was there is not the next call's"


def test_each_call_stores_and_reads_a_gradient_that_is_found_anew() -> None:
    weight, logs = wf.tensor(X).requires_grad_(), dict[str, Any]()

    @wf.compile
    def f(x: wf.Tensor) -> wf.Tensor:
        assert weight.grad is not None
        logs["x"] = x
        return weight.grad + x

    for n in range(5):  # from the third on the quick way
        weight.grad, x = wf.full(3, float(n)), wf.ones(3) * n
        assert f(x).tolist() == [2.0 * n] * 3
        assert logs["x"] is x


class Marked(nn.Module):
    """A module that is called after somebody has stored a tensor in it."""

    def __init__(self) -> None:
        super().__init__()
        self.mark: Any = None
        self.calls = 0

    def forward(self, x: wf.Tensor) -> wf.Tensor:
        return (x if self.mark is None else x * self.mark).sum()


def stores_before(outer: nn.ModuleList, x: wf.Tensor) -> wf.Tensor:
    outer[0].mark = x * 2.0
    return outer[0](x)


def takes_it_back(outer: nn.ModuleList, x: wf.Tensor) -> wf.Tensor:
    result = stores_before(outer, x)
    outer[0].mark = None
    return result


def counts_too(outer: nn.ModuleList, x: wf.Tensor) -> wf.Tensor:
    outer[0].calls += 1
    outer[0].mark = x * outer[0].calls
    return outer[0](x)


@pytest.mark.parametrize("function", [stores_before, takes_it_back, counts_too])
def test_a_module_is_called_after_a_tensor_was_stored_in_it(function: Callable[..., wf.Tensor]) -> None:
    plain, captured = nn.ModuleList([Marked()]), nn.ModuleList([Marked()])
    run = wf.compile(lambda x: function(captured, x))
    for n in range(5):
        x = wf.tensor(X) + float(n)
        assert run(x).item() == function(plain, x).item()
        assert repr(captured[0].mark) == repr(plain[0].mark) and captured[0].calls == plain[0].calls
    assert len(run.cache_info().graphs) <= 2


def test_what_is_stored_has_its_history() -> None:
    seen = []
    for compiled in (False, True):
        w, box = wf.tensor(X, requires_grad=True), SimpleNamespace(kept=None)

        def f(x: wf.Tensor, w: wf.Tensor = w, box: Any = box) -> wf.Tensor:
            h = wf.tanh(x * w)
            box.kept = h * w
            return h

        run: Any = wf.compile(f) if compiled else f
        for _ in range(2):
            (run(wf.asarray(X)) * box.kept).sum().backward()
        assert w.grad is not None
        seen.append(w.grad.numpy().tobytes())
    assert seen[0] == seen[1]


def test_what_a_library_keeps_is_refused_at_the_line() -> None:
    kept: queue.Queue[Any] = queue.Queue()

    @wf.compile
    def f(x: wf.Tensor) -> wf.Tensor:
        kept.put(x * 2.0)
        return x

    with pytest.raises(wf.CaptureError, match=r"kept in a deque(.|\n)*test_stores\.py"):
        f(wf.asarray(X))


def test_an_error_in_the_capture_takes_everything_back() -> None:
    class Failing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls, self.h, self.fails = 0, wf.zeros(3), True
            self.register_buffer("seen", None)
            self.register_buffer("mean", wf.zeros(3))

        def forward(self, x: wf.Tensor) -> wf.Tensor:
            self.calls += 1
            self.h = self.h + x
            self.seen = x * 2.0
            self.mean = self.mean * 0.5 + x
            logs["loss"] = x.sum()
            history.append(x * 4.0)
            return x @ wf.ones((7, 2)) if self.fails else self.h + self.mean

    logs: dict[str, Any] = {}
    history: list[Any] = []
    net = Failing()
    h = net.h
    run = wf.compile(net)
    for _ in range(2):
        with pytest.raises(wf.ShapeError):
            run(wf.asarray(X))
        assert net.calls == 0 and net.h is h and net.seen is None and net.mean.tolist() == [0.0] * 3
        assert logs == {} and history == []
    net.fails = False
    assert net(wf.asarray(X)).tolist() == [2.0 * x for x in X], "the module is as good as new"


def test_an_error_in_the_first_run_takes_stores_back() -> None:
    logs: dict[str, Any] = {}

    @wf.compile
    def f(table: wf.Tensor, i: wf.Tensor) -> wf.Tensor:
        logs["rows"] = wf.take(table, i, axis=0)
        return logs["rows"] * 2.0

    with pytest.raises(IndexError, match="index 9"):
        f(wf.ones((4, 2)), wf.asarray([9]))
    assert logs == {}
    assert f(wf.ones((4, 2)), wf.asarray([3])).tolist() == [[2.0, 2.0]] and logs["rows"].tolist() == [[1.0, 1.0]]


def test_what_is_not_run_stores_nothing(tmp_path: Any) -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mask: Any = None

        def forward(self, x: wf.Tensor) -> wf.Tensor:
            if self.mask is None:
                self.mask = wf.arange(3) > 0
            return wf.where(self.mask, x, 0.0)

    net = Masked()
    wf.eval_shape(net, wf.spec(3))
    assert net.mask is None
    wf.compile(net).graph(wf.asarray(X))
    assert net.mask is None
    wf.save(net, tmp_path / "masked.onnx", example=wf.asarray(X))
    assert net.mask.tolist() == [False, True, True], "saving runs the example"
    assert wf.load(tmp_path / "masked.onnx")(wf.asarray(X)).tolist() == [0.0, -2.0, 3.0]


class Scaled(nn.Module):
    """A module whose forward is compiled where it is defined."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(wf.asarray(X))

    @wf.compile
    def forward(self, x: wf.Tensor) -> wf.Tensor:
        return x * self.scale

    @classmethod
    @wf.compile
    def doubled(cls, x: wf.Tensor) -> wf.Tensor:
        return x * 2.0

    @staticmethod
    @wf.compile
    def halved(x: wf.Tensor) -> wf.Tensor:
        return x * 0.5


@wf.compile
def tripled(x: wf.Tensor) -> wf.Tensor:
    return x * 3.0


def test_compiled_methods_of_classes() -> None:
    x = wf.asarray(X)
    assert Scaled.doubled(x).tolist() == Scaled().doubled(x).tolist() == [2.0, -4.0, 6.0]
    assert Scaled.halved(x).tolist() == Scaled().halved(x).tolist() == [0.5, -1.0, 1.5]


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_of_what_has_been_called_compiled(copied: Callable[[Any], Any]) -> None:
    net = Scaled()
    x = wf.asarray(X)
    before = net(x).tolist()
    other = copied(net)
    assert other(x).tolist() == before
    with wf.no_grad():
        net.scale.assign(wf.zeros(3))
    assert net(x).tolist() == [0.0] * 3
    shared = copied is copy.copy
    assert other(x).tolist() == ([0.0] * 3 if shared else before)
    assert copied(tripled)(x).tolist() == [3.0, -6.0, 9.0]


def test_settings_that_are_not_hashable() -> None:
    from dataclasses import dataclass

    @dataclass
    class Config:
        factor: float
        names: list[str]

    @wf.compile
    def f(x: wf.Tensor, config: Any, names: Any) -> wf.Tensor:
        return x * config.factor + float(len(names))

    x, config = wf.asarray(1.0), Config(2.0, [])
    assert f(x, config, {"a", "b"}).item() == 4.0
    assert f(x, config, {"a", "b", "c"}).item() == 5.0
    assert f(x, SimpleNamespace(factor=3.0), set()).item() == 3.0
    assert f(x, Config(5.0, ["x"]), frozenset({1})).item() == 6.0


def test_floats_that_change_are_warned_about_once() -> None:
    f = wf.compile(lambda x, rate: x * [rate][int(rate) * 0])  # an index: its value is needed
    with pytest.warns(UserWarning, match="captured 4 times because a Python float") as caught:
        found = [f(wf.asarray(2.0), 0.5 * k).item() for k in range(12)]
    assert found == list(range(12)) and len(caught) == 1


def test_numpy_numbers_are_python_numbers_in_both_modes() -> None:
    import numpy as np

    for number in (np.float64(2.5), np.float32(2.5), np.int64(3), np.bool_(True)):
        for function in (lambda x, k: x * k, lambda x, k: wf.maximum(x, k)):
            x = wf.asarray(X)
            eager, compiled = function(x, number), wf.compile(function)(x, number)
            assert (eager.dtype, eager.tolist()) == (compiled.dtype, compiled.tolist())


@pytest.mark.parametrize(
    "change", [lambda a: a["l"].append(a["x"]), lambda a: a.update(y=a["x"]), lambda a: a.update(x=a["x"] * 2.0)]
)
def test_lists_and_dicts_among_the_arguments_are_not_changed_in_vain(change: Callable[[Any], None]) -> None:
    @wf.compile
    def f(batch: dict[str, Any]) -> wf.Tensor:
        change(batch)
        return batch["x"]

    with pytest.raises(wf.CaptureError, match="changes a list or dict among its arguments"):
        f({"x": wf.asarray(X), "l": [wf.asarray(1.0)]})


def test_a_buffer_that_is_written_and_read_needs_one_more_capture_at_most() -> None:
    class Running(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("last", None)
            self.inner = nn.Linear(3, 3)

        def forward(self, x: wf.Tensor) -> wf.Tensor:
            self.last = x * 2.0
            return self.inner(x) + self.last

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.run = Running()

        def forward(self, x: wf.Tensor) -> wf.Tensor:
            return self.run(self.run(x)) + self.run.last

    net, eager = Twice(), Twice()  # eager code makes the buffer another tensor, for which a graph is captured anew
    eager.load_state_dict(net.state_dict())
    f = wf.compile(net)
    for k in range(6):
        x = wf.asarray(X) * float(k)
        found = f(x)
        expected = net.run.last.tolist()
        assert found.tolist() == eager(x).tolist() and eager.run.last.tolist() == expected
    assert len(f.cache_info().graphs) <= 2


def test_an_argument_that_is_stored_is_the_callers_tensor() -> None:
    box = SimpleNamespace(last=None)

    @wf.compile
    def f(x: wf.Tensor) -> wf.Tensor:
        box.last = x
        return x * 2.0

    for k in range(3):
        x = wf.asarray(X) * float(k)
        f(x)
        assert box.last is x


@pytest.mark.parametrize("make", [attribute, key_of_a_dict, slot, module_attribute_made_once])
def test_a_store_costs_no_capture_from_the_third_call_on(make: Callable[[], Any]) -> None:
    function, _ = make()
    run = wf.compile(function)
    for _ in range(6):
        run(wf.asarray(X))
    assert len(run.cache_info().graphs) <= 2


def test_a_parameter_that_is_made_inside_is_refused() -> None:
    box = SimpleNamespace(p=None)

    @wf.compile
    def f(x: wf.Tensor) -> wf.Tensor:
        box.p = nn.Parameter(x * 2.0)
        return x * box.p

    with pytest.raises(wf.CaptureError, match=r"a Parameter float32.* is stored"):
        f(wf.asarray(X))
    assert "p" not in vars(box) or box.p is None


def test_what_a_function_reads_of_its_arguments_is_guarded() -> None:
    batch = SimpleNamespace(x=wf.asarray(1.0), scale=2.0)
    f = wf.compile(lambda b: b.x * b.scale)
    assert f(batch).item() == 2.0
    batch.x, batch.scale = wf.asarray(5.0), 3.0
    assert f(batch).item() == 15.0
    models = {"m": lambda x: x * 2.0}
    g = wf.compile(lambda x: models["m"](x))
    assert g(wf.asarray(1.0)).item() == 2.0
    models["m"] = lambda x: x * 7.0
    assert g(wf.asarray(1.0)).item() == 7.0


@pytest.mark.parametrize("inspect", [False, True])
def test_what_was_there_is_there_after_a_failure_or_a_look(inspect: bool) -> None:
    box, slots, first = SimpleNamespace(v=None, k=wf.ones(2)), Slotted(), wf.ones(3)
    slots.kept = first
    table: dict[str, Any] = {"v": None, "k": first, "z": 5}
    items = [None, first]
    last = first

    def f(x: wf.Tensor) -> wf.Tensor:
        nonlocal last
        box.v = slots.kept = last = x * 2.0
        box.k = x * 3.0
        table["k"] = table["new"] = x * 4.0
        items[0] = x * 5.0
        if not inspect:
            raise ValueError("the user's own")
        del items[0]
        return x

    k = box.k
    if inspect:
        wf.compile(f).graph(wf.asarray(X))
    else:
        with pytest.raises(ValueError, match="the user's own"):
            wf.compile(f)(wf.asarray(X))
        assert items[0] is None and items[1] is first
    assert box.v is None and box.k is k and slots.kept is first and last is first
    assert table.keys() == {"v", "k", "z"} and table["k"] is first and table["z"] == 5


def test_a_module_that_sets_an_attribute_more_than_once() -> None:
    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.h: Any = None
            self.l = nn.Linear(3, 3)

        def forward(self, x: wf.Tensor) -> wf.Tensor:
            self.h = self.l(x)
            for _ in range(3):
                self.h = wf.tanh(self.l(x) + self.h)
            return self.h

    net = Steps()
    run = wf.compile(net)
    for k in range(3):
        x = wf.asarray(X) * float(k)
        found = run(x)
        assert found is net.h and found.tolist() == net(x).tolist()


def test_the_sign_of_zero_is_a_guard() -> None:
    box = SimpleNamespace(v=0.0)
    f = wf.compile(lambda x: x / box.v)
    assert f(wf.asarray(1.0)).item() == float("inf")
    box.v = -0.0
    assert f(wf.asarray(1.0)).item() == float("-inf")


def test_a_gradient_mode_that_outlives_the_function_is_refused() -> None:
    def f(x: wf.Tensor) -> wf.Tensor:
        wf.set_grad_enabled(False)
        return x * 2.0

    with pytest.raises(wf.CaptureError, match="set_grad_enabled"):
        wf.compile(f)(wf.asarray(X))
    assert (wf.tensor(X, requires_grad=True) * 2.0).requires_grad


def test_a_copy_of_an_object_has_methods_of_its_own() -> None:
    class Scale:
        def __init__(self, k: float) -> None:
            self.k = k

        def plain(self, x: wf.Tensor) -> wf.Tensor:
            return x * self.k

        other = wf.compile(plain)

    a, x, captures = Scale(1.0), wf.asarray(1.0), []
    assert a.other(x).item() == 1.0 and a.other is a.other and "plain" not in vars(a)
    b = copy.copy(a)
    b.k = 3.0
    assert b.other(x).item() == 3.0 and a.other(x).item() == 1.0
    a.other = lambda x: captures  # type: ignore[method-assign, assignment, return-value]
    assert a.other(x) is captures
    del a.other
    assert a.other(x).item() == 1.0


def _ping_pong(kind: str) -> tuple[Any, Callable[[], Any]]:
    """An object, and a function that writes one of its two buffers and lets them change places."""
    base = wf.arange(6.0)
    first, second = (base[:3], base[3:]) if kind == "views" else (wf.zeros((3,)), wf.ones((3,)))
    if kind == "a list" or kind == "a dict":
        items: Any = [first, second] if kind == "a list" else {0: first, 1: second}

        def in_items() -> Any:
            items[1].copy_(items[0] * 2.0 + 1.0)
            items[0], items[1] = items[1], items[0]
            return items[0] * 1.0

        return lambda: (items[0], items[1]), in_items
    if kind == "variables":

        def in_variables() -> Any:
            nonlocal first, second
            second.copy_(first * 2.0 + 1.0)
            first, second = second, first
            return first * 1.0

        return lambda: (first, second), in_variables
    box: Any = nn.Module() if kind == "a module" else SimpleNamespace()
    box.first, box.second = first, second

    def in_attributes() -> Any:
        box.second.copy_(box.first * 2.0 + 1.0)
        box.first, box.second = box.second, box.first
        return box.first * 1.0

    return lambda: (box.first, box.second), in_attributes


@pytest.mark.parametrize("kind", ["an object", "a module", "a list", "a dict", "variables", "views"])
def test_buffers_from_outside_may_change_places(kind: str) -> None:
    """What is stored was there before: every run stores it, not the capture alone."""
    seen: list[list[Any]] = []
    for compiled in (False, True):
        buffers, function = _ping_pong(kind)
        run: Any = wf.compile(function) if compiled else function
        own, played = buffers(), []
        for _ in range(6):
            result = run()
            played.append([t.tolist() for t in (result, *buffers())])
            played.append([[t is o for o in own] for t in buffers()])
        seen.append(played)
    assert seen[0] == seen[1]


def test_an_argument_and_a_captured_tensor_are_kept() -> None:
    box = SimpleNamespace(given=None, own=None)
    captured = wf.ones((2,))

    def f(x: wf.Tensor) -> wf.Tensor:
        box.given, box.own = x, captured
        return x + captured

    run = wf.compile(f)
    for x in (wf.zeros((2,)), wf.ones((2,)), captured, wf.zeros((2,))):
        box.given = box.own = None
        run(x)
        assert box.given is x and box.own is captured


def test_a_call_that_fails_stores_nothing_from_outside() -> None:
    old, new = wf.zeros((3,)), wf.ones((3,))
    box = SimpleNamespace(kept=old)

    def f(i: wf.Tensor) -> wf.Tensor:
        box.kept = new
        return new[i]

    run = wf.compile(f)
    for _ in range(2):
        with pytest.raises(IndexError):
            run(wf.tensor([7]))
        assert box.kept is old
    run(wf.tensor([1]))
    assert box.kept is new


@pytest.mark.parametrize("first", ["stored", "another"])
def test_a_store_counts_though_its_tensor_is_there_already(first: str) -> None:
    """Where the place is given another tensor later, a run stores the function's own again."""
    own, other = wf.ones((2,)), wf.zeros((2,))
    net, box = nn.Module(), SimpleNamespace()

    def f() -> wf.Tensor:
        net.kept, box.kept = own, own
        return other + 1.0

    run = wf.compile(f)
    for held in (own if first == "stored" else other, other, own, other):
        net.kept = box.kept = held
        run()
        assert net.kept is own and box.kept is own


def test_a_store_that_is_not_made_leaves_what_is_there() -> None:
    box = SimpleNamespace(on=False, kept=wf.ones((2,)))
    other = wf.zeros((2,))

    def f(x: wf.Tensor) -> wf.Tensor:
        if box.on:
            box.kept = other
        return x * 2.0

    run = wf.compile(f)
    for on in (False, False, True, False):
        box.on, box.kept = on, wf.ones((2,))
        before = box.kept
        run(other)
        assert box.kept is (other if on else before)


@pytest.mark.parametrize("made", [0.0, [1.0, 2.0]])
@pytest.mark.parametrize("where", ["dict", "attribute", "optimizer"])
def test_a_tensor_made_of_data_that_is_kept_and_written(where: str, made: Any) -> None:
    kept, holder, p = dict[str, Any](), SimpleNamespace(n=None), nn.Parameter(wf.zeros(1))
    state: Any = wf.optim.SGD([p]).state

    @wf.compile
    def f(x: wf.Tensor) -> None:
        if where == "attribute":
            if holder.n is None:
                holder.n = wf.tensor(made)
            n = holder.n
        else:
            own = kept if where == "dict" else state[p]
            if "n" not in own:
                own["n"] = wf.tensor(made)
            n = own["n"]
        n += 1
        x.add_(n.sum())

    def get() -> Any:
        return holder.n if where == "attribute" else (kept if where == "dict" else state[p])["n"]

    first = None
    for _ in range(2):
        x, sums = wf.zeros(1), 0.0
        for k in range(1, 4):
            f(x)
            sums += float((wf.tensor(made) + k).sum())
            assert get().tolist() == (wf.tensor(made) + k).tolist()
            assert x.item() == sums
        assert get() is not first
        first = get()
        holder.n = None
        kept.clear()
        state[p].clear()


def test_a_view_takes_the_place_of_what_it_shows() -> None:
    box = SimpleNamespace()

    def f() -> None:
        box.kept = box.kept.view(3)

    run = wf.compile(f)
    for value in (1.0, 2.0, 3.0):
        box.kept = wf.full((3,), value)
        for _ in range(2):
            before = box.kept
            run()
            box.kept.add_(1.0)
            assert box.kept is not before and box.kept.tolist() == before.tolist()


# --- gradients as objects, items, views --------------------------------------------------------------------------


def _leaves() -> tuple[wf.Tensor, wf.Tensor]:
    p, q = (wf.tensor([float(n), 2.0, 3.0]).requires_grad_() for n in range(2))
    p.grad, q.grad = wf.ones(3), wf.full((3,), 2.0)
    return p, q


GRADIENTS: dict[str, Callable[[wf.Tensor, wf.Tensor, Any, wf.Tensor], Any]] = {
    "an argument": lambda p, q, box, x: setattr(p, "grad", x),
    "a captured tensor": lambda p, q, box, x: setattr(p, "grad", box.other),
    "another gradient": lambda p, q, box, x: setattr(p, "grad", q.grad),
    "another new gradient": lambda p, q, box, x: ((q * x).sum().backward(), setattr(p, "grad", q.grad)),
    "what is stored": lambda p, q, box, x: (setattr(box, "kept", x * 2.0), setattr(p, "grad", box.kept)),
    "two of one tensor": lambda p, q, box, x: (setattr(p, "grad", x * 2.0), setattr(q, "grad", p.grad)),
    "stored as it was": lambda p, q, box, x: setattr(box, "kept", p.grad),
    "stored, then dropped": lambda p, q, box, x: (setattr(box, "kept", p.grad), setattr(p, "grad", None)),
    "stored when it was written": lambda p, q, box, x: ((p * x).sum().backward(), setattr(box, "kept", p.grad)),
    "stored when it is new": lambda p, q, box, x: (
        setattr(p, "grad", None),
        (p * x).sum().backward(),
        setattr(box, "kept", p.grad),
    ),
    "written, then dropped": lambda p, q, box, x: (p.grad.mul_(2.0), setattr(p, "grad", None)),  # type: ignore[union-attr]
    "a view of a captured tensor": lambda p, q, box, x: setattr(p, "grad", box.base[1:4]),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_a_gradient_that_is_assigned_is_the_very_object(name: str) -> None:
    """Which of the names are one object, which share memory, and what they hold is as in plain code at each call."""

    def told(compiled: bool) -> list[Any]:
        p, q = _leaves()
        box = SimpleNamespace(kept=None, other=wf.full((3,), 5.0), base=wf.arange(5.0))
        x, found = wf.ones(3), []

        def f(x: wf.Tensor) -> wf.Tensor:
            GRADIENTS[name](p, q, box, x)
            return x + 1.0

        step = wf.compile(f) if compiled else f
        for number in range(4):
            before = p.grad, q.grad
            step(x)
            tensors = [p.grad, q.grad, box.kept, box.other, box.base, x, *before]
            found.append([next(i for i, t in enumerate(tensors) if t is tensor) for tensor in tensors])
            for tensor in tensors:
                if tensor is not None:
                    with wf.no_grad():
                        tensor.add_(1.0)  # whoever shares its memory sees that
            found.append([t if t is None else t.tolist() for t in tensors])
            if number == 1:
                x, p.grad, q.grad = wf.full((3,), 3.0), wf.ones(3), wf.ones(3)
            elif p.grad is None:
                p.grad = wf.ones(3)
        return found

    assert told(True) == told(False)


def test_a_result_is_the_gradient_that_it_becomes() -> None:
    p, _ = _leaves()

    @wf.compile
    def f(x: wf.Tensor) -> tuple[wf.Tensor, wf.Tensor | None]:
        before = p.grad
        p.grad = x * 2.0
        return p.grad, before

    for _ in range(3):
        was = p.grad
        new, old = f(wf.ones(3))
        assert new is p.grad
        assert old is was


def test_a_stored_view_of_a_captured_tensor_keeps_its_history() -> None:
    w = wf.tensor(2.0).requires_grad_()
    box = SimpleNamespace(kept=None, other=(wf.arange(3.0) * w)[:])

    @wf.compile
    def f(x: wf.Tensor) -> wf.Tensor:
        box.kept = box.other.view(3)
        return x

    f(wf.ones(1))
    assert box.kept is not None
    box.kept.sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == 3.0


def test_a_gradient_that_shares_memory_and_is_written_with_a_history_gets_it() -> None:
    w = wf.tensor(2.0).requires_grad_()
    p, q = _leaves()
    q.grad = p.grad.detach()  # type: ignore[union-attr]

    @wf.compile
    def f(x: wf.Tensor) -> wf.Tensor:
        p.grad.mul_(w)  # type: ignore[union-attr]
        return q.grad * 1.0  # type: ignore[operator]

    assert f(wf.ones(1)).tolist() == [2.0] * 3
    assert p.grad is not None
    p.grad.sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == 3.0


@pytest.mark.parametrize("way", ["list", "dict", "update"])
def test_what_is_stored_where_it_was_already_is_stored_when_it_is_gone(way: str) -> None:
    kept, other = wf.ones(3), wf.zeros(3)
    items: Any = [kept] if way == "list" else {0: kept}

    def f(x: wf.Tensor) -> wf.Tensor:
        items[0] = kept
        return x * 1.0

    def g(x: wf.Tensor) -> wf.Tensor:
        items.update({0: kept})
        return x * 1.0

    step = wf.compile(g if way == "update" else f)
    for _ in range(3):
        step(wf.ones(3))
        assert items[0] is kept
        items[0] = other
    step(wf.ones(3))
    assert items[0] is kept


def test_a_result_that_follows_no_history_is_made_after_the_write() -> None:
    w = wf.tensor(2.0).requires_grad_()
    y = wf.arange(8.0) * w

    @wf.compile
    def f(x: wf.Tensor) -> wf.Tensor:
        x.add_(1.0)
        with wf.no_grad():
            return y[2:5]

    found = f(y[1:4])
    assert not found.requires_grad
    assert found.tolist() == [5.0, 7.0, 8.0]


def test_what_is_computed_of_a_view_that_follows_no_history_refuses_backward() -> None:
    p, w = wf.tensor(1.0).requires_grad_(), wf.tensor(2.0).requires_grad_()
    y = wf.arange(8.0) * w
    with wf.no_grad():
        untracked = y[2:5]

    @wf.compile
    def f(x: wf.Tensor) -> wf.Tensor:
        x.mul_(w)
        return untracked * p

    with pytest.raises(wf.AutogradError, match="a view that was made under no_grad"):
        f(y[2:5]).sum().backward()


class Frozen:
    """Made before gc.freeze(), so that the collector does not show it to those who ask what holds a tensor."""

    def __init__(self) -> None:
        self.kept: Any = None
        self.log: list[Any] = []
        self.inner: dict[str, Any] = {}


@pytest.fixture
def frozen() -> Iterator[Frozen]:
    made = Frozen()
    gc.freeze()
    yield made
    gc.unfreeze()


def test_stores_in_frozen_objects_are_part_of_every_run(frozen: Frozen) -> None:
    seen = Frozen()

    def f(x: wf.Tensor) -> wf.Tensor:
        frozen.kept = x * 2
        frozen.inner["k"] = seen.kept = x + 1  # held by one that is shown as well
        return x * 3

    f = wf.compile(f)
    assert gc.get_freeze_count() > 1000
    for value in (1.0, 2.0):
        assert f(wf.tensor([value])).tolist() == [value * 3]
        assert frozen.kept.tolist() == [value * 2]
        assert frozen.inner["k"].tolist() == [value + 1] and frozen.inner["k"] is seen.kept


IN_A_FROZEN_LIST = """
import gc, sys, threading
import weft as wf

class Log: pass

log = Log()
log.old, log.new = [], None
gc.freeze()
log.new = []  # younger than what holds it
done = threading.Event()
if sys.argv[1] == "threads":
    threading.Thread(target=done.wait).start()
for items in (log.old, log.new):
    try:
        # Code without source, which Python 3.13 has for -c too.
        wf.compile(eval(compile("lambda x: items.append(x * 2)", "nowhere", "eval")))(wf.ones(2))
    except wf.CaptureError as error:
        assert "is kept in a list" in str(error) and not items
        print("refused")
done.set()
"""


@pytest.mark.parametrize("threads", ["alone", "threads"])
def test_what_is_kept_in_a_frozen_list_is_refused(threads: str) -> None:
    """In a process of its own: all objects are looked at, and a test's process has millions."""
    done = subprocess.run(
        [sys.executable, "-c", IN_A_FROZEN_LIST, threads], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["refused", "refused"], done.stderr


def test_a_failed_capture_takes_its_stores_in_frozen_objects_back(frozen: Frozen) -> None:
    def f(x: wf.Tensor) -> wf.Tensor:
        vars(frozen)["kept"] = x * 2
        frozen.log.append(x * 3)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        wf.compile(f)(wf.ones(2))
    assert frozen.kept is None
    assert not frozen.log


class Slots(list[Any]):
    __slots__ = ("kept", "other")


@pytest.mark.parametrize("make", [Slots, lambda: weakref.proxy(slotted)], ids=["a list with slots", "a proxy"])
def test_a_failed_capture_leaves_slots_of_any_object_as_they_were(make: Callable[[], Any]) -> None:
    box = make()
    box.other = 2.0

    def f(x: wf.Tensor) -> wf.Tensor:
        box.kept = x * box.other
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        wf.compile(f)(wf.ones(2))
    assert not hasattr(box, "kept") and box.other == 2.0


slotted = Slotted()


@pytest.mark.parametrize("data", [np.full((1, 1), 1.5), np.zeros((2, 0)), np.ones((2, 3)).T, [[1.5]]], ids=repr)
@pytest.mark.parametrize("stored", [False, True])
def test_data_inside_is_stored_only_where_somebody_holds_it(data: Any, stored: bool) -> None:
    box = SimpleNamespace(kept=None)

    def f(x: wf.Tensor) -> wf.Tensor:
        made = wf.tensor(data, dtype="float32")
        if stored:
            box.kept = made
        return x + 1

    run = wf.compile(f)
    for _ in range(2):
        assert run(wf.ones(2)).tolist() == [2.0, 2.0]
        if stored:
            assert box.kept.tolist() == np.asarray(data).tolist()
            box.kept.add_(1.0)  # the next call makes another
