"""Packed sequences: packing and unpacking are inverse, eagerly and compiled, and gradients move as elements do."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from few_examples import few
from hypothesis import strategies as st

import weft as wf
from weft import nn

rnn = nn.utils.rnn
RNG = np.random.default_rng(0)


def sequences(lengths: list[int], *rest: int) -> list[Any]:
    return [wf.asarray(RNG.normal(size=(n, *rest)).astype(np.float32)) for n in lengths]


def bits(tensors: Any) -> list[Any]:
    return [None if t is None else (t.shape, t.numpy().tobytes()) for t in tensors]


lengths_ = st.lists(st.integers(1, 6), min_size=1, max_size=7)


@few(8, 75, lengths_)
def test_unpacking_gives_what_was_packed(lengths: list[int]) -> None:
    given_ = sequences(lengths, 2)
    packed = rnn.pack_sequence(given_, enforce_sorted=False)
    order = sorted(range(len(lengths)), key=lambda n: -lengths[n])
    assert packed.sorted_indices.tolist() == order
    assert packed.batch_sizes.tolist() == [sum(n > t for n in lengths) for t in range(max(lengths))]
    rows = [given_[n][t].tolist() for t in range(max(lengths)) for n in order if lengths[n] > t]
    assert packed.data.tolist() == rows
    assert bits(rnn.unpack_sequence(packed)) == bits(given_)
    padded, counts = rnn.pad_packed_sequence(packed)
    assert counts.tolist() == lengths and bits([padded]) == bits([rnn.pad_sequence(given_)])
    assert bits(rnn.unpad_sequence(padded, counts)) == bits(given_)


@pytest.mark.parametrize("is_sorted", [False, True])
def test_compiled_as_eager(is_sorted: bool) -> None:
    def f(x: Any, lengths: Any) -> Any:
        packed = rnn.pack_padded_sequence(x * 2.0, lengths, True, is_sorted)
        padded, counts = rnn.pad_packed_sequence(packed, True, -1.0)
        padded.sum().backward()
        return packed, padded, counts

    run = wf.compile(f)
    for lengths in ([5, 3, 2, 2], [6, 3, 1, 1], [4, 4, 2]):
        x = wf.asarray(RNG.normal(size=(len(lengths), 6, 2)).astype(np.float32))
        found = []
        for function in (f, run):
            leaf = x.clone().requires_grad_()
            packed, padded, counts = function(leaf, wf.asarray(lengths if is_sorted else lengths[::-1]))
            assert isinstance(packed, rnn.PackedSequence)
            found.append(bits([*packed, padded, counts, leaf.grad]))
        assert found[0] == found[1]


def test_lengths_that_are_wrong_are_wrong_at_each_run() -> None:
    run = wf.compile(lambda x, lengths: rnn.pack_padded_sequence(x, lengths).data)
    x = wf.ones((3, 2))
    assert run(x, wf.asarray([3, 1])).shape == (4,)
    for lengths, text in (([1, 0], "0 or less"), ([1, 2], "grow"), ([4, 1], "greater than 3")):
        for function in (run, lambda x, n: rnn.pack_padded_sequence(x, n)):
            with pytest.raises(wf.ArgumentError, match=text) as caught:
                function(x, wf.asarray(lengths))
            assert "test_rnn.py" in str(caught.value)


def test_a_packed_sequence_goes_into_and_out_of_compiled_functions() -> None:
    packed = rnn.pack_sequence(sequences([3, 1, 2], 2), enforce_sorted=False)
    run = wf.compile(lambda p: p._replace(data=p.data * 2.0))
    again = run(packed)
    assert type(again) is rnn.PackedSequence and bits([again.data]) == bits([packed.data * 2.0])
    assert bits(again[1:]) == bits(packed[1:])


def test_padding_gets_no_gradient() -> None:
    x = wf.ones((3, 2)).requires_grad_()
    rnn.pack_padded_sequence(x, [3, 1]).data.sum().backward()
    assert x.grad.tolist() == [[1.0, 1.0], [1.0, 0.0], [1.0, 0.0]]
    packed = rnn.pack_padded_sequence(x.detach(), [3, 1])
    data = packed.data.requires_grad_()
    padded, _ = rnn.pad_packed_sequence(packed._replace(data=data), padding_value=5.0, total_length=4)
    assert padded.tolist() == [[1.0, 1.0], [1.0, 5.0], [1.0, 5.0], [5.0, 5.0]]
    padded.sum().backward()
    assert data.grad.tolist() == [1.0] * 4


def test_total_length_is_a_size_in_captured_code() -> None:
    """A mask of attention stands beside what was unpacked to the length that the batch had."""

    def masked(x: wf.Tensor, lengths: wf.Tensor) -> wf.Tensor:
        packed = rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        padded, _ = rnn.pad_packed_sequence(packed, total_length=x.shape[0])
        return padded * wf.ones((4, 3))

    compiled, x = wf.compile(masked), wf.reshape(wf.arange(12.0), (4, 3))
    for lengths in ([2, 3, 1], [4, 1, 2], [1, 1, 1]):
        assert bits([compiled(x, wf.asarray(lengths))]) == bits([masked(x, wf.asarray(lengths))])


def test_conversions() -> None:
    packed = rnn.pack_sequence([wf.asarray([1.5, 2.0]), wf.asarray([3.0])])
    assert packed.to("float32") is packed and packed.cpu() is packed
    for found, dtype in (
        (packed.double(), wf.float64),
        (packed.half(), wf.float16),
        (packed.float(), wf.float32),
        (packed.long(), wf.int64),
        (packed.int(), wf.int32),
        (packed.to(dtype=wf.bfloat16), wf.bfloat16),
    ):
        assert type(found) is rnn.PackedSequence and found.data.dtype is dtype
        assert found.batch_sizes is packed.batch_sizes
    again = pickle.loads(pickle.dumps(packed))
    assert type(again) is rnn.PackedSequence and bits(again) == bits(packed)


def test_made_by_hand() -> None:
    data, sizes, order = wf.arange(4), wf.asarray([2, 1, 1]), wf.asarray([1, 0])
    for packed in (rnn.PackedSequence(data, sizes, order), rnn.PackedSequence((data, sizes), None, order)):
        assert packed.data is data and packed.batch_sizes is sizes and packed.unsorted_indices.tolist() == [1, 0]
    with pytest.raises(wf.ArgumentError, match="the pair"):
        rnn.PackedSequence(data)


def test_lengths_may_be_of_any_integers() -> None:
    x = wf.ones((3, 2))
    wanted = bits(rnn.pack_padded_sequence(x, [3, 1]))
    for lengths in (wf.asarray([3, 1], dtype="uint8"), wf.asarray([3, 1], dtype="int32"), (3, 1), np.array([3, 1])):
        assert bits(rnn.pack_padded_sequence(x, lengths)) == wanted
    with pytest.raises(wf.DTypeError, match="float32"):
        rnn.pack_padded_sequence(x, wf.asarray([3.0, 1.0]))


def test_pad_sequence_of_any_lengths_compiled() -> None:
    run = wf.compile(lambda a, b: rnn.pad_sequence([a, b], padding_value=2.0, padding_side="left"))
    for n, m in ((2, 3), (4, 3), (5, 5), (0, 2)):
        a, b = sequences([n, m], 2)
        assert bits([run(a, b)]) == bits([rnn.pad_sequence([a, b], padding_value=2.0, padding_side="left")])
