"""Contractions as kernels: what of sizes and strides is structure."""

from __future__ import annotations

import pytest

import weft as wf
from weft.compiler.contraction.plan import BOXED, MATRIX_VECTOR, TILES, VECTOR_MATRIX
from weft.compiler.kernels import Contraction
from weft.core.symbolic import Sizes
from weft.graph.lower.contraction import _runs
from weft.nn import functional as F


def test_a_stride_that_is_a_size_is_not_structure() -> None:
    """Its example may be 1; no guard says that it stays so."""
    sizes = Sizes({"n": 4})
    guards = dict(sizes.guards)
    assert _runs([(3, 9)], [(5, sizes["n"] - 3)]) == (False, False)
    assert _runs([(sizes["n"], sizes["n"] - 3)], [(5, 1)]) == (False, True)
    assert sizes.guards == guards


@pytest.mark.parametrize(("m", "n", "mode"), [(40, 50, TILES), (40, 1, MATRIX_VECTOR), (1, 50, VECTOR_MATRIX)])
def test_a_kernel_has_only_the_mode_that_its_launch_takes(m: int, n: int, mode: int) -> None:
    (kernel,) = wf.compile(lambda a, b: a @ b).kernels(wf.ones((m, 30)), wf.ones((30, n)))
    assert isinstance(kernel, Contraction) and kernel.modes == (mode,)
    text = kernel.llvm()
    assert ("@kernel.tile" in text) is (mode == TILES) and ("@kernel.vector" in text) is (mode != TILES)


@pytest.mark.parametrize(("width", "mode"), [(32, BOXED), (28, TILES)])
def test_windows_are_packed_or_read_from_a_box(width: int, mode: int) -> None:
    """Of lines that are whole vectors there is a box, and the kernel has nothing that packs windows."""
    operands = wf.ones((2, 5, 9, width)), wf.ones((20, 5, 3, 3))
    (kernel,) = wf.compile(lambda x, w: F.conv2d(x, w, padding=1)).kernels(*operands)
    assert isinstance(kernel, Contraction) and kernel.modes == (mode,)
    text = kernel.llvm()
    for function, of in (("box", BOXED), ("lines", BOXED), ("pack_b", TILES), ("tile", TILES)):
        assert (f"@kernel.{function}" in text) is (mode == of)
