"""What public modules show, and what they say of what they do not have."""

from __future__ import annotations

import re
import traceback
from types import ModuleType
from typing import Any

import pytest

import weft as wf
from weft import nn, optim
from weft.core import namespace
from weft.nn import functional as F

MODULES: dict[str, ModuleType] = {
    "weft": wf,
    "weft.nn": nn,
    "weft.nn.functional": F,
    "weft.nn.init": nn.init,
    "weft.nn.utils": nn.utils,
    "weft.optim": optim,
    "weft.optim.lr_scheduler": optim.lr_scheduler,
    "weft.linalg": wf.linalg,
    "weft.random": wf.random,
    "weft.memory": wf.memory,
}

X = wf.ones((2, 3))
# What a program that was written for PyTorch asks of a tensor.
OF_TENSORS = (
    "new cuda grad_fn median unique bincount inverse diag equal isclose cummax cummin kthvalue renorm cross det "
    "slogdet logdet resize_ set_ as_strided storage untyped_storage share_memory_ mH get_device values indices"
)
# Names of PyTorch's, the most frequent of published programs first: weft has them, or says what to do instead.
FREQUENT = {
    "weft": "cat randn long device randint rand multinomial inference_mode topk clamp Generator randperm float "
    "FloatTensor as_tensor allclose repeat_interleave softmax LongTensor finfo mm gather view_as_real normal is_tensor "
    "unique dot get_default_dtype sort set_printoptions randn_like autocast set_float32_matmul_precision channels_last "
    "Size bmm argsort norm unsqueeze diag backends mul sparse_coo_tensor view_as_complex cumsum bucketize polar relu "
    "transpose unbind dtype _foreach_add_ preserve_format is_complex mv clone serialization div ByteTensor jagged neg "
    "addcmul bincount erfinv fmod double set_default_tensor_type histogram cartesian_prod is_autocast_enabled isclose "
    "vmap addmm arccos arcsin arctan baddbmm complex64 contiguous_format det distributions get_default_device half "
    "hann_window is_grad_enabled isin log_softmax permute real spmm std_mean stft trapezoid var_mean cuda zeros tensor "
    "use_deterministic_algorithms no_grad broadcast_tensors autograd ravel argwhere "
    "diagonal conv1d conv2d amax range masked_fill index_select narrow scatter masked_select movedim nan_to_num numel "
    "t logit batch_norm layer_norm group_norm pixel_shuffle embedding prelu selu celu threshold diag_embed rand_like "
    "bernoulli",
    "weft.nn": "Conv2d BatchNorm2d MaxPool2d ConvTranspose2d AdaptiveAvgPool2d AvgPool2d LSTM DataParallel Conv1d "
    "Upsample BatchNorm1d MultiheadAttention Dropout2d RNN InstanceNorm2d ZeroPad2d GRU ReflectionPad2d Conv3d Unfold "
    "PixelShuffle AdaptiveMaxPool2d LazyLinear LazyConv2d Dense Conv2D GroupNorm LazyBatchNorm2d MaxPool2D "
    "GlobalAvgPool2D BatchNorm Transformer LSTMCell SyncBatchNorm AdaptiveAvgPool1d ConstantPad2d EmbeddingBag modules "
    "TransformerDecoder TransformerEncoderLayer Linear CTCLoss TripletMarginLoss",
    "weft.nn.functional": "pad scaled_dot_product_attention interpolate max_pool2d avg_pool2d normalize "
    "adaptive_avg_pool2d batch_norm adaptive_max_pool2d group_norm grid_sample affine_grid cosine_similarity "
    "fold pixel_shuffle unfold relu softmax conv_transpose2d glu",
    "weft.nn.init": "orthogonal_ _calculate_fan_in_and_fan_out constant kaiming_normal normal xavier_uniform_",
    "weft.nn.utils": "clip_grad_norm_ rnn weight_norm spectral_norm",
    "weft.optim": "SGD RMSprop Adadelta RAdam Adagrad Adamax LBFGS NAdam",
    "weft.optim.lr_scheduler": "StepLR ReduceLROnPlateau MultiStepLR OneCycleLR CosineAnnealingWarmRestarts",
    "weft.linalg": "svd pinv eig inv solve_triangular solve eigh norm qr",
}


@pytest.mark.parametrize("name", MODULES)
def test_dir_lists_what_is_public(name: str) -> None:
    module = MODULES[name]
    assert dir(module) == sorted(module.__all__)
    assert all(hasattr(module, public) for public in module.__all__)


def message(module: ModuleType, name: str) -> str:
    with pytest.raises(AttributeError) as caught:
        getattr(module, name)
    return str(caught.value)


