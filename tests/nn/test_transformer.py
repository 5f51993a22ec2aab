"""Transformer layers and stacks against PyTorch, over all of their arguments, and as bits in captured code."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn, optim
from weft.nn import functional as F

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(0)
N, S, T, E, H = 3, 5, 4, 8, 2


def normal(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)


def carry_over(ours: Any, theirs: Any) -> None:
    """Load PyTorch's state, which is drawn anew, into ours; the names must be the same, and so must the text."""
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.tensor(normal(*p.shape) * 0.4))
    ours.load_state_dict({k: v.detach().numpy() for k, v in theirs.state_dict().items()})
    assert list(ours.state_dict()) == list(theirs.state_dict())


def compare(ours: Any, theirs: Any, arrays: list[Any], masks: dict[str, Any]) -> None:
    """Outputs, and gradients of inputs and parameters."""
    mine, other = [wf.asarray(a).requires_grad_() for a in arrays], [torch.tensor(a).requires_grad_() for a in arrays]
    y = ours(*mine, **{k: wf.asarray(v) if isinstance(v, np.ndarray) else v for k, v in masks.items()})
    z = theirs(*other, **{k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in masks.items()})
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-4, atol=1e-4)
    factor = normal(*z.shape)
    (y * wf.asarray(factor)).sum().backward()
    (z * torch.tensor(factor)).sum().backward()
    for a, b in (*zip(mine, other, strict=True), *zip(ours.parameters(), theirs.parameters(), strict=True)):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=2e-3, atol=5e-4)


LAYERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "gelu": {"activation": "gelu"},
    "norm first": {"norm_first": True, "batch_first": True},
    "no bias": {"bias": False, "layer_norm_eps": 1e-2},
    "a function": {"activation": "tanh", "norm_first": True},
    "a module": {"activation": "Module"},
}


def layers(kind: str, name: str) -> tuple[Any, Any]:
    """A layer of ours and PyTorch's with the same state."""
    options = {"dim_feedforward": 16, "dropout": 0.0, **LAYERS[name]}
    found = []
    for module, library in ((nn, wf), (torch.nn, torch)):
        given = dict(options)
        if given.get("activation") == "tanh":
            given["activation"] = library.tanh
        elif given.get("activation") == "Module":
            given["activation"] = module.LeakyReLU(0.2)
        found.append(getattr(module, kind)(E, H, **given))
    carry_over(*found)
    return found[0], found[1]


def sequence(length: int, layer: Any) -> Any:
    return normal(N, length, E) if layer.self_attn.batch_first else normal(length, N, E)


def hidden(*shape: int) -> Any:
    found = RNG.random(shape) < 0.4
    found[..., 0] = False
    return found


@pytest.mark.parametrize("name", LAYERS)
def test_encoder_layers_are_pytorchs(name: str) -> None:
    ours, theirs = layers("TransformerEncoderLayer", name)
    for masks in ({}, {"src_mask": hidden(S, S), "src_key_padding_mask": hidden(N, S)}):
        ours.zero_grad()
        theirs.zero_grad()
        compare(ours, theirs, [sequence(S, ours)], masks)


@pytest.mark.parametrize("name", LAYERS)
def test_decoder_layers_are_pytorchs(name: str) -> None:
    ours, theirs = layers("TransformerDecoderLayer", name)
    all_masks = {
        "tgt_mask": hidden(T, T),
        "memory_mask": hidden(T, S),
        "tgt_key_padding_mask": hidden(N, T),
        "memory_key_padding_mask": hidden(N, S),
    }
    for masks in ({}, all_masks):
        ours.zero_grad()
        theirs.zero_grad()
        compare(ours, theirs, [sequence(T, ours), sequence(S, ours)], masks)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("norm", [True, False])
