"""Memory that was lent outlives its lender: whoever owns the bytes of a tensor is kept alive by it, whatever it is.

Every case makes a tensor of something that is gone at once, then fills freed memory of many sizes with other bytes, and
looks again.
"""

from __future__ import annotations

import array
import copy
import ctypes
import gc
import mmap
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft as wf

VALUES = np.array([[1.5, -2.0, 3.25], [4.0, 5.5, -6.75]])


class Temporary:
    """``__array__`` makes an array that nobody else holds."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return VALUES.copy()


class Interface:
    """``__array_interface__`` over memory that the object owns."""

    def __init__(self) -> None:
        self.memory = VALUES.copy()

    @property
    def __array_interface__(self) -> Any:
        return self.memory.__array_interface__


class Capsule:
    """``__dlpack__`` of an array that nobody else holds."""

    def __dlpack__(self, **options: Any) -> Any:
        return VALUES.copy().__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return (1, 0)


class Own(np.ndarray):
    """A subclass of NumPy's array."""


def read_only(values: Any) -> Any:
    values.flags.writeable = False
    return values


def of_torch(dtype: str) -> Any:
    torch = pytest.importorskip("torch")
    return torch.tensor(VALUES).to(getattr(torch, dtype))


def of_mmap(values: Any) -> Any:
    memory = mmap.mmap(-1, values.nbytes)
    memory.write(values.tobytes())
    return np.frombuffer(memory, values.dtype).reshape(values.shape)


def of_ctypes() -> Any:
    return (ctypes.c_double * 3)(1.5, -2.0, 3.25)


def of_unaligned() -> Any:
    raw = np.zeros(VALUES.nbytes + 1, np.uint8)
    view = raw[1:].view(np.float64).reshape(VALUES.shape)
    view[...] = VALUES
    return view


def of_record() -> Any:
    records = np.zeros(3, [("key", np.int8), ("value", np.float64)])
    records["value"] = VALUES[0]
    return records["value"]


# What lends, and what its values are.
LENDERS: dict[str, tuple[Callable[[], Any], Any]] = {
    "array": (lambda: VALUES.copy(), VALUES),
    "fortran": (lambda: np.asfortranarray(VALUES), VALUES),
    "transpose": (lambda: VALUES.copy().T, VALUES.T),
    "backwards": (lambda: VALUES.copy()[::-1, ::-1], VALUES[::-1, ::-1]),
    "steps": (lambda: np.repeat(VALUES, 2, axis=1)[:, ::2], VALUES),
    "broadcast": (lambda: np.broadcast_to(VALUES[0].copy(), (4, 3)), np.broadcast_to(VALUES[0], (4, 3))),
    "big endian": (lambda: VALUES.astype(">f8"), VALUES),
    "unaligned": (of_unaligned, VALUES),
    "field of records": (of_record, VALUES[0]),
    "read only": (lambda: read_only(VALUES.copy()), VALUES),
    "subclass": (lambda: VALUES.copy().view(Own), VALUES),
    "matrix": (lambda: np.asarray(VALUES.copy()).view(np.matrix), VALUES),
    "masked, nothing masked": (lambda: np.ma.array(VALUES.copy()), VALUES),
    "rank 0": (lambda: np.array(1.5), np.array(1.5)),
    "element": (lambda: VALUES.copy()[0, 0], np.array(1.5)),
    "sum": (lambda: VALUES.copy().sum(), VALUES.sum()),
    "arithmetic": (lambda: np.array(1.5) + 1, np.array(2.5)),
    "float16": (lambda: np.float16(1.5), np.float16(1.5)),
    "float32": (lambda: np.float32(1.5), np.float32(1.5)),
    "int64": (lambda: np.int64(-3), np.int64(-3)),
    "uint8": (lambda: np.uint8(200), np.uint8(200)),
    "bool": (lambda: np.bool_(True), np.bool_(True)),
    "big-endian number": (lambda: VALUES.astype(">f4")[0, 0], np.float32(1.5)),
    "no elements": (lambda: np.zeros((0, 3)), np.zeros((0, 3))),
    "mmap": (lambda: of_mmap(VALUES), VALUES),
    "bytes": (lambda: np.frombuffer(VALUES.tobytes()), VALUES.ravel()),
    "__array__": (Temporary, VALUES),
    "__array_interface__": (Interface, VALUES),
    "__dlpack__": (Capsule, VALUES),
    "capsule": (lambda: VALUES.copy().__dlpack__(), VALUES),
    "torch": (lambda: of_torch("float64"), VALUES),
    "torch, transposed": (lambda: of_torch("float64").T, VALUES.T),
    "array.array": (lambda: array.array("d", VALUES[0]), VALUES[0]),
    "ctypes": (of_ctypes, VALUES[0]),
    "memoryview": (lambda: memoryview(VALUES.copy()), VALUES),
    "bytearray": (lambda: bytearray(b"weft"), np.frombuffer(b"weft", np.uint8)),
    "list": (lambda: VALUES.tolist(), VALUES.astype(np.float32)),
    "list of arrays": (lambda: list(VALUES.copy()), VALUES),
    "list of numbers": (lambda: list(VALUES[0].copy()), VALUES[0]),
}


