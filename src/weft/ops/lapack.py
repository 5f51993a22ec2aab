"""Primitives that LAPACK computes, by way of NumPy: host calls, their shape rules and their gradients.

Each works on stacks of matrices, the last two axes, in float32 or float64; NumPy computes float32 in float64 and rounds
once. Gradients are written in tensor operations, hence of any order. Where matrices that a function needs for its
gradient are triangular, they are solved as any other: elimination finds nothing to exchange or eliminate in them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..core import dtypes as dt
from ..core.errors import AutogradError, DTypeError, LinAlgError, ShapeError
from ..core.shapes import Shape
from ..graph.protocol import Host, Primitive, TensorType
from .contraction import matmul
from .creation import eye
from .elementwise import equal, logical_and, where
from .op import Array, apply
from .pieces import concat
from .reduction import sum
from .shape import expand_dims, matrix_transpose, tril

Params = dict[str, Any]
Arrays = Sequence[Any]  # of NumPy


# --- what computes ----------------------------------------------------------------------------------------------


def _host(compute: Callable[..., Any], failure: str = "", detail: Callable[[Any], str] | None = None) -> Host:
    """The rule of a node that ``compute(params, *stacks)`` computes, one array or a tuple.

    Args:
        failure: what a matrix is, of which NumPy raises LinAlgError.
        detail: says more of it.
    """

    def call(params: Params, operands: Arrays, results: Arrays) -> None:
        import numpy as np

        with np.errstate(all="ignore"):
            try:
                found = compute(params, *operands)
            except np.linalg.LinAlgError:
                raise _refused(compute, params, operands, failure, detail) from None
            for result, value in zip(results, found if isinstance(found, tuple) else (found,), strict=True):
                result[...] = value

    return Host(call)


def _refused(
    compute: Callable[..., Any],
    params: Params,
    operands: Arrays,
    failure: str,
    detail: Callable[[Any], str] | None,
) -> LinAlgError:
    """The error of the first matrix that NumPy refuses."""
    import numpy as np

    name, stack = compute.__name__.strip("_"), operands[0].shape[:-2]
    for at in np.ndindex(*stack):
        try:
            compute(params, *(x[at] for x in operands))
        except np.linalg.LinAlgError:
            which = f"matrix {at[0] if len(at) == 1 else at} of the batch" if at else "the matrix"
            return LinAlgError(f"{name}: {which} {failure}{detail(operands[0][at]) if detail else ''}")
    return LinAlgError(f"{name}: a matrix {failure}")


def _cholesky(params: Params, x: Any) -> Any:
    import numpy as np

    factor = np.linalg.cholesky(x)
    if np.isnan(np.diagonal(factor, axis1=-2, axis2=-1)).any():  # some LAPACKs see no root of NaN
        raise np.linalg.LinAlgError
    return factor


def _leading_minor(x: Any) -> str:
    """Which leading minor of a matrix is the first that is not positive-definite."""
    import numpy as np

    works, fails = 0, x.shape[0]
    while fails - works > 1:
        middle = (works + fails) // 2
        try:
            _cholesky({}, x[:middle, :middle])
            works = middle
        except np.linalg.LinAlgError:
            fails = middle
    return f": its leading minor of order {fails} is not"


def _has_nan(x: Any) -> Any:
    """Of which matrices an element is NaN: LAPACK may take them for singular ones."""
    import numpy as np

    return np.isnan(x).any((-2, -1))


def _inv(params: Params, x: Any) -> Any:
    import numpy as np

    try:
        return np.linalg.inv(x)
    except np.linalg.LinAlgError:
        unknown = _has_nan(x)[..., None, None]
        if not unknown.any():
            raise
        return np.where(unknown, np.nan, np.linalg.inv(np.where(unknown, np.eye(x.shape[-1]), x)))


def _solve(params: Params, a: Any, b: Any) -> Any:
    import numpy as np

    try:
        return np.linalg.solve(a, b)
    except np.linalg.LinAlgError:
        unknown = _has_nan(a)[..., None, None]
        if not unknown.any():
            raise
        return np.where(unknown, np.nan, np.linalg.solve(np.where(unknown, np.eye(a.shape[-1]), a), b))


def _det(params: Params, x: Any) -> Any:
    import numpy as np

    found = np.linalg.det(x)
    return found if found.all() else np.where((found == 0) & _has_nan(x), np.nan, found)


def _slogdet(params: Params, x: Any) -> Any:
    import numpy as np

    sign, logarithm = np.linalg.slogdet(x)
    logarithm = np.where((sign == 0) & _has_nan(x), np.nan, logarithm)
    return np.where(np.isnan(logarithm), 0, sign), logarithm


def _cofactor(params: Params, x: Any) -> Any:
    """With ``x = U diag(s) V``: ``det(U V) U diag(products of the other s) V``, which singular matrices have too."""
    import numpy as np

    u, s, v = np.linalg.svd(x.astype(np.float64))
    ones = np.ones((*s.shape[:-1], 1))
    before = np.cumprod(np.concatenate([ones, s[..., :-1]], -1), -1)[..., : s.shape[-1]]
    after = np.cumprod(np.concatenate([ones, s[..., :0:-1]], -1), -1)[..., : s.shape[-1]][..., ::-1]
    sign = np.linalg.det(u) * np.linalg.det(v)
    return (u * (before * after * np.rint(sign)[..., None])[..., None, :]) @ v


def _eigh(params: Params, x: Any) -> Any:
    import numpy as np

    return tuple(np.linalg.eigh(x, params["uplo"]))


def _eigvalsh(params: Params, x: Any) -> Any:
    import numpy as np

    return np.linalg.eigvalsh(x, params["uplo"])


def _qr(params: Params, x: Any) -> Any:
    import numpy as np

    return tuple(np.linalg.qr(x, params["mode"]))


def _svd(params: Params, x: Any) -> Any:
    import numpy as np

    return tuple(np.linalg.svd(x, params["full_matrices"]))


def _svdvals(params: Params, x: Any) -> Any:
    import numpy as np

    return np.linalg.svd(x, compute_uv=False)


def _reflectors(params: Params, x: Any) -> Any:
    """LAPACK's geqrf: the triangle, reflectors below it, and their factors."""
    import numpy as np

    turned, factors = np.linalg.qr(x, "raw")
    return np.swapaxes(turned, -1, -2), factors


