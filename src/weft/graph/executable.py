"""From a graph to a Program: simplify, choose and fuse, make launches, plan memory, compile, assemble the table.

Sizes are numbers here; what plans for many sizes (sized.py) shares with it is :func:`plan_folded` and :func:`steps_of`,
where they may be those of a scope.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..compiler.build import addresses, gpu_launch, kept_addresses, texts_of
from ..compiler.expr import leaf
from ..compiler.kernels import Kernel
from ..core.config import settings
from ..core.device import CPU, Device
from ..core.errors import CompileError, DeviceError, OutOfMemoryError
from ..core.shapes import Shape, size_of
from ..core.symbolic import undecided
from ..llvm.targets import Target
from ..runtime.access_record import Origin
from ..runtime.devices import Runs, row_of
from ..runtime.program import UNBOUNDED, AnyStep, Body, BranchStep, HostStep, LoopStep, Program, Release, Step
from . import kept
from .extents import extents_of, known_to_record, origin_of, span_of
from .fold import constants_of
from .ir import Graph, Node, Value, checked
from .loops import settle_loops
from .lower import launches_of
from .lower.attention import with_served
from .lower.control import ControlCall, with_inner
from .lower.host import HostCall
from .lower.in_order import copy_launch
from .lower.launch import Launch
from .lower.ordering import checks_before_writes
from .lower.roots import copy_of
from .memory import ALIGNMENT, Plan, in_place, nbytes_of, plan_memory
from .protocol import Branch, Called, Concat, Gather, Layout, Map, Position, Primitive, Scan, Scatter, SliceUpdate, View
from .remat import WAYS, Remade, rematerialise
from .scheduling import scheduled
from .simplify import simplify

LONG_WORK = (
    2_000_000_000  # in a program worth saving inputs that it writes, so that Ctrl-C can end it later: some 0.1 s
)
SAVED_BYTES = 4 << 20  # of these inputs at most
GIL_WORK = 400_000  # rough instructions in a program that lets other Python threads run meanwhile: some 20 us


@dataclass(slots=True)
class Planned:
    """Launches, where values lie, and which of the program's outputs the graph's are: everything but machine code.

    ``results[i]`` says where graph output i comes from: n, the program's n-th output, or ~n, its n-th input.
    """

    launches: list[Launch]
    plan: Plan
    results: list[int]
    dense: frozenset[int] = frozenset()  # numbers of the inputs that are row-major
    spans: tuple[Any, ...] = ()  # bytes of each input from its first to its last element

    def buffers(self, launch: Launch) -> tuple[tuple[int, Any], ...]:
        """(place, byte offset) of each buffer of a launch."""
        found = ((*self.plan.place[value], offset) for value, offset in launch.buffers)
        return tuple((place, start + offset) for place, start, offset in found)

    @property
    def writes(self) -> tuple[int, int, tuple[tuple[int, int], ...]]:
        """How many launches come before the first that writes an input; how many before the first that writes more
        than can be saved; and what that is, (number, bytes) of inputs."""
        place, first, saves, total = self.plan.place, len(self.launches), dict[int, int](), 0
        for at, launch in enumerate(self.launches):
            for value in launch.writes:
                number = place[value][0] if value in place else self.plan.inputs
                if number >= self.plan.inputs or number in saves:
                    continue
                first, nbytes = min(first, at), nbytes_of(value)
                if not isinstance(nbytes, int) or number not in self.dense or total + nbytes > SAVED_BYTES:
                    return first, at, tuple(saves.items())
                saves[number] = nbytes
                total += nbytes
        return first, len(self.launches), tuple(saves.items())


@dataclass(slots=True, eq=False)
class About:
    """What a program's calls are called by those who watch them. ``name``: of the graph; ``captured``: it is of a
    compiled function, whose nodes know their lines. ``sizes``: of its symbols."""

    name: str
    planned: Planned | Callable[[], Planned]
    sizes: Mapping[str, int]
    captured: bool = False

    @property
    def launches(self) -> list[Launch]:
        """Of the steps."""
        if not isinstance(self.planned, Planned):
            self.planned = self.planned()
        return self.planned.launches


@dataclass(slots=True)
class Executable:
    """A program of a device, and which of its outputs the graph's are, as in :class:`Planned`. What else there is to
    know of it is planned when somebody asks, where the program is that of an earlier process."""

    program: Runs
    results: list[int]
    outputs: int  # so many the program makes
    _planned: Planned | Callable[[], Planned]
    about: About | None = None

    def __post_init__(self) -> None:
        if self.about is not None and isinstance(self.program, Program):
            self.program.about.append(self.about)

    @property
    def planned(self) -> Planned:
        """What the program was made of."""
        if not isinstance(self._planned, Planned):
            self._planned = self._planned()
        return self._planned

    @property
    def launches(self) -> list[Launch]:
        """Of the steps."""
        return self.planned.launches

    @property
    def plan(self) -> Plan:
        """Where the values lie."""
        return self.planned.plan


@dataclass(slots=True)
class _Placed:
    """A graph whose outputs each have a place of their own, what an input holds or is to hold having been copied.

    ``written``: new value -> the input that it replaces. ``shared``: what is copied and used besides, hence stored.
    """

    graph: Graph
    results: list[Value]
    written: dict[Value, Value]
    shared: list[Value]


def plan_graph(
    graph: Graph,
    strides: Sequence[Shape],
    updates: Sequence[tuple[int, Value]],
    target: Target,
    threads: int,
    hand_on: bool = False,
    values: Mapping[Value, Node] | None = None,
    limit: int | None = None,
) -> Planned:
    """The launches of ``graph`` for a target, and their memory.

    The program computes everything from the old values of its inputs, and writes what ``updates`` says; a run that
    fails has written nothing.

    Args:
        strides: of each input, in elements.
        updates: (input number, the value that is written into the memory of that input). The elements of such an input
            do not overlap with each other, nor with those of another input.
        hand_on: results may be inputs (that are not written), and several results may be one output; otherwise each
            is an output of its own.
        values: what stands for some values, as for :func:`simplify`.
        limit: bytes of intermediate values; what does not fit is computed again.

    Raises:
        CompileError: the graph has symbolic sizes.
        OutOfMemoryError: its intermediate values take more than ``limit`` in any case.
    """
    for value in graph.inputs:
        if any(map(undecided, value.shape)):
            raise CompileError(
                f"graph {graph.name}: an input has the symbolic shape {value.shape}; specialise it first"
            )
    wanted = len(graph.outputs)
    graph = simplify(graph.copy(outputs=[*graph.outputs, *(v for _, v in updates)]), to_run=True, values=values)
    graph = with_served(settle_loops(graph, limit is not None), target)
    found: list[int] = []
    for way in WAYS if limit is not None else WAYS[:1]:
        planned = _planned(rematerialise(graph, way), strides, updates, wanted, target, threads, hand_on)
        if limit is None or planned.plan.arena_nbytes <= limit:
            return planned
        found.append(planned.plan.arena_nbytes)
    raise OutOfMemoryError(
        f"{graph.name}: memory_limit is {limit:,} bytes, and its intermediate values take at least {min(found):,} "
        f"({found[0]:,} where nothing more than usual is computed again); raise the limit, or use smaller batches"
    )


def _planned(
    remade: Remade,
    strides: Sequence[Shape],
    updates: Sequence[tuple[int, Value]],
    wanted: int,
    target: Target,
    threads: int,
    hand_on: bool,
) -> Planned:
    """The plan of a graph whose first ``wanted`` outputs are results; the others are the updates' values."""
    graph = remade.graph
    layouts = {v: Layout(v.shape, 0, s) for v, s in zip(graph.inputs, strides, strict=True)}
    replaced = [(graph.inputs[at], v) for (at, _), v in zip(updates, graph.outputs[wanted:], strict=True)]
    placed = _own_places(graph, graph.outputs[:wanted], replaced, layouts, hand_on)
    graph, results, written = placed.graph, placed.results, placed.written
    placed.shared.extend(remade.kept)
    launches, direct = _launches_in_place(placed, layouts, target, threads, remade)
    for new, old in written.items():
        if new not in direct and size_of(new.shape) != 0:
            assert new.node is not None
            whole = Layout.contiguous(new.shape)
            place = layouts[old] if new.shape == old.shape else whole
            last = copy_launch(new.node, old, leaf("read", new.dtype, (new, whole)), whole.shape, place)
            # Its operand is in the arena because it may not be here.
            launches.append(replace(last, in_place=(), copies=None))
    row_major = {old for old in direct.values() if layouts[old].is_contiguous}
    apart = ALIGNMENT if target.checked else 0
    plan = plan_memory(launches, graph.inputs, results, direct, row_major, apart)
    launches = [x for x in launches if x.copies is None or plan.place[x.copies[0]] != plan.place[x.copies[1]]]
    where = {v: i for i, v in enumerate(plan.outputs)} | {v: ~i for i, v in enumerate(graph.inputs)}
    dense = frozenset(i for i, v in enumerate(graph.inputs) if layouts[v].is_contiguous)
    spans = tuple([span_of(layouts[v], v.dtype.itemsize) for v in graph.inputs])
    return Planned(launches, plan, [where[v] for v in results], dense, spans)


