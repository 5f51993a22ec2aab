"""Handwritten digits (scikit-learn's 8 x 8): train twice, with and without @wf.compile, save, reload, run elsewhere.

The network has dropout, so the same weights bit for bit also mean the same random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import weft as wf
from weft import nn, optim
from weft.nn import functional as F

from .timing import Timings

EPOCHS, BATCH = 60, 64
TARGET = 0.97
FILE = Path("build/demo/digits.onnx")


def images() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Train images (1437, 64) float32 in [0, 1] and labels (1437,) int64, then 360 for the test."""
    pixels, labels = load_digits(return_X_y=True)
    split = train_test_split(
        (pixels / 16).astype(np.float32), labels.astype(np.int64), test_size=0.2, random_state=0, stratify=labels
    )
    x_train, x_test, y_train, y_test = split
    return x_train, y_train, x_test, y_test


def network() -> nn.Sequential:
    """64 pixels to 10 classes."""
    return nn.Sequential(
        nn.Linear(64, 256),
        nn.LayerNorm(256),
        nn.GELU(),
        nn.Dropout(0.2),
        nn.Linear(256, 128),
        nn.LayerNorm(128),
        nn.GELU(),
        nn.Dropout(0.2),
        nn.Linear(128, 10),
    )


def batches(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[wf.Tensor, wf.Tensor]]:
    """Shuffled batches of all epochs; the rest that fills no batch waits for the next epoch."""
    rng = np.random.default_rng(0)
    for _ in range(EPOCHS):
        order = rng.permutation(len(x))
        for start in range(0, len(x) - BATCH + 1, BATCH):
            rows = order[start : start + BATCH]
            yield wf.asarray(x[rows]), wf.asarray(y[rows])


def train(net: nn.Module, x: np.ndarray, y: np.ndarray, compiled: bool, advance: Callable[[float], None]) -> None:
    """Train ``net`` in place; ``advance`` is told each loss."""
    opt = optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-2)

    def step(xb: wf.Tensor, yb: wf.Tensor) -> wf.Tensor:
        loss = F.cross_entropy(net(xb), yb)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    if compiled:
        step = wf.compile(step)  # forward, backward and update become one native call
    for xb, yb in batches(x, y):
        advance(step(xb, yb).item())


def accuracy(net: Callable[[wf.Tensor], wf.Tensor], x: np.ndarray, y: np.ndarray) -> float:
    """Share of the images that are classified as labelled."""
    with wf.no_grad():
        return float((net(wf.asarray(x)).numpy().argmax(axis=1) == y).mean())


def same_bits(a: nn.Module, b: nn.Module) -> bool:
    """True when every parameter and buffer has the same bits in both."""
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(left[k].numpy().tobytes() == right[k].numpy().tobytes() for k in left)


def train_both(console: Console, timings: Timings, x: np.ndarray, y: np.ndarray) -> tuple[nn.Module, nn.Module]:
    """The network trained eagerly, and trained compiled, from the same seed."""
    steps = EPOCHS * (len(x) // BATCH)
    nets = []
    with Progress(*Progress.get_default_columns(), "loss {task.fields[loss]:.4f}", console=console) as progress:
        for mode in ("eager", "compiled"):
            wf.random.seed(0)
            net = network()
            task = progress.add_task(f"  training, {mode:8}", total=steps, loss=float("nan"))
            with timings.measure(f"digits, {mode}", steps):
                train(
                    net, x, y, mode == "compiled", lambda loss, task=task: progress.update(task, advance=1, loss=loss)
                )
            net.eval()
            nets.append(net)
    return nets[0], nets[1]


def run_in_onnx_runtime(x: np.ndarray) -> np.ndarray:
    """The saved file's output for ``x``, computed by ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(FILE), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def run(console: Console, timings: Timings) -> None:
    """Train twice, compare the bits, and let the file prove itself."""
    x_train, y_train, x_test, y_test = images()
    eager, compiled = train_both(console, timings, x_train, y_train)
    speedup = timings.seconds("digits, eager") / timings.seconds("digits, compiled")
    assert same_bits(eager, compiled)
    console.print(f"  the same weights, bit for bit; @wf.compile was {speedup:.1f} times as fast, compiling included")
    found = accuracy(compiled, x_test, y_test)
    console.print(f"  accuracy on {len(x_test)} images that it never saw: [bold]{100 * found:.1f} %[/bold]")
    assert found >= TARGET, found

    FILE.parent.mkdir(parents=True, exist_ok=True)
    with timings.measure("save as ONNX"):
        wf.save(compiled, str(FILE), example=wf.asarray(x_test[:1]), dynamic={"batch": (0, 0)})
    with timings.measure("verify"):
        wf.verify(str(FILE))
    with timings.measure("reload"):
        again = wf.load(str(FILE))
    batch = wf.asarray(x_test)
    with wf.no_grad():
        ours = compiled(batch).numpy()
    assert again(batch).numpy().tobytes() == ours.tobytes()
    with timings.measure("ONNX Runtime"):
        theirs = run_in_onnx_runtime(x_test)
    assert np.array_equal(theirs.argmax(axis=1), ours.argmax(axis=1))
    console.print(
        f"  {FILE} ({FILE.stat().st_size / 1024:.0f} KiB) is verified; reloaded it gives the same bits; ONNX Runtime "
        f"gives the same classes, and outputs within {np.abs(theirs - ours).max():.1e}"
    )


if __name__ == "__main__":
    run(Console(), Timings())
