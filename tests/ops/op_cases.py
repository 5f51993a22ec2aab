"""Cases for the tests of ops: arrays of every dtype and shape, comparison in bits and in units, numeric gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np
from hypothesis import strategies as st

import weft as wf
from weft.core.symbolic import SymDim
from weft.graph.protocol import TensorType
from weft.ops.op import trace_function

FLOATS = ("float16", "bfloat16", "float32", "float64")
SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
INTEGERS = SIGNED + UNSIGNED
NUMERIC = FLOATS + INTEGERS
ALL = ("bool", *NUMERIC)
SPECIALS = (0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 3e38, -3e38)

seeds = st.integers(0, 2**32 - 1)
sizes = st.sampled_from((1, 2, 3, 5, 16, 17, 64, 130))
shapes = st.one_of(
    st.just(()),
    st.lists(sizes, min_size=1, max_size=1).map(tuple),
    st.lists(st.sampled_from((0, 1, 2, 3, 7, 18)), min_size=1, max_size=4).map(tuple),
)


@st.composite
def broadcast_pairs(draw: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two shapes that broadcast: some axes of either are 1, leading axes may be missing."""
    whole = draw(shapes)
    pair = []
    for _ in range(2):
        kept = whole[draw(st.integers(0, len(whole))) if draw(st.booleans()) else 0 :]
        pair.append(tuple(1 if draw(st.integers(0, 3)) == 0 else n for n in kept))
    return pair[0], pair[1]


def numpy_dtype(name: str) -> Any:
    """The NumPy dtype called ``name``."""
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


def is_float(dtype: str) -> bool:
    """True for the floating-point dtypes."""
    return dtype in FLOATS


def values(dtype: str, shape: Sequence[int], seed: int, low: float = -4.0, high: float = 4.0) -> Any:
    """Random values: floats within [low, high], integers over their whole range and often small, bools."""
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if is_float(dtype):
        return rng.uniform(low, high, shape).astype(numpy_dtype(dtype))
    info = np.iinfo(dtype)
    small = rng.integers(max(info.min, -5), 6, shape).astype(dtype)
    wide = rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    return np.where(rng.integers(0, 2, shape) == 0, small, wide)


def same_bits(actual: Any, expected: Any) -> None:
    """Equal dtype, shape and bits, any NaN being any other."""
    a = actual.numpy() if isinstance(actual, wf.Tensor) else np.asarray(actual)
    e = np.asarray(expected)
    assert a.dtype == e.dtype, (a.dtype, e.dtype)
    assert a.shape == e.shape, (a.shape, e.shape)
    if a.dtype.kind in "biu":
        np.testing.assert_array_equal(a, e)
        return
    nan = np.isnan(a)
    np.testing.assert_array_equal(nan, np.isnan(e))
    unsigned = f"uint{a.dtype.itemsize * 8}"
    bits = [np.where(nan, np.zeros_like(v), v).reshape(-1).view(unsigned) for v in (a, e)]
    wrong = bits[0] != bits[1]
    assert not wrong.any(), f"{a.reshape(-1)[wrong][:5]} is not {e.reshape(-1)[wrong][:5]}"


TOLERANCE = {"float16": 1e-3, "bfloat16": 8e-3, "float32": 6e-7, "float64": 2e-15}


def close(actual: Any, expected: Any, dtype: str, scale: float = 1.0) -> None:
    """A result of ``dtype`` within some units in the last place (times ``scale``) of a float64 reference."""
    a = actual.numpy()
    assert a.dtype == numpy_dtype(dtype), (a.dtype, dtype)
    e = np.asarray(expected)
    assert a.shape == e.shape, (a.shape, e.shape)
    tolerance = TOLERANCE[dtype] * scale
    with np.errstate(all="ignore"):
        rounded = e.astype(a.dtype).astype(np.float64)
        np.testing.assert_allclose(a.astype(np.float64), rounded, rtol=tolerance, atol=tolerance * 1e-3)


def check_gradient(function: Callable[..., Any], *arrays: Any, step: float = 1e-6, tolerance: float = 1e-6) -> None:
    """wf.grad of a weighted sum of ``function`` over float64 arrays against central differences."""
    arrays = tuple(np.asarray(a, np.float64) for a in arrays)
    out = function(*map(wf.asarray, arrays))
    weight = np.random.default_rng(7).uniform(0.5, 1.5, out.shape)

    def objective(*inputs: Any) -> Any:
        return wf.sum(function(*inputs) * wf.asarray(weight))

    for position, array in enumerate(arrays):

        def of_one(x: Any, position: int = position) -> Any:
            return objective(*(x if p == position else wf.asarray(a) for p, a in enumerate(arrays)))

        gradient = wf.grad(of_one)(wf.asarray(array)).numpy()
        assert gradient.shape == array.shape and gradient.dtype == np.float64
        numeric = np.zeros(array.shape)
        for at in np.ndindex(*array.shape):
            moved = [array.copy(), array.copy()]
            moved[0][at] += step
            moved[1][at] -= step
            above, below = (of_one(wf.asarray(m)).item() for m in moved)
            numeric[at] = (above - below) / (2 * step)
        np.testing.assert_allclose(gradient, numeric, rtol=tolerance, atol=tolerance)


def check_both_gradients(function: Callable[[Any], Any]) -> None:
    """wf.grad of a function of one matrix, and the gradient's own, against central differences."""
    x = np.random.default_rng(0).uniform(-1, 1, (3, 4))
    check_gradient(function, x)
    check_gradient(wf.grad(lambda x: wf.sum(function(x) ** 3)), x)


def check_compiled(function: Callable[[Any], Any]) -> None:
    """A function of one matrix, and its gradient, have the same bits compiled and eagerly."""
    x = wf.asarray(values("float32", (3, 4), 1))

    def both(x: Any) -> Any:
        return function(x), wf.grad(lambda x: wf.sum(function(x) ** 2))(x)

    for actual, expected in zip(wf.compile(both)(x), both(x)):
        same_bits(actual, expected.numpy())


N = SymDim.named("n")


def check_symbolic(function: Callable[[Any], Any], shape: tuple[Any, ...]) -> None:
    """The shape of a function's result for a matrix of ``N`` rows of 4."""
    graph, _ = trace_function(function, [TensorType(wf.float32, (N, 4))], "symbolic")
    assert graph.outputs[0].shape == shape
