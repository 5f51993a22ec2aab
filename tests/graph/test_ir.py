"""Graphs as data: printing, inlining, verification, simplification."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from several_outputs import SINCOS, divmod_, most, sincos

import weft as wf
from weft.core import config
from weft.core import dtypes as dt
from weft.core.symbolic import SymDim
from weft.graph import ir
from weft.graph.executable import plan_graph
from weft.graph.ir import (
    Graph,
    Node,
    Value,
    checked,
    copy_nodes,
    eliminate_dead,
    inline,
    make_node,
    rewrite,
    subgraphs,
    verify,
)
from weft.graph.protocol import COPY, Map, Outputs, Primitive, TensorType
from weft.graph.simplify import simplify
from weft.graph.specialise import specialise
from weft.interop.onnx.write import write_graph
from weft.llvm.targets import host_target
from weft.ops.op import trace_function


def graph_of(function: object, *args: wf.Tensor) -> Graph:
    return wf.compile(function).graph(*args)  # type: ignore[arg-type]


def test_a_graph_prints_types_names_scopes_and_lines() -> None:
    text = repr(graph_of(lambda x: wf.exp(x) * 2.0, wf.ones((2, 3))))
    lines = text.splitlines()
    assert lines[0] == "graph <lambda>(%x0: float32[2, 3]):"
    assert "%0: float32[2, 3] = exp(%x0)" in lines[1] and "test_ir.py:" in lines[1]
    assert lines[-1].startswith("  return %")


def test_verification_finds_a_use_before_its_definition() -> None:
    graph = graph_of(lambda x: wf.exp(wf.tanh(x)), wf.ones(3))
    verify(graph)
    with pytest.raises(wf.CompileError, match="before it is computed"):
        verify(graph.copy(nodes=graph.nodes[::-1]))
    with pytest.raises(wf.CompileError, match="never computed"):
        verify(graph.copy(outputs=[Value(graph.outputs[0].type)]))


def test_inlining_copies_nodes_over_new_arguments() -> None:
    graph = graph_of(lambda x: wf.exp(x) + x, wf.ones(3))
    argument, nodes = Value(graph.inputs[0].type), []
    (result,) = inline(graph, [argument], nodes, ("outer",))
    whole = Graph("whole", [argument], nodes, [result])
    verify(whole)
    assert all(n.scope[0] == "outer" for n in nodes)


def test_simplification_keeps_the_interface() -> None:
    graph = graph_of(lambda x, y: (x, wf.reshape(x, (4,)), wf.astype(x, wf.float32)), wf.ones(4), wf.ones(2))
    assert len(graph.inputs) == 2
    assert simplify(graph).outputs == [graph.inputs[0]] * 3
    assert simplify(graph).nodes == []


# --- nodes with several outputs ---------------------------------------------------------------------------------

X = np.linspace(-3, 3, 24, dtype=np.float32).reshape(4, 6)
Y = np.linspace(0.5, 2, 24, dtype=np.float32).reshape(4, 6)

SEVERAL: list[tuple[str, Any, tuple[np.ndarray, ...]]] = [
    ("all of its outputs", sincos, (X,)),
    ("one of them", lambda x: sincos(x)[1], (X,)),
    ("two operands", divmod_, (X, Y)),
    ("one of another", lambda x, y: divmod_(sincos(x)[0], y)[1] + x, (X, Y)),
    ("outputs of several dtypes", most, (X,)),
    ("reductions inside other ops", lambda x: most(wf.sin(x) * 2.0)[0] + wf.astype(most(x)[1], wf.float32), (X,)),
    ("an output read by a matmul", lambda x, y: sincos(x)[0] @ sincos(y)[1].T, (X, Y)),
    ("of 16 bits", lambda x: sincos(wf.astype(x, wf.float16)), (X,)),
]


def arrays(results: Any) -> list[np.ndarray]:
    return [t.numpy() for t in (results if isinstance(results, tuple) else (results,))]


@pytest.mark.parametrize(("name", "function", "operands"), SEVERAL, ids=[c[0] for c in SEVERAL])
def test_several_outputs_compute_the_same_eagerly_and_compiled(name: str, function: Any, operands: Any) -> None:
    tensors = [wf.asarray(a) for a in operands]
    verify(wf.compile(function).graph(*tensors))
    for eager, compiled in zip(arrays(function(*tensors)), arrays(wf.compile(function)(*tensors)), strict=True):
        assert eager.dtype == compiled.dtype and eager.tobytes() == compiled.tobytes()


def test_several_outputs_share_a_kernel_and_everything_else_takes_them(tmp_path: Any) -> None:
    x, compiled = wf.asarray(X), wf.compile(sincos)
    assert len(compiled.kernels(x)) == len(wf.compile(most).kernels(x)) == 1
    assert "sincos" in repr(compiled.explain(x))
    assert [str(t) for t in wf.eval_shape(sincos, wf.spec(("n", 3)))] == ["float32[n, 3]"] * 2
    assert len(wf.export(sincos, tmp_path, example=x, name="sincos").outputs) == 2
    constant = wf.compile(lambda x: x + sincos(wf.ones((4, 6)) * 2.0)[1])
    assert constant(x).numpy().tobytes() == (x + sincos(wf.ones((4, 6)) * 2.0)[1]).numpy().tobytes()


def test_several_outputs_are_those_of_single_ops() -> None:
    x, y = wf.asarray(X), wf.asarray(Y)
    pairs = [
        (sincos(x), (wf.sin(x), wf.cos(x))),
        (divmod_(x, y), (wf.floor_divide(x, y), wf.remainder(x, y))),
        (most(x), (wf.max(x, axis=1), wf.argmax(x, axis=1))),
    ]
    for several, single in pairs:
        for a, b in zip(several, single, strict=True):
            assert a.dtype is b.dtype and a.numpy().tobytes() == b.numpy().tobytes()


GRADIENTS: list[tuple[str, Any, Any]] = [
    ("both outputs", lambda x: sincos(x)[0] * sincos(x)[1], lambda x: wf.sin(x) * wf.cos(x)),
    ("the first", lambda x: sincos(x)[0], wf.sin),
    ("the second", lambda x: sincos(x)[1] * x, lambda x: wf.cos(x) * x),
    ("an output without a gradient besides", lambda x: divmod_(x, 0.5 + 0.0 * x)[1], lambda x: x % (0.5 + 0.0 * x)),
    ("nothing but such an output", lambda x: divmod_(x, 0.5 + 0.0 * x)[0] + x, lambda x: x),
]


@pytest.mark.parametrize(("name", "function", "single"), GRADIENTS, ids=[c[0] for c in GRADIENTS])
def test_gradients_flow_through_several_outputs(name: str, function: Any, single: Any) -> None:
    """Eager, compiled, on the tape and twice."""
    x = wf.asarray(X)
    first, expected = wf.grad(lambda x: function(x).sum()), wf.grad(lambda x: single(x).sum())
    np.testing.assert_allclose(first(x).numpy(), expected(x).numpy(), rtol=1e-6, atol=1e-6)
    assert wf.compile(first)(x).numpy().tobytes() == first(x).numpy().tobytes()
    second, wanted = wf.grad(lambda x: first(x).sum()), wf.grad(lambda x: expected(x).sum())
    np.testing.assert_allclose(second(x).numpy(), wanted(x).numpy(), rtol=1e-6, atol=1e-6)
    for run in (function, wf.compile(function)):
        leaf = wf.asarray(X).requires_grad_()
        run(leaf).sum().backward()
        assert leaf.grad.numpy().tobytes() == first(x).numpy().tobytes()


def test_several_outputs_are_printed_with_their_numbers() -> None:
    lines = repr(graph_of(lambda x: sincos(x)[1], wf.ones((2, 3)))).splitlines()
    assert lines[1].startswith("  %0.0: float32[2, 3], %0.1: float32[2, 3] = sincos(%x0)")
    assert lines[-1] == "  return %0.1"
    assert repr(make_node(SINCOS, [Value(TensorType(dt.float32, (2,)))], {})) == "<sincos: float32[2], float32[2]>"


def test_a_node_with_several_outputs_is_one_to_simplification() -> None:
    graph = graph_of(lambda x: (sincos(x)[0], sincos(x)[1], most(x)), wf.ones((2, 3)))
    assert [n.op.name for n in graph.nodes] == ["sincos", "most"]
    assert graph.outputs == [*graph.nodes[0].outputs, *graph.nodes[1].outputs]
    assert [n.op.name for n in eliminate_dead(graph.copy(outputs=graph.outputs[1:3])).nodes] == ["sincos", "most"]
    assert [n.op.name for n in eliminate_dead(graph.copy(outputs=graph.outputs[:1])).nodes] == ["sincos"]


def test_the_output_of_a_node_with_several_is_refused() -> None:
    graph = graph_of(lambda x: sincos(x), wf.ones(3))
    with pytest.raises(wf.CompileError, match="sincos has 2 outputs where one is expected"):
        _ = graph.nodes[0].output


def test_outputs_that_one_kernel_would_compute_do_not_run_yet() -> None:
    joint = Primitive("joint", lambda params, x: (x, x), Map(lambda params, x: x))
    x = Value(TensorType(dt.float32, (3,)))
    node = make_node(joint, [x], {}, ("f.py", 7))
    with pytest.raises(wf.CompileError, match=r"joint has 2 outputs where one is expected\n  at f.py:7"):
        plan_graph(Graph("f", [x], [node], list(node.outputs)), [(1,)], (), host_target(), 1)
    few = Primitive("few", lambda params, x: (x, x), Outputs((Map(lambda params, x: x),)))
    node = make_node(few, [x], {})
    with pytest.raises(wf.CompileError, match="graph f: 1 values for 2 of few"):
        plan_graph(Graph("f", [x], [node], list(node.outputs)), [(1,)], (), host_target(), 1)


def test_saving_several_outputs_is_refused(tmp_path: Any) -> None:
    with pytest.raises(wf.FormatError, match="sincos"):
        wf.save(sincos, tmp_path / "f.onnx", example=wf.ones(3))


def test_copied_nodes_keep_what_is_known_of_their_outputs() -> None:
    x = Value(wf.ones(3)._spec.type)
    both = make_node(SINCOS, [x], {})
    after = make_node(COPY, [both.outputs[1]], {})
    known, made = Value(x.type), []
    values = {x: x, both.outputs[1]: known}
    copy_nodes([both, after], values, made)
    assert [n.op for n in made] == [SINCOS, COPY] and made[1].inputs == (known,)
    assert values[both.outputs[1]] is known and values[both.outputs[0]] is made[0].outputs[0]
    values = {x: x, both.outputs[0]: known, both.outputs[1]: known}
    copy_nodes([both, after], values, made := [])
    assert [n.op for n in made] == [COPY]


# --- graphs in parameters ---------------------------------------------------------------------------------------


def _repeat_type(params: dict[str, Any], x: TensorType) -> TensorType:
    body: Graph = params["body"]
    if [v.type for v in (*body.inputs, *body.outputs)] != [x, x]:
        raise wf.ShapeError(f"repeat: {x} is not what its body takes and gives")
    return x


REPEAT = Primitive("repeat", _repeat_type, Map(lambda params, x: x * x))  # nothing runs it


def body_of(function: Any = lambda x: wf.sin(x) * 2.0, shape: tuple[Any, ...] = (3,)) -> Graph:
    return simplify(trace_function(function, [TensorType(dt.float32, shape)], "body")[0])


def around(body: Graph, count: int = 2) -> Graph:
    """The body repeated, twice over."""
    x = Value(body.inputs[0].type)
    first = make_node(REPEAT, [x], {"body": body, "count": count}, ("f.py", 7))
    second = make_node(REPEAT, [first.output], {"body": body, "count": count})
    return Graph("around", [x], [first, second], [second.output])


def test_a_graph_in_a_parameter_is_printed_below_its_node() -> None:
    inner = around(body_of())
    outer = Graph("outer", [Value(inner.inputs[0].type)], [], [])
    outer.nodes.append(make_node(REPEAT, outer.inputs, {"body": inner, "count": 3}))
    outer.outputs.append(outer.nodes[0].output)
    lines = repr(outer).splitlines()
    assert lines[1] == "  %0: float32[3] = repeat(%x0, body=around, count=3)"
    assert lines[2] == "    body: graph around(%x0: float32[3]):"
    assert lines[3] == "      %0: float32[3] = repeat(%x0, body=body, count=2)  # f.py:7"
    assert lines[4] == "        body: graph body(%x0: float32[3]):"
    assert lines[5].startswith("          %0: float32[3] = sin(%x0)  # ")
    assert lines[-2:] == ["      return %1", "  return %0"]


def test_a_graph_in_a_parameter_is_shared_by_copies_and_equals_itself_alone() -> None:
    body = body_of()
    graph = around(body)
    assert [subgraphs(n) for n in graph.nodes] == [{"body": body}] * 2
    inline(graph, [Value(graph.inputs[0].type)], copies := [])
    moved = rewrite(graph, values={graph.inputs[0]: Value(graph.inputs[0].type)})
    assert all(n.params["body"] is body for n in (*copies, *moved.nodes))
    x = graph.inputs[0]
    same, other = (make_node(REPEAT, [x], {"body": b, "count": 2}) for b in (body, body_of()))
    whole = graph.copy([*graph.nodes, same, other], [graph.nodes[0].output, same.output, other.output])
    assert simplify(whole).nodes == [graph.nodes[0], other]


def test_saving_a_graph_in_a_parameter_is_refused() -> None:
    graph = around(body_of())
    with pytest.raises(wf.FormatError, match=r"repeat \(at f.py:7\) cannot be written"):
        write_graph(graph, {graph.inputs[0]: "x"}, ["y"], {})


def test_graphs_in_parameters_get_the_sizes_of_the_graph_around_them() -> None:
    n = SymDim.named("n")
    found = specialise(around(body_of(shape=(n, 3))), {"n": 5})
    verify(found)
    assert found.nodes[0].params["body"].inputs[0].shape == found.outputs[0].shape == (5, 3)


# --- verification -----------------------------------------------------------------------------------------------


def _broken() -> list[tuple[str, Graph]]:
    body = body_of(lambda x: wf.exp(wf.sin(x)))
    (x,), (first, second) = body.inputs, body.nodes
    of_other = make_node(first.op, [Value(x.type)], {})
    known_by_nobody = make_node(first.op, [x], {})
    known_by_nobody.outputs = first.outputs
    wrong_type = Node(first.op, (x,), {}, (TensorType(dt.float64, (3,)),))
    no_key = make_node(COPY, [x], {"what": []})
    outside = body.copy([second], [second.output])
    inside = Graph("around", [x], [Node(REPEAT, (x,), {"body": outside}, (x.type,))], [x])
    return [
        ("an input is there twice", Graph("f", [x, x], [], [x])),
        ("is made by a node", Graph("f", [first.output], [], [])),
        ("sin .*uses a value before it is computed", Graph("f", [x], [of_other], [])),
        ("sin .*computes a value that is there already", body.copy([first, first, second])),
        ("sin has outputs that say something else", Graph("f", [x], [known_by_nobody], [])),
        (r"sin gives .*float32\[3\].* the graph says .*float64\[3\]", Graph("f", [x], [wrong_type], [])),
        ("copy has a parameter that cannot be hashed: .*list", Graph("f", [x], [no_key], [])),
        ("an output is never computed", body.copy([first])),
        ("graph body: exp .*uses a value before it is computed", inside),
    ]


@pytest.mark.parametrize("number", range(9))
def test_verification_says_what_is_wrong_and_where(number: int) -> None:
    message, graph = _broken()[number]
    with pytest.raises(wf.CompileError, match=message):
        verify(graph)


def test_verification_names_the_line_of_the_node() -> None:
    x = Value(TensorType(dt.float32, (3,)))
    (sine,) = body_of(lambda x: wf.sin(x)).nodes
    node = Node(sine.op, (x,), sine.params, (x.type,), ("program.py", 17))
    with pytest.raises(wf.CompileError, match=r"sin \(at program\.py:17\) "):
        verify(Graph("f", [x], [node, node], []))


def test_verification_of_operands_that_the_op_refuses() -> None:
    x, y = Value(TensorType(dt.float32, (3,))), Value(TensorType(dt.float32, (4,)))
    with pytest.raises(wf.CompileError, match=r"repeat refuses its operands: repeat: .* is not what its body takes"):
        verify(Graph("f", [x, y], [Node(REPEAT, (y,), {"body": body_of()}, (y.type,))], []))


@checked
def swap(graph: Graph) -> Graph:
    """A pass that is wrong."""
    return graph.copy(graph.nodes[::-1])


@checked
def nothing(graph: Graph) -> Graph:
    return graph


@pytest.fixture
def verifying() -> Iterator[None]:
    before = config.configure(verify=True)
    yield
    config.configure(verify=before.verify)


@pytest.mark.usefixtures("verifying")
def test_the_pass_that_broke_a_graph_is_named() -> None:
    body = body_of(lambda x: wf.exp(wf.sin(x)))
    with pytest.raises(wf.CompileError, match=r"^after swap: graph body: exp .*before it is computed"):
        swap(body)
    broken = body.copy(body.nodes[::-1])
    with pytest.raises(wf.CompileError, match=r"^already before, and after nothing: graph body: exp"):
        nothing(broken)
    with pytest.raises(wf.CompileError, match=r"^already before, and after simplify: graph body: exp"):
        simplify(broken)
    config.configure(verify=False)
    assert nothing(broken) is broken and swap(body).nodes == broken.nodes


@pytest.mark.usefixtures("verifying")
def test_every_pass_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(ir, "_blame", lambda made, when, given: seen.append(when))
    f = wf.compile(lambda x: x * (wf.ones((3,)) * 2.0))
    f(wf.ones(3))
    assert {"after simplify", "after join", "after with_served", "after with_copies"} == set(seen)
