"""The table of dtypes and the Array API's promotion rules.

A :class:`DType` is an interned, immutable description: compare with ``is``. ``numpy`` holds the NumPy dtype of the
same memory layout (bfloat16's comes from ml_dtypes, imported when first asked for). complex64/128 are not in the
table yet; ``kind`` leaves room for them.
"""

from __future__ import annotations

from functools import cache
from typing import Any


class DType:
    """A scalar type: ``name``, ``kind`` (``bool``, ``int``, ``uint``, ``float``), ``itemsize`` in bytes."""

    __slots__ = ("itemsize", "kind", "name")

    def __init__(self, name: str, kind: str, itemsize: int):
        self.name, self.kind, self.itemsize = name, kind, itemsize

    def __repr__(self) -> str:
        return f"weft.{self.name}"

    def __reduce__(self) -> tuple[Any, ...]:
        return (as_dtype, (self.name,))

    def __deepcopy__(self, memo: Any) -> DType:
        return self

    @property
    def bits(self) -> int:
        """Width of one element in bits."""
        return self.itemsize * 8

    @property
    def is_half(self) -> bool:
        """True for float16 and bfloat16: what is computed in float32 and rounded once."""
        return self.itemsize == 2 and self.kind == "float"

    @property
    def is_floating(self) -> bool:
        """True for float16, bfloat16, float32 and float64."""
        return self.kind == "float"

    @property
    def is_integer(self) -> bool:
        """True for signed and unsigned integers; bool is not one."""
        return self.kind in ("int", "uint")

    @property
    def is_signed(self) -> bool:
        """True where a negative value exists."""
        return self.kind in ("int", "float")

    @property
    def numpy(self) -> Any:
        """The NumPy dtype with the same memory layout."""
        return _numpy_dtype(self.name)


bool_ = DType("bool", "bool", 1)
int8 = DType("int8", "int", 1)
int16 = DType("int16", "int", 2)
int32 = DType("int32", "int", 4)
int64 = DType("int64", "int", 8)
uint8 = DType("uint8", "uint", 1)
uint16 = DType("uint16", "uint", 2)
uint32 = DType("uint32", "uint", 4)
uint64 = DType("uint64", "uint", 8)
float16 = DType("float16", "float", 2)
bfloat16 = DType("bfloat16", "float", 2)
float32 = DType("float32", "float", 4)
float64 = DType("float64", "float", 8)

ALL = (bool_, int8, int16, int32, int64, uint8, uint16, uint32, uint64, float16, bfloat16, float32, float64)
_BY_NAME = {d.name: d for d in ALL}
default_float = float32
default_int = int64


@cache
def _numpy_dtype(name: str) -> Any:
    import numpy as np

    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def as_dtype(spec: Any) -> DType:
    """The DType named by ``spec``: a DType, a name, ``float``/``int``/``bool``, or a NumPy dtype.

    Raises:
        DTypeError: no such dtype.
    """
    if isinstance(spec, DType):
        return spec
    if isinstance(spec, str) and spec in _BY_NAME:
        return _BY_NAME[spec]
    if spec is float:
        return default_float
    if spec is int:
        return default_int
    if spec is bool:
        return bool_
    if spec is None:  # float64 to NumPy
        from .errors import DTypeError

        raise DTypeError("None is not a dtype")
    return from_numpy(spec)


def from_numpy(dtype: Any) -> DType:
    """The DType with the memory layout of a NumPy dtype (native byte order)."""
    import numpy as np

    from .errors import DTypeError
    from .shapes import shown

    try:
        name = np.dtype(dtype).newbyteorder("=").name
    except Exception:  # not only TypeError: whatever the methods of ``dtype`` raise
        name = str(dtype) if isinstance(dtype, (str, type)) else shown(dtype)
    if name not in _BY_NAME:
        why = next((text for part, text in _NO_DTYPE.items() if name.startswith(part)), "")
        raise DTypeError(f"dtype {name} is not one of {', '.join(_BY_NAME)}{why}")
    return _BY_NAME[name]


_NO_DTYPE = {
    "object": "; an array of Python objects often comes from rows of different lengths, or from None among numbers",
    "complex": "; take the real and the imaginary part",
    "str": "; turn text into numbers first",
}


def _integer(signed: bool, itemsize: int) -> DType:
    return _BY_NAME[f"{'' if signed else 'u'}int{itemsize * 8}"]


def promote(a: DType, b: DType) -> DType:
    """The dtype of a binary op over arrays of dtypes ``a`` and ``b``.

    The Array API's table (https://data-apis.org/array-api/latest/API_specification/type_promotion.html), and where
    that leaves a pair undefined: bool goes to the other dtype, an integer with a float gives the float, float16 with
    bfloat16 gives float32, and uint64 with a signed integer has no common dtype.

    Raises:
        DTypeError: uint64 with a signed integer, or what is no dtype.
    """
    return _promote(as_dtype(a), as_dtype(b))


@cache
def _promote(a: DType, b: DType) -> DType:
    if a is b:
        return a
    if a.kind == "bool":
        return b
    if b.kind == "bool":
        return a
    if a.is_floating and b.is_floating:
        return float32 if a.itemsize == b.itemsize else max(a, b, key=lambda d: d.itemsize)
    if a.is_floating or b.is_floating:
        return a if a.is_floating else b
    if a.kind == b.kind:
        return max(a, b, key=lambda d: d.itemsize)
    signed, unsigned = (a, b) if a.kind == "int" else (b, a)
    if signed.itemsize > unsigned.itemsize:
        return signed
    if unsigned is uint64:
        from .errors import DTypeError

        raise DTypeError(f"{a.name} and {b.name} have no common integer dtype; cast one of them first")
    return _integer(True, unsigned.itemsize * 2)
