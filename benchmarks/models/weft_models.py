"""The models in Weft, compiled."""

from __future__ import annotations

from typing import Any

import weft as wf
from weft import nn, optim

from . import inputs, modules, sizes

Timed = tuple[str, dict[str, Any]]


def model(name: str, batch: int, weights: str) -> Timed:
    """Inference, or a training step, of the model."""
    net = modules.load(name, weights)
    x, y = (None if part is None else wf.tensor(part) for part in inputs.of(name, batch))
    if name in sizes.TRAINED:
        return training(net, name, x, y)
    run = wf.compile(net.eval())

    def predict() -> wf.Tensor:
        with wf.no_grad():
            return run(x)

    return "predict()", {"predict": predict, "check": lambda: predict().numpy().ravel()[:100].tolist()}


def training(net: nn.Module, name: str, x: Any, y: Any) -> Timed:
    """A step, which is one graph."""
    rate, losses = sizes.RATE[name], []
    if name in sizes.GPTS:
        opt: optim.Optimizer = optim.AdamW(net.parameters(), lr=rate)
    else:
        opt = optim.SGD(net.parameters(), lr=rate, momentum=sizes.MOMENTUM)

    @wf.compile
    def compiled(x: wf.Tensor, y: wf.Tensor) -> wf.Tensor:
        value = modules.loss(net(x), y)
        opt.zero_grad()
        value.backward()
        opt.step()
        return value

    def step() -> None:
        value = compiled(x, y)
        if len(losses) < 3:
            losses.append(value)

    return "step()", {"step": step, "check": lambda: [losses[0].item(), losses[2].item()]}


def decode(weights: str) -> Timed:
    """DECODED tokens behind a prompt, one after the other, each the likeliest."""
    layers, heads, width, _, _ = sizes.GPTS["gpt2"]
    net = modules.load("gpt2", weights).eval()
    caches = [nn.KVCache(1, heads, sizes.PROMPT + sizes.DECODED, width // heads) for _ in range(layers)]

    @wf.compile
    def token(t: wf.Tensor) -> wf.Tensor:
        return net(t, caches, caches[0].position.reshape(1))[:, -1].argmax(-1, keepdim=True)

    with wf.no_grad():
        for t in inputs.prompt()[0]:
            first = token(wf.tensor([[int(t)]]))
    said: list[int] = []

    def go() -> None:
        for cache in caches:
            cache.position.fill_(sizes.PROMPT)
        t, found = first, [first]
        with wf.no_grad():
            for _ in range(sizes.DECODED):
                t = token(t)
                found.append(t)
        said[:] = [int(t) for t in found]

    return "go()", {"go": go, "check": lambda: said[:8]}


def lstm(weights: str) -> Timed:
    """A training pass over all batches."""
    net = modules.load("lstm", weights)
    losses: list[Any] = []
    batches = [(wf.tensor(x), wf.tensor(y)) for x, y in inputs.lstm_batches()]
    opt = optim.SGD(net.parameters(), lr=0.01, momentum=sizes.MOMENTUM)

    @wf.compile
    def step(x: wf.Tensor, y: wf.Tensor) -> wf.Tensor:
        value = modules.loss(net(x), y)
        opt.zero_grad()
        value.backward()
        opt.step()
        return value

    def go() -> None:
        for x, y in batches:
            value = step(x, y)
            if len(losses) < 3:
                losses.append(value)

    check = lambda: [losses[0].item(), losses[2].item()]  # noqa: E731
    return "go()", {"go": go, "captures": lambda: len(step.cache_info().graphs), "check": check}
