"""``weft.random``, to type checkers. Written by `make stubs`; not to be edited."""

from collections.abc import Sequence
from typing import Any

from ..core.dtypes import bool_, float32, int64
from ..ops.random import Generator as _Generator
from ..ops.random import philox as philox
from ..stubs.tensor import DTypeLike, Operand, TensorLike
from ..tensor.tensor import Tensor

class Generator(_Generator):
    """A stream of random numbers: ``state`` is a tensor uint64[2], the seed and the number of draws made so far."""

    state: Tensor
    def seed(self, seed: int) -> Generator:
        """Begin the stream of ``seed``; returns the generator."""
    def next(self) -> Tensor:
        """The state of one more draw, for one of the ``draw_`` functions, not shared; the generator moves on."""
    def uniform(  # type: ignore[override]
        self, shape: int | Sequence[int] = (), low: float = 0.0, high: float = 1.0, *, dtype: DTypeLike = float32
    ) -> Tensor:
        """As :func:`uniform`, from this stream."""
    def normal(  # type: ignore[override]
        self, shape: int | Sequence[int] = (), mean: float = 0.0, std: float = 1.0, *, dtype: DTypeLike = float32
    ) -> Tensor:
        """As :func:`normal`, from this stream."""
    def integers(  # type: ignore[override]
        self, low: int, high: int | None = None, shape: int | Sequence[int] = (), *, dtype: DTypeLike = int64
    ) -> Tensor:
        """As :func:`integers`, from this stream."""
    def bernoulli(  # type: ignore[override]
        self, p: Operand = 0.5, shape: int | Sequence[int] | None = None, *, dtype: DTypeLike = bool_
    ) -> Tensor:
        """As :func:`bernoulli`, from this stream."""
    def permutation(self, x: Any, /) -> Tensor:
        """As :func:`permutation`, from this stream."""

def bernoulli(
    p: Operand = 0.5, shape: int | Sequence[int] | None = None, *, dtype: DTypeLike = bool_, device: Any = None
) -> Tensor:
    """True with probability ``p``."""

def default_generator(device: Any = None) -> Generator:
    """The generator of a device behind the functions of this module; seeded with 0 until :func:`seed` is called."""

def draw_bernoulli(state: TensorLike, p: Operand, shape: Sequence[int], dtype: DTypeLike = bool_) -> Tensor:
    """:func:`bernoulli` from a generator's state."""

def draw_integers(state: Operand, shape: Sequence[int], low: int, high: int, dtype: DTypeLike = int64) -> Tensor:
    """:func:`integers` from a generator's state."""

def draw_normal(
    state: Operand, shape: Sequence[int], mean: float = 0.0, std: float = 1.0, dtype: DTypeLike = float32
) -> Tensor:
    """:func:`normal` from a generator's state."""

def draw_permutation(state: Operand, size: int) -> Tensor:
    """``0 ... size - 1`` in random order (int64), from a generator's state: the shuffle of Fisher and Yates."""

def draw_uniform(
    state: Operand, shape: Sequence[int], low: float = 0.0, high: float = 1.0, dtype: DTypeLike = float32
) -> Tensor:
    """:func:`uniform` from a generator's state: for composites that fuse the draw with what they do with it."""

def integers(
    low: int, high: int | None = None, shape: int | Sequence[int] = (), *, dtype: DTypeLike = int64, device: Any = None
) -> Tensor:
    """Integers of ``low, ..., high - 1`` (of ``0, ..., low - 1`` when ``high`` is left out), all equally likely."""

def normal(
    shape: int | Sequence[int] = (),
    mean: float = 0.0,
    std: float = 1.0,
    *,
    dtype: DTypeLike = float32,
    device: Any = None,
) -> Tensor:
    """Normally distributed numbers (Box and Muller's cosine of two uniform ones; in float32 unless float64)."""

def permutation(x: Any, /) -> Tensor:
    """A random order: of ``0, ..., x - 1`` for an integer, of the slices of a tensor along its first axis."""

def seed(seed: int) -> Generator:
    """Begin the stream of ``seed`` of every device's default generator; returns that of the default device."""

def uniform(
    shape: int | Sequence[int] = (),
    low: float = 0.0,
    high: float = 1.0,
    *,
    dtype: DTypeLike = float32,
    device: Any = None,
) -> Tensor:
    """Numbers spread evenly over ``[low, high)``."""
