"""Methods that make views: what they take, and the quick way to what they took before.

Where a view lies follows from the tensor's spec and numbers. So each method keeps what it found: given the same again,
it makes the view without asking the op (``ops/views.py``, ``ops/shape.py``) or its graph.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..core.boundary import leave
from ..core.errors import ShapeError
from ..core.shapes import normalize_axis
from ..ops.op import state
from . import tape
from .alias import spot_of, way_to
from .arguments import CONTRACTS, guarded
from .binding import names_of, sizes_given
from .caches import Cache
from .dispatch import view, views
from .tensor import Tensor

recording = tape.recording


def reshape(self: Tensor, *shape: Any, **named: Any) -> Any:
    """The elements in row-major order under another shape; one size may be -1."""
    from ..ops.shape import reshape as function

    return function(self, sizes_given(names_of("reshape"), shape, named))


def view_of(self: Tensor, *shape: Any, **named: Any) -> Any:
    """The same memory under another shape; one size may be -1.

    Raises:
        ShapeError: strides cannot say it; ``reshape`` copies then.
    """
    found = reshape(self, *sizes_given(names_of("view"), shape, named))
    trace = state.trace
    if found._view is None and found is not self and (trace is None or trace.capture is not None):
        raise ShapeError(
            f"view: a tensor of shape {self.shape} whose elements lie with strides {self._spec.strides} cannot be seen "
            f"under the shape {found.shape} without a copy; use reshape"
        )
    return found


def flatten(self: Tensor, start_dim: int = 0, end_dim: int = -1) -> Any:
    """The axes ``start_dim`` to ``end_dim`` as one; the tensor itself where they are one."""
    from ..ops.shape import flatten as function

    if self.ndim and normalize_axis(start_dim, self.ndim, "flatten") == normalize_axis(end_dim, self.ndim, "flatten"):
        return self
    return function(self, start_dim, end_dim)


def permute(self: Tensor, *dims: Any, **named: Any) -> Any:
    """The axes in another order."""
    from ..ops.shape import permute_dims

    return permute_dims(self, sizes_given(names_of("permute"), dims, named))


def transpose(self: Tensor, dim0: int, dim1: int) -> Any:
    """Two axes exchanged."""
    from ..ops.shape import swapaxes

    return swapaxes(self, dim0, dim1)


def t(self: Tensor) -> Any:
    """A matrix transposed; a vector or a number is itself."""
    if self.ndim > 2:
        raise ShapeError(f"t: {self.shape} has more than two axes; say which with transpose(dim0, dim1), or use mT")
    return self.permute(*range(self.ndim)[::-1])


def expand(self: Tensor, *size: Any, **named: Any) -> Any:
    """Broadcast to a shape; -1 keeps an axis."""
    from ..ops.shape import broadcast_to

    wanted = CONTRACTS["Shape"].convert("expand", "size", sizes_given(names_of("expand"), size, named))
    new = len(wanted) - self.ndim
    if new < 0:
        raise ShapeError(f"expand: {self.shape} to {wanted}: there are fewer axes than before")
    if any(isinstance(w, int) and w == -1 for w in wanted[:new]):
        raise ShapeError(f"expand: {self.shape} to {wanted}: -1 keeps an axis, and there is none to keep in front")
    own = (1,) * new + tuple(self.shape)
    return broadcast_to(
        self, tuple(o if isinstance(w, int) and w == -1 else w for w, o in zip(wanted, own, strict=True))
    )


def view_as(self: Tensor, other: Tensor) -> Any:
    """The elements under the shape of another."""
    return reshape(self, *other.shape)


def expand_as(self: Tensor, other: Tensor) -> Any:
    """Broadcast to the shape of another."""
    return expand(self, *other.shape)


# --- the quick way --------------------------------------------------------------------------------------------------


def quick_view(slow: Callable[..., Any], flat: bool = False) -> Callable[..., Any]:
    """A method that makes a view, given numbers by position alone: where it lies is looked up. ``flat``: a tuple is the
    numbers in it."""
    plans = Cache()  # (spec, numbers) -> spec, byte offset, step and way of the view

    @functools.wraps(slow)
    def method(self: Tensor, *args: Any, **named: Any) -> Any:
        given = args
        try:
            if named or state.trace is not None:
                return slow(self, *args, **named)
            if flat and len(args) == 1 and args[0].__class__ is tuple:
                (args,) = args
            for number in args:
                if number.__class__ is not int:  # True and 1.0 are equal to 1
                    return slow(self, *given)
            plan = plans.get((self._spec, args))
            if plan is None:
                found = slow(self, *given)
                if found is not self and found._view is not None:
                    plans.keep((self._spec, args), way_to(self, found))
                return found
            spec, offset, step, way = plan
            made = view(self, spec, offset, step)
            if self._node is not None and recording.enabled:
                tape.record_view(way, self, made)
            return made
        except Exception as error:
            leave(error, slow, (self, *given), named)
            raise

    return method


def _quick_views(slow: Callable[..., Any]) -> Callable[..., Any]:
    """The same for a method that makes several views; its first argument may be a list, its ``dim`` may be named."""
    plans = Cache()  # (spec, numbers) -> the call, and spec, byte offset and step of each view

    @functools.wraps(slow)
    def method(self: Tensor, *args: Any, **named: Any) -> Any:
        try:
            listed = args[0].__class__ is list if args else False
            numbers = (*args[0], *args[1:]) if listed else args
            if named:
                numbers = (*numbers, named.get("dim"))
            if len(named) > 1 or state.trace is not None or {n.__class__ for n in numbers} - {int}:
                return slow(self, *args, **named)
            key = (self._spec, numbers, listed and len(args), len(named))
            plan = plans.get(key)
            if plan is None:
                found = slow(self, *args, **named)
                if found and found[0]._view is not None:
                    plans.keep(key, (found[0]._view.step[0], [spot_of(self, each) for each in found]))
                return found
            call_, steps = plan
            made = views(self, steps)
            if self._node is not None and recording.enabled:
                tape.record(call_, (self,), made)
            return made
        except Exception as error:
            leave(error, slow, (self, *args), named)
            raise

    return method


# --- all of them ----------------------------------------------------------------------------------------------------

_BY_NUMBERS = "diagonal movedim narrow select squeeze swapaxes swapdims unflatten unfold unsqueeze"
_SEVERAL = "chunk split unbind unstack"


def view_methods() -> dict[str, Any]:
    """Views by name, among them the quick forms of methods that a Tensor has already."""
    from ..ops.shape import matrix_transpose

    return {
        **{name: quick_view(getattr(Tensor, name)) for name in _BY_NUMBERS.split()},
        **{name: _quick_views(getattr(Tensor, name)) for name in _SEVERAL.split()},
        "reshape": quick_view(guarded(reshape), flat=True),
        "view": quick_view(guarded(view_of), flat=True),
        "flatten": quick_view(guarded(flatten)),
        "permute": quick_view(guarded(permute), flat=True),
        "transpose": quick_view(guarded(transpose)),
        "expand": quick_view(guarded(expand), flat=True),
        "t": quick_view(guarded(t)),
        "mT": property(quick_view(lambda self: matrix_transpose(self)), doc="The last two axes exchanged."),
        "T": property(quick_view(lambda self: self.permute(*range(self.ndim)[::-1])), doc="The axes in reverse order."),
        "view_as": guarded(view_as),
        "reshape_as": guarded(view_as),
        "expand_as": guarded(expand_as),
    }
