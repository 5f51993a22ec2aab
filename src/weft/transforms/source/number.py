"""Python numbers that hang on values: what ``item()`` gives in captured code, a counter of a loop.

A number is a traced tensor of rank 0 of int64, float64 or bool, computed with as Python computes: true division gives
a float, ``//`` and ``%`` floor, bools add as integers. With tensors it is as weakly typed as any Python number. What
has no op of these bits (``**``, ``round``, shifts, ``math``) Python computes at run time, as a host call. What needs
the value itself (an index of a list, a shape, a hash) is refused.

Integers are of 64 bits. Where numbers from outside are inputs (transforms/numbers.py), what would leave them, or is no
float exactly where Python divides or compares, ends the run, and the call is made again with constants. Most need no
check: each integer has a bound that is known when it is captured.

Other threads may come across a number that lies in a place outside meanwhile. To them it is the Python number itself,
computed for the arguments and the state of now.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from threading import get_ident
from typing import TYPE_CHECKING, Any

from ...core import dtypes as dt
from ...core.dtypes import DType
from ...core.errors import CaptureError, DTypeError
from ...core.shapes import shown
from ...core.symbolic import SymDim
from ...graph.ir import Value
from ...graph.protocol import Host, Primitive, TensorType
from ...ops import elementwise as ew
from ...ops.creation import full
from ...ops.op import apply, state
from ...ops.operands import Late, as_operand
from ...tensor.create import asarray as as_tensor
from ...tensor.tensor import Tensor
from ..evaluated import ForeignValue, computed

DTYPES: dict[type, DType] = {bool: dt.bool_, int: dt.int64, float: dt.float64}
_EXACT = 2**53  # from there on integers and floats differ
ROUNDS = 2**32  # more than any loop goes
_SIZE = 2**48  # more than any size
_WIDE = 2**62  # what any integer is within, but for sums with numbers within ROUNDS, of which no run does enough


class Number(Late):
    """A Python number (``kind``: bool, int or float) that is known when the graph runs: ``tensor``, of rank 0.

    ``most``: what an integer is within. ``home``: the capture that it is of."""

    __slots__ = ("home", "kind", "most")
    if TYPE_CHECKING:  # they are set below

        def __add__(self, other: Any) -> Any: ...
        def __mul__(self, other: Any) -> Any: ...
        def __sub__(self, other: Any) -> Any: ...

    __class__ = property(lambda self: self.kind)  # isinstance(n, float) holds

    def __init__(self, kind: type, tensor: Any, most: int = _WIDE, home: Any = None):
        super().__init__(tensor)
        trace = state.trace
        self.kind, self.most = kind, most
        self.home = trace.capture if home is None and trace is not None and isinstance(tensor, Tensor) else home

    @property
    def is_input(self) -> bool:
        """Whether it may be a constant instead: it hangs on numbers that are inputs."""
        return self.home is not None and bool(self.home.has_numbers)

    @property
    def is_abroad(self) -> bool:
        """Whether another thread than that which captures has come across it, or somebody after the capture.

        Raises:
            ForeignValue: a thread that captures a function itself.
        """
        if self.home is None or (self.home.thread == get_ident() and not self.home.is_over):
            return False
        if self.home.is_over:
            return True
        if state.trace is not None and state.trace.capture is not None:
            raise ForeignValue("a number that is stored by a function which another thread captures has no value yet")
        self.home.was_met = True
        return True

    def plain(self) -> Any:
        """The number itself, for others than the capture.

        Raises:
            CaptureError: it is not known: a body of a branch or loop has made it, say.
        """
        value = self._tensor._storage
        found = self._tensor if not isinstance(value, Value) else computed(self.home, [value]).get(value)
        if found is None:
            raise CaptureError(
                f"{self.kind.__name__}: another thread is capturing a function that stores this number, which has no "
                "value yet"
            )
        return self.kind(found.item())

    @property
    def tensor(self) -> Any:
        """Its value, of rank 0."""
        return as_tensor(self.plain()) if self.is_abroad else self._tensor

    def with_tensor(self, tensor: Any) -> Number:
        """Such a number with another value."""
        return Number(self.kind, tensor)

    def __copy__(self) -> Any:
        return self.plain() if self.is_abroad else self

    def __deepcopy__(self, _: Any) -> Any:
        return self.__copy__()

    def __reduce__(self) -> Any:
        if self.is_abroad:
            return self.kind, (self.plain(),)
        raise needed(self, "pickle")

    def operand(self, dtype: DType) -> Any:
        """It as a tensor of rank 0, rounded as the number would be: by way of what Python and NumPy round to first."""
        if self.is_abroad:
            return as_operand("asarray", self.plain(), dtype)
        tensor = self._tensor
        if dtype.is_floating:
            tensor = ew.cast(tensor, dt.float64)
            tensor = ew.cast(tensor, dt.float32) if dtype is dt.bfloat16 else tensor
        return ew.cast(tensor, dtype)

    def check_fits(self, name: str, dtype: DType) -> None:
        """Raise, at a run, what op ``name`` raises for an integer that its integer dtype does not hold, and for a float
        that is beyond its floating dtype."""
        from .effects import check

        if self.is_abroad:
            as_operand(name, self.plain(), dtype)
            return
        kind = self.kind
        if dtype.is_floating:
            known = ew.logical_not(ew.isfinite(self.operand(dt.float64)))
            fits = ew.logical_or(ew.isfinite(self.operand(dtype)), known)
        elif kind is int:
            low = -(1 << (dtype.bits - 1)) if dtype.is_signed else 0
            fits = ew.greater_equal(self.tensor, low)
            if dtype.bits < 64:
                fits = ew.logical_and(fits, ew.less(self.tensor, low + (1 << dtype.bits)))
        else:
            return

        def error(arrays: Sequence[Any]) -> DTypeError:
            return DTypeError(f"{name}: {shown(kind(arrays[0]))} does not fit in {dtype.name}")

        check(fits, error, [self.tensor])

    def to(self, kind: type) -> Number:
        """It as a number of another kind, as the type itself converts it."""
        if kind is self.kind:
            return self
        if kind is bool:
            return Number(bool, ew.not_equal(self.tensor, 0))
        return Number(kind, ew.cast(self.tensor, DTYPES[kind]), 1 if self.kind is bool else _WIDE)

    def __neg__(self) -> Number:
        n = _counted(self)
        return Number(n.kind, ew.negative(n.tensor), n.most)

    def __pos__(self) -> Number:
        return _counted(self)

    def __abs__(self) -> Number:
        n = _counted(self)
        return Number(n.kind, ew.abs(n.tensor), n.most)

    def __eq__(self, other: object) -> Any:
        return _compared(ew.equal, self, other)

    def __ne__(self, other: object) -> Any:
        return _compared(ew.not_equal, self, other)

    def __lt__(self, other: Any) -> Any:
        return _compared(ew.less, self, other)

    def __le__(self, other: Any) -> Any:
        return _compared(ew.less_equal, self, other)

    def __gt__(self, other: Any) -> Any:
        return _compared(ew.greater, self, other)

    def __ge__(self, other: Any) -> Any:
        return _compared(ew.greater_equal, self, other)

    def __hash__(self) -> int:
        raise needed(self, "a hash (a key of a dict, a member of a set)")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(self.kind, name):
            raise AttributeError(f"{self.kind.__name__!r} object has no attribute {name!r}")
        raise needed(self, f".{name}")

    def __round__(self, digits: Any = None) -> Number:
        if digits is None:
            return by_python(round, int, self)
        return by_python(lambda n: round(n, digits), self.kind if self.kind is float else int, self)

    def __trunc__(self) -> Number:
        return by_python(math.trunc, int, self)

    def __floor__(self) -> Number:
        return by_python(math.floor, int, self)

    def __ceil__(self) -> Number:
        return by_python(math.ceil, int, self)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __invert__(self) -> Number:
        if self.kind is float:
            raise TypeError("bad operand type for unary ~: 'float'")
        return by_python(operator.invert, int, self)

    def __repr__(self) -> str:
        if state.trace is not None and state.trace.capture is not None:
            raise needed(self, "repr()")
        return f"<{self.kind.__name__} that is known at run time>"

    def item(self) -> Number:
        """Itself, as NumPy's numbers say it."""
        return self


