"""Contractions as kernels: what of sizes and strides is structure."""

from __future__ import annotations

from weft.core.symbolic import Sizes
from weft.graph.lower.contraction import _runs


def test_a_stride_that_is_a_size_is_not_structure() -> None:
    """Its example may be 1; no guard says that it stays so."""
    sizes = Sizes({"n": 4})
    guards = dict(sizes.guards)
    assert _runs([(3, 9)], [(5, sizes["n"] - 3)]) == (False, False)
    assert _runs([(sizes["n"], sizes["n"] - 3)], [(5, 1)]) == (False, True)
    assert sizes.guards == guards
