"""Buffers of modules that captured code assigns: what they were before keeps its value until the function ends."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn


class Module(nn.Module):
    def __init__(self, body: Callable[[Any, Any], Any]):
        super().__init__()
        self.body = body
        self.register_buffer("b", wf.ones(2))
        self.register_buffer("c", wf.zeros(2))
        self.w = nn.Parameter(wf.ones(2))

    def forward(self, x: Any) -> Any:
        return self.body(self, x)


def average(m: Any, x: Any) -> Any:
    old = m.b
    m.b = 0.9 * old + 0.1 * x
    return (m.b - old).norm()


def under_a_gradient(m: Any, x: Any) -> Any:
    old = m.b
    y = (old * m.w).sum()
    m.b = old + x
    y.backward()
    return y.detach() + m.w.grad.sum()


def swapped(m: Any, x: Any) -> Any:
    m.c, m.b = m.b + x, m.c
    return m.b.sum() + m.c.sum() * 10


def written_between(m: Any, x: Any) -> Any:
    m.b = m.b * 0.5
    m.b.add_(x)
    m.b = m.b + m.c
    m.c = m.b
    return m.b.sum() + m.c.sum()


def in_a_branch(m: Any, x: Any) -> Any:
    if x.sum() > 3:
        m.b = m.b * 2
    else:
        m.b = m.b + 1
    return m.b.sum()


def in_a_loop(m: Any, x: Any) -> Any:
    for _ in range(20):
        m.b = m.b * 0.9 + x
    return m.b.sum()


@pytest.mark.parametrize("body", [average, under_a_gradient, swapped, written_between, in_a_branch, in_a_loop])
def test_results_and_buffers_are_those_of_eager_code(body: Any) -> None:
    found = []
    for wrap in (lambda f: f, wf.compile):
        module = Module(body)
        run, seen = wrap(module), list[Any]()
        for n in range(5):
            module.w.grad = None
            seen.append(run(wf.asarray(np.full(2, n, np.float32))).detach().numpy().tobytes())
        found.append([*seen, module.b.numpy().tobytes(), module.c.numpy().tobytes()])
    assert found[0] == found[1]


LOG: list[Any] = []


def returned(m: Any, x: Any) -> Any:
    old = m.b
    m.b = old + 1
    return old


def kept(m: Any, x: Any) -> Any:
    LOG.append(m.b)
    m.b = m.b + 1
    return x


@pytest.mark.parametrize("body", [returned, kept])
def test_what_a_buffer_was_is_not_returned_or_kept_without_a_copy(body: Any) -> None:
    module = Module(body)
    buffer = module.b
    with pytest.raises(wf.CaptureError, match=r"a buffer .* is assigned, and what it was before is returned or kept"):
        wf.compile(module)(wf.ones(2))
    assert module.b is buffer and module.b.tolist() == [1.0, 1.0] and not LOG


def test_a_function_that_fails_leaves_the_buffer() -> None:
    def fails(m: Any, x: Any) -> Any:
        m.b = m.b + x
        raise ValueError("no")

    module = Module(fails)
    buffer = module.b
    with pytest.raises(ValueError, match="no"):
        wf.compile(module)(wf.ones(2))
    assert module.b is buffer and module.b.tolist() == [1.0, 1.0]
