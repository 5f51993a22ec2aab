"""Networks of sequences: GPT, an encoder like BERT's, a classifier by LSTM."""

from __future__ import annotations

from typing import Any

from .framework import F, nn
from .framework import framework as wf


class Attention(nn.Module):
    """Causal attention of ``heads`` over themselves; with a cache, over what was there before too."""

    def __init__(self, heads: int, width: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: wf.Tensor, cache: Any = None) -> wf.Tensor:
        """``(N, L, width) -> (N, L, width)``."""
        batch, length, width = x.shape
        q, k, v = (
            part.reshape(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for part in self.qkv(x).chunk(3, -1)
        )
        if cache is None:
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            k, v, mask = cache.update(k, v)
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    """A layer of GPT-2."""

    def __init__(self, heads: int, width: int) -> None:
        super().__init__()
        self.norm_1, self.attention = nn.LayerNorm(width), Attention(heads, width)
        self.norm_2, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: wf.Tensor, cache: Any = None) -> wf.Tensor:
        """``(N, L, width) -> (N, L, width)``."""
        x = x + self.attention(self.norm_1(x), cache)
        return x + self.down(F.gelu(self.up(self.norm_2(x))))


class GPT(nn.Module):
    """Radford et al., Language Models are Unsupervised Multitask Learners, 2019; its head is the embedding."""

    def __init__(self, layers: int, heads: int, width: int, vocabulary: int, longest: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(longest, width)
        self.blocks = nn.ModuleList([Block(heads, width) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        for table in (self.tokens, self.places):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, tokens: wf.Tensor, caches: Any = None, places: wf.Tensor | None = None) -> wf.Tensor:
        """``(N, L) -> (N, L, vocabulary)``; ``places`` (L,) where they are not the first ones."""
        x = self.tokens(tokens) + self.places(wf.arange(tokens.shape[1]) if places is None else places)
        for number, block in enumerate(self.blocks):
            x = block(x, None if caches is None else caches[number])
        return self.norm(x) @ self.tokens.weight.mT


class Encoder(nn.Module):
    """The encoder of Devlin et al., BERT, 2018: its embeddings, and layers that normalize what they have added."""

    def __init__(self, layers: int, heads: int, width: int, vocabulary: int, longest: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(longest, width)
        self.norm = nn.LayerNorm(width)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.1, "gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers)

    def forward(self, tokens: wf.Tensor) -> wf.Tensor:
        """``(N, L) -> (N, L, width)``."""
        return self.encoder(self.norm(self.tokens(tokens) + self.places(wf.arange(tokens.shape[1]))))


class Classifier(nn.Module):
    """The last state of an LSTM, classified."""

    def __init__(self, vocabulary: int, embedding: int, width: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.lstm = nn.LSTM(embedding, width, batch_first=True)
        self.head = nn.Linear(width, classes)

    def forward(self, tokens: wf.Tensor) -> wf.Tensor:
        """``(N, L) -> (N, classes)``."""
        _, (state, _) = self.lstm(self.embedding(tokens))
        return self.head(state[-1])
