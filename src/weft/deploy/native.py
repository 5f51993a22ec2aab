"""A program as an object file and a C header: no interpreter, no runtime, nothing to link with.

The object holds the kernels, the constants and one entry, ``int32_t <name>_run(inputs..., outputs..., workspace)``,
which runs the steps in order on the calling thread. All memory that is written belongs to the caller: the outputs,
and a workspace of ``<NAME>_WORKSPACE_BYTES`` for intermediate values and scratch. So the entry is re-entrant, and on
a small machine the caller decides where the workspace lies and what shares it. (memcpy or memset may be called:
compilers count them as part of the language. A machine without fused multiply-add also needs libm's fma and fmaf; the
header says so.)

With an example (inputs, and the bytes that the outputs must have) the object also proves itself:
``int32_t <name>_verify(workspace)`` recomputes it and compares bits.

The numbering of buffers is a Program's (weft/runtime/program.py): inputs, outputs, constants, then the arena.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..core.dtypes import DType
from ..core.errors import FormatError
from ..llvm.assembly import assemble_linked
from ..llvm.module import Function, entry, extern, fixed, module
from ..llvm.targets import Target
from ..llvm.text import (
    I8,
    I32,
    I64,
    Integers,
    Pointers,
    Ptr,
    Value,
    byte_offset,
    cast,
    constant,
    counted,
    else_,
    if_,
    is_null,
    local,
    return_if,
    select,
    stack_array,
    to_integer,
    truncate,
    while_,
)
from ..runtime.native.signals import Bytes
from ..runtime.program import NOT_DONE, Body, BranchStep, LoopStep
from .names import check_library_name, is_c_name, quoted

ALIGN = 64  # bytes, of the workspace and of everything in it
MISALIGNED = -1  # result of an entry whose workspace is null or not aligned
DIFFERS = -2  # result of verify when the outputs have other bits
_C_TYPES = {"bool": "uint8_t", "float32": "float", "float64": "double", "float16": "uint16_t", "bfloat16": "uint16_t"}


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output: ``name`` (a C identifier), dtype, shape; the memory is C-contiguous. ``called``: what it is
    called in the model, where that is no name in C."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    called: str | None = None

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.count * self.dtype.itemsize

    @property
    def c_type(self) -> str:
        """The C type of an element; 16-bit floats are their bits."""
        return _C_TYPES.get(self.dtype.name) or f"{self.dtype.name}_t"


@dataclass(frozen=True, slots=True)
class Step:
    """One step: the kernel named ``symbol`` over ``units``; ``buffers`` are (place, byte offset)."""

    symbol: str
    ints: tuple[int, ...]
    buffers: tuple[tuple[int, int], ...]
    units: int


AnyStep = Step | BranchStep | LoopStep  # the bodies of branches and loops are of such steps too


@dataclass(frozen=True, slots=True)
class Library:
    """What :func:`emit_library` makes: the object file's bytes, the header's text, the functions that the object
    exports, bytes of workspace that a call needs."""

    name: str
    object: bytes
    header: str
    exports: tuple[str, ...]
    workspace_nbytes: int


def emit_library(
    name: str,
    kernels: Sequence[tuple[str, str]],
    steps: Sequence[AnyStep],
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    constants: Sequence[bytes],
    arena_nbytes: int,
    target: Target,
    *,
    scratch_nbytes: int,
    example: tuple[Sequence[bytes], Sequence[bytes]] | None = None,
) -> Library:
    """The library ``name``.

    Args:
        name: prefix of everything it exports; a C identifier.
        kernels: ``(symbol, LLVM text of the module that defines it with the kernel ABI)``.
        steps: what to run, in order.
        inputs, outputs: the parameters of the entry, in order.
        constants: contents of the constant buffers.
        arena_nbytes: size of the memory for intermediate values.
        target: machine to generate code for.
        scratch_nbytes: what the kernels may use of their scratch pointer.
        example: bytes of the inputs, and the bytes that the outputs must come to.

    Raises:
        FormatError: names that are no C identifiers or not distinct, or steps that name what is not there.
        CompileError: a kernel's text is not valid.
    """
    _check(name, kernels, steps, inputs, outputs, len(constants) + (arena_nbytes > 0))
    if example:
        _check_example((*inputs, *outputs), (*example[0], *example[1]))
    workspace = _Workspace(arena_nbytes, scratch_nbytes, outputs if example else ())
    run = _run(name, steps, inputs, outputs, constants, workspace)
    entries = [run, _verify(name, run, example, workspace)] if example else [run]
    texts = [module(entries), *(text for _, text in kernels)]
    code = assemble_linked(texts, [symbol for symbol, _ in kernels], target)
    text = header(name, inputs, outputs, workspace.nbytes, example is not None, target)
    return Library(name, code, text, tuple(each.name for each in entries), workspace.nbytes)


def _check(
    name: str,
    kernels: Sequence[tuple[str, str]],
    steps: Sequence[AnyStep],
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    other_places: int,
) -> None:
    check_library_name(name)
    names = [port.name for port in (*inputs, *outputs)]
    for each in names:
        if not is_c_name(each):
            raise FormatError(f"'{quoted(each)}' cannot be a name in C")
    if len({each.upper() for each in names}) != len(names):  # the header's macros are in capitals
        raise FormatError(f"two inputs or outputs have the same name: {', '.join(names)}")
    symbols = {symbol for symbol, _ in kernels}
    if len(symbols) != len(kernels) or symbols & {f"{name}_run", f"{name}_verify"}:
        raise FormatError(f"the symbols of the kernels are not distinct: {', '.join(s for s, _ in kernels)}")
    _check_steps(steps, symbols, len(inputs) + len(outputs) + other_places)


def _check_steps(steps: Sequence[AnyStep], symbols: set[str], places: int) -> None:
    for number, step in enumerate(steps):
        known = not isinstance(step, Step) or step.symbol in symbols
        if not known or any(not 0 <= place < places or at < 0 for place, at in step.buffers):
            raise FormatError(f"step {number} names a kernel or a buffer that is not there: {step}")
        for body in _bodies(step):
            _check_steps(body.steps, symbols, body.places)


def _bodies(step: AnyStep) -> Sequence[Body]:
    return () if isinstance(step, Step) else step.bodies


def _all(steps: Sequence[AnyStep]) -> Iterator[AnyStep]:
    """Steps, with those of bodies."""
    for step in steps:
        yield step
        for body in _bodies(step):
            yield from _all(body.steps)


def _check_example(ports: Sequence[Port], contents: Sequence[bytes]) -> None:
    for port, content in zip(ports, contents, strict=True):
        if port.nbytes != len(content):
            raise FormatError(f"the example's {port.name} has {len(content)} bytes, not {port.nbytes}")


class _Workspace:
    """Where things lie in the caller's workspace: arena, scratch, and the outputs of ``verify``."""

    def __init__(self, arena_nbytes: int, scratch_nbytes: int, verified: Sequence[Port]):
        self.scratch_at = _round_up(arena_nbytes)
        at = self.scratch_at + _round_up(scratch_nbytes)
        self.outputs_at = []
        for port in verified:
            self.outputs_at.append(at)
            at += _round_up(port.nbytes)
        self.nbytes = max(at, ALIGN)


