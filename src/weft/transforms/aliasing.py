"""What aliases what: arguments and captured state that share memory.

Two tensors from outside may show the same bytes: a parameter and a view of it, a tensor that is passed twice, windows
on one NumPy array. That matters where one of them is written. Then the function is captured once more with *groups*:
all members of a group are entered as views of one input, so that what is written through one is seen through the
others, and one value is written back.

The base of a group is a member that covers all others, or the tensor that its members are views of, or, where there is
neither, the bytes from the first to the last as a flat tensor (:class:`FlatRef`).

A graph holds for the pattern of overlaps that it was captured with (:func:`overlaps`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import CaptureError
from ..graph.ir import Value
from ..runtime import storage as storages
from ..tensor.alias import DETACHED
from ..tensor.caches import Cache
from ..tensor.calls import GraphCall
from ..tensor.spec import Spec, spec_of
from ..tensor.tensor import Tensor, make
from .refs import ArgumentRef, BaseRef, FlatRef, GradRef, Ref, TensorRef

Pair = tuple[int, int, int]  # numbers of two tensors, and how far the second begins behind the first, in bytes


@dataclass(slots=True, eq=False)
class Group:
    """Memory that several tensors show. ``base``: where its input comes from, and that tensor as it is now."""

    ref: Ref
    base: Tensor
    low: int
    high: int

    def holds(self, tensor: Tensor) -> bool:
        """Whether a tensor lies in this memory, all of it."""
        start = tensor._storage.address
        return self.low <= start < self.high and start + tensor._spec.extent <= self.high


def _is_real(tensor: Tensor | None) -> bool:
    return tensor is not None and not isinstance(tensor._storage, Value) and tensor._spec.extent > 0


def overlaps(tensors: Sequence[Tensor | None], written: Sequence[bool]) -> tuple[Pair, ...]:
    """The pairs of tensors that share memory, one of which is written, in a fixed order."""
    ranges = [
        (t._storage.address, t._storage.address + t._spec.extent, i)
        for i, t in enumerate(tensors)
        if t is not None and _is_real(t)
    ]
    ranges.sort()
    found: list[Pair] = []
    reaching: list[tuple[int, int, int]] = []
    for low, high, i in ranges:
        reaching = [r for r in reaching if r[1] > low]
        found += [
            (i, j, start - low) if i < j else (j, i, low - start)
            for start, _, j in reaching
            if written[i] or written[j]
        ]
        reaching.append((low, high, i))
    return tuple(sorted(found))


def groups_of(
    refs: Sequence[Ref], tensors: Sequence[Tensor | None], pairs: Sequence[Pair], alone: Sequence[int] = ()
) -> list[Group]:
    """A group for each set of tensors that pairs connect, and for each one ``alone``, whose own elements overlap.

    Raises:
        CaptureError: they have different dtypes, or histories that only a common base could join.
    """
    taken = {k for pair in pairs for k in pair[:2]}.union(alone)
    groups: list[list[int]] = [[i] for i in sorted(taken)]
    while True:  # whatever reaches into the memory of a group is a member of it
        merged = _merged(groups, tensors)
        if merged == groups:
            found = [_group(refs, tensors, members) for members in groups]
            merged = _joined(groups, found)
            if merged == groups:
                return found
        groups = merged


def _joined(groups: list[list[int]], made: Sequence[Group]) -> list[list[int]]:
    """The groups with those as one whose bases overlap: members may be views of what the members of another are in."""
    found: list[list[int]] = []
    end = 0
    for group, members in sorted(zip(made, groups, strict=True), key=lambda pair: pair[0].low):
        if found and group.low < end:
            found[-1] = sorted({*found[-1], *members})
        else:
            found.append(members)
        end = max(end, group.high)
    return sorted(found)


def _merged(groups: list[list[int]], tensors: Sequence[Tensor | None]) -> list[list[int]]:
    """The groups with all tensors that overlap with them, joined where they overlap with each other."""
    found: list[list[int]] = []
    for members in groups:
        low, high = _range([tensors[i] for i in members])
        reaching = [i for i, t in enumerate(tensors) if t is not None and _is_real(t) and meets(t, low, high)]
        joined = set(members).union(reaching)
        for other in [g for g in found if joined.intersection(g)]:
            joined.update(other)
            found.remove(other)
        found.append(sorted(joined))
    return found


def _range(tensors: Sequence[Tensor | None]) -> tuple[int, int]:
    """The first byte of these tensors, and the one behind the last."""
    held = [t for t in tensors if t is not None]
    return min(t._storage.address for t in held), max(t._storage.address + t._spec.extent for t in held)


def meets(tensor: Tensor, low: int, high: int) -> bool:
    """Whether a tensor reaches into a range of memory."""
    start = tensor._storage.address
    return bool(start < high and low < start + tensor._spec.extent)


def _group(refs: Sequence[Ref], tensors: Sequence[Tensor | None], members: Sequence[int]) -> Group:
    found = [(refs[i], t) for i in members for t in [tensors[i]] if t is not None]
    dtypes = {t.dtype for _, t in found}
    if len(dtypes) > 1:
        raise CaptureError(
            f"a captured function writes memory that tensors of different dtypes share "
            f"({', '.join(sorted(d.name for d in dtypes))}); pass clones, or leave the function uncompiled"
        )
    low, high = _range([t for _, t in found])
    base = _common_base([t for _, t in found])
    if base is not None:  # its views follow it as outside of captures
        start, stop = base._storage.address, base._storage.address + base._spec.extent
        if base._spec.contiguous and start <= low and high <= stop:
            return Group(_reference_to(base, found), base, start, stop)
    elif all(t._view is None or t._view.kind == DETACHED for _, t in found):
        for ref, t in found:
            if t._storage.address == low and t._spec.extent == high - low and t._spec.contiguous:
                return Group(ref, t, low, high)
    ref, first = found[0]
    (dtype,) = dtypes
    assert isinstance(ref, (TensorRef, ArgumentRef, GradRef))
    others = tuple([r for r, _ in found if isinstance(r, (TensorRef, ArgumentRef, GradRef))])
    flat = FlatRef(
        ref,
        first._storage.address - low,
        spec_of(dtype, ((high - low) // dtype.itemsize,), None, first._spec.device),
        others,
    )
    return Group(flat, make(storages.wrap(low, high - low, first._storage), flat.spec, None, 0), low, high)


def _reference_to(base: Tensor, members: Sequence[tuple[Ref, Tensor]]) -> Ref:
    """Where a run finds the base of the members: among them, or as that of a captured tensor, or of an argument."""
    for ref, t in members:
        if t is base:
            return ref
    views = [ref for ref, t in members if t._view is not None and t._view.base is base]
    arguments = [ref for ref in views if isinstance(ref, ArgumentRef)]
    return BaseRef(arguments[0].position) if len(arguments) == len(views) else TensorRef(base)


def _common_base(tensors: Sequence[Tensor]) -> Tensor | None:
    """The tensor that all others of these are views of (it may be one of them), if some are views at all."""
    bases = {id(t._view.base): t._view.base for t in tensors if t._view is not None and t._view.kind != DETACHED}
    if len(bases) != 1:
        return None
    ((_, base),) = bases.items()
    # What was detached, or lent, has a history of its own, and follows by its place in memory.
    return base


def step_to(tensor: Tensor, group: Group) -> tuple[tuple[Any, ...], int]:
    """The way from a group's base to a member, and whether its history follows the base's."""
    of = tensor._view
    if of is not None and of.base is group.base and of.kind != DETACHED:
        return of.way, of.kind
    offset = tensor._storage.address - group.base._storage.address
    if offset == 0 and tensor._spec is group.base._spec:
        return (None,), DETACHED
    return ((_strided(group.base._spec, tensor._spec, offset // tensor.dtype.itemsize), 0),), DETACHED


_calls = Cache(4096)


def _strided(base: Spec, spec: Spec, offset: int) -> GraphCall:
    from ..ops.op import trace_function
    from ..ops.strided_views import as_strided
    from ..ops.views import reshaped

    key = (base, spec, offset)
    found = _calls.get(key)
    if found is None:
        size = base.nbytes // base.dtype.itemsize
        graph, _ = trace_function(
            lambda x: as_strided(reshaped(x, (size,)), spec.static_shape, spec.strides, offset),
            [base.type],
            "as_strided",
        )
        found = _calls.keep(key, GraphCall(graph, base.device, is_view=True))
    return found
