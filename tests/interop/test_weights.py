"""Weights come back as they were, into the module as a whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from few_examples import few
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import weft as wf
from weft import nn
from weft.core import dtypes as dt
from weft.core.errors import FormatError, StateError
from weft.interop import read_weights


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))


def content(module: nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in module.state_dict().items()}


def test_a_module_comes_back(tmp_path: Path) -> None:
    first, second, path = net(), net(), tmp_path / "net.safetensors"
    wf.save_weights(first, path)
    parameters = [id(p) for p in second.parameters()]
    assert wf.load_weights(second, path) == ([], [])
    assert content(first) == content(second) and [id(p) for p in second.parameters()] == parameters
    assert all(p.requires_grad for p in second.parameters())


@pytest.mark.parametrize("dtype", [d.name for d in dt.ALL])
def test_every_dtype_and_shape(dtype: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    values = {
        "matrix": wf.arange(6).reshape(2, 3).astype(dtype),
        "scalar": wf.asarray(1).astype(dtype),
        "none": wf.zeros((0, 3), dtype=dtype),
        "turned": wf.arange(6).reshape(2, 3).astype(dtype).T,
    }
    wf.save_weights(values, path)
    found = read_weights(path)
    assert set(found) == set(values)
    for name, value in values.items():
        assert found[name].dtype is value.dtype and found[name].shape == value.shape
        assert found[name].numpy().tobytes() == np.ascontiguousarray(value.numpy()).tobytes()


def test_other_tools_read_our_files_and_we_read_theirs(tmp_path: Path) -> None:
    module, path = net(), tmp_path / "net.safetensors"
    wf.save_weights(module, path)
    arrays = safetensors.numpy.load_file(path)
    assert {k: v.tobytes() for k, v in arrays.items()} == content(module)
    other = tmp_path / "theirs.safetensors"
    safetensors.numpy.save_file({k: v * 2 for k, v in arrays.items()}, other, metadata={"format": "np"})
    wf.load_weights(module, other)
    assert module[0].weight.numpy().tobytes() == (arrays["0.weight"] * 2).tobytes()


def test_arrays_are_accepted(tmp_path: Path) -> None:
    wf.save_weights({"a": np.arange(3.0)[::-1], "b": wf.ones(2)}, tmp_path / "a.safetensors")
    assert read_weights(tmp_path / "a.safetensors")["a"].tolist() == [2, 1, 0]
    with pytest.raises(StateError, match="'a' is a str"):
        wf.save_weights({"a": "text"}, tmp_path / "b.safetensors")
    with pytest.raises(StateError, match="3 is no name"):
        wf.save_weights({3: wf.ones(1)}, tmp_path / "b.safetensors")  # type: ignore[dict-item]
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_what_does_not_fit_leaves_the_module_as_it_was(tmp_path: Path) -> None:
    path, module = tmp_path / "a.safetensors", net()
    before = content(module)
    wf.save_weights({**module.state_dict(), "0.weight": wf.ones((4, 9)), "extra": wf.ones(1)}, path)
    with pytest.raises(StateError, match=r"(?s)unexpected keys: 'extra'.*'0.weight' has shape \(4, 9\)"):
        wf.load_weights(module, path)
    assert content(module) == before
    state = module.state_dict()
    del state["1.bias"]
    wf.save_weights(state, path)
    with pytest.raises(StateError, match=r"missing keys: '1\.bias'"):
        wf.load_weights(module, path)
    assert wf.load_weights(module, path, strict=False).missing_keys == ["1.bias"]
    with pytest.raises(FileNotFoundError):
        wf.load_weights(module, tmp_path / "none")
    assert content(module) == before


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A file and its content."""
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    wf.save_weights(net(), path)
    return path, path.read_bytes()


@few(100, 900, data=st.data())
def test_changed_files(saved: tuple[Path, bytes], data: st.DataObject) -> None:
    """FormatError and the module unchanged, or the weights that were saved."""
    path, original = saved
    changed = bytearray(original)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(original) - 1))] ^= data.draw(st.integers(1, 255))
    assume(changed != original)
    other = path.with_name("changed.safetensors")
    other.write_bytes(changed)
    module = net()
    before = content(module)
    try:
        wf.load_weights(module, other)
    except FormatError:
        assert content(module) == before
    else:
        assert content(module) == {k: v.numpy().tobytes() for k, v in read_weights(path).items()}


@settings(max_examples=50)
@given(data=st.data())
def test_truncated_files(saved: tuple[Path, bytes], data: st.DataObject) -> None:
    path, original = saved
    other = path.with_name("changed.safetensors")
    for changed in (
        original[: data.draw(st.integers(0, len(original) - 1))],
        original + data.draw(st.binary(min_size=1, max_size=9)),
        data.draw(st.binary(max_size=99)),
    ):
        other.write_bytes(changed)
        with pytest.raises(FormatError):
            read_weights(other)


@settings(max_examples=60)
@given(names=st.lists(st.text(alphabet=st.characters(), max_size=8), min_size=1, max_size=3, unique=True))
def test_names_of_any_characters(names: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("names") / "f.safetensors"
    state = {name: wf.ones(2) * float(i) for i, name in enumerate(names)}
    if any("\ud800" <= c <= "\udfff" for name in names for c in name):
        with pytest.raises(StateError, match="is no name for a tensor"):
            wf.save_weights(state, path)
        return
    wf.save_weights(state, path)
    assert {k: v.tolist() for k, v in read_weights(path).items()} == {k: v.tolist() for k, v in state.items()}


def test_weights_are_loaded_into_the_modules_memory(tmp_path: Path) -> None:
    source, net = wf.nn.Linear(2, 3), wf.nn.Linear(2, 3)
    wf.save_weights(source, tmp_path / "net.safetensors")
    weight, row = net.weight, net.weight.detach()[1]
    wf.load_weights(net, tmp_path / "net.safetensors")
    assert net.weight is weight and row.tolist() == source.weight.tolist()[1]
