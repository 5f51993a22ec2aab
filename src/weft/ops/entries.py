"""From an entry of a table to an elementwise op: the strict primitive and the public function.

An entry is the op in one place: its name, the dtypes it takes, what it computes at one point (a scalar expression),
its gradient, its meaning and its cost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..compiler.expr import Expr, call
from ..core.dtypes import DType
from ..core.errors import DTypeError, ShapeError
from ..core.symbolic import SymDim
from ..graph.protocol import Map, Primitive, TensorType
from .op import Array, Composite, apply
from .operands import Domain, binary_operands, unary_operand
from .precision import in_float32

if TYPE_CHECKING:
    from ..tensor.tensor import Tensor


def elementwise_type(name: str, result: DType | None = None) -> Callable[..., TensorType]:
    """The strict rule: operands of one shape and dtype; the result has them too, or dtype ``result``."""

    def infer(params: dict[str, Any], first: TensorType, *others: TensorType) -> TensorType:
        for other in others:
            if other.shape != first.shape:
                raise ShapeError(f"{name}: operands of shapes {first.shape} and {other.shape}")
            if other.dtype is not first.dtype:
                raise DTypeError(f"{name}: operands of dtypes {first.dtype.name} and {other.dtype.name}")
        return TensorType(result or first.dtype, first.shape)

    return infer


def vector_math(name: str) -> Callable[..., Expr]:
    """The expression of ``weft.compiler.vmath`` called ``name``; imported when a kernel is first made."""

    def expr(*arguments: Expr) -> Expr:
        from ..compiler import vmath

        return call(name, (vmath.UNARY if len(arguments) == 1 else vmath.BINARY)[name], *arguments)

    return expr


def primitive_of(
    name: str,
    kinds: tuple[str, ...],
    expr: Callable[..., Expr],
    vjp: Callable[..., tuple[Any, ...]] | None,
    cost: int,
    result: DType | None,
    widen: bool = True,
) -> Primitive:
    """The strict primitive of ``expr(*arguments)`` and ``vjp(*inputs, output, g)``; ``widen``: by way of float32."""

    def with_params(params: dict[str, Any], *arguments: Expr) -> Expr:
        return expr(*arguments)

    def rule(params: dict[str, Any], inputs: tuple[Array, ...], output: Array, g: Array) -> tuple[Any, ...]:
        assert vjp is not None
        return vjp(*inputs, output, g)

    lower = Map(in_float32(with_params) if widen else with_params, cost)
    return Primitive(name, elementwise_type(name, result), lower, rule if vjp else None, kinds=kinds)


def _public(
    function: Callable[..., Array],
    primitive: Primitive,
    summary: str,
    arguments: str,
    domain: Domain,
    result: DType | None,
    example: tuple[str, str],
) -> Elementwise:
    """The composite with its name and docstring; ``example`` is a call and what it prints."""
    shape = "any shape" if arguments == "x" else "shapes that broadcast; either may be a Python number"
    function.__doc__ = _DOC.format(
        summary=summary,
        arguments=arguments,
        shape=shape,
        domain=domain.text,
        dtype=f"dtype {result.name}" if result else "that dtype",
        call=example[0],
        printed=example[1].replace("\n", "\n        "),
    )
    function.__name__ = function.__qualname__ = primitive.name
    function.__module__ = "weft.ops.elementwise"  # where the entry stands: for help() and doctest
    return Elementwise(function, primitive.name, primitive=primitive)


_DOC = """{summary}

    Args:
        {arguments}: {shape}; {domain}.

    Returns:
        A tensor of {dtype}.

    Example:
        >>> import weft as wf
        >>> {call}
        {printed}
    """


if TYPE_CHECKING:

    class Elementwise(Composite):
        """What an entry makes, to type checkers: a Composite that takes tensors and numbers and gives a tensor."""

        def __call__(self, *operands: Array | float | SymDim) -> Tensor: ...

else:
    Elementwise = Composite


def unary(
    name: str,
    domain: Domain,
    expr: Callable[[Expr], Expr],
    vjp: Callable[..., Any] | None,
    summary: str,
    example: tuple[str, str],
    *,
    cost: int = 1,
    result: DType | None = None,
    widen: bool = True,
    integers_stay: bool = False,
) -> Elementwise:
    """A function of one operand. ``vjp(x, output, g)`` gives the cotangent, or None for zero; ``vjp=None``: the op
    has no gradient. ``integers_stay``: it is the identity on integers."""
    wrapped = (lambda x, y, g: (vjp(x, y, g),)) if vjp else None
    kinds = ("float",) if integers_stay else domain.kinds
    primitive = primitive_of(name, kinds, expr, wrapped, cost, result, widen)

    def function(x: Array, /) -> Array:
        x = unary_operand(name, x, domain)
        return x if integers_stay and x.dtype.is_integer else apply(primitive, x)

    return _public(function, primitive, summary, "x", domain, result, example)


def binary(
    name: str,
    domain: Domain,
    expr: Callable[[Expr, Expr], Expr],
    vjp: Callable[..., Any] | None,
    summary: str,
    example: tuple[str, str],
    *,
    cost: int = 1,
    result: DType | None = None,
    widen: bool = True,
) -> Elementwise:
    """A function of two operands; ``vjp(x1, x2, output, g)`` gives both cotangents."""
    primitive = primitive_of(name, domain.kinds, expr, vjp, cost, result, widen)

    def function(x1: Array | float, x2: Array | float, /) -> Array:
        return apply(primitive, *binary_operands(name, x1, x2, domain))

    return _public(function, primitive, summary, "x1, x2", domain, result, example)
