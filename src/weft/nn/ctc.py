"""Connectionist temporal classification: the loss of a sequence of labels that no one has aligned with the input.

It lies above the ops because it is a loop over time: ``scan``, compiled, is one native call and one graph for any
number of time steps. Unrolled inside of a composite, 200 steps would be a graph of thousands of nodes for each T.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from ..core import dtypes as dt
from ..core.asked import unasked
from ..core.errors import ArgumentError, CaptureError, DTypeError, ShapeError
from ..core.shapes import Shape, shown
from ..core.symbolic import Dim
from ..ops.creation import full, iota
from ..ops.elementwise import cast, exp, log, maximum, stop_gradient, where
from ..ops.indexing import NOWHERE, as_indices, take, take_along_axis
from ..ops.loss import reduced
from ..ops.op import Array, composite, public, state
from ..ops.pieces import concat
from ..ops.precision import widen
from ..ops.shape import expand_dims, squeeze
from ..tensor.create import asarray
from ..tensor.tensor import Tensor

if TYPE_CHECKING:
    from ..transforms.compile import Compiled

_NEVER = -math.inf  # the logarithm of the probability 0


@public
def ctc_loss(
    log_probs: Array,
    targets: Array,
    input_lengths: Array | Sequence[int],
    target_lengths: Array | Sequence[int],
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Array:
    """``-log`` of the probability of a sequence of labels: of all ways to stretch it over the time steps, repeating
    labels and putting blanks between them. Computed in logarithms, in time and memory ``T * N * S``.

    The gradient is that of this function: minus the probability that a label is there at a time. (PyTorch's is the
    gradient of what went into ``log_softmax``, which is the same once it has gone through that.) Where a loss is
    infinite, the gradient is 0.

    Args:
        log_probs: log probabilities, ``(T, N, C)`` or ``(T, C)``; a floating dtype.
        targets: labels in ``[0, C)`` without the blank, ``(N, S)``, of which the first ``target_lengths`` count, or one
            sequence after the other, ``(sum(target_lengths),)``; an integer dtype.
        input_lengths: how many time steps count, at most T: ``(N,)``, or ``()`` for ``(T, C)``; integers, or a tuple.
        target_lengths: how many labels count, the same. In captured code concatenated targets want a tuple: sizes
            depend on it.
        blank: the class that is no label.
        reduction: ``"mean"`` (each divided by its target's length, or 1), ``"sum"`` or ``"none"``.
        zero_infinity: 0 for infinite losses: of inputs that are too short for their targets.

    Returns:
        ``()``, or ``(N,)`` for ``"none"`` of ``(T, N, C)``; log_probs' dtype.

    Raises:
        ArgumentError, IndexError: a length, a label or the blank out of range.
        ShapeError, DTypeError: operands that do not fit.
        CaptureError: concatenated targets in captured code, whose lengths are a tensor.

    Example:
        >>> x = wf.nn.functional.log_softmax(wf.zeros((2, 1, 3)), -1)
        >>> loss = wf.nn.functional.ctc_loss(x, wf.asarray([[1]]), (2,), (1,))
        >>> round(loss.exp().item(), 4)  # of 9 ways, 3 are right: 1 1, 1 blank, blank 1
        3.0

    Reference:
        Graves et al., Connectionist Temporal Classification: Labelling Unsegmented Sequence Data with Recurrent Neural
        Networks, 2006.
    """
    if not log_probs.dtype.is_floating:
        raise DTypeError(f"ctc_loss: log_probs is {log_probs.dtype.name}; it must be floating; cast with astype")
    if not targets.dtype.is_integer:
        raise DTypeError(f"ctc_loss: targets is {targets.dtype.name}; labels must be integers")
    shape, labels = _sizes(log_probs), _sizes(targets)
    if len(shape) not in (2, 3) or any(isinstance(n, int) and n == 0 for n in shape):
        raise ShapeError(f"ctc_loss: log_probs {log_probs.shape} must be (T, N, C) or (T, C), and not empty")
    classes = shape[-1]
    if blank < 0 or (isinstance(classes, int) and blank >= classes):
        raise ArgumentError(f"ctc_loss: blank is {blank}; it must be one of the {classes} classes of log_probs")
    batch = shape[1] if len(shape) == 3 else 1
    steps, _ = _lengths("input_lengths", input_lengths, log_probs, batch, shape[0])
    most = labels[1] if len(labels) == 2 else None
    sizes, known = _lengths("target_lengths", target_lengths, log_probs, batch, most)
    x = log_probs if len(shape) == 3 else expand_dims(log_probs, axis=1)
    losses = _compiled()(x, _rows(targets, sizes, known, batch), steps, sizes, int(blank))
    return _reduce(losses, sizes, reduction, zero_infinity, len(shape) == 2, log_probs.dtype)


def _sizes(x: Array) -> Shape:
    """The shape, as ops see it: nothing is noted where sizes are symbolic and two of them are compared."""
    return tuple([unasked(n) for n in x.shape])


@cache
def _compiled() -> Compiled[Any, Tensor]:
    from ..transforms.compile import compile  # late: a program without this loss starts without captures

    return compile(_losses)


def _lengths(
    name: str, given: Any, log_probs: Array, batch: Dim, most: Dim | None
) -> tuple[Tensor, tuple[int, ...] | None]:
    """Lengths as int64 ``(N,)``, and as numbers; None for these where only a run will know them.

    Raises:
        ShapeError: not one for each sequence. DTypeError: they are not integers.
        ArgumentError: one is negative, or greater than ``most`` (None: there is no such limit).
    """
    lengths: Tensor = given if isinstance(given, Tensor) else asarray(given, device=log_probs.device)
    if not lengths.dtype.is_integer:
        raise DTypeError(f"ctc_loss: {name} is {lengths.dtype.name}; lengths must be integers")
    wanted: list[Shape] = [(batch,)] if log_probs.ndim == 3 else [(), (1,)]
    if _sizes(lengths) not in wanted:
        raise ShapeError(
            f"ctc_loss: {name} {lengths.shape} for log_probs {log_probs.shape}: it must be {shown(wanted[0])}, a "
            "length for each sequence"
        )
    if isinstance(given, (tuple, list)):
        values = tuple(given)
    elif state.trace is None:
        values = (lengths.item(),) if lengths.ndim == 0 else tuple(lengths.tolist())
    else:
        return _as_lengths(lengths), None
    for n in values:
        if n < 0 or (isinstance(most, int) and n > most):
            limit = "" if most is None else f" and at most {most}"
            raise ArgumentError(f"ctc_loss: {name} has {n}; a length is at least 0{limit}")
    return _as_lengths(lengths), values


@composite(name="ctc_loss", public=False)
def _as_lengths(lengths: Array) -> Array:
    """As int64 ``(N,)``; negative ones are far out of range."""
    found = as_indices("ctc_loss", lengths, from_the_end=False)
    return found if found.ndim else expand_dims(found, axis=0)


def _rows(targets: Array, sizes: Tensor, known: tuple[int, ...] | None, batch: Dim) -> Array:
    """The labels as ``(N, S)``.

    Raises:
        ShapeError: they are neither that nor as many as the lengths say.
        CaptureError: only a run will know S.
    """
    if targets.ndim == 2:
        if _sizes(targets)[0] != batch:
            raise ShapeError(f"ctc_loss: targets {targets.shape} for {batch} sequences: they must be ({batch}, S)")
        return targets
    if targets.ndim != 1:
        raise ShapeError(f"ctc_loss: targets {targets.shape} must be (N, S), or (sum(target_lengths),)")
    if known is None:
        raise CaptureError(
            f"ctc_loss: targets {targets.shape} are concatenated, so that the values of target_lengths say how long "
            "the longest is, which captured code cannot ask for: pad targets to (N, S), or give the lengths as a tuple"
        )
    if sum(known) != targets.shape[0]:
        raise ShapeError(
            f"ctc_loss: targets {targets.shape} are concatenated, but target_lengths add up to {sum(known)}"
        )
    return _padded(targets, sizes, max(known))


@composite(name="ctc_loss", public=False)
def _padded(targets: Array, sizes: Array, longest: int) -> Array:
    from ..ops.cumulative import cumulative_sum

    place = expand_dims(iota((longest,), 0), axis=0)
    starts = cumulative_sum(sizes) - sizes
    at = where(place < expand_dims(sizes, axis=1), expand_dims(starts, axis=1) + place, 0)
    return take(targets, at, axis=0)


def _losses(log_probs: Tensor, targets: Tensor, steps: Tensor, sizes: Tensor, blank: int) -> Tensor:
    """``(N,)``: minus the logarithms of the probabilities, in the dtype that they are computed in.

    Column s of ``blanks`` is the probability that the first s labels are done and the last class was a blank; of
    ``marks``, that it was the label number s itself. So both are of one shape, and a step is one kernel; column 0 of
    ``marks`` is never reached.
    """
    from ..transforms.control import scan

    of_blank, of_label, may_skip, runs, blanks, marks = _prepared(log_probs, targets, steps, sizes, blank)

    def step(carry: Any, now: Any) -> Any:
        return _step(carry, now, may_skip), None

    (blanks, marks), _ = scan(step, (blanks, marks), (of_blank, of_label, runs))
    return _last(blanks, marks, sizes)


@composite(name="ctc_loss", public=False)
def _prepared(log_probs: Array, targets: Array, steps: Array, sizes: Array, blank: int) -> tuple[Array, ...]:
    """The log probabilities of the blank ``(T, N, 1)`` and of the labels ``(T, N, 1 + S)``, where a label may follow
    the one before without a blank ``(N, 1 + S)``, which steps count ``(T, N, 1)``, and the columns at the start."""
    (x,) = widen("ctc_loss", log_probs)
    (time, batch, _), longest = x.shape, targets.shape[1]
    wide = (batch, longest + 1)
    # One more column in front, of a label that is never there.
    labels = as_indices("ctc_loss", targets)
    inside = iota((batch, longest), 1) < expand_dims(sizes, axis=1)
    labels = where(inside, where(labels < 0, NOWHERE, labels), blank)
    front = full((batch, 1), blank, dtype=dt.int64)
    before, labels = concat([front, front, labels], axis=1)[:, :-1], concat([front, labels], axis=1)
    number = iota(wide, 1)
    of_label = where(expand_dims(number, axis=0) == 0, _NEVER, take_along_axis(x, expand_dims(labels, axis=0), axis=2))
    checked = take(iota((time + 1,), 0), steps, axis=0)  # a length beyond T raises, as a label beyond C does
    runs = expand_dims(iota((time, batch), 0) < checked, axis=2)
    nothing = full(wide, _NEVER, dtype=x.dtype)
    blanks = where(number == 0, 0.0, nothing)
    return x[:, :, blank : blank + 1], of_label, (labels != before) & (number > 1), runs, blanks, nothing


@composite(name="ctc_loss", public=False)
def _step(columns: Sequence[Array], now: Sequence[Array], may_skip: Array) -> tuple[Array, Array]:
    """The columns one time step later; as they were, where the input is over."""
    (blanks, marks), (of_blank, of_label, runs) = columns, now
    after_blank, after_label = _shifted(blanks), where(may_skip, _shifted(marks), _NEVER)
    next_blanks = _log_sum(blanks, marks) + of_blank
    next_marks = _log_sum(marks, after_blank, after_label) + of_label
    return where(runs, next_blanks, blanks), where(runs, next_marks, marks)


def _shifted(x: Array) -> Array:
    """Each column one further on."""
    first = full((x.shape[0], 1), _NEVER, dtype=x.dtype)
    return concat([first, x[:, :-1]], axis=1)


def _log_sum(*terms: Array) -> Array:
    """``log(sum(exp(term)))``; of -inf alone it is -inf, with the gradient 0 (not NaN)."""
    greatest = terms[0]
    for term in terms[1:]:
        greatest = maximum(greatest, term)
    greatest = stop_gradient(where(greatest == _NEVER, 0.0, greatest))
    total = exp(terms[0] - greatest)
    for term in terms[1:]:
        total = total + exp(term - greatest)
    is_none = total == 0.0
    return where(is_none, _NEVER, log(where(is_none, 1.0, total)) + greatest)


@composite(name="ctc_loss", public=False)
def _last(blanks: Array, marks: Array, sizes: Array) -> Array:
    at = expand_dims(sizes, axis=1)
    ends = [squeeze(take_along_axis(x, at, axis=1), axis=1) for x in (blanks, marks)]
    return -_log_sum(*ends)


@composite(name="ctc_loss", public=False)
def _reduce(losses: Array, sizes: Array, reduction: str, zero_infinity: bool, single: bool, dtype: Any) -> Array:
    if zero_infinity:
        losses = where(losses == math.inf, 0.0, losses)
    if reduction == "mean":
        losses = losses / cast(maximum(sizes, 1), losses.dtype)
    losses = losses[0] if single else losses
    return reduced("ctc_loss", losses, reduction, dtype)
