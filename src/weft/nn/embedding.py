"""The look-up table: numbers become rows, and bags of numbers sums of rows."""

from __future__ import annotations

from typing import Any

from ..core.errors import ArgumentError
from ..ops.embedding import embedding, embedding_bag
from ..tensor.tensor import Tensor
from . import init
from .module import Module
from .parameter import Parameter, blank, check_sizes


class _Table(Module):
    """What a look-up table and one of bags have in common: their rows, which of them is padding, and the options."""

    weight: Parameter

    def _set_options(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None,
        max_norm: float | None,
        norm_type: float,
        scale_grad_by_freq: bool,
        sparse: bool,
    ) -> None:
        check_sizes(name, num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ArgumentError(f"{name}: padding_idx {padding_idx} is out of range for {num_embeddings} embeddings")
        if sparse:
            raise ArgumentError(f"{name}: sparse gradients are not there: wants sparse=False")
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = padding_idx if padding_idx is None or padding_idx >= 0 else num_embeddings + padding_idx
        self.max_norm, self.norm_type, self.scale_grad_by_freq = max_norm, norm_type, scale_grad_by_freq
        self.sparse = sparse

    def _set_weight(self, name: str, given: Tensor | None, dtype: Any, device: Any) -> None:
        shape = self.num_embeddings, self.embedding_dim
        if given is None:
            self.weight = blank(shape, dtype, device)
            self.reset_parameters()
        elif given.shape != shape:
            raise ArgumentError(f"{name}: _weight {given.shape} must be {shape}")
        else:
            self.weight = Parameter(given)

    def reset_parameters(self) -> None:
        """Draw the table again."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            init.zero_row_(self.weight, self.padding_idx)


class Embedding(_Table):
    """``(*) of integers -> (*, embedding_dim)``: rows of a table of ``num_embeddings``.

    ``weight`` ``(num_embeddings, embedding_dim)`` is drawn from N(0, 1). The row ``padding_idx`` is zero at first and
    gets no gradient. An index out of range is an IndexError. The options are those of
    :func:`weft.nn.functional.embedding`.

    Example:
        >>> wf.nn.Embedding(10, 3)(wf.asarray([[1, 2], [3, 9]])).shape
        (2, 2, 3)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        options = padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse
        self._set_options("Embedding", num_embeddings, embedding_dim, *options)
        self._set_weight("Embedding", _weight, dtype, device)
        self.weight.requires_grad_(not _freeze)

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Embedding:
        """A layer with a table that is there already, ``(num_embeddings, embedding_dim)``; frozen unless told."""
        if embeddings.ndim != 2:
            raise ArgumentError(f"Embedding.from_pretrained: embeddings {embeddings.shape} must have rank 2")
        rows, columns = embeddings.shape
        return cls(
            rows, columns, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, embeddings, _freeze=freeze
        )

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*, embedding_dim)``."""
        options = (self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse)
        return embedding(input, self.weight, *options)

    def extra_repr(self) -> str:
        """The sizes and options."""
        parts = [f"{self.num_embeddings}, {self.embedding_dim}"]
        if self.padding_idx is not None:
            parts.append(f"padding_idx={self.padding_idx}")
        if self.max_norm is not None:
            parts.append(f"max_norm={self.max_norm}")
        if self.norm_type != 2:
            parts.append(f"norm_type={self.norm_type}")
        if self.scale_grad_by_freq:
            parts.append(f"scale_grad_by_freq={self.scale_grad_by_freq}")
        return ", ".join(parts)


class EmbeddingBag(_Table):
    """``(B, N) of integers -> (B, embedding_dim)``: the mean, the sum or the greatest elements of rows of a table.

    ``weight`` ``(num_embeddings, embedding_dim)`` is drawn from N(0, 1). The row ``padding_idx`` is zero at first, and
    left out of every bag. Bags of different lengths are given one after another, ``(N,)``, with the ``offsets`` at
    which they begin. The options are those of :func:`weft.nn.functional.embedding_bag`.

    Example:
        >>> wf.nn.EmbeddingBag(10, 3)(wf.asarray([1, 2, 4]), wf.asarray([0, 1])).shape
        (2, 3)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        options = padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse
        self._set_options("EmbeddingBag", num_embeddings, embedding_dim, *options)
        if mode not in ("sum", "mean", "max"):
            raise ArgumentError(f"EmbeddingBag: mode is {mode!r}; it must be 'sum', 'mean' or 'max'")
        self.mode, self.include_last_offset = mode, include_last_offset
        self._set_weight("EmbeddingBag", _weight, dtype, device)

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> EmbeddingBag:
        """A layer with a table that is there already, ``(num_embeddings, embedding_dim)``; frozen unless told."""
        if embeddings.ndim != 2:
            raise ArgumentError(f"EmbeddingBag.from_pretrained: embeddings {embeddings.shape} must have rank 2")
        rows, columns = embeddings.shape
        layer = cls(
            rows,
            columns,
            max_norm,
            norm_type,
            scale_grad_by_freq,
            mode,
            sparse,
            embeddings,
            include_last_offset,
            padding_idx,
        )
        layer.weight.requires_grad_(not freeze)
        return layer

    def forward(self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        """``(B, N) -> (B, embedding_dim)``, or ``(N,)`` with ``offsets`` ``(B,)``."""
        return embedding_bag(
            input,
            self.weight,
            offsets,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.mode,
            self.sparse,
            per_sample_weights,
            self.include_last_offset,
            self.padding_idx,
        )

    def extra_repr(self) -> str:
        """The sizes and options."""
        parts = [f"{self.num_embeddings}, {self.embedding_dim}"]
        if self.max_norm is not None:
            parts.append(f"max_norm={self.max_norm}")
        if self.norm_type != 2:
            parts.append(f"norm_type={self.norm_type}")
        if self.scale_grad_by_freq:
            parts.append(f"scale_grad_by_freq={self.scale_grad_by_freq}")
        parts.append(f"mode={self.mode!r}")
        if self.padding_idx is not None:
            parts.append(f"padding_idx={self.padding_idx}")
        return ", ".join(parts)
