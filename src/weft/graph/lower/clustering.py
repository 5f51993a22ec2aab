"""Clusters: which roots one kernel computes.

:func:`cluster` puts roots together that walk the same points: elementwise roots of one shape; rows (a reduction over
the last axes with everything that reads or feeds it row by row: softmax, layer norm); columns; a contraction with its
epilogue. Each way to join is one of :data:`RULES`; what holds for every join is :func:`_allowed`. Joining changes no
bit: an element is computed by the same operations in the same order, in whichever kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from types import MappingProxyType
from typing import NamedTuple

from ...compiler.kernels import REDUCE_CHUNK
from ...core.shapes import Shape, size_of, strides_of
from ..ir import Node, Value
from ..protocol import Layout
from .axes import mergeable, squeeze
from .ordering import Order
from .roots import Root

# Of one kernel. Size is in instructions: beyond some 1,000 LLVM's time grows faster than the size (a chain of 240 tanh:
# 11 s as one kernel, 1 s as 16) and what a loop keeps in registers no longer fits. Usual models have up to 400.
MAX_ROOTS, MAX_READS, MAX_SIZE = 16, 24, 512
_ALONE = ("ordered", "attend", "host", "control")  # kinds of one root
MAX_TRIED = 64  # clusters that read one value which a root tries to join: an input may be read by thousands


@dataclass(slots=True, eq=False, repr=False)
class Cluster:
    """Roots that one kernel computes. ``kind``: map, row, column, contract, ordered, attend, host, control.

    ``space`` is the shape of the points without axes of size 1; ``axes`` the part of it that is reduced. A member is
    ``full`` (one value a point) or not (one value for each point of the space without the reduced axes).
    """

    kind: str
    space: Shape
    axes: tuple[int, int]
    is_one: bool = True  # whether the reduced axes are one axis for all that is computed at every point
    roots: list[Root] = field(default_factory=list)
    full: dict[Value, bool] = field(default_factory=dict)
    reading: set[Value] = field(default_factory=set)
    pieced: set[Value] = field(default_factory=set)  # members of which each point computes an element of every piece
    size: int = 0  # instructions of the roots' expressions

    @property
    def is_closed(self) -> bool:
        """Whether nothing can join it."""
        alone = self.kind in _ALONE
        return alone or len(self.roots) >= MAX_ROOTS or len(self.reading) > MAX_READS or self.size >= MAX_SIZE

    @property
    def kept(self) -> Shape:
        """The space without the reduced axes."""
        start, stop = self.axes
        return self.space if start == stop else self.space[:start] + self.space[stop:]

    @property
    def is_long(self) -> bool:
        """Whether its reductions are cut into chunks."""
        return _is_long(self.space, self.axes)

    @property
    def nodes(self) -> list[Node]:
        """What the members are made by."""
        return [r.node for r in self.roots]

    def reads(self, root: Root) -> bool:
        """Whether a root reads what the cluster computes."""
        return any(v in self.full for v, _ in root.reads)

    def walks(self, root: Root) -> bool:
        """Whether a member's expressions are computed at every point."""
        return root.kind == "reduce" or self.full[root.value]

    def add(self, root: Root, full: bool) -> None:
        """Append a root."""
        self.roots.append(root)
        self.size += root.size
        self.full.update(dict.fromkeys(root.values, full))
        self.pieced.update(root.values if root.kind == "pieces" else ())
        self.reading.update(v for v, _ in root.reads)

    def over_space(self, layout: Layout, shape: Shape, walks: bool = True) -> Layout:
        """A layout over ``shape`` as one over the space: without axes of size 1, and with stride 0 on the reduced axes
        where there is one element for all of them (it does not walk them)."""
        strides, (start, stop) = squeeze(shape, layout.strides)[1], self.axes
        if not walks:
            strides = strides[:start] + (0,) * (stop - start) + strides[start:]
        return Layout(self.space, layout.offset, strides)

    def places(self, root: Root) -> list[Layout]:
        """Where a member's elements are stored, over the space: one place, or those of pieces."""
        return [self.over_space(place, place.shape, self.full[root.value]) for place in root.places]

    def reads_in_place(self, value: Value, layout: Layout, walks: bool) -> bool:
        """Whether who reads a member with ``layout`` takes, at each point (or row), what was computed there."""
        full = self.full[value]
        if layout.offset != 0 or (full and not walks) or value in self.pieced:
            return False
        expected = strides_of(self.space if full else self.kept)
        if walks and not full:
            start, stop = self.axes
            expected = expected[:start] + (0,) * (stop - start) + expected[start:]
        return squeeze(layout.shape, layout.strides) == (self.space if walks else self.kept, expected)

    def __repr__(self) -> str:
        names: dict[Value, str] = {}
        axes = "" if self.axes[0] == self.axes[1] else " axes {}:{}".format(*self.axes)
        return "\n  ".join([f"{self.kind} over {list(self.space)}{axes}", *(r.line(names) for r in self.roots)])


