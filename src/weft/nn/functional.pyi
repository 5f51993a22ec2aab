"""The layers' functions, to type checkers. Written by `make stubs`; not to be edited."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, overload

from ..nn.attention import multi_head_attention_forward as multi_head_attention_forward
from ..ops.random import Generator
from ..stubs.tensor import DTypeLike, Operand, TensorLike
from ..tensor.tensor import Tensor

def adaptive_avg_pool1d(input: Operand, output_size: int | Sequence[int | None]) -> Tensor:
    """The mean of each of ``output_size`` parts of the last axis."""

def adaptive_avg_pool2d(input: Operand, output_size: int | Sequence[int | None]) -> Tensor:
    """The mean of each part of the last two axes, however large they are."""

def adaptive_avg_pool3d(input: Operand, output_size: int | Sequence[int | None]) -> Tensor:
    """The mean of each part of the last three axes."""

@overload
def adaptive_max_pool1d(
    input: Operand, output_size: int | Sequence[int | None], return_indices: Literal[False] = False
) -> Tensor:
    """The greatest element of each of ``output_size`` parts of the last axis."""
@overload
def adaptive_max_pool1d(
    input: Operand, output_size: int | Sequence[int | None], *, return_indices: Literal[True]
) -> tuple[Tensor, Tensor]: ...
@overload
def adaptive_max_pool1d(
    input: Operand, output_size: int | Sequence[int | None], return_indices: bool = False
) -> Tensor | tuple[Tensor, Tensor]: ...

def adaptive_max_pool1d_with_indices(
    input: Operand, output_size: int | Sequence[int | None], return_indices: bool = False
) -> tuple[Tensor, Tensor]:
    """:func:`adaptive_max_pool1d` with the positions, whatever ``return_indices`` says, as in PyTorch."""

@overload
def adaptive_max_pool2d(
    input: Operand, output_size: int | Sequence[int | None], return_indices: Literal[False] = False
) -> Tensor:
    """The greatest element of each part of the last two axes; NaN where there is one."""
@overload
def adaptive_max_pool2d(
    input: Operand, output_size: int | Sequence[int | None], *, return_indices: Literal[True]
) -> tuple[Tensor, Tensor]: ...
@overload
def adaptive_max_pool2d(
    input: Operand, output_size: int | Sequence[int | None], return_indices: bool = False
) -> Tensor | tuple[Tensor, Tensor]: ...

def adaptive_max_pool2d_with_indices(
    input: Operand, output_size: int | Sequence[int | None], return_indices: bool = False
) -> tuple[Tensor, Tensor]:
    """:func:`adaptive_max_pool2d` with the positions, whatever ``return_indices`` says, as in PyTorch."""

@overload
def adaptive_max_pool3d(
    input: Operand, output_size: int | Sequence[int | None], return_indices: Literal[False] = False
) -> Tensor:
    """The greatest element of each part of the last three axes."""
@overload
def adaptive_max_pool3d(
    input: Operand, output_size: int | Sequence[int | None], *, return_indices: Literal[True]
) -> tuple[Tensor, Tensor]: ...
@overload
def adaptive_max_pool3d(
    input: Operand, output_size: int | Sequence[int | None], return_indices: bool = False
) -> Tensor | tuple[Tensor, Tensor]: ...

def adaptive_max_pool3d_with_indices(
    input: Operand, output_size: int | Sequence[int | None], return_indices: bool = False
) -> tuple[Tensor, Tensor]:
    """:func:`adaptive_max_pool3d` with the positions, whatever ``return_indices`` says, as in PyTorch."""

def affine_grid(theta: Operand, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """The grid of places that an affine map makes of the middles of an image's elements: what :func:`grid_sample` reads
    there is the image, moved.
    """

def alpha_dropout(
    input: Operand, p: float = 0.5, training: bool = False, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Each element is ``-1.7581``, which is what SELU saturates at, with probability ``p``; then all are scaled and
    moved so that a mean of 0 and a variance of 1 stay.
    """

def apply_rotary_embedding(x: TensorLike, cos: TensorLike, sin: TensorLike, interleaved: bool = False) -> Tensor:
    """Pairs of features turned by angles: ``(a, b)`` becomes ``(a cos - b sin, a sin + b cos)``."""

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

