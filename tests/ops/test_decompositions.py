"""Decompositions are NumPy's in value and PyTorch's in gradient; what cannot be computed is named."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from few_examples import few
from hypothesis import strategies as st
from op_cases import check_gradient, same_bits

import weft as wf

Function = Callable[[Any, Any], Any]


def matrices(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape)


def positive(*shape: int, seed: int = 0) -> Any:
    a = matrices(*shape, seed=seed)
    return a @ np.swapaxes(a, -1, -2) + 3.0 * np.eye(shape[-1])


def symmetric(x: Any) -> Any:
    return (x + x.mT) * 0.5


# What is computed with a library (wf.linalg or torch.linalg), of what. Signs of vectors are free, so they are squared.
CASES: dict[str, tuple[Function, Any]] = {
    "cholesky": (lambda of, x: of.cholesky(symmetric(x)), positive(2, 4, 4)),
    "cholesky, upper": (lambda of, x: of.cholesky(symmetric(x), upper=True), positive(3, 3)),
    "inv": (lambda of, x: of.inv(x), matrices(2, 3, 3)),
    "det": (lambda of, x: of.det(x), matrices(2, 3, 3)),
    "slogdet": (lambda of, x: of.slogdet(x)[1], matrices(2, 3, 3)),
    "eigh, values": (lambda of, x: of.eigh(symmetric(x))[0], matrices(2, 3, 3)),
    "eigh, vectors": (lambda of, x: of.eigh(symmetric(x))[1] ** 2, matrices(2, 3, 3)),
    "eigh, both": (lambda of, x: (of.eigh(symmetric(x))[1] * of.eigh(symmetric(x))[0]) ** 2, matrices(3, 3)),
    "eigh, upper": (lambda of, x: of.eigh(symmetric(x), UPLO="U")[0], matrices(4, 4)),
    "eigvalsh": (lambda of, x: of.eigvalsh(symmetric(x)), matrices(2, 3, 3)),
    "qr, tall Q": (lambda of, x: of.qr(x)[0], matrices(2, 5, 3)),
    "qr, tall R": (lambda of, x: of.qr(x)[1], matrices(2, 5, 3)),
    "qr, wide Q": (lambda of, x: of.qr(x)[0], matrices(2, 3, 5)),
    "qr, wide R": (lambda of, x: of.qr(x)[1], matrices(2, 3, 5)),
    "qr, complete": (lambda of, x: of.qr(x, mode="complete")[1], matrices(3, 5)),
    "svd, wide U": (lambda of, x: of.svd(x, full_matrices=False)[0] ** 2, matrices(2, 3, 5)),
    "svd, wide Vh": (lambda of, x: of.svd(x, full_matrices=False)[2] ** 2, matrices(2, 3, 5)),
    "svd, tall U": (lambda of, x: of.svd(x, full_matrices=False)[0] ** 2, matrices(2, 5, 3)),
    "svd, tall Vh": (lambda of, x: of.svd(x, full_matrices=False)[2] ** 2, matrices(2, 5, 3)),
    "svd, full": (lambda of, x: of.svd(x)[1], matrices(2, 3, 5)),
    "svd, square": (lambda of, x: of.svd(x)[0] ** 2, matrices(3, 3)),
    "svdvals": (lambda of, x: of.svdvals(x), matrices(2, 5, 3)),
    "solve": (lambda of, x: of.solve(x[..., :3], x[..., 3:]), matrices(2, 3, 5)),
    "solve, vectors": (lambda of, x: of.solve(x[..., :3], x[..., 3]), matrices(2, 3, 4)),
    "solve, one vector": (lambda of, x: of.solve(x, x[0, :, 0]), matrices(2, 3, 3)),
    "solve, broadcast": (lambda of, x: of.solve(x, x[0]), matrices(2, 3, 3)),
    "solve, right": (lambda of, x: of.solve(x[:3], x[3:], left=False), matrices(5, 3)),
}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", CASES)
def test_values_and_two_derivatives_are_pytorchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    function, given_ = CASES[name]
    x, theirs = wf.asarray(given_.copy()), torch.tensor(given_, requires_grad=True)
    expected = function(torch.linalg, theirs)
    np.testing.assert_allclose(function(wf.linalg, x).numpy(), expected.detach().numpy(), rtol=1e-9, atol=1e-11)
    weights = np.random.default_rng(1).uniform(0.5, 1.5, tuple(expected.shape))
    further = np.random.default_rng(2).uniform(0.5, 1.5, given_.shape)

    def loss(x: Any) -> Any:
        return (function(wf.linalg, x) * wf.asarray(weights)).sum()

    def twice(x: Any) -> Any:
        return (wf.grad(loss)(x) * wf.asarray(further)).sum()

    (first,) = torch.autograd.grad((expected * torch.tensor(weights)).sum(), theirs, create_graph=True)
    np.testing.assert_allclose(wf.grad(loss)(x).numpy(), first.detach().numpy(), rtol=1e-8, atol=1e-9)
    (second,) = torch.autograd.grad((first * torch.tensor(further)).sum(), theirs)
    np.testing.assert_allclose(wf.grad(twice)(x).numpy(), second.numpy(), rtol=1e-6, atol=1e-7)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", CASES)
def test_gradients_are_differences_and_the_same_bits_in_every_mode(name: str) -> None:
    function, x = CASES[name]
    check_gradient(lambda x: function(wf.linalg, x), x, tolerance=1e-5)
    for dtype in ("float32", "float64"):
        operand = wf.asarray(x.astype(dtype))
        for call in (lambda x: function(wf.linalg, x), wf.grad(lambda x: wf.sum(wf.sin(function(wf.linalg, x))))):
            same_bits(wf.compile(call)(operand), call(operand).numpy())


def test_cholesky_reads_one_triangle_as_pytorch_does() -> None:
    torch = pytest.importorskip("torch")
    x = positive(3, 3)
    for upper, kept, other in ((False, np.tril(x), np.triu(matrices(3, 3), 1)), (True, np.triu(x), -np.tri(3, k=-1))):
        found = wf.linalg.cholesky(wf.asarray(kept + other), upper=upper)
        np.testing.assert_array_equal(found.numpy(), wf.linalg.cholesky(wf.asarray(x), upper=upper).numpy())
        peer = torch.linalg.cholesky(torch.tensor(kept + other), upper=upper)
        np.testing.assert_allclose(found.numpy(), peer.numpy(), rtol=1e-12)


@few(
    33,
    300,
    st.sampled_from(["inv", "det", "eigvalsh", "svdvals", "cholesky"]),
    st.lists(st.integers(0, 3), max_size=2),
    st.integers(0, 6),
    st.sampled_from(["float32", "float64"]),
    st.sampled_from(["whole", "transposed", "every second", "backwards"]),
)
def test_stacks_of_any_size_and_strides_are_numpys(name: str, stack: list[int], n: int, dtype: str, how: str) -> None:
    x = positive(*stack, n, n, seed=n).astype(dtype)
    view = {
        "whole": lambda x: x,
        "transposed": lambda x: x.mT,
        "every second": lambda x: x[..., ::2, ::2],
        "backwards": lambda x: wf.flip(x, axis=-1) if name != "cholesky" else x,
    }[how](wf.asarray(x))
    reference = {
        "inv": np.linalg.inv,
        "det": np.linalg.det,
        "eigvalsh": np.linalg.eigvalsh,
        "svdvals": lambda x: np.linalg.svd(x, compute_uv=False),
        "cholesky": np.linalg.cholesky,
    }[name]
    function = getattr(wf.linalg, name)
    same_bits(function(view), reference(np.ascontiguousarray(view.numpy())))
    same_bits(wf.compile(lambda x: function(x) * 1.0)(view), function(view).numpy())


@pytest.mark.parametrize("shape", [(0, 0), (2, 0, 0), (0, 3, 3), (0, 3), (3, 0), (0, 2, 3)])
def test_empty_matrices_have_numpys_shapes(shape: tuple[int, ...]) -> None:
    x, empty = wf.zeros(shape, dtype="float64"), np.zeros(shape)
    for full in (True, False):
        for mine, theirs in zip(wf.linalg.svd(x, full_matrices=full), np.linalg.svd(empty, full), strict=True):
            assert mine.shape == theirs.shape
    for mode in ("reduced", "complete"):
        for mine, theirs in zip(wf.linalg.qr(x, mode=mode), np.linalg.qr(empty, mode), strict=True):
            assert mine.shape == theirs.shape
    if shape[-1] == shape[-2]:
        same_bits(wf.linalg.det(x), np.linalg.det(empty))
        same_bits(wf.linalg.inv(x), np.linalg.inv(empty))
        assert wf.linalg.solve(x, wf.zeros((*shape[:-1], 2), dtype="float64")).shape == (*shape[:-1], 2)
        assert wf.grad(lambda x: wf.sum(wf.linalg.det(x)))(x).shape == shape


def test_fields_have_their_names() -> None:
    x = wf.asarray(positive(3, 3))
    assert wf.linalg.eigh(x)._fields == ("eigenvalues", "eigenvectors")
    assert wf.linalg.slogdet(x)._fields == ("sign", "logabsdet")
    assert wf.linalg.qr(x)._fields == ("Q", "R")
    assert wf.linalg.svd(x)._fields == ("U", "S", "Vh")
    sign, logabsdet = wf.compile(lambda x: wf.linalg.slogdet(x))(x)
    np.testing.assert_allclose((sign * wf.exp(logabsdet)).numpy(), np.linalg.det(x.numpy()))


def test_float32_is_the_rounded_float64_result() -> None:
    x = positive(5, 5).astype(np.float32)
    same_bits(wf.linalg.inv(wf.asarray(x)), np.linalg.inv(x.astype(np.float64)).astype(np.float32))


# --- what has no result -------------------------------------------------------------------------------------------


def batch(*bad: int) -> Any:
    x = np.stack([np.eye(3)] * 4)
    for at in bad:
        x[at] = np.diag([1.0, -1.0, 0.0])
    return wf.asarray(x)


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "singular": (lambda: wf.linalg.inv(wf.zeros((2, 2))), wf.LinAlgError, "inv: the matrix is singular"),
    "singular, of a batch": (
        lambda: wf.linalg.inv(batch(2, 3)),
        wf.LinAlgError,
        "inv: matrix 2 of the batch is singular",
    ),
    "solve": (
        lambda: wf.linalg.solve(batch(1).reshape(2, 2, 3, 3), wf.ones((3, 1), dtype="float64")),
        wf.LinAlgError,
        r"solve: matrix \(0, 1\) of the batch is singular",
    ),
    "not positive": (
        lambda: wf.linalg.cholesky(batch(3)),
        wf.LinAlgError,
        "cholesky: matrix 3 of the batch is not positive-definite: its leading minor of order 2 is not",
    ),
    "diverged": (
        lambda: wf.linalg.svd(wf.full((2, 2), wf.nan)),
        wf.LinAlgError,
        "svd: the matrix has no decomposition",
    ),
    "not square": (lambda: wf.linalg.det(wf.ones((2, 3))), wf.ShapeError, r"det: \(2, 3\): its matrices"),
    "a vector": (lambda: wf.linalg.qr(wf.ones(3)), wf.ShapeError, r"qr: \(3,\) has fewer than two axes"),
    "sizes": (lambda: wf.linalg.solve(wf.eye(3), wf.ones((4, 1))), wf.ShapeError, "sizes 3 and 4 differ"),
    "batches": (
        lambda: wf.linalg.solve(wf.ones((2, 3, 3)), wf.ones((3, 3, 1))),
        wf.ShapeError,
        "solve: .* do not broadcast",
    ),
    "integers": (lambda: wf.linalg.inv(wf.ones((2, 2), dtype="int32")), wf.DTypeError, "int32 operands: wants float32"),
    "halves": (lambda: wf.linalg.eigh(wf.eye(2).astype("bfloat16")), wf.DTypeError, "eigh: bfloat16 operands"),
    "mode": (lambda: wf.linalg.qr(wf.eye(2), mode="raw"), wf.ArgumentError, "qr: mode is"),
    "triangle": (lambda: wf.linalg.eigh(wf.eye(2), UPLO="x"), wf.ArgumentError, "eigh: UPLO is"),
    "gradient": (
        lambda: wf.grad(lambda x: wf.sum(wf.linalg.qr(x, mode="complete").R))(wf.ones((3, 2))),
        wf.AutogradError,
        "complete factors",
    ),
    "no tensor": (lambda: wf.linalg.inv([[1.0]]), wf.DTypeError, "is not a tensor"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_result_is_refused_at_the_users_line(name: str) -> None:
    function, kind, text = REFUSED[name]
    with pytest.raises(kind, match=text) as caught:
        function()
    assert caught.value.where[0] == __file__  # type: ignore[attr-defined]


def test_an_error_in_a_step_names_the_line_and_leaves_the_state() -> None:
    weights = wf.asarray(np.eye(3))

    @wf.compile
    def step(x: Any) -> Any:
        weights.mul_(2.0)
        factor = wf.linalg.cholesky(x - weights)
        weights.add_(factor)

    with pytest.raises(wf.LinAlgError, match=re.escape("of order 1 is not")) as caught:
        step(wf.zeros((3, 3), dtype="float64"))
    assert caught.value.where[1] == step.__wrapped__.__code__.co_firstlineno + 3
    same_bits(weights, np.eye(3))
    step(wf.asarray(np.eye(3) * 6.0))
    same_bits(weights, np.eye(3) * 4.0)


# --- gradients where something is not unique ----------------------------------------------------------------------


def test_the_determinant_of_a_singular_matrix_has_a_gradient() -> None:
    for x in (np.array([[1.0, 2.0], [2.0, 4.0]]), np.diag([3.0, 0.0, 2.0]), np.diag([3.0, 0.0, 0.0]), np.zeros((1, 1))):
        check_gradient(wf.linalg.det, x)


def test_equal_eigenvalues_have_gradients_where_vectors_do_not_count() -> None:
    weights = np.array([1.0, 2.0, 3.0])
    for function in (lambda x: wf.linalg.eigh(x).eigenvalues, wf.linalg.eigvalsh, wf.linalg.svdvals):
        found = wf.grad(lambda x, f=function: wf.sum(f(x)))(wf.asarray(np.eye(3) * 2.0))
        np.testing.assert_allclose(found.numpy(), np.eye(3), atol=1e-12)
    found = wf.grad(lambda x: wf.sum(wf.linalg.svd(x).S * wf.asarray(weights)))(wf.asarray(np.diag([2.0, 2.0, 1.0])))
    assert np.isfinite(found.numpy()).all()


# --- the contract -------------------------------------------------------------------------------------------------

DIGEST = """
import hashlib, numpy as np, weft as wf
found = hashlib.sha256()
for n in (3, 17, 64, 200):
    a = np.random.default_rng(n).standard_normal((2, n, n))
    x = wf.asarray(a @ np.swapaxes(a, -1, -2) + n * np.eye(n))
    for step in (wf.linalg.cholesky, wf.linalg.inv, wf.linalg.det, wf.linalg.eigvalsh):
        eager = step(x).numpy().tobytes()
        assert wf.compile(step)(x).numpy().tobytes() == eager
        found.update(eager)
