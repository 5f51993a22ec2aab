"""What saving and exporting have in common: example inputs, the capture in evaluation mode, names for inputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..core.errors import CaptureError, FormatError
from ..graph.protocol import TensorType
from ..tensor.create import asarray, is_array
from ..tensor.tape import no_grad
from ..tensor.tensor import Tensor
from .capture import capture
from .captured import Captured
from .tree import Form, flatten, unflatten


def example_tensor(leaf: Any, op: str) -> Tensor:
    """A leaf of an example as a tensor.

    Raises:
        FormatError: it is neither a tensor nor an array.
    """
    if not isinstance(leaf, Tensor) and not is_array(leaf):
        raise FormatError(
            f"{op}: the example holds a {type(leaf).__name__} where a tensor or an array is expected; "
            f"fix settings with functools.partial"
        )
    return asarray(leaf).detach()


def has_state(model: Any) -> bool:
    """Whether it is a module, or passes a module's walks on."""
    return all(hasattr(model, name) for name in ("modules", "named_parameters", "named_buffers"))


def capture_pure(
    function: Callable[..., Any],
    form: Form,
    example: Sequence[Tensor],
    types: Sequence[TensorType] | None = None,
    *,
    op: str,
    made: str,
) -> tuple[Captured, list[Tensor]]:
    """A function in evaluation mode as a graph, and its results for the example, whose tensors ``form`` makes the tuple
    of arguments.

    Args:
        types: what it is captured for, where that is more than the example (symbolic sizes).
        op, made: the caller, and what it makes of the graph, for errors.

    Raises:
        CaptureError: it needs a tensor's value, or changes tensors that it does not return.
    """
    with _evaluation(function), no_grad():
        captured = capture(function, unflatten(form, example if types is None else types))
        if captured.writes.anything:
            raise CaptureError(
                f"{op}: the function changes tensors that it does not return (random generators, buffers or "
                f"gradients), which {made} cannot do"
            )
        results, _ = flatten(function(*unflatten(form, example)))
    return captured, results


@contextmanager
def _evaluation(model: Any) -> Iterator[None]:
    """A module's evaluation mode, and afterwards each submodule's own again."""
    modules = [m for m in model.modules() if m.training] if has_state(model) else []
    try:
        for m in modules:
            m.training = False
        yield
    finally:
        for m in modules:
            m.training = True


def input_names(function: Any, form: Form) -> list[str]:
    """A name for each tensor among the arguments: the parameter's, and the place in it. Names may repeat."""
    try:
        parameters = list(inspect.signature(getattr(function, "forward", function)).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    plain = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [
        name
        for number, part in enumerate(form[2])
        for name in leaf_names(plain[number] if number < len(plain) else f"input_{number}", part)
    ]


def leaf_names(base: str, form: Form) -> list[str]:
    """``base`` for a leaf, ``base_key`` or ``base_number`` for what is nested in it."""
    kind = form[0]
    if kind in ("leaf", "none"):
        return [base] if kind == "leaf" else []
    keys = form[1] if kind == "dict" else range(len(form[-1]))
    return [name for key, part in zip(keys, form[-1], strict=True) for name in leaf_names(f"{base}_{key}", part)]
