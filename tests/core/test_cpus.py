"""The number of CPUs: control groups of both versions, as the files of made-up systems say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from weft.core.cpus import cpus, quota, usable_cpus

V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
V1_MEMORY = "36 31 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
V1_NAMED = "41 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"


def system(root: Path, groups: str, mounts: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": groups, "proc/self/mountinfo": mounts, **files}.items():
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return root


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("200000 100000", 2), ("150000 100000", 1.5), ("50000 100000", 0.5), ("max 100000", 8), ("900000 100000", 8)],
)
def test_version_2(tmp_path: Path, text: str, cpus: float) -> None:
    root = system(tmp_path, "0::/box\n", V2, {"sys/fs/cgroup/box/cpu.max": text})
    assert quota(8, root) == cpus


@pytest.mark.parametrize(("used", "cpus"), [("200000", 2), ("50000", 0.5), ("-1", 8)])
def test_version_1(tmp_path: Path, used: str, cpus: float) -> None:
    folder = "sys/fs/cgroup/cpu,cpuacct/docker/box"
    files = {f"{folder}/cpu.cfs_quota_us": used, f"{folder}/cpu.cfs_period_us": "100000"}
    groups = "9:name=systemd:/\n4:memory:/other\n1:cpu,cpuacct:/docker/box\n0::/\n"
    assert quota(8, system(tmp_path, groups, V1_MEMORY + V1_NAMED + V1, files)) == cpus


def test_groups_above_count_too(tmp_path: Path) -> None:
    files = {
        "sys/fs/cgroup/a/b/cpu.max": "max 100000",
        "sys/fs/cgroup/a/cpu.max": "300000 100000",
        "sys/fs/cgroup/cpu.max": "500000 100000",
        "sys/fs/cgroup/a/c/cpu.max": "100000 100000",
    }
    assert quota(8, system(tmp_path, "0::/a/b\n", V2, files)) == 3


def test_a_mount_of_a_part_of_the_groups(tmp_path: Path) -> None:
    """In a container with a name space of mounts alone, paths begin at the machine's root."""
    mounts = V2.replace(" / /sys", " /docker/box /sys")
    files = {"sys/fs/cgroup/cpu.max": "100000 100000"}
    assert quota(8, system(tmp_path, "0::/docker/box\n", mounts, files)) == 1
    assert quota(8, system(tmp_path, "0::/elsewhere\n", mounts, files)) == 8


def test_a_system_that_says_nothing(tmp_path: Path) -> None:
    assert quota(8, tmp_path) == 8
    assert quota(8, system(tmp_path, "0::/\n", V2, {})) == 8


def test_the_mask_of_this_process_is_kept_to() -> None:
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("needs Linux's masks of CPUs")
    before = os.sched_getaffinity(0)
    usable, whole = cpus()
    assert 1 <= whole <= usable == usable_cpus() <= len(before)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cpus() == (1, 1)
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(("found", "usable", "whole"), [(0.5, 1, 1), (1.5, 2, 1), (2.0, 2, 2), (7, 7, 7)])
def test_a_part_of_a_cpu(monkeypatch: pytest.MonkeyPatch, found: float, usable: int, whole: int) -> None:
    monkeypatch.setattr("weft.core.cpus.quota", lambda most: found)
    assert cpus() == (usable, whole)
