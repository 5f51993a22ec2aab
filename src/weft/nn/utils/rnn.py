"""Sequences of different lengths in one batch: packed, padded, and back. PyTorch's ``torch.nn.utils.rnn``.

A packed batch holds the elements that are there, step by step, longest sequences first: ``abc`` and ``x`` are ``axbc``
with the batch sizes 2, 1, 1. Lengths are values, so the sizes of what depends on them are known when a program runs: in
a compiled function they are sizes that values decide about.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self

from ...core import dtypes as dt
from ...core.device import CPU
from ...core.errors import ArgumentError, DTypeError, ShapeError
from ...core.namespace import publish as _publish
from ...core.symbolic import are_equal, greatest
from ...ops.creation import arange, full, zeros
from ...ops.cumulative import cumulative_sum
from ...ops.elementwise import astype, cast, where
from ...ops.indexing import scatter_add, take
from ...ops.op import Array, composite, state
from ...ops.pieces import pad, stack
from ...ops.reduction import sum as total
from ...ops.shape import expand_dims, reshape, swapaxes
from ...tensor.create import asarray
from ...tensor.tensor import Tensor

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]


class _Fields(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Fields):
    """A packed batch of sequences, which recurrent layers take in the place of a padded one.

    It is made by :func:`pack_padded_sequence` and :func:`pack_sequence`.

    Args:
        data: ``(sum of the lengths, *)``: the elements, step by step.
        batch_sizes: ``(L,)`` int64: how many sequences have each step; it does not grow.
        sorted_indices: ``(N,)`` int64: which sequence of the caller's each one is; None: as they are.
        unsorted_indices: the inverse, which is computed if it is not given.
    """

    __slots__ = ()

    def __new__(
        cls,
        data: Any,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> Self:
        if batch_sizes is None:
            if not isinstance(data, (tuple, list)) or len(data) != 2:
                raise ArgumentError("PackedSequence: without batch_sizes, data is the pair of the data and these")
            data, batch_sizes = data
        if batch_sizes.device != CPU:
            raise ArgumentError(f"PackedSequence: batch_sizes is on {batch_sizes.device}; it must be on the CPU")
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """With the data in another dtype or on another device, as ``Tensor.to`` has it; itself, if it is there."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        rest = [None if i is None else i.to(data.device) for i in (self.sorted_indices, self.unsorted_indices)]
        return type(self)(data, self.batch_sizes, *rest)

    def cpu(self) -> Self:
        """On the CPU."""
        return self.to("cpu")

    def double(self) -> Self:
        """In float64."""
        return self.to(dtype=dt.float64)

    def float(self) -> Self:
        """In float32."""
        return self.to(dtype=dt.float32)

    def half(self) -> Self:
        """In float16."""
        return self.to(dtype=dt.float16)

    def long(self) -> Self:
        """In int64."""
        return self.to(dtype=dt.int64)

    def int(self) -> Self:
        """In int32."""
        return self.to(dtype=dt.int32)


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The inverse of a permutation ``(N,)``; None of None.

    >>> wf.nn.utils.rnn.invert_permutation(wf.asarray([2, 0, 1])).tolist()
    [1, 2, 0]
    """
    return None if permutation is None else _inverted(permutation)


@composite(public=False)
def _inverted(permutation: Array) -> Array:
    count = permutation.shape[0]
    places = arange(count, dtype=permutation.dtype)
    return scatter_add(zeros((count,), dtype=permutation.dtype), permutation, places)


# --- packing --------------------------------------------------------------------------------------------------------


def pack_padded_sequence(
    input: Tensor, lengths: Tensor | Sequence[int], batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack a padded batch.

    Args:
        input: ``(L, N, *)``, or ``(N, L, *)`` with ``batch_first``.
        lengths: ``(N,)`` integers, from 1 to L.
        batch_first: see ``input``.
        enforce_sorted: the lengths must not grow. False: the sequences are sorted, and the result says how.

    Raises:
        ShapeError: ``input`` has fewer than two axes, or there is not a length for each sequence.
        DTypeError: lengths are no integers.
        ArgumentError: a length is out of range, or the lengths are not sorted.

    >>> packed = wf.nn.utils.rnn.pack_padded_sequence(wf.asarray([[1, 2], [3, 0]]), [2, 1], batch_first=True)
    >>> packed.data.tolist(), packed.batch_sizes.tolist()
    ([1, 3, 2], [2, 1])
    """
    name = "pack_padded_sequence"
    if input.ndim < 2:
        raise ShapeError(f"{name}: input {input.shape}: wants a time axis and a batch axis")
    x = swapaxes(input, 0, 1) if batch_first else input
    counts = lengths if isinstance(lengths, Tensor) else asarray(lengths, dtype=None if len(lengths) else dt.int64)
    if counts.dtype.kind not in ("int", "uint"):
        raise DTypeError(f"{name}: lengths are {counts.dtype.name}; they must be integers")
    if counts.ndim != 1 or not are_equal(counts.shape[0], x.shape[1]):
        raise ShapeError(f"{name}: lengths {counts.shape}, for a batch of {x.shape[1]}: wants one for each sequence")
    if not x.shape[1] > 0:
        raise ShapeError(f"{name}: input {input.shape}: there are no sequences")
    counts = astype(counts, dt.int64)
    _check_lengths(name, counts, x.shape[0], enforce_sorted)
    order = unsorted = None
    steps = arange(x.shape[0])
    if not enforce_sorted:
        order, unsorted = _descending(counts, steps)
        x, counts = take(x, order.to(x.device), axis=1), take(counts, order)
    keep, sizes = _steps_of(counts, steps)
    batch_sizes = sizes[sizes > 0]
    if order is None or unsorted is None:
        return PackedSequence(x[keep.to(x.device)], batch_sizes)
    return PackedSequence(x[keep.to(x.device)], batch_sizes, order.to(x.device), unsorted.to(x.device))


