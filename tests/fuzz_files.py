"""Changed files, each to be refused or to run, in a process of little memory: ``python fuzz_files.py FIRST LAST``.

Seed by seed: an operator's model of :mod:`test_foreign`, or a file of weft's own, is changed in a few places where it
stays a file (attributes, types, constants, names, nodes; records and their parameters, under a right seal). What comes
of it is weft's errors or a result; anything else ends the process, and the last line says with which seed.
"""

from __future__ import annotations

import random
import resource
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, helper, numpy_helper

import weft as wf
from weft import nn
from weft.interop.onnx.container import pack
from weft.interop.onnx.foreign.ops import OPS
from weft.interop.onnx.table import ROWS
from weft.interop.onnx.tags import dumps, loads

MEMORY = 1 << 30
PATIENCE = 120  # seconds, after which a file hangs
NUMBERS = [0, 1, 2, 3, -1, -2, 5, 7, 64, 4096, 2**31 - 1, 2**31, -(2**31), 2**47, 2**62, 2**63 - 1, -(2**63), 10**6]
FLOATS = [0.0, -0.0, 1.0, -1.5, 1e30, float("inf"), float("nan"), 1e-40]
WORDS = ["", "none", "add", "mul", "LEFT", "constant", "edge", "tanh", "x0", "y", "größe", "\0", "\n", "n*n", "2*n + 1"]
ELEMENTS = [1, 2, 3, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 999]
Change = Callable[[random.Random, Any], None]


# --- files of other tools ---------------------------------------------------------------------------------------


def change_attribute(rng: random.Random, model: Any) -> None:
    node = rng.choice(model.graph.node)
    if node.attribute and rng.random() < 0.8:
        attribute = rng.choice(node.attribute)
        if attribute.type == AttributeProto.INT:
            attribute.i = rng.choice(NUMBERS)
        elif attribute.type == AttributeProto.FLOAT:
            attribute.f = rng.choice(FLOATS)
        elif attribute.type == AttributeProto.STRING:
            attribute.s = rng.choice(WORDS).encode()
        elif attribute.type == AttributeProto.INTS:
            attribute.ints[:] = [rng.choice(NUMBERS) for _ in range(rng.randrange(4))]
        if rng.random() < 0.2:
            attribute.type = rng.randrange(15)
        if rng.random() < 0.1:
            node.attribute.append(attribute)
    else:
        name = rng.choice(["axis", "axes", "keepdims", "alpha", "to", "perm", "reduction", "start"])
        value = rng.choice([rng.choice(NUMBERS), rng.choice(FLOATS), rng.choice(WORDS), [1, 0]])
        node.attribute.append(helper.make_attribute(name, value))


def change_input(rng: random.Random, model: Any) -> None:
    if not model.graph.input:
        return
    tensor = rng.choice(model.graph.input).type.tensor_type
    if rng.random() < 0.5:
        tensor.elem_type = rng.choice(ELEMENTS)
    elif tensor.shape.dim:
        dim = rng.choice(tensor.shape.dim)
        if rng.random() < 0.5:
            dim.dim_value = rng.choice(NUMBERS)
        else:
            dim.dim_param = rng.choice([*WORDS, "n", "n", "m"])


def change_constant(rng: random.Random, model: Any) -> None:
    if not model.graph.initializer:
        return
    tensor = rng.choice(model.graph.initializer)
    choice = rng.randrange(4)
    if choice == 0:
        tensor.data_type = rng.choice(ELEMENTS)
    elif choice == 1:
        tensor.dims[:] = [rng.choice(NUMBERS) for _ in range(rng.randrange(3))]
    else:
        count = rng.randrange(5)
        made = numpy_helper.from_array(np.asarray([rng.choice(NUMBERS) for _ in range(count)], np.int64), tensor.name)
        tensor.CopyFrom(made)


