"""Sizes that kernels set: compiled functions in which values decide about shapes give the bits that eager code gives,
with few captures, whatever the values and the sizes of arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from few_examples import few
from hypothesis import strategies as st

import weft as wf
import weft.nn.functional as F
from weft.transforms import compile as compiling
from weft.transforms import counted as counting


def _x(n: int, k: int) -> Any:
    return wf.asarray(np.random.default_rng(n * 31 + k).standard_normal((n, 4)).astype("f4"))


def _nested(x: Any) -> Any:
    y = x[x > 0]
    return y[y < 1.0] * 2.0


def _several(x: Any) -> Any:
    a, b = x[x > 0.5], x[x < -0.5]
    return wf.concat([a, b, a * 2.0], axis=0)


def _rows(x: Any) -> Any:
    kept = x[x[:, 0] > 0]
    return F.softmax(kept @ kept.mT, -1) @ kept if kept.shape[0] else kept


def _written(x: Any) -> Any:
    y = x * 1.0
    y[y > 0] = wf.arange(wf.nonzero(x > 0)[0].shape[0], dtype=wf.float32)
    return y


def _times(x: Any) -> Any:
    counts = (wf.abs(x[:, 0]) * 2.0).astype(wf.int64)
    return wf.repeat(x, counts, axis=0) + 1.0


def _asked(x: Any) -> Any:
    y = x[x > 0]
    return y.sum() / y.shape[0] if y.shape[0] > 6 else y.sum() * 3.0


PROGRAMS: dict[str, Callable[[Any], Any]] = {
    "a mask": lambda x: x[x > 0] * 2.0 + 1.0,
    "rows": lambda x: wf.tanh(x[x[:, 0] > 0]),
    "columns of rows": lambda x: x[x[:, 0] > 0, 1:3] * 1.5,
    "positions": lambda x: wf.nonzero(x > 0),
    "masked_select": lambda x: x.masked_select(x < 0) - 1.0,
    "mean of what is left": lambda x: wf.mean(x[x > -3.0] * x[x > -3.0]),
    "a mask of what a mask left": _nested,
    "several": _several,
    "products of rows": _rows,
    "written": _written,
    "repeat": _times,
    "asked for in Python": _asked,
    "nothing asks for it": lambda x: (x[x > 0] * 0.0).sum() + x.sum(),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_compiled_function_gives_the_bits_of_eager_code(name: str) -> None:
    function = PROGRAMS[name]
    compiled = wf.compile(function)
    for n, k in ((6, 0), (6, 1), (6, 2), (9, 0), (13, 0), (30, 0), (31, 1), (6, 3), (2, 0), (1, 0), (1, 5), (64, 1)):
        x = _x(n, k)
        expected, found = function(x), compiled(x)
        for a, b in zip(*(r if isinstance(r, tuple) else (r,) for r in (expected, found)), strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype
            assert a.numpy().tobytes() == b.numpy().tobytes(), (n, k)


@few(10, 90, st.sampled_from(sorted(PROGRAMS)), st.lists(st.tuples(st.integers(0, 20), st.integers(0, 9)), max_size=6))
def test_sizes_and_values_of_any_order(name: str, draws: list[tuple[int, int]]) -> None:
    function, compiled = PROGRAMS[name], wf.compile(PROGRAMS[name])
    for n, k in draws:
        x = _x(n, k)
        expected, found = function(x), compiled(x)
        for a, b in zip(*(r if isinstance(r, tuple) else (r,) for r in (expected, found)), strict=True):
            assert a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()


def test_none_one_and_all() -> None:
    function = lambda x, m: x[m] * 2.0  # noqa: E731
    compiled, x = wf.compile(function), _x(5, 0)
    for mask in (np.zeros((5, 4), bool), np.ones((5, 4), bool), np.arange(20).reshape(5, 4) == 7) * 2:
        m = wf.asarray(mask)
        assert compiled(x, m).numpy().tobytes() == function(x, m).numpy().tobytes()
        assert compiled(x, m).shape == (int(mask.sum()),)


def _captures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Grows with each capture."""
    found: list[Any] = []
    capture = compiling.capture

    def counted(*args: Any, **kwargs: Any) -> Any:
        found.append(kwargs.get("counts"))
        return capture(*args, **kwargs)

    monkeypatch.setattr(compiling, "capture", counted)
    monkeypatch.setattr(counting, "capture", counted)
    return found


