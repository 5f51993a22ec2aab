"""Control flow over values: eager and captured code give the same bits; what cannot be is an error at its line."""

from __future__ import annotations

import os
import signal
import threading
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from control_flow import array, bits
from few_examples import few
from hypothesis import strategies as st

import weft as wf
from weft.core.errors import ArgumentError, CaptureError, DTypeError, IndexError_, ShapeError
from weft.transforms.tree import flatten

DTYPES = ["float16", "bfloat16", "float32", "float64", "int8", "int64", "uint32"]


def agree(function: Callable[..., Any], *args: Any) -> Any:
    """What both modes give, twice, which is the same."""
    expected = function(*args)
    compiled = wf.compile(function)
    assert flatten(compiled(*args))[1] == flatten(expected)[1]
    for _ in range(2):
        assert bits(compiled(*args)) == bits(expected)
    return expected


# --- cond -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_cond_takes_one_branch(dtype: str) -> None:
    def f(p: Any, x: Any, y: Any) -> Any:
        return wf.cond(p, lambda a, b: {"r": (a + b, [a])}, lambda a, b: {"r": (a * b, [b])}, x, y)

    x, y = array(3, 4, dtype=dtype), array(3, 4, dtype=dtype, seed=1)
    for p in (True, False):
        found = agree(f, wf.asarray(p), x, y)
        assert bits(found["r"][1]) == bits([x if p else y])


def test_one_graph_serves_both_branches() -> None:
    @wf.compile
    def f(x: Any) -> Any:
        return wf.cond(x > 0, lambda: x + 1, lambda: x - 1)

    assert [float(f(wf.asarray(v))) for v in (1.0, -1.0, 2.0)] == [2.0, -2.0, 3.0]
    assert len(f.cache_info().graphs) == 1


def test_branches_read_what_is_around_them() -> None:
    held = wf.asarray([10.0, 20.0])

    def f(x: Any) -> Any:
        inner = x * 3
        return wf.cond(x.sum() > 0, lambda: inner + held, lambda: held)

    agree(f, wf.asarray([1.0, 2.0]))
    compiled = wf.compile(f)
    assert compiled(wf.asarray([-1.0, 0.5])).tolist() == [10.0, 20.0]
    held += 1  # by reference
    assert compiled(wf.asarray([-1.0, 0.5])).tolist() == [11.0, 21.0]


def test_python_bool_chooses_at_once() -> None:
    def f(x: Any) -> Any:
        return wf.cond(True, lambda: x + 1, lambda: 1 / 0)

    agree(f, wf.asarray(1.0))


def test_results_own_their_memory() -> None:
    x, around = wf.asarray([1.0, 2.0]), wf.asarray([3.0, 4.0])

    def f(p: Any, x: Any) -> Any:
        y, z = wf.cond(p, lambda a: (a, around), lambda a: (a[:], around.reshape(2)), x)
        w = wf.while_loop(lambda c: c.sum() < -100, lambda c: c + 1, x)
        u, _ = wf.scan(lambda c, _: (c, None), x, length=2)
        y += 1
        z += 1
        w += 1
        u += 1
        return x + 0, around + 0, y, z, w, u

    for mode in (f, wf.compile(f)):
        for p in (True, False):
            made = mode(wf.asarray(p), x)
            assert [t.tolist() for t in made] == [[1, 2], [3, 4], [2, 3], [4, 5], [2, 3], [2, 3]]


# --- while_loop -----------------------------------------------------------------------------------------------------


def collatz(n: Any) -> Any:
    def body(state: Any) -> Any:
        n, steps = state
        return wf.cond(n % 2 == 0, lambda: n // 2, lambda: 3 * n + 1), steps + 1

    return wf.while_loop(lambda state: state[0] != 1, body, (n, wf.asarray(0)))[1]


def test_collatz() -> None:
    compiled = wf.compile(collatz)
    for n, steps in ((1, 0), (6, 8), (27, 111), (97, 118)):
        assert int(collatz(wf.asarray(n))) == int(compiled(wf.asarray(n))) == steps


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 10])
@pytest.mark.parametrize("dtype", DTYPES)
def test_while_of_carries_of_one_dtype(dtype: str, steps: int) -> None:
    def f(x: Any, n: Any) -> Any:
        def body(c: Any) -> Any:
            return {"i": c["i"] + 1, "x": (c["x"] * 2 + 1).astype(dtype), "old": c["x"]}

        return wf.while_loop(lambda c: c["i"] < n, body, {"i": 0, "x": x, "old": x})

    agree(f, array(5, dtype=dtype), wf.asarray(steps))


