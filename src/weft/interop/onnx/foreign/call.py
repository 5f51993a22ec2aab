"""One node of another tool's ONNX model, as the tables of :mod:`weft.interop.onnx.foreign.ops` see it.

An operator is a Python function whose signature is its contract. Its positional parameters are the ONNX inputs, in
order; what ONNX calls an attribute is a keyword parameter, with the default that the standard gives it. (One that may
be given by position or by name is an input that older opsets have as an attribute.) The annotations say what a
parameter takes::

    x: Array              a traced tensor
    shape: Ints           integers that are known while the model is read; as an attribute, INTS
    k: Number             a constant of one element; Scalar: with its dtype
    x: Known, x: Item     an array that is known; whatever it is
    alpha: float          FLOAT        keepdims: bool    INT, 0 or 1
    axis: int             INT          value: Proto      TENSOR
    mode: Literal[...]    STRING       x: Refused        of any type: the node is refused
    count: OutputCount    no attribute: the number of outputs that the node has

So an attribute that a function does not know cannot be given to it, and one that it knows is its own to honour.

Shapes are computed by nodes in ONNX. Such values (small integer constants, sizes of tensors and what is made of them)
are followed while the model is read, as arrays of Python integers and symbolic sizes: :class:`Known`. Everything else
is a traced tensor.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from operator import or_
from typing import Any, Literal, NamedTuple, NewType, Protocol, get_args, get_origin, get_type_hints

from ....core import dtypes as dt
from ....core.dtypes import DType
from ....core.errors import FormatError
from ....tensor.tensor import Tensor
from ..tags import printed


class Known:
    """An integer or bool array whose elements are known while the model is read: numbers or symbolic sizes."""

    __slots__ = ("array", "dtype")

    def __init__(self, array: Any, dtype: DType = dt.int64):
        import numpy as np

        self.array = np.empty(np.shape(array), dtype=object)
        self.array[...] = array
        self.dtype = dtype

    @property
    def integers(self) -> tuple[Any, ...]:
        """The elements, in order."""
        return tuple(self.array.ravel().tolist())


class Scalar(NamedTuple):
    """A constant of one element."""

    number: Any
    dtype: DType


Item = Tensor | Known
Op = Callable[..., Any]

# What parameters are annotated with, see above.
Array = Any
Ints = tuple[int, ...]
Floats = tuple[float, ...]
Number = int | float
Proto = NewType("Proto", object)
Refused = NewType("Refused", object)
OutputCount = NewType("OutputCount", int)

# AttributeProto.AttributeType of the ONNX standard.
_FLOAT, _INT, _STRING, _TENSOR, _FLOATS, _INTS = 1, 2, 3, 4, 6, 7
_CODES = {float: _FLOAT, int: _INT, bool: _INT, Proto: _TENSOR, Floats: _FLOATS, Ints: _INTS}


class Reading(Protocol):
    """The model that is being read."""

    def tensor(self, item: Item) -> Any:
        """The item as a traced tensor."""

    def value_of(self, traced: Any) -> Tensor | None:
        """The constant that a traced tensor stands for, if it is one."""


# --- signatures -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: its name, its annotation without ``| None``, its default (``inspect.Parameter.empty``: none)."""

    name: str
    kind: Any
    default: Any

    @property
    def code(self) -> int | None:
        """The AttributeType of its attribute; None for Refused, which takes any."""
        return None if self.kind is Refused else _STRING if get_origin(self.kind) is Literal else _CODES[self.kind]


@dataclass(frozen=True, slots=True)
class Signature:
    """What a function takes: inputs in order, whether the last of them takes all that are left, attributes by name."""

    inputs: tuple[Parameter, ...]
    variadic: bool
    attributes: dict[str, Parameter]
    outputs: str | None  # the parameter that takes the number of outputs


@cache
def signature_of(function: Op) -> Signature:
    """The signature of an operator's function."""
    hints = get_type_hints(function)
    inputs, attributes, variadic, outputs = [], {}, False, None
    for p in inspect.signature(function).parameters.values():
        made = Parameter(p.name, _plain(hints[p.name]), p.default)
        if made.kind is OutputCount:
            outputs = p.name
            continue
        if p.kind is not p.KEYWORD_ONLY:
            inputs.append(made)
            variadic = variadic or p.kind is p.VAR_POSITIONAL
        if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD):
            attributes[p.name] = made
    return Signature(tuple(inputs), variadic, attributes, outputs)


def _plain(hint: Any) -> Any:
    """An annotation without ``| None``."""
    kinds = get_args(hint)
    if type(None) in kinds:
        rest = tuple(k for k in kinds if k is not type(None))
        return reduce(or_, rest)
    return hint


# --- binding ----------------------------------------------------------------------------------------------------


