"""Learning rates that change from epoch to epoch.

A scheduler writes ``param_groups[i]["lr"]``; call ``scheduler.step()`` after the epoch's last ``optimizer.step()``.
Rates are computed from the first one and the number of the epoch, not from the one before, so that a state that is
loaded goes on exactly where it was. In a compiled step the epoch is a number of run time from the second call on: what
computes rates calls functions of numbers by ``call`` therefore.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..tensor import guards
from ..transforms.source.calls import call
from .optimizer import Optimizer

__all__ = ["CosineAnnealingLR", "LRScheduler", "LambdaLR", "StepLR"]


class LRScheduler:
    """Base: ``rate(base, epoch, group)`` is the rate of a group whose first rate was ``base``.

    ``last_epoch`` is the number of calls of :meth:`step`.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__}: optimizer is a {type(optimizer).__name__}")
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", float(group["lr"]))
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = 0
        self._apply()

    def rate(self, base: float, epoch: int, group: int) -> float:
        """The rate of group number ``group`` after ``epoch`` epochs."""
        raise NotImplementedError

    def step(self) -> None:
        """One epoch has passed."""
        epoch = guards.read(self, "last_epoch", self.last_epoch) + 1  # in a compiled step a number of run time
        guards.before_write(vars(self), "last_epoch", epoch)
        self.last_epoch = epoch
        guards.bump()
        self._apply()

    def _apply(self) -> None:
        for k, (group, base) in enumerate(zip(self.optimizer.param_groups, self.base_lrs, strict=True)):
            group["lr"] = self.rate(base, self.last_epoch, k)

    def get_last_lr(self) -> list[float]:
        """The rates of the groups now."""
        return [call(float)(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """The epoch and the first rates."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave, and set the rates."""
        self.last_epoch, self.base_lrs = int(state_dict["last_epoch"]), list(state_dict["base_lrs"])
        self._apply()


class StepLR(LRScheduler):
    """``base * gamma ** (epoch // step_size)``."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def rate(self, base: float, epoch: int, group: int) -> float:
        """Lower by ``gamma`` every ``step_size`` epochs."""
        return call(float)(base * self.gamma ** (epoch // self.step_size))


class LambdaLR(LRScheduler):
    """``base * lr_lambda(epoch)``, with one function or one for each group."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]]):
        groups = len(optimizer.param_groups)
        self.lr_lambdas = list(lr_lambda) if isinstance(lr_lambda, Sequence) else [lr_lambda] * groups
        if len(self.lr_lambdas) != groups:
            raise ValueError(f"LambdaLR: {len(self.lr_lambdas)} functions for {groups} parameter groups")
        super().__init__(optimizer)

    def rate(self, base: float, epoch: int, group: int) -> float:
        """The group's function times its first rate."""
        return call(float)(base * call(self.lr_lambdas[group])(epoch))


class CosineAnnealingLR(LRScheduler):
    """``eta_min + (base - eta_min) * (1 + cos(pi * epoch / T_max)) / 2``.

    Reference:
        Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2016.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def rate(self, base: float, epoch: int, group: int) -> float:
        """Down along a cosine, and up again after ``T_max`` epochs."""
        return self.eta_min + (base - self.eta_min) * (1.0 + call(math.cos)(math.pi * epoch / self.T_max)) / 2.0
