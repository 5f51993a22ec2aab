"""A backward pass as one native call gives the bits, and the errors, of the records that it stands for."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from few_examples import few
from hypothesis import strategies as st

import weft as wf
from weft import nn, optim
from weft.nn import functional as F
from weft.tensor import gradient_hooks, joint_pass, tape


@pytest.fixture
def joint(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Walks get their program at the second pass; what is listed says of each pass whether it was one call."""
    passes: list[bool] = []

    def noted(*args: Any) -> bool:
        passes.append(joint_pass.run_joint(*args))
        return passes[-1]

    monkeypatch.setattr(joint_pass, "_BEFORE", 1)
    monkeypatch.setattr(tape, "run_joint", noted)
    joint_pass._known.clear()
    elsewhere = dict(gradient_hooks.retaining)  # tensors of other tests that have called retain_grad()
    gradient_hooks.retaining.clear()
    yield passes
    gradient_hooks.retaining.update(elsewhere)
    joint_pass._known.clear()


def never(*args: Any) -> bool:
    return False


def bits(x: wf.Tensor | None) -> Any:
    return None if x is None else (x.dtype.name, x.shape, x.detach().numpy().tobytes())


# --- drawn programs ---------------------------------------------------------------------------------------------------


def _in_place(a: wf.Tensor, b: wf.Tensor) -> wf.Tensor:
    made = a * 2.0
    made.mul_(b)
    return made


def _rows(a: wf.Tensor, b: wf.Tensor) -> wf.Tensor:
    first, second = (a + b).chunk(2)
    return wf.concat([second, first])


def _half(a: wf.Tensor, b: wf.Tensor) -> wf.Tensor:
    return (a.to(wf.float16) * b.to(wf.float16)).to(wf.float32)


def _unrecorded(a: wf.Tensor, b: wf.Tensor) -> wf.Tensor:
    with wf.no_grad():
        factor = b * 0.5
    return a * factor


