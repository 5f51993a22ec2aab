"""The nodes of branches and loops: of bodies that were traced (bodies.py), what is recorded, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import Any

from ..core.errors import CaptureError
from ..graph.ir import Value
from ..graph.simplify import simplify
from ..ops.control import BRANCH, LOOP
from ..ops.op import Trace
from ..ops.views import RESHAPE
from ..tensor import tape
from ..tensor.alias import live_views, rebase, replace, root_of
from ..tensor.calls import wrap
from ..tensor.in_place import copy_
from ..tensor.spec import spec_of
from ..tensor.tensor import Tensor, make
from .bodies import Carried, Tracing, Undecided, Written, traced
from .body_gradients import carried_gradients, give_gradients, joined_gradients, let_go, set_gradients
from .control_tape import Body, record_branch, saved_by
from .loop_tape import record_loop

TracedBody = tuple[Tracing, list[Tensor], list[Value], list[Written]]


def branch(trace: Trace, pred: Tensor, bodies: Sequence[TracedBody]) -> list[Tensor]:
    """Record a branch between two traced bodies, which give tensors of the same types: what the node gives for them."""
    (_, true, _, true_written), (_, false, _, false_written) = bodies
    written = {id(w.tensor): w for w in (*true_written, *false_written)}
    followed = {id(w.tensor) for w in (*true_written, *false_written) if not w.keeps_history}
    given_ = []
    for found, own in ((true, true_written), (false, false_written)):
        after = {id(w.tensor): w.after for w in own}
        states = {key: after.get(key, w.before) for key, w in written.items()}
        given_.append([*found, *(t if key in followed else _plain(t) for key, t in states.items())])
    tracings = [body[0] for body in bodies]
    gradients = joined_gradients(trace, tracings)
    joined = {leaf: pair for leaf, pair in gradients.items() if isinstance(pair, list)}
    for k, list_ in enumerate(given_):
        list_ += [pair[k].after for pair in joined.values()]
    outputs = [[t._storage for t in tensors] for tensors in given_]
    needed = [[*o, *_saved(list_, t)] for t, list_, o in zip(tracings, given_, outputs, strict=True)]
    closed = list(dict.fromkeys([v for t, o in zip(tracings, needed, strict=True) for v in t.closed(o)]))
    copies = [t.graph(closed, o) for t, o in zip(tracings, outputs, strict=True)]
    graphs = [simplify(graph) for graph, _ in copies]
    predicate = trace.capture.inside(pred)
    if not outputs[0]:  # nothing to compute
        set_gradients(trace, gradients, {})
        return []
    around = [_around(v, *tracings) for v in closed]
    before = {v for w in written.values() for v in (w.before._storage, *w.shown)}
    for t in around if tape.recording.enabled else ():
        if t._storage in before:  # the way back needs what it was: a value that nobody overwrites
            t._storage = trace.add(RESHAPE, [t._storage], {"shape": t._spec.shape}).output
    operands_ = [predicate._storage, *(t._storage for t in around)]
    node = trace.add(BRANCH, operands_, {"true": graphs[0], "false": graphs[1]})
    made = _made(trace, node.outputs)
    if tape.recording.enabled and any(t._node is not None for t in around):
        places = [(t._node, t._index) for t in around]
        tapes = [Body(t, g, places, *copy) for t, g, copy in zip(tracings, given_, copies, strict=True)]
        record_branch("cond", tapes, [predicate, *around], made)
    last = len(true) + len(written)
    let_go(tracings)
    _write(trace, list(written.values()), made[len(true) : last], followed)
    set_ = dict(zip(joined, made[last:], strict=True))
    set_gradients(trace, gradients, set_)
    for tracing in tracings:
        for n, leaf in tracing.shown_gradients:
            if leaf in set_ and n < len(true):
                trace.capture.may_share(made[n], [set_[leaf]])
    return made[: len(true)]


def traced_loop(
    name: str,
    trace: Trace,
    run: Callable[[Tracing], Sequence[Tensor]],
    given: Sequence[Tensor],
    *functions: Callable[..., Any],
) -> tuple[Tracing, list[Tensor], list[Value], list[Written]]:
    """A loop's body, traced: with a tape if something around it has a history, which may be what it reads alone; and
    with tensors that it writes as carries, where views or a history follow them.

    Raises:
        CaptureError: it writes what the loop is given.
    """
    follows = not tape.recording.enabled or any(t._node is not None for t in given)
    threads: list[Tensor] = []
    gradients: dict[tape.Leaf, Any] = {}
    while True:
        found = traced(name, trace, run, *functions, follows=follows, threads=threads, gradients=gradients)
        tracing, given_, _, written = found
        roots = [root_of(t) for t in given]
        if any(w.tensor is root for w in written for root in roots):
            raise CaptureError(
                f"{name}: the function writes a tensor, in place, that the loop is given as well; give it a clone()"
            )
        left = given_[tracing.flags : tracing.flags + tracing.carries]
        if not follows and tape.recording.enabled and any(t._node is not None for t in left):
            follows = True  # a carry gets a history on the way
            continue
        set_ = carried_gradients(name, trace, tracing)
        news = {
            g: b for g, b in set_.items() if gradients.get(g) is not b and not isinstance(gradients.get(g), Undecided)
        }
        if news:
            gradients |= news
            continue
        more = [w.tensor for w in written if w.shown or w.before._node is not None or w.after._node is not None]
        if all(any(root is t for t in threads) for root in more):
            return found
        threads = more


def loop(
    trace: Trace,
    body: TracedBody,
    go: Tensor | None,
    starts: Sequence[Tensor],
    sequences: Sequence[Tensor],
    length: int | None,
    reverse: bool = False,
) -> tuple[list[Tensor], list[Tensor]]:
    """Record a loop: the last carries, and the results. ``body`` gives whether to go on where there is ``go``, the next
    carries and results; with ``go`` and a ``length`` it may not go on after that many iterations."""
    tracing, given, values, written = body
    flags, carries = int(go is not None), len(starts)
    gradients = {leaf: own for leaf, own in tracing.gradients.items() if own.value is not None}
    own_states = [*(w.after for w in written), *(own.after for own in gradients.values())]
    tensors = [*given[flags : flags + carries], *own_states, *given[flags + carries :]]
    outputs = [t._storage for t in tensors]
    states = [*(w.before._storage for w in written), *(own.value for own in gradients.values() if own.value)]
    many = carries + len(states)
    found = {leaf: trace.capture.peek_grad(leaf) for leaf in tracing.gradients}
    needed = [*values[:flags], *outputs, *_saved(tensors, tracing)]
    closed = [v for v in tracing.closed(needed) if v not in states]
    inputs = [*tracing.given[:carries], *states, *tracing.given[carries:], *closed]
    begins = [*(w.before for w in written), *(trace.capture.inside(found[leaf]) for leaf in gradients)]
    operands = [*starts, *begins, *sequences, *(_around(v, tracing) for v in closed)]
    followed = {id(w.tensor) for w in written if not w.keeps_history}
    left = [*given[flags:], *(w.after for w in written if id(w.tensor) in followed), *own_states[len(written) :]]
    has_tape = tape.recording.enabled and all(any(t._node is not None for t in ts) for ts in (operands, left))
    keeps = has_tape and length is not None
    kept = inputs[:many] if keeps else []
    graph = simplify(tracing.graph(inputs, [*values[:flags], *outputs, *kept])[0])
    params = {
        "body": graph,
        "carries": many,
        "sequences": len(sequences),
        "length": length,
        "reverse": reverse,
        "has_go": go is not None,
        "has_count": False,
        "gives_count": keeps and go is not None,
        "bounded": go is not None and length is not None,
    }
    operands = [*([] if go is None else [trace.capture.inside(go)]), *operands]
    if not outputs:  # nothing to compute
        give_gradients(trace, tracing, found, {})
        return [], []
    node = trace.add(LOOP, [t._storage for t in operands], params)
    made = _made(trace, node.outputs)
    if has_tape:
        states_at = [*(w.end for w in written), *(own.end for own in gradients.values())]
        places = [(n, 0) for n in (*tracing.ends[:carries], *states_at, *tracing.ends[carries:])]
        places += [(t._node, t._index) for t in operands[flags + len(places) :]]
        tape_ = Body(tracing, tensors, places, *tracing.graph(inputs, outputs))
        record_loop(tracing.name, tape_, params, operands, made, len(kept))
    first = many
    let_go([tracing])
    _write(trace, written, made[carries : carries + len(written)], followed)
    give_gradients(trace, tracing, found, dict(zip(gradients, made[carries + len(written) : first], strict=True)))
    for i in sorted(tracing.written_carries):  # as the first iteration does, eagerly
        trace.capture.check_alone(starts[i])
        start = starts[i]
        reached = start._view is not None or live_views(start) or start._storage in closed
        if reached or sum(t._storage is start._storage for t in starts) > 1:
            raise CaptureError(
                f"{tracing.name}: the body writes a carry in place, and the tensor that it begins with is reached in "
                "another way too (a view, another carry, a name that the body reads); begin with a clone()"
            )
        copy_(starts[i], made[i])
    return made[:carries], made[first : first + len(outputs) - first]


def end_of(tensor: Tensor, carried: bool = False) -> Any:
    """The place on the tape of what a body gets for a tensor. A carry may get a history on the way."""
    if not tape.recording.enabled or not tensor._spec.dtype.is_floating:
        return None
    return Carried() if carried or tensor._node is not None else None


def check_written(tracing: Tracing, found: Sequence[Tensor]) -> None:
    """A carry that the body writes in place, ``x += 1``, stays that tensor, or the next iteration would have another.

    Raises:
        CaptureError: it does not.
    """
    for i in tracing.written_carries:
        if found[i] is not tracing.stand_ins[i]:
            raise CaptureError(
                f"{tracing.name}: the body writes what it is given in place, and carries another tensor on; return the "
                "new value (x = x + 1 in the place of x += 1), or the tensor that was written"
            )
    written = [*tracing.written_around(), *(tracing.stand_ins[i] for i in tracing.written_carries)]
    for t in found:
        root = root_of(t)
        if any(root is w for w in written) and not any(t is stand_in for stand_in in tracing.stand_ins):
            raise CaptureError(
                f"{tracing.name}: the body carries on a tensor, or a view of one, that it writes in place by another "
                "name; carry a clone()"
            )


def stand_ins(tracing: Tracing, starts: Sequence[Tensor]) -> list[Tensor]:
    """What a loop's body gets for its carries."""
    tracing.carries = len(starts)
    return [tracing.stand_in(t._spec, end_of(t, tracing.follows)) for t in starts]


