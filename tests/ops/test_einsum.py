"""einsum gives NumPy's values for every form of subscripts, and its errors name them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from op_cases import check_gradient, same_bits, values

import weft as wf
from weft.core.errors import DTypeError, ShapeError
from weft.ops.einsum import einsum

CASES = [
    ("ij,jk->ik", (2, 3), (3, 4)),
    ("ij,jk", (2, 3), (3, 4)),
    ("bij,bjk->bik", (5, 2, 3), (5, 3, 4)),
    ("i,i->", (3,), (3,)),
    ("i,j->ij", (3,), (4,)),
    ("ij->ji", (2, 3)),
    ("ij->", (2, 3)),
    ("ij->j", (2, 3)),
    ("ii->i", (3, 3)),
    ("ii", (3, 3)),
    ("iij->j", (3, 3, 2)),
    ("ij,ij->ij", (2, 3), (2, 3)),
    ("...ij,...jk->...ik", (5, 2, 3), (3, 4)),
    ("...i,...i->...", (4, 3), (5, 4, 3)),
    ("i...->...", (3, 2)),
    ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 2)),
    ("ij,ik,il->jkl", (2, 3), (2, 4), (2, 5)),
    ("ij,j->i", (2, 3), (1,)),
    ("a,a,b->b", (2,), (2,), (3,)),
    ("a,ab,cd->c", (2,), (2, 3), (4, 2)),
    ("ba", (2, 3)),
    (",", (), ()),
    ("ij,jk->k", (2, 3), (3, 4)),
    ("ij,jk->ik", (0, 3), (3, 4)),
    ("ij,jk->ik", (2, 0), (0, 4)),
    (" i j -> j i", (2, 3)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c[0])
def test_values_and_gradients(case: Any) -> None:
    subscripts, *shapes = case
    operands = [values("float64", shape, n) for n, shape in enumerate(shapes)]
    actual = einsum(subscripts, *map(wf.asarray, operands)).numpy()
    np.testing.assert_allclose(actual, np.einsum(subscripts, *operands), rtol=1e-12, atol=1e-12)
    assert actual.shape == np.einsum(subscripts, *operands).shape
    check_gradient(lambda *xs: einsum(subscripts, *xs), *operands)


@pytest.mark.parametrize("follows", [lambda x, y: x - y * x, lambda x, y: x / y])
@pytest.mark.parametrize("subscripts", ["i,i->", "ij,ij->"])
def test_a_product_without_axes_meets_a_tensor(subscripts: str, follows: Any) -> None:
    x = wf.asarray(values("float32", (3, 4)[: len(subscripts) // 2 - 1], 1))
    compiled = wf.compile(lambda x: follows(x, einsum(subscripts, x, x)))
    same_bits(compiled(x), follows(x, einsum(subscripts, x, x)).numpy())


@pytest.mark.parametrize("kind", [tuple, list])
def test_operands_may_be_one_list(kind: Any) -> None:
    """As PyTorch takes them: ``einsum("ij,jk->ik", (x, y))``; no list, an empty one and two are errors."""
    x, y = wf.asarray(values("float32", (2, 3), 1)), wf.asarray(values("float32", (3, 4), 2))
    same_bits(einsum("ij,jk->ik", kind((x, y))), einsum("ij,jk->ik", x, y).numpy())
    same_bits(wf.compile(lambda *xs: einsum("ij,jk->ik", kind(xs)))(x, y), einsum("ij,jk->ik", x, y).numpy())
    check_gradient(
        lambda *xs: einsum("ij,jk->ik", kind(xs)), values("float64", (2, 3), 1), values("float64", (3, 4), 2)
    )
    with pytest.raises(ShapeError, match="2 terms for 0 operands"):
        einsum("ij,jk->ik", kind(()))
    with pytest.raises(DTypeError, match="an operand of type"):
        einsum("ij,jk->ik", kind((x,)), kind((y,)))


@pytest.mark.parametrize("dtype", ["int32", "uint8", "float16", "float32"])
def test_dtypes(dtype: str) -> None:
    x, y = values(dtype, (4, 5), 1), values(dtype, (5, 6), 2)
    actual = einsum("ij,jk->ik", wf.asarray(x), wf.asarray(y))
    if dtype.startswith("float"):
        same_bits(actual, (wf.asarray(x) @ wf.asarray(y)).numpy())
    else:
        same_bits(actual, np.einsum("ij,jk->ik", x, y))


@pytest.mark.parametrize(
    ("subscripts", "shapes", "message"),
    [
        ("ij,jk->ik", [(2, 3), (4, 5)], "sizes 3 and 4 of label 'j' differ"),
        ("ij,jk->ik", [(2, 3)], "2 terms for 1 operands"),
        ("ijk->i", [(2, 3)], r"term 'ijk' does not fit operand 0 of shape \(2, 3\)"),
        ("i->i", [(2, 3)], r"term 'i' does not fit"),
        ("i1->i", [(2, 3)], "term 'i1' does not fit"),
        ("ij->ii", [(2, 3)], "the result must name each label once"),
        ("ij->ik", [(2, 3)], "no operand has the label 'k'"),
    ],
)
def test_errors(subscripts: str, shapes: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message) as caught:
        einsum(subscripts, *(wf.zeros(shape) for shape in shapes))
    assert __file__ in str(caught.value)
    with pytest.raises(DTypeError, match="einsum: bool operands"):
        einsum("i->i", wf.asarray([True]))
