"""The probe of dot instructions: what it wants is right, nothing else passes, and what it says is what targets have."""

from __future__ import annotations

import ctypes
import math
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core import config
from weft.llvm import dot_probe, targets
from weft.llvm.dot_probe import Case, all_cases, fma, is_right, wanted_of
from weft.llvm.targets import Host, Target

FEATURE = "+avx512bf16"
HAS = FEATURE in targets._asked().features and targets.host().triple.startswith("x86_64")
_fmaf = ctypes.CDLL(None).fmaf
_fmaf.argtypes, _fmaf.restype = [ctypes.c_float] * 3, ctypes.c_float


def single(x: float) -> float:
    """Rounded to float32."""
    return ctypes.c_float(x).value


def same(x: float, y: float) -> bool:
    return (x != x and y != y) or struct.pack("<d", x) == struct.pack("<d", y)


# --- the numbers that it wants ------------------------------------------------------------------------------------

special = st.sampled_from([0.0, -0.0, math.inf, -math.inf, math.nan])
elements = special | st.builds(
    lambda sign, size, power: sign * math.ldexp(size, power),
    st.sampled_from([1, -1]),
    st.integers(128, 255),
    st.integers(-63, 120),
)


@given(x=elements, y=elements, first=elements, second=elements)
def test_fma_in_integers_is_that_of_the_c_library(x: float, y: float, first: float, second: float) -> None:
    chain = fma(first, second, 0.0)
    assert same(chain, _fmaf(first, second, 0.0)) and same(fma(x, y, chain), _fmaf(x, y, chain))
    assert same(fma(first, second, -chain), _fmaf(first, second, -chain))


def test_the_cases_are_of_the_dtypes_and_reach_their_ends() -> None:
    cases = all_cases()
    assert len(cases) % dot_probe.LANES == 0 and len(set(map(repr, cases))) > 0.9 * len(cases)
    for chain, x, y in cases:
        assert same(single(chain), chain)
        for element in (*x, *y):
            bits = struct.unpack("<I", struct.pack("<f", element))[0]
            assert bits & 0xFFFF == 0 and (not math.isfinite(element) or element == 0 or abs(element) >= 2.0**-56)
    wanted = [wanted_of(case) for case in cases]
    least = min(abs(x) for x in wanted if x)
    largest = max(abs(x) for x in wanted if math.isfinite(x))
    assert least == 2.0**-126 and largest > 2.0**127
    assert {math.copysign(1, x) for x in wanted if x == 0} == {1, -1}
    assert {x for x in wanted if math.isinf(x)} == {math.inf, -math.inf} and any(x != x for x in wanted)


# --- what does not pass -------------------------------------------------------------------------------------------


def exactly(case: Case) -> Fraction | None:
    numbers = case.chain, *case.x, *case.y
    if not all(map(math.isfinite, numbers)):
        return None
    return Fraction(case.chain) + sum(Fraction(x) * Fraction(y) for x, y in zip(case.x, case.y, strict=True))


def in_order(step: Callable[[float, float, float], float], swapped: bool = False) -> Callable[[Case], float]:
    """Both products by ``step(x, y, chain)``, one after the other."""

    def found(case: Case) -> float:
        chain = case.chain
        for at in (1, 0) if swapped else (0, 1):
            chain = step(case.x[at], case.y[at], chain)
        return chain

    return found


def _nearest(x: Fraction) -> float:
    """A number as float32, by way of an integer."""
    units, whole = x * 2**126, 1
    while abs(units) * whole != int(abs(units) * whole):
        whole *= 2
    size = int(abs(units) * whole)
    step = 1 << max(size.bit_length() - 24, 0)
    count, rest = divmod(size, step)
    count += 2 * rest > step or (2 * rest == step and count % 2)
    found = Fraction(count * step, whole * 2**126)
    return math.copysign(math.inf if found >= 2**128 else float(found), x)


def _once(case: Case) -> float:
    """One rounding of the whole sum."""
    exact = exactly(case)
    return wanted_of(case) if not exact else _nearest(exact)


def _together(case: Case) -> float:
    """The products added first."""
    products = single(single(case.x[0] * case.y[0]) + single(case.x[1] * case.y[1]))
    return single(case.chain + products)


def _rounded_otherwise(choose: Callable[[int, int, int], int]) -> Callable[[float, float, float], float]:
    """fma with another rounding: ``choose(count, rest, step)`` instead of the nearest count."""

    def step(x: float, y: float, chain: float) -> float:
        if not all(map(math.isfinite, (x, y, chain))):
            return x * y + chain
        exact = Fraction(x) * Fraction(y) + Fraction(chain)
        if not exact:
            return x * y + chain
        units = int(abs(exact) * 2**126)
        unit = 1 << max(units.bit_length() - 24, 0)
        size = choose(*divmod(units, unit), unit) * unit
        return math.copysign(math.inf if size >= 2**254 else math.ldexp(size, -126), exact)

    return step


