"""Random tensor programs: how they are drawn, run on weft, and what NumPy says of each of their steps.

A :class:`Program` is data: its inputs, its steps (an op of OPS, the numbers of earlier values, static parameters), the
numbers of the values it returns. Every choice is a number below a limit that a source gives, so that hypothesis can
shrink programs and a seed can name one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

import weft as wf
from weft.nn import functional as F

Shape = tuple[int, ...]
Array = np.ndarray[Any, Any]
Below = Callable[[int], int]  # a choice: some number in [0, n)

FLOATS = ("float32", "float64", "bfloat16", "float16")
INTEGERS = ("int64", "int32")
SIZES = (1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 33, 64, 65, 100, 130)
LARGEST = 20_000  # elements of one value


class Kind(NamedTuple):
    """dtype and shape of a value."""

    dtype: str
    shape: Shape


class Step(NamedTuple):
    """``value = op(*operands; *params)``."""

    op: str
    operands: tuple[int, ...]
    params: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Program:
    """Inputs (each with the way its memory is laid out), steps, and the values that are returned."""

    inputs: tuple[tuple[Kind, str], ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]
    seed: int

    def __call__(self, *inputs: Any) -> list[Any]:
        """The outputs."""
        values = self.values(inputs)
        return [values[i] for i in self.outputs]

    def values(self, inputs: Sequence[Any]) -> list[Any]:
        """All values, inputs first."""
        values = list(inputs)
        for step in self.steps:
            values.append(OPS[step.op].run(step.params, *(values[i] for i in step.operands)))
        return values

    def arguments(self) -> list[wf.Tensor]:
        """Its inputs as tensors."""
        rng = np.random.default_rng(self.seed)
        return [laid_out(numbers(rng, kind), layout) for kind, layout in self.inputs]


def numpy_dtype(name: str) -> Any:
    """The NumPy dtype called ``name``."""
    return np.dtype(getattr(ml_dtypes, name)) if name == "bfloat16" else np.dtype(name)


def numbers(rng: np.random.Generator, kind: Kind) -> Array:
    """Random values of a kind; a few of them are special."""
    if kind.dtype == "bool":
        return rng.integers(0, 2, kind.shape).astype(bool)
    if kind.dtype in INTEGERS:
        return rng.integers(-9, 10, kind.shape).astype(kind.dtype)
    made = rng.uniform(-2, 2, kind.shape)
    made[rng.random(kind.shape) < 0.02] = 0.0
    return made.astype(numpy_dtype(kind.dtype))


LAYOUTS = ("plain", "plain", "transposed", "stepped", "window", "repeated", "column")


def laid_out(array: Array, layout: str) -> wf.Tensor:
    """A tensor of these values whose memory is strided in some way (where its shape allows it)."""
    rank = array.ndim
    if layout == "transposed" and rank > 1:
        return wf.permute_dims(wf.asarray(np.array(array.T, order="C")), tuple(range(rank))[::-1])
    if layout == "stepped" and rank:
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1] + 1), array.dtype)
        wide[..., 1::2] = array
        return wf.asarray(wide)[..., 1::2]
    if layout == "window" and rank:
        wide = np.ones(tuple(n + 2 for n in array.shape), array.dtype)
        wide[tuple(slice(1, n + 1) for n in array.shape)] = array
        return wf.asarray(wide)[tuple(slice(1, n + 1) for n in array.shape)]
    if layout == "repeated" and rank and 0 not in array.shape:
        return wf.broadcast_to(wf.asarray(np.array(array[:1])), array.shape)
    if layout == "column" and rank:
        wide = np.ones((*array.shape, 3), array.dtype)
        wide[..., 2] = array
        return wf.asarray(wide)[..., 2]
    return wf.asarray(np.array(array, order="C"))


# --- ops: on weft, and what they mean ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Op:
    """``run(params, *tensors)``; ``meaning(params, *arrays)`` in NumPy over float64 (floats) or the dtype itself: the
    result, or ``(result, scale)`` where errors are measured against ``scale`` instead of the result. ``smooth``: has
    a derivative nearly everywhere that a numeric one may be compared with."""

    run: Callable[..., Any]
    meaning: Callable[..., Any] | None
    smooth: bool = False


def _softmax(x: Array, axis: int) -> Array:
    e = np.exp(x - x.max(axis=axis, keepdims=True)) if x.shape[axis] else x
    return e / e.sum(axis=axis, keepdims=True)


def _layer_norm(p: tuple[Any, ...], x: Array) -> tuple[Array, Array]:
    spread = np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
    y = (x - x.mean(axis=-1, keepdims=True)) / spread
    return y, np.abs(y) + np.abs(x).max(axis=-1, keepdims=True, initial=0) / spread


def _scatter(p: tuple[Any, ...], x: Array, i: Array, u: Array) -> Any:
    out, size = np.array(np.moveaxis(x, p[0], 0)), np.abs(np.moveaxis(x, p[0], 0))
    np.add.at(out, i, np.moveaxis(u, p[0], 0))
    if x.dtype.kind == "f":
        np.add.at(size, i, np.abs(np.moveaxis(u, p[0], 0)))
    return np.moveaxis(out, 0, p[0]), np.moveaxis(size, 0, p[0])


def _written(p: tuple[Any, ...], x: Array, u: Array) -> Array:
    out = np.array(x)
    out[_key(p[0])] = u
    return out


def _written_at(p: tuple[Any, ...], x: Array, i: Array, u: Array) -> Array:
    out = np.array(x)
    for k in range(i.size):
        out[i[k]] = u[k]
    return out


def _copied(x: Any) -> Any:
    return wf.positive(x) if x.dtype.name != "bool" else wf.where(x, x, x)


def _set(p: tuple[Any, ...], x: Any, u: Any) -> Any:
    x = _copied(x)
    x[_key(p[0])] = u
    return x


def _set_at(p: tuple[Any, ...], x: Any, i: Any, u: Any) -> Any:
    x = _copied(x)
    x[i] = u
    return x


def _key(parts: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(slice(*p) if isinstance(p, tuple) else p for p in parts)


def _cast(p: tuple[Any, ...], x: Array) -> Array:
    kind = numpy_dtype(p[0])
    if kind.kind in "iu" and x.dtype.kind == "f":
        info = np.iinfo(kind)
        limited = np.clip(
            np.trunc(np.nan_to_num(x, nan=0.0, posinf=1e30, neginf=-1e30)), float(info.min), float(info.max)
        )
        made = np.where(limited >= float(info.max), info.max, np.where(limited <= float(info.min), info.min, 0))
        inside = (limited < float(info.max)) & (limited > float(info.min))
        made[inside] = limited[inside].astype(kind)
        return made.astype(kind)
    return x.astype(bool) if kind.kind == "b" else x.astype(np.float64) if p[0] in FLOATS else x.astype(kind)


def _summed(x: Array, axes: Any, keep: bool) -> Any:
    if x.dtype.kind == "f":
        return x.sum(axis=axes, keepdims=keep), np.abs(x).sum(axis=axes, keepdims=keep)
    return x.sum(axis=axes, keepdims=keep, dtype=np.int64)


def _multiplied(x: Array, axes: Any, keep: bool) -> Any:
    if x.dtype.kind != "f":
        return x.prod(axis=axes, keepdims=keep, dtype=np.int64)
    return x.prod(axis=axes, keepdims=keep), np.maximum(np.abs(x), 1).prod(
        axis=axes, keepdims=keep
    )  # overflow on the way


_UNARY: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "tanh": (wf.tanh, np.tanh),
    "sin": (wf.sin, np.sin),
    "exp": (wf.exp, np.exp),
    "cos": (wf.cos, np.cos),
    "sigmoid": (wf.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
    "square": (wf.square, np.square),
    "negative": (wf.negative, np.negative),
    "gelu": (lambda x: F.gelu(x, approximate="tanh"), None),
}
_BINARY = {"add": (wf.add, np.add), "subtract": (wf.subtract, np.subtract), "multiply": (wf.multiply, np.multiply)}
_ROUGH = {"maximum": (wf.maximum, np.maximum), "minimum": (wf.minimum, np.minimum)}
_COMPARE = {
    "less": (wf.less, np.less),
    "equal": (wf.equal, np.equal),
    "greater_equal": (wf.greater_equal, np.greater_equal),
}
_LOGIC = {"logical_and": (wf.logical_and, np.logical_and), "logical_xor": (wf.logical_xor, np.logical_xor)}
_FLAT: dict[str, Callable[[str], Op]] = {}


def _plain(weft: Any, numpy: Any, smooth: bool = False) -> Op:
    return Op(lambda p, *xs: weft(*xs), numpy and (lambda p, *xs: numpy(*xs)), smooth)


def _reduction(weft: Any, numpy: Any, smooth: bool = False) -> Op:
    meaning = numpy and (lambda p, x: numpy(x, p[0], p[1]))
    return Op(lambda p, x: weft(x, axis=p[0], keepdims=p[1]), meaning, smooth)


OPS: dict[str, Op] = {
    **{k: _plain(*v, smooth=True) for k, v in (_UNARY | _BINARY).items()},
    **{k: _plain(*v) for k, v in (_ROUGH | _COMPARE | _LOGIC).items()},
    "divide": _plain(wf.divide, np.divide),
    "sqrt": _plain(lambda x: wf.sqrt(wf.abs(x)), lambda x: np.sqrt(np.abs(x))),
    "relu": _plain(F.relu, lambda x: np.where(x != x, x, np.maximum(x, 0))),
    "floor": _plain(wf.floor, np.floor),
    "abs": _plain(wf.abs, np.abs),
    "not": _plain(wf.logical_not, np.logical_not),
    "scale": Op(lambda p, x: x * p[0] + p[1], None, True),
    "where": _plain(wf.where, np.where),
    "cast": Op(lambda p, x: wf.astype(x, p[0]), _cast),
    "sum": _reduction(wf.sum, _summed, True),
    "mean": _reduction(wf.mean, lambda x, a, k: (x.mean(axis=a, keepdims=k), np.abs(x).mean(axis=a, keepdims=k)), True),
    "prod": _reduction(wf.prod, _multiplied),
    "max": _reduction(wf.max, lambda x, a, k: x.max(axis=a, keepdims=k)),
    "min": _reduction(wf.min, lambda x, a, k: x.min(axis=a, keepdims=k)),
    "any": _reduction(wf.any, lambda x, a, k: x.any(axis=a, keepdims=k)),
    "all": _reduction(wf.all, lambda x, a, k: x.all(axis=a, keepdims=k)),
    "argmax": _reduction(wf.argmax, lambda x, a, k: x.argmax(axis=a, keepdims=k)),
    "argmin": _reduction(wf.argmin, lambda x, a, k: x.argmin(axis=a, keepdims=k)),
    "var": _reduction(wf.var, lambda x, a, k: (x.var(axis=a, keepdims=k), np.square(x).mean(axis=a, keepdims=k)), True),
    "logsumexp": _reduction(wf.logsumexp, None, True),
    "reshape": Op(lambda p, x: wf.reshape(x, p[0]), lambda p, x: x.reshape(p[0]), True),
    "permute": Op(lambda p, x: wf.permute_dims(x, p[0]), lambda p, x: x.transpose(p[0]), True),
    "slice": Op(lambda p, x: x[_key(p[0])], lambda p, x: x[_key(p[0])], True),
    "flip": Op(lambda p, x: wf.flip(x, axis=p[0]), lambda p, x: np.flip(x, p[0]), True),
    "roll": Op(lambda p, x: wf.roll(x, p[0], axis=p[1]), lambda p, x: np.roll(x, p[0], p[1]), True),
    "broadcast": Op(lambda p, x: wf.broadcast_to(x, p[0]), lambda p, x: np.broadcast_to(x, p[0]), True),
    "tril": Op(lambda p, x: wf.tril(x, k=p[0]), lambda p, x: np.tril(x, p[0]), True),
    "pad": Op(lambda p, x: wf.pad(x, p[0]), lambda p, x: np.pad(x, p[0]), True),
    "repeat": Op(lambda p, x: wf.repeat(x, p[0], axis=p[1]), lambda p, x: np.repeat(x, p[0], p[1]), True),
    "concat": Op(lambda p, *xs: wf.concat(xs, axis=p[0]), lambda p, *xs: np.concatenate(xs, p[0]), True),
    "stack": Op(lambda p, *xs: wf.stack(xs, axis=p[0]), lambda p, *xs: np.stack(xs, p[0]), True),
    "matmul": Op(
        lambda p, a, b: (a.mT if p[0] else a) @ (b.mT if p[1] else b), lambda p, a, b: _product(p, a, b), True
    ),
    "index": Op(
        lambda p, x: wf.remainder(wf.astype(x, wf.int64), p[0]), lambda p, x: np.remainder(x.astype(np.int64), p[0])
    ),
    "take": Op(lambda p, x, i: wf.take(x, i, axis=p[0]), lambda p, x, i: np.take(x, i, axis=p[0]), True),
    "take_along": Op(
        lambda p, x, i: wf.take_along_axis(x, i, axis=p[0]), lambda p, x, i: np.take_along_axis(x, i, p[0]), True
    ),
    "scatter_add": Op(lambda p, x, i, u: wf.scatter_add(x, i, u, axis=p[0]), _scatter, True),
    "set_slice": Op(_set, _written, True),
    "set_rows": Op(_set_at, _written_at, True),
    "cumulative_sum": Op(
        lambda p, x: wf.cumulative_sum(x, axis=p[0]),
        lambda p, x: (
            np.cumsum(x, p[0], dtype=None if x.dtype.kind == "f" else np.int64),
            np.cumsum(np.abs(x), p[0]) if x.dtype.kind == "f" else None,
        ),
        True,
    ),
    "softmax": Op(lambda p, x: F.softmax(x, p[0]), lambda p, x: _softmax(x, p[0]), True),
    "log_softmax": Op(lambda p, x: F.log_softmax(x, p[0]), None, True),
    "layer_norm": Op(lambda p, x: F.layer_norm(x, (x.shape[-1],)), _layer_norm, True),
}


def _product(p: tuple[Any, ...], a: Array, b: Array) -> Any:
    a, b = (np.swapaxes(x, -1, -2) if t else x for x, t in ((a, p[0]), (b, p[1])))
    return (a @ b, np.abs(a) @ np.abs(b)) if a.dtype.kind == "f" else a @ b


# --- drawing ----------------------------------------------------------------------------------------------------


class Drawing:
    """A program that is being drawn: its values so far. ``dtypes`` of the inputs; ``smooth``: only ops that are."""

    def __init__(self, below: Below, dtypes: Sequence[str], smooth: bool = False):
        self.below, self.smooth, self.dtypes = below, smooth, dtypes
        self.kinds: list[Kind] = []
        self.steps: list[Step] = []

    def pick(self, items: Sequence[Any]) -> Any:
        """One of them."""
        return items[self.below(len(items))]

    def find(self, fits: Callable[[Kind], bool]) -> int | None:
        """A value of a kind that fits; later ones are likelier."""
        found = [i for i, k in enumerate(self.kinds) if fits(k)]
        if not found:
            return None
        return found[-1 - self.below(min(len(found), 4 if self.below(2) else len(found)))]

    def add(self, op: str, operands: Sequence[int], *params: Any) -> int | None:
        """Append a step, unless its result would be too large; shapes are found by running NumPy's meaning on zeros
        where weft's rule is not asked."""
        kinds = [self.kinds[i] for i in operands]
        result = wf.eval_shape(lambda *xs: OPS[op].run(params, *xs), *(wf.spec(k.shape, k.dtype) for k in kinds))
        if prod(result.shape) > LARGEST or len(result.shape) > 5:
            return None
        self.steps.append(Step(op, tuple(operands), params))
        self.kinds.append(Kind(result.dtype.name, tuple(result.shape)))
        return len(self.kinds) - 1