def _round_up(nbytes: int) -> int:
    return -(-nbytes // ALIGN) * ALIGN


# ---------------------------------------------------------------------------------------------------- LLVM IR


def _fixed_bytes(name: str, data: bytes) -> Value:
    return fixed(name, I8, data or b"\0", ALIGN)  # empty sections have no place in a loaded object, and so no address


def _check_workspace(workspace: Value) -> None:
    """Return MISALIGNED unless the workspace is there and aligned."""
    crooked = (to_integer(workspace) & (ALIGN - 1)) != 0
    return_if(crooked | is_null(workspace), MISALIGNED)


def _run(
    name: str,
    steps: Sequence[AnyStep],
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    constants: Sequence[bytes],
    layout: _Workspace,
) -> Function:
    """The entry: one call for each step, in straight-line code but for branches and loops."""
    launches = [step for step in _all(steps) if isinstance(step, Step)]
    kernels = {step.symbol: extern(I64, step.symbol, Pointers, Integers, I64, I64, Ptr) for step in launches}
    distinct = dict.fromkeys(step.ints for step in launches)
    integers = {ints: fixed(f"ints.{k}", I64, [*ints], 8) if ints else None for k, ints in enumerate(distinct)}
    data = [_fixed_bytes(f"constant.{k}", content) for k, content in enumerate(constants)]

    def run(**parameters: Value) -> Value:
        *ports, workspace = parameters.values()
        _check_workspace(workspace)
        places = [*ports, *data, workspace]
        bufs = stack_array(Ptr, max((len(step.buffers) for step in launches), default=1), 16)
        scratch = byte_offset(workspace, layout.scratch_at)
        status = local(I64, 0)

        def each(steps: Sequence[AnyStep], places: Sequence[Value]) -> None:
            for step in steps:
                resolved = [byte_offset(places[place], offset) for place, offset in step.buffers]
                if isinstance(step, BranchStep):
                    with if_(cast(Bytes, resolved[0])[0] != 0):
                        each(step.true.steps, resolved)
                    with else_():
                        each(step.false.steps, resolved)
                elif isinstance(step, LoopStep):
                    _loop(step, resolved, status, each)
                elif step.units:
                    for k, buffer in enumerate(resolved):
                        bufs[k] = buffer
                    bits = kernels[step.symbol](bufs, integers[step.ints], 0, step.units, scratch)
                    status.value = status.value | bits

        each(steps, places)
        return truncate(status.value, I32)

    names = [*(port.name for port in (*inputs, *outputs)), "workspace"]
    return entry(I32, f"{name}_run", dict.fromkeys(names, Ptr), run)


def _loop(step: LoopStep, buffers: Sequence[Value], status: Value, each: Callable[..., None]) -> None:
    """A loop, as runtime/native/steps.py runs it, which says what the buffers are, and the places of an iteration. It
    ends with the first iteration that fails."""
    more = iter(buffers)
    go = [next(more) for _ in range(step.has_go)]
    count = [next(more) for _ in range(step.has_count)]
    first = [next(more) for _ in step.carries]
    sequences = [next(more) for _ in step.sequences]
    invariants = [next(more) for _ in range(step.invariants)]
    finals = [next(more) for _ in step.carries]
    results = [next(more) for _ in step.results]
    counted_ = [next(more) for _ in range(step.gives_count)]
    spares = [next(more) for _ in step.carries]
    next_go = [next(more) for _ in range(step.has_go)]
    arena = next(more)

    def goes(flag: Value) -> Value:
        return select(cast(Bytes, flag)[0] != 0, constant(1), 0)

    length, done = local(I64, step.length), local(I64, 0)
    for at in count:
        asked = cast(Integers, at)[0]
        length.value = select(asked < length.value, asked, length.value)
    going = local(I64, goes(go[0]) if go else 1)
    turn = local(I64, 0 if go else (length.value - 1) & 1)  # the last iteration of so many writes the final carries
    now = [local(Ptr, carry) for carry in first]
    with while_(lambda: (going.value != 0) & (done.value < length.value) & (status.value == 0)):
        index = length.value - 1 - done.value if step.reverse else done.value
        after = [select(turn.value == 0, final, spare) for final, spare in zip(finals, spares, strict=True)]
        parts = [byte_offset(at, index * nbytes) for at, nbytes in zip(sequences, step.sequences, strict=True)]
        made = [byte_offset(at, index * nbytes) for at, nbytes in zip(results, step.results, strict=True)]
        each(step.body.steps, [*(n.value for n in now), *parts, *invariants, *next_go, *after, *made, arena])
        for carry, written in zip(now, after, strict=True):
            carry.value = written
        if next_go:
            going.value = goes(next_go[0])
        turn.value = constant(1) - turn.value
        done.value = done.value + 1
    if step.bounded:
        with if_((going.value != 0) & (status.value == 0)):
            status.value = constant(NOT_DONE)
    for carry, final, nbytes in zip(now, finals, step.carries, strict=True):
        with if_(to_integer(carry.value) != to_integer(final)):
            for i in counted(nbytes):
                cast(Bytes, final)[i] = cast(Bytes, carry.value)[i]
    for at in counted_:
        cast(Integers, at)[0] = done.value


def _verify(name: str, run: Function, example: tuple[Sequence[bytes], Sequence[bytes]], layout: _Workspace) -> Function:
    """``verify``: run the example, compare byte by byte."""
    given, expected = example
    data = [_fixed_bytes(f"example.{k}", content) for k, content in enumerate((*given, *expected))]

    def verify(workspace: Value) -> Value:
        _check_workspace(workspace)
        results = [byte_offset(workspace, at) for at in layout.outputs_at]
        status = run(*data[: len(given)], *results, workspace)
        return_if(status != 0, status)
        for result, right, content in zip(results, data[len(given) :], expected, strict=True):
            for i in counted(len(content)):
                return_if(result[i] != right[i], DIFFERS)
        return constant(0, I32)

    return entry(I32, f"{name}_verify", {"workspace": Ptr}, verify)


# ---------------------------------------------------------------------------------------------------- C


def header(
    name: str, inputs: Sequence[Port], outputs: Sequence[Port], workspace_nbytes: int, verifies: bool, target: Target
) -> str:
    """The text of the header: C89 with <stdint.h>, and C++. Port names and ``name`` are safe in it (names.py)."""
    upper = name.upper()
    ports = [*((port, "input") for port in inputs), *((port, "output") for port in outputs)]
    parameters = [f"{'const ' if role == 'input' else ''}{port.c_type} *{port.name}" for port, role in ports]
    lines = [
        f"/* {name}: made by weft for {target.triple}. */",
        *(() if target.has_fma else ("/* Link with -lm: this machine has no fused multiply-add of its own. */",)),
        f"#ifndef {upper}_H",
        f"#define {upper}_H",
        "#include <stdint.h>",
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
        "/* Every call needs a workspace of its own, of this size and alignment; its contents do not matter. */",
        f"#define {upper}_WORKSPACE_BYTES {workspace_nbytes}",
        f"#define {upper}_WORKSPACE_ALIGN {ALIGN}",
        "",
    ]
    for port, role in ports:
        lines += [
            f"/* {role} {port.name}: {port.dtype.name}, shape ({', '.join(map(str, port.shape))}), C order"
            + ("" if port.called is None else f"; '{quoted(port.called)}' in the model")
            + " */",
            f"#define {upper}_{port.name.upper()}_COUNT {port.count}",
        ]
    lines += [
        "",
        "/* 0: done. Positive: status bits of the kernels (1: an index was out of range; 2: a loop goes on).",
        f"   {MISALIGNED}: the workspace is null or not aligned. Outputs must not overlap inputs. */",
        f"int32_t {name}_run({', '.join((*parameters, 'void *workspace'))});",
    ]
    if verifies:
        lines += [
            "",
            "/* Recomputes the example that was saved with the model: 0 if every bit of the outputs is the same,",
            f"   {DIFFERS} if not, else the result of {name}_run. */",
            f"int32_t {name}_verify(void *workspace);",
        ]
    return "\n".join([*lines, "", "#ifdef __cplusplus", "}", "#endif", f"#endif /* {upper}_H */", ""])
