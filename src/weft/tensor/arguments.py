"""Arguments: what a public function's signature says of them holds before its body runs.

The annotation of a parameter is its contract, and :data:`CONTRACTS` is the table of the annotations that there are.
A call is checked when no plan is known for it, so once for each signature: what cannot be meant is an error that names
the function and the argument, and what can be meant becomes what the body expects. An eager call may give a tensor of
rank 0 (an integer one also of rank 1) where a number (a shape, axes) is expected, as in PyTorch and NumPy.
"""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, NamedTuple, TypeVar

from ..core.errors import ArgumentError, AxisError, CaptureError, DTypeError, ShapeError, WeftError
from ..core.shapes import MAX_BITS, shown
from ..core.symbolic import SymDim
from ..ops.op import Composite, state
from ..ops.operands import Late
from .create import asarray, is_array, is_scalar, python_number
from .tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])


class Contract(NamedTuple):
    """What a parameter takes: ``convert(function's name, parameter's name, value)`` returns what the body gets."""

    convert: Callable[[str, str, Any], Any]
    optional: bool = False  # None is fine
    tensor: bool = False  # a number is no such thing, unless all there is are numbers


def checked(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The arguments that a call of a Composite, or of another public function, means, as ``(args, kwargs)``; None:
    those that were given.

    Raises:
        ArgumentError: there are too many or too few, or one is unknown; the message says what there is.
        DTypeError, ShapeError, AxisError: an argument is not what the parameter takes.
        CaptureError: the value of a tensor is asked for while a function is captured.
    """
    op, signature, contracts = _contracts(function)
    found = ""
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        found = str(error)
    if found:
        raise _not_taken(op, signature, found)
    changed, numbers = False, []
    for name, given in bound.arguments.items():
        contract = contracts.get(name)
        if contract is None or (given is None and contract.optional):
            continue
        if signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL:
            value: Any = tuple([contract.convert(op, name, each) for each in given])
            same = all(new is old for new, old in zip(value, given, strict=True))
            for each in filter(_is_number, value):
                raise _no_tensor(op, each)
        else:
            value = contract.convert(op, name, given)
            same = value is given
        if contract.tensor and is_array(value) and not is_scalar(value):
            beside = _tensor_in(bound.arguments.values())  # data of no device goes where the tensors are
            value, same = asarray(value, device=None if beside is None else beside.device), False
        if contract.tensor and _is_number(value):
            numbers.append(name)
        elif not same:
            bound.arguments[name] = value
            changed = True
    if numbers:
        if any(isinstance(v, Tensor) or (is_array(v) and not is_scalar(v)) for v in bound.arguments.values()):
            raise _no_tensor(op, bound.arguments[numbers[0]])
        for name in numbers:
            number = bound.arguments[name]
            bound.arguments[name] = asarray(python_number(number) if is_scalar(number) else number)
    return (bound.args, bound.kwargs) if changed or numbers else None


def _not_taken(op: str, signature: inspect.Signature, found: str) -> ArgumentError:
    """What to raise for arguments that do not fit the signature, which the message shows."""
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    takes = signature.replace(parameters=bare, return_annotation=inspect.Signature.empty)
    return ArgumentError(f"{op}: {found}; it is {op}{takes}")


def _tensor_in(values: Iterable[Any]) -> Tensor | None:
    """The first tensor among arguments."""
    each = (t for value in values for t in (value if isinstance(value, (tuple, list)) else (value,)))
    return next((t for t in each if isinstance(t, Tensor)), None)


@cache
def _contracts(function: Any) -> tuple[str, inspect.Signature, dict[str, Contract]]:
    """The name, the signature, and what the table says of the parameters that it has something to say of."""
    name, body = (
        (function.name, function.function) if isinstance(function, Composite) else (function.__name__, function)
    )
    signature = inspect.signature(body)
    found = {name: CONTRACTS.get(p.annotation) for name, p in signature.parameters.items()}
    return name, signature, {name: contract for name, contract in found.items() if contract is not None}


@cache
def _flags(function: Any) -> list[tuple[str, int | None]]:
    """The parameters that are annotated ``bool``, and where each stands among arguments by position, if it may."""
    _, signature, _ = _contracts(function)
    parameters = enumerate(signature.parameters.values())
    by_name = inspect.Parameter.KEYWORD_ONLY
    return [(p.name, None if p.kind is by_name else at) for at, p in parameters if p.annotation == "bool"]


def guarded(function: F) -> F:
    """A public function that is no composite: what Python raises inside of it is explained by its signature, or the
    call is made again with the arguments that were meant. Before that only what is annotated ``bool`` is looked at: to
    an ``if`` anything is true or false. A call that succeeds costs nothing else."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        for name, at in _flags(function):
            value = args[at] if at is not None and at < len(args) else kwargs.get(name, False)
            if value.__class__ is not bool:
                _flag(function.__name__, name, value)
        try:
            return function(*args, **kwargs)
        except WeftError:
            raise
        except (AttributeError, TypeError, ValueError, LookupError, ArithmeticError, RuntimeError):
            meant = checked(function, args, kwargs)
            if meant is None:
                raise
            args, kwargs = meant
        return function(*args, **kwargs)

    return call  # type: ignore[return-value]


# --- tensors ----------------------------------------------------------------------------------------------------


def _is_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float, SymDim)) or is_scalar(value)


