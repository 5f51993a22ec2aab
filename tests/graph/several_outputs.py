"""Ops with several outputs, for tests: the package has none but host calls."""

from __future__ import annotations

from typing import Any

from weft.compiler.vmath import BINARY, UNARY
from weft.core import dtypes as dt
from weft.graph.protocol import Map, Outputs, Primitive, Reduction, TensorType
from weft.ops.op import Composite, all_composites, apply
from weft.ops.precision import in_float32


def _sincos_vjp(params: Any, inputs: Any, outputs: Any, cotangents: Any) -> tuple[Any]:
    (sine, cosine), (of_sine, of_cosine) = outputs, cotangents
    if of_sine is None:
        return (-(of_cosine * sine),)
    return (of_sine * cosine,) if of_cosine is None else (of_sine * cosine - of_cosine * sine,)


def _divmod_vjp(params: Any, inputs: Any, outputs: Any, cotangents: Any) -> tuple[Any, Any]:
    of_rest = cotangents[1]  # the quotient is constant between its jumps
    return (None, None) if of_rest is None else (of_rest, -(of_rest * outputs[0]))


def _most_type(params: dict[str, Any], x: TensorType) -> tuple[TensorType, TensorType]:
    shape = tuple(n for a, n in enumerate(x.shape) if a not in params["axes"])
    return TensorType(x.dtype, shape), TensorType(dt.int64, shape)


def _map(expr: Any) -> Map:
    return Map(in_float32(lambda params, *arguments: expr(*arguments)), 20)


SINCOS = Primitive("sincos", lambda params, x: (x, x), Outputs((_map(UNARY["sin"]), _map(UNARY["cos"]))), _sincos_vjp)
DIVMOD = Primitive(
    "divmod",
    lambda params, x, y: (x, x),
    Outputs((_map(BINARY["floor_divide"]), _map(BINARY["remainder"]))),
    _divmod_vjp,
)
MOST = Primitive("most", _most_type, Outputs((Reduction("max"), Reduction("argmax"))))
OPS = (SINCOS, DIVMOD, MOST)


def _public(op: Primitive, **params: Any) -> Composite:
    made = Composite(lambda *arrays: apply(op, *arrays, **params), op.name)
    all_composites().remove(made)  # not of the package
    return made


sincos, divmod_, most = _public(SINCOS), _public(DIVMOD), _public(MOST, axes=(1,))
