"""Threads that share state: captures, runs, eager readers and random draws at the same time."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn, optim
from weft.nn import functional as F


@pytest.fixture(autouse=True)
def often() -> Iterator[None]:
    """Threads change places every few instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def together(*functions: Callable[[], Any]) -> None:
    """Run them at once; raise what one of them raised."""
    barrier, errors = threading.Barrier(len(functions)), []

    def run(function: Callable[[], Any]) -> None:
        barrier.wait()
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(f,), daemon=True) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads), "threads wait for each other"
    if errors:
        raise errors[0]


def times(count: int, function: Callable[[], Any]) -> Callable[[], None]:
    def run() -> None:
        for _ in range(count):
            function()

    return run


@pytest.mark.parametrize("attempt", range(5))
def test_no_update_is_lost_or_made_twice(attempt: int) -> None:
    counter, other = wf.zeros(3), wf.zeros(3)

    @wf.compile
    def one() -> wf.Tensor:
        counter.assign(counter + 1.0)
        return counter * 2.0

    @wf.compile
    def both() -> None:
        other.assign(other + 1.0)
        counter.assign(counter + 10.0)

    together(*[times(20, one)] * 2, *[times(20, both)] * 2)
    assert counter.tolist() == [440.0] * 3 and other.tolist() == [40.0] * 3


MANY = 2_000_000  # elements: kernels this long run without the GIL
SHARED: dict[str, Callable[[], tuple[wf.Tensor, wf.Tensor]]] = {
    "a view": lambda: (p := wf.zeros(MANY), p.reshape(2, -1)),
    "two views": lambda: (p := wf.zeros(MANY + 8), (p[:MANY], p[8:]))[1],
    "detached": lambda: (p := wf.zeros(MANY), p.detach()),
    "counted apart": lambda: (p := wf.zeros(MANY), p.data),
    "windows of a buffer": lambda: (p := np.zeros(MANY + 8, np.float32), (wf.asarray(p[:MANY]), wf.asarray(p[8:])))[1],
}


@pytest.mark.parametrize("shared", SHARED)
def test_no_update_of_memory_that_several_tensors_show_is_lost(shared: str) -> None:
    a, b = SHARED[shared]()

    @wf.compile
    def both() -> None:
        a.add_(1.0)
        b.add_(1.0)

    functions = [both]
    if shared != "windows of a buffer":  # two lenders, as far as two functions can tell
        functions += [wf.compile(lambda: a.add_(1.0)), wf.compile(lambda: b.add_(1.0))]
    for function in functions:
        function()
    threads = 6 // len(functions)  # of each
    together(*[times(5, f) for f in functions * threads])
    values = a.numpy()[16:]
    assert values.min() == values.max() == (5 * threads + 1) * (1 + len(functions))


