"""What all GPU kernels share: launches, entry and exit, thread numbers, shared memory, barriers, an exact ``fmod``.

Expressions are emitted by emit.py and lanes.py with one lane: a GPU's lanes are its threads. Every float instruction
is the rounded-to-nearest one (add.rn, mul.rn, fma.rn, div.rn, sqrt.rn), none flushes denormals and none is fused, so
a value has the bits that it has on a CPU. (NVIDIA's hardware makes one NaN out of all: a NaN's payload is not kept.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...core.dtypes import DType
from ..emit import Module, Writer, memory_type
from ..kernels import Int, Nest, Sequential, Slot, extents_of
from ..lanes import Frame, RenderTarget, begin_kernel, loop, when
from ..stages import load_cell, store_cell

THREADS = 256  # most threads of an elementwise block
MOST_BLOCKS = 1 << 20
GPU_PARAMETERS = "ptr %bufs, ptr %ints, i64 %begin, i64 %end, ptr %status"
_SPECIAL = "llvm.nvvm.read.ptx.sreg"


class GpuWriter(Writer):
    """A Writer whose ``frem`` is exact: LLVM's own lowering for NVPTX is ``x - trunc(x / y) * y``, which is not."""

    def op(self, text: str, hint: str = "v") -> str:
        """Append ``%name = text``; see :class:`weft.compiler.emit.Writer`."""
        if text.startswith("frem "):
            kind, operands = text.split(" ", 2)[1:]
            x, y = operands.split(", ")
            name = _add_fmod(self.module, kind)
            text = f"call {kind} @{name}({kind} {x}, {kind} {y})"
        return super().op(text, hint)


@dataclass(frozen=True, slots=True)
class GpuLaunch:
    """How to launch: ``0 .. units`` is the range to give, ``grid`` and ``block`` are (x, y); no dynamic shared memory
    is needed beyond the ``shared_nbytes`` that the kernel declares."""

    units: int
    block: tuple[int, int]
    shared_nbytes: int = 0

    @property
    def grid(self) -> tuple[int, int]:
        """A block for each unit, up to MOST_BLOCKS; these take further units."""
        return max(1, min(self.units, MOST_BLOCKS)), 1


