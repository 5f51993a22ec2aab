"""LLVM IR text: a writer, and the rendering of scalar expressions over one or LANES points at a time.

One expression gives the same bits for any lane count: every instruction used here is IEEE-754 (or exact) per lane.
Values in registers have the LLVM type of their dtype, except bool (``i1``; one byte in memory) and bfloat16 (``i16``,
because LLVM's own conversion instructions flush denormals on some targets).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Protocol

from ..core import dtypes as dt
from ..core.dtypes import DType
from .expr import Expr, topological
from .kernels import Access, Int, Slot

_REGISTER = {"bool": "i1", "float16": "half", "bfloat16": "i16", "float32": "float", "float64": "double"}


def scalar_type(dtype: DType) -> str:
    """LLVM type of one element in a register."""
    return _REGISTER.get(dtype.name) or f"i{dtype.bits}"


def memory_type(dtype: DType) -> str:
    """LLVM type of one element in memory."""
    return "i8" if dtype is dt.bool_ else scalar_type(dtype)


def vector_of(scalar: str, lanes: int) -> str:
    """``scalar`` itself for one lane, else the vector type."""
    return scalar if lanes == 1 else f"<{lanes} x {scalar}>"


def register_type(dtype: DType, lanes: int) -> str:
    """LLVM type of ``lanes`` elements in a register."""
    return vector_of(scalar_type(dtype), lanes)


class Module:
    """The text of one LLVM module: functions and private constants, in the order in which they were added."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._tables: dict[str, str] = {}

    def constant_table(self, dtype: DType, values: Iterable[float | int]) -> tuple[str, str]:
        """``(name, array type)`` of a private constant array; equal arrays are stored once."""
        element = memory_type(dtype)
        dtype = dt.uint8 if dtype is dt.bool_ else dtype
        items = [f"{element} {_literal(v, dtype)}" for v in values]
        array = f"[{len(items)} x {element}]"
        body = f"private unnamed_addr constant {array} [{', '.join(items)}], align 64"
        if body not in self._tables:
            self._tables[body] = f"@table.{len(self._tables)}"
        return self._tables[body], array

    def text(self) -> str:
        """The module as LLVM assembly."""
        return "\n".join([f"{name} = {body}" for body, name in self._tables.items()] + self.parts) + "\n"


class Writer:
    """Appends instructions of one function; ``op`` names its result."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.lines: list[str] = []
        self.block = "entry"  # the block that is being written
        self._next = 0

    def fresh(self, hint: str = "v") -> str:
        """A name not used before in this function, without sigil."""
        self._next += 1
        return f"{hint}{self._next}"

    def op(self, text: str, hint: str = "v") -> str:
        """Append ``%name = text`` and return ``%name``."""
        name = "%" + self.fresh(hint)
        self.lines.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        """Append an instruction without result."""
        self.lines.append(f"  {text}")

    def label(self, name: str) -> None:
        """Begin the block ``name``."""
        self.block = name
        self.lines.append(f"{name}:")

    def define(self, header: str) -> None:
        """Close the function and add it to the module as ``define <header> { ... }``."""
        self.module.parts.append("\n".join([f"define {header} {{", *self.lines, "}"]))

    def arithmetic(self, op: str, a: str, b: str | int) -> str:
        """``op`` on i64 (add nsw, mul nsw, ...) with the trivial cases folded, so that the text stays readable."""
        b = str(b)
        if op == "add":
            if a == "0":
                return b
            if b == "0":
                return a
        if op == "mul":
            if "0" in (a, b):
                return "0"
            if a == "1":
                return b
            if b == "1":
                return a
        return self.op(f"{op}{' nsw' if op in ('add', 'sub', 'mul') else ''} i64 {a}, {b}", "i")


class Point(Protocol):
    """Where an expression is evaluated: lane count, mask, and how its leaves are read."""

    lanes: int

    def leaf(self, node: Expr, arguments: list[str]) -> str:
        """Emit a leaf (``load``, ``index``, ``ref``, ``acc``) or a ``gather`` and return its register."""


def _literal(value: float | int | bool, dtype: DType) -> str:
    if dtype is dt.bool_:
        return "true" if value else "false"
    if dtype.is_integer:
        bits = int(value) & ((1 << dtype.bits) - 1)
        return str(bits - (1 << dtype.bits) if dtype.is_signed and bits >> (dtype.bits - 1) else bits)
    value = float(value)
    if dtype is dt.bfloat16:
        return str(_bfloat16_bits(value))
    if dtype is dt.float16:
        return f"0xH{_half_bits(value):04X}"
    if dtype is dt.float32:
        value = _to_float32(value)
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


def _to_float32(value: float) -> float:
    try:
        return struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _half_bits(value: float) -> int:
    try:
        return struct.unpack("<H", struct.pack("<e", value))[0]
    except OverflowError:
        return 0x7C00 if value > 0 else 0xFC00


def _bfloat16_bits(value: float) -> int:
    (wide,) = struct.unpack("<I", struct.pack("<f", _to_float32(value)))
    if value != value:
        return wide >> 16 | 0x40
    return (wide + 0x7FFF + (wide >> 16 & 1)) >> 16


def constant(value: float | int | bool, dtype: DType, lanes: int) -> str:
    """The operand text of a constant in every lane."""
    literal = _literal(value, dtype)
    return literal if lanes == 1 else f"splat ({scalar_type(dtype)} {literal})"


def splat(w: Writer, scalar: str, value: str, lanes: int) -> str:
    """``value`` (a register or literal of type ``scalar``) in every lane."""
    if lanes == 1:
        return value
    if not value.startswith("%"):
        return f"splat ({scalar} {value})"
    vector = vector_of(scalar, lanes)
    one = w.op(f"insertelement {vector} poison, {scalar} {value}, i64 0")
    return w.op(f"shufflevector {vector} {one}, {vector} poison, <{lanes} x i32> zeroinitializer")


def mangle(kind: str, lanes: int) -> str:
    """Suffix of an overloaded intrinsic's name: f32, v16f32, i64 ..."""
    short = {"half": "f16", "float": "f32", "double": "f64", "ptr": "p0"}.get(kind, kind)
    return short if lanes == 1 else f"v{lanes}{short}"


