"""Random programs whose control flow hangs on tensors' values: every variable keeps its dtype and shape."""

from __future__ import annotations

import random

HEAD = "import weft as wf\n\n\nclass Box:\n    pass\n\n\ndef main(x, w):\n    me = Box()\n"
VECTORS, SCALARS, COUNTS = ["a", "b", "me.h"], ["s", "t"], ["k", "m"]


class Drawn:
    """One program that is being drawn. ``in_place``: whether it writes tensors in place."""

    def __init__(self, seed: int, in_place: bool):
        self.random = random.Random(seed)
        self.left, self.names, self.in_place = 12, 0, in_place
        self.lines: list[str] = []

    def pick(self, *options: str) -> str:
        """One of them."""
        return self.random.choice(options)

    def vector(self, depth: int = 2) -> str:
        """An expression of x's shape."""
        v = lambda: self.vector(depth - 1)  # noqa: E731
        if depth <= 0:
            return self.pick("x", *VECTORS)
        return [
            self.vector(0),
            f"wf.tanh({v()} + {v()})",
            f"({v()} * 0.5 - {v()})",
            f"({v()} * {self.scalar(depth - 1)})",
            f"({v()} + {self.pick(*COUNTS)})",
            f"(w * {v()})",
            f"({v()} if {self.test(depth - 1)} else {v()})",
            f"wf.sin({v()})",
            f"helper({v()}, {self.scalar(depth - 1)})",
        ][self.random.randrange(9)]

    def scalar(self, depth: int = 2) -> str:
        """An expression of rank 0."""
        if depth <= 0:
            return self.pick(*SCALARS)
        return [
            self.scalar(0),
            f"wf.tanh({self.vector(depth - 1)}.sum())",
            f"{self.vector(0)}.mean()",
            f"({self.scalar(depth - 1)} * 0.25 + {self.scalar(depth - 1)})",
            f"{self.vector(0)}[0]",
            f"wf.sin({self.scalar(depth - 1)} + {self.pick(*COUNTS)})",
            f"max({self.scalar(0)}, {self.scalar(0)})",
        ][self.random.randrange(7)]

    def test(self, depth: int = 2) -> str:
        """An expression that is asked for its truth."""
        if depth <= 0:
            return f"{self.scalar(0)} > {self.pick('0', '0.1', '-0.2')}"
        return [
            self.test(0),
            f"{self.scalar(depth - 1)} < {self.scalar(depth - 1)}",
            f"-0.5 < {self.scalar(depth - 1)} <= 0.5",
            f"({self.test(depth - 1)} and {self.test(depth - 1)})",
            f"({self.test(depth - 1)} or not {self.test(0)})",
            f"({self.vector(0)} > 0).any()",
            f"{self.pick(*COUNTS)} > 1",
            f"{self.pick(*COUNTS)} % 2 == 0 and {self.test(0)}",
        ][self.random.randrange(8)]

    def out(self, indent: int, text: str) -> None:
        """A line."""
        self.lines.append("    " * indent + text)

    def block(self, indent: int, depth: int, loop: bool) -> None:
        """A few statements."""
        for _ in range(self.random.randint(1, 3)):
            self.statement(indent, depth, loop)

    def statement(self, indent: int, depth: int, loop: bool) -> None:
        """A statement."""
        self.left -= 1
        kind = self.random.randrange(9 if depth <= 0 or self.left < 0 else 18)
        if kind < 9:
            self.simple(indent, kind, loop)
        elif kind < 13:
            self.out(indent, f"if {self.test()}:")
            self.block(indent + 1, depth - 1, loop)
            if self.random.random() < 0.3:
                self.out(indent, f"elif {self.test()}:")
                self.block(indent + 1, depth - 1, loop)
            if self.random.random() < 0.6:
                self.out(indent, "else:")
                self.block(indent + 1, depth - 1, loop)
        elif kind < 17:
            self.loop(indent, depth - 1, loop)
        else:
            self.out(indent, "def inner(z, factor=0.5):")
            self.out(indent + 1, f"if {self.test(1)}:")
            self.out(indent + 2, f"return z * factor + {self.vector(1)}")
            self.out(indent + 1, f"return z + {self.scalar(1)}")
            self.out(indent, f"{self.pick(*VECTORS)} = inner({self.vector(1)})")

    def simple(self, indent: int, kind: int, loop: bool) -> None:
        """A statement on a line of its own."""
        text = f"{self.pick(*VECTORS)} = {self.vector()}"
        if kind == 0 and loop:
            self.out(indent, f"if {self.test()}:")
            indent, text = indent + 1, self.pick("break", "continue", f"return {self.vector(1)}, {self.scalar(1)}, k")
        elif kind == 1 and self.random.random() < 0.4:
            self.out(indent, f"if {self.test()}:")
            indent, text = indent + 1, f"return {self.vector(1)}, {self.scalar(1)}, k"
        elif kind in (2, 3):
            text = f"{self.pick(*SCALARS)} = {self.scalar()}"
        elif kind == 4:
            text = f"{self.pick(*COUNTS)} += 1"
        elif kind == 5:
            text = f"a, b = {self.vector(1)}, {self.vector(1)}"
        elif kind == 6 and self.in_place:
            text = self.pick(f"a += {self.vector(1)}", f"b *= {self.scalar(0)}", f"a[0] = {self.scalar(0)}")
        self.out(indent, text)

    def loop(self, indent: int, depth: int, loop: bool) -> None:
        """A loop."""
        self.names += 1
        n = self.names
        kind = self.random.randrange(6)
        if kind == 0:
            self.out(indent, f"n{n} = 0")
            self.out(indent, f"while n{n} < 5 and {self.test()}:")
            self.out(indent + 1, f"n{n} += 1")
        elif kind == 1:
            self.out(indent, f"for i{n} in range(x.shape[0]):")
            self.out(indent + 1, f"s = s * 0.5 + x[i{n}]")
        elif kind == 2:
            self.out(indent, f"for i{n}, v{n} in enumerate(x):")
            self.out(indent + 1, f"t = wf.tanh(t + v{n} * i{n})")
        elif kind == 3:
            self.out(indent, f"for i{n} in range({self.pick('2', '17', '20')}):")
            self.out(indent + 1, f"s = wf.sin(s + i{n})")
        elif kind == 4:
            self.out(indent, f"rows{n} = []")
            self.out(indent, f"for v{n} in x:")
            self.block(indent + 1, depth if self.random.random() < 0.5 else 0, False)
            self.out(indent + 1, f"rows{n}.append(v{n} * s + t)")
            self.out(indent, f"a = wf.stack(rows{n}) if len(rows{n}) == x.shape[0] else a")
            return
        else:
            self.out(indent, f"b = wf.stack([v{n} * t + k for v{n} in {self.vector(1)}])")
            return
        self.block(indent + 1, depth, True)
        if self.random.random() < 0.2:
            self.out(indent, "else:")
            self.block(indent + 1, 0, loop)


def program(seed: int, in_place: bool = False) -> str:
    """The source of a program ``main(x, w)``: x is a vector, w of rank 0."""
    drawn = Drawn(seed, in_place)
    drawn.out(1, "a, b, me.h = x * 0.5, x + w, wf.sin(x)")
    drawn.out(1, "s, t, k, m = x.sum() * 0.1, wf.tanh(w), 0, 1")
    drawn.out(1, "def helper(z, by):")
    drawn.out(2, "return z * by if by > 0 else z - by")
    while drawn.left > 0:
        drawn.statement(1, 2, False)
    drawn.out(1, "return a + b * me.h, s + t, k + m")
    text = "\n".join(drawn.lines)
    text = text.replace(", k\n", ", wf.asarray(k)\n")
    text = text.replace("return a + b * me.h, s + t, k + m", "return a + b * me.h, s + t, wf.asarray(k + m)")
    return HEAD + text + "\n"
