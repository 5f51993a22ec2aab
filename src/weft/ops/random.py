"""Random numbers from a counter-based generator: the same seed gives the same stream in every mode.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3; SC 2011) maps a counter of
128 bits and a key of 64 to 128 random bits. The key is the seed; the counter of element i of the k-th draw is
``(i, k)``, 64 bits each. So an element's bits depend on nothing but seed, draw and position: not on threads, fusion
or order. A draw is elementwise in the position and fuses with what uses it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..compiler import expr as ex
from ..compiler.expr import Expr
from ..core import dtypes as dt
from ..core.device import Device
from ..core.dtypes import DType, as_dtype
from ..core.errors import DTypeError, ShapeError
from ..core.shapes import Shape, shown, size_of
from ..core.symbolic import Dim
from ..graph.protocol import Map, Primitive, Shuffle, TensorType
from ..runtime.devices import device_of
from ..runtime.state_locks import lock_of
from .creation import Whole, arange, as_shape, full, iota, rounded
from .elementwise import cast, clone, cos, log, minimum, round, sqrt, where
from .indexing import take
from .op import Array, apply, composite, current_trace, public, suspended
from .operands import at_home
from .pieces import concat
from .precision import working
from .shape import broadcast_to, reshape
from .views import slice_

if TYPE_CHECKING:
    from ..tensor.tensor import Tensor

__all__ = [
    "Generator",
    "bernoulli",
    "default_generator",
    "draw_bernoulli",
    "draw_integers",
    "draw_normal",
    "draw_permutation",
    "draw_uniform",
    "integers",
    "normal",
    "permutation",
    "philox",
    "seed",
    "uniform",
]

# --- Philox4x32-10 ----------------------------------------------------------------------------------------------

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)  # the golden ratio and sqrt(3) - 1: what is added to the key from round to round
_ROUNDS = 10


def philox(counter: Sequence[Expr], key: Sequence[Expr]) -> tuple[Expr, Expr, Expr, Expr]:
    """Four random uint32 words from a counter of four and a key of two, as expressions."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    m0, m1 = (ex.const(m, dt.uint32) for m in _MULTIPLIERS)
    for number in range(_ROUNDS):
        if number:
            k0, k1 = k0 + _WEYL[0], k1 + _WEYL[1]
        c0, c1, c2, c3 = (ex.mulhi(m1, c2) ^ c1 ^ k0, ex.mul(m1, c2), ex.mulhi(m0, c0) ^ c3 ^ k1, ex.mul(m0, c0))
    return c0, c1, c2, c3


@lru_cache(maxsize=8)
def _words(index: Expr, key: Expr, draw: Expr) -> tuple[Expr, Expr, Expr, Expr]:
    """Cached, so that two words of one element share their rounds."""

    def halves(x: Expr) -> tuple[Expr, Expr]:
        return ex.cast(x, dt.uint32), ex.cast(x >> 32, dt.uint32)

    return philox((*halves(index), *halves(draw)), halves(key))


def _bits_type(params: dict[str, Any], index: TensorType, key: TensorType, draw: TensorType) -> TensorType:
    if not index == key == draw or index.dtype is not dt.uint64:
        raise ShapeError(f"random_bits: {index}, {key} and {draw} are not uint64 of one shape")
    return TensorType(dt.uint32, index.shape)


# Word ``word`` (0 to 3) of the element ``index`` of draw ``draw`` under ``key``.
RANDOM_BITS = Primitive(
    "random_bits", _bits_type, Map(lambda params, *operands: _words(*operands)[params["word"]], cost=120)
)


def _mulhi_type(params: dict[str, Any], x: TensorType, y: TensorType) -> TensorType:
    if x != y or x.dtype is not dt.uint64:
        raise ShapeError(f"multiply_high: {x} and {y} are not uint64 of one shape")
    return x


MULTIPLY_HIGH = Primitive("multiply_high", _mulhi_type, Map(lambda params, x, y: ex.mulhi(x, y), cost=4))


def _bits(state: Array, shape: Shape, *words: int) -> list[Array]:
    """uint32 of ``shape`` for each of ``words``."""
    index = reshape(iota((size_of(shape),), 0, dt.uint64), shape)
    key, draw = (broadcast_to(reshape(slice_(state, (at,), (1,)), ()), shape) for at in (0, 1))
    return [apply(RANDOM_BITS, index, key, draw, word=word) for word in words]


