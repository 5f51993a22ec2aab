"""The disk cache: what is put is got or is missing, never damaged; bounded; private; safe between processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fuzz_cache import disturb
from hypothesis import HealthCheck, given, note
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from weft.llvm.disk_cache import SUFFIX, DiskCache

LIMIT = 1 << 20


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    """An empty cache."""
    return DiskCache(str(tmp_path / "deep" / "cache"), LIMIT)


def files(cache: DiskCache) -> dict[str, Path]:
    """The files in the folder, by the name of their entry."""
    return {path.name.removesuffix(SUFFIX): path for path in Path(cache.directory).iterdir()}


@pytest.mark.parametrize("content", [b"", b"x", bytes(range(256)) * 1000])
def test_what_is_put_is_got_by_another_process_too(cache: DiskCache, content: bytes) -> None:
    assert cache.get("a") is None
    cache.put("a", content)
    assert cache.get("a") == content
    assert DiskCache(cache.directory, LIMIT).get("a") == content
    assert list(files(cache)) == ["a"]


def test_a_later_put_replaces(cache: DiskCache) -> None:
    cache.put("a", b"one")
    cache.put("a", b"two")
    assert cache.get("a") == b"two"


def test_folder_and_files_are_the_owners_alone(cache: DiskCache) -> None:
    before = os.umask(0)
    try:
        cache.put("a", b"one")
    finally:
        os.umask(before)
    assert os.stat(cache.directory).st_mode & 0o777 == 0o700
    assert files(cache)["a"].stat().st_mode & 0o777 == 0o600


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.binary(min_size=1, max_size=300))
def test_a_damaged_entry_is_missing_and_can_be_put_again(tmp_path: Path, data: st.DataObject, content: bytes) -> None:
    cache = DiskCache(str(tmp_path / "c"), LIMIT)
    cache.put("a", content)
    path = files(cache)["a"]
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    kind = data.draw(st.sampled_from(["cut", "flip", "random", "longer", "empty"]))
    damaged = {
        "cut": whole[:at],
        "flip": whole[:at] + bytes([whole[at] ^ 1 << data.draw(st.integers(0, 7))]) + whole[at + 1 :],
        "random": data.draw(st.binary(max_size=400)),
        "longer": whole + b"\0",
        "empty": b"",
    }[kind]
    path.write_bytes(damaged)
    assert cache.get("a") is None
    cache.put("a", content)
    assert cache.get("a") == content


def test_the_least_recently_used_entries_go(cache: DiskCache) -> None:
    size, count = 20_000, 200  # four times the limit
    for number in range(count):
        cache.put(f"e{number:03}", bytes(size))
        stamp = time.time() - 10 * 86400 + number
        os.utime(files(cache)[f"e{number:03}"], (stamp, stamp))
        assert cache.get("e000") is not None  # each use refreshes an old mtime
    found = sorted(files(cache))
    assert sum(path.stat().st_size for path in files(cache).values()) <= LIMIT + LIMIT // 16 + size
    assert found[0] == "e000" and found[1:] == [f"e{n:03}" for n in range(count - len(found) + 1, count)]


def test_an_entry_over_the_limit_is_not_kept(cache: DiskCache) -> None:
    cache.put("a", bytes(LIMIT))
    assert cache.get("a") is None


def test_a_limit_of_zero_turns_it_off(tmp_path: Path) -> None:
    off = DiskCache(str(tmp_path / "c"), 0)
    off.put("a", b"one")
    assert off.get("a") is None and not (tmp_path / "c").exists()


def test_abandoned_temporary_files_are_removed(cache: DiskCache) -> None:
    cache.put("a", b"one")
    old, young = Path(cache.directory, "b.1.weft-tmp"), Path(cache.directory, "b.2.weft-tmp")
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    DiskCache(cache.directory, LIMIT).put("b", b"two")  # the first put of a process looks at the folder
    assert set(files(cache)) == {"a", "b", young.name}


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o1777])
def test_a_folder_that_others_may_write_to_is_refused_with_one_warning(tmp_path: Path, mode: int) -> None:
    good = DiskCache(str(tmp_path / "c"), LIMIT)
    good.put("a", b"one")
    os.chmod(good.directory, mode)
    cache = DiskCache(good.directory, LIMIT)
    with pytest.warns(RuntimeWarning, match="others may write"):
        assert cache.get("a") is None
    cache.put("b", b"two")  # a second warning would be an error
    assert cache.get("b") is None
    assert set(files(cache)) == {"a"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir(mode=0o700)
    os.chown(tmp_path / "c", 12345, -1)
    cache = DiskCache(str(tmp_path / "c"), LIMIT)
    with pytest.warns(RuntimeWarning, match="belongs to another user"):
        cache.put("a", b"one")
    assert cache.get("a") is None


@pytest.mark.parametrize("where", ["/proc/weft/cache", "/dev/null/cache", "/dev/null"])
def test_a_folder_that_cannot_be_made_costs_one_warning(where: str) -> None:
    cache = DiskCache(where, LIMIT)
    with pytest.warns(RuntimeWarning, match="is not used"):
        cache.put("a", b"one")
    cache.put("a", b"one")  # a second warning would be an error
    assert cache.get("a") is None


def test_a_failing_write_costs_one_warning_and_reading_goes_on(
    cache: DiskCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.put("a", b"one")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.warns(RuntimeWarning, match="No space left"):
        cache.put("b", b"two")
    cache.put("c", b"three")  # a second warning would be an error
    assert cache.get("a") == b"one" and set(files(cache)) == {"a"}


def test_a_folder_deleted_in_use_is_made_again(cache: DiskCache) -> None:
    cache.put("a", b"one")
    files(cache)["a"].unlink()
    os.rmdir(cache.directory)
    cache.put("a", b"two")  # lost, without a warning
    cache.put("a", b"three")
    assert cache.get("a") == b"three"


def test_a_link_in_place_of_an_entry_is_not_followed(cache: DiskCache, tmp_path: Path) -> None:
    cache.put("a", b"one")
    elsewhere = tmp_path / "elsewhere"
    files(cache)["a"].rename(elsewhere)
    Path(cache.directory, "a" + SUFFIX).symlink_to(elsewhere)
    assert cache.get("a") is None


def obstacles() -> dict[str, Callable[[Path, Path], None]]:
    """What may lie under an entry's name instead of it: ``make(path, path of another entry)``."""

    def linked(path: Path, other: Path) -> None:
        os.link(other, path)

    def filled(path: Path, other: Path) -> None:
        path.mkdir()
        (path / "of somebody's").write_bytes(b"x")

    def writable(path: Path, other: Path) -> None:
        path.write_bytes(b"")
        path.chmod(0o666)

    def sparse(nbytes: int) -> Callable[[Path, Path], None]:
        def make(path: Path, other: Path) -> None:
            path.write_bytes(other.read_bytes())
            os.truncate(path, nbytes)

        return make

    return {
        "another entry": lambda path, other: path.write_bytes(other.read_bytes()) and None,
        "a hard link to another entry": linked,
        "a link to another entry": lambda path, other: path.symlink_to(other),
        "a link to itself": lambda path, other: path.symlink_to(path),
        "a link to a device": lambda path, other: path.symlink_to("/dev/zero"),
        "a directory": lambda path, other: path.mkdir(),
        "a directory with something in it": filled,
        "a pipe": lambda path, other: os.mkfifo(path),
        "a file of 1 GiB": sparse(1 << 30),
        "a file of 200 GiB": sparse(200 << 30),
        "a file that others may write": writable,
    }


