"""Finished tables on disk: what a graph was lowered to, so that a process that meets it again lowers nothing.

An entry lies in the cache that object code lies in (llvm/disk_cache.py: a digest of the content, a folder of this
user's). Its name is a digest of all that lowering depends on: the graph (ops by name, parameters, types; not the
user's lines, nor which tensors come in), strides, updates, target, number of threads, and the sources of weft. It is
JSON: which kernels there are, by their texts, and the rows of the table, those of the bodies of branches and loops
inside of the rows that run them (and the text of a graph has the bodies' inside). There is none for a graph that says
something which has no certain text (an op that the registry does not know by its name, a function), nor where Python
code computes a node.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any

from ..core.dtypes import DType
from ..core.shapes import Shape, strides_of
from ..llvm.disk_cache import disk_cache
from ..llvm.object_cache import sources_digest
from ..llvm.targets import Target
from ..runtime.program import AnyStep, Body, BranchStep, HostStep, LoopStep, Release, Step
from .ir import Graph, Node, Value
from .protocol import Primitive

LAYERS = ("core", "llvm", "runtime", "compiler", "graph", "ops")  # whose sources decide what a graph is lowered to
_FORM = 5  # of the entries


@dataclass(frozen=True, slots=True)
class Table:
    """A program but for its code, and which of its outputs the graph's are, as in ``executable.Planned``. In the rows
    numbers of ``kernels`` stand for their addresses."""

    kernels: tuple[str, ...]
    rows: tuple[AnyStep, ...]
    outputs: tuple[int, ...]  # bytes of each
    arena_nbytes: int
    release: Release
    results: tuple[int, ...]


class _Unsaid(Exception):
    """Something has no certain text."""


def name_of(
    graph: Graph,
    strides: Sequence[Shape],
    updates: Sequence[tuple[int, Value]],
    target: Target,
    threads: int,
    hand_on: bool,
    known: Mapping[str, Primitive],
    limit: int | None = None,
) -> str | None:
    """The name of a graph's entry, if it has one; arguments as for ``executable.plan_graph``. ``known``: the ops whose
    meaning is in the sources, by their names."""
    try:
        text = "\n".join(_lines(graph, strides, updates, known))
    except _Unsaid:
        return None
    head = f"table {_FORM}\n{_version()}\n{target.key}\n{threads} {hand_on} {limit}\n"
    return hashlib.sha256((head + text).encode()).hexdigest()


def get(name: str) -> Table | None:
    """The entry of this name; None if there is none."""
    data = disk_cache().get(name)
    if data is None:
        return None
    kernels, forms, rows, outputs, arena, release, results = json.loads(data)
    made = [(kernel, tuple(ints), *numbers) for kernel, ints, *numbers in forms]
    table = _unpacked(rows, made)
    stops, before_writes, saves = release
    released = Release(stops, before_writes, tuple([(number, nbytes) for number, nbytes in saves]))
    return Table(tuple(kernels), table, tuple(outputs), arena, released, tuple(results))


def put(name: str, table: Table) -> None:
    """Keep an entry. Steps that differ in nothing but their buffers say the rest once."""
    forms: dict[tuple[Any, ...], int] = {}
    rows = _packed(table.rows, forms)
    parts = table.kernels, list(forms), rows, table.outputs, table.arena_nbytes, table.release, table.results
    disk_cache().put(name, json.dumps(parts, separators=(",", ":")).encode())


def _packed(steps: Sequence[AnyStep], forms: dict[tuple[Any, ...], int]) -> list[Any]:
    """Rows for JSON: the number of a form, or what a branch or a loop is; then places and offsets."""
    rows: list[Any] = []
    for step in steps:
        places = [number for place in step.buffers for number in place]
        if isinstance(step, Step):
            form = step.address, step.ints, step.units, step.grain, step.work
            rows.append([forms.setdefault(form, len(forms)), *places])
        else:
            assert not isinstance(step, HostStep)
            bodies = [[body.places, _packed(body.steps, forms)] for body in step.bodies]
            rows.append([[bodies, *(step[2:] if isinstance(step, LoopStep) else ())], *places])
    return rows


def _unpacked(rows: Sequence[Any], forms: Sequence[tuple[Any, ...]]) -> tuple[AnyStep, ...]:
    steps: list[AnyStep] = []
    for what, *places in rows:
        buffers = tuple(zip(places[::2], places[1::2], strict=True))
        if isinstance(what, int):
            kernel, ints, units, grain, work = forms[what]
            steps.append(Step(kernel, ints, buffers, units, grain, None, work))
            continue
        bodies = [Body(_unpacked(inner, forms), count) for count, inner in what[0]]
        if len(bodies) == 2:
            steps.append(BranchStep(bodies[0], bodies[1], buffers))
        else:
            numbers: list[Any] = [tuple(n) if isinstance(n, list) else n for n in what[1:]]
            steps.append(LoopStep(bodies[0], buffers, *numbers))
    return tuple(steps)


@cache
def _version() -> str:
    return sources_digest(*LAYERS)


# --- a graph as text ----------------------------------------------------------------------------------------------


def _lines(
    graph: Graph, strides: Sequence[Shape], updates: Sequence[tuple[int, Value]], known: Mapping[str, Primitive]
) -> list[str]:
    """A graph as lines of text; a body in a parameter is the text of its own."""
    numbers: dict[Value, int] = {v: i for i, v in enumerate(graph.inputs)}
    lines = [f"{text_of(v.type)} {text_of(tuple(steps))}" for v, steps in zip(graph.inputs, strides, strict=True)]
    said: dict[tuple[Primitive, int], str] = {}  # copies of a node share its parameters
    for node in graph.nodes:
        key = node.op, id(node.params)
        head = said.get(key)
        if head is None:
            if known.get(node.op.name) is not node.op:
                raise _Unsaid
            head = said[key] = f"{node.op.name} {_params(node, known)}"
        lines.append(f"{head} {[numbers[v] for v in node.inputs]}")
        for value in node.outputs:
            numbers[value] = len(numbers)
    lines.append(f"{[numbers[v] for v in graph.outputs]} {[(at, numbers[v]) for at, v in updates]}")
    return lines


def _params(node: Node, known: Mapping[str, Primitive]) -> str:
    def text(value: Any) -> str:
        if not isinstance(value, Graph):
            return text_of(value)
        return f"graph({';'.join(_lines(value, [strides_of(v.shape) for v in value.inputs], (), known))})"

    return " ".join([f"{name}={text(value)}" for name, value in sorted(node.params.items())])


def text_of(value: Any) -> str:
    """A parameter as text; equal texts are of equal parameters.

    Raises:
        _Unsaid: it is of a type that is not known to be so.
    """
    kind = type(value)
    if kind in (int, bool, str) or value is None:
        return repr(value)
    if kind is float:
        return value.hex() if value == value else struct.pack("<d", value).hex()  # NaNs differ too
    if isinstance(value, DType):
        return f"<{value.name}>"
    if kind is slice:
        return f"slice{text_of((value.start, value.stop, value.step))}"
    if kind in (tuple, list) or (isinstance(value, tuple) and kind.__module__.startswith("weft.")):
        return f"{kind.__qualname__}({','.join([text_of(v) for v in value])})"
    if is_dataclass(kind) and kind.__module__.startswith("weft."):
        return f"{kind.__qualname__}({','.join([text_of(getattr(value, f.name)) for f in fields(kind)])})"
    raise _Unsaid
