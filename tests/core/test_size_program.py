"""Size programs: one function of the numbers, in which what is common is computed once."""

from __future__ import annotations

from weft.core.size_program import SizeProgram
from weft.core.symbolic import Sizes, computed, computed_items


def test_what_is_common_is_computed_once() -> None:
    calls = []

    def halves(n: int) -> tuple[int, int]:
        calls.append(n)
        return n // 2, n - n // 2

    scope = Sizes({"n": 10})
    n = scope["n"]
    low, high = computed_items(halves, (n,), 2)
    program = SizeProgram(["n"], [low, high, low * high, computed_items(halves, (n + 0,), 1)[0]], scope)
    assert program((21,)) == (10, 11, 110, 10) and calls == [21]


def test_numbers_are_integers_of_any_size() -> None:
    scope = Sizes({"n": 10})
    n = scope["n"]
    program = SizeProgram(["n"], [n * n * n, n // 7, 5], scope)
    assert program((10**30,)) == (10**90, 10**30 // 7, 5)


def test_guards_are_asked_in_turn() -> None:
    """What is computed behind a guard is computed where the guard holds alone."""
    scope = Sizes({"n": 10, "m": 3})
    n, m = scope["n"], scope["m"]
    assert m - 2 > 0 and n // (m - 2) > 4
    program = SizeProgram(["n", "m"], [], scope)
    assert program.serves((10, 3)) and not program.serves((10, 2)) and not program.serves((10, 0))


def test_names_are_any_text() -> None:
    scope = Sizes({"batch size": 4, "v0": 5, "def f(): 'x'": 6})
    sizes = [scope[name] for name in scope.examples]
    program = SizeProgram(list(scope.examples), [sizes[0] * sizes[1] + sizes[2], computed(max, *sizes)], scope)
    assert program((7, 8, 9)) == (65, 9)
    assert SizeProgram([], [3], Sizes({}))(()) == (3,)
