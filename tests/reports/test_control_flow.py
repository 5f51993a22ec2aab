"""Python's control flow over the values of tensors, and what must be known to capture it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reported import Case, Reports, check, data, raised

import weft as wf
from weft import nn

report = Reports()

NOT_YET: dict[str, str | int] = {}
KNOWN_WRONG: dict[str, str] = {}


@report("pytorch/torchdynamo#1883")
def an_if_on_a_sum(compiled: Any) -> Any:
    """Another number is added where a sum is negative."""

    @compiled
    def run(a: Any, b: Any) -> Any:
        x = a + 33.0
        y = x.sum()
        if y < 0:
            x = x + 55.0
        return x + b

    return [run(data(4) + shift, data(4)) for shift in (0.0, -50.0, 0.0)]


@report("tensorflow/tensorflow#26293")
def a_loop_variable_after_its_loop(compiled: Any) -> Any:
    """``i`` is the last number of the range after the loop."""

    @compiled
    def run(x: Any) -> Any:
        for i in range(x.shape[0]):
            x = x + i
        return x * i

    return [run(data(n)) for n in (3, 5)]


@report("tensorflow/tensorflow#26293")
def a_loop_over_a_tensor_that_has_no_element(compiled: Any) -> Any:
    """The variable of a loop that never ran is unbound, as in Python."""

    @compiled
    def run(x: Any) -> Any:
        for row in x:
            y = row * 2.0
        return y

    return [raised(run, data(n, 2)) for n in (3, 0)]


@report("tensorflow/tensorflow#32108", "PennyLaneAI/pennylane#6678")
def a_while_with_a_break(compiled: Any) -> Any:
    """A loop that stops at the first element above a bound."""

    @compiled
    def run(x: Any) -> Any:
        total, i = wf.asarray(0.0), 0
        while i < x.shape[0]:
            total = total + x[i]
            if total > 1.0:
                break
            i += 1
        return total

    return [run(wf.asarray(v)) for v in ([0.5, 0.25, 0.125], [0.75, 0.75, 3.0], [2.0, 1.0, 1.0])]


@report("tensorflow/tensorflow#37813")
def a_while_with_an_else(compiled: Any) -> Any:
    """``else`` of a loop runs once at its end."""

    @compiled
    def run(x: Any) -> Any:
        while x > 2.0:
            x = x / 2.0
        else:
            x = x + 1.0
        return x

    return [run(wf.asarray(v)) for v in (9.0, 1.0, 4.0)]


@report("tensorflow/tensorflow#37512", "tensorflow/tensorflow#29504")
def a_list_that_grows_in_a_loop_over_rows(compiled: Any) -> Any:
    """Rows are appended to a list, which is stacked after the loop."""

    @compiled
    def run(x: Any) -> Any:
        rows = []
        for row in x:
            rows.append(row * row.sum())
        return wf.stack(rows)

    return [run(data(n, 3)) for n in (2, 4, 3)]


@report("tensorflow/tensorflow#113242")
def tensors_made_in_loops_and_used_after_them(compiled: Any) -> Any:
    """Layers applied to slices in two loops; what they give is joined afterwards."""
    first, second = nn.Linear(4, 4), nn.Linear(4, 2)

    @compiled
    def run(x: Any) -> Any:
        outputs = [second(wf.maximum(first(x[i : i + 1]), 0.0)) for i in range(x.shape[0])]
        columns = []
        for j in range(x.shape[1]):
            columns.append(x[:, j : j + 1] * 2.0)
        return wf.concat(outputs, axis=0), wf.concat(columns, axis=1)

    return [run(data(n, 4)) for n in (2, 3)]


@report("tensorflow/tensorflow#57756")
def items_of_a_list_that_a_loop_adds_to(compiled: Any) -> Any:
    """``g[j] = g[j] + update[j]`` over several rounds."""

    @compiled
    def run(x: Any) -> Any:
        g = [wf.zeros(3), wf.ones(3)]
        for _ in range(4):
            update = [x * 0.5, x * x]
            for j in range(2):
                g[j] = g[j] + update[j]
        return g

    return [run(data(3, seed=n)) for n in range(3)]


@report("jax-ml/jax#24740")
def an_early_return_from_a_loop(compiled: Any) -> Any:
    """How many rounds it takes a number to escape."""

    @compiled
    def run(c: Any, most: int) -> Any:
        z = wf.asarray(0.0)
        for i in range(most):
            z = z * z + c
            if wf.abs(z) > 2.0:
                return wf.asarray(i)
        return wf.asarray(most)

    return [run(wf.asarray(c), 10) for c in (0.25, 0.5, -2.5)]


@report("jax-ml/jax#16430")
def or_between_tensors(compiled: Any) -> Any:
    """``x or default`` asks for the truth of x."""

    @compiled
    def run(x: Any, y: Any) -> Any:
        return x or y

    return [run(wf.asarray(v), wf.asarray(5.0)) for v in (0.0, 2.0)]


@report("jax-ml/jax#16430")
def or_with_a_default_for_none(compiled: Any) -> Any:
    """``bias or default`` where bias is None or is not."""

    @compiled
    def run(x: Any, bias: Any) -> Any:
        return x + (1.0 if bias is None else bias)

    return [run(data(2), None), run(data(2), data(2, seed=1)), run(data(2), None)]


@report("jax-ml/jax#22098")
def and_between_a_bool_and_a_tensor(compiled: Any) -> Any:
    """``True and x`` decides which number is returned."""

    @compiled
    def run(x: Any, flag: bool) -> Any:
        if flag and x > 0:
            return wf.asarray(1)
        return wf.asarray(0)

    return [run(wf.asarray(v), flag) for v in (1.0, -1.0) for flag in (False, True)]


@report("pytorch/pytorch#158642", "pytorch/pytorch#196198")
def an_item_that_becomes_a_factor(compiled: Any) -> Any:
    """``x.max().item()`` goes into later arithmetic."""

    @compiled
    def run(x: Any) -> Any:
        return x / x.max().item()

    return [run(data(4, seed=n)) for n in range(3)]


@report("pytorch/pytorch#173915")
def an_item_that_is_compared(compiled: Any) -> Any:
    """Positions of tokens that depend on how many special tokens there are."""

    @compiled
    def run(ids: Any) -> Any:
        n = int((ids == 7).sum())
        if n > 1:
            return wf.arange(ids.shape[0]) - n
        return wf.arange(ids.shape[0])

    return [run(wf.asarray(v)) for v in ([7, 1, 7], [1, 2, 3], [7, 7, 7])]


@report("pytorch/pytorch#119186")
def a_comparison_of_a_count(compiled: Any) -> Any:
    """``count_nonzero(x) == 1`` in a loop over Python numbers."""

    @compiled
    def run(x: Any) -> Any:
        for n in range(3):
            if wf.count_nonzero(x > n) == 1:
                x = x * 2.0
        return x

    return [run(wf.asarray(v)) for v in ([0.5, 3.0], [5.0, 6.0], [0.0, 0.0])]


@report("probml/probml-notebooks#70")
def a_boolean_mask_that_chooses(compiled: Any) -> Any:
    """``x[x < 0]`` has as many elements as there are negative ones."""

    @compiled
    def run(x: Any) -> Any:
        return x[x < 0.0] * 2.0

    return [run(data(6, seed=n)) for n in range(3)]


@report("probml/probml-notebooks#70")
def a_boolean_mask_that_is_written_through(compiled: Any) -> Any:
    """``x[x < 0] = 0`` needs no number of them."""

    @compiled
    def run(x: Any) -> Any:
        x = x * 1.0
        x[x < 0.0] = 0.0
        return x

    return [run(data(6, seed=n)) for n in range(3)]


@report("pytorch/pytorch#96064")
def a_loop_that_is_unrolled(compiled: Any) -> Any:
    """Each round reads what the round before has written, over columns of one tensor."""

    @compiled
    def run(x: Any) -> Any:
        y = wf.zeros_like(x)
        for i in range(1, x.shape[1]):
            y[:, i] = y[:, i - 1] * 0.5 + x[:, i]
        return y

    return [run(data(2, n)) for n in (4, 6, 5)]


@report("pytorch/pytorch#153832")
def a_branch_that_returns_its_argument(compiled: Any) -> Any:
    """One branch gives the argument itself, the other a new tensor."""

    @compiled
    def run(x: Any) -> Any:
        return x if x.sum() > 0 else x * -1.0

    return [run(wf.asarray(v)) for v in ([1.0, 2.0], [-1.0, -2.0])]


@report("tensorflow/tensorflow#25382")
def an_assertion_on_values(compiled: Any) -> Any:
    """A call after one that failed does not depend on it."""

    @compiled
    def run(x: Any) -> Any:
        assert (x > 0.5).all(), "test"
        return x + 1.0

    return [raised(run, wf.asarray([v])) for v in (0.75, 0.25, 0.75)]


@report("pytorch/pytorch#125824")
def where_in_the_place_of_an_item(compiled: Any) -> Any:
    """A rate is rectified by a condition on the step, which is a tensor."""

    @compiled
    def run(step: Any, grad: Any) -> Any:
        rho = 20.0 - 2.0 * step * 0.999**step / (1.0 - 0.999**step)
        return grad * wf.where(rho > 5.0, wf.sqrt(wf.maximum(rho - 4.0, 0.0)), 1.0)

    return [run(wf.asarray(float(n)), data(3)) for n in (1, 2, 5, 50)]


@report("tensorflow/tensorflow#56119")
def lambdas_that_branches_define(compiled: Any) -> Any:
    """A lambda that is called later reads variables that both branches bind."""

    @compiled
    def run(x: Any, swap: bool) -> Any:
        if swap:
            a, b = x[1], x[0]
        else:
            a, b = x[0], x[1]
        difference = lambda: a - b  # noqa: E731
        a = a * 2.0
        return difference()

    return [run(data(2, 3), swap) for swap in (False, True, False)]


@report("PennyLaneAI/catalyst#355")
def a_variable_that_one_branch_binds(compiled: Any) -> Any:
    """Where the other branch ran, it is unbound."""

    @compiled
    def run(x: Any) -> Any:
        if x.sum() > 0:
            y = x * 2.0
        return y

    return [raised(run, wf.asarray(v)) for v in ([1.0], [-1.0])]


@report("pytorch/pytorch#191582")
def a_while_whose_body_scatters(compiled: Any) -> Any:
    """Rounds counted by a tensor, each of which writes rows of the value."""

    @compiled
    def run(x: Any, index: Any) -> Any:
        i, value = wf.asarray(0), x
        while i < 2:
            value = value.scatter(0, index, value * 2.0)
            i = i + 1
        return value

    return [run(data(4, 4, seed=n), wf.asarray(np.array([[0], [1], [2], [3]]))) for n in range(2)]


@pytest.mark.parametrize("case", report.cases(NOT_YET, KNOWN_WRONG))
def test_control_flow_is_pythons(case: Case) -> None:
    check(case)
