"""What captured code does to Python objects happens at every call, as in eager code, or is refused at its line."""

from __future__ import annotations

import bisect
import contextlib
import datetime
import functools
import heapq
import linecache
import operator
import threading
import warnings
import weakref
from collections import ChainMap, Counter, OrderedDict, UserDict, UserList, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from reported import counted

import weft as wf
from weft import nn, optim
from weft.transforms import journal

Program = Callable[[Callable[..., Any]], Any]
PROGRAMS: dict[str, tuple[Program, int | None]] = {}


def program(captures: int | None = None) -> Callable[[Program], Program]:
    """A program, of ``wf.compile`` or what leaves functions as they are, that gives all that can be seen; at most so
    many captures."""

    def noted(function: Program) -> Program:
        PROGRAMS[function.__name__] = function, captures
        return function

    return noted


def plain(value: Any, names: dict[int, int] | None = None) -> Any:
    """What can be seen of a value: bits, types, and which objects are one."""
    names = {} if names is None else names
    if isinstance(value, wf.Tensor):
        return "tensor", names.setdefault(id(value), len(names)), value.dtype.name, value.shape, value.numpy().tobytes()
    if isinstance(value, (list, tuple, deque, set, dict, UserList, UserDict, SimpleNamespace)):
        if id(value) in names:
            return "again", names[id(value)]
        names[id(value)] = len(names)
    if isinstance(value, (dict, UserDict)):
        return type(value).__name__, [(key, plain(v, names)) for key, v in value.items()]
    if isinstance(value, (list, tuple, deque, UserList)):
        return type(value).__name__, [plain(v, names) for v in value]
    if isinstance(value, set):
        return "set", sorted(repr(plain(v, {})) for v in value)
    if isinstance(value, SimpleNamespace) or hasattr(value, "__dict__"):
        return type(value).__name__, plain(dict(vars(value)), names)
    return type(value).__name__, repr(value)


def x_of(n: int) -> wf.Tensor:
    return wf.asarray([1.0 + n, -2.0 * n, 0.5])


def calls(run: Callable[..., Any], look: Callable[[], Any], count: int = 4) -> list[Any]:
    """The results of calls, and what can be seen after each."""
    return [[plain(run(x_of(n))), plain(look())] for n in range(count)]


# --- lists --------------------------------------------------------------------------------------------------------


@program(captures=1)
def list_append(compiled: Any) -> Any:
    log: list[Any] = []

    @compiled
    def run(x: Any) -> Any:
        y = x * 2.0
        log.append(y)
        log.append(1)
        log.append("a")
        return y.sum()

    return calls(run, lambda: log)


@program(captures=1)
def functions_of_an_exit_stack(compiled: Any) -> Any:
    log: list[Any] = []

    @contextlib.contextmanager
    def noting(what: Any) -> Any:
        log.append(what)
        yield 2.0
        log.append("left")

    @compiled
    def run(x: Any) -> Any:
        with contextlib.ExitStack() as stack:
            scale = stack.enter_context(noting("entered"))
            stack.callback(log.append, "called")
            log.append(x * scale)
        return x

    return calls(run, lambda: log)


@program()
def items_of_a_chain_of_maps(compiled: Any) -> Any:
    first: dict[str, Any] = {}
    chain = ChainMap(first, {"scale": 3.0, "n": 0})

    @compiled
    def run(x: Any) -> Any:
        chain["n"] = chain["n"] + 1
        chain["last"] = x * chain["scale"]
        if chain["n"] == 2:
            del chain["last"]
        return x + chain["n"]

    return calls(run, lambda: first)


@program(captures=1)
def list_append_of_the_result(compiled: Any) -> Any:
    log: list[Any] = []

    @compiled
    def run(x: Any) -> Any:
        y = x * 2.0
        log.append(y)
        return y

    return [[plain([run(x_of(n)), *log])] for n in range(3)]


@program(captures=1)
def list_append_of_an_argument(compiled: Any) -> Any:
    log: list[Any] = []

    @compiled
    def run(x: Any) -> Any:
        log.append(x)
        return x + 1.0

    found = []
    for n in range(3):
        x = x_of(n)
        found.append([plain(run(x)), log[-1] is x])
    return found


@program(captures=1)
def list_append_of_a_tensor_from_outside(compiled: Any) -> Any:
    log: list[Any] = []
    w = x_of(5)

    @compiled
    def run(x: Any) -> Any:
        log.append(w)
        return x * w

    return [*calls(run, lambda: log), all(t is w for t in log)]


@program(captures=1)
def list_append_nested(compiled: Any) -> Any:
    log: list[Any] = []

    @compiled
    def run(x: Any) -> Any:
        y = x * 2.0
        log.append((y, {"sum": y.sum(), "n": 3, "both": [y, y]}))
        return y

    return calls(run, lambda: log)


@program(captures=1)
def list_append_item(compiled: Any) -> Any:
    log: list[Any] = []

    @compiled
    def run(x: Any) -> Any:
        loss = (x * x).sum()
        log.append(loss.item())
        log.append(int(loss.item()))
        return loss

    return calls(run, lambda: log)


@program(captures=1)
def list_append_of_methods(compiled: Any) -> Any:
    class Node:
        def __init__(self, value: Any) -> None:
            self.value = value

        def get(self) -> Any:
            return self.value

    log: list[Any] = []

    @compiled
    def run(x: Any) -> Any:
        log.append(Node(x * 2.0).get)
        log.append([x.sum()].copy)
        return x

    return calls(run, lambda: [each() for each in log])


@program(captures=1)
def list_append_of_functions(compiled: Any) -> Any:
    log: list[Any] = []
    seen: list[Any] = []

    @compiled
    def run(x: Any) -> Any:
        loss, count, box = x.sum(), 0, {"x": x * 3.0}

        def counting(by: int = 1, parts: Any = (x * 2.0, [7]), *, more: Any = loss) -> Any:
            nonlocal count
            count += by
            return count, parts, more, box, seen

        def again(n: int) -> Any:
            return loss if n == 0 else again(n - 1)

        counting.loss = loss  # type: ignore[attr-defined]
        log.append((counting, lambda: (count, loss), again))
        box["again"] = again
        return x

    def look() -> Any:
        found = [(c()[:3], c(2)[0], show(), again(3), c.loss, c.__name__) for c, show, again in log]
        held = [(c()[3]["x"], c()[3]["again"] is again, c()[4] is seen) for c, _, again in log]
        return found, held

    return calls(run, look)


