"""Recurrent layers and cells and packed sequences against PyTorch: values, gradients, weights, reprs and mistakes."""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")  # of PyTorch, about oneDNN
RNG = np.random.default_rng(0)
rnn, torch_rnn = nn.utils.rnn, torch.nn.utils.rnn


def normal(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)


def close(got: Any, wanted: Any, tolerance: float = 1e-5) -> None:
    assert got.shape == tuple(wanted.shape)
    np.testing.assert_allclose(got.numpy(), wanted.detach().numpy(), rtol=tolerance, atol=tolerance)


def pair(name: str, *args: Any, **options: Any) -> tuple[Any, Any]:
    """Our layer and PyTorch's, with its weights."""
    ours, theirs = getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options)
    assert list(ours.state_dict()) == list(theirs.state_dict()) and repr(ours) == repr(theirs)
    ours.load_state_dict({k: v.detach().numpy() for k, v in theirs.state_dict().items()})
    return ours, theirs


def leaves(tree: Any) -> list[Any]:
    return [x for part in tree for x in leaves(part)] if isinstance(tree, (tuple, list)) else [tree]


def same_results_and_gradients(ours: Any, theirs: Any, results: Any, wanted: Any, *inputs: tuple[Any, Any]) -> None:
    """Tensors of both, and the gradients of a sum of them with weights: of the inputs and the parameters."""
    mine, other = leaves(results), leaves(wanted)
    assert len(mine) == len(other)
    for a, b in zip(mine, other, strict=True):
        close(a, b)
    factors = [normal(*b.shape) for b in other]
    sum((a * wf.asarray(f)).sum() for a, f in zip(mine, factors, strict=True)).backward()
    sum((b * torch.tensor(f)).sum() for b, f in zip(other, factors, strict=True)).backward()
    for a, b in inputs:
        close(a.grad, b.grad, 1e-4)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        close(p.grad, q.grad, 1e-4)


def both(x: Any) -> tuple[Any, Any]:
    return wf.asarray(x).requires_grad_(), torch.tensor(x, requires_grad=True)


LAYERS: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {}),
    ("RNN", {"nonlinearity": "relu", "num_layers": 2, "bias": False}),
    ("RNN", {"bidirectional": True, "batch_first": True}),
    ("LSTM", {}),
    ("LSTM", {"bias": False}),
    ("LSTM", {"num_layers": 2, "bidirectional": True, "batch_first": True}),
    ("LSTM", {"proj_size": 2, "num_layers": 2, "bidirectional": True}),
    ("LSTM", {"proj_size": 3, "bias": False}),
    ("GRU", {}),
    ("GRU", {"bias": False, "batch_first": True}),
    ("GRU", {"num_layers": 3, "bidirectional": True}),
]
IDS = [name + "".join(f"-{k}={v}" for k, v in options.items()) for name, options in LAYERS]


def states_of(name: str, options: dict[str, Any], *batch: int) -> Any:
    """Initial states for hidden_size 4."""
    count = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    h = both(normal(count, *batch, options.get("proj_size") or 4))
    c = both(normal(count, *batch, 4))
    return (((h[0], c[0]), (h[1], c[1])), [h, c]) if name == "LSTM" else (h, [h])


@pytest.mark.parametrize(("name", "options"), LAYERS, ids=IDS)
@pytest.mark.parametrize("kind", ["zeros", "states", "unbatched"])
def test_layer(name: str, options: dict[str, Any], kind: str) -> None:
    ours, theirs = pair(name, 3, 4, **options)
    x = both(normal(5, 2, 3) if kind != "unbatched" else normal(5, 3))
    if kind == "zeros":
        same_results_and_gradients(ours, theirs, ours(x[0]), theirs(x[1]), x)
        return
    batch = () if kind == "unbatched" else (5 if options.get("batch_first") else 2,)
    hx, inputs = states_of(name, options, *batch)
    same_results_and_gradients(ours, theirs, ours(x[0], hx[0]), theirs(x[1], hx[1]), x, *inputs)