# Coefficients of the Pade approximant [13/13] of exp, and the 1-norm up to which it is exact to rounding (Higham, The
# Scaling and Squaring Method for the Matrix Exponential Revisited, 2005, tables 2.3 and 10.4).
_PADE: tuple[int, ...] = (
    64764752532480000,
    32382376266240000,
    7771770303897600,
    1187353796428800,
    129060195264000,
    10559470521600,
)
_PADE += (670442572800, 33522128640, 1323241920, 40840800, 960960, 16380, 182, 1)
_PADE_NORM = 5.371920351148152


def _matrix_exp(params: Params, x: Any) -> Any:
    """Higham's scaling and squaring, in float64; NaN of matrices whose 1-norm is not finite, but for those of one
    element."""
    import numpy as np

    a = x.astype(np.float64)
    if x.shape[-1] == 1:
        return np.exp(a)
    norm = np.abs(a).sum(-2).max(-1, initial=0.0)
    unknown = ~np.isfinite(norm)[..., None, None]
    a, norm = np.where(unknown, 0.0, a), np.where(unknown[..., 0, 0], 0.0, norm)
    times = np.ceil(np.log2(np.maximum(norm / _PADE_NORM, 1.0))).astype(np.int64)
    a = np.ldexp(a, -times[..., None, None])
    one, a2 = np.eye(x.shape[-1]), a @ a
    a4, b = a2 @ a2, _PADE
    a6 = a4 @ a2
    odd = a @ (a6 @ (b[13] * a6 + b[11] * a4 + b[9] * a2) + b[7] * a6 + b[5] * a4 + b[3] * a2 + b[1] * one)
    even = a6 @ (b[12] * a6 + b[10] * a4 + b[8] * a2) + b[6] * a6 + b[4] * a4 + b[2] * a2 + b[0] * one
    found = np.linalg.solve(even - odd, even + odd)
    for k in range(int(times.max(initial=0))):
        found = np.where((k < times)[..., None, None], found @ found, found)
    return np.where(unknown, np.nan, found)


# --- shapes -----------------------------------------------------------------------------------------------------


