"""The expression of one element of a value, from the stored values below it.

Views never cost anything: they move the strides of the reads below them. No walk here recurses: a program that
repeats a line 20,000 times is a chain of 20,000 nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..compiler.expr import Expr, const, leaf
from ..core import dtypes as dt
from .ir import Node, Value
from .protocol import Gather, Layout, Map, Position, Primitive, Reduction, View

__all__ = ["Puller", "Unfusable", "reduced_size"]


def _dropped(params: dict[str, Any], x: Layout) -> Layout:
    kept = [a for a in range(len(x.shape)) if a not in params["axes"]]
    return Layout(tuple(x.shape[a] for a in kept), x.offset, tuple(x.strides[a] for a in kept))


_DROP = Primitive("drop", lambda params, x: x, View(_dropped))  # of axes of size 1


def reduced_size(node: Node) -> int:
    """Number of elements that one reduction takes."""
    size = 1
    for axis in node.params["axes"]:
        size *= int(node.inputs[0].shape[axis])
    return size


class Unfusable(Exception):
    """``value`` must be stored (contiguously) before the lowering can go on."""

    def __init__(self, value: Value):
        super().__init__()
        self.value = value


class _Views:
    """What an expression is seen through: a view (a node, or the number of axes to append, with stride 0, at the end),
    and what that is seen through in turn. A Puller has one object for equal chains, so that they compare in no time."""

    __slots__ = ("outer", "step")

    def __init__(self, step: Node | int, outer: _Views | None):
        self.step = step
        self.outer = outer


_Seen = tuple[Value, _Views | None]  # a value seen through views


class Puller:
    """Builds the expression of one element of a value from the stored values below it.

    Leaves: ``read`` (Value, Layout over the reader's shape), ``position`` (Layout of an index), ``param`` (a
    constant's value), ``gather`` (Value, Layout, ((extent, stride), ...)).

    ``stored`` values are read from memory: with the strides that ``layouts`` has for them, else row-major; those in
    ``copies`` from their copy, which is row-major.
    """

    def __init__(self, stored: set[Value], layouts: Mapping[Value, Layout], copies: Mapping[Value, Value]):
        self.stored = stored
        self.layouts = layouts
        self.copies = copies
        self._memo: dict[_Seen, Expr] = {}
        self._chains: dict[tuple[int, int], _Views] = {}
        self._dropped: dict[Value, Node] = {}

    def store(self, value: Value) -> None:
        """Store one more value: what was pulled through it is out of date."""
        self.stored.add(value)
        self._memo.clear()

    def pull(self, value: Value) -> Expr:
        """The expression of ``value``.

        Raises:
            Unfusable: something below it must be stored first.
        """
        return self._pulled((value, None))

    def compute(self, value: Value) -> Expr:
        """As :meth:`pull`, but always by the node that makes ``value``."""
        needs = self._needs((value, None))
        return self._made((value, None), [self._pulled(need) for need in needs])

    def _pulled(self, wanted: _Seen) -> Expr:
        memo, waiting = self._memo, [wanted]
        while waiting:
            seen = waiting[-1]
            if seen not in memo:
                value, views = seen
                if value in self.stored or value.node is None:
                    memo[seen] = self._read(value, views)
                else:
                    needs = self._needs(seen)
                    missing = [need for need in needs if need not in memo]
                    if missing:
                        waiting += missing[::-1]
                        continue
                    memo[seen] = self._made(seen, [memo[need] for need in needs])
            waiting.pop()
        return memo[wanted]

    def _needs(self, seen: _Seen) -> list[_Seen]:
        """What the node that makes a value takes its expression from."""
        value, views = seen
        node = value.node
        assert node is not None
        rule = node.op.lower
        if isinstance(rule, View):
            return [(node.inputs[0], self._chain(node, views))]
        if isinstance(rule, (Map, Position)):
            return [(v, views) for v in node.inputs]
        if isinstance(rule, Gather):
            source, *indices = node.inputs
            rest = len(source.shape) - len(indices)
            inner = self._chain(rest, views) if rest else views
            return [(source, None), *((v, inner) for v in indices)]
        if isinstance(rule, Reduction):
            return [] if _is_neutral(node, rule) else [(node.inputs[0], self._chain(self._drop(node), views))]
        raise Unfusable(value)

    def _made(self, seen: _Seen, arguments: Sequence[Expr]) -> Expr:
        """The value's expression from those of :meth:`_needs`."""
        value, views = seen
        node = value.node
        assert node is not None
        rule = node.op.lower
        if isinstance(rule, Map):
            return rule.expr(node.params, *arguments)
        if isinstance(rule, Position):
            return rule.expr(node.params, lambda axis: self._position(value, axis, views))
        if isinstance(rule, Gather):
            return self._gather(node, views, *arguments)
        if isinstance(rule, Reduction) and _is_neutral(node, rule):
            one = rule.op in ("prod", "all")
            return const(one if value.dtype.kind == "bool" else int(one), value.dtype)
        return arguments[0]

    def _chain(self, step: Node | int, outer: _Views | None) -> _Views:
        key = (step if isinstance(step, int) else id(step), id(outer))
        found = self._chains.get(key)
        if found is None:
            found = self._chains[key] = _Views(step, outer)
        return found

    def _drop(self, node: Node) -> Node:
        """A reduction over one element as the view that it is; kept, because chains are known by the view's id."""
        if node.output not in self._dropped:
            self._dropped[node.output] = Node(_DROP, node.inputs, node.params, (node.output.type,))
        return self._dropped[node.output]

    def _read(self, value: Value, views: _Views | None) -> Expr:
        source = self.copies.get(value, value)
        base = self.layouts.get(source) or Layout.contiguous(value.shape)  # type: ignore[arg-type]
        return leaf("read", value.dtype, (source, self._through(base, views)))

    def _through(self, layout: Layout, views: _Views | None) -> Layout:
        while views is not None:
            view, views = views.step, views.outer
            if isinstance(view, int):
                layout = Layout(layout.shape + (0,) * view, layout.offset, layout.strides + (0,) * view)
                continue
            assert isinstance(view.op.lower, View)
            if layout.shape != view.inputs[0].shape:  # axes appended by a gather: their sizes are known here
                layout = Layout(tuple(view.inputs[0].shape), layout.offset, layout.strides)  # type: ignore[arg-type]
            moved = view.op.lower.layout(view.params, layout)
            if moved is None:
                raise Unfusable(view.inputs[0])
            layout = moved
        return layout

    def _position(self, value: Value, axis: int, views: _Views | None) -> Expr:
        shape: tuple[int, ...] = tuple(value.shape)  # type: ignore[arg-type]
        strides = tuple(int(a == axis) for a in range(len(shape)))
        return leaf("position", dt.int64, self._through(Layout(shape, 0, strides), views))

    def _gather(self, node: Node, views: _Views | None, origin: Expr, *indices: Expr) -> Expr:
        if origin.op != "read":
            raise Unfusable(node.inputs[0])
        base, layout = origin.value
        indexed, rest = len(indices), len(layout.shape) - len(indices)
        shape: tuple[int, ...] = tuple(node.output.shape)  # type: ignore[arg-type]
        own = Layout(shape, layout.offset, (0,) * (len(shape) - rest) + layout.strides[indexed:])
        steps = tuple(zip(layout.shape[:indexed], layout.strides[:indexed], strict=True))
        return Expr("gather", node.output.dtype, indices, (base, self._through(own, views), steps))


def _is_neutral(node: Node, rule: Reduction) -> bool:
    """Whether a reduction over less than two elements is the op's neutral element whatever its operand (the public
    functions refuse max and min of nothing); otherwise it is the one element."""
    return rule.op in ("argmax", "argmin") or reduced_size(node) == 0
