"""Who runs when: every peer in a process of its own, in turns, so that what disturbs the machine disturbs them all."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from .environments import ROOT, interpreter
from .workloads import PEERS, Workload

__all__ = ["PeerFailed", "Results", "run"]

SETTLE_SECONDS = 0.05  # idle threads of the peer before go to sleep
TOLERANCE = 2e-3  # of the largest number of an answer: float32, in another order in each library
REFERENCE = "PyTorch eager"


class PeerFailed(Exception):
    """A peer's process ended, or could not be started; the message ends with what it printed last."""


@dataclass(slots=True)
class Results:
    """``values[workload key][column]``: seconds, or bytes; ``failures`` the same with the reason in their place.

    ``read_seconds[threads][bytes]`` is what the machine needs to read so many bytes: caches make it depend on how many.
    """

    values: dict[str, dict[str, float]] = field(default_factory=dict)
    failures: dict[str, dict[str, str]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    read_seconds: dict[int, dict[float, float]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write everything to a JSON file."""
        unfinished = path.with_name(f"{path.name}.tmp")
        unfinished.write_text(json.dumps(asdict(self), indent=2))
        unfinished.replace(path)

    @classmethod
    def load(cls, path: Path) -> Results:
        """What :meth:`save` wrote."""
        results = cls(**json.loads(path.read_text()))
        results.read_seconds = {
            int(threads): {float(nbytes): seconds for nbytes, seconds in found.items()}
            for threads, found in results.read_seconds.items()
        }
        return results


class Worker:
    """One running peer."""

    def __init__(self, column: str, mode: str, threads: int, caches: str | None = None):
        module, environment, _ = PEERS[column]
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by close()
        self.process = subprocess.Popen(
            [interpreter(environment), "-m", "benchmarks.worker", module, mode, str(threads)],
            cwd=ROOT,
            env=_environment(threads, caches),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        hello = self._answer()
        self.version: str = hello["version"]
        self.import_time: float = hello["import"]

    def prepare(self, workload: Workload, warm_up: bool = True, **more: str) -> float:
        """Set the workload up and run it once; the seconds of that first call."""
        arguments = {**workload.arguments, **more}
        return self._ask(do="prepare", function=workload.function, arguments=arguments, warm_up=warm_up)

    def check(self) -> list[float]:
        """What the peers must agree upon: some of the answers, or losses."""
        return self._ask(do="check")

    def save(self, name: str, path: str) -> None:
        """Write the weights of a model."""
        self._ask(do="save", name=name, path=path)

    def sample(self, seconds: float) -> list[float]:
        """Times of one call each, measured for about ``seconds``."""
        return self._ask(do="sample", seconds=seconds)

    def captures(self) -> float | None:
        """How many graphs the statement took until now; None for a peer that makes none."""
        return self._ask(do="count")

    def memory(self) -> float:
        """Peak resident bytes until now."""
        return self._ask(do="memory")

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.errors.close()

    def _ask(self, **request: Any) -> Any:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the answer says why
            print(json.dumps(request), file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            lines = self.errors.read().strip().splitlines()
            raise PeerFailed(lines[-1] if lines else f"the process ended with status {self.process.returncode}")
        return json.loads(line)


def _touch(nbytes: int) -> None:
    """Let another process write to so many bytes of memory. The host of a virtual machine gives it memory when it is
    first written to, at 0.3 GB/s on the machine of README's table, where the machine itself hands it out at 10; what a
    process gives back stays with the machine for some seconds."""
    write = f"import mmap; m = mmap.mmap(-1, {nbytes})\nfor at in range(0, {nbytes}, 4096): m[at] = 1"
    subprocess.run([sys.executable, "-c", write], check=True)


def _environment(threads: int, caches: str | None) -> dict[str, str]:
    """The variables of a peer's process: thread counts, and where the disk caches are. Modules are compiled once, as
    those of an installed package are."""
    others = ("PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE")
    env = {name: value for name, value in os.environ.items() if name not in others}
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        env[name] = str(threads)
    env["JAX_PLATFORMS"] = "cpu"
    if caches is not None:
        env["WEFT_CACHE_DIR"] = os.path.join(caches, "weft")
        env["TORCHINDUCTOR_CACHE_DIR"] = os.path.join(caches, "inductor")
        env["JAX_COMPILATION_CACHE_DIR"] = os.path.join(caches, "jax")
        env["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        env["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    return env


def _mode(column: str, workload: Workload) -> str:
    return PEERS[column][2] or ("compiled" if workload.compiled else "eager")


def _compare(found: list[float], expected: list[float]) -> None:
    """Raise where a peer's answer is not PyTorch's: another model, or a wrong one, would be timed."""
    largest = max(map(abs, expected))
    if len(found) != len(expected) or any(
        not abs(a - b) <= TOLERANCE * largest for a, b in zip(found, expected, strict=True)
    ):
        raise PeerFailed(f"its answer {found[:3]} is not PyTorch's {expected[:3]}")


class Race:
    """One run of the benchmark; processes that measure times stay alive from row to row."""

    def __init__(self, rounds: int, seconds: float, results: Results):
        self.rounds, self.seconds = rounds, seconds
        self.results = results
        self.workers: dict[tuple[str, str, int], Worker] = {}
        self.files = tempfile.TemporaryDirectory()
        self.answers: dict[str, list[float]] = {}  # the reference's, by what was asked
        self.passes: dict[str, tuple[dict[str, dict[str, float]], dict[str, str]]] = {}  # of functions of many sizes

    def measure(self, workload: Workload, columns: Iterable[str]) -> None:
        """Fill in the row of one workload."""
        by_kind: dict[str, Callable[[Workload, list[str]], None]] = {
            "time": self._times,
            "first call": self._first_calls,
            "import": self._imports,
            "memory": self._memory,
            "latency": self._first_calls,
            **dict.fromkeys(("captures", "first pass", "steady pass"), self._passes),
        }
        self.results.values[workload.key] = {}
        self.results.failures[workload.key] = {}
        by_kind[workload.measure](workload, list(columns))

    def measure_reading(self, workload: Workload) -> None:
        """How long the machine takes to read the bytes of ``workload`` once, with its threads, measured with NumPy."""
        if workload.bytes in self.results.read_seconds.get(workload.threads, {}):
            return
        probe = Workload(
            "read", "", "read_memory", ("NumPy",), {"n": int(workload.bytes) // 4}, threads=workload.threads
        )
        self.measure(probe, ["NumPy"])
        row = self.results.values.pop(probe.key)
        if row:
            self.results.read_seconds.setdefault(workload.threads, {})[workload.bytes] = row["NumPy"]

    def close(self) -> None:
        """End every process."""
        for worker in self.workers.values():
            worker.close()
        self.workers.clear()
        self.files.cleanup()

    def _times(self, workload: Workload, columns: list[str]) -> None:
        samples: dict[str, list[float]] = {}
        for column in columns:
            with self._failure(workload, column):
                worker = self._worker(column, workload)
                worker.prepare(workload, **self._weights(workload))
                self._check(worker, workload)
                samples[column] = []
        for _ in range(self.rounds):
            for column in list(samples):
                time.sleep(SETTLE_SECONDS)
                with self._failure(workload, column, samples):
                    samples[column] += self._worker(column, workload).sample(self.seconds)
        self.results.values[workload.key] = {
            column: median(times) / workload.calls for column, times in samples.items()
        }

    def _weights(self, workload: Workload) -> dict[str, str]:
        """The argument that says where the weights lie; they are written when they are first asked for."""
        if workload.weights is None:
            return {}
        path = os.path.join(self.files.name, f"{workload.weights}.npz")
        if not os.path.exists(path):
            worker = Worker(REFERENCE, "eager", workload.threads)
            try:
                worker.save(workload.weights, path)
            finally:
                worker.close()
        return {"weights": path}

    def _check(self, worker: Worker, workload: Workload) -> None:
        """Compare what the peer computes with what PyTorch does, where it is told the weights."""
        if workload.weights is None:
            return
        asked = f"{workload.function} {workload.weights} {workload.arguments}"
        if asked not in self.answers:
            reference = Worker(REFERENCE, "eager", workload.threads)
            try:
                reference.prepare(workload, warm_up=True, **self._weights(workload))
                self.answers[asked] = reference.check()
            finally:
                reference.close()
        _compare(worker.check(), self.answers[asked])

    def _first_calls(self, workload: Workload, columns: list[str]) -> None:
        for column in columns:
            with self._failure(workload, column), tempfile.TemporaryDirectory() as shared:
                if not workload.cold:
                    self._first_call(workload, column, shared)
                times = []
                for _ in range(workload.processes):
                    with tempfile.TemporaryDirectory() as empty:
                        times.append(self._first_call(workload, column, empty if workload.cold else shared))
                self.results.values[workload.key][column] = median(times)

    def _first_call(self, workload: Workload, column: str, caches: str) -> float:
        weights = self._weights(workload)
        if workload.memory:
            _touch(workload.memory)
        worker = self._start(column, workload, caches)
        try:
            first = worker.prepare(workload, warm_up=False, **weights)
            return first - min(worker.sample(0.0)) if workload.measure == "latency" else first
        finally:
            worker.close()

    def _passes(self, workload: Workload, columns: list[str]) -> None:
        """All that is measured of a function of many sizes, at the first of its rows."""
        key = f"{workload.function} {workload.threads}"
        if key not in self.passes:
            found: dict[str, dict[str, float]] = {m: {} for m in ("captures", "first pass", "steady pass")}
            with contextlib.ExitStack() as stack:
                workers: dict[str, Worker] = {}
                for column in columns:
                    with self._failure(workload, column):
                        caches = stack.enter_context(tempfile.TemporaryDirectory())
                        workers[column] = worker = self._start(column, workload, caches)
                        stack.callback(worker.close)
                        first = worker.prepare(workload, warm_up=False, **self._weights(workload))
                        found["first pass"][column] = first
                        self._check(worker, workload)
                samples: dict[str, list[float]] = {column: [] for column in found["first pass"]}
                for _ in range(self.rounds):
                    for column in list(samples):
                        time.sleep(SETTLE_SECONDS)
                        with self._failure(workload, column, samples):
                            samples[column] += workers[column].sample(self.seconds)
                for column in list(samples):
                    with self._failure(workload, column, samples):
                        captures = workers[column].captures()
                        found["steady pass"][column] = median(samples[column])
                        if captures is not None:
                            found["captures"][column] = captures
            self.passes[key] = found, self.results.failures[workload.key]
        found, failures = self.passes[key]
        self.results.values[workload.key] = found[workload.measure]
        self.results.failures[workload.key] = failures

    def _imports(self, workload: Workload, columns: list[str]) -> None:
        samples: dict[str, list[float]] = {}
        for _ in range(self.rounds):
            for column in columns:
                with self._failure(workload, column):
                    worker = self._start(column, workload)
                    worker.close()
                    samples.setdefault(column, []).append(worker.import_time)
        self.results.values[workload.key] = {column: median(times) for column, times in samples.items()}

    def _memory(self, workload: Workload, columns: list[str]) -> None:
        for column in columns:
            with self._failure(workload, column):
                worker = self._start(column, workload)
                try:
                    worker.prepare(workload, **self._weights(workload))
                    self.results.values[workload.key][column] = worker.memory()
                finally:
                    worker.close()

    def _start(self, column: str, workload: Workload, caches: str | None = None) -> Worker:
        worker = Worker(column, _mode(column, workload), workload.threads, caches)
        self.results.versions[column] = worker.version
        return worker

    def _worker(self, column: str, workload: Workload) -> Worker:
        key = (column, _mode(column, workload), workload.threads)
        if key not in self.workers:
            self.workers[key] = self._start(column, workload)
        return self.workers[key]

    def _failure(self, workload: Workload, column: str, samples: dict[str, list[float]] | None = None) -> _Failure:
        return _Failure(self, workload, column, samples)


class _Failure:
    """A peer that fails leaves a hole in its row, with the reason, and the race goes on."""

    def __init__(self, race: Race, workload: Workload, column: str, samples: dict[str, list[float]] | None):
        self.race, self.workload, self.column, self.samples = race, workload, column, samples

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> bool:
        if not isinstance(error, PeerFailed):
            return False
        failures = self.race.results.failures.setdefault(self.workload.key, {})
        failures[self.column] = str(error)
        if self.samples is not None:
            self.samples.pop(self.column, None)
        key = (self.column, _mode(self.column, self.workload), self.workload.threads)
        worker = self.race.workers.pop(key, None)
        if worker is not None:
            worker.close()
        return True


def run(
    workloads: list[Workload],
    columns: list[str],
    rounds: int,
    seconds: float,
    step: Callable[[str, Results], None],
    earlier: Results | None = None,
) -> Results:
    """Measure every workload with those of its peers that ``columns`` names, but for what ``earlier`` holds, to which
    the rest is added; ``step(label, results)`` is called before each, with the rows until then."""
    race = Race(rounds, seconds, earlier or Results())
    try:
        for workload in workloads:
            step(workload.label, race.results)
            if workload.key in race.results.values:
                continue
            if workload.bytes and not workload.flops:
                race.measure_reading(workload)
            race.measure(workload, [c for c in columns if c == "Weft" or c in workload.peers])
    finally:
        race.close()
    return race.results
