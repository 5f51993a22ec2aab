"""Hooks on gradients: where they are kept, and what running them means.

A hook belongs to a *place on the tape* (:mod:`weft.tensor.tape`), not to a tensor object: to an output of a Record, or
to a Leaf. So the hook of a tensor that is changed in place later stays with the value before, whose gradient it sees.

- ``x.register_hook(h)`` of a result: in ``Record.hooks``, by the number of the output. When the record's turn comes,
  all that was added up for the output has arrived: its hooks run, in their order, and what the last one leaves goes on.
- of a leaf: in ``Leaf.before``. They run at the end of the pass, over what the leaf received, before it is added to
  ``.grad``; those of all leaves before anything is added anywhere, so that a hook that raises leaves every ``.grad`` as
  it was.
- ``p.register_post_accumulate_grad_hook(h)``: in ``Leaf.after``, run when the gradients of all leaves are there. Such a
  leaf knows its tensor, so that the two are freed by the garbage collector.
- a hook of a whole record (:func:`watch`: what modules' hooks on gradients are made of) is in ``Record.hooks`` under
  ``WHOLE``. It runs when the record's turn comes, after those of single outputs, and gets all that has arrived: a list,
  with None where nothing has, whose entries it may replace.
- ``y.retain_grad()`` follows the tensor, whatever is written to it: there is a table of these tensors, and a pass looks
  up where they are when it begins. What it keeps is what the hooks of that place have left.

A hook gets a gradient of its own, never memory of another one: it may change it in place, and may keep it.

A compiled call is one record for many (:class:`weft.transforms.unit.UnitRecord`). Where one of its results has a hook,
the gradient of that result has to be complete first, contributions from the middle of the call included, so that the
record is unfolded, and its parts get the hooks. In captured code a hook is traced with the backward pass that runs it;
those of leaves from outside are a guard of the graph. A hook that is registered inside on something whose gradient is
asked for outside, by another pass, is refused.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any

from ..core.errors import ArgumentError, DTypeError, ShapeError, user_line
from . import guards

if TYPE_CHECKING:
    from .tensor import Tensor

Hooks = dict[int, Callable[..., Any]]
WHOLE = -1  # in the place of an output's number

_numbers = count()
# Not empty from the first hook of the process on: a pass looks for hooks only then.
ever: list[bool] = []
# Where hooks were registered, by their numbers: for errors. Only of those registered inside captured functions.
lines: dict[int, tuple[str, int] | None] = {}


class RemovableHandle:
    """Takes a hook away again; as a context manager, at the end of the block."""

    def __init__(self, hooks: dict[int, Any], key: int):
        self._hooks, self._key = hooks, key

    def remove(self) -> None:
        """Remove the hook; a second time does nothing."""
        self._hooks.pop(self._key, None)
        guards.bump()

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *details: object) -> None:
        self.remove()


def add(hooks: Hooks, hook: Callable[..., Any]) -> RemovableHandle:
    """Append a hook."""
    number = next(_numbers)
    hooks[number] = hook
    if not ever:
        ever.append(True)
    return RemovableHandle(hooks, number)


def changed(gradient: Tensor, hooks: Hooks) -> Tensor:
    """What hooks make of a gradient, one after the other.

    Raises:
        ArgumentError: one of them returned something that is no tensor.
        ShapeError, DTypeError: it returned a tensor of another type.
    """
    gradient = copied(gradient)
    for number, hook in list(hooks.items()):
        if number not in hooks:  # another hook has removed it
            continue
        found = hook(gradient)
        if found is not None:
            _check(hook, found, gradient)
            gradient = found
    return gradient


def watch(tensor: Tensor, hook: Callable[[list[Tensor | None]], None]) -> None:
    """Let a hook see, and replace, what arrives for the outputs of the record that made a tensor."""
    node: Any = tensor._node
    if getattr(node, "hooks", None) is None:
        node.hooks = {}
    note_line(add(node.hooks.setdefault(WHOLE, {}), hook))


def check_replacement(hook: Any, found: Any, gradient: Tensor) -> None:
    """Raise unless what a hook has returned can take the place of a gradient.

    Raises:
        ArgumentError: it is no tensor.
        ShapeError, DTypeError: it is a tensor of another type.
    """
    _check(hook, found, gradient)


def run_at(node: Any, cotangents: list[Tensor | None], retained: Places) -> None:
    """Let the hooks of a record's outputs see, and change, what has arrived there."""
    hooked = getattr(node, "hooks", None)
    for index, cotangent in enumerate(cotangents):
        if cotangent is None:
            continue
        if hooked is not None and hooked.get(index):
            cotangent = cotangents[index] = changed(cotangent, hooked[index])
        for kept in retained.get((node, index), ()):
            kept.keep(cotangent)
    for hook in list(hooked.get(WHOLE, {}).values()) if hooked is not None else ():
        hook(cotangents)


