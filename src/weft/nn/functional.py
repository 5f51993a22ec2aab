"""The layers' functions, without modules: PyTorch's ``torch.nn.functional``, usually imported as ``F``."""

from __future__ import annotations

from ..ops import registry as _registry
from ..ops.elementwise import sigmoid, tanh
from .attention import multi_head_attention_forward
from .ctc import ctc_loss
from .in_place import celu_, elu_, hardtanh_, leaky_relu_, relu_, rrelu_, selu_, threshold_
from .margin_loss import triplet_margin_with_distance_loss

# What these modules of ops define is public here.
_functions = _registry.functions(
    "activation",
    "adaptive_pooling",
    "attention",
    "convolution",
    "distance",
    "dropout",
    "embedding",
    "folding",
    "fractional_pooling",
    "grid_sampling",
    "linear",
    "linear_loss",
    "loss",
    "margin_loss",
    "normalization",
    "padding",
    "pooling",
    "pooling_with_indices",
    "resampling",
    "rotary",
    "shuffle",
    "transposed_convolution",
    "unpooling",
)
_more = {
    "celu_": celu_,
    "ctc_loss": ctc_loss,
    "elu_": elu_,
    "hardtanh_": hardtanh_,
    "leaky_relu_": leaky_relu_,
    "multi_head_attention_forward": multi_head_attention_forward,
    "relu_": relu_,
    "rrelu_": rrelu_,
    "selu_": selu_,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "threshold_": threshold_,
    "triplet_margin_with_distance_loss": triplet_margin_with_distance_loss,
}
globals().update(_functions, **_more)
__all__ = sorted([*_functions, *_more])
