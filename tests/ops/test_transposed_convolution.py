"""Transposed convolutions: PyTorch's values, gradients and errors; the adjoint of a convolution; no zeros between the
input's elements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from few_examples import few
from hypothesis import strategies as st
from op_cases import same_bits, values

import weft as wf
from weft.core.errors import ArgumentError, DTypeError, ShapeError
from weft.nn import functional as F

torch = pytest.importorskip("torch")

OURS = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
THEIRS = (
    torch.nn.functional.conv_transpose1d,
    torch.nn.functional.conv_transpose2d,
    torch.nn.functional.conv_transpose3d,
)
FORWARD = (F.conv1d, F.conv2d, F.conv3d)


@dataclass(frozen=True)
class Case:
    """Shapes and numbers of one transposed convolution."""

    batch: int
    groups: int
    inside: int  # channels of a group
    outside: int
    spatial: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    output_padding: tuple[int, ...]
    dilation: tuple[int, ...]

    @property
    def rank(self) -> int:
        return len(self.spatial)

    @property
    def options(self) -> dict[str, Any]:
        names = ("stride", "padding", "output_padding", "groups", "dilation")
        return {name: getattr(self, name) for name in names}

    def operands(self, dtype: str, seed: int = 0) -> tuple[Any, Any, Any]:
        """Input, weight and bias."""
        shape = (self.batch, self.groups * self.inside, *self.spatial)
        weight = (self.groups * self.inside, self.outside, *self.kernel)
        bias = (self.groups * self.outside,)
        return values(dtype, shape, seed), values(dtype, weight, seed + 1), values(dtype, bias, seed + 2)


@st.composite
def cases(draw: Any, most: int = 5) -> Case:
    rank = draw(st.integers(1, 3))

    def each(of: Any) -> tuple[int, ...]:
        return tuple(draw(of) for _ in range(rank))

    kernel, dilation, stride = each(st.integers(1, 4)), each(st.integers(1, 3)), each(st.integers(1, 3))
    more = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    padding, spatial = each(st.integers(0, 3)), each(st.integers(1, most))
    spatial = tuple(  # so that something is left
        n + (2 * p // s + 1 if (n - 1) * s - 2 * p + d * (k - 1) + m + 1 < 1 else 0)
        for n, k, s, p, d, m in zip(spatial, kernel, stride, padding, dilation, more, strict=True)
    )
    groups = draw(st.sampled_from((1, 1, 2, 3)))
    channels = st.sampled_from((1, 2, 5))
    batch = draw(st.sampled_from((1, 1, 2, 3)))
    return Case(batch, groups, draw(channels), draw(channels), spatial, kernel, stride, padding, more, dilation)


@few(5, 40, case=cases(), seed=st.integers(0, 99), with_bias=st.booleans())
def test_values_and_gradients_are_pytorchs(case: Case, seed: int, with_bias: bool) -> None:
    arrays = case.operands("float64", seed)[: 2 + with_bias]
    mine, other = (
        [wf.asarray(v).requires_grad_() for v in arrays],
        [torch.tensor(v, requires_grad=True) for v in arrays],
    )
    ours, theirs = OURS[case.rank - 1](*mine, **case.options), THEIRS[case.rank - 1](*other, **case.options)
    assert ours.shape == tuple(theirs.shape)
    np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=1e-12, atol=1e-12)
    cotangent = values("float64", ours.shape, seed + 3)
    ours.backward(wf.asarray(cotangent))
    theirs.backward(torch.tensor(cotangent))
    for a, b in zip(mine, other, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-11, atol=1e-11)


@few(3, 30, case=cases(most=3), seed=st.integers(0, 99))
def test_second_gradients_are_pytorchs(case: Case, seed: int) -> None:
    x, w, _ = case.operands("float64", seed)

    def inner(x: wf.Tensor, w: wf.Tensor) -> wf.Tensor:
        return (OURS[case.rank - 1](x, w, **case.options) ** 2).sum()

    def outer(x: wf.Tensor, w: wf.Tensor) -> wf.Tensor:
        dx, dw = wf.grad(inner, argnums=(0, 1))(x, w)
        return (dx * dx).sum() + (dw * dw).sum()

    found = wf.grad(outer, argnums=(0, 1))(wf.asarray(x), wf.asarray(w))
    theirs = [torch.tensor(v, requires_grad=True) for v in (x, w)]
    result = (THEIRS[case.rank - 1](*theirs, **case.options) ** 2).sum()
    first = torch.autograd.grad(result, theirs, create_graph=True)
    wanted = torch.autograd.grad((first[0] ** 2).sum() + (first[1] ** 2).sum(), theirs)
    for mine, other in zip(found, wanted, strict=True):
        scale = 1 + float(np.abs(other.numpy()).max(initial=0))
        np.testing.assert_allclose(mine.numpy() / scale, other.numpy() / scale, rtol=1e-9, atol=1e-12)


@few(4, 40, case=cases(), seed=st.integers(0, 99))
def test_it_is_the_adjoint_of_a_convolution(case: Case, seed: int) -> None:
    """``<conv(y), x> == <y, conv_transpose(x)>``, of integers to the last digit."""
    x, w, _ = (wf.asarray(v % 7) for v in case.operands("int64", seed))
    found = OURS[case.rank - 1](x, w, **case.options)
    y = wf.asarray(values("int64", found.shape, seed + 4) % 7)
    options = {name: value for name, value in case.options.items() if name != "output_padding"}
    down = FORWARD[case.rank - 1](y, w, **options)
    inside = tuple(slice(0, n) for n in x.shape)  # a convolution may have windows in what output_padding adds
    assert int((down[inside] * x).sum().item()) == int((y * found).sum().item())


@few(4, 30, case=cases(), seed=st.integers(0, 99))
def test_compiled_bits_are_eager_bits(case: Case, seed: int) -> None:
    x, w, b = (wf.asarray(v) for v in case.operands("float32", seed))

    def loss(x: wf.Tensor, w: wf.Tensor, b: wf.Tensor) -> wf.Tensor:
        return F.gelu(OURS[case.rank - 1](x, w, b, **case.options)).sum()

    gradient = wf.value_and_grad(loss, argnums=(0, 1, 2))
    (value, eager), (again, compiled) = gradient(x, w, b), wf.compile(gradient)(x, w, b)
    same_bits(again, value.numpy())
    for a, c in zip(eager, compiled, strict=True):
        same_bits(c, a.numpy())


def test_sizes_may_change() -> None:
    """One function for batches and images of several sizes, with eager bits."""
    w, b = wf.asarray(values("float32", (3, 4, 3, 4), 1)), wf.asarray(values("float32", (4,), 2))

    def function(x: wf.Tensor) -> wf.Tensor:
        return F.conv_transpose2d(x, w, b, stride=(2, 3), padding=(1, 2), output_padding=1)

    compiled = wf.compile(function)
    for shape in ((2, 3, 5, 6), (3, 3, 5, 6), (5, 3, 7, 4), (4, 3, 9, 11), (1, 3, 1, 2)):
        x = wf.asarray(values("float32", shape, 0))
        same_bits(compiled(x), function(x).numpy())
    assert str(wf.eval_shape(function, wf.spec(("n", 3, "h", 6)))) == "float32[n, 4, 2*h, 16]"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bits_are_rounded_once(dtype: str) -> None:
    arrays = [wf.asarray(values(dtype, s, i)) for i, s in enumerate(((2, 3, 5, 6), (3, 4, 3, 3), (4,)))]
    for operands in (arrays, arrays[:2]):
        wide = F.conv_transpose2d(*(v.astype(wf.float32) for v in operands), stride=2, padding=1)
        same_bits(F.conv_transpose2d(*operands, stride=2, padding=1), wide.astype(dtype).numpy())


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_without_a_batch(rank: int) -> None:
    x, w, b = (values("float32", s, i) for i, s in enumerate(((3, *(4,) * rank), (3, 5, *(3,) * rank), (5,))))
    alone = OURS[rank - 1](wf.asarray(x), wf.asarray(w), wf.asarray(b), stride=2, padding=1)
    batch = OURS[rank - 1](wf.asarray(x[None]), wf.asarray(w), wf.asarray(b), stride=2, padding=1)
    same_bits(alone, batch.numpy()[0])


def test_operands_are_read_where_they_lie() -> None:
    x, w = wf.asarray(values("float32", (2, 6, 8, 10), 0)), wf.asarray(values("float32", (6, 4, 3, 3), 1))
    for view in (lambda t: t.mT, lambda t: wf.flip(t, axis=(1, 3)), lambda t: t[:, :, ::2]):
        a, b = view(x), view(w)
        same_bits(F.conv_transpose2d(a, b, stride=2), F.conv_transpose2d(a.clone(), b.clone(), stride=2).numpy())


def test_numbers_may_be_given_once_or_for_each_axis() -> None:
    x, w = wf.asarray(values("float32", (1, 2, 5, 5), 0)), wf.asarray(values("float32", (2, 3, 3, 3), 1))
    once = F.conv_transpose2d(x, w, None, 3, 1, 2, 1, 2)
    options = {"stride": [3, 3], "padding": np.array([1, 1]), "output_padding": (2,), "dilation": np.int64(2)}
    same_bits(F.conv_transpose2d(x, w, **options), once.numpy())


def test_an_empty_batch_has_gradients() -> None:
    x, w, b = (wf.ones(s).requires_grad_() for s in ((0, 3, 4, 4), (3, 2, 3, 3), (2,)))
    result = F.conv_transpose2d(x, w, b, stride=2)
    assert result.shape == (0, 2, 9, 9)
    result.sum().backward()
    assert x.grad.shape == x.shape and not w.grad.numpy().any() and not b.grad.numpy().any()


def test_no_zeros_are_written_between_elements() -> None:
    """With stride 4, 16 times the input's memory; what is computed per rest needs its padded input and result alone."""
    x, w = wf.asarray(values("float32", (2, 64, 32, 32), 0)), wf.asarray(values("float32", (64, 4, 4, 4), 1))
    function = wf.compile(lambda x, w: F.conv_transpose2d(x, w, stride=4))
    assert function.explain(x, w).arena_nbytes < 4 * x.nbytes


