"""Every primitive has a row: what ONNX Runtime computes from it is what weft computes, and reloading gives it back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_peer
import pytest

import weft as wf
from weft.core.dtypes import DType
from weft.core.errors import FormatError
from weft.graph.ir import Graph, Value
from weft.graph.protocol import TensorType
from weft.interop.onnx.control_rows import CONTROL
from weft.interop.onnx.read import read_node
from weft.interop.onnx.table import ROWS, UNSUPPORTED
from weft.interop.onnx.tags import encode
from weft.ops import activation, indexing, random
from weft.ops.elementwise import clone
from weft.ops.op import apply, composite
from weft.ops.pooling import MAX_POOL, SUM_POOL
from weft.ops.registry import entries, primitives
from weft.ops.sliding_windows import PADDED
from weft.ops.strided_views import AS_STRIDED, AS_STRIDED_UPDATE, DIAGONAL, DIAGONAL_UPDATE, UNFOLD
from weft.tensor.calls import GraphCall

FLOATS = ("float32", "float64", "float16", "bfloat16")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
TOLERANCE = {"float16": 2e-3, "bfloat16": 2e-2, "float32": 5e-6, "float64": 1e-12}

# Points of a function's domain, where the results are finite.
POINTS = {
    "default": [-2.5, -1.0, -0.5, -1e-6, 0.0, 1e-6, 0.3, 0.5, 1.0, 1.5, 2.5, 7.0],
    "unit": [-0.9, -0.3, 0.0, 0.5],
    "positive": [1e-3, 0.1, 0.5, 1.0, 2.0, 100.0],
    "above": [1.0, 1.5, 3.0, 50.0],
}
# Where a function is not tried at the default points.
ELSEWHERE = {
    **dict.fromkeys(("tan", "asin", "acos", "sinh", "cosh", "asinh", "atanh"), "unit"),
    **dict.fromkeys(("reciprocal", "sqrt", "rsqrt", "log", "log2", "log10", "log1p"), "positive"),
    **dict.fromkeys(("acosh",), "above"),
}
UNARY = {
    n: ELSEWHERE.get(n, "default") for n in entries("elementwise", 1) if n not in ("bitwise_invert", "logical_not")
}
BITS = ("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift")
LOGICAL = ("logical_and", "logical_or", "logical_xor")
BINARY = ("pow", *(n for n in entries("elementwise", 2) if n in ROWS and n not in (*BITS, *LOGICAL)))
REDUCTIONS = ("sum", "prod", "max", "min", "any", "all", "argmax", "argmin")


def agree(path: Path, function: Any, *arrays: Any, tolerance: float | None = None, **options: Any) -> None:
    """Saved: weft's own bits again. In ONNX Runtime: the same within the dtype's tolerance."""
    wf.save(function, path, example=arrays, **options)
    onnx_peer.check(path)
    expected = function(*arrays)
    expected = expected if isinstance(expected, tuple) else (expected,)
    again = wf.load(path)(*arrays)
    again = again if isinstance(again, tuple) else (again,)
    for a, b in zip(expected, again, strict=True):
        assert a.dtype is b.dtype and a.numpy().tobytes() == b.numpy().tobytes()
    for a, b in zip(expected, onnx_peer.run(path, *arrays), strict=True):
        name = a.dtype.name
        left = a.numpy().astype(np.float32) if name == "bfloat16" else a.numpy()
        assert left.shape == b.shape
        limit = TOLERANCE.get(name, 0.0) if tolerance is None else tolerance
        np.testing.assert_allclose(left, b, rtol=limit, atol=limit)


def tensor(values: Any, dtype: str) -> wf.Tensor:
    return wf.asarray(np.asarray(values)).astype(dtype) if dtype != "bool" else wf.asarray(np.asarray(values) != 0)


def integers(dtype: str) -> np.ndarray[Any, Any]:
    info = np.iinfo(dtype)
    return np.asarray([0, 1, 2, 3, 5, 7, 100, info.max, info.max - 1, info.min, info.min + 1], dtype)


def test_every_primitive_is_in_the_table() -> None:
    assert set(primitives()) == set(ROWS) | set(UNSUPPORTED)
    assert [n for n, p in primitives().items() if n in ROWS and (p.kinds is None) == (ROWS[n].kinds is None)] == []


@pytest.mark.one_in(2)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", UNARY)
def test_unary(name: str, dtype: str, tmp_path: Path) -> None:
    agree(tmp_path / "f.onnx", getattr(wf, name), tensor(POINTS[UNARY[name]], dtype))


@pytest.mark.parametrize("name", UNARY)
def test_unary_special(name: str, tmp_path: Path) -> None:
    points = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e38, -1e38] if name != "signbit" else [0.0, -0.0, np.inf, -np.inf]
    agree(tmp_path / "f.onnx", getattr(wf, name), tensor(points, "float32"))


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize(
    "name", ["abs", "negative", "square", "sign", "bitwise_invert", "isnan", "isfinite", "signbit"]
)
def test_unary_integers(name: str, dtype: str, tmp_path: Path) -> None:
    agree(tmp_path / "f.onnx", getattr(wf, name), tensor(integers(dtype), dtype))


@pytest.mark.one_in(2)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", BINARY)
def test_binary(name: str, dtype: str, tmp_path: Path) -> None:
    x = np.asarray([0.5, 1.0, 2.5, 3.0, 7.25] if name == "pow" else [-7.5, -1.0, 0.25, 3.0, 7.25])
    y = np.asarray([-2.0, -0.5, 0.75, 3.0])
    agree(tmp_path / "f.onnx", getattr(wf, name), tensor(x[:, None], dtype), tensor(y, dtype))


@pytest.mark.parametrize("name", ["add", "maximum", "atan2", "hypot", "logaddexp", "copysign", "less", "equal"])
def test_binary_special(name: str, tmp_path: Path) -> None:
    points = np.asarray([0.0, -0.0, 1.5, -1.5, np.inf, -np.inf], np.float32)
    agree(tmp_path / "f.onnx", getattr(wf, name), wf.asarray(points[:, None]), wf.asarray(points))


@pytest.mark.one_in(2)
@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize(
    "name",
    [
        "add",
        "subtract",
        "multiply",
        "maximum",
        "minimum",
        "floor_divide",
        "remainder",
        "equal",
        "not_equal",
        "less",
        "greater_equal",
    ],
)
def test_binary_integers(name: str, dtype: str, tmp_path: Path) -> None:
    x = integers(dtype)
    agree(tmp_path / "f.onnx", getattr(wf, name), tensor(x[:, None], dtype), tensor(x, dtype))


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_integer_powers(dtype: str, tmp_path: Path) -> None:
    x, y = np.asarray([0, 1, 2, 3], dtype), np.asarray([0, 1, 2, 3, 5], dtype)
    if dtype != "uint8":
        x, y = np.concatenate([x, [-1, -2]]).astype(dtype), np.concatenate([y, [-1, -2]]).astype(dtype)
    agree(tmp_path / "f.onnx", wf.pow, tensor(x[:, None], dtype), tensor(y, dtype))


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", BITS)
def test_bits(name: str, dtype: str, tmp_path: Path) -> None:
    x = integers(dtype)
    y = np.asarray([0, 1, 2, 7, 8, 31, 63, 64], dtype) if "shift" in name else x
    if "shift" in name and np.dtype(dtype).kind == "i":
        y = np.concatenate([y, [-1]]).astype(dtype)
    agree(tmp_path / "f.onnx", getattr(wf, name), tensor(x[:, None], dtype), tensor(y, dtype))


@pytest.mark.parametrize(
    "name",
    [
        "logical_and",
        "logical_or",
        "logical_xor",
        "equal",
        "not_equal",
        "less",
        "greater_equal",
        "bitwise_and",
        "bitwise_or",
        "bitwise_xor",
    ],
)
def test_bools(name: str, tmp_path: Path) -> None:
    x = wf.asarray(np.asarray([False, True]))
    agree(tmp_path / "f.onnx", getattr(wf, name), wf.reshape(x, (2, 1)), x)
    agree(tmp_path / "g.onnx", lambda a: (wf.logical_not(a), wf.bitwise_invert(a), wf.isnan(a), wf.isfinite(a)), x)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("source", [*FLOATS, *INTEGERS, "bool"])
@pytest.mark.parametrize("target", [*FLOATS, *INTEGERS, "bool"])
def test_cast(source: str, target: str, tmp_path: Path) -> None:
    agree(tmp_path / "f.onnx", lambda x: wf.astype(x, target), tensor([0, 1, 2, 100], source), tolerance=0.0)


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS, "bool"])
def test_where_and_clip(dtype: str, tmp_path: Path) -> None:
    x, y = tensor([[1, 0, 3]], dtype), tensor([[4], [5]], dtype)
    condition = wf.asarray(np.asarray([[True, False, True], [False, False, True]]))
    agree(tmp_path / "f.onnx", wf.where, condition, x, y)
    if dtype != "bool":
        agree(tmp_path / "g.onnx", lambda a: (wf.clip(a, 1, 2), wf.clip(a, 1), wf.clip(a, None, 2)), x)


# --- structure --------------------------------------------------------------------------------------------------


def test_softmax_over_a_dynamic_axis(tmp_path: Path) -> None:
    x = wf.asarray(np.arange(12.0, dtype=np.float32).reshape(3, 4))
    for function in (lambda x: wf.nn.functional.softmax(x, 1), lambda x: wf.logsumexp(x, axis=1)):
        agree(tmp_path / "f.onnx", function, x, dynamic={"n": (0, 1)})
        none = np.zeros((3, 0), np.float32)
        (found,) = onnx_peer.run(tmp_path / "f.onnx", none)
        assert np.array_equal(found, wf.load(tmp_path / "f.onnx")(none).numpy()) and len(found) == 3


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "float16", "bfloat16", "int8", "int32", "uint32", "uint64", "bool"]
)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name: str, dtype: str, tmp_path: Path) -> None:
    values = np.asarray([[[1, 2, 0], [3, 1, 2]], [[2, 1, 1], [1, 0, 2]]])
    if dtype == "uint64" and name not in ("sum", "prod"):  # which ONNX Runtime computes in float64
        values = values.astype(np.uint64) + np.uint64(1 << 63) * (values == 2)
    x = wf.asarray(values.astype(dtype)) if dtype == "uint64" else tensor(values, dtype)
    function = getattr(wf, name)
    axes = (0, 1, 2, None) if name.startswith("arg") else (0, 1, (1, 2), (0, 2), None)
    agree(tmp_path / "f.onnx", lambda a: tuple(function(a, axis=i) for i in axes), x)


@pytest.mark.parametrize("dtype", [*FLOATS, "int8", "int32", "uint64"])
def test_contract(dtype: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a, b = (tensor(rng.integers(0, 4, s), dtype) for s in ((2, 3, 4), (2, 4, 5)))
    agree(tmp_path / "f.onnx", lambda x, y: (x @ y, x[0] @ y[0], x @ y[0]), a, b)
    linear = wf.nn.functional.linear
    agree(tmp_path / "g.onnx", lambda x, y: (linear(x, y[0].mT, y[0, 0]), linear(x[0, 0], y[0].mT, y[0, 0])), a, b)


@pytest.mark.parametrize("dtype", [*FLOATS, "int8", "int32", "uint64"])
def test_contractions_over_several_axes(dtype: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a, b = (tensor(rng.integers(0, 4, s), dtype) for s in ((2, 3, 4, 2), (4, 2, 3, 5)))

    def products(x: Any, y: Any) -> Any:
        return wf.tensordot(x, y), wf.tensordot(x, y, axes=([1, 2], [2, 0])), wf.einsum("abcd,cdef->abef", x, y)

    agree(tmp_path / "f.onnx", products, a, b)


@pytest.mark.parametrize("dtype", [*FLOATS, "int8", "int32", "uint64"])
def test_convolutions(dtype: str, tmp_path: Path) -> None:
    """And, of floats, their gradients."""
    conv1d, conv2d = wf.nn.functional.conv1d, wf.nn.functional.conv2d
    rng = np.random.default_rng(0)
    x, w, b = (tensor(rng.integers(-2, 3, s) % 3, dtype) for s in ((2, 4, 7, 6), (6, 2, 3, 2), (6,)))
    options: dict[str, Any] = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2), "groups": 2}

    def several(x: Any, w: Any, b: Any) -> Any:
        return conv2d(x, w, b, **options), conv2d(x[0], w, **options), conv1d(x[:, :2, 0], w[:, :, 0])

    agree(tmp_path / "f.onnx", several, x, w, b)
    if dtype in FLOATS:
        gradient = wf.grad(lambda x, w: conv2d(x, w, **options).sum(), argnums=(0, 1))
        agree(tmp_path / "g.onnx", gradient, x, w)


@pytest.mark.parametrize("dtype", [*FLOATS, "int8", "int64", "uint64"])
@pytest.mark.parametrize("name", ["cumulative_sum", "cumulative_prod"])
def test_running(name: str, dtype: str, tmp_path: Path) -> None:
    function = getattr(wf, name)
    x = tensor([[1, 2, 3], [2, 1, 2]], dtype)
    agree(tmp_path / "f.onnx", lambda a: (function(a, axis=0), function(a, axis=1), function(a[0])), x)


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS, "bool"])
def test_moves(dtype: str, tmp_path: Path) -> None:
    def moves(a: Any) -> Any:
        return (
            a.reshape(6, 4),
            wf.permute_dims(a, (2, 0, 1)),
            wf.broadcast_to(a, (2, 2, 3, 4)),
            a[1, ::-1, 1::2],
            wf.flip(a),
            wf.concat([a, a], axis=1),
            wf.pad(a, ((1, 0), (0, 2), (0, 0)), value=1),
            wf.roll(a, 1, axis=2),
            wf.stack([a, a]),
            wf.tril(a),
            wf.full((2, 2), 1, dtype=dtype),
            wf.zeros((0, 3), dtype=dtype),
            wf.stop_gradient(a),
            a,
        )

    agree(tmp_path / "f.onnx", moves, tensor(np.arange(24).reshape(2, 3, 4), dtype))


@pytest.mark.parametrize("dtype", [*FLOATS, "int8", "int64", "uint64", "bool"])
def test_slice_update(dtype: str, tmp_path: Path) -> None:
    def updates(a: Any, b: Any) -> Any:
        results = []
        for key in (
            (0, 1),
            (slice(1, 3), slice(2, 4)),
            (slice(None, None, 2), slice(1, None, 2)),
            (slice(1, None, 3), 3),
            (slice(None, None, -2), slice(None)),
        ):
            c = a + 0 if dtype != "bool" else wf.logical_or(a, False)
            c[key] = b
            results.append(c)
        return tuple(results)

    agree(tmp_path / "f.onnx", updates, tensor(np.arange(24).reshape(6, 4), dtype), tensor(7, dtype))


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS, "bool"])
def test_strided_views(dtype: str, tmp_path: Path) -> None:
    def views(a: Any, b: Any) -> Any:
        flat = a.reshape(24)
        results = [clone(a), apply(UNFOLD, a, axis=1, size=2, step=1), apply(UNFOLD, a, axis=2, size=4, step=1)]
        for offset, axis1, axis2 in ((0, 0, 1), (1, 2, 1), (-2, 1, 2), (-3, 0, 1)):
            params = {"offset": offset, "axis1": axis1, "axis2": axis2}
            shown = apply(DIAGONAL, a, **params)
            results += [shown, apply(DIAGONAL_UPDATE, a, wf.broadcast_to(b, tuple(shown.shape)), **params)]
        for shape, strides, offset in (((2, 3), (4, 1), 3), ((), (), 5), ((0, 2), (1, 1), 40), ((2, 2), (2, 3), 1)):
            params = {"shape": shape, "strides": strides, "offset": offset}
            results.append(apply(AS_STRIDED, flat, **params))
            results.append(apply(AS_STRIDED_UPDATE, flat, wf.broadcast_to(b, shape), **params))
        return (*results, apply(AS_STRIDED, flat, shape=(3, 4, 2), strides=(0, 1, 5), offset=2))

    agree(tmp_path / "f.onnx", composite(views), tensor(np.arange(24).reshape(2, 3, 4), dtype), tensor(7, dtype))


@pytest.mark.one_in(2)
@pytest.mark.parametrize("dtype", ["float32", "float64", *INTEGERS])
def test_windows(dtype: str, tmp_path: Path) -> None:
    def pools(a: Any) -> Any:
        results = [apply(PADDED, a, before=(1, 0, 2), after=(0, 3, 1), value=3), clone(a)]
        for size, step, dilation, before, after in (
            ((2, 2), (1, 2), (1, 1), (0, 0), (0, 0)),
            ((2, 3), (2, 1), (1, 1), (1, 1), (0, 1)),
            ((2, 2), (1, 1), (2, 3), (1, 0), (0, 1)),
            ((3,), (2,), (1,), (1,), (1,)),
        ):
            params = {"size": size, "step": step, "dilation": dilation, "before": before, "after": after}
            results += [apply(MAX_POOL, a, **params), apply(SUM_POOL, a, **params)]
        return tuple(results)

    a = tensor(np.arange(30).reshape(2, 3, 5) * 7 % 11 - (6 if dtype[0] != "u" else 0), dtype)
    agree(tmp_path / "f.onnx", composite(pools), a)


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS])
def test_positions(dtype: str, tmp_path: Path) -> None:
    agree(
        tmp_path / "f.onnx",
        lambda a: (
            wf.arange(5, dtype=dtype) + a,
            wf.eye(3, 4, k=1, dtype=dtype) * a,
            wf.linspace(0, 1, 5).astype(dtype) + a,
        ),
        tensor(2, dtype),
    )


@pytest.mark.one_in(2)
@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS, "bool"])
def test_gather(dtype: str, tmp_path: Path) -> None:
    i, j = wf.asarray([[0, -1], [-2, 1]]), wf.asarray([[1, 1], [-2, 0]])

    def gathers(a: Any, i: Any, j: Any) -> Any:
        return wf.take(a, i, axis=1), a[i], a[i, j], a[:, j], wf.take_along_axis(a, j, axis=1)

    agree(tmp_path / "f.onnx", gathers, tensor(np.arange(6).reshape(2, 3), dtype), i, j)


@pytest.mark.parametrize("dtype", [*FLOATS, "int8", "int64", "uint64"])
def test_pick(dtype: str, tmp_path: Path) -> None:
    agree(
        tmp_path / "f.onnx",
        lambda a, i: wf.take_along_axis(a, i, axis=1),
        tensor(np.arange(6).reshape(2, 3), dtype),
        wf.asarray([[2], [0]]),
    )


@pytest.mark.parametrize("dtype", [*FLOATS, "int8", "int64", "uint64"])
def test_scatter_of_the_greatest(dtype: str, tmp_path: Path) -> None:
    def greatest(a: Any, i: Any, b: Any) -> Any:
        return apply(indexing.SCATTER_MAX, a, i, b), clone(a)

    rows = [[1, 3], [7, 2], [0, 5]] if dtype != "uint64" else [[1, 1 << 63], [7, 2], [0, (1 << 64) - 1]]
    a = np.array(rows, "uint64" if dtype == "uint64" else "int64")
    agree(
        tmp_path / "f.onnx", composite(greatest), tensor(a, dtype), wf.asarray([0, 2, 0]), tensor(a[::-1].copy(), dtype)
    )


@pytest.mark.parametrize("dtype", [*FLOATS, "int8", "int64", "uint64"])
def test_scatter(dtype: str, tmp_path: Path) -> None:
    def scatters(a: Any, b: Any, i: Any) -> Any:
        c = a + 0
        c[i] = b
        return wf.scatter_add(a, wf.asarray([0, 2, 0]), b, axis=0), c

    agree(
        tmp_path / "f.onnx",
        scatters,
        tensor(np.arange(12).reshape(3, 4), dtype),
        tensor(np.arange(12).reshape(3, 4), dtype),
        wf.asarray([2, 0, -2]),
    )


def test_random_bits(tmp_path: Path) -> None:
    key = wf.asarray(np.asarray([12345678901234567, 3], np.uint64))
    agree(
        tmp_path / "f.onnx",
        lambda s: (
            random.draw_uniform(s, (3, 5)),
            random.draw_integers(s, (4,), -3, 99),
            random.draw_permutation(s, 9),
        ),
        key,
    )


def test_multiply_high(tmp_path: Path) -> None:
    @composite
    def high(x: Any, y: Any) -> Any:
        return apply(random.MULTIPLY_HIGH, x, y)

    numbers = np.asarray([0, 1, 2**32 - 1, 2**32, 2**63, 2**64 - 1, 0x123456789ABCDEF0], np.uint64)
    x, y = (wf.asarray(np.ascontiguousarray(a)) for a in np.broadcast_arrays(numbers[:, None], numbers))
    agree(tmp_path / "f.onnx", high, x, y)


def test_unsupported_is_named(tmp_path: Path) -> None:
    x = wf.ones(3)
    with pytest.raises(FormatError, match=r"primitive nextafter \(at .*test_table.py:\d+\) cannot be written in ONNX"):
        wf.save(lambda a: wf.nextafter(a, 2.0), tmp_path / "f.onnx", example=x)
    assert not (tmp_path / "f.onnx").exists()


# --- symbolic sizes ---------------------------------------------------------------------------------------------


def test_det(tmp_path: Path) -> None:
    agree(tmp_path / "f.onnx", wf.linalg.det, tensor([[[2.0, 1.0], [0.5, 3.0]], [[1.0, 2.0], [2.0, 4.0]]], "float32"))


def test_structure_with_a_symbolic_size(tmp_path: Path) -> None:
    def function(a: Any, b: Any) -> Any:
        batch = a.shape[0]
        padded = wf.pad(a, ((1, 2), (0, 0)), value=0.5)
        return (
            a.reshape(batch * 3),
            a.reshape(batch, 3, 1),
            wf.flip(a),
            wf.concat([a, b * 2.0]),
            padded,
            wf.concat([a, b], axis=1),
            wf.mean(a, axis=0),
            wf.var(a),
            wf.zeros((batch, 2)) + 1.0,
            wf.arange(batch),
            wf.tril(a @ a.T),
            a[1:],
            a[:-1, ::2],
            a[::-1],
            wf.argmax(a),
            activation.softmax(a, 0),
            indexing.take(a, wf.arange(batch), axis=0),
            wf.cumulative_prod(a, axis=0),
            wf.broadcast_to(a, (2, batch, 3)),
        )

    path = tmp_path / "f.onnx"
    rng = np.random.default_rng(0)
    example = [wf.asarray(rng.normal(size=(5, 3)).astype(np.float32)) for _ in range(2)]
    wf.save(function, path, example=tuple(example), dynamic={"batch": [(0, 0), (1, 0)]})
    onnx_peer.check(path)
    loaded = wf.load(path)
    for batch in (2, 5, 9):
        arrays = [wf.asarray(rng.normal(size=(batch, 3)).astype(np.float32)) for _ in range(2)]
        expected = function(*arrays)
        peer = onnx_peer.run(path, *arrays)
        for a, b, c in zip(expected, loaded(*arrays), peer, strict=True):
            assert a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()
            assert a.shape == c.shape
            np.testing.assert_allclose(a.numpy(), c, rtol=2e-5, atol=1e-6)


# --- dtypes -----------------------------------------------------------------------------------------------------

SHAPE = (2, 3)
PARAMETERS: dict[str, Any] = {
    "axes": (0, 1),
    "axis": 1,
    "shape": SHAPE,
    "value": 1,
    "starts": (0, 0),
    "sizes": SHAPE,
    "steps": (1, 1),
    "below": True,
    "above": True,
    "word": 0,
    "offset": 0,
    "axis1": 0,
    "axis2": 1,
    "size": 2,
    "step": 1,
    "strides": (3, 1),
    "stride": (1,),
    "dilation": (1,),
    "groups": 1,
    "kernel": (2,),
    "batch": 0,
    "summed": 1,
    "carries": 1,
    "sequences": 0,
    "causal": True,
    "kept": 2,
    "descending": False,
    "dropout": 0.0,
    "length": 3,
    **dict.fromkeys(("reverse", "has_go", "has_count", "gives_count", "bounded"), False),
}
WINDOWS = {"size": (1, 2), "step": (1, 1), "dilation": (1, 1), "before": (0, 1), "after": (1, 0)}
AROUND = {"before": (1,), "after": (0,)}


def operands(name: str, dtype: DType) -> list[TensorType]:
    """Types that fit the primitive, if it computes in ``dtype``."""
    x, index = TensorType(dtype, SHAPE), TensorType(wf.int64, (2,))
    special = {
        "gather": [x, index],
        "pick": [x, *[TensorType(wf.int64, (2, 1))] * 2],
        "scatter_add": [x, index, x],
        "scatter_max": [x, index, x],
        "scatter_set": [x, index, x],
        "scatter_add_within": [x, index, TensorType(dtype, (SHAPE[0], 2))],
        "scatter_set_within": [x, index, TensorType(dtype, (SHAPE[0], 2))],
        "shuffle": [TensorType(dtype, (2,)), index],
        "det": [TensorType(dtype, (3, 3))],
        "diagonal_update": [x, TensorType(dtype, (2,))],
        "as_strided": [TensorType(dtype, (6,))],
        "as_strided_update": [TensorType(dtype, (6,)), x],
        "where": [TensorType(wf.bool, SHAPE), x, x],
        "cond": [TensorType(wf.bool, ()), x],
        "loop": [x],
        "clip": [x, x, x],
        "contract": [x, TensorType(dtype, (3, 2))],
        "contract_float32": [x, TensorType(dtype, (3, 2))],
        "contract_int32": [x, TensorType(dtype, (3, 2))],
        "contract_axes": [x, TensorType(dtype, (3, 2))],
        "attend": [*[x] * 3, TensorType(dtype, (2, 2))],
        "attend_queries": [*[x] * 4, *[TensorType(dtype, (2, 2))] * 4],
        "attend_keys": [*[x] * 4, *[TensorType(dtype, (2, 2))] * 4],
        "convolve": [TensorType(dtype, (1, 2, 4)), TensorType(dtype, (3, 2, 2))],
        "convolve_weight": [TensorType(dtype, (1, 2, 4)), TensorType(dtype, (1, 3, 4))],
    }
    return special.get(name, [x] * ROWS[name].arity[0])


SEVERAL = {"attend": ["y", "shift", "divisor"], "attend_keys": ["y", "z"]}


def read(name: str, dtype: DType) -> tuple[Graph, list[TensorType]]:
    """The graph of one node, as a file gives it."""
    types = operands(name, dtype)
    known = PARAMETERS | (AROUND if "groups" in ROWS[name].params else WINDOWS if "before" in ROWS[name].params else {})
    bodies = [[Value(t)] for t in types[-1:]]
    known = known | {k: Graph("body", b, [], b) for b in bodies for k in ("true", "false", "body")}
    params = {k: known.get(k, dtype) for k in ROWS[name].params}
    inputs = [Value(t) for t in types]
    record = {
        "op": name,
        "in": [f"x{i}" for i in range(len(inputs))],
        "out": SEVERAL.get(name, ["y"]) if name in CONTROL or name in SEVERAL else "y",
        "params": {k: encode(v) for k, v in params.items()},
    }
    node = read_node(record, {f"x{i}": v for i, v in enumerate(inputs)})
    return Graph("file", inputs, [node], list(node.outputs)), types


ALL = [getattr(wf, name) for name in (*FLOATS, *INTEGERS, "bool")]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", ROWS)
def test_what_loads_can_be_called(name: str) -> None:
    """A node in a dtype that its op does not compute in is refused when the file is read, not when it is called."""
    graphs = []
    for dtype in ALL:
        try:
            graphs.append(read(name, dtype))
        except wf.WeftError:
            continue
    assert graphs
    inputs = [v for graph, _ in graphs for v in graph.inputs]
    whole = Graph("all", inputs, [n for g, _ in graphs for n in g.nodes], [v for g, _ in graphs for v in g.outputs])
    results = GraphCall(whole)([wf.zeros(t.shape, dtype=t.dtype) for _, types in graphs for t in types])
    for result, value in zip(results, whole.outputs, strict=True):
        assert result.dtype is value.dtype and result.numpy().shape == value.shape


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("sin", "bool"),
        ("sqrt", "int64"),
        ("bitwise_and", "float32"),
        ("reciprocal", "int32"),
        ("divide", "int32"),
        ("floor_divide", "bool"),
        ("sum", "bfloat16"),
        ("any", "float32"),
        ("cumulative_sum", "float16"),
        ("logical_not", "int8"),
        ("contract", "bool"),
    ],
)
def test_a_dtype_that_an_op_does_not_compute_in(name: str, dtype: str) -> None:
    with pytest.raises(wf.WeftError, match=f"{name}.*{dtype}"):
        read(name, getattr(wf, dtype))
