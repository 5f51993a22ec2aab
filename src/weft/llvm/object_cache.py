"""Object code by key: from the disk cache, and compiled in parallel where it is not there.

The key text must say all that the IR depends on besides the sources of weft (those are part of every entry's name, as
are the target and the version of LLVM). The IR is only rendered when the entry is missing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache

from ..core.process import undivided
from .assembly import assemble_many
from .disk_cache import disk_cache
from .elf import PART
from .targets import Target


@cache
def codegen_version() -> str:
    """Digest of the sources that decide machine code (``core`` by its dtypes): what others made is never reused."""
    return sources_digest("core", "compiler", "llvm", "runtime")


def sources_digest(*layers: str) -> str:
    """Digest of the sources of some layers of weft."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    digest = hashlib.sha256()
    for folder in layers:
        for path, folders, names in os.walk(os.path.join(package, folder)):
            folders.sort()
            for name in sorted(names):
                if name.endswith(".py"):
                    with open(os.path.join(path, name), "rb") as file:
                        source = file.read()
                    digest.update(f"{folder}/{name} {len(source)}\n".encode())
                    digest.update(source)
    return digest.hexdigest()


PREFIX = PART.decode()


def entry_name(key: str, target: Target, level: int) -> str:
    """Name of the entry: a digest of everything that the object depends on."""
    text = "\0".join((key, target.key, str(level), codegen_version()))
    return hashlib.sha256(text.encode()).hexdigest()


def cached_object(key: str, target: Target, build: Callable[[], str], *, level: int = 2) -> bytes:
    """The object file of the LLVM IR text that ``build()`` returns, which is called only if it is not in the cache.

    Raises:
        CompileError: the text is not valid.
    """
    return cached_objects([(key, build)], target, level=level)[0]


def cached_objects(requests: Sequence[tuple[str, Callable[[], str]]], target: Target, *, level: int = 2) -> list[bytes]:
    """As :func:`cached_object` for each ``(key, build)``; what is missing is compiled in parallel, equal keys once.

    Functions that several modules have (parts.py) are compiled once and kept by themselves; an object is followed by
    those of its parts.
    """
    store = disk_cache()
    names = [entry_name(key, target, level) for key, _ in requests]
    found: dict[str, bytes | None] = {name: store.get(name) for name in dict.fromkeys(names)}
    missing = {name: build for name, (_, build) in zip(names, requests, strict=True) if found[name] is None}
    parts = _compile(missing, target, level, found) if missing else {}
    for name in missing:
        found[name] = b"".join([found[each] or b"" for each in (name, *parts[name])])
        store.put(name, found[name] or b"")
    return [found[name] or b"" for name in names]


def _compile(
    missing: Mapping[str, Callable[[], str]], target: Target, level: int, found: dict[str, bytes | None]
) -> dict[str, list[str]]:
    """Compile modules and the parts of theirs that the cache lacks into ``found``; the names of each one's parts."""
    with undivided():  # imported here: with a warm cache nothing is split
        from .parts import split
    store, parts, order = disk_cache(), dict[str, list[str]](), list[str]()

    def texts() -> Iterator[str]:
        for name, build in missing.items():
            text, own = build(), dict[str, str]()
            if not target.is_gpu:
                text, own = split(text, lambda part: PREFIX + entry_name(part, target, level))
            parts[name] = list(own)
            for symbol, part in own.items():
                if symbol not in found:
                    found[symbol] = store.get(symbol.removeprefix(PREFIX))
                    if found[symbol] is None:
                        order.append(symbol)
                        yield part
            order.append(name)
            yield text

    first = list(texts()) if len(missing) == 1 else None  # with its number known, no thread is started for one
    codes = assemble_many(texts() if first is None else first, target, level=level)
    for name, code in zip(order, codes, strict=True):
        found[name] = code
        if name not in missing:
            store.put(name.removeprefix(PREFIX), code)
    return parts


def kept_objects(keys: Sequence[str], target: Target, *, level: int = 2) -> list[bytes] | None:
    """The object files of these keys, if the cache has all of them."""
    store, found = disk_cache(), list[bytes]()
    for key in keys:
        code = store.get(entry_name(key, target, level))
        if code is None:
            return None
        found.append(code)
    return found
