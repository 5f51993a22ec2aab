"""Loaded models with symbolic sizes: few plans serve all sizes, and give the bits of a graph for each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft as wf
import weft.nn.functional as F
from weft import nn
from weft.core.errors import DTypeError, IndexError_, OutOfMemoryError, ShapeError
from weft.graph import executable
from weft.interop.onnx import loaded as module
from weft.interop.onnx.loaded import Loaded

FIFTY = [8, 1, 2, 3, 0, 4, 5, 6, 7, *range(9, 33), 63, 64, 65, 100, 127, 128, 129, 255, 256, 257, 500, 511, 512, 513]
FIFTY += [999, 1000, 4096]


@pytest.fixture
def restored_threads() -> Iterator[None]:
    """The number of threads is what it was."""
    before = wf.get_num_threads()
    yield
    wf.set_num_threads(before)


class Block(nn.Module):
    """A layer of a transformer over [batch, length] tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 12)
        self.norm = nn.LayerNorm(12)
        self.inner, self.outer = nn.Linear(12, 24), nn.Linear(24, 12)

    def forward(self, tokens: wf.Tensor) -> Any:
        x = self.table(tokens)
        y = self.norm(x)
        x = x + F.softmax(y @ y.mT * 0.3, -1) @ y
        x = x + self.outer(F.gelu(self.inner(x)))
        return {"last": x[:, -1], "mean": wf.mean(x, axis=1)}


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 40), nn.LayerNorm(40), nn.ReLU(), nn.Linear(40, 5), nn.Softmax(dim=-1))


def reloaded(path: Path, net: Callable[..., Any], example: Any, **dynamic: Any) -> Loaded:
    """What a file of ``net`` loads to."""
    wf.save(net, path / "net.onnx", example=example, dynamic=dynamic)
    found = wf.load(path / "net.onnx")
    assert isinstance(found, Loaded)
    return found


def normal(*shape: int) -> wf.Tensor:
    return wf.asarray(np.random.default_rng(shape[0]).standard_normal(shape).astype(np.float32))


def bits(tree: Any) -> list[bytes]:
    return [x.numpy().tobytes() for x in (tree.values() if isinstance(tree, dict) else [tree])]


def alone(model: Loaded, *args: Any) -> list[bytes]:
    """The bits of the graph for the very sizes."""
    tensors = model._tensors(args)
    made = model.call_for(model._sizes(tensors))([*tensors, *model.parameters.values()])
    return [x.numpy().tobytes() for x in made]


