"""Functions that several modules have are compiled and loaded once, and compute what they did."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import pytest

from weft.core.config import configure
from weft.core.errors import CompileError
from weft.llvm import object_cache, parts
from weft.llvm.assembly import assemble, assemble_many
from weft.llvm.elf import link_objects, load_objects
from weft.llvm.object_cache import cached_objects
from weft.llvm.targets import Target, cross_target, host_target


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[None]:
    """A cache folder of the test's own."""
    before = configure(cache_dir=str(tmp_path / "cache"))
    yield
    configure(cache_dir=before.cache_dir)


GROUPS = "attributes #0 = { nounwind }\nattributes #1 = { noinline nounwind }\n"


def function(name: str, factor: int, steps: int = 300, group: str = "#1", last: str = "") -> str:
    """x -> factor * x + 0 + 1 + ... + (steps - 1), in long; ``last``: an instruction that makes another result."""
    lines = [f"define internal i64 @{name}(i64 %x) {group} {{", f"  %s0 = mul i64 %x, {factor}"]
    lines += [f"  %s{n + 1} = add i64 %s{n}, {n}" for n in range(steps)]
    return "\n".join([*lines, f"  %r = {last or f'add i64 %s{steps}, 0'}", "  ret i64 %r", "}", ""])


def entry(*calls: str) -> str:
    """The sum of what the functions give."""
    lines = ["define i64 @f(i64 %x) #0 {", "  %t0 = add i64 0, 0"]
    for n, name in enumerate(calls):
        lines += [f"  %c{n} = call i64 @{name}(i64 %x)", f"  %t{n + 1} = add i64 %t{n}, %c{n}"]
    return "\n".join([*lines, f"  ret i64 %t{len(calls)}", "}", ""])


def symbols(text: str) -> set[str]:
    return set(parts.split(text, lambda part: f"weft.part.{hash(part)}")[1])


def call(address: int, x: int) -> int:
    found: int = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(address)(x)
    return found


SUM = sum(range(300))
A = function("a.a", 3) + function("a.b", 5) + entry("a.a", "a.b", "a.a") + GROUPS
B = function("b", 7) + function("three", 3) + entry("three", "b") + GROUPS


def test_a_module_in_parts_computes_what_it_did() -> None:
    codes = cached_objects([("A", lambda: A), ("B", lambda: B)], host_target())
    whole = load_objects([assemble(A, host_target()), assemble(B, host_target())])
    for _ in range(2):  # the second time all parts are there
        a, b = load_objects(codes)
        assert a.symbols == b.symbols == ("f",)
        for x in (-4, 0, 1000):
            assert call(a.address("f"), x) == call(whole[0].address("f"), x) == 11 * x + 3 * SUM
            assert call(b.address("f"), x) == call(whole[1].address("f"), x) == 10 * x + 2 * SUM


def test_equal_functions_are_one_part_whatever_they_are_called() -> None:
    assert len(symbols(A)) == len(symbols(B)) == 2
    assert len(symbols(A) | symbols(B)) == 3


@pytest.mark.parametrize(
    "text",
    [
        function("a", 3, steps=20),  # short
        function("a", 3, group="#0"),  # it might be inlined
        function("a", 3, last="call i64 @other(i64 %x)") + "declare i64 @other(i64)\n",
        function("a", 3, last="call i64 @a(i64 0)"),
        function("a", 3, last="load i64, ptr @constant") + "@constant = private constant i64 4\n",
        function("a", 3).replace("internal ", ""),
    ],
)
def test_what_is_short_or_needs_more_stays(text: str) -> None:
    text += entry("a") + GROUPS
    assert parts.split(text, str) == (text, {})


def test_intrinsics_are_no_other_symbols() -> None:
    text = function("a", 3, last="call i64 @llvm.abs.i64(i64 %x, i1 false)") + entry("a") + GROUPS
    assert len(symbols(text)) == 1


def test_attributes_are_a_part_of_what_decides() -> None:
    other = A.replace("noinline nounwind", 'noinline nounwind "no-trapping-math"="true"')
    assert not symbols(A) & symbols(other)


def test_a_part_is_compiled_once_for_a_target(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []

    def noted(texts: object, target: Target, **options: object) -> list[bytes]:
        found = list(texts)  # type: ignore[call-overload]
        compiled.extend(found)
        return assemble_many(found, target)

    monkeypatch.setattr(object_cache, "assemble_many", noted)
    first = cached_objects([("A", lambda: A)], host_target())
    assert len(compiled) == 3
    cached_objects([("B", lambda: B), ("B again", lambda: B)], host_target())
    assert len(compiled) == 3 + 1 + 2  # one part was there
    assert cached_objects([("A", lambda: "not asked for")], host_target()) == first
    cached_objects([("A", lambda: A)], cross_target("aarch64-linux-gnu"))
    assert len(compiled) == 6 + 3


def test_what_is_behind_an_object_must_be_a_part() -> None:
    (code,) = cached_objects([("A", lambda: A)], host_target())
    ordinary = assemble(B, host_target())
    with pytest.raises(CompileError, match="behind another one is no part"):
        load_objects([code + ordinary])
    for cut in (1, 64, 500):
        with pytest.raises(CompileError, match="damaged object file"):
            load_objects([code[:-cut]])
    alone = assemble("declare i64 @weft.part.0(i64)\n" + entry("weft.part.0") + GROUPS, host_target())
    with pytest.raises(CompileError, match="undefined symbol 'weft"):
        load_objects([alone])


@pytest.mark.parametrize(("name", "machine"), [("x86_64-linux-gnu", 62), ("aarch64-linux-gnu", 183)])
def test_parts_are_called_directly_where_they_are_near_and_by_their_addresses_where_they_are_loaded(
    name: str, machine: int
) -> None:
    codes = cached_objects([("A", lambda: A), ("B", lambda: B)], cross_target(name))

    def reserve(size: int) -> tuple[bytearray, int]:
        return bytearray(size), 0x7_1000_0000

    memory, base, end, (a, b), new = link_objects(codes, machine, {}, reserve)
    assert a.keys() == b.keys() == {"f"} and len(new) == 3
    assert all(base <= address < base + end for address in new.values())
    far = {symbol: 0x1234_5678_0000 + number for number, symbol in enumerate(new)}
    again, _, less, _, none = link_objects(codes, machine, {}, reserve, far)
    assert not none and less <= end
    for symbol in new:
        assert new[symbol].to_bytes(8, "little") not in memory
        assert far[symbol].to_bytes(8, "little") in again
