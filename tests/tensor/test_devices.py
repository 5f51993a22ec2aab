"""Tensors of a second device (tests/second_device.py): the whole path, with the bits of the CPU."""

from __future__ import annotations

import copy
import json
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import second_device

import weft as wf
import weft.nn.functional as F
from weft import nn
from weft.runtime import devices
from weft.runtime import storage as storages

HERE, OTHER = "test:0", "test:1"
DATA = np.random.default_rng(5).normal(size=(6, 8)).astype(np.float32)


@pytest.fixture(autouse=True)
def second() -> Iterator[None]:
    """The device is there, and is not the default one."""
    second_device.register()
    yield
    second_device.unregister()


def on(device: str, array: Any = DATA) -> wf.Tensor:
    return wf.tensor(array, device=device)


def bits(x: Any) -> Any:
    return x.cpu().numpy().tobytes() if isinstance(x, wf.Tensor) else x


def outcome(x: Any) -> list[Any]:
    """Bits of what a function gave, and the devices."""
    return [(bits(t), str(t.device)) for t in (x if isinstance(x, (tuple, list)) else (x,))]


# Functions of a tensor; ``like`` makes further operands on its device.
def like(x: wf.Tensor, array: Any) -> wf.Tensor:
    return wf.tensor(array, device=x.device)


def written(x: wf.Tensor) -> wf.Tensor:
    y = x.clone()
    y[1:3] += 2.0
    y.T[0].mul_(3.0)
    y[0] = 7.0
    y.add_(wf.asarray(0.5))
    return y


