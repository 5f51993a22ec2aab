"""``wf.export``: a model or function as a native library, by the way that ``wf.compile`` takes.

The function is captured, planned and rendered for the target like a compiled one, with one thread; parameters and
buffers become constants of the object. What it computes has the bits that it has in process (docs/numerics.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..compiler import sorting
from ..compiler.build import render
from ..compiler.contraction import plan as contraction
from ..compiler.kernels import SCRATCH_BYTES, Attention, Contraction, Kernel, Sort, describe
from ..core.errors import CompileError, FormatError
from ..core.shapes import strides_of
from ..graph.executable import plan_graph, steps_over
from ..graph.ir import Node
from ..graph.lower.control import ControlCall, with_inner
from ..graph.lower.host import HostCall
from ..llvm.targets import Target, cross_target, host_target
from ..runtime.program import Body, BranchStep, LoopStep
from ..tensor.tensor import Tensor
from ..transforms.artefact import capture_pure, example_tensor, input_names, leaf_names
from ..transforms.captured import Captured
from ..transforms.tree import flatten
from .files import find_linker, write_library
from .names import c_names, check_library_name, library_name
from .native import AnyStep, Library, Port, Step, emit_library


@dataclass(frozen=True, slots=True)
class Exported:
    """What :func:`export` wrote.

    ``files``: object, header, archive and, where it could be linked, the shared library; ``inputs`` and ``outputs``:
    the parameters of ``<name>_run`` before the workspace, in order; ``workspace_nbytes``: bytes that a call needs.
    """

    name: str
    target: str
    files: tuple[Path, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    workspace_nbytes: int


def export(
    function: Callable[..., Any],
    folder: str | os.PathLike[str],
    *,
    example: Any,
    target: str | None = None,
    name: str | None = None,
) -> Exported:
    """Write ``<name>.o``, ``<name>.h``, ``lib<name>.a`` and, where there is a C compiler for the target that can link
    it, ``lib<name>.so``. They need no interpreter and no runtime.

    A module is exported as it computes in evaluation mode, with the parameters that it has now. The library holds the
    example and its result: ``<name>_verify(workspace)`` computes it anew and compares bits.

    Args:
        function: a module, or a function of tensors.
        folder: is made if need be.
        example: the argument (a tensor, an array, or a dict or list of them), or a tuple of arguments. Its shapes and
            dtypes are those of the library.
        target: aarch64-linux-gnu, x86_64-linux-gnu, riscv64-linux-gnu, cortex-m4, wasm32 ... (see
            :func:`weft.llvm.targets.cross_target`); None is the very machine that this runs on, with what
            it has and what gives the contract's bits there. Machines without fused multiply-add (wasm32) call ``fma``
            and ``fmaf`` of their C library.
        name: prefix of all that is exported, a C identifier; by default the function's or class's name. (Inputs and
            outputs whose names C does not allow get others; the header says which.)

    Raises:
        CaptureError: the function needs a tensor's value, or changes tensors that it does not return.
        FormatError: the example holds something other than tensors, or ``name`` is none for a library in C.
        CompileError: no such target, an op that is computed by Python code, or the linker fails.
        OSError: a file cannot be written.

    >>> import tempfile
    >>> net = wf.nn.Sequential(wf.nn.Linear(4, 3), wf.nn.Tanh())
    >>> made = wf.export(net, tempfile.mkdtemp(), example=wf.ones((1, 4)), target="aarch64-linux-gnu", name="digits")
    >>> [path.name for path in made.files][:3]
    ['digits.o', 'digits.h', 'libdigits.a']
    """
    if not callable(function):
        raise FormatError(f"export: {type(function).__name__} is not a function")
    machine = _machine(target)
    name = _name_of(function) if name is None else check_library_name(name)
    args = tuple(example) if type(example) is tuple else (example,)
    leaves, form = flatten(args)
    tensors = [example_tensor(leaf, "export") for leaf in leaves]
    captured, results = capture_pure(function, form, tensors, op="export", made="a library")
    taken = {"WORKSPACE", f"{name}_RUN".upper(), f"{name}_VERIFY".upper()}
    inputs = _ports(input_names(function, form), "input", tensors, taken)
    outputs = _ports(leaf_names("output", captured.returns.form), "output", results, taken)
    contents = [_bytes(t) for t in tensors], [_bytes(t) for t in results]
    library = _emit(captured, machine, name, inputs, outputs, contents)
    files = write_library(library, folder, machine, find_linker(machine))
    return Exported(library.name, machine.triple, tuple(files), inputs, outputs, library.workspace_nbytes)


def _emit(
    captured: Captured,
    target: Target,
    name: str,
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    example: tuple[Sequence[bytes], Sequence[bytes]],
) -> Library:
    """The library of a captured function: plan, render, link."""
    graph = captured.function
    # The library's parameters and constants are contiguous, whatever the tensors are.
    strides = [strides_of(v.shape) for v in graph.inputs]
    planned = plan_graph(graph, strides, [], target, 1)
    kernels: dict[str, tuple[str, Kernel]] = {}
    symbols: list[str] = []
    launches = list(with_inner(planned.launches))
    for launch in launches:
        kernel = launch.kernel
        if isinstance(kernel, HostCall):
            raise _refused(kernel.node)
        if not isinstance(kernel, ControlCall):
            kernels.setdefault(describe(kernel), (f"{name}_kernel_{len(kernels)}", kernel))
            symbols.append(kernels[describe(kernel)][0])
    texts = [(symbol, render(kernel, symbol, target)) for symbol, kernel in kernels.values()]
    # A plan's places are arguments, state, results, the arena; a library's are inputs, outputs, constants, the arena.
    arguments, results, state = captured.arguments, len(outputs), len(captured.reads.refs)
    places = [*range(arguments), *(arguments + results + k for k in range(state))]
    places += [*(arguments + k for k in planned.results), arguments + results + state]
    steps = [
        _named(step._replace(buffers=tuple((places[n], at) for n, at in step.buffers)))
        for step in steps_over(planned, iter(symbols), target)
    ]
    scratch = max((_scratch_nbytes(x.kernel, x.ints, target) for x in launches), default=0)
    return emit_library(
        name,
        texts,
        steps,
        inputs,
        outputs,
        [_bytes(t) for t in captured.reads.state(())],
        planned.plan.arena_nbytes,
        target,
        scratch_nbytes=scratch,
        example=example,
    )


def _scratch_nbytes(kernel: Any, ints: Sequence[int], target: Target) -> int:
    """How much of its scratch a launch may use."""
    if isinstance(kernel, Contraction):
        return contraction.scratch_nbytes(kernel, ints, target)
    if isinstance(kernel, Sort):
        return sorting.scratch_nbytes(kernel, ints)
    return SCRATCH_BYTES if isinstance(kernel, Attention) else 0


def _named(step: Any) -> AnyStep:
    """A step whose kernels are the symbols in the places of their addresses."""

    def named(body: Body) -> Body:
        return Body(tuple(map(_named, body.steps)), body.places)

    if isinstance(step, BranchStep):
        return step._replace(true=named(step.true), false=named(step.false))
    if isinstance(step, LoopStep):
        return step._replace(body=named(step.body))
    return Step(step.address, step.ints, step.buffers, step.units)


# --- what is exported -------------------------------------------------------------------------------------------


def _machine(target: str | None) -> Target:
    """The machine that is exported for."""
    machine = host_target() if target is None else cross_target(target)
    if machine.is_gpu:
        raise CompileError("export: there are no libraries for GPUs yet")
    return machine


def _refused(node: Node) -> CompileError:
    error = CompileError(f"export: {node.op} is computed by Python code, and a library has no interpreter")
    error.where = node.where or error.where
    return error


def _bytes(tensor: Tensor) -> bytes:
    """The elements in C order."""
    return tensor.detach().cpu().numpy().tobytes()


# --- names ------------------------------------------------------------------------------------------------------


def _name_of(function: Any) -> str:
    """The function's or class's own name as a library's."""
    return library_name(str(getattr(function, "__name__", type(function).__name__)))


def _ports(names: Sequence[str], otherwise: str, tensors: Sequence[Tensor], taken: set[str]) -> tuple[Port, ...]:
    """Ports with C names that no other port has."""
    return tuple(
        Port(name, tensor.dtype, tuple(tensor.shape), None if name == wanted else wanted)
        for name, wanted, tensor in zip(c_names(names, otherwise, taken), names, tensors, strict=True)
    )
