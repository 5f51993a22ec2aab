"""Names in C for what people call anything: parameters of the entry, libraries and their files.

A name that C, C++ and their headers leave alone stays as it is. Any other is changed by one rule, :func:`c_name`, and
the header says what it stands for.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence

from ..core.errors import FormatError

_LONGEST = 63  # characters of a name that every compiler of C99 tells apart
_LONGEST_LIBRARY = 200  # so that the file names made of it fit in 255 bytes

_WORDS = """
    alignas alignof and and_eq asm atomic_cancel atomic_commit atomic_noexcept auto bitand bitor bool break case catch
    char char8_t char16_t char32_t class co_await co_return co_yield compl concept const const_cast consteval constexpr
    constinit continue contract_assert decltype default delete do double dynamic_cast else enum explicit export extern
    false float for friend goto if import inline int long module mutable namespace new noexcept not not_eq nullptr
    operator or or_eq private protected public reflexpr register reinterpret_cast requires restrict return short signed
    sizeof static static_assert static_cast struct switch synchronized template this thread_local throw true try typedef
    typeid typename typeof typeof_unqual union unsigned using virtual void volatile wchar_t while xor xor_eq"""
_MACROS = """
    assert complex environ errno far huge i386 imaginary interface linux math_errhandling near noreturn nullptr offsetof
    pascal cdecl hyper small setjmp signgam stderr stdin stdout unix unreachable vax mips sparc hpux sun sgi arm pyr
    va_arg va_copy va_end va_start"""
# Of <inttypes.h>, <math.h>, <stdio.h> and <sys/socket.h>; and of members, which POSIX lets be macros.
_PREFIXES = ("PRI", "SCN", "M_", "L_", "P_", "AF_", "PF_", "s6_", "sa_", "si_", "sigev_", "st_")
_RESERVED = frozenset(f"{_WORDS} {_MACROS} workspace int8_t".split())  # and the entry's last parameter

# A library of such a name would stand in the way of the C library's own headers and archives.
_HEADERS = frozenset(
    [
        "alloca",
        "aio",
        "assert",
        "complex",
        "ctype",
        "dirent",
        "dlfcn",
        "elf",
        "endian",
        "errno",
        "fcntl",
        "features",
        "fenv",
        "float",
        "inttypes",
        "iso646",
        "iostream",
        "libgen",
        "limits",
        "link",
        "locale",
        "malloc",
        "math",
        "memory",
        "netdb",
        "new",
        "poll",
        "pthread",
        "pwd",
        "regex",
        "sched",
        "search",
        "setjmp",
        "signal",
        "stdalign",
        "stdarg",
        "stdatomic",
        "stdbool",
        "stdckdint",
        "stdbit",
        "stddef",
        "stdint",
        "stdio",
        "stdlib",
        "stdnoreturn",
        "string",
        "strings",
        "syslog",
        "termios",
        "tgmath",
        "threads",
        "time",
        "uchar",
        "unistd",
        "values",
        "wchar",
        "wctype",
        "c",
        "m",
        "dl",
        "rt",
        "gcc",
        "gcc_s",
        "gcov",
        "atomic",
        "pthread",
        "stdc",
        "util",
        "resolv",
        "nsl",
        "crypt",
    ]
)


def is_c_name(name: str) -> bool:
    """True for what can name a parameter in C and C++, whatever headers come before it: no keyword, no macro of the
    standards or of compilers, none of the names that they keep for themselves (``_x``, ``a__b``, ``x_t``), and not in
    capitals throughout as macros are (single letters other than I may be)."""
    return (
        re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) is not None
        and len(name) <= _LONGEST
        and "__" not in name
        and name not in _RESERVED
        and not name.endswith("_t")
        and not name.startswith(_PREFIXES)
        and (any("a" <= c <= "z" for c in name) or (len(name) == 1 and name != "I") or name.endswith("_"))
    )


def c_name(wanted: str, otherwise: str, taken: Iterable[str] = ()) -> str:
    """A name in C for ``wanted``.

    Letters lose their accents; what is then neither a letter nor a digit of ASCII becomes an underscore, several in a
    row one; a name that begins otherwise than with a letter gets a ``p`` before it; one of more than 63 characters
    keeps the first 54 and gets 8 digits of its SHA-256; what C or C++ reserve gets an underscore at its end; and what
    is ``taken``, in whatever case (the header's macros are in capitals), a number.

    Args:
        wanted: any text.
        otherwise: the name if nothing of ``wanted`` can be kept.
        taken: names in capitals.

    >>> c_name("größe", "input"), c_name("errno", "input"), c_name("2nd/x", "input"), c_name("高さ", "input")
    ('gro_e', 'errno_', 'p2nd_x', 'input')
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", wanted[:1000]) if not unicodedata.combining(c))
    name = re.sub(r"[^A-Za-z0-9]+", "_", plain).lstrip("_") or otherwise
    name = name if name[0].isalpha() else f"p{name}"
    if len(name) > _LONGEST or len(wanted) > 1000:
        digest = hashlib.sha256(wanted.encode("utf-8", "surrogatepass")).hexdigest()
        name = f"{name[: _LONGEST - 9].rstrip('_')}_{digest[:8]}"
    if not is_c_name(name):
        name = f"{name.rstrip('_')}_" if is_c_name(f"{name.rstrip('_')}_") else f"p{name}"
    used, number, found = set(taken), 1, name
    while found.upper() in used:
        number += 1
        found = f"{name[:50].rstrip('_')}_{number}"
        found = found if is_c_name(found) else f"p{found}"  # which has a small letter, and begins as nothing reserved
    assert is_c_name(found)
    return found


def c_names(wanted: Sequence[str], otherwise: str, taken: set[str]) -> list[str]:
    """Different names in C for all of ``wanted``; they are added to ``taken``, in capitals."""
    found = []
    for each in wanted:
        found.append(c_name(each, otherwise, taken))
        taken.add(found[-1].upper())
    return found


# --- libraries --------------------------------------------------------------------------------------------------


def check_library_name(name: object) -> str:
    """``name`` itself.

    Raises:
        FormatError: it cannot be the prefix of functions and macros in C and of the names of files.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or "__" in name:
        shown = quoted(name) if isinstance(name, str) else repr(name)
        raise FormatError(
            f"'{shown}' cannot be a name in C: letters of ASCII, digits and single underscores, with a letter first"
        )
    if len(name) > _LONGEST_LIBRARY:
        raise FormatError(f"a name of {len(name)} characters; files have room for {_LONGEST_LIBRARY}")
    if name.lower() in _HEADERS:
        raise FormatError(
            f"a library {name!r} would hide the C library's own {name}.h or lib{name}; choose another name"
        )
    return name


def library_name(function: str) -> str:
    """The library's name for a function or class of that name: small letters, see :func:`c_name`."""
    name = c_name(function, "model").lower().strip("_")
    return f"{name}_model" if name in _HEADERS or "__" in name else name


# --- comments ---------------------------------------------------------------------------------------------------

_SAFE = re.compile(r"[^A-Za-z0-9 _.,:;=+()\[\]{}!#$%&'^`|~@-]")
_SHOWN = 100


def quoted(text: str) -> str:
    """Any text for a comment in C or a message: what is not plain ASCII, or could end a comment or join lines, as the
    number of its character.

    >>> quoted("größe"), quoted("*/")
    ('gr<U+00F6><U+00DF>e', '<U+002A><U+002F>')
    """
    shown = _SAFE.sub(lambda m: f"<U+{ord(m[0]):04X}>", text[:_SHOWN])
    return shown if len(text) <= _SHOWN else f"{shown}... ({len(text)} characters)"
