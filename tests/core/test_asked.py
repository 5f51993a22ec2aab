"""Sizes as a user's program sees them: what it asks is answered as numbers would answer it, and noted."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.core.asked import Asked, asked, unasked
from weft.core.errors import CaptureError
from weft.core.size_program import SizeProgram
from weft.core.symbolic import Sizes, SymDim

BINARY = (operator.add, operator.sub, operator.mul, operator.floordiv, operator.mod)
QUESTIONS = (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)
NUMBERS = (
    *(float, int, hash, str, repr, bool, abs, round, math.sqrt, math.floor, math.ceil, math.trunc, operator.pos),
    *(lambda n: n / 3, lambda n: 7 / n, lambda n: n * 0.5, lambda n: 2.5 - n, lambda n: n**2, lambda n: n**0.5),
    *(lambda n: 2**n, lambda n: n & 3, lambda n: 6 | n, lambda n: n << 2, lambda n: 1 << n, lambda n: divmod(n, 3)),
    *(lambda n: f"{n:>5}", lambda n: [*range(n)], lambda n: {n: 1}, lambda n: n in (3, 8), lambda n: n in {3, 8}),
    *(lambda n: {5: 2}.get(n), lambda n: max(n, 5), lambda n: min(3, n), lambda n: sum((n, n)), lambda n: -n),
    *(lambda n: math.prod((n, 3)), lambda n: np.zeros(n).shape, lambda n: 2 * n == 10.0, lambda n: n == "5"),
    *(
        lambda n: n == 2.5,
        lambda n: n < 4.5,
        lambda n: sorted((n, 4, 7)),
        lambda n: n.bit_length(),
    ),
)


@pytest.mark.parametrize("ask", NUMBERS)
def test_it_answers_as_its_number_does(ask: Callable[[Any], Any]) -> None:
    for number in range(2, 12):
        scope = Sizes({"n": number})
        found = ask(asked(scope["n"]))
        assert found == ask(number)
        assert SizeProgram(["n"], (), scope).serves([number])


@settings(max_examples=300)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(BINARY), st.booleans(), st.integers(-3, 12) | st.sampled_from("nm")), max_size=5
    ),
    question=st.sampled_from(QUESTIONS),
    against=st.integers(-4, 30) | st.sampled_from("nm"),
    first=st.tuples(st.integers(2, 20), st.integers(2, 20)),
    others=st.lists(st.tuples(st.integers(2, 40), st.integers(2, 40)), max_size=8),
)
def test_sizes_that_keep_the_guards_give_the_same_answers(
    steps: list[Any], question: Any, against: Any, first: tuple[int, int], others: list[tuple[int, int]]
) -> None:
    def program(n: Any, m: Any) -> Any:
        names = {"n": n, "m": m}
        value = n
        for function, reflected, operand in steps:
            operand = names.get(operand, operand)
            value = function(operand, value) if reflected else function(value, operand)
        return value, question(value, names.get(against, against))

    scope = Sizes(dict(zip("nm", first, strict=True)))
    try:
        expected = program(*first)
    except ZeroDivisionError:
        with pytest.raises(ZeroDivisionError):
            program(asked(scope["n"]), asked(scope["m"]))
        return
    value, answer = program(asked(scope["n"]), asked(scope["m"]))
    sizes = SizeProgram("nm", [unasked(value)], scope)
    assert (sizes(first)[0], answer) == expected
    assert sizes.serves(first)
    for numbers in others:
        if sizes.serves(numbers):
            assert (sizes(numbers)[0], answer) == program(*numbers), (numbers, scope)


@settings(max_examples=300)
@given(
    factor=st.integers(-3, 3).filter(bool),
    shift=st.integers(-4, 8),
    question=st.sampled_from(QUESTIONS),
    against=st.integers(-5, 9) | st.floats(-3, 9) | st.sampled_from(("n", "m", math.inf, -math.inf)),
    reflected=st.booleans(),
)
def test_without_a_scope_an_answer_holds_for_every_size(
    factor: int, shift: int, question: Any, against: Any, reflected: bool
) -> None:
    def program(n: Any, m: Any) -> Any:
        value, other = factor * n + shift, {"n": n, "m": m}.get(against, against)
        return question(other, value) if reflected else question(value, other)

    answers = {program(n, m) for n in range(24) for m in range(24)}
    n, m = asked(SymDim.named("n")), asked(SymDim.named("m"))
    if len(answers) == 2:
        with pytest.raises(CaptureError, match="not known while the size is symbolic"):
            program(n, m)
        return
    try:
        answer = program(n, m)
    except CaptureError:
        answer = question is operator.ne  # that 2 * n is odd is not seen
        assert question in (operator.eq, operator.ne)
    assert answers == {answer}


def test_without_a_scope_it_has_no_number() -> None:
    n = asked(SymDim.named("n"))
    for ask in (int, float, hash, range, lambda n: [0] * n, lambda n: n**0.5, lambda n: n * 0.5, lambda n: n & 1):
        with pytest.raises(CaptureError, match=r"n is symbolic: .* give the axis one size"):
            ask(n)
    assert f"{n + 1:>6}" == " 1 + n" and isinstance(n, int) and 6 * n / n == 6.0 and n**2 == n * n
    assert abs(n) == n and n + 1 != 0 and n + 1


def test_after_its_program_it_says_so() -> None:
    scope = Sizes({"n": 5})
    n = asked(scope["n"])
    scope.closed = True
    for ask in (int, str, hash, bool, lambda n: n == 5, lambda n: n < 5, lambda n: [0] * n):
        with pytest.raises(CaptureError, match="used outside"):
            ask(n)


def test_into_an_op_it_goes_as_a_plain_size() -> None:
    n = asked(Sizes({"n": 5})["n"])
    found = unasked((n, [n * 2], {"a": n}, slice(1, n), 3, "n", None))
    flat = [found[0], found[1][0], found[2]["a"], found[3].stop]
    assert all(type(size) is SymDim for size in flat) and found[4:] == (3, "n", None)
    assert isinstance(n + 1, Asked) and isinstance(3 - n, Asked) and (n - n) == 0


def test_where_a_number_is_needed_the_line_is_known() -> None:
    scope = Sizes({"n": 5})
    float(asked(scope["n"]))
    where = scope.lines["n"]
    assert where is not None and where[0] == __file__