@program(captures=1)
def list_append_of_what_holds_nothing(compiled: Any) -> Any:
    log: list[Any] = []

    @compiled
    def run(x: Any) -> Any:
        log.append(object())
        log.append(np.arange(4.0).reshape(2, 2).T)
        log.append(frozenset([1, (2, "a")]))
        log.append([datetime.date(2000, 1, 2), Decimal(3), Fraction(1, 3), range(4), np.float32(0.5)])
        log.append(lambda n: n + 1)
        return x

    def look() -> Any:
        arrays = [each for each in log if isinstance(each, np.ndarray)]
        arrays[-1][0] += 1.0
        plain_ones = [each for each in log if isinstance(each, (frozenset, list))]
        return len({id(each) for each in log if type(each) is object}), repr(arrays), plain_ones, log[-1](1)

    return calls(run, look)


@program(captures=1)
def list_append_of_a_set_that_does_not_change(compiled: Any) -> Any:
    log: list[Any] = []

    @compiled
    def run(x: Any) -> Any:
        log.append(frozenset([x.sum(), 1]))
        return x

    return calls(run, lambda: [sorted(repr(plain(each, {})) for each in held) for held in log])


@program(captures=1)
def list_extend(compiled: Any) -> Any:
    log: list[Any] = []

    @compiled
    def run(x: Any) -> Any:
        log.extend([x * 2.0, 7])
        log.extend(x * k for k in range(2))
        return x

    return calls(run, lambda: log)


@program(captures=1)
def list_iadd(compiled: Any) -> Any:
    box = SimpleNamespace(log=[])
    same = box.log

    @compiled
    def run(x: Any) -> Any:
        box.log += [x * 2.0]
        return x

    return [*calls(run, lambda: box.log), box.log is same]


@program(captures=1)
def list_insert(compiled: Any) -> Any:
    log: list[Any] = [0]

    @compiled
    def run(x: Any) -> Any:
        log.insert(0, x * 2.0)
        log.insert(1, 5)
        return x

    return calls(run, lambda: log)


@program()
def list_pop(compiled: Any) -> Any:
    log: list[Any] = []

    @compiled
    def run(x: Any) -> Any:
        log.append(x.sum())
        if len(log) > 2:
            log.pop(0)
        return x

    return calls(run, lambda: log, 6)


@program()
def list_pop_that_is_used(compiled: Any) -> Any:
    log: list[Any] = [x_of(7)]

    @compiled
    def run(x: Any) -> Any:
        y = log.pop() + x
        log.append(y)
        return y * 2.0

    return calls(run, lambda: log)


@program()
def list_remove_sort_reverse(compiled: Any) -> Any:
    log: list[Any] = [3, 1, 2]

    @compiled
    def run(x: Any) -> Any:
        log.append(2)
        log.sort()
        log.remove(2)
        log.reverse()
        return x * log[0]

    return calls(run, lambda: log)


@program()
def list_sort_by_a_key(compiled: Any) -> Any:
    log: list[Any] = [3, 1, 2]

    @compiled
    def run(x: Any) -> Any:
        log.append(0)
        log.sort(key=lambda n: -n)
        return x

    return calls(run, lambda: log)


@program(captures=1)
def list_clear(compiled: Any) -> Any:
    log: list[Any] = [3, 1, 2]

    @compiled
    def run(x: Any) -> Any:
        log.clear()
        log.append(x * 2.0)
        return x

    return calls(run, lambda: log)


@program()
def list_items_and_slices(compiled: Any) -> Any:
    log: list[Any] = [0, 1, 2, 3]

    @compiled
    def run(x: Any) -> Any:
        log[0] = x * 2.0
        log[-1] = x * 3.0
        log[1:3] = [x, 5]
        return x

    return calls(run, lambda: log)


@program()
def list_del(compiled: Any) -> Any:
    log: list[Any] = [0, 1, 2, 3, 4, 5, 6, 7, 8]

    @compiled
    def run(x: Any) -> Any:
        del log[0], log[-1]
        return x * len(log)

    return calls(run, lambda: log)


@program()
def list_that_is_read_as_well(compiled: Any) -> Any:
    log: list[Any] = []

    @compiled
    def run(x: Any) -> Any:
        log.append(x.sum())
        return x * len(log) + log[-1]

    return calls(run, lambda: log)


@program()
def list_that_another_function_reads(compiled: Any) -> Any:
    log: list[Any] = []

    def count() -> int:
        return len(log)

    @compiled
    def run(x: Any) -> Any:
        log.append(1)
        return x * count()

    return calls(run, lambda: log)


@program()
def list_that_a_function_reads_by_its_argument(compiled: Any) -> Any:
    box = SimpleNamespace(log=[])

    def count(b: Any) -> int:
        return len(b.log)

    @compiled
    def run(x: Any) -> Any:
        box.log.append(1)
        return x * count(box)

    return calls(run, lambda: box.log)


@program()
def list_whose_length_an_object_has(compiled: Any) -> Any:
    class Box:
        def __init__(self) -> None:
            self.log: list[Any] = []

        def __len__(self) -> int:
            return len(self.log)

        @property
        def count(self) -> int:
            return len(self.log)

    box, other = Box(), Box()

    @compiled
    def run(x: Any) -> Any:
        box.log.append(1)
        other.log.append(2)
        return x * len(box) + other.count

    return calls(run, lambda: box.log)


@program()
def list_under_two_names(compiled: Any) -> Any:
    log: list[Any] = []
    other = log

    @compiled
    def run(x: Any) -> Any:
        log.append(1)
        return x * len(other)

    return calls(run, lambda: log)


@program()
def list_by_a_local_name(compiled: Any) -> Any:
    box = SimpleNamespace(log=[])

    @compiled
    def run(x: Any) -> Any:
        log = box.log
        log.append(x * 2.0)
        add = log.append
        add(len(log))
        return x

    return calls(run, lambda: box.log)


