"""Recurrent layers: cells in a loop, as bits; one graph for all sizes; eager as compiled; gradients by slopes."""

from __future__ import annotations

import copy
import functools
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn, optim
from weft.compiler import build
from weft.graph.lower.control import ControlCall
from weft.nn.utils.rnn import pack_padded_sequence
from weft.ops import recurrence
from weft.tensor.dispatch import forget_plans

RNG = np.random.default_rng(0)
NAMES = ("RNN", "LSTM", "GRU")
CELLS = {"RNN": nn.RNNCell, "LSTM": nn.LSTMCell, "GRU": nn.GRUCell}


def array(*shape: int, dtype: str = "float32") -> Any:
    return wf.asarray(RNG.normal(size=shape)).astype(dtype)


def leaves(tree: Any) -> list[Any]:
    return [x for part in tree for x in leaves(part)] if isinstance(tree, (tuple, list)) else [tree]


def bits(tree: Any) -> list[bytes]:
    return [x.numpy().tobytes() for x in leaves(tree)]


def layer(name: str, *args: Any, **options: Any) -> Any:
    wf.manual_seed(3)
    return getattr(nn, name)(*args, **options)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("name", NAMES)
def test_a_layer_is_its_cell_in_a_loop(name: str, dtype: str) -> None:
    net, cell = layer(name, 3, 5, dtype=dtype), CELLS[name](3, 5, dtype=dtype)
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in net.state_dict().items()})
    x, state, outputs = array(7, 4, 3, dtype=dtype), None, []
    for row in x:
        state = cell(row, state)
        outputs.append(state[0] if name == "LSTM" else state)
    y, last = net(x)
    assert y.dtype is x.dtype and bits(y) == bits(wf.stack(outputs))
    assert bits([s[0] for s in leaves(last)]) == bits(state)


@pytest.mark.parametrize("name", NAMES)
def test_a_sequence_does_not_depend_on_its_batch(name: str) -> None:
    net = layer(name, 3, 5, 2, bidirectional=True, batch_first=True)
    x = array(6, 7, 3)
    y, _ = net(x)
    for n in range(6):
        assert bits(net(x[n : n + 1])[0]) == bits(y[n : n + 1]) and bits(net(x[n])[0]) == bits(y[n])


def ends(tree: Any, batch: int) -> Any:
    return [s[:, batch] for s in leaves(tree)]