def _own_places(
    graph: Graph,
    outputs: Sequence[Value],
    replaced: Sequence[tuple[Value, Value]],
    layouts: Mapping[Value, Layout],
    hand_on: bool,
) -> _Placed:
    """``replaced``: (input, the value that replaces it). Copies of inputs come first in the graph, so that few updates
    have to wait for them."""
    replaced = [(old, new) for old, new in replaced if old is not new]
    overwritten, given = {old for old, _ in replaced}, set(graph.inputs)
    early: list[Node] = []
    late: list[Node] = []
    results: list[Value] = []
    taken: set[Value] = set()
    copies: dict[Value, Value] = {}
    for value in outputs:
        if value in overwritten and hand_on:
            if value not in copies:
                copies[value] = _copied(value, early)
            results.append(copies[value])
        elif not hand_on and (value in given or value in taken):
            results.append(_copied(value, early if value in given else late))
        else:
            results.append(value)
        taken.add(results[-1])
    used = {v for node in graph.nodes for v in node.inputs}
    for node in graph.nodes:
        if isinstance(node.op.lower, Called):  # what it gives and computes more from
            body = node.params["body"]
            inner = {v for each in body.nodes for v in each.inputs}
            used.update(v for v, own in zip(node.outputs, body.outputs, strict=True) if own in inner)
    times = Counter([*outputs, *(new for _, new in replaced)])
    used.update(v for v, count in times.items() if count > 1)  # copied from where it is computed
    written: dict[Value, Value] = {}
    shared: list[Value] = []
    for old, new in replaced:
        new = _written_piecewise(new, used) if layouts[old].is_contiguous else new
        if new.node is None or new in taken or not (layouts[old].is_contiguous or _fits_anywhere(new, used)):
            if new.node is not None and new in used and isinstance(new.node.op.lower, (Map, Gather)):
                shared.append(new)
            new = _copied(new, late)
        taken.add(new)
        written[new] = old
    return _Placed(with_copies(graph, early, late, [*results, *written]), results, written, shared)