def _is_float(k: Kind) -> bool:
    return k.dtype in FLOATS


def _is_number(k: Kind) -> bool:
    return k.dtype != "bool"


def _pair(d: Drawing, fits: Callable[[Kind], bool]) -> tuple[int, int] | None:
    a = d.find(fits)
    if a is None:
        return None
    first = d.kinds[a]

    def meets(k: Kind) -> bool:
        if k.dtype != first.dtype:
            return False
        pairs = zip(reversed(k.shape), reversed(first.shape), strict=False)
        return all(n == m or 1 in (n, m) for n, m in pairs)

    b = d.find(meets)
    return None if b is None else (a, b)


def _draw_unary(d: Drawing) -> int | None:
    a = d.find(_is_float)
    names = list(_UNARY) + ([] if d.smooth else ["sqrt", "relu", "floor", "abs"])
    return None if a is None else d.add(d.pick(names), [a])


def _draw_binary(d: Drawing) -> int | None:
    pair = _pair(d, _is_number)
    if pair is None:
        return None
    names = list(_BINARY) + ([] if d.smooth else [*_ROUGH, *_COMPARE] + ["divide"] * _is_float(d.kinds[pair[0]]))
    return d.add(d.pick(names), pair)


def _draw_logic(d: Drawing) -> int | None:
    pair = _pair(d, lambda k: k.dtype == "bool")
    return None if pair is None else d.add(d.pick(list(_LOGIC)), pair) if d.below(3) else d.add("not", pair[:1])


