"""How much a file may ask for, so that a small one can neither hang its reader nor fill the machine.

What is larger than these is refused when the file is read, before anything of that size is made.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...core import dtypes as dt
from ...core.dtypes import DType
from ...core.errors import FormatError
from ...core.symbolic import Dim, SymDim, undecided

FILE = 1 << 31  # bytes: no protocol buffer is longer
KNOWN = 1024  # elements of an array that is followed while a model is read; larger ones are tensors of its graph
NBYTES = 1 << 47  # bytes of one tensor: more than a process can address
RANK = 64  # axes of a tensor: NumPy's own limit
NESTING = 64  # of the tuples and dicts in arguments and results
_DEGREE = 64  # factors of one term of a symbolic size
_TERMS = 64  # terms of one


def wrapped(value: int, dtype: DType) -> int:
    """The integer in ``dtype``: its low bits, as every integer op keeps them (docs/numerics.md)."""
    if dtype is dt.bool_:
        return int(value != 0)
    low = value & ((1 << dtype.bits) - 1)
    return low - (1 << dtype.bits) if dtype.is_signed and low >> (dtype.bits - 1) else low


def bounded(size: Dim) -> Dim:
    """``size`` itself.

    Raises:
        FormatError: it is symbolic and so long, or of such coefficients, that it is no model's size.
    """
    if isinstance(size, SymDim):
        longest = max(map(len, size.terms))
        if len(size.terms) > _TERMS or longest > _DEGREE or any(abs(c) >> 62 for c in size.terms.values()):
            raise FormatError(f"a size of {len(size.terms)} terms of up to {longest} factors: no model has such sizes")
    return size


def check_extent(shape: Sequence[Dim], itemsize: int) -> None:
    """Raise unless a tensor of the shape could be.

    Raises:
        FormatError: it has more than RANK axes or NBYTES bytes (sizes of 0 left out, for its strides have to fit too).
    """
    if len(shape) > RANK:
        raise FormatError(f"a tensor of {len(shape)} axes; weft reads up to {RANK}")
    total: Dim = itemsize
    for size in shape:
        if isinstance(size, SymDim) or size > 1:
            total = bounded(total * size)
            if not undecided(total) and total > NBYTES:
                raise FormatError(
                    f"a tensor of the shape {_text(shape)} has more than 2**47 bytes: no machine holds it"
                )


def _text(shape: Sequence[Dim]) -> str:
    return f"({', '.join(str(n) if isinstance(n, SymDim) or n < 1 << 64 else f'{n:.1e}' for n in shape)})"