@checked
def with_copies(graph: Graph, early: Sequence[Node], late: Sequence[Node], outputs: Sequence[Value]) -> Graph:
    """The graph with other outputs, what copies its inputs and what copies its results."""
    return graph.copy([*early, *graph.nodes, *late], outputs)


def _written_piecewise(value: Value, used: set[Value]) -> Value:
    """The value whose elements, in their order, an update takes in another shape: where an op has written them one
    after the other into a tensor that it took (a scatter, and its kin), they lie where that tensor lies."""
    source = value
    while source.node is not None and isinstance(source.node.op.lower, View) and source not in used:
        layout = source.node.op.lower.layout(source.node.params, Layout.contiguous(source.node.inputs[0].shape))
        if layout is None or not layout.is_contiguous or layout.offset != 0:
            return value
        source = source.node.inputs[0]
        if size_of(source.shape) != size_of(value.shape):
            return value
    return source if source.node is not None and isinstance(source.node.op.lower, (Scatter, Scan)) else value


def _fits_anywhere(value: Value, used: set[Value]) -> bool:
    """Whether the launches of a value can write to any strides. What other nodes read is kept row-major."""
    assert value.node is not None
    rule = value.node.op.lower
    return isinstance(rule, (Map, Position, View, Gather, SliceUpdate, Concat, Called)) and value not in used


