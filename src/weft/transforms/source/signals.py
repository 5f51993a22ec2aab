"""What a capture is told by rewritten code, which stops it; and the name of what a function returns, in it.

No Exceptions, for the user's code catches those.
"""

from __future__ import annotations

from typing import Any

RESULT = "_weft_result"


class Unroll(BaseException):
    """A loop over a known number of rounds cannot be one node: the function is to be captured again, with it unrolled.
    ``loop``: the code of its body."""

    def __init__(self, loop: Any):
        super().__init__()
        self.loop = loop


class Stop(BaseException):
    """The function stops in a debugger: this call is to run as Python, to the same bits."""
