"""The machine's roofline, measured: what its arithmetic and its memory give to weft's own kernels at best.

The *floor* of a kernel is the time that it cannot go below: the larger of its flops over the best flop/s and its bytes
over the best bytes/s, both measured in this process, with its threads, at the first question. What moves little fits
into a cache, so that bandwidth is measured for several sizes of what is moved. A kernel's share of the roofline is its
floor over its time.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from ..core import dtypes as dt
from ..core.dtypes import DType
from ..runtime.pool import get_num_threads
from ..tensor.tensor import Tensor

SIZES = (1 << 16, 1 << 20, 1 << 23, 1 << 27)  # bytes moved: within a core's cache, the machine's, and beyond
_PRODUCTS = (128, 256, 768)  # a short one is less likely to be disturbed, a long one uses all threads best
_TRIES = 9


def floor(flops: int, nbytes: int, dtype: DType = dt.float32) -> float:
    """The seconds that a kernel with so many flops over so many bytes takes at least."""
    return max(flops / flops_roof(dtype), nbytes / bytes_roof(nbytes)) if flops or nbytes else 0.0


def flops_roof(dtype: DType = dt.float32) -> float:
    """flop/s of the best of a few products of square matrices, in float64 or in float32, which stands for all else."""
    return _flops("float64" if dtype is dt.float64 else "float32", get_num_threads())


def bytes_roof(nbytes: int) -> float:
    """bytes/s, read and written, of an elementwise function that moves as much as this."""
    return _bytes(next((size for size in SIZES if nbytes <= size), SIZES[-1]), get_num_threads())


@cache
def _flops(dtype: str, threads: int) -> float:
    from ..ops.contraction import matmul
    from ..ops.creation import ones

    best = 0.0
    for n in _PRODUCTS:
        a = ones((n, n), dtype=dtype, device="cpu")
        best = max(best, 2 * n**3 / _best(matmul, a, a))
    return best


@cache
def _bytes(moved: int, threads: int) -> float:
    """No less than for what is larger."""
    from ..ops.creation import ones
    from ..ops.elementwise import negative

    x = ones((moved // 8,), dtype="float32", device="cpu")
    larger = _bytes(SIZES[SIZES.index(moved) + 1], threads) if moved < SIZES[-1] else 0.0
    return max(moved / _best(negative, x), larger)


def _best(function: Any, *operands: Tensor) -> float:
    """The seconds of the best run of a public function's program."""
    from ..tensor.dispatch import plan_of

    program = plan_of(function, operands, {})[0].call.executable([x._spec for x in operands]).program
    return max(min(sum(program.profile(*[x._storage for x in operands])) for _ in range(_TRIES)), 1e-9)
