"""The version of weft, which files that it writes name."""

from __future__ import annotations

__all__ = ["VERSION"]

VERSION = "0.1.0"
