"""Recurrent layers: cells over all steps of sequences, in several layers and both directions."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..core.errors import ArgumentError, ShapeError, user_line
from ..core.symbolic import are_equal, undecided
from ..ops.creation import zeros
from ..ops.dropout import dropout
from ..ops.indexing import take
from ..ops.pieces import concat, stack
from ..ops.recurrence import gate_inputs, gru_steps, lstm_steps, rnn_steps
from ..ops.shape import expand_dims, squeeze, swapaxes
from ..tensor import tape
from ..tensor.tensor import Tensor
from . import init
from .module import Module
from .parameter import Parameter, blank
from .recurrent_cells import check_dtype, check_nonlinearity, pair_of
from .utils.rnn import PackedSequence, packed_like, padded_steps

# A padded batch, or a packed one: the output is what the input is.
Batch = TypeVar("Batch", Tensor, PackedSequence)


def _has_history(*operands: Tensor | None) -> bool:
    """Whether what is computed of these goes on the tape, and a gradient may be asked for."""
    return tape.recording.enabled and any(t is not None and t._node is not None for t in operands)


class _Recurrent(Module):
    """What the recurrent layers share: their parameters, the order of layers and directions, and the checks.

    A subclass has the number of its gates and the loop over the steps of one layer in one direction.
    """

    gates: int

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        proj_size: int,
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__()
        self.mode, self.input_size, self.hidden_size = mode, input_size, hidden_size
        self.num_layers, self.bias, self.batch_first = num_layers, bias, batch_first
        self.dropout, self.bidirectional, self.proj_size = dropout, bool(bidirectional), proj_size
        self._check_arguments()
        self.dropout = float(dropout)
        rows, output_size = self.gates * hidden_size, proj_size or hidden_size
        for layer in range(num_layers):
            columns = input_size if layer == 0 else output_size * self._directions
            shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, columns), "weight_hh": (rows, output_size)}
            if bias:
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
            if proj_size:
                shapes["weight_hr"] = (proj_size, hidden_size)
            for suffix in ("", "_reverse")[: self._directions]:
                for name, shape in shapes.items():
                    self.register_parameter(f"{name}_l{layer}{suffix}", blank(shape, dtype, device))
        self.reset_parameters()

    def _check_arguments(self) -> None:
        name = type(self).__name__
        for what, size, least in (
            ("input_size", self.input_size, 1),
            ("hidden_size", self.hidden_size, 1),
            ("num_layers", self.num_layers, 1),
            ("proj_size", self.proj_size, 0),
        ):
            if isinstance(size, bool) or not hasattr(size, "__index__") or size.__index__() < least:
                raise ArgumentError(f"{name}: {what} is {size!r}; it must be a whole number, {least} or more")
        if self.proj_size >= self.hidden_size:
            raise ArgumentError(
                f"{name}: proj_size is {self.proj_size}; it must be smaller than hidden_size, {self.hidden_size} (0: "
                "no projection)"
            )
        for what, flag in (("bias", self.bias), ("batch_first", self.batch_first)):
            if not isinstance(flag, bool):
                raise ArgumentError(f"{name}: {what} is {flag!r}; it must be True or False")
        if isinstance(self.dropout, bool) or not isinstance(self.dropout, (int, float)) or not 0 <= self.dropout <= 1:
            raise ArgumentError(f"{name}: dropout is {self.dropout!r}; it must be a number in [0, 1]")
        if self.dropout and self.num_layers == 1:
            file, line = user_line() or ("<unknown>", 1)
            text = f"{name}: dropout={self.dropout} with one layer does nothing: it is between layers"
            warnings.warn_explicit(text, UserWarning, file, line)

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def reset_parameters(self) -> None:
        """Draw the parameters again."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def flatten_parameters(self) -> None:
        """Nothing: PyTorch's layers lay their weights out for cuDNN here; a loop reads them where they lie."""

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        return [
            [p for p in self._weights(layer, suffix) if p is not None]
            for layer in range(self.num_layers)
            for suffix in ("", "_reverse")[: self._directions]
        ]

    def _weights(self, layer: int, suffix: str) -> list[Any]:
        """``weight_ih``, ``weight_hh``, ``bias_ih``, ``bias_hh`` and ``weight_hr``; None: there is none."""
        found: list[Any] = [getattr(self, f"{name}_l{layer}{suffix}") for name in ("weight_ih", "weight_hh")]
        for name, present in (("bias_ih", self.bias), ("bias_hh", self.bias), ("weight_hr", self.proj_size > 0)):
            found.append(getattr(self, f"{name}_l{layer}{suffix}") if present else None)
        return found

    def _loop(
        self, x: Tensor, states: Sequence[Tensor], weights: Sequence[Any], reverse: bool, keep: Tensor | None
    ) -> tuple[Tensor, ...]:
        """All outputs ``(L, N, H)`` of one layer in one direction, and its last states."""
        raise NotImplementedError

    # --- forward ----------------------------------------------------------------------------------------------------

    def _state_sizes(self) -> tuple[int, ...]:
        """The numbers of features of the states."""
        return (self.hidden_size,)

    def _run(self, input: Batch, states: Sequence[Tensor] | None) -> tuple[Batch, list[Tensor]]:
        """The output and the last states."""
        if isinstance(input, PackedSequence):
            return self._of_packed(input, states)
        name = type(self).__name__
        if input.ndim not in (2, 3):
            batched = "(N, L, input_size)" if self.batch_first else "(L, N, input_size)"
            raise ShapeError(f"{name}: input {input.shape}: wants {batched}, or (L, input_size) without a batch")
        self._check_input(input)
        for number, state in enumerate(states or ()):
            if state.ndim != input.ndim:
                raise ShapeError(
                    f"{name}: {self._state_name(number)} {state.shape}, input {input.shape}: the states have a batch "
                    "axis if the input has one, and only then"
                )
        if input.ndim == 2:
            one = None if states is None else [expand_dims(s, axis=1) for s in states]
            output, last = self._layers(expand_dims(input, axis=1), one, None)
            return squeeze(output, axis=1), [squeeze(s, axis=1) for s in last]
        output, last = self._layers(swapaxes(input, 0, 1) if self.batch_first else input, states, None)
        return swapaxes(output, 0, 1) if self.batch_first else output, last

    def _of_packed(
        self, packed: PackedSequence, states: Sequence[Tensor] | None
    ) -> tuple[PackedSequence, list[Tensor]]:
        if packed.data.ndim != 2:
            name = type(self).__name__
            raise ShapeError(f"{name}: the packed data {packed.data.shape}: wants (rows, input_size)")
        self._check_input(packed.data)
        x, keep = padded_steps(packed, states[0].shape[1] if states and states[0].ndim == 3 else None)
        if states is not None and packed.sorted_indices is not None:
            self._check_states(x, states)
            states = [take(s, packed.sorted_indices, axis=1) for s in states]
        output, last = self._layers(x, states, expand_dims(keep, axis=2))
        if packed.unsorted_indices is not None:
            last = [take(s, packed.unsorted_indices, axis=1) for s in last]
        return packed_like(packed, output, keep), last

    def _layers(self, x: Tensor, states: Sequence[Tensor] | None, keep: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """``(L, N, input_size)`` through all layers."""
        if not undecided(x.shape[0]) and not x.shape[0] > 0:
            raise ShapeError(f"{type(self).__name__}: input {x.shape} (time first): wants at least one step")
        if states is None:
            first = [[zeros((x.shape[1], size), dtype=x.dtype, device=x.device)] for size in self._state_sizes()]
            begin = [s * (self.num_layers * self._directions) for s in first]
        else:
            self._check_states(x, states)
            begin = [[s[k] for k in range(self.num_layers * self._directions)] for s in states]
        ends: list[list[Tensor]] = [[] for _ in begin]
        for layer in range(self.num_layers):
            outputs = []
            for direction, suffix in enumerate(("", "_reverse")[: self._directions]):
                number = layer * self._directions + direction
                weights = self._weights(layer, suffix)
                output, *last = self._loop(x, [s[number] for s in begin], weights, bool(direction), keep)
                outputs.append(output)
                for end, state in zip(ends, last, strict=True):
                    end.append(state)
            x = outputs[0] if len(outputs) == 1 else concat(outputs, axis=-1)
            if layer < self.num_layers - 1:
                x = dropout(x, self.dropout, self.training)
        return x, [stack(end) for end in ends]

    # --- checks -----------------------------------------------------------------------------------------------------

    def _state_name(self, number: int) -> str:
        return "hx" if len(self._state_sizes()) == 1 else f"hx[{number}]"

    def _check_input(self, input: Tensor) -> None:
        name = type(self).__name__
        if not are_equal(input.shape[-1], self.input_size):
            raise ShapeError(f"{name}: input {input.shape}: its last axis is not input_size, {self.input_size}")
        check_dtype(name, self.weight_ih_l0, input=input)

    def _check_states(self, x: Tensor, states: Sequence[Tensor]) -> None:
        name = type(self).__name__
        for number, (state, size) in enumerate(zip(states, self._state_sizes(), strict=True)):
            wanted = (self.num_layers * self._directions, x.shape[1], size)
            if state.ndim != 3 or not all(map(are_equal, state.shape, wanted)):
                raise ShapeError(
                    f"{name}: {self._state_name(number)} {state.shape}, for a batch of {x.shape[1]}: wants {wanted} "
                    "(layers times directions, batch, features)"
                )
            check_dtype(name, self.weight_ih_l0, **{self._state_name(number): state})

    def extra_repr(self) -> str:
        """The sizes, and what is not the default."""
        shown = [str(self.input_size), str(self.hidden_size)]
        defaults = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0}
        for name, default in (*defaults.items(), ("bidirectional", False)):
            if getattr(self, name) != default:
                shown.append(f"{name}={getattr(self, name)}")
        return ", ".join(shown)


