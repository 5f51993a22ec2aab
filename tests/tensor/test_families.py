"""Eager signatures that differ in sizes alone: few plans serve them all, with the bits that plans of numbers have."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from few_examples import few
from hypothesis import strategies as st

import weft as wf
import weft.nn.functional as F
from weft.graph import executable
from weft.graph.ir import Graph
from weft.ops import op
from weft.tensor import caches, dispatch, families, windows
from weft.tensor.calls import GraphCall
from weft.tensor.sized_call import BoundCall

SIZES = (5, 3, 64, 2, 1, 7, 9, 16, 17, 0, 65, 130, 257, 1025)
Shapes = Callable[[int], Sequence[tuple[int, ...]]]


@contextmanager
def fresh(numbers: bool = False) -> Iterator[None]:
    """No plans yet; ``numbers``: none with symbols to come."""
    before = families._NUMERIC
    families._NUMERIC = 1 << 60 if numbers else 2
    dispatch.forget_plans()
    windows._families.clear()
    try:
        yield
    finally:
        families._NUMERIC = before
        dispatch.forget_plans()
        windows._families.clear()


def served() -> int:
    """Signatures that were bound to a graph for many sizes."""
    return sum(family._served for function in op.all_composites() for family in function.families.values())


def bits(function: Callable[..., Any], shapes: Sequence[tuple[int, ...]]) -> list[Any]:
    """The results of a function of float32 tensors, and its gradients: dtype, shape and bytes."""
    rng = np.random.default_rng(sum(map(sum, shapes)))
    tensors = [wf.tensor(rng.standard_normal(shape).astype("f4")).requires_grad_() for shape in shapes]
    try:
        found = function(*tensors)
        found = found if isinstance(found, tuple) else (found,)
        for result in found:
            if result.requires_grad:
                (
                    result * wf.arange(int(np.prod(result.shape)), dtype=wf.float32).reshape(result.shape)
                ).sum().backward()
    except (wf.ShapeError, IndexError) as error:
        return [type(error), str(error)]
    arrays = [t.detach().numpy() for t in (*found, *[t.grad for t in tensors if t.grad is not None])]
    return [(a.dtype, a.shape, a.tobytes()) for a in arrays]


def _attention(x: Any) -> Any:
    q = x.reshape(2, x.shape[1], 2, 8).transpose(1, 2)
    heads = F.softmax(q @ q.transpose(-1, -2) * 0.35, -1) @ q
    return heads.transpose(1, 2).reshape(2, x.shape[1], 16)


def _written(x: Any) -> Any:
    y = x * 1.0
    y += x
    y *= 2.0
    y[1:] += 1.0
    y[:, 0] = x[:, 1]
    y.mul_(x)
    y.clamp_(-1, 1)
    return y


def _written_through(x: Any) -> Any:
    y = x * 1.0
    z = y.transpose(0, 1)
    z += 1.0
    z[0] *= x[:, 0]
    y[:, :2].zero_()
    return z * 1.0


# What is computed, and the shapes of its operands for a size.
PROGRAMS: dict[str, tuple[Callable[..., Any], Shapes]] = {
    "elementwise": (lambda x, y: wf.tanh(x * y) + x, lambda n: [(n, 5), (n, 5)]),
    "a repeated row": (lambda x, y: x * y + 1.0, lambda n: [(n, 5), (5,)]),
    "a repeated column": (lambda x, y: x - y, lambda n: [(5, n), (5, 1)]),
    "rows by columns": (lambda x, y: x * y, lambda n: [(n, 1), (1, n)]),
    "activations": (lambda x: F.gelu(x) + F.silu(x) + F.softplus(x), lambda n: [(n, 5)]),
    "mean": (lambda x: wf.mean(x, axis=0), lambda n: [(n, 12)]),
    "variance": (lambda x: wf.var(x, axis=1), lambda n: [(6, n)]),
    "total": (lambda x: wf.sum(x), lambda n: [(n, 40)]),
    "extremes": (lambda x: (x.max(dim=1)[0], wf.argmax(x, axis=1)), lambda n: [(3, n)]),
    "running sums": (lambda x: wf.cumulative_sum(x, axis=1), lambda n: [(3, n)]),
    "softmax": (lambda x: F.softmax(x, -1), lambda n: [(3, n)]),
    "log softmax": (lambda x: F.log_softmax(x, 0), lambda n: [(n, 3)]),
    "layer norm": (lambda x, w: F.layer_norm(x, tuple(w.shape), w, w), lambda n: [(4, n), (n,)]),
    "cross entropy": (lambda x: F.cross_entropy(x, wf.asarray(np.arange(x.shape[0]) % 5)), lambda n: [(n, 5)]),
    "matmul": (lambda x, y: F.relu(x @ y + 1.0), lambda n: [(n, 70), (70, 24)]),
    "inner": (lambda x: x @ x.mT, lambda n: [(3, n)]),
    "outer": (lambda x: x.mT @ x, lambda n: [(3, min(n, 260))]),
    "linear": (lambda x, w, b: F.linear(x, w, b), lambda n: [(2, n, 8), (7, 8), (7,)]),
    "attention": (_attention, lambda n: [(2, min(n, 260), 16)]),
    "windows": (lambda x, w: F.conv1d(x, w, padding=2), lambda n: [(2, 3, n + 1), (4, 3, 3)]),
    "embedding": (lambda w: F.embedding(wf.asarray(np.arange(w.shape[0]) % 5)[None], w), lambda n: [(n, 5)]),
    "gather": (lambda x: x[wf.asarray(np.arange(x.shape[0]) // 2)], lambda n: [(n, 5)]),
    "gather columns": (lambda x: x[:, wf.asarray(np.arange(3))], lambda n: [(4, n, 5)]),
    "parts": (lambda x: x[1:] * x[:-1], lambda n: [(n + 1, 5)]),
    "part of rows": (lambda x: wf.tanh(x[:, 1:-1]) * 2.0, lambda n: [(4, n + 1)]),
    "every other": (lambda x: x[:, ::2] + 1.0, lambda n: [(4, 2 * n)]),
    "halves": (lambda x: wf.concat(list(x.chunk(2, dim=1)), axis=0), lambda n: [(3, 2 * n)]),
    "joined": (lambda x, y: wf.concat([x, y, x * 2.0], axis=0), lambda n: [(n, 6), (3, 6)]),
    "pad": (lambda x: wf.pad(x, ((1, 2), (0, 3))), lambda n: [(n, 6)]),
    "turned": (lambda x: wf.reshape(x.mT, (-1,)) * 2.0, lambda n: [(n, 24)]),
    "view": (lambda x: x.view(2 * x.shape[1], 2) * 2.0, lambda n: [(4, n)]),
    "expanded": (lambda x: x.expand(3, x.shape[0]) * 2.0, lambda n: [(n,)]),
    "zeros": (lambda x: x + wf.zeros((x.shape[0], 5)), lambda n: [(n, 5)]),
    "arange": (lambda x: x * wf.arange(x.shape[0])[:, None] + wf.full((x.shape[0], 1), 2.5), lambda n: [(n, 5)]),
    "diagonal": (lambda x: x @ wf.eye(x.shape[1]), lambda n: [(5, min(n, 260))]),
    "triangle": (lambda x: wf.tril(x), lambda n: [(min(n, 260),) * 2]),
    "written": (_written, lambda n: [(n + 1, 5)]),
    "written through": (_written_through, lambda n: [(n, 5)]),
}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", PROGRAMS)
def test_signatures_of_a_family_give_the_bits_of_plans_of_numbers(name: str) -> None:
    function, shapes = PROGRAMS[name]
    with fresh(numbers=True):
        expected = [bits(function, shapes(n)) for n in SIZES]
    with fresh():
        for n, wanted in zip(SIZES, expected, strict=True):
            assert bits(function, shapes(n)) == wanted, n
        assert served() >= 5


@few(4, 40, st.data())
def test_random_operands_give_the_bits_of_plans_of_numbers(data: st.DataObject) -> None:
    """Operands of any sizes and strides, one after the other, of one function."""
    function = data.draw(
        st.sampled_from(
            [
                lambda x, y: wf.tanh(x * y) + x,
                lambda x, y: F.softmax(x - y, -1),
                lambda x, y: (x @ y.mT) * 0.5,
                lambda x, y: wf.concat([x, y], axis=0).sum(axis=1),
                lambda x, y: wf.where(x > y, x, 0.0).mean(axis=0),
            ]
        )
    )
    size = st.integers(0, 9) | st.sampled_from((16, 17, 64, 65, 130))
    draws = data.draw(st.lists(st.tuples(size, size, st.integers(0, 5), st.integers(0, 5)), min_size=4, max_size=8))

    def strided(x: Any, way: int) -> Any:
        """The same elements, lying otherwise."""
        rows, columns = x.shape
        if way == 1:
            return x.mT.contiguous().mT if rows else x
        if way == 2:
            return wf.pad(x, ((0, 1), (1, 2)))[:rows, 1 : columns + 1]
        if way == 3 and columns:
            return wf.stack([x, x], axis=2)[:, :, 1]
        if way == 4:
            return x[:1].expand(rows, columns)
        return x

    def run() -> list[Any]:
        found = []
        for rows, columns, one, other in draws:
            ways = one, other
            found.append(
                bits(lambda x, y, ways=ways: function(strided(x, ways[0]), strided(y, ways[1])), [(rows, columns)] * 2)
            )
        return found

    with fresh(numbers=True):
        expected = run()
    with fresh():
        assert run() == expected


def test_gradients_of_gradients_are_bound_too() -> None:
    def second(x: Any) -> Any:
        inner = wf.grad(lambda v: (wf.tanh(v) * v * v).sum())
        return inner(x) * x

    with fresh(numbers=True):
        expected = [bits(second, [(n, 3)]) for n in SIZES]
    with fresh():
        assert [bits(second, [(n, 3)]) for n in SIZES] == expected


def _plans(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Grows with each plan that is made."""
    found: list[Any] = []
    plan = executable.plan_graph

    def counted(*args: Any, **kwargs: Any) -> Any:
        found.append(args[0].name)
        return plan(*args, **kwargs)

    monkeypatch.setattr(executable, "plan_graph", counted)
    return found


