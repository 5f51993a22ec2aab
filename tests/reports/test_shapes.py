"""Sizes and numbers that change from call to call: the bits of eager code, and few captures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reported import Case, Reports, check, data, raised

import weft as wf
from weft import nn, optim
from weft.nn import functional as F

report = Reports()

NOT_YET: dict[str, str | int] = {
    "strided_memory_that_is_reshaped": 4,
}
KNOWN_WRONG: dict[str, str] = {}


@report("pytorch/pytorch#116493", captures=2)
def differences_along_the_last_axis(compiled: Any) -> Any:
    """A function that asks for neighbours works for the shapes after the first one."""

    @compiled
    def run(x: Any) -> Any:
        return (x[..., 1:] - x[..., :-1]).sum(axis=-1)

    return [run(data(n, m)) for n, m in ((3, 4), (5, 6), (7, 3), (9, 33))]


@report("pytorch/pytorch#172693", captures=2)
def strided_memory_that_is_reshaped(compiled: Any) -> Any:
    """An argument that is every second column, of any size, flattened."""

    @compiled
    def run(x: Any) -> Any:
        return x.reshape(-1) * 2.0

    return [run(data(n, 8)[:, ::2]) for n in (3, 5, 6, 7)]


@report("pytorch/pytorch#172822", captures=2)
def gradients_of_gradients_through_layer_norm(compiled: Any) -> Any:
    """Forces are gradients of an energy, and the loss differentiates them, for any batch."""
    net = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 1))
    run = compiled(lambda x: net(x).sum())
    found = []
    for n in (3, 5, 6, 8):
        x = data(n, 4).requires_grad_(True)
        net.zero_grad()
        run(x).backward(create_graph=True)
        force = x.grad
        x.grad = None
        (force * force).sum().backward()
        found += [force.detach(), x.grad, net[0].weight.grad.clone()]
    return found


@report("pytorch/pytorch#106067")
def sizes_zero_and_one_of_what_is_not_read(compiled: Any) -> Any:
    """An argument that is not used has 0, 1, 2 rows."""

    @compiled
    def run(x: Any, y: Any) -> Any:
        return y + 2.0

    return [run(data(n), data(2)) for n in (0, 2, 1, 5, 0)]


@report("pytorch/pytorch#186893", "pytorch/pytorch#172822")
def a_batch_of_one_first(compiled: Any) -> Any:
    """Size one, then others, then one again: nothing of what broadcasting did to one remains."""

    @compiled
    def run(x: Any, y: Any) -> Any:
        return (x * y).sum(axis=0) / x.shape[0]

    return [run(data(n, 3), data(m, 3, seed=1)) for n, m in ((1, 4), (4, 4), (2, 1), (1, 1), (6, 6), (1, 6))]


@report("pytorch/pytorch#145587", captures=2)
def a_size_as_a_factor(compiled: Any) -> Any:
    """``a.shape[0] * a * b``."""

    @compiled
    def run(a: Any, b: Any) -> Any:
        return a.shape[0] * a * b

    return [run(data(n, 3), data(n, 3, seed=1)) for n in (4, 8, 5, 4, 10)]


@report("pytorch/pytorch#156720", captures=2)
def a_shape_that_is_passed_as_numbers(compiled: Any) -> Any:
    """``view`` to sizes computed from the argument's."""

    @compiled
    def run(x: Any) -> Any:
        n, m = x.shape
        return x.view(n // 2, 2, m).sum(axis=1)

    return [run(data(n, 3)) for n in (4, 6, 8, 20)]


@report("pytorch/pytorch#105279", "pytorch/pytorch#96469", captures=2)
def the_last_batch_of_an_epoch(compiled: Any) -> Any:
    """Batches of 32 and one of 21, for three epochs, a training step each."""
    net = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    opt = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

    @compiled
    def step(x: Any, y: Any) -> Any:
        opt.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        opt.step()
        return loss

    found = []
    for n in (32, 32, 21) * 3:
        y = wf.asarray(np.random.default_rng(n).integers(0, 3, n))
        found.append(step(data(n, 5), y).detach())
    return [found, list(net.parameters())]


@report("pytorch/pytorch#117106", captures=2)
def prompts_of_many_lengths(compiled: Any) -> Any:
    """Attention with a causal mask over prompts of other lengths each."""
    proj = nn.Linear(8, 24)

    @compiled
    def attend(x: Any) -> Any:
        q, k, v = wf.chunk(proj(x), 3, axis=-1)
        n = x.shape[0]
        mask = wf.arange(n)[:, None] >= wf.arange(n)[None, :]
        return F.softmax(wf.where(mask, q @ k.mT, -1e9), axis=-1) @ v

    return [attend(data(n, 8)) for n in (5, 7, 3, 12, 20, 4, 33)]


@report("huggingface/accelerate#3543", "huggingface/transformers#40328", captures=3)
def a_cache_that_grows_by_concatenation(compiled: Any) -> Any:
    """Keys are a token longer at every step; the first step has the whole prompt."""

    @compiled
    def step(cache: Any, x: Any) -> Any:
        cache = wf.concat([cache, x], axis=0)
        return cache, F.softmax(x @ cache.mT, axis=-1) @ cache

    cache, found = data(4, 6), []
    for n in range(12):
        cache, y = step(cache, data(1, 6, seed=n))
        found.append(y)
    return found


@report("meta-pytorch/torchtune#1663", captures=2)
def a_cache_whose_length_is_an_attribute(compiled: Any) -> Any:
    """A cache of fixed size writes at a position that Python counts outside."""

    class Cache:
        size, table = 0, wf.zeros((8, 3))

    cache = Cache()
    cache.table = wf.zeros((8, 3))

    @compiled
    def step(x: Any, at: Any) -> Any:
        cache.table[at] = x
        return cache.table.sum(axis=0)

    found = []
    for n in range(6):
        found.append(step(data(3, seed=n), wf.asarray(cache.size)))
        cache.size += 1
    return [*found, cache.table]


@report("pytorch/pytorch#138908")
def rows_that_are_added_to_by_an_index_that_repeats(compiled: Any) -> Any:
    """``y[x] += y[x]`` with a row twice in the index doubles it once."""

    @compiled
    def run(x: Any, y: Any) -> Any:
        x = x + 10
        y[x] += y[x]

    y = data(2, 5)
    for index in ([[-10, -10]], [[-10, -9]], [[-9, -9]]):
        run(wf.asarray(index), y)
    return y


@report("pytorch/pytorch#152425")
def an_expanded_tensor_that_is_written(compiled: Any) -> Any:
    """A row of an expanded number is one number: what eager code says to a write there."""

    @compiled
    def run(x: Any, n: int) -> Any:
        a = x.expand(n)
        a[-1] = 3.0
        return a

    return [raised(run, data(1), n) for n in (2, 4)]


@report("pytorch/pytorch#198364")
def layouts_of_results(compiled: Any) -> Any:
    """What comes from transposed operands has the strides of eager code."""
    ops = (
        lambda a, b: wf.copysign(a, b - 1.5),
        lambda a, b: wf.floor_divide(a, b),
        lambda a, b: a * b,
        lambda a, b: a.mT,
        lambda a, b: wf.where(a > 0, a, b),
    )
    found = []
    for op in ops:
        run = compiled(op)
        for n in (6, 4):
            y = run(data(n, 5).mT, data(5, n, seed=1) + 2.0)
            found += [y, list(y.stride()), y.is_contiguous()]
    return found


@report("pytorch/pytorch#149405", captures=2)
def a_float_argument_that_changes(compiled: Any) -> Any:
    """``x * y`` with another Python float at every call."""

    @compiled
    def run(x: Any, y: float) -> Any:
        return x * y

    return [run(data(3), 1.5 + n) for n in range(8)]


@report("pytorch/pytorch#171320", captures=2)
def arithmetic_of_float_arguments(compiled: Any) -> Any:
    """``p * (a * b)``: the product of two Python floats, one of which grows."""

    @compiled
    def run(p: Any, a: float, b: float) -> Any:
        return p.mul_(p * (a * b))

    p, a = data(10), 0.0
    for _ in range(8):
        a += 0.01
        run(p, a, 1.0)
    return p


@report("tensorflow/tensorflow#24726", captures=2)
def an_int_argument_that_changes(compiled: Any) -> Any:
    """Squares of Python ints, and of NumPy ints."""

    @compiled
    def run(x: Any, n: Any) -> Any:
        return x + n * n

    return [run(data(2), n) for n in (2, 3, 5, 7, 11)]


@report("pytorch/pytorch#130467", captures=2)
def a_learning_rate_that_a_scheduler_changes(compiled: Any) -> Any:
    """The step is compiled, the scheduler runs outside."""
    net = nn.Linear(3, 1)
    opt = optim.SGD(net.parameters(), lr=0.1)
    scheduler = optim.lr_scheduler.StepLR(opt, step_size=1, gamma=0.5)

    @compiled
    def step(x: Any) -> Any:
        opt.zero_grad()
        loss = net(x).sum()
        loss.backward()
        opt.step()
        return loss

    found = []
    for _ in range(6):
        found.append(step(data(2, 3)).detach())
        scheduler.step()
        found.append(opt.param_groups[0]["lr"])
    return [*found, net.weight]


@report("pytorch/pytorch#133898", "pytorch/pytorch#163093", captures=2)
def a_scheduler_in_the_compiled_step(compiled: Any) -> Any:
    """``opt.step()`` and ``scheduler.step()`` in one compiled function; betas change too."""
    net = nn.Linear(3, 1)
    opt = optim.AdamW(net.parameters(), lr=0.01)
    scheduler = optim.lr_scheduler.LambdaLR(opt, lambda n: 0.9**n)

    @compiled
    def step(x: Any) -> Any:
        opt.zero_grad()
        loss = net(x).sum()
        loss.backward()
        opt.step()
        scheduler.step()
        return loss

    found = []
    for _ in range(5):
        found += [step(data(2, 3)).detach(), opt.param_groups[0]["lr"]]
    return [*found, net.weight]


@report("pytorch/pytorch#136605")
def ragged_sizes_that_are_zero_now_and_then(compiled: Any) -> Any:
    """Three arguments of sizes between 0 and many, any of which may be 0 or 1."""

    @compiled
    def run(a: Any, b: Any, c: Any) -> Any:
        return wf.concat([a * 2.0, b, c - 1.0], axis=0).sum(axis=0)

    sizes = ((4, 3, 2), (5, 0, 3), (0, 0, 1), (6, 1, 0), (1, 7, 9), (0, 0, 0))
    return [run(*(data(n, 2, seed=i) for i, n in enumerate(each))) for each in sizes]


@report("pytorch/pytorch#154757")
def matrix_products_of_reshaped_sizes(compiled: Any) -> Any:
    """``x.reshape(-1, m, k) @ y.reshape(-1, k, n)`` where all of them change."""

    @compiled
    def run(x: Any, y: Any) -> Any:
        b, m, k, n = x.shape[0], x.shape[1], y.shape[1], y.shape[2]
        return F.relu(x.reshape(-1, m, k) @ y.reshape(b, k, n))

    return [
        run(data(b, m, k), data(b, k, n)) for b, m, k, n in ((2, 3, 4, 5), (3, 3, 5, 5), (2, 6, 4, 7), (5, 5, 5, 5))
    ]


@pytest.mark.parametrize("case", report.cases(NOT_YET, KNOWN_WRONG))
def test_sizes_and_numbers_may_change(case: Case) -> None:
    check(case)
