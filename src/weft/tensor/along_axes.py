"""Methods that work along axes: PyTorch's arguments by position and by name, and NumPy's names (see ``binding.py``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.dtypes import as_dtype
from ..core.errors import ArgumentError, DTypeError
from ..core.shapes import normalize_axes, shown
from ..ops import cumulative, elementwise, indexing, pieces, reduction, shape, sorting
from .binding import Extreme, bind, names_of, required
from .tensor import Tensor


def _axes_of(self: Tensor, named: dict[str, Any], kwargs: dict[str, Any], empty_is_all: bool) -> Any:
    """The axes that ``dim`` means. As PyTorch has it, a tensor of rank 0 counts as one of rank 1, and no axes at all
    (``dim=()``) are all of them; called ``axis`` they are none, as in NumPy and the Array API."""
    dim = named.pop("dim", None)
    if isinstance(dim, list):
        dim = tuple(dim)
    if not self.ndim and (dim in (0, -1) or dim in ((0,), (-1,))) and not isinstance(dim, bool):
        return ()
    return None if dim == () and empty_is_all and "axis" not in kwargs else dim


def _converted(self: Tensor, named: dict[str, Any]) -> Tensor:
    """The tensor in the dtype that is asked for, which is converted first (so that it holds for 16-bit floats too)."""
    dtype = named.pop("dtype", None)
    return self if dtype is None else elementwise.astype(self, as_dtype(dtype))


def _documented(method: Callable[..., Any], name: str, function: Any) -> Callable[..., Any]:
    method.__name__, method.__doc__ = name, function.__doc__
    return method


def _reduction(name: str, function: Any, *, empty_is_all: bool = True) -> Callable[..., Any]:
    """``x.name(dim, keepdim, *, dtype)``; ``dtype`` where :class:`~weft.tensor.binding.Takes` says so."""
    names = names_of(name)

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not args and not kwargs:
            return function(self)
        named = bind(names, args, kwargs)
        axis = _axes_of(self, named, kwargs, empty_is_all)
        if axis == () and name.startswith("arg"):
            axis = None  # of the one element there is, where the position in a flattened tensor is the same
        if name == "mean":
            dtype = named.get("dtype")
            if dtype is not None and not as_dtype(dtype).is_floating:
                raise DTypeError(f"mean: a mean is a floating-point number, not {as_dtype(dtype).name}")
            self = _converted(self, named)
        return function(self, axis=axis, keepdims=named.pop("keepdim", False), **named)

    return _documented(method, name, function)


def _spread(name: str, function: Any) -> Callable[..., Any]:
    """``std`` and ``var``: ``(dim, unbiased, keepdim)`` or ``(unbiased)`` by position. PyTorch's default is division by
    n - 1: ``correction=1``, or ``unbiased=True``."""
    names = names_of(name)
    bool_alone = names._replace(order=("unbiased",), options=("dim", "keepdim", *names.options))

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not args and not kwargs:
            return function(self, correction=1.0)
        named = bind(bool_alone if args and isinstance(args[0], bool) else names, args, kwargs)
        if "unbiased" in named and "correction" in named:
            raise ArgumentError(f"{name}: unbiased and correction both say what to divide by; give one of them")
        correction = named.pop("correction", None)
        if correction is None:
            correction = named.pop("unbiased", True)
        axis = _axes_of(self, named, kwargs, True)
        self = _converted(self, named)
        return function(self, axis=axis, keepdims=named.pop("keepdim", False), correction=float(correction))

    return _documented(method, name, function)


def _extreme(name: str, function: Any, with_index: Any, of_two: Any) -> Callable[..., Any]:
    """``max`` and ``min``: with ``dim``, or an axis by position, PyTorch's pair, whose values have the gradient of
    ``x[indices]``; with ``axis`` the values alone, equal ones sharing the gradient; with a tensor the greater (lesser)
    of two."""
    names, other = names_of(name), names_of(name, "maximum")

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not args and not kwargs:
            return function(self)
        if "other" in kwargs or (args and isinstance(args[0], Tensor)):
            return of_two(self, bind(other, args, kwargs)["other"])
        named = bind(names, args, kwargs)
        keepdims = named.pop("keepdim", False)
        if named.get("dim") is None or "axis" in kwargs:
            return function(self, axis=named.pop("dim", None), keepdims=keepdims)
        return Extreme(*with_index(self, axis=named.pop("dim"), keepdims=keepdims))

    return _documented(method, name, function)


def _running(name: str, function: Any) -> Callable[..., Any]:
    """``x.cumsum(dim, *, dtype)``."""
    names = names_of(name)

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        named = bind(names, args, kwargs)
        if not self.ndim and _axes_of(self, dict(named), kwargs, False) == ():
            return shape.squeeze(method(shape.expand_dims(self), 0, dtype=named.get("dtype")))
        return function(self, axis=named.pop("dim", None), **named)

    return _documented(method, name, function)


def _flip(self: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Backwards along axes: ``x.flip(0, 1)``, ``x.flip((0, 1))``; along every axis without arguments."""
    if len(args) > 1:
        args = (args,)
    named = bind(names_of("flip"), args, kwargs)
    return shape.flip(self, axis=_axes_of(self, named, kwargs, False))


