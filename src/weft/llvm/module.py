"""Functions and variables of an LLVM module, and the text of a module of all that its roots use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_type_hints

from .text import (
    DECLARATIONS,
    FUNCTIONS,
    VARIABLES,
    VOID,
    Code,
    Definition,
    Operand,
    Ptr,
    Type,
    Value,
    natural_type,
    state,
    text_of,
    type_of,
    typed,
    writing,
)


def _called(callee: str, signature: str, parameters: Sequence[Type], arguments: Sequence[Operand], result: Type) -> str:
    """The text of a call; what is given beyond the parameters goes to ``...``."""
    types = [*parameters, *map(natural_type, arguments[len(parameters) :])]
    given = ", ".join(typed(a, t) for a, t in zip(arguments, types, strict=True))
    return f"call {signature or result.text} {callee}({given})"


class Function:
    """A function of the module, or with ``body`` None one that lies outside. Calling it writes a call."""

    def __init__(self, name: str, body: Callable[..., Any] | None, attributes: str, exported: bool):
        self.name, self.body, self.attributes, self.exported = name, body, attributes, exported
        self.rank = FUNCTIONS if body else DECLARATIONS
        self._signature: tuple[Type, dict[str, Type], bool] | None = None

    @property
    def signature(self) -> tuple[Type, dict[str, Type], bool]:
        """Type of the result, the parameters by name, and whether more arguments may follow."""
        if self._signature is None:
            hints = {name: type_of(hint) for name, hint in get_type_hints(self.body, include_extras=True).items()}
            self._signature = hints.pop("return"), hints, False
        return self._signature

    @property
    def address(self) -> Value:
        """The function as a pointer."""
        return Value(f"@{self.name}", type_of(Ptr), self)

    def __call__(self, *arguments: Operand) -> Value:
        result, parameters, variadic = self.signature
        types = list(parameters.values())
        if len(arguments) < len(types) or (len(arguments) > len(types) and not variadic):
            raise TypeError(f"{self.name} takes {len(types)} arguments, not {len(arguments)}")
        code = state.code
        code.uses[self] = None
        signature = f"{result.text} ({', '.join(t.text for t in types)}, ...)" if variadic else ""
        text = _called(f"@{self.name}", signature, types, arguments, result)
        if result is VOID:
            code.do(text)
            return Value("", VOID)
        return code.op(self.name.rpartition(".")[0].rpartition(".")[2] or self.name, text, result)

    def define(self) -> str:
        """The definition or declaration."""
        result, parameters, variadic = self.signature
        if self.body is None:
            types = [*(t.text for t in parameters.values()), *(["..."] if variadic else [])]
            return f"declare {result.text} @{self.name}({', '.join(types)})"
        with writing(Code(result)) as code:
            values = {name: Value(f"%{code.fresh(name)}", type) for name, type in parameters.items()}
            last = self.body(**values)
            if code.is_open:
                code.leave(last)
            elif last is not None:
                raise SyntaxError(f"{self.name}: never reached: return {last!r}")
        state.code.uses.update(code.uses)
        comment = "".join(f"; {line.strip()}\n" for line in (self.body.__doc__ or "").strip().splitlines())
        header = ", ".join(f"{value._type.text} {value._text}" for value in values.values())
        # In wider registers (RISC-V's) an int32_t is extended, and callers written in C rely on it.
        linkage = "internal " if not self.exported else "signext " if result.text == "i32" else ""
        attributes = f" {self.attributes}" if self.attributes else ""
        first = f"{comment}define {linkage}{result.text} @{self.name}({header}){attributes} {{"
        return "\n".join([first, *code.allocations, *code.lines, "}"])


def function(body: Callable[..., Any]) -> Function:
    """A function of the module: parameters and result are annotated with types of text.py."""
    return Function(body.__name__, body, "", False)


def cold(body: Callable[..., Any]) -> Function:
    """A function that is seldom called, and never becomes part of its callers."""
    return Function(body.__name__, body, "cold noinline", False)


def exported(body: Callable[..., Any]) -> Function:
    """A function that the module's loader finds by its name."""
    return Function(body.__name__, body, "", True)