def _flushed(x: float, limit: float) -> float:
    return math.copysign(0.0, x) if abs(x) < limit else x


WRONG: dict[str, Callable[[Case], float]] = {
    "the second product first": in_order(fma, swapped=True),
    "one rounding": _once,
    "the products added first": _together,
    "products rounded": in_order(lambda x, y, chain: single(single(x * y) + chain)),
    "cut off": in_order(_rounded_otherwise(lambda count, rest, step: count)),
    "to odd": in_order(_rounded_otherwise(lambda count, rest, step: count | (rest > 0))),
    "ties up": in_order(_rounded_otherwise(lambda count, rest, step: count + (2 * rest >= step))),
    "up": in_order(_rounded_otherwise(lambda count, rest, step: count + (rest > 0))),
    "small sums flushed": in_order(lambda x, y, chain: _flushed(fma(x, y, chain), 2.0**-125)),
    "small elements flushed": in_order(lambda x, y, chain: fma(_flushed(x, 2.0**-55), y, chain)),
    "no negative zero": lambda case: wanted_of(case) + 0.0,
    "overflow to the largest": lambda case: max(min(wanted_of(case), math.ldexp(0xFFFFFF, 104)), -math.inf),
    "no NaN": lambda case: 0.0 if wanted_of(case) != wanted_of(case) else wanted_of(case),
    "nothing": lambda case: case.chain,
}


def test_the_contract_passes() -> None:
    assert is_right(lambda cases: [wanted_of(case) for case in cases])


@pytest.mark.parametrize("name", WRONG)
def test_other_sums_do_not_pass(name: str) -> None:
    assert not is_right(lambda cases: [WRONG[name](case) for case in cases])


@pytest.mark.parametrize("place", [0, 17, -1])
def test_one_bit_of_one_sum_is_enough(place: int) -> None:
    found = [wanted_of(case) for case in all_cases()]
    assert math.isfinite(found[place])
    (bits,) = struct.unpack("<I", struct.pack("<f", found[place]))
    found[place] = struct.unpack("<f", struct.pack("<I", bits ^ 1))[0]
    assert not is_right(lambda cases: found)


# --- this machine -------------------------------------------------------------------------------------------------


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A disk cache that knows no machine."""
    monkeypatch.setattr(config, "_current", config.replace(config.settings(), cache_dir=str(tmp_path / "cache")))
    return tmp_path


@pytest.mark.skipif(not HAS, reason=f"this machine has no {FEATURE[1:]}")
@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
def test_the_answer_is_asked_for_once_and_targets_follow_it(
    right: bool, monkeypatch: pytest.MonkeyPatch, empty_cache: Path
) -> None:
    asked: list[Target] = []

    def answer(target: Target, intrinsic: str) -> bool:
        asked.append(target)
        return right

    monkeypatch.setattr(dot_probe, "gives_the_contract", answer)
    machine = targets.host.__wrapped__()
    assert targets.host.__wrapped__() == machine and len(asked) == 1, "the disk cache knows"
    assert FEATURE in asked[0].features.split(",")
    assert machine.distrusted == (() if right else ("vdpbf16ps",))
    assert (FEATURE in machine.features) is right and ("-" + FEATURE[1:] in machine.features) is not right
    monkeypatch.setattr(targets, "host", lambda: machine)
    target = targets._host_target.__wrapped__(None)
    assert (target.dot("bfloat16") is not None) is right and (target.key == asked[0].key) is right
    assert target.dot("int8") == asked[0].dot("int8")
    assert targets.distrusted_dot("bfloat16") == (None if right else "vdpbf16ps")
    assert targets.distrusted_dot("int8") is None


@pytest.mark.skipif(not HAS, reason=f"this machine has no {FEATURE[1:]}")
def test_the_instruction_is_run() -> None:
    """What the machine says is what its targets have. (It has been right on all machines so far: AMD's Zen 4.)"""
    machine = targets._asked()
    target = targets._target_of(machine, "avx512")
    intrinsic = target.dot("bfloat16")
    assert intrinsic is not None
    right = dot_probe.gives_the_contract(target, intrinsic)
    assert right is (targets.host().distrusted == ())
    found = dot_probe._run(all_cases(), target, intrinsic)
    assert is_right(lambda cases: found) is right


def test_a_machine_without_the_instruction_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(target: Target, intrinsic: str) -> bool:
        raise AssertionError("there is nothing to ask")

    monkeypatch.setattr(dot_probe, "gives_the_contract", never)
    for features in (("+avx2", "+fma", "+f16c"), (*targets._AVX512, "-avx512bf16"), (*targets._AVX2, FEATURE)):
        machine = Host("x86_64-unknown-linux-gnu", "some", features)
        assert targets._tried(machine) == machine
    arm = Host("aarch64-unknown-linux-gnu", "neoverse-v1", ("+neon", "+bf16"))
    assert targets._tried(arm) == arm
