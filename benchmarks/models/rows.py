"""The rows of the model table."""

from __future__ import annotations

from ..workloads import Workload, matmul
from .inputs import lstm_batches
from .sizes import DECODED, GPTS, LSTM, MODELS, TRAINED

__all__ = ["COLUMNS", "table"]

COLUMNS = ("Weft", "PyTorch eager", "PyTorch NHWC", "torch.compile", "JAX jit", "TF graph", "TF XLA")
IMAGES = COLUMNS[1:]
SEQUENCES = tuple(peer for peer in IMAGES if peer != "PyTorch NHWC")
SHARE = 0.8  # of the best peer's time is the goal


def _row(key: str, label: str, name: str, batch: int, threads: int, **others: object) -> Workload:
    peers = SEQUENCES if name in GPTS or name == "bert" else IMAGES
    fields = {"flops": batch * MODELS[name] * (3 if name in TRAINED else 1), "share": SHARE, "weights": name, **others}
    return Workload(
        f"{key}-{threads}t",
        f"{label}, {threads}t",
        "model",
        peers,
        {"name": name, "batch": batch},
        compiled=True,
        threads=threads,
        **fields,  # type: ignore[arg-type]
    )


def _lstm_flops() -> float:
    """Operations of a training pass over all batches, in the products of the gates alone."""
    _, embedding, width, _ = LSTM
    each = 2.0 * 4 * width * (embedding + width)
    return 3 * each * sum(tokens.size for tokens, _ in lstm_batches())


def table() -> list[Workload]:
    """Times with one and with two threads, then first calls and memory; the roof first."""
    timed = [
        ("resnet50-b1", "ResNet-50 inference, 224x224, batch 1", "resnet50", 1),
        ("resnet50-b8", "ResNet-50 inference, 224x224, batch 8", "resnet50", 8),
        ("mobilenet-b1", "MobileNetV2 inference, 224x224, batch 1", "mobilenet", 1),
        ("resnet18-step", "ResNet-18 (CIFAR), batch 32, SGD momentum step", "resnet18", 32),
        ("unet-step", "U-Net, 128x128, batch 8, SGD momentum step", "unet", 8),
        ("gpt-small-step", "GPT 4 x 128, block 64, batch 12, AdamW step", "gpt-small", 12),
        ("gpt-large-step", "GPT 6 x 384, block 256, batch 8, AdamW step", "gpt-large", 8),
        ("bert-b1", "BERT-base encoder inference, 128 tokens, batch 1", "bert", 1),
        ("bert-b8", "BERT-base encoder inference, 128 tokens, batch 8", "bert", 8),
    ]
    rows = [matmul(1024, threads) for threads in (1, 2)]
    rows += [_row(*row, threads=threads) for row in timed for threads in (1, 2)]
    for threads in (1, 2):
        rows.append(
            Workload(
                f"gpt2-decode-{threads}t",
                f"GPT-2 124M, batch 1, a token with a cache, {threads}t",
                "decode",
                SEQUENCES,
                compiled=True,
                threads=threads,
                share=SHARE,
                weights="gpt2",
                calls=DECODED,
                bytes=4.0 * 124e6,
            )
        )
        rows += [
            Workload(
                f"lstm-{measure.replace(' ', '-')}-{threads}t",
                f"LSTM 256, 50 batches of 32, {measure}, {threads}t",
                "lstm",
                SEQUENCES,
                compiled=True,
                threads=threads,
                measure=measure,
                share=SHARE,
                goal=2.0 if measure == "captures" else None,
                flops=0.0 if measure == "captures" else _lstm_flops(),
                weights="lstm",
            )
            for measure in ("captures", "first pass", "steady pass")
        ]
    first = [row for row in timed if row[0] in ("resnet50-b1", "resnet18-step", "gpt-small-step", "gpt-large-step")]
    for cold in (True, False):
        rows += [
            _row(
                f"{key}-{'cold' if cold else 'warm'}",
                f"first call, {'cold' if cold else 'warm'}: {label}",
                *rest,
                threads=2,
                measure="first call",
                cold=cold,
                processes=1,
                memory=2 << 30,
                goal=3.0 if cold else 0.5,
                flops=0.0,
            )
            for key, label, *rest in first
        ]
    rows += [
        _row(
            "resnet18-memory", "peak memory: ResNet-18 step, batch 128", "resnet18", 128, 2, measure="memory", flops=0.0
        ),
        _row("gpt-large-memory", "peak memory: larger GPT step", "gpt-large", 8, 2, measure="memory", flops=0.0),
    ]
    return rows
