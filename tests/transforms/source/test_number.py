"""Python numbers that hang on values: they compute, and meet tensors, as Python's do."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

import weft as wf

VALUES = [9.0, 0.3, -2.0, 40.0]


def halvings(x: Any) -> tuple[Any, int]:
    """A number that a loop over values counts."""
    n = 0
    while x > 1:
        x = x / 2
        n += 1
    return x, n


def arithmetic(x: Any) -> Any:
    x, n = halvings(x)
    return (
        x + n**2,
        x + n**0.5,
        x + 2.0**n,
        x + round(n * 1.5),
        x * (7 - n) // 2,
        x + n % 3,
        x + (n << 1),
        x + ~n,
        x - abs(-n),
    )


def comparisons(x: Any) -> Any:
    x, n = halvings(x)
    return (
        x + (n > 1),
        x * (n > 2),
        (x > 0.6) | (n >= 3),
        x + bool(n),
        x + (not n),
        x + (n == 2 or n == 4),
        x + (0 < n < 5),
    )


def functions(x: Any) -> Any:
    x, n = halvings(x)
    return (
        wf.where(n > 1, 10.0, -10.0),
        wf.full((2,), n),
        x + math.floor(n / 2),
        x + math.sqrt(n),
        wf.asarray([n, n + 1]),
    )


def joined_with_tensors(x: Any) -> Any:
    x, n = halvings(x)
    return max(n, x), (x if x > 0.7 else n), x + all([n > 1, n > 3]), x + divmod(n + 5, 3)[1]


def indices(x: Any) -> Any:
    table = wf.arange(8) * 2.0
    x, n = halvings(x)
    table[n] = x
    table[n + 1] += 3
    return table[n] + table[n + 1] * x, table


def sorted_in_place(x: Any) -> Any:
    x = wf.stack([x, x * 0 + 1.0, -x])
    for i in range(1, 3):
        key, j = x[i].clone(), i - 1
        while j >= 0 and x[j] > key:
            x[j + 1] = x[j]
            j -= 1
        x[j + 1] = key
    return x


def filled_until(x: Any) -> Any:
    rows = wf.zeros((20,))
    for i in range(20):
        x = x * 0.5 + 1
        rows[i] = x
        if x < 2.1:
            return rows, i
    return rows, 20


def bound_by_the_first(x: Any) -> Any:
    rows = wf.stack([x] * 20) * wf.arange(20)
    for row in rows:
        if row == rows[0]:
            count = 0
        else:
            count += 1
    return rows + count


def named_in_a_test(x: Any) -> Any:
    while (y := x / 2) > 1:
        x = y
    if (z := x + 1) > 1.5 and z < 4:
        return z
    return y


PROGRAMS = [
    arithmetic,
    comparisons,
    functions,
    joined_with_tensors,
    indices,
    sorted_in_place,
    filled_until,
    bound_by_the_first,
    named_in_a_test,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_numbers_of_run_time_are_pythons(program: Callable[[Any], Any]) -> None:
    compiled = wf.compile(program)
    for value in VALUES:
        expected, found = program(wf.asarray(value)), compiled(wf.asarray(value))
        expected, found = (r if isinstance(r, tuple) else (r,) for r in (expected, found))
        for a, b in zip(expected, found, strict=True):
            if isinstance(a, wf.Tensor):
                assert a.dtype is b.dtype and a.numpy().tobytes() == b.numpy().tobytes()
            else:
                assert a == b.item()


REFUSED: dict[str, Callable[[Any], Any]] = {
    "a hash": lambda n: {4: 1}.get(n, 0),
    "bit_length": lambda n: n.bit_length(),
    "an index or a size": lambda n: [1, 2, 3, 4, 5, 6, 7][n],
    "to the power of an integer": lambda n: 2**n,
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_needs_the_value_is_refused_at_its_line(said: str) -> None:
    def f(x: Any) -> Any:
        x, n = halvings(x)
        return x + REFUSED[said](n)

    with pytest.raises(wf.CaptureError, match=said) as caught:
        wf.compile(f)(wf.asarray(9.0))
    assert caught.value.where is not None and caught.value.where[0] == __file__
