"""The file: an ONNX model in one protocol buffer, with notes of weft's in ``metadata_props``.

Format 1. All notes are text; JSON unless said otherwise::

    weft_format          the number of this format, "1" (text)
    weft_version         the version of weft that wrote the file (text)
    weft_graph           {"inputs": form, "outputs": form, "values": [names], "state": [names of initializers]}
    weft_example         [{"dtype", "shape", "data": base64}, ...]: an example input
    weft_example_sha256  of the outputs for it (hexadecimal text), see tags.digest_of
    weft_sha256          of the file with these 64 digits replaced by zeros (hexadecimal text)

Nodes have a note ``weft``, see :mod:`weft.interop.write`. A file that shows any of these and does not add up is
refused; a file with none of them is another tool's.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from typing import Any

from ...core.errors import FormatError
from .limits import FILE
from .write import IR_VERSION, OPSET, TAG

FORMAT = 1
_SEAL = "weft_sha256"
# The entry as it stands in a protocol buffer: field 1 with the key, field 2 with the 64 digits.
_ENTRY = re.compile(b"\x0a" + bytes([len(_SEAL)]) + _SEAL.encode() + b"\x12\x40" + b"([0-9a-f]{64})")


def pack(graph: Any, notes: Mapping[str, str]) -> bytes:
    """The file of a GraphProto and notes, sealed.

    Raises:
        FormatError: it is larger than a protocol buffer may be (2 GiB).
    """
    from google.protobuf.message import EncodeError
    from onnx import helper

    from ...core.version import VERSION

    model = helper.make_model(
        graph,
        producer_name=TAG,
        producer_version=VERSION,
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    entries = {"weft_format": str(FORMAT), "weft_version": VERSION, **notes, _SEAL: "0" * 64}
    for key, value in entries.items():
        model.metadata_props.add(key=key, value=value)
    try:
        data = bytearray(model.SerializeToString(deterministic=True))
    except (EncodeError, ValueError) as error:
        raise FormatError(f"the model does not fit in one protocol buffer of 2 GiB: {error}") from None
    (place,) = _ENTRY.finditer(data)
    data[place.start(1) : place.end(1)] = hashlib.sha256(data).hexdigest().encode()
    return bytes(data)


def unpack(data: bytes, what: str, strict: bool = True) -> tuple[Any, bool]:
    """The ModelProto of a file, and whether weft wrote it; with ``strict=False`` it may have been changed since.

    Raises:
        FormatError: it is no ONNX model, or one of weft's that was truncated or altered.
    """
    import onnx
    from google.protobuf.message import DecodeError

    seals = list(_ENTRY.finditer(data))
    if strict and (len(seals) > 1 or (seals and not _holds(data, seals[0]))):
        raise FormatError(f"{what} was altered after weft saved it: it does not have its sha256 any more")
    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError:
        raise FormatError(f"{what} is not an ONNX model, or it is truncated") from None
    if not model.HasField("graph") or not model.ir_version:
        raise FormatError(f"{what} is not an ONNX model, or it is truncated: it has no graph")
    if strict and not seals and _is_ours(model):
        raise FormatError(f"{what} was truncated or altered after weft saved it: its sha256 is gone")
    return model, bool(seals)


def _holds(data: bytes, place: re.Match[bytes]) -> bool:
    blank = hashlib.sha256(data[: place.start(1)])
    blank.update(b"0" * 64)
    blank.update(data[place.end(1) :])
    return blank.hexdigest().encode() == place.group(1)


def _is_ours(model: Any) -> bool:
    return (
        model.producer_name == TAG
        or any(p.key.startswith(TAG) for p in model.metadata_props)
        or any(p.key == TAG for node in model.graph.node for p in node.metadata_props)
    )


def notes_of(model: Any, what: str) -> dict[str, str]:
    """Weft's notes of a sealed model.

    Raises:
        FormatError: the format is newer than this weft, or a note is missing.
    """
    notes = {p.key: p.value for p in model.metadata_props}
    version = notes.get("weft_format", "")
    if version != str(FORMAT):
        raise FormatError(
            f"{what} is in format {version or 'unknown'} of weft {notes.get('weft_version', '?')}; this "
            f"weft reads format {FORMAT}"
        )
    missing = [k for k in ("weft_graph", "weft_example", "weft_example_sha256") if k not in notes]
    if missing:
        raise FormatError(f"{what} lacks {', '.join(missing)}")
    return notes


def read_bytes(path: str | os.PathLike[str], limit: int | None = FILE) -> bytes:
    """The content of a file of at most ``limit`` bytes.

    Raises:
        FormatError: it is a pipe or device, or longer.
        OSError: it cannot be read.
    """
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise FormatError(f"{os.fspath(path)!r} is a pipe or a device, not a file")
    if limit is not None and found.st_size > limit:
        raise FormatError(f"{os.fspath(path)!r} is longer than an ONNX model may be (2 GiB)")
    with open(path, "rb") as file:
        return file.read()
