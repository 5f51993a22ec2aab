"""Tracebacks end at the user's line: whatever shows them, whoever called whom, and not for weft's own bugs."""

from __future__ import annotations

import inspect
import logging
import os
import pickle
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest
from test_mistakes import CASES, DATA

import weft as wf
from weft import nn, optim
from weft.core import boundary
from weft.core.errors import is_wefts_own
from weft.nn import functional as F
from weft.ops.op import Composite
from weft.transforms.compile import Compiled

X = wf.ones((3, 4))
NET = nn.Sequential(nn.Linear(4, 2))


class Cut(nn.Module):
    """A module of the user's whose forward is wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x: wf.Tensor) -> wf.Tensor:
        return self.fc(x[:, :3])


# What is raised with a builtin type, on purpose, or because the arguments are not those of the function.
OTHERS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: X.sum(foo=2), TypeError, "unexpected keyword argument 'foo'"),
    (lambda: wf.sum(X, foo=2), TypeError, "unexpected keyword argument 'foo'"),
    (lambda: X.transpose(), TypeError, "missing 2 required positional arguments"),
    (lambda: nn.Linear(), TypeError, "missing 2 required positional arguments"),  # type: ignore[call-arg]
    (lambda: NET(), TypeError, "missing 1 required positional argument"),
    (lambda: wf.export(NET, "net.o"), TypeError, "missing 1 required keyword-only argument: 'example'"),  # type: ignore[call-arg]
    (lambda: len(wf.ones(())), TypeError, "of a tensor of rank 0"),
    (lambda: optim.SGD(NET, lr=0.1), TypeError, "params is a module"),  # type: ignore[arg-type]
    (lambda: F.gelu(X, approximate="q"), ValueError, "approximate is 'q'"),
    (lambda: nn.Dropout(2.0), ValueError, "p is 2.0"),
    (lambda: nn.init.calculate_gain("foo"), ValueError, "'foo' is none of"),
    (lambda: NET[5], IndexError, "index 5 is out of range for 1 entries"),
    (lambda: wf.load("/nowhere/net.onnx"), FileNotFoundError, "/nowhere/net.onnx"),
    (lambda: wf.memory.set_limit(-1), ValueError, "must not be negative"),
]  # fmt: skip


def entries(error: BaseException) -> list[tuple[str, str]]:
    return [(Path(entry.filename).name, entry.name) for entry in traceback.extract_tb(error.__traceback__)]


@pytest.mark.parametrize("captured", [False, True], ids=["eager", "captured"])
@pytest.mark.parametrize("case", [*CASES, *DATA, *OTHERS], ids=lambda case: case[2][:40])
def test_no_frame_of_wefts_own_and_nothing_that_it_handled(
    case: tuple[Any, type[Exception], str], captured: bool
) -> None:
    mistake, kind, _ = case
    with pytest.raises(kind) as caught:
        wf.compile(mistake)() if captured else mistake()
    assert [entry for entry in walk(caught.value) if is_wefts_own(entry.tb_frame.f_code)] == []
    assert entries(caught.value)[-1][1] == "<lambda>"
    shown = "".join(traceback.format_exception(caught.value))
    file, line = mistake.__code__.co_filename, mistake.__code__.co_firstlineno
    assert f'File "{file}", line {line}, in <lambda>' in shown
    assert f"\n  at {file}:{line}" in shown
    assert shown.startswith("Traceback (most recent call last)") and "During handling" not in shown


def test_the_users_functions_between_wefts_stay() -> None:
    net = nn.Sequential(Cut())

    def loss(x: wf.Tensor) -> wf.Tensor:
        return net(x).sum()

    for function in (loss, wf.grad(loss), wf.compile(loss), wf.value_and_grad(wf.compile(loss))):
        with pytest.raises(wf.ShapeError, match=r"in module sequential\.0\.fc") as caught:
            function(X)
        names = [name for _, name in entries(caught.value)]
        assert names == ["test_the_users_functions_between_wefts_stay", "loss", "forward"]


def test_an_operator_that_does_not_know_the_other_is_pythons_error() -> None:
    with pytest.raises(TypeError, match="unsupported operand") as caught:
        X + "a"  # type: ignore[operator]
    assert len(entries(caught.value)) == 1


def test_an_error_that_the_user_was_handling_stays_the_context() -> None:
    def retry() -> None:
        try:
            {}["absent"]
        except KeyError:
            X + wf.ones((5,))

    with pytest.raises(wf.ShapeError) as caught:
        retry()
    assert isinstance(caught.value.__context__, KeyError)
    assert caught.value.__context__.args == ("absent",)
    assert "During handling of the above exception" in "".join(traceback.format_exception(caught.value))


def test_a_bug_of_wefts_own_shows_everything() -> None:
    source = compile("def call(*a):\n    return {}['a key that weft expected']", boundary.__file__, "exec")
    names: dict[str, Any] = {}
    exec(source, names)
    with pytest.raises(KeyError) as caught:
        boundary.bounded(names["call"])()
    assert [name for _, name in entries(caught.value)][1:] == ["boundary", "call"]


def test_full_tracebacks_on_request() -> None:
    before = wf.configure(traceback="full")
    try:
        with pytest.raises(wf.ShapeError) as caught:
            X @ X
        assert any(is_wefts_own(entry.tb_frame.f_code) for entry in walk(caught.value))
    finally:
        wf.configure(traceback=before.traceback)
    with pytest.raises(wf.ShapeError) as caught:
        X @ X
    assert not any(is_wefts_own(entry.tb_frame.f_code) for entry in walk(caught.value))


def walk(error: BaseException) -> Iterator[Any]:
    entry = error.__traceback__
    while entry is not None:
        yield entry
        entry = entry.tb_next


# --- who shows them --------------------------------------------------------------------------------------------------

SCRIPT = """
import weft as wf
def step(x):
    return x + wf.ones((5,))
