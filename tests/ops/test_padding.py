"""F.pad: PyTorch's values, gradients and errors in every mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from few_examples import few
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from op_cases import ALL, check_gradient, same_bits, values

import weft as wf
from weft.core.errors import ArgumentError, ShapeError, WeftError
from weft.nn import functional as F

torch = pytest.importorskip("torch")

MODES = ("reflect", "replicate", "circular")


def axes_of(mode: str, widths: tuple[int, ...], sizes: tuple[int, ...]) -> bool:
    """Whether all widths can be had; of circular ones, of what negative ones leave (where PyTorch reads what is not
    there)."""
    for i, n in enumerate(reversed(sizes)):
        a, b = widths[2 * i], widths[2 * i + 1]
        kept = n + min(a, 0) + min(b, 0)
        room = {"reflect": n - 1, "replicate": n, "circular": kept}[mode]
        if max(a, b) > room and mode != "replicate":
            return False
        if n + a + b < 1 or kept < 0:
            return False
    return True


@st.composite
def paddings(draw: Any) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
    """A mode, a shape, and widths that it takes."""
    mode, count = draw(st.sampled_from(MODES)), draw(st.integers(1, 3))
    sizes = tuple(draw(st.integers(1, 5)) for _ in range(count))
    lead = draw(st.sampled_from(((2,), (2, 3), (1, 1))))
    widths = tuple(draw(st.integers(-1, 4)) for _ in range(2 * count))
    assume(axes_of(mode, widths, sizes))
    return mode, (*lead, *sizes), widths


@few(20, 200, case=paddings(), seed=st.integers(0, 99))
def test_values_and_gradients_are_pytorchs(case: Any, seed: int) -> None:
    mode, shape, widths = case
    x = values("float64", shape, seed)
    ours, theirs = wf.asarray(x).requires_grad_(), torch.tensor(x, requires_grad=True)
    a, b = F.pad(ours, widths, mode), torch.nn.functional.pad(theirs, widths, mode)
    same_bits(a, b.detach().numpy())
    cotangent = values("float64", a.shape, seed + 1)
    a.backward(wf.asarray(cotangent))
    b.backward(torch.tensor(cotangent))
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-13, atol=1e-13)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), dtype=st.sampled_from(("float32", "int32", "bool", "uint8")), seed=st.integers(0, 99))
def test_constants_are_pytorchs(data: Any, dtype: str, seed: int) -> None:
    shape = tuple(data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=4)))
    widths = tuple(data.draw(st.lists(st.integers(-1, 3), min_size=2 * len(shape), max_size=2 * len(shape))))
    widths = widths[: 2 * data.draw(st.integers(0, len(shape)))]
    value = data.draw(st.sampled_from((None, 0, 1, 2.0)))
    assume(all(n + min(a, 0) + min(b, 0) >= 0 for n, a, b in zip(reversed(shape), widths[::2], widths[1::2])))
    x = values(dtype, shape, seed)
    try:
        wanted = torch.nn.functional.pad(torch.tensor(x), widths, value=value)
    except RuntimeError:  # PyTorch wants a size of 1 or more where it takes elements away
        assume(False)
    same_bits(F.pad(wf.asarray(x), widths, "constant", value), wanted.numpy())


@pytest.mark.parametrize("mode", ["constant", *MODES])
def test_gradients_of_gradients(mode: str) -> None:
    x = values("float64", (1, 3, 4), 0)
    check_gradient(lambda x: F.pad(x, (2, -1, 1, 1), mode), x[0][None])
    check_gradient(wf.grad(lambda x: (F.pad(x, (2, 1), mode) ** 3).sum()), x, tolerance=1e-5)


@pytest.mark.parametrize("mode", ["constant", *MODES])
@pytest.mark.parametrize("dtype", ALL)
def test_every_dtype(mode: str, dtype: str) -> None:
    """What PyTorch has not of bools, NumPy has."""
    x = values(dtype, (1, 2, 4, 5), 3)
    names = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    wanted = np.pad(x, ((0, 0), (0, 0), (2, 1), (1, 3)), names[mode])
    same_bits(F.pad(wf.asarray(x), (1, 3, 2, 1), mode), wanted)


@pytest.mark.parametrize("mode", ["constant", *MODES])
def test_compiled_bits_are_eager_bits_for_every_size(mode: str) -> None:
    def function(x: wf.Tensor) -> Any:
        return wf.value_and_grad(lambda x: (F.pad(x, (1, 2, 3, -1), mode) ** 2).sum())(x)

    compiled = wf.compile(function)
    for shape in ((2, 3, 5, 6), (3, 3, 5, 6), (4, 3, 7, 9), (5, 3, 4, 4)):
        x = wf.asarray(values("float32", shape, 0))
        for eager, again in zip(function(x), compiled(x), strict=True):
            same_bits(again, eager.numpy())
    assert str(wf.eval_shape(lambda x: F.pad(x, (1, 2), mode), wf.spec(("n", 3, "l")))) == "float32[n, 3, 3 + l]"


def test_widths_may_be_computed_of_sizes() -> None:
    for function in (
        lambda x: F.pad(x, (0, 12 - x.shape[-1]), "constant", 1.5),
        lambda x: F.pad(x, (0, x.shape[-1] // 2), "reflect"),
    ):
        compiled = wf.compile(function)
        for n in (5, 6, 9, 11, 12):
            x = wf.asarray(values("float32", (2, 3, n), 0))
            same_bits(compiled(x), function(x).numpy())


def test_widths_may_be_numpys() -> None:
    for widths in ([1, 2], np.array([1, 2]), (np.int64(1), 2), wf.asarray([1, 2])):
        assert F.pad(wf.ones((2, 3)), widths, value=np.float32(2.0)).tolist() == [[2.0, 1.0, 1.0, 1.0, 2.0, 2.0]] * 2


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
def test_cotangents_of_sixteen_bits_are_rounded_once(mode: str) -> None:
    x = wf.asarray(values("bfloat16", (1, 2, 5), 0))
    g = wf.asarray(values("bfloat16", (1, 2, 13), 1))

    def gradient(x: wf.Tensor, g: wf.Tensor) -> wf.Tensor:
        return wf.grad(lambda x: (F.pad(x, (4, 4), mode) * g).sum(dtype=wf.float32))(x)

    wide = gradient(x.astype(wf.float32), g.astype(wf.float32))
    same_bits(gradient(x, g), wide.astype(wf.bfloat16).numpy())


def test_operands_are_read_where_they_lie() -> None:
    x = wf.asarray(values("float32", (2, 4, 6, 8), 0))
    for mode in ("constant", *MODES):
        for view in (x.mT, wf.flip(x, axis=(1, 3)), x[:, :, ::2]):
            same_bits(F.pad(view, (1, 2, 2, 1), mode), F.pad(view.clone(), (1, 2, 2, 1), mode).numpy())


def test_an_empty_batch() -> None:
    for mode in ("constant", *MODES):
        x = wf.zeros((0, 2, 4)).requires_grad_()
        result = F.pad(x, (1, 2), mode)
        result.sum().backward()
        assert result.shape == (0, 2, 7) and x.grad.shape == x.shape


BAD: list[tuple[str, tuple[int, ...], tuple[Any, ...], str]] = [
    ("odd", (1, 2, 3), ((1, 2, 3),), "before and after"),
    ("many", (2, 3), ((1,) * 6,), "a tensor of 2 axes"),
    ("mode", (1, 2, 3), ((1, 1), "mirror"), "mode is 'mirror'"),
    ("value", (1, 2, 3), ((1, 1), "reflect", 2.0), "only 'constant' has one"),
    ("reflect too wide", (1, 2, 3), ((3, 0), "reflect"), "at most the size of the axis less one"),
    ("circular too wide", (1, 2, 3), ((4, 0), "circular"), "more than once"),
    ("nothing to repeat", (1, 2, 0), ((1, 0), "replicate"), "no element to repeat"),
    ("takes more than there is", (1, 2, 3), ((-2, -2),), "take away more"),
    ("reflect takes more than there is", (1, 2, 3), ((-2, -2), "reflect"), "more than there is"),
    ("axes of a mode", (3,), ((1, 1), "reflect"), "2 widths for a tensor of 1 axes"),
    ("axes of a mode, many", (1, 1, 1, 1, 3), ((1, 1), "circular"), "2 widths for a tensor of 5 axes"),
    ("axes of a mode, none", (1, 2, 3), ((), "replicate"), "0 widths"),
]


@pytest.mark.parametrize(("shape", "args", "says"), [c[1:] for c in BAD], ids=[c[0] for c in BAD])
def test_what_does_not_fit_is_refused_as_in_pytorch(shape: Any, args: Any, says: str) -> None:
    with pytest.raises((ShapeError, ArgumentError)) as caught:
        F.pad(wf.ones(shape), *args)
    assert "pad" in caught.value.message and says in caught.value.message
    with pytest.raises((RuntimeError, NotImplementedError)):
        torch.nn.functional.pad(torch.ones(shape), *args)


@pytest.mark.parametrize("widths", [(3, -2), (-3, 1), (1, -3)])
def test_what_is_not_there_does_not_go_around(widths: tuple[int, int]) -> None:
    """PyTorch reads memory that nobody has written."""
    with pytest.raises(ShapeError, match=r"what negative ones leave, [01], more than once"):
        F.pad(wf.ones((1, 2, 3)), widths, "circular")


def test_one_width_is_no_pair() -> None:
    with pytest.raises(WeftError, match="pad"):
        F.pad(wf.ones((1, 2, 3)), 1)
