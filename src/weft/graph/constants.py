"""Tensors that hold one value everywhere, as nodes."""

from __future__ import annotations

from collections.abc import Collection

from .ir import Node, Value
from .protocol import Position, TensorType


def is_constant(node: Node) -> bool:
    """Whether the node fills a tensor with one value."""
    return isinstance(node.op.lower, Position) and node.op.lower.constant


def is_filled(value: Value, texts: Collection[str] = ("0.0",)) -> bool:
    """Whether a value is one number everywhere, and which: 0.0 is not -0.0."""
    return value.node is not None and is_constant(value.node) and str(value.node.params["value"]) in texts


def filled(constant: Node, type_: TensorType, value: object, like: Node) -> Node:
    """A node of a type that holds ``value`` everywhere, by the op of a constant; it is said to come from ``like``."""
    params = {**constant.params, "shape": type_.shape, "dtype": type_.dtype, "value": value}
    return Node(constant.op, (), params, (type_,), like.where, like.scope)
