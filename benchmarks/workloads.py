"""What is measured: one row of the table each. The peers' files hold a function of the same name."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatch
from itertools import pairwise

__all__ = ["COLUMNS", "MLP", "PEERS", "Workload", "matmul", "select", "table", "threads_shown"]

# column -> (module in benchmarks/peers, environment, mode); Weft's mode is the workload's
PEERS = {
    "Weft": ("weft_cpu", "weft", ""),
    "PyTorch eager": ("pytorch", "torch", "eager"),
    "PyTorch NHWC": ("pytorch", "torch", "NHWC"),
    "torch.compile": ("pytorch", "torch", "compiled"),
    "JAX jit": ("jax_jit", "jax", "compiled"),
    "TensorFlow": ("tensorflow_graph", "tensorflow", "graph"),
    "TF graph": ("tensorflow_graph", "tensorflow", "graph"),
    "TF XLA": ("tensorflow_graph", "tensorflow", "XLA"),
    "NumPy": ("numpy_blas", "numpy", "eager"),
}
COLUMNS = ("Weft", "PyTorch eager", "torch.compile", "JAX jit", "TensorFlow", "NumPy")  # of the table of operations
EAGER = ("PyTorch eager",)
COMPILED = ("torch.compile", "JAX jit")
ANY_SHAPE = ("PyTorch eager", "torch.compile", "JAX jit", "TensorFlow")
BLAS = ("PyTorch eager", "JAX jit", "NumPy")

MLP = (784, 512, 256, 10)
BATCH = 128
DEEP = (160, 64, 32)  # layers of a linear map, a normalization and a rectifier; their width; the batch
LSTM = (4, 32, 64)  # batch, sizes of the input and of the state
LSTM_LAYER = (128, 256, 32, 50)  # sizes of the input and of the state, batch, steps
SMALL_GPT = (2, 4, 64, 256, 128, 4)  # layers, heads, width, vocabulary, longest text, batch
GPT2 = (12, 12, 768, 50257, 1024, 1)
GPT2_LENGTH = 64


def lengths(least: int) -> list[int]:
    """50 lengths, each once, in an order that neither grows nor shrinks."""
    return [least + 7 * i % 50 for i in range(50)]


LSTM_LENGTHS, GPT_LENGTHS = lengths(3), lengths(16)


@dataclass(frozen=True, slots=True)
class Workload:
    """A row: ``function`` of a peer's file called with ``arguments``; ``compiled`` is the mode that Weft runs in.

    ``measure`` is ``time`` (of one call), ``first call`` (in a fresh process, its disk caches ``cold`` or warm; the
    median of so many ``processes``), ``latency`` (the same, without what a later call takes), ``import`` (a fresh
    process's) or ``memory`` (its peak, resident). Of a function that is called with many sizes in turn, in a fresh
    process with cold caches, it is ``captures`` (how many graphs, traces or compilations that took), ``first pass`` or
    ``steady pass`` (the time of all sizes). ``flops`` and ``bytes`` are the least that one call must do; ``goal`` is
    the time in seconds, the count or the peer that Weft must not exceed: None is ``share`` of the best peer,
    or what takes the machine to 90 % of its roof where that is longer (report.py).
    ``memory``: a fresh process takes about so many bytes, which the machine has at hand beforehand. ``weights``: the
    model whose weights PyTorch writes to a file, for the function's argument of that name; the peers' answers must
    agree. ``calls``: one execution counts as so many.
    """

    key: str
    label: str
    function: str
    peers: tuple[str, ...]
    arguments: dict[str, int] = field(default_factory=dict)
    compiled: bool = False
    threads: int = 2
    measure: str = "time"
    cold: bool = False
    processes: int = 3
    flops: float = 0.0
    bytes: float = 0.0
    goal: float | str | None = None
    memory: int = 0
    share: float = 1.0
    weights: str | None = None
    calls: int = 1


def _mlp_flops() -> float:
    """Forward, weight gradients, and input gradients of every layer but the first."""
    products = [2.0 * BATCH * a * b for a, b in pairwise(MLP)]
    return 3 * sum(products) - products[0]


def threads_shown(count: int) -> str:
    """``1 thread``, ``2 threads``."""
    return f"{count} thread{'s' * (count > 1)}"


def matmul(n: int, threads: int) -> Workload:
    return Workload(
        key=f"matmul-{n}-{threads}t",
        label=f"matmul {n} x {n}, {threads_shown(threads)}",
        function="matmul",
        peers=BLAS,
        arguments={"n": n},
        threads=threads,
        flops=2.0 * n**3,
        bytes=3 * 4.0 * n**2,
    )


def _convolution(batch: int, inside: int, outside: int, size: int, kernel: int, stride: int, threads: int) -> Workload:
    """A layer of ResNet: padded, so that the size stays but for the stride."""
    results = batch * (size // stride) ** 2
    step = f"/{stride}" if stride > 1 else ""
    return Workload(
        key=f"conv-{kernel}x{kernel}-{size}-{threads}t",
        label=f"conv2d {inside} to {outside}, {kernel}x{kernel}{step}, {batch} x {size}^2, {threads}t",
        function="convolution",
        peers=("PyTorch eager", "JAX jit"),
        arguments={
            "batch": batch,
            "inside": inside,
            "outside": outside,
            "size": size,
            "kernel": kernel,
            "stride": stride,
        },
        threads=threads,
        flops=2.0 * results * outside * inside * kernel**2,
        bytes=4.0 * (batch * inside * size**2 + results * outside + outside * inside * kernel**2),
    )


def _attention(length: int, backward: bool) -> Workload:
    """Causal, 8 heads of 64: forward is two products, backward five, of which one is that of the scores again."""
    products = 7 if backward else 2
    return Workload(
        key=f"attention-{length}{'-grad' if backward else ''}",
        label=f"causal attention, 8 heads of 64, {length} tokens{', forward and backward' if backward else ''}",
        function="attention",
        peers=("PyTorch eager", "JAX jit"),
        arguments={"length": length, "backward": int(backward)},
        flops=products * 2.0 * 8 * 64 * length * (length + 1) / 2,
        bytes=(8 if backward else 4) * 4.0 * 8 * 64 * length,
    )


_RESNET = ((8, 3, 64, 224, 7, 2), (8, 64, 64, 56, 3, 1), (8, 128, 128, 28, 3, 1), (8, 256, 64, 56, 1, 1))


def _lstm_flops(backward: bool) -> float:
    """The products of inputs and of states; on the way back those of the weights' gradients, and of the states'."""
    inside, size, batch, steps = LSTM_LAYER
    forward = 8.0 * steps * batch * size * (inside + size)
    return forward + backward * (forward + 8.0 * steps * batch * size * size)


def _lengths(name: str, label: str) -> list[Workload]:
    """How many graphs a function of any length takes, its first pass and its later ones."""
    return [
        Workload(
            f"lengths-{name}-{measure.replace(' ', '-')}",
            f"{label}: {measure}",
            f"lengths_{name}",
            ANY_SHAPE,
            compiled=True,
            measure=measure,
            goal=2.0 if measure == "captures" else None,
        )
        for measure in ("captures", "first pass", "steady pass")
    ]


def table() -> list[Workload]:
    """Operations, small models, and what it takes to begin."""
    elements = 1 << 24
    gelu = {"arguments": {"n": elements}, "bytes": 3 * 4.0 * elements}
    return [
        Workload("add", "x + y, 10 floats, eager", "add", (*EAGER, "NumPy"), goal="PyTorch eager"),
        Workload("add-grad", "x + y, 10 floats, recorded, eager", "add_recorded", EAGER),
        Workload("view", "x[3:5], eager", "view", EAGER),
        Workload("add-in-place", "x.add_(y), 10 floats, eager", "add_in_place", EAGER),
        Workload("write-item", "x[3] = 0.5, eager", "write_item", EAGER),
        Workload("chain", "20 ops on 10 floats, forward and backward, eager", "chain", EAGER),
        Workload("small-step-eager", "2-8-1 step, SGD, eager", "small_step", EAGER),
        Workload("small-step-compiled", "2-8-1 step, SGD, compiled", "small_step", COMPILED, compiled=True, goal=10e-6),
        *(
            Workload(
                f"adamw-100-{'x'.join(map(str, shape))}",
                f"AdamW step, 100 parameters {list(shape)}, eager",
                "optimizer_step",
                EAGER,
                arguments={"count": 100, "rows": shape[0], "columns": shape[1]},
                threads=1,
            )
            for shape in ((1, 64), (64, 64))
        ),
        Workload(
            "adamw-100-compiled",
            "AdamW step, 100 parameters [1, 64], compiled",
            "optimizer_step",
            (*EAGER, "torch.compile"),
            arguments={"count": 100, "rows": 1, "columns": 64},
            compiled=True,
            threads=1,
        ),
        *(matmul(n, threads) for n in (64, 128, 256, 512, 1024, 2048) for threads in (1, 2)),
        Workload(
            "batched",
            "matmul 32 x (128 x 128 @ 128 x 64)",
            "batched_matmul",
            BLAS,
            flops=2.0 * 32 * 128 * 128 * 64,
            bytes=4.0 * 32 * (128 * 128 + 2 * 128 * 64),
        ),
        *(_convolution(*shape, threads) for shape in _RESNET for threads in (1, 2)),
        *(_attention(length, backward) for length in (256, 1024) for backward in (False, True)),
        Workload(
            "attention-decode",
            "attention of one token to 1024, 8 heads of 64",
            "attention_decode",
            ("PyTorch eager", "JAX jit"),
            arguments={"keys": 1024},
            bytes=2 * 4.0 * 8 * 64 * 1024,
        ),
        Workload("matvec", "4096 x 4096 @ vector", "matvec", BLAS, arguments={"n": 4096}, bytes=4.0 * 4096**2),
        Workload("vecmat", "vector @ 4096 x 4096", "vecmat", BLAS, arguments={"n": 4096}, bytes=4.0 * 4096**2),
        *(
            Workload(
                f"logits-{batch}-{threads}t",
                f"{batch} x 768 @ (50257 x 768).T, {threads_shown(threads)}",
                "logits",
                BLAS,
                arguments={"batch": batch, "width": 768, "words": 50257},
                threads=threads,
                flops=2.0 * batch * 768 * 50257,
                bytes=4.0 * (768 * 50257 + batch * (768 + 50257)),
            )
            for batch in (1, 4, 8, 16)
            for threads in (1, 2)
        ),
        *(
            Workload(
                f"column-sum-{columns}",
                f"sum of the rows of 2048 x {columns}, 1 thread",
                "column_sum",
                BLAS,
                arguments={"rows": 2048, "columns": columns},
                threads=1,
                bytes=4.0 * 2048 * columns,
            )
            for columns in (384, 1536)
        ),
        Workload("gelu-eager", "gelu(a * b + c).sum(), 16 M, eager", "gelu_sum", EAGER, **gelu),
        Workload("gelu-compiled", "gelu(a * b + c).sum(), 16 M, compiled", "gelu_sum", COMPILED, compiled=True, **gelu),
        *(
            Workload(
                f"{kind}-pool-{size}-{threads}t",
                f"{kind}_pool2d {size} x {size} / 2 of (32, 64, 112, 112), {threads_shown(threads)}",
                "pool",
                EAGER,
                arguments={"kind": kind, "size": size},
                threads=threads,
                bytes=4.0 * 32 * 64 * (112**2 + ((112 - size) // 2 + 1) ** 2),
            )
            for kind in ("max", "avg")
            for size in (2, 3)
            for threads in (1, 2)
        ),
        *(
            Workload(
                f"lstm-{'step' if backward else 'forward'}-{threads}t",
                f"LSTM 128-256, 32 x 50 steps, forward{' and backward' * backward}, eager, {threads_shown(threads)}",
                "lstm_layer",
                (*EAGER, "JAX jit", "TensorFlow"),
                arguments={"backward": int(backward)},
                threads=threads,
                flops=_lstm_flops(backward),
            )
            for backward in (False, True)
            for threads in (1, 2)
        ),
        Workload("mlp-eager", "MLP 784-512-256-10 step, Adam, eager", "mlp_step", EAGER, flops=_mlp_flops()),
        Workload(
            "mlp-compiled",
            "MLP 784-512-256-10 step, Adam, compiled",
            "mlp_step",
            (*EAGER, *COMPILED),
            compiled=True,
            flops=_mlp_flops(),
        ),
        Workload(
            "first-cold",
            "first call of the MLP step, cold caches",
            "mlp_step",
            COMPILED,
            compiled=True,
            measure="first call",
            cold=True,
            goal=1.0,
        ),
        Workload(
            "first-warm",
            "first call of the MLP step, warm disk cache",
            "mlp_step",
            COMPILED,
            compiled=True,
            measure="first call",
            goal=0.15,
        ),
        *_lengths("lstm", "LSTM cell in a Python loop, 50 lengths"),
        *_lengths("gpt", "small GPT, 50 lengths"),
        *(
            Workload(
                f"deep-{'cold' if cold else 'warm'}",
                f"to compile a step of 160 layers, AdamW, {'cold caches' if cold else 'warm disk cache'}",
                "deep_step",
                COMPILED,
                compiled=True,
                measure="latency",
                cold=cold,
                processes=1,
                goal=1.2 if cold else 0.5,
            )
            for cold in (True, False)
        ),
        Workload(
            "gpt2-cold",
            "to compile a step of GPT-2 124M, AdamW, cold caches",
            "gpt2_step",
            COMPILED,
            compiled=True,
            measure="latency",
            cold=True,
            processes=1,
            goal=3.0,
            memory=4 << 30,
        ),
        Workload("call-add", "x + y, 10 floats, compiled", "call_add", COMPILED, compiled=True, goal=0.8e-6),
        Workload(
            "call-add-grad",
            "x + y, 10 floats, recorded, compiled",
            "call_add_recorded",
            ("torch.compile",),
            compiled=True,
        ),
        Workload(
            "call-captured",
            "2 arguments and 20 captured tensors of 10 floats, compiled",
            "call_captured",
            COMPILED,
            compiled=True,
            goal=2e-6,
        ),
        Workload("import", "import", "", (*EAGER, "JAX jit"), measure="import", goal=0.25),
        Workload(
            "memory",
            "peak memory of the MLP step",
            "mlp_step",
            (*EAGER, *COMPILED),
            compiled=True,
            measure="memory",
            goal="PyTorch eager",
        ),
    ]


def select(pattern: str, rows: list[Workload] | None = None) -> list[Workload]:
    """The rows (of the table of operations) whose key matches one of the comma-separated shell patterns."""
    patterns = pattern.split(",")
    return [w for w in (table() if rows is None else rows) if any(fnmatch(w.key, p) for p in patterns)]