STEPS: list[Callable[[wf.Tensor, wf.Tensor], wf.Tensor]] = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a, b: a / (b * b + 1.0),
    lambda a, b: a @ b,
    lambda a, b: a @ b.T,
    lambda a, b: wf.tanh(a) + b[:1],
    lambda a, b: a[1] * b[:, ::2].sum(1) + b,
    lambda a, b: a.chunk(2, dim=1)[1].sum() * b,
    lambda a, b: wf.sin(a),
    lambda a, b: a.sum(0, keepdim=True) + b,
    lambda a, b: a.max(0, keepdim=True).values * b,
    lambda a, b: F.softmax(a, 1) - b,
    lambda a, b: a.detach() * b,
    lambda a, b: a.reshape(16).reshape(4, 4) + b,
    lambda a, b: wf.where(a > b, a, b),
    lambda a, b: F.layer_norm(a, (4,)) * b,
    lambda a, b: a,
    _in_place,
    _rows,
    _half,
    _unrecorded,
]
PROGRAMS = st.lists(
    st.tuples(st.integers(0, len(STEPS) - 1), st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=10
)


def made_by(program: list[tuple[int, int, int]], leaves: list[wf.Tensor]) -> wf.Tensor:
    known = list(leaves)
    for step, a, b in program:
        known.append(STEPS[step](known[a % len(known)], known[b % len(known)]))
    total = known[-1].sum()
    return total + (known[-2] * known[-1]).mean()


def leaves_of(count: int) -> list[wf.Tensor]:
    rng = np.random.default_rng(count)
    return [wf.tensor(rng.normal(size=(4, 4)).astype(np.float32), requires_grad=i != 2) for i in range(count)]


def trained(program: list[tuple[int, int, int]], count: int, passes: int, keep: bool) -> list[Any]:
    """The gradients after each of some passes, which add up after the second."""
    leaves, found = leaves_of(count), []
    for number in range(passes):
        loss = made_by(program, leaves)
        if not loss.requires_grad:
            return []
        loss.backward(retain_graph=keep)
        if keep:
            loss.backward()
        found.append([bits(x.grad) for x in leaves])
        if number < 2:
            for x in leaves:
                x.grad = None
    return found


@few(20, 180, PROGRAMS, st.integers(1, 4), st.booleans())
def test_passes_as_one_call_have_the_bits_of_their_records(
    program: list[tuple[int, int, int]], count: int, keep: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joint_pass, "_BEFORE", 1)
        one = trained(program, count, 4, keep)
        patch.setattr(tape, "run_joint", never)
        assert one == trained(program, count, 4, keep)


def test_drawn_programs_are_one_call_as_a_rule(joint: list[bool]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        program = [(int(rng.integers(len(STEPS))), *map(int, rng.integers(0, 30, 2))) for _ in range(8)]
        trained(program, 2, 3, False)
    assert sum(joint) >= len(joint) / 2


# --- what they are for ------------------------------------------------------------------------------------------------


def chained(x: wf.Tensor) -> wf.Tensor:
    y = x
    for _ in range(10):
        y = y * x
        y = y + x
    return y.sum()


def test_a_chain_is_one_call_from_the_second_pass_on(joint: list[bool]) -> None:
    x = wf.tensor([0.5] * 10, requires_grad=True)
    found = []
    for _ in range(4):
        x.grad = None
        chained(x).backward()
        found.append(bits(x.grad))
    assert joint == [False, True, True, True]
    assert len(set(found)) == 1


def test_training_is_the_same(joint: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    def losses() -> list[Any]:
        wf.random.seed(0)
        net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1), nn.Sigmoid())
        opt = optim.Adam(net.parameters(), lr=0.1)
        x, y = wf.random.normal(shape=(4, 2)), wf.ones((4, 1))
        found = []
        for _ in range(6):
            opt.zero_grad()
            loss = F.binary_cross_entropy(net(x), y)
            loss.backward()
            opt.step()
            found.append(bits(loss))
        return found

    one = losses()
    assert joint == [False, *[True] * 5]
    monkeypatch.setattr(tape, "run_joint", never)
    assert one == losses()


def small_convolutions() -> Callable[[], wf.Tensor]:
    net = nn.Sequential(
        *(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.5)),
        nn.Linear(12, 4),
    )
    x, y = wf.random.normal(shape=(5, 1, 6, 6)), wf.asarray([0, 3, 1, 1, 2])
    return lambda: F.cross_entropy(net(x), y)


def small_attention() -> Callable[[], wf.Tensor]:
    table, net = nn.Embedding(7, 6), nn.Linear(6, 18)
    tokens = wf.asarray([[1, 2, 3, 2], [0, 6, 5, 5]])

    def loss() -> wf.Tensor:
        q, k, v = net(table(tokens)).chunk(3, dim=2)
        mixed = F.softmax(q @ k.transpose(1, 2) + F.dropout(q @ k.transpose(1, 2), 0.1), dim=-1) @ v
        return F.cross_entropy((mixed @ table.weight.T)[:, :-1].reshape(6, 7), tokens[:, 1:].reshape(6))

    return loss


def small_recurrence() -> Callable[[], wf.Tensor]:
    cell, x = nn.LSTMCell(3, 4), wf.random.normal(shape=(6, 2, 3))

    def loss() -> wf.Tensor:
        h = c = wf.zeros((2, 4))
        for t in range(6):
            h, c = cell(x[t], (h, c))
        return (h * h).mean()

    return loss


