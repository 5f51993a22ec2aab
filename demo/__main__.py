"""``python -m demo``: all three, and a table of the times."""

from __future__ import annotations

from rich.console import Console

from .timing import Timings


def main() -> None:
    """Run the demos in order of size."""
    console, timings = Console(highlight=False), Timings()
    with timings.measure("import weft"):
        import weft as wf
    console.print(f"[bold]Weft {wf.__version__}[/bold]")

    from . import digits, iris, or_gate

    for section in (or_gate, iris, digits):
        title, _, rest = (section.__doc__ or "").splitlines()[0].partition(": ")
        console.print(f"\n[bold]{title}[/bold]: {rest}")
        section.run(console, timings)
    console.print()
    console.print(timings.table())


if __name__ == "__main__":
    main()
