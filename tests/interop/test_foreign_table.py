"""The table of foreign operators against the ONNX standard: each attribute and input of each opset that weft reads."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import onnx_peer
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, NodeProto, defs, helper, numpy_helper
from test_foreign import C, M, N, P, V, Z, build, init

import weft as wf
from weft.core.errors import FormatError
from weft.interop.onnx.foreign.call import Ints, Number, Refused, signature_of
from weft.interop.onnx.foreign.host import HOST
from weft.interop.onnx.foreign.ops import OPS, operator
from weft.interop.onnx.foreign.schema import NEWEST, OLDEST

NOTHING = inspect.Parameter.empty


def schemas() -> list[Any]:
    """Each version of each operator of the table that some supported opset has."""
    found = []
    for op in OPS:
        seen = set()
        for opset in range(OLDEST, min(NEWEST, defs.onnx_opset_version()) + 1):
            try:
                schema = defs.get_schema(op, opset, "")
            except defs.SchemaError:
                continue
            if schema.since_version not in seen:
                seen.add(schema.since_version)
                found.append((op, opset, schema))
    return found


VERSIONS = schemas()
IDS = [f"{op}-{opset}" for op, opset, _ in VERSIONS]


def test_the_table_is_read_against_the_newest_standard() -> None:
    assert {op for op, _, _ in VERSIONS} >= set(OPS) - {op for op in OPS if not defs.has(op, "")}
    assert set(HOST) <= set(OPS)


def functions_of(op: str, opset: int) -> list[Any]:
    """The function in the graph, and the one on known integers."""
    function = operator(op, opset)
    assert function is not None
    return [function, *([HOST[op]] if op in HOST else [])]


@pytest.mark.parametrize(("op", "opset", "schema"), VERSIONS, ids=IDS)
def test_every_attribute_is_a_parameter_with_its_type_and_default(op: str, opset: int, schema: Any) -> None:
    for function in functions_of(op, opset):
        for name, attribute in schema.attributes.items():
            parameter = signature_of(function).attributes.get(name)
            assert parameter is not None, f"{name} is not handled"
            if parameter.kind is Refused:
                continue
            assert parameter.code == int(attribute.type.value), name
            if attribute.required:
                assert parameter.default in (NOTHING, None), name
                continue
            default = helper.get_attribute_value(attribute.default_value) if attribute.default_value.name else None
            default = default.decode() if isinstance(default, bytes) else default
            assert parameter.default == default and parameter.default is not NOTHING, name


@pytest.mark.parametrize(("op", "opset", "schema"), VERSIONS, ids=IDS)
def test_every_input_is_a_parameter(op: str, opset: int, schema: Any) -> None:
    for function in functions_of(op, opset):
        signature = signature_of(function)
        assert signature.variadic == (schema.max_input > 1000), "variadic"
        if signature.variadic:
            continue
        assert len(signature.inputs) >= schema.max_input
        for formal, parameter in zip(schema.inputs, signature.inputs, strict=False):
            optional = formal.option == defs.OpSchema.FormalParameterOption.Optional
            assert not optional or parameter.default is None, formal.name
        for parameter in signature.inputs[schema.max_input :]:  # of a newer opset
            assert parameter.default is None or parameter.name in schema.attributes, parameter.name


def test_no_parameter_is_idle() -> None:
    """What a function takes, some opset has: an attribute that no opset has is a misspelt one."""
    for op, versions in OPS.items():
        named = {name for o, _, s in VERSIONS if o == op for name in s.attributes}
        for function in (*versions.values(), *([HOST[op]] if op in HOST else [])):
            own = {n for n, p in signature_of(function).attributes.items() if p.kind not in (Ints, Number)}
            assert own <= named, f"{op}: {own - named}"


# --- attributes -------------------------------------------------------------------------------------------------

ALPHA = st.floats(-3, 3, width=32)
AXIS = st.integers(-3, 2)
FLAG = st.integers(0, 1)
IN_C = init(1)

# op -> inputs, opset, what its attributes are drawn from
DRAWN: dict[str, tuple[list[Any], int, dict[str, Any]]] = {
    "Selu": ([M], 21, {"alpha": ALPHA, "gamma": ALPHA}),
    "Swish": ([M], 24, {"alpha": ALPHA}),
    "Elu": ([M], 21, {"alpha": ALPHA}),
    "LeakyRelu": ([M], 21, {"alpha": ALPHA}),
    "HardSigmoid": ([M], 21, {"alpha": ALPHA, "beta": ALPHA}),
    "Gelu": ([M], 21, {"approximate": st.sampled_from(["none", "tanh"])}),
    "IsInf": ([np.float32([1, np.inf, -np.inf, np.nan])], 20, {"detect_negative": FLAG, "detect_positive": FLAG}),
    "Mod": ([Z, np.where(Z % 3 == 0, 5, -4)], 21, {"fmod": FLAG}),
    "Clip": ([M], 10, {"min": st.floats(-3, 0, width=32), "max": st.floats(0, 3, width=32)}),
    "ReduceSum": ([C], 11, {"keepdims": FLAG, "axes": st.lists(st.integers(0, 2), min_size=1, unique=True)}),
    "ReduceMean": ([Z], 18, {"keepdims": FLAG}),
    "ArgMax": ([Z % 3], 21, {"axis": st.integers(-2, 1), "keepdims": FLAG, "select_last_index": FLAG}),
    "ArgMin": ([Z % 3], 21, {"axis": st.integers(-2, 1), "keepdims": FLAG, "select_last_index": FLAG}),
    "Softmax": ([C], 21, {"axis": AXIS}),
    "LogSoftmax": ([C], 11, {"axis": AXIS}),
    "CumSum": ([C, init(1)], 21, {"exclusive": FLAG, "reverse": FLAG}),
    "LayerNormalization": ([C, V], 21, {"axis": st.just(-1), "epsilon": st.floats(0, 1, width=32)}),
    "BatchNormalization": (
        [C, V[:3], V[:3], V[1:], np.abs(V[:3])],
        21,
        {"epsilon": st.floats(0.125, 1, width=32), "momentum": st.floats(0, 1, width=32)},
    ),
    "Flatten": ([C], 21, {"axis": st.integers(-3, 3)}),
    "Transpose": ([C], 21, {"perm": st.permutations([0, 1, 2])}),
    "Concat": ([C, C], 21, {"axis": AXIS}),
    "Trilu": ([C], 21, {"upper": FLAG}),
    "Gather": ([C, np.asarray([[0, -1], [1, 1]])], 21, {"axis": AXIS}),
    "GatherElements": ([C, np.zeros((2, 3, 4), np.int64)], 21, {"axis": AXIS}),
    "Shape": ([C], 21, {"start": st.integers(-5, 5), "end": st.integers(-5, 5)}),
    "Squeeze": ([C[:1, :, None]], 11, {"axes": st.lists(st.sampled_from([0, 2]), min_size=1, unique=True)}),
    "Unsqueeze": ([C], 11, {"axes": st.lists(st.integers(0, 3), min_size=1, max_size=2, unique=True)}),
    "Slice": (
        [C],
        9,
        {"starts": st.tuples(*[st.integers(-5, 5)] * 3), "ends": st.tuples(*[st.integers(-5, 5)] * 3)},
    ),
    "Pad": ([C], 10, {"pads": st.tuples(*[st.integers(0, 2)] * 6), "value": ALPHA}),
    "Reshape": ([np.zeros((0, 3), np.float32), init([0, 3])], 21, {"allowzero": FLAG}),
    "Dropout": ([M], 10, {"ratio": st.floats(0, 0.875, width=32)}),
    "Gemm": ([M, N.T.copy(), V[:3]], 21, {"alpha": ALPHA, "beta": ALPHA}),
}


def compare(path: Path, op: str, inputs: list[Any], opset: int, attributes: dict[str, Any]) -> None:
    names = [f"x{i}" for i in range(len(inputs))]
    held = {n: v for n, v in zip(names, inputs, strict=True) if type(v) is type(IN_C)}
    fed = {n: v for n, v in zip(names, inputs, strict=True) if n not in held}
    build([helper.make_node(op, names, ["y"], **attributes)], fed, held, ["y"], path, opset)
    (expected,) = onnx_peer.run(path, *fed.values())
    found = wf.load(path)(*fed.values())
    assert found.numpy().dtype == expected.dtype and found.shape == expected.shape
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("op", DRAWN)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_attributes_mean_what_onnx_runtime_says(op: str, tmp_path: Path, data: st.DataObject) -> None:
    inputs, opset, strategies = DRAWN[op]
    drawn = {name: data.draw(strategy, name) for name, strategy in strategies.items()}
    optional = [n for n, a in defs.get_schema(op, opset, "").attributes.items() if not a.required]
    attributes = {n: v for n, v in drawn.items() if n not in optional or data.draw(st.integers(0, 3))}
    compare(tmp_path / "f.onnx", op, inputs, opset, attributes)


def test_reductions_of_no_axes_still_compute(tmp_path: Path) -> None:
    """``noop_with_empty_axes`` leaves out the reduction, not what is computed before and after it."""
    expected = {"ReduceSum": P, "ReduceSumSquare": P * P, "ReduceLogSum": np.log(P), "ReduceL2": P, "ReduceMean": P}
    for op, result in expected.items():
        node = helper.make_node(op, ["x"], ["y"], noop_with_empty_axes=1)
        build([node], {"x": P}, {}, ["y"], tmp_path / "f.onnx")
        np.testing.assert_allclose(wf.load(tmp_path / "f.onnx")(P).numpy(), result, rtol=1e-6)


def test_quotients_of_the_least_integer(tmp_path: Path) -> None:
    least = np.asarray([-(2**63), -(2**63), -(2**63), 7, -7, 7], np.int64)
    by = np.asarray([3, -3, 1, -2, 2, 0], np.int64)
    nodes = [helper.make_node("Div", ["x", "y"], ["q"]), helper.make_node("Mod", ["x", "y"], ["r"], fmod=1)]
    build(nodes, {"x": least, "y": by}, {}, ["q", "r"], tmp_path / "f.onnx")
    q, r = (t.tolist() for t in wf.load(tmp_path / "f.onnx")(least, by))
    third = 2**63 // 3
    assert q == [-third, third, -(2**63), -3, -3, 0]
    assert r[:5] == [-(2**63 - 3 * third), -(2**63 - 3 * third), 0, 1, -1]


# --- what is refused --------------------------------------------------------------------------------------------


def attribute(name: str, value: Any, kind: int | None = None) -> AttributeProto:
    made = helper.make_attribute(name, value)
    made.type = made.type if kind is None else kind
    return made


def node(op: str, inputs: list[str], *attributes: AttributeProto, outputs: int = 1) -> NodeProto:
    made = helper.make_node(op, inputs, [f"y{k}" for k in range(outputs)], name="the\nnode")
    made.attribute.extend(attributes)
    return made


def text(name: str, value: str) -> AttributeProto:
    return attribute(name, value)


F32 = {"x": M}
IMAGE = {"image": np.ones((1, 2, 5), np.float32)}
REFUSED: dict[str, tuple[NodeProto, dict[str, Any], str]] = {
    "unknown": (node("Relu", ["x"], attribute("alpha", 1.0)), F32, "no attribute 'alpha' in this opset; it has none"),
    "misspelt": (
        node("Elu", ["x"], attribute("alhpa", 1.0)),
        F32,
        "no attribute 'alhpa' in this opset; it has 'alpha'",
    ),
    "twice": (node("Elu", ["x"], attribute("alpha", 1.0), attribute("alpha", 2.0)), F32, "'alpha' is given twice"),
    "an int for a float": (node("Elu", ["x"], attribute("alpha", 1)), F32, "'alpha' is of type INT, not FLOAT"),
    "a type that says nothing": (node("Elu", ["x"], attribute("alpha", 1.0, 0)), F32, "of type UNDEFINED, not FLOAT"),
    "a flag of 2": (node("ReduceSum", ["x"], attribute("keepdims", 2)), F32, "'keepdims' is 2, not 0 or 1"),
    "a word": (
        node("Gelu", ["x"], text("approximate", "fast")),
        F32,
        "'approximate' is 'fast'; weft has 'none', 'tanh'",
    ),
    "missing": (node("Cast", ["x"]), F32, "'to' is missing"),
    "of a newer opset": (node("Cast", ["x"], attribute("to", 1), text("round_mode", "up")), F32, "no attribute"),
    "an element type": (node("Cast", ["x"], attribute("to", 999)), F32, "element type 999"),
    "an axis": (node("Softmax", ["x"], attribute("axis", 7)), F32, "axis 7 is out of range"),
    "an axis to flatten at": (node("Flatten", ["x"], attribute("axis", 9)), F32, "axis 9 is out of range"),
    "a permutation": (node("Transpose", ["x"], attribute("perm", [0, 0])), F32, "node 'the\\?node' of type Transpose"),
    "training": (node("Dropout", ["x", "", "true"]), F32, "training_mode is not supported"),
    "a sparse value": (node("Constant", [], text("value_string", "a")), {}, "'value_string' is not supported"),
    "two values": (node("Constant", [], attribute("value_int", 1), attribute("value_float", 1.0)), {}, "2 values"),
    "a mode": (node("Pad", ["x", "pads"], text("mode", "reflect")), F32, "'mode' is 'reflect'; weft has 'constant'"),
    "a reduction": (
        node("ScatterND", ["x", "at", "x"], text("reduction", "mul")),
        F32,
        "'reduction' is 'mul'; weft has 'none', 'add'",
    ),
    "sums of bools": (node("ReduceSum", ["x"]), {"x": M > 0}, r"input 0 \(data\) is bool, which the op does not take"),
    "two dtypes": (node("Add", ["x", "at"]), F32, r"input 1 \(B\) is int64 where another input is float32"),
    "an input too many": (node("Relu", ["x", "x"]), F32, "it has 2 inputs"),
    "an input too few": (node("Add", ["x"]), F32, "it has 1 inputs"),
    "an input left out": (node("Add", ["x", ""]), F32, "input 1 is missing"),
    "an output too many": (node("Relu", ["x"], outputs=2), F32, "it has 2 outputs"),
    "bounds that cross": (node("Clip", ["x"], attribute("min", 1.0), attribute("max", 0.0)), F32, "no attribute 'min'"),
    "a step of 0": (node("Slice", ["x", "zero", "one", "zero", "zero"]), F32, "step of 0"),
    "lists that do not fit": (node("Slice", ["x", "zero", "pads"]), F32, "1 starts, 4 ends"),
    "floats without fmod": (node("Mod", ["x", "x"]), F32, "want fmod=1"),
    "an op of a later opset": (node("Swish", ["x"]), F32, "opset 21 has no such op"),
    "pads of a whole window": (
        node("MaxPool", ["image"], attribute("kernel_shape", [2]), attribute("pads", [2, 0])),
        IMAGE,
        "node 'the\\?node' of type MaxPool: its attribute 'pads' has 2, and a window is 2 long",
    ),
    "a kernel of two axes for one": (
        node("AveragePool", ["image"], attribute("kernel_shape", [2, 2])),
        IMAGE,
        r"of type AveragePool: an operand of shape \(1, 2, 5\) with a kernel_shape \(2, 2\)",
    ),
    "strides of two axes for one": (
        node("MaxPool", ["image"], attribute("kernel_shape", [2]), attribute("strides", [1, 1])),
        IMAGE,
        r"of type MaxPool: its attribute 'strides' is \(1, 1\) for 1 axes",
    ),
    "negative pads": (
        node("AveragePool", ["image"], attribute("kernel_shape", [2]), attribute("pads", [0, -1])),
        IMAGE,
        r"its attribute 'pads' is \(0, -1\)",
    ),
    "two sorts of padding": (
        node(
            "MaxPool", ["image"], attribute("kernel_shape", [2]), attribute("pads", [0, 1]), text("auto_pad", "VALID")
        ),
        IMAGE,
        r"attributes 'auto_pad' \(VALID\) and 'pads' \(\(0, 1\)\) exclude each other",
    ),
    "a padding that there is not": (
        node("MaxPool", ["image"], attribute("kernel_shape", [2]), text("auto_pad", "SAME")),
        IMAGE,
        "'auto_pad' is 'SAME'; weft has 'NOTSET'",
    ),
    "a storage order": (
        node("MaxPool", ["image"], attribute("kernel_shape", [2]), attribute("storage_order", 2)),
        IMAGE,
        "'storage_order' is 2, not 0 or 1",
    ),
    "windows larger than the image": (
        node("MaxPool", ["image"], attribute("kernel_shape", [6])),
        IMAGE,
        "fewer than a window: 6",
    ),
    "a pool of no axes": (node("GlobalMaxPool", ["x"]), F32, "no axes after batch and channels"),
    "the determinant of what is not square": (node("Det", ["x"]), F32, "of type Det"),
    "a range of steps of 0": (node("Range", ["zero0", "one0", "zero0"]), {}, "in steps of 0"),
}
HELD = {"true": True, "pads": [0, 0, 0, 1], "at": [[0], [1], [2]], "zero": [0], "one": [1], "zero0": 0, "one0": 1}


def write(
    path: Path, nodes: list[NodeProto], inputs: dict[str, Any], constants: dict[str, Any], opset: int = 21
) -> None:
    """A model that no checker has looked at."""
    ins = [
        helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for k, v in inputs.items()
    ]
    outs = [helper.make_tensor_value_info(nodes[-1].output[0], 0, None)]
    graph = helper.make_graph(
        nodes, "model", ins, outs, [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    )
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]).SerializeToString())


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what: str, tmp_path: Path) -> None:
    made, inputs, message = REFUSED[what]
    write(tmp_path / "f.onnx", [made], inputs, HELD)
    with pytest.raises(FormatError, match=message):
        wf.load(tmp_path / "f.onnx")


@pytest.mark.parametrize("opset", [0, 1, OLDEST - 1, NEWEST + 1, 2**62])
def test_opsets_that_nobody_has_looked_at(opset: int, tmp_path: Path) -> None:
    write(tmp_path / "f.onnx", [node("Relu", ["x"])], F32, {}, opset)
    with pytest.raises(FormatError, match=f"of opset {opset}; weft reads opsets {OLDEST} to {NEWEST}"):
        wf.load(tmp_path / "f.onnx")


NUMPY = {"float": np.float32, "double": np.float64, **{n: np.dtype(n) for n in ("float16", "bool")}} | {
    f"{u}int{b}": np.dtype(f"{u}int{b}") for u in ("", "u") for b in (8, 16, 32, 64)
}
POINTWISE = [op for op, versions in OPS.items() if set(versions) == {1} and not signature_of(versions[1]).attributes]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", NUMPY)
@pytest.mark.parametrize("op", [op for op in POINTWISE if op not in ("Range", "Shape", "Size", "Expand", "Tile")])
def test_an_element_type_is_refused_or_computed_in(op: str, name: str, tmp_path: Path) -> None:
    """Nothing loads that cannot be called."""
    opset = NEWEST if defs.onnx_opset_version() >= NEWEST else defs.onnx_opset_version()
    schema = defs.get_schema(op, opset, "")
    array = np.ones((2, 2, 2) if op.startswith("Global") else (2, 2), NUMPY[name])
    inputs = {f"x{i}": array for i in range(min(schema.max_input, 3))}
    allowed = all(f"tensor({name})" in i.types for i in schema.inputs)
    write(tmp_path / "f.onnx", [helper.make_node(op, list(inputs), ["y"])], inputs, {}, opset)
    if not allowed:
        with pytest.raises(FormatError, match="which the op does not take"):
            wf.load(tmp_path / "f.onnx")
        return
    if op == "CastLike" or (op == "Where" and name != "bool"):
        return
    result = wf.load(tmp_path / "f.onnx")(*inputs.values())
    wanted = schema.outputs[0].types
    assert f"tensor({next(k for k, v in NUMPY.items() if v == result.numpy().dtype)})" in wanted
    assert schema.outputs[0].type_str != schema.inputs[0].type_str or result.numpy().dtype == NUMPY[name]


# --- indices ----------------------------------------------------------------------------------------------------

OUTSIDE = [[[0, 5]], [[1, -4]], [[2, 0]], [[-3, 0]], [[0, 2**62]], [[0, -(2**63)]], [[2**63 - 1, 2**63 - 1]]]


def check_outside(path: Path, made: NodeProto, index: Any, updates: Any = None) -> None:
    x = np.zeros((2, 3), np.float32)
    inputs = {"x": x, "i": np.asarray(index), **({} if updates is None else {"u": updates})}
    write(path, [made], inputs, {})
    loaded = wf.load(path)
    with pytest.raises(IndexError):
        loaded(*inputs.values()).numpy()


@pytest.mark.parametrize("index", OUTSIDE, ids=str)
@pytest.mark.parametrize("reduction", ["none", "add"])
def test_indices_outside_are_found(reduction: str, index: list[list[int]], tmp_path: Path) -> None:
    path, one = tmp_path / "f.onnx", np.ones(1, np.float32)
    scatter = helper.make_node("ScatterND", ["x", "i", "u"], ["y"], reduction=reduction)
    check_outside(path, scatter, index, one)
    check_outside(path, helper.make_node("GatherND", ["x", "i"], ["y"]), index)
    for axis in (0, 1):
        at = index[0][axis]
        if not -[2, 3][axis] <= at < [2, 3][axis]:
            elements = helper.make_node("ScatterElements", ["x", "i", "u"], ["y"], reduction=reduction, axis=axis)
            check_outside(path, elements, [[at]], one[None])
            check_outside(path, helper.make_node("GatherElements", ["x", "i"], ["y"], axis=axis), [[at]])
            check_outside(path, helper.make_node("Gather", ["x", "i"], ["y"], axis=axis), [at])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_scattered_sums(tmp_path: Path, data: st.DataObject) -> None:
    """Against the meaning: in order, wherever the indices lie within."""
    shape = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    depth = data.draw(st.integers(1, len(shape)))
    count = data.draw(st.integers(0, 5))
    index = np.asarray(
        [[data.draw(st.integers(-n, n - 1)) for n in shape[:depth]] for _ in range(count)], np.int64
    ).reshape(count, depth)
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    updates = np.arange(count * np.prod(shape[depth:], dtype=int), dtype=np.float32).reshape(count, *shape[depth:])
    made = helper.make_node("ScatterND", ["x", "i", "u"], ["y"], reduction="add")
    write(tmp_path / "f.onnx", [made], {"x": x, "i": index, "u": updates}, {})
    expected = x.copy()
    np.add.at(expected, tuple(index.T), updates)
    assert np.array_equal(wf.load(tmp_path / "f.onnx")(x, index, updates).numpy(), expected)
