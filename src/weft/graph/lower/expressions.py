"""Expressions: one element of a value, computed from the stored values below it.

:class:`Puller` makes them. Views never cost anything: they move the strides of the reads below them. No walk here
recurses: a program that repeats a line 20,000 times is a chain of 20,000 nodes.

The leaves, whose layouts are over the reader's shape:

- ``read`` (Value, Layout): an element of a stored value; with an argument (a bool) only where that is true;
- ``gather`` (Value, Layout, ((extent, stride), ...)): one that the expressions' arguments select;
- ``position`` (Layout): an index, the sum of the strides;
- ``param`` (number): a constant given at run time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from ...compiler.expr import Expr, and_, cast, const, leaf, lt, rebuild, topological, where
from ...core import dtypes as dt
from ...core.symbolic import Dim
from ..ir import Node, Value
from ..protocol import Gather, Layout, Map, Padded, Position, Reduction, View


def reduced_size(node: Node) -> Dim:
    """Number of elements that one reduction takes."""
    size: Dim = 1
    for axis in node.params["axes"]:
        size *= node.inputs[0].shape[axis]
    return size


class Unfusable(Exception):
    """``value`` must be stored (contiguously) before the lowering can go on."""

    def __init__(self, value: Value):
        super().__init__()
        self.value = value


class _Views:
    """What an expression is seen through: a view (a node, also a reduction over one element; or the number of axes to
    append, with stride 0, at the end), and what that is seen through in turn. A Puller has one object for equal chains,
    so that they compare in no time."""

    __slots__ = ("outer", "view")

    def __init__(self, view: Node | int, outer: _Views | None):
        self.view = view
        self.outer = outer


_Seen = tuple[Value, _Views | None]  # a value seen through views


class Puller:
    """Builds the expression of one element of a value from the stored values below it.

    ``stored`` values are read from memory: with the strides that ``layouts`` has for them, else row-major; those in
    ``copies`` from their copy, which is row-major.
    """

    def __init__(self, stored: set[Value], layouts: Mapping[Value, Layout], copies: Mapping[Value, Value]):
        self.stored = stored
        self.layouts = layouts
        self.copies = copies
        self._memo: dict[_Seen, Expr] = {}
        self._chains: dict[tuple[int, int], _Views] = {}

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
        memo = self._memo
        if wanted in memo:
            return memo[wanted]
        waiting: list[tuple[_Seen, list[_Seen] | None]] = [(wanted, None)]
        while waiting:
            seen, needs = waiting.pop()
            if seen in memo:
                continue
            value, views = seen
            if needs is None:
                if value in self.stored or value.node is None:
                    memo[seen] = self._read(value, views)
                    continue
                needs = self._needs(seen)
                missing: list[tuple[_Seen, list[_Seen] | None]] = [(need, None) for need in needs if need not in memo]
                if missing:
                    waiting.append((seen, needs))
                    waiting += missing[::-1]
                    continue
            memo[seen] = self._made(seen, [memo[need] for need in needs])
        return memo[wanted]

    def _needs(self, seen: _Seen) -> list[_Seen]:
        """What the node that makes a value takes its expression from."""
        value, views = seen
        node = value.node
        assert node is not None
        rule = node.op.lower
        if isinstance(rule, (Map, Position)):
            return [(v, views) for v in node.inputs]
        if isinstance(rule, (View, Padded)):
            return [(node.inputs[0], self._chain(node, views))]
        if isinstance(rule, Gather):
            source, *indices = node.inputs
            rest = len(source.shape) - len(indices)
            inner = self._chain(rest, views) if rest else views
            return [(source, None), *((v, inner) for v in indices)]
        if isinstance(rule, Reduction):
            return [] if _is_neutral(node, rule) else [(node.inputs[0], self._chain(node, views))]
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
        if isinstance(rule, Padded):
            return self._padded(node, views, *arguments)
        if isinstance(rule, Reduction) and _is_neutral(node, rule):
            one = rule.op in ("prod", "all")
            return const(one if value.dtype.kind == "bool" else int(one), value.dtype)
        return arguments[0]

    def _chain(self, view: Node | int, outer: _Views | None) -> _Views:
        key = (view if isinstance(view, int) else id(view), id(outer))
        found = self._chains.get(key)
        if found is None:
            found = self._chains[key] = _Views(view, outer)
        return found

    def _read(self, value: Value, views: _Views | None) -> Expr:
        source = self.copies.get(value, value)
        base = self.layouts.get(source) or Layout.contiguous(value.shape)
        return leaf("read", value.dtype, (source, self._through(base, views)))

    def _through(self, layout: Layout, views: _Views | None) -> Layout:
        while views is not None:
            view, views = views.view, views.outer
            if isinstance(view, int):
                layout = Layout(layout.shape + (0,) * view, layout.offset, layout.strides + (0,) * view)
                continue
            if layout.shape != view.inputs[0].shape:  # axes appended by a gather: their sizes are known here
                layout = Layout(view.inputs[0].shape, layout.offset, layout.strides)
            rule = view.op.lower
            if isinstance(rule, View):
                moved = rule.layout(view.params, layout)
            else:
                moved = _around(layout, view) if isinstance(rule, Padded) else _without(layout, view)
            if moved is None:
                raise Unfusable(view.inputs[0])
            layout = moved
        return layout

    def _position(self, value: Value, axis: int, views: _Views | None, start: Dim = 0) -> Expr:
        """The index on an axis, less ``start``."""
        shape = value.shape
        strides = tuple(int(a == axis) for a in range(len(shape)))
        return leaf("position", dt.int64, self._through(Layout(shape, -start, strides), views))

    def _padded(self, node: Node, views: _Views | None, inner: Expr) -> Expr:
        """The operand's expression within it, whose reads are only of what is there, and the number around it."""
        source, value = node.inputs[0], node.output
        if any(n.op == "gather" for n in topological([inner])):  # it would look at indices that are not there
            raise Unfusable(source)
        inside = const(True, dt.bool_)
        for axis, (n, before) in enumerate(zip(source.shape, node.params["before"], strict=True)):
            if n != value.shape[axis]:  # as unsigned numbers, negative positions are beyond
                at = cast(self._position(value, axis, views, before), dt.uint64)
                within = lt(at, leaf("param", dt.uint64, n))
                inside = within if inside.op == "const" else and_(inside, within)

        def guard(read: Expr, args: tuple[Expr, ...]) -> Expr | None:
            if read.op != "read":
                return None
            return Expr("read", read.dtype, (and_(args[0], inside) if args else inside,), read.value)

        if inside.op == "const":
            return inner
        (guarded,) = rebuild([inner], guard)
        return where(inside, guarded, leaf("param", value.dtype, node.params["value"]))

    def _gather(self, node: Node, views: _Views | None, origin: Expr, *indices: Expr) -> Expr:
        assert origin.op == "read", "the source of a gather is stored, or a view of what is"
        base, layout = origin.value
        indexed, rest = len(indices), len(layout.shape) - len(indices)
        shape = node.output.shape
        own = Layout(shape, layout.offset, (0,) * (len(shape) - rest) + layout.strides[indexed:])
        steps = tuple(zip(layout.shape[:indexed], layout.strides[:indexed], strict=True))
        return Expr("gather", node.output.dtype, indices, (base, self._through(own, views), steps))


