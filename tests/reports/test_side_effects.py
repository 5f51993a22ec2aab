"""Python state that compiled code changes: it changes at every call as in eager code, or is refused at its line."""

from __future__ import annotations

import collections
import contextlib
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from reported import Case, Reports, check, data

import weft as wf
from weft import nn

report = Reports()

NOT_YET: dict[str, str | int] = {}
KNOWN_WRONG: dict[str, str] = {}

count = 0
log: list[Any] = []
memory: Any = None


class Named(NamedTuple):
    value: int


@report("tensorflow/tensorflow#31362")
def a_counter_of_an_object_that_is_passed(compiled: Any) -> Any:
    """``o.value += 1`` happens at every call."""

    class Box:
        value = 0

    @compiled
    def run(x: Any, o: Any) -> Any:
        o.value += 1
        return x + 1.0

    box, found = Box(), []
    for _ in range(4):
        found += [run(data(2), box), box.value]
    return found


@report("jax-ml/jax#1348", "pytorch/torchdynamo#40")
def a_global_counter(compiled: Any) -> Any:
    """``global count`` counts the calls, and the result depends on it."""
    global count
    count = 0

    @compiled
    def run(x: Any) -> Any:
        global count
        count += 1
        return x * count

    return [[run(data(2)), count] for _ in range(4)]


@report("pytorch/pytorch#132165")
def flags_of_another_module_that_helpers_set(compiled: Any) -> Any:
    """Functions of an imported module write its globals."""
    other = types.ModuleType("other")
    exec(
        "flag = False\ndef on():\n    global flag\n    flag = True\ndef off():\n    global flag\n    flag = False\n",
        other.__dict__,
    )

    @compiled
    def run(x: Any, positive: bool) -> Any:
        if positive:
            other.on()
        else:
            other.off()
        return x + 1.0 if other.flag else x - 1.0

    return [[run(data(2), positive), other.flag] for positive in (True, False, True, True, False)]


@report("pytorch/pytorch#143425")
def a_global_that_an_inner_function_writes(compiled: Any) -> Any:
    """The outer function reads the global after a helper has called the function that writes it."""
    global count
    count = 2

    def made() -> Any:
        def inner(x: Any) -> Any:
            global count
            count = 100
            return wf.sin(x)

        return inner

    def call(function: Any, x: Any) -> Any:
        return function(x)

    @compiled
    def run(x: Any) -> Any:
        y = call(made(), x)
        return y + count

    found = []
    for _ in range(2):
        count = 2
        found += [run(data(2)), count]
    return found


@report("pytorch/pytorch#197896")
def containers_that_a_local_class_writes(compiled: Any) -> Any:
    """A class defined in the function has a method that writes a dict and a list of the closure."""
    totals, seen = {"n": 0}, []

    @compiled
    def run(x: Any) -> Any:
        class Helper:
            def touch(self) -> None:
                totals["n"] += 1
                seen.append(x.shape[0])

        Helper().touch()
        return x + 1.0

    return [[run(data(n)), dict(totals), list(seen)] for n in (2, 2, 2, 3)]


@report("pytorch/pytorch#198189")
def the_order_of_an_ordered_dict(compiled: Any) -> Any:
    """``move_to_end`` of an LRU cache beside a step."""
    cache = collections.OrderedDict(a=1, b=2, c=3)

    @compiled
    def run(x: Any, key: str) -> Any:
        cache.move_to_end(key)
        return x * 2.0

    return [[run(data(2), key), list(cache)] for key in ("a", "b", "a", "c", "b")]


@report("pytorch/pytorch#128319", captures=2)
def a_counter_of_a_module(compiled: Any) -> Any:
    """``self.counter += 1`` in ``forward``: no capture for every value of it."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.counter, self.linear = 0, nn.Linear(2, 2)

        def forward(self, x: Any) -> Any:
            self.counter += 1
            return self.linear(x)

    net = Net()
    run = compiled(net)
    return [[run(data(1, 2)), net.counter] for _ in range(8)]


@report("pytorch/pytorch#154867", captures=2)
def a_counter_that_scales_the_result(compiled: Any) -> Any:
    """The number that a module counts up is a factor of its result."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c = 0

        def forward(self, x: Any) -> Any:
            self.c += 1
            return x * self.c

    net = Net()
    run = compiled(net)
    return [[run(data(3)), net.c] for _ in range(8)]


