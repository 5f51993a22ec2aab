"""``save``, ``load`` and ``verify``: a whole model, graph and parameters, in one ONNX file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.errors import ArgumentError, CompileError, FormatError, ShapeError
from ...core.files import write_atomically
from ...core.shapes import shown
from ...core.symbolic import Dim, SymDim
from ...graph.ir import Value
from ...graph.protocol import TensorType
from ...graph.simplify import simplify
from ...tensor.tensor import Tensor
from ...transforms.artefact import capture_pure, example_tensor, has_state, input_names, leaf_names
from ...transforms.captured import Captured
from ...transforms.tree import Form, flatten
from .container import notes_of, pack, read_bytes, unpack
from .foreign.model import import_model
from .loaded import Loaded
from .read import read_graph
from .tags import decode_tensor, digest_of, dumps, encode_form, encode_tensor, loads
from .write import write_graph

Place = tuple[int, int]


# --- save -------------------------------------------------------------------------------------------------------


def save(
    model: Callable[..., Any],
    path: str | os.PathLike[str],
    *,
    example: Any,
    dynamic: Mapping[str, Place | Sequence[Place]] | None = None,
) -> None:
    """Write a module or function, with its parameters, as one ONNX file that also runs in ONNX Runtime.

    A module is saved as it computes in evaluation mode. The file is tried before it takes its place: what is loaded
    from it must give the function's own result for the example, bit for bit.

    Args:
        model: a module, or a function of tensors.
        path: of the file; it is replaced as a whole or not at all.
        example: the argument (a tensor, an array, or a dict or list of them), or a tuple of arguments. The file holds
            it, so that the model can be verified anywhere.
        dynamic: sizes that may differ from call to call: name -> (number of the argument, axis), or several such
            places of one size. Arguments are counted as tensors, in order.

    Raises:
        FormatError: an op that ONNX cannot express, by name; or a model of more than 2 GiB.
        CaptureError: the function needs a tensor's value, or changes tensors that are not its own; or what it does
            hangs on a size in ``dynamic``. (Such a size is a symbol: ``isinstance(n, int)`` holds, ``type(n) is int``
            does not.)
        ShapeError: ``dynamic`` names no axis of the example.

    >>> import tempfile, os
    >>> net = wf.nn.Sequential(wf.nn.Linear(4, 3), wf.nn.Tanh())
    >>> path = os.path.join(tempfile.mkdtemp(), "net.onnx")
    >>> wf.save(net, path, example=wf.ones((1, 4)), dynamic={"batch": (0, 0)})
    >>> wf.load(path)
    <weft model Sequential(input: float32[batch, 4]) -> output: float32[batch, 3]>
    """
    if not callable(model):
        raise FormatError(f"save: {type(model).__name__} is not a function; save_weights writes parameters alone")
    args = tuple(example) if type(example) is tuple else (example,)
    leaves, form = flatten(args)
    tensors = [example_tensor(leaf, "save") for leaf in leaves]
    types = _dynamic_types([t._spec.type for t in tensors], dynamic or {})
    captured, expected = capture_pure(model, form, tensors, types, op="save", made="a saved model")
    data = _encode(captured, form, _input_names(model, form), _state_names(model), tensors, digest_of(expected))
    _verify(data, f"{os.fspath(path)!r}")
    write_atomically(path, data)


def _encode(
    captured: Captured,
    form: Form,
    inputs: Sequence[str],
    state_names: Mapping[int, str],
    example: Sequence[Tensor],
    digest: str,
) -> bytes:
    graph = simplify(captured.function)
    used = graph.used()
    taken = set(inputs)
    outputs = [_unique(name, taken) for name in leaf_names("output", captured.returns.form)]
    state: dict[Value, tuple[str, Tensor]] = {}
    for value, tensor in zip(graph.inputs[captured.arguments :], captured.reads.state(()), strict=True):
        if value in used:
            state[value] = (_unique(state_names.get(id(tensor), f"state_{len(state)}"), taken), tensor)
    given = dict(zip(graph.inputs[: captured.arguments], inputs, strict=True))
    proto, values = write_graph(graph, given, outputs, state)
    about = {
        "inputs": encode_form(form),
        "outputs": encode_form(captured.returns.form),
        "values": values,
        "state": [name for name, _ in state.values()],
    }
    return pack(
        proto,
        {
            "weft_graph": dumps(about),
            "weft_example": dumps([encode_tensor(t) for t in example]),
            "weft_example_sha256": digest,
        },
    )


def _dynamic_types(types: Sequence[TensorType], dynamic: Mapping[str, Any]) -> list[TensorType]:
    shapes: list[list[Dim]] = [list(t.shape) for t in types]
    if not isinstance(dynamic, Mapping):
        raise ArgumentError(
            f"save: dynamic is {shown(dynamic)}; it must be a dict: a size's name -> (number of argument, axis), or "
            "several such places"
        )
    for name, places in dynamic.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise ShapeError(f"save: dynamic: {shown(name)} is no name for a size, as in {{'batch': (0, 0)}}")
        for argument, axis in _places(name, places):
            if not 0 <= argument < len(types) or not -len(shapes[argument]) <= axis < len(shapes[argument]):
                raise ShapeError(
                    f"save: dynamic: {name!r} is axis {axis} of argument {argument}, which the example "
                    f"{tuple(types)} does not have"
                )
            if isinstance(shapes[argument][axis], SymDim):
                raise ShapeError(f"save: dynamic: axis {axis} of argument {argument} is named twice")
            shapes[argument][axis] = SymDim.named(name)
    return [TensorType(t.dtype, tuple(s)) for t, s in zip(types, shapes, strict=True)]


def _places(name: str, places: Any) -> list[tuple[int, int]]:
    """One place, (number of the argument, axis), or several.

    Raises:
        ArgumentError: it is none of both.
    """

    def is_place(value: Any) -> bool:
        return isinstance(value, (tuple, list)) and len(value) == 2 and all(type(n) is int for n in value)

    if is_place(places):
        return [tuple(places)]
    if isinstance(places, (tuple, list)) and places and all(map(is_place, places)):
        return [tuple(place) for place in places]
    raise ArgumentError(
        f"save: dynamic: {name!r} is {shown(places)}; it must be (number of the argument, axis), or several such places"
    )


# --- names ------------------------------------------------------------------------------------------------------


def _unique(name: str, taken: set[str]) -> str:
    """A name that is not taken, of characters that print: what other tools show, and can be written at all."""
    name = "".join(c if c.isprintable() else "_" for c in name)
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _state_names(model: Any) -> dict[int, str]:
    """Names of parameters and buffers by identity: those of the state dict."""
    if not has_state(model):
        return {}
    found = {id(t): name for name, t in model.named_buffers()}
    return found | {id(t): name for name, t in model.named_parameters()}


def _input_names(model: Any, form: Form) -> list[str]:
    taken: set[str] = set()
    return [_unique(name, taken) for name in input_names(model, form)]


# --- load -------------------------------------------------------------------------------------------------------


def load(path: str | os.PathLike[str], *, strict: bool = True) -> Loaded:
    """The model in an ONNX file, as a function.

    A file of weft's own gives the graph that was saved, and the same bits. One of another tool is translated op by op.

    Args:
        path: of the file.
        strict: refuse a file of weft's that was changed since. False: read it like another tool's, by its ONNX nodes.

    Raises:
        FormatError: the file is truncated, altered, no ONNX model, in a newer format, or has an op that weft's table
            lacks (by name).
        OSError: it cannot be read.
    """
    return _decode(read_bytes(path), repr(os.fspath(path)), strict)[0]


def _decode(data: bytes, what: str, strict: bool = True) -> tuple[Loaded, dict[str, str]]:
    """The model, and weft's notes."""
    try:
        if not strict:
            return import_model(unpack(data, what, strict=False)[0], what), {}
        model, ours = unpack(data, what)
        if not ours:
            return import_model(model, what), {}
        notes = notes_of(model, what)
        return read_graph(model, notes), notes
    except FormatError:
        raise
    except Exception as error:  # a file may hold anything: whatever goes wrong in reading it is the file's fault
        raise FormatError(f"{what} is malformed: {type(error).__name__}: {error}") from None


