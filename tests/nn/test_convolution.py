"""Layers of convolutions against PyTorch's: values, gradients, weights that carry over, reprs, errors; training steps
that are compiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reported import counted

import weft as wf
from weft import nn
from weft.nn import functional as F

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(0)
SPATIAL = {"1d": (9,), "2d": (7, 8), "3d": (5, 6, 4)}

CASES: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    *((f"Conv{r}", (4, 6, 3), {}) for r in SPATIAL),
    ("Conv1d", (4, 6, 2, 2, 1, 2, 2, False), {}),
    ("Conv2d", (4, 6, (2, 3), (2, 1), (1, 0), (1, 2), 2), {}),
    ("Conv2d", (4, 8, 3), {"groups": 4, "bias": False}),
    ("Conv2d", (4, 6, (2, 3)), {"padding": "same"}),
    ("Conv2d", (4, 6, 3), {"padding": "valid", "stride": 2}),
    ("Conv3d", (4, 2, (1, 3, 2)), {"padding": (0, 1, 1), "dilation": (1, 2, 1)}),
    *(
        (name, (4, 6, 3), {"padding": padding, "padding_mode": mode})
        for mode in ("reflect", "replicate", "circular")
        for name, padding in (("Conv1d", 2), ("Conv2d", (1, 2)), ("Conv3d", (1, 0, 2)))
    ),
    ("Conv2d", (4, 6, (2, 3)), {"padding": "same", "dilation": (1, 2), "padding_mode": "reflect"}),
    ("Conv2d", (4, 6, 3), {"padding": "valid", "padding_mode": "circular"}),
    *((f"ConvTranspose{r}", (4, 6, 3), {}) for r in SPATIAL),
    ("ConvTranspose1d", (4, 6, 4, 3, 1, 2, 2, False, 2), {}),
    ("ConvTranspose2d", (4, 6, 4, 2, 1), {}),
    ("ConvTranspose2d", (4, 6, (3, 2), (2, 3)), {"padding": (1, 0), "output_padding": (1, 2), "groups": 2}),
    ("ConvTranspose3d", (4, 2, 2, 2), {"dilation": (1, 2, 1), "bias": False}),
]


def pair(name: str, args: Any, options: Any) -> tuple[Any, Any]:
    """The layer and PyTorch's, with its weights."""
    ours, theirs = getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({k: v.detach().numpy() for k, v in theirs.state_dict().items()})
    return ours, theirs


def close(a: Any, b: Any, tolerance: float = 2e-5) -> None:
    np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.one_in(2)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even")
@pytest.mark.parametrize("batch", [(3,), ()])
@pytest.mark.parametrize(("name", "args", "options"), CASES)
def test_layer(name: str, args: Any, options: Any, batch: tuple[int, ...]) -> None:
    ours, theirs = pair(name, args, options)
    assert repr(ours) == repr(theirs)
    x = RNG.normal(size=(*batch, 4, *SPATIAL[name[-2:]])).astype(np.float32)
    mine, other = wf.asarray(x).requires_grad_(), torch.tensor(x, requires_grad=True)
    y, z = ours(mine), theirs(other)
    assert y.shape == tuple(z.shape)
    close(y, z)
    weight = RNG.normal(size=z.shape).astype(np.float32)
    (y * wf.asarray(weight)).sum().backward()
    (z * torch.tensor(weight)).sum().backward()
    close(mine.grad, other.grad, 1e-4)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        close(p.grad, q.grad, 1e-3)


@pytest.mark.parametrize(
    "make", ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]
)
def test_the_first_values_are_drawn_as_pytorchs(make: str) -> None:
    """Uniformly, within bounds that depend on the weight's shape, of the bias too; the same seed gives the same."""
    ours, theirs = (getattr(m, make)(40, 60, 3, groups=2) for m in (nn, torch.nn))
    bound = 1 / np.sqrt(ours.weight.shape[1] * 3 ** int(make[-2]))
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        a, b = p.numpy(), q.detach().numpy()
        assert a.shape == b.shape and abs(a).max() <= bound and abs(a).max() > 0.9 * bound
        assert a.std() == pytest.approx(b.std(), rel=0.4 if a.ndim == 1 else 0.05)
    wf.manual_seed(5)
    first = getattr(nn, make)(4, 6, 3).weight.numpy()
    wf.manual_seed(5)
    assert first.tobytes() == getattr(nn, make)(4, 6, 3).weight.numpy().tobytes()
    before = ours.weight.numpy().copy()
    ours.reset_parameters()
    assert (before != ours.weight.numpy()).any()


