"""Graphs with their symbolic sizes replaced: by numbers, and by sizes of a scope, where shape rules leave guards."""

from __future__ import annotations

from typing import Any

import pytest

import weft as wf
from weft.core import dtypes as dt
from weft.core.errors import FormatError, ShapeError
from weft.core.shapes import Shape
from weft.core.symbolic import Sizes, SymDim
from weft.graph.ir import Graph
from weft.graph.protocol import TensorType
from weft.graph.specialise import specialise
from weft.ops.op import trace_function
from weft.ops.views import slice_

N, M = SymDim.named("n"), SymDim.named("m")


def part() -> Graph:
    """Rows 3 and 4, and their mean."""

    def function(x: Any) -> Any:
        rows = slice_(x, (3, 0), (2, M))
        return rows, wf.mean(rows, axis=1)

    return trace_function(function, [TensorType(dt.float32, (N, M))], "part")[0]


def test_names_become_numbers_in_types_and_parameters() -> None:
    found = specialise(part(), {"n": 5, "m": 7})
    assert [v.shape for v in (*found.inputs, *found.outputs)] == [(5, 7), (2, 7), (2,)]
    assert not any("n" in str(node.params) + str(node.types) for node in found.nodes if node.op.name == "slice")


def test_a_name_without_a_number_stays() -> None:
    found = specialise(part(), {"n": 5})
    assert found.inputs[0].shape == (5, M) and found.outputs[0].shape == (2, M)


def test_a_rule_that_fails_is_an_error() -> None:
    with pytest.raises(ShapeError, match="lie outside axis 0"):
        specialise(part(), {"n": 4, "m": 7})


def test_a_rule_that_holds_for_some_sizes_is_a_guard() -> None:
    scope = Sizes({"n": 9, "m": 3})
    found = specialise(part(), {name: scope[name] for name in scope.examples})
    assert found.outputs[1].shape == (2,) and str(scope) == "Sizes(5 <= n, 2 <= m)"


def test_what_cannot_be_is_an_error_of_the_graph() -> None:
    def check(shape: Shape, itemsize: int) -> None:
        if len(shape) == 1:
            raise FormatError("a vector")

    with pytest.raises(ShapeError, match=r"part: .* for the sizes .*: a vector"):
        specialise(part(), {"n": 5, "m": 7}, check)