def _copied(value: Value, nodes: list[Node]) -> Value:
    made = copy_of(value)
    assert made.node is not None
    nodes.append(made.node)
    return made


def _launches_in_place(
    placed: _Placed, layouts: Mapping[Value, Layout], target: Target, threads: int, remade: Remade
) -> tuple[list[Launch], dict[Value, Value]]:
    """The launches, and the values that they compute in the memory of an input. The other updates are row-major."""
    aside: set[Value] = set()
    late, outputs = remade.late(), set(placed.graph.outputs)
    while True:
        places = {
            v: Layout.contiguous(v.shape) if v in aside or v.shape != old.shape else layouts[old]
            for v, old in placed.written.items()
        }
        launches = launches_of(placed.graph, layouts, target, threads, places, placed.shared, late, remade.stored)
        launches = checks_before_writes(launches, placed.written)
        here = {new: old for new, old in placed.written.items() if new not in aside}
        direct = in_place(launches, outputs, here)
        failed = {
            v for v in placed.written if v not in direct and not places[v].is_contiguous and size_of(v.shape) != 0
        }
        if not failed:
            return scheduled(launches, outputs, direct), direct
        aside |= failed


def build(
    graph: Graph,
    strides: Sequence[Shape],
    updates: Sequence[tuple[int, Value]],
    target: Target,
    threads: int,
    hand_on: bool = False,
    device: Device = CPU,
    known: Mapping[str, Primitive] | None = None,
    limit: int | None = None,
) -> Executable:
    """Compile ``graph`` for a device, whose target (of several on the CPU) is given; arguments and errors as for
    :func:`plan_graph`.

    Args:
        known: keep the finished table on disk, and look for it there. These are the ops that weft's sources say all of,
            by their names.
    """

    def plan() -> Planned:
        return plan_folded(graph, strides, updates, target, threads, hand_on, device, limit)

    name = None
    if known is not None and device is CPU:
        name = kept.name_of(graph, strides, updates, target, threads, hand_on, known, limit)
    table = None if name is None else kept.get(name)
    if table is not None:
        if settings().verify and table != _table_of(plan(), target):
            raise CompileError(f"graph {graph.name}: the table that is kept on disk is not what it is lowered to")
        program = _assemble_kept(table, len(graph.inputs), target)
        if program is not None:
            about = About(graph.name, plan, {})
            return Executable(program, list(table.results), len(table.outputs), plan, about)
    planned = plan()
    program = assemble(planned, len(graph.inputs), target, device)
    if name is not None and (found := _table_of(planned, target)) is not None:
        kept.put(name, found)
    return Executable(program, planned.results, len(planned.plan.outputs), planned, About(graph.name, planned, {}))


