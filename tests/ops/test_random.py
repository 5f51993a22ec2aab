"""Random numbers: Philox's published answers, one stream in every mode, and the distributions that are promised."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from op_cases import FLOATS, INTEGERS, numpy_dtype, same_bits

import weft as wf
from weft.ops.op import apply, composite
from weft.ops.random import RANDOM_BITS

# Random123's kat_vectors: counter, key, result of philox4x32-10.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@composite
def words(index: Any, key: Any, draw: Any) -> tuple[Any, ...]:
    return tuple(apply(RANDOM_BITS, index, key, draw, word=w) for w in range(4))


def pairs(text: str) -> list[Any]:
    """uint64 tensors of two 32-bit words each, the low one first."""
    numbers = [int(word, 16) for word in text.split()]
    return [wf.asarray(np.asarray([low | high << 32], np.uint64)) for low, high in zip(numbers[::2], numbers[1::2])]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_philox_known_answers(counter: str, key: str, expected: str) -> None:
    index, draw = pairs(counter)
    assert " ".join(f"{w.item():08x}" for w in words(index, *pairs(key), draw)) == expected


def philox_of_python(index: int, key: int, draw: int) -> list[int]:
    """The generator again, in Python's integers."""
    mask = 0xFFFFFFFF
    c = [index & mask, index >> 32, draw & mask, draw >> 32]
    k = [key & mask, key >> 32]
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [b >> 32 ^ c[1] ^ k[0], b & mask, a >> 32 ^ c[3] ^ k[1], a & mask]
        k = [k[0] + 0x9E3779B9 & mask, k[1] + 0xBB67AE85 & mask]
    return c


def test_the_stream_is_defined_by_seed_draw_and_position() -> None:
    seed = 0x123456789ABCDEF
    generator = wf.random.Generator(seed)
    for draw in (1, 2):
        expected = [(philox_of_python(i, seed, draw)[0] >> 8) * 2.0**-24 for i in range(100)]
        same_bits(generator.uniform((20, 5)), np.asarray(expected, np.float32).reshape(20, 5))
    expected = [(lambda w: (w[1] << 32 | w[0]) * 10 >> 64)(philox_of_python(i, seed, 3)) for i in range(40)]
    same_bits(generator.integers(10, shape=40), np.asarray(expected))


DRAWS: dict[str, Callable[[Any], Any]] = {
    "uniform": lambda g: g.uniform((7, 5), -1.0, 3.0),
    "uniform64": lambda g: g.uniform(33, dtype=wf.float64),
    "normal": lambda g: g.normal((100,), 1.0, 2.0),
    "normal64": lambda g: g.normal((3, 3), dtype=wf.float64),
    "integers": lambda g: g.integers(-3, 1000, 50),
    "bernoulli": lambda g: g.bernoulli(0.25, (64,)),
    "permutation": lambda g: g.permutation(37),
    "permutation of rows": lambda g: g.permutation(wf.reshape(wf.arange(20), (10, 2))),
}


@pytest.mark.parametrize("name", DRAWS)
def test_compiled_equals_eager_in_bits(name: str) -> None:
    eager, captured = wf.random.Generator(11), wf.random.Generator(11)
    draw = wf.compile(lambda: DRAWS[name](captured))
    for _ in range(3):
        same_bits(draw(), DRAWS[name](eager).numpy())
    same_bits(captured.state, eager.state.numpy())


@pytest.mark.parametrize("name", DRAWS)
def test_seeds_repeat_and_draws_differ(name: str) -> None:
    generator = wf.random.Generator(5)
    first, second = DRAWS[name](generator).numpy(), DRAWS[name](generator).numpy()
    assert not np.array_equal(first, second)
    same_bits(DRAWS[name](generator.seed(5)), first)
    assert not np.array_equal(DRAWS[name](wf.random.Generator(6)).numpy(), first)


def test_default_generator() -> None:
    wf.random.seed(3)
    first = [
        wf.random.uniform(4),
        wf.random.normal(4),
        wf.random.integers(9, shape=4),
        wf.random.bernoulli(0.5, 4),
        wf.random.permutation(4),
    ]
    wf.manual_seed(3)
    assert wf.random.default_generator().state.tolist() == [3, 0]
    again = [
        wf.random.uniform(4),
        wf.random.normal(4),
        wf.random.integers(9, shape=4),
        wf.random.bernoulli(0.5, 4),
        wf.random.permutation(4),
    ]
    for a, b in zip(first, again):
        same_bits(a, b.numpy())
    assert wf.random.Generator(-1).state.tolist() == [2**64 - 1, 0]


def test_state_takes_the_stream_up_again() -> None:
    generator = wf.random.Generator(8)
    generator.uniform(3)
    kept = wf.asarray(generator.state.numpy().copy())
    expected = generator.normal(10).numpy()
    other = wf.random.Generator(0)
    other.state.assign(kept)
    same_bits(other.normal(10), expected)


