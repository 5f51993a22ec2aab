"""Views share the memory of what they were made of: what is written through the one is seen through the other."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import weft as wf

START = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)
View = Callable[[Any], Any]

# A view of x (2, 3, 4), and NumPy's view of the same elements.
VIEWS: dict[str, tuple[View, View]] = {
    "x[1]": (lambda x: x[1], lambda a: a[1]),
    "x[-1]": (lambda x: x[-1], lambda a: a[-1]),
    "x[0][1]": (lambda x: x[0][1], lambda a: a[0][1]),
    "x[0, 1, 2]": (lambda x: x[0, 1, 2], lambda a: a[0, 1, 2, ...]),
    "x[:, 1]": (lambda x: x[:, 1], lambda a: a[:, 1]),
    "x[..., ::2]": (lambda x: x[..., ::2], lambda a: a[..., ::2]),
    "x[:, None, 1:]": (lambda x: x[:, None, 1:], lambda a: a[:, None, 1:]),
    "x[...]": (lambda x: x[...], lambda a: a[...]),
    "x[:]": (lambda x: x[:], lambda a: a[:]),
    "view(-1)": (lambda x: x.view(-1), lambda a: a.reshape(-1)),
    "view(6, 4)": (lambda x: x.view(6, 4), lambda a: a.reshape(6, 4)),
    "reshape(4, 6)": (lambda x: x.reshape(4, 6), lambda a: a.reshape(4, 6)),
    "reshape of a transpose": (lambda x: x.mT.reshape(2, 2, 2, 3), lambda a: a.transpose(0, 2, 1).reshape(2, 2, 2, 3)),
    "flatten": (lambda x: x.flatten(), lambda a: a.reshape(-1)),
    "flatten(1)": (lambda x: x.flatten(1), lambda a: a.reshape(2, 12)),
    "T of a row": (lambda x: x[0].T, lambda a: a[0].T),
    "mT": (lambda x: x.mT, lambda a: a.transpose(0, 2, 1)),
    "t": (lambda x: x[1].t(), lambda a: a[1].T),
    "transpose": (lambda x: x.transpose(0, 2), lambda a: a.transpose(2, 1, 0)),
    "swapaxes": (lambda x: x.swapaxes(0, -1), lambda a: a.transpose(2, 1, 0)),
    "permute": (lambda x: x.permute(2, 0, 1), lambda a: a.transpose(2, 0, 1)),
    "expand": (lambda x: x.expand(2, 2, 3, 4)[1], lambda a: a),
    "narrow": (lambda x: x.narrow(1, 1, 2), lambda a: a[:, 1:]),
    "select": (lambda x: x.select(2, 3), lambda a: a[..., 3]),
    "split": (lambda x: x.split(2, 1)[1], lambda a: a[:, 2:]),
    "split by sizes": (lambda x: x.split([1, 3], -1)[1], lambda a: a[..., 1:]),
    "chunk": (lambda x: x.chunk(2, 2)[0], lambda a: a[..., :2]),
    "unbind": (lambda x: x.unbind(1)[2], lambda a: a[:, 2]),
    "iteration": (lambda x: list(x)[1], lambda a: a[1]),
    "diagonal": (lambda x: x.diagonal(0, 1, 2), lambda a: np.einsum("ijj->ij", a[..., :3])),
    "squeeze": (lambda x: x[:, :1].squeeze(1), lambda a: a[:, 0]),
    "unsqueeze": (lambda x: x.unsqueeze(-1), lambda a: a[..., None]),
    "detach": (lambda x: x.detach(), lambda a: a),
    "data": (lambda x: x.data, lambda a: a),
    "data of a row": (lambda x: x[1].data, lambda a: a[1]),
    "contiguous": (lambda x: x.contiguous(), lambda a: a),
    "to its own dtype": (lambda x: x.to(wf.float32), lambda a: a),
    "float": (lambda x: x.float(), lambda a: a),
    "view_as": (lambda x: x.view_as(wf.zeros((6, 4))), lambda a: a.reshape(6, 4)),
    "a view of a view": (lambda x: x.mT[1].T.unsqueeze(0)[..., 1:], lambda a: a.transpose(0, 2, 1)[1].T[None][..., 1:]),
}

COPIES: dict[str, View] = {
    "clone": lambda x: x.clone(),
    "contiguous of a transpose": lambda x: x.mT.contiguous(),
    "reshape that moves": lambda x: x.mT.reshape(2, 2, 6),
    "flatten of a transpose": lambda x: x.mT.flatten(),
    "an integer array": lambda x: x[wf.asarray([0, 1])],
    "a list": lambda x: x[[0, 1]],
    "another dtype": lambda x: x.to(wf.float64),
    "copy=True": lambda x: x.to(wf.float32, copy=True),
    "a negative step": lambda x: x[::-1],
    "flip": lambda x: x.flip(0),
    "repeat": lambda x: x.repeat(1, 1, 1),
    "wf.tensor": lambda x: wf.tensor(x),
}


def check_shared(x: wf.Tensor, view: wf.Tensor, array: np.ndarray[Any, Any], looked: np.ndarray[Any, Any]) -> None:
    """Writes from both sides, against NumPy's."""
    np.testing.assert_array_equal(view.numpy(), looked)
    view.mul_(-2.0)
    looked *= -2.0
    np.testing.assert_array_equal(x.numpy(), array)
    x.add_(100.0)
    array += 100.0
    np.testing.assert_array_equal(view.numpy(), looked)


@pytest.mark.parametrize("ways", VIEWS.values(), ids=VIEWS)
def test_a_view_shares_memory(ways: tuple[View, View]) -> None:
    ours, numpys = ways
    x, array = wf.tensor(START), START.copy()
    check_shared(x, ours(x), array, numpys(array))


