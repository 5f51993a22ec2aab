"""``weft``, to type checkers. Written by `make stubs`; not to be edited."""

import builtins
from collections.abc import Sequence
from typing import Any

from . import nn as nn
from . import optim as optim
from .core.device import Device as device
from .core.dtypes import DType as DType
from .core.dtypes import promote as promote
from .core.errors import ArgumentError as ArgumentError
from .core.errors import AutogradError as AutogradError
from .core.errors import AxisError as AxisError
from .core.errors import CaptureError as CaptureError
from .core.errors import CheckError as CheckError
from .core.errors import CompileError as CompileError
from .core.errors import DTypeError as DTypeError
from .core.errors import DeviceError as DeviceError
from .core.errors import FormatError as FormatError
from .core.errors import LinAlgError as LinAlgError
from .core.errors import MemoryAccessError as MemoryAccessError
from .core.errors import OutOfMemoryError as OutOfMemoryError
from .core.errors import ShapeError as ShapeError
from .core.errors import StateError as StateError
from .core.errors import WeftError as WeftError
from .core.limits import finfo as finfo
from .core.limits import iinfo as iinfo
from .deploy.export import export as export
from .interop.onnx.model_file import load as load
from .interop.onnx.model_file import save as save
from .interop.onnx.model_file import verify as verify
from .interop.weights import load_weights as load_weights
from .interop.weights import save_weights as save_weights
from .runtime import memory as memory
from .runtime.devices import get_default_device as get_default_device
from .runtime.pool import get_num_threads as get_num_threads
from .tensor.create import asarray as asarray
from .tensor.create import from_dlpack as from_dlpack
from .tensor.create import from_numpy as from_numpy
from .tensor.create import tensor as tensor
from .tensor.dispatch import configure as configure
from .tensor.dispatch import set_default_device as set_default_device
from .tensor.dispatch import set_num_threads as set_num_threads
from .tensor.tape import enable_grad as enable_grad
from .tensor.tape import no_grad as no_grad
from .tensor.tape import set_grad_enabled as set_grad_enabled
from .tensor.tensor import Tensor as Tensor
from .transforms.autograd import grad as grad
from .transforms.autograd import value_and_grad as value_and_grad
from .transforms.compile import compile as compile
from .transforms.control import cond as cond
from .transforms.control import scan as scan
from .transforms.control import while_loop as while_loop
from .transforms.eval_shape import eval_shape as eval_shape
from .transforms.eval_shape import spec as spec
from .transforms.profile import profile as profile
from .ops.random import Generator
from .ops.sorting import Ordered
from .transforms import debug as debug
from .stubs import linalg as linalg
from .stubs import random as random
from .stubs.tensor import DTypeLike, Operand, TensorLike

__version__: str
bfloat16: DType
bool: DType
e: float
float16: DType
float32: DType
float64: DType
inf: float
int16: DType
int32: DType
int64: DType
int8: DType
nan: float
newaxis: None
pi: float
uint16: DType
uint32: DType
uint64: DType
uint8: DType

def abs(x: Operand, /) -> Tensor:
    """The magnitude; the least integer is its own."""

def acos(x: Operand, /) -> Tensor:
    """The inverse cosine, in [0, pi]."""

def acosh(x: Operand, /) -> Tensor:
    """The inverse hyperbolic cosine."""

def add(x1: Operand, x2: Operand, /) -> Tensor:
    """``x1 + x2``; integers wrap."""

def all(x: Operand, /, *, axis: int | Sequence[int] | None = None, keepdims: builtins.bool = False) -> Tensor:
    """True where every element over the axes is not 0; True over no elements."""

def any(x: Operand, /, *, axis: int | Sequence[int] | None = None, keepdims: builtins.bool = False) -> Tensor:
    """True where some element over the axes is not 0 (NaN is not); False over no elements."""

