"""Random sequences of calls of one compiled function leave what a plain function leaves, whatever shares memory."""

from __future__ import annotations

import pytest
from fuzz_call_sequences import Program, beginning, draw_program, failure, is_call, report, run_step, shrunk, text_of

# Programs of one test, and the tests by default and by `make test-long`.
CHUNK = 20
DEFAULT = 3
LONG = 1500


def check(chunk: int) -> None:
    for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        program = draw_program(seed)
        if failure(program):
            pytest.fail(report(program, seed))


@pytest.mark.parametrize("chunk", range(DEFAULT))
def test_calls_of_one_compiled_function_leave_what_plain_calls_leave(chunk: int) -> None:
    check(chunk)


@pytest.mark.long
@pytest.mark.parametrize("chunk", range(DEFAULT, LONG))
def test_more_calls(chunk: int) -> None:
    check(chunk)


# --- the tools themselves -----------------------------------------------------------------------------------------


def test_a_seed_names_a_program_that_calls_its_function_twice() -> None:
    for seed in range(20):
        program = draw_program(seed)
        assert program == draw_program(seed)
        assert sum(map(is_call, program.after)) > 1
        compile(text_of(program), "<text>", "exec")


def test_a_program_shrinks_to_the_lines_that_fail() -> None:
    program = Program(
        ("x = new(1.0)", "v = x[0:3]", "c = x[3:6]"),
        ("a0",),
        ("a0.add_(1.0)", "c.add_(a0)"),
        ("a0", "c"),
        ("r0, r1, = f(v)",),
    )

    def fails(candidate: Program) -> str:
        return "value of c" if "c.add_(a0)" in candidate.body and candidate.after else ""

    assert shrunk(program, fails) == Program((), ("a0",), ("c.add_(a0)",), ("a0",), ("r0, r1, = f(v)",))


# What a compiled function does wrong, as a line that it alone has.
DIFFERENT = {
    "a0.add_(1.0)": "value of x",
    "h.a = a0": "names",
    "v.mul_(w)": "value of x",
    "a0 = a0.clone()": "identity",
    "a0 = a0[:]": "identity",
    "a0 = a0 * w / w": "identity",
    "p.grad = a0": "names",
    "p.requires_grad_(False)": "flags of p",
    "None.x": "raised AttributeError for nothing",
}


@pytest.mark.parametrize("line", DIFFERENT)
def test_what_differs_is_found(line: str) -> None:
    """The comparison sees values, shared memory, objects, histories and errors that are not alike."""
    program = Program(
        ("x = new(1.0)", "v = x[0:3]", "with_weft = compiled is wf.compile; compiled = lambda function: function"),
        ("a0",),
        (f"if with_weft:\n    {line}",),
        ("a0",),
        ("r0, = f(v)",),
    )
    assert failure(program).partition(":")[0] == DIFFERENT[line]


def test_a_compiled_call_that_raises_must_have_changed_nothing() -> None:
    program = Program(
        ("x = new(1.0)", "compiled = lambda function: function"),
        ("a0",),
        ("a0.add_(1.0)", "None.x"),
        ("a0",),
        ("r0, = f(x)",),
    )
    assert failure(program).startswith("half: `r0, = f(x)` raised and changed ['value of x'")
    assert run_step("r0, = f(x)", beginning(True)) is not None
