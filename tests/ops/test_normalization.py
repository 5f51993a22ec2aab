"""Normalization against NumPy, and its errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from few_examples import few
from hypothesis import strategies as st
from op_cases import check_gradient

import weft as wf
from weft.nn import functional as F

RNG = np.random.default_rng(0)


def np_layer_norm(x: Any, rank: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    axes = tuple(range(x.ndim - rank, x.ndim))
    y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)
    return y * (1 if weight is None else weight) + (0 if bias is None else bias)


def np_rms_norm(x: Any, rank: int, weight: Any = None, eps: float = 1e-5) -> Any:
    axes = tuple(range(x.ndim - rank, x.ndim))
    return x / np.sqrt((x * x).mean(axes, keepdims=True) + eps) * (1 if weight is None else weight)


def slope(f: Any, x: Any) -> Any:
    """Central differences of a scalar function."""
    result = np.empty_like(x)
    for at in np.ndindex(x.shape):
        h = np.zeros_like(x)
        h[at] = 1e-6
        result[at] = (f(x + h) - f(x - h)) / 2e-6
    return result


@pytest.mark.parametrize(
    ("shape", "rank"), [((4, 7), 1), ((2, 3, 4), 2), ((5,), 1), ((3, 1), 1), ((0, 4), 1), ((6, 300), 1)]
)
@pytest.mark.parametrize("affine", [False, True])
def test_layer_norm_and_rms_norm(shape: tuple[int, ...], rank: int, affine: bool) -> None:
    x = (RNG.normal(size=shape) * 3 + 1).astype(np.float32)
    last = shape[-rank:]
    w, b = (
        (RNG.normal(size=last).astype(np.float32), RNG.normal(size=last).astype(np.float32)) if affine else (None, None)
    )
    tensors = [None if v is None else wf.asarray(v) for v in (w, b)]
    wide = x.astype(np.float64)
    np.testing.assert_allclose(
        F.layer_norm(wf.asarray(x), last, *tensors).numpy(), np_layer_norm(wide, rank, w, b), rtol=2e-5, atol=2e-5
    )
    np.testing.assert_allclose(
        F.rms_norm(wf.asarray(x), last, tensors[0], 1e-5).numpy(), np_rms_norm(wide, rank, w), rtol=2e-5, atol=2e-5
    )


def test_gradients_are_slopes() -> None:
    x, w, b, v = RNG.normal(size=(3, 5)), RNG.normal(size=5), RNG.normal(size=5), RNG.normal(size=(3, 5))
    args = [wf.asarray(a) for a in (x, w, b)]

    def loss(*t: Any) -> Any:
        return wf.sum(F.layer_norm(t[0], 5, t[1], t[2]) * wf.asarray(v))

    for k in range(3):

        def at(a: Any, k: int = k) -> Any:
            given = [a if i == k else o for i, o in enumerate((x, w, b))]
            return (np_layer_norm(given[0], 1, given[1], given[2]) * v).sum()

        np.testing.assert_allclose(
            wf.grad(loss, argnums=k)(*args).numpy(), slope(at, (x, w, b)[k]), rtol=1e-5, atol=1e-7
        )
    got = wf.grad(lambda t: wf.sum(F.rms_norm(t, (5,), args[1]) * wf.asarray(v)))(args[0]).numpy()
    np.testing.assert_allclose(
        got, slope(lambda a: (np_rms_norm(a, 1, w, 2.0**-52) * v).sum(), x), rtol=1e-5, atol=1e-7
    )


NORMS = {
    "batch": lambda x: F.batch_norm(x, None, None, training=True),
    "group": lambda x: F.group_norm(x, 2),
    "instance": F.instance_norm,
    "layer": lambda x: F.layer_norm(x, (4, 3)),
}


@pytest.mark.parametrize("name", NORMS)
def test_gradients_of_gradients_are_slopes_of_gradients(name: str) -> None:
    """The variance hands nothing back to the mean, and its gradient knows what the mean hangs on."""
    x, v, u = (RNG.normal(size=(2, 4, 3)) for _ in range(3))

    def gradient(t: Any) -> Any:
        return wf.grad(lambda s: wf.sum(NORMS[name](s) * wf.asarray(v)))(t)

    def along(t: Any) -> Any:
        return wf.sum(gradient(t) * wf.asarray(u))

    whole = slope(lambda a: (NORMS[name](wf.asarray(a)).numpy() * v).sum(), x)
    np.testing.assert_allclose(gradient(wf.asarray(x)).numpy(), whole, rtol=1e-4, atol=1e-7)
    twice = slope(lambda a: along(wf.asarray(a)).item(), x)
    np.testing.assert_allclose(wf.grad(along)(wf.asarray(x)).numpy(), twice, rtol=1e-4, atol=1e-6)


def test_rows_do_not_depend_on_the_batch() -> None:
    x = RNG.normal(size=(9, 133)).astype(np.float32)
    whole = F.layer_norm(wf.asarray(x), 133).numpy()
    assert all(F.layer_norm(wf.asarray(x[i : i + 1]), 133).numpy().tobytes() == whole[i].tobytes() for i in range(9))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits_are_computed_in_float32(dtype: str) -> None:
    x = wf.astype(wf.asarray(RNG.normal(size=(4, 50)).astype(np.float32)), dtype)
    got, wide = F.layer_norm(x, 50), F.layer_norm(wf.astype(x, "float32"), 50)
    assert got.dtype.name == dtype and got.numpy().tobytes() == wf.astype(wide, dtype).numpy().tobytes()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.layer_norm(wf.zeros((2, 3)), (2,)), wf.ShapeError, r"layer_norm: input \(2, 3\) does not end with"),
        (lambda: F.layer_norm(wf.zeros((2, 3)), 3, wf.zeros((2,))), wf.ShapeError, r"layer_norm: weight \(2,\)"),
        (lambda: F.layer_norm(wf.asarray([[1, 2]]), 2), wf.DTypeError, "layer_norm: int64 operands"),
    ],
)
def test_operands_that_do_not_fit(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


# --- channels ---------------------------------------------------------------------------------------------------


def np_channels(x: Any, axes: tuple[int, ...], weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """In the dtype of x."""
    shape = (x.shape[1], *(1,) * (x.ndim - 2))
    y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)
    return y * (1 if weight is None else weight.reshape(shape)) + (0 if bias is None else bias.reshape(shape))


def np_groups(x: Any, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    y = np_channels(x.reshape(x.shape[0], groups, -1), (2,), eps=eps).reshape(x.shape)
    shape = (x.shape[1], *(1,) * (x.ndim - 2))
    return y * (1 if weight is None else weight.reshape(shape)) + (0 if bias is None else bias.reshape(shape))


def np_local_response(x: Any, size: int, alpha: float, beta: float, k: float) -> Any:
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        near = x[:, max(c - size // 2, 0) : c + (size - 1) // 2 + 1]
        y[:, c] = x[:, c] / (k + alpha / size * (near * near).sum(1)) ** beta
    return y


def wide(*shape: int) -> Any:
    return RNG.normal(size=shape) * 2 + 0.5


@pytest.mark.parametrize("shape", [(4, 6), (3, 6, 5), (2, 6, 3, 4), (2, 6, 2, 3, 2), (2, 6, 30, 41)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_channels_in_numpy(shape: tuple[int, ...], dtype: str) -> None:
    x, weight, bias = wide(*shape).astype(dtype), wide(6).astype(dtype), wide(6).astype(dtype)
    exact, tensors = [v.astype(np.float64) for v in (x, weight, bias)], [wf.asarray(v) for v in (x, weight, bias)]
    limit = 2e-5 if dtype == "float32" else 1e-12

    def compare(got: Any, wanted: Any) -> None:
        assert got.dtype.name == dtype
        np.testing.assert_allclose(got.numpy(), wanted, rtol=limit, atol=limit)

    given, w, b = tensors
    over = (0, *range(2, len(shape)))
    compare(F.batch_norm(given, None, None, w, b, training=True), np_channels(exact[0], over, *exact[1:]))
    compare(F.group_norm(given, 3, w, b, 1e-2), np_groups(exact[0], 3, *exact[1:], eps=1e-2))
    mean, var = np.arange(6.0), np.arange(1.0, 7.0)
    each = (6, *(1,) * (len(shape) - 2))
    wanted = (exact[0] - mean.reshape(each)) / np.sqrt(var.reshape(each) + 1e-5)
    compare(F.batch_norm(given, *(wf.asarray(v.astype(dtype)) for v in (mean, var))), wanted)
    if len(shape) > 2:
        compare(F.instance_norm(given, None, None, w, b), np_channels(exact[0], over[1:], *exact[1:]))
        compare(F.local_response_norm(given, 3, 0.1, 0.6, 2.0), np_local_response(exact[0], 3, 0.1, 0.6, 2.0))


def test_what_is_tracked() -> None:
    x = wide(4, 3, 5)
    for share in (0.25, wf.asarray(0.25, dtype=wf.float64)):
        mean, var = wf.asarray(wide(3)), wf.asarray(wide(3) ** 2)
        before = mean.numpy().copy(), var.numpy().copy()
        F.batch_norm(wf.asarray(x), mean, var, training=True, momentum=share)
        np.testing.assert_allclose(mean.numpy(), 0.75 * before[0] + 0.25 * x.mean((0, 2)), rtol=1e-12)
        np.testing.assert_allclose(var.numpy(), 0.75 * before[1] + 0.25 * x.var((0, 2), ddof=1), rtol=1e-12)
    before = mean.numpy().copy(), var.numpy().copy()
    F.instance_norm(wf.asarray(x), mean, var, momentum=0.25)
    np.testing.assert_allclose(mean.numpy(), 0.75 * before[0] + 0.25 * x.mean(2).mean(0), rtol=1e-12)
    np.testing.assert_allclose(var.numpy(), 0.75 * before[1] + 0.25 * x.var(2, ddof=1).mean(0), rtol=1e-12)
    only = wf.asarray(wide(3))
    F.batch_norm(wf.asarray(x), only, None, training=True, momentum=1.0)
    np.testing.assert_allclose(only.numpy(), x.mean((0, 2)), rtol=1e-12)


def test_a_great_mean_costs_no_digits() -> None:
    x = (RNG.normal(size=(64, 2, 50)) + 1e4).astype(np.float32)
    got = F.batch_norm(wf.asarray(x), None, None, training=True).numpy()
    np.testing.assert_allclose(got, np_channels(x.astype(np.float64), (0, 2)), atol=2e-3)  # the mean's last digit: 1e-3


def test_gradients_of_channels_are_slopes() -> None:
    x, w, b, mean, var = wide(3, 4, 2), wide(4), wide(4), wide(4), wide(4) ** 2 + 0.5
    check_gradient(lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), x, w, b)
    check_gradient(lambda x, mean, var, w, b: F.batch_norm(x, mean, var, w, b), x, mean, var, w, b)
    check_gradient(lambda x, w, b: F.instance_norm(x, None, None, w, b), wide(2, 4, 3), w, b, tolerance=1e-5)
    check_gradient(lambda x, w, b: F.group_norm(x, 2, w, b), x, w, b)
    check_gradient(lambda x: F.local_response_norm(x, 3, 0.5), x)
    for p in (1.0, 2.0, 3.0, float("inf")):
        check_gradient(lambda x, p=p: F.normalize(x, p), wide(3, 4))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_channels_of_16_bits_are_computed_in_float32(dtype: str) -> None:
    x = wf.astype(wf.asarray(wide(4, 6, 5).astype(np.float32)), dtype)
    for f in (
        lambda x: F.batch_norm(x, None, None, training=True),
        lambda x: F.instance_norm(x),
        lambda x: F.group_norm(x, 3),
        lambda x: F.local_response_norm(x, 3, 0.5),
        lambda x: F.normalize(x),
    ):
        got = f(x)
        assert got.dtype.name == dtype
        assert got.numpy().tobytes() == wf.astype(f(wf.astype(x, "float32")), dtype).numpy().tobytes()


def test_elements_that_do_not_lie_side_by_side() -> None:
    x = wide(5, 3, 6, 4).astype(np.float32)
    turned = wf.asarray(x).permute(3, 2, 0, 1)
    plain = wf.asarray(np.ascontiguousarray(x.transpose(3, 2, 0, 1)))
    for f in (
        lambda x: F.batch_norm(x, None, None, training=True),
        lambda x: F.instance_norm(x),
        lambda x: F.group_norm(x, 3),
        lambda x: F.local_response_norm(x, 3),
        lambda x: F.normalize(x, 2.0, (1, -1)),
    ):
        assert f(turned).numpy().tobytes() == f(plain).numpy().tobytes()


def test_gradients_of_gradients_are_slopes() -> None:
    x = wide(3, 2, 2)
    for f in (
        lambda x: F.batch_norm(x, None, None, training=True),
        lambda x: F.instance_norm(wf.reshape(x, (1, 2, 6))),
        lambda x: F.group_norm(x, 1),
        lambda x: F.local_response_norm(x, 2, 0.5),
        lambda x: F.normalize(x),
    ):
        check_gradient(wf.grad(lambda x, f=f: wf.sum(f(x) ** 3)), x, tolerance=1e-5)


@few(
    13,
    120,
    rest=st.lists(st.integers(1, 5), max_size=3),
    batch=st.integers(1, 9),
    groups=st.integers(1, 3),
    each=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_channels_of_any_shape(rest: list[int], batch: int, groups: int, each: int, seed: int) -> None:
    shape = (batch, groups * each, *rest)
    x = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    exact, count = x.astype(np.float64), batch * int(np.prod(rest))
    over = (0, *range(2, len(shape)))
    if count > 1:
        got = F.batch_norm(wf.asarray(x), None, None, training=True)
        np.testing.assert_allclose(got.numpy(), np_channels(exact, over), rtol=1e-4, atol=1e-4)
    if count * each > 1:
        got = F.group_norm(wf.asarray(x), groups, eps=1e-3)
        np.testing.assert_allclose(got.numpy(), np_groups(exact, groups, eps=1e-3), rtol=1e-4, atol=1e-4)
    if int(np.prod(rest)) > 1:
        got = F.instance_norm(wf.asarray(x), eps=1e-3)
        np.testing.assert_allclose(got.numpy(), np_channels(exact, over[1:], eps=1e-3), rtol=1e-4, atol=1e-4)


def test_normalize() -> None:
    x = wide(3, 4, 2)
    for p, dim in ((2.0, 1), (1.0, 0), (float("inf"), -1), (3.0, (0, 2))):
        wanted = (np.abs(x) ** p).sum(dim, keepdims=True) ** (1 / p) if p < 9 else np.abs(x).max(dim, keepdims=True)
        np.testing.assert_allclose(F.normalize(wf.asarray(x), p, dim).numpy(), x / wanted, rtol=1e-12)
    zero = wf.zeros((2, 3)).requires_grad_()
    y = F.normalize(zero, eps=0.5)
    y.sum().backward()
    assert y.tolist() == [[0.0] * 3] * 2 and zero.grad.tolist() == [[2.0] * 3] * 2


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.batch_norm(wf.zeros((2, 3)), None, None), wf.ArgumentError, "batch_norm: running_mean and"),
        (lambda: F.batch_norm(wf.zeros((2, 3)), wf.zeros(3), None), wf.ArgumentError, "running_mean and running_var"),
        (lambda: F.batch_norm(wf.zeros(3), None, None, training=True), wf.ShapeError, r"batch_norm: input \(3,\)"),
        (
            lambda: F.batch_norm(wf.zeros((2, 3)), wf.zeros(2), wf.ones(2), training=True),
            wf.ShapeError,
            r"running statistics \(2,\) for 3 channels",
        ),
        (lambda: F.batch_norm(wf.zeros((2, 3)), wf.zeros(2), wf.ones(2)), wf.ShapeError, r"running_mean \(2,\)"),
        (
            lambda: F.batch_norm(wf.zeros((2, 3)), None, None, wf.ones((3, 1)), training=True),
            wf.ShapeError,
            r"weight \(3, 1\)",
        ),
        (lambda: F.batch_norm(wf.zeros((2, 3)), None, None, training=True, eps=0.0), wf.ArgumentError, "eps is 0.0"),
        (lambda: F.batch_norm(wf.zeros((2, 3)), wf.zeros(3), wf.ones(3), eps=-1.0), wf.ArgumentError, "0 or more"),
        (lambda: F.batch_norm(wf.asarray([[1, 2]]), None, None, training=True), wf.DTypeError, "batch_norm: int64"),
        (lambda: F.instance_norm(wf.zeros((2, 3, 1))), wf.ShapeError, "instance_norm: .* one value"),
        (lambda: F.instance_norm(wf.zeros((2, 3, 4)), use_input_stats=False), wf.ArgumentError, "instance_norm: runn"),
        (lambda: F.group_norm(wf.zeros((2, 3, 4)), 2), wf.ShapeError, "3 channels are not 2 equal groups"),
        (lambda: F.group_norm(wf.zeros((2, 3, 4)), 0), wf.ShapeError, "3 channels are not 0 equal groups"),
        (lambda: F.group_norm(wf.zeros((1, 3)), 3), wf.ShapeError, "one value for each of 3 groups"),
        (lambda: F.local_response_norm(wf.zeros((2, 3, 4)), 0), wf.ArgumentError, "size is 0"),
        (lambda: F.normalize(wf.zeros(3)), wf.AxisError, "axis 1 is out of range"),
        (lambda: F.normalize(wf.asarray([[1, 2]])), wf.DTypeError, "normalize: int64"),
    ],
)
def test_channels_that_do_not_fit(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_captured_windows_and_channels_of_any_number_are_eager_ones() -> None:
    compiled = wf.compile(lambda x: F.local_response_norm(x, 6, 0.7))
    for channels in (5, 6, 2, 3, 4, 9, 1):
        x = wf.asarray(np.random.default_rng(channels).standard_normal((2, channels, 3)).astype(np.float32))
        assert compiled(x).numpy().tobytes() == F.local_response_norm(x, 6, 0.7).numpy().tobytes()


def test_a_window_may_be_larger_than_the_channels() -> None:
    torch = pytest.importorskip("torch")
    for channels in (1, 2, 5):
        values = np.random.default_rng(channels).standard_normal((2, channels, 3)).astype(np.float32)
        for size in range(1, 3 * channels + 2):
            x, theirs = wf.asarray(values).requires_grad_(), torch.tensor(values, requires_grad=True)
            ours = F.local_response_norm(x, size, 0.7)
            exact = torch.nn.functional.local_response_norm(theirs, size, 0.7)
            np.testing.assert_allclose(ours.detach().numpy(), exact.detach().numpy(), rtol=1e-5, atol=1e-6)
            ours.sum().backward()
            exact.sum().backward()
            np.testing.assert_allclose(x.grad.numpy(), theirs.grad.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [2**31, 2**62 + 1])
def test_a_huge_window_costs_as_much_as_all_channels(size: int) -> None:
    compiled = wf.compile(lambda x: F.local_response_norm(x, size, 1e9))
    for channels in (4, 5, 7):  # after the first, captured for any number
        values = np.random.default_rng(0).standard_normal((2, channels, 3)).astype(np.float32)
        expected = values / (1.0 + 1e9 / size * np.sum(values**2, axis=1, keepdims=True)) ** 0.75
        found = F.local_response_norm(wf.asarray(values), size, 1e9).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        assert compiled(wf.asarray(values)).numpy().tobytes() == found.tobytes()


@pytest.mark.parametrize("eps", [0.0, -0.5, -(2.0**63), float("nan")])
@pytest.mark.parametrize(
    "norm",
    [
        lambda f, x, ones, eps: f.layer_norm(x, (4,), eps=eps),
        lambda f, x, ones, eps: f.rms_norm(x, (4,), eps=eps),
        lambda f, x, ones, eps: f.group_norm(x, 3, eps=eps),
        lambda f, x, ones, eps: f.instance_norm(x, eps=eps),
        lambda f, x, ones, eps: f.instance_norm(x, ones, ones, use_input_stats=False, eps=eps),
        lambda f, x, ones, eps: f.batch_norm(x, None, None, training=True, eps=eps),
        lambda f, x, ones, eps: f.batch_norm(x, ones, ones, eps=eps),
    ],
    ids=["layer", "rms", "group", "instance", "instance by running", "batch", "batch by running"],
)
def test_any_eps_is_what_pytorch_makes_of_it(norm: Any, eps: float) -> None:
    """Only ``batch_norm`` refuses one."""
    torch = pytest.importorskip("torch")
    values = (1.3 * np.arange(24.0, dtype=np.float32)).reshape(2, 3, 4)
    try:
        exact = norm(torch.nn.functional, torch.tensor(values), torch.ones(3), eps)
    except ValueError:
        with pytest.raises(wf.ArgumentError, match="batch_norm: eps is"):
            norm(F, wf.asarray(values), wf.ones(3), eps)
    else:
        ours = norm(F, wf.asarray(values), wf.ones(3), eps)
        np.testing.assert_allclose(ours.numpy(), exact.numpy(), rtol=1e-4, atol=1e-5)
