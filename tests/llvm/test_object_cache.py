"""Cached objects: built once, again when damaged, apart for every target, level and source of weft."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fuzz_cache import STEPS, disturb, rotate
from hypothesis import given, note, settings
from hypothesis import strategies as st

from weft.core.config import configure
from weft.core.errors import CompileError
from weft.llvm import object_cache
from weft.llvm.assembly import assemble
from weft.llvm.disk_cache import SUFFIX
from weft.llvm.object_cache import cached_object, cached_objects, codegen_version
from weft.llvm.targets import cross_target, host_target


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    """A cache folder of the test's own."""
    before = configure(cache_dir=str(tmp_path / "cache"))
    yield tmp_path / "cache"
    configure(cache_dir=before.cache_dir)


def text(value: int) -> str:
    """A module whose ``f()`` returns ``value``."""
    return f"define i64 @f() {{\n  ret i64 {value}\n}}\n"


class Builder:
    """Renders :func:`text` and counts how often."""

    def __init__(self) -> None:
        self.built: list[int] = []

    def __call__(self, value: int) -> Callable[[], str]:
        def build() -> str:
            self.built.append(value)
            return text(value)

        return build


def test_an_object_is_built_once() -> None:
    build, target = Builder(), host_target()
    first = cached_object("k", target, build(7))
    assert cached_object("k", target, build(7)) == first == assemble(text(7), target)
    assert build.built == [7]


def test_the_key_the_target_and_the_level_tell_entries_apart() -> None:
    build, aarch64 = Builder(), cross_target("aarch64-linux-gnu")
    objects = [
        cached_object("k", host_target(), build(1)),
        cached_object("k", aarch64, build(1)),
        cached_object("l", aarch64, build(2)),
        cached_object("k", aarch64, build(1), level=0),
    ]
    assert build.built == [1, 1, 2, 1] and len(set(objects[:3])) == 3


def test_many_are_returned_in_order_and_only_the_missing_built() -> None:
    build, target = Builder(), host_target()
    cached_objects([(f"k{n}", build(n)) for n in range(0, 10, 2)], target)
    found = cached_objects([(f"k{n}", build(n)) for n in range(10)], target)
    assert found == [assemble(text(n), target) for n in range(10)]
    assert sorted(build.built) == list(range(10))
    assert cached_objects([], target) == []


def test_equal_keys_are_built_once() -> None:
    build = Builder()
    objects = cached_objects([("k", build(3)), ("l", build(4)), ("k", build(3))], host_target())
    assert objects[0] == objects[2] != objects[1] and sorted(build.built) == [3, 4]


def test_a_damaged_entry_is_rebuilt(folder: Path) -> None:
    build, target = Builder(), cross_target("aarch64-linux-gnu")
    good = cached_object("k", target, build(5))
    (entry,) = folder.iterdir()
    entry.write_bytes(entry.read_bytes()[:-1])
    assert cached_object("k", target, build(5)) == good
    assert cached_object("k", target, build(5)) == good
    assert build.built == [5, 5]


def test_other_sources_of_weft_use_other_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    build = Builder()
    cached_object("k", host_target(), build(1))
    monkeypatch.setattr(object_cache, "codegen_version", lambda: "another")
    cached_object("k", host_target(), build(1))
    assert build.built == [1, 1]


def test_the_codegen_version_is_the_same_in_every_process() -> None:
    program = "from weft.llvm.object_cache import codegen_version; print(codegen_version())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == codegen_version()


