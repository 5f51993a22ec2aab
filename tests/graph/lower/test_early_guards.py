"""Indices that are inputs are looked at before anything else, where a long program writes in place."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

import weft as wf
from weft import nn, optim
from weft.graph import kept, lower
from weft.nn import functional as F

ALWAYS = patch.object(lower, "LONG", 0)


@pytest.fixture(autouse=True)
def _lowered_here() -> Any:
    """Not taken from the disk, where it lies as it is lowered usually."""
    with patch.object(kept, "get", lambda name: None), patch.object(kept, "put"):
        yield


def made() -> tuple[Any, Any, Any, Any]:
    """A net of an embedding and a loss of labels, its compiled step, indices, labels."""
    wf.random.seed(2)
    table, layer = nn.Embedding(7, 6), nn.Linear(6, 5)
    opt = optim.AdamW([*table.parameters(), *layer.parameters()], lr=0.1)

    @wf.compile
    def step(rows: Any, labels: Any) -> Any:
        opt.zero_grad()
        loss = F.cross_entropy(layer(wf.tanh(table(rows[:, 0]))), labels)
        loss.backward()
        opt.step()
        return loss

    rows = wf.tensor(np.array([[0, 9], [6, 9], [5, 9], [3, 9]]))
    return [*table.parameters(), *layer.parameters()], step, rows, wf.tensor([0, 4, 2, 2])


def checks(step: Any) -> tuple[int, int]:
    """The last launch that may fail, and how many there are."""
    ((entry,),) = step._entries.values()
    return max(at for at, x in enumerate(entry.exe.launches) if x.checks), len(entry.exe.launches)


def test_bits_are_the_same_and_nothing_fails_late() -> None:
    found = []
    for early in (False, True):
        with ALWAYS if early else patch.object(lower, "LONG", 1 << 30):
            params, step, rows, labels = made()
            losses = [step(rows, labels).numpy().tobytes() for _ in range(3)]
            found.append((losses, [p.detach().numpy().tobytes() for p in params]))
            last, count = checks(step)
            assert (last <= 2) == early and count > 5
    assert found[0] == found[1]


@pytest.mark.parametrize(("row", "label"), [(7, 0), (-8, 0), (0, 5), (0, 7)])
def test_an_index_out_of_range_leaves_all_as_it_was(row: int, label: int) -> None:
    with ALWAYS:
        params, step, rows, labels = made()
        step(rows, labels)
        before = [(p.detach().numpy().tobytes(), p.grad.numpy().tobytes()) for p in params]
        bad_rows, bad_labels = rows.numpy().copy(), labels.numpy().copy()
        bad_rows[2, 0], bad_labels[1] = row, label
        with pytest.raises(wf.WeftError, match=r"range|target|label|index"):
            step(wf.tensor(bad_rows), wf.tensor(bad_labels))
        assert [(p.detach().numpy().tobytes(), p.grad.numpy().tobytes()) for p in params] == before


def test_indices_that_are_computed_from_what_is_computed_are_looked_at_late() -> None:
    with ALWAYS:
        p = nn.Parameter(wf.ones((4, 4)))

        @wf.compile
        def step(x: Any) -> Any:
            chosen = x[wf.argmax(x @ x, axis=0)]
            p.data.copy_(p.data + wf.sum(chosen))
            return chosen

        x = wf.tensor(np.arange(16, dtype=np.float32).reshape(4, 4) % 5)
        step(x)
        assert checks(step)[0] > 0
