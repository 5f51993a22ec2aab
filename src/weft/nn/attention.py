"""Attention with several heads, between projections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import ArgumentError, DTypeError, ShapeError
from ..core.symbolic import are_equal
from ..ops.attention import attended, attended_with_weights
from ..ops.creation import zeros
from ..ops.elementwise import logical_not
from ..ops.linear import linear
from ..ops.op import public
from ..ops.operands import require_tensors
from ..ops.pieces import concat, pad, split
from ..ops.reduction import mean
from ..ops.shape import broadcast_to, expand_dims, permute_dims, reshape, squeeze
from ..tensor.tensor import Tensor
from . import init
from .linear import Linear
from .module import Module
from .parameter import blank, check_sizes


class _Attending:
    """The computation, over what a module has as attributes, or a call of the function as arguments."""

    in_proj_weight: Any  # each a tensor or None
    q_proj_weight: Any
    k_proj_weight: Any
    v_proj_weight: Any
    in_proj_bias: Any
    bias_k: Any
    bias_v: Any
    embed_dim: int
    num_heads: int
    kdim: int
    vdim: int
    add_zero_attn: bool
    batch_first: bool
    head_dim: int

    @property
    def _last_projection(self) -> tuple[Tensor, Tensor | None]:
        raise NotImplementedError

    def _attended(
        self,
        given: tuple[Tensor, Tensor, Tensor],
        given_masks: tuple[Tensor | None, Tensor | None],
        dropout: float,
        need_weights: bool,
        average_attn_weights: bool,
        is_causal: bool,
        static: tuple[Tensor | None, Tensor | None] = (None, None),
    ) -> tuple[Tensor, Tensor | None]:
        """See ``forward`` of :class:`MultiheadAttention`. ``static``: keys and values that are projected and apart by
        heads, ``(N, num_heads, S, head_dim)``."""
        key_padding_mask, attn_mask = given_masks
        batched = self._check(*given, key_padding_mask, attn_mask)
        if is_causal and attn_mask is None:
            raise ArgumentError(
                "MultiheadAttention: is_causal says that attn_mask is causal, and there is none; "
                "nn.Transformer.generate_square_subsequent_mask makes one"
            )
        q, k, v = self._projected(*(self._rows(x, batched) for x in given))
        masks = self._masks(key_padding_mask, attn_mask, q.shape[0])
        added = (self.bias_k is not None) + self.add_zero_attn
        if added:
            k, v = self._with_added(k, self.bias_k), self._with_added(v, self.bias_v)
            masks = [_with_columns(mask, added) for mask in masks]
        shape = q.shape
        q, k, v = self._heads(q), self._heads(k), self._heads(v)
        k, v = (self._static(x, fixed) for x, fixed in zip((k, v), static, strict=True))
        weights: Tensor | None = None
        if need_weights:
            output, weights = attended_with_weights(q, k, v, masks, dropout)
            weights = mean(weights, axis=1) if average_attn_weights else weights
            weights = weights if batched else squeeze(weights, axis=0)
        else:
            hinted = is_causal and key_padding_mask is None and not added
            output = attended(q, k, v, () if hinted else masks, dropout, hinted)
        together = reshape(permute_dims(output, (0, 2, 1, 3)), shape)
        return self._as_given(linear(together, *self._last_projection), batched), weights

    def _check(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None, attn_mask: Tensor | None
    ) -> bool:
        """Whether there is a batch.

        Raises:
            ShapeError, DTypeError: what does not fit.
        """
        require_tensors("MultiheadAttention", query, key, value)
        require_tensors("MultiheadAttention", *(m for m in (key_padding_mask, attn_mask) if m is not None))

        def error(why: str) -> ShapeError:  # the text of a symbolic size would fix it
            return ShapeError(f"MultiheadAttention: query {query.shape}, key {key.shape}, value {value.shape}: {why}")

        rank = query.ndim
        if rank not in (2, 3) or key.ndim != rank or value.ndim != rank:
            axes = "(N, L, features)" if self.batch_first else "(L, N, features)"
            raise error(f"all three must be {axes}, or all three (L, features)")
        for name, x, size in (("query", query, self.embed_dim), ("key", key, self.kdim), ("value", value, self.vdim)):
            if not are_equal(x.shape[-1], size):
                raise error(f"{name} has {x.shape[-1]} features; the layer takes {size}")
        at = 0 if self.batch_first and rank == 3 else 1  # of the batch
        if any(not are_equal(n, m) for n, m in zip(key.shape[:-1], value.shape[:-1], strict=True)):
            raise error("key and value differ in positions or batch")
        if rank == 3 and not are_equal(query.shape[at], key.shape[at]):
            raise error(f"batches of {query.shape[at]} and {key.shape[at]}")
        batch = query.shape[at] if rank == 3 else 1
        length, positions = (x.shape[1 - at] if rank == 3 else x.shape[0] for x in (query, key))
        padding = (batch, positions) if rank == 3 else (positions,)
        if key_padding_mask is not None:
            _check_mask("key_padding_mask", key_padding_mask, [padding])
        if attn_mask is not None:
            _check_mask("attn_mask", attn_mask, [(length, positions), (batch * self.num_heads, length, positions)])
        return rank == 3

    def _rows(self, x: Tensor, batched: bool) -> Tensor:
        """``(N, L, features)`` of a sequence as it is given."""
        if not batched:
            return expand_dims(x, axis=0)
        return x if self.batch_first else permute_dims(x, (1, 0, 2))

    def _as_given(self, x: Tensor, batched: bool) -> Tensor:
        """What :meth:`_rows` undoes."""
        if not batched:
            return squeeze(x, axis=0)
        return x if self.batch_first else permute_dims(x, (1, 0, 2))

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
        """``(N, L, embed_dim)`` each. Always three products: one, where all three are one tensor, would have gradients
        of other bits, and captured code does not know of its arguments whether they are."""
        if self.in_proj_weight is not None:
            weights: Sequence[Any] = split(self.in_proj_weight, self.embed_dim, axis=0)
        else:
            weights = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        biases: Sequence[Any] = (None, None, None)
        if self.in_proj_bias is not None:
            biases = split(self.in_proj_bias, self.embed_dim, axis=0)
        return [linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)]

    def _with_added(self, x: Tensor, learned: Tensor | None) -> Tensor:
        """``(N, S, embed_dim)`` with the learned key or value, and the one of zeros, behind it."""
        parts, shape = [x], (x.shape[0], 1, x.shape[2])
        if learned is not None:
            parts.append(broadcast_to(learned, shape))
        if self.add_zero_attn:
            parts.append(zeros(shape, dtype=x.dtype, device=x.device))
        return concat(parts, axis=1)

    def _static(self, x: Tensor, fixed: Tensor | None) -> Tensor:
        """Keys or values that were given instead, with the one of zeros."""
        if fixed is None or not self.add_zero_attn:
            return x if fixed is None else fixed
        return concat(
            [fixed, zeros((*fixed.shape[:2], 1, fixed.shape[3]), dtype=fixed.dtype, device=fixed.device)], axis=2
        )

    def _heads(self, x: Tensor) -> Tensor:
        """``(N, L, embed_dim)`` as ``(N, num_heads, L, head_dim)``."""
        apart = reshape(x, (x.shape[0], x.shape[1], self.num_heads, self.head_dim))
        return permute_dims(apart, (0, 2, 1, 3))

    def _masks(self, key_padding_mask: Tensor | None, attn_mask: Tensor | None, batch: Any) -> list[Tensor]:
        """The masks as :func:`scaled_dot_product_attention` takes them, of rank 4."""
        found = []
        if attn_mask is not None:
            rows = attn_mask.shape[-2:]
            shape = (1, 1, *rows) if attn_mask.ndim == 2 else (batch, self.num_heads, *rows)
            found.append(reshape(attn_mask, shape))
        if key_padding_mask is not None:
            found.append(reshape(key_padding_mask, (batch, 1, 1, key_padding_mask.shape[-1])))
        return [mask if mask.dtype.is_floating else logical_not(mask) for mask in found]


class MultiheadAttention(Module, _Attending):
    """Attention of ``num_heads`` heads: queries, keys and values are projected, attended, and projected again.

    Sequences are ``(L, N, features)``, with ``batch_first`` ``(N, L, features)``, without a batch ``(L, features)``.
    Each head has ``embed_dim / num_heads`` features.

    ``in_proj_weight`` ``(3 * embed_dim, embed_dim)`` projects queries, keys and values, in this order. Where ``kdim``
    or ``vdim`` is another size, ``q_proj_weight``, ``k_proj_weight`` ``(embed_dim, kdim)`` and
    ``v_proj_weight`` ``(embed_dim, vdim)`` do. They begin as ``xavier_uniform_``, biases as zeros.

    Args:
        embed_dim: features of queries and of the result.
        num_heads: divides ``embed_dim``.
        dropout: probability with which, in training, a weight is zero.
        bias: add a bias to the projections.
        add_bias_kv: add one learned key and value, ``bias_k`` and ``bias_v``, to each sequence.
        add_zero_attn: add one key and value of zeros.
        kdim, vdim: features of keys and of values; None is ``embed_dim``.
        batch_first: the first axis of sequences is the batch.

    Raises:
        ArgumentError: ``num_heads`` does not divide ``embed_dim``, or one of them is 0.

    Reference:
        Vaswani et al., Attention Is All You Need, 2017.

    Example:
        >>> x = wf.zeros((5, 2, 8))
        >>> output, weights = wf.nn.MultiheadAttention(8, 2)(x, x, x)
        >>> output.shape, weights.shape
        ((5, 2, 8), (2, 5, 5))
    """

    out_proj: Linear

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        *,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.embed_dim, self.num_heads = embed_dim, num_heads
        self.kdim, self.vdim = (embed_dim if size is None else size for size in (kdim, vdim))
        check_sizes("MultiheadAttention", embed_dim=embed_dim, num_heads=num_heads, kdim=self.kdim, vdim=self.vdim)
        if not embed_dim or not num_heads or embed_dim % num_heads:
            raise ArgumentError(
                f"MultiheadAttention: embed_dim {embed_dim}, num_heads {num_heads}: both must be above 0, and the "
                "heads divide the features"
            )
        if not 0.0 <= dropout <= 1.0:
            raise ArgumentError(f"MultiheadAttention: dropout is {dropout}; it must be in [0, 1]")
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        self.dropout, self.batch_first, self.add_zero_attn = dropout, batch_first, add_zero_attn
        self.head_dim = embed_dim // num_heads
        apart = not self._qkv_same_embed_dim
        shapes: dict[str, tuple[tuple[int, ...], bool]] = {
            "q_proj_weight": ((embed_dim, embed_dim), apart),
            "k_proj_weight": ((embed_dim, self.kdim), apart),
            "v_proj_weight": ((embed_dim, self.vdim), apart),
            "in_proj_weight": ((3 * embed_dim, embed_dim), not apart),
            "in_proj_bias": ((3 * embed_dim,), bias),
            "bias_k": ((1, 1, embed_dim), add_bias_kv),
            "bias_v": ((1, 1, embed_dim), add_bias_kv),
        }
        for name, (shape, present) in shapes.items():
            self.register_parameter(name, blank(shape, dtype, device) if present else None)
        self.out_proj = Linear(embed_dim, embed_dim, bias, device=device, dtype=dtype)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        """Draw the projections of the operands again; all biases become zeros."""
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None and self.out_proj.bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        for added in (self.bias_k, self.bias_v):
            if added is not None:
                init.xavier_normal_(added)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend.

        Args:
            query: ``(L, N, embed_dim)``, ``(N, L, embed_dim)`` with ``batch_first``, or ``(L, embed_dim)``.
            key: likewise, of S positions and ``kdim`` features.
            value: likewise, of S positions and ``vdim`` features.
            key_padding_mask: ``(N, S)`` or ``(S,)``: bool, True for keys that nobody sees, or floating, added to the
                scores.
            need_weights: return the weights too, which costs their memory.
            attn_mask: ``(L, S)`` or ``(N * num_heads, L, S)``: bool, True where a query does *not* see a key (the
                opposite of ``F.scaled_dot_product_attention``), or floating, added to the scores.
            average_attn_weights: the mean of the heads' weights, not each head's.
            is_causal: a hint that ``attn_mask``, which must be there, is the causal mask.

        Returns:
            The output, of query's shape, and the weights ``(N, L, S)``, ``(N, num_heads, L, S)`` where they are not
            averaged, or None. (``bias_k`` and zeros are further keys: S is one or two more.) A query that sees no key
            gets zeros from the heads, or NaN with ``need_weights``, as in PyTorch.

        Raises:
            ShapeError: the sizes do not fit.
            DTypeError: a mask is of integers.
            ArgumentError: ``is_causal`` without ``attn_mask``.
        """
        masks = key_padding_mask, attn_mask
        dropout = self.dropout if self.training else 0.0
        return self._attended((query, key, value), masks, dropout, need_weights, average_attn_weights, is_causal)

    @property
    def _last_projection(self) -> tuple[Tensor, Tensor | None]:
        return self.out_proj.weight, self.out_proj.bias


