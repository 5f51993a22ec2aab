"""A library's files: object, header, static archive, and a shared library where a linker is at hand."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import CompileError
from ..core.files import write_atomically
from ..llvm.targets import Target
from .native import Library


def write_library(
    library: Library, folder: str | os.PathLike[str], target: Target, linker: str | None = None
) -> list[Path]:
    """Write ``<name>.o``, ``<name>.h``, ``lib<name>.a`` and, given a ``linker``, ``lib<name>.so``; returns the paths.

    Args:
        library: what to write.
        folder: is made if need be.
        target: the library's.
        linker: a C compiler for the target, see :func:`find_linker`; None leaves the shared library out.

    Raises:
        CompileError: the linker fails, with what it says.
        OSError: a file cannot be written.
    """
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    object_path, shared = place / f"{library.name}.o", place / f"lib{library.name}.so"
    contents = {
        object_path: library.object,
        place / f"{library.name}.h": library.header.encode(),
        place / f"lib{library.name}.a": archive(object_path.name, library.object, library.exports),
    }
    if linker is not None:
        contents[shared] = _linked(library, shared.name, target, linker)
    for path, content in contents.items():
        write_atomically(path, content)
    return list(contents)


def _linked(library: Library, soname: str, target: Target, linker: str) -> bytes:
    """The shared library, linked in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder) / "library.o", Path(folder) / "library.so"
        source.write_bytes(library.object)
        command = [
            linker,
            "-shared",
            "-nostdlib",
            "-Wl,-z,noexecstack",
            f"-Wl,-soname,{soname}",
            "-o",
            str(result),
            str(source),
            *(() if target.has_fma else ("-lm",)),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise CompileError(f"{linker} cannot link {soname} for {target.triple}:\n{done.stderr.strip()}")
        return result.read_bytes()


def find_linker(target: Target) -> str | None:
    """Path of a C compiler that links shared libraries for the target, or None: ``<arch>-linux-gnu-gcc``, or ``cc``
    if the target is this kind of machine."""
    if "linux" not in target.triple:
        return None
    found = shutil.which(f"{target.arch}-linux-gnu-gcc")
    return found or (shutil.which("cc") if target.arch == os.uname().machine else None)


def archive(member: str, content: bytes, symbols: Sequence[str]) -> bytes:
    """A static library (System V ``ar`` format) of one object that defines ``symbols``, with the linker's index."""
    index = struct.pack(">I", len(symbols)) + bytes(4 * len(symbols)) + b"".join(s.encode() + b"\0" for s in symbols)
    names = f"{member}/\n".encode() if len(member) > 15 else b""
    magic = b"!<arch>\n"
    long_names = _member("//", names) if names else b""
    at = len(magic) + len(_member("/", index)) + len(long_names)  # where the object's header lies
    index = struct.pack(f">{1 + len(symbols)}I", len(symbols), *[at] * len(symbols)) + index[4 + 4 * len(symbols) :]
    return magic + _member("/", index) + long_names + _member("/0" if names else f"{member}/", content)


def _member(name: str, content: bytes) -> bytes:
    """Header and content, padded to an even size; times and owners are zero, so that equal inputs give equal files."""
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n"
    return header.encode() + content + b"\n" * (len(content) % 2)
