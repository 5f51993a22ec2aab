"""GPU kernels: the bits of the CPU's kernels, PTX that says so, and that ptxas accepts."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from gpu_emulator import run_on_emulated_gpu
from launches import TARGET, buffers_of, executable_of, pointers_of, run_units

import weft as wf
from weft.compiler.build import addresses, render
from weft.compiler.expr import leaf, rem
from weft.compiler.kernels import STATUS_INDEX, Access, Kernel, Nest, Slot, Store
from weft.compiler.renderers import gpu_launch
from weft.core import dtypes as dt
from weft.graph.executable import Executable
from weft.llvm.assembly import assemble
from weft.llvm.targets import cross_target
from weft.nn import functional as F

Array = Any
rng = np.random.default_rng(7)


def floats(*shape: int, dtype: Any = np.float32) -> Array:
    """Normal numbers."""
    return rng.standard_normal(shape).astype(dtype)


def integers(*shape: int, dtype: Any = np.int64, low: int = -9, high: int = 10) -> Array:
    """Small integers."""
    return rng.integers(low, high, shape).astype(dtype)


SPECIAL = np.array([0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, np.nan, 1e-40, -1e-45, 3e38, 1e-310, 7.25, 2**40, 1 / 3])
PAIRS = np.array([(x, y) for x in SPECIAL for y in SPECIAL]).T
HALF, BRAIN = np.float16, ml_dtypes.bfloat16
LONG = 70_000  # three chunks of a long reduction

# What is computed, on what: together these make every kind of kernel and every kind of stage.
CASES: dict[str, tuple[Callable[..., Any], tuple[Array, ...]]] = {
    "gelu": (lambda a, b, c: F.gelu(a * b + c), (floats(9, 700), floats(700), floats(9, 1))),
    "math": (
        lambda x: (wf.exp(x), wf.log(wf.abs(x)), wf.sin(x), wf.tanh(x), wf.pow(wf.abs(x), x), wf.sqrt(wf.abs(x))),
        (floats(5000),),
    ),
    "doubled": (lambda x: F.interpolate(x * 0.5, scale_factor=2), (floats(2, 3, 5, 33),)),
    "short rows": (lambda x: (wf.sum(x, axis=-1), wf.argmax(x, axis=-1)), (floats(70, 3),)),
    "math64": (lambda x: (wf.exp(x), wf.log(x), wf.cos(x), wf.tanh(x)), (floats(300, dtype=np.float64),)),
    "special": (
        lambda x, y: (x + y, x * y, x / y, wf.round(x), wf.floor(x), wf.maximum(x, y), x < y),
        (PAIRS[0].astype(np.float32), PAIRS[1].astype(np.float32)),
    ),
    "remainder": (
        lambda x, y: (wf.remainder(x, y), wf.floor_divide(x, y)),
        (PAIRS[0].astype(np.float32), PAIRS[1].astype(np.float32)),
    ),
    "remainder64": (wf.remainder, (PAIRS[0], PAIRS[1])),
    "half": (
        lambda x, y: (x * y, wf.astype(x, wf.bfloat16), wf.astype(x, wf.int8)),
        (floats(99, dtype=HALF), floats(99, dtype=HALF)),
    ),
    "brain": (lambda x: (wf.exp(x), wf.astype(x, wf.float64)), (floats(99, dtype=BRAIN),)),
    "casts": (
        lambda x: (wf.astype(x, wf.uint8), wf.astype(x, wf.int64), wf.astype(x, wf.float16), x != 0),
        (PAIRS[0],),
    ),
    "integers": (
        lambda x, y: (x * y, x // wf.maximum(y, 1), x % wf.maximum(y, 1), x >> (y & 7), x ^ y),
        (integers(130), integers(130, low=1)),
    ),
    "bytes": (
        lambda x, y: (x * y, x < y, wf.bitwise_left_shift(x, y & 7)),
        (integers(77, dtype=np.uint8, low=0, high=256), integers(77, dtype=np.uint8, low=0, high=256)),
    ),
    "strided": (lambda x: x[::2, ::-1] + 1, (floats(20, 33),)),
    "transposed": (lambda x, y: x.T * y, (floats(40, 50), floats(50, 40))),
    "random": (lambda x: x + wf.arange(64, dtype=wf.float32), (floats(64),)),
    "softmax": (lambda x: F.softmax(x, axis=-1), (floats(7, 1000),)),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (65,), w, b), (floats(11, 65), floats(65), floats(65))),
    "rows": (lambda x: (x.sum(axis=1), x.max(axis=1), x.argmin(axis=1), (x > 0).any(axis=1)), (floats(5, 63),)),
    "rows64": (lambda x: (x.prod(axis=1), x.argmax(axis=1)), (floats(4, 129, dtype=np.float64),)),
    "rows_int": (lambda x: (x.sum(axis=1), x.min(axis=1), x.argmax(axis=1)), (integers(6, 200, dtype=np.int32),)),
    "rows_half": (lambda x: x.sum(axis=1), (floats(3, 300, dtype=HALF),)),
    "rows_empty": (lambda x: (x.sum(axis=1), (x > 0).all(axis=1)), (floats(3, 0),)),
    "rows_nan": (lambda x: (x.max(axis=1), x.argmax(axis=1)), (PAIRS.astype(np.float32),)),
    "long_row": (lambda x: (x * x).sum(), (floats(LONG),)),
    "long_argmax": (lambda x: x.argmax(), (floats(LONG),)),
    "columns": (lambda x: (x.sum(axis=0), x.max(axis=0)), (floats(300, 70),)),
    "columns_arg": (lambda x: x.argmin(axis=0), (floats(130, 33),)),
    "columns_middle": (lambda x: x.mean(axis=1), (floats(3, 65, 40),)),
    "columns64": (lambda x: x.var(axis=0), (floats(70, 20, dtype=np.float64),)),
    "columns_empty": (lambda x: x.sum(axis=0), (floats(0, 20),)),
    "long_column": (lambda x: x.sum(axis=0), (floats(LONG, 3),)),
    "axes": (
        lambda x, y: ((x[:, None] * y).sum((1, 2)), (x[:, None] * y).amax((1, 2))),
        (floats(3, 70), floats(9, 70)),
    ),
    "axes_long": (lambda x, y: (x[:, None] * y).sum(), (floats(300), floats(250))),
    "axes_softmax": (lambda x, y: wf.exp(x + y - (x + y).max()), (floats(9, 30), floats(30))),
    "windows": (lambda x: F.relu(x).unfold(0, 3, 2).unfold(1, 2, 2).mean((2, 3)), (floats(30, 41),)),
    "windows_wide": (lambda x: x.unfold(0, 7, 2).unfold(1, 9, 1).amax((2, 3)), (floats(30, 41),)),
    "windows_long": (lambda x: x[:, :5].unfold(0, 8000, 1).permute(0, 2, 1).sum((1, 2)), (floats(8010, 6),)),
    "windows_padded": (lambda x: (F.max_pool2d(x, 3, 2, 1), F.avg_pool2d(x, 6, 2, 3)), (floats(2, 13, 21),)),
    "matmul": (lambda x, w, b: F.relu(x @ w.T + b), (floats(19, 600), floats(37, 600), floats(37))),
    "matmul64": (lambda x, y: x @ y, (floats(17, 257, dtype=np.float64), floats(257, 5, dtype=np.float64))),
    "matmul_half": (lambda x, y: x @ y, (floats(5, 300, dtype=HALF), floats(300, 7, dtype=HALF))),
    "matmul_brain": (lambda x, y: x @ y, (floats(5, 70, dtype=BRAIN), floats(70, 7, dtype=BRAIN))),
    "matmul_int": (lambda x, y: x @ y, (integers(6, 40), integers(40, 9))),
    "matmul_int8": (lambda x, y: x @ y, (integers(6, 400, dtype=np.int8), integers(400, 9, dtype=np.int8))),
    "matmul_batch": (lambda x, y: x @ y, (floats(2, 3, 20, 30), floats(3, 30, 18))),
    "matmul_empty": (lambda x, y: x @ y + 1, (floats(3, 0), floats(0, 4))),
    "convolution": (
        lambda x, w, b: F.relu(F.conv2d(x, w, b, stride=(1, 2), padding=1, groups=2)),
        (floats(2, 6, 7, 9), floats(8, 3, 3, 2), floats(8)),
    ),
    "convolution_gradient": (
        wf.grad(lambda x, w: F.conv1d(x, w, stride=2).sum(), argnums=(0, 1)),
        (floats(2, 3, 40), floats(4, 3, 3)),
    ),
    "several_axes": (
        lambda x, y: wf.einsum("abcd,dcef->abef", x, y),
        (integers(2, 3, 4, 5, dtype=np.int32), integers(5, 4, 3, 2, dtype=np.int32)),
    ),
    "cumulative": (lambda x: wf.cumulative_sum(x, axis=1), (floats(12, 50),)),
    "cumulative_first": (lambda x: wf.cumulative_prod(x, axis=0), (floats(9, 40),)),
    "take": (lambda x, i: wf.take(x, i, axis=0), (floats(10, 6), integers(30, low=-10, high=10))),
    "scatter": (lambda x, i, y: wf.scatter_add(x, i, y), (floats(10, 6), integers(30, low=0, high=10), floats(30, 6))),
    "cross_entropy": (F.cross_entropy, (floats(20, 10), integers(20, low=0, high=10))),
}


def executable(name: str) -> tuple[Executable, tuple[Array, ...]]:
    """The launches of a case, and its inputs."""
    function, arrays = CASES[name]
    return executable_of(function, arrays), arrays


def differs(a: Array, b: Array, dtype: dt.DType | None) -> Array:
    """Which bytes differ; of floats which elements, where one NaN is like another (their signs are no one's)."""
    if dtype is None or not dtype.is_floating or a.size % dtype.itemsize:
        return a != b
    x, y = a.view(dtype.numpy), b.view(dtype.numpy)
    return (x.view(f"u{dtype.itemsize}") != y.view(f"u{dtype.itemsize}")) & ~(np.isnan(x) & np.isnan(y))


def both(name: str, descending: bool = False) -> tuple[int, int]:
    """Run a case's launches on the CPU and on the emulated GPU, comparing all memory in bits; their status bits."""
    exe, arrays = executable(name)
    memory = buffers_of(exe, arrays)
    code = addresses([x.kernel for x in exe.launches], TARGET)
    kinds = {len(arrays) + k: v.dtype for k, v in enumerate(exe.plan.outputs)}
    seen = [0, 0]
    for address, launch in zip(code, exe.launches, strict=True):
        other = [m.copy() for m in memory]
        seen[0] |= run_units(address, launch, pointers_of(exe, launch, memory), [(0, launch.units)])
        seen[1] |= run_on_emulated_gpu(
            launch.kernel, launch.ints, pointers_of(exe, launch, other), launch.units, descending=descending
        )
        for number, (a, b) in enumerate(zip(memory, other, strict=True)):
            different = np.flatnonzero(differs(a, b, kinds.get(number)))
            assert not different.size, (
                f"{type(launch.kernel).__name__}: place {number} differs in {different.size} "
                f"places, first at {different[0]}"
            )
    return seen[0], seen[1]


WITH_BARRIERS = ("softmax", "layer_norm", "columns", "columns_arg", "long_row", "rows")


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", CASES)
def test_the_bits_are_those_of_the_cpu(name: str) -> None:
    """In whatever order the threads run."""
    assert both(name) == (0, 0)
    if name in WITH_BARRIERS:
        assert both(name, descending=True) == (0, 0)


def test_an_index_out_of_range_sets_the_status_and_touches_nothing() -> None:
    CASES["outside"] = (lambda x, i: wf.take(x, i, axis=0), (floats(10, 6), np.array([3, 10, -11, 2**62])))
    try:
        assert both("outside") == (STATUS_INDEX, STATUS_INDEX)
    finally:
        del CASES["outside"]


def remainder_kernel(dtype: dt.DType) -> Kernel:
    """out[i] = fmod(x[i], y[i])."""
    x, y, out = (Access(k, dtype, 0, (1,)) for k in range(3))
    store = Store(out, rem(leaf("load", dtype, x), leaf("load", dtype, y)))
    return Nest((), Slot(0), 0, 1, (store,), (dtype, dtype, dtype))


@pytest.mark.parametrize("dtype", [dt.float32, dt.float64], ids=str)
def test_fmod_is_exact(dtype: dt.DType) -> None:
    bits = rng.integers(0, 1 << 63, 4000, dtype=np.uint64)  # every exponent: the quotients have up to 2000 bits
    wild = bits.view(np.float64) if dtype is dt.float64 else (bits & 0xFFFFFFFF).astype(np.uint32).view(np.float32)
    x, y = (np.concatenate([a.astype(dtype.numpy), b]) for a, b in ((PAIRS[0], wild[:2000]), (PAIRS[1], wild[2000:])))
    out = np.empty_like(x)
    run_on_emulated_gpu(remainder_kernel(dtype), (x.size,), [x.ctypes.data, y.ctypes.data, out.ctypes.data], 1)
    with np.errstate(all="ignore"):
        expected = np.fmod(x, y)
    kind = f"u{dtype.itemsize}"
    same = (out.view(kind) == expected.view(kind)) | (np.isnan(out) & np.isnan(expected))
    assert same.all(), (x[~same], y[~same], out[~same], expected[~same])


def test_a_range_of_units_leaves_the_others_alone() -> None:
    """Row kernels and grids: units 2 and 3 of 7 alone are computed, whatever the grid."""
    exe, (x,) = executable("softmax")
    (launch,) = exe.launches
    shape = gpu_launch(launch.kernel, launch.ints, launch.units)
    assert (shape.units, shape.grid, shape.block) == (7, (7, 1), (64, 1)) and shape.shared_nbytes == 2 * 64 * 4
    out = np.zeros_like(x)
    memory = [x, out]
    run_on_emulated_gpu(launch.kernel, launch.ints, pointers_of(exe, launch, memory), 7, given=(2, 4))
    written = np.flatnonzero(out.any(axis=1))
    assert written.tolist() == [2, 3]


# --- PTX --------------------------------------------------------------------------------------------------------


def ptx_of(kernel: Kernel, target: str = "nvptx64-sm_90") -> str:
    """What LLVM's NVPTX back end makes of the kernel."""
    made = cross_target(target)
    return assemble(render(kernel, "kernel", made), made).decode()


INEXACT = re.compile(r"\.ftz|\.approx|\.full|\b(?:add|sub|mul|fma|mad|div|sqrt)\.f(?:16|32|64)|\bmad\.r|\.bf16")


@pytest.mark.parametrize("name", CASES)
def test_the_ptx_rounds_to_nearest_and_fuses_nothing(name: str) -> None:
    """Every float instruction says .rn, so ptxas may not fuse it; as many fma as the IR has, no approximation."""
    exe, _ = executable(name)
    for launch in exe.launches:
        text = render(launch.kernel, "kernel", cross_target("nvptx64"))
        ptx = ptx_of(launch.kernel)
        assert not INEXACT.search(ptx), INEXACT.search(ptx)
        if "@llvm.fma" not in text:
            assert "fma.rn" not in ptx


def find_ptxas() -> str | None:
    """ptxas on PATH, or in an installed nvidia-cuda-nvcc package."""
    found = shutil.which("ptxas")
    if found is None:
        for package in ("nvidia.cuda_nvcc", "nvidia.cu13"):
            spec = importlib.util.find_spec("nvidia") and importlib.util.find_spec(package)
            for folder in (spec.submodule_search_locations or ()) if spec else ():
                found = found or shutil.which("ptxas", path=str(Path(folder) / "bin"))
    return found


@pytest.fixture(scope="module")
def ptxas() -> str:
    """Path of ptxas; without it the test is skipped (or fails, where WEFT_REQUIRE_PTXAS=1)."""
    found = find_ptxas()
    if found is None:
        reason = "no ptxas on PATH, and no package nvidia-cuda-nvcc"
        if os.environ.get("WEFT_REQUIRE_PTXAS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def assembled(ptxas: str, ptx: str, folder: Path, target: str) -> str:
    """What ptxas says of the PTX, which it must accept."""
    (folder / "kernel.ptx").write_text(ptx)
    done = subprocess.run(
        [ptxas, "-v", f"-arch={target}", "-o", folder / "kernel.cubin", folder / "kernel.ptx"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    "name",
    [
        "gelu",
        "math64",
        "special",
        "casts",
        "half",
        "softmax",
        "layer_norm",
        "rows",
        "long_row",
        "columns",
        "columns_arg",
        "matmul",
        "matmul_brain",
        "matmul_int8",
        "cumulative",
        "scatter",
        "take",
        "cross_entropy",
    ],
)
def test_ptxas_accepts_every_kind_of_kernel(name: str, ptxas: str, tmp_path: Path) -> None:
    exe, _ = executable(name)
    for launch in exe.launches:
        for target in ("sm_80", "sm_90"):
            said = assembled(ptxas, ptx_of(launch.kernel, f"nvptx64-{target}"), tmp_path, target)
            shared = re.search(r"(\d+) bytes smem", said)
            wanted = gpu_launch(launch.kernel, launch.ints, launch.units).shared_nbytes
            assert int(shared[1] if shared else 0) == wanted
            # Accumulators and partial results are registers.
            assert re.search(r"\b0 bytes stack frame, 0 bytes spill stores", said), said


@pytest.mark.parametrize("dtype", [dt.float32, dt.float64], ids=str)
def test_ptxas_accepts_fmod(dtype: dt.DType, ptxas: str, tmp_path: Path) -> None:
    assembled(ptxas, ptx_of(remainder_kernel(dtype)), tmp_path, "sm_90")
