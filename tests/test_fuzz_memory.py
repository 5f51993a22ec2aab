"""Random programs of views, in-place forms, autograd and functions: every name shows what PyTorch's shows."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
from fuzz_memory import draw_program
from fuzz_memory_play import FORMS, Program, failure, report, shrunk, text_of

# Programs of one test, and the tests of each mode: by default, and by `make test-long`.
CHUNK = 25
DEFAULT = {"eager": 10, "compiled": 2, "grad": 1, "grad of compiled": 1, "compiled grad": 1, "second grad": 1}
LONG = {"eager": 2800, "compiled": 600, "grad": 150, "grad of compiled": 150, "compiled grad": 150, "second grad": 150}


def check(mode: str, chunk: int) -> None:
    for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        program = draw_program(seed, mode)
        if failure(program):
            pytest.fail(report(program, seed))


@pytest.mark.parametrize(("mode", "chunk"), [(mode, i) for mode, n in DEFAULT.items() for i in range(n)])
def test_random_programs_leave_what_pytorch_leaves(mode: str, chunk: int) -> None:
    check(mode, chunk)


@pytest.mark.long
@pytest.mark.parametrize(
    ("mode", "chunk"), [(mode, i) for mode, n in LONG.items() for i in range(DEFAULT[mode], DEFAULT[mode] + n)]
)
def test_more_random_programs(mode: str, chunk: int) -> None:
    check(mode, chunk)


def test_the_modes_are_all_drawn() -> None:
    assert list(DEFAULT) == list(LONG) == list(FORMS)
    assert sum(LONG.values()) * CHUNK == 100_000


# --- the tools themselves -----------------------------------------------------------------------------------------


def test_a_seed_names_a_program() -> None:
    for mode in FORMS:
        assert draw_program(7, mode) == draw_program(7, mode)
        compile(text_of(draw_program(7, mode)), "<text>", "exec")


def test_a_program_shrinks_to_the_lines_that_fail() -> None:
    program = Program("eager", ("v0 = new((2,), 'float32', 1)", "v1 = v0 * 2", "v0.add_(1.0)", "v1 += v0", "del v0"))

    def fails(candidate: Program) -> str:
        lines = candidate.steps()
        return "value of v0" if lines and lines[0].startswith("v0 =") and "v0.add_(1.0)" in lines else ""

    assert shrunk(program, fails).steps() == ["v0 = new((2,), 'float32', 1)", "v0.add_(1.0)"]


ONLY = "if m.__name__ == 'weft': "  # of one library
DIFFERENT = {
    ("v1 = v0 + 1",): "names",
    ("v0 = v0 + 1",): "value",
    ("v0 = v0.reshape(3, 2)",): "value",
    ("v0 = v0.to(m.float32)",): "value",
    ("v0 = v0.clone()",): "",
    ("v0.requires_grad_()",): "flags",
    ("v0[9]",): "raised",
    ("v1 = v0[0]", "v1 = v1.clone()"): "shares",
    ("v1 = v0", "v1 = v0[...]"): "identity",
    ("v0.requires_grad_(); v1 = v0 * 2", "v1 = v0 * 2 + v0 * 0"): "",
    ("v0.requires_grad_(); v1 = v0 * v0", "v1 = v0 * v0.detach()"): "grad",
    ("v0.requires_grad_(); v0.sum().backward()", "v0.grad = None"): "grad",
}


@pytest.mark.parametrize("lines", DIFFERENT, ids=DIFFERENT.values())
def test_what_differs_is_found(lines: tuple[str, ...]) -> None:
    """The comparison sees values, shapes, dtypes, shared memory, histories, gradients and errors that are not alike:
    what the last line does is done by weft alone."""
    program = Program("eager", ("v0 = new((2, 3), 'float64', 3)", *lines[:-1], ONLY + lines[-1]))
    assert failure(program).replace(":", " ").partition(" ")[0] == DIFFERENT[lines]