def test_carries_that_change_places() -> None:
    def fibonacci(n: Any) -> Any:
        return wf.while_loop(lambda c: c[2] > 0, lambda c: (c[1], c[0] + c[1], c[2] - 1), (0, 1, n))

    assert [int(t) for t in agree(fibonacci, wf.asarray(50))] == [12586269025, 20365011074, 0]


def test_big_carries() -> None:
    def f(x: Any) -> Any:
        return wf.while_loop(lambda c: c[1] < 5, lambda c: (wf.sin(c[0]) + 1, c[1] + 1), (x, 0))

    agree(f, array(1_000_003))


def test_invariants_are_operands() -> None:
    @wf.compile
    def f(x: Any, w: Any) -> Any:
        return wf.while_loop(lambda c: c.sum() < 1e6, lambda c: c @ w.exp(), x)

    graph = f.graph(array(2, 3), array(3, 3))
    assert [node.op.name for node in graph.nodes].count("loop") == 1
    agree(f, abs(array(2, 3)), array(3, 3))


def test_max_steps() -> None:
    def f(n: Any) -> Any:
        return wf.while_loop(lambda c: c < n, lambda c: c + 1, wf.asarray(0), max_steps=5)

    assert int(agree(f, wf.asarray(5))) == 5
    compiled = wf.compile(f)
    for mode in (f, compiled):
        with pytest.raises(ArgumentError, match="still true after"):
            mode(wf.asarray(6))
    assert int(compiled(wf.asarray(3))) == 3


def test_an_index_out_of_range_ends_the_loop() -> None:
    state = wf.asarray([0.0])

    @wf.compile
    def f(x: Any, n: Any) -> Any:
        _, total = wf.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, c[1] + x[c[0]]), (wf.asarray(0), 0.0))
        state.copy_(total.reshape(1))
        return total

    x = wf.asarray([1.0, 2.0, 3.0])
    assert float(f(x, wf.asarray(3))) == 6.0
    with pytest.raises(IndexError_):
        f(x, wf.asarray(4))
    assert state.tolist() == [6.0]
    assert float(f(x, wf.asarray(2))) == 3.0


def test_an_endless_loop_hears_signals() -> None:
    @wf.compile
    def f(x: Any) -> Any:
        return wf.while_loop(lambda c: c[0] >= 0, lambda c: (c[0], c[1] + 1), (x, 0))

    known = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            f(wf.asarray(1.0))
    finally:
        signal.signal(signal.SIGINT, known)
    assert int(f(wf.asarray(-1.0))[1]) == 0


# --- scan -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("n", [0, 1, 2, 7])
@pytest.mark.parametrize("dtype", DTYPES)
def test_scan(dtype: str, n: int, reverse: bool) -> None:
    def f(x: Any, h: Any) -> Any:
        def step(c: Any, v: Any) -> Any:
            after = (c * 2 + v["x"]).astype(dtype)
            return after, (c, {"sum": after.sum(), "row": v["x"]})

        return wf.scan(step, h, {"x": x}, reverse=reverse)

    agree(f, array(n, 3, dtype=dtype), array(3, dtype=dtype, seed=1))


def test_scan_without_sequences() -> None:
    def f(x: Any) -> Any:
        return wf.scan(lambda c, _: (c * 1.5, c.sum()), x, length=6)

    found = agree(f, array(4))
    assert found[1].shape == (6,)
    assert agree(lambda x: wf.scan(lambda c, _: (c + 1, None), x, length=3), array(4))[1] is None


