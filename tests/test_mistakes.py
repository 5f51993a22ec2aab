"""Typical mistakes: what each message says, and that it points at the user's own line, eager and captured."""

from __future__ import annotations

import queue
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn, optim
from weft.nn import functional as F

X, V = wf.ones((3, 4)), wf.ones((3,))
LABELS = wf.zeros((4,), dtype=wf.int64)
NET = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
WEIGHTS = NET.state_dict()

# What is done, the error, and its text. Each is one line, and the message names that line.
CASES: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: X @ X, wf.ShapeError, "matmul: (3, 4) @ (3, 4): inner dimensions 4 and 3 differ"),
    (lambda: X @ wf.asarray(2.0), wf.ShapeError, "matmul: (3, 4) @ (): an operand has rank 0; multiply by numbers"),
    (lambda: X + wf.ones((5,)), wf.ShapeError, "add: shapes (3, 4) and (5,) do not broadcast: axis -1 has sizes 4"),
    (lambda: X.sum(axis=2), wf.AxisError, "sum: axis 2 is out of range for a tensor of rank 2"),
    (lambda: X.sum(axis="x"), wf.AxisError, "sum: 'x' is not an axis; axes are integers"),
    (lambda: X.sum(axis=(0, -2)), wf.AxisError, "sum: an axis is named twice in (0, -2)"),
    (lambda: X.permute(0, 0), wf.AxisError, "permute_dims: (0, 0) does not name each axis of (3, 4) once"),
    (lambda: X.reshape(5, 3), wf.ShapeError, "reshape: (3, 4) has 12 elements, (5, 3) has 15"),
    (lambda: X.reshape(3.0, 4), wf.ShapeError, "reshape: 3.0 is not a size; sizes are integers"),
    (lambda: X.squeeze(axis=0), wf.ShapeError, "squeeze: axis 0 of (3, 4) has size 3, not 1"),
    (lambda: X.expand(3, 5), wf.ShapeError, "broadcast_to: (3, 4) does not broadcast to (3, 5)"),
    (lambda: wf.concat([X, wf.ones((3, 5))]), wf.ShapeError, "concat: (3, 4) and (3, 5) differ on other axes than 0"),
    (lambda: wf.stack([X, wf.ones((3, 5))]), wf.ShapeError, "stack: shapes (3, 4) and (3, 5) differ"),
    (lambda: wf.zeros((-1, 3)), wf.ShapeError, "zeros: size -1 in shape (-1, 3) is negative"),
    (lambda: wf.zeros((0,)).max(), wf.ShapeError, "max: shape (0,), axis None: there is no max of zero elements"),
    (lambda: X[3], IndexError, "index 3 is out of range for axis 0 of size 3"),
    (lambda: X[0, 0, 0], IndexError, "3 indices for a tensor of shape (3, 4), which has 2 axes"),
    (lambda: wf.sum(X, dim=1), wf.ArgumentError, "sum: got an unexpected keyword argument 'dim'; it is sum(x, "),
    (lambda: wf.zeros(2, 3), wf.ArgumentError, "zeros: too many positional arguments; it is zeros(shape, *"),
    (lambda: wf.concat(), wf.ArgumentError, "concat: missing a required argument: 'arrays'; it is concat(arrays"),
    (lambda: F.relu(X, slope=True), wf.ArgumentError, "relu: got an unexpected keyword argument 'slope'; it is relu("),
    (lambda: F.dropout(X, 0.5, True, False, 1), wf.ArgumentError, "dropout: too many positional arguments; it is "),
    (lambda: X[1.0], wf.DTypeError, "1.0 is not an index; indices are integers, slices, None, Ellipsis"),
    (lambda: ~X, wf.DTypeError, "bitwise_invert: float32 operands: wants an integer dtype or bool"),
    (lambda: (X > 0) - (X > 0), wf.DTypeError, "subtract: bool operands: wants an integer or floating-point dtype;"),
    (lambda: LABELS + LABELS.astype(wf.uint64), wf.DTypeError, "add: int64 and uint64 have no common integer dtype;"),
    (lambda: wf.add(X, [1, 2]), wf.DTypeError, "add: an operand of type list is neither a tensor nor a number"),
    (lambda: wf.sum([1, 2]), wf.DTypeError, "sum: an operand of type list is not a tensor; make one with asarray"),
    (lambda: wf.where(X, X, X), wf.DTypeError, "where: the condition is float32, not bool; compare it, as in x != 0"),
    (lambda: X.to("cuda"), wf.DeviceError, "to: device 'cuda' is not available; this build of weft runs on 'cpu'"),
    (lambda: F.cross_entropy(X, LABELS), wf.ShapeError, "cross_entropy: target (4,) does not fit input (3, 4):"),
    (lambda: F.mse_loss(wf.ones((3, 1)), V), wf.ShapeError, "mse_loss: input (3, 1) and target (3,) differ;"),
    (lambda: V.backward(), wf.AutogradError, "backward on a tensor that does not require grad: nothing that it was"),
    (lambda: wf.grad(lambda x: x)(V), wf.AutogradError, "grad: the function must return a tensor of one element; it"),
    (lambda: wf.grad(lambda x: x)(3), wf.AutogradError, "grad: the arguments to differentiate must be floating"),
    (lambda: NET(wf.ones((5, 3))), wf.ShapeError, "linear: input (5, 3), weight (8, 4): 3 is not 4; wants input"),
    (lambda: NET([[1.0]]), wf.DTypeError, "linear: an operand of type list is not a tensor; make one with asarray"),
]  # fmt: skip


