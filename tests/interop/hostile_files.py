"""Files that ask for too much, each to be read in a process with little memory: ``python hostile_files.py``.

Prints one line a file: what became of it. The parent (test_hostile_files.py) looks at the exit status and the lines.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

import weft as wf

MEMORY = 1 << 30  # bytes that reading and calling may take beyond what the imports took
LONG = 2**62


def node(op: str, *inputs: str, out: str = "y", **attributes: Any) -> NodeProto:
    return helper.make_node(op, list(inputs), [out], **attributes)


def chain(count: int, make: Callable[[str, str], NodeProto]) -> list[NodeProto]:
    """``count`` nodes, each over the one before; "c" is the first value and "y" the last."""
    names = ["c", *(f"v{k}" for k in range(1, count)), "y"]
    return [make(a, b) for a, b in pairwise(names)]


def model(nodes: list[NodeProto], constants: dict[str, Any] | None = None, sizes: list[Any] | None = None) -> bytes:
    """One input ``x`` (float32) and one output ``y``."""
    held = [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()]
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3] if sizes is None else sizes)]
    graph = helper.make_graph(nodes, "hostile", given, [helper.make_tensor_value_info("y", 0, None)], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]).SerializeToString()


def same(op: str) -> Callable[[str, str], NodeProto]:
    return lambda a, b: node(op, a, a, out=b)


def doubled(a: str, b: str) -> NodeProto:
    return node("Concat", a, a, out=b, axis=0)


def files() -> Iterator[tuple[str, bytes]]:
    """Name and content. Those whose names begin with "fine" are to be loaded and called."""
    three = np.asarray([3, 5])
    yield "fine: squares of a constant wrap", model(chain(60, same("Mul")), {"c": three})
    yield "fine: squares of an int32 constant", model(chain(60, same("Mul")), {"c": three.astype(np.int32)})
    yield "fine: doubled sums", model(chain(200, same("Add")), {"c": three})
    yield "fine: doubled sums of floats", model(chain(60, same("Add")), {"c": np.float32([1, 2])})
    yield "fine: a thousand elements", model(chain(9, doubled), {"c": three})
    yield "fine: ten thousand elements", model(chain(13, doubled), {"c": three})
    for count in (27, 40, 64, 200):
        yield f"{count} doublings of a constant", model(chain(count, doubled), {"c": three})
        yield f"{count} doublings of floats", model(chain(count, doubled), {"c": np.float32([1])})
    shape = [node("Shape", "x", out="c")]
    yield "squares of a size", model([*shape, *chain(33, same("Mul"))], sizes=["n", 3])
    yield "sums of a size", model([*shape, *chain(100, same("Add"))], sizes=["n", 3])
    sums = [node("ReduceSum", "x", out="c")]
    yield "fine: sums of what is computed", model([*sums, *chain(60, same("Add"))])
    names = [f"n{k}" for k in range(60)]
    yield (
        "a size of many names",
        model(
            [node("Size", "x", out="s"), node("Unsqueeze", "s", "zero", out="t"), node("Reshape", "x", "t")],
            {"zero": [0]},
            [" + ".join(names[:40])] * 60,
        ),
    )
    yield "a long name of a size", model([node("Relu", "x")], sizes=["*".join(["n"] * 50_000), 3])
    yield "a size of many terms", model([node("Relu", "x")], sizes=[" + ".join(f"n{k}" for k in range(30_000))])
    for huge in ([LONG], [2**40, 2**40], [0, LONG, LONG], [1] * 65, [-5]):
        yield f"ConstantOfShape {huge[:3]}", model([node("ConstantOfShape", "c")], {"c": huge})
        yield f"Expand {huge[:3]}", model([node("Expand", "one", "c")], {"c": huge, "one": np.float32(1)})
        yield f"Reshape {huge[:3]}", model([node("Reshape", "x", "c")], {"c": huge})
    yield "Tile", model([node("Tile", "x", "c")], {"c": [LONG, LONG]})
    yield "Tile of nothing", model([node("Tile", "x", "c")], {"c": [0, -1]})
    yield "Range", model([node("Range", "a", "b", "c")], {"a": 0, "b": LONG, "c": 1})
    yield (
        "Range of floats",
        model([node("Range", "a", "b", "c")], {k: np.float32(v) for k, v in zip("abc", (0, np.inf, 1))}),
    )
    yield "Range of small steps", model([node("Range", "a", "b", "c")], {"a": 0.0, "b": 1.0, "c": 5e-324})
    yield "Pad", model([node("Pad", "x", "c")], {"c": [LONG, 0, 0, LONG]})
    yield "Pad backwards", model([node("Pad", "x", "c")], {"c": [-(2**63), 0, 0, 0]})
    yield "Trilu", model([node("Trilu", "x", "c")], {"c": 2**63 - 1})
    yield "Split", model([node("Split", "x", num_outputs=LONG)])
    yield "axes", model([node("Unsqueeze", "x", "c")], {"c": list(range(70))})
    yield "an axis", model([node("Softmax", "x", axis=-(2**63))])
    yield "a quotient by 0", model([node("Div", "c", "z")], {"c": three, "z": [0, 0]})
    yield "the least by -1", model([node("Div", "c", "z")], {"c": [-(2**63)], "z": [-1]})
    yield "a vast input", model([node("Relu", "x")], sizes=[2**40, 2**40])
    yield from tensors()


def tensors() -> Iterator[tuple[str, bytes]]:
    """Initializers that are not what they say."""

    def held(**fields: Any) -> bytes:
        made = model([node("Add", "x", "w")])
        changed = helper.make_model(helper.make_graph([], "g", [], [])).FromString(made)
        changed.graph.initializer.append(TensorProto(name="w", data_type=TensorProto.FLOAT, **fields))
        return changed.SerializeToString()

    yield "fine: three numbers", held(dims=[3], float_data=[1, 2, 3])
    yield "a vast tensor without data", held(dims=[2**40])
    yield "a vast tensor of few bytes", held(dims=[2**31, 2**31], raw_data=b"1234")
    yield "a vast empty tensor", held(dims=[0, LONG, LONG], raw_data=b"")
    yield "a negative size", held(dims=[-1], raw_data=b"")
    yield "numbers too few", held(dims=[2**33], float_data=[1.0])
    for place in ("../../../../etc/passwd", "/etc/passwd", "/dev/zero", "weights.bin", ""):
        entries = [helper.make_tensor("t", 1, [1], [0.0])]
        entries[0].external_data.add(key="location", value=place)
        yield (
            f"data in {place!r}",
            held(dims=[3], data_location=TensorProto.EXTERNAL, external_data=entries[0].external_data),
        )


def look(name: str, content: bytes, path: Path) -> str:
    """What becomes of one file; anything but weft's errors ends the process."""
    path.write_bytes(content)
    try:
        loaded = wf.load(path)
    except wf.FormatError as error:
        return f"FormatError: {error.message}"
    try:
        args = [
            np.zeros([3 if not isinstance(n, int) else n for n in t.shape], np.float32) for t in loaded.inputs.values()
        ]
        result = loaded(*args)
    except wf.WeftError as error:
        return f"loads, then {type(error).__name__}: {error.message}"
    for value in result if isinstance(result, tuple) else (result,):
        value.numpy()
    return "runs"


def main() -> None:
    """All files."""
    with open("/proc/self/statm") as status:
        used = int(status.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    path = Path(tempfile.mkdtemp()) / "f.onnx"
    for name, content in files():
        start = time.perf_counter()
        text = look(name, content, path)
        print(f"{name} | {time.perf_counter() - start:.1f} s | {text[:150]!r}", flush=True)
        if name.startswith("fine") and text != "runs":
            sys.exit(f"{name}: {text}")


if __name__ == "__main__":
    main()