def part(tensor: Tensor) -> Any:
    spec = tensor._spec
    return spec_of(spec.dtype, spec.shape[1:], None, spec.device)


def _saved(outputs: Sequence[Tensor], tracing: Tracing) -> list[Value]:
    return saved_by(outputs, tracing.start) if tape.recording.enabled else []


def _around(value: Value, *tracings: Tracing) -> Tensor:
    """The tensor by way of which bodies read a value from around them."""
    found = [t.tensor_of(value) for t in tracings]
    known = next((t for t in found if t._node is not None), found[0])
    return make(value, known._spec, known._node, known._index)


def _made(trace: Trace, values: Sequence[Value]) -> list[Tensor]:
    made = [wrap(v) for v in values]
    if trace.capture is not None:
        trace.capture.made(tuple(made))
    return made


def _plain(tensor: Tensor) -> Tensor:
    """The same value, without a history."""
    return make(tensor._storage, tensor._spec, None, 0)


def _write(trace: Trace, written: Sequence[Written], made: Sequence[Tensor], followed: Set[int]) -> None:
    """Let the tensors that bodies wrote have what came of it, and those ``followed``, by ids, its history."""
    for each, after in zip(written, made, strict=True):
        replace(each.tensor, after._storage, trace)
        if tape.recording.enabled and id(each.tensor) in followed:
            rebase(each.tensor, after._node, after._index)