def test_generators_of_captured_functions() -> None:
    """One made inside begins anew at each call, as it does eagerly; so does one that is seeded inside."""

    def draw() -> Any:
        own = wf.random.Generator(3)
        wf.random.seed(4)
        return own.uniform(3), own.permutation(4), wf.random.uniform(2)

    compiled = wf.compile(draw)
    for _ in range(2):
        for actual, expected in zip(compiled(), draw()):
            same_bits(actual, expected.numpy())


def test_threads_do_not_matter() -> None:
    before = wf.get_num_threads()
    try:
        drawn = []
        for threads in (1, 2):
            wf.set_num_threads(threads)
            drawn.append(wf.random.Generator(1).normal(300_000).numpy())
        same_bits(drawn[0], drawn[1])
    finally:
        wf.set_num_threads(before)


# --- distributions: fixed seeds, so that a bound that holds holds for ever -----------------------------------------

COUNT = 100_000


def kolmogorov_smirnov(sample: Any, distribution: Callable[[Any], Any]) -> float:
    """sqrt(n) times the greatest distance between the sample's distribution and the given one."""
    ordered = np.sort(sample.astype(np.float64).ravel())
    n = ordered.size
    exact = distribution(ordered)
    steps = np.arange(n + 1) / n
    return float(max(np.abs(exact - steps[1:]).max(), np.abs(exact - steps[:-1]).max()) * math.sqrt(n))


def normal_distribution(x: Any) -> Any:
    return 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uniform_is_uniform(dtype: str) -> None:
    x = wf.random.Generator(1).uniform(COUNT, -2.0, 6.0, dtype=dtype).numpy()
    assert x.min() >= -2 and x.max() < 6
    assert kolmogorov_smirnov(x, lambda v: (v + 2) / 8) < 1.63  # the 1 % point
    assert abs(np.corrcoef(x[1:], x[:-1])[0, 1]) < 0.01


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normal_is_normal(dtype: str) -> None:
    x = wf.random.Generator(2).normal(COUNT, dtype=dtype).numpy().astype(np.float64)
    assert kolmogorov_smirnov(x[:20_000], normal_distribution) < 1.63
    assert abs(x.mean()) < 0.01 and abs(x.var() - 1) < 0.02
    assert abs((x**3).mean()) < 0.03 and abs((x**4).mean() - 3) < 0.1
    assert 4 < np.abs(x).max() < 6.8
    moved = wf.random.Generator(2).normal(COUNT, 3.0, 0.5, dtype=dtype).numpy().astype(np.float64)
    np.testing.assert_allclose(moved, x * 0.5 + 3, rtol=1e-6)


@pytest.mark.parametrize("dtype", FLOATS)
def test_uniform_stays_below_its_bound(dtype: str) -> None:
    for low, high in ((0.0, 1.0), (1.0, 1.0 + 2**-6), (-1.0, 0.0), (0.0, 0.1), (5.0, 5.0), (-1e-30, 1e-30)):
        x = wf.random.Generator(3).uniform(20_000, low, high, dtype=dtype).numpy()
        kind = numpy_dtype(dtype)
        assert x.dtype == kind
        assert (x >= np.asarray(low).astype(kind)).all(), (low, x.min())
        assert (x.astype(np.float64) < high).all() or low == high, (high, x.max())


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_unit_interval_is_drawn_exactly(dtype: str) -> None:
    bits = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}[dtype]
    x = wf.random.Generator(4).uniform(COUNT, dtype=dtype).numpy().astype(np.float64) * 2.0**bits
    assert (x == np.floor(x)).all()
    if bits <= 11:
        assert set(x) == set(range(2**bits))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_are_even(dtype: str) -> None:
    info = np.iinfo(dtype)
    low = max(info.min, -3)
    x = wf.random.Generator(5).integers(low, 10, COUNT, dtype=dtype).numpy()
    assert x.dtype == dtype
    counts = np.bincount(x.astype(int) - low, minlength=10 - low)
    expected = COUNT / (10 - low)
    assert ((counts - expected) ** 2 / expected).sum() < 35  # chi-squared with 9 or 12 degrees: beyond the 0.1 % point
    whole = wf.random.Generator(6).integers(int(info.min), int(info.max) + 1, COUNT, dtype=dtype).numpy()
    scaled = (whole.astype(np.float64) - info.min) / (float(info.max) - float(info.min) + 1)
    assert kolmogorov_smirnov(scaled, lambda v: v) < (1.63 if info.bits > 8 else 3)
    single = wf.random.Generator(6).integers(7, 8, 100, dtype=dtype).numpy()
    assert (single == 7).all()


