"""Gradients of functions, JAX's way: ``grad`` and ``value_and_grad`` over any nesting of dict, list and tuple."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, overload

from ..core.errors import AutogradError
from ..tensor import tape
from ..tensor.create import asarray, is_array
from ..tensor.tensor import Tensor
from .source.find import captured
from .tree import flatten, unflatten

A = TypeVar("A", bound=Any)  # so that a lambda may do anything with it
P = ParamSpec("P")
R = TypeVar("R")


@overload
def value_and_grad(  # type: ignore[overload-overlap]  # a literal 0 is the narrower
    function: Callable[Concatenate[A, P], R], argnums: Literal[0] = 0, has_aux: bool = False
) -> Callable[Concatenate[A, P], tuple[R, A]]: ...
@overload
def value_and_grad(function: Callable[P, R], argnums: int, has_aux: bool = False) -> Callable[P, tuple[R, Any]]: ...
@overload
def value_and_grad(
    function: Callable[P, R], argnums: Sequence[int], has_aux: bool = False
) -> Callable[P, tuple[R, tuple[Any, ...]]]: ...
def value_and_grad(
    function: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that returns ``(value, gradients)``.

    Args:
        function: returns a tensor of one element (with ``has_aux``: a pair of it and anything).
        argnums: the positional arguments to differentiate; a number gives one gradient, a sequence a tuple. Each may
            be any nesting of dict, list and tuple of floating tensors (Python floats and NumPy arrays become such);
            its gradient has the same form.

    >>> import weft as wf
    >>> wf.value_and_grad(lambda x: (x * x).sum())(wf.asarray([1.0, 2.0]))
    (Tensor(5., dtype=float32), Tensor([2., 4.], dtype=float32))

    Raises:
        AutogradError: an argument is not floating, or the result is not a tensor of one element.
    """
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    @functools.wraps(function)
    def transformed(*args: Any, **kwargs: Any) -> Any:
        changed = list(args)
        leaves: list[Tensor] = []
        forms = []
        for number in numbers:
            parts, form = flatten(args[number])
            marked = [_marked(p) for p in parts]
            leaves += marked
            forms.append((form, len(parts)))
            changed[number] = unflatten(form, marked)
        with tape.enable_grad():
            returned = captured(function)(*changed, **kwargs)
        result, aux = returned if has_aux else (returned, None)
        if not isinstance(result, Tensor) or result.size != 1:
            what = f"a tensor of shape {result.shape}" if isinstance(result, Tensor) else type(result).__name__
            raise AutogradError(f"grad: the function must return a tensor of one element; it returned {what}")
        keep = _reaches_beyond(result, leaves)
        gradients = iter(_gradients(result, leaves, keep))
        trees = [unflatten(form, [next(gradients) for _ in range(count)]) for form, count in forms]
        found = trees[0] if isinstance(argnums, int) else tuple(trees)
        value = result if keep else result.detach()
        return ((value, aux), found) if has_aux else (value, found)

    return transformed


@overload
def grad(
    function: Callable[Concatenate[A, P], Tensor], argnums: Literal[0] = 0, has_aux: Literal[False] = False
) -> Callable[Concatenate[A, P], A]: ...
@overload
def grad(
    function: Callable[Concatenate[A, P], tuple[Tensor, R]], argnums: Literal[0] = 0, *, has_aux: Literal[True]
) -> Callable[Concatenate[A, P], tuple[A, R]]: ...
@overload
def grad(function: Callable[P, Any], argnums: int, has_aux: bool = False) -> Callable[P, Any]: ...
@overload
def grad(
    function: Callable[P, Tensor], argnums: Sequence[int], has_aux: Literal[False] = False
) -> Callable[P, tuple[Any, ...]]: ...
@overload
def grad(
    function: Callable[P, tuple[Tensor, R]], argnums: Sequence[int], has_aux: Literal[True]
) -> Callable[P, tuple[tuple[Any, ...], R]]: ...
def grad(function: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns the gradients of ``function``; see :func:`value_and_grad`. May be nested.

    >>> import weft as wf
    >>> wf.grad(wf.grad(lambda x: x * x * x))(wf.asarray(2.0))
    Tensor(12., dtype=float32)
    """
    both = value_and_grad(function, argnums, has_aux)

    @functools.wraps(function)
    def transformed(*args: Any, **kwargs: Any) -> Any:
        value, gradients = both(*args, **kwargs)
        return (gradients, value[1]) if has_aux else gradients

    return transformed


def _marked(value: Any) -> Tensor:
    if isinstance(value, float) or is_array(value):
        value = asarray(value)
    if not isinstance(value, Tensor) or not value.dtype.is_floating:
        what = value.dtype.name if isinstance(value, Tensor) else type(value).__name__
        raise AutogradError(
            f"grad: the arguments to differentiate must be floating tensors, not {what}; choose others with argnums"
        )
    if value._node is None:
        marked = value.detach()  # the same memory: what the function writes is written for the caller too
        marked._node = tape.Leaf(marked._spec)
        return marked
    with tape.enable_grad():
        seen: Tensor = value[...]  # a place on the tape of its own, with the history of the argument behind it
    return seen


def _gradients(result: Tensor, leaves: Sequence[Tensor], create_graph: bool) -> list[Tensor]:
    from ..ops.creation import ones, zeros

    targets: dict[Any, Tensor | None] = {(x._node, x._index): None for x in leaves}
    if result._node is not None:
        cotangent = ones(result.shape, dtype=result.dtype, device=result.device)
        tape.backward([(result._node, result._index, cotangent)], create_graph, True, targets)
    found = []
    for x in leaves:
        gradient = targets[x._node, x._index]
        found.append(zeros(x.shape, dtype=x.dtype, device=x.device) if gradient is None else gradient)
    return found


def _reaches_beyond(result: Tensor, leaves: Sequence[Tensor]) -> bool:
    """Whether the result also hangs on something that an enclosing transform, or backward(), may differentiate:
    then the gradient computation is recorded too."""
    own = {(x._node, x._index) for x in leaves if isinstance(x._node, tape.Leaf)}
    seen: set[Any] = set()
    stack = [(result._node, result._index)]
    while stack:
        node, index = stack.pop()
        if node is None or (node, index) in seen:
            continue
        seen.add((node, index))
        if isinstance(node, tape.Boundary):
            return True
        if isinstance(node, tape.Leaf):
            if (node, index) not in own:
                return True
        elif not isinstance(node, tape.Stale):
            stack.extend(node.parents)
    return False