@pytest.mark.parametrize("place", ["core", "compiler/vmath", "llvm", "runtime/native", "runtime"])
def test_the_codegen_version_covers_every_file_that_decides_machine_code(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = Path(object_cache.__file__).parents[1]
    shutil.copytree(package, tmp_path / "weft", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(object_cache, "__file__", str(tmp_path / "weft" / "llvm" / "object_cache.py"))
    assert codegen_version.__wrapped__() == codegen_version()
    for file in sorted((tmp_path / "weft" / place).glob("*.py")):
        source = file.read_text()
        file.write_text(source + "#")
        assert codegen_version.__wrapped__() != codegen_version(), file.name
        file.write_text(source)
    (tmp_path / "weft" / "nn" / "module.py").unlink()
    assert codegen_version.__wrapped__() == codegen_version()


def test_without_a_usable_folder_everything_is_built_with_one_warning() -> None:
    build, target = Builder(), cross_target("aarch64-linux-gnu")
    configure(cache_dir="/dev/null/cache")
    with pytest.warns(RuntimeWarning, match="is not used") as warned:
        assert cached_object("k", target, build(5)) == cached_object("k", target, build(5))
    assert build.built == [5, 5] and len(warned) == 1


def test_an_error_of_one_is_raised_and_nothing_of_it_kept(folder: Path) -> None:
    with pytest.raises(CompileError, match="parse"):
        cached_objects([("good", lambda: text(1)), ("bad", lambda: "bad")], cross_target("aarch64-linux-gnu"))
    assert not [entry for entry in folder.glob("*") if not entry.name.endswith(SUFFIX)]
    assert cached_object("bad", cross_target("aarch64-linux-gnu"), lambda: text(2))


def test_a_full_cache_stays_correct() -> None:
    target, build = cross_target("aarch64-linux-gnu"), Builder()
    before = configure(cache_limit_bytes=3000)  # a few entries
    try:
        for turn in range(2):
            for number in range(12):
                assert cached_object(f"k{number}", target, build(number)) == assemble(text(number), target), turn
    finally:
        configure(cache_limit_bytes=before.cache_limit_bytes)
    assert len(build.built) > 12


def test_processes_compile_into_one_cache(folder: Path) -> None:
    program = (
        "import hashlib\n"
        "from weft.llvm.targets import cross_target\n"
        "from weft.llvm.object_cache import cached_objects\n"
        "text = lambda n: f'define i64 @f() {{ ret i64 {n} }}'\n"
        "requests = [(f'k{n}', lambda n=n: text(n)) for n in range(30)]\n"
        "found = cached_objects(requests, cross_target('aarch64-linux-gnu'))\n"
        "print(hashlib.sha256(b''.join(found)).hexdigest())\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "WEFT_CACHE_DIR": str(folder)}
    started = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", program], env=environment, stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    answers = {process.communicate()[0] for process in started}
    assert len(answers) == 1 and not any(process.returncode for process in started)
    assert len(list(folder.iterdir())) == 30


# Several kernels of one signature, so that an entry under another one's name is code that can be called.
NUMBERS = """
import weft as wf
x, y = wf.arange(60.0) / 7 - 3, wf.arange(60.0) / 11
print([f(x, y).sum().item() for f in (wf.add, wf.multiply, wf.hypot, wf.maximum, lambda a, b: a @ b)])
step = wf.compile(lambda a: wf.tanh(a.reshape((6, 10))) @ wf.ones((10, 3)))
print(step(x).numpy().tobytes().hex())
"""


def numbers(folder: str | Path) -> str:
    """What a fresh process with this cache computes; it must end well, in silence and in time."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "WEFT_CACHE_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", NUMBERS], env=environment, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A cache that a process has filled, and what the process printed."""
    place = tmp_path_factory.mktemp("written") / "cache"
    return place, numbers(place)


def test_entries_under_each_others_names_are_not_run(written: tuple[Path, str], tmp_path: Path) -> None:
    cache, expected = written
    turned = Path(shutil.copytree(cache, tmp_path / "turned"))
    for _ in range(2):
        some = next(turned.iterdir())
        rotate(some, some, lambda n: 0)
        assert numbers(turned) == expected


def check_whatever_happens(written: tuple[Path, str], data: st.DataObject) -> None:
    """After any steps on the files a fresh process prints the same numbers, and so does the one after it."""
    cache, expected = written
    with tempfile.TemporaryDirectory() as place:
        folder = Path(shutil.copytree(cache, Path(place, "cache")))
        note("\n".join(disturb(folder, lambda n: data.draw(st.integers(0, n - 1)), 2 * len(STEPS))))
        assert numbers(folder) == expected
        assert numbers(folder) == expected


@settings(max_examples=3)
@given(st.data())
def test_a_process_is_right_whatever_happened_to_the_cache(written: tuple[Path, str], data: st.DataObject) -> None:
    check_whatever_happens(written, data)


@pytest.mark.long
@settings(max_examples=40)
@given(st.data())
def test_processes_are_right_whatever_happened_to_the_cache(written: tuple[Path, str], data: st.DataObject) -> None:
    check_whatever_happens(written, data)
