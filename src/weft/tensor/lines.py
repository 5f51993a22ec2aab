"""Lines of the user's code: where a call that is on the tape was made, in a form that costs little until it is told."""

from __future__ import annotations

from sys import _getframe
from typing import Any

from ..core.errors import is_wefts_own, user_line

# Code that places have been looked for through, by id: the package's, and the user's. Kept alive, so that ids stay.
own_code: dict[int, Any] = {}
user_code: dict[int, Any] = {}


def place(depth: int = 2) -> Any:
    """Where the user's code is, in the cheapest form; see :func:`where_of`. ``depth``: of the first frame that may be
    the user's."""
    frame: Any = _getframe(depth)
    while frame is not None:
        code = frame.f_code
        known = id(code)
        if known in user_code:
            return code, frame.f_lasti
        if known not in own_code:
            if not is_wefts_own(code):
                if len(user_code) > 4096:
                    user_code.clear()
                user_code[known] = code
                return code, frame.f_lasti
            own_code[known] = code
        frame = frame.f_back
    return None


def where_of(place: Any) -> tuple[str, int] | None:
    """(file, line) of a place."""
    if place is None:
        return None
    code, last = place
    line = next((n for start, stop, n in code.co_lines() if start <= last < stop), None)
    return code.co_filename, line or code.co_firstlineno


def note_write(storage: Any) -> None:
    """Remember the user's line as that of the last write to a storage that some record has kept."""
    storage.note = user_line(2)
