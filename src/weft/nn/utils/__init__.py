"""What goes with layers: limits on gradients, and sequences of different lengths. The names are PyTorch's."""

from __future__ import annotations

from ...core.namespace import publish as _publish
from . import clip_grad, rnn
from .clip_grad import clip_grad_norm_, clip_grad_value_

__all__ = ["clip_grad", "clip_grad_norm_", "clip_grad_value_", "rnn"]

_publish(globals())
