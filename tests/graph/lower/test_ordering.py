"""The order of clusters and of launches: dependencies hold, checks come before what they guard."""

from __future__ import annotations

from few_examples import few
from hypothesis import given
from hypothesis import strategies as st

from weft.compiler.kernels import Nest
from weft.core import dtypes as dt
from weft.graph.ir import Value
from weft.graph.lower.launch import Launch
from weft.graph.lower.ordering import Order, checks_before_writes, guards_first
from weft.graph.protocol import TensorType

PAIRS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=20)


@given(PAIRS)
def test_what_must_run_before_does(pairs: list[tuple[int, int]]) -> None:
    order = Order()
    for _ in range(10):
        order.add()
    kept = []
    for before, after in pairs:
        if before != after and not order.all_before([before]) >> after & 1:  # else it would be a circle
            order.put_before({before}, after)
            kept.append((before, after))
    settled = order.settled()
    assert sorted(settled) == list(range(10))
    assert all(settled.index(before) < settled.index(after) for before, after in kept)


KERNEL = Nest((), 1, 0, 1, (), ())


@st.composite
def launches(draw: st.DrawFn) -> list[Launch]:
    """Launches that each read some of what was written before and write one value; some check, some only guard."""
    known, made = [Value(TensorType(dt.float32, ()))], []
    for _ in range(draw(st.integers(0, 10))):
        reads = tuple(draw(st.lists(st.sampled_from(known), max_size=2, unique=True)))
        new, guards = Value(known[0].type), draw(st.integers(0, 3)) == 0
        checks = guards or draw(st.booleans())
        made.append(Launch(KERNEL, (), (), 1, 1, reads, (new,), (), checks=checks, guards=guards))
        known += [] if guards else [new]
    return made


def runs(found: list[Launch]) -> bool:
    """Whether everything is written before it is read."""
    everything = {v for x in found for v in x.writes}
    written: set[Value] = set()
    for each in found:
        if any(v in everything and v not in written for v in each.reads):
            return False
        written.update(each.writes)
    return True


@given(launches())
def test_guards_come_as_soon_as_there_is_what_they_look_at(made: list[Launch]) -> None:
    found = guards_first(made)
    assert len(found) == len(made) and set(found) == set(made) and runs(found)
    assert [x for x in found if not x.guards] == [x for x in made if not x.guards]
    for at, each in enumerate(found):
        if each.guards and at and not found[at - 1].guards:
            assert set(found[at - 1].writes) & set(each.reads), "it could come earlier"


@few(33, 300, launches(), st.data())
def test_updates_are_written_after_the_last_check(made: list[Launch], data: st.DataObject) -> None:
    written = [v for x in made for v in x.writes]
    updates = set(data.draw(st.lists(st.sampled_from(written), unique=True))) if written else set()
    found = checks_before_writes(made, updates)
    assert len(found) == len(made) and set(found) == set(made) and runs(found)
    last = max((at for at, x in enumerate(found) if x.checks), default=-1)
    needed: set[Value] = set()
    for each in reversed(found[: last + 1]):
        if not each.checks and not needed & set(each.writes):
            assert not updates.issuperset(each.writes), "nobody needs it before the check"
        needed.update(each.reads)
