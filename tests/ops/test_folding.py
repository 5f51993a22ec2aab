"""Unfold and fold: PyTorch's values, gradients and errors, each the other's gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from few_examples import few
from hypothesis import strategies as st
from op_cases import check_gradient, same_bits, values

import weft as wf
from weft.core.errors import ArgumentError, ShapeError
from weft.nn import functional as F

torch = pytest.importorskip("torch")

Case = tuple[tuple[int, ...], tuple[int, ...], dict[str, tuple[int, int]]]  # leading sizes, image, numbers


@st.composite
def cases(draw: Any) -> Case:
    def pair(low: int, high: int) -> tuple[int, int]:
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    options = {"kernel_size": pair(1, 5), "dilation": pair(1, 3), "padding": pair(0, 2), "stride": pair(1, 4)}
    image = tuple(
        max(1, d * (k - 1) + 1 - 2 * p) + draw(st.integers(0, 5))
        for k, d, p in zip(options["kernel_size"], options["dilation"], options["padding"], strict=True)
    )
    return draw(st.sampled_from(((2,), (1, 3), (3, 2)))), image, options


@few(15, 100, case=cases(), seed=st.integers(0, 99))
def test_values_and_gradients_are_pytorchs(case: Case, seed: int) -> None:
    lead, image, options = case
    x = values("float64", (*lead, *image), seed)
    mine, other = wf.asarray(x).requires_grad_(), torch.tensor(x, requires_grad=True)
    a, b = F.unfold(mine, **options), torch.nn.functional.unfold(other, **options)
    same_bits(a, b.detach().numpy())
    columns = values("float64", a.shape, seed + 1)
    a.backward(wf.asarray(columns))
    b.backward(torch.tensor(columns))
    np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=1e-13, atol=1e-13)

    mine, other = wf.asarray(columns).requires_grad_(), torch.tensor(columns, requires_grad=True)
    a, b = F.fold(mine, image, **options), torch.nn.functional.fold(other, image, **options)
    assert a.shape == tuple(b.shape)
    np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-13, atol=1e-13)
    a.backward(wf.asarray(x))
    b.backward(torch.tensor(x))
    same_bits(mine.grad, other.grad.numpy())


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3},
        {"kernel_size": (2, 3), "stride": 2, "padding": 1},
        {"kernel_size": 2, "dilation": 2, "stride": (1, 2)},
    ],
)
def test_gradients_of_gradients(options: Any) -> None:
    x = values("float64", (1, 4, 5), 0)
    columns = values("float64", F.unfold(wf.asarray(x), **options).shape, 1)
    for function, operand in ((lambda x: F.unfold(x, **options), x), (lambda y: F.fold(y, (4, 5), **options), columns)):
        check_gradient(function, operand)
        check_gradient(wf.grad(lambda v, f=function: (f(v) ** 3).sum()), operand, tolerance=1e-5)


def test_integers_are_exact() -> None:
    x = values("int32", (2, 3, 6, 7), 0)
    options: dict[str, Any] = {"kernel_size": (3, 2), "padding": 1, "stride": (2, 1)}
    columns = F.unfold(wf.asarray(x), **options)
    same_bits(columns, torch.nn.functional.unfold(torch.tensor(x).double(), **options).numpy().astype(np.int32))
    counts = F.fold(F.unfold(wf.ones((2, 3, 6, 7), dtype="int32"), **options), (6, 7), **options)
    small = wf.asarray(x % 100)
    same_bits(F.fold(F.unfold(small, **options), (6, 7), **options), (small * counts).numpy())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bits_are_rounded_once(dtype: str) -> None:
    y = wf.asarray(values(dtype, (2, 18, 30), 0))
    same_bits(F.fold(y, (7, 8), 3), F.fold(y.astype(wf.float32), (7, 8), 3).astype(dtype).numpy())


def test_compiled_bits_are_eager_bits_for_every_size() -> None:
    options: dict[str, Any] = {"kernel_size": (3, 2), "dilation": (1, 2), "padding": 1, "stride": (2, 1)}

    def function(x: wf.Tensor) -> Any:
        def loss(x: wf.Tensor) -> wf.Tensor:
            columns = F.gelu(F.unfold(x, **options))
            return (F.fold(columns, x.shape[-2:], **options) ** 2).sum()

        return wf.value_and_grad(loss)(x)

    compiled = wf.compile(function)
    for shape in ((2, 3, 6, 7), (3, 3, 6, 7), (4, 3, 6, 7), (2, 3, 9, 8), (2, 3, 12, 5)):
        x = wf.asarray(values("float32", shape, 0))
        for eager, again in zip(function(x), compiled(x), strict=True):
            same_bits(again, eager.numpy())
    assert str(wf.eval_shape(lambda x: F.unfold(x, 2), wf.spec(("n", 3, 4, 5)))) == "float32[n, 12, 12]"
    assert str(wf.eval_shape(lambda y: F.fold(y, (4, 5), 2), wf.spec(("n", 12, 12)))) == "float32[n, 3, 4, 5]"


def test_views_empty_batches_and_one_number_for_both() -> None:
    x = wf.asarray(values("float32", (2, 4, 6, 8), 0))
    for view in (x.mT, wf.flip(x, axis=(1, 3)), x[:, :, ::2]):
        same_bits(F.unfold(view, 2, padding=1), F.unfold(view.clone(), (2, 2), padding=(1, 1)).numpy())
    y = F.unfold(x, 3).mT
    same_bits(F.fold(y.mT, (6, 8), 3), F.fold(y.mT.clone(), [6, 8], (3,), 1, 0, np.int64(1)).numpy())
    same_bits(F.fold(F.unfold(x, 2, stride=2), (6, 8), 2, stride=2), x.numpy())
    assert F.unfold(wf.ones((0, 2, 4, 4)), 2).shape == (0, 8, 9) and F.fold(wf.ones((0, 8, 9)), 4, 2).shape == (
        0,
        2,
        4,
        4,
    )


def test_a_gradient_writes_no_places() -> None:
    """It is a sum of windows, not a table of where each element goes."""
    x = wf.asarray(values("float32", (2, 8, 32, 32), 0))
    gradient = wf.compile(wf.grad(lambda x: (F.unfold(x, 5, padding=2) ** 2).sum()))
    assert gradient.explain(x).arena_nbytes < 3 * 25 * x.nbytes


BAD_UNFOLD: list[tuple[str, tuple[int, ...], dict[str, Any], str]] = [
    ("axes", (4, 4), {"kernel_size": 2}, "wants an input (N, C, H, W)"),
    ("window", (1, 1, 3, 4), {"kernel_size": (4, 1)}, "spans 4 elements does not fit into 3"),
    ("kernel", (1, 1, 3, 4), {"kernel_size": 0}, "kernel_size is 0"),
    ("stride", (1, 1, 3, 4), {"kernel_size": 1, "stride": 0}, "stride is 0"),
    ("dilation", (1, 1, 3, 4), {"kernel_size": 1, "dilation": 0}, "dilation is 0"),
    ("padding", (1, 1, 3, 4), {"kernel_size": 1, "padding": -1}, "padding is -1"),
    ("numbers", (1, 1, 3, 4), {"kernel_size": (1, 1, 1)}, "or 2 of them"),
]
BAD_FOLD: list[tuple[str, tuple[int, ...], dict[str, Any], str]] = [
    ("axes", (1, 1, 4, 4), {"output_size": 3, "kernel_size": 2}, "(N, C * 4, L)"),
    ("rows", (1, 6, 4), {"output_size": 3, "kernel_size": 2}, "a multiple of 4"),
    ("columns", (1, 4, 5), {"output_size": 3, "kernel_size": 2}, "2 * 2 of them"),
    ("window", (1, 4, 1), {"output_size": 1, "kernel_size": 2}, "does not fit into 1"),
    ("sizes", (1, 4, 4), {"output_size": (3, 3, 3), "kernel_size": 2}, "two sizes"),
    ("stride", (1, 4, 4), {"output_size": 3, "kernel_size": 2, "stride": 0}, "stride is 0"),
]


@pytest.mark.parametrize(
    ("name", "shape", "options", "says"),
    [pytest.param(f, *c[1:], id=f"{f} {c[0]}") for f, bad in (("unfold", BAD_UNFOLD), ("fold", BAD_FOLD)) for c in bad],
)
def test_what_does_not_fit_is_refused_as_in_pytorch(name: str, shape: Any, options: Any, says: str) -> None:
    with pytest.raises((ShapeError, ArgumentError)) as caught:
        getattr(F, name)(wf.ones(shape), **options)
    assert caught.value.message.startswith(name) and says in caught.value.message
    with pytest.raises((RuntimeError, TypeError, ValueError, IndexError)):
        getattr(torch.nn.functional, name)(torch.ones(shape), **options)