@pytest.mark.parametrize("name", NAMES)
def test_packed_sequences_are_the_sequences_alone(name: str) -> None:
    net = layer(name, 3, 5, 2, bidirectional=True)
    sequences = [array(n, 3) for n in (2, 7, 1, 7, 4)]
    packed, last = net(nn.utils.rnn.pack_sequence(sequences, enforce_sorted=False))
    for n, (y, x) in enumerate(zip(nn.utils.rnn.unpack_sequence(packed), sequences, strict=True)):
        alone, end = net(x)
        assert bits(y) == bits(alone) and bits(ends(last, n)) == bits(end)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_slopes(name: str) -> None:
    options: dict[str, Any] = {"proj_size": 2} if name == "LSTM" else {}
    net = layer(name, 2, 3, 2, bidirectional=True, dtype="float64", **options)
    x, factors = array(4, 2, 2, dtype="float64").requires_grad_(), array(4, 2, 2 * (2 if options else 3))

    def loss() -> Any:
        y, last = net(x)
        return (y * factors.astype("float64")).sum() + sum((s * s).sum() for s in leaves(last))

    loss().backward()
    with wf.no_grad():
        for p in (x, *net.parameters()):
            for at in list(np.ndindex(p.shape))[:: max(1, p.size // 3)]:
                found = []
                for h in (1e-6, -2e-6):
                    p[at] += h
                    found.append(loss().item())
                p[at] += 1e-6
                np.testing.assert_allclose(p.grad[at].item(), (found[0] - found[1]) / 2e-6, rtol=1e-5, atol=1e-7)


def trained(kind: Any, sizes: Any, compiled: bool, **options: Any) -> list[bytes]:
    """Losses, states, parameters and gradients of steps, each of another length and batch size."""
    wf.manual_seed(5)
    net, head = kind(3, 4, 2, dropout=0.25, **options), nn.Linear(4 * (1 + options.get("bidirectional", 0)), 2)
    opt = optim.Adam([*net.parameters(), *head.parameters()], lr=0.01)

    def step(x: Any) -> Any:
        y, last = net(x)
        loss = (head(y) ** 2).mean() + sum(s.sum() for s in leaves(last))
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss, last

    run = wf.compile(step) if compiled else step
    rng = np.random.default_rng(1)
    found = [run(wf.asarray(rng.normal(size=(*size, 3)).astype(np.float32))) for size in sizes]
    return bits([found, list(net.parameters()), [p.grad for p in net.parameters()]])


@pytest.mark.one_in(3)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_training_step_has_the_same_bits_compiled(name: str, bidirectional: bool) -> None:
    sizes = [(5, 4), (6, 2), (9, 7), (1, 3), (5, 1)]
    found = [trained(getattr(nn, name), sizes, c, bidirectional=bidirectional) for c in (False, True)]
    assert found[0] == found[1]


@pytest.mark.parametrize("name", NAMES)
def test_lengths_and_batches_are_not_traced_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, net = getattr(recurrence, f"{name.lower()}_steps"), layer(name, 3, 40)
    plain, traced = steps.function, []

    @functools.wraps(plain)
    def noted(*args: Any) -> Any:
        traced.append(args[0].shape)
        return plain(*args)

    monkeypatch.setattr(steps, "function", noted)

    def run(length: int, batch: int) -> None:
        y, last = net(array(length, batch, 3))
        (y.sum() + leaves(last)[-1].sum()).backward()

    forget_plans()
    for sizes in ((5, 2), (6, 3), (7, 9)):  # two in numbers, then with symbols
        run(*sizes)
    assert 0 < len(traced) <= 3
    traced.clear()
    known = len(build._loaded)
    for sizes in ((12, 5), (2, 33), (31, 6), (200, 2)):
        run(*sizes)
    assert not traced and len(build._loaded) == known


@pytest.mark.parametrize("name", NAMES)
def test_sizes_that_are_symbols_have_the_bits_of_numbers(name: str) -> None:
    net, x = layer(name, 3, 8, bidirectional=True), array(12, 5, 3)
    found = []
    for others in ((), ((5, 2), (6, 3), (7, 9))):
        forget_plans()
        for sizes in others:
            net(array(*sizes, 3))[0].sum().backward()
        net.zero_grad()
        y, last = net(x)
        ((y * y).sum() + sum(s.sum() for s in leaves(last))).backward()
        found.append(bits([y, last, [p.grad for p in net.parameters()]]))
    assert found[0] == found[1]


STEPS = {
    "RNN": [["Contraction"], ["Nest", "Contraction"]],
    "LSTM": [["Contraction", "Nest"], ["Nest", "Contraction"]],
    "GRU": [["Contraction", "Nest"], ["Nest", "ColumnReduce", "Contraction"]],
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_step_is_one_product_and_one_pass_over_its_gates(name: str, packed: bool) -> None:
    """In either direction; the sum is of the gradient of ``bias_hh``, which r multiplies in a part."""
    net, lengths = layer(name, 3, 8, 1), wf.asarray([9, 7, 7, 2])

    def step(x: Any) -> Any:
        y, last = net(pack_padded_sequence(x, lengths) if packed else x)
        loss = (y.data if packed else y).sum() + leaves(last)[-1].sum()
        net.zero_grad()
        loss.backward()
        return [p.grad for p in net.parameters()]

    entry, _ = wf.compile(step)._entry((array(9, 4, 3),), {})
    loops = [x.kernel for x in entry.exe.launches if isinstance(x.kernel, ControlCall)]
    found = [[type(x.kernel).__name__ for x in loop.plans[0].launches] for loop in loops]
    assert found == STEPS[name]


@pytest.mark.parametrize("name", NAMES)
def test_layers_in_loops(name: str) -> None:
    """The gradient of a layer whose call is in the body of another loop."""
    net, batches = layer(name, 3, 4), array(20, 5, 2, 3)

    def step(batches: Any) -> Any:
        total = batches.sum() * 0.0
        for x in batches:  # more rounds than are unrolled
            y, last = net(x * (1.0 + total))
            total = total + (y * y).mean() + leaves(last)[-1].mean()
        net.zero_grad()
        total.backward()
        return total, [p.grad for p in net.parameters()]

    wanted = bits(step(batches))
    assert bits(wf.compile(step)(batches)) == wanted


@pytest.mark.parametrize("name", NAMES)
def test_what_nobody_uses_of_the_results(name: str) -> None:
    """The gradient knows which results have received anything; the others count as zeros, whichever they are."""
    net, x = layer(name, 3, 4, 1, bidirectional=True), array(5, 2, 3).requires_grad_()
    ways = [lambda y, last: y.sum(), lambda y, last: last[-1].sum(), lambda y, last: y.sum() + last[0].sum()]
    for way in ways:
        found = []
        for zeros in (False, True):
            net.zero_grad()
            x.grad = None
            y, last = net(x)
            last = leaves(last)
            unused = sum((t * 0.0).sum() for t in (y, *last)) if zeros else 0.0
            (way(y, last) + unused).backward()
            found.append([p.grad.numpy() for p in (x, *net.parameters())])
        for a, b in zip(*found, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_gradients_are_slopes(name: str) -> None:
    net, x = layer(name, 2, 3, bidirectional=True, dtype="float64"), array(3, 2, 2, dtype="float64").requires_grad_()
    parameters = [x, *net.parameters()]

    def slope() -> Any:
        for p in parameters:
            p.grad = None
        y, last = net(x)
        ((y * y).sum() + sum((s * s * s).sum() for s in leaves(last))).backward(create_graph=True)
        total = sum((p.grad * p.grad).sum() for p in parameters)
        for p in parameters:
            p.grad = None
        return total

    slope().backward()
    gradients = [p.grad.numpy() for p in parameters]
    for p, gradient in zip(parameters, gradients, strict=True):
        for at in list(np.ndindex(p.shape))[:: max(1, p.size // 2)]:
            found = []
            for h in (1e-6, -2e-6):
                with wf.no_grad():
                    p[at] += h
                found.append(slope().item())
            with wf.no_grad():
                p[at] += 1e-6
            np.testing.assert_allclose(gradient[at], (found[0] - found[1]) / 2e-6, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_layers_of_many_sizes(name: str) -> None:
    """Whatever sizes become symbols when the function of all layers of one kind meets them."""
    for size, hidden in ((3, 4), (3, 5), (7, 6), (2, 8), (1, 1), (4, 2)):
        net = layer(name, size, hidden, dtype="float64")
        cell = CELLS[name](size, hidden, dtype="float64")
        cell.load_state_dict({k.removesuffix("_l0"): v for k, v in net.state_dict().items()})
        x = array(1, 3, size, dtype="float64")
        assert bits(ends(net(x)[1], 1)) == bits([s[1] for s in leaves(cell(x[0]))])
        net(x)[0].sum().backward()


def test_projections_of_many_sizes() -> None:
    for hidden, projected in ((4, 2), (5, 3), (8, 1), (6, 5)):
        y, (h, c) = layer("LSTM", 3, hidden, proj_size=projected)(array(5, 2, 3))
        assert y.shape == (5, 2, projected) and h.shape == (1, 2, projected) and c.shape == (1, 2, hidden)
        assert bits(y[-1]) == bits(h[0])


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_nothing(name: str) -> None:
    y, last = layer(name, 3, 4)(wf.zeros((5, 0, 3)))
    assert y.shape == (5, 0, 4) and all(s.shape == (1, 0, 4) for s in leaves(last))


@pytest.mark.parametrize("name", NAMES)
def test_sizes_may_be_symbols(name: str) -> None:
    net = layer(name, 3, 4, bidirectional=True)
    y, last = wf.eval_shape(net, wf.spec(("length", "batch", 3)))
    states = last if name == "LSTM" else [last]
    assert str(y) == "float32[length, batch, 8]" and {str(s) for s in states} == {"float32[2, batch, 4]"}


@pytest.mark.parametrize("name", NAMES)
def test_states_that_are_not_contiguous_and_no_grad(name: str) -> None:
    net = layer(name, 3, 4, batch_first=True)
    x = array(3, 6, 5)
    h = array(2, 4, 1)
    state = wf.permute_dims(h, (2, 0, 1))
    hx = (state, state) if name == "LSTM" else state
    with wf.no_grad():
        view = wf.permute_dims(x, (2, 1, 0))[:2]
        y, last = net(view, hx)
        same = (state.clone(), state.clone()) if name == "LSTM" else state.clone()
        assert bits(net(view.clone(), same)) == bits((y, last)) and not y.requires_grad


def test_dropout_is_between_layers_in_training() -> None:
    net = layer("GRU", 3, 64, 2, dropout=0.5)
    x = array(4, 2, 3)
    first, second = net(x)[0], net(x)[0]
    assert bits(first) != bits(second)
    net.eval()
    assert bits(net(x)) == bits(net(x))
    off = layer("GRU", 3, 64, 2)
    off.load_state_dict(net.state_dict())
    assert bits(off(x)) == bits(net(x))
    net.train()
    net.dropout = 1.0
    off.dropout = 1.0
    assert bits(net(x)) == bits(net(x)) == bits(off(x))


def test_parameters() -> None:
    net = layer("LSTM", 3, 4, 2, bidirectional=True, proj_size=2)
    names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"]
    wanted = [[f"{n}_l{k}{end}" for n in names] for k in range(2) for end in ("", "_reverse")]
    assert [n for n, _ in net.named_parameters()] == [n for row in wanted for n in row]
    for found, row in zip(net.all_weights, wanted, strict=True):
        assert all(p is getattr(net, n) for p, n in zip(found, row, strict=True))
    assert net.flatten_parameters() is None and net.mode == "LSTM"
    assert repr(net) == "LSTM(3, 4, proj_size=2, num_layers=2, bidirectional=True)"
    again = copy.deepcopy(net)
    x = array(5, 2, 3)
    assert bits(again(x)) == bits(net(x))
    again.reset_parameters()
    assert bits(again(x)) != bits(net(x))


def test_a_replaced_parameter_is_used() -> None:
    net = layer("RNN", 3, 4)
    net.weight_hh_l0 = nn.Parameter(wf.zeros((4, 4)))
    x = array(5, 2, 3)
    wanted = wf.tanh(x @ net.weight_ih_l0.T + net.bias_ih_l0 + net.bias_hh_l0)
    assert bits(net(x)[0]) == bits(wanted)


@pytest.mark.parametrize("name", NAMES)
def test_states_are_handed_on(name: str) -> None:
    """A sequence in two pieces is the sequence: truncated backpropagation."""
    net = layer(name, 3, 4, 2)
    x = array(6, 2, 3)
    y, last = net(x)
    a, state = net(x[:4])
    b, end = net(x[4:], state)
    assert bits(wf.concat([a, b])) == bits(y) and bits(end) == bits(last)


@pytest.mark.parametrize("name", NAMES)
def test_packed_sequences_in_a_compiled_step(name: str) -> None:
    def trained(compiled: bool) -> list[bytes]:
        net = layer(name, 3, 4, bidirectional=True)
        rng = np.random.default_rng(1)

        def step(x: Any, lengths: Any) -> Any:
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
            y, last = net(packed)
            padded, counts = nn.utils.rnn.pad_packed_sequence(y)
            net.zero_grad()
            ((padded * padded).sum() + sum(s.sum() for s in leaves(last))).backward()
            return padded, counts, last

        run = wf.compile(step) if compiled else step
        found = []
        for lengths in ([3, 5, 1, 2], [3, 5, 4, 2], [2, 6, 1]):
            x = wf.asarray(rng.normal(size=(6, len(lengths), 3)).astype(np.float32))
            found.append(bits(run(x, wf.asarray(lengths))) + bits([p.grad for p in net.parameters()]))
        return [b for step in found for b in step]

    assert trained(False) == trained(True)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_states_of_packed_sequences_that_are_sorted_already_in_captured_code(kind: str) -> None:
    layer = getattr(wf.nn, kind)(2, 3)

    def run(x: Any, lengths: Any, state: Any) -> Any:
        packed = wf.nn.utils.rnn.pack_padded_sequence(x, lengths)
        output, last = layer(packed, (state, state) if kind == "LSTM" else state)
        return output.data, *(last if kind == "LSTM" else (last,))

    compiled = wf.compile(run)
    for count in (4, 1, 5):
        lengths = wf.asarray([3, 2, 2, 1, 1][:count])
        x, state = (wf.sin(wf.arange(n, dtype=wf.float32)) for n in (6 * count, 3 * count))
        arguments = x.reshape(3, count, 2), lengths, state.reshape(1, count, 3)
        for ours, eager in zip(compiled(*arguments), run(*arguments), strict=True):
            np.testing.assert_array_equal(ours.detach().numpy(), eager.detach().numpy())
        with pytest.raises(wf.ShapeError):
            compiled(*arguments[:2], wf.zeros((1, count + 1, 3)))