def change_node(rng: random.Random, model: Any) -> None:
    node = rng.choice(model.graph.node)
    choice = rng.randrange(5)
    if choice == 0:
        node.op_type = rng.choice(list(OPS))
    elif choice == 1 and node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice([*node.input, "", "nowhere"])
    elif choice == 2:
        node.input.append(rng.choice([*node.input, ""]))
    elif choice == 3 and node.input:
        del node.input[-1]
    else:
        node.output.append(rng.choice(WORDS))


def change_chain(rng: random.Random, model: Any) -> None:
    """Arithmetic before the node, on an input or a constant of it: the same value several times over."""
    node = model.graph.node[-1]
    if not node.input:
        return
    at = rng.randrange(len(node.input))
    name, made = node.input[at], []
    for number in range(rng.choice([1, 3, 40])):
        op = rng.choice(
            ["Add", "Mul", "Sub", "Concat", "Div", "Gather", "Where", "Cast", "Shape", "Size", "ReduceProd"]
        )
        out = f"chain{number}"
        operands = {"Cast": [name], "Shape": [name], "Size": [name], "ReduceProd": [name], "Where": [name] * 3}
        attributes = {"Concat": {"axis": 0}, "Cast": {"to": rng.choice([1, 6, 7, 9])}}
        made.append(helper.make_node(op, operands.get(op, [name, name]), [out], **attributes.get(op, {})))
        name = out
    node.input[at] = name
    nodes = [*list(model.graph.node)[:-1], *made, node]
    copied = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copied)


def change_frame(rng: random.Random, model: Any) -> None:
    choice = rng.randrange(4)
    if choice == 0:
        model.opset_import[0].version = rng.choice([*range(6, 30), 2**40])
    elif choice == 1:
        rng.choice(model.graph.output).name = rng.choice(WORDS)
    elif choice == 2 and model.graph.input:
        rng.choice(model.graph.input).name = rng.choice(WORDS)
    else:
        model.graph.output.append(rng.choice(model.graph.output))


FOREIGN: list[Change] = [change_attribute, change_attribute, change_input, change_constant, change_node, change_chain]
FOREIGN.append(change_frame)


