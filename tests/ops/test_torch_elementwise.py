"""Elementwise functions and activations against PyTorch where it is subtle: values and gradients at NaN, the
infinities, zeros of both signs, kinks, and far out.

A zero's sign is not compared (``maximum(-0.0, 0.0)`` is 0.0 here, docs/numerics.md). What differs on purpose is in
``EXCEPT``, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft.nn import functional as F
from weft.ops import registry

torch = pytest.importorskip("torch")
T = torch.nn.functional

INF, NAN = float("inf"), float("nan")
KINKS = [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -2.0, 2.5, -2.5, 3.0, -3.0, 6.0, -6.0]
NEIGHBOURS = [float(np.nextafter(np.float32(v), np.float32(s))) for v in (1, -1, 3, -3, 6) for s in (INF, -INF)]
FAR = [20.0, 20.5, -20.0, 50.0, -50.0, 88.0, -88.0, 104.0, -104.0, 1e4, -1e4]
EXTREME = [1e30, -1e30, 1e37, -1e37, 1e-30, -1e-30, 1e-40, -1e-40]
POINTS = np.array([NAN, INF, -INF, *KINKS, *NEIGHBOURS, *FAR, *EXTREME])

Pair = tuple[Callable[[Any], Any], Callable[[Any], Any]]
UNARY: dict[str, Pair] = {
    name: (getattr(F, name), getattr(T, name))
    for name in [
        "elu",
        "gelu",
        "hardsigmoid",
        "hardswish",
        "hardtanh",
        "leaky_relu",
        "logsigmoid",
        "mish",
        "relu",
        "relu6",
        "selu",
        "sigmoid",
        "silu",
        "softplus",
        "softsign",
        "tanh",
    ]
}
UNARY |= {
    name: (entry, getattr(torch, name))
    for name, entry in {**registry.entries("elementwise", 1), "positive": wf.positive}.items()
    if hasattr(torch, name) and (name == "positive" or entry.primitive.vjp is not None)
}
UNARY |= {
    "gelu by tanh": (lambda x: F.gelu(x, "tanh"), lambda x: T.gelu(x, approximate="tanh")),
    "leaky_relu(-0.5)": (lambda x: F.leaky_relu(x, -0.5), lambda x: T.leaky_relu(x, -0.5)),
    "leaky_relu(0)": (lambda x: F.leaky_relu(x, 0.0), lambda x: T.leaky_relu(x, 0.0)),
    "elu(2)": (lambda x: F.elu(x, 2.0), lambda x: T.elu(x, 2.0)),
    "elu(-0.5)": (lambda x: F.elu(x, -0.5), lambda x: T.elu(x, -0.5)),
    "softplus(2, 5)": (lambda x: F.softplus(x, 2.0, 5.0), lambda x: T.softplus(x, 2.0, 5.0)),
    "hardtanh(-2, 0.5)": (lambda x: F.hardtanh(x, -2.0, 0.5), lambda x: T.hardtanh(x, -2.0, 0.5)),
    "hardtanh(1, 1)": (lambda x: F.hardtanh(x, 1.0, 1.0), lambda x: T.hardtanh(x, 1.0, 1.0)),
    "clamp(-1, 1)": (lambda x: x.clamp(-1.0, 1.0), lambda x: x.clamp(-1.0, 1.0)),
    "clamp(0)": (lambda x: x.clamp(0.0), lambda x: x.clamp(0.0)),
    "clamp(max=0)": (lambda x: x.clamp(max=0.0), lambda x: x.clamp(max=0.0)),
    "clamp(1, -1)": (lambda x: x.clamp(1.0, -1.0), lambda x: x.clamp(1.0, -1.0)),
    "clamp(nan, 1)": (lambda x: x.clamp(NAN, 1.0), lambda x: x.clamp(NAN, 1.0)),
    "clamp(-1, nan)": (lambda x: x.clamp(-1.0, NAN), lambda x: x.clamp(-1.0, NAN)),
    "softmax of one": (lambda x: F.softmax(x[:, None], 1)[:, 0], lambda x: T.softmax(x[:, None], 1)[:, 0]),
    "log_softmax of one": (lambda x: F.log_softmax(x[:, None], 1)[:, 0], lambda x: T.log_softmax(x[:, None], 1)[:, 0]),
    "prelu": (lambda x: F.prelu(x, wf.asarray([0.3])), lambda x: T.prelu(x, torch.tensor([0.3]))),
    **{f"x ** {p}": (lambda x, p=p: x**p, lambda x, p=p: x**p) for p in (-2, -1, -0.5, 0, 0.5, 1, 2, 2.5, 3)},
    **{f"{b} ** x": (lambda x, b=b: b**x, lambda x, b=b: b**x) for b in (-2.0, 0.0, 0.5, 2.0)},
}

# name: (where they differ, why). A point that is excluded is excluded for the value and the gradient.
EXCEPT: dict[str, tuple[Callable[[Any], Any], str]] = {
    "sign": (np.isnan, "NaN of NaN, as the Array API has it"),
    "acosh": (lambda x: x < 1, "outside of the domain: the gradient of NaN"),
    "gelu": (np.isposinf, "PyTorch's AVX-512 code says NaN"),
    "asinh": (lambda x: abs(x) > 1e18, "PyTorch's gradient squares x, which overflows"),
    "x ** 0.5": (lambda x: np.isneginf(x) | (x == 0), "C's pow of -inf and -0.0, not the square root's"),
    "x ** -0.5": (lambda x: np.isneginf(x) | (x == 0), "C's pow of -inf and -0.0, not the square root's"),
}
AT_NAN = ("elu", "elu(2)", "elu(-0.5)", "selu", "hardswish", "hardtanh", "hardtanh(-2, 0.5)", "hardtanh(1, 1)", "relu6")
EXCEPT |= dict.fromkeys(AT_NAN, (np.isnan, "PyTorch's gradient depends on the place in a vector; see below"))
TOLERANCE = {"float32": (3e-6, 4e-6), "float64": (1e-7, 1e-9)}


def both(pair: Pair, arrays: list[Any]) -> list[list[Any]]:
    """``[value, gradients ...]`` of each library, for cotangents of 2."""
    found = []
    for function, module in zip(pair, (wf, torch), strict=True):
        inputs = [module.asarray(a.copy()).requires_grad_() for a in arrays]
        y = function(*inputs)
        y.backward(module.asarray(np.full(tuple(y.shape), 2.0, arrays[0].dtype)))
        grads = [np.zeros_like(a) if i.grad is None else i.grad.numpy() for a, i in zip(arrays, inputs, strict=True)]
        found.append([y.detach().numpy(), *grads])
    return found


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", UNARY)
def test_values_and_gradients_at_the_edges(name: str, dtype: str) -> None:
    if name == "prelu" and dtype == "float64":
        pytest.skip("PyTorch wants a slope of the same dtype")
    points = POINTS.astype(dtype)
    differs, _ = EXCEPT.get(name, (np.zeros_like, ""))
    points = points[~differs(points).astype(bool)]
    relative, absolute = TOLERANCE[dtype]
    with np.errstate(all="ignore"):
        for what, ours, theirs in zip(("value", "gradient"), *both(UNARY[name], [points]), strict=True):
            assert ours.dtype == theirs.dtype
            bad = ~np.isclose(ours, theirs, rtol=relative, atol=absolute, equal_nan=True)
            assert not bad.any(), [(what, *map(float, row)) for row in zip(points[bad], ours[bad], theirs[bad])]


@pytest.mark.parametrize("name", AT_NAN)
@pytest.mark.parametrize("count", [1, 3, 64, 67])
def test_gradients_at_nan_that_pytorch_has_two_of(name: str, count: int) -> None:
    """Ours is one of them, the same in every place."""
    few, many = (both(UNARY[name], [np.full(n, NAN, np.float32)])[1][1] for n in (1, 64))
    value, gradient = both(UNARY[name], [np.full(count, NAN, np.float32)])[0]
    assert np.isnan(value).all() and (gradient == gradient[0]).all() and gradient[0] in (few[0], many[0])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(
    "name",
    ["elu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "relu", "relu6", "selu", "abs", "clamp(-1, 1)"],
)
def test_gradients_of_16_bits_at_kinks(name: str, dtype: str) -> None:
    pair = UNARY[name]
    points = np.array([*([] if name in AT_NAN else [NAN]), INF, -INF, *KINKS], np.float32)
    x = wf.asarray(points).to(dtype).requires_grad_()
    t = torch.tensor(points).to(getattr(torch, dtype)).requires_grad_()
    y, z = pair[0](x), pair[1](t)
    y.backward(wf.ones_like(y))
    z.backward(torch.ones_like(z))
    for ours, theirs in ((y.detach(), z.detach()), (x.grad, t.grad)):
        assert ours.dtype.name == dtype
        tolerance = 2e-3 if dtype == "float16" else 1.6e-2
        np.testing.assert_allclose(ours.float().numpy(), theirs.float().numpy(), rtol=tolerance, atol=tolerance)


# --- two operands -----------------------------------------------------------------------------------------------

CORNERS = np.array([NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, 1e10, -1e10, 1e-10])
BINARY = [
    "add",
    "subtract",
    "multiply",
    "divide",
    "maximum",
    "minimum",
    "pow",
    "atan2",
    "hypot",
    "logaddexp",
    "copysign",
    "remainder",
]
BINARY_EXCEPT: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "hypot": (lambda a, b: (a == 0) & (b == 0), "the gradient at the origin is 0, not 0/0"),
    "logaddexp": (lambda a, b: np.isinf(a) & (a == b), "shared evenly, not inf - inf"),
    "copysign": (lambda a, b: ~np.isfinite(a), "a sign, not inf/inf"),
    "remainder": (lambda a, b: abs(a / b) > 1e15, "exact where PyTorch loses all digits"),
}


@pytest.mark.parametrize("name", BINARY)
def test_two_operands_at_the_edges(name: str) -> None:
    a, b = (v.ravel() for v in np.meshgrid(CORNERS, CORNERS))
    with np.errstate(all="ignore"):
        differs, _ = BINARY_EXCEPT.get(name, (lambda a, b: np.zeros(a.shape, bool), ""))
        kept = ~differs(a, b)
        a, b = a[kept], b[kept]
        ours, theirs = both((getattr(wf, name), getattr(torch, name)), [a, b])
        for what, x, y in zip(("value", "first", "second"), ours, theirs, strict=True):
            bad = ~np.isclose(x, y, rtol=1e-9, atol=1e-12, equal_nan=True)
            assert not bad.any(), [(what, *map(float, row)) for row in zip(a[bad], b[bad], x[bad], y[bad])]


@pytest.mark.parametrize("names", [("min", "max"), ("min",), ("max",)])
def test_clamp_with_tensors_as_bounds(names: tuple[str, ...]) -> None:
    grid = np.meshgrid([NAN, -INF, INF, -2.0, -1.0, 0.0, 1.0, 2.0], *[[NAN, -INF, INF, -1.0, 0.0, 1.0]] * len(names))

    def clamp(x: Any, *bounds: Any) -> Any:
        return x.clamp(**dict(zip(names, bounds, strict=True)))

    ours, theirs = both((clamp, clamp), [v.ravel() for v in grid])
    for x, y in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(x, y)


# --- shapes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (7,), (3, 1), (2, 3), (2, 3, 4)])
@pytest.mark.parametrize("slopes", [(), (1,), (3,), (5,), (1, 1)])
def test_prelu_of_any_rank(shape: tuple[int, ...], slopes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, slope = rng.normal(size=shape).astype(np.float32), rng.uniform(size=slopes).astype(np.float32)
    try:
        tensors = [torch.tensor(a, requires_grad=True) for a in (x, slope)]
        y = T.prelu(*tensors)
        y.backward(torch.full(y.shape, 2.0))
        theirs = [y.detach().numpy(), *(t.grad.numpy() for t in tensors)]
    except RuntimeError:
        with pytest.raises(wf.ShapeError, match="prelu: weight"):
            F.prelu(wf.asarray(x), wf.asarray(slope))
        return
    mine = [wf.asarray(a).requires_grad_() for a in (x, slope)]
    z = F.prelu(*mine)
    z.backward(wf.full(z.shape, 2.0))
    for ours, wanted in zip([z.detach(), *(m.grad for m in mine)], theirs, strict=True):
        assert ours.shape == wanted.shape
        np.testing.assert_allclose(ours.numpy(), wanted, rtol=1e-6)


ROWS = {
    "rank 0": np.float32(2.0),
    "NaN alone": np.float32(NAN),
    "a NaN": np.array([1.0, NAN, 2.0], np.float32),
    "an infinity": np.array([1.0, INF, 2.0], np.float32),
    "all -inf": np.full(3, -INF, np.float32),
    "some -inf": np.array([-INF, 1.0, 2.0], np.float32),
    "far": np.array([-1e4, 0.0, 1e4], np.float32),
}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(2, 3, 0), (0, 3), (2, 0, 3), (0,)])
def test_logsumexp_of_no_elements(shape: tuple[int, ...], dtype: str) -> None:
    for axis in (*range(len(shape)), (0, len(shape) - 1), tuple(range(len(shape)))):
        if isinstance(axis, tuple) and len(set(axis)) < len(axis):
            continue
        for keepdim in (False, True):
            ours, theirs = wf.zeros(shape, dtype=dtype), torch.zeros(shape, dtype=getattr(torch, dtype))
            ours.requires_grad_()
            y, z = ours.logsumexp(axis, keepdim), theirs.logsumexp(axis, keepdim)
            assert y.dtype.name == dtype and y.shape == tuple(z.shape) and y.tolist() == z.tolist()
            compiled = wf.compile(lambda x, a=axis, k=keepdim: x.logsumexp(a, k))(ours)
            assert compiled.shape == y.shape and compiled.tolist() == z.tolist()
            y.sum().backward()
            assert ours.grad is not None and ours.grad.shape == shape


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
def test_softmax_of_odd_rows(name: str, row: str) -> None:
    found = []
    for module, functional in ((wf, F), (torch, T)):
        x = module.asarray(ROWS[row]).requires_grad_()
        y = getattr(functional, name)(x, dim=0) if name != "logsumexp" else x.logsumexp(0)
        weight = np.arange(3.0, 6.0, dtype=np.float32)[: max(y.shape[0] if y.ndim else 1, 1)].reshape(tuple(y.shape))
        y.backward(module.asarray(weight))
        found.append((np.asarray(y.detach()), np.asarray(x.grad)))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("weight", [0.0, 0.05, 0.3, 0.5, 0.6, 0.9, 0.95, 0.99, 0.999, 1.0, 1.5, -0.3, -1.0, 1])
def test_lerp_has_the_same_bits_compiled_and_with_a_weight_that_is_a_tensor(dtype: str, weight: float) -> None:
    rng = np.random.default_rng(0)
    x, y = (wf.tensor(rng.normal(size=60), dtype=dtype) for _ in range(2))
    eager = x.lerp(y, weight)
    compiled = wf.compile(lambda x, y: x.lerp(y, weight))(x, y)
    tensor = x.lerp(y, wf.tensor(weight, dtype=dtype))
    assert eager.tolist() == compiled.tolist() == tensor.tolist()
    theirs = torch.tensor(x.tolist(), dtype=getattr(torch, dtype)).lerp(
        torch.tensor(y.tolist(), dtype=getattr(torch, dtype)), weight
    )
    digits = {"float16": 4e-3, "bfloat16": 3e-2, "float32": 1e-6, "float64": 1e-14}[dtype]
    np.testing.assert_allclose(eager.tolist(), theirs.tolist(), rtol=digits, atol=digits)
