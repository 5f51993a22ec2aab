"""The table of all primitives: name -> its row. Adding a primitive is adding a row."""

from __future__ import annotations

from ...core.errors import FormatError
from ...graph.ir import Node
from ...graph.protocol import Host
from ...ops.registry import primitives
from .attention_rows import ATTENTION
from .contraction_rows import CONTRACTIONS
from .control_rows import CONTROL
from .elementwise_rows import ELEMENTWISE
from .pooling_rows import POOLING
from .rows import Row
from .structure_rows import STRUCTURE

ROWS: dict[str, Row] = {**ELEMENTWISE, **STRUCTURE, **CONTRACTIONS, **POOLING, **ATTENTION, **CONTROL}

SEVERAL = {*CONTROL, *ATTENTION}  # whose nodes may have several outputs

# Primitives that standard ONNX ops cannot express, and why.
UNSUPPORTED = {
    "nextafter": "ONNX has no op that reads the bits of a float",
    "call": "it is taken apart before",  # see graph/called.py
} | {
    name: "Python code computes it, and ONNX has no op for it"
    for name, primitive in primitives().items()
    if isinstance(primitive.lower, Host) and name not in ROWS
}


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
