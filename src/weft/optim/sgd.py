"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core import dtypes as dt
from ..core.device import Device
from ..ops.creation import full, zeros
from ..ops.elementwise import cast, where
from ..ops.op import Array, composite
from ..ops.precision import working
from ..tensor.in_place import Update
from ..tensor.joint import Call
from ..tensor.tensor import Tensor
from .group import ParamGroup
from .optimizer import Optimizer, Parameters, State, require


class SGD(Optimizer):
    """``p -= lr * g``, with ``g`` the gradient, weight decay added, or its running sum under momentum::

        g = grad + weight_decay * p
        v = momentum * v + (1 - dampening) * g          (at first v = g)
        p = p - lr * (g + momentum * v if nesterov else v)

    Args:
        params: see :class:`Optimizer`.
        lr: a float, or a tensor of rank 0 that is read by reference.
        momentum, dampening, weight_decay: floats; momentum and weight decay are read by reference, too.
        nesterov: needs momentum and no dampening.
        maximize: go up instead of down.

    Reference:
        Sutskever et al., On the Importance of Initialization and Momentum in Deep Learning, 2013.

    Example:
        >>> w = wf.tensor([1.0], requires_grad=True)
        >>> (w * w).sum().backward()
        >>> wf.optim.SGD([w], lr=0.25).step()
        >>> w.tolist()
        [0.5]
    """

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    def _check_options(self, options: Mapping[str, Any]) -> None:
        for name in ("lr", "momentum", "weight_decay"):
            value = options[name]
            require(isinstance(value, Tensor) or value >= 0.0, self, name, value, "0 or more")
        if options["nesterov"]:
            plain = options["momentum"] > 0.0 and options["dampening"] == 0.0
            require(plain, self, "nesterov", True, "False without momentum or with dampening")

    def _initial_state(self, p: Tensor, group: ParamGroup) -> State:
        names = self._state_names(group)
        return {
            n: full((), 0, dtype=dt.int64, device=p.device)
            if n == "step"
            else zeros(p.shape, dtype=p.dtype, device=p.device)
            for n in names
        }

    def _state_names(self, group: ParamGroup) -> tuple[str, ...]:
        if not group.has("momentum"):
            return ()
        return ("momentum_buffer", "step") if group["dampening"] else ("momentum_buffer",)

    def _missing_state(self, name: str, fresh: Tensor) -> Tensor:
        return (
            full((), 1, dtype=dt.int64, device=fresh.device) if name == "step" else fresh
        )  # PyTorch saves none: it has begun

    def _settings(self, group: ParamGroup, device: Device) -> tuple[Any, ...]:
        decay = group.tensor("weight_decay", device) if group.has("weight_decay") else None
        momentum = group.tensor("momentum", device) if group.has("momentum") else None
        names = ("dampening", "nesterov", "maximize")
        return (group.tensor("lr", device), decay, momentum, *(group[name] for name in names))

    def _update(self, p: Tensor, grad: Tensor, state: Sequence[Tensor], settings: tuple[Any, ...]) -> Call:
        lr, decay, momentum, dampening, nesterov, maximize = settings
        if momentum is None:
            return _sgd_, (p,), (p, grad, lr, decay, maximize)
        if not dampening:
            return _sgd_momentum_, (p, *state), (p, grad, *state, lr, momentum, decay, nesterov, maximize)
        return _sgd_dampened_, (p, *state), (p, grad, *state, lr, momentum, dampening, decay, maximize)


def _descent(p: Array, grad: Array, weight_decay: Array | None, maximize: bool) -> tuple[Array, Array]:
    """Parameter and gradient in the dtype of the update, the gradient with weight decay."""
    value, g = cast(p, working(p.dtype)), cast(grad, working(p.dtype))
    g = -g if maximize else g
    return value, g if weight_decay is None else g + cast(weight_decay, value.dtype) * value


@composite
def sgd(p: Array, grad: Array, lr: Array, weight_decay: Array | None, maximize: bool) -> Array:
    """The new parameter."""
    value, g = _descent(p, grad, weight_decay, maximize)
    return cast(value - cast(lr, value.dtype) * g, p.dtype)


@composite
def sgd_momentum(
    p: Array,
    grad: Array,
    held: Array,
    lr: Array,
    momentum: Array,
    weight_decay: Array | None,
    nesterov: bool,
    maximize: bool,
) -> tuple[Array, Array]:
    """The new parameter and momentum buffer."""
    value, g = _descent(p, grad, weight_decay, maximize)
    part = cast(momentum, value.dtype)
    v = part * cast(held, value.dtype) + g
    direction = g + part * v if nesterov else v
    return cast(value - cast(lr, value.dtype) * direction, p.dtype), cast(v, held.dtype)


@composite
def sgd_dampened(
    p: Array,
    grad: Array,
    held: Array,
    step: Array,
    lr: Array,
    momentum: Array,
    dampening: float,
    weight_decay: Array | None,
    maximize: bool,
) -> tuple[Array, Array, Array]:
    """The new parameter, momentum buffer and number of steps."""
    value, g = _descent(p, grad, weight_decay, maximize)
    v = where(step == 0, g, cast(momentum, value.dtype) * cast(held, value.dtype) + (1.0 - dampening) * g)
    return cast(value - cast(lr, value.dtype) * v, p.dtype), cast(v, held.dtype), step + 1


_sgd_, _sgd_momentum_, _sgd_dampened_ = Update(sgd), Update(sgd_momentum), Update(sgd_dampened)
