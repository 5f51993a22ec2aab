"""Optimizer: parameter groups, state, and the walk over both; subclasses say how one parameter is updated.

An update is one composite over parameter, gradient, state and learning rate, whose results are written over parameter
and state: whoever shares their memory sees the step. From the second time on the updates of a group are one native call
(:mod:`weft.tensor.joint`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, overload

from ..core.device import CPU, Device
from ..core.errors import StateError, WeftError
from ..ops.elementwise import clone
from ..ops.op import state as ops_state
from ..ops.op import suspended
from ..tensor import guards
from ..tensor.create import asarray
from ..tensor.in_place import copy_
from ..tensor.joint import Call, Joint
from ..tensor.tape import clear_grad, enable_grad, no_grad
from ..tensor.tensor import Tensor
from ..transforms.source.find import captured
from .group import ParamGroup

Parameters = Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[Mapping[str, Any]]
State = dict[str, Tensor]
R = TypeVar("R")
_MOST_JOINTS = 8  # of one optimizer: its groups, and sets of parameters that have gradients together


class Optimizer:
    """Base of all optimizers.

    Args:
        params: tensors, ``(name, tensor)`` pairs, or dicts ``{"params": tensors, option: value, ...}``: one parameter
            group each.
        defaults: the options of groups that do not set them.

    Raises:
        ValueError: there are no parameters, or one is in two groups.
        TypeError: something is not a leaf tensor.

    Attributes:
        param_groups: dicts of options, ``"params"`` among them; assign to ``param_groups[0]["lr"]`` to change it.
        state: the tensors kept for each parameter, by parameter and name.
    """

    def __init__(self, params: Parameters, defaults: Mapping[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(f"{type(self).__name__}: params is a single tensor; it must be an iterable of tensors")
        if hasattr(params, "named_parameters"):
            raise TypeError(f"{type(self).__name__}: params is a module; give it module.parameters()")
        self.defaults = dict(defaults)
        self.param_groups: list[ParamGroup] = []
        self.state: defaultdict[Tensor, State] = defaultdict(dict)
        # The updates of a group, by its settings and the parameters that had gradients: False when they were made once,
        # True when they cannot be joined.
        self._joints: dict[Any, Joint | bool] = {}
        listed: list[Any] = list(params)
        if not listed:
            raise ValueError(f"{type(self).__name__}: there are no parameters")
        for group in listed if isinstance(listed[0], Mapping) else [{"params": listed}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Add parameters with options of their own: ``{"params": tensors, option: value, ...}``."""
        given = param_group["params"]
        entries: list[Any] = [given] if isinstance(given, Tensor) else list(given)
        params = [entry[1] if isinstance(entry, tuple) else entry for entry in entries]
        known = {id(p) for group in self.param_groups for p in group["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"{type(self).__name__}: parameters are tensors, not {type(p).__name__}")
            if not p.is_leaf:
                raise TypeError(
                    f"{type(self).__name__}: a parameter of shape {p.shape} is the result of recorded "
                    "calls; only leaves can be optimized"
                )
            if id(p) in known:
                raise ValueError(f"{type(self).__name__}: a parameter of shape {p.shape} is listed twice")
            known.add(id(p))
        options = {**self.defaults, **param_group, "params": params}
        self._check_options(options)
        self.param_groups.append(ParamGroup(options))
        guards.bump()

    def _check_options(self, options: Mapping[str, Any]) -> None:
        """Raise ValueError for options that make no sense."""

    def _initial_state(self, p: Tensor, group: ParamGroup) -> State:
        """The state of a parameter before its first update."""
        raise NotImplementedError

    def _settings(self, group: ParamGroup, device: Device) -> tuple[Any, ...]:
        """What :meth:`_update` needs of a group, read once a step: the learning rate's tensor and Python numbers."""
        raise NotImplementedError

    def _state_names(self, group: ParamGroup) -> tuple[str, ...]:
        """The names of the state that :meth:`_update` uses with a group's options."""
        raise NotImplementedError

    def _update(self, p: Tensor, grad: Tensor, state: Sequence[Tensor], settings: tuple[Any, ...]) -> Call:
        """The update of one parameter and its state (in the order of their names), which are written in place."""
        raise NotImplementedError

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the parameters' gradients, or set them to zero."""
        for p in self._parameters():
            clear_grad(p, set_to_none)

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], R]) -> R: ...
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Args:
            closure: computes the loss again, with its gradients, and returns it.

        Returns:
            What the closure returned, else None.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = captured(closure)()
        with no_grad():
            for group in self.param_groups:
                self._step_group(group)
        if guards.is_recording():
            guards.read(self, "", self.guarded())
        return loss

    def guarded(self) -> tuple[Any, ...]:
        """What a captured step is specialised on besides options: the parameters and the tensors of their state."""
        state = [tensor for p in self._parameters() for tensor in self.state.get(p, {}).values()]
        return (*self._parameters(), None, *state)

    def _step_group(self, group: ParamGroup) -> None:
        params: list[Tensor] = group["params"]
        grads = _gradients(params)
        if any(g is None for g in grads):
            params = [p for p, g in zip(params, grads, strict=True) if g is not None]
            grads = [g for g in grads if g is not None]
        if not params:
            return
        names, settings = self._state_names(group), self._settings(group, _device_of(params))
        states = [self._state_of(p, names, group) for p in params] if names else []
        if ops_state.trace is not None:
            for update, targets, args in self._calls(params, grads, states, settings):
                update(targets, *args)
            return
        kept = [*params, *[t for held in states for t in held], *[s for s in settings if isinstance(s, Tensor)]]
        key = (settings, *params)
        joint = self._joints.get(key)
        if isinstance(joint, Joint) and joint.run(kept, grads):
            return
        calls = self._calls(params, grads, states, settings)
        for update, targets, args in calls:
            update(targets, *args)
        if joint is None:
            self._forget_joints()
            self._joints[key] = False
        elif joint is not True:
            if isinstance(joint, Joint):  # something lies elsewhere now: what it was must not be kept alive
                self._joints.clear()
            self._joints[key] = Joint.of(calls, kept, grads) or True

    def _forget_joints(self) -> None:
        """Make room for another joint: those of parameters that are in no group any more, or all, go."""
        here = set(map(id, self._parameters()))
        self._joints = {k: j for k, j in self._joints.items() if all(id(p) in here for p in k[1:])}
        if len(self._joints) >= _MOST_JOINTS * len(self.param_groups):
            self._joints.clear()

    def _calls(
        self,
        params: Sequence[Tensor],
        grads: Sequence[Tensor],
        states: Sequence[Sequence[Tensor]],
        settings: tuple[Any, ...],
    ) -> list[Call]:
        held = states or [()] * len(params)
        return [self._update(p, g, s, settings) for p, g, s in zip(params, grads, held, strict=True)]

    def _state_of(self, p: Tensor, names: tuple[str, ...], group: ParamGroup) -> list[Tensor]:
        """The state of a parameter, in the order of the names; made where it is missing."""
        state = self.state.get(p, {})
        try:
            return [state[name] for name in names]
        except KeyError:  # none yet, or of options that needed less
            with suspended():  # it must outlive a capture that is going on
                state = self.state.setdefault(p, {})  # of two threads that come here at once both get the same
                for name, tensor in self._initial_state(p, group).items():
                    state.setdefault(name, tensor)
            return [state[name] for name in names]

    def _parameters(self) -> Iterator[Tensor]:
        return (p for group in self.param_groups for p in group["params"])

    # --- state ------------------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_joints": {}}

    def state_dict(self) -> dict[str, Any]:
        """``{"state": {number: {name: tensor}}, "param_groups": [{option: value, "params": numbers}]}``.

        Parameters are numbered in the order of the groups, as in PyTorch. The tensors share the memory of the state, so
        that the next step changes them: ``copy.deepcopy`` what should stay.
        """
        numbers = {id(p): k for k, p in enumerate(self._parameters())}
        groups = [
            {
                name: [numbers[id(p)] for p in value] if name == "params" else _plain(value)
                for name, value in group.items()
            }
            for group in self.param_groups
        ]
        state = {
            numbers[id(p)]: {name: t.detach() if isinstance(t, Tensor) else t for name, t in held.items()}
            for p, held in self.state.items()
        }
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave: options, and copies of the state, cast to the parameters' dtypes.

        Raises:
            StateError: groups, parameters or shapes differ; all that is wrong is listed, and nothing is changed.
        """
        name = type(self).__name__
        try:
            groups, saved = list(state_dict["param_groups"]), dict(state_dict["state"])
            sizes = [len(group["params"]) for group in groups]
        except (KeyError, TypeError, ValueError):
            raise StateError(f"{name}.load_state_dict: wants 'state' and 'param_groups' with 'params' each") from None
        own = [len(group["params"]) for group in self.param_groups]
        if sizes != own:
            raise StateError(f"{name}.load_state_dict: the groups have {sizes} parameters in the state, {own} here")
        becoming: list[ParamGroup] = []  # the group of each parameter, as the state says it is: buffers depend on that
        for group, loaded in zip(self.param_groups, groups, strict=True):
            try:
                options = {**group, **_options(loaded)}
                if not isinstance(options.get("lr"), (Tensor, type(None))):
                    float(options["lr"])
                self._check_options(options)
                becoming += [ParamGroup(options)] * len(group["params"])
            except (TypeError, ValueError) as error:
                raise StateError(f"{name}.load_state_dict: options that make no sense: {error}") from None
        numbers = [k for group in groups for k in group["params"]]
        by_number = dict(zip(numbers, zip(self._parameters(), becoming, strict=True), strict=True))
        fit: dict[Tensor, tuple[State, State]] = {}
        problems: list[str] = []
        keeps_own = type(self)._initial_state is Optimizer._initial_state  # a user's optimizer, which may keep anything
        for number, tensors in saved.items():
            if number not in by_number:
                problems.append(f"state of parameter {number!r}, which is in no group")
                continue
            p, group = by_number[number]
            if keeps_own:
                fit[p] = {name: _cast_like(p, name, value) for name, value in tensors.items()}, {}
                continue
            fit[p] = self._fit_state(number, tensors, p, group, problems)
        if problems:
            raise StateError(f"{name}.load_state_dict: the state does not fit\n    " + "\n    ".join(problems))
        for group, loaded in zip(self.param_groups, groups, strict=True):
            group.update(_options(loaded))
        self._take_over(fit)

    def _fit_state(
        self, number: Any, tensors: Mapping[str, Any], p: Tensor, group: ParamGroup, problems: list[str]
    ) -> tuple[State, State]:
        """The state of one parameter, as it is or would begin, and what it is to become, checked against that."""
        fresh = {**self._initial_state(p, group), **self.state.get(p, {})}
        made: State = {}
        for name, held in fresh.items():
            value = tensors.get(name)
            if value is None:
                made[name] = self._missing_state(name, held)
                continue
            try:
                tensor = value if isinstance(value, Tensor) else asarray(value)
            except (WeftError, TypeError, ValueError):
                problems.append(f"{name!r} of parameter {number} is a {type(value).__name__}, not a tensor")
                continue
            if tensor.shape != held.shape:
                problems.append(
                    f"{name!r} of parameter {number} has shape {tuple(tensor.shape)} in the state and "
                    f"{tuple(held.shape)} here"
                )
            made[name] = tensor.detach()
        problems.extend(
            f"{k!r} of parameter {number} is not known to {type(self).__name__}"
            for k, v in tensors.items()
            if k not in fresh and v is not None
        )
        return fresh, made

    def _missing_state(self, name: str, fresh: Tensor) -> Tensor:
        """The value of a state tensor that a saved state does not have."""
        return fresh

    def _take_over(self, state: dict[Tensor, tuple[State, State]]) -> None:
        for p in list(self.state):
            if p not in state:
                del self.state[p]
        for p, (held, tensors) in state.items():
            self.state[p] = held
            with no_grad():
                for name, tensor in tensors.items():
                    copy_(held[name], tensor)  # the same objects: captured steps hold them by reference
        guards.bump()

    def __repr__(self) -> str:
        lines = []
        for k, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {k}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return f"{type(self).__name__} (\n" + "\n".join(lines) + "\n)"


def _options(group: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a group in a state dict; lists were tuples before they went through JSON."""
    return {k: _own(tuple(v) if isinstance(v, list) else v) for k, v in group.items() if k != "params"}


