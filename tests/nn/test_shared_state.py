"""Modules' state is shared memory: what is written through a state dict, a view or data is the model's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn, optim


class Running(nn.Module):
    """Running statistics as batch norm keeps them: two averages and a count."""

    running_mean: wf.Tensor
    running_var: wf.Tensor
    count: wf.Tensor

    def __init__(self, size: int):
        super().__init__()
        self.register_buffer("running_mean", wf.zeros((size,)))
        self.register_buffer("running_var", wf.ones((size,)))
        self.register_buffer("count", wf.tensor(0))

    def forward(self, x: wf.Tensor) -> wf.Tensor:
        mean, var = x.mean(0), x.var(0)
        with wf.no_grad():
            self.running_mean.mul_(0.9).add_(mean, alpha=0.1)
            self.running_var += 0.1 * (var - self.running_var)
            self.count += 1
        return (x - mean) / (var + 1e-5).sqrt()


def make() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), Running(3), nn.Linear(3, 2))


def weights(module: nn.Module) -> dict[str, Any]:
    return {name: value.numpy().copy() for name, value in module.state_dict().items()}


WAYS = {"eager": lambda run: run, "captured": lambda run: wf.compile(run)}
eager_and_captured = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
Way = Callable[[Callable[[], None]], Callable[[], None]]


@eager_and_captured
def test_weights_are_loaded_by_copying_into_the_state_dict(way: Way) -> None:
    """nanoGPT's and minGPT's from_pretrained."""
    module, source = make(), make()
    with wf.no_grad():
        for p in source.parameters():
            p.add_(1.0)
    given = source.state_dict()

    def load() -> None:
        state = module.state_dict()
        for key in state:
            with wf.no_grad():
                state[key].copy_(given[key])

    way(load)()
    for key, value in weights(source).items():
        np.testing.assert_array_equal(module.state_dict()[key].numpy(), value)
    assert all(p.requires_grad and p.is_leaf for p in module.parameters())


def test_a_state_dict_shows_later_changes_and_keeps_none_of_its_own() -> None:
    module = make()
    state = module.state_dict()
    assert not any(value.requires_grad for value in state.values())
    with wf.no_grad():
        module[0].weight.fill_(2.0)
    assert state["0.weight"].tolist() == [[2.0, 2.0]] * 3
    state["0.weight"][0].zero_()
    state["0.bias"] += 1.0
    assert module[0].weight.tolist() == [[0.0, 0.0], [2.0, 2.0], [2.0, 2.0]]
    kept = {key: value.clone() for key, value in state.items()}
    module[0].weight.data.mul_(3.0)
    assert kept["0.weight"].tolist() == [[0.0, 0.0], [2.0, 2.0], [2.0, 2.0]]


@eager_and_captured
def test_parts_of_parameters_are_written(way: Way) -> None:
    module = nn.Linear(3, 4)
    held = module.weight.detach()

    def write() -> None:
        with wf.no_grad():
            module.weight.fill_(1.0)
            module.weight[0].zero_()
            module.weight[:, 2] = 5.0
            module.weight.view(-1)[3:5].mul_(2.0)
            module.weight.T[1].add_(1.0)
        nn.init.zeros_(module.weight[2:])
        nn.init.constant_(module.bias[:2], 3.0)
        module.bias.data[2:] = 4.0

    way(write)()
    expected = [[0.0, 1.0, 5.0], [2.0, 3.0, 5.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    assert module.weight.tolist() == held.tolist() == expected
    assert module.bias.tolist() == [3.0, 3.0, 4.0, 4.0]


@pytest.mark.parametrize("name", ["uniform_", "normal_", "xavier_uniform_", "kaiming_normal_", "orthogonal_", "eye_"])
def test_initialisers_write_into_what_they_are_given(name: str) -> None:
    if not hasattr(nn.init, name):
        pytest.skip(f"nn.init has no {name}")
    whole = wf.full((4, 4), 7.0)
    initialise = getattr(nn.init, name)
    part = whole[:2, 1:]
    assert initialise(part) is part
    assert (whole[2:] == 7).all() and (whole[:, 0] == 7).all()
    assert not (whole[:2, 1:] == 7).any()


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "SGD": lambda p: optim.SGD(p, lr=0.1),
    "SGD momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "Adam": lambda p: optim.Adam(p, lr=0.1),
    "AdamW": lambda p: optim.AdamW(p, lr=0.1),
}


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "captured"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_step_of_an_optimizer_is_seen_by_whoever_shares_the_weights(
    optimizer: Callable[[Any], Any], compiled: bool
) -> None:
    module = nn.Linear(3, 2)
    opt = optimizer(module.parameters())
    state, array, row, tied = module.state_dict(), module.weight.numpy(), module.weight.detach()[1], nn.Linear(3, 2)
    tied.weight = module.weight
    x = wf.ones((4, 3))

    def step() -> wf.Tensor:
        loss = (module(x) ** 2).sum()
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    run = wf.compile(step) if compiled else step
    for _ in range(3):
        before = array.copy()
        run()
        assert (array != before).all()
        now = module.weight.numpy()
        for seen in (array, state["weight"].numpy(), tied.weight.numpy()):
            np.testing.assert_array_equal(seen, now)
        np.testing.assert_array_equal(row.numpy(), now[1])


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "captured"])
def test_running_statistics_are_written_in_place(compiled: bool) -> None:
    norm = Running(3)
    held, array = norm.running_mean[:2], norm.running_var.numpy()
    run = wf.compile(norm) if compiled else norm
    x = wf.tensor(np.arange(12.0, dtype=np.float32).reshape(4, 3))
    for _ in range(2):
        run(x)
        assert held.tolist() == norm.running_mean[:2].tolist() != [0.0, 0.0]
        np.testing.assert_array_equal(array, norm.running_var.numpy())
        assert (array != 1).all()
    assert norm.count.item() == 2


def test_loading_writes_into_the_parameters_that_are_there() -> None:
    module, source = make(), make()
    held = module[0].weight.detach()
    module.load_state_dict(source.state_dict())
    assert held.tolist() == source[0].weight.tolist()
    with wf.no_grad():
        source[0].weight.zero_()
    assert held.tolist() == module[0].weight.tolist() != source[0].weight.tolist()


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "captured"])
def test_tied_weights_are_one_memory(compiled: bool) -> None:
    """A parameter under two names, and a view of one as another module's weight."""
    table, head = nn.Embedding(4, 3), nn.Linear(3, 4, bias=False)
    head.weight = table.weight
    opt = optim.SGD(head.parameters(), lr=0.5)

    def step() -> wf.Tensor:
        opt.zero_grad()
        loss = head(table(wf.asarray([0, 2]))).sum()
        loss.backward()
        opt.step()
        return loss

    run = wf.compile(step) if compiled else step
    for _ in range(2):
        run()
        assert head.weight is table.weight
        assert head.state_dict()["weight"].tolist() == table.state_dict()["weight"].tolist()


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "captured"])
def test_an_average_of_the_weights_is_kept(compiled: bool) -> None:
    """Exponential moving averages, and a copy of the weights that is put back."""
    module = nn.Linear(2, 2)
    average = {key: value.clone() for key, value in module.state_dict().items()}
    before = {key: value.numpy().copy() for key, value in average.items()}

    def update() -> None:
        with wf.no_grad():
            for key, value in module.state_dict().items():
                average[key].mul_(0.5).add_(value, alpha=0.5)

    with wf.no_grad():
        for p in module.parameters():
            p.add_(1.0)
    (wf.compile(update) if compiled else update)()
    for key, value in average.items():
        np.testing.assert_allclose(value.numpy(), before[key] + 0.5, rtol=1e-5, atol=1e-6)


def test_gradients_are_clipped_and_scaled_in_place() -> None:
    module = nn.Linear(2, 2)
    module(wf.ones((3, 2))).sum().backward()
    held = module.weight.grad
    for p in module.parameters():
        p.grad.mul_(0.5)
        p.grad.data.clamp_(-1.0, 1.0)
    assert held is module.weight.grad and held.tolist() == [[1.0, 1.0], [1.0, 1.0]]