BAD: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("channels", ((1, 3, 8, 8), (4, 2, 3, 3)), {}, "3 channels, the weight wants 4"),
    ("groups", ((1, 4, 8, 8), (4, 3, 3, 3)), {"groups": 3}, "not 3 equal groups"),
    ("no groups", ((1, 4, 8, 8), (4, 3, 3, 3)), {"groups": 0}, "not 0 equal groups"),
    ("rank of the input", ((8, 8), (4, 2, 3, 3)), {}, "wants input (N, C, H, W)"),
    ("rank of the weight", ((1, 2, 8, 8), (2, 2, 3)), {}, "a weight of 4 axes"),
    ("padding takes all", ((1, 2, 1, 8), (2, 4, 1, 3)), {"padding": 1}, "takes away all there is"),
    ("output_padding", ((1, 2, 8, 8), (2, 4, 3, 3)), {"output_padding": 1}, "below the stride (1, 1)"),
    ("output_padding below 0", ((1, 2, 8, 8), (2, 4, 3, 3)), {"output_padding": -1}, "at least 0"),
    ("stride", ((1, 2, 8, 8), (2, 4, 3, 3)), {"stride": 0}, "stride is 0; it is at least 1"),
    ("dilation", ((1, 2, 8, 8), (2, 4, 3, 3)), {"dilation": 0}, "dilation is 0; it is at least 1"),
    ("padding", ((1, 2, 8, 8), (2, 4, 3, 3)), {"padding": -1}, "padding is -1; it is at least 0"),
    ("numbers", ((1, 2, 8, 8), (2, 4, 3, 3)), {"stride": (1, 2, 3)}, "stride"),
    ("output_paddings", ((1, 2, 8, 8), (2, 4, 3, 3)), {"output_padding": (0, 0, 0)}, "or 2 of them"),
    ("empty kernel", ((1, 2, 8, 8), (2, 4, 0, 3)), {}, "no elements"),
    ("empty image", ((1, 2, 0, 8), (2, 4, 3, 3)), {}, "no elements"),
    ("bias", ((1, 2, 8, 8), (2, 4, 3, 3), (2,)), {}, "one number for each of 4 channels"),
]