@pytest.mark.parametrize("name", ["ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"])
def test_the_size_of_a_result_may_be_asked_for(name: str) -> None:
    ours, theirs = pair(name, (4, 6, 3, 3), {"padding": 1})
    spatial = SPATIAL[name[-2:]]
    x = RNG.normal(size=(2, 4, *spatial)).astype(np.float32)
    least = tuple((n - 1) * 3 + 1 for n in spatial)
    for more in range(3):
        size = tuple(n + more for n in least)
        for wanted in (size, [2, 6, *size]):
            y = ours(wf.asarray(x), wanted)
            assert y.shape == (2, 6, *size)
            close(y, theirs(torch.tensor(x), wanted))
    close(ours(wf.asarray(x[0]), (6, *least)), theirs(torch.tensor(x[0]), (6, *least)))
    for wanted in (tuple(n + 3 for n in least), tuple(n - 1 for n in least), (*least, 1, 1, 1)):
        with pytest.raises(ValueError, match=f"{name}: output_size"):
            ours(wf.asarray(x), wanted)
        with pytest.raises(ValueError, match=r"output_size|output size"):
            theirs(torch.tensor(x), wanted)


def test_numbers_may_be_numpys() -> None:
    layer = nn.Conv2d(np.int64(4), 6, np.array([3, 3]), np.int32(2))
    assert layer.kernel_size == (3, 3) and layer.stride == (2, 2) and layer(wf.zeros((4, 9, 9))).shape == (6, 4, 4)


def test_dtype_and_device() -> None:
    for make in (nn.Conv2d, nn.ConvTranspose2d):
        layer = make(2, 3, 3, dtype=wf.float64, device="cpu")
        assert {p.dtype for p in layer.parameters()} == {wf.float64}
        assert layer(wf.zeros((1, 2, 5, 5), dtype=wf.float64)).dtype is wf.float64
    half = nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect").to(wf.bfloat16)
    assert half(wf.zeros((1, 2, 5, 5), dtype=wf.bfloat16)).dtype is wf.bfloat16


