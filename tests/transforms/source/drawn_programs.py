"""Random Python programs: every statement that source rewriting meets, over Python's own values.

A program is a module with a function ``main`` that ends, for what loops and recursion do costs fuel. ``log`` notes what
is evaluated, and in which order.
"""

from __future__ import annotations

import random

HEAD = """\
import contextlib
import functools

LOG = []
FUEL = 60
shared = 3


class Empty(Exception):
    pass


def log(tag, value):
    LOG.append((tag, repr(value)))
    return value


def tick():
    global FUEL
    FUEL -= 1
    if FUEL < 0:
        raise Empty("no fuel")
    return True


@contextlib.contextmanager
def around(n):
    log("enter", n)
    try:
        yield n + 1
    finally:
        log("leave", n)


class Swallows:
    def __init__(self, what):
        self.what = what

    def __enter__(self):
        return log("in", 2)

    def __exit__(self, kind, error, trace):
        log("out", kind and kind.__name__)
        return kind is not None and issubclass(kind, self.what)


def counted(function):
    @functools.wraps(function)
    def run(*args, **kwargs):
        log("call", function.__name__)
        return function(*args, **kwargs)

    return run


class Base:
    limit = 4

    def __init__(self):
        self.n = 1
        self.__own = 5

    def step(self, by):
        self.n += by
        return self.n

    def own(self):
        return self.__own

"""

NAMES = ["a", "b", "c", "d", "e"]
LISTS = ["xs", "ys"]
ERRORS = ["ZeroDivisionError", "(IndexError, KeyError)", "ValueError", "Exception", "NameError"]


