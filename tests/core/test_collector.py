"""The garbage collector rests while much is made that stays, and is then as it was."""

import gc
import os
import threading
from collections.abc import Callable

import pytest

from weft.core.collector import uncollected


def test_it_is_off_inside_and_as_before_outside():
    assert gc.isenabled()
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_an_error_ends_it():
    with pytest.raises(KeyError), uncollected():
        raise KeyError
    assert gc.isenabled()


def test_who_has_switched_it_off_finds_it_off():
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def another_inside() -> Callable[[], None]:
    """Another thread is inside from now on, until what is returned is called, which waits for its end."""
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with uncollected():
            entered.set()
            leave.wait(10)

    def end() -> None:
        leave.set()
        thread.join()

    thread = threading.Thread(target=other)
    thread.start()
    assert entered.wait(10)
    return end


def test_the_last_of_several_threads_switches_it_on():
    with uncollected():
        end = another_inside()
    assert not gc.isenabled()
    end()
    assert gc.isenabled()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_does_not_wait_for_threads_that_it_lacks():
    end = another_inside()
    child = os.fork()
    if not child:
        os._exit(0 if gc.isenabled() else 1)
    _, status = os.waitpid(child, 0)
    end()
    assert status == 0 and gc.isenabled()
