"""Hooks of modules: on calls, on the gradients of a call, and on states.

A module has a table for each kind. What runs them for a call is here; those of states run in :mod:`weft.nn.saved`.

The gradients of a call are seen at two records of the tape that compute nothing (:func:`_passed`): one that the
positional arguments which require grad go through, one for the results. All that arrives at one is there when its turn
comes (:func:`weft.tensor.gradient_hooks.watch`); so the hook sees the gradients of all results, and later those of all
arguments, together.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from ..core.errors import ArgumentError, user_line
from ..ops.elementwise import clone
from ..ops.op import Array, composite
from ..tensor import gradient_hooks, guards, tape
from ..tensor.gradient_hooks import RemovableHandle
from ..tensor.tensor import Tensor
from ..transforms.source.find import captured

if TYPE_CHECKING:
    from .module import Module

_numbers = count()

Gradients = tuple["Tensor | None", ...]


class Hook(NamedTuple):
    """A function that is called with a module; ``with_kwargs``: with its keyword arguments too; ``always``: also where
    the call raises."""

    function: Callable[..., Any]
    with_kwargs: bool = False
    always: bool = False


def add(hooks: dict[int, Any], hook: Any, prepend: bool = False) -> RemovableHandle:
    """Enter a hook behind the others, or before them."""
    number, others = next(_numbers), list(hooks.items())
    if prepend:
        hooks.clear()
    hooks[number] = hook
    if prepend:
        hooks.update(others)
    guards.bump()
    return RemovableHandle(hooks, number)


def call(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call of a module that has hooks."""
    waiting = [number for number, hook in module._forward_hooks.items() if hook.always]
    output = None
    try:
        args, kwargs = _before(module, args, kwargs)
        watched = None
        if module._backward_hooks or module._backward_pre_hooks:
            watched = Watched(module)
            args = watched.arguments(args)
        output = captured(module.forward)(*args, **kwargs)
        for number, hook in list(module._forward_hooks.items()):
            if number in waiting:
                waiting.remove(number)
            output = _after(hook, module, args, kwargs, output)
        return output if watched is None else watched.results(output)
    except Exception:
        _always(waiting, module, args, kwargs, output)
        raise


def _always(waiting: Sequence[int], module: Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
    """Those hooks that are called where a call raises; what they raise themselves is a warning beside that."""
    for number in waiting:
        hook = module._forward_hooks.get(number)
        if hook is None:  # it was removed meanwhile
            continue
        try:
            output = _after(hook, module, args, kwargs, output)
        except Exception as error:
            _warn(f"the hook {gradient_hooks.told(hook.function)}, which is always called, raised {error!r}")


def _warn(text: str) -> None:
    file, line = user_line() or ("?", 0)
    warnings.warn_explicit(text, UserWarning, file, line)


def _before(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    for hook in list(module._forward_pre_hooks.values()):
        if not hook.with_kwargs:
            changed = captured(hook.function)(module, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
            continue
        changed = captured(hook.function)(module, args, kwargs)
        if changed is None:
            continue
        if not (isinstance(changed, tuple) and len(changed) == 2):
            raise ArgumentError(
                f"the forward pre-hook {gradient_hooks.told(hook.function)} returned a value of type "
                f"{type(changed).__name__}; one that is registered with_kwargs returns None or (args, kwargs)"
            )
        args, kwargs = changed
    return args, kwargs


def _after(hook: Hook, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    given = (args, kwargs) if hook.with_kwargs else (args,)
    changed = captured(hook.function)(module, *given, output)
    return output if changed is None else changed


@composite(name="passed")
def _passed(tensors: Sequence[Array]) -> tuple[Array, ...]:
    """The tensors, as results of one call."""
    return tuple([clone(x) for x in tensors])


class Watched:
    """The gradients of one call of a module, on their way to its hooks."""

    def __init__(self, module: Module):
        self.module = module
        self.after = list(module._backward_hooks.values())
        self.before = list(module._backward_pre_hooks.values())
        self.entered = False  # whether an argument requires grad
        self.entries: Gradients = ()
        self.arrived: Gradients | None = None  # nothing yet

    def arguments(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The positional arguments that forward gets."""
        self.entries = (None,) * len(args)
        passed, places = _watch(args, self._leave)
        self.entered = bool(places)
        return passed

    def results(self, output: Any) -> Any:
        """What the call gives."""
        several = isinstance(output, tuple)
        outputs: tuple[Any, ...] = output if several else (output,)
        passed, _ = _watch(outputs, self._arrive)
        if not several:
            return passed[0]
        return type(output)._make(passed) if hasattr(output, "_make") else passed

    def _arrive(self, gradients: Gradients) -> Gradients:
        for hook in self.before:
            gradients = _replaced(hook, captured(hook)(self.module, gradients), gradients)
        self.arrived = gradients
        if not self.entered:
            for hook in self.after:
                _replaced(hook, captured(hook)(self.module, self.entries, gradients), self.entries)
        return gradients

    def _leave(self, gradients: Gradients) -> Gradients:
        if self.arrived is None:
            if self.after:
                _warn(
                    f"hooks on gradients of {type(self.module).__name__} are not called: the gradients of its "
                    "arguments did not come through its result, which has to be a tensor or a tuple of tensors"
                )
            return gradients
        arrived, self.arrived = self.arrived, None
        for hook in self.after:
            gradients = _replaced(hook, captured(hook)(self.module, gradients, arrived), gradients)
        return gradients


def _watch(values: tuple[Any, ...], seen: Callable[[Gradients], Gradients]) -> tuple[tuple[Any, ...], list[int]]:
    """Values of which those that require grad have gone through a record, and where these are."""
    if not tape.recording.enabled:
        return values, []
    places = [k for k, value in enumerate(values) if isinstance(value, Tensor) and value.requires_grad]
    if not places:
        return values, []
    passed = list(values)
    for k, tensor in zip(places, _passed([values[k] for k in places]), strict=True):
        passed[k] = tensor

    def hook(cotangents: list[Tensor | None]) -> None:
        gradients: list[Tensor | None] = [None] * len(values)
        for k, cotangent in zip(places, cotangents, strict=True):
            gradients[k] = cotangent
        cotangents[:] = [found for k, found in enumerate(seen(tuple(gradients))) if k in places]

    gradient_hooks.watch(passed[places[0]], hook)
    return tuple(passed), places


def _replaced(hook: Callable[..., Any], found: Any, gradients: Gradients) -> Gradients:
    """Gradients, or what a hook has returned for them.

    Raises:
        ArgumentError, ShapeError, DTypeError: it returned what cannot be in their place.
    """
    if found is None:
        return gradients
    given: tuple[Any, ...] = found if isinstance(found, tuple) else (found,)
    if len(given) != len(gradients):
        raise ArgumentError(
            f"the hook {gradient_hooks.told(hook)} returned {len(given)} gradients in the place of {len(gradients)}"
        )
    for new, old in zip(given, gradients, strict=True):
        if old is not None and new is not None:
            gradient_hooks.check_replacement(hook, new, old)
        elif old is None and new is not None:
            raise ArgumentError(
                f"the hook {gradient_hooks.told(hook)} returned a gradient where there is none to be replaced"
            )
    return given
