"""Tables of what an executable does: one row a kernel, with the user's line, bytes, flops, time and share of peak."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TextIO

from ..compiler.kernels import Contraction
from ..core.shapes import substitute
from ..graph.executable import Executable
from ..graph.lower.launch import Launch
from ..graph.memory import nbytes_of


@dataclass(frozen=True, slots=True)
class Row:
    """One kernel launch. Times in seconds; ``peak`` is the share of the machine's measured peak, of arithmetic for
    contractions and of memory bandwidth for everything else."""

    kernel: str
    where: str
    nbytes: int
    flops: int
    seconds: float
    peak: float


_HEAD = ("kernel", "line", "bytes", "flops", "time us", "% of peak")


@dataclass(frozen=True, slots=True)
class Explanation:
    """The rows, in execution order; ``print`` shows a table as text, :meth:`show` one for the terminal."""

    rows: tuple[Row, ...]
    arena_nbytes: int

    def _table(self) -> list[tuple[str, ...]]:
        """Cells: a line for each row, then the sums."""
        table = [
            (r.kernel, r.where, _count(r.nbytes), _count(r.flops), f"{r.seconds * 1e6:.1f}", f"{r.peak * 100:.0f}")
            for r in self.rows
        ]
        nbytes, flops, seconds = (sum(getattr(r, name) for r in self.rows) for name in ("nbytes", "flops", "seconds"))
        return [*table, ("total", "", _count(nbytes), _count(flops), f"{seconds * 1e6:.1f}", "")]

    @property
    def _arena(self) -> str:
        return f"arena: {_count(self.arena_nbytes)}B"

    def __repr__(self) -> str:
        table = [_HEAD, *self._table()]
        widths = [max(len(row[c]) for row in table) for c in range(len(_HEAD))]
        lines = [
            "  ".join(
                cell.ljust(w) if c < 2 else cell.rjust(w) for c, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in table
        ]
        lines.insert(1, "  ".join("-" * w for w in widths))
        return "\n".join([*lines, self._arena])

    def show(self, file: TextIO | None = None) -> None:
        """Print the table; to a terminal with a bar for each kernel's share of the time, and folded to its width."""
        from rich.console import Console

        console = Console(file=file)
        if console.is_terminal:
            console.print(self)
        else:
            print(self, file=file)

    def __rich__(self) -> Any:
        """What ``rich.print`` shows."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table(caption=self._arena, show_footer=True)
        *rows, total = self._table()
        for name, footer in zip(_HEAD, total, strict=True):
            text = name in _HEAD[:2]  # these fold where the terminal is narrow
            table.add_column(name, footer, justify="left" if text else "right", overflow="fold", no_wrap=not text)
        table.add_column("share", min_width=10)
        longest = max((r.seconds for r in self.rows), default=0.0)
        for row, cells in zip(self.rows, rows, strict=True):
            style = "bold" if row.seconds == longest else ""
            bar = ProgressBar(total=sum(r.seconds for r in self.rows) or 1.0, completed=row.seconds, width=10)
            table.add_row(*[Text(cell) for cell in cells], bar, style=style)  # as text: a name may hold brackets
        return table


def explain(
    exe: Executable, inputs: Sequence[Any], sizes: Mapping[str, int] | None = None, repeats: int = 5
) -> Explanation:
    """Run ``exe`` on copies of its inputs and describe it; times are medians. ``sizes``: of its symbols."""
    runs = [exe.program.profile(*inputs) for _ in range(repeats)]
    seconds = [statistics.median(column) for column in zip(*runs, strict=True)] if exe.launches else []
    known = sizes or {}
    rows = [_row(launch, s, known) for launch, s in zip(exe.launches, seconds, strict=True)]
    return Explanation(tuple(rows), substitute(exe.plan.arena_nbytes, known))


def _row(launch: Launch, seconds: float, sizes: Mapping[str, int]) -> Row:
    moved = sum(substitute(nbytes_of(v), sizes) for v in {*launch.reads, *launch.writes})
    flops = substitute(launch.flops, sizes)
    flops_peak, bytes_peak = _peaks()
    floor = flops / flops_peak if isinstance(launch.kernel, Contraction) else moved / bytes_peak
    return Row(_title(launch), _lines(launch), moved, flops, seconds, floor / seconds if seconds else 0.0)


def _title(launch: Launch) -> str:
    names: dict[str, None] = {}
    for node in launch.nodes:
        names[node.scope[0] if node.scope else node.op.name] = None
    return "+".join(list(names)[:4]) + ("+..." if len(names) > 4 else "")


def _lines(launch: Launch) -> str:
    lines: dict[str, None] = {}
    for node in launch.nodes:
        if node.where:
            lines[f"{os.path.basename(node.where[0])}:{node.where[1]}"] = None
    return ", ".join(list(lines)[:2])


@cache
def _peaks() -> tuple[float, float]:
    """Measured once per process: flop/s of a float32 product of 768 x 768 matrices, bytes/s of a copy of 64 MiB."""
    from ..ops.contraction import matmul
    from ..ops.creation import ones
    from ..ops.elementwise import negative

    a, x = ones((768, 768), device="cpu"), ones((1 << 24,), device="cpu")
    best_flops = best_bytes = 1e-9
    for _ in range(4):
        start = time.perf_counter()
        matmul(a, a)
        best_flops = max(best_flops, 2 * 768**3 / (time.perf_counter() - start))
        start = time.perf_counter()
        negative(x)
        best_bytes = max(best_bytes, 2 * x.nbytes / (time.perf_counter() - start))
    return best_flops, best_bytes


def _count(n: int) -> str:
    for unit in ("", "K", "M", "G", "T"):
        if n < 10_000:
            return f"{n}{unit}"
        n //= 1000
    return f"{n}P"