def _draw_scale(d: Drawing) -> int | None:
    a = d.find(_is_float)
    return None if a is None else d.add("scale", [a], d.pick((0.5, -1.5, 2.0)), d.pick((0.0, 1.0, -0.25)))


def _draw_where(d: Drawing) -> int | None:
    pair = _pair(d, _is_number)
    if pair is None:
        return None
    whole = np.broadcast_shapes(*(d.kinds[i].shape for i in pair))
    c = d.find(lambda k: k.dtype == "bool" and (k.shape in (whole, whole[-1:], ())))
    return None if c is None else d.add("where", (c, *pair))


def _draw_cast(d: Drawing) -> int | None:
    a = d.find(lambda k: True)
    return None if a is None else d.add("cast", [a], d.pick((*FLOATS, *INTEGERS, "bool")))


def _axes(d: Drawing, shape: Shape) -> tuple[int, ...]:
    return tuple(sorted(a for a in range(len(shape)) if d.below(2)))


def _draw_reduction(d: Drawing) -> int | None:
    a = d.find(_is_float if d.smooth or d.below(3) else lambda k: True)
    if a is None:
        return None
    kind = d.kinds[a]
    axes, keep = _axes(d, kind.shape), bool(d.below(2))
    several = prod(kind.shape[x] for x in axes) > 0
    if kind.dtype == "bool":
        return d.add(d.pick(("any", "all", "sum")), [a], axes, keep)
    names = ["sum", "sum"] + ["mean", "var", "logsumexp"] * (_is_float(kind) and several)
    if not d.smooth:
        names += ["prod"] + ["max", "min", "argmax", "argmin"] * several
    name = d.pick(names)
    if name.startswith("arg"):
        if not kind.shape or 0 in kind.shape:
            return None
        return d.add(name, [a], None if d.below(3) == 0 else d.below(len(kind.shape)), keep)
    return d.add(name, [a], axes, keep)


