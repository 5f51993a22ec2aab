"""Tensors put between each other: what is computed apart for each rest by a stride, as one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product
from math import prod

from ..core import dtypes as dt
from ..core.errors import DTypeError, ShapeError
from ..core.shapes import Shape
from ..core.symbolic import are_equal
from ..graph.ir import Node, Value, make_node
from ..graph.protocol import Composed, Primitive, TensorType
from .creation import FULL, IOTA
from .elementwise import WHERE, equal
from .op import Array
from .views import BROADCAST_TO, RESHAPE, SLICE_UPDATE, Gradients, Params, slice_

Ints = tuple[int, ...]

MOST = 4  # rests of the last axis, and of all others: each element looks at a part of each. More are written one by one


def _interleave_type(params: Params, *parts: TensorType) -> TensorType:
    steps, first = params["steps"], parts[0]
    lead = len(first.shape) - len(steps)
    if lead < 0 or min(steps, default=0) < 1 or len(parts) != prod(steps):
        raise ShapeError(f"interleave: {len(parts)} parts of shape {first.shape} for steps {steps}")
    for part in parts:
        if part.dtype is not first.dtype:
            raise DTypeError(f"interleave: {part.dtype.name} and {first.dtype.name} in one call")
        if len(part.shape) != len(first.shape) or not all(map(are_equal, part.shape, first.shape)):
            raise ShapeError(f"interleave: {first.shape} and {part.shape} differ")
    return TensorType(
        first.dtype, (*first.shape[:lead], *(n * s for n, s in zip(first.shape[lead:], steps, strict=True)))
    )


def _interleave_vjp(params: Params, inputs: tuple[Array, ...], output: Array, g: Array) -> Gradients:
    steps, shape = params["steps"], tuple(inputs[0].shape)
    lead = len(shape) - len(steps)
    return tuple(
        slice_(g, (*(0,) * lead, *rests), shape, (*(1,) * lead, *steps)) for rests in product(*map(range, steps))
    )


def _made(node: Node) -> Value:
    steps: Ints = node.params["steps"]
    few = max(prod(steps[:-1]), steps[-1]) <= MOST if steps else False
    return _selected(node, steps) if few else _written(node, steps)


def _selected(node: Node, steps: Ints) -> Value:
    """Each element from the part that it is in, over a space where rests are axes of their own: written in one pass."""
    shape, new = node.inputs[0].shape, partial(_node, node)
    lead = len(shape) - len(steps)
    apart = (*shape[:lead], *(k for pair in zip(shape[lead:], steps, strict=True) for k in pair))
    single = (*shape[:lead], *(k for n in shape[lead:] for k in (n, 1)))
    parts = [new(BROADCAST_TO, new(RESHAPE, part, shape=single), shape=apart) for part in node.inputs]

    def among(parts: Sequence[Value], axis: int) -> Value:
        """The part of the rests on an axis and those behind it."""
        if len(parts) == 1:
            return parts[0]
        each = len(parts) // steps[axis]
        found = among(parts[-each:], axis + 1)
        for rest in range(steps[axis] - 2, -1, -1):
            number = new(FULL, shape=(), value=rest, dtype=dt.int64)
            place = new(IOTA, shape=apart, axis=lead + 2 * axis + 1, dtype=dt.int64)
            assert equal.primitive is not None  # it is an entry of a table
            here = new(equal.primitive, place, new(BROADCAST_TO, number, shape=apart))
            found = new(WHERE, here, among(parts[rest * each : (rest + 1) * each], axis + 1), found)
        return found

    return new(RESHAPE, among(parts, 0), shape=node.output.shape)


def _written(node: Node, steps: Ints) -> Value:
    """One part after the other."""
    shape: Shape = node.output.shape
    lead = len(shape) - len(steps)
    total = _node(node, FULL, shape=shape, value=0, dtype=node.output.dtype)
    for part, rests in zip(node.inputs, product(*map(range, steps)), strict=True):
        starts = (*(0,) * lead, *rests)
        total = _node(node, SLICE_UPDATE, total, part, starts=starts, steps=(*(1,) * lead, *steps))
    return total


def _node(of: Node, op: Primitive, *inputs: Value, **params: object) -> Value:
    return make_node(op, inputs, params, of.where, of.scope).output


INTERLEAVE = Primitive("interleave", _interleave_type, Composed(_made), _interleave_vjp)
"""``result[..., i * s + r] = parts[r][..., i]`` on each of the last axes, of ``steps`` s; parts by their rests r in
row-major order. All parts have one shape."""
