"""ONNX models of other tools, translated op by op into weft's functions."""

from __future__ import annotations

from typing import Any

from ....core import dtypes as dt
from ....core.errors import FormatError, WeftError
from ....core.symbolic import SymDim
from ....graph.ir import Graph, Value
from ....ops.creation import full
from ....ops.op import Trace, state
from ....ops.operands import extent
from ....ops.pieces import stack
from ....ops.shape import reshape
from ....tensor.calls import value_of, wrap
from ....tensor.create import asarray
from ....tensor.tape import no_grad
from ....tensor.tensor import Tensor
from ..emitter import dtype_of_element
from ..limits import KNOWN, check_extent
from ..loaded import Loaded
from ..read import distinct, input_types, tensor_of_proto
from ..table import check_types
from ..tags import printed
from .call import Item, Known, attributes_of, bind
from .host import HOST
from .ops import OPS, operator
from .schema import opset_of, schema_of


class Reader:
    """A graph that is being translated: the values so far, and the constants that became parameters."""

    def __init__(self, opset: int):
        self.opset = opset
        self.trace = Trace()
        self.values: dict[str, Item | str | None] = {"": None}  # text: why there is no such value
        self._constants: dict[Value, Tensor] = {}
        self.parameters: dict[str, Tensor] = {}
        self.inputs: list[Value] = []

    def parameter(self, name: str, tensor: Tensor) -> Any:
        """A constant as an input of the graph."""
        if name in self.parameters:
            name = f"{name}_{len(self.parameters)}"
            while name in self.parameters:
                name += "_"
        self.parameters[name] = tensor
        value = Value(tensor._spec.type)
        self.inputs.append(value)
        self._constants[value] = tensor
        return wrap(value)

    def value_of(self, traced: Any) -> Tensor | None:
        """The constant that a traced tensor stands for, if it is one."""
        return self._constants.get(traced._storage)

    def constant(self, name: str, tensor: Tensor) -> Item:
        """A constant: known where it may be a shape, else a parameter."""
        if (tensor.dtype.is_integer or tensor.dtype is dt.bool_) and tensor.size <= KNOWN:
            return Known(tensor.numpy().tolist(), tensor.dtype)
        return self.parameter(name, tensor)

    def tensor(self, item: Item) -> Any:
        """The item as a traced tensor."""
        if not isinstance(item, Known):
            return item
        shape, values = item.array.shape, item.integers
        if any(isinstance(v, SymDim) for v in values):
            return reshape(stack([extent(v, item.dtype) for v in values]), shape)
        if values and values.count(values[0]) == len(values):
            return full(shape, values[0], dtype=item.dtype)
        import numpy as np

        made = asarray(np.asarray(item.array.tolist(), dtype=item.dtype.numpy).reshape(shape))
        return self.parameter("constant", made)

    def define(self, name: str, item: Item | str) -> None:
        """A value by its name.

        Raises:
            FormatError: there is one of that name.
        """
        if not name or name in self.values:
            raise FormatError(f"the value {printed(name)!r} is defined twice" if name else "a value has no name")
        self.values[name] = item

    def value(self, name: str) -> Item | None:
        """The value of that name; None for the empty one, which is an input that is left out.

        Raises:
            FormatError: there is none.
        """
        found = self.values.get(name, f"it uses {printed(name)!r} before it is computed")
        if isinstance(found, str):
            raise FormatError(found)
        return found

    def run(self, node: Any) -> None:
        """Translate one node.

        Raises:
            FormatError: naming the node, and what of it is wrong or not supported.
        """
        domain = "" if node.domain == "ai.onnx" else node.domain
        if domain or node.op_type not in OPS:
            name = f"{domain}.{node.op_type}" if domain else node.op_type
            raise FormatError(f"it has the op {printed(name)}, which weft's table does not have")
        try:
            self._run(node)
        except Exception as error:  # whatever goes wrong in translating a node is the file's fault
            reason = error.message if isinstance(error, WeftError) else f"{type(error).__name__}: {error}"
            name = f" {printed(node.name)!r}" if node.name else ""
            raise FormatError(f"the node{name} of type {node.op_type}: {reason}") from None

    def _run(self, node: Any) -> None:
        schema, function = schema_of(node.op_type, self.opset), operator(node.op_type, self.opset)
        if schema is None or function is None:
            raise FormatError(f"opset {self.opset} has no such op")
        items = [self.value(name) for name in node.input]
        schema.check(items, len(node.output))
        attributes = attributes_of(node, schema.attributes, schema.required)
        result = None
        if node.op_type in HOST and all(i is None or isinstance(i, Known) for i in items):
            result = bind(HOST[node.op_type], self, items, attributes, len(node.output))()
        if result is None:
            count, self.trace.scope = len(self.trace.nodes), (printed(node.name) or node.op_type,)
            result = bind(function, self, items, attributes, len(node.output))()
            for made in self.trace.nodes[count:]:
                check_types(made)
        results = result if isinstance(result, (tuple, list)) else (result,)
        for number, name in enumerate(node.output):
            if number < len(results):
                self.define(name, self._checked(name, results[number]))
            elif name:
                self.define(name, f"the output {number} of an op {node.op_type} is not supported")

    def _checked(self, name: str, item: Item) -> Item:
        if isinstance(item, Known):
            return item
        check_extent(item.shape, item.dtype.itemsize)
        return item if isinstance(item._storage, Value) else self.constant(name, item)


