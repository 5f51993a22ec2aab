"""What an op must say of itself: its result, its gradient, and how it lowers.

A :class:`Primitive` is strict: operands have equal shapes and dtypes where the mathematics wants them equal.
Broadcasting and promotion are written out as ``broadcast_to`` and ``cast`` nodes by the public functions.

``lower`` is one of the rules below. They are descriptions: what is computed at one point, or how indices move. The
fusion of several nodes into a kernel is the business of :mod:`weft.graph.lower`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

from ..compiler.expr import Expr
from ..core.dtypes import DType
from ..core.shapes import Shape, strides_of
from ..core.symbolic import undecided


class TensorType(NamedTuple):
    """dtype and shape of a value."""

    dtype: DType
    shape: Shape

    def __repr__(self) -> str:
        return f"{self.dtype.name}[{', '.join(map(str, self.shape))}]"


class Layout(NamedTuple):
    """Element (i0, i1, ...) lies ``offset + sum(strides[a] * i_a)`` elements from the start of the buffer."""

    shape: tuple[Any, ...]  # numbers, or sizes of a scope, where a graph is lowered for more than one size
    offset: Any
    strides: tuple[Any, ...]

    @staticmethod
    def contiguous(shape: Shape) -> Layout:
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

    def permuted(self, axes: Sequence[int]) -> Layout:
        """Axis i is axis ``axes[i]``."""
        return Layout(tuple([self.shape[a] for a in axes]), self.offset, tuple([self.strides[a] for a in axes]))

    def reshaped(self, shape: Shape) -> Layout | None:
        """The same elements under another shape, or None where strides cannot say it.

        Groups of axes with equal products are matched; within a group the old axes must be one axis. Old (4, 6) to new
        (2, 2, 3, 2): the groups are 4 = 2 * 2 and 6 = 3 * 2. Sizes that nothing can be asked of match equal ones alone.
        """
        if 0 in shape or self.is_contiguous:
            return Layout(shape, self.offset, strides_of(shape))
        # Asked by an order, which is guarded: a size of a scope may be 1 for some numbers.
        old = [(n, s) for n, s in zip(self.shape, self.strides, strict=True) if undecided(n) or n > 1]
        new = [(axis, n) for axis, n in enumerate(shape) if undecided(n) or n > 1]
        strides = [0] * len(shape)
        i = j = 0
        while i < len(old):
            first, size, target, members = i, old[i][0], new[j][1], [new[j][0]]
            while size != target:
                if undecided(size) or undecided(target):
                    return None
                if size < target:
                    i += 1
                    size *= old[i][0]
                elif size > target:
                    j += 1
                    target *= new[j][1]
                    members.append(new[j][0])
                else:  # the same number for all sizes that keep the guards
                    break
            for (_, outer), (n, inner) in zip(old[first:i], old[first + 1 : i + 1], strict=True):
                if outer != n * inner:
                    return None
            step = old[i][1]
            for axis in reversed(members):
                strides[axis] = step
                step *= shape[axis]
            i, j = i + 1, j + 1
        return Layout(shape, self.offset, tuple(strides))


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


class Around(NamedTuple):
    """An axis of ``b``'s tensor, of ``size`` elements, which windows leave. An index on it is ``start`` plus the index
    on each of two axes of ``b`` (one of ``*k``, one of ``*n``) times a step; outside of the axis is 0."""

    size: Any
    start: Any
    summed: tuple[int, int]  # axis and step
    column: tuple[int, int]


class Product(NamedTuple):
    """The operands of a contraction as they are multiplied: over ``(*batch, *m, *k)`` and ``(*batch, *k, *n)``, where
    ``batch`` and ``summed`` are the numbers of the axes ``*batch`` and ``*k``. The axes may be those of windows, of
    which ``around`` says what lies outside of ``b``'s tensor; ``b.offset`` is then that of a place outside.

    ``swapped``: ``a`` is the node's second operand, ``b`` its first.
    """

    a: Layout
    b: Layout
    batch: int
    summed: int
    swapped: bool = False
    around: tuple[Around, ...] = ()

    @property
    def sizes(self) -> tuple[int, int, int]:
        """m, n and k: each group as one axis."""
        last = len(self.a.shape) - self.summed
        rows, depth = self.a.shape[self.batch : last], self.a.shape[last:]
        return prod(rows), prod(self.b.shape[self.batch + self.summed :]), prod(depth)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(*batch, m, n)``: the result, whatever its node calls its shape."""
        return (*self.a.shape[: self.batch], *self.sizes[:2])


@dataclass(frozen=True, slots=True)
class Contract:
    """``(*batch, *m, *k) x (*batch, *k, *n) -> (*batch, *m, *n)``, row-major, in a shape that the node chooses.

    ``product(params, a, b)`` says which axes of the operands these are, for the operands' Layouts; by default they are
    matrices. A sum's terms come in the row-major order of ``*k`` (docs/numerics.md).
    """

    product: Callable[[dict[str, Any], Layout, Layout], Product] = lambda params, a, b: Product(
        a, b, len(a.shape) - 2, 1
    )


