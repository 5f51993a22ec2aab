"""In-place forms write into the memory that they are given: who shares it sees it, eager and captured. What may not be
written, and what was written although backward needs it, is refused at the user's line."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn

START = [[0.5, -1.5, 2.5], [3.5, -4.5, 5.5]]


def assign(x: Any, key: Any, value: Any) -> None:
    x[key] = value


def plus(x: Any, value: Any) -> None:
    x += value


def augmented(symbol: str) -> Callable[[Any], None]:
    """``x += 2`` and the like, as a function."""
    made: dict[str, Any] = {}
    exec(f"def run(x):\n    x {symbol}= 2.0", made)
    return made["run"]  # type: ignore[no-any-return]


def captured(run: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled, without its result."""

    def step(*given: Any) -> None:
        run(*given)

    return wf.compile(step)


def each_row(x: Any) -> None:
    for r in x:
        r.mul_(2)


def every_other(x: Any) -> None:
    for i, r in enumerate(x.unbind(1)):
        r.add_(i)


A = np.array(START, np.float32)
V = np.array([1.0, 2.0, 3.0], np.float32)
FORMS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    # What is done to x of (2, 3), and x then.
    "+=": (augmented("+"), A + 2),
    "-=": (augmented("-"), A - 2),
    "*=": (augmented("*"), A * 2),
    "/=": (augmented("/"), A / 2),
    "//=": (augmented("//"), A // 2),
    "%=": (augmented("%"), A % 2),
    "**=": (augmented("**"), A**2),
    "+= a row": (lambda x: plus(x, wf.asarray(V)), A + V),
    "+= itself": (lambda x: plus(x, x), A + A),
    "add_": (lambda x: x.add_(1), A + 1),
    "add_ alpha": (lambda x: x.add_(wf.asarray(V), alpha=2), A + 2 * V),
    "sub_": (lambda x: x.sub_(wf.asarray(V)), A - V),
    "mul_": (lambda x: x.mul_(wf.asarray(V)), A * V),
    "div_": (lambda x: x.div_(2), A / 2),
    "zero_": (lambda x: x.zero_(), A * 0),
    "fill_": (lambda x: x.fill_(7), A * 0 + 7),
    "copy_": (lambda x: x.copy_(wf.asarray(V)), A * 0 + V),
    "copy_ another dtype": (lambda x: x.copy_(wf.asarray(V.astype(np.float64))), A * 0 + V),
    "copy_ its own rows, turned": (lambda x: x.copy_(x.flip(0)), A[::-1]),
    "clamp_": (lambda x: x.clamp_(-1, 3), A.clip(-1, 3)),
    "abs_": (lambda x: x.abs_(), abs(A)),
    "neg_": (lambda x: x.neg_(), -A),
    "relu_": (lambda x: x.relu_(), A.clip(0)),
    "exp_": (lambda x: x.exp_(), np.exp(A)),
    "sigmoid_": (lambda x: x.sigmoid_(), 1 / (1 + np.exp(-A))),
    "tanh_": (lambda x: x.tanh_(), np.tanh(A)),
    "sqrt_": (lambda x: x.abs_().sqrt_(), np.sqrt(abs(A))),
    "floor_": (lambda x: x.floor_(), np.floor(A)),
    "square_": (lambda x: x.square_(), A**2),
    "masked_fill_": (lambda x: x.masked_fill_(x > 0, -1.0), np.where(A > 0, -1, A)),
    "x[1] = 9": (lambda x: assign(x, 1, 9), [START[0], [9, 9, 9]]),
    "x[0][1] = 7": (lambda x: assign(x[0], 1, 7), [[0.5, 7, 2.5], START[1]]),
    "x[0, 1] = 7": (lambda x: assign(x, (0, 1), 7), [[0.5, 7, 2.5], START[1]]),
    "x[:, 1:] = y": (lambda x: assign(x, np.s_[:, 1:], wf.asarray(V[:2])), [[0.5, 1, 2], [3.5, 1, 2]]),
    "x[...] = y": (lambda x: assign(x, ..., wf.asarray(V)), A * 0 + V),
    "x[...] = an array": (lambda x: assign(x, ..., V), A * 0 + V),
    "x[[1, 0]] = y": (lambda x: assign(x, [1, 0], wf.asarray(A * 10)), A[::-1] * 10),
    "x[i] = y": (lambda x: assign(x, wf.asarray([1]), wf.asarray(V)), [START[0], V]),
    "x[:, i] = y": (lambda x: assign(x, (slice(None), wf.asarray([2, 0])), 0.0), [[0, -1.5, 0], [0, -4.5, 0]]),
    "x[mask] = 0": (lambda x: assign(x, x < 0, 0.0), A.clip(0)),
    "x[rows] = 0": (lambda x: assign(x, wf.asarray([False, True]), 0.0), [START[0], [0, 0, 0]]),
    "x.view(-1).add_(1)": (lambda x: x.view(-1).add_(1), A + 1),
    "x.T[0] = 5": (lambda x: assign(x.T, 0, 5), [[5, -1.5, 2.5], [5, -4.5, 5.5]]),
    "x.detach().zero_()": (lambda x: x.detach().zero_(), A * 0),
    "x.data.zero_()": (lambda x: x.data.zero_(), A * 0),
    "x[:1].add_(x[1:])": (lambda x: x[:1].add_(x[1:]), [A[0] + A[1], START[1]]),
    "x.mT.mul_(y)": (lambda x: x.mT.mul_(wf.asarray([2.0, 3.0])), A * [[2], [3]]),
    "x[0].copy_(x[1])": (lambda x: x[0].copy_(x[1]), [START[1], START[1]]),
    "for r in x": (each_row, A * 2),
    "for c in x.unbind(1)": (every_other, A + np.arange(3)),
    "x.diagonal().zero_()": (lambda x: x.diagonal().zero_(), [[0, -1.5, 2.5], [3.5, 0, 5.5]]),
    "wf.add(out=x)": (lambda x: wf.add(x, 1.0, out=x), A + 1),
    "wf.multiply(out=x.T)": (lambda x: wf.multiply(x.T, 2.0, out=x.T), A * 2),
    "nn.init.zeros_(x[:1])": (lambda x: nn.init.zeros_(x[:1]), [[0, 0, 0], START[1]]),
    "nn.init.constant_(x.T, 3)": (lambda x: nn.init.constant_(x.T, 3.0), A * 0 + 3),
    "nn.init.ones_(x[:, 1])": (lambda x: nn.init.ones_(x[:, 1]), [[0.5, 1, 2.5], [3.5, 1, 5.5]]),
}