def named(case: tuple[Callable[[], Any], type[Exception], str]) -> str:
    return re.sub(r"\W+", "-", case[2])[:40]


@pytest.mark.parametrize("captured", [False, True], ids=["eager", "captured"])
@pytest.mark.parametrize("case", CASES, ids=named)
def test_the_message_and_the_line(case: tuple[Callable[[], Any], type[Exception], str], captured: bool) -> None:
    mistake, error, text = case
    with pytest.raises(error) as caught:
        wf.compile(mistake)() if captured else mistake()
    message = str(caught.value)
    assert message.startswith(text)
    assert message.endswith(f"\n  at {__file__}:{mistake.__code__.co_firstlineno}")
    if "linear" in text:
        assert "\n  in module sequential.0\n" in message


NOT_CAPTURED = [
    (lambda x: [x for _ in range(x.sum().long())], "range() of a tensor's value in captured code"),
]  # fmt: skip


@pytest.mark.parametrize("case", NOT_CAPTURED, ids=["range"])
def test_what_needs_a_value_is_refused_in_a_capture_and_runs_eagerly(case: tuple[Callable[..., Any], str]) -> None:
    function, text = case
    function(V)
    with pytest.raises(wf.CaptureError) as caught:
        wf.compile(function)(V)
    assert str(caught.value).startswith(text)
    assert str(caught.value).endswith(f"\n  at {__file__}:{function.__code__.co_firstlineno}")


DATA: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: wf.tensor([[1, 2], [3]]), wf.ShapeError, "the nested sequence is ragged"),
    (lambda: wf.tensor(["a"]), wf.DTypeError, "elements of type <U1 are not real numbers"),
    (lambda: wf.tensor(np.array([1, None])), wf.DTypeError, "an array of Python objects often comes from rows of"),
    (lambda: wf.asarray(np.zeros(2, np.complex64)), wf.DTypeError, "dtype complex64 is not one of bool, int8.*real"),
    (lambda: wf.tensor([300], dtype=wf.uint8), wf.DTypeError, "300 does not fit uint8"),
    (lambda: wf.zeros(3, dtype="float31"), wf.DTypeError, "dtype float31 is not one of bool, int8"),
]  # fmt: skip


@pytest.mark.parametrize("case", DATA, ids=named)
def test_data_that_is_no_tensor(case: tuple[Callable[[], Any], type[Exception], str]) -> None:
    mistake, error, text = case
    with pytest.raises(error, match=text) as caught:
        mistake()
    assert str(caught.value).endswith(f"\n  at {__file__}:{mistake.__code__.co_firstlineno}")


def test_backward_with_several_elements_and_backward_twice() -> None:
    x = wf.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(wf.AutogradError, match=r"tensor of one element; this one has shape \(2,\): reduce it"):
        (x * 2).backward()
    loss = (x * x).sum()
    loss.backward()
    with pytest.raises(wf.AutogradError, match=r"a second time through multiply: .* use backward\(retain_graph=True\)"):
        loss.backward()
    with pytest.raises(wf.AutogradError, match=r"a leaf that requires grad is changed in place.*wf\.no_grad"):
        x += 1


def test_a_tensor_that_leaks_from_a_capture() -> None:
    kept: queue.Queue[wf.Tensor] = queue.Queue()

    @wf.compile
    def leaky(x: wf.Tensor) -> wf.Tensor:
        kept.put(x * 2)
        return x + 1

    with pytest.raises(
        wf.CaptureError, match=r"float32\[3\] that is computed here is kept in a deque(.|\n)*Return the"
    ):
        leaky(V)


