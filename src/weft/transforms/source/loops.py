"""``while`` and ``for`` whose test, or whose number of rounds, is known at run time: one loop node.

The body is traced once, over stand-ins for what it carries on: the variables that an iteration reads of the one before,
and those that are read after the loop. Python's values in them stay what they are as long as an iteration leaves them
alone; a number that it changes becomes one of run time, a tensor where the body makes one of it (``loss = 0.0``): then
the body is traced again with that. Lists that the body appends to become the rows of what the iterations gave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from ...core.asked import unasked
from ...core.errors import CaptureError
from ...graph.ir import Value
from ...ops import elementwise as ew
from ...ops.creation import full, zeros
from ...ops.op import Trace
from ...tensor.alias import root_of
from ...tensor.tensor import Tensor
from ..bodies import Tracing, Unstable
from ..control_nodes import check_written, end_of, loop, part, traced_loop
from ..tree import flatten, unflatten
from .branches import predicate
from .number import DTYPES, ROUNDS, Number, as_number
from .signals import RESULT
from .stacked import Growing, Stacked
from .variables import READ, UNBOUND, UNSET, Maybe, Saved, State, is_same, parts, refill, shown


class Rounds(NamedTuple):
    """What a ``for`` goes through: how often, and the item of a round.

    count: a number or a size. sequences: whose parts along the first axis each round gets. item: of (number of the
    round, parts) what the loop's variable is. at: the item of a round that is known.
    """

    count: Any
    sequences: tuple[Tensor, ...]
    item: Callable[[Number, Sequence[Tensor]], Any]
    at: Callable[[Any], Any]


class _Slot:
    """A leaf of a variable that is carried."""

    __slots__ = ("kind", "like", "name", "start")

    def __init__(self, name: str, start: Any):
        self.name, self.start = name, start
        self.kind: type | None = start.kind if type(start) is Number else None
        self.like: Any = None  # a tensor whose type a Python number takes

    def tensor(self) -> Tensor:
        """What the loop begins with."""
        start = self.start
        if type(start) is Number:
            return start.tensor if self.like is None else start.operand(self.like.dtype)
        if isinstance(start, Tensor):
            return start
        if self.like is not None:
            return full((), start, dtype=self.like.dtype)
        assert self.kind is not None
        return full((), start, dtype=DTYPES[self.kind])

    def stands(self, tensor: Tensor) -> Any:
        """What a variable has, of which the loop carries this tensor."""
        return tensor if self.kind is None or self.like is not None else Number(self.kind, tensor)


class _Loop:
    """A loop that is being traced."""

    def __init__(
        self,
        trace: Trace,
        what: str,
        state: State,
        rounds: Rounds | None,
        body: Callable[[Any], Any],
        again: Callable[[], Any] | None,
    ):
        self.trace, self.what, self.state, self.rounds, self.body, self.again = trace, what, state, rounds, body, again
        self.is_dynamic = rounds is not None and type(rounds.count) is Number
        self.ends = again is not None or self.is_dynamic  # whether a value ends it
        self.sequences = [] if rounds is None else [trace.capture.inside(t) for t in rounds.sequences]
        self.counter: list[Tensor] = []
        self.starts: list[Tensor] = []
        self.late_keys: list[tuple[int, int]] = []  # leaves of variables that have nothing before, which are carried
        self.late_starts: list[Tensor] = []
        self.is_settled = True  # whether the carries are of the types that iterations leave, as far as is known
        self.appends: int | None = None  # what an iteration appends to lists, once it is known
        self.before = state.saved()
        self.slots: dict[tuple[int, int], _Slot] = {}  # by variable and leaf
        self.late: dict[int, list[Any]] = {}  # variables that have nothing before: the leaves that an iteration leaves
        self.forms: dict[int, Any] = {}
        self.grown: dict[int, int] = {}  # lists: how many items an iteration appends
        for n, name in enumerate(state.names):
            value = self.before.now(n)
            # Where there may be no iteration, what is read after the loop is what was there before.
            entering = state.entering[n] or (state.live[n] and (rounds is None or self.is_dynamic))
            if isinstance(value, Maybe) and entering:
                raise Unstable(f"{what}: `{name}` may be unbound before the loop; bind it on all ways")
            if value is UNBOUND or value is UNSET or not entering:
                continue
            leaves, self.forms[n] = flatten(value)
            for k, leaf in enumerate(leaves):
                if isinstance(leaf, Tensor) or type(leaf) is Number:
                    self.slots[n, k] = _Slot(name, leaf)

    def entering(self, carries: Sequence[Tensor]) -> None:
        """Give the variables what an iteration begins with."""
        given = dict(zip(self.slots, carries, strict=True))
        values = list(self.before.values)
        for n in range(len(values)):
            if n not in self.forms:
                values[n] = UNBOUND if self.before.values[n] is not UNSET else UNSET
                continue
            leaves = flatten(self.before.now(n))[0]
            leaves = [self.slots[n, k].stands(given[n, k]) if (n, k) in self.slots else x for k, x in enumerate(leaves)]
            value = unflatten(self.forms[n], leaves)
            values[n] = Growing(value) if type(self.before.values[n]) is list else value
        self.state.give_back(values)

    def left(self) -> Saved:
        return Saved(self.state.get())

    def next(self, after: Saved, carries: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]] | None:
        """What an iteration carries on, and what it appends to lists; None where the types must be others first."""
        given = dict(zip(self.slots, carries, strict=True))
        found: dict[tuple[int, int], Tensor] = {}
        appended: list[Tensor] = []
        stable = True
        for n, name in enumerate(self.state.names):
            if n not in self.forms:
                if self.state.entering[n] == READ and after.now(n) is not UNBOUND and name != RESULT:
                    raise Unstable(f"{self.what}: `{name}` is read by an iteration, and has no value before the first")
                if self.state.live[n] or n in self.late:
                    self._late(n, name, after.now(n))
                continue
            value = after.now(n)
            if isinstance(value, Maybe) or value is UNBOUND:
                raise Unstable(f"{self.what}: an iteration may leave `{name}` unbound")
            if type(value) is Growing:
                more = value.appended
                if any(not isinstance(t, Tensor) for t in more):
                    raise Unstable(f"{self.what}: an iteration appends something to `{name}` that is no tensor")
                if self.grown.setdefault(n, len(more)) != len(more):
                    raise Unstable(f"{self.what}: `{name}` grows by another number of items than before")
                appended += more
                value = value.plain()
            mine = flatten(self.before.now(n))[0]
            try:
                leaves = parts(name, value, self.forms[n], self.what)
            except CaptureError as error:
                raise Unstable(error.message) from None
            for k, (start, leaf) in enumerate(zip(mine, leaves, strict=True)):
                slot = self.slots.get((n, k))
                if slot is None:
                    stable &= self._constant(n, k, name, start, leaf)
                    continue
                checked = self._carried(slot, leaf, given[n, k])
                if checked is None:
                    stable = False
                else:
                    found[n, k] = checked
        return ([found[key] for key in self.slots], appended) if stable else None

    def _constant(self, n: int, k: int, name: str, start: Any, leaf: Any) -> bool:
        """Whether a Python value has stayed; where it is a number that has changed it will be carried."""
        if is_same(start, leaf):
            return True
        kind = type(start)
        if kind not in DTYPES:
            raise Unstable(f"{self.what}: an iteration changes `{name}`, which is {shown(start)}, to {shown(leaf)}")
        slot = self.slots[n, k] = _Slot(name, start)
        if isinstance(leaf, Tensor):
            if tuple(leaf.shape) or (kind is float and not leaf.dtype.is_floating):
                raise Unstable(
                    f"{self.what}: `{name}` is {shown(start)} before an iteration and {shown(leaf)} after it"
                )
            slot.like = leaf
        else:
            after = leaf.kind if type(leaf) is Number else type(leaf)
            if after not in DTYPES:
                raise Unstable(f"{self.what}: an iteration changes `{name}`, which is {shown(start)}, to {shown(leaf)}")
            if after is not kind and not (kind is bool and after is bool):
                raise Unstable(
                    f"{self.what}: `{name}` is a Python {kind.__name__} before an iteration and a "
                    f"{after.__name__} after it"
                )
            slot.kind = kind
        return False

    def _carried(self, slot: _Slot, leaf: Any, stand_in: Tensor) -> Tensor | None:
        if type(leaf) is Number and slot.kind is not None and slot.like is None:
            if leaf.kind is slot.kind:
                return leaf.tensor
        elif isinstance(leaf, Tensor):
            if slot.kind is not None and slot.like is None:  # a number that becomes a tensor
                if not tuple(leaf.shape):
                    slot.like = leaf
                    return None
            elif leaf.dtype is stand_in.dtype and tuple(leaf.shape) == tuple(stand_in.shape):
                return leaf
        elif type(leaf) in DTYPES and tuple(stand_in.shape) == ():
            is_tensor = slot.kind is None or slot.like is not None
            if is_tensor or type(leaf) is slot.kind:
                return full((), leaf, dtype=stand_in.dtype)
        before = shown(Number(slot.kind, stand_in)) if slot.kind is not None and slot.like is None else shown(stand_in)
        raise Unstable(
            f"{self.what}: `{slot.name}` is {before} before an iteration and {shown(leaf)} after it; what a loop over "
            "values carries keeps its dtype and shape"
        )

    def _late(self, n: int, name: str, value: Any) -> None:
        """A variable that the iterations bind: it is carried for those who read it after the loop."""
        if value is UNBOUND or value is UNSET:
            return
        leaves, form = flatten(value.value if isinstance(value, Maybe) else value)
        self.late[n] = [value, leaves, form]

    def begin(self) -> None:
        """Make what the loop begins with, as far as that is known by now."""
        inside = self.trace.capture.inside
        self.starts = [inside(slot.tensor()) for slot in self.slots.values()]
        self.late_keys = self._late_leaves()
        late = [self._late_tensor(key) for key in self.late_keys]
        self.late_starts = [inside(zeros(t.shape, dtype=t.dtype)) for t in late]  # which nothing reads
        self.counter = [] if self.rounds is None else [inside(full((), 0, dtype=DTYPES[int]))]
        self.appends, self.is_settled = None, True

    @property
    def carried(self) -> list[Tensor]:
        """What the loop begins with."""
        return [*self.counter, *self.starts, *self.late_starts]

    def traced(self) -> Any:
        """The body, traced."""
        functions = tuple(f for f in (self.body, self.again) if f is not None)
        return traced_loop(self.what, self.trace, self.round, [*self.carried, *self.sequences], *functions)

    def round(self, tracing: Tracing) -> Sequence[Tensor]:
        """One iteration, over stand-ins: whether to go on, if that is asked, the next carries, what lists get."""
        self.appends = None
        if not self.is_settled:  # it begins again first
            return []
        tracing.carries = len(self.carried)
        stand_ins = [tracing.stand_in(t._spec, end_of(t, tracing.follows)) for t in self.carried]
        pieces = [tracing.stand_in(part(t), end_of(t)) for t in self.sequences]
        first = len(self.counter)
        at, mine = stand_ins[:first], stand_ins[first : first + len(self.starts)]
        flags = []
        try:
            self.entering(mine)
            self.body(None if self.rounds is None else self.rounds.item(Number(int, at[0], ROUNDS), pieces))
            if self.again is not None:  # before the variables are looked at: a test may bind some
                flags = [_truth(self.again())]
            after = self.left()
            self.trace.capture.journal.given(after)
            self.trace.capture.journal.given(self.late)
            found = self.next(after, mine)
        finally:
            self.state.restore(self.before)
        if found is None or self._late_leaves() != self.late_keys:
            self.is_settled = False
            return []
        late = [self._late_tensor(key) for key in self.late_keys]
        for key, tensor, stand_in in zip(self.late_keys, late, stand_ins[first + len(self.starts) :], strict=True):
            if tensor.dtype is not stand_in.dtype or tuple(tensor.shape) != tuple(stand_in.shape):
                raise Unstable(f"{self.what}: `{self.state.names[key[0]]}` does not keep its dtype and shape")
        carries, appended = found
        ahead = [ew.add(at[0], 1)] if at else []
        if self.rounds is not None and self.ends:
            more = _more(ahead[0], self.rounds)
            flags = [ew.logical_and(flags[0], more)] if flags else [more]
        self.appends, tracing.flags = len(appended), len(flags)
        check_written(tracing, [*ahead, *carries, *late])
        self._check_apart(tracing, [*ahead, *carries, *late, *appended])
        return [*flags, *ahead, *carries, *late, *appended]

    def _check_apart(self, tracing: Tracing, outputs: Sequence[Tensor]) -> None:
        """What an iteration writes in place is one memory in all iterations: nothing else may be left of it."""
        for n, tensor in enumerate(outputs):
            root = root_of(tensor)
            number = next((i for i in tracing.written_carries if tracing.stand_ins[i] is root), n)
            if number != n or id(root) in tracing._touched:
                raise Unstable(
                    f"{self.what}: an iteration writes a tensor in place, and keeps it under another name, or in a "
                    "list, as well; keep a clone() of it, or make a new tensor (x = x + 1 in the place of x += 1)"
                )

    def _late_leaves(self) -> list[tuple[int, int]]:
        """The leaves of variables that have nothing before and are read after the loop."""
        return [
            (n, k)
            for n, (_, leaves, _form) in self.late.items()
            if self.state.live[n]
            for k, leaf in enumerate(leaves)
            if isinstance(leaf, Tensor) or type(leaf) is Number
        ]

    def _late_tensor(self, key: tuple[int, int]) -> Tensor:
        leaf = self.late[key[0]][1][key[1]]
        return leaf.tensor if type(leaf) is Number else leaf

    def note_aliases(self, tracing: Tracing, left: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        """In eager code what a loop leaves may lie in the memory of what it began with, of what its body read, or of
        something else that it leaves: neither may be written while both are."""
        left = left[len(left) - len(outputs) :]  # without the flag
        carried, may_share = self.carried, self.trace.capture.may_share
        places = {id(t._storage): n for n, t in enumerate(tracing.stand_ins)}
        found: dict[int, list[Tensor]] = {}  # what may be one memory, by storages in the body
        names = ["", *(s.name for s in self.slots.values()), *(self.state.names[n] for n, _ in self.late_keys)]
        names = [*names[len(names) - len(carried) :], *[""] * (len(outputs) - len(carried))]
        for n, (tensor, output) in enumerate(zip(left, outputs, strict=True)):
            if names[n] == RESULT:  # it is what it was when it was returned: nothing is written then
                continue
            storage = root_of(tensor)._storage
            number = places.get(id(storage))
            around: list[Any] = self.trace.capture.shared_with(tensor)
            if number is not None and number >= len(carried):
                around.append(self.sequences[number - len(carried)])
            elif number is not None:
                around += [carried[number], outputs[number]]
            elif not (isinstance(storage, Value) and tracing.owns(storage)):
                around.append(tensor)
            elif (written := tracing.memory_of(tensor)) is not None:
                around.append(written)
            if n < len(carried) and (self.ends or n in tracing.written_carries):
                around.append(carried[n])  # there may be no iteration
            others = found.setdefault(id(storage), [])
            may_share(output, [t for t in (*around, *others) if t is not output])
            others.append(output)

    def give(self, finals: Sequence[Tensor], rows: Sequence[Tensor], began: Tensor | None) -> None:
        """Give the variables what the loop leaves."""
        ended = dict(zip(self.slots, finals[: len(self.starts)], strict=True))
        late = dict(zip(self.late_keys, finals[len(self.starts) :], strict=True))
        columns: Iterator[Tensor] = iter(rows)
        values = list(self.before.values)
        rounds = self.rounds
        surely = rounds is not None and not self.is_dynamic
        for n, name in enumerate(self.state.names):
            if n in self.late and self.state.live[n]:
                value, leaves, form = self.late[n]
                made = [
                    (Number(x.kind, late[n, k]) if type(x) is Number else late[n, k]) if (n, k) in late else x
                    for k, x in enumerate(leaves)
                ]
                got = unflatten(form, made)
                if name == RESULT or (surely and not isinstance(value, Maybe)):
                    values[n] = got
                elif isinstance(value, Maybe):
                    raise Unstable(
                        f"{self.what}: an iteration binds `{name}` on some ways alone; bind it before the loop"
                    )
                else:
                    assert began is not None
                    values[n] = Maybe(got, began)
            if n not in self.forms:
                continue
            leaves = flatten(self.before.now(n))[0]
            now = [self.slots[n, k].stands(ended[n, k]) if (n, k) in ended else x for k, x in enumerate(leaves)]
            value = unflatten(self.forms[n], now)
            if self.grown.get(n):
                assert rounds is not None
                own = [next(columns) for _ in range(self.grown[n])]
                value = Stacked.after(value, own, rounds.count)
            old = self.before.values[n]
            if type(old) in (list, dict) and type(value) is type(old):
                refill(old, value)
                value = old
            values[n] = value
        self.state.set(values)


def stage_while(trace: Trace, test: Callable[[], Any], body: Callable[[], Any], state: State, go: Any) -> None:
    """A ``while`` whose test has given ``go``, a value."""
    _stage(_Loop(trace, "while", state, None, lambda item: body(), test), predicate(go))


def stage_for(
    trace: Trace, rounds: Rounds, body: Callable[[Any], Any], going: Callable[[], Any] | None, state: State
) -> None:
    """A ``for`` over rounds, of which there is one at least unless their number is a value; ``going``: whether an exit
    has not been met."""
    _stage(_Loop(trace, "for", state, rounds, body, going), None)


def _stage(here: _Loop, go: Tensor | None) -> None:
    """Trace the body until what it carries keeps its types, and record the loop."""
    for _ in range(6):
        here.begin()
        traced_ = here.traced()
        if here.appends is not None:
            break
    else:
        raise Unstable(f"{here.what}: what the loop carries does not settle")
    rounds = here.rounds
    if here.appends and (here.ends or rounds is None):
        raise Unstable(
            f"{here.what}: a list grows in a loop that a value ends; collect into a tensor of a fixed length"
        )
    length = None if rounds is None or here.is_dynamic else unasked(rounds.count)
    if rounds is not None and here.ends:
        go = _more(here.counter[0], rounds)
    finals, rows = loop(here.trace, traced_, go, here.carried, here.sequences, length)
    here.note_aliases(traced_[0], traced_[1], [*finals, *rows])
    for n in traced_[0].written_carries:  # eagerly it is the tensor that was there
        finals[n] = here.carried[n]
    here.give(finals[len(here.counter) :], rows, go)


def _truth(test: Any) -> Tensor:
    """What a test gives, as a bool tensor of rank 0."""
    if isinstance(test, Tensor) or type(test) is Number:
        return predicate(test)
    return full((), bool(test))


def _more(at: Tensor, rounds: Rounds | None) -> Tensor:
    """Whether there is a round of this number."""
    assert rounds is not None
    count = as_number(rounds.count)
    assert count is not None
    return ew.less(at, count.tensor)
