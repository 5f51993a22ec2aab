"""Recurrent cells against their formulas in float64 NumPy; eager as compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn

RNG = np.random.default_rng(0)
CELLS = {"RNNCell": nn.RNNCell, "LSTMCell": nn.LSTMCell, "GRUCell": nn.GRUCell}


def sigmoid(x: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-x))


def formula(name: str, x: Any, h: Any, c: Any, p: dict[str, Any]) -> tuple[Any, ...]:
    a, b = x @ p["weight_ih"].T + p["bias_ih"], h @ p["weight_hh"].T + p["bias_hh"]
    if name == "RNNCell":
        return (np.tanh(a + b),)
    if name == "LSTMCell":
        i, f, g, o = np.split(a + b, 4, -1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c
    (ar, az, an), (br, bz, bn) = np.split(a, 3, -1), np.split(b, 3, -1)
    z = sigmoid(az + bz)
    return ((1 - z) * np.tanh(an + sigmoid(ar + br) * bn) + z * h,)


def outputs(tree: Any) -> list[Any]:
    return list(tree) if isinstance(tree, tuple) else [tree]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", CELLS)
def test_a_cell_is_its_formula(name: str, dtype: str) -> None:
    cell = CELLS[name](6, 20, dtype=dtype)
    tensors = [wf.asarray(RNG.normal(size=(5, n))).astype(dtype) for n in (6, 20, 20)]
    x, h, c = (t.astype("float64").numpy() for t in tensors)
    wanted = formula(name, x, h, c, {k: v.astype("float64").numpy() for k, v in cell.state_dict().items()})
    found = outputs(cell(tensors[0], tuple(tensors[1:]) if name == "LSTMCell" else tensors[1]))
    tolerance = {"float64": 1e-13, "float32": 2e-6, "float16": 1e-3, "bfloat16": 8e-3}[dtype]
    for y, z in zip(found, wanted, strict=True):
        assert y.dtype is tensors[0].dtype
        np.testing.assert_allclose(y.astype("float64").numpy(), z, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_in_a_compiled_loop(name: str) -> None:
    def trained(compiled: bool) -> list[bytes]:
        wf.manual_seed(2)
        cell = CELLS[name](3, 4)

        def f(x: Any) -> Any:
            state: Any = None
            for row in x:
                state = cell(row, state)
            cell.zero_grad()
            sum((s * s).sum() for s in outputs(state)).backward()
            return outputs(state)

        run, found = wf.compile(f) if compiled else f, []
        rng = np.random.default_rng(1)
        for batch in (2, 5, 3, 1):
            x = wf.asarray(rng.normal(size=(4, batch, 3)).astype(np.float32))
            found += [t.numpy().tobytes() for t in (*run(x), *(p.grad for p in cell.parameters()))]
        return found

    assert trained(False) == trained(True)


@pytest.mark.parametrize("name", CELLS)
def test_sizes_of_nothing_and_symbols(name: str) -> None:
    for sizes, batch in (((0, 4), (3,)), ((3, 0), (3,)), ((3, 4), (0,)), ((3, 4), ())):
        for y in outputs(CELLS[name](*sizes)(wf.zeros((*batch, sizes[0])))):
            assert y.shape == (*batch, sizes[1])
    found = wf.eval_shape(CELLS[name](3, 4), wf.spec(("n", 3)))
    assert str(found[0] if name == "LSTMCell" else found) == "float32[n, 4]"


def test_mistakes() -> None:
    with pytest.raises(wf.ArgumentError, match="RNNCell: nonlinearity is 'gelu'"):
        nn.RNNCell(3, 4, nonlinearity="gelu")
    with pytest.raises(wf.ShapeError, match="GRUCell: hidden_size is -1"):
        nn.GRUCell(3, -1)
    with pytest.raises(wf.DTypeError, match="hx is float64 and the weights are float32"):
        nn.GRUCell(3, 4)(wf.zeros((2, 3)), wf.zeros((2, 4), dtype="float64"))
    net = nn.Sequential(nn.Identity(), nn.RNNCell(3, 4))
    with pytest.raises(wf.ShapeError) as caught:
        net(wf.zeros((2, 5)))
    assert caught.value.module_path == "sequential.1"