PROGRAMS: dict[str, Callable[[wf.Tensor], Any]] = {
    "operators": lambda x: (x + x * 2.0 - 1, 3 - x, x / 2, x > 0, -x, x**2),
    "numbers of rank 0": lambda x: (x * wf.asarray(2.0, device="cpu"), wf.asarray(2.0, device="cpu") - x),
    "vector math": lambda x: F.gelu(wf.exp(x) + wf.tanh(x)),
    "reductions": lambda x: (x.sum(), x.mean(0), x.max(1).values, wf.argmax(x, axis=1), x.softmax(-1)),
    "products": lambda x: (x @ x.T, F.linear(x, like(x, DATA[:3]))),
    "views": lambda x: (x.T, x[1:, ::2], x.reshape(4, 12)[2], *x.split(3), x.T.contiguous()),
    "indices": lambda x: (x[like(x, [1, 4])], wf.take(x, like(x, [0, 3]), axis=1), x.gather(0, like(x, [[1] * 8]))),
    "cumulative": lambda x: (wf.cumulative_sum(x, axis=0), wf.repeat(x, 2, axis=0)),
    "made like it": lambda x: (wf.zeros_like(x), wf.full_like(x, 3), x.new_ones(3), wf.eye(3, device=x.device)),
    "ranges": lambda x: x[:3, :4] + wf.arange(4, device=x.device) + wf.linspace(0, 1, 4, device=x.device),
    "in place": written,
    "joined": lambda x: (wf.concat([x, x * 2]), wf.stack([x, x]), wf.where(x > 0, x, 0.0)),
    "casts": lambda x: (x.double(), x.half().float(), x.to(wf.bfloat16), x.long()),
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_programs_give_the_bits_of_the_cpu(name: str, compiled: bool) -> None:
    program = PROGRAMS[name]
    if compiled and name == "indices":
        picked, others = [1, 4], [0, 3]  # data inside is a constant of the captured function

        def program(x: wf.Tensor) -> Any:
            return x[like(x, picked)], wf.take(x, like(x, others), axis=1)

    function = wf.compile(program) if compiled else program
    for _ in range(2):
        expected = outcome(program(on("cpu")))
        assert outcome(function(on(HERE))) == [(each, HERE) for each, _ in expected]


def test_what_the_host_looks_at_chooses_elements_on_the_device() -> None:
    x, here = on("cpu"), on(HERE)
    for of in (
        lambda t: t[t > 0],
        lambda t: wf.nonzero(t)[1],
        lambda t: wf.repeat(t[0], np.arange(8)),
        lambda t: t[[2, 1]],
    ):
        assert outcome(of(here)) == [(bits(of(x)), HERE)]
    assert outcome(here * DATA) == [(bits(x * DATA), HERE)]  # data of no device goes where the tensors are
    with pytest.raises(wf.WeftError, match="index 9 is out of range for axis 0 of size 6"):
        here[on(HERE, np.asarray([0, 9]))]


def test_a_tensor_says_where_it_is() -> None:
    x = wf.zeros((2, 2), device="test")
    assert x.device == "test:0" and f"{x.device}" == "test:0" and x.device is wf.device("test", 0)
    assert (x.device.type, x.device.index) == ("test", 0) and x.to(OTHER).device.index == 1
    assert repr(x) == "Tensor([[0., 0.],\n        [0., 0.]], dtype=float32, device=test:0)"
    assert repr(x.cpu()) == "Tensor([[0., 0.],\n        [0., 0.]], dtype=float32)"
    assert x.tolist() == [[0, 0], [0, 0]] and x.sum().item() == 0 and float(x[0, 0]) == 0 and not x.any()
    assert f"{x.sum():.1f}" == "0.0" and int(wf.ones((), dtype="int64", device=HERE)) == 1
    assert x.__dlpack_device__() == (12, 0) and x.to(OTHER).__dlpack_device__() == (12, 1)


def test_the_cpu_cannot_look_at_its_memory() -> None:
    x = on(HERE)
    for look in (lambda: x.numpy(), lambda: np.asarray(x)):
        with pytest.raises(wf.DeviceError, match=r"numpy: .*float32\[6, 8\] on test:0; move it to the cpu first"):
            look()
    with pytest.raises(BufferError, match="this memory is another device's; copy it to the CPU first"):
        memoryview(x._storage)
    with pytest.raises(BufferError):
        memoryview(x[1:].T.data.detach()._storage)
    with pytest.raises(BufferError, match="memory of test:0 has no stream None and is not on device"):
        x.__dlpack__(dl_device=(1, 0))
    with pytest.raises(wf.DeviceError, match="DLPack device type 12"):
        wf.from_dlpack(x)


def test_moves() -> None:
    x = on("cpu")
    assert x.to("cpu") is x and x.cpu() is x and x.to(device="cpu", dtype=wf.float32) is x
    there = x.T.to(HERE)
    assert there.to(HERE) is there and there.to(there) is there and there.cpu().device == "cpu"
    for moved in (there, there.to(OTHER), there.to(OTHER).to(HERE), x.T.to(there), x.T.type_as(there)):
        assert bits(moved) == bits(x.T.contiguous()) and moved._spec.contiguous
    both = x.to(HERE, wf.float64)
    assert both.dtype is wf.float64 and both.device == HERE and bits(both) == bits(x.double())
    assert x.to(both).dtype is wf.float64 and x.to(both).device == HERE
    again = there.to(HERE, copy=True)
    assert again is not there and again._storage.address != there._storage.address
    cpu = on(HERE, np.zeros(3))
    cpu.copy_(wf.asarray([1.0, 2.0, 3.0]))
    x[0, :3].copy_(cpu)
    assert cpu.tolist() == [1, 2, 3] == x[0, :3].tolist()


CREATIONS: list[Callable[..., wf.Tensor]] = [
    *(lambda device, f=f: f((2, 3), device=device) for f in (wf.zeros, wf.ones, wf.empty)),
    lambda device: wf.full((2,), 7, device=device),
    lambda device: wf.arange(5, device=device),
    lambda device: wf.linspace(0, 1, 5, device=device),
    lambda device: wf.eye(3, device=device),
    lambda device: wf.zeros_like(on("cpu"), device=device),
    lambda device: wf.ones_like(on(OTHER), device=device),
    lambda device: wf.full_like(on(OTHER), 2, device=device),
    lambda device: wf.empty_like(on("cpu"), device=device),
    lambda device: wf.asarray([1.0, 2.0], device=device),
    lambda device: wf.asarray(DATA.T, device=device),
    lambda device: wf.asarray(on(OTHER), device=device),
    lambda device: wf.asarray([on("cpu")[0, 0], 1.0], device=device),
    lambda device: wf.tensor(DATA, device=device),
    lambda device: wf.tensor(on("cpu"), device=device),
    lambda device: wf.from_dlpack(DATA, device=device),
    lambda device: on("cpu").new_zeros(3, device=device),
    lambda device: wf.random.uniform(3, device=device),
    lambda device: wf.random.normal(3, device=device),
    lambda device: wf.random.integers(9, shape=(3,), device=device),
    lambda device: wf.random.bernoulli(0.5, (3,), device=device),
    lambda device: wf.random.Generator(3, device).uniform(3),
    lambda device: nn.Linear(2, 3, device=device).weight,
    lambda device: nn.LayerNorm(3, device=device).weight,
    lambda device: nn.Embedding(3, 2, device=device).weight,
    lambda device: nn.PReLU(device=device).weight,
]


@pytest.mark.parametrize("make", CREATIONS)
def test_accepted_is_honoured(make: Callable[..., wf.Tensor]) -> None:
    for device in ("cpu", HERE, wf.device(OTHER), on(HERE).device, "test"):
        wf.random.seed(3)
        made = make(device)
        wf.random.seed(3)
        assert made.device == wf.device(device) and bits(made) == bits(make("cpu"))
    for wrong in ("test:2", "cuda", "cpu:1", "nowhere", 3, "", "a b"):
        with pytest.raises(
            wf.DeviceError, match="is not available; this build of weft runs on 'cpu', 'test:0', 'test:1'"
        ):
            make(wrong)


@pytest.mark.parametrize(
    "mix",
    [
        lambda a, b: a + b,
        lambda a, b: a @ b.T,
        lambda a, b: wf.concat([a, b]),
        lambda a, b: wf.where(a > 0, a, b),
        lambda a, b: F.linear(a, b),
        lambda a, b: a.add_(b),
        lambda a, b: a.__setitem__(0, b[0]) or a + b,
        lambda a, b: b[0, 0].sum().add_(a),  # a number stays where it is
    ],
)
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_mixed_devices_are_an_error_at_the_users_line(mix: Callable[..., Any], compiled: bool) -> None:
    a, b = on(HERE), on("cpu")
    function = wf.compile(mix) if compiled else mix
    for _ in range(2):
        with pytest.raises(wf.DeviceError) as raised:
            function(a, b)
        assert "test:0" in str(raised.value) and "on cpu" in str(raised.value) and "float32[" in str(raised.value)
        assert f"at {__file__}" in str(raised.value)
    assert bits(a) == bits(b)


def test_a_mix_names_the_op_and_its_operands() -> None:
    message = (
        r"add: operands lie on different devices: float32\[6, 8\] on test:0, float32\[6, 8\] on test:1; move them to"
    )
    with pytest.raises(wf.DeviceError, match=message):
        on(HERE) + on(OTHER)


COLUMN = np.array([[3, 9], [0, 9], [3, 9]])  # whose first column is an index of strides
INDICES: dict[str, Callable[[], wf.Tensor]] = {
    "numbers": lambda: wf.asarray([3, 0, -1]),
    "a column": lambda: wf.asarray(COLUMN)[:, 0],
    "one number, repeated": lambda: wf.asarray([2]).expand(3),
    "two axes": lambda: wf.asarray([[1, 2], [0, 5]]),
}


def read(x: wf.Tensor, i: wf.Tensor) -> wf.Tensor:
    return x[i] * 2.0 + x[i, 1:2]


def gradient(x: wf.Tensor, i: wf.Tensor) -> wf.Tensor:
    return wf.grad(lambda x: (x[:, i] ** 2).sum())(x)


def write(x: wf.Tensor, i: wf.Tensor) -> wf.Tensor:
    y = x * 1.0
    y[i] = 5.0
    y[i, 0] = wf.asarray(7.0)
    y[i, 1] += 1.0
    y.index_put_((i,), y[i], accumulate=True)
    return y


def write_back(x: wf.Tensor, i: wf.Tensor) -> wf.Tensor:
    x[i, i] = -1.0
    return x + 0.0


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("program", [read, gradient, write, write_back])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_indices_of_the_cpu_choose_elements_on_any_device(program: Any, index: str, compiled: bool) -> None:
    """As in PyTorch. (Where an index occurs several times, the elements that it writes are equal.)"""
    i = INDICES[index]()
    expected = bits(program(on("cpu"), i))
    function = wf.compile(program) if compiled else program
    for given in (i, i.to(HERE)):
        for _ in range(2):
            found = function(on(HERE), given)
            assert found.device == wf.device(HERE) and bits(found) == expected


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_backward_through_indices_of_the_cpu(compiled: bool) -> None:
    found = []
    for device in ("cpu", HERE):
        x, i = on(device).requires_grad_(), wf.asarray([3, 0, 3])
        function = wf.compile(read) if compiled else read
        (function(x, i) ** 2).sum().backward()
        assert x.grad is not None and x.grad.device == wf.device(device)
        found.append(bits(x.grad))
    assert found[0] == found[1]


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_masks_of_the_cpu_choose_what_is_written(compiled: bool) -> None:
    def program(x: wf.Tensor, mask: wf.Tensor) -> wf.Tensor:
        x[mask] = 0.0
        return x * 1.0

    function = wf.compile(program) if compiled else program
    for mask in (wf.asarray(DATA > 0), wf.asarray(DATA > 0)[:, 0], wf.asarray(DATA.T > 0).T):
        assert bits(function(on(HERE), mask)) == bits(program(on("cpu"), mask))


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_indices_of_another_device_are_an_error(compiled: bool) -> None:
    function = wf.compile(lambda x, i: x[i]) if compiled else lambda x, i: x[i]
    for x, i in ((on("cpu"), wf.asarray([0]).to(HERE)), (on(HERE), wf.asarray([0]).to(OTHER))):
        with pytest.raises(wf.DeviceError, match="operands lie on different devices"):
            function(x, i)
    with pytest.raises(wf.WeftError, match="index 9 is out of range for axis 0 of size 6"):
        function(on(HERE), wf.asarray([1, 9]))
    with pytest.raises(wf.DeviceError):  # PyTorch's methods want their indices where the tensor is
        on(HERE).index_select(0, wf.asarray([0]))


def test_gradients_flow_through_devices_and_moves() -> None:
    weights, x = on("cpu", DATA[:2]).requires_grad_(), on("cpu")
    there = on(HERE, DATA[:2]).requires_grad_()

    def loss(w: wf.Tensor, x: wf.Tensor) -> wf.Tensor:
        return (wf.tanh(x @ w.T) ** 2).sum() * wf.asarray(0.5, device="cpu")

    loss(weights, x).backward()
    loss(there, x.to(HERE)).backward()
    assert there.grad is not None and there.grad.device == HERE and bits(there.grad) == bits(weights.grad)
    moved = on("cpu", DATA[:2]).requires_grad_()
    loss(moved.to(HERE).to(OTHER), x.to(OTHER)).cpu().backward()
    assert moved.grad is not None and moved.grad.device == "cpu" and bits(moved.grad) == bits(weights.grad)
    number = wf.tensor(2.0).requires_grad_()  # of rank 0, beside a tensor of the device
    (number * on(HERE)).sum().backward()
    assert number.grad is not None and number.grad.device == "cpu"
    assert bits(wf.grad(lambda w: loss(w, x.to(HERE)))(there.detach())) == bits(weights.grad)
    with pytest.raises(wf.AutogradError, match="on test:0"):
        there.grad = weights.grad


class Net(nn.Module):
    def __init__(self, device: Any = None) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(8, 5, device=device), nn.GELU(), nn.LayerNorm(5, device=device))
        self.out = nn.Linear(5, 3, device=device)
        self.register_buffer("scale", wf.full((3,), 0.5, device=device))

    def forward(self, x: wf.Tensor) -> wf.Tensor:
        return self.out(F.dropout(self.inner(x), 0.25, self.training)) * self.scale


