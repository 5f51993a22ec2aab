"""Programs drawn at random that read Python state: nested objects and containers, in many ways, and change it."""

from __future__ import annotations

import collections
import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np


class Plain:
    """Attributes in a dict, one of the class."""

    of_class = 1.5

    def __init__(self, a: Any, b: Any):
        self.a, self.b = a, b

    @property
    def by_property(self) -> Any:
        return self.a

    def by_method(self) -> Any:
        return self.b


class Slotted:
    """Attributes without a dict."""

    __slots__ = ("a", "b")

    def __init__(self, a: Any, b: Any):
        self.a, self.b = a, b


class Table(dict):  # type: ignore[type-arg]
    """A dict of one's own."""

    def __getitem__(self, key: str) -> Any:
        return super().__getitem__(key)


HEAD = """
import operator
import functools

def a_of(x): return x.a
def b_of(x): return x.b
def item_of(x, key): return x[key]
def walked(x): return [v for v in x]
def found(x, n):
    for k, v in enumerate(x):
        if k == n:
            return v
def read(f, *args): return f(*args)
"""


class Drawn:
    """A state, the source of a function ``run(x)`` that reads it under the global name STATE, and changes to it."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.state = self.value(3)
        reads = [self.reading("STATE", self.state) for _ in range(self.random.randint(1, 4))]
        lines = [f"    x = x * 1.25 + ({read})" for read in reads]
        if self.random.random() < 0.3:
            lines.insert(0, "    if x.sum() > 0.0:\n        x = x * ({})".format(self.reading("STATE", self.state)))
        self.source = HEAD + "def run(x):\n" + "\n".join(lines) + "\n    return x\n"

    def number(self) -> float:
        return self.random.randint(1, 9) / 4

    def value(self, depth: int) -> Any:
        pick = self.random.random()
        if depth == 0 or pick < 0.08:
            return self.number()
        kind = self.random.randrange(11)
        one, two = self.value(depth - 1), self.value(depth - 1)
        made: list[Callable[[], Any]] = [
            lambda: Plain(one, two),
            lambda: Slotted(one, two),
            lambda: {"a": one, "b": two},
            lambda: [one, two],
            lambda: (one, two),
            lambda: collections.deque([one, two]),
            lambda: collections.OrderedDict(a=one, b=two),
            lambda: Table(a=one, b=two),
            lambda: {self.number(), self.number()},
            lambda: np.array([self.number(), self.number()]),
            lambda: collections.defaultdict(float, a=one, b=two),
        ]
        return made[kind]()

    def reading(self, text: str, value: Any) -> str:
        """An expression that makes a number of the value that ``text`` gives."""
        pick = self.random.choice
        if isinstance(value, float):
            return pick([text, f"abs({text})", f"round({text}, 3)", f"read(float, {text})", f"max({text}, 1.0)"])
        if isinstance(value, (Plain, Slotted)):
            name = pick("ab")
            ways = [f"{text}.{name}", f"getattr({text}, '{name}')", f"{name}_of({text})"]
            ways += [f"operator.attrgetter('{name}')({text})", f"(lambda o: o.{name})({text})"]
            ways += [f"read({name}_of, {text})", f"functools.partial({name}_of, {text})()"]
            if isinstance(value, Plain):
                ways += [f"vars({text})['{name}']", f"{text}.__dict__.get('{name}')"]
                if pick([0, 0, 1]):
                    return f"{text}.of_class"
                ways += [f"{text}.by_property" if name == "a" else f"{text}.by_method()"]
            return self.reading(pick(ways), getattr(value, name))
        if isinstance(value, dict):
            if pick([0, 0, 0, 1]):
                return pick([f"len({text})", f"len(list({text}.values()))", f"(2.0 if 'c' in {text} else 1.0)"])
            name = pick("ab")
            ways = [
                f"{text}['{name}']",
                f"{text}.get('{name}')",
                f"item_of({text}, '{name}')",
                f"dict({text})['{name}']",
            ]
            ways += [f"operator.itemgetter('{name}')({text})", f"{{**{text}}}['{name}']"]
            ways += [f"[v for k, v in {text}.items() if k == '{name}'][0]"]
            return self.reading(pick(ways), value[name])
        if isinstance(value, (list, tuple, collections.deque)):
            if pick([0, 0, 0, 1]):
                return pick([f"len({text})", f"(2.0 if {text} else 1.0)", f"len([*{text}])"])
            n = pick([0, 1])
            ways = [f"{text}[{n}]", f"{text}[{n - 2}]", f"item_of({text}, {n})", f"list({text})[{n}]"]
            ways += [
                f"walked({text})[{n}]",
                f"found({text}, {n})",
                f"[*{text}][{n}]",
                f"(lambda p, *q: (p, *q))(*{text})[{n}]",
            ]
            return self.reading(pick(ways), value[n])
        if isinstance(value, set):
            return pick([f"len({text})", f"sum({text})", f"max({text})", f"(2.0 if 1.5 in {text} else 1.0)"])
        return pick([f"float({text}[0])", f"float({text}.sum())", f"len({text})", f"float(({text} * 2.0)[1])"])

    def change(self) -> None:
        """Change something somewhere."""
        Plain.of_class = self.number() if self.random.random() < 0.1 else Plain.of_class
        value, put = self.state, lambda new: setattr(self, "state", new)
        while True:
            inner = self.inside(value)
            if not inner or self.random.random() < 0.15:
                break
            value, put = self.random.choice(inner)
        if isinstance(value, float):
            put(self.number())
        elif isinstance(value, (list, collections.deque)):
            value.append(self.number()) if self.random.random() < 0.7 else value.reverse()
        elif isinstance(value, dict):
            value["c" if self.random.random() < 0.7 else "a"] = copy.deepcopy(value["a"])
        elif isinstance(value, set):
            value.add(self.number())
        elif isinstance(value, np.ndarray):
            value[self.random.randrange(2)] = self.number()
        else:
            put(copy.deepcopy(value))

    @staticmethod
    def inside(value: Any) -> list[tuple[Any, Callable[[Any], Any]]]:
        """What a value holds, and what puts something else there."""
        if isinstance(value, (Plain, Slotted)):
            return [(getattr(value, n), lambda new, n=n: setattr(value, n, new)) for n in "ab"]  # type: ignore[misc]
        if isinstance(value, dict):
            return [(value[n], lambda new, n=n: value.update({n: new})) for n in "ab"]  # type: ignore[misc]
        if isinstance(value, (list, collections.deque)):
            return [(value[n], lambda new, n=n: value.__setitem__(n, new)) for n in (0, 1)]  # type: ignore[misc]
        if isinstance(value, tuple):  # what it holds, if that can be changed
            return [(v, lambda new: None) for v in value if not isinstance(v, (float, tuple))]
        return []
