"""Clipped gradients: PyTorch's numbers for every norm and dtype; what is not finite is refused before it is used."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from few_examples import few
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import weft as wf
from weft import nn

torch = pytest.importorskip("torch")

numbers = st.lists(st.floats(-9, 9, width=16), min_size=1, max_size=6)
DTYPES = ["float16", "bfloat16", "float32", "float64"]


def parameters(gradients: list[Any]) -> tuple[list[Any], list[Any]]:
    """Parameters of both libraries with these gradients (values, dtype); None: without one."""
    ours, theirs = [], []
    for given_ in gradients:
        values, dtype = given_ if given_ is not None else ([0.0], "float32")
        p, q = nn.Parameter(wf.zeros(len(values), dtype=dtype)), torch.zeros(len(values), dtype=getattr(torch, dtype))
        q.requires_grad_()
        if given_ is not None:
            p.grad = wf.asarray(values, dtype=dtype)
            q.grad = torch.tensor(values, dtype=getattr(torch, dtype))
        ours.append(p)
        theirs.append(q)
    return ours, theirs


def same_gradients(ours: list[Any], theirs: list[Any], tolerance: float) -> None:
    for p, q in zip(ours, theirs, strict=True):
        assert (p.grad is None) is (q.grad is None)
        if p.grad is not None:
            assert p.grad.dtype is p.dtype
            found, expected = p.grad.to(wf.float64).numpy(), q.grad.double().numpy()
            np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@few(
    13,
    120,
    gradients=st.lists(st.one_of(st.none(), numbers), min_size=1, max_size=4),
    dtype=st.sampled_from(["float32", "float64"]),
    norm_type=st.sampled_from([1, 2, 2.0, math.inf, "inf"]),
    limit=st.sampled_from([0.0, 0.5, 3.0, 1e6]),
)
def test_norms_and_clipped_gradients_are_pytorchs(
    gradients: list[Any], dtype: str, norm_type: Any, limit: float
) -> None:
    ours, theirs = parameters([None if g is None else (g, dtype) for g in gradients])
    norm = nn.clip_grad_norm_(ours, limit, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, limit, float(norm_type))
    assert norm.shape == () and norm.item() == pytest.approx(expected.item(), rel=1e-5)
    same_gradients(ours, theirs, 1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("norm_type", [1, 2, math.inf])
def test_narrow_gradients_are_added_up_in_float32(dtype: str, norm_type: float) -> None:
    """Their own sums would be infinite, or stand still."""
    values = [60000.0 if dtype == "float16" else 3e4] * 200 + [1.0] * 300
    ours, theirs = parameters([(values, dtype), ([2.0], "float32")])
    wide = [float(v) for v in ours[0].grad.to(wf.float64).tolist()] + [2.0]
    norm = nn.clip_grad_norm_(ours, 1.0, norm_type)
    assert norm.dtype is (wf.float64 if dtype == "float64" else wf.float32)
    assert norm.item() == pytest.approx(np.linalg.norm(wide, norm_type), rel=1e-5)
    del theirs


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_norm_that_is_not_finite(bad: float) -> None:
    ours, _ = parameters([([1.0, bad], "float32"), ([2.0], "float32")])
    with pytest.raises(wf.AutogradError, match="clip_grad_norm_: the norm of the gradients is"):
        nn.clip_grad_norm_(ours, 1.0, error_if_nonfinite=True)
    assert ours[1].grad.tolist() == [2.0]
    assert not math.isfinite(nn.clip_grad_norm_(ours, 1.0).item())


@settings(max_examples=30)
@given(
    gradients=st.lists(st.one_of(st.none(), numbers), min_size=1, max_size=3),
    limit=st.sampled_from([0.0, 0.5, 3.0, 20.0]),
)
def test_clipped_values_are_pytorchs(gradients: list[Any], limit: float) -> None:
    assume(any(g is not None for g in gradients))  # PyTorch fails
    ours, theirs = parameters([None if g is None else (g, "float32") for g in gradients])
    assert nn.clip_grad_value_(ours, limit) is None
    torch.nn.utils.clip_grad_value_(theirs, limit)
    same_gradients(ours, theirs, 0.0)


def test_one_tensor_stands_for_a_list_of_it() -> None:
    (p,), _ = parameters([([3.0, 4.0], "float32")])
    assert nn.clip_grad_norm_(p, 1.0).item() == 5.0
    assert nn.clip_grad_norm_(iter([p]), 10.0).item() == pytest.approx(1.0, rel=1e-5)
    nn.clip_grad_value_(p, 0.5)
    assert max(p.grad.tolist()) == 0.5


def test_no_gradients_have_the_norm_0() -> None:
    ours, _ = parameters([None, None])
    for given_ in (ours, []):
        norm = nn.clip_grad_norm_(given_, 1.0)
        assert norm.item() == 0.0 and norm.dtype is wf.float32 and norm.shape == ()


@pytest.mark.parametrize("bad", [0, -1, math.nan, -math.inf])
def test_norms_that_are_not_there(bad: float) -> None:
    with pytest.raises(wf.ArgumentError, match="it must be above 0, or inf"):
        nn.clip_grad_norm_(parameters([([1.0], "float32")])[0], 1.0, bad)


@pytest.mark.parametrize("power", [0.5, 1.0, 1.5, 2.0, 3.0, math.inf])
def test_a_norm_and_its_use_apart(power: float) -> None:
    ours, theirs = parameters([([3.0, -4.0], "float32"), None, ([1.0, -2.0], "float32")])
    norm = nn.utils.get_total_norm([p.grad for p in ours if p.grad is not None], power)
    wanted = torch.nn.utils.get_total_norm([p.grad for p in theirs if p.grad is not None], power)
    assert norm.item() == pytest.approx(wanted.item(), rel=1e-6)
    assert nn.clip_grad_norm_(ours, 100.0, power).item() == norm.item()
    nn.utils.clip_grads_with_norm_(ours, 1.0, norm)
    torch.nn.utils.clip_grads_with_norm_(theirs, 1.0, wanted)
    same_gradients(ours, theirs, 1e-6)
    assert nn.utils.get_total_norm([]).item() == 0.0
