"""Constructor arguments and inputs for every layer that PyTorch has too, drawn with a seed.

A draw may make no sense (a kernel that is wider than its padded input): then both have to refuse it.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

import numpy as np

# Positional arguments, keyword arguments, and for each input its shape, or ("index", shape, how many).
Draw = tuple[tuple[Any, ...], dict[str, Any], list[Any]]
Case = Callable[[Random], Draw]


class Given(NamedTuple):
    """An argument that is a tensor."""

    value: np.ndarray[Any, Any]


def _some(r: Random, options: dict[str, list[Any]]) -> dict[str, Any]:
    """About half of the options, each with one of its values."""
    return {name: r.choice(values) for name, values in options.items() if r.random() < 0.5}


def _each(r: Random, rank: int, low: int, high: int) -> Any:
    """A number for all axes, or one for each."""
    return r.randint(low, high) if r.random() < 0.5 else tuple(r.randint(low, high) for _ in range(rank))


def _spatial(r: Random, rank: int) -> tuple[int, ...]:
    return tuple(r.randint(1, 7 if rank < 3 else 5) for _ in range(rank))


def _batched(r: Random, channels: int, spatial: tuple[int, ...]) -> tuple[int, ...]:
    return (channels, *spatial) if r.random() < 0.3 else (r.randint(1, 3), channels, *spatial)


def _convolution(rank: int, transposed: bool) -> Case:
    def draw(r: Random) -> Draw:
        groups = r.choice([1, 1, 2, 3])
        ins, outs = groups * r.randint(1, 2), groups * r.randint(1, 2)
        if r.random() < 0.1:
            ins += 1
        options: dict[str, Any] = {"groups": groups, **_some(r, {"bias": [False], "dilation": [1, 2]})}
        if r.random() < 0.6:
            options["stride"] = _each(r, rank, 1, 3)
        if r.random() < 0.6:
            options["padding"] = _each(r, rank, 0, 2)
        if transposed:
            if r.random() < 0.4:
                options["output_padding"] = _each(r, rank, 0, 1)
        elif r.random() < 0.3:
            options["padding_mode"] = r.choice(["reflect", "replicate", "circular"])
        elif r.random() < 0.3:
            options["padding"] = r.choice(["same", "valid"])
        seen = ins + (r.random() < 0.1)
        return (ins, outs, _each(r, rank, 1, 4)), options, [_batched(r, seen, _spatial(r, rank))]

    return draw


def _pool(rank: int, kind: str) -> Case:
    def draw(r: Random) -> Draw:
        options: dict[str, Any] = _some(r, {"ceil_mode": [True]})
        if r.random() < 0.6:
            options["stride"] = _each(r, rank, 1, 3)
        if kind != "lp" and r.random() < 0.5:
            options["padding"] = _each(r, rank, 0, 2)
        if kind == "max":
            options.update(_some(r, {"dilation": [1, 2], "return_indices": [True]}))
        if kind == "avg":
            options.update(_some(r, {"count_include_pad": [False]}))
            if rank > 1:
                options.update(_some(r, {"divisor_override": [1, 3]}))
        shape = _batched(r, r.randint(1, 3), _spatial(r, rank))
        first = (r.choice([1.0, 2.0, 3.0]),) if kind == "lp" else ()
        return (*first, _each(r, rank, 1, 4)), options, [shape]

    return draw


def _adaptive(rank: int, kind: str) -> Case:
    def draw(r: Random) -> Draw:
        size = _each(r, rank, 1, 5)
        if rank > 1 and isinstance(size, tuple) and r.random() < 0.3:
            size = (None, *size[1:])
        options = _some(r, {"return_indices": [True]}) if kind == "max" else {}
        return (size,), options, [_batched(r, r.randint(1, 3), _spatial(r, rank))]

    return draw


def _fractional(rank: int) -> Case:
    def draw(r: Random) -> Draw:
        options = _some(r, {"return_indices": [True]})
        if r.random() < 0.5:
            options["output_size"] = _each(r, rank, 1, 3)
        if "output_size" not in options or r.random() < 0.1:
            options["output_ratio"] = r.choice([0.3, 0.5, 0.7, 1.0, (0.5,) * rank])
        channels = r.randint(1, 3)
        samples = np.random.default_rng(r.randint(0, 99)).random((3, channels + (r.random() < 0.1), rank))
        options["_random_samples"] = Given(samples)
        return (_each(r, rank, 1, 3),), options, [_batched(r, channels, _spatial(r, rank))]

    return draw


def _pad(rank: int, kind: str) -> Case:
    def draw(r: Random) -> Draw:
        low = -1 if kind in ("Constant", "Zero") else 0
        widths = _each(r, 2 * rank, low, 3)
        value = (r.choice([0.0, 1.5, -2.0]),) if kind == "Constant" else ()
        return (widths, *value), {}, [_batched(r, r.randint(1, 3), _spatial(r, rank))]

    return draw


def _norm(rank: int, kind: str) -> Case:
    def draw(r: Random) -> Draw:
        channels = r.randint(1, 4)
        options = _some(
            r,
            {
                "eps": [1e-3],
                "momentum": [0.3, None],
                "affine": [True, False],
                "track_running_stats": [True, False],
                "bias": [False],
            },
        )
        if kind == "Instance":
            options.pop("momentum", None)
        spatial = _spatial(r, rank)
        if kind == "Batch" and rank == 1 and r.random() < 0.4:
            spatial = ()
        seen = channels + (r.random() < 0.1 and options.get("affine", kind == "Batch"))
        shape = (r.randint(1, 4), seen, *spatial)
        return (channels,), options, [shape]

    return draw


def _pointwise(options: dict[str, list[Any]], *, floor: int = 0) -> Case:
    def draw(r: Random) -> Draw:
        return (), _some(r, options), [tuple(r.randint(1, 4) for _ in range(r.randint(floor, 4)))]

    return draw


def _linear(r: Random) -> Draw:
    ins = r.randint(1, 5)
    shape = (*[r.randint(0, 3) for _ in range(r.randint(0, 3))], ins + (r.random() < 0.1))
    return (ins, r.randint(1, 4)), _some(r, {"bias": [False]}), [shape]


def _bilinear(r: Random) -> Draw:
    a, b, n = r.randint(1, 3), r.randint(1, 3), r.randint(1, 3)
    return (a, b, r.randint(1, 3)), _some(r, {"bias": [False]}), [(n, a), (n, b)]


def _embedding(r: Random) -> Draw:
    n = r.randint(1, 6)
    options = _some(
        r, {"padding_idx": [0, -1, n - 1, n], "max_norm": [0.5, 2.0], "norm_type": [1.0], "scale_grad_by_freq": [True]}
    )
    return (n, r.randint(1, 4)), options, [("index", tuple(r.randint(0, 3) for _ in range(r.randint(0, 3))), n)]


def _layer_norm(r: Random) -> Draw:
    shape = tuple(r.randint(1, 4) for _ in range(r.randint(1, 4)))
    last = shape[-r.randint(1, len(shape)) :]
    if r.random() < 0.1:
        last = (last[0] + 1, *last[1:])
    given = last[0] if len(last) == 1 and r.random() < 0.5 else last
    return (given,), _some(r, {"eps": [1e-3], "elementwise_affine": [False], "bias": [False]}), [shape]


def _rms_norm(r: Random) -> Draw:
    args, options, shapes = _layer_norm(r)
    options.pop("bias", None)
    return args, options, shapes


def _group_norm(r: Random) -> Draw:
    groups = r.randint(1, 3)
    channels = groups * r.randint(1, 2) + (r.random() < 0.1)
    shape = (r.randint(1, 3), channels + (r.random() < 0.1), *_spatial(r, r.randint(0, 2)))
    return (groups, channels), _some(r, {"eps": [1e-3], "affine": [False], "bias": [False]}), [shape]


def _recurrent(kind: str) -> Case:
    def draw(r: Random) -> Draw:
        ins, hidden = r.randint(1, 3), r.randint(1, 3)
        options = _some(
            r, {"num_layers": [1, 2], "bias": [False], "batch_first": [True], "bidirectional": [True], "dropout": [0.0]}
        )
        if kind == "RNN":
            options.update(_some(r, {"nonlinearity": ["tanh", "relu", "elu"]}))
        if kind == "LSTM":
            options.update(_some(r, {"proj_size": [1, hidden]}))
        seen = ins + (r.random() < 0.1)
        shape = (r.randint(1, 4), seen) if r.random() < 0.3 else (r.randint(1, 4), r.randint(1, 3), seen)
        return (ins, hidden), options, [shape]

    return draw


def _cell(r: Random) -> Draw:
    ins = r.randint(1, 3)
    seen = ins + (r.random() < 0.1)
    return (
        (ins, r.randint(1, 3)),
        _some(r, {"bias": [False]}),
        [(seen,) if r.random() < 0.3 else (r.randint(1, 3), seen)],
    )


def _attention(r: Random) -> Draw:
    heads = r.randint(1, 2)
    size, n, length, keys = heads * r.randint(1, 3), r.randint(1, 2), r.randint(1, 3), r.randint(1, 4)
    options = _some(
        r,
        {
            "bias": [False],
            "add_bias_kv": [True],
            "add_zero_attn": [True],
            "kdim": [3],
            "vdim": [2],
            "batch_first": [True],
        },
    )
    k, v = options.get("kdim", size), options.get("vdim", size)
    first = options.get("batch_first", False)
    shapes = [(n, m, f) if first else (m, n, f) for m, f in ((length, size), (keys, k), (keys, v))]
    if r.random() < 0.2:
        shapes = [(m, f) for m, f in ((length, size), (keys, k), (keys, v))]
    return (size, heads), options, shapes


def _transformer_layer(inputs: int) -> Case:
    def draw(r: Random) -> Draw:
        heads = r.randint(1, 2)
        size, n = heads * r.randint(1, 3), r.randint(1, 2)
        options = {
            "dim_feedforward": r.randint(1, 5),
            "dropout": 0.0,
            **_some(r, {"activation": ["relu", "gelu"], "norm_first": [True], "bias": [False], "batch_first": [True]}),
        }
        first = options.get("batch_first", False)
        lengths = [r.randint(1, 3) for _ in range(inputs)]
        return (size, heads), options, [(n, m, size) if first else (m, n, size) for m in lengths]

    return draw


def _shuffle(kind: str) -> Case:
    def draw(r: Random) -> Draw:
        f = r.randint(1, 3)
        c, (h, w) = r.randint(1, 2), (r.randint(1, 3), r.randint(1, 3))
        odd = r.random() < 0.15
        if kind == "PixelShuffle":
            return (f,), {}, [_batched(r, c * f * f + odd, (h, w))]
        if kind == "PixelUnshuffle":
            return (f,), {}, [_batched(r, c, (h * f + odd, w * f))]
        return (f,), {}, [(r.randint(1, 2), c * f + odd, h, w)]

    return draw


def _fold(r: Random) -> Draw:
    kernel, size = (r.randint(1, 3), r.randint(1, 3)), (r.randint(2, 6), r.randint(2, 6))
    options = _some(r, {"padding": [0, 1], "stride": [1, 2], "dilation": [1, 2]})
    p, s, d = options.get("padding", 0), options.get("stride", 1), options.get("dilation", 1)
    blocks = 1
    for n, k in zip(size, kernel, strict=True):
        blocks *= max((n + 2 * p - d * (k - 1) - 1) // s + 1, 0)
    channels = r.randint(1, 2) * kernel[0] * kernel[1]
    return (size, kernel), options, [_batched(r, channels, (blocks + (r.random() < 0.1),))]


def _unfold(r: Random) -> Draw:
    options = _some(r, {"padding": [0, 1], "stride": [1, 2], "dilation": [1, 2]})
    return (_each(r, 2, 1, 3),), options, [_batched(r, r.randint(1, 2), _spatial(r, 2))]


def _upsample(r: Random) -> Draw:
    rank = r.randint(1, 3)
    mode = r.choice(
        ["nearest", "nearest-exact", {1: "linear", 2: r.choice(["bilinear", "bicubic"]), 3: "trilinear"}[rank]]
    )
    options: dict[str, Any] = {"mode": mode}
    if r.random() < 0.5:
        options["size"] = _each(r, rank, 1, 6)
    else:
        options["scale_factor"] = r.choice([0.5, 1.5, 2, 3.0])
    if "linear" in mode or mode == "bicubic":
        options.update(_some(r, {"align_corners": [True, False]}))
    return (), options, [(r.randint(1, 2), r.randint(1, 2), *_spatial(r, rank))]


def _flatten(r: Random) -> Draw:
    return (
        (),
        _some(r, {"start_dim": [0, 1, 2, -2], "end_dim": [-1, 2, 1]}),
        [tuple(r.randint(0, 3) for _ in range(r.randint(0, 4)))],
    )


def _unflatten(r: Random) -> Draw:
    sizes = (r.randint(1, 3), r.randint(1, 3))
    given = r.choice([sizes, (-1, sizes[1]), (sizes[0], -1)])
    return (r.choice([1, -1]), given), {}, [(r.randint(1, 3), sizes[0] * sizes[1] + (r.random() < 0.1))]


def _softmax(r: Random) -> Draw:
    rank = r.randint(1, 4)
    return (r.randint(-rank, rank),), {}, [tuple(r.randint(1, 4) for _ in range(rank))]


def _response(r: Random) -> Draw:
    options = _some(r, {"alpha": [0.1, 1e-4], "beta": [0.5], "k": [2.0]})
    return (r.randint(1, 4),), options, [(r.randint(1, 2), r.randint(1, 5), *_spatial(r, r.randint(1, 3)))]


def _prelu(r: Random) -> Draw:
    channels = r.randint(1, 4)
    shape = (r.randint(1, 3), channels, *_spatial(r, r.randint(0, 2)))
    return (r.choice([1, channels, channels + 1]),), _some(r, {"init": [0.1]}), [shape]


def _distance(options: dict[str, list[Any]]) -> Case:
    def draw(r: Random) -> Draw:
        shape = tuple(r.randint(1, 4) for _ in range(r.randint(1, 3)))
        return (), _some(r, options), [shape, shape]

    return draw


def _glu(r: Random) -> Draw:
    return (), _some(r, {"dim": [0, 1]}), [(r.randint(1, 4), r.randint(1, 6))]


def _softmax2d(r: Random) -> Draw:
    return (), {}, [tuple(r.randint(1, 3) for _ in range(r.randint(2, 5)))]


CASES: dict[str, Case] = {
    "Linear": _linear,
    "Bilinear": _bilinear,
    "Embedding": _embedding,
    "LayerNorm": _layer_norm,
    "RMSNorm": _rms_norm,
    "GroupNorm": _group_norm,
    "LocalResponseNorm": _response,
    "MultiheadAttention": _attention,
    "TransformerEncoderLayer": _transformer_layer(1),
    "TransformerDecoderLayer": _transformer_layer(2),
    "PixelShuffle": _shuffle("PixelShuffle"),
    "PixelUnshuffle": _shuffle("PixelUnshuffle"),
    "ChannelShuffle": _shuffle("ChannelShuffle"),
    "Fold": _fold,
    "Unfold": _unfold,
    "Upsample": _upsample,
    "Flatten": _flatten,
    "Unflatten": _unflatten,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Softmin": _softmax,
    "Softmax2d": _softmax2d,
    "PReLU": _prelu,
    "GLU": _glu,
    "CosineSimilarity": _distance({"dim": [0, -1], "eps": [1e-3]}),
    "PairwiseDistance": _distance({"p": [1.0, 3.0], "keepdim": [True], "eps": [1e-3]}),
    "RNNCell": _cell,
    "LSTMCell": _cell,
    "GRUCell": _cell,
    "CELU": _pointwise({"alpha": [0.5, 2.0]}),
    "ELU": _pointwise({"alpha": [0.5, 2.0]}),
    "GELU": _pointwise({"approximate": ["tanh", "none"]}),
    "Hardshrink": _pointwise({"lambd": [0.1, 1.0]}),
    "Hardtanh": _pointwise({"min_val": [-0.5], "max_val": [0.5]}),
    "LeakyReLU": _pointwise({"negative_slope": [0.3]}),
    "Softplus": _pointwise({"beta": [2.0], "threshold": [1.0]}),
    "Softshrink": _pointwise({"lambd": [0.1, 1.0]}),
    "RReLU": _pointwise({"lower": [0.1], "upper": [0.4]}),
    "Dropout": _pointwise({"p": [0.0, 0.3, 1.0, 1.5]}),
    **{
        name: _pointwise({}) for name in ("Hardsigmoid", "Hardswish", "Identity", "LogSigmoid", "Mish", "ReLU", "ReLU6")
    },
    **{name: _pointwise({}) for name in ("SELU", "SiLU", "Sigmoid", "Softsign", "Tanh", "Tanhshrink")},
    **{kind: _recurrent(kind) for kind in ("RNN", "LSTM", "GRU")},
}
for _rank in (2, 3):
    CASES[f"FractionalMaxPool{_rank}d"] = _fractional(_rank)
for _rank in (1, 2, 3):
    CASES[f"Conv{_rank}d"] = _convolution(_rank, False)
    CASES[f"ConvTranspose{_rank}d"] = _convolution(_rank, True)
    CASES[f"BatchNorm{_rank}d"] = _norm(_rank, "Batch")
    CASES[f"InstanceNorm{_rank}d"] = _norm(_rank, "Instance")
    for _name, _kind in (("MaxPool", "max"), ("AvgPool", "avg"), ("LPPool", "lp")):
        CASES[f"{_name}{_rank}d"] = _pool(_rank, _kind)
    for _name, _kind in (("AdaptiveMaxPool", "max"), ("AdaptiveAvgPool", "avg")):
        CASES[f"{_name}{_rank}d"] = _adaptive(_rank, _kind)
    for _name in ("Constant", "Zero", "Reflection", "Replication", "Circular"):
        CASES[f"{_name}Pad{_rank}d"] = _pad(_rank, _name)


def inputs_of(shapes: list[Any], seed: int) -> list[np.ndarray[Any, Any]]:
    """Numbers for the inputs of a draw."""
    rng = np.random.default_rng(seed)
    return [
        rng.integers(0, max(shape[2], 1), shape[1]) if shape and shape[0] == "index" else rng.normal(size=shape)
        for shape in shapes
    ]