def trained(device: str, make: Callable[[Any], Any], compiled: bool, moved: bool) -> list[Any]:
    wf.random.seed(11)
    net = Net()
    opt = make(net) if not moved else None
    net.to(device)
    wf.random.seed(12)
    opt = opt or make(net)
    x, labels = on(device), on(device, np.arange(6) % 3)

    def step(x: wf.Tensor, labels: wf.Tensor) -> wf.Tensor:
        opt.zero_grad()
        loss = F.cross_entropy(net(x), labels)
        loss.backward()
        opt.step()
        return loss

    run = wf.compile(step) if compiled else step
    losses = []
    for number in range(4):
        losses.append(run(x, labels).item())
        if number == 1:
            opt.param_groups[0]["lr"] = 0.02
    assert {str(t.device) for t in (*net.parameters(), *net.buffers())} == {device}
    assert {str(t.device) for held in opt.state.values() for t in held.values()} <= {device}
    return [*losses, *(bits(p) for p in net.parameters())]


OPTIMIZERS: list[Callable[[Any], Any]] = [
    lambda net: wf.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, dampening=0.1),
    lambda net: wf.optim.AdamW(net.parameters(), lr=0.01),
    lambda net: wf.optim.SGD(net.parameters(), lr=wf.tensor(0.1)),
]


