"""What all schedules of the learning rate are: rates by the number of the epoch, written into an optimizer's groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.errors import ArgumentError
from ..tensor import guards
from ..transforms.source.calls import call
from .optimizer import Optimizer


class LRScheduler:
    """Base: ``rate(base, epoch, group)`` is the rate of a group whose first rate was ``base``.

    ``last_epoch`` is the number of calls of :meth:`step`; the argument is that number less one, of a training that goes
    on: -1 of one that begins.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__}: optimizer is a {type(optimizer).__name__}")
        self.optimizer = optimizer
        for number, group in enumerate(optimizer.param_groups):
            if last_epoch != -1 and "initial_lr" not in group:
                raise ArgumentError(
                    f"{type(self).__name__}: last_epoch is {last_epoch}, and group {number} has no 'initial_lr' to go "
                    "on from; load the optimizer's state first"
                )
            group.setdefault("initial_lr", float(group["lr"]))
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch + 1
        self._begin()

    def rate(self, base: float, epoch: int, group: int) -> float:
        """The rate of group number ``group`` after ``epoch`` epochs."""
        raise NotImplementedError

    def following(self, lr: float, base: float, epoch: int, group: int) -> float:
        """The rate after ``epoch`` epochs where that of the epoch before has become ``lr``, as other schedulers have
        their part in it: what a :class:`ChainedScheduler` asks. At epoch 0 ``lr`` is what those before have made of
        the first rate. A schedule that does not multiply what is there says its own rate."""
        return self.rate(base, epoch, group)

    def step(self) -> None:
        """One epoch has passed."""
        epoch = guards.read(self, "last_epoch", self.last_epoch) + 1  # in a compiled step a number of run time
        self._go_to(epoch)
        self._apply()

    def _go_to(self, epoch: int) -> None:
        guards.before_write(vars(self), "last_epoch", epoch)
        self.last_epoch = epoch
        guards.bump()

    def _begin(self) -> None:
        """Set the rates of the epoch that it begins with."""
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


def one_each(scheduler: str, name: str, given: Any, optimizer: Optimizer) -> list[Any]:
    """A value for each group, of one for all or of several.

    Raises:
        ArgumentError: another number of values.
    """
    groups = len(optimizer.param_groups)
    values = list(given) if isinstance(given, (list, tuple)) else [given] * groups
    if len(values) != groups:
        raise ArgumentError(f"{scheduler}: {name} has {len(values)} values for {groups} parameter groups")
    return values
