"""Numbers and tensors in places that are inputs, and other threads: notebooks, progress bars and loaders have some."""

import copy
import math
import os
import pickle
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from reported import counted

import weft as wf
from weft import nn

global_count = 0


@pytest.fixture
def others() -> Iterator[None]:
    """Another thread, which does nothing."""
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    yield
    stop.set()
    thread.join()


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls, self.total = 0, 0.0

    def forward(self, x: Any) -> Any:
        self.calls += 1
        self.total += x.sum().item()
        return x * self.calls + self.total


def _of_module() -> Callable[[Any], Any]:
    return Counting()


def _of_object() -> Callable[[Any], Any]:
    c = SimpleNamespace(n=0, lr=1.0)

    def run(x: Any) -> Any:
        c.lr *= 0.5
        c.n += 1
        return x * c.n * c.lr

    return run


def _of_dict() -> Callable[[Any], Any]:
    config = {"lr": 1.0}

    def run(x: Any) -> Any:
        config["lr"] *= 0.5
        return x * config["lr"]

    return run


def _of_closure() -> Callable[[Any], Any]:
    n = 0

    def run(x: Any) -> Any:
        nonlocal n
        n += 1
        return x * n

    return run


def _of_globals() -> Callable[[Any], Any]:
    def run(x: Any) -> Any:
        global global_count
        global_count += 1
        return x * global_count

    return run


def _of_tensor() -> Callable[[Any], Any]:
    c = SimpleNamespace(h=wf.zeros((3,)))

    def run(x: Any) -> Any:
        c.h = c.h * 0.5 + x
        return c.h * 2

    return run


@pytest.mark.parametrize("make", [_of_module, _of_object, _of_dict, _of_closure, _of_globals, _of_tensor])
def test_places_are_inputs_while_another_thread_runs(make: Any, others: None) -> None:
    global global_count
    x = wf.asarray(np.arange(3, dtype=np.float32))
    found = []
    for wrap in (lambda f: f, wf.compile):
        global_count = 0
        run = wrap(make())
        with counted() as captures:
            found.append([run(x).numpy().tolist() for _ in range(6)])
    assert found[0] == found[1] and len(captures) == 2


