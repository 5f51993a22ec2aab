"""``fn.cache_info()``: which graphs a compiled function has, why each of them was made, and what it took.

A :class:`Made` belongs to a capture from its beginning: the call that it was made for, in words, and the reason why no
graph that was there did for that call. What runs of it count (:attr:`Made.runs`) is shared with native code.
"""

from __future__ import annotations

import inspect
import itertools
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.shapes import shown
from ..graph.protocol import TensorType
from ..tensor import tape
from ..tensor.create import is_array
from ..tensor.spec import Spec
from ..tensor.tensor import Tensor
from .captured import Captured
from .numbers import Scalar

_MODE = "recording"  # stands among arguments for whether calls are recorded
_LONGEST = 60  # characters of a value, or of a column


@dataclass(slots=True, eq=False)
class Made:
    """A capture: what it was made for, by the names of leaves among the arguments, and why.

    seconds: to run the Python code and record the graph, and to lower and compile it. runs: calls that ran it so far.
    """

    call: Mapping[str, Any]
    reason: str
    capture_seconds: float = 0.0
    compile_seconds: float = 0.0
    types: Sequence[TensorType] = ()  # of the tensors among the arguments, with symbols for sizes
    runs: array[int] = field(default_factory=lambda: array("q", (0,)))
    number: int = field(default_factory=itertools.count().__next__)  # in the order of all
    started: float = 0.0

    def recorded(self, captured: Captured, started: float) -> None:
        """The function has been captured."""
        self.started = time.perf_counter()
        self.capture_seconds = self.started - started
        self.types = [v.type for v in captured.graph.inputs[: captured.arguments]]

    def compiled(self) -> None:
        """So has its graph been compiled."""
        self.compile_seconds = time.perf_counter() - self.started

    @property
    def arguments(self) -> str:
        """The arguments that it is for: ``x: float32[n0, 4], mode: 'mean'``."""
        types = iter(self.types)
        named = [(name, each) for name, each in self.call.items() if name != _MODE]
        parts = []
        for name, each in named:
            told = next(types, each.type) if isinstance(each, Given) else each
            if isinstance(each, type):  # of a number that is an input
                next(types, None)
                told = f"any {each.__name__}"
            parts.append(f"{name}: {told}")
        return ", ".join(parts)


@dataclass(slots=True, frozen=True)
class Given:
    """A tensor among the arguments, as far as graphs are made for it."""

    spec: Spec
    place: str  # on the tape
    view: Any

    @property
    def type(self) -> TensorType:
        """Its dtype and shape."""
        return self.spec.type


@dataclass(slots=True, frozen=True)
class CachedGraph:
    """A row of :class:`CacheInfo`. ``hits`` are calls that found it, that is all but the first."""

    arguments: str
    reason: str
    hits: int
    capture_seconds: float
    compile_seconds: float


@dataclass(slots=True, frozen=True)
class CacheInfo:
    """The graphs of a compiled function, the first one first. ``print`` it."""

    name: str
    graphs: tuple[CachedGraph, ...]

    @property
    def hits(self) -> int:
        """Calls that found a graph."""
        return sum(graph.hits for graph in self.graphs)

    def __repr__(self) -> str:
        counts = f"{len(self.graphs)} graph{'s' * (len(self.graphs) != 1)}, {self.hits} hits"
        rows: list[tuple[str, ...]] = [("", "graph for", "made since", "hits", "capture", "compile")]
        for n, g in enumerate(self.graphs):
            times = (f"{seconds * 1e3:.1f} ms" for seconds in (g.capture_seconds, g.compile_seconds))
            rows.append((str(n), _cut(g.arguments) or "no arguments", g.reason, str(g.hits), *times))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join([f"{self.name}: {counts}", *(lines if self.graphs else ())])