def _roll(self: Tensor, *args: Any, **kwargs: Any) -> Any:
    """The elements moved by ``shifts`` along the axes ``dims``, around the ends; without axes, as if flattened."""
    named = bind(names_of("roll"), args, kwargs)
    (shifts,) = required("roll", named, "shifts")
    return pieces.roll(self, shifts, axis=_axes_of(self, named, kwargs, True))


def _repeat_interleave(self: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Each element ``repeats`` times, one after another, along ``dim``; without it, of the flattened tensor."""
    named = bind(names_of("repeat_interleave"), args, kwargs)
    (repeats,) = required("repeat_interleave", named, "repeats")
    return pieces.repeat(self, repeats, axis=named.get("dim"))


def _squeeze(self: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Without axes of size 1: all of them, or those of ``dim`` that have this size, as in PyTorch. An ``axis`` of
    another size is an error, as in NumPy."""
    if len(args) > 1:
        args = (args,)
    named = bind(names_of("squeeze"), args, kwargs)
    axis = _axes_of(self, named, kwargs, False)
    if axis is not None and "axis" not in kwargs:
        axes = normalize_axes(axis, self.ndim, "squeeze")
        axis = tuple(a for a in axes if self.shape[a] == 1)
    return shape.squeeze(self, axis=axis)


def _unsqueeze(self: Tensor, *args: Any, **kwargs: Any) -> Any:
    """With a new axis of size 1 at position ``dim`` of the result."""
    (dim,) = required("unsqueeze", bind(names_of("unsqueeze"), args, kwargs), "dim")
    return shape.expand_dims(self, axis=dim)


def _cut(name: str, function: Any) -> Callable[..., Any]:
    """``split``, ``chunk`` (which take the parts first), ``unbind``: along ``dim``."""
    names = names_of(name)
    parts = names.order[:-1]

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        named = bind(names, args, kwargs)
        return function(self, *required(name, named, *parts), axis=named.get("dim", 0))

    return _documented(method, name, function)


def _triangle(name: str, function: Any) -> Callable[..., Any]:
    names = names_of(name)

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        if "k" in kwargs:  # NumPy's and the Array API's name
            kwargs["diagonal"] = kwargs.pop("k")
        return function(self, k=bind(names, args, kwargs).get("diagonal", 0))

    return _documented(method, name, function)


def _gather(self: Tensor, *args: Any, **kwargs: Any) -> Any:
    """PyTorch's gather: the elements that ``index`` names along ``dim``, ``x[i, index[i, j]]`` for ``dim=1``. The
    result has the shape of ``index``, which is of ``x``'s rank and no larger than it on the other axes."""
    dim, index = required("gather", bind(names_of("gather"), args, kwargs), "dim", "index")
    return indexing.gather(self, index, axis=dim)


def _take(self: Tensor, *args: Any, **kwargs: Any) -> Any:
    """The elements of the flattened tensor that ``index`` names; along ``dim``, as NumPy's ``take`` has it, slices."""
    named = bind(names_of("take"), args, kwargs)
    (index,) = required("take", named, "index")
    return indexing.take(self, index, axis=named.get("dim"))


def _argsort(self: Tensor, *args: Any, **kwargs: Any) -> Any:
    """The positions of the elements along ``dim`` in order; equal elements stay in theirs."""
    named = bind(names_of("argsort"), args, kwargs)
    return sorting.argsort(self, axis=named.get("dim", -1), descending=named.get("descending", False))


def _sort(self: Tensor, *args: Any, **kwargs: Any) -> Any:
    """The elements along ``dim`` in order, and their positions; equal elements stay in their order."""
    named = bind(names_of("sort"), args, kwargs)
    found: Any = sorting.sort_with_index(self, axis=named.get("dim", -1), descending=named.get("descending", False))
    return sorting.Ordered(*found)


def _msort(self: Tensor, *args: Any, **kwargs: Any) -> Any:
    """The elements along the first axis in ascending order."""
    bind(names_of("msort"), args, kwargs)
    return sorting.sort(self, axis=0)


def _topk(self: Tensor, *args: Any, **kwargs: Any) -> Any:
    """The ``k`` greatest (``largest=False``: least) elements along ``dim``, in order, and their positions."""
    named = bind(names_of("topk"), args, kwargs)
    (k,) = required("topk", named, "k")
    return sorting.topk(self, k, named.get("dim", -1), named.get("largest", True))


def _norm(self: Tensor, *args: Any, **kwargs: Any) -> Any:
    """The vector norm of order ``p`` over the axes ``dim`` (all of them by default), computed in ``dtype``.

    ``p`` is a number, ``inf`` and ``-inf`` among them, or ``"fro"``, the root of the sum of squares. (``"nuc"`` needs
    singular values.)
    """
    from ..ops.linalg import vector_norm  # programs without norms do without decompositions

    named = bind(names_of("norm"), args, kwargs)
    p = named.pop("p", None)
    if isinstance(p, str) and p != "fro":
        hint = ": it needs singular values, which wf.linalg.svdvals gives" if p == "nuc" else ""
        raise ArgumentError(f"norm: p={shown(p)}{hint}; p is a number, inf, -inf or 'fro'")
    axis = _axes_of(self, named, kwargs, True)
    self = _converted(self, named)
    order = 2.0 if p is None or p == "fro" else float(p)
    return vector_norm(self, ord=order, axis=axis, keepdims=named.pop("keepdim", False))


METHODS: dict[str, Callable[..., Any]] = {
    "all": _reduction("all", reduction.all, empty_is_all=False),
    "any": _reduction("any", reduction.any, empty_is_all=False),
    "amax": _reduction("amax", reduction.max),
    "amin": _reduction("amin", reduction.min),
    "argmax": _reduction("argmax", reduction.argmax),
    "argmin": _reduction("argmin", reduction.argmin),
    "argsort": _argsort,
    "chunk": _cut("chunk", pieces.chunk),
    "count_nonzero": _reduction("count_nonzero", reduction.count_nonzero),
    "cumprod": _running("cumprod", cumulative.cumulative_prod),
    "cumsum": _running("cumsum", cumulative.cumulative_sum),
    "flip": _flip,
    "gather": _gather,
    "logsumexp": _reduction("logsumexp", reduction.logsumexp),
    "max": _extreme("max", reduction.max, reduction.max_with_index, elementwise.maximum),
    "mean": _reduction("mean", reduction.mean),
    "min": _extreme("min", reduction.min, reduction.min_with_index, elementwise.minimum),
    "msort": _msort,
    "norm": _norm,
    "prod": _reduction("prod", reduction.prod),
    "repeat_interleave": _repeat_interleave,
    "roll": _roll,
    "sort": _sort,
    "split": _cut("split", pieces.split),
    "squeeze": _squeeze,
    "std": _spread("std", reduction.std),
    "sum": _reduction("sum", reduction.sum),
    "take": _take,
    "topk": _topk,
    "tril": _triangle("tril", shape.tril),
    "triu": _triangle("triu", shape.triu),
    "unbind": _cut("unbind", pieces.unstack),
    "unsqueeze": _unsqueeze,
    "unstack": _cut("unstack", pieces.unstack),
    "var": _spread("var", reduction.var),
}