def _wide(low: Array, high: Array) -> Array:
    """Two words as one uint64."""
    return cast(high, dt.uint64) << 32 | cast(low, dt.uint64)


# --- the generator ----------------------------------------------------------------------------------------------


@composite
def _initial_state(low: int, high: int, *, device: Any = None) -> Array:
    words = [full((1,), word, dtype=dt.uint64) for word in (low, high)]
    return concat([words[0] | words[1] << 32, full((1,), 0, dtype=dt.uint64)])


@composite
def _next_draw(state: Array) -> Array:
    return state + iota((2,), 0, dt.uint64)


class Generator:
    """A stream of random numbers: ``state`` is a tensor uint64[2], the seed and the number of draws made so far. What
    is drawn lies on its device.

    A captured function reads the state by reference and moves it on, so that the stream is the same as without
    capture. Save ``state`` to take the stream up again.

    Args:
        seed: any integer; it counts modulo 2**64.
        device: where it draws; the default device unless given. The numbers are the same on all.

    >>> a, b = wf.random.Generator(1), wf.random.Generator(1)
    >>> a.uniform(2).tolist() == b.uniform(2).tolist()
    True
    """

    __slots__ = ("state",)

    state: Tensor

    def __init__(self, seed: Whole = 0, device: Any = None):
        self.state = _seeded(seed, device_of(device, "Generator"))

    @public
    def seed(self, seed: Whole) -> Generator:
        """Begin the stream of ``seed``; returns the generator."""
        state = _seeded(seed, self.state.device)
        if current_trace() is not None:
            self.state.assign(state)
        else:
            with lock_of(self.state).now:
                self.state.assign(state)
        return self

    def next(self) -> Array:
        """The state of one more draw, for one of the ``draw_`` functions, not shared; the generator moves on."""
        return self._drawn(clone)

    def _drawn(self, draw: Any, *args: Any) -> Array:
        """What one more draw gives; one that fails leaves the generator where it was."""
        if current_trace() is not None:
            state = _next_draw(self.state)
            made = state if draw is clone else draw(state, *args)
            self.state.assign(state)
            return made
        with lock_of(self.state).now:  # two threads must not make the same draw
            state = self.state
            state += _one_draw(state.device)
            try:
                return draw(state, *args)
            except BaseException:
                state -= _one_draw(state.device)
                raise

    @public
    def uniform(
        self, shape: Dim | Sequence[Dim] = (), low: float = 0.0, high: float = 1.0, *, dtype: Any = dt.float32
    ) -> Array:
        """As :func:`uniform`, from this stream."""
        return self._drawn(draw_uniform, as_shape(shape, "uniform"), low, high, dtype)

    @public
    def normal(
        self, shape: Dim | Sequence[Dim] = (), mean: float = 0.0, std: float = 1.0, *, dtype: Any = dt.float32
    ) -> Array:
        """As :func:`normal`, from this stream."""
        return self._drawn(draw_normal, as_shape(shape, "normal"), mean, std, dtype)

    @public
    def integers(
        self, low: Whole, high: Whole | None = None, shape: Dim | Sequence[Dim] = (), *, dtype: Any = dt.int64
    ) -> Array:
        """As :func:`integers`, from this stream."""
        low, high = (0, low) if high is None else (low, high)
        for name, value in (("low", low), ("high", high)):
            if not (hasattr(value, "__index__") or hasattr(value, "dtype")):
                raise DTypeError(f"integers: {name} is {shown(value)}; it must be an integer")
        return self._drawn(draw_integers, as_shape(shape, "integers"), low, high, dtype)

    @public
    def bernoulli(
        self, p: Array | float = 0.5, shape: Dim | Sequence[Dim] | None = None, *, dtype: Any = dt.bool_
    ) -> Array:
        """As :func:`bernoulli`, from this stream."""
        if isinstance(p, (int, float)):
            return self._drawn(draw_bernoulli, p, as_shape(() if shape is None else shape, "bernoulli"), dtype)
        return draw_bernoulli(self.next(), p, as_shape(p.shape if shape is None else shape, "bernoulli"), dtype)

    @public
    def permutation(self, x: Any, /) -> Array:
        """As :func:`permutation`, from this stream."""
        if hasattr(x, "dtype") and hasattr(x, "shape"):
            if not x.shape:
                raise ShapeError("permutation: a tensor of rank 0 has no axis to be permuted")
            return take(x, self._drawn(draw_permutation, x.shape[0]), axis=0)
        sizes = as_shape(x, "permutation")
        if len(sizes) != 1:
            raise ShapeError(f"permutation: {shown(x)} is neither a tensor nor a size")
        return self._drawn(draw_permutation, sizes[0])


