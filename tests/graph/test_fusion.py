"""How many kernels a graph becomes, and how much memory it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import weft as wf
from weft.graph.executable import Executable
from weft.nn import functional as F


def executable(function: Callable[..., Any], *args: Any) -> Executable:
    """The executable behind a compiled function."""
    entry, _ = wf.compile(function)._entry(args, {})
    return entry.exe


def kinds(function: Callable[..., Any], *args: Any) -> list[str]:
    return [type(x.kernel).__name__ for x in executable(function, *args).launches]


X, W, ROW = wf.ones((32, 100)), wf.ones((64, 100)), wf.ones(100)
LABELS = wf.zeros(32, dtype=wf.int64)

FUSED: list[tuple[str, Callable[..., Any], tuple[Any, ...], list[str]]] = [
    ("a chain of elementwise ops", lambda x: wf.exp(x * 2.0 + 1.0) - wf.tanh(x), (X,), ["Nest"]),
    ("gelu", lambda x: F.gelu(x), (X,), ["Nest"]),
    ("softmax", lambda x: F.softmax(x, -1), (X,), ["Nest"]),
    ("log_softmax", lambda x: F.log_softmax(x, -1), (X,), ["Nest"]),
    ("layer_norm", lambda x, w: F.layer_norm(x, (100,), w, w), (X, ROW), ["Nest"]),
    ("variance of rows", lambda x: wf.var(x, axis=1), (X,), ["Nest"]),
    ("mean of columns", lambda x: wf.mean(x, axis=0), (X,), ["ColumnReduce"]),
    ("rows of few elements stand side by side", lambda x: wf.sum(x, axis=1), (wf.ones((64, 3)),), ["ColumnReduce"]),
    ("windows", lambda x: wf.max(x.unfold(0, 3, 2).unfold(1, 3, 2), axis=(2, 3)), (X,), ["ColumnReduce"]),
    (
        "windows of what is computed, and what becomes of them",
        lambda x: wf.mean(F.relu(x).unfold(0, 3, 2).unfold(1, 3, 2), axis=(2, 3)) * 2.0 + 1.0,
        (X,),
        ["ColumnReduce"],
    ),
    ("an outer product's sum", lambda x, r: wf.sum(x[:, None, :] * x, axis=(1, 2)), (X, ROW), ["Nest"]),
    (
        "softmax over axes that are not one",
        lambda x, r: (e := wf.exp(x + r - wf.max(x + r))) / wf.sum(e),
        (X, ROW),
        ["Nest"],
    ),
    ("product and sum in one pass", lambda x: (x * 2.0, wf.sum(x * 2.0, axis=1)), (X,), ["Nest"]),
    ("linear with bias and relu", lambda x, w: F.relu(F.linear(x, w, wf.ones(64))), (X, W), ["Contraction"]),
    (
        "the same of batches of sequences, and a residual",
        lambda x, w, r: F.relu(F.linear(x, w, wf.ones(64))) + r,
        (wf.ones((4, 8, 100)), W, wf.ones((4, 8, 64))),
        ["Contraction"],
    ),
    (
        "what reads a product turned",
        lambda x, w: F.linear(x, w).mT + 1.0,
        (wf.ones((4, 8, 100)), W),
        ["Contraction", "Nest"],
    ),
    ("softmax's gradient", lambda x: wf.grad(lambda z: (F.softmax(z, -1) * x).sum())(x), (X,), ["Nest"]),
    ("cross entropy", lambda x, i: F.cross_entropy(x, i), (X, LABELS), ["Nest", "Nest"]),
    (
        "attention",
        lambda q: F.softmax(q @ q.mT * 0.1, -1) @ q,
        (wf.ones((4, 8, 16, 32)),),
        ["Contraction", "Nest", "Contraction"],
    ),
    ("concat writes each part once", lambda x: wf.concat([x[:, :9], x * 2.0], axis=1), (X,), ["Nest", "Nest"]),
    ("equal pieces of one source are one loop", lambda x: wf.concat([x, x * 2.0], axis=1), (X,), ["Nest"]),
    (
        "pieces that share nothing",
        lambda x, r: wf.concat([x * 2.0, r + 1.0], axis=0),
        (X, wf.ones((32, 100))),
        ["Nest"] * 2,
    ),
    (
        "what is computed for the pieces, and stays in registers",
        lambda x: wf.concat([(y := wf.sigmoid(x)), y * (1.0 - y)], axis=0),
        (X,),
        ["Nest"],
    ),
    (
        "the gradient of parts",
        lambda x: wf.grad(lambda z: (wf.sigmoid(z[:, :50]) * wf.tanh(z[:, 50:])).sum())(x),
        (X,),
        ["Nest"],
    ),
    ("views cost nothing", lambda x: wf.flip(x.T[1:, ::2], axis=0) * 2.0, (X,), ["Nest"]),
    ("rows of an embedding", lambda w, i: F.embedding(i, w) + 1.0, (W, LABELS), ["Nest"]),
]


@pytest.mark.parametrize(("name", "function", "args", "expected"), FUSED, ids=[c[0] for c in FUSED])
def test_kernels(name: str, function: Callable[..., Any], args: tuple[Any, ...], expected: list[str]) -> None:
    assert kinds(function, *args) == expected


def test_one_kernel_updates_parameter_and_moments() -> None:
    p, m, v = wf.ones(1000), wf.zeros(1000), wf.zeros(1000)

    def update(g: wf.Tensor) -> None:
        m.assign(m * 0.9 + g * 0.1)
        v.assign(v * 0.99 + g * g * 0.01)
        p.assign(p - 0.1 * m / (wf.sqrt(v) + 1e-8))

    exe = executable(update, wf.ones(1000))
    assert [type(x.kernel).__name__ for x in exe.launches] == ["Nest"]
    assert len(exe.launches[0].writes) == 3, "all three are written in place"
    assert exe.plan.arena_nbytes == 0


@pytest.mark.plain_memory
def test_temporaries_share_one_arena() -> None:
    def layers(x: wf.Tensor) -> wf.Tensor:
        for _ in range(12):
            x = x @ x
        return x

    x = wf.ones((64, 64))
    exe = executable(layers, x)
    assert len(exe.launches) == 12
    assert exe.plan.arena_nbytes == 2 * x.nbytes, "two buffers in turn, however long the chain"


@pytest.mark.plain_memory
def test_an_elementwise_result_takes_the_memory_of_its_operand() -> None:
    exe = executable(lambda x: wf.cumulative_sum(wf.cumulative_sum(x, axis=0) * 2.0, axis=0), wf.ones((64, 64)))
    assert exe.plan.arena_nbytes <= 64 * 64 * 4


def test_a_view_that_strides_cannot_say_is_copied_once() -> None:
    x = wf.ones((6, 8))
    assert kinds(lambda x: wf.reshape(x.T, (48,)) * 2.0, x) in (["Nest"], ["Nest", "Nest"])


def test_unused_work_is_dropped_and_equal_work_done_once() -> None:
    def f(x: wf.Tensor) -> wf.Tensor:
        _ = wf.exp(x) @ x
        return (x @ x) + (x @ x)

    x = wf.ones((16, 16))
    graph = wf.compile(f).graph(x)
    assert [n.op.name for n in graph.nodes] == ["contract", "add"]
    assert kinds(f, x) == ["Contraction"]


def test_what_only_an_empty_reduction_would_read_is_not_computed() -> None:
    f = wf.compile(lambda a, b: wf.sum(a @ b, axis=(0, 1)))
    a, b = wf.ones((0, 3)), wf.ones((3, 4))
    assert f(a, b).item() == 0.0 and len(f.kernels(a, b)) == 1