@pytest.mark.parametrize(("name", "options"), LAYERS[2::3], ids=IDS[2::3])
@pytest.mark.parametrize("is_sorted", [False, True])
@pytest.mark.parametrize("with_states", [False, True])
def test_packed(name: str, options: dict[str, Any], is_sorted: bool, with_states: bool) -> None:
    ours, theirs = pair(name, 3, 4, **options)
    lengths = [5, 3, 3, 1] if is_sorted else [3, 5, 1, 3]
    x = both(normal(5, 4, 3))
    a = rnn.pack_padded_sequence(x[0], lengths, enforce_sorted=is_sorted)
    b = torch_rnn.pack_padded_sequence(x[1], lengths, enforce_sorted=is_sorted)
    hx, inputs = states_of(name, options, 4) if with_states else ((None, None), [])
    (y, last), (z, end) = ours(a, hx[0]), theirs(b, hx[1])
    assert isinstance(y, rnn.PackedSequence) and y.batch_sizes.tolist() == z.batch_sizes.tolist()
    assert (y.sorted_indices is None) == (z.sorted_indices is None) == is_sorted
    close(y.data, z.data)
    results = [rnn.pad_packed_sequence(y)[0], last], [torch_rnn.pad_packed_sequence(z)[0], end]
    same_results_and_gradients(ours, theirs, *results, x, *inputs)


CELLS: list[tuple[str, dict[str, Any]]] = [
    ("RNNCell", {}),
    ("RNNCell", {"nonlinearity": "relu", "bias": False}),
    ("LSTMCell", {}),
    ("LSTMCell", {"bias": False}),
    ("GRUCell", {}),
    ("GRUCell", {"bias": False}),
]


@pytest.mark.parametrize(("name", "options"), CELLS)
@pytest.mark.parametrize("batch", [(), (1,), (5,), (0,)])
def test_cell(name: str, options: dict[str, Any], batch: tuple[int, ...]) -> None:
    ours, theirs = pair(name, 3, 4, **options)
    x, h, c = both(normal(*batch, 3)), both(normal(*batch, 4)), both(normal(*batch, 4))
    hx = ((h[0], c[0]), (h[1], c[1])) if name == "LSTMCell" else h
    for a, b in zip(leaves(ours(x[0])), leaves(theirs(x[1])), strict=True):
        close(a, b)
    states = [h, c] if name == "LSTMCell" else [h]
    same_results_and_gradients(ours, theirs, ours(x[0], hx[0]), theirs(x[1], hx[1]), x, *states)


def test_layers_begin_as_pytorchs_up_to_the_random_numbers() -> None:
    wf.manual_seed(0)
    torch.manual_seed(0)
    for name in ("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"):
        ours, theirs = getattr(nn, name)(30, 100), getattr(torch.nn, name)(30, 100)
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            a, b = p.numpy(), q.detach().numpy()
            assert abs(a).max() <= 0.1 and abs(a).max() == pytest.approx(abs(b).max(), rel=0.1)
            assert a.std() == pytest.approx(b.std(), rel=0.3) and abs(a.mean()) < 0.03


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("lengths", [[4, 3, 3, 1], [2, 4, 1, 4], [1, 1, 1, 1], [3, 2, 2, 1]])
@pytest.mark.parametrize("rest", [(), (3,), (2, 2)])
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_packing_and_padding(batch_first: bool, lengths: list[int], rest: tuple[int, ...], dtype: str) -> None:
    x = (RNG.normal(size=(4, 4, *rest)) * 9).astype(dtype)
    is_sorted = lengths == sorted(lengths, reverse=True)
    a = rnn.pack_padded_sequence(wf.asarray(x), wf.asarray(lengths), batch_first, is_sorted)
    b = torch_rnn.pack_padded_sequence(torch.tensor(x), torch.tensor(lengths), batch_first, is_sorted)
    for mine, other in zip(a, b, strict=True):
        assert (mine is None) == (other is None)
        if mine is not None:
            assert mine.numpy().dtype == other.numpy().dtype
            assert mine.numpy().tobytes() == other.contiguous().numpy().tobytes()
    for value, length in ((0.0, None), (2.0, 6), (-1.0, max(lengths))):
        y, n = rnn.pad_packed_sequence(a, batch_first, value, length)
        z, m = torch_rnn.pad_packed_sequence(b, batch_first, value, length)
        assert y.numpy().tolist() == z.numpy().tolist() and n.tolist() == m.tolist() and n.dtype is wf.int64
    mine, other = rnn.unpack_sequence(a), torch_rnn.unpack_sequence(b)
    assert [s.tolist() for s in mine] == [s.tolist() for s in other]
    c, d = rnn.pack_sequence(mine, is_sorted), torch_rnn.pack_sequence(other, is_sorted)
    assert [None if s is None else s.tolist() for s in c] == [None if s is None else s.tolist() for s in d]


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("rest", [(), (3,), (2, 2)])
def test_pad_sequence(batch_first: bool, side: str, rest: tuple[int, ...]) -> None:
    arrays = [normal(n, *rest) for n in (2, 4, 0, 4)]
    tensors = [both(a) for a in arrays]
    y = rnn.pad_sequence([a for a, _ in tensors], batch_first, 0.5, side)
    z = torch_rnn.pad_sequence([b for _, b in tensors], batch_first, 0.5, side)
    close(y, z, 0.0)
    (y * y).sum().backward()
    (z * z).sum().backward()
    for a, b in tensors:
        close(a.grad, b.grad, 0.0)


