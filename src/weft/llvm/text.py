"""LLVM IR text from Python functions over typed values: structure instead of labels and registers by hand.

A function that :func:`function` decorates is run once, when a module is rendered; what it does with its arguments
becomes IR, and its docstring a comment in front of it. The annotations are its signature::

    Point = Annotated[Value, structure("Point", x=I64, y=I64)]

    @function
    def farthest(points: Point, count: I64) -> I64:
        '''The largest x + y.'''
        best = local(I64, 0)
        for i in counted(count):
            point = points[i]
            with if_(point.x + point.y > best.value):
                best.value = point.x + point.y
        return best.value

    print(module([farthest]))

What a function uses (other functions, variables, strings, structures, declarations of what lies outside) is collected,
so a module's roots are all that one names. Values are as in C: fields and elements of a pointer load and store, ``+``
and ``<`` are of signed 64-bit numbers (which wrap), a Python number or string stands for a constant. Variables live in
``local``, whose memory LLVM turns into registers; nothing here writes a phi.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Protocol, get_args


class Definition(Protocol):
    """Something that a module holds because a function of it uses it; ``rank`` is where in the module it stands."""

    rank: int

    def define(self) -> str:
        """Its text, at the top level of a module."""


TYPES, DECLARATIONS, STRINGS, VARIABLES, FUNCTIONS = range(5)  # ranks


# ---------------------------------------------------------------------------------------------------- types


class Type:
    """An LLVM type; of a pointer also what lies there, of a structure its fields. ``rank`` is that of structures."""

    rank = TYPES

    def __init__(self, text: str, of: Type | None = None, fields: dict[str, Type] | None = None):
        self.text, self.of, self.fields = text, of, fields or {}

    def define(self) -> str:
        """The definition of a structure, with its fields' names."""
        return f"{self.text} = type {{ {', '.join(t.text for t in self.fields.values())} }}  ; {', '.join(self.fields)}"


def type_of(hint: Any) -> Type:
    """The type that an annotation stands for."""
    if hint is None or hint is type(None):
        return VOID
    return hint if isinstance(hint, Type) else get_args(hint)[1]


def pointer_to(hint: Any) -> Type:
    """The type of a pointer to values of a type: ``Integers = Annotated[Value, pointer_to(I64)]``."""
    return Type("ptr", type_of(hint))


def structure(name: str, /, **fields: Any) -> Type:
    """The type of a pointer to a structure of these fields; structures themselves lie in memory alone."""
    return Type("ptr", Type(f"%{name}", fields={field: type_of(hint) for field, hint in fields.items()}))


def field_names(hint: Any) -> list[str]:
    """The names of a structure's fields, in order."""
    struct = type_of(hint).of
    return list(struct.fields) if struct else []


# ---------------------------------------------------------------------------------------------------- values