def batch_norm(
    input: TensorLike,
    running_mean: TensorLike | None,
    running_var: TensorLike | None,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    training: bool = False,
    momentum: Operand = 0.1,
    eps: float = 1e-05,
) -> Tensor:
    """``(x - mean) / sqrt(var + eps) * weight + bias``, with the mean and the variance of each channel."""

def bilinear(input1: TensorLike, input2: TensorLike, weight: TensorLike, bias: TensorLike | None = None) -> Tensor:
    """``sum(x1[i] * weight[o, i, j] * x2[j])`` over i and j, ``+ bias[o]``."""

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

def celu(input: Operand, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``x`` above 0, ``alpha * (exp(x / alpha) - 1)`` below: its slope is 1 at 0 for every ``alpha``."""

def celu_(input: Operand, alpha: float = 1.0) -> Tensor:
    """Write :func:`celu` of ``input`` into it; returns it."""

def channel_shuffle(input: Operand, groups: int) -> Tensor:
    """Channels in another order: the first of each group, then the second of each, and so on."""

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

def conv_tbc(input: TensorLike, weight: TensorLike, bias: TensorLike, pad: int = 0) -> Tensor:
    """:func:`conv1d` of a sequence whose first axis is time: ``(T, N, in) -> (T', N, out)``."""

def conv_transpose1d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    """The gradient of a convolution of a sequence, as a function; see :func:`conv_transpose2d`."""

def conv_transpose2d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    """Each element of an image times a kernel, added up where they overlap: the gradient of a convolution's input, as a
    function of that of its result.
    """

def conv_transpose3d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    """The gradient of a convolution of a volume, as a function; see :func:`conv_transpose2d`."""

def cosine_embedding_loss(
    input1: TensorLike, input2: TensorLike, target: TensorLike, margin: float = 0.0, *, reduction: str = "mean"
) -> Tensor:
    """``1 - cos(x1, x2)`` where the target is 1, ``max(0, cos(x1, x2) - margin)`` where it is -1 (else 0)."""

def cosine_similarity(x1: TensorLike, x2: TensorLike, dim: int = 1, eps: float = 1e-08) -> Tensor:
    """The cosine of the angle between vectors: ``sum(x1 * x2) / (max(|x1|, eps) * max(|x2|, eps))``."""

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

def ctc_loss(
    log_probs: TensorLike,
    targets: TensorLike,
    input_lengths: TensorLike | Sequence[int],
    target_lengths: TensorLike | Sequence[int],
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """``-log`` of the probability of a sequence of labels: of all ways to stretch it over the time steps, repeating
    labels and putting blanks between them.
    """

def dropout(
    input: Operand, p: float = 0.5, training: bool = True, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Each element is zero with probability ``p`` and ``x / (1 - p)`` otherwise; outside training, ``x`` itself."""

def dropout1d(
    input: Operand, p: float = 0.5, training: bool = True, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Each channel of a sequence is zero with probability ``p`` and divided by ``1 - p`` otherwise."""

def dropout2d(
    input: Operand, p: float = 0.5, training: bool = True, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Each channel of an image is zero with probability ``p`` and divided by ``1 - p`` otherwise."""

def dropout3d(
    input: Operand, p: float = 0.5, training: bool = True, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Each channel of a volume is zero with probability ``p`` and divided by ``1 - p`` otherwise."""

def elu(input: Operand, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``x`` above 0, ``alpha * (exp(x) - 1)`` below."""

def elu_(input: Operand, alpha: float = 1.0) -> Tensor:
    """Write :func:`elu` of ``input`` into it; returns it."""

def embedding(
    input: TensorLike,
    weight: TensorLike,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of a table: ``weight[input]``."""

def embedding_bag(
    input: TensorLike,
    weight: TensorLike,
    offsets: TensorLike | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: TensorLike | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """The sum, the mean or the greatest elements of the rows of a table that each bag names; 0 of an empty bag."""

def feature_alpha_dropout(
    input: Operand, p: float = 0.5, training: bool = False, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """:func:`alpha_dropout` of whole channels: the first two axes of ``input`` say which."""

def fold(
    input: Operand,
    output_size: int | Sequence[int],
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> Tensor:
    """Windows, each a column, added up to an image: what :func:`unfold` has of an image, at the places that it has it
    from.
    """

@overload
def fractional_max_pool2d(
    input: Operand,
    kernel_size: int | Sequence[int],
    output_size: int | Sequence[int] | None = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: Literal[False] = False,
    _random_samples: Operand | None = None,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """The greatest element of each of ``output_size`` windows of the last two axes, whose distances are drawn for each
    channel.
    """
@overload
def fractional_max_pool2d(
    input: Operand,
    kernel_size: int | Sequence[int],
    output_size: int | Sequence[int] | None = None,
    output_ratio: float | Sequence[float] | None = None,
    *,
    _random_samples: Operand | None = None,
    generator: Generator | None = None,
    return_indices: Literal[True],
) -> tuple[Tensor, Tensor]: ...
@overload
def fractional_max_pool2d(
    input: Operand,
    kernel_size: int | Sequence[int],
    output_size: int | Sequence[int] | None = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: bool = False,
    _random_samples: Operand | None = None,
    *,
    generator: Generator | None = None,
) -> Tensor | tuple[Tensor, Tensor]: ...

def fractional_max_pool2d_with_indices(
    input: Operand,
    kernel_size: int | Sequence[int],
    output_size: int | Sequence[int] | None = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: bool = False,
    _random_samples: Operand | None = None,
    *,
    generator: Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """:func:`fractional_max_pool2d` with the positions, whatever ``return_indices`` says, as in PyTorch."""

@overload
def fractional_max_pool3d(
    input: Operand,
    kernel_size: int | Sequence[int],
    output_size: int | Sequence[int] | None = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: Literal[False] = False,
    _random_samples: Operand | None = None,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """The greatest element of each of ``output_size`` windows of the last three axes."""
@overload
def fractional_max_pool3d(
    input: Operand,
    kernel_size: int | Sequence[int],
    output_size: int | Sequence[int] | None = None,
    output_ratio: float | Sequence[float] | None = None,
    *,
    _random_samples: Operand | None = None,
    generator: Generator | None = None,
    return_indices: Literal[True],
) -> tuple[Tensor, Tensor]: ...
@overload
def fractional_max_pool3d(
    input: Operand,
    kernel_size: int | Sequence[int],
    output_size: int | Sequence[int] | None = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: bool = False,
    _random_samples: Operand | None = None,
    *,
    generator: Generator | None = None,
) -> Tensor | tuple[Tensor, Tensor]: ...

def fractional_max_pool3d_with_indices(
    input: Operand,
    kernel_size: int | Sequence[int],
    output_size: int | Sequence[int] | None = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: bool = False,
    _random_samples: Operand | None = None,
    *,
    generator: Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """:func:`fractional_max_pool3d` with the positions, whatever ``return_indices`` says, as in PyTorch."""

def gaussian_nll_loss(
    input: TensorLike, target: TensorLike, var: Operand, full: bool = False, eps: float = 1e-06, reduction: str = "mean"
) -> Tensor:
    """Negative log likelihood of normally distributed numbers: ``(log(v) + (x - t)**2 / v) / 2``, v at least ``eps``.
    """

def gelu(input: Operand, approximate: str = "none") -> Tensor:
    """``x * P(N(0, 1) <= x)``."""

def glu(input: Operand, dim: int = -1) -> Tensor:
    """``a * sigmoid(b)`` of the two halves ``a`` and ``b`` of an axis."""

def grid_sample(
    input: TensorLike,
    grid: TensorLike,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """What lies at the places of a grid."""

def group_norm(
    input: Operand, num_groups: int, weight: Operand | None = None, bias: Operand | None = None, eps: float = 1e-05
) -> Tensor:
    """``(x - mean) / sqrt(var + eps) * weight + bias``, with the mean and biased variance of each group of channels."""

def gumbel_softmax(
    logits: Operand,
    tau: float = 1.0,
    hard: bool = False,
    eps: float = 1e-10,
    dim: int = -1,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """``softmax((x + g) / tau)`` along one axis, with ``g`` drawn from Gumbel(0, 1): a soft draw of one class."""

def hardshrink(input: Operand, lambd: float = 0.5) -> Tensor:
    """``x``, and 0 in ``[-lambd, lambd]``."""

def hardsigmoid(input: Operand, inplace: bool = False) -> Tensor:
    """``min(max(0, x + 3), 6) / 6``: sigmoid in three straight pieces."""

def hardswish(input: Operand, inplace: bool = False) -> Tensor:
    """``x * min(max(0, x + 3), 6) / 6``."""

def hardtanh(input: Operand, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """``x`` cut to ``[min_val, max_val]``; no gradient passes at the bounds."""

def hardtanh_(input: Operand, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """Write :func:`hardtanh` of ``input`` into it; returns it."""

def hinge_embedding_loss(
    input: TensorLike, target: TensorLike, margin: float = 1.0, *, reduction: str = "mean"
) -> Tensor:
    """A distance ``x`` where the target is 1, ``max(0, margin - x)`` where it is -1 (their sum where it is neither)."""

def huber_loss(
    input: TensorLike, target: TensorLike, reduction: str = "mean", delta: float = 1.0, weight: TensorLike | None = None
) -> Tensor:
    """``0.5 * d**2`` where ``d = |x - t| < delta``, else ``delta * (d - 0.5 * delta)``."""

def instance_norm(
    input: Operand,
    running_mean: Operand | None = None,
    running_var: Operand | None = None,
    weight: Operand | None = None,
    bias: Operand | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-05,
) -> Tensor:
    """:func:`batch_norm` of each element of the batch by itself: over the axes after the channels."""

def interpolate(
    input: Operand,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """A signal, image or volume of another size."""

def kl_div(input: TensorLike, target: TensorLike, *, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """Pointwise Kullback-Leibler divergence ``t * (log(t) - x)`` of a log probability x from a probability t."""

def l1_loss(
    input: TensorLike, target: TensorLike, *, reduction: str = "mean", weight: TensorLike | None = None
) -> Tensor:
    """``|x - t|``; the arguments are those of :func:`mse_loss`."""

def layer_norm(
    input: Operand,
    normalized_shape: int | Sequence[int],
    weight: Operand | None = None,
    bias: Operand | None = None,
    eps: float = 1e-05,
) -> Tensor:
    """``(x - mean) / sqrt(var + eps) * weight + bias`` over the last axes, with the biased variance."""

def leaky_relu(input: Operand, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """``x`` above 0, ``negative_slope * x`` below."""

def leaky_relu_(input: Operand, negative_slope: float = 0.01) -> Tensor:
    """Write :func:`leaky_relu` of ``input`` into it; returns it."""

def linear(input: TensorLike, weight: TensorLike, bias: TensorLike | None = None) -> Tensor:
    """``x @ weight^T + bias``: the affine map of a fully connected layer."""

def linear_cross_entropy(
    input: TensorLike,
    linear_weight: TensorLike,
    target: TensorLike,
    *,
    linear_bias: TensorLike | None = None,
    weight: TensorLike | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """``cross_entropy(linear(input, linear_weight, linear_bias), target)``, to the same bits."""

def local_response_norm(input: Operand, size: int, alpha: float = 0.0001, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """``x / (k + alpha * mean(x ** 2)) ** beta``, with the mean over ``size`` channels around each."""

def log_softmax(input: Operand, dim: int = -1, dtype: DTypeLike | None = None, *, axis: int | None = None) -> Tensor:
    """``log(softmax(x))`` along one axis, accurate where softmax underflows."""

def logsigmoid(input: Operand) -> Tensor:
    """``log(sigmoid(x))``, without overflow."""

def lp_pool1d(
    input: Operand,
    norm_type: float,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """A norm of each window of the last axis."""

def lp_pool2d(
    input: Operand,
    norm_type: float,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """``sum(x ** norm_type) ** (1 / norm_type)`` of each window of the last two axes."""

def lp_pool3d(
    input: Operand,
    norm_type: float,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """A norm of each window of the last three axes."""

def margin_ranking_loss(
    input1: TensorLike, input2: TensorLike, target: TensorLike, margin: float = 0.0, *, reduction: str = "mean"
) -> Tensor:
    """``max(0, -t * (x1 - x2) + margin)``: where t is 1 the first is to be the greater one, where it is -1 the second.
    """

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

def max_pool1d_with_indices(
    input: Operand,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:
    """:func:`max_pool1d` with the positions, whatever ``return_indices`` says, as in PyTorch."""

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

def max_pool2d_with_indices(
    input: Operand,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:
    """:func:`max_pool2d` with the positions, whatever ``return_indices`` says, as in PyTorch."""

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

def max_pool3d_with_indices(
    input: Operand,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:
    """:func:`max_pool3d` with the positions, whatever ``return_indices`` says, as in PyTorch."""

def max_unpool1d(
    input: TensorLike,
    indices: TensorLike,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """What :func:`max_pool1d` took, back in its place."""

def max_unpool2d(
    input: TensorLike,
    indices: TensorLike,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """What :func:`max_pool2d` took, back in its place, and 0 elsewhere."""

def max_unpool3d(
    input: TensorLike,
    indices: TensorLike,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """What :func:`max_pool3d` took, back in its place."""

def mish(input: Operand, inplace: bool = False) -> Tensor:
    """``x * tanh(softplus(x))``."""

def mse_loss(
    input: TensorLike, target: TensorLike, *, reduction: str = "mean", weight: TensorLike | None = None
) -> Tensor:
    """``(x - t) ** 2``."""

def multi_margin_loss(
    input: TensorLike,
    target: TensorLike,
    p: int = 1,
    margin: float = 1.0,
    weight: TensorLike | None = None,
    *,
    reduction: str = "mean",
) -> Tensor:
    """``weight[y] * max(0, margin - x[y] + x[i]) ** p`` for each class i that is not y, their sum over C."""

def multilabel_margin_loss(input: TensorLike, target: TensorLike, *, reduction: str = "mean") -> Tensor:
    """``max(0, 1 - (x[y] - x[i]))`` for each class y that holds and each i that does not, their sum over C."""

def multilabel_soft_margin_loss(
    input: TensorLike, target: TensorLike, weight: TensorLike | None = None, *, reduction: str = "mean"
) -> Tensor:
    """``-(t * log(sigmoid(x)) + (1 - t) * log(sigmoid(-x)))``, averaged over the classes, the last axis."""

def nll_loss(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """Negative log likelihood ``-weight[t] * input[t]`` of log probabilities."""

def normalize(input: Operand, p: float = 2.0, dim: int | tuple[int, ...] | None = 1, eps: float = 1e-12) -> Tensor:
    """``x / max(norm(x), eps)``, with the norm of order ``p`` over axes."""

def one_hot(tensor: Operand, num_classes: int = -1) -> Tensor:
    """1 at each label's place, 0 elsewhere."""

def pad(input: Operand, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """``input`` with elements around it."""

def pairwise_distance(
    x1: TensorLike, x2: TensorLike, p: float = 2.0, eps: float = 1e-06, keepdim: bool = False
) -> Tensor:
    """The norm of order ``p`` of ``x1 - x2 + eps`` over the last axis."""

def pdist(input: Operand, p: float = 2.0) -> Tensor:
    """The distances of all pairs of rows, each pair once: the upper triangle of ``cdist(input, input)``, row by row."""

def pixel_shuffle(input: Operand, upscale_factor: int) -> Tensor:
    """Channels as pixels: ``upscale_factor ** 2`` channels become a square of that side."""

def pixel_unshuffle(input: Operand, downscale_factor: int) -> Tensor:
    """Pixels as channels: squares of the side ``downscale_factor`` become as many channels."""

def poisson_nll_loss(
    input: TensorLike,
    target: TensorLike,
    log_input: bool = True,
    full: bool = False,
    *,
    eps: float = 1e-08,
    reduction: str = "mean",
) -> Tensor:
    """Negative log likelihood of counts t that are Poisson distributed: ``exp(x) - t * x``, without ``log(t!)``."""

def prelu(input: TensorLike, weight: TensorLike) -> Tensor:
    """``x`` above 0, ``weight * x`` below, with a slope that is learned."""

def relu(input: Operand, inplace: bool = False) -> Tensor:
    """``max(0, x)``; NaN stays NaN, and the gradient at 0 is 0."""

def relu6(input: Operand, inplace: bool = False) -> Tensor:
    """``min(max(0, x), 6)``."""

def relu_(input: Operand) -> Tensor:
    """Write :func:`relu` of ``input`` into it; returns it."""

def rms_norm(
    input: Operand, normalized_shape: int | Sequence[int], weight: Operand | None = None, eps: float | None = None
) -> Tensor:
    """``x / sqrt(mean(x ** 2) + eps) * weight`` over the last axes."""

def rrelu(
    input: Operand,
    lower: float = 0.125,
    upper: float = 0.3333333333333333,
    training: bool = False,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """``x`` above 0, ``a * x`` below, with ``a`` drawn from ``[lower, upper)`` for each element in training, else their
    mean.
    """

def rrelu_(
    input: Operand,
    lower: float = 0.125,
    upper: float = 0.3333333333333333,
    training: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Write :func:`rrelu` of ``input`` into it; returns it."""

def scaled_dot_product_attention(
    query: TensorLike,
    key: TensorLike,
    value: TensorLike,
    attn_mask: TensorLike | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """``softmax(query @ key^T * scale + mask) @ value`` for each head."""

def selu(input: Operand, inplace: bool = False) -> Tensor:
    """``scale * elu(x, alpha)`` with the constants that keep mean 0 and variance 1."""

def selu_(input: Operand) -> Tensor:
    """Write :func:`selu` of ``input`` into it; returns it."""

def sigmoid(x: Operand, /) -> Tensor:
    """``1 / (1 + exp(-x))``."""

def silu(input: Operand, inplace: bool = False) -> Tensor:
    """``x * sigmoid(x)``, also called swish."""

def smooth_l1_loss(input: TensorLike, target: TensorLike, *, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """``0.5 * d**2 / beta`` where ``d = |x - t| < beta``, else ``d - 0.5 * beta``; ``beta=0`` is :func:`l1_loss`."""

def soft_margin_loss(input: TensorLike, target: TensorLike, *, reduction: str = "mean") -> Tensor:
    """``log(1 + exp(-t * x))`` of a score x, whose sign is to be that of t."""

def softmax(input: Operand, dim: int = -1, dtype: DTypeLike | None = None, *, axis: int | None = None) -> Tensor:
    """``exp(x) / sum(exp(x))`` along one axis: positive, summing to 1; one kernel a row."""

def softmin(input: Operand, dim: int = -1, dtype: DTypeLike | None = None) -> Tensor:
    """``softmax(-x)`` along one axis."""

def softplus(input: Operand, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """``log(1 + exp(beta * x)) / beta``."""

def softshrink(input: Operand, lambd: float = 0.5) -> Tensor:
    """``x`` moved towards 0 by ``lambd``, and 0 in ``[-lambd, lambd]``."""

def softsign(input: Operand) -> Tensor:
    """``x / (1 + |x|)``."""

def tanh(x: Operand, /) -> Tensor:
    """The hyperbolic tangent."""

def tanhshrink(input: Operand) -> Tensor:
    """``x - tanh(x)``."""

def threshold(input: Operand, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """``x`` above the threshold, else ``value``; NaN stays NaN."""

def threshold_(input: Operand, threshold: float, value: float) -> Tensor:
    """Write :func:`threshold` of ``input`` into it; returns it."""

def triplet_margin_loss(
    anchor: TensorLike,
    positive: TensorLike,
    negative: TensorLike,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-06,
    swap: bool = False,
    *,
    reduction: str = "mean",
) -> Tensor:
    """``max(0, d(a, p) - d(a, n) + margin)`` of distances ``d(x, y) = norm(x - y + eps)`` along the last axis."""

def triplet_margin_with_distance_loss(
    anchor: TensorLike,
    positive: TensorLike,
    negative: TensorLike,
    *,
    distance_function: Callable[[Any, Any], Any] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """``max(0, d(a, p) - d(a, n) + margin)`` of any distances d."""

def unfold(
    input: Operand,
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> Tensor:
    """All windows of an image, each as a column. (A convolution does not need them: :func:`conv2d` reads its windows
    where they lie.)
    """