class Form(NamedTuple):
    """What a cluster is with one more root: its kind, its reduced axes, and whether the root is ``full`` in it."""

    kind: str
    axes: tuple[int, int]
    full: bool


def cluster(roots: Sequence[Root], late: Mapping[Value, int] = MappingProxyType({})) -> list[Cluster]:
    """Clusters in execution order. A root joins the latest cluster that it can and with which it has something in
    common (it reads what the cluster computes, or what it reads); otherwise it begins one.

    A root may join a cluster that comes before one it depends on, as long as that one does not depend on the cluster
    in turn: the order is settled at the end.

    Args:
        late: roots that join no cluster from before the first root with their number (or a smaller one): what is
            computed again later, to keep no memory meanwhile.
    """
    starts: list[int] = []  # the first cluster for each number
    clusters: list[Cluster] = []
    order = Order()
    home: dict[Value, int] = {}
    readers: dict[Value, list[int]] = {}  # clusters that a further root may join, most recent last
    for root in roots:
        values = dict.fromkeys([v for v, _ in root.reads])
        needs = {home[v] for v in values if v in home}
        place = None
        if root.kind not in _BEGINNING:
            blocked = order.all_before(needs)
            near = needs.union(*[readers[v][-MAX_TRIED:] for v in values if v in readers])
            if root.value in late:
                number = late[root.value]
                starts += [len(clusters)] * (number + 1 - len(starts))
                near = {at for at in near if at >= starts[number]}
            for at in sorted(near, reverse=True):
                if at not in needs and (clusters[at].kind, root.kind) in _FOR_READERS:
                    continue
                if not blocked >> at & 1 and _join(clusters[at], root):
                    place = at
                    break
        if place is None:
            place = len(clusters)
            clusters.append(_begin(root))
            order.add()
        home.update(dict.fromkeys(root.values, place))
        for value in values:
            _note_reader(readers.setdefault(value, []), place, clusters)
        order.put_before(needs - {place}, place)
    return [clusters[at] for at in order.settled()]


def _note_reader(known: list[int], place: int, clusters: Sequence[Cluster]) -> None:
    if place not in known[-MAX_TRIED:]:
        if len(known) >= 2 * MAX_TRIED:  # those that are closed need not be tried again
            known[:] = [at for at in known if not clusters[at].is_closed][-MAX_TRIED:]
        known.append(place)


def _begin(root: Root) -> Cluster:
    """The cluster of one root."""
    kind, rank = root.kind, len(root.space)
    if kind in ("reduce", "pieces"):
        kind = root.way if kind == "reduce" else "map"
    made = Cluster(kind, root.space, root.reduced if root.kind == "reduce" else (rank, rank), root.is_one)
    made.add(root, root.kind != "reduce")
    return made


def _join(to: Cluster, root: Root) -> bool:
    """Add ``root`` to the cluster if a rule says how and nothing forbids it: as every rule wants it, it walks the
    points or has one value for each row."""
    if to.is_closed or to.size + root.size > MAX_SIZE:
        return False
    root = _over_points(to, _over_product(to, root))
    if not (root.space == to.space or root.space == to.kept):
        return False
    for rule in RULES:
        form = rule(to, root)
        if form is not None and _allowed(to, root, form):
            to.kind, to.axes = form.kind, form.axes
            to.add(root, form.full)
            return True
    return False


def _over_product(to: Cluster, root: Root) -> Root:
    """What follows a product whose rows are several axes by then (a bias, an activation, a residual, in batches of
    sequences), over the rows of the product; else the root."""
    if to.kind != "contract" or root.kind != "map" or root.space == to.space or not to.reads(root):
        return root
    shape = to.roots[0].shape
    if not (root.shape and shape) or root.shape[-1] != shape[-1] or size_of(root.shape) != size_of(shape):
        return root
    return root.reshaped(shape) or root


def _over_points(to: Cluster, root: Root) -> Root:
    """An elementwise root of another shape, over the points of a cluster that computes or reads as many elements in the
    same order (rows of sequences as rows of a matrix); else the root."""
    if to.kind not in ("map", "row") or root.kind != "map" or len(root.space) == len(to.space):
        return root
    if not to.reads(root) and not all(isinstance(n, int) for n in (*root.space, *to.space)):
        return root  # symbolic sizes that agree by chance would be a guard
    if size_of(root.space) != size_of(to.space):
        return root
    return root.reshaped(to.space) or root


