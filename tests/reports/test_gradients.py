"""Gradients and random numbers of compiled code are those of eager code."""

from __future__ import annotations

from typing import Any

import pytest
from reported import Case, Reports, check, data, raised

import weft as wf
from weft import nn
from weft.nn import functional as F

report = Reports()

NOT_YET: dict[str, str | int] = {}
KNOWN_WRONG: dict[str, str] = {}


@report("pytorch/pytorch#176854")
def detach_in_place(compiled: Any) -> Any:
    """After ``y.detach_()`` nothing flows through y."""

    @compiled
    def run(x: Any) -> Any:
        y = x * 2.0
        y.detach_()
        return y + x, wf.asarray(y.requires_grad)

    found = []
    for n in range(2):
        x = data(4, seed=n).requires_grad_(True)
        z, needs = run(x)
        z.sum().backward()
        found += [z, needs, x.grad]
    return found


@report("pytorch/pytorch#158561")
def a_copy_into_what_needs_no_gradient(compiled: Any) -> Any:
    """``copy_`` into rows of a buffer, under ``no_grad`` and outside of it."""
    buffer = wf.zeros((3, 2))
    w = data(2, 2).requires_grad_(True)

    @compiled
    def run(x: Any) -> Any:
        with wf.no_grad():
            buffer[1].copy_(x @ w)
        return (buffer + x @ w).sum()

    found = []
    for n in range(2):
        w.grad = None
        loss = run(data(2, seed=n))
        loss.backward()
        found += [loss, buffer, w.grad.clone()]
    return found


@report("pytorch/pytorch#99616")
def ways_through_a_module_with_detach_and_no_grad(compiled: Any) -> Any:
    """An argument chooses which heads run; prototypes are cloned and detached."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.head, self.proj = nn.Linear(4, 4), nn.Linear(4, 2), nn.Linear(4, 3)
            self.prototypes = nn.Parameter(data(5, 3))

        def forward(self, x: Any, way: str = "all", sharpen: bool = True) -> Any:
            features = self.backbone(x)
            if way == "head":
                return (self.head(features),)
            q = self.proj(features)
            q = q / wf.linalg.vector_norm(q, axis=1, keepdims=True)
            logits = q @ self.prototypes.clone().detach().T
            with wf.no_grad():
                target = F.softmax(logits / 0.1, axis=-1)
            if sharpen:
                logits = logits / 0.3
            return logits, target * 1.0

    net = Net()
    run, found = compiled(net), []
    for way, sharpen in (("head", True), ("all", True), ("all", False), ("head", True)):
        net.zero_grad()
        outputs = run(data(3, 4), way, sharpen=sharpen)
        sum((out * out).sum() for out in outputs).backward()
        found += [outputs, [None if p.grad is None else p.grad.clone() for p in net.parameters()]]
    return found


@report("pytorch/pytorch#114338")
def equal_results_of_which_one_needs_a_gradient(compiled: Any) -> Any:
    """``x + 1`` under ``enable_grad`` and outside of it are two tensors."""

    @compiled
    def run(x: Any) -> Any:
        with wf.enable_grad():
            a = x + 1.0
        return a, x + 1.0

    found = []
    for grad in (False, True, False):
        x = data(3).requires_grad_(True)
        with wf.set_grad_enabled(grad):
            a, b = run(x)
        found += [a is b, a, b]
    return found


@report("pytorch/pytorch#185497")
def an_argument_that_is_normalised_in_place_after_a_read(compiled: Any) -> Any:
    """What a product has read is written afterwards: the same gradients, or the same error."""

    def backward(run: Any, seed: int) -> Any:
        base = data(3, 4, seed=seed).requires_grad_(True)
        mean, std = data(3, 1, seed=1).requires_grad_(True), (data(3, 1, seed=2).abs() + 0.5).requires_grad_(True)
        x = base * 1.0
        y, z = run(x, mean, std)
        (y.sum() + z.sum()).backward()
        return [y, z, base.grad, mean.grad, std.grad]

    @compiled
    def linear(x: Any, mean: Any, std: Any) -> Any:
        y = x[:, :2] * 0.5 + x[:, 2:] * 0.5
        x.sub_(mean).div_(std)
        return y, x

    return [backward(linear, n) for n in range(2)]


@report("pytorch/pytorch#104943")
def what_backward_needs_is_written(compiled: Any) -> Any:
    """``y = x.tanh(); y.mul_(2)``: eager code says so at backward, compiled code as well."""

    @compiled
    def run(x: Any) -> Any:
        y = wf.tanh(x)
        y.mul_(2.0)
        return y

    found = []
    for n in range(2):
        x = data(3, seed=n).requires_grad_(True)

        def both(x: Any = x) -> Any:
            run(x).sum().backward()
            return x.grad

        error = raised(both)
        found.append(error.split("\n")[0] if isinstance(error, str) else error)
    return found


@report("pytorch/pytorch#111745")
def a_mode_that_forward_sets(compiled: Any) -> Any:
    """``forward`` puts a layer of its own into evaluation, then back."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.lin = nn.Dropout(0.5), nn.Linear(3, 3)

        def forward(self, x: Any) -> Any:
            self.drop.eval()
            y = self.drop(self.lin(x))
            self.drop.train()
            return self.drop(y)

    net = Net()
    run = compiled(net)
    return [[run(data(2, 3)), net.drop.training] for _ in range(3)]


