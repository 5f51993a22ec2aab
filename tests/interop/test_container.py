"""A file that was changed is refused with one error, whatever was changed; an old file still loads."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from few_examples import few
from google.protobuf import text_format
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import weft as wf
from weft import nn
from weft.core.errors import FormatError
from weft.interop.onnx.container import pack, read_bytes
from weft.interop.onnx.tags import dumps, loads

# A file of format 1 as weft 0.1.0 wrote it (relu of a Linear(3, 2)), as text.
OLD = Path(__file__).with_name("format_1.textproto")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A file and its content."""
    path = tmp_path_factory.mktemp("container") / "net.onnx"
    net = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 2))
    wf.save(net, path, example=wf.ones((1, 3)), dynamic={"batch": (0, 0)})
    return path, path.read_bytes()


@few(100, 900, data=st.data())
def test_flipped_bytes(saved: tuple[Path, bytes], data: st.DataObject) -> None:
    path, content = saved
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    other = path.with_name("changed.onnx")
    assume(changed != content)
    other.write_bytes(changed)
    for read in (wf.load, wf.verify):
        with pytest.raises(FormatError):
            read(other)


@settings(max_examples=100)
@given(data=st.data())
def test_truncated_and_extended(saved: tuple[Path, bytes], data: st.DataObject) -> None:
    path, content = saved
    other = path.with_name("changed.onnx")
    other.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(FormatError):
        wf.load(other)
    other.write_bytes(content + data.draw(st.binary(min_size=1, max_size=20)))
    with pytest.raises(FormatError):
        wf.load(other)