class Net(nn.Module):
    """An encoder and a decoder that gives back the input's size."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, stride=2, padding=1, padding_mode="reflect")
        self.middle = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(32, 32, 1, groups=4), nn.ChannelShuffle(4))
        self.wide = nn.Sequential(nn.ReplicationPad2d((1, 0, 1, 0)), nn.Conv2d(32, 32, 2), nn.PixelShuffle(2))
        self.up = nn.ConvTranspose2d(8, 3, 3, stride=2, padding=1)

    def forward(self, x: wf.Tensor) -> wf.Tensor:
        h = F.gelu(self.down(x))
        h = h + self.wide(F.gelu(self.middle(h)))
        return self.up(h, output_size=x.shape)


def test_a_compiled_step_trains_as_an_eager_one() -> None:
    """With the same bits, for batches of three sizes and images of two."""
    losses = []
    for compiled in (False, True):
        wf.manual_seed(0)
        net = Net()
        optimizer = wf.optim.AdamW(net.parameters(), lr=1e-2)

        def step(x: wf.Tensor, net: Any = net, optimizer: Any = optimizer) -> wf.Tensor:
            loss = F.mse_loss(net(x), x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        run = wf.compile(step) if compiled else step
        rng = np.random.default_rng(1)
        found = []
        for shape in ((2, 3, 8, 12), (2, 3, 8, 12), (3, 3, 8, 12), (5, 3, 8, 12), (4, 3, 12, 8), (1, 3, 8, 12)):
            found.append(run(wf.asarray(rng.normal(size=shape).astype(np.float32))).numpy().tobytes())
        losses.append(found + [p.numpy().tobytes() for p in net.parameters()])
    assert losses[0] == losses[1]


DOWN, UP = nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1)
WINDOWS = {"kernel_size": 3, "stride": 2, "padding": 1}
SIZED: dict[str, Any] = {
    "down and up": lambda x: UP(DOWN(x), output_size=x.shape[-2:]),
    "their gradient": wf.grad(lambda x: (UP(DOWN(x), output_size=x.shape) ** 2).sum()),
    "output_padding": nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1),
    "unfold and fold": lambda x: F.fold(F.gelu(F.unfold(x, **WINDOWS)), x.shape[-2:], **WINDOWS),
    "reflected": nn.Conv2d(3, 4, 3, padding=(2, 1), padding_mode="reflect"),
    "wrapped": nn.CircularPad2d((2, 1, 1, -1)),
}


@pytest.mark.parametrize("name", SIZED)
def test_a_second_capture_is_for_every_size(name: str) -> None:
    """With eager bits; the first is for the first size alone."""
    function = SIZED[name]
    compiled = wf.compile(function)
    with counted() as captures:
        for shape in ((2, 3, 8, 10), (2, 3, 9, 11), (3, 3, 9, 11), (4, 3, 10, 13), (5, 3, 15, 20), (2, 3, 22, 31)):
            x = wf.asarray(np.random.default_rng(shape).normal(size=shape).astype(np.float32))
            assert compiled(x).numpy().tobytes() == function(x).numpy().tobytes()
    assert len(captures) <= 3  # one where the image alone has another size, one where the batch has too


def test_a_saved_model_gives_its_bits(tmp_path: Path) -> None:
    net, x = Net(), wf.asarray(RNG.normal(size=(2, 3, 8, 12)).astype(np.float32))
    wf.save(net, tmp_path / "net.onnx", example=(x,))
    assert wf.load(tmp_path / "net.onnx")(x).numpy().tobytes() == net(x).numpy().tobytes()


def test_the_batch_may_be_symbolic() -> None:
    for layer in (nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), nn.ConvTranspose2d(3, 4, 2, 2)):
        assert str(wf.eval_shape(layer, wf.spec(("n", 3, 6, 6)))).startswith("float32[n, 4, ")


BAD: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("Conv2d", (4, 6, 3), {"groups": 0}, "groups is 0"),
    ("Conv2d", (4, 6, 3), {"groups": 3}, "in_channels 4 are not 3 equal groups"),
    ("Conv2d", (6, 4, 3), {"groups": 3}, "out_channels 4 are not 3 equal groups"),
    ("Conv2d", (4, 6, 3), {"padding": "full"}, "padding 'full'"),
    ("Conv2d", (4, 6, 3), {"padding": "same", "stride": 2}, "'same' with stride (2, 2)"),
    ("Conv1d", (4, 6, 3), {"padding_mode": "mirror"}, "padding_mode is 'mirror'"),
    ("ConvTranspose2d", (4, 6, 3), {"padding_mode": "reflect"}, "padding_mode is 'reflect'"),
    ("ConvTranspose2d", (4, 6, 3), {"groups": 4}, "out_channels 6 are not 4 equal groups"),
]


@pytest.mark.parametrize(("name", "args", "options", "says"), BAD)
def test_what_cannot_be_meant_is_refused_as_in_pytorch(name: str, args: Any, options: Any, says: str) -> None:
    with pytest.raises((wf.ShapeError, wf.ArgumentError)) as caught:
        getattr(nn, name)(*args, **options)
    assert caught.value.message.startswith(name) and says in caught.value.message
    with pytest.raises(ValueError, match=r"groups|padding"):
        getattr(torch.nn, name)(*args, **options)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("Conv2d", {"kernel_size": 0}, "kernel_size is 0"),
        ("Conv2d", {"kernel_size": (3, 3, 3)}, "or 2 of them"),
        ("Conv2d", {"kernel_size": 3, "stride": 0}, "stride is 0"),
        ("Conv2d", {"kernel_size": 3, "padding": -1}, "padding is -1"),
        ("Conv2d", {"kernel_size": 3, "dilation": 1.5}, "dilation is 1.5"),
        ("Conv2d", {"kernel_size": 3, "groups": 1.5}, "groups is 1.5"),
        ("ConvTranspose2d", {"kernel_size": 3, "padding": "same"}, "padding is 'same'"),
        ("ConvTranspose2d", {"kernel_size": 3, "output_padding": -1}, "output_padding is -1"),
    ],
)
def test_numbers_are_refused_when_a_layer_is_made(name: str, options: Any, says: str) -> None:
    """PyTorch says it when the layer is called, or never."""
    with pytest.raises((wf.ArgumentError, wf.ShapeError)) as caught:
        getattr(nn, name)(4, 6, **options)
    assert caught.value.message.startswith(name) and says in caught.value.message


def test_a_wrong_size_names_the_layer() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(5, 2, 3))
    with pytest.raises(wf.ShapeError, match="4 channels") as caught:
        net(wf.zeros((1, 3, 8, 8)))
    assert caught.value.module_path == "sequential.1"
