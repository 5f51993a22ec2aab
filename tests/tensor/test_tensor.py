"""The Tensor object: data in and out, operators, in-place forms, errors."""

from __future__ import annotations

import copy
import sys
import weakref
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import weft as wf
from weft.tensor import calls, dispatch, tape
from weft.tensor import tensor as tensor_module

NUMPY_DTYPES = [
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
]


@given(st.sampled_from(NUMPY_DTYPES).flatmap(lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, min_side=0))))
def test_numpy_arrays_come_and_go_unchanged(array: np.ndarray[Any, Any]) -> None:
    for tensor in (wf.asarray(array), wf.tensor(array), wf.from_numpy(array)):
        back = tensor.numpy()
        assert back.dtype == array.dtype and back.shape == array.shape
        assert back.tobytes() == array.tobytes()


def test_asarray_shares_memory_and_tensor_does_not() -> None:
    array = np.arange(4.0)
    shared, owned = wf.asarray(array), wf.tensor(array)
    array[0] = 7.0
    assert shared.tolist() == [7.0, 1.0, 2.0, 3.0] and owned.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_dlpack_shares_memory_with_numpy() -> None:
    x = wf.asarray(np.arange(6.0).reshape(2, 3))
    back = np.from_dlpack(x)
    assert back.tolist() == x.tolist() and back.ctypes.data == x.numpy().ctypes.data
    array = np.arange(4, dtype=np.int32)
    assert wf.from_dlpack(array).numpy().ctypes.data == array.ctypes.data


def test_strided_arrays_keep_their_strides() -> None:
    array = np.arange(24.0).reshape(4, 6)
    for view in (array.T, array[::2, 1::3], array[:, ::-1], array[1], np.broadcast_to(array[0], (3, 6))):
        assert wf.asarray(view).numpy().tolist() == view.tolist()
        assert (wf.asarray(view) * 2.0).numpy().tolist() == (view * 2).tolist()


def test_python_values_get_the_default_dtypes() -> None:
    assert wf.asarray(1.5).dtype is wf.float32 and wf.asarray(1).dtype is wf.int64
    assert wf.asarray(True).dtype is wf.bool and wf.asarray([]).dtype is wf.float32
    assert wf.asarray([1, 2.5]).tolist() == [1.0, 2.5]
    assert wf.asarray([wf.asarray(1.0), wf.asarray(2.0)]).tolist() == [1.0, 2.0]
    assert wf.asarray(np.asarray([1.5], ml_dtypes.bfloat16)).dtype is wf.bfloat16


def test_data_that_is_no_tensor_is_refused() -> None:
    with pytest.raises(wf.ShapeError, match="ragged"):
        wf.asarray([[1, 2], [3]])
    with pytest.raises(wf.DTypeError, match="not real numbers"):
        wf.asarray(["a"])
    with pytest.raises(wf.DTypeError, match="300 does not fit uint8"):
        wf.asarray([300], dtype=wf.uint8)
    with pytest.raises(wf.DTypeError, match="-1 does not fit uint8"):
        wf.asarray([-1], dtype=wf.uint8)


def test_numpy_arrays_share_the_memory() -> None:
    x = wf.zeros(3)
    seen = x.numpy()
    seen[0] = 1.0
    x += 1.0
    assert seen.tolist() == x.tolist() == [2.0, 1.0, 1.0]


def test_views_share_memory() -> None:
    x = wf.asarray([[1.0, 2.0], [3.0, 4.0]])
    row, turned = x[0], x.T
    x += 10.0
    assert row.tolist() == [11.0, 12.0] and turned.tolist() == [[11.0, 13.0], [12.0, 14.0]]
    row += 100.0
    assert x.tolist() == [[111.0, 112.0], [13.0, 14.0]]


