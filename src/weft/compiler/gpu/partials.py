"""Partial results of reductions on a GPU: the one that a thread is making, and all of a block in shared memory."""

from __future__ import annotations

from collections.abc import Sequence

from ..emit import emit_exprs, memory_type
from ..kernels import REDUCE_LANES, ColumnReduce, Nest, Reduce
from ..lanes import LanePoint
from ..reduction import identities, state_dtypes
from ..stages import accumulate, combine_registers, load_cell, reduces_of, store_cell
from .frame import Threads, shared_array, shared_cell


def state_nbytes(kernel: Nest | ColumnReduce) -> int:
    """Bytes of one partial result of every reduction."""
    return sum(d.itemsize for s in reduces_of(kernel.stages) for d in state_dtypes(s))


class Partials:
    """The partial results of one Reduce: the one that a thread is making, and all of them in shared memory."""

    def __init__(self, t: Threads, stage: Reduce, columns: int = 1):
        self.w, self.stage, self.columns = t.w, stage, columns
        self.dtypes = state_dtypes(stage)
        self.own = [t.w.op(f"alloca {memory_type(d)}, align 8", "own") for d in self.dtypes]
        self.shared = [shared_array(t.w, d, REDUCE_LANES * columns) for d in self.dtypes]

    def clear(self, point: LanePoint) -> None:
        """Begin: the identity."""
        for cell, dtype, value in zip(
            self.own, self.dtypes, emit_exprs(self.w, identities(self.stage), point), strict=True
        ):
            store_cell(self.w, cell, dtype, value, 1)

    def add(self, values: list[str]) -> None:
        """Combine one element into the thread's own partial result."""
        accumulate(self.w, self.stage, self.own, "0", [values], 1, None)

    def publish(self, at: str) -> None:
        """Write the thread's own partial result into shared memory."""
        for cell, array, dtype in zip(self.own, self.shared, self.dtypes, strict=True):
            shared_cell(self.w, array, dtype, at, load_cell(self.w, cell, dtype, 1))

    def halve(self, at: str, half: int) -> None:
        """Combine partial result ``at`` with the one ``half`` lanes on."""
        above = self.w.op(f"add nsw i64 {at}, {half * self.columns}")
        low, high = (
            [shared_cell(self.w, array, d, place) for array, d in zip(self.shared, self.dtypes, strict=True)]
            for place in (at, above)
        )
        merged = combine_registers(self.w, self.stage, low, high, 1)
        for array, dtype, value in zip(self.shared, self.dtypes, merged, strict=True):
            shared_cell(self.w, array, dtype, at, value)

    def result(self, column: str = "0") -> tuple[str, int]:
        """The reduction, as a LanePoint's ref."""
        return shared_cell(self.w, self.shared[-1], self.dtypes[-1], column), 1


def halves() -> list[int]:
    """The levels of the tree: 32, 16, ..., 1."""
    return [REDUCE_LANES >> step for step in range(1, REDUCE_LANES.bit_length())]


def halve(made: Sequence[Partials], at: str, half: int) -> None:
    """One combination of the tree, of every reduction."""
    for each in made:
        each.halve(at, half)
