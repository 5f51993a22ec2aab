"""dtypes: interned, picklable, laid out as NumPy's, promoted by the Array API's table."""

from __future__ import annotations

import copy
import pickle

import ml_dtypes
import numpy as np
import pytest

from weft.core import dtypes as dt
from weft.core.errors import DTypeError, WeftError

PAIRS = [(a, b) for a in dt.ALL for b in dt.ALL]
NO_COMMON = {("uint64", s) for s in ("int8", "int16", "int32", "int64")}

# https://data-apis.org/array-api/2024.12/API_specification/type_promotion.html, upper triangles
INTEGERS = """
       i1 i2 i4 i8
    i1 i1 i2 i4 i8
    i2 i2 i2 i4 i8
    i4 i4 i4 i4 i8
    i8 i8 i8 i8 i8
    u1 i2 i2 i4 i8
    u2 i4 i4 i4 i8
    u4 i8 i8 i8 i8
"""
SHORT = {"i": "int", "u": "uint"}


def from_short(code: str) -> dt.DType:
    return dt.as_dtype(f"{SHORT[code[0]]}{int(code[1]) * 8}")


def standard_table() -> list[tuple[dt.DType, dt.DType, dt.DType]]:
    header, *rows = [line.split() for line in INTEGERS.strip().splitlines()]
    return [(from_short(row[0]), from_short(h), from_short(r)) for row in rows for h, r in zip(header, row[1:])]


@pytest.mark.parametrize("dtype", dt.ALL, ids=repr)
def test_a_dtype_is_one_object(dtype: dt.DType) -> None:
    assert dt.as_dtype(dtype.name) is dtype
    assert dt.as_dtype(dtype) is dtype
    assert dt.from_numpy(dtype.numpy) is dtype
    assert pickle.loads(pickle.dumps(dtype)) is dtype
    assert copy.deepcopy(dtype) is dtype
    assert repr(dtype) == f"weft.{dtype.name}"


@pytest.mark.parametrize("dtype", dt.ALL, ids=repr)
def test_layout_is_numpys(dtype: dt.DType) -> None:
    assert dtype.numpy.itemsize == dtype.itemsize
    assert dtype.bits == 8 * dtype.itemsize
    assert dtype.numpy.name == dtype.name
    kinds = {"b": "bool", "i": "int", "u": "uint", "f": "float", "V": "float"}  # ml_dtypes says V for bfloat16
    assert kinds[dtype.numpy.kind] == dtype.kind


@pytest.mark.parametrize("dtype", dt.ALL, ids=repr)
def test_kinds_exclude_each_other(dtype: dt.DType) -> None:
    assert (dtype is dt.bool_) + dtype.is_integer + dtype.is_floating == 1
    assert dtype.is_signed is (dtype.kind in ("int", "float"))


@pytest.mark.parametrize(
    ("spec", "dtype"),
    [
        (float, dt.float32),
        (int, dt.int64),
        (bool, dt.bool_),
        ("bfloat16", dt.bfloat16),
        (ml_dtypes.bfloat16, dt.bfloat16),
        (np.float16, dt.float16),
        (np.dtype(">i4"), dt.int32),
        ("u2", dt.uint16),
    ],
)
def test_as_dtype(spec: object, dtype: dt.DType) -> None:
    assert dt.as_dtype(spec) is dtype


CODES = {
    "bool": "?", "int8": "b", "int16": "h", "int32": "i", "int64": "q", "uint8": "B", "uint16": "H", "uint32": "I",
    "uint64": "Q", "float16": "e", "float32": "f", "float64": "d",
}  # fmt: skip
WORDS = {  # C's and NumPy's, which PyTorch's users know as names of its own; "float" is NumPy's, the type weft's
    "half": "float16", "single": "float32", "double": "float64", "float": "float64", "short": "int16", "int": "int64",
    "long": "int64", "intc": "int32", "ushort": "uint16", "byte": "int8", "ubyte": "uint8",
}  # fmt: skip