@pytest.mark.parametrize("kind", [small_convolutions, small_attention, small_recurrence])
def test_layers_train_as_by_records(
    kind: Callable[[], Callable[[], wf.Tensor]], joint: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def losses() -> list[Any]:
        wf.random.seed(1)
        loss = kind()
        cells = [cell.cell_contents for cell in loss.__closure__ or ()]
        parameters = [p for each in cells if isinstance(each, nn.Module) for p in each.parameters()]
        opt = optim.SGD(parameters, lr=0.1, momentum=0.9)
        found = []
        for _ in range(5):
            opt.zero_grad()
            value = loss()
            value.backward()
            opt.step()
            found.append((bits(value), [bits(p.grad) for p in parameters]))
        return found

    one = losses()
    assert joint[2:] == [True] * 3  # views are recorded in another way the first time
    monkeypatch.setattr(tape, "run_joint", never)
    assert one == losses()


def test_gradients_of_functions_are_one_call(joint: list[bool]) -> None:
    x, y = wf.tensor([1.0, 2.0]), wf.tensor([3.0, 4.0])
    gradient = wf.grad(lambda x, y: (x * y * x).sum(), argnums=(0,))
    found = [bits(gradient(x, y)[0]) for _ in range(3)]
    assert joint == [False, True, True]
    assert len(set(found)) == 1


def test_other_gradients_and_other_numbers(joint: list[bool]) -> None:
    """What is not in the walk goes in anew: the cotangent, and the values of operands that are no leaves."""
    x = wf.tensor([1.0, 2.0], requires_grad=True)
    for k in range(4):
        x.grad = None
        (x * float(k)).backward(wf.tensor([2.0, k + 1.0]))
        assert x.grad is not None and x.grad.tolist() == [2.0 * k, k * (k + 1.0)]
    assert joint == [False, True, True, True]


def test_a_gradient_that_is_there_is_added_to_in_place(joint: list[bool]) -> None:
    x = wf.tensor([1.0, 2.0], requires_grad=True)
    for k in range(1, 4):
        before = x.grad
        (x * x).sum().backward()
        assert x.grad is not None and x.grad.tolist() == [2.0 * k, 4.0 * k]
        assert before is None or x.grad is before
    assert joint[-1]


@pytest.mark.parametrize("shape", [(0,), (2, 0)])
def test_gradients_without_elements(joint: list[bool], shape: tuple[int, ...]) -> None:
    """Nothing has to be computed: the program has no step."""
    w = wf.zeros(shape)
    for _ in range(8):
        x, y = (wf.zeros(shape).requires_grad_() for _ in range(2))
        (x * y * w).backward(w)
        assert x.grad.numpy().shape == y.grad.numpy().shape == shape
    assert any(joint)


def test_gradients_own_their_memory(joint: list[bool]) -> None:
    """Leaves that receive one value, or the cotangent itself, get copies."""
    for _ in range(3):
        a, b = (wf.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
        g = wf.ones(2)
        (a + b).backward(g)
        assert a.grad is not None and b.grad is not None
        a.grad.mul_(5.0)
        assert (b.grad.tolist(), g.tolist()) == ([1.0, 1.0], [1.0, 1.0])
    assert joint[-1]


# --- the native walk --------------------------------------------------------------------------------------------------


def recorded() -> tuple[wf.Tensor, joint_pass._Walk]:
    x = wf.tensor([0.5] * 3, requires_grad=True)
    y = wf.sin(x * x) + x
    walk = joint_pass._walk(y._node)
    assert walk is not None
    return y, walk


def freed(node: Any) -> None:
    node.parents[0][0].saved = None


def fewer(node: Any) -> None:
    node.parents[0][0].saved.pop()


def no_list(node: Any) -> None:
    node.parents[0][0].saved = tuple(node.parents[0][0].saved)


def no_entry(node: Any) -> None:
    node.parents[0][0].saved[0] = 3


def no_storage(node: Any) -> None:
    saved = node.parents[0][0].saved
    saved[0] = (None, *saved[0][1:])


def other_spec(node: Any) -> None:
    saved = node.parents[0][0].saved
    saved[0] = (saved[0][0], wf.ones(7)._spec, *saved[0][2:])


def other_version(node: Any) -> None:
    saved = node.parents[0][0].saved
    saved[0] = (*saved[0][:4], saved[0][4] + 1)


def huge_version(node: Any) -> None:
    saved = node.parents[0][0].saved
    saved[0] = (*saved[0][:4], 1 << 80)


def no_parents(node: Any) -> None:
    node.parents = None


def no_pair(node: Any) -> None:
    node.parents = (3, node.parents[1])


def other_result(node: Any) -> None:
    node.parents = ((node.parents[0][0], 1), node.parents[1])


def other_order(node: Any) -> None:
    node.sequence = node.parents[0][0].sequence


def no_order(node: Any) -> None:
    node.parents[0][0].sequence = "first"


def other_leaf(node: Any) -> None:
    node.parents = (node.parents[0], (tape.Leaf(None), 0))


def no_leaf(node: Any) -> None:
    node.parents[0][0].parents[0][0].parents = ((tape.Boundary(), 0), (tape.Boundary(), 0))


def other_gradient(node: Any) -> None:
    node.parents[0][0].backward = node.backward


def nothing(node: Any) -> None:
    del node.parents[0][0].saved


@pytest.mark.parametrize(
    "change",
    [
        *(freed, fewer, no_list, no_entry, no_storage, other_spec, other_version, huge_version, no_parents, no_pair),
        *(other_result, other_order, no_order, other_leaf, no_leaf, other_gradient, nothing),
    ],
)
def test_a_tape_that_is_not_as_it_was_is_another_walk(change: Callable[[Any], None]) -> None:
    y, walk = recorded()
    assert walk.found(y._node) is not None
    change(y._node)
    assert walk.found(y._node) is None


def test_walks_hold_nothing_but_what_they_give() -> None:
    (y, walk), (other, _) = recorded(), recorded()
    node = y._node
    leaf, storage = node.parents[1][0], node.parents[0][0].saved[0][0]
    freed(other._node)
    before = [sys.getrefcount(each) for each in (node, leaf, storage, None)]
    for _ in range(1000):
        assert walk.found(node) is not None
        assert walk.found(other._node) is None
    after = [sys.getrefcount(each) for each in (node, leaf, storage, None)]
    assert after[:3] == before[:3] and abs(after[3] - before[3]) < 500


# --- what goes the way of the records ---------------------------------------------------------------------------------


def test_a_second_pass_over_what_was_freed_raises(joint: list[bool]) -> None:
    x = wf.tensor([1.0, 2.0], requires_grad=True)
    for _ in range(3):
        y = (x * x).sum()
        y.backward()
        with pytest.raises(wf.AutogradError, match="a second time through multiply"):
            y.backward()
    assert joint == [False, False, True, False, True, False]


def test_a_value_that_was_written_since_raises(joint: list[bool]) -> None:
    x = wf.tensor([1.0, 2.0], requires_grad=True)
    for number in range(4):
        y = x * 2.0
        z = (y * y).sum()
        if number % 2:
            y.detach().add_(1.0)
            before = None if x.grad is None else x.grad.tolist()
            with pytest.raises(wf.AutogradError, match="multiply called at"):
                z.backward()
            assert (None if x.grad is None else x.grad.tolist()) == before
        else:
            z.backward()
    assert joint == [False, False, True, False]


def test_hooks_see_gradients(joint: list[bool]) -> None:
    x = wf.tensor([1.0, 2.0], requires_grad=True)
    for number in range(6):
        x.grad = None
        y = x * x
        z = (y * 3.0).sum()
        seen: list[Any] = []
        if number == 3:
            y.register_hook(lambda g, seen=seen: seen.append(g.tolist()))
        if number == 4:
            y.retain_grad()
        handle = x.register_hook(lambda g: g * 2.0) if number == 5 else None
        z.backward()
        assert seen == ([[3.0, 3.0]] if number == 3 else [])
        assert number != 4 or (y.grad is not None and y.grad.tolist() == [3.0, 3.0])
        assert x.grad is not None and x.grad.tolist() == ([12.0, 24.0] if handle else [6.0, 12.0])
        if handle:
            handle.remove()
    assert joint == [False, True, True, False, True]  # the pass with a tensor that keeps its gradient is not asked


def test_a_hook_that_raises_leaves_gradients_alone(joint: list[bool]) -> None:
    x, w = (wf.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    for _ in range(2):
        (x * w).sum().backward()
    x.grad = w.grad = None

    def refuse(g: wf.Tensor) -> None:
        raise RuntimeError("no")

    handle = w.register_hook(refuse)
    with pytest.raises(RuntimeError, match="no"):
        (x * w).sum().backward()
    handle.remove()
    assert (x.grad, w.grad) == (None, None)
    assert joint[-1]


def test_gradients_of_gradients(joint: list[bool]) -> None:
    x = wf.tensor([1.0, 2.0], requires_grad=True)
    for _ in range(3):
        x.grad = None
        (x * x * x).sum().backward(create_graph=True)
        assert x.grad is not None
        first, x.grad = x.grad, None
        first.sum().backward()
        assert x.grad is not None and x.grad.tolist() == [6.0, 12.0]
    assert len(joint) == 3 and joint[1:] == [True, True]  # the second pass of each turn alone is asked


def test_compiled_functions_on_the_way(joint: list[bool]) -> None:
    f = wf.compile(lambda x: wf.sin(x) * 2.0)
    x = wf.tensor([1.0, 2.0], requires_grad=True)
    found = []
    for _ in range(3):
        x.grad = None
        (f(x) * x).sum().backward()
        found.append(bits(x.grad))
    assert len(set(found)) == 1 and not any(joint)


def test_large_tensors_are_freed_on_the_way(joint: list[bool]) -> None:
    x = wf.ones((600, 600)).requires_grad_()
    for _ in range(3):
        chained(x).backward()
    assert not any(joint)


def test_profiles_show_the_calls(joint: list[bool]) -> None:
    x = wf.tensor([0.5] * 10, requires_grad=True)
    for _ in range(3):
        chained(x).backward()
    with wf.profile() as profile:
        chained(x).backward()
    assert joint[1:] == [True, True, False]
    assert "multiply.grad" in [row.op for row in profile.rows]


def test_the_number_of_threads_may_change(joint: list[bool]) -> None:
    x, before = wf.tensor([0.5] * 10, requires_grad=True), wf.get_num_threads()
    found = []
    try:
        for threads in (1, 1, 2, 2):
            wf.set_num_threads(threads)
            x.grad = None
            chained(x).backward()
            found.append(bits(x.grad))
    finally:
        wf.set_num_threads(before)
    assert len(set(found)) == 1
    assert joint == [False, False, False, False]  # each setting begins anew, as plans do


def test_passes_that_never_repeat_are_left_alone(joint: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    walked = []
    walk_of = joint_pass._walk
    monkeypatch.setattr(joint_pass, "_walk", lambda root: walked.append(root) or walk_of(root))
    x = wf.tensor([0.5] * 3, requires_grad=True)
    rng = np.random.default_rng(0)
    for _ in range(100):
        y = x
        for choice in rng.integers(0, 2, 12):
            y = y * x if choice else y + x
        y.sum().backward()
    assert len(walked) < 40
    (known,) = joint_pass._known.values()
    assert len(known.walks) <= joint_pass._WALKS


def test_walks_take_little_memory(joint: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joint_pass, "_MOST", 100)
    joint_pass._kept[0] = 0
    for n in range(1, 40):
        x = wf.tensor([0.5] * n, requires_grad=True)
        for _ in range(2):
            chained(x).backward()
    assert sum(len(w.visits) for known in joint_pass._known.values() for w in known.walks) <= 100
    assert any(joint)


def test_threads(joint: list[bool]) -> None:
    """Each with tensors of its own, over one walk."""
    x = wf.tensor([0.5] * 10, requires_grad=True)
    chained(x).backward()
    wanted, failures = bits(x.grad), []

    def work() -> None:
        for _ in range(50):
            x = wf.tensor([0.5] * 10, requires_grad=True)
            chained(x).backward()
            if bits(x.grad) != wanted:
                failures.append(x.grad)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and sum(joint) > 100


def test_memory_that_is_short_is_left_to_the_records(joint: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    x = wf.tensor([0.5] * 10, requires_grad=True)
    for _ in range(2):
        chained(x).backward()
    (known,) = joint_pass._known.values()

    def short(*inputs: Any) -> Any:
        raise wf.OutOfMemoryError("of this program alone")

    (walk,) = known.walks
    assert walk.program is not None
    monkeypatch.setattr(walk, "program", walk.program._replace(native=short))
    before = bits(x.grad)
    x.grad = None
    for _ in range(2):
        chained(x).backward()
    assert bits(x.grad) == before and not joint[-1]