def _draw_reshape(d: Drawing) -> int | None:
    a = d.find(lambda k: True)
    if a is None:
        return None
    left, shape = prod(d.kinds[a].shape), []
    if left == 0:
        shape = [0, d.pick((1, 3))]
    else:
        while left > 1 and len(shape) < 4 and d.below(4):
            divisors = [n for n in range(1, left + 1) if left % n == 0][:12]
            shape.append(d.pick(divisors))
            left //= shape[-1]
        shape.append(left)
    return d.add("reshape", [a], tuple(shape))


def _draw_view(d: Drawing) -> int | None:
    a = d.find(lambda k: bool(k.shape))
    if a is None:
        return None
    shape = d.kinds[a].shape
    what = d.below(6)
    if what == 0:
        order = list(range(len(shape)))
        for i in range(len(order) - 1, 0, -1):
            j = d.below(i + 1)
            order[i], order[j] = order[j], order[i]
        return d.add("permute", [a], tuple(order))
    if what == 1:
        return d.add("flip", [a], _axes(d, shape))
    if what == 2:
        extra = (d.pick((1, 2, 3)),) if d.below(2) else ()
        grown = tuple(d.pick((1, 2, 5)) if n == 1 else n for n in shape)
        return d.add("broadcast", [a], extra + grown)
    if what == 3:
        return d.add("roll", [a], d.below(5) - 2, d.below(len(shape)))
    return d.add("slice", [a], _draw_key(d, shape))