@report("pytorch/pytorch#141557", "pytorch/pytorch#118735")
def dropout_after_a_seed(compiled: Any) -> Any:
    """The same seed before each call: the same mask, eager and compiled."""

    @compiled
    def run(x: Any) -> Any:
        return F.dropout(x, 0.5)

    found = []
    for _ in range(3):
        wf.manual_seed(0)
        found += [run(wf.ones(16)), wf.random.uniform((2,))]
    return found


@report("pytorch/pytorch#142853")
def a_seed_in_forward(compiled: Any) -> Any:
    """``manual_seed`` in the function takes effect at every call."""

    @compiled
    def run(x: Any) -> Any:
        wf.manual_seed(3)
        return F.dropout(x, 0.5)

    return [[run(wf.ones(16)), wf.random.uniform((2,))] for _ in range(3)]


@report("pytorch/pytorch#158643")
def dropout_and_relu_in_place(compiled: Any) -> Any:
    """In training: masks of compiled calls and of eager calls in turns are one stream."""
    net = nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.3), nn.Linear(16, 3))

    @compiled
    def run(x: Any) -> Any:
        return net[2](net[1](net[0](x)).relu_()).sum()

    found = []
    for n in range(3):
        net.zero_grad()
        loss = run(data(2, 4, seed=n))
        loss.backward()
        found += [loss, net[0].weight.grad.clone(), F.dropout(wf.ones(8), 0.5)]
    return found


@report("pytorch/pytorch#141645", "google/objax#208")
def random_tensors_at_every_call(compiled: Any) -> Any:
    """Numbers drawn inside are others at every call, and eager code's."""

    @compiled
    def run(x: Any) -> Any:
        return x + wf.random.normal((3,)), wf.random.uniform((2,)), wf.random.permutation(5)

    return [run(data(3)) for _ in range(3)]


@report("pytorch/pytorch#192635")
def two_dropouts_that_do_not_meet(compiled: Any) -> Any:
    """Independent branches of other sizes draw their masks in the order of the source."""

    @compiled
    def run(encoder: Any, decoder: Any) -> Any:
        a = F.dropout(encoder, 0.5)
        b = F.dropout(decoder, 0.5)
        return a.sum(axis=0) * b, (a * a).sum()

    found = []
    for n in range(3):
        x, y = data(64, 4, seed=n).requires_grad_(True), data(4, seed=n).requires_grad_(True)
        a, b = run(x, y)
        (a.sum() + b).backward()
        found += [a, b, x.grad, y.grad]
    return found


@report("Farama-Foundation/Jumpy#29")
def a_generator_of_ones_own(compiled: Any) -> Any:
    """A generator that is an attribute is moved on by compiled calls."""
    generator = wf.random.Generator(5)

    @compiled
    def run(x: Any) -> Any:
        return x * generator.uniform((3,))

    found = [run(data(3)) for _ in range(3)]
    return [*found, generator.uniform((2,))]


@report("pytorch/pytorch#180771")
def gradients_of_what_was_partly_overwritten(compiled: Any) -> Any:
    """Places that were overwritten have no gradient; the others have theirs."""

    @compiled
    def run(x: Any, y: Any) -> Any:
        z = x * 1.0
        z[:2] = y
        z[1:4] *= 3.0
        return (z * z).sum()

    found = []
    for n in (5, 6, 9):
        x, y = data(n).requires_grad_(True), data(2, seed=1).requires_grad_(True)
        run(x, y).backward()
        found += [x.grad, y.grad]
    return found


@report("pytorch/pytorch#183603", "pytorch/pytorch#181581", "pytorch/pytorch#91469")
def a_second_gradient_around_a_first_one(compiled: Any) -> Any:
    """The function returns a gradient; its caller differentiates that, twice."""

    @compiled
    def run(x: Any) -> Any:
        return wf.grad(lambda t: (t**4).sum())(x)

    found = []
    for n in range(2):
        x = data(4, seed=n).requires_grad_(True)
        g = run(x)
        g.sum().backward(create_graph=True)
        first = x.grad
        x.grad = None
        first.sum().backward()
        found += [g.detach(), first.detach(), x.grad]
    return found


@report("pytorch/pytorch#91542", "pytorch/pytorch#97745")
def two_networks_that_share_a_tensor(compiled: Any) -> Any:
    """A discriminator sees a generator's output detached, then attached; each backward reaches whom it should."""
    g = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    d = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    make, judge, found = compiled(g), compiled(d), []
    for n in (2, 2, 5):
        for net in (g, d):
            net.zero_grad()
        fake = make(data(n, 2))
        judge(fake.detach()).mean().backward()
        found.append([None if p.grad is None else p.grad.clone() for net in (g, d) for p in net.parameters()])
        judge(fake).mean().backward()
        found.append([p.grad.clone() for net in (g, d) for p in net.parameters()])
    return found


@report("pytorch/pytorch#91542")
def two_backward_passes_through_one_call(compiled: Any) -> Any:
    """``retain_graph`` lets a second pass run; without it the second one is eager code's error."""
    net = nn.Linear(3, 2)
    run, found = compiled(net), []
    for retain in (True, False, True):
        net.zero_grad()
        loss = (run(data(2, 3)) ** 2).sum()
        loss.backward(retain_graph=retain)
        error = raised(loss.backward)
        found += [error.split("\n")[0] if isinstance(error, str) else error, net.weight.grad.clone()]
    return found


@pytest.mark.parametrize("case", report.cases(NOT_YET, KNOWN_WRONG))
def test_gradients_and_random_numbers_are_those_of_eager_code(case: Case) -> None:
    check(case)