# What an op is on floats, on signed integers, and on unsigned ones and bool, by its operands' dtype: an instruction, or
# after @ an intrinsic, with an operand that follows the op's own. The others are functions (_FUNCTIONS).
_INSTRUCTIONS: dict[str, tuple[str, str, str]] = {
    "add": ("fadd", "add", "add"),
    "sub": ("fsub", "sub", "sub"),
    "mul": ("fmul", "mul", "mul"),
    "div": ("fdiv", "sdiv", "udiv"),
    "rem": ("frem", "srem", "urem"),
    "eq": ("fcmp oeq", "icmp eq", "icmp eq"),
    "ne": ("fcmp une", "icmp ne", "icmp ne"),
    "lt": ("fcmp olt", "icmp slt", "icmp ult"),
    "le": ("fcmp ole", "icmp sle", "icmp ule"),
    "gt": ("fcmp ogt", "icmp sgt", "icmp ugt"),
    "ge": ("fcmp oge", "icmp sge", "icmp uge"),
    "abs": ("@fabs", "@abs i1 false", ""),
    "sqrt": ("@sqrt", "", ""),
    "floor": ("@floor", "", ""),
    "ceil": ("@ceil", "", ""),
    "trunc": ("@trunc", "", ""),
    "rint": ("@roundeven", "", ""),
    "copysign": ("@copysign", "", ""),
    "fma": ("@fma", "", ""),
    "and": ("", "and", "and"),
    "or": ("", "or", "or"),
    "xor": ("", "xor", "xor"),
    "shl": ("", "shl", "shl"),
    "shr": ("", "ashr", "lshr"),
    "popcount": ("", "@ctpop", "@ctpop"),
    "clz": ("", "@ctlz i1 false", "@ctlz i1 false"),
}
_LEAVES = ("load", "index", "ref", "acc", "gather", "param")


def emit_exprs(w: Writer, roots: Iterable[Expr], point: Point, known: dict[int, str] | None = None) -> list[str]:
    """Emit the roots at ``point`` and return their registers (or constant operands), one for each root.

    ``known`` maps ``id(expr)`` to a register computed before (hoisted or shared between stages); it is filled in.
    Structurally equal subexpressions are emitted once.
    """
    roots = list(roots)
    names: dict[int, str] = {} if known is None else known
    shared: dict[tuple[object, ...], str] = {}
    for node in topological(roots, names):
        arguments = [names[id(a)] for a in node.args]
        key = (node.op, node.dtype.name, repr(node.value), *arguments)
        if key not in shared:
            if node.op in _LEAVES:
                shared[key] = point.leaf(node, arguments)
            else:
                shared[key] = _instruction(w, node, arguments, point.lanes)
        names[id(node)] = shared[key]
    return [names[id(root)] for root in roots]


def _instruction(w: Writer, node: Expr, args: list[str], lanes: int) -> str:
    if node.op in _FUNCTIONS:
        return _FUNCTIONS[node.op](w, node, args, lanes)
    source = node.args[0].dtype
    text = _INSTRUCTIONS[node.op][0 if source.is_floating else 1 if source.is_signed else 2]
    assert text, f"{source.name} has no {node.op}"
    kind = register_type(source, lanes)
    if text[0] == "@":
        name, _, last = text[1:].partition(" ")
        return _call(w, name, kind, lanes, args, last)
    return w.op(f"{text} {kind} {', '.join(args)}")


