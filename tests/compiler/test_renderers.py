"""The table of families: every kernel has a row, and a family that a GPU cannot run says why."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
from small_kernels import TARGETS

from weft.compiler import renderers
from weft.compiler.build import render
from weft.compiler.expr import const
from weft.compiler.kernels import Access, Kernel, Nest, Slot, Store
from weft.core import dtypes as dt
from weft.core.errors import CompileError
from weft.llvm.targets import cross_target

KERNEL = Nest((), Slot(0), 0, 1, (Store(Access(0, dt.float32, 0, (1,)), const(1.0, dt.float32)),), (dt.float32,))


def test_every_kernel_has_a_row() -> None:
    assert set(renderers.FAMILIES) == set(get_args(Kernel))


def test_a_family_is_rendered_for_cpus_and_for_gpus() -> None:
    assert "define i64 @name(" in render(KERNEL, "name", TARGETS[-1])
    assert "define ptx_kernel void @name(" in render(KERNEL, "name", cross_target("nvptx64"))


def test_a_family_without_a_gpu_renderer_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    row = replace(renderers.FAMILIES[Nest], gpu="its steps wait for each other")
    monkeypatch.setitem(renderers.FAMILIES, Nest, row)
    for ask in (lambda: render(KERNEL, "name", cross_target("nvptx64")), lambda: renderers.gpu_launch(KERNEL, [5], 1)):
        with pytest.raises(CompileError, match="a Nest does not run on a GPU: its steps wait for each other"):
            ask()
    assert "define i64 @name(" in render(KERNEL, "name", TARGETS[-1])
