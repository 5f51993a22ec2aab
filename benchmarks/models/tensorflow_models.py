"""The models in TensorFlow, channels last: as a graph, and compiled by XLA."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from . import functional, inputs, sizes
from .optimizers import ADAMW, adamw, is_updated, sgd

Timed = tuple[str, dict[str, Any]]
ops = sys.modules[__name__]
XLA = False

relu, relu6, gelu, sigmoid, tanh = tf.nn.relu, tf.nn.relu6, tf.nn.gelu, tf.sigmoid, tf.tanh
softmax, log_softmax, where, rsqrt, sqrt = tf.nn.softmax, tf.nn.log_softmax, tf.where, tf.math.rsqrt, tf.sqrt
concat, reshape, transpose, take, zeros = tf.concat, tf.reshape, tf.transpose, tf.gather, tf.zeros


def start(mode: str) -> None:
    """``mode``: graph or XLA."""
    global XLA
    XLA = mode == "XLA"


def function(f: Callable[..., Any], signature: Any = None) -> Any:
    """A graph of ``f``, in the mode."""
    return tf.function(f, jit_compile=XLA, input_signature=signature)


def load(weights: str) -> dict[str, tf.Tensor]:
    return {key: tf.constant(array) for key, array in inputs.load(weights).items()}


def conv(x: tf.Tensor, w: tf.Tensor, stride: int, around: int, depthwise: bool) -> tf.Tensor:
    padding = [[0, 0], [around, around], [around, around], [0, 0]]
    if depthwise:  # which takes no explicit padding
        return tf.nn.depthwise_conv2d(tf.pad(x, padding), transpose(w, (0, 1, 3, 2)), (1, stride, stride, 1), "VALID")
    return tf.nn.conv2d(x, w, stride, padding)


def conv_transpose(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
    """2x2 with stride 2; ``w`` is (in, out, 2, 2), as PyTorch has it."""
    shape = (x.shape[0], 2 * x.shape[1], 2 * x.shape[2], w.shape[1])
    return tf.nn.conv2d_transpose(x, transpose(w, (2, 3, 1, 0)), shape, 2, "VALID")


def max_pool(x: tf.Tensor, size: int, stride: int, around: int) -> tf.Tensor:
    padding = [[0, 0], [around, around], [around, around], [0, 0]]
    if around and XLA:  # which pools without explicit padding
        x, around = tf.pad(x, padding, constant_values=x.dtype.min), 0
    return tf.nn.max_pool2d(x, size, stride, padding if around else "VALID")


def mean(x: tf.Tensor, axes: tuple[int, ...] | None, keep: bool = False) -> tf.Tensor:
    return tf.reduce_mean(x, axes, keepdims=keep)


def moments(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.nn.moments(x, (0, 1, 2))


def swap(x: tf.Tensor) -> tf.Tensor:
    return tf.linalg.matrix_transpose(x)


def thirds(x: tf.Tensor) -> list[tf.Tensor]:
    return tf.split(x, 3, -1)


def quarters(x: tf.Tensor) -> list[tf.Tensor]:
    return tf.split(x, 4, -1)


def tril(length: int) -> tf.Tensor:
    return tf.linalg.band_part(tf.ones((length, length), tf.bool), -1, 0)


def pick(x: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    return tf.gather(x, targets, axis=-1, batch_dims=len(targets.shape))


def row(table: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    return table[at][None]


def upto(length: int, at: tf.Tensor) -> tf.Tensor:
    return tf.range(length) <= at


def write(room: tf.Tensor, part: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    return tf.where((tf.range(room.shape[2]) == at)[None, None, :, None], part, room)


def scan(step: Any, state: Any, parts: tf.Tensor) -> Any:
    """The last state of a loop over the first axis."""
    many = tf.shape(parts)[0]

    def body(at: tf.Tensor, *state: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return (at + 1, *step(state, parts[at]))

    return tf.while_loop(lambda at, *state: at < many, body, (0, *state), maximum_iterations=many)[1:]


def model(name: str, batch: int, weights: str) -> Timed:
    """Inference, or a training step, of the model."""
    p = load(weights)
    x, y = (None if part is None else tf.constant(part) for part in inputs.channels_last(name, batch))
    if name not in sizes.TRAINED:
        run = function(lambda x: functional.forward(ops, name, p, x, None))  # weights are constants
        return "run(x).numpy()", {"run": run, "x": x, "check": lambda: run(x).numpy().ravel()[:100].tolist()}
    update, state = (adamw, ADAMW) if name in sizes.GPTS else (sgd, 1)
    variables = {key: tf.Variable(value, trainable=is_updated(key)) for key, value in p.items()}
    kept = [{key: tf.Variable(tf.zeros_like(p[key])) for key in p if is_updated(key)} for _ in range(state)]
    count, losses = tf.Variable(0.0), []

    @function
    def compiled(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        trained = {key: value for key, value in variables.items() if value.trainable}
        with tf.GradientTape() as tape:
            new: dict[str, Any] = {}
            output = functional.forward(ops, name, variables, x, new)
            value = functional.cross_entropy(ops, output, y)
        grads = dict(zip(trained, tape.gradient(value, list(trained.values())), strict=True))
        grads = {key: tf.convert_to_tensor(grad) for key, grad in grads.items()}
        count.assign_add(1.0)
        updated, states = update(ops, trained, grads, kept, sizes.RATE[name], count)
        for variables_of, values in ((variables, {**updated, **new}), *zip(kept, states, strict=True)):
            for key, array in values.items():
                variables_of[key].assign(array)
        return value

    def step() -> None:
        value = compiled(x, y).numpy()
        if len(losses) < 3:
            losses.append(value)

    return "step()", {"step": step, "check": lambda: [float(losses[0]), float(losses[2])]}


def decode(weights: str) -> Timed:
    """DECODED tokens behind a prompt, one after the other, each the likeliest."""
    p, (layers, heads, width, _, _) = load(weights), sizes.GPTS["gpt2"]
    room = (1, heads, sizes.PROMPT + sizes.DECODED, width // heads)
    caches = [(tf.Variable(tf.zeros(room)), tf.Variable(tf.zeros(room))) for _ in range(layers)]

    @function
    def token(t: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
        logits, new = functional.gpt_token(ops, p, t, at, caches, heads)
        for variables, arrays in zip(caches, new, strict=True):
            for variable, array in zip(variables, arrays, strict=True):
                variable.assign(array)
        return tf.argmax(logits, -1)[:, None]

    for at, t in enumerate(inputs.prompt()[0]):
        first = token(tf.constant([[t]]), tf.constant(at))
    said: list[int] = []

    def go() -> None:
        t, found = first, [first]
        for at in range(sizes.PROMPT, sizes.PROMPT + sizes.DECODED):
            t = token(t, tf.constant(at))
            found.append(t)
        said[:] = [int(t.numpy()[0, 0]) for t in found]

    return "go()", {"go": go, "check": lambda: said[:8]}


def lstm(weights: str) -> Timed:
    """A training pass over all batches; XLA compiles each length."""
    variables = {key: tf.Variable(value) for key, value in load(weights).items()}
    kept = [{key: tf.Variable(tf.zeros_like(value)) for key, value in variables.items()}]
    losses: list[Any] = []
    batches = [(tf.constant(x), tf.constant(y)) for x, y in inputs.lstm_batches()]
    many = sizes.LSTM_BATCH
    signature = (tf.TensorSpec((many, None), tf.int64), tf.TensorSpec((many,), tf.int64))

    def one(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            value = functional.cross_entropy(ops, functional.classifier(ops, variables, x), y)
        grads = tape.gradient(value, list(variables.values()))
        grads = {key: tf.convert_to_tensor(grad) for key, grad in zip(variables, grads, strict=True)}
        updated, (velocity,) = sgd(ops, variables, grads, kept, 0.01, None)
        for key, variable in variables.items():
            variable.assign(updated[key])
            kept[0][key].assign(velocity[key])
        return value

    step = function(one, None if XLA else signature)

    def go() -> None:
        for x, y in batches:
            value = step(x, y)
            if len(losses) < 3:
                losses.append(value)
        value.numpy()

    check = lambda: [float(losses[0]), float(losses[2])]  # noqa: E731
    return "go()", {"go": go, "captures": step.experimental_get_tracing_count, "check": check}