def test_layers_and_optimizers_made_wrongly() -> None:
    with pytest.raises(wf.ShapeError, match=r"Linear: in_features is 4\.0; it must be a whole number"):
        nn.Linear(4.0, 2)  # type: ignore[arg-type]
    with pytest.raises(wf.ShapeError, match="Embedding: embedding_dim is -1; it must be"):
        nn.Embedding(4, -1)
    with pytest.raises(TypeError, match=r"SGD: params is a module; give it module\.parameters\(\)"):
        optim.SGD(NET, lr=0.1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Adam: lr is -1; it must be 0 or more"):
        optim.Adam(NET.parameters(), lr=-1)
    with pytest.raises(ValueError, match="SGD: there are no parameters"):
        optim.SGD([], lr=0.1)


def test_a_state_that_does_not_fit_lists_everything_and_changes_nothing() -> None:
    state = {**WEIGHTS, "0.weight": wf.ones((8, 5)), "extra": V}
    del state["2.bias"]
    before = [p.numpy().tobytes() for p in NET.parameters()]
    with pytest.raises(wf.StateError) as caught:
        NET.load_state_dict(state)
    message = str(caught.value)
    for text in (
        "missing keys: '2.bias'",
        "unexpected keys: 'extra'",
        "'0.weight' has shape (8, 5) in the state and (8, 4)",
    ):
        assert text in message
    assert [p.numpy().tobytes() for p in NET.parameters()] == before


@pytest.mark.parametrize("damage", ["empty", "half", "text"])
def test_damaged_files_are_one_kind_of_error(tmp_path: Path, damage: str) -> None:
    model, weights = tmp_path / "model.onnx", tmp_path / "weights.safetensors"
    wf.save(NET, model, example=X[:1], dynamic={"batch": (0, 0)})
    wf.save_weights(NET, weights)
    for path in (model, weights):
        whole = path.read_bytes()
        path.write_bytes({"empty": b"", "half": whole[: len(whole) // 2], "text": b"hello"}[damage])
    before = [p.numpy().tobytes() for p in NET.parameters()]
    with pytest.raises(wf.FormatError, match=r"weights\.safetensors' is not a safetensors file, or it is truncated"):
        wf.load_weights(NET, weights)
    for read in (wf.load, wf.verify):
        with pytest.raises(wf.FormatError, match=r"model\.onnx' is not an ONNX model, or it is truncated"):
            read(model)
    assert [p.numpy().tobytes() for p in NET.parameters()] == before


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such folder to write to: .*nowhere'"):
        wf.save_weights(NET, tmp_path / "nowhere" / "net.safetensors")


def test_what_stops_in_a_kernel_names_the_op_and_its_line_in_a_capture_too() -> None:
    table, labels = nn.Embedding(3, 2), wf.asarray([0, 7])

    def embed(tokens: wf.Tensor) -> wf.Tensor:
        wide = wf.exp(wf.ones(2))
        return table(tokens) * wide  # the line

    for function in (embed, wf.compile(embed)):
        with pytest.raises(IndexError, match="embedding: index 7 is out of range for axis 0 of size 3") as caught:
            function(labels)
        assert str(caught.value).endswith(f":{embed.__code__.co_firstlineno + 2}")


def test_what_has_no_single_truth_or_value() -> None:
    with pytest.raises(wf.ShapeError, match=r"the truth of a tensor of shape \(3,\) is asked for: .*\.all\(\)"):
        bool(V > 0)


def test_numbers_that_do_not_fit_name_the_op() -> None:
    with pytest.raises(wf.DTypeError, match="add: 300 does not fit in int8"):
        wf.asarray([1], dtype=wf.int8) + 300
    with pytest.raises(wf.DTypeError, match="asarray: an integer of 71 bits does not fit any dtype"):
        wf.tensor(2**70)
    with pytest.raises(wf.DTypeError, match="asarray: NoneType: elements of type object are not real numbers"):
        wf.tensor(None)
    with pytest.raises(wf.ShapeError, match=r"expand: \(3, 4\) to \(5,\): there are fewer axes than before"):
        X.expand(5)


def test_data_changed_in_place_changes_the_tensor() -> None:
    layer = nn.Linear(2, 2)
    layer.weight.data.fill_(0.5)
    layer.weight.data[0] = 2.0
    layer.weight.data *= 3.0
    layer.bias.data = wf.zeros(2)
    assert layer.weight.tolist() == [[6.0, 6.0], [1.5, 1.5]]
    assert layer.bias.tolist() == [0.0, 0.0]
    assert layer.weight.requires_grad and not layer.weight.data.requires_grad

    @wf.compile
    def halve() -> None:
        layer.weight.data.mul_(0.5)

    halve()
    halve()
    assert layer.weight.tolist() == [[1.5, 1.5], [0.375, 0.375]]
