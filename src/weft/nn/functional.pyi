"""The layers' functions, to type checkers. Written by `make stubs`; not to be edited."""

from collections.abc import Sequence
from typing import Any, Literal, overload

from ..ops.random import Generator
from ..stubs.tensor import DTypeLike, Operand, TensorLike
from ..tensor.tensor import Tensor

def avg_pool1d(
    input: Operand,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window of the last axis."""

def avg_pool2d(
    input: Operand,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window of the last two axes."""

def avg_pool3d(
    input: Operand,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window of the last three axes."""

def binary_cross_entropy(
    input: TensorLike, target: TensorLike, weight: TensorLike | None = None, *, reduction: str = "mean"
) -> Tensor:
    """``-(t * log(x) + (1 - t) * log(1 - x))`` of probabilities, each logarithm at least -100 as in PyTorch."""

def binary_cross_entropy_with_logits(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    *,
    reduction: str = "mean",
    pos_weight: TensorLike | None = None,
) -> Tensor:
    """``binary_cross_entropy(sigmoid(x), t)`` without its overflow and loss of digits."""

def conv1d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """The sums of products of a kernel with the windows of a sequence; see :func:`conv2d`."""

def conv2d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """The sums of products of a kernel with the windows of an image."""

def conv3d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """The sums of products of a kernel with the windows of a volume; see :func:`conv2d`."""

def cross_entropy(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross entropy of logits against labels or probabilities: ``-sum(p * log_softmax(x))``."""

def dropout(input: Operand, p: float = 0.5, training: bool = True, *, generator: Generator | None = None) -> Tensor:
    """Each element is zero with probability ``p`` and ``x / (1 - p)`` otherwise; outside training, ``x`` itself."""

def elu(input: Operand, alpha: float = 1.0) -> Tensor:
    """``x`` above 0, ``alpha * (exp(x) - 1)`` below."""

def embedding(input: TensorLike, weight: TensorLike, padding_idx: int | None = None) -> Tensor:
    """Rows of a table: ``weight[input]``."""

def gelu(input: Operand, approximate: str = "none") -> Tensor:
    """``x * P(N(0, 1) <= x)``."""

def hardsigmoid(input: Operand) -> Tensor:
    """``min(max(0, x + 3), 6) / 6``: sigmoid in three straight pieces."""

def hardswish(input: Operand) -> Tensor:
    """``x * min(max(0, x + 3), 6) / 6``."""

def hardtanh(input: Operand, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """``x`` cut to ``[min_val, max_val]``; no gradient passes at the bounds."""

def huber_loss(input: TensorLike, target: TensorLike, *, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """``0.5 * d**2`` where ``d = |x - t| < delta``, else ``delta * (d - 0.5 * delta)``."""

def kl_div(input: TensorLike, target: TensorLike, *, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """Pointwise Kullback-Leibler divergence ``t * (log(t) - x)`` of a log probability x from a probability t."""

def l1_loss(input: TensorLike, target: TensorLike, *, reduction: str = "mean") -> Tensor:
    """``|x - t|``; the arguments are those of :func:`mse_loss`."""

def layer_norm(
    input: Operand,
    normalized_shape: int | Sequence[int],
    weight: Operand | None = None,
    bias: Operand | None = None,
    eps: float = 1e-05,
) -> Tensor:
    """``(x - mean) / sqrt(var + eps) * weight + bias`` over the last axes, with the biased variance."""

def leaky_relu(input: Operand, negative_slope: float = 0.01) -> Tensor:
    """``x`` above 0, ``negative_slope * x`` below."""

def linear(x: TensorLike, weight: TensorLike, bias: TensorLike | None = None) -> Tensor:
    """``x @ weight^T + bias``: the affine map of a fully connected layer."""

def log_softmax(input: Operand, dim: int = -1, dtype: DTypeLike | None = None, *, axis: int | None = None) -> Tensor:
    """``log(softmax(x))`` along one axis, accurate where softmax underflows."""

def logsigmoid(input: Operand) -> Tensor:
    """``log(sigmoid(x))``, without overflow."""

@overload
def max_pool1d(
    input: Operand,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: Literal[False] = False,
) -> Tensor:
    """The greatest element of each window of the last axis."""
@overload
def max_pool1d(
    input: Operand,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    *,
    return_indices: Literal[True],
) -> tuple[Tensor, Tensor]: ...
@overload
def max_pool1d(
    input: Operand,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]: ...

@overload
def max_pool2d(
    input: Operand,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: Literal[False] = False,
) -> Tensor:
    """The greatest element of each window of the last two axes; NaN where there is one."""
@overload
def max_pool2d(
    input: Operand,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    *,
    return_indices: Literal[True],
) -> tuple[Tensor, Tensor]: ...
@overload
def max_pool2d(
    input: Operand,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]: ...

@overload
def max_pool3d(
    input: Operand,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: Literal[False] = False,
) -> Tensor:
    """The greatest element of each window of the last three axes."""
@overload
def max_pool3d(
    input: Operand,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    *,
    return_indices: Literal[True],
) -> tuple[Tensor, Tensor]: ...
@overload
def max_pool3d(
    input: Operand,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]: ...

def mish(input: Operand) -> Tensor:
    """``x * tanh(softplus(x))``."""

def mse_loss(input: TensorLike, target: TensorLike, *, reduction: str = "mean") -> Tensor:
    """``(x - t) ** 2``."""

def nll_loss(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """Negative log likelihood ``-weight[t] * input[t]`` of log probabilities."""

def one_hot(tensor: Operand, num_classes: int = -1) -> Tensor:
    """1 at each label's place, 0 elsewhere."""

def prelu(input: TensorLike, weight: TensorLike) -> Tensor:
    """``x`` above 0, ``weight * x`` below, with a slope that is learned."""

def relu(input: Operand) -> Tensor:
    """``max(0, x)``; NaN stays NaN, and the gradient at 0 is 0."""

def relu6(input: Operand) -> Tensor:
    """``min(max(0, x), 6)``."""

def rms_norm(
    input: Operand, normalized_shape: int | Sequence[int], weight: Operand | None = None, eps: float | None = None
) -> Tensor:
    """``x / sqrt(mean(x ** 2) + eps) * weight`` over the last axes."""

def selu(input: Operand) -> Tensor:
    """``scale * elu(x, alpha)`` with the constants that keep mean 0 and variance 1."""

def sigmoid(x: Operand, /) -> Tensor:
    """``1 / (1 + exp(-x))``."""

def silu(input: Operand) -> Tensor:
    """``x * sigmoid(x)``, also called swish."""

def smooth_l1_loss(input: TensorLike, target: TensorLike, *, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """``0.5 * d**2 / beta`` where ``d = |x - t| < beta``, else ``d - 0.5 * beta``; ``beta=0`` is :func:`l1_loss`."""

def softmax(input: Operand, dim: int = -1, dtype: DTypeLike | None = None, *, axis: int | None = None) -> Tensor:
    """``exp(x) / sum(exp(x))`` along one axis: positive, summing to 1; one kernel a row."""

def softplus(input: Operand, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """``log(1 + exp(beta * x)) / beta``."""

def softsign(input: Operand) -> Tensor:
    """``x / (1 + |x|)``."""

def tanh(x: Operand, /) -> Tensor:
    """The hyperbolic tangent."""
