"""Memory that a run of a compiled function is handed for the gradients that it makes.

A step that begins with ``zero_grad()`` replaces every gradient by one that it makes, and reads none of the old ones.
Where nobody else holds an old gradient, the new one takes its memory: otherwise all gradients would be there twice
until the step ends. To the program, such memory is an input that it writes and never reads. As with all that is
written in place, nothing is written before the last step of the program that may fail, so that a run that raises leaves
the gradients as they were.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..core.device import CPU
from ..graph.ir import Graph, Value
from ..runtime import storage as storages
from ..tensor import tape
from ..tensor.spec import Spec
from ..tensor.tensor import Tensor, make
from .captured import Captured
from .refs import GradRef

LEAST = 1 << 20  # bytes of gradients: with less there is nothing to win


class Handed(NamedTuple):
    """A gradient that a run makes in memory which it is handed: whose, which item of the run, its spec."""

    ref: GradRef
    item: int
    spec: Spec


def handed_to(captured: Captured) -> list[Handed]:
    """The gradients that are nothing else: no result, on no tape, stored nowhere, read by nobody before."""
    returns, read = captured.returns, {ref.key for ref in captured.reads.refs}
    if captured.device is not CPU or captured.live is not None or returns.stores or returns.kept or returns.repeated:
        return []
    taken = {what for item in returns.items for what in (item.of, item.base)}
    times = Counter([n for _, n in captured.writes.gradients if isinstance(n, int)])
    outputs = Counter(captured.program.outputs)
    results = sum(what is None for what in returns.results)
    found = []
    for ref, n in captured.writes.gradients:
        if not isinstance(n, int) or not isinstance(ref, GradRef) or ref.key in read or n < results:
            continue
        item = returns.items[n]
        plain = item.of is None and item.base is None and n not in taken and returns.tape[n] is None
        if plain and times[n] == 1 == outputs[item.value] and item.spec.contiguous:
            found.append(Handed(ref, n, item.spec))
    return found if sum(each.spec.nbytes for each in found) >= LEAST else []


def with_memory(graph: Graph, values: Sequence[Value]) -> tuple[Graph, list[tuple[int, Value]]]:
    """The graph with an input more for each of the values, which it writes there, and these updates."""
    inputs = [Value(v.type) for v in values]
    count = len(graph.inputs)
    made = Graph(graph.name, [*graph.inputs, *inputs], graph.nodes, graph.outputs)
    return made, [(count + i, v) for i, v in enumerate(values)]


def memory_for(each: Handed, tensors: Sequence[Tensor]) -> Any:
    """The memory of the old gradient if nobody else has it, or new memory."""
    leaf = each.ref.leaf_of(tensors)
    old = _alone(leaf)
    if old is not None and old.nbytes == each.spec.nbytes and not old.is_read_only and old.root is old:
        return old
    return storages.empty(each.spec.nbytes)


def _alone(leaf: Any) -> Any:
    """The memory of a leaf's gradient, if the leaf alone has the gradient and this alone has it."""
    counts = _references(leaf)
    return leaf.grad._storage if counts is not None and counts == _expected() else None


def _references(leaf: Any) -> tuple[int, int] | None:
    """How many refer to a leaf's gradient, and to its memory, this function among them."""
    gradient = leaf.grad
    if gradient is None or gradient._spec.device is not CPU or not isinstance(gradient._storage, storages.Storage):
        return None
    return sys.getrefcount(gradient), sys.getrefcount(gradient._storage)


_counted: list[tuple[int, int]] = []


def _expected() -> tuple[int, int]:
    """What :func:`_references` counts of a gradient that nobody else has: interpreters differ."""
    if not _counted:
        from ..core import dtypes as dt
        from ..tensor.spec import spec_of

        spec = spec_of(dt.float32, (1,), (1,))
        leaf = tape.Leaf(spec)
        leaf.grad = make(storages.empty(4), spec, None, 0)
        found = _references(leaf)
        assert found is not None
        _counted.append(found)
    return _counted[0]
