"""``Tensor.register_hook`` and its kin: the rules of who may have a hook, and when. What they mean is told in
:mod:`weft.tensor.gradient_hooks`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.errors import ArgumentError, AutogradError, CaptureError
from ..ops.op import state
from . import guards, tape
from .gradient_hooks import Hooks, RemovableHandle, Retained, add, behind, note_line, retaining
from .tensor import Tensor, _here


def register_hook(self: Tensor, hook: Callable[[Tensor], Any]) -> RemovableHandle:
    """Call ``hook(gradient)`` whenever the gradient of this tensor has been computed: all of it, summed over the uses
    of the tensor. A tensor that the hook returns takes the gradient's place. Hooks run in the order in which they were
    registered; the hook of a tensor that is changed in place later stays with the value before.

    >>> import weft as wf
    >>> x = wf.ones(2).requires_grad_()
    >>> handle = x.register_hook(lambda gradient: gradient * 10)
    >>> (x * 3).sum().backward()
    >>> x.grad
    Tensor([30., 30.], dtype=float32)
    >>> handle.remove()

    Raises:
        AutogradError: the tensor does not require grad.
        CaptureError: inside a captured function, on a tensor from outside.
    """
    _check("register_hook", hook)
    node, index = _place("register_hook", self)
    if isinstance(node, tape.Leaf):
        if node.before is None:
            node.before = {}
        hooks: Hooks = node.before
        guards.bump()
    else:
        hooked = getattr(node, "hooks", None)
        if hooked is None:
            hooked = node.hooks = {}
        hooks = hooked.setdefault(index, {})
    return _added(hooks, hook)


def register_post_accumulate_grad_hook(self: Tensor, hook: Callable[[Tensor], None]) -> RemovableHandle:
    """Call ``hook(tensor)`` whenever a gradient has been added to this leaf's ``grad``.

    Raises:
        AutogradError: the tensor does not require grad, or is a result of recorded calls.
        CaptureError: inside a captured function, on a tensor from outside.
    """
    name = "register_post_accumulate_grad_hook"
    _check(name, hook)
    node, _ = _place(name, self)
    if not isinstance(node, tape.Leaf):
        raise AutogradError(
            f"{name} on a result of recorded calls, to whose grad nothing is added; register it on a leaf, or use "
            f"register_hook"
        )
    if node.after is None:
        node.after = self, {}
    guards.bump()
    return _added(node.after[1], hook)


def retain_grad(self: Tensor) -> None:
    """Let backward() keep the gradient of this result of recorded calls in its ``grad``, as leaves have it. It is the
    gradient of the value that the tensor has when backward() is called. Of a leaf nothing changes.

    Raises:
        AutogradError: the tensor does not require grad.
        CaptureError: inside a captured function, on a tensor from outside.
    """
    if isinstance(_here(self)._node, tape.Leaf):
        return
    _place("retain_grad", self)
    if id(self) not in retaining:
        retaining[id(self)] = Retained(self)


def _check(name: str, hook: Any) -> None:
    if not callable(hook):
        raise ArgumentError(f"{name}: a hook is a function, not a value of type {type(hook).__name__}")


def _added(hooks: Hooks, hook: Callable[..., Any]) -> RemovableHandle:
    handle = add(hooks, hook)
    if state.trace is not None:
        note_line(handle)
    return handle


def _place(name: str, tensor: Tensor) -> tuple[Any, int]:
    """The place on the tape that a hook of a tensor belongs to."""
    here, trace = _here(tensor), state.trace
    node = here._node
    if node is None:
        raise AutogradError(
            f"{name} on a tensor that does not require grad: no gradient is computed for it; call requires_grad_() "
            f"first, or make it where gradients are recorded"
        )
    if isinstance(node, tape.Stale):
        raise node.error()
    if trace is not None and trace.capture is not None:
        outer = isinstance(node, tape.Leaf) and trace.capture.is_outside_leaf(node)
        if outer or isinstance(node, tape.Boundary):
            raise CaptureError(
                f"{name} inside a captured function on a tensor {tensor._spec} from outside: its Python code runs "
                f"once, so that later calls would not register theirs; do it before the function is called"
            )
    return behind(node, here._index)


def _retains_grad(self: Tensor) -> bool:
    """Whether backward() keeps the gradient of this result of recorded calls; False for leaves."""
    return id(self) in retaining and not isinstance(_here(self)._node, tape.Leaf)


METHODS: dict[str, Any] = {
    "register_hook": register_hook,
    "register_post_accumulate_grad_hook": register_post_accumulate_grad_hook,
    "retain_grad": retain_grad,
    "retains_grad": property(_retains_grad),
}
