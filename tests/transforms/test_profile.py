"""``wf.profile()``: rows counted by hand, lines of eager and compiled code, threads, traces; off, it is not there."""

from __future__ import annotations

import inspect
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import weft as wf
from weft.nn import functional as F
from weft.transforms import profile as module
from weft.transforms.profile import Profile, Row


def line() -> int:
    """The caller's."""
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    return frame.f_back.f_lineno


def by_op(profile: Profile) -> dict[str, Row]:
    rows = profile.rows
    assert len({r.op for r in rows}) == len(rows)
    return {r.op: r for r in rows}


def test_a_row_has_the_calls_bytes_and_flops_of_a_line() -> None:
    x, w = wf.ones((4, 5)), wf.ones((5, 6))
    with wf.profile() as profile:
        for _ in range(3):
            y, at = x @ w, line()
        z, below = wf.exp(y), line()
    rows = by_op(profile)
    assert list(rows) == ["matmul", "exp"] and z.shape == (4, 6)
    product = rows["matmul"]
    assert (product.calls, product.flops) == (3, 3 * 2 * 4 * 5 * 6)
    assert product.nbytes == 3 * 4 * (20 + 30 + 24) and product.lines == ((__file__, at),)
    assert rows["exp"].lines == ((__file__, below),) and rows["exp"].nbytes == 4 * 48
    assert all(r.function == "" and r.seconds > 0 and r.peak > 0 for r in profile.rows)
    assert sum(r.seconds for r in profile.rows) < profile.seconds


def test_one_op_at_two_lines_has_two_rows_and_its_signatures_at_one_line_have_one() -> None:
    with wf.profile() as profile:
        for n in (2, 3, 4):
            wf.exp(wf.ones((n,)))
        wf.exp(wf.ones((2,)))
    rows = [r for r in profile.rows if r.op == "exp"]
    assert [r.calls for r in rows] == [3, 1] and len({r.lines for r in rows}) == 2
    assert rows[0].nbytes == 4 * 2 * (2 + 3 + 4)


def test_sizes_that_come_and_go_are_counted_as_they_are() -> None:
    """Plans over sizes: one program for many."""
    data = [wf.ones((n, 3)) for n in range(2, 20)]
    with wf.profile() as profile:
        for x in data:
            F.softmax(x, -1)
    (row,) = profile.rows
    assert row.calls == 18 and row.nbytes == sum(4 * 3 * n * 3 for n in range(2, 20))


