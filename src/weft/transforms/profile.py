"""``wf.profile()``: what runs in a block of code, eager or compiled, on all threads: rows per op, and a Chrome trace.

A profile hears of every run of a program on the CPU from the native runtime (:func:`weft.runtime.program.watch`), which
exchanges one function pointer for it: while nobody watches, nothing is asked and nothing is slower. What is heard is
noted as it is (the clock's readings, the thread, the user's line) and added up later. An eager op has a row for each
line that calls it; a compiled function has one for each of its kernels, at the line inside of it.

Times are those of kernels. What Python does between them is what is left of the block's time; views run nothing.
"""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TextIO

import numpy as np

from ..core.errors import StateError, user_line
from ..core.files import write_atomically
from ..core.process import Lock
from ..core.shapes import substitute
from ..graph.executable import About
from ..graph.lower.launch import Launch
from ..runtime.program import watch
from .explain import floor_of, flops_of, lines_of, moved_by, title_of
from .tables import Table, count, microseconds, percent

_KEPT = 200_000  # kernels that a trace has; what comes later is in the rows alone
_UNREAD = 4_096  # runs that are added up at a time
_HEAD = ("op", "line", "calls", "bytes", "flops", "time us", "% of peak")


class Run(NamedTuple):
    """One run of a program: what it is, the clock before its first kernel and after each (ns), and where it was."""

    about: About
    clock: bytes
    thread: int
    where: tuple[str, int] | None


@dataclass(frozen=True, slots=True)
class Row:
    """What ran at one line under one name: how often, for how long, what it moved and computed in all these calls.

    function: the compiled function that it is a kernel of; "" for an eager op. peak: share of the machine's measured
    roofline. lines: the user's, as (file, line). launches: what one call runs.
    """

    op: str
    function: str
    lines: tuple[tuple[str, int], ...]
    calls: int
    nbytes: int
    flops: int
    seconds: float
    peak: float
    launches: tuple[Launch, ...] = field(repr=False, compare=False)

    @property
    def where(self) -> str:
        """The lines, as tables show them."""
        return ", ".join([f"{os.path.basename(file)}:{line}" for file, line in self.lines[:2]])


class _Total:
    """The sums of one program's runs from one line."""

    __slots__ = ("about", "calls", "clocks", "ns", "where")

    def __init__(self, about: About, where: tuple[str, int] | None, steps: int):
        self.about, self.where, self.calls = about, where, 0
        self.clocks: list[bytes] = []  # that are not in the sums yet
        self.ns: Any = np.zeros(steps, np.int64)

    def settle(self) -> None:
        """Add up what came since the last time, all at once."""
        clocks, self.clocks = self.clocks, []
        self.calls += len(clocks)
        self.ns += np.diff(np.frombuffer(b"".join(clocks), np.int64).reshape(-1, len(self.ns) + 1)).sum(axis=0)

    def rows(self) -> Iterator[Row]:
        """One for an eager op; one for each kernel of a compiled function."""
        about, sizes, seconds = self.about, self.about.sizes, (self.ns / 1e9).tolist()
        launches = about.launches
        moved = [moved_by(x, sizes) * self.calls for x in launches]
        flops = [flops_of(x, sizes) * self.calls for x in launches]
        floors = [floor_of(x, sizes) * self.calls for x in launches]
        if not about.captured:
            lines = () if self.where is None else (self.where,)
            took = sum(seconds)
            peak = sum(floors) / took if took else 0.0
            yield Row(about.name, "", lines, self.calls, sum(moved), sum(flops), took, peak, tuple(launches))
            return
        for x, took, nbytes, work, least in zip(launches, seconds, moved, flops, floors, strict=True):
            peak = least / took if took else 0.0
            yield Row(title_of(x), about.name, tuple(lines_of(x)), self.calls, nbytes, work, took, peak, (x,))


