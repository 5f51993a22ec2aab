"""Optimizers: SGD, Adam, AdamW; schedules of the learning rate."""

from __future__ import annotations

from ..core.namespace import publish as _publish
from . import lr_scheduler
from .adam import Adam, AdamW
from .optimizer import Optimizer
from .sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "lr_scheduler"]

_publish(globals())
_publish(vars(lr_scheduler))
