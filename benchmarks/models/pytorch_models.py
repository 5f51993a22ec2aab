"""The models in PyTorch: eager, channels last, and with torch.compile (weights frozen where nothing is trained)."""

from __future__ import annotations

from typing import Any

import torch
import torch._inductor.config

from . import inputs, modules, sizes

Timed = tuple[str, dict[str, Any]]
MODE = "eager"


def start(mode: str) -> None:
    """``mode``: eager, NHWC or compiled."""
    global MODE
    MODE = mode


def captures() -> int | None:
    """The graphs that were compiled; None where none are."""
    return torch._dynamo.utils.counters["stats"]["unique_graphs"] if MODE == "compiled" else None


def save(name: str, path: str) -> None:
    """Write the weights that all peers begin with."""
    torch.manual_seed(0)
    modules.save(name, path)


def placed(value: Any) -> Any:
    """In the layout of the mode."""
    if MODE == "NHWC" and (isinstance(value, torch.nn.Module) or value.ndim == 4):
        return value.to(memory_format=torch.channels_last)
    return value


def model(name: str, batch: int, weights: str) -> Timed:
    """Inference, or a training step, of the model."""
    net = placed(modules.load(name, weights))
    x, y = (None if part is None else placed(torch.from_numpy(part)) for part in inputs.of(name, batch))
    if name in sizes.TRAINED:
        return training(net, name, x, y)
    net.eval()
    torch._inductor.config.freezing = True
    run = torch.compile(net) if MODE == "compiled" else net

    def predict() -> torch.Tensor:
        with torch.no_grad():
            return run(x)

    return "predict()", {"predict": predict, "check": lambda: predict().numpy().ravel()[:100].tolist()}


def training(net: torch.nn.Module, name: str, x: Any, y: Any) -> Timed:
    """A step; fused is PyTorch's fastest optimizer in both modes."""
    rate, losses = sizes.RATE[name], []
    if name in sizes.GPTS:
        opt: Any = torch.optim.AdamW(net.parameters(), lr=rate, fused=True)
    else:
        opt = torch.optim.SGD(net.parameters(), lr=rate, momentum=sizes.MOMENTUM, fused=True)

    def loss(x: Any, y: Any) -> Any:
        return modules.loss(net(x), y)

    forward = torch.compile(loss) if MODE == "compiled" else loss

    def step() -> None:
        opt.zero_grad()
        value = forward(x, y)
        value.backward()
        opt.step()
        if len(losses) < 3:
            losses.append(value.detach())

    return "step()", {"step": step, "check": lambda: [losses[0].item(), losses[2].item()]}


class Cache:
    """Room for keys and values; what is there is a slice of it."""

    def __init__(self, heads: int, length: int, width: int) -> None:
        self.keys, self.values, self.position = (
            torch.zeros(1, heads, length, width),
            torch.zeros(1, heads, length, width),
            0,
        )

    def update(self, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Keys and values until now; of one position, which needs no mask."""
        end = self.position + k.shape[2]
        self.keys[:, :, self.position : end], self.values[:, :, self.position : end] = k, v
        self.position = end
        return self.keys[:, :, :end], self.values[:, :, :end], None


class StaticCache:
    """The same for torch.compile: all of the room and a mask, so that no length is compiled for itself."""

    def __init__(self, heads: int, length: int, width: int) -> None:
        self.keys, self.values = torch.zeros(1, heads, length, width), torch.zeros(1, heads, length, width)
        self.place, self.all = torch.zeros(1, dtype=torch.int64), torch.arange(length)

    def update(self, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Everything, and what of it is there."""
        self.keys.index_copy_(2, self.place, k)
        self.values.index_copy_(2, self.place, v)
        return self.keys, self.values, (self.all <= self.place)[None]


@torch.no_grad()
def decode(weights: str) -> Timed:
    """DECODED tokens behind a prompt, one after the other, each the likeliest."""
    layers, heads, width, _, _ = sizes.GPTS["gpt2"]
    net = modules.load("gpt2", weights).eval()
    torch._inductor.config.freezing = True
    kind = StaticCache if MODE == "compiled" else Cache
    caches = [kind(heads, sizes.PROMPT + sizes.DECODED, width // heads) for _ in range(layers)]
    place = caches[0].place if MODE == "compiled" else torch.zeros(1, dtype=torch.int64)
    if MODE == "compiled":
        for cache in caches[1:]:
            cache.place = place

    def token(t: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        return net(t, caches, place)[:, -1].argmax(-1, keepdim=True)

    run = torch.compile(token) if MODE == "compiled" else token
    said: list[int] = []

    def at(position: int, t: torch.Tensor) -> torch.Tensor:
        place.fill_(position)
        if MODE != "compiled":
            for cache in caches:
                cache.position = position
        return run(t, place)

    for position, t in enumerate(inputs.prompt()[0]):
        first = at(position, torch.tensor([[t]]))

    def go() -> None:
        t, found = first, [first]
        with torch.no_grad():
            for position in range(sizes.PROMPT, sizes.PROMPT + sizes.DECODED):
                t = at(position, t)
                found.append(t)
        said[:] = [int(t) for t in found]

    return "go()", {"go": go, "check": lambda: said[:8]}


def lstm(weights: str) -> Timed:
    """A training pass over all batches."""
    net = modules.load("lstm", weights)
    losses: list[Any] = []
    batches = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in inputs.lstm_batches()]
    opt = torch.optim.SGD(net.parameters(), lr=0.01, momentum=sizes.MOMENTUM, fused=True)

    def loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return modules.loss(net(x), y)

    forward = torch.compile(loss, dynamic=True) if MODE == "compiled" else loss

    def go() -> None:
        for x, y in batches:
            opt.zero_grad()
            value = forward(x, y)
            value.backward()
            opt.step()
            if len(losses) < 3:
                losses.append(value.detach())

    check = lambda: [losses[0].item(), losses[2].item()]  # noqa: E731
    return "go()", {"go": go, "captures": captures, "check": check}
