"""Calls of public functions: from arguments to a cached plan.

The signature of a call is the specs of its tensors and the static arguments. The first call with a signature traces
the function; later ones look the plan up and run its native call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core import config
from ..core import dtypes as dt
from ..core.device import CPU, Device
from ..core.errors import ArgumentError, DTypeError
from ..core.shapes import check_count, shown
from ..core.symbolic import Dim
from ..graph.executable import Executable
from ..graph.ir import Value
from ..graph.protocol import Layout, TensorType
from ..llvm.targets import check_isa
from ..ops import op
from ..ops.indexing import getitem_basic
from ..ops.op import Composite, Trace, state, trace_function
from ..ops.operands import Abroad, Late, at_home
from ..ops.put import layout_at
from ..ops.subscript import Subscript
from ..runtime import pool
from ..runtime import storage as storages
from ..runtime.devices import default_device, device_of, moved, want
from ..runtime.program import KernelStatus
from . import tape
from .alias import DETACHED, TRACKED, UNTRACKED, View, attach, forget_dead, look_of
from .arguments import checked, guarded
from .caches import Cache, epoch, generations
from .calls import GraphCall, again, placed, traced_error, value_of, wrap
from .capturing import settled
from .create import asarray, is_array, is_scalar, python_number
from .families import Family, opened, strides_of_operands, types_of, with_sizes
from .placing import on_one_device, to_device
from .spec import Spec, spec_of
from .tensor import Tensor, make

_FAMILIES = 512  # of one function: the oldest go
_SCALARS = (bool, int, float)
_INTS = {int}


def forget_plans() -> None:
    """Drop every plan: they depend on the number of threads and on the target."""
    for function in op.all_composites():
        function.plans.clear()
        function.older.clear()
        function.quick.clear()
        function.families.clear()
    epoch.begin()


def set_num_threads(count: int) -> None:
    """Use ``count`` threads for kernels from now on. Results do not depend on it, bit for bit.

    Raises:
        ValueError: less than one.
    """
    pool.set_num_threads(count)
    forget_plans()


def configure(**changes: Any) -> Any:
    """Change settings (see :class:`weft.core.config.Settings`); returns the previous ones.

    Raises:
        ValueError: a value that is not understood.
    """
    check_isa(changes.get("isa"))
    before = config.configure(**changes)
    forget_plans()
    return before


def set_default_device(device: Any) -> None:
    """Make tensors on this device from now on, where ``device=`` says no other; None: on the best one that there is.
    ``with wf.device(...):`` does so for a while, in one thread.

    Raises:
        DeviceError: it is not there.
    """
    want(device)
    epoch.begin()  # what was captured with another one


class Plan:
    """What a signature leads to: the graph's call, the bound native call, and the spec of a single output.

    ``views``: where the results lie in the operand's memory, for a view of one; then nothing is run.
    """

    __slots__ = ("call", "run", "several", "single", "spec", "views", "written")

    def __init__(self, call_: GraphCall, several: bool):
        self.call = call_
        self.several = several
        self.run: Any = None
        self.single = False
        self.views: list[tuple[Spec, int]] | None = None
        self.written: dict[tuple[int, ...], Executable] = {}  # of updates, by the operands that are written
        self.spec: Spec = call_.out_specs[0] if call_.out_specs else None  # type: ignore[assignment]

    def bind(self, specs: list[Spec]) -> None:
        """Compile for these operands; a view of the operand needs no code."""
        if self.call.is_view:
            self.views = self.call.views_of(specs[0])
        if self.views is not None:
            self.run = self.look
            return
        exe = self.call.executable(specs)
        self.single = not self.several and exe.results == [0]
        self.run = exe.program.call

    def look(self, source: Tensor) -> tuple[Tensor, ...]:
        """The views of a tensor."""
        assert self.views is not None
        call_ = self.call
        found = views(source, [(spec, offset, (call_, k)) for k, (spec, offset) in enumerate(self.views)])
        if source._node is not None and tape.recording.enabled:
            way = look_of(source._spec, (call_, 0)) if len(found) == 1 else None
            if way is None or way.window is None:
                tape.record(call_, (source,), found)
            else:
                tape.record_view(way, source, found[0])
        return found


def view(source: Tensor, spec: Spec, offset: int, step: Any) -> Tensor:
    """A tensor over part of another's memory, from a byte offset on; ``step`` leads there (see tensor/alias.py)."""
    kind = TRACKED if recording.enabled else UNTRACKED
    made: Tensor | None = _look(source, spec, offset, step, kind, _LAYOUT)
    if made is None:  # a tensor without a value
        if not settled([source]):
            raise traced_error([source])
        made = _look(source, spec, offset, step, kind, _LAYOUT)
        assert made is not None
    return made