def training() -> tuple[Any, Any]:
    wf.manual_seed(1)
    net = wf.nn.Sequential(wf.nn.Linear(6, 8), wf.nn.Tanh(), wf.nn.Linear(8, 3))
    opt = wf.optim.AdamW(net.parameters(), lr=0.01)

    def step(x: Any, y: Any) -> Any:
        loss = F.cross_entropy(net(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    return step, (wf.ones((4, 6)), wf.zeros((4,), dtype=wf.int64))


def test_a_training_step_has_its_gradients_and_its_update() -> None:
    step, batch = training()
    with wf.profile() as profile:
        step(*batch)
    ops = {r.op for r in profile.rows}
    assert {"cross_entropy", "cross_entropy.grad", "tanh", "tanh.grad"} < ops and any("adam" in op for op in ops)
    start = step.__code__.co_firstlineno
    of = {r.op: r.lines[0][1] - start for r in profile.rows if r.lines[0][0] == __file__}
    assert (of["cross_entropy"], of["cross_entropy.grad"]) == (1, 3)


def test_bits_are_those_without_it() -> None:
    plain, batch = training()
    expected = [plain(*batch).numpy().tobytes() for _ in range(3)]
    step, _ = training()
    with wf.profile():
        assert [step(*batch).numpy().tobytes() for _ in range(3)] == expected


def test_a_compiled_function_has_a_row_for_each_kernel_at_the_line_inside() -> None:
    step, batch = training()
    compiled = wf.compile(step)
    compiled(*batch)
    with wf.profile() as profile:
        for _ in range(2):
            compiled(*batch)
    told = compiled.explain(*batch).rows
    assert [(r.op, r.nbytes, r.flops) for r in profile.rows] == [(r.kernel, 2 * r.nbytes, 2 * r.flops) for r in told]
    assert [r.where for r in profile.rows] == [r.where for r in told]
    assert all(r.function == "step" and r.calls == 2 for r in profile.rows)
    assert "step: " in str(profile)


def test_a_compiled_function_of_any_size_counts_the_sizes_that_it_had() -> None:
    f = wf.compile(lambda x: x * 2.0, dynamic={"x": {0: "n"}})
    data = [wf.ones((n, 3)) for n in (4, 9)]
    f(data[0])
    with wf.profile() as profile:
        for x in data:
            f(x)
    assert sum(r.nbytes for r in profile.rows) == 2 * 4 * 3 * (4 + 9)


def test_a_program_that_was_kept_on_disk_is_planned_when_somebody_asks() -> None:
    def deep(x: Any) -> Any:
        for i in range(40):
            x = wf.tanh(x) * (1.0 + i / 7.0)
        return x

    first = wf.compile(deep)
    expected = first(wf.ones((5,))).numpy().tobytes()
    again = wf.compile(deep)
    with wf.profile() as profile:
        assert again(wf.ones((5,))).numpy().tobytes() == expected
    assert [r for r in profile.rows if r.function == "deep"]


def test_each_thread_is_seen_under_its_name(tmp_path: Path) -> None:
    x = wf.ones((3,))
    x + x

    def work() -> None:
        for _ in range(5):
            x + x

    threads = [threading.Thread(target=work, name=f"<worker {i}>") for i in range(3)]
    with wf.profile() as profile:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum(r.calls for r in profile.rows) == 15
    assert {profile.thread_name(run.thread) for run in profile.runs} <= {t.name for t in threads}
    profile.chrome_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert sum(e["ph"] == "X" for e in events) == 15
    assert {e["tid"] for e in events if e["ph"] == "X"} == {e["tid"] for e in events if e["ph"] == "M"}


def test_profiles_may_be_inside_of_each_other_and_be_entered_again() -> None:
    x = wf.ones((3,))
    with wf.profile() as outer:
        x + x
        with wf.profile() as inner:
            x * x
            with pytest.raises(wf.StateError, match="on already"):
                inner.__enter__()
        x + x
    with inner:
        x / x
    x - x
    assert [(r.op, r.calls) for r in inner.rows] == [("multiply", 1), ("divide", 1)]
    assert sum(r.calls for r in outer.rows) == 3


def test_an_error_ends_it_and_what_failed_is_not_counted() -> None:
    x = wf.ones((3,))
    profile = wf.profile()

    def wrong() -> None:
        with profile:
            x + x
            x[wf.asarray([7])]

    with pytest.raises(IndexError):
        wrong()
    x + x
    assert [r.op for r in profile.rows if r.op == "add"] == ["add"] and module._on == ()
    assert sum(r.calls for r in profile.rows if r.op == "add") == 1


def opcodes(function: Any) -> int:
    """How many of Python's instructions run."""
    count = 0

    def trace(frame: Any, event: str, arg: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


def test_off_it_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """No instruction of an eager or compiled call looks for it: none is added by having used it, and while it is on all
    that is added to eager calls is what it is told (compiled ones go the long way, which is watched)."""
    x, y = wf.ones((3,)), wf.ones((3,))
    f = wf.compile(lambda a, b: a + b)
    calls = [lambda: x + y, lambda: wf.exp(x), lambda: f(x, y)]
    for call in calls * 4:  # until compiled ones have their quick way
        call()
    opcodes(calls[0])  # Python 3.12 tells nothing the first time
    before = [opcodes(call) for call in calls]
    told: list[Any] = []
    monkeypatch.setattr(module, "_tell", lambda *args: told.append(args))
    with wf.profile():
        on = [opcodes(call) for call in calls]
    assert len(told) == len(calls) and all(a - b < 40 for a, b in zip(on[:2], before[:2], strict=True))
    assert [opcodes(call) for call in calls] == before and len(told) == len(calls)


def test_a_trace_is_what_chrome_reads(tmp_path: Path) -> None:
    step, batch = training()
    compiled = wf.compile(step)
    compiled(*batch)
    with wf.profile() as profile:
        step(*batch)
        compiled(*batch)
    path = tmp_path / "trace.json"
    profile.chrome_trace(path)
    trace = json.loads(path.read_text())
    events = [e for e in trace["traceEvents"] if e["ph"] == "X"]
    assert all({"name", "cat", "ts", "dur", "pid", "tid", "args"} <= e.keys() and e["dur"] >= 0 for e in events)
    assert {e["pid"] for e in events} == {os.getpid()} and trace["otherData"] == {"runs left out": 0}
    (whole,) = [e for e in events if e["cat"] == "compiled"]
    inside = [e for e in events if whole["ts"] <= e["ts"] and e["ts"] + e["dur"] <= whole["ts"] + whole["dur"] + 1e-3]
    assert len(inside) == 1 + len(compiled.kernels(*batch)) and whole["name"] == "step"
    assert all(e["args"]["reads"] or e["args"]["writes"] for e in inside if e["cat"] == "kernel")
    assert any("float32[4, 6]" in e["args"].get("reads", ()) for e in events)
    assert all("line" in e["args"] for e in events)


def test_names_from_users_are_text(tmp_path: Path) -> None:
    def hostile(x: Any) -> Any:
        return x + 1.0

    hostile.__name__ = '"}]</script><script>alert(1)</script>\u2028\ud800'
    with wf.profile() as profile:
        wf.compile(hostile)(wf.ones((3,)))
    profile.chrome_trace(tmp_path / "trace.json")
    names = [e["name"] for e in json.loads((tmp_path / "trace.json").read_text())["traceEvents"]]
    assert hostile.__name__ in names


def test_what_is_too_much_for_a_trace_is_in_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEPT", 10)
    monkeypatch.setattr(module, "_UNREAD", 3)
    x = wf.ones((3,))
    with wf.profile() as profile:
        for _ in range(20):
            x + x
    profile.chrome_trace(tmp_path / "trace.json")
    trace = json.loads((tmp_path / "trace.json").read_text())
    kept = sum(e["ph"] == "X" for e in trace["traceEvents"])
    assert 0 < kept <= 10 and trace["otherData"] == {"runs left out": 20 - kept}
    assert [r.calls for r in profile.rows] == [20]


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    with wf.profile() as profile:
        wf.ones((3,))
    with pytest.raises(OSError, match="no such folder"):
        profile.chrome_trace(tmp_path / "nowhere" / "trace.json")
    (tmp_path / "old.json").write_text("old")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        profile.chrome_trace(tmp_path / "folder")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "old.json"]


def test_the_table_is_longest_first_and_adds_up() -> None:
    x = wf.ones((300, 300))
    with wf.profile() as profile:
        x @ x
        x + x
    lines = str(profile.table()).splitlines()
    assert lines[0].split()[:4] == ["op", "line", "calls", "bytes"] and lines[-2].split()[:2] == ["total", "2"]
    times = [float(text.split()[-2]) for text in lines[2:-2]]
    assert times == sorted(times, reverse=True) and "of the block's" in lines[-1]
    assert str(profile) == str(profile.table())


def test_nothing_ran() -> None:
    with wf.profile() as profile:
        pass
    assert profile.rows == profile.runs == () and "total" in str(profile)
