"""The layers' functions, without modules: PyTorch's ``torch.nn.functional``, usually imported as ``F``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..ops import registry as _registry
from ..ops.elementwise import sigmoid, tanh

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...


# What these modules of ops define is public here.
_functions = _registry.functions("activation", "dropout", "embedding", "linear", "loss", "normalization")
globals().update(_functions, sigmoid=sigmoid, tanh=tanh)
__all__ = sorted([*_functions, "sigmoid", "tanh"])