def test_other_values_and_sizes_are_captured_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    made = _captures(monkeypatch)
    compiled = wf.compile(lambda x: wf.tanh(x[x > 0]).sum())
    for n, k in ((6, 0), (6, 1), (9, 0), (9, 1)):
        compiled(_x(n, k))
    before = len(made)
    assert before <= 4  # with numbers, which does not go; with a count; the same for any size of x
    for n in range(10, 40):
        compiled(_x(n, n))
    assert len(made) == before


def _loss(x: Any, w: Any) -> Any:
    y = x @ w
    kept = y[y > 0]
    return (kept * kept).mean() + wf.tanh(kept).sum()


def test_gradients_inside() -> None:
    def step(x: Any, w: Any) -> Any:
        w.grad = None
        loss = _loss(x, w)
        loss.backward()
        return loss, w.grad

    w = wf.asarray(np.random.default_rng(3).standard_normal((4, 3)).astype("f4")).requires_grad_()
    compiled = wf.compile(step)
    for n, k in ((6, 0), (6, 1), (9, 0), (14, 2), (23, 3)):
        expected = [t.numpy().tobytes() for t in step(_x(n, k), w)]
        assert [t.numpy().tobytes() for t in compiled(_x(n, k), w)] == expected


def test_gradients_from_outside() -> None:
    w = wf.asarray(np.random.default_rng(3).standard_normal((4, 3)).astype("f4")).requires_grad_()
    compiled = wf.compile(_loss)
    for n, k in ((6, 0), (6, 1), (9, 0), (14, 2), (23, 3)):
        found = []
        for function in (_loss, compiled):
            w.grad = None
            function(_x(n, k), w).backward()
            found.append(w.grad.numpy().tobytes())
        assert found[0] == found[1], (n, k)


def test_state_is_written_once_all_sizes_are_known() -> None:
    class Seen:
        def __init__(self) -> None:
            self.total, self.count = wf.zeros(4), wf.zeros((), dtype=wf.int64)

        def add(self, x: Any) -> Any:
            rows = x[x[:, 1] > 0]
            self.total += rows.sum(axis=0)
            self.count += 1
            return rows[:, 0] if rows.shape[0] > 4 else rows[:, 1]

    plain, other = Seen(), Seen()
    compiled = wf.compile(other.add)
    for n, k in ((6, 0), (6, 1), (9, 0), (9, 3), (14, 2), (23, 3), (3, 0)):
        expected, found = plain.add(_x(n, k)), compiled(_x(n, k))
        assert expected.numpy().tobytes() == found.numpy().tobytes()
        assert plain.total.numpy().tobytes() == other.total.numpy().tobytes()
        assert int(plain.count) == int(other.count)


def test_an_index_out_of_range_writes_nothing() -> None:
    total = wf.zeros(())

    def look_up(x: Any, i: Any) -> Any:
        nonlocal total
        y = x[x > 0]
        total += y.sum()
        return wf.take(y, i, axis=0)

    compiled = wf.compile(look_up)
    x = wf.asarray([1.0, -1.0, 2.0, 3.0])
    assert compiled(x, wf.asarray([2, 0])).tolist() == [3.0, 1.0]
    assert float(total) == 6.0
    with pytest.raises(IndexError, match="index 3 is out of range for axis 0 of size 3"):
        compiled(x, wf.asarray([3, 0]))
    with pytest.raises(IndexError, match="index 2 is out of range for axis 0 of size 2"):
        compiled(wf.asarray([1.0, -1.0, 2.0, -3.0]), wf.asarray([2]))
    assert float(total) == 6.0


