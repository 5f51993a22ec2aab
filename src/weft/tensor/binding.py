"""Methods that bind their arguments themselves: what they take, and the binding.

PyTorch calls the axis ``dim``, NumPy ``axis``; PyTorch gives ``keepdim`` by position, and to ``std`` a bool that is no
axis. :class:`Takes` declares each method once, by PyTorch's names: :func:`bind` makes of a call the arguments by these
names, or an error (nothing that is passed is dropped), ``help`` shows them, and the stubs for editors are made of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple, Protocol

from ..core.boundary import leave
from ..core.errors import ArgumentError
from ..core.shapes import shown
from ..ops.creation import Scalar
from ..ops.op import Array
from ..ops.random import Generator
from ..ops.reduction import Axes
from ..ops.sorting import Ordered
from .arguments import CONTRACTS
from .tensor import Tensor

# NumPy's names, and others that are understood, of parameters by their names in PyTorch.
OTHER_NAMES = {
    "axis": "dim",
    "indices": "index",
    "dims": "dim",
    "keepdims": "keepdim",
    "ddof": "correction",
    "split_size": "split_size_or_sections",
    "size": "shape",
    "shape": "size",
}
# What the parameters of methods take, by PyTorch's names. What is not here, the function behind the method checks.
_CONTRACTS = {
    name: CONTRACTS[annotation]
    for annotation, names in {
        "Axes": "dim",
        "Switch": "keepdim unbiased non_blocking copy",
        "bool": "descending stable largest sorted",
        "Shape": "shape size repeats",
        "int": "chunks diagonal k",
        "int | Sequence[int]": "split_size_or_sections",
        "Array | float": "other exponent",
        "Scalar": "alpha",
        "float | None": "correction",
        "float | str | None": "p",
        "str | None": "rounding_mode",
    }.items()
    for name in names.split()
}


class Extreme(NamedTuple):
    """What PyTorch's ``x.max(dim)`` and ``x.min(dim)`` return."""

    values: Tensor
    indices: Tensor


