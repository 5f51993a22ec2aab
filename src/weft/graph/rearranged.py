"""What views show, and views that passes need between what graphs have: parts, other shapes, other orders. They are
told by layouts, as any view, so that nothing is copied where strides can say them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.errors import CompileError
from ..core.shapes import Shape
from ..core.symbolic import Dim
from .ir import Node, Value, make_node
from .protocol import Concat, Layout, Primitive, TensorType, View


def views_of(value: Value) -> tuple[Value, list[Node]]:
    """What a value is seen of, and by which views, the first one first; none if it is no view."""
    views: list[Node] = []
    while value.node is not None and isinstance(value.node.op.lower, View):
        views.append(value.node)
        value = value.node.inputs[0]
    return value, views[::-1]


def layout_of(value: Value) -> Layout | None:
    """Where the elements of a view lie in what it shows, were that row-major; None: strides cannot say it."""
    source, views = views_of(value)
    layout: Layout | None = Layout.contiguous(source.shape)
    for view in views:
        assert isinstance(view.op.lower, View)
        layout = None if layout is None else view.op.lower.layout(view.params, layout)
    return layout


def part_of(whole: Value, axis: int, start: Dim, size: Dim, like: Node) -> Value:
    """``size`` elements along an axis, from ``start`` on."""
    return _made(_PART, (whole,), {"axis": axis, "start": start, "size": size}, like)


def reshaped(x: Value, shape: Shape, like: Node) -> Value:
    """The elements, in row-major order, under another shape."""
    return _made(_RESHAPED, (x,), {"shape": shape}, like)


def permuted(x: Value, axes: Sequence[int], like: Node) -> Value:
    """Axis i is axis ``axes[i]`` of x."""
    return _made(_PERMUTED, (x,), {"axes": tuple(axes)}, like)


def reversed_rows(x: Value, like: Node) -> Value:
    """From the last position on axis 0 to the first."""
    return _made(_REVERSED, (x,), {}, like)


def joined(parts: Sequence[Value], axis: int, like: Node) -> Value:
    """Parts side by side along an axis."""
    return parts[0] if len(parts) == 1 else _made(_JOINED, parts, {"axis": axis}, like)


def _made(op: Primitive, inputs: Sequence[Value], params: dict[str, Any], like: Node) -> Value:
    return make_node(op, inputs, params, like.where, like.scope).output


def with_size(shape: Shape, axis: int, size: Dim) -> Shape:
    """A shape with another size on an axis."""
    return (*shape[:axis], size, *shape[axis + 1 :])


def _typed(shape: Any) -> Any:
    """The rule of types of a view: ``shape(params, shape of x)``."""
    return lambda params, x: TensorType(x.dtype, shape(params, x.shape))


def _part(params: dict[str, Any], whole: Layout) -> Layout:
    axis = params["axis"]
    offset = whole.offset + params["start"] * whole.strides[axis]
    return Layout(with_size(whole.shape, axis, params["size"]), offset, whole.strides)


def _reversal(params: dict[str, Any], x: Layout) -> Layout:
    return Layout(x.shape, x.offset + (x.shape[0] - 1) * x.strides[0], (-x.strides[0], *x.strides[1:]))


def _joined_type(params: dict[str, Any], *parts: TensorType) -> TensorType:
    axis, first = params["axis"], parts[0]
    whole = TensorType(first.dtype, with_size(first.shape, axis, sum([part.shape[axis] for part in parts])))
    if any(TensorType(p.dtype, with_size(p.shape, axis, whole.shape[axis])) != whole for p in parts):
        raise CompileError(f"parts of other types are joined on axis {axis}: {', '.join(map(repr, parts))}")
    return whole


_PART = Primitive("part", _typed(lambda p, shape: with_size(shape, p["axis"], p["size"])), View(_part))
_RESHAPED = Primitive("reshaped", _typed(lambda p, _: p["shape"]), View(lambda p, x: x.reshaped(p["shape"])))
_PERMUTED = Primitive(
    "permuted", _typed(lambda p, shape: tuple([shape[a] for a in p["axes"]])), View(lambda p, x: x.permuted(p["axes"]))
)
_REVERSED = Primitive("reversed", _typed(lambda _, shape: shape), View(_reversal))
_JOINED = Primitive("joined", _joined_type, Concat())
