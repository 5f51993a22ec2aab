"""SGD with momentum and AdamW over dicts of arrays, for peers without optimizers; PyTorch's defaults."""

from __future__ import annotations

from typing import Any

from .sizes import MOMENTUM

__all__ = ["ADAMW", "adamw", "is_updated", "sgd"]

ADAMW = 2  # arrays that are kept for each parameter


def is_updated(key: str) -> bool:
    """Whether a gradient changes this entry of a state dict."""
    return not key.endswith(("running_mean", "running_var"))


def sgd(ops: Any, p: Any, grads: Any, kept: Any, rate: float, count: Any) -> tuple[Any, Any]:
    """(parameters, what is kept) after a step; momentum begins with zeros, which the first step's gradient replaces."""
    velocity = {key: MOMENTUM * v + grads[key] for key, v in kept[0].items()}
    return {key: value - rate * velocity[key] for key, value in p.items()}, [velocity]


def adamw(ops: Any, p: Any, grads: Any, kept: Any, rate: float, count: Any) -> tuple[Any, Any]:
    """(parameters, what is kept) after step ``count``, a float."""
    first, second = kept
    first = {key: 0.9 * m + 0.1 * grads[key] for key, m in first.items()}
    second = {key: 0.999 * v + 0.001 * grads[key] * grads[key] for key, v in second.items()}
    one, two = 1 - 0.9**count, 1 - 0.999**count

    def moved(key: str, value: Any) -> Any:
        return value * (1 - rate * 0.01) - rate * (first[key] / one) / (ops.sqrt(second[key] / two) + 1e-8)

    return {key: moved(key, value) for key, value in p.items()}, [first, second]