def _matrices(name: str, x: TensorType) -> tuple[Shape, Any, Any]:
    """The shape of the stack, and of a matrix."""
    if x.dtype not in (dt.float32, dt.float64):
        raise DTypeError(f"{name}: {x.dtype.name} operands: wants float32 or float64; cast with astype")
    if len(x.shape) < 2:
        raise ShapeError(f"{name}: {x.shape} has fewer than two axes")
    return x.shape[:-2], x.shape[-2], x.shape[-1]


def _squares(name: str, x: TensorType) -> tuple[Shape, Any]:
    stack, m, n = _matrices(name, x)
    if m != n:
        raise ShapeError(f"{name}: {x.shape}: its matrices, the last two axes, are not square")
    return stack, n


def _same(name: str) -> Callable[..., TensorType]:
    def infer(params: Params, x: TensorType) -> TensorType:
        _squares(name, x)
        return x

    return infer


def _solve_type(params: Params, a: TensorType, b: TensorType) -> TensorType:
    stack, n = _squares("solve", a)
    if b.dtype is not a.dtype or len(b.shape) != len(a.shape) or b.shape[:-1] != (*stack, n):
        raise ShapeError(f"solve: {a!r} and {b!r}")
    return b


def _det_type(params: Params, x: TensorType) -> TensorType:
    return TensorType(x.dtype, _squares("det", x)[0])


def _slogdet_type(params: Params, x: TensorType) -> tuple[TensorType, TensorType]:
    found = TensorType(x.dtype, _squares("slogdet", x)[0])
    return found, found


def _eigh_type(params: Params, x: TensorType) -> tuple[TensorType, TensorType]:
    return _eigvalsh_type(params, x, "eigh"), x


def _eigvalsh_type(params: Params, x: TensorType, name: str = "eigvalsh") -> TensorType:
    stack, n = _squares(name, x)
    return TensorType(x.dtype, (*stack, n))


def _least(m: Any, n: Any, name: str) -> Any:
    if not isinstance(m, int) or not isinstance(n, int):
        raise ShapeError(f"{name}: matrices ({m}, {n}) of symbolic sizes: which of them is less is not known")
    return min(m, n)


def _qr_type(params: Params, x: TensorType) -> tuple[TensorType, TensorType]:
    stack, m, n = _matrices("qr", x)
    k = m if params["mode"] == "complete" else _least(m, n, "qr")
    return TensorType(x.dtype, (*stack, m, k)), TensorType(x.dtype, (*stack, k, n))


def _reflectors_type(params: Params, x: TensorType) -> tuple[TensorType, TensorType]:
    stack, m, n = _matrices("geqrf", x)
    return x, TensorType(x.dtype, (*stack, _least(m, n, "geqrf")))


def _svd_type(params: Params, x: TensorType) -> tuple[TensorType, TensorType, TensorType]:
    stack, m, n = _matrices("svd", x)
    k = _least(m, n, "svd")
    rows, columns = (m, n) if params["full_matrices"] else (k, k)
    shapes = (*stack, m, rows), (*stack, k), (*stack, columns, n)
    u, s, v = (TensorType(x.dtype, shape) for shape in shapes)
    return u, s, v


def _svdvals_type(params: Params, x: TensorType) -> TensorType:
    stack, m, n = _matrices("svdvals", x)
    return TensorType(x.dtype, (*stack, _least(m, n, "svdvals")))


# --- gradients --------------------------------------------------------------------------------------------------


def _of_diagonal(x: Array) -> Array:
    """Matrices with these vectors as diagonals."""
    n = x.shape[-1]
    return where(eye(n, dtype=dt.bool_), expand_dims(x, -1), 0.0)


def _column(x: Array) -> Array:
    """Numbers, one a matrix, over its axes."""
    return expand_dims(x, (-2, -1))


def _quotient(x: Array, y: Array) -> Array:
    """``x / y``, and 0 where both are: a cotangent of 0 says nothing of vectors that are not unique."""
    return x / where(logical_and(equal(x, 0.0), equal(y, 0.0)), 1.0, y)


def _cholesky_vjp(params: Params, inputs: Any, factor: Array, g: Array) -> tuple[Any]:
    """Murray, Differentiation of the Cholesky decomposition, 2016; symmetric, as the operand is."""
    upper = matrix_transpose(factor)
    lower = tril(matmul(upper, g))
    symmetric = (lower + matrix_transpose(tril(lower, k=-1))) * 0.5
    return (matrix_transpose(apply(SOLVE, upper, matrix_transpose(apply(SOLVE, upper, symmetric)))),)