def test_scan_is_a_recurrent_layer() -> None:
    def f(x: Any, w: Any, b: Any) -> Any:
        return wf.scan(lambda h, v: ((a := wf.tanh(h @ w + v + b)), a), wf.zeros((2, 5)), x)

    last, all_ = agree(f, array(9, 2, 5), array(5, 5, seed=1), array(5, seed=2))
    assert bits(last) == bits(all_[-1])


def test_strided_sequences() -> None:
    def f(x: Any) -> Any:
        return wf.scan(lambda c, v: (c + v, v[::2]), wf.zeros(4), x.T[::-1] if False else x.T)

    agree(f, array(4, 6))


# --- nesting, state -------------------------------------------------------------------------------------------------


def test_nesting() -> None:
    def f(x: Any, limit: Any) -> Any:
        def step(total: Any, row: Any) -> Any:
            def body(c: Any) -> Any:
                v, i = c
                return wf.cond(v.sum() > 10, lambda: v / 2 - total.sum(), lambda: v * 3 + row), i + 1

            v, i = wf.while_loop(lambda c: (c[1] < limit) & (abs(c[0]).sum() < 1e4), body, (row, 0))
            return total + v, (i, wf.scan(lambda c, y: (c + y, c * total[0]), v[0], v)[1])

        return wf.scan(step, wf.zeros(3), x)

    for limit in (0, 1, 6):
        agree(f, array(5, 3), wf.asarray(limit))


def test_random_draws_move_the_generator_on() -> None:
    def f(n: Any) -> Any:
        a = wf.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, c[1] + wf.random.normal((3,))), (0, wf.zeros(3)))
        b = wf.scan(lambda c, _: (c + wf.random.uniform((2,)), wf.random.normal(())), wf.zeros(2), length=4)
        c = wf.cond(n > 2, lambda: wf.random.normal((2,)), lambda: wf.zeros(2))
        return a, b, c, wf.random.normal((2,))

    compiled = wf.compile(f)
    for n in (0, 1, 5):
        wf.random.seed(7)
        expected = [bits(f(wf.asarray(n))) for _ in range(3)]
        wf.random.seed(7)
        assert [bits(compiled(wf.asarray(n))) for _ in range(3)] == expected


def test_buffers_are_written_from_inside() -> None:
    count, kept = wf.asarray(0), wf.zeros(3)

    def f(x: Any) -> Any:
        def step(c: Any, v: Any) -> Any:
            count.add_(1)
            wf.cond(v.sum() > 0, lambda: (kept.copy_(v), 0)[1], lambda: 0)
            return c + v * count, kept * 1

        return wf.scan(step, wf.zeros(3), x)

    compiled = wf.compile(f)
    states = []
    for mode in (f, compiled):
        count.copy_(wf.asarray(0))
        kept.zero_()
        states.append([(bits(mode(array(4, 3))), int(count), kept.tolist()) for _ in range(2)])
    assert states[0] == states[1]
    assert states[0][1][1] == 8


def test_data_made_inside_begins_anew_in_each_iteration() -> None:
    def f(x: Any) -> Any:
        def step(c: Any, v: Any) -> Any:
            own = wf.asarray([1.0, 2.0])
            own += v
            return c + own, own

        return wf.scan(step, wf.zeros(2), x)

    agree(f, array(4, 2))


Pair = namedtuple("Pair", "left right")


def test_carries_are_written_in_place() -> None:
    def f(x: Any, n: Any) -> Any:
        y = x * 1
        before = y + 0

        def body(c: Any) -> Any:
            y, steps = c
            y += 2
            y[0] = 0
            wf.cond(steps > 1, lambda: y.mul_(2), lambda: y)
            steps += 1
            return y, steps

        last, steps = wf.while_loop(lambda c: c[1] < n, body, (y, 0))
        last += 100
        return before, y, last, steps

    for n in (0, 1, 4):
        agree(f, array(3), wf.asarray(n))

    def g(x: Any) -> Any:
        total = wf.zeros(3)

        def step(c: Any, v: Any) -> Any:
            c += v
            return c, c * 1

        last, ys = wf.scan(step, total, x)
        return total, last, ys

    agree(g, array(4, 3))


