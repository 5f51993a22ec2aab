"""Control flow over values: ``cond``, ``while_loop``, ``scan``, with JAX's names, arguments and meanings.

Eagerly they run the Python functions: the branch that is taken, a loop. While a function is captured they trace their
functions into graphs (bodies.py) and record one node (ops/control.py), which runs natively. Either way results own
their memory, so that nothing depends on which of the two it was, nor on how often a loop ran.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from ..core import dtypes as dt
from ..core.asked import unasked
from ..core.errors import ArgumentError, CaptureError, DTypeError, ShapeError
from ..core.shapes import shown
from ..core.symbolic import SymDim
from ..ops.elementwise import clone
from ..ops.op import Trace, state
from ..ops.pieces import stack, unstack
from ..tensor.alias import live_views
from ..tensor.create import asarray, is_array
from ..tensor.tensor import Tensor
from .bodies import Tracing, traced
from .control_nodes import branch, check_written, end_of, loop, part, stand_ins, traced_loop
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
        carries = stand_ins(tracing, starts)
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
        carries = stand_ins(tracing, starts)
        here = [tracing.stand_in(part(t), end_of(t)) for t in sequences]
        found, results, results_form = _step(f, carries, form, here, parts_form)
        check_written(tracing, found)
        forms.append(results_form)
        return [*found, *results]

    traced_ = traced_loop("scan", trace, run, [*starts, *sequences], f)
    finals, results = loop(trace, traced_, None, starts, sequences, count, bool(reverse))
    return unflatten(form, finals), unflatten(forms[0], results)


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
