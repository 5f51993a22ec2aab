"""Objects that compiled code uses: classes, methods, modules, optimizers, threads; what is patched or loaded later."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from reported import Case, Reports, check, data, raised

import weft as wf
from weft import nn, optim

report = Reports()

NOT_YET: dict[str, str | int] = {}
KNOWN_WRONG: dict[str, str] = {}


@report("pytorch/pytorch#176851", "pytorch/pytorch#177191")
def a_class_attribute(compiled: Any) -> Any:
    """A factor and a mode are attributes of a class that has no instance."""

    class Settings:
        factor = 1.0
        mode = "plain"

    @compiled
    def run(x: Any) -> Any:
        y = x * Settings.factor
        return y if Settings.mode == "plain" else -y

    found = [run(data(2))]
    Settings.factor = 10.0
    found.append(run(data(2)))
    Settings.mode = "negative"
    return [*found, run(data(2))]


@report("pytorch/pytorch#176599")
def a_property_with_a_setter(compiled: Any) -> Any:
    """The setter doubles, the getter adds one."""

    class Box:
        def __init__(self, v: float) -> None:
            self._v = v

        @property
        def value(self) -> float:
            return self._v + 1.0

        @value.setter
        def value(self, v: float) -> None:
            self._v = v * 2.0

    outer = Box(1.0)

    @compiled
    def run(x: Any) -> Any:
        box = Box(3.0)
        box.value = 5.0
        outer.value = outer.value
        return x + box.value + outer.value

    return [[run(data(2)), outer.value] for _ in range(3)]


@report("pytorch/pytorch#119719")
def a_property_that_reads_a_global(compiled: Any) -> Any:
    """What a property reads, through another object, changes."""

    class Inner:
        depth = 2

    class Config:
        inner = Inner()

        @property
        def scale(self) -> float:
            return 0.5**self.inner.depth

    config = Config()

    @compiled
    def run(x: Any) -> Any:
        return x * config.scale

    found = [run(data(2))]
    config.inner.depth = 3
    found.append(run(data(2)))
    config.inner = Inner()
    return [*found, run(data(2))]


@report("pytorch/pytorch#197860", "pytorch/pytorch#198124")
def the_code_of_a_method(compiled: Any) -> Any:
    """``Model.m.__code__`` is that of another function."""

    class Model:
        def m(self, x: Any) -> Any:
            return x * 2.0

    def second(self: Any, x: Any) -> Any:
        return x * 9.0

    model = Model()
    run = compiled(lambda x: model.m(x))
    found = [run(data(2))]
    Model.m.__code__ = second.__code__
    return [*found, run(data(2))]


@report("pytorch/pytorch#197860")
def a_method_that_is_replaced(compiled: Any) -> Any:
    """The class gets another method, then the instance one of its own."""

    class Model:
        def m(self, x: Any) -> Any:
            return x * 2.0

    model = Model()
    run = compiled(lambda x: model.m(x))
    found = [run(data(2))]
    Model.m = lambda self, x: x * 3.0  # type: ignore[method-assign]
    found.append(run(data(2)))
    model.m = lambda x: x * 5.0  # type: ignore[method-assign]
    return [*found, run(data(2))]


@report("pytorch/pytorch#100733", "pytorch/pytorch#131505")
def a_forward_that_is_patched_between_calls(compiled: Any) -> Any:
    """The forward of a layer is another function later, and its own again."""

    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    run = compiled(net)
    found = [run(data(2, 3))]
    net[1].forward = lambda x: x + 1.0  # type: ignore[method-assign]
    found.append(run(data(2, 3)))
    del net[1].forward
    return [*found, run(data(2, 3))]


@report("pytorch/pytorch#167400", "pytorch/pytorch#167406")
def a_forward_that_is_patched_in_the_function(compiled: Any) -> Any:
    """The function gives the module a new forward and calls it."""

    class Net(nn.Module):
        def forward(self, x: Any) -> Any:
            return x - 1.0

    net = Net()

    @compiled
    def run(x: Any, y: float) -> Any:
        def patch(x: Any) -> Any:
            return x + y

        net.forward = patch  # type: ignore[method-assign]
        return net(x)

    return [run(data(2), y) for y in (1.0, 2.0, 1.0)]


@report("pytorch/pytorch#120958")
def a_layer_that_is_added_and_removed(compiled: Any) -> Any:
    """A low-rank layer is attached to a linear one for some calls."""

    class Lora(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base, self.extra = nn.Linear(3, 3), None

        def forward(self, x: Any) -> Any:
            return self.base(x) if self.extra is None else self.base(x) + self.extra(x)

    net, extra = Lora(), nn.Linear(3, 3)
    run = compiled(net)
    found = [run(data(2, 3))]
    net.extra = extra
    found.append(run(data(2, 3)))
    net.extra = None
    found.append(run(data(2, 3)))
    net.extra = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
    return [*found, run(data(2, 3))]


@report("pytorch/pytorch#129362", "pytorch/pytorch#104984", "pytorch/xla#7608")
def weights_that_are_loaded(compiled: Any) -> Any:
    """``load_state_dict``, in evaluation and in training, and parameters that are replaced as objects."""
    net, other = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)), nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    run = compiled(net)
    net.eval()
    with wf.no_grad():
        found = [run(data(2, 3))]
    net.load_state_dict(other.state_dict())
    with wf.no_grad():
        found.append(run(data(2, 3)))
    net.train()
    found.append(run(data(2, 3)))
    net[0].weight = nn.Parameter(data(3, 3))
    found.append(run(data(2, 3)))
    net[0].bias.data = wf.ones(3)
    return [*found, run(data(2, 3)), list(net.state_dict())]


@report("sgl-project/sglang#30761")
def a_turned_view_of_weights_that_are_reloaded(compiled: Any) -> Any:
    """A module keeps the transpose of its weight as a plain attribute; the weight is filled again in place."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(data(3, 2))
            self.weight_t = self.weight.detach().T

        def forward(self, x: Any) -> Any:
            return x @ self.weight_t

    net, found = Net(), []
    run = compiled(net)
    for n in range(3):
        with wf.no_grad():
            net.weight.copy_(data(3, 2, seed=n))
        found.append(run(data(4, 2)))
    return found


