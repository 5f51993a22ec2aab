"""What captured code does to the world at run time: it prints, and raises under conditions on values.

Each is a node that Python computes (a host call) over a token, a tensor outside that stands for the world: it reads the
token and writes it, as a draw of random numbers does with the generator's state. So effects stay in their order, are
never dropped or done twice, and are carried through branches and loops like any state. A run that raises has written
nothing.
"""

from __future__ import annotations

import copy
import itertools
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ...core import dtypes as dt
from ...core.errors import CaptureError, WeftError
from ...graph.protocol import Host, Primitive, TensorType
from ...ops import elementwise as ew
from ...ops.op import apply, state
from ...tensor import tape
from ...tensor.create import asarray
from ...tensor.tensor import Tensor
from .number import Number

_numbers = itertools.count()
CONVERSIONS: dict[int, Callable[[Any], str]] = {ord("r"): repr, ord("s"): str, ord("a"): ascii}  # of f-strings
_world: list[Tensor] = []


def _type(params: dict[str, Any], token: TensorType, *operands: TensorType) -> TensorType:
    return token


def _run_check(params: dict[str, Any], operands: Sequence[Any], results: Sequence[Any]) -> None:
    results[0][...] = operands[0]
    if not operands[1]:
        raise params["error"](operands[2:])


def _run_print(params: dict[str, Any], operands: Sequence[Any], results: Sequence[Any]) -> None:
    results[0][...] = operands[0]
    params["write"](operands[1:])


def _no_gradient(params: dict[str, Any], inputs: Any, output: Any, cotangent: Any) -> Any:
    return [None] * len(inputs)


CHECK = Primitive("check", _type, Host(_run_check), _no_gradient)
PRINT = Primitive("print", _type, Host(_run_print), _no_gradient)


def _token() -> Tensor:
    """The tensor that stands for the world."""
    if not _world:
        trace, state.trace = state.trace, None
        try:
            _world.append(asarray(0, dtype=dt.uint8))
        finally:
            state.trace = trace
    return _world[0]


def _do(op: Primitive, operands: Sequence[Tensor], **params: Any) -> None:
    """Append an effect to the graph.

    Raises:
        CaptureError: inside of an op.
    """
    if state.trace is None or state.trace.capture is None:
        raise CaptureError("a number that is known at run time alone decides inside of an op; make it a tensor")
    token = _token()
    state.trace.capture.world = state.trace.capture.inside(token)
    with tape.no_grad():
        token.copy_(apply(op, token, *operands, number=next(_numbers), **params))


def check(condition: Tensor, error: Callable[..., Exception], operands: Sequence[Tensor] = ()) -> None:
    """Raise ``error(arrays of the operands)`` at a run in which the condition, a bool of rank 0, is false.

    Raises:
        CaptureError: inside of ``try``, whose handlers have run by then.
    """
    if state.trace is not None and state.trace.capture is not None and state.trace.capture.trying:
        raise CaptureError(
            "an error that hangs on a value (raise or assert under a condition, a division by a number) inside of try "
            "with handlers: captured code raises it when it runs, and nobody would catch it; let the value decide "
            "about what is returned (wf.where), or leave the function uncompiled"
        )
    _do(CHECK, [condition, *[t.detach() for t in operands]], error=error)


def check_divisor(n: Number, is_float: bool) -> None:
    """Raise ZeroDivisionError at a run in which a divisor is 0."""
    text = "float division by zero" if is_float else "integer division or modulo by zero"
    check(ew.not_equal(n.tensor, 0), lambda _: ZeroDivisionError(text))


def raising(condition: Tensor, error: Exception) -> None:
    """Raise a copy of ``error``, which may hold texts of values, at a run in which the condition is false."""
    texts = [a for a in error.args if isinstance(a, Text)]
    tensors = [t for text in texts for t in text.tensors]
    counts = [len(text.tensors) for text in texts]
    error = copy.copy(error)
    error.args = tuple([a.template() if isinstance(a, Text) else a for a in error.args])

    def made(arrays: Sequence[Any]) -> Exception:
        values, numbers, args = iter(arrays), iter(counts), []
        for a in error.args:
            args.append(a.text([next(values) for _ in range(next(numbers))]) if isinstance(a, Text) else a)
        again = copy.copy(error)
        again.args = tuple(args)
        if isinstance(again, WeftError):
            again.message = args[0]
        return again.with_traceback(None)

    check(condition, made, tensors)


