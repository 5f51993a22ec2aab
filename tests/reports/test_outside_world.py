"""What is outside of the program: clocks, random numbers of others, iterators, printed text, errors half-way."""

from __future__ import annotations

import contextlib
import itertools
import random
import time
from typing import Any

import numpy as np
import pytest
from reported import Case, Reports, check, data

import weft as wf

report = Reports()

NOT_YET: dict[str, str | int] = {
    "a_generator_that_is_returned": "items = run(data(2))",
    "pythons_random_numbers": "return x * random.random()",
    "numpys_random_numbers": "return x + float(rng.random())",
    "an_iterator_that_is_used_up": "return x * next(numbers)",
    "a_seed_that_comes_from_the_clock": "now = time.perf_counter_ns()",
}
KNOWN_WRONG: dict[str, str] = {}


@report("pytorch/pytorch#198190")
def a_generator_that_is_returned(compiled: Any) -> Any:
    """What comes back is a generator with its return value, or it is refused."""

    def numbered(x: Any) -> Any:
        yield x * 1.0
        yield x * 2.0
        return "done"

    @compiled
    def run(x: Any) -> Any:
        return numbered(x)

    found: list[Any] = []
    for _ in range(2):
        items = run(data(2))
        found.append(type(items).__name__)
        while True:
            try:
                found.append(next(items))
            except StopIteration as stop:
                found.append(stop.value)
                break
    return found


@report("jax-ml/jax#1141")
def a_seed_that_comes_from_the_clock(compiled: Any) -> Any:
    """What a clock said at the first call is no constant."""
    times: list[int] = []

    @compiled
    def run(x: Any) -> Any:
        now = time.perf_counter_ns()
        times.append(now)
        return x + 1.0

    for _ in range(3):
        run(data(2))
    return len(set(times))


@report("scipy/scipy#24412")
def numpys_random_numbers(compiled: Any) -> Any:
    """A generator of NumPy moves on at every call."""
    rng = np.random.default_rng(5)

    @compiled
    def run(x: Any) -> Any:
        return x + float(rng.random())

    return [run(data(2)) for _ in range(3)]


@report("jax-ml/jax#1141")
def pythons_random_numbers(compiled: Any) -> Any:
    """The module ``random`` moves on at every call."""
    random.seed(5)

    @compiled
    def run(x: Any) -> Any:
        return x * random.random()

    return [run(data(2)) for _ in range(3)]


@report("pytorch/pytorch#93737")
def an_iterator_that_is_used_up(compiled: Any) -> Any:
    """``next`` of an iterator outside gives another number at every call."""
    numbers = itertools.count(1)

    @compiled
    def run(x: Any) -> Any:
        return x * next(numbers)

    return [run(data(2)) for _ in range(3)]


@report("tensorflow/tensorflow#33453")
def a_print_at_every_call(compiled: Any) -> Any:
    """``print`` in the function prints at every call, in order."""
    import io

    @compiled
    def run(x: Any) -> Any:
        print("before")
        y = x + 1.0
        print("after")
        return y

    with contextlib.redirect_stdout(io.StringIO()) as out:
        found = [run(data(2)) for _ in range(3)]
    return [*found, out.getvalue()]


@report("brainpy/BrainPy#195")
def state_after_an_error(compiled: Any) -> Any:
    """A call that fails leaves tensors that it would have written as eager code leaves them: with what came before."""
    a = wf.zeros(2)

    @compiled
    def run(x: Any) -> Any:
        a.add_(x)
        return missing + a  # type: ignore[name-defined]  # noqa: F821

    found = []
    for _ in range(2):
        try:
            run(wf.ones(2))
        except NameError as error:
            found.append(str(error))
    return [*found, type(a).__name__, a.shape[0]]


@pytest.mark.parametrize("case", report.cases(NOT_YET, KNOWN_WRONG))
def test_the_world_outside_is_asked_at_every_call(case: Case) -> None:
    check(case)