def entry(result: Any, name: str, parameters: Mapping[str, Any], body: Callable[..., Any]) -> Function:
    """A function for C to call, whose name and parameters are data: ``body`` gets a value for each, by its name."""
    made = Function(name, body, "nounwind", True)
    made._signature = type_of(result), {each: type_of(hint) for each, hint in parameters.items()}, False
    return made


def extern(result: Any, name: str, /, *parameters: Any, variadic: bool = False) -> Function:
    """A function that lies outside, of the process or LLVM's own: ``extern(Ptr, "PyList_New", I64)``."""
    made = Function(name, None, "", True)
    made._signature = type_of(result), {str(i): type_of(hint) for i, hint in enumerate(parameters)}, variadic
    return made


def invoke(pointer: Value, result: Any, *arguments: Operand) -> Value:
    """Call the function at an address."""
    code, type = state.code, type_of(result)
    text = _called(text_of(pointer, type_of(Ptr)), "", [], arguments, type)
    if type is VOID:
        code.do(text)
        return Value("", type)
    return code.op("result", text, type)


class _Variable:
    """Memory of the module."""

    rank = VARIABLES

    def __init__(
        self, name: str, type: Type, initial: Any, count: int | None, align: int, kind: str = "internal global"
    ):
        self.name, self.type, self.initial, self.count, self.align = name, type, initial, count, align
        self.kind = kind
        self.address = Value(f"@{name}", Type("ptr", type), self)

    def define(self) -> str:
        """The definition."""
        type = self.type.text if self.count is None else f"[{self.count} x {self.type.text}]"
        align = f", align {self.align}" if self.align else ""
        return f"@{self.name} = {self.kind} {type} {_initial(self.type, self.initial)}{align}"


def _initial(type: Type, content: Any) -> str:
    """What memory of a type holds at first: a list (or bytes) is an array, a tuple a structure, None zeros."""
    if type.fields:
        state.code.uses[type] = None
    if isinstance(content, list):
        return f"[ {', '.join(f'{type.text} {_initial(type, item)}' for item in content)} ]"
    if isinstance(content, bytes):
        escaped = content.hex("\\")
        return f'c"\\{escaped}"'
    if isinstance(content, tuple):
        parts = zip(type.fields.values(), content, strict=True)
        return f"{{ {', '.join(f'{field.text} {_initial(field, item)}' for field, item in parts)} }}"
    if isinstance(content, Function):
        content = content.address
    return "zeroinitializer" if content is None else text_of(content, type)


def variable(name: str, hint: Any, initial: Operand = None, align: int = 0) -> Value:
    """A variable of the module; ``.value`` is what it holds, zero at first."""
    return _Variable(name, type_of(hint), initial, None, align).address


def static(name: str, hint: Any, content: Any = None, count: int | None = None, align: int = 0) -> Value:
    """A structure of the module (``content`` a tuple), or an array (a list, or ``count`` zeros)."""
    type = type_of(hint)
    element = type.of if type.of and type.of.fields else type
    return _Variable(name, element, content, len(content) if isinstance(content, list) else count, align).address


def fixed(name: str, hint: Any, content: Sequence[Any], align: int = 0) -> Value:
    """An array that nobody writes, and that may be one with another of the same content: a list, or bytes."""
    return _Variable(name, type_of(hint), content, len(content), align, "private unnamed_addr constant").address


def module(roots: Sequence[Function]) -> str:
    """The text of a module: these functions, and all that they use."""
    found: dict[Definition, str] = {}
    waiting: list[Definition] = list(reversed(roots))
    while waiting:
        definition = waiting.pop()
        if definition not in found:
            with writing(Code()) as code:
                found[definition] = definition.define()
            waiting += [used for used in reversed(code.uses) if used not in found]
    ordered = sorted(found, key=lambda definition: definition.rank)
    return "\n".join(f"\n{found[d]}" if d.rank == FUNCTIONS else found[d] for d in ordered) + "\n"
