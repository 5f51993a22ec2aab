"""The builder of IR text: what a program that is written with it computes is what Python computes of it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import pytest
from few_examples import few
from hypothesis import strategies as st

from weft.llvm.assembly import assemble
from weft.llvm.elf import load
from weft.llvm.module import entry, exported, extern, fixed, function, invoke, module, static, variable
from weft.llvm.targets import host_target
from weft.llvm.text import (
    F64,
    FALSE,
    I8,
    I32,
    I64,
    NULL,
    Integers,
    Operand,
    Pointers,
    Ptr,
    Value,
    at,
    at_most,
    atomic_load,
    atomic_store,
    atomic_update,
    below,
    break_,
    byte_offset,
    cast,
    compare_exchange,
    constant,
    continue_,
    counted,
    else_,
    if_,
    is_null,
    local,
    loop,
    return_,
    return_if,
    select,
    stack,
    stack_array,
    structure,
    to_float,
    to_integer,
    to_pointer,
    truncate,
    while_,
    zero_extend,
)

Point = Annotated[Value, structure("Point", x=I64, y=I64)]
SIGN, MASK = 1 << 63, (1 << 64) - 1
WORDS = 8  # of the memory that a program reads and writes; a Point follows
TURNS = 5  # of a while loop, at most


def compiled(root: Any, level: int) -> Callable[..., int]:
    """The function, which takes and returns int64."""
    code = load(assemble(module([root]), host_target(), level=level))
    made = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * len(root.signature[1]))(code.address(root.name))
    return lambda *arguments: made(*arguments)


def signed(number: int) -> int:
    """The int64 of equal bits."""
    return ((number + SIGN) & MASK) - SIGN


# ---------------------------------------------------------------------------------------------------- programs
# An expression or statement is a tuple of its kind and its parts; both meanings are given below.

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
}
COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
UNSIGNED: dict[str, tuple[Callable[..., Value], Callable[[int, int], bool]]] = {
    "below": (below, lambda a, b: a & MASK < b & MASK),
    "at_most": (at_most, lambda a, b: a & MASK <= b & MASK),
}

numbers = st.one_of(st.integers(-3, 9), st.sampled_from([SIGN - 1, -SIGN, 1 << 32, -(1 << 31)]))
names = st.integers(0, 2)
leaves = st.one_of(
    st.tuples(st.just("number"), numbers), st.tuples(st.just("name"), names), st.tuples(st.just("field"), st.booleans())
)
expressions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(list(OPERATORS)), inner, inner),
        st.tuples(st.sampled_from([*COMPARISONS, *UNSIGNED]), inner, inner),
        st.tuples(st.sampled_from(["shifted left", "shifted right"]), inner, st.integers(0, 63)),
        st.tuples(st.just("element"), inner),
        st.tuples(st.just("called"), inner, inner),
        st.tuples(st.just("minus"), st.integers(-5, 5), inner),
    ),
    max_leaves=5,
)
simple = st.one_of(
    st.tuples(st.just("let"), names, expressions),
    st.tuples(st.just("store"), expressions, expressions),
    st.tuples(st.just("set field"), st.booleans(), expressions),
)


def blocks(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Lists of statements; one that is under a condition may end in a way out."""
    body = st.lists(inner, max_size=3)
    out = st.one_of(st.tuples(st.just("return"), expressions), st.just(("break",)), st.just(("continue",)))
    ending = st.builds(lambda statements, last: [*statements, last], body, out)
    return st.one_of(
        st.tuples(st.just("if"), expressions, st.one_of(body, ending), st.none()),
        st.tuples(st.just("if"), expressions, st.one_of(body, ending), body),
        st.tuples(st.just("if"), expressions, body, ending),
        st.tuples(st.just("count"), st.integers(-1, 4), names, body),
        st.tuples(st.just("while"), expressions, body),
        st.tuples(st.just("loop"), expressions, body),
    )


programs = st.lists(st.recursive(simple, lambda inner: st.one_of(inner, blocks(inner)), max_leaves=12), max_size=6)


@function
def mixed(a: I64, b: I64) -> I64:
    """Called by programs."""
    return_if(a < b, a * 3)
    return a - b


