"""Who renders a kernel: one row for each family. A new family is a class in kernels.py and a row here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import CompileError
from ..llvm.targets import Target
from . import column, nest, sequential, sorting
from .attention import render as attention
from .contraction import render as contraction
from .gpu import column as gpu_column
from .gpu import contraction as gpu_contraction
from .gpu import nest as gpu_nest
from .gpu import sequential as gpu_sequential
from .gpu.frame import GpuLaunch
from .kernels import Attention, ColumnReduce, Contraction, Kernel, Nest, Sequential, Sort, whole

Renderer = Callable[[Any, str, Target], str]  # (kernel of the family, name, target): the module that defines it


@dataclass(frozen=True, slots=True)
class Gpu:
    """A family on GPUs: its renderer, and the launch of a kernel with given ints and (CPU) units."""

    render: Renderer
    launch: Callable[[Any, Sequence[int], int], GpuLaunch]


@dataclass(frozen=True, slots=True)
class Family:
    """Renderer for CPUs; for GPUs, or why there is none."""

    cpu: Renderer
    gpu: Gpu | str


FAMILIES: dict[type, Family] = {
    Nest: Family(nest.render_nest, Gpu(gpu_nest.render_nest, gpu_nest.launch_nest)),
    ColumnReduce: Family(column.render_column, Gpu(gpu_column.render_column, gpu_column.launch_column)),
    Contraction: Family(
        contraction.render_contraction, Gpu(gpu_contraction.render_contraction, gpu_contraction.launch_contraction)
    ),
    Sequential: Family(
        sequential.render_sequential, Gpu(gpu_sequential.render_sequential, gpu_sequential.launch_sequential)
    ),
    Attention: Family(attention.render_attention, "its ops are computed one by one there"),
    Sort: Family(sorting.render_sort, "a row would be sorted by one lane"),
}


def render(kernel: Kernel, name: str, target: Target) -> str:
    """LLVM IR of the module that defines ``name``, for a CPU or a GPU.

    Raises:
        CompileError: GPUs have no such kernels, or not of this size.
    """
    kernel = whole(kernel)
    if target.is_gpu:
        return _gpu(kernel).render(kernel, name, target)
    text = FAMILIES[type(kernel)].cpu(kernel, name, target)
    if not target.checked:
        return text
    from .checked import with_checks  # whose patterns take milliseconds of every import

    return with_checks(text, len(kernel.buffers))


def gpu_launch(kernel: Kernel, ints: Sequence[int], units: int) -> GpuLaunch:
    """The launch of a kernel with these ints and (CPU) units."""
    return _gpu(kernel).launch(kernel, ints, units)


def _gpu(kernel: Kernel) -> Gpu:
    gpu = FAMILIES[type(kernel)].gpu
    if isinstance(gpu, str):
        raise CompileError(f"a {type(kernel).__name__} does not run on a GPU: {gpu}")
    return gpu