@program()
def list_by_unbound_methods_and_functions(compiled: Any) -> Any:
    log: list[Any] = [5]

    @compiled
    def run(x: Any) -> Any:
        list.append(log, 4)
        heapq.heappush(log, 1)
        bisect.insort(log, 2)
        operator.iadd(log, [9])
        operator.setitem(log, 0, 0)
        return x

    return calls(run, lambda: log)


@program()
def lists_in_a_loop(compiled: Any) -> Any:
    logs: list[list[Any]] = [[], []]

    @compiled
    def run(x: Any) -> Any:
        for n, log in enumerate(logs):
            log.append(x * n)
        return x

    return calls(run, lambda: logs)


@program(captures=1)
def list_of_a_module(compiled: Any) -> Any:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[Any] = []

        def forward(self, x: Any) -> Any:
            self.seen.append(x.sum().detach())
            return x * 2.0

    net = Net()
    return calls(compiled(net), lambda: net.seen)


@program(captures=1)
def list_append_that_builtins_call(compiled: Any) -> Any:
    log: list[Any] = []

    @compiled
    def run(x: Any) -> Any:
        list(map(log.append, [1, 2]))
        list(filter(log.append, [3]))
        functools.partial(log.append, 4)()
        operator.methodcaller("append", 5)(log)
        return x

    return calls(run, lambda: log)


@program(captures=1)
def appends_of_decorators_and_class_bodies(compiled: Any) -> Any:
    log: list[Any] = []

    def noted(function: Any) -> Any:
        log.append(function.__name__)
        return function

    @compiled
    def run(x: Any) -> Any:
        @noted
        def scaled(y: Any) -> Any:
            return y * 2.0

        class Inside:
            by = 3.0
            log.append(by)

        return scaled(x) * Inside.by

    return calls(run, lambda: log)


@program(captures=1)
def appends_of_managers(compiled: Any) -> Any:
    log: list[Any] = []

    class Manager:
        def __enter__(self) -> int:
            log.append("in")
            return 3

        def __exit__(self, *_: Any) -> None:
            log.append("out")

    manager = Manager()

    @compiled
    def run(x: Any) -> Any:
        with manager as by, Manager():
            x = x * by
        return x

    return calls(run, lambda: log)


# --- dicts --------------------------------------------------------------------------------------------------------


@program(captures=1)
def dict_items(compiled: Any) -> Any:
    table: dict[Any, Any] = {}

    @compiled
    def run(x: Any) -> Any:
        table["b"] = x * 2.0
        table["a"] = x.sum()
        table["b"] = x * 3.0
        table["n"] = 3
        return x

    return calls(run, lambda: table)


@program()
def dict_by_argument(compiled: Any) -> Any:
    table: dict[Any, Any] = {}

    @compiled
    def run(x: Any, key: str) -> Any:
        table[key] = x * 2.0
        return x

    return [[plain(run(x_of(n), key)), plain(table)] for n, key in enumerate("abacba")]


@program()
def dict_cache(compiled: Any) -> Any:
    cache: dict[int, Any] = {}

    @compiled
    def run(x: Any, n: int) -> Any:
        if n not in cache:
            cache[n] = wf.arange(3) * float(n)
        return x * cache[n]

    return [[plain(run(x_of(k), n)), plain(cache)] for k, n in enumerate((1, 2, 1, 2, 1))]


@program(captures=1)
def dict_update(compiled: Any) -> Any:
    table: dict[Any, Any] = {}

    @compiled
    def run(x: Any) -> Any:
        table.update({"a": x * 2.0}, b=1)
        table.update([("c", x)])
        return x

    return calls(run, lambda: table)


@program()
def dict_setdefault_pop_popitem_del(compiled: Any) -> Any:
    table: dict[Any, Any] = {"z": 0}

    @compiled
    def run(x: Any) -> Any:
        table.setdefault("a", []).append(x * 2.0)
        table["t"] = x
        table["u"] = x
        table.popitem()
        gone = table.pop("t")
        del table["z"]
        table["z"] = table.get("n", 0) + 1
        return gone + x

    return calls(run, lambda: table)


@program(captures=2)
def dict_of_lists(compiled: Any) -> Any:
    history: dict[str, list[Any]] = {"loss": [], "n": []}

    @compiled
    def run(x: Any) -> Any:
        loss = (x * x).sum()
        history["loss"].append(loss.detach())
        history["n"].append(loss.item())
        return loss

    return calls(run, lambda: history, 6)


@program(captures=2)
def dict_default(compiled: Any) -> Any:
    history: Any = defaultdict(list)

    @compiled
    def run(x: Any) -> Any:
        history["loss"].append(x.sum())
        return x

    return calls(run, lambda: history, 6)


@program()
def dict_default_counts(compiled: Any) -> Any:
    history: Any = defaultdict(int)

    @compiled
    def run(x: Any) -> Any:
        history["n"] += 2
        return x

    return calls(run, lambda: history)


@program()
def dict_ordered(compiled: Any) -> Any:
    table: Any = OrderedDict(a=1, b=2)

    @compiled
    def run(x: Any) -> Any:
        table["c"] = x
        table.move_to_end("a")
        return x

    return calls(run, lambda: table)


@program()
def dict_counter(compiled: Any) -> Any:
    counts: Any = Counter()

    @compiled
    def run(x: Any) -> Any:
        counts["a"] += 1
        counts.update(["b", "b"])
        counts.subtract({"a": 3})
        return x

    return calls(run, lambda: counts)


@program()
def dict_nested(compiled: Any) -> Any:
    config: dict[str, Any] = {"a": {"b": {"c": 0}}}

    def helper(inner: Any, value: Any) -> None:
        inner["c"] = value
        inner["d"] = inner.get("d", 0) + 1

    @compiled
    def run(x: Any) -> Any:
        helper(config["a"]["b"], x * 2.0)
        return x

    return calls(run, lambda: config)


@program()
def dict_union(compiled: Any) -> Any:
    box = SimpleNamespace(table={"a": 1})
    same = box.table

    @compiled
    def run(x: Any) -> Any:
        box.table |= {"b": x * 2.0}
        return x

    return [*calls(run, lambda: box.table), box.table is same]


