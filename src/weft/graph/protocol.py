"""What an op must say of itself: its result, its gradient, and how it lowers.

A :class:`Primitive` is strict: operands have equal shapes and dtypes where the mathematics wants them equal.
Broadcasting and promotion are written out as ``broadcast_to`` and ``cast`` nodes by the public functions.

``lower`` is one of the rules below. They are descriptions: what is computed at one point, or how indices move. The
fusion of several nodes into a kernel is the business of :mod:`weft.graph.lower`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..compiler.expr import Expr
from ..core.dtypes import DType
from ..core.shapes import Shape, strides_of

__all__ = [
    "COPY",
    "Concat",
    "Composed",
    "Contract",
    "Gather",
    "Layout",
    "Map",
    "Outputs",
    "Padded",
    "Position",
    "Primitive",
    "Reduction",
    "Rule",
    "Scan",
    "Scatter",
    "Shuffle",
    "SliceUpdate",
    "TensorType",
    "View",
]


class TensorType(NamedTuple):
    """dtype and shape of a value."""

    dtype: DType
    shape: Shape

    def __repr__(self) -> str:
        return f"{self.dtype.name}[{', '.join(map(str, self.shape))}]"


class Layout(NamedTuple):
    """Element (i0, i1, ...) lies ``offset + sum(strides[a] * i_a)`` elements from the start of the buffer."""

    shape: tuple[int, ...]
    offset: int
    strides: tuple[int, ...]

    @staticmethod
    def contiguous(shape: tuple[int, ...]) -> Layout:
        """Row-major."""
        return Layout(shape, 0, strides_of(shape))

    @property
    def is_contiguous(self) -> bool:
        """Row-major; the strides of axes of size 1 do not matter."""
        step = 1
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size != 1 and stride != step:
                return False
            step *= size or 1  # as strides_of()
        return True


@dataclass(frozen=True, slots=True)
class Map:
    """Elementwise: ``expr(params, *arguments)`` at each point. Floating 16-bit arguments arrive as they are stored;
    see ``weft.ops.precision`` for the wrapper that computes them in float32."""

    expr: Callable[..., Expr]
    cost: int = 1  # rough number of vector instructions; above ~8 a value used twice is stored rather than recomputed


@dataclass(frozen=True, slots=True)
class Position:
    """No operands: ``expr(params, index)`` where ``index(axis)`` is the int64 position on an axis of the result.

    ``constant``: every element is ``params["value"]`` (a Python number, or its text for -0.0 and NaN, which compare
    badly), of ``params["dtype"]``, in ``params["shape"]``.
    """

    expr: Callable[..., Expr]
    constant: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """Moves indices: ``layout(params, Layout) -> Layout``, or None where strides cannot say it (some reshapes)."""

    layout: Callable[[dict[str, Any], Layout], Layout | None]


@dataclass(frozen=True, slots=True)
class Padded:
    """``x`` with ``params["value"]`` around it: ``params["before"]`` elements on each axis, and as many after as the
    result has room for. What is around is not read."""


@dataclass(frozen=True, slots=True)
class Reduction:
    """Reduces the adjacent axes ``params["axes"]`` (they are removed) with an op of kernels.Reduce."""

    op: str


@dataclass(frozen=True, slots=True)
class Contract:
    """``(*batch, m, k) x (*batch, k, n) -> (*batch, m, n)``."""


@dataclass(frozen=True, slots=True)
class Gather:
    """``gather(x, *indices)``: indices (int64, equal shapes I) select on the first axes of x; result I + the rest."""


@dataclass(frozen=True, slots=True)
class Scatter:
    """``scatter(x, *indices, updates)``: x with ``updates`` written (``op='set'``) or added at the indices, in the
    row-major order of the indices."""

    op: str


@dataclass(frozen=True, slots=True)
class SliceUpdate:
    """``update(x, y; ...)``: x with y in the place that a view of it shows: ``place(params, layout of x, shape of y)``,
    whose elements do not overlap."""

    place: Callable[[dict[str, Any], Layout, tuple[int, ...]], Layout]


@dataclass(frozen=True, slots=True)
class Concat:
    """``concat(*parts; axis)``: one after another along an axis."""


@dataclass(frozen=True, slots=True)
class Scan:
    """Running reduction along ``params["axis"]``: ``combine(before, element)``, in order."""

    combine: Callable[[Expr, Expr], Expr]


@dataclass(frozen=True, slots=True)
class Shuffle:
    """``shuffle(x, swaps)``: Fisher-Yates on axis 0 of x (rank 1): for i = n-1 ... 1 swap x[i] and x[swaps[i]]."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Several outputs, none of which needs another: output i as a node of its own with ``rules[i]`` computes it."""

    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Composed:
    """As other ops compute it, once nobody differentiates it: ``made(node)`` is a value that new nodes compute."""

    made: Callable[[Any], Any]


Rule = (
    Map
    | Padded
    | Position
    | View
    | Reduction
    | Contract
    | Gather
    | Scatter
    | SliceUpdate
    | Concat
    | Scan
    | Shuffle
    | Outputs
    | Composed
)


@dataclass(frozen=True, slots=True, eq=False)
class Primitive:
    """An op in one place.

    ``infer(params, *types) -> TensorType`` is the shape and dtype rule; it raises the user's error. An op with several
    outputs gives a tuple of types.
    ``vjp(params, inputs, output, cotangent) -> tuple of cotangents`` (None where there is no gradient) is written in
    tensor operations; None means that the op has no gradient. Where there are several outputs, ``output`` and
    ``cotangent`` are tuples; a cotangent is None where no gradient flows from that output.
    ``stops_gradient``: it is its operand, as a constant to whoever differentiates; the identity once nobody will.
    ``put(params, x, y)``, of a view, is its inverse: x with y in the place of what the view shows of it, in tensor
    operations; it raises where elements show several times. None means that there is none.
    ``kinds``: the kinds of dtypes in which an entry's primitive computes; of the others, their rows of the ONNX table
    say it.
    """

    name: str
    infer: Callable[..., TensorType | tuple[TensorType, ...]]
    lower: Rule
    vjp: Callable[..., tuple[Any, ...]] | None = None
    put: Callable[[dict[str, Any], Any, Any], Any] | None = None
    kinds: tuple[str, ...] | None = None
    stops_gradient: bool = False

    def __repr__(self) -> str:
        return self.name

    def types(self, inputs: Sequence[TensorType], params: dict[str, Any]) -> tuple[TensorType, ...]:
        """The types of the outputs; raises what ``infer`` raises."""
        found = self.infer(params, *inputs)
        return (found,) if isinstance(found, TensorType) else found


def _passed_on(params: dict[str, Any], inputs: tuple[Any, ...], output: Any, g: Any) -> tuple[Any, ...]:
    return (g,)


COPY = Primitive("copy", lambda params, x: x, Map(lambda params, x: x), _passed_on)
"""A value that is another one, in memory of its own where that matters."""
