"""Errors: each is weft's own and Python's own, and says where the user stands."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest

from weft.core import errors
from weft.core.errors import StateError, WeftError, user_line

PACKAGE = Path(errors.__file__).resolve().parents[1]
# What PyTorch, NumPy and Python raise in the same places.
KINDS = {
    errors.ShapeError: (ValueError, RuntimeError),
    errors.DTypeError: (TypeError, RuntimeError),
    errors.ArgumentError: (ValueError, TypeError, RuntimeError),
    errors.AxisError: (IndexError, ValueError, RuntimeError),
    errors.IndexError_: (IndexError, RuntimeError),
    errors.DeviceError: (RuntimeError,),
    errors.OutOfMemoryError: (MemoryError, RuntimeError),
    errors.AutogradError: (RuntimeError,),
    errors.LinAlgError: (ValueError, RuntimeError),
    errors.CaptureError: (RuntimeError,),
    errors.CheckError: (AssertionError,),
    errors.CompileError: (RuntimeError,),
    errors.MemoryAccessError: (RuntimeError,),
    errors.FormatError: (ValueError, RuntimeError),
    errors.StateError: (KeyError, ValueError, RuntimeError),
}


def line_here() -> int:
    return sys._getframe(1).f_lineno


def test_the_table_above_is_complete() -> None:
    assert set(KINDS) == {kind for kind in WeftError.__subclasses__() if kind.__module__ == errors.__name__}


@pytest.mark.parametrize(("kind", "builtin"), [(kind, each) for kind, several in KINDS.items() for each in several])
def test_an_error_is_also_the_builtin_one(kind: type[WeftError], builtin: type[Exception]) -> None:
    with pytest.raises(builtin, match="what went wrong") as caught:
        raise kind("what went wrong")
    assert isinstance(caught.value, WeftError)
    assert caught.value.message == "what went wrong"


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_names_the_users_line(kind: type[WeftError]) -> None:
    error, line = kind("matmul: 2 and 3 differ"), line_here()
    assert str(error) == f"matmul: 2 and 3 differ\n  at {__file__}:{line}"


def test_the_text_names_the_module_path() -> None:
    error = errors.ShapeError("linear: 2 and 3 differ")
    error.module_path = "net.encoder.2.fc"
    assert str(error).splitlines()[1] == "  in module net.encoder.2.fc"


def test_a_state_error_is_not_quoted_as_key_errors_are() -> None:
    assert str(StateError("missing key: a")).startswith("missing key: a\n")


def run_as(filename: str, source: str) -> object:
    names: dict[str, object] = {"user_line": user_line, "errors": errors}
    exec(compile(source, filename, "exec"), names)
    return names["result"]


def test_the_users_line_skips_wefts_own_frames() -> None:
    inside = str(PACKAGE / "ops" / "imagined.py")
    call = run_as(inside, "def call():\n    return user_line()\nresult = call")
    assert callable(call)
    found, line = call(), line_here()
    assert found == (__file__, line)


def test_a_folder_whose_name_merely_begins_like_the_packages_is_the_users() -> None:
    near = str(PACKAGE) + "_user/train.py"
    assert run_as(near, "\n\nresult = user_line()") == (near, 3)


def test_an_error_raised_below_the_whole_stack_has_no_line() -> None:
    assert user_line(10_000) is None


def test_an_error_survives_pickling() -> None:
    error = errors.ShapeError("a message")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is errors.ShapeError
    assert str(again) == str(error)
