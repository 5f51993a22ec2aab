"""Random programs: one result in every mode, NumPy's result, right gradients, state that is a value; changed files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from fuzz_programs import OPS, Array, Below, Program, draw_program, numpy_dtype, rolled, text_of
from fuzz_state import Story, Training, draw_story, draw_training, told, trained
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

import weft as wf

EPSILON = {"float64": 2.3e-16, "float32": 1.2e-7, "float16": 1e-3, "bfloat16": 8e-3}


def fuzz(examples: int) -> Callable[[Any], Any]:
    """Property of a source of choices, over so many examples."""
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]

    def decorate(test: Callable[[Below], None]) -> Any:
        def run(data: Any) -> None:
            test(lambda n: data.draw(st.integers(0, n - 1)))

        run.__name__, run.__doc__ = test.__name__, test.__doc__
        return settings(max_examples=examples, suppress_health_check=checks)(given(data=st.data())(run))

    return decorate


@pytest.fixture
def machine() -> Iterator[None]:
    """Puts the number of threads and the instruction set back."""
    threads, isa = wf.get_num_threads(), wf.configure().isa
    yield
    wf.configure(isa=isa)
    wf.set_num_threads(threads)


def bits(tensor: wf.Tensor) -> tuple[str, tuple[int, ...], bytes]:
    """dtype, shape and bits; which of the NaNs a NaN is does not count."""
    array = np.array(tensor.numpy(), order="C")
    if tensor.dtype.is_floating:
        array[np.isnan(array)] = np.nan
    return tensor.dtype.name, tuple(tensor.shape), array.tobytes()


def wide(array: Any) -> Array:
    """Floats as float64, everything else as it is."""
    array = np.asarray(array)
    return array if array.dtype.kind in "biu" else array.astype(np.float64)


def differences(program: Program, values: Sequence[wf.Tensor]) -> list[str]:
    """Steps whose results are not what NumPy computes from the very operands that weft had."""
    found = []
    for step, result in zip(program.steps, values[len(program.inputs) :], strict=True):
        meaning = OPS[step.op].meaning
        if meaning is None:
            continue
        with np.errstate(all="ignore"):
            expected = meaning(step.params, *(wide(values[i].numpy()) for i in step.operands))
        expected, scale = expected if isinstance(expected, tuple) else (expected, None)
        problem = difference(result, np.asarray(expected), scale)
        if problem:
            found.append(f"{step}: {problem}")
    return found


def difference(result: wf.Tensor, expected: Array, scale: Any) -> str:
    """How a result is wrong, or ""."""
    if tuple(result.shape) != expected.shape:
        return f"shape {result.shape}, not {expected.shape}"
    got = wide(result.numpy())
    if not result.dtype.is_floating:
        wrong = got != expected.astype(got.dtype)
    else:
        name = result.dtype.name
        limit = float(ml_dtypes.finfo(numpy_dtype(name)).max)
        size = np.abs(expected) if scale is None else np.asarray(scale, np.float64)
        with np.errstate(all="ignore"):
            far = np.abs(got - expected) > 40 * EPSILON[name] * size + (1e-300 if name == "float64" else 1e-7)
        judged = np.isfinite(expected) & np.isfinite(size) & (size < limit / 4)
        wrong = judged & (far | ~np.isfinite(got))
    at = np.argwhere(wrong)
    if not at.size:
        return ""
    first = tuple(at[0])
    return f"{len(at)} wrong, first at {first}: {got[first]!r}, not {expected[first]!r}"


def check_program(program: Program) -> None:
    """Eager and compiled runs give the same bits, and each step what NumPy says."""
    xs = program.arguments()
    values = program.values(xs)
    compiled = wf.compile(program.__call__)(*xs)
    assert [bits(t) for t in compiled] == [bits(values[i]) for i in program.outputs]
    assert differences(program, values) == []


@fuzz(10)
def test_random_programs_give_one_result_and_the_right_one(below: Below) -> None:
    program = draw_program(below, 10 + below(31))
    note(text_of(program))
    check_program(program)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(600))
def test_more_random_programs(seed: int) -> None:
    below = rolled(seed)
    program = draw_program(below, 10 + below(31 if seed % 8 else 150))
    note_on_failure(program)
    check_program(program)


def note_on_failure(program: Program) -> None:
    """What pytest shows of a test that fails."""
    print(text_of(program))


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_threads_and_instruction_sets_do_not_matter(seed: int, machine: None) -> None:
    below = rolled(seed)
    programs = [draw_program(below, 10 + below(15)) for _ in range(3)]
    results = []
    for isa, threads in ((None, 2), (None, 1), ("avx2", 2)):
        wf.configure(isa=isa)
        wf.set_num_threads(threads)
        results.append([[bits(t) for t in wf.compile(p.__call__)(*p.arguments())] for p in programs])
    assert results[0] == results[1] == results[2]


# --- gradients ----------------------------------------------------------------------------------------------------


def loss_of(program: Program, active: Sequence[int], seed: int) -> Any:
    """A smooth number of the floating inputs numbered ``active``; the others are fixed."""

    def loss(*given: wf.Tensor) -> wf.Tensor:
        inputs = list(fixed)
        for i, x in zip(active, given, strict=True):
            inputs[i] = x
        total = wf.asarray(0.0, dtype=wf.float64)
        for k, value in enumerate(program(*inputs)):
            if value.dtype.is_floating:
                weights = np.random.default_rng(seed + k).uniform(-1, 1, tuple(value.shape))
                total = total + (wf.tanh(value * 0.5) * wf.asarray(weights)).sum()
        return total

    fixed = program.arguments()
    return loss


def check_gradients(program: Program, seed: int) -> None:
    """wf.grad: the same bits eager and compiled, and the slope that differences of the function show."""
    inputs = program.arguments()
    active = [i for i, x in enumerate(inputs) if x.dtype.is_floating]
    loss = loss_of(program, active, seed)
    gradient = wf.grad(loss, argnums=tuple(range(len(active))))
    xs = [inputs[i] for i in active]
    eager = gradient(*xs)
    compiled = wf.compile(gradient)(*xs)
    assert [bits(g) for g in eager] == [bits(g) for g in compiled]
    rng = np.random.default_rng(seed)
    ways = [rng.uniform(-1, 1, tuple(x.shape)) for x in xs]
    slope = sum(float((g.numpy() * w).sum()) for g, w in zip(eager, ways, strict=True))

    def along(step: float) -> float:
        return float(loss(*(wf.asarray(x.numpy() + step * w) for x, w in zip(xs, ways, strict=True))))

    slopes = [(along(h) - along(-h)) / (2 * h) for h in (1e-4, 1e-5, 1e-6)]
    size = sum(float(np.abs(g.numpy() * w).sum()) for g, w in zip(eager, ways, strict=True))
    # One of the steps avoids both rounding and curvature (and kinks: abs, relu and the like are not drawn).
    assert min(abs(s - slope) for s in slopes) <= 2e-5 * size + 1e-6, (slope, slopes)


@fuzz(5)
def test_gradients_of_random_programs(below: Below) -> None:
    program = draw_program(below, 5 + below(16), ("float64",), smooth=True)
    note(text_of(program))
    check_gradients(program, below(1000))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(200))
def test_more_gradients(seed: int) -> None:
    below = rolled(seed)
    program = draw_program(below, 5 + below(16), ("float64",), smooth=True)
    note_on_failure(program)
    check_gradients(program, seed)


def check_rough_gradients(program: Program) -> None:
    """Gradients of any program have the same bits eager and compiled."""
    inputs = program.arguments()
    active = [i for i, x in enumerate(inputs) if x.dtype.is_floating]

    def loss(*given: wf.Tensor) -> wf.Tensor:
        xs = list(inputs)
        for i, x in zip(active, given, strict=True):
            xs[i] = x
        total = wf.asarray(0.0)
        for value in program(*xs):
            if value.dtype.is_floating:
                total = total + wf.astype(wf.tanh(value), wf.float32).sum()
        return total

    if active:
        both = wf.value_and_grad(loss, argnums=tuple(range(len(active))))
        xs = [inputs[i] for i in active]
        (value, gradients), (compiled, compiled_gradients) = both(*xs), wf.compile(both)(*xs)
        assert [bits(t) for t in (value, *gradients)] == [bits(t) for t in (compiled, *compiled_gradients)]


@fuzz(5)
def test_gradients_of_any_program_are_the_same_compiled(below: Below) -> None:
    program = draw_program(below, 5 + below(20))
    note(text_of(program))
    check_rough_gradients(program)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1000, 1300))
def test_more_gradients_of_any_program(seed: int) -> None:
    below = rolled(seed)
    program = draw_program(below, 5 + below(25))
    note_on_failure(program)
    check_rough_gradients(program)


def smooth_sum(values: Sequence[wf.Tensor]) -> wf.Tensor:
    """A number of type float32 that depends on all floating values."""
    total = wf.asarray(0.0)
    for value in values:
        if value.dtype.is_floating:
            total = total + wf.astype(wf.tanh(value), wf.float32).sum()
    return total


def check_gradients_through(program: Program, second: bool) -> None:
    """Gradients through compiled functions have the bits of eager ones: of first and second order, where the function
    is all there is, and where its operands and results are used before it, after it and beside it."""
    inputs = program.arguments()
    active = [i for i, x in enumerate(inputs) if x.dtype.is_floating]
    if not active:
        return

    def run(*given: wf.Tensor) -> list[wf.Tensor]:
        xs = list(inputs)
        for i, x in zip(active, given, strict=True):
            xs[i] = x
        found: list[wf.Tensor] = program(*xs)
        return found

    def seen(compiled: bool) -> list[Any]:
        part: Any = wf.compile(run) if compiled else run
        whole: Any = wf.compile(lambda *xs: smooth_sum(run(*xs))) if compiled else (lambda *xs: smooth_sum(run(*xs)))
        xs = [wf.tensor(inputs[i], requires_grad=True) for i in active]
        loss = whole(*xs)
        if not loss.requires_grad:
            return []
        loss.backward()
        middle = [x * wf.asarray(0.5, dtype=x.dtype) for x in xs]
        before = smooth_sum(middle)
        results = part(*middle)
        after = smooth_sum([wf.tanh(m) for m in middle] + results)
        (smooth_sum(results) + before + after).backward()
        found = [bits(x.grad) for x in xs if x.grad is not None]
        if second:

            def slope(*ys: wf.Tensor) -> wf.Tensor:
                first = wf.grad(lambda *zs: smooth_sum(part(*zs)), argnums=tuple(range(len(ys))))(*ys)
                return smooth_sum([*first, *part(*ys)])

            # After a walk with create_graph, whose records are real now, another one over the same run.
            ys = [wf.tensor(inputs[i], requires_grad=True) for i in active]
            again = smooth_sum(part(*ys))
            if again.requires_grad:
                again.backward(create_graph=True)
                for y in ys:
                    y.grad = None
                (again * 2.0 + smooth_sum([y * y for y in ys])).backward()
                found += [bits(y.grad) for y in ys if y.grad is not None]
            found += [bits(g) for g in wf.grad(slope, argnums=tuple(range(len(active))))(*(inputs[i] for i in active))]
        return found

    assert seen(True) == seen(False)


@fuzz(5)
def test_gradients_through_compiled_functions(below: Below) -> None:
    program = draw_program(below, 5 + below(15), smooth=bool(below(2)))
    note(text_of(program))
    check_gradients_through(program, below(2) == 1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2000, 2300))
def test_more_gradients_through_compiled_functions(seed: int) -> None:
    below = rolled(seed)
    program = draw_program(below, 5 + below(25), smooth=bool(below(2)))
    note_on_failure(program)
    check_gradients_through(program, below(3) == 1)


# --- state --------------------------------------------------------------------------------------------------------


def check_story(story: Story, seed: int) -> None:
    """A compiled function leaves the same world behind as an eager one: what shares memory with what, too."""
    eager, compiled = told(story, False, seed), told(story, True, seed)
    assert [i for i, (a, b) in enumerate(zip(eager, compiled, strict=True)) if a != b] == []


@fuzz(12)
def test_state_is_that_of_eager_code(below: Below) -> None:
    story = draw_story(below)
    note(repr(story))
    check_story(story, below(1000))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1000))
def test_more_state(seed: int) -> None:
    check_story(draw_story(rolled(seed)), seed)


# What a compiled function cannot do, and says so, where an eager one goes on.
OWN_ERRORS = ("recorded before the capture", "reaches an argument", "is None now")


def check_training(story: Training, seed: int) -> None:
    """Gradients, and what has a history, are the same after compiled calls; an error ends both."""
    eager, compiled = trained(story, False, seed), trained(story, True, seed)
    errors = [seen[-1] if isinstance(seen[-1], str) else "" for seen in (eager, compiled)]
    if any(errors):
        # What backward() has freed has a history for an eager call and none for a compiled one.
        count = min(len(eager), len(compiled)) - 1
        assert [(a[0], a[2]) for a in eager[:count]] == [(a[0], a[2]) for a in compiled[:count]]
        assert all(errors) or "a second time" in errors[0] or any(text in errors[1] for text in OWN_ERRORS), errors
        return
    assert [i for i, (a, b) in enumerate(zip(eager[:-1], compiled[:-1], strict=True)) if a != b] == []
    np.testing.assert_allclose(eager[-1], compiled[-1], rtol=1e-3, atol=1e-4)


@fuzz(8)
def test_training_is_the_same_compiled(below: Below) -> None:
    story = draw_training(below)
    note(repr(story))
    check_training(story, below(1000))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(500))
def test_more_training(seed: int) -> None:
    check_training(draw_training(rolled(seed)), seed)


# --- memory -------------------------------------------------------------------------------------------------------


def run_guarded(first: int, last: int, isa: str | None = None) -> None:
    """Cases of guarded_memory.py, in a process of their own."""
    folder = os.path.dirname(os.path.abspath(__file__))
    package = os.path.dirname(os.path.dirname(os.path.abspath(wf.__file__)))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([package, folder])} | ({"WEFT_ISA": isa} if isa else {})
    command = [sys.executable, os.path.join(folder, "guarded_memory.py"), str(first), str(last)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout.splitlines()[-1:]} ended with {done.returncode}: {done.stderr[-2000:]}"


@pytest.mark.skipif(sys.platform != "linux", reason="the page protection is Linux's")
@pytest.mark.parametrize("isa", [None, "avx2"])
def test_kernels_stay_within_their_buffers(isa: str | None) -> None:
    run_guarded(0, 40 if isa else 70, isa)


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="the page protection is Linux's")
@pytest.mark.parametrize("isa", [None, "avx2"])
@pytest.mark.parametrize("part", range(10))
def test_more_kernels_stay_within_their_buffers(part: int, isa: str | None) -> None:
    run_guarded(100 * part, 100 * (part + 1), isa)


# --- files --------------------------------------------------------------------------------------------------------


def run_files(first: int, last: int) -> None:
    """Seeds of fuzz_files.py, in a process of little memory."""
    folder = os.path.dirname(os.path.abspath(__file__))
    package = os.path.dirname(os.path.dirname(os.path.abspath(wf.__file__)))
    command = [sys.executable, "-X", "faulthandler", os.path.join(folder, "fuzz_files.py"), str(first), str(last)]
    environment = {**os.environ, "PYTHONPATH": package}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout.splitlines()[-1:]} ended with {done.returncode}: {done.stderr[-2000:]}"


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory is Linux's")
def test_changed_files_are_refused_or_run() -> None:
    run_files(0, 120)


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory is Linux's")
@pytest.mark.parametrize("part", range(20))
def test_more_changed_files(part: int) -> None:
    run_files(1000 * part, 1000 * (part + 1))