@program()
def dict_of_the_library(compiled: Any) -> Any:
    table, items = UserDict({"a": 1}), UserList([1])

    @compiled
    def run(x: Any) -> Any:
        table["b"] = x * 2.0
        items.append(x)
        return x

    return calls(run, lambda: [table, items])


# --- sets, deques, bytes ------------------------------------------------------------------------------------------


@program()
def sets(compiled: Any) -> Any:
    seen: set[Any] = {1}
    steps = [0]

    @compiled
    def run(x: Any) -> Any:
        steps[0] += 1
        seen.add(steps[0] * 10)
        seen.discard(1)
        seen.update({steps[0]})
        seen.difference_update([10])
        return x

    return calls(run, lambda: seen)


@program()
def set_union(compiled: Any) -> Any:
    box = SimpleNamespace(seen={1})

    @compiled
    def run(x: Any, n: int) -> Any:
        box.seen |= {n}
        return x

    return [[plain(run(x_of(0), n)), plain(box.seen)] for n in (3, 4, 3)]


@program(captures=1)
def deques(compiled: Any) -> Any:
    recent: Any = deque(maxlen=3)

    @compiled
    def run(x: Any) -> Any:
        recent.append(x * 2.0)
        recent.appendleft(3)
        return x

    return calls(run, lambda: recent)


@program()
def deque_pop_and_rotate(compiled: Any) -> Any:
    recent: Any = deque([1, 2, 3, 4, 5])

    @compiled
    def run(x: Any) -> Any:
        n = recent.popleft()
        recent.rotate(1)
        recent.extend([n, 9])
        return x * n

    return calls(run, lambda: recent)


@program()
def bytes_that_grow(compiled: Any) -> Any:
    data = bytearray(b"ab")

    @compiled
    def run(x: Any) -> Any:
        data.append(99)
        data.extend(b"xy")
        data[0] = 65
        return x

    return [[plain(run(x_of(n))), bytes(data)] for n in range(3)]


# --- attributes ---------------------------------------------------------------------------------------------------


class Plain:
    """An object."""


@program()
def attributes_of_objects_in_a_list(compiled: Any) -> Any:
    boxes = [Plain(), Plain()]

    @compiled
    def run(x: Any) -> Any:
        for n, box in enumerate(boxes):
            box.last = x * n
            box.pair = (x, [x + 1.0, n])
            box.n = n
        return x

    return calls(run, lambda: [vars(box) for box in boxes])


@program()
def counters_of_objects_that_are_passed(compiled: Any) -> Any:
    def helper(config: Any) -> None:
        config.steps += 1

    box = SimpleNamespace(steps=0)

    @compiled
    def run(x: Any, box: Any) -> Any:
        helper(box)
        return x

    return [[plain(run(x_of(n), box)), box.steps] for n in range(4)]


@program()
def attributes_deleted_and_set_by_name(compiled: Any) -> Any:
    box, name = SimpleNamespace(a=1, b=2), "c"

    @compiled
    def run(x: Any) -> Any:
        setattr(box, name, x * 2.0)
        box.d = box.e = 1
        del box.d
        delattr(box, "e")
        return x

    return calls(run, lambda: vars(box))


class Property:
    """A setter of the user's."""

    def __init__(self) -> None:
        self._v, self.sets = 0, 0

    @property
    def v(self) -> Any:
        return self._v

    @v.setter
    def v(self, value: Any) -> None:
        self._v = value * 2
        self.sets += 1


@program()
def properties(compiled: Any) -> Any:
    box = Property()

    @compiled
    def run(x: Any) -> Any:
        box.v = x
        return x + box.v

    return calls(run, lambda: vars(box))


class Setting:
    """``__setattr__`` of the user's."""

    def __init__(self) -> None:
        object.__setattr__(self, "log", [])

    def __setattr__(self, name: str, value: Any) -> None:
        self.log.append(name)
        super().__setattr__(name, value)
        self.__dict__["last"] = name


@program()
def setters_of_a_class(compiled: Any) -> Any:
    box = Setting()

    @compiled
    def run(x: Any) -> Any:
        box.a = x * 2.0
        return x

    return calls(run, lambda: vars(box))


class Slots:
    """An object without a dict."""

    __slots__ = ("a", "b")


@program()
def slots(compiled: Any) -> Any:
    box = Slots()
    box.a, box.b = 0, 0

    @compiled
    def run(x: Any) -> Any:
        box.a, box.b = x * 2.0, [x]
        return x

    return calls(run, lambda: [box.a, box.b])


class Private:
    """Names that Python spells otherwise."""

    def __init__(self) -> None:
        self.__n = 0

    def count(self) -> int:
        self.__n += 1
        self.__m = self.__n
        return self.__n


@program()
def private_names(compiled: Any) -> Any:
    box = Private()
    run = compiled(lambda x: x * box.count())
    return calls(run, lambda: vars(box))


class Class:
    """An attribute of a class."""

    total = 0


@program()
def attributes_of_classes_and_functions(compiled: Any) -> Any:
    Class.total = 0

    def helper() -> None:
        helper.calls += 1  # type: ignore[attr-defined]

    helper.calls = 0  # type: ignore[attr-defined]

    @compiled
    def run(x: Any) -> Any:
        Class.total += 2
        Class.last = x * 2.0  # type: ignore[attr-defined]
        helper()
        return x

    return calls(run, lambda: [Class.total, Class.last, helper.calls])  # type: ignore[attr-defined]


@dataclass
class State:
    """What a cell carries on."""

    h: Any
    steps: int = 0


class Pair(NamedTuple):
    """Two tensors."""

    a: Any
    b: Any


@program()
def objects_that_are_made_inside(compiled: Any) -> Any:
    box = SimpleNamespace(state=State(x_of(9)))

    @compiled
    def run(x: Any) -> Any:
        box.state = State(box.state.h * 0.5 + x, 3)
        box.pair = Pair(x, x * 2.0)
        return box.state.h

    found = []
    for n in range(4):
        before = box.state
        found.append([plain(run(x_of(n))), plain(vars(box.state)), plain(box.pair), box.state is before])
    return found


