"""A signal after a time, whose handler raises: what an interrupt does to a run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest


class Rang(Exception):
    """What the handler raises."""


@pytest.fixture
def alarm() -> Iterator[Callable[[float], None]]:
    """``alarm(seconds)``: a signal after that, whose handler raises Rang."""
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals are handled on the main thread")

    def ring(*details: Any) -> None:
        raise Rang

    before = signal.signal(signal.SIGALRM, ring)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
