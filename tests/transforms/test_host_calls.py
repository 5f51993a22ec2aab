"""Python code inside a run: results are what eager code gives, and whatever it does, state and memory stay in order."""

from __future__ import annotations

import gc
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from few_examples import few
from host_calls import double, host_op, positions, sum_and_difference
from hypothesis import given
from hypothesis import strategies as st

import weft as wf

SHAPE = (3, 4)


def tensor(seed: int, shape: tuple[int, ...] = SHAPE) -> wf.Tensor:
    return wf.asarray(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def bits(*tensors: Any) -> list[bytes]:
    return [np.ascontiguousarray(t.numpy()).tobytes() for t in tensors]


class Countdown:
    """A host call that raises when it has been called so many times; None: never."""

    left: int | None = None

    def __call__(self, params: Any, operands: Any, results: Any) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise LookupError("as asked")
        results[0][...] = np.sqrt(np.abs(operands[0]))


countdown = Countdown()
fragile = host_op(countdown, name="fragile")

# Each takes what there is so far and the state, and gives a tensor of SHAPE.
LINES: list[Callable[[list[Any], list[Any]], Any]] = [
    lambda values, state: double(values[-1]),
    lambda values, state: fragile(values[-1] + state[0]),
    lambda values, state: fragile(fragile(values[0]).T.reshape(SHAPE)),
    lambda values, state: sum_and_difference(values[-1], values[0])[1],
    lambda values, state: sum_and_difference(wf.tanh(values[-1]), state[0])[0],
    lambda values, state: positions(wf.flip(values[-1], axis=1)).astype("float32") * 0.5,
    lambda values, state: wf.exp(-wf.abs(values[-1])) @ (values[0].T @ state[0]),
    lambda values, state: values[-1] - wf.max(fragile(values[-1][1:]), axis=0),
    lambda values, state: state[0].add_(values[-1]) * 0.25,
    lambda values, state: state[1].copy_(fragile(values[-1])) + 1.0,
    lambda values, state: state[2].mul_(0.5).copy_(values[-1]) + state[0],
    lambda values, state: double(state[1]) - wf.sum(values[-1], axis=1, keepdims=True),
]


def program(lines: list[int], state: list[wf.Tensor]) -> Callable[[wf.Tensor], tuple[wf.Tensor, ...]]:
    def run(x: wf.Tensor) -> tuple[wf.Tensor, ...]:
        values = [x]
        for line in lines:
            values.append(LINES[line](values, state))
        return values[-1], values[len(values) // 2]

    return run


def new_state() -> list[wf.Tensor]:
    strided = tensor(3, (4, 3)).T  # an update of it is computed elsewhere and copied
    return [tensor(1), tensor(2), strided]


@few(25, 300, st.lists(st.integers(0, len(LINES) - 1), min_size=1, max_size=8), st.one_of(st.none(), st.integers(0, 6)))
def test_programs_give_what_eager_code_gives_and_fail_without_a_trace(lines: list[int], fails_at: int | None) -> None:
    x, countdown.left = tensor(0), None
    eager_state, state = new_state(), new_state()
    expected = bits(*program(lines, eager_state)(x))
    compiled = wf.compile(program(lines, state))
    untouched = bits(*state)
    countdown.left = fails_at
    try:
        found = compiled(x)
    except LookupError:
        assert bits(*state) == untouched
        countdown.left = None
        found = compiled(x)
    finally:
        countdown.left = None
    assert bits(*found) == expected
    assert bits(*state) == bits(*eager_state)


# --- errors -----------------------------------------------------------------------------------------------------


class Unlike(Exception):
    """An error of the user's own."""


def raising(error: BaseException) -> Any:
    def call(params: Any, operands: Any, results: Any) -> None:
        results[0][...] = 7.0
        raise error

    return host_op(call, name="raising")


ERRORS = [TypeError, AttributeError, KeyError, Unlike, MemoryError, StopIteration, KeyboardInterrupt, SystemExit]


@pytest.mark.parametrize("kind", ERRORS)
def test_what_it_raises_reaches_the_user_as_itself(kind: type[BaseException]) -> None:
    error = kind("mine")
    op, state = raising(error), tensor(1)

    def step(x: wf.Tensor) -> wf.Tensor:
        state.add_(x)
        y = op(x + 1.0)  # the line
        state.mul_(2.0)
        return y

    compiled = wf.compile(step)
    before = bits(state)
    for function in (op, compiled):
        with pytest.raises(kind) as caught:
            function(tensor(0))
        assert caught.value is error and error.__context__ is None and error.__cause__ is None
        shown = "".join(traceback.format_exception(error))
        assert "in call" in shown
    assert bits(state) == before
    if isinstance(error, Exception):  # of others, tracebacks show everything
        assert "src/weft/" not in shown and error.where[0] == __file__  # type: ignore[attr-defined]


def test_the_line_of_an_error_inside_a_captured_function_is_that_of_the_op() -> None:
    op = raising(Unlike())

    @wf.compile
    def f(x: wf.Tensor) -> wf.Tensor:
        y = x * 2.0
        return op(y)

    with pytest.raises(Unlike) as caught:
        f(tensor(0))
    assert caught.value.where[1] == f.__wrapped__.__code__.co_firstlineno + 3  # type: ignore[attr-defined]


def test_an_error_that_cannot_be_shown_reaches_the_user_too() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    with pytest.raises(Mute):
        raising(Mute())(tensor(0))


def test_the_context_of_an_error_stays() -> None:
    def call(params: Any, operands: Any, results: Any) -> None:
        try:
            raise KeyError(1)
        except KeyError:
            raise Unlike from ValueError("cause")

    with pytest.raises(Unlike) as caught:
        host_op(call)(tensor(0))
    assert type(caught.value.__context__) is KeyError and type(caught.value.__cause__) is ValueError


def test_arrays_in_a_traceback_keep_their_memory() -> None:
    def call(params: Any, operands: Any, results: Any) -> None:
        mine = operands[0]
        assert not mine.flags.writeable
        raise Unlike

    op = host_op(call)
    compiled = wf.compile(lambda x: op(wf.exp(x)) + 1.0)
    caught = []
    for seed in range(8):
        try:
            compiled(tensor(seed, (50, 50)))
        except Unlike as error:
            caught.append(error)
    for seed, error in enumerate(caught):
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if frame.f_code.co_name == "call"]
        assert frames[0].f_locals["mine"].tobytes() == bits(wf.exp(tensor(seed, (50, 50))))[0]


def test_keeping_an_array_is_an_error_that_keeps_its_memory() -> None:
    kept: list[Any] = []

    def call(params: Any, operands: Any, results: Any) -> None:
        results[0][...] = 1.0
        kept.append(operands[0] if len(kept) < 1 else results[0][1:])

    op = host_op(call, name="keeper")
    compiled = wf.compile(lambda x: op(wf.exp(x)) * 2.0)
    for function in (op, compiled):
        with pytest.raises(BufferError, match="keeper: its Python code keeps an array"):
            function(tensor(5))
    assert kept[0].tobytes() == bits(tensor(5))[0] and (kept[1] == 1.0).all()
    held = wf.memory.stats().current
    kept.clear()
    assert wf.memory.stats().current < held


def test_garbage_that_holds_an_array_is_none_of_its_faults() -> None:
    def call(params: Any, operands: Any, results: Any) -> None:
        results[0][...] = operands[0]
        cycle: list[Any] = [operands[0]]
        cycle.append(cycle)

    gc.disable()
    try:
        assert bits(host_op(call)(tensor(5))) == bits(tensor(5))
    finally:
        gc.enable()


def test_operands_cannot_be_written() -> None:
    def call(params: Any, operands: Any, results: Any) -> None:
        operands[0][0] = 1.0

    with pytest.raises(ValueError, match="read-only"):
        host_op(call)(tensor(0))


def test_a_signal_inside_ends_the_run() -> None:
    def call(params: Any, operands: Any, results: Any) -> None:
        results[0][...] = operands[0]
        if armed:
            signal.raise_signal(signal.SIGINT)

    armed, op, state = True, host_op(call), tensor(1)

    @wf.compile
    def step(x: wf.Tensor) -> wf.Tensor:
        state.add_(x)
        return op(state * 1.0)

    before = bits(state)
    with pytest.raises(KeyboardInterrupt):
        step(tensor(0))
    assert bits(state) == before
    armed = False
    assert bits(step(tensor(0))) == bits(state)


# --- threads, forks, other code inside --------------------------------------------------------------------------

LARGE = (400, 700)  # so that the program lets go of the GIL


@pytest.fixture
def threads() -> Iterator[None]:
    count = wf.get_num_threads()
    wf.set_num_threads(4)
    yield
    wf.set_num_threads(count)


@pytest.mark.parametrize("shape", [SHAPE, LARGE])
def test_several_threads_are_inside_one_call(shape: tuple[int, ...], threads: None) -> None:
    inside = threading.Barrier(8, timeout=60)

    def call(params: Any, operands: Any, results: Any) -> None:
        inside.wait()  # comes back when all eight are here
        if operands[0][0, 0] > 1e6:
            raise Unlike
        results[0][...] = operands[0] * 2

    op = host_op(call)
    compiled = wf.compile(lambda x: wf.tanh(op(wf.exp(x)) + 1.0))
    inputs = [tensor(seed, shape) for seed in range(8)]
    inputs[3] = inputs[3] + 100.0  # this one fails
    expected = [bits(wf.tanh(wf.exp(x) * 2 + 1.0))[0] for x in inputs]
    inside.abort()
    with pytest.raises(threading.BrokenBarrierError):
        compiled(inputs[0])
    inside.reset()
    found: list[Any] = [None] * 8

    def run(at: int) -> None:
        try:
            found[at] = bits(compiled(inputs[at]))[0]
        except Unlike as error:
            found[at] = error

    workers = [threading.Thread(target=run, args=(at,)) for at in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert isinstance(found[3], Unlike)
    assert [f for at, f in enumerate(found) if at != 3] == [e for at, e in enumerate(expected) if at != 3]


@given(st.lists(st.booleans(), min_size=8, max_size=8))
def test_threads_that_fail_at_random_leave_all_state_right(fails: list[bool]) -> None:
    """Each run adds to the state as a whole, or not at all."""
    failing = threading.local()

    def call(params: Any, operands: Any, results: Any) -> None:
        results[0][...] = operands[0] + 1.0
        if failing.now:
            raise Unlike

    op, state = host_op(call), [wf.zeros(SHAPE), wf.zeros(SHAPE)]

    @wf.compile
    def step(x: wf.Tensor) -> None:
        state[0].add_(x)
        state[1].add_(op(state[0]) - state[0])

    def run(fail: bool) -> None:
        for _ in range(5):
            failing.now = fail
            try:
                step(wf.ones(SHAPE))
            except Unlike:
                assert fail

    workers = [threading.Thread(target=run, args=(fail,)) for fail in fails]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    done = 5.0 * fails.count(False)
    assert (state[0].numpy() == done).all() and (state[1].numpy() == done).all()


@pytest.mark.parametrize("shape", [SHAPE, LARGE])
def test_other_code_of_weft_runs_inside(shape: tuple[int, ...], threads: None) -> None:
    inner = wf.compile(lambda x: double(wf.sin(x)) + x)

    def call(params: Any, operands: Any, results: Any) -> None:
        x = wf.asarray(operands[0].copy())
        results[0][...] = (inner(x) - x * 0.5).numpy()

    op = host_op(call)
    compiled = wf.compile(lambda x: wf.exp(-wf.abs(op(wf.tanh(x)))))
    x = tensor(4, shape)
    y = wf.tanh(x)
    assert bits(compiled(x)) == bits(wf.exp(-wf.abs(inner(y) - y * 0.5)))


def test_code_inside_must_not_write_state_of_the_run() -> None:
    state, other = tensor(1), tensor(2)

    @wf.compile
    def inner(x: wf.Tensor) -> None:
        target.add_(x)

    def call(params: Any, operands: Any, results: Any) -> None:
        results[0][...] = operands[0]
        inner(wf.ones(SHAPE))

    op = host_op(call)

    @wf.compile
    def outer(x: wf.Tensor) -> wf.Tensor:
        state.add_(1.0)
        return op(x)

    target = other
    before = bits(state)
    outer(tensor(0))
    assert bits(state) != before
    target = state
    before = bits(state)
    with pytest.raises(
        wf.CaptureError, match="inner: Python code inside a run writes state that the run itself writes"
    ):
        outer(tensor(0))
    assert bits(state) == before
    inner(wf.ones(SHAPE))  # outside of it, it may


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("shape", [SHAPE, LARGE])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_inside(shape: tuple[int, ...], threads: None) -> None:
    """Parent and child each end the run on their own."""
    children: list[int] = []

    def call(params: Any, operands: Any, results: Any) -> None:
        results[0][...] = operands[0]
        children.append(os.fork())

    op, x = host_op(call), tensor(0, shape)
    compiled = wf.compile(lambda x: wf.exp(op(wf.sin(x)) * 2.0) + wf.sum(x))
    expected = bits(wf.exp(wf.sin(x) * 2.0) + wf.sum(x))
    found = bits(compiled(x)) == expected
    if children == [0]:
        os._exit(0 if found and bits(wf.exp(wf.sin(x) * 2.0) + wf.sum(x)) == expected else 1)
    assert found and os.waitpid(children[0], 0)[1] == 0


# --- the rest ---------------------------------------------------------------------------------------------------


def test_gradients_flow_through_several_outputs() -> None:
    def loss(x: wf.Tensor, y: wf.Tensor) -> Any:
        s, d = sum_and_difference(wf.exp(x), y)
        return wf.sum(s * d) + wf.sum(double(d))

    def same(x: wf.Tensor, y: wf.Tensor) -> Any:
        return wf.sum((wf.exp(x) + y) * (wf.exp(x) - y)) + wf.sum((wf.exp(x) - y) * 2.0)

    x, y = tensor(0), tensor(1)
    found, expected = (wf.grad(f, argnums=(0, 1))(x, y) for f in (loss, same))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)
    assert bits(*wf.compile(wf.grad(loss, argnums=(0, 1)))(x, y)) == bits(*found)


def test_a_call_with_several_outputs_is_one_step_and_no_kernel() -> None:
    @wf.compile
    def f(x: wf.Tensor) -> wf.Tensor:
        s, d = sum_and_difference(wf.exp(x), x)
        return s * d

    x = tensor(0)
    assert [row.kernel for row in f.explain(x).rows] == ["exp", "sum_and_difference", "multiply"]
    assert len(f.kernels(x)) == 2


def test_equal_calls_are_one_and_dead_ones_go() -> None:
    calls: list[int] = []

    def call(params: Any, operands: Any, results: Any) -> None:
        calls.append(1)
        results[0][...] = operands[0]

    op = host_op(call)

    @wf.compile
    def f(x: wf.Tensor) -> wf.Tensor:
        op(x * 2.0)
        return op(x) + op(x)

    f(tensor(0))
    assert len(calls) == 1


def test_files_and_libraries_refuse_it_by_op_and_line(tmp_path: Any) -> None:
    def f(x: wf.Tensor) -> wf.Tensor:
        return wf.linalg.inv(x)

    x, line = wf.eye(3), f.__code__.co_firstlineno + 1
    with pytest.raises(wf.CompileError, match="export: inv is computed by Python code") as caught:
        wf.export(f, tmp_path, example=x)
    assert caught.value.where == (__file__, line)
    with pytest.raises(wf.FormatError, match=rf"inv \(at .*:{line}\) cannot be written in ONNX"):
        wf.save(f, tmp_path / "f.onnx", example=x)
