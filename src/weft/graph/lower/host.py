"""Host calls: nodes that Python code computes, each a step of the program like the kernels around it.

A host call takes the place of a launch's kernel. It has no code and no slots: what it is called with, arrays over the
buffers of the step, is made at each run (runtime/native/host.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...runtime.program import HostError
from ..ir import Node, Value
from ..protocol import Host
from .launch import Launch
from .roots import Root


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class HostCall:
    """What stands where a launch has its kernel: the node that Python code computes."""

    node: Node

    def __repr__(self) -> str:
        takes, gives = (", ".join(str(v.type) for v in values) for values in (self.node.inputs, self.node.outputs))
        return f"HostCall {self.node.op}({takes}) -> {gives}"

    def function(self) -> Callable[..., None]:
        """``function(*buffers)``, the operands' and then the results', which hands arrays over them to the op."""
        import numpy as np

        node = self.node
        rule, params, count = node.op.lower, node.params, len(node.inputs)
        assert isinstance(rule, Host)
        call = rule.call
        values = (*node.inputs, *node.outputs)
        array: Any = np.ndarray
        shapes, dtypes = [v.shape for v in values], [v.dtype.numpy for v in values]

        def host(*buffers: Any) -> None:
            arrays = list(map(array, shapes, dtypes, buffers))  # in half the time of a comprehension
            try:
                call(params, arrays[:count], arrays[count:])
            except Exception as error:
                raise HostError(error, node.where) from None

        host.__name__, host.line = node.op.name, node.where  # type: ignore[attr-defined]
        return host


def lower_host(root: Root) -> Launch:
    """The launch of one host call: its operands are stored row-major, perhaps as a part of something larger."""
    node = root.node
    operands: list[tuple[Value, int]] = []
    for expr in root.exprs:
        value, layout = expr.value
        operands.append((value, layout.offset * value.dtype.itemsize))
    return Launch(
        HostCall(node),
        (),
        (*operands, *((v, 0) for v in node.outputs)),
        units=1,
        grain=1,
        reads=tuple(dict.fromkeys([v for v, _ in operands])),
        writes=node.outputs,
        in_place=(),
        nodes=(node,),
        checks=True,
    )
