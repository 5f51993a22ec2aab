"""Settings come from the environment, are checked, and can be changed and put back."""

from __future__ import annotations

import os

import pytest

from weft.core.config import Settings, configure, settings
from weft.core.cpus import usable_cpus


def test_defaults_without_any_variable() -> None:
    found = Settings.from_environment({"HOME": "/home/ada"})
    assert found == Settings("/home/ada/.cache/weft", 256 << 20, None, usable_cpus())


def test_xdg_cache_home_is_followed_unless_relative() -> None:
    assert Settings.from_environment({"HOME": "/h", "XDG_CACHE_HOME": "/caches"}).cache_dir == "/caches/weft"
    assert Settings.from_environment({"HOME": "/h", "XDG_CACHE_HOME": "caches"}).cache_dir == "/h/.cache/weft"


def test_cache_dir_is_absolute() -> None:
    assert Settings.from_environment({"WEFT_CACHE_DIR": "here"}).cache_dir == os.path.abspath("here")


@pytest.mark.parametrize(("text", "isa"), [("avx2", "avx2"), ("", None)])
def test_isa_is_read(text: str, isa: str | None) -> None:
    assert Settings.from_environment({"WEFT_ISA": text}).isa == isa


def test_numbers_are_read() -> None:
    found = Settings.from_environment({"WEFT_CACHE_LIMIT": "1000", "WEFT_CODEGEN_THREADS": "3"})
    assert (found.cache_limit_bytes, found.codegen_threads) == (1000, 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WEFT_CACHE_LIMIT", "1 GB"),
        ("WEFT_CACHE_LIMIT", "-1"),
        ("WEFT_CODEGEN_THREADS", "0"),
        ("WEFT_VERIFY", "yes"),
    ],
)
def test_a_bad_value_is_an_error_that_names_the_variable(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        Settings.from_environment({name: value})


@pytest.mark.parametrize(("text", "on"), [("", False), ("0", False), ("1", True), (" 1 ", True)])
def test_whether_graphs_are_verified_is_read(text: str, on: bool) -> None:
    assert Settings.from_environment({"WEFT_VERIFY": text}).verify is on


def test_configure_returns_what_was_before() -> None:
    before = configure(isa="generic")
    try:
        assert settings().isa == "generic"
        assert configure(isa="avx2").isa == "generic"
    finally:
        configure(**{name: getattr(before, name) for name in Settings.__slots__})
    assert settings() == before


def test_a_bad_change_changes_nothing() -> None:
    before = settings()
    with pytest.raises(ValueError, match="WEFT_CODEGEN_THREADS"):
        configure(codegen_threads=0)
    assert settings() == before