def _around(layout: Layout, node: Node) -> Layout:
    """The places of a padded tensor's elements; those around it lie anywhere."""
    first = sum(n * s for n, s in zip(node.params["before"], layout.strides, strict=True))
    return Layout(node.output.shape, layout.offset - first, layout.strides)


def _without(layout: Layout, node: Node) -> Layout:
    """A reduction over one element is a view: it drops axes of size 1."""
    kept = [a for a in range(len(layout.shape)) if a not in node.params["axes"]]
    return Layout(tuple(layout.shape[a] for a in kept), layout.offset, tuple(layout.strides[a] for a in kept))


def _is_neutral(node: Node, rule: Reduction) -> bool:
    """Whether a reduction over less than two elements is the op's neutral element whatever its operand (the public
    functions refuse max and min of nothing); otherwise it is the one element."""
    return rule.op in ("argmax", "argmin") or reduced_size(node) == 0


def leaf_layouts(exprs: Iterable[Expr], ops: Sequence[str] = ("read", "gather", "position")) -> list[Layout]:
    """Layouts of all leaves that have one, or of some kinds."""
    found = (node for node in topological(exprs) if node.op in ops)
    return [node.value if node.op == "position" else node.value[1] for node in found]


def map_layouts(
    exprs: Iterable[Expr],
    move: Callable[[Layout], Layout],
    computed: Callable[[Value], Expr | None] = lambda value: None,
) -> list[Expr]:
    """The expressions with every layout moved; reads of values that ``computed`` knows become its expressions, which
    are in place already."""

    def change(node: Expr, args: tuple[Expr, ...]) -> Expr | None:
        if node.op == "read":
            value, layout = node.value
            found = computed(value)
            return Expr("read", node.dtype, args, (value, move(layout))) if found is None else found
        if node.op == "position":
            return leaf("position", node.dtype, move(node.value))
        if node.op == "gather":
            value, layout, steps = node.value
            return Expr("gather", node.dtype, args, (value, move(layout), steps))
        return None

    return rebuild(exprs, change)


def format_exprs(exprs: Sequence[Expr], names: dict[Value, str]) -> list[str]:
    """The expressions as text, one node a line and the results last. Values get the ``names`` that they do not have."""

    def place(layout: Layout) -> str:
        return f"[{layout.offset}; {', '.join(map(str, layout.strides))}]"

    lines: list[str] = []
    numbers: dict[Expr, str] = {}
    for node in topological(exprs):
        text = f"{node.op}:{node.dtype.name}"
        if node.op in ("read", "gather"):
            value, layout, *steps = node.value
            text += f" {names.setdefault(value, f'v{len(names)}')}{place(layout)}"
            text += "".join(f" {n}:{s}" for n, s in steps[0]) if steps else ""
        elif node.value is not None:
            text += f" {place(node.value) if node.op == 'position' else repr(node.value)}"
        numbers[node] = f"%{len(lines)}"
        lines.append(f"{numbers[node]} = {' '.join([text, *(numbers[a] for a in node.args)])}")
    return [*lines, f"return {', '.join(numbers[e] for e in exprs)}"]
