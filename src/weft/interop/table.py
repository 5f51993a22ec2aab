"""The table of all primitives: name -> the primitive and its row. Adding a primitive is adding a row."""

from __future__ import annotations

import inspect
from functools import cache

from ..core.errors import FormatError
from ..graph.ir import Node
from ..graph.protocol import Primitive
from ..ops import contraction, creation, cumulative, elementwise, indexing, random, reduction, strided_views, views
from ..ops.op import Composite
from .elementwise_rows import ELEMENTWISE
from .rows import Row
from .structure_rows import STRUCTURE

__all__ = ["ROWS", "UNSUPPORTED", "check_types", "primitives"]

ROWS: dict[str, Row] = {**ELEMENTWISE, **STRUCTURE}

# Primitives that standard ONNX ops cannot express, and why.
UNSUPPORTED = {"nextafter": "ONNX has no op that reads the bits of a float"}


@cache
def primitives() -> dict[str, Primitive]:
    """Every primitive by its name: those that the op modules name, and those that their functions were made from."""
    found: dict[str, Primitive] = {}
    for module in (elementwise, reduction, contraction, cumulative, views, strided_views, indexing, creation, random):
        for value in vars(module).values():
            if isinstance(value, Composite):
                value = inspect.getclosurevars(value.function).nonlocals.get("primitive")
            if isinstance(value, Primitive):
                found[value.name] = value
    return found


@cache
def _kinds() -> dict[str, tuple[str, ...]]:
    """The kinds of dtypes that each primitive computes in: those of its row, else those of its public function."""
    found = {name: row.kinds for name, row in ROWS.items() if row.kinds is not None}
    for value in vars(elementwise).values():
        entry = inspect.getclosurevars(value.function).nonlocals if isinstance(value, Composite) else {}
        if "primitive" in entry and entry["primitive"].name not in found:
            found[entry["primitive"].name] = ("float",) if entry.get("integers_stay") else entry["domain"].kinds
    return found


def check_types(node: Node) -> None:
    """Raise unless a node's op computes in the dtypes of its operands, as weft's own functions see to.

    Raises:
        FormatError: it does not.
    """
    name = node.op.name
    if name not in ROWS:
        return
    kinds, wide = _kinds()[name], ROWS[name].wide
    for value in node.inputs:
        dtype = value.dtype
        if dtype.kind not in kinds or (wide and dtype.is_floating and dtype.itemsize < 4):
            raise FormatError(f"a node {name} of {dtype.name}, in which it does not compute")
