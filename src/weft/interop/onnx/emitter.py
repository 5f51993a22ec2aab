"""Writing ONNX: nodes, constants, casts and sizes, with names that a person can read.

An :class:`Emitter` collects the nodes of one ONNX graph. Sizes that are symbolic are computed from the shapes of the
inputs, once each. A body of a branch or loop has an emitter of its own (:meth:`Emitter.inside`): names are unique in
all of the model, constants lie in the outermost graph, and what is known around a body is known in it.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from ...core import dtypes as dt
from ...core.dtypes import DType
from ...core.errors import FormatError
from ...core.shapes import Shape, is_static
from ...core.symbolic import Dim, SymDim
from ...graph.ir import Graph, Value
from ...graph.protocol import TensorType

if TYPE_CHECKING:
    import numpy as np

# TensorProto.DataType of the ONNX standard, of each dtype.
ELEMENT_TYPES = {
    dt.float32: 1,
    dt.uint8: 2,
    dt.int8: 3,
    dt.uint16: 4,
    dt.int16: 5,
    dt.int32: 6,
    dt.int64: 7,
    dt.bool_: 9,
    dt.float16: 10,
    dt.float64: 11,
    dt.uint32: 12,
    dt.uint64: 13,
    dt.bfloat16: 16,
}
_DTYPES = {number: dtype for dtype, number in ELEMENT_TYPES.items()}


def dtype_of_element(number: int, what: str) -> DType:
    """The dtype of a TensorProto.DataType.

    Raises:
        FormatError: weft has none.
    """
    if number not in _DTYPES:
        raise FormatError(f"{what} has the ONNX element type {number}, which weft does not have")
    return _DTYPES[number]


# ONNX Runtime has kernels for few dtypes of each op. Arithmetic on the others goes through the next wider one that is
# always there: exact, since integers wrap alike, and 16-bit floats are computed in float32 by definition.
_WIDE = {
    dt.int8: dt.int32,
    dt.int16: dt.int32,
    dt.uint8: dt.int32,
    dt.uint16: dt.int32,
    dt.uint32: dt.int64,
    dt.float16: dt.float32,
    dt.bfloat16: dt.float32,
}


def wide(dtype: DType) -> DType:
    """The dtype to compute in: one that holds every value of ``dtype``; uint64 and bool are their own."""
    return _WIDE.get(dtype, dtype)


def carrier(dtype: DType) -> DType:
    """The dtype in which elements of ``dtype`` can be moved, selected, added and multiplied: as :func:`wide`, and
    int64 for uint64 (the same bits), int32 for bool."""
    return {dt.uint64: dt.int64, dt.bool_: dt.int32}.get(dtype) or wide(dtype)


class Emitter:
    """The nodes and constants written so far.

    Args:
        sizes: for each name of a symbolic size, the input and axis that has it.
        values: the names of the graph's values.
        write: writes a graph's nodes.
        around: of the graph in whose body this is.
    """

    def __init__(
        self,
        sizes: Mapping[str, tuple[str, int]],
        values: Mapping[Value, str],
        write: Callable[[Emitter, Graph], None],
        around: Emitter | None = None,
    ):
        self.values = values
        self.nodes: list[Any] = []
        self.constants: list[Any] = [] if around is None else around.constants
        self.scope = ""
        self._sizes, self._write = sizes, write
        self._names: dict[str, int] = dict.fromkeys(values.values(), 1) if around is None else around._names
        self._known: MutableMapping[Any, str] = {} if around is None else ChainMap({}, around._known)
        self._everywhere: MutableMapping[Any, str] = self._known if around is None else around._everywhere

    def inside(
        self, graph: Graph, names: Sequence[str], before: Callable[[Emitter], None] = lambda inner: None
    ) -> Emitter:
        """A body, written: a graph whose inputs have these names; ``before`` writes what comes first."""
        values = dict(zip(graph.inputs, names, strict=True))
        for node in graph.nodes:
            for value in node.outputs:
                values[value] = self.fresh(node.op.name)
        inner = Emitter(self._sizes, values, self._write, self)
        before(inner)
        self._write(inner, graph)
        return inner

    def several(self, op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> Sequence[str]:
        """Append a node whose outputs have these names."""
        from onnx import helper

        name = self.fresh(f"{self.scope}/{op}" if self.scope else op)
        self.nodes.append(helper.make_node(op, list(inputs), list(outputs), name=name, **attributes))
        return outputs

    def fresh(self, hint: str) -> str:
        """A name that is not in use: ``hint``, ``hint_1``, ..."""
        count = self._names.get(hint, 0)
        self._names[hint] = count + 1
        return self.fresh(f"{hint}_{count}") if count else hint

    def __call__(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Append a node with one output; returns the output's name."""
        from onnx import helper

        name = self.fresh(f"{self.scope}/{op}" if self.scope else op)
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    # --- constants ----------------------------------------------------------------------------------------------

    def array(self, array: np.ndarray[Any, Any], dtype: DType, hint: str) -> str:
        """A constant; equal ones are stored once."""
        key = ("array", dtype, array.shape, array.tobytes())
        known = self._everywhere
        if key not in known:
            known[key] = self.fresh(hint)
            self.constants.append(tensor_proto(known[key], dtype, array.shape, array.tobytes()))
        return known[key]

    def scalar(self, value: Any, dtype: DType) -> str:
        """A constant of rank 0."""
        import numpy as np

        with np.errstate(over="ignore"):
            array = np.asarray(value).astype(dtype.numpy)
        return self.array(array, dtype, f"{dtype.name}({value})")

    def integers(self, values: Sequence[int]) -> str:
        """A constant vector of int64."""
        import numpy as np

        return self.array(np.asarray(values, dtype=np.int64), dt.int64, f"[{','.join(map(str, values))}]")

    # --- casts --------------------------------------------------------------------------------------------------

    def cast(self, x: str, source: DType, target: DType) -> str:
        """``x`` of dtype ``source`` in ``target``."""
        return x if source is target else self("Cast", x, to=ELEMENT_TYPES[target])

    def through(self, middle: DType, dtype: DType, op: str, *inputs: str, **attributes: Any) -> str:
        """``op`` over inputs of ``dtype``, computed in ``middle``."""
        return self.cast(self(op, *(self.cast(x, dtype, middle) for x in inputs), **attributes), middle, dtype)

    # --- sizes --------------------------------------------------------------------------------------------------

    def size(self, size: Dim) -> str:
        """A size as int64[1]."""
        if not isinstance(size, SymDim):
            return self.integers([size])
        if size not in self._known:
            outer, self.scope = self.scope, "sizes"
            self._known[size] = self._computed(size)
            self.scope = outer
        return self._known[size]

    def _computed(self, size: SymDim) -> str:
        total = ""
        for names, coefficient in size.terms.items():
            product = "" if coefficient != 1 or not names else self._named(names[0])
            rest = names[1:] if product else names
            product = product or self.integers([coefficient])
            for name in rest:
                product = self("Mul", product, self._named(name))
            total = self("Add", total, product) if total else product
        return total

    def _named(self, name: str) -> str:
        key = ("named", name)
        if key not in self._known:
            if name not in self._sizes:
                raise FormatError(f"the size {name} is not the size of an axis of an input")
            source, axis = self._sizes[name]
            self._known[key] = self("Shape", source, start=axis, end=axis + 1)
        return self._known[key]

    def vector(self, sizes: Shape) -> str:
        """Sizes as a vector of int64."""
        if is_static(sizes):
            return self.integers(sizes)  # type: ignore[arg-type]
        if len(sizes) == 1:
            return self.size(sizes[0])
        key = ("vector", sizes)
        if key not in self._known:
            parts: list[str] = []
            numbers: list[int] = []
            for size in sizes:
                if isinstance(size, SymDim):
                    parts += [self.integers(numbers)] if numbers else []
                    parts.append(self.size(size))
                    numbers = []
                else:
                    numbers.append(size)
            parts += [self.integers(numbers)] if numbers else []
            outer, self.scope = self.scope, "sizes"
            self._known[key] = self("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]
            self.scope = outer
        return self._known[key]

    def number(self, size: Dim, dtype: DType) -> str:
        """A size as a tensor of rank 0."""
        if not isinstance(size, SymDim):
            return self.scalar(size, dtype)
        return self.cast(self("Squeeze", self.size(size)), dt.int64, dtype)


def value_info(name: str, type_: TensorType) -> Any:
    """A ValueInfoProto."""
    from onnx import helper

    sizes = [str(n) if isinstance(n, SymDim) else n for n in type_.shape]
    return helper.make_tensor_value_info(name, ELEMENT_TYPES[type_.dtype], sizes)


def tensor_proto(name: str, dtype: DType, shape: Sequence[int], data: bytes) -> Any:
    """A TensorProto with raw little-endian data."""
    from onnx import TensorProto

    return TensorProto(name=name, data_type=ELEMENT_TYPES[dtype], dims=list(shape), raw_data=data)
