"""Python state that compiled code reads: what is changed between calls is seen by the next call."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from reported import Case, Reports, check, data, raised

import weft as wf
from weft import nn

report = Reports()

NOT_YET: dict[str, str | int] = {
    "modules_that_live_for_one_call": 5,
}
KNOWN_WRONG: dict[str, str] = {}


def double(x: Any) -> Any:
    return x * 2.0


helper: Callable[[Any], Any] = double
step_size = 0.5
memory: Any = None


@report("pytorch/pytorch#108898")
def a_global_function_that_is_replaced(compiled: Any) -> Any:
    """The function called under a global name is another one later."""
    global helper
    helper = double

    @compiled
    def run(x: Any) -> Any:
        return helper(x) + 1.0

    found = [run(data(3))]
    helper = wf.cos
    found.append(run(data(3)))
    helper = double
    return [*found, run(data(3))]


@report("pytorch/pytorch#93782")
def a_lambda_that_is_replaced_in_the_third_round(compiled: Any) -> Any:
    """A sum over a list by a lambda that becomes another."""
    total = lambda items: sum(items)  # noqa: E731

    @compiled
    def run(items: Any) -> Any:
        result = 0.0
        for _ in range(3):
            result = result + total(items)
        return result

    items, found = [data(4), data(4, seed=1)], []
    for n in range(4):
        if n == 2:
            total = lambda items: items[0]  # noqa: E731
        found.append(run(items))
    return found


@report("pytorch/pytorch#98928", "pytorch/pytorch#124357")
def an_attribute_of_a_module_that_changes(compiled: Any) -> Any:
    """A number, a string and a function held by a module."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor, self.mode, self.act = 2.0, "sum", wf.tanh

        def forward(self, x: Any) -> Any:
            y = self.act(x * self.factor)
            return y.sum() if self.mode == "sum" else y.mean()

    net = Net()
    run, x = compiled(net), data(5)
    found = [run(x)]
    net.factor = 3.0
    found.append(run(x))
    net.mode = "mean"
    found.append(run(x))
    net.act = wf.exp
    return [*found, run(x)]


@report("pytorch/pytorch#124717")
def an_adapter_that_is_disabled_for_a_while(compiled: Any) -> Any:
    """A context manager outside the compiled module changes its flag, and back."""

    class Net(nn.Module):
        disabled = False

        def forward(self, x: Any) -> Any:
            out = x * x
            return out if self.disabled else out + 1.0

    net = Net()

    @contextlib.contextmanager
    def without() -> Iterator[None]:
        net.disabled = True
        try:
            yield
        finally:
            net.disabled = False

    run, x = compiled(net), data(3)
    found = [run(x)]
    with without():
        found.append(run(x))
    return [*found, run(x)]


@report("pytorch/pytorch#111522")
def an_attribute_that_is_deleted(compiled: Any) -> Any:
    """Without the attribute of the class the call is the error that it is in eager code."""

    class Settings:
        shift = 2.0

    @compiled
    def run(x: Any, settings: Any) -> Any:
        return x + settings.shift

    settings = Settings()
    found = [run(data(2), settings)]
    del Settings.shift
    found.append(raised(run, data(2), settings))
    settings.shift = 5.0
    return [*found, run(data(2), settings)]


@report("pytorch/pytorch#111522")
def an_attribute_that_comes_to_exist(compiled: Any) -> Any:
    """``hasattr`` was false when the function was captured."""

    class Settings:
        pass

    settings = Settings()

    @compiled
    def run(x: Any) -> Any:
        return x + settings.shift if hasattr(settings, "shift") else x

    found = [run(data(2))]
    settings.shift = 5.0  # type: ignore[attr-defined]
    return [*found, run(data(2))]