def test_item_assignment_writes_through() -> None:
    x = wf.zeros((3, 4))
    before = x.detach()
    x[1] = 5.0
    x[:, 2] = wf.asarray([7.0, 8.0, 9.0])
    x[wf.asarray([0]), wf.asarray([0])] = -1.0
    x[x == 5.0] = 6.0
    assert x.tolist() == [[-1, 0, 7, 0], [6, 6, 8, 6], [0, 0, 9, 0]] and before.tolist() == x.tolist()


def test_in_place_forms_keep_the_type() -> None:
    x = wf.asarray([1, 2, 3])
    x += 1
    assert x.dtype is wf.int64 and x.tolist() == [2, 3, 4]
    with pytest.raises(wf.DTypeError, match="the result is float32, which a tensor of int64 cannot hold"):
        x += 1.5
    assert x.tolist() == [2, 3, 4]
    y = wf.ones(3)
    with pytest.raises(wf.ShapeError, match=r"result has shape \(2, 3\)"):
        y += wf.ones((2, 3))
    with pytest.raises(wf.ShapeError, match="assign"):
        y.assign(wf.ones(4))
    with pytest.raises(wf.DTypeError, match="cast it first"):
        y.assign(wf.ones(3, dtype=wf.float64))


def test_python_numbers_take_the_tensors_dtype() -> None:
    for name in ("float16", "bfloat16", "float32", "float64", "int8", "uint8", "int64"):
        x = wf.ones(3, dtype=getattr(wf, name))
        assert (x + 1).dtype is x.dtype and (2 * x).dtype is x.dtype and (x - True).dtype is x.dtype
    assert (wf.ones(3, dtype=wf.int8) * 1.5).dtype is wf.float32
    assert (wf.ones(3, dtype=wf.bool) + 1).dtype is wf.int64
    assert (1.0 / wf.asarray([0.0, -0.0])).tolist() == [float("inf"), float("-inf")]
    assert (
        np.signbit((wf.asarray([1.0]) * -0.0).numpy()).all() and not np.signbit((wf.asarray([1.0]) * 0.0).numpy()).any()
    )


def test_operators_refuse_what_they_do_not_know() -> None:
    with pytest.raises(TypeError):
        wf.ones(2) + "a"
    with pytest.raises(TypeError):
        wf.ones(2) @ None
    assert (wf.ones(2) == "a") is False


def test_numpy_arrays_meet_tensors_on_either_side() -> None:
    a = np.asarray([1.0, 2.0], np.float32)
    assert isinstance(wf.ones(2) + a, wf.Tensor) and isinstance(a + wf.ones(2), wf.Tensor)
    assert (a @ wf.ones((2, 2))).tolist() == [3.0, 3.0]


def test_scalars_convert_and_others_do_not() -> None:
    assert float(wf.asarray(2.5)) == 2.5 and int(wf.asarray(7)) == 7 and bool(wf.asarray(1.0))
    assert [10, 20, 30][wf.asarray(1)] == 20
    with pytest.raises(wf.ShapeError, match="6 elements"):
        wf.ones((2, 3)).item()
    with pytest.raises(TypeError):
        len(wf.asarray(1.0))


def test_iteration_and_len() -> None:
    assert [row.tolist() for row in wf.asarray([[1, 2], [3, 4]])] == [[1, 2], [3, 4]]
    assert len(wf.zeros((5, 2))) == 5


def test_copies_are_independent() -> None:
    p = wf.tensor([1.0, 2.0], requires_grad=True)
    q = copy.deepcopy(p)
    with wf.no_grad():
        q += 1.0
    assert q.requires_grad and p.tolist() == [1.0, 2.0] and q.tolist() == [2.0, 3.0]
    r = p.clone()
    assert r.requires_grad and not r.is_leaf


