"""What may happen to the files of an object cache between two processes, as steps that hypothesis can draw.

A step gets the folder and picks among its files; after any sequence of steps the folder is still one that a process may
be pointed at. None of them can be undone by the cache looking away: entries lie under each other's names, are cut,
flipped, grown to terabytes, or are no files at all.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

from fuzz_programs import Below

__all__ = ["STEPS", "disturb"]


def _clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _content(path: Path) -> bytes:
    """What a plain file of moderate size holds; nothing for anything else."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > 1 << 24:
        return b""
    path.chmod(0o600)
    return path.read_bytes()


def swap(one: Path, other: Path, below: Below) -> None:
    """Each under the other's name."""
    between = one.with_name("between")
    one.rename(between)
    if other.exists() or other.is_symlink():
        other.rename(one)
    between.rename(other)


def rotate(one: Path, other: Path, below: Below) -> None:
    """Every file under its neighbour's name."""
    names = sorted(one.parent.iterdir())
    turned = [path.rename(path.with_name(f"turned-{number}")) for number, path in enumerate(names)]
    for path, name in zip(turned, names[1:] + names[:1], strict=True):
        path.rename(name)


def copy(one: Path, other: Path, below: Below) -> None:
    """One entry's content under another one's name."""
    data = _content(one)
    _clear(other)
    other.write_bytes(data)


def hard_link(one: Path, other: Path, below: Below) -> None:
    """Two names of one file."""
    if one != other and one.is_file() and not one.is_symlink():
        _clear(other)
        os.link(one, other)


def link(one: Path, other: Path, below: Below) -> None:
    """A link to another entry, to itself when they are the same."""
    _clear(other)
    other.symlink_to(one.name)


def cut(one: Path, other: Path, below: Below) -> None:
    """Cut short, perhaps to nothing."""
    data = _content(one)
    _clear(one)
    one.write_bytes(data[: below(len(data) + 1)])


def flip(one: Path, other: Path, below: Below) -> None:
    """One bit."""
    data = bytearray(_content(one))
    if data:
        at = below(len(data)) if below(2) else below(min(len(data), 64))  # half of them in the header
        data[at] ^= 1 << below(8)
        _clear(one)
        one.write_bytes(data)


def grow(one: Path, other: Path, below: Below) -> None:
    """A file that says it has a few bytes more, or terabytes (no disk space is used)."""
    if one.is_file() and not one.is_symlink():
        one.chmod(0o600)
        with contextlib.suppress(OSError):  # a file system may have a limit
            os.truncate(one, one.stat().st_size + (1, 4096, 1 << 30, 200 << 30)[below(4)])


def pipe(one: Path, other: Path, below: Below) -> None:
    """A pipe that nobody writes to."""
    _clear(one)
    os.mkfifo(one)


def listener(one: Path, other: Path, below: Below) -> None:
    """A socket."""
    _clear(one)
    here = os.open(one.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(f"/proc/self/fd/{here}/s")  # a socket's path has about a hundred characters at most
        one.with_name("s").rename(one)
    finally:
        os.close(here)


def directory(one: Path, other: Path, below: Below) -> None:
    """A directory, empty or not."""
    _clear(one)
    one.mkdir()
    if below(2):
        (one / "something").write_bytes(b"of somebody's")


def permissions(one: Path, other: Path, below: Below) -> None:
    """Unreadable, or writable by others."""
    if not one.is_symlink():
        one.chmod((0o000, 0o200, 0o400, 0o644, 0o666, 0o777)[below(6)])


def clock(one: Path, other: Path, below: Below) -> None:
    """Used at the beginning of time, or far in the future."""
    stamp = (0, 4_000_000_000)[below(2)]
    os.utime(one, (stamp, stamp), follow_symlinks=False)


def remove(one: Path, other: Path, below: Below) -> None:
    """Gone."""
    _clear(one)


def strange(one: Path, other: Path, below: Below) -> None:
    """A file that is none of the cache's."""
    (one.parent / ("notes.txt", ".hidden", "x.weft", "y.weft-tmp")[below(4)]).write_bytes(b"something else")


def open_folder(one: Path, other: Path, below: Below) -> None:
    """A folder that others may read."""
    one.parent.chmod((0o755, 0o750, 0o711)[below(3)])


Step = Callable[[Path, Path, Below], None]
STEPS: tuple[Step, ...] = (
    swap,
    rotate,
    copy,
    hard_link,
    link,
    cut,
    flip,
    grow,
    pipe,
    listener,
    directory,
    permissions,
    clock,
    remove,
    strange,
    open_folder,
)


def disturb(folder: Path, below: Below, most: int) -> list[str]:
    """Up to ``most`` random steps on random files; returns what was done, for the report."""
    done = []
    for _ in range(1 + below(most)):
        present = sorted(folder.iterdir())
        if not present:
            break
        step = STEPS[below(len(STEPS))]
        one, other = present[below(len(present))], present[below(len(present))]
        step(one, other, below)
        done.append(f"{step.__name__} {one.name[:12]} {other.name[:12]}")
    return done
