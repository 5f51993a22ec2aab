"""Errors of compiled code are those of eager code, where ``except`` of the user catches them; numbers at the edges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from reported import Case, Reports, check, data, raised

import weft as wf
from weft.nn import functional as F

report = Reports()

NOT_YET: dict[str, str | int] = {}
KNOWN_WRONG: dict[str, str] = {}


def calls(compiled: Any, function: Callable[..., Any], *arguments: tuple[Any, ...]) -> list[Any]:
    """What calls with these arguments give or raise; the message without the place."""
    run, found = compiled(function), []
    for each in arguments:
        result = raised(run, *each)
        found.append(result.split("\n")[0] if isinstance(result, str) else result)
    return found


@report("pytorch/pytorch#183769")
def a_selection_out_of_range(compiled: Any) -> Any:
    """Index 1 of an axis of size 1."""

    def run(x: Any, n: int) -> Any:
        base = x.unsqueeze(1)
        return wf.concat([base.select(1, 0), base.select(1, n)], axis=-1)

    return calls(compiled, run, (data(3, 4), 0), (data(3, 4), 1), (data(3, 4), -1), (data(3, 4), -2))


@report("pytorch/pytorch#185885")
def a_negative_row_to_add_to(compiled: Any) -> Any:
    """``index_add`` of rows -1 and 9: the same result or the same error."""

    def run(x: Any, i: Any, src: Any) -> Any:
        return x.index_add(0, i, src).clamp_max(1.0)

    x, src = wf.zeros((4, 3)), wf.ones((2, 3))
    return calls(compiled, run, *((x, wf.asarray(i), src) for i in ([0, 1], [0, -1], [0, 9], [3, 3])))


@report("pytorch/pytorch#121251")
def a_row_that_is_not_there(compiled: Any) -> Any:
    """``index_select`` of row 2 of two."""

    def run(x: Any, i: Any) -> Any:
        return x.index_select(0, i)

    return calls(compiled, run, *((data(2, 2, 2), wf.asarray([i])) for i in (0, 2, 1, -3)))


@report("pytorch/pytorch#183608")
def a_negative_token(compiled: Any) -> Any:
    """``embedding`` of -2, and of one past the end."""

    def run(i: Any, w: Any) -> Any:
        return F.embedding(i, w)

    return calls(compiled, run, *((wf.asarray(i), data(5, 2)) for i in ([2, 1, 4], [2, -2, 4], [5, 0, 0], [0, 0, 0])))


@report("pytorch/pytorch#193757", "pytorch/pytorch#197554")
def targets_that_are_no_probabilities(compiled: Any) -> Any:
    """``binary_cross_entropy`` with targets of 1.5."""

    def run(x: Any, t: Any) -> Any:
        return F.binary_cross_entropy(x, t)

    half = wf.full((4, 4), 0.5)
    return calls(compiled, run, (half, half), (half, half * 3.0), (half * 3.0, half), (half, half))


@report("pytorch/pytorch#184340", "pytorch/pytorch#184364")
def an_axis_that_is_not_there(compiled: Any) -> Any:
    """``softmax`` along axis 10 is an IndexError for who catches IndexErrors."""
    run, found = compiled(lambda t, axis: F.softmax(t, axis=axis)), []
    for axis in (0, 10, -1):
        try:
            found.append(run(data(4), axis))
        except IndexError as error:
            found.append(type(error).__name__)
    return found


@report("pytorch/pytorch#198192")
def an_index_error_that_the_function_catches(compiled: Any) -> Any:
    """The handler in the function runs."""

    def run(x: Any) -> Any:
        try:
            return x.sum(axis=5)
        except IndexError:
            return x * -1.0

    return calls(compiled, run, (data(2, 3),), (data(2, 3),), (data(3, 3),))


@report("pytorch/pytorch#174166")
def an_attribute_that_tensors_do_not_have(compiled: Any) -> Any:
    """``except AttributeError`` in forward takes the other way."""

    def run(x: Any) -> Any:
        try:
            return x.this_attribute_does_not_exist
        except AttributeError:
            return x * 2.0

    return calls(compiled, run, (data(2),), (data(2),))


@report("pytorch/pytorch#93720")
def code_in_a_handler(compiled: Any) -> Any:
    """What ran before the exception counts, and so does the handler."""

    def run(x: Any) -> Any:
        try:
            x = x + 1.0
            raise ValueError("no")
        except ValueError:
            x = x + 2.0
        finally:
            x = x * 3.0
        return x

    return calls(compiled, run, (data(3),), (data(3),), (data(4),))


@report("jax-ml/jax#3493")
def an_index_out_of_bounds_under_a_gradient(compiled: Any) -> Any:
    """Row 20 of four, in a loss that is differentiated."""

    def run(params: Any, obs: Any, row: int) -> Any:
        return wf.grad(lambda p: ((p * obs)[row] * wf.stop_gradient(p[0])).sum())(params)

    return calls(compiled, run, (data(10), data(4, 10), 2), (data(10), data(4, 10), 20))


@report("pytorch/pytorch#175608")
def shapes_that_do_not_fit(compiled: Any) -> Any:
    """An operand of another size at a later call: eager code's error, and the next call works."""

    def run(x: Any, w: Any) -> Any:
        return x @ w + 1.0

    return calls(compiled, run, *((data(n, m), data(k, 2)) for n, m, k in ((2, 3, 3), (4, 3, 3), (4, 5, 3), (5, 3, 3))))