@pytest.mark.parametrize("dtype", dt.ALL, ids=repr)
def test_every_spelling_of_a_dtype(dtype: dt.DType) -> None:
    numpys = dtype.numpy
    spellings = [dtype, dtype.name, numpys, numpys.type, numpys.type(1), numpys.newbyteorder("="), np.dtype(numpys)]
    if dtype.name in CODES:
        code = f"{numpys.kind}{dtype.itemsize}"
        spellings += [CODES[dtype.name], code, f"<{code}", f">{code}", f"={code}", numpys.newbyteorder(">")]
        spellings += [str(numpys), np.str_(dtype.name)]
    spellings += [word for word, name in WORDS.items() if name == dtype.name]
    for spelling in spellings:
        assert dt.as_dtype(spelling) is dtype, spelling


NO_DTYPES = [
    *("float_", "torch.float32", "weft.float32", "FLOAT32", " float32", "bf16", "int4", "f4,f4", "V2", "S", "U3", "O"),
    *("", "float32\n", "c8", "g"),
    *(complex, str, object, type(None), np.longdouble, np.floating, np.integer, ml_dtypes.float8_e5m2, ml_dtypes.int4),
    *(None, 3, 3.0, True, [], {}, (), ("f4", 2), [("a", "f4")], np.ones(1), b"f4\0", float("nan")),
]


@pytest.mark.parametrize("spec", NO_DTYPES, ids=repr)
def test_what_is_no_dtype_is_a_dtype_error(spec: object) -> None:
    with pytest.raises(DTypeError, match=r"is not (one of bool, int8|a dtype)"):
        dt.as_dtype(spec)


@pytest.mark.parametrize("spec", ["float8", "complex64", np.complex128, "S4", object(), "datetime64[s]"])
def test_an_unknown_dtype_says_which_there_are(spec: object) -> None:
    with pytest.raises(DTypeError, match="bfloat16, float32, float64") as caught:
        dt.as_dtype(spec)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(("a", "b", "result"), standard_table())
def test_integers_promote_as_the_standard_says(a: dt.DType, b: dt.DType, result: dt.DType) -> None:
    assert dt.promote(a, b) is result
    assert dt.promote(b, a) is result


def test_promotion_is_symmetric_and_idempotent() -> None:
    for a, b in PAIRS:
        if {(a.name, b.name), (b.name, a.name)} & NO_COMMON:
            for left, right in ((a, b), (b, a)):
                with pytest.raises(DTypeError, match="no common integer dtype; cast one"):
                    dt.promote(left, right)
            continue
        common = dt.promote(a, b)
        assert dt.promote(b, a) is common
        assert dt.promote(a, common) is common
        assert dt.promote(common, b) is common


def test_promotion_agrees_with_numpy_where_the_standard_defines_it() -> None:
    standard = [d for d in dt.ALL if d not in (dt.float16, dt.bfloat16)]
    for a in standard:
        for b in standard:
            if a.kind == b.kind or ({a.kind, b.kind} == {"int", "uint"} and dt.uint64 not in (a, b)):
                assert dt.promote(a, b).numpy == np.promote_types(a.numpy, b.numpy), (a, b)


@pytest.mark.parametrize(
    ("a", "b", "result"),
    [
        ("bool", "int8", "int8"),
        ("bool", "bfloat16", "bfloat16"),
        ("float16", "bfloat16", "float32"),
        ("float16", "float32", "float32"),
        ("bfloat16", "float64", "float64"),
        ("int64", "float16", "float16"),
        ("uint64", "float32", "float32"),
        ("uint64", "uint8", "uint64"),
    ],
)
def test_pairs_that_the_standard_leaves_open(a: str, b: str, result: str) -> None:
    assert dt.promote(dt.as_dtype(a), dt.as_dtype(b)).name == result


def test_errors_are_wefts_own() -> None:
    with pytest.raises(WeftError):
        dt.promote(dt.uint64, dt.int8)