def _const(w: Writer, node: Expr, args: list[str], lanes: int) -> str:
    return constant(node.value, node.dtype, lanes)


def _cast(w: Writer, node: Expr, args: list[str], lanes: int) -> str:
    return convert(w, args[0], node.args[0].dtype, node.dtype, lanes)


def _bitcast(w: Writer, node: Expr, args: list[str], lanes: int) -> str:
    source, target = register_type(node.args[0].dtype, lanes), register_type(node.dtype, lanes)
    return args[0] if source == target else w.op(f"bitcast {source} {args[0]} to {target}")


def _where(w: Writer, node: Expr, args: list[str], lanes: int) -> str:
    kind = register_type(node.dtype, lanes)
    return w.op(f"select {vector_of('i1', lanes)} {args[0]}, {kind} {args[1]}, {kind} {args[2]}")


def _neg(w: Writer, node: Expr, args: list[str], lanes: int) -> str:
    kind = register_type(node.dtype, lanes)
    if node.dtype.is_floating:
        return w.op(f"fneg {kind} {args[0]}")
    return w.op(f"sub {kind} {constant(0, node.dtype, lanes)}, {args[0]}")


def _not(w: Writer, node: Expr, args: list[str], lanes: int) -> str:
    ones = constant(True if node.dtype is dt.bool_ else -1, node.dtype, lanes)
    return w.op(f"xor {register_type(node.dtype, lanes)} {args[0]}, {ones}")


def _mulhi(w: Writer, node: Expr, args: list[str], lanes: int) -> str:
    """The high half of a product, by a multiplication in integers of twice the width."""
    bits, kind = node.dtype.bits, register_type(node.dtype, lanes)
    wide, extend = vector_of(f"i{bits * 2}", lanes), "sext" if node.dtype.is_signed else "zext"
    a, b = (w.op(f"{extend} {kind} {x} to {wide}") for x in args)
    product = w.op(f"mul {wide} {a}, {b}")
    shift = f"{bits}" if lanes == 1 else f"splat (i{bits * 2} {bits})"
    return w.op(f"trunc {wide} {w.op(f'lshr {wide} {product}, {shift}')} to {kind}")


def _call(w: Writer, intrinsic: str, kind: str, lanes: int, args: list[str], last: str = "") -> str:
    scalar = kind if lanes == 1 else kind[kind.index("x") + 2 : -1]
    operands = ", ".join([*(f"{kind} {a}" for a in args), *([last] if last else [])])
    return w.op(f"call {kind} @llvm.{intrinsic}.{mangle(scalar, lanes)}({operands})")


def _table(w: Writer, node: Expr, args: list[str], lanes: int) -> str:
    name, array = w.module.constant_table(node.dtype, node.value)
    element, kind = memory_type(node.dtype), register_type(node.dtype, lanes)
    at = register_type(node.args[0].dtype, lanes)
    pointer = w.op(f"getelementptr {array}, ptr {name}, i64 0, {at} {args[0]}")
    if lanes == 1:
        return w.op(f"load {element}, ptr {pointer}")
    return w.op(
        f"call {kind} @llvm.masked.gather.{mangle(element, lanes)}.v{lanes}p0(<{lanes} x ptr> align "
        f"{node.dtype.itemsize} {pointer}, <{lanes} x i1> splat (i1 true), {kind} poison)"
    )


_FUNCTIONS: dict[str, Callable[[Writer, Expr, list[str], int], str]] = {
    "const": _const,
    "cast": _cast,
    "bitcast": _bitcast,
    "where": _where,
    "table": _table,
    "neg": _neg,
    "not": _not,
    "mulhi": _mulhi,
}


# --- casts ------------------------------------------------------------------------------------------------------


