"""Whether this machine's dot instruction of bfloat16 gives the bits of the numerics contract (docs/numerics.md, 3).

``vdpbf16ps`` is said to be two fma, each rounded to nearest even, that of the high halves first, whatever modes are
set; denormals count as zero (Intel's Software Developer's Manual, volume 2). Dot instructions of other architectures
have other sums: both products added first, rounded to odd (Arm's BFDOT), or cut off. So nobody takes the manual's word:
the first process on a machine runs the instruction on :func:`all_cases` and compares with integers, and only where they
agree the machine has it (``targets.py``). Naive meaning of what is compared, of pairs ``x`` and ``y``::

    dot(chain, x, y) == fma(x[1], y[1], fma(x[0], y[0], chain))

All elements are 0 or at least 2**-56, as where the instruction is used (compiler/contraction/dot.py): products and sums
are then multiples of 2**-126, the least normal number of float32, and their sums are sums of integers.

``vpdpbusd`` needs no such thing: it adds integers modulo 2**32, which have one sum.
"""

from __future__ import annotations

import ctypes
import math
import struct
from array import array
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .assembly import assemble
from .elf import load
from .targets import Target

LANES = 16  # cases that one instruction takes
_DRAWN = 960  # cases beside the chosen ones

_TEXT = """
define void @probe(ptr %cases, ptr %found, i64 %count) {{
entry:
  br label %vector
vector:
  %number = phi i64 [ 0, %entry ], [ %next, %vector ]
  %at = mul i64 %number, 192
  %to = mul i64 %number, 64
  %chains = getelementptr i8, ptr %cases, i64 %at
  %ones = getelementptr i8, ptr %chains, i64 64
  %others = getelementptr i8, ptr %chains, i64 128
  %chain = load <16 x float>, ptr %chains, align 4
  %x = load <32 x bfloat>, ptr %ones, align 4
  %y = load <32 x bfloat>, ptr %others, align 4
  %sum = call <16 x float> @{name}(<16 x float> %chain, <32 x bfloat> %x, <32 x bfloat> %y)
  %place = getelementptr i8, ptr %found, i64 %to
  store <16 x float> %sum, ptr %place, align 4
  %next = add i64 %number, 1
  %more = icmp ult i64 %next, %count
  br i1 %more, label %vector, label %end
end:
  ret void
}}
declare <16 x float> @{name}(<16 x float>, <32 x bfloat>, <32 x bfloat>)
"""


class Case(NamedTuple):
    """A chain and the pairs whose products are added to it, the first of each first."""

    chain: float
    x: tuple[float, float]
    y: tuple[float, float]


def gives_the_contract(target: Target, intrinsic: str) -> bool:
    """Whether the instruction that LLVM calls ``intrinsic`` gives the contract's bits on this machine; code for
    ``target`` may use it."""
    return is_right(lambda cases: _run(cases, target, intrinsic))


def is_right(sums: Callable[[Sequence[Case]], Sequence[float]]) -> bool:
    """Whether ``sums`` gives each case's number, of float32; which NaN it is does not matter."""
    cases = all_cases()
    return all(
        struct.pack("<f", wanted) == struct.pack("<f", found) or (wanted != wanted and found != found)
        for wanted, found in zip(map(wanted_of, cases), sums(cases), strict=True)
    )


def wanted_of(case: Case) -> float:
    """The contract's result."""
    return fma(case.x[1], case.y[1], fma(case.x[0], case.y[0], case.chain))


def fma(x: float, y: float, chain: float) -> float:
    """``x * y + chain`` of bfloat16 and float32, rounded to nearest even once: in integers, which count 2**-126."""
    if not all(map(math.isfinite, (x, y, chain))):
        return x * y + chain
    exact = int(math.ldexp(x, 63)) * int(math.ldexp(y, 63)) + int(math.ldexp(chain, 126))
    if exact == 0:
        return x * y + chain  # which zero it is; no float64 here is rounded
    step = 1 << max(abs(exact).bit_length() - 24, 0)
    count, rest = divmod(abs(exact), step)
    count += 2 * rest > step or (2 * rest == step and count % 2)
    size = count * step
    return math.copysign(math.inf if size.bit_length() > 254 else math.ldexp(size, -126), exact)


def all_cases() -> list[Case]:
    """What is tried: chosen cases, one difference each, and drawn ones; a whole number of vectors."""
    found = [Case(chain, x, y) for chain, x, y in _CHOSEN]
    found += _drawn(_DRAWN + -len(found) % LANES)
    return found


