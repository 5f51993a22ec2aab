"""A saved model is the model: the same bits after reloading for every batch size, and ONNX Runtime agrees."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_peer
import pytest
from few_examples import few
from hypothesis import given, settings
from hypothesis import strategies as st

import weft as wf
from weft import nn
from weft.core.errors import CaptureError, FormatError
from weft.interop.onnx.tags import digest_of
from weft.nn import functional as F


class Attention(nn.Module):
    """One head of self-attention with a residual, over tokens."""

    def __init__(self, vocabulary: int, size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, size)
        self.norm = nn.LayerNorm(size)
        self.query, self.key, self.value = (nn.Linear(size, size) for _ in range(3))
        self.head = nn.Linear(size, vocabulary)

    def forward(self, tokens: wf.Tensor) -> dict[str, wf.Tensor]:
        x = self.embedding(tokens)
        y = self.norm(x)
        weights = F.softmax(self.query(y) @ self.key(y).mT * 0.25, -1)
        x = x + weights @ self.value(y)
        return {"logits": self.head(F.gelu(x)), "weights": weights}


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 5))


def normalizing() -> nn.Module:
    return nn.Sequential(
        nn.Linear(12, 16), nn.LayerNorm(16), nn.GELU(), nn.RMSNorm(16), nn.SiLU(), nn.Linear(16, 5), nn.Softmax(dim=-1)
    )


def activations() -> nn.Module:
    return nn.Sequential(
        nn.Linear(12, 12),
        nn.Tanh(),
        nn.LeakyReLU(),
        nn.ELU(),
        nn.Softplus(),
        nn.Sigmoid(),
        nn.Linear(12, 5),
        nn.LogSoftmax(dim=-1),
    )


def flattening() -> nn.Module:
    return nn.Sequential(nn.Unflatten(1, (3, 4)), nn.Linear(4, 6), nn.Flatten(), nn.Linear(18, 5))


def batch(size: int, seed: int = 0) -> wf.Tensor:
    return wf.asarray(np.random.default_rng(seed).normal(size=(size, 12)).astype(np.float32))


def same_bits(a: Any, b: Any) -> bool:
    return bool(a.dtype is b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes())


@pytest.mark.parametrize("make", [mlp, normalizing, activations, flattening])
def test_reload_gives_the_same_bits_for_every_batch(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    net, path = make(), tmp_path / "net.onnx"
    wf.save(net, path, example=batch(2), dynamic={"batch": (0, 0)})
    onnx_peer.check(path)
    loaded = wf.load(path)
    net.eval()
    for size in (1, 7, 64):
        x = batch(size, size)
        expected = net(x)
        assert same_bits(loaded(x), expected)
        np.testing.assert_allclose(onnx_peer.run(path, x)[0], expected.numpy(), rtol=2e-4, atol=2e-6)
        np.testing.assert_allclose(wf.load(path, strict=False)(x).numpy(), expected.numpy(), rtol=2e-4, atol=2e-6)


def test_attention_with_two_symbolic_sizes(tmp_path: Path) -> None:
    net, path = Attention(11, 8), tmp_path / "net.onnx"
    rng = np.random.default_rng(0)
    wf.save(net, path, example=wf.asarray(rng.integers(0, 11, (2, 5))), dynamic={"batch": (0, 0), "length": (0, 1)})
    onnx_peer.check(path)
    loaded = wf.load(path)
    assert str(loaded.inputs) == "{'tokens': int64[batch, length]}"
    for shape in ((1, 1), (3, 7), (2, 5)):
        tokens = wf.asarray(rng.integers(0, 11, shape))
        expected, found = net(tokens), loaded(tokens)
        assert list(found) == ["logits", "weights"] and all(same_bits(found[k], expected[k]) for k in found)
        for a, k in zip(onnx_peer.run(path, tokens), ("logits", "weights"), strict=True):
            np.testing.assert_allclose(a, expected[k].numpy(), rtol=2e-4, atol=2e-6)
    with pytest.raises(IndexError):
        loaded(wf.asarray([[11]]))


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64"])
def test_orders_of_axes_of_any_size(dtype: str, tmp_path: Path) -> None:
    """Of many equal elements ONNX Runtime takes the first too. A file that keeps three refuses an axis of two."""
    path, rng = tmp_path / "net.onnx", np.random.default_rng(0)

    def function(x: Any) -> Any:
        return *x.topk(3), x.argsort(0, True), wf.sort(x), x.topk(2, 0, False).indices

    wf.save(function, path, example=wf.ones((2, 5), dtype=dtype), dynamic={"n": (0, 0), "m": (0, 1)})
    onnx_peer.check(path)
    loaded = wf.load(path)
    for shape in ((2, 3), (40, 300), (7, 90)):
        x = wf.asarray(rng.integers(-9, 9, shape).astype(dtype))
        for a, b, c in zip(loaded(x), function(x), onnx_peer.run(path, x), strict=True):
            assert same_bits(a, b)
            np.testing.assert_array_equal(b.numpy(), c)
    with pytest.raises(wf.ShapeError, match=r"3 of the elements of .*\[4, 2\]"):
        loaded(wf.ones((4, 2), dtype=dtype))


POOLS: dict[str, Callable[..., Any]] = {
    "max_pool2d": lambda x: F.max_pool2d(x, 2),
    "max_pool2d, padded and overlapping": lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    "max_pool2d of integers": lambda x: F.max_pool2d((x * 4).astype(wf.int64), 2),
    "max_pool2d of float16": lambda x: F.max_pool2d(x.half(), 3, 1, 1),
    "avg_pool1d": lambda x: F.avg_pool1d(x.flatten(2), 5, 3),
    "avg_pool2d, counts with padding": lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
    "avg_pool2d, counts without": lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False),
    "indices": lambda x: F.max_pool2d(x, 3, 2, 1, return_indices=True),
    "gradient of max_pool2d": wf.grad(lambda x: (F.max_pool2d(x, 3, 2, 1) ** 2).sum()),
    "gradient of avg_pool2d": wf.grad(lambda x: (F.avg_pool2d(x, 3, 2, 1) ** 2).sum()),
    "convolutions between": lambda x: F.avg_pool2d(
        F.conv2d(F.relu(F.max_pool2d(x, 2, padding=1)), wf.ones((4, 2, 3, 3)), padding=1), 2
    ).view(x.size(0), -1),
}


@pytest.mark.parametrize("name", POOLS)
def test_a_dynamic_batch_of_images_is_pooled(name: str, tmp_path: Path) -> None:
    function, path, rng = POOLS[name], tmp_path / "net.onnx", np.random.default_rng(0)

    def images(batch: int) -> wf.Tensor:
        return wf.asarray(rng.standard_normal((batch, 2, 7, 8)).astype(np.float32))

    wf.save(function, path, example=images(3), dynamic={"batch": (0, 0)})
    onnx_peer.check(path)
    loaded = wf.load(path)
    for batch in (3, 1, 8):
        x = images(batch)
        expected, found = function(x), loaded(x)
        for a, b in zip(*([v] if isinstance(v, wf.Tensor) else v for v in (expected, found)), strict=True):
            assert same_bits(a, b)
        first = expected if isinstance(expected, wf.Tensor) else expected[0]
        np.testing.assert_allclose(onnx_peer.run(path, x)[0], first.numpy(), rtol=2e-4, atol=2e-6)


def test_parameters_have_their_names_and_stay_separate(tmp_path: Path) -> None:
    net, path = mlp(), tmp_path / "net.onnx"
    wf.save(net, path, example=batch(1))
    loaded = wf.load(path)
    assert list(loaded.parameters) == ["0.weight", "0.bias", "3.weight", "3.bias"]
    assert all(same_bits(loaded.parameters[k], v) for k, v in net.state_dict().items())
    before = loaded(batch(1))
    with wf.no_grad():
        net[0].weight.assign(wf.zeros((16, 12)))
    assert same_bits(loaded(batch(1)), before)


def test_saving_leaves_the_module_as_it_was(tmp_path: Path) -> None:
    net = mlp()
    net[2].eval()
    modes = [m.training for m in net.modules()]
    state = {k: v.numpy().tobytes() for k, v in net.state_dict().items()}
    wf.save(net, tmp_path / "net.onnx", example=batch(1))
    assert [m.training for m in net.modules()] == modes
    assert {k: v.numpy().tobytes() for k, v in net.state_dict().items()} == state


def test_names_of_nodes_tell_the_composite(tmp_path: Path) -> None:
    wf.save(normalizing(), tmp_path / "net.onnx", example=batch(1))
    nodes = onnx_peer.check(tmp_path / "net.onnx").graph.node
    assert any(n.op_type == "Erf" and n.name.startswith("gelu/erf") for n in nodes)
    assert any(n.op_type == "MatMul" and n.name.startswith("linear/matmul") for n in nodes)
    assert not any(n.op_type in ("Expand", "ConstantOfShape") for n in nodes)


def test_the_graph_is_the_same_primitives(tmp_path: Path) -> None:
    from weft.graph.simplify import simplify
    from weft.transforms.capture import capture

    net, path = normalizing().eval(), tmp_path / "net.onnx"
    wf.save(net, path, example=batch(2), dynamic={"batch": (0, 0)})
    with wf.no_grad():
        graph = simplify(capture(net, [wf.spec(("batch", 12))]).graph)
    found = wf.load(path).graph
    assert [(n.op, n.params, n.scope, n.output.type) for n in found.nodes] == [
        (n.op, n.params, n.scope, n.output.type) for n in graph.nodes
    ]
    assert {os.path.basename(n.where[0]) for n in found.nodes if n.where} == {"test_model_file.py"}


def test_forms_of_arguments_and_results(tmp_path: Path) -> None:
    def function(pair: Any, scale: Any) -> Any:
        a, b = pair["left"], pair["right"][0]
        return [a * scale, (b + scale, None)], {"sum": wf.sum(a) + wf.sum(b)}

    path, arguments = tmp_path / "f.onnx", ({"left": wf.ones(3), "right": [wf.ones(2)]}, wf.asarray(2.0))
    wf.save(function, path, example=arguments)
    loaded = wf.load(path)
    assert list(loaded.inputs) == ["pair_left", "pair_right_0", "scale"]
    (first, (second, nothing)), rest = loaded(*arguments)
    assert first.tolist() == [2, 2, 2] and second.tolist() == [3, 3] and nothing is None and rest["sum"].item() == 5
    with pytest.raises(wf.ShapeError, match="not nested"):
        loaded(wf.ones(3), wf.ones(2), wf.asarray(2.0))


def test_a_result_that_is_an_argument_or_constant(tmp_path: Path) -> None:
    weight = wf.ones(3)
    path = tmp_path / "f.onnx"
    wf.save(lambda x, y: (x, x, weight, wf.full((2,), 3.0)), path, example=(wf.zeros(2), wf.zeros(4)))
    onnx_peer.check(path)
    found = wf.load(path)(wf.asarray([1.0, 2.0]), wf.zeros(4))
    assert [t.tolist() for t in found] == [[1, 2], [1, 2], [1, 1, 1], [3, 3]]
    assert [a.tolist() for a in onnx_peer.run(path, np.float32([1, 2]), np.zeros(4, np.float32))] == [
        [1, 2],
        [1, 2],
        [1, 1, 1],
        [3, 3],
    ]


def test_gradients_flow_through_a_loaded_model(tmp_path: Path) -> None:
    net, path = mlp().eval(), tmp_path / "net.onnx"
    wf.save(net, path, example=batch(2), dynamic={"batch": (0, 0)})
    loaded = wf.load(path)
    for size in (1, 3):
        assert same_bits(*(wf.grad(lambda x, f=f: f(x).sum())(batch(size)) for f in (net, loaded)))


def test_a_loaded_model_is_compiled_into_others_and_saved_again(tmp_path: Path) -> None:
    wf.save(mlp(), tmp_path / "a.onnx", example=batch(2), dynamic={"batch": (0, 0)})
    loaded = wf.load(tmp_path / "a.onnx")
    twice = wf.compile(lambda x: loaded(x) * 2.0)
    assert same_bits(twice(batch(3)), loaded(batch(3)) * 2.0)
    wf.save(twice, tmp_path / "b.onnx", example=batch(3))
    assert same_bits(wf.load(tmp_path / "b.onnx")(batch(3)), twice(batch(3)))


# --- what is refused --------------------------------------------------------------------------------------------


def test_arguments_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "f.onnx"
    wf.save(lambda x, y: x @ y, path, example=(batch(2), wf.ones((12, 2))), dynamic={"n": [(0, 0), (1, 1)]})
    loaded = wf.load(path)
    assert loaded(batch(3), wf.ones((12, 3))).shape == (3, 3)
    assert loaded(np.ones((1, 12), np.float32), [[1.0]] * 12).shape == (1, 1)
    with pytest.raises(wf.ShapeError, match=r"x has shape \(2, 11\)"):
        loaded(wf.ones((2, 11)), wf.ones((11, 2)))
    with pytest.raises(wf.ShapeError, match=r"y has shape \(12, 4\) with \{'n': 2\}"):
        loaded(batch(2), wf.ones((12, 4)))
    with pytest.raises(wf.DTypeError, match="x is float64"):
        loaded(wf.ones((2, 12), dtype=wf.float64), wf.ones((12, 2)))
    with pytest.raises(wf.ShapeError, match="1 arguments"):
        loaded(batch(2))


def test_what_cannot_be_saved_is_said_and_nothing_is_written(tmp_path: Path) -> None:
    path, counter, x = tmp_path / "f.onnx", wf.zeros(()), wf.ones(3)

    def counts(x: wf.Tensor) -> wf.Tensor:
        counter.assign(counter + 1.0)
        return x + counter

    with pytest.raises(CaptureError, match="changes tensors"):
        wf.save(counts, path, example=x)
    assert counter.item() == 0
    with pytest.raises(CaptureError, match="changes tensors"):
        wf.save(lambda x: F.dropout(x), path, example=x)
    with pytest.raises(CaptureError, match="the value of a tensor"):
        wf.save(lambda x: x * x.tolist()[0], path, example=x)
    with pytest.raises(FormatError, match="example holds a float"):
        wf.save(lambda x: x, path, example=1.0)
    with pytest.raises(wf.ShapeError, match="'batch' is axis 1 of argument 0"):
        wf.save(lambda x: x, path, example=x, dynamic={"batch": (0, 1)})
    with pytest.raises(wf.ShapeError, match="named twice"):
        wf.save(lambda x: x, path, example=x, dynamic={"a": (0, 0), "b": (0, 0)})
    with pytest.raises(FormatError, match="not a function"):
        wf.save({}, path, example=x)
    assert not list(tmp_path.iterdir())


def _powers(x: wf.Tensor) -> wf.Tensor:
    return x ** x.shape[0]


DECIDING: dict[str, tuple[Callable[[wf.Tensor], wf.Tensor], str]] = {
    "equal": (lambda x: x * 2.0 if x.shape[0] == 6 else x, "whether n == 6 holds"),
    "a number of elements": (lambda x: x * 2.0 if x.numel() == 24 else x, r"whether 4\*n == 24 holds"),
    "a shape": (lambda x: x * 2.0 if x.shape == (6, 4) else x, "whether n == 6 holds"),
    "one of several": (lambda x: x * 2.0 if x.size(0) in (1, 6) else x, "whether n == 1 holds"),
    "not empty": (lambda x: x * 2.0 if x.shape[0] else x, "whether n == 0 holds"),
    "more than none": (lambda x: x * 2.0 if x.shape[0] > 0 else x, "whether n > 0 holds"),
    "a key": (lambda x: x * {6: 3.0}.get(x.shape[0], 1.0), "the size n is symbolic"),
    "squeezing it": (lambda x: x.squeeze(0), "whether n == 1 holds"),
    "squeezing all": (lambda x: x.squeeze(), "squeeze: whether the axis of size n goes"),
    "a power": (_powers, r"pow: x \*\* n, of a symbolic size, is a product where"),
}


@pytest.mark.parametrize("name", DECIDING)
def test_what_hangs_on_a_dynamic_size_is_refused(name: str, tmp_path: Path) -> None:
    function, message = DECIDING[name]
    with pytest.raises(CaptureError, match=message) as caught:
        wf.save(function, tmp_path / "f.onnx", example=wf.ones((2, 4)), dynamic={"n": (0, 0)})
    assert "test_model_file.py" in str(caught.value) and not list(tmp_path.iterdir())
    wf.save(function, tmp_path / "f.onnx", example=wf.ones((2, 4)))


HOLDING: dict[str, Callable[[wf.Tensor], wf.Tensor]] = {
    "no size is negative": lambda x: x * 2.0 if x.shape[0] >= 0 and x.shape[0] != -1 else x,
    "an integer": lambda x: x * 2.0 if isinstance(x.shape[0], int) else x,
    "the same": lambda x: x * 2.0 if x.shape[0] == x.T.shape[1] and 4 * len(x.shape) == 8 else x,
    "its square": lambda x: (x @ x.T).reshape(x.shape[0] ** 2) * 2.0,
    "a power of integers": lambda x: (x * 8).long() ** x.shape[0],
    "a power of a tensor": lambda x: x ** (wf.zeros(()) + x.shape[0]),
    "squeezing another": lambda x: x.unsqueeze(1).squeeze(1) * 2.0,
}


@pytest.mark.parametrize("name", HOLDING)
def test_what_holds_for_every_size_is_answered(name: str, tmp_path: Path) -> None:
    function, path = HOLDING[name], tmp_path / "f.onnx"
    wf.save(function, path, example=wf.ones((2, 4)), dynamic={"n": (0, 0)})
    for size in (0, 1, 2, 3, 6):
        x = wf.asarray(np.random.default_rng(size).uniform(0.1, 3, (size, 4)).astype(np.float32))
        assert same_bits(wf.load(path)(x), function(x))


def test_a_failed_save_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "f.onnx"
    wf.save(lambda x: x + 1.0, path, example=wf.ones(3))
    before = path.read_bytes()
    with pytest.raises(FormatError):
        wf.save(lambda x: wf.nextafter(x, 1.0), path, example=wf.ones(3))
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["f.onnx"]


# --- verify -----------------------------------------------------------------------------------------------------


def test_verify_computes_the_example_again(tmp_path: Path) -> None:
    net, path = normalizing(), tmp_path / "net.onnx"
    wf.save(net, path, example=batch(2), dynamic={"batch": (0, 0)})
    report = wf.verify(path)
    assert report.sha256 == digest_of([net(batch(2))])
    assert report.parameters == sum(p.size for p in net.parameters())
    assert "verified" in str(report) and "float32[batch, 12]" in str(report)


def test_verify_holds_in_another_process_and_with_one_thread(tmp_path: Path) -> None:
    wf.save(normalizing(), tmp_path / "net.onnx", example=batch(64))
    code = f"import weft as wf; wf.set_num_threads(1); print(wf.verify({str(tmp_path / 'net.onnx')!r}).sha256)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == wf.verify(tmp_path / "net.onnx").sha256


def test_saving_imports_no_more_than_it_needs() -> None:
    code = "import sys, weft.interop; print([n for n in ('onnx', 'safetensors', 'google') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- any function -----------------------------------------------------------------------------------------------

UNARY = ["exp", "tanh", "sin", "abs", "negative", "square", "sigmoid", "floor", "sign", "erf", "expm1"]
BINARY = ["add", "subtract", "multiply", "maximum", "minimum", "atan2", "hypot", "copysign", "less", "where"]
SHAPED = [
    "sum0",
    "sum1",
    "max1",
    "mean",
    "softmax",
    "transpose",
    "flip",
    "matmul",
    "concat",
    "reshape",
    "cumulative",
    "step",
    "pad",
    "take",
]


def program(steps: list[tuple[str, int, int]]) -> Callable[[wf.Tensor], Any]:
    """A function of a matrix (n, 4) that applies the steps to earlier values, all of them (n, 4)."""

    def function(x: wf.Tensor) -> Any:
        values = [x, x * 0.5]
        for name, i, j in steps:
            a, b = values[i % len(values)], values[j % len(values)]
            values.append(_step(name, a, b))
        return values[-1], wf.sum(values[-2], axis=0)

    return function


def _step(name: str, a: wf.Tensor, b: wf.Tensor) -> Any:
    if name in UNARY:
        return getattr(wf, name)(wf.clip(a, -4.0, 4.0))
    if name == "less":
        return (a < b).astype(wf.float32)
    if name == "where":
        return wf.where(a > b, a, b * 2.0)
    if name in BINARY:
        return getattr(wf, name)(a, b)
    return {
        "sum0": lambda: a + wf.sum(b, axis=0) * 0.1,
        "sum1": lambda: a - wf.sum(b, axis=1, keepdims=True) * 0.1,
        "max1": lambda: a - wf.max(b, axis=1, keepdims=True),
        "mean": lambda: a * wf.mean(b),
        "softmax": lambda: F.softmax(a, -1),
        "transpose": lambda: (a.T + b.T).T,
        "flip": lambda: wf.flip(a, axis=0),
        "matmul": lambda: a @ (b.T @ a) * 0.01,
        "concat": lambda: wf.concat([a[:, :2], b[:, 1:3]], axis=1),
        "reshape": lambda: wf.reshape(wf.reshape(a, (-1,)), tuple(b.shape)),
        "cumulative": lambda: wf.cumulative_sum(a, axis=1),
        "step": lambda: wf.concat([a[:, ::2], b[:, 1::2]], axis=1),
        "pad": lambda: wf.pad(a[:, 1:3], ((0, 0), (1, 1)), value=0.5),
        "take": lambda: wf.take(a, wf.asarray([3, 0, -3, 1]), axis=1),
    }[name]()


@few(
    8,
    75,
    steps=st.lists(
        st.tuples(st.sampled_from(UNARY + BINARY + SHAPED), st.integers(0, 9), st.integers(0, 9)),
        min_size=1,
        max_size=6,
    ),
    size=st.integers(1, 9),
)
def test_random_functions(
    steps: list[tuple[str, int, int]], size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    function, path = program(steps), tmp_path_factory.mktemp("program") / "f.onnx"
    x = wf.asarray(np.random.default_rng(size).normal(size=(size, 4)).astype(np.float32))
    wf.save(function, path, example=wf.ones((3, 4)) * 0.3, dynamic={"n": (0, 0)})
    onnx_peer.check(path)
    expected, found, peer = function(x), wf.load(path)(x), onnx_peer.run(path, x)
    plain = wf.load(path, strict=False)(x)
    steep = {"floor", "sign", "less", "where", "copysign", "atan2"} & {name for name, _, _ in steps}
    for a, b, c, d in zip(expected, found, peer, plain, strict=True):
        assert same_bits(a, b)
        if not steep:  # where a rounding error may move a value over a step
            np.testing.assert_allclose(a.numpy(), c, rtol=1e-3, atol=1e-4)
            np.testing.assert_allclose(a.numpy(), d.numpy(), rtol=1e-3, atol=1e-4)


@settings(max_examples=30)
@given(keys=st.lists(st.text(alphabet=st.characters(), max_size=8), min_size=1, max_size=3, unique=True))
def test_names_of_any_characters(keys: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Arguments are found by their own keys; the file has names that print, each once."""
    path = tmp_path_factory.mktemp("names") / "f.onnx"
    example = {key: wf.ones(2) * float(i) for i, key in enumerate(keys)}
    wf.save(lambda d: {key: d[key] + 1 for key in keys}, path, example=example)
    loaded = wf.load(path)
    assert all(name.isprintable() for name in [*loaded.inputs, *loaded.outputs])
    assert len(loaded.inputs) == len(loaded.outputs) == len(keys)
    assert {key: value.tolist() for key, value in loaded(example).items()} == {
        key: [i + 1.0] * 2 for i, key in enumerate(keys)
    }


