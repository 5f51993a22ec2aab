"""Loads relocatable ELF objects into this process, without LLVM.

A warm start has all its machine code in the disk cache; with a loader of our own it never maps LLVM (170 MB of library,
50 ms). Objects come from our code generator: position-independent small-code-model code without thread-local storage,
constructors or exception tables, for x86-64 or AArch64; anything else raises.

What is loaded may be several objects in a row: the first uses functions that the others define, its parts (parts.py).
Equal symbols of parts are equal code, of which the process keeps one.

Layout of the memory of one :func:`load_objects` call: read-only and executable sections of all objects, then linkage
stubs and addresses of outside symbols (all read + execute), then, on pages of their own, the writable sections. Pages
are filled while they are writable and made executable afterwards; never both at once.

What is loaded stays until the process is gone: a daemon thread may be in the middle of it when the interpreter ends,
and runs on while modules and their objects are taken apart.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from ..core.errors import CompileError

_PAGE = mmap.PAGESIZE
_STUB = 16  # bytes of one linkage stub, on both machines
_X86_64, _AARCH64 = 62, 183  # e_machine
_MACHINES = {"x86_64": _X86_64, "aarch64": _AARCH64}
_PROGBITS, _SYMTAB, _RELA, _NOBITS, _REL, _INIT_ARRAY = 1, 2, 4, 8, 9, 14  # sh_type
_WRITE, _ALLOC, _TLS = 1, 2, 0x400  # sh_flags
_UNDEFINED, _ABSOLUTE, _COMMON = 0, 0xFFF1, 0xFFF2  # st_shndx
PART = b"weft.part."  # what symbols of parts begin with
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")


_parts: dict[str, int] = {}  # symbol -> address of the parts that are loaded


class CodeModule:
    """Machine code of one object in this process, which it never leaves."""

    __slots__ = ("_symbols",)

    def __init__(self, symbols: dict[str, int]):
        self._symbols = symbols

    def address(self, name: str) -> int:
        """Address of the global symbol ``name``.

        Raises:
            CompileError: the object does not define it.
        """
        try:
            return self._symbols[name]
        except KeyError:
            raise CompileError(f"no symbol {name!r} in the object; it defines {', '.join(self._symbols)}") from None

    @property
    def symbols(self) -> tuple[str, ...]:
        """Names of the global symbols."""
        return tuple(self._symbols)


@cache
def _process() -> tuple[Any, ...]:
    libraries = [ctypes.CDLL(None), ctypes.pythonapi]
    # musl has libm within libc; libgcc has what a machine lacks, half-precision conversions on plain SSE2, say
    for name in ("libm.so.6", "libgcc_s.so.1"):
        with contextlib.suppress(OSError):
            libraries.append(ctypes.CDLL(name))
    return tuple(libraries)


@cache
def process_symbol(name: str) -> int:
    """Address of ``name`` in this process: libc, libm, pthread, CPython, libgcc.

    Raises:
        CompileError: there is no such symbol.
    """
    for library in _process():
        try:
            symbol = getattr(library, name)
        except AttributeError:
            continue
        return ctypes.cast(symbol, ctypes.c_void_p).value or 0
    raise CompileError(f"undefined symbol {name!r}: neither the object, nor those given, nor this process has it")


class _Section(NamedTuple):
    name: int
    kind: int
    flags: int
    addr: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entsize: int


class _Object:
    """One parsed object: its sections, symbols and relocations, and where each section goes in memory."""

    def __init__(self, data: bytes, machine: int):
        if data[:7] != b"\x7fELF\x02\x01\x01" or len(data) < 64:
            raise CompileError("not a little-endian 64-bit ELF object")
        kind, self.machine = struct.unpack_from("<HH", data, 16)
        if kind != 1 or self.machine != machine:
            raise CompileError(f"ELF type {kind} machine {self.machine}: not a relocatable object for this machine")
        self.data = data
        (start,) = struct.unpack_from("<Q", data, 40)
        (count,) = struct.unpack_from("<H", data, 60)
        table = data[start : start + 64 * count]
        self.sections = [_Section(*fields) for fields in _SECTION.iter_unpack(table)]
        cut = any(s.kind != _NOBITS and s.offset + s.size > len(data) for s in self.sections)
        if cut or len(self.sections) != count:
            raise CompileError("damaged object file: it ends too soon")
        self.loaded: list[int] = []  # numbers of the sections that are given memory
        self.relocated: list[_Section] = []
        self.symbols: list[tuple[int, int, int, int, int, int]] = []
        for number, section in enumerate(self.sections):
            if section.flags & _ALLOC and section.size:
                name = self._section_name(section)
                if name == b".eh_frame":  # nothing is thrown through our code
                    continue
                if section.flags & _TLS or section.kind not in (_PROGBITS, _NOBITS) or name.startswith(b".ctors"):
                    raise CompileError(f"section {name.decode()} of an object cannot be loaded")
                self.loaded.append(number)
            elif section.kind == _RELA:
                self.relocated.append(section)
            elif section.kind == _REL:
                raise CompileError("ELF relocations without addends cannot be loaded")
            elif section.kind == _SYMTAB:
                self.symbols = list(_SYMBOL.iter_unpack(data[section.offset : section.offset + section.size]))
                self.strings = self.sections[section.link].offset
        ends = [s.offset + s.size for s in self.sections if s.kind != _NOBITS]
        self.size = max(start + 64 * count, *ends)  # bytes of the object
        self.places: dict[int, int] = {}  # section number -> address

    def _section_name(self, section: _Section) -> bytes:
        (index,) = struct.unpack_from("<H", self.data, 62)
        begin = self.sections[index].offset + section.name
        return self.data[begin : self.data.index(b"\0", begin)]

    def name(self, offset: int) -> str:
        """Symbol name at ``offset`` of the string table."""
        begin = self.strings + offset
        return self.data[begin : self.data.index(b"\0", begin)].decode()

    def is_part(self) -> str | None:
        """The symbol of a part."""
        for name, info, _, index, _, _ in self.symbols:
            if info >> 4 and index in self.loaded and self.data.startswith(PART, self.strings + name):
                return self.name(name)
        return None

    def relocations(self) -> list[tuple[int, int, int, int]]:
        """``(address of the place, type, symbol number, addend)`` of every relocation in loaded sections."""
        result = []
        for section in self.relocated:
            base = self.places.get(section.info)
            if base is not None:
                entries = _RELOCATION.iter_unpack(self.data[section.offset : section.offset + section.size])
                result += [(base + at, info & 0xFFFFFFFF, info >> 32, addend) for at, info, addend in entries]
        return result


def _host_machine() -> int:
    machine = os.uname().machine if sys.platform == "linux" else "?"
    if machine not in _MACHINES:
        raise CompileError(
            f"weft cannot load machine code on {sys.platform} {machine} yet: Linux on x86_64 and aarch64 are supported"
        )
    return _MACHINES[machine]


def _round_up(n: int, align: int) -> int:
    return -(-n // align) * align


def load(code: bytes, symbols: Mapping[str, int] | None = None) -> CodeModule:
    """Load one object made for the host, as :func:`load_objects` does."""
    return load_objects([code], symbols)[0]


def load_objects(objects: Sequence[bytes], symbols: Mapping[str, int] | None = None) -> list[CodeModule]:
    """Load ELF objects into one region of memory, which is never unmapped; one CodeModule for each.

    A symbol that an object does not define is looked up in ``symbols`` (name -> address), then in the process;
    objects do not see each other's symbols, so several may define the same name.

    Raises:
        CompileError: not an object for this machine, an unknown symbol, or a relocation that cannot be made.
    """
    if not objects:
        return []
    machine = _host_machine()

    def reserve(size: int) -> tuple[mmap.mmap, int]:
        memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        return memory, ctypes.addressof(ctypes.c_char.from_buffer(memory))

    memory, base, code_end, exported, parts = link_objects(objects, machine, symbols or {}, reserve, _parts)
    _protect(base, code_end)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(memory))  # never given back
    _parts.update(parts)
    return [CodeModule(addresses) for addresses in exported]


def link_objects(
    objects: Sequence[bytes],
    machine: int,
    symbols: Mapping[str, int],
    reserve: Callable[[int], tuple[Any, int]],
    loaded: Mapping[str, int] | None = None,
) -> tuple[Any, int, int, list[dict[str, int]], dict[str, int]]:
    """Copy the objects into memory and relocate them.

    Args:
        objects, symbols: as for :func:`load_objects`.
        machine: ELF number of the machine that they must be for.
        reserve: gives, for a size, writable memory (anything that takes slices of bytes) and the address at which
            its first byte will be when the code runs.
        loaded: addresses of parts that need not be copied again.

    Returns:
        That memory and address, the size of its part that holds code, each object's global symbols, and the addresses
        of the parts that are new.
    """
    loaded = loaded or {}
    try:
        rows = [_in_a_row(data, machine) for data in objects]
        named = {item.is_part(): item for _, *items in rows for item in items}
        parts = {name: item for name, item in named.items() if name is not None and name not in loaded}
        if None in named:
            raise CompileError("an object behind another one is no part")
        layout = _lay_out([*parts.values(), *(first for first, *_ in rows)])
        memory, base = reserve(layout.size)
        linker = (_X86Patch if machine == _X86_64 else _AArch64Patch)(memory, base, base + layout.imports_at)
        found: dict[str, int] = {}
        for item in parts.values():
            found |= _place(item, memory, base, linker, symbols, {})
        exported = [_place(first, memory, base, linker, {**symbols, **loaded}, found) for first, *_ in rows]
    except (struct.error, ValueError, IndexError, KeyError) as error:
        raise CompileError(f"damaged object file: {error}") from error
    return memory, base, layout.code_end, exported, found


def _in_a_row(data: bytes, machine: int) -> list[_Object]:
    """An object and its parts."""
    found = [_Object(data, machine)]
    while len(data) > found[-1].size:
        data = data[found[-1].size :]
        found.append(_Object(data, machine))
    return found


class _Layout(NamedTuple):
    """Offsets in the memory of one load: the end of the code pages, the table of stubs, the end."""

    code_end: int
    imports_at: int
    size: int


def _lay_out(parsed: Sequence[_Object]) -> _Layout:
    """Give each loaded section its offset; code and data end on page boundaries."""
    at = 0
    for writable in (0, _WRITE):
        if writable:
            imports_at = _round_up(at, 16)
            slots = sum(len(item.symbols) for item in parsed)  # at most: each needs one slot or none
            at = code_end = max(_round_up(imports_at + slots * (8 + _STUB), _PAGE), _PAGE)
        for item in parsed:
            for number in item.loaded:
                section = item.sections[number]
                if section.flags & _WRITE == writable:
                    at = _round_up(at, max(section.align, 1))
                    item.places[number] = at
                    at += section.size
    return _Layout(code_end, imports_at, _round_up(at, _PAGE))


def _place(
    item: _Object, memory: Any, base: int, linker: _Patch, symbols: Mapping[str, int], near: Mapping[str, int]
) -> dict[str, int]:
    """Copy and relocate one object; returns the addresses of its global symbols. ``near``: symbols of this memory."""
    for number, offset in item.places.items():
        section = item.sections[number]
        if section.kind != _NOBITS:
            memory[offset : offset + section.size] = item.data[section.offset : section.offset + section.size]
        item.places[number] = base + offset
    addresses: list[int] = []
    imported: dict[int, int] = {}  # symbol number -> address outside
    exported: dict[str, int] = {}
    for number, (name, info, _, index, value, _size) in enumerate(item.symbols):
        address = 0
        if index == _UNDEFINED and name:
            text = item.name(name)
            if text in near:
                address = near[text]
            else:
                address = imported[number] = symbols[text] if text in symbols else process_symbol(text)
        elif index == _ABSOLUTE:
            address = value
        elif index == _COMMON:
            raise CompileError(f"common symbol {item.name(name)!r} cannot be loaded")
        elif index in item.places:
            address = item.places[index] + value
            if info >> 4 and name:  # global or weak
                exported[item.name(name)] = address
        addresses.append(address)
    for at, kind, number, addend in item.relocations():
        linker.apply(at, kind, addresses[number], addend, number in imported)
    return exported


def _protect(base: int, size: int) -> None:
    libc = _process()[0]
    if libc.mprotect(ctypes.c_void_p(base), ctypes.c_size_t(size), mmap.PROT_READ | mmap.PROT_EXEC):
        raise CompileError("the system does not allow memory to be made executable")
    if _host_machine() == _AARCH64:
        flush: Callable[..., Any] = ctypes.CDLL("libgcc_s.so.1")["__clear_cache"]
        flush(ctypes.c_void_p(base), ctypes.c_void_p(base + size))


class _Patch:
    """Applies relocations; keeps the table of stubs and addresses that lead outside."""

    def __init__(self, memory: Any, base: int, imports_at: int):
        self.memory, self.base, self.next = memory, base, imports_at
        self.entries: dict[int, int] = {}  # target -> its 8-byte address slot; the stub follows the slot

    def apply(self, at: int, kind: int, target: int, addend: int, outside: bool) -> None:
        """Patch the place ``at``."""
        raise NotImplementedError

    def slot(self, target: int) -> int:
        """Address of 8 bytes that hold ``target``."""
        if target not in self.entries:
            self.entries[target] = self.next
            self.memory[self.next - self.base : self.next - self.base + 8 + _STUB] = (
                target.to_bytes(8, "little") + self.stub()
            )
            self.next += 8 + _STUB
        return self.entries[target]

    def stub(self) -> bytes:
        """Code, placed right behind a slot, that jumps to the address in the slot."""
        raise NotImplementedError

    def put(self, at: int, value: int, size: int, signed: bool = True) -> None:
        """Write an integer, which must fit."""
        try:
            self.memory[at - self.base : at - self.base + size] = value.to_bytes(size, "little", signed=signed)
        except OverflowError:
            raise CompileError(f"relocation out of range: {value:#x} in {size} bytes") from None


class _X86Patch(_Patch):
    """x86-64 (System V psABI, table 4.9)."""

    def stub(self) -> bytes:
        return b"\xff\x25" + (-14).to_bytes(4, "little", signed=True) + b"\xcc" * 10  # jmp *slot(%rip)

    def apply(self, at: int, kind: int, target: int, addend: int, outside: bool) -> None:
        if kind in (2, 4):  # PC32, PLT32
            self.put(at, (self.slot(target) + 8 if outside else target) + addend - at, 4)
        elif kind == 1:  # 64
            self.put(at, (target + addend) & (1 << 64) - 1, 8, signed=False)
        elif kind in (9, 41, 42):  # GOTPCREL, GOTPCRELX, REX_GOTPCRELX
            self.put(at, self.slot(target) + addend - at, 4)
        elif kind == 24:  # PC64
            self.put(at, target + addend - at, 8)
        else:
            raise CompileError(f"x86-64 relocation type {kind} is not known to the loader")


class _AArch64Patch(_Patch):
    """AArch64 (ELF for the Arm 64-bit Architecture, section 5.7)."""

    _scaled = {277: 0, 278: 0, 284: 1, 285: 2, 286: 3, 299: 4}  # ADD/LDST<n>_ABS_LO12_NC -> log2 of access size

    def stub(self) -> bytes:
        return struct.pack("<4I", 0x58FFFFD0, 0xD61F0200, 0xD503201F, 0xD503201F)  # ldr x16, slot; br x16; nop; nop

    def apply(self, at: int, kind: int, target: int, addend: int, outside: bool) -> None:
        value = target + addend
        if kind in (282, 283):  # JUMP26, CALL26
            distance = (self.slot(target) + 8 if outside else value) - at
            self._field(at, distance >> 2, 26, 0, signed=True)
        elif kind in (275, 311):  # ADR_PREL_PG_HI21, ADR_GOT_PAGE
            page = ((self.slot(target) if kind == 311 else value) >> 12) - (at >> 12)
            self._field(at, page & 3, 2, 29)
            self._field(at, page >> 2, 19, 5, signed=True)
        elif kind in self._scaled:
            self._field(at, (value & 0xFFF) >> self._scaled[kind], 12, 10)
        elif kind == 312:  # LD64_GOT_LO12_NC
            self._field(at, (self.slot(target) & 0xFFF) >> 3, 12, 10)
        elif kind == 257:  # ABS64
            self.put(at, value & (1 << 64) - 1, 8, signed=False)
        elif kind in (260, 261):  # PREL64, PREL32
            self.put(at, value - at, 8 if kind == 260 else 4)
        else:
            raise CompileError(f"AArch64 relocation type {kind} is not known to the loader")

    def _field(self, at: int, value: int, bits: int, shift: int, signed: bool = False) -> None:
        """Put ``value`` into ``bits`` bits of the instruction at ``at``."""
        low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
        if not low <= value < high:
            raise CompileError(f"relocation out of range: {value:#x} in {bits} bits")
        offset = at - self.base
        word = int.from_bytes(self.memory[offset : offset + 4], "little")
        mask = (1 << bits) - 1
        word = word & ~(mask << shift) | (value & mask) << shift
        self.memory[offset : offset + 4] = word.to_bytes(4, "little")