def test_methods_take_pytorchs_and_numpys_names() -> None:
    x = wf.asarray([[1.0, 5.0, 2.0], [7.0, 0.0, 3.0]])
    assert x.sum(1).tolist() == x.sum(dim=1).tolist() == x.sum(axis=1).tolist() == [8.0, 10.0]
    assert x.mean(0, True).shape == x.mean(dim=0, keepdim=True).shape == (1, 3)
    assert x.max(1).indices.tolist() == [1, 0] and x.max(dim=1)[0].tolist() == [5.0, 7.0]
    assert x.max(axis=1).tolist() == [5.0, 7.0] and x.max().item() == 7.0
    assert x.max(wf.full((2, 3), 4.0)).tolist() == [[4.0, 5.0, 4.0], [7.0, 4.0, 4.0]]
    assert x.argmax(1).tolist() == [1, 0] and x.cumsum(0).tolist() == [[1, 5, 2], [8, 5, 5]]
    assert x.std().item() == pytest.approx(np.std(x.numpy(), ddof=1)), "PyTorch's default"
    assert wf.std(x).item() == pytest.approx(np.std(x.numpy())), "the Array API's default"
    assert x.flip(0)[0, 0].item() == 7.0 and x.flip(0, 1)[0, 0].item() == 3.0
    assert x.unsqueeze(0).squeeze(0).shape == (2, 3)


def test_pytorchs_in_place_methods_rebind() -> None:
    x = wf.ones(3)
    before = x.detach()
    x.add_(2.0).mul_(2.0).sub_(wf.ones(3), alpha=2).div_(4)
    assert x.tolist() == [1.0] * 3 and before.tolist() == [1.0] * 3
    x.copy_(np.arange(3)), x.clamp_(max=1.5)
    assert x.tolist() == [0.0, 1.0, 1.5] and x.fill_(7).tolist() == [7.0] * 3
    p = wf.tensor([1.0, 2.0], requires_grad=True)
    p.data = p.data * 3.0
    assert p.tolist() == [3.0, 6.0] and p.requires_grad and p.norm().item() == pytest.approx(45**0.5)
    assert p.new_zeros(2, 2).tolist() == [[0.0, 0.0]] * 2 and p.repeat(2).tolist() == [3.0, 6.0, 3.0, 6.0]
    assert wf.asarray([[1, 2], [3, 4]]).gather(1, wf.asarray([[1], [0]])).tolist() == [[2], [3]]
    assert p.detach().allclose(wf.asarray([3.0, 6.0])) and p.view_as(wf.ones((2, 1))).shape == (2, 1)


def test_size_is_a_number_and_can_be_called() -> None:
    x = wf.ones((2, 3))
    assert x.size == 6 and x.size() == (2, 3) and x.size(-1) == 3 and x.numel() == 6
    assert x.size(dim=1) == x.size(axis=1) == 3