def _inv_vjp(params: Params, inputs: Any, inverse: Array, g: Array) -> tuple[Any]:
    """Giles, Collected matrix derivative results, 2008, 2.2.3."""
    turned = matrix_transpose(inverse)
    return (-matmul(matmul(turned, g), turned),)


def _solve_vjp(params: Params, inputs: Any, x: Array, g: Array) -> tuple[Any, Any]:
    """Giles 2008, 2.3.1 and 2.2.3."""
    of_b = apply(SOLVE, matrix_transpose(inputs[0]), g)
    return -matmul(of_b, matrix_transpose(x)), of_b


def _det_vjp(params: Params, inputs: Any, det: Array, g: Array) -> tuple[Any]:
    """Jacobi's formula; the cofactors are finite where the matrix is singular."""
    return (_column(g) * apply(COFACTOR, inputs[0]),)


def _cofactor_vjp(params: Params, inputs: Any, cofactor: Array, g: Array) -> tuple[Any]:
    """Of ``det(x) x^-T``, so of regular matrices alone."""
    turned = matrix_transpose(apply(INV, inputs[0]))
    total = _column(sum(g * cofactor, axis=(-2, -1)))
    return (total * turned - matmul(matmul(cofactor, matrix_transpose(g)), turned),)


def _slogdet_vjp(params: Params, inputs: Any, outputs: Any, cotangents: Any) -> tuple[Any]:
    """Giles 2008, 2.2.4. The sign is constant where it is not undefined."""
    g = cotangents[1]
    return (None if g is None else _column(g) * matrix_transpose(apply(INV, inputs[0])),)


def _eigh_vjp(params: Params, inputs: Any, outputs: Any, cotangents: Any) -> tuple[Any]:
    """Giles 2008, 3.1; of a matrix all of whose elements may vary, as PyTorch has it."""
    (values, vectors), (of_values, of_vectors) = outputs, cotangents
    inner = None if of_values is None else _of_diagonal(of_values)
    if of_vectors is not None:
        diagonal = eye(values.shape[-1], dtype=dt.bool_)
        gaps = expand_dims(values, -2) - expand_dims(values, -1)
        turned = _quotient(matmul(matrix_transpose(vectors), of_vectors), where(diagonal, 1.0, gaps))
        inner = where(diagonal, 0.0 if inner is None else inner, turned)
    assert inner is not None
    return (matmul(matmul(vectors, inner), matrix_transpose(vectors)),)


def _eigvalsh_vjp(params: Params, inputs: Any, values: Array, g: Array) -> tuple[Any]:
    """As that of eigh."""
    vectors: Any = apply(EIGH, inputs[0], uplo=params["uplo"])[1]
    return (matmul(vectors * expand_dims(g, -2), matrix_transpose(vectors)),)


def _qr_vjp(params: Params, inputs: Any, outputs: Any, cotangents: Any) -> tuple[Any]:
    """Roberts and Roberts, QR and LQ decomposition matrix backpropagation algorithms, 2020."""
    (q, r), (of_q, of_r) = outputs, cotangents
    m, n = inputs[0].shape[-2:]
    if params["mode"] == "complete" and m > n:
        raise AutogradError(f"qr: the complete factors of ({m}, {n}) have no gradient; mode='reduced' has one")
    if of_r is None:
        of_r = r * 0.0
    if of_q is None:
        of_q = q * 0.0
    if m >= n:
        return (_tall_qr(q, r, of_q, of_r),)
    rest, of_rest = inputs[0][..., :, m:], of_r[..., :, m:]  # columns that the square part determines
    of_q = of_q + matmul(rest, matrix_transpose(of_rest))
    return (concat([_tall_qr(q, r[..., :, :m], of_q, of_r[..., :, :m]), matmul(q, of_rest)], axis=-1),)


def _tall_qr(q: Array, r: Array, of_q: Array, of_r: Array) -> Array:
    inner = matmul(r, matrix_transpose(of_r)) - matmul(matrix_transpose(of_q), q)
    lower = tril(inner)
    found = of_q + matmul(q, lower + matrix_transpose(tril(lower, k=-1)))
    return matrix_transpose(apply(SOLVE, r, matrix_transpose(found)))