class Writing:
    """What a program is as IR."""

    def __init__(self, memory: Value, point: Value):
        self.memory, self.point = memory, point
        self.names = [local(I64, i) for i in range(3)]
        self.loops = 0

    def value(self, expression: Any) -> Value:
        kind, *parts = expression
        if kind == "number":
            return constant(parts[0])
        if kind == "name":
            return self.names[parts[0]].value
        if kind == "field":
            return self.point.x if parts[0] else self.point.y
        if kind == "shifted left":
            return self.value(parts[0]) << parts[1]
        if kind == "shifted right":
            return self.value(parts[0]) >> parts[1]
        if kind == "minus":
            return parts[0] - self.value(parts[1])
        values = [self.value(part) for part in parts]
        if kind == "element":
            return self.memory[values[0] & (WORDS - 1)]
        if kind == "called":
            return mixed(*values)
        if kind in OPERATORS:
            return OPERATORS[kind](*values)
        return zero_extend(COMPARISONS[kind](*values) if kind in COMPARISONS else UNSIGNED[kind][0](*values), I64)

    def run(self, statements: list[Any]) -> None:
        for statement in statements:
            getattr(self, statement[0].replace(" ", "_") + "_")(*statement[1:])

    def let_(self, name: int, expression: Any) -> None:
        self.names[name].value = self.value(expression)

    def store_(self, place: Any, expression: Any) -> None:
        value = self.value(expression)
        self.memory[self.value(place) & (WORDS - 1)] = value

    def set_field_(self, first: bool, expression: Any) -> None:
        setattr(self.point, "x" if first else "y", self.value(expression))

    def if_(self, condition: Any, yes: list[Any], no: list[Any] | None) -> None:
        with if_(self.value(condition) != 0):
            self.run(yes)
        if no is not None:
            with else_():
                self.run(no)

    def inside(self, body: list[Any]) -> None:
        self.loops += 1
        self.run(body)
        self.loops -= 1

    def count_(self, count: int, name: int, body: list[Any]) -> None:
        for i in counted(count):
            self.names[name].value = i
            self.inside(body)

    def while_(self, condition: Any, body: list[Any]) -> None:
        turns = local(I64, 0)
        with while_(lambda: (turns.value < TURNS) & (self.value(condition) != 0)):
            turns.value += 1
            self.inside(body)

    def loop_(self, condition: Any, body: list[Any]) -> None:
        turns = local(I64, 0)
        with loop():
            turns.value += 1
            with if_((turns.value > TURNS) | (self.value(condition) == 0)):
                break_()
            self.inside(body)

    def return_(self, expression: Any) -> None:
        return_(self.value(expression))

    def break_(self) -> None:
        break_() if self.loops else return_(7)

    def continue_(self) -> None:
        continue_() if self.loops else return_(8)


class Way(Exception):
    """Out of a block: return, break or continue."""


