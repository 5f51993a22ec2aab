"""The timing loop inside a peer's process: requests as JSON lines on stdin, answers on stdout.

Runs in the peer's environment, so it needs nothing but the standard library and that peer.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import sys
import time
import timeit
from collections.abc import Callable
from typing import Any, TextIO

__all__ = ["Timed", "main"]

LIBRARIES = {
    "weft_cpu": "weft",
    "pytorch": "torch",
    "jax_jit": "jax",
    "tensorflow_graph": "tensorflow",
    "numpy_blas": "numpy",
}
SAMPLE_SECONDS = 0.01  # one sample of a fast statement is a loop of about this length
WARM_UP_SECONDS = 0.3


class Timed:
    """A prepared statement: ``samples(seconds)`` are times of one execution."""

    def __init__(self, statement: str, names: dict[str, Any]):
        self.names = names
        self.timer = timeit.Timer(statement, globals=names)
        start = time.perf_counter()
        self.timer.timeit(1)
        self.first_call = time.perf_counter() - start
        self.loops = 1

    def warm_up(self) -> None:
        """Runs until compilation and caches have settled, and finds the length of the loop."""
        start = time.perf_counter()
        self.timer.timeit(2)
        while time.perf_counter() - start < WARM_UP_SECONDS:
            once = self.timer.timeit(self.loops) / self.loops
            self.loops = max(1, min(1_000_000, int(SAMPLE_SECONDS / max(once, 1e-9))))

    def samples(self, seconds: float) -> list[float]:
        """Times of one execution, of loops that together last about ``seconds``; at least two."""
        gc.collect()
        found: list[float] = []
        start = time.perf_counter()
        while len(found) < 2 or time.perf_counter() - start < seconds:
            found.append(self.timer.timeit(self.loops) / self.loops)
        return found


def peak_memory() -> int:
    """Peak resident bytes of this process (of its own address space, where the system says that much)."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def serve(peer: Any, read: TextIO, answer: Callable[[Any], None]) -> None:
    """Answers requests until the input ends."""
    timed: Timed | None = None
    for line in read:
        request = json.loads(line)
        if request["do"] == "prepare":
            timed = None  # the memory of the last workload goes first
            timed = Timed(*getattr(peer, request["function"])(**request["arguments"]))
            if request["warm_up"]:
                timed.warm_up()
            answer(timed.first_call)
        elif request["do"] == "sample":
            assert timed is not None, "sample comes after prepare"
            answer(timed.samples(request["seconds"]))
        elif request["do"] == "count":
            assert timed is not None, "count comes after prepare"
            answer(timed.names["captures"]())
        elif request["do"] == "check":
            assert timed is not None, "check comes after prepare"
            answer(timed.names["check"]())
        elif request["do"] == "save":
            answer(peer.save(request["name"], request["path"]))
        elif request["do"] == "memory":
            answer(peak_memory())


def main(module: str, mode: str, threads: str) -> None:
    """``module`` of benchmarks/peers in ``mode`` with that many threads."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer

    def answer(value: Any) -> None:
        print(json.dumps(value), file=out, flush=True)

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(threads)])
    start = time.perf_counter()
    library = LIBRARIES[module]
    importlib.import_module(library)
    import_time = time.perf_counter() - start
    peer = importlib.import_module(f"benchmarks.peers.{module}")
    answer({"version": peer.start(int(threads), mode), "import": import_time})
    serve(peer, sys.stdin, answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
