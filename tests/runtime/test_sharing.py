"""One memory, two libraries: what either writes shows in the other, read-only memory stays so, copies are copies."""

from __future__ import annotations

import array as arrays
import gc
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from few_examples import few
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import weft as wf

DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
DTYPES += ["float16", "float32", "float64"]


def overlaps(x: wf.Tensor, array: np.ndarray[Any, Any]) -> bool:
    return np.shares_memory(x.numpy(), array)


def write(x: wf.Tensor, offset: int, data: bytes) -> None:
    """Into a tensor's memory, as an in-place form would."""
    memoryview(x._storage)[offset : offset + len(data)] = data


@st.composite
def parts_of_arrays(draw: Any) -> np.ndarray[Any, Any]:
    """Arrays of 0 to 4 axes over other arrays' memory: sliced, flipped, transposed, broadcast, read-only."""
    base = np.arange(4 * 3 * 2 * 3).astype(draw(st.sampled_from(DTYPES))).reshape(4, 3, 2, 3)
    array = base[draw(hnp.basic_indices(base.shape, allow_ellipsis=False))]
    if draw(st.booleans()):
        array = np.asarray(array).T
    if draw(st.booleans()):
        array = np.broadcast_to(array, (2, *np.shape(array)))
    array = np.asarray(array)
    if draw(st.integers(0, 3)) == 0:
        array.flags.writeable = False
    return array


@few(33, 300, parts_of_arrays())
def test_from_numpy_is_that_memory_or_raises_as_pytorch(array: np.ndarray[Any, Any]) -> None:
    torch = pytest.importorskip("torch")
    flags = array.flags.writeable
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch shares read-only memory, and may then write to it
            theirs = torch.from_numpy(array)
    except ValueError:
        theirs = None
    walks_back = any(step < 0 for step, extent in zip(array.strides, array.shape, strict=True) if extent > 1)
    if walks_back and array.size:
        assert theirs is None
        with pytest.raises(ValueError, match="negative strides") as caught:
            wf.from_numpy(array)
        assert isinstance(caught.value, wf.ArgumentError) and "wf.asarray" in str(caught.value)
        assert wf.asarray(array).tolist() == array.tolist() and not overlaps(wf.asarray(array), array)
        return
    for take in (wf.from_numpy, wf.asarray, lambda a: wf.asarray(a, copy=False)):
        x = take(array)
        assert x.tolist() == array.tolist() and x.shape == array.shape
        if theirs is not None:
            assert x._spec.strides == theirs.stride() or 1 in array.shape or not array.size
        if array.size:
            assert x.numpy().ctypes.data == array.ctypes.data
            assert x.numpy().flags.writeable == flags is not x._storage.is_read_only


@given(parts_of_arrays())
def test_both_sides_see_what_either_writes(array: np.ndarray[Any, Any]) -> None:
    if not array.size or not array.flags.writeable or min(array.strides, default=0) < 0:
        return
    x = wf.from_numpy(array)
    array[...] = 1
    assert x.tolist() == np.ones(array.shape).tolist()
    x.numpy()[...] = 0
    assert not array.any()
    write(x, 0, np.array(1, array.dtype).tobytes())
    assert array[(0,) * array.ndim] == 1 == np.asarray(x)[(0,) * array.ndim]


@few(33, 300, parts_of_arrays())
def test_a_tensor_of_a_copy_owns_its_memory(array: np.ndarray[Any, Any]) -> None:
    before = array.tolist()
    made = [wf.tensor(array), wf.asarray(array, copy=True), wf.from_dlpack(array, copy=True)]
    made += [wf.tensor(wf.asarray(array)), wf.asarray(wf.asarray(array), copy=True)]
    for x in made:
        assert x.tolist() == before and not overlaps(x, array) and x.numpy().flags.writeable
        x.numpy()[...] = 0
    assert array.tolist() == before


def test_numpy_shows_what_is_written_to_the_tensor_and_its_views() -> None:
    x = wf.zeros((2, 3))
    array, row = x.numpy(), x[1].numpy()
    write(x, 16, np.float32(7).tobytes())
    assert array.tolist() == [[0, 0, 0], [0, 7, 0]] and row.tolist() == [0, 7, 0]
    row[0] = 5
    assert x.tolist() == [[0, 0, 0], [5, 7, 0]] and x.T.numpy()[0, 1] == 5
    assert np.shares_memory(np.asarray(x), array) and np.shares_memory(x.__array__(), array)
    np.asarray(x)[:] = 1
    assert wf.sum(x).item() == 6


