"""Constructors: a layer is made of what its parameters' annotations say, or says what it takes."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn
from weft.nn import functional as F

LAYERS = [
    kind
    for name in nn.__all__
    if isinstance(kind := getattr(nn, name), type) and issubclass(kind, nn.Module) and kind is not nn.LazyModuleMixin
]
OF: dict[str, tuple[Any, ...]] = {  # what layers are made of that cannot be made of so many twos
    "AdaptiveLogSoftmaxWithLoss": (4, 8, [2, 4]),
    "Bilinear": (1, 1, 1),
    "GroupNorm": (2, 4),
    "MultiheadAttention": (4, 2),
    "RotaryEmbedding": (4,),
    "Transformer": (4, 2, 1, 1),
    "TransformerDecoderLayer": (4, 2),
    "TransformerEncoderLayer": (4, 2),
    "Unflatten": (1, (2, 2)),
}
X: Any = wf.ones((2, 3, 4))


def _made(kind: type[nn.Module]) -> dict[str, Any]:
    """Arguments by name with which a layer can be made."""
    if kind is nn.TransformerEncoder:
        return {"encoder_layer": nn.TransformerEncoderLayer(4, 2), "num_layers": 1}
    if kind is nn.TransformerDecoder:
        return {"decoder_layer": nn.TransformerDecoderLayer(4, 2), "num_layers": 1}
    parameters = inspect.signature(kind).parameters.values()
    wanted = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    needed = sum(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)
    options = {"output_size": 2} if kind.__name__.startswith("FractionalMaxPool") else {}
    return dict(zip(wanted, OF.get(kind.__name__, (2,) * needed), strict=False)) | options


def _taking(*annotations: str) -> list[Any]:
    return [
        pytest.param(kind, p.name, id=f"{kind.__name__}-{p.name}")
        for kind in LAYERS
        for p in inspect.signature(kind).parameters.values()
        if p.annotation in annotations
    ]


@pytest.mark.parametrize(("kind", "name"), _taking("bool"))
def test_a_flag_is_true_or_false(kind: Any, name: str) -> None:
    for wrong in ("False", None, 2, 0.0, [True]):
        with pytest.raises(wf.DTypeError, match=rf"^{kind.__name__}: {name} is .*; it must be True or False") as caught:
            kind(**_made(kind) | {name: wrong})
        assert caught.value.where is not None and caught.value.where[0] == __file__
    if name != "sparse":
        plain, numpys = (repr(kind(**_made(kind) | {name: flag(True)})) for flag in (bool, np.bool_))
        assert plain == numpys


@pytest.mark.parametrize(("kind", "name"), _taking("float", "float | None"))
def test_a_number_is_no_text(kind: Any, name: str) -> None:
    for wrong in ("sum", object(), [0.5], 1j):
        with pytest.raises(wf.DTypeError, match=rf"^{kind.__name__}: {name} is .*; it must be a number"):
            kind(**_made(kind) | {name: wrong})


@pytest.mark.parametrize(("kind", "name"), _taking("int", "int | None", "int | Sequence[int]", "Sizes"))
def test_a_size_is_no_text_and_no_fraction(kind: Any, name: str) -> None:
    for wrong in ("sum", 2.5, object()):
        with pytest.raises(wf.ShapeError, match=rf"^{kind.__name__}: {name} is .*; it must be a whole number"):
            kind(**_made(kind) | {name: wrong})


@pytest.mark.parametrize(("kind", "name"), _taking("Tensor | None"))
def test_a_weight_is_a_tensor(kind: Any, name: str) -> None:
    for wrong in (2.0, "sum", [1.0, 2.0]):
        with pytest.raises(wf.DTypeError, match=rf"^{kind.__name__}: {name} is .*; it must be a tensor"):
            kind(**_made(kind) | {name: wrong})


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: nn.MultiheadAttention(4, 2, dropout="x"), wf.DTypeError, "dropout is 'x'; it must be a number"),
        (lambda: nn.TransformerEncoderLayer(4, 2, dropout=None), wf.DTypeError, "dropout is None"),
        (lambda: nn.TransformerEncoderLayer(4, 2, activation=None), wf.ArgumentError, "activation is None"),
        (lambda: nn.TransformerEncoder(None, 2), wf.ArgumentError, "encoder_layer is None; it must be a Module"),
        (lambda: nn.Transformer(4, 2, 1.5, 1), wf.ShapeError, "num_encoder_layers is 1.5; it must be a whole"),
        (lambda: nn.RMSNorm(None), wf.ShapeError, "normalized_shape is None; it must be a whole number, or several"),
        (lambda: nn.Upsample(scale_factor="sum"), wf.DTypeError, "scale_factor is 'sum'; it must be a number"),
        (lambda: nn.AdaptiveLogSoftmaxWithLoss(4, 8, -1), wf.ShapeError, "cutoffs is -1; it must be several"),
        (lambda: nn.AdaptiveLogSoftmaxWithLoss(4, 8, [2.5]), wf.ShapeError, "cutoffs is"),
        (lambda: nn.AdaptiveLogSoftmaxWithLoss(4, 8, [2], 0.0), wf.ArgumentError, "div_value is 0.0; it must be above"),
        (lambda: nn.AdaptiveLogSoftmaxWithLoss(4, 8, [2], [4.0]), wf.DTypeError, "div_value is "),
        (lambda: nn.FractionalMaxPool2d(2, output_ratio="x"), wf.DTypeError, "output_ratio is 'x'"),
        (lambda: nn.FractionalMaxPool2d(2, output_ratio=(0.5, None)), wf.DTypeError, "output_ratio is None"),
        (lambda: nn.Unflatten(1, 4), wf.ShapeError, "unflattened_size is 4; it must be several whole numbers"),
    ],
)
def test_what_cannot_be_meant_is_told(make: Callable[[], Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=f": {says}") as caught:
        make()
    assert caught.value.where[0] == __file__  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("layer", "name", "value"),
    [
        (lambda n: nn.LayerNorm(n), "normalized_shape", (4,)),
        (lambda n: nn.RMSNorm(n), "normalized_shape", (4,)),
        (lambda n: nn.LayerNorm((n, n)), "normalized_shape", (4, 4)),
        (lambda n: nn.Linear(n, 2), "in_features", 4),
        (lambda n: nn.MaxPool2d(n), "kernel_size", 4),
        (lambda n: nn.AdaptiveAvgPool2d((n, None)), "output_size", (4, None)),
        (lambda n: nn.LSTM(2, n), "hidden_size", 4),
        (lambda n: nn.Embedding(n, 2), "num_embeddings", 4),
        (lambda n: nn.Softmax(dim=n), "dim", 4),
        (lambda n: nn.TransformerEncoderLayer(n, 2).self_attn, "embed_dim", 4),
        (lambda n: nn.Transformer(n, 2, 1, 1), "d_model", 4),
    ],
)
@pytest.mark.parametrize("number", [np.int64, np.uint8, np.asarray, wf.asarray])
def test_numbers_of_numpy_and_tensors_are_pythons(layer: Any, name: str, value: Any, number: Any) -> None:
    found = getattr(layer(number(4)), name)
    each = found if isinstance(found, tuple) else (found,)
    assert found == value and all(type(n) is int or n is None for n in each)


def test_several_numbers_may_come_from_anywhere() -> None:
    assert nn.LayerNorm(np.asarray([3, 4])).normalized_shape == (3, 4)
    assert nn.Conv2d(1, 1, (n for n in (3, 2))).kernel_size == (3, 2)
    assert nn.Dropout(np.float32(0.5)).p == 0.5 and type(nn.Dropout(np.float32(0.5)).p) is float


def test_positions_subclasses_and_signatures_are_as_they_were() -> None:
    assert nn.Linear(2, 3, False).bias is None and nn.BatchNorm2d(2, 1e-5, 0.1, False).weight is None
    assert list(inspect.signature(nn.Linear).parameters)[:3] == ["in_features", "out_features", "bias"]
    assert list(inspect.signature(nn.BatchNorm2d.__init__).parameters)[:3] == ["self", "num_features", "eps"]
    assert "def __init__" in inspect.getsource(nn.Linear.__init__)
    assert type(pickle.loads(pickle.dumps(nn.Linear(2, 3)))) is nn.Linear
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'out_features'"):
        nn.Linear(2)  # type: ignore[call-arg]


class Own(nn.Linear):
    def __init__(self, size: int, bias: bool = True) -> None:
        self.given = size, bias
        super().__init__(int(size), 2, bias=bias)


def test_a_users_constructor_gets_what_it_is_given() -> None:
    number = np.int64(3)
    layer = Own(number, np.True_)  # type: ignore[arg-type]
    assert layer.given[0] is number and layer.given[1] is np.True_ and layer.bias is not None
    with pytest.raises(wf.DTypeError, match=r"^Own: bias is 'no'; it must be True or False"):
        Own(3, "no")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: F.batch_norm(X, wf.zeros(3), wf.ones(3), momentum="sum"), "batch_norm: momentum is 'sum'"),
        (lambda: F.batch_norm(X, None, None, training=True, momentum=None), "batch_norm: momentum is None"),
        (lambda: F.instance_norm(X, momentum="sum"), "instance_norm: momentum is 'sum'"),
        (lambda: F.embedding(wf.asarray([0]), X[0], norm_type="sum"), "embedding: norm_type is 'sum'"),
        (lambda: F.embedding_bag(wf.asarray([[0]]), X[0], norm_type="sum"), "embedding_bag: norm_type is 'sum'"),
    ],
)
def test_an_option_that_is_not_used_is_a_number_too(call: Callable[[], Any], says: str) -> None:
    with pytest.raises(wf.DTypeError, match=f"^{says}; it must be a number"):
        call()
