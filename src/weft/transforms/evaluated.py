"""What values of a capture that is going on are for the arguments and the state of now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..core.errors import CaptureError
from ..graph.ir import Graph, Node, Value, eliminate_dead
from ..graph.specialise import specialise
from ..ops.op import suspended
from ..tensor import tape
from ..tensor.calls import GraphCall
from ..tensor.tensor import Tensor, is_traced

if TYPE_CHECKING:
    from .inside import Inside


class ForeignValue(CaptureError):
    """A traced tensor, or a number, of another capture."""


def state_of_now(going: Inside) -> list[tuple[Value, Tensor | None]]:
    """The inputs so far, and the tensors that they are now; None for one that is gone, or has no value."""
    given = [a.given for a in going.arguments]
    inputs: list[tuple[Value, Tensor | None]] = [(a.value, a.given) for a in going.arguments]
    inputs += [(value, ref.get(given)) for value, ref in zip(list(going.inputs), list(going.refs), strict=False)]
    return [(value, None if t is None or is_traced(t) else t) for value, t in inputs]


def computed(going: Inside, values: Sequence[Value], nodes: Sequence[Node] | None = None) -> dict[Value, Tensor]:
    """Those of the values that can be computed from the inputs by ``nodes``, those of the capture so far: not what
    bodies of branches and loops compute, nor what needs values of another capture."""
    inputs = [(value, tensor) for value, tensor in state_of_now(going) if tensor is not None]
    known, able = {value for value, _ in inputs}, []
    if nodes is None:
        body = going.body
        nodes = list(going.trace.nodes if body is None else body.outermost_nodes)
    for node in nodes:
        if known.issuperset(node.inputs):
            able.append(node)
            known.update(node.outputs)
    wanted = [value for value in dict.fromkeys(values) if value in known]
    if not wanted:
        return {}
    graph = eliminate_dead(Graph("now", [value for value, _ in inputs], able, wanted))
    if going.scope is not None:
        graph = specialise(graph, going.scope.examples)
    with suspended(), tape.no_grad():
        made = GraphCall(graph, going.trace.device)([tensor for _, tensor in inputs])
    return dict(zip(wanted, made, strict=True))