@pytest.mark.parametrize(("shapes", "options", "says"), [c[1:] for c in BAD], ids=[c[0] for c in BAD])
def test_what_does_not_fit_is_refused_as_in_pytorch(shapes: Any, options: Any, says: str) -> None:
    with pytest.raises((ShapeError, ArgumentError)) as caught:
        F.conv_transpose2d(*(wf.ones(s) for s in shapes), **options)
    assert "conv_transpose2d" in caught.value.message and says in caught.value.message
    with pytest.raises((RuntimeError, TypeError, ValueError)):
        torch.nn.functional.conv_transpose2d(*(torch.ones(s) for s in shapes), **options)


def test_bools_are_refused() -> None:
    with pytest.raises(DTypeError, match="conv_transpose1d"):
        F.conv_transpose1d(wf.ones((1, 2, 3), dtype="bool"), wf.ones((2, 1, 3), dtype="bool"))


def test_a_stride_beyond_all_memory() -> None:
    """One element goes nowhere: nothing is made for each of the stride's rests."""
    x, w = wf.ones((1, 1, 1)), wf.asarray([[[1.0, 2.0, 3.0]]])
    for stride in (2**31, 2**40, 2**62):
        assert F.conv_transpose1d(x, w, stride=stride).tolist() == [[[1.0, 2.0, 3.0]]]
