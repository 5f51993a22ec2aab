"""Views: which tensor a view looks at, and what becomes of views when something is written.

A view shares its base's memory, so outside of captures values need no care. What follows a write by hand is history
(PyTorch's rule): a write to a view is a new value of its base, and every view of the base that is alive becomes a view
of that. While a function is captured tensors are values of a graph and share nothing; then values follow in the same
way. So there is one mechanism: :func:`attach` notes whose view a tensor is, :func:`rebase` and :func:`replace` follow a
write.

A view knows its base, which is never a view itself, and the *way* there: a chain of steps, each a call of a view
function, a key of ``x[key]``, or the number of a row. A base has weak references to its views. While a function is
captured a write needs ways as graphs; outside, history needs to know where they lead: to an offset and strides, which
:mod:`weft.tensor.windows` makes records of. A :class:`Way` is both. Views that follow a write share one record until a
gradient arrives (:class:`_Views`).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from typing import Any

from ..core.errors import ShapeError, user_line
from ..core.shapes import is_static, size_of
from ..graph.ir import Graph, Value, inline
from ..graph.protocol import Layout, TensorType
from ..ops.indexing import basic_subscript, getitem_basic
from ..ops.op import Trace, state, trace_function
from ..ops.put import layout_at, put_graph, put_strided
from . import tape
from .caches import Cache
from .calls import GraphCall, placed
from .spec import Spec
from .tensor import Tensor, make
from .windows import Called, Window

TRACKED = 0  # its history follows its base's
UNTRACKED = 1  # made under no_grad: shows the same values, but no history can follow
DETACHED = 2  # detach(), .data: shares values, begins a history of its own

_MANY = 16  # views of one tensor, from which on the list of them is cleared of dead ones now and then
_lock = threading.Lock()
_new = object.__new__


class View:
    """What a view knows: the tensor that it is a view of (``base``), the step that leads to it from there or from
    another view (``above``), and how it follows its base (``kind``)."""

    __slots__ = ("above", "base", "kind", "step")

    above: View | None
    base: Tensor
    kind: int
    step: Any

    @property
    def way(self) -> tuple[Any, ...]:
        """The steps from the base."""
        steps, at = [], self
        while True:
            steps.append(at.step)
            if at.above is None:
                return tuple(reversed(steps))
            at = at.above


def attach(view: Tensor, source: Tensor, step: Any, kind: int) -> None:
    """Note that ``view`` was made of ``source`` (maybe a view itself) by a step."""
    made: View = _new(View)
    of = source._view
    if of is None or of.kind == DETACHED:
        made.base, made.above, made.kind = source, None, kind
    else:
        made.base, made.above, made.kind = of.base, of, of.kind if kind == TRACKED else kind
    made.step = step
    view._view = made
    note(view, made.base)


def note(view: Tensor, base: Tensor) -> None:
    """Let a tensor know its view."""
    views = base._views
    if views is None:
        base._views = [_ref(view)]
    else:
        views.append(_ref(view))
        count = len(views)
        if count >= _MANY and not count & (count - 1):
            forget_dead(views)


_ref = weakref.ref


def attach_to(view: Tensor, base: Tensor, way: tuple[Any, ...], kind: int) -> None:
    """Note that ``view`` is a view of ``base``, maybe a view itself, by way of some steps."""
    above: View | None = base._view
    if above is not None and above.kind != DETACHED:
        base, kind = above.base, above.kind if kind == TRACKED else kind
    else:
        above = None
    for step in way:
        made: View = _new(View)
        made.base, made.above, made.kind, made.step = base, above, kind, step
        above = made
    view._view = above
    note(view, base)


def forget_dead(views: list[weakref.ref[Tensor]]) -> None:
    """Take the dead references out of a list of views."""
    with _lock:  # others only append meanwhile
        count = len(views)
        views[:count] = [r for r in views[:count] if r() is not None]


def live_views(tensor: Tensor) -> list[Tensor]:
    """The views of a tensor that are alive."""
    return [t for t in [r() for r in tensor._views or ()] if t is not None]


def hand_over(tensor: Tensor, other: Tensor) -> None:
    """Let another tensor be the base of all views of this one, and what this one is of its own base."""
    for view in live_views(tensor):
        at = view._view
        while at is not None and at.base is tensor:
            at.base, at = other, at.above
    other._view, other._views, tensor._views = tensor._view, tensor._views, None
    if tensor._view is not None:
        relist(tensor._view.base, tensor, other)


def relist(base: Tensor, old: Tensor, new: Tensor) -> None:
    """Let a base know another tensor in the place of one of its views."""
    if base._views is not None:
        base._views = [weakref.ref(new) if r() is old else r for r in base._views]


def base_of(tensor: Tensor) -> Tensor:
    """The tensor whose history a write to this one changes: its base, or itself."""
    of = tensor._view
    return tensor if of is None or of.kind == DETACHED else of.base


# --- ways -----------------------------------------------------------------------------------------------------------


class Way:
    """A chain of steps. ``look`` and ``put`` are calls: ``look(base)`` is the view, ``put(base, value)`` the base with
    another value there. Their graphs are made for captured code, and where there is no ``window``. All of it is found
    when it is asked for: most views are never recorded.
    """

    __slots__ = ("_look", "_of", "_put", "_steps", "_window", "history")

    def __init__(self, of: Spec, steps: tuple[Any, ...]):
        self._of, self._steps = of, steps
        self._look: GraphCall | None = None
        self._put: GraphCall | None = None
        self._window: Window | bool | None = False  # not looked for yet
        # The call of a record of the view, and its gradient, once they have been asked for.
        self.history: tuple[Any, Any] | None = None

    @property
    def window(self) -> Window | None:
        """Where the view lies in its base, which is all that the tape needs outside of captures; None where it is all
        of the base (then offsets are none), shows an element twice, or has no gradient."""
        if isinstance(self._window, bool):
            self._window = _window(self._of, self._steps)
        return self._window

    @property
    def look(self) -> GraphCall:
        """The view of the base."""
        if self._look is None:
            source = Value(self._of.type)
            nodes: list[Any] = []
            value = source
            for step in self._steps:
                if step is not None:  # the step of detach()
                    graph, output = _graph_of(step, value.type)
                    value = inline(graph, [value], nodes)[output]
            self._look = GraphCall(Graph("view", [source], nodes, [value]), self._of.device, is_view=True)
        return self._look

    @property
    def put(self) -> GraphCall:
        """The base with another value where the view is."""
        if self._put is None:
            try:
                graph = put_graph(self.look.graph)
            except ShapeError:  # by way of something expanded, though the view itself may show each element once
                graph = self._put_by_strides()
            self._put = GraphCall(graph, self._of.device)
        return self._put

    def find_history(self) -> tuple[Any, Any]:
        """What is ``history`` from now on."""
        window = self.window
        self.history = (self.look, self.look.backward((True,))) if window is None else (window.view_call, window)
        return self.history

    def _put_by_strides(self) -> Graph:
        base = self._of.dense()
        places = self.look.views_of(base)
        assert places is not None
        seen, offset = places[0]
        if seen.overlaps:
            raise ShapeError(f"elements of a tensor of shape {base.shape} show several times in the view of it")

        def put(x: Any, y: Any) -> Any:
            return put_strided(x, y, seen.strides, offset // base.dtype.itemsize)

        return trace_function(put, [base.type, seen.type], "view.put")[0]


def _window(of: Spec, steps: tuple[Any, ...]) -> Window | None:
    if not of.dtype.is_floating or not is_static(of.shape):
        return None
    whole = of.dense()
    layout = Layout.contiguous(whole.static_shape)
    for step in steps:
        after = _layout_after(step, layout)
        if after is None:
            return None
        layout = after
    part, offset = placed(of.dtype, layout, of.device)
    if part.overlaps or size_of(layout.shape) >= size_of(of.shape):
        return None
    return Window(whole, part, offset)


def _layout_after(step: Any, x: Layout) -> Layout | None:
    """Where a step leads in memory in which x lies like this; None where strides cannot say it, or no gradient takes
    the same way back."""
    if step is None:
        return x
    if isinstance(step, tuple):
        call, output = step
        if any(node.op.stops_gradient for node in call.nodes):
            return None
        found = call.layouts_of(x)
        return None if found is None else found[output]
    if isinstance(step, int):
        shape, strides = x.shape[1:], x.strides[1:]
        return Layout(shape, 0 if 0 in shape else x.offset + step * x.strides[0], strides)
    return layout_at(step, x)


def _graph_of(step: Any, of: TensorType) -> tuple[Graph, int]:
    """The graph of one step from a tensor of a type, and which of its outputs is meant."""
    if isinstance(step, tuple):
        call, output = step
        return call.graph, output
    subscript = basic_subscript(step, of.shape) if isinstance(step, int) else step
    return trace_function(lambda x: getitem_basic.function(x, subscript), [of], "getitem")[0], 0


_ways = Cache(4096)


def _way(base: Spec, steps: tuple[Any, ...]) -> Way:
    key = (base, steps)
    found = _ways.get(key)
    if found is None:
        found = _ways.keep(key, Way(base, steps))
    return found


def look_of(source: Spec, step: Any) -> Way:
    """One step."""
    return _way(source, (step,))


def spot_of(source: Tensor, view: Tensor) -> tuple[Spec, int, Any]:
    """Where a view of a tensor lies (spec, byte offset), and the step there: the same for all tensors of that spec."""
    of = view._view
    assert of is not None
    return view._spec, view._storage.address - source._storage.address, of.step


def way_to(source: Tensor, view: Tensor) -> tuple[Spec, int, Any, Way]:
    """:func:`spot_of`, and what is recorded of the view."""
    spec, offset, step = spot_of(source, view)
    return spec, offset, step, look_of(source._spec, step)


# --- what follows a write -------------------------------------------------------------------------------------------


def rebase(target: Tensor, node: Any, index: int) -> None:
    """Give a tensor that has been written the place on the tape of its new value; its base and all views follow."""
    base, of = base_of(target), target._view
    if base is target or of is None:
        target._node, target._index = node, index
    else:
        way = _way(base._spec, of.way)
        window = way.window if state.trace is None else None
        if window is not None:
            window.record_put(base, node, index)
        else:
            value = make(target._storage, target._spec, node, index)
            whole = make(base._storage, base._spec, None, 0)
            tape.record(way.put, (base, value), (whole,))
            base._node, base._index = whole._node, whole._index
    if state.trace is None and base._node is not None:
        _follow_together(base)
        return
    for view in live_views(base):
        of = view._view
        if of is not None and of.base is base and of.kind != DETACHED:
            follow(view, base)


def _follow_together(base: Tensor) -> None:
    """:func:`follow` outside of captures, for all views of a tensor: there may be many, and most are not asked for
    before the next write."""
    together = _Views(base)
    ways = together.ways
    for reference in base._views or ():
        view = reference()
        of = None if view is None else view._view
        if view is None or of is None or of.base is not base:
            continue
        if of.kind == TRACKED:
            view._node, view._index = together, len(ways)
            ways.append((of.step,) if of.above is None else of.way)
        elif of.kind == UNTRACKED:
            view._node, view._index = tape.Stale(), 0


class _Views(tape.Record):
    """The views of a tensor that was written, as one record until a gradient arrives: an output for each, behind which
    the record of that view is then made. (Steps are kept, not the views: those hold their base, which has this
    history.)"""

    __slots__ = ("_made", "_spec", "ways")

    def __init__(self, base: Tensor):
        self._spec, self.ways = base._spec, list[tuple[Any, ...]]()
        self._made: dict[int, tape.Record] = {}
        self.call, self.sequence, self.saved = _VIEWS, tape.now(), []
        self.parents = ((base._node, base._index),)

    @property
    def expanded(self) -> _Views:  # type: ignore[override]
        """The places of the views."""
        return self

    def __getitem__(self, number: int) -> tuple[tape.Record, int]:
        found = self._made.get(number)
        if found is None:
            way = _way(self._spec, self.ways[number])
            record = tape.keep_nothing(*(way.history or way.find_history()), self.parents)
            # As if made with the write, one after the other.
            record.sequence = self.sequence + number / len(self.ways)
            found = self._made.setdefault(number, record)
        return found, 0


_VIEWS = Called("view", ())


def follow(view: Tensor, base: Tensor) -> None:
    """Give a view the history that its base has now."""
    of = view._view
    assert of is not None
    view._node, view._index = None, 0
    if of.kind == UNTRACKED:
        view._node = tape.Stale()
    elif base._node is not None:
        tape.record(_way(base._spec, of.way).look, (base,), (view,))


def replace(target: Tensor, value: Value, trace: Trace) -> None:
    """Give a traced tensor another value; whatever shares memory with it follows."""
    family = list(family_of(target))
    root = family[0]
    if trace.capture is not None:
        trace.capture.overwrite(root, [t._storage for t in family])
    steps: tuple[Any, ...] = ()
    tensor = target
    while (of := tensor._view) is not None:
        steps, tensor = (*of.way, *steps), of.base
    if tensor is target:
        root._storage = value
    else:
        (root._storage,) = _inlined(_way(root._spec, steps).put, [root._storage, value], trace)
        target._storage = value
    _show(family, target, trace)


def begin_again(root: Tensor, node: Any, trace: Trace) -> None:
    """Give a traced tensor another history; views are computed of it anew, in the nodes that are recorded now."""
    _show(list(family_of(root)), root, trace)
    rebase(root, node, 0)


def _show(family: list[Tensor], target: Tensor, trace: Trace) -> None:
    """Let views show what their base is now, except for one that has its value already."""
    for view in family[1:]:  # parents first
        of = view._view
        assert of is not None
        if view is not target:
            (view._storage,) = _inlined(_way(of.base._spec, of.way).look, [of.base._storage], trace)


def _inlined(call: GraphCall, values: list[Value], trace: Trace) -> list[Value]:
    return inline(call.graph, values, trace.nodes, trace.scope, trace.where or user_line(3))


def family_of(tensor: Tensor) -> Iterator[Tensor]:
    """All tensors alive that share memory with a traced one: parents before their views."""
    root = tensor
    while root._view is not None:
        root = root._view.base
    waiting = [root]
    while waiting:
        found = waiting.pop()
        yield found
        waiting += live_views(found)


def root_of(tensor: Tensor) -> Tensor:
    """The tensor whose memory a traced one shows."""
    return next(family_of(tensor))


def layout_of(base: Spec, steps: tuple[Any, ...]) -> tuple[Spec, int]:
    """Where a view lies in the memory of its base: its spec there, and byte offset."""
    places = _way(base, steps).look.views_of(base)
    assert places is not None, "a view that strides cannot express was noted"
    return places[0]


def place_of(tensor: Tensor) -> tuple[int, Spec, int]:
    """Which elements a traced tensor shows: whose (an id), its spec there, and byte offset."""
    steps: tuple[Any, ...] = ()
    while (of := tensor._view) is not None:
        steps, tensor = (*of.way, *steps), of.base
    return id(tensor), *layout_of(tensor._spec, steps)


def shown(base: Tensor, steps: tuple[Any, ...], kind: int, spec: Spec, node: Any, trace: Trace) -> Tensor:
    """A traced view of a traced tensor, with a place on the tape of its own."""
    (value,) = _inlined(_way(base._spec, steps).look, [base._storage], trace)
    view = make(value, spec, node, 0)
    attach_to(view, base, steps, kind)
    trace.capture.expose(root_of(view), value)
    return view