class Running:
    """What a program means in Python."""

    def __init__(self, memory: list[int]):
        self.memory, self.names, self.loops = memory, [0, 1, 2], 0

    def value(self, expression: Any) -> int:
        kind, *parts = expression
        if kind == "number":
            return parts[0]
        if kind == "name":
            return self.names[parts[0]]
        if kind == "field":
            return self.memory[WORDS + (not parts[0])]
        if kind == "shifted left":
            return signed(self.value(parts[0]) << parts[1])
        if kind == "shifted right":
            return signed((self.value(parts[0]) & MASK) >> parts[1])
        if kind == "minus":
            return signed(parts[0] - self.value(parts[1]))
        values = [self.value(part) for part in parts]
        if kind == "element":
            return self.memory[values[0] & (WORDS - 1)]
        if kind == "called":
            return signed(values[0] * 3 if values[0] < values[1] else values[0] - values[1])
        if kind in OPERATORS:
            return signed(OPERATORS[kind](*values))
        return int(COMPARISONS[kind](*values) if kind in COMPARISONS else UNSIGNED[kind][1](*values))

    def result(self, statements: list[Any]) -> int:
        try:
            self.run(statements)
        except Way as way:
            return way.args[1]
        return self.names[0]

    def run(self, statements: list[Any]) -> None:
        for kind, *parts in statements:
            if kind == "let":
                self.names[parts[0]] = self.value(parts[1])
            elif kind == "store":
                value = self.value(parts[1])
                self.memory[self.value(parts[0]) & (WORDS - 1)] = value
            elif kind == "set field":
                self.memory[WORDS + (not parts[0])] = self.value(parts[1])
            elif kind == "if":
                self.run(parts[1] if self.value(parts[0]) else parts[2] or [])
            elif kind == "count":
                self.turn(self.counting(*parts[:2]), parts[2])
            elif kind in ("while", "loop"):
                self.turn(self.holding(parts[0]), parts[1])
            else:
                raise self.way(kind, *parts)

    def way(self, kind: str, expression: Any = None) -> Way:
        if kind == "return":
            return Way("return", self.value(expression))
        return Way(kind, None) if self.loops else Way("return", 7 if kind == "break" else 8)

    def counting(self, count: int, name: int) -> Iterator[None]:
        for i in range(count):
            self.names[name] = i
            yield

    def holding(self, condition: Any) -> Iterator[None]:
        for _ in range(TURNS):
            if not self.value(condition):
                return
            yield

    def turn(self, turns: Iterator[None], body: list[Any]) -> None:
        self.loops += 1
        for _ in turns:
            try:
                self.run(body)
            except Way as way:
                if way.args[0] == "return":
                    raise
                if way.args[0] == "break":
                    break
        self.loops -= 1


@few(27, 240, programs, st.lists(numbers, min_size=WORDS + 2, max_size=WORDS + 2))
def test_a_program_computes_what_python_computes(statements: list[Any], content: list[int]) -> None:
    @exported
    def program(memory: Integers, point: Point) -> I64:
        written = Writing(memory, point)
        written.run(statements)
        return written.names[0].value

    expected = list(content)
    result = Running(expected).result(statements)
    for level in (0, 2):
        memory = (ctypes.c_int64 * (WORDS + 2))(*content)
        address = ctypes.addressof(memory)
        assert compiled(program, level)(address, address + 8 * WORDS) == result
        assert list(memory) == expected


# ---------------------------------------------------------------------------------------------------- the rest


def computed(body: Callable[..., Any], *arguments: int) -> int:
    """What a function gives when it is compiled without and with optimisation."""
    results = {compiled(exported(body), level)(*arguments) for level in (0, 2)}
    assert len(results) == 1
    return results.pop()


def test_structures_arrays_and_variables_on_the_stack_and_in_the_module() -> None:
    points = static("points", Point, [(1, 2), (3, 4)])
    table = static("table", I64, [5, 6, 7])
    total = variable("total", I64, 10)

    def body(n: I64) -> I64:
        place, room = stack(Point), stack_array(I64, n)
        place.x = points[1].y
        place.y = points[n - 3].x
        for i in counted(n):
            room[i] = table[i]
        total.value += place.x * 1000 + place.y * 100
        return total.value + room[2] + cast(Integers, points)[3]

    assert computed(body, 3) == 10 + 4000 + 100 + 7 + 4


def test_an_entry_for_c_has_parameters_of_any_name_and_what_nobody_writes_is_constant() -> None:
    table, content = fixed("table", I64, [5, -7, 1 << 40]), fixed("content", I8, b'"\\\xff')

    def body(**parameters: Value) -> Value:
        first, second = parameters.values()
        return truncate(table[first] * second + zero_extend(content[first], I64), I32)

    root = entry(I32, "first", {"body": I64, "for": I64}, body)
    text = module([root])
    assert "define signext i32 @first(i64 %body, i64 %for) nounwind {" in text and " global " not in text
    for level in (0, 2):
        code = load(assemble(text, host_target(), level=level))
        call = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int64, ctypes.c_int64)(code.address("first"))
        assert [call(i, 3) for i in range(3)] == [15 + ord('"'), -21 + ord("\\"), 255]


def test_pointers_are_numbers_and_offsets_are_in_bytes() -> None:
    def body(n: I64) -> I64:
        room = stack_array(I64, 2)
        room[1] = n + 1
        second = cast(Integers, byte_offset(room, 8))
        return select(at(room, 1) == to_pointer(to_integer(second)), second.value, -1)

    assert computed(body, 3) == 4