@pytest.mark.parametrize("make", OPTIMIZERS)
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("moved", [False, True], ids=["moved-after", "moved-before"])
def test_training(make: Callable[[Any], Any], compiled: bool, moved: bool) -> None:
    assert trained(HERE, make, compiled, moved) == trained("cpu", make, compiled, moved)


@pytest.mark.parametrize("first", ["cpu", HERE])
def test_a_group_of_parameters_may_lie_on_several_devices(first: str) -> None:
    params = [nn.Parameter(on(device)) for device in (first, OTHER, "cpu")]
    opt = wf.optim.SGD(params, lr=0.5)
    for _ in range(3):
        for p in params:
            p.grad = wf.ones_like(p)
        opt.step()
    assert len({bits(p) for p in params}) == 1 and bits(params[0]) == bits(on("cpu") - 0.5 - 0.5 - 0.5)


def test_modules_move_with_their_gradients() -> None:
    net = Net()
    net(on("cpu")).sum().backward()
    weight = net.out.weight
    gradient = weight.grad
    assert net.to(HERE) is net and net.out.weight is weight and weight.grad is gradient
    assert weight.device == HERE and gradient.device == HERE and net.scale.device == HERE
    assert net.to(OTHER, wf.float64).scale.dtype is wf.float64 and gradient.device == OTHER
    assert net.to(on("cpu")).out.weight.device == "cpu"
    with pytest.raises(wf.DeviceError, match=r"Net.to: device 'cuda' is not available"):
        net.to("cuda")


