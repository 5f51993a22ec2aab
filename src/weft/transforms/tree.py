"""Nestings of dict, list and tuple: taken apart into their leaves and put together again."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from ..graph.protocol import TensorType

Form = Any  # ("leaf",), ("dict", keys, forms), ("list", forms), ("tuple", type, forms) or ("none",)


class _Keys(tuple[Any, ...]):
    """The keys of a dict of another class, which is made again. A defaultdict's ``factory`` is no part of the form:
    a call that asks it changes its argument."""

    kind: type[dict[Any, Any]]
    factory: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Keys) and other.kind is self.kind and tuple.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((self.kind, tuple(self)))


def _keys(tree: dict[Any, Any]) -> tuple[Any, ...]:
    """The keys of a dict, with what makes it again where it is of another class. One that knows more than its items, or
    is made in a way of its own, becomes a plain dict, as weft's own do."""
    kind = type(tree)
    if kind is dict or kind.__module__.startswith("weft.") or kind.__new__ is not _base(kind).__new__:
        return tuple(tree)
    with suppress(AttributeError):  # it has no attributes
        if object.__getattribute__(tree, "__dict__"):
            return tuple(tree)
    keys = _Keys(tree)
    keys.kind, keys.factory = kind, tree.default_factory if isinstance(tree, defaultdict) else None
    return keys


def _base(kind: type) -> Any:
    """What stores items, whatever the class makes of stores."""
    return OrderedDict if issubclass(kind, OrderedDict) else defaultdict if issubclass(kind, defaultdict) else dict


def _dict_of(keys: tuple[Any, ...], values: Sequence[Any]) -> dict[Any, Any]:
    if not isinstance(keys, _Keys):
        return dict(zip(keys, values, strict=True))
    base, made = _base(keys.kind), keys.kind.__new__(keys.kind)
    if isinstance(made, defaultdict):
        made.default_factory = keys.factory
    for key, value in zip(keys, values, strict=True):
        base.__setitem__(made, key, value)
    return made


def flatten(tree: Any) -> tuple[list[Any], Form]:
    """The leaves, and the form that :func:`unflatten` takes. Dict entries are in the order of insertion; None has no
    leaves."""
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves)


def _flatten(tree: Any, leaves: list[Any]) -> Form:
    if tree is None:
        return ("none",)
    if isinstance(tree, dict):
        return ("dict", _keys(tree), tuple([_flatten(v, leaves) for v in tree.values()]))
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
        return _dict_of(form[1], [_unflatten(f, leaves) for f in form[2]])
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
    """The form with plain tuples for named ones, and plain dicts for those of other classes."""
    if form[0] == "tuple":
        return ("tuple", tuple, tuple([plain(f) for f in form[2]]))
    if form[0] == "dict":
        return ("dict", tuple(form[1]), tuple([plain(f) for f in form[2]]))
    if form[0] == "list":
        return ("list", tuple([plain(f) for f in form[1]]))
    return form