def elementwise_block(kernel: Nest | Sequential, ints: Sequence[int]) -> tuple[int, int]:
    """Threads for the inner elements of a unit: whole warps, at most THREADS."""

    def value(x: Int) -> int:
        return ints[x.index] if isinstance(x, Slot) else x

    (inner,) = extents_of(kernel.inner)  # several are of a reduction
    widest = value(inner) if kernel.blocks == 1 else min(value(inner), value(kernel.block))
    return min(THREADS, max(32, -(-widest // 32) * 32)), 1


@dataclass(slots=True)
class Threads:
    """One kernel function on a GPU: its frame, and the i64 registers of the thread's place."""

    frame: Frame
    x: str  # thread in its block
    y: str
    width: str  # threads of a block along x

    @property
    def w(self) -> Writer:
        """The writer of the function."""
        return self.frame.w

    def units(self, body: Callable[[str], None]) -> None:
        """The units of this thread's block: number of the block, then one grid further each time."""
        w = self.w
        first = w.op(f"add nsw i64 %begin, {_special(w, 'ctaid.x')}")
        loop(w, first, "%end", _special(w, "nctaid.x"), body)

    def along_x(self, lo: str, hi: str, body: Callable[[str], None]) -> None:
        """``for (i = lo + x; i < hi; i += width) body(i)``: neighbouring threads take neighbouring elements."""
        loop(self.w, self.w.arithmetic("add", self.x, lo), hi, self.width, body)


def begin_gpu(buffers: int, slots: Sequence[int], target: RenderTarget) -> Threads:
    """Begin a kernel function of a module of its own."""
    w = GpuWriter(Module())
    frame = begin_kernel(w, buffers, slots, target)
    # Buffers are in global memory: said once here, found by LLVM in every address that is derived from them.
    for k, register in enumerate(frame.buffers):
        near = w.op(f"addrspacecast ptr {register} to ptr addrspace(1)", "global")
        frame.buffers[k] = w.op(f"addrspacecast ptr addrspace(1) {near} to ptr", "buf")
    return Threads(frame, *(_special(w, name) for name in ("tid.x", "tid.y", "ntid.x")))


def end_gpu(threads: Threads, name: str, most_threads: int) -> str:
    """Report the status, close the function; the module's text."""
    w = threads.w
    status = w.op(f"load i64, ptr {threads.frame.status}")
    when(
        w,
        w.op(f"icmp ne i64 {status}, 0"),
        lambda: w.do(f"{'%' + w.fresh('old')} = atomicrmw or ptr %status, i64 {status} monotonic"),
    )
    w.do("ret void")
    w.define(f"ptx_kernel void @{name}({GPU_PARAMETERS}) #0")
    # Without a layout LLVM takes i64 in memory to be aligned to 4 bytes, and loads it in halves.
    attributes = f'attributes #0 = {{ nounwind "no-trapping-math"="true" "nvvm.maxntid"="{most_threads}" }}'
    return f'target datalayout = "e-i64:64"\n{w.module.text()}!0 = !{{}}\n{attributes}\n'


def _special(w: Writer, name: str) -> str:
    return w.op(f"zext i32 {w.op(f'call i32 @{_SPECIAL}.{name}()')} to i64", name.replace(".", "_"))


def barrier(w: Writer) -> None:
    """Wait for all threads of the block; what they wrote before is seen by all after."""
    w.do("call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)")


def shared_array(w: Writer, dtype: DType, count: int) -> str:
    """Register that points at ``count`` elements in the memory that a block's threads share."""
    name = f"@shared_{w.fresh('lanes')}"
    w.module.parts.append(f"{name} = internal addrspace(3) global [{count} x {memory_type(dtype)}] poison, align 16")
    return w.op(f"addrspacecast ptr addrspace(3) {name} to ptr", "shared")


def shared_cell(w: Writer, array: str, dtype: DType, at: str, value: str | None = None) -> str:
    """Read element ``at`` of a shared array, or write ``value`` to it; the register read or written."""
    pointer = w.op(f"getelementptr {memory_type(dtype)}, ptr {array}, i64 {at}", "p")
    if value is None:
        return load_cell(w, pointer, dtype, 1)
    store_cell(w, pointer, dtype, value, 1)
    return value


# --- fmod -------------------------------------------------------------------------------------------------------

_FMOD = """
define internal {T} @{name}({T} %x, {T} %y) noinline nounwind {{
entry:
  %xb = bitcast {T} %x to i{W}
  %yb = bitcast {T} %y to i{W}
  %xw = {BITS_X}
  %yw = {BITS_Y}
  %xa = and i64 %xw, {MAGNITUDE}
  %ya = and i64 %yw, {MAGNITUDE}
  %sign = xor i64 %xw, %xa
  %x.odd = icmp uge i64 %xa, {INFINITY}
  %y.nan = icmp ugt i64 %ya, {INFINITY}
  %y.zero = icmp eq i64 %ya, 0
  %odd = or i1 %x.odd, %y.nan
  %invalid = or i1 %odd, %y.zero
  br i1 %invalid, label %nan, label %valid
nan:
  ret {T} {NAN}
valid:
  %small = icmp ult i64 %xa, %ya
  br i1 %small, label %same, label %split
same:
  ret {T} %x
split:
  %xe = lshr i64 %xa, {P}
  %ye = lshr i64 %ya, {P}
  %x.normal = icmp ne i64 %xe, 0
  %y.normal = icmp ne i64 %ye, 0
  %x.lead = select i1 %x.normal, i64 {LEAD}, i64 0
  %y.lead = select i1 %y.normal, i64 {LEAD}, i64 0
  %x.exponent = call i64 @llvm.umax.i64(i64 %xe, i64 1)
  %y.exponent = call i64 @llvm.umax.i64(i64 %ye, i64 1)
  %x.fraction = and i64 %xa, {FRACTION}
  %y.fraction = and i64 %ya, {FRACTION}
  %mx = or i64 %x.fraction, %x.lead
  %my = or i64 %y.fraction, %y.lead
  %apart = sub i64 %x.exponent, %y.exponent
  %start = urem i64 %mx, %my
  br label %head
head:
  %left = phi i64 [ %apart, %split ], [ %rest, %step ]
  %r = phi i64 [ %start, %split ], [ %next, %step ]
  %done = icmp eq i64 %left, 0
  br i1 %done, label %exit, label %step
step:
  %bits = call i64 @llvm.umin.i64(i64 %left, i64 {STEP})
  %shifted = shl i64 %r, %bits
  %next = urem i64 %shifted, %my
  %rest = sub i64 %left, %bits
  br label %head
exit:
  %zeros = call i64 @llvm.ctlz.i64(i64 %r, i1 false)
  %room = sub i64 %zeros, {ROOM}
  %down = sub i64 %y.exponent, 1
  %most = call i64 @llvm.umin.i64(i64 %room, i64 %down)
  %none = icmp eq i64 %r, 0
  %up = select i1 %none, i64 %down, i64 %most
  %mantissa = shl i64 %r, %up
  %kept = sub i64 %down, %up
  %field = shl i64 %kept, {P}
  %size = add i64 %field, %mantissa
  %result = or i64 %size, %sign
  %narrow = {RESULT}
  %value = bitcast i{W} %narrow to {T}
  ret {T} %value
}}"""


def _add_fmod(module: Module, kind: str) -> str:
    """Name of the module's ``fmod`` for ``float`` or ``double``; its text is added once.

    With x = mx * 2^d * scale and y = my * scale the remainder is (mx * 2^d mod my) * scale: exact in integers, as
    many bits of 2^d at a time as fit into 64.
    """
    width, p = (32, 23) if kind == "float" else (64, 52)
    casts = {"BITS_X": "zext i32 %xb to i64", "BITS_Y": "zext i32 %yb to i64", "RESULT": "trunc i64 %result to i32"}
    if width == 64:
        casts = {"BITS_X": "or i64 %xb, 0", "BITS_Y": "or i64 %yb, 0", "RESULT": "or i64 %result, 0"}
    infinity = ((1 << (width - 1 - p)) - 1) << p
    text = _FMOD.format(
        T=kind,
        name=f"fmod_f{width}",
        W=width,
        P=p,
        LEAD=1 << p,
        FRACTION=(1 << p) - 1,
        MAGNITUDE=(1 << (width - 1)) - 1,
        INFINITY=infinity,
        NAN="0x7FF8000000000000",
        STEP=63 - p,
        ROOM=63 - p,
        **casts,
    )
    if text not in module.parts:
        module.parts.append(text)
    return f"fmod_f{width}"