_TOP, _ALMOST = math.ldexp(255, 120), 255 / 128  # of bfloat16: the largest; the one below 2
_LEAST, _NEXT, _AFTER = (math.ldexp(n, -63) for n in (128, 129, 130))  # the least, and those behind it
_EVEN = 2.0**24  # above it are only even numbers
_CHOSEN = (
    # Sums: a tie goes to the even neighbour, each product is rounded in, the first one first, and nothing is cut off.
    (1.0, (2.0**-12, 0.0), (2.0**-12, 0.0)),
    (1.0 + 2.0**-23, (2.0**-12, 0.0), (2.0**-12, 0.0)),
    (1.0, (2.0**-12, 2.0**-12), (2.0**-12, 2.0**-12)),
    (1.0, (2.0**-12, 2.0**-20), (2.0**-12, 2.0**-20)),
    (1.0, (2.0**-20, 2.0**-12), (2.0**-20, 2.0**-12)),
    (1.0, (-(2.0**-13), 2.0**-30), (2.0**-12, 2.0**-30)),
    (_EVEN, (1.0, -_EVEN), (1.0, 1.0)),
    (_EVEN, (-_EVEN, 1.0), (1.0, 1.0)),
    (0.0, (_EVEN, 1.0), (1.0, 1.0)),
    (-_EVEN, (1.0, _EVEN), (1.0, 1.0)),
    (1.0, (3.0 * 2.0**-13, 2.0**-26), (2.0**-12, 1.0)),
    (-1.0, (_ALMOST, 2.0**-20), (_ALMOST, -(2.0**-20))),
    (3.0, (_ALMOST, _ALMOST), (2.0**-24, -(2.0**-24))),
    # Products are not rounded by themselves: they overflow, and their low bits count, only in the sum.
    (-(2.0**127), (2.0**64, 0.0), (2.0**64, 0.0)),
    (-(2.0**127), (2.0**64, 2.0**64), (2.0**64, -(2.0**64))),
    (-math.ldexp(0xFFFFFF, 104), (_TOP, 0.0), (1.0 + 2.0**-7, 0.0)),
    (math.ldexp(0xFFFFFF, 104), (2.0**51, 0.0), (2.0**52, 0.0)),
    (math.ldexp(0xFFFFFE, 104), (2.0**51, 0.0), (2.0**52, 0.0)),
    (-math.ldexp(0xFF00FF, -16), (_ALMOST, _ALMOST), (_ALMOST, 2.0**6)),
    (_TOP, (_TOP, -_TOP), (2.0, 2.0)),
    # The least numbers: sums that cancel down to 2**-126 are no denormals yet.
    (math.ldexp(-128 * 130, -126), (_NEXT, 0.0), (_NEXT, 0.0)),
    (0.0, (_NEXT, -_LEAST), (_NEXT, _AFTER)),
    (0.0, (_LEAST, -_NEXT), (_AFTER, _NEXT)),
    (2.0**-126, (_LEAST, -_LEAST), (_LEAST, _LEAST)),
    (math.ldexp(0xFFFFFF, -126), (-_LEAST, 0.0), (_ALMOST, 0.0)),
    (-(2.0**-112), (_LEAST, 0.0), (_LEAST, 0.0)),
    # Zeros and their signs.
    (-0.0, (0.0, -0.0), (-0.0, 1.0)),
    (-0.0, (0.0, 0.0), (1.0, 1.0)),
    (0.0, (-0.0, -0.0), (1.0, 1.0)),
    (1.0, (-1.0, -0.0), (1.0, 1.0)),
    (-1.0, (1.0, 0.0), (1.0, -1.0)),
    (-0.0, (1.0, -1.0), (1.0, 1.0)),
    # Infinities and NaN.
    (1.0, (math.inf, 1.0), (1.0, 1.0)),
    (-math.inf, (_TOP, 0.0), (_TOP, 0.0)),
    (math.inf, (1.0, -math.inf), (1.0, 1.0)),
    (0.0, (math.inf, 1.0), (0.0, 1.0)),
    (0.0, (1.0, math.nan), (1.0, 0.0)),
    (math.nan, (1.0, 1.0), (1.0, 1.0)),
)


def _drawn(count: int) -> list[Case]:
    """Cases whose numbers are near enough to each other to meet in a sum, also among the least and the largest."""
    state = 1

    def below(limit: int) -> int:
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (state >> 33) % limit

    def number(bits: int, exponent: int) -> float:
        return math.ldexp((-1) ** below(2) * (2 ** (bits - 1) + below(2 ** (bits - 1))), exponent + 1 - bits)

    found = []
    for _ in range(count):
        middle = (0, 0, 40, -54, 60)[below(5)]
        (a, b), (c, d) = ((number(8, middle + below(13)), number(8, middle - below(3))) for _ in range(2))
        chain = number(24, min(max(2 * middle + below(29) - 2, -103), 127))
        found.append(Case(chain, (a, c), (b, d)))
    return found


def _run(cases: Sequence[Case], target: Target, intrinsic: str) -> Sequence[float]:
    """What the instruction makes of the cases."""
    text = _TEXT.format(name=intrinsic)
    code = load(assemble(text, target))
    words = array("I")
    for start in range(0, len(cases), LANES):
        some = cases[start : start + LANES]
        words.extend(_bits(case.chain) for case in some)
        # The first product is that of the high halves.
        words.extend(_bits(case.x[0]) | _bits(case.x[1]) >> 16 for case in some)
        words.extend(_bits(case.y[0]) | _bits(case.y[1]) >> 16 for case in some)
    found = array("f", bytes(4 * len(cases)))
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(code.address("probe"))
    function(words.buffer_info()[0], found.buffer_info()[0], len(cases) // LANES)
    return found


def _bits(x: float) -> int:
    """Of a float32."""
    bits: int = struct.unpack("<I", struct.pack("<f", x))[0]
    return bits
