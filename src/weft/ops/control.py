"""Control flow over values, as nodes: a branch and a loop over graphs. ``transforms/control.py`` makes them.

Their gradients follow the tape that was recorded in their graphs (``transforms/control.py``), so that the additions are
those of eager code; a graph that is differentiated by itself, as one from a file, has none.

The third op over a graph, a call (graph/called.py), is named here for those who look for ops in this folder.
"""

from __future__ import annotations

from typing import Any, NoReturn

from ..core import dtypes as dt
from ..core.errors import AutogradError, CompileError
from ..graph.called import CALL as CALL
from ..graph.protocol import Branch, Loop, Primitive, TensorType


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


def _no_gradient(params: dict[str, Any], inputs: Any, output: Any, cotangent: Any) -> NoReturn:
    raise AutogradError(
        "a branch or a loop of a model from a file has no gradient: what it does in each iteration is known to the "
        "function that it was saved from"
    )


BRANCH = Primitive("cond", _branch_type, Branch(), _no_gradient)
LOOP = Primitive("loop", _loop_type, Loop(), _no_gradient)
