"""Draws of categories from their probabilities."""

from __future__ import annotations

from ..core import dtypes as dt
from ..core.errors import ArgumentError, DTypeError, ShapeError
from ..core.shapes import shown
from ..core.symbolic import Dim, undecided
from .cumulative import cumulative_sum
from .elementwise import cast, isfinite, isnan, less, log, logical_and, minimum, where
from .indexing import take_along_axis
from .op import Array, composite, current_trace, public
from .operands import require_tensors
from .pieces import concat
from .precision import widen
from .random import Generator, default_generator, draw_uniform
from .reduction import all as all_
from .reduction import max as max_
from .reduction import sum as sum_
from .shape import expand_dims
from .sorting import _topk, argsort
from .views import slice_

# Of a sum: one of the two numbers before it, so that a category at the end is drawn however little of the sum it has.
_BELOW = {dt.float32: 1.0 - 2.0**-23, dt.float64: 1.0 - 2.0**-52}
# So many samples, or categories, are compared one by one. Of 1,000 each that takes 0.07 ms, counting in order 0.03, of
# 5,000 0.74 and 0.15: the one grows with their product.
_FEW = 512


@public
def multinomial(
    input: Array, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Array:
    """Categories, drawn with probabilities that are proportional to ``input``.

    Without replacement category ``i`` gets the time ``-log(u) / p[i]`` at which it comes, and those that come first are
    drawn, in order. With replacement a sample is the first category up to which the running sum of the probabilities
    is more than ``u`` times their sum. Categories with probability 0 are drawn without replacement when there are no
    others left.

    Args:
        input: ``(C,)`` or ``(N, C)``, no element negative; a floating dtype. Rows need not sum to 1.
        num_samples: of each row; without replacement at most C.
        replacement: whether a category may be drawn again.
        generator: where the random numbers come from; one draw is made. None is the default generator.

    Returns:
        int64 of shape ``(num_samples,)`` or ``(N, num_samples)``.

    Raises:
        ShapeError: another number of axes.
        ArgumentError: no categories, too few or too many samples; and, unless the call is captured, elements that are
            negative or not finite, or a row without one above 0.
        DTypeError: ``input`` is not floating.

    Reference:
        Efraimidis and Spirakis, Weighted random sampling with a reservoir, 2006.

    Example:
        >>> import weft as wf
        >>> wf.multinomial(wf.asarray([0.0, 3.0, 0.0]), 1).tolist()
        [1]
    """
    op = "multinomial"
    require_tensors(op, input)
    if input.ndim not in (1, 2):
        raise ShapeError(f"{op}: input {tuple(input.shape)} must be (C,) or (N, C)")
    if not input.dtype.is_floating:
        raise DTypeError(f"{op}: input is {input.dtype.name}; probabilities are floating")
    if num_samples < 1:
        raise ArgumentError(f"{op}: num_samples is {shown(num_samples)}; it must be 1 or more")
    categories = input.shape[-1]
    if not (replacement or undecided(categories)) and num_samples > categories:
        raise ArgumentError(
            f"{op}: num_samples is {shown(num_samples)}; without replacement there are {categories} categories"
        )
    if not undecided(categories) and categories < 1:
        raise ArgumentError(f"{op}: input {tuple(input.shape)} has no categories")
    if current_trace() is None and 0 not in input.shape:
        finite, some = _usable(input)
        if not finite:
            raise ArgumentError(f"{op}: an element of input is negative, infinite or NaN")
        if not some:
            raise ArgumentError(f"{op}: no element of a row of input is above 0")
    state = (generator or default_generator(input.device)).next()
    return _multinomial(input, state, num_samples, replacement)


@composite
def _usable(input: Array) -> tuple[Array, Array]:
    """Whether all elements are finite and not negative, and whether each row has one above 0."""
    (p,) = widen("multinomial", input)
    return all_(logical_and(isfinite(p), p >= 0.0)), all_(max_(p, axis=-1) > 0.0)


@composite(name="multinomial")
def _multinomial(input: Array, state: Array, num_samples: Dim, replacement: bool) -> Array:
    (p,) = widen("multinomial", input)
    most = max_(p, axis=-1, keepdims=True)  # divided by it neither sums nor rates overflow, or are subnormal
    p = where(most > 0.0, p / most, p)
    if replacement:
        sums = cumulative_sum(p, axis=-1)
        last = p.shape[-1] - 1
        total = slice_(sums, (*(0,) * (p.ndim - 1), last), (*p.shape[:-1], 1))
        unit = draw_uniform(state, (*p.shape[:-1], num_samples), dtype=p.dtype)
        return minimum(_passed(sums, minimum(unit * total, total * _BELOW[p.dtype])), last)
    unit = draw_uniform(state, tuple(p.shape), dtype=p.dtype)  # a multiple of 2**-24 (2**-53) that may be 0
    least = 2.0**-54 if p.dtype is dt.float64 else 2.0**-25
    rates = where(p > 0.0, p / -log(where(unit == 0.0, least, unit)), -1.0)
    return _topk(rates, num_samples, -1, True)[1]


def _passed(sums: Array, at: Array) -> Array:
    """How many of the sums each of ``at`` has reached: all are compared, or, of many, counted in their order."""
    count, samples = sums.shape[-1], at.shape[-1]
    if undecided(count) or undecided(samples) or count <= _FEW or samples <= _FEW:
        return sum_(cast(expand_dims(sums, -2) <= expand_dims(at, -1), dt.int64), axis=-1)
    order = argsort(concat([sums, where(isnan(at), -1.0, at)], axis=-1))  # in which equal sums come first
    passed = cumulative_sum(cast(less(order, count), dt.int64), axis=-1)
    places = argsort(order)
    return take_along_axis(passed, slice_(places, (*(0,) * (at.ndim - 1), count), tuple(at.shape)), axis=-1)
