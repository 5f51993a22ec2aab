"""Register tiles: their inner loops keep to the registers."""

from __future__ import annotations

import re

import pytest

from weft.compiler.contraction.tile import render_tile, tile_of
from weft.compiler.emit import Module
from weft.core import dtypes as dt
from weft.core.dtypes import DType
from weft.llvm.assembly import assembly
from weft.llvm.targets import cross_target

STACK = {"x86_64-linux-gnu": r"\(%r[sb]p\)|\[r[sb]p", "aarch64-linux-gnu": r"\[sp"}


@pytest.mark.parametrize("rows_form", [True, False])
@pytest.mark.parametrize("dtype", [dt.float32, dt.float64], ids=lambda d: d.name)
@pytest.mark.parametrize("name", STACK)
def test_the_inner_loop_does_not_touch_the_stack(name: str, dtype: DType, rows_form: bool) -> None:
    """A chain that is spilled halves the rate."""
    target, module = cross_target(name), Module()
    tile = tile_of(dtype, target)
    render_tile(module, "tile", tile, tile.rows, tile.vectors, rows_form, target)
    text = module.text().replace("internal ", "") + "attributes #1 = { nounwind }\n"
    blocks = re.split(r"\n(?=\.L\w+:)", assembly(text, target))
    multiplied = [len(re.findall(r"vfmadd|fmla", block)) for block in blocks]
    inner = blocks[multiplied.index(max(multiplied))]
    assert max(multiplied) == tile.rows * tile.vectors
    assert not re.search(STACK[name], inner)