@report("pytorch/pytorch#111785")
def a_row_of_a_buffer_that_is_selected_outside(compiled: Any) -> Any:
    """A module writes to the row of a table that another method has put under an attribute."""

    class Cache(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", wf.zeros((4, 3)))
            self.row = self.table[0:1]

        def select(self, i: int) -> None:
            self.row = self.table[i : i + 1]

        def forward(self, x: Any) -> Any:
            self.row.copy_(x)
            return self.row * 2.0

    net, found = Cache(), []
    run = compiled(net)
    for i in (0, 1, 2, 3, 1):
        net.select(i)
        found += [run(wf.ones((1, 3)) + i), net.table.clone()]
    return found


@report("pytorch/pytorch#197859")
def a_submodule_that_is_shadowed_in_the_instance(compiled: Any) -> Any:
    """``object.__setattr__`` puts another layer before the registered one."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sub = nn.Linear(3, 3)

        def forward(self, x: Any) -> Any:
            return self.sub(x)

    net, other = Net(), nn.Linear(3, 3)
    run, x = compiled(net), data(2, 3)
    found = [run(x)]
    object.__setattr__(net, "sub", other)
    return [*found, run(x)]


@report("pytorch/pytorch#178365", "pytorch/pytorch#178401")
def functions_that_differ_in_a_default_alone(compiled: Any) -> Any:
    """The same code with another default argument, in a list of masks."""

    @compiled
    def run(x: Any, mask: Any) -> Any:
        return wf.where(mask(wf.arange(6)), x, 0.0)

    def mask_of(offset: int) -> Any:
        def mask(i: Any, offset: int = offset) -> Any:
            return i >= offset

        return mask

    return [run(data(6), mask_of(n)) for n in (1, 2, 5)]


@report("pytorch/pytorch#178365")
def a_default_that_is_replaced(compiled: Any) -> Any:
    """``__defaults__`` of a function that is passed, and of one that is called, are others later."""

    def shift(x: Any, by: float = 1.0) -> Any:
        return x + by

    @compiled
    def run(x: Any, function: Any) -> Any:
        return function(x) * 2.0

    found = [run(data(3), shift)]
    shift.__defaults__ = (4.0,)
    return [*found, run(data(3), shift)]


@report("pytorch/pytorch#105653")
def the_mode_of_a_module(compiled: Any) -> Any:
    """``train()`` and ``eval()`` after the first call, with dropout inside and a flag that user code reads."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, x: Any) -> Any:
            y = self.drop(x)
            return y + 1.0 if self.training else y - 1.0

    net, found = Net(), []
    run = compiled(net)
    for mode in (True, False, True, False):
        net.train(mode)
        found.append(run(data(8)))
    return found


@report("pytorch/pytorch#110803", captures=2)
def a_mode_that_goes_to_and_fro(compiled: Any) -> Any:
    """Training and evaluation in turns: one capture for each, not one for each turn."""
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.25), nn.Linear(4, 2))
    run, found = compiled(net), []
    for n in range(8):
        net.train(n % 2 == 0)
        found.append(run(data(2, 3)))
    return found


@report("pytorch/pytorch#132986")
def the_mode_of_the_compiled_module(compiled: Any) -> Any:
    """``eval()`` of what compile returned is ``eval()`` of the module."""
    net = nn.Sequential(nn.Dropout(0.5))
    run = compiled(net)
    found = [run(data(4)), run.training]
    run.eval()
    found += [run(data(4)), run.training, net.training, net[0].training]
    run.train()
    return [*found, run(data(4)), run.training, net[0].training]


@report("pytorch/pytorch#139476")
def parameters_that_are_frozen_later(compiled: Any) -> Any:
    """After two steps one layer does not require gradients any more."""
    net = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1))
    run, found = compiled(net), []
    for n in range(4):
        if n == 2:
            net[0].weight.requires_grad_(False)
        net.zero_grad()
        run(data(2, 3)).sum().backward()
        found.append([None if p.grad is None else p.grad.clone() for p in net.parameters()])
    return found


@report("jax-ml/jax#7332")
def a_global_step_size(compiled: Any) -> Any:
    """An update rule that reads its step size from the module's globals."""
    global step_size
    step_size = 0.5

    @compiled
    def update(p: Any, g: Any) -> Any:
        return p - step_size * g

    found = [update(data(3), data(3, seed=1))]
    for n in (2, 3):
        step_size = 0.5**n
        found.append(update(data(3), data(3, seed=1)))
    return found


@report("tensorflow/tensorflow#44980")
def an_attribute_that_holds_tensors_of_other_shapes(compiled: Any) -> Any:
    """A method reads tensors from ``self`` that were replaced, by another shape, then by another dtype."""

    class Network:
        @compiled
        def encode(self, x: Any) -> Any:
            return x + self.weights.sum() * self.weights.shape[0]

    net = Network()
    net.weights = wf.ones((4, 5))  # type: ignore[attr-defined]
    found = [net.encode(data(3))]
    net.weights = wf.ones((2, 3))  # type: ignore[attr-defined]
    found.append(net.encode(data(3)))
    net.weights = wf.ones((2, 3), dtype=wf.float64)  # type: ignore[attr-defined]
    return [*found, net.encode(data(3))]