def _table_of(planned: Planned, target: Target) -> kept.Table | None:
    """What of it is kept on disk; None where Python code computes a node."""
    if any(isinstance(x.kernel, HostCall) for x in with_inner(planned.launches)):
        return None
    texts: dict[str, int] = {}
    numbers = [texts.setdefault(text, len(texts)) for text in texts_of(list(kernels_of(planned.launches)))]
    rows = steps_over(planned, iter(numbers), target)
    outputs = tuple([nbytes_of(v) for v in planned.plan.outputs])
    results = tuple(planned.results)
    return kept.Table(tuple(texts), tuple(rows), outputs, planned.plan.arena_nbytes, _releases(planned), results)


def _assemble_kept(table: kept.Table, inputs: int, target: Target) -> Runs | None:
    """The program of a table; None where a kernel's code is not kept any more."""
    codes = kept_addresses(table.kernels, target)
    if codes is None:
        return None
    steps = [_with_code(row, codes) for row in table.rows]
    if target.checked:
        texts = _texts_in(table.rows, table.kernels)
        steps = known_to_record(steps, (Origin("a kernel that was kept", text, None) for text in texts))
    return row_of(CPU).program(CPU, steps, inputs, table.outputs, table.arena_nbytes, table.release)


def _texts_in(rows: Iterable[AnyStep], kernels: Sequence[str]) -> Iterator[str]:
    """The texts of the kernels that rows of a table run, in order."""
    for row in rows:
        if isinstance(row, (BranchStep, LoopStep)):
            for body in row.bodies:
                yield from _texts_in(body.steps, kernels)
        else:
            assert isinstance(row, Step)
            yield kernels[row.address]


def _releases(planned: Planned) -> Release:
    """How a run lets other Python threads run meanwhile, and signals be heard."""
    first, last, saves = planned.writes
    return Release(stops_of(sum(x.effort for x in planned.launches), first, last), first, saves)


def stops_of(work: int, first: int, last: int) -> int:
    """``Release.stops`` of a program with so much work, by the first two of ``Planned.writes``."""
    return 0 if work <= GIL_WORK else 1 + (first if work < LONG_WORK else last)


def _with_code(row: AnyStep, codes: Sequence[int]) -> AnyStep:
    """A row of a table, addresses being in the places of numbers."""

    def body(of: Body) -> Body:
        return Body(tuple([_with_code(row, codes) for row in of.steps]), of.places)

    if isinstance(row, BranchStep):
        return row._replace(true=body(row.true), false=body(row.false))
    if isinstance(row, LoopStep):
        return row._replace(body=body(row.body))
    assert isinstance(row, Step)
    return row._replace(address=codes[row.address])


def plan_folded(
    graph: Graph,
    strides: Sequence[Shape],
    updates: Sequence[tuple[int, Value]],
    target: Target,
    threads: int,
    hand_on: bool = False,
    device: Device = CPU,
    limit: int | None = None,
) -> Planned:
    """As :func:`plan_graph`, what is constant having been computed: on the CPU, its bits are those of any device."""
    here = target if device is CPU else row_of(CPU).target(CPU)
    whole = graph.copy(outputs=[*graph.outputs, *(v for _, v in updates)])
    values = constants_of(whole, lambda part: _run(part, here, threads))
    return plan_graph(graph, strides, updates, target, threads, hand_on, values, limit)


def assemble(planned: Planned, inputs: int, target: Target, device: Device = CPU) -> Runs:
    """Compile the kernels and make the device's program of them."""
    plan = planned.plan
    outputs = [nbytes_of(v) for v in plan.outputs]
    steps = steps_of(planned, target, device)
    return row_of(device).program(device, steps, inputs, outputs, plan.arena_nbytes, _releases(planned))


