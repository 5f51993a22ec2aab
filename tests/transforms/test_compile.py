"""Compiled functions: the same bits, state by reference, one native call, clear errors."""

from __future__ import annotations

import queue
import threading
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn, optim
from weft.compiler import build
from weft.nn import functional as F
from weft.tensor import guards

SCALE = 2.0


def training(compiled: bool, optimizer: str, steps: int = 6) -> tuple[list[np.ndarray[Any, Any]], list[bytes]]:
    """Parameters and losses of a small training, eager or compiled."""
    wf.manual_seed(3)
    rng = np.random.default_rng(0)
    net = nn.Sequential(nn.Linear(7, 16), nn.GELU(), nn.LayerNorm(16), nn.Dropout(0.25), nn.Linear(16, 3))
    opt: Any = {
        "sgd": lambda: optim.SGD(net.parameters(), lr=0.1),
        "momentum": lambda: optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        "adam": lambda: optim.Adam(net.parameters(), lr=0.01),
        "adamw": lambda: optim.AdamW(net.parameters(), lr=0.01),
    }[optimizer]()

    def step(x: wf.Tensor, y: wf.Tensor) -> wf.Tensor:
        loss = F.cross_entropy(net(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    run = wf.compile(step) if compiled else step
    losses = []
    for i in range(steps):
        x = wf.asarray(rng.standard_normal((11, 7)).astype(np.float32))
        y = wf.asarray(rng.integers(0, 3, 11))
        if i == 4:
            opt.param_groups[0]["lr"] = 0.003  # read by reference, not frozen
        losses.append(run(x, y).numpy().tobytes())
    return [p.numpy().copy() for p in net.parameters()], losses


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adamw"])
def test_a_training_step_gives_the_same_bits(optimizer: str) -> None:
    eager, eager_losses = training(False, optimizer)
    compiled, compiled_losses = training(True, optimizer)
    assert eager_losses == compiled_losses
    for a, b in zip(eager, compiled, strict=True):
        assert a.tobytes() == b.tobytes()


def test_gradients_are_there_after_a_compiled_step() -> None:
    p = wf.tensor([1.0, 2.0], requires_grad=True)

    @wf.compile
    def step() -> wf.Tensor:
        p.grad = None
        loss = (p * p).sum()
        loss.backward()
        return loss

    step()
    assert p.grad is not None and p.grad.tolist() == [2.0, 4.0]
    first = p.grad
    with wf.no_grad():
        p.assign(wf.asarray([5.0, 6.0]))
    step()
    assert p.grad.tolist() == [10.0, 12.0] and first.tolist() == [2.0, 4.0]


def test_gradients_accumulate_across_calls() -> None:
    p = wf.tensor([1.0, 2.0], requires_grad=True)

    @wf.compile
    def accumulate() -> None:
        (p * p).sum().backward()

    for n in (1, 2, 3):
        accumulate()
        assert p.grad is not None and p.grad.tolist() == [2.0 * n, 4.0 * n]


def test_state_is_updated_in_place_but_values_that_others_hold_are_not() -> None:
    counter = wf.zeros(1000)

    @wf.compile
    def bump(x: wf.Tensor) -> None:
        counter.assign(counter + x)

    bump(wf.asarray(1.0))
    address = counter._storage.address
    bump(wf.asarray(1.0))
    assert counter._storage.address == address, "nobody else held it: written in place"
    held = counter.numpy()
    alias = counter.detach()
    bump(wf.asarray(1.0))
    assert held[0] == 3.0 and alias[0].item() == 3.0 and counter[0].item() == 3.0


def test_an_argument_that_is_also_state() -> None:
    state = wf.asarray([1.0, 2.0])

    @wf.compile
    def f(x: wf.Tensor) -> wf.Tensor:
        state.assign(state * 2.0)
        return x + state

    assert f(state).tolist() == [4.0, 8.0], "one tensor: the argument is rebound with the state"
    assert state.tolist() == [2.0, 4.0]
    assert f(state).tolist() == [8.0, 16.0]
    assert f(wf.asarray([1.0, 1.0])).tolist() == [9.0, 17.0]


def test_memory_that_came_from_numpy_is_written() -> None:
    array = np.zeros(4, np.float32)
    state = wf.from_numpy(array)

    @wf.compile
    def f() -> None:
        state.assign(state + 1.0)

    f()
    f()
    assert state.tolist() == [2.0] * 4 and array.tolist() == [2.0] * 4


def test_a_new_signature_is_captured_again() -> None:
    @wf.compile
    def f(x: wf.Tensor, n: int = 1) -> wf.Tensor:
        return x * n

    a = wf.ones(3)
    f(a), f(a), f(a, 1), f(a, n=2), f(a, n=2), f(wf.ones(4)), f(wf.ones(3, dtype=wf.float64))
    assert len(f.cache_info().graphs) == 5
    assert f(a, n=2).tolist() == [2.0] * 3


def test_python_numbers_that_the_code_names_are_part_of_the_signature() -> None:
    global SCALE
    factor = 3.0

    @wf.compile
    def f(x: wf.Tensor) -> wf.Tensor:
        return x * SCALE * factor

    SCALE = 2.0
    assert f(wf.asarray(1.0)).item() == 6.0
    SCALE, factor = 5.0, 7.0
    assert f(wf.asarray(1.0)).item() == 35.0
    SCALE = 2.0


def test_training_mode_is_a_guard() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    f = wf.compile(lambda x: net(x))
    x = wf.ones((64, 4))
    assert (f(x).numpy() == 0).any()
    net.eval()
    assert not (f(x).numpy() == 0).any()
    net.train()
    assert (f(x).numpy() == 0).any()


def test_random_numbers_advance_from_call_to_call() -> None:
    wf.manual_seed(1)
    eager = [wf.random.uniform((5,)).numpy().tobytes() for _ in range(3)]
    wf.manual_seed(1)
    f = wf.compile(lambda: wf.random.uniform((5,)))
    assert [f().numpy().tobytes() for _ in range(3)] == eager
    assert len(set(eager)) == 3


def test_nested_results_and_arguments() -> None:
    @wf.compile
    def f(batch: dict[str, Any]) -> dict[str, Any]:
        return {"sum": batch["a"] + batch["b"][0], "pair": (batch["a"], [batch["b"][0]]), "none": None}

    a, b = wf.ones(2), np.full(2, 2.0, np.float32)
    out = f({"a": a, "b": [b]})
    assert out["sum"].tolist() == [3.0, 3.0] and out["pair"][0].tolist() == [1.0, 1.0] and out["none"] is None


def test_one_tensor_returned_twice_and_an_input_returned() -> None:
    f = wf.compile(lambda x: (x, x * 2.0, x * 2.0))
    a, b, c = f(wf.asarray([1.0]))
    assert (a.item(), b.item(), c.item()) == (1.0, 2.0, 2.0)


def test_a_compiled_function_can_be_differentiated_from_outside() -> None:
    w = wf.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    x = wf.tensor([[1.0, -1.0]], requires_grad=True)

    def model(v: wf.Tensor) -> wf.Tensor:
        return wf.tanh(v @ w)

    model(x).sum().backward()
    assert w.grad is not None and x.grad is not None
    expected = w.grad.numpy().tobytes(), x.grad.numpy().tobytes()
    w.grad = x.grad = None
    wf.compile(model)(x).sum().backward()
    assert (w.grad.numpy().tobytes(), x.grad.numpy().tobytes()) == expected  # type: ignore[attr-defined]


def test_compiled_inside_compiled_is_one_graph() -> None:
    inner = wf.compile(lambda x: x * 2.0)
    outer = wf.compile(lambda x: inner(x) + 1.0)
    assert outer(wf.asarray(3.0)).item() == 7.0
    assert "multiply" in repr(outer.graph(wf.asarray(3.0)))


def test_methods_are_compiled_for_each_instance() -> None:
    class Model:
        def __init__(self, k: float) -> None:
            self.k = wf.asarray(k)

        @wf.compile
        def forward(self, x: wf.Tensor) -> wf.Tensor:
            return x * self.k

    a, b = Model(2.0), Model(3.0)
    assert a.forward(wf.asarray(1.0)).item() == 2.0 and b.forward(wf.asarray(1.0)).item() == 3.0


@pytest.mark.parametrize(
    "body",
    [
        "if x.sum() > 0: x = x * 2.0",
        "while (x < 3.0).all(): x = x + 1.0",
        "x = x * x.sum().item()",
        "x = x * float(x.sum())",
        "print(x.numpy())",
        "assert x.any()",
    ],
)
def test_needing_a_value_inside_a_capture_is_an_error_at_the_line(body: str) -> None:
    names: dict[str, Any] = {"wf": wf}
    exec(compile(f"def f(x):\n    y = x\n    {body}\n    return x\n", "user_code.py", "exec"), names)
    with pytest.raises(wf.CaptureError) as caught:
        wf.compile(names["f"])(wf.ones(3))
    assert "user_code.py:3" in str(caught.value)
    names["f"](wf.ones(3)) if "while" not in body else None  # eagerly it runs


def test_errors_in_a_capture_are_the_eager_errors_and_leave_no_trace() -> None:
    state = wf.ones(3)

    def f(x: wf.Tensor) -> wf.Tensor:
        state.assign(state * 2.0)
        return x @ wf.ones((785, 128))

    with pytest.raises(wf.ShapeError) as caught:
        wf.compile(f)(wf.ones((32, 784)))
    assert "matmul: (32, 784) @ (785, 128)" in str(caught.value) and __file__ in str(caught.value)
    assert state.tolist() == [1.0] * 3
    assert (wf.ones(2) + wf.ones(2)).tolist() == [2.0, 2.0]


def test_what_a_library_keeps_in_a_capture_is_refused_and_left_as_it_was() -> None:
    kept: queue.Queue[wf.Tensor] = queue.Queue()

    @wf.compile
    def f(x: wf.Tensor) -> wf.Tensor:
        kept.put(x * 2.0)
        return x

    for _ in range(2):
        with pytest.raises(wf.CaptureError, match=r"kept in a deque(.|\n)*test_compile.py"):
            f(wf.ones(2))


def test_results_must_be_tensors() -> None:
    with pytest.raises(wf.CaptureError, match=r"must return tensors.*str"):
        wf.compile(lambda x: "no")(wf.ones(2))


def test_index_out_of_range_in_compiled_code() -> None:
    f = wf.compile(lambda w, i: F.embedding(i, w))
    with pytest.raises(IndexError, match="index 9 is out of range for axis 0 of size 4"):
        f(wf.ones((4, 2)), wf.asarray([0, 9]))


def test_equal_kernels_are_compiled_once() -> None:
    x = wf.ones((3, 5))
    wf.compile(lambda a: wf.exp(a) * 3.25)(x)
    before = len(build._loaded)
    wf.compile(lambda a: wf.exp(a) * 7.5)(wf.ones((40, 60)))
    assert len(build._loaded) == before


def test_eager_kernels_are_generic_in_sizes() -> None:
    a, b = wf.ones((4, 6)), wf.ones((6, 3))
    F.softmax(a, -1), a @ b, a.sum(axis=0), a.sum(axis=1)
    before = len(build._loaded)
    for m, k, n in ((5, 7, 9), (64, 128, 33), (300, 17, 2)):
        a, b = wf.ones((m, k)), wf.ones((k, n))
        F.softmax(a, -1), a @ b, a.sum(axis=0), a.sum(axis=1)
    assert len(build._loaded) == before


def test_graph_and_explanation_are_readable() -> None:
    @wf.compile
    def f(x: wf.Tensor, w: wf.Tensor) -> wf.Tensor:
        return F.relu(x @ w)

    x, w = wf.ones((4, 5)), wf.ones((5, 6))
    text = repr(f.graph(x, w))
    assert "contract(" in text and "relu" in text and "test_compile.py:" in text
    table = repr(f.explain(x, w))
    assert "matmul" in table and "% of peak" in table and len(f.explain(x, w).rows) == 1


def test_every_stage_prints() -> None:
    (kernel,) = wf.compile(lambda x: wf.sqrt(x) * 2.0).kernels(wf.ones((3, 4)))
    assert str(kernel).startswith("Nest(") and "sqrt:float32" in str(kernel)
    assert "llvm.sqrt" in kernel.llvm() and "sqrt" in kernel.asm()


def test_explain_does_not_change_state() -> None:
    state = wf.zeros(3)

    @wf.compile
    def f() -> None:
        state.assign(state + 1.0)

    f.explain()
    assert state.tolist() == [0.0] * 3
    f()
    assert state.tolist() == [1.0] * 3


def test_other_threads_run_eagerly_while_one_captures() -> None:
    started, go, out = threading.Event(), threading.Event(), []

    @wf.compile
    def f(x: wf.Tensor) -> wf.Tensor:
        started.set()
        go.wait(10)
        return x * 2.0

    worker = threading.Thread(target=lambda: out.append(f(wf.ones(2)).tolist()))
    worker.start()
    started.wait(10)
    assert (wf.ones(2) + 5.0).tolist() == [6.0, 6.0]
    go.set()
    worker.join()
    assert out == [[2.0, 2.0]]


def test_detach_reads_state_by_reference() -> None:
    w = wf.asarray([1.0, 2.0])
    x = wf.asarray([1.0, 1.0])

    @wf.compile
    def f() -> wf.Tensor:
        return x * w.detach()

    assert f().tolist() == [1.0, 2.0]
    w.assign(wf.asarray([5.0, 6.0]))
    assert f().tolist() == [5.0, 6.0]


def test_an_old_value_that_is_handed_on_outlives_the_update() -> None:
    a, b = wf.asarray([1.0]), wf.asarray([10.0])

    @wf.compile
    def f() -> wf.Tensor:
        old = a.clone()
        a.assign(b + 1.0)
        b.assign(old)
        return old

    for expected, left, right in ((1.0, 11.0, 1.0), (11.0, 2.0, 11.0), (2.0, 12.0, 2.0)):
        assert (f().item(), a.item(), b.item()) == (expected, left, right)


def test_the_value_of_a_tensor_from_outside_is_not_frozen_into_the_graph() -> None:
    w = wf.asarray(2.0)
    scaled = wf.compile(lambda x: x * w.item())
    for value in (2.0, 3.0, -0.5):
        w.fill_(value)
        assert scaled(wf.ones((2,))).tolist() == [value, value]
    assert scaled.graph(wf.ones((2,))).inputs[1].shape == ()  # w, by reference


def test_freezing_and_freeing_parameters_is_noticed() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    opt = optim.SGD(net.parameters(), lr=0.1)

    @wf.compile
    def step(x: wf.Tensor) -> wf.Tensor:
        loss = net(x).sum()
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    x = wf.ones((3, 2))
    step(x)
    net[0].weight.requires_grad_(False)
    before = net[0].weight.numpy().tobytes()
    step(x)
    assert net[0].weight.numpy().tobytes() == before and net[0].weight.grad is None
    net[0].weight.requires_grad_()
    step(x)
    assert net[0].weight.numpy().tobytes() != before and net[0].weight.grad is not None


@pytest.mark.parametrize("optimizer", [optim.SGD, optim.Adam])
def test_an_index_out_of_range_leaves_all_state_as_it_was(optimizer: Any) -> None:
    table, linear = nn.Embedding(4, 2), nn.Linear(2, 1)
    parameters = [*table.parameters(), *linear.parameters()]
    opt = optimizer(parameters, lr=0.1)

    @wf.compile
    def step(i: wf.Tensor) -> wf.Tensor:
        loss = linear(table(i)).sum()
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    step(wf.asarray([1, 2]))
    tensors = [*parameters, *(t for held in opt.state.values() for t in held.values())]
    before = [t.numpy().tobytes() for t in tensors]
    with pytest.raises(IndexError, match="index 9 is out of range"):
        step(wf.asarray([1, 9]))
    assert [t.numpy().tobytes() for t in tensors] == before


def test_two_tensors_that_are_bound_to_one_new_value() -> None:
    a, b = wf.asarray([1.0]), wf.asarray([10.0])

    @wf.compile
    def f() -> wf.Tensor:
        new = a + b
        a.assign(new)
        b.assign(new)
        return new * 2.0

    for expected in (11.0, 22.0, 44.0):
        assert f().item() == 2.0 * expected
        assert (a.item(), b.item()) == (expected, expected)


def test_backward_through_a_tape_from_outside_is_an_error() -> None:
    p = wf.tensor([1.0, 2.0], requires_grad=True)
    loss = (p * p).sum()
    with pytest.raises(wf.CaptureError, match="recorded before the capture"):
        wf.compile(lambda: loss.backward())()
    loss.backward()
    assert p.grad is not None and p.grad.tolist() == [2.0, 4.0]


def test_state_that_changes_at_each_call_is_reported() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def forward(self, x: wf.Tensor) -> wf.Tensor:
            self.calls += 1
            return x * len("x" * self.calls)  # its value is needed

    net = Counting()
    f = wf.compile(lambda x: net(x))
    with pytest.warns(UserWarning, match=r"captured 9 times .*Counting"):
        assert [f(wf.asarray(1.0)).item() for _ in range(12)] == list(range(1, 13))


def test_a_warm_step_changes_nothing_that_guards_read() -> None:
    """Else each call of every compiled function looks at all guards again."""
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3), nn.Softmax(-1))
    opt = optim.AdamW(net.parameters(), lr=1e-3)

    @wf.compile
    def step(x: wf.Tensor) -> wf.Tensor:
        loss = net(x).square().sum()
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    x = wf.ones((2, 4))
    for _ in range(3):
        step(x)
    before = guards.version()
    step(x)
    assert guards.version() == before


