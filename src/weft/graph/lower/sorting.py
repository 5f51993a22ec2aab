"""A node whose rule is Argsort as one Sort."""

from __future__ import annotations

from ...compiler.kernels import Sort
from ...core import dtypes as dt
from ...core.symbolic import computed, least
from ..ir import Value
from ..protocol import TensorType
from .launch import Launch, LaunchBuilder, grain_of, pieces
from .roots import Root

UNITS, FEWEST = 16, 4  # pieces of the rows, at most, each of which has room of its own; at least, where rows are long
ROOM = 64 << 20  # bytes of room that more than FEWEST pieces may have together
SLACK = 64  # candidates that a unit collects beside twice as many as it keeps, before it sorts them
COST = 60  # instructions for an element: comparisons with the last one kept, and of those that pass with each other


def lower_sort(root: Root) -> Launch:
    """The launch, with its room as a value of its own."""
    node = root.node
    value, layout = root.exprs[0].value
    (rows, count), kept = node.inputs[0].shape, root.shape[1]
    space = least(count, 2 * kept + SLACK)
    # A position and the bits of an element, as one number.
    wide = value.dtype.bits > 32 or count > 1 << 32
    words = 2 if wide else 1
    most = computed(_most, 2 * 8 * words * space)
    units, block = least(rows, most), computed(pieces, rows, most)
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


def _most(nbytes: int) -> int:
    """Pieces of the rows, at most, where each has so many bytes of room."""
    return max(FEWEST, min(UNITS, ROOM // max(nbytes, 1)))
