"""How many CPUs this process may use: by its affinity mask, and by the quota of its control groups.

A container that is given two CPUs of sixty-four sees all of them, and is stopped for the rest of each period (0.1 s)
when its threads have used up their share. Linux says so in ``cpu.max`` (version 2 of control groups) or in
``cpu.cfs_quota_us`` and ``cpu.cfs_period_us`` (version 1), of the group that the process is in and of all groups above.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def usable_cpus() -> int:
    """Number of CPUs that this process may run on, and is given the time of; a part of one counts as one."""
    return cpus()[0]


def cpus() -> tuple[int, int]:
    """:func:`usable_cpus`, and how many threads may run all the time, where a part of a CPU counts as none."""
    affinity = getattr(os, "sched_getaffinity", None)
    given = quota(len(affinity(0)) if affinity else os.cpu_count() or 1)
    return max(1, math.ceil(given)), max(1, math.floor(given))


def quota(most: float, root: Path | None = None) -> float:
    """The CPUs that control groups give the time of, whole ones or parts; ``most`` where none is limited to less.
    ``root`` is where ``proc`` lies, and what the mounts in there are relative to; None is ``/``."""
    from pathlib import Path  # milliseconds, which `import weft` would take too

    for group in _groups(Path("/") if root is None else root):
        share = _share(group)
        if share is not None:
            most = min(most, share[0] / share[1])
    return most


def _groups(root: Path) -> Iterator[Path]:
    """The folders of the control groups that the process is in, each with those above it."""
    from pathlib import PurePosixPath

    try:
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return
    paths: dict[str, str] = {}  # of version 1 by the controller, of version 2 by ""
    for line in lines:
        _, controllers, path = line.split(":", 2)
        paths |= dict.fromkeys(controllers.split(","), path)
    for line in mounts:
        place, _, kind = line.partition(" - ")
        fields, options = place.split(), kind.split()
        name = "cpu" if options[0] == "cgroup" and "cpu" in options[-1].split(",") else ""
        if options[0] not in ("cgroup", "cgroup2") or (options[0] == "cgroup" and not name) or name not in paths:
            continue
        top = root / fields[4].lstrip("/")
        inner = PurePosixPath(paths[name])
        if inner.is_relative_to(fields[3]):  # else the mount shows other groups than the process is in
            inner = inner.relative_to(fields[3])
            yield from (top / inner, *(top / above for above in inner.parents))


def _share(group: Path) -> tuple[int, int] | None:
    """(quota, period) of a control group, in microseconds; None: it has no limit."""
    try:
        if (group / "cpu.max").exists():
            used, period = (group / "cpu.max").read_text().split()
        else:
            used, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        found = int(used), int(period)  # of version 2 "max", of version 1 -1: no limit
    except (OSError, ValueError):
        return None
    return found if min(found) > 0 else None
