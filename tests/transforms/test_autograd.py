"""The tape and the functional gradients."""

from __future__ import annotations

import gc
import re
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import weft as wf


def test_gradients_accumulate_in_leaves() -> None:
    p = wf.tensor([1.0, 2.0], requires_grad=True)
    for expected in ([2.0, 4.0], [4.0, 8.0]):
        (p * p).sum().backward()
        assert p.grad is not None and p.grad.tolist() == expected
    p.grad = None
    assert p.grad is None


def test_every_path_counts() -> None:
    p = wf.tensor(3.0, requires_grad=True)
    y = p * p
    (y * y + y + p).backward()
    assert p.grad is not None and p.grad.item() == 4 * 27 + 6 + 1


def test_results_of_several_outputs() -> None:
    p = wf.tensor(np.arange(6.0), requires_grad=True)
    first, second = wf.split(p, 3)
    (first * 2.0).sum().backward(retain_graph=True)
    assert p.grad is not None and p.grad.tolist() == [2, 2, 2, 0, 0, 0]
    (second * 3.0).sum().backward()
    assert p.grad.tolist() == [2, 2, 2, 3, 3, 3]


def test_a_second_backward_needs_retain_graph() -> None:
    p = wf.tensor([1.0, 2.0], requires_grad=True)
    loss = wf.exp(p).sum()
    loss.backward()
    with pytest.raises(wf.AutogradError, match=r"second time through .*retain_graph=True"):
        loss.backward()
    loss = wf.exp(p).sum()
    loss.backward(retain_graph=True)
    loss.backward()


def test_backward_needs_one_element_or_a_gradient() -> None:
    p = wf.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(wf.AutogradError, match=r"shape \(2,\).*sum, mean.*gradient="):
        (p * 2.0).backward()
    (p * 2.0).backward(wf.asarray([1.0, 10.0]))
    assert p.grad is not None and p.grad.tolist() == [2.0, 20.0]
    with pytest.raises(wf.AutogradError, match=r"must be float32\[2\], not float32\[3\]"):
        (p * 2.0).backward(wf.ones(3))


def test_backward_without_history_says_why() -> None:
    with pytest.raises(wf.AutogradError, match="does not require grad"):
        wf.asarray(1.0).backward()
    p = wf.tensor(1.0, requires_grad=True)
    with wf.no_grad():
        y = p * 2.0
    assert not y.requires_grad
    with pytest.raises(wf.AutogradError, match="no_grad"):
        y.backward()


def test_changing_a_leaf_in_place_while_recording_is_an_error() -> None:
    p = wf.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(wf.AutogradError, match=r"leaf .* in place .*no_grad"):
        p += 1.0
    with pytest.raises(wf.AutogradError, match="no_grad"):
        p[0] = 5.0
    with wf.no_grad():
        p += 1.0
    assert p.tolist() == [2.0, 3.0] and p.requires_grad and p.is_leaf


def test_a_saved_value_that_was_written_is_an_error_that_names_both_lines() -> None:
    p = wf.tensor([1.0, 2.0], requires_grad=True)
    y = p * 1.0
    z = y * y
    y += 100.0
    with pytest.raises(wf.AutogradError, match=r"(?s)multiply called at .*:\d+.*written at .*:\d+") as info:
        z.sum().backward()
    called, written = (int(n) for n in re.findall(r"(?:called|written) at .*:(\d+)", str(info.value)))
    assert written == called + 1


def test_detach_and_stop_gradient_cut_the_tape() -> None:
    p = wf.tensor(2.0, requires_grad=True)
    (p.detach() * p + wf.stop_gradient(p * p)).backward()
    assert p.grad is not None and p.grad.item() == 2.0


def test_only_floating_leaves() -> None:
    with pytest.raises(wf.AutogradError, match="int64"):
        wf.tensor([1, 2], requires_grad=True)
    with pytest.raises(wf.AutogradError, match="int64"):
        wf.grad(lambda x: x.sum())(wf.asarray([1, 2]))


def test_grad_wants_a_tensor_of_one_element() -> None:
    with pytest.raises(wf.AutogradError, match=r"shape \(2,\)"):
        wf.grad(lambda x: x * 2.0)(wf.ones(2))
    with pytest.raises(wf.AutogradError, match="float"):
        wf.grad(lambda x: 1.0)(wf.ones(2))


def test_gradients_of_nestings() -> None:
    params = {"w": wf.asarray([1.0, 2.0]), "b": [wf.asarray(3.0), (wf.asarray(4.0),)], "unused": wf.ones(2)}

    def loss(p: dict, x: wf.Tensor) -> wf.Tensor:
        return (p["w"] * x).sum() * p["b"][0] + p["b"][1][0]

    value, grads = wf.value_and_grad(loss)(params, wf.asarray([1.0, 1.0]))
    assert value.item() == 13.0
    assert grads["w"].tolist() == [3.0, 3.0] and grads["b"][0].item() == 3.0 and grads["b"][1][0].item() == 1.0
    assert grads["unused"].tolist() == [0.0, 0.0]
    both = wf.grad(loss, argnums=(0, 1))(params, wf.asarray([1.0, 1.0]))
    assert both[1].tolist() == [3.0, 6.0]


@given(st.floats(-2, 2), st.integers(1, 4))
def test_gradients_of_any_order(x: float, order: int) -> None:
    def f(t: wf.Tensor) -> wf.Tensor:
        return wf.sin(t) * wf.exp(t)

    g = f
    for _ in range(order):
        g = wf.grad(g)
    # The n-th derivative of e^x sin x is 2^(n/2) e^x sin(x + n pi/4).
    expected = 2 ** (order / 2) * np.exp(x) * np.sin(x + order * np.pi / 4)
    assert g(wf.asarray(x, dtype=wf.float64)).item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_double_backward_through_the_tape() -> None:
    x = wf.tensor([1.0, 2.0, 3.0], dtype=wf.float64, requires_grad=True)
    (g,) = (wf.grad(lambda t: (t**3).sum())(x),)
    (g * g).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), 2 * 3 * x.numpy() ** 2 * 6 * x.numpy())
    y = (x * x * x).sum()
    y.backward(create_graph=True)


def test_the_tape_is_freed_by_reference_counting() -> None:
    gc.collect()
    gc.disable()
    try:
        p = wf.tensor([1.0], requires_grad=True)
        y = wf.exp(p) * wf.tanh(p)
        gone = weakref.ref(y)
        storage = weakref.ref(y._storage)
        del y
        assert gone() is None and storage() is None
    finally:
        gc.enable()


def test_no_grad_is_a_decorator_and_nests() -> None:
    p = wf.tensor(1.0, requires_grad=True)

    @wf.no_grad()
    def f() -> wf.Tensor:
        with wf.enable_grad():
            assert (p * 2.0).requires_grad
        return p * 2.0

    assert not f().requires_grad and (p * 2.0).requires_grad


def test_a_view_that_no_history_can_follow_is_no_gradient_of_zero() -> None:
    """grad() says so, as backward() does: the view was made under no_grad, its base was given a history since."""

    def f(x: wf.Tensor) -> wf.Tensor:
        y = x * 1.0
        with wf.no_grad():
            seen = y[:2]
        y.mul_(2.0)
        return (seen * x[:2]).sum()

    for run in (f, wf.compile(f)):
        with pytest.raises(wf.AutogradError, match="made under no_grad"):
            wf.grad(run)(wf.ones(3))