def views(source: Tensor, places: Sequence[tuple[Spec, int, Any]]) -> tuple[Tensor, ...]:
    """:func:`view`, for several: (spec, byte offset, step) of each."""
    kind, look = TRACKED if recording.enabled else UNTRACKED, _look
    made = [look(source, spec, offset, step, kind, _LAYOUT) for spec, offset, step in places]
    if made and made[0] is None:  # a tensor without a value
        return tuple([view(source, *place) for place in places])
    return tuple(made)


def view_in_steps(source: Tensor, spec: Spec, offset: int, step: Any, kind: int, layout: Any = None) -> Tensor | None:
    """:func:`view`, written out: what ``storages.look`` does in one native call."""
    storage = source._storage
    if storage.__class__ is Value:
        return None
    made = make(storages.tail(storage, offset) if offset else storage, spec, None, 0)
    attach(made, source, step, kind)
    return made


def _choose_look(*args: Any) -> Any:
    """The native call, if it makes what :func:`view_in_steps` makes; called for the first view of a process."""
    global _look
    probe, step = make(storages.empty(8), spec_of(dt.float32, (2,)), None, 0), object()
    part = spec_of(dt.float32, (1,))
    outer = storages.look(probe, part, 4, step, UNTRACKED, _LAYOUT)
    inner = storages.look(outer, part, 0, step, TRACKED, _LAYOUT)
    right = all(
        t.__class__ is Tensor
        and t._storage.address == probe._storage.address + 4
        and t._view.__class__ is View
        and list(map(id, (t._spec, t._node, t._index, t._views))) == list(map(id, (part, None, 0, None)))
        and list(map(id, (t._view.base, t._view.above, t._view.step))) == list(map(id, (probe, above, step)))
        and t._view.kind == UNTRACKED
        for t, above in ((outer, None), (inner, outer._view))
    )
    known = [id(r()) for r in probe._views or ()] == [id(outer), id(inner)]
    _look = storages.look if right and known else view_in_steps
    return _look(*args)


_LAYOUT = (Tensor, View, 0, TRACKED, DETACHED, forget_dead)
_look: Any = _choose_look
recording = tape.recording


class _Hole:
    """Stands for the n-th tensor in a call's static arguments; there is one object for each n."""

    __slots__ = ("number",)

    def __init__(self, number: int):
        self.number = number


_HOLES = [_Hole(i) for i in range(64)]


def _hole(number: int) -> _Hole:
    while number >= len(_HOLES):
        _HOLES.append(_Hole(len(_HOLES)))
    return _HOLES[number]


def _flatten(value: Any, tensors: list[Tensor]) -> Any:
    """``value`` with tensors replaced by holes: hashable, and equal for equal static arguments."""
    if value is None:
        return None
    if isinstance(value, Tensor):
        tensors.append(value)
        return _hole(len(tensors) - 1)
    if value.__class__ is tuple and set(map(type, value)) == _INTS:
        return value
    if isinstance(value, (tuple, list)):
        return (list if isinstance(value, list) else tuple, *(_flatten(v, tensors) for v in value))
    if is_array(value):  # before Python's numbers: np.float64 is a float too
        if is_scalar(value):
            return _flatten(python_number(value), tensors)
        # A record must not keep memory that NumPy may write unseen.
        device = None if state.trace is None else state.trace.device
        tensors.append(asarray(value, device=device, copy=True if tape.recording.enabled else None))
        return _hole(len(tensors) - 1)
    if isinstance(value, Late):
        if value.is_abroad:
            raise Abroad
        tensors.append(value.tensor)
        return (Late, value.__class__, _hole(len(tensors) - 1))
    if isinstance(value, _SCALARS):
        return (type(value), repr(value)) if isinstance(value, float) else (type(value), value)
    if isinstance(value, dict):
        return tuple((k, _flatten(v, tensors)) for k, v in value.items())
    return value


def _given(value: Any) -> set[int]:
    """The ids of the tensors among arguments."""
    if isinstance(value, Tensor):
        return {id(value)}
    each = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return set().union(*map(_given, each))


