"""Activations as modules: ``(*) -> (*)``, elementwise unless they name an axis."""

from __future__ import annotations

from typing import Any

from ..core.errors import ArgumentError, ShapeError
from ..ops import activation as ops
from ..ops.elementwise import sigmoid, tanh
from ..ops.random import default_generator
from ..tensor.tensor import Tensor
from . import init
from .module import Module
from .parameter import blank


def _apply(inplace: bool, function: Any, input: Tensor, *options: Any) -> Tensor:
    """An activation of the input, written over it where ``inplace``."""
    result: Tensor = function(input, *options, True) if inplace else function(input, *options)
    return result


def _in_place(inplace: bool) -> str:
    return ", inplace=True" if inplace else ""


class _WithoutOptions(Module):
    """What activations share that take nothing but whether to write over their input."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def extra_repr(self) -> str:
        """Whether it writes over its input."""
        return _in_place(self.inplace).removeprefix(", ")


class ReLU(_WithoutOptions):
    """``max(0, x)``."""

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*)``."""
        return _apply(self.inplace, ops.relu, input)


class ReLU6(_WithoutOptions):
    """``min(max(0, x), 6)``."""

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*)``."""
        return _apply(self.inplace, ops.relu6, input)


class LeakyReLU(Module):
    """``x`` above 0, ``negative_slope * x`` below."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace
        self.negative_slope = negative_slope

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*)``."""
        return _apply(self.inplace, ops.leaky_relu, input, self.negative_slope)

    def extra_repr(self) -> str:
        """The slope."""
        return f"negative_slope={self.negative_slope}{_in_place(self.inplace)}"


class RReLU(Module):
    """``x`` above 0, ``a * x`` below: ``a`` is drawn from ``[lower, upper)`` in training, else the middle."""

    def __init__(self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace
        self.lower, self.upper = lower, upper

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*)``."""
        state = default_generator(input.device).next() if self.training else None
        return _apply(self.inplace, ops.rrelu_by, input, state, self.lower, self.upper)

    def extra_repr(self) -> str:
        """The bounds."""
        return f"lower={self.lower}, upper={self.upper}{_in_place(self.inplace)}"


class Threshold(Module):
    """``x`` above ``threshold``, else ``value``."""

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace
        self.threshold, self.value = threshold, value

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*)``."""
        return _apply(self.inplace, ops.threshold, input, self.threshold, self.value)

    def extra_repr(self) -> str:
        """The numbers."""
        return f"threshold={self.threshold}, value={self.value}{_in_place(self.inplace)}"


class PReLU(Module):
    """``x`` above 0, ``weight * x`` below; ``weight`` ``(num_parameters,)`` is learned."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25, *, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.num_parameters, self.init = num_parameters, init
        self.weight = blank((num_parameters,), dtype, device)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the slopes to their first value."""
        init.constant_(self.weight, self.init)

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C, ...) -> (N, C, ...)``; with one parameter, any shape."""
        return ops.prelu(input, self.weight)

    def extra_repr(self) -> str:
        """The number of slopes."""
        return f"num_parameters={self.num_parameters}"


class ELU(Module):
    """``x`` above 0, ``alpha * (exp(x) - 1)`` below."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace
        self.alpha = alpha

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*)``."""
        return _apply(self.inplace, ops.elu, input, self.alpha)

    def extra_repr(self) -> str:
        """The constant."""
        return f"alpha={self.alpha}{_in_place(self.inplace)}"


class CELU(Module):
    """``x`` above 0, ``alpha * (exp(x / alpha) - 1)`` below."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace
        self.alpha = alpha

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*)``."""
        return _apply(self.inplace, ops.celu, input, self.alpha)

    def extra_repr(self) -> str:
        """The constant."""
        return f"alpha={self.alpha}{_in_place(self.inplace)}"


class SELU(_WithoutOptions):
    """``elu`` scaled so that activations keep mean 0 and variance 1."""

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*)``."""
        return _apply(self.inplace, ops.selu, input)


class GELU(Module):
    """``x * P(N(0, 1) <= x)``; ``approximate``: ``'none'`` or ``'tanh'``."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*)``."""
        return ops.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        """The way it is computed."""
        return f"approximate={self.approximate!r}"


