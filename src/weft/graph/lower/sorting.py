"""A node whose rule is Argsort as one Sort."""

from __future__ import annotations

from ...compiler.kernels import Sort
from ...core import dtypes as dt
from ...core.symbolic import computed, least
from ..ir import Value
from ..protocol import TensorType
from .launch import Launch, LaunchBuilder, grain_of, pieces
from .roots import Root

UNITS = 16  # at most so many pieces of the rows, each of which has room of its own
SLACK = 64  # candidates that a unit collects beside twice as many as it keeps, before it sorts them
COST = 60  # instructions for an element: comparisons with the last one kept, and of those that pass with each other


def lower_sort(root: Root) -> Launch:
    """The launch, with its room as a value of its own."""
    node = root.node
    value, layout = root.exprs[0].value
    (rows, count), kept = node.inputs[0].shape, root.shape[1]
    units, space = least(rows, UNITS), least(count, 2 * kept + SLACK)
    block = computed(pieces, rows, UNITS)
    # A position and the bits of an element, as one number.
    wide = value.dtype.bits > 32 or count > 1 << 32
    words = 2 if wide else 1
    room = Value(TensorType(dt.int64, (units, 2, space, words)))
    builder, own = LaunchBuilder(), root.own
    source = builder.access(value, layout.offset, layout.strides)
    result = builder.access(root.value, own.offset, own.strides, write=True)
    inner = builder.access(room, 0, (2 * words * space, 1), write=True)
    kernel = Sort(
        builder.slot(rows),
        builder.slot(block),
        builder.slot(count),
        builder.slot(kept),
        builder.slot(space),
        source,
        result,
        inner,
        node.params["descending"],
        wide,
        tuple(builder.dtypes),
    )
    work = COST * count
    return builder.launch(kernel, units, computed(grain_of, work * block), [node], work * rows)