def _hollow(value: Any, numbers: list[int]) -> Any:
    """``value`` with its tensors replaced by holes (in the order of :func:`_flatten`), and everything else as it is."""
    if isinstance(value, Tensor) or is_array(value):
        if is_scalar(value):
            return python_number(value)
        numbers[0] += 1
        return _hole(numbers[0] - 1)
    if isinstance(value, Late):
        numbers[0] += 1
        return value.with_tensor(_hole(numbers[0] - 1))
    if isinstance(value, (tuple, list)):
        emptied = [_hollow(v, numbers) for v in value]
        return emptied if isinstance(value, list) else tuple(emptied)
    if isinstance(value, dict):
        return {k: _hollow(v, numbers) for k, v in value.items()}
    return value


def _fill(value: Any, tensors: Sequence[Tensor]) -> Any:
    """``value`` with its holes filled by ``tensors``."""
    if value.__class__ is _Hole:
        return tensors[value.number]
    if isinstance(value, Late):
        return value.with_tensor(_fill(value.tensor, tensors))
    if isinstance(value, (tuple, list)):
        filled = [_fill(v, tensors) for v in value]
        return filled if isinstance(value, list) else tuple(filled)
    if isinstance(value, dict):
        return {k: _fill(v, tensors) for k, v in value.items()}
    return value


def plan_of(
    function: Composite,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    meant: bool = False,
    device: Device | None = None,
) -> tuple[Plan, list[Tensor]]:
    """The plan of a call, and its tensors, all on one device. ``meant``: the arguments have been checked. ``device``:
    where a function without tensors makes its result, if that is said."""
    tensors: list[Tensor] = []
    try:
        static = tuple([_flatten(a, tensors) for a in args])
        if kwargs:
            static += (tuple([(k, _flatten(kwargs[k], tensors)) for k in kwargs]),)
    except Abroad:
        return plan_of(function, at_home(args), at_home(kwargs), meant, device)
    if state.trace is not None:  # in a graph there are no strides
        if state.trace.capture is not None:
            tensors = [state.trace.capture.inside(t) for t in tensors]
            if state.trace.device is not CPU:
                tensors = state.trace.capture.placed(function.name, tensors)
        specs = [s if s.contiguous else s.dense() for s in [t._spec for t in tensors]]
    else:
        specs = [t._spec for t in tensors]
    if tensors:
        key = (static, *specs)
    else:
        wanted = default_device() if device is None else device
        device = wanted if state.trace is None else state.trace.device
        key = (static, device)
    plans = function.plans
    try:
        if state.trace is not None:
            plans = _plans_in(state.trace, function, key)
        plan = plans.get(key)
    except TypeError:  # an argument that has no hash
        checked(function, args, kwargs)
        bad = next((a for a in (*args, *kwargs.values()) if not _hashable(a)), None)
        raise DTypeError(
            f"{function.name}: an argument of type {type(bad).__name__} is neither a tensor nor a setting"
        ) from None
    if plan is None:
        if function.older and plans is function.plans:
            plan = generations.back(function, key, _is_bound)
        converted = checked(function, args, kwargs) if plan is None and not meant else None
        if converted is not None:
            args, kwargs = converted
            return plan_of(function, args, kwargs, True, device)
        if plan is None and len({spec.device for spec in specs}) > 1:
            tensors = on_one_device(function.name, tensors, _given((args, kwargs)), function.in_place)
            key = (static, *[t._spec for t in tensors])
            plan = plans.get(key)
    if plan is None:
        plan = _made(function, args, kwargs, tensors, static, device)
        if plans is function.plans:
            generations.keep(function, key, plan, _is_bound(plan))
        else:
            plans[key] = plan
    if state.trace is not None and state.trace.capture is not None:
        _check_late(function.name, plan, (*args, *kwargs.values()))
    if not tensors and wanted is not device and state.trace is not None and state.trace.capture is not None:
        state.trace.capture.check_made(function.name, plan.call.out_specs, wanted)
    return plan, tensors


def _check_late(name: str, plan: Plan, args: Sequence[Any]) -> None:
    """Integers that are known at run time alone have to fit in the dtypes that they are taken in, as others have."""
    if not any(isinstance(arg, Late) for arg in args):
        return
    from ..ops.elementwise import CAST

    tensors: list[Tensor] = []
    for arg in args:
        if not isinstance(arg, Late):
            _flatten(arg, tensors)
            continue
        graph = plan.call.graph
        value = graph.inputs[len(tensors)]
        tensors.append(arg.tensor)
        taken = [node.types[0].dtype for node in graph.nodes if node.op is CAST and node.inputs == (value,)]
        for dtype in dict.fromkeys(taken):
            if dtype.is_integer and dtype is not dt.int64:
                arg.check_fits(name, dtype)


