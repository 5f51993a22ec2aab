"""Constructors: what a layer's signature says of its arguments holds before its body runs, as for functions.

The annotation of a parameter is its contract here too; where :data:`~weft.tensor.arguments.CONTRACTS` says what a
function makes of its operands, the table below says what a layer is made of: numbers of NumPy and tensors of one
element are Python's numbers from here on, a flag is True or False, and anything else is an error that names the class
and the parameter. Texts and functions are left to the bodies, which list what they know.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

from ..core.boundary import leave
from ..core.errors import AxisError, DTypeError, ShapeError
from ..core.shapes import shown
from ..tensor.arguments import CONTRACTS
from ..tensor.create import is_array
from ..tensor.tensor import Tensor

Convert = Callable[[str, str, Any], Any]  # of the class, the parameter and the value


class _Parameter(NamedTuple):
    """What a parameter takes; values of ``plain`` classes at once, which is nearly all that a model is made of."""

    name: str
    plain: tuple[type, ...]
    convert: Convert | None


_UNKNOWN = _Parameter("", (), None)


def checked_constructor(init: Callable[..., None]) -> Callable[..., None]:
    """``__init__`` of one of weft's modules, which gets what its annotations say. It is a boundary: errors leave weft
    here (:mod:`weft.core.boundary`)."""

    @functools.wraps(init)
    def constructor(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            if args or kwargs:
                in_order, by_name = _parameters(init)
                for at, (value, (name, plain, convert)) in enumerate(zip(args, in_order, strict=False)):
                    if convert is not None and value.__class__ not in plain:
                        args = (*args[:at], convert(type(self).__name__, name, value), *args[at + 1 :])
                for name, value in kwargs.items():
                    _, plain, convert = by_name.get(name, _UNKNOWN)
                    if convert is not None and value.__class__ not in plain:
                        kwargs[name] = convert(type(self).__name__, name, value)
            init(self, *args, **kwargs)
        except Exception as error:
            leave(error, init, (self, *args), kwargs)
            raise

    return constructor


@cache
def _parameters(init: Callable[..., None]) -> tuple[list[_Parameter], dict[str, _Parameter]]:
    """What may be given by position, without ``self``, and what by name. At the first call: an import makes none."""
    in_order, by_name = [], {}
    for p in list(inspect.signature(init).parameters.values())[1:]:
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            continue
        found = _TAKES.get(p.annotation)
        made = by_name[p.name] = _Parameter(p.name, *((), None) if found is None else found)
        if p.kind is not p.KEYWORD_ONLY:
            in_order.append(made)
    return in_order, by_name


# --- what annotations say -----------------------------------------------------------------------------------------


def _as_sequence(value: Any) -> Any:
    """What can be iterated over, once or more often, as a tuple; a sequence, a tensor or a number as it is."""
    single = isinstance(value, (tuple, list, str, bytes, Mapping, Tensor)) or is_array(value)
    return value if single or not isinstance(value, Iterable) else tuple(value)


def _whole(layer: str, name: str, value: Any) -> Any:
    if isinstance(value, bool):  # which layer takes one for a number says its body
        return value
    return _counted("int", "a whole number", layer, name, value)


def _wholes(layer: str, name: str, value: Any) -> Any:
    """A number, or one for each of several axes."""
    return _counted("int | Sequence[int]", "a whole number, or several", layer, name, _as_sequence(value))


def _wholes_or_none(layer: str, name: str, value: Any) -> Any:
    wanted = "a whole number, or several, each of which may be None"
    return _counted("Dim | Sequence[Dim | None]", wanted, layer, name, _as_sequence(value))


def _counted(contract: str, wanted: str, layer: str, name: str, value: Any) -> Any:
    """What a function makes of such an argument, where a number of a layer is a size, never an axis."""
    try:
        return CONTRACTS[contract].convert(layer, name, value)
    except (AxisError, ShapeError):
        raise ShapeError(f"{layer}: {name} is {shown(value)}; it must be {wanted}") from None


def _wholes_or_text(layer: str, name: str, value: Any) -> Any:
    return value if isinstance(value, str) else _wholes(layer, name, value)


def _several(layer: str, name: str, value: Any) -> tuple[int, ...]:
    found = _wholes(layer, name, value)
    if not isinstance(found, (tuple, list)):
        raise ShapeError(f"{layer}: {name} is {shown(value)}; it must be several whole numbers")
    return tuple(found)


def _reals(layer: str, name: str, value: Any) -> Any:
    return CONTRACTS["float | Sequence[float] | None"].convert(layer, name, _as_sequence(value))


def _tensor(layer: str, name: str, value: Any) -> Any:
    if not isinstance(value, Tensor) and not hasattr(value, "__array__") and not hasattr(value, "__dlpack__"):
        raise DTypeError(f"{layer}: {name} is {shown(value)}; it must be a tensor")
    return CONTRACTS["Tensor"].convert(layer, name, value)


def _takes() -> dict[str, tuple[tuple[type, ...], Convert]]:
    made: dict[str, tuple[tuple[type, ...], Convert]] = {
        "bool": ((bool,), CONTRACTS["bool"].convert),
        "int": ((int, bool), _whole),
        "float": ((float,), CONTRACTS["float"].convert),
        "int | Sequence[int]": ((int,), _wholes),
        "Sizes": ((int,), _wholes),
        "OptionalSizes": ((int,), _wholes_or_none),
        "int | Sequence[int] | str": ((int, str), _wholes_or_text),
        "Sequence[int]": ((), _several),
        "tuple[int, ...]": ((), _several),
        "float | Sequence[float]": ((float,), _reals),
        "Tensor": ((), _tensor),
    }
    for annotation, (plain, convert) in list(made.items()):
        made[f"{annotation} | None"] = ((*plain, type(None)), convert)
    return made


_TAKES = _takes()
