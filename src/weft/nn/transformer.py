"""The transformer: encoder and decoder layers, stacks of them, and both together."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

from ..core.errors import ArgumentError, ShapeError
from ..core.shapes import shown
from ..core.symbolic import are_equal
from ..ops.activation import gelu, relu
from ..ops.creation import full
from ..ops.operands import require_tensors
from ..ops.shape import triu
from ..tensor.tensor import Tensor
from ..transforms.source.find import captured
from . import init
from .attention import MultiheadAttention
from .container import ModuleList
from .dropout import Dropout
from .linear import Linear
from .module import Module
from .normalization import LayerNorm

Activation = str | Callable[[Tensor], Tensor]
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": relu, "gelu": gelu}


def _activation(layer: str, activation: Activation) -> Callable[[Tensor], Tensor]:
    if callable(activation):
        return activation
    if not isinstance(activation, str) or activation not in _ACTIVATIONS:
        raise ArgumentError(f"{layer}: activation is {activation!r}; it must be 'relu', 'gelu' or a function")
    return _ACTIVATIONS[activation]


class _Layer(Module):
    """What the layers of encoder and decoder share: the parts, and the blocks of attention to itself and of the two
    linear layers."""

    self_attn: MultiheadAttention
    linear1: Linear
    linear2: Linear
    dropout: Dropout
    dropout1: Dropout
    activation: Callable[[Tensor], Tensor]

    def _own_block(self, x: Tensor, mask: Tensor | None, padding: Tensor | None, is_causal: bool) -> Tensor:
        attended, _ = self.self_attn(
            x, x, x, attn_mask=mask, key_padding_mask=padding, need_weights=False, is_causal=is_causal
        )
        return self.dropout1(attended)

    def _feed_forward(self, x: Tensor, last: Dropout) -> Tensor:
        hidden = captured(self.activation)(self.linear1(x))
        return last(self.linear2(self.dropout(hidden)))


class TransformerEncoderLayer(_Layer):
    """``(S, N, d_model) -> same``: attention of a sequence to itself, then two linear layers at each position, each
    with a residual and a normalization.

    Args:
        d_model: features; ``nhead`` divides them.
        nhead: heads of the attention.
        dim_feedforward: features between the two linear layers.
        dropout: of the attention's weights, behind each part, and between the linear layers.
        activation: between the linear layers: "relu", "gelu" or a function of a tensor (a module too).
        layer_norm_eps: of the normalizations.
        batch_first: sequences are ``(N, S, d_model)``; ``(S, d_model)`` without a batch in both cases.
        norm_first: normalize what goes into each part, not each sum.
        bias: of all linear layers and normalizations.

    Reference:
        Vaswani et al., Attention Is All You Need, 2017; Xiong et al., On Layer Normalization in the Transformer
        Architecture, 2020 (``norm_first``).

    Example:
        >>> layer = wf.nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True)
        >>> layer(wf.zeros((3, 5, 8))).shape
        (3, 5, 8)
    """

    norm1: LayerNorm
    norm2: LayerNorm
    dropout2: Dropout

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        made = {"device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, **made)
        self.linear1 = Linear(d_model, dim_feedforward, bias, **made)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **made)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, **made)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, **made)
        self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout)
        self.activation = _activation("TransformerEncoderLayer", activation)

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """``(S, N, d_model) -> same``.

        Masks are those of :class:`MultiheadAttention`: bool, True where a position is not seen, or added to the scores.

        Args:
            src: the sequence.
            src_mask: ``(S, S)`` or ``(N * nhead, S, S)``.
            src_key_padding_mask: ``(N, S)``.
            is_causal: a hint that ``src_mask``, which must be there, is the causal mask.
        """
        mask, padding, x = src_mask, src_key_padding_mask, src
        if self.norm_first:
            x = x + self._own_block(self.norm1(x), mask, padding, is_causal)
            return x + self._feed_forward(self.norm2(x), self.dropout2)
        x = self.norm1(x + self._own_block(x, mask, padding, is_causal))
        return self.norm2(x + self._feed_forward(x, self.dropout2))


class TransformerDecoderLayer(_Layer):
    """``(T, N, d_model), (S, N, d_model) -> (T, N, d_model)``: attention of a sequence to itself, to what the encoder
    made, and two linear layers, each with a residual and a normalization.

    Arguments are those of :class:`TransformerEncoderLayer`.

    Reference:
        Vaswani et al., Attention Is All You Need, 2017.
    """

    multihead_attn: MultiheadAttention
    norm1: LayerNorm
    norm2: LayerNorm
    norm3: LayerNorm
    dropout2: Dropout
    dropout3: Dropout

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        made = {"device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, **made)
        self.multihead_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, **made)
        self.linear1 = Linear(d_model, dim_feedforward, bias, **made)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **made)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, **made)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, **made)
        self.norm3 = LayerNorm(d_model, layer_norm_eps, bias=bias, **made)
        self.dropout1, self.dropout2, self.dropout3 = Dropout(dropout), Dropout(dropout), Dropout(dropout)
        self.activation = _activation("TransformerDecoderLayer", activation)

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """``(T, N, d_model), (S, N, d_model) -> (T, N, d_model)``.

        Args:
            tgt: the sequence.
            memory: what the encoder made.
            tgt_mask: ``(T, T)`` or ``(N * nhead, T, T)``, of the sequence to itself.
            memory_mask: ``(T, S)`` or ``(N * nhead, T, S)``, of the sequence to the memory.
            tgt_key_padding_mask: ``(N, T)``.
            memory_key_padding_mask: ``(N, S)``.
            tgt_is_causal, memory_is_causal: hints that a mask, which must be there, is the causal mask.
        """

        def own(x: Tensor) -> Tensor:
            return self._own_block(x, tgt_mask, tgt_key_padding_mask, tgt_is_causal)

        def other(x: Tensor) -> Tensor:
            return self._memory_block(x, memory, memory_mask, memory_key_padding_mask, memory_is_causal)

        x = tgt
        if self.norm_first:
            x = x + own(self.norm1(x))
            x = x + other(self.norm2(x))
            return x + self._feed_forward(self.norm3(x), self.dropout3)
        x = self.norm1(x + own(x))
        x = self.norm2(x + other(x))
        return self.norm3(x + self._feed_forward(x, self.dropout3))

    def _memory_block(
        self, x: Tensor, memory: Tensor, mask: Tensor | None, padding: Tensor | None, is_causal: bool
    ) -> Tensor:
        attended, _ = self.multihead_attn(
            x, memory, memory, attn_mask=mask, key_padding_mask=padding, need_weights=False, is_causal=is_causal
        )
        return self.dropout2(attended)


def _copies(name: str, layer: Module, count: int) -> ModuleList[Module]:
    if not isinstance(layer, Module):
        raise ArgumentError(f"{name} is {shown(layer)}; it must be a Module, which is copied")
    return ModuleList(copy.deepcopy(layer) for _ in range(count))


class TransformerEncoder(Module):
    """``num_layers`` copies of an encoder layer, one after the other, and a normalization.

    The copies begin with the parameters of the layer that is given, as in PyTorch: draw them again where they should
    differ (:class:`Transformer` does).

    Args:
        encoder_layer: a :class:`TransformerEncoderLayer`, or a module that takes the same arguments; it is copied.
        num_layers: how many.
        norm: a module for the end, or None.
        enable_nested_tensor, mask_check: PyTorch's choice between implementations; here there is one, and all values
            mean it.
    """

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__()
        self.layers = _copies("TransformerEncoder: encoder_layer", encoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm: Any = norm
        self.enable_nested_tensor, self.mask_check = enable_nested_tensor, mask_check

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """``(S, N, d_model) -> same``: see :meth:`TransformerEncoderLayer.forward`. ``is_causal`` None says nothing."""
        x: Tensor = src
        for layer in self.layers:
            x = layer(x, src_mask=mask, is_causal=bool(is_causal), src_key_padding_mask=src_key_padding_mask)
        return x if self.norm is None else self.norm(x)


class TransformerDecoder(Module):
    """``num_layers`` copies of a decoder layer, one after the other, and a normalization: see
    :class:`TransformerEncoder`."""

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = _copies("TransformerDecoder: decoder_layer", decoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm: Any = norm

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """``(T, N, d_model), (S, N, d_model) -> (T, N, d_model)``: see :meth:`TransformerDecoderLayer.forward`."""
        x: Tensor = tgt
        for layer in self.layers:
            x = layer(
                x,
                memory,
                tgt_mask=tgt_mask,
                memory_mask=memory_mask,
                tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask,
                tgt_is_causal=bool(tgt_is_causal),
                memory_is_causal=memory_is_causal,
            )
        return x if self.norm is None else self.norm(x)


class Transformer(Module):
    """Encoder and decoder: ``(S, N, d_model), (T, N, d_model) -> (T, N, d_model)``.

    All matrices begin as ``xavier_uniform_``.

    Args:
        d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias: of the
            layers, see :class:`TransformerEncoderLayer`.
        num_encoder_layers, num_decoder_layers: how many of each.
        custom_encoder, custom_decoder: modules that take their place.

    Reference:
        Vaswani et al., Attention Is All You Need, 2017.

    Example:
        >>> model = wf.nn.Transformer(8, 2, 1, 1, dim_feedforward=16)
        >>> model(wf.zeros((5, 3, 8)), wf.zeros((4, 3, 8))).shape
        (4, 3, 8)
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = relu,
        custom_encoder: Any = None,
        custom_decoder: Any = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        options = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias)
        made = {"device": device, "dtype": dtype}

        def norm() -> LayerNorm:
            return LayerNorm(d_model, layer_norm_eps, bias=bias, **made)

        self.encoder: Any = custom_encoder
        if custom_encoder is None:
            self.encoder = TransformerEncoder(TransformerEncoderLayer(*options, **made), num_encoder_layers, norm())
        self.decoder: Any = custom_decoder
        if custom_decoder is None:
            self.decoder = TransformerDecoder(TransformerDecoderLayer(*options, **made), num_decoder_layers, norm())
        self._reset_parameters()
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first

    def _reset_parameters(self) -> None:
        """Draw all matrices again."""
        for p in self.parameters():
            if p.ndim > 1:
                init.xavier_uniform_(p)

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """``(S, N, d_model), (T, N, d_model) -> (T, N, d_model)``; with ``batch_first``, N is the first axis.

        Args:
            src: the sequence for the encoder.
            tgt: the sequence for the decoder.
            src_mask: ``(S, S)`` or ``(N * nhead, S, S)``.
            tgt_mask: ``(T, T)`` or ``(N * nhead, T, T)``.
            memory_mask: ``(T, S)`` or ``(N * nhead, T, S)``.
            src_key_padding_mask, memory_key_padding_mask: ``(N, S)``.
            tgt_key_padding_mask: ``(N, T)``.
            src_is_causal, tgt_is_causal, memory_is_causal: hints that a mask is the causal mask; None says nothing.

        Raises:
            ShapeError: the batches differ, or a sequence does not have ``d_model`` features.
        """
        require_tensors("Transformer", src, tgt)
        at = 0 if self.batch_first else 1
        if src.ndim == 3 == tgt.ndim and not are_equal(src.shape[at], tgt.shape[at]):
            raise ShapeError(f"Transformer: batches of {src.shape[at]} (src {src.shape}) and {tgt.shape[at]} "
                             f"(tgt {tgt.shape})")  # fmt: skip
        for name, x in (("src", src), ("tgt", tgt)):
            if not x.ndim or not are_equal(x.shape[-1], self.d_model):
                raise ShapeError(f"Transformer: {name} {x.shape} must have d_model features, {self.d_model}")
        memory = self.encoder(src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal)
        output: Tensor = self.decoder(
            tgt,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )
        return output

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Tensor:
        """The causal mask ``(sz, sz)``: 0 on the diagonal and below it, -inf above.

        >>> wf.nn.Transformer.generate_square_subsequent_mask(2).tolist()
        [[0.0, -inf], [0.0, 0.0]]
        """
        return triu(full((sz, sz), -math.inf, dtype=dtype, device=device), k=1)
