"""Schedules against PyTorch's: the same rates and momenta, epoch by epoch, alone, chained and one after the other."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

import weft as wf
from weft import nn, optim
from weft.optim import lr_scheduler as ours

theirs = torch.optim.lr_scheduler


def ours_of(momentum: bool = True, lr: float = 0.8) -> optim.Optimizer:
    groups: list[Any] = [
        {"params": [nn.Parameter(wf.zeros((1,)))]},
        {"params": [nn.Parameter(wf.zeros((1,)))], "lr": lr / 2},
    ]
    return optim.SGD(groups, lr=lr, momentum=0.9) if momentum else optim.Adam(groups, lr=lr)


def theirs_of(momentum: bool = True, lr: float = 0.8) -> torch.optim.Optimizer:
    groups: list[Any] = [
        {"params": [torch.nn.Parameter(torch.zeros(1))]},
        {"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr / 2},
    ]
    return torch.optim.SGD(groups, lr=lr, momentum=0.9) if momentum else torch.optim.Adam(groups, lr=lr)


SCHEDULES: dict[str, Callable[[Any, Any], Any]] = {
    "step": lambda m, o: m.StepLR(o, 3, 0.5),
    "multistep": lambda m, o: m.MultiStepLR(o, [7, 2, 4, 4], 0.5),
    "constant": lambda m, o: m.ConstantLR(o, 0.25, 4),
    "linear": lambda m, o: m.LinearLR(o, 0.25, 0.75, 6),
    "polynomial": lambda m, o: m.PolynomialLR(o, 7, 2.0),
    "exponential": lambda m, o: m.ExponentialLR(o, 0.9),
    "lambda": lambda m, o: m.LambdaLR(o, [lambda e: 0.95**e, lambda e: 1 / (e + 1)]),
    "multiplicative": lambda m, o: m.MultiplicativeLR(o, lambda e: 1 - 0.1 / e),
    "cosine": lambda m, o: m.CosineAnnealingLR(o, 4, 0.1),
    "restarts": lambda m, o: m.CosineAnnealingWarmRestarts(o, 3),
    "longer restarts": lambda m, o: m.CosineAnnealingWarmRestarts(o, 2, 3, 0.05),
    "cyclic": lambda m, o: m.CyclicLR(o, 0.1, [0.5, 0.7], 3, 5),
    "triangular2": lambda m, o: m.CyclicLR(o, 0.1, 0.5, 3, mode="triangular2", cycle_momentum=False),
    "exp_range": lambda m, o: m.CyclicLR(o, 0.1, 0.5, 4, mode="exp_range", gamma=0.9),
    "scaled": lambda m, o: m.CyclicLR(o, 0.1, 0.5, 4, scale_fn=lambda c: 1 / c),
    "one cycle": lambda m, o: m.OneCycleLR(o, 0.5, 20),
    "one cycle, lines": lambda m, o: m.OneCycleLR(o, [0.5, 0.3], epochs=4, steps_per_epoch=5, anneal_strategy="linear"),
    "one cycle, three phases": lambda m, o: m.OneCycleLR(o, 0.5, 20, pct_start=0.4, three_phase=True),
    "sequence": lambda m, o: m.SequentialLR(
        o, [m.LinearLR(o, 0.1, 1.0, 4), m.CosineAnnealingLR(o, 9), m.ExponentialLR(o, 0.5)], [4, 12]
    ),
    "chain": lambda m, o: m.ChainedScheduler([m.ConstantLR(o, 0.1, 3), m.ExponentialLR(o, 0.9), m.StepLR(o, 4)]),
    "chain of cosines": lambda m, o: m.ChainedScheduler([m.CosineAnnealingLR(o, 4, 0.1), m.LinearLR(o, 0.5, 1.0, 5)]),
    "chain with products": lambda m, o: m.ChainedScheduler(
        [m.MultiplicativeLR(o, lambda e: 0.9), m.PolynomialLR(o, 30)]
    ),
}


def momenta(optimizer: Any) -> list[Any]:
    return [group["betas"] if "betas" in group else group["momentum"] for group in optimizer.param_groups]


@pytest.mark.parametrize("momentum", [True, False], ids=["SGD", "Adam"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_rates_and_momenta_are_pytorchs(name: str, momentum: bool) -> None:
    own, other = ours_of(momentum), theirs_of(momentum)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "lr_scheduler.step() before optimizer.step()"
        mine, reference = SCHEDULES[name](ours, own), SCHEDULES[name](theirs, other)
        for epoch in range(20):
            assert mine.get_last_lr() == pytest.approx(reference.get_last_lr(), rel=1e-9, abs=1e-12), epoch
            for one, two in zip(momenta(own), momenta(other), strict=True):
                assert one == pytest.approx(two, rel=1e-9), epoch
            if epoch < 19:
                mine.step()
                reference.step()


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_state_goes_on(name: str) -> None:
    first, second = (SCHEDULES[name](ours, ours_of()) for _ in range(2))
    for _ in range(5):
        first.step()
    second.load_state_dict(first.state_dict())
    for _ in range(6):
        assert second.get_last_lr() == first.get_last_lr() and second.last_epoch == first.last_epoch
        first.step()
        second.step()


@pytest.mark.parametrize(
    "make",
    [
        lambda m, o, n: m.StepLR(o, 3, 0.5, last_epoch=n),
        lambda m, o, n: m.LinearLR(o, 0.25, 0.75, 9, last_epoch=n),
        lambda m, o, n: m.LambdaLR(o, lambda e: 0.9**e, last_epoch=n),
        lambda m, o, n: m.MultiplicativeLR(o, lambda e: 0.9, last_epoch=n),
        lambda m, o, n: m.CosineAnnealingLR(o, 8, 0.1, last_epoch=n),
    ],
)
def test_a_new_schedule_goes_on_from_an_epoch(make: Callable[[Any, Any, int], Any]) -> None:
    own, other = ours_of(), theirs_of()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mine, reference = make(ours, own, -1), make(theirs, other, -1)
        for _ in range(4):
            mine.step()
            reference.step()
        mine, reference = make(ours, own, 3), make(theirs, other, 3)
        for _ in range(3):
            assert mine.get_last_lr() == pytest.approx(reference.get_last_lr(), rel=1e-9)
            assert mine.last_epoch == reference.last_epoch
            mine.step()
            reference.step()


@pytest.mark.parametrize(
    "name",
    ["step", "multistep", "linear", "exponential", "cosine", "longer restarts", "cyclic", "one cycle", "sequence"],
)
def test_a_compiled_step_may_move_them(name: str) -> None:
    """One graph for all epochs but the first, and the rates of eager steps."""
    change = {"cyclic": {"cycle_momentum": False}, "one cycle": {"cycle_momentum": False}}.get(name, {})
    make: dict[str, Any] = {"cyclic": lambda o: ours.CyclicLR(o, 0.1, 0.5, 3, 5, **change)}
    make["one cycle"] = lambda o: ours.OneCycleLR(o, 0.5, 20, **change)
    of = make.get(name, lambda o: SCHEDULES[name](ours, o))
    eager, own = of(ours_of()), ours_of()
    scheduler = of(own)

    @wf.compile
    def step() -> Any:
        for group in own.param_groups:
            group["params"][0].grad = wf.ones((1,))
        own.step()
        scheduler.step()

    for _ in range(9):
        step()
        eager.step()
        assert scheduler.get_last_lr() == pytest.approx(eager.get_last_lr(), rel=1e-12)
    assert len(step.cache_info().graphs) <= 2


def test_restarts_may_be_told_the_epoch() -> None:
    own, other = ours_of(), theirs_of()
    mine, reference = ours.CosineAnnealingWarmRestarts(own, 3, 2), theirs.CosineAnnealingWarmRestarts(other, 3, 2)
    for epoch in (0.5, 2.75, 3.0, 8.5, 9.0, 20.25, 1.0):
        mine.step(epoch)
        reference.step(epoch)
        assert mine.get_last_lr() == pytest.approx(reference.get_last_lr(), rel=1e-9)
        assert mine.last_epoch == reference.last_epoch


METRICS = [1.0, 0.9, 0.95, 0.91, 0.9, 0.2, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.1, 0.1, 0.1, 0.1, 0.1]


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize("cooldown", [0, 2])
def test_a_plateau_lowers_the_rate(mode: str, threshold_mode: str, cooldown: int) -> None:
    options: dict[str, Any] = {"factor": 0.5, "patience": 2, "threshold": 0.05, "min_lr": [0.05, 0.01]}
    options |= {"mode": mode, "threshold_mode": threshold_mode, "cooldown": cooldown}
    own, other = ours_of(), theirs_of()
    mine, reference = ours.ReduceLROnPlateau(own, **options), theirs.ReduceLROnPlateau(other, **options)
    for number, metric in enumerate(METRICS):
        mine.step(wf.asarray(metric) if number % 2 else metric)
        reference.step(metric)
        assert mine.get_last_lr() == pytest.approx(reference.get_last_lr(), rel=1e-6)
        assert (mine.num_bad_epochs, mine.in_cooldown) == (reference.num_bad_epochs, reference.in_cooldown)
        if number == 7:
            again = ours.ReduceLROnPlateau(own, **options)
            again.load_state_dict(mine.state_dict())
            mine = again


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda o: ours.ConstantLR(o, 2.0), "factor is 2.0"),
        (lambda o: ours.LinearLR(o, 0.0), "start_factor is 0.0"),
        (lambda o: ours.LinearLR(o, 0.5, 3.0), "end_factor is 3.0"),
        (lambda o: ours.ReduceLROnPlateau(o, factor=1.0), "factor is 1.0"),
        (lambda o: ours.ReduceLROnPlateau(o, mode="best"), "mode is 'best'"),
        (lambda o: ours.ReduceLROnPlateau(o, threshold_mode="x"), "threshold_mode is 'x'"),
        (lambda o: ours.ReduceLROnPlateau(o, min_lr=[0.1]), "min_lr has 1 values for 2 parameter groups"),
        (lambda o: ours.CosineAnnealingWarmRestarts(o, 0), "T_0 is 0"),
        (lambda o: ours.CosineAnnealingWarmRestarts(o, 2, 0), "T_mult is 0"),
        (lambda o: ours.CosineAnnealingWarmRestarts(o, 2).step(-1), "epoch is -1"),
        (lambda o: ours.CyclicLR(o, 0.1, 0.5, mode="x"), "mode is 'x'"),
        (lambda o: ours.CyclicLR(o, 0.1, 0.5, scale_mode="x"), "scale_mode is 'x'"),
        (lambda o: ours.CyclicLR(o, [0.1], 0.5), "base_lr has 1 values"),
        (lambda o: ours.OneCycleLR(o, 0.5), "wants total_steps"),
        (lambda o: ours.OneCycleLR(o, 0.5, 0), "0 steps"),
        (lambda o: ours.OneCycleLR(o, 0.5, 9, pct_start=2.0), "pct_start is 2.0"),
        (lambda o: ours.OneCycleLR(o, 0.5, 9, anneal_strategy="x"), "anneal_strategy is 'x'"),
        (lambda o: [s.step() for s in [ours.OneCycleLR(o, 0.5, 2)] * 3], "step 3 of a schedule of 2 steps"),
        (lambda o: ours.SequentialLR(o, [], []), "there are no schedulers"),
        (lambda o: ours.SequentialLR(o, [ours.StepLR(o, 1)], [3]), "milestones are"),
        (lambda o: ours.SequentialLR(o, [ours.StepLR(ours_of(), 1)], []), "of another optimizer"),
        (lambda o: ours.ChainedScheduler([ours.ReduceLROnPlateau(o)], o), "which has no rate of its own"),
        (lambda o: ours.StepLR(ours_of(), 1, last_epoch=3), "has no 'initial_lr' to go on from"),
    ],
)
def test_misuse(make: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(wf.ArgumentError, match=message):
        make(ours_of())
