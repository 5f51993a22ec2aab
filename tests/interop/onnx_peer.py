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
    """The outputs of ONNX Runtime; bfloat16, which it does not hand out, comes as float32. Skips the test where it
    has no kernel."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    model = _with_wide_ends(onnx.load(str(path)))
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        if "NOT_IMPLEMENTED" in str(error):
            pytest.skip(f"ONNX Runtime has no kernel: {error}")
        raise
    feeds = {}
    for given, array in zip(session.get_inputs(), map(np.asarray, arrays), strict=True):
        feeds[given.name] = array.astype(np.float32) if array.dtype.name == "bfloat16" else array
    found: list[np.ndarray[Any, Any]] = session.run(None, feeds)
    return found


def _with_wide_ends(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its bfloat16 inputs and outputs as float32."""
    before, after = [], []
    for end in (*model.graph.input, *model.graph.output):
        if end.type.tensor_type.elem_type == onnx.TensorProto.BFLOAT16:
            end.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
            inner, end.name = end.name, f"{end.name}_float32"
            if end in list(model.graph.input):
                before.append(onnx.helper.make_node("Cast", [end.name], [inner], to=onnx.TensorProto.BFLOAT16))
            else:
                after.append(onnx.helper.make_node("Cast", [inner], [end.name], to=onnx.TensorProto.FLOAT))
    nodes = [*before, *model.graph.node, *after]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model
