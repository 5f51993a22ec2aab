"""``wf.export``: a model's library has the model's bits, on this machine and on AArch64, and needs nothing else."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import weft as wf
from weft import nn
from weft.core.errors import CaptureError, CompileError, FormatError
from weft.deploy import Exported
from weft.deploy.files import write_library
from weft.deploy.names import library_name
from weft.deploy.native import Library
from weft.llvm.elf import load_objects
from weft.llvm.targets import host_target
from weft.nn import functional as F
from weft.transforms.tree import flatten

rng = np.random.default_rng(11)


def floats(*shape: int) -> Any:
    """float32 normal numbers."""
    return rng.standard_normal(shape).astype(np.float32)


def mlp() -> nn.Module:
    """784 inputs, so that the first layer has several K blocks; in training mode, with a Dropout."""
    wf.manual_seed(3)
    return nn.Sequential(nn.Linear(784, 33), nn.ReLU(), nn.Dropout(0.5), nn.Linear(33, 10), nn.Softmax(-1))


MAIN = """
#include <stdio.h>
#include "digits.h"
static float x[DIGITS_INPUT_COUNT], y[DIGITS_OUTPUT_COUNT];
static _Alignas(DIGITS_WORKSPACE_ALIGN) unsigned char workspace[DIGITS_WORKSPACE_BYTES];
int main(void) {
  if (digits_verify(workspace) != 0) return 1;
  while (fread(x, sizeof x, 1, stdin) == 1) {
    if (digits_run(x, y, workspace) != 0) return 2;
    if (fwrite(y, sizeof y, 1, stdout) != 1) return 3;
  }
  return 0;
}
"""


def run_main(folder: Path, compiler: str, emulator: Sequence[str], x: Any) -> bytes:
    """Standard output of MAIN, linked with the archive (and libm, for machines without FMA)."""
    (folder / "main.c").write_text(MAIN)
    subprocess.run(
        [
            compiler,
            "-std=c11",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-static",
            "-o",
            folder / "main",
            folder / "main.c",
            folder / "libdigits.a",
            "-lm",
        ],
        check=True,
    )
    done = subprocess.run([*emulator, folder / "main"], input=x.tobytes(), stdout=subprocess.PIPE, check=True)
    return done.stdout


@pytest.mark.parametrize("batch", [1, 5])
def test_an_mlp_on_aarch64_has_the_bits_of_this_process(
    batch: int, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    net, x = mlp(), floats(3 * batch, 784)
    made = wf.export(net, tmp_path, example=x[:batch], target="aarch64-linux-gnu", name="digits")
    assert {"digits.o", "digits.h", "libdigits.a"} <= {path.name for path in made.files}
    compiler, emulator = require_tool("aarch64-linux-gnu-gcc"), require_tool("qemu-aarch64")
    assert tmp_path / "libdigits.so" in made.files
    compiled = wf.compile(net.eval())
    assert run_main(tmp_path, compiler, [emulator], x) == compiled(wf.asarray(x)).numpy().tobytes()


def test_an_mlp_on_this_machine_has_the_bits_of_this_process(
    tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    net, x = mlp(), floats(6, 784)
    wf.export(net, tmp_path, example=x[:2], name="digits")
    assert run_main(tmp_path, require_tool("cc"), [], x) == net.eval()(wf.asarray(x)).numpy().tobytes()


class Loaded:
    """The object of a library, in this process."""

    def __init__(self, made: Exported):
        self.made = made
        (self.module,) = load_objects([made.files[0].read_bytes()])
        self._memory = np.full(made.workspace_nbytes + 64 + 4096, 0xA5, np.uint8)
        self.workspace = -(-self._memory.ctypes.data // 64) * 64

    def _stays_inside(self) -> bool:
        """Whether what lies behind the workspace is as it was."""
        end = self.workspace - self._memory.ctypes.data + self.made.workspace_nbytes
        return bool((self._memory[end:] == 0xA5).all())

    def verify(self) -> int:
        """Result of the self-check."""
        entry = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)(self.module.address(f"{self.made.name}_verify"))
        status = int(entry(self.workspace))
        assert self._stays_inside()
        return status

    def run(self, *inputs: Any) -> tuple[int, list[bytes]]:
        """Result and outputs of the entry."""
        outputs = [ctypes.create_string_buffer(max(port.nbytes, 1)) for port in self.made.outputs]
        given = [np.ascontiguousarray(a) for a in inputs]
        entry = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * (len(given) + len(outputs) + 1))(
            self.module.address(f"{self.made.name}_run")
        )
        status = entry(*(a.ctypes.data for a in given), *(ctypes.addressof(b) for b in outputs), self.workspace)
        assert self._stays_inside()
        return status, [b.raw[: port.nbytes] for b, port in zip(outputs, self.made.outputs, strict=True)]


TABLE = wf.asarray(floats(7, 4))
SQUARE = wf.asarray(floats(3, 3))


def cell(c: Any, x: Any) -> Any:
    c = wf.tanh(c @ SQUARE + x)
    return c, c.sum()


def grown(c: Any, x: Any) -> Any:
    def more() -> Any:
        return wf.while_loop(lambda k: k.sum() < 5, lambda k: k + abs(x) + 1, c)

    return wf.cond(c.sum() > 0, more, lambda: c - x), c * SQUARE


def descent(x: Any) -> Any:
    def loss(x: Any) -> Any:
        grows = wf.while_loop(lambda c: c.sum() < 9, lambda c: c * 1.5 + 0.5, x, max_steps=20)
        return (wf.scan(cell, x[0], x)[1] ** 2).sum() + grows.sum()

    return wf.grad(loss)(x)


FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "conv": (lambda x: F.gelu(x * 2), (floats(3, 5),)),
    "pair": (lambda x, y: (x + y, {"left": x @ y.T, "right": x.sum(axis=0)}), (floats(3, 5), floats(3, 5))),
    "given_back": (lambda x, y: (x, x * y, y, x), (floats(4), floats(4))),
    "twice": (lambda x: (wf.exp(x), wf.exp(x)), (floats(9),)),
    "constant": (lambda x: (x + 1, TABLE), (floats(2),)),
    "rows": (lambda x: F.layer_norm(x, (300,)), (floats(4, 300),)),
    "lookup": (lambda i: TABLE[i], (np.array([3, 0, -1]),)),
    "brain": (lambda x: x @ x.T, (floats(5, 40).astype(ml_dtypes.bfloat16),)),
    "empty": (lambda x: (x * 2, x.sum()), (floats(0, 3),)),
    "scalar": (lambda x: x * 3, (np.float32(2),)),
    "order": (lambda x: wf.cumulative_sum(x, axis=0), (floats(30, 3),)),
    "branch": (lambda x: wf.cond(x.sum() > 0, lambda: (x @ x.T, x * 2), lambda: (x @ x, x)), (floats(3, 3),)),
    "again": (lambda x: wf.while_loop(lambda c: c.sum() < 100, lambda c: c * 2 + abs(x), abs(x)), (floats(5),)),
    "never": (lambda x: wf.while_loop(lambda c: c.sum() > 1e9, lambda c: c * 2, x), (floats(5),)),
    "layer": (lambda x: wf.scan(cell, x[0], x), (floats(6, 3),)),
    "back": (lambda x: wf.scan(cell, x[0], x, reverse=True), (floats(5, 3),)),
    "nested": (lambda x: wf.scan(grown, x[0], x), (floats(4, 3),)),
    "descent": (descent, (floats(4, 3),)),
    "boxed": (lambda x, w: F.conv2d(x, w, padding=1), (floats(2, 30, 9, 32), floats(5, 30, 3, 3))),
    "few": (lambda x: (x.topk(3, 0), x.argsort(1, True)), (floats(70, 9),)),
    "sorted": (lambda x: (x.sort(), x.topk(40, 0), x.argsort(0)), (floats(70, 50),)),
    "sorted_wide": (lambda x: (x.sort(0, True), x.topk(30, 0)), (floats(300, 2).astype(np.float64),)),
    "sorted_short": (lambda x: x.sort(), (np.arange(300).astype(np.int8),)),
    "attention": (
        lambda q, k: wf.grad(lambda q, k: F.scaled_dot_product_attention(q, k, k, is_causal=True).sum(), (0, 1))(q, k),
        (floats(2, 40, 9), floats(2, 70, 9)),
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_library_computes_what_the_function_does(name: str, tmp_path: Path) -> None:
    function, arrays = FUNCTIONS[name]
    made = wf.export(function, tmp_path, example=arrays, name=name)
    loaded = Loaded(made)
    assert loaded.verify() == 0
    other = [a if a.dtype == np.int64 else (a * 3).astype(a.dtype) for a in map(np.asarray, arrays)]
    expected = function(*(wf.asarray(a) for a in other))
    assert loaded.run(*other) == (0, [t.numpy().tobytes() for t in flatten(expected)[0]])


def test_parameters_are_those_of_the_moment(tmp_path: Path) -> None:
    net, x = nn.Linear(4, 3), floats(2, 4)
    loaded, before = Loaded(wf.export(net, tmp_path, example=x)), net(wf.asarray(x)).numpy().tobytes()
    net.load_state_dict({k: v * 2 for k, v in net.state_dict().items()})
    assert loaded.made.name == "linear" and loaded.run(x) == (0, [before])


def test_an_index_out_of_range_is_the_status(tmp_path: Path) -> None:
    loaded = Loaded(wf.export(FUNCTIONS["lookup"][0], tmp_path, example=np.array([1, 2, 3]), name="lookup"))
    assert loaded.run(np.array([0, 7, 1]))[0] == 1


def test_a_loop_that_goes_on_is_the_status(tmp_path: Path) -> None:
    def f(x: Any) -> Any:
        return wf.while_loop(lambda c: c.sum() < 10, lambda c: c + x, x, max_steps=5)

    loaded = Loaded(wf.export(f, tmp_path, example=np.float32(4), name="loop"))
    assert loaded.run(np.float32(2)) == (0, [np.float32(10).tobytes()])
    assert loaded.run(np.float32(1))[0] == 2


def test_an_index_out_of_range_ends_a_loop(tmp_path: Path) -> None:
    def f(i: Any) -> Any:
        return wf.while_loop(lambda c: c[0] < 1000, lambda c: (c[0] + i, TABLE[c[0]]), (0, TABLE[0]))

    loaded = Loaded(wf.export(f, tmp_path, example=np.int64(1000), name="loop"))
    assert loaded.run(np.int64(1))[0] == 1


def test_loops_on_aarch64_have_the_bits_of_this_process(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    x = floats(3 * 4, 3)

    def f(input: Any) -> Any:  # noqa: A002
        return wf.scan(grown, input[0], input)[1]

    wf.export(f, tmp_path, example=x[:4], target="aarch64-linux-gnu", name="digits")
    compiler, emulator = require_tool("aarch64-linux-gnu-gcc"), require_tool("qemu-aarch64")
    found = run_main(tmp_path, compiler, [emulator], x)
    assert found == b"".join(f(wf.asarray(part)).numpy().tobytes() for part in np.split(x, 3))


@pytest.mark.parametrize("target", ["cortex-m4", "wasm32", "riscv64-linux-gnu"])
def test_loops_for_other_machines(target: str, tmp_path: Path) -> None:
    for name in ("branch", "again", "back", "descent"):
        function, arrays = FUNCTIONS[name]
        assert wf.export(function, tmp_path, example=arrays, target=target, name=name).files


@pytest.mark.parametrize("target", ["cortex-m4", "wasm32", "riscv64-linux-gnu", "aarch64-linux-gnu"])
def test_attention_for_other_machines(target: str, tmp_path: Path) -> None:
    function, arrays = FUNCTIONS["attention"]
    assert wf.export(function, tmp_path, example=arrays, target=target, name="attention").files


@pytest.mark.parametrize("target", ["cortex-m4", "wasm32", "riscv64-linux-gnu", "aarch64-linux-gnu"])
@pytest.mark.parametrize("name", ["few", "sorted", "sorted_wide"])
def test_sorting_for_other_machines(target: str, name: str, tmp_path: Path) -> None:
    function, arrays = FUNCTIONS[name]
    made = wf.export(function, tmp_path, example=arrays, target=target, name=name)
    assert made.files[0].stat().st_size > 1000
    assert name != "few" or made.workspace_nbytes < 20_000, "which uses no scratch"


def test_sorting_on_aarch64_has_the_bits_of_this_process(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    """Of items of one word and of two, on vectors of another width."""
    x = floats(70, 50)

    def f(input: Any) -> Any:  # noqa: A002
        orders = [y.topk(k, 0).indices for y in (input, input.astype("float64")) for k in (3, 40)]
        return wf.concat([input.sort().values, *(order.astype("float32") for order in orders)])

    wf.export(f, tmp_path, example=x, target="aarch64-linux-gnu", name="digits")
    compiler, emulator = require_tool("aarch64-linux-gnu-gcc"), require_tool("qemu-aarch64")
    assert run_main(tmp_path, compiler, [emulator], x) == f(wf.asarray(x)).numpy().tobytes()


def test_a_module_keeps_its_training_mode(tmp_path: Path) -> None:
    net = mlp()
    net[2].eval()
    wf.export(net, tmp_path, example=floats(1, 784), name="net")
    assert [m.training for m in net] == [True, True, False, True, True]


def test_names_in_the_header_are_those_of_the_parameters(tmp_path: Path) -> None:
    def forward(float: Any, b: Any, OUTPUT_left: Any) -> Any:  # noqa: A002
        return {"left": float + b["x"], "right-most": b["y"][0] - OUTPUT_left}

    made = wf.export(
        forward,
        tmp_path,
        example=(floats(2), {"x": floats(2), "y": [floats(3)]}, floats(3)),
        target="cortex-m4",
        name="net",
    )
    assert [p.name for p in made.inputs] == ["float_", "b_x", "b_y_0", "OUTPUT_left"]
    assert [p.name for p in made.outputs] == ["output_left_2", "output_right_most"]
    header = (tmp_path / "net.h").read_text()
    assert "/* input b_y_0: float32, shape (3), C order */" in header
    assert "const float *b_y_0, const float *OUTPUT_left, float *output_left_2, float *output_right_most" in header
    assert "/* output output_right_most: float32, shape (3), C order; 'output_right-most' in the model */" in header


def test_one_row_needs_little_scratch(tmp_path: Path) -> None:
    """Products with a vector read their operands where they lie: the workspace is the arena, the checked outputs and
    sums."""
    made = wf.export(mlp(), tmp_path, example=floats(1, 784), target="cortex-m4", name="digits")
    assert made.workspace_nbytes < 1024


@pytest.mark.parametrize("count", [1, 3, 33, 200])
@pytest.mark.parametrize("form", ["vector_matrix", "vector_rows", "matrix_vector", "matrix_columns"])
def test_a_product_with_a_vector_stays_in_its_workspace(form: str, count: int, tmp_path: Path) -> None:
    x, matrix = floats(1, 300), wf.asarray(floats(300, count))
    rows = wf.asarray(floats(count, 300))
    functions: dict[str, Callable[[Any], Any]] = {
        "vector_matrix": lambda x: x @ matrix,
        "vector_rows": lambda x: x @ rows.T,
        "matrix_vector": lambda x: rows @ x.T,
        "matrix_columns": lambda x: matrix.T @ x.T,
    }
    loaded = Loaded(wf.export(functions[form], tmp_path, example=x, name="product"))
    assert loaded.verify() == 0
    assert loaded.run(2 * x) == (0, [functions[form](wf.asarray(2 * x)).numpy().tobytes()])


@pytest.mark.parametrize(
    "target", ["riscv64-linux-gnu", "riscv64-linux-gnu-v", "cortex-m7", "wasm32", "x86_64-linux-gnu"]
)
def test_other_targets_generate_an_object(target: str, tmp_path: Path) -> None:
    made = wf.export(mlp(), tmp_path, example=floats(1, 784), target=target, name="digits")
    assert made.files[0].stat().st_size > 784 * 33 * 4


@pytest.mark.parametrize(
    ("function", "example", "target", "error", "message"),
    [
        (3, floats(2), None, FormatError, "int is not a function"),
        (lambda x: x, floats(2), "pdp11", CompileError, "no target 'pdp11'"),
        (lambda x: x, floats(2), "nvptx64", CompileError, "no libraries for GPUs"),
        (lambda x: x, (floats(2), "abc"), None, FormatError, "holds a str where a tensor"),
        (lambda x: x + wf.random.normal(shape=(2,)), floats(2), None, CaptureError, "changes tensors"),
        (lambda x: x * x.tolist()[0], floats(2), None, CaptureError, "the value of a tensor"),
    ],
    ids=["no function", "no target", "gpu", "no tensor", "random", "value"],
)
def test_what_cannot_be_exported_is_refused(
    function: Any, example: Any, target: str | None, error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        wf.export(function, tmp_path / "new", example=example, target=target)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("9lives", "'9lives' cannot be a name in C"),
        ("", "'' cannot be a name in C"),
        ("a/b", "'a<U.002F>b' cannot be"),
        ("größe", "'gr<U.00F6><U.00DF>e' cannot be"),
        ("net\n", "cannot be"),
        ("_net", "cannot be"),
        ("a__b", "cannot be"),
        ("n" * 5000, "a name of 5000 characters; files have room for 200"),
        ("stdint", "would hide the C library's own stdint.h"),
        ("m", "would hide the C library's own m.h or libm"),
        (3, "cannot be a name"),
    ],
    ids=lambda v: str(v)[:10],
)
def test_a_name_must_be_one_in_c(name: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=message):
        wf.export(lambda x: x, tmp_path / "new", example=floats(2), name=name)
    assert not (tmp_path / "new").exists()


def test_the_longest_name_has_its_files(tmp_path: Path) -> None:
    made = wf.export(lambda x: x, tmp_path, example=floats(2), name="n" * 200)
    assert all(path.exists() for path in made.files)


def test_functions_and_inputs_of_any_name(tmp_path: Path) -> None:
    def größe(größe: Any, errno: Any) -> Any:
        return {"*/": größe + errno["linux"], "x" * 5000: größe}

    made = wf.export(größe, tmp_path, example=(floats(2), {"linux": floats(2)}))
    assert made.name == "gro_e" and [p.name for p in made.inputs] == ["gro_e", "errno_linux"]
    assert made.outputs[0].name == "output_" and len(made.outputs[1].name) == 63
    assert Loaded(made).verify() == 0
    assert library_name("x" * 5000) == library_name("x" * 5000) and len(library_name("x" * 5000)) < 64
    assert library_name("stdint") == "stdint_model" and library_name("<lambda>") == "lambda"


def test_a_library_that_cannot_be_linked_replaces_nothing(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    made = wf.export(lambda x: x + 1, tmp_path, example=floats(2), name="net")
    before = {path: path.read_bytes() for path in made.files}
    library = Library("net", b"no object", "", ("net_run",), 0)
    with pytest.raises(CompileError, match="cannot link"):
        write_library(library, tmp_path, host_target(), require_tool("cc"))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
