"""The layers' functions, without modules: PyTorch's ``torch.nn.functional``, usually imported as ``F``."""

from __future__ import annotations

from ..ops import registry as _registry
from ..ops.elementwise import sigmoid, tanh
from .ctc import ctc_loss
from .margin_loss import triplet_margin_with_distance_loss

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
    "activation", "convolution", "dropout", "embedding", "linear", "loss", "margin_loss", "normalization", "pooling"
)
_more = {
    "ctc_loss": ctc_loss,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "triplet_margin_with_distance_loss": triplet_margin_with_distance_loss,
}
globals().update(_functions, **_more)
__all__ = sorted([*_functions, *_more])
