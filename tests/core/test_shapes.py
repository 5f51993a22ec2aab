"""Sizes: what is computed of symbolic ones is, with numbers for the names, what Python's integers give."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from weft.core.errors import AxisError, CaptureError, ShapeError
from weft.core.shapes import (
    broadcast_shapes,
    is_static,
    normalize_axes,
    normalize_axis,
    shown,
    size_of,
    strides_of,
    substitute,
)
from weft.core.symbolic import SymDim

NAMES = ("n", "m", "k")
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "//": operator.floordiv, "%": operator.mod,
}  # fmt: skip
Tree = int | str | tuple[str, Any, Any]

constants = st.integers(-12, 12)
sizes = st.fixed_dictionaries({name: st.integers(1, 9) for name in NAMES})


def trees(operators: str) -> st.SearchStrategy[Any]:
    leaves: st.SearchStrategy[Any] = st.one_of(constants, st.sampled_from(NAMES))
    return st.recursive(leaves, lambda sub: st.tuples(st.sampled_from(operators.split()), sub, sub), max_leaves=8)


def value(tree: Tree, names: dict[str, Any]) -> Any:
    """Of an expression: a number with numbers for its names, else what SymDim makes of it."""
    if isinstance(tree, tuple):
        return OPERATORS[tree[0]](value(tree[1], names), value(tree[2], names))
    return names[tree] if isinstance(tree, str) else tree


SYMBOLS = {name: SymDim.named(name) for name in NAMES}


@given(tree=trees("+ - *"), numbers=sizes)
def test_sums_and_products_are_those_of_integers(tree: Tree, numbers: dict[str, int]) -> None:
    assert substitute(value(tree, SYMBOLS), numbers) == value(tree, numbers)


@given(tree=trees("+ - * // %"), numbers=sizes)
def test_quotients_that_are_given_are_those_of_integers(tree: Tree, numbers: dict[str, int]) -> None:
    try:
        symbolic = value(tree, SYMBOLS)
    except (CaptureError, ZeroDivisionError):
        assume(False)
    try:
        number = value(tree, numbers)
    except ZeroDivisionError:  # for these sizes, which are no sizes of such a model
        assume(False)
    assert substitute(symbolic, numbers) == number


@given(tree=trees("+ - *"), factor=constants.filter(bool), numbers=sizes)
def test_a_multiple_is_divided_without_rest(tree: Tree, factor: int, numbers: dict[str, int]) -> None:
    whole = value(tree, SYMBOLS)
    assert whole * factor // factor == whole == factor * whole // factor
    assert whole * factor % factor == 0
    if isinstance(whole, SymDim):
        for divisor in (SYMBOLS["n"], factor * SYMBOLS["m"] * SYMBOLS["n"], whole):
            if not isinstance(whole * divisor, SymDim) or (len(divisor.terms) > 1 and divisor is not whole):
                continue
            if len(divisor.terms) == 1:
                assert whole * divisor // divisor == whole
                assert whole * divisor % divisor == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda n, m: n // 2,
        lambda n, m: n % 2,
        lambda n, m: (2 * n + 1) // 2,
        lambda n, m: n // m,
        lambda n, m: (n + m) // (n - m),
        lambda n, m: (n + 1) // n,
        lambda n, m: n // (2 * n),
        lambda n, m: 6 // n,
        lambda n, m: 6 % n,
        lambda n, m: n % m,
        lambda n, m: 0 % n,
    ],
)
def test_a_quotient_that_depends_on_the_sizes_is_refused(call: Callable[[Any, Any], Any]) -> None:
    with pytest.raises(CaptureError, match="is not a whole number for every size"):
        call(SYMBOLS["n"], SYMBOLS["m"])


@given(tree=trees("+ - *"), numbers=sizes)
def test_a_size_prints_as_what_it_is(tree: Tree, numbers: dict[str, int]) -> None:
    symbolic = value(tree, SYMBOLS)
    assert eval(str(symbolic), dict(numbers)) == value(tree, numbers)
    assert eval(str(symbolic), dict(SYMBOLS)) == symbolic
    if isinstance(symbolic, SymDim):
        assert not set(symbolic.terms) <= {()} and all(symbolic.terms.values())


@given(a=trees("+ - *"), b=trees("+ - *"), c=trees("+ - *"))
def test_equal_expressions_are_equal_and_print_alike(a: Tree, b: Tree, c: Tree) -> None:
    x, y, z = (value(t, SYMBOLS) for t in (a, b, c))
    pairs = [
        (x + y, y + x),
        (x * y, y * x),
        ((x + y) + z, x + (y + z)),
        ((x * y) * z, x * (y * z)),
        (x * (y + z), x * y + x * z),
        (x - y, -(y - x)),
        (x - y, x + -y),
        (x - x, 0),
        (x + 0, x),
        (1 * x, x),
        (0 * x, 0),
    ]
    for left, right in pairs:
        assert left == right and hash(left) == hash(right) and repr(left) == repr(right)


@given(a=trees("+ - *"), b=trees("+ - *"), numbers=st.lists(sizes, min_size=8, max_size=8))
def test_unequal_expressions_are_not_equal(a: Tree, b: Tree, numbers: list[dict[str, int]]) -> None:
    differ = any(value(a, n) != value(b, n) for n in numbers)
    assert not (differ and value(a, SYMBOLS) == value(b, SYMBOLS))


@given(tree=trees("+ - *"), bound=st.integers(-3, 3), numbers=sizes, name=st.sampled_from(["lt", "le", "gt", "ge"]))
def test_a_comparison_that_is_decided_holds_for_every_size(
    tree: Tree, bound: int, numbers: dict[str, int], name: str
) -> None:
    compare = getattr(operator, name)
    try:
        decided = compare(value(tree, SYMBOLS), bound)
    except CaptureError:
        assume(False)
    assert decided is compare(value(tree, numbers), bound)


def test_what_is_decided_of_a_size_and_what_is_not() -> None:
    n = SYMBOLS["n"]
    assert n > 0 and n >= 1 and not n < 1 and not n <= 0 and n + n <= 2 * n and n >= n
    assert n != 1 and n != SYMBOLS["m"]
    for undecided in (lambda: n > 1, lambda: n < 2, lambda: n - 1 > 0, lambda: n < SYMBOLS["m"], lambda: n <= 1):
        with pytest.raises(CaptureError, match="is not known while the size is symbolic"):
            undecided()
    with pytest.raises(CaptureError, match="the size 2\\*n is symbolic"):
        int(2 * n)


@given(tree=trees("+ - *"), first=st.sampled_from(NAMES), numbers=sizes)
def test_names_may_be_replaced_one_after_the_other(tree: Tree, first: str, numbers: dict[str, int]) -> None:
    symbolic = value(tree, SYMBOLS)
    partly = substitute(symbolic, {first: numbers[first]})
    assert first not in str(partly)
    assert substitute(partly, numbers) == substitute(symbolic, numbers)
    nested = substitute((symbolic, (3, (symbolic,)), "text"), numbers)
    number = value(tree, numbers)
    assert nested == (number, (3, (number,)), "text")


def test_what_is_no_size_does_not_mix_with_sizes() -> None:
    n = SYMBOLS["n"]
    for bad in ("a", None, 1.5, [1]):
        for op in (operator.add, operator.sub, operator.mul):
            for pair in ((n, bad), (bad, n)):
                with pytest.raises((TypeError, CaptureError)):  # of a list and a size: its repetition
                    op(*pair)
    for bad in (1.0, "a", None):
        for op in (operator.floordiv, operator.mod):
            with pytest.raises(TypeError):
                op(n, bad)


shapes = st.lists(st.integers(0, 5), max_size=4).map(tuple)


@given(shape=shapes)
def test_row_major_strides_count_elements(shape: tuple[int, ...]) -> None:
    strides = strides_of(shape)
    size = 1
    for length, stride in zip(reversed(shape), reversed(strides), strict=True):
        assert stride == size
        size *= max(length, 1)
    assert size_of(shape) == (0 if 0 in shape else size)


@given(shape=st.lists(st.one_of(st.integers(1, 4), st.sampled_from(NAMES)), max_size=4), numbers=sizes)
def test_sizes_and_strides_of_symbolic_shapes(shape: list[Any], numbers: dict[str, int]) -> None:
    symbolic = tuple(SYMBOLS.get(n, n) for n in shape)
    static = tuple(numbers.get(n, n) for n in shape)
    assert substitute(strides_of(symbolic), numbers) == strides_of(static)
    assert substitute(size_of(symbolic), numbers) == size_of(static)
    assert is_static(static) and is_static(symbolic) is not any(isinstance(n, str) for n in shape)


@given(a=shapes, b=shapes)
def test_shapes_broadcast_as_numpys(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    import numpy as np

    try:
        expected = np.broadcast_shapes(a, b)
    except ValueError:
        with pytest.raises(ShapeError, match="do not broadcast"):
            broadcast_shapes(a, b)
        return
    assert broadcast_shapes(a, b) == expected


def test_symbolic_shapes_broadcast_where_sizes_are_equal_or_one() -> None:
    n, m = SYMBOLS["n"], SYMBOLS["m"]
    assert broadcast_shapes((n, 1), (1, m)) == (n, m)
    assert broadcast_shapes((n + m, 3), (m + n, 1), (3,)) == (n + m, 3)
    for other in (m, 2, 2 * n, 0):
        with pytest.raises(ShapeError, match="axis -1 has sizes"):
            broadcast_shapes((n,), (other,))


@given(rank=st.integers(0, 5), axis=st.integers(-7, 7))
def test_an_axis_counts_from_either_end(rank: int, axis: int) -> None:
    if -rank <= axis < rank:
        assert normalize_axis(axis, rank, "f") == list(range(rank))[axis]
        assert normalize_axes(axis, rank, "f") == normalize_axes([axis], rank, "f") == (list(range(rank))[axis],)
    else:
        with pytest.raises(AxisError, match=f"f: axis {axis} is out of range for a tensor of rank {rank}"):
            normalize_axis(axis, rank, "f")


@given(rank=st.integers(1, 5), axes=st.lists(st.integers(-5, 4), max_size=4))
def test_axes_are_sorted_and_named_once(rank: int, axes: list[int]) -> None:
    assume(all(-rank <= a < rank for a in axes))
    found = [list(range(rank))[a] for a in axes]
    if len(set(found)) < len(found):
        with pytest.raises(AxisError, match="f: an axis is named twice"):
            normalize_axes(axes, rank, "f")
    else:
        assert normalize_axes(axes, rank, "f") == tuple(sorted(found))
    assert normalize_axes(None, rank, "f") == tuple(range(rank))


@pytest.mark.parametrize("bad", [True, "0", 1.0, None, [0]])
def test_what_is_no_axis(bad: Any) -> None:
    with pytest.raises(AxisError, match="axes are integers"):
        normalize_axis(bad, 2, "f")


class Broken:
    def __repr__(self) -> str:
        raise ValueError


def test_anything_can_be_shown() -> None:
    assert shown(10**5000) == f"an integer of {(10**5000).bit_length()} bits"
    assert shown(Broken()).startswith(("an object of type Broken", "<Broken instance"))
    assert len(shown([1] * 1000)) < 100 and len(shown("a" * 1000)) < 100