class Text:
    """A string with the texts of values, which are known at run time: ``f"{loss:.3f}"``."""

    __slots__ = ("parts",)

    def __init__(self, parts: Sequence[Any]):
        self.parts = list(parts)  # strings, and Shown

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors whose values are shown."""
        return [p.tensor for p in self.parts if isinstance(p, Shown)]

    def template(self) -> Text:
        """It without the tensors, which are what a node takes."""
        return Text([p if isinstance(p, str) else p.template() for p in self.parts])

    def text(self, arrays: Sequence[Any]) -> str:
        """It with these values."""
        values = iter(arrays)
        return "".join(p if isinstance(p, str) else p.text(next(values)) for p in self.parts)

    def __add__(self, other: Any) -> Any:
        more = _parts(other)
        return NotImplemented if more is None else Text([*self.parts, *more])

    def __radd__(self, other: Any) -> Any:
        more = _parts(other)
        return NotImplemented if more is None else Text([*more, *self.parts])

    def _refused(self, *args: Any) -> Any:
        raise CaptureError(
            "a string with the value of a tensor is known when captured code runs: it can be printed, or be the "
            "message of an error or an assert; nothing else"
        )

    __float__ = __int__ = __index__ = _refused

    __str__ = __format__ = __len__ = __iter__ = __getitem__ = __contains__ = __hash__ = __eq__ = __bool__ = _refused

    def __repr__(self) -> str:
        return "<text that is known at run time>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._refused()


class Shown:
    """A value as it is shown in a text: as ``format(value, spec)`` has it, after ``!r`` or ``!s``."""

    __slots__ = ("conversion", "kind", "spec", "tensor")

    def __init__(self, value: Tensor | Number, conversion: int = -1, spec: str = ""):
        self.tensor: Tensor = value.tensor if isinstance(value, Number) else value.detach()
        self.kind = value.kind if type(value) is Number else None
        self.conversion, self.spec = conversion, spec

    def template(self) -> Shown:
        """It without the tensor."""
        made = copy.copy(self)
        del made.tensor
        return made

    def text(self, array: Any) -> str:
        """It with this value."""
        value: Any = self.kind(array.item()) if self.kind is not None else asarray(array, copy=True)
        if self.conversion != -1:
            value = CONVERSIONS[self.conversion](value)
        return format(value, self.spec)


def _parts(value: Any) -> list[Any] | None:
    return value.parts if isinstance(value, Text) else [value] if isinstance(value, str) else None


def text_of(value: Any) -> list[Any]:
    """The parts of what ``str(value)`` is, of values in lists, tuples and dicts too."""
    kind = type(value)
    if kind is Text:
        return list(value.parts)
    if isinstance(value, Tensor) or kind is Number:
        return [Shown(value, ord("s"))]
    if kind in (list, tuple) and holds_values(value):
        first, last = "[]" if kind is list else "()"
        parts: list[Any] = [first]
        for n, item in enumerate(value):
            parts += [", "] * (n > 0) + _repr_of(item)
        return [*parts, ",)" if kind is tuple and len(value) == 1 else last]
    if kind is dict and holds_values(list(value.values())):
        parts = ["{"]
        for n, (key, item) in enumerate(value.items()):
            parts += [", "] * (n > 0) + [repr(key), ": "] + _repr_of(item)
        return [*parts, "}"]
    return [str(value)]


def _repr_of(value: Any) -> list[Any]:
    if isinstance(value, Tensor) or type(value) is Number:
        return [Shown(value, ord("r"))]
    return text_of(value) if holds_values(value) else [repr(value)]


def holds_values(value: Any) -> bool:
    if type(value) in (list, tuple):
        return any(map(holds_values, value))
    if type(value) is dict:
        return any(map(holds_values, value.values()))
    return isinstance(value, (Tensor, Text)) or type(value) is Number


def print_(*values: Any, sep: Any = " ", end: Any = "\n", file: Any = None, flush: Any = False) -> None:
    """``print``, at each run."""
    parts: list[Any] = []
    for n, value in enumerate(values):
        parts += [" " if sep is None else sep] * (n > 0) + text_of(value)
    whole = Text([*parts, "\n" if end is None else end])
    text = whole.template()

    def write(arrays: Sequence[Any]) -> None:
        out = sys.stdout if file is None else file
        if out is not None:
            out.write(text.text(arrays))
            if flush:
                out.flush()

    _do(PRINT, whole.tensors, write=write)
    if state.trace is not None:
        state.trace.capture.has_printed = True
