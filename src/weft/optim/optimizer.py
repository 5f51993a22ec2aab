"""Optimizer: parameter groups, state, and the walk over both; subclasses say how one parameter is updated.

An update is one composite over parameter, gradient, state and learning rate, hence one fused kernel for each
parameter; its results are rebound to the same Tensor objects, so that a captured step updates in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ..core.errors import StateError, WeftError
from ..ops.elementwise import astype
from ..ops.op import suspended
from ..tensor import guards
from ..tensor.create import asarray
from ..tensor.tape import clear_grad, enable_grad, no_grad
from ..tensor.tensor import Tensor
from .group import ParamGroup

__all__ = ["Optimizer", "Parameters", "require"]

Parameters = Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[Mapping[str, Any]]
State = dict[str, Tensor]


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
        self.state: dict[Tensor, State] = {}
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

    def _settings(self, group: ParamGroup) -> tuple[Any, ...]:
        """What :meth:`_update` needs of a group, read once a step: the learning rate's tensor and Python numbers."""
        raise NotImplementedError

    def _update(self, p: Tensor, grad: Tensor, state: State, settings: tuple[Any, ...]) -> tuple[Tensor, State]:
        """The parameter's and the state's new values: one call of one composite."""
        raise NotImplementedError

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the parameters' gradients, or set them to zero."""
        for p in self._parameters():
            clear_grad(p, set_to_none)

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
                loss = closure()
        with no_grad():
            for group in self.param_groups:
                settings = self._settings(group)
                for p in group["params"]:
                    grad = p.grad
                    if grad is not None:
                        self._step_one(p, grad, group, settings)
        if guards.is_recording():
            guards.read(self, "", self.guarded())
        return loss

    def guarded(self) -> tuple[Any, ...]:
        """What a captured step is specialised on besides options: the parameters and the tensors of their state."""
        state = [tensor for p in self._parameters() for tensor in self.state.get(p, {}).values()]
        return (*self._parameters(), None, *state)

    def _step_one(self, p: Tensor, grad: Tensor, group: ParamGroup, settings: tuple[Any, ...]) -> None:
        state = self.state.get(p)
        if not state:  # none yet, or of options that needed none
            with suspended():  # it must outlive a capture that is going on
                state = self.state.setdefault(p, {})  # of two threads that come here at once both get the same
                for name, tensor in self._initial_state(p, group).items():
                    state.setdefault(name, tensor)
        value, new = self._update(p, grad, state, settings)
        p.assign(value)
        for name, tensor in new.items():
            state[name].assign(tensor)

    def _parameters(self) -> Iterator[Tensor]:
        return (p for group in self.param_groups for p in group["params"])

    # --- state ------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """``{"state": {number: {name: tensor}}, "param_groups": [{option: value, "params": numbers}]}``.

        Parameters are numbered in the order of the groups, as in PyTorch. The tensors are the values of now.
        """
        numbers = {id(p): k for k, p in enumerate(self._parameters())}
        groups = [
            {
                name: [numbers[id(p)] for p in value] if name == "params" else _plain(value)
                for name, value in group.items()
            }
            for group in self.param_groups
        ]
        state = {numbers[id(p)]: {name: t.detach() for name, t in held.items()} for p, held in self.state.items()}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave: options, and state cast to the parameters' dtypes.

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
        for group, loaded in zip(self.param_groups, groups, strict=True):
            try:
                options = {**group, **_options(loaded)}
                if not isinstance(options["lr"], Tensor):
                    float(options["lr"])
                self._check_options(options)
            except (TypeError, ValueError) as error:
                raise StateError(f"{name}.load_state_dict: options that make no sense: {error}") from None
        numbers = [k for group in groups for k in group["params"]]
        by_number = dict(zip(numbers, zip(self._parameters(), self._groups(), strict=True), strict=True))
        fit: dict[Tensor, State] = {}
        problems: list[str] = []
        for number, tensors in saved.items():
            if number not in by_number:
                problems.append(f"state of parameter {number!r}, which is in no group")
                continue
            p, group = by_number[number]
            fit[p] = self._fit_state(number, tensors, p, group, problems)
        if problems:
            raise StateError(f"{name}.load_state_dict: the state does not fit\n    " + "\n    ".join(problems))
        for group, loaded in zip(self.param_groups, groups, strict=True):
            group.update(_options(loaded))
        self._take_over(fit)

    def _fit_state(
        self, number: Any, tensors: Mapping[str, Any], p: Tensor, group: ParamGroup, problems: list[str]
    ) -> State:
        """The saved tensors of one parameter, checked against those that it would begin with."""
        fresh = self.state.get(p) or self._initial_state(p, group)
        made: State = {}
        for name, held in fresh.items():
            value = tensors.get(name)
            if value is None:
                made[name] = self._missing_state(name, held)
                continue
            try:
                tensor = value if isinstance(value, Tensor) else asarray(value, copy=True)
            except (WeftError, TypeError, ValueError):
                problems.append(f"{name!r} of parameter {number} is a {type(value).__name__}, not a tensor")
                continue
            if tensor.shape != held.shape:
                problems.append(
                    f"{name!r} of parameter {number} has shape {tuple(tensor.shape)} in the state and "
                    f"{tuple(held.shape)} here"
                )
            made[name] = astype(tensor.detach(), held.dtype)
        problems.extend(
            f"{k!r} of parameter {number} is not known to {type(self).__name__}"
            for k, v in tensors.items()
            if k not in fresh and v is not None
        )
        return made

    def _missing_state(self, name: str, fresh: Tensor) -> Tensor:
        """The value of a state tensor that a saved state does not have."""
        return fresh

    def _take_over(self, state: dict[Tensor, State]) -> None:
        for p in list(self.state):
            if p not in state:
                del self.state[p]
        for p, tensors in state.items():
            held = self.state.get(p)
            if held is None:
                self.state[p] = dict(tensors)
                continue
            for name, tensor in tensors.items():
                held[name].assign(tensor)  # the same objects: captured steps hold them by reference
        guards.bump()

    def _groups(self) -> Iterator[ParamGroup]:
        return (group for group in self.param_groups for _ in group["params"])

    def __repr__(self) -> str:
        lines = []
        for k, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {k}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return f"{type(self).__name__} (\n" + "\n".join(lines) + "\n)"


def _options(group: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a group in a state dict; lists were tuples before they went through JSON."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in group.items() if k != "params"}


def _plain(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


def require(condition: bool, owner: object, name: str, value: Any, wanted: str) -> None:
    """Raise ValueError unless the option is as it should be."""
    if not condition:
        raise ValueError(f"{type(owner).__name__}: {name} is {value}; it must be {wanted}")
