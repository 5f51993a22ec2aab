"""Small random graphs for the tests of lowering, and the stages of their lowering."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

import weft as wf
from weft.core import dtypes as dt
from weft.core.shapes import size_of
from weft.graph.ir import Graph
from weft.graph.lower.roots import Root, lower_roots
from weft.graph.protocol import Layout, TensorType
from weft.graph.simplify import simplify
from weft.ops.op import trace_function
from weft.ops.views import slice_, slice_update


def _rows(x: Any, y: Any) -> Any:
    return x - wf.max(x, axis=1, keepdims=True) if x.shape[1] else y


def _part(x: Any, y: Any) -> Any:
    return slice_update(x, y[:1], (0, 0)) if x.shape[0] else y


def _pieces(x: Any, y: Any) -> Any:
    both = wf.concat([x * y, wf.tanh(x) - y], axis=0)
    return slice_(both, (0, 0), x.shape) * slice_(both, (x.shape[0], 0), x.shape)


def _straight(x: Any, y: Any) -> Any:
    line = wf.tanh(wf.reshape(x + y, (size_of(x.shape),)))
    return wf.reshape(line * line[::-1], tuple(x.shape))


OPS: dict[str, Callable[[Any, Any], Any]] = {
    "sum": lambda x, y: x + y,
    "scaled": lambda x, y: x * 0.5 - y * 0.25,
    "dear": lambda x, y: wf.tanh(x),
    "rows": _rows,
    "row sums": lambda x, y: wf.sum(x * y, axis=1, keepdims=True) + y,
    "column sums": lambda x, y: wf.sum(x, axis=0, keepdims=True) * 0.5 + y,
    "total": lambda x, y: y - wf.sum(x),
    "turned": lambda x, y: wf.reshape(x.mT, tuple(x.shape)),
    "flipped": lambda x, y: wf.flip(x, axis=1) + y,
    "product": lambda x, y: wf.tanh((x @ y.mT) @ x),
    "running": lambda x, y: wf.cumulative_sum(x, axis=0) * 0.5,
    "joined": lambda x, y: wf.concat([x[1:], y[:1]], axis=0),
    "pieces": _pieces,
    "part": _part,
    "straight": _straight,
    "largest": lambda x, y: wf.broadcast_to(wf.sum(x, axis=0), tuple(x.shape)) * y,
}
SHAPES = [(0, 3), (1, 5), (5, 1), (4, 6), (17, 33)]


def graph_of(function: Callable[..., Any], shapes: Sequence[tuple[int, ...]]) -> Graph:
    """The simplified graph of a function of float32 tensors."""
    return simplify(trace_function(function, [TensorType(dt.float32, s) for s in shapes], "f")[0], to_run=True)


def roots_of(graph: Graph) -> list[Root]:
    """Its roots, the inputs being row-major."""
    return lower_roots(graph, {v: Layout.contiguous(tuple(v.shape)) for v in graph.inputs}, {})


@st.composite
def graphs(draw: st.DrawFn, most: int = 8, of: Sequence[Any] = SHAPES) -> Graph:
    """A graph of two inputs of one shape (one of ``of``), with up to ``most`` steps."""
    shape = draw(st.sampled_from(of))
    count = draw(st.integers(1, most))
    steps = [
        (draw(st.sampled_from(sorted(OPS))), draw(st.integers(0, k + 1)), draw(st.integers(0, k + 1)))
        for k in range(count)
    ]
    results = draw(st.lists(st.integers(2, count + 1), min_size=1, max_size=3))

    def function(x: Any, y: Any) -> Any:
        values = [x, y]
        for name, a, b in steps:
            values.append(OPS[name](values[a], values[b]))
        return tuple(values[k] for k in results)

    return graph_of(function, [shape, shape])