def test_bernoulli() -> None:
    generator = wf.random.Generator(7)
    for p in (0.0, 0.1, 0.5, 1.0):
        x = generator.bernoulli(p, COUNT).numpy()
        assert x.dtype == bool and abs(x.mean() - p) < 0.006
        assert x.any() == (p > 0) and x.all() == (p == 1)
    ps = wf.linspace(0, 1, 11)
    x = wf.stack([generator.bernoulli(ps, dtype=wf.float32) for _ in range(2000)])
    np.testing.assert_allclose(wf.mean(x, axis=0).numpy(), ps.numpy(), atol=0.04)


def test_permutations_are_even() -> None:
    generator = wf.random.Generator(9)
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(2400):
        drawn = tuple(generator.permutation(4).tolist())
        counts[drawn] = counts.get(drawn, 0) + 1
    assert len(counts) == 24 and sum(counts.values()) == 2400
    assert sum((c - 100) ** 2 / 100 for c in counts.values()) < 50  # chi-squared, 23 degrees: the 0.1 % point


@pytest.mark.parametrize("size", [0, 1, 2, 1000])
def test_permutation_of_anything(size: int) -> None:
    assert sorted(wf.random.permutation(size).tolist()) == list(range(size))
    x = np.arange(size * 3).reshape(size, 3)
    shuffled = wf.random.permutation(wf.asarray(x)).numpy()
    np.testing.assert_array_equal(shuffled[np.argsort(shuffled[:, 0])], x)


BAD: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: wf.random.uniform(2, dtype=wf.int32), wf.DTypeError, "uniform: dtype int32 is not a floating one"),
    (lambda: wf.random.uniform(2, 1.0, 0.0), wf.ShapeError, r"uniform: \[1.0, 0.0\) is not a finite interval"),
    (lambda: wf.random.uniform(2, 0.0, math.inf), wf.ShapeError, "uniform: .* is not a finite interval"),
    (lambda: wf.random.uniform((-1,)), wf.ShapeError, "uniform: size -1"),
    (lambda: wf.random.normal(2, dtype="int8"), wf.DTypeError, "normal: dtype int8 is not a floating one"),
    (lambda: wf.random.normal(2, std=-1.0), wf.ShapeError, "normal: std -1.0 is negative"),
    (lambda: wf.random.integers("a"), wf.DTypeError, "integers: high is 'a'; it must be an integer"),
    (lambda: wf.random.integers(1.5, 4), wf.DTypeError, "integers: low is 1.5; it must be an integer"),
    (lambda: wf.random.integers(3, 3), wf.ShapeError, r"integers: \[3, 3\) is not a range of int64"),
    (lambda: wf.random.integers(0, 257, dtype="uint8"), wf.ShapeError, r"integers: \[0, 257\) is not a range of uint8"),
    (lambda: wf.random.integers(5, dtype=wf.float32), wf.DTypeError, "integers: dtype float32 is not an integer one"),
    (lambda: wf.random.bernoulli(1.5), wf.ShapeError, "bernoulli: 1.5 is not a probability"),
    (lambda: wf.random.bernoulli(wf.arange(3)), wf.DTypeError, "bernoulli: dtype int64 is not a floating one"),
    (lambda: wf.random.permutation(-1), wf.ShapeError, "permutation: size -1"),
    (lambda: wf.random.permutation(wf.asarray(1.0)), wf.ShapeError, "permutation: a tensor of rank 0"),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_messages(case: int) -> None:
    call, error, message = BAD[case]
    with pytest.raises(error, match=message) as caught:
        call()
    assert "test_random.py" in str(caught.value)


FAILED_DRAWS: dict[str, Callable[[Any], Any]] = {
    "normal": lambda g: g.normal(2, mean="x"),
    "uniform": lambda g: g.uniform(2, dtype="int32"),
    "integers": lambda g: g.integers(5, 2),
    "bernoulli": lambda g: g.bernoulli(3.0),
    "permutation": lambda g: g.permutation(-1),
}


@pytest.mark.parametrize("name", FAILED_DRAWS)
@pytest.mark.parametrize("compiled", [False, True])
def test_a_draw_that_fails_leaves_the_generator_where_it_was(name: str, compiled: bool) -> None:
    generator = wf.random.Generator(5)

    def draw() -> Any:
        try:
            FAILED_DRAWS[name](generator)
        except wf.WeftError:
            return generator.uniform(3)

    found = (wf.compile(draw) if compiled else draw)()
    assert found.tolist() == wf.random.Generator(5).uniform(3).tolist() and generator.state.tolist() == [5, 1]


def test_the_state_is_moved_on_in_place() -> None:
    generator = wf.random.Generator(5)
    state, kept = generator.state, generator.state.clone()
    drawn, own = generator.normal(3), generator.next()
    assert generator.state is state and state.tolist() == [5, 2] and own.tolist() == [5, 2]
    generator.state.copy_(kept)
    assert own.tolist() == [5, 2] and generator.normal(3).tolist() == drawn.tolist()
