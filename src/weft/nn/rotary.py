"""Positions as angles."""

from __future__ import annotations

from ..core.errors import ArgumentError, ShapeError
from ..ops.creation import arange
from ..ops.elementwise import add
from ..ops.operands import require_tensors
from ..ops.precision import working
from ..ops.rotary import apply_rotary_embedding, rotary_angles
from ..ops.shape import expand_dims
from ..tensor.tensor import Tensor
from .module import Module
from .parameter import check_sizes


class RotaryEmbedding(Module):
    """``(..., length, size) -> same``: turns pairs of queries' or keys' features by angles of their position.

    PyTorch has none; the name and arguments are flash-attn's and ONNX's. torchtune's ``RotaryPositionalEmbeddings`` is
    ``interleaved=True`` over ``(N, length, heads, size)``, of which ``swapaxes(1, 2)`` is wanted here. There are no
    parameters and no tables: nothing limits the positions, and nothing is in the state dict.

    Args:
        dim: how many of the features are turned, the first ones; even.
        base: pair i is turned by ``position * base ** (-2 i / dim)``.
        interleaved: False: feature i is paired with ``i + dim / 2`` (GPT-NeoX, Llama in transformers); True: features
            ``2i`` and ``2i + 1`` are (RoFormer, GPT-J, torchtune).
        scale: positions are multiplied by it: ``1 / 4`` stretches a model to four times its length (linear scaling).

    Raises:
        ArgumentError: ``dim`` is odd, or ``base`` is not above 0.

    Reference:
        Su et al., RoFormer: Enhanced Transformer with Rotary Position Embedding, 2021; Chen et al., Extending Context
        Window of Large Language Models via Positional Interpolation, 2023 (``scale``).

    Example:
        >>> turn = wf.nn.RotaryEmbedding(8)
        >>> turn(wf.ones((1, 2, 5, 8)), position=3).shape
        (1, 2, 5, 8)
    """

    def __init__(self, dim: int, base: float = 10000.0, interleaved: bool = False, *, scale: float = 1.0) -> None:
        super().__init__()
        check_sizes("RotaryEmbedding", dim=dim)
        if dim % 2 or not base > 0:
            raise ArgumentError(f"RotaryEmbedding: dim is {dim}, base {base}: dim must be even, base above 0")
        self.dim, self.base, self.interleaved, self.scale = dim, base, interleaved, scale

    def forward(self, x: Tensor, position: Tensor | int = 0) -> Tensor:
        """``(..., length, size) -> same``.

        Args:
            x: queries or keys, ``(..., heads, length, size)``.
            position: of the first row, an int or an integer tensor of rank 0 (a cache's ``position``): the others
                follow. Or of each row: ``(length,)``, or ``(N, length)`` for ``x`` ``(N, heads, length, size)``.

        Raises:
            ShapeError: ``x`` has fewer features than ``dim``, or the positions do not fit.
        """
        require_tensors("RotaryEmbedding", x)
        if x.ndim < 2:
            raise ShapeError(f"RotaryEmbedding: x {x.shape} must be (..., length, size)")
        if not isinstance(position, Tensor) or not position.ndim:
            places = add(arange(x.shape[-2], device=x.device), position)
        elif position.ndim == 1:
            places = position
        else:
            if position.ndim != 2 or x.ndim < 4:
                raise ShapeError(
                    f"RotaryEmbedding: positions {position.shape} for x {x.shape}: wants (length,), or (N, length) for "
                    "x (N, heads, length, size)"
                )
            places = expand_dims(position, axis=1)
        cos, sin = rotary_angles(places, self.dim, float(self.base), float(self.scale), working(x.dtype))
        return apply_rotary_embedding(x, cos, sin, self.interleaved)

    def extra_repr(self) -> str:
        """The sizes and the convention."""
        scale = "" if self.scale == 1.0 else f", scale={self.scale}"
        return f"{self.dim}, base={self.base}, interleaved={self.interleaved}{scale}"
