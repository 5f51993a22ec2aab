"""``out=``: a public function's result is written into a tensor that is there.

``wf.add(x, y, out=z)`` is the function's own graph, compiled so that it writes where ``z`` lies; ``z`` may be an
operand, or share memory with some. Nothing is recorded, so that no operand may ask for a gradient meanwhile.
"""

from __future__ import annotations

import inspect
from typing import Any

from ..core.errors import ArgumentError, AutogradError, DTypeError, ShapeError
from ..core.shapes import shown
from ..ops.op import Composite, state
from . import tape
from .arguments import CONTRACTS
from .in_place import InPlace, fits_kind, write
from .tensor import Tensor

_forms: dict[Composite, InPlace] = {}


def write_out(function: Composite, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``function(*args, **kwargs)`` with ``out`` among the ``kwargs``: returns that tensor, or, where it is None, a new
    one.

    Raises:
        ShapeError: the result has another shape.
        DTypeError: ``out`` is no tensor, or its dtype does not hold the result's kind.
        AutogradError: gradients are recorded, and an operand or ``out`` requires grad.
        ArgumentError: the function returns a view, or several tensors, or writes over its operand.
    """
    options = {name: value for name, value in kwargs.items() if name != "out"}
    out, name = kwargs["out"], function.name
    if out is None:
        return function(*args, **options)
    if function.is_view:
        raise ArgumentError(f"{name}: its result is a view, for which there is no out=; use out.copy_({name}(...))")
    at = function.inplace_at
    if at and CONTRACTS["bool"].convert(name, "inplace", args[at] if len(args) > at else options.get("inplace", False)):
        raise ArgumentError(f"{name}: inplace=True and out= both say where the result goes; give one of them")
    if not isinstance(out, Tensor):
        raise DTypeError(f"{name}: out is {shown(out)}; it must be one tensor")
    if tape.recording.enabled and any(t.requires_grad for t in (out, *_tensors((args, options)))):
        raise AutogradError(
            f"{name}: out= is not differentiable, and out or an operand requires grad; leave it away, or call under "
            f"wf.no_grad()"
        )
    form = _forms.get(function)
    if form is None:
        form = _forms[function] = _form(function)
    with tape.no_grad():
        if not options and state.trace is None:
            try:
                plan = form.quick.get((out._spec, *[a._spec for a in args]))
            except AttributeError:  # numbers and lists
                plan = None
            if plan is not None:
                write(name, plan, (out, *args))
                return out
        return form(out, *args, **options)


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = tuple(value.values())
    return [t for each in value for t in _tensors(each)] if isinstance(value, (tuple, list)) else []


def _form(function: Composite) -> InPlace:
    name = function.name

    def result(out: Any, *args: Any, **options: Any) -> Any:
        found = function.function(*args, **options)
        if isinstance(found, (tuple, list)):
            raise ArgumentError(f"{name}: there is no out= for {len(found)} results; copy_ them one by one")
        if tuple(found.shape) != tuple(out.shape):
            raise ShapeError(f"{name}: out has shape {tuple(out.shape)}, the result {tuple(found.shape)}")
        if not fits_kind(found.dtype, out.dtype):
            raise DTypeError(f"{name}: out is {out.dtype.name}, which does not hold a result of {found.dtype.name}")
        return found

    form = InPlace(name, result)
    own = inspect.signature(function.function)
    first = inspect.Parameter("out", inspect.Parameter.POSITIONAL_ONLY)
    # What the function's own signature says of its arguments holds.
    form.composite.function.__signature__ = own.replace(  # type: ignore[attr-defined]
        parameters=[first, *own.parameters.values()]
    )
    return form