def _no_tensor(op: str, value: Any, or_number: bool = False) -> DTypeError:
    kind = type(value)
    name = kind.__name__ if kind.__module__.partition(".")[0] in ("builtins", "numpy") else _full_name(kind)
    if or_number:
        text = f"{op}: an operand of type {name} is neither a tensor nor a number"
    else:
        text = f"{op}: an operand of type {name} is not a tensor; make one with asarray"
    if hasattr(value, "__dlpack__"):
        text += "; it is another library's array: wf.from_dlpack shares its memory, wf.asarray too where it can"
    elif hasattr(value, "__array__"):
        text += "; it is another library's array: wf.asarray makes a tensor of it"
    return DTypeError(text)


def _full_name(kind: type) -> str:
    return f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}"


def _tensor(op: str, name: str, value: Any) -> Any:
    if isinstance(value, Tensor) or is_array(value) or _is_number(value):
        return _of_bounded_bits(op, name, value)
    raise _no_tensor(op, value)


def _only_tensor(op: str, name: str, value: Any) -> Any:
    """A tensor that is used as an object: NumPy's arrays become one, numbers do not."""
    if isinstance(value, Tensor):
        return value
    if is_array(value) and not is_scalar(value):
        return asarray(value)
    raise _no_tensor(op, value)


def _generator(op: str, name: str, value: Any) -> Any:
    from ..ops.random import Generator

    if isinstance(value, Generator):
        return value
    raise DTypeError(f"{op}: {name} is {shown(value)}; it must be a wf.random.Generator")


def _tensor_or_several(op: str, name: str, value: Any) -> Any:
    return _tensors(op, name, value) if isinstance(value, (tuple, list)) else _tensors(op, name, (value,))[0]


def _operand(op: str, name: str, value: Any) -> Any:
    if isinstance(value, Tensor) or is_array(value) or _is_number(value):
        return _of_bounded_bits(op, name, value)
    raise _no_tensor(op, value, or_number=True)


def _tensors(op: str, name: str, value: Any) -> Any:
    if not isinstance(value, (tuple, list)):
        raise DTypeError(f"{op}: {name} must be a list or tuple of tensors, not {type(value).__name__}")
    for each in value:
        if not isinstance(each, Tensor) and (not is_array(each) or is_scalar(each)):
            raise _no_tensor(op, each)
    return value


# --- numbers ----------------------------------------------------------------------------------------------------


def _of_bounded_bits(op: str, name: str, value: Any) -> Any:
    """No number that nothing could hold, and that Python does not even print."""
    if isinstance(value, int) and not isinstance(value, (SymDim, Late)) and value.bit_length() > MAX_BITS:
        raise DTypeError(f"{op}: {name} is an integer of {value.bit_length()} bits; no dtype holds it")
    return value


def _known(op: str, name: str, value: Any, ranks: tuple[int, ...]) -> Any:
    """A tensor's value as Python numbers, where a number is expected; anything else as it is."""
    if not isinstance(value, Tensor) and not is_array(value):
        return value
    if is_scalar(value):
        return python_number(value)
    if isinstance(value, Tensor):
        if state.trace is not None:
            raise CaptureError(
                f"{op}: {name} is a tensor, whose value is not known while a function is captured; it must be a number"
            )
        if value.requires_grad:
            raise DTypeError(f"{op}: no gradient flows to {name}, and this tensor asks for one; pass {name}.detach()")
    if value.ndim not in ranks:
        raise ShapeError(f"{op}: {name} has shape {tuple(value.shape)}; as a number a tensor must have rank 0")
    found = value.tolist()
    return tuple(found) if isinstance(found, list) else found