class SiLU(_WithoutOptions):
    """``x * sigmoid(x)``."""

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*)``."""
        return _apply(self.inplace, ops.silu, input)


class Mish(_WithoutOptions):
    """``x * tanh(softplus(x))``."""

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*)``."""
        return _apply(self.inplace, ops.mish, input)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*)``."""
        return tanh(input)


class Sigmoid(Module):
    """``1 / (1 + exp(-x))``."""

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*)``."""
        return sigmoid(input)


class LogSigmoid(Module):
    """``log(sigmoid(x))``."""

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*)``."""
        return ops.logsigmoid(input)


class Softplus(Module):
    """``log(1 + exp(beta * x)) / beta``; x itself where ``beta * x`` is above ``threshold``."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*)``."""
        return ops.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        """The constants."""
        return f"beta={self.beta}, threshold={self.threshold}"


class Softsign(Module):
    """``x / (1 + |x|)``."""

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*)``."""
        return ops.softsign(input)


class Hardtanh(Module):
    """``x`` cut to ``[min_val, max_val]``."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace
        if not min_val < max_val:
            raise ArgumentError(f"Hardtanh: min_val {min_val} must be below max_val {max_val}")
        self.min_val, self.max_val = min_val, max_val

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*)``."""
        return _apply(self.inplace, ops.hardtanh, input, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        """The bounds."""
        return f"min_val={self.min_val}, max_val={self.max_val}{_in_place(self.inplace)}"


class Hardsigmoid(Module):
    """``min(max(0, x + 3), 6) / 6``."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*)``."""
        return _apply(self.inplace, ops.hardsigmoid, input)


class Hardswish(Module):
    """``x * hardsigmoid(x)``."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*)``."""
        return _apply(self.inplace, ops.hardswish, input)


class Hardshrink(Module):
    """``x``, and 0 in ``[-lambd, lambd]``."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*)``."""
        return ops.hardshrink(input, self.lambd)

    def extra_repr(self) -> str:
        """The bound."""
        return f"{self.lambd}"


class Softshrink(Module):
    """``x`` moved towards 0 by ``lambd``, and 0 in ``[-lambd, lambd]``."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*)``."""
        return ops.softshrink(input, self.lambd)

    def extra_repr(self) -> str:
        """The bound."""
        return f"{self.lambd}"


class Tanhshrink(Module):
    """``x - tanh(x)``."""

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*)``."""
        return ops.tanhshrink(input)


class GLU(Module):
    """``a * sigmoid(b)`` of the two halves of axis ``dim``."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """``(*, 2 * n, *) -> (*, n, *)``."""
        return ops.glu(input, self.dim)

    def extra_repr(self) -> str:
        """The axis."""
        return f"dim={self.dim}"


class Softmax(Module):
    """``exp(x) / sum(exp(x))`` along axis ``dim``; None is the last."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*)``."""
        return ops.softmax(input, -1 if self.dim is None else self.dim)

    def extra_repr(self) -> str:
        """The axis."""
        return f"dim={self.dim}"


class Softmin(Module):
    """``softmax(-x)`` along axis ``dim``; None is the last."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*)``."""
        return ops.softmin(input, -1 if self.dim is None else self.dim)

    def extra_repr(self) -> str:
        """The axis."""
        return f"dim={self.dim}"


class Softmax2d(Module):
    """``softmax`` over the channels at each place of an image."""

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C, H, W)`` or ``(C, H, W)`` -> the same."""
        if input.ndim not in (3, 4):
            raise ShapeError(f"Softmax2d: input {input.shape}: wants (N, C, H, W) or (C, H, W)")
        return ops.softmax(input, -3)


class LogSoftmax(Module):
    """``log(softmax(x))`` along axis ``dim``; None is the last."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*)``."""
        return ops.log_softmax(input, -1 if self.dim is None else self.dim)

    def extra_repr(self) -> str:
        """The axis."""
        return f"dim={self.dim}"
