"""Functions with ``inplace=True``, and those whose names end in ``_``: they write their operand, as in PyTorch."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft.nn import functional as F

torch = pytest.importorskip("torch", reason="the parity extra is not installed")

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "celu": (1.3,),
    "elu": (1.3,),
    "hardsigmoid": (),
    "hardswish": (),
    "hardtanh": (-0.7, 1.1),
    "leaky_relu": (0.2,),
    "mish": (),
    "relu": (),
    "relu6": (),
    "rrelu": (0.1, 0.3, False),
    "selu": (),
    "silu": (),
    "threshold": (0.5, -2.0),
}
UNDERSCORED = ("celu", "elu", "hardtanh", "leaky_relu", "relu", "rrelu", "selu", "threshold")
DATA = np.linspace(-4, 4, 12, dtype=np.float32).reshape(3, 4)


def outcome(lib: Any, function: Any) -> tuple[Any, Any]:
    """The operand after the call, and the gradient through it."""
    leaf = lib.tensor(DATA).requires_grad_()
    hidden = leaf * 1.5
    out = function(hidden)
    assert out is hidden
    (out * out).sum().backward()
    with pytest.raises(RuntimeError, match="leaf"):
        function(leaf)
    return hidden.detach().numpy().copy(), leaf.grad.numpy().copy()


@pytest.mark.parametrize("name", ARGUMENTS)
def test_inplace_is_pytorchs(name: str) -> None:
    own, other = getattr(F, name), getattr(torch.nn.functional, name)
    arguments = ARGUMENTS[name]
    expected = outcome(torch, lambda x: other(x, *arguments, inplace=True))
    by_name = outcome(wf, lambda x: own(x, *arguments, inplace=True))
    by_place = outcome(wf, lambda x: own(x, *arguments, True))
    compiled = outcome(wf, wf.compile(lambda x: own(x, *arguments, inplace=True)))
    for theirs, ours, again, captured in zip(expected, by_name, by_place, compiled, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-5)
        assert ours.tobytes() == again.tobytes() == captured.tobytes()
    x = wf.asarray(DATA) * 1.0
    out = own(x, *arguments, inplace=False)
    assert out is not x and (x.numpy() == DATA).all()
    assert out.numpy().tobytes() == own(x, *arguments).numpy().tobytes()


@pytest.mark.parametrize("name", UNDERSCORED)
def test_names_that_end_in_an_underscore(name: str) -> None:
    own, other = getattr(F, f"{name}_"), getattr(torch.nn.functional, f"{name}_")
    expected = outcome(torch, lambda x: other(x, *ARGUMENTS[name]))
    found = outcome(wf, lambda x: own(x, *ARGUMENTS[name]))
    for theirs, ours in zip(expected, found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "rrelu"]
)
def test_draws_are_written_over_their_operand(name: str) -> None:
    shape = {"dropout3d": (2, 3, 2, 2, 2)}.get(name, (2, 3, 4))
    function, p = getattr(F, name), (0.1, 0.4) if name == "rrelu" else (0.4,)
    found = []
    for inplace, compiled in ((False, False), (True, False), (True, True)):
        wf.manual_seed(3)
        leaf = wf.asarray(np.linspace(-2, 2, int(np.prod(shape)), dtype=np.float32).reshape(shape)).requires_grad_()
        hidden = leaf * 1.5

        def call(x: Any, inplace: bool = inplace) -> Any:
            return function(x, *p, training=True, inplace=inplace)

        out = (wf.compile(call) if compiled else call)(hidden)
        assert (out is hidden) == inplace
        (out * out).sum().backward()
        found.append((out.detach().numpy().tobytes(), leaf.grad.numpy().tobytes()))
    assert found[0] == found[1] == found[2]
    x = wf.ones(shape)
    assert function(x, *p, training=False, inplace=True) is x


def test_views_see_what_is_written() -> None:
    x = wf.asarray(DATA.copy())
    row = x[1]
    F.relu(row, inplace=True)
    assert (x.numpy()[1] == np.maximum(DATA[1], 0)).all() and (x.numpy()[0] == DATA[0]).all()


def test_what_is_refused() -> None:
    x = wf.ones(3)
    with pytest.raises(wf.DTypeError, match=r"^relu: it writes into its operand, which is no tensor but list"):
        F.relu([1.0], inplace=True)
    with pytest.raises(wf.DTypeError, match=r"^relu_: it writes into its operand, which is no tensor but list"):
        F.relu_([1.0])
    with pytest.raises(wf.ArgumentError, match=r"^relu: missing a required argument: 'input'"):
        F.relu(inplace=True)
    with pytest.raises(wf.ArgumentError, match=r"^mish: got an unexpected keyword argument 'foo'; it is mish\(input, "):
        F.mish(x, inplace=True, foo=1)
    for arguments in ((x, True), (x,)):
        with pytest.raises(wf.ArgumentError, match=r"^relu: inplace=True and out= both say"):
            F.relu(*arguments, out=wf.zeros(3), **({} if len(arguments) > 1 else {"inplace": True}))
    assert F.relu(x, inplace=False, out=(out := wf.zeros(3))) is out and F.relu(x, inplace=True, out=None) is x
    with pytest.raises(wf.DTypeError, match="relu: inplace is 'yes'; it must be True or False"):
        F.relu(x, inplace="yes")
    with pytest.raises(wf.ArgumentError, match="multiple values for argument 'inplace'"):
        F.relu(x, True, inplace=True)
    with pytest.raises(wf.ArgumentError, match="too many positional"):
        F.relu(x, True, 3)
    with pytest.raises(wf.ArgumentError, match="unexpected keyword argument 'slope'"):
        F.relu(x, inplace=True, slope=3)
    assert (F.relu(input=x, inplace=True)) is x


@pytest.mark.parametrize("name", ["celu_", "elu_", "hardtanh_", "leaky_relu_", "rrelu_", "selu_"])
def test_errors_name_what_was_called(name: str) -> None:
    """Those of computation too, and in captured code."""
    x, function = wf.asarray([1, 2]), getattr(F, name)
    for call in (function, wf.compile(function)):
        with pytest.raises(wf.DTypeError, match=f"^{name}: int64 operands: wants a floating-point dtype") as found:
            call(x)
        assert found.value.args == (found.value.message,)
    with pytest.raises(wf.DTypeError, match=f"^{name[:-1]}: int64 operands"):
        getattr(F, name[:-1])(x)


def test_methods_have_no_inplace() -> None:
    x = wf.ones(2)
    for call in (lambda: x.relu(inplace=True), lambda: x.relu(inplace=False), lambda: x.relu(True)):
        with pytest.raises(TypeError, match=r"^relu: "):
            call()
    with pytest.raises(TypeError, match=r"^relu_: got an unexpected keyword argument 'inplace'"):
        x.relu_(inplace=True)


def test_further_names_are_pytorchs() -> None:
    rng = np.random.default_rng(0)
    x, weight, bias = (rng.normal(size=s).astype(np.float32) for s in ((7, 2, 3), (3, 3, 4), (4,)))
    found = F.conv_tbc(wf.asarray(x), wf.asarray(weight), wf.asarray(bias), 1).numpy()
    expected = torch.nn.functional.conv_tbc(*map(torch.tensor, (x, weight, bias)), 1).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    for rank in (1, 2, 3):
        image = rng.normal(size=(2, *(6,) * rank)).astype(np.float32)
        for name, size in ((f"max_pool{rank}d", 2), (f"adaptive_max_pool{rank}d", 3)):
            ours = getattr(F, f"{name}_with_indices")(wf.asarray(image), size)
            theirs = getattr(torch.nn.functional, f"{name}_with_indices")(torch.tensor(image), size)
            for a, b in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert F.linear(input=wf.ones((1, 2)), weight=wf.ones((3, 2))).tolist() == [[2.0, 2.0, 2.0]]


def test_a_convolution_with_time_first_shows_the_shapes_that_it_was_given() -> None:
    w, b = wf.ones((2, 3, 4)), wf.ones(4)
    for x, more in (((4, 2, 5), (w, b)), ((4, 2, 3), (w, wf.ones(5))), ((1, 2, 3), (w, b)), ((4, 2, 3), (w[:0], b))):
        shapes = rf"^conv_tbc: input {re.escape(str(x))}, weight {re.escape(str(tuple(more[0].shape)))}[,:] "
        with pytest.raises(wf.ShapeError, match=shapes):
            F.conv_tbc(wf.ones(x), *more)
    with pytest.raises(wf.ArgumentError, match=r"^conv_tbc: pad is -1; it must be 0 or more"):
        F.conv_tbc(wf.ones((4, 2, 3)), w, b, -1)


@pytest.mark.parametrize("name", ["dropout", "dropout1d", "alpha_dropout", "feature_alpha_dropout", "rrelu"])
def test_flags_are_true_or_false(name: str) -> None:
    """Also where the function asks for them in Python, to which any text is true."""
    function, x = getattr(F, name), wf.ones((2, 2, 3))
    for wrong in ("False", 2, None):
        with pytest.raises(wf.DTypeError, match=f"{name}: training is .*; it must be True or False"):
            function(x, training=wrong)
