"""Random functions with loops and branches, and the gradients of all that they are given."""

from __future__ import annotations

import random
from collections.abc import Sequence

NAMES = ["a", "b", "c"]
LOOPS = ["for i in range(20):", "for i in range(3):", "for q in X:", "for i in range(K):"]
LOOPS += ["for i in range(x.shape[0] * 6):"]


class Drawing:
    """The source of one function of x, w, v (3), M (3, 3), X (19, 3). K is 18."""

    def __init__(self, seed: int):
        self.draw = random.Random(seed)

    def source(self) -> str:
        """``def f(x, w, v, M, X): ...``, which gives a tensor of one element."""
        body = ["    a = x * 1.0", "    b = x + w", "    c = v * x", "    ys = []"]
        body += self.block("    ", NAMES, 2, self.draw.randrange(2, 5))
        body += ["    s = a.sum() + (b * 0.5).sum() + (c * c).sum()"]
        body += ["    if len(ys): s = s + wf.stack(list(ys)).sum()", "    return s"]
        return "def f(x, w, v, M, X):\n" + "\n".join(body) + "\n"

    def part(self, names: Sequence[str], depth: int = 2) -> str:
        """A tensor of shape (3,), or one that is there."""
        if not depth or self.draw.random() < 0.25:
            return self.draw.choice([*names, "w", "v"])
        a, kind = self.part(names, depth - 1), self.draw.randrange(9)
        if kind == 0:
            return f"{a}.tanh()"
        if kind == 1:
            return f"({a} * {self.draw.choice([0.5, 1.25, 0.3])})"
        if kind == 2:
            return f"{a}.sigmoid()"
        b = self.part(names, depth - 1)
        if kind == 3:
            return f"({a}.sum() * 0.1 + {b})"
        return f"({a} {self.draw.choice('+-*')} {b})" if kind < 8 else f"({a} @ M)"

    def new(self, names: Sequence[str], depth: int = 2) -> str:
        """A new tensor: of one that is handed on as it is the gradient is summed in another order."""
        while (found := self.part(names, depth)).isidentifier():
            pass
        return found

    def block(self, indent: str, given: Sequence[str], depth: int, count: int) -> list[str]:
        """Statements."""
        names, made, draw = list(given), list[str](), self.draw
        for _ in range(count):
            kind = draw.randrange(10)
            if kind < 6 or not depth:
                made.append(f"{indent}{draw.choice(names)} = {self.new(names)}")
            elif kind < 8:
                made += self.loop(indent, names, depth)
            else:
                made.append(f"{indent}if {draw.choice(names)}.sum() > 0.5:")
                made.append(f"{indent}    {draw.choice(names)} = {self.new(names)}")
                if draw.random() < 0.5:
                    made += [f"{indent}else:", f"{indent}    {draw.choice(names)} = {self.new(names)}"]
        return made

    def loop(self, indent: str, names: Sequence[str], depth: int) -> list[str]:
        """A loop, which may be left early, and may append to a list."""
        draw, head, more = self.draw, self.draw.choice(LOOPS), indent + "    "
        inner = [*names, "q"] if " q " in head else list(names)
        made = [f"{indent}{head}"]
        made += [f"{more}{draw.choice(names)} = {self.new(inner)}" for _ in range(draw.randrange(1, 3))]
        if depth > 1 and draw.random() < 0.3:
            made += self.block(more, names, depth - 1, 1)
        if draw.random() < 0.25:
            then = draw.choice(["break", "continue", f"{draw.choice(names)} = {self.new(inner, 1)}"])
            made.append(f"{more}if {draw.choice(names)}.sum() > {draw.choice([0.0, 3.0])}: {then}")
        if draw.random() < 0.3:
            made.append(f"{more}ys.append({self.new(inner, 1)})")
        return made
