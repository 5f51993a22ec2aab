"""How much memory the user allows: a number of bytes, or a text such as ``"64MB"``."""

from __future__ import annotations

import re
from typing import Any

from ..core.errors import ArgumentError

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}


def bytes_said(limit: Any) -> int | None:
    """The bytes of ``memory_limit=``; None for None.

    Raises:
        ArgumentError: neither a number of bytes, at least 0, nor a text with a unit.

    >>> bytes_said("64MB"), bytes_said("1.5 KiB"), bytes_said(4096)
    (64000000, 1536, 4096)
    """
    if limit is None:
        return None
    if isinstance(limit, int) and not isinstance(limit, bool) and limit >= 0:
        return limit
    said = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", limit) if isinstance(limit, str) else None
    if said is None or said[2].upper() not in _UNITS:
        raise ArgumentError(
            f'compile: memory_limit is a number of bytes or a text such as "64MB" or "1GiB", not {limit!r}'
        )
    return int(float(said[1]) * _UNITS[said[2].upper()])