def _own(value: Any) -> Any:
    return clone(value.detach()) if isinstance(value, Tensor) else value


def _cast_like(p: Tensor, name: str, value: Any) -> Any:
    """A copy of state that was saved; floats get the parameter's dtype, but for a count of steps, as in PyTorch."""
    if isinstance(value, dict):
        return {key: _cast_like(p, name, item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([_cast_like(p, name, item) for item in value])
    if isinstance(value, Tensor) and value.dtype.is_floating and p.dtype.is_floating and name != "step":
        return clone(value.detach()).astype(p.dtype)
    return _own(value)


def _device_of(params: Sequence[Tensor]) -> Device:
    """Where the learning rate of parameters lies: with them; on the CPU, as a number, where they are on several."""
    device = params[0]._spec.device
    return device if device is CPU or all(p._spec.device is device for p in params) else CPU


def _gradients(params: Sequence[Tensor]) -> list[Any]:
    """The gradients of parameters, None where there is none."""
    if ops_state.trace is None:
        try:
            return [p._node.grad for p in params]  # a fifth of what the attribute costs, which may be captured
        except AttributeError:  # one that does not require grad
            pass
    return [p.grad for p in params]


def _plain(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


def require(condition: bool, owner: object, name: str, value: Any, wanted: str) -> None:
    """Raise ValueError unless the option is as it should be."""
    if not condition:
        raise ValueError(f"{type(owner).__name__}: {name} is {value}; it must be {wanted}")
