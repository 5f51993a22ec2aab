"""Rewritten source does over Python's values what the source does: results, exceptions, the order of evaluation."""

from __future__ import annotations

import importlib.util
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from drawn_programs import program

from weft.core.device import CPU
from weft.ops.op import Trace, state
from weft.transforms.inside import Inside
from weft.transforms.source.find import converted, reason
from weft.transforms.source.signals import Unroll


@contextmanager
def capturing(unrolled: set[Any]) -> Iterator[None]:
    """As while a function is captured."""
    going = Inside([], None)
    going.unrolled = unrolled
    state.trace = Trace(going, device=CPU, sized=False)
    try:
        yield
    finally:
        state.trace = None


def fresh(file: Path) -> ModuleType:
    """The module of a file, run anew."""
    spec = importlib.util.spec_from_file_location("drawn_program", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def outcome(module: ModuleType, main: Any, a: int) -> tuple[Any, ...]:
    """What ``main`` does: what it gives or raises and where, the state, the log."""
    me = module.Base()
    place = None
    try:
        end: Any = repr(main(a, me=me))
    except Exception as error:
        kind = NameError if isinstance(error, NameError) else type(error)  # a variable may be a cell in rewritten code
        end = kind.__name__, *([] if kind is NameError else [str(error)])
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == module.__file__]
        place = frames[-1].lineno
    return end, place, me.n, module.shared, module.FUEL, module.LOG


def both(file: Path, a: int) -> tuple[tuple[Any, ...], tuple[Any, ...], ModuleType]:
    module = fresh(file)
    plain = outcome(module, module.main, a)
    unrolled: set[Any] = set()
    while True:
        module = fresh_like(module)
        with capturing(unrolled):
            try:
                return plain, outcome(module, converted(module.main), a), module
            except Unroll as met:
                known = len(unrolled)
                unrolled.add(met.loop)
        assert len(unrolled) > known


def fresh_like(module: ModuleType) -> ModuleType:
    """The module as it was, with the code objects that it has: those of rewritten loops stay the same."""
    module.LOG, module.FUEL, module.shared = [], 60, 3
    return module


@pytest.mark.one_in(2)
@pytest.mark.parametrize("block", range(8))
def test_rewritten_programs_do_what_they_did(block: int, tmp_path: Path) -> None:
    for seed in range(8 * block, 8 * block + 8):
        file = tmp_path / f"drawn_{seed}.py"
        file.write_text(program(seed))
        for a in (0, 1, 5):
            plain, rewritten, module = both(file, a)
            assert rewritten == plain, f"program {seed} with a = {a}:\n{file.read_text()}"
            why = reason(module.main.__code__)
            assert why in (None, "an exit in finally"), why
