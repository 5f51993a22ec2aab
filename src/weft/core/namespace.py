"""What a public module shows: its ``__all__`` and nothing else; and what it says of names that it does not have.

>>> import weft as wf
>>> try:
...     wf.nn.Linaer
... except AttributeError as error:
...     print(error)
module 'weft.nn' has no attribute 'Linaer'; did you mean 'Linear'?
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Iterable
from fnmatch import fnmatchcase
from types import FrameType
from typing import Any, NoReturn

from . import boundary
from .errors import is_wefts_own

_IMPORT_FROM = dis.opmap["IMPORT_FROM"]
_SOON = "not there yet"

# Module -> what people look for there: names (or patterns of families) and what to do instead. The first that fits.
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
        ("allclose isclose", "x.allclose(y), or numpy.isclose"),
        ("float FloatTensor", "wf.float32"),
        ("double DoubleTensor", "wf.float64"),
        ("half HalfTensor", "wf.float16"),
        ("long LongTensor", "wf.int64"),
        ("int IntTensor", "wf.int32"),
        ("ByteTensor", "wf.uint8"),
        ("BoolTensor", "wf.bool"),
        ("bmm mm mv", "wf.matmul"),
        ("addmm baddbmm addmv addbmm", "wf.matmul, with + for what is added"),
        ("addcmul addcdiv lerp", "write it with operators: wf.compile makes one kernel of them"),
        ("dot", "wf.matmul or wf.vecdot"),
        ("cat concatenate hstack vstack", "wf.concat(tensors, axis=...)"),
        ("clamp", "wf.clip"),
        ("clone copy", "x.clone()"),
        ("cumsum", "wf.cumulative_sum"),
        ("cumprod", "wf.cumulative_prod"),
        ("gather", "wf.take_along_axis"),
        ("repeat_interleave", "wf.repeat"),
        ("permute", "wf.permute_dims"),
        ("transpose", "wf.swapaxes or wf.permute_dims"),
        ("unsqueeze", "wf.expand_dims"),
        ("unbind", "wf.unstack"),
        ("diag diagonal", f"{_SOON}; wf.eye and wf.where, or x * wf.eye(n)"),
        ("broadcast_tensors", "wf.broadcast_arrays"),
        ("autograd", "x.backward(), or wf.grad and wf.value_and_grad of a function"),
        ("ravel argwhere", "the method x.ravel(), x.argwhere()"),
        ("mul", "wf.multiply"),
        ("div true_divide", "wf.divide"),
        ("sub", "wf.subtract"),
        ("neg", "wf.negative"),
        ("eq ne lt le gt ge", "the operators, or wf.equal, wf.less and the like"),
        ("fmod", "wf.remainder, which has the divisor's sign"),
        ("arccos arcsin arctan arccosh arcsinh arctanh", "the Array API's names: wf.acos, wf.asin, wf.atan ..."),
        ("norm", "wf.linalg.vector_norm or wf.linalg.matrix_norm"),
        ("inverse", "wf.linalg.inv"),
        ("det svd cholesky qr slogdet", "wf.linalg has it"),
        ("std_mean var_mean", "wf.std, wf.var and wf.mean"),
        ("rand", "wf.random.uniform"),
        ("randn normal randn_like", "wf.random.normal"),
        ("randint", "wf.random.integers"),
        ("randperm", "wf.random.permutation"),
        ("relu softmax log_softmax dropout gelu", "weft.nn.functional has it"),
        ("serialization", "wf.save_weights and wf.load_weights"),
        ("_foreach_* _C", "what PyTorch keeps to itself; an optimizer's step is compiled as a whole"),
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


def absent(module: str, name: str, public: Iterable[str]) -> NoReturn:
    """Say that ``module`` has no ``name``, and what to do instead.

    Raises:
        AttributeError: always; ImportError in ``from module import name``, which would drop the text.
    """
    hint = "" if name.startswith("__") else _hint(module, name, list(public))
    asking: FrameType | None = sys._getframe(1)
    while asking is not None and is_wefts_own(asking.f_code):
        asking = asking.f_back
    if asking is not None and asking.f_lasti >= 0 and asking.f_code.co_code[asking.f_lasti] == _IMPORT_FROM:
        raise ImportError(f"cannot import name {name!r} from {module!r}{hint}", name=module)
    raise AttributeError(f"module {module!r} has no attribute {name!r}{hint}", name=name)


def _hint(module: str, name: str, public: list[str]) -> str:
    import difflib  # only mistakes need it

    same = [other for other in public if other.lower().replace("_", "") == name.lower().replace("_", "")]
    near = same or difflib.get_close_matches(name, public, 1, 0.8)
    for patterns, text in HINTS.get(module, ()):
        if not same and any(fnmatchcase(name, pattern) for pattern in patterns.split()):
            return f": {text}"
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
