"""Names: whatever people call their inputs, the header compiles as C and C++, under every header that comes first."""

from __future__ import annotations

import keyword
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from few_examples import few
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from weft.core import dtypes as dt
from weft.deploy.names import c_name, c_names, is_c_name, library_name, quoted
from weft.deploy.native import Port, header
from weft.llvm.targets import host_target

STANDARDS = [("cc", s) for s in ("c89", "c99", "c11")] + [("c++", f"c++{n}") for n in (11, 14, 17, 20)]
FIRST = [
    "assert",
    "ctype",
    "errno",
    "float",
    "inttypes",
    "iso646",
    "limits",
    "locale",
    "math",
    "setjmp",
    "signal",
    "stdarg",
    "stddef",
    "stdint",
    "stdio",
    "stdlib",
    "string",
    "time",
    "wchar",
    "unistd",
    "sys/stat",
    "sys/socket",
    "netinet/in",
]
LATER = ["complex", "stdbool", "stdalign", "stdnoreturn", "threads"]

# Words of C and C++, macros, names of the library's own, and text that a comment does not survive.
WORDS = (
    "asm auto class friend inline restrict operator typename nullptr constexpr co_await requires alignas noreturn "
    "typeof NULL EOF errno stdin stdout stderr assert linux unix i386 BUFSIZ INT_MAX I M_PI complex bool true false "
    "and or not xor compl int8_t uint8_t int64_t size_t float double _Bool _Reserved __x a__b x_t X_COUNT net_run "
    "net_verify workspace WORKSPACE NET_H st_atime sa_handler si_pid near far B0 M_PIl PRId64 x X _ __ 9lives"
)
TEXTS = ["", " ", "größe", "\u9ad8\u3055", "\U0001f600", "\u202e", "a/b", "../../etc/passwd", "a\0b", "a\nb", "e\u0301"]
TEXTS += ["*/ int x; /*", "/*", "a\\", "a\\\n", "??/", "??/\n", "//", "#define x y", "%s", "$x", "\ud800"]
TEXTS += ["x" * 5000, "é" * 5000, "_" * 5000]
BAD = [*WORDS.split(" "), *TEXTS]
NAMES = st.one_of(
    st.sampled_from([*BAD, *keyword.kwlist]),
    st.text(max_size=20),
    st.from_regex(r"[A-Za-z_0-9]{0,6}", fullmatch=True),
)


def text_of(names: list[str], library: str = "net") -> tuple[str, list[str]]:
    """The header of a library with such inputs, and their names."""
    taken = {"WORKSPACE", f"{library}_RUN".upper(), f"{library}_VERIFY".upper()}
    made = c_names(names, "input", taken)
    ports = [
        Port(name, [dt.float32, dt.int8, dt.bool_][i % 3], (2,), None if name == wanted else wanted)
        for i, (name, wanted) in enumerate(zip(made, names, strict=True))
    ]
    return header(library, ports[:-1], ports[-1:], 64, True, host_target()), made


def compiles(folder: Path, text: str, require_tool: Callable[[str], str]) -> None:
    """Alone in every standard, and after the headers of the C library in one of C and one of C++."""
    (folder / "net.h").write_bytes(text.encode("ascii"))
    for compiler, standard in STANDARDS:
        before = {"c11": FIRST + LATER, "c++17": FIRST}.get(standard, [])
        source = folder / ("main.c" if compiler == "cc" else "main.cc")
        rest = ['#include "net.h"', '#include "net.h"', "int main(void) { return 0; }", ""]
        source.write_text("\n".join([*(f"#include <{h}.h>" for h in before), *rest]))
        flags = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-D_GNU_SOURCE", "-fsyntax-only"]
        done = subprocess.run(
            [require_tool(compiler), f"-std={standard}", *flags, str(source)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


def test_bad_names_give_a_header_that_compiles(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    text, made = text_of([*BAD, *BAD[:60], *keyword.kwlist])
    assert len({name.upper() for name in made}) == len(made) and all(map(is_c_name, made))
    compiles(tmp_path, text, require_tool)


@settings(
    max_examples=3,
    phases=[Phase.generate],  # a failure shows the compiler's words; to shrink it would call the compiler for minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(names=st.lists(NAMES, min_size=30, max_size=60))
def test_any_names_give_a_header_that_compiles(
    names: list[str], tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    compiles(tmp_path, text_of(names)[0], require_tool)


@few(75, 900, names=st.lists(NAMES, min_size=1, max_size=12))
def test_names_are_those_of_c_and_stay_apart(names: list[str]) -> None:
    text, made = text_of(names)
    assert all(map(is_c_name, made)) and len({n.upper() for n in made}) == len(made)
    assert text.isascii() and text.isprintable() is False and all(c == "\n" or c.isprintable() for c in text)
    assert (text.count("/*") == text.count("*/") and "??" not in text.replace("'", "")) or "?" not in text
    for wanted, name in zip(names, made, strict=True):
        assert name == wanted or f"'{quoted(wanted)}' in the model */" in text
    assert c_names(names, "input", {"WORKSPACE", "NET_RUN", "NET_VERIFY"}) == made


@few(100, 900, name=NAMES)
def test_a_good_name_stays(name: str) -> None:
    assert c_name(name, "input") == name or not is_c_name(name)
    made = library_name(name)
    assert made.isascii() and made.isidentifier() and len(made) < 80


def test_macros_of_this_machine_are_no_names(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    """Whatever the compiler and the C library define without parentheses is not taken for a parameter's name."""
    source = tmp_path / "all.c"
    source.write_text("".join(f"#include <{h}.h>\n" for h in [*FIRST, *LATER]))
    done = subprocess.run(
        [require_tool("cc"), "-std=gnu11", "-D_GNU_SOURCE", "-dM", "-E", str(source)],
        check=True,
        capture_output=True,
        text=True,
    )
    macros = {line.split()[1] for line in done.stdout.splitlines()}
    assert len(macros) > 500
    assert [m for m in macros if "(" not in m and is_c_name(m)] == []


@pytest.mark.parametrize("reason", ["workspace", "float", "größe", "x" * 64, "a__b", "_a", "a_t", "NULL", "1a", "a b"])
def test_what_is_no_name(reason: str) -> None:
    assert not is_c_name(reason)
