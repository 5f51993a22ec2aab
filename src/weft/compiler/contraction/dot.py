"""Dot instructions: several products of narrow elements at once, where that keeps the numerics contract.

An *entry* is 32 bits: ``group`` elements of an operand that follow each other along k. Both operands are packed as
entries (pack_entries.py), and a tile function goes from entry to entry as others do from element to element.

**bfloat16.** ``vdpbf16ps`` is two fma, each rounded to nearest even, of which the first takes the high halves. So the
element with the lower k goes there, and the chain is that of the contract; but denormals count as zero. There are none
where every element is zero or at least 2**-56: all products are then multiples of 2**-126, the least normal number, and
so is each sum, rounded or not. Packing looks at all elements. Where one is smaller, the *exact* tile function takes the
same entries apart again and computes with fma. Where a processor's instruction is another (llvm/dot_probe.py tries it),
its targets have none.

**int8, uint8.** ``vpdpbusd`` multiplies unsigned elements by signed ones. Sums of integers are exact (modulo 2**32), in
any order. Where both operands are of one kind, A is moved by half its range into the other kind (``a ^ 0x80``), and the
chains begin with what that adds too much, negated: a packed panel of B has a line of it in front.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...core import dtypes as dt
from ...core.dtypes import DType
from ..emit import Writer, mangle

ENTRY_BITS = 32


@dataclass(frozen=True, slots=True)
class Dot:
    """A dot instruction as a tile uses it.

    ``group``: elements of an entry. ``b_first``: B is its first operand, the unsigned one. ``moved``: A is moved by
    half its range, and chains begin with a correction. ``checked``: it is only right where packing finds it so.
    """

    intrinsic: str
    group: int
    b_first: bool = False
    moved: bool = False
    checked: bool = False

    def add(self, w: Writer, a: str, b: str, chain: str, lanes: int, result: str) -> None:
        """``result = chain + a . b``, of entries."""
        bits = ENTRY_BITS // self.group
        operand = f"<{lanes * self.group} x {'bfloat' if self.checked else f'i{bits}'}>"
        kind = f"<{lanes} x {'float' if self.checked else 'i32'}>"
        first, second = (
            w.op(f"bitcast <{lanes} x i32> {x} to {operand}") for x in ((b, a) if self.b_first else (a, b))
        )
        w.do(f"{result} = call {kind} @{self.intrinsic}({kind} {chain}, {operand} {first}, {operand} {second})")

    def add_exactly(self, w: Writer, a: str, b: str, chain: str, lanes: int, result: str) -> None:
        """The same by fma, for bfloat16 of any size."""
        kind, suffix = f"<{lanes} x float>", mangle("float", lanes)
        for at, name in enumerate((f"%{w.fresh()}", result)):
            x, y = (_half(w, entry, at, lanes) for entry in (a, b))
            w.do(f"{name} = call {kind} @llvm.fma.{suffix}({kind} {x}, {kind} {y}, {kind} {chain})")
            chain = name


def _half(w: Writer, entry: str, at: int, lanes: int) -> str:
    """Element ``at`` of entries of bfloat16, as float32: the first is in the high half."""
    kind = f"<{lanes} x i32>"
    how = f"shl {kind} {entry}, splat (i32 16)" if at else f"and {kind} {entry}, splat (i32 {-1 << 16})"
    return w.op(f"bitcast {kind} {w.op(how)} to <{lanes} x float>")


def dot_of(a: DType, b: DType, sums: DType, bfloat16: str | None, int8: str | None) -> Dot | None:
    """The instruction for products of these operands, if the target has it (the names are LLVM's)."""
    if bfloat16 and a is b is dt.bfloat16 and sums is dt.float32:
        return Dot(bfloat16, 2, checked=True)
    if int8 and {a, b} <= {dt.int8, dt.uint8} and sums.is_integer and sums.bits == ENTRY_BITS:
        return Dot(int8, 4, b_first=b is dt.uint8, moved=a is b)
    return None
