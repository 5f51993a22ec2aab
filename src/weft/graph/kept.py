"""Finished tables on disk: what a graph was lowered to, so that a process that meets it again lowers nothing.

An entry lies in the cache that object code lies in (llvm/disk_cache.py: a digest of the content, a folder of this
user's). Its name is a digest of all that lowering depends on: the graph (ops by name, parameters, types; not the
user's lines, nor which tensors come in), strides, updates, target, number of threads, and the sources of weft. It is
JSON: which kernels there are, by their texts, and the rows of the table. There is none for a graph that says something
which has no certain text (an op that the registry does not know by its name, a function, a graph in a parameter), nor
where Python code computes a node.
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
from ..core.shapes import Shape
from ..llvm.disk_cache import disk_cache
from ..llvm.object_cache import sources_digest
from ..llvm.targets import Target
from .ir import Graph, Node, Value
from .protocol import Primitive

LAYERS = ("core", "llvm", "runtime", "compiler", "graph", "ops")  # whose sources decide what a graph is lowered to
_FORM = 1  # of the entries


@dataclass(frozen=True, slots=True)
class Row:
    """A step: its kernel's number, and the rest as :class:`weft.runtime.program.Step` has it."""

    kernel: int
    ints: tuple[int, ...]
    buffers: tuple[tuple[int, int], ...]
    units: int
    grain: int


@dataclass(frozen=True, slots=True)
class Table:
    """A program but for its code, and which of its outputs the graph's are, as in ``executable.Planned``."""

    kernels: tuple[str, ...]
    rows: tuple[Row, ...]
    outputs: tuple[int, ...]  # bytes of each
    arena_nbytes: int
    releases_gil: bool
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
) -> str | None:
    """The name of a graph's entry, if it has one; arguments as for ``executable.plan_graph``. ``known``: the ops whose
    meaning is in the sources, by their names."""
    try:
        text = "\n".join(_lines(graph, strides, updates, known))
    except _Unsaid:
        return None
    head = f"table {_FORM}\n{_version()}\n{target.key}\n{threads} {hand_on}\n"
    return hashlib.sha256((head + text).encode()).hexdigest()


def get(name: str) -> Table | None:
    """The entry of this name; None if there is none."""
    data = disk_cache().get(name)
    if data is None:
        return None
    kernels, forms, rows, outputs, arena, releases, results = json.loads(data)
    made = [(kernel, tuple(ints), units, grain) for kernel, ints, units, grain in forms]
    table = []
    for form, *places in rows:
        kernel, ints, units, grain = made[form]
        table.append(Row(kernel, ints, tuple(zip(places[::2], places[1::2], strict=True)), units, grain))
    return Table(tuple(kernels), tuple(table), tuple(outputs), arena, releases, tuple(results))


def put(name: str, table: Table) -> None:
    """Keep an entry. Steps that differ in nothing but their buffers say the rest once."""
    forms: dict[tuple[Any, ...], int] = {}
    rows = []
    for row in table.rows:
        form = forms.setdefault((row.kernel, row.ints, row.units, row.grain), len(forms))
        rows.append([form, *[number for place in row.buffers for number in place]])
    parts = table.kernels, list(forms), rows, table.outputs, table.arena_nbytes, table.releases_gil, table.results
    disk_cache().put(name, json.dumps(parts, separators=(",", ":")).encode())


@cache
def _version() -> str:
    return sources_digest(*LAYERS)


# --- a graph as text ----------------------------------------------------------------------------------------------


def _lines(
    graph: Graph, strides: Sequence[Shape], updates: Sequence[tuple[int, Value]], known: Mapping[str, Primitive]
) -> list[str]:
    numbers: dict[Value, int] = {v: i for i, v in enumerate(graph.inputs)}
    lines = [f"{text_of(v.type)} {text_of(tuple(steps))}" for v, steps in zip(graph.inputs, strides, strict=True)]
    said: dict[tuple[Primitive, int], str] = {}  # copies of a node share its parameters
    for node in graph.nodes:
        key = node.op, id(node.params)
        head = said.get(key)
        if head is None:
            if known.get(node.op.name) is not node.op:
                raise _Unsaid
            head = said[key] = f"{node.op.name} {_params(node)}"
        lines.append(f"{head} {[numbers[v] for v in node.inputs]}")
        for value in node.outputs:
            numbers[value] = len(numbers)
    lines.append(f"{[numbers[v] for v in graph.outputs]} {[(at, numbers[v]) for at, v in updates]}")
    return lines


def _params(node: Node) -> str:
    return " ".join([f"{name}={text_of(value)}" for name, value in sorted(node.params.items())])


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