def test_an_argument_that_a_loop_writes() -> None:
    def f(x: Any) -> Any:
        return wf.while_loop(lambda c: c.sum() < 10, lambda c: c.add_(1), x)

    x, y = wf.zeros(3), wf.zeros(3)
    assert bits(wf.compile(f)(x)) == bits(f(y))
    assert x.tolist() == y.tolist() == [4.0, 4.0, 4.0]


def test_any_nesting() -> None:
    def f(x: Any) -> Any:
        def body(c: Any) -> Any:
            return Pair({"b": c.left["a"], "a": c.left["b"] + 1}, [c.right[0] - 1, None])

        return wf.while_loop(lambda c: c.right[0] > 0, body, Pair({"a": x, "b": x * 2}, [3, None]))

    found = agree(f, array(2))
    assert isinstance(found, Pair) and list(found.left) == ["a", "b"]


# --- bad input ------------------------------------------------------------------------------------------------------


def here() -> str:
    return Path(__file__).name


CASES: list[tuple[type[Exception], str, Callable[[Any], Any]]] = [
    (
        DTypeError,
        r"the carry\['a'\]\[1\] is float64, not float32",
        lambda x: wf.while_loop(
            lambda c: c["a"][1].sum() < 9, lambda c: {"a": (c["a"][0], c["a"][1].astype("float64"))}, {"a": (x, x)}
        ),
    ),
    (
        ShapeError,
        r"the carry\[0\] has the shape \(6,\), not \(3,\)",
        lambda x: wf.while_loop(lambda c: c[0].sum() < 99, lambda c: (wf.concat([c[0], c[0]]),), (x,)),
    ),
    (
        ArgumentError,
        r"the carry has 1 items, not 2",
        lambda x: wf.while_loop(lambda c: c[0].sum() < 9, lambda c: (c[0] + 9,), (x, x)),
    ),
    (
        ArgumentError,
        r"the carry is a list, not a tuple",
        lambda x: wf.scan(lambda c, _: ([c[0]], None), (x,), length=1),
    ),
    (
        ArgumentError,
        r"the carry has the keys 'b', not 'a'",
        lambda x: wf.scan(lambda c, _: ({"b": x}, None), {"a": x}, length=1),
    ),
    (DTypeError, "int64", lambda x: wf.cond(x.sum().astype("int64"), lambda: x, lambda: x)),
    (ShapeError, r"not of shape \(3,\)", lambda x: wf.cond(x > 0, lambda: x, lambda: x)),
    (DTypeError, "float32", lambda x: wf.while_loop(lambda c: c.sum(), lambda c: c, x)),
    (DTypeError, "None", lambda x: wf.while_loop(lambda c: None, lambda c: c, x)),
    (ArgumentError, "a pair", lambda x: wf.scan(lambda c, v: c, x, x)),
    (ArgumentError, "how often", lambda x: wf.scan(lambda c, v: (c, v), x)),
    (ShapeError, r"xs\[1\] has 2 parts", lambda x: wf.scan(lambda c, v: (c, v), x, (x, x[:2]))),
    (ShapeError, "rank 0", lambda x: wf.scan(lambda c, v: (c, v), x, x[0])),
    (ArgumentError, r"operands\[0\] is no tensor, but 'a'", lambda x: wf.cond(True, lambda a: a, lambda a: a, "a")),
    (ArgumentError, "max_steps", lambda x: wf.while_loop(lambda c: c.sum() < 0, lambda c: c, x, max_steps=-1)),
]


@pytest.mark.parametrize(("kind", "text", "function"), CASES, ids=range(len(CASES)))
def test_mistakes_are_named(kind: type[Exception], text: str, function: Callable[[Any], Any]) -> None:
    x = wf.asarray([1.0, 2.0, 3.0])
    for mode in (function, wf.compile(function)):
        with pytest.raises(kind, match=text) as caught:
            mode(x)
        assert here() in str(caught.value)