print(found.hexdigest())
"""


def test_every_process_gives_the_same_bits() -> None:
    """On one machine, with one build of NumPy and one number of LAPACK's threads."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    runs = [
        subprocess.run([sys.executable, "-c", DIGEST], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert len({run.stdout for run in runs}) == 1


@few(33, 300, st.integers(1, 40), st.integers(1, 5), st.integers(0, 9))
def test_a_matrix_does_not_depend_on_its_batch(n: int, count: int, seed: int) -> None:
    x = wf.asarray(positive(count, n, n, seed=seed))
    for function in (wf.linalg.inv, wf.linalg.cholesky, wf.linalg.det, wf.linalg.svdvals):
        together = function(x).numpy()
        same_bits(function(x[count - 1]), together[count - 1])


def test_of_nan_comes_nan_or_an_error() -> None:
    """LAPACKs that take a NaN for a pivot of 0 call such matrices singular."""
    x = np.stack([np.eye(2) * 2, [[np.nan, 1.0], [1.0, 1.0]], [[1.0, 0.0], [0.0, np.nan]]])
    given = wf.asarray(x)
    np.testing.assert_array_equal(wf.linalg.det(given).numpy(), [4.0, np.nan, np.nan])  # PyTorch's, as what follows
    sign, logarithm = wf.linalg.slogdet(given)
    np.testing.assert_array_equal(sign.numpy(), [1.0, 0.0, 0.0])
    np.testing.assert_allclose(logarithm.numpy(), [np.log(4.0), np.nan, np.nan])
    for found in (wf.linalg.inv(given), wf.linalg.solve(given, wf.ones((3, 2, 1), dtype="float64"))):
        assert np.isnan(found.numpy()).any((-2, -1)).tolist() == [False, True, True]
        assert found.numpy()[0, 0, 0] == 0.5
    with pytest.raises(wf.linalg.LinAlgError, match=r"matrix 1 of the batch is not .* of order 1 is not"):
        wf.linalg.cholesky(given)
    with pytest.raises(wf.linalg.LinAlgError, match=r"matrix 3 of the batch is singular"):
        wf.linalg.inv(wf.concat([given, wf.zeros((1, 2, 2), dtype="float64")]))
