"""Nestings: put together again they are what they were, named tuples too, wherever tensors are nested."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import weft as wf
from weft.transforms.tree import flatten, matched, paths, plain, unflatten

Pair = namedtuple("Pair", "first second")


class Named(NamedTuple):
    only: Any


class Derived(Pair):
    """A named tuple that is made of other arguments."""

    def __new__(cls, pair: Any) -> Any:
        return super().__new__(cls, pair[0], pair[1])


class Own(tuple):
    """A tuple of one's own."""


class Output(dict[str, Any]):
    """A dict whose entries are attributes too."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(name)
        return self[name]

    def __setitem__(self, name: str, value: Any) -> None:
        raise AssertionError("what is made again stores nothing")


class Noted(dict[str, Any]):
    """A dict that knows more than its items."""

    def __init__(self, items: Any) -> None:
        super().__init__(items)
        self.note = 1


DICTS: tuple[Any, ...] = (OrderedDict, Counter, Output, lambda items: defaultdict(list, items))

trees: Any = st.recursive(
    st.one_of(st.integers(), st.none(), st.text(max_size=2)),
    lambda sub: st.one_of(
        st.lists(sub, max_size=3),
        st.lists(sub, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=2), sub, max_size=3),
        *(st.dictionaries(st.text(max_size=2), sub, max_size=3).map(kind) for kind in DICTS),
        st.tuples(sub, sub).map(Pair._make),
        st.tuples(sub, sub).map(Derived),
        st.builds(Named, sub),
        st.lists(sub, max_size=2).map(Own),
    ),
    max_leaves=8,
)


def types_in(tree: Any) -> Any:
    if isinstance(tree, dict):
        return (type(tree), [(k, types_in(v)) for k, v in tree.items()])
    if isinstance(tree, (list, tuple)):
        return (type(tree), [types_in(v) for v in tree])
    return type(tree)


@given(tree=trees)
def test_a_nesting_is_put_together_as_it_was(tree: Any) -> None:
    leaves, form = flatten(tree)
    again = unflatten(form, leaves)
    assert again == tree and types_in(again) == types_in(tree)
    assert None not in leaves and not any(isinstance(v, (dict, list, tuple)) for v in leaves)
    hash(form)
    numbered = unflatten(form, range(len(leaves)))
    assert flatten(numbered) == (list(range(len(leaves))), form)


@given(tree=trees)
def test_a_plain_form_is_the_same_but_for_names(tree: Any) -> None:
    def bare(tree: Any) -> Any:
        if isinstance(tree, dict):
            return {k: bare(v) for k, v in tree.items()}
        return (
            type(tree)(map(bare, tree))
            if type(tree) is list
            else tuple(map(bare, tree))
            if isinstance(tree, tuple)
            else tree
        )

    leaves, form = flatten(tree)
    assert flatten(bare(tree)) == (leaves, plain(form))


PAIR = Pair(wf.asarray([1.0, 2.0]), wf.asarray([3.0, 4.0, 5.0]))
MADE: list[Any] = [PAIR, Derived(PAIR), Named(PAIR), (PAIR, Named(PAIR[0])), {"k": [PAIR]}, Own(PAIR)]
MADE += [kind({"a": PAIR[0], "b": PAIR[1]}) for kind in DICTS]


def total(tree: Any) -> Any:
    found: Any = 0.0
    for k, leaf in enumerate(flatten(tree)[0]):
        found = found + (leaf * leaf).sum() * (k + 1.0)
    return found


def alike(a: Any, b: Any) -> bool:
    (x, form), (y, other) = flatten(a), flatten(b)
    return form == other and all(np.array_equal(v.numpy(), w.numpy()) for v, w in zip(x, y, strict=True))


@pytest.mark.parametrize("tree", MADE, ids=types_in)
def test_named_tuples_are_arguments_results_and_gradients(tree: Any) -> None:
    leaves, form = flatten(tree)
    expected = unflatten(form, [leaf * (2.0 * (k + 1)) for k, leaf in enumerate(leaves)])
    for transformed in (wf.grad(total), wf.compile(wf.grad(total))):
        assert alike(transformed(tree), expected)
    value, gradient = wf.value_and_grad(total)(tree)
    assert value.item() == total(tree).item() and alike(gradient, expected)

    def turned(tree: Any) -> Any:
        leaves, form = flatten(tree)
        return {"again": unflatten(form, [leaf + 1.0 for leaf in leaves]), "first": leaves[0]}

    assert alike(wf.compile(turned)(tree), turned(tree))
    types = unflatten(form, [wf.spec(tuple(leaf.shape)) for leaf in leaves])
    assert flatten(wf.eval_shape(turned, types)["again"]) == (flatten(types)[0], form)
    value, (gradient, aux) = _with_aux(tree)
    assert alike(aux, tree) and alike(gradient, expected)


def _with_aux(tree: Any) -> Any:
    (value, aux), gradient = wf.value_and_grad(lambda t: (total(t), t), has_aux=True)(tree)
    return value, (gradient, unflatten(flatten(aux)[1], [leaf.detach() for leaf in flatten(aux)[0]]))


def test_a_compiled_function_is_captured_for_each_type_of_tuple() -> None:
    @wf.compile
    def f(pair: Any) -> Any:
        return pair.second if hasattr(pair, "second") else pair[0]

    for _ in range(2):
        assert f(PAIR).shape == f(Derived(PAIR)).shape == (3,) and f(tuple(PAIR)).shape == (2,)


def test_a_compiled_function_is_captured_for_each_class_of_dict() -> None:
    @wf.compile
    def f(x: Any, given: Any) -> Any:
        return x * given["k"] * (2.0 if isinstance(given, OrderedDict) else 1.0), OrderedDict(k=x)

    x, made = (
        wf.ones(2),
        ({"k": 3.0}, OrderedDict(k=3.0), Output(k=3.0), defaultdict(lambda: 3.0, k=3.0), Noted({"k": 3.0})),
    )
    for table in made * 2:
        found, again = f(x, table)
        assert found.tolist() == [6.0 if type(table) is OrderedDict else 3.0] * 2 and type(again) is OrderedDict
    assert wf.compile(lambda x, given: x * given.k)(x, Output(k=3.0)).tolist() == [3.0, 3.0]
    assert type(unflatten(flatten(Noted({"k": 3.0}))[1], [3.0])) is dict
    assert flatten(Output(k=1))[1] != flatten({"k": 1})[1] == plain(flatten(Output(k=1))[1])


def test_what_a_function_does_with_the_class_of_a_dict_of_its_arguments() -> None:
    x = wf.ones(2)
    with pytest.raises(wf.CaptureError, match="changes a list or dict among its arguments"):
        wf.compile(lambda x, given: x * given["other"])(x, defaultdict(lambda: 2.0))
    with pytest.raises(wf.CaptureError, match="changes a list or dict among its arguments"):
        wf.compile(lambda x, given: (given.move_to_end("a"), x)[1])(x, OrderedDict(a=1, b=2))
    assert wf.compile(lambda x, given: x * (given["other"] + 1))(x, Counter(a=1)).tolist() == [1.0, 1.0]


def test_what_is_stored_keeps_its_class() -> None:
    held = SimpleNamespace()

    @wf.compile
    def f(x: Any) -> Any:
        held.made = OrderedDict(a=x * 2.0)
        return x

    for n in (1.0, 2.0):
        f(wf.asarray([n]))
        assert type(held.made) is OrderedDict and held.made["a"].tolist() == [2.0 * n]


def test_a_saved_model_takes_the_named_tuples_that_it_was_saved_with(tmp_path: Path) -> None:
    """And plain ones: a file does not say what class they were of."""

    def f(pair: Any) -> Any:
        return Pair(pair.first + 1.0, {"k": pair.second})

    wf.save(f, tmp_path / "f.onnx", example=(PAIR,))
    loaded = wf.load(tmp_path / "f.onnx")
    for pair in (PAIR, Derived(PAIR), tuple(PAIR)):
        first, second = loaded(pair)
        assert first.tolist() == [2.0, 3.0] and second["k"].tolist() == [3.0, 4.0, 5.0]
    with pytest.raises(wf.ShapeError, match="not nested as they were"):
        loaded(list(PAIR))


def test_paths_and_what_does_not_match() -> None:
    _, form = flatten({"a": [1, (2, None)], "b": 3})
    assert paths(form, "x") == ["x['a'][0]", "x['a'][1][0]", "x['b']"]
    assert matched({"b": 6, "a": [4, (5, None)]}, form) == [4, 5, 6]
    assert matched({"b": 6, "a": [4, [5, None]]}, form, "x") == "x['a'][1] is a list, not a tuple"
    assert matched({"b": 6, "a": [4, (5, 7)]}, form, "x") == "x['a'][1][1] is a tensor, not None"
    assert matched(7, form, "x") == "x is a tensor, not a dict"
