"""Whatever is given where a tensor, a size or an option is expected: an error is weft's own, or Python's about the
number and names of arguments. Nothing of weft's inside (AttributeError, KeyError, OverflowError ...) gets out."""

from __future__ import annotations

import functools
import inspect
import math
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn
from weft.nn import functional as F
from weft.ops import op
from weft.tensor.arguments import CONTRACTS

torch = pytest.importorskip("torch")


class Strange:
    """Has no meaning for anybody."""

    def __repr__(self) -> str:
        return "Strange()"


def bad_operands() -> dict[str, Any]:
    return {
        "None": None,
        "text": "a text",
        "object": Strange(),
        "class": Strange,
        "list": [1.0, 2.0],
        "lists": [[1, 2], [3, 4]],
        "ragged": [[1, 2], [3]],
        "empty list": [],
        "torch": torch.ones(2, 3),
        "torch grad": torch.ones(2, 3, requires_grad=True),
        "set": {1, 2},
        "dict": {"a": 1},
        "complex": 1 + 2j,
        "bytes": b"ab",
        "huge": 10**400,
        "vast": 10**6000,
        "2**63": 2**63,
        "-2**63-1": -(2**63) - 1,
        "nan": math.nan,
        "inf": math.inf,
        "negative": -1,
        "negative sizes": (-1, -2),
        "nan sizes": (math.nan, 2.0),
        "huge sizes": (2**40, 2**40),
        "True": True,
        "float": 1.5,
        "slice": slice(1),
        "generator": (i for i in range(2)),
        "function": len,
        "objects": np.array([None, "a"]),
        "complexes": np.zeros(2, np.complex64),
        "strings": np.array(["a"]),
        "date": np.datetime64("2020-01-01"),
        "long double": np.longdouble(1),
        "rank 0": wf.tensor(1.0),
        "rank 4": wf.ones((1, 2, 1, 2)),
        "empty": wf.ones((0,)),
        "int8": wf.ones((2, 3), dtype=wf.int8),
        "uint64": wf.ones((2, 3), dtype=wf.uint64),
        "bool": wf.ones((2, 3), dtype=wf.bool),
        "with grad": wf.ones((2, 3)).requires_grad_(),
        "dtype": wf.float32,
        "tensors": [wf.ones(2), None],
    }


