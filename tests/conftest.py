"""What every test may ask for: a tool that is not Python's, hypothesis without a clock, a sample of its cases."""

from __future__ import annotations

import gc
import hashlib
import os
import shutil
import signal
from collections import defaultdict
from collections.abc import Callable, Generator
from typing import Any

import pytest
from alarms import alarm as alarm  # a fixture
from hypothesis import HealthCheck, settings

from weft.core import config
from weft.tensor.dispatch import forget_plans

# A slow machine is not a failing test, and the same commit gives the same answer twice.
settings.register_profile(
    "weft", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("weft")

# A shell that starts this in the background has it, and so all of its children, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("WEFT_VERIFY", "1")  # every pass checks its graph: 2 % of the time of tests/ops


@pytest.hookimpl(tryfirst=True)  # before cases are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test marked ``one_in(n)`` all cases but a sample are ``long``. Which ones hangs on their names alone; of a
    test with several parameters, each value of each is in the sample."""
    cases: dict[str, list[Any]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("one_in"):
            cases[item.nodeid.partition("[")[0]].append(item)
    for of_one in cases.values():
        (n,) = of_one[0].get_closest_marker("one_in").args
        some = [item for item in of_one if hashlib.md5(item.name.encode()).digest()[0] % n == 0]
        shown = {value for item in some for value in _values(item)}
        for item in of_one:
            if len(item.callspec.params) > 1 and not shown.issuperset(_values(item)):
                shown.update(_values(item))
                some.append(item)
        for item in set(of_one).difference(some):
            item.add_marker(pytest.mark.long)
    if config.settings().check_memory:
        for item in items:
            if item.get_closest_marker("plain_memory"):
                item.add_marker(pytest.mark.skip(reason="memory is checked"))


def _values(item: Any) -> set[tuple[str, int]]:
    """The values of a case's parameters, which are one object in all cases."""
    return {(name, id(value)) for name, value in item.callspec.params.items()}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, Any, Any]:
    """What there is in the process is set aside while a test runs: a capture asks the garbage collector who holds a
    tensor, which takes long among the millions of objects that other tests, and PyTorch, have left."""
    gc.freeze()
    try:
        return (yield)
    finally:
        gc.unfreeze()


@pytest.fixture(scope="module", autouse=True)
def _plans_are_forgotten() -> Generator[None, None, None]:
    """The plans of one file's calls are hardly those of another's, and millions of their objects make each look at the
    heap, and each collection, slow."""
    yield
    forget_plans()


@pytest.fixture(scope="session")
def require_tool() -> Callable[[str], str]:
    """``require_tool(name)``: the path of a program; without it the test is skipped.

    With WEFT_REQUIRE_TOOLS=1 in the environment (as in CI, which installs the tools) it fails instead.
    """

    def require(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            reason = f"{name} is not installed"
            if os.environ.get("WEFT_REQUIRE_TOOLS") == "1":
                pytest.fail(f"{reason}, and WEFT_REQUIRE_TOOLS=1")
            pytest.skip(reason)
        return path

    return require
