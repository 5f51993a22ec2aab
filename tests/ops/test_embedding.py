"""Embedding and one-hot against NumPy, and their errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from op_cases import check_gradient

import weft as wf
from weft import nn
from weft.nn import functional as F

RNG = np.random.default_rng(0)


def test_embedding_takes_rows_and_adds_up_gradients() -> None:
    table = RNG.normal(size=(5, 3)).astype(np.float32)
    index = np.array([[1, 4], [1, 0]])
    weight = wf.asarray(table).requires_grad_()
    rows = F.embedding(wf.asarray(index), weight)
    assert rows.numpy().tobytes() == table[index].tobytes()
    rows.sum().backward()
    assert weight.grad.numpy()[:, 0].tolist() == [1.0, 2.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("padding", [1, -4])
def test_the_padding_row_gets_no_gradient(padding: int) -> None:
    weight = wf.ones((5, 2)).requires_grad_()
    F.embedding(wf.asarray([1, 2, 1]), weight, padding).sum().backward()
    assert weight.grad.numpy()[:, 0].tolist() == [0.0, 0.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("index", [5, -1])
def test_an_index_out_of_range_raises(index: int) -> None:
    with pytest.raises(IndexError, match=f"embedding: index {index} is out of range"):
        F.embedding(wf.asarray([0, index]), wf.zeros((5, 2)))
    with pytest.raises(IndexError, match=f"one_hot: index {index} is out of range"):
        F.one_hot(wf.asarray([0, index]), 5)


def test_one_hot() -> None:
    labels = np.array([[2, 0], [1, 2]])
    got = F.one_hot(wf.asarray(labels))
    assert got.dtype is wf.int64 and (got.numpy() == np.eye(3, dtype=np.int64)[labels]).all()
    assert F.one_hot(wf.asarray(labels), 5).shape == (2, 2, 5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.embedding(wf.zeros((2,)), wf.zeros((5, 2))), wf.DTypeError, "embedding: indices are float32"),
        (lambda: F.embedding(wf.asarray([1]), wf.zeros((5,))), wf.ShapeError, r"embedding: weight \(5,\)"),
        (lambda: F.one_hot(wf.asarray([1.0]), 3), wf.DTypeError, "one_hot: indices are float32"),
    ],
)
def test_operands_that_do_not_fit(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


# --- bags -------------------------------------------------------------------------------------------------------


def np_bags(table: Any, bags: Any, mode: str, factors: Any = None, padding: int | None = None) -> Any:
    """The bags one by one."""
    found = np.zeros((len(bags), table.shape[1]), table.dtype)
    for n, bag in enumerate(bags):
        kept = [k for k, row in enumerate(bag) if row != padding]
        rows = table[[bag[k] for k in kept]]
        if not kept:
            continue
        if factors is not None:
            rows = rows * np.asarray([factors[n][k] for k in kept])[:, None]
        found[n] = {"sum": rows.sum, "mean": rows.mean, "max": rows.max}[mode](0)
    return found


TABLE = RNG.normal(size=(7, 3))
RAGGED = [[1, 4, 1], [], [6], [0, 3, 3, 2], []]


@pytest.mark.parametrize("padding", [None, 3, 0])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_of_one_length(mode: str, padding: int | None) -> None:
    bags = RNG.integers(0, 7, (5, 4))
    bags[1] = 3
    given = None if padding is None else padding - 7
    for index in (wf.asarray(bags), wf.asarray(bags.astype(np.int32)), wf.asarray(bags.T.copy()).T):
        got = F.embedding_bag(index, wf.asarray(TABLE), mode=mode, padding_idx=given)
        np.testing.assert_allclose(got.numpy(), np_bags(TABLE, bags, mode, padding=padding), rtol=1e-12)
    check_gradient(lambda t: F.embedding_bag(wf.asarray(bags), t, mode=mode, padding_idx=padding), TABLE)
    assert F.embedding_bag(wf.zeros((2, 0), dtype=wf.int64), wf.asarray(TABLE), mode=mode).tolist() == [[0.0] * 3] * 2
    assert F.embedding_bag(wf.zeros((0, 2), dtype=wf.int64), wf.asarray(TABLE), mode=mode).shape == (0, 3)


@pytest.mark.parametrize("padding", [None, 3, 0])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("last", [False, True])
def test_bags_one_after_another(mode: str, padding: int | None, last: bool) -> None:
    index = np.concatenate([np.asarray(b, np.int64) for b in RAGGED])
    offsets = np.cumsum([0, *map(len, RAGGED)])[: None if last else -1]
    wanted = np_bags(TABLE, RAGGED, mode, padding=padding)

    def bags(t: Any) -> Any:
        options = {"mode": mode, "padding_idx": padding, "include_last_offset": last}
        return F.embedding_bag(wf.asarray(index), t, wf.asarray(offsets), **options)

    np.testing.assert_allclose(bags(wf.asarray(TABLE)).numpy(), wanted, rtol=1e-12)
    check_gradient(bags, TABLE)
    assert wf.compile(bags)(wf.asarray(TABLE)).numpy().tobytes() == bags(wf.asarray(TABLE)).numpy().tobytes()


def test_the_greatest_of_bags_as_pytorch_finds_them() -> None:
    """Of equal elements the first gets the gradient; -inf is a number; empty bags, and no rows at all."""
    torch = pytest.importorskip("torch")
    table = np.array([[1.0, -np.inf], [1.0, -np.inf], [0.0, 2.0], [-3.0, 2.0]], np.float32)
    index, g = np.array([2, 1, 0, 3, 3, 0]), np.arange(1.0, 11.0, dtype=np.float32).reshape(5, 2)
    offsets = np.array([0, 0, 3, 5, 6])
    own, other = wf.asarray(table).requires_grad_(), torch.tensor(table, requires_grad=True)
    y = F.embedding_bag(wf.asarray(index), own, wf.asarray(offsets), mode="max")
    z = torch.nn.functional.embedding_bag(torch.tensor(index), other, torch.tensor(offsets), mode="max")
    np.testing.assert_array_equal(y.numpy(), z.detach().numpy())
    y.backward(wf.asarray(g))
    z.backward(torch.tensor(g))
    np.testing.assert_array_equal(own.grad.numpy(), other.grad.numpy())
    none = F.embedding_bag(wf.asarray(index[:0]), own, wf.asarray(offsets[:2]), mode="max")
    assert none.tolist() == [[0.0] * 2] * 2


def test_bags_with_factors() -> None:
    index, offsets = wf.asarray([1, 4, 1, 6, 0]), wf.asarray([0, 3])
    factors = RNG.normal(size=5)
    wanted = np_bags(TABLE, [[1, 4, 1], [6, 0]], "sum", [factors[:3], factors[3:]])

    def in_line(t: Any, f: Any) -> Any:
        return F.embedding_bag(index, t, offsets, mode="sum", per_sample_weights=f)

    np.testing.assert_allclose(in_line(wf.asarray(TABLE), wf.asarray(factors)).numpy(), wanted, rtol=1e-12)
    check_gradient(in_line, TABLE, factors)
    check_gradient(
        lambda t, f: F.embedding_bag(index[:4].reshape(2, 2), t, mode="sum", per_sample_weights=f),
        TABLE,
        factors[:4].reshape(2, 2),
    )


@pytest.mark.parametrize("mode", ["sum", "mean"])
@pytest.mark.parametrize("offsets", [None, [0, 3]])
def test_gradients_divided_by_how_often_a_row_is_named(mode: str, offsets: Any) -> None:
    """Against the gradient without: PyTorch 2.13 divides by the counts of other rows where one is named twice."""
    index = np.array([1, 4, 1, 1, 6, 4])
    given = wf.asarray(index if offsets is not None else index.reshape(2, 3))
    starts = None if offsets is None else wf.asarray(offsets)
    found = []
    for scaled in (False, True):
        weight = wf.asarray(TABLE).requires_grad_()
        y = F.embedding_bag(given, weight, starts, mode=mode, scale_grad_by_freq=scaled, padding_idx=6)
        (y * y).sum().backward()
        found.append((y.detach().numpy(), weight.grad.numpy()))
    assert found[0][0].tobytes() == found[1][0].tobytes()
    often = np.maximum(np.bincount(index, minlength=7), 1)[:, None]
    np.testing.assert_allclose(found[1][1], found[0][1] / often, rtol=1e-12)
    assert (
        repr(nn.EmbeddingBag(7, 3, scale_grad_by_freq=True))
        == "EmbeddingBag(7, 3, scale_grad_by_freq=True, mode='mean')"
    )


@pytest.mark.parametrize("order", [1.0, 2.0, float("inf")])
@pytest.mark.parametrize("compiled", [False, True])
def test_rows_that_are_named_are_limited_in_place(order: float, compiled: bool) -> None:
    table = (TABLE * 5).astype(np.float32)
    weight = wf.asarray(table.copy()).requires_grad_()

    def run(index: Any) -> Any:
        return F.embedding_bag(index, weight, max_norm=1.5, norm_type=order, mode="sum")

    y = (wf.compile(run) if compiled else run)(wf.asarray([[1, 4], [1, 6]]))
    limited = table.copy()
    for row in (1, 4, 6):
        norm = np.linalg.norm(table[row], order)
        limited[row] *= min(1.0, 1.5 / norm)
    np.testing.assert_allclose(weight.detach().numpy(), limited, rtol=1e-5)
    np.testing.assert_allclose(y.detach().numpy(), [limited[1] + limited[4], limited[1] + limited[6]], rtol=1e-5)
    y.sum().backward()
    assert weight.grad.numpy()[:, 0].tolist() == [0, 2, 0, 0, 1, 0, 1]


@pytest.mark.parametrize(
    ("options", "takes_offsets"),
    [
        ({}, True),
        ({"mode": "sum", "padding_idx": -2}, True),
        ({"mode": "mean", "padding_idx": 4, "include_last_offset": True}, True),
        ({"max_norm": 1.0, "norm_type": 1.0}, True),
        ({"mode": "max"}, False),
        ({"mode": "max", "padding_idx": 1}, False),
    ],
)
def test_the_layer_is_pytorchs(options: dict[str, Any], takes_offsets: bool) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = nn.EmbeddingBag(7, 3, **options), torch.nn.EmbeddingBag(7, 3, **options)
    assert repr(ours) == repr(theirs)
    ours.load_state_dict({k: v.detach().numpy() for k, v in theirs.state_dict().items()})
    index = RNG.integers(0, 7, 10)
    for shape, offsets in (((5, 2), None), ((10,), [0, 3, 3, 7, 10])):
        if offsets is not None and not takes_offsets:
            continue
        more = [] if offsets is None else [offsets]
        y = ours(wf.asarray(index.reshape(shape)), *(wf.asarray(o) for o in more))
        z = theirs(torch.tensor(index.reshape(shape)), *(torch.tensor(o) for o in more))
        np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-5, atol=1e-6)
        ours.zero_grad(), theirs.zero_grad()
        (y * y).sum().backward()
        (z * z).sum().backward()
        np.testing.assert_allclose(ours.weight.grad.numpy(), theirs.weight.grad.numpy(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(ours.weight.detach().numpy(), theirs.weight.detach().numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "in_line"),
    [
        ({"mode": "sum"}, True),
        ({"padding_idx": 2, "scale_grad_by_freq": True, "include_last_offset": True}, True),
        ({"max_norm": 1.0}, True),
        ({"mode": "mean", "padding_idx": 2}, False),
        ({"mode": "max", "padding_idx": 2}, False),
    ],
)
def test_a_captured_training_step_has_the_bits_of_an_eager_one(options: dict[str, Any], in_line: bool) -> None:
    found = []
    for compiled in (False, True):
        wf.manual_seed(0)
        net = nn.EmbeddingBag(9, 4, **options)
        optimizer = wf.optim.SGD(net.parameters(), lr=0.1)

        def step(index: Any, offsets: Any = None, net: Any = net, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            loss = (net(index, offsets) ** 2).sum()
            loss.backward()
            optimizer.step()
            return loss

        run: Any = wf.compile(step) if compiled else step
        rng, bits = np.random.default_rng(2), []
        for batch in (3, 3, 5, 4, 7):
            index = wf.asarray(rng.integers(0, 9, (batch, 4)))
            more = [wf.asarray(np.sort(rng.integers(0, 4 * batch, batch + 1)))] if in_line else []
            if in_line:
                more[0][0] = 0
                if options.get("include_last_offset"):
                    more[0][-1] = 4 * batch
            bits.append(run(index.reshape(-1) if in_line else index, *more).numpy().tobytes())
        found.append([*bits, net.weight.detach().numpy().tobytes()])
    assert found[0] == found[1]


def test_a_layer_of_a_table_that_is_there() -> None:
    layer = nn.EmbeddingBag.from_pretrained(wf.asarray(TABLE), mode="sum", padding_idx=1)
    assert not layer.weight.requires_grad and layer.weight.dtype is wf.float64 and layer.padding_idx == 1
    np.testing.assert_allclose(layer(wf.asarray([[1, 2]])).numpy(), TABLE[2:3])
    assert nn.EmbeddingBag.from_pretrained(wf.asarray(TABLE), freeze=False).weight.requires_grad
    assert (nn.EmbeddingBag(5, 2, padding_idx=-1).weight.detach().numpy()[4] == 0).all()


ROWS, STARTS = wf.asarray([0, 1, 2]), wf.asarray([0, 1])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda t: F.embedding_bag(ROWS, t), wf.ShapeError, r"input \(3,\): wants \(N,\) with offsets"),
        (lambda t: F.embedding_bag(ROWS[None], t, STARTS), wf.ShapeError, r"\(B, N\) without"),
        (lambda t: F.embedding_bag(ROWS, t[0], STARTS), wf.ShapeError, r"weight \(3,\)"),
        (lambda t: F.embedding_bag(ROWS, t, STARTS[None]), wf.ShapeError, r"offsets \(1, 2\)"),
        (lambda t: F.embedding_bag(ROWS, t, STARTS, mode="min"), wf.ArgumentError, "mode is 'min'"),
        (lambda t: F.embedding_bag(ROWS, t, STARTS, sparse=True), wf.ArgumentError, "sparse gradients"),
        (
            lambda t: F.embedding_bag(ROWS[None], t, mode="max", scale_grad_by_freq=True),
            wf.ArgumentError,
            "scale_grad_by_freq with mode 'max'",
        ),
        (
            lambda t: F.embedding_bag(ROWS, t, STARTS, per_sample_weights=wf.ones(3)),
            wf.ArgumentError,
            "per_sample_weights with mode 'mean'",
        ),
        (
            lambda t: F.embedding_bag(ROWS, t, STARTS, mode="sum", per_sample_weights=wf.ones(2)),
            wf.ShapeError,
            r"per_sample_weights \(2,\) must have input's shape \(3,\)",
        ),
        (lambda t: F.embedding_bag(ROWS + 5, t, STARTS), IndexError, "embedding_bag: index 7 is out of range"),
        (lambda t: F.embedding_bag(ROWS, t, STARTS + 1), IndexError, "embedding_bag"),
        (lambda t: F.embedding_bag(ROWS, t, STARTS * 4), IndexError, "embedding_bag: index 4"),
        (lambda t: F.embedding_bag(ROWS, t, STARTS, padding_idx=7), IndexError, "padding_idx 7 is out of range"),
        (lambda t: F.embedding_bag(t[:2], t), wf.DTypeError, "embedding_bag: indices are float64"),
        (lambda t: nn.EmbeddingBag(3, 2, padding_idx=3), ValueError, "padding_idx 3 is out of range"),
        (lambda t: nn.EmbeddingBag(3, 2, mode="min"), ValueError, "mode is 'min'"),
        (lambda t: nn.EmbeddingBag(3, 2, sparse=True), ValueError, "EmbeddingBag: sparse gradients"),
    ],
)
def test_bags_that_do_not_fit(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(wf.asarray(TABLE))