class RNN(_Recurrent):
    """Sequences ``(L, N, input_size)`` to the states of an Elman network ``(L, N, D * hidden_size)`` and the last ones.

    In each layer ``h_t = tanh(x_t @ weight_ih.T + bias_ih + h_(t-1) @ weight_hh.T + bias_hh)``. The parameters of layer
    k are ``weight_ih_l{k}``, ``weight_hh_l{k}``, ``bias_ih_l{k}``, ``bias_hh_l{k}``; those of the other direction end
    in ``_reverse``; all are drawn uniformly from ``[-1, 1) / sqrt(hidden_size)``.

    Args:
        input_size, hidden_size: the numbers of features.
        num_layers: the outputs of each layer are the inputs of the next one.
        nonlinearity: ``"tanh"`` or ``"relu"``.
        bias: whether there are biases.
        batch_first: input and output are ``(N, L, ...)``; the states are not.
        dropout: the probability with which outputs of all layers but the last are dropped in training.
        bidirectional: a second recurrence from the last step to the first; D is 2, the outputs are side by side.

    Example:
        >>> output, h = wf.nn.RNN(10, 20, 2)(wf.zeros((5, 3, 10)))
        >>> output.shape, h.shape
        ((5, 3, 20), (2, 3, 20))

    Reference:
        Elman, Finding Structure in Time, 1990.
    """

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        check_nonlinearity("RNN", nonlinearity)
        options = num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype
        super().__init__(f"RNN_{nonlinearity.upper()}", input_size, hidden_size, *options)
        self.nonlinearity = nonlinearity

    if TYPE_CHECKING:  # of the module's own call type checkers would take one kind of batch

        def __call__(self, input: Batch, hx: Tensor | None = None) -> tuple[Batch, Tensor]: ...  # type: ignore[override]

    def forward(self, input: Batch, hx: Tensor | None = None) -> tuple[Batch, Tensor]:
        """The output ``(L, N, D * hidden_size)`` and the last states ``(D * num_layers, N, hidden_size)``, like ``hx``
        (zeros without it); all without N for an input ``(L, input_size)``, and packed for a packed one."""
        output, (h,) = self._run(input, None if hx is None else [hx])
        return output, h

    def _loop(
        self, x: Tensor, states: Sequence[Tensor], weights: Sequence[Any], reverse: bool, keep: Tensor | None
    ) -> tuple[Tensor, ...]:
        weight_ih, weight_hh, bias_ih, bias_hh, _ = weights
        inputs = gate_inputs(x, weight_ih, bias_ih, bias_hh)
        keeps = _has_history(inputs, states[0], weight_hh)
        return rnn_steps(inputs, states[0], weight_hh, keep, self.nonlinearity, reverse, keeps)[:2]