class Drawn:
    """One program that is being drawn."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.tag = self.functions = self.left = 0
        self.lines: list[str] = []

    def pick(self, *options: str) -> str:
        """One of them."""
        return self.random.choice(options)

    # --- expressions

    def noted(self, expression: str) -> str:
        """The expression, whose value is logged."""
        self.tag += 1
        return f"log({self.tag}, {expression})"

    def name(self) -> str:
        """A variable."""
        return self.random.choice(NAMES)

    def test(self, depth: int = 2) -> str:
        """An expression that is asked for its truth."""
        n, e = self.random.randrange(11), lambda: self.value(depth - 1)
        if depth <= 0 or n == 0:
            return f"{self.name()} > {self.random.randrange(4)}"
        return [
            "",
            f"{e()} < {e()}",
            f"{e()} <= {self.noted(e())} < {e()}",
            f"({self.test(depth - 1)} and {self.test(depth - 1)})",
            f"({self.test(depth - 1)} or {self.noted(e())})",
            f"not {self.test(depth - 1)}",
            f"{e()} in {self.random.choice(LISTS)}",
            f"{self.name()} is None",
            f"isinstance({e()}, int) and {self.test(depth - 1)}",
            f"({self.name()} := {e()}) % 2",
            f"any({self.test(0)} for _ in {self.random.choice(LISTS)})",
        ][n]

    def value(self, depth: int = 2) -> str:
        """An expression for an integer."""
        n, e = self.random.randrange(24), lambda: self.value(depth - 1)
        if depth <= 0 or n < 5:
            return self.pick(self.name(), self.name(), str(self.random.randrange(5)), "shared", "me.n")
        xs = self.random.choice(LISTS)
        return [
            f"({e()} + {e()})",
            f"({e()} * {e()} % 7)",
            f"({e()} // {e()})",
            self.noted(e()),
            f"({e()} if {self.test(depth - 1)} else {e()})",
            f"len({xs})",
            f"{xs}[{e()}]",
            f"sum([{e()} for v in {xs}])",
            f"sum([v * {self.name()} for v in range({e()} % 4) if v != {e()}])",
            f"(lambda q, r={e()}: q + r + {self.name()})({e()})",
            f"max({e()}, {e()})",
            f"me.step({e()})",
            f"len(f'{{{self.name()} + {self.name()}}}-{{{self.name()}!r:>4}}')",
            f"({self.name()} or {e()})",
            f"int({self.test(depth - 1)})",
            f"dict(k={e()})['k']",
            f"(lambda *z, **w: len(z) + len(w))(*{xs}, g={e()})",
            f"me.own() + type(me).limit + {e()}",
            f"{{v: {e()} for v in {xs}}}.get({e()}, {e()})",
        ][n - 5]

    # --- statements

    def out(self, indent: int, text: str) -> None:
        """A line."""
        self.lines.append("    " * indent + text)

    def block(self, indent: int, depth: int, loop: bool, function: bool = True) -> None:
        """A few statements."""
        for _ in range(self.random.randint(1, 3)):
            self.statement(indent, depth, loop, function)

    def statement(self, indent: int, depth: int, loop: bool, function: bool) -> None:
        """A statement."""
        self.left -= 1
        simple = depth <= 0 or self.left < 0
        kind = self.random.randrange(15 if simple else 32)
        if kind < 15:
            self.simple(indent, kind, loop, function)
            return
        draw = [
            *[self.draw_if] * 6,
            *[self.draw_while] * 2,
            *[self.draw_for] * 3,
            *[self.draw_try] * 3,
            self.draw_with,
            self.draw_def,
            self.draw_match,
        ][kind - 15]
        draw(indent, depth - 1, loop, function)

    def simple(self, indent: int, kind: int, loop: bool, function: bool) -> None:
        """A statement on a line of its own."""
        v, e, xs = self.name(), self.value, self.random.choice(LISTS)
        if kind == 0 and loop:
            text = self.pick("break", "continue")
        elif kind == 1 and function:
            text = self.pick("return", f"return {e()}", f"return {v}, {e(1)}")
        elif kind == 2:
            text = f"raise {self.pick('ValueError', 'KeyError', 'Empty')}({self.noted(e(1))})"
        elif kind == 3:
            text = self.pick(f"del {v}", f"assert {self.test()}, {self.noted(e(1))}")
        elif kind == 4:
            text = self.pick(f"{v}, *ys = {xs}", f"{v}, {self.name()} = {e()}, {e()}", f"{v} = {self.name()} = {e()}")
        elif kind == 5:
            text = f"{xs}[{e(1)} % 3] {self.pick('', '+', '-')}= {e()}"
        elif kind == 6:
            text = self.pick(f"{xs}.append({e()})", f"{xs} = {xs} + [{e()}]", f"{xs} += [{e()}]", f"{xs}.pop()")
        elif kind == 7:
            text = f"{v} {self.pick('+', '-', '*', '//', '|')}= {e()}"
        elif kind == 8:
            text = f"me.n = {e()}"
        elif kind == 9:
            text = f"t: int = {e()}; {v} = t"
        else:
            text = f"{v} = {self.noted(e())}"
        if self.random.random() < 0.5 and text.startswith(("break", "continue", "return", "raise", "del")):
            self.out(indent, f"if {self.test()}:")
            indent += 1
        self.out(indent, text)

    def draw_if(self, indent: int, depth: int, loop: bool, function: bool) -> None:
        """``if``, perhaps with ``elif`` and ``else``."""
        self.out(indent, f"if {self.test()}:")
        self.block(indent + 1, depth, loop, function)
        for _ in range(self.random.choice([0, 0, 1])):
            self.out(indent, f"elif {self.test()}:")
            self.block(indent + 1, depth, loop, function)
        self._else(indent, depth, loop, function, 0.5)

    def _else(self, indent: int, depth: int, loop: bool, function: bool, chance: float) -> None:
        if self.random.random() < chance:
            self.out(indent, "else:")
            self.block(indent + 1, depth, loop, function)

    def draw_while(self, indent: int, depth: int, loop: bool, function: bool) -> None:
        """``while``."""
        self.out(indent, f"while tick() and {self.test()}:")
        self.block(indent + 1, depth, True, function)
        self._else(indent, depth, loop, function, 0.3)

    def draw_for(self, indent: int, depth: int, loop: bool, function: bool) -> None:
        """``for``."""
        v, w, xs = self.name(), self.name(), self.random.choice(LISTS)
        self.out(
            indent,
            self.pick(
                f"for {v} in range({self.value(1)} % 5):",
                f"for {v} in {xs}:",
                f"for {v} in range(20):",
                f"for {v}, {w} in enumerate({xs}):",
                f"for {v}, {w} in zip(xs, ys):",
                f"for me.n in list({xs}):",
                f"for {v} in (z for z in {xs} if z != {self.name()}):",
                f"for {v}, ({w}, *ys) in {{1: (2, 3), 4: (5, 6, 7)}}.items():",
            ),
        )
        self.out(indent + 1, "tick()")
        self.block(indent + 1, depth, True, function)
        self._else(indent, depth, loop, function, 0.3)

    def draw_try(self, indent: int, depth: int, loop: bool, function: bool) -> None:
        """``try`` with handlers, ``else`` or ``finally``."""
        self.out(indent, "try:")
        self.block(indent + 1, depth, loop, function)
        handlers = self.random.randint(0, 2)
        for _ in range(handlers):
            self.out(indent, f"except {self.random.choice(ERRORS)}{self.pick('', ' as error')}:")
            self.block(indent + 1, depth, loop, function)
            if self.random.random() < 0.2:
                self.out(indent + 1, "raise")
        if handlers:
            self._else(indent, depth, loop, function, 0.3)
        if not handlers or self.random.random() < 0.3:
            self.out(indent, "finally:")
            if self.random.random() < 0.2:
                self.block(indent + 1, depth, loop, function)
            else:
                self.out(indent + 1, f"{self.name()} = {self.noted('4')}")

    def draw_with(self, indent: int, depth: int, loop: bool, function: bool) -> None:
        """``with``."""
        manager = self.pick(f"around({self.value(1)})", f"Swallows({self.random.choice(ERRORS)})")
        self.out(indent, f"with {manager} as {self.name()}:")
        self.block(indent + 1, depth, loop, function)

    def draw_match(self, indent: int, depth: int, loop: bool, function: bool) -> None:
        """``match``."""
        v = self.name()
        self.out(indent, f"match {self.pick(self.value(), f'({self.value(1)}, {self.value(1)})', 'xs')}:")
        for case in self.random.sample(["0 | 1", f"({v}, 2)", f"[{v}, *ys]", f"int() if {self.test()}", "{'k': z}"], 2):
            self.out(indent + 1, f"case {case}:")
            self.block(indent + 2, depth, loop, function)
        self.out(indent + 1, f"case {v}:")
        self.block(indent + 2, depth, loop, function)

    def draw_def(self, indent: int, depth: int, loop: bool, function: bool) -> None:
        """A function, a generator or a class, and what is done with it."""
        self.functions += 1
        name, v = f"f{self.functions}", self.name()
        kind = self.random.randrange(4)
        if kind == 3:
            self.out(indent, f"class C{name}(Base):")
            self.out(indent + 1, f"limit = {self.value(1)}")
            self.out(indent + 1, "def step(self, by):")
            self.out(indent + 2, "if by % 2:")
            self.out(indent + 3, "return super().step(by) + self.limit")
            self.out(indent + 2, f"self.__own = {self.name()}")
            self.out(indent + 2, "return self.__own + __class__.limit")
            self.out(indent, f"me = C{name}()")
            return
        if kind == 1:
            self.out(indent, "@counted")
        self.out(indent, f"def {name}(p, q={self.value(1)}, *rest, k={self.value(1)}, **more):")
        bound = sorted(self.random.sample([n for n in NAMES if self.functions < 9], 2))
        self.out(indent + 1, f"{self.pick('nonlocal', 'nonlocal')} {', '.join(bound)}")
        self.out(indent + 1, self.pick("pass", "global shared"))
        if self.lines[-1].endswith("shared"):
            self.out(indent + 1, f"shared = {self.value(1)} % 9")
        self.out(indent + 1, "tick()")
        if kind == 2:
            self.out(indent + 1, f"for {bound[0]} in range(p % 4):")
            self.out(indent + 2, f"if {self.test()}:")
            self.out(indent + 3, self.pick("break", "continue", "return"))
            self.out(indent + 2, f"yield {self.value()}")
            self.out(indent, f"{v} = sum({name}({self.value(1)}))")
            return
        for n in {*NAMES, *LISTS} - set(bound):
            self.out(indent + 1, f"{n} = {'[1, 2, 3]' if n in LISTS else self.random.randrange(4)}") if (
                self.random.random() < 0.6 or n in LISTS
            ) else None
        self.block(indent + 1, depth, False, True)
        if kind == 0:
            self.out(indent + 1, f"return {name}(p - 1) + q if p > 0 else k")
        self.out(indent, f"{v} = {name}({self.value(1)}, k={self.value(1)}) or 0")


def program(seed: int, size: int = 14) -> str:
    """The source of a program."""
    drawn = Drawn(seed)
    drawn.left = size
    drawn.out(0, "def main(a, b=2, *, me):")
    drawn.out(1, "c, d, e = 1, 0, 3")
    drawn.out(1, "xs, ys = [3, 1, 2], [0, 5]")
    if seed % 3 == 0:
        drawn.out(1, f"del {drawn.random.choice(NAMES[2:])}")
    while drawn.left > 0:
        drawn.statement(1, 3, False, True)
    drawn.out(1, "return a, b, xs, ys")
    return HEAD + "\n" + "\n".join(drawn.lines) + "\n"