def _is_axis(name: str) -> bool:
    return "axis" in name or "axes" in name or "dim" in name


def _no_integer(op: str, name: str, value: Any) -> Exception:
    if _is_axis(name):
        return AxisError(f"{op}: {shown(value)} is not an axis; axes are integers")
    return ShapeError(f"{op}: {shown(value)} is not a size; sizes are integers")


def _whole(op: str, name: str, value: Any) -> Any:
    found = _known(op, name, value, (0,))
    if isinstance(found, SymDim) or (isinstance(found, tuple) and "axis" in name):
        return found  # several axes where one is expected: the body says why it takes only one
    try:
        index = found.__index__()
    except (AttributeError, TypeError):
        raise _no_integer(op, name, found) from None
    # As a size True is 1, and an int: caches would give it to who asks for 1. As an axis it is refused by who reads it.
    return found if isinstance(found, bool) and _is_axis(name) else index


def _integer(op: str, name: str, value: Any) -> Any:
    """A size or an axis."""
    if type(value) is int and value.bit_length() <= MAX_BITS:
        return value
    found = _whole(op, name, value)
    if isinstance(found, int) and not isinstance(found, (SymDim, Late)) and found.bit_length() > MAX_BITS:
        raise _no_integer(op, name, found)
    return found


def _integers(op: str, name: str, value: Any) -> Any:
    if type(value) is int and value.bit_length() <= MAX_BITS:  # at once: nearly every axis of a method
        return value
    found = _known(op, name, value, (0, 1))
    if isinstance(found, range):
        found = tuple(found)
    if not isinstance(found, (tuple, list)):
        return _integer(op, name, found)
    each = [_integer(op, name, v) for v in found]
    return found if all(map(operator.is_, each, found)) else tuple(each)


def _integers_or_none(op: str, name: str, value: Any) -> Any:
    """Integers, of which any may be None."""
    if not isinstance(value, (tuple, list)):
        return _integers(op, name, value)
    return tuple(None if v is None else _integer(op, name, v) for v in value)


def _setting(op: str, name: str, value: Any) -> Any:
    """Whatever the body makes of it, but no other library's array."""
    if not isinstance(value, (Tensor, type)) and hasattr(value, "__dlpack__") and not is_array(value):
        raise DTypeError(f"{op}: {name} is an object of type {_full_name(type(value))}")
    return _of_bounded_bits(op, name, value)


def _contracted_axes(op: str, name: str, value: Any) -> Any:
    found = _known(op, name, value, (0, 1))
    if not isinstance(found, (tuple, list)):
        return _integer(op, name, found)
    if len(found) != 2:
        raise AxisError(f"{op}: {name} is {shown(value)}; it must be a number, or the axes of one and of the other")
    pair = [_integers(op, name, axes) for axes in found]
    return tuple([axes if isinstance(axes, (tuple, list)) else (axes,) for axes in pair])


def _pad_width(op: str, name: str, value: Any) -> Any:
    found = _known(op, name, value, (0, 1, 2))
    if isinstance(found, tuple):  # of lists, when it was an array
        return tuple([tuple(each) if isinstance(each, list) else each for each in found])
    return found


def _whole_number(op: str, name: str, value: Any) -> Any:
    """An integer that is neither an axis nor a size."""
    try:
        return _whole(op, name, value)
    except (AxisError, ShapeError):
        raise DTypeError(f"{op}: {name} is {shown(value)}; it must be an integer") from None


def _whole_numbers(op: str, name: str, value: Any) -> Any:
    try:
        return _integers(op, name, value)
    except (AxisError, ShapeError):
        raise DTypeError(f"{op}: {name} is {shown(value)}; it must be an integer, or several") from None


def _number(op: str, name: str, value: Any) -> Any:
    found = _of_bounded_bits(op, name, _known(op, name, value, (0,)))
    if isinstance(found, SymDim):
        return found
    if not isinstance(found, (bool, int, float)):
        raise DTypeError(f"{op}: {name} is {shown(found)}; it must be a number")
    return found


