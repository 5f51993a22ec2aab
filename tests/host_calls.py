"""Ops that Python code computes, for tests: what is in them is said by the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from weft.core import dtypes as dt
from weft.graph.protocol import Host, Primitive, TensorType
from weft.ops.op import Composite, all_composites, apply

Call = Callable[[dict[str, Any], Any, Any], None]


def host_op(
    call: Call,
    infer: Callable[..., Any] = lambda params, *types: types[0],
    vjp: Callable[..., Any] | None = None,
    name: str = "host",
) -> Any:
    """A public function that ``call`` computes."""
    op = Primitive(name, infer, Host(call), vjp)
    made = Composite(lambda *arrays: apply(op, *arrays), name)
    all_composites().remove(made)  # not of the package
    return made


def _double(params: Any, operands: Any, results: Any) -> None:
    results[0][...] = operands[0] * 2


def _sum_and_difference(params: Any, operands: Any, results: Any) -> None:
    results[0][...], results[1][...] = operands[0] + operands[1], operands[0] - operands[1]


def _positions(params: Any, operands: Any, results: Any) -> None:
    results[0][...] = np.argsort(operands[0], axis=-1, kind="stable")


double = host_op(_double, vjp=lambda params, inputs, output, g: (g * 2,), name="double")
sum_and_difference = host_op(
    _sum_and_difference,
    lambda params, x, y: (x, x),
    lambda params, inputs, outputs, g: (
        (g[0] if g[1] is None else g[1] if g[0] is None else g[0] + g[1]),
        (g[0] if g[1] is None else -g[1] if g[0] is None else g[0] - g[1]),
    ),
    "sum_and_difference",
)
positions = host_op(_positions, lambda params, x: TensorType(dt.int64, x.shape), name="positions")