class Value:
    """A value of the function that is being written, or a constant.

    ``p.field`` and ``p.field = x`` load and store a field of the structure at ``p``, ``p[i]`` and ``p[i] = x`` an
    element (where elements are structures, ``p[i]`` is the pointer to one), and ``p.value`` what lies at ``p``.
    """

    __slots__ = ("_of", "_text", "_type")
    _text: str
    _type: Type
    _of: Definition | None

    def __init__(self, text: str, type: Type, of: Definition | None = None):
        object.__setattr__(self, "_text", text)
        object.__setattr__(self, "_type", type)
        object.__setattr__(self, "_of", of)

    def __repr__(self) -> str:
        return f"<{self._type.text} {self._text}>"

    def __bool__(self) -> bool:
        raise TypeError(f"{self!r} is not known yet: write `with if_(...)` instead of `if`")

    def __getattr__(self, name: str) -> Value:
        if name.startswith("__"):  # whoever looks at objects of any kind asks for these
            raise AttributeError(name)
        return _load(*_field(self, name))

    def __setattr__(self, name: str, value: Operand) -> None:
        _store(*_field(self, name), value)

    def __getitem__(self, index: Operand) -> Value:
        where = at(self, index)
        element = _pointee(self)
        return where if element.fields else _load(where, element, "element")

    def __setitem__(self, index: Operand, value: Operand) -> None:
        _store(at(self, index), _pointee(self), "", value)

    def __add__(self, other: Operand) -> Value:
        return _binary("add", self, other)

    __radd__ = __add__

    def __sub__(self, other: Operand) -> Value:
        return _binary("sub", self, other)

    def __rsub__(self, other: Operand) -> Value:
        return _binary("sub", Value(text_of(other, self._type), self._type), self)

    def __mul__(self, other: Operand) -> Value:
        return _binary("mul", self, other)

    def __floordiv__(self, other: Operand) -> Value:
        """Of unsigned numbers."""
        return _binary("udiv", self, other)

    def __truediv__(self, other: Operand) -> Value:
        return _binary("fdiv", self, other)

    def __and__(self, other: Operand) -> Value:
        return _binary("and", self, other)

    def __or__(self, other: Operand) -> Value:
        return _binary("or", self, other)

    def __xor__(self, other: Operand) -> Value:
        return _binary("xor", self, other)

    def __lshift__(self, other: Operand) -> Value:
        return _binary("shl", self, other)

    def __rshift__(self, other: Operand) -> Value:
        """Zeros come in."""
        return _binary("lshr", self, other)

    def __invert__(self) -> Value:
        return _binary("xor", self, True if self._type.text == "i1" else -1)

    def __eq__(self, other: Operand) -> Value:  # type: ignore[override]
        return _compare("eq", self, other)

    def __ne__(self, other: Operand) -> Value:  # type: ignore[override]
        return _compare("ne", self, other)

    def __lt__(self, other: Operand) -> Value:
        return _compare("slt", self, other)

    def __le__(self, other: Operand) -> Value:
        return _compare("sle", self, other)

    def __gt__(self, other: Operand) -> Value:
        return _compare("sgt", self, other)

    def __ge__(self, other: Operand) -> Value:
        return _compare("sge", self, other)

    __hash__ = None  # type: ignore[assignment]


Operand = Value | int | float | str | None
"""What may stand for a value: None is null, or zero, and a text the address of a zero-terminated constant."""

VOID = Type("void")
I1 = Annotated[Value, Type("i1")]
I8 = Annotated[Value, Type("i8")]
I32 = Annotated[Value, Type("i32")]
I64 = Annotated[Value, Type("i64")]
F64 = Annotated[Value, Type("double")]
Ptr = Annotated[Value, Type("ptr")]
Integers = Annotated[Value, pointer_to(I64)]
Pointers = Annotated[Value, pointer_to(Ptr)]
NULL = Value("null", Type("ptr"))
TRUE, FALSE = Value("true", Type("i1")), Value("false", Type("i1"))


def text_of(operand: Operand, type: Type) -> str:
    """An operand as LLVM writes it; what it names becomes a part of the module."""
    if isinstance(operand, Value):
        if operand._type.text != type.text:
            raise TypeError(f"{operand!r} where {type.text} is wanted")
        if operand._of is not None:
            state.code.uses[operand._of] = None
        return operand._text
    if isinstance(operand, str):
        return text_of(_String(operand).address, type)
    if isinstance(operand, bool):
        return str(operand).lower()
    return str(operand) if operand is not None else "null" if type.text == "ptr" else "zeroinitializer"


def typed(operand: Operand, type: Type) -> str:
    return f"{type.text} {text_of(operand, type)}"


def natural_type(operand: Operand) -> Type:
    """The type of an operand where none is asked for."""
    if isinstance(operand, Value):
        return operand._type
    return type_of(Ptr if operand is None or isinstance(operand, str) else I64)


def _binary(op: str, a: Value, b: Operand) -> Value:
    return state.code.op(op, f"{op} {typed(a, a._type)}, {text_of(b, a._type)}", a._type)


def _compare(how: str, a: Value, b: Operand) -> Value:
    return state.code.op(how, f"icmp {how} {typed(a, a._type)}, {text_of(b, a._type)}", type_of(I1))