def arange(
    start: int | float,
    stop: int | float | None = None,
    step: int | float = 1,
    *,
    dtype: DTypeLike | None = None,
    device: Any = None,
) -> Tensor:
    """``start, start + step, ...`` up to and without ``stop``; with one argument, from 0 to it."""

def argmax(x: Operand, /, *, axis: int | None = None, keepdims: builtins.bool = False) -> Tensor:
    """The position of the greatest element along an axis: the first one; the first NaN where there is one."""

def argmin(x: Operand, /, *, axis: int | None = None, keepdims: builtins.bool = False) -> Tensor:
    """The position of the least element along an axis: the first one; the first NaN where there is one."""

def argsort(
    x: Operand, /, *, axis: int = -1, descending: builtins.bool = False, stable: builtins.bool = True
) -> Tensor:
    """The positions of the elements along an axis in ascending order, as int64."""

def asin(x: Operand, /) -> Tensor:
    """The inverse sine, in [-pi/2, pi/2]."""

def asinh(x: Operand, /) -> Tensor:
    """The inverse hyperbolic sine."""

def astype(x: Operand, dtype: DTypeLike, /, *, copy: builtins.bool = True) -> Tensor:
    """Values converted to another dtype."""

def atan(x: Operand, /) -> Tensor:
    """The inverse tangent, in [-pi/2, pi/2]."""

def atan2(x1: Operand, x2: Operand, /) -> Tensor:
    """The angle of the point (x2, x1), in [-pi, pi], signed zeros as in IEEE 754."""

def atanh(x: Operand, /) -> Tensor:
    """The inverse hyperbolic tangent."""

def bitwise_and(x1: Operand, x2: Operand, /) -> Tensor:
    """``x1 & x2``."""

def bitwise_invert(x: Operand, /) -> Tensor:
    """``~x``."""

def bitwise_left_shift(x1: Operand, x2: Operand, /) -> Tensor:
    """``x1 << x2``; 0 where x2 is negative or not below the width."""

def bitwise_or(x1: Operand, x2: Operand, /) -> Tensor:
    """``x1 | x2``."""

def bitwise_right_shift(x1: Operand, x2: Operand, /) -> Tensor:
    """``x1 >> x2``, keeping the sign; 0 or -1 where x2 is negative or not below the width."""

def bitwise_xor(x1: Operand, x2: Operand, /) -> Tensor:
    """``x1 ^ x2``."""

def broadcast_arrays(*arrays: Operand) -> tuple[Tensor, ...]:
    """Every array broadcast to their common shape."""

def broadcast_to(x: Operand, /, shape: int | Sequence[int]) -> Tensor:
    """``x`` repeated along new leading axes and along its axes of size 1, under NumPy's rules."""

def cbrt(x: Operand, /) -> Tensor:
    """The cube root."""

def cdist(
    x1: TensorLike, x2: TensorLike, p: float = 2.0, compute_mode: str = "use_mm_for_euclid_dist_if_necessary"
) -> Tensor:
    """The distance of each vector of one set from each of another: the norm of order ``p`` of their difference."""

def ceil(x: Operand, /) -> Tensor:
    """The least whole number not below x."""

