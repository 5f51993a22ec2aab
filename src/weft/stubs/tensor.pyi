"""The methods of Tensor, to type checkers. Written by `make stubs`; not to be edited."""

from collections.abc import Callable, Iterator, Sequence
from types import EllipsisType
from typing import Any, Literal, Self, SupportsIndex, TypeAlias, overload

import numpy as np

from ..core.dtypes import DType
from ..ops.random import Generator
from ..ops.sorting import Ordered
from ..tensor.binding import Extreme
from ..tensor.gradient_hooks import RemovableHandle
from ..tensor.tensor import Tensor

TensorLike: TypeAlias = Tensor | np.ndarray[Any, Any] | np.generic
Operand: TypeAlias = TensorLike | float
DTypeLike: TypeAlias = DType | str | type[float] | type[int] | np.dtype[Any] | type[np.generic]
Index: TypeAlias = SupportsIndex | slice | EllipsisType | Tensor | np.ndarray[Any, Any] | Sequence[Any] | None

class Casts:
    """Methods named like types, which would hide these from the others."""

    def bool(self) -> Tensor:
        """The tensor as bool; itself if it is."""
    def float(self) -> Tensor:
        """The tensor as float32; itself if it is."""
    def int(self) -> Tensor:
        """The tensor as int32; itself if it is."""
    def type(self, dtype: DTypeLike) -> Tensor:
        """The tensor as ``dtype``; itself if it is."""