class Profile:
    """What ran while it was on: a context manager, which may be entered again to go on, and inside of others.

    >>> import weft as wf
    >>> with wf.profile() as profile:
    ...     y = wf.ones((100, 100)) @ wf.ones((100, 100))
    >>> [row.op for row in profile.rows]
    ['ones', 'matmul']
    >>> profile.rows[-1].flops
    2000000
    """

    def __init__(self) -> None:
        self._pending: deque[Run] = deque()
        self._totals: dict[tuple[int, Any], _Total] = {}
        self._kept: list[Run] = []
        self._room = _KEPT
        self._lock = Lock()
        self._threads: dict[int, str] = {}
        self._entered = 0  # ns; 0: it is off
        self._seconds = 0.0  # that it was on before

    def __enter__(self) -> Profile:
        if self._entered:
            raise StateError("profile: it is on already; take a new one inside of it: wf.profile()")
        self._entered = time.perf_counter_ns()
        _turn(self, True)
        return self

    def __exit__(self, *exception: object) -> None:
        _turn(self, False)
        self._seconds, self._entered = self.seconds, 0

    @property
    def seconds(self) -> float:
        """That it was on."""
        return self._seconds + ((time.perf_counter_ns() - self._entered) / 1e9 if self._entered else 0.0)

    def _note(self, run: Run) -> None:
        self._pending.append(run)
        if run.thread not in self._threads:
            self._threads[run.thread] = threading.current_thread().name
        if len(self._pending) > _UNREAD:
            self._add_up()

    def _add_up(self) -> None:
        """Take what has been noted into the sums, and the first of it into the trace."""
        with self._lock.now:
            touched: dict[_Total, None] = {}
            while self._pending:
                run = self._pending.popleft()
                steps = len(run.clock) // 8 - 1
                key = id(run.about), None if run.about.captured else run.where
                total = self._totals.get(key)
                if total is None:  # it holds what the id is of
                    total = self._totals[key] = _Total(run.about, run.where, steps)
                total.clocks.append(run.clock)
                touched[total] = None
                if self._room >= steps:
                    self._room -= steps + 1
                    self._kept.append(run)
                else:
                    self._room = 0
            for total in touched:
                total.settle()

    @property
    def rows(self) -> tuple[Row, ...]:
        """In the order in which they ran first. Signatures of one op at one line are one row."""
        self._add_up()
        found: dict[Any, list[Row]] = {}
        for number, total in enumerate(list(self._totals.values())):  # other threads may add some
            for at, row in enumerate(total.rows()):
                key = (number, at) if row.function else (row.op, row.lines)
                found.setdefault(key, []).append(row)
        return tuple([same[0] if len(same) == 1 else _together(same) for same in found.values()])

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs of programs that a trace has: the first ones, up to 200,000 kernels."""
        self._add_up()
        return tuple(self._kept)

    def thread_name(self, number: int) -> str:
        """What a thread was called, by the number that runs have of it."""
        return self._threads[number]

    def table(self) -> Table:
        """The rows as a table, longest time first: print it, or ``show()`` it on a terminal."""
        rows = sorted(self.rows, key=lambda r: -r.seconds)
        cells = [
            (
                f"{r.function}: {r.op}" if r.function else r.op,
                *(r.where, str(r.calls), count(r.nbytes), count(r.flops), microseconds(r.seconds), percent(r.peak)),
            )
            for r in rows
        ]
        took = sum(r.seconds for r in rows)
        sums = (str(sum(r.calls for r in rows)), count(sum(r.nbytes for r in rows)), count(sum(r.flops for r in rows)))
        caption = f"kernels: {took * 1e3:.2f} ms of the block's {self.seconds * 1e3:.2f} ms"
        total = ("total", "", *sums, microseconds(took), "")
        return Table(_HEAD, cells, total, caption, [r.seconds for r in rows])

    def __repr__(self) -> str:
        return repr(self.table())

    def show(self, file: TextIO | None = None) -> None:
        """Print the table; to a terminal with a bar for each row's share of the time."""
        self.table().show(file)

    def timeline(self, most: int) -> dict[str, Any]:
        """What ran when, for pages: ``events`` of (start, duration, thread, row), the times in microseconds since the
        first and the others as positions in ``threads``, which are names, and in :attr:`rows`; how many kernels of
        the trace are ``left`` out, for there are at most so many."""
        found: dict[Any, int] = {}
        for number, row in enumerate(self.rows):
            found[(row.function, row.launches[0]) if row.function else (row.op, row.lines)] = number
        events: list[tuple[float, float, int, int]] = []
        threads: dict[int, int] = {}
        left, first = 0, None
        for run in self.runs:
            clock, about = np.frombuffer(run.clock, np.int64).tolist(), run.about
            first = clock[0] if first is None else min(first, clock[0])
            thread = threads.setdefault(run.thread, len(threads))
            parts = list(itertools.pairwise(clock)) if about.captured else [(clock[0], clock[-1])]
            for at, (start, stop) in enumerate(parts if len(events) < most else ()):
                key = (about.name, about.launches[at]) if about.captured else (about.name, _line(run))
                if key in found:  # not of a run since then
                    events.append((start, stop - start, thread, found[key]))
            left += len(parts) if len(events) >= most else 0
        since = [((start - (first or 0)) / 1e3, took / 1e3, thread, row) for start, took, thread, row in events]
        return {"events": since, "threads": [self.thread_name(t) for t in threads], "left": left}

    def html(self, path: str | os.PathLike[str]) -> None:
        """Write one self-contained page: the rows beside the user's source, and what ran when on which thread.

        Raises:
            OSError: the file cannot be written; what was there stays.
        """
        from .pages import profile_page

        write_atomically(path, profile_page(self).encode())

    def chrome_trace(self, path: str | os.PathLike[str]) -> None:
        """Write the runs as a trace for ``chrome://tracing`` and Perfetto: an event for each eager op and each compiled
        call, with its kernels inside where it has several, by thread, with lines and sizes.

        Raises:
            OSError: the file cannot be written; what was there stays.
        """
        pid, known = os.getpid(), dict[Any, list[str]]()
        events: list[str] = [
            json.dumps({"ph": "M", "name": "thread_name", "pid": pid, "tid": number, "args": {"name": name}})
            for number, name in list(self._threads.items())
        ]
        for run in self.runs:
            key = id(run.about), run.where
            if key not in known:
                known[key] = _described(run.about, run.where)
            events += _events(run, known[key], pid)
        left = sum(t.calls for t in list(self._totals.values())) - len(self._kept)
        rest = f'"displayTimeUnit":"ns","otherData":{{"runs left out":{left}}}'
        write_atomically(path, f'{{"traceEvents":[{",".join(events)}],{rest}}}'.encode())


