"""What an ONNX file says about weft's own graph, as JSON: nodes with their parameters, forms of arguments, examples.

JSON has no tuples, dtypes, symbolic sizes or infinities; they are written so::

    (2, 3)             [2, 3]
    float32            {"dtype": "float32"}
    batch + 3          {"size": [[["batch"], 1], [[], 3]]}
    a body             {"graph": {"name", "inputs": [[name, dtype, shape]], "nodes": [node], "outputs": [name]}}
    inf                {"float": "inf"}
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...core.dtypes import DType, as_dtype
from ...core.errors import FormatError
from ...core.shapes import Shape, size_of
from ...core.symbolic import SymDim
from ...graph.ir import Graph, Node, Value, subgraphs
from ...tensor.create import from_numpy
from ...tensor.tensor import Tensor
from ...transforms.tree import Form
from .limits import NESTING, bounded, check_extent


def dumps(value: Any) -> str:
    """Compact JSON text; equal values give equal texts."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def loads(text: str) -> Any:
    """The value of JSON text.

    Raises:
        FormatError: it is none.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise FormatError(f"a note of weft's in the file is no JSON: {error}") from None


def printed(text: str) -> str:
    """A name out of a file for a message: its first characters, those that print."""
    short = text if len(text) <= 80 else f"{text[:80]}..."
    return "".join(c if c.isprintable() else "?" for c in short)


# --- values of parameters ---------------------------------------------------------------------------------------


def encode(value: Any) -> Any:
    """A node's parameter (number, string, dtype, size, or a tuple of these) for JSON."""
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, tuple):
        return [encode(v) for v in value]
    if isinstance(value, DType):
        return {"dtype": value.name}
    if isinstance(value, SymDim):
        return {"size": [[list(names), coefficient] for names, coefficient in value.terms.items()]}
    if isinstance(value, Graph):
        return {"graph": encode_graph(value)}
    raise FormatError(f"a parameter of type {type(value).__name__} cannot be saved")


def encode_graph(graph: Graph) -> dict[str, Any]:
    """A graph that is a parameter, over names of its own."""
    made = [v for node in graph.nodes for v in node.outputs]
    names = {v: f"%{i}" for i, v in enumerate((*graph.inputs, *made))}
    return {
        "name": graph.name,
        "inputs": [[names[v], v.dtype.name, encode(v.shape)] for v in graph.inputs],
        "nodes": [encode_node(node, names) for node in graph.nodes],
        "outputs": [names[v] for v in graph.outputs],
    }


def decode(value: Any) -> Any:
    """The inverse of :func:`encode`.

    Raises:
        FormatError: JSON that stands for no parameter.
    """
    if value is None or isinstance(value, (bool, str, int, float)):
        return value
    if isinstance(value, list):
        return tuple(decode(v) for v in value)
    if isinstance(value, dict) and len(value) == 1:
        ((kind, content),) = value.items()
        if kind in _KINDS:
            return _KINDS[kind](content)
    raise FormatError(f"{value!r} is no parameter of a node")


def _decode_size(terms: Any) -> Any:
    made = SymDim({tuple(str(n) for n in sorted(names)): _integer(coefficient) for names, coefficient in terms})
    return bounded(made) if set(made.terms) - {()} else made.terms.get((), 0)


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise FormatError(f"{value!r} is no integer")
    return value


_KINDS: dict[str, Callable[[Any], Any]] = {"float": float, "dtype": as_dtype, "size": _decode_size}


def encode_node(node: Node, names: Mapping[Value, str]) -> dict[str, Any]:
    """A node: its op, the names of its output (of several: a list) and inputs, parameters, and where in the program it
    stands."""
    outputs = [names[v] for v in node.outputs]
    output = outputs[0] if len(outputs) == 1 and not subgraphs(node) else outputs
    record: dict[str, Any] = {"op": node.op.name, "out": output, "in": [names[v] for v in node.inputs]}
    if node.params:
        record["params"] = {k: encode(v) for k, v in sorted(node.params.items())}
    if node.scope:
        record["scope"] = list(node.scope)
    if node.where:  # the file's name alone: a saved model does not tell how its author's disk is laid out
        record["line"] = [os.path.basename(node.where[0]), node.where[1]]
    return record