@pytest.mark.parametrize("dtype", [*DTYPES, "bfloat16"])
def test_every_dtype_is_shared(dtype: str) -> None:
    x = wf.tensor([0, 1, 1], dtype=dtype)
    x.numpy()[1] = 0
    assert [float(v) for v in x.tolist()] == [0, 0, 1]
    y = wf.from_numpy(x.numpy())
    assert y.dtype is x.dtype and overlaps(y, x.numpy())


def test_arrays_of_rank_0_are_shared_and_numbers_are_not() -> None:
    array = np.array(1.5)
    for x in (wf.from_numpy(array), wf.asarray(array), wf.asarray(array, copy=False), wf.from_dlpack(array)):
        array[...] = array + 1
        assert x.item() == array.item() and x.shape == ()
    with pytest.raises(TypeError, match="float64 has no memory to share"):
        wf.from_numpy(np.float64(1.5))
    with pytest.raises(ValueError, match="float64 has no memory to share"):
        wf.asarray(np.float64(1.5), copy=False)
    assert wf.asarray(np.float64(1.5)).item() == 1.5


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 3)])
def test_no_elements_are_shared_with_anybody(shape: tuple[int, ...]) -> None:
    for given_ in (np.zeros(shape), np.zeros(shape)[::-1], np.broadcast_to(np.zeros(shape), (2, *shape))):
        for take in (wf.from_numpy, wf.asarray, wf.tensor, wf.from_dlpack):
            x = take(given_)
            assert x.shape == given_.shape and x.numpy().shape == given_.shape
            assert np.from_dlpack(x).shape == given_.shape


# ------------------------------------------------------------------------------------------------- read-only memory


def of_bytes() -> np.ndarray[Any, Any]:
    return np.frombuffer(np.arange(3.0).tobytes())


def of_broadcast() -> np.ndarray[Any, Any]:
    return np.broadcast_to(np.arange(3.0), (2, 3))


def of_flag() -> np.ndarray[Any, Any]:
    array = np.arange(3.0)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("take", [wf.from_numpy, wf.asarray, wf.from_dlpack, lambda a: wf.asarray(memoryview(a))])
@pytest.mark.parametrize("make", [of_bytes, of_broadcast, of_flag])
def test_read_only_memory_stays_read_only(make: Callable[[], Any], take: Callable[[Any], wf.Tensor]) -> None:
    x = take(make())
    assert x._storage.is_read_only
    again = [x, x[0], x.T, x.detach(), wf.from_numpy(x.numpy()), wf.asarray(x), wf.from_dlpack(x)]
    for each in again:
        array = each.numpy()
        for view in (array, np.asarray(each), np.from_dlpack(each), memoryview(array)):
            assert view.readonly if isinstance(view, memoryview) else not view.flags.writeable
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
        with pytest.raises(BufferError, match=r"DLPack 1\.0"):
            each.__dlpack__()
    for own in (wf.tensor(x), x + 0, wf.from_dlpack(x, copy=True), wf.asarray(x, dtype="float32")):
        assert own.numpy().flags.writeable


def test_a_copy_for_a_consumer_can_be_written() -> None:
    x = wf.from_numpy(of_bytes())
    peer = np.from_dlpack(x, copy=True)
    assert peer.flags.writeable and not overlaps(x, peer)
    assert "versioned" not in repr(x.__dlpack__(copy=True))
    assert not np.from_dlpack(x, copy=False).flags.writeable
    assert np.array(x).flags.writeable and x.__array__(copy=True).flags.writeable


# ------------------------------------------------------------------------------------------------- copies on request


def test_numpy_asks_for_no_copy() -> None:
    x = wf.tensor([1.0, 2.0])
    assert overlaps(x, np.asarray(x, copy=False)) and overlaps(x, np.asarray(x, dtype=np.float32, copy=False))
    assert not overlaps(x, np.array(x)) and not overlaps(x, np.asarray(x, dtype=np.float32, copy=True))
    assert np.asarray(x, dtype=np.float64).tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match=r"float32 becomes float64 by a copy"):
        np.asarray(x, dtype=np.float64, copy=False)