@pytest.mark.parametrize("kind", list(obstacles()))
def test_what_is_no_entry_under_its_name_is_missing_and_replaced(cache: DiskCache, kind: str) -> None:
    cache.put("a", b"one")
    cache.put("b", b"other")
    path, other = files(cache)["a"], files(cache)["b"]
    path.unlink()
    obstacles()[kind](path, other)
    assert cache.get("a") is None and DiskCache(cache.directory, LIMIT).get("a") is None
    cache.put("a", b"again")
    cache.put("c", b"three")  # the cache is not turned off
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (b"again", b"other", b"three")


@pytest.mark.parametrize("kind", list(obstacles()))
def test_what_lies_under_a_name_before_the_first_get_is_replaced(cache: DiskCache, kind: str) -> None:
    cache.put("b", b"other")
    obstacles()[kind](Path(cache.directory, "a" + SUFFIX), files(cache)["b"])
    cache.put("a", b"one")
    assert (cache.get("a"), cache.get("b")) == (b"one", b"other")


def test_what_is_in_a_directory_under_an_entrys_name_is_not_removed(cache: DiskCache) -> None:
    cache.put("b", b"other")
    path = Path(cache.directory, "a" + SUFFIX)
    path.mkdir()
    (path / "thesis.txt").write_bytes(b"x")
    cache.put("a", b"one")
    assert [found.name for found in Path(cache.directory).glob("*/*")] == ["thesis.txt"]


