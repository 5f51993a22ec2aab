"""In-place forms: what an op gives is written into the memory of its first operand.

An in-place form is the op's own graph, its result cast to the tensor's dtype, compiled so that it writes where the
tensor lies, whatever its strides (graph/executable.py). Before: the rules (:func:`_check`), and copies of what the call
would destroy too early: an operand that overlaps with the target, an old value that the gradient needs. After: the
count of writes, by which records find out that a value has changed, and the history (:mod:`weft.tensor.alias`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from ..core.asked import unasked
from ..core.boundary import leave
from ..core.dtypes import DType
from ..core.errors import AutogradError, CaptureError, DeviceError, DTypeError, ShapeError, WeftError
from ..graph.executable import Executable
from ..graph.ir import Value
from ..graph.protocol import COPY
from ..ops.elementwise import astype, clone
from ..ops.op import Composite, Trace, state
from ..runtime import storage as storages
from ..runtime.program import KernelStatus
from . import guards, lines, tape
from .alias import UNTRACKED, base_of, hand_over, live_views, place_of, rebase, replace, root_of
from .arguments import CONTRACTS, checked
from .calls import traced_error
from .capturing import settled
from .dispatch import Plan, plan_of
from .placing import to_device
from .spec import Spec
from .tensor import Tensor, make

_KINDS = {"bool": 0, "int": 1, "uint": 1, "float": 2}  # an in-place form may narrow a dtype, not change its kind


class InPlace:
    """An in-place form of ``function``: ``form(x, ...)`` writes what ``function(x, ...)`` gives into ``x``.

    ``quick`` has the plans of calls with tensors alone, by their specs; operators look there themselves.
    """

    __slots__ = ("composite", "crosses", "function", "name", "quick")

    def __init__(self, name: str, function: Callable[..., Any], crosses: bool = False):
        self.name, self.function = name, function
        self.crosses = crosses  # whether its first operand may lie on another device

        def fitted(x: Any, *args: Any, **kwargs: Any) -> Any:
            return _fitted(name, function(x, *args, **kwargs), x)

        # What the function's own signature says of its arguments holds; a method's binds them itself.
        fitted.__annotations__ = {}
        if isinstance(function, Composite):
            signature = inspect.signature(function.function)
            # What is called as the function itself shows all that it takes.
            rest = [p for key, p in signature.parameters.items() if key != "inplace" or name == function.name]
            fitted.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]
        self.composite = Composite(fitted, name)
        self.composite.in_place = True
        self.quick: dict[tuple[Spec, ...], Plan] = self.composite.quick

    def __call__(self, target: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        try:
            if state.trace is not None:
                return self._traced(target, args, kwargs, state.trace)
            if self.crosses and args and isinstance(args[0], Tensor):
                args = (to_device(args[0], target._spec.device), *args[1:])
            plan, tensors = plan_of(self.composite, (target, *args), kwargs)
            if plan.run is None:
                _bind(self.name, plan, tensors)
            if len(tensors) == len(args) + 1 and not kwargs and all(map(_is_tensor, args)):
                self.quick[tuple([t._spec for t in tensors])] = plan
            write(self.name, plan, tensors)
        except Exception as error:
            leave(error)
            raise
        return target

    def _traced(self, target: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any], trace: Trace) -> Tensor:
        """The same while a function is captured: the tensor, and what shares its memory, get other values."""
        if trace.capture is None:  # in the body of an op, where nothing is shared
            target._storage = self.composite(target, *args, **kwargs)._storage
            return target
        if trace.plans is not None:
            args, kwargs = unasked(args), unasked(kwargs)
        here = trace.capture.inside(target)
        check(self.name, here)
        trace.capture.check(self.name, here)
        args, kwargs = self._kept(here, args, kwargs, trace)
        result = self.composite(*args, **kwargs)
        replace(here, result._storage, trace)
        if tape.recording.enabled and (result._node is not None or base_of(here)._node is not None):
            trace.capture.check_followed(self.name, here)
            rebase(here, result._node, result._index)
        return target

    def _kept(
        self, here: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any], trace: Trace
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The operands of a traced call. What its gradient needs of the memory that is written is a value by itself,
        which is not out of date afterwards."""
        if not tape.recording.enabled:
            return (here, *args), kwargs
        plan, tensors = plan_of(self.composite, (here, *args), kwargs)
        wanted = tuple([t._node is not None for t in tensors])
        if not any(wanted):
            return (here, *args), kwargs
        root, kept = root_of(here), {}
        for i in plan.call.backward(wanted).needs_inputs:
            t = tensors[i]
            if root_of(t) is root:
                kept[id(t)] = make(trace.add(COPY, [t._storage], {}).output, t._spec, t._node, t._index)

        def of(value: Any) -> Any:
            return kept.get(id(trace.capture.inside(value)), value) if isinstance(value, Tensor) else value

        return (of(here), *[of(a) for a in args]), {key: of(value) for key, value in kwargs.items()}