def reuse_freed_memory() -> None:
    """Whatever was freed holds other bytes now: NumPy's blocks and Python's objects, of every small size."""
    gc.collect(0)
    kept: list[Any] = []
    for size in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256):
        kept += [np.full(size, 0x5A, np.uint8) for _ in range(40)]
        kept += [bytearray(b"\x5a" * size) for _ in range(40)]
    kept += [np.float64(i + 0.1) for i in range(400)] + [np.float32(i) for i in range(400)] + [(i,) for i in range(400)]
    del kept


def check(made: Any, expected: Any) -> None:
    found = made.numpy()
    assert found.dtype == np.asarray(expected).dtype
    assert found.shape == np.shape(expected)
    assert found.tobytes() == np.ascontiguousarray(expected).tobytes()


# What from_numpy and from_dlpack cannot share, and so from_numpy refuses.
COPIED = ("backwards", "big endian", "unaligned", "field of records")


def taken_in(name: str) -> dict[str, Callable[[Any], wf.Tensor]]:
    ways: dict[str, Callable[[Any], wf.Tensor]] = {"tensor": wf.tensor, "asarray": wf.asarray}
    made = LENDERS[name][0]()
    if isinstance(made, np.ndarray) and name not in COPIED:
        ways["from_numpy"] = wf.from_numpy
    if hasattr(made, "__dlpack__") and name not in COPIED[1:]:
        ways["from_dlpack"] = wf.from_dlpack
    if name == "capsule":
        ways = {"from_dlpack": wf.from_dlpack}
    return ways


@pytest.mark.parametrize("name", LENDERS)
def test_what_was_lent_stays(name: str) -> None:
    make, expected = LENDERS[name]
    made = [take(make()) for take in taken_in(name).values() for _ in range(20)]
    reuse_freed_memory()
    for each in made:
        check(each, expected)


@pytest.mark.parametrize("name", ["array", "float32", "steps", "rank 0", "broadcast", "torch"])
def test_what_is_made_of_it_stays(name: str) -> None:
    make, expected = LENDERS[name]
    whole = np.array(expected, order="C")
    made: list[Callable[[], wf.Tensor]] = [
        lambda: wf.asarray(make()).reshape(-1).reshape(whole.shape),
        lambda: wf.from_dlpack(wf.asarray(make())),
        lambda: wf.from_numpy(wf.asarray(make()).numpy()),
        lambda: copy.deepcopy(wf.asarray(make())),
        lambda: pickle.loads(pickle.dumps(wf.asarray(make()))),
        lambda: wf.asarray(make()).detach(),
        lambda: wf.asarray(memoryview(wf.asarray(make()).numpy())),
        lambda: wf.asarray(make()).data,
    ]
    results = [function() for function in made]
    reuse_freed_memory()
    for result in results:
        check(result, expected)


def test_weights_read_from_a_file_that_is_gone(tmp_path: Path) -> None:
    layer = wf.nn.Linear(3, 2)
    expected = {name: value.numpy().copy() for name, value in layer.state_dict().items()}
    wf.save_weights(layer, tmp_path / "w.safetensors")
    fresh = wf.nn.Linear(3, 2)
    wf.load_weights(fresh, tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").unlink()
    reuse_freed_memory()
    for name, value in fresh.state_dict().items():
        check(value, expected[name])


@pytest.mark.parametrize("take", [wf.from_numpy, wf.asarray])
def test_memory_that_must_not_be_written_is_not(take: Callable[[Any], wf.Tensor], tmp_path: Path) -> None:
    VALUES.tofile(tmp_path / "values")
    for lent in (read_only(VALUES.copy()), np.memmap(tmp_path / "values", np.float64, "r")):
        state = take(lent)

        def grow(state: wf.Tensor = state) -> None:
            state.assign(state * 2)

        for write in (grow, wf.compile(grow), lambda state=state: state[0].zero_()):
            with pytest.raises(ValueError, match="lent read-only"):
                write()
        assert np.asarray(lent).ravel().tolist() == state.numpy().ravel().tolist() == VALUES.ravel().tolist()


def test_arrays_that_are_no_tensors() -> None:
    with pytest.raises(wf.DTypeError, match=r"a masked array: .*filled"):
        wf.asarray(np.ma.array([1.0, 2.0], mask=[True, False]))
    with pytest.raises(wf.DTypeError, match="void"):
        wf.asarray(np.zeros(2, [("a", np.int8)]))
    for wrong in ([1.0], 1.5, None, np.float32(1.5), np.array([1.5])[0]):
        with pytest.raises(wf.DTypeError, match=r"from_numpy: .* (is not a NumPy array|has no memory)"):
            wf.from_numpy(wrong)
    for wrong in (None, 1.0, [1.0], object()):
        with pytest.raises(wf.DTypeError, match="from_dlpack"):
            wf.from_dlpack(wrong)
