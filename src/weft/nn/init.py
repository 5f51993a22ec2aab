"""Initial values: each function writes new values into the memory of its tensor (a view too), and returns it.

Names, arguments and formulas are PyTorch's; the random numbers are weft's own (Philox, the default generator unless
one is given), so the same seed gives the same network in every mode.
"""

from __future__ import annotations

import math

from ..core.errors import ArgumentError, DTypeError, ShapeError
from ..ops.creation import eye, full, iota
from ..ops.decompositions import qr
from ..ops.elementwise import astype, sign, where
from ..ops.linalg import diagonal
from ..ops.op import Array, composite, public
from ..ops.precision import working
from ..ops.random import Generator, default_generator
from ..ops.shape import reshape
from ..tensor.tape import no_grad
from ..tensor.tensor import Tensor

__all__ = [
    "calculate_gain",
    "constant_",
    "dirac_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "sparse_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]


def _set(tensor: Tensor, value: Tensor) -> Tensor:
    with no_grad():
        return tensor.copy_(value)


@public
def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Numbers spread evenly over ``[a, b)``."""
    stream = generator or default_generator(tensor.device)
    return _set(tensor, stream.uniform(tensor.shape, a, b, dtype=tensor.dtype))


@public
def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Normally distributed numbers."""
    stream = generator or default_generator(tensor.device)
    return _set(tensor, stream.normal(tensor.shape, mean, std, dtype=tensor.dtype))


@public
def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Normally distributed numbers, those outside ``[a, b]`` drawn again (a value, not a number of deviations).

    Raises:
        DTypeError: the tensor is of no floating-point dtype.
        ValueError: ``std`` is not above 0, or fewer than one draw in 1000 would be inside.
    """
    if not tensor.dtype.is_floating:
        raise DTypeError(f"trunc_normal_: a tensor of {tensor.dtype.name}: wants a floating-point dtype")
    if not std > 0:
        raise ArgumentError(f"trunc_normal_: std is {std}; it must be above 0")
    inside = 0.5 * (math.erf((b - mean) / std / math.sqrt(2.0)) - math.erf((a - mean) / std / math.sqrt(2.0)))
    if not inside >= 1e-3:  # or no number
        raise ArgumentError(f"trunc_normal_: [{a}, {b}] holds hardly any of N({mean}, {std})")
    stream = generator or default_generator(tensor.device)
    wide = working(tensor.dtype)
    value = stream.normal(tensor.shape, mean, std, dtype=wide)
    # The chance that a value is still outside after k draws is (1 - inside) ** k: below 2**-64 here.
    for _ in range(math.ceil(64 / -math.log2(1.0 - inside)) if inside < 1.0 else 0):
        outside = (value < a) | (value > b)
        if not bool(outside.any()):
            break
        value = where(outside, stream.normal(tensor.shape, mean, std, dtype=wide), value)
    return _set(tensor, astype(value, tensor.dtype))


@public
def constant_(tensor: Tensor, val: float) -> Tensor:
    """``val`` everywhere."""
    return _set(tensor, full(tensor.shape, val, dtype=tensor.dtype, device=tensor.device))


@public
def zeros_(tensor: Tensor) -> Tensor:
    """0 everywhere."""
    return _set(tensor, full(tensor.shape, 0.0, dtype=tensor.dtype, device=tensor.device))


@public
def ones_(tensor: Tensor) -> Tensor:
    """1 everywhere."""
    return _set(tensor, full(tensor.shape, 1.0, dtype=tensor.dtype, device=tensor.device))


@public
def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix.

    Raises:
        ShapeError: the tensor is no matrix.
    """
    if tensor.ndim != 2:
        raise ShapeError(f"eye_: a tensor of shape {tensor.shape} is not a matrix")
    return _set(tensor, eye(*tensor.shape, dtype=tensor.dtype))


def zero_row_(tensor: Tensor, row: int) -> Tensor:
    """0 in one row of a matrix, the others as they are."""
    return _set(tensor, _zero_row(tensor.detach(), row))


@composite(name="zero_row")
def _zero_row(x: Array, row: int) -> Array:
    return where(reshape(iota((x.shape[0],), 0), (x.shape[0], 1)) == row, 0.0, x)


def _fans(op: str, tensor: Tensor) -> tuple[int, int]:
    """``(fan_in, fan_out)`` of a weight ``(out, in, *kernel)``: numbers that meet in one output, or in one input."""
    if tensor.ndim < 2:
        raise ShapeError(
            f"{op}: a tensor of shape {tensor.shape} has no fan in and fan out; it must have rank 2 or more"
        )
    kernel = math.prod(tensor.shape[2:])
    return tensor.shape[1] * kernel, tensor.shape[0] * kernel


def _chosen_fan(op: str, tensor: Tensor, mode: str) -> int:
    fans = dict(zip(("fan_in", "fan_out"), _fans(op, tensor), strict=True))
    if mode not in fans:
        raise ArgumentError(f"{op}: mode is {mode!r}; it must be 'fan_in' or 'fan_out'")
    return fans[mode]


