"""Views as graphs, and their inverses: what a chain of views shows, and a tensor with other values in that place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.errors import ShapeError
from ..core.shapes import Shape, is_static, size_of
from ..graph.ir import Graph, Node
from ..graph.protocol import Layout, Primitive, View
from ..graph.simplify import simplify
from .op import Array, apply, trace_function
from .strided_views import AS_STRIDED_UPDATE
from .subscript import Subscript
from .views import PERMUTE, RESHAPE, SLICE, reshaped


def put_graph(graph: Graph, output: int = 0) -> Graph:
    """For a graph that only looks at its one input x in another way, v = view(x): the graph of (x, y) -> x with y (of
    v's dtype and shape) where v was.

    Raises:
        ShapeError: elements of x show several times in v, or something is computed on the way.
    """
    (start,), end = graph.inputs, graph.outputs[output]
    way: list[Node] = []
    value = end
    while value is not start:
        node = value.node
        if node is None or not isinstance(node.op.lower, View) or node.op.put is None:
            raise ShapeError(
                f"{node.op if node else graph.name}: what it gives is no view that could be written through"
            )
        way.append(node)
        (value,) = node.inputs
    steps = _merged(start.shape, way[::-1])

    def function(x: Array, y: Array) -> Array:
        shown = [x]
        for op, params in steps:
            shown.append(apply(op, shown[-1], **params))
        for (op, params), before in zip(reversed(steps), reversed(shown[:-1]), strict=True):
            assert op.put is not None
            y = op.put(params, before, y)
        return y

    return simplify(trace_function(function, [start.type, end.type], f"{graph.name}.put")[0])


_Step = tuple[Primitive, dict[str, Any]]


def _merged(shape: Shape, way: Sequence[Node]) -> list[_Step]:
    """The views of ``way`` in few steps: slices that follow each other, whatever is permuted and whichever axes of size
    1 come and go in between, are one slice, so that what is put there is written once."""
    steps: list[_Step] = []
    region = _Region(shape)
    for node in way:
        if not region.moved_by(node):
            steps += [*region.steps(), (node.op, node.params)]
            region = _Region(node.output.shape)
    return [*steps, *region.steps()]


class _Region:
    """A slice of a tensor with its axes in another order: ``bounds`` are the start, the size and the step on each axis
    of the tensor, ``axes`` says which of these each axis of the region is (None: one of size 1 that was added)."""

    def __init__(self, shape: Shape):
        self.shape = shape
        self.bounds: list[tuple[Any, Any, int]] = [(0, n, 1) for n in shape]
        self.axes: list[int | None] = list(range(len(shape)))

    def _sizes(self) -> list[Any]:
        return [1 if a is None else self.bounds[a][1] for a in self.axes]

    def moved_by(self, node: Node) -> bool:
        """Go on to the region that a node shows of this one; False where that is no such region."""
        params = node.params
        if not is_static(node.output.shape) or not is_static(node.inputs[0].shape):
            return False
        if node.op is PERMUTE:
            self.axes = [self.axes[a] for a in params["axes"]]
            return True
        if node.op is RESHAPE:
            kept = [(a, n) for a, n in zip(self.axes, self._sizes(), strict=True) if n != 1]
            if [n for _, n in kept] != [n for n in params["shape"] if n != 1]:
                return False
            rest = iter(kept)
            self.axes = [None if n == 1 else next(rest)[0] for n in params["shape"]]
            return True
        if node.op is not SLICE:
            return False
        cuts = list(zip(self.axes, params["starts"], params["sizes"], params["steps"], strict=True))
        if any(a is None and size != 1 for a, _, size, _ in cuts):
            return False
        for a, start, size, step in cuts:
            if a is not None:
                first, _, by = self.bounds[a]
                self.bounds[a] = (first + start * by, size, by * step)
        return True

    def steps(self) -> list[_Step]:
        """The views that show it."""
        starts, sizes, by = (tuple(b[k] for b in self.bounds) for k in range(3))
        found: list[_Step] = []
        if any(bound != (0, n, 1) for bound, n in zip(self.bounds, self.shape, strict=True)):
            found.append((SLICE, {"starts": starts, "sizes": sizes, "steps": by}))
        kept = [a for a in self.axes if a is not None]
        if len(kept) < len(sizes):
            found.append((RESHAPE, {"shape": tuple(sizes[a] for a in sorted(kept))}))
        order = tuple(sorted(kept).index(a) for a in kept)
        if order != tuple(range(len(order))):
            found.append((PERMUTE, {"axes": order}))
        if None in self.axes:
            found.append((RESHAPE, {"shape": tuple(self._sizes())}))
        return found


def layout_at(key: Subscript, x: Layout) -> Layout | None:
    """Where ``x[key]`` lies, for a key without index arrays, in memory in which x lies like this; None where strides
    that count backwards are all that could say it."""
    assert isinstance(SLICE.lower, View)
    assert isinstance(RESHAPE.lower, View)
    cut = SLICE.lower.layout({"starts": key.starts, "sizes": key.sizes, "steps": key.steps}, x)
    if cut is None or any(s < 0 for s in cut.strides):
        return None
    return RESHAPE.lower.layout({"shape": key.shape}, cut)


def put_strided(x: Array, y: Array, strides: tuple[int, ...], offset: int) -> Array:
    """``x`` with ``y`` at elements ``offset + strides * index`` of it, in row-major order; within a trace alone."""
    shape = tuple(x.shape)
    flat = reshaped(x, (size_of(shape),))
    return reshaped(apply(AS_STRIDED_UPDATE, flat, y, shape=tuple(y.shape), strides=strides, offset=offset), shape)