class LSTM(_Recurrent):
    """Sequences ``(L, N, input_size)`` to the hidden states of an LSTM ``(L, N, D * hidden_size)`` and the last states.

    Each layer does at each step what :class:`LSTMCell` does. The parameters of layer k are ``weight_ih_l{k}``
    ``(4 * hidden_size, input_size)``, ``weight_hh_l{k}`` ``(4 * hidden_size, hidden_size)``, ``bias_ih_l{k}`` and
    ``bias_hh_l{k}`` ``(4 * hidden_size,)``, those of the other direction end in ``_reverse``; all are drawn uniformly
    from ``[-1, 1) / sqrt(hidden_size)``.

    Args:
        input_size, hidden_size: the numbers of features.
        num_layers: the outputs of each layer are the inputs of the next one.
        bias: whether there are biases.
        batch_first: input and output are ``(N, L, ...)``; the states are not.
        dropout: the probability with which outputs of all layers but the last are dropped in training.
        bidirectional: a second recurrence from the last step to the first; D is 2, the outputs are side by side.
        proj_size: the hidden states are projected to so many features by ``weight_hr_l{k}``
            ``(proj_size, hidden_size)``; 0: they are not.

    Example:
        >>> output, (h, c) = wf.nn.LSTM(10, 20, bidirectional=True)(wf.zeros((5, 3, 10)))
        >>> output.shape, h.shape, c.shape
        ((5, 3, 40), (2, 3, 20), (2, 3, 20))

    Reference:
        Hochreiter and Schmidhuber, Long Short-Term Memory, 1997; Sak et al., Long Short-Term Memory Based Recurrent
        Neural Network Architectures, 2014 (the projection).
    """

    gates = 4

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        options = num_layers, bias, batch_first, dropout, bidirectional, proj_size, device, dtype
        super().__init__("LSTM", input_size, hidden_size, *options)

    def _state_sizes(self) -> tuple[int, ...]:
        return self.proj_size or self.hidden_size, self.hidden_size

    if TYPE_CHECKING:  # of the module's own call type checkers would take one kind of batch

        def __call__(  # type: ignore[override]
            self, input: Batch, hx: tuple[Tensor, Tensor] | None = None
        ) -> tuple[Batch, tuple[Tensor, Tensor]]: ...

    def forward(self, input: Batch, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Batch, tuple[Tensor, Tensor]]:
        """The output ``(L, N, D * H)`` and the last states ``(D * num_layers, N, H)`` and ``(D * num_layers, N,
        hidden_size)``, like ``hx`` (zeros without it); H is ``proj_size`` or ``hidden_size``. All without N for an
        input ``(L, input_size)``, and packed for a packed one."""
        output, (h, c) = self._run(input, None if hx is None else pair_of("LSTM", hx))
        return output, (h, c)

    def _loop(
        self, x: Tensor, states: Sequence[Tensor], weights: Sequence[Any], reverse: bool, keep: Tensor | None
    ) -> tuple[Tensor, ...]:
        weight_ih, weight_hh, bias_ih, bias_hh, weight_hr = weights
        inputs = gate_inputs(x, weight_ih, bias_ih, bias_hh)
        h, c = states
        keeps = _has_history(inputs, h, c, weight_hh, weight_hr)
        return lstm_steps(inputs, h, c, weight_hh, weight_hr, keep, reverse, keeps)[:3]


