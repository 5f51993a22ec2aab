"""The end of a process and its forks: no signal, no hang, right numbers, whatever other threads are doing."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from weft.core import process

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
    # Python 3.12: a fork of a process with several threads
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),
]

BUSY = """
import atexit, os, random, signal, sys, threading, time
import weft as wf
F = wf.nn.functional

def made_up(number):
    '''A function that no cache has, and an argument for it.'''
    rng = random.Random(number)
    shape = tuple(rng.randrange(2, 5) for _ in range(rng.randrange(1, 5)))
    chosen = [rng.choice([wf.tanh, wf.sin, wf.cos, wf.abs, F.silu, wf.negative]) for _ in range(rng.randrange(2, 6))]
    axis = rng.randrange(len(shape))
    def function(x):
        for op in chosen:
            x = op(x) * 0.5 + x
        return x.sum(axis)
    return function, wf.ones(shape)

def compute():
    x = wf.ones((1500, 1500))
    while True:
        x = x @ x * 1e-3

def run_compiled():
    step = wf.compile(lambda x: F.softmax(x @ x, -1).sum())
    x = wf.ones((300, 300))
    while True:
        step(x)

def compile_new(first):
    for number in range(first, first + 10**9):
        function, x = made_up(number)
        wf.compile(function)(x)

def check(number):
    '''Eager operators, a compiled function, a new kernel, NumPy.'''
    assert (wf.ones((64, 64)) @ wf.ones((64, 64)) + 1).sum().item() == 64 * 64 * 65
    assert wf.ones((600, 600)).sum().item() == 360000
    assert wf.compile(lambda x: (x * 2 + 1).sum())(wf.ones(100)).item() == 300
    function, x = made_up(number)
    assert wf.compile(function)(x).numpy().tobytes() == function(x).numpy().tobytes()

def busy():
    for work in (compute, run_compiled, lambda: compile_new(os.getpid() << 32), lambda: compile_new(os.getpid() << 33)):
        threading.Thread(target=work, daemon=True).start()
"""


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the runtime's own code and what most programs need first."""
    cache = tmp_path_factory.mktemp("warm") / "cache"
    done = run(f"{BUSY}check(0)\nwf.ones((1500, 1500)) @ wf.ones((1500, 1500)) * 1e-3", cache)
    assert done.returncode == 0, done.stderr
    return cache


@pytest.fixture
def cache(warm: Path, tmp_path: Path) -> Path:
    """A cache of the test's own that is warm."""
    return Path(shutil.copytree(warm, tmp_path / "cache"))


def run(program: str, cache: Path) -> subprocess.CompletedProcess[str]:
    """What becomes of a fresh process."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "WEFT_CACHE_DIR": str(cache)}
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=240)


ENDS = {
    "the end of the script": ("pass", 0),
    "sys.exit": ("sys.exit(3)", 3),
    "os._exit": ("os._exit(4)", 4),
    "an exception": ("raise ValueError('on purpose')", 1),
    "a handler that computes": ("atexit.register(check, 5)", 0),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", -signal.SIGTERM),
    "Ctrl-C": ("os.kill(os.getpid(), signal.SIGINT); time.sleep(60)", -signal.SIGINT),
}
STATUSES = ("sys.exit", "an exception")  # the end of the script, with another status


@pytest.mark.parametrize(
    ("end", "threads"),
    # Without workers of the pool what is different is who computes when the end comes, not which end it is.
    [pytest.param(end, 2, marks=pytest.mark.long if end in STATUSES else []) for end in ENDS]
    + [pytest.param(end, 1, marks=[] if end == "the end of the script" else pytest.mark.long) for end in ENDS],
)
def test_a_process_ends_as_it_should_while_daemon_threads_compute(cache: Path, end: str, threads: int) -> None:
    statement, code = ENDS[end]
    done = run(f"{BUSY}wf.set_num_threads({threads})\nbusy()\ntime.sleep(0.3)\n{statement}", cache)
    # CPython forgets an unhandled Ctrl-C, and ends with 1, when another thread calls exec() meanwhile
    assert done.returncode == code or (end == "Ctrl-C" and done.returncode == 1), done.stderr
    if code == 0:
        assert done.stderr == ""


@pytest.mark.parametrize("first", [False, True], ids=["after a kernel", "before any kernel"])
def test_children_of_a_process_that_computes_and_compiles_do_so_too(tmp_path: Path, cache: Path, first: bool) -> None:
    """Before any kernel the cache is empty: even weft's runtime is compiled while the process forks."""
    script = f"""
import warnings
warnings.filterwarnings("ignore", "This process", DeprecationWarning)  # Python 3.12: forks of a process with threads
if not {first}:
    check(0)
busy()
for number in range(5):
    time.sleep(0.016 * number)
    child = os.fork()
    if child == 0:
        signal.alarm(100)
        try:
            check(number)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status == 0, (number, status)
"""
    done = run(BUSY + script, tmp_path / "empty" if first else cache)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_pool_of_processes_computes(tmp_path: Path, method: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"""
import multiprocessing, warnings
import weft as wf

def work(n):
    return (wf.ones((n, n)) @ wf.ones((n, n))).sum().item(), wf.compile(lambda x: wf.tanh(x) * n)(wf.ones(3))[0].item()

if __name__ == "__main__":
    warnings.filterwarnings("ignore", "This process", DeprecationWarning)
    expected = [work(n) for n in range(90, 96)]
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        assert pool.map(work, range(90, 96)) == expected
""")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stderr) == (0, "")


