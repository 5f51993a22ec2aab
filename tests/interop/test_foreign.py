"""Models of other tools: what weft computes from them is what ONNX Runtime computes, or the op is named."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_peer
import pytest
from onnx import TensorProto, helper, numpy_helper

import weft as wf
from weft.core.errors import FormatError
from weft.interop.onnx.foreign.ops import OPS

RNG = np.random.default_rng(0)
M = RNG.normal(size=(3, 4)).astype(np.float32)
N = RNG.normal(size=(3, 4)).astype(np.float32)
V = RNG.normal(size=(4,)).astype(np.float32)
C = RNG.normal(size=(2, 3, 4)).astype(np.float32)
P = np.abs(M) + 1.5
U = np.clip(M, -0.9, 0.9)
B, D = M > 0, N > 0
Z, J = RNG.integers(-9, 9, (3, 4)), RNG.integers(1, 9, (3, 4))
K = np.asarray([[0, 2, -1, 1]])


class Init(np.ndarray):
    """An input that the model holds as an initializer."""


def init(values: Any, dtype: Any = np.int64) -> Any:
    return np.asarray(values, dtype).view(Init)


Case = tuple[str, list[Any], dict[str, Any]]


def cases() -> list[Case]:
    """``(op, inputs, attributes)``; None is an input that is left out, and ``outputs`` no attribute."""
    found: list[Case] = []

    def add(op: str, *inputs: Any, **attributes: Any) -> None:
        found.append((op, list(inputs), attributes))

    for op in (
        "Abs",
        "Asinh",
        "Atan",
        "Ceil",
        "Cos",
        "Cosh",
        "Erf",
        "Exp",
        "Floor",
        "HardSwish",
        "Identity",
        "Mish",
        "Neg",
        "Relu",
        "Round",
        "Sigmoid",
        "Sign",
        "Sin",
        "Sinh",
        "Softplus",
        "Softsign",
        "Tan",
        "Tanh",
        "Elu",
        "HardSigmoid",
        "LeakyRelu",
        "Selu",
        "IsNaN",
        "Dropout",
        "Gelu",
    ):
        add(op, M)
    for op in ("Acosh", "Log", "Reciprocal", "Sqrt"):
        add(op, P)
    for op in ("Acos", "Asin", "Atanh"):
        add(op, U)
    for op in (
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Max",
        "Min",
        "Sum",
        "Mean",
        "Greater",
        "GreaterOrEqual",
        "Less",
        "LessOrEqual",
        "PRelu",
    ):
        add(op, M, V)
    for op in ("Add", "Sub", "Mul", "Div", "Mod", "Equal", "Less", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Max"):
        add(op, Z, J)
    for op in ("And", "Or", "Xor"):
        add(op, B, D)
    add("Swish", M)
    add("Not", B)
    add("BitwiseNot", Z)
    add("Sum", M, N, V)
    add("Mod", M, N, fmod=1)
    add("Mod", Z, J, fmod=1)
    add("Pow", P, V)
    add("Pow", P, init([2, 3, 1, 0]))
    add("BitShift", np.abs(Z).astype(np.uint64), J.astype(np.uint64), direction="LEFT")
    add("BitShift", (np.abs(Z) * 999).astype(np.uint64), J.astype(np.uint64), direction="RIGHT")
    add("IsInf", np.float32([1, np.inf, -np.inf, np.nan]))
    add("IsInf", np.float32([1, np.inf, -np.inf, np.nan]), detect_negative=0)
    add("Gelu", M, approximate="tanh")
    add("Clip", M, init(-0.5, np.float32), init(0.5, np.float32))
    add("Clip", M, None, init(0.5, np.float32))
    add("Cast", M, to=TensorProto.INT32)
    add("Cast", Z, to=TensorProto.DOUBLE)
    add("CastLike", Z, V)
    add("Where", B, M, N)
    for op in (
        "ReduceSum",
        "ReduceProd",
        "ReduceMax",
        "ReduceMin",
        "ReduceMean",
        "ReduceLogSumExp",
        "ReduceSumSquare",
        "ReduceL1",
        "ReduceL2",
    ):
        add(op, C, init([0, -1]))
        add(op, C, init([1]), keepdims=0)
        add(op, C)
    add("ReduceLogSum", P, init([1]))
    add("ReduceSum", C, init([]), noop_with_empty_axes=1)
    for op in ("ArgMax", "ArgMin"):
        add(op, C, axis=1)
        add(op, C, axis=-1, keepdims=0)
    for op in ("Softmax", "LogSoftmax"):
        add(op, C)
        add(op, C, axis=1)
    add("CumSum", M, init(1))
    add("CumSum", M, init(0), reverse=1, exclusive=1)
    add("MatMul", C, V)
    add("MatMul", C, M.T)
    add("Gemm", M, N, V[:3], transB=1, alpha=0.5, beta=2.0)
    add("Gemm", M, N, transA=1)
    image, kernel = np.arange(2 * 4 * 7 * 6, dtype=np.float32).reshape(2, 4, 7, 6) % 5, M.reshape(3, 4, 1, 1)
    weight = RNG.normal(size=(6, 2, 3, 2)).astype(np.float32)
    add("Conv", image, kernel, V[:3])
    add("Conv", image, weight, group=2, kernel_shape=[3, 2])
    add("Conv", image, weight, group=2, pads=[1, 0, 2, 3], strides=[2, 3], dilations=[2, 1])
    for auto_pad in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        add("Conv", image, weight, group=2, auto_pad=auto_pad, strides=[2, 1])
    add("Conv", C, np.ones((5, 3, 2), np.float32), pads=[1, 0])
    add("Conv", image[None, :, :3], np.ones((2, 2, 2, 1, 2), np.float32))
    line, volume = RNG.permutation(2 * 3 * 11).reshape(2, 3, 11), RNG.permutation(2 * 3 * 4 * 6).reshape(1, 2, 3, 4, 6)
    for op in ("MaxPool", "AveragePool"):
        counted = [{}] if op == "MaxPool" else [{"count_include_pad": 0}, {"count_include_pad": 1}]
        for ceil_mode, more in itertools.product((0, 1), counted):
            options = {"ceil_mode": ceil_mode, **more}
            add(op, image, kernel_shape=[3, 2], **options)
            add(op, image, kernel_shape=[3, 2], pads=[1, 0, 2, 1], strides=[2, 4], **options)
            add(op, image, kernel_shape=[2, 3], pads=[1, 1, 0, 2], strides=[3, 2], dilations=[3, 2], **options)
            add(op, line.astype(np.float32), kernel_shape=[4], pads=[3, 3], strides=[3], **options)
            add(op, volume.astype(np.float32), kernel_shape=[2, 1, 3], pads=[0, 0, 1, 1, 0, 1], **options)
            for auto_pad in ("SAME_UPPER", "SAME_LOWER", "VALID"):
                add(op, image, kernel_shape=[3, 4], auto_pad=auto_pad, strides=[2, 3], **options)
        add(op, image.astype(np.float16), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for dtype in (np.float64, np.int8, np.uint8):
        add("MaxPool", (line - 30).astype(dtype), kernel_shape=[3], pads=[1, 2], strides=[2])
    for storage_order in (0, 1):
        add(
            "MaxPool",
            image,
            kernel_shape=[3, 2],
            pads=[1, 1, 1, 0],
            strides=[2, 1],
            storage_order=storage_order,
            outputs=2,
        )
        add("MaxPool", image, kernel_shape=[2, 2], dilations=[2, 3], storage_order=storage_order, outputs=2)
        add(
            "MaxPool",
            volume.astype(np.float64),
            kernel_shape=[2, 3, 2],
            ceil_mode=1,
            storage_order=storage_order,
            outputs=2,
        )
        add("MaxPool", line.astype(np.int8), kernel_shape=[2], storage_order=storage_order, outputs=2)
    for op in ("GlobalAveragePool", "GlobalMaxPool"):
        for given in (image, line.astype(np.float32), volume.astype(np.float32), image.astype(np.float16)):
            add(op, given)
    add("Det", np.asarray([[1.0, 2.0], [3.0, 5.0]], np.float32))
    add("Det", np.asarray([[1.0, 2.0], [3.0, 5.0]], np.float16))
    add("Det", RNG.normal(size=(2, 3, 4, 4)).astype(np.float32))
    add("LayerNormalization", C, V, V, axis=-1, epsilon=1e-3)
    add("LayerNormalization", C, np.ones((3, 4), np.float32), axis=1)
    add("RMSNormalization", C, V)
    add("BatchNormalization", C, V[:3], V[:3], V[1:], np.abs(V[:3]))
    add("Reshape", C, init([0, -1]))
    add("Reshape", C, init([4, 1, 6]))
    for axis in (0, 1, 2, 3, -1):
        add("Flatten", C, axis=axis)
    add("Transpose", C)
    add("Transpose", C, perm=[1, 0, 2])
    add("Expand", V, init([2, 1, 4]))
    add("Squeeze", C[:1], init([0]))
    add("Squeeze", C[:1])
    add("Unsqueeze", C, init([0, -1]))
    add("Concat", M, N, axis=-1)
    add("Split", C, init([1, 3]), axis=-1, outputs=2)
    add("Split", C, axis=0, num_outputs=2, outputs=2)
    add("Slice", C, init([1, -3]), init([2**62, -1]), init([0, 2]))
    add("Slice", C, init([-1]), init([-(2**63)]), init([2]), init([-2]))
    add("Slice", C, init([0, 1]), init([1, 3]))
    add("Pad", M, init([1, 0, 2, 3]), init(7, np.float32))
    add("Pad", M, init([1, 2]), None, init([1]))
    add("Tile", M, init([2, 3]))
    for k in (-1, 0, 1):
        add("Trilu", C, init(k), upper=0)
        add("Trilu", C, init(k), upper=1)
    add("Gather", C, K, axis=1)
    add("Gather", C, init(1), axis=-1)
    add("GatherElements", M, K, axis=0)
    add("GatherND", C, init([[0, 1], [1, -1]]))
    for reduction in ("none", "add"):
        add("ScatterND", M, init([[1], [0]]), N[:2], reduction=reduction)
        add("ScatterND", M, init([[1, 2], [0, -1]]), V[:2], reduction=reduction)
        add("ScatterElements", M, init([[0, 2, 1, 1]]), N[:1], axis=0, reduction=reduction)
    add("Constant", value=numpy_helper.from_array(M))
    add("Constant", value_floats=[1.0, 2.0])
    add("Constant", value_ints=[1, 2])
    add("Constant", value_float=1.5)
    add("ConstantOfShape", init([2, 3]))
    add("ConstantOfShape", init([2]), value=numpy_helper.from_array(np.asarray([7], np.int32)))
    add("Range", init(1), init(9), init(3))
    add("Range", init(1.0, np.float32), init(2.0, np.float32), init(0.25, np.float32))
    add("Shape", C)
    add("Shape", C, start=1)
    add("Size", C)
    return found


def build(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, Any],
    constants: dict[str, Any],
    outputs: list[str],
    path: Path,
    opset: int = 21,
    symbolic: dict[str, list[Any]] | None = None,
) -> None:
    """Write a model without any note of weft's."""
    given = [
        helper.make_tensor_value_info(
            k, helper.np_dtype_to_tensor_dtype(v.dtype), (symbolic or {}).get(k, list(v.shape))
        )
        for k, v in inputs.items()
    ]
    made = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "model", given, [onnx.ValueInfoProto(name=o) for o in outputs], made)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    path.write_bytes(inferred.SerializeToString())