@pytest.mark.parametrize(("module", "name"), [(m, n) for m, names in FREQUENT.items() for n in names.split()])
def test_frequent_names_are_there_or_explained(module: str, name: str) -> None:
    if not hasattr(MODULES[module], name):
        assert re.match(
            rf"module '{module}' has no attribute '{name}'(: |; did you mean ')", message(MODULES[module], name)
        )


@pytest.mark.parametrize("name", OF_TENSORS.split())
@pytest.mark.parametrize("x", [X, nn.Parameter(X)], ids=["Tensor", "Parameter"])
def test_what_a_tensor_does_not_have_is_explained(x: Any, name: str) -> None:
    assert not hasattr(x, name) and not hasattr(type(x), name) and name not in dir(x)
    with pytest.raises(AttributeError) as caught:
        getattr(x, name)
    assert re.match(f"'{type(x).__name__}' object has no attribute '{name}': .", str(caught.value))
    assert caught.value.name == name and len(traceback.extract_tb(caught.value.__traceback__)) == 1


def test_attributes_of_tensors_are_looked_up_by_python_alone() -> None:
    """With ``__getattr__``, or ``__getattribute__``, CPython 3.11 reads no slot and no property the quick way."""
    assert not hasattr(wf.Tensor, "__getattr__")
    assert wf.Tensor.__getattribute__ is object.__getattribute__


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("masked_fill", "the method x.masked_fill"),
        ("T", "the attribute x.T"),
        ("amax", "the method x.amax"),
        ("fmod", "the method x.fmod"),
        ("diagonal", "the method x.diagonal, or wf.linalg.diagonal"),
        ("conv2d", "wf.nn.functional.conv2d"),
        ("det", "wf.linalg.det"),
        ("bernoulli", "wf.random.bernoulli"),
        ("relu", "the method x.relu, or wf.nn.functional.relu"),
    ],
)
def test_a_name_that_is_elsewhere_is_said_to_be_there(name: str, where: str) -> None:
    assert message(wf, name) == f"module 'weft' has no attribute '{name}': {where}"


@pytest.mark.parametrize("arguments", [(), (3, 4), ([1.0],)])
def test_the_class_says_what_makes_a_tensor(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(wf.ArgumentError, match=r"wf\.tensor\(data\).*wf\.zeros\(shape\)"):
        wf.Tensor(*arguments)


def test_names_that_are_there_need_no_hint() -> None:
    there = {**{name: module.__all__ for name, module in MODULES.items()}, "Tensor": dir(X)}
    exact = [
        (module, name)
        for module, rows in namespace.HINTS.items()
        for patterns, _ in rows
        for name in patterns.split()
        if not set("*?") & set(name)
    ]
    assert [f"{module}.{name}" for module, name in exact if name in there[module]] == []


def test_what_a_hint_names_exists() -> None:
    short: dict[str, Any] = {"wf": wf, "nn": nn, "F": F, "optim": optim, "lr_scheduler": optim.lr_scheduler, "x": X}
    for rows in namespace.HINTS.values():
        for _, text in rows:
            for root, path in re.findall(r"(?<!\.)\b(wf|nn|F|optim|lr_scheduler|x)\.([\w.]*\w)", text):
                found = short[root]
                for part in path.split("."):
                    found = getattr(found, part)


@pytest.mark.parametrize(
    ("module", "name", "meant"),
    [
        (nn, "Linaer", "Linear"),
        (nn, "sequential", "Sequential"),
        (wf, "matmull", "matmul"),
        (wf.linalg, "vector_nrom", "vector_norm"),
        (F, "cross_entropi", "cross_entropy"),
    ],
)
def test_a_slip_of_the_finger(module: ModuleType, name: str, meant: str) -> None:
    assert message(module, name).endswith(f"has no attribute '{name}'; did you mean '{meant}'?")


def test_a_name_like_no_other() -> None:
    assert message(nn, "Quux") == "module 'weft.nn' has no attribute 'Quux'"
    assert not hasattr(wf, "__wrapped__") and getattr(nn, "SyncBatchNorm", None) is None


def test_an_import_says_it_too() -> None:
    with pytest.raises(ImportError, match=r"cannot import name 'DataParallel' .*: not there yet; weft trains"):
        from weft.nn import DataParallel  # type: ignore[attr-defined]  # noqa: F401
    with pytest.raises(ImportError, match=r"cannot import name 'cat' from 'weft': wf\.concat\(tensors, axis=\.\.\.\)"):
        from weft import cat  # type: ignore[attr-defined]  # noqa: F401


def test_the_traceback_is_the_users_line() -> None:
    for module in (wf, nn):
        with pytest.raises(AttributeError) as caught:
            module.SyncBatchNorm  # noqa: B018
        assert len(traceback.extract_tb(caught.value.__traceback__)) == 1