class _Counted:
    def __init__(self) -> None:
        self.n = 0

    def plain(self, x: Any) -> Any:
        self.n += 1
        return x * self.n

    @wf.compile
    def compiled(self, x: Any) -> Any:
        self.n += 1
        return x * self.n


class _CountedModule(nn.Module):
    calls = 0

    @classmethod
    def count(cls) -> None:
        cls.calls += 1

    def forward(self, x: Any) -> Any:
        self.count()
        return x * self.calls


@pytest.mark.parametrize("kind", ["a method", "a compiled method", "a module", "an item", "an attribute"])
def test_state_of_compiled_functions_that_compiled_functions_call(kind: str) -> None:
    counted, module = _Counted(), _CountedModule()
    _CountedModule.calls = 0
    held = {"f": wf.compile(counted.plain)}
    inner = {"a method": held["f"], "a compiled method": counted.compiled, "a module": wf.compile(module)}.get(kind)

    @wf.compile
    def outer(x: Any) -> Any:
        if kind == "an item":
            return held["f"](x) + 1
        return (counted.compiled(x) if inner is None else inner(x)) + 1

    assert [outer(wf.ones(1)).item() for _ in range(5)] == [2.0, 3.0, 4.0, 5.0, 6.0]
    assert counted.n + _CountedModule.calls == 5


def test_objects_that_a_value_would_choose_are_named() -> None:
    first, second = _Counted(), _Counted()

    @wf.compile
    def run(x: Any) -> Any:
        if x.sum() > 0:
            return first
        return second

    with pytest.raises(wf.CaptureError, match="what is returned is an object of _Counted on one way and another"):
        run(wf.ones(2))