@program()
def a_list_that_is_made_and_filled_inside(compiled: Any) -> Any:
    box = SimpleNamespace(rows=None, same=None)

    @compiled
    def run(x: Any) -> Any:
        box.rows = []
        for k in range(3):
            box.rows.append(x * k)
        box.same = box.rows
        return x

    kept, found = [], []
    for n in range(3):
        found.append([plain(run(x_of(n))), plain(vars(box)), box.same is box.rows])
        kept.append(box.rows)
    return [*found, plain(kept)]


@program(captures=1)
def what_is_made_inside_is_pythons_own(compiled: Any) -> Any:
    class Stack:
        def __init__(self) -> None:
            self.items: list[Any] = []
            self.top = None
            self.itself = self

        def push(self, x: Any) -> None:
            self.items.append(x)
            self.top = x

    @compiled
    def run(x: Any) -> Any:
        stack, names = Stack(), {}
        for k in range(3):
            stack.push(x * k)
            names[k] = stack.top
        stack.items.pop()
        return sum(stack.items) + names[2]

    return calls(run, lambda: None)


@program()
def objects_that_change_places(compiled: Any) -> Any:
    box = SimpleNamespace(a=[1], b=[2])

    @compiled
    def run(x: Any) -> Any:
        box.a, box.b = box.b, box.a
        return x * box.a[0]

    return calls(run, lambda: vars(box))


@program()
def targets_of_all_kinds(compiled: Any) -> Any:
    box, table, items = SimpleNamespace(), {}, [0, 0, 0, 0]

    @compiled
    def run(x: Any) -> Any:
        box.a = table["a"] = y = x * 2.0
        i, items[i] = 1, y
        (box.b, [table["b"], *items[2:]]) = 1, (x, 2, 3)
        for box.c in range(3):
            pass
        for table["k"], box.d in ((1, x), (2, y)):
            pass
        return y

    return calls(run, lambda: [vars(box), table, items])


@program()
def a_function_that_keeps_a_tensor(compiled: Any) -> Any:
    box = SimpleNamespace(show=None)

    @compiled
    def run(x: Any) -> Any:
        y = x * 2.0
        box.show = lambda: y
        return x

    return calls(run, lambda: box.show())


@program()
def a_list_that_a_cache_holds(compiled: Any) -> Any:
    @functools.cache
    def table(n: int) -> list[Any]:
        return []

    @compiled
    def run(x: Any) -> Any:
        table(3).append(x * 2.0)
        return x

    return calls(run, lambda: table(3))


@program(captures=1)
def objects_that_hold_each_other(compiled: Any) -> Any:
    class Node:
        def __init__(self, x: Any, parent: Any = None) -> None:
            self.x, self.children, self.parent = x, [], parent
            if parent is not None:
                parent.children.append(self)

    @compiled
    def run(x: Any) -> Any:
        root = Node(x)
        for k in range(3):
            Node(x * k, root)
        return sum(child.x for child in root.children) + root.x

    return calls(run, lambda: None)


@program(captures=1)
def objects_that_register_themselves(compiled: Any) -> Any:
    known: list[Any] = []

    class Node:
        def __init__(self, x: Any) -> None:
            self.x = x
            known.append(self)

    @compiled
    def run(x: Any) -> Any:
        node = Node(x * 2.0)
        node.y = node.x + 1.0  # type: ignore[attr-defined]
        return node.y  # type: ignore[attr-defined]

    return [*calls(run, lambda: [vars(node) for node in known]), len({id(node) for node in known})]


@program()
def a_frozen_dataclass_that_is_replaced(compiled: Any) -> Any:
    @dataclass(frozen=True)
    class Cell:
        h: Any
        n: int = 0

    box = SimpleNamespace(cell=Cell(x_of(9)))

    @compiled
    def run(x: Any) -> Any:
        box.cell = replace(box.cell, h=box.cell.h * 0.5 + x, n=2)
        return box.cell.h

    return calls(run, lambda: vars(box.cell))


@program(captures=1)
def blocks_of_all_kinds(compiled: Any) -> Any:
    log: list[Any] = []

    @compiled
    def run(x: Any) -> Any:
        try:
            log.append(1)
            raise KeyError
        except KeyError:
            log.append(x * 2.0)
        finally:
            log.append(3)
        return x

    return calls(run, lambda: log)


@program(captures=1)
def a_long_loop_that_appends(compiled: Any) -> Any:
    log: list[Any] = []

    @compiled
    def run(x: Any) -> Any:
        for _ in range(40):
            x = x * 0.5 + 1.0
            log.append(x.sum())
        return x

    return calls(run, lambda: log, 2)


@program()
def an_object_of_a_thread(compiled: Any) -> Any:
    box = threading.local()
    box.n = 0

    @compiled
    def run(x: Any) -> Any:
        box.n, box.last = 5, x * 2.0
        return x

    return calls(run, lambda: [box.n, box.last])


@program(captures=1)
def items_of_an_array(compiled: Any) -> Any:
    array = np.zeros(3)

    @compiled
    def run(x: Any) -> Any:
        array[0] = 5.0
        array[1:] += 2.0
        return x

    found = []
    for n in range(3):
        array[0] = n
        found.append([plain(run(x_of(n))), array.tolist()])
    return found


# --- variables, modules, optimizers -------------------------------------------------------------------------------

counts = 0
rows: Any = None


@program()
def variables_of_all_kinds(compiled: Any) -> Any:
    global counts, rows
    counts, rows = 0, None
    last: Any = None

    def helper(x: Any) -> None:
        nonlocal last
        last = {"x": x * 2.0}

    @compiled
    def run(x: Any) -> Any:
        global counts, rows
        counts += 1
        rows = []
        rows.append(x)
        helper(x)
        return x

    return calls(run, lambda: [counts, rows, last])


@program()
def a_cache_of_a_module(compiled: Any) -> Any:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 3, bias=False)
            self.cache: Any = None
            self.last: Any = None

        def forward(self, x: Any) -> Any:
            if self.cache is None:
                self.cache = {"mask": wf.arange(3) > 0, "rows": [x]}
            self.last = [x, x * 2.0]
            return wf.where(self.cache["mask"], x, 0.0)

    net = Net()
    return calls(compiled(net), lambda: [net.cache, net.last])