@report("pytorch/pytorch#149894")
def the_names_of_a_compiled_modules_state(compiled: Any) -> Any:
    """Names in the state are those of the module, and what is saved loads into either."""
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    run = compiled(net)
    found = [run(data(1, 2)), list(run.state_dict()), [name for name, _ in run.named_parameters()]]
    run.load_state_dict({name: value * 0.5 for name, value in net.state_dict().items()})
    return [*found, run(data(1, 2)), net[0].weight]


@report("pytorch/pytorch#115607", "pytorch/pytorch#121291")
def an_iteration_without_gradients(compiled: Any) -> Any:
    """The optimizer's step is compiled; in round three every gradient is None."""
    net = nn.Sequential(nn.Linear(2, 3), nn.Sigmoid(), nn.Linear(3, 1))
    opt = optim.Adam(net.parameters(), lr=0.1)

    @compiled
    def step() -> None:
        opt.step()

    found = []
    for n in range(6):
        opt.zero_grad()
        if n != 3:
            net(data(3, 2, seed=n)).sum().backward()
        step()
        found.append([p.detach().clone() for p in net.parameters()])
    return found


@report("pytorch/pytorch#115679")
def the_steps_that_an_optimizer_has_made(compiled: Any) -> Any:
    """The state of the optimizer after compiled steps, saved and loaded in between."""
    net = nn.Linear(2, 1)
    opt = optim.AdamW(net.parameters(), lr=0.1)

    @compiled
    def step(x: Any) -> Any:
        opt.zero_grad()
        loss = net(x).sum()
        loss.backward()
        opt.step()
        return loss

    found, saved = [], None
    for n in range(6):
        found.append(step(data(3, 2, seed=n)).detach())
        if n == 2:
            saved = opt.state_dict()
        if n == 4:
            opt.load_state_dict(saved)
        found.append(net.weight.detach().clone())
    return found


@report("Koratahiu/Advanced_Optimizers#6", captures=2)
def a_step_counter_in_the_state_of_an_optimizer(compiled: Any) -> Any:
    """``state[p]["step"] += 1`` in an optimizer of the user's own, with bias correction by that number."""
    p = nn.Parameter(data(4))
    state = {"step": 0, "m": wf.zeros(4)}

    @compiled
    def step(grad: Any) -> None:
        with wf.no_grad():
            state["step"] += 1
            state["m"].mul_(0.9).add_(grad, alpha=0.1)
            p.sub_(state["m"] / (1.0 - 0.9 ** state["step"]) * 0.01)

    found = []
    for n in range(6):
        step(data(4, seed=n))
        found += [p.detach().clone(), state["step"]]
    return found


@report("pytorch/pytorch#118435")
def a_hook_after_accumulation(compiled: Any) -> Any:
    """A hook doubles a parameter's gradient when it is complete; gradients are set to None after each step."""
    p = data(4).requires_grad_(True)

    def hook(param: Any) -> None:
        param.grad *= 2.0

    p.register_post_accumulate_grad_hook(hook)

    @compiled
    def run(x: Any) -> Any:
        return (p * x).sum()

    found = []
    for n in range(4):
        run(data(4, seed=n)).backward()
        found.append(p.grad.clone())
        p.grad = None
    return found


