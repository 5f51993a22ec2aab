"""Branches and loops in files: loaded, they give the bits that they gave; ONNX Runtime computes the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_peer
import pytest

import weft as wf
from weft import nn
from weft.core.errors import ArgumentError, AutogradError, FormatError
from weft.graph.ir import Value
from weft.graph.protocol import TensorType
from weft.interop.onnx.read import read_node
from weft.transforms.tree import flatten

W = wf.asarray(np.random.default_rng(1).normal(size=(3, 3)).astype(np.float32))


def cell(c: wf.Tensor, x: wf.Tensor) -> tuple[wf.Tensor, wf.Tensor]:
    return wf.tanh(c @ W + x), c.sum()


def again(c: wf.Tensor, r: wf.Tensor) -> tuple[wf.Tensor, wf.Tensor]:
    def grow() -> wf.Tensor:
        return wf.while_loop(lambda k: k.sum() < 5, lambda k: k + abs(r) + 1, c)

    return wf.cond(c.sum() > 0, grow, lambda: c - r), c * W


def total(function: Callable[[wf.Tensor], wf.Tensor]) -> Callable[[wf.Tensor], Any]:
    return lambda x: wf.grad(lambda x: (function(x) ** 2).sum())(x)


PROGRAMS: dict[str, Callable[[wf.Tensor], Any]] = {
    "a branch": lambda x: wf.cond(x.sum() > 0, lambda: (x @ W, x * 2), lambda: (x * 3, x)),
    "a while": lambda x: wf.while_loop(lambda c: c.sum() < 100, lambda c: c * 2 + abs(x), abs(x)),
    "a while that never runs": lambda x: wf.while_loop(lambda c: c.sum() > 1e9, lambda c: c + 1, x),
    "a while with a bound": lambda x: wf.while_loop(
        lambda c: c[0] < 4, lambda c: (c[0] + 1, wf.tanh(c[1] @ W)), (0, x), max_steps=5
    ),
    "a scan": lambda x: wf.scan(cell, x[0], x),
    "backwards": lambda x: wf.scan(cell, x[0], x, reverse=True),
    "no sequences": lambda x: wf.scan(lambda c, _: cell(c, x), x, length=4),
    "no sequences, backwards": lambda x: wf.scan(lambda c, _: cell(c, x), x, length=4, reverse=True),
    "as often as there are rows": lambda x: wf.scan(lambda c, _: cell(c, x), x, length=x.shape[0]),
    "other dtypes": lambda x: wf.scan(
        lambda c, r: ((c[0] + r.astype("bfloat16"), c[1] & (r > 0), c[2] + 1), (c[0], c[1], r.astype("float16"))),
        (x[0].astype("bfloat16"), x[0] > -1, wf.asarray(0, dtype="uint8")),
        x,
    ),
    "nested": lambda x: wf.scan(again, x[0], x),
    "the gradient of a branch": total(lambda x: wf.cond(x.sum() > 0, lambda: (x @ W).exp(), lambda: x**3)),
    "the gradient of a scan": total(lambda x: wf.scan(lambda c, r: cell(c, r)[:1] * 2, x[0], x)[1]),
    "the gradient of a while": total(
        lambda x: wf.while_loop(lambda c: c.sum() < 9, lambda c: c * 1.5 + abs(x) * 0.1 + 0.5, x, max_steps=20)
    ),
}


@pytest.mark.parametrize("dynamic", [None, {"n": (0, 0)}])
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name: str, dynamic: Any, tmp_path: Path) -> None:
    function, path = PROGRAMS[name], tmp_path / "f.onnx"

    def rows(n: int, sign: float) -> wf.Tensor:
        return wf.asarray((np.random.default_rng(n).normal(size=(n, 3)) + 0.4 * sign).astype(np.float32))

    wf.save(function, path, example=rows(4, 1), dynamic=dynamic)
    onnx_peer.check(path)
    loaded = wf.load(path)
    for n, sign in ((4, 1), (4, -1), (7, 1), (2, -1)) if dynamic else ((4, 1), (4, -1)):
        expected, form = flatten(function(rows(n, sign)))
        found, found_form = flatten(loaded(rows(n, sign)))
        assert found_form == form
        assert [t.numpy().tobytes() for t in found] == [t.numpy().tobytes() for t in expected]
        for theirs, ours in zip(onnx_peer.run(path, rows(n, sign)), expected, strict=True):
            wide = ours.numpy().astype(theirs.dtype)
            np.testing.assert_allclose(theirs, wide, rtol=1e-4 if ours.dtype is wf.float32 else 1e-2, atol=1e-5)


def test_a_recurrent_module(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.input, self.state = nn.Linear(3, 8), nn.Linear(8, 8)

        def forward(self, x: wf.Tensor) -> wf.Tensor:
            def step(h: wf.Tensor, part: wf.Tensor) -> tuple[wf.Tensor, wf.Tensor]:
                h = wf.tanh(self.input(part) + self.state(h))
                return h, h

            return wf.scan(step, wf.zeros((x.shape[1], 8)), x)[1]

    wf.random.seed(1)
    net, path = Net(), tmp_path / "net.onnx"
    wf.save(net, path, example=wf.ones((5, 2, 3)), dynamic={"length": (0, 0), "batch": (0, 1)})
    wf.verify(path)
    x = wf.asarray(np.random.default_rng(0).normal(size=(9, 4, 3)).astype(np.float32))
    loaded = wf.load(path)
    assert set(loaded.parameters) == set(net.state_dict())
    assert loaded(x).numpy().tobytes() == net(x).detach().numpy().tobytes()
    np.testing.assert_allclose(onnx_peer.run(path, x)[0], net(x).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_too_many_steps_are_an_error_everywhere(tmp_path: Path) -> None:
    def f(x: wf.Tensor) -> wf.Tensor:
        return wf.while_loop(lambda c: c.sum() < 10, lambda c: c + x, x, max_steps=5)

    path = tmp_path / "f.onnx"
    wf.save(f, path, example=wf.asarray([4.0]))
    assert onnx_peer.run(path, [np.float32(2.0)])[0].tolist() == [10.0]
    assert wf.load(path)(wf.asarray([2.0])).tolist() == [10.0]
    with pytest.raises(ArgumentError, match="max_steps=5"):
        wf.load(path)(wf.asarray([1.0]))
    with pytest.raises(Exception, match=r"out of (data )?bounds|out of range"):
        onnx_peer.run(path, [np.float32(1.0)])


def test_the_file_has_the_standards_operators(tmp_path: Path) -> None:
    kinds = {"a branch": "If", "a while": "Loop", "a scan": "Scan", "backwards": "Scan", "no sequences": "Loop"}
    for name, kind in kinds.items():
        path = tmp_path / "f.onnx"
        wf.save(PROGRAMS[name], path, example=wf.ones((4, 3)))
        assert kind in [node.op_type for node in onnx.load(str(path)).graph.node]


@pytest.mark.parametrize("name", ["a while", "a while with a bound", "a branch", "nested"])
def test_what_a_value_ends_has_no_gradient_when_it_is_loaded(name: str, tmp_path: Path) -> None:
    path = tmp_path / "f.onnx"
    wf.save(PROGRAMS[name], path, example=wf.ones((4, 3)))
    with pytest.raises(AutogradError, match="from a file"):
        wf.grad(lambda x: sum(t.sum() for t in flatten(wf.load(path)(x))[0]))(wf.ones((4, 3)))


def squares(tree: Any) -> wf.Tensor:
    found = [(t.astype("float32") ** 2).sum() for t in flatten(tree)[0] if t.dtype.is_floating]
    return sum(found[1:], found[0])


SCANS = {
    **{name: PROGRAMS[name] for name in ("a scan", "backwards", "no sequences", "no sequences, backwards")},
    "what every iteration uses": lambda x: wf.scan(lambda c, r: (c @ x.T @ x * 0.1 + r, c * x[1]), x[0], x),
    "an integer": lambda x: wf.scan(lambda c, r: ((c[0] * r, c[1] + 1), c[0] * c[1]), (x[0], wf.asarray(2)), x),
    "no results": lambda x: wf.scan(lambda c, r: (wf.tanh(c @ W) * r, None), x[0], x)[0],
}


@pytest.mark.parametrize("name", SCANS)
def test_a_scan_has_its_gradient_when_it_is_loaded(name: str, tmp_path: Path) -> None:
    path, x = tmp_path / "f.onnx", wf.asarray(np.random.default_rng(2).normal(size=(4, 3)).astype(np.float32))
    wf.save(SCANS[name], path, example=x)
    loaded = wf.load(path)
    wanted, found = (wf.grad(lambda x, f=f: squares(f(x))) for f in (SCANS[name], loaded))
    np.testing.assert_allclose(found(x).numpy(), wanted(x).numpy(), rtol=2e-5, atol=1e-5)
    assert found(x).numpy().tobytes() == wf.compile(found)(x).numpy().tobytes()
    twice = [wf.grad(lambda x, f=f: (f(x) ** 2).sum())(x).numpy() for f in (wanted, found)]
    np.testing.assert_allclose(twice[1], twice[0], rtol=2e-4, atol=2e-3)


def test_a_body_that_python_code_computes_is_refused(tmp_path: Path) -> None:
    def f(x: wf.Tensor) -> wf.Tensor:
        return wf.cond(x.sum() > 0, lambda: wf.linalg.svdvals(x), lambda: x[0])

    with pytest.raises(FormatError, match="Python code computes it"):
        wf.save(f, tmp_path / "f.onnx", example=wf.ones((3, 3)))


# --- files that no weft wrote ---------------------------------------------------------------------------------------

ADD_ONE: dict[str, Any] = {
    "graph": {
        "name": "body",
        "inputs": [["%0", "float32", [2]]],
        "nodes": [{"op": "add", "out": "%1", "in": ["%0", "%0"]}],
        "outputs": ["%1"],
    }
}
LOOP = {
    "body": ADD_ONE,
    "carries": 1,
    "sequences": 0,
    "length": 3,
    **dict.fromkeys(("reverse", "has_go", "has_count", "gives_count", "bounded"), False),
}


def read(**params: Any) -> Any:
    record = {"op": "loop", "out": ["y"], "in": ["x"], "params": {**json.loads(json.dumps(LOOP)), **params}}
    return read_node(record, {"x": Value(TensorType(wf.float32, (2,)))})


@pytest.mark.parametrize(
    "params",
    [
        {"body": 3},
        {"carries": 2},
        {"carries": -1},
        {"sequences": 1},
        {"length": None},
        {"length": -1},
        {"length": "3"},
        {"has_go": True},
        {"has_count": True},
        {"bounded": True},
        {"reverse": 1},
        {"body": {"graph": {**ADD_ONE["graph"], "inputs": [["%0", "float32", [3]]]}}},
        {"body": {"graph": {**ADD_ONE["graph"], "inputs": [["%0", "int64", [2]]]}}},
        {"body": {"graph": {**ADD_ONE["graph"], "inputs": [["%0", "float32", [2]]] * 2}}},
        {"body": {"graph": {**ADD_ONE["graph"], "outputs": []}}},
        {"body": {"graph": {**ADD_ONE["graph"], "outputs": ["x"]}}},
        {"body": {"graph": {**ADD_ONE["graph"], "nodes": [{"op": "add", "out": "%1", "in": ["x", "x"]}]}}},
        {"body": {"graph": {**ADD_ONE["graph"], "nodes": [{"op": "loop", "out": "%1", "in": ["%0"], "params": LOOP}]}}},
    ],
    ids=str,
)
def test_a_loop_that_cannot_be(params: dict[str, Any]) -> None:
    assert read().output.shape == (2,)
    with pytest.raises((wf.WeftError, KeyError, IndexError)):  # a file that holds it is malformed (model_file.py)
        read(**params)


def test_bodies_are_nested_so_deep_and_no_deeper() -> None:
    body: Any = ADD_ONE
    for _ in range(70):
        nodes = [{"op": "loop", "out": ["%1"], "in": ["%0"], "params": {**LOOP, "body": body}}]
        body = {"graph": {**ADD_ONE["graph"], "nodes": nodes}}
    with pytest.raises(FormatError, match="nested more than"):
        read(body=body)