def test_names_are_pytorchs() -> None:
    assert sorted(rnn.__all__) == sorted(torch_rnn.__all__)
    assert rnn.PackedSequence._fields == torch_rnn.PackedSequence._fields
    for name in rnn.__all__:
        if name != "PackedSequence":
            mine, other = (list(inspect.signature(getattr(m, name)).parameters) for m in (rnn, torch_rnn))
            assert mine == other


def of(library: Any, name: str, *args: Any, **options: Any) -> Any:
    return getattr(library.nn, name)(*args, **options)


def zeros(library: Any, *shape: int, dtype: str = "float32") -> Any:
    return library.zeros(shape, dtype=getattr(library, dtype))


MISTAKES: list[tuple[str, Any]] = [
    ("input_size is 0", lambda m: of(m, "LSTM", 0, 4)),
    ("input_size is 1.5", lambda m: of(m, "LSTM", 1.5, 4)),
    ("hidden_size is 0", lambda m: of(m, "GRU", 3, 0)),
    ("num_layers is 0", lambda m: of(m, "RNN", 3, 4, 0)),
    ("proj_size is -1", lambda m: of(m, "LSTM", 3, 4, proj_size=-1)),
    ("proj_size is 4; it must be smaller than hidden_size, 4", lambda m: of(m, "LSTM", 3, 4, proj_size=4)),
    ("dropout is 1.5", lambda m: of(m, "LSTM", 3, 4, 2, dropout=1.5)),
    ("dropout is True", lambda m: of(m, "LSTM", 3, 4, 2, dropout=True)),
    ("bias is 1", lambda m: of(m, "LSTM", 3, 4, bias=1)),
    ("batch_first is 1", lambda m: of(m, "LSTM", 3, 4, batch_first=1)),
    ("nonlinearity is 'gelu'", lambda m: of(m, "RNN", 3, 4, nonlinearity="gelu")),
    ("", lambda m: of(m, "GRU", 3, 4, proj_size=2)),
    ("rank|wants", lambda m: of(m, "LSTM", 3, 4)(zeros(m, 3))),
    (r"\(2, 5, 4\): its last axis is not input_size, 3", lambda m: of(m, "LSTM", 3, 4)(zeros(m, 2, 5, 4))),
    ("input is float64 and the weights are float32", lambda m: of(m, "LSTM", 3, 4)(zeros(m, 2, 5, 3, dtype="float64"))),
    (r"hx \(1, 2, 4\), for a batch of 5", lambda m: of(m, "GRU", 3, 4)(zeros(m, 2, 5, 3), zeros(m, 1, 2, 4))),
    (r"hx \(5, 4\), input", lambda m: of(m, "GRU", 3, 4)(zeros(m, 2, 5, 3), zeros(m, 5, 4))),
    (r"hx \(1, 5, 4\), input", lambda m: of(m, "RNN", 3, 4)(zeros(m, 5, 3), zeros(m, 1, 5, 4))),
    (
        r"hx\[1\] \(1, 5, 3\), for a batch of 5: wants \(1, 5, 4\)",
        lambda m: of(m, "LSTM", 3, 4)(zeros(m, 2, 5, 3), (zeros(m, 1, 5, 4), zeros(m, 1, 5, 3))),
    ),
    ("the pair", lambda m: of(m, "LSTM", 3, 4)(zeros(m, 2, 5, 3), zeros(m, 1, 5, 4))),
    ("at least one step", lambda m: of(m, "LSTM", 3, 4)(zeros(m, 0, 5, 3))),
    (r"input \(2, 5, 3\): wants", lambda m: of(m, "LSTMCell", 3, 4)(zeros(m, 2, 5, 3))),
    ("input_size, 3", lambda m: of(m, "GRUCell", 3, 4)(zeros(m, 5, 4))),
    (
        r"hx \(2, 4\), input \(5, 3\): wants hx \(5, 4\)",
        lambda m: of(m, "GRUCell", 3, 4)(zeros(m, 5, 3), zeros(m, 2, 4)),
    ),
    (r"hx\[1\]", lambda m: of(m, "LSTMCell", 3, 4)(zeros(m, 5, 3), (zeros(m, 5, 4), zeros(m, 5, 2)))),
    ("the pair", lambda m: of(m, "LSTMCell", 3, 4)(zeros(m, 5, 3), (zeros(m, 5, 4),))),
    ("length is 0 or less", lambda m: m.nn.utils.rnn.pack_padded_sequence(zeros(m, 2, 2), [1, 0])),
    ("grow", lambda m: m.nn.utils.rnn.pack_padded_sequence(zeros(m, 2, 2), [1, 2])),
    ("for a batch of 3", lambda m: m.nn.utils.rnn.pack_padded_sequence(zeros(m, 2, 3), [2, 1])),
    ("time axis", lambda m: m.nn.utils.rnn.pack_padded_sequence(zeros(m, 2), [2, 1])),
    (
        "total_length is 1",
        lambda m: m.nn.utils.rnn.pad_packed_sequence(m.nn.utils.rnn.pack_sequence([zeros(m, 2)]), total_length=1),
    ),
    ("there are no sequences", lambda m: m.nn.utils.rnn.pad_sequence([])),
    ("padding_side is 'up'", lambda m: m.nn.utils.rnn.pad_sequence([zeros(m, 2)], padding_side="up")),
    (
        r"sequences\[1\] \(3, 2\), sequences\[0\] \(2, 1\)",
        lambda m: m.nn.utils.rnn.pad_sequence([zeros(m, 2, 1), zeros(m, 3, 2)]),
    ),
]


@pytest.mark.parametrize(("text", "program"), MISTAKES, ids=[text or "proj_size" for text, _ in MISTAKES])
def test_mistakes_are_pytorchs(text: str, program: Any) -> None:
    with pytest.raises((RuntimeError, ValueError, TypeError, IndexError, AttributeError)):
        program(torch)
    with pytest.raises((wf.WeftError, TypeError)) as caught:
        program(wf)
    assert re.search(text, str(caught.value)), str(caught.value)
    if isinstance(caught.value, wf.WeftError):
        assert "test_torch_recurrence.py" in str(caught.value)


def test_dropout_of_one_layer_warns() -> None:
    for library in (nn, torch.nn):
        with pytest.warns(UserWarning, match="dropout"):
            library.LSTM(3, 4, dropout=0.5)


@pytest.mark.parametrize("name", ["RNNCell", "LSTMCell", "GRUCell"])
@pytest.mark.parametrize("bias", [True, False, 1, 0])
def test_a_cell_shows_a_bias_where_it_is_not_given_as_true(name: str, bias: Any) -> None:
    pair(name, 4, 5, bias=bias)