def chunk(x: Operand, chunks: int, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """At most ``chunks`` consecutive parts of ``x`` of one size along ``axis``; the last may be smaller."""

def clip(x: Operand, /, min: Operand | None = None, max: Operand | None = None) -> Tensor:
    """``x`` with what is below ``min`` or above ``max`` replaced by them: ``minimum(maximum(x, min), max)``."""

def concat(arrays: Sequence[TensorLike], /, *, axis: int | None = 0) -> Tensor:
    """Arrays one after another along ``axis``."""

def copysign(x1: Operand, x2: Operand, /) -> Tensor:
    """The magnitude of x1 with the sign of x2."""

def cos(x: Operand, /) -> Tensor:
    """The cosine of an angle in radians."""

def cosh(x: Operand, /) -> Tensor:
    """The hyperbolic cosine."""

def count_nonzero(x: Operand, /, *, axis: int | Sequence[int] | None = None, keepdims: builtins.bool = False) -> Tensor:
    """The number of elements over axes that are not 0, as int64."""

def cumulative_prod(
    x: Operand, /, *, axis: int | None = None, dtype: DTypeLike | None = None, include_initial: builtins.bool = False
) -> Tensor:
    """The running product along an axis."""

def cumulative_sum(
    x: Operand, /, *, axis: int | None = None, dtype: DTypeLike | None = None, include_initial: builtins.bool = False
) -> Tensor:
    """The running sum along an axis."""

def divide(x1: Operand, x2: Operand, /) -> Tensor:
    """``x1 / x2``, always a float."""

def einsum(subscripts: str, /, *operands: TensorLike | Sequence[TensorLike]) -> Tensor:
    """Products of elements with equal labels, summed over the labels that the result does not have."""

def empty(shape: int | Sequence[int], *, dtype: DTypeLike | None = None, device: Any = None) -> Tensor:
    """A tensor whose values do not matter: zeros, so that results never depend on what memory held before."""

def empty_like(x: Operand, *, dtype: DTypeLike | None = None, device: Any = None) -> Tensor:
    """A tensor of ``x``'s shape, and dtype unless another is given, whose values do not matter: zeros."""

def equal(x1: Operand, x2: Operand, /) -> Tensor:
    """``x1 == x2``; false if one is NaN."""

def erf(x: Operand, /) -> Tensor:
    """The error function."""

def erfc(x: Operand, /) -> Tensor:
    """``1 - erf(x)``, also far out."""

def erfinv(x: Operand, /) -> Tensor:
    """The inverse of erf; infinite at -1 and 1, NaN beyond."""

def exp(x: Operand, /) -> Tensor:
    """``e ** x``."""

def exp2(x: Operand, /) -> Tensor:
    """``2 ** x``."""

def expand_dims(x: Operand, /, axis: int | Sequence[int] = 0) -> Tensor:
    """``x`` with new axes of size 1 at the positions ``axis`` of the result."""

def expm1(x: Operand, /) -> Tensor:
    """``e ** x - 1``, exact near 0."""

def eye(
    n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: DTypeLike | None = None, device: Any = None
) -> Tensor:
    """Ones on the ``k``-th diagonal (above the main one when positive) of a matrix of zeros; float32 unless given."""

def flatten(x: Operand, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The axes ``start_dim`` to ``end_dim`` as one; a tensor of rank 0 gets one axis."""

def flip(x: Operand, /, *, axis: int | Sequence[int] | None = None) -> Tensor:
    """``x`` backwards along ``axis``; None: along every axis."""

def floor(x: Operand, /) -> Tensor:
    """The greatest whole number not above x."""

def floor_divide(x1: Operand, x2: Operand, /) -> Tensor:
    """``floor(x1 / x2)``; an integer divided by zero gives 0."""

def full(
    shape: int | Sequence[int], fill_value: float, *, dtype: DTypeLike | None = None, device: Any = None
) -> Tensor:
    """A tensor of ``shape`` with ``fill_value`` everywhere."""

def full_like(x: Operand, fill_value: float, *, dtype: DTypeLike | None = None, device: Any = None) -> Tensor:
    """A tensor of ``x``'s shape, and dtype unless another is given, with ``fill_value`` everywhere."""

def greater(x1: Operand, x2: Operand, /) -> Tensor:
    """``x1 > x2``; false if one is NaN."""

def greater_equal(x1: Operand, x2: Operand, /) -> Tensor:
    """``x1 >= x2``; false if one is NaN."""

def hypot(x1: Operand, x2: Operand, /) -> Tensor:
    """``sqrt(x1**2 + x2**2)`` without overflow."""

def index_add(x: TensorLike, dim: int, index: TensorLike, source: TensorLike, /) -> Tensor:
    """:func:`scatter_add` with PyTorch's order of arguments; ``index`` is of rank 1."""

def isfinite(x: Operand, /) -> Tensor:
    """True for what is neither infinite nor NaN."""

def isinf(x: Operand, /) -> Tensor:
    """True for the infinities."""

def isnan(x: Operand, /) -> Tensor:
    """True for NaN."""

def less(x1: Operand, x2: Operand, /) -> Tensor:
    """``x1 < x2``; false if one is NaN."""

def less_equal(x1: Operand, x2: Operand, /) -> Tensor:
    """``x1 <= x2``; false if one is NaN."""

def linspace(
    start: float,
    stop: float,
    /,
    num: int,
    *,
    dtype: DTypeLike | None = None,
    device: Any = None,
    endpoint: builtins.bool = True,
) -> Tensor:
    """``num`` evenly spaced numbers from ``start`` to ``stop``, which is the last one when ``endpoint``."""

def log(x: Operand, /) -> Tensor:
    """The natural logarithm; -inf at 0, NaN below."""

def log10(x: Operand, /) -> Tensor:
    """The logarithm to base 10."""

def log1p(x: Operand, /) -> Tensor:
    """``log(1 + x)``, exact near 0."""

def log2(x: Operand, /) -> Tensor:
    """The logarithm to base 2."""

def logaddexp(x1: Operand, x2: Operand, /) -> Tensor:
    """``log(exp(x1) + exp(x2))``."""

def logical_and(x1: Operand, x2: Operand, /) -> Tensor:
    """True where both are."""

def logical_not(x: Operand, /) -> Tensor:
    """True where x is not."""

def logical_or(x1: Operand, x2: Operand, /) -> Tensor:
    """True where one is."""

def logical_xor(x1: Operand, x2: Operand, /) -> Tensor:
    """True where exactly one is."""

def logsumexp(x: Operand, /, *, axis: int | Sequence[int] | None = None, keepdims: builtins.bool = False) -> Tensor:
    """``log(sum(exp(x)))`` over axes, without overflow; -inf over no elements."""

def manual_seed(seed: int) -> None:
    """Seed the default random generator; the same as ``wf.random.seed``."""

def matmul(x1: TensorLike, x2: TensorLike, /, *, dtype: DTypeLike | None = None) -> Tensor:
    """The matrix product ``x1 @ x2``."""

def matrix_transpose(x: Operand, /) -> Tensor:
    """``x`` (..., m, n) with its last two axes exchanged."""

def max(x: Operand, /, *, axis: int | Sequence[int] | None = None, keepdims: builtins.bool = False) -> Tensor:
    """The greatest element over axes; NaN where there is one."""

def maximum(x1: Operand, x2: Operand, /) -> Tensor:
    """The greater of two values; NaN if one is, 0.0 of 0.0 and -0.0."""

def mean(x: Operand, /, *, axis: int | Sequence[int] | None = None, keepdims: builtins.bool = False) -> Tensor:
    """The arithmetic mean over axes: the sum divided by the number of elements; NaN over none."""

def meshgrid(*arrays: TensorLike | Sequence[TensorLike], indexing: str = "xy") -> tuple[Tensor, ...]:
    """Coordinate matrices of coordinate vectors (rank 1, equal dtypes)."""

def min(x: Operand, /, *, axis: int | Sequence[int] | None = None, keepdims: builtins.bool = False) -> Tensor:
    """The least element over axes; NaN where there is one."""

def minimum(x1: Operand, x2: Operand, /) -> Tensor:
    """The smaller of two values; NaN if one is, -0.0 of 0.0 and -0.0."""

def moveaxis(x: Operand, source: int | Sequence[int], destination: int | Sequence[int], /) -> Tensor:
    """``x`` with the axes ``source`` moved to the positions ``destination``; the others keep their order."""

def multinomial(
    input: Operand, num_samples: int, replacement: builtins.bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Categories, drawn with probabilities that are proportional to ``input``."""

def multiply(x1: Operand, x2: Operand, /) -> Tensor:
    """``x1 * x2``; integers wrap."""

def negative(x: Operand, /) -> Tensor:
    """``-x``; unsigned integers wrap."""

def nextafter(x1: Operand, x2: Operand, /) -> Tensor:
    """The value next to x1 in the direction of x2."""

def nonzero(x: Operand, /) -> tuple[Tensor, ...]:
    """The positions of the elements that are not 0: for each axis a vector of int64, in row-major order."""

def not_equal(x1: Operand, x2: Operand, /) -> Tensor:
    """``x1 != x2``; true if one is NaN."""

def ones(shape: int | Sequence[int], *, dtype: DTypeLike | None = None, device: Any = None) -> Tensor:
    """A tensor of ones; float32 unless ``dtype`` is given."""

def ones_like(x: Operand, *, dtype: DTypeLike | None = None, device: Any = None) -> Tensor:
    """Ones of ``x``'s shape, and dtype unless another is given."""

def outer(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """The product of each element of one vector with each of another."""

def pad(
    x: Operand, /, pad_width: int | Sequence[int] | Sequence[Sequence[int]], *, value: builtins.bool | int | float = 0
) -> Tensor:
    """``x`` with ``value`` around it."""

def permute_dims(x: Operand, /, axes: Sequence[int]) -> Tensor:
    """``x`` with its axes in another order: axis i of the result is axis ``axes[i]`` of ``x``."""

def positive(x: Operand, /) -> Tensor:
    """``x`` itself."""

def pow(x1: Operand, x2: Operand, /) -> Tensor:
    """``x1 ** x2``."""

def prod(
    x: Operand,
    /,
    *,
    axis: int | Sequence[int] | None = None,
    dtype: DTypeLike | None = None,
    keepdims: builtins.bool = False,
) -> Tensor:
    """The product over axes; 1 over no elements."""

def reciprocal(x: Operand, /) -> Tensor:
    """``1 / x``."""

def remainder(x1: Operand, x2: Operand, /) -> Tensor:
    """``x1 - floor(x1 / x2) * x2``, of the sign of x2 like Python's ``%``; an integer modulo zero is 0."""

def repeat(x: Operand, repeats: Any, /, *, axis: int | None = None) -> Tensor:
    """Each element of ``x`` ``repeats`` times along ``axis``; None: of the flattened ``x``."""

def reshape(x: Operand, /, shape: int | Sequence[int], *, copy: builtins.bool | None = None) -> Tensor:
    """The elements of ``x`` in row-major order under another shape."""

def roll(x: Operand, /, shift: int | Sequence[int], *, axis: int | Sequence[int] | None = None) -> Tensor:
    """``x`` moved ``shift`` places along ``axis``; what leaves at the end comes in at the front."""

def round(x: Operand, /) -> Tensor:
    """The nearest whole number, halves to the even one."""

def rsqrt(x: Operand, /) -> Tensor:
    """``1 / sqrt(x)``."""

def scatter_add(x: TensorLike, indices: TensorLike, updates: TensorLike, /, *, axis: int = 0) -> Tensor:
    """``x`` with ``updates`` added to its slices along ``axis`` that ``indices`` name, in the indices' order."""

def sigmoid(x: Operand, /) -> Tensor:
    """``1 / (1 + exp(-x))``."""

def sign(x: Operand, /) -> Tensor:
    """-1, 0 or 1; NaN of NaN."""

def signbit(x: Operand, /) -> Tensor:
    """True where the sign bit is set: below zero, -0.0, -NaN."""

def sin(x: Operand, /) -> Tensor:
    """The sine of an angle in radians."""

def sinh(x: Operand, /) -> Tensor:
    """The hyperbolic sine."""

def sort(x: Operand, /, *, axis: int = -1, descending: builtins.bool = False, stable: builtins.bool = True) -> Tensor:
    """The elements along an axis in ascending order."""

def split(x: Operand, split_size_or_sections: int | Sequence[int], /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """Consecutive parts of ``x`` along ``axis``, as PyTorch cuts them."""

def sqrt(x: Operand, /) -> Tensor:
    """The square root, correctly rounded."""

def square(x: Operand, /) -> Tensor:
    """``x * x``."""

def squeeze(x: Operand, /, axis: int | Sequence[int] | None = None) -> Tensor:
    """``x`` without the axes ``axis``, which have size 1; None: without every axis of size 1."""

def stack(arrays: Sequence[TensorLike], /, *, axis: int = 0) -> Tensor:
    """Arrays of one shape along a new axis, at position ``axis`` of the result."""

def std(
    x: Operand, /, *, axis: int | Sequence[int] | None = None, correction: float = 0.0, keepdims: builtins.bool = False
) -> Tensor:
    """The standard deviation over axes: the square root of :func:`var`, whose arguments it takes."""

def stop_gradient(x: Operand, /) -> Tensor:
    """``x``, as a constant to whoever differentiates: no gradient passes."""

def subtract(x1: Operand, x2: Operand, /) -> Tensor:
    """``x1 - x2``; integers wrap."""

def sum(
    x: Operand,
    /,
    *,
    axis: int | Sequence[int] | None = None,
    dtype: DTypeLike | None = None,
    keepdims: builtins.bool = False,
) -> Tensor:
    """The sum over axes; 0 over no elements."""

def swapaxes(x: Operand, axis1: int, axis2: int, /) -> Tensor:
    """``x`` with two axes exchanged."""

def take(x: TensorLike, indices: TensorLike, /, *, axis: int | None = None) -> Tensor:
    """The slices of ``x`` along ``axis`` that ``indices`` name."""

def take_along_axis(x: TensorLike, indices: TensorLike, /, *, axis: int = -1) -> Tensor:
    """``x[i, indices[i, j], ...]``: on ``axis`` the position that ``indices`` says, on the others the same."""

def tan(x: Operand, /) -> Tensor:
    """The tangent of an angle in radians."""

def tanh(x: Operand, /) -> Tensor:
    """The hyperbolic tangent."""

def tensordot(x1: TensorLike, x2: TensorLike, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Tensor:
    """The sum of products over pairs of axes."""

def tile(x: Operand, repetitions: int | Sequence[int], /) -> Tensor:
    """``x`` repeated as a whole, ``repetitions`` times along each axis (aligned at the last one)."""

def topk(input: Operand, k: int, dim: int = -1, largest: builtins.bool = True, sorted: builtins.bool = True) -> Ordered:
    """The ``k`` greatest elements along an axis, the greatest first, and their positions."""

def tril(x: Operand, /, *, k: int = 0) -> Tensor:
    """``x`` (..., m, n) with zeros above the ``k``-th diagonal."""

def triu(x: Operand, /, *, k: int = 0) -> Tensor:
    """``x`` (..., m, n) with zeros below the ``k``-th diagonal."""

def trunc(x: Operand, /) -> Tensor:
    """The whole number next to x towards zero."""

def unstack(x: Operand, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The slices of ``x`` along ``axis``, which they no longer have."""

def var(
    x: Operand, /, *, axis: int | Sequence[int] | None = None, correction: float = 0.0, keepdims: builtins.bool = False
) -> Tensor:
    """The variance over axes: the mean square deviation from the mean."""

def vecdot(x1: TensorLike, x2: TensorLike, /, *, axis: int = -1) -> Tensor:
    """The sum of the products of elements along one axis."""

def where(condition: TensorLike, x1: Operand, x2: Operand, /) -> Tensor:
    """x1 where ``condition`` holds, else x2."""

def zeros(shape: int | Sequence[int], *, dtype: DTypeLike | None = None, device: Any = None) -> Tensor:
    """A tensor of zeros; float32 unless ``dtype`` is given."""

def zeros_like(x: Operand, *, dtype: DTypeLike | None = None, device: Any = None) -> Tensor:
    """Zeros of ``x``'s shape, and dtype unless another is given."""