def test_symbolic_sizes_are_asked_for_in_the_same_ways(tmp_path: Path) -> None:
    def function(x: Any) -> Any:
        assert x.size() == x.shape and len(x.size()[1:]) == 2 and x.numel() == x.nelement() == x.size
        assert x.numel() / x.size(0) == 12.0
        return x.view(x.size(0), x.size(1) * x.size(dim=2)).reshape(x.numel() // x.size(2), -1)

    wf.save(function, tmp_path / "f.onnx", example=wf.ones((2, 3, 4)), dynamic={"batch": (0, 0)})
    assert wf.load(tmp_path / "f.onnx")(wf.ones((5, 3, 4))).shape == (15, 4)  # type: ignore[operator]
    with pytest.raises(wf.CaptureError, match=r"the size 12\*batch is symbolic"):
        wf.save(lambda x: x / (x.numel() / 3), tmp_path / "g.onnx", example=wf.ones((2, 12)), dynamic={"batch": (0, 0)})


def test_repr() -> None:
    assert repr(wf.asarray([1.0, 2.0])) == "Tensor([1., 2.], dtype=float32)"
    assert repr(wf.tensor([1.0], requires_grad=True)) == "Tensor([1.], dtype=float32, requires_grad=True)"
    assert repr(wf.asarray(3)) == "Tensor(3, dtype=int64)"
    assert "bfloat16" in repr(wf.ones(2, dtype=wf.bfloat16))


def test_errors_name_the_users_line() -> None:
    with pytest.raises(wf.ShapeError) as caught:
        wf.ones((32, 784)) @ wf.ones((785, 128))
    message = str(caught.value)
    assert "matmul: (32, 784) @ (785, 128): inner dimensions 784 and 785 differ" in message
    assert f"{__file__}:{caught.value.where[1]}" in message  # type: ignore[index]


def test_indices_out_of_range_raise_and_read_nothing() -> None:
    x = wf.ones((3, 4))
    with pytest.raises(IndexError, match="index 3 is out of range for axis 0 of size 3"):
        x[3]
    for bad in (3, -4, 1 << 40):
        with pytest.raises(IndexError, match=f"index {bad} is out of range for axis 0 of size 3"):
            wf.take(x, wf.asarray([0, bad]), axis=0)


def test_nan_and_inf_go_through() -> None:
    x = wf.asarray([float("nan"), float("inf"), -float("inf"), 0.0])
    assert np.isnan(wf.sum(x).item()) and np.isnan(wf.max(x).item())
    assert (x + 1.0).tolist()[1:] == [float("inf"), -float("inf"), 1.0]
    assert (x == x).tolist() == [False, True, True, True]


def test_the_memory_limit_is_an_error_that_says_what_to_do() -> None:
    held = wf.memory.stats().current
    wf.memory.set_limit(held + (32 << 20))
    try:
        with pytest.raises(wf.OutOfMemoryError, match="limit"):
            wf.ones((64, 1 << 20))
        assert wf.ones((1 << 18,)).sum().item() == 1 << 18
    finally:
        wf.memory.set_limit(None)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (0, 3), (1,), (1, 1, 1)])
def test_small_and_empty_shapes_work_everywhere(shape: tuple[int, ...]) -> None:
    x = wf.ones(shape)
    assert (x + x * 2.0).numpy().tolist() == (np.ones(shape) * 3).tolist()
    assert wf.sum(x).item() == np.prod(shape)
    assert wf.exp(x).shape == shape and wf.reshape(x, (-1,)).size == x.size if x.size else True
    assert wf.concat([wf.reshape(x, (x.size,)), wf.ones(2)]).size == x.size + 2
    if shape and shape[-1]:
        assert wf.matmul(x, wf.ones((shape[-1], 2))).shape == (*shape[:-1], 2)


def test_a_gradient_is_not_the_callers_object() -> None:
    x, given = wf.tensor([1.0, 1.0], requires_grad=True), wf.ones((2,))
    x.backward(given)
    x.grad.zero_()
    assert given.tolist() == [1.0, 1.0]


def test_numbers_are_formatted_like_numbers() -> None:
    assert f"{wf.asarray(1.25):.1f} {wf.asarray(3)}" == "1.2 3"
    assert f"{wf.asarray([1.0])}" == repr(wf.asarray([1.0]))


def test_dlpack_takes_the_standards_keywords() -> None:
    x = wf.ones((2,))
    assert np.shares_memory(np.from_dlpack(x), x.numpy())
    assert not np.shares_memory(np.from_dlpack(x, copy=True), x.numpy())
    assert np.from_dlpack(x, device="cpu").tolist() == [1.0, 1.0]
    assert x.__dlpack__(stream=None) is not None
    with pytest.raises(BufferError, match="no stream"):
        x.__dlpack__(dl_device=(2, 0))


def test_numpys_reductions_take_tensors() -> None:
    values = np.asarray([[1.0, 4.0], [2.0, 2.0]], np.float32)
    x = wf.asarray(values)
    for reduce in (np.sum, np.mean, np.max, np.min, np.std, np.var, np.prod, np.any, np.all):
        assert np.allclose(reduce(x, axis=1).numpy(), reduce(values, axis=1))


