"""A node whose rule is Attend as one Attention: pairs, their reductions, and what they sum."""

from __future__ import annotations

from math import prod

from ...compiler.attention.plan import WIDEST, width_of
from ...compiler.expr import leaf
from ...compiler.kernels import REDUCE_CHUNK, Access, Attention, Reduce, Store
from ...core.symbolic import Dim, computed, typical
from ...llvm.targets import Target
from ..ir import Graph, Node, Value, checked, eliminate_dead, rewrite
from ..protocol import Attend, Layout
from .axes import Axes
from .expressions import leaf_layouts
from .launch import Launch, LaunchBuilder, grain_of, pieces
from .roots import Root

# Queries that other ops attend to quicker: 1, 2, 4 and 8 of them, of 1,024 keys and 8 heads, take 0.10, 0.20, 0.23 and
# 0.34 ms apart and 0.27, 0.27, 0.27 and 0.30 in one kernel.
FEW = 4


def lower_attention(root: Root, target: Target) -> Launch:
    """The launch of one node, with all of its outputs."""
    node, rule = root.node, root.node.op.lower
    assert isinstance(rule, Attend)
    builder, batch = LaunchBuilder(), node.inputs[0].shape[:-2]
    rank, accumulate = len(batch), node.inputs[0].dtype
    matrices: list[tuple[Value, Layout]] = [e.value for e in root.exprs[: rule.matrices]]
    others = root.exprs[rule.matrices :]
    m, k = (node.inputs[at].shape[-2] for at in rule.products[0])
    own = [Layout.contiguous(v.shape) for v in node.outputs]
    over = [Layout(batch, 0, x.strides[:rank]) for x in (*(x for _, x in matrices), *own, *leaf_layouts(others))]
    axes = Axes(batch, over, [(0, rank)])

    def outer(layout: Layout) -> list[Dim]:
        return axes.strides(Layout(batch, 0, layout.strides[:rank]))

    def pair(layout: Layout) -> list[Dim]:
        """Strides over ``(*batch, k, m)`` of what lies over (queries, keys)."""
        walked, along = layout.strides[-2:] if rule.turned else layout.strides[:-3:-1]
        return [*outer(layout), walked, 1 if m == 1 and along != 0 else along]

    def matrix(at: int) -> Access:
        value, layout = matrices[at]
        return builder.access(value, layout.offset, [*outer(layout), layout.strides[-2], 1])

    products = tuple([(matrix(a), matrix(b), builder.slot(node.inputs[a].shape[-1])) for a, b in rule.products])
    sums = tuple([(matrix(c), builder.slot(node.inputs[c].shape[-1])) for c in rule.sums])
    refs = [leaf("ref", accumulate, at) for at in range(len(products) + rule.reductions)]
    found = rule.stages(node.params, refs, others)
    values = iter(builder.rewrite([*(e for _, e in found.reductions), *found.rows, *found.weights], pair))
    stages: list[Reduce | Store] = [Reduce(op, next(values), accumulate) for op, _ in found.reductions]
    written = list(zip(node.outputs, own, strict=True))
    stages += [builder.store(v, 0, [*outer(x), 0, 1], next(values), scalar=True) for v, x in written[len(sums) :]]
    stages += [builder.store(v, 0, [*outer(x), v.shape[-1], 1], next(values)) for v, x in written[: len(sums)]]
    causal = (-1 if rule.turned else 1) if node.params["causal"] else 0
    blocks = pieces(m, width_of(accumulate, target))
    kernel = Attention(
        builder.slots(axes.sizes),
        builder.slot(m),
        builder.slot(k),
        builder.slot(blocks),
        products,
        sums,
        causal,
        accumulate,
        tuple(stages),
        tuple(builder.dtypes),
    )
    units = prod(axes.sizes) * blocks
    terms = sum([node.inputs[at].shape[-1] for at in (*(a for a, _ in rule.products), *rule.sums)])
    flops = 2 * prod(batch) * m * k * terms
    return builder.launch(kernel, units, computed(_grain, flops, units), [node], flops)


def _grain(flops: int, units: int) -> int:
    return grain_of(flops / 32 / max(units, 1))


@checked
def with_served(graph: Graph, target: Target) -> Graph:
    """The graph with other ops in the places of what no such kernel computes: on a GPU, of heads that are too wide for
    a unit's scratch, of more keys than two levels of chunks reduce; and of FEW queries, whose scores are no more than
    the keys, and fill too little of a unit."""
    if not any(isinstance(node.op.lower, Attend) for node in graph.nodes):
        return graph
    return eliminate_dead(rewrite(graph, lambda node: None if _is_served(node, target) else node.op.lower.made(node)))  # type: ignore[union-attr]


def _is_served(node: Node, target: Target) -> bool:
    rule = node.op.lower
    if not isinstance(rule, Attend):
        return True
    shapes = [node.inputs[at].shape for at in range(rule.matrices)]
    return not (
        target.is_gpu
        or typical(shapes[0][-2]) <= FEW
        or any(shape[-1] > WIDEST for shape in shapes)
        or any(shape[-2] > REDUCE_CHUNK**2 for shape in shapes)
    )
