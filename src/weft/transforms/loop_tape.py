"""Gradients of loops in captured code (see control_tape.py).

The way back through a loop is a loop over the same iterations from the last to the first, which computes each one's
values again, from the carries that the first loop has kept. Its carries are the cotangents of the carries, and what
tensors around the loop have received so far, to which each iteration adds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.errors import AutogradError
from ..core.symbolic import Dim
from ..ops.control import BRANCH, LOOP
from ..ops.creation import arange, full, zeros, zeros_like
from ..ops.elementwise import less, maximum, where
from ..ops.pieces import concat
from ..ops.shape import expand_dims, reshape
from ..tensor import lines, tape
from ..tensor.spec import spec_of
from ..tensor.tensor import Tensor
from .bodies import Carried
from .control_tape import Body, Control, ControlRecord, Traced, apply, nothing, record, record_branch, tracked


def record_loop(
    name: str,
    body: Body | None,
    params: dict[str, Any],
    operands: Sequence[Tensor],
    outputs: Sequence[Tensor],
    kept: int,
) -> None:
    """Put a loop on the tape, if calls are recorded. Its last ``kept`` results are the carries before each iteration;
    ``body`` gives neither these nor whether to go on."""
    if body is None or not any(tracked(operands)):
        return
    flags = params["has_go"] + params["has_count"]
    carries = params["carries"]
    have = {n for n, t in enumerate(operands[flags:]) if t._node is not None and t._spec.dtype.is_floating}
    grown = True
    while grown:  # carries that get a history on the way
        more = {i for i in range(carries) if body.reached[i] & have} - have
        have |= more
        grown = bool(more)
    flows = [i in have for i in range(carries)] + [bool(found & have) for found in body.reached[carries:]]
    flows += [i in have for i in range(carries)][:kept] if kept else []
    flows += [False] * (len(outputs) - len(flows))
    if not any(flows):
        return
    numbers = [n for n, t in enumerate(operands) if n >= flags and t._node is not None and n - flags in have]
    needed = list(range(flags + carries, len(operands)))
    results = len(body.places) - carries
    needed += [~n for n in range(carries + results, len(outputs))]  # the carries, and how many iterations there were
    if params["has_count"]:
        needed.append(0)
    specs = tuple([t._spec for t in outputs])
    control = Control(
        name, specs, (body,), params, numbers, needed, loop_back if kept or not carries else unbounded_back
    )
    record(control, operands, outputs, flows)


def unbounded_back(
    record_: ControlRecord, tensors: list[Tensor], cotangents: list[Tensor | None], sums: tape.Sums
) -> None:
    """Refuse a loop that has kept nothing."""
    error = AutogradError(
        "backward through a while_loop in captured code needs to know how many steps there may be, to keep what it "
        "carries: while_loop(..., max_steps=n); a while statement is for _ in range(n) with a break"
    )
    error.where = lines.where_of(record_.place) or error.where
    raise error


def loop_back(record_: ControlRecord, tensors: list[Tensor], cotangents: list[Tensor | None], sums: tape.Sums) -> None:
    """Send cotangents back through a loop."""
    _LoopBack(record_, tensors, cotangents).send(sums)


def _gone_through(rows: Tensor, count: Tensor, length: Dim) -> Tensor:
    """Rows of a result, zeros for the iterations that there were not, the last ones: a loop leaves those unwritten."""
    there = less(arange(length, dtype=count.dtype, device=rows.device), count)
    return where(reshape(there, (length, *(1 for _ in rows.shape[1:]))), rows, zeros_like(rows))


class _LoopBack:
    """The way back through one loop.

    Numbers: of inputs of the body (carries, parts of sequences, invariants), of its outputs (carries, parts of results;
    then the carries that were kept). A *group* is a place on the tape of invariants; an accumulator carries what it has
    received.
    """

    def __init__(self, record_: ControlRecord, tensors: list[Tensor], cotangents: list[Tensor | None]):
        self.control: Control = record_.backward
        (self.body,), p = self.control.bodies, self.control.params
        self.length, self.backwards = p["length"], p["reverse"]
        self.carries, inputs = p["carries"], len(self.body.graph.inputs)
        self.closed_at = self.carries + p["sequences"]  # the first invariant
        rows, self.closed = tensors[: p["sequences"]], tensors[p["sequences"] : inputs - self.carries]
        # What an iteration found: the carries before it, and parts of sequences.
        self.found = [*tensors[inputs - self.carries : inputs], *rows]
        self.count = tensors[inputs] if p["has_count"] or p["gives_count"] else None
        self.device = (self.found + self.closed)[0]._spec.device
        self.kept_at = len(self.body.places)  # the first carry that was kept, among outputs
        self.finals = cotangents[: self.carries]
        each = enumerate(cotangents[self.carries : self.kept_at + self.carries], self.carries)
        self.ys = {o: c for o, c in each if c is not None}
        flags = p["has_go"] + p["has_count"]
        self.parents = {n - flags: place for n, place in zip(self.control.tracked, record_.parents, strict=True)}
        self.shared = self._shared()
        active = {i for i, c in enumerate(self.finals) if c is not None} | set(self.shared)
        for o in self.ys:
            active |= {i for i in self._reached(o) if i < self.carries}
        while more := {j for i in active for j in self.body.reached[i] if j < self.carries} - active:
            active |= more
        self.active = sorted(active)
        touched = set().union(*(self.body.reached[i] for i in active), *map(self._reached, self.ys))
        at = {n: place for n, place in self.parents.items() if n in touched}
        self.groups = list(dict.fromkeys([place for n, place in at.items() if n >= self.closed_at]))
        self.group = {n: self.groups.index(place) for n, place in at.items() if n >= self.closed_at}
        self.parts = [n for n in at if self.carries <= n < self.closed_at]
        self.begins = {i: self.parents[i] for i in self.active if i in self.parents}  # places of the initial carries

    def _reached(self, o: int) -> set[int]:
        return self.body.reached[o] if o < self.kept_at else {o - self.kept_at}

    def _shared(self) -> dict[int, list[int]]:
        """Carries that are results as well: a tensor that gets its cotangents from both, the result's first."""
        found: dict[int, list[int]] = {}
        taken: set[int] = set()
        for i in range(self.carries if self.count is None else 0):
            place = self.body.places[i]
            twins = [o for o in self.ys if o < self.kept_at and place is not None and self.body.places[o] == place]
            if twins and taken.isdisjoint(twins):
                found[i] = sorted(twins, reverse=True)
                taken.update(twins)
        return found

    def _part_of(self, tensor: Tensor) -> Any:
        spec = tensor._spec
        return spec_of(spec.dtype, spec.shape[1:], None, spec.device)

    def send(self, sums: tape.Sums) -> None:
        """Compute all contributions, and add them up."""
        if self.length == 0:
            for i, c in enumerate(self.finals):
                if c is not None and i in self.parents:
                    sums.add(*self.parents[i], c)
            return
        if not self.active and not self.group and not self.parts:
            return
        # The first iteration has the initial carries themselves, whose places may have received something already, or
        # be those of other operands: it goes by itself.
        stays = self._stays()
        places = [place for i, place in self.begins.items() if i not in stays]
        alone = len(set(places)) < len(places) or any(p in self.groups or sums.at(*p) is not None for p in places)
        alone = alone and (self.count is None or not (self.parts or self.backwards))
        start, seeds = self._start()
        if not alone:  # iterations add to what has arrived at that tensor
            before = [sums.at(*self.begins[i]) if i in stays else None for i in self.active]
            start = [t if b is None else b for t, b in zip(start, before, strict=True)]
        sent = {o: c for o, c in self.ys.items() if all(o not in twins for twins in self.shared.values())}
        received = [sums.at(*place) for place in self.groups]
        example = {g: self.closed[n - self.closed_at]._spec for n, g in self.group.items()}
        added = [nothing(example[g]) if t is None else t for g, t in enumerate(received)]
        first = -1 if self.backwards else 0
        sequences = [*self.found, *sent.values(), *seeds.values()]
        results: list[Tensor] = []
        if not alone:
            start, added, results = self._rest(
                start, added, sequences, list(sent), list(seeds), self.length, self.count
            )
        else:
            if self.length > 1:
                others = slice(None, -1) if self.backwards else slice(1, None)
                count = None if self.count is None else maximum(self.count - 1, 0)
                cut = [t[others] for t in sequences]
                start, added, results = self._rest(start, added, cut, list(sent), list(seeds), self.length - 1, count)
            kept = [t[first] for t in (*self.found, *sent.values())]
            start, added, last = self._first(start, added, kept, list(sent), sums)
            last = [expand_dims(t, axis=0) for t in last]
            if results:
                pairs = zip(last, results, strict=True)
                last = [concat([b, a] if self.backwards else [a, b]) for a, b in pairs]
            results = last
        for place, total in zip(self.groups, added, strict=True):
            sums.replace(*place, total)
        for i, total in zip(self.active, start, strict=True):
            if i in self.begins and not alone:
                (sums.replace if i in stays else sums.add)(*self.begins[i], total)
        for n, total in reversed(list(zip(self.parts, results, strict=True))):
            sums.add(*self.parents[n], total)

    def _stays(self) -> set[int]:
        """Carries that the iterations write with no history recorded: one place on the tape, in all of them and after
        the loop."""
        found = {i for i in set(self.begins) - set(self.shared) if self.body.places[i] == ("input", i)}
        each = list(self.begins.values())
        found = {i for i in found if self.finals[i] is None and self.begins[i] not in self.groups}
        return {i for i in found if each.count(self.begins[i]) == 1}

    def _start(self) -> tuple[list[Tensor], dict[int, Tensor]]:
        """The cotangents of the last carries; and for carries that are results as well, by the iterations that they
        come to, what the results send."""
        last = 0 if self.backwards else -1
        start: list[Tensor] = []
        seeds: dict[int, Tensor] = {}
        for i in self.active:
            c = self.finals[i]
            empty = nothing(self._part_of(self.found[i]))
            total: Any = None
            for o in self.shared.get(i, ()):
                c = self.ys[o][last] if c is None else c + self.ys[o][last]
                total = self.ys[o] if total is None else total + self.ys[o]
            if total is not None:
                end = expand_dims(empty, axis=0)
                seeds[i] = concat([total[1:], end] if self.backwards else [end, total[:-1]])
            start.append(empty if c is None else c)
        return start, seeds

    def _walk(
        self,
        now: Sequence[Tensor],
        cts: Mapping[int, Tensor],
        sent: Mapping[int, Tensor],
        ends: Sequence[Any],
        targets: dict[Any, Tensor | None],
    ) -> None:
        """One iteration: ``cts`` are the carries' cotangents, ``sent`` those of results and kept carries."""
        outgoing = [cts.get(i) for i in range(self.carries)]
        outgoing += [sent.get(o) for o in range(self.carries, self.kept_at)]
        for i in range(self.carries):
            ct = sent.get(self.kept_at + i)
            if ct is not None:
                held = targets.get((ends[i], 0))
                targets[ends[i], 0] = ct if held is None else held + ct
        self.body.walk(now, [(end, 0) for end in ends], outgoing, targets)

    def _results(
        self, now: Sequence[Tensor], targets: Mapping[Any, Tensor | None], ends: Sequence[Any]
    ) -> list[Tensor]:
        made = []
        for n in self.parts:
            t, spec = targets[ends[n], 0], now[n]._spec
            made.append(zeros(spec.shape, dtype=spec.dtype, device=spec.device) if t is None else t)
        return made

    def _rest(
        self,
        start: Sequence[Tensor],
        added: Sequence[Tensor],
        sequences: Sequence[Tensor],
        sent: Sequence[int],
        seeded: Sequence[int],
        length: Dim,
        count: Tensor | None,
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """A loop over iterations, from the last on: cotangents of the carries before them, accumulators, results."""
        operands = [*start, *added, *sequences, *self.closed]
        carried = len(start) + len(added)
        follows = tracked(operands)
        keeps = any(follows)
        if keeps:  # what is carried may get a history on the way
            follows[:carried] = [True] * carried
        marks = [Carried() for _ in self.groups]
        own = [Carried() for _ in range(self.closed_at)]
        ends = [*own, *(marks[self.group[n]] if n in self.group else None for n in self._invariants)]
        given = [Carried() for _ in range(carried)] + own
        given += [Carried() for _ in sequences[len(own) :]]
        given += [end or Carried() for end in ends[len(own) :]]

        def run(stand_ins: list[Tensor]) -> list[Tensor]:
            more = iter(stand_ins)
            cts = {i: next(more) for i in self.active}
            sums_now = [next(more) for _ in marks]
            now = [next(more) for _ in own]
            sent_now = {o: next(more) for o in sent}
            targets: dict[Any, Tensor | None] = {(end, 0): None for end in own}
            targets |= {(own[i], 0): next(more) for i in seeded}
            targets |= {(mark, 0): t for mark, t in zip(marks, sums_now, strict=True)}
            now += list(more)
            self._walk(now, cts, sent_now, ends, targets)
            made = []
            for i in self.active:
                t = targets[own[i], 0]
                made.append(nothing(now[i]._spec) if t is None else t)
            sums_after = [t for mark in marks if (t := targets[mark, 0]) is not None]
            return [*made, *sums_after, *self._results(now, targets, ends), *(stand_ins[:carried] if keeps else ())]

        specs = [t._spec for t in operands]
        specs[carried : carried + len(sequences)] = list(map(self._part_of, sequences))
        nodes = [mark if on else None for mark, on in zip(given, follows, strict=True)]
        name = f"{self.control.name}.grad"
        made = Traced(name, specs, nodes, run, self.device)
        params = {
            "body": made.graph,
            "carries": carried,
            "sequences": len(sequences),
            "length": length,
            "reverse": not self.backwards,
            "has_go": False,
            "has_count": count is not None,
            "gives_count": False,
            "bounded": False,
        }
        operands = [*([] if count is None else [count]), *operands]
        outputs = apply(LOOP, params, operands)
        stop = carried + len(self.parts)
        if made.body is not None:
            made.body.places, made.body.reached = made.body.places[:stop], made.body.reached[:stop]
            record_loop(name, made.body, params, operands, outputs, carried if keeps else 0)
        rows = outputs[carried:stop]
        if count is not None:
            rows = [_gone_through(t, count, length) for t in rows]
        return outputs[: len(start)], outputs[len(start) : carried], rows

    @property
    def _invariants(self) -> range:
        return range(self.closed_at, self.closed_at + len(self.closed))

    def _first(
        self,
        start: Sequence[Tensor],
        added: Sequence[Tensor],
        found: Sequence[Tensor],
        sent: Sequence[int],
        sums: tape.Sums,
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """The first iteration, if there is one: contributions go to the places of the initial carries, in the order of
        eager code. As :meth:`_rest`, but that the carries' have been sent."""
        others = [p for p in dict.fromkeys(self.begins.values()) if p not in self.groups]
        places = [*self.groups, *others]
        received = [*added, *(sums.at(*p) for p in others)]
        before = [t for t in received if t is not None]
        operands = [*start, *before, *found, *self.closed]
        marks = [Carried() for _ in places]
        own: list[Any] = [Carried() for _ in range(self.closed_at)]
        for i, place in self.begins.items():
            own[i] = marks[places.index(place)]
        ends = [*own, *(marks[self.group[n]] if n in self.group else None for n in self._invariants)]
        given = [Carried() for _ in range(len(start) + len(before))] + own
        given += [Carried() for _ in found[len(own) :]]
        given += [end or Carried() for end in ends[len(own) :]]
        follows = tracked(operands)

        def opened(
            stand_ins: list[Tensor],
        ) -> tuple[dict[int, Tensor], dict[Any, Tensor | None], list[Tensor], dict[int, Tensor]]:
            more = iter(stand_ins)
            cts = {i: next(more) for i in self.active}
            targets = {(m, 0): None if t is None else next(more) for m, t in zip(marks, received, strict=True)}
            now = [next(more) for _ in own]
            sent_now = {o: next(more) for o in sent}
            return cts, targets, [*now, *more], sent_now

        def closed_(targets: dict[Any, Tensor | None]) -> list[Tensor]:
            found_ = [targets[mark, 0] for mark in marks]
            return [t for t in found_ if t is not None]

        def one(stand_ins: list[Tensor]) -> list[Tensor]:
            cts, targets, now, sent_now = opened(stand_ins)
            targets |= {(end, 0): None for end in own if (end, 0) not in targets}
            self._walk(now, cts, sent_now, ends, targets)
            for mark, place in zip(marks, places, strict=True):
                if targets[mark, 0] is None:
                    i = next(i for i, p in self.begins.items() if p == place)
                    targets[mark, 0] = nothing(now[i]._spec)
            return [*closed_(targets), *self._results(now, targets, ends)]

        def none(stand_ins: list[Tensor]) -> list[Tensor]:
            cts, targets, now, _ = opened(stand_ins)
            for i, place in self.begins.items():
                mark = marks[places.index(place)], 0
                held = targets[mark]
                targets[mark] = cts[i] if held is None else held + cts[i]
            return [*closed_(targets), *self._results(now, {(own[n], 0): None for n in self.parts}, own)]

        specs = [t._spec for t in operands]
        nodes = [mark if on else None for mark, on in zip(given, follows, strict=True)]
        name = f"{self.control.name}.grad"
        sides = [Traced(name, specs, nodes, run, self.device) for run in (one, none)]
        going = full((), True, dtype="bool", device=self.device) if self.count is None else self.count > 0
        outputs = apply(BRANCH, {"true": sides[0].graph, "false": sides[1].graph}, [going, *operands])
        record_branch(name, [side.body for side in sides], [going, *operands], outputs)
        for place, total in zip(others, outputs[len(self.groups) :], strict=False):
            sums.replace(*place, total)
        return list(start), outputs[: len(self.groups)], outputs[len(places) :]