# --- verify -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Report:
    """What :func:`verify` found. ``sha256`` is that of the outputs for the example in the file."""

    path: str
    version: str
    inputs: dict[str, TensorType]
    outputs: dict[str, TensorType]
    parameters: int
    nbytes: int
    sha256: str

    def __str__(self) -> str:
        def listed(types: dict[str, TensorType]) -> str:
            return ", ".join(f"{name}: {type_}" for name, type_ in types.items())

        return (
            f"{self.path}: verified\n  inputs      {listed(self.inputs)}\n  outputs     {listed(self.outputs)}\n"
            f"  parameters  {self.parameters:,} numbers; the file has {self.nbytes:,} bytes\n"
            f"  written by  weft {self.version}\n  sha256 of the outputs for the example\n    {self.sha256}"
        )


def verify(path: str | os.PathLike[str]) -> Report:
    """Compute the outputs for the example in a file of weft's and compare them, bit for bit, with those at the time
    when it was saved.

    Raises:
        FormatError: they differ; or the file was altered or truncated, or is not weft's.
        OSError: it cannot be read.
    """
    return _verify(read_bytes(path), repr(os.fspath(path)))


def _verify(data: bytes, what: str) -> Report:
    loaded, notes = _decode(data, what)
    if not notes:
        raise FormatError(f"{what} was not written by weft: it has no example to verify it by")
    try:
        example = [decode_tensor(entry) for entry in loads(notes["weft_example"])]
        found = digest_of(loaded.call_on(example))
    except CompileError:
        raise
    except Exception as error:  # as in _decode
        raise FormatError(f"{what}: its example cannot be run: {type(error).__name__}: {error}") from None
    if found != notes["weft_example_sha256"]:
        raise FormatError(
            f"{what}: the outputs for its example are not those from when it was saved: their sha256 is "
            f"{found}, not {notes['weft_example_sha256']}"
        )
    count = sum(t.size for t in loaded.parameters.values())
    return Report(
        what.strip("'"), notes.get("weft_version", "?"), loaded.inputs, loaded.outputs, count, len(data), found
    )