def _seeded(seed: Any, device: Device) -> Tensor:
    try:
        whole = int(seed) if isinstance(seed, float) and seed.is_integer() else operator.index(seed)
    except TypeError:
        raise DTypeError(f"seed: {shown(seed)} is not an integer") from None
    bits = whole & (1 << 64) - 1
    return _initial_state(bits & 0xFFFFFFFF, bits >> 32, device=device)


_default: dict[Device, Generator] = {}
_seeds: list[Any] = [0]  # of those that are to come
_steps: dict[Device, Tensor] = {}


def _one_draw(device: Device) -> Tensor:
    """What a draw adds to the state."""
    found = _steps.get(device)
    if found is None:
        with suspended():
            found = _steps[device] = arange(2, dtype=dt.uint64, device=device)
    return found


def default_generator(device: Any = None) -> Generator:
    """The generator of a device behind the functions of this module; seeded with 0 until :func:`seed` is called."""
    place = device_of(device)
    found = _default.get(place)
    if found is None:
        with suspended():  # it exists outside of the graph in which it may first be used
            made = Generator(_seeds[0], place)
        found = _default.setdefault(place, made)  # of two threads that come here at once both take the first
    return found


@public
def seed(seed: Whole) -> Generator:
    """Begin the stream of ``seed`` of every device's default generator; returns that of the default device.

    >>> first = wf.random.seed(7).uniform(3).tolist()
    >>> first == wf.random.seed(7).uniform(3).tolist()
    True
    """
    seed = at_home(seed)  # it is kept
    chosen = default_generator()
    chosen.seed(seed)
    if current_trace() is None:  # a captured function runs on one device
        _seeds[0] = seed
        for generator in list(_default.values()):  # other threads add theirs
            if generator is not chosen:
                generator.seed(seed)
    return chosen


# --- draws from a state -----------------------------------------------------------------------------------------


@composite
def draw_uniform(state: Array, shape: Shape, low: float = 0.0, high: float = 1.0, dtype: Any = dt.float32) -> Array:
    """:func:`uniform` from a generator's state: for composites that fuse the draw with what they do with it."""
    kind = _floating("uniform", dtype)
    if not (math.isfinite(low) and math.isfinite(high)) or high < low:
        raise ShapeError(f"uniform: [{low}, {high}) is not a finite interval")
    unit = _unit(state, shape, kind)
    if low == 0 and high == 1:
        return unit
    wide = working(kind)
    ends = (rounded(float(low), kind), rounded(float(high), kind), rounded(float(high) - float(low), wide))
    if any(map(math.isinf, ends)):
        raise ShapeError(f"uniform: the interval [{low}, {high}) or its length is beyond the numbers of {kind.name}")
    moved = cast(cast(unit, wide) * (float(high) - float(low)) + float(low), kind)
    return minimum(moved, _below(high, low, kind))  # rounding may reach high


def _unit(state: Array, shape: Shape, dtype: DType) -> Array:
    """Multiples of 2**-p in [0, 1), p being the bits of the dtype's significand: every value is exact."""
    if dtype is dt.float64:
        return cast(_wide(*_bits(state, shape, 0, 1)) >> 11, dt.float64) * 2.0**-53
    (word,) = _bits(state, shape, 0)
    bits = {dt.float32: 24, dt.float16: 11, dt.bfloat16: 8}[dtype]
    return cast(cast(word >> (32 - bits), dt.float32) * 2.0**-bits, dtype)


def _below(high: float, low: float, dtype: DType) -> float:
    """The greatest value of ``dtype`` below ``high``, but not below ``low``."""
    import numpy as np

    bits = {dt.float64: 53, dt.float32: 24, dt.float16: 11, dt.bfloat16: 8}[dtype]
    top = float(np.asarray(high).astype(dtype.numpy))
    if top >= high:
        exponent = math.frexp(top)[1]
        step = 2.0 ** (exponent - bits)
        top -= step / 2 if math.frexp(top)[0] == 0.5 else step
    return max(top, float(np.asarray(low).astype(dtype.numpy)))


