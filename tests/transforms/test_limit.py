"""``memory_limit``: what does not fit is computed again, with the same bits; what cannot fit is said in bytes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn, optim
from weft.nn import functional as F
from weft.transforms.limit import bytes_said


def trained(limit: Any) -> tuple[list[bytes], int]:
    """The losses and a parameter of a deep network after some steps, and the bytes of intermediate values."""
    wf.random.seed(0)
    net = nn.ModuleList([nn.Linear(32, 32) for _ in range(12)])
    opt = optim.AdamW(net.parameters(), lr=1e-3)

    @wf.compile(memory_limit=limit)
    def step(x: Any) -> Any:
        opt.zero_grad()
        for layer in net:
            x = x + F.dropout(F.gelu(layer(x)), 0.1)
        loss = wf.mean(x * x)
        loss.backward()
        opt.step()
        return loss

    x = wf.tensor(np.linspace(-1, 1, 2048, dtype=np.float32).reshape(64, 32))
    found = [step(x).numpy().tobytes() for _ in range(3)]
    ((entry,),) = step._entries.values()
    return [*found, net[3].weight.detach().numpy().tobytes()], int(entry.exe.plan.arena_nbytes)


def test_a_third_of_the_memory_gives_the_same_bits_and_less_is_refused() -> None:
    bits, usual = trained(None)
    for limit in (usual, usual // 2, f"{usual // 3}B"):
        same, nbytes = trained(limit)
        assert same == bits and nbytes <= bytes_said(limit)  # type: ignore[operator]
    with pytest.raises(wf.OutOfMemoryError, match="memory_limit is 1,000 bytes") as error:
        trained("1KB")
    least = int(re.findall(r"at least ([\d,]+)", str(error.value))[0].replace(",", ""))
    assert error.value.where[0] == __file__
    assert trained(least) == (bits, least), "what the error says can be reached"
    with pytest.raises(wf.OutOfMemoryError):
        trained(least - 1)


def test_each_size_is_captured_and_keeps_the_limit() -> None:
    @wf.compile(memory_limit=100_000)
    def f(x: Any) -> Any:
        return wf.sum(wf.tanh(x @ x.mT) @ x)

    for n in (4, 5, 6, 7):
        x = wf.ones((n, 3))
        assert f(x).item() == wf.sum(wf.tanh(x @ x.mT) @ x).item()
    with pytest.raises(wf.OutOfMemoryError, match="memory_limit"):
        f(wf.ones((400, 3)))
    assert f(wf.ones((4, 3))).item() > 0


@pytest.mark.parametrize("limit", [-1, True, 1.5, "64 parsecs", "MB", "-3MB", b"64MB", [64]])
def test_what_is_no_limit_is_refused(limit: Any) -> None:
    with pytest.raises(wf.ArgumentError, match="memory_limit is a number of bytes"):
        wf.compile(lambda x: x, memory_limit=limit)


def test_units_and_what_excludes_a_limit() -> None:
    assert [bytes_said(x) for x in ("1KiB", "2 gb", "0.5MiB", "12", None)] == [1024, 2 * 10**9, 1 << 19, 12, None]
    with pytest.raises(wf.ArgumentError, match="dynamic"):
        wf.compile(lambda x: x, memory_limit=1, dynamic={"x": {0: "n"}})


def test_methods_and_functions_that_are_compiled_already_get_a_limit() -> None:
    class Model:
        @wf.compile(memory_limit=10)
        def run(self, x: Any) -> Any:
            return wf.tanh(x @ x) @ x

    for f in (Model().run, wf.compile(wf.compile(lambda x: wf.tanh(x @ x) @ x), memory_limit=10)):
        with pytest.raises(wf.OutOfMemoryError, match="memory_limit is 10 bytes"):
            f(wf.ones((8, 8)))
