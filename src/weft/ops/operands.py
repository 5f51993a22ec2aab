"""Operands: the dtypes an op takes, Python numbers, promotion and broadcasting.

What the public functions do before they apply a strict primitive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..core import dtypes as dt
from ..core.dtypes import DType
from ..core.errors import ArgumentError, DTypeError
from ..core.shapes import broadcast_shapes, shown
from ..core.symbolic import Dim, SymDim, undecided
from .op import Array, apply


@dataclass(frozen=True, slots=True)
class Domain:
    """The dtypes an op computes in, and what becomes of the others: see :meth:`resolve`."""

    text: str
    kinds: tuple[str, ...]
    converts: DType | None = None  # what dtypes outside ``kinds`` become; None: they are an error
    hint: str = ""

    def resolve(self, name: str, dtype: DType) -> DType:
        """The dtype in which op ``name`` computes operands of ``dtype``.

        Raises:
            DTypeError: the op has no meaning for it.
        """
        if dtype.kind in self.kinds:
            return dtype
        if self.converts is None:
            raise DTypeError(f"{name}: {dtype.name} operands: wants {self.text}{self.hint}")
        return self.converts


FLOAT = Domain("a floating-point dtype; integers and bools are converted to float32", ("float",), dt.default_float)
REAL = Domain(
    "an integer or floating-point dtype", ("int", "uint", "float"), hint="; cast them, or use the logical_ functions"
)
INTEGER = Domain("an integer dtype", ("int", "uint"))
BITS = Domain("an integer dtype or bool", ("int", "uint", "bool"))
BOOL = Domain("any dtype; what is not bool is compared with 0", ("bool",), dt.bool_)
ANY = Domain("any dtype", ("bool", "int", "uint", "float"))


class Late:
    """A Python number that is known when the graph runs: ``isinstance(n, float)`` holds, and as an operand it is as
    weakly typed as any other."""

    __slots__ = ("_tensor",)

    def __init__(self, tensor: Any):
        self._tensor = tensor

    @property
    def tensor(self) -> Any:
        """Its value, of rank 0."""
        return self._tensor

    @property
    def is_abroad(self) -> bool:
        """Whether another thread than that which captures has come across it, to which it is the plain number."""
        raise NotImplementedError

    def plain(self) -> Any:
        """The number itself, for another thread."""
        raise NotImplementedError

    def with_tensor(self, tensor: Any) -> Late:
        """Such a number with another value."""
        raise NotImplementedError

    def operand(self, dtype: DType) -> Array:
        """It as a tensor of rank 0, rounded as the number would be."""
        raise NotImplementedError

    def check_fits(self, name: str, dtype: DType) -> None:
        """Raise, at a run, what op ``name`` raises for an integer that its integer dtype does not hold."""
        raise NotImplementedError


class Abroad(Exception):
    """A number that another thread's capture has stored is among the arguments."""


def at_home(value: Any) -> Any:
    """Arguments with the numbers themselves for those that another thread's capture has stored."""
    if isinstance(value, Late):
        return value.plain() if value.is_abroad else value
    if isinstance(value, tuple):
        found = tuple(map(at_home, value))
        return type(value)._make(found) if hasattr(value, "_make") else found
    if isinstance(value, list):
        return list(map(at_home, value))
    if isinstance(value, slice):
        return slice(at_home(value.start), at_home(value.stop), at_home(value.step))
    return {k: at_home(v) for k, v in value.items()} if isinstance(value, dict) else value


def is_number(x: Any) -> bool:
    """True for a Python number or a symbolic size: weakly typed."""
    return isinstance(x, (bool, int, float, SymDim))


def _with_number(dtype: DType | None, number: Any) -> DType:
    """The common dtype of ``dtype`` (None: nothing yet) and a Python number, which is weakly typed."""
    if isinstance(number, bool):
        return dtype or dt.bool_
    if not isinstance(number, float):
        return dt.default_int if dtype is None or dtype.kind == "bool" else dtype
    return dtype if dtype is not None and dtype.is_floating else dt.default_float


def is_one(factor: Any, dtype: DType) -> bool:
    """Whether the factor of a tensor of a dtype is the number 1. One that is known at run time alone is none, if the
    product has that dtype: a product with 1 is exact."""
    if isinstance(factor, Late) and _with_number(dtype, factor) is dtype:
        return False
    return is_number(factor) and bool(factor == 1)


def weak_dtype(number: Any) -> DType:
    """The dtype of a tensor that is made of a Python number."""
    return _with_number(None, number)


