"""Random functions with loops and branches: values and gradients have eager code's bits, inside and outside."""

from __future__ import annotations

import linecache
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from drawn_gradients import Drawing

import weft as wf
from weft.core.errors import CaptureError

SHAPES = [(3,), (3,), (3,), (3, 3), (19, 3)]
NAN = 7.0  # which equals itself


def function_of(seed: int) -> Callable[..., Any]:
    """A drawn function, whose source ``inspect`` finds."""
    source, file = Drawing(seed).source(), f"<drawn {seed}>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    names: dict[str, Any] = {"wf": wf, "K": 18, "__name__": __name__}
    exec(compile(source, file, "exec"), names)
    found: Callable[..., Any] = names["f"]
    return found


def outcome(function: Callable[..., Any], seed: int, inside: bool, size: float) -> list[Any]:
    """The value and the gradients; where there is none, or zeros, as a value decides, None. Zeros have no sign."""
    rng = np.random.default_rng(seed)
    given = [wf.asarray((rng.standard_normal(s) * size).astype(np.float32)).requires_grad_() for s in SHAPES]
    value = function(*given)
    if not inside:
        value.backward()
    found = [np.where(np.isnan(t.numpy()), NAN, t.numpy() + 0.0) for t in (value.detach(), *_gradients(given))]
    return [array if array.any() else None for array in found]


def _gradients(given: list[Any]) -> list[Any]:
    return [wf.zeros((1,)) if t.grad is None else t.grad for t in given]


def check(seed: int, size: float = 0.5) -> None:
    function = function_of(seed)
    expected = outcome(function, seed, False, size)

    def step(*given: Any) -> Any:
        value = function(*given)
        value.backward()
        return value.detach()

    refused = "the two ways leave"
    for compiled, inside in ((wf.compile(function), False), (wf.compile(step), True)):
        for _ in range(2):
            try:
                found = outcome(compiled, seed, inside, size)
            except CaptureError as error:
                refused = str(error)
                break
            if size == 0.5 and any(map(_is_zero_times_infinity, found, expected)):
                return check(seed, 0.01)
            assert [*map(_bytes, found)] == [*map(_bytes, expected)], (seed, inside, Drawing(seed).source())
    assert (
        "the two ways leave" in refused or "one way" in refused
    )  # what is not of one kind, or a gradient of which one way knows nothing


def _is_zero_times_infinity(found: Any, expected: Any) -> bool:
    """Whether a gradient is eager code's but where it is NaN: what a loop hands on to nobody receives zeros
    (docs/numerics.md), and values of many rounds are infinite. Those of smaller numbers are not."""
    if found is None or not (nan := found == NAN).any():
        return False
    return bool((found == np.where(nan, NAN, 0.0 if expected is None else expected)).all())


def _bytes(array: Any) -> bytes | None:
    return None if array is None else array.tobytes()


@pytest.mark.one_in(2)
@pytest.mark.parametrize("seed", [*range(20), *(pytest.param(n, marks=pytest.mark.long) for n in range(20, 40))])
def test_gradients_are_those_of_eager_code(seed: int) -> None:
    check(seed)


@pytest.mark.long
@pytest.mark.parametrize("first", range(1000, 3000, 50))
def test_gradients_of_more_are_those_of_eager_code(first: int) -> None:
    for seed in range(first, first + 50):
        check(seed)