def test_stacks_are_pytorchs(norm: bool) -> None:
    found = []
    for module in (nn, torch.nn):
        options = {"dim_feedforward": 16, "dropout": 0.0, "batch_first": True}
        first, second = (getattr(module, f"Transformer{k}Layer")(E, H, **options) for k in ("Encoder", "Decoder"))
        encoder = module.TransformerEncoder(first, 2, module.LayerNorm(E) if norm else None)
        found.append((encoder, module.TransformerDecoder(second, 3, module.LayerNorm(E) if norm else None)))
    causal = np.triu(np.full((T, T), -np.inf, np.float32), 1)
    for ours, theirs in zip(*found, strict=True):
        carry_over(ours, theirs)
    (encoder, decoder), (their_encoder, their_decoder) = found
    memory = normal(N, S, E)
    compare(encoder, their_encoder, [memory], {"mask": hidden(S, S), "src_key_padding_mask": hidden(N, S)})
    for hint in (None, True):
        decoder.zero_grad()
        their_decoder.zero_grad()
        compare(decoder, their_decoder, [normal(N, T, E), memory], {"tgt_mask": causal, "tgt_is_causal": hint})


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("batch_first", [True, False])
def test_the_transformer_is_pytorchs(batch_first: bool) -> None:
    made = [
        m.Transformer(E, H, 2, 1, 16, 0.0, "gelu", batch_first=batch_first, norm_first=True) for m in (nn, torch.nn)
    ]
    carry_over(made[0], made[1])
    src, tgt = ((N, S, E), (N, T, E)) if batch_first else ((S, N, E), (T, N, E))
    masks = {
        "tgt_mask": np.triu(np.full((T, T), -np.inf, np.float32), 1),
        "src_mask": normal(S, S),
        "memory_key_padding_mask": np.where(hidden(N, S), -np.inf, 0).astype(np.float32),
    }
    compare(made[0], made[1], [normal(*src), normal(*tgt)], masks)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_first_values_and_text_are_pytorchs() -> None:
    ours, theirs = nn.Transformer(32, 4, 2, 2, 64), torch.nn.Transformer(32, 4, 2, 2, 64)
    for (name, p), (other, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        a, b = p.detach().numpy(), q.detach().numpy()
        assert name == other and a.shape == b.shape
        assert a.std() == pytest.approx(b.std(), rel=0.4, abs=1e-7) and a.max() == pytest.approx(
            b.max(), rel=0.6, abs=1e-7
        )
    assert not np.array_equal(
        ours.encoder.layers[0].linear1.weight.numpy(), ours.encoder.layers[1].linear1.weight.numpy()
    )
    layer = repr(theirs.decoder.layers[0]).replace("NonDynamicallyQuantizableLinear", "Linear")
    assert repr(ours.decoder.layers[0]).split("norm1")[0] == layer.split("norm1")[0]


def test_layers_are_copies_that_begin_alike() -> None:
    layer = nn.TransformerEncoderLayer(E, H, 16)
    stack = nn.TransformerEncoder(layer, 3)
    weights = [m.linear1.weight for m in (layer, *stack.layers)]
    assert len({id(w) for w in weights}) == 4 and len({w.detach().numpy().tobytes() for w in weights}) == 1
    assert all(m.activation is F.relu for m in stack.layers)  # a function is not copied
    assert pickle.loads(pickle.dumps(stack)).layers[2].activation is F.relu
    assert copy.deepcopy(F.gelu) is F.gelu and copy.copy(F.gelu) is F.gelu


def test_the_causal_mask() -> None:
    got = nn.Transformer.generate_square_subsequent_mask(4)
    wanted = torch.nn.Transformer.generate_square_subsequent_mask(4)
    assert got.tolist() == wanted.tolist() and got.dtype is wf.float32
    assert nn.Transformer.generate_square_subsequent_mask(2, dtype=wf.float64).dtype is wf.float64


def test_other_encoders_and_decoders_take_their_place() -> None:
    class Own(nn.Module):
        def forward(self, x: Any, *args: Any, **options: Any) -> Any:
            return x * 2.0

    model = nn.Transformer(E, H, custom_encoder=Own(), custom_decoder=Own())
    y = wf.asarray(normal(T, N, E))
    assert not list(model.parameters()) and (model(y, y) == y * 2.0).numpy().all()


@pytest.mark.parametrize("norm_first", [True, False])
def test_compiled_training_has_the_bits_of_eager_code(norm_first: bool) -> None:
    """With dropout, a causal mask and an activation of the user's with a branch in it, for several sizes."""

    def activation(x: Any) -> Any:
        if x.sum() > 0:
            return F.gelu(x)
        return F.relu(x)

    first = nn.Transformer(E, H, 1, 1, 16, 0.1, activation, batch_first=True, norm_first=norm_first)
    found = []
    for compiled in (False, True):
        model = copy.deepcopy(first)
        optimizer = optim.AdamW(model.parameters(), lr=1e-2)

        def step(src: Any, tgt: Any, model: Any = model, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            mask = nn.Transformer.generate_square_subsequent_mask(tgt.shape[1])
            loss = (model(src, tgt, tgt_mask=mask, tgt_is_causal=True) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        run: Any = wf.compile(step) if compiled else step
        wf.random.seed(0)
        rng = np.random.default_rng(1)
        bits = []
        for batch in (2, 2, 3, 4, 2, 5):
            src, tgt = (wf.asarray(rng.normal(size=(batch, n, E)).astype(np.float32)) for n in (S, T))
            bits.append(run(src, tgt).detach().numpy().tobytes())
        found.append((bits, [p.detach().numpy().tobytes() for p in model.parameters()]))
        assert not compiled or len(run.cache_info().graphs) <= 3
    assert found[0] == found[1]


def test_sizes_may_be_symbolic() -> None:
    model = nn.Transformer(E, H, 1, 1, 16, batch_first=True)
    shape = wf.eval_shape(model, wf.spec(("n", "s", E)), wf.spec(("n", "t", E)))
    assert str(shape) == f"float32[n, t, {E}]"


def test_a_saved_encoder_serves_all_sizes(tmp_path: Path) -> None:
    layer = nn.TransformerEncoderLayer(E, H, 16, activation="gelu", batch_first=True)
    model = nn.TransformerEncoder(layer, 2, nn.LayerNorm(E)).eval()
    wf.save(model, tmp_path / "m.onnx", example=wf.asarray(normal(3, S, E)), dynamic={"n": (0, 0), "s": (0, 1)})
    loaded = wf.load(tmp_path / "m.onnx")
    for shape in ((3, S, E), (2, 7, E), (1, 1, E)):
        x = wf.asarray(normal(*shape))
        assert loaded(x).numpy().tobytes() == model(x).detach().numpy().tobytes()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.TransformerEncoderLayer(E, H, activation="silu"), ValueError, "activation is 'silu'"),
        (lambda: nn.TransformerEncoderLayer(E, 3), ValueError, "num_heads 3"),
        (
            lambda: nn.Transformer(E, H, 1, 1, 8)(wf.zeros((S, 2, E)), wf.zeros((T, 3, E))),
            wf.ShapeError,
            r"batches of 2 \(src \(5, 2, 8\)\) and 3",
        ),
        (
            lambda: nn.Transformer(E, H, 1, 1, 8)(wf.zeros((S, 2, E)), wf.zeros((T, 2, 4))),
            wf.ShapeError,
            r"tgt \(4, 2, 4\) must have d_model features, 8",
        ),
        (
            lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(E, H, 8), 2)(wf.zeros((S, 2, E)), is_causal=True),
            ValueError,
            "is_causal says that attn_mask is causal",
        ),
    ],
)
def test_operands_that_do_not_fit(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