def constant(number: int, hint: Any = I64) -> Value:
    """A constant as a value."""
    return Value(text_of(number, type_of(hint)), type_of(hint))


def is_null(pointer: Value) -> Value:
    """True for the null pointer."""
    return _compare("eq", pointer, None)


def below(a: Value, b: Operand) -> Value:
    """``a < b`` of unsigned numbers: a negative one is larger than any size."""
    return _compare("ult", a, b)


def at_most(a: Value, b: Operand) -> Value:
    """``a <= b`` of unsigned numbers."""
    return _compare("ule", a, b)


def select(condition: Value, a: Operand, b: Operand) -> Value:
    """``a`` where the condition holds, else ``b``; both are there already."""
    type = natural_type(a)
    return state.code.op("chosen", f"select {typed(condition, type_of(I1))}, {typed(a, type)}, {typed(b, type)}", type)


def _converted(op: str, value: Value, hint: Any) -> Value:
    return state.code.op(op, f"{op} {typed(value, value._type)} to {type_of(hint).text}", type_of(hint))


def zero_extend(value: Value, hint: Any) -> Value:
    """A wider integer of the same unsigned value."""
    return _converted("zext", value, hint)


def truncate(value: Value, hint: Any) -> Value:
    """The low bits, as a narrower integer."""
    return _converted("trunc", value, hint)


def to_float(value: Value) -> Value:
    """The double nearest to a signed integer."""
    return _converted("sitofp", value, F64)


def to_integer(pointer: Value) -> Value:
    """The address that a pointer holds."""
    return _converted("ptrtoint", pointer, I64)


def to_pointer(address: Value, hint: Any = Ptr) -> Value:
    """The pointer that holds an address."""
    return _converted("inttoptr", address, hint)


def cast(hint: Any, pointer: Value) -> Value:
    """The same pointer, to something else."""
    return Value(pointer._text, type_of(hint), pointer._of)


# ---------------------------------------------------------------------------------------------------- memory


def _pointee(pointer: Value) -> Type:
    if pointer._type.of is None:
        raise TypeError(f"{pointer!r} does not say what it points at")
    return pointer._type.of


def _element(type: Type, pointer: Value, *indices: str, hint: str, to: Type) -> Value:
    """The address of an element of ``type`` at a pointer, or of a part of it."""
    if type.fields:
        state.code.uses[type] = None
    where = ", ".join((type.text, typed(pointer, pointer._type), *indices))
    return state.code.op(hint, f"getelementptr {where}", Type("ptr", to))


def _field(pointer: Value, name: str) -> tuple[Value, Type, str]:
    """Address, type and name of a field; ``value`` is all that lies there."""
    struct = _pointee(pointer)
    if name == "value" and not struct.fields:
        return pointer, struct, pointer._text.lstrip("%@").partition(".")[0] if pointer._of else "value"
    if name not in struct.fields:
        raise AttributeError(f"{struct.text} has no field {name!r}; it has {', '.join(struct.fields) or 'value'}")
    number, type = list(struct.fields).index(name), struct.fields[name]
    return _element(struct, pointer, "i64 0", f"i32 {number}", hint=f"{name}_at", to=type), type, name


def at(pointer: Value, index: Operand) -> Value:
    """The address of an element."""
    type = _pointee(pointer)
    return _element(type, pointer, typed(index, type_of(I64)), hint="at", to=type)


def byte_offset(pointer: Value, nbytes: Operand) -> Value:
    """The address so many bytes further."""
    return _element(type_of(I8), pointer, typed(nbytes, type_of(I64)), hint="at", to=type_of(I8))


def _load(where: Value, type: Type, name: str) -> Value:
    return state.code.op(name, f"load {type.text}, {typed(where, where._type)}", type)


def _store(where: Value, type: Type, name: str, value: Operand) -> None:
    state.code.do(f"store {typed(value, type)}, {typed(where, where._type)}")