def import_model(model: Any, what: str) -> Loaded:
    """An ONNX model as a function; its weights become parameters.

    Raises:
        FormatError: an op or a feature that weft does not have, by name; or a node that is not what ONNX defines.
    """
    try:
        return _import(model)
    except FormatError as error:
        raise FormatError(f"{what}: {error.message}") from None


def _import(model: Any) -> Loaded:
    graph = model.graph
    if model.functions:
        raise FormatError(f"it defines functions of its own ({printed(model.functions[0].name)}); inline them first")
    if graph.sparse_initializer:
        raise FormatError("it has sparse initializers, which weft does not have")
    reader, types = Reader(opset_of(model)), input_types(graph)
    arguments: list[Value] = []
    outer, state.trace = state.trace, reader.trace
    try:
        with no_grad():
            for name, type_ in types.items():
                arguments.append(Value(type_))
                reader.define(name, wrap(arguments[-1]))
            for proto in graph.initializer:
                reader.define(proto.name, reader.constant(proto.name, tensor_of_proto(proto)))
            for node in graph.node:
                reader.run(node)
            outputs = [value_of(reader.tensor(item), reader.trace) for item in _results(graph, reader)]
    finally:
        state.trace = outer
    leaf: tuple[Any, ...] = ("leaf",)
    forms = (
        ("tuple", tuple, (leaf,) * len(types)),
        leaf if len(outputs) == 1 else ("tuple", tuple, (leaf,) * len(outputs)),
    )
    whole = Graph(graph.name or "model", [*arguments, *reader.inputs], reader.trace.nodes, outputs)
    return Loaded(whole, list(types), [o.name for o in graph.output], reader.parameters, forms)


def _results(graph: Any, reader: Reader) -> list[Item]:
    """The items that are the graph's outputs."""
    names = distinct([o.name for o in graph.output], "output")
    missing = [name for name in names if isinstance(reader.values.get(name), (str, type(None)))]
    if missing or not names:
        raise FormatError(f"no node computes the output {', '.join(map(printed, missing))}")
    results = []
    for info in graph.output:
        item, declared = reader.value(info.name), info.type.tensor_type.elem_type
        assert item is not None
        if declared and dtype_of_element(declared, f"the output {printed(info.name)}") is not item.dtype:
            raise FormatError(f"the output {printed(info.name)} is not what its nodes compute: {item.dtype.name}")
        results.append(item)
    return results
