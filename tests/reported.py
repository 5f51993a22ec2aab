"""Programs after what users of other frameworks report, run eagerly and compiled: the same results and the same state.

A program is a function of ``compiled`` (which is nothing, or ``wf.compile``) that builds its own state, makes several
calls and returns all that a user can see: results, gradients, Python state. :class:`Reports` collects the programs of
a file, each with the reports that it is after; :func:`check` runs one. Two tables in a file say what is not so yet:

- ``NOT_YET``: what Weft refuses, by the line at which it does (the text of the line), or how often it captures (a
  number) where once or twice would do. A test turns red when that changes, and the entry goes.
- ``KNOWN_WRONG``: what differs without a word, each a finding (xfail, strict).
"""

from __future__ import annotations

import inspect
import linecache
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest

import weft as wf
from weft.transforms import compile as compiling

Program = Callable[[Callable[[Any], Any]], Any]


class Report(NamedTuple):
    """``captures``: how many a user would expect at most; None where that is not the point."""

    program: Program
    sources: tuple[str, ...]
    captures: int | None


class Case(NamedTuple):
    """``today``: the entry of ``NOT_YET``."""

    report: Report
    today: str | int | None


class Reports:
    """The programs of a file."""

    def __init__(self) -> None:
        self.found: dict[str, Report] = {}

    def __call__(self, *sources: str, captures: int | None = None) -> Callable[[Program], Program]:
        """Decorator: the program is after these reports, ``repository#number``."""
        assert sources and all("/" in source and "#" in source for source in sources)

        def add(program: Program) -> Program:
            assert program.__name__ not in self.found and program.__doc__
            self.found[program.__name__] = Report(program, sources, captures)
            return program

        return add

    def cases(self, not_yet: Mapping[str, str | int], known_wrong: Mapping[str, str]) -> list[Any]:
        """What a test is parametrised with."""
        unknown = {*not_yet, *known_wrong} - {*self.found}
        assert not unknown, unknown
        return [
            pytest.param(
                Case(report, not_yet.get(name)),
                id=f"{name} {' '.join(report.sources)}",
                marks=[pytest.mark.xfail(reason=known_wrong[name], strict=True)] if name in known_wrong else [],
            )
            for name, report in self.found.items()
        ]


def bits(value: Any) -> Any:
    """What can be seen of a value, to the bit, so that it can be compared."""
    if isinstance(value, wf.Tensor):
        return ("tensor", str(value.dtype), tuple(value.shape), value.requires_grad, value.detach().numpy().tobytes())
    if isinstance(value, np.ndarray):
        return ("array", str(value.dtype), value.shape, value.tobytes())
    if isinstance(value, dict):
        return ("dict", [(bits(key), bits(each)) for key, each in value.items()])
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, [bits(each) for each in value])
    if isinstance(value, (float, np.generic)):
        return (type(value).__name__, repr(value))
    return (type(value).__name__, value if value is None or isinstance(value, (bool, int, str)) else "an object")


def raised(call: Callable[..., Any], *args: Any) -> Any:
    """What a call returns, or the error that it raises."""
    try:
        return call(*args)
    except wf.CaptureError:
        raise
    except Exception as error:
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"  # pytest adds to what assert says


def data(*shape: int, seed: int = 0) -> wf.Tensor:
    """A tensor of random float32 numbers, the same each time."""
    return wf.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32))


@contextmanager
def counted() -> Iterator[list[None]]:
    """An item for each call that captures meanwhile."""
    found: list[None] = []
    plain = compiling.capturing

    def capturing() -> Any:  # not ``capture``, whose caller is the user's line of some errors
        found.append(None)
        return plain()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiling, "capturing", capturing)
        yield found


def observed(program: Program, compiled: Callable[[Any], Any]) -> Any:
    """All that can be seen of a run of the program."""
    wf.manual_seed(7)
    return bits(program(compiled))


def check(case: Case) -> None:
    """The compiled program does what the eager one does, or what ``NOT_YET`` says."""
    report, today = case
    expected = observed(report.program, lambda function: function)
    refusal, found = None, None
    with counted() as captures, warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* has been captured")  # how often is counted here
        try:
            found = observed(report.program, wf.compile)
        except wf.CaptureError as error:
            if not isinstance(today, str):
                raise
            refusal = error.where
    if isinstance(today, str):
        assert refusal is not None, "this works now, or does not say where it is refused"
        assert refusal[0] == inspect.getfile(report.program) and linecache.getline(*refusal).strip() == today
        return
    assert found == expected
    if report.captures is None:
        assert today is None
    elif today is None:
        assert len(captures) <= report.captures
    else:
        assert len(captures) == today > report.captures, "NOT_YET says another number"
