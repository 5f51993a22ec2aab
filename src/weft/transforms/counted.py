"""Sizes that kernels set: compiled functions in which values decide about shapes (``x[mask]``, ``nonzero``, ``repeat``
by a tensor).

While such a function is captured, the values are looked at once: what the number is for these arguments is the example
of a name of the scope (:meth:`~weft.transforms.inside.Inside.counted`), so that all that asks for it, ops and the
user's Python, is answered and noted as a guard, as for sizes of arguments. A run computes the counts first, in stages
(graph/staged.py), looks whether they keep the guards, and binds the rest to them. Where they do not, nothing has been
written yet: another capture of the function is looked for, or made (:class:`OtherCounts`).

Who owns what: the scope the names and the guards; the :class:`CountedCapture` the stages; a run the numbers; the
:class:`CountedEntry` the locks of the state, which are held over all stages, and entries for the latest numbers.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..core.errors import CaptureError, ShapeError
from ..core.size_program import SizeProgram
from ..core.symbolic import Call, Sizes, SymDim
from ..graph.executable import Executable
from ..graph.staged import Stages
from ..runtime.program import KernelStatus
from ..tensor.calls import GraphCall
from ..tensor.spec import Spec, spec_of
from ..tensor.tensor import Tensor, make
from .cache_info import Made
from .capture import capture
from .captured import Captured
from .entry import Entry, Unsettled, raised_below, written_inputs
from .placed import Placed
from .sized import Dynamic, Names, SizedCapture, Sizing, examples_of, shapes_in

_ENTRIES = 64  # combinations of counts for which an entry is kept


class OtherCounts(CaptureError):
    """Counts that a capture is not for; the run has written nothing."""


class CountedCapture(SizedCapture):
    """A capture with sizes that kernels set.

    Args:
        captured: what the function did.
        scope: its sizes: those of arguments, then the counts.
        names: of the sizes of the arguments; numbers for those that have none.
        specs: of the operands, for which it is made; where sizes have names, operands are row-major.
        made: the call that it was made for.

    Raises:
        CaptureError: it is for another device than the CPU, or results show an argument's memory.
    """

    __slots__ = ("_guarded", "_known", "counts", "stages")

    def __init__(self, captured: Captured, scope: Sizes, names: Names, specs: Sequence[Spec], made: Made):
        if not self.can_be(captured):
            raise CaptureError(
                f"{captured.graph.name}: values decide about a size (a boolean mask as an index, nonzero, repeat), "
                f"which goes on the CPU alone, and not where results, or operands that are written, show memory of "
                f"one another; use wf.where(mask, x, other), or do this outside of the captured function"
            )
        super().__init__(captured, scope, names, made)
        self.counts = [name for name, _ in captured.counts]
        self._known = tuple([name for name in scope.examples if name not in self.counts])
        # The guards of what is known after each count.
        ends = range(len(self._known), len(scope.examples) + 1)
        known = [tuple(scope.examples)[:end] for end in ends]
        self._guarded = [SizeProgram(names, (), _within(scope, names)) for names in known]
        strides = None if self._known else [spec.strides for spec in specs]
        values, every = [value for _, value in captured.counts], tuple(scope.examples)
        self.stages = Stages(captured.program, values, every, strides, written_inputs(captured))

    def numbers(self, shapes: Sizing) -> tuple[int, ...] | None:
        """The numbers of the arguments' names for a call with these sizes; None: it is for others."""
        found = self.named(shapes)
        if found is None:
            return None
        numbers = tuple([found[name] for name in self._known])
        return numbers if self._guarded[0].serves(numbers) else None

    def check(self, numbers: tuple[int, ...]) -> None:
        """Raise where the sizes that are known so far do not keep the guards.

        Raises:
            OtherCounts: they do not.
        """
        if not self._guarded[len(numbers) - len(self._known)].serves(numbers):
            found = dict(zip(self.scope.examples, numbers, strict=False))
            told = ", ".join(f"{name} is {found[name]}" for name in self.counts if name in found)
            raise OtherCounts(f"of the sizes that kernels set {told}, which no graph is for")

    def entry(self, numbers: tuple[int, ...], specs: list[Spec], first: bool = False) -> Entry | None:
        """What runs for these sizes of arguments, and operands with these specs."""
        if self._known and not all(spec.contiguous for spec in specs):
            return None
        return CountedEntry(self, numbers, specs, first)


def _within(scope: Sizes, names: Sequence[str]) -> Sizes:
    """A scope of these names, with the guards that have no other."""
    found = Sizes({name: scope.examples[name] for name in names})
    found.guards = {size: ends for size, ends in scope.guards.items() if _names_in(size).issubset(names)}
    found.not_zero = {size: None for size in scope.not_zero if _names_in(size).issubset(names)}
    return found


def _names_in(size: Any) -> set[str]:
    """The names that a size is computed from."""
    if not isinstance(size, SymDim):
        return set()
    atoms = {atom for atoms in size.terms for atom in atoms}
    below = [_names_in(argument) for atom in atoms if isinstance(atom, Call) for argument in atom.arguments]
    return {atom for atom in atoms if isinstance(atom, str)}.union(*below)