class Takes(Protocol):
    """What methods take that bind their arguments; in-place forms take what the method of their name takes."""

    # Arithmetic.
    def add(self, other: Array | float, *, alpha: Scalar = 1) -> Tensor: ...
    def sub(self, other: Array | float, *, alpha: Scalar = 1) -> Tensor: ...
    def mul(self, other: Array | float) -> Tensor: ...
    def div(self, other: Array | float, *, rounding_mode: str | None = None) -> Tensor: ...
    def pow(self, exponent: Array | float) -> Tensor: ...
    def maximum(self, other: Array | float) -> Tensor: ...  # and every other function of two operands
    def relu(self) -> Tensor: ...

    def bmm(self, mat2: Array) -> Tensor: ...
    def dot(self, tensor: Array) -> Tensor: ...
    def outer(self, vec2: Array) -> Tensor: ...
    def matmul(self, other: Array) -> Tensor: ...
    def mm(self, mat2: Array) -> Tensor: ...
    def mv(self, vec: Array) -> Tensor: ...

    # Along axes.
    def all(self, dim: Axes = None, keepdim: bool = False) -> Tensor: ...
    def any(self, dim: Axes = None, keepdim: bool = False) -> Tensor: ...
    def amax(self, dim: Axes = None, keepdim: bool = False) -> Tensor: ...
    def amin(self, dim: Axes = None, keepdim: bool = False) -> Tensor: ...
    def argmax(self, dim: int | None = None, keepdim: bool = False) -> Tensor: ...
    def argmin(self, dim: int | None = None, keepdim: bool = False) -> Tensor: ...
    def count_nonzero(self, dim: Axes = None) -> Tensor: ...
    def logsumexp(self, dim: Axes = None, keepdim: bool = False) -> Tensor: ...
    def mean(self, dim: Axes = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor: ...
    def prod(self, dim: Axes = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor: ...
    def sum(self, dim: Axes = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor: ...
    def norm(
        self, p: float | str | None = None, dim: Axes = None, keepdim: bool = False, dtype: Any = None
    ) -> Tensor: ...
    def max(self, dim: int | None = None, keepdim: bool = False) -> Tensor | Extreme: ...
    def min(self, dim: int | None = None, keepdim: bool = False) -> Tensor | Extreme: ...
    def std(
        self,
        dim: Axes = None,
        unbiased: bool = True,
        keepdim: bool = False,
        *,
        correction: float | None = None,
        dtype: Any = None,
    ) -> Tensor: ...
    def var(
        self,
        dim: Axes = None,
        unbiased: bool = True,
        keepdim: bool = False,
        *,
        correction: float | None = None,
        dtype: Any = None,
    ) -> Tensor: ...
    def cumprod(self, dim: int | None = None, *, dtype: Any = None) -> Tensor: ...
    def cumsum(self, dim: int | None = None, *, dtype: Any = None) -> Tensor: ...
    def gather(self, dim: int, index: Array) -> Tensor: ...
    def take(self, index: Array, *, dim: int | None = None) -> Tensor: ...
    def argsort(self, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor: ...
    def msort(self) -> Tensor: ...
    def sort(self, dim: int = -1, descending: bool = False, stable: bool = False) -> Ordered: ...
    def topk(self, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Ordered: ...
    def tril(self, diagonal: int = 0) -> Tensor: ...
    def triu(self, diagonal: int = 0) -> Tensor: ...

    # Shapes.
    def broadcast_to(self, size: int | Sequence[int]) -> Tensor: ...
    def chunk(self, chunks: int, dim: int = 0) -> tuple[Tensor, ...]: ...
    def expand(self, *size: int) -> Tensor: ...
    def flip(self, *dims: int) -> Tensor: ...
    def moveaxis(self, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor: ...
    def movedim(self, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor: ...
    def permute(self, *dims: int) -> Tensor: ...
    def repeat(self, *repeats: int) -> Tensor: ...
    def repeat_interleave(self, repeats: Array | int, dim: int | None = None) -> Tensor: ...
    def reshape(self, *shape: int) -> Tensor: ...
    def roll(self, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None) -> Tensor: ...
    def split(self, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]: ...
    def squeeze(self, dim: Axes = None) -> Tensor: ...
    def swapaxes(self, axis0: int, axis1: int) -> Tensor: ...
    def swapdims(self, dim0: int, dim1: int) -> Tensor: ...
    def tile(self, *dims: int) -> Tensor: ...
    def unbind(self, dim: int = 0) -> tuple[Tensor, ...]: ...
    def unsqueeze(self, dim: int) -> Tensor: ...
    def unstack(self, dim: int = 0) -> tuple[Tensor, ...]: ...
    def view(self, *shape: int) -> Tensor: ...

    # Like another.
    def new_empty(self, *size: int, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor: ...
    def new_ones(self, *size: int, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor: ...
    def new_zeros(self, *size: int, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor: ...
    def to(self, device: Any = None, dtype: Any = None, non_blocking: bool = False, copy: bool = False) -> Tensor: ...

    # Draws. (``from`` is no name of a parameter in Python.)
    def cauchy_(self, median: float = 0.0, sigma: float = 1.0, *, generator: Generator | None = None) -> Tensor: ...
    def exponential_(self, lambd: float = 1.0, *, generator: Generator | None = None) -> Tensor: ...
    def geometric_(self, p: float, *, generator: Generator | None = None) -> Tensor: ...
    def log_normal_(self, mean: float = 1.0, std: float = 2.0, *, generator: Generator | None = None) -> Tensor: ...
    def normal_(self, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None) -> Tensor: ...
    def random_(self, from_: int = 0, /, to: int | None = None, *, generator: Generator | None = None) -> Tensor: ...
    def uniform_(self, from_: float = 0.0, /, to: float = 1.0, *, generator: Generator | None = None) -> Tensor: ...


class Names(NamedTuple):
    """The arguments of a method."""

    method: str
    order: tuple[str, ...]  # those that may be given by position
    options: tuple[str, ...]  # the others
    defaults: dict[str, Any]


@cache
def names_of(method: str, like: str = "") -> Names:
    """What :class:`Takes` declares of a method; ``like``: under this name."""
    declared: Any = vars(Takes)[like or method]
    code, plain = declared.__code__, declared.__code__.co_argcount
    last = plain + code.co_kwonlyargcount
    names = ["dim" if name == "dims" else name.rstrip("_") for name in code.co_varnames]
    order = names[1:plain] or names[last : last + bool(code.co_flags & _VARARGS)]
    given = declared.__defaults__ or ()
    defaults = dict(zip(names[plain - len(given) : plain], given, strict=True))
    return Names(method, tuple(order), tuple(names[plain:last]), defaults)


_VARARGS = 4  # inspect.CO_VARARGS


def bind(names: Names, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call by their names in PyTorch.

    NumPy's names are translated; its ``out=None`` (NumPy's functions, ``np.sum(x)``, name every option) stands for
    nothing.

    Raises:
        ArgumentError: there are too many, one is unknown or given twice, or a flag is no bool.
        AxisError, DTypeError, ShapeError: one is not what its name takes.
    """
    name, order, options, _ = names
    if len(args) > len(order):
        listed = f"{', '.join(order)} (in this order)" if order else "none by position"
        raise ArgumentError(
            f"{name}: {len(args)} arguments by position, the last of them {shown(args[-1])}; it takes {listed}"
        )
    named = dict(zip(order, args, strict=False))
    for given, value in kwargs.items():
        key = given if given in order else OTHER_NAMES.get(given, given)
        if key == "out" and value is None:
            continue
        if key not in order and key not in options:
            takes = ", ".join((*order, *options)) or "no arguments"
            raise ArgumentError(f"{name}: there is no argument {given}={shown(value)}; it takes {takes}")
        if key in named:
            raise ArgumentError(f"{name}: {key} is given twice, as {shown(named[key])} and as {shown(value)}")
        named[key] = value
    for key, value in named.items():
        contract = _CONTRACTS.get(key)
        if contract is not None and not (value is None and contract.optional):
            named[key] = contract.convert(name, key, value)
    return named


def required(name: str, named: dict[str, Any], *keys: str) -> list[Any]:
    """The arguments that have no default."""
    missing = [k for k in keys if k not in named]
    if missing:
        raise ArgumentError(f"{name}: {' and '.join(missing)} must be given")
    return [named[k] for k in keys]


def named(name: str, function: Callable[..., Any], like: str = "") -> Callable[..., Any]:
    """The method ``x.name(...)`` that is a function of operands, all of which must be given; they are called what
    :class:`Takes` calls those of ``name``, or of ``like``."""
    names = names_of(name, like)
    count = len(names.order)

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        try:
            if kwargs or len(args) != count:
                args = tuple(required(name, bind(names, args, kwargs), *names.order))
            return function(self, *args)
        except Exception as error:
            leave(error)
            raise

    method.__name__, method.__doc__ = name, function.__doc__
    method.__wrapped__ = vars(Takes)[like or name]  # type: ignore[attr-defined]  # what help shows
    return method


def sizes_given(names: Names, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """The numbers of ``x.name(2, 3)``, ``x.name((2, 3))`` or ``x.name(key=(2, 3))``."""
    name, (key,), _, _ = names
    if kwargs:
        args = tuple(required(name, bind(names, args, kwargs), key))
    if len(args) != 1 or args[0].__class__ is int:
        return args
    given = args[0]
    if not isinstance(given, (tuple, list)):
        # What is in a tuple, the function behind the method checks.
        given = CONTRACTS["Shape"].convert(name, key, given)
    return tuple(given) if isinstance(given, (tuple, list)) else (given,)
