"""The table of all primitives: name -> its row. Adding a primitive is adding a row."""

from __future__ import annotations

from ...core.errors import FormatError
from ...graph.ir import Node
from .elementwise_rows import ELEMENTWISE
from .rows import Row
from .structure_rows import STRUCTURE

ROWS: dict[str, Row] = {**ELEMENTWISE, **STRUCTURE}

# Primitives that standard ONNX ops cannot express, and why.
UNSUPPORTED = {"nextafter": "ONNX has no op that reads the bits of a float"}


def check_types(node: Node) -> None:
    """Raise unless a node's op computes in the dtypes of its operands, as weft's own functions see to.

    Raises:
        FormatError: it does not.
    """
    name = node.op.name
    if name not in ROWS:
        return
    row = ROWS[name]
    kinds = node.op.kinds if row.kinds is None else row.kinds
    assert kinds is not None, f"{name}: neither the entry nor the row says in which dtypes it computes"
    for value in node.inputs:
        dtype = value.dtype
        if dtype.kind not in kinds or (dtype.is_half and not row.halves):
            raise FormatError(f"a node {name} of {dtype.name}, in which it does not compute")
