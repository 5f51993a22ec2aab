"""Adam and AdamW: steps scaled by running averages of the gradient and of its square."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core import dtypes as dt
from ..core.device import Device
from ..ops.creation import full, zeros
from ..ops.elementwise import cast, expm1, log, maximum, rsqrt, sqrt
from ..ops.op import Array, composite
from ..ops.precision import working
from ..tensor.in_place import Update
from ..tensor.joint import Call
from ..tensor.tensor import Tensor
from .group import ParamGroup
from .optimizer import Optimizer, Parameters, State, require


class Adam(Optimizer):
    """With running averages m of the gradient and v of its square::

        g = grad + weight_decay * p
        m = m + (1 - beta1) * (g - m)                   m' = m / (1 - beta1 ** t)
        v = beta2 * v + (1 - beta2) * g ** 2            v' = v / (1 - beta2 ** t)
        p = p - lr * m' / (sqrt(v') + eps)

    The two corrections are computed in float64 from the number of steps t, as ``-expm1(t * log(beta))``.

    Args:
        params: see :class:`Optimizer`.
        lr: a float, or a tensor of rank 0 that is read by reference.
        betas: ``(beta1, beta2)``, in [0, 1); read by reference, as is the weight decay.
        eps, weight_decay: floats.
        amsgrad: divide by the largest v' so far.
        maximize: go up instead of down.

    Reference:
        Kingma and Ba, Adam: A Method for Stochastic Optimization, 2014.
        Reddi et al., On the Convergence of Adam and Beyond, 2018 (amsgrad).
    """

    _decoupled = False

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas),
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
            },
        )

    def _check_options(self, options: Mapping[str, Any]) -> None:
        for name in ("lr", "eps", "weight_decay"):
            value = options[name]
            require(isinstance(value, Tensor) or value >= 0.0, self, name, value, "0 or more")
        betas = options["betas"]
        require(len(betas) == 2 and all(0.0 <= b < 1.0 for b in betas), self, "betas", betas, "two numbers in [0, 1)")

    def _initial_state(self, p: Tensor, group: ParamGroup) -> State:
        step, *averages = self._state_names(group)
        return {
            step: full((), 0, dtype=dt.int64, device=p.device),
            **{name: zeros(p.shape, dtype=p.dtype, device=p.device) for name in averages},
        }

    def _state_names(self, group: ParamGroup) -> tuple[str, ...]:
        return ("step", "exp_avg", "exp_avg_sq", *(("max_exp_avg_sq",) if group["amsgrad"] else ()))

    def _settings(self, group: ParamGroup, device: Device) -> tuple[Any, ...]:
        return (
            group.tensor("lr", device),
            group.tensor("betas.0", device),
            group.tensor("betas.1", device),
            group["eps"],
            group.tensor("weight_decay", device) if group.has("weight_decay") else None,
            self._decoupled,
            group["maximize"],
        )

    def _update(self, p: Tensor, grad: Tensor, state: Sequence[Tensor], settings: tuple[Any, ...]) -> Call:
        return _adam_, (p, *state), (p, grad, list(state), *settings)


class AdamW(Adam):
    """:class:`Adam` with weight decay apart from the gradient: ``p *= 1 - lr * weight_decay`` before the step.

    Reference:
        Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2017.
    """

    _decoupled = True

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)


def _correction(beta: Array, t: Array) -> Array:
    """``1 - beta ** t``; both are float64, and ``t`` is at least 1. (A beta of 0, whose logarithm is -inf, gives
    1.)"""
    return -expm1(t * log(beta))


@composite
def adam(
    p: Array,
    grad: Array,
    state: list[Array],
    lr: Array,
    beta1: Array,
    beta2: Array,
    eps: float,
    weight_decay: Array | None,
    decoupled: bool,
    maximize: bool,
) -> tuple[Array, ...]:
    """The new parameter, and the new ``[step, exp_avg, exp_avg_sq, max_exp_avg_sq if amsgrad]``."""
    step, *averages = state
    dtype = working(p.dtype)
    value, g = cast(p, dtype), cast(grad, dtype)
    g = -g if maximize else g
    # The scalars of the step, in float64, rounded once to the dtype of the update.
    t, rate = cast(step + 1, dt.float64), cast(lr, dt.float64)
    first, second = cast(beta1, dt.float64), cast(beta2, dt.float64)
    size = cast(rate / _correction(first, t), dtype)
    scale = cast(rsqrt(_correction(second, t)), dtype)
    if weight_decay is not None and decoupled:
        value = value * cast(1.0 - rate * cast(weight_decay, dt.float64), dtype)
    elif weight_decay is not None:
        g = g + cast(weight_decay, dtype) * value
    m, v = (cast(x, dtype) for x in averages[:2])
    m = m + cast(1.0 - first, dtype) * (g - m)
    v = cast(second, dtype) * v + cast(1.0 - second, dtype) * (g * g)
    new = [step + 1, cast(m, averages[0].dtype), cast(v, averages[1].dtype)]
    if len(averages) == 3:
        v = maximum(cast(averages[2], dtype), v)
        new.append(cast(v, averages[2].dtype))
    value = value - size * (m / (sqrt(v) * scale + eps))
    return cast(value, p.dtype), *new


_adam_ = Update(adam)
