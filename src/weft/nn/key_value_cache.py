"""The keys and values of the positions so far, for models that decode one token after the other."""

from __future__ import annotations

from typing import Any

from ..core.errors import AutogradError, IndexError_, ShapeError
from ..ops.creation import arange, zeros
from ..ops.op import state
from ..ops.operands import require_tensors
from ..ops.shape import expand_dims, reshape
from ..tensor.tape import no_grad
from ..tensor.tensor import Tensor
from .module import Module
from .parameter import check_sizes


class KVCache(Module):
    """Room for the keys and values of ``length`` positions, filled from the front.

    ``keys`` and ``values`` ``(batch, heads, length, head_dim)`` and ``position``, of rank 0 and int64, the number of
    positions so far, are buffers that are in no state dict. Each ``update`` writes them in place.

    All of it has fixed shapes: the whole room is attended to, under a mask, so that a compiled step is captured once
    and serves all positions. (PyTorch has no such module; torchtune's and the static cache of transformers are alike.)

    Args:
        batch, heads, length, head_dim: the sizes; ``heads`` are the keys', which may be fewer than the queries'.
        dtype: of what is kept; None is float32.

    Example:
        >>> cache = wf.nn.KVCache(1, 2, 8, 4)
        >>> keys, values, mask = cache.update(wf.ones((1, 2, 3, 4)), wf.ones((1, 2, 3, 4)))
        >>> keys.shape, mask.shape, cache.position.item()
        ((1, 2, 8, 4), (3, 8), 3)
        >>> q = wf.ones((1, 2, 3, 4))
        >>> wf.nn.functional.scaled_dot_product_attention(q, keys, values, attn_mask=mask).shape
        (1, 2, 3, 4)
    """

    keys: Tensor
    values: Tensor
    position: Tensor

    def __init__(
        self, batch: int, heads: int, length: int, head_dim: int, dtype: Any = None, *, device: Any = None
    ) -> None:
        super().__init__()
        check_sizes("KVCache", batch=batch, heads=heads, length=length, head_dim=head_dim)
        self.batch, self.heads, self.length, self.head_dim = batch, heads, length, head_dim
        for name in ("keys", "values"):
            room = zeros((batch, heads, length, head_dim), dtype=dtype, device=device)
            self.register_buffer(name, room, persistent=False)
        self.register_buffer("position", zeros((), dtype="int64", device=device), persistent=False)

    def update(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Write the keys and values of new positions behind those that are there.

        Args:
            k, v: ``(batch, heads, n, head_dim)``, n new positions; they are cast to the cache's dtype.

        Returns:
            The keys and values ``(batch, heads, length, head_dim)``, which are the buffers, and a mask ``(n, length)``
            for ``F.scaled_dot_product_attention``: True where a new position sees a position, which is itself and what
            was before it.

        Raises:
            ShapeError: the sizes are not those of the cache.
            IndexError: there is no room; nothing is written.
            AutogradError: gradients are recorded, which do not go through a cache.
        """
        self._check(k, v)
        count = k.shape[2]
        self._check_room(count)
        with no_grad():
            places = self.position + arange(count, device=self.position.device)
            mask = expand_dims(places, axis=1) >= arange(self.length, device=self.position.device)
            # An index for each axis before the features: rows are written where they lie. Of keys[:, :, places] the
            # whole room would be turned, copied, written and turned back.
            rows = (self._grid(self.batch, 2), self._grid(self.heads, 1), places)
            self.keys[rows] = k
            self.values[rows] = v
            self.position.add_(count)
        return self.keys, self.values, mask

    def reset(self) -> None:
        """Forget all positions. What was there becomes zeros: a NaN would get through any mask."""
        with no_grad():
            for buffer in (self.keys, self.values, self.position):
                buffer.zero_()

    def forward(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """:meth:`update`."""
        return self.update(k, v)

    def _grid(self, size: int, behind: int) -> Tensor:
        """0, 1, ... along an axis that has so many others behind it."""
        return reshape(arange(size, device=self.position.device), (size, *(1,) * behind))

    def _check(self, k: Tensor, v: Tensor) -> None:
        require_tensors("KVCache.update", k, v)
        for name, x in (("k", k), ("v", v)):
            if x.ndim != 4 or x.shape != (self.batch, self.heads, k.shape[2], self.head_dim):
                wanted = f"({self.batch}, {self.heads}, n, {self.head_dim})"
                raise ShapeError(f"KVCache.update: k {k.shape}, v {v.shape}: {name} must be {wanted}, of one n")
            if x.requires_grad:
                raise AutogradError(
                    f"KVCache.update: {name} requires grad, and no gradient goes through a cache: decode under "
                    "wf.no_grad(), or pass k.detach()"
                )

    def _check_room(self, count: int) -> None:
        """Raise unless there is room. Captured code does not know: there the kernel that writes finds the index that is
        out of range, with the room's size, and the run has changed nothing."""
        if state.trace is None and int(self.position) + count > self.length:
            raise IndexError_(
                f"KVCache.update: no room for {count} more positions behind {int(self.position)} in a cache of length "
                f"{self.length}; make it longer, or reset() it"
            )

    def extra_repr(self) -> str:
        """The sizes."""
        return f"{self.batch}, {self.heads}, {self.length}, {self.head_dim}, dtype={self.keys.dtype.name}"
