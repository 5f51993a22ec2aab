"""Inputs of the models and their weights as NumPy arrays: the same for every peer."""

from __future__ import annotations

import numpy as np

from .sizes import BERT, BERT_LENGTH, GPTS, LSTM, LSTM_BATCH, LSTM_BATCHES, LSTM_LENGTHS, PROMPT, UNET

__all__ = ["channels_last", "load", "lstm_batches", "of", "prompt"]

SEED = 20


def _tokens(batch: int, length: int, vocabulary: int, which: int = 0) -> np.ndarray:
    return np.random.default_rng(SEED + which).integers(0, vocabulary, (batch, length))


def of(name: str, batch: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Inputs and, of a model that is trained, targets; images are (N, C, H, W)."""
    generator = np.random.default_rng(SEED)
    if name in GPTS:
        *_, vocabulary, length = GPTS[name]
        return _tokens(batch, length, vocabulary), _tokens(batch, length, vocabulary, 1)
    if name == "bert":
        return _tokens(batch, BERT_LENGTH, BERT[3]), None
    size = {"resnet18": 32, "unet": 128}.get(name, 224)
    images = generator.standard_normal((batch, 3, size, size), dtype=np.float32)
    if name == "resnet18":
        return images, generator.integers(0, 10, batch)
    return images, generator.integers(0, UNET[1], (batch, size, size)) if name == "unet" else None


def channels_last(name: str, batch: int) -> tuple[np.ndarray, np.ndarray | None]:
    """The same, images as (N, H, W, C)."""
    x, y = of(name, batch)
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if x.ndim == 4 else x, y


def prompt() -> np.ndarray:
    """(1, PROMPT) of int64: what GPT-2 goes on from."""
    return _tokens(1, PROMPT, GPTS["gpt2"][3])


def lstm_batches() -> list[tuple[np.ndarray, np.ndarray]]:
    """Tokens (N, length) and labels (N,) of each batch; all sequences of a batch are as long."""
    generator, found = np.random.default_rng(SEED), []
    for length in generator.integers(LSTM_LENGTHS[0], LSTM_LENGTHS[1] + 1, LSTM_BATCHES):
        tokens = generator.integers(0, LSTM[0], (LSTM_BATCH, length))
        found.append((tokens, generator.integers(0, LSTM[3], LSTM_BATCH)))
    return found


def load(weights: str) -> dict[str, np.ndarray]:
    """A PyTorch state dict for functions on channels last: kernels are (H, W, in, out), linear maps (in, out)."""
    found = {}
    with np.load(weights) as arrays:
        for key in arrays.files:
            array = arrays[key]
            if array.ndim == 4 and not key.startswith("up."):
                array = array.transpose(2, 3, 1, 0)
            elif array.ndim == 2 and key not in ("tokens.weight", "places.weight", "embedding.weight"):
                array = array.T
            if not key.endswith("num_batches_tracked"):
                found[key] = np.ascontiguousarray(array)
    return found
