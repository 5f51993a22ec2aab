"""The version of weft, which files that it writes name."""

from __future__ import annotations

VERSION = "0.1.0"
