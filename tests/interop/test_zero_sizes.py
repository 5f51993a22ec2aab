"""Models of tensors without elements, and of sizes that may be 0: what is saved computes the same in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_peer
import pytest

import weft as wf
from weft.nn import functional as F

Z, Z3, N0, M = (np.zeros(s, np.float32) for s in ((0,), (2, 0, 3), (4, 0), (3, 4)))
CASES: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "reshape": (lambda x: x.reshape(0, 5), [Z]),
    "reshape, a size of 0 behind another": (lambda x: x.reshape(3, 0, 7), [Z3]),
    "reshape to one axis": (lambda x: x.reshape(-1), [Z3]),
    "reshape where the 0 is not where it was": (lambda x: x.reshape(3, 2, 0), [Z3]),
    "reshape to no element of rank 1": (lambda x: x.reshape(0), [Z3]),
    "transpose": (lambda x: x.permute(2, 1, 0), [Z3]),
    "broadcast": (lambda x: wf.broadcast_to(x, (5, 4, 0)), [N0]),
    "broadcast of one": (lambda x: wf.broadcast_to(x[:1, :1].reshape(()), (3, 0)), [M]),
    "slice": (lambda x: x[1:1], [M]),
    "slice of columns": (lambda x: x[:, 4:], [M]),
    "flip": (lambda x: wf.flip(x, axis=1), [N0]),
    "concat": (lambda x, y: wf.concat([x, y, x], axis=1), [N0, np.ones((4, 2), np.float32)]),
    "stack": (lambda x: wf.stack([x, x]), [N0]),
    "pad": (lambda x: wf.pad(x, ((0, 0), (1, 2)), value=7.0), [N0]),
    "sum": (lambda x: x.sum(axis=1), [N0]),
    "sum to nothing": (lambda x: x.sum(axis=0), [N0]),
    "prod of all": (lambda x: wf.prod(x), [Z3]),
    "add": (lambda x: x + 1.0, [Z3]),
    "exp": (lambda x: wf.exp(x) * x, [Z3]),
    "where": (lambda x: wf.where(x > 0, x, -x), [Z3]),
    "cast": (lambda x: x.to(wf.int32), [Z3]),
    "full": (lambda x: wf.full((0, 2), 3.0) + x.sum(), [Z]),
    "arange": (lambda x: wf.arange(0) + x.to(wf.int64), [Z]),
    "matmul of no inner axis": (lambda x: x @ x.T, [N0]),
    "matmul of no rows": (lambda x, y: x[:0] @ y, [M, M.T.copy()]),
    "take": (lambda x: wf.take(x, wf.arange(0), axis=0), [M]),
    "linear": (lambda x, w: F.linear(x[:0], w), [M, M]),
    "softmax": (lambda x: F.softmax(x[:0], -1), [M]),
    "logsumexp": (lambda x: wf.logsumexp(x, axis=1), [N0]),
}


@pytest.mark.parametrize("name", CASES)
def test_no_elements(name: str, tmp_path: Path) -> None:
    function, inputs = CASES[name]
    path = tmp_path / "f.onnx"
    example = tuple(map(wf.asarray, inputs))
    expected = function(*example).numpy()
    wf.save(function, path, example=example)
    onnx_peer.check(path)
    for found in (wf.load(path)(*inputs).numpy(), onnx_peer.run(path, *inputs)[0]):
        assert found.dtype == expected.dtype and found.shape == expected.shape
        assert np.array_equal(found, expected)


BATCHES: dict[str, Callable[..., Any]] = {
    "reshape with a 0": lambda x: x[:, :0].reshape(0, x.shape[0]),
    "reshape of two axes": lambda x: x.reshape(x.shape[0], 2, 2),
    "reshape and a size of 1": lambda x: x.reshape(1, x.shape[0], 4),
    "flatten": lambda x: x.reshape(-1),
    "sum": lambda x: x.sum(axis=1),
    "broadcast": lambda x: x[:, :1].expand(x.shape[0], 3) * 2.0,
    "no columns": lambda x: x[:, 2:2],
    "full": lambda x: wf.full((x.shape[0], 2), 1.5) + x[:, :2],
    "concat": lambda x: wf.concat([x, x[:, :0], x], axis=1),
}


@pytest.mark.parametrize("name", BATCHES)
def test_a_dynamic_batch(name: str, tmp_path: Path) -> None:
    function, path = BATCHES[name], tmp_path / "f.onnx"
    wf.save(function, path, example=(wf.asarray(M),), dynamic={"batch": (0, 0)})
    onnx_peer.check(path)
    for size in (1, 3, 5):
        x = np.arange(size * 4, dtype=np.float32).reshape(size, 4)
        expected = function(wf.asarray(x)).numpy()
        for found in (wf.load(path)(x).numpy(), onnx_peer.run(path, x)[0]):
            assert found.shape == expected.shape and np.array_equal(found, expected)


TWO: dict[str, Callable[..., Any]] = {
    "reshape to both": lambda x: x.reshape(x.shape[1], x.shape[0]),
    "reshape to both and more": lambda x: (x * 2.0).reshape(x.shape[1], 1, x.shape[0]),
    "reshape with a 0": lambda x: x[:0].reshape(x.shape[1], 0, x.shape[0]),
    "flatten": lambda x: x.reshape(-1),
}


@pytest.mark.parametrize("name", TWO)
def test_two_dynamic_sizes(name: str, tmp_path: Path) -> None:
    """A shape of two unknown sizes cannot leave both to the reader."""
    function, path = TWO[name], tmp_path / "f.onnx"
    wf.save(function, path, example=(wf.asarray(M),), dynamic={"n": (0, 0), "m": (0, 1)})
    onnx_peer.check(path)
    for shape in ((1, 1), (3, 2), (2, 5)):
        x = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
        expected = function(wf.asarray(x)).numpy()
        for found in (wf.load(path)(x).numpy(), onnx_peer.run(path, x)[0]):
            assert found.shape == expected.shape and np.array_equal(found, expected)