@pytest.mark.parametrize("target", [wf.float64, "float64", float, np.float64, wf.ones((), dtype=wf.float64)])
def test_to_takes_every_spelling_of_a_dtype(target: Any) -> None:
    wanted = wf.float32 if target is float else wf.float64
    assert wf.ones((2,), dtype=wf.float16).to(target).dtype is wanted
    assert wf.ones(2).to("cpu", "int8").dtype is wf.int8
    with pytest.raises(wf.DeviceError, match="'tpu' is not available"):
        wf.ones(2).to("tpu")


def test_a_tensor_of_the_dtype_is_itself_as_in_pytorch() -> None:
    x = wf.tensor([1.0, 2.0], requires_grad=True)
    assert x.float() is x and x.to(wf.float32) is x and x.to("cpu", wf.float32) is x and x.type_as(x) is x
    assert x.to(wf.float32, copy=True) is not x and wf.astype(x, wf.float32) is not x
    (x.float() * 3.0).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [3.0, 3.0]


CALLS: dict[str, Any] = {
    "relu": lambda x: x.relu(),
    "softmax": lambda x: x.softmax(0),
    "split": lambda x: x.split([1, 4]),
    "view": lambda x: x.view(5, 1),
    "sum": lambda x: x.sum(),
    "add_": lambda x: x.add_(x.sum()),
    "zero_": lambda x: x.zero_(),
    "where": lambda x: wf.where(x > 0, x, 1.0),
    "backward": lambda x: x.detach().requires_grad_().softmax(0).relu().sum().backward(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_nothing_holds_an_operand_after_the_call(call: Any) -> None:
    """A plan is kept for the next call of the same signature, and not the tensors that it was made for."""
    for dtype in (wf.float32, wf.float64):
        x = wf.ones((5,), dtype=dtype)
        gone, memory = weakref.ref(x), x._storage
        call(x)
        held = sys.getrefcount(memory)
        del x
        assert gone() is None
        assert sys.getrefcount(memory) == held - 1


def test_tensors_are_made_natively_and_as_in_python() -> None:
    """From the first tensor on all modules make tensors by the native function, whose parts are those of Python's."""
    x = wf.ones((2,))
    storage, spec, node = x._storage, x._spec, object()
    for module in (tensor_module, calls, dispatch, tape):
        assert module.make.__class__.__name__ == "builtin_function_or_method", module
    slow = tensor_module.make_in_steps(storage, spec, node, 3)
    before = [sys.getrefcount(o) for o in (storage, spec, node)]
    quick = tensor_module.make(storage, spec, node, 3)
    assert [sys.getrefcount(o) for o in (storage, spec, node)] == [n + 1 for n in before]
    for name in wf.Tensor.__slots__:
        if name != "__weakref__":
            assert getattr(quick, name) is getattr(slow, name), name
    gone = weakref.ref(quick)
    del quick
    assert gone() is None and [sys.getrefcount(o) for o in (storage, spec, node)] == before
    for wrong in ((), (storage, spec, node), (storage, spec, node, 3, 4)):
        with pytest.raises(TypeError):
            tensor_module.make(*wrong)


def shifted(x: wf.Tensor) -> wf.Tensor:
    if 3.0 in x:
        x = x + 1
    found = wf.max(x) in x and 100 not in x
    return x * 2 if found else x * 0


def test_whether_a_value_is_in_a_tensor_decides_in_compiled_code_too() -> None:
    compiled = wf.compile(shifted)
    for rows in ([[3.0, 1.0], [2.0, 0.0]], [[2.0, 1.0], [2.0, 0.0]], [[99.0, 3.0], [0.0, 0.0]]):
        x = wf.tensor(rows)
        assert compiled(x).tolist() == shifted(x).tolist()


def test_a_value_in_a_tensor_is_refused_where_source_is_not_rewritten() -> None:
    names: dict[str, Any] = {}
    exec("def run(x): return x + 1 if 3.0 in x else x", names)
    with pytest.raises(wf.CaptureError, match="Python control flow"):
        wf.compile(names["run"])(wf.ones((2, 2)))
