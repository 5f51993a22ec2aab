"""Control flow: a branch or a loop is one step of the program, over steps of its own.

Its graphs are planned by the machinery that plans any graph, each as a graph by itself: rows of kernels, and an arena.
The arena of a body is a value that lives while the step runs, so it lies in the arena around it; so do the second
places of a loop's carries, which iterations read and write by turns (runtime/native/steps.py). What an iteration reads
of a sequence, or writes of a result, is found by its number. Nothing is copied, and nothing is allocated between
iterations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...core import dtypes as dt
from ...core.errors import DeviceError
from ...core.shapes import strides_of
from ...core.symbolic import greatest
from ...llvm.targets import Target, host_target
from ..ir import Graph, Node, Value
from ..loops import LONG
from ..protocol import Branch, Loop, TensorType
from .launch import Launch
from .roots import Root

if TYPE_CHECKING:
    from ..executable import Planned


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ControlCall:
    """What stands where a launch has its kernel: a branch or a loop, and the plans of its graphs."""

    node: Node
    plans: tuple[Planned, ...]

    @property
    def is_open(self) -> bool:
        """Whether it is a loop that a value alone ends."""
        return isinstance(self.node.op.lower, Loop) and self.node.params["length"] is None

    def __repr__(self) -> str:
        takes, gives = (", ".join(str(v.type) for v in values) for values in (self.node.inputs, self.node.outputs))
        inner = "\n  ".join("\n".join(map(repr, p.launches)).replace("\n", "\n  ") for p in self.plans)
        return f"ControlCall {self.node.op}({takes}) -> {gives}\n  {inner}"


def with_inner(launches: Iterable[Launch]) -> Iterator[Launch]:
    """Launches, in order, each branch or loop followed by those of its graphs."""
    for launch in launches:
        yield launch
        if isinstance(launch.kernel, ControlCall):
            for planned in launch.kernel.plans:
                yield from with_inner(planned.launches)


def lower_control(root: Root, target: Target, threads: int) -> Launch:
    """The launch of one branch or loop: its operands are stored row-major, perhaps as a part of something larger.

    Raises:
        DeviceError: it is to run on a GPU.
    """
    node = root.node
    if target.is_gpu:
        raise DeviceError(f"{node.op}: control flow over values runs on the CPU alone so far")
    if isinstance(node.op.lower, Branch):
        plans = tuple(_planned(node.params[name], target, threads) for name in ("true", "false"))
        times, spare = 1, []
    else:
        plans = (_planned(node.params["body"], target, threads),)
        length = node.params["length"]
        times = LONG if length is None else length
        spare = [Value(v.type) for v in node.outputs[: node.params["carries"]]]
        spare += [Value(TensorType(dt.bool_, ()))] if node.params["has_go"] else []
    arena = greatest(1, *(planned.plan.arena_nbytes for planned in plans))
    spare.append(Value(TensorType(dt.uint8, (arena,))))
    operands: list[tuple[Value, int]] = []
    for expr in root.exprs:
        value, layout = expr.value
        operands.append((value, layout.offset * value.dtype.itemsize))
    inner = [launch for planned in plans for launch in planned.launches]
    return Launch(
        ControlCall(node, plans),
        (),
        (*operands, *((v, 0) for v in (*node.outputs, *spare))),
        units=1,
        grain=1,
        reads=tuple(dict.fromkeys([v for v, _ in operands])),
        writes=(*node.outputs, *spare),
        in_place=(),
        nodes=(node,),
        flops=times * sum(launch.flops + 64 for launch in inner),
        checks=not isinstance(node.op.lower, Branch) or any(launch.checks for launch in inner),
    )


def _planned(graph: Graph, target: Target, threads: int) -> Any:
    from ..executable import plan_folded, plan_graph  # which plan what a graph of its own comes to

    strides = [strides_of(v.shape) for v in graph.inputs]
    if target.triple == host_target().triple:
        planned = plan_folded(graph, strides, (), target, threads)
    else:  # constants are computed by what can run here
        planned = plan_graph(graph, strides, (), target, threads)
    assert planned.results == list(range(len(graph.outputs)))
    return planned
