"""A bounded folder of immutable byte strings, safe to share between processes of one user.

What is kept is machine code that will be run, so the folder must belong to this user and be writable by nobody else;
otherwise, or when it cannot be written, the cache warns once and stays empty. All access goes through a descriptor of
the folder that was checked, so a folder put in its place later is never read.

An entry is a file: MAGIC, SHA-256 of the content, the content. It is written under a temporary name and renamed, so a
reader sees all of it or nothing. There is no fsync: after a power cut an entry may be cut short or zero, its digest no
longer fits, and it is made again, which is all that a cache owes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import threading
import time
import warnings
from collections.abc import Callable

from ..core.config import settings

__all__ = ["DiskCache", "disk_cache"]

MAGIC = b"weft-1\r\n"
_HEADER = len(MAGIC) + 32
_USED_AGAIN = 24 * 3600.0  # seconds: a younger mtime is not refreshed, so most hits cost no write
_STALE = 3600.0  # seconds after which an abandoned temporary file is removed


class DiskCache:
    """``get`` and ``put`` of byte strings by name; at most about ``limit`` bytes stay, the least recently used go.

    Thread-safe. A limit of 0 turns it off.
    """

    def __init__(self, directory: str, limit: int):
        self.directory, self.limit = directory, limit
        self._folder: int | None = None  # descriptor of the folder
        self._usable = limit > 0
        self._writable = True
        self._lock = threading.Lock()
        self._until_sweep = 0  # bytes that may be written before the folder's size is looked at again
        self._count = 0

    def get(self, name: str) -> bytes | None:
        """The content of entry ``name``; None if there is none or it is damaged (then it is removed)."""
        folder = self._open_folder()
        if folder is None:
            return None
        try:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        except OSError:
            return None
        try:
            status = os.fstat(file)
            data = os.read(file, status.st_size)
        except OSError:
            return None
        finally:
            os.close(file)
        content = data[_HEADER:]
        if data[: len(MAGIC)] != MAGIC or data[len(MAGIC) : _HEADER] != hashlib.sha256(content).digest():
            _quietly(os.unlink, name, dir_fd=folder)
            return None
        if time.time() - status.st_mtime > _USED_AGAIN:
            _quietly(os.utime, name, dir_fd=folder)
        return content

    def put(self, name: str, content: bytes) -> None:
        """Keep ``content`` as entry ``name``; a failure to write warns once and turns the cache off."""
        folder = self._open_folder()
        if folder is None or not self._writable or _HEADER + len(content) > self.limit:
            return
        data = b"".join((MAGIC, hashlib.sha256(content).digest(), content))
        with self._lock:
            self._count += 1
            temporary = f"{name}.{os.getpid()}-{self._count}.tmp"
            self._until_sweep -= len(data)
            sweep = self._until_sweep < 0
            if sweep:
                self._until_sweep = self.limit // 16
        try:
            self._write(folder, temporary, name, data)
        except FileNotFoundError:
            # The folder was deleted under us: the next call makes a new one. The descriptor stays open, because
            # another thread may be using it.
            self._folder = None
            return
        except OSError as error:
            _quietly(os.unlink, temporary, dir_fd=folder)
            self._writable = False
            self._warn(f"cannot write: {error.strerror}")
            return
        if sweep:
            self._sweep(folder)

    def _write(self, folder: int, temporary: str, name: str, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(temporary, flags, 0o600, dir_fd=folder)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(file, view) :]
        finally:
            os.close(file)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)

    def _sweep(self, folder: int) -> None:
        """Remove the least recently used entries down to 3/4 of the limit, if the folder is over it."""
        entries: list[tuple[float, int, str]] = []
        try:
            with os.scandir(folder) as found:
                for entry in found:
                    status = entry.stat(follow_symlinks=False)
                    if entry.name.endswith(".tmp"):
                        if time.time() - status.st_mtime > _STALE:
                            _quietly(os.unlink, entry.name, dir_fd=folder)
                    elif stat.S_ISREG(status.st_mode):
                        entries.append((status.st_mtime, status.st_size, entry.name))
        except OSError:
            return  # another process swept at the same time
        total = sum(size for _, size, _ in entries)
        if total <= self.limit:
            return
        for _, size, name in sorted(entries):
            _quietly(os.unlink, name, dir_fd=folder)
            total -= size
            if total <= self.limit * 3 // 4:
                return

    def _open_folder(self) -> int | None:
        """Descriptor of the folder, which is made if need be; None if it cannot be used."""
        if self._folder is not None or not self._usable:
            return self._folder
        with self._lock:
            if self._folder is None and self._usable:
                try:
                    self._folder = self._open_checked()
                except OSError as error:
                    self._usable = False
                    self._warn(error.strerror or str(error))
        return self._folder

    def _open_checked(self) -> int:
        os.makedirs(os.path.dirname(self.directory), exist_ok=True)
        _quietly(os.mkdir, self.directory, 0o700)
        folder = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        status = os.fstat(folder)
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            os.close(folder)
            raise PermissionError("it belongs to another user, or others may write to it")
        return folder

    def _warn(self, reason: str) -> None:
        warnings.warn(f"the object cache {self.directory} is not used: {reason}", RuntimeWarning, stacklevel=4)


def _quietly(operation: Callable[..., object], *args: object, **kwargs: object) -> None:
    with contextlib.suppress(OSError):
        operation(*args, **kwargs)


_caches: dict[tuple[str, int], DiskCache] = {}
_caches_lock = threading.Lock()


def disk_cache() -> DiskCache:
    """The cache that the settings in force name."""
    current = settings()
    name = (current.cache_dir, current.cache_limit_bytes)
    with _caches_lock:
        if name not in _caches:
            _caches[name] = DiskCache(*name)
        return _caches[name]
