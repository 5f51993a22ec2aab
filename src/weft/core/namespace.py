"""What a public module shows: its ``__all__`` and nothing else; and what it, and a tensor, says of names that it does
not have.

>>> import weft as wf
>>> try:
...     wf.nn.Linaer
... except AttributeError as error:
...     print(error)
module 'weft.nn' has no attribute 'Linaer'; did you mean 'Linear'?
>>> hasattr(wf.ones(3), "cuda")
False
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from types import FrameType
from typing import Any, NoReturn

from . import boundary
from .errors import is_wefts_own

_IMPORT_FROM = dis.opmap["IMPORT_FROM"]
_SOON = "not there yet"

# Module, or Tensor -> what people look for there: names (or, of modules, patterns of families) and what to do instead.
# The first that fits.
HINTS: dict[str, tuple[tuple[str, str], ...]] = {
    "weft": (
        ("jvp vjp vmap func", f"{_SOON}; wf.grad and wf.value_and_grad are"),
        ("checkpoint", f"{_SOON}: everything that a gradient needs is kept"),
        ("Model callbacks data train utils", f"{_SOON}; write the loop and wf.compile its step"),
        ("complex* is_complex real imag fft *stft view_as_* polar", f"complex numbers are {_SOON}"),
        ("cuda mps backends Stream Event", f"weft runs on the CPU; the GPU is {_SOON}"),
        ("distributed multiprocessing", f"{_SOON}; weft trains on one machine"),
        ("autocast amp *autocast*", f"{_SOON}; cast with wf.astype: 16-bit floats accumulate in float32"),
        ("use_deterministic_algorithms set_float32_matmul_precision", "nothing to set: the bits are always the same"),
        ("*_default_dtype set_default_tensor_type", "nothing to set: floats are wf.float32; give dtype=..."),
        ("sparse* spmm jagged", f"sparse and jagged tensors are {_SOON}"),
        ("unique searchsorted bucketize bincount histogram histc", _SOON),
        ("kthvalue median mode msort", "wf.sort, wf.argsort or wf.topk"),
        ("cummax cummin logcumsumexp renorm", _SOON),
        ("quantile isin cartesian_prod trapezoid hann_window distributions jit fx", _SOON),
        ("channels_last preserve_format contiguous_format", "tensors have one memory format; drop the argument"),
        ("as_tensor", "wf.asarray"),
        ("profiler", "wf.profile"),
        ("ShapeDtypeStruct", "wf.spec"),
        ("Size", "shapes are tuples"),
        ("dtype", "wf.DType"),
        ("set_printoptions", "numpy.set_printoptions, with x.numpy()"),
        ("is_tensor", "isinstance(x, wf.Tensor)"),
        ("inference_mode", "wf.no_grad"),
        ("is_grad_enabled", f"{_SOON}; wf.no_grad, wf.enable_grad and wf.set_grad_enabled are"),
        ("Generator", "wf.random.seed and wf.manual_seed set the one generator"),
        ("isclose", "x.allclose(y), or numpy.isclose"),
        ("float", "wf.float32"),
        ("double", "wf.float64"),
        ("half", "wf.float16"),
        ("long", "wf.int64"),
        ("int", "wf.int32"),
        ("FloatTensor", "wf.tensor(data) or wf.zeros(shape), with dtype=wf.float32"),
        ("DoubleTensor", "wf.tensor(data) or wf.zeros(shape), with dtype=wf.float64"),
        ("HalfTensor", "wf.tensor(data) or wf.zeros(shape), with dtype=wf.float16"),
        ("BFloat16Tensor", "wf.tensor(data) or wf.zeros(shape), with dtype=wf.bfloat16"),
        ("LongTensor", "wf.tensor(data) or wf.zeros(shape), with dtype=wf.int64"),
        ("IntTensor", "wf.tensor(data) or wf.zeros(shape), with dtype=wf.int32"),
        ("ByteTensor", "wf.tensor(data) or wf.zeros(shape), with dtype=wf.uint8"),
        ("BoolTensor", "wf.tensor(data) or wf.zeros(shape), with dtype=wf.bool"),
        ("bmm mm mv", "wf.matmul"),
        ("range", "wf.arange, which excludes the end, as Python's range does"),
        ("dot", "wf.matmul or wf.vecdot"),
        ("cat concatenate hstack vstack", "wf.concat(tensors, axis=...)"),
        ("clamp", "wf.clip"),
        ("copy", "x.clone()"),
        ("cumsum", "wf.cumulative_sum"),
        ("cumprod", "wf.cumulative_prod"),
        ("gather", "wf.take_along_axis"),
        ("repeat_interleave", "wf.repeat"),
        ("permute", "wf.permute_dims"),
        ("transpose", "wf.swapaxes or wf.permute_dims"),
        ("unsqueeze", "wf.expand_dims"),
        ("unbind", "wf.unstack"),
        ("diag", "x.diagonal() of a matrix; x * wf.eye(n) makes one of a vector"),
        ("diag_embed diagflat", "x.unsqueeze(-1) * wf.eye(n)"),
        ("broadcast_tensors", "wf.broadcast_arrays"),
        ("autograd", "x.backward(), or wf.grad and wf.value_and_grad of a function"),
        ("mul", "wf.multiply"),
        ("div true_divide", "wf.divide"),
        ("sub", "wf.subtract"),
        ("neg", "wf.negative"),
        ("eq ne lt le gt ge", "the operators, or wf.equal, wf.less and the like"),
        ("arccos arcsin arctan arccosh arcsinh arctanh", "the Array API's names: wf.acos, wf.asin, wf.atan ..."),
        ("norm", "wf.linalg.vector_norm or wf.linalg.matrix_norm"),
        ("inverse", "wf.linalg.inv"),
        ("logdet", "wf.linalg.slogdet, whose second result it is"),
        ("std_mean var_mean", "wf.std, wf.var and wf.mean"),
        ("rand", "wf.random.uniform"),
        ("rand_like", "wf.random.uniform(x.shape, dtype=x.dtype)"),
        ("randn normal randn_like", "wf.random.normal"),
        ("randint", "wf.random.integers"),
        ("randperm", "wf.random.permutation"),
        ("serialization", "wf.save_weights and wf.load_weights"),
        ("_foreach_* _C", "what PyTorch keeps to itself; an optimizer's step is compiled as a whole"),
    ),
    "Tensor": (
        ("new", "x.new_tensor(data), or x.new_zeros, x.new_ones, x.new_empty and x.new_full of a shape"),
        ("cuda ipu mtia xpu pin_memory record_stream", f"weft runs on the CPU; the GPU is {_SOON}"),
        ("is_cpu is_ipu is_meta is_mps is_mtia is_xla is_xpu", "x.device.type says where the elements are"),
        ("get_device", "x.device.index, which is None for the CPU"),
        ("is_pinned is_shared share_memory_", f"{_SOON}: memory is not shared between processes"),
        ("grad_fn", "x.requires_grad and not x.is_leaf says that x was computed from what requires grad"),
        ("storage storage_type untyped_storage", "x.data_ptr(), x.storage_offset() and x.numpy(), which shares memory"),
        ("set_", "x.data = y makes x look at the memory of y"),
        ("resize resize_ resize_as resize_as_", "memory does not grow: wf.empty(shape), or x.reshape(shape)"),
        ("as_strided as_strided_", f"{_SOON}; x.unfold, x.diagonal, x.expand and indexing make views"),
        ("as_strided_scatter diagonal_scatter select_scatter slice_scatter", "y = x.clone(), and a write to a part"),
        ("itemsize", "x.element_size()"),
        ("is_nonzero", "bool(x)"),
        ("is_same_size", "x.shape == y.shape"),
        ("equal", "x.shape == y.shape and bool((x == y).all())"),
        ("isclose", "x.allclose(y), or numpy.isclose"),
        ("isneginf isposinf", "x == -wf.inf, x == wf.inf"),
        ("kthvalue median mode nanmedian", f"{_SOON}; x.sort(), x.msort() and x.topk(k) are"),
        ("values indices", "x.sort(), x.topk(k) and x.max(axis) give them; wf.sort and wf.max give one tensor"),
        ("unique unique_consecutive bincount histc histogram quantile nanquantile corrcoef cov", _SOON),
        ("cummax cummin logcumsumexp renorm diff dist kron aminmax fmax fmin frexp gcd lcm heaviside nanmean", _SOON),
        ("digamma lgamma polygamma mvlgamma igamma igammac i0 index_reduce index_reduce_", _SOON),
        ("apply_ map_ map2_", "x.numpy() shares the memory; or write it with functions of wf"),
        ("nansum", "x.nan_to_num(nan=0.0).sum()"),
        ("fliplr flipud rot90", "x.flip(axis), with x.transpose(0, 1) to turn"),
        ("take_along_dim", "x.take_along_axis(indices, axis)"),
        ("split_with_sizes tensor_split unsafe_split unsafe_chunk", "x.split(sizes, axis), x.chunk(n, axis)"),
        ("dsplit hsplit vsplit", "x.split(sizes, axis), x.chunk(n, axis)"),
        ("narrow_copy", "x.narrow(axis, start, length).clone()"),
        ("vdot inner", "x.dot(y), wf.vecdot or wf.matmul"),
        ("diag", "x.diagonal() of a matrix; x * wf.eye(n) makes one of a vector"),
        ("diag_embed diagflat", "x.unsqueeze(-1) * wf.eye(n)"),
        ("bernoulli", "x.clone().bernoulli_(x)"),
        ("prelu", "nn.functional.prelu(x, weight)"),
        ("hardshrink", "nn.functional.hardshrink(x)"),
        ("cholesky", "wf.linalg.cholesky(x)"),
        ("cross", "wf.linalg.cross(x, y)"),
        ("det", "wf.linalg.det(x)"),
        ("inverse", "wf.linalg.inv(x)"),
        ("logdet", "wf.linalg.slogdet(x), whose second result it is"),
        ("matrix_exp", "wf.linalg.matrix_exp(x)"),
        ("qr", "wf.linalg.qr(x)"),
        ("slogdet", "wf.linalg.slogdet(x)"),
        ("solve", "wf.linalg.solve(a, x)"),
        ("svd", "wf.linalg.svd(x)"),
        ("cholesky_inverse cholesky_solve eig lstsq lu lu_solve matrix_power", f"{_SOON}; numpy.linalg has it"),
        ("pinverse", f"{_SOON}; numpy.linalg.pinv"),
        ("H adjoint mH", "x.mT, the transpose: there are no complex numbers"),
        ("real conj conj_physical resolve_conj resolve_neg", f"x itself: complex numbers are {_SOON}"),
        ("imag angle cdouble cfloat chalf istft stft", f"complex numbers are {_SOON}"),
        ("coalesce is_coalesced is_sparse layout sparse_mask to_dense to_sparse", f"sparse tensors are {_SOON}"),
        ("is_quantized dequantize q_scale q_zero_point", f"quantized tensors are {_SOON}"),
    ),
    "weft.nn": (
        ("SyncBatchNorm", "nn.BatchNorm1d, nn.BatchNorm2d or nn.BatchNorm3d: weft trains on one machine"),
        ("BatchNorm InstanceNorm", "it has the number of axes in its name: nn.BatchNorm2d, nn.InstanceNorm2d"),
        ("CrossMapLRN2d", "nn.LocalResponseNorm"),
        ("RotaryPositionalEmbeddings", "nn.RotaryEmbedding(dim, interleaved=True)"),
        ("DataParallel parallel", f"{_SOON}; weft trains on one machine and uses all of its cores"),
        ("Dense", "nn.Linear"),
        ("GlobalAvgPool* GlobalAveragePooling*", "nn.AdaptiveAvgPool2d(1) and its kin"),
        ("GlobalMaxPool*", "nn.AdaptiveMaxPool2d(1) and its kin"),
        ("NLLLoss2d", "nn.NLLLoss, which takes (N, C, H, W)"),
        ("Activation relu", "nn.ReLU() is the layer, F.relu the function"),
        ("modules", "the layers are in nn itself, as nn.Linear is"),
    ),
    "weft.nn.functional": (
        ("upsample upsample_*", "F.interpolate"),
        ("apply_rotary_emb apply_rotary_pos_emb", "F.apply_rotary_embedding"),
        ("native_channel_shuffle", "F.channel_shuffle"),
        ("grouped_mm scaled_mm scaled_grouped_mm", f"{_SOON}; wf.matmul multiplies stacks of matrices"),
    ),
    "weft.nn.init": (
        ("_calculate_fan_in_and_fan_out", "nn.init.kaiming_uniform_ and the like compute it"),
        ("constant dirac eye kaiming_normal kaiming_uniform normal orthogonal", "its name ends in _"),
        ("sparse uniform xavier_normal xavier_uniform", "its name ends in _"),
    ),
    "weft.nn.utils": (
        ("weight_norm remove_weight_norm", "nn.utils.parametrizations.weight_norm, and nn.utils.parametrize"),
        ("spectral_norm remove_spectral_norm", "nn.utils.parametrizations.spectral_norm"),
        ("clip_grad_norm", "nn.utils.clip_grad_norm_"),
        ("prune skip_init", _SOON),
    ),
    "weft.optim": (
        ("RMSprop Adadelta RAdam Adagrad Adamax NAdam ASGD Rprop SparseAdam Adafactor", f"{_SOON}; optim.AdamW is"),
        ("LBFGS", f"{_SOON}: its step takes a closure; optim.SGD and optim.Adam are"),
        ("swa_utils", _SOON),
    ),
    "weft.optim.lr_scheduler": (("*LR *Restarts", "lr_scheduler.LambdaLR takes any function of the epoch"),),
    "weft.linalg": (
        ("norm", "wf.linalg.vector_norm or wf.linalg.matrix_norm"),
        ("inverse", "wf.linalg.inv"),
        ("solve_*", f"{_SOON}; wf.linalg.solve solves triangular systems too"),
        ("eig* inv_* pinv* lstsq cholesky_* lu* ldl*", f"{_SOON}; numpy.linalg has them"),
        ("matrix_power matrix_rank multi_dot cond", f"{_SOON}; numpy.linalg has them"),
    ),
    "weft.random": (
        ("randn normal_ standard_normal", "wf.random.normal"),
        ("rand random", "wf.random.uniform"),
        ("randint", "wf.random.integers"),
        ("randperm shuffle", "wf.random.permutation"),
        ("manual_seed", "wf.random.seed"),
        ("choice multinomial categorical", "wf.multinomial"),
    ),
}  # fmt: skip


class Absent:
    """An attribute that is not there: asked for, it says what there is instead. (The class has one for each name:
    ``__getattr__`` would make every slot of every instance three times as slow to read in CPython 3.11.)

    Raises:
        AttributeError: always, so that ``hasattr`` is False.
    """

    def __init__(self, name: str, hint: str) -> None:
        self.name, self.hint = name, hint

    @boundary.bounded
    def __get__(self, instance: object, owner: type) -> NoReturn:
        text = f"{owner.__name__!r} object has no attribute {self.name!r}: {self.hint}"
        raise AttributeError(text, name=self.name)

    def __repr__(self) -> str:  # what help() shows
        return f"<not there: {self.hint}>"


def is_absent(kind: type, name: str) -> bool:
    """Whether a class has a hint alone under a name."""
    return isinstance(next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None), Absent)


def absences(kind: str) -> Iterator[Absent]:
    """What people look for in a class of which :data:`HINTS` has a row."""
    for names, text in HINTS[kind]:
        for name in names.split():
            yield Absent(name, text)


def absent(module: str, name: str, public: Iterable[str], elsewhere: Callable[[str], str] | None = None) -> NoReturn:
    """Say that ``module`` has no ``name``, and what to do instead; ``elsewhere(name)`` is where else it is, or nothing.

    Raises:
        AttributeError: always; ImportError in ``from module import name``, which would drop the text.
    """
    hint = "" if name.startswith("__") else _hint(module, name, list(public), elsewhere)
    asking: FrameType | None = sys._getframe(1)
    while asking is not None and is_wefts_own(asking.f_code):
        asking = asking.f_back
    if asking is not None and asking.f_lasti >= 0 and asking.f_code.co_code[asking.f_lasti] == _IMPORT_FROM:
        raise ImportError(f"cannot import name {name!r} from {module!r}{hint}", name=module)
    raise AttributeError(f"module {module!r} has no attribute {name!r}{hint}", name=name)


def _hint(module: str, name: str, public: list[str], elsewhere: Callable[[str], str] | None) -> str:
    import difflib  # only mistakes need it

    same = [other for other in public if other.lower().replace("_", "") == name.lower().replace("_", "")]
    for patterns, text in HINTS.get(module, ()):
        if not same and any(fnmatchcase(name, pattern) for pattern in patterns.split()):
            return f": {text}"
    if elsewhere is not None and not same and (found := elsewhere(name)):
        return f": {found}"
    near = same or difflib.get_close_matches(name, public, 1, 0.8)
    return f"; did you mean {near[0]!r}?" if near else ""


def publish(namespace: dict[str, Any], name: str = "") -> None:
    """Make a module with ``__all__`` public: its functions and classes are boundaries, ``dir()`` lists them alone, and
    names that it does not have are explained.

    ``name`` is what users know it by, where that is not its own.
    """
    public: list[str] = namespace["__all__"]
    known = name or namespace["__name__"]
    boundary.install(namespace, public)
    namespace["__dir__"] = lambda: sorted(public)
    late = namespace.get("__getattr__", lambda missing: absent(known, missing, public))
    namespace["__getattr__"] = boundary.bounded(late)
