"""What a capture is told by rewritten code, which stops it; and names in that code.

No Exceptions, for the user's code catches those.
"""

from __future__ import annotations

from typing import Any

RESULT = "_weft_result"
FLOW = "_weft_flow"  # the name of the module flow.py in rewritten code


class Unroll(BaseException):
    """A loop over a known number of rounds cannot be one node: the function is to be captured again, with it unrolled.
    ``loop``: the code of its body."""

    def __init__(self, loop: Any):
        super().__init__()
        self.loop = loop


class Stop(BaseException):
    """The function stops in a debugger: this call is to run as Python, to the same bits."""