def _check_lengths(name: str, lengths: Tensor, steps: Any, is_sorted: bool) -> None:
    """Raise where lengths cannot be meant; in captured code at each run.

    Raises:
        ArgumentError: they cannot.
    """
    texts = (
        (f"{name}: a length is 0 or less; every sequence has a step at least", lengths > 0),
        (f"{name}: a length is greater than {steps}, the number of steps of input", lengths <= steps),
        (
            f"{name}: the lengths grow from one sequence to the next; sort the sequences, longest first, or pass "
            "enforce_sorted=False",
            lengths[:-1] >= lengths[1:],
        ),
    )
    for text, holds in texts if is_sorted else texts[:2]:
        if state.trace is None:
            if not holds.all():
                raise ArgumentError(f"{text}; lengths are {lengths.tolist()}")
        else:
            from ...transforms.source.effects import raising

            raising(holds.all(), ArgumentError(text))


@composite(public=False)
def _steps_of(lengths: Array, steps: Array) -> Any:
    """``(L, N)``: which sequences have which steps; and ``(L,)``, how many have each."""
    keep = expand_dims(steps, axis=1) < lengths
    return keep, total(cast(keep, dt.int64), axis=1)


@composite(public=False)
def _descending(lengths: Array, steps: Array) -> Any:
    """The order of the sequences, longest first and equally long ones as they are; and its inverse.

    A sequence's place is the number of longer ones, and of those before it that are as long: the sequences that have
    one more step, and those that end where it does. That takes as much as the mask of the steps, which there is anyway.
    """
    step = expand_dims(steps, axis=1)
    having = total(cast(step < lengths, dt.int64), axis=1)
    longer = total(where(step == lengths, expand_dims(having, axis=1), 0), axis=0)
    ending = step + 1 == lengths
    before = cumulative_sum(cast(ending, dt.int64), axis=1) - 1
    place = longer + total(where(ending, before, 0), axis=0)
    return _inverted(place), place


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack sequences ``(L_i, *)``: :func:`pad_sequence`, then :func:`pack_padded_sequence`.

    >>> a, b = wf.asarray([1, 2, 3]), wf.asarray([4])
    >>> wf.nn.utils.rnn.pack_sequence([a, b]).data.tolist()
    [1, 4, 2, 3]
    """
    padded = pad_sequence(sequences)
    return pack_padded_sequence(padded, asarray([s.shape[0] for s in sequences]), enforce_sorted=enforce_sorted)


# --- unpacking ------------------------------------------------------------------------------------------------------


def _lanes(packed: PackedSequence, count: Any = None) -> Tensor:
    """``0 ... N - 1``; in captured code, which does not know N, of ``count`` sequences, which is checked at each run.

    Raises:
        ShapeError: there are others than ``count``.
    """
    if packed.sorted_indices is not None:
        return arange(packed.sorted_indices.shape[0])
    if count is not None and state.trace is not None:
        from ...transforms.source.effects import raising

        error = ShapeError(f"the states are of {count} sequences, and the packed batch is of another number")
        raising(packed.batch_sizes[0] == count, error)
        return arange(count)
    rows = arange(packed.data.shape[0])
    lanes: Tensor = rows[rows < packed.batch_sizes[0]]
    return lanes


@composite(public=False)
def _places(batch_sizes: Array, lanes: Array) -> Any:
    """``(L, N)``: the row of the data that is that step of that sequence (0 where there is none); and whether it is."""
    starts = cumulative_sum(batch_sizes) - batch_sizes
    keep = lanes < expand_dims(batch_sizes, axis=1)
    return where(keep, expand_dims(starts, axis=1) + lanes, 0), keep


def padded_steps(packed: PackedSequence, count: Any = None) -> tuple[Tensor, Tensor]:
    """The data as ``(L, N, *)``, sorted as it is, with any numbers of its own behind the ends; and ``(L, N)`` bool:
    where they are not. ``count``: what N is expected to be."""
    rows, keep = _places(packed.batch_sizes, _lanes(packed, count))
    device = packed.data.device
    return take(packed.data, rows.to(device), axis=0), keep.to(device)


@composite(public=False)
def _packed_rows(x: Array, keep: Array, like: Array) -> Array:
    """The steps ``(L, N, *)`` that there are, as many as ``like`` has rows."""
    count = like.shape[0]
    flat = reshape(keep, (keep.shape[0] * keep.shape[1],))
    row = cumulative_sum(cast(flat, dt.int64)) - 1
    step = arange(flat.shape[0])
    at = scatter_add(zeros((count,), dtype=dt.int64), where(flat, row, 0), where(flat, step, 0))
    return take(reshape(x, (x.shape[0] * x.shape[1], *x.shape[2:])), at, axis=0)


def packed_like(packed: PackedSequence, x: Tensor, keep: Tensor) -> PackedSequence:
    """``(L, N, *)`` packed as another batch is, whose steps are where ``keep`` is true."""
    return packed._replace(data=_packed_rows(x, keep, packed.data))


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """A packed batch as a padded one, in the order that the sequences had before they were packed.

    Args:
        batch_first: the result is ``(N, L, *)``.
        padding_value: what is behind the ends.
        total_length: L; None: the greatest length.

    Returns:
        ``(L, N, *)``, and ``(N,)`` int64: the lengths.

    Raises:
        ArgumentError: ``total_length`` is less than the greatest length.

    >>> packed = wf.nn.utils.rnn.pack_sequence([wf.asarray([1, 2, 3]), wf.asarray([4])])
    >>> padded, lengths = wf.nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)
    >>> padded.tolist(), lengths.tolist()
    ([[1, 2, 3], [4, 0, 0]], [3, 1])
    """
    x, keep = padded_steps(sequence)
    count = x.shape[0]
    if total_length is not None and total_length < count:
        raise ArgumentError(
            f"pad_packed_sequence: total_length is {total_length}; the longest sequence has {count} steps"
        )
    padded = _filled(x, keep, padding_value)
    lengths = total(keep.to(CPU), axis=0, dtype=dt.int64)
    if total_length is not None:
        padded = pad(padded, [(0, total_length - count)] + [(0, 0)] * (x.ndim - 1), value=_number(x, padding_value))
    if sequence.unsorted_indices is not None:
        padded = take(padded, sequence.unsorted_indices, axis=1)
        lengths = take(lengths, sequence.unsorted_indices.to(CPU))
    return swapaxes(padded, 0, 1) if batch_first else padded, lengths


def _number(x: Tensor, value: float) -> float:
    """A padding value as a number of the dtype of ``x``."""
    return value if x.dtype.is_floating else int(value)


def _filled(x: Tensor, keep: Tensor, value: float) -> Tensor:
    shape = (*keep.shape, *[1] * (x.ndim - 2))
    return where(reshape(keep, shape), x, full((), _number(x, value), dtype=x.dtype, device=x.device))


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences ``(L_i, *)`` of a packed batch.

    >>> packed = wf.nn.utils.rnn.pack_sequence([wf.asarray([1, 2, 3]), wf.asarray([4])])
    >>> [s.tolist() for s in wf.nn.utils.rnn.unpack_sequence(packed)]
    [[1, 2, 3], [4]]
    """
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)


