"""Whole files, written so that a reader sees the old one or the new one and never a part."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets


def write_atomically(path: str | os.PathLike[str], data: bytes | bytearray | memoryview) -> None:
    """Put ``data`` in the file at ``path``: a temporary file beside it, synced to the disk, then renamed over it.

    An existing file keeps its permissions; a link is followed. When anything fails the old file is as it was, and
    nothing is left behind.

    Raises:
        OSError: the folder is not there or cannot be written to, or the disk is full.
    """
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "there is no such folder to write to", folder)
    if os.path.isdir(target):
        raise IsADirectoryError(errno.EISDIR, "a folder cannot be replaced by a file", target)
    temporary = os.path.join(folder, f".{secrets.token_hex(8)}.tmp")  # a name that fits wherever the target's does
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    handle = os.open(temporary, flags, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            with contextlib.suppress(FileNotFoundError):
                os.fchmod(handle, os.stat(target).st_mode & 0o7777)
            os.fsync(handle)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(folder)


def _sync_folder(folder: str) -> None:
    """Make the rename itself last; some file systems cannot sync a folder, and the file is whole without it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
