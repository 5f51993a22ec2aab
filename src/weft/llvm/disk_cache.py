"""A bounded folder of immutable byte strings, safe to share between processes of one user.

What is kept is machine code that will be run, so the folder must belong to this user and be writable by nobody else;
otherwise, or when it cannot be written, the cache warns once and stays empty. All access goes through a descriptor of
the folder that was checked, so a folder put in its place later is never read.

An entry is a file: MAGIC, the content's length, SHA-256 of the entry's name, the length and the content, the content.
So an entry under another one's name is no entry. It is written under a temporary name and renamed, so a reader sees all
of it or nothing. There is no fsync: after a power cut an entry may be cut short or zero, its digest no longer fits, and
it is made again, which is all that a cache owes. Whatever else lies under an entry's name (a directory, a pipe, a link,
a file of terabytes) is a miss: it is neither followed nor waited for nor read, and the next ``put`` replaces it.

Only files with our suffixes are ever removed: a folder that holds other things too loses none of them.

The digest tells damage, not intent: whoever can write to the folder, as this user or as root, can have code run. Others
cannot, unless they can replace a folder above it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
import time
import warnings
from collections.abc import Callable

from ..core.config import settings
from ..core.process import Lock

MAGIC = b"weft-2\r\n"
SUFFIX = ".weft"  # of an entry's file
_TEMPORARY = ".weft-tmp"
_HEADER = len(MAGIC) + 8 + 32
_USED_AGAIN = 24 * 3600.0  # seconds: an mtime that is not older is not refreshed, so most hits cost no write
_STALE = 3600.0  # seconds after which an abandoned temporary file is removed


def _header(name: str, content: bytes) -> bytes:
    """What stands before ``content`` in the file of entry ``name``."""
    length = len(content).to_bytes(8, "little")
    digest = hashlib.sha256(b"%d:%s:%s" % (len(name), name.encode(), length))
    digest.update(content)
    return MAGIC + length + digest.digest()


class DiskCache:
    """``get`` and ``put`` of byte strings by name; at most about ``limit`` bytes stay, the least recently used go.

    Thread-safe. A limit of 0 turns it off.
    """

    def __init__(self, directory: str, limit: int):
        self.directory, self.limit = directory, limit
        self._folder: int | None = None  # descriptor of the folder
        self._usable = limit > 0
        self._writable = True
        self._lock = Lock()
        self._until_sweep = 0  # bytes that may be written before the folder's size is looked at again

    def get(self, name: str) -> bytes | None:
        """The content of entry ``name``; None if there is none or it is damaged (then it is removed)."""
        folder = self._open_folder()
        if folder is None:
            return None
        try:
            # O_NONBLOCK: opening a pipe must not wait for its writer
            file = os.open(name + SUFFIX, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        except OSError:
            return None
        try:
            status = os.fstat(file)
            content = self._read(file, status, name)
        except OSError:
            return None
        finally:
            os.close(file)
        if content is None:
            _discard(name + SUFFIX, folder)
        elif abs(time.time() - status.st_mtime) > _USED_AGAIN:  # or the clock was put back
            _quietly(os.utime, name + SUFFIX, dir_fd=folder, follow_symlinks=False)
        return content

    def _read(self, file: int, status: os.stat_result, name: str) -> bytes | None:
        """The content in an open file; None if it is not whole, or not a file that we have written as ``name``."""
        length = status.st_size - _HEADER
        foreign = not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022
        if foreign or not 0 <= length <= self.limit:
            return None
        header = os.read(file, _HEADER)
        if header[: len(MAGIC) + 8] != MAGIC + length.to_bytes(8, "little"):
            return None
        content = os.read(file, length)
        while len(content) < length and (more := os.read(file, length - len(content))):
            content += more
        return content if header == _header(name, content) else None

    def put(self, name: str, content: bytes) -> None:
        """Keep ``content`` as entry ``name``; a folder that cannot be written to costs one warning, and no more puts.

        Where only this entry cannot be replaced, only this entry stays missing.
        """
        folder = self._open_folder()
        if folder is None or not self._writable or _HEADER + len(content) > self.limit:
            return
        data = _header(name, content) + content
        with self._lock.now:
            self._until_sweep -= len(data)
            sweep = self._until_sweep < 0
            if sweep:
                self._until_sweep = self.limit // 16
        temporary = f"{name}.{secrets.token_hex(8)}{_TEMPORARY}"
        try:
            self._write(folder, temporary, data)
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
        try:
            _rename(temporary, name + SUFFIX, folder)
        except OSError:
            _quietly(os.unlink, temporary, dir_fd=folder)
        if sweep:
            self._sweep(folder)

    def _write(self, folder: int, temporary: str, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(temporary, flags, 0o600, dir_fd=folder)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(file, view) :]
        finally:
            os.close(file)

    def _sweep(self, folder: int) -> None:
        """Remove the least recently used entries down to 3/4 of the limit, if the folder is over it."""
        entries: list[tuple[float, int, str]] = []
        now = time.time()
        try:
            names = os.listdir(folder)
        except OSError:
            return
        for name in names:
            if not name.endswith((SUFFIX, _TEMPORARY)):
                continue
            try:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except OSError:
                continue  # another process swept at the same time
            if name.endswith(_TEMPORARY):
                if abs(now - status.st_mtime) > _STALE:
                    _discard(name, folder)
            elif not stat.S_ISREG(status.st_mode) or status.st_size > self.limit:
                _discard(name, folder)
            else:  # an entry from the future, which no use has brought back, is the oldest
                used = status.st_mtime if status.st_mtime < now + _USED_AGAIN else 0.0
                entries.append((used, status.st_size, name))
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
        with self._lock.now:
            if self._folder is None and self._usable:
                try:
                    self._folder = self._open_checked()
                except OSError as error:
                    self._usable = False
                    self._warn(error.strerror or str(error))
        return self._folder

    def _open_checked(self) -> int:
        os.makedirs(os.path.dirname(self.directory), mode=0o700, exist_ok=True)
        if not os.path.isdir(self.directory):
            with contextlib.suppress(FileExistsError):  # another process was quicker
                os.mkdir(self.directory, 0o700)
        folder = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            status = os.fstat(folder)
            if status.st_uid != os.geteuid() or status.st_mode & 0o022:
                raise PermissionError("it belongs to another user, or others may write to it")
            if status.st_mode & 0o077 and all(name.endswith((SUFFIX, _TEMPORARY)) for name in os.listdir(folder)):
                _quietly(os.fchmod, folder, 0o700)  # a folder that holds other things too is left as it is
        except BaseException:
            os.close(folder)
            raise
        return folder

    def _warn(self, reason: str) -> None:
        warnings.warn(f"the object cache {self.directory} is not used: {reason}", RuntimeWarning, stacklevel=4)


def _quietly(operation: Callable[..., object], *args: object, **kwargs: object) -> None:
    with contextlib.suppress(OSError):
        operation(*args, **kwargs)


def _rename(temporary: str, name: str, folder: int) -> None:
    """Give a file its name; a directory that has it is moved out of the way."""
    try:
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST):
            raise
        _discard(name, folder)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)


def _discard(name: str, folder: int) -> None:
    """Remove what has this name. A directory that is not empty only loses its name: what is in it is not ours."""
    try:
        os.unlink(name, dir_fd=folder)
    except OSError:
        try:
            os.rmdir(name, dir_fd=folder)
        except OSError:
            _quietly(os.rename, name, f"{name}.{secrets.token_hex(8)}.foreign", src_dir_fd=folder, dst_dir_fd=folder)


_caches: dict[tuple[str, int], DiskCache] = {}
_caches_lock = Lock()


def disk_cache() -> DiskCache:
    """The cache that the settings in force name."""
    current = settings()
    name = (current.cache_dir, current.cache_limit_bytes)
    with _caches_lock.now:
        if name not in _caches:
            _caches[name] = DiskCache(*name)
        return _caches[name]