def are_many_watched(node: Any, retained: Places) -> bool:
    """Whether an output of a record of many has a hook, or a tensor that keeps its gradient."""
    if any(kept is node for kept, _ in retained):
        return True
    return any(getattr(node, "hooks", {}).values())


def unfold(node: Any, retained: Places) -> None:
    """Let the parts that a record of many has been replaced by have what tensors keep of it."""
    for index, place in enumerate(node.expanded or () if retained else ()):
        if (node, index) in retained:
            retained[place] = retained.pop((node, index))


def call_after(tensor: Tensor, hooks: Hooks) -> None:
    """Run hooks on a leaf whose gradient is there.

    Raises:
        ArgumentError: one of them returned something.
    """
    for number, hook in list(hooks.items()):
        if number in hooks:
            found = hook(tensor)
            if found is not None:
                raise ArgumentError(
                    f"the post-accumulate hook {told(hook)} returned a value of type "
                    f"{type(found).__name__}, which has no meaning: let it change tensor.grad, and return None"
                )


def copied(tensor: Tensor) -> Tensor:
    """The same value in memory of its own."""
    from ..ops.elementwise import clone

    made: Tensor = clone(tensor)
    return made


def _check(hook: Any, found: Any, gradient: Tensor) -> None:
    from .tensor import Tensor

    if not isinstance(found, Tensor):
        raise ArgumentError(
            f"the hook {told(hook)} returned a value of type {type(found).__name__}; a hook returns a tensor, "
            f"which replaces the gradient, or None"
        )
    if found.shape != gradient.shape:
        raise ShapeError(
            f"the hook {told(hook)} returned a gradient of shape {tuple(found.shape)} in the place of one of shape "
            f"{tuple(gradient.shape)}"
        )
    if found.dtype is not gradient.dtype:
        raise DTypeError(
            f"the hook {told(hook)} returned a gradient of {found.dtype.name} in the place of one of "
            f"{gradient.dtype.name}; cast it"
        )


def told(hook: Any) -> str:
    """A hook's name, and where it is defined."""
    code = getattr(hook, "__code__", None)
    name = getattr(hook, "__name__", type(hook).__name__)
    return name if code is None else f"{name} ({code.co_filename}:{code.co_firstlineno})"


def line_of(hooks: Hooks) -> tuple[str, int] | None:
    """Where the first of some hooks was registered."""
    return next((lines.get(number) for number in hooks), None)


def note_line(handle: RemovableHandle) -> None:
    """Remember the user's line as that where a hook was registered."""
    if len(lines) > 4096:
        lines.clear()
    lines[handle._key] = user_line(2)


# --- retain_grad ----------------------------------------------------------------------------------------------------


class Retained:
    """The gradient that a result of recorded calls keeps."""

    __slots__ = ("grad", "tensor", "where")

    def __init__(self, tensor: Tensor):
        number = id(tensor)
        self.tensor = weakref.ref(tensor, lambda _: retaining.pop(number, None))
        self.grad: Tensor | None = None
        self.where = user_line(2)

    def keep(self, gradient: Tensor) -> None:
        """Add what a pass has found; a new tensor each time, as in PyTorch."""
        self.grad = copied(gradient) if self.grad is None else self.grad + gradient


Places = dict[tuple[Any, int], list[Retained]]

# By the ids of the tensors.
retaining: dict[int, Retained] = {}


def places_retained() -> Places:
    """The places on the tape whose gradients are kept now."""
    found: Places = {}
    for retained in list(retaining.values()):
        tensor = retained.tensor()
        if tensor is not None and tensor._node is not None:
            found.setdefault(behind(tensor._node, tensor._index), []).append(retained)
    return found


def behind(node: Any, index: int) -> tuple[Any, int]:
    """The place that one in a record of many stands for, as far as that is known by now."""
    while (places := getattr(node, "expanded", None)) is not None:
        node, index = places[index]
    return node, index