@pytest.mark.parametrize(("op", "inputs", "attributes"), cases(), ids=lambda v: v if isinstance(v, str) else "")
def test_op(op: str, inputs: list[Any], attributes: dict[str, Any], tmp_path: Path) -> None:
    names = ["" if v is None else f"x{i}" for i, v in enumerate(inputs)]
    fed = {n: v for n, v in zip(names, inputs, strict=True) if v is not None and not isinstance(v, Init)}
    held = {n: v for n, v in zip(names, inputs, strict=True) if isinstance(v, Init)}
    attributes = dict(attributes)
    outputs = [f"y{k}" for k in range(attributes.pop("outputs", 1))]
    opset = {"RMSNormalization": 23, "Swish": 24}.get(op, 21)
    path = tmp_path / "f.onnx"
    build([helper.make_node(op, names, outputs, **attributes)], fed, held, outputs, path, opset)
    found = wf.load(path)(*fed.values())
    expected = onnx_peer.run(path, *fed.values())
    for a, b in zip(found if isinstance(found, tuple) else (found,), expected, strict=True):
        assert a.numpy().dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-5, atol=1e-6)


def test_every_op_has_a_case() -> None:
    assert {op for op, _, _ in cases()} == set(OPS)


def test_softmax_over_an_axis_without_elements(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Softmax", ["x"], ["p"], axis=1),
        helper.make_node("LogSoftmax", ["x"], ["q"], axis=-1),
        helper.make_node("ReduceLogSumExp", ["x", "at"], ["s"], keepdims=0),
    ]
    path = tmp_path / "f.onnx"
    build(nodes, {"x": M}, {"at": init([1])}, ["p", "q", "s"], path, symbolic={"x": ["n", "m"]})
    for shape in ((3, 4), (3, 0), (0, 4), (0, 0)):
        x = RNG.normal(size=shape).astype(np.float32)
        for a, b in zip(wf.load(path)(x), onnx_peer.run(path, x), strict=True):
            assert a.shape == b.shape
            np.testing.assert_allclose(a.numpy(), b, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("axes", [["batch", 3, 6, 6], ["batch", 3, "n", "n"]], ids=["batch", "size"])
def test_pools_of_any_batch_and_size(axes: list[Any], dtype: Any, tmp_path: Path) -> None:
    """ONNX Runtime has maxima alone in float64: the float64 models are compared with those of float32."""
    step = [1, 1] if "n" in axes else [2, 3]
    nodes = [
        helper.make_node("MaxPool", ["x"], ["m", "at"], kernel_shape=[3, 2], strides=step, pads=[1, 0, 0, 1]),
        helper.make_node("AveragePool", ["x"], ["a"], kernel_shape=[2, 3], strides=step, pads=[0, 1, 1, 2]),
        helper.make_node("AveragePool", ["x"], ["b"], kernel_shape=[2, 3], dilations=[2, 1], count_include_pad=1),
        helper.make_node("GlobalAveragePool", ["x"], ["g"]),
        helper.make_node("GlobalMaxPool", ["x"], ["h"]),
        helper.make_node("Det", ["x"], ["d"]),
    ]
    path, outputs = tmp_path / "f.onnx", ["m", "at", "a", "b", "g", "h", "d"]
    x = RNG.normal(size=(2, 3, 6, 6)).astype(np.float32)
    build(nodes, {"x": x}, {}, outputs, path, symbolic={"x": axes})
    single = path.read_bytes()
    build(nodes, {"x": x.astype(dtype)}, {}, outputs, path, symbolic={"x": axes})
    loaded = wf.load(path)
    path.write_bytes(single)
    for batch, n in ((2, 6), (1, 3), (5, 7), (3, 4)):
        n = n if "n" in axes else 6
        x = RNG.normal(size=(batch, 3, n, n)).astype(np.float32)
        for name, a, b in zip(outputs, loaded(x.astype(dtype)), onnx_peer.run(path, x), strict=True):
            assert a.numpy().dtype == (np.int64 if name == "at" else dtype) and a.shape == b.shape
            np.testing.assert_allclose(a.numpy(), b, rtol=1e-4, atol=1e-5)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(
    "sizes",
    [
        {"kernel_shape": [3, 2], "pads": [1, 0, 2, 1], "strides": [2, 2], "ceil_mode": 1},
        {"kernel_shape": [2, 3], "pads": [1, 1, 0, 2], "dilations": [3, 2], "strides": [2, 3], "ceil_mode": 1},
        {"kernel_shape": [2, 2], "dilations": [2, 3]},
        {"kernel_shape": [2, 1], "dilations": [4, 1], "strides": [3, 4]},
        {"kernel_shape": [3, 2], "strides": [1, 3], "auto_pad": "SAME_LOWER"},
    ],
    ids=str,
)
def test_gradients_of_pools_are_those_of_differences(op: str, sizes: dict[str, Any], tmp_path: Path) -> None:
    path, x = tmp_path / "f.onnx", RNG.permutation(7 * 6 * 2).reshape(1, 2, 7, 6) * 1.0
    build([helper.make_node(op, ["x"], ["y"], **sizes)], {"x": x}, {}, ["y"], path, 22)
    model = wf.load(path)
    weights = wf.asarray(RNG.normal(size=model(x).shape))

    def loss(x: Any) -> Any:
        return (model(x) * weights).sum()

    found, expected = wf.grad(loss)(wf.asarray(x)).numpy(), np.zeros_like(x)
    for at in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[at] = 0.25
        expected[at] = (loss(wf.asarray(x + step)).item() - loss(wf.asarray(x - step)).item()) / 0.5
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_pools_of_padding_alone(tmp_path: Path) -> None:
    """Dilated windows may have nothing but padding in them: a mean of nothing is 0, as in ONNX Runtime."""
    sizes = {"kernel_shape": [2], "pads": [1, 1], "dilations": [2]}
    nodes = [helper.make_node("AveragePool", ["x"], ["a"], **sizes), helper.make_node("MaxPool", ["x"], ["m"], **sizes)]
    build(nodes, {"x": np.ones((1, 1, 1), np.float32)}, {}, ["a", "m"], tmp_path / "f.onnx")
    mean, greatest = wf.load(tmp_path / "f.onnx")(np.ones((1, 1, 1), np.float32))
    assert mean.tolist() == onnx_peer.run(tmp_path / "f.onnx", np.ones((1, 1, 1), np.float32))[0].tolist() == [[[0.0]]]
    assert greatest.tolist() == [[[-np.inf]]]


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
def test_auto_pad_of_dilated_pools_is_the_standards(auto_pad: str, tmp_path: Path) -> None:
    """There are ceil(size / stride) windows, as shape inference says; ONNX Runtime forgets the dilation, and has fewer.
    It is asked with the padding written out: 3 elements."""
    x, sizes = np.arange(1, 9, dtype=np.float32).reshape(1, 1, 8), {"kernel_shape": [3], "strides": [2]}
    pads = [1, 2] if auto_pad == "SAME_UPPER" else [2, 1]
    for op in ("MaxPool", "AveragePool"):
        found = []
        for padding in ({"auto_pad": auto_pad}, {"pads": pads}):
            node = helper.make_node(op, ["x"], ["y"], dilations=[2], **sizes, **padding)
            build([node], {"x": x}, {}, ["y"], tmp_path / "f.onnx", 22)
            found.append(wf.load(tmp_path / "f.onnx")(x).numpy())
        np.testing.assert_allclose(found[0], found[1])
        np.testing.assert_allclose(found[0], onnx_peer.run(tmp_path / "f.onnx", x)[0], rtol=1e-6)


def test_older_opsets_give_axes_as_attributes(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[1], keepdims=1),
        helper.make_node("Unsqueeze", ["m"], ["u"], axes=[0]),
        helper.make_node("Squeeze", ["u"], ["s"], axes=[0]),
        helper.make_node("Softmax", ["x"], ["p"], axis=1),
        helper.make_node("Sub", ["p", "s"], ["y"]),
        helper.make_node("Split", ["y"], ["a", "b"], axis=1, split=[1, 3]),
    ]
    path, x = tmp_path / "f.onnx", RNG.normal(size=(2, 4, 3)).astype(np.float32)
    build(nodes, {"x": x}, {}, ["a", "b"], path, opset=11)
    for a, b in zip(wf.load(path)(x), onnx_peer.run(path, x), strict=True):
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-5, atol=1e-6)


