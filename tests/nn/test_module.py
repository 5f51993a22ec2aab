"""Module: what it registers, names, saves, refuses and prints."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn


class Block(nn.Module):
    def __init__(self, size: int = 2):
        super().__init__()
        self.fc = nn.Linear(size, size)
        self.register_buffer("scale", wf.ones((size,)))
        self.register_buffer("scratch", wf.zeros((size,)), persistent=False)
        self.nothing = None

    def forward(self, x: Any) -> Any:
        return self.fc(x) * self.scale


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(2, 1, bias=False)
        self.head_again = self.head
        self.tied = self.head.weight

    def forward(self, x: Any) -> Any:
        for block in self.encoder:
            x = block(x)
        return self.head(x)


NAMES = ["tied", "encoder.0.fc.weight", "encoder.0.fc.bias", "encoder.1.fc.weight", "encoder.1.fc.bias"]


def test_names_are_paths_and_shared_ones_come_once() -> None:
    net = Net()
    assert [n for n, _ in net.named_parameters()] == NAMES
    assert [n for n, _ in net.named_parameters(remove_duplicate=False)] == [*NAMES, "head.weight", "head_again.weight"]
    assert [n for n, _ in net.named_buffers()] == [f"encoder.{i}.{b}" for i in (0, 1) for b in ("scale", "scratch")]
    assert [n for n, _ in net.named_children()] == ["encoder", "head"]
    assert [n for n, _ in net.named_modules()] == [
        "",
        "encoder",
        "encoder.0",
        "encoder.0.fc",
        "encoder.1",
        "encoder.1.fc",
        "head",
    ]
    assert [n for n, _ in net.named_parameters("net", recurse=False)] == ["net.tied"]
    assert len(list(net.parameters())) == 5 and len(list(net.modules())) == 7 and len(list(net.buffers())) == 4
    assert net.get_submodule("encoder.1.fc") is net.encoder[1].fc and net.get_submodule("") is net
    assert net.get_parameter("encoder.0.fc.bias") is net.encoder[0].fc.bias
    with pytest.raises(AttributeError, match="ModuleList has no module '2'"):
        net.get_submodule("encoder.2.fc")
    with pytest.raises(AttributeError, match=r"no parameter 'head\.bias'"):
        net.get_parameter("head.bias")


def test_state_dict_loads_into_another_and_makes_it_equal() -> None:
    a, b = Net(), Net()
    state = a.state_dict()
    assert list(state) == [
        "tied",
        "encoder.0.scale",
        "encoder.0.fc.weight",
        "encoder.0.fc.bias",
        "encoder.1.scale",
        "encoder.1.fc.weight",
        "encoder.1.fc.bias",
        "head.weight",
        "head_again.weight",
    ]
    assert not any(v.requires_grad for v in state.values())
    kept = b.encoder[0].fc.weight
    assert b.load_state_dict(state) == ([], [])
    assert b.encoder[0].fc.weight is kept and kept.requires_grad
    x = wf.asarray([[0.3, -0.7]])
    assert a(x).numpy().tobytes() == b(x).numpy().tobytes()


def test_a_state_dict_shares_the_modules_memory() -> None:
    layer = nn.Linear(1, 1)
    state = layer.state_dict()
    with wf.no_grad():
        layer.weight.assign(wf.ones((1, 1)) * 7)
    assert state["weight"].tolist() == [[7.0]] and not state["weight"].requires_grad
    state["weight"].fill_(3.0)
    assert layer.weight.tolist() == [[3.0]]


def test_numpy_arrays_load_and_are_cast() -> None:
    layer = nn.Linear(2, 1)
    layer.load_state_dict({"weight": np.array([[1.0, 2.0]]), "bias": np.array([3])})
    assert layer.weight.tolist() == [[1.0, 2.0]] and layer.bias.dtype is wf.float32 and layer.bias.tolist() == [3.0]


def test_everything_that_is_wrong_is_listed_and_nothing_changes() -> None:
    net = Net()
    before = {k: v.numpy().copy() for k, v in net.state_dict().items()}
    state: dict[str, Any] = {k: wf.zeros(v.shape) for k, v in net.state_dict().items()}
    del state["head.weight"]
    state["surplus"] = wf.zeros((1,))
    state["tied"] = wf.zeros((3, 3))
    state["encoder.0.scale"] = "text"
    with pytest.raises(wf.StateError) as caught:
        net.load_state_dict(state)
    text = str(caught.value)
    assert "Net.load_state_dict" in text and "missing keys: 'head.weight'" in text
    assert "unexpected keys: 'surplus'" in text and "'tied' has shape (3, 3) in the state and (1, 2) here" in text
    assert "'encoder.0.scale' is a str, not a tensor" in text and __file__ in text
    assert all((v.numpy() == before[k]).all() for k, v in net.state_dict().items())


def test_not_strict_reports_what_did_not_match() -> None:
    layer = nn.Linear(2, 1)
    result = layer.load_state_dict({"weight": wf.ones((1, 2)), "other": wf.ones((1,))}, strict=False)
    assert result.missing_keys == ["bias"] and result.unexpected_keys == ["other"]
    assert layer.weight.tolist() == [[1.0, 1.0]]
    with pytest.raises(wf.StateError, match="shape"):
        layer.load_state_dict({"weight": wf.ones((2, 2))}, strict=False)


def test_modes_reach_everything_below() -> None:
    net = Net()
    assert all(m.training for m in net.modules())
    assert net.eval() is net and not any(m.training for m in net.modules())
    net.encoder.train()
    assert net.encoder[0].fc.training and not net.head.training


def test_a_module_that_overrides_train_is_asked() -> None:
    class Merging(nn.Linear):
        def train(self, mode: bool = True) -> Any:
            if mode != self.training:
                with wf.no_grad():
                    self.weight.add_(1 if mode else -1)
            return super().train(mode)

    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def train(self, mode: bool = True) -> Any:
            super().train(mode)
            self.drop.eval()
            return self

    merging, frozen = Merging(1, 1), Frozen()
    nn.init.zeros_(merging.weight)
    net = nn.Sequential(merging, nn.ModuleList([frozen]))
    for mode, weight in [(False, -1.0), (False, -1.0), (True, 0.0)]:
        assert net.train(mode) is net
        assert merging.weight.item() == weight
        assert (merging.training, frozen.training, frozen.drop.training) == (mode, mode, False)


def test_a_mode_is_a_bool() -> None:
    with pytest.raises(wf.ArgumentError, match="True or False"):
        nn.Linear(1, 1).train("yes")  # type: ignore[arg-type]


def test_apply_visits_children_first() -> None:
    seen: list[str] = []
    net = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.Tanh()))
    assert net.apply(lambda m: seen.append(type(m).__name__)) is net
    assert seen == ["Linear", "Tanh", "Sequential", "Sequential"]


def test_to_casts_floats_in_place() -> None:
    layer = nn.Linear(2, 1)
    layer.register_buffer("count", wf.asarray([1]))
    weight = layer.weight
    layer(wf.ones((1, 2))).sum().backward()
    assert layer.to(wf.float64) is layer
    assert layer.weight is weight and weight.dtype is wf.float64 and weight.requires_grad
    assert weight.grad.dtype is wf.float64
    assert layer.count.dtype is wf.int64
    layer(wf.ones((1, 2), dtype="float64")).sum().backward()
    assert weight.grad.dtype is wf.float64
    assert layer.half().weight.dtype is wf.float16 and layer.bfloat16().weight.dtype is wf.bfloat16
    assert (
        layer.double().float().weight.dtype is wf.float32
        and layer.to("cpu").to("cpu", "float64").weight.dtype is wf.float64
    )
    with pytest.raises(wf.DeviceError, match="cuda"):
        layer.to("cuda:0")
    with pytest.raises(wf.DTypeError, match="int32 is not a floating dtype"):
        layer.to(wf.int32)


def test_requires_grad_and_zero_grad() -> None:
    layer = nn.Linear(2, 1)
    layer(wf.ones((1, 2))).sum().backward()
    layer.zero_grad(set_to_none=False)
    assert layer.weight.grad.tolist() == [[0.0, 0.0]]
    layer.zero_grad()
    assert layer.weight.grad is None
    assert layer.requires_grad_(False) is layer and not any(p.requires_grad for p in layer.parameters())


def test_a_buffer_that_is_assigned_is_the_other_object() -> None:
    block = Block()
    scale, other = block.scale, wf.asarray([3.0, 4.0])
    block.scale = other
    assert block.scale is other and scale.tolist() == [1.0, 1.0]
    block.scale = None
    assert "scale" not in block.state_dict()


def test_assigning_moves_names_between_the_tables() -> None:
    module = nn.Module()
    module.x = 1
    module.x = nn.Parameter(wf.zeros((1,)))
    assert [n for n, _ in module.named_parameters()] == ["x"] and "x" not in vars(module)
    module.x = nn.Tanh()
    assert not list(module.parameters()) and [n for n, _ in module.named_children()] == ["x"]
    del module.x
    assert not hasattr(module, "x")
    assert "fc" in dir(Block())


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda m: setattr(m.fc, "weight", wf.zeros((2, 2))), TypeError, "is a parameter: assign a Parameter or None"),
        (lambda m: setattr(m, "scale", [1.0]), TypeError, "is a buffer: assign a Tensor or None"),
        (lambda m: setattr(m, "fc", 3), TypeError, "is a module: assign a Module or None"),
        (lambda m: m.register_buffer("fc", wf.zeros((1,))), KeyError, "'fc' exists already"),
        (lambda m: m.register_buffer("a.b", wf.zeros((1,))), ValueError, "without dots"),
        (lambda m: m.register_parameter("forward", None), KeyError, "'forward' exists already"),
        (lambda m: m.register_parameter("w", wf.zeros((1,))), TypeError, "must be a Parameter or None"),
        (lambda m: m.add_module("sub", 3), TypeError, "must be a Module or None"),
        (lambda m: m.missing, AttributeError, "'Block' object has no attribute 'missing'"),
        (lambda m: nn.Module()(1), NotImplementedError, "Module does not define forward"),
    ],
)
def test_misuse(act: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        act(Block())


def test_super_init_comes_first() -> None:
    class Wrong(nn.Module):
        def __init__(self) -> None:
            self.fc = nn.Linear(1, 1)

    with pytest.raises(AttributeError, match=r"Wrong.__init__: call super\(\).__init__\(\)"):
        Wrong()


@pytest.mark.parametrize("compiled", [False, True])
def test_an_error_names_the_path_of_the_module(compiled: bool) -> None:
    net = Net()
    net.encoder[1].fc = nn.Linear(3, 2)
    call = wf.compile(lambda x: net(x)) if compiled else net
    with pytest.raises(wf.ShapeError) as caught:
        call(wf.zeros((4, 2)))
    assert caught.value.module_path == "net.encoder.1.fc"
    assert "in module net.encoder.1.fc" in str(caught.value) and __file__ in str(caught.value)


def test_hooks_see_and_change_what_passes() -> None:
    layer, seen = nn.Identity(), []
    before = layer.register_forward_pre_hook(lambda m, args: (args[0] + 1.0,))
    after = layer.register_forward_hook(lambda m, args, y: seen.append((args[0].item(), y.item())))
    changing = layer.register_forward_hook(lambda m, args, y: y * 2.0)
    assert layer(wf.asarray(1.0)).item() == 4.0 and seen == [(2.0, 2.0)]
    for handle in (before, after, changing, changing):
        handle.remove()
    assert layer(wf.asarray(1.0)).item() == 1.0


def test_copies_are_independent() -> None:
    net = Net()
    for made in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert made.tied is made.head.weight is made.head_again.weight
        assert isinstance(made.tied, nn.Parameter) and made.tied.requires_grad
        with wf.no_grad():
            made.tied.assign(made.tied * 0.0)
        assert net.tied.numpy().any()


def test_repr_is_a_tree() -> None:
    net = nn.Sequential(nn.Linear(2, 8), nn.ModuleList([nn.Tanh()]), nn.Dropout(0.1))
    assert repr(net) == (
        "Sequential(\n"
        "  (0): Linear(in_features=2, out_features=8, bias=True)\n"
        "  (1): ModuleList(\n"
        "    (0): Tanh()\n"
        "  )\n"
        "  (2): Dropout(p=0.1, inplace=False)\n"
        ")"
    )


def test_a_parameter_is_a_leaf_of_its_own() -> None:
    x = wf.ones((2,)).requires_grad_()
    p = nn.Parameter(x * 2.0)
    assert p.is_leaf and p.requires_grad and p.tolist() == [2.0, 2.0] and isinstance(p, wf.Tensor)
    assert not nn.Parameter([1.0], requires_grad=False).requires_grad
    assert repr(nn.Parameter([1.0])) == "Parameter([1.], dtype=float32, requires_grad=True)"
    with pytest.raises(wf.AutogradError, match="only floating tensors"):
        nn.Parameter([1])


def test_loaded_weights_are_not_the_callers_array() -> None:
    layer = nn.Linear(1, 1, bias=False)
    array = np.array([[3.0]], np.float32)
    layer.load_state_dict({"weight": array})
    array[0, 0] = 7.0
    assert layer.weight.item() == 3.0


def test_a_module_is_added_under_either_of_pytorchs_names() -> None:
    for add in ("add_module", "register_module"):
        net, inner = nn.Module(), nn.Linear(2, 3)
        getattr(net, add)("inner", inner)
        getattr(net, add)("none", None)
        assert dict(net.named_children()) == {"inner": inner} and list(net.state_dict()) == [
            "inner.weight",
            "inner.bias",
        ]
        with pytest.raises(KeyError, match="exists already"):
            getattr(net, add)("forward", inner)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("persistent", [True, False])
def test_copies_of_buffers_are_as_persistent(copied: Any, persistent: bool) -> None:
    module = nn.Module()
    module.mean = copied(nn.Buffer(wf.ones((2,)), persistent=persistent))
    assert list(module.state_dict()) == ["mean"] * persistent and [b.tolist() for b in module.buffers()] == [[1.0, 1.0]]
