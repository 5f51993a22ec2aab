"""From IR text to an object file or an assembly listing.

The IR is already vectorised and explicitly scheduled, so the pipeline is short (``library.PIPELINE``). Modules compile
in parallel, and undivided (core/process.py).

Nothing is contracted: the target machine's fp-op-fusion mode is LLVM's default ("standard": only ``llvm.fmuladd`` may
be fused, which our renderers never emit) and the IR carries no fast-math flags.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Iterable, Sequence, Sized

from ..core.config import settings
from ..core.errors import CompileError
from ..core.process import undivided
from .library import PIPELINE, library
from .targets import Target

_INTERNAL = 8  # LLVMLinkage


class _Machine:
    """A target machine and its data layout; used by one thread at a time, for one module after the other."""

    def __init__(self, target: Target, level: int):
        call = library()
        out = ctypes.c_void_p()
        found = call.GetTargetFromTriple(target.triple.encode(), ctypes.byref(out))
        if not found:
            raise CompileError(f"LLVM does not know the target {target.triple}: {call.take_string(out)}")
        self.ref = call.CreateTargetMachine(
            found,
            target.triple.encode(),
            target.cpu.encode(),
            target.features.encode(),
            level,
            target.relocation.encode(),
            b"default",
            0,
            0,
            target.abi.encode(),
        )
        if not self.ref:
            raise CompileError(f"LLVM makes no target machine for {target.triple} {target.cpu}")
        data = call.CreateTargetMachineData(self.ref)
        call.CopyStringRepOfTargetData(data, ctypes.byref(out))
        self.layout = call.take_string(out).encode()
        call.DisposeTargetData(data)


# Target machines that nobody uses now. To make one, with its tables of the target, takes a millisecond, a fifth of what
# a small kernel does; there are no more of them than threads that compile.
_idle: dict[tuple[Target, int], list[_Machine]] = {}


def assemble(text: str, target: Target, *, level: int = 2) -> bytes:
    """The object file of one LLVM module.

    Args:
        text: LLVM assembly; its triple and data layout, if any, are replaced by the target's.
        target: machine to generate code for. For ``nvptx64`` the result is PTX text.
        level: 0 (quick and slow code: nothing is optimised) to 3 for code generation.

    Raises:
        CompileError: text that LLVM does not accept; the message has the line.
    """
    return _emit([text], (), target, level, as_object=not target.is_gpu)


def assembly(text: str, target: Target, *, level: int = 2) -> str:
    """The assembly listing of one LLVM module; arguments and errors as for :func:`assemble`."""
    return _emit([text], (), target, level, as_object=False).decode()


def assemble_linked(texts: Sequence[str], hidden: Sequence[str], target: Target, *, level: int = 2) -> bytes:
    """One object file of several modules, in which the functions ``hidden`` are local.

    Private names of different modules may be equal; other definitions may not.

    Raises:
        CompileError: as for :func:`assemble`, or the modules do not fit together.
    """
    return _emit(texts, hidden, target, level, as_object=not target.is_gpu)


def assemble_many(sources: Iterable[str], target: Target, *, level: int = 2, threads: int | None = None) -> list[bytes]:
    """Object files of several modules, compiled by up to ``threads`` threads (default: the settings').

    The texts are asked for one at a time, in order, while other threads compile. Where the system or an interpreter
    that ends gives no more threads, there are fewer.

    Raises:
        CompileError: as for :func:`assemble`; of several errors, those of an iterator of sources too, the first one in
            the order of the sources.
    """
    results: list[bytes] = []
    errors: dict[int, Exception] = {}
    ended: list[BaseException] = []
    order = iter(sources)
    lock = threading.Lock()

    def work() -> None:
        number = -1
        try:
            while True:
                with lock:
                    number = len(results)
                    text = None if errors or ended else next(order, None)
                    if text is None:
                        return
                    results.append(b"")
                results[number] = assemble(text, target, level=level)
        except Exception as error:  # of the compiler, or of who gives the texts: nobody begins another one
            errors[number] = error
        except BaseException as error:  # Ctrl-C in the calling thread, which may be anywhere; the end of the process
            ended.append(error)

    count = threads or settings().codegen_threads
    count = min(count, len(sources)) if isinstance(sources, Sized) else count
    workers: list[threading.Thread] = []
    with contextlib.suppress(RuntimeError):  # no more threads
        for number in range(1, count):
            worker = threading.Thread(target=work, name=f"weft-codegen-{number}")
            worker.start()
            workers.append(worker)
    work()
    for worker in workers:
        worker.join()
    for error in (*ended, *(errors[number] for number in sorted(errors))):
        raise error
    return results


def _emit(texts: Sequence[str], hidden: Sequence[str], target: Target, level: int, as_object: bool) -> bytes:
    with undivided():
        return _emit_undivided(texts, hidden, target, level, as_object)


def _emit_undivided(texts: Sequence[str], hidden: Sequence[str], target: Target, level: int, as_object: bool) -> bytes:
    call = library()
    idle = _idle.setdefault((target, level), [])
    try:
        machine = idle.pop()
    except IndexError:
        machine = _Machine(target, level)
    context = call.ContextCreate()
    try:
        module = _parse(texts[0], context, machine, target)
        try:
            for text in texts[1:]:
                _link(module, _parse(text, context, machine, target))
            for name in hidden:
                function = call.GetNamedFunction(module, name.encode())
                if not function or call.IsDeclaration(function):
                    raise CompileError(f"no module defines the function {name!r}")
                call.SetLinkage(function, _INTERNAL)
            if level:
                _optimise(module, machine)
            return _generate(module, machine, as_object)
        finally:
            call.DisposeModule(module)
    finally:
        call.ContextDispose(context)
        idle.append(machine)


def _parse(text: str, context: int, machine: _Machine, target: Target) -> int:
    call = library()
    out = ctypes.c_void_p()
    module: int = call.ParseAssembly(context, text.encode(), ctypes.byref(out))
    if not module:
        raise CompileError(f"LLVM cannot parse the IR\n{call.take_string(out).strip()}")
    call.SetTarget(module, target.triple.encode())
    call.SetDataLayout(module, machine.layout)
    if call.VerifyModule(module, ctypes.byref(out)):
        call.DisposeModule(module)
        raise CompileError(f"LLVM's verifier rejects the IR\n{_with_lines(call.take_string(out), text)}")
    call.take_string(out)
    return module


def _link(module: int, other: int) -> None:
    """Move all of ``other``, which is consumed, into ``module``."""
    out = ctypes.c_void_p()
    if library().LinkModules(module, other, ctypes.byref(out)):
        raise CompileError(f"LLVM cannot link the modules: {library().take_string(out)}")
    library().take_string(out)


def _with_lines(message: str, text: str) -> str:
    """``message``, with the number of the line of ``text`` in front of each line that quotes one."""
    numbers = {" ".join(line.split(";")[0].split()): number for number, line in enumerate(text.splitlines(), 1)}
    numbers.pop("", None)
    quoted = []
    for line in message.strip().splitlines():
        number = numbers.get(" ".join(line.split()))
        quoted.append(f"line {number}: {line.strip()}" if number else line)
    return "\n".join(quoted)


def _optimise(module: int, machine: _Machine) -> None:
    """Run PIPELINE. The pass builder is made anew: a run leaves callbacks in it that dangle afterwards."""
    call = library()
    options = call.CreatePipelineTuningOptions()
    builder = call.CreatePassBuilder(machine.ref, options)
    manager = call.CreateNewModulePassManager()
    for name in PIPELINE:
        call.add_pass[name](manager)
    call.RunNewModulePassManager(manager, module, builder)
    call.DisposeNewModulePassManger(manager)
    call.DisposePassBuilder(builder)
    call.DisposePipelineTuningOptions(options)


def _generate(module: int, machine: _Machine, as_object: bool) -> bytes:
    call = library()
    out = ctypes.c_void_p()
    buffer = call.TargetMachineEmitToMemory(machine.ref, module, int(as_object), ctypes.byref(out))
    if not buffer:
        raise CompileError(f"LLVM generates no code: {call.take_string(out)}")
    try:
        return ctypes.string_at(call.GetBufferStart(buffer), call.GetBufferSize(buffer))
    finally:
        call.DisposeMemoryBuffer(buffer)
