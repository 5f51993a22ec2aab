"""ONNX Runtime as the judge of what we write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

__all__ = ["check", "run"]


def check(path: Path) -> onnx.ModelProto:
    """The model in a file that the checker, with shape inference, accepts."""
    onnx.checker.check_model(str(path), full_check=True)
    return onnx.load(str(path))


def run(path: Path, *arrays: Any) -> list[np.ndarray[Any, Any]]:
    """The outputs of ONNX Runtime; bfloat16 goes in and out as its bits. Skips what it has no kernel for."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        if "NOT_IMPLEMENTED" in str(error):
            pytest.skip(f"ONNX Runtime has no kernel: {error}")
        raise
    feeds = {}
    for given, array in zip(session.get_inputs(), arrays, strict=True):
        array = np.asarray(array)
        if array.dtype.name == "bfloat16":
            feeds[given.name] = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(
                np.ascontiguousarray(array).view(np.uint16), onnx.TensorProto.BFLOAT16)
        else:
            feeds[given.name] = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))
    return [value.numpy() for value in session.run_with_ort_values(None, feeds)]