def _floating(op: str, dtype: Any) -> DType:
    kind = as_dtype(dtype)
    if not kind.is_floating:
        raise DTypeError(f"{op}: dtype {kind.name} is not a floating one")
    return kind


def _cos_of_turns(u: Array) -> Array:
    """cos(2 pi u) of a float32 in [0, 1) with 24 bits: the quarter turn is exact, so two short Taylor polynomials do;
    a quarter of the work of ``cos``, which has to reduce any argument. Off by less than 2e-7."""
    quarter = round(u * 4.0)
    x = (u * 4.0 - quarter) * (math.pi / 2)
    square = x * x
    even = 1.0 + square * (-1 / 2 + square * (1 / 24 + square * (-1 / 720 + square * (1 / 40320))))
    odd = x + x * square * (-1 / 6 + square * (1 / 120 + square * (-1 / 5040 + square * (1 / 362880))))
    value = where((quarter == 1.0) | (quarter == 3.0), odd, even)
    return where((quarter == 1.0) | (quarter == 2.0), -value, value)


@composite
def draw_normal(state: Array, shape: Shape, mean: float = 0.0, std: float = 1.0, dtype: Any = dt.float32) -> Array:
    """:func:`normal` from a generator's state."""
    kind = _floating("normal", dtype)
    if std < 0:
        raise ShapeError(f"normal: std {std} is negative")
    wide = working(kind)
    if wide is dt.float64:
        a, b, c, d = _bits(state, shape, 0, 1, 2, 3)
        first = cast(_wide(a, b) >> 11, wide) * 2.0**-53 + 2.0**-54
        second = cast(_wide(c, d) >> 11, wide) * 2.0**-53
    else:
        a, b = _bits(state, shape, 0, 1)
        first = cast(a, wide) * 2.0**-32 + 2.0**-33  # in (0, 1]: the tail reaches 6.7 standard deviations
        second = cast(b >> 8, wide) * 2.0**-24
    turned = cos(second * (2 * math.pi)) if wide is dt.float64 else _cos_of_turns(second)
    unit = sqrt(log(first) * -2.0) * turned
    return cast(unit if mean == 0 and std == 1 else unit * float(std) + float(mean), kind)


@composite
def draw_integers(state: Array, shape: Shape, low: Whole, high: Whole, dtype: Any = dt.int64) -> Array:
    """:func:`integers` from a generator's state."""
    kind = as_dtype(dtype)
    if not kind.is_integer:
        raise DTypeError(f"integers: dtype {kind.name} is not an integer one")
    least = -(1 << kind.bits - 1) if kind.is_signed else 0
    if not least <= low < high <= least + (1 << kind.bits):
        raise ShapeError(f"integers: [{shown(low)}, {shown(high)}) is not a range of {kind.name}")
    drawn = _wide(*_bits(state, shape, 0, 1))
    if high - low < 1 << 64:
        drawn = apply(MULTIPLY_HIGH, drawn, full(shape, high - low, dtype=dt.uint64))
    offset = low & (1 << kind.bits) - 1
    return cast(drawn + offset if offset else drawn, kind)  # modulo 2**bits


@composite
def draw_bernoulli(state: Array, p: Array | float, shape: Shape, dtype: Any = dt.bool_) -> Array:
    """:func:`bernoulli` from a generator's state."""
    if isinstance(p, (int, float)):
        if not 0 <= p <= 1:
            raise ShapeError(f"bernoulli: {p} is not a probability")
        chosen = _unit(state, shape, dt.float32) < float(p)
    else:
        wide = working(_floating("bernoulli", p.dtype))
        chosen = _unit(state, shape, wide) < broadcast_to(cast(p, wide), shape)
    return cast(chosen, as_dtype(dtype))


# --- permutations -----------------------------------------------------------------------------------------------


def _shuffle_type(params: dict[str, Any], x: TensorType, swaps: TensorType) -> TensorType:
    if len(x.shape) != 1 or swaps != TensorType(dt.int64, x.shape):
        raise ShapeError(f"shuffle: {x} with swaps {swaps}: vectors of one size, the swaps int64")
    return x


