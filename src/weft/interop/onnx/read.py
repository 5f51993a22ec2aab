"""From an ONNX model of weft's own to the graph that it was written from, by the notes at its nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...core.dtypes import DType, as_dtype
from ...core.errors import FormatError
from ...core.symbolic import Dim, SymDim
from ...graph.ir import Graph, Node, Value, make_node
from ...graph.protocol import TensorType
from ...ops.registry import primitives
from ...tensor.tensor import Tensor
from .control_rows import CONTROL
from .emitter import dtype_of_element
from .limits import NESTING, bounded, check_extent
from .loaded import Loaded
from .rows import check_node, is_shape
from .table import ROWS, check_types
from .tags import decode, decode_form, loads, printed, tensor_of
from .write import TAG


def read_graph(model: Any, notes: dict[str, str]) -> Loaded:
    """The model as a function.

    Raises:
        FormatError: a node is not one that weft writes.
    """
    graph, about = model.graph, loads(notes["weft_graph"])
    constants = {t.name: t for t in graph.initializer}
    state = {name: tensor_of_proto(constants[name]) for name in about["state"]}
    types = input_types(graph)
    values = {name: Value(type_) for name, type_ in types.items()}
    values.update({name: Value(tensor._spec.type) for name, tensor in state.items()})
    inputs = list(values.values())
    nodes: list[Node] = []
    for proto in graph.node:
        for entry in proto.metadata_props:
            if entry.key == TAG:
                for record in loads(entry.value):
                    nodes.append(read_node(record, values))
    outputs = [values[name] for name in about["values"]]
    distinct([o.name for o in graph.output], "output")
    for value, info in zip(outputs, graph.output, strict=True):
        if value.type != _type_of(info):
            raise FormatError(f"the output {info.name} is {_type_of(info)}, and its nodes give {value.type}")
    forms = (decode_form(about["inputs"]), decode_form(about["outputs"]))
    return Loaded(Graph(graph.name, inputs, nodes, outputs), list(types), [o.name for o in graph.output], state, forms)


def read_node(record: dict[str, Any], values: dict[str, Value], depth: int = 0) -> Node:
    """The node of a record (:func:`~weft.interop.tags.encode_node`) over the values that its names stand for, which get
    its outputs; ``depth``: of so many bodies.

    Raises:
        FormatError: it is none that weft writes, or computes in no such dtypes or shapes.
    """
    name = record["op"]
    if name not in ROWS or name not in primitives():
        raise FormatError(f"the file has nodes {name!r}, which this weft does not know")
    params = {str(k): _parameter(v, depth) for k, v in record.get("params", {}).items()}
    inputs = [values[n] for n in record["in"]]
    check_node(name, ROWS[name], params, [v.type for v in inputs])
    several = isinstance(record["out"], list)
    names = list(map(str, record["out"])) if several else [record["out"]]
    for n in distinct(names, "value"):
        if n in values:
            raise FormatError(f"the value {n} is computed twice")
    if name in CONTROL and not several:
        raise FormatError(f"a node {name} has a list of outputs")
    line = record.get("line")
    where = (str(line[0]), int(line[1])) if line else None
    node = make_node(primitives()[name], inputs, params, where, tuple(map(str, record.get("scope", ()))))
    for value in node.outputs:
        if not is_shape(value.shape):
            raise FormatError(f"a node {name} has the shape {value.shape}")
        check_extent(value.shape, value.dtype.itemsize)
    check_types(node)
    if len(names) != len(node.outputs):
        raise FormatError(f"a node {name} has {len(names)} outputs, not {len(node.outputs)}")
    values.update(zip(names, node.outputs, strict=True))
    return node


def _parameter(value: Any, depth: int) -> Any:
    if not isinstance(value, dict) or set(value) != {"graph"}:
        return decode(value)
    if depth >= NESTING:
        raise FormatError(f"branches and loops are nested more than {NESTING} deep")
    body = value["graph"]
    inputs = {}
    for name, dtype, shape in body["inputs"]:
        found = decode(shape)
        if not is_shape(found):
            raise FormatError(f"{printed(str(name))} has the shape {found}")
        type_ = TensorType(as_dtype(dtype), found)
        check_extent(type_.shape, type_.dtype.itemsize)
        inputs[str(name)] = Value(type_)
    distinct([str(name) for name, _, _ in body["inputs"]], "input")
    values = dict(inputs)
    nodes = [read_node(record, values, depth + 1) for record in body["nodes"]]
    return Graph(str(body["name"]), list(inputs.values()), nodes, [values[name] for name in body["outputs"]])


# --- types and tensors of a GraphProto --------------------------------------------------------------------------


def input_types(graph: Any) -> dict[str, TensorType]:
    """Names and types of the inputs that are no initializers.

    Raises:
        FormatError: one is not a tensor of a known rank and of a dtype that weft has.
    """
    constants = {t.name for t in graph.initializer}
    distinct([i.name for i in graph.input], "input")
    return {i.name: _type_of(i) for i in graph.input if i.name not in constants}


def distinct(names: Sequence[str], what: str) -> Sequence[str]:
    """The names themselves.

    Raises:
        FormatError: one is empty, or there twice.
    """
    seen: set[str] = set()
    for name in names:
        if not name or name in seen:
            raise FormatError(f"two {what}s are called {printed(name)!r}" if name else f"an {what} has no name")
        seen.add(name)
    return names


def _type_of(info: Any) -> TensorType:
    tensor, name = info.type.tensor_type, printed(info.name)
    if not info.type.HasField("tensor_type") or not tensor.HasField("shape"):
        raise FormatError(f"{name} is not a tensor of known rank")
    shape: list[Dim] = []
    for axis, dim in enumerate(tensor.shape.dim):
        if dim.HasField("dim_value"):
            shape.append(dim.dim_value)
        else:
            shape.append(_size(dim.dim_param) if dim.dim_param else SymDim.named(f"{name}_{axis}"))
    dtype = dtype_of_element(tensor.elem_type, name)
    if not is_shape(tuple(shape)):
        raise FormatError(f"{name} has a negative size in {tuple(shape)}")
    check_extent(shape, dtype.itemsize)
    return TensorType(dtype, tuple(shape))


_SIZE_TEXT = 256  # characters of a size that is an expression


def _size(text: str) -> Dim:
    """A size as SymDim prints it: ``2*batch + 3``; what has another form is the name of a size."""
    if len(text) > _SIZE_TEXT:
        return SymDim.named(text)
    total: Dim = 0
    for term in text.split(" + "):
        product: Dim = 1
        for factor in term.split("*"):
            if not (factor.isidentifier() or factor.lstrip("-").isdecimal()):
                return SymDim.named(text)
            product = product * (SymDim.named(factor) if factor.isidentifier() else int(factor))
        total = total + product
    return bounded(total)


def tensor_of_proto(proto: Any) -> Tensor:
    """The tensor of a TensorProto.

    Raises:
        FormatError: it is malformed, or its data lies in another file.
    """
    from onnx import TensorProto, numpy_helper

    name = printed(proto.name)
    if proto.data_location == TensorProto.EXTERNAL or proto.external_data:
        raise FormatError(f"the tensor {name!r} lies in another file; weft reads models in one file")
    dtype: DType = dtype_of_element(proto.data_type, f"the tensor {name!r}")
    shape = tuple(proto.dims)
    if not is_shape(shape):
        raise FormatError(f"the tensor {name!r} has the shape {shape}")
    check_extent(shape, dtype.itemsize)
    if proto.HasField("raw_data"):
        return tensor_of(proto.raw_data, dtype, shape)
    try:
        array = numpy_helper.to_array(proto)
    except Exception as error:  # the library raises whatever numpy does
        raise FormatError(f"the tensor {name!r} cannot be read: {error}") from None
    return tensor_of(array.tobytes(), dtype, shape)
