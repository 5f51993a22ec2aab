"""Schedules: the rates are their formulas; a compiled step follows them; a loaded one goes on."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest

import weft as wf
from weft import nn, optim
from weft.optim import lr_scheduler


def optimizer() -> optim.Optimizer:
    groups: list[Any] = [
        {"params": [nn.Parameter(wf.zeros((1,)))]},
        {"params": [nn.Parameter(wf.zeros((1,)))], "lr": 0.4},
    ]
    return optim.SGD(groups, lr=0.8)


SCHEDULES: list[tuple[Any, Any]] = [
    (lambda o: lr_scheduler.StepLR(o, 2, 0.5), lambda base, e: base * 0.5 ** (e // 2)),
    (lambda o: lr_scheduler.LambdaLR(o, lambda e: 1 / (e + 1)), lambda base, e: base / (e + 1)),
    (lambda o: lr_scheduler.LambdaLR(o, [lambda e: 0.9**e, lambda e: 0.9**e]), lambda base, e: base * 0.9**e),
    (
        lambda o: lr_scheduler.CosineAnnealingLR(o, 4, 0.1),
        lambda base, e: 0.1 + (base - 0.1) * (1 + math.cos(math.pi * e / 4)) / 2,
    ),
]


@pytest.mark.parametrize(("make", "rate"), SCHEDULES)
def test_rates(make: Any, rate: Any) -> None:
    opt = optimizer()
    scheduler = make(opt)
    for epoch in range(6):
        assert scheduler.get_last_lr() == pytest.approx([rate(0.8, epoch), rate(0.4, epoch)])
        assert opt.param_groups[1]["lr"] == pytest.approx(rate(0.4, epoch))
        scheduler.step()


@pytest.mark.parametrize(("make", "rate"), SCHEDULES)
def test_a_loaded_schedule_goes_on(make: Any, rate: Any) -> None:
    first, second = make(optimizer()), make(optimizer())
    for _ in range(3):
        first.step()
    second.load_state_dict(first.state_dict())
    assert second.get_last_lr() == first.get_last_lr() and second.last_epoch == 3


def test_a_compiled_step_follows_the_schedule() -> None:
    p = nn.Parameter(wf.zeros((1,)))
    opt = optim.SGD([p], lr=1.0)
    scheduler = lr_scheduler.StepLR(opt, 1, 0.5)

    @wf.compile
    def step() -> Any:
        p.grad = wf.ones((1,))
        opt.step()
        return p * 1.0

    seen = []
    for _ in range(3):
        seen.append(step().item())
        scheduler.step()
    assert seen == [-1.0, -1.5, -1.75] and len(step.cache_info().graphs) == 1


@pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside"])
@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_a_moving_momentum_compiles_nothing(kind: str, inside: bool) -> None:
    def train(mode: Any) -> tuple[Any, list[Any], Any]:
        p = nn.Parameter(wf.asarray([1.0, -2.0, 3.0]))
        options = {"momentum": 0.9, "nesterov": True} if kind == "SGD" else {}
        opt = getattr(optim, kind)([p], lr=0.1, weight_decay=0.1, **options)
        scheduler = lr_scheduler.OneCycleLR(opt, 0.5, total_steps=9)

        def step() -> wf.Tensor:
            opt.zero_grad()
            loss = (p * p).sum()
            loss.backward()
            opt.step()
            if inside:
                scheduler.step()
            return loss

        run, seen = mode(step), []
        for k in range(7):
            run()
            if not inside:
                scheduler.step()
            opt.param_groups[0]["weight_decay"] = 0.1 + 0.01 * k
            group = dict(opt.param_groups[0])
            seen.append((group.get("momentum"), group.get("betas"), group["lr"], p.numpy().tobytes()))
        return run, seen, opt

    _, eager, _ = train(lambda step: step)
    run, compiled, opt = train(wf.compile)
    assert compiled == eager
    assert len(run.cache_info().graphs) == (2 if inside else 1)  # the number of the epoch is known at run time alone
    saved = copy.deepcopy(opt.state_dict()["param_groups"][0])
    assert saved.get("betas") == eager[-1][1] and copy.copy(opt.param_groups[0])["lr"] == eager[-1][2]


def test_misuse() -> None:
    with pytest.raises(TypeError, match="optimizer is a int"):
        lr_scheduler.StepLR(3, 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="1 functions for 2 parameter groups"):
        lr_scheduler.LambdaLR(optimizer(), [lambda e: 1.0])