class CountedEntry(Entry):
    """What runs a :class:`CountedCapture` for certain sizes of arguments."""

    is_whole = False
    __slots__ = ("_arguments", "_entries", "_of")

    def __init__(self, of: CountedCapture, numbers: tuple[int, ...], specs: list[Spec], first: bool):
        self._of, self._arguments = of, numbers
        self._entries: OrderedDict[tuple[int, ...], Entry] = OrderedDict()
        # Of the executable only its form is asked for here: each run has its own.
        examples = of.scope.examples
        super().__init__(of.captured, specs, of.made, of.stages.last.bound(tuple(examples.values())), examples)
        self._is_open = True  # as some stage may be, for some sizes
        if not first:
            of.captured.take_back = None

    def _run(self, tensors: list[Tensor], further: Sequence[Any] = ()) -> list[Tensor]:
        numbers, handed = self._counted(tensors)
        return self._bound(numbers)._run(tensors, handed)

    def _bound(self, numbers: tuple[int, ...]) -> Entry:
        """The entry for all sizes."""
        found = self._entries.get(numbers)
        if found is None:
            exe = self._of.stages.last.bound(numbers)
            found = self._entries[numbers] = self._of.entry_of(numbers, self._specs, exe, first=True)
            while len(self._entries) > _ENTRIES:
                self._entries.popitem(last=False)
        return found

    def _counted(self, tensors: Sequence[Tensor]) -> tuple[tuple[int, ...], list[Any]]:
        """Run the stages before the last: all sizes, and what is handed on to the last stage."""
        operands = [*tensors, *self.captured.reads.state(tensors)]
        numbers, handed = list(self._arguments), list[Any]()
        try:
            self._of.stages.run([t._storage for t in operands], numbers, handed, self._of.check)
        except KernelStatus as error:
            stage = self._of.stages.early[len(numbers) - len(self._arguments)]
            graph = stage.in_numbers(numbers)
            given = graph.inputs[len(operands) :]
            operands += [make(s, spec_of(v.dtype, v.shape), None, 0) for s, v in zip(handed, given, strict=True)]
            raise GraphCall(graph).status_error(error, operands, captured=True) from None
        except (TypeError, AttributeError) as error:
            if raised_below(error, 2):
                raise  # of a signal's handler
            raise Unsettled(operands) from None
        return tuple(numbers), handed

    def parts(self) -> list[tuple[Executable, Mapping[str, int]]]:
        """For the sizes that it was captured for."""
        of, numbers = self._of, tuple(self.sizes.values())
        return [(stage.bound(numbers[: len(stage.names)]), self.sizes) for stage in (*of.stages.early, of.stages.last)]

    def executables(self, tensors: Sequence[Tensor]) -> list[tuple[Executable, list[Any], Mapping[str, int]]]:
        numbers, handed = self._counted(tensors)
        inputs, sizes = self.program_inputs(tensors), dict(zip(self._of.scope.examples, numbers, strict=True))
        stages = [*self._of.stages.early, self._of.stages.last]
        return [
            (stage.bound(numbers[: len(stage.names)]), [*inputs, *handed[: len(stage.handed)]], sizes)
            for stage in stages
        ]


def capture_counted(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    tensors: Sequence[Tensor],
    why: Made,
    names: Names | None = None,
    dynamic: Dynamic | None = None,
    alike: bool = False,
    places: Sequence[Placed] = (),
) -> tuple[Entry, CountedCapture]:
    """Capture a function in which values decide about sizes: the capture, and what runs it for these tensors, which are
    those among the arguments.

    Args:
        why: what it is captured for.
        names: of sizes of the arguments, of which ``dynamic`` says the ranges.
        alike: counts that are equal now are taken for one, as the function has turned out to need.
        places: of numbers that are inputs, the last of the tensors.

    Raises:
        CaptureError: it cannot be captured, or not with such sizes.
    """
    shapes = tuple([t._spec.static_shape for t in tensors])
    scope, started = Sizes({} if names is None else examples_of(names, shapes)), time.perf_counter()
    if dynamic is not None:
        dynamic.limit(scope)
    captured = None
    try:
        symbols = {} if names is None else shapes_in(scope, names)
        captured = capture(
            function, args, kwargs, to_run=True, shapes=symbols, counts=scope, alike=alike, places=places
        )
    except ShapeError:
        if alike:
            raise
    finally:
        scope.closed = True
    if captured is None:
        return capture_counted(function, args, kwargs, tensors, why, names, dynamic, True, places)
    try:
        why.recorded(captured, started)
        specs = [t._spec for t in (*tensors, *captured.reads.state(tensors))]
        if dynamic is not None:
            dynamic.check(scope)
        sized = CountedCapture(captured, scope, shapes if names is None else names, specs, why)
        numbers = sized.numbers(shapes)
        assert numbers is not None
        made = sized.entry(numbers, specs, first=True)
        if made is None:
            raise CaptureError(f"{captured.graph.name} cannot be captured for any size: operands are not row-major")
        why.compiled()
    except BaseException:
        captured.abandon()
        raise
    return made, sized
