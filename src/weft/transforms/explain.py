"""Tables of what an executable does: one row a kernel, with the user's line, bytes, flops, time and share of peak."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..compiler.kernels import Contraction
from ..graph.executable import Executable
from ..graph.lower.launch import Launch
from ..graph.memory import nbytes_of

__all__ = ["Explanation", "Row", "explain"]


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


@dataclass(frozen=True, slots=True)
class Explanation:
    """The rows, in execution order; ``print`` shows a table."""

    rows: tuple[Row, ...]
    arena_nbytes: int

    def __repr__(self) -> str:
        head = ("kernel", "line", "bytes", "flops", "time us", "% of peak")
        table = [head] + [
            (r.kernel, r.where, _count(r.nbytes), _count(r.flops), f"{r.seconds * 1e6:.1f}", f"{r.peak * 100:.0f}")
            for r in self.rows
        ]
        table.append(
            (
                "total",
                "",
                _count(sum(r.nbytes for r in self.rows)),
                _count(sum(r.flops for r in self.rows)),
                f"{sum(r.seconds for r in self.rows) * 1e6:.1f}",
                "",
            )
        )
        widths = [max(len(row[c]) for row in table) for c in range(len(head))]
        lines = [
            "  ".join(
                cell.ljust(w) if c < 2 else cell.rjust(w) for c, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in table
        ]
        lines.insert(1, "  ".join("-" * w for w in widths))
        return "\n".join([*lines, f"arena: {_count(self.arena_nbytes)}B"])


def explain(exe: Executable, inputs: Sequence[Any], repeats: int = 5) -> Explanation:
    """Run ``exe`` on copies of its inputs and describe it; times are medians."""
    runs = [exe.program.profile(*inputs) for _ in range(repeats)]
    seconds = [statistics.median(column) for column in zip(*runs, strict=True)] if exe.launches else []
    rows = [_row(launch, s) for launch, s in zip(exe.launches, seconds, strict=True)]
    return Explanation(tuple(rows), exe.plan.arena_nbytes)


def _row(launch: Launch, seconds: float) -> Row:
    moved = sum(nbytes_of(v) for v in {*launch.reads, *launch.writes})
    flops_peak, bytes_peak = _peaks()
    floor = launch.flops / flops_peak if isinstance(launch.kernel, Contraction) else moved / bytes_peak
    return Row(_title(launch), _lines(launch), moved, launch.flops, seconds, floor / seconds if seconds else 0.0)


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

    a, x = ones((768, 768)), ones((1 << 24,))
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