def test_a_float_is_an_argument_of_a_function() -> None:
    rounded = extern(I64, "llrint", F64)

    def body(n: I64) -> I64:
        return rounded(to_float(n) / 0.5)

    assert computed(body, -21) == -42


def test_atomics() -> None:
    def body(n: I64) -> I64:
        word = local(I64, n)
        before = atomic_update("add", word, 5, "seq_cst")
        swapped = compare_exchange(word, n + 5, 100)
        again = compare_exchange(word, n + 5, 200)
        atomic_store(word, atomic_load(word, "acquire") + 1, "seq_cst")
        return before * 1000 + word.value + zero_extend(swapped, I64) * 10 + zero_extend(again, I64) * 20

    assert computed(body, 2) == 2000 + 101 + 10


def test_texts_functions_and_null_are_operands() -> None:
    length = extern(I64, "strlen", Ptr)
    snprintf = extern(I32, "snprintf", Ptr, I64, Ptr, variadic=True)

    def body(n: I64) -> I64:
        room = stack_array(I64, 8)
        snprintf(room, 64, '%lld "%s" %s', n, "a\\b", "größe"[:2])
        text = select(n == 0, None, cast(Ptr, room))
        return_if(is_null(text), -1)
        return length(room) * 100 + invoke(mixed.address, I64, n, constant(1))

    assert computed(body, 12) == len('12 "a\\b" gr') * 100 + 11
    assert computed(body, 0) == -1


def test_a_module_holds_what_its_roots_use_and_nothing_else() -> None:
    unused = extern(Ptr, "unused", I64)
    later = variable("later", Ptr)
    callbacks = static("callbacks", Ptr, [mixed, None])

    @exported
    def root(n: I64) -> Ptr:
        """What it is for."""
        return cast(Ptr, callbacks)

    text = module([root])
    assert "; What it is for.\ndefine ptr @root(i64 %n)" in text and "define internal i64 @mixed" in text
    assert unused.name not in text and later._text not in text
    assert module([root]) == text


def test_names_say_where_values_come_from() -> None:
    @exported
    def root(point: Point, table: Pointers) -> I64:
        with if_(is_null(table[0])):
            point.x = mixed(point.y, 1)
        return point.x

    text = module([root])
    for line in ("%y = load i64, ptr %y_at", "%mixed = call i64 @mixed(i64 %y, i64 1)", "%Point = type { i64, i64 }"):
        assert line in text


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (lambda p, n: p.z, AttributeError),
        (lambda p, n: n[0], TypeError),
        (lambda p, n: n + 1 if p else n, TypeError),
        (lambda p, n: mixed(n), TypeError),
        (lambda p, n: mixed(p, n), TypeError),
        (lambda p, n: p, TypeError),
        (lambda p, n: (return_(n), n + 1)[1], SyntaxError),
    ],
    ids=["field", "element", "truth", "count", "argument", "result", "dead"],
)
def test_mistakes_are_found_when_the_text_is_made(body: Callable[..., Any], error: type[Exception]) -> None:
    @exported
    def root(p: Point, n: I64) -> I64:
        return body(p, n)

    with pytest.raises(error):
        module([root])


def test_else_follows_its_if() -> None:
    @exported
    def root(n: I64) -> I64:
        with if_(n == 0):
            pass
        total = n + 1
        with else_():
            pass
        return total

    with pytest.raises(SyntaxError, match="follow"):
        module([root])


def test_constants() -> None:
    def body(n: I64) -> I64:
        found: list[Operand] = [None, constant(3), 4]
        return_if(FALSE, found[1])
        return_if(n == 1)
        with if_(is_null(NULL)):
            return_(found[2])
        return constant(0)

    assert computed(body, 1) == 0 and computed(body, 2) == 4


def test_a_local_variable_is_zero_at_first() -> None:
    def body(n: I64) -> I64:
        return n + local(I64).value + zero_extend(is_null(local(Ptr).value), I64)

    assert computed(body, 5) == 6
