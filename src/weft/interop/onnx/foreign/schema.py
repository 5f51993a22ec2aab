"""What the ONNX standard says of an operator in an opset, from the onnx package: attributes, inputs, element types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ....core.dtypes import DType
from ....core.errors import FormatError
from .call import Item

OLDEST, NEWEST = 7, 28  # opsets that the tables are written for; a test compares them with the standard
_NAMES = {"float32": "float", "float64": "double"}


@dataclass(frozen=True, slots=True)
class Schema:
    """One operator: types of attributes by name, those that must be given; of each input its name, the name of its
    type, what it may be; whether the last one takes all that are left; least and greatest number of outputs."""

    name: str
    attributes: dict[str, int]
    required: tuple[str, ...]
    inputs: tuple[tuple[str, str, frozenset[str]], ...]
    variadic: bool
    least: int
    outputs: int

    def check(self, items: Sequence[Item | None], outputs: int) -> None:
        """Raise unless inputs are of such numbers and types.

        Raises:
            FormatError: naming the input.
        """
        if len(items) < self.least or (len(items) > len(self.inputs) and not self.variadic):
            raise FormatError(f"it has {len(items)} inputs")
        if not 1 <= outputs <= self.outputs:
            raise FormatError(f"it has {outputs} outputs")
        bound: dict[str, DType] = {}
        for number, item in enumerate(items):
            if item is None:
                continue
            name, type_name, allowed = self.inputs[min(number, len(self.inputs) - 1)]
            dtype = item.dtype
            if f"tensor({_NAMES.get(dtype.name, dtype.name)})" not in allowed:
                raise FormatError(f"input {number} ({name}) is {dtype.name}, which the op does not take in this opset")
            if bound.setdefault(type_name, dtype) is not dtype:
                raise FormatError(
                    f"input {number} ({name}) is {dtype.name} where another input is {bound[type_name].name}"
                )


@cache
def schema_of(op: str, opset: int) -> Schema | None:
    """The operator as it is in an opset; None where it is not there."""
    from onnx import defs

    try:
        found = defs.get_schema(op, opset, "")
    except defs.SchemaError:
        return None
    if found.deprecated:
        return None
    inputs = tuple((i.name, i.type_str, frozenset(i.types)) for i in found.inputs)
    variadic = bool(inputs) and found.inputs[-1].option == defs.OpSchema.FormalParameterOption.Variadic
    return Schema(
        op,
        {name: int(a.type.value) for name, a in found.attributes.items()},
        tuple(name for name, a in found.attributes.items() if a.required),
        inputs,
        variadic,
        found.min_input,
        found.max_output,
    )


def opset_of(model: Any) -> int:
    """The opset of a model's standard operators.

    Raises:
        FormatError: it says none, or one that weft or the installed onnx package does not know.
    """
    from onnx import defs

    versions = {o.version for o in model.opset_import if o.domain in ("", "ai.onnx")}
    if len(versions) != 1:
        raise FormatError(f"it names {len(versions)} opsets of the standard operators instead of one")
    (version,) = versions
    if not OLDEST <= version <= NEWEST:
        raise FormatError(f"it is of opset {version}; weft reads opsets {OLDEST} to {NEWEST}")
    if version > defs.onnx_opset_version():
        raise FormatError(
            f"it is of opset {version}; the installed onnx package knows opsets up to {defs.onnx_opset_version()}: "
            "install a newer one"
        )
    return int(version)