def _svd_vjp(params: Params, inputs: Any, outputs: Any, cotangents: Any) -> tuple[Any]:
    """Townsend, Differentiating the singular value decomposition, 2016. Vectors beyond those of singular values are any
    basis: their cotangents say nothing."""
    (u, s, v), (of_u, of_s, of_v) = outputs, cotangents
    m, n = inputs[0].shape[-2:]
    if params["full_matrices"] and m != n:
        k = s.shape[-1]
        u, of_u = (None if x is None else x[..., :, :k] for x in (u, of_u))
        v, of_v = (None if x is None else x[..., :k, :] for x in (v, of_v))
    diagonal = eye(s.shape[-1], dtype=dt.bool_)
    row, column = expand_dims(s, -2), expand_dims(s, -1)
    gaps = where(diagonal, 1.0, (row - column) * (row + column))
    inner: Any = 0.0 if of_s is None else _of_diagonal(of_s)
    outer: Any = 0.0
    if of_u is not None:
        turned = matmul(matrix_transpose(u), of_u)
        inner = inner + _quotient(turned - matrix_transpose(turned), gaps) * row
        if m > n:
            outer = outer + matmul(_quotient(of_u - matmul(u, turned), row), v)
    if of_v is not None:
        turned = matmul(v, matrix_transpose(of_v))
        inner = inner + column * _quotient(turned - matrix_transpose(turned), gaps)
        if m < n:
            turned_back = matrix_transpose(turned)
            outer = outer + matmul(u, _quotient(of_v - matmul(turned_back, v), column))
    return (matmul(matmul(u, inner), v) + outer,)


def _svdvals_vjp(params: Params, inputs: Any, values: Array, g: Array) -> tuple[Any]:
    """As that of svd."""
    u, _, v = apply(SVD, inputs[0], full_matrices=False)
    return (matmul(u * expand_dims(g, -2), v),)


def _matrix_exp_vjp(params: Params, inputs: Any, output: Array, g: Array) -> tuple[Any]:
    """The derivative at the transpose, in the direction of ``g``: a block of the exponential of twice the size (Higham,
    Functions of Matrices, 2008, theorem 3.6)."""
    n, turned = output.shape[-1], matrix_transpose(inputs[0])
    above, below = concat([turned, g], axis=-1), concat([turned * 0.0, turned], axis=-1)
    return (apply(MATRIX_EXP, concat([above, below], axis=-2))[..., :n, n:],)


# --- the primitives ---------------------------------------------------------------------------------------------

_SINGULAR, _DIVERGED = "is singular", "has no decomposition that LAPACK finds: is an element NaN or infinite?"

CHOLESKY = Primitive(
    "cholesky",
    _same("cholesky"),
    _host(_cholesky, "is not positive-definite", _leading_minor),
    _cholesky_vjp,
)
INV = Primitive("inv", _same("inv"), _host(_inv, _SINGULAR), _inv_vjp)
SOLVE = Primitive("solve", _solve_type, _host(_solve, _SINGULAR), _solve_vjp)
DET = Primitive("det", _det_type, _host(_det), _det_vjp)
COFACTOR = Primitive("cofactor", _same("cofactor"), _host(_cofactor, _DIVERGED), _cofactor_vjp)
SLOGDET = Primitive("slogdet", _slogdet_type, _host(_slogdet), _slogdet_vjp)
EIGH = Primitive("eigh", _eigh_type, _host(_eigh, _DIVERGED), _eigh_vjp)
EIGVALSH = Primitive("eigvalsh", _eigvalsh_type, _host(_eigvalsh, _DIVERGED), _eigvalsh_vjp)
MATRIX_EXP = Primitive("matrix_exp", _same("matrix_exp"), _host(_matrix_exp), _matrix_exp_vjp)
REFLECTORS = Primitive("geqrf", _reflectors_type, _host(_reflectors, _DIVERGED))
QR = Primitive("qr", _qr_type, _host(_qr, _DIVERGED), _qr_vjp)
SVD = Primitive("svd", _svd_type, _host(_svd, _DIVERGED), _svd_vjp)
SVDVALS = Primitive("svdvals", _svdvals_type, _host(_svdvals, _DIVERGED), _svdvals_vjp)
