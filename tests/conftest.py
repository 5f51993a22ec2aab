"""What every test may ask for: a tool that is not Python's, hypothesis without a clock."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Callable, Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from weft.tensor.dispatch import forget_plans

# A slow machine is not a failing test, and the same commit gives the same answer twice.
settings.register_profile(
    "weft", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("weft")

os.environ.setdefault("WEFT_VERIFY", "1")  # every pass checks its graph: 2 % of the time of tests/ops


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