@program()
def a_scheduler_of_the_users(compiled: Any) -> Any:
    p = nn.Parameter(wf.ones((3,)))
    opt = optim.SGD([p], lr=1.0)

    class Scheduler:
        def __init__(self) -> None:
            self.epoch, self.rates = 0, []

        def step(self) -> None:
            self.epoch += 1
            for group in opt.param_groups:
                group["lr"] = 1.0 / (1 + self.epoch)
                self.rates.append(group["lr"])

    scheduler = Scheduler()

    @compiled
    def run(x: Any) -> Any:
        p.grad = x
        opt.step()
        scheduler.step()
        return p * 1.0

    return calls(run, lambda: [scheduler.epoch, scheduler.rates, opt.param_groups[0]["lr"]])


@program()
def a_global_by_way_of_globals(compiled: Any) -> Any:
    globals()["STEPS"] = 1

    @compiled
    def run(x: Any) -> Any:
        globals()["STEPS"] += 1
        return x * globals()["STEPS"]

    return calls(run, lambda: globals()["STEPS"])


@program()
def options_by_argument(compiled: Any) -> Any:
    p = nn.Parameter(wf.ones((3,)))
    opt = optim.SGD([p], lr=1.0, momentum=0.5)

    @compiled
    def run(x: Any, rate: float) -> Any:
        opt.param_groups[0]["lr"] = rate
        opt.param_groups[0].update(momentum=rate / 2.0)
        p.grad = x
        opt.step()
        return p * 1.0

    found = []
    for n, rate in enumerate((0.5, 0.25, 0.5, 0.25, 0.5)):
        found.append([plain(run(x_of(n), rate)), dict(opt.param_groups[0])["lr"], opt.param_groups[0]["momentum"]])
    return found


@program()
def a_group_that_is_added(compiled: Any) -> Any:
    p, q = nn.Parameter(wf.ones((3,))), nn.Parameter(wf.ones((3,)))
    opt = optim.SGD([p], lr=1.0)

    @compiled
    def run(x: Any, late: bool) -> Any:
        if late and len(opt.param_groups) == 1:
            opt.add_param_group({"params": [q], "lr": 0.5})
        p.grad, q.grad = x, x * 2.0
        opt.step()
        return p * 1.0 + q

    found = []
    for n, late in enumerate((False, False, True, True)):
        found.append([plain(run(x_of(n), late)), plain(q), len(opt.param_groups), opt.param_groups[-1]["lr"]])
    return found


@pytest.mark.parametrize("name", PROGRAMS)
def test_compiled_programs_leave_what_eager_ones_leave(name: str) -> None:
    function, captures = PROGRAMS[name]
    expected = function(lambda f: f)
    with counted() as found, warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* has been captured")
        assert function(wf.compile) == expected
    assert captures is None or len(found) <= captures


# --- changes, numbers and reads that meet ---------------------------------------------------------------------------


@program()
def number_that_is_deleted_and_stored(compiled: Any) -> Any:
    held = {"n": 1}
    box = SimpleNamespace(n=1)

    @compiled
    def run(x: Any) -> Any:
        n = held["n"]
        del held["n"]
        held["n"] = n + 1
        k = box.n
        del box.n
        box.n = k + 1
        return x * n

    return calls(run, lambda: [held, box.n])


@program()
def number_in_a_dict_that_is_cleared(compiled: Any) -> Any:
    held = {"n": 1}

    @compiled
    def run(x: Any) -> Any:
        n = held["n"]
        held.clear()
        held["a"], held["n"], held["z"] = 1, n + 1, n
        return x * n

    return calls(run, lambda: list(held.items()))


@program()
def array_that_is_added_to(compiled: Any) -> Any:
    box, array = SimpleNamespace(b=np.zeros(2)), np.zeros(3)

    @compiled
    def run(x: Any) -> Any:
        box.b += 1
        array[0] += 1
        return x * float(box.b[0]) + float(array[0])

    return calls(run, lambda: [box.b.tolist(), array.tolist()])


@program()
def long_containers_that_are_read(compiled: Any) -> Any:
    log, data, users = [0.0] * 2000, bytearray(b"a"), UserList([1])

    @compiled
    def run(x: Any) -> Any:
        log.append(1.0)
        data.append(2)
        users.append(3)
        return x * len(log) + len(data) + len(users)

    return calls(run, lambda: [len(log), bytes(data), list(users)])


@program()
def what_is_put_in_comes_from_outside(compiled: Any) -> Any:
    log: list[Any] = []
    known: dict[Any, Any] = {}
    seen: set[Any] = set()
    other, pairs, numbers = [1], {"a": 1}, {1}

    @compiled
    def run(x: Any) -> Any:
        log.extend(other)
        known.update(pairs)
        seen.update(numbers)
        return x * len(other)

    def look() -> Any:
        found = [list(log), dict(known), set(seen)]
        other.append(len(other))
        pairs[str(len(pairs))] = len(pairs)
        numbers.add(len(numbers) + 5)
        return found

    return calls(run, look)


@program()
def setdefault_of_what_is_there(compiled: Any) -> Any:
    held: dict[Any, Any] = {"k": 2}

    @compiled
    def run(x: Any) -> Any:
        held.setdefault("log", []).append(x.sum())
        return x * held.setdefault("k", 1)

    def look() -> Any:
        found = plain(held)
        held["k"] += 3
        if len(held["log"]) == 2:
            del held["log"]
        return found

    return calls(run, look)


@program()
def variable_that_is_deleted(compiled: Any) -> Any:
    value = 0

    @compiled
    def run(x: Any) -> Any:
        nonlocal value
        value = 1
        del value
        return x

    def look() -> Any:
        try:
            return value
        except NameError:
            return "unbound"

    return calls(run, look)


@program()
def dict_whose_attributes_are_items(compiled: Any) -> Any:
    class Namespace(dict[str, Any]):
        __getattr__ = dict.__getitem__
        __setattr__ = dict.__setitem__  # type: ignore[assignment]

    held = Namespace(n=1)

    @compiled
    def run(x: Any) -> Any:
        held.n += 1
        return x * held.n

    return calls(run, lambda: dict(held))


