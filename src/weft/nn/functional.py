"""The layers' functions, without modules: PyTorch's ``torch.nn.functional``, usually imported as ``F``."""

from __future__ import annotations

from ..ops import registry as _registry
from ..ops.elementwise import sigmoid, tanh

# What these modules of ops define is public here.
_functions = _registry.functions(
    "activation", "convolution", "distance", "dropout", "embedding", "linear", "loss", "normalization", "pooling"
    "activation",
    "adaptive_pooling",
    "convolution",
    "dropout",
    "embedding",
    "linear",
    "loss",
    "normalization",
    "pooling",
    "resampling",
    "unpooling",
    "attention",
    "rotary",
    "folding",
    "padding",
    "shuffle",
    "transposed_convolution",
)
globals().update(_functions, sigmoid=sigmoid, tanh=tanh)
__all__ = sorted([*_functions, "sigmoid", "tanh"])
