"""Compiled functions of any shape: one capture for many sizes, with the bits of eager code; what guards see."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weft as wf
from weft import nn, optim
from weft.core.errors import ArgumentError
from weft.nn import functional as F
from weft.transforms import compile as compiling

SIZES = (5, 6, 7, 64, 33, 6, 2, 300, 3, 100)


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the functions that are captured."""
    found: list[str] = []
    plain = compiling.capture

    def counted(function: Any, *args: Any, **kwargs: Any) -> Any:
        found.append(getattr(function, "__name__", ""))
        return plain(function, *args, **kwargs)

    monkeypatch.setattr(compiling, "capture", counted)
    return found


def data(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def bits(value: Any) -> list[Any]:
    """What a result is, to the bit."""
    if isinstance(value, wf.Tensor):
        return [str(value.dtype), tuple(value.shape), value.detach().numpy().tobytes()]
    return [bits(v) for v in value]


def check(function: Callable[..., Any], calls: list[tuple[np.ndarray, ...]]) -> None:
    """Compiled calls have the bits of eager ones."""
    compiled = wf.compile(function)
    for arrays in calls:
        seen = []
        for each in (function, compiled):
            tensors = [wf.asarray(a.copy()) for a in arrays]
            seen.append(bits([each(*tensors), *tensors]))
        assert seen[0] == seen[1], [a.shape for a in arrays]


# --- one capture for many sizes -----------------------------------------------------------------------------------


def test_a_training_step_is_captured_twice_for_any_batch(captures: list[str]) -> None:
    def made() -> tuple[nn.Module, Any]:
        wf.random.seed(3)
        net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.LayerNorm(16), nn.Dropout(0.1), nn.Linear(16, 4))
        return net, optim.AdamW(net.parameters(), lr=1e-2)

    def step_of(net: nn.Module, opt: Any) -> Callable[[wf.Tensor, wf.Tensor], wf.Tensor]:
        def step(x: wf.Tensor, y: wf.Tensor) -> wf.Tensor:
            loss = F.cross_entropy(net(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            return loss

        return step

    results = []
    for wrap in (lambda f: f, wf.compile):
        net, opt = made()
        step, losses = wrap(step_of(net, opt)), []
        wf.random.seed(4)
        for size in SIZES:
            y = wf.asarray(np.random.default_rng(size).integers(0, 4, size))
            losses.append(bits(step(wf.asarray(data(size, 8)), y)))
        results.append((losses, [bits(p) for p in net.parameters()]))
    assert results[0] == results[1]
    assert captures == ["step"] * 2


def test_gradients_through_calls_of_any_size(captures: list[str]) -> None:
    wf.random.seed(0)
    net = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.LayerNorm(6))

    def attend(x: wf.Tensor) -> wf.Tensor:
        h = net(x)
        return F.softmax(h @ h.mT, axis=-1) @ h

    compiled = wf.compile(attend)
    for size in SIZES:
        for create_graph in (False, True):
            seen = []
            for function in (attend, compiled):
                x = wf.asarray(data(size, 8)).requires_grad_(True)
                net.zero_grad()
                y = function(x)
                (y * y).sum().backward(create_graph=create_graph)
                found = [y, x.grad, *(p.grad for p in net.parameters())]
                if create_graph:
                    first, x.grad = x.grad, None
                    (first * first).sum().backward()
                    found.append(x.grad)
                seen.append(bits(found))
            assert seen[0] == seen[1], (size, create_graph)
    assert len(captures) == 2


def test_sizes_that_are_equal_by_chance_become_two(captures: list[str]) -> None:
    @wf.compile
    def f(x: wf.Tensor, y: wf.Tensor) -> wf.Tensor:
        return x.sum() * y

    for a, b in ((4, 4), (5, 5), (6, 6), (6, 7), (9, 2), (3, 3), (5, 8)):
        x, y = data(a), data(b)
        assert bits(f(wf.asarray(x), wf.asarray(y))) == bits(wf.asarray(x).sum() * wf.asarray(y))
    assert len(captures) == 3


def test_a_size_of_one_has_a_capture_of_its_own(captures: list[str]) -> None:
    def f(x: wf.Tensor, y: wf.Tensor) -> wf.Tensor:
        return x + y

    check(
        f,
        [(data(n, 3), data(m, 3)) for n, m in ((4, 4), (5, 5), (1, 7), (7, 1), (1, 9), (6, 6), (1, 1), (0, 0), (0, 1))],
    )


def test_relations_between_sizes_are_guards(captures: list[str]) -> None:
    def f(x: wf.Tensor, y: wf.Tensor) -> wf.Tensor:
        return x[1:] + y

    calls = [(data(n, 3), data(n - 1, 3)) for n in (5, 6, 9, 30, 3)] + [
        (data(8, 3), data(1, 3)),
        (data(2, 3), data(5, 3)),
    ]
    check(f, calls)
    compiled = wf.compile(f)
    for n in (5, 6, 7):
        compiled(wf.ones((n, 3)), wf.ones((n - 1, 3)))
    with pytest.raises(wf.ShapeError, match=r"\(8, 3\) and \(9, 3\)"):
        compiled(wf.ones((9, 3)), wf.ones((9, 3)))


def test_reshapes_ask_what_divides(captures: list[str]) -> None:
    def f(x: wf.Tensor) -> wf.Tensor:
        return x.reshape(4, -1).sum(0)

    check(f, [(data(n, 2),) for n in (2, 4, 6, 10, 100)])
    with pytest.raises(wf.ShapeError, match="do not divide"):
        wf.compile(f)(wf.ones((3, 3)))


# --- what a program asks of a size ---------------------------------------------------------------------------------


def branch(x: wf.Tensor) -> wf.Tensor:
    return x * 2.0 if x.shape[0] > 10 else x + 1.0


def equal_to_a_number(x: wf.Tensor) -> wf.Tensor:
    return x * 2.0 if x.shape[0] == 33 else x + 1.0


def equal_to_a_shape(x: wf.Tensor) -> wf.Tensor:
    return x * 2.0 if x.shape in ((6, 3), (33, 3)) else x + 1.0


def looked_up(x: wf.Tensor) -> wf.Tensor:
    return x * {6: 2.0, 64: 3.0}.get(x.shape[0], 1.0)


def a_loop(x: wf.Tensor) -> wf.Tensor:
    total = x[0]
    for i in range(1, min(x.shape[0], 9)):
        total = total * 0.5 + x[i]
    return total


def a_float(x: wf.Tensor) -> wf.Tensor:
    return x / x.shape[0] ** 0.5


def a_mean(x: wf.Tensor) -> wf.Tensor:
    return x.sum(0) / x.shape[0] + x.numel() * 0.25 - len(x)


def mixed_with_numbers(x: wf.Tensor) -> wf.Tensor:
    n = x.shape[0]
    y = x * (n * 0.5) + int(n * 0.5) + 1.0 / n + n * x - n // 2 + 2**n % 7 + (n << 1)
    return y + float(np.arange(n).sum()) + abs(-n) + round(n / 3) + divmod(n, 3)[1] + max(n, 7) + sum((n, n))


def in_text(x: wf.Tensor) -> wf.Tensor:
    return x * float(f"{x.shape[0]}.5")


def odd_or_even(x: wf.Tensor) -> wf.Tensor:
    return x[::2] if x.shape[0] % 2 else x[: x.shape[0] // 2]


def slices(x: wf.Tensor) -> tuple[wf.Tensor, ...]:
    return x[-3:] * 1.0, x[:-3] * 1.0, x[4:] * 1.0, x[x.shape[0] // 2 :] + 0.0, x[::-2] * 1.0, x[1:5] * 1.0


def squeezed(x: wf.Tensor) -> wf.Tensor:
    return wf.squeeze(x[1:][None] * 1.0)


def rolled(x: wf.Tensor) -> wf.Tensor:
    return wf.roll(x, 4, axis=0) + wf.roll(x, -5, axis=0)


def counted(x: wf.Tensor) -> tuple[wf.Tensor, ...]:
    n = x.shape[0]
    return wf.arange(n), wf.arange(1, n, 2), wf.arange(3, n), wf.ones((n, 2)), wf.full((2 * n,), 1.5), wf.eye(n)


def causal(x: wf.Tensor) -> wf.Tensor:
    n = x.shape[0]
    scores = (x @ x.mT) / 2.0
    mask = wf.tril(wf.ones((n, n))) == 0.0
    return F.softmax(wf.where(mask, -wf.inf, scores), axis=-1) @ x


def bounded(x: wf.Tensor) -> wf.Tensor:
    n = x.shape[0]
    y = x * 2.0 if n < float("inf") and not n > float("inf") and n > -float("inf") else x
    return y if n < float("nan") or n > float("nan") else y * min(n, float("inf"))


def in_place(x: wf.Tensor) -> wf.Tensor:
    y = wf.zeros(x.shape)
    y[: x.shape[0] - 1] = x[1:]
    y += x.shape[0]
    return y.mul_(2.0)


def pieces(x: wf.Tensor) -> tuple[wf.Tensor, ...]:
    return tuple(part * 2.0 for part in x.split(4))


def views(x: wf.Tensor) -> tuple[wf.Tensor, ...]:
    return x.view(-1), x.T, x[1:]


def changed(x: wf.Tensor) -> wf.Tensor:
    x += 1.0
    x[0] = 0.0
    return x * 2.0


PROGRAMS = (
    *(
        branch,
        equal_to_a_number,
        equal_to_a_shape,
        looked_up,
        a_loop,
        a_float,
        a_mean,
        mixed_with_numbers,
        in_text,
        odd_or_even,
        slices,
    ),
    *(squeezed, rolled, counted, causal, in_place, pieces, views, changed),
)


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_have_the_bits_of_eager_code(program: Callable[..., Any]) -> None:
    large = () if program in (counted, causal, pieces) else (32768, 40000)  # or they take long
    check(program, [(data(n, 3),) for n in (*SIZES, 4, 9, *large, 33, 1, 8)])


@pytest.mark.parametrize("program", [branch, slices, rolled, counted, causal, bounded, in_place, changed])
def test_programs_that_need_no_number_are_captured_a_few_times(
    program: Callable[..., Any], captures: list[str]
) -> None:
    check(program, [(data(n, 3),) for n in range(12, 62)])
    assert len(captures) == 2


def test_a_size_that_is_stored_is_the_number_of_each_run() -> None:
    class Owner:
        size = 0

    owner = Owner()

    @wf.compile
    def f(x: wf.Tensor) -> wf.Tensor:
        owner.size = x.shape[0]
        return x * 2.0

    for n in (4, 5, 6, 5):
        f(wf.ones((n, 2)))
        assert owner.size == n and type(owner.size) is int


def test_a_size_that_is_appended_is_the_number_of_each_run() -> None:
    kept: list[Any] = []

    @wf.compile
    def f(x: wf.Tensor) -> wf.Tensor:
        kept.append(x.shape[0])
        return x * 2.0

    f(wf.ones(3))
    f(wf.ones(4)), f(wf.ones(5))
    assert kept == [3, 4, 5] and all(type(n) is int for n in kept)


def test_a_size_that_was_asked_for_its_number_is_that_number_afterwards() -> None:
    factors: dict[int, float] = {}

    def f(x: wf.Tensor) -> wf.Tensor:
        n = x.shape[0]
        if n not in factors:
            factors[n] = n * 0.5
        return x * factors[n]

    compiled = wf.compile(f)
    for n in (3, 4, 5, 6, 4):
        assert compiled(wf.ones(n)).tolist() == [n * 0.5] * n
        assert factors[n] == n * 0.5


def strides(x: wf.Tensor) -> wf.Tensor:
    return x * (2.0 if x.T.contiguous().stride()[0] == 6 else 3.0) + x.T.contiguous().stride(0)


def of_a_kind(x: wf.Tensor) -> wf.Tensor:
    match x.shape[0] // 2:
        case int():
            y = x * 2.0
        case _:
            y = x * 3.0
    return y + 1.0 if isinstance(x.shape[0], int) else y - 1.0


def copied(x: wf.Tensor) -> wf.Tensor:
    n = copy.deepcopy(x.shape)[0]
    return x * 2.0 if n == 6 else x + 1.0 if copy.copy(n) > 6 else x - pickle.loads(pickle.dumps(n))


def errors_caught(x: wf.Tensor) -> tuple[wf.Tensor, ...]:
    n, found = x.shape[0], []
    for attempt in (
        lambda: x + wf.ones((6, 3)),
        lambda: x[: n // 2] + x[n // 2 :],
        lambda: wf.concat([x[: n - 5], wf.ones((1, 3))], axis=1),
        lambda: x[6] * 2.0,
        lambda: x.reshape(6, -1) * 1.0,
    ):
        try:
            found.append(attempt())
        except (wf.ShapeError, IndexError):
            found.append(x * 3.0)
    return tuple(found)


def compared_with_a_complex_number(x: wf.Tensor) -> wf.Tensor:
    return x * 2.0 if x.shape[0] == 6 + 0j else x + 1.0


def exponents(x: wf.Tensor) -> wf.Tensor:
    return x ** (x.shape[0] - 4) + x ** (2 - x.shape[0])


@pytest.mark.parametrize(
    "program", [strides, of_a_kind, copied, errors_caught, compared_with_a_complex_number, exponents]
)
def test_numbers_of_sizes_decide_as_in_eager_code(program: Callable[..., Any]) -> None:
    check(program, [(data(n, 3),) for n in (9, 8, 7, 6, 5, 3, 2, 4, 12)])


@pytest.mark.parametrize(
    "program",
    [
        lambda x: x * x.shape[0],
        lambda x: wf.where(x > 0, x, x.shape[0]),
        lambda x: x > x.shape[0],
        lambda x: wf.arange(x.shape[0] + 1, dtype=wf.int8),
        lambda x: x - (x.shape[0] - 300),
    ],
)
def test_a_size_that_an_integer_dtype_does_not_hold_is_refused_at_any_size(program: Callable[..., Any]) -> None:
    compiled = wf.compile(program)
    for n in (180, 200, 120, 127, 100, 172, 171, 128, 300):
        x, seen = wf.ones(n, dtype=wf.int8), []
        for function in (program, compiled):
            try:
                seen.append(bits(function(x)))
            except wf.DTypeError as error:
                seen.append(error.message)
        assert seen[0] == seen[1], n


def test_a_size_beyond_float16_is_infinite() -> None:
    check(lambda x: x.astype(wf.float16) * x.shape[0], [(data(n, 1),) for n in (5, 70000, 70001, 300)])


# --- memory --------------------------------------------------------------------------------------------------------


def test_arguments_at_any_strides_and_shared_memory() -> None:
    def f(x: wf.Tensor, y: wf.Tensor) -> wf.Tensor:
        y += 1.0
        return x * 2.0 + y

    compiled = wf.compile(f)
    for n in (4, 5, 6, 7, 8):
        seen = []
        for function in (f, compiled):
            base = wf.asarray(data(2 * n, 3))
            seen.append(bits([function(base[:n], base[n // 2 : n // 2 + n]), base]))
            wide = wf.asarray(data(3, n))
            seen.append(bits([function(wide.T, wf.asarray(data(n, 3))), function(wide.T[::1], wide.T)]))
        assert seen[:2] == seen[2:], n


def test_state_at_any_strides() -> None:
    turned, spread = wf.asarray(data(3, 4)).T, wf.asarray(data(3)).expand(4, 3)

    def f(x: wf.Tensor) -> wf.Tensor:
        return (x @ turned.T) @ turned + (x @ spread.T).sum()

    check(f, [(data(n, 3),) for n in (4, 5, 6, 9)])


def test_an_index_out_of_range_is_named_at_any_size() -> None:
    f = wf.compile(lambda w, i: F.embedding(i, w))
    for n in (2, 3, 5, 9):
        assert f(wf.ones((7, 2)), wf.zeros(n, dtype=wf.int64)).shape == (n, 2)
        with pytest.raises(IndexError, match="index 7 is out of range for axis 0 of size 7"):
            f(wf.ones((7, 2)), wf.full((n,), 7))


def test_threads_with_sizes_of_their_own() -> None:
    net = nn.Linear(4, 4)
    compiled = wf.compile(lambda x: F.softmax(net(x), axis=0).sum(1))
    failed: list[Any] = []

    def work(seed: int) -> None:
        for size in np.random.default_rng(seed).integers(1, 40, 25):
            x = wf.asarray(data(int(size), 4))
            if bits(compiled(x)) != bits(F.softmax(net(x), axis=0).sum(1)):
                failed.append(size)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_what_is_bound_to_sizes_is_bounded() -> None:
    compiled = wf.compile(lambda x: x * 2.0)
    for n in range(2, 600):
        compiled(wf.ones(n))
    assert len(compiled._entries) < 300
    assert compiled(wf.ones(3)).tolist() == [2.0] * 3


def test_graphs_and_tables_of_any_size() -> None:
    f = wf.compile(lambda x: (x @ x.mT).sum(0))
    for n in (4, 5, 6):
        f(wf.ones((n, 3)))
    assert "[n0, 3]" in str(f.graph(wf.ones((7, 3))))
    table = f.explain(wf.ones((100, 3)))
    assert sum(row.flops for row in table.rows) >= 2 * 100 * 100 * 3
    assert "total" in str(table)


# --- random programs -----------------------------------------------------------------------------------------------

_STEPS: tuple[Callable[[Any, Any], Any], ...] = (
    lambda x, n: x * 2.0 + 1.0,
    lambda x, n: x - x.mean(0),
    lambda x, n: F.softmax(x, axis=-1),
    lambda x, n: wf.concat([x, x[:2]], axis=0),
    lambda x, n: x[1:],
    lambda x, n: x[: x.shape[0] // 2 + 1],
    lambda x, n: x[::-1] * 1.0,
    lambda x, n: wf.roll(x, 3, axis=0),
    lambda x, n: x.reshape(-1).reshape(x.shape[0], x.shape[1]),
    lambda x, n: x @ (x.mT @ x),
    lambda x, n: x.T * 1.0,
    lambda x, n: x + wf.arange(x.shape[0])[:, None],
    lambda x, n: wf.cumulative_sum(x, axis=0),
    lambda x, n: x if x.shape[0] > 6 else x * 3.0,
    lambda x, n: x / n,
    lambda x, n: x * (x.shape[1] == x.shape[0]),
    lambda x, n: wf.pad(x, ((1, 0), (0, 1))),
    lambda x, n: wf.tile(x, (2, 1))[: x.shape[0] + 1],
    lambda x, n: wf.where(x > x.max() / 2.0, x, -x),
    lambda x, n: wf.stack([x, -x]).sum(0),
)


@settings(max_examples=60)
@given(
    steps=st.lists(st.sampled_from(range(len(_STEPS))), min_size=1, max_size=6),
    sizes=st.lists(st.tuples(st.integers(1, 12), st.integers(1, 9)), min_size=3, max_size=7),
    gradient=st.booleans(),
)
def test_random_programs_keep_their_bits(steps: list[int], sizes: list[tuple[int, int]], gradient: bool) -> None:
    def program(x: wf.Tensor) -> wf.Tensor:
        n = x.shape[0]
        for step in steps:
            x = _STEPS[step](x, n)
        return x

    compiled = wf.compile(program)
    for shape in sizes:
        seen: list[Any] = []
        for function in (program, compiled):
            x = wf.asarray(data(*shape)).requires_grad_(gradient)
            try:
                y = function(x)
                if gradient:
                    (y * y).sum().backward()
                seen.append(bits([y, *([x.grad] if gradient else [])]))
            except (wf.ShapeError, IndexError) as error:
                seen.append(type(error))
        assert seen[0] == seen[1], (steps, shape)


# --- what is said beforehand ----------------------------------------------------------------------------------------


def test_sizes_that_are_said_beforehand_are_captured_once(captures: list[str]) -> None:
    @wf.compile(dynamic={"x": {0: "rows", -1: ("columns", 2, 40)}, "y": {0: "columns"}})
    def f(x: wf.Tensor, y: wf.Tensor, k: float = 1.0) -> wf.Tensor:
        return (x @ y) * k

    for n, m in ((4, 4), (5, 9), (7, 7), (33, 40), (6, 2)):
        x, y = wf.asarray(data(n, m)), wf.asarray(data(m))
        assert bits(f(x, y=y)) == bits(x @ y)
    assert captures == ["f"]
    assert "[rows, columns]" in str(f.graph(wf.ones((3, 3)), y=wf.ones(3)))
    for n in (4, 5, 100):
        with pytest.raises(wf.ShapeError, match=r"x.shape\[-1\] is 41; columns was said to be from 2 to 40"):
            f(wf.ones((n, 41)), wf.ones(41))
    with pytest.raises(wf.ShapeError, match=r"y.shape\[0\] is 5 and x.shape\[-1\] is 4; both were said to be columns"):
        f(wf.ones((4, 4)), wf.ones(5))
    with pytest.raises(
        wf.ShapeError, match=r"x, which was said to have the size columns at axis -1, is no tensor|axis 0"
    ):
        f(wf.ones(()), wf.ones(5))


def test_methods_may_say_sizes_beforehand(captures: list[str]) -> None:
    class Net:
        @wf.compile(dynamic={"x": {0: "batch"}})
        def run(self, x: wf.Tensor) -> wf.Tensor:
            return x * 2.0

    net = Net()
    for n in (4, 5, 6):
        assert net.run(wf.ones((n, 2))).shape == (n, 2)
    assert len(captures) == 1


def test_a_size_that_is_needed_as_a_number_is_refused_where_it_was_said_to_be_any() -> None:
    @wf.compile(dynamic={"x": {0: "batch"}})
    def f(x: wf.Tensor) -> wf.Tensor:
        table = [1.0, 2.0, 3.0, 4.0]
        return x * table[x.shape[0] - 1]  # here

    with pytest.raises(wf.CaptureError, match=r"the size batch was said to be any(.|\n)*test_sized.py") as caught:
        f(wf.ones((4, 2)))
    lines = Path(__file__).read_text().splitlines()
    assert caught.value.where is not None and lines[caught.value.where[1] - 1].endswith("# here")


@pytest.mark.parametrize(
    "said",
    [
        *({"z": {0: "a"}}, {"x": {"0": "a"}}, {"x": {0: 3}}, {"x": {0: ("a", 5, 2)}}, {"x": {0: "a b"}}, {"x": 0}, []),
        *({"x": {0: ("a", -1, 2)}}, {"x": {0: ("a", 1)}}, {"x": {True: "a"}}),
    ],
)
def test_what_dynamic_does_not_mean(said: Any) -> None:
    with pytest.raises(ArgumentError, match="compile: dynamic"):
        wf.compile(lambda x: x, dynamic=said)
