"""Memory that NumPy and weft lend each other: shared both ways and as writable as the lender's; what owns its own."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn

Lend = Callable[[Any], wf.Tensor]
LENDERS: dict[str, Lend] = {
    "from_numpy": wf.from_numpy,
    "asarray": wf.asarray,
    "asarray, no copy": lambda buf: wf.asarray(buf, copy=False),
    "from_dlpack": wf.from_dlpack,
}
LAYOUTS: dict[str, Callable[[], Any]] = {
    "plain": lambda: np.arange(6, dtype=np.float32).reshape(2, 3),
    "transposed": lambda: np.arange(6, dtype=np.float32).reshape(3, 2).T,
    "stepped": lambda: np.arange(24, dtype=np.float32).reshape(4, 6)[::2, ::2],
    "integers": lambda: np.arange(6).reshape(2, 3),
    "a number": lambda: np.array(3.0),
    "bools": lambda: np.array([[True, False, True]]),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("lend", LENDERS.values(), ids=LENDERS)
def test_arrays_are_shared_and_written_from_both_sides(lend: Lend, layout: Callable[[], Any]) -> None:
    buf = layout()
    one = buf.dtype.type(1)
    x = lend(buf)
    view = x[...]
    buf[...] = one
    assert bool((x == one.item()).all()) and bool((view == one.item()).all())
    x.zero_()
    assert not buf.any()
    view[...] = one.item()
    assert (buf == one).all()
    wf.compile(lambda given: given.zero_())(x)
    assert not buf.any()


@pytest.mark.parametrize("borrow", [lambda x: x.numpy(), np.asarray, np.from_dlpack, lambda x: x.T.numpy().T])
def test_tensors_are_shared_and_written_from_both_sides(borrow: Callable[[wf.Tensor], Any]) -> None:
    x = wf.zeros((2, 3))
    array = borrow(x)
    assert array.flags.writeable
    x.add_(1)
    assert array.tolist() == [[1.0] * 3] * 2
    array[0] = 7
    assert x.tolist() == [[7.0] * 3, [1.0] * 3]
    doubled = wf.compile(lambda: x * 2)
    assert doubled().tolist() == [[14.0] * 3, [2.0] * 3]
    array[1] = 5
    assert doubled().tolist() == [[14.0] * 3, [10.0] * 3]


def test_torch_shares_by_dlpack() -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.zeros(2, 3)
    ours = wf.from_dlpack(theirs)
    ours[0] = 1.0
    theirs[1] = 2.0
    assert theirs.tolist() == ours.tolist() == [[1.0] * 3, [2.0] * 3]
    back = torch.from_dlpack(ours.T)
    back[0] = 9.0
    assert theirs[:, 0].tolist() == ours[:, 0].tolist() == [9.0, 9.0]


# What is made of a lent tensor, or takes values from one, and owns its memory. `lent` shares with `buf`.
OWNERS: dict[str, Callable[[Any, wf.Tensor], Any]] = {
    "from_numpy(buf).clone()": lambda buf, lent: lent.clone(),
    "wf.tensor(buf)": lambda buf, lent: wf.tensor(buf),
    "asarray(buf, copy=True)": lambda buf, lent: wf.asarray(buf, copy=True),
    "x.copy_(lent)": lambda buf, lent: wf.zeros((2, 3)).copy_(lent),
    "x.copy_(buf)": lambda buf, lent: wf.zeros((2, 3)).copy_(buf),
    "x[...] = buf": lambda buf, lent: assigned(wf.zeros((2, 3)), ..., buf),
    "x[...] = lent": lambda buf, lent: assigned(wf.zeros((2, 3)), ..., lent),
    "x[:, :] = buf": lambda buf, lent: assigned(wf.zeros((2, 3)), np.s_[:, :], buf),
    "x[mask] = lent": lambda buf, lent: assigned(wf.zeros((2, 3)), wf.asarray([True, True]), lent),
    "x += lent": lambda buf, lent: wf.zeros((2, 3)).add_(lent),
    "lent * 1": lambda buf, lent: lent * 1,
    "lent.to(float64)": lambda buf, lent: lent.to(wf.float64),
    "lent.to(copy)": lambda buf, lent: lent.to(wf.float32, copy=True),
    "Parameter(asarray(buf))": lambda buf, lent: nn.Parameter(wf.asarray(buf)),
    "Parameter(a view of it)": lambda buf, lent: nn.Parameter(wf.asarray(buf)[...]),
    "p.data = asarray(buf)": lambda buf, lent: with_data(nn.Parameter(wf.zeros((2, 3))), lent),
    "x.data = asarray(buf)": lambda buf, lent: with_data(wf.zeros((2, 3)), lent),
    "register_buffer": lambda buf, lent: with_buffer(lent),
    "load_state_dict of tensors": lambda buf, lent: loaded({"weight": lent}),
    "load_state_dict of arrays": lambda buf, lent: loaded({"weight": buf}),
    "a buffer loaded": lambda buf, lent: loaded_buffer({"running": lent}),
    "stack": lambda buf, lent: wf.stack([lent])[0],
    "an integer index": lambda buf, lent: lent[[0, 1]],
}


def assigned(x: wf.Tensor, key: Any, value: Any) -> wf.Tensor:
    x[key] = value
    return x


def with_data(x: wf.Tensor, value: wf.Tensor) -> wf.Tensor:
    x.data = value
    return x


def with_buffer(value: wf.Tensor) -> wf.Tensor:
    module = nn.Module()
    module.register_buffer("running", value)
    return module.running  # type: ignore[no-any-return]


def loaded(state: dict[str, Any]) -> wf.Tensor:
    module = nn.Linear(3, 2, bias=False)
    module.load_state_dict(state)
    return module.weight


def loaded_buffer(state: dict[str, Any]) -> wf.Tensor:
    module = nn.Module()
    module.register_buffer("running", wf.zeros((2, 3)))
    module.load_state_dict(state)
    return module.running  # type: ignore[no-any-return]


@pytest.mark.parametrize("make", OWNERS.values(), ids=OWNERS)
def test_what_owns_its_memory_keeps_its_values(make: Callable[[Any, wf.Tensor], Any]) -> None:
    buf = np.arange(6, dtype=np.float32).reshape(2, 3)
    lent = wf.from_numpy(buf)
    made = make(buf, lent)
    buf[...] = -1
    assert made.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    with wf.no_grad():
        made.fill_(9)
    assert (buf == -1).all()


def test_what_weft_owns_is_shared_where_pytorch_shares_it() -> None:
    x, module = wf.zeros((2, 3)), nn.Module()
    p = nn.Parameter(x)
    module.register_buffer("running", x)
    q = nn.Parameter(wf.ones((2, 3)))
    q.data = x
    x.fill_(4)
    for other in (p, q, module.running):
        assert other.tolist() == [[4.0] * 3] * 2
    q.data.zero_()
    assert x.tolist() == p.tolist() == [[0.0] * 3] * 2


# --- read-only ----------------------------------------------------------------------------------------------------


def locked() -> Any:
    """An array that may not be written."""
    buf = np.arange(6, dtype=np.float32).reshape(2, 3)
    buf.flags.writeable = False
    return buf


@pytest.mark.parametrize("lend", LENDERS.values(), ids=LENDERS)
def test_read_only_memory_refuses_to_be_written_and_says_whose_line_it_was(lend: Lend) -> None:
    x = lend(locked())
    writes: list[Callable[[wf.Tensor], Any]] = [
        lambda t: t.add_(1), lambda t: t[0].zero_(), lambda t: t.T.copy_(t.T), lambda t: assigned(t, 0, 1.0),
        lambda t: assigned(t, wf.asarray([0]), 1.0), lambda t: t.detach().mul_(2), lambda t: t.data.fill_(1),
    ]  # fmt: skip
    for write in writes:
        for run in (write, wf.compile(write)):
            with pytest.raises(wf.WeftError, match="read-only") as caught:
                run(x)
            assert f"{__file__}:" in str(caught.value)
    assert x.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert (x + 1).sum().item() == 21.0


def test_read_only_is_passed_on() -> None:
    x = wf.from_numpy(locked())
    assert not x.numpy().flags.writeable and not x[0].numpy().flags.writeable
    assert not np.asarray(x).flags.writeable
    assert not np.from_dlpack(x).flags.writeable  # DLPack's own flag
    assert x.clone().numpy().flags.writeable and (x * 1).numpy().flags.writeable
    assert not wf.from_dlpack(np.from_dlpack(x)).numpy().flags.writeable


def test_a_read_only_file_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "values.npy"
    np.save(path, np.arange(6, dtype=np.float32))
    x = wf.from_numpy(np.load(path, mmap_mode="r"))
    assert x.sum().item() == 15.0
    with pytest.raises(wf.WeftError, match="read-only"):
        x.zero_()
    y = wf.from_numpy(np.load(path, mmap_mode="r+"))
    y.zero_()
    assert not np.load(path).any()


def test_a_parameter_of_read_only_memory_can_be_trained() -> None:
    p = nn.Parameter(wf.from_numpy(locked()))
    p.sum().backward()
    with wf.no_grad():
        p -= p.grad
    assert p.tolist() == [[-1.0, 0.0, 1.0], [2.0, 3.0, 4.0]]


# --- lifetimes ----------------------------------------------------------------------------------------------------


def test_lent_memory_outlives_its_lender() -> None:
    buf = np.full((1000,), 3.0)
    row = wf.from_numpy(buf)[10:20]
    del buf
    gc.collect()
    np.ones(1000)  # what would take the memory
    assert row.tolist() == [3.0] * 10
    row.mul_(2)
    array = row.numpy()
    del row
    gc.collect()
    assert array.tolist() == [6.0] * 10


def test_memory_that_weft_lent_outlives_the_tensor() -> None:
    x = wf.full((1000,), 3.0)
    array, peer = x[10:20].numpy(), np.from_dlpack(x[20:])
    del x
    gc.collect()
    wf.ones((1000,))
    array += 1
    assert array.tolist() == [4.0] * 10 and (peer == 3).all()