@pytest.mark.parametrize("attempt", range(3))
def test_training_steps_of_several_threads_and_eager_readers(attempt: int) -> None:
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 4))
    opt = optim.Adam(net.parameters(), lr=1e-3)
    x, y = wf.random.normal((16, 8)), wf.asarray(np.arange(16) % 4)

    @wf.compile
    def step() -> wf.Tensor:
        loss = F.cross_entropy(net(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    def read() -> None:
        assert np.isfinite((net[0].weight * 2.0).sum().item())
        for p in net.parameters():
            assert np.isfinite(p.numpy()).all() and "traced" not in repr(p)
        with wf.no_grad():
            assert np.isfinite(net(x).numpy()).all()

    together(*[times(10, step)] * 2, *[times(60, read)] * 2)
    assert [int(state["step"].item()) for state in opt.state.values()] == [20] * 4


def test_draws_are_made_once_each() -> None:
    drawn: list[bytes] = []
    compiled = wf.compile(lambda: wf.random.uniform((4,)))
    eager = times(250, lambda: drawn.append(wf.random.uniform((4,)).numpy().tobytes()))
    together(eager, eager, *[times(250, lambda: drawn.append(compiled().numpy().tobytes()))] * 2)
    assert len(set(drawn)) == 1000


def test_a_capture_that_fails_shows_nothing_to_others() -> None:
    state = wf.ones(3)

    @wf.compile
    def fails() -> wf.Tensor:
        state.assign(state * 2.0)
        return state @ wf.ones((5, 2))

    def attempt() -> None:
        with pytest.raises(wf.ShapeError):
            fails()

    def look() -> None:
        assert state.tolist() == [1.0] * 3 and (state + 1.0).tolist() == [2.0] * 3

    together(*[times(5, attempt)] * 2, times(100, look))


@pytest.mark.parametrize("attempt", range(8))
def test_a_tensor_that_one_thread_stores_while_others_look_for_it(attempt: int) -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mask: Any = None

        def forward(self, x: wf.Tensor) -> wf.Tensor:
            if self.mask is None:
                self.mask = wf.tril(wf.ones((6, 6)))
            return (x * self.mask.reshape(6, 6)[0:6]).sum() + self.mask[3, 3]

    net, x = Masked(), wf.ones((6, 6))
    compiled = wf.compile(lambda: net(x))
    found: list[float] = []
    run, eager = times(5, lambda: found.append(compiled().item())), times(5, lambda: found.append(net(x).item()))
    together(run, run, eager, eager)
    assert set(found) == {22.0} and net.mask.sum().item() == 21.0


@pytest.mark.parametrize("fails", [False, True])
def test_a_capture_leaves_alone_what_another_thread_has_stored_since(fails: bool) -> None:
    net, theirs, stored, done = nn.Linear(2, 2), wf.ones(2), threading.Event(), threading.Event()
    net.mask = None

    def store() -> None:
        net.mask = theirs
        stored.set()
        done.wait()

    def f(x: wf.Tensor) -> wf.Tensor:
        net.mask = x * 2
        if not stored.is_set():
            other.start()
            stored.wait()
            if fails:
                raise ValueError("no")
        return x + 1

    other = threading.Thread(target=store)
    try:
        if fails:
            with pytest.raises(ValueError, match="no"):
                wf.compile(f)(wf.ones(2))
        else:
            wf.compile(f)(wf.ones(2))
        assert net.mask is theirs
    finally:
        done.set()


class _Cached(nn.Module):
    mask: Any = None


class _Plain:
    mask: Any = None


def _cached(kind: str, before: Any) -> tuple[Any, Callable[[Any], None]]:
    """Something that holds a mask, and a store into it of a kind that captured code repeats."""
    if kind == "an item":
        table: dict[str, Any] = {"mask": before}

        def store(value: Any) -> None:
            table["mask"] = value

        return (lambda: table["mask"]), store
    if kind == "a variable":
        mask = before

        def rebind(value: Any) -> None:
            nonlocal mask
            mask = value

        return (lambda: mask), rebind
    holder: Any = _Cached() if kind == "a module" else _Plain()
    holder.mask = before

    def assign(value: Any) -> None:
        holder.mask = value

    return (lambda: holder.mask), assign


STORED_IN = ["a module", "an object", "an item", "a variable"]


@pytest.mark.parametrize("kind", STORED_IN)
def test_a_capture_that_fails_leaves_what_it_only_could_have_stored(kind: str) -> None:
    get, store = _cached(kind, None)
    theirs, done = wf.ones(2), threading.Event()

    def f(x: wf.Tensor, late: bool) -> wf.Tensor:
        if not late:
            store(x * 2)
        other.start()
        stored.wait()
        raise ValueError("no")

    stored = threading.Event()
    other = threading.Thread(target=lambda: (store(theirs), stored.set(), done.wait()))
    try:
        with pytest.raises(ValueError, match="no"):
            wf.compile(f)(wf.ones(2), True)
        assert get() is theirs
    finally:
        done.set()


@pytest.mark.parametrize("kind", STORED_IN)
def test_a_capture_that_fails_leaves_what_another_is_about_to_store(kind: str) -> None:
    get, store = _cached(kind, wf.zeros(2))
    stored, failed = threading.Event(), threading.Event()

    @wf.compile
    def fails(x: wf.Tensor) -> wf.Tensor:
        store(x * 2)
        other.start()
        stored.wait()
        raise ValueError("no")

    @wf.compile
    def ends(x: wf.Tensor) -> wf.Tensor:
        mine = x * 3
        store(mine)
        stored.set()
        failed.wait()
        assert get() is mine
        return x + 1

    other = threading.Thread(target=lambda: results.append(ends(wf.ones(2))))
    results: list[Any] = []
    with pytest.raises(ValueError, match="no"):
        fails(wf.ones(2))
    failed.set()
    other.join()
    assert len(results) == 1 and get().tolist() == [3.0, 3.0]


@pytest.mark.parametrize("kind", STORED_IN)
def test_a_capture_that_fails_puts_back_what_was_there(kind: str) -> None:
    before, done = wf.zeros(2), threading.Event()
    get, store = _cached(kind, before)

    @wf.compile
    def fails(x: wf.Tensor) -> wf.Tensor:
        store(x * 2)
        raise ValueError("no")

    other = threading.Thread(target=done.wait)
    other.start()
    try:
        with pytest.raises(ValueError, match="no"):
            fails(wf.ones(2))
        assert get() is before
    finally:
        done.set()


IN_PLACE: dict[str, Callable[[wf.Tensor, wf.Tensor], Any]] = {
    "operator": lambda a, other: a.__imul__(other),
    "method": lambda a, other: a.mul_(other),
    "copy_": lambda a, other: a.copy_(other),
    "write": lambda a, other: a.__setitem__(slice(None), other),
    "itself": lambda a, other: other.mul_(a),
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("form", IN_PLACE)
def test_an_in_place_form_waits_for_what_another_thread_is_computing(form: str, recorded: bool) -> None:
    table: dict[str, wf.Tensor] = {}
    stored, going = threading.Event(), threading.Event()

    @wf.compile
    def store(x: wf.Tensor) -> wf.Tensor:
        table["last"] = x * 2.0
        stored.set()
        going.wait(60)
        return x + 1.0

    def write() -> None:
        stored.wait(60)
        leaf = wf.tensor([3.0, 4.0], requires_grad=recorded)
        a, last = leaf * 1.0, table["last"]
        threading.Timer(0.1, going.set).start()
        IN_PLACE[form](a, last)
        expected = [2.0, 4.0] if form in ("copy_", "write") else [6.0, 16.0]
        assert (last if form == "itself" else a).tolist() == expected

    together(lambda: store(wf.asarray([1.0, 2.0])), write)


@pytest.mark.parametrize("warm", [0, 3])
def test_python_state_is_changed_by_one_call_after_the_other(warm: int) -> None:
    box = SimpleNamespace(n=0, log=[])

    @wf.compile
    def count(x: wf.Tensor) -> wf.Tensor:
        box.n += 1
        box.log.append(box.n)
        return x * 2.0

    def run() -> None:
        for _ in range(25):
            count(wf.ones(2))

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* has been captured")
        for _ in range(warm):
            count(wf.ones(2))
        together(run, run)
    assert box.n == warm + 50 and box.log == list(range(1, warm + 51))


def test_the_same_function_with_other_arguments_in_each_thread() -> None:
    w = wf.tensor([1.0, 2.0])

    def run(k: int) -> None:
        for _ in range(20):
            leaf = wf.tensor([float(k), 1.0], requires_grad=True)
            other = wf.tensor([float(k), 1.0])
            assert g(other).tolist() == [2.0 * k + 2.0, 4.0] and other.tolist() == [k + 1.0, 2.0]
            h(leaf, k)
            assert leaf.grad is not None and leaf.grad.tolist() == [1.0 * k, 2.0 * k]

    @wf.compile
    def g(x: wf.Tensor) -> wf.Tensor:
        x += 1.0
        return x * 2.0

    @wf.compile
    def h(x: wf.Tensor, k: int) -> None:
        (x * w * float(k)).sum().backward()

    together(*[lambda k=k: run(k) for k in range(4)])


def check_shared_story(seed: int) -> None:
    """Threads that do random things to shared state: sums that any order gives come out, and nobody sees a tensor
    without a value."""
    rng = np.random.default_rng(seed)
    counters = [wf.zeros(int(rng.integers(1, 40))) for _ in range(3)]
    added = [0.0, 0.0, 0.0]
    table: dict[str, Any] = {}
    weight = wf.tensor([1.0, -2.0, 0.5], requires_grad=True)
    drawn: list[bytes] = []
    functions: list[tuple[Callable[[], Any], dict[int, float]]] = []
    for _ in range(int(rng.integers(2, 6))):
        parts = {int(i): float(rng.integers(1, 9)) for i in rng.choice(3, size=int(rng.integers(1, 4)), replace=False)}
        stores, fails = bool(rng.integers(0, 2)), bool(rng.integers(0, 4) == 0)

        def step(parts: Any = parts, stores: bool = stores, fails: bool = fails) -> wf.Tensor:
            for i, amount in parts.items():
                counters[i].assign(counters[i] + amount)
            total = sum((c.sum() for c in counters), start=(weight * weight).sum())
            if stores:
                table["last"] = total * 2.0
            return total @ wf.ones((7, 2)) if fails else total

        functions.append((wf.compile(step), {} if fails else parts))

    def look() -> None:
        assert all(np.isfinite(c.numpy()).all() and "traced" not in repr(c) for c in counters)
        last = table.get("last")
        assert last is None or np.isfinite((last + 1.0).item())

    def differentiate() -> None:
        (gradient,) = (wf.grad(wf.compile(lambda w: (w * w * weight).sum()))(wf.asarray([1.0, 2.0, 3.0])),)
        assert gradient.tolist() == [2.0, -8.0, 3.0]

    def play(seed: int, counts: list[float]) -> None:
        own = np.random.default_rng(seed)
        for _ in range(12):
            choice = int(own.integers(0, len(functions) + 3))
            if choice < len(functions):
                run, parts = functions[choice]
                try:
                    run()
                except wf.ShapeError:
                    assert not parts
                for i, amount in parts.items():
                    counts[i] += amount
            elif choice == len(functions):
                look()
            elif choice == len(functions) + 1:
                differentiate()
            else:
                drawn.append(wf.random.uniform((3,)).numpy().tobytes())

    own_counts = [[0.0, 0.0, 0.0] for _ in range(4)]
    together(*[lambda k=k: play(1000 * seed + k, own_counts[k]) for k in range(4)])  # type: ignore[misc]
    added = [sum(counts[i] for counts in own_counts) for i in range(3)]
    assert [c.tolist() for c in counters] == [[a] * c.shape[0] for a, c in zip(added, counters, strict=True)]
    assert len(set(drawn)) == len(drawn)
    look()


# Threads rebind what others have captured, again and again; a warning says so.
@pytest.mark.filterwarnings("ignore:.*has been captured 9 times")
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.long) for seed in (2, 3))])
def test_random_threads(seed: int) -> None:
    check_shared_story(seed)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*has been captured 9 times")