step(wf.ones((3,)))
"""


def run(tmp_path: Path, source: str, *options: str, **environ: str) -> str:
    script = tmp_path / "train.py"
    script.write_text(source)
    done = subprocess.run(
        [sys.executable, *options, str(script)], env={**os.environ, **environ}, capture_output=True, text=True
    )
    return done.stdout + done.stderr


def test_a_script_ends_at_its_own_line(tmp_path: Path) -> None:
    shown = run(tmp_path, SCRIPT)
    assert f"{Path('src') / 'weft'}" not in shown and "During handling" not in shown
    assert [line.strip() for line in shown.splitlines() if "File " in line] == [
        f'File "{tmp_path}/train.py", line 5, in <module>',
        f'File "{tmp_path}/train.py", line 4, in step',
    ]
    assert f"{Path('src') / 'weft'}" in run(tmp_path, SCRIPT, WEFT_TRACEBACK="full")


def test_a_log(caplog: pytest.LogCaptureFixture) -> None:
    try:
        X + wf.ones((5,))
    except ValueError:
        logging.getLogger("train").exception("it went wrong")
    assert "do not broadcast" in caplog.text
    assert "/src/weft/" not in caplog.text and "During handling" not in caplog.text


def test_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    thread = threading.Thread(target=lambda: X @ X)
    thread.start()
    thread.join()
    assert [frame for frame in traceback.extract_tb(seen[0].exc_traceback) if "/src/weft/" in frame.filename] == []


def test_a_warning_is_the_users_line_too() -> None:
    rate = [0]
    step = wf.compile(lambda x: x + float(str(rate[0])))
    for rate[0] in range(8):
        step(X)
    rate[0] = 8
    with pytest.warns(UserWarning, match="captured 9 times") as caught:
        step(X)
    assert [warning.filename for warning in caught] == [__file__]


def test_a_setting_that_is_not_understood(tmp_path: Path) -> None:
    assert "WEFT_TRACEBACK) is 'long'; it must be 'short' or 'full'" in run(tmp_path, SCRIPT, WEFT_TRACEBACK="long")


# --- by construction -------------------------------------------------------------------------------------------------

NAMESPACES: list[ModuleType] = [
    wf,
    F,
    nn,
    nn.init,
    nn.utils,
    optim,
    optim.lr_scheduler,
    wf.random,
    wf.linalg,
    wf.memory,
]
CLASSES = [
    value for module in NAMESPACES for name in module.__all__ if isinstance(value := getattr(module, name), type)
]


def is_boundary(value: Any) -> bool:
    return isinstance(value, Composite) or hasattr(value, "__wrapped__") or "leave" in value.__code__.co_names


@pytest.mark.parametrize("module", NAMESPACES, ids=lambda module: module.__name__)
def test_every_public_function_is_a_boundary(module: ModuleType) -> None:
    functions = {name: getattr(module, name) for name in module.__all__}
    functions = {name: f for name, f in functions.items() if isinstance(f, (FunctionType, Composite))}
    assert [name for name, function in functions.items() if not is_boundary(function)] == []


@pytest.mark.parametrize("cls", dict.fromkeys([*CLASSES, Compiled]), ids=lambda cls: cls.__qualname__)
def test_every_public_method_is_a_boundary(cls: type) -> None:
    if issubclass(cls, BaseException):
        return
    methods = inspect.getmembers(cls, lambda f: isinstance(f, FunctionType) and is_wefts_own(f.__code__))
    missing = [name for name, method in methods if not is_boundary(method)]
    assert [n for n in missing if n not in boundary._UNBOUNDED and (n[:2] == "__" or n[:1] != "_")] == []


def test_wrapped_functions_are_still_what_they_were() -> None:
    for function in (wf.tensor, wf.grad, wf.save, nn.init.zeros_, wf.random.normal, nn.Linear.__init__, wf.Tensor.item):
        assert function.__module__.startswith("weft.")
        assert inspect.signature(function).parameters
    for function in (wf.tensor, wf.grad, nn.init.zeros_, wf.random.normal):
        assert pickle.loads(pickle.dumps(function)) is function
    assert np.asarray(wf.tensor([1.0])).tolist() == [1.0]
