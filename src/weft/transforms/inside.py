"""What a captured function sees of the tensors outside of it.

A tensor from outside is never touched while a function is captured: other threads go on using it, other captures may be
going on, and a capture that fails has nothing to put back. What the function reads, writes or differentiates is a
*stand-in*, a traced tensor that this capture keeps for it; gradients that are read or replaced are kept here as well.
At the end the differences become the graph's updates.

Every way from a tensor to its value goes through :meth:`Inside.inside` (``dispatch.plan_of`` for the operands of calls,
``tensor._here`` for properties and in-place forms); outside of captures none of them costs anything.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from threading import get_ident
from typing import Any

from ..core.device import CPU, Device
from ..core.errors import CaptureError, DeviceError, user_line
from ..core.shapes import Shape
from ..core.symbolic import Dim, Sizes, SymDim, are_equal
from ..graph.ir import Graph, Value
from ..graph.simplify import simplify
from ..ops.elementwise import clone
from ..ops.op import Trace, suspended
from ..runtime import storage as storages
from ..tensor import guards, tape
from ..tensor.alias import DETACHED, base_of, follow, root_of, shown
from ..tensor.calls import value_of
from ..tensor.in_place import check_followed, check_leaf, check_storage, copy_
from ..tensor.placing import is_number, mixed
from ..tensor.spec import Spec, spec_of
from ..tensor.tensor import Tensor, make
from .aliasing import Group, meets, step_to
from .bodies import Undecided
from .evaluated import computed, state_of_now
from .journal import Journal
from .names import Names
from .refs import ArgumentRef, FlatRef, GradRef, Ref, TensorRef


@dataclass(slots=True, eq=False)
class Argument:
    """A tensor argument: what was given, the input of the graph, and the traced tensor that stands for it."""

    position: int
    given: Tensor
    value: Value
    stand_in: Tensor
    node: Any  # its place on the tape when the function begins
    handed: Tensor  # what the function gets
    is_member: bool = False  # of a group, whose base is what is written


@dataclass(slots=True, eq=False)
class _Seen:
    """A tensor from outside: the input of the graph, what stands for it, and its place on the tape in the beginning."""

    tensor: Tensor
    value: Value
    stand_in: Tensor
    node: Any
    is_argument: bool = False
    is_member: bool = False  # of a group, whose base is what is written


@dataclass(slots=True, eq=False)
class Update:
    """What is written back: a new value, and its place on the tape where that is another than in the beginning;
    ``is_new`` says whether it is."""

    target: Ref
    value: Value
    node: Any = None
    index: int = 0
    is_new: bool = False
    written: bool = True  # into the memory that is there; False: a place alone


class SharedLeaf(Exception):
    """A leaf whose gradient is asked for is captured, and an argument as well: the function is to be captured once
    more, with one object for both."""

    def __init__(self, ids: set[int]):
        super().__init__()
        self.ids = ids


class Elsewhere(Exception):
    """The function, which was taken to run on the CPU, has met a tensor of another device: it is to be captured once
    more, for that device."""

    def __init__(self, device: Device):
        super().__init__()
        self.device = device


@dataclass(slots=True, eq=False)
class HooksOfLeaves:
    """What a backward pass inside depends on: the hooks of the leaves from outside that it reached."""

    leaves: list[tape.Leaf]

    def guarded(self) -> tuple[Any, ...]:
        """They all, as the value of one guard."""
        return tuple([(leaf, leaf.guarded()) for leaf in self.leaves if leaf.before or leaf.after])


class Inside:
    """A capture that is going on, as the trace's ``capture``."""

    def __init__(
        self,
        groups: Sequence[Group] = (),
        shapes: Mapping[int, Shape] | None = None,
        counts: Sizes | None = None,
        alike: bool = False,
    ) -> None:
        self.groups = groups
        self.counts: list[tuple[str, Value]] = []  # sizes that values are, by their names in the scope
        self.counts_sizes, self.counts_alike = counts is not None, alike
        self._shapes = shapes or {}  # of arguments by their positions, where they have sizes of a scope
        symbols = (n for shape in self._shapes.values() for n in shape if isinstance(n, SymDim))
        self.scope = counts if counts is not None else next((n.scope for n in symbols), None)
        self.trace: Any = None  # set when it begins
        self.thread, self.is_over = get_ident(), False
        self.body: Any = None  # of a branch or loop, the innermost that is traced now (control_nodes.py)
        self.inner: set[Value] = set()  # what bodies have computed, which is nothing outside of them
        self._early: dict[int, tuple[Value, Tensor, Any, bool]] = {}  # arguments, by their positions
        self.members: list[
            tuple[Ref, Any, Spec]
        ] = []  # captured members of groups, which are no inputs, and their nodes
        self._first: dict[int, Any] = {}  # places on the tape in the beginning, by the ids of stand-ins
        self._bases: list[tuple[Ref, Value, Tensor, Any]] = []  # that are neither arguments nor captured themselves
        self._entered: dict[int, Tensor] = {}  # the stand-ins of groups' bases, by the groups' ids
        self.inputs: list[Value] = []  # besides the arguments
        self.refs: list[Ref] = []
        self.nodes: list[Any] = []  # of the inputs: places on the tape in the beginning
        self.specs: list[Spec] = []
        self.conditions: list[Callable[[Sequence[Tensor]], bool]] = []
        self.arguments: list[Argument] = []
        self.grad_refs: dict[tape.Leaf, GradRef] = {}
        self._seen: dict[int, _Seen] = {}  # by the id of the tensor from outside
        self._inputs_of: dict[int, Value] = {}  # the same, kept to the end
        self._constants: dict[int, Tensor] = {}
        # What stands for memory that another library lent inside, by its id: such a constant must not be written.
        self._lent: dict[int, tuple[weakref.ref[Tensor], Tensor]] = {}
        self._read_grads: dict[tape.Leaf, tuple[Tensor | None, Any]] = {}  # as read: the tensor, and its value
        self._written_grads: dict[tape.Leaf, Any] = {}
        # Arguments, and gradients as they were before, by the ids of the traced tensors that the function got for them.
        self.stands_for: dict[int, ArgumentRef | GradRef] = {}
        self._handed: dict[int, ArgumentRef] = {}  # by the id of what was given, and of what the function got
        self._made: list[weakref.ref[Tensor]] = []
        # What stand-ins stand for, by their ids.
        self._outer: dict[int, tuple[weakref.ref[Tensor], Ref, Tensor]] = {}
        self.overwritten: dict[Value, Any] = {}  # values that an in-place form replaced, and the user's line
        self._exposed: dict[Value, list[Value]] = {}  # values of views, by the value of all the memory that they show
        self.through: list[Ref] = []  # by way of which memory of groups was written
        self.start = tape.now()
        # Buffers of modules that were assigned, by the module's table and the name: what was there.
        self._rebound: dict[tuple[int, str], tuple[dict[str, Any], str, Tensor]] = {}
        self._former: dict[int, Tensor] = {}  # those of them that were written, by their ids
        self.names = Names(None)  # what the function reads besides tensors: those of the capture
        self.generators: list[Any] = []  # of random numbers, that the function made with a seed
        # Values of tensors that eager code may have in one memory, as another value decides.
        self._perhaps_shared: dict[Value, dict[Value, None]] = {}
        self.calls_own = 0  # so many arguments are the call's; those after them lie in places
        self._outside_at_end: dict[Value, set[int]] = {}  # of what is from outside: by values, the ids of tensors
        self._outdated_values: set[Value] = set()  # those of them that may have been changed by way of another
        self.world: Tensor | None = None  # what effects write (source/effects.py)
        self.journal = Journal()  # what is done to Python objects (source/writes.py)
        self.unrolled: Set[Any] = frozenset()  # loops of the source that are to be unrolled (source/flow.py)
        self.was_met = False  # whether another thread has computed with a number that lies in a place meanwhile
        self.has_numbers = False  # whether Python numbers from outside are inputs (transforms/numbers.py)
        self.has_printed = False  # whether runs print
        self.has_caught = False  # whether the function has caught an error
        self.trying = 0  # in how many ``try`` with handlers the function is
        self.needed: CaptureError | None = None  # the first error that was raised for want of a number's value

    # --- sizes ------------------------------------------------------------------------------------------------------

    def counted(self, count: Tensor, most: Dim | None) -> Dim:
        """The size that a value is, of rank 0 and int64: a name of the scope, whose example is what the value is for
        the arguments and the state of now.

        Raises:
            CaptureError: in a body of a branch or loop, whose graph has one size for all of its runs; or they have no
                values: another thread's capture has made them, or types stand for them.
        """
        if self.body is not None:
            raise CaptureError(
                f"{self.body.name}: a size that values decide about (a boolean mask as an index, nonzero, repeat by a "
                "tensor) inside of a branch or loop that a value decides about, or of wf.cond, wf.while_loop, wf.scan; "
                "use wf.where(mask, x, other), or do this before it"
            )
        scope, value = self.scope, count._storage
        assert scope is not None
        if any(t is None for _, t in state_of_now(self)):
            raise CaptureError(
                "a size that depends on the values of tensors which have none: call the function with data"
            )
        earlier = [v for _, v in self.counts]
        graph = simplify(Graph("count", self.all_inputs, list(self.trace.nodes), [*earlier, value]))
        for n, (name, _) in enumerate(self.counts):
            if graph.outputs[n] is graph.outputs[-1]:  # one computation is one size
                return scope[name]
        with suspended():
            number = int(computed(self, graph.outputs[-1:], graph.nodes)[graph.outputs[-1]])
        same = next((name for name, _ in self.counts if scope.examples[name] == number), None)
        name = f"k{len(self.counts)}"
        size = scope.add(name, number)
        self.counts.append((name, value))
        if isinstance(most, int):
            scope.limit(name, 2, most)
        if same is not None and self.counts_alike and are_equal(size, scope[same]):
            return scope[same]
        return size

    @property
    def all_inputs(self) -> list[Value]:
        """The arguments, and the inputs besides them so far."""
        return [*(a.value for a in self.arguments), *self.inputs]

    # --- tensors ----------------------------------------------------------------------------------------------------

    def inside(self, tensor: Tensor) -> Tensor:
        """The traced tensor that stands for ``tensor``; a traced one stands for itself."""
        if not isinstance(tensor._storage, Value):
            seen = self._seen.get(id(tensor))
            tensor = (self._entered_outside(tensor) if seen is None else seen).stand_in
        if self.body is not None:
            self.body.read(tensor)
        if self._outdated_values:
            self.check_current(tensor)
        return tensor

    def _entered_outside(self, tensor: Tensor) -> _Seen:
        """Of a tensor that is seen for the first time: what is recorded for it belongs to no body."""
        if self.body is None:
            return self._enter(tensor)
        nodes, self.trace.nodes = self.trace.nodes, self.body.outermost_nodes
        body, self.body = self.body, None
        try:
            return self._enter(tensor)
        finally:
            self.trace.nodes, self.body = nodes, body

    def _meet(self, spec: Spec) -> None:
        """Take notice of a tensor from outside.

        Raises:
            Elsewhere: it is the first that lies on another device than the CPU.
        """
        if spec.device is not CPU and self.trace.device is CPU:
            raise Elsewhere(spec.device)

    def placed(self, name: str, tensors: list[Tensor]) -> list[Tensor]:
        """The operands of a call, all on the device that the function runs on; numbers are copied there by each run.

        Raises:
            DeviceError: another one lies on another device.
        """
        device: Device = self.trace.device
        if all(t._spec.device is device for t in tensors):
            return tensors
        if not all(t._spec.device is device or (is_number(t._spec) and t._node is None) for t in tensors):
            specs = [t._spec for t in tensors]
            if len({s.device for s in specs}) > 1:
                raise mixed(name, specs)
            raise DeviceError(
                f"{name}: {specs[0].placed} inside a captured function, which runs on {device}; move it first"
            )
        return [make(t._storage, spec_of(t.dtype, t._spec.shape, None, device), t._node, t._index) for t in tensors]

    def beside(self, index: Tensor) -> Tensor:
        """An index array or mask on the device that the function runs on, to which each run copies those of the CPU."""
        here, device = self.inside(index), self.trace.device
        if here._spec.device is not CPU or here._node is not None:
            return here
        return make(here._storage, spec_of(here.dtype, here._spec.shape, None, device), None, 0)

    def check_made(self, name: str, specs: Sequence[Spec], wanted: Device) -> None:
        """What is made of nothing lies where the function runs: it must be what is wanted, but for numbers.

        Raises:
            DeviceError: it is not.
        """
        if wanted is not CPU and self.trace.device is CPU:
            raise Elsewhere(wanted)
        if wanted is not CPU or any(spec.shape for spec in specs):
            raise DeviceError(
                f"{name}: makes a tensor on {wanted} inside a captured function, which runs on {self.trace.device}; "
                f"say device={str(self.trace.device)!r}"
            )

    def is_outside(self, tensor: Tensor) -> bool:
        """Whether the tensor was there before the function, or is one of its arguments."""
        if isinstance(tensor._storage, Value):
            return any(a.stand_in is tensor for a in self.arguments)
        return id(tensor) not in self._constants

    def _enter(self, tensor: Tensor) -> _Seen:
        constant = id(tensor) in self._constants
        self._meet(tensor._spec)
        node = tensor._node
        if isinstance(node, tape.Record):
            node = tape.Boundary(node.call.name)
        group = None if constant else self._group(tensor)
        if group is not None and (tensor is not group.base or isinstance(group.ref, GradRef)):
            stand_in = self._member(tensor, group, node)
            seen = self._seen[id(tensor)] = _Seen(tensor, stand_in._storage, stand_in, node, is_member=True)
            self._outer[id(stand_in)] = weakref.ref(stand_in), TensorRef(tensor), tensor
            self.members.append((TensorRef(tensor), node, tensor._spec))
            return seen
        # A constant may be changed by whoever gets it; what it is now must stay.
        kept = make(tensor._storage, tensor._spec, None, 0) if constant else tensor
        value = self._add(TensorRef(kept), tensor._spec, None if constant else node)
        seen = self._seen[id(tensor)] = _Seen(tensor, value, make(value, tensor._spec, node, 0), node)
        self._first[id(seen.stand_in)] = node
        self._inputs_of[id(tensor)] = value
        outer = weakref.ref(seen.stand_in), TensorRef(tensor), tensor
        if not constant:
            self._outer[id(seen.stand_in)] = outer
        elif is_lent(tensor):
            if any(g.low < g.high and meets(tensor, g.low, g.high) for g in self.groups):
                raise _lent("a captured function", "another tensor's memory")
            self._lent[id(seen.stand_in)] = outer[0], tensor
        return seen

    def _group(self, tensor: Tensor) -> Group | None:
        """The group whose memory a tensor shows."""
        if not self.groups or isinstance(tensor._storage, Value):
            return None
        return next((g for g in self.groups if g.holds(tensor)), None)

    def _member(self, tensor: Tensor, group: Group, node: Any) -> Tensor:
        """What stands for a member of a group: a view of what stands for its base."""
        base = self._entry(group)
        steps, kind = step_to(tensor, group)
        made = shown(base, steps, kind, tensor._spec, node, self.trace)
        if kind != DETACHED and base._node is not self._first[id(base)]:  # which has been written by now
            follow(made, base)
        return made

    def _entry(self, group: Group) -> Tensor:
        """What stands for the base of a group, one for all members."""
        base = self._entered.get(id(group))
        if base is None:
            base = self._entered[id(group)] = self._base(group)
        return base

    def _base(self, group: Group) -> Tensor:
        """What stands for the base of a group."""
        if isinstance(group.ref, ArgumentRef):
            return self._argument(group.base, group.ref.position)[1]
        if isinstance(group.ref, TensorRef):
            return self.inside(group.base)
        node = group.base._node
        if isinstance(node, tape.Record):
            node = tape.Boundary(node.call.name)
        value = self._add(group.ref, group.base._spec, node)
        stand_in = make(value, group.base._spec, node, 0)
        self._bases.append((group.ref, value, stand_in, node))
        self._first[id(stand_in)] = node
        self._outer[id(stand_in)] = weakref.ref(stand_in), group.ref, group.base
        return stand_in

    def _add(self, ref: Ref, spec: Spec, node: Any) -> Value:
        value = Value(spec.type)
        self.inputs.append(value)
        self.refs.append(ref)
        self.specs.append(spec)
        self.nodes.append(node)
        return value

    def add_argument(self, given: Tensor, shared: bool) -> Tensor:
        """Take ``given`` as the next argument; returns what the function gets for it. A shared one, which is also
        reached in another way, stays the object that it is; any other is one of its own."""
        position = len(self.arguments)
        before = self._seen.get(id(given)) if shared else None
        if before is not None:  # a second time the same object: its first place counts
            value = Value(self._spec_of(given, position).type)
            self.arguments.append(Argument(position, given, value, before.stand_in, before.node, given))
            return given
        value, stand_in, node, is_member = self._argument(given, position)
        handed = given if shared else stand_in
        self.arguments.append(Argument(position, given, value, stand_in, node, handed, is_member))
        if not shared:
            self.made((stand_in,))
            self.stands_for[id(stand_in)] = ArgumentRef(position)
            return stand_in
        self._seen[id(given)] = _Seen(given, value, stand_in, node, True)
        return given

    def _argument(self, given: Tensor, position: int) -> tuple[Value, Tensor, Any, bool]:
        """The input of the graph for an argument, what stands for it, its place on the tape, and whether it is a member
        of a group."""
        if position in self._early:
            return self._early[position]
        spec = self._spec_of(given, position)
        value = Value(spec.type)
        node: Any = given._node
        if isinstance(node, tape.Record):
            node = tape.Boundary()
        elif isinstance(node, tape.Leaf):
            node = tape.Leaf(spec)  # the argument's own: the same function may be called with another leaf
            node.before, node.after = given._node.before, given._node.after
            self.grad_refs[node] = GradRef(None, position)
        group = self._group(given)
        is_member = group is not None and given is not group.base
        if group is not None and is_member:
            stand_in = self._member(given, group, node)
        else:
            stand_in = make(value, spec, node, 0)
        self._first[id(stand_in)] = node
        self._outer[id(stand_in)] = weakref.ref(stand_in), ArgumentRef(position), given
        self._early[position] = value, stand_in, node, is_member
        return self._early[position]

    def _spec_of(self, given: Tensor, position: int) -> Spec:
        """What the function sees of an argument."""
        spec = given._spec
        return spec_of(spec.dtype, self._shapes[position], None, spec.device) if position in self._shapes else spec

    def add_constant(self, tensor: Tensor) -> None:
        """Remember a tensor that is made of data inside: every run begins with it anew, also when it is written. One
        that was computed of such data (a cast) is like any that is."""
        if isinstance(tensor._storage, Value):
            self.made((tensor,))
        else:
            self._constants[id(tensor)] = tensor
            if self.body is not None:
                self.body.constants.add(id(self.inside(tensor)))

    def is_constant(self, tensor: Tensor) -> bool:
        """Whether it was made of data inside."""
        return id(tensor) in self._constants

    def let_go_of_constants(self) -> list[tuple[weakref.ref[Tensor], Tensor]]:
        """The tensors made of data inside, and what stands for them."""
        found = [(weakref.ref(tensor), self.inside(tensor)) for tensor in self._constants.values()]
        self._constants.clear()
        return found

    def keep_constants(self, constants: Sequence[tuple[weakref.ref[Tensor], Tensor]]) -> None:
        """Those that are still there were stored: like all that is computed here, every run makes its own."""
        for held, stand_in in constants:
            tensor = held()
            if tensor is not None:
                tensor._storage, tensor._spec = stand_in._storage, stand_in._spec
                tensor._node, tensor._index = stand_in._node, stand_in._index
                self.made((tensor,))

    def expose(self, root: Tensor, value: Value) -> None:
        """Note a value that shows memory as it is now: a record may keep it when the view is gone."""
        self._exposed.setdefault(root._storage, []).append(value)

    def may_share(self, tensor: Tensor, others: Sequence[Tensor | Value]) -> None:
        """Take notice of a tensor that, in eager code, may lie in the memory of others: which, a value decides. Tensors
        are known by their values: each write gives another."""
        mine = root_of(tensor)._storage
        values = [v if isinstance(v, Value) else self._value_of(v) for v in others]
        for value in [*values, *(v for each in values for v in self._perhaps_shared.get(each, ()))]:
            if value is not mine:
                self._perhaps_shared.setdefault(mine, {})[value] = None
                self._perhaps_shared.setdefault(value, {})[mine] = None

    def shared_with(self, tensor: Tensor) -> list[Value]:
        """The values that may lie in a tensor's memory."""
        return list(self._perhaps_shared.get(self._value_of(tensor), ()))

    def _value_of(self, tensor: Tensor) -> Value:
        return root_of(tensor if isinstance(tensor._storage, Value) else self.inside(tensor))._storage

    def _outdated(self, root: Tensor) -> None:
        """Take notice that writing into a tensor may have changed others, as a value decides: nobody may read them.

        Raises:
            CaptureError: such a one is reached from outside, or by an earlier iteration of a loop; or this one is such.
        """
        self.check_current(root)
        for value in self._perhaps_shared.get(root._storage, ()):
            if self._is_outside(value) or not self._is_of_this_iteration(value):
                raise self._perhaps_changed()
            self._outdated_values.add(value)

    def _is_outside(self, value: Value) -> bool:
        """Whether a tensor that was there before the function has this value now."""
        roots = [a.stand_in for a in self.arguments] + [seen.stand_in for seen in self._seen.values()]
        return any(root_of(t)._storage is value for t in roots)

    def _is_of_this_iteration(self, value: Value) -> bool:
        """Whether no loop goes on that the value comes from around of."""
        body = self.body
        while body is not None:
            if body.is_loop and not body.owns(value):
                return False
            body = body.outer
        return True

    def check_alone(self, tensor: Tensor) -> None:
        """Raise where a loop writes, under another value, a tensor that others may share memory with.

        Raises:
            CaptureError: it does.
        """
        if self._perhaps_shared.get(self._value_of(tensor)):
            raise self._perhaps_changed()

    def check_kept(self, tensor: Tensor, former: Iterable[Any]) -> None:
        """Raise where a tensor that is stored may, as a value decides, be one from outside, other than the ``former``
        ones of places: in eager code what is written to one would show in the other. (What a call is given may be kept:
        its copy is.)

        Raises:
            CaptureError: it may.
        """
        shared = self._perhaps_shared.get(self._value_of(tensor))
        if not shared:
            return
        outside = self._outside_at_end or self._values_outside()
        known = set(map(id, former))
        if any(not known.issuperset(outside.get(value, ())) for value in shared):
            raise CaptureError(
                "a tensor is stored in a Python object that, as a value decides, is one that was there before (a "
                "branch gave the tensor itself, or a view of it), and a run could only store a copy, which does not "
                "change when that one is written in place; store a clone()"
            )

    def _values_outside(self) -> dict[Value, set[int]]:
        found: dict[Value, set[int]] = {}
        stand_ins = [(id(a.given), a.stand_in) for a in self.arguments[self.calls_own :]]
        stand_ins += [(key, seen.stand_in) for key, seen in self._seen.items()]
        stand_ins += [(id(leaf), read) for leaf, (read, _) in self._read_grads.items() if read is not None]
        for key, tensor in stand_ins:
            value = root_of(tensor)._storage
            if isinstance(value, Value):
                found.setdefault(value, set()).add(key)
        return found

    def check_current(self, tensor: Tensor) -> None:
        """Raise where a tensor is read, or written, that may have been changed.

        Raises:
            CaptureError: it is one.
        """
        if self._outdated_values and root_of(tensor)._storage in self._outdated_values:
            raise self._perhaps_changed()

    @staticmethod
    def _perhaps_changed() -> CaptureError:
        return CaptureError(
            "a tensor was written in place that, as a value decides, has its memory in common with another one (a "
            "branch gave the tensor itself, or an index is known at run time alone): write into a clone(), or make a "
            "new tensor (x = x + 1 in the place of x += 1)"
        )

    def overwrite(self, root: Tensor, values: Sequence[Value]) -> None:
        """Note that an in-place form has replaced values: what a record kept of them is out of date."""
        if self._perhaps_shared:
            self._outdated(root)
        if self.body is not None:
            self.body.wrote(root)
        if root is self.world:
            return  # no gradient needs its value
        where = user_line(3)
        for value in (*values, *self._exposed.pop(root._storage, ())):
            self.overwritten.setdefault(value, where)

    def check(self, name: str, tensor: Tensor) -> None:
        """Raise where a traced tensor must not be written because of what it stands for, or shows: a view of a leaf,
        memory that was lent read-only."""
        base, root = base_of(tensor), root_of(tensor)
        lent = self._lent.get(id(root))
        if lent is not None and lent[0]() is root:
            check_storage(name, lent[1]._storage)
            raise _lent(f"in-place {name}", "its memory")
        if tape.recording.enabled and self._is_flat(root):
            self._check_flat(name, [base_of(t)._node for t in self._members()])
        own = self._outer.get(id(base))
        if own is not None and own[0]() is base and tape.recording.enabled:
            check_leaf(name, own[2])
            if base_of(own[2])._node is not None:
                check_followed(name, own[2])
        found = self._shown_by(tensor) if self.groups else self._outer.get(id(root))
        if found is not None and found[0]() is not None and not isinstance(found[2]._storage, Value):
            check_storage(name, found[2]._storage)
            if self.groups and found[1] not in self.through:
                self.through.append(found[1])

    def _shown_by(self, tensor: Tensor) -> tuple[weakref.ref[Tensor], Ref, Tensor] | None:
        """The tensor from outside by way of which a traced one shows its memory: of a group, one of the members."""
        outer = [(stand_in, found) for found in self._outer.values() if (stand_in := found[0]()) is not None]
        while True:
            for stand_in, found in outer:
                if stand_in is tensor:
                    return found
            at, of = tensor._view, tensor._view
            if of is None:
                return None
            while at is not None:
                for stand_in, found in outer:
                    if stand_in._view is at:
                        return found
                at = at.above
            tensor = of.base

    def check_followed(self, name: str, tensor: Tensor) -> None:
        """Raise where a history cannot follow a write to a traced tensor, or to what it stands for. The value that is
        written has a history, or the tensor's base has one."""
        check_followed(name, tensor)
        base, root = base_of(tensor), root_of(tensor)
        own = self._outer.get(id(base))
        if own is not None and own[0]() is base:
            check_followed(name, own[2])
        if self._is_flat(root):
            self._check_flat(name, [tensor])

    def _is_flat(self, root: Tensor) -> bool:
        """Whether a traced tensor stands for memory of several tensors of which none is the base."""
        return any(stand_in is root and isinstance(ref, FlatRef) for ref, _, stand_in, _ in self._bases)

    def _members(self) -> list[Tensor]:
        """The tensors from outside that are members of groups."""
        return [
            *[seen.tensor for seen in self._seen.values() if seen.is_member],
            *[a.given for a in self.arguments if a.is_member],
        ]

    def _check_flat(self, name: str, histories: Sequence[Any]) -> None:
        """Raise where a write to memory of several tensors, of which none is the base, touches histories."""
        if any(node is not None for node in histories):
            raise CaptureError(
                f"in-place {name}: a captured function writes memory that several tensors share, with gradients "
                "recorded, and there is no one tensor of which all are views; pass that tensor, or clones"
            )

    def outside_of(self, root: Tensor) -> Ref | None:
        """The tensor from outside that a stand-in stands for."""
        found = self._outer.get(id(root))
        return None if found is None or found[0]() is not root else found[1]

    def made(self, tensors: Sequence[Tensor]) -> None:
        """Remember traced tensors: those that are still there when the function has ended were stored somewhere."""
        self._made += [weakref.ref(t) for t in tensors]

    def surviving(self) -> list[Tensor]:
        """The traced tensors that still exist."""
        return [t for t in (r() for r in self._made) if t is not None]

    # --- buffers ----------------------------------------------------------------------------------------------------

    def rebind(self, table: dict[str, Any], name: str, value: Tensor) -> None:
        """A module's buffer is assigned: until the function ends it is that tensor."""
        self._rebound.setdefault((id(table), name), (table, name, table[name]))
        table[name] = value

    def write_buffers(self) -> None:
        """Write what buffers have been assigned into those that are there, which the next run reads by reference:
        another object would be another state, with a capture of its own. The history is the value's."""
        written = []
        for table, name, before in self._rebound.values():
            after = table[name]
            if after is not before:
                traced = self.inside(after)
                with tape.no_grad():  # it may be another buffer, which is written too
                    written.append((before, clone(traced), traced._node, traced._index))
        self.restore_buffers()
        for before, after, node, index in written:
            here = self.inside(before)
            with tape.no_grad():
                copy_(here, after)
            here._node, here._index = node, index
        self._former = {id(before): before for before, *_ in written}

    @property
    def has_rebound(self) -> bool:
        """Whether buffers were assigned that are written now."""
        return bool(self._former)

    def restore_buffers(self) -> None:
        """Give modules their buffers back."""
        for table, name, before in self._rebound.values():
            table[name] = before
        self._rebound.clear()

    def check_former(self, kept: Iterable[Any]) -> None:
        """Raise where what a buffer was before it was assigned is a result, or kept in a Python object.

        Raises:
            CaptureError: it is; the run writes the new value into its memory.
        """
        for tensor in kept:
            if id(tensor) in self._former:
                raise CaptureError(
                    f"a buffer {tensor._spec} of a module is assigned, and what it was before is returned or kept, "
                    "whose memory the new value is written into: return or keep a clone() of it"
                )

    # --- gradients --------------------------------------------------------------------------------------------------

    def _outside(self, leaf: tape.Leaf) -> GradRef | None:
        """The gradient of a leaf from outside; None for a leaf that the function made."""
        found = self.grad_refs.get(leaf)
        if found is None and leaf.sequence < self.start:
            same = {id(a.given) for a in self.arguments if a.given._node is leaf}
            if same:
                raise SharedLeaf(same)
            found = self.grad_refs[leaf] = GradRef(leaf)
        return found

    def read_grad(self, leaf: tape.Leaf) -> Tensor | None:
        """A leaf's gradient; one from outside is read by reference, and its absence is a condition of the graph."""
        ref = self._outside(leaf)
        if ref is None:
            return leaf.grad
        if leaf in self._written_grads:
            if isinstance(self._written_grads[leaf], Undecided):
                raise self._written_grads[leaf].error(leaf)
            return self._written_grads[leaf]
        if leaf not in self._read_grads:
            now = ref.get([a.given for a in self.arguments])
            if now is None:
                self.conditions.append(lambda arguments: ref.get(arguments) is None)
                self._read_grads[leaf] = None, None
            else:
                self._meet(now._spec)
                node = now._node
                if isinstance(node, tape.Record):
                    node = tape.Boundary(node.call.name)
                group = self._group(now)
                value = None  # of a group: what is written is its base
                if group is None:
                    value = self._add(ref, now._spec, node)
                    gradient = make(value, now._spec, node, 0)
                    self._outer[id(gradient)] = weakref.ref(gradient), ref, now
                elif now is group.base:
                    gradient = self._entry(group)
                else:
                    gradient = self._member(now, group, node)
                    self._first[id(gradient)] = node
                    self.members.append((ref, node, now._spec))
                if not any(known() is gradient for known in self._made):
                    self.made((gradient,))
                self.stands_for.setdefault(id(gradient), ref)
                self._read_grads[leaf] = gradient, value
        return self._read_grads[leaf][0]

    def is_outside_leaf(self, leaf: tape.Leaf) -> bool:
        """Whether a leaf was there before the function, or is an argument's."""
        return leaf in self.grad_refs or leaf.sequence < self.start

    def read_hooks(self, leaves: Sequence[tape.Leaf]) -> None:
        """Note that the hooks of leaves are a condition of the graph, none included, and what they name too."""
        known = HooksOfLeaves([])
        for leaf in leaves:
            ref = self._outside(leaf)
            if ref is None:
                continue
            now = leaf.guarded()
            for hook in (hook for hooks in now for hook in hooks):
                self.names.reach(hook)
                self.names.follow(hook, opaque=True)
            if ref.leaf is not None:
                known.leaves.append(ref.leaf)
            else:
                self.conditions.append(functools.partial(_has_hooks, ref, now))
        guards.read(known, "", known.guarded())

    def given(self, tensor: Tensor) -> Tensor:
        """What a tensor stands for, if that is an argument."""
        return next((a.given for a in self.arguments if a.stand_in is tensor), tensor)

    def handed(self, leaf: tape.Leaf, tensor: Tensor) -> Tensor:
        """The tensor of a leaf as the function has it."""
        return next((a.handed for a in self.arguments if a.node is leaf), tensor)

    def write_grad(self, leaf: tape.Leaf, gradient: Tensor | None) -> None:
        """Replace a leaf's gradient."""
        read = self._read_grads.get(leaf, (leaf.grad if self._outside(leaf) is None else None, None))[0]
        if gradient is not None and gradient is self._written_grads.get(leaf, read):  # `p.grad /= n` sets what it got
            return
        if self.body is not None:
            self.body.wrote_gradient(leaf)
        self.put_grad(leaf, gradient)

    def put_grad(self, leaf: tape.Leaf, gradient: Any) -> None:
        """Replace a leaf's gradient, without noting that a body does it."""
        ref = self._outside(leaf)
        if ref is not None:
            self._written_grads[leaf] = gradient
        elif isinstance(gradient, Undecided):
            raise gradient.error(leaf)
        else:
            leaf.grad = gradient

    def peek_grad(self, leaf: tape.Leaf) -> Any:
        """A leaf's gradient, an Undecided among others."""
        found = self._written_grads.get(leaf)
        return found if isinstance(found, Undecided) else self.read_grad(leaf)

    def saved_grad(self, leaf: tape.Leaf) -> tuple[bool, Any]:
        """Whether a leaf's gradient has been replaced, and by what: for :meth:`restore_grad`."""
        if self._outside(leaf) is None:
            return True, leaf.grad
        return leaf in self._written_grads, self._written_grads.get(leaf)

    def restore_grad(self, leaf: tape.Leaf, saved: tuple[bool, Any]) -> None:
        """Let a leaf's gradient be what it was."""
        if saved[0]:
            self.put_grad(leaf, saved[1])
        else:
            self._written_grads.pop(leaf, None)

    # --- the end ----------------------------------------------------------------------------------------------------

    def object_of(self, tensor: Tensor) -> TensorRef | ArgumentRef | GradRef | None:
        """The tensor from outside that a result is, if it is one."""
        if not self._handed:
            for a in reversed(self.arguments):  # the first of several counts
                self._handed[id(a.handed)] = ArgumentRef(a.position)
        argument = self._handed.get(id(tensor))
        if argument is not None:
            return argument
        if id(tensor) in self.stands_for:
            return self.stands_for[id(tensor)]
        seen = self._seen.get(id(tensor))
        return TensorRef(tensor) if seen is not None and id(tensor) not in self._constants else None

    def updates(self, trace: Trace) -> list[Update]:
        """What the function changed of what was there before."""
        found: list[Update] = []
        stand_ins: set[int] = set()
        for a in self.arguments:
            if id(a.stand_in) not in stand_ins:
                found += _changed(ArgumentRef(a.position), a.value, a.stand_in, a.node, a.is_member, trace)
            stand_ins.add(id(a.stand_in))
        for seen in self._seen.values():
            if not seen.is_argument and id(seen.tensor) not in self._constants:
                ref = TensorRef(seen.tensor)
                found += _changed(ref, seen.value, seen.stand_in, seen.node, seen.is_member, trace)
        for ref_, value, stand_in, node in self._bases:
            found += _changed(ref_, value, stand_in, node, False, trace)
        for leaf, (tensor, value) in self._read_grads.items():
            if tensor is not None and value is None and tensor._view is not None:  # a member of a group
                first = self._first.get(id(tensor))
                found += _changed(self.grad_refs[leaf], tensor._storage, tensor, first, True, trace)
            elif tensor is not None and value is not None and tensor._storage is not value:  # changed in place
                is_new = tensor._node is not None and not isinstance(tensor._node, tape.Boundary)
                written = value_of(tensor, trace)
                found.append(Update(self.grad_refs[leaf], written, tensor._node, tensor._index, is_new))
        return found

    def gradients(self) -> list[tuple[GradRef, Tensor | None]]:
        """The gradients that another tensor has taken the place of, or none."""
        found: list[tuple[GradRef, Tensor | None]] = []
        for leaf, tensor in self._written_grads.items():
            if isinstance(tensor, Undecided):
                raise tensor.error(leaf)
            read = self._read_grads.get(leaf)
            if read is None or tensor is not read[0]:
                if tensor is not None:
                    self.check_kept(self.inside(tensor), [leaf])  # so that it is known
                found.append((self.grad_refs[leaf], tensor))
        return found

    def hold_on(self, ref: Ref | int | None) -> None:
        """A gradient is kept as the object that it is: its type is a condition, also where no value of it is used."""
        if isinstance(ref, GradRef):
            now = ref.get([a.given for a in self.arguments])
            assert now is not None
            spec, node = now._spec, now._node.__class__

            def holds(arguments: Sequence[Tensor]) -> bool:
                found = ref.get(arguments)
                return found is not None and found._spec is spec and found._node.__class__ is node

            self.conditions.append(holds)

    def release(self) -> None:
        """Let go of the stand-ins: whoever still holds one has stored it."""
        if self._perhaps_shared:
            self._outside_at_end = self._values_outside()
        for a in self.arguments:
            a.stand_in = a.handed = a.given
        self._read_grads.clear()
        self._written_grads.clear()
        self._seen.clear()
        self._early.clear()
        self._entered.clear()
        self._bases.clear()

    def input_of(self, target: Ref) -> Value:
        """The graph's input that shows what a target held before."""
        if isinstance(target, ArgumentRef):
            return self.arguments[target.position].value
        if isinstance(target, TensorRef):
            return self._inputs_of[id(target.tensor)]
        return next(v for r, v in zip(self.refs, self.inputs, strict=True) if r is target)

    def keep_only(self, used: set[Value]) -> None:
        """Drop the inputs that nothing reads or writes."""
        kept = [i for i, v in enumerate(self.inputs) if v in used]
        self.inputs = [self.inputs[i] for i in kept]
        self.refs = [self.refs[i] for i in kept]
        self.specs = [self.specs[i] for i in kept]
        self.nodes = [self.nodes[i] for i in kept]


