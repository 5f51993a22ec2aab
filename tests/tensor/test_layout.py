"""A tensor that looks at its memory in another way, in place: its views, before and after, stay views with PyTorch's
values and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from few_examples import few
from hypothesis import strategies as st

import weft as wf

torch = pytest.importorskip("torch")

# Of a tensor of rank 2 or 3: what changes how it looks, what makes a view, what writes.
RESTRIDES = [
    "x.t_()",
    "x.transpose_(0, 1)",
    "x.swapaxes_(0, -1)",
    "x.unsqueeze_(0)",
    "x.squeeze_()",
    "x.swapdims_(0, 1)",
]
VIEWS = ["x[0]", "x[..., 0]", "x[1:]", "x.T if x.ndim == 2 else x[0]", "x.reshape(-1)[:2]"]
WRITES = ["v.mul_(3.0)", "x.mul_(0.5)", "v.fill_(2.0)", "x[..., 0] = 7.0", "w.add_(1.0)", "x.add_(v.sum())"]


def play(module: Any, lines: list[str]) -> list[Any]:
    """What a program shows at its end: values of the tensor and its views, and the gradient; or that it is refused."""
    leaf = module.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], requires_grad=True)
    names: dict[str, Any] = {"x": leaf * 2.0}
    names["v"], names["w"] = names["x"][0], names["x"][:, 1]
    shown: list[Any] = []
    for line in lines:
        try:
            exec(line, names)
        except Exception:  # a rank that does not fit, a write into what autograd still needs
            shown.append(line)
    x, v, w = (names[name] for name in "xvw")
    shown += [np.asarray(t.detach()) for t in (x, v, w)]
    ((x * x).sum() + (v * v * v).sum() + w.sum() * 2.0).backward()
    return [*shown, np.asarray(leaf.grad)]


line = st.one_of(
    st.sampled_from(RESTRIDES),
    st.builds("{} = {}".format, st.sampled_from(["v", "w"]), st.sampled_from(VIEWS)),
    st.sampled_from(WRITES),
)


@few(20, 180, lines=st.lists(line, min_size=1, max_size=5))
def test_views_of_a_tensor_that_looks_another_way(lines: list[str]) -> None:
    found, expected = play(wf, lines), play(torch, lines)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        if isinstance(a, str) or isinstance(b, str):
            assert a == b
        else:
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=1e-5)


def test_an_older_view_writes_through() -> None:
    for module in (wf, torch):
        x = module.arange(6).reshape(2, 3) + 0
        row, column = x[0], x[:, 1]
        assert x.t_() is x and tuple(x.shape) == (3, 2)
        row.fill_(9)
        assert x.tolist() == [[9, 3], [9, 4], [9, 5]]
        x[1] = 7
        assert row.tolist() == [9, 7, 9] and column.tolist() == [7, 7]


@pytest.mark.parametrize("name", ["t_", "squeeze_", "unsqueeze_"])
def test_a_leaf_is_refused_while_calls_are_recorded(name: str) -> None:
    args = (0,) if name == "unsqueeze_" else ()
    for make in (lambda leaf: leaf, lambda leaf: leaf[:1]):
        leaf = wf.ones((2, 3)).requires_grad_()
        with pytest.raises(wf.AutogradError, match=rf"in-place {name}: a (view of a )?leaf that requires grad"):
            getattr(make(leaf), name)(*args)
    leaf = wf.ones((2, 3)).requires_grad_()
    with wf.no_grad():
        getattr(leaf, name)(*args)
    assert leaf.is_leaf and leaf.requires_grad
    (leaf * leaf).sum().backward()
    assert tuple(leaf.grad.shape) == tuple(leaf.shape) and set(leaf.grad.reshape(-1).tolist()) == {2.0}