def number_of(tensor: Tensor) -> Number:
    """The one element of a tensor as a number: what ``tensor.item()`` is."""
    from ...ops.shape import reshape

    dtype = tensor.dtype
    kind = bool if dtype is dt.bool_ else float if dtype.is_floating else int
    if dtype is dt.uint64:
        raise CaptureError("item() of a uint64 tensor in captured code: Python's integers are int64 there; cast it")
    found = ew.cast(reshape(tensor.detach(), ()), DTYPES[kind])
    if dtype is DTYPES[kind]:
        found = ew.clone(found)  # what is written later is not seen
    return Number(kind, found, _WIDE if dtype is dt.int64 else 2**32)


def as_number(value: Any) -> Number | None:
    """A Python number as one that is known at run time; None for what is none."""
    kind = type(value)
    if kind is Number:
        return value
    if isinstance(value, SymDim):
        from ...core.asked import unasked
        from ...ops.operands import extent

        return Number(int, extent(unasked(value), dt.int64), _SIZE)
    if kind in DTYPES:
        if kind is int and not -(2**63) <= value < 2**63:
            return None
        return Number(kind, full((), value, dtype=DTYPES[kind]), abs(value) if kind is int else _WIDE)
    return None


def _operand(n: Number, other: Any) -> Number | None:
    """What a number is computed with; None for what is none.

    Raises:
        CaptureError: it is an integer that 64 bits do not hold.
    """
    if type(other) is int and not -(2**63) <= other < 2**63:
        raise needed(n, "an operation with an integer beyond 64 bits")
    return as_number(other)