def test_parent_and_child_go_on_with_compiled_functions_after_a_fork(cache: Path) -> None:
    script = """
import warnings

warnings.filterwarnings("ignore", "This process", DeprecationWarning)  # of Python 3.12: other threads are running
weight, counter = wf.ones((600, 600)).requires_grad_(), wf.zeros(())
optimizer = wf.optim.SGD([weight], lr=0.5)

@wf.compile
def step(x):  # large enough for the pool
    loss = (x @ weight).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    counter.add_(1)
    return loss

x, one = wf.ones((600, 600)) / 600, wf.ones((600, 600))
add = wf.compile(lambda x, y: x + y)
for _ in range(3):
    step(x), add(one, one)
busy = threading.Thread(target=lambda: [step(x) for _ in range(30)])
busy.start()
for _ in range(3):
    child = os.fork()
    if child == 0:
        before = counter.item()
        for _ in range(3):
            step(x), add(one, one)
        good = counter.item() == before + 3 and add(one, one).sum().item() == 720000
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        try:
            while True:
                step(x)
        except KeyboardInterrupt:
            os._exit(0 if good and add(one, one)[0, 0].item() == 2 else 1)
    assert os.waitpid(child, 0)[1] == 0
busy.join()
assert counter.item() == 33, counter
check(1)
print("end")
"""
    done = run(BUSY + script, cache)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_ctrl_c_in_a_long_kernel_leaves_everything_usable(cache: Path) -> None:
    script = """
step = wf.compile(lambda x: (x @ x).sum())
x = wf.ones((1200, 1200))
for number in range(6):
    threading.Timer(0.02 * (number + 1), os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        while True:
            step(x) if number % 2 else x @ x
            made_up_function, argument = made_up(number + random.randrange(1 << 30))
            made_up_function(argument)
    except KeyboardInterrupt:
        check(number)
print("end")
"""
    done = run(BUSY + script, cache)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_ctrl_c_waits_for_what_is_uninterrupted() -> None:
    done = []
    for handler in (signal.default_int_handler, signal.SIG_IGN):
        before = signal.signal(signal.SIGINT, handler)
        try:
            with contextlib.suppress(KeyboardInterrupt), process.uninterrupted():
                os.kill(os.getpid(), signal.SIGINT)
                done.append("inside")
            done.append(signal.getsignal(signal.SIGINT) is handler)
            with (
                pytest.raises(KeyboardInterrupt) if callable(handler) else contextlib.nullcontext(),
                process.uninterrupted(),
            ):
                os.kill(os.getpid(), signal.SIGINT)
                done.append("inside")
        finally:
            signal.signal(signal.SIGINT, before)
    assert done == ["inside", True, "inside"] * 2


ENDING = """
import atexit, threading, time

@atexit.register  # before weft's own, so it runs after it
def last():
    with undivided():
        print("the main thread may still come in")
    go_on.set()
    late.join()

from weft.core.process import undivided
inside, go_on = threading.Event(), threading.Event()

def early_thread():
    with undivided():
        inside.set()
        time.sleep(0.5)
        print("whole")

def late_thread():
    go_on.wait()
    with undivided():
        print("never")

threading.Thread(target=early_thread, daemon=True).start()
late = threading.Thread(target=late_thread, daemon=True)
late.start()
inside.wait()
"""


def test_the_end_waits_for_who_is_inside_and_lets_no_daemon_thread_in(tmp_path: Path) -> None:
    done = run(ENDING, tmp_path / "cache")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "whole\nthe main thread may still come in\n"


def in_child(check: Callable[[], bool]) -> bool:
    """Whether ``check`` holds in a forked child; a child that hangs is killed, which is a no."""
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        good = False
        try:
            good = check()
        finally:
            os._exit(0 if good else 1)
    return os.waitpid(child, 0)[1] == 0


def test_a_lock_that_another_thread_holds_is_free_in_a_child() -> None:
    lock, held, done = process.Lock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock.now:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        assert in_child(lambda: lock.now.acquire(timeout=5))
    finally:
        done.set()
        thread.join()
    with lock.now:  # the forking thread may hold it as well: it gives back what it took
        assert in_child(lambda: lock.now.acquire(timeout=5))


def test_a_fork_cuts_nothing_undivided_in_two() -> None:
    whole, entered, stop = [0, 0], threading.Event(), threading.Event()

    def work() -> None:
        while not stop.is_set():
            with process.undivided():
                whole[0] += 1
                entered.set()
                time.sleep(0.005)
                whole[1] += 1
            time.sleep(0.001)

    thread = threading.Thread(target=work)
    thread.start()
    entered.wait()
    try:
        for _ in range(10):
            assert in_child(lambda: whole[0] == whole[1])
        with process.undivided():  # a fork by who is inside waits for the others only
            assert in_child(lambda: not process._others_inside())
    finally:
        stop.set()
        thread.join()
    assert not process._inside


def test_a_fork_waits_for_an_import_of_ours_by_another_thread(tmp_path: Path) -> None:
    (tmp_path / "weft_late_module.py").write_text("import time\ntime.sleep(0.3)\nwhole = True\n")
    script = f"""
import sys, threading, time, os, signal
import weft.core.process as process
process._IMPORTED_LATE = (*process._IMPORTED_LATE, "weft_late_module")
sys.path.insert(0, {str(tmp_path)!r})
threading.Thread(target=lambda: __import__("weft_late_module")).start()
time.sleep(0.1)
child = os.fork()
if child == 0:
    signal.alarm(20)
    os._exit(0 if __import__("weft_late_module").whole else 1)
assert os.waitpid(child, 0)[1] == 0
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    program = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
