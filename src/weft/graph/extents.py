"""What kernels may touch, for those that check it (compiler/checked.py): the integers in front of a launch's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..compiler.kernels import written_by
from ..runtime.access_record import Origin, number_of, record_address
from ..runtime.program import AnyStep, Body, BranchStep, LoopStep, Step
from .ir import Value
from .lower.launch import Launch
from .memory import Plan, nbytes_of
from .protocol import Layout


def span_of(layout: Layout, itemsize: int) -> Any:
    """Bytes from the first to the last element of an input; strides are not negative."""
    if any(isinstance(n, int) and n == 0 for n in layout.shape):
        return 0
    return (sum((n - 1) * s for n, s in zip(layout.shape, layout.strides, strict=True)) + 1) * itemsize


def extents_of(launch: Launch, plan: Plan, spans: Sequence[Any]) -> tuple[Any, ...]:
    """The integers of a launch that is not known to the record yet. ``spans``: bytes of the inputs."""

    from ..compiler.checked import extents  # as in renderers.py

    def nbytes(value: Value) -> Any:
        place = plan.place[value][0]
        return spans[place] if place < len(spans) else nbytes_of(value)

    written = written_by(launch.kernel)  # type: ignore[arg-type]
    buffers = enumerate(launch.buffers)
    return extents([(-offset, nbytes(value), k in written) for k, (value, offset) in buffers])


def origin_of(launch: Launch) -> Origin:
    """What a launch is called in errors."""
    ops = dict.fromkeys(node.scope[0] if node.scope else node.op.name for node in launch.nodes)
    where = next((node.where for node in reversed(launch.nodes) if node.where), None)
    return Origin(f"{', '.join(ops) or 'a copy'} ({type(launch.kernel).__name__})", repr(launch), where)


def known_to_record(steps: Sequence[AnyStep], origins: Iterator[Origin]) -> list[AnyStep]:
    """The steps with the numbers of their launches, whose origins are given in order, those of bodies too."""

    def body(of: Body) -> Body:
        return of._replace(steps=tuple(known_to_record(of.steps, origins)))

    made: list[AnyStep] = []
    for step in steps:
        if isinstance(step, Step):
            step = step._replace(ints=(record_address(), number_of(next(origins)), *step.ints[2:]))
        elif isinstance(step, BranchStep):
            step = step._replace(true=body(step.true), false=body(step.false))
        elif isinstance(step, LoopStep):
            step = step._replace(body=body(step.body))
        made.append(step)
    return made
