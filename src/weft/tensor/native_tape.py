"""Whether native code knows the tape: where CPython puts the slots of its classes is not written down anywhere
(runtime/native/view.py). Probes are made natively, and what they come to is looked at from Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.dtypes import float32
from ..runtime import storage as storages
from . import tape
from .calls import Backward
from .spec import spec_of
from .tensor import make


def never(*record: Any) -> bool:
    """Leave the record to :func:`weft.tensor.tape.record_in_steps`."""
    return False


def chosen() -> Callable[..., bool]:
    """``storages.record``, if it makes records as Python code does; else :func:`never`."""
    tape.let_record(Backward)
    storage, spec, leaf, of, where = storages.empty(8), spec_of(float32, (2,)), tape.Leaf(None), object(), object()
    given: list[Any] = [make(storage, spec, node, number) for number, node in enumerate((leaf, None, None, None))]
    probe: Any = Backward.__new__(Backward)
    probe.call, probe.needs_values = None, True
    probe.flows, probe.needs_inputs, probe.needs_outputs = (False, True), (0, 1), (1,)
    if not storages.record(probe, of, (True, False), tuple(given[:2]), tuple(given[2:]), where):
        return never
    made = given[3]._node
    saved = [(storage, spec, leaf, 0, 0), (storage, spec, None, 1, 0), (storage, spec, *tape.own(1), 0)]
    right = made.__class__ is tape.Record and (made.backward, made.call, made.place) == (probe, of, where)
    right = right and (made.parents, made.saved) == (((leaf, 0),), saved)
    right = right and (given[2]._node, given[2]._index, given[3]._index) == (None, 2, 1)
    return storages.record if right and made.sequence < tape.now() else never
