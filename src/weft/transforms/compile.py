"""``wf.compile``: a function captured once per signature, run as one native call.

The signature is the types of the tensor arguments, the values of the others, and whether calls are recorded. State
that the function read keeps its type from call to call; when it does not (or a captured Python attribute such as
``module.training`` has changed) the function is captured again.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from ..compiler.kernels import Kernel
from ..core.boundary import leave
from ..core.collector import uncollected
from ..core.device import CPU, chosen
from ..core.errors import CaptureError, WeftError
from ..core.errors import made as errors_made
from ..core.symbolic import Sizes
from ..graph.ir import Graph
from ..graph.lower.host import HostCall
from ..graph.simplify import simplify
from ..ops.op import state
from ..tensor import tape
from ..tensor.caches import epoch
from ..tensor.capturing import capturing
from ..tensor.create import is_array, is_scalar
from ..tensor.spec import Spec
from ..tensor.tensor import Tensor
from .capture import capture
from .entry import Entry
from .explain import Explanation, explain
from .sized import Dynamic, Family, SizedCapture, examples_of, shapes_in
from .tree import flatten, unflatten

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")
_SIMPLE = (bool, int, float, complex, str, bytes, type(None))
_MAX_ENTRIES = 16  # graphs kept for one signature, and signatures: code whose state never comes again must not leak
_MAX_SIGNATURES = 4096
_MAX_BOUND = 256  # of these for sizes of a capture with symbols, which are had again in a millisecond
_MANY_FLOATS = 4  # captures for one float argument before the user is told


class Compiled(Generic[P, R]):
    """A compiled function; see :func:`compile`."""

    def __init__(self, function: Callable[P, R], dynamic: Mapping[str, Mapping[int, Any]] | None = None):
        functools.update_wrapper(self, function)
        self.function = function
        self._said = dynamic
        self._dynamic = None if dynamic is None else Dynamic(function, dynamic)
        self._entries: dict[Any, tuple[Entry, ...]] = {}  # replaced as a whole: other threads may be going through one
        self._bound: dict[Any, None] = {}  # signatures of captures with symbols
        self._families: dict[Any, Family] = {}  # by signatures without sizes
        self._floats: dict[Any, int] = {}  # captures of signatures that differ in floats alone
        self._epoch = epoch.number
        self._key = getattr(function, "__name__", "")  # of the method in its object

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            if state.trace is not None:  # inside another capture: part of its graph
                return self.function(*args, **kwargs)
            entry, signature, tensors = self._find(args, kwargs)
            if entry is None:
                with capturing():
                    entry = self._capture(signature, tensors, args, kwargs)
                    results = self._first_run(entry, tensors)
            else:
                results = entry.run(tensors)
            form = entry.captured.returns.form
            if form == ("leaf",):
                return results[0]  # type: ignore[return-value]
            return unflatten(form, results)
        except Exception as error:
            leave(error, self.function, args, kwargs)
            raise

    def __getattr__(self, name: str) -> Any:
        """What the function has: a compiled module still has its parameters, ``train()``, ``state_dict()`` ..."""
        if name == "function":  # not there yet
            raise AttributeError(name)
        return getattr(self.function, name)

    def __repr__(self) -> str:
        return f"<compiled {getattr(self.function, '__name__', None) or repr(self.function)}>"

    def __set_name__(self, owner: type, name: str) -> None:
        self._key = name

    @overload
    def __get__(self, instance: None, owner: Any = None) -> Compiled[P, R]: ...
    @overload
    def __get__(self: Compiled[Concatenate[S, Q], R], instance: S, owner: Any = None) -> Compiled[Q, R]: ...
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """A method: compiled once for each instance, which keeps it."""
        if instance is None:
            return self
        if isinstance(instance, type) or not hasattr(instance, "__dict__"):
            return MethodType(self, instance)  # of a class, or of an object that can hold nothing: its first argument
        bound = instance.__dict__.get(self._key)
        own = getattr(
            getattr(bound, "function", None), "__self__", instance
        )  # a copy of an object has its bound method
        if bound is None or (isinstance(bound, Compiled) and own is not instance):
            bound = Compiled(self.function.__get__(instance, owner), self._said)
            bound._key = self._key
            instance.__dict__[self._key] = bound
        return bound

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self._key] = value  # so that __get__ is asked before the instance

    def __delete__(self, instance: Any) -> None:
        if self._key not in getattr(instance, "__dict__", {}):
            raise AttributeError(self._key)
        del instance.__dict__[self._key]

    def __reduce__(self) -> Any:
        """By name: a copy is compiled anew where it is used."""
        owner = getattr(self.function, "__self__", None)
        if owner is not None:
            return getattr, (owner, self._key)
        if getattr(self.function, "__qualname__", None) is None:  # a module, say
            return Compiled, (self.function, self._said)
        return self.function.__qualname__

    @staticmethod
    def _first_run(entry: Entry, tensors: list[Tensor]) -> list[Tensor]:
        """A run after which what the capture stored in Python objects has a value; if it fails, nothing is stored."""
        try:
            results = entry.run(tensors)
        except BaseException:
            entry.captured.abandon()
            raise
        entry.captured.take_back = None
        if entry.captured.reads.names is not None:
            entry.captured.reads.names.forget_before()
        return results

    def _entry(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Entry, list[Tensor]]:
        """The entry for these arguments, which is not run."""
        entry, signature, tensors = self._find(args, kwargs)
        if entry is None:
            with capturing():
                entry = self._capture(signature, tensors, args, kwargs)
                entry.captured.abandon()
        return entry, tensors

    def _find(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Entry | None, Any, list[Tensor]]:
        """The entry that holds for these arguments, their signature, and the tensors among them."""
        tensors: list[Tensor] = []
        key: list[Any] = [tape.recording.enabled, (epoch.number, chosen.device)]
        for a in args:
            if isinstance(a, Tensor):
                tensors.append(a)
                key.append(a._spec)
                if a._node is not None:
                    key.append(a._node.__class__)
                if a._view is not None:  # a write changes the history of its base
                    key.append((a._view.kind, a._view.base._node.__class__))
            else:
                _key_of(a, key, tensors)
        if kwargs:
            _key_of(kwargs, key, tensors)
        signature = tuple(key)
        for entry in self._entries.get(signature, ()):
            if entry.captured.valid(tensors):
                return entry, signature, tensors
        return self._of_other_sizes(signature, tensors), signature, tensors

    def _of_other_sizes(self, signature: tuple[Any, ...], tensors: list[Tensor]) -> Entry | None:
        """An entry for these sizes, of a capture with symbols for them."""
        if self._epoch != epoch.number:
            return None
        family = self._families.get(_without_sizes(signature))
        if family is None:
            return None
        shapes = tuple([t._spec.static_shape for t in tensors])
        for sized in family.captures:
            numbers = sized.numbers(shapes)
            if numbers is not None and sized.captured.valid(tensors):
                state = sized.captured.reads.state(tensors)
                try:
                    made = sized.entry(numbers, [t._spec for t in (*tensors, *state)])
                except WeftError:  # said by the capture with numbers, at the user's line
                    return None
                if made is not None:
                    self._keep(signature, made, tensors)
                    self._bound[signature] = None
                    if len(self._bound) > _MAX_BOUND:
                        self._entries.pop(self._pop_bound(), None)
                return made
        return None

    def _pop_bound(self) -> Any:
        """The signature that was bound first."""
        first = next(iter(self._bound))
        self._bound.pop(first, None)
        return first

    def _capture(self, signature: Any, tensors: list[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Entry:
        self._warn_of_floats(signature)
        self._begin()
        family = self._families.setdefault(_without_sizes(signature), Family())
        with uncollected():
            made = self._capture_sized(family, signature, tensors, args, kwargs)
            if made is not None:
                return made
            captured = capture(self.function, args, kwargs, to_run=True)
            try:
                made = Entry(captured, [t._spec for t in (*tensors, *captured.reads.state(tensors))])
                self._keep(signature, made, tensors)
            except BaseException:
                captured.abandon()
                raise
        family.note(tuple([t._spec.static_shape for t in tensors]))
        return made

    def _capture_sized(
        self, family: Family, signature: Any, tensors: list[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Entry | None:
        """Capture the function with symbols for the sizes that were others in earlier calls; None where there are
        none, or it does not go."""
        if not all(t._spec.contiguous and t._spec.device is CPU for t in tensors):
            return None
        shapes = tuple([t._spec.static_shape for t in tensors])
        said = {} if self._dynamic is None else self._dynamic.places(args, kwargs, shapes)
        names = family.names(shapes, said)
        if names is None:
            return None
        scope = Sizes(examples_of(names, shapes))
        if self._dynamic is not None:
            self._dynamic.limit(scope)
        made, before = None, errors_made.count
        try:
            captured = capture(self.function, args, kwargs, to_run=True, shapes=shapes_in(scope, names))
        except Exception:  # whatever it is, the capture with numbers says it in numbers
            if said:
                raise
            family.give_up(names)
            return None
        finally:
            scope.closed = True
        try:
            if self._dynamic is not None:
                self._dynamic.check(scope)
            # An error that the function caught may be one of symbols alone: sizes that are equal and not known to be.
            if errors_made.count == before and SizedCapture.can_be(captured):
                sized = SizedCapture(captured, scope, names)
                numbers = sized.numbers(shapes)
                assert numbers is not None
                specs = [t._spec for t in (*tensors, *captured.reads.state(tensors))]
                with suppress(WeftError):
                    made = sized.entry(numbers, specs, first=True)
            if made is None:
                if said:
                    raise CaptureError(
                        f"{self._name} cannot be captured for any size: results show an argument's memory, operands "
                        f"share memory that is written, Python code computes an op, or an error is caught in it; do "
                        f"not say dynamic"
                    )
                family.give_up(names)
                captured.abandon()
            else:
                family.keep(sized)
                self._keep(signature, made, tensors)
        except BaseException:
            captured.abandon()
            raise
        return made

    def _begin(self) -> None:
        """Forget what was captured for other threads or another target: the old graphs are never used again."""
        if self._epoch != epoch.number:
            self._entries.clear()
            self._bound.clear()
            self._families.clear()
            self._floats.clear()
            self._epoch = epoch.number

    def _keep(self, signature: Any, made: Entry, tensors: list[Tensor]) -> None:
        """Keep an entry for calls to come."""
        self._begin()
        entries = self._entries.get(signature, ())
        if len(entries) == _MAX_ENTRIES // 2:
            warnings.warn(
                f"{self._name} has been captured {len(entries) + 1} times for one signature, because state it reads is "
                f"different at each call: {entries[0].captured.reads.changed(tensors)}. Keep what changes in a "
                f"tensor, or pass it as an argument",
                stacklevel=4,
            )
        self._entries[signature] = (made, *entries)[:_MAX_ENTRIES]
        while len(self._entries) > _MAX_SIGNATURES:
            self._entries.pop(next(iter(self._entries)), None)  # the oldest
        if len(self._floats) > _MAX_SIGNATURES:
            self._floats.clear()

    @property
    def _name(self) -> str:
        return getattr(self.function, "__name__", "a function")

    def _warn_of_floats(self, signature: tuple[Any, ...]) -> None:
        """Say, once, that a float argument makes a new graph for each of its values."""
        kind = tuple([None if item.__class__ is tuple and item[0] == "float" else item for item in signature])
        if None not in kind:
            return
        count = self._floats[kind] = self._floats.get(kind, 0) + 1
        if count == _MANY_FLOATS:
            warnings.warn(
                f"{self._name} has been captured {count} times because a Python float among its arguments has another "
                f"value at each call; each value is a graph of its own. Pass it as a tensor: wf.asarray(value)",
                stacklevel=4,
            )

    def graph(self, *args: P.args, **kwargs: P.kwargs) -> Graph:
        """The graph for these arguments, simplified; ``print`` it. Sizes that were others in earlier calls are symbols
        (``n0``). Nothing is run."""
        entry, _ = self._entry(args, kwargs)
        return simplify(entry.captured.whole)

    def kernels(self, *args: P.args, **kwargs: P.kwargs) -> list[Kernel]:
        """The kernels for these arguments, in order: ``print(k)``, ``k.llvm()``, ``k.asm()``. Nothing is run. Python
        code that computes an op (``wf.linalg.inv``) is none."""
        entry, _ = self._entry(args, kwargs)
        kernels = [launch.kernel for launch in entry.exe.launches]
        return [kernel for kernel in kernels if not isinstance(kernel, HostCall)]

    def explain(self, *args: P.args, **kwargs: P.kwargs) -> Explanation:
        """A table of the kernels for these arguments: what they do, whose lines, bytes, flops, time, share of the
        machine's peak. Printed it is text; its ``show()`` adds bars on a terminal. Runs on copies: no state changes."""
        entry, tensors = self._entry(args, kwargs)
        return explain(entry.exe, entry.program_inputs(tensors), entry.sizes)