CAPTURED: list[tuple[type[Exception], str, Callable[[Any], Any]]] = [
    (
        DTypeError,
        r"the result\[1\] of false_fn is int64, not float32",
        lambda x: wf.cond(x[0] > 0, lambda: (x, x[0]), lambda: (x, 1)),
    ),
    (ShapeError, r"the result of false_fn", lambda x: wf.cond(x[0] > 0, lambda: x, lambda: x[:1])),
    (
        ArgumentError,
        r"the result of false_fn has 1 items, not 2",
        lambda x: wf.cond(x[0] > 0, lambda: [x, x], lambda: [x]),
    ),
    (CaptureError, "carries another", lambda x: wf.while_loop(lambda c: c.sum() < 99, lambda c: c.add_(1) * 2, x)),
    (CaptureError, "part of a sequence", lambda x: wf.scan(lambda c, v: (c, v.add_(1)), x[0], x)),
    (CaptureError, "in place.*another way", lambda x: wf.scan(lambda c, _: (c.add_(x), None), x, length=2)),
    (
        CaptureError,
        "in place.*another way",
        lambda x: wf.scan(lambda c, _: ((c[0].add_(1), c[1]), None), (x, x), length=2),
    ),
    (CaptureError, "in place.*another way", lambda x: wf.scan(lambda c, _: (c.add_(1), None), x[:2], length=2)),
]


def test_pythons_control_flow_stands_inside_of_a_branch_too() -> None:
    def f(x: Any) -> Any:
        return wf.cond(x[0] > 0, lambda: x if x[1] > 0 else -x, lambda: x * 3)

    compiled = wf.compile(f)
    for values in ([1.0, 2.0], [1.0, -2.0], [-1.0, 2.0], [-1.0, -2.0]):
        x = wf.asarray(values)
        assert compiled(x).tolist() == f(x).tolist()


@pytest.mark.parametrize(("kind", "text", "function"), CAPTURED, ids=range(len(CAPTURED)))
def test_what_cannot_be_captured_is_named(kind: type[Exception], text: str, function: Callable[[Any], Any]) -> None:
    with pytest.raises(kind, match=text) as caught:
        wf.compile(function)(wf.asarray([1.0, 2.0, 3.0]))
    assert here() in str(caught.value)


def test_what_leaves_a_body_by_another_way_is_refused() -> None:
    class Box:
        kept: Any = None

    box, lists = Box(), []

    def by_attribute(x: Any) -> Any:
        def body(c: Any) -> Any:
            box.kept = c * 2
            return c + 1

        return wf.while_loop(lambda c: c.sum() < 9, body, x)

    def by_list(x: Any) -> Any:
        wf.cond(x.sum() > 0, lambda: (lists.append(x * 2), x)[1], lambda: x)
        return lists[-1] + 1

    def by_name(x: Any) -> Any:
        kept = None

        def step(c: Any, v: Any) -> Any:
            nonlocal kept
            kept = v * 2
            return c, v

        wf.scan(step, x[0], x)
        return kept

    for function in (by_attribute, by_list, by_name):
        with pytest.raises(CaptureError):
            wf.compile(function)(wf.asarray([1.0, 2.0]))


class Counter:
    def __init__(self) -> None:
        self.n, self.log, self.inner = 0, [1], {"k": {"deep": 0}}

    def count(self, c: Any) -> Any:
        self.n += 1
        return c + 1

    def note(self, c: Any) -> Any:
        self.log.append(2)
        return c + 1

    def deep(self, c: Any) -> Any:
        self.inner["k"]["deep"] += 1
        return c + 1


steps_made = 0


def count_globally(c: Any) -> Any:
    global steps_made
    steps_made += 1
    return c + 1


