"""Weights as safetensors: names and tensors, no code.

The metadata of the file holds ``weft_format`` ("1") and ``sha256``: over each tensor in the order of their names, as
``name float32[2,3]`` and a newline (UTF-8), and its elements. A file without them is another tool's.
Reference of the format: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from ..core.dtypes import as_dtype
from ..core.errors import DTypeError, FormatError, StateError
from ..core.files import write_atomically
from ..nn.module import Module
from ..nn.saved import IncompatibleKeys
from ..tensor.create import asarray
from ..tensor.tensor import Tensor
from .onnx.container import read_bytes
from .onnx.tags import bytes_of, tensor_of

_FORMAT = "1"
_DTYPES = {
    "BOOL": "bool",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "U8": "uint8",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
}


def save_weights(module: Module | Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a module's parameters and buffers, or a dict of tensors, as one safetensors file.

    Args:
        module: a module (its state dict is written), or names and tensors.
        path: of the file; it is replaced as a whole or not at all.

    Raises:
        StateError: a value of the dict is not a tensor.

    >>> import tempfile, os
    >>> net, path = wf.nn.Linear(2, 3), os.path.join(tempfile.mkdtemp(), "net.safetensors")
    >>> wf.save_weights(net, path)
    >>> wf.load_weights(wf.nn.Linear(2, 3), path)
    IncompatibleKeys(missing_keys=[], unexpected_keys=[])
    """
    from safetensors.numpy import save as serialize

    tensors = {}
    for name, value in _state_of(module).items():
        if not isinstance(name, str) or name == "__metadata__" or not _is_text(name):
            raise StateError(f"save_weights: {name!r} is no name for a tensor")
        if isinstance(value, (str, bytes, dict)) or value is None:
            raise StateError(f"save_weights: {name!r} is a {type(value).__name__}, not a tensor")
        tensors[name] = asarray(value)
    arrays = {name: _contiguous(t) for name, t in tensors.items()}
    write_atomically(path, serialize(arrays, {"weft_format": _FORMAT, "sha256": _digest(tensors)}))


def load_weights(module: Module, path: str | os.PathLike[str], strict: bool = True) -> IncompatibleKeys:
    """Set a module's parameters and buffers from a safetensors file, cast to the dtypes that they have.

    Whatever goes wrong, the module is left as it was.

    Args:
        module: the module.
        path: of the file.
        strict: the names in the file must be those of the module.

    Returns:
        The names that were not matched (with ``strict=False``).

    Raises:
        StateError: names or shapes do not fit the module.
        FormatError: the file is truncated, altered or no safetensors file.
        OSError: it cannot be read.
    """
    state = read_weights(path)
    return module.load_state_dict(state, strict)


def read_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Names and tensors of a safetensors file.

    Raises:
        FormatError: the file is truncated, altered or no safetensors file.
        OSError: it cannot be read.
    """
    from safetensors import SafetensorError, deserialize

    what = repr(os.fspath(path))
    data = read_bytes(path, limit=None)
    try:
        entries = deserialize(data)
    except SafetensorError as error:
        raise FormatError(f"{what} is not a safetensors file, or it is truncated or altered: {error}") from None
    tensors: dict[str, Tensor] = {}
    for name, entry in entries:
        if entry["dtype"] not in _DTYPES:
            raise FormatError(f"{what}: {name!r} has the dtype {entry['dtype']}, which weft does not have")
        tensors[name] = tensor_of(bytes(entry["data"]), as_dtype(_DTYPES[entry["dtype"]]), tuple(entry["shape"]))
    notes = _metadata(data)
    if "weft_format" in notes or "sha256" in notes:
        if notes.get("weft_format") != _FORMAT:
            raise FormatError(f"{what} is in format {notes.get('weft_format')!r} of weft; this weft reads {_FORMAT!r}")
        if notes.get("sha256") != _digest(tensors):
            raise FormatError(f"{what} was altered after weft saved it: it does not have its sha256 any more")
    return tensors


def _is_text(name: str) -> bool:
    """Whether it can be written: half a character, as in the name of a file of another encoding, cannot."""
    return not any("\ud800" <= c <= "\udfff" for c in name)


def _state_of(module: Any) -> Mapping[str, Any]:
    if isinstance(module, Mapping):
        return module
    if not hasattr(module, "state_dict"):
        raise DTypeError(f"save_weights: {type(module).__name__} is neither a module nor a dict of tensors")
    state: Mapping[str, Any] = module.state_dict()
    return state


def _contiguous(tensor: Tensor) -> Any:
    import numpy as np

    array = tensor.cpu().numpy()
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def _digest(tensors: Mapping[str, Tensor]) -> str:
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(f"{name} {tensor.dtype.name}[{','.join(map(str, tensor.shape))}]\n".encode())
        total.update(bytes_of(tensor))
    return total.hexdigest()


def _metadata(data: bytes) -> dict[str, str]:
    """The text notes of a file that ``deserialize`` has accepted; it hands out the tensors alone."""
    length = int.from_bytes(data[:8], "little")
    notes = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    return {str(k): str(v) for k, v in notes.items()}
