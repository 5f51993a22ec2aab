"""Convolutions: the bits of the product with unfolded windows, PyTorch's values, gradients and errors, no windows in
memory."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pytest
from few_examples import few
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from op_cases import same_bits, values

import weft as wf
from weft.compiler.kernels import Contraction, Windowed
from weft.core.errors import ArgumentError, DTypeError, ShapeError
from weft.nn import functional as F

torch = pytest.importorskip("torch")

OURS = (F.conv1d, F.conv2d, F.conv3d)
THEIRS = (torch.nn.functional.conv1d, torch.nn.functional.conv2d, torch.nn.functional.conv3d)


@dataclass(frozen=True)
class Case:
    """Shapes and numbers of one convolution."""

    batch: int
    groups: int
    inside: int  # channels of a group
    outside: int
    spatial: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    @property
    def rank(self) -> int:
        return len(self.spatial)

    @property
    def options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("stride", "padding", "dilation", "groups")}

    def operands(self, dtype: str, seed: int = 0) -> tuple[Any, Any, Any]:
        """Input, weight and bias."""
        shape = (self.batch, self.groups * self.inside, *self.spatial)
        weight = (self.groups * self.outside, self.inside, *self.kernel)
        return values(dtype, shape, seed), values(dtype, weight, seed + 1), values(dtype, weight[:1], seed + 2)


@st.composite
def cases(draw: Any, most: int = 9) -> Case:
    rank = draw(st.integers(1, 3))
    small = st.integers(1, 3)

    def each(of: Any) -> tuple[int, ...]:
        return tuple(draw(of) for _ in range(rank))

    kernel, dilation, padding = each(small), each(small), each(st.integers(0, 2))
    spatial = tuple(
        max(1, d * (k - 1) + 1 - 2 * p) + draw(st.integers(0, most))
        for k, d, p in zip(kernel, dilation, padding, strict=True)
    )
    groups = draw(st.sampled_from((1, 1, 2, 3)))
    channels = st.sampled_from((1, 2, 5) if rank == 3 else (1, 2, 7, 33))
    batch = draw(st.sampled_from((0, 1, 1, 2, 3)))
    return Case(batch, groups, draw(channels), draw(channels), spatial, kernel, each(small), padding, dilation)


def unfolded(case: Case, x: Any) -> Any:
    """The windows of the padded input: (N, groups, C / groups * kernel, positions)."""
    r = case.rank
    x = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in case.padding)])
    spans = tuple(d * (k - 1) + 1 for k, d in zip(case.kernel, case.dilation, strict=True))
    windows = sliding_window_view(x, spans, axis=tuple(range(2, 2 + r)))
    windows = windows[(slice(None), slice(None), *(slice(None, None, s) for s in case.stride))]
    windows = windows[(..., *(slice(None, None, d) for d in case.dilation))]
    results = windows.shape[2 : 2 + r]
    windows = windows.transpose(0, 1, *range(2 + r, 2 + 2 * r), *range(2, 2 + r))
    depth = case.inside * int(np.prod(case.kernel))
    return np.ascontiguousarray(windows).reshape(case.batch, case.groups, depth, int(np.prod(results))), results


def by_matmul(case: Case, x: Any, w: Any) -> wf.Tensor:
    """The contraction that numerics.md names: the weight, as matrices, with windows that are written down."""
    windows, results = unfolded(case, x)
    matrices = w.reshape(1, case.groups, case.outside, -1)
    found = wf.matmul(wf.asarray(matrices), wf.asarray(windows))
    return found.reshape((case.batch, case.groups * case.outside, *results))


DTYPES = ("float32", "float32", "float64", "float16", "bfloat16", "int8", "int64")


@few(5, 45, case=cases(), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 99), threads=st.integers(1, 2))
def test_it_has_the_bits_of_the_product_with_unfolded_windows(case: Case, dtype: str, seed: int, threads: int) -> None:
    x, w, _ = case.operands(dtype, seed)
    before = wf.get_num_threads()
    wf.set_num_threads(threads)
    try:
        found = OURS[case.rank - 1](wf.asarray(x), wf.asarray(w), **case.options)
        same_bits(found, by_matmul(case, x, w).numpy())
    finally:
        wf.set_num_threads(before)


LARGE = [
    Case(2, 1, 70, 33, (23, 29), (3, 3), (1, 1), (1, 1), (1, 1)),  # several K blocks, ragged tiles
    Case(1, 1, 3, 40, (61, 64), (7, 7), (2, 2), (3, 3), (1, 1)),
    Case(1, 2, 40, 20, (30, 31), (3, 2), (1, 2), (0, 1), (2, 1)),
    Case(2, 1, 64, 70, (7, 7), (3, 3), (1, 1), (1, 1), (1, 1)),  # rows shorter than a vector
    Case(1, 1, 40, 20, (50, 60), (1, 1), (1, 1), (0, 0), (1, 1)),  # a plain product
    Case(1, 1, 40, 20, (50, 60), (1, 1), (2, 3), (0, 0), (1, 1)),
    Case(1, 30, 1, 1, (40, 50), (3, 3), (1, 1), (1, 1), (1, 1)),  # depthwise
    Case(2, 5, 1, 1, (90, 61), (3, 3), (2, 2), (1, 1), (1, 1)),
    Case(1, 3, 1, 4, (37, 33), (5, 5), (1, 2), (2, 1), (2, 1)),  # four channels of the result for each
    Case(1, 2, 20, 2, (9, 70), (3, 3), (1, 1), (1, 1), (1, 1)),  # few rows, long sums
    Case(1, 2, 60, 2, (9, 30), (3, 3), (1, 1), (1, 1), (1, 1)),  # few rows, several K blocks
    Case(1, 4, 2, 3, (9001,), (7,), (1,), (3,), (1,)),
    Case(5, 1, 300, 30, (7, 7), (3, 3), (1, 1), (1, 1), (1, 1)),  # tiles with columns of several images
    Case(19, 1, 20, 13, (3, 2), (2, 2), (1, 1), (1, 1), (1, 1)),
    Case(1, 1, 300, 3, (1100,), (2,), (1,), (0,), (1,)),
    Case(1, 1, 5, 400, (2500,), (1,), (1,), (0,), (1,)),
    Case(1, 1, 8, 9, (9, 10, 11), (3, 3, 3), (1, 2, 1), (1, 1, 1), (1, 1, 1)),
    Case(1, 1, 3, 1, (4, 4), (4, 4), (1, 1), (0, 0), (1, 1)),  # one position
    Case(2, 1, 70, 33, (37, 48), (3, 3), (2, 1), (1, 1), (1, 1)),  # lines of whole vectors: read from a box
    Case(2, 2, 40, 100, (9, 64), (2, 3), (1, 1), (1, 2), (1, 2)),
    Case(3, 1, 30, 20, (1500,), (5,), (1,), (4,), (2,)),
]


@pytest.mark.one_in(4)
@pytest.mark.parametrize("isa", [None, "avx2", "generic"])
@pytest.mark.parametrize("case", LARGE, ids=str)
def test_larger_ones_on_every_isa_and_compiled(case: Case, isa: str | None) -> None:
    """Bits are those of the unfolded product, for input, weight and bias, gradients those of eager code."""
    x, w, b = (wf.asarray(v) for v in case.operands("float32"))
    wanted = by_matmul(case, x.numpy(), w.numpy())
    ours = OURS[case.rank - 1]
    before = wf.configure().isa
    if isa is not None:
        wf.configure(isa=isa)
    try:
        same_bits(ours(x, w, **case.options), wanted.numpy())
        compiled = wf.compile(lambda x, w, b, r: F.relu(ours(x, w, b, **case.options) + r))
        shaped, r = b.reshape((-1,) + (1,) * case.rank), wf.asarray(values("float32", tuple(wanted.shape), 3))
        same_bits(compiled(x, w, b, r), F.relu(wanted + shaped + r).numpy())
    finally:
        wf.configure(isa=before)


@few(5, 40, case=cases(most=5), seed=st.integers(0, 99), with_bias=st.booleans())
def test_values_and_gradients_are_pytorchs(case: Case, seed: int, with_bias: bool) -> None:
    x, w, b = case.operands("float64", seed)
    given_ours = [wf.asarray(v).requires_grad_() for v in (x, w, b)[: 2 + with_bias]]
    given_theirs = [torch.tensor(v, requires_grad=True) for v in (x, w, b)[: 2 + with_bias]]
    ours = OURS[case.rank - 1](*given_ours, **case.options)
    theirs = THEIRS[case.rank - 1](*given_theirs, **case.options)
    cotangent = values("float64", tuple(theirs.shape), seed + 3)
    assert ours.shape == tuple(theirs.shape)
    np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=1e-12, atol=1e-12)
    ours.backward(wf.asarray(cotangent))
    theirs.backward(torch.tensor(cotangent))
    for mine, other in zip(given_ours, given_theirs, strict=True):
        assert mine.grad is not None
        np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=1e-11, atol=1e-11)


@few(4, 30, case=cases(most=3), seed=st.integers(0, 99))
def test_second_gradients_are_pytorchs(case: Case, seed: int) -> None:
    """Of a gradient of both operands, to both operands and the cotangent."""
    x, w, _ = case.operands("float64", seed)
    shape = tuple(THEIRS[case.rank - 1](torch.tensor(x), torch.tensor(w), **case.options).shape)
    cotangent = values("float64", shape, seed + 3)
    ours = [wf.asarray(v).requires_grad_() for v in (x, w, cotangent)]
    theirs = [torch.tensor(v, requires_grad=True) for v in (x, w, cotangent)]

    def inner(x: wf.Tensor, w: wf.Tensor, g: wf.Tensor) -> wf.Tensor:
        return (OURS[case.rank - 1](x, w, **case.options) * g).sum()

    def outer(x: wf.Tensor, w: wf.Tensor, g: wf.Tensor) -> wf.Tensor:
        dx, dw = wf.grad(inner, argnums=(0, 1))(x, w, g)
        return (dx * dx).sum() + (dw * dw * dw).sum()

    found = wf.grad(outer, argnums=(0, 1, 2))(*ours)
    first = torch.autograd.grad(
        (THEIRS[case.rank - 1](*theirs[:2], **case.options) * theirs[2]).sum(), theirs[:2], create_graph=True
    )
    total = (first[0] ** 2).sum() + (first[1] ** 3).sum()
    wanted = torch.autograd.grad(total, theirs, allow_unused=True, materialize_grads=True)
    for mine, other in zip(found, wanted, strict=True):
        scale = 1 + float(np.abs(other.numpy()).max(initial=0))
        np.testing.assert_allclose(mine.numpy() / scale, other.numpy() / scale, rtol=1e-10, atol=1e-12)


@few(4, 30, case=cases(most=4), seed=st.integers(0, 99))
def test_gradients_have_the_same_bits_compiled(case: Case, seed: int) -> None:
    x, w, b = (wf.asarray(v) for v in case.operands("float32", seed))

    def loss(x: wf.Tensor, w: wf.Tensor, b: wf.Tensor) -> wf.Tensor:
        return F.gelu(OURS[case.rank - 1](x, w, b, **case.options)).sum()

    gradient = wf.grad(loss, argnums=(0, 1, 2))
    for eager, compiled in zip(gradient(x, w, b), wf.compile(gradient)(x, w, b), strict=True):
        same_bits(compiled, eager.numpy())


@few(6, 40, case=cases(), dtype=st.sampled_from(("float32", "float64", "bfloat16")), seed=st.integers(0, 99))
def test_the_gradient_of_the_input_is_the_transposed_convolution(case: Case, dtype: str, seed: int) -> None:
    x, w, _ = (wf.asarray(v) for v in case.operands(dtype, seed))
    result = OURS[case.rank - 1](x.requires_grad_(), w, **case.options)
    g = wf.asarray(values(dtype, result.shape, seed + 3))
    left = tuple(
        (n + 2 * p - d * (k - 1) - 1) % s
        for n, p, d, k, s in zip(case.spatial, case.padding, case.dilation, case.kernel, case.stride, strict=True)
    )
    transposed = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[case.rank - 1]
    wanted = transposed(g, w, output_padding=left, **case.options)
    result.backward(g)
    assert x.grad is not None
    same_bits(x.grad, wanted.numpy())


def test_no_windows_are_written() -> None:
    """Forward and both gradients need less memory than the windows of the input would take."""
    x, w = (wf.asarray(values("float32", s, 0)).requires_grad_() for s in ((2, 16, 64, 64), (16, 16, 5, 5)))
    windows = 2 * 16 * 25 * 64 * 64 * 4

    @wf.compile
    def gradients(x: wf.Tensor, w: wf.Tensor) -> Any:
        return wf.grad(lambda x, w: F.conv2d(x, w, padding=2).sum(), argnums=(0, 1))(x, w)

    assert gradients.explain(x, w).arena_nbytes < windows / 4


@pytest.mark.filterwarnings("ignore:Using padding='same' with even")
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("kernel", "dilation"), list(product((1, 2, 3, 4), (1, 2))))
def test_padding_by_name(padding: str, kernel: int, dilation: int) -> None:
    x, w = values("float64", (2, 3, 11, 12), 0), values("float64", (4, 3, kernel, 2), 1)
    options = {"padding": padding, "dilation": dilation}
    ours = F.conv2d(wf.asarray(x), wf.asarray(w), **options)
    theirs = torch.nn.functional.conv2d(torch.tensor(x), torch.tensor(w), **options)
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_without_a_batch(rank: int) -> None:
    x, w, b = (values("float32", s, i) for i, s in enumerate(((3, *(6,) * rank), (4, 3, *(2,) * rank), (4,))))
    alone = OURS[rank - 1](wf.asarray(x), wf.asarray(w), wf.asarray(b), padding=1)
    batch = OURS[rank - 1](wf.asarray(x[None]), wf.asarray(w), wf.asarray(b), padding=1)
    same_bits(alone, batch.numpy()[0])


def test_numbers_may_be_given_once_or_for_each_axis() -> None:
    x, w = wf.asarray(values("float32", (1, 2, 9, 9), 0)), wf.asarray(values("float32", (3, 2, 3, 3), 1))
    once = F.conv2d(x, w, None, 2, 1, 2)
    same_bits(F.conv2d(x, w, stride=(2, 2), padding=[1, 1], dilation=(2,)), once.numpy())
    same_bits(F.conv2d(x, w, stride=np.int64(2), padding=np.array([1, 1]), dilation=2), once.numpy())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bits_are_rounded_once(dtype: str) -> None:
    """Sums and bias in float32, as `linear` has them."""
    x, w, b = (wf.asarray(values(dtype, s, i)) for i, s in enumerate(((2, 3, 8, 9), (5, 3, 3, 3), (5,))))
    wide = F.conv2d(x.astype(wf.float32), w.astype(wf.float32), b.astype(wf.float32))
    same_bits(F.conv2d(x, w, b), wide.astype(dtype).numpy())


@pytest.mark.parametrize("strided", ["transposed", "every second", "backwards", "channels last"])
def test_operands_are_read_where_they_lie(strided: str) -> None:
    x, w = wf.asarray(values("float32", (2, 6, 10, 12), 0)), wf.asarray(values("float32", (8, 6, 3, 3), 1))
    views = {
        "transposed": lambda t: t.mT,
        "every second": lambda t: t[:, :, ::2, 1::2] if t.shape[2] > 3 else t,
        "backwards": lambda t: wf.flip(t, axis=(1, 3)),
        "channels last": lambda t: wf.permute_dims(wf.permute_dims(t, (0, 2, 3, 1)).clone(), (0, 3, 1, 2)),
    }
    a, b = (views[strided](t) for t in (x, w))
    found = F.conv2d(a, b, padding=1)
    same_bits(found, F.conv2d(a.clone(), b.clone(), padding=1).numpy())
    same_bits(wf.compile(lambda x, w: F.conv2d(views[strided](x), views[strided](w), padding=1))(x, w), found.numpy())


BAD: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("channels", ((1, 3, 8, 8), (4, 2, 3, 3)), {}, "3 channels"),
    ("groups of channels", ((1, 4, 8, 8), (4, 3, 3, 3)), {"groups": 2}, "2 groups"),
    ("groups of results", ((1, 4, 8, 8), (3, 2, 3, 3)), {"groups": 2}, "2 equal groups"),
    ("no groups", ((1, 4, 8, 8), (3, 2, 3, 3)), {"groups": 0}, "0 equal groups"),
    ("rank of the input", ((8, 8), (4, 2, 3, 3)), {}, "wants input"),
    ("rank of the weight", ((1, 2, 8, 8), (4, 2, 3)), {}, "wants input"),
    ("large kernel", ((1, 2, 4, 8), (4, 2, 5, 3)), {}, "does not fit into 4"),
    ("large dilation", ((1, 2, 8, 8), (4, 2, 3, 3)), {"dilation": 4}, "spans 9"),
    ("stride", ((1, 2, 8, 8), (4, 2, 3, 3)), {"stride": 0}, "stride is 0; it is at least 1"),
    ("dilation", ((1, 2, 8, 8), (4, 2, 3, 3)), {"dilation": 0}, "dilation is 0; it is at least 1"),
    ("padding", ((1, 2, 8, 8), (4, 2, 3, 3)), {"padding": -1}, "padding is -1; it is at least 0"),
    ("name of a padding", ((1, 2, 8, 8), (4, 2, 3, 3)), {"padding": "full"}, "'full'"),
    ("same with stride", ((1, 2, 8, 8), (4, 2, 3, 3)), {"padding": "same", "stride": 2}, "'same'"),
    ("numbers", ((1, 2, 8, 8), (4, 2, 3, 3)), {"stride": (1, 2, 3)}, "stride"),
    ("empty kernel", ((1, 2, 8, 8), (4, 2, 0, 3)), {}, "no elements"),
    ("bias", ((1, 2, 8, 8), (4, 2, 3, 3), (3,)), {}, "bias"),
]


@pytest.mark.parametrize(("shapes", "options", "says"), [c[1:] for c in BAD], ids=[c[0] for c in BAD])
def test_what_does_not_fit_is_refused_as_in_pytorch(shapes: Any, options: Any, says: str) -> None:
    with pytest.raises((ShapeError, ArgumentError)) as caught:
        F.conv2d(*(wf.ones(s) for s in shapes), **options)
    assert "conv2d" in caught.value.message and says in caught.value.message
    with pytest.raises((RuntimeError, TypeError, ValueError)):
        torch.nn.functional.conv2d(*(torch.ones(s) for s in shapes), **options)


def test_bools_are_refused() -> None:
    with pytest.raises(DTypeError, match="conv1d"):
        F.conv1d(wf.ones((1, 2, 3), dtype="bool"), wf.ones((1, 2, 3), dtype="bool"))


EMPTY = [
    ((0, 3, 8, 8), (4, 3, 3, 3), 1),
    ((2, 3, 8, 8), (0, 3, 3, 3), 1),
    ((2, 0, 8, 8), (4, 0, 3, 3), 1),
    ((2, 0, 8, 8), (0, 0, 3, 3), 2),
]


@pytest.mark.parametrize(("x", "w", "groups"), EMPTY)
def test_empty_sizes(x: Any, w: Any, groups: int) -> None:
    """A sum of no products is 0; gradients of nothing are empty, or 0."""
    ours = [wf.ones(s).requires_grad_() for s in (x, w, w[:1])]
    result = F.conv2d(*ours, padding=1, groups=groups)
    assert result.shape == (x[0], w[0], 8, 8)
    assert not (result.numpy() != (1.0 if x[1] == 0 else 28.0)).any() or x[1] != 0
    result.sum().backward()
    for t in ours:
        assert t.grad is not None and t.grad.shape == t.shape


def test_an_epilogue_is_fused() -> None:
    """Bias, relu and what is added are computed from the sums in registers; not what only rows of an image have."""
    x, w, b = wf.ones((2, 3, 8, 8)), wf.ones((4, 3, 3, 3)), wf.ones(4)
    residual, row = wf.ones((2, 4, 6, 6)), wf.ones((1, 4, 1, 6))

    def kinds(f: Any, *args: wf.Tensor) -> list[str]:
        return [type(k).__name__ for k in wf.compile(f).kernels(*args)]

    assert kinds(lambda x, w, b, r: F.relu(F.conv2d(x, w, b)) + r, x, w, b, residual) == ["Contraction"]
    assert kinds(lambda x, w, r: F.conv2d(x, w) * r, x, w, row) == ["Contraction", "Nest"]
    assert kinds(lambda x, w, b: F.relu(F.conv2d(x, w, b, padding=1)), x, w, b) == ["Contraction"]
    grouped = wf.ones((4, 1, 3, 3))
    x = wf.ones((2, 4, 8, 8))
    assert kinds(lambda x, w, b, r: F.relu(F.conv2d(x, w, b, groups=4)) + r, x, grouped, b, residual) == ["Contraction"]


@pytest.mark.parametrize(("size", "outside", "is_one"), [(7, 24, True), (5, 33, True), (8, 24, False), (7, 3, False)])
def test_kernels_of_1x1_over_small_images_are_one_product(size: int, outside: int, is_one: bool) -> None:
    """Where an image has no whole vectors of positions, those of all images are cut as one; the bits stay."""
    x, w = wf.asarray(values("float32", (5, 20, size, size), 1)), wf.asarray(values("float32", (outside, 20, 1, 1), 2))
    convolve = wf.compile(lambda x, w: F.relu(F.conv2d(x, w)))
    (kernel,) = convolve.kernels(x, w)
    assert isinstance(kernel, Contraction)
    assert isinstance(kernel.b, Windowed) == is_one
    alone = [F.relu(F.conv2d(x[i : i + 1], w)).numpy() for i in range(5)]
    same_bits(convolve(x, w).numpy(), np.concatenate(alone))


def test_channels_last_are_copied_where_windows_leave_them() -> None:
    """Vectors are read along the last axis; without padding windows are gathered from where they lie."""
    x, w = wf.asarray(values("float32", (2, 9, 8, 5), 1)), wf.asarray(values("float32", (6, 5, 3, 3), 2))
    for padding, wanted in ((1, ["Nest", "Contraction"]), (0, ["Contraction"])):
        convolve = wf.compile(lambda x, w, padding=padding: F.conv2d(x.permute(0, 3, 1, 2), w, padding=padding))
        assert [type(kernel).__name__ for kernel in convolve.kernels(x, w)] == wanted
        same_bits(convolve(x, w).numpy(), F.conv2d(x.permute(0, 3, 1, 2).contiguous(), w, padding=padding).numpy())