def is_lent(tensor: Tensor) -> bool:
    """Whether a tensor of data shows memory of another library."""
    return storages.block_of(tensor._storage).owner is not None


def _lent(what: str, how: str) -> CaptureError:
    return CaptureError(
        f"{what}: an array that becomes a tensor inside of the captured function is written as {how}, which later "
        "calls, that do not run its Python code, could not repeat. Pass the array as an argument, make the tensor "
        "outside of the function, or copy it: wf.tensor(array)"
    )


def _has_hooks(ref: GradRef, hooks: tuple[Any, ...], arguments: Sequence[Tensor]) -> bool:
    """Whether the leaf of an argument has these hooks."""
    return guards.same(ref.leaf_of(arguments).guarded(), hooks)


def _changed(target: Ref, before: Value, stand_in: Tensor, first: Any, is_member: bool, trace: Trace) -> list[Update]:
    """The update that a stand-in comes to, whose value and place on the tape were ``before`` and ``first``. Of a member
    of a group the place alone, where it does not follow the group's base."""
    node = stand_in._node
    is_new = node is not first
    if is_member:
        of = stand_in._view
        if not is_new or of is None or of.kind != DETACHED:
            return []
    elif stand_in._storage is before:
        return []
    return [Update(target, value_of(stand_in, trace), node, stand_in._index, is_new, not is_member)]
