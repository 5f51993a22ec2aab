"""In-place methods against PyTorch: values, dtypes, what raises, what is seen through views, gradients, compiled code.

A call is a text that is evaluated with each library as ``m`` and its tensors under the names of :func:`names`; ``x`` is
what it writes.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import weft as wf

torch = pytest.importorskip("torch")

X = np.array([[0.5, -0.25, 0.75], [0.125, 0.875, -0.5]], np.float32)


def names(module: Any, x: Any = None) -> dict[str, Any]:
    """Tensors of the shapes (2, 3), as ``x``, (3,), (2, 2) and so on; ``b`` is (2, 2, 3)."""
    tensor = lambda array: module.asarray(array.copy())  # noqa: E731
    ints = np.array([[3, -7, 2], [0, 5, -5]])
    return {
        "m": module,
        "x": tensor(X) if x is None else x,
        "y": tensor(np.array([[2.0, 0.5, -1.5], [0.25, 3.0, 1.0]], np.float32)),
        "z": tensor(np.array([[0.5, 0.75, 1.25], [2.0, 4.0, 3.0]], np.float32)),
        "v": tensor(np.array([3.0, -2.0, 0.5], np.float32)),
        "w": tensor(np.array([2.0, 1.5], np.float32)),
        "q": tensor(np.array([[1.0, 2.0], [-0.5, 0.25]], np.float32)),
        "b": tensor(np.arange(12, dtype=np.float32).reshape(2, 2, 3) / 8),
        "bb": tensor(np.arange(8, dtype=np.float32).reshape(2, 2, 2) / 4),
        "wide": tensor(np.arange(12, dtype=np.float32).reshape(4, 3)),
        "d": tensor(X.astype(np.float64)),
        "h": tensor(X.astype(np.float16)),
        "i": tensor(ints),
        "j": tensor(np.array([[2, 2, -3], [4, 3, 3]])),
        "i8": tensor(ints.astype(np.int8)),
        "u": tensor(np.array([[3, 7, 2], [0, 5, 250]], np.uint8)),
        "mask": tensor(ints > 0),
        "s": tensor(np.array(2.0, np.float32)),
        "at": lambda *rows: module.asarray(np.array(rows, np.int64)),
        "inf": float("inf"),
        "nan": float("nan"),
    }


def outcome(module: Any, text: str, x: Any = None) -> Any:
    """The tensor that the call wrote, or the error."""
    known = names(module, x)
    target = text.partition(".")[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = eval(text, known)
        except Exception as error:
            return error
    assert result is known[target], f"{text} returns another object"
    return result


def same(ours: Any, theirs: Any, text: str, tolerance: float = 2e-6) -> None:
    a, b = np.asarray(ours), np.asarray(theirs)
    assert a.dtype == b.dtype and a.shape == b.shape, (text, a, b)
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=1e-7, err_msg=text)


# Differentiable in x, which is float32 (2, 3).
FLOATS = """
x.abs_()
x.absolute_()
x.acos_()
x.arccos_()
x.asin_()
x.arcsin_()
x.asinh_()
x.arcsinh_()
x.atan_()
x.arctan_()
x.atanh_()
x.arctanh_()
x.ceil_()
x.cos_()
x.cosh_()
x.deg2rad_()
x.rad2deg_()
x.erf_()
x.erfc_()
x.exp_()
x.exp2_()
x.expm1_()
x.fix_()
x.floor_()
x.frac_()
x.log1p_()
x.neg_()
x.negative_()
x.reciprocal_()
x.relu_()
x.round_()
x.round_(decimals=1)
x.round_(decimals=0)
x.sgn_()
x.sigmoid_()
x.sign_()
x.sin_()
x.sinc_()
x.sinh_()
x.square_()
x.tan_()
x.tanh_()
x.trunc_()
x.zero_()
x.fill_(2)
x.fill_(s)
x.nan_to_num_()
x.add_(y)
x.add_(2)
x.add_(y, alpha=2)
x.add_(2, alpha=0.5)
x.add_(other=y)
x.sub_(v)
x.subtract_(y, alpha=0.5)
x.mul_(y)
x.mul_(x)
x.multiply_(2)
x.div_(y)
x.divide_(2)
x.true_divide_(y)
x.div_(2, rounding_mode="floor")
x.div_(y, rounding_mode="trunc")
x.pow_(2)
x.pow_(exponent=3)
x.pow_(i.abs())
x.atan2_(y)
x.arctan2_(v)
x.hypot_(y)
x.copysign_(y)
x.copysign_(-1.0)
x.remainder_(0.375)
x.remainder_(y)
x.fmod_(0.375)
x.fmod_(y)
x.fmod_(other=-0.375)
x.xlogy_(z)
x.ldexp_(i)
x.clamp_(0, 0.5)
x.clamp_(min=0.1)
x.clamp_(max=0.1)
x.clamp_(y, z)
x.clip_(0, 1)
x.clamp_min_(0.2)
x.clamp_max_(0.2)
x.addcmul_(y, z)
x.addcmul_(y, z, value=0.5)
x.addcmul_(v, z, value=-2)
x.addcdiv_(y, z)
x.addcdiv_(y, z, value=-0.1)
x.lerp_(y, 0.25)
x.lerp_(y, 0.75)
x.lerp_(y, z)
x.lerp_(end=y, weight=1.0)
x.masked_fill_(mask, 3)
x.masked_fill_(mask, s)
x.masked_fill_(mask[0], 7.5)
x.masked_scatter_(mask, wide)
x.masked_scatter_(mask[0], wide)
x.fill_diagonal_(9)
x.tril_()
x.triu_(1)
x.tril_(diagonal=-1)
x.cumsum_(0)
x.cumsum_(dim=1)
x.cumprod_(1)
x.addmm_(q, y)
x.addmm_(q, y, beta=0.5, alpha=2)
x.addr_(w, v, alpha=3)
x.addbmm_(bb, b)
x.index_add_(0, at(1), y[:1])
x.index_add_(1, at(0, 2, 0), y, alpha=2)
x.index_add_(0, at(1, 1, 1), wide[:3])
x.index_copy_(1, at(2, 0), q)
x.index_fill_(1, at(2, 0), 5)
x.index_fill_(0, at(1), s)
x.index_put_((at(1, 0), at(2, 2)), w)
x.index_put_((at(1, 1), at(2, 2)), w, accumulate=True)
x.index_put_((mask,), s)
x.put_(at(5, 0), w)
x.put_(at(-1, 0, 0), v, accumulate=True)
x.scatter_(1, at([1, 0], [2, 1]), y[:, :2])
x.scatter_(0, at([1, 0, 1]), y[1:])
x.scatter_(1, at([1], [2]), 7.0)
x.scatter_(1, at([1], [2]), value=7)
x.scatter_add_(1, at([1, 1], [2, 2]), y[:, 1:])
x.scatter_add_(dim=0, index=at([1, 0, 1], [1, 1, 1]), src=y)
x.scatter_reduce_(1, at([1, 1], [2, 2]), y[:, 1:], "sum")
x.scatter_reduce_(1, at([1, 1], [2, 2]), y[:, 1:], "sum", include_self=False)
x.copy_(v)
x.copy_(i)
"""
# On other tensors, or without a gradient in x.
OTHERS = """
x.log_()
x.log2_()
x.log10_()
x.sqrt_()
x.rsqrt_()
x.acosh_()
x.arccosh_()
x.logit_()
x.logit_(0.1)
x.floor_divide_(0.2)
x.nextafter_(y)
x.eq_(y)
x.ne_(0.5)
x.lt_(0)
x.le_(y)
x.gt_(other=0)
x.ge_(y)
x.not_equal_(0.5)
x.less_(0)
x.less_equal_(y)
x.greater_(0)
x.greater_equal_(y)
x.logical_not_()
x.logical_and_(y)
x.logical_or_(i)
x.logical_xor_(mask)
x.addcmul_(y)
x.lerp_(d, 0.5)
x.lerp_(y)
x.addmm_(y, q)
x.addmm_(d, y)
x.addmm_(q, b)
x.add_(wide)
x.add_(b)
x.mul_()
x.mul_(1, 2)
x.abs_(1)
x.add_("a")
x.masked_fill_(mask, 1, 2)
x.masked_fill_(x, 1)
x.masked_scatter_(mask, v[:1])
x.masked_scatter_(mask, d)
x.masked_scatter_(x, x)
x.scatter_(1, at([1, 0], [2, 1]), y)
x.scatter_(1, at([1], [2]), y, reduce="add")
x.scatter_add_(1, at([1, 1], [2, 2]), y)
x.scatter_(1, at([5]), y)
x.scatter_(1, at([-1]), y)
x.scatter_(1, at(1), y)
x.scatter_(1, at([1], [0], [1]), y)
x.scatter_(1, at([1]), d)
x.scatter_(5, at([1]), y)
x.scatter_(1, at([1]))
x.scatter_add_(1, at([1]), 1.0)
x.scatter_(1, at([1]).float(), y)
x.scatter_(1, at([1]), y, reduce="garbage")
x.scatter_reduce_(1, at([1]), y, "garbage")
x.index_add_(0, at(2), y[:1])
x.index_add_(0, at(-1), y[:1])
x.index_add_(0, at([0]), y[:1])
x.index_add_(0, at(0), y)
x.index_add_(0, at(0), d[:1])
x.index_copy_(0, at(0), d[:1])
x.index_copy_(0, at(5), y[:1])
x.index_fill_(0, at(0), v)
x.index_fill_(7, at(0), 1)
x.index_put_((at(0),), d[0])
x.index_put_(at(0), y[0])
x.put_(at(0, 1), v)
x.put_(at(6), w[:1])
x.put_(at(0), d[0, :1])
x.cumsum_()
x.cumsum_(5)
x.fill_(v)
x.float_power_(2)
d.float_power_(2)
d.float_power_(d)
v.fill_diagonal_(1)
b.fill_diagonal_(1)
bb.fill_diagonal_(1)
wide.fill_diagonal_(1)
wide.fill_diagonal_(1, wrap=True)
w.addmv_(q, v[1:])
w.addmv_(q, v[1:], beta=0, alpha=2)
w.addmv_(q, v)
b.baddbmm_(bb, b + 1)
b.baddbmm_(bb, b * 2, beta=2, alpha=0.5)
b.baddbmm_(bb, bb)
b.baddbmm_(q, b)
h.add_(x)
h.mul_(2.5)
h.sqrt_()
h.addcmul_(h, h, value=2)
h.lerp_(h + 1, 0.3)
h.index_add_(0, at(0, 0), h + 1)
d.add_(x)
d.mul_(0.1)
d.addcdiv_(d, d, value=0.1)
d.logit_(0.2)
i.add_(j)
i.add_(2)
i.add_(2.5)
i.add_(i8)
i8.add_(i)
i8.add_(100)
i.sub_(j, alpha=2)
i.sub_(j, alpha=0.5)
i.mul_(x)
i.div_(2)
i.div_(j)
i.div_(2, rounding_mode="floor")
i.div_(j, rounding_mode="trunc")
i.floor_divide_(2)
i.floor_divide_(j)
i.remainder_(j)
i.fmod_(j)
i.fmod_(3)
i.fmod_(-3)
i8.fmod_(2)
u.fmod_(4)
i.pow_(2)
i.abs_()
i.neg_()
i.sign_()
i.sgn_()
i.square_()
i.sqrt_()
i.sin_()
i.sigmoid_()
i.relu_()
i.ceil_()
i.floor_()
i.frac_()
i.round_()
i.reciprocal_()
i.bitwise_and_(j)
i.bitwise_or_(6)
i.bitwise_xor_(other=j)
i.bitwise_not_()
i.bitwise_left_shift_(2)
i.bitwise_right_shift_(j.abs())
mask.bitwise_and_(~mask)
mask.bitwise_not_()
mask.logical_not_()
mask.logical_xor_(mask)
mask.add_(1)
mask.neg_()
mask.eq_(True)
mask.fill_(3)
mask.zero_()
mask.masked_fill_(mask, False)
x.bitwise_and_(i)
x.bitwise_not_()
i.eq_(j)
i.lt_(1)
i.logical_and_(j)
i.clamp_(-1, 3)
i.clamp_(0.5)
i.clamp_min_(1)
i.clamp_max_(j)
i.fill_(2.7)
i.copy_(x * 4)
i.masked_fill_(mask, 2.5)
i.masked_scatter_(mask, j)
i.cumsum_(1)
i.cumprod_(1)
i8.cumsum_(1)
i.tril_()
i.addcmul_(j, j)
i.addcmul_(j, j, value=2)
i.addcdiv_(j, j)
i.lerp_(j, 0.5)
i.addmm_(at([1, 2], [0, 1]), j)
i.addmm_(at([1, 2], [0, 1]), j, beta=2, alpha=3)
i.index_add_(0, at(0, 0), j)
i.index_add_(0, at(0, 0), j, alpha=2)
i.index_fill_(0, at(0), 2.5)
i.index_copy_(0, at(1, 0), j)
i.scatter_(1, at([1], [2]), 7)
i.scatter_(1, at([1], [2]), j)
i.scatter_add_(1, at([1, 1], [2, 2]), j)
i.put_(at(1, 1), at(3, 4), True)
i.nan_to_num_()
i.logit_()
i.hypot_(j)
i.atan2_(j)
i.copysign_(j)
i.ldexp_(j)
s.add_(1)
s.scatter_(0, at(0), s + 1)
s.scatter_(0, at(0), 5)
s.index_add_(0, at(0), s.reshape(1))
s.index_fill_(0, at(0), 3)
s.cumsum_(0)
v.index_copy_(0, at(0), s)
v.scatter_add_(0, at(0, 0), w)
v.masked_fill_(mask, 1)
v.clamp_min_(v)
"""


def lines(text: str) -> list[str]:
    return text.strip().split("\n")


@pytest.mark.parametrize("text", lines(FLOATS) + lines(OTHERS))
def test_a_call_writes_what_it_writes_in_pytorch(text: str) -> None:
    ours, theirs = outcome(wf, text), outcome(torch, text)
    if isinstance(theirs, Exception):
        assert isinstance(ours, (wf.WeftError, TypeError)), f"{text}: PyTorch says {theirs!r}, Weft {ours!r}"
    else:
        assert not isinstance(ours, Exception), f"{text}: {ours!r}"
        same(ours, theirs, text, 2e-3 if text.startswith("h.") else 2e-6)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("text", lines(FLOATS))
def test_it_writes_through_views_and_compiled_code_does_the_same(text: str) -> None:
    found = []
    for module in (wf, torch):
        base = module.asarray(np.concatenate([X.T, X.T], 1).copy())  # (3, 4), of which x is columns, transposed
        result = outcome(module, text, base[:, 1:3].T)
        assert not isinstance(result, Exception), f"{text}: {result!r}"
        found.append((result, base))
    for ours, theirs in zip(*found, strict=True):
        same(ours, theirs, text)

    def step(base: Any) -> Any:
        known = names(wf, base[:, 1:3].T)
        return eval(text, known)

    base = wf.asarray(np.concatenate([X.T, X.T], 1).copy())
    compiled = wf.compile(step)
    result = compiled(base)
    np.testing.assert_array_equal(np.asarray(base), np.asarray(found[0][1]), text)
    np.testing.assert_array_equal(np.asarray(result), np.asarray(found[0][0]), text)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("text", lines(FLOATS))
def test_its_gradient_is_pytorchs(text: str) -> None:
    if text in DIFFERENT_GRADIENTS:
        pytest.skip(DIFFERENT_GRADIENTS[text])
    found = []
    for module in (wf, torch):
        known = names(module)
        leaves = [known[name].requires_grad_() for name in ("x", "y", "z", "v", "w", "s")]
        known = {**known, **{name: known[name] * 1 for name in ("x", "y", "z", "v", "w", "s")}}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = eval(text, known)
        weight = module.asarray(np.arange(1, 7, dtype=np.float32).reshape(2, 3))
        (result * weight).sum().backward()
        found.append([None if t.grad is None else np.asarray(t.grad + 0) for t in leaves])
    for number, (ours, theirs) in enumerate(zip(*found, strict=True)):
        zero = np.zeros(1, np.float32)  # PyTorch gives zeros where Weft gives none, or the other way round
        np.testing.assert_allclose(
            zero if ours is None else ours,
            zero if theirs is None else theirs,
            rtol=1e-5,
            atol=1e-6,
            err_msg=f"{text}, {number}",
        )


@pytest.mark.one_in(3)
@pytest.mark.parametrize("text", lines(FLOATS))
def test_its_gradient_is_the_same_in_compiled_code(text: str) -> None:
    def loss(leaf: Any) -> Any:
        x = leaf * 1
        eval(text, names(wf, x.t().t()))
        return (x * wf.asarray(np.arange(1, 7, dtype=np.float32).reshape(2, 3))).sum()

    wanted = np.asarray(wf.grad(loss)(wf.asarray(X)))
    for gradient in (wf.grad(wf.compile(loss)), wf.compile(wf.grad(loss))):
        np.testing.assert_array_equal(np.asarray(gradient(wf.asarray(X))), wanted, text)


# What is written is an operand too, or shares memory with one: the same by hand.
SHARED = {
    "x.mul_(x)": lambda x: x * x,
    "x.mul_(x[0])": lambda x: x * x[0],
    "x.mul_(x.detach())": lambda x: x * x.detach(),
    "x[0].mul_(x[1])": lambda x: wf.stack([x[0] * x[1], x[1]]),
    "x.t().mul_(x)": lambda x: (x.t() * x).t(),
    "x.t().mul_(x.t())": lambda x: x * x,
    "x.t().exp_()": lambda x: wf.exp(x),
    "x.addmm_(x, x)": lambda x: x + x @ x,
    "x.addmm_(x, x.t())": lambda x: x + x @ x.t(),
    "x.addcmul_(x, x.t(), value=2)": lambda x: x + 2 * x * x.t(),
    "x.index_add_(0, at, x)": lambda x: x + x[[1, 0]],
    "x[1:].copy_(x[:1])": lambda x: wf.stack([x[0], x[0]]),
}


@pytest.mark.parametrize("text", SHARED)
def test_operands_that_share_memory_with_what_is_written(text: str) -> None:
    array, weight = np.array([[1.0, 2.0], [3.0, 0.5]], np.float32), wf.asarray([[1.0, 2.0], [3.0, 4.0]])

    def written(leaf: Any) -> Any:
        x = leaf * 1
        eval(text, {"x": x, "at": wf.asarray([1, 0])})
        return x

    def loss(leaf: Any) -> Any:
        return (written(leaf) * weight).sum()

    wanted = np.asarray(SHARED[text](wf.asarray(array)))
    for run in (written, wf.compile(written)):
        np.testing.assert_allclose(np.asarray(run(wf.asarray(array))), wanted, rtol=1e-6)
    wanted = np.asarray(wf.grad(lambda leaf: (SHARED[text](leaf * 1) * weight).sum())(wf.asarray(array)))
    for gradient in (wf.grad(loss), wf.grad(wf.compile(loss)), wf.compile(wf.grad(loss))):
        np.testing.assert_allclose(np.asarray(gradient(wf.asarray(array))), wanted, rtol=1e-5)


DIFFERENT_GRADIENTS = {
    "x.mul_(x)": "PyTorch's backward raises",
    "x.asinh_()": "PyTorch has none",
    "x.arcsinh_()": "PyTorch has none",
    "x.atanh_()": "PyTorch has none",
    "x.arctanh_()": "PyTorch has none",
    "x.ldexp_(i)": "PyTorch takes the power of two in the integers' dtype: 0 below 1",
}


REFUSED = """
i.addcmul_(j, j, value=0.5)
i.addmm_(at([1, 2], [0, 1]), j, alpha=0.5)
mask.mul_(mask)
x.masked_scatter_(mask[0], v)
"""


@pytest.mark.parametrize("text", lines(REFUSED))
def test_what_weft_refuses_besides(text: str) -> None:
    """PyTorch cuts a number off, or reads what is not there."""
    assert isinstance(outcome(wf, text), wf.WeftError)


@pytest.mark.parametrize(
    "text", ["x.addmm_(q, x)", "x.masked_scatter_(x < 1, x)", "x.index_add_(0, at(1, 0), x)", "x.add_(x.flip(1))"]
)
def test_an_operand_may_be_what_is_written(text: str) -> None:
    """As if everything was read first. (PyTorch refuses these, or gives something else.)"""
    known = names(wf)
    wanted = eval(text.replace("_(", "(", 1).replace("masked_scatter(", "masked_scatter("), known)
    same(outcome(wf, text), wanted, text)


MISTAKES = {
    "x.sqrt_(3)": "sqrt",
    "i.sqrt_()": "sqrt_.*float32.*int64",
    "x.add_(wide)": r"add.*\(2, 3\).*\(4, 3\)",
    "v.add_(x)": r"add_.*\(2, 3\).*\(3,\)",
    "x.index_add_(0, at(0), d[:1])": "index_add.*float64.*float32",
    "x.index_add_(0, at(5), y[:1])": "index_add_: index 5 is out of range for axis 0 of size 2",
    "x.scatter_(1, at([1], [2], [0]), y)": r"scatter.*\(3, 1\).*\(2, 3\)",
    "x.masked_fill_(x, 1)": "masked_fill.*float32.*bool",
    "x.addcdiv_(y)": "tensor2",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_an_error_names_the_method_the_values_and_the_users_line(text: str) -> None:
    with pytest.raises((wf.WeftError, TypeError), match=MISTAKES[text]) as caught:
        eval(compile(text, "users_file.py", "eval"), names(wf))
    assert "users_file.py:1" in str(caught.value) or any("users_file.py:1" in n for n in caught.value.__notes__)


# --- the object looks at its memory in another way --------------------------------------------------------------


RESTRIDED = [
    "x.t_()", "x.transpose_(0, 1)", "x.swapaxes_(1, 0)", "x.swapdims_(-1, 0)", "x.unsqueeze_(1)", "x.squeeze_()",
    "x.unsqueeze_(0).squeeze_(0).t_()", "x.t_().t_()",
]  # fmt: skip


def _restride(module: Any, text: str) -> tuple[list[Any], Any]:
    """What all names see after ``text`` and writes through each of them, and the gradient."""
    leaf = module.asarray(X.copy()).requires_grad_()
    x = leaf * 1
    before, row = x.view(-1), x[1]
    assert eval(text, {"x": x}) is x
    x.mul_(2)
    after = x[0]
    before[:2] = 5
    after.add_(row.sum() * before[-1].clone())
    row.mul_(x.sum())
    weight = module.asarray(np.arange(1, 7, dtype=np.float32)).reshape(tuple(x.shape))
    ((x * weight).sum() + (row * row).sum() + before.sum() + after.sum()).backward()
    return [x, before, row, after], leaf.grad


@pytest.mark.parametrize("text", RESTRIDED)
def test_a_view_of_what_it_was(text: str) -> None:
    ours, theirs = _restride(wf, text), _restride(torch, text)
    for a, b in zip(ours[0], theirs[0], strict=True):
        same(a.detach(), b.detach(), text)
    same(ours[1], theirs[1], text, 1e-5)

    def step(x: Any) -> tuple[Any, Any]:
        made = x * 1
        row = made[1]
        eval(text, {"x": made})
        made.mul_(2)
        row.add_(1)
        return made, row

    for a, b in zip(wf.compile(step)(wf.asarray(X)), step(wf.asarray(X)), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("text", RESTRIDED[:5])
def test_a_leaf_is_restrided_under_no_grad_alone(text: str) -> None:
    found = []
    for module in (wf, torch):
        x = module.asarray(X.copy()).requires_grad_()
        with pytest.raises(RuntimeError, match="leaf"):
            eval(text, {"x": x})
        view = x[0]
        with pytest.raises(RuntimeError, match="leaf"):
            view.unsqueeze_(0)
        with module.no_grad():
            eval(text, {"x": x})
        assert x.is_leaf and x.requires_grad
        with pytest.raises(RuntimeError):
            x.add_(1)
        with pytest.raises(RuntimeError):
            view.add_(1)
        found.append(x)
    same(found[0].detach(), found[1].detach(), text)
    (found[0] * found[0]).sum().backward()  # with which PyTorch cannot cope
    np.testing.assert_array_equal(np.asarray(found[0].grad), 2 * np.asarray(found[0]))


def test_a_captured_function_does_not_restride_what_is_outside() -> None:
    with pytest.raises(wf.CaptureError, match="t_: a tensor from outside"):
        wf.compile(lambda x: x.t_())(wf.asarray(X))


def test_restrided_under_no_grad_and_written_after() -> None:
    x = wf.asarray(X.copy())
    with wf.no_grad():
        x.t_()
    w = wf.ones(2).requires_grad_()
    x.mul_(w)
    x.sum().backward()
    np.testing.assert_allclose(np.asarray(w.grad), X.sum(1), rtol=1e-6)


def test_detach() -> None:
    for module in (wf, torch):
        leaf = module.asarray(X.copy()).requires_grad_()
        x = leaf * 2
        kept = x * x
        view = x[0]
        with pytest.raises(RuntimeError):
            view.detach_()
        assert x.detach_() is x and x.is_leaf and not x.requires_grad
        assert leaf.detach().detach_().is_leaf
        if module is wf:  # PyTorch's backward raises
            kept.sum().backward()
            np.testing.assert_allclose(np.asarray(leaf.grad), 8 * X)


# --- samples ----------------------------------------------------------------------------------------------------

# The call, its mean and standard deviation, and bounds.
SAMPLES = {
    "x.normal_()": (0, 1, -9, 9),
    "x.normal_(1, std=0.5)": (1, 0.5, -4, 6),
    "x.uniform_()": (0.5, 0.2887, 0, 0.9999999),
    "x.uniform_(-1, 3)": (1, 1.1547, -1, 2.9999998),
    "x.random_(10)": (4.5, 2.872, 0, 9),
    "x.random_(5, 7)": (5.5, 0.5, 5, 6),
    "x.random_(to=4)": (1.5, 1.118, 0, 3),
    "x.random_()": (2.0**23, 2.0**24 / 12**0.5, 0, 2.0**24),
    "x.bernoulli_()": (0.5, 0.5, 0, 1),
    "x.bernoulli_(0.25)": (0.25, 0.433, 0, 1),
    "x.bernoulli_(p)": (0.25, 0.433, 0, 1),
    "x.exponential_()": (1, 1, 0, 30),
    "x.exponential_(lambd=4)": (0.25, 0.25, 0, 8),
    "x.geometric_(0.5)": (2, 2**0.5, 1, 60),
    "x.log_normal_(0, 0.25)": (1.0317, 0.262, 0, 9),
}


@pytest.mark.parametrize("text", SAMPLES)
def test_samples(text: str) -> None:
    mean, std, low, high = SAMPLES[text]
    wf.random.seed(3)
    x, p = wf.zeros(20000), wf.full((1,), 0.25)
    assert eval(text, {"x": x, "p": p}) is x
    drawn = np.asarray(x, np.float64)
    assert abs(drawn.mean() - mean) < 5 * std / 20000**0.5 and abs(drawn.std() - std) < 0.05 * std
    assert drawn.min() >= low and drawn.max() <= high
    again = [wf.zeros(20000), wf.zeros(20000)]
    for each in again:
        eval(
            text.replace("()", "(generator=g)") if text.endswith("()") else text[:-1] + ", generator=g)",
            {"x": each, "p": p, "g": wf.random.Generator(3)},
        )
        np.testing.assert_array_equal(np.asarray(each), np.asarray(x))


@pytest.mark.parametrize(
    "text",
    ["i.normal_()", "i.uniform_()", "i.exponential_()", "x.normal_(0, -1)", "x.uniform_(1, 0)", "x.random_(3, 3)",
     "x.bernoulli_(2)", "x.exponential_(-1)", "x.geometric_(1.5)", "x.geometric_()", "x.normal_(generator=3)",
     "x.normal_(0, 1, 2)", "x.normal_(garbage=1)", "x.log_normal_(0, -1)"],
)  # fmt: skip
def test_samples_that_are_refused(text: str) -> None:
    for module in (wf, torch):
        assert isinstance(outcome(module, text), Exception), (module, text)
    assert isinstance(outcome(wf, text), wf.WeftError)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int32", "int64", "float16", "bfloat16", "float64"])
def test_random_integers_of_every_dtype(dtype: str) -> None:
    x = wf.zeros(4000, dtype=dtype).random_().to("float64")
    top = {"float16": 2**11, "bfloat16": 2**8, "float64": 2**53, "bool": 1, "uint8": 255}
    bound = top.get(dtype) or 2.0 ** (int(dtype[3:]) - 1)
    assert float(x.min().item()) >= 0 and 0.9 * bound < float(x.max().item()) <= bound


def test_samples_in_compiled_code_and_their_gradient() -> None:
    def step(x: Any) -> Any:
        return x.normal_().add_(1)

    wf.random.seed(5)
    eager = [step(wf.zeros(5)) for _ in range(3)]
    wf.random.seed(5)
    compiled = wf.compile(step)
    for each in eager:
        np.testing.assert_array_equal(np.asarray(compiled(wf.zeros(5))), np.asarray(each))
    leaf = wf.ones(3).requires_grad_()
    x = leaf * 2
    (x.normal_() + leaf).sum().backward()
    assert leaf.grad.tolist() == [1.0, 1.0, 1.0]


# --- out= -------------------------------------------------------------------------------------------------------

INTO = """
m.add(x, y, out=x)
m.add(x, 1, out=y)
m.multiply(x, y, out=d)
m.add(i, j, out=x)
m.add(x, y, out=i)
m.add(x, y, out=v)
m.add(x, v, out=y)
m.exp(x, out=x)
m.exp(i, out=x)
m.exp(i, out=j)
m.matmul(q, x, out=y)
m.matmul(q, x, out=v)
m.less(x, y, out=mask)
m.less(x, y, out=x)
m.where(mask, x, y, out=y)
m.sum(x, 0, out=v) if m.__name__ == "torch" else m.sum(x, axis=0, out=v)
m.mean(x, 1, out=w) if m.__name__ == "torch" else m.mean(x, axis=1, out=w)
m.add(x, y, out=None)
m.add(x, y, out=wide[1:3])
m.add(x, y, out=[x])
m.add(x, y, out=3)
"""


@pytest.mark.parametrize("text", lines(INTO))
def test_out(text: str) -> None:
    found = []
    for module in (wf, torch):
        known = names(module)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                result = eval(text, known)
            except Exception as error:
                result = error
        found.append((result, known))
    (ours, mine), (theirs, its) = found
    if isinstance(theirs, Exception):
        assert isinstance(ours, wf.WeftError), (text, ours, theirs)
        return
    assert not isinstance(ours, Exception), f"{text}: {ours!r}"
    for name in ("x", "y", "d", "i", "j", "v", "w", "mask", "wide"):
        same(mine[name], its[name], f"{text}: {name}")
    same(ours, theirs, text)


def test_out_may_overlap_with_operands() -> None:
    a = wf.asarray(np.arange(9, dtype=np.float32).reshape(3, 3))
    wanted = wf.matmul(a, a.T)
    assert wf.matmul(a, a.T, out=a) is a
    np.testing.assert_array_equal(np.asarray(a), np.asarray(wanted))
    x = wf.asarray(np.arange(5, dtype=np.float32))
    wf.add(x[:-1], x[1:], out=x[1:])
    assert x.tolist() == [0.0, 1.0, 3.0, 5.0, 7.0]


def test_out_is_not_differentiable() -> None:
    for module in (wf, torch):
        x, z = module.ones(2), module.ones(2)
        for operands, out in (((x.clone().requires_grad_(), x), z), ((x, x), z.clone().requires_grad_())):
            with pytest.raises(RuntimeError):
                module.add(*operands, out=out)
            with module.no_grad():
                assert module.add(*operands, out=out) is out
    with pytest.raises(wf.AutogradError, match="add: out= is not differentiable"):
        wf.add(wf.ones(2).requires_grad_(), 1, out=wf.ones(2))


def test_out_in_compiled_code() -> None:
    buffer = wf.zeros((2, 3))

    def step(x: Any, y: Any, out: Any) -> Any:
        wf.multiply(x, y, out=buffer[0])
        return wf.add(buffer, x, out=out)

    for run in (step, wf.compile(step)):
        x, y, out = wf.asarray(X[0]), wf.asarray(X[1]), wf.ones((2, 3))
        buffer.zero_()
        assert run(x, y, out) is out
        np.testing.assert_array_equal(np.asarray(out), np.stack([X[0] * X[1] + X[0], X[0]]))


def test_out_of_a_view_or_of_several_results() -> None:
    x = wf.ones((2, 3))
    with pytest.raises(wf.ArgumentError, match=r"reshape: its result is a view.*copy_"):
        wf.reshape(x, (3, 2), out=x)
    with pytest.raises(wf.ShapeError, match=r"add: out has shape \(3,\), the result \(2, 3\)"):
        wf.add(x, x, out=wf.ones(3))
    with pytest.raises(wf.DTypeError, match="add: out is int64, which does not hold a result of float32"):
        wf.add(x, x, out=wf.ones((2, 3), dtype=wf.int64))
    with pytest.raises(wf.ShapeError, match="several elements"):
        wf.add(x, x, out=wf.ones(3).expand(2, 3))


WINDOWS = {
    "windows": lambda x: x.unfold(0, 3, 1),
    "some windows": lambda x: x.unfold(0, 3, 1)[1:3],
    "expanded windows": lambda x: x.unfold(0, 4, 2).unsqueeze(1).expand(3, 2, 4),
    "windows of windows": lambda x: x.unfold(0, 4, 1).unfold(1, 2, 1),
}


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("compiled", [False, True])
def test_windows_that_overlap_are_filled(name: str, compiled: bool) -> None:
    """One value everywhere: it does not matter how often a place is written."""
    x, expected = wf.arange(8.0), np.arange(8.0, dtype=np.float32)
    places = WINDOWS[name](wf.arange(8)).numpy()
    expected[places] = 9.0

    def fill(x: wf.Tensor) -> None:
        WINDOWS[name](x).fill_(9.0)

    (wf.compile(fill) if compiled else fill)(x)
    assert x.tolist() == expected.tolist()
