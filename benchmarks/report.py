"""The table: for a terminal or a pipe, and as Markdown."""

from __future__ import annotations

import os
import platform
import textwrap
from pathlib import Path

from .race import Results
from .workloads import PEERS, Workload, threads_shown

__all__ = ["machine", "markdown", "replace_between_marks", "text"]

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
_TWO_LINES = {
    "PyTorch eager": "PyTorch\neager",
    "PyTorch NHWC": "PyTorch\nNHWC",
    "torch.compile": "torch.\ncompile",
    "JAX jit": "JAX\njit",
    "TensorFlow": "Tensor-\nFlow",
    "TF graph": "TF\ngraph",
    "TF XLA": "TF\nXLA",
    "best peer / Weft": "peer /\nWeft",
    "of the roof": "of the\nroof",
}
NEAR_THE_ROOF = 0.9  # of what the machine can do: a goal below a peer's time asks for no more than that
UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))


def machine() -> str:
    """The processor's name and the number of CPUs that this process may use."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = names[0] if names else name
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cpus} CPUs, {platform.system()}, Python {platform.python_version()}"


def header(columns: list[str]) -> list[str]:
    """Titles of the table's columns."""
    return ["", *columns, "best peer / Weft", "goal", "of the roof"]


def rows(workloads: list[Workload], results: Results, columns: list[str]) -> list[list[str]]:
    """The table's cells; a ratio above 1 means that Weft is ahead."""
    return [_row(workload, results, columns, _peak_flops(workloads, results)) for workload in workloads]


def _row(workload: Workload, results: Results, columns: list[str], peak: dict[int, float]) -> list[str]:
    values = results.values.get(workload.key, {})
    failures = results.failures.get(workload.key, {})
    cells = [
        quantity(values[c], workload.measure) if c in values else ("failed" if c in failures else "") for c in columns
    ]
    ours = values.get("Weft")
    best = min((values[c] for c in values if c != "Weft"), default=None)
    ratio = f"{best / ours:.2f}" if ours and best else ""
    if isinstance(workload.goal, str):
        bound = values.get(workload.goal)
    else:
        bound = workload.goal if workload.goal is not None else best and workload.share * best
        if bound and workload.goal is None and workload.share < 1:
            bound = max(bound, (_floor(workload, results, peak) or 0.0) / NEAR_THE_ROOF)
    goal = quantity(bound, workload.measure) if bound else ""
    if ours and bound:
        goal += " met" if ours <= bound else " missed"
    return [workload.label, *cells, ratio, goal, _of_the_roof(workload, results, peak)]


def quantity(value: float, measure: str) -> str:
    """Three digits and a unit, or a count."""
    if measure == "captures":
        return f"{value:.0f}"
    if measure == "memory":
        return f"{value / (1 << 20):.0f} MiB"
    scale, unit = next(((s, u) for s, u in UNITS if value >= s), UNITS[-1])
    scaled = value / scale
    return f"{scaled:.{0 if scaled >= 99.95 else 1 if scaled >= 9.995 else 2}f} {unit}"


def _peak_flops(workloads: list[Workload], results: Results) -> dict[int, float]:
    """Threads -> the most operations a second that any library reached in a matmul."""
    peak: dict[int, float] = {}
    for workload in workloads:
        if workload.function == "matmul":
            for value in results.values.get(workload.key, {}).values():
                peak[workload.threads] = max(peak.get(workload.threads, 0.0), workload.flops / value)
    return peak


def _floor(workload: Workload, results: Results, peak: dict[int, float]) -> float | None:
    """The least time that the machine needs for the arithmetic or the memory traffic."""
    if workload.flops:
        return workload.flops / peak[workload.threads] if workload.threads in peak else None
    return results.read_seconds.get(workload.threads, {}).get(workload.bytes)


def _of_the_roof(workload: Workload, results: Results, peak: dict[int, float]) -> str:
    ours, floor = results.values.get(workload.key, {}).get("Weft"), _floor(workload, results, peak)
    return f"{100 * floor / ours:.0f} %" if ours and floor else ""


def notes(workloads: list[Workload], results: Results) -> list[str]:
    """What stands below the table: the machine, the versions, the roof, the failures."""
    versions = {PEERS[c][1]: f"{PEERS[c][1]} {v}" for c, v in sorted(results.versions.items())}
    lines = [f"{machine()}; {', '.join(versions.values())}."]
    roof = [
        f"{flops / 1e9:.0f} GFLOP/s ({threads_shown(n)})"
        for n, flops in sorted(_peak_flops(workloads, results).items())
    ]
    roof += [
        f"{n / s / 1e9:.0f} GB/s ({n / (1 << 20):.0f} MiB, {threads_shown(threads)})"
        for threads, found in sorted(results.read_seconds.items())
        for n, s in sorted(found.items())
    ]
    if roof:
        lines.append(
            f"The roof, measured in the same run: {', '.join(roof)} (the best matmul of all; reading with NumPy)."
        )
    for workload in workloads:
        for column, reason in results.failures.get(workload.key, {}).items():
            lines.append(f"{column} failed at {workload.label}: {reason}")
    return lines


def text(workloads: list[Workload], results: Results, columns: list[str], width: int) -> str:
    """The table for a terminal or a pipe: no line is wider than its words need, nor than ``width`` where that can be.

    Where a row does not fit, its label gets a line of its own, above the numbers.
    """
    lines = [_TWO_LINES.get(title, title).split("\n") for title in header(columns)]
    body = rows(workloads, results, columns)
    titles = [[line[0] if len(line) == 2 else "" for line in lines], [line[-1] for line in lines]]
    widths = [max(map(len, column)) for column in zip(*titles, *body)]
    if sum(widths) + 2 * (len(widths) - 1) > width:
        widths[0] = 0

    gap = "  " if sum(widths) + 2 * (len(widths) - 1) <= width else " "

    def printed(cells: list[str]) -> list[str]:
        numbers = gap.join(cell.rjust(w) for cell, w in zip(cells[1:], widths[1:]))
        if widths[0]:
            return [f"{cells[0].ljust(widths[0])}{gap}{numbers}".rstrip()]
        return [cells[0], f" {numbers}".rstrip()] if cells[0] else [f" {numbers}".rstrip()]

    table = [line for cells in (*titles, *body) for line in printed(cells)]
    below = [line for note in notes(workloads, results) for line in textwrap.wrap(note, width)]
    return "\n".join([*table, "", *below])


def markdown(workloads: list[Workload], results: Results, columns: list[str]) -> str:
    """The table as GitHub Markdown."""
    titles = header(columns)
    lines = [titles, ["---", *["--:"] * (len(titles) - 1)], *rows(workloads, results, columns)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table}\n\n" + "\n".join(notes(workloads, results)) + "\n"


def replace_between_marks(path: Path, text: str) -> None:
    """Put ``text`` between the two marks of a Markdown file.

    Raises:
        ValueError: the file has no such marks.
    """
    page = path.read_text()
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise ValueError(f"{path} must hold {BEGIN} and {END} once each")
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    path.write_text(f"{before}{BEGIN}\n{text}{END}{after}")