class Methods(Casts):
    """What :mod:`weft.tensor.methods` gives to a Tensor."""

    @property
    def T(self) -> Tensor:
        """The axes in reverse order."""
    def __abs__(self) -> Tensor: ...
    def __add__(self, other: Operand) -> Tensor: ...
    def __and__(self, other: Operand) -> Tensor: ...
    def __contains__(self, value: Any) -> bool: ...
    def __eq__(self, other: Operand) -> Tensor: ...  # type: ignore[override]
    def __floordiv__(self, other: Operand) -> Tensor: ...
    def __ge__(self, other: Operand) -> Tensor: ...
    def __getitem__(self, key: Index) -> Tensor: ...
    def __gt__(self, other: Operand) -> Tensor: ...
    def __iadd__(self, other: Operand) -> Self: ...
    def __iand__(self, other: Operand) -> Self: ...
    def __ifloordiv__(self, other: Operand) -> Self: ...
    def __ilshift__(self, other: Operand) -> Self: ...
    def __imod__(self, other: Operand) -> Self: ...
    def __imul__(self, other: Operand) -> Self: ...
    def __invert__(self) -> Tensor: ...
    def __ior__(self, other: Operand) -> Self: ...
    def __ipow__(self, other: Operand) -> Self: ...
    def __irshift__(self, other: Operand) -> Self: ...
    def __isub__(self, other: Operand) -> Self: ...
    def __iter__(self) -> Iterator[Tensor]: ...
    def __itruediv__(self, other: Operand) -> Self: ...
    def __ixor__(self, other: Operand) -> Self: ...
    def __le__(self, other: Operand) -> Tensor: ...
    def __lshift__(self, other: Operand) -> Tensor: ...
    def __lt__(self, other: Operand) -> Tensor: ...
    def __matmul__(self, other: TensorLike) -> Tensor: ...
    def __mod__(self, other: Operand) -> Tensor: ...
    def __mul__(self, other: Operand) -> Tensor: ...
    def __ne__(self, other: Operand) -> Tensor: ...  # type: ignore[override]
    def __neg__(self) -> Tensor: ...
    def __or__(self, other: Operand) -> Tensor: ...
    def __pos__(self) -> Tensor: ...
    def __pow__(self, other: Operand) -> Tensor: ...
    def __radd__(self, other: Operand) -> Tensor: ...
    def __rand__(self, other: Operand) -> Tensor: ...
    def __rfloordiv__(self, other: Operand) -> Tensor: ...
    def __rlshift__(self, other: Operand) -> Tensor: ...
    def __rmatmul__(self, other: TensorLike) -> Tensor: ...
    def __rmod__(self, other: Operand) -> Tensor: ...
    def __rmul__(self, other: Operand) -> Tensor: ...
    def __ror__(self, other: Operand) -> Tensor: ...
    def __rpow__(self, other: Operand) -> Tensor: ...
    def __rrshift__(self, other: Operand) -> Tensor: ...
    def __rshift__(self, other: Operand) -> Tensor: ...
    def __rsub__(self, other: Operand) -> Tensor: ...
    def __rtruediv__(self, other: Operand) -> Tensor: ...
    def __rxor__(self, other: Operand) -> Tensor: ...
    def __setitem__(self, key: Index, value: Any) -> None: ...
    def __sub__(self, other: Operand) -> Tensor: ...
    def __truediv__(self, other: Operand) -> Tensor: ...
    def __xor__(self, other: Operand) -> Tensor: ...
    def abs(self) -> Tensor:
        """The magnitude; the least integer is its own."""
    def abs_(self) -> Self:
        """Write what ``abs`` gives of the tensor into it; returns it."""
    def absolute(self) -> Tensor:
        """The magnitude; the least integer is its own."""
    def absolute_(self) -> Self:
        """Write what ``absolute`` gives of the tensor into it; returns it."""
    def acos(self) -> Tensor:
        """The inverse cosine, in [0, pi]."""
    def acos_(self) -> Self:
        """Write what ``acos`` gives of the tensor into it; returns it."""
    def acosh(self) -> Tensor:
        """The inverse hyperbolic cosine."""
    def acosh_(self) -> Self:
        """Write what ``acosh`` gives of the tensor into it; returns it."""
    def add(self, other: Operand, *, alpha: float = 1) -> Tensor:
        """``x1 + x2``; integers wrap."""
    def add_(self, other: Operand, *, alpha: float = 1) -> Self:
        """Write what ``add`` gives of the tensor into it; returns it."""
    def addbmm(self, batch1: TensorLike, batch2: TensorLike, *, beta: float = 1, alpha: float = 1) -> Tensor:
        """``beta * input + alpha * sum(batch1 @ batch2)``, the sum over the batch; see :func:`addmm`."""
    def addbmm_(self, batch1: TensorLike, batch2: TensorLike, *, beta: float = 1, alpha: float = 1) -> Self:
        """Write what ``addbmm`` gives of the tensor into it; returns it."""
    def addcdiv(self, tensor1: TensorLike, tensor2: TensorLike, *, value: Operand = 1) -> Tensor:
        """``input + value * tensor1 / tensor2``."""
    def addcdiv_(self, tensor1: TensorLike, tensor2: TensorLike, *, value: Operand = 1) -> Self:
        """Write what ``addcdiv`` gives of the tensor into it; returns it."""
    def addcmul(self, tensor1: TensorLike, tensor2: TensorLike, *, value: Operand = 1) -> Tensor:
        """``input + value * tensor1 * tensor2``."""
    def addcmul_(self, tensor1: TensorLike, tensor2: TensorLike, *, value: Operand = 1) -> Self:
        """Write what ``addcmul`` gives of the tensor into it; returns it."""
    def addmm(self, mat1: TensorLike, mat2: TensorLike, *, beta: float = 1, alpha: float = 1) -> Tensor:
        """``beta * input + alpha * (mat1 @ mat2)``; with beta 0 ``input`` counts for nothing, also NaN."""
    def addmm_(self, mat1: TensorLike, mat2: TensorLike, *, beta: float = 1, alpha: float = 1) -> Self:
        """Write what ``addmm`` gives of the tensor into it; returns it."""
    def addmv(self, mat: TensorLike, vec: TensorLike, *, beta: float = 1, alpha: float = 1) -> Tensor:
        """``beta * input + alpha * (mat @ vec)``; see :func:`addmm`."""
    def addmv_(self, mat: TensorLike, vec: TensorLike, *, beta: float = 1, alpha: float = 1) -> Self:
        """Write what ``addmv`` gives of the tensor into it; returns it."""
    def addr(self, vec1: TensorLike, vec2: TensorLike, *, beta: float = 1, alpha: float = 1) -> Tensor:
        """``beta * input + alpha * outer(vec1, vec2)``; see :func:`addmm`."""
    def addr_(self, vec1: TensorLike, vec2: TensorLike, *, beta: float = 1, alpha: float = 1) -> Self:
        """Write what ``addr`` gives of the tensor into it; returns it."""
    @overload
    def all(self, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Tensor:
        """True where every element over the axes is not 0; True over no elements."""
    @overload
    def all(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor: ...
    def allclose(self, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
        """Whether all elements are equal within ``atol + rtol * |other|``; the shapes broadcast, the dtypes may differ.
        """
    @overload
    def amax(self, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Tensor:
        """The greatest element over axes; NaN where there is one."""
    @overload
    def amax(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor: ...
    @overload
    def amin(self, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Tensor:
        """The least element over axes; NaN where there is one."""
    @overload
    def amin(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor: ...
    @overload
    def any(self, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Tensor:
        """True where some element over the axes is not 0 (NaN is not); False over no elements."""
    @overload
    def any(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor: ...
    def arccos(self) -> Tensor:
        """The inverse cosine, in [0, pi]."""
    def arccos_(self) -> Self:
        """Write what ``arccos`` gives of the tensor into it; returns it."""
    def arccosh(self) -> Tensor:
        """The inverse hyperbolic cosine."""
    def arccosh_(self) -> Self:
        """Write what ``arccosh`` gives of the tensor into it; returns it."""
    def arcsin(self) -> Tensor:
        """The inverse sine, in [-pi/2, pi/2]."""
    def arcsin_(self) -> Self:
        """Write what ``arcsin`` gives of the tensor into it; returns it."""
    def arcsinh(self) -> Tensor:
        """The inverse hyperbolic sine."""
    def arcsinh_(self) -> Self:
        """Write what ``arcsinh`` gives of the tensor into it; returns it."""
    def arctan(self) -> Tensor:
        """The inverse tangent, in [-pi/2, pi/2]."""
    def arctan2(self, other: Operand) -> Tensor:
        """The angle of the point (x2, x1), in [-pi, pi], signed zeros as in IEEE 754."""
    def arctan2_(self, other: Operand) -> Self:
        """Write what ``arctan2`` gives of the tensor into it; returns it."""
    def arctan_(self) -> Self:
        """Write what ``arctan`` gives of the tensor into it; returns it."""
    def arctanh(self) -> Tensor:
        """The inverse hyperbolic tangent."""
    def arctanh_(self) -> Self:
        """Write what ``arctanh`` gives of the tensor into it; returns it."""
    @overload
    def argmax(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        """The position of the greatest element along an axis: the first one; the first NaN where there is one."""
    @overload
    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor: ...
    @overload
    def argmin(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        """The position of the least element along an axis: the first one; the first NaN where there is one."""
    @overload
    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor: ...
    @overload
    def argsort(self, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
        """The positions of the elements along ``dim`` in order; equal elements stay in theirs."""
    @overload
    def argsort(self, axis: int = -1, descending: bool = False, stable: bool = False) -> Tensor: ...
    def argwhere(self) -> Tensor:
        """What ``x.nonzero()`` gives: a row of int64 for the position of each element that is not 0."""
    def asin(self) -> Tensor:
        """The inverse sine, in [-pi/2, pi/2]."""
    def asin_(self) -> Self:
        """Write what ``asin`` gives of the tensor into it; returns it."""
    def asinh(self) -> Tensor:
        """The inverse hyperbolic sine."""
    def asinh_(self) -> Self:
        """Write what ``asinh`` gives of the tensor into it; returns it."""
    def astype(self, dtype: DTypeLike, /, *, copy: bool = True) -> Tensor:
        """Values converted to another dtype."""
    def atan(self) -> Tensor:
        """The inverse tangent, in [-pi/2, pi/2]."""
    def atan2(self, other: Operand) -> Tensor:
        """The angle of the point (x2, x1), in [-pi, pi], signed zeros as in IEEE 754."""
    def atan2_(self, other: Operand) -> Self:
        """Write what ``atan2`` gives of the tensor into it; returns it."""
    def atan_(self) -> Self:
        """Write what ``atan`` gives of the tensor into it; returns it."""
    def atanh(self) -> Tensor:
        """The inverse hyperbolic tangent."""
    def atanh_(self) -> Self:
        """Write what ``atanh`` gives of the tensor into it; returns it."""
    def baddbmm(self, batch1: TensorLike, batch2: TensorLike, *, beta: float = 1, alpha: float = 1) -> Tensor:
        """``beta * input + alpha * (batch1 @ batch2)`` of batches of matrices; see :func:`addmm`."""
    def baddbmm_(self, batch1: TensorLike, batch2: TensorLike, *, beta: float = 1, alpha: float = 1) -> Self:
        """Write what ``baddbmm`` gives of the tensor into it; returns it."""
    def bernoulli_(self, p: Any = 0.5, *, generator: Any = None) -> Self:
        """Fill the tensor with ones with probability ``p`` (a number, or a tensor that broadcasts), else zeros."""
    def bfloat16(self) -> Tensor:
        """The tensor as bfloat16; itself if it is."""
    def bitwise_and(self, other: Operand) -> Tensor:
        """``x1 & x2``."""
    def bitwise_and_(self, other: Operand) -> Self:
        """Write what ``bitwise_and`` gives of the tensor into it; returns it."""
    def bitwise_left_shift(self, other: Operand) -> Tensor:
        """``x1 << x2``; 0 where x2 is negative or not below the width."""
    def bitwise_left_shift_(self, other: Operand) -> Self:
        """Write what ``bitwise_left_shift`` gives of the tensor into it; returns it."""
    def bitwise_not(self) -> Tensor:
        """``~x``."""
    def bitwise_not_(self) -> Self:
        """Write what ``bitwise_not`` gives of the tensor into it; returns it."""
    def bitwise_or(self, other: Operand) -> Tensor:
        """``x1 | x2``."""
    def bitwise_or_(self, other: Operand) -> Self:
        """Write what ``bitwise_or`` gives of the tensor into it; returns it."""
    def bitwise_right_shift(self, other: Operand) -> Tensor:
        """``x1 >> x2``, keeping the sign; 0 or -1 where x2 is negative or not below the width."""
    def bitwise_right_shift_(self, other: Operand) -> Self:
        """Write what ``bitwise_right_shift`` gives of the tensor into it; returns it."""
    def bitwise_xor(self, other: Operand) -> Tensor:
        """``x1 ^ x2``."""
    def bitwise_xor_(self, other: Operand) -> Self:
        """Write what ``bitwise_xor`` gives of the tensor into it; returns it."""
    def bmm(self, mat2: TensorLike) -> Tensor:
        """``matmul`` of two operands of rank 3."""
    def broadcast_to(self, size: int | Sequence[int]) -> Tensor:
        """``x`` repeated along new leading axes and along its axes of size 1, under NumPy's rules."""
    def byte(self) -> Tensor:
        """The tensor as uint8; itself if it is."""
    def cauchy_(self, median: float = 0.0, sigma: float = 1.0, *, generator: Generator | None = None) -> Self:
        """Fill the tensor with draws; see ``torch.Tensor.cauchy_``."""
    def ceil(self) -> Tensor:
        """The least whole number not below x."""
    def ceil_(self) -> Self:
        """Write what ``ceil`` gives of the tensor into it; returns it."""
    def char(self) -> Tensor:
        """The tensor as int8; itself if it is."""
    @overload
    def chunk(self, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
        """At most ``chunks`` consecutive parts of ``x`` of one size along ``axis``; the last may be smaller."""
    @overload
    def chunk(self, chunks: int, axis: int = 0) -> tuple[Tensor, ...]: ...
    def clamp(self, min: Operand | None = None, max: Operand | None = None) -> Tensor:
        """``x`` with what is below ``min`` or above ``max`` replaced by them: ``minimum(maximum(x, min), max)``."""
    def clamp_(self, min: Operand | None = None, max: Operand | None = None) -> Self:
        """Write what ``clamp`` gives of the tensor into it; returns it."""
    def clamp_max(self, max: Operand) -> Tensor:
        """``max`` where the element is above it."""
    def clamp_max_(self, max: Operand) -> Self:
        """Write what ``clamp_max`` gives of the tensor into it; returns it."""
    def clamp_min(self, min: Operand) -> Tensor:
        """``min`` where the element is below it."""
    def clamp_min_(self, min: Operand) -> Self:
        """Write what ``clamp_min`` gives of the tensor into it; returns it."""
    def clip(self, min: Operand | None = None, max: Operand | None = None) -> Tensor:
        """``x`` with what is below ``min`` or above ``max`` replaced by them: ``minimum(maximum(x, min), max)``."""
    def clip_(self, min: Operand | None = None, max: Operand | None = None) -> Self:
        """Write what ``clip`` gives of the tensor into it; returns it."""
    def clone(self) -> Tensor:
        """``x``, in memory of its own; gradients pass."""
    def contiguous(self, memory_format: Any = None) -> Tensor:
        """The tensor itself where its elements lie in row-major order without gaps, else a copy for which they do."""
    def copy_(self, other: Any, non_blocking: bool = False) -> Self:
        """Write the values of another, broadcast and cast to this tensor's type, into it; returns it."""
    def copysign(self, other: Operand) -> Tensor:
        """The magnitude of x1 with the sign of x2."""
    def copysign_(self, other: Operand) -> Self:
        """Write what ``copysign`` gives of the tensor into it; returns it."""
    def cos(self) -> Tensor:
        """The cosine of an angle in radians."""
    def cos_(self) -> Self:
        """Write what ``cos`` gives of the tensor into it; returns it."""
    def cosh(self) -> Tensor:
        """The hyperbolic cosine."""
    def cosh_(self) -> Self:
        """Write what ``cosh`` gives of the tensor into it; returns it."""
    @overload
    def count_nonzero(self, dim: int | Sequence[int] | None = None) -> Tensor:
        """The number of elements over axes that are not 0, as int64."""
    @overload
    def count_nonzero(self, axis: int | Sequence[int] | None = None) -> Tensor: ...
    def cpu(self) -> Tensor:
        """The tensor in the CPU's memory: itself if it is there, else a copy."""
    @overload
    def cumprod(self, dim: int | None = None, *, dtype: DTypeLike | None = None) -> Tensor:
        """The running product along an axis."""
    @overload
    def cumprod(self, axis: int | None = None, *, dtype: DTypeLike | None = None) -> Tensor: ...
    @overload
    def cumprod_(self, dim: int | None = None, *, dtype: DTypeLike | None = None) -> Self:
        """Write what ``cumprod`` gives of the tensor into it; returns it."""
    @overload
    def cumprod_(self, axis: int | None = None, *, dtype: DTypeLike | None = None) -> Self: ...
    @overload
    def cumsum(self, dim: int | None = None, *, dtype: DTypeLike | None = None) -> Tensor:
        """The running sum along an axis."""
    @overload
    def cumsum(self, axis: int | None = None, *, dtype: DTypeLike | None = None) -> Tensor: ...
    @overload
    def cumsum_(self, dim: int | None = None, *, dtype: DTypeLike | None = None) -> Self:
        """Write what ``cumsum`` gives of the tensor into it; returns it."""
    @overload
    def cumsum_(self, axis: int | None = None, *, dtype: DTypeLike | None = None) -> Self: ...
    def data_ptr(self) -> int:
        """The address of the first element; 0 where there is none."""
    def deg2rad(self) -> Tensor:
        """Degrees in radians."""
    def deg2rad_(self) -> Self:
        """Write what ``deg2rad`` gives of the tensor into it; returns it."""
    def detach_(self) -> Self:
        """Forget the tensor's history: it becomes a leaf that does not require grad."""
    def diagonal(self, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
        """The elements whose positions on the axes ``dim1`` and ``dim2`` differ by ``offset``; they become the last
        axis. (``wf.linalg.diagonal`` is of the last two axes.)
        """
    def dim(self) -> int:
        """The number of axes."""
    def div(self, other: Operand, *, rounding_mode: str | None = None) -> Tensor:
        """The quotient; with ``rounding_mode="floor"`` or ``"trunc"`` rounded down or toward zero, in PyTorch's dtype.
        """
    def div_(self, other: Operand, *, rounding_mode: str | None = None) -> Self:
        """Write what ``div`` gives of the tensor into it; returns it."""
    def divide(self, other: Operand, *, rounding_mode: str | None = None) -> Tensor:
        """The quotient; with ``rounding_mode="floor"`` or ``"trunc"`` rounded down or toward zero, in PyTorch's dtype.
        """
    def divide_(self, other: Operand, *, rounding_mode: str | None = None) -> Self:
        """Write what ``div`` gives of the tensor into it; returns it."""
    def dot(self, tensor: TensorLike) -> Tensor:
        """``matmul`` of two operands of rank 1."""
    def double(self) -> Tensor:
        """The tensor as float64; itself if it is."""
    def element_size(self) -> int:
        """Bytes of one element."""
    def eq(self, other: Operand) -> Tensor:
        """``x1 == x2``; false if one is NaN."""
    def eq_(self, other: Operand) -> Self:
        """Write what ``eq`` gives of the tensor into it; returns it."""
    def erf(self) -> Tensor:
        """The error function."""
    def erf_(self) -> Self:
        """Write what ``erf`` gives of the tensor into it; returns it."""
    def erfc(self) -> Tensor:
        """``1 - erf(x)``, also far out."""
    def erfc_(self) -> Self:
        """Write what ``erfc`` gives of the tensor into it; returns it."""
    def erfinv(self) -> Tensor:
        """The inverse of erf; infinite at -1 and 1, NaN beyond."""
    def erfinv_(self) -> Self:
        """Write what ``erfinv`` gives of the tensor into it; returns it."""
    def exp(self) -> Tensor:
        """``e ** x``."""
    def exp2(self) -> Tensor:
        """``2 ** x``."""
    def exp2_(self) -> Self:
        """Write what ``exp2`` gives of the tensor into it; returns it."""
    def exp_(self) -> Self:
        """Write what ``exp`` gives of the tensor into it; returns it."""
    @overload
    def expand(self, *size: int) -> Tensor:
        """Broadcast to a shape; -1 keeps an axis."""
    @overload
    def expand(self, size: Sequence[int]) -> Tensor: ...
    def expand_as(self, other: Tensor) -> Tensor:
        """Broadcast to the shape of another."""
    def expm1(self) -> Tensor:
        """``e ** x - 1``, exact near 0."""
    def expm1_(self) -> Self:
        """Write what ``expm1`` gives of the tensor into it; returns it."""
    def exponential_(self, lambd: float = 1.0, *, generator: Generator | None = None) -> Self:
        """Fill the tensor with draws; see ``torch.Tensor.exponential_``."""
    def fill_(self, value: float) -> Self:
        """Write ``value`` everywhere; returns the tensor."""
    def fill_diagonal_(self, fill_value: Any, wrap: bool = False) -> Self:
        """Write what ``fill_diagonal`` gives of the tensor into it; returns it."""
    def fix(self) -> Tensor:
        """The whole number next to x towards zero."""
    def fix_(self) -> Self:
        """Write what ``fix`` gives of the tensor into it; returns it."""
    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """The axes ``start_dim`` to ``end_dim`` as one; the tensor itself where they are one."""
    @overload
    def flip(self, *dims: int) -> Tensor:
        """Backwards along axes: ``x.flip(0, 1)``, ``x.flip((0, 1))``; along every axis without arguments."""
    @overload
    def flip(self, dims: Sequence[int]) -> Tensor: ...
    @overload
    def flip(self, *, axis: int | Sequence[int]) -> Tensor: ...
    def float_power(self, exponent: Operand) -> Tensor:
        """``input ** exponent`` in float64."""
    def float_power_(self, exponent: Operand) -> Self:
        """Write what ``float_power`` gives of the tensor into it; returns it."""
    def floor(self) -> Tensor:
        """The greatest whole number not above x."""
    def floor_(self) -> Self:
        """Write what ``floor`` gives of the tensor into it; returns it."""
    def floor_divide(self, other: Operand) -> Tensor:
        """``floor(x1 / x2)``; an integer divided by zero gives 0."""
    def floor_divide_(self, other: Operand) -> Self:
        """Write what ``floor_divide`` gives of the tensor into it; returns it."""
    def fmod(self, other: Operand) -> Tensor:
        """The remainder of a division rounded toward zero: it has the sign of ``input`` (``remainder``: the other's).
        """
    def fmod_(self, other: Operand) -> Self:
        """Write what ``fmod`` gives of the tensor into it; returns it."""
    def frac(self) -> Tensor:
        """What stands behind the point, with the number's sign."""
    def frac_(self) -> Self:
        """Write what ``frac`` gives of the tensor into it; returns it."""
    @overload
    def gather(self, dim: int, index: TensorLike) -> Tensor:
        """PyTorch's gather: the elements that ``index`` names along ``dim``, ``x[i, index[i, j]]`` for ``dim=1``."""
    @overload
    def gather(self, axis: int, index: TensorLike) -> Tensor: ...
    def ge(self, other: Operand) -> Tensor:
        """``x1 >= x2``; false if one is NaN."""
    def ge_(self, other: Operand) -> Self:
        """Write what ``ge`` gives of the tensor into it; returns it."""
    def gelu(self, approximate: str = "none") -> Tensor:
        """``x * P(N(0, 1) <= x)``."""
    def geometric_(self, p: float, *, generator: Generator | None = None) -> Self:
        """Fill the tensor with draws; see ``torch.Tensor.geometric_``."""
    def greater(self, other: Operand) -> Tensor:
        """``x1 > x2``; false if one is NaN."""
    def greater_(self, other: Operand) -> Self:
        """Write what ``greater`` gives of the tensor into it; returns it."""
    def greater_equal(self, other: Operand) -> Tensor:
        """``x1 >= x2``; false if one is NaN."""
    def greater_equal_(self, other: Operand) -> Self:
        """Write what ``greater_equal`` gives of the tensor into it; returns it."""
    def gt(self, other: Operand) -> Tensor:
        """``x1 > x2``; false if one is NaN."""
    def gt_(self, other: Operand) -> Self:
        """Write what ``gt`` gives of the tensor into it; returns it."""
    def half(self) -> Tensor:
        """The tensor as float16; itself if it is."""
    def hypot(self, other: Operand) -> Tensor:
        """``sqrt(x1**2 + x2**2)`` without overflow."""
    def hypot_(self, other: Operand) -> Self:
        """Write what ``hypot`` gives of the tensor into it; returns it."""
    def index_add(self, dim: int, index: TensorLike, source: TensorLike, *, alpha: Operand = 1) -> Tensor:
        """``input`` with ``alpha * source`` added to its slices along ``dim`` that ``index`` names."""
    def index_add_(self, dim: int, index: TensorLike, source: TensorLike, *, alpha: Operand = 1) -> Self:
        """Write what ``index_add`` gives of the tensor into it; returns it."""
    def index_copy(self, dim: int, index: TensorLike, source: TensorLike) -> Tensor:
        """``input`` with the slices along ``dim`` that ``index`` names replaced by ``source``'s; see :func:`index_add`.
        """
    def index_copy_(self, dim: int, index: TensorLike, source: TensorLike) -> Self:
        """Write what ``index_copy`` gives of the tensor into it; returns it."""
    def index_fill(self, dim: int, index: TensorLike, value: Any) -> Tensor:
        """``input`` with ``value`` in the slices along ``dim`` that ``index`` names."""
    def index_fill_(self, dim: int, index: TensorLike, value: Any) -> Self:
        """Write what ``index_fill`` gives of the tensor into it; returns it."""
    def index_put(self, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
        """The tensor with ``values`` in the place of ``x[indices]``, or added there."""
    def index_put_(self, indices: Any, values: Tensor, accumulate: bool = False) -> Self:
        """``x[indices] = values``; ``accumulate``: ``+=``, for every time that a place is named."""
    def index_select(self, dim: int, index: TensorLike) -> Tensor:
        """The slices along ``dim`` that ``index`` (rank 0 or 1) names."""
    def is_complex(self) -> bool:
        """False: there are no complex numbers."""
    def is_contiguous(self, memory_format: Any = None) -> bool:
        """Whether the elements lie in row-major order without gaps."""
    def is_floating_point(self) -> bool:
        """Whether the elements are floating-point numbers."""
    def is_signed(self) -> bool:
        """Whether the dtype has negative numbers."""
    def isfinite(self) -> Tensor:
        """True for what is neither infinite nor NaN."""
    def isinf(self) -> Tensor:
        """True for the infinities."""
    def isnan(self) -> Tensor:
        """True for NaN."""
    def ldexp(self, other: TensorLike) -> Tensor:
        """``input * 2 ** other``."""
    def ldexp_(self, other: TensorLike) -> Self:
        """Write what ``ldexp`` gives of the tensor into it; returns it."""
    def le(self, other: Operand) -> Tensor:
        """``x1 <= x2``; false if one is NaN."""
    def le_(self, other: Operand) -> Self:
        """Write what ``le`` gives of the tensor into it; returns it."""
    def lerp(self, end: TensorLike, weight: Operand) -> Tensor:
        """``input + weight * (end - input)``, from the end that is nearer: with weight 1 it is ``end`` itself."""
    def lerp_(self, end: TensorLike, weight: Operand) -> Self:
        """Write what ``lerp`` gives of the tensor into it; returns it."""
    def less(self, other: Operand) -> Tensor:
        """``x1 < x2``; false if one is NaN."""
    def less_(self, other: Operand) -> Self:
        """Write what ``less`` gives of the tensor into it; returns it."""
    def less_equal(self, other: Operand) -> Tensor:
        """``x1 <= x2``; false if one is NaN."""
    def less_equal_(self, other: Operand) -> Self:
        """Write what ``less_equal`` gives of the tensor into it; returns it."""
    def log(self) -> Tensor:
        """The natural logarithm; -inf at 0, NaN below."""
    def log10(self) -> Tensor:
        """The logarithm to base 10."""
    def log10_(self) -> Self:
        """Write what ``log10`` gives of the tensor into it; returns it."""
    def log1p(self) -> Tensor:
        """``log(1 + x)``, exact near 0."""
    def log1p_(self) -> Self:
        """Write what ``log1p`` gives of the tensor into it; returns it."""
    def log2(self) -> Tensor:
        """The logarithm to base 2."""
    def log2_(self) -> Self:
        """Write what ``log2`` gives of the tensor into it; returns it."""
    def log_(self) -> Self:
        """Write what ``log`` gives of the tensor into it; returns it."""
    def log_normal_(self, mean: float = 1.0, std: float = 2.0, *, generator: Generator | None = None) -> Self:
        """Fill the tensor with draws; see ``torch.Tensor.log_normal_``."""
    def log_softmax(self, dim: int = -1, dtype: DTypeLike | None = None, *, axis: int | None = None) -> Tensor:
        """``log(softmax(x))`` along one axis, accurate where softmax underflows."""
    def logaddexp(self, other: Operand) -> Tensor:
        """``log(exp(x1) + exp(x2))``."""
    def logical_and(self, other: Operand) -> Tensor:
        """True where both are."""
    def logical_and_(self, other: Operand) -> Self:
        """Write what ``logical_and`` gives of the tensor into it; returns it."""
    def logical_not(self) -> Tensor:
        """True where x is not."""
    def logical_not_(self) -> Self:
        """Write what ``logical_not`` gives of the tensor into it; returns it."""
    def logical_or(self, other: Operand) -> Tensor:
        """True where one is."""
    def logical_or_(self, other: Operand) -> Self:
        """Write what ``logical_or`` gives of the tensor into it; returns it."""
    def logical_xor(self, other: Operand) -> Tensor:
        """True where exactly one is."""
    def logical_xor_(self, other: Operand) -> Self:
        """Write what ``logical_xor`` gives of the tensor into it; returns it."""
    def logit(self, eps: float | None = None) -> Tensor:
        """``log(x / (1 - x))``, the inverse of the sigmoid; ``eps``: of ``x`` cut to ``[eps, 1 - eps]`` first."""
    def logit_(self, eps: float | None = None) -> Self:
        """Write what ``logit`` gives of the tensor into it; returns it."""
    @overload
    def logsumexp(self, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Tensor:
        """``log(sum(exp(x)))`` over axes, without overflow; -inf over no elements."""
    @overload
    def logsumexp(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor: ...
    def long(self) -> Tensor:
        """The tensor as int64; itself if it is."""
    def lt(self, other: Operand) -> Tensor:
        """``x1 < x2``; false if one is NaN."""
    def lt_(self, other: Operand) -> Self:
        """Write what ``lt`` gives of the tensor into it; returns it."""
    @property
    def mT(self) -> Tensor:
        """The last two axes exchanged."""
    def masked_fill(self, mask: TensorLike, value: Any) -> Tensor:
        """``value`` where ``mask`` is True, else the element; the dtype stays."""
    def masked_fill_(self, mask: TensorLike, value: Any) -> Self:
        """Write what ``masked_fill`` gives of the tensor into it; returns it."""
    def masked_scatter(self, mask: TensorLike, source: TensorLike) -> Tensor:
        """``input`` with the elements of ``source``, in their order, where ``mask`` is True."""
    def masked_scatter_(self, mask: TensorLike, source: TensorLike) -> Self:
        """Write what ``masked_scatter`` gives of the tensor into it; returns it."""
    def masked_select(self, mask: Tensor) -> Tensor:
        """The elements where the mask is True, as a vector; both are broadcast to a common shape."""
    def matmul(self, other: TensorLike) -> Tensor:
        """The matrix product ``x1 @ x2``."""
    @overload
    def max(self, dim: int, keepdim: bool = False) -> Extreme:
        """The greatest element over axes; NaN where there is one."""
    @overload
    def max(self, dim: None = None, keepdim: bool = False) -> Tensor: ...
    @overload
    def max(self, other: TensorLike) -> Tensor: ...
    @overload
    def max(self, *, axis: int | Sequence[int] | None, keepdims: bool = False) -> Tensor: ...
    def maximum(self, other: Operand) -> Tensor:
        """The greater of two values; NaN if one is, 0.0 of 0.0 and -0.0."""
    @overload
    def mean(
        self, dim: int | Sequence[int] | None = None, keepdim: bool = False, *, dtype: DTypeLike | None = None
    ) -> Tensor:
        """The arithmetic mean over axes: the sum divided by the number of elements; NaN over none."""
    @overload
    def mean(
        self, axis: int | Sequence[int] | None = None, keepdims: bool = False, *, dtype: DTypeLike | None = None
    ) -> Tensor: ...
    @overload
    def min(self, dim: int, keepdim: bool = False) -> Extreme:
        """The least element over axes; NaN where there is one."""
    @overload
    def min(self, dim: None = None, keepdim: bool = False) -> Tensor: ...
    @overload
    def min(self, other: TensorLike) -> Tensor: ...
    @overload
    def min(self, *, axis: int | Sequence[int] | None, keepdims: bool = False) -> Tensor: ...
    def minimum(self, other: Operand) -> Tensor:
        """The smaller of two values; NaN if one is, -0.0 of 0.0 and -0.0."""
    def mm(self, mat2: TensorLike) -> Tensor:
        """``matmul`` of two operands of rank 2."""
    def moveaxis(self, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
        """``x`` with the axes ``source`` moved to the positions ``destination``; the others keep their order."""
    def movedim(self, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
        """``x`` with the axes ``source`` moved to the positions ``destination``; the others keep their order."""
    def msort(self) -> Tensor:
        """The elements along the first axis in ascending order."""
    def mul(self, other: Operand) -> Tensor:
        """``x1 * x2``; integers wrap."""
    def mul_(self, other: Operand) -> Self:
        """Write what ``mul`` gives of the tensor into it; returns it."""
    def multinomial(self, num_samples: int, replacement: bool = False, *, generator: Generator | None = None) -> Tensor:
        """Categories, drawn with probabilities that are proportional to ``input``."""
    def multiply(self, other: Operand) -> Tensor:
        """``x1 * x2``; integers wrap."""
    def multiply_(self, other: Operand) -> Self:
        """Write what ``mul`` gives of the tensor into it; returns it."""
    def mv(self, vec: TensorLike) -> Tensor:
        """``matmul`` of two operands of rank 2 and rank 1."""
    def nan_to_num(self, nan: float | None = None, posinf: float | None = None, neginf: float | None = None) -> Tensor:
        """Numbers in place of NaN and the infinities."""
    def nan_to_num_(self, nan: float | None = None, posinf: float | None = None, neginf: float | None = None) -> Self:
        """Write what ``nan_to_num`` gives of the tensor into it; returns it."""
    def narrow(self, dim: int, start: int, length: int) -> Tensor:
        """``length`` elements along the axis ``dim``, from ``start`` on."""
    def ndimension(self) -> int:
        """The number of axes."""
    def ne(self, other: Operand) -> Tensor:
        """``x1 != x2``; true if one is NaN."""
    def ne_(self, other: Operand) -> Self:
        """Write what ``ne`` gives of the tensor into it; returns it."""
    def neg(self) -> Tensor:
        """``-x``; unsigned integers wrap."""
    def neg_(self) -> Self:
        """Write what ``neg`` gives of the tensor into it; returns it."""
    def negative(self) -> Tensor:
        """``-x``; unsigned integers wrap."""
    def negative_(self) -> Self:
        """Write what ``negative`` gives of the tensor into it; returns it."""
    def nelement(self) -> int:
        """The number of elements."""
    @overload
    def new_empty(
        self, *size: int, dtype: DTypeLike | None = None, device: Any = None, requires_grad: bool = False
    ) -> Tensor:
        """``wf.empty`` with this tensor's dtype, on its device."""
    @overload
    def new_empty(
        self, size: Sequence[int], *, dtype: DTypeLike | None = None, device: Any = None, requires_grad: bool = False
    ) -> Tensor: ...
    def new_full(
        self,
        size: int | Sequence[int],
        fill_value: float,
        *,
        dtype: DTypeLike | None = None,
        device: Any = None,
        requires_grad: bool = False,
    ) -> Tensor:
        """``wf.full`` with this tensor's dtype, on its device."""
    @overload
    def new_ones(
        self, *size: int, dtype: DTypeLike | None = None, device: Any = None, requires_grad: bool = False
    ) -> Tensor:
        """``wf.ones`` with this tensor's dtype, on its device."""
    @overload
    def new_ones(
        self, size: Sequence[int], *, dtype: DTypeLike | None = None, device: Any = None, requires_grad: bool = False
    ) -> Tensor: ...
    def new_tensor(
        self, data: Any, *, dtype: DTypeLike | None = None, device: Any = None, requires_grad: bool = False
    ) -> Tensor:
        """``wf.tensor`` with this tensor's dtype, on its device: a copy of ``data`` without history."""
    @overload
    def new_zeros(
        self, *size: int, dtype: DTypeLike | None = None, device: Any = None, requires_grad: bool = False
    ) -> Tensor:
        """``wf.zeros`` with this tensor's dtype, on its device."""
    @overload
    def new_zeros(
        self, size: Sequence[int], *, dtype: DTypeLike | None = None, device: Any = None, requires_grad: bool = False
    ) -> Tensor: ...
    def nextafter(self, other: Operand) -> Tensor:
        """The value next to x1 in the direction of x2."""
    def nextafter_(self, other: Operand) -> Self:
        """Write what ``nextafter`` gives of the tensor into it; returns it."""
    @overload
    def nonzero(self, *, as_tuple: Literal[False] = False) -> Tensor:
        """The positions of the elements that are not 0, in row-major order: a row of int64 for each, of shape (n,
        ndim); with ``as_tuple`` a vector for each axis, as ``wf.nonzero`` gives them.
        """
    @overload
    def nonzero(self, *, as_tuple: Literal[True]) -> tuple[Tensor, ...]: ...
    @overload
    def norm(
        self,
        p: float | str | None = None,
        dim: int | Sequence[int] | None = None,
        keepdim: bool = False,
        dtype: DTypeLike | None = None,
    ) -> Tensor:
        """The vector norm of order ``p`` over the axes ``dim`` (all of them by default), computed in ``dtype``."""
    @overload
    def norm(
        self,
        p: float | str | None = None,
        axis: int | Sequence[int] | None = None,
        keepdims: bool = False,
        dtype: DTypeLike | None = None,
    ) -> Tensor: ...
    def normal_(self, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None) -> Self:
        """Fill the tensor with draws; see ``torch.Tensor.normal_``."""
    def not_equal(self, other: Operand) -> Tensor:
        """``x1 != x2``; true if one is NaN."""
    def not_equal_(self, other: Operand) -> Self:
        """Write what ``not_equal`` gives of the tensor into it; returns it."""
    def numel(self) -> int:
        """The number of elements."""
    def outer(self, vec2: TensorLike) -> Tensor:
        """The product of each element of one vector with each of another."""
    @overload
    def permute(self, *dims: int) -> Tensor:
        """The axes in another order."""
    @overload
    def permute(self, dims: Sequence[int]) -> Tensor: ...
    @overload
    def permute(self, *, axis: int | Sequence[int]) -> Tensor: ...
    def positive(self) -> Tensor:
        """``x`` itself."""
    def pow(self, exponent: Operand) -> Tensor:
        """``x1 ** x2``."""
    def pow_(self, exponent: Operand) -> Self:
        """Write what ``pow`` gives of the tensor into it; returns it."""
    @overload
    def prod(
        self, dim: int | Sequence[int] | None = None, keepdim: bool = False, *, dtype: DTypeLike | None = None
    ) -> Tensor:
        """The product over axes; 1 over no elements."""
    @overload
    def prod(
        self, axis: int | Sequence[int] | None = None, keepdims: bool = False, *, dtype: DTypeLike | None = None
    ) -> Tensor: ...
    def put(self, index: TensorLike, source: TensorLike, accumulate: bool = False) -> Tensor:
        """``input``, as if flattened, with the elements of ``source`` at ``index``; negative ones count from the end.
        """
    def put_(self, index: TensorLike, source: TensorLike, accumulate: bool = False) -> Self:
        """Write what ``put`` gives of the tensor into it; returns it."""
    def rad2deg(self) -> Tensor:
        """Radians in degrees."""
    def rad2deg_(self) -> Self:
        """Write what ``rad2deg`` gives of the tensor into it; returns it."""
    @overload
    def random_(self, *, generator: Generator | None = None) -> Self:
        """Fill the tensor with integers of [from, to), all equally likely."""
    @overload
    def random_(self, to: int, /, *, generator: Generator | None = None) -> Self: ...
    @overload
    def random_(self, from_: int, /, to: int | None, *, generator: Generator | None = None) -> Self: ...
    def ravel(self) -> Tensor:
        """The elements in row-major order as one axis: a view of a contiguous tensor, a copy of any other."""
    def reciprocal(self) -> Tensor:
        """``1 / x``."""
    def reciprocal_(self) -> Self:
        """Write what ``reciprocal`` gives of the tensor into it; returns it."""
    def register_hook(self, hook: Callable[[Tensor], Any]) -> RemovableHandle:
        """Call ``hook(gradient)`` whenever the gradient of this tensor has been computed: all of it, summed over the
        uses of the tensor.
        """
    def register_post_accumulate_grad_hook(self, hook: Callable[[Tensor], None]) -> RemovableHandle:
        """Call ``hook(tensor)`` whenever a gradient has been added to this leaf's ``grad``."""
    def relu(self) -> Tensor:
        """``max(0, x)``; NaN stays NaN, and the gradient at 0 is 0."""
    def relu_(self) -> Self:
        """Write what ``relu`` gives of the tensor into it; returns it."""
    def remainder(self, other: Operand) -> Tensor:
        """``x1 - floor(x1 / x2) * x2``, of the sign of x2 like Python's ``%``; an integer modulo zero is 0."""
    def remainder_(self, other: Operand) -> Self:
        """Write what ``remainder`` gives of the tensor into it; returns it."""
    @overload
    def repeat(self, *repeats: int) -> Tensor:
        """PyTorch's repeat: the tensor as a whole, so many times along each axis (NumPy's ``tile``)."""
    @overload
    def repeat(self, repeats: Sequence[int]) -> Tensor: ...
    @overload
    def repeat_interleave(self, repeats: TensorLike | int, dim: int | None = None) -> Tensor:
        """Each element ``repeats`` times, one after another, along ``dim``; without it, of the flattened tensor."""
    @overload
    def repeat_interleave(self, repeats: TensorLike | int, axis: int | None = None) -> Tensor: ...
    @overload
    def reshape(self, *shape: int) -> Tensor:
        """The elements in row-major order under another shape; one size may be -1."""
    @overload
    def reshape(self, shape: Sequence[int]) -> Tensor: ...
    def reshape_as(self, other: Tensor) -> Tensor:
        """The elements under the shape of another."""
    def retain_grad(self) -> None:
        """Let backward() keep the gradient of this result of recorded calls in its ``grad``, as leaves have it."""
    @property
    def retains_grad(self) -> bool:
        """Whether backward() keeps the gradient of this result of recorded calls; False for leaves."""
    def roll(self, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None) -> Tensor:
        """The elements moved by ``shifts`` along the axes ``dims``, around the ends; without axes, as if flattened."""
    def round(self, *, decimals: int = 0) -> Tensor:
        """The nearest whole number, or number with so many decimals; halves to even."""
    def round_(self, *, decimals: int = 0) -> Self:
        """Write what ``round`` gives of the tensor into it; returns it."""
    def rsqrt(self) -> Tensor:
        """``1 / sqrt(x)``."""
    def rsqrt_(self) -> Self:
        """Write what ``rsqrt`` gives of the tensor into it; returns it."""
    def scatter(
        self, dim: int, index: TensorLike, src: Any = None, *, value: Any = None, reduce: str | None = None
    ) -> Tensor:
        """PyTorch's scatter: ``input`` with ``src[i, j]`` at ``[i, index[i, j]]`` for ``dim=1``, and so on; the inverse
        of :func:`gather`.
        """
    def scatter_(
        self, dim: int, index: TensorLike, src: Any = None, *, value: Any = None, reduce: str | None = None
    ) -> Self:
        """Write what ``scatter`` gives of the tensor into it; returns it."""
    def scatter_add(self, dim: int, index: TensorLike, src: TensorLike) -> Tensor:
        """As :func:`scatter`, added to what is there. (``wf.scatter_add`` is the inverse of ``take``.)"""
    def scatter_add_(self, dim: int, index: TensorLike, src: TensorLike) -> Self:
        """Write what ``scatter_add`` gives of the tensor into it; returns it."""
    def scatter_reduce(
        self, dim: int, index: TensorLike, src: TensorLike, reduce: str, *, include_self: bool = True
    ) -> Tensor:
        """As :func:`scatter_add`; without ``include_self`` what was in a place that is written does not count."""
    def scatter_reduce_(
        self, dim: int, index: TensorLike, src: TensorLike, reduce: str, *, include_self: bool = True
    ) -> Self:
        """Write what ``scatter_reduce`` gives of the tensor into it; returns it."""
    def select(self, dim: int, index: int) -> Tensor:
        """The elements at ``index`` of the axis ``dim``, which the result no longer has."""
    def sgn(self) -> Tensor:
        """-1, 0 or 1; NaN of NaN."""
    def sgn_(self) -> Self:
        """Write what ``sgn`` gives of the tensor into it; returns it."""
    def short(self) -> Tensor:
        """The tensor as int16; itself if it is."""
    def sigmoid(self) -> Tensor:
        """``1 / (1 + exp(-x))``."""
    def sigmoid_(self) -> Self:
        """Write what ``sigmoid`` gives of the tensor into it; returns it."""
    def sign(self) -> Tensor:
        """-1, 0 or 1; NaN of NaN."""
    def sign_(self) -> Self:
        """Write what ``sign`` gives of the tensor into it; returns it."""
    def signbit(self) -> Tensor:
        """True where the sign bit is set: below zero, -0.0, -NaN."""
    def sin(self) -> Tensor:
        """The sine of an angle in radians."""
    def sin_(self) -> Self:
        """Write what ``sin`` gives of the tensor into it; returns it."""
    def sinc(self) -> Tensor:
        """``sin(pi x) / (pi x)``; 1 at 0."""
    def sinc_(self) -> Self:
        """Write what ``sinc`` gives of the tensor into it; returns it."""
    def sinh(self) -> Tensor:
        """The hyperbolic sine."""
    def sinh_(self) -> Self:
        """Write what ``sinh`` gives of the tensor into it; returns it."""
    def softmax(self, dim: int = -1, dtype: DTypeLike | None = None, *, axis: int | None = None) -> Tensor:
        """``exp(x) / sum(exp(x))`` along one axis: positive, summing to 1; one kernel a row."""
    @overload
    def sort(self, dim: int = -1, descending: bool = False, stable: bool = False) -> Ordered:
        """The elements along ``dim`` in order, and their positions; equal elements stay in their order."""
    @overload
    def sort(self, axis: int = -1, descending: bool = False, stable: bool = False) -> Ordered: ...
    @overload
    def split(self, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
        """Consecutive parts of ``x`` along ``axis``, as PyTorch cuts them."""
    @overload
    def split(self, split_size_or_sections: int | Sequence[int], axis: int = 0) -> tuple[Tensor, ...]: ...
    def sqrt(self) -> Tensor:
        """The square root, correctly rounded."""
    def sqrt_(self) -> Self:
        """Write what ``sqrt`` gives of the tensor into it; returns it."""
    def square(self) -> Tensor:
        """``x * x``."""
    def square_(self) -> Self:
        """Write what ``square`` gives of the tensor into it; returns it."""
    @overload
    def squeeze(self, dim: int | Sequence[int] | None = None) -> Tensor:
        """Without axes of size 1: all of them, or those of ``dim`` that have this size, as in PyTorch."""
    @overload
    def squeeze(self, axis: int | Sequence[int] | None = None) -> Tensor: ...
    @overload
    def squeeze_(self, dim: int | Sequence[int] | None = None) -> Self:
        """Make the tensor look as ``squeeze`` shows it; returns it."""
    @overload
    def squeeze_(self, axis: int | Sequence[int] | None = None) -> Self: ...
    @overload
    def std(
        self,
        dim: int | Sequence[int] | None = None,
        unbiased: bool = True,
        keepdim: bool = False,
        *,
        correction: float | None = None,
        dtype: DTypeLike | None = None,
    ) -> Tensor:
        """The standard deviation over axes: the square root of :func:`var`, whose arguments it takes."""
    @overload
    def std(
        self,
        axis: int | Sequence[int] | None = None,
        unbiased: bool = True,
        keepdims: bool = False,
        *,
        ddof: float | None = None,
        dtype: DTypeLike | None = None,
    ) -> Tensor: ...
    def storage_offset(self) -> int:
        """Elements from the beginning of the memory that the tensor shares to its first one."""
    @overload
    def stride(self, dim: None = None) -> tuple[int, ...]:
        """Steps from one element to the next, in elements: of every axis, or of one."""
    @overload
    def stride(self, dim: int) -> int: ...
    def sub(self, other: Operand, *, alpha: float = 1) -> Tensor:
        """``x1 - x2``; integers wrap."""
    def sub_(self, other: Operand, *, alpha: float = 1) -> Self:
        """Write what ``sub`` gives of the tensor into it; returns it."""
    def subtract(self, other: Operand, *, alpha: float = 1) -> Tensor:
        """``x1 - x2``; integers wrap."""
    def subtract_(self, other: Operand, *, alpha: float = 1) -> Self:
        """Write what ``sub`` gives of the tensor into it; returns it."""
    @overload
    def sum(
        self, dim: int | Sequence[int] | None = None, keepdim: bool = False, *, dtype: DTypeLike | None = None
    ) -> Tensor:
        """The sum over axes; 0 over no elements."""
    @overload
    def sum(
        self, axis: int | Sequence[int] | None = None, keepdims: bool = False, *, dtype: DTypeLike | None = None
    ) -> Tensor: ...
    def swapaxes(self, axis0: int, axis1: int) -> Tensor:
        """``x`` with two axes exchanged."""
    def swapaxes_(self, axis0: int, axis1: int) -> Self:
        """Make the tensor look as ``swapaxes`` shows it; returns it."""
    def swapdims(self, dim0: int, dim1: int) -> Tensor:
        """``x`` with two axes exchanged."""
    def swapdims_(self, dim0: int, dim1: int) -> Self:
        """Make the tensor look as ``swapdims`` shows it; returns it."""
    def t(self) -> Tensor:
        """A matrix transposed; a vector or a number is itself."""
    def t_(self) -> Self:
        """Make the tensor look as ``t`` shows it; returns it."""
    @overload
    def take(self, index: TensorLike, *, dim: int | None = None) -> Tensor:
        """The elements of the flattened tensor that ``index`` names; along ``dim``, as NumPy's ``take`` has it, slices.
        """
    @overload
    def take(self, index: TensorLike, *, axis: int | None = None) -> Tensor: ...
    def take_along_axis(self, indices: TensorLike, /, *, axis: int = -1) -> Tensor:
        """``x[i, indices[i, j], ...]``: on ``axis`` the position that ``indices`` says, on the others the same."""
    def tan(self) -> Tensor:
        """The tangent of an angle in radians."""
    def tan_(self) -> Self:
        """Write what ``tan`` gives of the tensor into it; returns it."""
    def tanh(self) -> Tensor:
        """The hyperbolic tangent."""
    def tanh_(self) -> Self:
        """Write what ``tanh`` gives of the tensor into it; returns it."""
    @overload
    def tile(self, *dims: int) -> Tensor:
        """The tensor as a whole, so many times along each of the last axes; along new ones in front, where there are
        more numbers than axes.
        """
    @overload
    def tile(self, dims: Sequence[int]) -> Tensor: ...
    @overload
    def tile(self, *, axis: int | Sequence[int]) -> Tensor: ...
    @overload
    def to(self, dtype: DTypeLike, non_blocking: bool = False, copy: bool = False) -> Tensor:
        """The tensor with another dtype (an object, a name, another tensor's) or on another device, as PyTorch's
        ``to``: ``(dtype)``, ``(tensor)`` or ``(device, dtype)``, and ``non_blocking`` (which makes no difference) and
        ``copy`` behind it.
        """
    @overload
    def to(self, other: Tensor, /, non_blocking: bool = False, copy: bool = False) -> Tensor: ...
    @overload
    def to(
        self, device: Any = None, dtype: DTypeLike | None = None, non_blocking: bool = False, copy: bool = False
    ) -> Tensor: ...
    @overload
    def topk(self, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Ordered:
        """The ``k`` greatest (``largest=False``: least) elements along ``dim``, in order, and their positions."""
    @overload
    def topk(self, k: int, axis: int = -1, largest: bool = True, sorted: bool = True) -> Ordered: ...
    def trace(self) -> Tensor:
        """The sum of the diagonal of a matrix."""
    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Two axes exchanged."""
    def transpose_(self, dim0: int, dim1: int) -> Self:
        """Make the tensor look as ``transpose`` shows it; returns it."""
    def tril(self, diagonal: int = 0) -> Tensor:
        """``x`` (..., m, n) with zeros above the ``k``-th diagonal."""
    def tril_(self, diagonal: int = 0) -> Self:
        """Write what ``tril`` gives of the tensor into it; returns it."""
    def triu(self, diagonal: int = 0) -> Tensor:
        """``x`` (..., m, n) with zeros below the ``k``-th diagonal."""
    def triu_(self, diagonal: int = 0) -> Self:
        """Write what ``triu`` gives of the tensor into it; returns it."""
    def true_divide(self, other: Operand, *, rounding_mode: str | None = None) -> Tensor:
        """The quotient; with ``rounding_mode="floor"`` or ``"trunc"`` rounded down or toward zero, in PyTorch's dtype.
        """
    def true_divide_(self, other: Operand, *, rounding_mode: str | None = None) -> Self:
        """Write what ``div`` gives of the tensor into it; returns it."""
    def trunc(self) -> Tensor:
        """The whole number next to x towards zero."""
    def trunc_(self) -> Self:
        """Write what ``trunc`` gives of the tensor into it; returns it."""
    def type_as(self, other: Tensor) -> Tensor:
        """The tensor with the dtype of another, on its device."""
    @overload
    def unbind(self, dim: int = 0) -> tuple[Tensor, ...]:
        """The slices of ``x`` along ``axis``, which they no longer have."""
    @overload
    def unbind(self, axis: int = 0) -> tuple[Tensor, ...]: ...
    def unflatten(self, dim: int, sizes: Sequence[int]) -> Tensor:
        """The axis ``dim`` as several of the ``sizes``, of which one may be -1."""
    def unfold(self, dimension: int, size: int, step: int) -> Tensor:
        """All windows of ``size`` elements along the axis ``dimension``, ``step`` apart."""
    def uniform_(self, from_: float = 0.0, /, to: float = 1.0, *, generator: Generator | None = None) -> Self:
        """Fill the tensor with draws; see ``torch.Tensor.uniform_``."""
    @overload
    def unsqueeze(self, dim: int) -> Tensor:
        """With a new axis of size 1 at position ``dim`` of the result."""
    @overload
    def unsqueeze(self, axis: int) -> Tensor: ...
    @overload
    def unsqueeze_(self, dim: int) -> Self:
        """Make the tensor look as ``unsqueeze`` shows it; returns it."""
    @overload
    def unsqueeze_(self, axis: int) -> Self: ...
    @overload
    def unstack(self, dim: int = 0) -> tuple[Tensor, ...]:
        """The slices of ``x`` along ``axis``, which they no longer have."""
    @overload
    def unstack(self, axis: int = 0) -> tuple[Tensor, ...]: ...
    @overload
    def var(
        self,
        dim: int | Sequence[int] | None = None,
        unbiased: bool = True,
        keepdim: bool = False,
        *,
        correction: float | None = None,
        dtype: DTypeLike | None = None,
    ) -> Tensor:
        """The variance over axes: the mean square deviation from the mean."""
    @overload
    def var(
        self,
        axis: int | Sequence[int] | None = None,
        unbiased: bool = True,
        keepdims: bool = False,
        *,
        ddof: float | None = None,
        dtype: DTypeLike | None = None,
    ) -> Tensor: ...
    @overload
    def view(self, *shape: int) -> Tensor:
        """The same memory under another shape; one size may be -1."""
    @overload
    def view(self, shape: Sequence[int]) -> Tensor: ...
    def view_as(self, other: Tensor) -> Tensor:
        """The elements under the shape of another."""
    def where(self, condition: Tensor, other: Any) -> Tensor:
        """The element where ``condition`` is True, else ``other``."""
    def xlogy(self, other: Operand) -> Tensor:
        """``input * log(other)``; 0 where ``input`` is 0 (NaN where ``other`` is)."""
    def xlogy_(self, other: Operand) -> Self:
        """Write what ``xlogy`` gives of the tensor into it; returns it."""
    def zero_(self) -> Self:
        """Write 0 everywhere; returns the tensor."""