@overload
def compile(function: Callable[P, R], *, dynamic: Mapping[str, Mapping[int, Any]] | None = None) -> Compiled[P, R]: ...
@overload
def compile(*, dynamic: Mapping[str, Mapping[int, Any]]) -> Callable[[Callable[P, R]], Compiled[P, R]]: ...
def compile(function: Any = None, *, dynamic: Mapping[str, Mapping[int, Any]] | None = None) -> Any:
    """Decorator: the function becomes one graph and one native call, with the same bits.

    Tensors that it closes over (parameters, optimizer state) are read by reference and updated in place, so a whole
    training step can be one call. Its Python code runs at the first call with each signature only. A call that differs
    from earlier ones in sizes alone is captured once more, for any size: what the code asks of a size (``n > 8``,
    ``n == m``) is answered for this call, and calls for which the answers are others are captured anew.

    Args:
        dynamic: sizes that are to be any from the first call on, by the names of parameters and by axes:
            ``{"x": {0: "batch"}}``, ``{"x": {0: ("batch", 1, 512)}}`` with the least and the greatest number. Sizes of
            one name are equal in every call. Sizes 0 and 1 have captures of their own.

    >>> import weft as wf
    >>> @wf.compile
    ... def f(x):
    ...     return (x * x).sum()
    >>> f(wf.asarray([1.0, 2.0]))
    Tensor(5., dtype=float32)

    Raises:
        CaptureError: at the call, where the function's control flow needs a tensor's value, or the number of a size
            that was said to be any.
        ArgumentError: what ``dynamic`` says is not understood.
        ShapeError: at the call, for a size that is not what ``dynamic`` says.
    """
    if function is None:
        return functools.partial(compile, dynamic=dynamic)
    if isinstance(function, Compiled):
        return function if dynamic is None else Compiled(function.function, dynamic)
    if not callable(function):
        raise CaptureError(f"compile: {type(function).__name__} is not a function")
    return Compiled(function, dynamic)


