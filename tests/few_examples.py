"""A property over drawn cases, few of them in ``make test``, more in the long suite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings


def few(examples: int, more: int, *strategies: Any, **named: Any) -> Callable[[Callable[..., None]], Any]:
    """Over so many examples; ``test_more_...`` beside it, which is long, is over ``more`` of them."""

    def decorate(test: Callable[..., None]) -> Any:
        name = test.__name__.replace("test_", "test_more_", 1)
        test.__globals__[name] = pytest.mark.long(settings(max_examples=more)(given(*strategies, **named)(test)))
        return settings(max_examples=examples)(given(*strategies, **named)(test))

    return decorate
