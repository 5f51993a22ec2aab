"""Stopwatch of the demo: what took how long, for the table at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.table import Table

__all__ = ["Timings"]


class Timings:
    """Rows of the final table, in the order in which they were measured."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float, int]] = []

    @contextmanager
    def measure(self, label: str, steps: int = 1) -> Iterator[None]:
        """Time the block; ``steps`` is how many equal pieces of work it does."""
        start = time.perf_counter()
        yield
        self.rows.append((label, time.perf_counter() - start, steps))

    def seconds(self, label: str) -> float:
        """Time of the row called ``label``."""
        return next(seconds for name, seconds, _ in self.rows if name == label)

    def table(self) -> Table:
        """All rows, for rich."""
        table = Table(title="Times", title_justify="left", caption_justify="left")
        table.caption = "first calls included: kernels are compiled, or read from the cache on disk"
        table.add_column("what")
        table.add_column("seconds", justify="right")
        table.add_column("steps", justify="right")
        table.add_column("us a step", justify="right")
        for label, seconds, steps in self.rows:
            each = (str(steps), f"{1e6 * seconds / steps:,.0f}") if steps > 1 else ("", "")
            table.add_row(label, f"{seconds:.3f}", *each)
        return table
