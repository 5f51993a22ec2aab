"""What tests of control flow share: tensors, and their bits."""

from __future__ import annotations

from typing import Any

import numpy as np

import weft as wf
from weft.transforms.tree import flatten


def bits(tree: Any) -> list[tuple[Any, ...]]:
    """dtype, shape and bytes of all tensors in a nesting."""
    return [(t.dtype.name, t.shape, t.numpy().tobytes()) for t in flatten(tree)[0]]


def array(*shape: int, dtype: str = "float32", seed: int = 0) -> wf.Tensor:
    """Normal numbers."""
    values = np.random.default_rng(seed).normal(size=shape) * 3
    return wf.asarray(values).astype(dtype)
