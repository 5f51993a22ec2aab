"""A loaded model: a graph with its parameters as a function on tensors, compiled for the sizes that it is given."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from ...core.errors import DTypeError, FormatError, ShapeError
from ...core.shapes import Dim, SymDim, substitute
from ...graph.ir import Graph, Node, Value, checked, make_node, rewrite, subgraphs
from ...graph.protocol import TensorType
from ...tensor.calls import GraphCall
from ...tensor.create import asarray
from ...tensor.tensor import Tensor
from ...transforms.tree import Form, flatten, plain, unflatten
from .limits import check_extent

_KEPT = 256  # sizes for which the compiled graph is kept


@checked
def specialise(graph: Graph, sizes: Mapping[str, int]) -> Graph:
    """The graph with symbolic sizes replaced by numbers.

    Raises:
        ShapeError: the graph does not hold for these sizes.
    """
    inputs = {v: Value(TensorType(v.dtype, substitute(v.shape, sizes))) for v in graph.inputs}

    def rule(node: Node) -> Node:
        params = {k: substitute(v, sizes) for k, v in node.params.items()}
        params.update({k: specialise(inner, sizes) for k, inner in subgraphs(node).items()})
        made = make_node(node.op, node.inputs, params, node.where, node.scope)
        for old, new in zip(node.outputs, made.outputs, strict=True):
            expected: tuple[Dim, ...] = substitute(old.shape, sizes)
            if new.shape != expected or any(not isinstance(n, SymDim) and n < 0 for n in expected):
                raise ShapeError(f"{graph.name}: {node.op} does not hold for the sizes {dict(sizes)}")
            try:
                check_extent(expected, new.dtype.itemsize)
            except FormatError as error:
                raise ShapeError(f"{graph.name}: {node.op} for the sizes {dict(sizes)}: {error.message}") from None
        return made

    return rewrite(graph, rule, inputs)


def _solution(size: SymDim, number: int) -> tuple[str, int] | None:
    """The name in ``coefficient * name + constant``, and what makes it ``number``; None where it has another form."""
    terms = dict(size.terms)
    rest = number - terms.pop((), 0)
    if len(terms) != 1:
        return None
    (((*names,), coefficient),) = terms.items()
    if len(names) != 1 or rest % coefficient or rest // coefficient < 0:
        return None
    return names[0], rest // coefficient


class Loaded:
    """What :func:`weft.load` returns: call it like the function or module that was saved.

    Args:
        graph: its inputs are the arguments, then the parameters; sizes may be symbolic.
        inputs, outputs: names.
        parameters: tensors by name, in the order of the graph's inputs.
        forms: of the tuple of arguments and of the result.
    """

    def __init__(
        self,
        graph: Graph,
        inputs: Sequence[str],
        outputs: Sequence[str],
        parameters: Mapping[str, Tensor],
        forms: tuple[Form, Form],
    ):
        self.graph = graph
        self.inputs = {name: v.type for name, v in zip(inputs, graph.inputs, strict=False)}
        self.outputs = {name: v.type for name, v in zip(outputs, graph.outputs, strict=True)}
        self.parameters = dict(parameters)
        self._arguments, self._result = forms
        self._calls: OrderedDict[tuple[int, ...], GraphCall] = OrderedDict()
        names = {
            name
            for type_ in self.inputs.values()
            for n in type_.shape
            if isinstance(n, SymDim)
            for term in n.terms
            for name in term
        }
        self._names = tuple(sorted(names))

    def __call__(self, *args: Any) -> Any:
        """The result for these arguments: tensors, arrays or nested numbers.

        Raises:
            ShapeError, DTypeError: the arguments are not of the types in ``inputs``.
        """
        return unflatten(self._result, self.call_on(self._tensors(args)))

    def call_on(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The results, in order, for the tensors that stand for the inputs, in order."""
        return self.call_for(self._sizes(tensors))([*tensors, *self.parameters.values()])

    def call_for(self, sizes: Mapping[str, int]) -> GraphCall:
        """The graph for these sizes, as a call over the arguments and the parameters."""
        key = tuple(sizes[name] for name in self._names)
        if key not in self._calls:
            self._calls[key] = GraphCall(specialise(self.graph, sizes))
            if len(self._calls) > _KEPT:
                self._calls.popitem(last=False)
        self._calls.move_to_end(key)
        return self._calls[key]

    def _tensors(self, args: tuple[Any, ...]) -> list[Tensor]:
        leaves, form = flatten(args)
        form = plain(form)  # as it is in the file
        if form != self._arguments:
            if self._arguments != ("tuple", tuple, (("leaf",),) * len(self.inputs)):
                raise ShapeError(f"{self}: the arguments are not nested as they were when it was saved")
            if len(args) != len(self.inputs):
                raise ShapeError(f"{self}: {len(args)} arguments")
            leaves = list(args)  # nested numbers, each standing for a tensor
        tensors = []
        for leaf, type_ in zip(leaves, self.inputs.values(), strict=True):
            tensors.append(asarray(leaf) if hasattr(leaf, "dtype") else asarray(leaf, dtype=type_.dtype))
        return tensors

    def _sizes(self, tensors: Sequence[Tensor]) -> dict[str, int]:
        """The numbers that the symbolic sizes stand for in this call."""
        sizes: dict[str, int] = {}
        equations: list[tuple[SymDim, int]] = []
        for tensor, (name, type_) in zip(tensors, self.inputs.items(), strict=True):
            if tensor.dtype is not type_.dtype:
                raise DTypeError(f"{self}: {name} is {tensor.dtype.name}")
            fits = len(tensor.shape) == len(type_.shape)
            for got, wanted in zip(tensor.shape, type_.shape, strict=False):
                if not isinstance(wanted, SymDim):
                    fits = fits and got == wanted
                elif str(wanted) in self._names:
                    fits = fits and got == sizes.setdefault(str(wanted), got)
                else:
                    equations.append((wanted, got))
            if not fits:
                known = f" with {sizes}" if sizes else ""
                raise ShapeError(f"{self}: {name} has shape {tuple(tensor.shape)}{known}")
        self._solve(equations, sizes)
        return sizes

    def _solve(self, equations: list[tuple[SymDim, int]], sizes: dict[str, int]) -> None:
        """Find what the sizes of axes that are expressions, such as ``2*n + 1``, leave of the names, and check them."""
        waiting = equations
        while waiting:
            left = []
            for wanted, got in waiting:
                value = wanted.substitute(sizes)
                if isinstance(value, SymDim):
                    found = _solution(value, got)
                    if found is None:
                        left.append((wanted, got))
                    else:
                        sizes[found[0]] = found[1]
                elif value != got:
                    raise ShapeError(f"{self}: an axis of size {got} where {wanted} is {value} with {sizes}")
            if len(left) == len(waiting):
                raise ShapeError(f"{self}: what {left[0][0]} = {left[0][1]} says of each size is not known")
            waiting = left

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}: {type_}" for name, type_ in self.inputs.items())
        outside = ", ".join(f"{name}: {type_}" for name, type_ in self.outputs.items())
        return f"<weft model {self.graph.name}({inside}) -> {outside}>"
