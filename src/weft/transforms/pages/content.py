"""What pages show, as plain data: kernels and their texts, the graph in its boxes, the user's source, memory."""

from __future__ import annotations

import base64
import itertools
import json
import linecache
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ...core.shapes import substitute
from ...graph.ir import Node, Value
from ...graph.lower.control import ControlCall
from ...graph.lower.host import HostCall
from ...graph.lower.launch import Launch
from ...graph.memory import Plan, nbytes_of
from ...graph.protocol import Called
from ...llvm.targets import Target
from ..explain import lines_of, title_of
from .layout import layered

_COMPILED = 200  # kernels whose code a page has
_AROUND = 12  # lines that are shown around one that is named
_SHOWN = 8  # nodes that a box lists
_TITLE, _NODE, _CHARACTER = 40.0, 15.0, 6.7  # heights of a box's head and rows; width of a character
_WIDEST = 34  # characters


class Texts:
    """The texts of kernels, each kernel's once: what it is, LLVM IR and assembly, compressed. The first ones (ask for
    those that take most time first) have all three; of the rest a page would take minutes to make."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._numbers: dict[str, int] = {}
        self.packed: list[str] = []

    def number(self, launch: Launch) -> int:
        """Where in ``packed`` a launch's kernel is."""
        kernel = launch.kernel
        known = f"Python code: {launch.nodes[0].op}" if isinstance(kernel, HostCall) else str(kernel)
        found = self._numbers.get(known)
        if found is None:
            parts = {"IR": known}
            if isinstance(kernel, HostCall):
                parts["note"] = "Python code computes it: there is no kernel"
            elif isinstance(kernel, ControlCall):
                parts["note"] = "a branch or a loop: its kernels are those of its bodies"
            elif len(self.packed) >= _COMPILED:
                parts["note"] = f"not among the {_COMPILED} whose code is here; kernel.llvm() and kernel.asm() print it"
            else:
                parts |= {"LLVM": kernel.llvm(self._target), "assembly": kernel.asm(self._target)}
            found = self._numbers[known] = len(self.packed)
            self.packed.append(base64.b64encode(zlib.compress(json.dumps(parts).encode(), 9)).decode())
        return found