@settings(max_examples=100)
@given(content=st.binary(max_size=200))
def test_any_bytes(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("any") / "f.onnx"
    path.write_bytes(content)
    with pytest.raises(FormatError):
        wf.load(path)
    with pytest.raises(FormatError):
        wf.verify(path)


@few(67, 600, data=st.data())
def test_changed_files_read_as_another_tools(saved: tuple[Path, bytes], data: st.DataObject) -> None:
    """Without the seal nothing is known of the numbers, but still there is one error type and no crash."""
    path, content = saved
    changed = bytearray(content)
    changed[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    other = path.with_name("changed.onnx")
    other.write_bytes(changed)
    try:
        loaded = wf.load(other, strict=False)
    except FormatError:
        return
    with contextlib.suppress(wf.WeftError):
        loaded(wf.ones((1, 3)))


def reseal(content: bytes, change: Any) -> bytes:
    """The file with its notes changed, and a right seal."""
    model = onnx.ModelProto.FromString(content)
    notes = {p.key: p.value for p in model.metadata_props if p.key not in ("weft_sha256", "weft_version")}
    change(model, notes)
    return pack(model.graph, notes)


def change_node(first: str, **fields: Any) -> Any:
    """Change the record of the first node of an op."""

    def change(model: onnx.ModelProto, notes: dict[str, str]) -> None:
        for node in model.graph.node:
            for entry in node.metadata_props:
                records = loads(entry.value)
                for record in records:
                    if record["op"] == first:
                        record.update(fields)
                entry.value = dumps(records)

    return change


CRAFTED = {
    "a permutation that names an axis twice": change_node("permute", params={"axes": [0, 0]}),
    "a negative shape": change_node("broadcast_to", params={"shape": [-1, 4]}),
    "another op": change_node("contract", op="permute"),
    "an unknown op": change_node("contract", op="exec"),
    "an unknown value": change_node("contract", **{"in": ["nowhere", "0.weight"]}),
    "too few inputs": change_node("add", **{"in": ["input"]}),
    "a parameter too many": change_node("add", params={"code": "x"}),
    "a parameter too few": change_node("full", params={"shape": [1]}),
    "a number that does not fit": change_node("full", params={"shape": [], "value": "x", "dtype": {"dtype": "int8"}}),
    "an op that gives another type": change_node("erf", op="isnan"),
    "inputs of another form": lambda model, notes: notes.update(weft_graph=dumps({"inputs": 3})),
    "no JSON": lambda model, notes: notes.update(weft_graph="{"),
    "deep JSON": lambda model, notes: notes.update(weft_graph="[" * 100_000),
    "a format to come": lambda model, notes: notes.update(weft_format="2"),
}


@pytest.mark.parametrize("what", CRAFTED)
def test_crafted_files(what: str, saved: tuple[Path, bytes], tmp_path: Path) -> None:
    path = tmp_path / "f.onnx"
    path.write_bytes(reseal(saved[1], CRAFTED[what]))
    with pytest.raises(FormatError):
        wf.load(path)


def test_another_result_is_found(saved: tuple[Path, bytes], tmp_path: Path) -> None:
    path = tmp_path / "f.onnx"
    path.write_bytes(reseal(saved[1], change_node("erf", op="tanh")))
    assert wf.load(path)(wf.ones((2, 3))).shape == (2, 2)
    with pytest.raises(FormatError, match="are not those from when it was saved"):
        wf.verify(path)


def test_a_newer_format_says_so(saved: tuple[Path, bytes], tmp_path: Path) -> None:
    path = tmp_path / "f.onnx"
    path.write_bytes(reseal(saved[1], CRAFTED["a format to come"]))
    with pytest.raises(FormatError, match=r"is in format 2 of weft .*; this weft reads format 1"):
        wf.load(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        wf.load(tmp_path / "none.onnx")


def test_an_old_file_loads_with_its_bits(tmp_path: Path) -> None:
    path = tmp_path / "old.onnx"
    path.write_bytes(text_format.Parse(OLD.read_text(), onnx.ModelProto()).SerializeToString(deterministic=True))
    report = wf.verify(path)
    assert str(report.inputs) == "{'input': float32[batch, 3]}"
    x = wf.asarray([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.0]])
    assert np.array_equal(wf.load(path)(x).numpy(), [[6.5, 0.0], [1.0, 0.25]])


def marked(kind: str) -> onnx.ModelProto:
    """A model without a seal, in which something says whose it is."""
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2]) for name in "xy"]
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "model", ends[:1], ends[1:]),
        opset_imports=[onnx.helper.make_opsetid("", 21)],
        ir_version=10,
    )
    if "producer" in kind:
        model.producer_name = "weft"
    if "note" in kind:
        model.metadata_props.add(key="weft_version" if "own" in kind else "author", value="x")
    if "node" in kind:
        model.graph.node[0].metadata_props.add(key="weft" if "own" in kind else "namespace", value="x")
    return model


@pytest.mark.parametrize("kind", ["producer", "own note", "own node"])
def test_each_mark_of_wefts_wants_a_seal(kind: str, tmp_path: Path) -> None:
    """So that a seal that is cut away is missed, whatever else is."""
    (tmp_path / "f.onnx").write_bytes(marked(kind).SerializeToString())
    with pytest.raises(FormatError, match="its sha256 is gone"):
        wf.load(tmp_path / "f.onnx")


@pytest.mark.parametrize("kind", ["", "note", "node", "note and node"])
def test_marks_of_others_do_not(kind: str, tmp_path: Path) -> None:
    (tmp_path / "f.onnx").write_bytes(marked(kind).SerializeToString())
    assert wf.load(tmp_path / "f.onnx")(np.float32([-1, 2])).tolist() == [0.0, 2.0]


def test_a_file_that_is_longer_than_a_model_may_be_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "f.onnx"
    path.write_bytes(b"12345678")
    assert read_bytes(path, 8) == read_bytes(path, None) == read_bytes(path) == b"12345678"
    with pytest.raises(FormatError, match="longer than an ONNX model may be"):
        read_bytes(path, 7)
    with path.open("r+b") as file:
        file.truncate((1 << 31) + 1)  # without blocks on the disk
    with pytest.raises(FormatError, match="longer than an ONNX model may be"):
        read_bytes(path)