def _real(op: str, name: str, value: Any) -> Any:
    """A number that the body computes with as a Python float."""
    found = _number(op, name, value)
    if isinstance(found, int) and not -_LARGEST <= found <= _LARGEST:
        raise DTypeError(f"{op}: {name} is an integer of {found.bit_length()} bits; it does not fit a float")
    return found


_LARGEST = int(1.7976931348623157e308)


def _flag(op: str, name: str, value: Any) -> Any:
    found = _known(op, name, value, (0,))
    if not isinstance(found, int) or found not in (0, 1):
        raise DTypeError(f"{op}: {name} is {shown(found)}; it must be True or False")
    return found


def _switch(op: str, name: str, value: Any) -> Any:
    """True or False and no number, which stands where an axis or a size may: ``x.sum(0, 1)`` means two axes."""
    if value.__class__ is bool:
        return value
    if not is_scalar(value) or value.dtype.kind != "b":
        raise ArgumentError(f"{op}: {name} is True or False, not {shown(value)}")
    return bool(value)


def _text(op: str, name: str, value: Any) -> Any:
    if not isinstance(value, str):
        raise DTypeError(f"{op}: {name} is {shown(value)}; it must be a string")
    return value


def _integers_or_name(op: str, name: str, value: Any) -> Any:
    return value if isinstance(value, str) else _integers(op, name, value)


def _reals(op: str, name: str, value: Any) -> Any:
    """One number, or several."""
    found = _known(op, name, value, (0, 1))
    return tuple(_real(op, name, v) for v in found) if isinstance(found, (tuple, list)) else _real(op, name, found)


def _real_or_name(op: str, name: str, value: Any) -> Any:
    return value if isinstance(value, str) else _real(op, name, value)


CONTRACTS = {
    "Array": Contract(_tensor, tensor=True),
    "Array | None": Contract(_tensor, optional=True, tensor=True),
    "Array | float": Contract(_operand),
    "Array | float | None": Contract(_operand, optional=True),
    "Array | Sequence[Array]": Contract(_tensor_or_several),
    "Sequence[Array]": Contract(_tensors),
    "list[Array]": Contract(_tensors),
    "int": Contract(_integer),
    "int | None": Contract(_integer, optional=True),
    "Whole": Contract(_whole_number),
    "Whole | None": Contract(_whole_number, optional=True),
    "Whole | Sequence[Whole]": Contract(_whole_numbers),
    "Dim": Contract(_integer),
    "Dim | None": Contract(_integer, optional=True),
    "Shape": Contract(_integers),
    "Axes": Contract(_integers, optional=True),
    "Sequence[int]": Contract(_integers),
    "int | Sequence[int]": Contract(_integers),
    "int | Sequence[int] | str": Contract(_integers_or_name),
    "int | Sequence[int] | None": Contract(_integers, optional=True),
    "int | tuple[int, ...] | None": Contract(_integers, optional=True),
    "Dim | Sequence[Dim]": Contract(_integers),
    "Dim | Sequence[Dim] | None": Contract(_integers, optional=True),
    "Dim | Sequence[Dim | None]": Contract(_integers_or_none),
    "Sequence[Dim]": Contract(_integers),
    "Sequence[Dim] | None": Contract(_integers, optional=True),
    "Scalar": Contract(_number),
    "bool | int | float": Contract(_number),
    "Dim | float": Contract(_number),
    "Dim | float | None": Contract(_number, optional=True),
    "float": Contract(_real),
    "float | None": Contract(_real, optional=True),
    "float | Sequence[float] | None": Contract(_reals, optional=True),
    "bool": Contract(_flag),
    "bool | None": Contract(_flag, optional=True),
    "Switch": Contract(_switch),
    "str": Contract(_text),
    "str | None": Contract(_text, optional=True),
    "float | str | None": Contract(_real_or_name, optional=True),
    "Any": Contract(_setting),
    "int | tuple[Sequence[int], Sequence[int]]": Contract(_contracted_axes),
    "PadWidth": Contract(_pad_width),
    "Tensor": Contract(_only_tensor),
    "Tensor | None": Contract(_only_tensor, optional=True),
    "Generator | None": Contract(_generator, optional=True),
}