@pytest.mark.parametrize("ways", VIEWS.values(), ids=VIEWS)
def test_a_view_made_and_written_in_captured_code(ways: tuple[View, View]) -> None:
    ours, numpys = ways
    x, array = wf.tensor(START), START.copy()

    @wf.compile
    def step() -> Any:
        view = ours(x)
        view.mul_(-2.0)
        x.add_(100.0)
        return view, view + 0

    for _ in range(2):
        view, then = step()
        looked = numpys(array)
        looked *= -2.0
        array += 100.0
        np.testing.assert_array_equal(x.numpy(), array)
        np.testing.assert_array_equal(then.numpy(), looked)
    check_shared(x, view, array, numpys(array))  # what is returned is a view still


@pytest.mark.parametrize("ways", VIEWS.values(), ids=VIEWS)
def test_a_view_from_outside_in_captured_code(ways: tuple[View, View]) -> None:
    """The view is an argument or is closed over; its base is the other."""
    ours, numpys = ways
    x, array = wf.tensor(START), START.copy()
    view, looked = ours(x), numpys(array)

    @wf.compile
    def by_view(argument: wf.Tensor) -> wf.Tensor:
        argument.mul_(-2.0)
        return x * 1

    @wf.compile
    def by_base(argument: wf.Tensor) -> wf.Tensor:
        argument.add_(1.0)
        return view * 1

    for _ in range(2):
        seen = by_view(view)
        looked *= -2.0
        np.testing.assert_array_equal(seen.numpy(), array)
        np.testing.assert_array_equal(x.numpy(), array)
        seen = by_base(x)
        array += 1.0
        np.testing.assert_array_equal(seen.numpy(), looked)
        np.testing.assert_array_equal(view.numpy(), looked)


@pytest.mark.parametrize("ways", VIEWS.values(), ids=VIEWS)
def test_gradients_through_a_view_that_is_written(ways: tuple[View, View]) -> None:
    """Of what a view was before it is written to, nothing flows back; of what surrounds it, all does."""
    ours, numpys = ways
    leaf = wf.tensor(START, requires_grad=True)
    weights = wf.tensor(np.cos(START))

    def loss(given: wf.Tensor) -> wf.Tensor:
        x = given * 1.0
        view = ours(x)
        if view.requires_grad:
            view *= 3.0
        else:  # detach() and .data: the values alone
            view *= 1.0
        return (x * weights).sum()

    expected = np.cos(START)
    if ours(leaf * 1.0).requires_grad:
        looked = numpys(expected)
        looked *= 3.0
    loss(leaf).backward()
    np.testing.assert_allclose(leaf.grad.numpy(), expected, rtol=1e-6)
    for gradient in (wf.grad(loss), wf.compile(wf.grad(loss)), wf.grad(wf.compile(loss))):
        np.testing.assert_allclose(gradient(leaf.detach()).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_what_owns_its_memory(copy: View) -> None:
    x = wf.tensor(START)
    made = copy(x)
    before = np.array(made.numpy())
    x.zero_()
    np.testing.assert_array_equal(made.numpy(), before)
    x.copy_(wf.tensor(START))
    made.zero_()
    np.testing.assert_array_equal(x.numpy(), START)


def test_a_view_that_cannot_be() -> None:
    x = wf.tensor(START)
    with pytest.raises(wf.ShapeError, match=r"view: .*\(2, 4, 3\).*reshape"):
        x.mT.view(-1)
    with pytest.raises(wf.ShapeError):
        wf.compile(lambda: x.mT.view(-1))()


def test_the_base_may_go_and_the_memory_stays() -> None:
    x = wf.tensor(START)
    row, turned = x[1], x.mT
    del x
    gc.collect()
    row.fill_(5.0)
    np.testing.assert_array_equal(turned[1].numpy(), np.full((4, 3), 5.0))
    np.testing.assert_array_equal(turned[0].numpy(), START[0].T)


def test_views_that_are_dropped_do_not_matter_to_those_that_stay() -> None:
    x = (wf.tensor(START, requires_grad=True) * 1.0).detach().requires_grad_()
    y = x * 2.0
    kept = y[0]
    for _ in range(3):
        y[1].mul_(0.5)  # a view that lives for one line
    y[0, 0].zero_()
    assert kept[0].tolist() == [0.0] * 4
    kept.sum().backward()
    expected = np.zeros((2, 3, 4), np.float32)
    expected[0, 1:] = 2.0
    np.testing.assert_array_equal(x.grad.numpy(), expected)


def test_a_view_is_an_object_of_its_own_and_what_moves_nothing_is_the_tensor() -> None:
    x = wf.tensor(START)
    assert x.contiguous() is x and x.to(wf.float32) is x and x.float() is x
    assert x[...] is not x and x.detach() is not x and x.view(2, 3, 4) is not x


def test_empty_and_single_elements() -> None:
    x = wf.zeros((2, 0, 3))
    x.view(-1).add_(1.0)
    x[:, 0:0].zero_()
    assert x.shape == (2, 0, 3)
    s = wf.tensor(1.0)
    s.view(1)[0] = 4.0
    s[...] += 1.0
    s[()].mul_(2.0)
    assert s.item() == 10.0


def test_views_of_what_looks_elsewhere_stay_views_of_one_another() -> None:
    w = wf.tensor(3.0).requires_grad_()
    x = wf.arange(0.0, 4.0)
    first, second = x[:2], x[1:3]
    x.data = wf.zeros(4)
    first.mul_(w)
    assert second.requires_grad and not x.requires_grad
    second.sum().backward()
    assert w.grad is not None and w.grad.item() == 1.0
    assert (first.tolist(), second.tolist(), x.tolist()) == ([0.0, 3.0], [3.0, 2.0], [0.0] * 4)