@report("pytorch/pytorch#99833")
def a_recursion_over_halves(compiled: Any) -> Any:
    """A function that calls itself on half of its argument, for lengths that are odd, even, powers of two."""

    def identity(x: Any) -> Any:
        n = x.shape[-1]
        if n <= 1:
            return x
        return wf.concat([x[..., : n // 2], identity(x[..., n // 2 :])], axis=-1)

    run = compiled(identity)
    return [run(wf.arange(n) + 1) for n in (4, 5, 8, 7, 16, 1)]


@report("pytorch/pytorch#136833", "pytorch/pytorch#118260", "pytorch/pytorch#123177")
def threads_that_call_one_function(compiled: Any) -> Any:
    """Eight threads, sizes of their own, all at once from the first call on."""

    @compiled
    def run(x: Any, y: Any) -> Any:
        return wf.sin(x) + wf.cos(y) * x.shape[0]

    found: list[Any] = [None] * 8

    def work(i: int) -> None:
        found[i] = [raised(run, data(n + i % 3, 3), data(n + i % 3, 3, seed=1)) for n in range(2, 10)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@report("pytorch/pytorch#137476")
def a_method_that_is_bound_to_another_module(compiled: Any) -> Any:
    """A wrapper takes over the attributes of a module and one of its bound methods."""

    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def resolve(self, x: Any) -> Any:
            return wf.tanh(self.linear(x))

    class Wrapper(nn.Module):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.resolve: Callable[..., Any] = inner.resolve

        def forward(self, x: Any) -> Any:
            return self.resolve(x)

    inner, other = Inner(), Inner()
    net = Wrapper(inner)
    run = compiled(net)
    found = [run(data(1, 2))]
    net.resolve = other.resolve
    return [*found, run(data(1, 2))]


@report("pytorch/pytorch#141616", "pytorch/pytorch#186063")
def other_methods_of_a_compiled_module(compiled: Any) -> Any:
    """``inverse`` of what compile returned, and a method that calls the module itself."""

    class Flow(nn.Module):
        def forward(self, x: Any) -> Any:
            return x + 1.0

        def inverse(self, x: Any) -> Any:
            return x - 1.0

        def twice(self, x: Any) -> Any:
            return self(self(x))

    run = compiled(Flow())
    return [run.inverse(run(data(2))), run.twice(data(2)), run.inverse(run.twice(data(2)))]


@report("pytorch/pytorch#133487")
def the_order_of_a_dict_of_arguments(compiled: Any) -> Any:
    """Equal items in another order: what is computed from the first one is another number."""

    @compiled
    def run(items: Any) -> Any:
        total = None
        for n, value in enumerate(items.values()):
            total = value if total is None else total + value * n
        return total, {key: value * 2.0 for key, value in items.items()}

    a, b = data(2), data(2, seed=1)
    return [run({"a": a, "b": b}), run({"b": b, "a": a}), run({"a": a, "b": b}), run({"a": b, "b": a})]


@report("pytorch/pytorch#106559")
def a_view_of_the_keys_of_a_dict(compiled: Any) -> Any:
    """The dict gets a key after the view was taken, inside and outside of the function."""
    table = {"a": 1.0}
    keys = table.keys()

    @compiled
    def run(x: Any, inner: Any) -> Any:
        local = dict(inner)
        names = local.keys()
        local["new"] = 1.0
        return x * len(names) + len(keys)

    found = [run(data(2), {"u": 1.0})]
    table["b"] = 2.0
    found.append(run(data(2), {"u": 1.0}))
    return [*found, run(data(2), {"u": 1.0, "v": 2.0})]


@report("pytorch/pytorch#118996")
def compiled_functions_in_compiled_functions(compiled: Any) -> Any:
    """The inner one reads a list that the outer's caller changes."""
    factors = [2.0]

    @compiled
    def inner(x: Any) -> Any:
        return x * factors[0]

    @compiled
    def outer(x: Any) -> Any:
        return inner(x) + inner(x + 1.0)

    found = [outer(data(2)), inner(data(2))]
    factors[0] = 3.0
    return [*found, outer(data(2)), inner(data(2))]


@report("pytorch/pytorch#114338")
def the_grad_mode_around_a_call(compiled: Any) -> Any:
    """The same call under ``no_grad`` and outside of it."""
    net = nn.Linear(2, 2)
    run, found = compiled(net), []
    for grad in (False, True, False, True):
        with wf.set_grad_enabled(grad):
            y = run(data(1, 2))
        found.append(y)
        if grad:
            net.zero_grad()
            y.sum().backward()
            found.append(net.weight.grad.clone())
    return found


@pytest.mark.parametrize("case", report.cases(NOT_YET, KNOWN_WRONG))
def test_objects_are_used_as_they_are_at_the_call(case: Case) -> None:
    check(case)