class Column:
    """An ``__array__`` that does not heed ``copy``."""

    def __init__(self) -> None:
        self.values = np.arange(3.0)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self.values


def test_what_tensor_makes_is_never_shared() -> None:
    torch = pytest.importorskip("torch")
    column, array = Column(), np.arange(3.0)
    lenders = [column, array, array[::-1], memoryview(array), arrays.array("d", array), torch.arange(3.0).double()]
    lenders += [wf.from_numpy(array), array.view(np.ma.MaskedArray), [array, array], np.arange(3)[0]]
    for lender in lenders:
        for make in (wf.tensor, lambda o: wf.asarray(o, copy=True)):
            source = np.asarray(lender)
            x = make(lender)
            expected = x.tolist()
            assert not overlaps(x, source) and not overlaps(x, array) and not overlaps(x, column.values)
            x.numpy()[...] = -1
            assert np.asarray(lender).tolist() == expected == make(lender).tolist()


def test_no_copy_where_there_must_be_one_raises() -> None:
    array = np.arange(3.0)
    for wrong, text in (
        ([1.0], "list has no memory"),
        (1.5, "float has no memory"),
        (array[::-1], "negative strides"),
        (array.astype(">f8"), "foreign byte order"),
    ):
        with pytest.raises(ValueError, match=text):
            wf.asarray(wrong, copy=False)
    for given_ in (array, wf.from_numpy(array)):
        with pytest.raises(ValueError, match="float64 becomes float32 by a copy"):
            wf.asarray(given_, dtype="float32", copy=False)
    with pytest.raises(ValueError, match=r"negative strides \(-1,\)"):
        wf.from_dlpack(array[::-1], copy=False)
    x = wf.asarray(array)
    assert wf.asarray(x, copy=False) is x and overlaps(wf.asarray(memoryview(array), copy=False), array)


def test_buffers_are_shared() -> None:
    numbers = arrays.array("d", [1.0, 2.0])
    x = wf.asarray(numbers)
    numbers[0] = 5.0
    assert x.tolist() == [5.0, 2.0]
    x.numpy()[1] = 7.0
    assert numbers.tolist() == [5.0, 7.0]
    raw = bytearray(b"weft")
    y = wf.asarray(memoryview(raw))
    y.numpy()[0] = ord("l")
    assert raw == b"left" and not y._storage.is_read_only
    assert wf.asarray(memoryview(b"weft"))._storage.is_read_only


def test_another_library_is_asked_for_its_memory() -> None:
    """The producer hears ``copy=False``; one that does not know the argument, or DLPack 1.0, is asked without."""
    array, asked = np.arange(3.0), []

    class Peer:
        def __dlpack_device__(self) -> tuple[int, int]:
            return (1, 0)

        def __dlpack__(self, **options: Any) -> Any:
            asked.append(sorted(options))
            if not set(options) <= self.known:
                raise TypeError("unexpected keyword argument")
            return array.__dlpack__(**options)

        known: frozenset[str] = frozenset()

    for known in ((), ("max_version",), ("copy", "max_version")):
        Peer.known = frozenset(known)
        for copy in (None, False, True):
            asked.clear()
            x = wf.from_dlpack(Peer(), copy=copy)
            assert asked[-1] == [name for name in known if name != "copy" or copy is False]
            assert overlaps(x, array) is (copy is not True)


@pytest.mark.parametrize("device", ["cuda", "cuda:0", 3])
def test_memory_is_on_the_cpu(device: Any) -> None:
    x = wf.zeros((2,))
    with pytest.raises(wf.DeviceError, match="from_dlpack: device"):
        wf.from_dlpack(x, device=device)
    assert overlaps(wf.from_dlpack(x, device="cpu"), x.numpy())
    for options in ({"dl_device": (2, 0)}, {"stream": 1}):
        with pytest.raises(BufferError):
            x.__dlpack__(**options)


# ------------------------------------------------------------------------------------------------- lives


