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

    for title, section in (("OR gate", or_gate), ("Iris", iris), ("Digits", digits)):
        console.print(f"\n[bold]{title}[/bold]: {(section.__doc__ or '').splitlines()[0]}")
        section.run(console, timings)
    console.print()
    console.print(timings.table())


if __name__ == "__main__":
    main()
