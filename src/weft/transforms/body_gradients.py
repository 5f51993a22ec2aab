"""The gradients that bodies of branches and loops set: what they come to after the node.

A body notes them (``Tracing.gradients``, bodies.py). Of a branch the two ways are joined; a loop carries those that an
iteration finds and leaves. Where a value decides whether there is a gradient, the leaf has an ``Undecided``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.errors import CaptureError
from ..ops.op import Trace
from ..tensor import tape
from ..tensor.tensor import Tensor
from .bodies import Gradient, Tracing, Undecided, Unstable, now


def joined_gradients(trace: Trace, tracings: Sequence[Tracing]) -> dict[tape.Leaf, Any]:
    """The gradients that the ways of a branch set: what they come to, or the two of which a value decides."""
    found: dict[tape.Leaf, Any] = {}
    for leaf in dict.fromkeys([leaf for t in tracings for leaf in t.gradients]):
        pair = []
        for tracing in tracings:
            own = tracing.gradients.get(leaf)
            if own is None:
                before = trace.capture.peek_grad(leaf)
                own = Gradient(before, now(before) if isinstance(before, Tensor) else before)
            pair.append(own)
        a, b = (own.tensor for own in pair)
        if a is b:
            found[leaf] = a
        elif isinstance(a, Tensor) and isinstance(b, Tensor):
            found[leaf] = pair
        else:
            found[leaf] = Undecided()
    return found


def carried_gradients(name: str, trace: Trace, tracing: Tracing) -> dict[tape.Leaf, Any]:
    """The gradients that an iteration sets, by what a loop begins with.

    Raises:
        Unstable: the first round of a ``for`` finds a gradient where the others find none, or the other way around.
        CaptureError: what a gradient's memory comes to cannot be said.
    """
    found: dict[tape.Leaf, Any] = {}
    for leaf, own in tracing.gradients.items():
        before = trace.capture.peek_grad(leaf)
        if isinstance(before, Tensor) and isinstance(own.tensor, Tensor):
            found[leaf] = before
        elif before is not own.tensor:
            if name == "for" and not isinstance(before, Undecided):
                raise Unstable(
                    f"{name}: a parameter has a gradient before an iteration and none after it, or the other way around"
                )
            found[leaf] = Undecided()
    shown_ = [n for n, leaf in tracing.shown_gradients if leaf in found]
    if shown_:
        raise CaptureError(
            f"{name}: an iteration carries on a gradient's own memory under another name; carry a clone()"
        )
    return found


def let_go(tracings: Sequence[Tracing]) -> None:
    """Let go of gradients that bodies have made themselves: nothing has their memory in common with anything now."""
    for tracing in tracings:
        for own in tracing.gradients.values():
            if own.is_own and own.after is not None:
                own.tensor = own.after


def set_gradients(trace: Trace, gradients: Mapping[tape.Leaf, Any], made: Mapping[tape.Leaf, Tensor]) -> None:
    """Let leaves have the gradients that a branch or loop gives."""
    for leaf, found in gradients.items():
        trace.capture.write_grad(leaf, made.get(leaf, found) if isinstance(found, list) else found)
    for leaf, gradient in made.items():
        for own in gradients[leaf]:  # in eager code it is the very tensor that a way sets
            if not own.is_own:
                trace.capture.may_share(gradient, [own.lies_in])


def give_gradients(
    trace: Trace, tracing: Tracing, before: Mapping[tape.Leaf, Any], made: Mapping[tape.Leaf, Tensor]
) -> None:
    """Let leaves have the gradients that the iterations of a loop have left."""
    for leaf, own in tracing.gradients.items():
        gradient = made.get(leaf, own.tensor if own.tensor is before[leaf] else Undecided())
        trace.capture.write_grad(leaf, gradient)
        if leaf in made:  # eagerly it is what was there, if there was no iteration
            trace.capture.may_share(gradient, [before[leaf], *([] if own.is_own else [own.lies_in])])