def test_an_entry_that_cannot_be_replaced_is_the_only_one_missing(
    cache: DiskCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename

    def refuse(source: str, target: str, **options: Any) -> None:
        if target.startswith("a."):
            raise PermissionError(1, "Operation not permitted")
        rename(source, target, **options)

    monkeypatch.setattr(os, "rename", refuse)
    cache.put("a", b"one")
    cache.put("b", b"two")
    assert cache.get("a") is None and cache.get("b") == b"two" and set(files(cache)) == {"b"}


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o711])
def test_a_folder_that_others_may_read_becomes_the_owners_alone(tmp_path: Path, mode: int) -> None:
    for folder in (tmp_path / "empty", tmp_path / "used"):
        folder.mkdir(mode=0o700)
        if folder.name == "used":
            DiskCache(str(folder), LIMIT).put("a", b"one")
        folder.chmod(mode)
        cache = DiskCache(str(folder), LIMIT)
        cache.put("b", b"two")
        assert cache.get("b") == b"two"
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_with_other_things_in_it_keeps_them_and_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    others = [tmp_path / name for name in ("thesis.tex", "draft.tmp", "a")]
    for path in others:
        path.write_bytes(bytes(LIMIT))
        os.utime(path, (0, 0))
    cache = DiskCache(str(tmp_path), LIMIT)
    for number in range(100):
        cache.put(f"e{number}", bytes(LIMIT // 20))
    assert cache.get("e99") and all(path.stat().st_size == LIMIT for path in others)
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_entries_from_the_future_are_used_and_are_the_first_to_go(cache: DiskCache) -> None:
    for name in ("used", "idle"):
        cache.put(name, bytes(1000))
        os.utime(files(cache)[name], (4e9, 4e9))
    assert cache.get("used") and files(cache)["used"].stat().st_mtime < 4e9
    for number in range(80):
        cache.put(f"e{number}", bytes(20_000))
        cache.get("used")
    assert cache.get("idle") is None


@given(st.data())
def test_whatever_happens_to_the_files_a_get_is_right_or_nothing(data: st.DataObject) -> None:
    """Fuzz: every entry that is still got is the one that was put under this name; every entry can be put again."""
    contents = {f"e{number}": number.to_bytes(1, "little") * 50 for number in range(4)}
    with tempfile.TemporaryDirectory() as folder:
        first = DiskCache(folder, LIMIT)
        for name, content in contents.items():
            first.put(name, content)
        note("\n".join(disturb(Path(folder), lambda n: data.draw(st.integers(0, n - 1)), 6)))
        for cache in (first, DiskCache(folder, LIMIT)):
            for name, content in contents.items():
                assert cache.get(name) in (content, None)
        for name, content in contents.items():
            cache.put(name, content)
        assert {name: cache.get(name) for name in contents} == contents


PROCESS = """
import random, sys
from weft.llvm.disk_cache import DiskCache
cache = DiskCache(sys.argv[1], 1 << 16)
rng = random.Random(int(sys.argv[2]))
for _ in range(400):
    number = rng.randrange(40)
    content = number.to_bytes(1, "little") * (1000 + 37 * number)
    found = cache.get(f"e{number}")
    assert found is None or found == content
    if found is None or rng.random() < 0.3:
        cache.put(f"e{number}", content)
"""


def test_processes_that_write_read_and_evict_at_once_see_whole_entries(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PROCESS, str(tmp_path / "c"), str(seed)],
            env=environment,
            stderr=subprocess.PIPE,
        )
        for seed in range(4)
    ]
    for process in started:
        assert process.communicate()[1] == b"" and process.returncode == 0
    assert not [path for path in (tmp_path / "c").iterdir() if path.suffix != SUFFIX]


def test_threads_share_one_cache(cache: DiskCache) -> None:
    wrong: list[bytes | None] = []

    def work(seed: int) -> None:
        for number in range(200):
            content = bytes([number]) * 100
            cache.put(f"e{number}", content)
            found = cache.get(f"e{number}")
            if found != content:
                wrong.append(found)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