def test_names_that_fall_together_stay_apart(tmp_path: Path) -> None:
    x = wf.ones(2)
    wf.save(lambda d: d["a\n"] + d["a_"] * 2, tmp_path / "f.onnx", example={"a\n": x, "a_": x, "\ud800": x})
    assert list(wf.load(tmp_path / "f.onnx").inputs) == ["d_a_", "d_a__", "d__"]


@pytest.mark.parametrize(
    ("dynamic", "message"),
    [
        ({0: (0, 0)}, "0 is no name for a size"),
        (["batch"], r"dynamic is \['batch'\]; it must be a dict"),
        ({"batch": 0}, "'batch' is 0; it must be"),
        ({"batch": []}, r"'batch' is \[\]; it must be"),
        ({"batch": (0, "x")}, "it must be"),
        ({"batch": [(0, 0), 1]}, "it must be"),
        ({"batch": (0, 0, 0)}, "it must be"),
    ],
)
def test_sizes_that_are_named_in_another_way(dynamic: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises((wf.ArgumentError, wf.ShapeError), match=message):
        wf.save(wf.exp, tmp_path / "f.onnx", example=wf.ones((2, 3)), dynamic=dynamic)


def test_a_size_may_be_a_list(tmp_path: Path) -> None:
    """Places as JSON has them."""
    wf.save(lambda x: x + x.mT, tmp_path / "f.onnx", example=wf.ones((3, 3)), dynamic={"n": [[0, 0], [0, 1]]})
    assert wf.load(tmp_path / "f.onnx")(wf.ones((5, 5))).shape == (5, 5)
