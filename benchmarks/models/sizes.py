"""Sizes of the models, which every peer needs, and what they compute at least."""

from __future__ import annotations

GPTS = {  # layers, heads, width, vocabulary, longest text
    "gpt-small": (4, 4, 128, 65, 64),
    "gpt-large": (6, 6, 384, 65, 256),
    "gpt2": (12, 12, 768, 50257, 1024),
}
BERT, BERT_LENGTH = (12, 12, 768, 30522, 512), 128
LSTM = (10000, 128, 256, 2)  # vocabulary, embedding, width, classes
LSTM_BATCHES, LSTM_BATCH, LSTM_LENGTHS = 50, 32, (10, 100)
PROMPT, DECODED = 64, 64
DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}
UNET = (3, 2, 32, 3)  # channels, classes, width, depth
TRAINED = ("resnet18", "unet", "gpt-small", "gpt-large")
RATE = {"resnet18": 0.01, "unet": 0.01, "gpt-small": 1e-3, "gpt-large": 1e-3}
MOMENTUM = 0.9


def _transformer(layers: int, heads: int, width: int, vocabulary: int, longest: int, length: int, head: bool) -> float:
    """Of one sequence: linear maps, scores and mixing (all of them: no peer is asked to skip), the head."""
    each = 24.0 * length * width**2 + 4.0 * length**2 * width
    return layers * each + (2.0 * length * width * vocabulary if head else 0.0)


MODELS = {  # operations for one image or sequence, forwards
    "resnet50": 2 * 4.09e9,
    "mobilenet": 2 * 0.301e9,
    "resnet18": 2 * 0.556e9,
    "unet": 2 * 2.305e9,
    "gpt-small": _transformer(*GPTS["gpt-small"], length=64, head=True),
    "gpt-large": _transformer(*GPTS["gpt-large"], length=256, head=True),
    "bert": _transformer(*BERT, length=BERT_LENGTH, head=False),
}
