"""Control flow over values: ``cond``, ``while_loop``, ``scan``, with JAX's names, arguments and meanings.

Eagerly they run the Python functions: the branch that is taken, a loop. While a function is captured they trace their
functions into graphs (bodies.py) and record one node (ops/control.py), which runs natively. Either way results own
their memory, so that nothing depends on which of the two it was, nor on how often a loop ran.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence, Set
from typing import Any

from ..core import dtypes as dt
from ..core.asked import unasked
from ..core.errors import ArgumentError, CaptureError, DTypeError, ShapeError
from ..core.shapes import shown
from ..core.symbolic import SymDim
from ..graph.ir import Value
from ..graph.simplify import simplify
from ..ops.control import BRANCH, LOOP
from ..ops.elementwise import clone
from ..ops.op import Trace, state
from ..ops.pieces import stack, unstack
from ..ops.views import RESHAPE
from ..tensor import tape
from ..tensor.alias import live_views, rebase, replace, root_of
from ..tensor.calls import wrap
from ..tensor.create import asarray, is_array
from ..tensor.in_place import copy_
from ..tensor.spec import spec_of
from ..tensor.tensor import Tensor, make
from .bodies import Carried, Tracing, Undecided, Written, traced
from .body_gradients import carried_gradients, give_gradients, joined_gradients, let_go, set_gradients
from .control_tape import Body, record_branch, saved_by
from .loop_tape import record_loop
from .source.find import captured
from .tree import Form, flatten, matched, paths, unflatten

_NUMBERS = (bool, int, float)


def cond(pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], *operands: Any) -> Any:
    """``true_fn(*operands)`` where ``pred`` is true, ``false_fn(*operands)`` where it is false.

    Both give the same nesting of tensors, with the same dtypes and shapes. While a function is captured both are
    traced, and the value decides at each run which of them is computed.

    Args:
        pred: a bool tensor of rank 0, or a Python bool, which chooses at once.
        true_fn, false_fn: functions of the operands; they may read tensors around them.
        operands: any nestings of dict, list and tuple of tensors.

    >>> import weft as wf
    >>> wf.cond(wf.asarray(True), lambda x: x + 1, lambda x: x - 1, wf.asarray(1.0))
    Tensor(2., dtype=float32)

    Raises:
        DTypeError, ShapeError: ``pred`` is no bool, or not of rank 0; the branches give different dtypes or shapes.
        ArgumentError: the branches give different nestings, or are no functions.
        CaptureError: a branch does what only Python can.
    """
    _check_functions("cond", true_fn=true_fn, false_fn=false_fn)
    pred = _predicate("cond", pred)
    leaves, form = flatten(tuple(operands))
    given = [_tensor("cond", x, path) for x, path in zip(leaves, paths(form, "operands"), strict=True)]
    trace = state.trace
    if trace is None or isinstance(pred, bool):
        chosen = true_fn if pred else false_fn
        tree = chosen(*unflatten(form, given))
        leaves, form = flatten(tree)
        del tree
        made = [_tensor("cond", x, path) for x, path in zip(leaves, paths(form, "the result"), strict=True)]
        del leaves
        return unflatten(form, _owned(made))
    _check_capture("cond", trace)
    forms: list[Form] = []
    bodies = []
    for which, function in (("true_fn", true_fn), ("false_fn", false_fn)):

        def run(tracing: Tracing, function: Any = function, which: str = which) -> Sequence[Tensor]:
            result = captured(function)(*unflatten(form, given))
            if not forms:
                leaves, found = flatten(result)
                forms.append(found)
            else:
                matching = matched(result, forms[0], f"the result of {which}")
                if isinstance(matching, str):
                    raise ArgumentError(f"cond: the branches give different nestings: {matching}, as of true_fn")
                leaves = matching
            return [
                _tensor("cond", x, p) for x, p in zip(leaves, paths(forms[0], f"the result of {which}"), strict=True)
            ]

        bodies.append(traced(f"cond.{which}", trace, run, function))
    (_, true, _, _), (_, false, _, _) = bodies
    for path, a, b in zip(paths(forms[0], "the result"), true, false, strict=True):
        _same_type("cond", f"{path} of false_fn", b, a, "that of true_fn")
    return unflatten(forms[0], branch(trace, pred, bodies))


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


def while_loop(
    cond_fn: Callable[[Any], Any], body_fn: Callable[[Any], Any], init: Any, *, max_steps: int | None = None
) -> Any:
    """``init`` after as many times of ``body_fn`` as ``cond_fn`` says: ``while cond_fn(x): x = body_fn(x)``.

    Args:
        cond_fn: gives a bool tensor of rank 0.
        body_fn: gives the nesting of tensors that it takes, with the same dtypes and shapes.
        init: any nesting of dict, list and tuple of tensors.
        max_steps: how often it may run: more is an error. In captured code, reverse mode needs it.

    >>> import weft as wf
    >>> wf.while_loop(lambda x: x < 100, lambda x: x * 2, wf.asarray(3))
    Tensor(192, dtype=int64)

    Raises:
        DTypeError, ShapeError: ``cond_fn`` gives no bool of rank 0; a carry changes its dtype or shape.
        ArgumentError: the nesting changes; there are more than ``max_steps`` steps.
        CaptureError: a function does what only Python can.
    """
    _check_functions("while_loop", cond_fn=cond_fn, body_fn=body_fn)
    if max_steps is not None and not _is_count(max_steps):
        raise ArgumentError(f"while_loop: max_steps is a number of steps, not {_shown(max_steps)}")
    leaves, form = flatten(init)
    names = paths(form, "init")
    given = [_tensor("while_loop", x, path) for x, path in zip(leaves, names, strict=True)]
    trace = state.trace
    if trace is None:
        return _eager_while(cond_fn, body_fn, given, form, max_steps)
    _check_capture("while_loop", trace)
    go = _predicate("while_loop: what cond_fn gives", cond_fn(unflatten(form, given)))

    def run(tracing: Tracing) -> Sequence[Tensor]:
        carries = _stand_ins(tracing, starts)
        found = _carried("while_loop", captured(body_fn)(unflatten(form, carries)), form, carries)
        check_written(tracing, found)
        tracing.flags = 1
        again = _predicate("while_loop: what cond_fn gives", captured(cond_fn)(unflatten(form, found)))
        return [asarray(again), *found]

    starts = _inside(trace, given)
    finals, _ = loop(
        trace, traced_loop("while_loop", trace, run, starts, body_fn, cond_fn), asarray(go), starts, [], max_steps
    )
    return unflatten(form, finals)


def _eager_while(
    cond_fn: Callable[[Any], Any], body_fn: Callable[[Any], Any], carries: list[Tensor], form: Form, most: int | None
) -> Any:
    steps = 0
    while _predicate("while_loop: what cond_fn gives", cond_fn(unflatten(form, carries))):
        if most is not None and steps >= most:
            raise _too_many(most)
        carries = _carried("while_loop", body_fn(unflatten(form, carries)), form, carries)
        steps += 1
    return unflatten(form, _owned(carries))


def _too_many(most: Any) -> ArgumentError:
    return ArgumentError(f"while_loop: cond_fn is still true after max_steps={most} steps")


def scan(
    f: Callable[[Any, Any], Any], init: Any, xs: Any = None, length: int | None = None, reverse: bool = False
) -> Any:
    """Carry a value along the first axis of ``xs``: ``carry, y = f(carry, x)`` for each part, and the ys stacked.

    Args:
        f: takes the carry and a part of ``xs`` (None without ``xs``), gives the next carry, of the same nesting,
            dtypes and shapes, and any nesting of tensors (or None).
        init: any nesting of dict, list and tuple of tensors.
        xs: the same, whose tensors have equally long first axes; or None.
        length: how often, needed without ``xs``.
        reverse: from the last part to the first; ys are in the places of their parts.

    Returns:
        The last carry, and the stacked ys.

    >>> import weft as wf
    >>> wf.scan(lambda total, x: (total + x, total), wf.asarray(0), wf.asarray([1, 2, 3]))
    (Tensor(6, dtype=int64), Tensor([0, 1, 3], dtype=int64))

    Raises:
        DTypeError, ShapeError: a carry changes its dtype or shape; first axes are of different lengths.
        ArgumentError: nestings differ; nothing says how often.
        CaptureError: ``f`` does what only Python can.
    """
    _check_functions("scan", f=f)
    leaves, form = flatten(init)
    given = [_tensor("scan", x, path) for x, path in zip(leaves, paths(form, "init"), strict=True)]
    parts, parts_form = flatten(xs)
    names = paths(parts_form, "xs")
    sequences = [_tensor("scan", x, path) for x, path in zip(parts, names, strict=True)]
    count = _length(sequences, names, length)
    trace = state.trace
    if trace is None:
        return _eager_scan(f, given, form, sequences, parts_form, count, bool(reverse))
    _check_capture("scan", trace)
    starts, sequences = _inside(trace, given), _inside(trace, sequences)
    forms: list[Form] = []

    def run(tracing: Tracing) -> Sequence[Tensor]:
        carries = _stand_ins(tracing, starts)
        here = [tracing.stand_in(_part(t), end_of(t)) for t in sequences]
        found, results, results_form = _step(f, carries, form, here, parts_form)
        check_written(tracing, found)
        forms.append(results_form)
        return [*found, *results]

    traced_ = traced_loop("scan", trace, run, [*starts, *sequences], f)
    finals, results = loop(trace, traced_, None, starts, sequences, count, bool(reverse))
    return unflatten(form, finals), unflatten(forms[0], results)


def _part(tensor: Tensor) -> Any:
    spec = tensor._spec
    return spec_of(spec.dtype, spec.shape[1:], None, spec.device)


def _step(
    f: Callable[[Any, Any], Any], carries: Sequence[Tensor], form: Form, parts: Sequence[Tensor], parts_form: Form
) -> tuple[list[Tensor], list[Tensor], Form]:
    """One iteration of a scan: the next carries, the ys and their form."""
    found = captured(f)(unflatten(form, carries), unflatten(parts_form, parts))
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        raise ArgumentError(f"scan: f gives a pair of the next carry and y, not {_shown(found)}")
    after = _carried("scan", found[0], form, carries)
    leaves, results_form = flatten(found[1])
    results = [_tensor("scan", x, path) for x, path in zip(leaves, paths(results_form, "y"), strict=True)]
    return after, results, results_form


def _eager_scan(
    f: Callable[[Any, Any], Any],
    carries: list[Tensor],
    form: Form,
    sequences: Sequence[Tensor],
    parts_form: Form,
    count: int,
    reverse: bool,
) -> Any:
    rows: list[Any] = [unstack(t) if count else () for t in sequences]
    results: list[list[Tensor]] = []
    results_form: Form = None
    for at in range(count)[:: -1 if reverse else 1]:
        before = carries
        carries, made, now = _step(f, carries, form, [row[at] for row in rows], parts_form)
        _own(made, [t for t in carries if all(t is not b for b in before)])
        del before
        if results_form is None:
            results_form = now
        elif now != results_form:
            made = _as_before(unflatten(now, made), results_form)
        for path, y, first in zip(paths(results_form, "y"), made, results[0] if results else made, strict=True):
            _same_type("scan", path, y, first, "that of the first iteration")
        results.append(made)
    del rows
    if not count:  # what f would give is known by its graph alone
        return unflatten(form, _owned(carries)), _no_results(f, carries, form, sequences, parts_form)
    columns = [list(column) for column in zip(*results[:: -1 if reverse else 1], strict=True)]
    del results
    return unflatten(form, _owned(carries)), unflatten(results_form, list(map(stack, columns)))


def _as_before(tree: Any, form: Form) -> list[Tensor]:
    found = matched(tree, form, "y")
    if isinstance(found, str):
        raise ArgumentError(f"scan: an iteration gives another nesting than the first: {found}")
    return found


def _no_results(
    f: Callable[[Any, Any], Any], carries: Sequence[Tensor], form: Form, sequences: Sequence[Tensor], parts_form: Form
) -> Any:
    """The ys of no iterations."""
    from ..graph.protocol import TensorType
    from ..ops.creation import zeros
    from .capture import capture

    types = [TensorType(t.dtype, t.shape) for t in carries], [TensorType(t.dtype, t.shape[1:]) for t in sequences]
    forms: list[Form] = []

    def once(before: Any, parts: Any) -> list[Tensor]:
        _, results, results_form = _step(f, before, form, parts, parts_form)
        forms.append(results_form)
        return results

    found = capture(once, types).whole.outputs
    device = carries[0].device if carries else None
    return unflatten(forms[-1], [zeros((0, *v.shape), dtype=v.dtype, device=device) for v in found])


# --- checks ---------------------------------------------------------------------------------------------------------


def _predicate(name: str, pred: Any) -> Any:
    """``pred`` as a Python bool, or a traced tensor.

    Raises:
        DTypeError: it is no bool. ShapeError: it is not of rank 0.
    """
    if isinstance(pred, bool):
        return pred
    if is_array(pred) and not isinstance(pred, Tensor):
        pred = asarray(pred)
    if not isinstance(pred, Tensor):
        raise DTypeError(f"{name}: a predicate is a bool tensor of rank 0, not {_shown(pred)}")
    if pred.dtype is not dt.bool_:
        raise DTypeError(
            f"{name}: a predicate is a bool tensor of rank 0, not {pred._spec.type!r}; compare, as in x != 0"
        )
    if pred.shape != ():
        raise ShapeError(
            f"{name}: a predicate is of rank 0, not of shape {pred.shape}; .all() or .any() says which counts"
        )
    return pred if state.trace is not None else bool(pred)


def _check_functions(name: str, **functions: Any) -> None:
    for parameter, function in functions.items():
        if not callable(function):
            raise ArgumentError(f"{name}: {parameter} is no function, but {_shown(function)}")


def _is_count(value: Any) -> bool:
    """Whether it is an integer that a loop can count to."""
    if isinstance(value, SymDim):
        return True
    return not isinstance(value, bool) and isinstance(value, int) and 0 <= value < 1 << 63


def _shown(value: Any) -> str:
    return shown(value) if value is None or isinstance(value, (*_NUMBERS, str)) else type(value).__name__


def _tensor(name: str, leaf: Any, path: str) -> Tensor:
    """A leaf as a tensor: numbers and arrays become tensors."""
    if isinstance(leaf, Tensor):
        return leaf
    if isinstance(leaf, _NUMBERS) or is_array(leaf):
        return asarray(leaf)
    raise ArgumentError(f"{name}: {path} is no tensor, but {_shown(leaf)}")


def _carried(name: str, tree: Any, form: Form, before: Sequence[Tensor]) -> list[Tensor]:
    """What a body gives as its next carries, held to those that it took."""
    leaves = matched(tree, form, "the carry")
    if isinstance(leaves, str):
        raise ArgumentError(f"{name}: the body changes the nesting of what is carried: {leaves}")
    found = []
    for leaf, path, old in zip(leaves, paths(form, "the carry"), before, strict=True):
        kinds = (bool,) if old.dtype is dt.bool_ else _NUMBERS if old.dtype.is_floating else (bool, int)
        if type(leaf) in kinds:
            leaf = asarray(leaf, dtype=old.dtype)
        made = _tensor(name, leaf, path)
        _same_type(name, path, made, old, "as before the iteration")
        found.append(made)
    return found


def _same_type(name: str, path: str, given: Tensor, wanted: Tensor, whose: str) -> None:
    if given.dtype is not wanted.dtype:
        raise DTypeError(f"{name}: {path} is {given.dtype.name}, not {wanted.dtype.name}, {whose}; cast it")
    if given._spec.shape != wanted._spec.shape:  # two symbols for sizes are not one
        raise ShapeError(f"{name}: {path} has the shape {tuple(given.shape)}, not {tuple(wanted.shape)}, {whose}")


def _length(sequences: Sequence[Tensor], names: Sequence[str], length: Any) -> Any:
    """How many iterations; a size of a scope where the captured function has symbols for sizes."""
    if length is not None and not _is_count(length):
        raise ArgumentError(f"scan: length is a number of iterations, not {_shown(length)}")
    length = unasked(length)
    for path, t in zip(names, sequences, strict=True):
        if not t.shape:
            raise ShapeError(f"scan: {path} is of rank 0, and has no parts along a first axis")
        if length is None:
            length = t._spec.shape[0]
        elif t._spec.shape[0] != length:
            raise ShapeError(
                f"scan: {path} has {t._spec.shape[0]} parts along its first axis, where there are {length} iterations"
            )
    if length is None:
        raise ArgumentError("scan: without xs, say how often: length=...")
    return length


def _check_capture(name: str, trace: Trace) -> None:
    if trace.capture is None:
        raise CaptureError(f"{name} inside of an op")


# --- results --------------------------------------------------------------------------------------------------------


def _own(made: list[Tensor], fresh: Sequence[Tensor]) -> None:
    """Let results of an iteration stay what they are, whatever the next ones write in place. ``fresh`` tensors are
    carried on, and begin with this iteration: they are not written by another name."""
    kept = [t for t in made if any(t is f for f in fresh) and t._view is None and not live_views(t)]
    numbers = {id(t) for t in kept}
    rest = [t for t in made if id(t) not in numbers]
    places = [i for i, t in enumerate(made) if id(t) not in numbers]
    for i in places:
        made[i] = None  # type: ignore[call-overload]
    for i, t in zip(places, _owned(rest), strict=True):
        made[i] = t


def _owned(tensors: list[Tensor]) -> list[Tensor]:
    """Eager results, of which nothing else holds the memory. The list is the caller's, and holds them alone."""
    counts = Counter(map(id, tensors))
    t: Any
    for at in range(len(tensors)):
        t = None
        # The list holds it, and the argument of getrefcount.
        alone = sys.getrefcount(tensors[at]) == 2 and counts[id(tensors[at])] == 1
        t = tensors[at]
        if not alone or t._view is not None or live_views(t):
            tensors[at] = clone(t)
    return tensors


def _inside(trace: Trace, tensors: Sequence[Tensor]) -> list[Tensor]:
    return [trace.capture.inside(t) for t in tensors]


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


def _stand_ins(tracing: Tracing, starts: Sequence[Tensor]) -> list[Tensor]:
    """What a loop's body gets for its carries."""
    tracing.carries = len(starts)
    return [tracing.stand_in(t._spec, end_of(t, tracing.follows)) for t in starts]


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


def end_of(tensor: Tensor, carried: bool = False) -> Any:
    """The place on the tape of what a body gets for a tensor. A carry may get a history on the way."""
    if not tape.recording.enabled or not tensor._spec.dtype.is_floating:
        return None
    return Carried() if carried or tensor._node is not None else None


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


def _saved(outputs: Sequence[Tensor], tracing: Tracing) -> list[Value]:
    return saved_by(outputs, tracing.start) if tape.recording.enabled else []


def _around(value: Value, *tracings: Tracing) -> Tensor:
    """The tensor by way of which bodies read a value from around them."""
    found = [t.tensor_of(value) for t in tracings]
    known = next((t for t in found if t._node is not None), found[0])
    return make(value, known._spec, known._node, known._index)


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
