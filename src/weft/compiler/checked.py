"""Checked memory: a kernel's text with a check in front of every access, for who works on weft (WEFT_CHECK_MEMORY=1).

:func:`with_checks` rewrites the finished text of a module, so that no renderer knows of it and none can forget it. What
an access may touch is said by the launch: the integers of a checked kernel begin with those of :func:`extents`. From
them the kernel's entry makes a table of ranges of addresses, on its stack: the buffers in order, the thread's scratch
memory, the module's constant tables. Then, for each load and store, masked ones and those of many places too::

    ranges = the one that the pointer comes from, or all, where that is not to be seen (arguments of inner functions)
    ok = nbytes == 0 or address % align == 0 and any(
        low <= address and address + nbytes <= high and (writable or not writes) for low, high, writable in ranges)
    if not ok: status |= STATUS_MEMORY; note it, if it is the first; go on with memory that nobody looks at

where ``nbytes`` are those from the first lane that exists to the last. Variables on the stack are held to their own
size. The pointers and integers that a kernel is given are read as they are, and prefetches touch nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from ..core.errors import CompileError
from ..llvm.module import Function, extern, module
from ..llvm.text import (
    I1,
    I64,
    Integers,
    Pointers,
    Ptr,
    Value,
    at_most,
    byte_offset,
    cast,
    compare_exchange,
    counted,
    if_,
    is_null,
    return_,
    return_if,
    structure,
    to_integer,
)
from ..runtime.access_record import FIELDS, RECORDED, STATUS_MEMORY
from .kernels import SCRATCH_BYTES

_HEADER, _EXTENT = 2, 3  # integers before those of the buffers, and of each
_UNREAD = 1024  # bytes; no access has more

Range = Annotated[Value, structure("Range", low=I64, high=I64, writable=I64)]
Record = Annotated[Value, structure("Record", **dict.fromkeys(FIELDS, I64))]
Table = Annotated[Value, structure("Checked", status=I64, record=Record, launch=I64, unread=Ptr, total=I64)]
_TABLE_WORDS = 5

cttz = extern(I64, "llvm.cttz.i64", I64, I1)
ctlz = extern(I64, "llvm.ctlz.i64", I64, I1)
umin = extern(I64, "llvm.umin.i64", I64, I64)


def extents(buffers: Sequence[tuple[Any, Any, bool]], record: int = 0, launch: int = 0) -> tuple[Any, ...]:
    """The integers in front of those of a checked kernel: where it notes what is wrong (0: nowhere), the number of the
    launch; for each buffer its first byte, counted from its pointer, its bytes, and whether it is written."""
    return (record, launch, *(number for low, nbytes, writes in buffers for number in (low, nbytes, int(writes))))


# ---------------------------------------------------------------------------------------------------- the checks


def _apart(body: Any) -> Function:
    """A function that never becomes part of its callers: a kernel has hundreds of accesses."""
    return Function(body.__name__, body, "noinline nounwind", False)


def ranges_of(table: Value, words: int) -> Value:
    """The ranges behind so many words."""
    return cast(Range, byte_offset(table, 8 * words))


@_apart
def checked_begin(
    table: Table, unread: Ptr, ints: Integers, bufs: Pointers, buffers: I64, scratch: Ptr, total: I64
) -> None:
    """Fill the table of a kernel, but for its constant tables."""
    table.status = 0
    table.record = cast(Record, cast(Pointers, ints)[0])
    table.launch = ints[1]
    table.unread = unread
    table.total = total
    ranges = ranges_of(table, _TABLE_WORDS)
    for k in counted(buffers):
        word = k * _EXTENT + _HEADER
        one = ranges[k]
        one.low = to_integer(bufs[k]) + ints[word]
        one.high = one.low + ints[word + 1]
        one.writable = ints[word + 2]
    own = ranges[buffers]
    own.low = to_integer(scratch)
    own.high = own.low + SCRATCH_BYTES
    own.writable = 1


@_apart
def checked_constant(table: Table, number: I64, address: Ptr, nbytes: I64) -> None:
    """The range of a constant table."""
    one = ranges_of(table, _TABLE_WORDS)[number]
    one.low = to_integer(address)
    one.high = one.low + nbytes
    one.writable = 0


@_apart
def checked_report(address: I64, nbytes: I64, writes: I64, first: I64, count: I64, table: Table) -> Ptr:
    """Note an access that is not allowed; what is touched instead."""
    table.status = table.status | STATUS_MEMORY
    record = table.record
    with if_(~is_null(record)), if_(compare_exchange(record, 0, 1)):
        total = table.total
        record.launch = table.launch
        record.address = address
        record.nbytes = nbytes
        record.writes = writes
        record.first = first
        record.count = count
        record.total = total
        ranges, copies = ranges_of(table, _TABLE_WORDS), ranges_of(record, len(FIELDS))
        for k in counted(umin(total, RECORDED)):
            copies[k].low = ranges[k].low
            copies[k].high = ranges[k].high
            copies[k].writable = ranges[k].writable
    return table.unread


@_apart
def checked_access(address: Ptr, nbytes: I64, slack: I64, writes: I64, first: I64, count: I64, table: Table) -> Ptr:
    """The address, if the access is allowed in one of the ranges. ``slack``: one less than its alignment."""
    return_if(nbytes == 0, address)
    start, ranges = to_integer(address), ranges_of(table, _TABLE_WORDS)
    with if_((start & slack) == 0):
        for k in counted(first + count, first):
            one = ranges[k]
            inside = at_most(one.low, start) & at_most(start, one.high) & at_most(nbytes, one.high - start)
            with if_(inside & at_most(writes, one.writable)):
                return_(address)
    return checked_report(start, nbytes, writes, first, count, table)


@_apart
def checked_lanes(
    address: Ptr, lanes: I64, size: I64, slack: I64, writes: I64, first: I64, count: I64, table: Table
) -> Ptr:
    """As :func:`checked_access`, of adjacent elements of which those exist whose bits are set in ``lanes``."""
    return_if(lanes == 0, address)
    lane = cttz(lanes, True)
    before = lane * size
    nbytes = (64 - ctlz(lanes, True) - lane) * size
    found = checked_access(byte_offset(address, before), nbytes, slack, writes, first, count, table)
    return byte_offset(found, before * -1)


@_apart
def checked_variable(address: Ptr, nbytes: I64, slack: I64, writes: I64, variable: Ptr, size: I64, table: Table) -> Ptr:
    """As :func:`checked_access`, of a variable on the stack."""
    start = to_integer(address)
    before = start - to_integer(variable)
    return_if(((start & slack) == 0) & at_most(before, size) & at_most(nbytes, size - before), address)
    return checked_report(start, nbytes, writes, 0, 0, table)


CHECKS = (checked_begin, checked_constant, checked_access, checked_lanes, checked_variable)

# ---------------------------------------------------------------------------------------------------- the text

_TYPE = r"<[^>]*>|\[[^\]]*\]|\w+"
_MASK = r"%[\w.]+|splat \(i1 true\)"
_POINTER = r"[%@][\w.]+"
_LOAD = re.compile(rf"(%[\w.]+ = load )({_TYPE}), ptr ({_POINTER})(?:, align (\d+))?(?:, !.*)?$")
_STORE = re.compile(rf"(store )({_TYPE}) (.+), ptr ({_POINTER})(?:, align (\d+))?(?:, !nontemporal !1)?$")
_MASKED_LOAD = re.compile(
    rf"(.*@llvm\.masked\.load[^(]*\()ptr align (\d+) ({_POINTER}), <(\d+) x i1> ({_MASK}), (<[^>]*>)( .*)$"
)
_MASKED_STORE = re.compile(
    rf"(.*@llvm\.masked\.store[^(]*\()(<[^>]*>)( .+), ptr align (\d+) ({_POINTER}), <(\d+) x i1> ({_MASK})\)$"
)
_GATHER = re.compile(
    rf"(.*@llvm\.masked\.gather[^(]*\()<(\d+) x ptr> align (\d+) ({_POINTER}), <\d+ x i1> ({_MASK}), (<[^>]*>)( .*)$"
)
_SCATTER = re.compile(
    rf"(.*@llvm\.masked\.scatter[^(]*\()(<[^>]*>)( .+), <(\d+) x ptr> align (\d+) ({_POINTER}), <\d+ x i1> ({_MASK})\)$"
)
_ACCESS = re.compile(r"\b(load|store|atomicrmw|cmpxchg|va_arg)\b|@llvm\.(mem|masked)")
_ELEMENT = re.compile(rf"(%[\w.]+) = getelementptr (?:{_TYPE}), ptr ({_POINTER}), (.*)$")
_SELECT = re.compile(rf"(%[\w.]+) = select i1 \S+, ptr ({_POINTER}), ptr ({_POINTER})$")
_VARIABLE = re.compile(rf"(%[\w.]+) = alloca ({_TYPE})(?:, align \d+)?$")
_CONSTANT = re.compile(r"@([\w.]+) = private unnamed_addr constant (\[[^\]]*\]) ")
_DEFINE = re.compile(r"define (internal )?(\S+) @([\w.]+)\((.*)\) (#\d) \{$")
_CALL = re.compile(r"((?:%\S+ = )?call \S+ @)([\w.]+)(\(.*)\)$")
_BYTES = {"i1": 1, "i8": 1, "i16": 2, "half": 2, "i32": 4, "float": 4, "i64": 8, "double": 8, "ptr": 8, "i128": 16}


def with_checks(text: str, buffers: int) -> str:
    """The module of a kernel of so many buffers, with a check in front of every access.

    Raises:
        CompileError: an access of a form that is not known here.
    """
    lines = text.splitlines()
    constants = {f"@{found[1]}": _bytes_of(found[2]) for line in lines if (found := _CONSTANT.match(line))}
    inner = {found[3] for line in lines if (found := _DEFINE.match(line)) and found[1]}
    written: list[str] = []
    function: _Function | None = None
    for line in lines:
        if found := _DEFINE.match(line):
            function = _Function(buffers, constants, inner, not found[1])
            arguments = found[4].replace("%ints", "%ints.all") if function.is_entry else f"{found[4]}, ptr %checked"
            written.append(line.replace(found[4], arguments))
        elif function is None:
            written.append(line)
        elif line == "}":
            function = None
            written.append(line)
        else:
            function.add(line)
            written += function.taken()
    return "\n".join([*written, "", module(CHECKS)])


def _bytes_of(type: str) -> int:
    """Bytes of a value in memory."""
    if type in _BYTES:
        return _BYTES[type]
    count, element = type[1:-1].split(" x ")
    return int(count) * _bytes_of(element)


@dataclass(frozen=True, slots=True)
class _Variable:
    """A variable on the stack."""

    name: str
    nbytes: int


@dataclass(slots=True)
class _Function:
    """The rewriting of a function, line by line.

    ``roots`` says where pointers come from: the number of a range; a variable; "given", what the kernel is given.
    Others may come from anywhere. ``places``: of pointers into what is given, which element they are at.
    """

    buffers: int
    constants: dict[str, int]
    inner: set[str]
    is_entry: bool
    roots: dict[str, int | str | _Variable] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    made: int = 0

    def __post_init__(self) -> None:
        self.roots |= {name: self.buffers + 1 + k for k, name in enumerate(self.constants)}
        self.roots |= {"%bufs": "given", "%ints": "given"}
        if self.is_entry:
            self.roots["%scratch"] = self.buffers

    def taken(self) -> list[str]:
        """The lines that have come."""
        lines, self.lines = self.lines, []
        return lines

    def op(self, text: str) -> str:
        """Append an instruction with a result."""
        self.made += 1
        self.lines.append(f"  %checked.{self.made} = {text}")
        return f"%checked.{self.made}"

    def add(self, line: str) -> None:
        """Append a line of the function, with what comes before it."""
        text = line.strip()
        if self.is_entry and text.startswith("ret i64 "):
            status = self.op("load i64, ptr %checked")
            self.lines.append(f"  ret i64 {self.op(f'or i64 {text[8:]}, {status}')}")
        elif _ACCESS.search(text):
            self._access(line, text)
        else:
            self._follow(text)
            self.lines.append(self._call(line, text))
            if line == "entry:" and self.is_entry:
                self._begin()

    def _begin(self) -> None:
        """The table of the ranges."""
        total = self.buffers + 1 + len(self.constants)
        self.lines += [
            f"  %checked = alloca [{_TABLE_WORDS + _EXTENT * total} x i64], align 64",
            f"  %checked.unread = alloca [{_UNREAD} x i8], align 64",
            "  call void @checked_begin(ptr %checked, ptr %checked.unread, ptr %ints.all, ptr %bufs, "
            f"i64 {self.buffers}, ptr %scratch, i64 {total})",
            f"  %ints = getelementptr i64, ptr %ints.all, i64 {_HEADER + _EXTENT * self.buffers}",
        ]
        for k, (name, nbytes) in enumerate(self.constants.items(), self.buffers + 1):
            self.lines.append(f"  call void @checked_constant(ptr %checked, i64 {k}, ptr {name}, i64 {nbytes})")

    def _follow(self, text: str) -> None:
        """Note where a new pointer comes from."""
        if found := _ELEMENT.match(text):
            name, base, index = found.groups()
            if base in self.roots:
                self.roots[name] = self.roots[base]
                self.places[name] = index
        elif found := _VARIABLE.match(text):
            self.roots[found[1]] = _Variable(found[1], _bytes_of(found[2]))
        elif found := _SELECT.match(text):
            one, other = self.roots.get(found[2]), self.roots.get(found[3])
            if isinstance(one, _Variable) or isinstance(other, _Variable):
                raise CompileError(f"checked memory: a variable among others: {text}")
            if one == other and one is not None:
                self.roots[found[1]] = one

    def _call(self, line: str, text: str) -> str:
        """A line that may call an inner function, which gets the table too."""
        found = _CALL.match(text)
        if found is None or found[2] not in self.inner:
            return line
        for pointer in re.findall(rf"ptr ({_POINTER})", found[3]):
            if isinstance(self.roots.get(pointer), _Variable):
                raise CompileError(f"checked memory: a variable is handed on: {text}")
        return f"  {found[1]}{found[2]}{found[3]}, ptr %checked)"

    def _access(self, line: str, text: str) -> None:
        """A load or a store, checked."""
        if found := _LOAD.match(text):
            head, type, pointer, align = found.groups()
            root = self.roots.get(pointer)
            if root == "given" or (isinstance(root, _Variable) and root.name == pointer):
                self.lines.append(line)
                if root == "given" and type == "ptr":
                    self.roots[head.partition(" ")[0]] = int(self.places[pointer].removeprefix("i64 "))
                return
            self.lines.append("  " + text.replace(f"ptr {pointer}", f"ptr {self._plain(pointer, type, align, 0)}"))
        elif found := _MASKED_LOAD.match(text):
            head, align, pointer, lanes, mask, type, rest = found.groups()
            safe = self._lanes(pointer, type, align, 0, mask, int(lanes))
            self.lines.append(f"  {head}ptr align {align} {safe}, <{lanes} x i1> {mask}, {type}{rest}")
        elif found := _MASKED_STORE.match(text):
            head, type, value, align, pointer, lanes, mask = found.groups()
            safe = self._lanes(pointer, type, align, 1, mask, int(lanes))
            self.lines.append(f"  {head}{type}{value}, ptr align {align} {safe}, <{lanes} x i1> {mask})")
        elif found := _GATHER.match(text):
            head, lanes, align, pointers, mask, type, rest = found.groups()
            safe = self._each(pointers, type, align, 0, mask, int(lanes))
            self.lines.append(f"  {head}<{lanes} x ptr> align {align} {safe}, <{lanes} x i1> {mask}, {type}{rest}")
        elif found := _SCATTER.match(text):
            head, type, value, lanes, align, pointers, mask = found.groups()
            safe = self._each(pointers, type, align, 1, mask, int(lanes))
            self.lines.append(f"  {head}{type}{value}, <{lanes} x ptr> align {align} {safe}, <{lanes} x i1> {mask})")
        elif found := _STORE.match(text):
            head, type, value, pointer, align = found.groups()
            root = self.roots.get(pointer)
            if isinstance(root, _Variable) and root.name == pointer:
                self.lines.append(line)
                return
            safe, given = self._plain(pointer, type, align, 1), f", align {align}" if align else ""
            self.lines.append(f"  store {type} {value}, ptr {safe}{given}")
        else:
            raise CompileError(f"checked memory: an access of an unknown form: {text}")

    def _plain(self, pointer: str, type: str, align: str | None, writes: int) -> str:
        """The pointer of an access of one value, checked."""
        nbytes = _bytes_of(type)
        return self._checked(pointer, str(nbytes), int(align or 1 << (nbytes - 1).bit_length()) - 1, writes)

    def _checked(self, pointer: str, nbytes: str, slack: int, writes: int, root_of: str = "") -> str:
        root = self.roots.get(root_of or pointer)
        how = f"ptr {pointer}, i64 {nbytes}, i64 {slack}, i64 {writes}"
        if isinstance(root, _Variable):
            where = f"ptr {root.name}, i64 {root.nbytes}"
            return self.op(f"call ptr @checked_variable({how}, {where}, ptr %checked)")
        return self.op(f"call ptr @checked_access({how}, {self._ranges(root)}, ptr %checked)")

    def _ranges(self, root: int | str | _Variable | None) -> str:
        """First range and number of ranges of a root."""
        if isinstance(root, int):
            return f"i64 {root}, i64 1"
        return f"i64 0, i64 {self.buffers + 1 + len(self.constants)}"

    def _lanes(self, pointer: str, type: str, align: str, writes: int, mask: str, lanes: int) -> str:
        """The pointer of a masked access, checked."""
        root = self.roots.get(pointer)
        assert not isinstance(root, _Variable), "of variables all lanes are there"
        bits = self.op(f"bitcast <{lanes} x i1> {mask} to i{lanes}")
        bits = bits if lanes == 64 else self.op(f"zext i{lanes} {bits} to i64")
        how = f"i64 {bits}, i64 {_bytes_of(type) // lanes}, i64 {int(align) - 1}, i64 {writes}"
        return self.op(f"call ptr @checked_lanes(ptr {pointer}, {how}, {self._ranges(root)}, ptr %checked)")

    def _each(self, pointers: str, type: str, align: str, writes: int, mask: str, lanes: int) -> str:
        """The pointers of a gather or a scatter, checked one by one."""
        size, found = _bytes_of(type) // lanes, pointers
        for lane in range(lanes):
            one = self.op(f"extractelement <{lanes} x ptr> {pointers}, i64 {lane}")
            there = self.op(f"extractelement <{lanes} x i1> {mask}, i64 {lane}")
            nbytes = self.op(f"select i1 {there}, i64 {size}, i64 0")
            safe = self._checked(one, nbytes, int(align) - 1, writes, pointers)
            found = self.op(f"insertelement <{lanes} x ptr> {found}, ptr {safe}, i64 {lane}")
        return found
