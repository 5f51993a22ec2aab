"""Operators of objects of the user's: what their methods read is guarded, and what they write happens at every run."""

import functools
import operator
import random
import re
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import weft as wf

BINARY = ["+", "-", "*", "@", "/", "//", "%", "**", "<<", ">>", "&", "|", "^"]
METHODS = ["add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow", "lshift", "rshift", "and", "or", "xor"]
COMPARING = ["==", "!=", "<", "<=", ">", ">="]


class Meter:
    """It notes what it is asked."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.scale = 2.0

    def _said(self, name: str, other: Any = 1.0) -> Any:
        self.log.append(name)
        return other * self.scale if isinstance(other, (float, int, wf.Tensor)) else self.scale

    def __neg__(self) -> Any:
        return self._said("neg")

    def __abs__(self) -> Any:
        return self._said("abs")

    def __invert__(self) -> Any:
        return self._said("invert")

    def __round__(self, digits: int = 0) -> Any:
        return self._said(f"round {digits}")

    def __len__(self) -> int:
        self.log.append("len")
        return 3

    def __float__(self) -> float:
        self.log.append("float")
        return self.scale

    def __int__(self) -> int:
        self.log.append("int")
        return 4

    __hash__ = None  # type: ignore[assignment]


def _add_methods(kind: type, names: list[str]) -> None:
    source = "".join(
        f"def __{m}__(self, other): return self._said({m!r}, other)\n"
        for name in names
        for m in (name, f"r{name}", f"i{name}")
    )
    source += "".join(
        f"def __{m}__(self, other):\n    self.log.append({m!r})\n    return len(self.log) % 3 == 0\n"
        for m in ("eq", "lt", "le", "gt", "ge")
    )
    _from_source(kind, source)


def _from_source(kind: type, source: str) -> None:
    """Methods whose source ``inspect`` finds."""
    import linecache

    file = f"<methods of {kind.__name__}>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    made: dict[str, Any] = {"__name__": __name__}
    exec(compile(source, file, "exec"), made)
    for name, value in made.items():
        if callable(value) and name != "__builtins__":
            value.__qualname__ = name
            setattr(kind, name, value)


_add_methods(Meter, METHODS)


class Below(Meter):
    """A class below, whose reflected methods come first."""

    def __radd__(self, other: Any) -> Any:
        self.log.append("radd below")
        return 5.0

    def __sub__(self, other: Any) -> Any:
        self.log.append("sub below")
        return NotImplemented


class Truth:
    def __init__(self) -> None:
        self.log: list[Any] = []

    def __bool__(self) -> bool:
        self.log.append("bool")
        return len(self.log) % 2 == 0


class Unequal:
    """``!=`` is the opposite of its ``==``."""

    def __init__(self) -> None:
        self.log: list[Any] = []

    def __eq__(self, other: object) -> bool:
        self.log.append("eq")
        return len(self.log) % 2 == 0

    __hash__ = None  # type: ignore[assignment]


def both(function: Callable[..., Any], *kinds: Callable[[], Any], calls: int = 4) -> None:
    """The function gives and leaves the same eager and compiled."""
    plain, other = [k() for k in kinds], [k() for k in kinds]
    compiled = wf.compile(lambda x: function(x, *other))
    for n in range(calls):
        x = wf.asarray(np.arange(4, dtype=np.float32) + n)
        try:
            expected = function(x, *plain)
        except TypeError as error:
            with pytest.raises(TypeError, match=re.escape(str(error))):
                compiled(x)
            return
        got = compiled(x)
        assert got.numpy().tobytes() == expected.numpy().tobytes()
        assert [m.log for m in plain] == [m.log for m in other]


def _expression(text: str) -> Callable[..., Any]:
    made: dict[str, Any] = {}
    import linecache

    source = f"def f(x, m, n):\n    return x + wf.asarray({text})\n"
    file = f"<{text}>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    exec(compile(source, file, "exec"), {"wf": wf, "__name__": __name__}, made)
    return made["f"]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("op", [*BINARY, *COMPARING])
def test_two_operands(op: str) -> None:
    for text in (f"m {op} 3.0", f"3.0 {op} m", f"m {op} n", f"(m {op} 2.0) {op} m"):
        both(_expression(f"float({text})"), Meter, Meter, calls=3)


def test_a_method_of_a_class_below_comes_first_and_one_that_declines_is_passed_over() -> None:
    both(_expression("float(m + n)"), Meter, Below)
    both(_expression("float(n + m)"), Meter, Below)
    both(_expression("float(n - m)"), Meter, Below)
    both(_expression("float(n - 1.0) if False else 0.0"), Meter, Below)


def test_one_operand_and_builtins() -> None:
    for text in ("-m", "+(-m)", "abs(m)", "round(m, 2)", "len(m)", "float(m)", "int(m)", "sum([m, 1.0, m])"):
        both(_expression(f"float({text})"), Meter, Meter)
    both(_expression("float(~m)"), Meter, Meter)


def test_functions_of_operator() -> None:
    def run(x: Any, m: Any) -> Any:
        y = operator.add(m, x) + operator.mul(x, m) + operator.neg(m)
        return y + 1 if operator.lt(m, 3) else y

    both(run, Meter)


def test_statements_that_augment() -> None:
    def run(x: Any, m: Any) -> Any:
        total: Any = m
        total += x
        held = [m]
        held[0] *= 2.0
        if isinstance(held[0], float):
            total = total + held[0]
        return total

    both(run, Meter)


@pytest.mark.parametrize("kind", [Truth, Meter])
def test_truth(kind: Any) -> None:
    def run(x: Any, m: Any) -> Any:
        if m:
            x = x + 1
        x = x * 2 if not m else x
        while not m:
            x = x - 1
        if not (m or kind is Truth):
            raise ValueError
        found = [n for n in range(3) if m]
        one, other = m and 1, m or 1
        return x + len(found) + (2 if one is m else 3) + (4 if other is m else 5)

    both(run, kind)


def test_unequal_is_the_opposite_of_equal() -> None:
    both(_expression("1.0 if m != 3 else 2.0"), Unequal, Unequal)
    both(_expression("1.0 if 3 != m else 2.0"), Unequal, Unequal)
    both(_expression("1.0 if m < 3 <= n else 2.0"), Meter, Meter)


def test_an_average_is_that_of_eager_code_and_captured_twice() -> None:
    class Average:
        def __init__(self) -> None:
            self.total, self.count = 0.0, 0

        def __iadd__(self, value: Any) -> Any:
            self.total += value.item()
            self.count += 1
            return self

    average = Average()

    @wf.compile
    def step(x: Any) -> Any:
        nonlocal average
        average += x.sum()
        return x * 2

    for n in range(1, 7):
        step(wf.full((3,), float(n)))
    assert (average.total, average.count) == (63.0, 6) and len(step.cache_info().graphs) == 2


def test_operands_without_such_methods_raise_what_python_raises() -> None:
    class Nothing:
        log: list[Any] = []

    @wf.compile
    def run(x: Any) -> Any:
        return x + len([Nothing() < 3])

    with pytest.raises(TypeError, match="'<' not supported between instances of 'Nothing' and 'int'"):
        run(wf.ones(2))


@pytest.mark.parametrize("seed", range(30))
def test_random_expressions(seed: int) -> None:
    draw = random.Random(seed)

    def part(depth: int) -> str:
        if not depth or draw.random() < 0.2:
            return draw.choice(["m", "n", "2.0", "3.0", "m.scale"])
        a, b = part(depth - 1), part(depth - 1)
        kind = draw.randrange(6)
        if kind < 3:
            return f"float({a} {draw.choice(['+', '-', '*'])} {b})"
        if kind == 3:
            return f"({a} if {b} {draw.choice(COMPARING)} {draw.choice(['m', '2.0'])} else {b})"
        return f"({a} and {b})" if kind == 4 else f"(-{a} or {b})"

    both(_expression(f"float({part(3)})"), draw.choice([Meter, Below]), draw.choice([Meter, Below]), calls=3)


# --- what a review found ----------------------------------------------------------------------------------------------

RIGHT: set[float] = {1.0}
NUMBER = np.array(1.0)
ASKED: list[str] = []


class Declines:
    def __eq__(self, other: object) -> Any:
        ASKED.append("eq")
        return NotImplemented

    def __add__(self, other: object) -> Any:
        ASKED.append("add")
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]


class Rows(list[Any]):
    def __add__(self, other: Any) -> Any:
        return 10.0


class Reflected:
    def __radd__(self, other: Any) -> Any:
        return 3.0

    def __rmod__(self, other: Any) -> Any:
        return "reflected"

    def __str__(self) -> str:
        return "me"

    def __iter__(self) -> Any:
        return iter([1.0])


@functools.total_ordering
class Version:
    def __init__(self, number: float):
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self.number == other.number

    def __lt__(self, other: Any) -> bool:
        ASKED.append("lt")
        return bool(self.number < other.number)

    __hash__ = None  # type: ignore[assignment]


class Wrong:
    """Its methods give what Python does not take, one at a time."""

    def __init__(self, **gives: Any):
        self.gives = gives

    def __len__(self) -> Any:
        return self.gives["len"]

    def __int__(self) -> Any:
        return self.gives["int"]

    def __float__(self) -> Any:
        return self.gives["float"]


class WrongTruth:
    def __bool__(self) -> Any:
        return 1


class NoTruth:
    __bool__: Any = None

    def __len__(self) -> int:
        return 1


class NoInPlace:
    __iadd__: Any = None

    def __add__(self, other: Any) -> Any:
        return 1.0


class Falsy:
    def __bool__(self) -> bool:
        ASKED.append("bool")
        return False


DECLINES, OTHER, ROWS, REFLECTED, FALSY = Declines(), Declines(), Rows(), Reflected(), Falsy()
OLD, NEW = Version(1.0), Version(2.0)


def _add_set(x: Any) -> Any:
    found: set[float] = set()
    found |= RIGHT
    return x + len(found)


def _add_number(x: Any) -> Any:
    y = x * 1
    y += NUMBER
    return y


def _extended(x: Any) -> Any:
    rows: Any = [1]
    rows += REFLECTED
    return x + (rows if isinstance(rows, float) else len(rows))


def _in_place(x: Any) -> Any:
    found: Any = NoInPlace()
    found += 1
    return x


def _both(x: Any) -> Any:
    if FALSY and FALSY:
        return x
    x = x * 2 if not (FALSY or 0) else x
    return x + len([n for n in range(3) if FALSY or n])


def _power(x: Any) -> Any:
    found: Any = REFLECTED
    found **= 3
    return x


REVIEWED: dict[str, Callable[[Any], Any]] = {
    "what is added to a set": _add_set,
    "what is added to a tensor": _add_number,
    "a method of functools": lambda x: x + 1 if OLD >= NEW else x,
    "sorted": lambda x: x + 1 if sorted([OLD, NEW])[0] is OLD else x,
    "min": lambda x: x + 1 if min(OLD, NEW) is OLD else x,
    "declined, and None": lambda x: x + 1 if DECLINES == None else x,  # noqa: E711
    "declined, and a tuple": lambda x: x + 1 if DECLINES == (1,) else x,
    "declined by both": lambda x: x + 1 if DECLINES == OTHER else x,
    "declined by both, unequal": lambda x: x + 1 if DECLINES != OTHER else x,
    "itself": lambda x: x + 1 if DECLINES != DECLINES else x,
    "in a list": lambda x: x + 1 if DECLINES in [1, OTHER] else x,
    "in a tuple": lambda x: x + 1 if 3 in (DECLINES, 9) else x,
    "declined sum": lambda x: x + (DECLINES + 1),
    "a list with a method": lambda x: x + (ROWS + REFLECTED),
    "a formatted text": lambda x: x + len("%s" % REFLECTED),  # noqa: UP031
    "a deque": lambda x: x + (deque() + REFLECTED),  # type: ignore[operator]
    "a list that is extended": _extended,
    "a sum of floats": lambda x: x + sum([0.1] * 10 + [np.float64(0.0)]),
    "a sum of texts": lambda x: x + len(sum([REFLECTED], "q")),  # type: ignore[call-overload]
    "a negative length": lambda x: x + len(Wrong(len=-1)),
    "no length": lambda x: x + len(Wrong(len=1.5)),
    "a length as truth": lambda x: x + 1 if Wrong(len=-1) else x,
    "no truth": lambda x: x + 1 if WrongTruth() else x,
    "truth that is None": lambda x: x + 1 if NoTruth() else x,
    "no integer": lambda x: x + int(Wrong(int=1.5)),
    "no float": lambda x: x + float(Wrong(float=1)),
    "in place that is None": _in_place,
    "a sign of two": _power,
    "each truth once": _both,
}


@pytest.mark.parametrize("name", REVIEWED)
def test_what_a_review_found(name: str) -> None:
    found = []
    for wrap in (lambda f: f, wf.compile):
        RIGHT.clear()
        RIGHT.add(1.0)
        NUMBER[...], OLD.number = 1.0, 1.0
        run, seen = wrap(REVIEWED[name]), list[Any]()
        for _ in range(3):
            ASKED.clear()
            try:
                seen.append(run(wf.asarray(2.0)).item())
            except (TypeError, ValueError) as error:  # of a call that fails nothing is left
                seen.append(str(error))
                ASKED.clear()
            seen.append(list(ASKED) if name not in ("sorted", "a method of functools") else [])
            RIGHT.add(5.0)
            NUMBER[...] += 2
            OLD.number += 1
        found.append(seen)
    assert found[0] == found[1]
