"""The numerics contract: the same bits eager, compiled, with any number of threads, for any vector ISA, and for a row
whatever the batch it is in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import weft as wf
from weft.nn import functional as F
from weft.ops.recurrence import gate_inputs, gru_steps, lstm_steps

Case = tuple[str, Callable[..., Any], tuple[tuple[int, ...], ...]]

CASES: list[Case] = [
    ("gelu of a product", lambda a, b: F.gelu(a * b + 1.0), ((37, 65), (37, 65))),
    ("broadcast", lambda a, b: wf.exp(a) - b, ((19, 1, 33), (7, 1))),
    ("softmax", lambda a: F.softmax(a, -1), ((33, 129),)),
    ("softmax of columns", lambda a: F.softmax(a, 0), ((33, 129),)),
    ("layer norm", lambda a, w, b: F.layer_norm(a, (70,), w, b), ((21, 70), (70,), (70,))),
    ("matmul", lambda a, b: a @ b, ((45, 300), (300, 77))),
    ("matmul of transposes", lambda a, b: a.T @ b.T, ((300, 45), (77, 300))),
    ("matmul, bias, relu", lambda a, b, c: F.relu(a @ b + c), ((33, 257), (257, 19), (19,))),
    ("batched matmul", lambda a, b: a @ b, ((5, 9, 31), (5, 31, 13))),
    ("convolution", lambda a, b: F.relu(F.conv2d(a, b, padding=1, stride=(1, 2))), ((2, 30, 9, 17), (19, 30, 3, 3))),
    ("convolution of lines of vectors", lambda a, b: F.conv2d(a, b, padding=1), ((2, 30, 9, 32), (19, 30, 3, 3))),
    (
        "steps of an LSTM",
        lambda x, w, h, c, u: wf.concat(
            lstm_steps(gate_inputs(x, w), h, c, u, None, None, False, True)[:3:2], axis=None
        ),
        ((11, 7, 20), (280, 20), (7, 70), (7, 70), (280, 70)),
    ),
    (
        "steps of a GRU, from the last",
        lambda x, w, h, u, b: gru_steps(gate_inputs(x, w), h, u, b, None, True, True)[0],
        ((9, 14, 5), (99, 5), (14, 33), (99, 33), (99,)),
    ),
    ("matrix times vector", lambda a, b: a @ b, ((130, 513), (513,))),
    ("sum of everything", lambda a: a.sum(), ((7, 11001),)),
    ("long sum", lambda a: (a * a).sum(), ((100_003,),)),
    ("sums of rows", lambda a: a.sum(axis=1), ((5, 40_001),)),
    ("sums of columns", lambda a: a.sum(axis=0), ((40_001, 5),)),
    ("sum of the middle axis", lambda a: wf.exp(a).sum(axis=1), ((6, 97, 70),)),
    ("variance", lambda a: wf.var(a, axis=(0, 2)), ((6, 17, 40),)),
    ("extremes", lambda a: wf.max(a, axis=0) - wf.min(a, axis=0), ((99, 33),)),
    ("argmax", lambda a: wf.argmax(a, axis=1), ((99, 133),)),
    ("argmax of everything", lambda a: wf.argmax(a), ((401, 333),)),
    ("running sum", lambda a: wf.cumulative_sum(a, axis=1), ((9, 70),)),
    ("sorted rows", lambda a: wf.sort(a, axis=1, descending=True), ((9, 700),)),
    ("first of columns", lambda a: wf.topk(a, 7, 0)[0] * 2.0, ((700, 9),)),
    ("order of the greatest", lambda a: wf.topk(a, 40)[1], ((33, 300),)),
    ("views", lambda a: wf.flip(a.T[::2, 1:] * 2.0, axis=0).reshape(-1).sum(), ((40, 30),)),
    ("concat", lambda a, b: wf.concat([a, wf.tanh(b)], axis=1), ((8, 5), (8, 60))),
    ("mean squared error", lambda a, b: F.mse_loss(wf.sigmoid(a), b), ((64, 33), (64, 33))),
    ("trigonometry", lambda a: wf.sin(a * 1e4) + wf.cos(a) + wf.tan(a), ((999,),)),
    ("powers", lambda a: wf.pow(wf.abs(a), 2.7) + wf.log1p(wf.abs(a)), ((999,),)),
]


def arrays(shapes: tuple[tuple[int, ...], ...], dtype: Any = wf.float32, seed: int = 0) -> list[wf.Tensor]:
    rng = np.random.default_rng(seed)
    return [wf.astype(wf.asarray(rng.standard_normal(s)), dtype) for s in shapes]


def bits(x: wf.Tensor) -> bytes:
    return np.ascontiguousarray(x.numpy()).tobytes()


@pytest.fixture
def settings() -> Iterator[None]:
    threads, isa = wf.get_num_threads(), wf.configure().isa
    yield
    wf.configure(isa=isa)
    wf.set_num_threads(threads)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("dtype", [wf.float32, wf.float64, wf.bfloat16], ids=str)
@pytest.mark.parametrize(("name", "function", "shapes"), CASES, ids=[c[0] for c in CASES])
def test_one_result_in_every_mode(
    name: str, function: Callable[..., Any], shapes: tuple[tuple[int, ...], ...], dtype: Any, settings: None
) -> None:
    wf.set_num_threads(2)
    inputs = arrays(shapes, dtype)
    eager = bits(function(*inputs))
    assert bits(wf.compile(function)(*inputs)) == eager
    wf.set_num_threads(1)
    assert bits(function(*inputs)) == eager
    assert bits(wf.compile(function)(*inputs)) == eager
    wf.configure(isa="avx2")
    assert bits(function(*inputs)) == eager
    assert bits(wf.compile(function)(*inputs)) == eager


@pytest.mark.parametrize(
    ("name", "function", "shapes"),
    [c for c in CASES if len(c[2][0]) >= 2][:15],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_gradients_have_one_result_in_every_mode(
    name: str, function: Callable[..., Any], shapes: tuple[tuple[int, ...], ...], settings: None
) -> None:
    def loss(*inputs: wf.Tensor) -> Any:
        return (function(*inputs) * 0.5).sum()

    inputs = arrays(shapes)
    gradient = wf.grad(loss, argnums=tuple(range(len(inputs))))
    eager = [bits(g) for g in gradient(*inputs)]
    assert [bits(g) for g in wf.compile(gradient)(*inputs)] == eager
    wf.set_num_threads(1)
    wf.configure(isa="avx2")
    assert [bits(g) for g in wf.compile(gradient)(*inputs)] == eager


BY_ROW: list[Case] = [
    ("linear", lambda a, w, b: F.linear(a, w, b), ((1, 300), (70, 300), (70,))),
    ("convolution", lambda a, w: F.conv1d(a, w, dilation=2), ((1, 40, 30), (13, 40, 7))),
    ("mlp", lambda a, w, v: F.softmax(F.gelu(a @ w) @ v, -1), ((1, 33), (33, 50), (50, 10))),
    ("layer norm", lambda a: F.layer_norm(a, (129,)), ((1, 129),)),
    ("row sums", lambda a: wf.exp(a).sum(axis=1), ((1, 1000),)),
]


@pytest.mark.parametrize(("name", "function", "shapes"), BY_ROW, ids=[c[0] for c in BY_ROW])
@given(rows=st.integers(1, 70), seed=st.integers(0, 9))
def test_a_row_does_not_depend_on_its_batch(
    name: str, function: Callable[..., Any], shapes: tuple[tuple[int, ...], ...], rows: int, seed: int
) -> None:
    first, *others = shapes
    batch, *weights = arrays(((rows, *first[1:]), *others), seed=seed)
    together = function(batch, *weights).numpy()
    at = seed % rows
    alone = function(batch[at : at + 1], *weights).numpy()
    assert alone.tobytes() == together[at : at + 1].tobytes()


@given(n=st.integers(0, 200_000), seed=st.integers(0, 99))
def test_a_sum_is_what_the_contract_says(n: int, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal(n).astype(np.float32)
    assert wf.sum(wf.asarray(x)).numpy().tobytes() == contract_sum(x).tobytes()


def contract_sum(x: np.ndarray[Any, Any]) -> Any:
    """Numerics contract, 2, literally."""
    chunk = 1 << 15
    if x.size > chunk:
        return contract_sum(np.array([contract_sum(x[i : i + chunk]) for i in range(0, x.size, chunk)], x.dtype))
    lanes = np.zeros(64, x.dtype)
    for start in range(0, x.size, 64):
        part = x[start : start + 64]
        lanes[: part.size] += part
    while lanes.size > 1:
        half = lanes.size // 2
        lanes = lanes[:half] + lanes[half:]
    return lanes[0]
