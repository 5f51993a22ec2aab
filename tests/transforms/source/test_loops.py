"""Random programs over tensors: compiled, they have the bits of eager ones, or refuse to be captured."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from drawn_tensors import program

import weft as wf

VALUES = [[1.0, 2.0, 3.0], [-1.0, 0.5, -3.0], [0.2, -0.1, 0.3], [1.0, 2.0, 3.0, -4.0, 0.5], [0.1] * 19]


def outcome(main: Any, values: list[float], w: float) -> Any:
    """The bits of what a program gives; None where it is refused."""
    try:
        found = main(wf.asarray(values, dtype=wf.float32), wf.asarray(w, dtype=wf.float32))
    except wf.CaptureError:
        return None
    return [(t.dtype.name, tuple(t.shape), t.numpy().tobytes()) for t in found]


SOME = [(False, 0, 4), (True, 100, 106)]
MORE = [(False, first, first + 4) for first in range(4, 100, 4)] + [
    (True, first, first + 6) for first in range(106, 250, 6)
]
LATER = [pytest.param(*each, marks=pytest.mark.long) for each in MORE]


@pytest.mark.parametrize(("in_place", "first", "last"), [*SOME, *LATER])
def test_random_programs_have_the_bits_of_eager_ones(in_place: bool, first: int, last: int, tmp_path: Path) -> None:
    captured = 0
    for seed in range(first, last):
        file = tmp_path / f"drawn_{seed}.py"
        file.write_text(program(seed, in_place))
        spec = importlib.util.spec_from_file_location(file.stem, file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        compiled = wf.compile(module.main)
        for values in VALUES:
            for w in (0.7, -0.9):
                found = outcome(compiled, values, w)
                if found is None:
                    assert in_place, f"program {seed} is refused:\n{file.read_text()}"
                    break
                expected = outcome(module.main, values, w)
                assert found == expected, f"program {seed}, {values}, {w}:\n{file.read_text()}"
                captured += 1
    assert captured >= (1 if in_place else 2 * len(VALUES) * (last - first))