@public
def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which a layer before this nonlinearity keeps its output's variance.

    ``nonlinearity``: linear, sigmoid, tanh, relu, leaky_relu (``param``: its slope, 0.01), selu.

    Raises:
        ValueError: it is none of these.
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1.0 + (0.01 if param is None else param) ** 2))
    gains = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5.0 / 3.0, "relu": math.sqrt(2.0), "selu": 0.75}
    if nonlinearity not in gains:
        raise ArgumentError(f"calculate_gain: {nonlinearity!r} is none of {', '.join([*gains, 'leaky_relu'])}")
    return gains[nonlinearity]


@public
def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Uniform in ``[-bound, bound)`` with ``bound = gain * sqrt(3 / fan)``.

    ``a`` is the slope of the leaky_relu that follows. A tensor without elements stays.

    Reference:
        He et al., Delving Deep into Rectifiers, 2015.
    """
    fan, gain = _chosen_fan("kaiming_uniform_", tensor, mode), calculate_gain(nonlinearity, a)
    if not tensor.size:
        return tensor
    bound = gain * math.sqrt(3.0 / fan)
    return uniform_(tensor, -bound, bound, generator=generator)


@public
def kaiming_normal_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Normal with standard deviation ``gain / sqrt(fan)``; see :func:`kaiming_uniform_`."""
    fan, gain = _chosen_fan("kaiming_normal_", tensor, mode), calculate_gain(nonlinearity, a)
    if not tensor.size:
        return tensor
    return normal_(tensor, 0.0, gain / math.sqrt(fan), generator=generator)


@public
def xavier_uniform_(tensor: Tensor, gain: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Uniform in ``[-bound, bound)`` with ``bound = gain * sqrt(6 / (fan_in + fan_out))``.

    Reference:
        Glorot and Bengio, Understanding the Difficulty of Training Deep Feedforward Neural Networks, 2010.
    """
    total = sum(_fans("xavier_uniform_", tensor))
    if not tensor.size:
        return tensor
    bound = gain * math.sqrt(6.0 / total)
    return uniform_(tensor, -bound, bound, generator=generator)


@public
def xavier_normal_(tensor: Tensor, gain: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Normal with standard deviation ``gain * sqrt(2 / (fan_in + fan_out))``; see :func:`xavier_uniform_`."""
    total = sum(_fans("xavier_normal_", tensor))
    if not tensor.size:
        return tensor
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / total), generator=generator)


@public
def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """A matrix with orthonormal rows or columns, times ``gain``; all axes but the first are one.

    Raises:
        ShapeError: the tensor has fewer than two axes.

    Reference:
        Saxe et al., Exact solutions to the nonlinear dynamics of learning in deep linear neural networks, 2013.
    """
    if tensor.ndim < 2:
        raise ShapeError(f"orthogonal_: a tensor of shape {tensor.shape}: wants two axes or more")
    if not tensor.numel():
        return tensor
    rows = tensor.shape[0]
    stream = generator or default_generator(tensor.device)
    wide = working(tensor.dtype)
    drawn = stream.normal((rows, tensor.numel() // rows), 0.0, 1.0, dtype=wide)
    with no_grad():
        q, r = qr(drawn if rows >= drawn.shape[1] else drawn.mT)
        # Q times the signs of R's diagonal is spread evenly: Mezzadri, How to generate random matrices, 2006.
        q = q * sign(diagonal(r))
        q = (q if rows >= drawn.shape[1] else q.mT) * gain
    return _set(tensor, astype(reshape(q, tensor.shape), tensor.dtype))


@public
def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """The weight of a convolution that hands on as many of its input's channels as there are, in each group.

    Raises:
        ShapeError: the tensor has not three to five axes, or its first axis not ``groups`` equal groups.
    """
    if tensor.ndim not in (3, 4, 5):
        raise ShapeError(f"dirac_: a tensor of shape {tensor.shape}: wants three to five axes")
    if groups < 1 or tensor.shape[0] % groups:
        raise ShapeError(f"dirac_: {tensor.shape[0]} channels are not {groups} equal groups")
    each, middle = tensor.shape[0] // groups, tuple(n // 2 for n in tensor.shape[2:])
    with no_grad():
        tensor.zero_()
        for k in range(groups * min(each, tensor.shape[1])):
            group, channel = divmod(k, min(each, tensor.shape[1]))
            tensor[(group * each + channel, channel, *middle)] = 1.0
    return tensor


@public
def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None) -> Tensor:
    """A matrix of normally distributed numbers of which, in each column, the part ``sparsity`` (rounded up) is zero.

    Raises:
        ShapeError: the tensor is no matrix.

    Reference:
        Martens, Deep learning via Hessian-free optimization, 2010.
    """
    if tensor.ndim != 2:
        raise ShapeError(f"sparse_: a tensor of shape {tensor.shape}: wants two axes")
    rows, columns = tensor.shape
    stream = generator or default_generator(tensor.device)
    normal_(tensor, 0.0, std, generator=generator)
    with no_grad():
        for column in range(columns):
            zeroed = stream.permutation(rows)[: math.ceil(sparsity * rows)]
            tensor[zeroed, column] = 0.0
    return tensor
