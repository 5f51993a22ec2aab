"""In-place sampling: ``x.normal_()`` and the like, from the default generator or from ``generator=``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..core import dtypes as dt
from ..core.errors import DTypeError, ShapeError
from ..core.shapes import shown
from ..ops import elementwise as e
from ..ops.random import default_generator, draw_bernoulli, draw_integers, draw_normal, draw_uniform
from .arguments import CONTRACTS
from .binding import bind, names_of, required
from .in_place import InPlace
from .tensor import Tensor

_BITS = {dt.float16: 11, dt.bfloat16: 8, dt.float32: 24, dt.float64: 53}  # of significands
_real, _whole, _operand, _generator = (
    CONTRACTS[name].convert for name in ("float", "Whole", "Array | float", "Generator | None")
)


def _positive(name: str, key: str, value: float) -> float:
    if not value > 0:
        raise ShapeError(f"{name}: {key} is {shown(value)}; it must be above 0")
    return value


def _uniform(state: Any, x: Any, low: float, high: float) -> Any:
    return draw_uniform(state, tuple(x.shape), low, high, x.dtype)


def _normal(state: Any, x: Any, mean: float, std: float) -> Any:
    return draw_normal(state, tuple(x.shape), mean, std, x.dtype)


def _log_normal(state: Any, x: Any, mean: float, std: float) -> Any:
    return e.exp(_normal(state, x, mean, _positive("log_normal_", "std", std)))


def _exponential(state: Any, x: Any, rate: float) -> Any:
    _floating("exponential_", x)
    return e.divide(e.negative(e.log1p(e.negative(_wide_unit(state, x)))), _positive("exponential_", "lambd", rate))


def _cauchy(state: Any, x: Any, median: float, sigma: float) -> Any:
    _floating("cauchy_", x)
    turned = e.tan(e.multiply(e.subtract(_wide_unit(state, x), 0.5), math.pi))
    return e.add(e.multiply(turned, _positive("cauchy_", "sigma", sigma)), median)


def _geometric(state: Any, x: Any, p: float) -> Any:
    if not 0 < p < 1:
        raise ShapeError(f"geometric_: p is {shown(p)}; it must be between 0 and 1")
    if x.dtype is dt.bool_:
        raise DTypeError("geometric_: a tensor of bool holds no counts")
    trials = e.ceil(e.divide(e.log1p(e.negative(_wide_unit(state, x))), math.log1p(-p)))
    return e.cast(e.maximum(trials, 1.0), x.dtype)


def _wide_unit(state: Any, x: Any) -> Any:
    return draw_uniform(state, tuple(x.shape), 0.0, 1.0, dt.float64 if x.dtype is dt.float64 else dt.float32)


def _floating(name: str, x: Any) -> None:
    if not x.dtype.is_floating:
        raise DTypeError(f"{name}: a tensor of {x.dtype.name}: wants a floating-point dtype")


def _random(state: Any, x: Any, low: int, high: int | None) -> Any:
    """Integers of [low, high); without bounds all that the dtype holds exactly from 0 on."""
    kind = x.dtype
    if high is None:
        bits = _BITS.get(kind)
        high = (1 << bits) + 1 if bits else 2 if kind is dt.bool_ else 1 << kind.bits - kind.is_signed
    drawn = draw_integers(state, tuple(x.shape), low, high, kind if kind.is_integer else dt.int64)
    return e.cast(drawn, kind)


def _sampler(name: str, draw: Callable[..., Any]) -> Callable[..., Tensor]:
    form, names = InPlace(name, lambda x, state, *given: draw(state, x, *given)), names_of(name)

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        named = bind(names, args, kwargs)
        stream = named.pop("generator", None)
        stream = default_generator(self.device) if stream is None else _generator(name, "generator", stream)
        values = required(name, names.defaults | named, *names.order)
        return form(self, stream.next(), *[_converted(name, k, v) for k, v in zip(names.order, values, strict=True)])

    method.__name__, method.__doc__ = name, draw.__doc__ or f"Fill the tensor with draws; see ``torch.Tensor.{name}``."
    return method


def _converted(name: str, key: str, value: Any) -> Any:
    if name == "random_":
        return value if value is None else _whole(name, key, value)
    return float(_real(name, key, value))


_draw = InPlace("bernoulli_", lambda x, state, p: draw_bernoulli(state, p, tuple(x.shape), x.dtype))


def bernoulli_(self: Tensor, p: Any = 0.5, *, generator: Any = None) -> Tensor:
    """Fill the tensor with ones with probability ``p`` (a number, or a tensor that broadcasts), else zeros."""
    chance = _operand("bernoulli_", "p", p)
    stream = default_generator(self.device) if generator is None else _generator("bernoulli_", "generator", generator)
    return _draw(self, stream.next(), chance)


def _random_method() -> Callable[..., Tensor]:
    """``x.random_()``, ``x.random_(to)``, ``x.random_(from, to)``."""
    sampler = _sampler("random_", _random)

    def random_(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Fill the tensor with integers of [from, to), all equally likely."""
        return (
            sampler(self, 0, *args, **kwargs)
            if len(args) == 1 and "to" not in kwargs
            else sampler(self, *args, **kwargs)
        )

    return random_


SAMPLERS: dict[str, Callable[..., Tensor]] = {
    "bernoulli_": bernoulli_,
    "cauchy_": _sampler("cauchy_", _cauchy),
    "exponential_": _sampler("exponential_", _exponential),
    "geometric_": _sampler("geometric_", _geometric),
    "log_normal_": _sampler("log_normal_", _log_normal),
    "normal_": _sampler("normal_", _normal),
    "random_": _random_method(),
    "uniform_": _sampler("uniform_", _uniform),
}