def _are_inputs() -> bool:
    """Whether the function's numbers are inputs of what is captured, and may be constants instead."""
    return state.trace is not None and state.trace.capture is not None and state.trace.capture.has_numbers


def _too_wide(_: Any = ()) -> Exception:
    from ..entry import OfNumbers

    return OfNumbers("an integer is beyond what a graph computes with")


def _check(condition: Any) -> None:
    """The call is made again with constants where the condition is false."""
    from .effects import check

    if state.trace is not None and state.trace.capture.has_printed:  # which it would do twice
        raise CaptureError("an integer that may be beyond what a graph computes with, after a print")
    check(condition, _too_wide)


def _within(most: int, value: Callable[[], Any]) -> int:
    """What a result is within that is within ``most``, where a run goes on with it; ``value``: the result, as a float
    that no integer is too large for."""
    if most <= _WIDE + ROUNDS:
        return most
    if _are_inputs():
        _check(ew.less_equal(ew.abs(value()), float(_WIDE)))
    return _WIDE


def _check_exact(n: Number, given: Any) -> None:
    """An integer has to be a float exactly, where Python computes with all of it; ``given``: what it was made of."""
    if n.kind is not int or n.most <= _EXACT or not _are_inputs():
        return
    if type(given) is not int:
        _check(ew.less_equal(ew.abs(n.tensor), _EXACT))
    elif int(float(given)) != given:
        raise needed(n, "an operation with a float, or a division, of an integer that is no float")


def _type(params: dict[str, Any], *operands: TensorType) -> TensorType:
    return TensorType(params["dtype"], ())


def _run(params: dict[str, Any], operands: Sequence[Any], results: Sequence[Any]) -> None:
    results[0][...] = params["function"](*[kind(o.item()) for kind, o in zip(params["kinds"], operands, strict=True)])


PYTHON = Primitive("python", _type, Host(_run), lambda params, inputs, output, cotangent: (None,) * len(inputs))


def by_python(function: Callable[..., Any], kind: type, *numbers: Number) -> Number:
    """What a function of Python's computes of numbers, at run time: a number of a ``kind``. An error ends the run."""
    kinds = tuple([n.kind for n in numbers])
    if kind is int and _are_inputs():
        function = functools.partial(_bounded, function)
    operands = [n.tensor for n in numbers]
    return Number(kind, apply(PYTHON, *operands, function=function, kinds=kinds, dtype=DTYPES[kind]))


def _bounded(function: Callable[..., Any], *numbers: Any) -> Any:
    found = function(*numbers)
    if not -_WIDE <= found <= _WIDE:
        raise _too_wide()
    return found


def _power(base: Any, exponent: Any) -> Any:
    """``base ** exponent``, of which one is a number of run time."""
    a, b = as_number(base), as_number(exponent)
    if a is None or b is None:
        return NotImplemented
    if float in (a.kind, b.kind):
        return by_python(functools.partial(_real_power, _are_inputs()), float, a, b)
    if type(exponent) is Number:
        raise CaptureError(
            "an integer to the power of an integer that is known at run time alone: its sign decides whether that is a "
            "float; make one of them a float, or a tensor"
        )
    return by_python(operator.pow, float if exponent < 0 else int, a, b)


def _real_power(are_inputs: bool, a: Any, b: Any) -> float:
    found = a**b
    if isinstance(found, complex):
        if are_inputs:
            raise _too_wide()
        raise ValueError(f"{a} ** {b} is complex, which captured code has no numbers for")
    return found


def _shift(function: Callable[..., Any], a: Any, b: Any) -> Any:
    left, right = as_number(a), as_number(b)
    if left is None or right is None or float in (left.kind, right.kind):
        return NotImplemented
    return by_python(function, int, left, right)


def _counted(n: Number) -> Number:
    """A bool as the integer that it is."""
    return n.to(int) if n.kind is bool else n


def _compared(function: Callable[..., Any], left: Number, right: Any) -> Any:
    if isinstance(right, Tensor):
        return NotImplemented
    other = _operand(left, right)
    if other is None:
        return NotImplemented
    kind = float if float in (left.kind, other.kind) else int
    if kind is float:
        _check_exact(left, left)
        _check_exact(other, right)
    return Number(bool, function(left.to(kind).tensor, other.to(kind).tensor))


