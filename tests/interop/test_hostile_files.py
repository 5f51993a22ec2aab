"""Small files that ask for much are refused, or end in an error of weft's, within a gigabyte of memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import weft as wf
from weft.core.errors import FormatError
from weft.core.symbolic import SymDim
from weft.interop.onnx.limits import KNOWN, NBYTES, RANK, bounded, check_extent, wrapped
from weft.interop.weights import read_weights


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory is Linux's")
def test_files_that_ask_for_too_much() -> None:
    package = Path(wf.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("hostile_files.py"))],
        env={**os.environ, "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout.splitlines()[-1:] + done.stderr.splitlines()[-20:]


def test_host_integers_are_those_of_their_dtype() -> None:
    for dtype in (wf.int8, wf.int32, wf.int64, wf.uint8, wf.uint64):
        kind = np.dtype(dtype.name)
        for value in (0, -1, 127, 128, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 2**64 + 5, 10**30):
            low = np.asarray([value & (2**64 - 1)], np.uint64).astype(kind)[0]
            assert wrapped(value, dtype) == int(low)


def test_limits() -> None:
    check_extent((NBYTES // 4,), 4)
    check_extent((1,) * RANK, 8)
    for shape in ((NBYTES // 4 + 1,), (1,) * (RANK + 1), (0, 2**40, 2**40)):
        with pytest.raises(FormatError):
            check_extent(shape, 4)
    size = SymDim.named("n")
    for _ in range(6):
        size = bounded(size * size)  # type: ignore[assignment]
    with pytest.raises(FormatError, match="no model has such sizes"):
        bounded(size * size)
    assert KNOWN < 1 << 16  # host arrays are of Python objects


@pytest.mark.parametrize("strict", [True, False])
def test_a_pipe_is_not_waited_for(strict: bool, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FormatError, match="is a pipe or a device, not a file"):
        wf.load(tmp_path / "pipe", strict=strict)
    with pytest.raises(FormatError, match="is a pipe or a device"):
        read_weights(tmp_path / "pipe")


def test_a_file_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "f.onnx", "wb") as file:
        file.truncate(200 << 30)
    with pytest.raises(FormatError, match="longer than an ONNX model may be"):
        wf.load(tmp_path / "f.onnx")
