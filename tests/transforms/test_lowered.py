"""``wf.compile(f).lower(*specs)``: what it says is what the call has, which is a hit; no memory is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import weft as wf
from weft.nn import functional as F
from weft.transforms import compile as module


def refuse(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("captured once more")


def mlp_step() -> Any:
    wf.manual_seed(0)
    net = wf.nn.Sequential(wf.nn.Linear(12, 16), wf.nn.ReLU(), wf.nn.Linear(16, 4))
    opt = wf.optim.AdamW(net.parameters(), lr=1e-2)

    @wf.compile
    def step(x: Any, y: Any) -> Any:
        loss = F.cross_entropy(net(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    return step


X, Y = wf.spec((8, 12)), wf.spec((8,), wf.int64)


def batch(n: int = 8) -> tuple[Any, Any]:
    return wf.ones((n, 12)) / 3.0, wf.zeros((n,), dtype=wf.int64)


def test_the_call_that_comes_is_a_hit_with_the_bits_of_one_that_was_not_lowered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain, step = mlp_step(), mlp_step()
    expected = [plain(*batch()).numpy().tobytes() for _ in range(3)]
    step.lower(X, Y)
    with monkeypatch.context() as patched:
        patched.setattr(module, "capture", refuse)
        assert [step(*batch()).numpy().tobytes() for _ in range(3)] == expected


def test_it_says_what_a_call_has() -> None:
    step = mlp_step()
    lowered = step.lower(X, Y)
    assert [str(k) for k in lowered.kernels] == [str(k) for k in step.kernels(*batch())]
    assert repr(lowered.graph) == repr(step.graph(*batch()))
    measured, said = step.explain(*batch()), lowered.explain()
    assert [(r.kernel, r.where, r.nbytes, r.flops) for r in said.rows] == [
        (r.kernel, r.where, r.nbytes, r.flops) for r in measured.rows
    ]
    assert all(r.seconds is None and r.peak is None for r in said.rows)
    assert lowered.nbytes == sum(r.nbytes for r in measured.rows) and lowered.arena_nbytes == measured.arena_nbytes
    assert lowered.flops == sum(r.flops for r in measured.rows)
    assert f"{len(lowered.kernels)} kernels" in repr(lowered) and " - " in str(said)


def test_no_memory_is_taken() -> None:
    """Of arguments that no machine has: 2**40 bytes."""
    lowered = wf.compile(lambda x: (x * 2.0).sum()).lower(wf.spec((1 << 19, 1 << 19)))
    assert lowered.nbytes >= 1 << 40


def test_nothing_of_the_state_changes() -> None:
    net = wf.nn.Linear(3, 3)
    before = [p.numpy().tobytes() for p in net.parameters()]
    opt = wf.optim.SGD(net.parameters(), lr=0.1)

    @wf.compile
    def step(x: Any) -> Any:
        loss = net(x).sum()
        loss.backward()
        opt.step()
        return loss

    step.lower(wf.spec((2, 3)))
    assert [p.numpy().tobytes() for p in net.parameters()] == before
    assert all(p.grad is None for p in net.parameters())


def test_a_name_is_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    f = wf.compile(lambda a, b: F.softmax(a @ b, -1))
    lowered = f.lower(wf.spec(("n", 24)), wf.spec((24, 10)))
    assert set(lowered.sizes) == {"n"} and "float32[n, 24]" in repr(lowered.graph)
    data = {n: (wf.ones((n, 24)) / n, wf.ones((24, 10))) for n in (2, 7, 64, 333)}
    with monkeypatch.context() as patched:
        patched.setattr(module, "capture", refuse)
        for a, b in data.values():
            assert f(a, b).numpy().tobytes() == F.softmax(a @ b, -1).numpy().tobytes()


def test_names_that_are_equal_are_one_size_and_others_are_not_taken_for_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    f = wf.compile(lambda a, b: {"sum": a["x"] + b[0]})
    f.lower({"x": wf.spec(("n", "m"))}, [wf.spec(("n", "m"))])
    with monkeypatch.context() as patched:
        patched.setattr(module, "capture", refuse)
        assert f({"x": wf.ones((3, 9))}, [wf.ones((3, 9))])["sum"].shape == (3, 9)
        with pytest.raises(AssertionError, match="once more"):
            f({"x": wf.ones((3, 9))}, [wf.ones((1, 9))])


@pytest.mark.parametrize(("least", "greatest"), [(2, 5), (100, 100), (700, None), (0, None), (1, 2)])
def test_figures_are_for_a_size_of_the_range(least: int, greatest: int | None) -> None:
    f = wf.compile(lambda x: x + 1.0, dynamic={"x": {0: ("n", least, greatest)}})
    size = f.lower(wf.spec(("n", 3))).sizes["n"]
    assert max(least, 2) <= size and (greatest is None or size <= greatest)


def test_a_size_that_dynamic_says_needs_no_name() -> None:
    f = wf.compile(lambda x: x + 1.0, dynamic={"x": {0: "n"}})
    assert f.lower(wf.spec((5, 3))).sizes == {"n": 5}


def test_arrays_tensors_and_python_values_count_as_they_do_in_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    f = wf.compile(lambda x, y, times, flag=False: (x + y) * times if flag else x)
    f.lower(np.ones((2, 3), np.float32), wf.ones((2, 3)), 2, flag=True)
    with monkeypatch.context() as patched:
        patched.setattr(module, "capture", refuse)
        assert f(np.ones((2, 3), np.float32), wf.ones((2, 3)), 2, flag=True).numpy().tolist() == [[4.0] * 3] * 2


def test_lowered_twice_is_captured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    f = wf.compile(lambda x: x + 1.0)
    first = f.lower(wf.spec(("n", 3)))
    with monkeypatch.context() as patched:
        patched.setattr(module, "capture", refuse)
        assert f.lower(wf.spec(("n", 3))).sizes == first.sizes


def test_a_method_and_a_module_are_lowered_too() -> None:
    net = wf.compile(wf.nn.Linear(3, 5))
    assert net.lower(wf.spec(("n", 3))).graph.outputs[0].shape[1] == 5

    class Model:
        @wf.compile
        def forward(self, x: Any) -> Any:
            return x * 2.0

    assert len(Model().forward.lower(wf.spec((4,))).kernels) == 1


def need_number(x: Any) -> Any:
    return sum((x[i] for i in range(x.shape[0])), wf.zeros(()))


WRONG: dict[str, tuple[Callable[..., Any], tuple[Any, ...], type[Exception], str]] = {
    "a number is needed": (need_number, (wf.spec(("n",)),), wf.CaptureError, "n was said to be any"),
    "a value is needed": (lambda x: x * x.tolist()[0], (wf.spec((3,)),), wf.CaptureError, "value"),
    "shapes that do not fit": (lambda x, y: x @ y, (wf.spec((3, 4)), wf.spec((5, 6))), wf.ShapeError, "matmul"),
    "too few arguments": (lambda x, y: x, (wf.spec((3,)),), TypeError, "y"),
    "a range without a size of two": (lambda x: x, (wf.spec(("n",)),), wf.ArgumentError, "give numbers"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_and_the_function_is_as_it_was(name: str) -> None:
    function, specs, error, said = WRONG[name]
    dynamic = {"x": {0: ("n", 0, 1)}} if "range" in name else None
    f = wf.compile(function, dynamic=dynamic)  # type: ignore[arg-type]
    with pytest.raises(error, match=said):
        f.lower(*specs)
    if name == "a number is needed":
        assert f(wf.ones((4,))).numpy() == 4.0


def test_an_expression_of_names_needs_a_name_of_its_own() -> None:
    n = wf.spec(("n",)).shape[0]
    with pytest.raises(wf.ShapeError, match="a name of its own"):
        wf.compile(lambda x: x).lower(wf.spec((n + 1,)))


def test_a_tensor_that_wants_a_gradient_stands_for_one_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    f = wf.compile(lambda x: (x * x).sum())
    x = wf.ones((3,)).requires_grad_()
    f.lower(x)
    with monkeypatch.context() as patched:
        patched.setattr(module, "capture", refuse)
        f(wf.ones((3,)).requires_grad_()).backward()
        with pytest.raises(AssertionError, match="once more"):
            f(wf.ones((3,)))