@program()
def sizes_as_keys(compiled: Any) -> Any:
    cache: dict[Any, Any] = {}

    @compiled
    def run(x: Any) -> Any:
        n = x.shape[0]
        cache[x.shape] = n
        if n not in cache:
            cache[n] = 1
        cache.setdefault((n, "k"), n)
        return x * cache[n]

    found = [plain(run(wf.ones(n))) for n in (2, 3, 4, 3)]
    return [found, sorted(map(repr, cache.items())), {type(k) for k in cache}]


@program()
def sorts_by_a_function_that_writes(compiled: Any) -> Any:
    items, seen = [3, 1, 2], []

    def key(value: int) -> int:
        seen.append(value)
        return -value

    @compiled
    def run(x: Any) -> Any:
        items.sort(key=key)
        items.sort(key=abs, reverse=True)
        return x * items[0]

    return calls(run, lambda: [items, len(seen)])


@program()
def variable_that_a_branch_stores(compiled: Any) -> Any:
    total, count = wf.zeros(3), wf.zeros(())

    @compiled
    def run(x: Any) -> Any:
        nonlocal total, count
        if x.sum() > 0:
            total = total + x
        else:
            count = count + 1
        return x

    return calls(run, lambda: [total, count])


def test_an_attribute_that_is_gone_is_missed() -> None:
    box = SimpleNamespace(tmp=1)

    @wf.compile
    def run(x: Any) -> Any:
        del box.tmp
        return x

    run(wf.ones(2))
    box.tmp = 2
    run(wf.ones(2))
    with pytest.raises(AttributeError, match="tmp"):
        run(wf.ones(2))


def test_a_tensor_of_an_array_that_was_changed_is_refused() -> None:
    array = np.zeros(2, np.float32)

    @wf.compile
    def run(x: Any) -> Any:
        array[0] += 1
        return x * wf.asarray(array)

    with pytest.raises(wf.CaptureError, match="an array that captured code has changed before"):
        run(wf.ones(2))
    assert array.tolist() == [0.0, 0.0]


def test_a_number_that_cannot_be_placed_stays_one() -> None:
    array, box = np.zeros(3), SimpleNamespace(lr=1.0)

    @wf.compile
    def run(x: Any) -> Any:
        return x * box.lr * array.size

    for k in range(4):
        box.lr = 1.0 + k
        array = np.zeros(3 + k)
        assert run(wf.ones(2)).tolist() == [(1.0 + k) * (3 + k)] * 2
        assert box.lr == 1.0 + k


# --- refused, undone ----------------------------------------------------------------------------------------------


def changes_a_list(x: Any, kept: Any) -> Any:
    if x.sum() > 0:
        kept.log.append(1)  # here
    return x


def counts_in_a_helper(x: Any, kept: Any) -> Any:
    def helper() -> None:
        kept.n += 1  # here

    if x.sum() > 0:
        helper()
    return x


def stores_an_item_in_a_loop(x: Any, kept: Any) -> Any:
    while x.sum() < 9:
        x = x + 1.0
        kept.table["x"] = x  # here
    return x


def changes_objects_in_a_branch(x: Any, kept: Any) -> Any:
    if x.sum() > 0:
        y = x
    else:
        for box in kept.boxes:
            box.n = 3  # here
        y = -x
    return y


def stores_an_error(x: Any, kept: Any) -> Any:
    error = ValueError("a")
    error.loss = x.sum()  # type: ignore[attr-defined]
    kept.n = {"error": error}  # here
    return x


def appends_an_iterator(x: Any, kept: Any) -> Any:
    kept.log.append(iter([x, 2]))  # here
    return x


def appends_arrays_of_one_memory(x: Any, kept: Any) -> Any:
    array = np.zeros(4)
    kept.log.append([array, array[:2]])  # here
    return x


def stores_a_text(x: Any, kept: Any) -> Any:
    kept.log.append(f"{x.sum()}")  # here
    return x


@pytest.mark.parametrize(
    "function",
    [
        changes_a_list,
        counts_in_a_helper,
        stores_an_item_in_a_loop,
        changes_objects_in_a_branch,
        stores_a_text,
        stores_an_error,
        appends_an_iterator,
        appends_arrays_of_one_memory,
    ],
)
def test_what_cannot_be_repeated_is_refused_at_its_line(function: Any) -> None:
    kept = SimpleNamespace(log=[], n=0, table={}, boxes=[SimpleNamespace(n=0)])
    before = plain(kept)
    with pytest.raises(wf.CaptureError, match=r"the function changes|a string with the value|stored") as caught:
        wf.compile(lambda x: function(x, kept))(x_of(1))
    assert caught.value.where is not None
    assert linecache.getline(*caught.value.where).rstrip().endswith("# here")
    assert plain(kept) == before


def test_what_a_container_held_before_is_not_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_MANY", 2000)

    def made(compiled: Any) -> Any:
        log: list[Any] = [[k] for k in range(3000)]
        table: dict[int, Any] = {k: [k] for k in range(3000)}

        @compiled
        def run(x: Any) -> Any:
            table[0] = {"sum": x.sum()}
            table.update({-1: [table[0], x * 2.0]})
            log.append({"loss": x.sum(), "k": [1]})
            return x

        return [[plain(run(x_of(n))), plain([log[3000:], table[0], table[-1]])] for n in range(3)]

    assert made(wf.compile) == made(lambda f: f)


def test_too_much_to_look_through_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_MANY", 100)
    log: list[Any] = []

    @wf.compile
    def run(x: Any) -> Any:
        log.append([[k] for k in range(200)])  # here
        return x

    with pytest.raises(wf.CaptureError, match="holds more than 100 objects") as caught:
        run(x_of(0))
    assert caught.value.where is not None and not log
    assert linecache.getline(*caught.value.where).rstrip().endswith("# here")


def test_attributes_that_a_branch_stores_are_as_in_eager_code() -> None:
    def made(compiled: Any) -> Any:
        box = SimpleNamespace(h=x_of(3), n=wf.asarray(0), log=[])

        @compiled
        def run(x: Any) -> Any:
            if x.sum() > 0:
                box.h = box.h + x
                box.n = box.n + 1
            else:
                box.h = x
            box.log.append(box.h)
            return box.h

        return [[plain(run(x)), plain(vars(box))] for x in (x_of(1), -x_of(1), x_of(2))]

    assert made(wf.compile) == made(lambda f: f)


