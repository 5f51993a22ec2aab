"""What saving and exporting have in common: example inputs, evaluation mode, names for a function's inputs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..core.errors import FormatError
from ..tensor.create import asarray, is_array
from ..tensor.tensor import Tensor
from .tree import Form


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


@contextmanager
def evaluation(model: Any) -> Iterator[None]:
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