@pytest.mark.parametrize("way", ["eager", "captured", "argument"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_who_shares_the_memory_sees_what_is_written(form: tuple[Callable[[Any], Any], Any], way: str) -> None:
    """Through names that were there before: a view, a detached one, a NumPy array."""
    run, expected = form
    x = wf.tensor(START)
    address = x.numpy().ctypes.data
    flat, turned, detached, array = x.view(-1), x.T, x.detach(), x.numpy()
    if way == "eager":
        run(x)
    elif way == "captured":
        captured(lambda: run(x))()
    else:
        captured(run)(x)
    expected = np.asarray(expected, np.float32)
    np.testing.assert_allclose(x.numpy(), expected, rtol=1e-6)
    assert x.numpy().ctypes.data == address
    for seen in (flat.numpy().reshape(2, 3), turned.numpy().T, detached.numpy(), array):
        assert seen.tobytes() == x.numpy().tobytes()


METHODS = [name for name in dir(wf.ones(())) if name.endswith("_") and not name.startswith("_")]
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("add_", "sub_", "mul_", "div_", "copy_", "fill_", "pow_", "remainder_", "floor_divide_"), (2.0,)),
    **dict.fromkeys(("clamp_", "clip_"), (-1.0, 1.0)),
    **dict.fromkeys(("cumsum_", "cumprod_", "squeeze_", "unsqueeze_"), (0,)),
    **dict.fromkeys(("maximum_", "minimum_", "atan2_", "copysign_", "hypot_"), (wf.ones((2, 3)),)),
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_that_ends_in_an_underscore_returns_the_tensor_it_wrote(name: str) -> None:
    x = wf.tensor(START)
    held, array = x.view(-1), x.numpy()
    try:
        result = getattr(x, name)(*ARGUMENTS.get(name, ()))
    except TypeError:
        pytest.skip("takes arguments that are tested elsewhere")
    assert result is x and x.numpy().ctypes.data == array.ctypes.data
    if x.shape != (2, 3):  # t_ and the like look at the memory in another way
        assert array.tolist() == START
        return
    np.testing.assert_array_equal(held.numpy(), x.numpy().reshape(-1))
    np.testing.assert_array_equal(array, x.numpy())


def test_a_narrower_dtype_is_written_and_a_wider_kind_is_refused() -> None:
    x = wf.zeros((2,))
    view = x[:]
    x += wf.tensor([1.0, 2.0], dtype=wf.float64)
    assert view.dtype == wf.float32 and view.tolist() == [1.0, 2.0]
    i = wf.zeros((2,), dtype=wf.int64)
    for mistake in (lambda: i.add_(0.5), lambda: i.mul_(x), lambda: plus(i, x)):
        with pytest.raises(wf.DTypeError, match=r"float32.*int64|int64.*float32"):
            mistake()
    i.copy_(wf.tensor([1.7, -2.7]))  # casts, as an assignment does
    assert i.tolist() == [1, -2]


# --- what is refused ----------------------------------------------------------------------------------------------

X, ROW, INTEGERS = wf.ones((2, 3)), wf.ones((1, 3)), wf.ones((2,), dtype=wf.int64)
WIDE = ROW.expand(2, 3)
LEAF = wf.ones((2, 3)).requires_grad_()
LENT = np.ones((2, 3), np.float32)
LENT.flags.writeable = False
LOCKED = wf.from_numpy(LENT)

# Mistakes of one line each, the error, and what its message says.
REFUSED: list[tuple[str, Callable[[], Any], type[Exception], str]] = [
    ("shape", lambda: X.add_(wf.ones((2, 4))), wf.ShapeError, r"add.*\(2, 3\).*\(2, 4\)"),
    ("shape that grows", lambda: ROW.add_(X), wf.ShapeError, r"add.*\(2, 3\).*\(1, 3\)"),
    ("+= that grows", lambda: plus(ROW, X), wf.ShapeError, r"add.*\(2, 3\).*\(1, 3\)"),
    ("copy_ shape", lambda: X.copy_(wf.ones((4,))), wf.ShapeError, r"copy_.*\(4,\).*\(2, 3\)"),
    ("assignment shape", lambda: assign(X, 0, wf.ones((4,))), wf.ShapeError, r"\(4,\).*\(3,\)"),
    ("fill_ shape", lambda: X.fill_(wf.ones((3,))), wf.WeftError, r"fill_.*\(3,\)"),
    ("index", lambda: assign(X, 2, 0.0), IndexError, "index 2 is out of range for axis 0 of size 2"),
    ("array index", lambda: assign(X, wf.asarray([0, 5]), 0.0), IndexError, "index 5 is out of range for axis 0"),
    ("dtype", lambda: INTEGERS.add_(0.5), wf.DTypeError, "add.*float32.*int64"),
    ("dtype of exp_", lambda: INTEGERS.exp_(), wf.DTypeError, "exp.*int64"),
    ("expanded add_", lambda: WIDE.add_(1), wf.WeftError, r"add_?.*\(2, 3\).*(expand|share)"),
    ("expanded copy_", lambda: WIDE.copy_(X), wf.WeftError, r"copy_.*\(2, 3\).*(expand|share)"),
    ("expanded assignment", lambda: assign(WIDE, slice(None), 1.0), wf.WeftError, r"\(2, 3\).*(expand|share)"),
    ("expanded view", lambda: WIDE.T.mul_(2), wf.WeftError, r"mul_?.*\(3, 2\).*(expand|share)"),
    ("leaf add_", lambda: LEAF.add_(1), wf.AutogradError, r"leaf .*requires grad.*no_grad"),
    ("leaf +=", lambda: plus(LEAF, 1), wf.AutogradError, r"leaf .*requires grad.*no_grad"),
    ("leaf assignment", lambda: assign(LEAF, 0, 0.0), wf.AutogradError, r"leaf .*requires grad.*no_grad"),
    ("leaf copy_", lambda: LEAF.copy_(X), wf.AutogradError, r"leaf .*requires grad.*no_grad"),
    ("view of a leaf", lambda: LEAF[0].zero_(), wf.AutogradError, r"leaf .*requires grad.*no_grad"),
    ("transposed leaf", lambda: LEAF.T.mul_(2), wf.AutogradError, r"leaf .*requires grad.*no_grad"),
    ("init of a leaf's view", lambda: LEAF.view(-1).fill_(0), wf.AutogradError, r"leaf .*requires grad.*no_grad"),
    ("read-only", lambda: LOCKED.add_(1), wf.WeftError, "read-only"),
    ("read-only +=", lambda: plus(LOCKED, 1), wf.WeftError, "read-only"),
    ("read-only assignment", lambda: assign(LOCKED, 0, 1.0), wf.WeftError, "read-only"),
    ("read-only view", lambda: LOCKED.T[1].zero_(), wf.WeftError, "read-only"),
    ("read-only out=", lambda: wf.add(X, X, out=LOCKED), wf.WeftError, "read-only"),
    ("read-only data", lambda: LOCKED.data.zero_(), wf.WeftError, "read-only"),
    ("out= shape", lambda: wf.add(X, X, out=wf.zeros((3, 2))), wf.ShapeError, r"\(2, 3\).*\(3, 2\)|\(3, 2\).*\(2, 3\)"),
    ("out= with a history", lambda: wf.add(LEAF, X, out=X), wf.AutogradError, "out"),
]


@pytest.mark.parametrize("inside", [False, True], ids=["eager", "captured"])
@pytest.mark.parametrize("case", REFUSED, ids=[case[0] for case in REFUSED])
def test_what_may_not_be_written(case: tuple[str, Callable[[], Any], type[Exception], str], inside: bool) -> None:
    _, mistake, error, text = case
    with pytest.raises(error, match=text) as caught:
        (captured(mistake) if inside else mistake)()
    lines = re.findall(rf"{re.escape(__file__)}:(\d+)", str(caught.value))
    known = {mistake.__code__.co_firstlineno, assign.__code__.co_firstlineno + 1, plus.__code__.co_firstlineno + 1}
    assert lines and set(map(int, lines)) <= known, str(caught.value)
    for name, value in (("X", X), ("ROW", ROW), ("LEAF", LEAF.detach()), ("LOCKED", LOCKED)):
        assert (value.numpy() == 1).all(), f"{name} was changed"


def test_a_read_only_array_stays_read_only_in_both_directions() -> None:
    assert not LOCKED.numpy().flags.writeable
    assert not LOCKED[0].numpy().flags.writeable
    assert wf.tensor(LENT).numpy().flags.writeable
    copied = LOCKED.clone()
    copied.zero_()
    assert LENT.sum() == 6


# --- values that backward needs -----------------------------------------------------------------------------------


def line_of(function: Any, text: str) -> int:
    """The number of the line of the function that holds the text."""
    lines, first = inspect.getsourcelines(function)
    return first + next(i for i, line in enumerate(lines) if text in line)


def operand_of_a_product(x: Any) -> Any:
    y = x * 1.0
    z = y * y  # saves
    y.add_(1)  # writes
    return z.sum()


def through_a_view(x: Any) -> Any:
    y = x * 1.0
    z = y * x  # saves
    y[0].zero_()  # writes
    return z.sum()


def through_the_base(x: Any) -> Any:
    y = x * 1.0
    z = y[0] * x[1]  # saves
    y.mul_(2)  # writes
    return z.sum()


def a_result(x: Any) -> Any:
    y = x.exp()  # saves
    y.mul_(2)  # writes
    return y.sum()


def under_no_grad(x: Any) -> Any:
    y = x * x  # saves
    with wf.no_grad():
        x.mul_(2)  # writes
    return y.sum()


def a_detached_one(x: Any) -> Any:
    y = x * x  # saves
    x.detach().mul_(2)  # writes
    return y.sum()


def an_operand_without_gradient(x: Any) -> Any:
    mask = wf.ones((2, 3))
    y = x * mask  # saves
    mask.zero_()  # writes
    return y.sum()


def an_index(x: Any) -> Any:
    at = wf.asarray([1, 0])
    y = x[at] * 2.0  # saves
    at.zero_()  # writes
    return y.sum()


def a_matrix(x: Any) -> Any:
    w = x.T * 1.0
    y = x @ w  # saves
    w += 1  # writes
    return y.sum()


SAVED = [
    operand_of_a_product, through_a_view, through_the_base, a_result, under_no_grad, a_detached_one,
    an_operand_without_gradient, an_index, a_matrix,
]  # fmt: skip


@pytest.mark.parametrize("inside", [False, True], ids=["eager", "captured"])
@pytest.mark.parametrize("program", SAVED, ids=[f.__name__ for f in SAVED])
def test_a_saved_value_that_was_written_names_both_lines(program: Callable[[Any], Any], inside: bool) -> None:
    x = wf.tensor(START, requires_grad=True)

    def step() -> None:
        program(x).backward()

    with pytest.raises(wf.AutogradError) as caught:
        (wf.compile(step) if inside else step)()
    message = str(caught.value)
    for text in ("# saves", "# writes"):
        assert f"{__file__}:{line_of(program, text)}" in message, (text, message)
    assert x.grad is None
    if inside:
        assert x.tolist() == START  # a run that raises has changed nothing


def writes_what_nobody_saved(x: Any) -> Any:
    y = x * 3.0
    y.add_(1)
    y *= 2.0
    z = y.sigmoid()
    y.zero_()
    return z.sum()


def writes_a_part_that_nobody_saved(x: Any) -> Any:
    y = x + 1.0
    y[0] = x[1] * 2.0
    y[:, 1].mul_(3.0)
    return y.sum()


def writes_the_data(x: Any) -> Any:
    y = x * x
    x.data.mul_(1.0)  # not counted, as in PyTorch
    return y.sum()


def writes_before_it_is_saved(x: Any) -> Any:
    y = x * 1.0
    y.mul_(2.0)
    return (y * y).sum()


S = 1 / (1 + np.exp(-(A * 3 + 1) * 2))
GRADIENTS: dict[Callable[[Any], Any], Any] = {
    writes_what_nobody_saved: S * (1 - S) * 6,
    writes_a_part_that_nobody_saved: [[0, 0, 0], [3, 9, 3]],
    writes_the_data: 2 * A,
    writes_before_it_is_saved: 8 * A,
}


@pytest.mark.parametrize("inside", [False, True], ids=["eager", "captured"])
@pytest.mark.parametrize("program", GRADIENTS, ids=[f.__name__ for f in GRADIENTS])
def test_what_nobody_saved_may_be_written(program: Callable[[Any], Any], inside: bool) -> None:
    if inside and program is writes_the_data:
        pytest.skip("captured code counts what is written through .data (docs/from_pytorch.md)")
    x = wf.tensor(START, requires_grad=True)

    def step() -> None:
        program(x).backward()

    (wf.compile(step) if inside else step)()
    np.testing.assert_allclose(x.grad.numpy(), GRADIENTS[program], rtol=1e-5, atol=1e-6)


def test_a_leaf_is_written_under_no_grad_and_stays_a_leaf() -> None:
    p = wf.tensor(START, requires_grad=True)
    row = p.detach()[0]
    (p * 2.0).sum().backward()
    with wf.no_grad():
        p -= 0.5 * p.grad
        p[1].zero_()
        p.T[0] = 5.0
    assert p.is_leaf and p.requires_grad
    assert p.tolist() == [[5.0, -2.5, 1.5], [5.0, 0.0, 0.0]] and row.tolist() == p[0].tolist()


def test_accumulated_gradients_are_seen_through_a_kept_name() -> None:
    p = wf.tensor(START, requires_grad=True)
    p.sum().backward()
    kept = p.grad
    (p * 2.0).sum().backward()
    assert p.grad is kept and kept.tolist() == [[3.0] * 3] * 2
    p.grad.zero_()
    assert kept.tolist() == [[0.0] * 3] * 2
    p.grad = None
    p.sum().backward()
    assert kept.tolist() == [[0.0] * 3] * 2 and p.grad.tolist() == [[1.0] * 3] * 2


def test_requires_grad_and_detach_in_place() -> None:
    x = wf.tensor(START, requires_grad=True)
    y = x * 2.0
    assert not y.is_leaf
    assert y.detach_() is y and y.is_leaf and not y.requires_grad
    y.add_(1)  # nothing is recorded
    assert y.requires_grad_() is y
    with pytest.raises(wf.AutogradError, match="leaf"):
        y.add_(1)


# --- what PyTorch refuses, and weft does --------------------------------------------------------------------------


def first_part(y: Any) -> None:
    y.split([1, 1])[0].mul_(3)


def second_part(y: Any) -> None:
    first, second = y.chunk(2)
    second.add_(first)


def column_by_column(y: Any) -> None:
    _, b, c = y.unbind(1)
    b.mul_(c)


def row_onto_row(y: Any) -> None:
    a, b = y
    a.copy_(b)


# What is done to y = 2 p, and what y is then; p is in float64.
DONE: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "a part": (first_part, lambda p: 2 * p * np.array([[3], [1]])),
    "a part onto a part": (second_part, lambda p: np.stack([2 * p[0], 2 * p[1] + 2 * p[0]])),
    "a column by a column": (
        column_by_column,
        lambda p: np.stack([2 * p[:, 0], 4 * p[:, 1] * p[:, 2], 2 * p[:, 2]], 1),
    ),
    "a row onto a row": (row_onto_row, lambda p: np.stack([2 * p[1], 2 * p[1]])),
    "y.mul_(y)": (lambda y: y.mul_(y), lambda p: 4 * p * p),
    "y.mul_(a view of y)": (lambda y: y.mul_(y[:]), lambda p: 4 * p * p),
    "y.mul_(a row of y)": (lambda y: y.mul_(y[0]), lambda p: 4 * p * p[0]),
    "y.add_(a row of y)": (lambda y: y.add_(y[0]), lambda p: 2 * p + 2 * p[0]),
    "neighbours": (
        lambda y: y[:, 1:].add_(y[:, :-1]),
        lambda p: np.stack([2 * p[:, 0], 2 * p[:, 1] + 2 * p[:, 0], 2 * p[:, 2] + 2 * p[:, 1]], 1),
    ),
    "backwards": (lambda y: y.copy_(y[::-1]), lambda p: 2 * p[::-1]),
}

