"""The loops of the recurrent layers: one step after another along the first axis, as one native loop.

Each is compiled once, for any length and batch size: eagerly a layer's recurrence is one native call, and inside of a
compiled function it is a loop of that graph. recurrence.py imports this module when a layer first runs, because it
needs the machinery of captures.

Where sequences of one batch have different lengths, ``keep`` says which of them a step is a step of: the states of the
others stay what they are, so that each sequence ends with (or, in reverse, begins with) the states that it would have
alone, as bits. The alternative, a smaller batch for each step as PyTorch's kernels have it, would have a shape for each
step, which no loop can have.
"""

from __future__ import annotations

from ..ops.elementwise import where
from ..ops.recurrence import gru_step, lstm_step, rnn_step
from ..tensor.tensor import Tensor
from ..transforms.compile import compile
from ..transforms.control import scan

_SIZES = {
    "inputs": {0: "length", 1: "batch"},
    "keep": {0: "length", 1: "batch"},
    "h": {0: "batch"},
    "c": {0: "batch"},
}
_SIZES_OF_H = {name: sizes for name, sizes in _SIZES.items() if name != "c"}


def _kept(keep: Tensor | None, after: Tensor, before: Tensor) -> Tensor:
    """The next state, of those sequences that this is a step of."""
    return after if keep is None else where(keep, after, before)


@compile(dynamic=_SIZES_OF_H)
def rnn_steps(
    inputs: Tensor, h: Tensor, weight_hh: Tensor, *, nonlinearity: str, reverse: bool, keep: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """``(L, N, H)`` and the first ``h`` ``(N, H)`` to all states ``(L, N, H)`` and the last one.

    Args:
        inputs: what steps get of their inputs: see :mod:`weft.ops.recurrence`.
        h, weight_hh, nonlinearity: as :func:`~weft.ops.recurrence.rnn_step` has them.
        reverse: from the last step to the first.
        keep: ``(L, N, 1)`` bool; None: all.
    """

    def step(h: Tensor, part: tuple[Tensor, Tensor | None]) -> tuple[Tensor, Tensor]:
        after = _kept(part[1], rnn_step(part[0], h, weight_hh, nonlinearity), h)
        return after, after

    last, states = scan(step, h, (inputs, keep), reverse=reverse)
    return states, last


@compile(dynamic=_SIZES)
def lstm_steps(
    inputs: Tensor,
    h: Tensor,
    c: Tensor,
    weight_hh: Tensor,
    weight_hr: Tensor | None,
    *,
    reverse: bool,
    keep: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """``(L, N, 4 H)``, the first ``h`` ``(N, P)`` and ``c`` ``(N, H)`` to all ``h`` ``(L, N, P)``, the last ``h`` and
    the last ``c``. Arguments as for :func:`rnn_steps` and :func:`~weft.ops.recurrence.lstm_step`."""

    def step(states: tuple[Tensor, Tensor], part: tuple[Tensor, Tensor | None]) -> tuple[tuple[Tensor, Tensor], Tensor]:
        h, c = states
        after_h, after_c = lstm_step(part[0], h, c, weight_hh, weight_hr)
        after_h, after_c = _kept(part[1], after_h, h), _kept(part[1], after_c, c)
        return (after_h, after_c), after_h

    (last_h, last_c), states = scan(step, (h, c), (inputs, keep), reverse=reverse)
    return states, last_h, last_c


@compile(dynamic=_SIZES_OF_H)
def gru_steps(
    inputs: Tensor, h: Tensor, weight_hh: Tensor, bias_hh: Tensor | None, *, reverse: bool, keep: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """``(L, N, 3 H)`` and the first ``h`` ``(N, H)`` to all states ``(L, N, H)`` and the last one. Arguments as for
    :func:`rnn_steps` and :func:`~weft.ops.recurrence.gru_step`."""

    def step(h: Tensor, part: tuple[Tensor, Tensor | None]) -> tuple[Tensor, Tensor]:
        after = _kept(part[1], gru_step(part[0], h, weight_hh, bias_hh), h)
        return after, after

    last, states = scan(step, h, (inputs, keep), reverse=reverse)
    return states, last