def convert(w: Writer, value: str, source: DType, target: DType, lanes: int) -> str:
    """``value``, ``lanes`` elements of ``source``, cast to ``target``."""
    if source is target:
        return value
    if source is dt.bfloat16:
        return convert(w, _bfloat16_to_float(w, value, lanes), dt.float32, target, lanes)
    if source is dt.float16 and target is not dt.float32:
        return convert(w, convert(w, value, source, dt.float32, lanes), dt.float32, target, lanes)
    src, dst = register_type(source, lanes), register_type(target, lanes)
    if target is dt.bool_:
        if source.is_floating:
            return w.op(f"fcmp une {src} {value}, {constant(0.0, source, lanes)}")
        return w.op(f"icmp ne {src} {value}, {constant(0, source, lanes)}")
    if target.is_half and source is not dt.float32:
        return convert(w, _narrow_to_float32(w, value, source, lanes), dt.float32, target, lanes)
    if target is dt.bfloat16:
        return _float_to_bfloat16(w, value, lanes)
    if source.is_floating and target.is_floating:
        return w.op(f"{'fpext' if target.itemsize > source.itemsize else 'fptrunc'} {src} {value} to {dst}")
    if source.is_floating:
        name = "fptosi" if target.is_signed else "fptoui"
        kinds = f"{mangle(scalar_type(target), lanes)}.{mangle(scalar_type(source), lanes)}"
        return w.op(f"call {dst} @llvm.{name}.sat.{kinds}({src} {value})")
    if target.is_floating:
        return w.op(f"{'sitofp' if source.kind == 'int' else 'uitofp'} {src} {value} to {dst}")
    if target.bits == source.bits and source is not dt.bool_:
        return value
    if source is dt.bool_ or target.bits > source.bits:
        return w.op(f"{'sext' if source.kind == 'int' else 'zext'} {src} {value} to {dst}")
    return w.op(f"trunc {src} {value} to {dst}")


def _narrow_to_float32(w: Writer, value: str, source: DType, lanes: int) -> str:
    """float32 for a later rounding to 16 bits. From float64 (and from integers through it) by rounding to odd, so
    that the second rounding gives what one rounding would (Boldo and Melquiond, "Emulation of FMA and correctly
    rounded sums", IEEE Trans. Comput. 57(4), 2008)."""
    if source.itemsize <= 2:  # a 16-bit integer or bool is exact in float32
        return convert(w, value, source, dt.float32, lanes)
    if source is not dt.float64:
        value = convert(w, value, source, dt.float64, lanes)
    f, d, i = (vector_of(t, lanes) for t in ("float", "double", "i32"))
    near = w.op(f"fptrunc {d} {value} to {f}")
    back = w.op(f"fpext {f} {near} to {d}")
    inexact = w.op(f"fcmp une {d} {back}, {value}")
    outward = w.op(f"fcmp ogt {d} {_call(w, 'fabs', d, lanes, [back])}, {_call(w, 'fabs', d, lanes, [value])}")
    bits = w.op(f"bitcast {f} {near} to {i}")
    step = w.op(f"sext {vector_of('i1', lanes)} {outward} to {i}")
    odd = w.op(f"zext {vector_of('i1', lanes)} {inexact} to {i}")
    bits = w.op(f"or {i} {w.op(f'add {i} {bits}, {step}')}, {odd}")
    return w.op(f"bitcast {i} {bits} to {f}")


def _bfloat16_to_float(w: Writer, value: str, lanes: int) -> str:
    h, i, f = (vector_of(t, lanes) for t in ("i16", "i32", "float"))
    bits = w.op(f"zext {h} {value} to {i}")
    shifted = w.op(f"shl {i} {bits}, {constant(16, dt.int32, lanes)}")
    return w.op(f"bitcast {i} {shifted} to {f}")


def _float_to_bfloat16(w: Writer, value: str, lanes: int) -> str:
    h, i, f = (vector_of(t, lanes) for t in ("i16", "i32", "float"))

    def number(n: int) -> str:
        return constant(n, dt.int32, lanes)

    bits = w.op(f"bitcast {f} {value} to {i}")
    high = w.op(f"lshr {i} {bits}, {number(16)}")
    even = w.op(f"and {i} {high}, {number(1)}")
    rounded = w.op(f"add {i} {w.op(f'add {i} {bits}, {number(0x7FFF)}')}, {even}")
    rounded = w.op(f"lshr {i} {rounded}, {number(16)}")
    quiet = w.op(f"or {i} {high}, {number(0x40)}")
    nan = w.op(f"fcmp uno {f} {value}, {value}")
    chosen = w.op(f"select {vector_of('i1', lanes)} {nan}, {i} {quiet}, {i} {rounded}")
    return w.op(f"trunc {i} {chosen} to {h}")


# --- addresses --------------------------------------------------------------------------------------------------


def offset_of(w: Writer, ints: dict[int, str], start: Int, terms: Iterable[tuple[Int, str]]) -> str:
    """i64 operand of ``start + sum(stride * index)``; ``ints`` maps a Slot's index to its register."""

    def operand(value: Int) -> str:
        return ints[value.index] if isinstance(value, Slot) else str(value)

    total = operand(start)
    for stride, index in terms:
        total = w.arithmetic("add", total, w.arithmetic("mul", operand(stride), index))
    return total


def element_pointer(w: Writer, base: str, access: Access, offset: str) -> str:
    """Pointer to element ``offset`` of the access's buffer."""
    return base if offset == "0" else w.op(f"getelementptr {memory_type(access.dtype)}, ptr {base}, i64 {offset}", "p")