def bind(
    function: Op, reader: Reading, items: Sequence[Item | None], attributes: dict[str, Any], outputs: int
) -> Callable[[], Any]:
    """The call of an operator's function for a node's inputs and attributes.

    Raises:
        FormatError: the function has no such parameters, or they take other values.
    """
    signature = signature_of(function)
    given: list[Any] = []
    for number, item in enumerate(items):
        at = min(number, len(signature.inputs) - 1) if signature.variadic else number
        if at >= len(signature.inputs):
            raise FormatError(f"weft knows {len(signature.inputs)} of its {len(items)} inputs")
        given.append(_input(reader, signature.inputs[at], item, number))
    named: dict[str, Any] = {}
    for name, value in attributes.items():
        parameter = signature.attributes.get(name)
        if parameter is None or parameter.kind is Refused:
            raise FormatError(f"its attribute {name!r} is not supported")
        if parameter in signature.inputs[: len(given)]:
            raise FormatError(f"{name!r} is given as an attribute and as an input")
        named[name] = _attribute(parameter, value)
    for number, parameter in enumerate(signature.inputs[len(given) :], len(given)):
        if parameter.default is inspect.Parameter.empty and parameter.name not in named and not signature.variadic:
            raise FormatError(f"input {number} ({parameter.name}) is missing")
    if signature.outputs is not None:
        named[signature.outputs] = outputs
    return lambda: function(*given, **named)


def _input(reader: Reading, parameter: Parameter, item: Item | None, number: int) -> Any:
    """An input as the parameter's annotation wants it."""
    if item is None:
        if parameter.default is inspect.Parameter.empty:
            raise FormatError(f"input {number} is missing")
        return parameter.default
    if parameter.kind is Array:
        return reader.tensor(item)
    if parameter.kind == Item:
        return item
    if parameter.kind == Number:
        return _number(reader, item, number)
    if parameter.kind is Scalar:
        return Scalar(_number(reader, item, number), item.dtype)
    if not isinstance(item, Known):
        raise FormatError(f"input {number} must be a constant or computed from shapes")
    if parameter.kind is Known:
        return item
    if item.array.ndim > 1:
        raise FormatError(f"input {number} is of rank {item.array.ndim}, not a list of integers")
    return item.integers


def _number(reader: Reading, item: Item, number: int) -> Any:
    if isinstance(item, Known):
        if item.array.size == 1:
            return item.integers[0]
        raise FormatError(f"input {number} has {item.array.size} elements, not one")
    tensor = reader.value_of(item)
    if tensor is None or tensor.size != 1:
        raise FormatError(f"input {number} must be a constant of one element")
    return tensor.cpu().numpy().reshape(()).astype("float64").item()


def _attribute(parameter: Parameter, value: Any) -> Any:
    """An attribute's value as the parameter's annotation wants it; its type is right already."""
    if parameter.kind is bool:
        if value not in (0, 1):
            raise FormatError(f"its attribute {parameter.name!r} is {value}, not 0 or 1")
        return bool(value)
    if get_origin(parameter.kind) is Literal:
        choices = get_args(parameter.kind)
        if value not in choices:
            raise FormatError(
                f"its attribute {parameter.name!r} is {value!r}; weft has {', '.join(map(repr, choices))}"
            )
    return value


def attributes_of(proto: Any, types: dict[str, int], required: Sequence[str] = ()) -> dict[str, Any]:
    """Names and values of a node's attributes, strings as text.

    Args:
        proto: a NodeProto.
        types: the names that it may have, and their AttributeType.
        required: those that it must have.

    Raises:
        FormatError: an attribute that is not among them, of another type, given twice, missing, or no text.
    """
    found: dict[str, Any] = {}
    for attribute in proto.attribute:
        name = attribute.name
        if name not in types:
            known = f"it has {', '.join(map(repr, sorted(types)))}" if types else "it has none"
            raise FormatError(f"there is no attribute {printed(name)!r} in this opset; {known}")
        if name in found:
            raise FormatError(f"its attribute {name!r} is given twice")
        if attribute.ref_attr_name:
            raise FormatError(f"its attribute {name!r} refers to an attribute of a function that there is not")
        if attribute.type != types[name]:
            raise FormatError(
                f"its attribute {name!r} is of type {_type_name(attribute.type)}, not {_type_name(types[name])}"
            )
        found[name] = _value(attribute)
    missing = [name for name in required if name not in found]
    if missing:
        raise FormatError(f"its attribute {missing[0]!r} is missing")
    return found


def _type_name(code: int) -> str:
    from onnx import AttributeProto

    names: dict[int, str] = {v: k for k, v in AttributeProto.AttributeType.items()}
    return names.get(code, str(code))


def _value(attribute: Any) -> Any:
    from onnx import helper

    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise FormatError(f"its attribute {attribute.name!r} is no text: {value[:40]!r}") from None
    return tuple(value) if attribute.type in (_FLOATS, _INTS) else value
