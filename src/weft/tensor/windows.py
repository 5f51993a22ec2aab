"""Parts of tensors on the tape: reads and writes whose place is data.

``x[i]`` and ``out[i] = y`` are other views for every i; what differs is an offset. A graph for each of them would be
traced, differentiated and compiled at every new index. Outside of captures a :class:`Window` records them instead: it
says where a part of a tensor lies, and is four maps, all made of copies that are compiled for the shapes and strides
alone, since kernels take addresses. With ``x[W]`` for the part of x:

    look(x)      x[W]                        its gradient: spread
    spread(g)    zeros, with g at [W]        its gradient: look
    hide(g)      g, with zeros at [W]        its gradient: hide
    put(x, y)    x, with y at [W]            its gradients: hide for x, look for y

Nothing is computed, so that the bits are those of the graphs of these views, which captured code uses
(:mod:`weft.tensor.alias`). The results own their memory and are row-major.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..core.device import CPU
from ..core.shapes import strides_of
from ..graph.executable import Executable
from ..graph.ir import Value
from ..graph.protocol import COPY, TensorType
from ..ops.creation import full
from ..ops.elementwise import add
from ..ops.op import apply, state, trace_function
from ..runtime import storage as storages
from . import tape
from .caches import Cache
from .calls import GraphCall, traced_error
from .capturing import settled
from .families import Family, call_for
from .spec import Spec
from .tensor import Tensor, make

Box = tuple[tuple[int, int], ...]  # from which position to before which, on each axis


class Called(NamedTuple):
    """What a record says of its call."""

    name: str
    out_specs: tuple[Spec, ...]


class Window:
    """A part of a tensor: its element i lies ``offset`` bytes and ``part.strides`` times i elements from the beginning
    of the ``whole``, were that row-major. No element of the whole shows twice."""

    __slots__ = ("_box", "offset", "part", "put_call", "view_call", "whole")

    def __init__(self, whole: Spec, part: Spec, offset: int):
        self.whole, self.part, self.offset = whole, part, offset
        self.view_call = Called("view", (part.dense(),))
        self.put_call = Called("view.put", (whole,))
        self._box: Box | None = ()  # until somebody asks

    def call(self, operands: Sequence[Tensor]) -> list[Tensor]:
        """The gradient of ``look``, as the record of a view asks for it."""
        return Pulls(self, (Window.spread,)).call(operands)

    def look(self, x: Tensor) -> Tensor:
        """The part of a tensor."""
        storage = _value(x)
        if not x._spec.contiguous:
            storage = _native(_copied, x._spec)(storage)
        storage = _native(_copied, self.part)(storages.tail(storage, self.offset))
        return self._recorded(x, storage, self.view_call, Window.spread)

    def spread(self, g: Tensor) -> Tensor:
        """A tensor of zeros whose part is ``g``."""
        value = _value(g)
        storage = _native(filled, self.whole)()
        _native(written, self.part, g._spec)(storages.tail(storage, self.offset), value)
        return self._recorded(g, storage, self.put_call, Window.look)

    def add(self, x: Tensor, g: Tensor) -> None:
        """Add ``g`` to the part of a row-major tensor, in its memory."""
        _native(_increased, self.part, g._spec)(storages.tail(x._storage, self.offset), _value(g))

    @property
    def box(self) -> Box | None:
        """The part as positions on each axis of the whole, from one to before another; None: it is no such box."""
        if self._box == () and self.whole.shape:
            self._box = _box_of(self)
        return self._box

    def covers(self, box: Box) -> bool:
        """Whether the part has all elements of a box."""
        own = self.box
        if any(stop <= start for start, stop in box):
            return True
        return own is not None and all(a <= c and d <= b for (a, b), (c, d) in zip(own, box, strict=True))

    def common(self, box: Box | None) -> Box | None:
        """What the part has in common with a box (None: all), or more than that; None: nobody knows."""
        own = self.box
        if own is None or box is None:
            return own or box
        return tuple([(max(a, c), min(b, d)) for (a, b), (c, d) in zip(own, box, strict=True)])

    def hide(self, g: Tensor) -> Tensor:
        """A tensor with zeros in the place of the part."""
        storage = _native(_copied, g._spec)(_value(g))
        _native(_cleared, self.part)(storages.tail(storage, self.offset))
        return self._recorded(g, storage, self.put_call, Window.hide)

    def _recorded(self, x: Tensor, storage: Any, call: Called, pull: _Map) -> Tensor:
        result = make(storage, call.out_specs[0], None, 0)
        if x._node is not None and tape.recording.enabled:
            result._node = tape.keep_nothing(call, Pulls(self, (pull,)), ((x._node, x._index),))
        return result

    def record_put(self, base: Tensor, node: Any, index: int) -> None:
        """Give a tensor the history of what it was, with the value of a place on the tape written to its part."""
        places = ((base._node, base._index, Window.hide), (node, index, Window.look))
        known = [(node, index, pull) for node, index, pull in places if node is not None]
        if known:
            pulls = Pulls(self, tuple([pull for _, _, pull in known]))
            base._node = tape.keep_nothing(self.put_call, pulls, tuple([(node, index) for node, index, _ in known]))
            base._index = 0


def _box_of(window: Window) -> Box | None:
    """What :attr:`Window.box` is."""
    whole, part = window.whole, window.part
    at = window.offset // whole.dtype.itemsize
    strides = strides_of(whole.static_shape)
    sizes = {s: n for s, n in zip(part.strides, part.static_shape, strict=True) if n != 1}
    found = []
    for size, stride in zip(whole.static_shape, strides, strict=True):
        start = at // stride % size
        stop = start + (sizes.pop(stride, 1) if size > 1 else 1)
        if stop > size:
            return None
        found.append((start, stop))
    return None if sizes else tuple(found)


_Map = Callable[[Window, Tensor], Tensor]


class Pulls:
    """The gradient of a call, as its record asks for it: for each operand a map, which takes the cotangent there."""

    __slots__ = ("maps", "window")

    def __init__(self, window: Window, maps: tuple[_Map, ...]):
        self.window, self.maps = window, maps

    def call(self, operands: Sequence[Tensor]) -> list[Tensor]:
        """The cotangents of the operands of the call, given that of its result."""
        if state.trace is not None:  # recorded before the capture
            raise tape.Boundary("a view").error()
        (g,) = operands
        return [pull(self.window, g) for pull in self.maps]


def _value(x: Tensor) -> Any:
    """The storage of a tensor that has a value."""
    if x._storage.__class__ is Value and not settled([x]):
        raise traced_error([x])
    return x._storage


_executables = Cache(4096)
_families = Cache()


def _native(kind: Callable[..., Executable], *specs: Spec) -> Any:
    """What a function of this file makes of some specs, as a native call on storages."""
    return executable(kind, *specs).program.call


def executable(kind: Callable[..., Executable], *specs: Spec) -> Executable:
    """What a function of this file makes of some specs."""
    key = kind, *specs
    found: Executable | None = _executables.get(key)
    if found is None:
        found = _executables.keep(key, kind(*specs))
    return found


def _copied(x: Spec) -> Executable:
    """Of a tensor, one of its own."""
    return _compiled("copied", lambda like: lambda x: apply(COPY, x), [x])


def filled(x: Spec) -> Executable:
    """Of nothing, a tensor of zeros."""
    return _compiled("filled", lambda like: lambda: full(like.shape, 0, dtype=like.dtype), [x], made=True)


def written(x: Spec, y: Spec) -> Executable:
    """Writes one tensor over another."""
    return _compiled("written", lambda like: lambda x, y: y, [x, y], (0,))


def _increased(x: Spec, y: Spec) -> Executable:
    """Adds one tensor to another, in its memory."""
    return _compiled("increased", lambda like: add, [x, y], (0,))


def _cleared(x: Spec) -> Executable:
    """Writes zeros over a tensor."""
    return _compiled("cleared", lambda like: lambda x: full(like.shape, 0, dtype=like.dtype), [x], (0,))


def _compiled(
    kind: str,
    function: Callable[[TensorType], Callable[..., Any]],
    specs: list[Spec],
    targets: tuple[int, ...] = (),
    made: bool = False,
) -> Executable:
    """``function(type of the first tensor)`` on tensors, or (``made``) on none."""
    device = specs[0].device

    def trace(types: list[TensorType]) -> GraphCall:
        graph, _ = trace_function(function(types[0]), [] if made else types, "view")
        return GraphCall(graph, device)

    key = kind, *[(s.dtype, len(s.shape)) for s in specs]
    family = _families.get(key) or _families.keep(key, Family())
    call = call_for(family, specs, trace) if device is CPU else trace([s.type for s in specs])
    return call.executable([] if made else specs, targets)


vars(tape)["Window"] = Window  # which asks for it, and is imported here