BAD = bad_operands()
X = wf.asarray([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
# What a parameter may be given when another one is bad: by name, then by annotation.
GOOD: dict[str, Any] = {
    "state": wf.asarray([0, 0], dtype=wf.uint64),
    "condition": X > 2,
    "indices": wf.asarray([0, 1]),
    "index": wf.asarray([0, 1]),
    "subscripts": "ij->ji",
    "arrays": (X[0], X[1]),
    "operands": (X,),
    "axes": (1, 0),
    "shape": (2, 3),
    "dtype": wf.float32,
    "reduction": "sum",
    "indexing": "ij",
    "approximate": "tanh",
    "normalized_shape": (3,),
    "num_classes": 3,
    "split_size_or_sections": 2,
    "pad_width": 1,
    "key": 0,
    "kind": 2,
    "func": lambda x: x,
    "function": lambda x: x,
    "true_fn": lambda *operands: operands,
    "false_fn": lambda *operands: operands,
    "cond_fn": lambda x: False,
    "body_fn": lambda x: x,
    "f": lambda carry, part: (carry, part),
    "init": X,
    "xs": X,
}
BY_ANNOTATION: dict[str, Any] = {
    "Array": X, "Tensor": X, "Array | float": X, "int": 1, "float": 0.5, "bool": True, "Dim": 2, "Scalar": 1.0,
    "int | Sequence[int]": 1, "Dim | Sequence[Dim]": 2, "Sequence[Array]": (X, X), "Whole": 1, "Dim | float": 3,
    "Whole | Sequence[Whole]": 1,
}  # fmt: skip


def functions() -> Iterator[tuple[str, Any]]:
    # Files, settings, functions of functions, and what takes no tensors.
    skip = {
        *("save", "load", "verify", "save_weights", "load_weights", "export", "configure", "set_num_threads"),
        *("compile", "grad", "value_and_grad", "eval_shape", "spec", "philox"),
    }
    for where, module in (("wf", wf), ("F", F), ("linalg", wf.linalg), ("random", wf.random)):
        for name in module.__all__:
            member = getattr(module, name)
            if callable(member) and not inspect.isclass(member) and name not in skip:
                yield f"{where}.{name}", member
    for name in dir(wf.ones(())):
        method = getattr(wf.Tensor, name)
        if callable(method) and (not name.startswith("_") or name in DUNDERS) and name not in ("data",):
            yield f"Tensor.{name}", method


BINARY = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "lshift", "rshift", "matmul"]
DUNDERS = [
    f"__{kind}{name}__" for kind in ("", "r", "i") for name in BINARY if hasattr(wf.Tensor, f"__{kind}{name}__")
] + ["__eq__", "__lt__", "__getitem__", "__setitem__"]
FUNCTIONS = dict(functions())
METHODS = {id(function) for name, function in FUNCTIONS.items() if name.startswith("Tensor.")}


def parameters(function: Any) -> list[inspect.Parameter]:
    found = list(inspect.signature(getattr(function, "function", function)).parameters.values())
    if id(function) in METHODS:  # of which some are shown as the function that they call
        found[0] = found[0].replace(name="self")
    if any(p.name in ("args", "kwargs") for p in found):
        found = [p for p in found if p.name not in ("args", "kwargs")]
    return found


def good(parameter: inspect.Parameter) -> Any:
    if parameter.name in GOOD:
        return GOOD[parameter.name]
    if parameter.annotation in BY_ANNOTATION:
        return BY_ANNOTATION[parameter.annotation]
    return X if parameter.annotation is inspect.Parameter.empty or parameter.name in ("self", "x") else 1


# Of methods that take *args and **kwargs: the names that some of them know beside their own, PyTorch's and NumPy's.
NAMED = [
    *("dim", "axis", "keepdim", "unbiased", "correction", "diagonal", "p", "dtype", "device", "copy", "other"),
    *("alpha", "rounding_mode", "size"),
]


@functools.cache
def refused(function: Any, given: int, name: str) -> bool:
    """Whether a method has no such parameter: Python's own error, which comes before anybody looks at the value."""
    try:
        function(*[X.clone() for _ in range(given)], **{name: BAD["object"]})
    except TypeError as error:
        return "argument" in str(error)
    except wf.WeftError:
        return False
    return False


def calls(function: Any, bad: Any) -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    """The function with ``bad`` as each of its arguments in turn, and what is good as the others."""
    takes = parameters(function)
    method = bool(takes) and takes[0].name == "self"
    for target in takes[1:] if method else takes:
        args, named = [], {}
        for p in takes:
            if p is not target and p.default is not inspect.Parameter.empty:
                continue
            value = bad if p is target else good(p)
            value = X.clone() if value is X or (p.name == "self" and p is not target) else value  # it may be written
            if p.kind is inspect.Parameter.VAR_POSITIONAL:
                args.extend(value if p is not target and isinstance(value, tuple) else [value])
            elif p.kind in (inspect.Parameter.KEYWORD_ONLY,) or named or (p is target and p.default is not p.empty):
                if p.kind is inspect.Parameter.POSITIONAL_ONLY:
                    args.append(value)
                else:
                    named[p.name] = value
            else:
                args.append(value)
        yield target.name, tuple(args), named
    if method and inspect.unwrap(function) is not function:  # its own parameters are *args and **kwargs
        for given in ((bad,), ()):
            yield "args", (X.clone(), *given), {}
        for name in NAMED:
            for given in (1,) if name in ("other", "p") else (1, 2):
                if bad is BAD["object"] or not refused(function, given, name):
                    yield name, (X.clone(), X)[:given], {name: bad}


PYTHONS = re.compile(r"argument|unsupported operand|not supported between|not iterable|takes|expected")


def leak(call: Callable[[], Any]) -> str | None:
    """What gets out that should not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other libraries, about what they are asked to be
            call()
    except wf.WeftError as error:
        str(error)
        return None
    except TypeError as error:
        return None if PYTHONS.search(str(error)) else f"TypeError: {error}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return None


def leaks_of(function: Any, names: list[str]) -> list[str]:
    found = []
    for name in names:
        for parameter, args, kwargs in calls(function, BAD[name]):
            text = leak(lambda args=args, kwargs=kwargs: function(*args, **kwargs))
            if text is not None:
                found.append(f"{parameter}={name}: {text[:150]}")
    return found


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_error_is_an_internal_one(name: str) -> None:
    leaks = leaks_of(FUNCTIONS[name], list(BAD))
    assert not leaks, "\n".join(leaks)


NO_TENSORS: dict[str, Any] = {
    **{name: BAD[name] for name in ("None", "text", "object", "class", "list", "dict", "set")},
    "module": np,
}
OF_TENSORS = {
    name: names
    for name, function in FUNCTIONS.items()
    if not name.startswith("Tensor.")
    and (names := {p.name for p in parameters(function) if isinstance(p.annotation, str) and "Array" in p.annotation})
}


@pytest.mark.parametrize("name", OF_TENSORS)
def test_what_is_no_tensor_is_an_error_that_names_the_function(name: str) -> None:
    """A class of weft's own, for whatever stands where a tensor is wanted; None where the signature says so."""
    function, own = FUNCTIONS[name], name.rpartition(".")[2]
    annotations = {p.name: str(p.annotation) for p in parameters(function)}
    for what, bad in NO_TENSORS.items():
        for parameter, args, kwargs in calls(function, bad):
            if parameter not in OF_TENSORS[name] or (bad is None and "None" in annotations[parameter]):
                continue
            with pytest.raises(wf.WeftError) as caught:
                function(*args, **kwargs)
            assert own in caught.value.message, f"{parameter}={what}: {caught.value.message}"


def test_every_annotation_of_a_public_function_is_a_contract() -> None:
    """So that the signature of a new function is checked too, or its annotation is added to the table."""
    unchecked = {"Subscript", "Array | Sequence[Array]"}
    unchecked |= {"DType", "tuple[int, ...]"}  # what weft's layers give their own composites
    for function in op.all_composites():
        for p in inspect.signature(function.function).parameters.values():
            known = p.annotation in CONTRACTS or p.annotation in unchecked or p.annotation is p.empty
            assert known, f"{function.name}: {p}"


LAYERS = {
    "Linear": nn.Linear(3, 2),
    "Sequential": nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)),
    "Embedding": nn.Embedding(4, 2),
    "LayerNorm": nn.LayerNorm(3),
    "RMSNorm": nn.RMSNorm(3),
    "Dropout": nn.Dropout(),
    "Flatten": nn.Flatten(),
    "Softmax": nn.Softmax(-1),
    "PReLU": nn.PReLU(),
    "Conv2d": nn.Conv2d(3, 2, 2),
    "Conv1d": nn.Conv1d(3, 2, 2, padding=1, padding_mode="reflect"),
    "ConvTranspose2d": nn.ConvTranspose2d(3, 2, 2),
    "ReplicationPad2d": nn.ReplicationPad2d(1),
    "Unfold": nn.Unfold(2),
    "Fold": nn.Fold(3, 2),
    "PixelShuffle": nn.PixelShuffle(2),
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", LAYERS)
def test_layers_raise_no_internal_errors(name: str) -> None:
    leaks = [f"{bad}: {text}" for bad in BAD if (text := leak(lambda bad=bad: LAYERS[name](BAD[bad]))) is not None]
    assert not leaks, "\n".join(leaks)


