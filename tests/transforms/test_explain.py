"""What ``explain`` says of a compiled function: bytes and flops counted by hand, shares, texts, and the table."""

from __future__ import annotations

import io
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weft as wf
from weft.llvm import targets
from weft.nn import functional as F
from weft.transforms import explain as module
from weft.transforms import roofs
from weft.transforms.explain import Explanation, Row

Shapes = tuple[tuple[int, ...], ...]


def rows(function: Callable[..., Any], *shapes: tuple[int, ...], dtype: Any = wf.float32) -> tuple[Row, ...]:
    return wf.compile(function).explain(*[wf.ones(s, dtype=dtype) for s in shapes]).rows


# function, shapes, elements that are read and written
BYTES: dict[str, tuple[Callable[..., Any], Shapes, int]] = {
    "elementwise": (lambda x, y: x * y + 1.0, ((10, 20), (10, 20)), 600),
    "an operand twice": (lambda x: x * x, ((10, 20),), 400),
    "broadcast": (lambda x, y: x * y, ((10, 20), (20,)), 420),
    "a sum": (lambda x: x.sum(), ((1000,),), 1001),
    "sums of rows": (lambda x: x.sum(axis=1), ((30, 50),), 1530),
    "sums of columns": (lambda x: x.sum(axis=0), ((100, 200),), 20200),
    "a product, a bias, an activation": (lambda x, w, b: F.relu(x @ w + b), ((4, 5), (5, 6), (6,)), 20 + 30 + 6 + 24),
    "products": (lambda x, y: x @ y, ((3, 4, 5), (3, 5, 6)), 60 + 90 + 72),
    "a view": (lambda x: x.T + 1.0, ((10, 20),), 400),
}


@pytest.mark.parametrize("name", BYTES)
@pytest.mark.parametrize("dtype", [wf.float32, wf.float64, wf.bfloat16], ids=str)
def test_bytes_are_those_of_operands_and_results(name: str, dtype: Any) -> None:
    """Each once, in one kernel."""
    function, shapes, elements = BYTES[name]
    (row,) = rows(function, *shapes, dtype=dtype)
    assert row.nbytes == elements * dtype.itemsize


@pytest.mark.parametrize("dtype", [wf.float32, wf.float64, wf.bfloat16], ids=str)
def test_what_a_kernel_stores_for_itself_counts_too(dtype: Any) -> None:
    """The exponentials of a softmax, in float32 where its operand is of 16 bits."""
    (row,) = rows(lambda x: F.softmax(x, -1), (10, 20), dtype=dtype)
    assert row.nbytes == 400 * dtype.itemsize + 200 * max(dtype.itemsize, 4)


sizes = st.integers(1, 40)


@settings(max_examples=25)
@given(m=sizes, n=sizes, k=sizes, batch=st.integers(1, 4))
def test_flops_of_products_are_two_for_each_term(m: int, n: int, k: int, batch: int) -> None:
    (row,) = rows(lambda x, y: x @ y, (batch, m + 1, k + 1), (batch, k + 1, n + 1))
    assert row.flops == 2 * batch * (m + 1) * (n + 1) * (k + 1)
    assert row.nbytes == 4 * batch * ((m + 1) * (k + 1) + (k + 1) * (n + 1) + (m + 1) * (n + 1))
    assert row.kernel == "matmul"


@pytest.mark.parametrize(
    "function",
    [lambda x: x * x + 1.0, wf.exp, lambda x: x.sum(axis=1), lambda x: x.sum(axis=0), lambda x: F.softmax(x, -1)],
)
def test_other_work_grows_with_the_points(function: Callable[..., Any]) -> None:
    (small,), (large,) = rows(function, (6, 20)), rows(function, (18, 20))
    assert large.flops == 3 * small.flops > 0


def test_a_loop_that_a_value_ends_has_the_flops_of_one_iteration() -> None:
    def flops(condition: Any, step: Any) -> int:
        loop = wf.compile(lambda x: wf.while_loop(condition, step, x))
        return loop.explain(wf.ones(1000)).rows[-1].flops

    plain, twice = (flops(lambda x: x.sum() < 1e6, step) for step in (lambda x: x * 2.0, lambda x: x * 2.0 + x))
    assert 1000 <= plain < twice < 5000


def test_a_cheaper_expression_has_fewer_flops() -> None:
    work = [rows(f, (10, 20))[0].flops for f in (lambda x: x + 1.0, lambda x: (x + 1.0) * x, lambda x: wf.exp(x + 1.0))]
    assert work == sorted(work) and len(set(work)) == 3


def test_every_kernel_has_a_row_in_its_order() -> None:
    @wf.compile
    def f(x: Any, w: Any) -> Any:
        hidden = F.softmax(x @ w, -1)
        return (hidden @ w.T).sum()

    found = f.explain(wf.ones((4, 5)), wf.ones((5, 6)))
    assert [r.kernel.split("+")[0] for r in found.rows] == ["matmul", "softmax", "matmul", "sum"]
    assert len(found.rows) == len(f.kernels(wf.ones((4, 5)), wf.ones((5, 6))))
    assert all("test_explain.py:" in r.where for r in found.rows)
    assert found.arena_nbytes >= 4 * (24 + 20) // 2 and found.arena_nbytes % 64 == 0