def test_an_index_before_the_count_is_found() -> None:
    compiled = wf.compile(lambda x, i: x[wf.take(x, i, axis=0) > 0])
    x = wf.asarray([1.0, -1.0, 2.0])
    assert compiled(x, wf.asarray([0, 1, 2])).tolist() == [1.0, 2.0]
    with pytest.raises(IndexError, match="index 5 is out of range for axis 0 of size 3"):
        compiled(x, wf.asarray([0, 5, 2]))


def test_a_negative_number_of_repetitions_is_an_error() -> None:
    compiled = wf.compile(lambda x, n: wf.repeat(x, n))
    x = wf.asarray([1.0, 2.0, 3.0])
    assert compiled(x, wf.asarray([2, 0, 3])).tolist() == [1.0, 1.0, 3.0, 3.0, 3.0]
    with pytest.raises(IndexError):
        compiled(x, wf.asarray([4, -1, 3]))
    with pytest.raises(wf.ShapeError, match="2 numbers of repetitions for 3 elements"):
        compiled(x, wf.asarray([4, 1]))


def test_kernels_and_explanations_have_all_stages() -> None:
    compiled = wf.compile(lambda x: x[x > 0] * 2.0)
    x = _x(8, 0)
    titles = [row.kernel for row in compiled.explain(x).rows]
    assert "_count" in titles[0] and "multiply" in titles[-1]
    assert len(compiled.kernels(x)) == len(titles)