def test_shapes_computed_in_the_graph(tmp_path: Path) -> None:
    """What exporters write for ``x.view(x.size(0), -1, 2)``, with a batch that is not known."""
    one = init([1])
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["n"], axis=0),
        helper.make_node("Unsqueeze", ["n", "at"], ["n1"]),
        helper.make_node("Concat", ["n1", "minus", "two"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["r"]),
        helper.make_node("Slice", ["shape", "at", "one", "at"], ["front"]),
        helper.make_node("Mul", ["front", "two"], ["twice"]),
        helper.make_node("Div", ["twice", "two"], ["half"]),
        helper.make_node("ConstantOfShape", ["half"], ["zeros"]),
        helper.make_node("Cast", ["n"], ["count"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["zeros", "count"], ["z"]),
    ]
    path = tmp_path / "f.onnx"
    constants = {"zero": init(0), "at": init([0]), "one": one, "minus": init([-1]), "two": init([2])}
    x = RNG.normal(size=(3, 8)).astype(np.float32)
    build(nodes, {"x": x}, constants, ["r", "z"], path, symbolic={"x": ["batch", 8]})
    loaded = wf.load(path)
    assert str(loaded.inputs) == "{'x': float32[batch, 8]}" and str(loaded.outputs["r"]) == "float32[batch, 4, 2]"
    for size in (1, 3, 6):
        x = RNG.normal(size=(size, 8)).astype(np.float32)
        for a, b in zip(loaded(x), onnx_peer.run(path, x), strict=True):
            assert np.array_equal(a.numpy(), b)


def test_weights_are_parameters_and_can_be_saved_again(tmp_path: Path) -> None:
    path, again = tmp_path / "f.onnx", tmp_path / "g.onnx"
    build(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
        {"x": M},
        {"w": N.T},
        ["y"],
        path,
        symbolic={"x": ["n", 4]},
    )
    loaded = wf.load(path)
    assert list(loaded.parameters) == ["w"]
    wf.save(loaded, again, example=wf.asarray(M), dynamic={"n": (0, 0)})
    assert wf.verify(again).parameters == 12
    assert np.array_equal(wf.load(again)(M[:1]).numpy(), loaded(M[:1]).numpy())


def test_verify_needs_a_file_of_wefts(tmp_path: Path) -> None:
    build([helper.make_node("Relu", ["x"], ["y"])], {"x": M}, {}, ["y"], tmp_path / "f.onnx")
    with pytest.raises(FormatError, match="not written by weft"):
        wf.verify(tmp_path / "f.onnx")


def change_domain(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.example"
    model.graph.node[0].op_type = "Magic"


def external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


REFUSED: dict[str, tuple[Callable[[onnx.ModelProto], Any], str]] = {
    "an op that weft does not have": (lambda m: setattr(m.graph.node[0], "op_type", "Einsum"), "has the op Einsum"),
    "an op of another domain": (change_domain, r"has the op com\.example\.Magic"),
    "weights in another file": (external, "lies in another file"),
    "an element type": (lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 14), "element type 14"),
    "a value that is not there": (lambda m: m.graph.node[0].input.__setitem__(0, "nowhere"), "'nowhere' before"),
    "shapes that do not fit": (
        lambda m: m.graph.initializer[0].dims.__setitem__(slice(0, 2), [3, 4]),
        "of type MatMul: matmul",
    ),
    "data that is too short": (lambda m: setattr(m.graph.initializer[0], "raw_data", b"abc"), "has 3 bytes, not 48"),
    "an output of nowhere": (lambda m: setattr(m.graph.output[0], "name", "z"), "no node computes the output z"),
    "no shape": (lambda m: m.graph.input[0].type.tensor_type.ClearField("shape"), "not a tensor of known rank"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what: str, tmp_path: Path) -> None:
    change, message = REFUSED[what]
    path = tmp_path / "f.onnx"
    build([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": M}, {"w": N.T.copy()}, ["y"], path)
    model = onnx.load(str(path))
    change(model)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(FormatError, match=message):
        wf.load(path)


def test_sizes_that_are_expressions(tmp_path: Path) -> None:
    """What one axis says of a name, the others have to agree with."""
    path = tmp_path / "f.onnx"
    x, y = np.zeros((5, 2), np.float32), np.ones((2, 5), np.float32)
    build(
        [helper.make_node("MatMul", ["x", "y"], ["z"])],
        {"x": x, "y": y},
        {},
        ["z"],
        path,
        symbolic={"x": ["2*n + 1", "n"], "y": ["n", "2*n + 1"]},
    )
    loaded = wf.load(path)
    assert loaded(x, y).shape == (5, 5)
    with pytest.raises(wf.ShapeError, match="an axis of size 7"):
        loaded(np.zeros((7, 2), np.float32), y)
    build([helper.make_node("Relu", ["x"], ["z"])], {"x": x}, {}, ["z"], path, symbolic={"x": ["2*n + 1", 2]})
    assert wf.load(path)(x).shape == (5, 2)
    with pytest.raises(wf.ShapeError, match="is not known"):
        wf.load(path)(x[:4])
