"""What is left out of a call is what PyTorch, or where it has no such function the Array API standard, takes for it.

Declared defaults are compared with PyTorch's signatures; where it has none that Python can read, or no such function,
the table below says them, in the standard's words. Methods take their arguments by names of two libraries, so a
call without an argument is compared with one that passes PyTorch's default.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn, optim
from weft.nn import functional as F
from weft.nn import init
from weft.optim import lr_scheduler

torch = pytest.importorskip("torch")

MODULES: dict[str, tuple[Any, Any]] = {
    "wf": (wf, torch),
    "F": (F, torch.nn.functional),
    "linalg": (wf.linalg, torch.linalg),
    "random": (wf.random, None),
    "nn": (nn, torch.nn),
    "optim": (optim, torch.optim),
    "lr_scheduler": (lr_scheduler, torch.optim.lr_scheduler),
    "init": (init, torch.nn.init),
}
CLASSES: dict[str, tuple[Any, Any]] = {
    "Module": (nn.Module, torch.nn.Module),
    "Optimizer": (optim.Optimizer, torch.optim.Optimizer),
    "LRScheduler": (lr_scheduler.LRScheduler, torch.optim.lr_scheduler.LRScheduler),
    "Generator": (wf.random.Generator, None),
}
THEIRS = {"axis": "dim", "keepdims": "keepdim"}  # the standard's names, and PyTorch's


def words(text: str) -> list[str]:
    return text.split()


# Where PyTorch says nothing that Python can read: the standard's defaults (2024.12), then PyTorch's documentation,
# then NumPy's for what only it has (random's are those of numpy.random.Generator).
_REDUCTION = {"axis": None, "keepdims": False}
_SUM, _SPREAD, _LIKE = {**_REDUCTION, "dtype": None}, {**_REDUCTION, "correction": 0.0}, {"dtype": None}
_RUNNING = {"axis": None, "dtype": None, "include_initial": False}
_UNIFORM = {"shape": (), "low": 0.0, "high": 1.0, "dtype": wf.float32}
_NORMAL = {"shape": (), "mean": 0.0, "std": 1.0, "dtype": wf.float32}
_INTEGERS = {"high": None, "shape": (), "dtype": wf.int64}
_BERNOULLI = {"p": 0.5, "shape": None, "dtype": wf.bool}
_GRADIENT = {"argnums": 0, "has_aux": False}
_RECURRENT = {
    "num_layers": 1,
    "bias": True,
    "batch_first": False,
    "dropout": 0.0,
    "bidirectional": False,
    "dtype": None,
}
_CONVOLUTION = {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
_FRACTIONAL = {
    "output_size": None,
    "output_ratio": None,
    "return_indices": False,
    "_random_samples": None,
    "generator": None,
}
_TRANSPOSED = {**_CONVOLUTION, "output_padding": 0}
SAID: dict[str, dict[str, Any]] = {
    **{f"wf.{name}": _REDUCTION for name in words("all any argmax argmin count_nonzero logsumexp max mean min")},
    **{f"wf.{name}": _LIKE for name in words("empty empty_like full full_like ones ones_like zeros zeros_like")},
    **{f"wf.{name}": {"axis": 0} for name in words("chunk concat expand_dims scatter_add split stack unstack")},
    **{f"wf.{name}": {"axis": None} for name in words("flip repeat roll squeeze take")},
    "wf.sum": _SUM,
    "wf.prod": _SUM,
    "wf.std": _SPREAD,
    "wf.var": _SPREAD,
    "wf.cumulative_prod": _RUNNING,
    "wf.cumulative_sum": _RUNNING,
    "wf.arange": {"stop": None, "step": 1, "dtype": None},
    "wf.asarray": {"dtype": None, "copy": None},
    "wf.astype": {"copy": True},
    "wf.clip": {"min": None, "max": None},
    "wf.compile": {"function": None, "dynamic": None, "memory_limit": None},
    "wf.export": {"target": None, "name": None},
    "wf.eye": {"n_cols": None, "k": 0, "dtype": None},
    "wf.flatten": {"start_dim": 0, "end_dim": -1},
    "wf.grad": _GRADIENT,
    "wf.linspace": {"dtype": None, "endpoint": True},
    "wf.load": {"strict": True},
    "wf.load_weights": {"strict": True},
    "wf.matmul": {"dtype": None},  # NumPy's
    "linalg.matmul": {"dtype": None},
    "wf.meshgrid": {"indexing": "xy"},
    "wf.pad": {"value": 0},
    "wf.reshape": {"copy": None},
    "wf.save": {"dynamic": None},
    "wf.set_grad_enabled": {"mode": True},
    "wf.spec": {"dtype": wf.float32},
    "wf.take_along_axis": {"axis": -1},
    "wf.tensor": {"dtype": None, "requires_grad": False},
    "wf.tensordot": {"axes": 2},
    "wf.tril": {"k": 0},
    "wf.triu": {"k": 0},
    "wf.value_and_grad": _GRADIENT,
    "wf.vecdot": {"axis": -1},
    "F.avg_pool1d": {"stride": None, "padding": 0, "ceil_mode": False, "count_include_pad": True},
    "F.max_pool1d": {"stride": None, "padding": 0, "dilation": 1, "ceil_mode": False, "return_indices": False},
    "F.avg_pool2d": {
        "stride": None,
        "padding": 0,
        "ceil_mode": False,
        "count_include_pad": True,
        "divisor_override": None,
    },
    "F.max_pool2d": {"stride": None, "padding": 0, "dilation": 1, "ceil_mode": False, "return_indices": False},
    "F.avg_pool3d": {
        "stride": None,
        "padding": 0,
        "ceil_mode": False,
        "count_include_pad": True,
        "divisor_override": None,
    },
    "F.max_pool3d": {"stride": None, "padding": 0, "dilation": 1, "ceil_mode": False, "return_indices": False},
    "F.bilinear": {"bias": None},
    "F.cosine_similarity": {"dim": 1, "eps": 1e-8},
    "F.pdist": {"p": 2.0},
    "F.dropout": {"generator": None},
    "F.scaled_dot_product_attention": {
        "attn_mask": None,
        "dropout_p": 0.0,
        "is_causal": False,
        "scale": None,
        "enable_gqa": False,
        "generator": None,
    },
    "F.apply_rotary_embedding": {"interleaved": False},  # flash-attn's, as nn.RotaryEmbedding's
    "nn.RotaryEmbedding": {"base": 10000.0, "interleaved": False, "scale": 1.0},
    "nn.KVCache": {"dtype": None},
    "wf.argsort": {"axis": -1, "descending": False, "stable": True},
    "wf.sort": {"axis": -1, "descending": False, "stable": True},
    "wf.topk": {"dim": -1, "largest": True, "sorted": True},
    "wf.multinomial": {"replacement": False, "generator": None},
    "F.celu_": {"alpha": 1.0},
    "F.elu_": {"alpha": 1.0},
    "F.hardtanh_": {"min_val": -1.0, "max_val": 1.0},
    "F.leaky_relu_": {"negative_slope": 0.01},
    "F.rrelu_": {"lower": 1.0 / 8, "upper": 1.0 / 3, "training": False, "generator": None},
    "F.conv_tbc": {"pad": 0},
    "F.adaptive_max_pool1d": {"return_indices": False},
    "F.adaptive_max_pool2d": {"return_indices": False},
    "F.adaptive_max_pool3d": {"return_indices": False},
    "F.alpha_dropout": {"generator": None},
    "F.dropout1d": {"generator": None},
    "F.dropout2d": {"generator": None},
    "F.dropout3d": {"generator": None},
    "F.feature_alpha_dropout": {"generator": None},
    **{f"F.fractional_max_pool{rank}d{more}": _FRACTIONAL for rank in (2, 3) for more in ("", "_with_indices")},
    "F.gelu": {"approximate": "none"},
    "F.gumbel_softmax": {"generator": None},
    "F.hardshrink": {"lambd": 0.5},
    "F.linear": {"bias": None},
    **{f"F.conv{rank}d": _CONVOLUTION for rank in (1, 2, 3)},
    **{f"F.conv_transpose{rank}d": _TRANSPOSED for rank in (1, 2, 3)},
    "F.one_hot": {"num_classes": -1},
    "F.pairwise_distance": {"p": 2.0, "eps": 1e-6, "keepdim": False},
    "F.rrelu": {"generator": None},
    "F.softmin": {"dim": -1},
    "F.softshrink": {"lambd": 0.5},
    "F.softplus": {"beta": 1.0, "threshold": 20.0},
    "F.softmax": {"dim": -1, "axis": None},
    "F.log_softmax": {"dim": -1, "axis": None},
    "wf.scan": {"xs": None, "length": None, "reverse": False},  # JAX's
    "wf.while_loop": {"max_steps": None},
    "linalg.cholesky": {"upper": False},
    "linalg.cross": {"axis": -1},
    "linalg.diagonal": {"offset": 0},
    "linalg.eigh": {"UPLO": "L"},
    "linalg.eigvalsh": {"UPLO": "L"},
    "linalg.matrix_norm": {"keepdims": False, "ord": "fro"},
    "linalg.qr": {"mode": "reduced"},
    "linalg.solve": {"left": True},
    "linalg.svd": {"full_matrices": True},
    "linalg.tensordot": {"axes": 2},
    "linalg.trace": {"offset": 0, "dtype": None},
    "linalg.vecdot": {"axis": -1},
    "linalg.vector_norm": {"axis": None, "keepdims": False, "ord": 2},
    "random.Generator": {"seed": 0},
    **{f"{where}uniform": _UNIFORM for where in ("random.", "Generator.")},
    **{f"{where}normal": _NORMAL for where in ("random.", "Generator.")},
    **{f"{where}integers": _INTEGERS for where in ("random.", "Generator.")},
    **{f"{where}bernoulli": _BERNOULLI for where in ("random.", "Generator.")},
    "random.draw_uniform": {k: v for k, v in _UNIFORM.items() if k != "shape"},
    "random.draw_normal": {k: v for k, v in _NORMAL.items() if k != "shape"},
    "random.draw_integers": {"dtype": wf.int64},
    "random.draw_bernoulli": {"dtype": wf.bool},
    "nn.ParameterList": {"values": None},
    "nn.clip_grad_norm_": {"norm_type": 2.0, "error_if_nonfinite": False, "foreach": None},
    "nn.clip_grad_value_": {"foreach": None},
    "wf.device": {"index": None},
    "nn.GRU": _RECURRENT,
    "nn.LSTM": {**_RECURRENT, "proj_size": 0},
    "nn.RNN": {**_RECURRENT, "nonlinearity": "tanh"},
    "Module.to": {"target": None, "dtype": None, "non_blocking": False, "device": None},
}
# What differs from PyTorch on purpose, and why.
DIFFERENT = {
    ("wf.set_grad_enabled", "mode"): "PyTorch wants it said",
    ("wf.meshgrid", "indexing"): "the standard's; PyTorch says that it will change to it",
    ("F.softmax", "dim"): "PyTorch guesses, with a warning",
    ("F.log_softmax", "dim"): "PyTorch guesses, with a warning",
    ("F.softmin", "dim"): "PyTorch guesses, with a warning",
    ("wf.load", "strict"): "reads other files than torch.load",
    ("wf.save", "dynamic"): "writes other files than torch.save",
}


def defaults(function: Any) -> dict[str, Any]:
    """The parameters that may be left out; of a function without a readable signature none."""
    try:
        signature = inspect.signature(getattr(function, "function", function))
    except (TypeError, ValueError):
        return {}
    return {p.name: p.default for p in signature.parameters.values() if p.default is not p.empty}


def functions() -> Iterator[tuple[str, Any, Any]]:
    for where, (ours, theirs) in MODULES.items():
        for name in ours.__all__:
            member = getattr(ours, name)
            error = inspect.isclass(member) and issubclass(member, Exception)
            if callable(member) and not error and not isinstance(member, wf.DType) and member is not wf.Tensor:
                yield f"{where}.{name}", member, getattr(theirs, name, None)
    for where, (ours, theirs) in CLASSES.items():
        for name, member in vars(ours).items():
            if callable(member) and not name.startswith("_"):
                yield f"{where}.{name}", member, getattr(theirs, name, None)


FUNCTIONS = {name: (ours, theirs) for name, ours, theirs in functions() if defaults(ours)}


def is_same(a: Any, b: Any) -> bool:
    if callable(a) and callable(b):  # F.relu
        return bool(a.__name__ == b.__name__)
    return a is b or (
        a == b and isinstance(a, bool) is isinstance(b, bool) and type(a) in (bool, int, float, str, tuple)
    )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_default_is_pytorchs_or_the_standards(name: str) -> None:
    ours, theirs = FUNCTIONS[name]
    known, said = defaults(theirs), SAID.get(name, {})
    for parameter, default in defaults(ours).items():
        if parameter == "device":  # PyTorch's, of which few functions have a signature that can be read
            assert default is None
            continue
        key = parameter if parameter in known else THEIRS.get(parameter, parameter)
        if key in known and (name, parameter) not in DIFFERENT:
            assert is_same(default, known[key]), (parameter, default, known[key])
        else:
            assert parameter in said, f"{parameter}={default!r}: PyTorch does not say; what does the standard?"
        if parameter in said:
            assert is_same(default, said[parameter]), (parameter, default, said[parameter])


def test_the_table_names_what_there_is() -> None:
    named = [(name, parameter) for name, table in SAID.items() for parameter in table]
    assert [n for n in (*named, *DIFFERENT) if n[0] not in FUNCTIONS or n[1] not in defaults(FUNCTIONS[n[0]][0])] == []


X = np.array([[3.0, -1.0, 2.0], [0.0, 5.0, 5.0]], np.float32)
# A call, and the same with PyTorch's defaults passed.
LEFT_OUT = """
x.sum() ; x.sum(dim=None, keepdim=False)
x.sum(1) ; x.sum(dim=1, keepdim=False)
x.prod(1) ; x.prod(dim=1, keepdim=False)
x.mean() ; x.mean(dim=None, keepdim=False)
x.mean(1) ; x.mean(dim=1, keepdim=False)
x.amax(1) ; x.amax(dim=1, keepdim=False)
x.amin(1) ; x.amin(dim=1, keepdim=False)
x.all(1) ; x.all(dim=1, keepdim=False)
x.any(1) ; x.any(dim=1, keepdim=False)
x.argmax() ; x.argmax(dim=None, keepdim=False)
x.argmin(1) ; x.argmin(dim=1, keepdim=False)
x.logsumexp(1) ; x.logsumexp(dim=1, keepdim=False)
x.max(1) ; x.max(dim=1, keepdim=False)
x.min(1) ; x.min(dim=1, keepdim=False)
x.std() ; x.std(dim=None, correction=1, keepdim=False)
x.var() ; x.var(dim=None, correction=1, keepdim=False)
x.std(1) ; x.std(1, unbiased=True, keepdim=False)
x.var(dim=1) ; x.var(1, unbiased=True, keepdim=False)
x.norm() ; x.norm(p="fro", dim=None, keepdim=False, dtype=None)
x.norm(dim=1) ; x.norm(p=2, dim=1, keepdim=False, dtype=None)
x.norm(1, 1) ; x.norm(p=1, dim=1, keepdim=False, dtype=None)
x.cumsum(1) ; x.cumsum(dim=1, dtype=None)
x.cumprod(1) ; x.cumprod(dim=1, dtype=None)
x.softmax(1) ; x.softmax(dim=1, dtype=None)
x.log_softmax(1) ; x.log_softmax(dim=1, dtype=None)
x.split(1) ; x.split(1, dim=0)
x.chunk(2) ; x.chunk(2, dim=0)
x.unbind() ; x.unbind(dim=0)
x.tril() ; x.tril(diagonal=0)
x.triu() ; x.triu(diagonal=0)
x.tril_() ; x.tril_(diagonal=0)
x.triu_() ; x.triu_(diagonal=0)
x.diagonal() ; x.diagonal(offset=0, dim1=0, dim2=1)
x.flatten() ; x.flatten(start_dim=0, end_dim=-1)
x.roll(1) ; x.roll(1, dims=())
x.add(x) ; x.add(x, alpha=1)
x.add_(x) ; x.add_(x, alpha=1)
x.sub(x) ; x.sub(x, alpha=1)
x.sub_(x) ; x.sub_(x, alpha=1)
x.div(2) ; x.div(2, rounding_mode=None)
x.div_(2) ; x.div_(2, rounding_mode=None)
x.addcmul(x, x) ; x.addcmul(x, x, value=1)
x.addcmul_(x, x) ; x.addcmul_(x, x, value=1)
x.addcdiv(x, y) ; x.addcdiv(x, y, value=1)
x.addcdiv_(x, y) ; x.addcdiv_(x, y, value=1)
x.addmm(x, q) ; x.addmm(x, q, beta=1, alpha=1)
x.addmm_(x, q) ; x.addmm_(x, q, beta=1, alpha=1)
x.addr(x[:, 0], x[0]) ; x.addr(x[:, 0], x[0], beta=1, alpha=1)
x[:, 0].addmv(x, x[0]) ; x[:, 0].addmv(x, x[0], beta=1, alpha=1)
x.addbmm(x[None], q[None]) ; x.addbmm(x[None], q[None], beta=1, alpha=1)
x[None].baddbmm(x[None], q[None]) ; x[None].baddbmm(x[None], q[None], beta=1, alpha=1)
x.clamp(max=1) ; x.clamp(min=None, max=1)
x.clamp(0) ; x.clamp(min=0, max=None)
x.clamp_(0) ; x.clamp_(min=0, max=None)
x.round() ; x.round(decimals=0)
x.round_() ; x.round_(decimals=0)
(x * 0.3).round() ; (x * 0.3).round(decimals=0)
x.nan_to_num() ; x.nan_to_num(nan=0.0, posinf=None, neginf=None)
z.nan_to_num() ; z.nan_to_num(nan=0.0, posinf=None, neginf=None)
z.nan_to_num_() ; z.nan_to_num_(nan=0.0, posinf=None, neginf=None)
(x / 9).logit() ; (x / 9).logit(eps=None)
x.index_add(0, at, x) ; x.index_add(0, at, x, alpha=1)
x.index_add_(0, at, y) ; x.index_add_(0, at, y, alpha=1)
x.index_put((at,), x) ; x.index_put((at,), x, accumulate=False)
x.index_put_((at,), y) ; x.index_put_((at,), y, accumulate=False)
x.put_(at, y[0, :2]) ; x.put_(at, y[0, :2], accumulate=False)
x.scatter_reduce(0, at2, x, "sum") ; x.scatter_reduce(0, at2, x, "sum", include_self=True)
x.scatter_reduce_(0, at2, y, "sum") ; x.scatter_reduce_(0, at2, y, "sum", include_self=True)
x.fill_diagonal_(7) ; x.fill_diagonal_(7, wrap=False)
x.T.contiguous().fill_diagonal_(7) ; x.T.contiguous().fill_diagonal_(7, wrap=False)
x.copy_(y) ; x.copy_(y, non_blocking=False)
x.to(m.float64) ; x.to(m.float64, non_blocking=False, copy=False)
x.new_zeros((2,)) ; x.new_zeros((2,), dtype=None, device=None, requires_grad=False)
x.new_ones((2,)) ; x.new_ones((2,), dtype=None, device=None, requires_grad=False)
x.new_full((2,), 3) ; x.new_full((2,), 3, dtype=None, device=None, requires_grad=False)
x.new_tensor([2]) ; x.new_tensor([2], dtype=None, device=None, requires_grad=False)
x.nonzero() ; x.nonzero(as_tuple=False)
x.allclose(x + 9e-9) ; x.allclose(x + 9e-9, rtol=1e-5, atol=1e-8, equal_nan=False)
x.allclose(x * 1.00002) ; x.allclose(x * 1.00002, rtol=1e-5, atol=1e-8, equal_nan=False)
z.allclose(z) ; z.allclose(z, rtol=1e-5, atol=1e-8, equal_nan=False)
x.requires_grad_().requires_grad ; x.requires_grad_(True).requires_grad
m.tensor([1.0]).requires_grad ; m.tensor([1.0], requires_grad=False).requires_grad
"""
PAIRS = [tuple(part.strip() for part in line.split(" ; ")) for line in LEFT_OUT.strip().splitlines()]


def outcome(module: Any, text: str) -> list[Any]:
    names = {
        "m": module,
        "x": module.asarray(X.copy()),
        "y": module.asarray(np.abs(X) + 1),
        "q": module.asarray(np.eye(3, dtype=np.float32)),
        "z": module.asarray(np.array([1.5, np.nan, np.inf, -np.inf], np.float32)),
        "at": module.asarray(np.array([1, 0])),
        "at2": module.asarray(np.array([[1, 0, 1], [1, 1, 0]])),
    }
    found = eval(text, names)
    return [np.asarray(v) for v in (found if isinstance(found, (tuple, list)) else (found,))]


@pytest.mark.parametrize(("short", "full"), PAIRS)
def test_a_method_without_an_argument_takes_pytorchs_default(short: str, full: str) -> None:
    expected = outcome(torch, short)
    for a, b in zip(outcome(torch, full), expected, strict=True):
        assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f")  # or the table is wrong
    for text in (short, full):
        for a, b in zip(outcome(wf, text), expected, strict=True):
            assert a.dtype == b.dtype and a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=1e-6)


# Draws: PyTorch's stream is another one, so its defaults stand here as its documentation has them.
DRAWS: dict[str, dict[str, Any]] = {
    "bernoulli_": {"p": 0.5},
    "cauchy_": {"median": 0.0, "sigma": 1.0},
    "exponential_": {"lambd": 1.0},
    "log_normal_": {"mean": 1.0, "std": 2.0},
    "normal_": {"mean": 0.0, "std": 1.0},
    "random_": {"from": 0, "to": None},
    "uniform_": {"from": 0.0, "to": 1.0},
}


def drawn(draw: Callable[[], Any]) -> bytes:
    wf.random.seed(11)
    return bytes(draw().numpy().tobytes())


@pytest.mark.parametrize("name", DRAWS)
def test_a_sampler_takes_pytorchs_defaults(name: str) -> None:
    def call(**given: Any) -> bytes:
        return drawn(lambda: getattr(wf.zeros(50), name)(**given))

    assert call() == call(**DRAWS[name])
    for key in DRAWS[name]:
        assert call() == call(**{k: v for k, v in DRAWS[name].items() if k != key})


# Of weft alone: the call, and what it stands for.
WEFTS: list[tuple[Callable[[], Any], Callable[[], Any]]] = [
    (lambda: wf.random.normal(50), lambda: wf.random.normal(50, 0.0, 1.0, dtype=wf.float32)),
    (lambda: wf.random.uniform(50), lambda: wf.random.uniform(50, 0.0, 1.0, dtype=wf.float32)),
    (lambda: wf.random.integers(9, shape=50), lambda: wf.random.integers(0, 9, 50, dtype=wf.int64)),
    (lambda: wf.random.bernoulli(shape=50), lambda: wf.random.bernoulli(0.5, 50, dtype=wf.bool)),
    (lambda: F.dropout(wf.ones(50)), lambda: F.dropout(wf.ones(50), 0.5, True)),
    (lambda: init.normal_(wf.zeros(50)), lambda: init.normal_(wf.zeros(50), 0.0, 1.0)),
    (lambda: init.uniform_(wf.zeros(50)), lambda: init.uniform_(wf.zeros(50), 0.0, 1.0)),
    (lambda: init.trunc_normal_(wf.zeros(50)), lambda: init.trunc_normal_(wf.zeros(50), 0.0, 1.0, -2.0, 2.0)),
    (
        lambda: init.kaiming_uniform_(wf.zeros((5, 10))),
        lambda: init.kaiming_uniform_(wf.zeros((5, 10)), 0.0, "fan_in", "leaky_relu"),
    ),
    (
        lambda: init.kaiming_normal_(wf.zeros((5, 10))),
        lambda: init.kaiming_normal_(wf.zeros((5, 10)), 0.0, "fan_in", "leaky_relu"),
    ),
    (lambda: init.xavier_uniform_(wf.zeros((5, 10))), lambda: init.xavier_uniform_(wf.zeros((5, 10)), 1.0)),
    (lambda: init.xavier_normal_(wf.zeros((5, 10))), lambda: init.xavier_normal_(wf.zeros((5, 10)), 1.0)),
]


@pytest.mark.parametrize("case", range(len(WEFTS)))
def test_a_draw_takes_the_defaults_that_it_declares(case: int) -> None:
    short, full = WEFTS[case]
    assert drawn(short) == drawn(full)


def test_gains_of_pytorch() -> None:
    for name in ("linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"):
        assert init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name))
    assert init.calculate_gain("leaky_relu", 0) == torch.nn.init.calculate_gain("leaky_relu", 0)


@pytest.mark.parametrize("given", [{}, {"gamma": 0.1}])
def test_a_step_schedule_left_alone(given: dict[str, float]) -> None:
    rates = schedule(wf, lambda library, o: library.StepLR(o, 2, **given))
    assert rates == pytest.approx(schedule(torch, lambda library, o: library.StepLR(o, 2, **given)))


@pytest.mark.parametrize("given", [{}, {"eta_min": 0.0}])
def test_a_cosine_schedule_left_alone(given: dict[str, float]) -> None:
    rates = schedule(wf, lambda library, o: library.CosineAnnealingLR(o, 4, **given))
    # PyTorch computes each rate from the one before; weft from the first
    assert rates == pytest.approx(schedule(torch, lambda library, o: library.CosineAnnealingLR(o, 4, **given)))


def schedule(library: Any, make: Callable[[Any, Any], Any]) -> list[float]:
    if library is wf:
        optimizer: Any = optim.SGD([nn.Parameter(wf.ones(1))], lr=0.5)
        scheduler, step = make(lr_scheduler, optimizer), optimizer.step
    else:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.5)
        scheduler, step = make(torch.optim.lr_scheduler, optimizer), optimizer.step
    found = []
    for _ in range(5):
        found += scheduler.get_last_lr()
        step()
        scheduler.step()
    return found
