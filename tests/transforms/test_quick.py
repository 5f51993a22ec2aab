"""Quick ways: calls for which all holds are one native call, and never one more than that."""

import gc
import threading
import weakref

import numpy as np
import pytest

import weft as wf
from weft import nn
from weft.core.errors import AutogradError, WeftError
from weft.tensor import tape
from weft.transforms import quick
from weft.transforms.captured import Reads
from weft.transforms.compile import Compiled
from weft.transforms.entry import Entry


@pytest.fixture
def long(monkeypatch):
    """Counts calls that go the long way."""
    count = []
    before = Compiled._call

    def counted(self, args, kwargs):
        count.append(self)
        return before(self, args, kwargs)

    monkeypatch.setattr(Compiled, "_call", counted)
    return count


def warmed(f, *args, **kwargs):
    """Captured, and found to hold: from now on the quick way is there."""
    for _ in range(2):
        f(*args, **kwargs)
    return f


x, y = wf.asarray([1.0, 2.0]), wf.asarray([3.0, 5.0])


def _captured_state():
    state = [wf.asarray([float(i)]) for i in range(20)]
    a, b, c = state[:3]

    def f(x, y):
        return x * a + y * b + c

    return f


def _module():
    net = nn.Linear(2, 2)
    return lambda x, y: net(x) + y


def _accumulation():
    weight = wf.asarray([2.0, 3.0]).requires_grad_()

    def step(x, y):
        loss = (weight * x * y).sum()
        loss.backward()  # adds to the gradient, which it reads
        return loss, weight.grad

    return step


def _shared_memory():
    state = wf.zeros(4)
    low, high = state[:3], state[1:]

    def f(x, y):
        low.add_(1)
        high.mul_(2)
        return x + low[:2]

    return f