def test_what_is_made_inside_costs_runs_nothing() -> None:
    class Node:
        def __init__(self, x: Any, parent: Any = None) -> None:
            self.x, self.children, self.parent = x, [], parent
            if parent is not None:
                parent.children.append(self)

    @wf.compile
    def run(x: Any) -> Any:
        root, names = Node(x), {}
        for k in range(3):
            Node(x * k, root)
            names[k] = root.children[-1].x
        return sum(names.values())

    assert len(run.graph(x_of(0)).outputs) == 1
    run(x_of(0))
    assert run._entry((x_of(0),), {})[0].captured.returns.repeated is None


def test_objects_that_a_branch_makes_are_its_own() -> None:
    class Box:
        def __init__(self, x: Any) -> None:
            self.items = [x]

    @wf.compile
    def run(x: Any) -> Any:
        if x.sum() > 0:
            box = Box(x)
            box.items.append(x * 2.0)
            y = box.items[0] + box.items[1]
        else:
            y = -x
        return y

    for x in (x_of(1), -x_of(1)):
        assert run(x).tolist() == ((x * 3.0) if float(x.sum()) > 0 else -x).tolist()


@pytest.mark.parametrize("fails", ["the capture", "the first run", "a later run"])
def test_calls_that_fail_leave_nothing(fails: str) -> None:
    log, table, seen, box = [0], {"z": 0}, {1}, SimpleNamespace(n=0, last=None, items=[1, 2])
    bad = fails == "the capture"

    @wf.compile
    def run(x: Any, i: Any) -> Any:
        log.append(x * 2.0)
        log.insert(0, 3)
        table["a"] = x
        del table["z"]
        table["z"] = 1
        seen.add(2)
        box.n += 1
        box.last = [x]
        box.items.reverse()
        if bad:
            raise ValueError("no")
        return wf.take(x, i, axis=0)

    good, wrong = wf.asarray([0]), wf.asarray([9])
    if fails == "a later run":
        run(x_of(0), good)
    before, names = plain([log, table, sorted(seen)]), plain(box)
    with pytest.raises((ValueError, IndexError)):
        run(x_of(1), wrong)
    assert plain([log, table, sorted(seen)]) == before and plain(box) == names
    bad = False
    run(x_of(1), good)
    assert log[0] == 3 and log[-1].tolist() == (x_of(1) * 2.0).tolist() and box.last[0].tolist() == x_of(1).tolist()


def test_what_a_look_does_is_taken_back() -> None:
    log: list[Any] = []

    @wf.compile
    def run(x: Any) -> Any:
        log.append(x * 2.0)
        return x

    run.graph(x_of(0))
    wf.eval_shape(run, wf.spec(3))
    assert log == []
    run(x_of(1))
    assert [t.tolist() for t in log] == [(x_of(1) * 2.0).tolist()]


def test_threads_that_append_at_once() -> None:
    log: list[Any] = []
    start = threading.Barrier(4)

    @wf.compile
    def run(x: Any) -> Any:
        log.append(x * 2.0)
        return x.sum()

    def work(n: int) -> None:
        start.wait()
        for k in range(25):
            run(wf.asarray([float(n), float(k)]))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = sorted(tuple(t.tolist()) for t in log)
    assert found == sorted((2.0 * n, 2.0 * k) for n in range(4) for k in range(25))


def test_a_capture_that_fails_leaves_what_other_threads_appended() -> None:
    log: list[Any] = []
    table: dict[str, int] = {}
    seen = {1}

    @wf.compile
    def run(x: Any) -> Any:
        log.append(x * 2.0)
        table["a"] = 1
        seen.add(1)
        seen.add(2)
        other = threading.Thread(target=lambda: (log.append("theirs"), table.update(b=2), seen.add(3)))
        other.start()
        other.join()
        still.start()
        raise ValueError("no")

    done = threading.Event()
    still = threading.Thread(target=done.wait)
    try:
        with pytest.raises(ValueError, match="no"):
            run(x_of(0))
        assert log == ["theirs"] and table == {"b": 2} and seen == {1, 3}
    finally:
        done.set()


def test_what_an_object_holds_besides_is_not_looked_through() -> None:
    box = SimpleNamespace(data=[[k] for k in range(1_100_000)], n=0, log=[])

    @wf.compile
    def run(x: Any) -> Any:
        box.n += 1
        box.log.append(x.sum())
        return x * box.n

    for n in range(3):
        assert run(wf.ones(2)).tolist() == [n + 1.0] * 2 and len(box.log) == box.n == n + 1


class _Key:
    """Something that weak references can name."""


_key, _weak_set = _Key(), weakref.WeakSet[_Key]()
_by_key: Any = weakref.WeakKeyDictionary()
_by_name: Any = weakref.WeakValueDictionary()
_chain: Any = ChainMap({})


def _sets_by_key() -> None:
    _by_key[_key] = 1


def _sets_by_name() -> None:
    _by_name["a"] = _key


def _deletes() -> None:
    del _by_key[_key]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda: _weak_set.add(_key), r"WeakSet\.add\(\)"),
        (lambda: _weak_set.clear(), r"WeakSet\.clear\(\)"),
        (_sets_by_key, r"WeakKeyDictionary\.__setitem__\(\)"),
        (_sets_by_name, r"WeakValueDictionary\.__setitem__\(\)"),
        (_deletes, r"WeakKeyDictionary\.__delitem__\(\)"),
        (lambda: _chain.update(a=1), r"ChainMap\.update\(\)"),
    ],
)
def test_what_would_change_unseen_is_refused(change: Callable[[], Any], name: str) -> None:
    @wf.compile
    def run(x: Any) -> Any:
        change()
        return x + 1

    with pytest.raises(wf.CaptureError, match=name):
        run(wf.ones(2))
    assert not (_weak_set or _by_key or _by_name or _chain)


def test_such_containers_of_the_function_itself_change() -> None:
    @wf.compile
    def run(x: Any) -> Any:
        own: Any = weakref.WeakSet()
        own.add(_key)
        return x + len(own)

    assert [run(wf.ones(1)).item() for _ in range(3)] == [2.0] * 3