def test_many_lengths_make_few_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    made = _plans(monkeypatch)
    w = wf.tensor(np.ones((16, 8), "f4")).requires_grad_()

    def step(n: int) -> None:
        x = wf.ones((n, 16)).requires_grad_()
        z = F.softmax(wf.tanh(x * 2.0 + 1.0) * x, -1) @ w
        (z * z).sum().backward()

    with fresh():
        for n in range(10, 40):
            step(n)
        before = len(made)
        for n in range(40, 240):
            step(n)
        assert before < 60
        assert len(made) - before <= 4, made[before:]  # where a long reduction is cut


def test_a_size_that_is_needed_as_a_number_makes_no_family(monkeypatch: pytest.MonkeyPatch) -> None:
    x = wf.ones((2, 3, 4, 5))
    with fresh():
        assert [F.softmax(x, axis).shape for axis in (0, 1, 2, 3)] == [x.shape] * 4
        assert [wf.sum(x, axis=axis).shape for axis in (0, 1, 2, 3)] == [(3, 4, 5), (2, 4, 5), (2, 3, 5), (2, 3, 4)]
        assert [len(x.split(n, dim=3)) for n in (1, 2, 3, 4, 5)] == [5, 3, 2, 2, 1]


def test_errors_are_those_of_numbers() -> None:
    def failures() -> list[str]:
        found = []
        for n in range(3, 9):
            _ = wf.ones((n, 4)) + wf.ones((n, 4))
            for call in (
                lambda n=n: wf.ones((n, 4)) + wf.ones((n + 1, 4)),
                lambda n=n: wf.ones((n, 4)) @ wf.ones((n + 5, 4)),
                lambda n=n: wf.ones((n, 4)).reshape(n, 5),
                lambda n=n: wf.take(wf.ones((n, 4)), wf.asarray([n]), axis=0),
            ):
                with pytest.raises((wf.ShapeError, IndexError)) as caught:
                    call()
                found.append(str(caught.value).partition("\n")[0])
        return found

    with fresh(numbers=True):
        expected = failures()
    with fresh():
        assert failures() == expected
    assert any("index 7 is out of range for axis 0 of size 7" in text for text in expected)


