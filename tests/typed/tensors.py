"""Tensors, their methods, operators, views and in-place forms, and the functions of the namespaces."""

from typing import assert_type

import numpy as np

import weft as wf
from weft import nn
from weft.nn import functional as F

x, y = wf.zeros((2, 3)), wf.ones((2, 3), dtype="float32")
assert_type(x, wf.Tensor)
assert_type(x.shape, tuple[int, ...])
assert_type(x.size(0), int)
assert_type(x.size(), tuple[int, ...])
assert_type(x.dtype, wf.DType)
assert_type(wf.bool, wf.DType)

# Operators.
assert_type(x + 1, wf.Tensor)
assert_type(2.0 - x, wf.Tensor)
assert_type(x / np.float32(3), wf.Tensor)
assert_type(x * np.ones((2, 3), np.float32), wf.Tensor)
assert_type(x @ y.T, wf.Tensor)
assert_type(-x, wf.Tensor)
assert_type(x == y, wf.Tensor)
assert_type((x > 0) & ~(y < 1), wf.Tensor)
assert_type(x[0], wf.Tensor)
assert_type(x[..., None, 1:], wf.Tensor)
assert_type(x[[0, 1], wf.asarray([0, 2])], wf.Tensor)
x += 1
x[0] = 2.0
x[x > 1] = 0
assert_type(x, wf.Tensor)

# Methods, by PyTorch's names, and by NumPy's.
assert_type(x.sum(), wf.Tensor)
assert_type(x.sum(1, True, dtype=wf.float64), wf.Tensor)
assert_type(x.mean(dim=(0, 1)), wf.Tensor)
assert_type(x.sum(axis=1, keepdims=True), wf.Tensor)
assert_type(x.std(0, unbiased=False), wf.Tensor)
assert_type(x.max(), wf.Tensor)
assert_type(x.max(axis=1), wf.Tensor)
assert_type(x.max(y), wf.Tensor)
values, indices = x.max(1)
assert_type(x.max(dim=1).indices, wf.Tensor)
assert_type(values, wf.Tensor)
assert_type(x.to(wf.float64), wf.Tensor)
assert_type(x.to("cpu", "float64", copy=True), wf.Tensor)
assert_type(x.to(y), wf.Tensor)
assert_type(x.float(), wf.Tensor)
assert_type(x.clamp(min=0).where(x > 0, 1.0), wf.Tensor)
assert_type(x.add(y, alpha=2), wf.Tensor)
assert_type(x.gather(1, wf.zeros((2, 1), dtype=wf.int64)), wf.Tensor)
assert_type(x.stride(), tuple[int, ...])
assert_type(x.allclose(y), bool)
assert_type(x.sum().item(), float | int | bool)
assert_type(float(x.sum()), float)
assert_type([row for row in x], list[wf.Tensor])  # noqa: C416

# Views.
assert_type(x.view(-1), wf.Tensor)
assert_type(x.view((3, 2)), wf.Tensor)
assert_type(x.reshape(shape=(6,)), wf.Tensor)
assert_type(x.permute(1, 0).swapaxes(axis0=0, axis1=1), wf.Tensor)
assert_type(x.unsqueeze(0).expand(4, -1, -1), wf.Tensor)
assert_type(x.split([1, 2], dim=1), tuple[wf.Tensor, ...])
first, *rest = x.unbind()
assert_type(first, wf.Tensor)
assert_type(rest, list[wf.Tensor])

# In-place forms give what they are called on.
assert_type(x.add_(1).mul_(y).clamp_(0, 1), wf.Tensor)
assert_type(x.copy_(y).normal_(0, 1).fill_(2), wf.Tensor)
parameter = nn.Parameter(wf.ones((2,)))
with wf.no_grad():
    assert_type(parameter.zero_(), nn.Parameter)
assert_type(parameter * 2, wf.Tensor)
assert_type(parameter.grad, wf.Tensor | None)

# Functions.
assert_type(wf.where(x > 0, x, 0.0), wf.Tensor)
assert_type(wf.sqrt(2.0), wf.Tensor)
assert_type(wf.concat([x, y], axis=0), wf.Tensor)
assert_type(wf.meshgrid(wf.arange(2), wf.arange(3)), tuple[wf.Tensor, ...])
assert_type(wf.einsum("ij,kj->ik", x, y), wf.Tensor)
assert_type(wf.asarray([1, 2], dtype=wf.int8), wf.Tensor)
assert_type(wf.from_numpy(np.ones(3)), wf.Tensor)
assert_type(wf.random.uniform((2,)), wf.Tensor)
assert_type(wf.random.Generator(1).normal((2,)), wf.Tensor)
assert_type(x.uniform_(generator=wf.random.default_generator()), wf.Tensor)
assert_type(wf.linalg.vector_norm(x, axis=1), wf.Tensor)
assert_type(wf.linalg.inv(x @ x.T + wf.eye(2)), wf.Tensor)
assert_type(wf.linalg.eigh(x @ x.T + wf.eye(2)).eigenvalues, wf.Tensor)
assert_type(wf.linalg.svd(x, full_matrices=False)[0], wf.Tensor)
assert_type(F.gelu(x, approximate="tanh"), wf.Tensor)
assert_type(F.dropout(x, 0.5), wf.Tensor)
image = wf.ones((1, 4, 4))
assert_type(F.max_pool2d(image, 2, ceil_mode=True), wf.Tensor)
assert_type(F.max_pool1d(image, 2, return_indices=False), wf.Tensor)
assert_type(F.max_pool2d(image, 2, return_indices=True), tuple[wf.Tensor, wf.Tensor])
assert_type(F.max_pool2d(image, 2, return_indices=bool(x.numel())), wf.Tensor | tuple[wf.Tensor, wf.Tensor])
assert_type(nn.init.kaiming_uniform_(x), wf.Tensor)

# Modules: a call gives what the class's forward gives.
assert_type(nn.Linear(3, 2)(x), wf.Tensor)
assert_type(nn.MSELoss(reduction="sum")(x, y), wf.Tensor)
assert_type(nn.Sequential(nn.Linear(3, 2), nn.ReLU())[:1](x), wf.Tensor)
assert_type(wf.compile(nn.Linear(3, 2))(x), wf.Tensor)