def _draw_key(d: Drawing, shape: Shape) -> tuple[Any, ...]:
    key: list[Any] = []
    for n in shape[: 1 + d.below(len(shape))]:
        if n and d.below(5) == 0:
            key.append(d.below(n) - d.pick((0, n)))
        else:
            step = d.pick((1, 1, 2, -1, 3))
            ends = [d.below(n // 2 + 1), n - d.below(n // 3 + 1)]
            key.append((ends[0], ends[1], step) if step > 0 else (ends[1], ends[0], step))
    if d.below(5) == 0:
        key.insert(d.below(len(key) + 1), None)
    return tuple(key)


def _draw_layout(d: Drawing) -> int | None:
    a = d.find(lambda k: bool(k.shape))
    if a is None:
        return None
    kind, what = d.kinds[a], d.below(3)
    if what == 0 and len(kind.shape) > 1:
        return d.add("tril", [a], d.below(3) - 1)
    if what == 1:
        return d.add("repeat", [a], d.pick((1, 2, 3)), d.below(len(kind.shape)))
    return d.add("pad", [a], tuple((d.below(3), d.below(2)) for _ in kind.shape))


def _draw_concat(d: Drawing) -> int | None:
    a = d.find(lambda k: bool(k.shape))
    if a is None:
        return None
    kind, axis = d.kinds[a], d.below(len(d.kinds[a].shape))

    def fits(k: Kind) -> bool:
        return (
            k.dtype == kind.dtype
            and len(k.shape) == len(kind.shape)
            and all(n == m for i, (n, m) in enumerate(zip(k.shape, kind.shape, strict=True)) if i != axis)
        )

    parts = [a, *(d.find(fits) or a for _ in range(d.below(3)))]
    if all(d.kinds[p] == kind for p in parts) and d.below(2):
        return d.add("stack", parts, axis)
    return d.add("concat", parts, axis)


def _draw_matmul(d: Drawing) -> int | None:
    a = d.find(lambda k: _is_number(k) and len(k.shape) > 1)
    if a is None:
        return None
    kind, flipped = d.kinds[a], bool(d.below(2))
    inner = kind.shape[-2] if flipped else kind.shape[-1]
    other = bool(d.below(2))
    at = -1 if other else -2

    def fits(k: Kind) -> bool:
        batch = zip(reversed(k.shape[:-2]), reversed(kind.shape[:-2]), strict=False)
        return (
            k.dtype == kind.dtype
            and len(k.shape) > 1
            and k.shape[at] == inner
            and all(n == m or 1 in (n, m) for n, m in batch)
        )

    b = d.find(fits)
    return None if b is None else d.add("matmul", (a, b), flipped, other)


def _index(d: Drawing, size: int, fits: Callable[[Shape], bool]) -> int | None:
    """Positions on an axis of this size: some number modulo it."""
    source = d.find(lambda k: k.dtype in INTEGERS and fits(k.shape))
    return None if source is None or size == 0 else d.add("index", [source], size)


def _draw_gather(d: Drawing) -> int | None:
    a = d.find(lambda k: bool(k.shape))
    if a is None:
        return None
    kind, axis = d.kinds[a], d.below(len(d.kinds[a].shape))
    if d.below(3) == 0:
        i = _index(
            d,
            kind.shape[axis],
            lambda s: (
                len(s) == len(kind.shape)
                and all(n == m for x, (n, m) in enumerate(zip(s, kind.shape, strict=True)) if x != axis)
            ),
        )
        return None if i is None else d.add("take_along", (a, i), axis)
    i = _index(d, kind.shape[axis], lambda s: len(s) < 3 and prod(s) < 300)
    return None if i is None else d.add("take", (a, i), axis)


def _draw_scatter(d: Drawing) -> int | None:
    a = d.find(lambda k: bool(k.shape) and _is_number(k))
    if a is None:
        return None
    kind = d.kinds[a]
    i = _index(d, kind.shape[0], lambda s: len(s) == 1 and s[0] > 0)
    if i is None:
        return None
    wanted = (d.kinds[i].shape[0], *kind.shape[1:])
    u = d.find(lambda k: k.dtype == kind.dtype and k.shape == wanted)
    if u is None:
        u = d.add("take", (a, i), 0)
    if u is None or d.kinds[u].dtype != kind.dtype:
        return None
    return d.add(d.pick(("scatter_add", "set_rows")), (a, i, u), 0)


def _draw_write(d: Drawing) -> int | None:
    a = d.find(lambda k: bool(k.shape))
    if a is None:
        return None
    kind = d.kinds[a]
    key = tuple(k for k in _draw_key(d, kind.shape) if k is not None)
    part = np.zeros(kind.shape, bool)[_key(key)].shape
    u = d.find(lambda k: k.dtype == kind.dtype and k.shape in (part, part[-1:], ()))
    if u is None:
        u = d.add("slice", [a], key)
    return None if u is None else d.add("set_slice", (a, u), key)


def _draw_along(d: Drawing) -> int | None:
    a = d.find(lambda k: _is_float(k) and bool(k.shape) and 0 not in k.shape)
    if a is None:
        return None
    name, axis = d.pick(("softmax", "log_softmax", "cumulative_sum", "layer_norm")), d.below(len(d.kinds[a].shape))
    return d.add(name, [a], *(() if name == "layer_norm" else (axis,)))


DRAW: tuple[Callable[[Drawing], int | None], ...] = (
    *(_draw_unary, _draw_unary, _draw_unary, _draw_binary, _draw_binary, _draw_binary, _draw_binary, _draw_scale),
    *(_draw_reduction, _draw_reduction, _draw_reduction, _draw_matmul, _draw_matmul, _draw_along, _draw_along),
    *(_draw_view, _draw_view, _draw_reshape, _draw_concat, _draw_layout, _draw_gather, _draw_scatter, _draw_write),
)
DRAW_ROUGH = (*DRAW, _draw_where, _draw_where, _draw_cast, _draw_logic)


def draw_program(
    below: Below, steps: int, dtypes: Sequence[str] = (*FLOATS, *INTEGERS, "bool"), smooth: bool = False
) -> Program:
    """A program of about so many steps."""
    d = Drawing(below, dtypes, smooth)
    common = [d.pick(SIZES) for _ in range(3)] + [1] + ([] if smooth or d.below(4) else [0])
    inputs = []
    main = d.pick(dtypes)
    for _ in range(2 + d.below(3)):
        shape: Shape = tuple(d.pick(common) for _ in range(d.below(4)))
        while prod(shape) > LARGEST:
            shape = shape[1:]
        inputs.append((Kind(main if d.below(3) else d.pick(dtypes), shape), d.pick(LAYOUTS)))
    if smooth:
        inputs.append((Kind("int64", (d.pick((1, 2, 5, 9)),)), "plain"))
    elif d.below(12) == 0:
        inputs.append((Kind(d.pick(dtypes), (1 + d.below(2), 33_000 + d.below(9))), "plain"))  # a long reduction
    d.kinds = [k for k, _ in inputs]
    wanted, tries = len(inputs) + steps, 0
    while len(d.kinds) < wanted and tries < 4 * steps:
        tries += 1
        d.pick(DRAW if smooth else DRAW_ROUGH)(d)
    count = len(d.kinds)
    outputs = [count - 1] + [d.below(count) for _ in range(d.below(4))]
    return Program(tuple(inputs), tuple(d.steps), tuple(outputs), d.below(1 << 16))


def rolled(seed: int) -> Below:
    """Choices of a seed."""
    return random.Random(seed).randrange


def text_of(program: Program) -> str:
    """The program as Python lines, for a failing test's report."""
    lines = [f"%{i}: {k.dtype}{list(k.shape)} {layout}" for i, (k, layout) in enumerate(program.inputs)]
    for i, step in enumerate(program.steps, len(program.inputs)):
        params = "".join(f", {p}" for p in step.params)
        lines.append(f"%{i} = {step.op}({', '.join(f'%{o}' for o in step.operands)}{params})")
    return "\n".join([*lines, f"return {', '.join(f'%{o}' for o in program.outputs)}  # seed {program.seed}"])