def foreign_file(rng: random.Random) -> bytes:
    """A model of one node, changed."""
    from test_foreign import Init, cases

    op, inputs, attributes = rng.choice(cases())
    attributes = dict(attributes)
    names = ["" if v is None else f"x{i}" for i, v in enumerate(inputs)]
    given, held = [], []
    for name, value in zip(names, inputs, strict=True):
        if value is None:
            continue
        if isinstance(value, Init):
            held.append(numpy_helper.from_array(np.asarray(value), name))
        else:
            value = np.asarray(value)
            given.append(
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), list(value.shape))
            )
    made = [f"y{k}" for k in range(attributes.pop("outputs", 1))]
    node = helper.make_node(op, names, made, **attributes)
    outputs = [onnx.ValueInfoProto(name="y0")]
    opset = {"RMSNormalization": 23, "Swish": 24}.get(op, 21)
    graph = helper.make_graph([node], "model", given, outputs, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    for _ in range(rng.choice([1, 1, 2])):
        rng.choice(FOREIGN)(rng, model)
    return flipped(rng, model.SerializeToString())


def flipped(rng: random.Random, content: bytes) -> bytes:
    """With a byte changed, now and then."""
    if rng.random() < 0.9:
        return content
    changed = bytearray(content)
    changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


# --- files of weft's own ----------------------------------------------------------------------------------------


def own_models() -> list[bytes]:
    """A few networks as files."""
    path = Path(tempfile.mkdtemp()) / "f.onnx"
    table = wf.asarray(np.arange(12.0, dtype=np.float32).reshape(4, 3))
    models: list[tuple[Any, Any]] = [
        (nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.LayerNorm(4), nn.Linear(4, 2)), wf.ones((2, 3))),
        (lambda i: (table[i], wf.argmax(table[i], axis=1), wf.pad(i, 1)), wf.asarray([1, 2, 0])),
        (
            lambda x: (wf.cumulative_sum(x, axis=0), wf.flip(x), wf.concat([x, x * 2]), wf.where(x > 1, x, 0)),
            wf.ones((2, 3)),
        ),
        (lambda x: wf.bitwise_and(x, 3) // 2 + wf.max(x), wf.asarray([1, 2, 3])),
    ]
    found = []
    for function, example in models:
        wf.save(function, path, example=example, dynamic={"n": (0, 0)} if len(found) == 0 else None)
        found.append(path.read_bytes())
    return found


def value_for(rng: random.Random, old: Any) -> Any:
    """Another parameter, in the form that a file has it."""
    if isinstance(old, list) and rng.random() < 0.8:
        new = list(old)
        if new:
            new[rng.randrange(len(new))] = rng.choice(NUMBERS)
        return new[: rng.randrange(len(new) + 1)] if rng.random() < 0.2 else new
    names = ["float32", "int64", "bool", "bfloat16", "uint8", "complex64"]
    size = {"size": [[["n"] * rng.choice([1, 2, 99]), rng.choice(NUMBERS)]]}
    return rng.choice(
        [rng.choice(NUMBERS), rng.choice(FLOATS[:5]), "nan", True, None, {"dtype": rng.choice(names)}, size, 10**400]
    )


def own_file(rng: random.Random, contents: list[bytes]) -> bytes:
    """A file of weft's with some of its records changed, and a right seal."""
    model = onnx.ModelProto.FromString(rng.choice(contents))
    notes = {p.key: p.value for p in model.metadata_props if p.key not in ("weft_sha256", "weft_version")}
    entries = [e for n in model.graph.node for e in n.metadata_props]
    for _ in range(rng.choice([1, 1, 2])):
        entry = rng.choice(entries)
        records = loads(entry.value)
        record = rng.choice(records)
        choice = rng.randrange(6)
        if choice == 0:
            record["op"] = rng.choice(list(ROWS))
        elif choice <= 2 and record.get("params"):
            key = rng.choice(list(record["params"]))
            record["params"][key] = value_for(rng, record["params"][key])
        elif choice == 3 and record["in"]:
            rng.shuffle(record["in"])
        elif choice == 4:
            record["in"] = record["in"][:-1] if rng.random() < 0.5 else [*record["in"], *record["in"]]
        else:
            change_input(rng, model)
        entry.value = dumps(records)
    return pack(model.graph, notes)


# --- what becomes of them ---------------------------------------------------------------------------------------


def look(content: bytes, path: Path) -> str:
    """The outcome; an error that is not weft's goes on."""
    path.write_bytes(content)
    try:
        loaded = wf.load(path)
    except wf.FormatError:
        return "refused"
    args = []
    for type_ in loaded.inputs.values():
        shape = [n if isinstance(n, int) else 2 for n in type_.shape]
        if np.prod(shape, dtype=float) > 1e6:
            return "large"
        args.append(np.ones(shape, type_.dtype.numpy))
    try:
        result = loaded(*args)
        for value in result if isinstance(result, tuple) else (result,):
            value.numpy()
    except wf.WeftError as error:
        return type(error).__name__
    return "runs"


def main(first: int, last: int) -> None:
    """Seeds from ``first`` to ``last``."""
    contents = own_models()
    with open("/proc/self/statm") as status:
        used = int(status.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    path, counts = Path(tempfile.mkdtemp()) / "f.onnx", dict[str, int]()
    for seed in range(first, last):
        print(f"seed {seed}", flush=True)
        rng = random.Random(seed)
        content = own_file(rng, contents) if seed % 3 == 0 else foreign_file(rng)
        signal.alarm(PATIENCE)
        outcome = look(content, path)
        signal.alarm(0)
        counts[outcome] = counts.get(outcome, 0) + 1
    print(counts)


if __name__ == "__main__":
    sys.path += [str(Path(__file__).parent / "interop")]
    main(int(sys.argv[1]), int(sys.argv[2]))