def _check_mask(name: str, mask: Tensor, shapes: Sequence[tuple[Any, ...]]) -> None:
    if not mask.dtype.is_floating and mask.dtype.kind != "bool":
        raise DTypeError(f"MultiheadAttention: {name} is {mask.dtype.name}; it must be bool or floating")
    for shape in shapes:
        if mask.ndim == len(shape) and all(are_equal(n, m) for n, m in zip(mask.shape, shape, strict=True)):
            return
    wanted = " or ".join(str(shape) for shape in shapes)
    raise ShapeError(f"MultiheadAttention: {name} {mask.shape} must be {wanted}")


def _with_columns(mask: Tensor, count: int) -> Tensor:
    """A mask with keys behind the others that everybody sees."""
    widths = [(0, 0)] * (mask.ndim - 1) + [(0, count)]
    return pad(mask, widths, value=mask.dtype.kind == "bool")


@dataclass(frozen=True, slots=True)
class _Given(_Attending):
    """What :func:`multi_head_attention_forward` gets."""

    in_proj_weight: Any
    q_proj_weight: Any
    k_proj_weight: Any
    v_proj_weight: Any
    in_proj_bias: Any
    bias_k: Any
    bias_v: Any
    out_proj_weight: Any
    out_proj_bias: Any
    embed_dim: int
    num_heads: int
    kdim: int
    vdim: int
    add_zero_attn: bool
    head_dim: int
    batch_first: bool = False

    @property
    def _last_projection(self) -> tuple[Tensor, Tensor | None]:
        return self.out_proj_weight, self.out_proj_bias


