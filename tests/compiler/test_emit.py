"""Code of scalar expressions: each op, on each dtype that has it, gives NumPy's bits, in vectors and one by one."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import naive
import numpy as np
import pytest
from small_kernels import TARGETS, bits, compiled, numbers, specials

from weft.compiler import expr as ex
from weft.compiler.build import render
from weft.compiler.emit import Module, Writer, constant, emit_exprs
from weft.compiler.expr import Expr, leaf
from weft.compiler.kernels import Access, Nest, Slot, Store
from weft.core import dtypes as dt
from weft.core.dtypes import DType
from weft.llvm.targets import Target

Array = Any
INTEGERS = [dt.int8, dt.int16, dt.int32, dt.int64, dt.uint8, dt.uint16, dt.uint32, dt.uint64]
FLOATS = [dt.float32, dt.float64]
ALL = [*INTEGERS, *FLOATS, dt.bool_, dt.float16, dt.bfloat16]
COUNT = 16 * 20 + 7  # whole vectors, and a rest

COMPARE = ["eq", "ne", "lt", "le", "gt", "ge"]
FLOAT_OPS = [
    *["add", "sub", "mul", "div", "rem", "neg", "abs", "sqrt", "floor", "ceil", "trunc", "rint", "copysign", "fma"],
    *COMPARE,
    "where",
]
INTEGER_OPS = [
    *["add", "sub", "mul", "div", "rem", "neg", "and", "or", "xor", "not", "shl", "shr", "mulhi", "popcount", "clz"],
    *COMPARE,
    "where",
]
BOOL_OPS = ["and", "or", "xor", "not", "where"]
BUILD: dict[str, Callable[..., Expr]] = {
    **{name: getattr(ex, name) for name in (*FLOAT_OPS, *INTEGER_OPS) if hasattr(ex, name)},
    **{name: getattr(ex, f"{name}_") for name in ("abs", "and", "or", "not")},
}
ARITY = {"where": 3, "fma": 3} | dict.fromkeys(
    ["neg", "abs", "sqrt", "floor", "ceil", "trunc", "rint", "not", "popcount", "clz"], 1
)


def ops_of(dtype: DType) -> list[str]:
    """The ops that docs of expr.py give a dtype."""
    if dtype.is_integer:
        return [*INTEGER_OPS, *(["abs"] if dtype.is_signed else [])]
    return FLOAT_OPS if dtype in FLOATS else BOOL_OPS if dtype is dt.bool_ else ["where"]


def operands(dtype: DType) -> list[Array]:
    """Three arrays, in the first two of which every special value meets every other."""
    found, special = [numbers(dtype, COUNT, np.random.default_rng(seed)) for seed in range(3)], specials(dtype)
    count = special.size
    found[0][: count**2], found[1][: count**2] = np.repeat(special, count), np.tile(special, count)
    return found


def guarded(op: str, args: list[Array]) -> list[Array]:
    """The operands with what the op leaves undefined taken out."""
    a, *rest = args
    if a.dtype.kind in "iu" and op in ("div", "rem"):
        rest[0] = np.where((rest[0] == 0) | (rest[0].astype(object) == -1), 3, rest[0])
    if op in ("shl", "shr"):
        rest[0] = rest[0] & (8 * a.itemsize - 1)
    return [a, *(r.astype(a.dtype) for r in rest)]


def results(made: Sequence[tuple[str, Expr]], arrays: Sequence[Array], dtypes: Sequence[DType], target: Target) -> Any:
    """The value of each expression over the arrays, by one kernel with a store for each."""
    buffers, types, stores = list(arrays), list(dtypes), []
    for _, value in made:
        stores.append(Store(Access(len(buffers), value.dtype, 0, (1,)), value))
        buffers.append(np.zeros(COUNT, value.dtype.numpy))
        types.append(value.dtype)
    assert compiled(Nest((), Slot(0), 0, 1, tuple(stores), tuple(types)), target)(buffers, [COUNT], [(0, 1)]) == 0
    return buffers[len(arrays) :]


def loads(dtypes: Sequence[DType]) -> list[Expr]:
    return [leaf("load", d, Access(k, d, 0, (1,))) for k, d in enumerate(dtypes)]


def same(name: str, found: Array, wanted: Array, arrays: Sequence[Array]) -> None:
    """Equal bits, or the first place where they are not."""
    assert found.dtype == wanted.dtype
    different = np.flatnonzero(bits(found) != bits(wanted))
    if different.size:
        at = different[0]
        raise AssertionError(f"{name} of {[a[at] for a in arrays]}: {found[at]} instead of {wanted[at]}")


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.isa)
@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_each_op_gives_numpys_bits(dtype: DType, target: Target) -> None:
    arrays, types, made, wanted = [], [], [], []
    for op in ops_of(dtype):
        args = guarded(op, operands(dtype)[: ARITY.get(op, 2)])
        own = [dtype] * len(args)
        if op == "where":
            args[0], own[0] = numbers(dt.bool_, COUNT, np.random.default_rng(0)), dt.bool_
        leaves = [leaf("load", d, Access(len(arrays) + k, d, 0, (1,))) for k, d in enumerate(own)]
        if op in ("div", "rem") and dtype.is_integer:  # lanes past the end would divide by the zeros that they load
            leaves[1] = ex.where(ex.eq(leaves[1], ex.const(0, dtype)), ex.const(1, dtype), leaves[1])
        made.append((op, BUILD[op](*leaves)))
        arrays += args
        types += own
        wanted.append((naive.compute(made[-1][1], args, COUNT), args))
    for (op, _), found, (value, args) in zip(made, results(made, arrays, types, target), wanted, strict=True):
        same(op, found, value, args)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.isa)
@pytest.mark.parametrize("source", ALL, ids=str)
def test_each_cast_rounds_wraps_or_saturates_once(source: DType, target: Target) -> None:
    x = operands(source)[0]
    if source in FLOATS:  # halves, neighbours of integers' limits, and what lies between 16-bit floats
        limits = np.concatenate([[np.iinfo(d.numpy).min, np.iinfo(d.numpy).max] for d in INTEGERS]).astype(x.dtype)
        near = np.concatenate([limits, np.nextafter(limits, 0), np.nextafter(limits, np.inf), np.arange(-4, 4) + 0.5])
        ties = np.array([65519.0, 65520.0, 2.0**-25, 2.0**-24 * 1.5, 1 + 2.0**-11, 1 + 2.0**-8, 3.3961e38, 1e-41])
        above = np.nextafter(ties.astype(x.dtype), np.inf, dtype=x.dtype)
        chosen = np.concatenate([near, ties, above]).astype(x.dtype)
        x[: chosen.size] = chosen
    (value,) = loads([source])
    made = [(f"cast to {d.name}", ex.cast(value, d)) for d in ALL if d is not source]
    for (name, root), found in zip(made, results(made, [x], [source], target), strict=True):
        same(name, found, naive.cast(x, root.dtype), [x])


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_bitcasts_keep_bits(size: int) -> None:
    family = [d for d in ALL if d.itemsize == size and d is not dt.bool_]
    for source in family:
        x = operands(source)[0]
        (value,) = loads([source])
        made = [(d.name, ex.bitcast(value, d)) for d in family if d is not source]
        for (_, root), found in zip(made, results(made, [x], [source], TARGETS[-1]), strict=True):
            assert found.tobytes() == x.view(root.dtype.numpy).tobytes()


CONSTANTS = [0, 1, -1, 1.5, -0.0, 0.1, 1 / 3, 65519.9, 65520, 1e30, 3.4e38, 3.5e38, -1e300, 1e-40, 1e-46]
CONSTANTS += [float("inf"), float("-inf"), float("nan"), 1.00390625, 1.01171875, 2049, 2051]


@pytest.mark.parametrize("dtype", [*FLOATS, dt.float16, dt.bfloat16], ids=str)
def test_float_constants_are_rounded_once(dtype: DType) -> None:
    """float64 to float32 and float16 as struct rounds; to bfloat16 by way of float32, as its users write them."""
    single = np.float32 if dtype is dt.bfloat16 else np.float64
    with np.errstate(over="ignore"):
        values = np.array(CONSTANTS).astype(single)
        wanted = naive.cast(values, dtype) if dtype.itemsize == 2 else values.astype(dtype.numpy)
    for value, expected in zip(CONSTANTS, wanted, strict=True):
        made = [("const", ex.const(value, dtype))]
        found = results(made, [], [], TARGETS[-1])[0]
        assert (bits(found) == bits(np.array([expected], dtype.numpy))).all(), (value, found[0], expected)


@pytest.mark.parametrize("dtype", [*INTEGERS, dt.bool_], ids=str)
def test_integer_constants_wrap(dtype: DType) -> None:
    values = (
        [0, 1] if dtype is dt.bool_ else [0, 1, -1, 127, 128, 255, 1 << 15, (1 << 31) - 1, -(1 << 63), (1 << 64) - 1]
    )
    made = [("const", ex.const(v, dtype)) for v in values]
    for value, found in zip(values, results(made, [], [], TARGETS[-1]), strict=True):
        wrapped = np.array([value & ((1 << 8 * dtype.itemsize) - 1)], np.uint64).astype(dtype.numpy)
        assert (found == wrapped).all(), value


def test_a_constant_in_every_lane_is_one_splat() -> None:
    assert constant(1.0, dt.float32, 1) == "0x3FF0000000000000"
    assert constant(1.0, dt.float32, 16) == "splat (float 0x3FF0000000000000)"
    assert constant(True, dt.bool_, 1) == "true" and constant(200, dt.int8, 1) == "-56"


@pytest.mark.parametrize("dtype", [dt.float64, dt.int32, dt.uint8], ids=str)
def test_tables_are_looked_up_in_each_lane(dtype: DType) -> None:
    values = numbers(dtype, 50, np.random.default_rng(3))
    index = np.random.default_rng(4).integers(0, 50, COUNT)
    (at,) = loads([dt.int64])
    made = [("table", ex.table(values.tolist(), at, dtype)), ("again", ex.table(values.tolist(), at + 0, dtype))]
    for found in results(made, [index], [dt.int64], TARGETS[-1]):
        assert (bits(found) == bits(values[index])).all()
    text = render(
        Nest((), Slot(0), 0, 1, (Store(Access(1, dtype, 0, (1,)), made[0][1]),), (dt.int64, dtype)), "k", TARGETS[-1]
    )
    assert len(re.findall(r"^@table", text, re.MULTILINE)) == 1


class Registers:
    """A Point whose leaves are registers named after their values."""

    lanes = 1

    def leaf(self, node: Expr, arguments: list[str]) -> str:
        return f"%{node.value}"


def test_equal_expressions_are_emitted_once_and_what_is_known_not_at_all() -> None:
    def tree(x: Expr) -> Expr:
        return ex.add(ex.mul(x, x), ex.mul(x, x))

    x = leaf("acc", dt.float32, "x")
    w, again = Writer(Module()), leaf("acc", dt.float32, "x")
    one, other = emit_exprs(w, [tree(x), tree(again)], Registers())
    assert one == other and len(w.lines) == 2
    w = Writer(Module())
    square = ex.mul(x, x)
    known = {id(square): "%given"}
    (sum_,) = emit_exprs(w, [ex.add(square, square)], Registers(), known)
    assert w.lines == [f"  {sum_} = fadd float %given, %given"]


def test_index_arithmetic_folds_what_is_trivial() -> None:
    w = Writer(Module())
    assert w.arithmetic("add", "0", "%a") == w.arithmetic("add", "%a", 0) == w.arithmetic("mul", "%a", 1) == "%a"
    assert w.arithmetic("mul", "1", "%a") == "%a" and w.arithmetic("mul", "%a", "0") == "0" and not w.lines
    assert w.arithmetic("add", "%a", 3) == "%i1" and w.lines == ["  %i1 = add nsw i64 %a, 3"]