def local(hint: Any, initial: Operand = None) -> Value:
    """A variable of the function that is being written; ``.value`` is what it holds, zero at first."""
    variable = state.code.allocate(type_of(hint), "local")
    variable.value = initial
    return variable


def stack(hint: Any) -> Value:
    """Room for a structure on the stack."""
    struct = _pointee(Value("", type_of(hint)))
    state.code.uses[struct] = None
    return cast(hint, state.code.allocate(struct, "on_stack"))


def stack_array(hint: Any, count: Operand, align: int = 8) -> Value:
    """Room for so many elements on the stack: until the function returns."""
    type = type_of(hint)
    return state.code.op("array", f"alloca {type.text}, {typed(count, type_of(I64))}, align {align}", Type("ptr", type))


def atomic_load(pointer: Value, order: str) -> Value:
    """What lies at an address that other threads write to."""
    return state.code.op("now", f"load atomic i64, {typed(pointer, pointer._type)} {order}, align 8", type_of(I64))


def atomic_store(pointer: Value, value: Operand, order: str) -> None:
    """Store at an address that other threads look at."""
    state.code.do(f"store atomic {typed(value, type_of(I64))}, {typed(pointer, pointer._type)} {order}, align 8")


def atomic_update(op: str, pointer: Value, value: Operand, order: str) -> Value:
    """``add``, ``sub``, ``and`` or ``or`` in one go; what was there before."""
    where = typed(pointer, pointer._type)
    return state.code.op("before", f"atomicrmw {op} {where}, {typed(value, type_of(I64))} {order}", type_of(I64))


def compare_exchange(pointer: Value, expected: Operand, value: Operand) -> Value:
    """Store if what is there is what was expected; whether it was."""
    code, i64 = state.code, type_of(I64)
    numbers = f"{typed(expected, i64)}, {typed(value, i64)}"
    pair = code.op("swap", f"cmpxchg {typed(pointer, pointer._type)}, {numbers} seq_cst seq_cst", Type("{ i64, i1 }"))
    return code.op("swapped", f"extractvalue {typed(pair, pair._type)}, 1", type_of(I1))


# ---------------------------------------------------------------------------------------------------- control flow


@contextmanager
def if_(condition: Value) -> Iterator[None]:
    """What is written inside happens where the condition holds."""
    code = state.code
    inside, after = code.fresh("then"), code.fresh("after")
    code.branch(condition, inside, after)
    code.begin(inside)
    yield
    jump = len(code.lines) if code.is_open else None
    code.jump(after)
    code.begin(after)
    code.last_if = len(code.lines), jump


@contextmanager
def else_() -> Iterator[None]:
    """Right behind ``if_``: what is written inside happens where its condition does not hold."""
    code = state.code
    end, (stands_at, jump) = code.fresh("end"), code.last_if
    if len(code.lines) != stands_at:
        raise SyntaxError("else_ must follow if_")
    yield
    if jump is not None:
        code.lines[jump] = f"  br label %{end}"
    if jump is not None or code.is_open:
        code.jump(end)
        code.begin(end)


@contextmanager
def loop() -> Iterator[None]:
    """What is written inside happens again and again, until :func:`break_` or :func:`return_`."""
    code = state.code
    head, done = code.fresh("loop"), code.fresh("done")
    code.jump(head)
    code.begin(head)
    code.loops.append((head, done))
    yield
    code.loops.pop()
    code.jump(head)
    if done in code.targets:
        code.begin(done)


@contextmanager
def while_(condition: Callable[[], Value]) -> Iterator[None]:
    """What is written inside happens while the condition, which is computed each time, holds."""
    code = state.code
    head, body, done = code.fresh("while"), code.fresh("do"), code.fresh("done")
    code.jump(head)
    code.begin(head)
    code.branch(condition(), body, done)
    code.begin(body)
    code.loops.append((head, done))
    yield
    code.loops.pop()
    code.jump(head)
    code.begin(done)