def info(name: str, made: Sequence[Made]) -> CacheInfo:
    """The rows for these captures."""
    rows = [
        CachedGraph(m.arguments, m.reason, max(m.runs[0] - 1, 0), m.capture_seconds, m.compile_seconds) for m in made
    ]
    return CacheInfo(name, tuple(rows))


def called(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """A call in words: by the names of leaves among its arguments what graphs are made for."""
    found: dict[str, Any] = {_MODE: tape.recording.enabled}
    for name, value in _named(function, args, kwargs):
        found.update(_leaves(name, value))
    return found


def _named(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in parameters if p.kind == p.VAR_POSITIONAL), "argument")
    for n, value in enumerate(args):
        yield names[n] if n < len(names) else f"{rest}[{n - len(names)}]", value
    yield from kwargs.items()


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Tensor):
        of = value._view
        view = None if of is None else (of.kind, type(of.base._node))
        yield name, Given(value._spec, type(value._node).__name__, view)
    elif type(value) is Scalar:
        yield name, value.kind
    elif is_array(value):
        yield name, f"array {value.dtype}{list(value.shape)}"
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(f"{name}[{key!r}]", item)
    elif isinstance(value, (list, tuple)):
        for n, item in enumerate(value):
            yield from _leaves(f"{name}[{n}]", item)
    else:
        yield name, _cut(shown(value))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def reason(call: Mapping[str, Any], before: Sequence[Made], changed: str | None, begun: bool) -> str:
    """Why a graph is made for a call: ``changed`` is what does not hold any more for a graph of the same signature;
    ``begun``: there were graphs, for another number of threads or another target."""
    if changed is not None:
        return changed
    if not before:
        return "the number of threads or the target is another" if begun else "the first call"
    nearest = min((list(_differences(call, each.call)) for each in reversed(before)), key=_distance)
    told = "; ".join(text for _, text in nearest)
    return told or "arguments share memory in another way, or are passed in another way"


def _distance(differences: Sequence[tuple[int, str]]) -> int:
    return sum(weight for weight, _ in differences)


def _differences(call: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    """What is different in a call: how much that is, and in words."""
    if call[_MODE] != before[_MODE]:
        yield 2, f"gradients are {'' if call[_MODE] else 'not '}recorded"
    for name in (*call, *(name for name in before if name not in call)):
        now, then = call.get(name), before.get(name)
        if now == then or name == _MODE or isinstance(then, type):  # a number that may be any
            continue
        if isinstance(now, Given) and isinstance(then, Given):
            yield _of_tensors(name, now, then)
        elif name not in call or name not in before:
            yield 3, f"{name} is {'not ' * (name not in call)}given"
        else:
            now, then = (each.type if isinstance(each, Given) else each for each in (now, then))
            yield 2, f"{name} is {now} ({then} before)"


def _of_tensors(name: str, now: Given, then: Given) -> tuple[int, str]:
    a, b = now.spec, then.spec
    if a.dtype is not b.dtype:
        return 3, f"{name} is {a.dtype.name} ({b.dtype.name} before)"
    if len(a.shape) != len(b.shape):
        return 4, f"{name} has {len(a.shape)} dimensions ({len(b.shape)} before)"
    sizes = [(n, *pair) for n, pair in enumerate(zip(a.shape, b.shape, strict=True)) if pair[0] != pair[1]]
    if sizes:
        return 1, ", ".join(f"{name}.shape[{n}] is {size} ({before} before)" for n, size, before in sizes)
    if a.device is not b.device:
        return 3, f"{name} is on {a.device} ({b.device} before)"
    if a.strides != b.strides:
        return 2, f"{name} has strides {a.strides} ({b.strides} before)"
    if now.place != then.place:
        kinds = {"NoneType": "has no gradient", "Leaf": "is a leaf that requires grad"}
        return 2, f"{name} {kinds.get(now.place, 'was computed from what requires grad')}"
    return 2, f"{name} is {'no' if now.view is None else 'a'} view, or one of another kind"