def test_python_state_that_a_body_changes_is_refused() -> None:
    counter, made, total, keyed = Counter(), [], 0, {"a": 1}

    def append(c: Any) -> Any:
        made.append(1)
        return c + 1

    def rebind(c: Any) -> Any:
        nonlocal total
        total = total + 1
        return c + 1

    def assign(c: Any) -> Any:
        keyed["a"] += 1
        return c + 1

    def by_another(c: Any) -> Any:
        return append(c)

    functions = [counter.count, counter.note, counter.deep, append, rebind, assign, by_another, count_globally]
    for function in functions:
        for loop in (
            lambda x, f=function: wf.while_loop(lambda c: c.sum() < 9, lambda c: f(c), x),
            lambda x, f=function: wf.while_loop(lambda c: c.sum() < 9, f, x),
            lambda x, f=function: wf.cond(x.sum() > 0, f, lambda c: c, x),
            lambda x, f=function: wf.scan(lambda c, _: (f(c), None), x, length=2),
        ):
            with pytest.raises(CaptureError, match="the function changes"):
                wf.compile(loop)(wf.ones(2))


def test_what_is_made_and_changed_inside_is_nobodys_business() -> None:
    held = {"scale": 2.0, "items": [1, 2]}

    def f(x: Any) -> Any:
        def body(c: Any) -> Any:
            parts = []
            for i in held["items"]:
                parts.append(c * i * held["scale"])
            table = {"a": parts}
            table["b"] = sum(table["a"])
            return table["b"] / 7

        return wf.scan(lambda c, _: (body(c), None), x, length=3)[0]

    agree(f, wf.ones(2))


# --- programs -------------------------------------------------------------------------------------------------------


@st.composite
def programs(draw: st.DrawFn, depth: int = 2) -> Any:
    """A function of a vector and an integer, with the same as its result."""
    kind = draw(st.sampled_from(["op", "op", "then", "cond", "while", "scan"] if depth else ["op"]))
    if kind == "op":
        number = draw(st.sampled_from([-1.5, 0.0, 0.5, 2.0]))
        return draw(
            st.sampled_from(
                [
                    lambda x, n: (x + number, n + 1),
                    lambda x, n: (wf.tanh(x) * number, n),
                    lambda x, n: (x - x.sum() * 0.25, n % 7),
                    lambda x, n: (wf.flip(x) * n, n - 2),
                    lambda x, n: (x, n),
                    lambda x, n: (wf.where(x > number, x, -x), (x > number).sum()),
                ]
            )
        )
    first, second = draw(programs(depth=depth - 1)), draw(programs(depth=depth - 1))
    if kind == "then":
        return lambda x, n: second(*first(x, n))
    if kind == "cond":
        limit = draw(st.sampled_from([-1, 0, 3]))
        return lambda x, n: wf.cond(n > limit, lambda: first(x, n), lambda: second(x * 2, n))
    if kind == "while":
        most = draw(st.integers(0, 4))

        def loop(x: Any, n: Any) -> Any:
            def body(c: Any) -> Any:
                y, m, i = c
                y, m = first(y, m)
                return y + x * 0.125, m, i + 1

            y, m, _ = wf.while_loop(lambda c: (c[2] < most) & (c[1] < 50), body, (x, n, 0))
            return second(y, m)

        return loop
    reverse = draw(st.booleans())

    def scanned(x: Any, n: Any) -> Any:
        def step(c: Any, v: Any) -> Any:
            y, m = first(c[0] * 0.5 + v, c[1])
            return (y, m), (y.sum(), m)

        (_, m), (sums, counts) = wf.scan(step, (x, n), x, reverse=reverse)
        return second(sums + counts, m)

    return scanned


@few(7, 60, programs(depth=3), st.integers(-3, 5))
def test_any_program(program: Any, n: int) -> None:
    compiled = wf.compile(program)
    for size in (5, 3, 6):  # the second for any size
        assert bits(compiled(array(size), wf.asarray(n))) == bits(program(array(size), wf.asarray(n)))


# --- with everything else -------------------------------------------------------------------------------------------


def test_python_code_inside_of_a_loop() -> None:
    def f(x: Any) -> Any:
        return wf.scan(lambda c, v: (c + wf.linalg.inv(v) @ c, wf.linalg.det(v)), wf.eye(3), x)

    agree(f, array(4, 3, 3) + wf.eye(3) * 9)
    with pytest.raises(wf.LinAlgError) as caught:
        wf.compile(f)(wf.zeros((2, 3, 3)))
    assert here() in str(caught.value)