class Pairs(NamedTuple):
    """What is computed of the pairs (query, key) of an :class:`Attend`, in order: reductions over the pairs of a row,
    ``(op, value)``, whose value is from there on product 0; a value for each row; weights."""

    reductions: tuple[tuple[str, Expr], ...]
    rows: tuple[Expr, ...]
    weights: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Attend:
    """``attend(*matrices, *others; causal)``: the pairs of rows of matrices, and what matrices' rows sum up to with
    them as weights; no pair is stored.

    ``products``: pairs of operands ``(*batch, rows, d)`` and ``(*batch, others, d)``, whose products are a pair's
    numbers. ``stages(params, refs, others)`` makes of them, of ``reductions`` results and of the other operands, which
    are elementwise over ``(*batch, queries, keys)``, what :class:`Pairs` says. ``sums``: operands whose rows the
    weights sum, one for each. Outputs are the sums ``(*batch, rows, n)``, then the values ``(*batch, rows)``.

    ``turned``: the rows are keys, and the sums over queries. ``params["causal"]``: a query sees the keys up to its own
    number; of the other pairs the first reduction's value is -inf, the weights are 0, and those that are far enough
    away are not looked at (docs/numerics.md).

    ``made(node)``: the values that other ops compute, of the same bits, where there is no such kernel.
    """

    products: tuple[tuple[int, int], ...]
    sums: tuple[int, ...]
    stages: Callable[[dict[str, Any], Sequence[Expr], Sequence[Expr]], Pairs]
    made: Callable[[Any], Sequence[Any]]
    reductions: int = 0
    turned: bool = False

    @property
    def matrices(self) -> int:
        """How many of the operands are matrices; they come first."""
        return 1 + max([*self.sums, *(at for pair in self.products for at in pair)])


@dataclass(frozen=True, slots=True)
class Gather:
    """``gather(x, *indices)``: indices (int64, equal shapes I) select on the first axes of x; result I + the rest."""


@dataclass(frozen=True, slots=True)
class Scatter:
    """``scatter(x, *indices, updates)``: x with ``updates`` written (``op='set'``), added (``'add'``), or written where
    they are greater (``'max'``) at the indices, in the row-major order of the indices. ``lead``: so many axes of x, and
    of the updates, come before those of the indices."""

    op: str
    lead: int = 0


@dataclass(frozen=True, slots=True)
class SliceUpdate:
    """``update(x, y; ...)``: x with y in the place that a view of it shows: ``place(params, layout of x, shape of y)``,
    whose elements do not overlap."""

    place: Callable[[dict[str, Any], Layout, Shape], Layout]


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
class Argsort:
    """``argsort(x; kept, descending)``: of a matrix, the positions of the first ``kept`` elements of each row in order.
    Of equal elements the first comes first, in either order; NaN is the greatest."""


@dataclass(frozen=True, slots=True)
class Host:
    """Python code computes it: ``call(params, operands, results)`` fills NumPy arrays over the results' memory.

    Operands are read-only, and all are row-major. Like every op it is a function of its operands and parameters alone:
    equal nodes are one, dead ones go, and several threads may be inside it. It keeps no array; what it raises ends the
    run, which has then changed nothing.
    """

    call: Callable[[dict[str, Any], Sequence[Any], Sequence[Any]], None]


@dataclass(frozen=True, slots=True)
class Branch:
    """``branch(predicate, *operands; true, false)``: the outputs of one of two graphs over the operands, which is
    chosen by a bool of rank 0."""


@dataclass(frozen=True, slots=True)
class Loop:
    """``loop(go?, count?, *carries, *sequences, *invariants; body, ...)``: a graph over the carries, one part of each
    sequence along its first axis, and the invariants, again and again.

    The body gives whether to go on (with ``has_go``), the next carries, and one part of each result; the node the last
    carries, the results, and the number of iterations (with ``gives_count``). There are at most ``length`` (None: any
    number), and at most ``count`` (with ``has_count``), and with ``has_go`` as many as say so; ``bounded``: to want
    more is an error. ``carries`` and ``sequences`` are numbers. ``reverse``: from the last part to the first. Parts of
    results that no iteration writes are undefined.
    """


@dataclass(frozen=True, slots=True)
class Called:
    """``call(*operands; body)``: the outputs of a graph of elementwise ops, constants and views, each of its own memory
    (graph/called.py)."""


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
    | Attend
    | Gather
    | Scatter
    | SliceUpdate
    | Concat
    | Scan
    | Shuffle
    | Argsort
    | Host
    | Branch
    | Loop
    | Called
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