@pytest.mark.parametrize("take", [wf.from_numpy, wf.asarray, wf.from_dlpack])
def test_the_lender_goes_with_the_last_borrower(take: Callable[[Any], wf.Tensor]) -> None:
    array = np.arange(6.0).reshape(2, 3)
    watch = weakref.ref(array)
    borrowed = take(array)[1]
    lent = np.from_dlpack(borrowed.detach()).T
    del array
    gc.collect()
    assert watch() is not None and borrowed.tolist() == [3, 4, 5]
    del borrowed
    gc.collect()
    assert watch() is not None and lent.tolist() == [3, 4, 5]
    del lent
    gc.collect()
    assert watch() is None


@pytest.mark.parametrize("lend", [lambda x: x.numpy(), np.asarray, np.from_dlpack, lambda x: memoryview(x.numpy())])
def test_our_memory_goes_with_the_last_borrower(lend: Callable[[wf.Tensor], Any]) -> None:
    x = wf.zeros((2, 3)) + 1
    watch = weakref.ref(x._storage)
    lent = np.asarray(lend(x))[1:]
    del x
    gc.collect()
    assert watch() is not None and lent.tolist() == [[1, 1, 1]]
    lent[0, 0] = 5
    again = wf.from_numpy(lent)
    del lent
    gc.collect()
    assert again.tolist() == [[5, 1, 1]] and watch() is not None
    del again
    gc.collect()
    assert watch() is None


def test_torch_and_weft_write_to_one_memory() -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.arange(6.0).reshape(2, 3)
    ours = wf.from_dlpack(theirs)
    theirs.add_(1)
    assert ours.tolist() == theirs.tolist()
    write(ours, 0, np.float32(9).tobytes())
    assert theirs[0, 0] == 9 and wf.asarray(theirs.T).tolist() == theirs.T.tolist()
    back = torch.from_dlpack(ours[1])
    del ours
    gc.collect()
    back.zero_()
    assert theirs[1].tolist() == [0, 0, 0]
    x = wf.zeros((3,))
    peer = torch.from_dlpack(x)
    peer[1] = 4
    assert x.tolist() == [0, 4, 0]
    watch = weakref.ref(x._storage)
    del x
    gc.collect()
    assert peer.tolist() == [0, 4, 0] and watch() is not None
    del peer
    gc.collect()
    assert watch() is None
    copied = torch.from_dlpack(wf.zeros((2,)), copy=True)
    assert copied.tolist() == [0, 0]
    assert torch.as_tensor(wf.zeros((2,)).numpy()).add_(1).tolist() == [1, 1]


def test_layouts_that_no_tensor_has_raise() -> None:
    raw = np.zeros(33, np.uint8)
    for array, text in (
        (np.zeros(2, ">i4"), "foreign byte order"),
        (raw[1:].view(np.float64), "not aligned"),
        (np.lib.stride_tricks.as_strided(raw[:32].view(np.float16), (3,), (3,)), "not aligned|no multiples"),
        (np.zeros(3, [("a", "i4"), ("b", "i4"), ("c", "i4")]).view("i4").reshape(3, 3)[:, 0], ""),
        (np.zeros(3, np.dtype([("a", "f8"), ("b", "i4"), ("c", "i4"), ("d", "i4"), ("e", "i4")]))["a"], ""),
        (np.zeros(3, np.dtype([("a", "f4"), ("b", "i2")]))["a"], "not aligned|no multiples"),
    ):
        if text:
            with pytest.raises(ValueError, match=text):
                wf.from_numpy(array)
            assert not overlaps(wf.asarray(array), array)
        else:
            assert overlaps(wf.from_numpy(array), array)
    for wrong in (np.zeros(2, [("a", "i4")]), np.zeros(2, complex), np.array(["a"]), np.array([None])):
        with pytest.raises(TypeError):
            wf.from_numpy(wrong)


def test_captured_code_lends_nothing() -> None:
    """A tensor from outside has memory while a function is captured, but the runs to come are not about its value."""
    outside = wf.ones((2,))
    for lend in (wf.from_dlpack, np.from_dlpack, np.asarray, wf.Tensor.numpy):
        for function in (lambda x, lend=lend: lend(x), lambda x, lend=lend: (lend(outside), x)[1]):
            with pytest.raises(wf.CaptureError, match="while a function is captured"):
                wf.compile(function)(wf.ones((2,)))
