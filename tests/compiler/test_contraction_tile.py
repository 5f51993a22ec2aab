"""Register tiles: their inner loops keep to the registers."""

from __future__ import annotations

import re

import pytest

from weft.compiler.contraction.tile import render_tile, tile_of
from weft.compiler.emit import Module
from weft.core import dtypes as dt
from weft.core.dtypes import DType
from weft.llvm.assembly import assembly
from weft.llvm.targets import Target, cross_target

TARGETS = {
    "avx2": cross_target("x86_64-linux-gnu"),
    "avx512": Target("x86_64-unknown-linux-gnu", "x86-64-v4", "", "avx512"),
    "neon": cross_target("aarch64-linux-gnu"),
}
STACK = {"avx2": r"\(%r[sb]p\)", "avx512": r"[yz]mm.*\(%r[sb]p\)|\(%r[sb]p\).*[yz]mm", "neon": r"\[sp"}  # chains there


@pytest.mark.parametrize("rows_form", [True, False])
@pytest.mark.parametrize("dtype", [dt.float32, dt.float64], ids=lambda d: d.name)
@pytest.mark.parametrize("name", TARGETS)
def test_the_inner_loop_does_not_touch_the_stack(name: str, dtype: DType, rows_form: bool) -> None:
    """A chain that is spilled halves the rate."""
    target = TARGETS[name]
    tile = tile_of(dtype, target)
    for columns in [columns for height, columns in tile.variants if height == tile.rows]:
        module = Module()
        render_tile(module, "tile", tile, tile.rows, columns, rows_form, target)
        text = module.text().replace("internal ", "") + "attributes #1 = { nounwind }\n"
        blocks = re.split(r"\n(?=\.L\w+:)", assembly(text, target))
        multiplied = [len(re.findall(r"vfmadd|fmla", block)) for block in blocks]
        inner = blocks[multiplied.index(max(multiplied))]
        assert max(multiplied) == tile.rows * len(tile.pieces(columns))
        assert not re.search(STACK[name], inner)


def test_half_a_vector_is_for_vectors_in_two_halves() -> None:
    tile = tile_of(dt.float32, TARGETS["avx512"])
    assert {(12, 8), (12, 24)} < set(tile.variants) and tile.pieces(24) == [16, 8]
    assert not any(tile_of(dt.float32, TARGETS[name]).halves for name in ("avx2", "neon"))