class Source:
    """The user's files: what of them is shown, and the numbers that the page has for them."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._lines: list[set[int]] = []

    def place(self, where: tuple[str, int]) -> tuple[int, int]:
        """(number of the file, line)."""
        file, line = where
        if file not in self._numbers:
            self._numbers[file] = len(self._lines)
            self._lines.append(set())
        self._lines[self._numbers[file]].add(line)
        return self._numbers[file], line

    def places(self, lines: Iterable[tuple[str, int]]) -> list[tuple[int, int]]:
        """:meth:`place` of each."""
        return [self.place(where) for where in lines]

    def files(self) -> list[dict[str, Any]]:
        """Name, path and parts (first line, lines) of each file; no parts where there is no source any more."""
        return [
            {"name": os.path.basename(file), "path": file, "parts": _parts(file, self._lines[number])}
            for file, number in self._numbers.items()
        ]


def _parts(file: str, wanted: set[int]) -> list[tuple[int, list[str]]]:
    """The lines around those that are wanted, in runs."""
    lines = linecache.getlines(file)
    parts: list[tuple[int, list[str]]] = []
    for line in sorted(n for n in wanted if 0 < n <= len(lines)):
        first, last = max(1, line - _AROUND), min(len(lines), line + _AROUND)
        if parts and parts[-1][0] + len(parts[-1][1]) >= first:
            first = parts[-1][0] + len(parts[-1][1])
            parts[-1][1].extend([text.rstrip("\r\n") for text in lines[first - 1 : last]])
        else:
            parts.append((first, [text.rstrip("\r\n") for text in lines[first - 1 : last]]))
    return parts


class Names:
    """What values are called: ``%x0`` for inputs, by their number; ``%0`` for others, as they come."""

    def __init__(self, plans: Sequence[Plan], sizes: Mapping[str, int]) -> None:
        self._sizes = sizes
        self._inputs = {value: at for plan in plans for value, (at, _) in plan.place.items() if at < plan.inputs}
        self._known: dict[Value, str] = {}
        self._numbers = itertools.count()

    def of(self, value: Value) -> str:
        """The name of a value."""
        found = self._known.get(value)
        if found is None:
            place = self._inputs.get(value) if value.node is None else None
            found = f"%{next(self._numbers)}" if place is None else f"%x{place}"
            self._known[value] = found
        return found

    def typed(self, value: Value) -> str:
        """Name and type."""
        return f"{self.of(value)}: {value.dtype.name}{list(substitute(value.shape, self._sizes))}"


def graph_of(launches: Sequence[Launch], names: Names, source: Source) -> dict[str, Any]:
    """Boxes (one a kernel: place, size), nodes in them, and edges from kernel to kernel."""
    made: dict[Value, int] = {}
    for number, launch in enumerate(launches):
        for value in launch.writes:
            made.setdefault(value, number)
    edges: dict[tuple[int, int], None] = {}
    last: dict[Value, int] = {}
    for number, launch in enumerate(launches):
        for value in launch.reads:
            writer = last.get(value)
            if writer is not None and writer != number:
                edges[writer, number] = None
        last.update(dict.fromkeys(launch.writes, number))
    nodes: list[dict[str, Any]] = []
    at: dict[Value, int] = {}
    boxes: list[list[int]] = []
    for number, launch in enumerate(launches):
        rows = []
        for node, values in made_by(launch):
            inputs = [at[v] for v in node.inputs if v in at]
            at.update(dict.fromkeys(values, len(nodes)))
            rows.append(len(nodes))
            type_ = names.typed(values[0]).split(": ", 1)[1]
            function = "/".join(node.scope)
            line = [] if node.where is None else [source.place(node.where)]
            about = {"n": names.of(values[0]), "o": str(node.op), "y": type_, "f": function, "l": line}
            nodes.append({**about, "i": inputs, "k": number})
        boxes.append(rows)
    sizes = [_size(title_of(x), [nodes[n] for n in rows]) for x, rows in zip(launches, boxes, strict=True)]
    corners = layered(sizes, list(edges))
    placed = [[round(n, 1) for n in (*corner, *size)] for corner, size in zip(corners, sizes, strict=True)]
    return {"boxes": placed, "rows": boxes, "nodes": nodes, "edges": list(edges), "shown": _SHOWN}


def made_by(launch: Launch) -> Iterator[tuple[Node, Sequence[Value]]]:
    """The nodes of a launch and what they make; a call once for each of its outputs that this launch makes (a copy to
    where an update belongs makes none)."""
    for node in dict.fromkeys(launch.nodes):
        own = [v for v in node.outputs if v in launch.writes] if isinstance(node.op.lower, Called) else []
        yield from ((node, [value]) for value in own)
        if not own:
            yield node, node.outputs


def _size(title: str, nodes: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    texts = [f"{n['n']} {n['o']} {n['y']}" for n in nodes[:_SHOWN]]
    width = min(max([len(title) + 6, *map(len, texts)]), _WIDEST) * _CHARACTER + 16
    return width, _TITLE + _NODE * (len(texts) + (len(nodes) > _SHOWN))


def kernel_of(launch: Launch, names: Names, source: Source, texts: Texts) -> dict[str, Any]:
    """What the page says of a launch besides figures."""
    return {
        "t": title_of(launch),
        "l": source.places(lines_of(launch)),
        "r": [names.typed(v) for v in launch.reads],
        "w": [names.typed(v) for v in launch.writes],
        "x": texts.number(launch),
        "c": f"{type(launch.kernel).__name__} units={launch.units} grain={launch.grain}",
    }


def memory_of(parts: Sequence[tuple[Plan, Sequence[Launch]]], names: Names, sizes: Mapping[str, int]) -> dict[str, Any]:
    """The arena, of each part that runs after the others: for each value that lies there, where, how large, from which
    kernel to which, and its name."""
    rows: list[Any] = []
    nbytes = steps = 0
    for plan, launches in parts:
        arena = plan.inputs + len(plan.outputs)
        spans: dict[Value, list[int]] = {}
        for number, launch in enumerate(launches, steps):
            for value in (*launch.writes, *launch.reads):
                if plan.place[value][0] == arena:
                    spans.setdefault(value, [number, number])[1] = number
        for v, (first, last) in spans.items():
            start, size = int(substitute(plan.place[v][1], sizes)), int(substitute(nbytes_of(v), sizes))
            rows.append((start, size, first, last, names.typed(v)))
        nbytes, steps = max(nbytes, int(substitute(plan.arena_nbytes, sizes))), steps + len(launches)
    return {"nbytes": nbytes, "steps": steps, "rows": rows}