def test_states_go_by_way_of_the_cpu() -> None:
    net, twin, other = Net(HERE), Net(), Net(OTHER)
    twin.load_state_dict(net.state_dict())
    other.load_state_dict(twin.state_dict())
    for a, b, c in zip(net.parameters(), twin.parameters(), other.parameters(), strict=True):
        assert bits(a) == bits(b) == bits(c) and [str(t.device) for t in (a, b, c)] == [HERE, "cpu", OTHER]
    opt = wf.optim.Adam(net.parameters())
    net(on(HERE)).sum().backward()
    opt.step()
    here = wf.optim.Adam(twin.parameters())
    here.load_state_dict(opt.state_dict())
    assert {str(t.device) for held in here.state.values() for t in held.values()} == {"cpu"}


def test_files_go_by_way_of_the_cpu(tmp_path: Path) -> None:
    net = Net(HERE).eval()
    expected = bits(net(on(HERE)))
    wf.save_weights(net, tmp_path / "w.safetensors")
    for device in ("cpu", OTHER):
        twin = Net(device).eval()
        wf.load_weights(twin, tmp_path / "w.safetensors")
        assert outcome(twin(on(device))) == [(expected, device)]
    wf.save(net, tmp_path / "net.onnx", example=on(HERE))
    assert bits(wf.load(tmp_path / "net.onnx")(on("cpu"))) == expected
    with pytest.raises(wf.DeviceError, match=r"runs on cpu, and an operand is float32\[6, 8\] on test:0"):
        wf.load(tmp_path / "net.onnx")(on(HERE))
    with wf.device(HERE):
        assert outcome(wf.load(tmp_path / "net.onnx")(DATA)) == [(expected, HERE)]
        wf.load_weights(twin, tmp_path / "w.safetensors")
    wf.verify(tmp_path / "net.onnx")
    made = wf.export(net, tmp_path / "lib", example=on(HERE), name="net")
    assert made.files