def common_dtype(name: str, operands: tuple[Any, ...], domain: Domain = ANY) -> DType:
    """The dtype in which op ``name`` computes these tensors and numbers.

    Raises:
        DTypeError: there is none, or an operand is neither.
    """
    found: list[DType] = []
    for x in operands:
        if not is_number(x):
            if not hasattr(x, "dtype"):
                raise DTypeError(f"{name}: an operand of type {type(x).__name__} is neither a tensor nor a number")
            found.append(x.dtype)
    if domain.converts is not None:  # before promotion: uint64 / int64 is a float, not an error
        found = [d for d in found if d.kind in domain.kinds] or [domain.converts for _ in found]
    dtype: DType | None = None
    for own in found:
        try:
            dtype = own if dtype is None else dt.promote(dtype, own)
        except DTypeError as error:
            raise DTypeError(f"{name}: {error.message}") from None
    for x in operands:
        if is_number(x):
            dtype = _with_number(dtype, x)
    assert dtype is not None
    return domain.resolve(name, dtype)


def extent(size: Dim, dtype: DType) -> Array:
    """A size as a tensor of rank 0. It is a runtime number of the kernel: a new size compiles nothing new."""
    from .creation import FULL

    return apply(FULL, shape=(), value=size, dtype=dtype)


def _constant(name: str, number: Any, dtype: DType) -> Array:
    """A Python number, or a symbolic size, as a tensor of rank 0."""
    from .creation import fitting, full, rounded

    if isinstance(number, Late):
        return number.operand(dtype)
    if isinstance(number, SymDim):
        if dtype.is_integer and not undecided(number):
            fitting(number, dtype, name)
        return extent(number, dtype)
    if dtype.is_integer:
        return full((), fitting(int(number), dtype, name), dtype=dtype)
    if not dtype.is_floating:
        return full((), bool(number), dtype=dtype)
    try:
        number = float(number)
    except OverflowError:
        raise DTypeError(f"{name}: an integer of {number.bit_length()} bits does not fit in {dtype.name}") from None
    return full((), rounded(number, dtype), dtype=dtype)


def as_operand(name: str, x: Any, dtype: DType) -> Array:
    """A tensor, or a number as a tensor of ``dtype``."""
    from .elementwise import cast

    return _constant(name, x, dtype) if is_number(x) else cast(x, dtype)


def require_tensors(name: str, *operands: Any) -> None:
    """Raise unless every operand is a tensor.

    Raises:
        DTypeError: naming the type of the one that is not.
    """
    for x in operands:
        if not hasattr(x, "dtype"):
            raise DTypeError(f"{name}: an operand of type {type(x).__name__} is not a tensor; make one with asarray")


def require_number(op: str, name: str, value: Any) -> None:
    """Raise unless ``value`` is a number or a tensor: of an option that a call may not come to use.

    Raises:
        DTypeError: naming the op and its argument.
    """
    if not isinstance(value, (int, float)) and not hasattr(value, "dtype"):
        raise DTypeError(f"{op}: {name} is {shown(value)}; it must be a number")


def unary_operand(name: str, x: Any, domain: Domain = ANY) -> Array:
    """``x`` as a tensor of a dtype in which op ``name`` computes.

    Raises:
        DTypeError: the op has no meaning for its dtype.
    """
    return as_operand(name, x, common_dtype(name, (x,), domain))


def broadcast_operands(name: str, *operands: Any) -> tuple[Array, ...]:
    """The tensors broadcast to their common shape.

    Raises:
        ShapeError: their shapes do not fit.
    """
    from .shape import broadcast_to

    shape = broadcast_shapes(*(x.shape for x in operands), op=name)
    return tuple(x if x.shape == shape else broadcast_to(x, shape) for x in operands)


def binary_operands(name: str, x: Any, y: Any, domain: Domain = ANY) -> tuple[Array, Array]:
    """``x`` and ``y`` as tensors of one dtype and one shape: what op ``name`` computes on.

    Tensors are promoted by the table of the Array API. A Python number takes the tensor's dtype where its kind
    allows; a float with an integer tensor makes both float32, an int with a bool tensor makes both int64.

    Raises:
        ShapeError: the shapes do not broadcast.
        DTypeError: the dtypes have no common one, the op has no meaning for it, or a number does not fit in it.
    """
    dtype = common_dtype(name, (x, y), domain)
    left, right = broadcast_operands(name, as_operand(name, x, dtype), as_operand(name, y, dtype))
    return left, right


def accumulator(dtype: DType) -> DType:
    """The dtype of a sum or product, as in the Array API: small integers do not overflow."""
    return dt.uint64 if dtype.kind == "uint" else dtype if dtype.is_floating else dt.default_int


def one_each(op: str, name: str, value: int | Sequence[int], axes: int, least: int) -> tuple[int, ...]:
    """One number for each of the axes that windows are over, where one may be given for all.

    Raises:
        ArgumentError: they are not as many, not integers, or below ``least``.
    """
    found = tuple(value) if isinstance(value, Sequence) else (value,)
    found = found * axes if len(found) == 1 else found
    if len(found) != axes or not all(type(n) is int for n in found):
        raise ArgumentError(f"{op}: {name} is {shown(value)}; it is an integer, or {axes} of them")
    if min(found) < least:
        raise ArgumentError(f"{op}: {name} is {shown(value)}; it is at least {least}")
    return found