def test_a_capture_has_graphs_of_numbers() -> None:
    """What an eager call has bound is no part of a captured graph."""

    def double(x: Any) -> Any:
        return F.softmax(x + x, -1)

    with fresh():
        graph = str(wf.compile(double).graph(wf.ones((8, 3))))
        for n in range(2, 9):
            double(wf.ones((n, 3)))
        plan, _ = dispatch.plan_of(wf.add, (wf.ones((8, 3)), wf.ones((8, 3))), {})
        assert plan.call.__class__ is BoundCall or plan.call.__class__ is GraphCall
        assert str(wf.compile(double).graph(wf.ones((8, 3)))) == graph
        assert double(wf.ones((8, 3))).numpy().tobytes() == wf.compile(double)(wf.ones((8, 3))).numpy().tobytes()


def test_plans_are_bounded_and_those_in_use_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "_GENERATION", 4)
    with fresh():
        x = wf.ones((3, 3))
        kept = dispatch.plan_of(wf.tanh, (x,), {})[0]
        for n in range(2, 400):
            wf.exp(wf.ones((n, n % 7 + 1)))
            if n % 8 == 0:
                assert dispatch.plan_of(wf.tanh, (x,), {})[0] is kept
        count = sum(len(f.plans) + len(f.older) for f in op.all_composites())
        assert count <= 2 * 4 * caches._BOUND
        for n in range(2, 400):
            wf.exp(wf.ones((n, n % 7 + 1)))
        assert dispatch.plan_of(wf.tanh, (x,), {})[0] is not kept


