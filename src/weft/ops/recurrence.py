"""One step of the recurrent layers: what their cells compute, and what a loop over steps repeats.

The products of the inputs (``gate_inputs``) are apart from the step, so that those of all steps can be one matmul. A
step is one op: 16-bit floats are computed in float32, and each state is rounded once.
"""

from __future__ import annotations

from typing import Any

from .activation import relu
from .contraction import CONTRACT, CONTRACT_FLOAT32, product_of
from .elementwise import cast, sigmoid, tanh
from .op import Array, composite
from .pieces import unstack
from .precision import working
from .shape import matrix_transpose, reshape


def _product(name: str, x: Array, weight: Array) -> Array:
    """``(..., n) @ (m, n)^T``, in the dtype that is computed in: sums of 16-bit operands are not rounded."""
    op = CONTRACT_FLOAT32 if x.dtype.is_half else CONTRACT
    return product_of(name, x, matrix_transpose(weight), f"{x.shape} @ {weight.shape}^T", op)


def _gates(sums: Array, like: Array, count: int) -> tuple[Array, ...]:
    """``(N, count * H)`` as ``count`` tensors of the shape of ``like``, ``(N, H)``."""
    return tuple(unstack(reshape(sums, (like.shape[0], count, like.shape[1])), axis=1))


@composite(public=False)
def gate_inputs(input: Array, weight: Array, bias_ih: Array | None = None, bias_hh: Array | None = None) -> Array:
    """``input @ weight^T`` and the biases: what steps get of their inputs, in the dtype that steps compute in.

    Args:
        input: ``(..., I)``.
        weight: ``(G, I)``.
        bias_ih, bias_hh: ``(G,)``.

    Returns:
        ``(..., G)``; of 16-bit floats in float32.
    """
    sums = _product("gate_inputs", input, weight)
    for bias in (bias_ih, bias_hh):
        if bias is not None:
            sums = sums + cast(bias, sums.dtype)
    return sums


@composite(public=False)
def rnn_step(inputs: Array, h: Array, weight_hh: Array, nonlinearity: str) -> Array:
    """``nonlinearity(inputs + h @ weight_hh^T)``.

    Args:
        inputs: ``(N, H)``, of :func:`gate_inputs`, with both biases.
        h: ``(N, H)``.
        weight_hh: ``(H, H)``.
        nonlinearity: ``"tanh"`` or ``"relu"``.

    Returns:
        ``(N, H)``: the next ``h``.

    Reference:
        Elman, Finding Structure in Time, 1990.
    """
    sums = inputs + _product("rnn_step", h, weight_hh)
    return cast(tanh(sums) if nonlinearity == "tanh" else relu(sums), h.dtype)


@composite(public=False)
def lstm_step(inputs: Array, h: Array, c: Array, weight_hh: Array, weight_hr: Array | None = None) -> Any:
    """``c' = f * c + i * g`` and ``h' = o * tanh(c')``, with the gates i, f, g, o of ``inputs + h @ weight_hh^T``.

    Args:
        inputs: ``(N, 4 H)``, of :func:`gate_inputs`, with both biases.
        h: ``(N, P)``; P is H without ``weight_hr``.
        c: ``(N, H)``.
        weight_hh: ``(4 H, P)``.
        weight_hr: ``(P, H)``, which projects the next ``h``.

    Returns:
        ``(N, P)`` and ``(N, H)``: the next ``h`` and ``c``.

    Reference:
        Hochreiter and Schmidhuber, Long Short-Term Memory, 1997; Sak et al., Long Short-Term Memory Based Recurrent
        Neural Network Architectures, 2014 (the projection).
    """
    i, f, g, o = _gates(inputs + _product("lstm_step", h, weight_hh), c, 4)
    cell = sigmoid(f) * cast(c, inputs.dtype) + sigmoid(i) * tanh(g)
    output = sigmoid(o) * tanh(cell)
    if weight_hr is not None:
        output = reshape(_product("lstm_step", cast(output, h.dtype), weight_hr), h.shape)
    return cast(output, h.dtype), cast(cell, c.dtype)


@composite(public=False)
def gru_step(inputs: Array, h: Array, weight_hh: Array, bias_hh: Array | None = None) -> Array:
    """``h' = n + z * (h - n)``, with ``n = tanh(inputs_n + r * hidden_n)`` and the gates r and z.

    Args:
        inputs: ``(N, 3 H)``, of :func:`gate_inputs`, with ``bias_ih`` alone: the parts r, z, n.
        h: ``(N, H)``.
        weight_hh: ``(3 H, H)``.
        bias_hh: ``(3 H,)``. It is not in ``inputs``, because r multiplies its last part.

    Returns:
        ``(N, H)``: the next ``h``.

    Reference:
        Cho et al., Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation,
        2014; with r applied after the product, as cuDNN and PyTorch have it.
    """
    hidden = _product("gru_step", h, weight_hh)
    if bias_hh is not None:
        hidden = hidden + cast(bias_hh, hidden.dtype)
    (ir, iz, new), (hr, hz, hn) = _gates(inputs, h, 3), _gates(hidden, h, 3)
    n = tanh(new + sigmoid(ir + hr) * hn)
    return cast(n + sigmoid(iz + hz) * (cast(h, working(h.dtype)) - n), h.dtype)


@composite(public=False)
def rnn_cell(
    input: Array,
    h: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None,
    bias_hh: Array | None,
    nonlinearity: str,
) -> Array:
    """``(N, I)`` and ``(N, H)`` to the next ``h``: :func:`gate_inputs`, :func:`rnn_step`."""
    return rnn_step(gate_inputs(input, weight_ih, bias_ih, bias_hh), h, weight_hh, nonlinearity)


@composite(public=False)
def lstm_cell(
    input: Array,
    h: Array,
    c: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None,
    bias_hh: Array | None,
) -> Any:
    """``(N, I)``, ``(N, H)`` and ``(N, H)`` to the next ``h`` and ``c``: :func:`gate_inputs`, :func:`lstm_step`."""
    return lstm_step(gate_inputs(input, weight_ih, bias_ih, bias_hh), h, c, weight_hh)


@composite(public=False)
def gru_cell(
    input: Array, h: Array, weight_ih: Array, weight_hh: Array, bias_ih: Array | None, bias_hh: Array | None
) -> Array:
    """``(N, I)`` and ``(N, H)`` to the next ``h``: :func:`gate_inputs`, :func:`gru_step`."""
    return gru_step(gate_inputs(input, weight_ih, bias_ih), h, weight_hh, bias_hh)
