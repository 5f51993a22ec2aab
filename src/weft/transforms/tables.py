"""Tables as text, and for a terminal with a bar for each row's share of the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TextIO


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells, then their sums, then a line of text. The first ``left`` columns are text; ``shares`` are the
    figures that bars show, one for each row."""

    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    total: tuple[str, ...]
    caption: str
    shares: Sequence[float]
    left: int = 2

    def __repr__(self) -> str:
        table = [self.head, *self.rows, self.total]
        widths = [max(len(row[c]) for row in table) for c in range(len(self.head))]
        lines = [
            "  ".join(
                cell.ljust(w) if c < self.left else cell.rjust(w)
                for c, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in table
        ]
        lines.insert(1, "  ".join("-" * w for w in widths))
        return "\n".join([*lines, self.caption])

    def show(self, file: TextIO | None = None) -> None:
        """Print the table; to a terminal with bars, and folded to its width."""
        from rich.console import Console

        console = Console(file=file)
        if console.is_terminal:
            console.print(self)
        else:
            print(self, file=file)

    def __rich__(self) -> Any:
        """What ``rich.print`` shows."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table as Grid
        from rich.text import Text

        grid = Grid(caption=self.caption, show_footer=True)
        for column, (name, footer) in enumerate(zip(self.head, self.total, strict=True)):
            text = column < self.left  # these fold where the terminal is narrow
            grid.add_column(name, footer, justify="left" if text else "right", overflow="fold", no_wrap=not text)
        grid.add_column("share", min_width=10)
        longest, whole = max(self.shares, default=0.0), sum(self.shares) or 1.0
        for cells, share in zip(self.rows, self.shares, strict=True):
            bar = ProgressBar(total=whole, completed=share, width=10)
            style = "bold" if share == longest else ""
            grid.add_row(*[Text(cell) for cell in cells], bar, style=style)  # as text: a name may hold brackets
        return grid


def count(n: int) -> str:
    """A number in at most four digits and a unit: ``12K``."""
    for unit in ("", "K", "M", "G", "T"):
        if n < 10_000:
            return f"{n}{unit}"
        n //= 1000
    return f"{n}P"


def microseconds(seconds: float | None) -> str:
    """A time, or that there is none."""
    return "-" if seconds is None else f"{seconds * 1e6:.1f}"


def percent(share: float | None) -> str:
    """A share, or that there is none."""
    return "-" if share is None else f"{share * 100:.0f}"
