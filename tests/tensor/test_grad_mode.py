"""Whether calls are recorded: a call, a context manager, a decorator; for one thread; PyTorch is the test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

import weft as wf
from weft.tensor import tape


@pytest.fixture(autouse=True)
def recording() -> Iterator[None]:
    yield
    wf.set_grad_enabled(True)


class Weft:
    set_grad_enabled, no_grad, enable_grad = wf.set_grad_enabled, wf.no_grad, wf.enable_grad

    @staticmethod
    def enabled() -> bool:
        return bool((wf.ones(1).requires_grad_() * 2).requires_grad)


def torchs() -> Any:
    torch = pytest.importorskip("torch")

    class Torch:
        set_grad_enabled, no_grad, enable_grad = torch.set_grad_enabled, torch.no_grad, torch.enable_grad
        enabled = staticmethod(torch.is_grad_enabled)

    return Torch


def story(of: Any) -> list[bool]:
    """What is recorded at each point of a program."""
    seen: list[bool] = []

    def look() -> None:
        seen.append(of.enabled())

    look()
    of.set_grad_enabled(False)
    look()
    of.set_grad_enabled(False)
    with of.set_grad_enabled(True):
        look()
        with of.no_grad():
            look()
            of.set_grad_enabled(True)
            look()
        look()
    look()
    try:
        with of.set_grad_enabled(True):
            look()
            raise KeyError
    except KeyError:
        look()
    of.set_grad_enabled(True)
    look()
    decorator = of.set_grad_enabled(False)
    look()
    function = decorator(look)
    look()
    function()
    look()
    mode = of.set_grad_enabled(False)
    look()
    with mode:
        look()
    look()

    @of.no_grad()
    def quiet() -> None:
        look()
        with of.enable_grad():
            look()
        of.set_grad_enabled(True)
        look()

    quiet()
    look()
    of.set_grad_enabled(mode=True)
    look()
    return seen


def test_it_is_what_pytorch_does() -> None:
    torch = pytest.importorskip("torch")
    expected = story(torchs())
    torch.set_grad_enabled(True)
    assert story(Weft) == expected


def test_it_is_the_threads_own() -> None:
    wf.set_grad_enabled(False)
    seen: list[bool] = []

    def elsewhere() -> None:
        seen.append(Weft.enabled())
        wf.set_grad_enabled(False)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [True]
    wf.set_grad_enabled(True)
    assert tape.recording.enabled


def test_backward_leaves_the_mode_alone() -> None:
    x = wf.ones(2).requires_grad_()
    loss = (x * x).sum()
    wf.set_grad_enabled(False)
    loss.backward()
    assert not Weft.enabled()
    assert x.grad is not None
