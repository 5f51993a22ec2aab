"""Parametrizations: a tensor of a module that is computed from other parameters, whenever it is asked for.

A module gets a class of its own, a subclass of the one it had, in which the tensor's name is a property. What it is
computed from lies in ``module.parametrizations[name]``, under ``original``, or ``original0``, ``original1``, ... where
it is several tensors; so state dicts have PyTorch's keys.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ...core.errors import ArgumentError, CaptureError, DTypeError, ShapeError
from ...core.namespace import publish as _publish
from ...ops.op import state
from ...tensor import guards
from ...tensor.in_place import look_at
from ...tensor.tape import no_grad
from ...tensor.tensor import Tensor
from ..container import ModuleDict, ModuleList
from ..module import Module
from ..parameter import Parameter

__all__ = [
    "ParametrizationList",
    "cached",
    "is_parametrized",
    "register_parametrization",
    "remove_parametrizations",
    "type_before_parametrizations",
]


class _Cache(threading.local):
    """What parametrized tensors are, inside :func:`cached`: by their modules and names."""

    values: dict[tuple[int, str], Any] | None = None
    capture: Any = None  # in which the context was entered


_cache = _Cache()


@contextmanager
def cached() -> Iterator[None]:
    """A context in which each parametrized tensor is computed once, at its first use.

    A compiled function that uses such tensors must not be called inside of it (CaptureError): the context is entered
    in the function, or in whoever is compiled and calls it.
    """
    outer, capture = guards.read(_cache, "values", _cache.values), _cache.capture
    if outer is None:
        _cache.values, _cache.capture = {}, _current_capture()
        guards.bump()
    try:
        yield
    finally:
        if outer is None:
            _cache.values, _cache.capture = outer, capture
            guards.bump()


def _current_capture() -> Any:
    return None if state.trace is None else state.trace.capture


class ParametrizationList(ModuleList[Module]):
    """What a tensor is computed from, and the modules that compute it, one after the other.

    Args:
        modules: the first gets the original, or the originals; each of the others what the one before gave.
        original: the tensor as it is; the originals are what the modules' ``right_inverse`` makes of it.
        unsafe: do not hold the modules to give a tensor of the original's shape and dtype.
    """

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        if not modules:
            raise ArgumentError("ParametrizationList: there are no modules")
        super().__init__(modules)
        self.unsafe = unsafe
        shape, dtype = original.shape, original.dtype
        with no_grad():
            made = self._inverted(original, True)
        self.is_tensor = isinstance(made, Tensor)
        self.ntensors = 1 if self.is_tensor else len(made)
        if self.is_tensor:
            if made is not original:
                look_at(original, made.detach())
            _register(self, "original", original)
        else:
            for k, part in enumerate(made):
                is_parameter = isinstance(original, Parameter)
                value = part.detach().clone()
                _register(self, f"original{k}", Parameter(value, original.requires_grad) if is_parameter else value)
        if not unsafe:
            _check_like(self(), shape, dtype)

    def _inverted(self, value: Any, first: bool = False) -> Any:
        """The originals of a value; of the ``first`` one, which is there already, a module may raise
        NotImplementedError."""
        for module in reversed(list(self)):
            inverse = getattr(module, "right_inverse", None)
            if inverse is not None:
                try:
                    value = inverse(value)
                except NotImplementedError:
                    if not first:
                        raise
        if not isinstance(value, Tensor) and not (
            isinstance(value, (tuple, list)) and all(isinstance(part, Tensor) for part in value)
        ):
            raise ArgumentError(f"right_inverse gave a value of type {type(value).__name__}, not tensors")
        return value

    def _originals(self) -> list[Any]:
        return [getattr(self, "original" if self.is_tensor else f"original{k}") for k in range(self.ntensors)]

    def right_inverse(self, value: Tensor) -> None:
        """Set the originals so that ``value`` is what they give."""
        with no_grad():
            for module in self:
                if not hasattr(module, "right_inverse"):
                    raise ArgumentError(
                        f"{type(module).__name__} has no right_inverse: a tensor that it computes cannot be set"
                    )
            made = self._inverted(value)
            for there, new in zip(self._originals(), [made] if self.is_tensor else made, strict=True):
                there.copy_(new)

    def forward(self) -> Any:
        """The tensor."""
        first, *others = list(self)
        value = first(*self._originals())
        for module in others:
            value = module(value)
        return value


def _register(module: Module, name: str, value: Any) -> None:
    if isinstance(value, Parameter):
        module.register_parameter(name, value)
    else:
        module.register_buffer(name, value)


def _check_like(made: Any, shape: Any, dtype: Any) -> None:
    if not isinstance(made, Tensor):
        raise ArgumentError(f"a parametrization gave a value of type {type(made).__name__}, not a tensor")
    if made.dtype is not dtype:
        raise DTypeError(f"a parametrization gave {made.dtype.name} for {dtype.name}; unsafe=True allows that")
    if made.shape != shape:
        raise ShapeError(f"a parametrization gave {tuple(made.shape)} for {tuple(shape)}; unsafe=True allows that")


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Let ``module.tensor_name`` be what ``parametrization`` computes from it, or, where it is parametrized already,
    from what it is now.

    Args:
        module: changed in place, and returned.
        tensor_name: a parameter or a buffer.
        parametrization: its ``forward`` takes the original; a ``right_inverse``, if it has one, says of a value what
            the original, or the tuple of originals, has to be.
        unsafe: do not hold it to give a tensor of the same shape and dtype.

    Raises:
        ArgumentError: there is no such tensor; the parametrization gives no tensor.
        ShapeError, DTypeError: it gives one of another type, and not ``unsafe``.

    Example:
        >>> class Symmetric(wf.nn.Module):
        ...     def forward(self, x):
        ...         return (x + x.mT) / 2.0
        >>> layer = wf.nn.utils.parametrize.register_parametrization(wf.nn.Linear(3, 3), "weight", Symmetric())
        >>> bool((layer.weight == layer.weight.mT).all()), list(layer.state_dict())
        (True, ['bias', 'parametrizations.weight.original'])
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        held: Any = module.parametrizations[tensor_name]
        if not unsafe:
            before = getattr(module, tensor_name)
            _check_like(parametrization(before), before.shape, before.dtype)
        held.append(parametrization)
        held.unsafe |= unsafe
        return module
    if tensor_name not in module._parameters and tensor_name not in module._buffers:
        raise ArgumentError(f"{type(module).__name__} has no parameter, buffer or parametrized tensor {tensor_name!r}")
    original = getattr(module, tensor_name)
    if original is None:
        raise ArgumentError(f"{type(module).__name__}.{tensor_name} is None: there is nothing to be parametrized")
    held = ParametrizationList([parametrization], original, unsafe)
    held.train(module.training)
    delattr(module, tensor_name)
    kind = type_before_parametrizations(module)
    if not is_parametrized(module):
        module.parametrizations = ModuleDict()
    module.parametrizations[tensor_name] = held
    _let_compute(module, kind)
    return module


def _let_compute(module: Module, kind: type) -> None:
    """Give a module, of a class, a class of its own for what it computes now, which copies of it may share."""
    names = tuple(module._modules["parametrizations"])  # type: ignore[arg-type]
    module.__class__ = _computing(kind, names) if names else kind
    guards.bump()


def _computing(kind: type, names: tuple[str, ...]) -> type:
    properties = {name: _property(name) for name in names}
    of = {"_before_parametrizations": kind, "__module__": kind.__module__, "__reduce_ex__": _reduced, **properties}
    return type(f"Parametrized{kind.__name__}", (kind,), of)


def _reduced(module: Any, protocol: Any) -> tuple[Any, ...]:
    """For copies and pickles: a class that a module has to itself is found under no name."""
    held = module._modules["parametrizations"]
    return _remade, (module._before_parametrizations, tuple(held)), dict(module.__dict__)


def _remade(kind: type, names: tuple[str, ...]) -> Any:
    return object.__new__(_computing(kind, names))


def _property(name: str) -> property:
    def get(self: Any) -> Any:
        values = _cache.values
        if values is None:
            guards.read(_cache, "values", None)
            return self.parametrizations[name]()
        if _cache.capture is not _current_capture():
            raise CaptureError(
                f"{type(self).__name__}.{name} in a captured function that was called inside of parametrize.cached(): "
                "what it computes is not what is cached; enter the context in the function"
            )
        key = id(self), name
        if key not in values:
            values[key] = self.parametrizations[name]()
        return values[key]

    def put(self: Any, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    return property(get, put)


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a module has parametrized tensors, or this one."""
    held = module._modules.get("parametrizations")
    if not isinstance(held, ModuleDict):
        return False
    return len(held) > 0 if tensor_name is None else tensor_name in held