def _line(run: Run) -> tuple[tuple[str, int], ...]:
    return () if run.where is None else (run.where,)


def _together(rows: list[Row]) -> Row:
    """One row of several of an op at a line."""
    calls, nbytes, flops = sum(r.calls for r in rows), sum(r.nbytes for r in rows), sum(r.flops for r in rows)
    seconds, floors = sum(r.seconds for r in rows), sum(r.peak * r.seconds for r in rows)
    launches = tuple([x for r in rows for x in r.launches])
    peak = floors / seconds if seconds else 0.0
    return Row(rows[0].op, rows[0].function, rows[0].lines, calls, nbytes, flops, seconds, peak, launches)


def _events(run: Run, described: list[str], pid: int) -> Iterator[str]:
    """The events of a run as JSON, in microseconds; ``described``: how each goes on, the run's own first."""
    clock = np.frombuffer(run.clock, np.int64).tolist()
    of_run = f'{{"ph":"X","pid":{pid},"tid":{run.thread}'
    spans = zip([clock[0], *clock[:-1]], [clock[-1], *clock[1:]], described, strict=False)
    for start, stop, rest in spans if len(described) > 1 else [(clock[0], clock[-1], described[0])]:
        yield f'{of_run},"ts":{start / 1e3:.3f},"dur":{(stop - start) / 1e3:.3f},{rest}'


def _described(about: About, where: tuple[str, int] | None) -> list[str]:
    """How the events of a program's runs from a line end: that of the run, then those of its kernels, unless it is an
    eager op with one."""
    args: dict[str, Any] = {} if where is None else {"line": f"{where[0]}:{where[1]}"}
    kernels = [_arguments(launch, about) for launch in about.launches]
    if len(kernels) == 1 and not about.captured:
        return [_rest(about.name, "eager", kernels[0] | args)]
    found = [_rest(about.name, "compiled" if about.captured else "eager", args)]
    for launch, own in zip(about.launches, kernels, strict=True):
        found.append(_rest(title_of(launch), "kernel", own if about.captured else own | args))
    return found


def _rest(name: str, kind: str, args: dict[str, Any]) -> str:
    return json.dumps({"name": name, "cat": kind, "args": args}, separators=(",", ":"))[1:]


def _arguments(launch: Launch, about: About) -> dict[str, Any]:
    """What a trace says of a kernel."""
    sizes = about.sizes
    args: dict[str, Any] = {
        "kernel": type(launch.kernel).__name__,
        "reads": [f"{v.dtype.name}{list(substitute(v.shape, sizes))}" for v in launch.reads],
        "writes": [f"{v.dtype.name}{list(substitute(v.shape, sizes))}" for v in launch.writes],
        "bytes": moved_by(launch, sizes),
        "flops": flops_of(launch, sizes),
    }
    if lines := lines_of(launch):
        args["line"] = f"{lines[0][0]}:{lines[0][1]}"
    return args


# --- who is told ----------------------------------------------------------------------------------------------------

_on: tuple[Profile, ...] = ()  # replaced as a whole
_switch = Lock()


def _turn(profile: Profile, on: bool) -> None:
    global _on
    with _switch.now:
        before, _on = _on, (*_on, profile) if on else tuple([p for p in _on if p is not profile])
        if bool(before) != bool(_on):
            watch(_tell if _on else None)


def _tell(about: list[Any], clock: bytes) -> None:
    """A program has run. (One that nobody has described computes a constant of a graph.)"""
    if about:
        run = Run(about[0], clock, threading.get_native_id(), user_line())
        for profile in _on:
            profile._note(run)


def profile() -> Profile:
    """What runs in a block of code: ``with wf.profile() as p: ...``, then ``p.rows``, ``print(p)``, ``p.html(path)``
    and ``p.chrome_trace(path)``.

    Eager ops and compiled functions, of all threads, on the CPU. It costs some microseconds a call while it is on, and
    nothing when it is off. Profiles may be inside of each other.

    Returns:
        A context manager. Its rows are per op and line: calls, time in kernels, bytes, flops, and the share of the
        machine's measured roofline.

    >>> with wf.profile() as p:
    ...     x = wf.ones((3,)) + 1.0
    >>> sum(row.calls for row in p.rows)
    2
    """
    return Profile()
