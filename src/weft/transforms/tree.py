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


def paths(form: Form, root: str = "") -> list[str]:
    """Where the leaves are, as Python would reach them: ``[0]['h']``."""
    kind = form[0]
    if kind in ("leaf", "none"):
        return [root] if kind == "leaf" else []
    keys = [repr(k) for k in form[1]] if kind == "dict" else [str(i) for i in range(len(form[-1]))]
    return [path for key, f in zip(keys, form[-1], strict=True) for path in paths(f, f"{root}[{key}]")]


def matched(tree: Any, form: Form, root: str = "") -> list[Any] | str:
    """The leaves of ``tree`` in the order of ``form``, whose dicts may be in another; or what is different, and where.

    >>> from weft.transforms.tree import flatten, matched
    >>> _, form = flatten((1, {"a": 2, "b": 3}))
    >>> matched((4, {"b": 5, "a": 6}), form)
    [4, 6, 5]
    >>> matched((4, {"a": 6}), form, "carry")
    "carry[1] has the keys 'a', not 'a', 'b'"
    """
    kind = form[0]
    own = flatten(tree)[1]
    if kind == "leaf" and own[0] == "leaf":
        return [tree]
    if own[0] != kind or (kind == "tuple" and own[1] is not form[1]):
        return f"{root} is {_called(own)}, not {_called(form)}"
    if kind == "none":
        return []
    if kind == "dict":
        if set(own[1]) != set(form[1]):
            given, wanted = (", ".join(map(repr, f[1])) or "none" for f in (own, form))
            return f"{root} has the keys {given}, not {wanted}"
        items = [(repr(k), tree[k]) for k in form[1]]
    else:
        if len(own[-1]) != len(form[-1]):
            return f"{root} has {len(own[-1])} items, not {len(form[-1])}"
        items = [(str(i), item) for i, item in enumerate(tree)]
    leaves: list[Any] = []
    for (key, item), part in zip(items, form[-1], strict=True):
        found = matched(item, part, f"{root}[{key}]")
        if isinstance(found, str):
            return found
        leaves += found
    return leaves


def _called(form: Form) -> str:
    names = {"leaf": "a tensor", "none": "None", "dict": "a dict", "list": "a list"}
    return names[form[0]] if form[0] in names else f"a {form[1].__name__}"


def plain(form: Form) -> Form:
    """The form with plain tuples for named ones."""
    if form[0] == "tuple":
        return ("tuple", tuple, tuple([plain(f) for f in form[2]]))
    if form[0] in ("dict", "list"):
        return (*form[:-1], tuple([plain(f) for f in form[-1]]))
    return form