def _plans_in(trace: Trace, function: Composite, key: Any) -> dict[Any, Plan]:
    """The plans of a function while a graph is traced: of what an eager call has bound to its sizes, the graph would
    have to be made."""
    if trace.plans is not None:
        return trace.plans.setdefault(function, {})
    plans: dict[Any, Plan] = function.plans
    for generation in (plans, function.older):
        found = generation.get(key)
        if found is not None and _is_bound(found):
            generation.pop(key, None)
    return plans


def _is_bound(plan: Plan) -> bool:
    """Whether its graph is one for many sizes."""
    return plan.call.__class__ is not GraphCall


def _hashable(value: Any) -> bool:
    try:
        hash(_flatten(value, []))
    except TypeError:
        return False
    return True


def _made(
    function: Composite,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    tensors: list[Tensor],
    static: tuple[Any, ...],
    device: Device | None,
) -> Plan:
    """The plan of a new signature: of an eager call's family, if it has had others."""
    where = tensors[0]._spec.device if tensors else device or CPU
    if state.trace is not None or where is not CPU:
        return _trace(function, args, kwargs, tensors, device)
    specs = [t._spec for t in tensors]
    numbers = [n for spec in specs for n in spec.static_shape]
    count = len(numbers)
    sizes = opened(function, args, kwargs, numbers)
    if kwargs:
        fixed = (*static[:-1], *static[-1])
        fixed = *(s if way is None else way for s, way in zip(fixed, sizes, strict=True)), len(kwargs)
    else:
        fixed = tuple([s if way is None else way for s, way in zip(static, sizes, strict=True)])
    key = (fixed, *[(spec.dtype, len(spec.shape)) for spec in specs])
    family = function.families.get(key)
    if family is None:
        while len(function.families) >= _FAMILIES:
            function.families.pop(next(iter(function.families)), None)
        family = function.families.setdefault(key, Family())

    def trace(sizes_: Sequence[Dim]) -> tuple[GraphCall, bool]:
        values = with_sizes(sizes, [*args, *kwargs.values()], sizes_[count:])
        options = dict(zip(kwargs, values[len(args) :], strict=True))
        return _traced(function, values[: len(args)], options, types_of(specs, sizes_), where)

    return Plan(*family.call(tuple(numbers), strides_of_operands(specs), trace))


def _trace(
    function: Composite,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    tensors: list[Tensor],
    device: Device | None,
) -> Plan:
    device = tensors[0]._spec.device if tensors else device or CPU
    return Plan(*_traced(function, args, kwargs, [t._spec.type for t in tensors], device))


def _traced(
    function: Composite, args: Sequence[Any], kwargs: dict[str, Any], types: list[TensorType], device: Device
) -> tuple[GraphCall, bool]:
    """The call of a function's graph over tensors of some types; and whether it gives a tuple."""
    numbers = [0]
    given = [_hollow(a, numbers) for a in args]  # a plan outlives the tensors that it was made for
    options = {k: _hollow(v, numbers) for k, v in kwargs.items()}

    def body(*traced: Tensor) -> Any:
        return function.function(*_fill(given, traced), **_fill(options, traced))

    before, tape.recording.enabled = tape.recording.enabled, False
    try:
        graph, several = trace_function(body, types, function.name, device)
    finally:
        tape.recording.enabled = before
    for value in graph.outputs:
        check_count(value.shape, value.dtype.itemsize, function.name)
    made = GraphCall(graph, device, is_view=function.is_view, in_place=function.in_place)
    made.is_update = function.is_update
    rule = function.gradient
    if rule is not None:
        made.gradient = lambda result, g, operand: rule(
            result, g, *_fill(given, [operand]), **_fill(options, [operand])
        )
    return made, several


