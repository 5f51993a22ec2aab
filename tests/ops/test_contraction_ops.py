"""Products of matrices: NumPy's values for all ranks, the contract's order of sums, gradients, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from few_examples import few
from hypothesis import given, settings
from hypothesis import strategies as st
from op_cases import FLOATS, INTEGERS, check_gradient, close, same_bits, seeds, values

import weft as wf
from weft.core import dtypes as dt
from weft.core.errors import AxisError, DTypeError, ShapeError, WeftError

SHAPES = [
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 4)),
    ((2, 3), (3, 4)),
    ((5, 2, 3), (3, 4)),
    ((5, 2, 3), (3,)),
    ((5, 2, 3), (5, 3, 4)),
    ((2, 3), (5, 3, 4)),
    ((3,), (5, 3, 4)),
    ((6, 1, 2, 3), (5, 3, 4)),
    ((0, 3), (3, 4)),
    ((2, 0), (0, 4)),
    ((2, 3), (3, 0)),
    ((0, 2, 3), (0, 3, 4)),
    ((0,), (0,)),
    ((1, 1), (1, 1)),
    ((1, 300), (300, 1)),
]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("pair", SHAPES)
@pytest.mark.parametrize("dtype", [*FLOATS, "int8", "int64", "uint32"])
def test_matmul_of_all_ranks(pair: Any, dtype: str) -> None:
    x, y = values(dtype, pair[0], 1), values(dtype, pair[1], 2)
    actual = wf.matmul(wf.asarray(x), wf.asarray(y))
    if dtype in FLOATS:
        expected = np.matmul(x.astype(np.float64), y.astype(np.float64))
        scale = np.matmul(np.abs(x.astype(np.float64)), np.abs(y.astype(np.float64)))
        assert actual.numpy().dtype == x.dtype and actual.shape == expected.shape
        unit = {"float16": 1e-3, "bfloat16": 8e-3, "float32": 1e-5, "float64": 1e-14}[dtype]
        assert np.all(np.abs(actual.numpy().astype(np.float64) - expected) <= unit * (scale + 1e-30))
    else:
        same_bits(actual, np.asarray(np.matmul(x, y)))


@settings(max_examples=25)
@given(m=st.integers(1, 40), k=st.integers(0, 600), n=st.integers(1, 40), seed=seeds)
def test_matmul_follows_the_numerics_contract(m: int, k: int, n: int, seed: int) -> None:
    """Each element: chains of fused multiply-adds over blocks of 256, summed in order."""
    x, y = values("float32", (m, k), seed), values("float32", (k, n), seed + 1)
    total = np.zeros((m, n), np.float32)
    for start in range(0, k, 256):
        block = np.zeros((m, n), np.float32)
        for i in range(start, min(start + 256, k)):
            # Products of float32 are exact in float64; rounding the sum to float64 first could differ from one
            # rounding only where it lands halfway, which is left to the tolerance of no test: it does not occur here.
            block = (x[:, i : i + 1].astype(np.float64) * y[i : i + 1].astype(np.float64) + block).astype(np.float32)
        total = block if start == 0 else total + block
    actual = wf.matmul(wf.asarray(x), wf.asarray(y)).numpy()
    assert np.mean(actual.view(np.int32) != total.view(np.int32)) <= 0.002


@pytest.mark.parametrize("k", [3, 257, 1000])
def test_rows_do_not_depend_on_the_batch(k: int) -> None:
    x, y = values("float32", (70, k), 1), values("float32", (k, 33), 2)
    whole = (wf.asarray(x) @ wf.asarray(y)).numpy()
    for at in (0, 13, 69):
        same_bits(wf.asarray(x[at : at + 1]) @ wf.asarray(y), whole[at : at + 1])
        same_bits(wf.matmul(wf.asarray(x[at]), wf.asarray(y)), whole[at])
    same_bits(wf.matmul(wf.asarray(np.stack([x, x])), wf.asarray(y)), np.stack([whole, whole]))
    same_bits(wf.matmul(wf.asarray(x), wf.asarray(y[:, 5])), whole[:, 5])


def test_promotion() -> None:
    ones = {d: wf.asarray(np.ones((2, 2), d)) for d in ("float16", "float32", "float64", "int8", "int32", "uint8")}
    assert (ones["float16"] @ ones["float64"]).dtype is dt.float64
    assert (ones["int8"] @ ones["uint8"]).dtype is dt.int16
    assert (ones["int32"] @ ones["float32"]).dtype is dt.float32
    assert wf.vecdot(ones["int8"], ones["int8"]).dtype is dt.int8
    with pytest.raises(DTypeError, match="matmul: bool operands"):
        wf.matmul(wf.asarray([[True]]), wf.asarray([[True]]))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("operands", "dtype"),
    [
        (("int8", "int8"), "int32"),
        (("uint8", "int8"), "int32"),
        (("int8", "uint8"), "int64"),
        (("uint8", "uint8"), "uint8"),
        (("int16", "int8"), "int32"),
        (("int32", "int32"), "float64"),
        (("bfloat16", "bfloat16"), "float32"),
        (("float16", "bfloat16"), "float32"),
        (("float32", "bfloat16"), "float64"),
    ],
)
@pytest.mark.parametrize(
    "pair", [((3, 70), (70, 40)), ((70,), (2, 70, 5)), ((4, 1, 5, 300), (2, 300, 33)), ((2, 0), (0, 4))]
)
def test_sums_in_another_dtype(pair: Any, operands: tuple[str, str], dtype: str, compiled: bool) -> None:
    """As if the operands were cast first."""
    x, y = (wf.asarray(values(d, shape, seed)) for seed, (d, shape) in enumerate(zip(operands, pair, strict=True)))
    wide = dt.as_dtype(dtype)
    expected = wf.matmul(wf.astype(x, wide), wf.astype(y, wide))

    def product(x: Any, y: Any) -> Any:
        return wf.matmul(x, y, dtype=wide)

    actual = (wf.compile(product) if compiled else product)(x, y)
    assert actual.dtype is wide
    same_bits(actual, expected.numpy())


def test_sums_in_a_dtype_that_does_not_hold_the_operands() -> None:
    x = wf.asarray(np.ones((2, 2), "float32"))
    with pytest.raises(DTypeError, match="matmul: dtype bfloat16 does not hold float32"):
        wf.matmul(x, x, dtype=wf.bfloat16)
    with pytest.raises(DTypeError, match="matmul: dtype int16 does not hold int32"):
        wf.matmul(wf.astype(x, wf.int8), wf.astype(x, wf.int32), dtype="int16")


def test_gradients_of_sums_in_another_dtype() -> None:
    x, y = (wf.astype(wf.asarray(values("float32", s, 1)), wf.bfloat16) for s in ((5, 7), (7, 3)))

    def summed(x: Any, y: Any) -> Any:
        return wf.sum(wf.matmul(x, y, dtype=wf.float32))

    for found, operand in zip(wf.grad(summed, argnums=(0, 1))(x, y), (x, y), strict=True):
        assert found.dtype is wf.bfloat16 and found.shape == operand.shape
    rows = wf.sum(wf.astype(y, wf.float32), axis=1)
    close(wf.grad(summed)(x, y), np.broadcast_to(rows.numpy(), (5, 7)), "bfloat16", 1.0)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
@pytest.mark.parametrize("axes", [0, 1, 2, ((0,), (2,)), ((2, 1), (0, 1)), ((-1,), (0,))])
def test_tensordot(dtype: str, axes: Any) -> None:
    x, y = values(dtype, (4, 3, 4), 1), values(dtype, (4, 3, 4), 2)
    if axes == 2:
        y = np.ascontiguousarray(y.transpose(1, 0, 2))
    expected = np.tensordot(x.astype(np.float64) if dtype == "float32" else x, y, axes)
    actual = wf.tensordot(wf.asarray(x), wf.asarray(y), axes=axes)
    if dtype == "int32":
        same_bits(actual, expected)
    else:
        np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-4, atol=1e-4)
        assert actual.numpy().dtype == dtype


def test_vecdot_and_outer() -> None:
    x, y = values("float64", (4, 3), 1), values("float64", (3,), 2)
    close(wf.vecdot(wf.asarray(x), wf.asarray(y)), (x * y).sum(-1), "float64", 10.0)
    close(wf.vecdot(wf.asarray(x), wf.asarray(x), axis=0), (x * x).sum(0), "float64", 10.0)
    close(wf.outer(wf.asarray(x[:, 0]), wf.asarray(y)), np.outer(x[:, 0], y), "float64")


@pytest.mark.parametrize("shape", [(7,), (5, 7), (2, 5, 7), (0, 7)])
@pytest.mark.parametrize("with_bias", [False, True])
def test_linear(shape: Any, with_bias: bool) -> None:
    x, w, b = values("float64", shape, 1), values("float64", (4, 7), 2), values("float64", (4,), 3)
    linear = wf.nn.functional.linear
    actual = linear(wf.asarray(x), wf.asarray(w), wf.asarray(b)) if with_bias else linear(wf.asarray(x), wf.asarray(w))
    np.testing.assert_allclose(actual.numpy(), x @ w.T + (b if with_bias else 0), rtol=1e-12, atol=1e-12)
    check_gradient(lambda x, w, b: linear(x, w, b), x, w, b)


@pytest.mark.parametrize("shape", [(300,), (5, 300), (2, 5, 300), (0, 300), (40, 1000)])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_linear_of_16_bits_rounds_once(shape: Any, dtype: str) -> None:
    """It is what float32 gives for the widened operands, rounded; its gradients are sums that are rounded once too."""
    linear = wf.nn.functional.linear
    narrow = [wf.asarray(values(dtype, s, i, -2.0, 2.0)) for i, s in enumerate((shape, (7, shape[-1]), (7,)))]
    wide = [x.float() for x in narrow]
    expected = linear(*wide).to(dtype).numpy()
    same_bits(linear(*narrow), expected)
    same_bits(wf.compile(linear)(*narrow), expected)
    same_bits(linear(*narrow[:2], wide[2]), linear(*wide).numpy())  # a bias of float32: nothing is rounded at all
    weight = wf.asarray(values(dtype, expected.shape, 9))
    by_narrow = wf.grad(lambda *a: (linear(*a) * weight).float().sum(), argnums=(0, 1, 2))(*narrow)
    by_wide = wf.grad(lambda *a: (linear(*a) * weight.float()).sum(), argnums=(0, 1, 2))(*wide)
    for ours, other in zip(by_narrow, by_wide, strict=True):
        same_bits(ours, other.to(dtype).numpy())


@pytest.mark.parametrize("pair", [p for p in SHAPES if 300 not in p[0]])
def test_gradients(pair: Any) -> None:
    check_gradient(wf.matmul, values("float64", pair[0], 1), values("float64", pair[1], 2))


def test_other_gradients() -> None:
    x, y = values("float64", (2, 3), 1), values("float64", (3, 2), 2)
    check_gradient(lambda a, b: wf.tensordot(a, b, axes=((0,), (1,))), x, y)
    check_gradient(lambda a, b: wf.vecdot(a, b), x, y[:, 0])
    check_gradient(lambda a: wf.grad(lambda v: wf.sum((v @ wf.asarray(y)) ** 2))(a), x, tolerance=2e-5)


@pytest.mark.parametrize("dtype", [*FLOATS, "int16"])
def test_compiled_equals_eager_in_bits(dtype: str) -> None:
    x, y = wf.asarray(values(dtype, (9, 300), 1)), wf.asarray(values(dtype, (300, 17), 2))
    same_bits(wf.compile(lambda a, b: wf.matmul(a, b) * 2 + 1)(x, y), (wf.matmul(x, y) * 2 + 1).numpy())


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_wrap(dtype: str) -> None:
    x, y = values(dtype, (5, 40), 1), values(dtype, (40, 6), 2)
    same_bits(wf.asarray(x) @ wf.asarray(y), x @ y)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda z: wf.matmul(z((32, 784)), z((785, 128))),
            ShapeError,
            r"matmul: \(32, 784\) @ \(785, 128\): inner dimensions 784 and 785 differ",
        ),
        (lambda z: wf.matmul(z((2, 3, 4)), z((3, 4, 5))), ShapeError, r"matmul: \(2, 3, 4\) @ \(3, 4, 5\): batches"),
        (lambda z: z((3,)) @ z((4,)), ShapeError, "inner dimensions 3 and 4 differ"),
        (lambda z: wf.matmul(z(()), z((4,))), ShapeError, "an operand has rank 0"),
        (
            lambda z: wf.nn.functional.linear(z((5, 3)), z((2, 4))),
            ShapeError,
            r"linear: input \(5, 3\), weight \(2, 4\)",
        ),
        (lambda z: wf.nn.functional.linear(z((5, 3)), z((2, 3)), z((3,))), ShapeError, r"linear: bias \(3,\)"),
        (lambda z: wf.tensordot(z((2, 3)), z((4, 5)), axes=1), ShapeError, r"sizes \(3,\) and \(4,\) differ"),
        (
            lambda z: wf.tensordot(z((2, 3)), z((3, 5)), axes=((2,), (0,))),
            AxisError,
            "tensordot: axis 2 is out of range",
        ),
        (lambda z: wf.vecdot(z((2, 3)), z((2, 4))), ShapeError, "sizes 3 and 4 along axis -1 differ"),
        (lambda z: wf.outer(z((2, 3)), z((4,))), ShapeError, r"outer: \(2, 3\) and \(4,\): wants two vectors"),
    ],
)
@pytest.mark.parametrize("compiled", [False, True])
def test_errors_say_what_is_wrong(call: Any, error: type[WeftError], message: str, compiled: bool) -> None:
    def zeros(shape: Any) -> Any:
        return wf.zeros(shape)

    with pytest.raises(error, match=message) as caught:
        (wf.compile(lambda: call(zeros)) if compiled else lambda: call(zeros))()
    assert __file__ in str(caught.value)


@few(13, 120, data=st.data(), seed=seeds, dtype=st.sampled_from(["float32", "float64", "float16", "int32"]))
def test_several_axes_have_the_bits_of_one(data: st.DataObject, seed: int, dtype: str) -> None:
    """Whichever axes tensordot sums, in whichever order: the matrices that a copy would make, multiplied."""
    sizes = st.sampled_from((0, 1, 2, 3, 5, 17))
    rows, inner, columns = (tuple(data.draw(st.lists(sizes, max_size=m))) for m in (2, 3, 2))
    left = data.draw(st.permutations(range(len(rows) + len(inner))))
    right = data.draw(st.permutations(range(len(inner) + len(columns))))
    x, y = values(dtype, (*rows, *inner), seed), values(dtype, (*inner, *columns), seed + 1)
    wanted = wf.matmul(
        wf.asarray(np.reshape(x, (int(np.prod(rows)), int(np.prod(inner))))),
        wf.asarray(np.reshape(y, (int(np.prod(inner)), int(np.prod(columns))))),
    )
    a, b = x.transpose(left).copy(), y.transpose(right).copy()
    axes = (
        [left.index(len(rows) + i) for i in range(len(inner))],
        [right.index(i) for i in range(len(inner))],
    )
    kept = [axis for axis in left if axis < len(rows)], [axis for axis in right if axis >= len(inner)]
    found = wf.tensordot(wf.asarray(a), wf.asarray(b), axes=axes)
    order = [*np.argsort(kept[0]), *(len(rows) + np.argsort(kept[1]))]
    shape = tuple(int(n) for n in (*rows, *columns))
    same_bits(wf.permute_dims(found, tuple(int(n) for n in order)), wanted.numpy().reshape(shape))


COPIED_NOTHING = [
    ("heads", lambda x, y: wf.einsum("bqhd,bkhd->bhqk", x, y), ((2, 5, 3, 4), (2, 6, 3, 4))),
    ("sums that are no one axis", lambda x, y: wf.einsum("abcd,dcef->abef", x, y), ((2, 3, 4, 5), (5, 4, 3, 2))),
    ("rows apart", lambda x, y: wf.einsum("abc,bd->acd", x, y), ((7, 5, 3), (5, 4))),
    ("tensordot", lambda x, y: wf.tensordot(x, y, axes=([1, 2], [2, 0])), ((2, 3, 4, 5), (4, 6, 3))),
]


@pytest.mark.parametrize(("function", "shapes"), [c[1:] for c in COPIED_NOTHING], ids=[c[0] for c in COPIED_NOTHING])
def test_axes_are_contracted_where_they_lie(function: Any, shapes: Any) -> None:
    kernels = wf.compile(function).kernels(*(wf.ones(s) for s in shapes))
    assert [type(kernel).__name__ for kernel in kernels] == ["Contraction"]


def test_gradients_over_several_axes() -> None:
    """Of every group: batch, rows, summed, columns; and their own gradients."""
    x, y = values("float64", (2, 3, 4, 2), 1), values("float64", (4, 2, 3, 2), 2)
    check_gradient(lambda a, b: wf.einsum("zabc,bdaz->zcd", a, b), x, y.transpose(0, 1, 2, 3))
    check_gradient(lambda a, b: wf.tensordot(a, b, axes=([1, 2], [2, 0])), x, y)
    twice = wf.grad(lambda a, b: (wf.tensordot(a, b, axes=([1, 2], [2, 0])) ** 2).sum())
    check_gradient(lambda a, b: twice(a, b), x, y, step=1e-5, tolerance=1e-5)