class GRU(_Recurrent):
    """Sequences ``(L, N, input_size)`` to the states of gated units ``(L, N, D * hidden_size)``, and the last ones.

    Each layer does at each step what :class:`GRUCell` does. The parameters of layer k are ``weight_ih_l{k}``
    ``(3 * hidden_size, input_size)``, ``weight_hh_l{k}`` ``(3 * hidden_size, hidden_size)``, ``bias_ih_l{k}`` and
    ``bias_hh_l{k}`` ``(3 * hidden_size,)``, those of the other direction end in ``_reverse``; all are drawn uniformly
    from ``[-1, 1) / sqrt(hidden_size)``.

    Args:
        input_size, hidden_size: the numbers of features.
        num_layers: the outputs of each layer are the inputs of the next one.
        bias: whether there are biases.
        batch_first: input and output are ``(N, L, ...)``; the states are not.
        dropout: the probability with which outputs of all layers but the last are dropped in training.
        bidirectional: a second recurrence from the last step to the first; D is 2, the outputs are side by side.

    Example:
        >>> output, h = wf.nn.GRU(10, 20, batch_first=True)(wf.zeros((3, 5, 10)))
        >>> output.shape, h.shape
        ((3, 5, 20), (1, 3, 20))

    Reference:
        Cho et al., Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation, 2014.
    """

    gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        options = num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype
        super().__init__("GRU", input_size, hidden_size, *options)

    if TYPE_CHECKING:  # of the module's own call type checkers would take one kind of batch

        def __call__(self, input: Batch, hx: Tensor | None = None) -> tuple[Batch, Tensor]: ...  # type: ignore[override]

    def forward(self, input: Batch, hx: Tensor | None = None) -> tuple[Batch, Tensor]:
        """The output ``(L, N, D * hidden_size)`` and the last states ``(D * num_layers, N, hidden_size)``, like ``hx``
        (zeros without it); all without N for an input ``(L, input_size)``, and packed for a packed one."""
        output, (h,) = self._run(input, None if hx is None else [hx])
        return output, h

    def _loop(
        self, x: Tensor, states: Sequence[Tensor], weights: Sequence[Any], reverse: bool, keep: Tensor | None
    ) -> tuple[Tensor, ...]:
        weight_ih, weight_hh, bias_ih, bias_hh, _ = weights
        inputs = gate_inputs(x, weight_ih, bias_ih)
        keeps = _has_history(inputs, states[0], weight_hh, bias_hh)
        return gru_steps(inputs, states[0], weight_hh, bias_hh, keep, reverse, keeps)[:2]
