"""wf.linalg's norms, diagonals and cross products are NumPy's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from op_cases import check_gradient, close, same_bits, values

import weft as wf
from weft.core.errors import ShapeError


@pytest.mark.parametrize("order", [0, 1, 2, 3, 0.5, math.inf, -math.inf])
@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2)])
def test_vector_norm(order: float, axis: Any) -> None:
    x = values("float64", (2, 3, 4), 1)
    moved = x.reshape(-1) if axis is None else x.transpose(1, 0, 2).reshape(3, 8) if axis == (0, 2) else x
    expected = np.linalg.norm(moved, order, -1 if axis in (None, (0, 2)) else axis)
    close(wf.linalg.vector_norm(wf.asarray(x), axis=axis, ord=order), expected, "float64", 10.0)
    assert wf.linalg.vector_norm(wf.asarray(x), axis=axis, ord=order, keepdims=True).ndim == 3


@pytest.mark.parametrize("order", ["fro", 1, -1, math.inf, -math.inf])
def test_matrix_norm(order: Any) -> None:
    x = values("float64", (2, 3, 4), 1)
    close(wf.linalg.matrix_norm(wf.asarray(x), ord=order), np.linalg.norm(x, order, (-2, -1)), "float64", 10.0)
    check_gradient(lambda x: wf.linalg.matrix_norm(x, ord=order, keepdims=True), x)


@pytest.mark.parametrize("offset", [-3, -1, 0, 1, 2, 5])
@pytest.mark.parametrize("dtype", ["float32", "int8", "bool"])
def test_diagonals(offset: int, dtype: str) -> None:
    x = values(dtype, (2, 3, 4), 1)
    same_bits(wf.linalg.diagonal(wf.asarray(x), offset=offset), np.diagonal(x, offset, -2, -1))
    close(
        wf.linalg.trace(wf.asarray(x), offset=offset, dtype="float64"),
        np.trace(x, offset, -2, -1, dtype=np.float64),
        "float64",
        10.0,
    )


def test_cross() -> None:
    x, y = values("float64", (4, 3), 1), values("float64", (3,), 2)
    close(wf.linalg.cross(wf.asarray(x), wf.asarray(y)), np.cross(x, y), "float64", 10.0)
    check_gradient(wf.linalg.cross, x, y)
    with pytest.raises(ShapeError, match=r"cross: \(2,\) and \(2,\): the size along axis -1 is not 3"):
        wf.linalg.cross(wf.zeros(2), wf.zeros(2))
    with pytest.raises(ShapeError, match="matrix_norm: ord is 'fro', 1, -1, inf or -inf, not 'nuc'"):
        wf.linalg.matrix_norm(wf.zeros((2, 2)), ord="nuc")