def _allowed(to: Cluster, root: Root, form: Form) -> bool:
    """What holds for every join: a kernel reads at most MAX_READS values; what it computes and reads again, each point
    reads where it was computed; and reduced axes are one loop for all that is computed at every point."""
    walks = form.full or root.kind == "reduce"
    if len(to.reading.union([v for v, _ in root.reads])) > MAX_READS:
        return False
    if not all(to.reads_in_place(v, layout, walks) for v, layout in root.reads if v in to.full):
        return False
    if form.axes[1] - form.axes[0] < 2 or not to.is_one:
        return True
    walking = [r for r in to.roots if to.walks(r)] if form.axes != to.axes else []  # the others were asked before
    return all(_reduced_as_one(r, form.axes) for r in ([*walking, root] if walks else walking))


def _reduced_as_one(root: Root, axes: tuple[int, int]) -> bool:
    """Whether the reduced axes (of the space) are one axis for everything that a member reads and writes there."""
    start, stop = axes
    written = [] if (root.place is None and root.kind != "pieces") or root.kind == "reduce" else root.places
    found = (squeeze(root.shape, layout.strides) for layout in (*root.layouts, *written))
    return all(mergeable(sizes[start:stop], strides[start:stop]) for sizes, strides in found)


def _is_long(space: Shape, axes: tuple[int, int]) -> bool:
    return prod(space[axes[0] : axes[1]]) > REDUCE_CHUNK


# --- rules: (cluster, root) -> the cluster's form with the root in it, or None --------------------------------------


def same_points(to: Cluster, root: Root) -> Form | None:
    """Elementwise roots over the same points: one loop computes both, and reads once what both read. So with a concat
    over the points of a piece."""
    if to.kind == "map" and root.kind in ("map", "pieces") and root.space == to.space:
        return Form("map", to.axes, True)
    return None


def epilogue(to: Cluster, root: Root) -> Form | None:
    """An elementwise root over a contraction's points: its sums are still in registers.

    Not an update with a place of its own: tiles are written row-major. Not one that reads what is no matrix to it (a
    row for all rows of an image): a kernel's rows and columns are one axis each.
    """
    if to.kind != "contract" or root.kind != "map" or root.space != to.space or root.place is not None:
        return None
    whole, matrix = to.roots[0].shape, to.roots[0].product.shape
    fits = whole == matrix or all(layout.reshaped(matrix) is not None for layout in root.layouts)
    return Form("contract", to.axes, True) if fits else None


def points_of_rows(to: Cluster, root: Root) -> Form | None:
    """An elementwise root at every point of rows (softmax's exp, its quotients): the row is still in the cache.

    Not of long rows: chunks of one row run on different threads. Not of columns: they store one value each.
    """
    if to.kind == "row" and root.kind == "map" and root.space == to.space and not to.is_long:
        return Form("row", to.axes, True)
    return None


def one_value_a_row(to: Cluster, root: Root) -> Form | None:
    """An elementwise root over the results of rows or columns (a mean's division, a bias's update by its gradient).

    Only one that reads such a result: otherwise nothing is gained. Not of long rows, which are done when the last
    launch is.
    """
    over_results = to.kind in ("row", "column") and root.kind == "map" and root.space == to.kept
    return Form(to.kind, to.axes, False) if over_results and to.reads(root) and not to.is_long else None


def rows_of_points(to: Cluster, root: Root) -> Form | None:
    """A reduction over the last axes of points that are computed elementwise: they are reduced while they are at hand.

    Not a long one, of which nothing but reductions shares the chunks.
    """
    start, stop = root.reduced
    if to.kind != "map" or root.kind != "reduce" or root.space != to.space or not start < stop == len(to.space):
        return None
    if root.way == "column":  # short rows
        return None
    return None if _is_long(root.space, root.reduced) else Form("row", root.reduced, False)


def reductions_together(to: Cluster, root: Root) -> Form | None:
    """Reductions of the same points over the same axes: one pass reads the points for all.

    A column's reductions, and chunks, are all of one pass: there, none may read what another computes.
    """
    if to.kind not in ("row", "column") or root.kind != "reduce" or (root.space, root.reduced) != (to.space, to.axes):
        return None
    one_pass = to.kind == "column" or to.is_long
    return None if one_pass and to.reads(root) else Form(to.kind, to.axes, False)


RULES: tuple[Callable[[Cluster, Root], Form | None], ...] = (
    same_points,
    epilogue,
    points_of_rows,
    one_value_a_row,
    rows_of_points,
    reductions_together,
)
"""The ways in which a root joins a cluster. A root that no rule takes begins one: those of _BEGINNING do."""

_BEGINNING = ("contract", *_ALONE)  # kinds of roots that no rule takes
_FOR_READERS = {("column", "map")}  # (cluster, root): kinds that a rule takes if the root reads what is computed there