@report("pytorch/pytorch#128651")
def a_context_manager_that_appends_at_its_end(compiled: Any) -> Any:
    """``finally`` of a context manager appends to a list."""
    items: list[int] = []

    @contextlib.contextmanager
    def appending() -> Iterator[None]:
        try:
            yield
        finally:
            items.append(4)

    @compiled
    def run(x: Any) -> Any:
        with appending():
            y = x + 1.0
        return y

    return [[run(data(2)), list(items)] for _ in range(3)]


@report("pytorch/pytorch#136033")
def a_context_manager_that_sets_and_restores(compiled: Any) -> Any:
    """A setting is another within the block only."""
    settings = {"dtype": wf.float32}

    @contextlib.contextmanager
    def using(dtype: Any) -> Iterator[None]:
        before = settings["dtype"]
        settings["dtype"] = dtype
        try:
            yield
        finally:
            settings["dtype"] = before

    @compiled
    def run(x: Any) -> Any:
        with using(wf.float64):
            inside = wf.zeros(2, dtype=settings["dtype"])
        return inside, wf.zeros(2, dtype=settings["dtype"]) + x

    return [[run(data(2)), str(settings["dtype"])] for _ in range(3)]


@report("pytorch/pytorch#144419")
def attributes_that_are_written_by_way_of_the_dict(compiled: Any) -> Any:
    """``vars(o)["n"] = ...`` is an attribute that is written."""

    class Box:
        pass

    box = Box()
    box.n = 1  # type: ignore[attr-defined]

    @compiled
    def run(x: Any) -> Any:
        box.__dict__["n"] = box.__dict__["n"] * 2
        return x + box.n  # type: ignore[attr-defined]

    return [[run(data(2)), box.n] for _ in range(4)]  # type: ignore[attr-defined]


@report("pytorch/pytorch#146819")
def subclasses_of_list_and_dict(compiled: Any) -> Any:
    """Containers of the user's own classes that the function writes."""

    class Items(list):
        def push(self, item: Any) -> None:
            self.append(item)

    class Table(dict):
        def __setitem__(self, key: Any, value: Any) -> None:
            super().__setitem__(f"k{key}", value)

    items, table = Items(), Table()

    @compiled
    def run(x: Any) -> Any:
        items.push(len(items))
        table[len(items)] = x.shape[0]
        return x * len(items)

    return [[run(data(2)), list(items), dict(table)] for _ in range(3)]


@report("pytorch/pytorch#161645")
def an_attribute_of_a_named_tuple(compiled: Any) -> Any:
    """A subclass of a named tuple takes attributes of its own."""

    class Marked(Named):
        pass

    marked = Marked(3)
    marked.extra = 0  # type: ignore[attr-defined]

    @compiled
    def run(x: Any) -> Any:
        marked.extra += marked.value  # type: ignore[attr-defined]
        return x + marked.extra  # type: ignore[attr-defined]

    return [[run(data(2)), marked.extra] for _ in range(3)]  # type: ignore[attr-defined]


@report("pytorch/pytorch#169722")
def a_number_that_is_appended(compiled: Any) -> Any:
    """A global list gets a number at every call."""
    log.clear()

    @compiled
    def run(x: Any) -> Any:
        log.append(1)
        return x + 1.0

    return [[run(data(2)), list(log)] for _ in range(3)]


@report("jax-ml/jax#5905")
def a_tensor_that_is_appended(compiled: Any) -> Any:
    """A global list gets a result at every call."""
    log.clear()

    @compiled
    def run(x: Any) -> Any:
        y = x * x
        log.append(y)
        return y.sum()

    return [[run(data(2, seed=n)), list(log)] for n in range(3)]


@report("huggingface/transformers#29114")
def the_tokens_that_a_cache_has_seen(compiled: Any) -> Any:
    """A cache of fixed size counts its tokens in an int and writes there."""

    class Cache:
        def __init__(self) -> None:
            self.keys, self.seen = wf.zeros((8, 2)), 0

        def update(self, k: Any) -> Any:
            self.keys[self.seen : self.seen + k.shape[0]] = k
            self.seen += k.shape[0]
            return self.keys

    cache = Cache()

    @compiled
    def run(k: Any) -> Any:
        return cache.update(k).sum(axis=0)

    return [[run(data(n, 2, seed=i)), cache.seen, cache.keys.clone()] for i, n in enumerate((3, 1, 1, 1))]