def _without_sizes(signature: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple([(s.dtype, len(s.shape), s.device) if isinstance(s, Spec) else s for s in signature])


def _key_of(value: Any, key: list[Any], tensors: list[Tensor]) -> None:
    """Append what an argument contributes to the signature, and its tensors."""
    leaves, form = flatten(value)
    key.append(form)
    for leaf in leaves:
        if is_scalar(leaf):  # a Python number that has been through NumPy, as in eager calls
            leaf = leaf.item()
        if isinstance(leaf, Tensor) or is_array(leaf):
            from ..tensor.create import asarray

            tensor = asarray(leaf)
            tensors.append(tensor)
            key.append(tensor._spec)
            if tensor._node is not None:
                key.append(tensor._node.__class__)
            if tensor._view is not None:
                key.append((tensor._view.kind, tensor._view.base._node.__class__))
        elif isinstance(leaf, float):
            key.append(("float", repr(leaf)))
        elif isinstance(leaf, _SIMPLE):
            key.append((type(leaf), leaf))
        elif isinstance(leaf, (set, frozenset)) and all(isinstance(item, _SIMPLE) for item in leaf):
            key.append((type(leaf), frozenset((type(item), item) for item in leaf)))
        else:
            key.append(_Same(leaf))


class _Same:
    """An argument that is what it is by identity; a key that has it keeps it alive."""

    __slots__ = ("value",)

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)