def counted(stop: Operand, start: Operand = 0) -> Iterator[Value]:
    """``for i in counted(n):`` is written once, and happens for 0 <= i < n."""
    code = state.code
    counter = local(I64, start)
    step = code.fresh("step")
    with while_(lambda: counter.value < stop):
        code.loops[-1] = step, code.loops[-1][1]
        yield counter.value
        code.jump(step)
        if step in code.targets:
            code.begin(step)
            counter.value += 1


def break_() -> None:
    """Leave the innermost loop."""
    state.code.jump(state.code.loops[-1][1])


def continue_() -> None:
    """Go on with the next turn of the innermost loop."""
    state.code.jump(state.code.loops[-1][0])


def return_(value: Operand = None) -> None:
    """Return before the end."""
    state.code.leave(value)


def return_if(condition: Value, value: Operand = None) -> None:
    """Return where the condition holds."""
    with if_(condition):
        return_(value)


# ---------------------------------------------------------------------------------------------------- the writer


class Code:
    """What has been written of one function: blocks of instructions, and what they use."""

    def __init__(self, result: Type = VOID) -> None:
        self.result = result
        self.lines: list[str] = []
        self.allocations: list[str] = []
        self.uses: dict[Definition, None] = {}
        self.loops: list[tuple[str, str]] = []  # where continue_ and break_ go
        self.targets: set[str] = set()  # labels that something jumps to
        self.last_if: tuple[int, int | None] = (-1, None)  # lines after it, and the line that jumps over an else_
        self.is_open = True  # the block that is being written has not ended
        self._names: dict[str, int] = {}

    def fresh(self, hint: str) -> str:
        """A name that this function does not have yet."""
        number = self._names[hint] = self._names.get(hint, -1) + 1
        return f"{hint}.{number}" if number else hint

    def do(self, text: str) -> None:
        """Append an instruction."""
        if not self.is_open:
            raise SyntaxError(f"never reached: {text}")
        self.lines.append(f"  {text}")

    def op(self, hint: str, text: str, type: Type) -> Value:
        """Append an instruction with a result."""
        name = f"%{self.fresh(hint)}"
        self.do(f"{name} = {text}")
        return Value(name, type)

    def allocate(self, type: Type, hint: str) -> Value:
        """Memory that is there from the beginning."""
        name = f"%{self.fresh(hint)}"
        self.allocations.append(f"  {name} = alloca {type.text}")
        return Value(name, Type("ptr", type))

    def begin(self, label: str) -> None:
        """Begin a block."""
        self.lines.append(f"{label}:")
        self.is_open = True

    def jump(self, label: str) -> None:
        """End the block, if it has not ended."""
        if self.is_open:
            self.do(f"br label %{label}")
            self.targets.add(label)
            self.is_open = False

    def branch(self, condition: Value, yes: str, no: str) -> None:
        """End the block."""
        self.do(f"br {typed(condition, type_of(I1))}, label %{yes}, label %{no}")
        self.is_open = False

    def leave(self, value: Operand) -> None:
        """Return."""
        self.do("ret void" if self.result is VOID else f"ret {typed(value, self.result)}")
        self.is_open = False


class _State(threading.local):
    """The function that this thread writes."""

    code: Code


state = _State()


@contextmanager
def writing(code: Code) -> Iterator[Code]:
    """What is written inside goes to ``code``."""
    before = getattr(state, "code", None)
    state.code = code
    try:
        yield code
    finally:
        if before is None:
            del state.code
        else:
            state.code = before


class _String:
    """A zero-terminated constant, whose name is its text."""

    rank = STRINGS

    def __init__(self, text: str):
        encoded = text.encode()
        escaped = "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\{b:02x}" for b in encoded)
        self.body, self.length = escaped, len(encoded) + 1
        self.address = Value(f'@"text {escaped}"', type_of(Ptr), self)

    def __hash__(self) -> int:
        return hash(self.body)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _String) and self.body == other.body

    def define(self) -> str:
        """The definition."""
        return f'@"text {self.body}" = private constant [{self.length} x i8] c"{self.body}\\00"'
