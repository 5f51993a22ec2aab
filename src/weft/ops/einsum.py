"""Einstein's summation: products of tensors, summed over the labels that the result does not have."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import ShapeError
from ..core.symbolic import Dim
from .contraction import contracted
from .creation import iota
from .elementwise import cast, equal, multiply, where
from .op import Array, composite
from .operands import REAL, common_dtype, require_tensors
from .precision import working
from .reduction import sum
from .shape import permute_dims, reshape


@dataclass(frozen=True, slots=True)
class _Term:
    """A tensor and the label of each of its axes, no label twice."""

    x: Array
    labels: str

    def size(self, label: str) -> Dim:
        size: Dim = self.x.shape[self.labels.index(label)]
        return size


@composite
def einsum(subscripts: str, /, *operands: Array | Sequence[Array]) -> Array:
    """Products of elements with equal labels, summed over the labels that the result does not have.

    Operands are multiplied in pairs from the left, each pair as a batch of matrix products.

    Args:
        subscripts: ``"ij,jk->ik"``: a letter for each axis of each operand, ``...`` for axes that broadcast. Without
            ``->`` the result has, in alphabetical order, the letters that stand once.
        operands: integer or floating-point dtypes; or one list of them, as PyTorch takes them too.

    Returns:
        A tensor of the promoted dtype.

    Raises:
        ShapeError: the subscripts do not fit the operands, or sizes of one label differ.
        DTypeError: an operand is bool or no tensor, or there is no common dtype.

    Example:
        >>> import weft as wf
        >>> wf.einsum("ij,jk->ik", wf.asarray([[1.0, 2.0]]), wf.asarray([[3.0], [4.0]])).tolist()
        [[11.0]]
    """
    given: tuple[Any, ...] = operands
    if len(operands) == 1 and isinstance(operands[0], (tuple, list)):
        given = tuple(operands[0])
    require_tensors("einsum", *given)
    inputs, output = _parse(subscripts, given)
    dtype = common_dtype("einsum", given, REAL)
    wide = working(dtype)
    sizes = _sizes(subscripts, given, inputs)
    for label in output:
        if label not in sizes:
            raise ShapeError(f"einsum: {subscripts}: no operand has the label {label!r} of the result")
    terms = [_single(cast(x, wide), labels, sizes) for x, labels in zip(given, inputs, strict=True)]
    while len(terms) > 1:
        rest = "".join(t.labels for t in terms[2:]) + output
        terms = [_pair(terms[0], terms[1], rest), *terms[2:]]
    last = _keep(terms[0], output)
    return cast(permute_dims(last.x, tuple(last.labels.index(label) for label in output)), dtype)


def _parse(subscripts: str, operands: Sequence[Array]) -> tuple[list[str], str]:
    """The labels of each operand and of the result; the axes of ``...`` get labels of their own."""
    text = subscripts.replace(" ", "")
    left, arrow, output = text.partition("->")
    terms = left.split(",")
    if not operands or len(terms) != len(operands):
        raise ShapeError(f"einsum: {subscripts}: {len(terms)} terms for {len(operands)} operands")
    free = [chr(code) for code in range(0x0100, 0x0180)]  # labels that a user's letters cannot be
    inputs, longest = [], 0
    for number, (term, x) in enumerate(zip(terms, operands, strict=True)):
        before, dots, after = term.partition("...")
        extra = x.ndim - len(before) - len(after)
        if not set(before + after) <= set(string.ascii_letters) or extra < 0 or (extra and not dots):
            raise ShapeError(f"einsum: {subscripts}: term {term!r} does not fit operand {number} of shape {x.shape}")
        inputs.append(before + "".join(reversed(free[:extra])) + after)
        longest = max(longest, extra)
    shared = "".join(reversed(free[:longest]))
    if not arrow:
        letters = "".join(terms).replace(".", "")
        return inputs, shared + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    output = output.replace("...", shared, 1)
    if len(set(output)) != len(output) or not set(output) <= set(string.ascii_letters) | set(shared):
        raise ShapeError(f"einsum: {subscripts}: the result must name each label once, by a letter")
    return inputs, output


def _sizes(subscripts: str, operands: Sequence[Array], inputs: Sequence[str]) -> dict[str, Dim]:
    """The size of each label; axes of size 1 broadcast."""
    sizes: dict[str, Dim] = {}
    for x, labels in zip(operands, inputs, strict=True):
        for label, size in zip(labels, x.shape, strict=True):
            known = sizes.setdefault(label, size)
            if known == 1:
                sizes[label] = size
            elif size not in (1, known):
                name = label if label in string.ascii_letters else "..."
                raise ShapeError(f"einsum: {subscripts}: sizes {known} and {size} of label {name!r} differ")
    return sizes


def _single(x: Array, labels: str, sizes: dict[str, Dim]) -> _Term:
    """``x`` without axes that broadcast (size 1 where others have more) and with repeated labels as a diagonal."""
    axis = 0
    while axis < len(labels):
        label = labels[axis]
        first = labels.index(label)
        if x.shape[axis] == 1 and sizes[label] != 1:
            x = reshape(x, (*x.shape[:axis], *x.shape[axis + 1 :]))
        elif first < axis:
            on_diagonal = equal(iota(x.shape, first), iota(x.shape, axis))
            x = sum(where(on_diagonal, x, 0), axis=axis, dtype=x.dtype)
        else:
            axis += 1
            continue
        labels = labels[:axis] + labels[axis + 1 :]
    return _Term(x, labels)


def _keep(term: _Term, labels: str) -> _Term:
    """``term`` summed over the labels that are not among ``labels``."""
    gone = tuple(axis for axis, label in enumerate(term.labels) if label not in labels)
    if not gone:
        return term
    return _Term(sum(term.x, axis=gone, dtype=term.x.dtype), "".join(c for c in term.labels if c in labels))


def _pair(a: _Term, b: _Term, rest: str) -> _Term:
    """The product of two terms, summed over the labels that nothing in ``rest`` needs."""
    a, b = _keep(a, b.labels + rest), _keep(b, a.labels + rest)
    batch = "".join(c for c in a.labels if c in b.labels and c in rest)
    inner = "".join(c for c in a.labels if c in b.labels and c not in rest)
    rows = "".join(c for c in a.labels if c not in b.labels)
    columns = "".join(c for c in b.labels if c not in a.labels)
    if inner:
        left, right = _ordered(a, batch + rows + inner), _ordered(b, batch + inner + columns)
        return _Term(contracted(left, right, len(batch), len(inner)), batch + rows + columns)
    left, right = _ordered(a, batch + rows), _ordered(b, batch + columns)
    spread = tuple(a.size(label) for label in batch + rows) + (1,) * len(columns)
    apart = tuple(b.size(label) for label in batch) + (1,) * len(rows) + tuple(map(b.size, columns))
    return _Term(multiply(reshape(left, spread), reshape(right, apart)), batch + rows + columns)


def _ordered(term: _Term, labels: str) -> Array:
    """The tensor with its axes in the order of the labels."""
    return permute_dims(term.x, tuple(term.labels.index(label) for label in labels))
