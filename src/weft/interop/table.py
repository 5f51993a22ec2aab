"""The table of all primitives: name -> the primitive and its row. Adding a primitive is adding a row."""

from __future__ import annotations

import inspect
from functools import cache

from ..graph.protocol import Primitive
from ..ops import contraction, creation, cumulative, elementwise, indexing, random, reduction, views
from ..ops.op import Composite
from .elementwise_rows import ELEMENTWISE
from .rows import Row
from .structure_rows import STRUCTURE

__all__ = ["ROWS", "UNSUPPORTED", "primitives"]

ROWS: dict[str, Row] = {**ELEMENTWISE, **STRUCTURE}

# Primitives that standard ONNX ops cannot express, and why.
UNSUPPORTED = {"nextafter": "ONNX has no op that reads the bits of a float"}


@cache
def primitives() -> dict[str, Primitive]:
    """Every primitive by its name: those that the op modules name, and those that their functions were made from."""
    found: dict[str, Primitive] = {}
    for module in (elementwise, reduction, contraction, cumulative, views, indexing, creation, random):
        for value in vars(module).values():
            if isinstance(value, Composite):
                value = inspect.getclosurevars(value.function).nonlocals.get("primitive")
            if isinstance(value, Primitive):
                found[value.name] = value
    return found