@report("pytorch/pytorch#184406")
def the_least_integer_divided_by_minus_one(compiled: Any) -> Any:
    """``floor_divide`` of INT_MIN by -1 ends no process."""
    least = wf.asarray(np.array([-(2**31), 7], np.int32))
    return calls(compiled, wf.floor_divide, *((least, wf.asarray(np.array([d, 2], np.int32))) for d in (2, -1)))


@report("pytorch/pytorch#183610", "pytorch/pytorch#178013")
def integers_divided_by_zero(compiled: Any) -> Any:
    """``%`` and ``//`` of integers by zero: what eager code does."""
    a, found = wf.asarray([15, -8, 22, 4]), []
    for function in (lambda a, b: a % b, lambda a, b: a // b):
        found += calls(compiled, function, *((a, wf.asarray(b)) for b in ([4, 1, 3, 1], [4, 0, 0, 1])))
    return found


@report("pytorch/pytorch#197895", "pytorch/pytorch#184408")
def quotients_just_below_an_integer(compiled: Any) -> Any:
    """``1.0 // 0.1`` is 9, in every precision; truncated quotients too."""
    found = []
    for dtype in (np.float32, np.float64):
        a = wf.asarray(np.array([1.0, 0.5, 6.0, 1.0, 14.999999, 148.0, -1.0], dtype))
        b = wf.asarray(np.array([0.1, 0.1, 0.2, 1 / 3, 3.0, 37.0, 0.1], dtype))
        for function in (lambda a, b: a // b, lambda a, b: wf.trunc(a / b), lambda a, b: a % b):
            found += calls(compiled, function, (a, b))
    return found


@report("pytorch/pytorch#188048")
def infinities_divided_and_floored(compiled: Any) -> Any:
    """NaN and infinities by 1, and 1 by them."""
    a = wf.asarray([float("nan"), float("inf"), -float("inf"), 0.0, -0.0])
    return calls(compiled, lambda a, b: a // b, (a, wf.ones(5)), (wf.ones(5), a))


@report("pytorch/pytorch#190764")
def products_of_int32_that_overflow(compiled: Any) -> Any:
    """The expanded and the factorised form wrap around alike."""
    big = [wf.asarray(np.array([[2**30, 3], [7, -(2**31)]], np.int32) + n) for n in range(6)]
    found = calls(compiled, lambda x, y, z, p, q, r: (x @ y + x @ z + p @ q + p @ r).sum(axis=1), tuple(big))
    return found + calls(compiled, lambda x, y, z, p, q, r: (x @ (y + z) + p @ (q + r)).sum(axis=1), tuple(big))


@report("pytorch/pytorch#189787")
def the_floor_of_a_sum_of_softmax(compiled: Any) -> Any:
    """The sum is not 1 by decree."""
    return calls(compiled, lambda x: wf.floor(F.softmax(x, -1).sum(axis=-1)), (data(43, 59),), (data(40, 59),))


@report("pytorch/pytorch#145466")
def steps_after_sine_and_cosine(compiled: Any) -> Any:
    """``floor`` and ``round`` of sine, cosine and tangent, float16 too: one bit more or less is a whole step."""
    found = []
    for dtype in (wf.float32, wf.float16):
        x = data(32, 32).astype(dtype) * 4.0
        for outer in (wf.floor, wf.round):
            found += calls(compiled, lambda x, outer=outer: [outer(f(x)) for f in (wf.sin, wf.cos, wf.tan)], (x,))
    return found


@report("pytorch/pytorch#186018")
def nan_through_two_functions(compiled: Any) -> Any:
    """``sin(atan(nan))`` is NaN."""
    x = wf.asarray([float("nan"), float("inf"), -float("inf"), 1.0])
    return calls(compiled, lambda x: wf.sin(wf.atan(wf.rsqrt(x))), (x,)) + calls(
        compiled, lambda x: wf.sin(wf.atan(x)), (x,)
    )


@report("pytorch/pytorch#141753")
def a_number_divided_by_a_tensor(compiled: Any) -> Any:
    """``3 / x`` is a division, not a product with a reciprocal; constants that are tensors too."""
    return calls(compiled, lambda x: (3.0 / x, wf.asarray(3.0) / x, x / 3.0, x / wf.asarray(7.0)), (data(64),))


@report("pytorch/pytorch#179571")
def running_sums_of_a_constant(compiled: Any) -> Any:
    """``cumsum`` of ``full(n, 0.1)``, forwards and backwards: no multiplication in its place."""

    def run(x: Any) -> Any:
        c = wf.full((x.shape[0],), 0.1)
        forward = wf.cumulative_sum(c, axis=0)
        backward = wf.flip(wf.cumulative_sum(wf.flip(c, axis=0), axis=0), axis=0)
        return forward * x + backward, forward

    return calls(compiled, run, (data(50),), (data(64),), (data(33),))


@report("pytorch/pytorch#181693")
def hardswish_at_its_corners(compiled: Any) -> Any:
    """Between two normalisations, and at -3 and 3."""

    def run(x: Any) -> Any:
        t = F.layer_norm(x, (x.shape[-1],))
        t = t / wf.linalg.vector_norm(t, axis=0, keepdims=True) * wf.where(x > 0, x, x)
        return F.hardswish(t), F.hardswish(x)

    corners = wf.asarray([[-3.0, 3.0, -3.0000002, 2.9999998, 0.0, -0.0, float("nan"), float("inf")]])
    return calls(compiled, run, (data(8, 14),), (corners,))


@report("pytorch/pytorch#109925")
def types_of_running_sums(compiled: Any) -> Any:
    """Sums and running sums of small integers and bools have the types of eager code."""
    found = []
    for dtype in (wf.bool, wf.int8, wf.uint8, wf.int32, wf.float16):
        x = (data(6) > 0).astype(dtype)
        found += calls(compiled, lambda x: (x.sum(), wf.cumulative_sum(x), x.cumsum(0), x.prod(), x.max()), (x,))
    return found


@pytest.mark.parametrize("case", report.cases(NOT_YET, KNOWN_WRONG))
def test_errors_and_edges_are_those_of_eager_code(case: Case) -> None:
    check(case)
