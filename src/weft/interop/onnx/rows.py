"""A row of the table: how one primitive is written in ONNX, and what its parameters may be.

``lower(emitter, node, names of the inputs) -> name of the output``; a node of several outputs gives these their names
by itself. The parameters of a node that is read from a file
are checked against the row, so that no file can make a kernel leave its buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...core.dtypes import DType
from ...core.errors import FormatError
from ...core.symbolic import SymDim
from ...graph.ir import Node, Value
from ...graph.protocol import TensorType
from .emitter import Emitter

Lower = Callable[[Emitter, Node, Sequence[str]], str | Sequence[str]]  # of several outputs a list
Check = Callable[[Any, Sequence[TensorType]], bool]  # a parameter's value, the types of the inputs


@dataclass(frozen=True, slots=True)
class Row:
    """One primitive.

    ``arity``: least and greatest number of inputs. ``broadcasts``: operands may be given in a shape that broadcasts
    to the result's; ``spreads``: it does to its operand what such an op does by itself. ``needs``: the values that
    ``lower`` uses; None means the inputs. ``accepts``: a check of the parameters as a whole. ``kinds``: the kinds of
    dtypes that the operands may have; None means that the primitive says it. ``halves``: floats of 16 bits are among
    them.
    """

    lower: Lower
    arity: tuple[int, int]
    params: Mapping[str, Check] = field(default_factory=dict)
    broadcasts: bool = False
    spreads: bool = False
    needs: Callable[[Node], Sequence[Value]] | None = None
    accepts: Callable[[dict[str, Any], Sequence[TensorType]], bool] | None = None
    kinds: tuple[str, ...] | None = None
    halves: bool = True


def check_node(name: str, row: Row, params: dict[str, Any], inputs: Sequence[TensorType]) -> None:
    """Raise unless a node read from a file is one that weft could have written.

    Raises:
        FormatError: it has other parameters, or a wrong number of inputs.
    """
    least, most = row.arity
    if not least <= len(inputs) <= most:
        raise FormatError(f"a node {name} has {len(inputs)} inputs")
    if params.keys() != row.params.keys():
        raise FormatError(f"a node {name} has the parameters {sorted(params)}, not {sorted(row.params)}")
    for key, check in row.params.items():
        if not check(params[key], inputs):
            raise FormatError(f"a node {name} has the parameter {key} = {params[key]!r}")
    if row.accepts is not None and not row.accepts(params, inputs):
        raise FormatError(f"a node {name} has parameters that do not fit: {params!r}")


# --- checks -----------------------------------------------------------------------------------------------------


def is_size(value: Any) -> bool:
    """A size: a number that is not negative and fits in 64 bits, or a symbolic one."""
    return (type(value) is int and 0 <= value < 1 << 63) or isinstance(value, SymDim)


def is_shape(value: Any, inputs: Sequence[TensorType] = ()) -> bool:
    """A tuple of sizes."""
    return isinstance(value, tuple) and all(is_size(n) for n in value)


def is_steps(value: Any, inputs: Sequence[TensorType] = ()) -> bool:
    """A tuple of steps, none of them 0."""
    return isinstance(value, tuple) and all(type(n) is int and n != 0 and abs(n) < 1 << 63 for n in value)


def is_axis(value: Any, inputs: Sequence[TensorType]) -> bool:
    """An axis of the first input."""
    return type(value) is int and 0 <= value < len(inputs[0].shape)


def is_axes(value: Any, inputs: Sequence[TensorType]) -> bool:
    """Different axes of the first input."""
    return isinstance(value, tuple) and all(is_axis(a, inputs) for a in value) and len(set(value)) == len(value)


def is_dtype(value: Any, inputs: Sequence[TensorType] = ()) -> bool:
    """A dtype."""
    return isinstance(value, DType)


def is_flag(value: Any, inputs: Sequence[TensorType] = ()) -> bool:
    """True or False."""
    return isinstance(value, bool)


def is_value(value: Any, inputs: Sequence[TensorType] = ()) -> bool:
    """What a ``full`` node holds: a number, a size, or the text of a number."""
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return False
        return True
    return isinstance(value, (bool, int, float, SymDim))
