"""The benchmark's table can be read where it is shown, in a pipe too; what is measured is not tested."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.race import Results
from benchmarks.report import markdown, text
from benchmarks.workloads import COLUMNS, select

ROOT = Path(__file__).resolve().parents[1]
WORKLOADS = select("*")


def results() -> Results:
    """A race that every peer ended, some with the widest of numbers, and one that a peer failed in."""
    made = Results(versions=dict.fromkeys(COLUMNS, "1.2.3"), read_seconds={2: {64 << 20: 1e-3}})
    for number, workload in enumerate(WORKLOADS):
        made.values[workload.key] = dict.fromkeys(COLUMNS, 1.234e-06 * (number + 1))
    made.failures[WORKLOADS[0].key] = {"JAX jit": "a reason that is long " * 9}
    return made


@pytest.mark.parametrize("width", [80, 100, 120, 140])
def test_no_line_is_wider_than_the_place_it_is_shown_in(width: int) -> None:
    lines = text(WORKLOADS, results(), list(COLUMNS), width).splitlines()
    assert max(map(len, lines)) <= width
    assert all(line == line.rstrip() for line in lines)
    assert all(any(line.startswith(w.label) for line in lines) for w in WORKLOADS)


def test_few_columns_leave_the_label_beside_its_numbers() -> None:
    lines = text(WORKLOADS[:1], results(), ["Weft", "NumPy"], 100).splitlines()
    assert any(line.startswith(WORKLOADS[0].label) and " us" in line for line in lines)
    assert "| Weft |" in markdown(WORKLOADS[:1], results(), ["Weft"])


@pytest.mark.parametrize(("peer", "goal"), [(10.0, "8.00 s"), (1.2, "1.11 s"), (0.5, "1.11 s")])
def test_a_goal_asks_for_no_more_than_the_machine_can_do(peer: float, goal: str) -> None:
    roof = select("matmul-1024-1t")[0]
    model = replace(roof, key="model", function="model", share=0.8)  # as many operations: a second of the roof's time
    made = Results(values={roof.key: {"Weft": 1.0}, model.key: {"Weft": 20.0, "JAX jit": peer}})
    assert f"{goal} missed" in markdown([roof, model], made, ["Weft", "JAX jit"])


def test_in_a_pipe_there_is_the_table_alone() -> None:
    command = [sys.executable, "-m", "benchmarks", "--only", "add", "--columns", "Weft", "--rounds", "1"]
    environ = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE")}
    done = subprocess.run(
        [*command, "--seconds", "0.01"], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert "\x1b" not in done.stdout and max(map(len, done.stdout.splitlines())) <= 80


def test_rows_that_are_done_are_taken_from_the_file(tmp_path: Path) -> None:
    """A table of an hour may be measured in pieces."""
    done = tmp_path / "done.json"
    made = Results(values={"add": {"Weft": 123.0}}, versions={"Weft": "0"}, read_seconds={2: {8.0: 1e-3}})
    made.save(done)
    command = [sys.executable, "-m", "benchmarks", "--only", "add", "--json", str(done), "--resume"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "123 s" in shown
    assert Results.load(done) == made and list(tmp_path.iterdir()) == [done]


def test_there_is_nothing_to_resume_without_a_file() -> None:
    command = [sys.executable, "-m", "benchmarks", "--only", "add", "--resume"]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 2 and "--resume needs --json" in refused.stderr
