"""Captured functions follow what their code names: rebound variables, globals, attributes, changed containers."""

from __future__ import annotations

import dis
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

import weft as wf
from weft import nn
from weft.transforms import reads
from weft.transforms.names import Names

FACTOR: Any = 2.0


def helper(x: wf.Tensor) -> wf.Tensor:
    """Names a global that its caller does not."""
    return x * FACTOR


@pytest.mark.parametrize("values", [(2.0, 5.0), (wf.asarray(2.0), wf.asarray(5.0)), (2.0, wf.asarray(5.0))])
def test_rebound_names_are_noticed(values: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    x = wf.asarray([1.0])
    variable, config, table = values[0], SimpleNamespace(inner=SimpleNamespace(k=values[0])), {"k": values[0]}
    monkeypatch.setitem(globals(), "FACTOR", values[0])
    functions: list[Callable[[wf.Tensor], wf.Tensor]] = [
        wf.compile(lambda x: x * variable),
        wf.compile(lambda x: x * config.inner.k),
        wf.compile(lambda x: helper(x) * 1.0),
        wf.compile(lambda x: x * FACTOR),
    ]
    assert [f(x).tolist() for f in functions] == [[2.0]] * 4
    variable = values[1]
    config.inner.k = values[1]
    monkeypatch.setitem(globals(), "FACTOR", values[1])
    assert [f(x).tolist() for f in functions] == [[5.0]] * 4
    config.inner = SimpleNamespace(k=7.0)
    assert functions[1](x).tolist() == [7.0]
    assert table  # containers of tensors are followed by identity alone


def test_short_lists_and_dicts_of_numbers_are_compared_by_their_items() -> None:
    x, numbers, table = wf.asarray([1.0]), [2.0], {"k": 2.0}
    f = wf.compile(lambda x: x * numbers[0] * table["k"])
    assert f(x).tolist() == [4.0]
    numbers[0] = 3.0
    assert f(x).tolist() == [6.0]
    table["k"] = 5.0
    assert f(x).tolist() == [15.0]


def test_a_module_in_a_variable_may_be_replaced() -> None:
    net: Any = nn.Identity()
    f = wf.compile(lambda x: net(x))
    assert f(wf.asarray([-1.0])).tolist() == [-1.0]
    net = nn.ReLU()
    assert f(wf.asarray([-1.0])).tolist() == [0.0]


def test_functions_and_tensors_that_a_module_holds_are_guards() -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.activation: Any = wf.exp
            self.scale = wf.asarray([1.0])

        def forward(self, x: wf.Tensor) -> wf.Tensor:
            return self.activation(x * self.scale)

    layer = Layer()
    f = wf.compile(layer)
    assert f(wf.zeros((1,))).tolist() == [1.0]
    layer.activation = wf.sin
    assert f(wf.zeros((1,))).tolist() == [0.0]
    layer.activation, layer.scale = wf.exp, wf.asarray([0.0])
    assert f(wf.ones((1,))).tolist() == [1.0]


def test_a_variable_that_is_rebound_to_a_tensor_that_is_made_inside() -> None:
    state = SimpleNamespace(h=wf.zeros((2,)))

    @wf.compile
    def f(x: wf.Tensor) -> wf.Tensor:
        state.h = state.h + x
        return state.h * 2.0

    for n in (1.0, 2.0, 3.0):
        assert f(wf.ones((2,))).tolist() == [2.0 * n] * 2
        assert state.h.tolist() == [n, n]


def test_a_tensor_that_a_module_keeps_from_call_to_call() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.h = wf.zeros((2,))

        def forward(self, x: wf.Tensor) -> wf.Tensor:
            self.h = self.h + x
            return self.h

    net = Recurrent()
    f = wf.compile(net)
    for n in (1.0, 2.0, 3.0):
        assert f(wf.ones((2,))) is net.h
        assert net.h.tolist() == [n, n]


def test_graphs_whose_state_never_comes_again_are_dropped() -> None:
    config = SimpleNamespace(k=0)
    f = wf.compile(lambda x: x + len("x" * config.k))  # its value is needed

    def results() -> list[int]:
        found = []
        for k in range(40):
            config.k = k
            found.append(f(wf.zeros((), dtype=wf.int64)).item())
        return found

    with pytest.warns(UserWarning, match="captured 9 times"):
        assert results() == list(range(40))
    assert all(len(entries) <= 16 for entries in f._entries.values())


def test_names_of_builtins_and_recursive_functions() -> None:
    def recursive(n: int) -> int:
        return recursive(n - 1) if n else 0

    assert Names(len).same() and Names(recursive).same() and Names(SimpleNamespace()).same()


@dataclass(slots=True)
class Config:
    """What a step is configured by: no ``__dict__``."""

    lr: float = 2.0


PARTIAL = functools.partial(helper)


class Namespace:
    """A class that is never instantiated."""

    lr = 2.0


def by_name(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapped(*args: Any) -> Any:
        return function(*args)

    return wrapped


class Base:
    """Reads of ``lr`` in every way that is looked into; each method is compiled."""

    of_class = 2.0

    def __init__(self) -> None:
        self.lr = 2.0
        self.config = Config()
        self.inner = SimpleNamespace(config=self.config)
        self.scaled = Scaled()
        self.layers = nn.ModuleList([Scaled()])

    @property
    def rate(self) -> float:
        return self.lr

    def helper(self) -> float:
        return self.lr

    def overridden(self) -> float:
        return self.lr

    @staticmethod
    def of_globals() -> Any:
        return FACTOR


class Scaled(nn.Module):
    """A module of the user's whose forward names a global."""

    def forward(self, x: wf.Tensor) -> wf.Tensor:
        return x * FACTOR


class Caller:
    """An object that is called."""

    def __init__(self) -> None:
        self.lr = 2.0

    def __call__(self, x: wf.Tensor) -> wf.Tensor:
        return x * self.lr


class Steps(Base):
    def overridden(self) -> float:
        return super().overridden()

    def attribute_after_a_local(self, x: Any) -> Any:
        return x * self.lr

    def attribute_first(self, x: Any) -> Any:
        return self.lr * x

    def attribute_after_a_store(self, x: Any) -> Any:
        y = x
        return self.lr * y

    def in_a_list_comprehension(self, x: Any) -> Any:
        return sum([x * self.lr for _ in range(1)], 0.0)

    def in_a_generator(self, x: Any) -> Any:
        return next(self.lr * y for y in [x])

    def in_a_lambda(self, x: Any) -> Any:
        return (lambda: x * self.lr)()

    def beside_a_lambda(self, x: Any) -> Any:
        return self.lr * (lambda: self and x)()

    def by_a_local(self, x: Any) -> Any:
        config = self.inner.config
        return x * config.lr

    def by_a_local_of_a_lambda(self, x: Any) -> Any:
        inner = self.inner
        return (lambda: x * inner.config.lr)()

    def by_a_walrus(self, x: Any) -> Any:
        return x * ((config := self.config).lr + config.lr) / 2.0

    def by_a_method(self, x: Any) -> Any:
        return x * self.helper()

    def by_super(self, x: Any) -> Any:
        return x * self.overridden()

    def by_a_property(self, x: Any) -> Any:
        return x * self.rate

    def of_an_object_with_slots(self, x: Any) -> Any:
        return x * self.config.lr

    def of_the_class(self, x: Any) -> Any:
        return x * self.of_class

    def of_a_class_by_name(self, x: Any) -> Any:
        return x * Namespace.lr

    def of_globals_by_a_static_method(self, x: Any) -> Any:
        return x * self.of_globals()

    def of_globals_by_a_module(self, x: Any) -> Any:
        return self.scaled(x)

    def of_globals_by_a_module_in_a_list(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x

    @by_name
    def decorated(self, x: Any) -> Any:
        return x * self.lr

    @wf.compile
    def compiled(self, x: Any) -> Any:
        return x * self.lr

    def by_a_compiled_method(self, x: Any) -> Any:
        return self.compiled(x)

    def by_a_partial(self, x: Any) -> Any:
        return PARTIAL(x)


WAYS = [name for name in vars(Steps) if not name.startswith("_") and name != "overridden"]


def change(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that was 2 is 5."""
    steps.lr = steps.config.lr = 5.0
    monkeypatch.setattr(Namespace, "lr", 5.0)
    monkeypatch.setattr(Base, "of_class", 5.0)
    monkeypatch.setitem(globals(), "FACTOR", 5.0)


def check(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, x = Steps(), wf.asarray([1.0])
    function = wf.compile(getattr(steps, way))
    assert [function(x).tolist() for _ in range(2)] == [[2.0]] * 2
    change(steps, monkeypatch)
    assert function(x).tolist() == [5.0]


@pytest.mark.parametrize("way", WAYS)
def test_what_a_method_reads_may_change(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check(way, monkeypatch)


def test_what_an_object_reads_when_it_is_called_may_change() -> None:
    caller = Caller()
    function = wf.compile(caller)
    assert function(wf.asarray([1.0])).tolist() == [2.0]
    caller.lr = 5.0
    assert function(wf.asarray([1.0])).tolist() == [5.0]


def test_an_attribute_of_the_class_that_an_object_gets_for_itself() -> None:
    steps = Steps()
    function = wf.compile(steps.of_the_class)
    assert function(wf.asarray([1.0])).tolist() == [2.0]
    steps.of_class = 5.0
    assert function(wf.asarray([1.0])).tolist() == [5.0]


def test_attributes_of_the_same_name_on_other_objects_do_not_matter() -> None:
    """A counter ``step`` beside a method ``step`` of another object: no new capture at each call."""
    trainer = SimpleNamespace(step=0, inner=SimpleNamespace(step=lambda x: x * 2.0))
    names = Names(lambda x: trainer.inner.step(x))
    trainer.step = 1
    assert names.same()


# --- Pythons that are not there yet ----------------------------------------------------------------------------------


def test_every_opcode_of_this_python_that_names_something_is_understood() -> None:
    """On a new Python, this says which instructions to look at; until then they are handled as unknown ones."""
    real = {op for name, op in dis.opmap.items() if op < 256 and not name.startswith("INSTRUMENTED_")}
    kinds = {"ATTR", "METHOD", "GLOBAL", "GLOBALS", "NAME", "IMPORT"}
    assert [dis.opname[op] for op in dis.hasname if op in real and not kinds & set(dis.opname[op].split("_"))] == []
    actions = ("LOAD", "STORE", "DELETE", "MAKE")
    others = [dis.opname[op] for op in (*dis.haslocal, *dis.hasfree) if op in real]
    assert [name for name in others if name.split("_")[0] not in actions] == []


def python_3_14(instructions: Iterator[dis.Instruction]) -> Iterator[dis.Instruction]:
    """LOAD_FAST as Python 3.14 spells it: borrowed, and two in one."""
    before: dis.Instruction | None = None
    for instruction in instructions:
        if instruction.opname == "LOAD_FAST":
            instruction = instruction._replace(opname="LOAD_FAST_BORROW")
            if before is not None:
                both = (before.argval, instruction.argval)
                instruction, before = before._replace(opname="LOAD_FAST_BORROW_LOAD_FAST_BORROW", argval=both), None
                yield instruction
                continue
            before = instruction
            continue
        if before is not None:
            yield before
            before = None
        yield instruction


def unknown_attributes(instructions: Iterator[dis.Instruction]) -> Iterator[dis.Instruction]:
    """An instruction on attributes that nobody has heard of."""
    for instruction in instructions:
        attribute = instruction.opname in ("LOAD_ATTR", "LOAD_METHOD")
        yield instruction._replace(opname="FETCH") if attribute else instruction


def unknown_variables(instructions: Iterator[dis.Instruction]) -> Iterator[dis.Instruction]:
    """Instructions on locals of another name, whose action is not known."""
    for instruction in instructions:
        local = instruction.opcode in dis.haslocal and "LOAD" in instruction.opname
        yield instruction._replace(opname="TAKE") if local else instruction


def undecoded(instructions: Iterator[dis.Instruction]) -> Iterator[dis.Instruction]:
    """Instructions on names whose argument ``dis`` cannot tell."""
    for instruction in instructions:
        yield instruction._replace(argval=instruction.arg) if instruction.opcode in dis.hasname else instruction


FUTURES = [python_3_14, unknown_attributes, unknown_variables, undecoded]


@pytest.mark.parametrize("future", FUTURES, ids=lambda future: future.__name__)
@pytest.mark.parametrize("way", WAYS)
def test_instructions_of_a_python_to_come(
    way: str, future: Callable[[Any], Iterator[dis.Instruction]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = dis.get_instructions
    monkeypatch.setattr(reads, "_known", {})
    monkeypatch.setattr(reads.dis, "get_instructions", lambda code: future(plain(code)))
    check(way, monkeypatch)


class _Slotted:
    __slots__ = ("flip", "k")


COUNTER = 0


def _counters(kind: str) -> tuple[Callable[[wf.Tensor], None], Callable[[], Any]]:
    """A function that counts in Python and adds the count to what it is given, and what sees the count."""
    objects = {"attribute": SimpleNamespace(k=0), "module": nn.Identity(), "slot": _Slotted()}
    number, held, listed, group = 0, {"k": 0}, [0], wf.optim.SGD([nn.Parameter(wf.zeros(1))]).param_groups[0]
    nested, empty = {"w": {"k": 0}}, dict[str, int]()
    place = objects.get(kind)
    if place is not None:
        place.k = 0

    def in_object(x: wf.Tensor) -> None:
        assert place is not None
        place.k = (place.k + 1) % 3
        x.add_(place.k)

    def in_object_at_once(x: wf.Tensor) -> None:
        assert place is not None
        place.k += 1
        place.k %= 3
        x.add_(place.k)

    def in_global(x: wf.Tensor) -> None:
        global COUNTER
        COUNTER = (COUNTER + 1) % 3
        x.add_(COUNTER)

    def in_variable(x: wf.Tensor) -> None:
        nonlocal number
        number = (number + 1) % 3
        x.add_(number)

    def in_dict(x: wf.Tensor) -> None:
        held["k"] = (held["k"] + 1) % 3
        x.add_(held["k"])

    def in_list(x: wf.Tensor) -> None:
        listed[0] = (listed[0] + 1) % 3
        x.add_(listed[0])

    def in_nested(x: wf.Tensor) -> None:
        for state in nested.values():
            state["k"] += 1
            x.add_(state["k"])

    def in_new_key(x: wf.Tensor) -> None:
        if not empty:
            empty["k"] = 0
        empty["k"] += 1
        x.add_(empty["k"])

    def in_group(x: wf.Tensor) -> None:
        group["k"] = group.get("k", 0) + 1
        x.add_(group["k"])

    functions: dict[str, tuple[Callable[[wf.Tensor], None], Callable[[], Any]]] = {
        "global": (in_global, lambda: COUNTER),
        "variable": (in_variable, lambda: number),
        "dict": (in_dict, lambda: held["k"]),
        "list": (in_list, lambda: listed[0]),
        "nested": (in_nested, lambda: nested["w"]["k"]),
        "new key": (in_new_key, lambda: empty["k"]),
        "group": (in_group, lambda: group["k"]),
    }
    if kind in functions:
        return functions[kind]
    return (in_object_at_once if kind == "slot" else in_object), lambda: place.k  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "kind", ["attribute", "module", "slot", "global", "variable", "dict", "list", "nested", "new key", "group"]
)
def test_python_numbers_that_a_function_changes_are_changed_by_every_run(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "COUNTER", 0)
    seen = []
    for compiled in (False, True):
        globals()["COUNTER"] = 0
        f, count = _counters(kind)
        g = wf.compile(f) if compiled else f
        x, rows = wf.zeros(1), []
        for _ in range(7):
            g(x)
            rows.append((count(), x.item()))
        seen.append(rows)
    assert seen[0] == seen[1]


def test_tensors_that_change_places_change_them_in_every_run() -> None:
    a, b = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    field = SimpleNamespace(now=wf.asarray([1.0, 2.0, 3.0]), then=wf.zeros(3))
    nn.init.ones_(a.weight), nn.init.zeros_(b.weight)

    @wf.compile
    def step() -> None:
        a.weight, b.weight = b.weight, a.weight
        field.then[1:] = field.now[:-1] * 2
        field.now, field.then = field.then, field.now

    def eager(now: Any, then: Any) -> tuple[Any, Any]:
        then[1:] = now[:-1] * 2
        return then, now

    now, then = field.now.clone(), field.then.clone()
    for k in range(6):
        step()
        now, then = eager(now, then)
        assert (a.weight.item(), b.weight.item()) == ((0.0, 1.0) if k % 2 == 0 else (1.0, 0.0))
        assert (field.now.tolist(), field.then.tolist()) == (now.tolist(), then.tolist())


def test_a_count_that_the_program_sets_back() -> None:
    counted = SimpleNamespace(n=0)

    @wf.compile
    def f(x: wf.Tensor) -> None:
        counted.n += 1
        x.add_(counted.n)

    x = wf.zeros(1)
    for _ in range(3):
        counted.n = 0
        f(x)
        f(x)
    assert (counted.n, x.item()) == (2, 9.0)


def test_a_function_that_is_captured_twice_because_tensors_share_memory_counts_once() -> None:
    counted, made, log = SimpleNamespace(n=0, mask=None), dict[str, Any](), list[int]()
    base = wf.asarray([1.0, 2.0, 3.0, 4.0])
    part = base[:2]

    @wf.compile
    def f(x: wf.Tensor) -> None:
        counted.n += 1
        if counted.mask is None:
            counted.mask = "made"
            x.add_(10)
        if "k" not in made:
            made["k"] = 0
            log.append(1)
        made["k"] += 1
        x.mul_(2)
        part.add_(counted.n)

    expected = base.clone()
    for k in range(1, 4):
        f(base)
        expected = (expected + 10 * (k == 1)) * 2 + wf.asarray([k, k, 0.0, 0.0])
        assert (counted.n, made, log) == (k, {"k": k}, [1])
        assert base.tolist() == expected.tolist()