@pytest.mark.parametrize("threads", [1, 2])
def test_fifty_batch_sizes_are_few_plans(
    threads: int, tmp_path: Path, restored_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    wf.set_num_threads(threads)
    model = reloaded(tmp_path, mlp(), normal(2, 12), batch=(0, 0))
    assert len(FIFTY) == 50
    found = {}
    for count, n in enumerate(FIFTY):
        if count == 5:  # 8, 1, 2, 3, 0 were there: nothing is lowered or compiled any more
            monkeypatch.setattr(executable, "launches_of", None)
            monkeypatch.setattr(executable, "addresses", None)
        found[n] = bits(model(normal(n, 12)))
    monkeypatch.undo()
    assert len(model._plans) == 3 and not model._calls
    for n in FIFTY:
        assert found[n] == alone(model, normal(n, 12)), n


def windows_of(x: Any) -> Any:
    """Everything that reads through windows, and its gradients."""
    around = {"kernel_size": 3, "stride": 2, "padding": 1}
    greatest, places = F.max_pool2d(x, **around, return_indices=True)
    mean = F.avg_pool2d(x, **around, count_include_pad=False)
    folded = F.conv2d(x, wf.ones((4, 3, 3, 3)), stride=2, padding=1)
    gradient = wf.grad(lambda v: (F.max_pool2d(v, **around) ** 2).sum() + (F.avg_pool2d(v, **around) ** 2).sum())(x)
    return {"max": greatest, "places": places, "mean": mean, "conv": folded, "grad": gradient}


def test_windows_of_many_batch_sizes(tmp_path: Path) -> None:
    model = reloaded(tmp_path, windows_of, normal(2, 3, 9, 9), batch=(0, 0))
    for n in (2, 3, 5, 1, 8, 0, 33, 64):
        x = normal(n, 3, 9, 9)
        assert bits(model(x)) == alone(model, x) == bits(windows_of(x)), n
    assert len(model._plans) <= 5, list(model._plans)


@pytest.mark.parametrize("first", [2, 3, 10])
def test_axes_that_are_of_size_1_for_some_numbers(first: int, tmp_path: Path) -> None:
    def turned(x: Any) -> Any:
        y = x[1:].mT
        return {"flat": wf.reshape(y, (-1,)), "of_it": wf.sum(wf.reshape(wf.where(y > 0.0, y, 0.0), (-1,)))}

    model = reloaded(tmp_path, turned, normal(6, 5), batch=(0, 0))
    for n in (first, 2, 3, 4, 40):
        x = normal(n, 5)
        assert bits(model(x)) == alone(model, x) == bits(turned(x)), n


def test_what_python_code_computes_is_specialised_once_for_a_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = reloaded(tmp_path, lambda x: wf.linalg.det(x) * 2.0, normal(2, 4, 4), batch=(0, 0))
    found = {n: bits(model(normal(n, 4, 4))) for n in (2, 3, 7)}
    monkeypatch.setattr(module, "plan_sizes", None)
    for n, made in found.items():
        assert bits(model(normal(n, 4, 4))) == made == bits(wf.linalg.det(normal(n, 4, 4)) * 2.0)


def test_batch_and_length(tmp_path: Path) -> None:
    def tokens(*shape: int) -> wf.Tensor:
        return wf.asarray(np.random.default_rng(shape).integers(0, 11, shape))

    model = reloaded(tmp_path, Block(), tokens(2, 5), batch=(0, 0), length=(0, 1))
    for shape in [(2, 5), (3, 7), (1, 1), (1, 9), (8, 1), (5, 16), (16, 5), (7, 64), (4, 300), (2, 4), (3, 3)]:
        assert bits(model(tokens(*shape))) == alone(model, tokens(*shape)), shape
    assert len(model._plans) <= 6, list(model._plans)


def test_pictures_of_any_height_and_width(tmp_path: Path) -> None:
    weight = normal(4, 2, 3, 3)

    def net(x: Any) -> Any:
        found = F.max_pool2d(F.relu(F.conv2d(x, weight, padding=1)), 3, 1, 1)
        return F.avg_pool2d(found, (2, 3), 1, (1, 0), count_include_pad=False)

    model = reloaded(tmp_path, net, normal(1, 2, 12, 12), batch=(0, 0), height=(0, 2), width=(0, 3))
    for shape in [
        (1, 2, 12, 12),
        (2, 2, 13, 7),
        (4, 2, 40, 41),
        (1, 2, 3, 3),
        (5, 2, 64, 65),
        (2, 2, 4, 9),
        (3, 2, 7, 3),
    ]:
        x = normal(*shape)
        assert bits(model(x)) == alone(model, x) == bits(net(x)), shape
    assert len(model._plans) <= 4, list(model._plans)
    for shape in [(1, 2, 12, 2), (1, 2, 0, 5)]:  # no window of three in two
        with pytest.raises(ShapeError):
            model(normal(*shape))


def test_an_index_out_of_range_is_named(tmp_path: Path) -> None:
    model = reloaded(tmp_path, Block(), wf.zeros((2, 5), dtype="int64"), batch=(0, 0), length=(0, 1))
    for shape in [(2, 5), (3, 4)]:
        model(wf.zeros(shape, dtype="int64"))
        with pytest.raises(IndexError_, match="index 11 is out of range"):
            model(wf.full(shape, 11, dtype="int64"))


def test_strided_and_differentiated_arguments_give_the_same(tmp_path: Path) -> None:
    model = reloaded(tmp_path, mlp(), normal(2, 12), batch=(0, 0))
    for n in (3, 9):
        x = normal(n, 12)
        expected = bits(model(x))
        strided = x.mT.clone().mT
        assert not strided._spec.contiguous and bits(model(strided)) == expected
        wanted = x.clone().requires_grad_()
        y = model(wanted)
        assert bits(y.detach()) == expected
        wf.sum(y * y).backward()
        assert wanted.grad is not None and wanted.grad.shape == (n, 12)
        assert bits(wf.compile(model)(x)) == expected


def test_parameters_of_another_type_are_not_taken_for_those_of_the_plan(tmp_path: Path) -> None:
    weight = nn.Parameter(wf.ones((12, 4)))
    model = reloaded(tmp_path, lambda x: x @ weight, normal(2, 12), batch=(0, 0))
    x = normal(5, 12)
    before = model(x).numpy()
    (name,) = model.parameters
    model.parameters[name] = wf.full((4, 12), 2.0).mT
    np.testing.assert_array_equal(model(x).numpy(), before * 2)


def test_hostile_sizes_are_errors(tmp_path: Path) -> None:
    model = reloaded(tmp_path, lambda x: wf.exp(x) @ x.mT + 1.0, normal(2, 1), batch=(0, 0))
    model(normal(5, 1))
    big = wf.broadcast_to(wf.ones((1, 1)), (1 << 44, 1))
    with pytest.raises((OutOfMemoryError, ShapeError)):
        model(big)
    with pytest.raises(ShapeError):
        model(normal(5, 2))
    with pytest.raises(DTypeError):
        model(wf.ones((5, 1), dtype="int32"))
    assert model(normal(6, 1)).shape == (6, 6)


def test_what_is_kept_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEPT", 4)
    monkeypatch.setattr(module, "_PLANS", 2)
    model = reloaded(tmp_path, lambda x: wf.sum(x, axis=0) * 2.0, normal(2, 3), batch=(0, 0))
    for n in (0, 1, 5, 40_000, 7, 8, 9, 0, 1, 50_000):
        assert bits(model(normal(n, 3))) == alone(model, normal(n, 3))
        assert len(model._runs) <= 4 and len(model._plans) <= 2 and len(model._calls) <= 4


def test_plans_end_with_the_number_of_threads(tmp_path: Path, restored_threads: None) -> None:
    wf.set_num_threads(1)
    model = reloaded(tmp_path, mlp(), normal(2, 12), batch=(0, 0))
    expected = bits(model(normal(300, 12)))
    (plan,) = model._plans
    wf.set_num_threads(2)
    assert bits(model(normal(300, 12))) == expected
    assert list(model._plans) != [plan] and len(model._plans) == 1


def test_threads_share_a_model(tmp_path: Path) -> None:
    model = reloaded(tmp_path, mlp(), normal(2, 12), batch=(0, 0))
    expected = {n: alone(model, normal(n, 12)) for n in range(1, 41)}
    failed: list[Any] = []
    start = threading.Barrier(4)

    def work(order: list[int]) -> None:
        start.wait()
        for n in order:
            if bits(model(normal(n, 12))) != expected[n]:
                failed.append(n)

    orders = [list(np.random.default_rng(k).permutation(range(1, 41)).tolist()) for k in range(4)]
    workers = [threading.Thread(target=work, args=(order,)) for order in orders]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failed and len(model._plans) == 2


@pytest.mark.parametrize("name", ["max", "min", "argmax", "argmin"])
def test_the_greatest_of_a_size_that_is_0_is_an_error(name: str, tmp_path: Path) -> None:
    model = reloaded(tmp_path, lambda x: getattr(wf, name)(x * 2.0, axis=0), normal(2, 3), batch=(0, 0), length=(0, 1))
    for shape in [(4, 3), (1, 1), (5, 0), (1, 0)]:
        assert bits(model(normal(*shape))) == bits(getattr(wf, name)(normal(*shape) * 2.0, axis=0))
    with pytest.raises(ShapeError, match="of zero elements"):
        model(wf.zeros((0, 3)))
    assert model(wf.zeros((0, 0))).shape == (0,)  # there is no element to be the greatest of none


SHIFTED: dict[str, Any] = {
    "softmax": lambda x: F.softmax(x, 1),
    "log_softmax": lambda x: F.log_softmax(x, 1),
    "softmax of several parts": lambda x: F.softmax(x * 2.0, 1).sum(1) + 1.0,
    "softmax of 16 bits": lambda x: F.softmax(x.to(wf.float16), 1),
    "logsumexp": lambda x: wf.logsumexp(x, axis=1),
    "logsumexp of two axes": lambda x: wf.logsumexp(x, axis=(0, 2), keepdims=True),
    "logsumexp of all": lambda x: wf.logsumexp(x),
}


@pytest.mark.parametrize("name", SHIFTED)
def test_softmax_over_a_size_that_is_0_is_that_of_no_elements(name: str, tmp_path: Path) -> None:
    function = SHIFTED[name]
    model = reloaded(tmp_path, function, normal(2, 3, 4), a=(0, 0), b=(0, 1), c=(0, 2))
    for shape in [(2, 0, 4), (2, 3, 0), (0, 3, 4), (0, 0, 0), (3, 2, 1)]:
        x = normal(*shape)
        assert model(x).shape == function(x).shape and bits(model(x)) == bits(function(x))


def test_a_sequence_without_elements(tmp_path: Path) -> None:
    model = reloaded(tmp_path, lambda x: F.softmax(x @ x.mT, -1) @ x, normal(2, 5, 3), batch=(0, 0), length=(0, 1))
    for shape in [(2, 5, 3), (2, 0, 3), (0, 5, 3), (0, 0, 3), (3, 1, 3)]:
        x = normal(*shape)
        assert bits(model(x)) == bits(F.softmax(x @ x.mT, -1) @ x)