LOSSES = [
    *(nn.MSELoss(), nn.CrossEntropyLoss(), nn.NLLLoss(), nn.BCELoss(), nn.HuberLoss(), nn.KLDivLoss()),
    *(nn.SoftMarginLoss(), nn.HingeEmbeddingLoss(), nn.MultiLabelMarginLoss(), nn.MultiMarginLoss()),
    *(nn.MultiLabelSoftMarginLoss(), nn.PoissonNLLLoss()),
]
SEVERAL: list[Callable[[Any], Any]] = [
    lambda bad: nn.GaussianNLLLoss()(X, X, bad),
    lambda bad: nn.MarginRankingLoss()(X, bad, X),
    lambda bad: nn.CosineEmbeddingLoss()(X, X, bad),
    lambda bad: nn.TripletMarginLoss()(X, bad, X),
    lambda bad: nn.TripletMarginWithDistanceLoss()(X, X, bad),
    lambda bad: nn.CTCLoss()(X, bad, (2,), (1,)),
    lambda bad: nn.CTCLoss()(bad, wf.asarray([1]), (2,), (1,)),
    lambda bad: nn.CTCLoss()(X, wf.asarray([1]), bad, (1,)),
    lambda bad: nn.CTCLoss()(X, wf.asarray([1]), (2,), bad),
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_losses_raise_no_internal_errors(loss: Any) -> None:
    leaks = [f"{bad}: {text}" for bad in BAD if (text := leak(lambda bad=bad: loss(X, BAD[bad]))) is not None]
    assert not leaks, "\n".join(leaks)


@pytest.mark.parametrize("case", range(len(SEVERAL)))
def test_losses_of_several_operands_raise_no_internal_errors(case: int) -> None:
    leaks = [f"{bad}: {text}" for bad in BAD if (text := leak(lambda bad=bad: SEVERAL[case](BAD[bad]))) is not None]
    assert not leaks, "\n".join(leaks)


FOREIGN: list[Callable[[Any], Any]] = [
    lambda t: F.relu(t),
    lambda t: X.add(t),
    lambda t: F.mse_loss(X, t),
    lambda t: LAYERS["Sequential"](t),
    lambda t: wf.concat([X, t]),
    lambda t: X[t],
    lambda t: F.embedding(t, X),
]


@pytest.mark.parametrize("case", range(len(FOREIGN)))
def test_another_librarys_tensor_is_told_how_to_become_one(case: int) -> None:
    with pytest.raises(wf.DTypeError, match=r"Tensor.*asarray"):
        FOREIGN[case](torch.ones(2, 3))


VALUES: list[tuple[Callable[[Any], Any], Any, str]] = [
    (lambda v: wf.linspace(v, 3.0, 4), 1.5, "float32"),
    (lambda v: wf.linspace(0.0, v, 4), 1.5, "float32"),
    (lambda v: wf.linspace(0.0, 1.0, v), 3, "int64"),
    (lambda v: wf.arange(v), 3, "int64"),
    (lambda v: wf.eye(v), 3, "int64"),
    (lambda v: wf.repeat(X, v), 2, "int64"),
    (lambda v: wf.repeat(X, v, axis=1), [1, 0, 2], "int64"),
    (lambda v: wf.repeat(X, v, axis=0), [3], "int64"),
    (lambda v: wf.zeros(v), [2, 3], "int64"),
    (lambda v: X.reshape((v, -1)), 3, "int64"),
    (lambda v: wf.roll(X, v), 2, "int64"),
    (lambda v: wf.split(X, v, axis=1)[0], 2, "int64"),
    (lambda v: wf.full((2,), v), 2.5, "float32"),
    (lambda v: F.leaky_relu(-X, v), 0.25, "float32"),
    (lambda v: F.softmax(X, v), 1, "int64"),
    (lambda v: wf.sum(X, axis=v), 1, "int64"),
    (lambda v: wf.tile(X, v), [2, 1], "int64"),
    (lambda v: X.sum(v), 1, "int64"),
    (lambda v: X.mean(dim=v, keepdim=True), [0, 1], "int64"),
    (lambda v: X.var((v, -1)), 0, "int64"),
    (lambda v: X.std(0, correction=v), 0.5, "float32"),
    (lambda v: X.min(dim=v).values, 1, "int64"),
    (lambda v: X.norm(v), 3.0, "float32"),
    (lambda v: X.cumsum(v), 1, "int64"),
    (lambda v: X.squeeze(v), 0, "int64"),
    (lambda v: X.unsqueeze(v), 1, "int64"),
    (lambda v: X.flip(v), 1, "int64"),
    (lambda v: X.tril(v), -1, "int64"),
    (lambda v: X.split(v, 1)[0], 2, "int64"),
    (lambda v: X.chunk(2, v)[0], 1, "int64"),
    (lambda v: X.gather(v, wf.asarray([[0], [1]])), 1, "int64"),
    (lambda v: X.add(X, alpha=v), 0.5, "float32"),
    (lambda v: X.transpose(v, 0), 1, "int64"),
    (lambda v: X.permute(v), [1, 0], "int64"),
    (lambda v: X.reshape(v), [3, 2], "int64"),
    (lambda v: X.view(3, v), 2, "int64"),
    (lambda v: X[:1].expand(v, 3), 4, "int64"),
    (lambda v: X[:1].expand(4, v), -1, "int64"),
    (lambda v: X.repeat(v), [2, 1], "int64"),
    (lambda v: X.new_ones(v), [2, 3], "int64"),
]


@pytest.mark.parametrize("case", range(len(VALUES)))
def test_a_tensor_stands_for_its_value_where_a_number_is_wanted(case: int) -> None:
    function, value, dtype = VALUES[case]
    expected = function(value).tolist()
    given = wf.asarray(value, dtype=dtype)
    assert function(given).tolist() == expected
    assert function(given.numpy()).tolist() == expected
    compiled = wf.compile(lambda: function(given))
    if isinstance(value, list) and case in (6, 7):  # repeats: sizes that values are
        assert compiled().tolist() == expected
    else:
        with pytest.raises(wf.CaptureError, match=r"captured"):
            compiled()
    if dtype == "float32":
        with pytest.raises(wf.DTypeError, match=r"no gradient flows to"):
            function(given.requires_grad_())


def test_numbers_alone_become_tensors_and_beside_tensors_do_not() -> None:
    assert wf.exp(0.0).dtype is wf.float32
    assert wf.sum(3).item() == 3
    for call in (lambda: F.mse_loss(X, 1.0), lambda: wf.matmul(X, 2.0), lambda: wf.take(X, 1)):
        with pytest.raises(wf.DTypeError, match="is not a tensor; make one with asarray"):
            call()


def test_a_list_of_vectors_is_a_grid_as_in_pytorch() -> None:
    a, b = wf.arange(2), wf.arange(3)
    for given in ((a, b), ([a, b],)):
        assert [g.tolist() for g in wf.meshgrid(*given, indexing="ij")] == [[[0] * 3, [1] * 3], [[0, 1, 2]] * 2]
