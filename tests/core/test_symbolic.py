"""Sizes in a scope: programs over them compute what the same programs compute over integers, wherever guards hold."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from weft.core.errors import CaptureError
from weft.core.size_program import SizeProgram
from weft.core.symbolic import Call, Dim, Sizes, SymDim, computed, computed_items, greatest, least, typical, undecided

NAMES = ("a", "b")
ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
    "least": least,
    "greatest": lambda x, y: greatest(x, y),
    "computed": lambda x, y: computed(max, x, y),
    "item": lambda x, y: computed_items(lambda *both: both, (x, y), 2)[1],
}
COMPARISONS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}

Lines = Sequence[tuple[str, int, int]]
lines_of = st.lists(
    st.tuples(st.sampled_from([*ARITHMETIC, *COMPARISONS, "==", "int"]), st.integers(0, 40), st.integers(0, 40)),
    min_size=1,
    max_size=10,
)
numbers = st.integers(0, 12) | st.integers(0, 10**6)


def run(lines: Lines, values: Sequence[Any], constants: Sequence[int]) -> tuple[list[Any], list[Any]]:
    """The values that a straight program computes, and what its comparisons said."""
    known, said = [*values, *constants], []
    for op, i, j in lines:
        x, y = known[i % len(known)], known[j % len(known)]
        if op in ARITHMETIC:
            known.append(ARITHMETIC[op](x, y))
        elif op == "int":
            said.append(int(x))
        else:
            said.append((op, x == y) if op == "==" else COMPARISONS[op](x, y))
    return known, said


@given(lines_of, st.tuples(numbers, numbers), st.lists(st.integers(-5, 70), max_size=3), st.data())
def test_a_program_over_sizes_is_the_program_over_integers(
    lines: Lines, examples: tuple[int, int], constants: list[int], data: st.DataObject
) -> None:
    scope = Sizes(dict(zip(NAMES, examples, strict=True)))
    try:
        found, said = run(lines, [scope[name] for name in NAMES], constants)
    except ZeroDivisionError:
        with pytest.raises(ZeroDivisionError):
            run(lines, examples, constants)
        return
    program = SizeProgram(NAMES, found, scope)
    assert program.serves(examples), f"{scope} refuses its own examples {examples}"
    near = st.tuples(*(numbers | st.integers(max(n - 2, 0), n + 2) for n in examples))
    for key in [examples, *data.draw(st.lists(near, max_size=4))]:
        if not program.serves(key):
            continue
        expected, answers = run(lines, key, constants)
        assert program(key) == tuple(expected), f"{key} in {scope}"
        for mine, plain in zip(said, answers, strict=True):
            # "Not known to be equal" is no answer; everything else is one, for all sizes in question.
            assert mine == plain or mine == ("==", False), f"{key} in {scope}"
        sizes = dict(zip(NAMES, key, strict=True))
        for size, number in zip(found, expected, strict=True):
            assert (size.substitute(sizes) if isinstance(size, SymDim) else size) == number
            if isinstance(size, SymDim):
                low, high = scope.range_of(size)
                assert (low is None or low <= number) and (high is None or number <= high), f"{size} in {scope}"
    assert [typical(size) for size in found] == run(lines, examples, constants)[0]


@given(st.lists(st.integers(-9, 9), min_size=4, max_size=4), numbers, numbers)
def test_equal_polynomials_are_equal_however_they_are_written(c: list[int], a: int, b: int) -> None:
    assume(a > 1 and b > 1)
    scope = Sizes({"a": a, "b": b})
    x, y = scope["a"], scope["b"]
    one = (x + c[0]) * (y + c[1]) * c[2] - c[3] * x
    other = c[2] * (y * x + c[0] * y + (c[1] * x + c[1] * c[0])) + -(x * c[3])
    assert one == other and hash(one) == hash(other)
    assert str(scope) == str(Sizes({"a": a, "b": b})), "equality notes nothing"


def test_guards_are_few_and_print() -> None:
    scope = Sizes({"n": 10, "m": 5, "one": 1})
    n, m = scope["n"], scope["m"]
    assert scope["one"] == 1
    assert 2 * n + 6 < 100 and n * 3 > 5 and n <= 46 and not n > 46 and m * n - n > 0
    assert str(scope) == "Sizes(2 <= n <= 46, 2 <= m, one == 1)"
    assert (n + 63) // 64 < 2 and n // 4 >= 1
    assert str(scope) == "Sizes(4 <= n <= 46, 2 <= m, one == 1)"
    assert n * m < 60 and list(range(m)) == [0, 1, 2, 3, 4]
    assert str(scope) == "Sizes(4 <= n <= 46, m == 5, one == 1, n*m <= 59)".replace("n*m", str(n * m))


@pytest.mark.parametrize(
    ("size", "form"),
    [
        (lambda n: -(-(64 * n) // 64), "n"),
        (lambda n: (64 * n + 3) // 64, "n"),
        (lambda n: n // 4 // 3, "(n // 12)"),
        (lambda n: (n * n + n) // n, "1 + n"),
        (lambda n: n - n % 8, "8*(n // 8)"),
        (lambda n: least(n, 3 * n), "n"),
        (lambda n: greatest(n, 1, n, 2 * n), "2*n"),
        (lambda n: 7 % n, "7 + -1*n*(7 // n)"),
    ],
)
def test_what_is_simpler_is_written_simpler(size: Callable[[Any], Dim], form: str) -> None:
    n = Sizes({"n": 10})["n"]
    assert str(size(n)) == form or sorted(str(size(n))) == sorted(form)


@pytest.mark.parametrize(
    "size", [lambda n: (n - 2) // (n - 2), lambda n: 4 * (n // 8) // (n // 8), lambda n: (n - 2) * n // (n - 2)]
)
def test_what_is_divided_by_is_not_0(size: Callable[[Any], Dim]) -> None:
    scope = Sizes({"n": 10})
    made = size(scope["n"])
    program = SizeProgram(["n"], [made], scope)
    for n in range(2, 40):
        if program.serves([n]):
            assert program([n]) == (size(n),)
    with pytest.raises(ZeroDivisionError):
        size(Sizes({"n": 2})["n"])


def test_sizes_of_two_scopes_are_not_one() -> None:
    one, other = Sizes({"n": 9}), Sizes({"n": 9})
    assert one["n"] != other["n"] and one["n"] != SymDim.named("n") and one["n"] == one["n"]


@pytest.mark.parametrize("ask", [lambda n: least(n, 3), lambda n: computed(abs, n), typical, int, range])
def test_a_size_without_a_scope_is_not_computed_with(ask: Callable[[Any], Any]) -> None:
    n = SymDim.named("n")
    assert undecided(n) and not undecided(Sizes({"n": 5})["n"]) and not undecided(5)
    with pytest.raises(CaptureError):
        ask(n)


def test_substitution_may_put_sizes_of_a_scope() -> None:
    n = SymDim.named("n")
    scope = Sizes({"n": 6})
    found = (n * n + 3).substitute({"n": scope["n"]})
    assert isinstance(found, SymDim) and found.scope is scope and typical(found) == 39
    assert (n + SymDim.named("m")).substitute({"n": 4}) == 4 + SymDim.named("m")


def test_calls_of_one_function_are_equal_where_their_arguments_are() -> None:
    n = Sizes({"n": 10})["n"]
    assert Call(max, (n, 3)) == Call(max, (n + 0, 3)) != Call(min, (n, 3))
    assert computed(max, n, 3) == computed(max, n, 3) and computed(max, 2, 3) == 3
    assert computed_items(divmod, (7, 2), 2) == (3, 1)


def test_a_name_that_the_scope_does_not_know_is_an_error() -> None:
    n = Sizes({"n": 10})["n"] + SymDim.named("m")
    with pytest.raises(CaptureError, match="the size m is none of n"):
        typical(n)
