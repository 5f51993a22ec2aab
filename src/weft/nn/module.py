"""Module: a function with parameters, buffers and submodules that it can name, save and move.

Attributes that are Parameters, Modules or registered buffers live in three tables, in the order of assignment; all
walks (``parameters()``, ``state_dict()``, ``repr``) read these. Names, defaults and the layout of the state dict are
PyTorch's, so that code and weights carry over.

A captured function is specialised on what a module's ``forward`` may branch on: its mode, its plain attributes, the
identity of its parameters and submodules. They are reported to :mod:`weft.tensor.guards`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, ParamSpec, Protocol, TypeVar

from ..core.boundary import leave
from ..core.device import Device
from ..core.dtypes import DType, as_dtype
from ..core.errors import ArgumentError, DTypeError, StateError, WeftError
from ..core.shapes import shown
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
from .parameter import Parameter
from .state import check_state

Self = TypeVar("Self", bound="Module")
P = ParamSpec("P")
R = TypeVar("R", covariant=True)
_TABLES = ("_parameters", "_buffers", "_modules")
_PLAIN = (bool, int, float, str, tuple, type(None))


class _Forward(Protocol[P, R]):
    """A module as its calls are typed: by what its class's own ``forward`` takes and gives. (Any, as in PyTorch, would
    end all that editors know; a Tensor would be wrong where a tuple is returned.) Of a Module that may be of any class,
    such as an entry of a ModuleList, a call is Any."""

    def forward(self, *args: P.args, **kwargs: P.kwargs) -> R: ...


class IncompatibleKeys(NamedTuple):
    """What :meth:`Module.load_state_dict` did not match (with ``strict=False``)."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
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

    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _non_persistent: set[str]
    _training: bool
    _pre_hooks: dict[int, Callable[..., Any]]
    _hooks: dict[int, Callable[..., Any]]

    def __init__(self) -> None:
        values = {
            "_parameters": {},
            "_buffers": {},
            "_modules": {},
            "_non_persistent": set(),
            "_training": True,
            "_pre_hooks": {},
            "_hooks": {},
        }
        self.__dict__.update(values)

    _since: ClassVar[Mapping[str, int]] = {}
    """Of entries that states of earlier versions lack: the version of PyTorch's module that has them."""

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
                if not self._hooks and not self._pre_hooks:
                    return (self.forward if state.trace is None else captured(self.forward))(*args, **kwargs)
                return self._forward_with_hooks(args, kwargs)
            except Exception as error:
                if isinstance(error, WeftError):
                    error.modules.append(self)
                    error.module_path = _path_of(error.modules)
                leave(error, self.forward, args, kwargs)
                raise

    def _forward_with_hooks(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for hook in list(self._pre_hooks.values()):
            changed = captured(hook)(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        output = captured(self.forward)(*args, **kwargs)
        for hook in list(self._hooks.values()):
            changed = captured(hook)(self, args, output)
            output = output if changed is None else changed
        return output

    def register_forward_pre_hook(self, hook: Callable[[Module, tuple[Any, ...]], Any]) -> RemovableHandle:
        """Call ``hook(module, args)`` before ``forward``; what it returns, if not None, replaces the arguments."""
        return _add_hook(self._pre_hooks, hook)

    def register_forward_hook(self, hook: Callable[[Module, tuple[Any, ...], Any], Any]) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after ``forward``; a result that is not None replaces the output."""
        return _add_hook(self._hooks, hook)

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
        hooks = (*self._pre_hooks.values(), *self._hooks.values())
        return plain + hooks + tuple(item for table in _TABLES for item in self.__dict__[table].items())

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
            self._forget(name)
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self._forget(name)
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

    def _forget(self, name: str) -> bool:
        """Take ``name`` out of the tables and the plain attributes; True if it was there."""
        found = False
        for table in (*(self.__dict__[t] for t in _TABLES), self.__dict__):
            if name in table:
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

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Add a parameter; None reserves the name (a layer without bias)."""
        self._check_name(name, "parameter", self._parameters)
        if parameter is not None and not isinstance(parameter, Parameter):
            raise TypeError(
                f"{type(self).__name__}: parameter {name!r} must be a Parameter or None, not a "
                f"{type(parameter).__name__}"
            )
        self._parameters[name] = parameter
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

    # --- walks ------------------------------------------------------------------------------------------------------

    def named_modules(self, prefix: str = "", remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
        """``(path, module)`` of this module and everything below it, parents first; each module once."""
        return self._named_modules(set() if remove_duplicate else None, prefix)

    def _named_modules(self, seen: set[int] | None, prefix: str) -> Iterator[tuple[str, Module]]:
        if seen is not None:
            if id(self) in seen:
                return
            seen.add(id(self))
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module._named_modules(seen, f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        """This module and everything below it."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """``(name, module)`` of the direct submodules, each once."""
        seen: set[int] = set()
        for name, module in self._modules.items():
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[Module]:
        """The direct submodules."""
        return (module for _, module in self.named_children())

    def _named_members(
        self, table: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self.named_modules(prefix, remove_duplicate) if recurse else [(prefix, self)]:
            for name, value in module.__dict__[table].items():
                if value is None or (remove_duplicate and id(value) in seen):
                    continue
                seen.add(id(value))
                yield f"{path}.{name}" if path else name, value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """``(path, parameter)``; one that is shared comes once, under its first path."""
        return self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters of this module and, with ``recurse``, of those below."""
        return (parameter for _, parameter in self.named_parameters("", recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """``(path, buffer)``; one that is shared comes once, under its first path."""
        return self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers of this module and, with ``recurse``, of those below."""
        return (buffer for _, buffer in self.named_buffers("", recurse))

    def get_submodule(self, target: str) -> Module:
        """The module at a path such as ``encoder.2.fc``; the empty path is this module.

        Raises:
            AttributeError: there is none.
        """
        module: Module = self
        for name in target.split(".") if target else ():
            below = module._modules.get(name)
            if below is None:
                raise AttributeError(
                    f"{type(self).__name__} has no submodule {target!r}: {type(module).__name__} has no module {name!r}"
                )
            module = below
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a path such as ``encoder.2.fc.weight``.

        Raises:
            AttributeError: there is none.
        """
        path, _, name = target.rpartition(".")
        found = self.get_submodule(path)._parameters.get(name)
        if found is None:
            raise AttributeError(f"{type(self).__name__} has no parameter {target!r}")
        return found

    # --- state ------------------------------------------------------------------------------------------------------

    def _state_entries(self) -> Iterator[tuple[str, Tensor]]:
        """Parameters and persistent buffers with their paths, module by module; shared ones under each path."""
        for path, module in self.named_modules(remove_duplicate=False):
            for name, value in (*module._parameters.items(), *module._buffers.items()):
                if value is not None and name not in module._non_persistent:
                    yield f"{path}.{name}" if path else name, value

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """``{path: value}`` of the parameters and persistent buffers, detached.

        The tensors share the memory of the module's: what is written into them is written into the module, and
        training on changes them. ``copy.deepcopy`` what should stay.
        """
        return {prefix + name: value.detach() for name, value in self._state_entries()}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Set parameters and buffers from ``{path: tensor or NumPy array}``.

        Args:
            state_dict: its values are copied into the memory that is there, and cast to the dtypes that are there.
            strict: the keys must be those of the module. (What older states lack stays as it is: BatchNorm's
                ``num_batches_tracked``.)
            assign: the values, with their dtypes, become the module's parameters and buffers instead: tensors of weft
                share their memory with the module, what other libraries lent is copied. Make optimizers afterwards.

        Raises:
            StateError: keys are missing or not expected (unless ``strict`` is False), shapes differ, or values are
                not tensors. All of these are listed at once, and the module is left as it was.
        """
        own = dict(self._state_entries())
        fit, problems = check_state(own, state_dict)
        missing = [k for k in own if k not in state_dict and not self._is_newer(k, state_dict)]
        unexpected = [k for k in state_dict if k not in own]
        if strict:
            problems = [*_listed("missing keys", missing), *_listed("unexpected keys", unexpected), *problems]
        if problems:
            raise StateError(
                f"{type(self).__name__}.load_state_dict: the state does not fit\n    " + "\n    ".join(problems)
            )
        if assign:
            self._assign_state({name: (own[name], value) for name, value in fit.items()})
        else:
            with no_grad():
                for name, value in fit.items():
                    copy_(own[name], value.detach())
        return IncompatibleKeys(missing, unexpected)

    def _is_newer(self, path: str, state_dict: Mapping[str, Any]) -> bool:
        """Whether an entry came with a later version of its module than the one that wrote a state (PyTorch's dicts say
        which that was; where nothing is said it may have been any)."""
        owner, _, name = path.rpartition(".")
        since = self.get_submodule(owner)._since.get(name, 0)
        said = getattr(state_dict, "_metadata", {}).get(owner, {}).get("version")
        return (0 if said is None else said) < since

    def _assign_state(self, state: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Put other tensors in the places of parameters and buffers; ``{path: (the one that is there, the other)}``."""
        made = {path: _in_place_of(*pair) for path, pair in state.items()}  # everything that may be wrong comes first
        for path, tensor in made.items():
            owner, _, name = path.rpartition(".")
            module = self.get_submodule(owner)
            table: dict[str, Any] = module._parameters if name in module._parameters else module._buffers
            guards.before_write(table, name, tensor)
            table[name] = tensor
        guards.bump()

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

    def apply(self: Self, function: Callable[[Module], Any]) -> Self:
        """Call ``function`` on every module below, then on this one."""
        for module in self.children():
            module.apply(function)
        function(self)
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

    def to(self: Self, target: Any = None, /, dtype: Any = None, device: Any = None) -> Self:
        """Move to a device, cast to a floating dtype, or both: ``to("cpu")``, ``to(wf.float64)``, ``to("cpu", dtype)``.

        Parameters stay the same objects, as do their gradients, and get other memory; buffers become other objects.
        Integer and boolean tensors keep their dtype.

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
            there = x if device is None else to_device(x, device)
            return there if dtype is None or not x.dtype.is_floating or x.dtype is dtype else astype(there, dtype)

        for parameter in self.parameters():
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


def _in_place_of(there: Tensor, value: Tensor) -> Tensor:
    """What a value becomes in the place of a parameter or a buffer."""
    if not isinstance(there, Parameter):
        return owned(value)
    if isinstance(value, Parameter):
        return value.requires_grad_(there.requires_grad)
    return Parameter(value, there.requires_grad)


def _is_held(value: Any) -> bool:
    """A function, or a tensor that is neither parameter nor buffer."""
    return callable(value) or isinstance(value, Tensor)


def _listed(what: str, names: list[str]) -> list[str]:
    return [f"{what}: " + ", ".join(map(repr, names))] if names else []


def _add_hook(hooks: dict[int, Callable[..., Any]], hook: Callable[..., Any]) -> RemovableHandle:
    key = max(hooks, default=-1) + 1
    hooks[key] = hook
    guards.bump()
    return RemovableHandle(hooks, key)


def _path_of(modules: list[Module]) -> str:
    """The path of an error that passed through ``modules`` (innermost first), as seen from the outermost."""
    path = [type(modules[-1]).__name__.lower()]
    for outer, inner in zip(reversed(modules), list(reversed(modules))[1:], strict=False):
        names = [name for name, module in outer.named_modules() if module is inner and name]
        path.append(names[0] if names else type(inner).__name__.lower())
    return ".".join(path)