def type_before_parametrizations(module: Module) -> type:
    """The class that a module had before it was parametrized."""
    kind = type(module)
    return kind._before_parametrizations if is_parametrized(module) else kind  # type: ignore[attr-defined]


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Let a tensor be a parameter, or a buffer, again.

    Args:
        module: changed in place, and returned.
        tensor_name: the tensor.
        leave_parametrized: with the value that it has now; else with that of the original, of which there is one.

    Raises:
        ArgumentError: it is not parametrized; there are several originals, and not ``leave_parametrized``.
    """
    if not is_parametrized(module, tensor_name):
        raise ArgumentError(f"{type(module).__name__}.{tensor_name} is not parametrized")
    held: Any = module.parametrizations[tensor_name]
    originals = held._originals()
    if not leave_parametrized and not held.is_tensor:
        raise ArgumentError(f"{tensor_name} has {len(originals)} originals: none of them can be left in its place")
    value = originals[0]
    if leave_parametrized:
        with no_grad():
            now = getattr(module, tensor_name).detach().clone()
        if held.is_tensor:
            look_at(value, now)  # the very object, which an optimizer may hold
        else:
            value = Parameter(now, value.requires_grad) if isinstance(value, Parameter) else now
    kind = type_before_parametrizations(module)
    del module.parametrizations[tensor_name]
    _let_compute(module, kind)
    if not len(module.parametrizations):
        delattr(module, "parametrizations")
    _register(module, tensor_name, value)
    return module


_publish(globals())
