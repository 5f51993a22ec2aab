"""The naive meaning of expressions and kernels, in NumPy: what docs/numerics.md and the renderers' docstrings say, one
element after the other. Renderers are compared with it as bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import product
from math import prod
from typing import Any

import numpy as np

from weft.compiler.expr import Expr, topological
from weft.compiler.kernels import (
    REDUCE_LANES,
    STATUS_INDEX,
    Access,
    ColumnReduce,
    Int,
    Ints,
    Nest,
    Reduce,
    Sequential,
    Slot,
    Sort,
    Store,
    extents_of,
)
from weft.core import dtypes as dt
from weft.core.dtypes import DType

Array = Any  # np.ndarray of any dtype; ml_dtypes' bfloat16 has no type of its own

# --- one op on arrays -------------------------------------------------------------------------------------------


def _unsigned(a: Array) -> Array:
    return a.view(f"u{a.itemsize}")


def _truncated_quotient(a: Array, b: Array) -> Array:
    return a / b if a.dtype.kind == "f" else ((a - np.fmod(a, b)) // b).astype(a.dtype)


def _high_half(a: Array, b: Array) -> Array:
    wide = a.astype(object) * b.astype(object)
    return np.array([int(x) >> (8 * a.itemsize) for x in wide], object).astype(a.dtype)


def _leading_zeros(a: Array) -> Array:
    return np.array([8 * a.itemsize - int(x).bit_length() for x in _unsigned(a)]).astype(a.dtype)


def _nearest(exact: Fraction, dtype: Any) -> Any:
    """The float next to a number, the even one of two."""
    if abs(exact) >= Fraction(2) ** np.finfo(dtype).maxexp:
        return dtype.type(np.inf if exact > 0 else -np.inf)
    near = dtype.type(float(exact))
    if not np.isfinite(near):
        return near
    around = [np.nextafter(near, -np.inf, dtype=dtype), near, np.nextafter(near, np.inf, dtype=dtype)]
    finite = [x for x in around if np.isfinite(x)]
    return min(finite, key=lambda x: (abs(Fraction(float(x)) - exact), int(_unsigned(np.array(x))) & 1))


def _fma(a: Array, b: Array, c: Array) -> Array:
    def one(x: Any, y: Any, z: Any) -> Any:
        if np.isfinite([x, y, z]).all():
            exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
            return _nearest(exact, a.dtype) if exact else x * y + z
        return z if np.isfinite([x, y]).all() else x * y + z

    return np.array([one(*xyz) for xyz in zip(a, b, c, strict=True)], a.dtype)


OPS: dict[str, Callable[..., Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": _truncated_quotient,
    "rem": np.fmod,
    "neg": np.negative,
    "abs": np.abs,
    "sqrt": np.sqrt,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "rint": np.rint,
    "copysign": np.copysign,
    "fma": _fma,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "not": np.invert,
    "shl": np.left_shift,
    "shr": np.right_shift,
    "mulhi": _high_half,
    "popcount": lambda a: np.bitwise_count(_unsigned(a)).astype(a.dtype),
    "clz": _leading_zeros,
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "where": np.where,
}


def rounded(a: Array, dtype: DType) -> Array:
    """Numbers rounded once, to nearest even, to a 16-bit float: by counting in steps of its last place."""
    digits, lowest, top = (11, -24, 16) if dtype is dt.float16 else (8, -133, 128)
    x = a.astype(np.longdouble)  # exact for every dtype
    _, exponent = np.frexp(np.where(np.isfinite(x), x, 1))
    step = np.ldexp(np.longdouble(1), np.maximum(exponent - digits, lowest))
    near = np.where(np.isfinite(x), np.rint(x / step) * step, x)
    near = np.where(np.abs(near) >= np.ldexp(np.longdouble(1), top), np.copysign(np.inf, x), near)
    return near.astype(np.float64).astype(dtype.numpy)


def cast(a: Array, dtype: DType) -> Array:
    """Values converted: rounded once, integers wrapped, floats to integers truncated and saturated, NaN to 0."""
    floating = a.dtype.kind not in "iub"
    if dtype is dt.bool_:
        return a.astype(np.float64) != 0 if floating else a != 0
    if dtype.is_floating and dtype.itemsize == 2:
        return rounded(a, dtype)
    if floating and dtype.is_integer:
        info, x = np.iinfo(dtype.numpy), a.astype(np.longdouble)
        return np.where(np.isnan(x), 0, np.trunc(np.clip(x, info.min, info.max))).astype(dtype.numpy)
    with np.errstate(all="ignore"):
        return a.astype(dtype.numpy)


def compute(node: Expr, args: Sequence[Array], count: int) -> Array:
    """The values of a node that is no leaf, at ``count`` points."""
    with np.errstate(all="ignore"):
        if node.op == "const":
            return np.full(count, node.value).astype(node.dtype.numpy)
        if node.op == "cast":
            return cast(args[0], node.dtype)
        if node.op == "bitcast":
            return np.ascontiguousarray(args[0]).view(node.dtype.numpy)
        if node.op == "table":
            return np.array(node.value, node.dtype.numpy)[args[0]]
        return np.asarray(OPS[node.op](*args))


# --- points -----------------------------------------------------------------------------------------------------


class Memory:
    """What a kernel sees: buffers (flat arrays), ints, and the status that it reports."""

    def __init__(self, buffers: Sequence[Array], ints: Sequence[int]):
        self.buffers, self.ints, self.status = buffers, ints, 0

    def int_(self, value: Int) -> int:
        """A literal, or what stands in its Slot."""
        return self.ints[value.index] if isinstance(value, Slot) else value

    def place(self, access: Access, axes: Sequence[Any]) -> Any:
        """``offset + sum(stride * index)``."""
        return self.int_(access.offset) + sum(
            self.int_(s) * np.asarray(i) for s, i in zip(access.strides, axes, strict=True)
        )

    def moved(self, steps: Any, indices: Sequence[Array]) -> tuple[Array, Array]:
        """Elements by which indices move an access, and whether all are in range; what is not sets the status."""
        total, inside = np.zeros(1, np.int64), np.ones(1, bool)
        for (extent, stride), index in zip(steps, indices, strict=True):
            size = self.int_(extent)
            index = np.where(index < 0, index + size, index)
            inside = inside & (index >= 0) & (index < size)
            total = total + index * self.int_(stride)
        if not np.all(inside):
            self.status |= STATUS_INDEX
        return np.where(inside, total, 0), inside

    def evaluate(self, roots: Sequence[Expr], axes: Sequence[Any], refs: Sequence[Array] = ()) -> list[Array]:
        """The values of the roots along the last of the ``axes``, an array of indices; the others are numbers."""
        count = len(axes[-1])
        known: dict[int, Array] = {}
        for node in topological(roots):
            args = [known[id(a)] for a in node.args]
            known[id(node)] = np.broadcast_to(self._value(node, args, axes, refs, count), (count,))
        return [known[id(r)] for r in roots]

    def _value(self, node: Expr, args: list[Array], axes: Sequence[Any], refs: Sequence[Array], count: int) -> Array:
        if node.op == "load":
            place = np.broadcast_to(self.place(node.value, axes), (count,))
            there = np.broadcast_to(args[0] if args else np.ones(1, bool), (count,))
            return np.where(there, self.buffers[node.value.buf][np.where(there, place, 0)], 0).astype(node.dtype.numpy)
        if node.op == "index":
            return np.asarray(self.place(node.value, axes), np.int64)
        if node.op == "ref":
            return refs[node.value]
        if node.op == "param":
            bits = np.array([self.int_(node.value)], np.int64).view(np.uint8)
            return bits[: node.dtype.itemsize].view(node.dtype.numpy)
        if node.op == "gather":
            access, steps = node.value
            moved, inside = self.moved(steps, args)
            place = np.where(inside, self.place(access, axes) + moved, 0)
            return np.where(inside, self.buffers[access.buf][place], np.zeros(1, node.dtype.numpy))
        return compute(node, args, count)

    def write(self, stores: Sequence[Store], axes: Sequence[Any], refs: Sequence[Array] = ()) -> None:
        """All values first, then the stores in order, each point after the other."""
        values = self.evaluate([s.value for s in stores], axes, refs)
        indices = [self.evaluate(s.indices, axes, refs) for s in stores]
        for store, value, index in zip(stores, values, indices, strict=True):
            moved, inside = self.moved(store.steps, index)
            place = np.broadcast_to(self.place(store.access, axes) + moved, value.shape)
            inside = np.broadcast_to(inside, value.shape)
            self.buffers[store.access.buf][place[inside]] = value[inside]


# --- partial results --------------------------------------------------------------------------------------------

State = list[Array]  # values, and for argmax and argmin positions


def identity(stage: Reduce, count: int) -> State:
    """``count`` times the partial result of nothing."""
    dtype = stage.value.dtype
    if stage.op in ("sum", "prod", "any", "all"):
        return [np.full(count, stage.op in ("prod", "all")).astype(dtype.numpy)]
    if dtype is dt.bool_:
        start: Any = stage.op.endswith("min")
    elif dtype.is_floating:
        start = np.inf if stage.op.endswith("min") else -np.inf
    else:
        info = np.iinfo(dtype.numpy)
        start = info.max if stage.op.endswith("min") else info.min
    state = [np.full(count, start, dtype.numpy)]
    return [*state, np.full(count, (1 << 63) - 1)] if stage.op.startswith("arg") else state


def combine(stage: Reduce, a: State, b: State) -> State:
    """One after the other: ``a`` of earlier elements."""

    with np.errstate(all="ignore"):
        if stage.op in ("any", "all") or (a[0].dtype == bool and stage.op in ("sum", "prod")):
            return [a[0] | b[0] if stage.op in ("any", "sum") else a[0] & b[0]]
        if stage.op in ("sum", "prod"):
            return [a[0] + b[0] if stage.op == "sum" else a[0] * b[0]]
    (x, *x_at), (y, *y_at) = a, b
    earlier = y_at[0] < x_at[0] if y_at else np.zeros(len(x), bool)  # of two that are equal the first position
    better = np.where(x == y, earlier, (y > x) == stage.op.endswith("max"))
    taken = np.where((x != x) | (y != y), (y != y) & ((x == x) | earlier), better)
    return [np.where(taken, y, x) for x, y in zip(a, b, strict=True)]


def tree(stage: Reduce, lanes: list[State]) -> Array:
    """The 64 partial results, of one or several reductions at a time, halved until one is left."""
    half = REDUCE_LANES // 2
    while half:
        lanes = [combine(stage, lanes[i], lanes[i + half]) for i in range(half)]
        half //= 2
    return lanes[0][-1]


def reduced(memory: Memory, stage: Reduce, axes: Sequence[Any], refs: Sequence[Array]) -> Array:
    """One reduction along the last axis."""
    roots = [stage.value] if stage.position is None else [stage.value, stage.position]
    values = memory.evaluate(roots, axes, refs)
    lanes = identity(stage, REDUCE_LANES)
    for start in range(0, len(values[0]), REDUCE_LANES):
        now = [v[start : start + REDUCE_LANES] for v in values]
        count = len(now[0])
        lanes = [
            np.concatenate([n, x[count:]])
            for n, x in zip(combine(stage, [x[:count] for x in lanes], now), lanes, strict=True)
        ]
    return tree(stage, [[x[lane : lane + 1] for x in lanes] for lane in range(REDUCE_LANES)])


# --- kernels ----------------------------------------------------------------------------------------------------


def _grid(memory: Memory, sizes: Sequence[Int]) -> Iterator[tuple[int, ...]]:
    return product(*(range(memory.int_(size)) for size in sizes))


def _piece(memory: Memory, number: int, size: Int, extent: Ints) -> range:
    start, whole = number * memory.int_(size), prod(_sizes(memory, extent))
    return range(start, min(start + memory.int_(size), whole)) if size else range(whole)


def _sizes(memory: Memory, walked: Ints) -> list[int]:
    return [memory.int_(n) for n in extents_of(walked)]


def _walked(memory: Memory, extents: Ints, elements: Any) -> list[Any]:
    """Indices of the axes that are walked as one, of elements in row-major order."""
    sizes = _sizes(memory, extents)
    return [elements] if len(sizes) == 1 else list(np.unravel_index(elements, sizes))


def run_nest(kernel: Nest, memory: Memory) -> None:
    """:class:`Nest`: the stages in order, each a loop over the inner axis."""
    for *outer, block in _grid(memory, (*kernel.grid, kernel.blocks)):
        inner = _piece(memory, block, 0 if kernel.blocks == 1 else kernel.block, kernel.inner)
        elements = _walked(memory, kernel.inner, np.arange(inner.start, inner.stop))
        before = [*outer, block] if kernel.block_axis else outer
        if kernel.together > 1:  # each point of the short axis with each element
            count = len(inner)
            before = [*before, np.repeat(np.arange(kernel.together), count)]
            elements = [np.tile(e, kernel.together) for e in elements]
        refs: list[Array] = []
        for stage in kernel.stages:
            if isinstance(stage, Reduce):
                refs.append(reduced(memory, stage, [*before, *elements], refs))
            else:
                points = [np.zeros(1, int)] * len(elements) if stage.scalar else elements
                memory.write([stage], [*before, *points], refs)


def run_column(kernel: ColumnReduce, memory: Memory) -> None:
    """:class:`ColumnReduce`: 64 partial results for every column, then the tree, then the stores."""
    reduces = [s for s in kernel.stages if isinstance(s, Reduce)]
    stores = [s for s in kernel.stages if isinstance(s, Store)]
    for *outer, chunk, block in _grid(memory, (*kernel.grid, kernel.chunks, kernel.blocks)):
        before = [*outer, chunk] if kernel.chunk_axis else outer
        rows = _piece(memory, chunk, kernel.chunk, kernel.reduced)
        columns = np.array(_piece(memory, block, kernel.block, kernel.inner), np.int64)
        refs = []
        for stage in reduces:
            roots = [stage.value] if stage.position is None else [stage.value, stage.position]
            lanes = [identity(stage, columns.size) for _ in range(REDUCE_LANES)]
            for number, row in enumerate(rows):
                lane, at = number % REDUCE_LANES, _walked(memory, kernel.reduced, row)
                lanes[lane] = combine(stage, lanes[lane], memory.evaluate(roots, [*before, *at, columns]))
            refs.append(tree(stage, lanes))
        memory.write(stores, [*before, *[0] * len(extents_of(kernel.reduced)), columns], refs)


def run_sequential(kernel: Sequential, memory: Memory) -> None:
    """:class:`Sequential`: step after step; at each, all values before the first store."""
    for *outer, block in _grid(memory, (*kernel.grid, kernel.blocks)):
        columns = np.array(_piece(memory, block, kernel.block, kernel.inner), np.int64)
        for step in range(memory.int_(kernel.steps)):
            memory.write(kernel.stages, [*outer, step, columns])


def run_sort(kernel: Sort, memory: Memory) -> None:
    """:class:`Sort`: a stable order of each row, of which the first positions are kept. Descending is the reverse of an
    ascending order of the reverse, so that equal elements stay as they are."""
    count = memory.int_(kernel.count)
    for row in range(memory.int_(kernel.rows)):
        elements = memory.buffers[kernel.source.buf][memory.place(kernel.source, [row, np.arange(count)])]
        elements = np.broadcast_to(elements, (count,))
        if kernel.descending:
            order = count - 1 - np.argsort(elements[::-1], kind="stable")[::-1]
        else:
            order = np.argsort(elements, kind="stable")
        places = np.arange(memory.int_(kernel.kept))
        memory.buffers[kernel.result.buf][memory.place(kernel.result, [row, places])] = order[places]


_RUN: dict[type, Callable[[Any, Memory], None]] = {
    Nest: run_nest,
    ColumnReduce: run_column,
    Sequential: run_sequential,
    Sort: run_sort,
}


def run(kernel: Any, buffers: Sequence[Array], ints: Sequence[int]) -> int:
    """Run all units over the buffers; the status."""
    memory = Memory(buffers, ints)
    _RUN[type(kernel)](kernel, memory)
    return memory.status