def call(function: Composite, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a public function: eagerly, or into the capture that is going on."""
    if not kwargs and args and isinstance(args[-1], Tensor) and state.trace is None:
        try:
            key = tuple([a._spec for a in args])
            plan = function.quick.get(key)
            if plan is not None:
                return run_single(plan, args)
        except AttributeError:
            key = None
    else:
        key = None
        if kwargs and "out" in kwargs:
            from .out import write_out

            return write_out(function, args, kwargs)
        if kwargs and "copy" in kwargs and function.takes_copy:
            return _copied_or_not(function, *(checked(function, args, kwargs) or (args, kwargs)))
        if kwargs and "device" in kwargs and function.takes_device:
            return _made_on(function, args, dict(kwargs))
        if function is getitem_basic and state.trace is None and isinstance(args[0], Tensor):
            part = _part(*args)
            if part is not None:
                return part
    if function.inplace_at and (len(args) > function.inplace_at or "inplace" in kwargs):
        from .in_place import written_over

        return written_over(function, args, kwargs)
    plan, tensors = plan_of(function, args, kwargs)
    if state.trace is not None:
        outputs = plan.call(tensors)
        return outputs if plan.several else outputs[0]
    if plan.run is None:
        plan.bind([t._spec for t in tensors])
    if not plan.single:
        outputs = plan.call(tensors) if plan.views is None else plan.look(tensors[0])
        return outputs if plan.several else outputs[0]
    if key is not None and key == tuple([t._spec for t in tensors]):  # else one stood for a number, or was moved
        function.quick[key] = plan
    return run_single(plan, tensors)


def _made_on(function: Composite, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call with ``device=``. What a function of tensors (``zeros_like``) gives is moved there."""
    given = kwargs.pop("device")
    if given is None:
        return call(function, args, kwargs)
    device = device_of(given, function.name)
    plan, tensors = plan_of(function, args, kwargs, device=device)
    if tensors:
        return to_device(call(function, args, kwargs), device)
    outputs = plan.call(tensors)
    return outputs if plan.several else outputs[0]


def _part(source: Tensor, key: Subscript) -> Tensor | None:
    """``source[key]`` as a view, without a plan for each key; None where strides cannot say it."""
    spec = source._spec
    if source._storage.__class__ is Value:  # of another thread's capture, or of one that is over
        return None
    layout = layout_at(key, Layout(spec.static_shape, 0, spec.strides))
    if layout is None:
        return None
    made = view(source, *placed(spec.dtype, layout, spec.device), key)
    if source._node is not None and recording.enabled:
        tape.record_view(look_of(spec, key), source, made)
    return made


def _copied_or_not(function: Composite, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The Array API's ``copy`` of ``reshape`` and ``astype``: True always copies; False never does, which is an error
    where a reshape has to, and gives the operand itself where it has the dtype already."""
    from ..ops.elementwise import clone

    kwargs = dict(kwargs)
    copy = kwargs.pop("copy")
    found = function(*args, **kwargs)
    x = args[0]  # positional only
    if not function.is_view:
        return x if copy is False and x.dtype is found.dtype else found
    if copy:
        return clone(found)
    if copy is False and found._view is None and found is not x:
        raise ArgumentError(
            f"{function.name}: strides cannot say the shape {tuple(found.shape)} of this tensor without a copy, which "
            f"copy=False forbids"
        )
    return found


def run_single(plan: Plan, tensors: Sequence[Tensor]) -> Tensor:
    """The quick way: one output, made by the plan's native call."""
    try:
        output = make(plan.run(*[t._storage for t in tensors]), plan.spec, None, 0)
    except (KernelStatus, TypeError) as error:
        output = make(again(error, plan.call, plan.run, tensors), plan.spec, None, 0)
    for t in tensors:
        if t._node is not None:
            if tape.recording.enabled:
                tape.record(plan.call, tensors, (output,))
            break
    return output


SCALARS = Cache(4096)  # Python numbers as tensors of rank 0


def scalar_like(op: str, value: Any, other: Spec) -> Tensor:
    """A tensor of rank 0 for a Python number that meets a tensor in ``op``: it takes the tensor's dtype where its kind
    fits.

    Raises:
        DTypeError: an integer does not fit the tensor's integer dtype.
    """
    # -0.0 == 0.0: a float zero is looked up by its text.
    key = (value.__class__, value if value else repr(value), other.number)
    found: Tensor | None = SCALARS.get(key)
    if found is None:
        dtype = scalar_dtype(value, other.dtype)
        try:
            found = _in_a_block(asarray(value, dtype=dtype, device=CPU), other.device)
            SCALARS.keep(key, found)
        except DTypeError:
            raise DTypeError(f"{op}: {shown(value)} does not fit in {dtype.name}") from None
    return found


def _in_a_block(tensor: Tensor, device: Device) -> Tensor:
    """A tensor of rank 0 on a device, in memory of an allocator's, which in-place forms need not look at for
    overlaps."""
    spec = tensor._spec
    return make(moved(tensor._storage, spec.nbytes, device), spec_of(spec.dtype, (), None, device), None, 0)


def scalar_dtype(value: Any, dtype: dt.DType) -> dt.DType:
    """The dtype of a Python number that meets a tensor of ``dtype``."""
    if isinstance(value, bool) or dtype.is_floating:
        return dtype
    if isinstance(value, int):
        return dt.default_int if dtype is dt.bool_ else dtype
    return dt.default_float


op.register(wrap, value_of, call, guarded)
