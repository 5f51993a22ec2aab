"""Recurrent cells: one step, from an input and the states to the next states."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..core.errors import ArgumentError, DTypeError, ShapeError
from ..core.symbolic import are_equal
from ..ops.creation import zeros
from ..ops.recurrence import gru_cell, lstm_cell, rnn_cell
from ..ops.shape import expand_dims, squeeze
from ..tensor.tensor import Tensor
from . import init
from .module import Module
from .parameter import Parameter, blank, check_sizes

NONLINEARITIES = ("tanh", "relu")


def check_nonlinearity(layer: str, nonlinearity: Any) -> None:
    """Raise unless there is such a nonlinearity.

    Raises:
        ArgumentError: naming the layer.
    """
    if nonlinearity not in NONLINEARITIES:
        raise ArgumentError(f"{layer}: nonlinearity is {nonlinearity!r}; it must be 'tanh' or 'relu'")


def check_dtype(layer: str, weight: Tensor, **given: Tensor) -> None:
    """Raise unless the tensors have the weights' dtype.

    Raises:
        DTypeError: naming the layer and its argument.
    """
    for name, x in given.items():
        if x.dtype is not weight.dtype:
            raise DTypeError(
                f"{layer}: {name} is {x.dtype.name} and the weights are {weight.dtype.name}: cast {name} with "
                f"astype, or the layer with .to({x.dtype.name!r})"
            )


class _Cell(Module):
    """The parameters of a cell with ``count`` gates, and its checks."""

    weight_ih: Parameter
    weight_hh: Parameter
    bias_ih: Parameter | None
    bias_hh: Parameter | None

    def __init__(self, input_size: int, hidden_size: int, bias: bool, count: int, device: Any, dtype: Any) -> None:
        super().__init__()
        check_sizes(type(self).__name__, input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        self.weight_ih = blank((count * hidden_size, input_size), dtype, device)
        self.weight_hh = blank((count * hidden_size, hidden_size), dtype, device)
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, blank((count * hidden_size,), dtype, device) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters again."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size else 0.0
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def _rows(self, input: Tensor, states: Sequence[Tensor] | None, count: int) -> list[Tensor]:
        """The input and the states with a batch axis.

        Raises:
            ShapeError, DTypeError: they do not fit.
        """
        name = type(self).__name__
        if input.ndim not in (1, 2):
            raise ShapeError(f"{name}: input {input.shape}: wants (input_size,) or (batch, input_size)")
        if not are_equal(input.shape[-1], self.input_size):
            raise ShapeError(f"{name}: input {input.shape}: its last axis is not input_size, {self.input_size}")
        check_dtype(name, self.weight_ih, input=input)
        if states is None:
            rows = input.shape[0] if input.ndim == 2 else 1
            states = [zeros((rows, self.hidden_size), dtype=input.dtype, device=input.device)] * count
        else:
            for number, state in enumerate(states):
                self._check_state("hx" if count == 1 else f"hx[{number}]", state, input)
            states = [state if input.ndim == 2 else expand_dims(state, axis=0) for state in states]
        return [input if input.ndim == 2 else expand_dims(input, axis=0), *states]

    def _check_state(self, what: str, state: Tensor, input: Tensor) -> None:
        name = type(self).__name__
        wanted = (*input.shape[:-1], self.hidden_size)
        if state.ndim != input.ndim or not all(map(are_equal, state.shape, wanted)):
            raise ShapeError(f"{name}: {what} {state.shape}, input {input.shape}: wants {what} {wanted}")
        check_dtype(name, self.weight_ih, **{what: state})

    def extra_repr(self) -> str:
        """The sizes."""
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias is True else f", bias={self.bias}")


class RNNCell(_Cell):
    """``(N, input_size)`` and ``(N, hidden_size)`` to the next state, ``(N, hidden_size)``; or all without N.

    ``h' = tanh(x @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh)``; ``weight_ih`` is
    ``(hidden_size, input_size)``, ``weight_hh`` ``(hidden_size, hidden_size)``, and all parameters are drawn uniformly
    from ``[-1, 1) / sqrt(hidden_size)``.

    Args:
        input_size, hidden_size: the numbers of features.
        bias: whether there are ``bias_ih`` and ``bias_hh``, ``(hidden_size,)``.
        nonlinearity: ``"tanh"`` or ``"relu"``.

    Example:
        >>> wf.nn.RNNCell(10, 20)(wf.zeros((3, 10))).shape
        (3, 20)

    Reference:
        Elman, Finding Structure in Time, 1990.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        *,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        check_nonlinearity("RNNCell", nonlinearity)
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The next state; without ``hx`` the first one is zeros."""
        x, h = self._rows(input, None if hx is None else [hx], 1)
        after = rnn_cell(x, h, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh, self.nonlinearity)
        return after if input.ndim == 2 else squeeze(after, axis=0)

    def extra_repr(self) -> str:
        """The sizes and the nonlinearity."""
        return super().extra_repr() + ("" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}")


class LSTMCell(_Cell):
    """``(N, input_size)`` and the states ``(h, c)``, ``(N, hidden_size)`` each, to the next states; or all without N.

    ``c' = sigmoid(f) * c + sigmoid(i) * tanh(g)`` and ``h' = sigmoid(o) * tanh(c')``, where i, f, g, o are the quarters
    of ``x @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh``. ``weight_ih`` is ``(4 * hidden_size, input_size)``,
    ``weight_hh`` ``(4 * hidden_size, hidden_size)``, the biases ``(4 * hidden_size,)``; all are drawn uniformly from
    ``[-1, 1) / sqrt(hidden_size)``.

    Example:
        >>> h, c = wf.nn.LSTMCell(10, 20)(wf.zeros((3, 10)))
        >>> h.shape, c.shape
        ((3, 20), (3, 20))

    Reference:
        Hochreiter and Schmidhuber, Long Short-Term Memory, 1997.
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """The next ``(h, c)``; without ``hx`` the first ones are zeros."""
        x, h, c = self._rows(input, None if hx is None else pair_of("LSTMCell", hx), 2)
        h, c = lstm_cell(x, h, c, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        return (h, c) if input.ndim == 2 else (squeeze(h, axis=0), squeeze(c, axis=0))


class GRUCell(_Cell):
    """``(N, input_size)`` and ``(N, hidden_size)`` to the next state, ``(N, hidden_size)``; or all without N.

    ``h' = (1 - z) * n + z * h`` with ``r = sigmoid(x_r + h_r)``, ``z = sigmoid(x_z + h_z)`` and
    ``n = tanh(x_n + r * h_n)``, where x_r, x_z, x_n are the thirds of ``x @ weight_ih.T + bias_ih`` and h_r, h_z, h_n
    those of ``h @ weight_hh.T + bias_hh``. ``weight_ih`` is ``(3 * hidden_size, input_size)``, ``weight_hh``
    ``(3 * hidden_size, hidden_size)``, the biases ``(3 * hidden_size,)``; all are drawn uniformly from
    ``[-1, 1) / sqrt(hidden_size)``.

    Example:
        >>> wf.nn.GRUCell(10, 20)(wf.zeros(10)).shape
        (20,)

    Reference:
        Cho et al., Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation, 2014.
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The next state; without ``hx`` the first one is zeros."""
        x, h = self._rows(input, None if hx is None else [hx], 1)
        after = gru_cell(x, h, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        return after if input.ndim == 2 else squeeze(after, axis=0)


def pair_of(layer: str, hx: Any) -> tuple[Tensor, Tensor]:
    """The states of an LSTM.

    Raises:
        ArgumentError: they are not a pair.
    """
    if not isinstance(hx, (tuple, list)) or len(hx) != 2:
        shown = f"{len(hx)} of them" if isinstance(hx, (tuple, list)) else type(hx).__name__
        raise ArgumentError(f"{layer}: hx is {shown}; it must be the pair (h, c) of the hidden and the cell state")
    return hx[0], hx[1]
