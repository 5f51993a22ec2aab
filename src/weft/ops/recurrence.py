"""Recurrences: one step, which is what cells compute, and the loop over the steps of a layer.

The products of the inputs (``gate_inputs``) are apart from the step, so that those of all steps can be one matmul.
16-bit floats are computed in float32, sums are handed on in it, and each state is rounded once.

A cell is several composites: products, whose gradients need their operands alone, and gates, whose gradients compute
them again from the sums. As one composite it would compute its products again on the way back.

A layer's loop (``rnn_steps``, ``lstm_steps``, ``gru_steps``) is one node (ops/control.py), for any length. With
``keeps`` it gives what its gradient needs too, the gates of all steps (they are as large as the sums that they are
made of): then no product and no gate is computed again, a step of the way back is one elementwise kernel and one
product, and the gradients of the weights are one contraction each, over all steps (ops/loop_gradient.py).

Where sequences of one batch have different lengths, ``keep`` says which of them a step is a step of: the states of the
others stay what they are, so that each sequence ends with (or, in reverse, begins with) the states that it would have
alone, as bits. The alternative, a smaller batch for each step as PyTorch's kernels have it, would have a shape for each
step, which no loop can have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .activation import relu
from .contraction import CONTRACT, CONTRACT_FLOAT32, product_of
from .control import looped
from .elementwise import cast, sigmoid, tanh, where
from .op import Array, composite
from .precision import working
from .shape import matrix_transpose, reshape
from .views import slice_

if TYPE_CHECKING:
    from ..tensor.tensor import Tensor  # one layer up: what composites give to whoever calls them


def _product(name: str, x: Array, weight: Array) -> Array:
    """``(..., n) @ (m, n)^T``, in the dtype that is computed in: sums of 16-bit operands are not rounded."""
    op = CONTRACT_FLOAT32 if x.dtype.is_half else CONTRACT
    return product_of(name, x, matrix_transpose(weight), f"{x.shape} @ {weight.shape}^T", op)


def _gates(sums: Array, like: Array, count: int) -> tuple[Array, ...]:
    """``(N, count * H)`` as ``count`` tensors of the shape of ``like``, ``(N, H)``."""
    rows, size = like.shape
    return tuple([slice_(sums, (0, number * size), (rows, size)) for number in range(count)])


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
def state_sums(inputs: Array, h: Array, weight: Array) -> Array:
    """``inputs + h @ weight^T``: ``(N, G)``, ``(N, H)`` and ``(G, H)`` to ``(N, G)``."""
    return inputs + _product("state_sums", h, weight)


@composite(public=False)
def _cell_sums(
    input: Array, h: Array, weight_ih: Array, weight_hh: Array, bias_ih: Array | None, bias_hh: Array | None
) -> Array:
    """:func:`gate_inputs` and :func:`state_sums` of one step."""
    return state_sums(gate_inputs(input, weight_ih, bias_ih, bias_hh), h, weight_hh)


# --- Elman ----------------------------------------------------------------------------------------------------------


def _activated(sums: Array, nonlinearity: str) -> Array:
    return tanh(sums) if nonlinearity == "tanh" else relu(sums)


@composite(public=False)
def _rnn_gates(sums: Array, nonlinearity: str, dtype: Any) -> Array:
    return cast(_activated(sums, nonlinearity), dtype)


def rnn_step(inputs: Array, h: Array, weight_hh: Array, nonlinearity: str) -> Tensor:
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
    return _rnn_gates(state_sums(inputs, h, weight_hh), nonlinearity, h.dtype)


def rnn_cell(
    input: Array,
    h: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None,
    bias_hh: Array | None,
    nonlinearity: str,
) -> Tensor:
    """``(N, I)`` and ``(N, H)`` to the next ``h``: :func:`gate_inputs`, :func:`rnn_step`."""
    return _rnn_gates(_cell_sums(input, h, weight_ih, weight_hh, bias_ih, bias_hh), nonlinearity, h.dtype)


# --- LSTM -----------------------------------------------------------------------------------------------------------


def _lstm_parts(sums: Array, c: Array) -> tuple[Array, Array, tuple[Array, ...]]:
    """The output, the next cell, and the gates i, f, g, o."""
    i, f, g, o = _gates(sums, c, 4)
    gates = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
    cell = gates[1] * cast(c, sums.dtype) + gates[0] * gates[2]
    return cast(gates[3] * tanh(cell), c.dtype), cast(cell, c.dtype), gates


@composite(public=False)
def _lstm_gates(sums: Array, c: Array) -> Any:
    return _lstm_parts(sums, c)[:2]


@composite(public=False)
def _projected(h: Array, weight: Array, like: Array) -> Array:
    # Its shape is that of the state before, though their sizes may be two symbols.
    return cast(reshape(_product("lstm_step", h, weight), like.shape), like.dtype)


def lstm_step(
    inputs: Array, h: Array, c: Array, weight_hh: Array, weight_hr: Array | None = None
) -> tuple[Tensor, Tensor]:
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
    output, cell = _lstm_gates(state_sums(inputs, h, weight_hh), c)
    return output if weight_hr is None else _projected(output, weight_hr, h), cell


def lstm_cell(
    input: Array,
    h: Array,
    c: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None,
    bias_hh: Array | None,
) -> tuple[Tensor, Tensor]:
    """``(N, I)``, ``(N, H)`` and ``(N, H)`` to the next ``h`` and ``c``: :func:`gate_inputs`, :func:`lstm_step`."""
    output, cell = _lstm_gates(_cell_sums(input, h, weight_ih, weight_hh, bias_ih, bias_hh), c)
    return output, cell


# --- GRU ------------------------------------------------------------------------------------------------------------


def _gru_parts(inputs: Array, hidden: Array, h: Array) -> tuple[Array, tuple[Array, ...]]:
    """The next state; r, z and n, and the part of ``hidden`` that r multiplies."""
    (ir, iz, new), (hr, hz, hn) = _gates(inputs, h, 3), _gates(hidden, h, 3)
    r = sigmoid(ir + hr)
    n, z = tanh(new + r * hn), sigmoid(iz + hz)
    return cast(n + z * (cast(h, working(h.dtype)) - n), h.dtype), (r, z, n, hn)


@composite(public=False)
def _gru_gates(inputs: Array, hidden: Array, h: Array) -> Array:
    return _gru_parts(inputs, hidden, h)[0]


def gru_step(inputs: Array, h: Array, weight_hh: Array, bias_hh: Array | None = None) -> Tensor:
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
    return _gru_gates(inputs, gate_inputs(h, weight_hh, bias_hh), h)


def gru_cell(
    input: Array, h: Array, weight_ih: Array, weight_hh: Array, bias_ih: Array | None, bias_hh: Array | None
) -> Tensor:
    """``(N, I)`` and ``(N, H)`` to the next ``h``: :func:`gate_inputs`, :func:`gru_step`."""
    return gru_step(gate_inputs(input, weight_ih, bias_ih), h, weight_hh, bias_hh)


# --- layers ---------------------------------------------------------------------------------------------------------


def _kept(keep: Sequence[Array], after: Array, before: Array) -> Array:
    """The next state, of those sequences that this is a step of."""
    return where(keep[0], after, before) if keep else after


def _present(*arrays: Array | None) -> list[Array]:
    return [x for x in arrays if x is not None]


@composite(public=False)
def rnn_steps(
    inputs: Array, h: Array, weight_hh: Array, keep: Array | None, nonlinearity: str, reverse: bool, keeps: bool
) -> Any:
    """All steps of an Elman network.

    Args:
        inputs: ``(L, N, H)``, of :func:`gate_inputs`, with both biases.
        h: ``(N, H)``: the first state.
        weight_hh, nonlinearity: as :func:`rnn_step` has them.
        keep: ``(L, N, 1)`` bool; None: all.
        reverse: from the last step to the first.
        keeps: also give what the gradient would compute again.

    Returns:
        All states ``(L, N, H)`` and the last one; with ``keeps`` more.
    """

    def step(states: Sequence[Array], parts: Sequence[Array], closed: Sequence[Array]) -> Any:
        (before,) = states
        sums = state_sums(parts[0], before, closed[0])
        made = _activated(sums, nonlinearity)
        after = _kept(parts[1:], cast(made, before.dtype), before)
        # tanh's gradient is of its result, which the state is as a rule; relu's looks at its operand.
        own = nonlinearity == "tanh" and not before.dtype.is_half and len(parts) == 1
        kept = [] if own or not keeps else [made if nonlinearity == "tanh" else sums]
        return [after], [after, *kept]

    last, rows = looped("rnn_steps", step, [h], [inputs, *_present(keep)], [weight_hh], reverse)
    return rows[0], *last, *rows[1:]


@composite(public=False)
def lstm_steps(
    inputs: Array,
    h: Array,
    c: Array,
    weight_hh: Array,
    weight_hr: Array | None,
    keep: Array | None,
    reverse: bool,
    keeps: bool,
) -> Any:
    """All steps of an LSTM: ``(L, N, 4 H)``, the first ``h`` ``(N, P)`` and ``c`` ``(N, H)`` to all ``h``
    ``(L, N, P)``, the last ``h`` and the last ``c``. Arguments as for :func:`rnn_steps` and :func:`lstm_step`."""

    def step(states: Sequence[Array], parts: Sequence[Array], closed: Sequence[Array]) -> Any:
        before_h, before_c = states
        output, cell, gates = _lstm_parts(state_sums(parts[0], before_h, closed[0]), before_c)
        if len(closed) > 1:
            output = _projected(output, closed[1], before_h)
        after = _kept(parts[1:], output, before_h), _kept(parts[1:], cell, before_c)
        return after, [after[0], *([after[1], *gates] if keeps else ())]

    last, rows = looped(
        "lstm_steps", step, [h, c], [inputs, *_present(keep)], [weight_hh, *_present(weight_hr)], reverse
    )
    return rows[0], *last, *rows[1:]


@composite(public=False)
def gru_steps(
    inputs: Array, h: Array, weight_hh: Array, bias_hh: Array | None, keep: Array | None, reverse: bool, keeps: bool
) -> Any:
    """All steps of a GRU: ``(L, N, 3 H)`` and the first ``h`` ``(N, H)`` to all states ``(L, N, H)`` and the last one.
    Arguments as for :func:`rnn_steps` and :func:`gru_step`."""

    def step(states: Sequence[Array], parts: Sequence[Array], closed: Sequence[Array]) -> Any:
        (before,) = states
        hidden = gate_inputs(before, closed[0], *closed[1:])
        made, gates = _gru_parts(parts[0], hidden, before)
        after = _kept(parts[1:], made, before)
        return [after], [after, *(gates if keeps else ())]

    last, rows = looped("gru_steps", step, [h], [inputs, *_present(keep)], [weight_hh, *_present(bias_hh)], reverse)
    return rows[0], *last, *rows[1:]
