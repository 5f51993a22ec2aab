"""Tables of what an executable does: one row a kernel, with the user's line, bytes, flops, time and share of peak."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from ..compiler.kernels import Attention, Contraction
from ..core import dtypes as dt
from ..core.shapes import substitute
from ..graph.executable import Executable
from ..graph.loops import LONG
from ..graph.lower.control import ControlCall, with_inner
from ..graph.lower.launch import Launch
from ..graph.memory import nbytes_of
from ..llvm.targets import distrusted_dot
from . import roofs
from .tables import Table, count, microseconds, percent


@dataclass(frozen=True, slots=True)
class Row:
    """One kernel launch. Times in seconds; ``peak`` is the share of the machine's measured roofline (roofs.py). Both
    are None where nothing was run."""

    kernel: str
    where: str
    nbytes: int
    flops: int
    seconds: float | None
    peak: float | None


_HEAD = ("kernel", "line", "bytes", "flops", "time us", "% of peak")


@dataclass(frozen=True, slots=True)
class Explanation:
    """The rows, in execution order; ``print`` shows a table as text, :meth:`show` one for the terminal.

    ``notes``: what this machine has and cannot be used."""

    rows: tuple[Row, ...]
    arena_nbytes: int
    notes: tuple[str, ...] = ()

    @property
    def _table(self) -> Table:
        """With the sums."""
        rows = [
            (r.kernel, r.where, count(r.nbytes), count(r.flops), microseconds(r.seconds), percent(r.peak))
            for r in self.rows
        ]
        nbytes, flops = sum(r.nbytes for r in self.rows), sum(r.flops for r in self.rows)
        shares = [r.seconds or 0.0 for r in self.rows]
        was_run = all(r.seconds is not None for r in self.rows)
        total = ("total", "", count(nbytes), count(flops), microseconds(sum(shares) if was_run else None), "")
        caption = "\n".join((f"arena: {count(self.arena_nbytes)}B", *self.notes))
        return Table(_HEAD, rows, total, caption, shares)

    def __repr__(self) -> str:
        return repr(self._table)

    def show(self, file: TextIO | None = None) -> None:
        """Print the table; to a terminal with a bar for each kernel's share of the time, and folded to its width."""
        self._table.show(file)

    def __rich__(self) -> Any:
        """What ``rich.print`` shows."""
        return self._table.__rich__()


def explain(
    executables: Sequence[tuple[Executable, Sequence[Any], Mapping[str, int]]], repeats: int = 5
) -> Explanation:
    """Run executables, one after the other, on copies of their inputs and describe them; times are medians. With each
    come the sizes of its symbols."""
    seconds = []
    for exe, inputs, _ in executables:
        runs = [exe.program.profile(*inputs) for _ in range(repeats)]
        seconds.append([statistics.median(column) for column in zip(*runs, strict=True)] if exe.launches else [])
    return described([(exe, sizes) for exe, _, sizes in executables], seconds)


def described(
    parts: Sequence[tuple[Executable, Mapping[str, int]]], seconds: Sequence[Sequence[float]] | None = None
) -> Explanation:
    """The table of executables that run one after the other, each with the sizes of its symbols. ``seconds``: what
    their launches took; None: they were not run."""
    rows: list[Row] = []
    arena = 0
    for number, (exe, sizes) in enumerate(parts):
        times = [None] * len(exe.launches) if seconds is None else seconds[number]
        rows += [_row(launch, s, sizes) for launch, s in zip(exe.launches, times, strict=True)]
        arena = max(arena, substitute(exe.plan.arena_nbytes, sizes))
    return Explanation(tuple(rows), arena, _notes(with_inner(launch for exe, _ in parts for launch in exe.launches)))


def _notes(launches: Iterable[Launch]) -> tuple[str, ...]:
    """Of products that an instruction of this machine was made for, but not with the bits of the numerics contract."""
    products = (launch.kernel for launch in launches if isinstance(launch.kernel, Contraction))
    dtypes = dict.fromkeys(product.a.dtype.name for product in products if product.a.dtype is product.b.dtype)
    found = ((dtype, distrusted_dot(dtype)) for dtype in dtypes)
    return tuple(
        f"products of {dtype} are computed by fma: this machine's {name} gives other bits"
        for dtype, name in found
        if name
    )


def _row(launch: Launch, seconds: float | None, sizes: Mapping[str, int]) -> Row:
    moved, flops, peak = moved_by(launch, sizes), flops_of(launch, sizes), None
    if seconds is not None:
        peak = floor_of(launch, sizes) / seconds if seconds else 0.0
    return Row(title_of(launch), _lines(launch), moved, flops, seconds, peak)


def moved_by(launch: Launch, sizes: Mapping[str, int]) -> int:
    """The bytes that a launch reads and writes, each once."""
    return sum(int(substitute(nbytes_of(v), sizes)) for v in {*launch.reads, *launch.writes})


def flops_of(launch: Launch, sizes: Mapping[str, int]) -> int:
    """The operations of a launch; of a loop that a value alone ends, those of one iteration."""
    found = int(substitute(launch.flops, sizes))
    return found // LONG if isinstance(launch.kernel, ControlCall) and launch.kernel.is_open else found


def floor_of(launch: Launch, sizes: Mapping[str, int]) -> float:
    """The seconds that it takes at least, by the measured roofline. The flops of what is no product are a count of
    instructions, which no product's flop/s bounds."""
    dtype = dt.float64 if any(v.dtype is dt.float64 for v in launch.writes) else dt.float32
    flops = substitute(launch.flops, sizes) if isinstance(launch.kernel, (Attention, Contraction)) else 0
    return roofs.floor(flops, moved_by(launch, sizes), dtype)


def title_of(launch: Launch) -> str:
    """What a launch computes: the functions that its nodes come from, up to four."""
    names: dict[str, None] = {}
    for node in launch.nodes:
        names[node.scope[0] if node.scope else node.op.name] = None
    return "+".join(list(names)[:4]) + ("+..." if len(names) > 4 else "")


def lines_of(launch: Launch) -> list[tuple[str, int]]:
    """The user's lines that a launch comes from, in the order of its nodes."""
    return list(dict.fromkeys(node.where for node in launch.nodes if node.where))


def _lines(launch: Launch) -> str:
    return ", ".join([f"{os.path.basename(file)}:{line}" for file, line in lines_of(launch)[:2]])
