"""States of modules: ``{path: tensor}``, given and taken over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

from ..core.errors import ArgumentError, StateError
from ..tensor import guards
from ..tensor.gradient_hooks import RemovableHandle, told
from ..tensor.in_place import copy_, owned
from ..tensor.tape import no_grad
from ..tensor.tensor import Tensor
from . import hooks
from .parameter import Parameter, is_lazy
from .state import check_state
from .tree import Tree

if TYPE_CHECKING:
    from .module import Module

_EXTRA = "_extra_state"  # the last part of the path of what get_extra_state gives


class IncompatibleKeys(NamedTuple):
    """What :meth:`Module.load_state_dict` did not match (with ``strict=False``)."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Saved(Tree):
    """A module's part that gives its state, and takes one over."""

    _non_persistent: set[str]
    _state_pre_hooks: dict[int, Callable[..., Any]]
    _state_hooks: dict[int, Callable[..., Any]]
    _load_pre_hooks: dict[int, Callable[..., Any]]
    _load_hooks: dict[int, Callable[..., Any]]

    _since: ClassVar[Mapping[str, int]] = {}
    """Of entries that states of earlier versions lack: the version of PyTorch's module that has them."""

    def get_extra_state(self) -> Any:
        """What a subclass keeps in its state beside tensors; :meth:`set_extra_state` gets it back. A state with such an
        entry fits modules that define that one."""
        raise NotImplementedError(f"{type(self).__name__} does not define get_extra_state")

    def set_extra_state(self, state: Any) -> None:
        """Take over what :meth:`get_extra_state` gave."""
        raise NotImplementedError(f"{type(self).__name__} does not define set_extra_state")

    def _state_entries(self) -> Iterator[tuple[str, Tensor]]:
        """Parameters and persistent buffers with their paths, module by module; shared ones under each path."""
        for path, module in self.named_modules(remove_duplicate=False):
            yield from module._own_entries(f"{path}." if path else "")

    def _own_entries(self, prefix: str) -> Iterator[tuple[str, Tensor]]:
        for name, value in (*self._parameters.items(), *self._buffers.items()):
            if value is not None and name not in self._non_persistent:
                yield prefix + name, value

    def state_dict(
        self, *, destination: dict[str, Any] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """``{path: value}`` of the parameters and persistent buffers.

        The tensors share the memory of the module's: what is written into them is written into the module, and
        training on changes them. ``copy.deepcopy`` what should stay.

        Args:
            destination: the dict that is filled and returned; None: a new one.
            prefix: what the paths begin with.
            keep_vars: the parameters and buffers themselves, which are detached otherwise.
        """
        state: dict[str, Any] = {} if destination is None else destination
        self._fill(state, prefix, keep_vars)
        return state

    def _fill(self, state: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        module = cast("Module", self)
        for hook in list(self._state_pre_hooks.values()):
            hook(module, prefix, keep_vars)
        for name, value in self._own_entries(prefix):
            state[name] = value if keep_vars or is_lazy(value) else value.detach()
        if type(self).get_extra_state is not Saved.get_extra_state:
            state[prefix + _EXTRA] = self.get_extra_state()
        for name, below in self._modules.items():
            if below is not None:
                below._fill(state, f"{prefix}{name}.", keep_vars)
        for hook in list(self._state_hooks.values()):
            _check_none("state_dict", hook, hook(module, state, prefix, {}))

    def register_state_dict_pre_hook(self, hook: Callable[[Module, str, bool], None]) -> RemovableHandle:
        """Call ``hook(module, prefix, keep_vars)`` before :meth:`state_dict` looks at this module."""
        return hooks.add(self._state_pre_hooks, hook)

    def register_state_dict_post_hook(
        self, hook: Callable[[Module, dict[str, Any], str, dict[str, Any]], None]
    ) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata)`` when the state of this module, and of what is below
        it, is in the dict, which the hook may change."""
        return hooks.add(self._state_hooks, hook)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)``
        before :meth:`load_state_dict` looks at a state, a copy of the dict that it was given. The hook may change that,
        and append to the three lists. (``strict`` is True, as in PyTorch.)"""
        return hooks.add(self._load_pre_hooks, hook)

    def register_load_state_dict_post_hook(self, hook: Callable[[Module, IncompatibleKeys], None]) -> RemovableHandle:
        """Call ``hook(module, incompatible_keys)`` when :meth:`load_state_dict` has set what fits. It may change both
        lists: ``strict`` looks at what it leaves there, which is an error then, with the rest loaded."""
        return hooks.add(self._load_hooks, hook)

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
        keys, problems = IncompatibleKeys([], []), list[str]()
        state_dict = self._hooked_state(state_dict, keys, problems)
        own, extra = dict(self._state_entries()), self._extra_states()
        fit, wrong = check_state(own, state_dict)
        keys.missing_keys.extend(k for k in own if k not in state_dict and not self._is_newer(k, state_dict))
        keys.missing_keys.extend(k for k in extra if k not in state_dict)
        keys.unexpected_keys.extend(k for k in state_dict if k not in own and k not in extra)
        hooked = [module for _, module in self.named_modules() if module._load_hooks]
        self._check_keys([*problems, *wrong], keys, strict and not hooked)
        if assign:
            self._assign_state({name: (own[name], value) for name, value in fit.items()})
        else:
            for name, value in fit.items():
                _copy_into(own[name], value)
        for name, module in extra.items():
            if name in state_dict:
                module.set_extra_state(state_dict[name])
        for module in reversed(hooked):  # those below come first
            for hook in list(module._load_hooks.values()):
                _check_none("load_state_dict", hook, hook(module, keys))
        self._check_keys([], keys, strict)
        return keys

    def _check_keys(self, problems: list[str], keys: IncompatibleKeys, strict: bool) -> None:
        if strict:
            listed = _listed("missing keys", keys.missing_keys), _listed("unexpected keys", keys.unexpected_keys)
            problems = [*listed[0], *listed[1], *problems]
        if problems:
            raise StateError(
                f"{type(self).__name__}.load_state_dict: the state does not fit\n    " + "\n    ".join(problems)
            )

    def _extra_states(self) -> dict[str, Module]:
        return {
            f"{path}.{_EXTRA}" if path else _EXTRA: module
            for path, module in self.named_modules(remove_duplicate=False)
            if type(module).set_extra_state is not Saved.set_extra_state
        }

    def _hooked_state(
        self, state_dict: Mapping[str, Any], keys: IncompatibleKeys, problems: list[str]
    ) -> Mapping[str, Any]:
        """The state, as hooks on its way in leave it."""
        hooked = [
            (path, module) for path, module in self.named_modules(remove_duplicate=False) if module._load_pre_hooks
        ]
        if not hooked:
            return state_dict
        metadata = getattr(state_dict, "_metadata", None)
        state = _Noted(state_dict)
        state._metadata = metadata or {}
        for path, module in hooked:
            for hook in list(module._load_pre_hooks.values()):
                local = state._metadata.get(path, {})
                hook(module, state, f"{path}." if path else "", local, True, *keys, problems)
        return state

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
            module = cast("Module", self).get_submodule(owner)
            table: dict[str, Any] = module._parameters if name in module._parameters else module._buffers
            guards.before_write(table, name, tensor)
            table[name] = tensor
        guards.bump()


class _Noted(dict[str, Any]):
    """A state with what PyTorch says of the modules that wrote it."""

    _metadata: Mapping[str, Any]


def _check_none(kind: str, hook: Any, found: Any) -> None:
    if found is not None:
        raise ArgumentError(
            f"the {kind} post-hook {told(hook)} returned a value of type {type(found).__name__}, which nobody takes: "
            "it changes what it is given, and returns None"
        )


def _copy_into(there: Tensor, value: Tensor) -> None:
    if is_lazy(value):
        return
    if is_lazy(there):
        there.materialize(tuple(value.shape))
    with no_grad():
        copy_(there, value.detach())


def _in_place_of(there: Tensor, value: Tensor) -> Tensor:
    """What a value becomes in the place of a parameter or a buffer."""
    if not isinstance(there, Parameter):
        return owned(value)
    if isinstance(value, Parameter):
        return value.requires_grad_(there.requires_grad)
    return Parameter(value, there.requires_grad)


def _listed(what: str, names: list[str]) -> list[str]:
    return [f"{what}: " + ", ".join(map(repr, names))] if names else []