def test_plans_that_are_forgotten_are_held_by_nobody() -> None:
    gc.collect()
    before = sum(type(each) is Graph for each in gc.get_objects())
    x = wf.ones((64, 3))
    for n in range(2, 12):
        wf.tanh(wf.ones((n, 3)))
        x[n:].add_(1.0)  # a view's write has families of its own
    assert families._latest
    dispatch.forget_plans()
    gc.collect()
    assert sum(type(each) is Graph for each in gc.get_objects()) <= before


def test_joint_updates_of_many_shapes_are_those_of_numbers() -> None:
    """An optimizer's step, and clipping, put the steps of programs together that are bound to sizes."""

    def train() -> list[bytes]:
        shapes = [(3, 4), (5, 6), (7, 8), (9, 2), (30, 40), (3,), (4,), (50,), (300,), (2,)]
        parameters = [wf.nn.Parameter(wf.arange(int(np.prod(s)), dtype=wf.float32).reshape(s)) for s in shapes]
        optimizer = wf.optim.AdamW(parameters, lr=0.1)
        for step in range(4):
            for p in parameters:
                p.grad = wf.arange(int(np.prod(p.shape)), dtype=wf.float32).reshape(p.shape) + step
            wf.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
        return [p.detach().numpy().tobytes() for p in parameters]

    with fresh(numbers=True):
        expected = train()
    with fresh():
        for _ in range(3):
            assert train() == expected
