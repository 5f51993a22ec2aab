"""Kernels as text: the text is the identity by which machine code is found again."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_kernels import columns, nests, sequentials

from weft.compiler import expr as ex
from weft.compiler.expr import Expr, const, leaf, rebuild
from weft.compiler.kernels import Access, Nest, Reduce, Slot, Store, describe
from weft.core import dtypes as dt

drawn_kernels = st.one_of(nests(), columns(), sequentials()).map(lambda drawn: drawn[0])


def copied(stage: Reduce | Store) -> Reduce | Store:
    """The stage over new nodes, none of which is shared."""

    def fresh(node: Expr) -> Expr:
        return Expr(node.op, node.dtype, tuple(fresh(a) for a in node.args), node.value)

    changes: dict[str, Any] = {"value": fresh(stage.value)}
    if isinstance(stage, Store):
        changes["indices"] = tuple(fresh(i) for i in stage.indices)
    elif stage.position is not None:
        changes["position"] = fresh(stage.position)
    return replace(stage, **changes)


@settings(max_examples=30)
@given(drawn_kernels)
def test_which_nodes_of_an_expression_are_shared_does_not_show(kernel: Any) -> None:
    twin = replace(kernel, stages=tuple(copied(s) for s in kernel.stages))
    assert describe(twin) == describe(kernel) == str(kernel)


def other(value: Any) -> Any:
    """Something else of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, Slot):
        return Slot(value.index + 100)
    if isinstance(value, tuple):
        return (*value, value[-1] if value else Slot(99))
    return 7 if value is None else None


@settings(max_examples=30)
@given(drawn_kernels, st.data())
def test_whatever_is_different_shows_in_the_text(kernel: Any, data: st.DataObject) -> None:
    for item in fields(kernel):
        assert describe(replace(kernel, **{item.name: other(getattr(kernel, item.name))})) != describe(kernel), (
            item.name
        )
    stage = data.draw(st.sampled_from(kernel.stages))
    at = kernel.stages.index(stage)

    def with_stage(changed: Any) -> str:
        return describe(replace(kernel, stages=(*kernel.stages[:at], changed, *kernel.stages[at + 1 :])))

    target = data.draw(st.sampled_from(ex.topological([stage.value])))
    for changed in (
        Expr(target.op + "x", target.dtype, target.args, target.value),
        Expr(target.op, dt.uint32 if target.dtype is dt.int32 else dt.int32, target.args, target.value),
        Expr(target.op, target.dtype, (*target.args, target), target.value),
        Expr(target.op, target.dtype, target.args, ("another", target.value)),
    ):
        (value,) = rebuild([stage.value], lambda node, args, new=changed: new if node is target else None)
        assert with_stage(replace(stage, value=value)) != describe(kernel)
    if isinstance(stage, Store):
        moved = replace(stage.access, offset=other(stage.access.offset))
        assert with_stage(replace(stage, access=moved)) != describe(kernel)
        assert with_stage(replace(stage, scalar=not stage.scalar)) != describe(kernel)
    else:
        assert with_stage(replace(stage, op="other")) != describe(kernel)


@pytest.mark.parametrize(("a", "b"), [(0.0, -0.0), (1, 1.0), (True, 1), (float("nan"), float("inf"))])
def test_constants_that_are_equal_in_python_alone_are_told_apart(a: Any, b: Any) -> None:
    def kernel(value: Any) -> Nest:
        store = Store(Access(0, dt.float32, 0, (1,)), const(value, dt.float32))
        return Nest((), Slot(0), 0, 1, (store,), (dt.float32,))

    assert describe(kernel(a)) != describe(kernel(b))


def test_the_text_of_a_kernel() -> None:
    x = leaf("load", dt.float32, Access(0, dt.float32, 0, (Slot(1), 1)))
    stages = (
        Reduce("max", ex.mul(x, x), dt.float32),
        Store(Access(1, dt.float32, 0, (1, 0)), leaf("ref", dt.float32, 0), scalar=True),
    )
    kernel = Nest((Slot(0),), Slot(2), 0, 1, stages, (dt.float32, dt.float32))
    assert str(kernel).splitlines() == [
        "Nest(grid=($0,), inner=$2, block=0, blocks=1, buffers=(weft.float32, weft.float32), block_axis=False, "
        "together=1, streams=False)",
        "  %0 = load:float32 b0:float32[0; $1, 1]",
        "  %1 = mul:float32 %0 %0",
        "  reduce max:float32 %1",
        "  %2 = ref:float32 0",
        "  scalar store b1:float32[0; 1, 0] %2",
    ]
    assert "define i64 @kernel(" in kernel.llvm() and "kernel:" in kernel.asm()
