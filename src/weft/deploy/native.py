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
from collections.abc import Sequence
from dataclasses import dataclass

from ..core.dtypes import DType
from ..core.errors import FormatError
from ..llvm.assembly import assemble_linked
from ..llvm.targets import Target
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
    steps: Sequence[Step],
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
    workspace = _Workspace(arena_nbytes, scratch_nbytes, outputs if example else ())
    lines = [f"declare i64 @{symbol}(ptr, ptr, i64, i64, ptr)" for symbol, _ in kernels]
    lines += [_bytes_constant(f"constant.{k}", data) for k, data in enumerate(constants)]
    lines += _ints_constants(steps)
    lines += _run(name, steps, inputs, outputs, constants, workspace)
    if example:
        lines += _verify(name, inputs, outputs, example, workspace)
    texts = ["\n".join(lines) + "\n", *(text for _, text in kernels)]
    code = assemble_linked(texts, [symbol for symbol, _ in kernels], target)
    text = header(name, inputs, outputs, workspace.nbytes, example is not None, target)
    exports = (f"{name}_run", f"{name}_verify") if example else (f"{name}_run",)
    return Library(name, code, text, exports, workspace.nbytes)


def _check(
    name: str,
    kernels: Sequence[tuple[str, str]],
    steps: Sequence[Step],
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
    places = len(inputs) + len(outputs) + other_places
    for number, step in enumerate(steps):
        if step.symbol not in symbols or any(not 0 <= place < places or at < 0 for place, at in step.buffers):
            raise FormatError(f"step {number} names a kernel or a buffer that is not there: {step}")


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


def _bytes_constant(name: str, data: bytes) -> str:
    data = data or b"\0"  # empty sections have no place in a loaded object, and so no address
    text = "\\" + data.hex("\\")
    return f'@{name} = private unnamed_addr constant [{len(data)} x i8] c"{text}", align {ALIGN}'


def _ints_constants(steps: Sequence[Step]) -> list[str]:
    """The integers of each kind of step, equal ones once."""
    return [
        f"@{label} = private unnamed_addr constant [{len(ints)} x i64] "
        f"[{', '.join(f'i64 {value}' for value in ints)}], align 8"
        for ints, label in _ints_labels(steps).items()
    ]


def _ints_labels(steps: Sequence[Step]) -> dict[tuple[int, ...], str]:
    distinct = dict.fromkeys(step.ints for step in steps if step.ints)
    return {ints: f"ints.{number}" for number, ints in enumerate(distinct)}


def _guard() -> list[str]:
    """Return MISALIGNED unless the workspace is there and aligned."""
    return [
        "entry:",
        "  %address = ptrtoint ptr %workspace to i64",
        f"  %low = and i64 %address, {ALIGN - 1}",
        "  %crooked = icmp ne i64 %low, 0",
        "  %null = icmp eq ptr %workspace, null",
        "  %refused = or i1 %crooked, %null",
        "  br i1 %refused, label %refuse, label %begin",
        "refuse:",
        f"  ret i32 {MISALIGNED}",
        "begin:",
    ]


def _run(
    name: str,
    steps: Sequence[Step],
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    constants: Sequence[bytes],
    workspace: _Workspace,
) -> list[str]:
    """The entry: straight-line code, one call for each step."""
    parameters = [f"%in.{k}" for k in range(len(inputs))] + [f"%out.{k}" for k in range(len(outputs))]
    places = [*parameters, *(f"@constant.{k}" for k in range(len(constants))), "%workspace"]
    declared = ", ".join(f"ptr {p}" for p in (*parameters, "%workspace"))
    lines = [
        f"define signext i32 @{name}_run({declared}) nounwind {{",
        *_guard(),
        f"  %bufs = alloca [{max((len(s.buffers) for s in steps), default=1)} x ptr], align 16",
        f"  %scratch = getelementptr i8, ptr %workspace, i64 {workspace.scratch_at}",
    ]
    labels = _ints_labels(steps)
    status = "0"
    for number, step in enumerate(steps):
        if step.units == 0:
            continue
        for k, (place, offset) in enumerate(step.buffers):
            lines += [
                f"  %p.{number}.{k} = getelementptr i8, ptr {places[place]}, i64 {offset}",
                f"  %b.{number}.{k} = getelementptr ptr, ptr %bufs, i64 {k}",
                f"  store ptr %p.{number}.{k}, ptr %b.{number}.{k}",
            ]
        ints = f"@{labels[step.ints]}" if step.ints else "null"
        arguments = f"ptr %bufs, ptr {ints}, i64 0, i64 {step.units}, ptr %scratch"
        lines += [
            f"  %r.{number} = call i64 @{step.symbol}({arguments})",
            f"  %status.{number} = or i64 {status}, %r.{number}",
        ]
        status = f"%status.{number}"
    return [*lines, f"  %result = trunc i64 {status} to i32", "  ret i32 %result", "}"]


def _verify(
    name: str,
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    example: tuple[Sequence[bytes], Sequence[bytes]],
    workspace: _Workspace,
) -> list[str]:
    """``verify``: run the example, compare byte by byte."""
    given, expected = example
    for port, data in zip((*inputs, *outputs), (*given, *expected), strict=True):
        if port.nbytes != len(data):
            raise FormatError(f"the example's {port.name} has {len(data)} bytes, not {port.nbytes}")
    lines = [_bytes_constant(f"example.{k}", data) for k, data in enumerate((*given, *expected))]
    arguments = [f"ptr @example.{k}" for k in range(len(given))]
    lines += [f"define signext i32 @{name}_verify(ptr %workspace) nounwind {{", *_guard()]
    for k, at in enumerate(workspace.outputs_at):
        lines.append(f"  %out.{k} = getelementptr i8, ptr %workspace, i64 {at}")
        arguments.append(f"ptr %out.{k}")
    lines += [
        f"  %status = call i32 @{name}_run({', '.join((*arguments, 'ptr %workspace'))})",
        "  %failed = icmp ne i32 %status, 0",
        "  br i1 %failed, label %fail, label %compare.0",
        "fail:",
        "  ret i32 %status",
        "differ:",
        f"  ret i32 {DIFFERS}",
    ]
    for k, port in enumerate(outputs):
        lines += _compare(k, port.nbytes, f"@example.{len(given) + k}")
    return [*lines, f"compare.{len(outputs)}:", "  ret i32 0", "}"]


def _compare(k: int, nbytes: int, expected: str) -> list[str]:
    """Go on to the next output if output ``k`` has the bytes ``expected``."""
    if not nbytes:
        return [f"compare.{k}:", f"  br label %compare.{k + 1}"]
    return [
        f"compare.{k}:",
        f"  br label %head.{k}",
        f"head.{k}:",
        f"  %i.{k} = phi i64 [ 0, %compare.{k} ], [ %next.{k}, %same.{k} ]",
        f"  %pa.{k} = getelementptr i8, ptr %out.{k}, i64 %i.{k}",
        f"  %pb.{k} = getelementptr i8, ptr {expected}, i64 %i.{k}",
        f"  %a.{k} = load i8, ptr %pa.{k}",
        f"  %b.{k} = load i8, ptr %pb.{k}",
        f"  %equal.{k} = icmp eq i8 %a.{k}, %b.{k}",
        f"  br i1 %equal.{k}, label %same.{k}, label %differ",
        f"same.{k}:",
        f"  %next.{k} = add i64 %i.{k}, 1",
        f"  %more.{k} = icmp ult i64 %next.{k}, {nbytes}",
        f"  br i1 %more.{k}, label %head.{k}, label %end.{k}",
        f"end.{k}:",
        f"  br label %compare.{k + 1}",
    ]


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
        "/* 0: done. Positive: status bits of the kernels (1: an index was out of range).",
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
