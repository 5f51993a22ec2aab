"""Every layer that PyTorch has too, with drawn arguments: text, state, values, gradients, and what is refused."""

from __future__ import annotations

import warnings
from random import Random
from typing import Any

import numpy as np
import pytest
from torch_sweep import CASES, Given, inputs_of

import weft as wf
from weft import nn

torch = pytest.importorskip("torch")


def built(framework: Any, name: str, args: Any, options: Any) -> Any:
    """The layer, or the error that it is refused with."""
    options = {k: framework.asarray(v.value) if isinstance(v, Given) else v for k, v in options.items()}
    try:
        return getattr(framework.nn, name)(*args, **options).double()
    except Exception as error:
        return error


def results(layer: Any, given: list[Any]) -> Any:
    """The floating results and the others, or the error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = layer(*given)
    except Exception as error:
        return error
    flat: list[Any] = []

    def walk(value: Any) -> None:
        if isinstance(value, (tuple, list)):
            for item in value:
                walk(item)
        elif value is not None:
            flat.append(value)

    walk(found)
    return flat


def array(x: Any) -> np.ndarray[Any, Any]:
    return np.asarray(x.detach().numpy() if hasattr(x, "detach") else x)


# PyTorch's gradient of hardsigmoid multiplies by 1/6 in float32, whatever the dtype.
TOLERANCE = {"Hardsigmoid": 1e-7}


# What PyTorch refuses and weft computes: a window with ceil_mode that hangs over the end of an axis shorter than it, in
# three dimensions alone; a tuple as the kernel of LPPool1d; as many drawn windows as there are places, in three
# dimensions alone.
BY_PYTORCH_ALONE = ("smaller than kernel size", "must be Tensor, not tuple", "fractional_max_pool3d_out(): pool")


def close(got: Any, wanted: Any, what: str) -> None:
    a, b = array(got), array(wanted)
    assert a.shape == b.shape and a.dtype == b.dtype, (what, a.shape, b.shape, a.dtype, b.dtype)
    np.testing.assert_allclose(a, b, rtol=TOLERANCE.get(what.split("(")[0], 1e-9), atol=1e-10, err_msg=what)


def compare(name: str, seed: int) -> None:
    args, options, shapes = CASES[name](Random(f"{name} {seed}"))
    told = f"{name}(*{args}, **{options}) of {shapes}"
    ours, theirs = built(wf, name, args, options), built(torch, name, args, options)
    if isinstance(theirs, Exception):
        assert isinstance(ours, Exception), f"{told}: PyTorch refuses it: {theirs}"
        return
    assert not isinstance(ours, Exception), f"{told}: {ours}"
    assert repr(ours) == repr(theirs).replace("NonDynamicallyQuantizableLinear", "Linear"), told
    state = theirs.state_dict()
    assert {k: (v.shape, str(v.dtype)) for k, v in ours.state_dict().items()} == {
        k: (tuple(v.shape), str(v.dtype).replace("torch", "weft")) for k, v in state.items()
    }, told
    assert list(ours.state_dict()) == list(state), told
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.tensor(rng.normal(size=tuple(p.shape))))
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    random = "Dropout" in name or name == "RReLU"
    for training in (False,) if random else (True, False):
        ours.train(training)
        theirs.train(training)
        _compare_calls(ours, theirs, inputs_of(shapes, seed), f"{told}, training={training}")


def _compare_calls(ours: Any, theirs: Any, given: list[Any], told: str) -> None:
    mine, other = [wf.asarray(x) for x in given], [torch.tensor(x) for x in given]
    for x, y in zip(mine, other, strict=True):
        if y.is_floating_point():
            x.requires_grad_()
            y.requires_grad_()
    found, wanted = results(ours, mine), results(theirs, other)
    if isinstance(wanted, Exception):
        if any(text in str(wanted) for text in BY_PYTORCH_ALONE):
            return
        assert isinstance(found, Exception), f"{told}: PyTorch refuses it: {wanted}"
        assert isinstance(found, (wf.WeftError, ValueError, TypeError)), f"{told}: {type(found)} {found}"
        return
    assert not isinstance(found, Exception), f"{told}: {found}"
    assert len(found) == len(wanted), told
    rng = np.random.default_rng(1)
    total, other_total = wf.asarray(0.0, dtype=wf.float64), torch.tensor(0.0, dtype=torch.float64)
    for a, b in zip(found, wanted, strict=True):
        close(a, b, told)
        if b.is_floating_point():
            weight = rng.normal(size=tuple(b.shape))
            total, other_total = total + (a * wf.asarray(weight)).sum(), other_total + (b * torch.tensor(weight)).sum()
    ours.zero_grad()
    theirs.zero_grad()
    if other_total.requires_grad:
        total.backward()
        other_total.backward()
    places = [*zip(mine, other, strict=True), *zip(ours.parameters(), theirs.parameters(), strict=True)]
    for x, y in places:
        assert (x.grad is None) == (y.grad is None), told
        if y.grad is not None:
            close(x.grad, y.grad, f"{told}: gradient")
    for x, y in zip(ours.buffers(), theirs.buffers(), strict=True):
        close(x, y, f"{told}: buffer")


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", sorted(CASES))
def test_as_pytorch(name: str) -> None:
    compare(name, 0)


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(CASES))
def test_as_pytorch_in_more_ways(name: str) -> None:
    for seed in range(1, 25):
        compare(name, seed)


def test_every_layer_is_here_or_elsewhere() -> None:
    """What the sweep leaves to tests of its own: losses, containers, models of layers, layers of random numbers."""
    layers = {
        name
        for name in nn.__all__
        if isinstance(getattr(nn, name), type) and issubclass(getattr(nn, name), nn.Module) and hasattr(torch.nn, name)
    }
    elsewhere = {name for name in layers if name.endswith(("Loss", "List", "Dict", "WithLoss")) or "Lazy" in name}
    elsewhere |= {"Module", "Sequential", "EmbeddingBag", "Transformer", "TransformerEncoder", "TransformerDecoder"}
    elsewhere |= {"AlphaDropout", "FeatureAlphaDropout", "Dropout1d", "Dropout2d", "Dropout3d", "Threshold"}
    elsewhere |= {"MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d", "UpsamplingBilinear2d", "UpsamplingNearest2d"}
    assert layers - elsewhere == set(CASES)