@pytest.mark.parametrize("seed", range(100, 200))
def test_more_random_threads(seed: int) -> None:
    check_shared_story(seed)


def test_eight_threads_call_the_same_functions() -> None:
    """Each has memory of its own, the code is one, and updates of what they share come one after the other."""
    before = sys.getswitchinterval()
    counter, weight = wf.zeros(()), wf.zeros((40, 40)).requires_grad_()
    optimizer = optim.SGD([weight], lr=1.0)

    @wf.compile
    def compute(x: Any, y: Any) -> Any:
        return wf.sin(x @ y).sum() * counter_of_none + x.sum()

    @wf.compile
    def step(x: Any) -> Any:
        loss = (weight * x).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        counter.add_(1)
        return loss

    counter_of_none, wrong = 1.0, []
    arguments = [(wf.ones((n % 3 + 2, 40)) * n, wf.ones((40, 30)) / (n + 1)) for n in range(8)]
    expected = [(wf.sin(x @ y).sum() + x.sum()).item() for x, y in arguments]
    minus = wf.zeros((40, 40)) - 1

    def hammer(number: int) -> Callable[[], None]:
        def run() -> None:
            for turn in range(60):
                at = (number + turn) % 8
                if compute(*arguments[at]).item() != expected[at]:
                    wrong.append(at)
                step(minus)

        return run

    try:
        sys.setswitchinterval(1e-6)
        together(*(hammer(number) for number in range(8)))
    finally:
        sys.setswitchinterval(before)
    assert not wrong
    assert counter.item() == 480
    assert weight.min().item() == weight.max().item() == 480
