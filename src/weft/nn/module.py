"""Module: a function with parameters, buffers and submodules that it can name, save and move.

Attributes that are Parameters, Modules or registered buffers live in three tables, in the order of assignment; all
walks (``parameters()``, ``state_dict()``, ``repr``) read these. Names, defaults and the layout of the state dict are
PyTorch's, so that code and weights carry over.

A captured function is specialised on what a module's ``forward`` may branch on: its mode, its plain attributes, the
identity of its parameters and submodules. They are reported to :mod:`weft.tensor.guards`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from ..core.boundary import leave
from ..core.device import Device
from ..core.dtypes import DType, as_dtype
from ..core.errors import ArgumentError, DTypeError, WeftError
from ..core.shapes import shown
from ..ops.creation import zeros
from ..ops.elementwise import astype
from ..ops.op import state
from ..runtime.devices import device_of
from ..tensor import guards
from ..tensor.gradient_hooks import RemovableHandle
from ..tensor.in_place import copy_, look_at, owned
from ..tensor.placing import to_device
from ..tensor.tape import Leaf, clear_grad, no_grad
from ..tensor.tensor import Tensor
from ..transforms.source.find import captured
from . import hooks
from .constructor import checked_constructor
from .hooks import Hook
from .parameter import Buffer, Parameter, is_lazy
from .saved import Saved

Self = TypeVar("Self", bound="Module")
P = ParamSpec("P")
R = TypeVar("R", covariant=True)
_TABLES = ("_parameters", "_buffers", "_modules")
_CALL_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_STATE_HOOKS = ("_state_pre_hooks", "_state_hooks", "_load_pre_hooks", "_load_hooks")
_PLAIN = (bool, int, float, str, tuple, type(None))


class _Forward(Protocol[P, R]):
    """A module as its calls are typed: by what its class's own ``forward`` takes and gives. (Any, as in PyTorch, would
    end all that editors know; a Tensor would be wrong where a tuple is returned.) Of a Module that may be of any class,
    such as an entry of a ModuleList, a call is Any."""

    def forward(self, *args: P.args, **kwargs: P.kwargs) -> R: ...


class Module(Saved):
    """Base of all layers: subclasses assign parameters and submodules in ``__init__`` and define ``forward``.

    Example:
        >>> import weft as wf
        >>> class Scale(wf.nn.Module):
        ...     def __init__(self, size):
        ...         super().__init__()
        ...         self.factor = wf.nn.Parameter(wf.ones((size,)))
        ...     def forward(self, x):
        ...         return x * self.factor
        >>> [name for name, _ in Scale(3).named_parameters()]
        ['factor']
    """

    reports_writes = True  # to the guards, whatever is stored in an attribute

    _training: bool
    _forward_pre_hooks: dict[int, Hook]
    _forward_hooks: dict[int, Hook]
    _backward_pre_hooks: dict[int, Callable[..., Any]]
    _backward_hooks: dict[int, Callable[..., Any]]

    def __init_subclass__(cls, **options: Any) -> None:
        """Weft's own constructors are checked by their annotations; a user's are left alone."""
        super().__init_subclass__(**options)
        if cls.__module__.startswith("weft.") and "__init__" in cls.__dict__:
            cls.__init__ = checked_constructor(cls.__dict__["__init__"])  # type: ignore[method-assign]

    def __init__(self) -> None:
        values: dict[str, Any] = {name: {} for name in (*_TABLES, *_CALL_HOOKS, *_STATE_HOOKS)}
        self.__dict__.update(values, _non_persistent=set(), _training=True)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; subclasses define it."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    if TYPE_CHECKING:

        def __call__(self: _Forward[P, R], *args: P.args, **kwargs: P.kwargs) -> R: ...

    else:

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """Run ``forward`` (and hooks). An error of weft's own that passes through is told this module's path.

            The path begins with the outermost module's class name in lower case: ``net.encoder.2.fc``.
            """
            if guards.is_recording():
                guards.read(self, "", self.guarded())
            try:
                own = self.__dict__  # in line, for each layer of a model comes by here
                hooked = own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"]
                if hooked or own["_backward_pre_hooks"]:
                    return hooks.call(self, args, kwargs)
                return (self.forward if state.trace is None else captured(self.forward))(*args, **kwargs)
            except Exception as error:
                self._note_path(error)
                leave(error, self.forward, args, kwargs)
                raise

    def _note_path(self, error: Exception) -> None:
        """Tell an error of weft's own that it passes through this module."""
        if isinstance(error, WeftError):
            error.modules.append(self)
            error.module_path = _path_of(error.modules)

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args)`` before ``forward``; what it returns, if not None, replaces the arguments.

        Args:
            hook: with ``with_kwargs``, ``hook(module, args, kwargs)``, which may return ``(args, kwargs)``.
            prepend: before the hooks that are there.
            with_kwargs: whether it gets the keyword arguments.
        """
        return hooks.add(self._forward_pre_hooks, Hook(hook, with_kwargs), prepend)

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after ``forward``; a result that is not None replaces the output.

        Args:
            hook: with ``with_kwargs``, ``hook(module, args, kwargs, output)``.
            prepend: before the hooks that are there.
            with_kwargs: whether it gets the keyword arguments.
            always_call: also where the call raises, with the output so far: None.
        """
        return hooks.add(self._forward_hooks, Hook(hook, with_kwargs, always_call), prepend)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_output)`` when the gradients of a call's results are there: a tuple, with None where
        there is none. A tuple that it returns takes their place."""
        return hooks.add(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` when the gradients of a call's positional arguments are there:
        tuples, with None where there is none. A tuple that it returns takes the place of ``grad_input``.

        In captured code, ``backward()`` has to be inside too."""
        return hooks.add(self._backward_hooks, hook, prepend)

    # --- attributes -------------------------------------------------------------------------------------------------

    @property
    def training(self) -> bool:
        """True in training mode (the default), False after :meth:`eval`."""
        return guards.read(self, "training", self._training)

    @training.setter
    def training(self, mode: bool) -> None:
        mode = bool(mode)
        guards.before_write(self.__dict__, "_training", mode)
        self.__dict__["_training"] = mode
        guards.bump()

    def guarded(self) -> tuple[Any, ...]:
        """What a captured call of this module is specialised on: its plain attributes and whom it holds."""
        plain = tuple((k, v) for k, v in self.__dict__.items() if isinstance(v, _PLAIN) or _is_held(v))
        hooked = tuple(hook for table in _CALL_HOOKS for hook in self.__dict__[table].values())
        return plain + hooked + tuple(item for table in _TABLES for item in self.__dict__[table].items())

    def __getattr__(self, name: str) -> Any:
        for table in _TABLES:
            found = self.__dict__.get(table)
            if found is not None and name in found:
                return guards.read(self, name, found[name])
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if "_parameters" not in self.__dict__:
            if isinstance(value, (Parameter, Module)):
                raise AttributeError(
                    f"{type(self).__name__}.__init__: call super().__init__() before assigning {name!r}"
                )
            object.__setattr__(self, name, value)
            return
        if guards.is_recording():
            for names in (self.__dict__, self._parameters, self._buffers, self._modules):
                guards.before_write(names, name, value)
        if isinstance(value, Parameter):
            self._forget(name, self._parameters)
            self.register_parameter(name, value)
        elif isinstance(value, Buffer):
            self._forget(name, self._buffers)
            self.register_buffer(name, value, value.persistent)
        elif isinstance(value, Module):
            self._forget(name, self._modules)
            self.add_module(name, value)
        elif name in self._parameters:
            if value is not None:
                raise TypeError(
                    f"{type(self).__name__}.{name} is a parameter: assign a Parameter or None to it, not "
                    f"a {type(value).__name__}; to change its value use {name}.assign(value)"
                )
            self._parameters[name] = None
        elif name in self._modules:
            if value is not None:
                raise TypeError(
                    f"{type(self).__name__}.{name} is a module: assign a Module or None to it, not a "
                    f"{type(value).__name__}"
                )
            self._modules[name] = None
        elif name in self._buffers:
            self._set_buffer(name, value)
        else:
            object.__setattr__(self, name, value)
        guards.bump()

    def _set_buffer(self, name: str, value: Any) -> None:
        old = self._buffers[name]
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(
                f"{type(self).__name__}.{name} is a buffer: assign a Tensor or None to it, not a {type(value).__name__}"
            )
        capture = None if state.trace is None else state.trace.capture
        if capture is None or old is None or value is None or not old._spec.is_like(value._spec):
            self._buffers[name] = value
            return
        before, after = capture.inside(old), capture.inside(value)
        if isinstance(before._node, Leaf) or isinstance(after._node, Leaf):
            self._buffers[name] = value
            return
        if capture.body is None:  # what was there before keeps its value until the function ends
            capture.rebind(self._buffers, name, value)
            return
        # A run of the captured function writes into the tensor that is there, which the next one reads by reference;
        # another object would be another state, with a capture of its own. The history is the value's.
        with no_grad():
            copy_(before, after)
        before._node, before._index = after._node, after._index

    def __delattr__(self, name: str) -> None:
        if not self._forget(name):
            object.__delattr__(self, name)
        guards.bump()

    def _forget(self, name: str, but: Mapping[str, Any] | None = None) -> bool:
        """Take ``name`` out of the tables and the plain attributes, ``but`` for one table, in which what comes has the
        place of what was there; True if it was in one."""
        found = False
        for table in (*(self.__dict__[t] for t in _TABLES), self.__dict__):
            if name in table and table is not but:
                del table[name]
                found = True
        self._non_persistent.discard(name)
        return found

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *self._parameters, *self._buffers, *self._modules})

    def _check_name(self, name: str, kind: str, table: Mapping[str, Any]) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise ValueError(f"{type(self).__name__}: {kind} name {name!r} must be a string, not empty, without dots")
        if name not in table and (
            name in self.__dict__ or hasattr(type(self), name) or any(name in self.__dict__[t] for t in _TABLES)
        ):
            raise KeyError(f"{type(self).__name__}: attribute {name!r} exists already")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter; None reserves the name (a layer without bias)."""
        self._check_name(name, "parameter", self._parameters)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"{type(self).__name__}: parameter {name!r} must be a Parameter or None, not a {type(param).__name__}"
            )
        self._parameters[name] = param
        guards.bump()

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is state but not trained; ``persistent=False`` keeps it out of the state dict."""
        self._check_name(name, "buffer", self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"{type(self).__name__}: buffer {name!r} must be a Tensor or None, not a {type(tensor).__name__}"
            )
        self._buffers[name] = tensor if tensor is None else owned(tensor)
        (self._non_persistent.discard if persistent else self._non_persistent.add)(name)
        guards.bump()

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a submodule under ``name``."""
        self._check_name(name, "module", self._modules)
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{type(self).__name__}: {name!r} must be a Module or None, not a {type(module).__name__}")
        self._modules[name] = module
        guards.bump()

    register_module = add_module  # PyTorch has both names, and programs use either

    # --- modes and conversions --------------------------------------------------------------------------------------

    def train(self: Self, mode: bool = True) -> Self:
        """Set training mode here and below: Dropout drops.

        It calls ``train`` of every submodule, so one that says there what changes (LoRA merges its weights, a frozen
        normalization stays in evaluation mode) is asked.

        Raises:
            ArgumentError: ``mode`` is no bool.
        """
        if not isinstance(mode, bool):
            raise ArgumentError(f"train: mode is {shown(mode)}; it must be True or False")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self: Self) -> Self:
        """Set evaluation mode here and below."""
        return self.train(False)

    def apply(self: Self, fn: Callable[[Module], Any]) -> Self:
        """Call ``fn`` on every module below, then on this one."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def requires_grad_(self: Self, requires_grad: bool = True) -> Self:
        """Let gradients flow to the parameters, or not."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the parameters' gradients: drop them, or set them to zero."""
        for parameter in self.parameters():
            clear_grad(parameter, set_to_none)

    def to(
        self: Self, target: Any = None, /, dtype: Any = None, non_blocking: bool = False, *, device: Any = None
    ) -> Self:
        """Move to a device, cast to a floating dtype, or both: ``to("cpu")``, ``to(wf.float64)``, ``to("cpu", dtype)``;
        a tensor as target stands for its device and dtype.

        Parameters stay the same objects, as do their gradients, and get other memory; buffers become other objects.
        Integer and boolean tensors keep their dtype. ``non_blocking`` says nothing: everything is there when the call
        returns.

        Raises:
            DTypeError: the dtype is not a floating one.
            DeviceError: the device is not there.
        """
        if isinstance(target, Tensor):
            dtype, device = target.dtype, target.device
        elif target is not None:
            try:
                dtype = as_dtype(target)
            except TypeError:  # not a dtype
                device = target
        wanted = None if dtype is None else as_dtype(dtype)
        if wanted is not None and not wanted.is_floating:
            raise DTypeError(f"{type(self).__name__}.to: {wanted.name} is not a floating dtype")
        place = None if device is None else device_of(device, f"{type(self).__name__}.to")
        if wanted is not None or place is not None:
            self._convert(wanted, place)
        return self

    def _convert(self, dtype: DType | None, device: Device | None) -> None:
        def converted(x: Tensor) -> Tensor:
            if is_lazy(x):
                x.convert(dtype if x.dtype.is_floating else None, device)
                return x
            there = x if device is None else to_device(x, device)
            return there if dtype is None or not x.dtype.is_floating or x.dtype is dtype else astype(there, dtype)

        for parameter in self.parameters():
            if is_lazy(parameter):
                converted(parameter)
                continue
            gradient, own = parameter.grad, parameter.detach()
            made = converted(own)
            if made is not own:
                look_at(parameter, made)
                if gradient is not None:
                    look_at(gradient, converted(gradient.detach()))
        buffers = {b: converted(b) for b in self.buffers()}
        for module in self.modules():
            for name, buffer in module._buffers.items():
                if buffer is not None and buffers[buffer] is not buffer:  # one that is shared stays shared
                    guards.before_write(module._buffers, name, buffers[buffer])
                    module._buffers[name] = buffers[buffer]
        guards.bump()

    def to_empty(self: Self, *, device: Any, recurse: bool = True) -> Self:
        """Move to a device without the values, which are zeros there; with ``recurse`` also what is below."""
        place = device_of(device, f"{type(self).__name__}.to_empty")
        for module in self.modules() if recurse else [self]:
            for value in (*module._parameters.values(), *module._buffers.values()):
                if value is not None and not is_lazy(value):
                    look_at(value, zeros(value.shape, dtype=value.dtype, device=place))
        return self

    def cpu(self: Self) -> Self:
        """Move to the CPU."""
        return self.to("cpu")

    def type(self: Self, dst_type: Any) -> Self:
        """Cast to a floating dtype."""
        return self.to(dtype=dst_type)

    def float(self: Self) -> Self:
        """Cast to float32."""
        return self.to(dtype="float32")

    def double(self: Self) -> Self:
        """Cast to float64."""
        return self.to(dtype="float64")

    def half(self: Self) -> Self:
        """Cast to float16."""
        return self.to(dtype="float16")

    def bfloat16(self: Self) -> Self:
        """Cast to bfloat16."""
        return self.to(dtype="bfloat16")

    # --- text -------------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What stands between the brackets of the module's repr, before its submodules."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        below = [f"({name}): " + repr(module).replace("\n", "\n  ") for name, module in self._modules.items()]
        if not below:
            return f"{type(self).__name__}({extra})"
        lines = ([extra] if extra else []) + below
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"


def _is_held(value: Any) -> bool:
    """A function, or a tensor that is neither parameter nor buffer."""
    return callable(value) or isinstance(value, Tensor)


def _path_of(modules: list[Module]) -> str:
    """The path of an error that passed through ``modules`` (innermost first), as seen from the outermost."""
    path = [type(modules[-1]).__name__.lower()]
    for outer, inner in zip(reversed(modules), list(reversed(modules))[1:], strict=False):
        names = [name for name, module in outer.named_modules() if module is inner and name]
        path.append(names[0] if names else type(inner).__name__.lower())
    return ".".join(path)
