"""Kernels to machine code: once each, whichever threads ask first, and nothing of it half done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest
from vmath_harness import kernel_of

from weft.compiler import build
from weft.compiler.expr import Expr, const
from weft.compiler.kernels import Kernel
from weft.core import dtypes as dt
from weft.core.errors import CompileError
from weft.llvm import elf
from weft.llvm.targets import Target, host_target


def kernels(first: float, count: int) -> list[Kernel]:
    """Kernels that multiply by ``first``, ``first + 1``, ..."""

    def times(number: float) -> Callable[[Expr], Expr]:
        return lambda x: Expr("mul", dt.float32, (x, const(number, dt.float32)))

    return [kernel_of(times(first + number), [dt.float32]) for number in range(count)]


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts of the kernels that are asked of the object cache from now on."""
    asked: list[str] = []
    cached_objects = build.cached_objects

    def record(requests: Sequence[tuple[str, Callable[[], str]]], target: Target) -> list[bytes]:
        asked.extend(text for text, _ in requests)
        return cached_objects(requests, target)

    monkeypatch.setattr(build, "cached_objects", record)
    return asked


def test_threads_that_need_the_same_kernels_first_get_the_same_code(rendered: list[str]) -> None:
    wanted, target, count = kernels(1000.5, 12), host_target(), 8
    start, found = threading.Barrier(count), [[0]] * count

    def ask(number: int) -> None:
        start.wait()  # overlapping parts, in different orders
        mine = [(k + number) % len(wanted) for k in range(len(wanted) - number % 3)]
        got = dict(zip(mine, build.addresses([wanted[k] for k in mine], target), strict=True))
        got |= dict(enumerate(build.addresses(wanted, target)))
        found[number] = [got[k] for k in range(len(wanted))]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [found[0]] * count and len(set(found[0])) == len(wanted)
    assert sorted(rendered) == sorted(set(rendered)) and len(rendered) == len(wanted)


def test_code_that_cannot_be_made_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, target = kernels(2000.5, 3), host_target()
    with monkeypatch.context() as broken:
        broken.setattr(elf, "load_objects", lambda codes: (_ for _ in ()).throw(CompileError("no memory")))
        with pytest.raises(CompileError, match="no memory"):
            build.addresses(wanted, target)
    before = dict(build._loaded)
    assert len(set(build.addresses(wanted, target))) == 3 and len(build._loaded) == len(before) + 3


def test_what_runs_meanwhile_in_the_same_thread_may_need_a_kernel_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler or a destructor that computes while its thread compiles."""
    target, cached_objects = host_target(), build.cached_objects
    outer, inner = kernels(3000.5, 2), kernels(3001.5, 2)  # one of them is the same

    def interrupted(requests: Sequence[tuple[str, Callable[[], str]]], target: Target) -> list[bytes]:
        monkeypatch.setattr(build, "cached_objects", cached_objects)
        got.extend(build.addresses(inner, target))
        return cached_objects(requests, target)

    got: list[int] = []
    monkeypatch.setattr(build, "cached_objects", interrupted)
    assert len({*build.addresses(outer, target), *got}) >= 3
    assert build.addresses(inner, target)[1] == got[1]