def test_several_threads_run_one_loop() -> None:
    f = wf.compile(lambda x: wf.scan(lambda c, v: (wf.tanh(c @ x[0] + v), c), wf.zeros((8, 8)), x))
    args = [array(20, 8, 8, seed=seed) for seed in range(4)]
    expected = [bits(f(x)) for x in args]
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(20):
            if bits(f(args[number])) != expected[number]:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_state_is_whole_after_a_run_that_failed() -> None:
    total, at = wf.zeros(2), wf.asarray([0, 1, 5])

    @wf.compile
    def f(x: Any, at: Any) -> Any:
        def step(c: Any, i: Any) -> Any:
            total.add_(1)
            return c + x[i], None

        return wf.scan(step, wf.asarray(0.0), at)[0]

    with pytest.raises(IndexError_):
        f(wf.ones(3), at)
    assert total.tolist() == [0.0, 0.0]
    assert float(f(wf.ones(3), wf.asarray([0, 1, 2]))) == 3.0
    assert total.tolist() == [3.0, 3.0]


def test_modules_are_called_in_loops() -> None:
    net = wf.nn.Sequential(wf.nn.Linear(4, 4), wf.nn.Tanh(), wf.nn.LayerNorm(4))

    def f(x: Any) -> Any:
        return wf.while_loop(lambda c: c[1] < 5, lambda c: (net(c[0]) + x, c[1] + 1), (x, 0))[0]

    agree(f, array(3, 4))


def test_shapes_are_known_without_data() -> None:
    found = wf.eval_shape(lambda x: wf.scan(lambda c, v: (c, v @ c), x[0], x), wf.spec((5, 3, 3), "float32"))
    assert [tuple(t.shape) for t in flatten(found)[0]] == [(3, 3), (5, 3, 3)]


def test_kernels_and_explanations_show_what_is_inside() -> None:
    f = wf.compile(lambda x: wf.while_loop(lambda c: c.sum() < 100, lambda c: c @ c + 1, x))
    x = wf.ones((3, 3))
    assert any(type(k).__name__ == "Contraction" for k in f.kernels(x))
    assert "loop" in str(f.explain(x))
    assert "body: graph while_loop" in str(f.graph(x))


def test_a_compiled_function_inside_of_a_body() -> None:
    inner = wf.compile(lambda c, v: wf.cond(v.sum() > 0, lambda: c + v, lambda: c * v))
    agree(lambda x: wf.scan(lambda c, v: (inner(c, v), inner(v, c)), x[0], x), array(4, 3))


def test_collatz_of_the_api_page() -> None:
    f = wf.compile(collatz)
    assert int(f(wf.asarray(27))) == 111


def test_nothing_at_all() -> None:
    def f(x: Any) -> Any:
        return (
            wf.cond(x.sum() > 0, lambda: None, lambda: None),
            wf.scan(lambda c, v: (c, None), (), x),
            wf.scan(lambda c, v: ((), v * 2), (), x),
            wf.scan(lambda c, v: (c, v * 2), wf.zeros((0, 3)), x),
        )

    agree(f, array(4, 3))


def test_numbers_and_arrays_are_operands() -> None:
    def f(x: Any) -> Any:
        a = wf.cond(x[0] > 0, lambda p, q: p * q, lambda p, q: p - q, 2.0, np.asarray([1.0, 2.0], np.float32))
        b, _ = wf.scan(lambda c, v: ((c[0] + v, 3), None), (0, 1), np.arange(4))
        return a, b

    agree(f, wf.asarray([1.0]))
    agree(f, wf.asarray([-1.0]))


def test_another_device_refuses_loops() -> None:
    import second_device

    second_device.register()
    try:
        f = wf.compile(lambda x: wf.while_loop(lambda c: c.sum() < 10, lambda c: c + 1, x))
        x = wf.ones(3).to(second_device.ROW.kind)
        with pytest.raises(wf.DeviceError, match="loop"):
            f(x)
    finally:
        second_device.unregister()
