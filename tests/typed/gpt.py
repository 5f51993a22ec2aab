"""A small GPT: modules of the user's own, one of which returns a tuple."""

import math
from dataclasses import dataclass
from typing import assert_type

import weft as wf
from weft import nn, optim
from weft.nn import functional as F


@dataclass
class Config:
    vocabulary: int = 16
    context: int = 8
    width: int = 8
    heads: int = 2
    layers: int = 2


class Attention(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.mask: wf.Tensor
        self.register_buffer("mask", wf.tril(wf.ones((config.context, config.context))) == 0, persistent=False)

    def forward(self, x: wf.Tensor) -> wf.Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(x).split(width, dim=2)
        q, k, v = (t.view(batch, length, self.heads, -1).transpose(1, 2) for t in (q, k, v))
        scores = (q @ k.mT) / math.sqrt(k.shape[-1])
        scores = scores.masked_fill(self.mask[:length, :length], -math.inf)
        seen = F.softmax(scores, dim=-1) @ v
        assert_type(seen, wf.Tensor)
        return self.out(seen.transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(config.width) for _ in range(2))
        self.attention = Attention(config)
        self.mlp = nn.Sequential(
            nn.Linear(config.width, 4 * config.width), nn.GELU(), nn.Linear(4 * config.width, config.width)
        )

    def forward(self, x: wf.Tensor) -> wf.Tensor:
        x = x + self.attention(self.norms[0](x))
        return x + self.mlp(self.norms[1](x))


class GPT(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.tokens = nn.Embedding(config.vocabulary, config.width)
        self.places = nn.Parameter(wf.zeros((config.context, config.width)))
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.layers)])
        self.head = nn.Linear(config.width, config.vocabulary, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, ids: wf.Tensor, targets: wf.Tensor | None = None) -> tuple[wf.Tensor, wf.Tensor | None]:
        x = self.tokens(ids) + self.places[: ids.shape[1]]
        assert_type(self.blocks[0], Block)
        for block in self.blocks:
            assert_type(block, Block)
            x = block(x)
        logits = self.head(x)
        assert_type(logits, wf.Tensor)
        if targets is None:
            return logits, None
        return logits, F.cross_entropy(logits.view(-1, logits.size(-1)), targets.reshape(-1))


config = Config()
model = GPT(config)
opt = optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)


@wf.compile
def train_step(ids: wf.Tensor, targets: wf.Tensor) -> wf.Tensor:
    _, loss = model(ids, targets)
    assert loss is not None
    opt.zero_grad()
    loss.backward()
    opt.step()
    return loss


batch = wf.random.integers(config.vocabulary, shape=(2, config.context + 1))
assert_type(model(batch[:, :-1]), tuple[wf.Tensor, wf.Tensor | None])
print(train_step(batch[:, :-1], batch[:, 1:]).item(), sum(p.numel() for p in model.parameters()))


def generate(ids: wf.Tensor, count: int) -> wf.Tensor:
    with wf.no_grad():
        for _ in range(count):
            logits, _ = model(ids[:, -config.context :])
            best = logits[:, -1].argmax(-1, keepdim=True)
            ids = wf.concat([ids, best], axis=1)
    return ids


print(generate(batch[:, :1], 3).tolist())
