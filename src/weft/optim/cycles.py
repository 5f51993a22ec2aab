"""Schedules that go up and down, and move the momentum against the rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ..core.errors import ArgumentError
from ..core.shapes import shown
from ..transforms.source.calls import call
from .optimizer import Optimizer
from .schedule import LRScheduler, one_each


class _MomentumLR(LRScheduler):
    """Schedules that move the momentum (of Adam: its first beta) against the rate, unless ``cycle_momentum=False``."""

    _moves: bool

    def momentum(self, epoch: int, group: int) -> float:
        """The momentum of a group after so many epochs."""
        raise NotImplementedError

    def _begin_momentum(self, optimizer: Optimizer, cycle_momentum: bool, low: Any, high: Any) -> None:
        name = type(self).__name__
        self._moves = cycle_momentum
        if cycle_momentum and not optimizer.defaults.keys() & {"momentum", "betas"}:
            raise ArgumentError(f"{name}: the optimizer has neither momentum nor betas: wants cycle_momentum=False")
        self.base_momentums = one_each(name, "base_momentum", low, optimizer)
        self.max_momentums = one_each(name, "max_momentum", high, optimizer)

    def _apply(self) -> None:
        super()._apply()
        if self._moves:
            for k, group in enumerate(self.optimizer.param_groups):
                now = self.momentum(self.last_epoch, k)
                if "betas" in group:
                    group.set_first("betas", now)
                else:
                    group["momentum"] = now


class CyclicLR(_MomentumLR):
    """From ``base_lr`` to ``max_lr`` and back along lines, over and over.

    Args:
        base_lr, max_lr: bounds; one number, or one for each group.
        step_size_up, step_size_down: steps of each way; None: as many down as up.
        mode: ``"triangular"``: all cycles alike; ``"triangular2"``: each half as high as the one before;
            ``"exp_range"``: lower by ``gamma`` each step.
        scale_fn: the height of a cycle by its number, or with ``scale_mode="iterations"`` by the step's; in place of
            ``mode``.
        cycle_momentum: move the momentum from ``max_momentum`` to ``base_momentum`` and back.

    Reference:
        Smith, Cyclical Learning Rates for Training Neural Networks, 2015.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | Sequence[float],
        max_lr: float | Sequence[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[Any], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.8,
        max_momentum: float | Sequence[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        if scale_fn is None and mode not in ("triangular", "triangular2", "exp_range"):
            raise ArgumentError(f"CyclicLR: mode is {mode!r}; it must be 'triangular', 'triangular2' or 'exp_range'")
        if scale_mode not in ("cycle", "iterations"):
            raise ArgumentError(f"CyclicLR: scale_mode is {scale_mode!r}; it must be 'cycle' or 'iterations'")
        low = one_each("CyclicLR", "base_lr", base_lr, optimizer)
        self.max_lrs = one_each("CyclicLR", "max_lr", max_lr, optimizer)
        self.total_size = step_size_up + (step_size_up if step_size_down is None else step_size_down)
        self.step_ratio = step_size_up / self.total_size
        self.mode, self.gamma, self.scale_fn, self.scale_mode = mode, gamma, scale_fn, scale_mode
        self._begin_momentum(optimizer, cycle_momentum, base_momentum, max_momentum)
        if last_epoch == -1:
            for group, lr in zip(optimizer.param_groups, low, strict=True):
                group["lr"] = group["initial_lr"] = float(lr)
        super().__init__(optimizer, last_epoch)

    def _height(self, epoch: int) -> Any:
        """How far up, as a part of the way, times the height of the cycle."""
        cycle = call(math.floor)(1 + epoch / self.total_size)
        x = 1.0 + epoch / self.total_size - cycle
        up, down = x / self.step_ratio, (x - 1.0) / (self.step_ratio - 1.0)
        if self.scale_fn is not None:
            scale = call(self.scale_fn)(cycle if self.scale_mode == "cycle" else epoch)
        elif self.mode == "exp_range":
            scale = self.gamma**epoch
        else:
            scale = 1.0 if self.mode == "triangular" else 0.5 ** (cycle - 1)
        return call(min)(up, down) * scale

    def rate(self, base: float, epoch: int, group: int) -> float:
        """Between the bounds."""
        return base + (self.max_lrs[group] - base) * self._height(epoch)

    def momentum(self, epoch: int, group: int) -> float:
        """Between the bounds, the other way."""
        low, high = self.base_momentums[group], self.max_momentums[group]
        return high - (high - low) * self._height(epoch)


class OneCycleLR(_MomentumLR):
    """Up from ``max_lr / div_factor`` to ``max_lr``, then down to ``1 / final_div_factor`` of where it began.

    Args:
        max_lr: one number, or one for each group.
        total_steps: of the whole; or ``epochs`` and ``steps_per_epoch``.
        pct_start: the part of the steps that go up.
        anneal_strategy: ``"cos"`` or ``"linear"``.
        cycle_momentum: move the momentum from ``max_momentum`` to ``base_momentum`` and back.
        three_phase: down to where it began in as many steps as up, then on to the end.

    Raises:
        ArgumentError: options that do not fit; of :meth:`step`: more steps than there are.

    Reference:
        Smith and Topin, Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates, 2017.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ArgumentError("OneCycleLR: wants total_steps, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        if type(total_steps) is not int or total_steps < 1:
            raise ArgumentError(f"OneCycleLR: {shown(total_steps)} steps; there must be a positive number of them")
        if not 0.0 <= pct_start <= 1.0:
            raise ArgumentError(f"OneCycleLR: pct_start is {pct_start}; it must be between 0 and 1")
        if anneal_strategy not in ("cos", "linear"):
            raise ArgumentError(f"OneCycleLR: anneal_strategy is {anneal_strategy!r}; it must be 'cos' or 'linear'")
        self.total_steps, self.anneal_strategy, self.three_phase = total_steps, anneal_strategy, three_phase
        self.pct_start, self.div_factor, self.final_div_factor = pct_start, div_factor, final_div_factor
        highest = one_each("OneCycleLR", "max_lr", max_lr, optimizer)
        self._begin_momentum(optimizer, cycle_momentum, base_momentum, max_momentum)
        if last_epoch == -1:
            for group, lr in zip(optimizer.param_groups, highest, strict=True):
                group["lr"] = group["initial_lr"] = lr / div_factor
        super().__init__(optimizer, last_epoch)

    def _along(self, epoch: Any, points: Sequence[float]) -> Any:
        """The value after so many epochs of what goes from point to point."""
        turn, last = self.pct_start * self.total_steps - 1.0, float(self.total_steps - 1)
        ends = [turn, 2.0 * turn, last] if self.three_phase else [turn, last]
        value, start = points[0], 0.0
        for end, here, there in zip(ends, points, points[1:], strict=False):
            done: Any = 1.0
            if end > start:
                done = call(max)(call(min)((epoch - start) / (end - start), 1.0), 0.0)
            if self.anneal_strategy == "cos":
                done = (1.0 - call(math.cos)(math.pi * done)) / 2.0
            value, start = value + (there - here) * done, end
        return value

    def rate(self, base: float, epoch: int, group: int) -> float:
        """Where the cycle is."""
        top, lowest = base * self.div_factor, base / self.final_div_factor
        points = [base, top, base, lowest] if self.three_phase else [base, top, lowest]
        return self._along(epoch, points)

    def momentum(self, epoch: int, group: int) -> float:
        """The other way."""
        low, high = self.base_momentums[group], self.max_momentums[group]
        return self._along(epoch, [high, low, high, high])

    def step(self) -> None:
        """One step has passed."""
        if type(self.last_epoch) is int and self.last_epoch >= self.total_steps:
            raise ArgumentError(f"OneCycleLR: step {self.last_epoch + 1} of a schedule of {self.total_steps} steps")
        super().step()