@report("tensorflow/tensorflow#33689")
def a_global_tensor_that_is_made_at_the_first_call(compiled: Any) -> Any:
    """What is None at the first call is made there, and used by the calls that follow."""
    global memory
    memory = None

    @compiled
    def run(x: Any) -> Any:
        global memory
        if memory is None:
            memory = wf.ones(3)
        return memory * x

    return [run(data(3)), memory, run(data(3, seed=1)), memory]


@report("pytorch/pytorch#196173")
def objects_that_are_told_apart_by_identity(compiled: Any) -> Any:
    """Which of two equal objects an attribute holds decides."""

    class Box:
        def __init__(self) -> None:
            self.marks = [0]

    first, second = Box(), Box()
    holder = Box()
    holder.current = first  # type: ignore[attr-defined]

    @compiled
    def run(x: Any) -> Any:
        return x + 1.0 if holder.current is first else x - 1.0  # type: ignore[attr-defined]

    found = [run(data(2))]
    holder.current = second  # type: ignore[attr-defined]
    found.append(run(data(2)))
    holder.current = first  # type: ignore[attr-defined]
    return [*found, run(data(2))]


@report("pytorch/pytorch#130776", captures=1)
def modules_that_live_for_one_call(compiled: Any) -> Any:
    """A new module of the same form is passed at every call; each has weights of its own."""

    @compiled
    def run(x: Any, net: Any) -> Any:
        return net(x)

    return [run(data(2, 3), nn.Linear(3, 3)) for _ in range(5)]


@report("pytorch/pytorch#171598")
def many_instances_of_one_module(compiled: Any) -> Any:
    """Instances with a key of their own, each compiled, called in turns."""

    class Net(nn.Module):
        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

        def forward(self, inputs: Any) -> Any:
            return inputs[self.key] * 2.0

    nets = [compiled(Net(f"k{n}")) for n in range(12)]
    inputs = {f"k{n}": data(2, seed=n) for n in range(12)}
    return [net(inputs) for net in nets + nets]


@report("tensorflow/addons#138")
def checks_of_a_size_that_raise_in_any_order(compiled: Any) -> Any:
    """``raise`` under a condition on a size, called with good sizes first and bad ones first."""
    found = []
    for sizes in ((1, 2, 3), (3, 2, 1)):

        @compiled
        def run(x: Any) -> Any:
            if x.shape[0] < 3:
                raise ValueError("fail")
            return x[2]

        found += [raised(run, data(n)) for n in sizes]
    return found


@report("pytorch/pytorch#133239")
def a_hook_that_is_registered_later(compiled: Any) -> Any:
    """Forward hooks come and go between the calls of a compiled module."""
    net = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    run, x = compiled(net), data(2, 3)
    found = [run(x)]
    handle = net[0].register_forward_hook(lambda module, args, out: out * 3.0)
    found.append(run(x))
    handle.remove()
    return [*found, run(x)]


@report("pytorch/pytorch#138268", "pytorch/torchdynamo#233")
def a_variable_of_the_closure(compiled: Any) -> Any:
    """A variable that the enclosing function assigns, read by the function and by a helper."""
    scale, shift = 2.0, 1.0

    def helper(x: Any) -> Any:
        return x + shift

    @compiled
    def run(x: Any, function: Any) -> Any:
        return function(x) * scale

    found = [run(data(2), helper)]
    scale = 3.0
    found.append(run(data(2), helper))
    shift = 10.0
    return [*found, run(data(2), helper)]


@report("pytorch/pytorch#138268")
def partial_functions_and_callable_objects(compiled: Any) -> Any:
    """A number bound by ``functools.partial``, and one that a callable object has."""

    class Scale:
        def __init__(self, by: float) -> None:
            self.by = by

        def __call__(self, x: Any) -> Any:
            return x * self.by

    def shifted(x: Any, by: float) -> Any:
        return x + by

    scale = Scale(2.0)
    part = functools.partial(shifted, by=1.0)

    @compiled
    def run(x: Any) -> Any:
        return scale(part(x))

    found = [run(data(2))]
    scale.by = 3.0
    found.append(run(data(2)))
    part = functools.partial(shifted, by=5.0)
    return [*found, run(data(2))]


@pytest.mark.parametrize("case", report.cases(NOT_YET, KNOWN_WRONG))
def test_what_compiled_code_reads_is_what_is_there(case: Case) -> None:
    check(case)
