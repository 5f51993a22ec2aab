"""Shapes and dtypes of a whole model without data: what the model would return, or its error with the module's path."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn
from weft.core.symbolic import SymDim


class Encoder(nn.Module):
    """A list of layers, the last of which does not fit when ``size`` is not 16."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(8, 16), nn.ReLU(), nn.Linear(size, 4)])

    def forward(self, x: wf.Tensor) -> wf.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class Net(nn.Module):
    """An encoder between other things."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.encoder = Encoder(size)

    def forward(self, x: wf.Tensor) -> dict[str, Any]:
        y = self.encoder(x)
        return {"y": y, "best": (y.argmax(axis=-1), None)}


def test_specs_print_as_types() -> None:
    assert repr(wf.spec(("batch", 784))) == "float32[batch, 784]"
    assert repr(wf.spec((), wf.int64)) == "int64[]"
    assert wf.spec(3) == wf.spec((3,)) and wf.spec("n").shape == (SymDim.named("n"),)
    assert wf.spec((SymDim.named("n") * 2,)).shape[0] == SymDim.named("n") * 2


def test_sizes_are_whole_numbers_from_0_on() -> None:
    for one in (1, np.int64(1), np.uint8(1)):
        assert wf.spec((0, one)).shape == (0, 1) and wf.spec((0 * one, one)) == wf.spec((0, 1))
        assert [type(n) for n in wf.spec((0 * one, one)).shape] == [int, int]
    assert wf.eval_shape(lambda x: x.sum(axis=0), wf.spec((0, 3))) == wf.spec((3,))


@pytest.mark.parametrize("shape", [(-1,), (np.int64(-1),), (np.bool_(True),), (None,), (1.5,), ("two words",), (True,)])
def test_what_is_no_size_is_said(shape: Any) -> None:
    with pytest.raises(wf.ShapeError, match="spec: "):
        wf.spec(shape)


def test_the_result_has_the_form_of_the_functions() -> None:
    found = wf.eval_shape(Net(16), wf.spec(("batch", 8)))
    assert list(found) == ["y", "best"] and found["best"][1] is None
    assert found["y"] == wf.spec(("batch", 4)) and found["best"][0] == wf.spec(("batch",), wf.int64)


def test_shapes_are_those_of_the_run() -> None:
    net, x = Net(16), wf.ones((5, 8))
    for given in (x, x.numpy(), wf.spec((5, 8)), wf.spec((5, 8), "float32")):
        assert wf.eval_shape(net, given)["y"] == wf.spec(net(x)["y"].shape)


def test_arguments_are_nested_and_settings_pass_through() -> None:
    def function(pair: Any, power: int, double: bool) -> Any:
        return [pair["a"] @ pair["b"][0] ** power] * (2 if double else 1)

    pair = {"a": wf.spec((2, "n")), "b": [wf.spec(("n", 3))]}
    assert wf.eval_shape(function, pair, 2, True) == [wf.spec((2, 3))] * 2


def test_symbolic_sizes_are_computed_with() -> None:
    n = SymDim.named("n")
    assert wf.eval_shape(lambda x: wf.concat([x, x[1:]]), wf.spec(("n", 2))).shape == (2 * n - 1, 2)
    assert wf.eval_shape(lambda x: x.reshape(-1), wf.spec(("n", 2))).shape == (n * 2,)


def test_an_error_names_op_shapes_module_and_line() -> None:
    with pytest.raises(wf.ShapeError) as caught:
        wf.eval_shape(Net(15), wf.spec(("batch", 8)))
    text = str(caught.value)
    assert "linear: input (batch, 16), weight (4, 15)" in text
    assert "in module net.encoder.layers.2" in text and "test_eval_shape.py:" in text


def test_dtype_errors_too() -> None:
    with pytest.raises(wf.DTypeError, match="int64"):
        wf.eval_shape(wf.nn.functional.gelu, wf.spec((2,), wf.int64))
    with pytest.raises(wf.DTypeError, match="not a function"):
        wf.eval_shape(3)  # type: ignore[arg-type]


def test_nothing_is_computed_or_changed() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    state = wf.random.default_generator().state.tolist()
    before = wf.memory.stats().current
    assert wf.eval_shape(net, wf.spec((10**9, 4))) == wf.spec((10**9, 4))
    assert wf.random.default_generator().state.tolist() == state
    assert wf.memory.stats().current <= before