@public
def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """:class:`weft.nn.MultiheadAttention` as a function of its parameters.

    Args:
        query, key, value: ``(L, N, embed_dim)`` and ``(S, N, features)``, or all three without ``N``.
        embed_dim_to_check: the features that query must have.
        num_heads: divides them.
        in_proj_weight, in_proj_bias: of all three projections, one behind the other.
        bias_k, bias_v, add_zero_attn: keys and values that are added to each sequence.
        dropout_p: probability with which, in training, a weight is zero.
        out_proj_weight, out_proj_bias: of the last projection.
        training: whether there is dropout.
        key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal: as of the module's ``forward``.
        use_separate_proj_weight: project by the next three and not by ``in_proj_weight``.
        q_proj_weight, k_proj_weight, v_proj_weight: ``(embed_dim, features)`` each.
        static_k, static_v: ``(N * num_heads, S, embed_dim / num_heads)``, in the place of projected keys and values.

    Returns:
        The output and the weights, or None, as of the module.

    Raises:
        ShapeError, DTypeError: what does not fit.
        ArgumentError: ``num_heads`` does not divide the features; ``is_causal`` without ``attn_mask``.

    Example:
        >>> x, w = wf.ones((3, 1, 4)), wf.ones((12, 4))
        >>> args = (x, x, x, 4, 2, w, None, None, None, False, 0.0, wf.ones((4, 4)), None)
        >>> wf.nn.functional.multi_head_attention_forward(*args)[0].shape
        (3, 1, 4)
    """
    if num_heads < 1 or embed_dim_to_check < 1 or embed_dim_to_check % num_heads:
        raise ArgumentError(
            f"multi_head_attention_forward: {embed_dim_to_check} features, num_heads {num_heads}: both must be above "
            "0, and the heads divide the features"
        )
    apart = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else (None, None, None)
    if any(w is None for w in apart) and (use_separate_proj_weight or in_proj_weight is None):
        raise ArgumentError("multi_head_attention_forward: a projection has no weight")
    if not (static_k is None and static_v is None) and not (bias_k is None and bias_v is None):
        raise ArgumentError("multi_head_attention_forward: bias_k and bias_v cannot be added to static keys and values")
    head = embed_dim_to_check // num_heads
    sizes = [embed_dim_to_check if w is None else w.shape[-1] for w in apart]
    parameters = _Given(
        None if use_separate_proj_weight else in_proj_weight,
        *apart,
        in_proj_bias,
        bias_k,
        bias_v,
        out_proj_weight,
        out_proj_bias,
        embed_dim_to_check,
        num_heads,
        sizes[1],
        sizes[2],
        add_zero_attn,
        head,
    )
    batch = query.shape[1] if query.ndim == 3 else 1
    static: list[Tensor | None] = []
    for name, x in (("static_k", static_k), ("static_v", static_v)):
        if x is not None and (x.ndim != 3 or not are_equal(x.shape[0], batch * num_heads) or x.shape[2] != head):
            raise ShapeError(f"multi_head_attention_forward: {name} {x.shape} must be ({batch * num_heads}, S, {head})")
        static.append(None if x is None else reshape(x, (batch, num_heads, x.shape[1], head)))
    return parameters._attended(
        (query, key, value),
        (key_padding_mask, attn_mask),
        dropout_p if training else 0.0,
        need_weights,
        average_attn_weights,
        is_causal,
        (static[0], static[1]),
    )
