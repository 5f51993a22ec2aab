"""Learning rates that change from epoch to epoch.

A scheduler writes ``param_groups[i]["lr"]``; call ``scheduler.step()`` after the epoch's last ``optimizer.step()``.
Rates are computed from the first one and the number of the epoch, not from the one before, so that a state that is
loaded goes on exactly where it was; those that can be nothing else are part of the state. Several schedules at once are
a :class:`ChainedScheduler`. In a compiled step the epoch is a number of run time from the second call on: what computes
rates calls functions of numbers by ``call`` therefore, and does not branch on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..core.errors import ArgumentError
from ..core.shapes import shown
from ..transforms.source.calls import call
from .cycles import CyclicLR, OneCycleLR
from .optimizer import Optimizer
from .schedule import LRScheduler, one_each

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]


class _FactorLR(LRScheduler):
    """``base * factor(epoch)``."""

    def factor(self, epoch: int) -> float:
        """What the first rate is multiplied by."""
        raise NotImplementedError

    def rate(self, base: float, epoch: int, group: int) -> float:
        """The first rate times the factor."""
        return call(float)(base * self.factor(epoch))

    def following(self, lr: float, base: float, epoch: int, group: int) -> float:
        """By as much more or less as the factor has changed; after a factor of 0 nothing changes."""
        if isinstance(epoch, int) and type(epoch) is int and epoch == 0:
            return lr * self.factor(0)
        before = self.factor(epoch - 1)
        none = call(float)(before == 0.0)
        return lr * (none + (1.0 - none) * self.factor(epoch) / (before + none))


class StepLR(_FactorLR):
    """``base * gamma ** (epoch // step_size)``."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def factor(self, epoch: int) -> float:
        """Lower by ``gamma`` every ``step_size`` epochs."""
        return self.gamma ** (epoch // self.step_size)


class MultiStepLR(_FactorLR):
    """``base * gamma ** k`` after the first k of the ``milestones``; one that is listed twice counts twice."""

    def __init__(
        self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def factor(self, epoch: int) -> float:
        """Lower by ``gamma`` at each milestone."""
        return self.gamma ** _passed(epoch, self.milestones)


class ConstantLR(_FactorLR):
    """``base * factor`` for ``total_iters`` epochs, then ``base``."""

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        if not 0.0 <= factor <= 1.0:
            raise ArgumentError(f"ConstantLR: factor is {factor}; it must be between 0 and 1")
        self.first, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def factor(self, epoch: int) -> float:
        """The factor, or 1."""
        done = _passed(epoch, [self.total_iters])
        return self.first + (1.0 - self.first) * done


class LinearLR(_FactorLR):
    """``base`` times what goes from ``start_factor`` to ``end_factor`` in ``total_iters`` epochs, and stays there."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0.0 < start_factor <= 1.0:
            raise ArgumentError(f"LinearLR: start_factor is {start_factor}; it must be above 0, and 1 at most")
        if not 0.0 <= end_factor <= 1.0:
            raise ArgumentError(f"LinearLR: end_factor is {end_factor}; it must be between 0 and 1")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def factor(self, epoch: int) -> float:
        """Along a line."""
        done = call(min)(self.total_iters, epoch) / self.total_iters
        return self.start_factor + (self.end_factor - self.start_factor) * done


class PolynomialLR(_FactorLR):
    """``base * (1 - epoch / total_iters) ** power``, which is 0 from ``total_iters`` epochs on."""

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def factor(self, epoch: int) -> float:
        """What is left, to a power."""
        return (1.0 - call(min)(self.total_iters, epoch) / self.total_iters) ** self.power


class ExponentialLR(_FactorLR):
    """``base * gamma ** epoch``."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def factor(self, epoch: int) -> float:
        """Lower by ``gamma`` every epoch."""
        return self.gamma**epoch


def _passed(epoch: Any, milestones: Sequence[int]) -> Any:
    """How many of the milestones have come."""
    return sum([call(int)(epoch >= milestone) for milestone in milestones])


class LambdaLR(LRScheduler):
    """``base * lr_lambda(epoch)``, with one function or one for each group."""

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        self.lr_lambdas = _functions("LambdaLR", optimizer, lr_lambda)
        super().__init__(optimizer, last_epoch)

    def rate(self, base: float, epoch: int, group: int) -> float:
        """The group's function times its first rate."""
        return call(float)(base * call(self.lr_lambdas[group])(epoch))


def _functions(scheduler: str, optimizer: Optimizer, given: Any) -> list[Callable[[int], float]]:
    groups = len(optimizer.param_groups)
    functions = list(given) if isinstance(given, Sequence) else [given] * groups
    if len(functions) != groups:
        raise ValueError(f"{scheduler}: {len(functions)} functions for {groups} parameter groups")
    return functions


class _StepwiseLR(LRScheduler):
    """Rates that are made of those before: :meth:`following` says how. They are part of the state."""

    def _begin(self) -> None:
        if self.last_epoch == 0:  # else they are what they have become
            self._set([self.following(b, b, 0, k) for k, b in enumerate(self.base_lrs)])

    def _apply(self) -> None:
        rates = [group["lr"] for group in self.optimizer.param_groups]
        pairs = enumerate(zip(rates, self.base_lrs, strict=True))
        self._set([self.following(lr, base, self.last_epoch, k) for k, (lr, base) in pairs])

    def _set(self, rates: Sequence[float]) -> None:
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = lr

    def state_dict(self) -> dict[str, Any]:
        """The epoch, the first rates and those of now."""
        return {**super().state_dict(), "rates": self.get_last_lr()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave, and set the rates."""
        self.last_epoch, self.base_lrs = int(state_dict["last_epoch"]), list(state_dict["base_lrs"])
        self._set(state_dict["rates"])


class MultiplicativeLR(_StepwiseLR):
    """The rate before times ``lr_lambda(epoch)``, from the first epoch on; one function or one for each group."""

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        self.lr_lambdas = _functions("MultiplicativeLR", optimizer, lr_lambda)
        super().__init__(optimizer, last_epoch)

    def following(self, lr: float, base: float, epoch: int, group: int) -> float:
        """The group's function times the rate before."""
        if type(epoch) is int and epoch == 0:
            return lr
        return call(float)(lr * call(self.lr_lambdas[group])(epoch))


class CosineAnnealingLR(LRScheduler):
    """``eta_min + (base - eta_min) * (1 + cos(pi * epoch / T_max)) / 2``.

    Reference:
        Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2016.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def rate(self, base: float, epoch: int, group: int) -> float:
        """Down along a cosine, and up again after ``T_max`` epochs."""
        return self.eta_min + (base - self.eta_min) * self._height(epoch)

    def following(self, lr: float, base: float, epoch: int, group: int) -> float:
        """What lies above ``eta_min`` by as much more or less as the cosine has changed; from the bottom up again by
        what a rate of its own would go."""
        if type(epoch) is int and epoch == 0:
            return lr
        bottom = call(float)((epoch - 1) % (2 * self.T_max) == self.T_max)
        scaled = (lr - self.eta_min) * self._height(epoch) / (self._height(epoch - 1) + bottom) + self.eta_min
        raised = lr + (base - self.eta_min) * self._height(self.T_max - 1)
        return bottom * raised + (1.0 - bottom) * scaled

    def _height(self, epoch: Any) -> Any:
        return (1.0 + call(math.cos)(math.pi * epoch / self.T_max)) / 2.0


class CosineAnnealingWarmRestarts(LRScheduler):
    """From ``base`` to ``eta_min`` along a cosine, over and over: in ``T_0`` epochs, then each time in ``T_mult`` times
    as many.

    Reference:
        Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2016.
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        if type(T_0) is not int or T_0 < 1:
            raise ArgumentError(f"CosineAnnealingWarmRestarts: T_0 is {shown(T_0)}; it must be a positive integer")
        if type(T_mult) is not int or T_mult < 1:
            raise ArgumentError(
                f"CosineAnnealingWarmRestarts: T_mult is {shown(T_mult)}; it must be a positive integer"
            )
        self.T_0, self.T_mult, self.eta_min = T_0, T_mult, eta_min
        super().__init__(optimizer, last_epoch)

    def rate(self, base: float, epoch: Any, group: int) -> float:
        """The place on the cosine of the time that the epoch is in."""
        if self.T_mult == 1:
            since, length = epoch % self.T_0, self.T_0
        else:
            since, length, start, size = epoch, self.T_0, self.T_0, self.T_0
            while start < 1 << 53:
                come = call(int)(epoch >= start)
                since, length = since - come * size, length + come * size * (self.T_mult - 1)
                size *= self.T_mult
                start += size
        return self.eta_min + (base - self.eta_min) * (1.0 + call(math.cos)(math.pi * since / length)) / 2.0

    def step(self, epoch: float | None = None) -> None:
        """One epoch has passed, or so many since the beginning, which may be a fraction.

        Raises:
            ArgumentError: a negative number.
        """
        if epoch is None:
            super().step()
            return
        if epoch < 0:
            raise ArgumentError(f"CosineAnnealingWarmRestarts: epoch is {epoch}; it must be 0 or more")
        self._go_to(math.floor(epoch))
        for k, (group, base) in enumerate(zip(self.optimizer.param_groups, self.base_lrs, strict=True)):
            group["lr"] = self.rate(base, epoch, k)


def _check_schedulers(name: str, optimizer: Optimizer, schedulers: Sequence[Any]) -> list[LRScheduler]:
    """Schedulers that others may be made of.

    Raises:
        ArgumentError: there is none, or one is of another optimizer, or waits for a metric.
    """
    if not schedulers:
        raise ArgumentError(f"{name}: there are no schedulers")
    for number, scheduler in enumerate(schedulers):
        if not isinstance(scheduler, LRScheduler):
            raise ArgumentError(
                f"{name}: scheduler {number} is a {type(scheduler).__name__}, which has no rate of its own"
            )
        if scheduler.optimizer is not optimizer:
            raise ArgumentError(f"{name}: scheduler {number} is of another optimizer")
    return list(schedulers)


class SequentialLR(LRScheduler):
    """One schedule after the other: number k begins, with its own epoch 0, at epoch ``milestones[k - 1]``."""

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int], last_epoch: int = -1
    ) -> None:
        self._schedulers = _check_schedulers("SequentialLR", optimizer, schedulers)
        if any(isinstance(scheduler, _StepwiseLR) for scheduler in schedulers):
            raise ArgumentError("SequentialLR: a schedule that multiplies the rate before has no rate at an epoch")
        if len(milestones) != len(schedulers) - 1 or list(milestones) != sorted(milestones):
            raise ArgumentError(
                f"SequentialLR: milestones are {shown(milestones)} for {len(schedulers)} schedulers; there must be one "
                "between each two, in order"
            )
        self._milestones = list(milestones)
        super().__init__(optimizer, last_epoch)

    def rate(self, base: float, epoch: int, group: int) -> float:
        """The rate of the schedule whose turn it is, at its own epoch."""
        starts = [0, *self._milestones]
        if type(epoch) is int:
            turn = _passed(epoch, self._milestones)
            return self._schedulers[turn].rate(base, epoch - starts[turn], group)
        bounds = [*self._milestones, 1 << 62]
        parts = []
        for scheduler, start, stop in zip(self._schedulers, starts, bounds, strict=True):
            own = call(min)(call(max)(epoch - start, 0), max(stop - start - 1, 0))
            parts.append(scheduler.rate(base, own, group) * call(float)((epoch >= start) & (epoch < stop)))
        return sum(parts)


class ChainedScheduler(_StepwiseLR):
    """Several schedules at once: each changes what those before have made of the rate."""

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        first = optimizer or (schedulers[0].optimizer if schedulers else None)
        self._schedulers = _check_schedulers("ChainedScheduler", first, schedulers)  # type: ignore[arg-type]
        super().__init__(self._schedulers[0].optimizer)

    def following(self, lr: float, base: float, epoch: int, group: int) -> float:
        """By one after the other."""
        for scheduler in self._schedulers:
            lr = scheduler.following(lr, base, epoch, group)
        return lr


class ReduceLROnPlateau:
    """Lower the rates by ``factor`` when a metric, given to :meth:`step`, has not become better for more than
    ``patience`` epochs.

    Args:
        mode: ``"min"``: less is better; ``"max"``: more is.
        threshold: better by this much counts: a part of the best so far, with ``threshold_mode="abs"`` a number.
        cooldown: epochs after a change in which nothing is counted.
        min_lr: bounds of the rates; one number, or one for each group.
        eps: a change that is no more than this is not made.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"ReduceLROnPlateau: optimizer is a {type(optimizer).__name__}")
        if factor >= 1.0:
            raise ArgumentError(f"ReduceLROnPlateau: factor is {factor}; it must be below 1")
        if mode not in ("min", "max"):
            raise ArgumentError(f"ReduceLROnPlateau: mode is {mode!r}; it must be 'min' or 'max'")
        if threshold_mode not in ("rel", "abs"):
            raise ArgumentError(f"ReduceLROnPlateau: threshold_mode is {threshold_mode!r}; it must be 'rel' or 'abs'")
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown, self.eps = threshold, threshold_mode, cooldown, eps
        self.min_lrs = one_each("ReduceLROnPlateau", "min_lr", min_lr, optimizer)
        self.best = math.inf if mode == "min" else -math.inf
        self.last_epoch = self.num_bad_epochs = self.cooldown_counter = 0

    @property
    def in_cooldown(self) -> bool:
        """Whether nothing is counted now."""
        return self.cooldown_counter > 0

    def _is_better(self, metric: float) -> bool:
        sign = -1.0 if self.mode == "min" else 1.0
        if self.threshold_mode == "rel":
            return sign * metric > sign * self.best * (1.0 + sign * self.threshold)
        return sign * metric > sign * self.best + self.threshold

    def step(self, metrics: Any) -> None:
        """An epoch has passed, with this result: a number, or a tensor of one."""
        current = float(metrics)
        self.last_epoch += 1
        if self._is_better(current):
            self.best, self.num_bad_epochs = current, 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, least in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
                before = float(group["lr"])
                after = max(before * self.factor, least)
                if before - after > self.eps:
                    group["lr"] = after
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def get_last_lr(self) -> list[float]:
        """The rates of the groups now."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """What it has counted, and the rates."""
        counted = {n: getattr(self, n) for n in ("best", "last_epoch", "num_bad_epochs", "cooldown_counter")}
        return {**counted, "rates": self.get_last_lr()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave, and set the rates."""
        self.best = float(state_dict["best"])
        for name in ("last_epoch", "num_bad_epochs", "cooldown_counter"):
            setattr(self, name, int(state_dict[name]))
        for group, lr in zip(self.optimizer.param_groups, state_dict["rates"], strict=True):
            group["lr"] = lr
