"""Control flow over values, as nodes: a branch and a loop over graphs. ``transforms/control.py`` makes them.

Their gradients follow the tape that was recorded in their graphs (``transforms/control.py``), so that the additions are
those of eager code. Where a loop is part of a public function's own graph (:func:`looped`), as of the recurrent
layers', or of a file's, its gradient is that of a node (``loop_gradient.py``).

The third op over a graph, a call (graph/called.py), is named here for those who look for ops in this folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..core import dtypes as dt
from ..core.errors import CompileError
from ..graph.called import CALL as CALL
from ..graph.ir import Graph, Value
from ..graph.protocol import Branch, Loop, Primitive, TensorType
from ..graph.simplify import simplify
from .loop_gradient import loop_vjp, no_gradient
from .op import Array, Trace, apply, hooks, state


def _branch_type(params: dict[str, Any], predicate: TensorType, *operands: TensorType) -> tuple[TensorType, ...]:
    true, false = params["true"], params["false"]
    if predicate != TensorType(dt.bool_, ()):
        raise CompileError(f"branch: the predicate is {predicate!r}")
    for graph in (true, false):
        if tuple(v.type for v in graph.inputs) != operands:
            raise CompileError("branch: a graph takes something else than the operands")
    found = tuple(v.type for v in true.outputs)
    if found != tuple(v.type for v in false.outputs):
        raise CompileError("branch: the graphs give different types")
    return found


def _loop_type(params: dict[str, Any], *operands: TensorType) -> tuple[TensorType, ...]:
    body, carries, sequences = params["body"], params["carries"], params["sequences"]
    scalars = [TensorType(dt.bool_, ())] * params["has_go"] + [TensorType(dt.int64, ())] * params["has_count"]
    if list(operands[: len(scalars)]) != scalars:
        raise CompileError("loop: what says how often it runs is of another type")
    given = list(operands[len(scalars) :])
    for at in range(carries, carries + sequences):
        if given[at].shape[0] != params["length"]:
            raise CompileError(f"loop: a sequence of {given[at].shape[0]} parts for {params['length']} iterations")
        given[at] = TensorType(given[at].dtype, given[at].shape[1:])
    if [v.type for v in body.inputs] != given:
        raise CompileError("loop: the body takes something else than the operands")
    made = [v.type for v in body.outputs]
    flags = [TensorType(dt.bool_, ())] * params["has_go"]
    if made[: len(flags) + carries] != [*flags, *given[:carries]]:
        raise CompileError("loop: the body gives other carries than it takes")
    results = [TensorType(t.dtype, (params["length"], *t.shape)) for t in made[len(flags) + carries :]]
    return (*given[:carries], *results, *[TensorType(dt.int64, ())] * params["gives_count"])


def _loop_gradient(params: dict[str, Any], inputs: Any, output: Any, cotangent: Any) -> tuple[Any, ...]:
    return loop_vjp(LOOP, params, inputs, output, cotangent)


BRANCH = Primitive("cond", _branch_type, Branch(), no_gradient)
LOOP = Primitive("loop", _loop_type, Loop(), _loop_gradient)


def looped(
    name: str,
    step: Callable[[Sequence[Array], Sequence[Array], Sequence[Array]], tuple[Sequence[Array], Sequence[Array]]],
    carries: Sequence[Array],
    sequences: Sequence[Array],
    closed: Sequence[Array],
    reverse: bool,
) -> tuple[list[Any], list[Any]]:
    """``carries, results = step(carries, parts, closed)`` for each part of the sequences along their first axis, within
    a trace: the last carries, and the results of all iterations.

    Args:
        step: is traced once. It closes over no array, and gives carries of the types that it takes. Its results are
            what a gradient finds: what is dear to compute, and not among them, is computed again for it.
        sequences: at least one; equally long.
        closed: what is the same in all iterations.
        reverse: from the last part to the first.
    """
    outer = state.trace
    assert outer is not None
    given = [*carries, *sequences, *closed]
    first, last = len(carries), len(carries) + len(sequences)
    shapes = [t.shape[1:] if first <= n < last else t.shape for n, t in enumerate(given)]
    inputs = [Value(TensorType(t.dtype, tuple(shape))) for t, shape in zip(given, shapes, strict=True)]
    trace = Trace(None, outer.where, outer.name, outer.device, outer.plans is not None)
    trace.scope = outer.scope
    state.trace = trace
    try:
        stand_ins = [hooks.wrap(v) for v in inputs]
        after, results = step(stand_ins[:first], stand_ins[first:last], stand_ins[last:])
        outputs = [hooks.value_of(t, trace) for t in (*after, *results)]
    finally:
        state.trace = outer
    made: Any = apply(
        LOOP,
        *given,
        body=simplify(Graph(name, inputs, trace.nodes, outputs)),
        carries=first,
        sequences=len(sequences),
        length=sequences[0].shape[0],
        reverse=reverse,
        has_go=False,
        has_count=False,
        gives_count=False,
        bounded=False,
    )
    made = list(made) if len(outputs) > 1 else [made]
    return made[:first], made[first:]