def needed(n: Any, what: str) -> CaptureError:
    """The error of who needs the value of a number."""
    error = CaptureError(
        f"{what} needs the value of a Python number that captured code computes at run time ({n.kind.__name__} from "
        "item() or a loop over values); keep it a tensor, compute the number outside, or leave the function uncompiled"
    )
    if state.trace is not None and state.trace.capture is not None:
        state.trace.capture.needed = error
    return error


def _refusing(name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any) -> Any:
        raise needed(self, name)

    return method


_WHOLE: dict[str, Callable[..., Any]] = {"add": ew.add, "sub": ew.subtract, "mul": ew.multiply}
_DIVIDING: dict[str, Callable[..., Any]] = {
    "truediv": ew.divide,
    "floordiv": ew.floor_divide,
    "mod": ew.remainder,
}
_BITS: dict[str, Callable[..., Any]] = {
    "and": ew.bitwise_and,
    "or": ew.bitwise_or,
    "xor": ew.bitwise_xor,
}


def _most_of_bits(a: int, b: int) -> int:
    return 1 << max(a, b).bit_length()


_MOST: dict[str, Callable[[int, int], int]] = {
    "add": operator.add,
    "sub": operator.add,
    "mul": operator.mul,
    "floordiv": lambda a, b: a,
    "mod": lambda a, b: b,
    "and": _most_of_bits,
    "or": _most_of_bits,
    "xor": _most_of_bits,
}


def _operator(name: str, function: Callable[..., Any], reflected: bool) -> Callable[[Number, Any], Any]:
    def method(self: Number, other: Any) -> Any:
        if isinstance(other, Tensor):
            return NotImplemented
        right = _operand(self, other)
        if right is None:
            return NotImplemented
        a, b = (right, self) if reflected else (self, right)
        if name in _BITS:
            if float in (a.kind, b.kind):
                return NotImplemented
            if a.kind is b.kind is bool:
                return Number(bool, function(a.tensor, b.tensor))
            kind: type = int
        else:
            kind = float if float in (a.kind, b.kind) or name == "truediv" else int
        if name in _DIVIDING:
            from .effects import check_divisor

            check_divisor(b, kind is float)
        if name == "truediv" and float not in (a.kind, b.kind):
            _check_exact(self, self)
            _check_exact(right, other)
        a, b = a.to(kind), b.to(kind)
        made = function(a.tensor, b.tensor)
        if kind is not int:
            return Number(kind, made)
        most = _MOST[name](a.most, b.most)
        if name in _WHOLE:
            return Number(int, made, _within(most, lambda: function(a.to(float).tensor, b.to(float).tensor)))
        return Number(int, made, _within(most, lambda: ew.cast(made, dt.float64)))

    return method


for _table in (_WHOLE, _DIVIDING, _BITS):
    for _name, _function in _table.items():
        setattr(Number, f"__{_name}__", _operator(_name, _function, False))
        setattr(Number, f"__r{_name}__", _operator(_name, _function, True))
for _name in ("bool", "int", "float", "index", "complex", "format", "str"):
    setattr(Number, f"__{_name}__", _refusing({"index": "an index or a size"}.get(_name, _name)))
_REST: dict[str, Callable[[Any, Any], Any]] = {
    "pow": _power,
    "lshift": functools.partial(_shift, operator.lshift),
    "rshift": functools.partial(_shift, operator.rshift),
}
for _name, _function in _REST.items():
    setattr(Number, f"__{_name}__", lambda self, other, function=_function: function(self, other))
    setattr(Number, f"__r{_name}__", lambda self, other, function=_function: function(other, self))


def _of_python(number: Any, name: str, args: tuple[Any, ...]) -> Any:
    """What a method of a Python number gives."""
    if name == "__getattr__":
        return getattr(number, *args)
    if name == "__complex__":
        return complex(number)
    if name == "__index__":
        return operator.index(number)  # of a float it raises
    return getattr(number, name)(*args)


def _as_pythons(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A method of numbers, which to another thread than their capture's are those of Python."""

    def method(self: Number, *args: Any) -> Any:
        if self.is_abroad:
            return _of_python(self.plain(), name, args)
        return function(self, *args)

    return method


_OF_NUMBERS = {"__init__", "__slots__", "__module__", "__doc__", "__class__", "__copy__", "__deepcopy__", "__reduce__"}
for _name, _function in list(vars(Number).items()):
    if _name.startswith("__") and _name not in _OF_NUMBERS and callable(_function):
        setattr(Number, _name, functools.wraps(_function)(_as_pythons(_name, _function)))
