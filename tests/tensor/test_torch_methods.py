"""Methods against PyTorch: what each call gives, dtype and shape included, and that nothing that is passed is dropped.

A call is a text that is evaluated with each library as ``m``. What PyTorch refuses, Weft refuses with an error of its
own. Where the two differ on purpose, the test below says how.
"""

from __future__ import annotations

import traceback
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weft as wf

torch = pytest.importorskip("torch")

X = np.array([[3.0, -1.0, 2.0], [0.0, 5.0, 5.0]], np.float32)


def names(module: Any, array: Any = X) -> dict[str, Any]:
    """What the calls are written with: ``x`` (2, 3), ``y`` (1, 2, 3), ``v`` (3,), ``s`` (), integers, bools."""
    tensor = module.asarray
    return {
        "m": module,
        "x": tensor(array),
        "y": tensor(array[None]),
        "v": tensor(array[0]),
        "s": tensor(array[0, 0]),
        "i": tensor(array.astype(np.int64)),
        "u": tensor(array.astype(np.int64).astype(np.uint8)),
        "mask": tensor(array > 1),
        "at": lambda *rows: tensor(np.array(rows, np.int64)),
        "inf": float("inf"),
        "nan": float("nan"),
    }


def outcome(module: Any, text: str) -> Any:
    """NumPy arrays of what the call gives (a pair of them is a list), or the error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = eval(text, names(module))
        except Exception as error:
            return error
    several = isinstance(result, (tuple, list))
    return [np.asarray(r) for r in result] if several else np.asarray(result)


def agree(text: str, tolerance: float = 1e-6) -> None:
    ours, theirs = outcome(wf, text), outcome(torch, text)
    if isinstance(theirs, Exception):
        assert isinstance(ours, (wf.WeftError, TypeError)), f"{text}: PyTorch says {theirs!r}, Weft {ours!r}"
        return
    assert not isinstance(ours, Exception), f"{text}: {ours!r}"
    pairs = zip(ours, theirs, strict=True) if isinstance(theirs, list) else [(ours, theirs)]
    for a, b in pairs:
        assert a.dtype == b.dtype and a.shape == b.shape, (text, a, b)
        np.testing.assert_allclose(a, b, rtol=tolerance, err_msg=text)


REDUCTIONS = """
x.sum()
x.sum(0)
x.sum(0, True)
x.sum(1, keepdim=True)
x.sum(None, True)
x.sum((0, 1), True)
x.sum([0, 1])
x.sum(())
x.sum(dim=())
x.sum(0, dtype=m.float64)
x.sum(dtype=m.int32)
x.sum(dtype=m.bool)
x.sum(0, True, "garbage", 5)
x.sum(0, True, 5)
x.sum(0, 1)
x.sum(True)
x.sum(dim=False)
x.sum("0")
x.sum(0.0)
x.sum(0, keepdim=None)
x.sum(0, dim=1)
x.sum(garbage=1)
x.sum(0, (1,), True)
i.sum(0)
mask.sum()
x.prod(0, True)
x.prod(0, dtype=m.float64)
x.prod(0, True, 3)
x.mean()
x.mean(0)
x.mean((0, 1), True)
x.mean(0, True, dtype=m.float64)
x.mean(())
x.mean(dtype=m.int64)
x.mean(0, True, m.float64)
x.mean(True)
x.std()
x.std(True)
x.std(False)
x.std(0)
x.std(0, False)
x.std(0, True)
x.std(0, False, True)
x.std((0, 1), False, keepdim=True)
x.std(None, False)
x.std(())
x.std(unbiased=False)
x.std(unbiased=None)
x.std(correction=0)
x.std(0, correction=None)
x.std(1, correction=0.5)
x.std(0, 1)
x.std(0, True, unbiased=True)
x.std(0, correction=0, unbiased=False)
x.std(0, True, False, correction=1)
x.std(0, True, False, 1)
x.std(True, True, True)
x.std(keepdim=True)
x.var()
x.var(False)
x.var(1, False, True)
x.var(1, correction=2)
x.var(1, True, True, True)
x.amax()
x.amax(0)
x.amax((0, 1), True)
x.amax(())
x.amax(True)
x.amin(1, True)
x.amin(1, True, 1)
x.max()
x.max(0)
x.max(1, True)
x.max(dim=1)
x.max(-1, keepdim=True)
x.max(True)
x.max((0, 1))
x.max(0, 1)
x.max(1.0)
x.max(0, True, 1)
x.max(x)
x.max(other=-x)
x.max(x, 1)
x.min(0)
x.min(1, True)
i.min(1)
u.max(1)
x.argmax()
x.argmax(0)
x.argmax(0, True)
x.argmax(keepdim=True)
x.argmax(True)
x.argmin(1, True, 1)
x.argmax((0, 1))
x.any()
x.any(0)
x.any((0, 1), True)
x.any(())
x.any(True)
x.any(0, True, True)
x.any(dtype=m.bool)
x.all(1, True)
x.all(())
x.logsumexp(0)
x.logsumexp((0, 1), True)
x.logsumexp(True)
x.logsumexp(0, True, 1)
s.sum(0)
s.sum(-1)
s.sum((0,))
s.sum(1)
s.sum(False)
s.mean(0)
s.std(0)
s.amax(0)
s.argmax(0)
s.max(0)
s.max(-1, True)
s.max(1)
s.min(0)
s.any(0)
s.logsumexp(0)
s.prod(0)
s.cumsum(0)
s.cumprod(-1)
s.cumsum(1)
s.softmax(0)
x.cumsum(0)
x.cumsum(dim=1, dtype=m.float64)
x.cumsum(0, 1, 2)
x.cumsum(True)
x.cumprod(1)
x.softmax(1, m.float64)
x.softmax(1, m.float64, 3)
x.softmax(True)
"""

NORMS = """
x.norm()
x.norm("fro")
x.norm("fro", 0)
x.norm("fro", (0, 1), True)
x.norm(None)
x.norm("garbage")
x.norm(2, 0, True)
x.norm(2, 0, True, dtype=m.float64)
x.norm(2, 0, True, m.float64)
x.norm(2, 0, True, m.float64, None, 5, 6)
x.norm(dtype=m.float64)
x.norm(1, (0, 1))
x.norm(p=1, dim=1)
x.norm(0)
x.norm(inf)
x.norm(-inf, 1)
x.norm(p=inf, dim=(0, 1), keepdim=True)
x.norm(3.5, 1)
x.norm(-2, 1)
x.norm(m.asarray(1.0))
x.norm(keepdim=True)
x.norm(2, ())
x.norm(2, True)
x.norm(2, dim=1, keepdim=1)
s.norm()
s.norm(2, 0)
"""

MOVING = """
x.flip(0)
x.flip(0, 1)
x.flip((0, 1))
x.flip([1])
x.flip(dims=(0,))
x.flip([0], [1])
x.flip(True)
x.flip(0, 0)
s.flip(0)
x.squeeze()
y.squeeze()
y.squeeze(0)
x.squeeze(0)
y.squeeze((0, 1))
y.squeeze(0, 1)
y.squeeze(True)
y.squeeze(5)
s.squeeze(0)
x.unsqueeze(0)
x.unsqueeze(-1)
x.unsqueeze(dim=1)
x.unsqueeze()
x.unsqueeze(True)
x.unsqueeze(0, 1)
x.unsqueeze(4)
x.expand(4, 2, 3)
x.expand((4, -1, -1))
x.expand(size=(4, 2, 3))
x.expand(-1, 2, 3)
x.expand(2, -1)
x.expand(2, 4)
x.expand(2)
x.expand(-2, 2, 3)
x.repeat(2, 2)
x.repeat((1, 2, 1))
x.repeat(repeats=(2, 1))
x.repeat(2)
x.repeat()
s.repeat(3)
x.tile(2)
x.t()
v.t()
s.t()
y.t()
x.T
x.mT
x.transpose(0, 1)
x.transpose(dim0=0, dim1=-1)
x.transpose(0)
x.transpose(0, 5)
x.transpose(0, True)
x.transpose(0, 1, 2)
x.permute(1, 0)
x.permute((1, 0))
x.permute(dims=(1, 0))
x.permute(0)
x.reshape(3, 2)
x.reshape((6,))
x.reshape(shape=(3, -1))
x.reshape(-1, -1)
x.reshape(4)
x.view(-1)
x.view(3, 2)
x.flatten()
y.flatten(1)
y.flatten(0, 1)
y.flatten(1, 0)
y.flatten(True)
x.split(1)
x.split(2, 1)
x.split(2, dim=1)
x.split([1, 2], 1)
x.split([1, 1], 1)
x.split(1, 1, 1)
x.split()
x.split(-1)
x.chunk(2)
x.chunk(2, 1)
x.chunk(2, dim=-1)
x.chunk(0)
x.chunk(2, True)
x.unbind()
x.unbind(1)
x.unbind(dim=1)
x.unbind(True)
x.unbind(0, 1)
x.tril()
x.tril(-1)
x.tril(diagonal=1)
x.triu(1)
x.triu(1, 2)
x.swapaxes(0, 1)
x.swapaxes(axis0=0, axis1=1)
x.swapaxes(0, axis1=1)
x.swapaxes(axis0=0)
x.swapdims(dim0=0, dim1=1)
x.swapdims(axis0=0, axis1=1)
y.movedim(source=0, destination=-1)
y.moveaxis(source=(0, 1), destination=(1, 0))
y.movedim(0, 1, source=0)
x.broadcast_to(size=(2, 2, 3))
x.view(size=(3, 2))
x.tile(2, 2)
x.tile((2, 2))
x.tile(dims=(2, 1, 2))
x.tile(2, dims=(2,))
"""

OTHERS = """
x.gather(0, at([1]))
x.gather(0, at([1, 0], [0, 1], [1, 1]))
x.gather(1, at([1], [0]))
x.gather(1, at([1, 1, 1, 0], [2, 2, 2, 2]))
x.gather(1, at([1], [0], [0]))
x.gather(1, at([3]))
x.gather(0, at([-1]))
x.gather(0, at(1))
x.gather(True, at([1]))
x.gather(0, at([1]), 5)
x.gather(0, at([1]).int())
x.gather(0)
v.gather(0, at(2, 1, 0, 0))
v.gather(0, at(3))
s.gather(0, at(0)[0])
s.gather(0, at(0, 0))
s.gather(1, at(0, 0))
y.gather(2, at([[1, 0]]))
y.gather(1, at([[1]]))
x.masked_fill(mask, 1)
x.masked_fill(mask, value=-inf)
x.masked_fill(mask, 1e300)
x.masked_fill(mask, m.asarray(7))
x.masked_fill(mask, m.asarray([7.0]))
x.masked_fill(mask, None)
x.masked_fill(x, 1)
x.masked_fill(u, 1)
x.masked_fill(True, 1)
x.masked_fill(mask, 1, 2)
v.masked_fill(mask, 9)
i.masked_fill(mask, 2.5)
i.masked_fill(mask, -2.5)
i.masked_fill(mask, True)
i.masked_fill(mask, inf)
i.masked_fill(mask, nan)
i.masked_fill(mask, 2**63)
i.masked_fill(mask, m.asarray(2.5))
u.masked_fill(mask, 300)
u.masked_fill(mask, -1)
u.masked_fill(mask, -300)
mask.masked_fill(mask, 2)
mask.masked_fill(~mask, 0.5)
x.to(m.float16).masked_fill(mask, 65505.0)
x.to(m.float16).masked_fill(mask, 65504)
x.to(m.float16).masked_fill(mask, inf)
x.to(m.float64)
x.to("cpu")
x.to("cpu", m.float64)
x.to(dtype=m.int32)
x.to(device="cpu", dtype=m.int32)
x.to(m.float64, False, True)
x.to(m.float64, copy=True)
x.to(i)
x.to(i, non_blocking=True)
x.to(None)
x.to("garbage")
x.to(3, 4, 5)
x.to(m.float64, "cpu")
x.to(m.float64, m.float32)
x.to(m.float64, dtype=m.float32)
x.to(m.float64, garbage=1)
x.dot(x)
v.dot(v)
v.dot(x)
v.dot(v, v)
x.mm(x.t())
x.mm(mat2=x.t())
y.bmm(mat2=y.mT)
x.mv(v)
x.mv(vec=v)
x.mv(x)
x.mv(v[:2])
v.mv(v)
x.trace()
x.t().trace()
i.trace()
i.int().trace()
v.trace()
y.trace()
x.is_cuda
v.dot(tensor=v)
x.matmul(other=v)
x.matmul(v, other=v)
x.matmul()
x.mul(other=x)
x.mul(other=2)
x.multiply(other=x)
x.clone().mul_(other=x)
x.mul(x, alpha=2)
x.clone().copy_(other=x * 2)
x.mm(y)
x.mm(v)
y.bmm(y.mT)
x.bmm(x)
y.expand(4, 2, 3).bmm(y.mT)
x.clamp(0, 1)
x.clamp(min=0)
x.clamp(max=1)
x.clamp(0, 1, 2)
i.clamp(0.5)
i.clone().clamp_(0.5)
i.clone().clamp_(1, 3)
x.clone().clamp_(max=1)
x.clone().add_(1, alpha=2)
x.clone().add_(x, alpha=-1)
x.clone().sub_(1, alpha=2)
x.clone().mul_(2)
x.clone().mul_(2, 3)
x.clone().div_(2)
i.clone().div_(2)
i.clone().add_(0.5)
x.clone().copy_(v)
x.clone().copy_(i, True)
x.clone().copy_(y.expand(2, 2, 3))
x.clone().fill_(2)
x.add(1)
x.add(x, alpha=2)
x.add(x, 2, 3)
x.add()
x.sub(x, alpha=2)
x.mul(x)
x.mul(x, alpha=2)
x.div(2)
x.div(2, rounding_mode="floor")
x.div(2, rounding_mode="trunc")
x.div(2, rounding_mode="garbage")
i.div(2, rounding_mode="trunc")
i.div(-2, rounding_mode="trunc")
i.div(-2, rounding_mode="floor")
i.div(2)
x.allclose(x)
x.allclose(x + 1e-9)
x.allclose(x + 1)
x.allclose(x[0])
x.allclose(y.expand(3, 2, 3)[..., :2])
x.allclose(x + 0.5, 0.0, 1.0)
x.allclose(x, 1, 2, 3, 4)
x.where(mask, 0)
x.where(mask)
x.where(mask, x, x)
x.new_zeros(2, 3)
x.new_zeros(2, 3, 1, 2)
x.new_zeros((2,), dtype=m.int32)
x.new_zeros(size=(2,))
x.new_ones(2, device="cpu", requires_grad=True).detach()
x.new_zeros(2, garbage=1)
x.new_full((2, 3), 1.5)
x.new_full((2,), 7, dtype=m.int64)
i.new_full((2,), 7)
x.new_full(size=(2,), fill_value=3)
x.new_full((2,))
x.double().new_tensor([0.1, 0.7])
x.new_tensor([1, 2])
i.new_tensor([1, 2])
x.new_tensor(i)
x.new_tensor(1.5)
x.new_tensor([1, 2], dtype=m.int32)
x.new_tensor([1.0], requires_grad=True).detach()
x.new_tensor([1.0], garbage=1)
x.new_empty(2, 0)
x.new_empty((0, 3), dtype=m.int64)
x.nonzero()
mask.nonzero()
y.nonzero()
x.nonzero(as_tuple=True)
(x * 0).nonzero()
x.argwhere()
mask.argwhere()
x.argwhere(1)
x.count_nonzero()
x.count_nonzero(1)
x.count_nonzero((0, -1))
x.count_nonzero(dim=0)
x.count_nonzero(dim=())
mask.count_nonzero([0])
x.count_nonzero(2)
x.ravel()
x.T.ravel()
x[0, 0].ravel()
x.ravel(1)
v.outer(v)
v.outer(vec2=v)
v.outer(x)
x.type(m.float64)
i.type(dtype=m.int8)
x.type(3)
i.short()
i.char()
i.byte()
x.roll(1)
x.roll(1, 0)
x.roll((1, 2), (0, 1))
x.roll(shifts=-1, dims=1)
x.roll(shifts=(1, 1), dims=(-1, -1))
x.roll(1, 2)
x.roll()
s.roll(1)
x.repeat_interleave(2)
x.repeat_interleave(2, 0)
x.repeat_interleave(at(1, 2), 0)
x.repeat_interleave(repeats=at(0, 1, 2), dim=1)
x.repeat_interleave(at(1, 2), 1)
s.repeat_interleave(3)
x.take(index=at(0, 5))
x.take(at(0, 5))
x.take(at(0, 6))
x.clone(3)
x.numel(1)
x.dim(1)
"""


FURTHER = """
x.index_select(1, at(2, 0))
x.index_select(0, at(1)[0])
x.index_select(0, at([1]))
x.index_select(0, at(-1))
x.index_select(dim=0, index=at(1))
x.index_select(2, at(0))
x.index_select(0, x)
s.index_select(0, at(0))
x.masked_select(mask)
x.masked_select(mask[0])
x.masked_select(x)
x.masked_select(mask[:, :2])
x.masked_scatter(mask, x.flip(0))
x.index_add(0, at(1, 1), x)
x.index_add(0, at(1), x[:1], alpha=-1)
x.index_copy(1, at(1), x[:, :1])
x.index_fill(1, at(1), -1)
x.index_put((at(0), at(1)), v[:1])
x.index_put((at(0, 0), at(1, 1)), v[:2], True)
x.scatter(1, at([1], [0]), 9)
x.scatter(1, at([1], [0]), x)
x.scatter_add(1, at([1, 1], [0, 0]), x)
x.scatter_reduce(1, at([1, 1], [0, 0]), x, "sum")
x.put(at(0, 5), v[:2])
v.put(at(0), s)
x.lerp(x.flip(0), 0.3)
x.addcmul(x, x, value=3)
x.addcdiv(x, x + 10, value=3)
x.addmm(x[:, :2], x)
v.addmv(x.t(), x[:, 0])
x.addr(x[:, 0], v)
y.baddbmm(y[:, :, :2], y)
x.addbmm(y[:, :, :2], y)
x.fmod(2)
x.fmod(-x - 1)
i.fmod(3)
x.frac()
x.sinc()
x.exp2()
x.erfc()
x.nan_to_num(0.5)
(x / 0).nan_to_num()
(x / 0).nan_to_num(1.0, 2.0, 3.0)
x.float_power(2)
i.float_power(0.5)
x.abs().xlogy(v)
x.abs().logit(0.01)
x.deg2rad()
i.rad2deg()
i.ldexp(i)
x.clamp_min(1)
x.clamp_max(v)
x.round(decimals=2)
x.round(decimals=-1)
x.round(1)
x.eq(other=3)
x.ne(i)
x.pow(exponent=2)
x.maximum(other=v)
x.maximum(v, 3)
x.floor_divide(2)
i.bitwise_and(3)
i.bitwise_or(other=i)
i.bitwise_not()
u.bitwise_left_shift(2)
x.bitwise_and(1)
x.copysign(-1)
x.logaddexp(v)
x.hypot(v)
x.isnan()
x.signbit()
x.subtract(1, alpha=2)
x.multiply(2)
x.divide(2, rounding_mode="floor")
x.true_divide(2)
x.diagonal()
y.diagonal()
y.diagonal(0, 1, 2)
y.diagonal(offset=1, dim1=-2, dim2=-1)
y.diagonal(-1, 2, 1)
x.diagonal(5)
x.diagonal(0, 1, 1)
x.diagonal(0, 0, 2)
v.diagonal()
x.narrow(1, 0, 2)
x.narrow(1, -2, 2)
x.narrow(1, 2, 2)
x.narrow(0, 0, 0)
x.narrow(0, 0, -1)
x.narrow(dim=1, start=1, length=1)
x.select(1, 2)
x.select(1, -1)
x.select(1, 3)
x.select(dim=0, index=1)
s.select(0, 0)
x.unfold(1, 2, 1)
x.unfold(1, 4, 1)
x.unfold(1, 2, 0)
x.unflatten(1, (3, 1))
x.unflatten(1, (-1, 3))
x.unflatten(-1, (3,))
x.unflatten(1, (2, 2))
x.unflatten(1, ())
x.movedim(0, 1)
y.movedim((0, 1), (1, 2))
x.swapdims(0, 1)
x.broadcast_to((4, 2, 3))
x.view_as(x.t())
x.contiguous()
x.contiguous(3)
x.t().contiguous()
x.stride()
x.t().stride()
x.stride(0)
x.t().stride(-1)
x.stride(2)
x[1:].storage_offset()
x.t()[1].storage_offset()
x.is_contiguous()
x.t().is_contiguous()
x[:, :2].is_contiguous()
x.is_contiguous(3)
x.element_size()
i.element_size()
x.nelement()
x.ndimension()
x.is_floating_point()
i.is_floating_point()
x.is_complex()
u.is_signed()
i.is_signed()
mask.is_signed()
x.is_signed()
x.data_ptr() == x.t().data_ptr()
x[1:].data_ptr() - x.data_ptr()
x[2:].data_ptr()
x.size(0)
x.size(-2)
x.size(2)
x.size(-3)
x.size(dim=5)
s.size(0)
x.stride(5)
s.stride(0)
3.0 in x
3 in x
7.0 in x
nan in x
True in x
s in x
v in x
v[:2] in x
at(5) in x
3.0 in s
5 in i
5 in x[:0]
6 not in y
"3" in x
None in x
[3.0, -1.0, 2.0] in x
x.numpy() in x
x.numpy()[0, 0] in x
"""


@pytest.mark.parametrize(
    "text", [t for block in (REDUCTIONS, NORMS, MOVING, OTHERS, FURTHER) for t in block.strip().split("\n")]
)
def test_a_call_gives_what_it_gives_in_pytorch(text: str) -> None:
    agree(text)


@pytest.mark.parametrize("call", ["size", "stride"])
@pytest.mark.parametrize(("shape", "axis"), [((2, 3), 2), ((2, 3), -3), ((), 0)])
def test_an_axis_that_is_not_there_is_said_with_the_rank(call: str, shape: tuple[int, ...], axis: int) -> None:
    with pytest.raises(
        wf.AxisError, match=f"{call}: axis {axis} is out of range for a tensor of rank {len(shape)}"
    ) as caught:
        getattr(wf.ones(shape), call)(axis)
    assert len(traceback.extract_tb(caught.value.__traceback__)) == 1
    with pytest.raises(wf.AxisError, match=f"{call}: axis {axis}"):
        wf.compile(lambda x: x * getattr(x, call)(axis))(wf.ones(shape))


# Weft accepts these and PyTorch does not: NumPy's names, defaults where PyTorch has none, Python's negative indices.
MORE = {
    "x.sum(axis=0, keepdims=True)": "x.sum(0, True)",
    "x.sum(axis=())": "x.clone()",
    "x.prod((0, 1))": "x.prod()",
    "x.std(ddof=0)": "x.std(False)",
    "x.max(axis=1)": "x.amax(1)",
    "x.cumsum(axis=1)": "x.cumsum(1)",
    "x.flip()": "x.flip(0, 1)",
    "x.take(indices=m.asarray([0, 5]))": "x.take(m.asarray([0, 5]))",
    "x.take(m.asarray([1]), axis=1)": "x.index_select(1, m.asarray([1]))",
    "x.softmax()": "x.softmax(-1)",
    "i.mean()": "x.mean()",
    "i.norm()": "x.norm()",
    "x.to('float64')": "x.to(m.float64)",
    "x.allclose(x.to(m.float64))": "x.allclose(x)",
}


@pytest.mark.parametrize("text", MORE)
def test_what_weft_takes_besides(text: str) -> None:
    ours, theirs = outcome(wf, text), outcome(torch, MORE[text])
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize(
    "call",
    [
        np.sum, np.prod, np.mean, np.std, np.var, np.max, np.min, np.any, np.all, np.argmax, np.argmin, np.squeeze,
        lambda a: np.sum(a, axis=0), lambda a: np.sum(a, axis=1, keepdims=True), lambda a: np.sum(a, dtype=np.float64),
        lambda a: np.mean(a, axis=0, dtype=np.float64), lambda a: np.std(a, axis=0, ddof=1, keepdims=True),
        lambda a: np.max(a, axis=1), lambda a: np.cumsum(a, axis=1), lambda a: np.any(a, axis=(0, 1)),
    ],
)  # fmt: skip
def test_numpy_functions_of_tensors(call: Any) -> None:
    result, wanted = np.asarray(call(wf.asarray(X))), np.asarray(call(X))
    assert result.shape == wanted.shape
    np.testing.assert_allclose(result, wanted, rtol=1e-6)


def test_the_nuclear_norm_is_refused_by_name() -> None:
    with pytest.raises(wf.ArgumentError, match="norm: p='nuc': it needs singular values"):
        wf.asarray(X).norm("nuc")


# --- gradients --------------------------------------------------------------------------------------------------


def gradients(text: str, array: Any) -> tuple[Any, Any]:
    """The gradients of a weighted sum of the call's result (the first of a pair), ours and PyTorch's."""
    found = []
    for module in (wf, torch):
        known = names(module, array)
        x = known["x"].requires_grad_()
        result = eval(text, known)
        result = result[0] if isinstance(result, tuple) else result
        weight = np.arange(1, int(np.prod(tuple(result.shape))) + 1, dtype=np.float32).reshape(tuple(result.shape))
        (result * module.asarray(weight)).sum().backward()
        found.append(np.asarray(x.grad))
    return found[0], found[1]


DIFFERENTIABLE = """
x.max(0)
x.max(1, True)
x.min(1)
x.max()
x.min()
x.amax()
x.amax(1)
x.amin((0, 1), True)
x.max(x.flip(1))
x.masked_fill(mask, 3.0)
x.gather(1, at([1], [0]))
x.gather(1, at([1, 1, 1, 0], [2, 2, 2, 2]))
x.gather(0, at([1]))
x.norm()
x.norm(1)
x.norm(inf, 1)
x.norm(-inf)
x.norm(3.0, 1)
x.std(0)
x.std(1, False)
x.var(1)
x.prod(1)
x.logsumexp(1)
x.cumprod(1)
x.clamp(0, 5)
x.softmax(1)
"""
TIES = {
    "mixed": X,
    "equal": np.full((2, 3), 2.0, np.float32),
    "zero": np.zeros((2, 3), np.float32),
    "pairs": np.array([[1.0, 1.0, 0.0], [-2.0, 2.0, 2.0]], np.float32),
}


@pytest.mark.parametrize("values", TIES)
@pytest.mark.parametrize("text", DIFFERENTIABLE.strip().split("\n"))
def test_gradients_at_ties_and_zeros_are_pytorchs(text: str, values: str) -> None:
    ours, theirs = gradients(text, TIES[values])
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@settings(max_examples=60)
@given(st.data())
def test_gather_of_any_smaller_index(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    axis = data.draw(st.integers(0, len(shape) - 1))
    sizes = [data.draw(st.integers(0, 5 if a == axis else n)) for a, n in enumerate(shape)]
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    index = np.asarray(data.draw(st.integers(0, 2**31))) % shape[axis] + np.zeros(sizes, np.int64)
    index = (index + np.arange(index.size).reshape(sizes)) % shape[axis]
    found = []
    for module in (wf, torch):
        x = module.asarray(array).requires_grad_()
        taken = x.gather(axis, module.asarray(index))
        (taken * taken).sum().backward()
        found.append((np.asarray(taken.detach()), np.asarray(x.grad)))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)
