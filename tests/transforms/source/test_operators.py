"""Operators of objects of the user's: what their methods read is guarded, and what they write happens at every run."""

import operator
import random
import re
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
        assert m or kind is Truth
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