def test_copies_and_pickles_stay_on_the_device() -> None:
    x = on(HERE).requires_grad_()
    (x * 2).sum().backward()
    for made in (copy.deepcopy(x), pickle.loads(pickle.dumps(x)), copy.copy(x)):
        assert made.device == HERE and bits(made) == bits(x) and made.requires_grad
    shared = {"a": x.detach(), "b": x.detach()[1]}
    copied = copy.deepcopy(shared)
    copied["b"].zero_()
    assert copied["a"][1].tolist() == [0.0] * 8 and bits(x) == bits(on("cpu"))


def test_the_default_device() -> None:
    assert wf.get_default_device() == "cpu"
    made = wf.compile(lambda: wf.zeros(2) + 1)
    assert made().device == "cpu"
    with wf.device(HERE):
        assert wf.get_default_device() == HERE and made().device == HERE
        for x in (wf.zeros(2), wf.asarray([1]), wf.tensor(DATA), wf.random.normal(2), nn.Linear(2, 2).weight):
            assert x.device == HERE
        with wf.device("cpu"):
            assert wf.ones(1).device == "cpu" == wf.zeros_like(wf.ones(1)).device
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(wf.ones(1).device))
        thread.start()
        thread.join()
        assert found == ["cpu"] and wf.from_numpy(DATA).device == "cpu" and on("cpu").new_zeros(1).device == "cpu"
    wf.set_default_device(OTHER)
    try:
        assert wf.ones(1).device == OTHER == made().device and wf.random.Generator(1).state.device == OTHER
    finally:
        wf.set_default_device(None)
    assert wf.ones(1).device == "cpu" == made().device
    with pytest.raises(wf.DeviceError, match="set_default_device: device 'cuda' is not available"):
        wf.set_default_device("cuda")
    with wf.device("cuda"), pytest.raises(wf.DeviceError, match=r"device .*cuda:0.* is not available"):
        wf.ones(1)


def test_the_best_device_that_is_present_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_device.ROW, "rank", 5)
    assert wf.get_default_device() == HERE and wf.ones(2).device == HERE
    monkeypatch.setattr(second_device.ROW, "count", lambda: 0)
    assert wf.get_default_device() == "cpu" and devices.present() == ["cpu"]


def test_captured_functions_run_on_one_device() -> None:
    x, state = on(HERE), on(HERE, np.zeros(3))

    @wf.compile
    def count(step: wf.Tensor) -> wf.Tensor:
        state.add_(step)
        return state * 2 + wf.asarray(1.0)

    for step in (wf.asarray(2.0), wf.asarray(3.0)):  # a number of the CPU's goes along at each run
        made = count(step)
    assert made.tolist() == [11, 11, 11] and state.tolist() == [5, 5, 5] and made.device == HERE

    def twice(step: wf.Tensor) -> wf.Tensor:
        step.mul_(2.0)
        return x + step

    for wrong, message in (
        (lambda t: t.to(OTHER), "to: a captured function runs on one device, here test:0"),
        (lambda t: t + wf.zeros(8), "zeros: makes a tensor on cpu inside a captured function, which runs on test:0"),
        (lambda t: t + wf.zeros(8, device=OTHER), "zeros: makes a tensor on test:1"),
    ):
        with pytest.raises(wf.DeviceError, match=message):
            wf.compile(wrong)(x)
    with pytest.raises(wf.DeviceError, match=r"in-place mul_?: float32\[\] on cpu is written inside a captured"):
        wf.compile(twice)(wf.asarray(2.0))
    assert wf.compile(lambda: wf.arange(3, device=HERE) * 2)().tolist() == [0, 2, 4]