def _training():
    net = nn.Linear(2, 1)
    optimizer = wf.optim.AdamW(net.parameters(), lr=0.1)

    def step(x, y):
        loss = ((net(x) - y.sum()) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


FUNCTIONS = {
    "two arguments": lambda: lambda x, y: x + y,
    "several results": lambda: lambda x, y: {"sum": x + y, "parts": (x * y, [x - y])},
    "no result": lambda: lambda x, y: None,
    "an argument as result": lambda: lambda x, y: (x, x + y),
    "a view as result": lambda: lambda x, y: (x + y)[:1],
    "captured tensors": _captured_state,
    "a module": _module,
    "a training step": _training,
    "gradients that add up": _accumulation,
    "state that shares memory": _shared_memory,
    "a write to an argument": lambda: lambda x, y: x.add_(y) * 2,
    "random numbers": lambda: lambda x, y: x + wf.random.uniform((2,)) * y,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_calls_for_which_all_holds_go_the_quick_way_and_give_what_eager_code_gives(name, long):
    results = []
    for compiled in (False, True):
        wf.manual_seed(0)
        f = FUNCTIONS[name]()
        f = wf.compile(f) if compiled else f
        given = x.clone(), y.clone()
        outcome = [f(*given) for _ in range(3)]  # where gradients add up, the second call has a graph of its own
        long.clear()
        outcome += [f(*given) for _ in range(4)]
        assert not long
        results.append(repr((outcome, given)))
    assert results[0] == results[1]


def test_gradients_flow_through_quick_calls(long):
    weight = wf.asarray([2.0, 3.0]).requires_grad_()
    f = warmed(wf.compile(lambda x: (x * weight).sum()), x)
    weight.grad = None
    long.clear()
    f(x).backward()
    assert not long
    assert weight.grad.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("given", ["named", "positional"])
def test_arguments_by_name_and_constants_are_told_apart(given, long):
    f = wf.compile(lambda x, scale=1.0, mode="add", flag=None: x * scale if mode == "mul" else x + scale)
    for scale, mode in ((2.0, "mul"), (2.0, "add"), (3.0, "mul")) * 4:
        result = f(x, scale=scale, mode=mode) if given == "named" else f(x, scale, mode)
        assert result.tolist() == (x * scale if mode == "mul" else x + scale).tolist()
    warmed(f, x, scale=2.0)
    assert f(x, scale=-0.0).tolist() == (x + -0.0).tolist()
    assert f(x, flag=True).tolist() == f(x, flag=1).tolist() == (x + 1.0).tolist()


def test_the_order_of_named_arguments_counts():
    f = wf.compile(lambda **named: wf.concat(list(named.values())))
    warmed(f, a=x, b=y)
    assert f(b=y, a=x).tolist() == [*y.tolist(), *x.tolist()]
    assert f(a=x, b=y).tolist() == [*x.tolist(), *y.tolist()]


class Config:
    scale = 2.0


class Slotted:
    __slots__ = ("scale",)


def _change(owner, name, value):
    return lambda: setattr(owner, name, value)


def _cases():
    """(the function, what changes what it reads, the argument)."""
    config, slotted, cell = Config(), Slotted(), wf.asarray([1.0, 1.0])
    config.inner, slotted.scale = Config(), 2.0
    numbers, table, net = [1.0, 2.0], {"scale": 2.0}, nn.Dropout(0.5)
    other = wf.asarray([7.0, 7.0])

    def rebind():
        nonlocal cell
        cell = other

    yield "a variable", lambda x: x * cell, rebind
    yield "an attribute", lambda x: x * config.scale, _change(config, "scale", 3.0)
    yield "an attribute's attribute", lambda x: x * config.inner.scale, _change(config.inner, "scale", 3.0)
    yield "a slot", lambda x: x * slotted.scale, _change(slotted, "scale", 3.0)
    yield "an item of a list", lambda x: x * numbers[0], lambda: numbers.__setitem__(0, 9.0)
    yield "a longer list", lambda x: x * len(numbers), lambda: numbers.append(1.0)
    yield "an item of a dict", lambda x: x * table["scale"], lambda: table.update(scale=4.0)
    yield "a module's mode", lambda x: net(x), net.eval
    yield "gradients", lambda x: x * (2 if tape.recording.enabled else 3), lambda: wf.set_grad_enabled(False)
    yield "a type", lambda x: x * cell, lambda: setattr(cell, "data", wf.asarray([[1.0, 2.0], [3.0, 4.0]]))
    yield "threads", lambda x: x * 2, lambda: wf.set_num_threads(wf.get_num_threads() + 1)


@pytest.mark.parametrize("number", range(11))
def test_what_is_changed_between_calls_is_seen(number):
    name, function, change = list(_cases())[number]
    threads = wf.get_num_threads()
    wf.manual_seed(0)
    f = warmed(wf.compile(function), x)
    assert f._quick, name
    try:
        change()
        wf.manual_seed(0)
        after = f(x).tolist()
        wf.manual_seed(0)
        assert after == function(x).tolist(), name
    finally:
        wf.set_grad_enabled(True)
        wf.set_num_threads(threads)


def test_equal_values_that_are_others_go_the_quick_way_again(long):
    numbers = {"scale": 2.5}
    f = warmed(wf.compile(lambda x: x * numbers["scale"]), x)
    numbers["scale"] = float("2.5")
    f(x)
    f(x)
    long.clear()
    assert f(x).tolist() == [2.5, 5.0]
    assert not long


def test_a_write_to_modules_costs_one_long_call(long):
    net = nn.Linear(2, 2)
    f = warmed(wf.compile(lambda x: net(x)), x)
    for _ in range(20):
        nn.Linear(2, 2).eval()
        f(x)
        long.clear()
        f(x)
        assert not long


def test_memory_that_an_argument_shares_with_state_is_found():
    state = wf.zeros(4)

    def add(x):
        state[:2] += 1
        return x + 1

    f = warmed(wf.compile(add), wf.ones(2))
    assert f(state[:2]).tolist() == [4.0, 4.0]  # of 3, which the function has written before it reads
    assert state.tolist() == [3.0, 3.0, 0.0, 0.0]


def test_arguments_that_share_memory_which_is_written_are_found():
    def add(x, y):
        x += 1
        return y * 2

    f = warmed(wf.compile(add), wf.zeros(2), wf.zeros(2))
    base = wf.zeros(3)
    assert f(base[:2], base[1:]).tolist() == [2.0, 0.0]


def test_memory_that_was_lent_read_only_is_refused():
    f = warmed(wf.compile(lambda x: x.add_(1)), wf.zeros(2))
    array = np.zeros(2, np.float32)
    array.flags.writeable = False
    with pytest.raises(WeftError, match="read-only"):
        f(wf.from_numpy(array))


def test_an_index_out_of_range_is_told_in_the_users_words():
    f = warmed(wf.compile(lambda x, i: x[i]), x, wf.asarray([0, 1]))
    with pytest.raises(IndexError, match=r"index 5 is out of range"):
        f(x, wf.asarray([5, 0]))


def test_a_value_that_a_quick_call_writes_over_spoils_backward():
    weight = wf.asarray([2.0]).requires_grad_()
    state = wf.asarray([3.0])
    f = warmed(wf.compile(lambda: state.add_(1)))
    loss = (weight * state).sum()
    f()
    with pytest.raises(AutogradError, match="changed in place since"):
        loss.backward()


def test_a_compiled_function_that_refers_to_itself_is_collected():
    class Model:
        def __init__(self):
            self.weight = wf.asarray([1.0])
            self.step = wf.compile(lambda x: x * self.weight)

    model = Model()
    warmed(model.step, wf.ones(1))
    assert model.step._quick
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_what_a_quick_call_was_made_for_may_be_dropped_while_it_runs():
    f = warmed(wf.compile(lambda x: (x @ x).sum()), wf.ones((400, 400)))
    stop, failed = threading.Event(), []

    def calling(a):
        while not stop.is_set():
            if f(a).item() != 400.0**3:
                failed.append(a)

    arguments = wf.ones((400, 400))
    thread = threading.Thread(target=calling, args=(arguments,))
    thread.start()
    for _ in range(30):
        arguments.data = wf.ones((400, 400))
        f._quick, f._noted = (), []
        f._entries.clear()
        gc.collect()
    stop.set()
    thread.join()
    assert not failed


def test_entries_are_noted_seldom_where_that_is_in_vain(monkeypatch):
    noted = []
    before = Entry.note
    monkeypatch.setattr(Entry, "note", lambda self, *rest: noted.append(self) or before(self, *rest))
    f = wf.compile(lambda pair: pair[0] + pair[1])
    for _ in range(64):
        f((x, y))
    assert len(noted) <= 7


def test_nothing_that_a_capture_reads_is_left_to_a_python_function() -> None:
    """A field of Reads that is not laid out makes every call ask ``Reads.hold``: 2 us for x + y, not 0.5."""
    assert set(Reads.__slots__) == quick._LAID_OUT