def test_a_title_has_four_names_and_a_line_two_places() -> None:
    def f(x: Any, w: Any) -> Any:
        y = x @ w
        y = F.relu(y)
        y = wf.tanh(y)
        y = wf.sqrt(y)
        y = wf.exp(y)
        return wf.sin(y)

    for row in rows(f, (4, 5), (5, 6)):
        assert row.kernel.count("+") <= 4 and row.where.count(",") <= 1
        assert row.kernel.endswith("+...") is (row.kernel.count("+") == 4)


def test_a_share_is_of_the_roof_that_is_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arithmetic for a product where it is slow, memory for the same product where that is."""
    x, y = (40, 50), (50, 60)
    flops, moved = 2 * 40 * 50 * 60, 4 * (40 * 50 + 50 * 60 + 40 * 60)
    for flops_roof, bytes_roof in ((1e6, 1e12), (1e12, 1e6)):
        monkeypatch.setattr(roofs, "flops_roof", lambda dtype, roof=flops_roof: roof)
        monkeypatch.setattr(roofs, "bytes_roof", lambda nbytes, roof=bytes_roof: roof)
        (product,) = rows(lambda x, y: x @ y, x, y)
        assert product.seconds is not None
        assert product.peak == pytest.approx(max(flops / flops_roof, moved / bytes_roof) / product.seconds)
    (sums,) = rows(lambda x: x.sum(axis=1), (40, 50))
    assert sums.seconds is not None and sums.peak == pytest.approx(4 * (2000 + 40) / 1e6 / sums.seconds)


def test_times_are_medians_of_the_repeats() -> None:
    profiles = iter([[3.0, 1.0], [1.0, 1.0], [2.0, 9.0]])
    exe = wf.compile(lambda x, w: F.softmax(x @ w, -1))
    entry = exe.explain(wf.ones((4, 5)), wf.ones((5, 6)))
    assert len(entry.rows) == 2

    class Program:
        def profile(self, *inputs: Any) -> list[float]:
            return next(profiles)

    class Executable:
        program, launches = Program(), [SimpleNamespace(kernel=None), SimpleNamespace(kernel=None)]
        plan = type("Plan", (), {"arena_nbytes": 64})

    original, module._row = module._row, lambda launch, s, sizes: Row(launch, "", 0, 0, s, 0.0)  # type: ignore[arg-type]
    try:
        found = module.explain([(Executable(), [], {})], repeats=3)  # type: ignore[list-item]
    finally:
        module._row = original
    assert [r.seconds for r in found.rows] == [2.0, 1.0] and next(profiles, None) is None


ROWS = (Row("matmul+relu", "a.py:1", 12_345, 240, 2.5e-6, 0.5), Row("sum[x]", "a.py:2, a.py:3", 40, 7, 5e-7, 0.043))
TEXT = """\
kernel       line            bytes  flops  time us  % of peak
-----------  --------------  -----  -----  -------  ---------
matmul+relu  a.py:1            12K    240      2.5         50
sum[x]       a.py:2, a.py:3     40      7      0.5          4
total                          12K    247      3.0___________
arena: 64B""".replace("_", " ")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_text_is_stable() -> None:
    assert repr(Explanation(ROWS, 64)) == str(Explanation(ROWS, 64)) == TEXT
    assert [line.split() for line in str(Explanation((), 0)).splitlines()[2:]] == [
        ["total", "0", "0", "0.0"],
        ["arena:", "0B"],
    ]


def test_what_is_no_terminal_gets_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    file = io.StringIO()
    Explanation(ROWS, 64).show(file)
    assert file.getvalue() == TEXT + "\n"
    Explanation(ROWS, 64).show()
    assert capsys.readouterr().out == TEXT + "\n"


@pytest.mark.parametrize("found", [Explanation(ROWS, 64), Explanation((), 0), Explanation(ROWS[:1], 0)])
def test_a_terminal_gets_the_same_figures_with_bars(found: Explanation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    file = Terminal()
    found.show(file)
    shown = file.getvalue()
    for row in found.rows:
        assert row.kernel in shown and row.where in shown
    for cell in str(found).splitlines()[-2].split():
        assert cell in shown
    assert str(found).splitlines()[-1] in shown and "share" in shown
    bars = [line for line in shown.splitlines() if any(row.kernel in line for row in found.rows)]
    assert len(bars) == len(found.rows) and all("━" in line for line in bars)


@pytest.mark.parametrize("name", [None, "vdpbf16ps"])
def test_an_instruction_that_is_not_used_is_told_of_where_it_would_have_been(
    name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = targets.host()._replace(distrusted=(name,) if name else ())
    monkeypatch.setattr(targets, "host", lambda: machine)
    told = wf.compile(lambda x, y: wf.cond(x.sum() > 0, lambda: x @ y, lambda: y)).explain(
        *[wf.ones((4, 4), dtype=wf.bfloat16)] * 2
    )
    note = "products of bfloat16 are computed by fma: this machine's vdpbf16ps gives other bits"
    assert told.notes == ((note,) if name else ()) and repr(told).endswith(note) is (name is not None)
    for dtype in (wf.float32, wf.int8):
        assert wf.compile(lambda x: x @ x).explain(wf.ones((4, 4), dtype=dtype)).notes == ()