def _elsewhere(look: Callable[[], Any]) -> Any:
    """What a function gives in another thread."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(look())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def _met_in_a_capture(look: Callable[[Any], Any], before: int = 0) -> Any:
    """What ``look`` gives in another thread of an object whose numbers are inputs, while a function that has computed
    the first of them is captured: 2 and 0.5; the integer is 2 more than ``before``."""
    c = SimpleNamespace(n=before, lr=1.0)
    seen: list[Any] = []

    def see() -> None:
        stands = type(c.n) is not int and type(c.lr) is not float
        value = _elsewhere(lambda: look(c))
        if stands:
            seen.append(value)

    def run(x: Any) -> Any:
        c.n += 1
        watching()
        return x * c.n * c.lr

    exec("def watching():\n    see()\n", made := {"see": see})  # without source: it runs as it is
    watching = made["watching"]
    compiled = wf.compile(run)
    for lr in (1.0, 0.5, 0.25):
        c.lr = lr
        compiled(wf.ones((2,)))
    return seen


LOOKS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "add": (lambda c: c.n + 1, 3),
    "reflected": (lambda c: 2 - c.n, 0),
    "compared": (lambda c: c.n < 3, True),
    "truth": (lambda c: bool(c.n), True),
    "text": (lambda c: f"{c.lr:.2f} {c.n} {c.n!r}", "0.50 2 2"),
    "index": (lambda c: [5, 6, 7][c.n], 7),
    "range": (lambda c: list(range(c.n)), [0, 1]),
    "math": (lambda c: math.sqrt(c.lr * 2), 1.0),
    "hash": (lambda c: {1: "one", 2: "two"}[c.n], "two"),
    "numpy": (lambda c: float(np.float64(c.lr)), 0.5),
    "pickle": (lambda c: pickle.loads(pickle.dumps(c.lr)), 0.5),
    "copy": (lambda c: copy.deepcopy([c.n]), [2]),
    "round": (lambda c: round(c.lr * 3), 2),
    "isinstance": (lambda c: (isinstance(c.n, int), isinstance(c.lr, float)), (True, True)),
    "tensor": (lambda c: (wf.ones((2,)) * c.lr + c.n).tolist(), [2.5, 2.5]),
    "asarray": (lambda c: wf.asarray([c.n, 1]).tolist(), [2, 1]),
    "full": (lambda c: wf.full((2,), c.lr).tolist(), [0.5, 0.5]),
    "attribute": (lambda c: c.n.bit_length(), 2),
    "compiled": (lambda c: wf.compile(lambda x, n: x * n)(wf.ones((2,)), c.n).tolist(), [2.0, 2.0]),
}


@pytest.mark.parametrize("name", LOOKS)
def test_a_number_of_a_capture_is_the_number_itself_to_another_thread(name: str) -> None:
    look, expected = LOOKS[name]
    seen = _met_in_a_capture(look)
    assert seen == [expected]


KEEPING: dict[str, Callable[[Any], Any]] = {  # what remembers the numbers that it is given
    "operand": lambda n: (wf.ones((2,)) + n).tolist(),
    "reflected": lambda n: (n / wf.ones((2,))).tolist(),
    "in place": lambda n: wf.ones((2,)).mul_(n).tolist(),
    "slice": lambda n: wf.ones((100,))[n:].shape,
    "index": lambda n: wf.arange(100)[n].item(),
    "index of a store": lambda n: wf.zeros((100,)).__setitem__(n, 1.0),
    "reshape": lambda n: wf.ones((200,))[: 2 * n].reshape(n, -1).shape,
    "view": lambda n: wf.ones((200,))[: 2 * n].view((n, 2)).shape,
    "expand": lambda n: wf.ones((1,)).expand(n).shape,
    "narrow": lambda n: wf.ones((100,)).narrow(0, 1, n).shape,
    "split": lambda n: [each.shape for each in wf.ones((100,)).split(n)],
    "zeros": lambda n: wf.zeros(n).shape,
    "seed": lambda n: (wf.random.seed(n), wf.random.seed(0))[0].state.ndim,
}


@pytest.mark.parametrize("name", KEEPING)
def test_nothing_keeps_a_number_of_a_capture_for_another_thread(name: str) -> None:
    look, before = KEEPING[name], 40 + list(KEEPING).index(name)  # numbers that nothing else has used
    assert _met_in_a_capture(lambda c: look(c.n), before) == [look(before + 2)]


def test_what_a_thread_that_is_gone_has_kept_stays() -> None:
    kept, named = [0], dict[str, Any]()
    exec("def keep(n):\n    kept[0] = named['n'] = n\n    return n + 1\n", space := {"kept": kept, "named": named})
    keep = space["keep"]
    _met_in_a_capture(lambda c: keep(c.n))
    assert (kept, named) == ([3], {"n": 3}) and type(kept[0]) is type(named["n"]) is int


class Pair(NamedTuple):
    rows: Any
    columns: Any


class Rows(list[Any]):
    pass


@pytest.mark.parametrize("make", [lambda n: Pair(n, 2), lambda n: Rows([n, 2]), lambda n: (n, 2)])
def test_nestings_of_numbers_of_a_capture_are_arguments(make: Any) -> None:
    assert _met_in_a_capture(lambda c: wf.zeros(make(c.n)).shape) == [(2, 2)]
    assert _met_in_a_capture(lambda c: wf.asarray(make(c.n)).tolist()) == [[2, 2]]


@pytest.mark.parametrize(
    ("keep", "value"),
    [
        (lambda n: SimpleNamespace(n=n), lambda held: held.n),
        # In a large heap each takes 20 s.
        pytest.param(lambda n: {"n": n}, lambda held: held["n"], marks=pytest.mark.long),
        pytest.param(lambda n: [n, 5], lambda held: held[0], marks=pytest.mark.long),
        (lambda n: (n,), lambda held: held[0]),
    ],
)
def test_what_another_thread_keeps_of_a_capture_stays_a_number(keep: Any, value: Any) -> None:
    c, ask, told = SimpleNamespace(n=0, lr=1.0), queue.Queue[Any](), queue.Queue[Any]()
    kept: list[Any] = []

    def worker() -> None:
        while ask.get():
            held = keep(c.n)
            told.put(held)
            del held

    def see() -> None:
        ask.put(1)
        kept.append(told.get())

    exec("def watching():\n    see()\n", made := {"see": see})  # without source: it runs as it is
    watching = made["watching"]
    thread = threading.Thread(target=worker)
    thread.start()

    @wf.compile
    def run(x: Any) -> Any:
        c.n += 1
        watching()
        return x * c.n * c.lr

    for lr in (1.0, 0.5):
        c.lr = lr
        run(wf.ones(2))
    ask.put(0)
    thread.join()
    assert (c.n, c.lr) == (2, 0.5) and type(c.n) is int
    assert {str(value(held)) for held in kept} == {"1", "2"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_forked_by_another_thread_has_what_was_there() -> None:
    c = SimpleNamespace(n=0, lr=1.0, h=wf.zeros((2,)))
    net = Counting()
    told: list[bytes] = []

    def fork() -> None:
        reads, writes = os.pipe()
        child = os.fork()
        if not child:
            try:
                seen = type(c.n), type(c.lr), c.h.tolist(), c.n, type(net.calls)
                os.write(writes, repr(seen).encode())
            except BaseException as error:
                os.write(writes, repr(error).encode())
            finally:
                os._exit(0)
        os.close(writes)
        told.append(os.read(reads, 1000))
        os.waitpid(child, 0)

    exec("def forking():\n    see(fork)\n", made := {"see": _elsewhere, "fork": fork})
    forking = made["forking"]

    def run(x: Any) -> Any:
        c.n += 1
        c.h = c.h + x
        y = net(x)
        forking()
        return y * c.n * c.lr

    compiled = wf.compile(run)
    for lr in (1.0, 0.5):
        c.lr = lr
        compiled(wf.ones((2,)))
    expected = "(<class 'int'>, <class 'float'>, [{0}, {0}], {1}, <class 'int'>)"
    assert {expected.format(float(n), n) for n in (0, 1)} == {each.decode() for each in told}


def test_an_interrupt_before_the_function_begins_leaves_no_number() -> None:
    c = SimpleNamespace(n=1)

    @wf.compile
    def run(x: Any, k: Any) -> Any:
        c.n += 1
        return x * c.n * k

    x = wf.ones((2,))
    run(x, 1)

    def interrupt(frame: Any, event: str, _: Any) -> Any:
        name = frame.f_code.co_name
        if name in ("begin", "recording") and "weft" in frame.f_code.co_filename and event == "line":
            sys.settrace(None)
            raise KeyboardInterrupt
        return interrupt

    before = sys.gettrace()
    sys.settrace(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(x, 2)
    finally:
        sys.settrace(before)
    assert c.n == 2 and type(c.n) is int
    assert run(x, 2).tolist() == [6.0, 6.0]