def test_views_and_slices_share_memory_in_both_modes() -> None:
    def program(x: wf.Tensor) -> wf.Tensor:
        part = x[1:3]
        part += 1.0
        x.T[0] = 5.0
        return part.sum()

    expected, eager, compiled = on("cpu"), on(HERE), on(HERE)
    total = program(expected)
    assert bits(program(eager)) == bits(total) == bits(wf.compile(program)(compiled))
    assert bits(eager) == bits(expected) == bits(compiled)
    base = on(HERE)
    pair = wf.compile(lambda a, b: a.add_(b))  # memory that two arguments share
    pair(base[0:4], base[2:6])
    other = on("cpu")
    other[0:4].add_(other[2:6])
    assert bits(base) == bits(other)


def test_memory_is_counted_per_device() -> None:
    before, host = wf.memory.stats(HERE), wf.memory.stats()
    x = wf.ones(1000, device=HERE)
    assert wf.memory.stats(HERE).current - before.current == 4096 and wf.memory.stats("cpu").limit == host.limit
    assert wf.memory.stats(OTHER).current <= wf.memory.stats(OTHER).peak
    wf.memory.set_limit(wf.memory.stats(HERE).current, HERE)
    try:
        with pytest.raises(wf.OutOfMemoryError, match="out of memory"):
            x.clone()
    finally:
        wf.memory.set_limit(None, HERE)
    del x
    assert wf.memory.stats(HERE).current == before.current
    wf.memory.reset_peak(HERE)
    wf.memory.empty_cache(HERE)
    assert wf.memory.stats(HERE).peak == before.current and wf.memory.stats(HERE).cached == 0
    with pytest.raises(wf.DeviceError, match="memory: device 'cuda'"):
        wf.memory.stats("cuda")


def test_blocks_of_a_device_are_blocks_of_its_own() -> None:
    block = on(HERE)._storage.root
    part = storages.tail(storages.unshared(storages.view(block, 32, 64)), 8)
    keeper = storages.keeper_of(part)
    assert block.owner is None and block.keeper is keeper and part.keeper is None and keeper is not None
    assert storages.block_of(part) is block and keeper.device == HERE and storages.keeper_of(storages.empty(8)) is None
    around = storages.wrap(part.address, 8, part)
    with pytest.raises(BufferError):
        memoryview(around)
    assert storages.keeper_of(around) is keeper and not part.is_read_only and storages.read_only(part).is_read_only
    copied = storages.copy_of(part)
    assert storages.keeper_of(copied) is not keeper and bytes(storages.to_host(copied, 8)) == bytes(
        storages.to_host(part, 8)
    )
    kept = storages.save(block)
    assert storages.wrote(storages.view(block, 0, 8)) and block.version == kept + 1 and part.version == 0


def test_random_streams_are_a_devices_own_with_one_seed() -> None:
    wf.random.seed(4)
    cpu = [wf.random.uniform(4), wf.random.uniform(4)]
    here = [wf.random.uniform(4, device=HERE), wf.random.uniform(4, device=OTHER)]
    assert bits(cpu[0]) == bits(here[0]) == bits(here[1]) != bits(cpu[1])
    drawn = wf.compile(lambda x: x + wf.random.normal((6, 8), device=x.device))
    wf.random.seed(4)
    first = bits(drawn(on(HERE)))
    wf.random.seed(4)
    assert first == bits(on("cpu") + wf.random.normal((6, 8)))
    x = on(HERE)
    assert x.uniform_().device == HERE and nn.init.normal_(x).device == HERE
    assert wf.random.permutation(on(HERE)).device == HERE and wf.random.bernoulli(x.abs_().clamp_(0, 1)).device == HERE


def test_explain_and_kernels_of_a_device() -> None:
    state = on(HERE)
    step = wf.compile(lambda x: state.add_(x.sum()))
    before = bits(state)
    assert "sum" in str(step.explain(on(HERE))) and len(step.kernels(on(HERE))) >= 1 and bits(state) == before


def test_a_page_of_a_device_has_its_kernels_and_its_arena(tmp_path: Path) -> None:
    step = wf.compile(lambda x: wf.exp(wf.matmul(x, x.T)).sum(axis=0) @ x)
    step.explain(on(HERE), html=tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    data = json.loads(text.split('id="data">')[1].split("</script>")[0])
    assert len(data["kernels"]) == len(step.kernels(on(HERE))) and data["memory"]["steps"] == len(data["kernels"])
