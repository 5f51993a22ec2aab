"""Runs an expression over arrays: the shortest way from an ``Expr`` to numbers, and errors of them in ULP."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from weft.compiler.expr import Expr, leaf, topological
from weft.compiler.kernels import SCRATCH_BYTES, Access, Nest, Slot, Store, describe
from weft.compiler.nest import render_nest
from weft.core.dtypes import DType
from weft.llvm.elf import load
from weft.llvm.object_cache import cached_object
from weft.llvm.targets import Target, host_target

_N = Slot(0)
_SIGNATURE = ctypes.CFUNCTYPE(
    ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p
)
_scratch = np.zeros(SCRATCH_BYTES, np.uint8)


def argument(position: int, dtype: DType) -> Expr:
    """Element i of the array number ``position``."""
    return leaf("load", dtype, Access(position, dtype, 0, (1,)))


def kernel_of(function: Callable[..., Expr], dtypes: Sequence[DType]) -> Nest:
    """The kernel that writes ``function`` of its arrays' elements to a last array."""
    value = function(*(argument(k, d) for k, d in enumerate(dtypes)))
    store = Store(Access(len(dtypes), value.dtype, 0, (1,)), value)
    return Nest((), _N, _N, 1, (store,), (*dtypes, value.dtype))


def num_nodes(function: Callable[..., Expr], dtypes: Sequence[DType]) -> int:
    """How many operations (no constants, no loads) a function's expression has, equal ones counted once."""
    value = function(*(argument(k, d) for k, d in enumerate(dtypes)))
    numbers: dict[tuple[Any, ...], int] = {}
    number_of: dict[int, int] = {}
    for node in topological([value]):
        key = (node.op, node.dtype.name, repr(node.value), *(number_of[id(a)] for a in node.args))
        number_of[id(node)] = numbers.setdefault(key, len(numbers))
    return sum(key[0] not in ("const", "load") for key in numbers)


def compiled(function: Callable[..., Expr], dtypes: tuple[DType, ...], isa: str | None = None) -> Any:
    """``run(*arrays) -> array`` for contiguous arrays of the same length."""
    return compile_for(function, dtypes, host_target(isa))


@cache
def compile_for(function: Callable[..., Expr], dtypes: tuple[DType, ...], target: Target) -> Any:
    """As :func:`compiled`, for a target that this machine can run; processes of the tests share the machine code."""
    kernel = kernel_of(function, dtypes)
    key = f"vmath_harness {describe(kernel)}"
    code = load(cached_object(key, target, lambda: render_nest(kernel, "kernel", target)))
    native = _SIGNATURE(code.address("kernel"))
    result_dtype = kernel.buffers[-1].numpy

    def run(*arrays: np.ndarray, out: np.ndarray | None = None, repeats: int = 1) -> np.ndarray:
        arrays = tuple(np.ascontiguousarray(a, d.numpy) for a, d in zip(arrays, dtypes, strict=True))
        size = arrays[0].size
        assert all(a.size == size for a in arrays)
        result = np.empty(size, result_dtype) if out is None else out
        buffers = (ctypes.c_void_p * (len(arrays) + 1))(*(a.ctypes.data for a in (*arrays, result)))
        ints = (ctypes.c_int64 * 1)(size)
        status = native(ctypes.addressof(buffers), ctypes.addressof(ints), 0, repeats, _scratch.ctypes.data)
        assert status == 0
        return result

    return run


def bits_of(array: np.ndarray) -> np.ndarray:
    """The elements' bits, with one pattern for every NaN."""
    unsigned = array.view(f"u{array.itemsize}").copy()
    if array.dtype.kind == "f":
        unsigned[np.isnan(array)] = np.array([np.nan], array.dtype).view(unsigned.dtype)[0]
    return unsigned


def spacing(reference: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """One ULP of ``dtype`` at each reference value (longdouble): the step of the binade in which it lies."""
    info = np.finfo(dtype)
    with np.errstate(all="ignore"):
        _, exponent = np.frexp(np.abs(reference))
    exponent = np.clip(exponent, int(info.minexp) + 1, int(info.maxexp))
    return np.ldexp(np.longdouble(1), exponent - info.nmant - 1)


def ulp_error(result: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Error of each element in ULP of the result's dtype; inf where one is NaN, or wrongly infinite.

    ``reference``: the true values as longdouble (or float64 for float32 results). One that rounds to infinity is
    matched by infinity, and by nothing else more than an ULP away.
    """
    dtype = result.dtype
    limit = np.longdouble(np.finfo(dtype).max)
    top = np.ldexp(np.longdouble(1), np.finfo(dtype).maxexp)  # what infinity stands for
    exact = reference.astype(np.longdouble)
    with np.errstate(all="ignore"):
        got = result.astype(np.longdouble)
        got = np.where(np.isinf(got), np.copysign(top, got), got)
        clipped = np.where(np.abs(exact) > limit, np.copysign(np.minimum(np.abs(exact), top), exact), exact)
        error = np.abs(got - clipped) / spacing(np.where(np.isfinite(clipped), clipped, 0), dtype)
        error = np.where(np.isnan(result) | np.isnan(exact), np.inf, error)
    return np.where(np.isnan(result) & np.isnan(exact), 0, error).astype(np.float64)


def stratified(dtype: DType, count: int, seed: int = 0) -> np.ndarray:
    """About ``count`` values over the whole range: as many in each binade, both signs, and the edges of binades."""
    np_dtype = dtype.numpy
    unsigned = np.dtype(f"u{dtype.itemsize}")
    mantissa = np.finfo(np_dtype).nmant
    exponents = np.arange(1 << (dtype.bits - 1 - mantissa), dtype=unsigned)
    each = max(count // exponents.size, 4)
    random = np.random.default_rng(seed)
    low = random.integers(0, 1 << mantissa, (exponents.size, each), dtype=unsigned)
    low[:, :4] = [0, 1, (1 << mantissa) - 1, 1 << (mantissa - 1)]
    values = (exponents[:, None] << unsigned.type(mantissa) | low).ravel()
    sign = random.integers(0, 2, values.size, dtype=unsigned) << unsigned.type(dtype.bits - 1)
    return (values | sign).view(np_dtype)
