"""Specs: equal ones are one object as long as anybody has one, and those that nobody has do not pile up."""

from __future__ import annotations

import pytest

import weft as wf
from weft.core import dtypes as dt
from weft.tensor import spec
from weft.tensor.spec import spec_of


def test_specs_that_nobody_has_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec, "_interned", {})
    monkeypatch.setattr(spec, "_limit", [100])
    kept = {n: spec_of(dt.float64, (n, 7, 7)) for n in range(90)}
    held = wf.ones((91, 7, 7), dtype="float64")
    row = spec_of(dt.float64, (5, 5, 5))
    for n in range(100, 60_000):
        spec_of(dt.float64, (n, 3, 7))
    assert len(spec._interned) <= 50_200
    assert all(spec_of(dt.float64, (n, 7, 7)) is found for n, found in kept.items())
    assert spec_of(dt.float64, (91, 7, 7)) is held._spec
    assert spec_of(dt.float64, (5, 5, 5)) is row