# --- padding --------------------------------------------------------------------------------------------------------


def pad_sequence(
    sequences: Tensor | Iterable[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Sequences ``(L_i, *)`` as one padded batch ``(L, N, *)``, L being the greatest length.

    Args:
        sequences: of equal dtypes and, but for the first axis, equal shapes.
        batch_first: the result is ``(N, L, *)``.
        padding_value: what is behind the ends.
        padding_side: ``"right"``, or ``"left"``: before the beginnings.

    Raises:
        ArgumentError: there are no sequences, or no such side.
        ShapeError, DTypeError: the sequences do not fit each other.

    >>> wf.nn.utils.rnn.pad_sequence([wf.asarray([1, 2, 3]), wf.asarray([4])], batch_first=True).tolist()
    [[1, 2, 3], [4, 0, 0]]
    """
    if padding_side not in ("left", "right"):
        raise ArgumentError(f"pad_sequence: padding_side is {padding_side!r}; it must be 'left' or 'right'")
    if not isinstance(sequences, Iterable):
        raise ArgumentError(f"pad_sequence: sequences is a {type(sequences).__name__}; it must be a list of tensors")
    found = list(sequences)
    if not found:
        raise ArgumentError("pad_sequence: there are no sequences")
    first = found[0]
    for number, s in enumerate(found):
        if not s.ndim or s.ndim != first.ndim or not all(map(are_equal, s.shape[1:], first.shape[1:])):
            raise ShapeError(
                f"pad_sequence: sequences[{number}] {s.shape}, sequences[0] {first.shape}: wants (length, *) with the "
                "same sizes behind the length"
            )
        if s.dtype is not first.dtype:
            raise DTypeError(
                f"pad_sequence: sequences[{number}] is {s.dtype.name} and sequences[0] {first.dtype.name}; cast them"
            )
    longest = greatest(*[s.shape[0] for s in found])
    rest = [(0, 0)] * (first.ndim - 1)
    value = _number(first, padding_value)
    padded = []
    for s in found:
        missing = longest - s.shape[0]
        padded.append(pad(s, [(0, missing) if padding_side == "right" else (missing, 0), *rest], value=value))
    return stack(padded, axis=0 if batch_first else 1)


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False) -> list[Tensor]:
    """The sequences ``(L_i, *)`` of a padded batch ``(L, N, *)``.

    Args:
        lengths: ``(N,)`` integers.
        batch_first: the batch is ``(N, L, *)``.

    Raises:
        ShapeError: there is not a length for each sequence.

    >>> [s.tolist() for s in wf.nn.utils.rnn.unpad_sequence(wf.asarray([[1, 4], [2, 0]]), wf.asarray([2, 1]))]
    [[1, 2], [4]]
    """
    x = padded_sequences if batch_first else swapaxes(padded_sequences, 0, 1)
    if lengths.ndim != 1 or not are_equal(lengths.shape[0], x.shape[0]):
        raise ShapeError(f"unpad_sequence: lengths {lengths.shape}, for a batch of {x.shape[0]}: wants one for each")
    steps = arange(x.shape[1])
    return [x[n][(steps < lengths[n]).to(x.device)] for n in range(x.shape[0])]


_publish(globals())
