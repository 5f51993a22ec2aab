"""cache_info: each graph with what it was made for and since, and how often it has run."""

import pytest

import weft as wf
from weft import nn


def rows(f):
    return [(graph.arguments, graph.reason, graph.hits) for graph in f.cache_info().graphs]


class Config:
    def __init__(self):
        self.scale = 2.0


config, factor = Config(), 2.0


def test_the_first_call_and_calls_like_it():
    f = wf.compile(lambda x: x + 1)
    assert rows(f) == []
    for _ in range(10):
        f(wf.ones(2))
    assert rows(f) == [("x: float32[2]", "the first call", 9)]
    assert f.cache_info().hits == 9
    assert all(graph.capture_seconds > 0 and graph.compile_seconds > 0 for graph in f.cache_info().graphs)


def test_a_graph_for_any_size_counts_all_its_calls():
    f = wf.compile(lambda x: x + 1)
    for n in (2, 3, 4, 5, 4, 4, 4, 2):
        f(wf.ones(n))
    assert rows(f) == [
        ("x: float32[2]", "the first call", 1),
        ("x: float32[n0]", "x.shape[0] is 3 (2 before)", 5),
    ]


OTHER_CALLS = {
    "x is float64 (float32 before)": lambda f, x: f(x.to("float64")),
    "x has 3 dimensions (2 before)": lambda f, x: f(wf.ones((2, 2, 2))),
    "x has strides (1, 2) ((3, 1) before)": lambda f, x: f(wf.ones((3, 2)).T),
    "x is a leaf that requires grad": lambda f, x: f(x.clone().requires_grad_()),
    "gradients are not recorded": lambda f, x: wf.no_grad()(f)(x),
    "mode is 'sum' ('mean' before)": lambda f, x: f(x, "sum"),
    "x is a view, or one of another kind": lambda f, x: f(wf.ones((3, 3))[:2]),
}


@pytest.mark.parametrize("why", OTHER_CALLS)
def test_what_is_different_is_told(why):
    f = wf.compile(lambda x, mode="mean": x.mean() if mode == "mean" else x.sum())
    x = wf.ones((2, 3))
    f(x, "mean")
    if "mode" not in why:
        f = wf.compile(lambda x, mode="mean": x.mean() if mode == "mean" else x.sum())
        f(x)
    OTHER_CALLS[why](f, x)
    assert [reason for _, reason, _ in rows(f)] == ["the first call", why]


def test_the_nearest_graph_is_the_one_to_compare_with():
    f = wf.compile(lambda x: x + 1)
    for given in (wf.ones((2, 2)), wf.ones((2, 2, 2), dtype="float64"), wf.ones((2, 3))):
        f(given)
    assert rows(f)[-1][1] == "x.shape[1] is 3 (2 before)"


def test_what_has_changed_around_the_function_is_told():
    global factor
    net, table, offset = nn.Dropout(0.0), {"lr": 0.5}, 1.0
    f = wf.compile(lambda x: net(x) * config.scale * factor + table["lr"] + offset)
    x = wf.ones(2)
    f(x)
    config.scale = 3.0
    f(x)
    factor = 5.0
    f(x)
    offset = 2.0
    f(x)
    net.eval()
    f(x)
    table["lr"] = 0.25
    f(x)
    assert [graph.reason for graph in f.cache_info().graphs] == [
        "the first call",
        "scale was 2.0, is 3.0",
        "factor was 2.0, is 5.0",
        "offset was 1.0, is 2.0",
        "Dropout.training was True, is False",
        "lr was 0.5, is 0.25",
    ]


def test_another_number_of_threads_begins_anew():
    threads = wf.get_num_threads()
    f = wf.compile(lambda x: x + 1)
    f(wf.ones(2))
    wf.set_num_threads(threads + 1)
    try:
        f(wf.ones(2))
        assert rows(f) == [("x: float32[2]", "the number of threads or the target is another", 0)]
    finally:
        wf.set_num_threads(threads)


def test_leaves_of_nestings_have_names():
    f = wf.compile(lambda batch, *more, **named: batch["x"] + more[0][1] + named["y"])
    x = wf.ones(2)
    f({"x": x}, (1, x), y=x)
    assert rows(f)[0][0] == "batch['x']: float32[2], more[0][0]: 1, more[0][1]: float32[2], y: float32[2]"


def test_it_prints_a_table():
    def double(x):
        return x * 2

    f = wf.compile(double)
    f(wf.ones(2))
    first, head, row = repr(f.cache_info()).splitlines()
    assert first == "double: 1 graph, 0 hits"
    assert head.split() == ["graph", "for", "made", "since", "hits", "capture", "compile"]
    assert row.startswith("0  x: float32[2]  the first call")


def test_methods_have_their_own():
    class Model:
        @wf.compile
        def step(self, x):
            return x + 1

    model = Model()
    model.step(wf.ones(2))
    assert len(model.step.cache_info().graphs) == 1
    assert len(Model().step.cache_info().graphs) == 0
