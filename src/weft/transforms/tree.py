"""Nestings of dict, list and tuple: taken apart into their leaves and put together again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..graph.protocol import TensorType

Form = Any  # ("leaf",), ("dict", keys, forms), ("list", forms), ("tuple", type, forms) or ("none",)


def flatten(tree: Any) -> tuple[list[Any], Form]:
    """The leaves, and the form that :func:`unflatten` takes. Dict entries are in the order of insertion; None has no
    leaves."""
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves)


def _flatten(tree: Any, leaves: list[Any]) -> Form:
    if tree is None:
        return ("none",)
    if isinstance(tree, dict):
        return ("dict", tuple(tree), tuple([_flatten(v, leaves) for v in tree.values()]))
    if isinstance(tree, list):
        return ("list", tuple([_flatten(v, leaves) for v in tree]))
    if isinstance(tree, tuple) and not isinstance(tree, TensorType):
        return ("tuple", type(tree), tuple([_flatten(v, leaves) for v in tree]))
    leaves.append(tree)
    return ("leaf",)


def unflatten(form: Form, leaves: Sequence[Any]) -> Any:
    """The nesting of ``form`` with these leaves."""
    return _unflatten(form, iter(leaves))


def _unflatten(form: Form, leaves: Iterator[Any]) -> Any:
    kind = form[0]
    if kind == "leaf":
        return next(leaves)
    if kind == "none":
        return None
    if kind == "dict":
        return dict(zip(form[1], [_unflatten(f, leaves) for f in form[2]], strict=True))
    if kind == "list":
        return [_unflatten(f, leaves) for f in form[1]]
    items = [_unflatten(f, leaves) for f in form[2]]
    return form[1]._make(items) if hasattr(form[1], "_make") else form[1](items)  # of a named tuple


def plain(form: Form) -> Form:
    """The form with plain tuples for named ones."""
    if form[0] == "tuple":
        return ("tuple", tuple, tuple([plain(f) for f in form[2]]))
    if form[0] in ("dict", "list"):
        return (*form[:-1], tuple([plain(f) for f in form[-1]]))
    return form
