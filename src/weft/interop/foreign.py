"""ONNX models of other tools, translated op by op into weft's functions."""

from __future__ import annotations

from typing import Any

from ..core import dtypes as dt
from ..core.errors import FormatError, WeftError
from ..core.shapes import SymDim
from ..graph.ir import Graph, Value
from ..ops.creation import full
from ..ops.op import Trace, state
from ..ops.operands import extent
from ..ops.shape import reshape, stack
from ..tensor.calls import value_of, wrap
from ..tensor.create import asarray
from ..tensor.tape import no_grad
from ..tensor.tensor import Tensor
from .foreign_call import Call, Item, Known
from .foreign_host import HOST, Op
from .foreign_ops import OPS
from .loaded import Loaded
from .read import input_types, tensor_of_proto

__all__ = ["import_model"]

_KNOWN_SIZE = 4096  # integer constants of up to so many elements may be shapes, axes or indices


class Reader:
    """A graph that is being translated: the values so far, and the constants that became parameters."""

    def __init__(self, model: Any, what: str):
        self.what = what
        self.opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)
        self.trace = Trace()
        self.values: dict[str, Item | None] = {"": None}
        self._constants: dict[Value, Tensor] = {}
        self.parameters: dict[str, Tensor] = {}
        self.inputs: list[Value] = []

    def parameter(self, name: str, tensor: Tensor) -> Any:
        """A constant as an input of the graph."""
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
        if (tensor.dtype.is_integer or tensor.dtype is dt.bool_) and tensor.size <= _KNOWN_SIZE:
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

    def run(self, node: Any) -> None:
        """Translate one node."""
        domain = "" if node.domain == "ai.onnx" else node.domain
        items = [self._value(name, node) for name in node.input]
        call = Call(self, node, items)
        function: Op | None = None
        if not domain and node.op_type in HOST and all(i is None or isinstance(i, Known) for i in items):
            function = HOST[node.op_type]
        result = None if function is None else function(call)
        if result is None:
            function = None if domain else OPS.get(node.op_type)
            if function is None:
                name = f"{domain}.{node.op_type}" if domain else node.op_type
                raise FormatError(f"{self.what} has the op {name}, which weft's table does not have")
            self.trace.scope = (node.name or node.op_type,)
            try:
                result = function(call)
            except FormatError:
                raise
            except WeftError as error:
                raise call.error(error.message) from None
        results = result if isinstance(result, (tuple, list)) else (result,)
        for name, made in zip(node.output, results, strict=False):
            self.values[name] = made
        for name in node.output[len(results) :]:
            self.values[name] = None

    def _value(self, name: str, node: Any) -> Item | None:
        if name not in self.values:
            raise FormatError(f"{self.what}: a node of type {node.op_type} uses {name!r} before it is computed")
        return self.values[name]


def import_model(model: Any, what: str) -> Loaded:
    """An ONNX model as a function; its weights become parameters.

    Raises:
        FormatError: an op or a feature that weft does not have, by name.
    """
    if model.functions:
        raise FormatError(f"{what} defines functions of its own ({model.functions[0].name}); inline them first")
    graph, reader, types = model.graph, Reader(model, what), input_types(model.graph)
    arguments: list[Value] = []
    outer, state.trace = state.trace, reader.trace
    try:
        with no_grad():
            for name, type_ in types.items():
                value = Value(type_)
                arguments.append(value)
                reader.values[name] = wrap(value)
            for proto in graph.initializer:
                reader.values[proto.name] = reader.constant(proto.name, tensor_of_proto(proto))
            if graph.sparse_initializer:
                raise FormatError(f"{what} has sparse initializers, which weft does not have")
            for node in graph.node:
                reader.run(node)
            results = [reader.values.get(o.name) for o in graph.output]
            missing = [o.name for o, r in zip(graph.output, results, strict=True) if r is None]
            if missing or not results:
                raise FormatError(f"{what}: no node computes the output {', '.join(missing)}")
            outputs = [value_of(reader.tensor(r), reader.trace) for r in results if r is not None]
    finally:
        state.trace = outer
    leaf: tuple[Any, ...] = ("leaf",)
    forms = (
        ("tuple", tuple, (leaf,) * len(types)),
        leaf if len(outputs) == 1 else ("tuple", tuple, (leaf,) * len(outputs)),
    )
    whole = Graph(graph.name or "model", [*arguments, *reader.inputs], reader.trace.nodes, outputs)
    return Loaded(whole, list(types), [o.name for o in graph.output], reader.parameters, forms)