def steps_of(planned: Planned, target: Target, device: Device = CPU) -> list[AnyStep]:
    """The rows of the program's table, the kernels being compiled.

    Raises:
        DeviceError: Python code computes a node, or control flow is in it, on another device than the CPU.
    """
    code = iter(addresses(list(kernels_of(planned.launches)), target, device))
    steps = steps_over(planned, code, target, device)
    if target.checked:
        launches = (x for x in with_inner(planned.launches) if not isinstance(x.kernel, (HostCall, ControlCall)))
        steps = known_to_record(steps, map(origin_of, launches))
    return steps


def kernels_of(launches: Iterable[Launch]) -> Iterator[Kernel]:
    """The kernels of launches, in order, with those of the bodies of control flow."""
    for launch in with_inner(launches):
        if not isinstance(launch.kernel, (HostCall, ControlCall)):
            yield launch.kernel


def steps_over(planned: Planned, code: Iterator[Any], target: Target, device: Device = CPU) -> list[AnyStep]:
    """The rows of a table; ``code`` stands for the kernels to come (:func:`kernels_of`): addresses, or symbols."""
    steps: list[AnyStep] = []
    for x in planned.launches:
        places = planned.buffers(x)
        if isinstance(x.kernel, (HostCall, ControlCall)) and device is not CPU:
            node = x.kernel.node
            raise DeviceError(f"{node.op}: computed on the CPU alone, and its operands are on {str(device)!r}")
        if isinstance(x.kernel, ControlCall):
            steps.append(_control_step(x.kernel, places, code, target, device))
        elif isinstance(x.kernel, HostCall):
            node = x.kernel.node
            sizes = tuple(nbytes_of(v) for v in (*node.inputs, *node.outputs))
            steps.append(HostStep(x.kernel.function(), places, sizes, len(node.inputs)))
        else:
            grid = gpu_launch(x.kernel, x.ints, x.units) if target.is_gpu else None
            ints = (*extents_of(x, planned.plan, planned.spans), *x.ints) if target.checked else x.ints
            steps.append(Step(next(code), ints, places, x.units, x.grain, grid, x.work))
    return steps


def _control_step(
    call: ControlCall, places: tuple[tuple[int, Any], ...], code: Iterator[Any], target: Target, device: Device
) -> AnyStep:
    """A branch or a loop over bodies of their own; graph/lower/control.py gave the launch its buffers in the order of
    runtime/native/steps.py."""
    node = call.node
    if isinstance(node.op.lower, Branch):
        # The places of a body are the buffers of the step, after the predicate: operands, results, an arena.
        true, false = (
            [_moved(step, 1) for step in steps_over(planned, code, target, device)] for planned in call.plans
        )
        return BranchStep(Body(tuple(true), len(places)), Body(tuple(false), len(places)), places)
    (planned,) = call.plans
    p, body = node.params, node.params["body"]
    carries, sequences = p["carries"], p["sequences"]
    results = body.outputs[p["has_go"] + carries :]
    return LoopStep(
        Body(tuple(steps_over(planned, code, target, device)), len(body.inputs) + len(body.outputs) + 1),
        places,
        tuple([nbytes_of(v) for v in body.inputs[:carries]]),
        tuple([nbytes_of(v) for v in body.inputs[carries : carries + sequences]]),
        len(body.inputs) - carries - sequences,
        tuple([nbytes_of(v) for v in results]),
        UNBOUNDED if p["length"] is None else p["length"],
        p["reverse"],
        p["has_go"],
        p["has_count"],
        p["gives_count"],
        p["bounded"],
    )


def _moved(step: AnyStep, by: int) -> AnyStep:
    """The step with other numbers for its places."""
    return step._replace(buffers=tuple([(place + by, offset) for place, offset in step.buffers]))


def _run(graph: Graph, target: Target, threads: int) -> list[bytes]:
    """Execute a graph without inputs on the CPU."""
    planned = plan_graph(graph, (), (), target, threads, hand_on=True)
    made = assemble(planned, 0, target).call()
    storages = made if isinstance(made, tuple) else (made,)
    return [bytes(storages[number]) for number in planned.results]