SHUFFLE = Primitive("shuffle", _shuffle_type, Shuffle())


@composite
def draw_permutation(state: Array, size: Dim) -> Array:
    """``0 ... size - 1`` in random order (int64), from a generator's state: the shuffle of Fisher and Yates."""
    shape = (size,)
    drawn = _wide(*_bits(state, shape, 0, 1))
    swaps = apply(MULTIPLY_HIGH, drawn, iota(shape, 0, dt.uint64) + 1)  # at i, one of 0 ... i
    return apply(SHUFFLE, arange(size), cast(swaps, dt.int64))


# --- draws from the default generator ---------------------------------------------------------------------------


@public
def uniform(
    shape: Dim | Sequence[Dim] = (),
    low: float = 0.0,
    high: float = 1.0,
    *,
    dtype: Any = dt.float32,
    device: Any = None,
) -> Array:
    """Numbers spread evenly over ``[low, high)``.

    Args:
        shape: of the result.
        low, high: finite Python numbers.
        dtype: a floating dtype. The unit interval is drawn with as many bits as its significand has.
        device: the default one unless given; each has a stream of its own.

    Raises:
        DTypeError: the dtype is not a floating one.

    >>> wf.random.uniform((2, 3)).shape
    (2, 3)
    """
    return default_generator(device).uniform(shape, low, high, dtype=dtype)


@public
def normal(
    shape: Dim | Sequence[Dim] = (),
    mean: float = 0.0,
    std: float = 1.0,
    *,
    dtype: Any = dt.float32,
    device: Any = None,
) -> Array:
    """Normally distributed numbers (Box and Muller's cosine of two uniform ones; in float32 unless float64).

    Args:
        shape: of the result.
        mean, std: Python numbers; ``std`` is not negative.
        dtype: a floating dtype.
        device: as of :func:`uniform`.

    Raises:
        DTypeError: the dtype is not a floating one.

    >>> wf.random.normal(4, dtype=wf.float64).dtype
    weft.float64
    """
    return default_generator(device).normal(shape, mean, std, dtype=dtype)


@public
def integers(
    low: Whole,
    high: Whole | None = None,
    shape: Dim | Sequence[Dim] = (),
    *,
    dtype: Any = dt.int64,
    device: Any = None,
) -> Array:
    """Integers of ``low, ..., high - 1`` (of ``0, ..., low - 1`` when ``high`` is left out), all equally likely.

    A value is the high half of 64 random bits times ``high - low``: probabilities differ from ``1 / (high - low)``
    by at most 2**-64.

    Args:
        low, high: Python integers.
        shape: of the result.
        dtype: an integer dtype.
        device: as of :func:`uniform`.

    Raises:
        ShapeError: the range is empty or leaves the dtype.
        DTypeError: the dtype is not an integer one.

    >>> wf.random.integers(3, 4, (2,)).tolist()
    [3, 3]
    """
    return default_generator(device).integers(low, high, shape, dtype=dtype)


@public
def bernoulli(
    p: Array | float = 0.5,
    shape: Dim | Sequence[Dim] | None = None,
    *,
    dtype: Any = dt.bool_,
    device: Any = None,
) -> Array:
    """True with probability ``p``.

    Args:
        p: a Python number, or a floating tensor of probabilities; it counts to 24 bits (53 in float64).
        shape: of the result; that of ``p`` when left out.
        dtype: of the result, where 1 stands for true.
        device: as of :func:`uniform`; that of ``p`` when it is a tensor.

    Raises:
        ShapeError: a number ``p`` is not in [0, 1].

    >>> wf.random.bernoulli(1.0, (2,)).tolist()
    [True, True]
    """
    stream = default_generator(p.device if device is None and not isinstance(p, (int, float)) else device)
    return stream.bernoulli(p, shape, dtype=dtype)


@public
def permutation(x: Any, /) -> Array:
    """A random order: of ``0, ..., x - 1`` for an integer, of the slices of a tensor along its first axis.

    Raises:
        ShapeError: a tensor of rank 0, or a negative size.

    >>> sorted(wf.random.permutation(4).tolist())
    [0, 1, 2, 3]
    """
    return default_generator(getattr(x, "device", None)).permutation(x)