def test_pages_and_lowered_functions_have_all_stages(tmp_path: Any) -> None:
    compiled = wf.compile(lambda x: wf.exp(x[x > 0])[wf.exp(x[x > 0]) > 2.0])
    x = _x(8, 0)
    compiled(x)
    told = compiled.explain(x, html=tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().count("_count") >= 1
    lowered = compiled.lower(x)
    assert len(lowered.kernels) == len(told.rows) and lowered.nbytes == sum(row.nbytes for row in told.rows)
    assert set(lowered.sizes) == {"k0", "k1"} and lowered.arena_nbytes == told.arena_nbytes
    with pytest.raises(wf.CaptureError, match="call the function with data"):
        wf.compile(lambda x: x[x > 0]).lower(wf.spec((8,)))


def _branch(x: Any) -> Any:
    y = x[x > 0]
    if y.sum() > 4.0:
        return y * 2.0
    return -y


def _fold(x: Any) -> Any:
    total = wf.asarray(0.0)
    for v in x[x > 0]:
        total = total * 0.5 + v
        if total > 3.0:
            break
    return total


def _while(x: Any) -> Any:
    y, i = x[x > 0], 0
    while i < y.shape[0] and y[i] < 1.0:
        i += 1
    return wf.asarray(i), wf.asarray(y.shape[0])


def _row_by_row(x: Any) -> Any:
    return wf.stack([row[row > 0].sum() for row in x])


def _told(x: Any) -> Any:
    y = x[x > 0]
    assert y.sum() >= 0.0, f"the sum is {y.sum()}"
    wf.debug.check(y.size <= x.size)
    return y


@pytest.mark.parametrize("function", [_branch, _fold, _while, _row_by_row, _told])
def test_branches_and_loops_over_what_is_left(function: Callable[[Any], Any]) -> None:
    compiled = wf.compile(function)
    for n, k in ((6, 0), (6, 1), (6, 0), (9, 0), (13, 0), (9, 1), (1, 0), (3, 5)):
        expected, found = function(_x(n, k)), compiled(_x(n, k))
        for a, b in zip(*(r if isinstance(r, tuple) else (r,) for r in (expected, found)), strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype and a.numpy().tobytes() == b.numpy().tobytes(), (n, k)


def _in_a_branch(x: Any) -> Any:
    return x[x > 0] if x.sum() > 0 else x


def _in_a_while(x: Any) -> Any:
    while x.sum() < 9.0:
        x = x + x[x > 0].sum()
    return x


def _in_a_scan(x: Any) -> Any:
    return wf.scan(lambda total, row: (total + wf.repeat(row, (row > 0).astype(wf.int64)).sum(), None), x[0, 0], x)[0]


@pytest.mark.parametrize("function", [_in_a_branch, _in_a_while, _in_a_scan])
def test_in_bodies_there_are_no_such_sizes(function: Callable[[Any], Any]) -> None:
    compiled = wf.compile(function)
    with pytest.raises(wf.CaptureError, match="inside of a branch or loop that a value decides about") as raised:
        compiled(wf.abs(_x(3, 0)) * 0.1)
    where = raised.value.where
    assert where is not None and where[0] == __file__
    assert not compiled.cache_info().graphs


def test_a_run_for_other_sizes_prints_and_raises_once(capsys: pytest.CaptureFixture[str]) -> None:
    @wf.compile
    def shown(x: Any) -> Any:
        print("the sum is", x.sum())
        y = x[x > 0]
        if x.sum() > 10.0:
            raise ValueError(f"the sum is {x.sum()}")
        return y

    for values in ([1.0, 2.0], [-1.0, 2.0], [-1.0, -2.0], [3.0, 4.0]):
        capsys.readouterr()
        assert shown(wf.asarray(values)).tolist() == [v for v in values if v > 0]
        assert capsys.readouterr().out == f"the sum is {wf.asarray(sum(values))!r}\n"
    for values in ([9.0, 2.0], [-1.0, 12.0]):
        with pytest.raises(ValueError, match=f"the sum is {sum(values)}"):
            shown(wf.asarray(values))


def test_calls_of_other_sizes_count_and_say_why() -> None:
    double = wf.compile(lambda x: x[x > 0] * 2.0)
    full, empty = wf.asarray([1.0, -2.0, 3.0]), wf.asarray([-1.0, -2.0, -3.0])
    for _ in range(20):
        assert double(full).tolist() == [2.0, 6.0]
        assert double(wf.asarray([1.0, 2.0, 3.0])).tolist() == [2.0, 4.0, 6.0]
    for _ in range(10):
        assert double(empty).tolist() == []
        assert double(full).tolist() == [2.0, 6.0]
    first, second = double.cache_info().graphs
    assert (first.hits, second.hits) == (49, 9)
    assert second.reason == "of the sizes that kernels set k0 is 0, which no graph is for"


def test_memory_is_limited_for_certain_sizes_alone() -> None:
    compiled = wf.compile(lambda x: x[x > 0] * 2.0, memory_limit="1MB")
    with pytest.raises(wf.CaptureError, match="give no memory_limit") as raised:
        compiled(_x(6, 0))
    assert raised.value.where is not None and raised.value.where[0] == __file__


def test_files_and_libraries_have_no_such_sizes(tmp_path: Any) -> None:
    with pytest.raises(wf.CaptureError, match="the shape of the result depends on the values"):
        wf.save(lambda x: x[x > 0], tmp_path / "m.onnx", example=_x(3, 0))


def test_counts_of_their_own_beside_numbers_in_places() -> None:
    """A list that the function counts its calls in is a number of each run; sizes of 0 and 1 are other captures."""
    calls = [0]

    def chosen(mask: wf.Tensor) -> wf.Tensor:
        calls[0] += 1
        return wf.nonzero(mask)[0] + calls[0]

    compiled = wf.compile(chosen)
    for number, n in enumerate((3, 2, 1, 0, 1, 4, 0, 5), 1):
        assert compiled(wf.arange(6) < n).tolist() == [i + number for i in range(n)]
        assert calls == [number]
