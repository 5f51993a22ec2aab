"""Files that other tools read: whole models as ONNX, weights as safetensors."""

from __future__ import annotations

from .onnx.loaded import Loaded
from .onnx.model_file import Report, load, save, verify
from .weights import load_weights, read_weights, save_weights

__all__ = ["Loaded", "Report", "load", "load_weights", "read_weights", "save", "save_weights", "verify"]
