"""``python -m benchmarks``: run the race and print the table."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from .models import rows as models
from .race import Results, run
from .report import markdown, replace_between_marks, text
from .workloads import COLUMNS, select, table


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", default="*", help="rows, as comma-separated shell patterns: 'matmul-*,add'")
    parser.add_argument("--models", action="store_true", help="the table of whole models, not of operations")
    parser.add_argument("--columns", help="comma-separated; all that the table has, unless given")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each peer (%(default)s)")
    parser.add_argument("--seconds", type=float, default=0.3, help="length of a turn (%(default)s)")
    parser.add_argument("--markdown", type=Path, help="put the table between the marks of this Markdown file")
    parser.add_argument("--json", type=Path, help="write the medians to this file, after each row")
    parser.add_argument("--resume", action="store_true", help="take the rows that the --json file holds from there")
    options = parser.parse_args()
    rows, among = (models.table(), models.COLUMNS) if options.models else (table(), COLUMNS)
    workloads = select(options.only, rows)
    wanted = options.columns.split(",") if options.columns else among
    measured = {"Weft", *(peer for workload in workloads for peer in workload.peers)}
    columns = [c for c in among if c in measured and c in wanted]
    if not workloads or not columns:
        parser.error("nothing to measure: see --only and --columns")
    if options.resume and not options.json:
        parser.error("--resume needs --json: the file with the rows that are done")
    earlier = Results.load(options.json) if options.resume and options.json.exists() else None

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(workloads))
        done = iter(range(len(workloads)))

        def step(label: str, results: Results) -> None:
            progress.update(task, description=label, completed=next(done))
            if options.json:
                results.save(options.json)

        results = run(workloads, columns, options.rounds, options.seconds, step, earlier)
    print(text(workloads, results, columns, min(shutil.get_terminal_size((80, 24)).columns, 140)))
    if options.markdown:
        replace_between_marks(options.markdown, markdown(workloads, results, columns))
    if options.json:
        results.save(options.json)


if __name__ == "__main__":
    main()
