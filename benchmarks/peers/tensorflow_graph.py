"""TensorFlow on CPU, with tf.function: AutoGraph turns Python loops over tensors into graphs of any length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ..models import tensorflow_models
from ..models.tensorflow_models import decode, lstm, model
from ..workloads import GPT_LENGTHS, LSTM, LSTM_LAYER, LSTM_LENGTHS, SMALL_GPT

__all__ = ["decode", "lstm", "model"]
Timed = tuple[str, dict[str, Any]]


def start(threads: int, mode: str) -> str:
    tensorflow_models.start(mode)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    return str(tf.__version__)


def normal(*shape: int) -> tf.Tensor:
    return tf.random.normal(shape)


def lengths_lstm() -> Timed:
    batch, inside, size = LSTM
    w, u, b = normal(inside, 4 * size) * 0.1, normal(size, 4 * size) * 0.1, normal(4 * size)

    @tf.function(input_signature=[tf.TensorSpec([None, batch, inside], tf.float32)])
    def run(x: tf.Tensor) -> tf.Tensor:
        h = c = tf.zeros([batch, size])
        for t in tf.range(tf.shape(x)[0]):
            i, f, g, o = tf.split(x[t] @ w + h @ u + b, 4, -1)
            c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
            h = tf.sigmoid(o) * tf.tanh(c)
        return h

    return passes(run, [normal(n, batch, inside) for n in LSTM_LENGTHS])


def lstm_layer(backward: int) -> Timed:
    inside, size, batch, steps = LSTM_LAYER
    net, x = tf.keras.layers.LSTM(size, return_sequences=True), normal(batch, steps, inside)
    net(x)

    @tf.function
    def forward(x: tf.Tensor) -> tf.Tensor:
        return net(x)

    @tf.function
    def both(x: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(net(x) ** 2)
        return tape.gradient(loss, net.trainable_variables)

    return "f(x)", {"f": both if backward else forward, "x": x}


def layer_norm(x: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    mean, variance = tf.nn.moments(x, [-1], keepdims=True)
    return tf.nn.batch_normalization(x, mean, variance, shift, scale, 1e-5)


def lengths_gpt() -> Timed:
    layers, heads, width, vocabulary, longest, batch = SMALL_GPT
    shapes = ((width, 3 * width), (width, width), (width, 4 * width), (4 * width, width))
    blocks = [[(normal(*shape) * 0.02, tf.zeros(shape[1])) for shape in shapes] for _ in range(layers)]
    norms = [(tf.ones(width), tf.zeros(width)) for _ in range(2 * layers + 1)]
    table, places = normal(vocabulary, width) * 0.02, normal(longest, width) * 0.02

    @tf.function(input_signature=[tf.TensorSpec([batch, None], tf.int32)])
    def run(tokens: tf.Tensor) -> tf.Tensor:
        length = tf.shape(tokens)[1]
        x = tf.gather(table, tokens) + places[:length]
        mask = tf.linalg.band_part(tf.ones([length, length], tf.bool), -1, 0)
        for number, ((qkv, qkv_bias), (out, out_bias), (up, up_bias), (down, down_bias)) in enumerate(blocks):
            parts = tf.split(layer_norm(x, *norms[2 * number]) @ qkv + qkv_bias, 3, -1)
            q, k, v = (tf.transpose(tf.reshape(p, [batch, length, heads, width // heads]), [0, 2, 1, 3]) for p in parts)
            scores = tf.matmul(q, k, transpose_b=True) * (width // heads) ** -0.5
            mixed = tf.nn.softmax(tf.where(mask, scores, float("-inf"))) @ v
            x = x + tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [batch, length, width]) @ out + out_bias
            h = tf.nn.gelu(layer_norm(x, *norms[2 * number + 1]) @ up + up_bias)
            x = x + h @ down + down_bias
        return tf.matmul(layer_norm(x, *norms[-1]), table, transpose_b=True)

    inputs = [tf.random.uniform([batch, n], 0, vocabulary, tf.int32) for n in GPT_LENGTHS]
    return passes(run, inputs)


def passes(function: Any, inputs: list[tf.Tensor]) -> Timed:
    """A tf.function of all inputs in turn."""

    def go() -> None:
        for x in inputs:
            function(x)

    captures: Callable[[], int] = function.experimental_get_tracing_count
    return "go()", {"go": go, "captures": captures}
