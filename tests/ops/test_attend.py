"""Attention that stores no scores: prefixes, layouts, memory, gradients of any order, and where files and libraries
have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft.compiler.kernels import Attention
from weft.core.device import CPU
from weft.core.shapes import strides_of
from weft.graph.executable import plan_graph
from weft.llvm.targets import host_target
from weft.nn import functional as F
from weft.ops.attention import _attention
from weft.ops.op import trace_function
from weft.tensor.calls import GraphCall
from weft.transforms.capture import capture

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(0)


def normal(*shape: int, dtype: str = "float32") -> Any:
    return wf.asarray(RNG.normal(size=shape).astype(dtype))


def same(x: Any, y: Any) -> bool:
    return x.numpy().tobytes() == y.numpy().tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("size", [8, 33, 64])
def test_a_row_that_is_decoded_has_the_bits_of_the_whole_pass(size: int, dtype: str) -> None:
    """With the keys so far; with the room of a cache under a mask, whatever finite numbers lie there; one or several
    rows at a time."""
    length, room = 150, 300
    q, k, v = (wf.astype(normal(2, 3, length, size), dtype) for _ in range(3))
    whole = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    rest = [wf.astype(normal(2, 3, room - length, size), dtype) for _ in range(2)]
    kept = [wf.concat([x, y], axis=2) for x, y in zip((k, v), rest, strict=True)]
    for first, count in ((0, 1), (1, 1), (31, 1), (32, 3), (100, 20), (149, 1)):
        rows = slice(first, first + count)
        wanted = whole[:, :, rows]
        seen = wf.arange(room)[None, :] <= (wf.arange(count) + first)[:, None]
        assert same(F.scaled_dot_product_attention(q[:, :, rows], *kept, seen), wanted)
        now = first + count
        assert same(F.scaled_dot_product_attention(q[:, :, rows], k[:, :, :now], v[:, :, :now], seen[:, :now]), wanted)
        if count == 1:
            assert same(F.scaled_dot_product_attention(q[:, :, rows], k[:, :, :now], v[:, :, :now]), wanted)


def test_it_has_the_bits_of_its_formula() -> None:
    """Written by hand, with weights asked for, with dropout that drops nothing."""
    q, k, v = normal(2, 4, 50, 16), normal(2, 4, 300, 16), normal(2, 4, 300, 24)
    mask = normal(50, 300)
    for found, scores in (
        (F.scaled_dot_product_attention(q, k, v), q @ k.mT * 0.25),
        (F.scaled_dot_product_attention(q, k, v, mask), q @ k.mT * 0.25 + mask),
    ):
        assert same(found, F.softmax(scores, -1) @ v + 0.0)
    causal = wf.where(wf.tril(wf.ones((50, 300), dtype="bool")), q @ k.mT * 0.25, -np.inf)
    assert same(F.scaled_dot_product_attention(q, k, v, is_causal=True), F.softmax(causal, -1) @ v + 0.0)
    kept = F.scaled_dot_product_attention(q, k, v, mask, dropout_p=1e-30)
    assert same(F.scaled_dot_product_attention(q, k, v, mask), kept)
    layer = wf.nn.MultiheadAttention(32, 4, batch_first=True)
    x = normal(2, 40, 32)
    assert same(layer(x, x, x, need_weights=False)[0].detach(), layer(x, x, x)[0].detach())


def test_rows_of_grouped_heads_are_those_of_heads_apart() -> None:
    q, k, v = normal(2, 6, 40, 16), normal(2, 2, 70, 16), normal(2, 2, 70, 16)
    apart = [wf.repeat(x, 3, axis=1) for x in (k, v)]
    for options in ({}, {"is_causal": True}):
        assert same(
            F.scaled_dot_product_attention(q, k, v, enable_gqa=True, **options),
            F.scaled_dot_product_attention(q, *apart, **options),
        )


@pytest.mark.parametrize("where", ["is_causal", "mask"])
def test_values_that_are_not_finite(where: str) -> None:
    """What a query does not look at does nothing: under is_causal what is CAUSAL_STEP and more behind its block."""
    q, k, v = normal(1, 100, 8), normal(1, 100, 8), normal(1, 100, 8).numpy().copy()
    wanted = F.scaled_dot_product_attention(q, k, wf.asarray(v), is_causal=True).numpy()
    v[:, 64:] = np.nan
    seen = None if where == "is_causal" else wf.tril(wf.ones((100, 100), dtype="bool"))
    got = F.scaled_dot_product_attention(q, k, wf.asarray(v), seen, is_causal=where == "is_causal").numpy()
    if where == "is_causal":
        assert got[:, :64].tobytes() == wanted[:, :64].tobytes()
        assert np.isnan(got[:, 64:]).all()
    else:
        assert np.isnan(got).all()  # zero times NaN, as in the formula


# --- layouts and memory -----------------------------------------------------------------------------------------


def test_heads_that_lie_within_rows_are_read_there() -> None:
    """(batch, length, heads, size) turned: one kernel, no copy; the same bits."""
    x = normal(2, 50, 3 * 4 * 16)

    def heads(x: Any) -> Any:
        q, k, v = (y.view(2, 50, 4, 16).transpose(1, 2) for y in x.chunk(3, dim=-1))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    assert len(wf.compile(heads).kernels(x)) == 1
    q, k, v = (wf.asarray(np.ascontiguousarray(y)) for y in x.numpy().reshape(2, 50, 3, 4, 16).transpose(2, 0, 3, 1, 4))
    assert same(heads(x), F.scaled_dot_product_attention(q, k, v, is_causal=True))


@pytest.mark.parametrize("axis", [-1, -2])
def test_operands_in_any_order(axis: int) -> None:
    """Columns, every other element, backwards: rows that are not contiguous are copied."""
    wanted = [normal(2, 3, n, 12) for n in (20, 40, 40)]
    turned = [wf.asarray(np.ascontiguousarray(x.numpy().swapaxes(-1, -2))).mT for x in wanted]
    apart = [wf.repeat(x, 2, axis=axis)[(..., slice(None, None, 2), *[slice(None)] * (-1 - axis))] for x in wanted]
    for made in (turned, apart):
        assert same(F.scaled_dot_product_attention(*made), F.scaled_dot_product_attention(*wanted))


@pytest.mark.parametrize("masked", ["none", "causal", "padding", "dropout"])
def test_memory_grows_with_the_length(masked: str) -> None:
    """Forward and backward of twice the length take twice the arena, not four times."""

    def gradients(q: Any, k: Any, v: Any, seen: Any) -> Any:
        def loss(q: Any, k: Any, v: Any) -> Any:
            mask = seen if masked == "padding" else None
            p = 0.1 if masked == "dropout" else 0.0
            return (F.scaled_dot_product_attention(q, k, v, mask, p, is_causal=masked == "causal") ** 2).sum()

        return wf.grad(loss, argnums=(0, 1, 2))(q, k, v)

    found = []
    for length in (1024, 2048, 4096):
        x = wf.zeros((1, 2, length, 16))
        graph = capture(gradients, (x, x, x, wf.ones((1, 1, 1, length), dtype="bool"))).graph
        planned = plan_graph(graph, [strides_of(v.shape) for v in graph.inputs], (), host_target(), 2)
        found.append(planned.plan.arena_nbytes)
        assert found[-1] < 8 * x.size * 4
    assert found[2] < 2.1 * found[1] < 4.4 * found[0]


def test_a_mask_is_read_where_it_broadcasts_and_computed_where_it_is_cheap() -> None:
    q = normal(2, 3, 50, 16)
    lengths = wf.asarray([30, 50])

    def padded(q: Any, lengths: Any) -> Any:
        seen = wf.arange(50)[None, None, None, :] < lengths[:, None, None, None]
        return F.scaled_dot_product_attention(q, q, q, seen)

    compiled = wf.compile(padded)
    kernels = compiled.kernels(q, lengths)
    assert len(kernels) == 1
    assert same(compiled(q, lengths), padded(q, lengths))
    np.testing.assert_array_equal(
        compiled(q, lengths).numpy()[0], F.scaled_dot_product_attention(q[:1], q[:1, :, :30], q[:1, :, :30]).numpy()[0]
    )


def test_a_mask_may_be_looked_up() -> None:
    """Relative positions, as in T5: read from their table by the kernel; an index out of range is reported."""
    q, k, table = normal(2, 3, 20, 8), normal(2, 3, 40, 8), normal(60, 3)
    index = wf.asarray(RNG.integers(0, 60, (20, 40)))

    def attend(table: Any, index: Any) -> Any:
        return F.scaled_dot_product_attention(q, k, k, table[index].permute(2, 0, 1))

    def slope(table: Any, index: Any) -> Any:
        return wf.grad(lambda t: (attend(t, index) ** 2).sum())(table)

    compiled = wf.compile(attend)
    assert len(compiled.kernels(table, index)) == 1
    assert same(compiled(table, index), attend(table, index))
    assert same(wf.compile(slope)(table, index), slope(table, index))
    with pytest.raises(IndexError, match="is out of range for axis 0 of size 60"):
        compiled(table, index + 60)


def test_numbers_that_are_not_finite_spread_as_in_the_formula() -> None:
    q, k = normal(2, 20, 8).numpy().copy(), normal(2, 40, 8)
    q[0, 3, 2], q[0, 4, 1], q[1, 5, 0] = np.nan, np.inf, -np.inf
    scores = wf.asarray(q) @ k.mT * float(np.float32(1 / np.sqrt(8)))
    wanted = (F.softmax(scores, -1) @ k).numpy()
    got = F.scaled_dot_product_attention(wf.asarray(q), k, k).numpy()
    assert np.array_equal(np.isnan(got), np.isnan(wanted)) and np.isnan(got).any(-1).sum() == 3
    np.testing.assert_array_equal(got[~np.isnan(got)], wanted[~np.isnan(wanted)])


# --- gradients --------------------------------------------------------------------------------------------------


@pytest.mark.one_in(3)
@pytest.mark.parametrize("masked", ["none", "causal", "bool", "float"])
@pytest.mark.parametrize("sizes", [(40, 70, 16, 24), (70, 300, 33, 8), (1, 1, 1, 1), (33, 5, 4, 40)])
def test_gradients_are_pytorchs(sizes: tuple[int, int, int, int], masked: str) -> None:
    length, keys, depth, width = sizes
    arrays = [RNG.normal(size=(2, 3, n, d)) for n, d in ((length, depth), (keys, depth), (keys, width))]
    seen = RNG.random((2, 1, length, keys)) < 0.8
    if masked == "bool":
        arrays.append(seen)
    elif masked == "float":
        arrays.append(np.where(seen, RNG.normal(size=(length, keys)), -np.inf)[:, :, :1])
    options = {"is_causal": masked == "causal"}
    weight = RNG.normal(size=(2, 3, length, width))
    for dtype, tolerance in (("float64", 1e-10), ("float32", 3e-4)):
        ours = [wf.asarray(a if a.dtype == bool else a.astype(dtype)) for a in arrays]
        theirs = [torch.tensor(a) for a in arrays]
        for x in (*ours, *theirs):
            if "bool" not in str(x.dtype):
                x.requires_grad_()
        (F.scaled_dot_product_attention(*ours, **options) * wf.asarray(weight.astype(dtype))).sum().backward()
        (torch.nn.functional.scaled_dot_product_attention(*theirs, **options) * torch.tensor(weight)).sum().backward()
        for a, b in zip(ours, theirs, strict=True):
            if a.requires_grad:
                np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("masked", ["none", "causal", "bool", "float"])
def test_gradients_of_gradients_are_pytorchs(masked: str) -> None:
    arrays = [RNG.normal(size=(2, n, d)) for n, d in ((5, 4), (7, 4), (7, 3))]
    if masked == "bool":
        arrays.append(RNG.random((5, 7)) < 0.8)
    elif masked == "float":
        arrays.append(RNG.normal(size=(5, 7)))
    options = {"is_causal": masked == "causal"}
    floats = [i for i, a in enumerate(arrays) if a.dtype != bool]
    along = [RNG.normal(size=arrays[i].shape) for i in floats]

    def loss(f: Any, like: Any, *x: Any) -> Any:
        return (f(*x, **options) ** 2).sum()

    def slope(*x: Any) -> Any:
        first = wf.grad(lambda *y: loss(F.scaled_dot_product_attention, wf, *y), argnums=tuple(floats))(*x)
        return sum((g * wf.asarray(a)).sum() for g, a in zip(first, along, strict=True))

    got = wf.grad(slope, argnums=tuple(floats))(*map(wf.asarray, arrays))
    theirs = [torch.tensor(a) for a in arrays]
    for i in floats:
        theirs[i].requires_grad_()
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        value = loss(torch.nn.functional.scaled_dot_product_attention, torch, *theirs)
        first = torch.autograd.grad(value, [theirs[i] for i in floats], create_graph=True)
        sum((g * torch.tensor(a)).sum() for g, a in zip(first, along, strict=True)).backward()
    for i, g in zip(floats, got, strict=True):
        np.testing.assert_allclose(g.numpy(), theirs[i].grad.numpy(), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("masked", ["none", "float"])
def test_gradients_behind_dropout_are_those_of_the_weights_that_were_drawn(masked: str) -> None:
    """First and second order, against the formula with the same draw."""
    q, k, v, g = (normal(2, n, d, dtype="float64") for n, d in ((9, 4), (7, 4), (7, 3), (9, 3)))
    masks = [] if masked == "none" else [normal(9, 7, dtype="float64")]
    along = [normal(*x.shape, dtype="float64") for x in (q, k, v, *masks)]

    def fused(q: Any, k: Any, v: Any, *mask: Any) -> Any:
        generator = wf.random.Generator(5)
        return F.scaled_dot_product_attention(q, k, v, *mask, dropout_p=0.3, generator=generator)

    def apart(q: Any, k: Any, v: Any, *mask: Any) -> Any:
        draw = wf.random.Generator(5).uniform((2, 9, 7))
        weights = F.softmax(sum(mask, q @ k.mT * 0.5), -1)
        return wf.where(draw < 0.3, 0.0, weights * (1.0 / 0.7)) @ v + 0.0

    def slope(f: Any, *x: Any) -> Any:
        first = wf.grad(lambda *y: ((f(*y) + g) ** 2).sum(), argnums=tuple(range(len(x))))(*x)
        return sum((a * b).sum() for a, b in zip(first, along, strict=True))

    operands = (q, k, v, *masks)
    argnums = tuple(range(len(operands)))
    assert same(fused(*operands), apart(*operands))
    for loss in (lambda f, *x: ((f(*x) + g) ** 2).sum(), slope):
        got = wf.grad(lambda *x, loss=loss: loss(fused, *x), argnums=argnums)(*operands)
        wanted = wf.grad(lambda *x, loss=loss: loss(apart, *x), argnums=argnums)(*operands)
        for a, b in zip(got, wanted, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-10)


def test_the_way_back_keeps_the_result_and_two_numbers_a_row() -> None:
    """It runs no forward pass again, in eager code either."""
    types = [normal(1, 2, 30, 16)._spec.type] * 3
    graph, _ = trace_function(
        lambda q, k, v: _attention.function(q, k, v, (), None, 0.0, True, None, False), types, "attention"
    )
    backward = GraphCall(graph, CPU).backward((True, True, True))
    names = [node.op.name for node in backward.call.graph.nodes]
    assert {"attend_queries", "attend_keys"} <= set(names) and "attend" not in names
    assert backward.needs_outputs == (0, 1, 2)


# --- sizes and modes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"is_causal": True}])
def test_one_capture_serves_every_length(options: dict[str, Any]) -> None:
    def step(q: Any, k: Any, v: Any) -> Any:
        return wf.grad(lambda *x: (F.scaled_dot_product_attention(*x, **options) ** 2).sum(), (0, 1, 2))(q, k, v)

    compiled = wf.compile(step)
    for batch, length, keys in ((2, 5, 9), (3, 6, 7), (4, 70, 33), (2, 33, 300), (5, 2, 65)):
        q, k, v = normal(batch, 2, length, 16), normal(batch, 2, keys, 16), normal(batch, 2, keys, 16)
        assert all(map(same, compiled(q, k, v), step(q, k, v)))
    assert len(compiled.cache_info().graphs) <= 2


def test_a_saved_model_is_what_it_was(tmp_path: Path) -> None:
    """Loaded again it is the same node, for other runtimes the ops that it is made of."""
    layer = wf.nn.TransformerEncoderLayer(32, 4, 64, batch_first=True).eval()
    path = tmp_path / "layer.onnx"
    wf.save(layer, path, example=normal(2, 20, 32), dynamic={"n": (0, 0), "l": (0, 1)})
    loaded = wf.load(path)
    assert wf.verify(path)
    x = normal(3, 50, 32)
    assert same(loaded(x), layer(x).detach())
    reference = pytest.importorskip("onnxruntime")
    session = reference.InferenceSession(str(path))
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(found, layer(x).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_captured_code_has_the_kernel_in_both_directions() -> None:
    def step(q: Any) -> Any:
        return wf.grad(lambda q: F.scaled_dot_product_attention(q, q, q).sum())(q)

    kinds = [type(k) for k in wf.compile(step).kernels(normal(2, 3, 40, 16))]
    assert kinds.count(Attention) == 3
