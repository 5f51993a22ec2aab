"""Losses of margins and embeddings: values and gradients against NumPy in float64, kinks, dtypes, wrong operands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from op_cases import check_gradient, same_bits

import weft as wf
from weft import nn
from weft.nn import functional as F

RNG = np.random.default_rng(0)
X, Y, Z = (RNG.normal(size=(5, 4)) for _ in range(3))
SIGNS = np.where(RNG.normal(size=(5, 4)) > 0, 1, -1)
ROWS = np.array([1, -1, -1, 1, -1])
LABELS = RNG.integers(0, 4, 5)
LISTS = np.array([[2, 0, -1, 1], [-1, 0, 1, 2], [0, 1, 2, 3], [3, 3, -1, -1], [1, -1, 2, -1]])
W = np.array([1.0, 2.0, 0.5, 3.0])


def np_triplet(a: Any, p: Any, n: Any, margin: float = 1.0, order: float = 2.0, swap: bool = False) -> Any:
    def distance(x: Any, y: Any) -> Any:
        return (np.abs(x - y + 1e-6) ** order).sum(-1) ** (1 / order)

    far = np.minimum(distance(a, n), distance(p, n)) if swap else distance(a, n)
    return np.maximum(0, distance(a, p) - far + margin)


def np_multi_margin(x: Any, y: Any, p: int = 1, margin: float = 1.0, weight: Any = None) -> Any:
    loss = np.zeros(len(x))
    for n, row in enumerate(x):
        for i in range(len(row)):
            if i != y[n]:
                term = max(0, margin - row[y[n]] + row[i]) ** p
                loss[n] += term * (1 if weight is None else weight[y[n]]) / len(row)
    return loss


def np_multilabel_margin(x: Any, y: Any) -> Any:
    loss = np.zeros(len(x))
    for n, row in enumerate(x):
        own = []
        for label in y[n]:
            if label < 0:
                break
            own.append(label)
        for label in own:
            loss[n] += sum(max(0, 1 - (row[label] - row[i])) for i in range(len(row)) if i not in own) / len(row)
    return loss


def np_cosine(x: Any, y: Any, t: Any, margin: float = 0.0) -> Any:
    cosine = (x * y).sum(-1) / np.sqrt(((x * x).sum(-1) + 1e-12) * ((y * y).sum(-1) + 1e-12))
    return np.where(t == 1, 1 - cosine, np.maximum(0, cosine - margin))


# function, floating operands, the others (before options), options, reference
CASES: list[tuple[Any, ...]] = [
    (F.soft_margin_loss, (X,), (SIGNS,), {}, lambda x, t: np.log1p(np.exp(-t * x))),
    (F.hinge_embedding_loss, (X,), (SIGNS,), {}, lambda x, t: np.where(t == 1, x, np.maximum(0, 1 - x))),
    (
        F.hinge_embedding_loss,
        (X,),
        (ROWS[:, None],),
        {"margin": 0.3},
        lambda x, t: np.where(t == 1, x, np.maximum(0, 0.3 - x)),
    ),
    (
        F.multilabel_soft_margin_loss,
        (X,),
        ((SIGNS + 1) // 2,),
        {},
        lambda x, t: np.log1p(np.exp(-(2 * t - 1) * x)).mean(-1),
    ),
    (
        F.multilabel_soft_margin_loss,
        (X,),
        ((SIGNS + 1) // 2,),
        {"weight": W},
        lambda x, t: (np.log1p(np.exp(-(2 * t - 1) * x)) * W).mean(-1),
    ),
    (F.multilabel_margin_loss, (X,), (LISTS,), {}, np_multilabel_margin),
    (F.multi_margin_loss, (X,), (LABELS,), {}, np_multi_margin),
    (
        F.multi_margin_loss,
        (X,),
        (LABELS,),
        {"p": 2, "margin": 0.7, "weight": W},
        lambda x, y: np_multi_margin(x, y, 2, 0.7, W),
    ),
    (F.margin_ranking_loss, (X, Y), (SIGNS,), {}, lambda x, y, t: np.maximum(0, -t * (x - y))),
    (
        F.margin_ranking_loss,
        (X, Y[:1]),
        (ROWS[:, None],),
        {"margin": 0.4},
        lambda x, y, t: np.maximum(0, -t * (x - y) + 0.4),
    ),
    (F.cosine_embedding_loss, (X, Y), (ROWS,), {}, np_cosine),
    (F.cosine_embedding_loss, (X, Y), (ROWS,), {"margin": 0.2}, lambda x, y, t: np_cosine(x, y, t, 0.2)),
    (F.triplet_margin_loss, (X, Y, Z), (), {}, np_triplet),
    (
        F.triplet_margin_loss,
        (X, Y, Z),
        (),
        {"margin": 2.0, "p": 3.0, "swap": True},
        lambda a, p, n: np_triplet(a, p, n, 2.0, 3.0, True),
    ),
    (F.triplet_margin_with_distance_loss, (X, Y, Z), (), {}, np_triplet),
    (
        F.triplet_margin_with_distance_loss,
        (X, Y, Z),
        (),
        {"distance_function": lambda x, y: wf.abs(x - y).sum(-1), "margin": 0.5, "swap": True},
        lambda a, p, n: np.maximum(
            0, np.abs(a - p).sum(-1) - np.minimum(np.abs(a - n).sum(-1), np.abs(p - n).sum(-1)) + 0.5
        ),
    ),
    (F.poisson_nll_loss, (X,), (np.arange(20).reshape(5, 4),), {}, lambda x, t: np.exp(x) - t * x),
    (
        F.poisson_nll_loss,
        (np.exp(X),),
        (np.arange(20).reshape(5, 4) % 5,),
        {"log_input": False, "full": True, "eps": 1e-3},
        lambda x, t: (
            x
            - t * np.log(x + 1e-3)
            + np.where(t > 1, t * np.log(np.maximum(t, 1)) - t + 0.5 * np.log(2 * np.pi * np.maximum(t, 1)), 0.0)
        ),
    ),
    (
        F.gaussian_nll_loss,
        (X, Y, np.exp(Z)),
        (),
        {"full": True},
        lambda x, t, v: 0.5 * (np.log(v) + (x - t) ** 2 / v) + 0.5 * np.log(2 * np.pi),
    ),
    (
        F.gaussian_nll_loss,
        (X, Y, np.exp(Z[:, 0])),
        (),
        {"eps": 1e-2},
        lambda x, t, v: 0.5 * (np.log(v[:, None]) + (x - t) ** 2 / v[:, None]),
    ),
    (F.gaussian_nll_loss, (X, Y), (0.5,), {}, lambda x, t, v: 0.5 * (np.log(v) + (x - t) ** 2 / v)),
]
NAMED = [pytest.param(*case, id=f"{case[0].__name__}-{'-'.join(case[3]) or n}") for n, case in enumerate(CASES)]


def made(value: Any) -> Any:
    return wf.asarray(value) if isinstance(value, np.ndarray) else value


def called(function: Any, others: Any, options: dict[str, Any], reduction: str) -> Callable[..., Any]:
    rest = tuple(map(made, others))
    more = {name: made(value) for name, value in options.items()}
    return lambda *inputs: function(*inputs, *rest, **more, reduction=reduction)


@pytest.mark.parametrize(("function", "inputs", "others", "options", "reference"), NAMED)
def test_value_and_gradient(function: Any, inputs: Any, others: Any, options: Any, reference: Any) -> None:
    wanted = reference(*inputs, *others)
    for reduction, expected in (("none", wanted), ("sum", wanted.sum()), ("mean", wanted.mean())):
        got = called(function, others, options, reduction)(*map(wf.asarray, inputs))
        assert got.shape == expected.shape and got.dtype is wf.float64
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-9, atol=1e-12)
    check_gradient(called(function, others, options, "none"), *inputs)


@pytest.mark.parametrize(("function", "inputs", "others", "options", "reference"), NAMED)
def test_compiled_gradients_have_the_same_bits_for_any_batch(
    function: Any, inputs: Any, others: Any, options: Any, reference: Any
) -> None:
    narrow = [np.asarray(a, np.float32) for a in inputs]
    sizes = {a.shape[0] for a in (*narrow, *others) if isinstance(a, np.ndarray)}

    def both(*operands: Any) -> Any:
        floats = [t.detach().requires_grad_() for t in operands[: len(inputs)]]
        loss = called(function, operands[len(inputs) :], options, "mean")(*floats)
        loss.backward()
        return loss, [t.grad for t in floats]

    compiled = wf.compile(both)
    for rows in (5, 3, 2):
        operands = [
            wf.asarray(a[:rows]) if isinstance(a, np.ndarray) and a.shape[0] == max(sizes) else made(a)
            for a in (*narrow, *others)
        ]
        (loss, gradients), (wanted, expected) = compiled(*operands), both(*operands)
        same_bits(loss, wanted.numpy())
        for g, e in zip(gradients, expected, strict=True):
            same_bits(g, e.numpy())


@pytest.mark.parametrize(("function", "inputs", "others", "options", "reference"), NAMED)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bit_losses_are_computed_in_float32(
    function: Any, inputs: Any, others: Any, options: Any, reference: Any, dtype: str
) -> None:
    if "distance_function" in options:
        pytest.skip("the user's function rounds what it gives")
    if function is F.triplet_margin_with_distance_loss:
        pytest.skip("distances are rounded, too")
    given = [wf.asarray(a).astype(dtype) for a in inputs]
    options = {k: v.astype(np.float32) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    got = called(function, others, options, "mean")(*given)
    wide = called(function, others, options, "mean")(*(g.astype("float32") for g in given))
    assert got.dtype.name == dtype
    same_bits(got, wide.astype(dtype).numpy())


@pytest.mark.parametrize(("function", "inputs", "others", "options", "reference"), NAMED)
def test_the_batch_may_be_symbolic(function: Any, inputs: Any, others: Any, options: Any, reference: Any) -> None:
    arrays = [a for a in (*inputs, *others) if isinstance(a, np.ndarray)]
    specs = [wf.spec(("n" if a.shape[0] == 5 else 1, *a.shape[1:]), a.dtype.name) for a in arrays]
    rest = [a for a in others if not isinstance(a, np.ndarray)]
    more = {name: made(value) for name, value in options.items()}
    for reduction, shape in (("none", "float64[n"), ("mean", "float64[]")):
        got = wf.eval_shape(lambda *given, r=reduction: function(*given, *rest, **more, reduction=r), *specs)
        assert str(got).startswith(shape)


def test_rows_alone_and_batches_agree() -> None:
    for n in range(5):
        x, y = wf.asarray(X[n]), wf.asarray(Y[n])
        for function, operands, whole in (
            (F.multilabel_margin_loss, (x, wf.asarray(LISTS[n])), (X, LISTS)),
            (F.multi_margin_loss, (x, wf.asarray(LABELS[n])), (X, LABELS)),
            (F.cosine_embedding_loss, (x, y, wf.asarray(ROWS[n])), (X, Y, ROWS)),
        ):
            all_of_them = function(*map(wf.asarray, whole), reduction="none")
            one = function(*operands, reduction="none")
            assert one.shape == () and all_of_them.shape == (5,)
            assert one.item() == pytest.approx(all_of_them[n].item(), rel=1e-12)
    assert F.multi_margin_loss(wf.asarray(X[0]), wf.asarray(LABELS[:1]), reduction="none").shape == (1,)


def test_gradients_at_kinks_are_pytorchs() -> None:
    x = wf.asarray([1.0, 1.0]).requires_grad_()
    F.hinge_embedding_loss(x, wf.asarray([-1, -1]), reduction="sum").backward()  # margin - x is 0
    assert x.grad.tolist() == [-1.0, -1.0]
    x = wf.asarray([1.0, 0.0]).requires_grad_()
    F.multi_margin_loss(x, wf.asarray(0), reduction="sum").backward()  # margin - x[0] + x[1] is 0
    assert x.grad.tolist() == [0.0, 0.0]


def test_soft_margins_far_out_are_linear() -> None:
    x = wf.asarray([-1e4, 1e4]).requires_grad_()
    loss = F.soft_margin_loss(x, wf.asarray([1, 1]), reduction="none")
    loss.sum().backward()
    assert loss.tolist() == [1e4, 0.0] and x.grad.tolist() == [-1.0, 0.0]


def test_nan_is_not_hidden() -> None:
    nan = wf.asarray([[float("nan"), 0.0]])
    zero = wf.zeros((1, 2))
    for loss in (
        F.hinge_embedding_loss(nan, wf.asarray([[-1, -1]])),
        F.margin_ranking_loss(nan, zero, wf.asarray([[1, 1]])),
        F.multi_margin_loss(nan, wf.asarray([1])),
        F.multilabel_margin_loss(nan, wf.asarray([[1, -1]])),
        F.triplet_margin_loss(nan, zero, zero),
        F.cosine_embedding_loss(nan, zero, wf.asarray([-1])),
    ):
        assert np.isnan(loss.item())


def test_a_multilabel_margin_stores_nothing_of_classes_times_classes() -> None:
    def both(x: Any, y: Any) -> Any:
        x = x.detach().requires_grad_()
        loss = F.multilabel_margin_loss(x, y)
        loss.backward()
        return loss, x.grad

    step = wf.compile(both)
    x, y = wf.zeros((4, 300)), wf.zeros((4, 300), dtype="int64") - 1
    assert step(x, y)[0].item() == 0.0
    assert step.explain(x, y).arena_nbytes < 300 * 300


def test_small_variances_are_kept_from_zero_and_can_grow_again() -> None:
    v = wf.asarray([0.0, 1e-9, 1.0]).requires_grad_()
    loss = F.gaussian_nll_loss(wf.zeros(3), wf.asarray([1.0, 1.0, 1.0]), v, eps=0.5, reduction="none")
    loss.sum().backward()
    np.testing.assert_allclose(loss.tolist(), [0.5 * (np.log(u) + 1 / u) for u in (0.5, 0.5, 1.0)], rtol=1e-6)
    np.testing.assert_allclose(v.grad.tolist(), [0.5 * (1 / u - 1 / u**2) for u in (0.5, 0.5, 1.0)], rtol=1e-6)


def test_a_negative_variance_is_an_error_and_nan_in_captured_code() -> None:
    x, v = wf.zeros((2,)), wf.asarray([1.0, -1.0])
    with pytest.raises(wf.ArgumentError, match="var has negative elements"):
        F.gaussian_nll_loss(x, x, v)
    with pytest.raises(wf.ArgumentError, match=r"var is -2\.0"):
        F.gaussian_nll_loss(x, x, -2.0)
    loss = wf.compile(lambda v: F.gaussian_nll_loss(x, x, v, reduction="none"))(v)
    assert np.isnan(loss.numpy()).tolist() == [False, True]


def test_weights_of_regression_losses() -> None:
    x, t, w = (wf.asarray(a) for a in (X, Y, np.exp(Z)))
    d, e = X - Y, np.exp(Z)
    huber = np.where(np.abs(d) < 0.7, 0.5 * d * d, 0.7 * (np.abs(d) - 0.35)) * e
    for function, whole, mean in (
        (F.mse_loss, d * d * e, (d * d * e).sum() / e.sum()),
        (F.l1_loss, np.abs(d) * e, (np.abs(d) * e).sum() / e.sum()),
        (lambda *a, **k: F.huber_loss(*a, delta=0.7, **k), huber, huber.mean()),
    ):
        for reduction, wanted in (("none", whole), ("sum", whole.sum()), ("mean", mean)):
            np.testing.assert_allclose(function(x, t, weight=w, reduction=reduction).numpy(), wanted, rtol=1e-12)
        with pytest.raises(wf.ShapeError, match=r"weight \(5,\) for input \(5, 4\)"):
            function(x, t, weight=w[:, 0])


V, M = wf.zeros((3,)), wf.zeros((2, 3))
ONES = wf.asarray([1, 1])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.soft_margin_loss(M, V), wf.ShapeError, r"input \(2, 3\) and target \(3,\) differ"),
        (lambda: F.soft_margin_loss(M, M > 0), wf.DTypeError, "target is bool"),
        (lambda: F.soft_margin_loss(ONES, ONES), wf.DTypeError, "soft_margin_loss: int64 operands"),
        (lambda: F.soft_margin_loss(M, M, reduction="avg"), ValueError, "soft_margin_loss: reduction is 'avg'"),
        (lambda: F.hinge_embedding_loss(M, ONES), wf.ShapeError, "hinge_embedding_loss: shapes"),
        (lambda: F.multilabel_soft_margin_loss(wf.zeros(()), wf.zeros(())), wf.ShapeError, "no class axis"),
        (
            lambda: F.multilabel_soft_margin_loss(wf.zeros((3,)), wf.zeros((2, 3))),
            wf.ShapeError,
            r"target \(2, 3\) has more axes than input \(3,\)",
        ),
        (lambda: F.multilabel_margin_loss(M, wf.asarray([0, 1])), wf.ShapeError, r"target \(2,\) does not fit"),
        (lambda: F.multilabel_margin_loss(M, M), wf.DTypeError, "target is float32; labels must be integers"),
        (lambda: F.multilabel_margin_loss(V, wf.asarray([0, 3, -1])), IndexError, "index 3 is out of range"),
        (lambda: F.multilabel_margin_loss(V, wf.asarray([0, -2, -1])), IndexError, "out of range"),
        (lambda: F.multilabel_margin_loss(wf.zeros((2, 0)), wf.zeros((2, 0), dtype="int64")), wf.ShapeError, "C"),
        (lambda: F.multi_margin_loss(M, ONES, p=3), ValueError, "p is 3; it must be 1 or 2"),
        (lambda: F.multi_margin_loss(M, V.astype("int64")), wf.ShapeError, r"labels must be \(2,\)"),
        (lambda: F.multi_margin_loss(M, ONES, weight=wf.zeros(2)), wf.ShapeError, r"weight \(2,\) for 3 classes"),
        (lambda: F.multi_margin_loss(M, ONES * 3), IndexError, "index 3 is out of range"),
        (lambda: F.margin_ranking_loss(M, V, M), wf.ShapeError, "not of one rank"),
        (lambda: F.cosine_embedding_loss(M, M, M), wf.ShapeError, "do not fit: inputs"),
        (lambda: F.cosine_embedding_loss(M, M, wf.asarray(1)), wf.ShapeError, "do not fit: inputs"),
        (lambda: F.triplet_margin_loss(M, M, M, margin=0.0), ValueError, r"margin is 0\.0; it must be greater"),
        (lambda: F.triplet_margin_loss(M, V, M), wf.ShapeError, "not of one rank"),
        (lambda: F.triplet_margin_with_distance_loss(M, V, M), wf.ShapeError, "not of one rank"),
        (lambda: F.triplet_margin_with_distance_loss(M, M, M, margin=-1.0), ValueError, "margin is -1"),
        (lambda: F.triplet_margin_with_distance_loss(M, M, M, reduction="avg"), ValueError, "reduction is 'avg'"),
        (lambda: F.triplet_margin_with_distance_loss(M, M, M, distance_function=2), ValueError, "is no function"),
        (lambda: F.gaussian_nll_loss(M, M, wf.ones((3, 2))), wf.ShapeError, r"var \(3, 2\) for input \(2, 3\)"),
        (lambda: F.gaussian_nll_loss(M, M, wf.ones((1, 1))), wf.ShapeError, r"var \(1, 1\) for input"),
        (lambda: F.gaussian_nll_loss(M, M, "1"), wf.DTypeError, "neither a tensor nor a number"),
        (lambda: F.poisson_nll_loss(M, M > 0), wf.DTypeError, "target is bool"),
        (lambda: F.cross_entropy(M, M, ignore_index=1), ValueError, "probabilities have no label to ignore"),
    ],
)
def test_operands_that_do_not_fit(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_the_distance_of_none_given_is_pairwise_distance() -> None:
    torch = pytest.importorskip("torch")
    rows = [wf.asarray(a[:1] if k else a) for k, a in enumerate((X, Y, Z))]
    options: dict[str, Any] = {"swap": True, "reduction": "none"}
    own = nn.TripletMarginWithDistanceLoss(**options)(*rows)
    said = nn.TripletMarginWithDistanceLoss(distance_function=F.pairwise_distance, **options)(*rows)
    same_bits(own, said.numpy())
    other = torch.nn.TripletMarginWithDistanceLoss(swap=True, reduction="none")(
        *(torch.tensor(r.numpy()) for r in rows)
    )
    np.testing.assert_allclose(own.numpy(), other.numpy(), rtol=1e-12)