_forms: dict[tuple[str, Composite], InPlace] = {}


def over(name: str, function: Any, input: Any, /, *args: Any, **kwargs: Any) -> Any:
    """Write what a function gives of its first operand into that, and return it. ``name``: what the user has called.

    Raises:
        DTypeError: the operand is no tensor.
    """
    if not isinstance(input, Tensor):
        raise DTypeError(f"{name}: it writes into its operand, which is no tensor but {type(input).__name__}")
    form = _forms.get((name, function))
    if form is None:
        form = _forms[name, function] = InPlace(name, function)
    try:
        return form(input, *args, **kwargs)
    except WeftError as error:
        error.rename(function.name, name)
        raise


def written_over(function: Composite, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call with ``inplace``, which is the function's last argument: where it is True, the result is written into the
    first operand, which is returned.

    Raises:
        DTypeError: the first operand is no tensor.
    """
    at = function.inplace_at
    if len(args) > at + ("inplace" not in kwargs):
        checked(function, args, kwargs)  # which raises: there are too many
    options = {key: value for key, value in kwargs.items() if key != "inplace"}
    inplace = CONTRACTS["bool"].convert(function.name, "inplace", kwargs["inplace"] if len(args) <= at else args[at])
    args = args[:at]
    if not inplace:
        return function(*args, **options)
    if not args:
        first = next(iter(inspect.signature(function.function).parameters))
        if first not in options:
            checked(function, args, options)  # which raises: there is no operand
        args = (options.pop(first),)
    return over(function.name, function, *args, **options)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _fitted(name: str, result: Any, x: Any) -> Any:
    """A result as the tensor can hold it.

    Raises:
        DTypeError: it is of another kind (a float for an integer tensor).
        ShapeError: it is of another shape.
    """
    if result.dtype is not x.dtype:
        if not fits_kind(result.dtype, x.dtype):
            raise DTypeError(
                f"in-place {name}: the result is {result.dtype.name}, which a tensor of {x.dtype.name} cannot hold; "
                f"cast the tensor first"
            )
        result = astype(result, x.dtype)
    if tuple(result.shape) != tuple(x.shape):
        raise ShapeError(f"in-place {name}: the result has shape {tuple(result.shape)}, the tensor {tuple(x.shape)}")
    return result


def fits_kind(given: DType, wanted: DType) -> bool:
    """Whether PyTorch lets an in-place form, or ``out=``, cast a result to another dtype: the kind may not narrow."""
    return _KINDS[given.kind] <= _KINDS[wanted.kind]


def _bind(name: str, plan: Plan, tensors: Sequence[Tensor]) -> None:
    """Compile so that the result is written over the first operand.

    Raises:
        ShapeError: several of its elements lie in one place.
    """
    spec = tensors[0]._spec
    if spec.overlaps:
        raise _overlapping(name, spec)
    exe = plan.call.executable([t._spec for t in tensors], (0,))
    # One kernel that reads everything at the very element that it writes: an operand may be the target itself.
    launch = exe.launches[0] if len(exe.launches) == 1 else None
    plan.single = not exe.launches or (launch is not None and _is_pointwise(launch, len(tensors)))
    plan.run = exe.program.call


def _is_pointwise(launch: Any, operands: int) -> bool:
    (written,) = launch.writes if len(launch.writes) == 1 else (None,)
    safe = {read for new, read in launch.in_place if new is written}
    return written is not None and all(v in safe for v in launch.reads)


def _overlapping(name: str, spec: Spec) -> ShapeError:
    return ShapeError(
        f"in-place {name}: several elements of the tensor lie in one place of memory (shape {spec.shape}, strides "
        f"{spec.strides}: it was expanded); clone() it first"
    )


# --- rules ----------------------------------------------------------------------------------------------------------


def check(name: str, target: Tensor) -> None:
    """PyTorch's rules for what may be written.

    Raises:
        AutogradError: calls are recorded, and the tensor is a leaf that requires grad, a view of one, or a view that
            was made under no_grad.
        ShapeError: several of its elements lie in one place.
    """
    if target._spec.overlaps:
        raise _overlapping(name, target._spec)
    trace = state.trace
    if trace is not None and trace.capture is not None and target._spec.device is not trace.device:
        raise DeviceError(
            f"in-place {name}: {target._spec.placed} is written inside a captured function that runs on {trace.device}"
        )
    if tape.recording.enabled:
        check_leaf(name, target)


def check_leaf(name: str, target: Tensor) -> None:
    """Raise where a write that is recorded would change a leaf that requires grad."""
    base = base_of(target)
    # A view with a history of a base without one: the base was a leaf when the view was made.
    was_leaf = base._node is None and target._node is not None
    if was_leaf or base._node.__class__ is tape.Leaf or target._node.__class__ is tape.Leaf:
        is_leaf = target._node.__class__ is tape.Leaf
        what = "a leaf that requires grad" if is_leaf else "a view of a leaf that requires grad"
        raise AutogradError(
            f"in-place {name}: {what} is changed in place while calls are recorded; do it under wf.no_grad(), or on a "
            f"clone()"
        )


def check_followed(name: str, target: Tensor) -> None:
    """Raise where a history cannot follow a write."""
    of = target._view
    if of is not None and of.kind == UNTRACKED:
        raise AutogradError(
            f"in-place {name}: the tensor is a view that was made under no_grad, and is changed in place while calls "
            f"are recorded; do both under no_grad, or make the view outside of it"
        )


def check_storage(name: str, storage: Any) -> None:
    """Raise where memory must not be written.

    Raises:
        WeftError: it was lent read-only.
    """
    if storage.is_read_only:
        raise ReadOnlyError(
            f"in-place {name}: the tensor's memory was lent read-only (by NumPy, or through DLPack); clone() it first"
        )


class ReadOnlyError(WeftError, ValueError, RuntimeError):
    """Memory that must not be written."""


# --- writing --------------------------------------------------------------------------------------------------------


def write(name: str, plan: Plan, tensors: Sequence[Tensor]) -> None:
    """Run a plan whose result goes into the memory of the first tensor."""
    target = tensors[0]
    check(name, target)
    recorded = tape.recording.enabled and (
        base_of(target)._node is not None or any(t._node is not None for t in tensors)
    )
    if recorded:
        check_followed(name, target)
    if Value in [t._storage.__class__ for t in tensors] and not settled(tensors):  # of another thread's capture
        raise traced_error(tensors)
    storage = target._storage
    check_storage(name, storage)
    operands = list(tensors)
    if recorded:
        _keep_old(plan, operands)
    given = [t._storage for t in operands]
    given[0] = storage
    for i, t in enumerate(operands[1:], 1):
        if overlap(storage, target._spec, t._storage, t._spec):
            if not recorded and plan.single and t._spec is target._spec and t._storage.address == storage.address:
                continue
            given[i] = _copied(t)
            operands[i] = make(given[i], t._spec, t._node, t._index)  # what the gradient needs is what was read
    run(plan, storage, given, tensors)
    if recorded:
        outcome = make(storage, target._spec, None, 0)
        tape.record(plan.call, operands, (outcome,))
        rebase(target, outcome._node, outcome._index)


def run(plan: Plan, storage: Any, given: Sequence[Any], tensors: Sequence[Tensor]) -> None:
    """Write, and count that; what fails has written nothing."""
    try:
        plan.run(*given)
    except KernelStatus as error:
        raise plan.call.status_error(error, tensors) from None
    if storages.wrote(storage):
        lines.note_write(storage)


def _keep_old(plan: Plan, operands: list[Tensor]) -> None:
    """Give the record a copy of the target's old value, if the gradient needs it."""
    target = operands[0]
    wanted = tuple([t._node is not None for t in operands])
    if any(wanted) and any(operands[i] is target for i in plan.call.backward(wanted).needs_inputs):
        kept = make(_copied(target), target._spec, target._node, target._index)
        operands[:] = [kept if t is target else t for t in operands]


def _copied(tensor: Tensor) -> Any:
    """A copy of the memory that a tensor shows, with all gaps: its strides hold there too."""
    return storages.copy_of(storages.view(tensor._storage, 0, tensor._spec.extent))


def overlap(a: Any, a_spec: Spec, b: Any, b_spec: Spec) -> bool:
    """Whether two tensors reach over common memory."""
    if a is not b and a.owner is None and b.owner is None:
        return False
    first, second = a.address, b.address
    return bool(first < second + b_spec.extent and second < first + a_spec.extent)


def same_place(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors show the very same elements of the same memory."""
    trace = state.trace
    if trace is None:
        return a._spec is b._spec and bool(a._storage.address == b._storage.address)
    if trace.capture is None:
        return a is b
    a, b = trace.capture.inside(a), trace.capture.inside(b)
    return a is b or a._storage is b._storage or place_of(a) == place_of(b)


def look_at(tensor: Tensor, value: Tensor) -> None:
    """Make a tensor look at the memory of another: ``tensor.data = value``. Memory of other libraries is copied, so
    that parameters own theirs."""
    trace = state.trace
    if trace is not None and trace.capture is not None:
        here = trace.capture.inside(tensor)
        if not here._spec.is_like(value._spec):
            raise CaptureError(
                f"a tensor that is {here._spec} would become {value._spec} inside a captured function; keep its dtype "
                "and shape, or change it outside"
            )
        if same_place(tensor, value):
            return  # `x.data += 1` sets what it got
        there = trace.capture.inside(value)
        if there._view is not None or live_views(there) or live_views(here) or trace.capture.is_outside(value):
            raise CaptureError(
                "inside a captured function x.data = y can give x another value, not the memory of another tensor, nor "
                "let views of x keep the old one; use x.data.copy_(y), or do it outside"
            )
        with tape.no_grad():
            copy_(tensor, value)
        return
    if same_place(tensor, value):
        return
    value = owned(value)
    storage, spec = value._storage, value._spec
    if live_views(tensor):  # they stay views of one another
        hand_over(tensor, make(tensor._storage, tensor._spec, tensor._node, tensor._index))
    tensor._view = tensor._views = None
    if isinstance(tensor._node, tape.Leaf) and tensor._node.spec is not spec:
        if not spec.is_floating:
            raise DTypeError(f"data: a tensor that requires grad cannot become {spec.dtype.name}")
        tensor._node.spec = spec
    tensor._storage, tensor._spec = storage, spec
    guards.bump()


def owned(tensor: Tensor) -> Tensor:
    """The tensor, or a copy of it where its memory is another library's: parameters and buffers own theirs."""
    storage = tensor._storage
    if storage.__class__ is Value:
        return tensor
    if storages.block_of(storage).owner is None:
        return tensor
    with tape.no_grad():
        copied: Tensor = clone(make(storage, tensor._spec, None, 0))
    return copied


def _copy(x: Any, source: Any) -> Any:
    from ..ops.shape import broadcast_to

    try:
        return broadcast_to(astype(source, x.dtype), tuple(x.shape))
    except ShapeError:
        raise ShapeError(
            f"copy_: a value of shape {tuple(source.shape)} does not broadcast to {tuple(x.shape)}"
        ) from None


copy_ = InPlace("copy_", _copy, crosses=True)


class Update:
    """A function of which some operands are written over by its results: ``update(targets, ...)`` writes the first
    result into the first target, and so on, and returns the further ones. The targets are among the arguments; nothing
    is recorded, so that it is called where calls are not."""

    __slots__ = ("composite",)

    def __init__(self, composite: Callable[..., Any]):
        assert isinstance(composite, Composite)
        self.composite = composite
        composite.is_update = True

    def __call__(self, targets: Sequence[Tensor], *args: Any) -> tuple[Tensor, ...]:
        if state.trace is not None:
            return self._traced(targets, args)
        exe, tensors, places, plan = self.planned(targets, args)
        given = [t._storage for t in tensors]
        written = [given[place] for place in places]
        for place, storage in zip(places, written, strict=True):
            if storage.is_read_only:
                check_storage(self.composite.name, storage)
            for i, other in enumerate(tensors):
                if i != place and overlap(storage, tensors[place]._spec, other._storage, other._spec):
                    if i in places:
                        return self._one_by_one(targets, args)
                    given[i] = _copied(other)
        made = exe.program.call(*given)
        count_writes(written)
        if not exe.results:
            return ()
        made = made if isinstance(made, tuple) else (made,)
        specs = plan.call.out_specs[len(places) :]
        return tuple([make(made[n], spec, None, 0) for n, spec in zip(exe.results, specs, strict=True)])

    def planned(
        self, targets: Sequence[Tensor], args: tuple[Any, ...]
    ) -> tuple[Executable, list[Tensor], tuple[int, ...], Plan]:
        """The executable of a call, its tensors, the numbers of those that are written, and the plan."""
        plan, tensors = plan_of(self.composite, args, {})
        if Value in [t._storage.__class__ for t in tensors] and not settled(tensors):
            raise traced_error(tensors)
        at = {id(t): i for i, t in enumerate(tensors)}
        places = tuple([at[id(t)] for t in targets])
        exe = plan.written.get(places)  # there is a plan for each combination of specs
        if exe is None:
            for t, made in zip(targets, plan.call.out_specs, strict=False):
                check(self.composite.name, t)
                if (made.dtype, made.shape) != (t.dtype, t._spec.shape):
                    text = f"{self.composite.name}: {made.type} cannot replace {t._spec.type}; cast it, or broadcast"
                    raise DTypeError(text)
            exe = plan.written[places] = plan.call.executable([t._spec for t in tensors], places)
        return exe, tensors, places, plan

    def _one_by_one(self, targets: Sequence[Tensor], args: tuple[Any, ...]) -> tuple[Tensor, ...]:
        """The same for targets that share memory: the last one that is written wins."""
        found = self.composite(*args)
        results: tuple[Tensor, ...] = found if isinstance(found, tuple) else (found,)
        for target, result in zip(targets, results, strict=False):
            copy_(target, result)
        return results[len(targets) :]

    def _traced(self, targets: Sequence[Tensor], args: tuple[Any, ...]) -> tuple[Tensor, ...]:
        """The same while a graph is traced."""
        trace = state.trace
        assert trace is not None
        found = self.composite(*args)
        results = found if isinstance(found, tuple) else (found,)
        for target, result in zip(targets, results, strict=False):
            if trace.capture is None:  # in the body of an op, where nothing is shared
                target._storage = result._storage
                continue
            here = trace.capture.inside(target)
            check(self.composite.name, here)
            trace.capture.check(self.composite.name, here)
            replace(here, result._storage, trace)
        return results[len(targets) :]


def count_writes(written: list[Any]) -> None:
    """Count a write to each of these storages, and note the user's line where somebody kept what was there."""
    wrote = storages.wrote
    kept: list[Any] = []
    for storage in written:
        if wrote(storage):
            kept.append(storage)
    if kept:
        lines.note_write(kept[0])
        note = kept[0].note
        for storage in kept:
            storage.note = note
