"""Ctrl-C, or any signal's handler that raises, during a compiled call: it ends soon, and all or nothing is written."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from alarms import Rang

import weft as wf
from weft.core.errors import CaptureError
from weft.graph import executable


def test_a_long_chain_ends_before_its_last_steps(alarm: Callable[[float], None], monkeypatch: Any) -> None:
    done = []
    before = np.linalg.inv
    monkeypatch.setattr(np.linalg, "inv", lambda *args: done.append(1) or before(*args))

    @wf.compile
    def chain(x: Any) -> Any:
        y = x
        for _ in range(400):
            y = y @ x
        return wf.linalg.inv(y[:2, :2] * 0 + wf.eye(2))

    small = chain(wf.eye(4))
    assert len(done) == 1
    x = wf.eye(640)
    alarm(0.15)
    with pytest.raises(Rang):
        chain(x)
    assert len(done) == 1
    assert chain(wf.eye(4)).tolist() == small.tolist()


def _step() -> tuple[Callable[[Any], Any], Callable[[], list[float]]]:
    """A function that writes five tensors of state, some early and some late, and what they hold."""
    early, late, sums = wf.zeros(3), wf.zeros(1000), wf.zeros(())
    weight = wf.zeros((64, 64)).requires_grad_()
    optimizer = wf.optim.SGD([weight], lr=1.0)

    def step(x: Any) -> Any:
        early.add_(1)
        y = x
        for _ in range(10):  # enough for a copy of what is written early
            y = y @ x
        loss = (weight * (y[:64, :64] * 0 - 1)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        late.add_(y[0, 0] * 0 + 1)
        sums.add_(1)
        return loss

    return step, lambda: [float(t.min().item()) for t in (early, late, sums, weight, early.max(), weight.max())]


def _release(compiled: Any, *args: Any) -> Any:
    entry, _ = compiled._entry(args, {})
    return executable._releases(entry.exe.planned)


def test_an_interrupted_step_has_written_all_or_nothing(alarm: Callable[[float], None]) -> None:
    step, state = _step()
    compiled, x, rng = wf.compile(step), wf.eye(512), random.Random(0)
    for _ in range(2):
        started = time.perf_counter()
        compiled(x)
        seconds = time.perf_counter() - started
    count, interrupted, tries = 2.0, 0, 0
    while tries < 25 or (interrupted < 3 and tries < 500):
        tries += 1
        alarm(rng.uniform(0.0005, 1.5 * seconds))
        try:
            compiled(x)
            alarm(0)
        except Rang:
            interrupted += 1
        found = state()
        assert found in ([count] * 6, [count + 1] * 6)
        count = found[0]
    compiled(x)
    assert state() == [count + 1] * 6
    assert interrupted
    release = _release(compiled, x)
    assert release.before_writes + 1 < release.stops and release.saves  # after the first write too


def test_a_loop_without_end_ends(alarm: Callable[[float], None]) -> None:
    runs = wf.zeros(())

    @wf.compile
    def halved(x: Any, step: Any) -> Any:
        runs.add_(1)
        return wf.while_loop(lambda c: c[0] < 10, lambda c: (c[0] + step, c[1] * 0.5), (wf.asarray(0), x))

    halved(wf.ones(4), wf.asarray(1))
    alarm(0.2)
    with pytest.raises(Rang):
        halved(wf.ones(4), wf.asarray(0))
    assert runs.item() == 1
    assert halved(wf.ones(4), wf.asarray(1))[1].tolist() == [2.0**-10] * 4


def test_a_handler_that_writes_the_state_of_the_run_is_refused() -> None:
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals are handled on the main thread")
    step, _ = _step()
    compiled, x = wf.compile(step), wf.eye(1024)
    for _ in range(2):
        compiled(x)
    errors: list[Exception] = []

    def handler(*details: Any) -> None:
        try:
            compiled(x)
        except CaptureError as error:
            errors.append(error)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        for _ in range(20):
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            compiled(x)
            if errors:
                break
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert errors and "Python code inside a run writes state that the run itself writes" in str(errors[0])


def test_a_gradient_and_the_history_stay_as_they_were(alarm: Callable[[float], None]) -> None:
    weight = wf.ones((256, 256)).requires_grad_()

    def chain(x: Any) -> Any:
        y = x
        for _ in range(300):
            y = (y @ weight) * 0.01
        return y.sum()

    compiled, x = wf.compile(chain), wf.ones((256, 256))
    compiled(x).backward()
    before = weight.grad.clone()
    weight.grad = before

    def calls() -> None:
        while True:
            compiled(x)

    alarm(0.1)
    with pytest.raises(Rang):
        calls()
    assert weight.grad is before and weight.is_leaf