# --- forms of arguments and results -----------------------------------------------------------------------------


def encode_form(form: Form) -> Any:
    """A nesting (see :mod:`weft.transforms.tree`) for JSON; named tuples become plain ones.

    Raises:
        FormatError: a dict with keys that are no strings.
    """
    kind = form[0]
    if kind in ("leaf", "none"):
        return kind
    if kind == "dict":
        if not all(isinstance(k, str) for k in form[1]):
            raise FormatError(f"a dict with the keys {form[1]} cannot be saved: keys must be strings")
        return {"dict": [[k, encode_form(f)] for k, f in zip(form[1], form[2], strict=True)]}
    return {kind: [encode_form(f) for f in form[-1]]}


def decode_form(value: Any, depth: int = 0) -> Form:
    """The inverse of :func:`encode_form`.

    Raises:
        FormatError: JSON that stands for no form, or for one nested more than limits.NESTING deep.
    """
    if depth > NESTING:
        raise FormatError(f"arguments or results are nested more than {NESTING} deep")
    if value in ("leaf", "none"):
        return (value,)
    if isinstance(value, dict) and len(value) == 1:
        ((kind, content),) = value.items()
        if kind == "dict":
            return ("dict", tuple(str(k) for k, _ in content), tuple(decode_form(f, depth + 1) for _, f in content))
        if kind == "list":
            return ("list", tuple(decode_form(f, depth + 1) for f in content))
        if kind == "tuple":
            return ("tuple", tuple, tuple(decode_form(f, depth + 1) for f in content))
    raise FormatError(f"{value!r} is no form of arguments or results")


# --- tensors ----------------------------------------------------------------------------------------------------


def bytes_of(tensor: Tensor) -> bytes:
    """The elements in row-major order, little-endian (as every host is that weft compiles for)."""
    import numpy as np

    return np.ascontiguousarray(tensor.cpu().numpy()).tobytes()


def tensor_of(data: bytes, dtype: DType, shape: Shape) -> Tensor:
    """A tensor of little-endian, row-major elements.

    Raises:
        FormatError: not as many bytes as the shape says.
    """
    import numpy as np

    check_extent(shape, dtype.itemsize)
    expected = size_of(shape) * dtype.itemsize
    if len(data) != expected:
        raise FormatError(f"a tensor {dtype.name}{list(shape)} has {len(data)} bytes, not {expected}")
    if dtype.kind == "bool" and data.strip(b"\0\1"):
        raise FormatError("a bool is neither 0 nor 1")
    return from_numpy(np.frombuffer(bytearray(data), dtype=dtype.numpy).reshape(shape))


def encode_tensor(tensor: Tensor) -> dict[str, Any]:
    """A small tensor for JSON."""
    data = base64.b64encode(bytes_of(tensor)).decode()
    return {"dtype": tensor.dtype.name, "shape": list(tensor.shape), "data": data}


def decode_tensor(value: Any) -> Tensor:
    """The inverse of :func:`encode_tensor`.

    Raises:
        FormatError: it is none.
    """
    shape = tuple(_integer(n) for n in value["shape"])
    return tensor_of(base64.b64decode(value["data"], validate=True), as_dtype(value["dtype"]), shape)


def digest_of(tensors: Sequence[Tensor]) -> str:
    """sha256 over the tensors, each as ``float32[2,3]`` (ASCII) and its elements, row-major and little-endian."""
    total = hashlib.sha256()
    for tensor in tensors:
        total.update(f"{tensor.dtype.name}[{','.join(map(str, tensor.shape))}]".encode())
        total.update(bytes_of(tensor))
    return total.hexdigest()