@report("pytorch/pytorch#191821")
def a_global_object_that_a_loop_replaces(compiled: Any) -> Any:
    """A helper reads the object that its caller has put under a global name in this round."""
    global memory
    memory = None

    def region() -> Any:
        return memory.hidden + 1.0

    @compiled
    def run(hidden: Any) -> Any:
        global memory
        for _ in range(2):
            memory = types.SimpleNamespace(hidden=hidden)
            hidden = region()
        return hidden

    return [[run(data(2, seed=n)), memory.hidden] for n in range(3)]


@report("pytorch/pytorch#99609")
def values_of_a_dict_that_an_inner_function_replaces(compiled: Any) -> Any:
    """A nested function writes every value of a dict anew."""
    table = {"a": data(2, 3), "b": data(2, 3, seed=1)}

    @compiled
    def run(i: Any) -> Any:
        def inner(t: Any) -> None:
            for key, value in table.items():
                table[key] = value[t]

        inner(i)
        return table["a"] + table["b"]

    return [[run(wf.asarray(i)), dict(table)] for i in ([0, 1], [1, 0], [1, 1])]


@report("pytorch/pytorch#138112", "pytorch/pytorch#138632")
def nonlocals_that_two_functions_share(compiled: Any) -> Any:
    """One function writes a variable of the closure, another one that it calls reads it and writes a second."""
    z, k = 1, 2

    def made() -> Any:
        def inner(x: Any) -> None:
            nonlocal k
            k = z

        return inner

    def call(function: Any, x: Any) -> Any:
        nonlocal z
        z += 3
        function(x)
        return x * z

    @compiled
    def run(x: Any) -> Any:
        return call(made(), x) + k

    return [[run(data(2)), z, k] for _ in range(3)]


@report("pytorch/torchdynamo#55", "pytorch/torchdynamo#233")
def a_counter_that_is_a_tensor_of_a_closure(compiled: Any) -> Any:
    """``nonlocal x; x = x + 1`` in a function that is called twice."""

    def made() -> Any:
        x = wf.zeros(3)

        def counter() -> Any:
            nonlocal x
            x = x + 1.0
            return x

        return counter

    @compiled
    def run(counter: Any) -> Any:
        return counter() + counter()

    first, second = made(), made()
    return [run(first), first(), run(first), run(second), second()]


@report("pytorch/torchdynamo#55")
def a_number_of_the_closure_of_an_argument(compiled: Any) -> Any:
    """A function that is passed counts its calls in a variable of its closure."""
    n = 0

    def counter() -> int:
        nonlocal n
        n = n + 1
        return n

    @compiled
    def run(x: Any, function: Any) -> Any:
        return x * function()

    return [[run(data(2), counter), n] for _ in range(3)]


@report("pytorch/pytorch#197896")
def sizes_that_are_logged(compiled: Any) -> Any:
    """A helper records the shapes that it has seen; what is in the log are ints that can be added."""
    seen: list[Any] = []

    @compiled
    def run(x: Any) -> Any:
        seen.append(x.shape[0])
        return x + 1.0

    for n in (2, 3, 4):
        run(data(n))
    return [*seen, sum(seen)]


@report("pytorch/pytorch#146819")
def a_dict_of_a_class_of_ones_own_that_keeps_a_result(compiled: Any) -> Any:
    """``table[1] = result`` goes through the class's ``__setitem__`` once for each call."""

    class Table(dict):
        def __setitem__(self, key: Any, value: Any) -> None:
            super().__setitem__(f"k{key}", value)

    table = Table()

    @compiled
    def run(x: Any) -> Any:
        table[1] = x.sum()
        return x + 1.0

    return [[run(data(2, seed=n)), dict(table)] for n in range(2)]


@pytest.mark.parametrize("case", report.cases(NOT_YET, KNOWN_WRONG))
def test_what_compiled_code_writes_is_written_at_every_call(case: Case) -> None:
    check(case)
