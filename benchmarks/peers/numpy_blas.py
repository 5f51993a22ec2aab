"""NumPy: the floor for one small op, and OpenBLAS."""

from __future__ import annotations

from typing import Any

import numpy as np

Timed = tuple[str, dict[str, Any]]


def start(threads: int, mode: str) -> str:
    """The thread count reaches OpenBLAS by the environment."""
    return np.__version__


def normal(*shape: int) -> np.ndarray:
    """Standard normal float32 numbers, always the same ones."""
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def add() -> Timed:
    return "x + y", {"x": normal(10), "y": normal(10)}


def matmul(n: int) -> Timed:
    return "a @ b", {"a": normal(n, n), "b": normal(n, n)}


def batched_matmul() -> Timed:
    return "a @ b", {"a": normal(32, 128, 128), "b": normal(32, 128, 64)}


def matvec(n: int) -> Timed:
    return "a @ v", {"a": normal(n, n), "v": normal(n)}


def vecmat(n: int) -> Timed:
    return "v @ a", {"v": normal(n), "a": normal(n, n)}


def logits(batch: int, width: int, words: int) -> Timed:
    return "x @ w.T", {"x": normal(batch, width), "w": normal(words, width)}


def column_sum(rows: int, columns: int) -> Timed:
    return "a.sum(0)", {"a": normal(rows, columns)}


def read_memory(n: int) -> Timed:
    """Reads ``n`` floats once, in a product that does little else."""
    return "a @ v", {"a": np.ones((n // 4096, 4096), dtype=np.float32), "v": np.ones(4096, dtype=np.float32)}