ALWAYS = [DONE[name][0] for name in DONE if "mul_(a " not in name and "column" not in name]


def gradient_or_refusal(gradient: Callable[[Any], Any], p: wf.Tensor) -> wf.Tensor | None:
    """None where backward says that a value was written since."""
    try:
        return gradient(p)  # type: ignore[no-any-return]
    except wf.AutogradError as error:
        if "changed in place since" in str(error):
            return None
        raise


@pytest.mark.parametrize("inside", [False, True], ids=["eager", "captured"])
@pytest.mark.parametrize("case", DONE.values(), ids=DONE)
def test_operands_are_read_before_anything_is_written(case: tuple[Callable[..., Any], ...], inside: bool) -> None:
    """Values as if everything were read first, and the gradients of that: checked by differences."""
    change, meaning = case
    start = np.array(START)

    def loss(p: Any) -> Any:
        y = p * 2.0
        change(y)
        return (y * y).sum(), y

    def values(p: Any) -> Any:
        return loss(p)[1]

    y = (wf.compile(values) if inside else values)(wf.tensor(start))
    np.testing.assert_allclose(y.numpy(), meaning(start), rtol=1e-12)
    gradient = wf.grad(lambda p: loss(p)[0])
    found = gradient_or_refusal(wf.compile(gradient) if inside else gradient, wf.tensor(start))
    if found is None:  # as PyTorch: the product needs an operand that it wrote over
        assert change not in ALWAYS
        return
    slopes = np.zeros_like(start)
    for at in np.ndindex(start.shape):
        step = np.zeros_like(start)
        step[at] = 1e-6
        slopes[at] = ((meaning(start + step) ** 2).sum() - (meaning(start - step) ** 2).sum()) / 2e-6
    np.testing.assert_allclose(found.numpy(), slopes, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("other", [lambda y: y.detach(), lambda y: y.detach()[:]])
@pytest.mark.parametrize("inside", [False, True], ids=["eager", "captured"])
def test_an_operand_that_shares_the_memory_keeps_its_old_value(inside: bool, other: Callable[[Any], Any]) -> None:
    def loss(p: Any) -> Any:
        y = p * 2.0
        y.mul_(other(y))
        return y.sum()

    gradient = wf.grad(loss)
    found = gradient_or_refusal(wf.compile(gradient) if inside else gradient, wf.tensor(START))
    if found is not None:
        np.testing.assert_allclose(found.numpy(), A * 4)
