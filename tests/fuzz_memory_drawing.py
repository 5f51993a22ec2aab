"""A random program while it is drawn: the lines so far, and what PyTorch's world is after them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from fuzz_memory_play import World, astray, documented, hidden, looked_at, run_step

LARGEST, MOST_ELEMENTS, MOST_NAMES = 60.0, 40, 9


@dataclass
class Drawing:
    """A program that is being drawn: the steps so far, and PyTorch's world after them."""

    rng: random.Random
    begin: Callable[[], World]  # the world before the steps
    inside: bool = False  # whether they are those of a function, which has names of its own
    loss: bool = False  # whether its gradient is taken: what is outside gets no history
    constant: bool = False  # whether its arguments are not written
    steps: list[str] = field(default_factory=list)
    world: World = field(default_factory=dict)
    count: int = 0
    ended: bool = False

    def __post_init__(self) -> None:
        self.replay()
        self.given = {name: self.looks(name) for name in self.tensors(first="a")}

    def looks(self, name: str) -> tuple[int, bytes]:
        """Whether it was written: the count of writes, and its bytes."""
        return self.world[name]._version, self.array(name).tobytes()

    def below(self, n: int) -> int:
        """A number in [0, n)."""
        return self.rng.randrange(n)

    def pick(self, items: Sequence[Any]) -> Any:
        """One of them."""
        return items[self.rng.randrange(len(items))]

    def chance(self, percent: int) -> bool:
        """True so often."""
        return self.rng.random() * 100 < percent

    def fresh(self) -> str:
        """A name that is not used yet; sometimes one that is, which then is another tensor's."""
        prefix = "u" if self.inside else "v"
        own = self.tensors(first=prefix)
        if len(own) >= MOST_NAMES or (len(own) > 3 and self.chance(10)):
            return str(self.pick(own))
        self.count += 1
        return f"{prefix}{self.count - 1}"

    def tensors(self, fits: Callable[[torch.Tensor], bool] = lambda tensor: True, first: str = "") -> list[str]:
        """The names of tensors of which that is true, and that begin with ``first``."""
        return [n for n, t in self.world.items() if isinstance(t, torch.Tensor) and n.startswith(first) and fits(t)]

    def tensor(self, fits: Callable[[torch.Tensor], bool] = lambda tensor: True) -> str | None:
        """One of these names, later ones more often."""
        found = self.tensors(fits)
        if not found:
            return None
        if self.chance(40):  # what has a history is where most rules are
            found = [n for n in found if has_history(self.world[n])] or found
        return str(found[max(self.below(len(found)), self.below(len(found)))])

    def array(self, name: str) -> np.ndarray[Any, Any]:
        """The memory of a tensor."""
        return np.asarray(self.world[name].detach().numpy())

    def floating(self) -> str | None:
        """A tensor of floats."""
        return self.tensor(lambda t: t.is_floating_point())

    def try_step(self, text: str) -> bool:
        """Run one more step; whether it is kept. One that raises seldom is, one that makes large numbers never.

        In a function, and where backward() raises, no step comes after one that does.
        """
        if astray(text, self.world):
            return False
        error = run_step(text, self.world)
        looked_at(self.world)
        good = benign(self.world) and not (self.loss and self.tensors(lambda t: t.requires_grad, "v"))
        if self.constant and any(self.looks(name) != before for name, before in self.given.items()):
            good = False
        if good and (error is None or (not documented(error) and self.chance(2 if self.inside else 25))):
            self.steps.append(text)
            self.ended = error is not None and (self.inside or "backward" in text or " = f(" in text)
            return True
        self.replay()
        return False

    def replay(self) -> None:
        """The world once more, without what came after the steps."""
        self.world.clear()
        self.world.update(self.begin())
        for text in self.steps:
            run_step(text, self.world)
            looked_at(self.world)


def is_leaf(tensor: torch.Tensor) -> bool:
    """Whether it was not computed, as far as PyTorch tells."""
    return not hidden(tensor) and tensor.is_leaf


def has_history(tensor: torch.Tensor) -> bool:
    """Whether it was computed of what requires grad."""
    return tensor.requires_grad and not hidden(tensor) and not tensor.is_leaf


def benign(world: World) -> bool:
    """Whether all numbers are small, and there are few."""
    tensors = [value for value in world.values() if isinstance(value, torch.Tensor)]
    gradients = [t.grad for t in tensors if is_leaf(t) and t.grad is not None]
    if any(t.numel() > MOST_ELEMENTS or t.ndim > 4 for t in tensors):
        return False
    return all(bool((np.abs(t.detach().numpy()) < LARGEST).all()) for t in tensors + gradients)
