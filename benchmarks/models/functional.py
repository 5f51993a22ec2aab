"""The models of ``vision.py`` and ``language.py`` over a PyTorch state dict, for peers without modules.

``ops`` is a peer's file: its functions on images take channels last, which is quicker in both, and its ``load`` has
turned the weights of convolutions to (H, W, in, out) and those of linear maps to (in, out). ``p`` is the state dict.
Where a model is trained, batch normalization leaves its new statistics in ``new``, by their names.
"""

from __future__ import annotations

from typing import Any

from .sizes import BERT, DEPTHS, GPTS, UNET

Arrays = dict[str, Any]


def norm(ops: Any, p: Arrays, name: str, x: Any, new: Arrays | None) -> Any:
    """Batch normalization of the last axis; with ``new``, by the batch's statistics."""
    mean, variance = p[f"{name}.running_mean"], p[f"{name}.running_var"]
    if new is not None:
        count = x.shape[0] * x.shape[1] * x.shape[2]
        batch_mean, batch_variance = ops.moments(x)
        new[f"{name}.running_mean"] = 0.9 * mean + 0.1 * batch_mean
        new[f"{name}.running_var"] = 0.9 * variance + 0.1 * batch_variance * (count / (count - 1))
        mean, variance = batch_mean, batch_variance
    scale = p[f"{name}.weight"] * ops.rsqrt(variance + 1e-5)
    return x * scale + (p[f"{name}.bias"] - mean * scale)


def conv(ops: Any, p: Arrays, name: str, x: Any, stride: int = 1, depthwise: bool = False) -> Any:
    """A convolution padded by half its kernel."""
    return ops.conv(x, p[f"{name}.weight"], stride, p[f"{name}.weight"].shape[0] // 2, depthwise)


def linear(p: Arrays, name: str, x: Any) -> Any:
    """A linear map."""
    return x @ p[f"{name}.weight"] + p[f"{name}.bias"]


def resnet(ops: Any, p: Arrays, x: Any, depths: tuple[int, ...], small: bool, new: Arrays | None = None) -> Any:
    """ResNet of blocks with two or three convolutions, by what the state dict has."""
    x = ops.relu(norm(ops, p, "bn1", conv(ops, p, "conv1", x, 1 if small else 2), new))
    if not small:
        x = ops.max_pool(x, 3, 2, 1)
    for layer, depth in enumerate(depths, start=1):
        for number in range(depth):
            name, stride = f"layer{layer}.{number}", 2 if layer > 1 and number == 0 else 1
            deep = f"{name}.conv3.weight" in p
            strides = (1, stride, 1) if deep else (stride, 1)
            y = x
            for at, s in enumerate(strides, start=1):
                y = norm(ops, p, f"{name}.bn{at}", conv(ops, p, f"{name}.conv{at}", y, s), new)
                y = ops.relu(y) if at < len(strides) else y
            if f"{name}.downsample.0.weight" in p:
                x = norm(ops, p, f"{name}.downsample.1", conv(ops, p, f"{name}.downsample.0", x, stride), new)
            x = ops.relu(y + x)
    return linear(p, "fc", ops.mean(x, (1, 2)))


MOBILENET = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def mobilenet(ops: Any, p: Arrays, x: Any) -> Any:
    """MobileNetV2, not trained."""

    def unit(name: str, x: Any, stride: int = 1, depthwise: bool = False) -> Any:
        return ops.relu6(norm(ops, p, f"{name}.1", conv(ops, p, f"{name}.0", x, stride, depthwise), None))

    x = unit("features.0", x, 2)
    at, before = 1, 32
    for expand, after, depth, first in MOBILENET:
        for number in range(depth):
            name, stride = f"features.{at}.conv", first if number == 0 else 1
            y = x if expand == 1 else unit(f"{name}.0", x)
            last = 0 if expand == 1 else 1
            y = unit(f"{name}.{last}", y, stride, depthwise=True)
            y = norm(ops, p, f"{name}.{last + 2}", conv(ops, p, f"{name}.{last + 1}", y), None)
            x = x + y if stride == 1 and before == after else y
            at, before = at + 1, after
    x = unit(f"features.{at}", x)
    return linear(p, "classifier.1", ops.mean(x, (1, 2)))


def unet(ops: Any, p: Arrays, x: Any, depth: int, new: Arrays | None) -> Any:
    """U-Net; ``depth``: how often the size is halved."""

    def twice(name: str, x: Any) -> Any:
        for at in (0, 3):
            x = ops.relu(norm(ops, p, f"{name}.{at + 1}", conv(ops, p, f"{name}.{at}", x), new))
        return x

    x, kept = twice("first", x), []
    for at in range(depth):
        kept.append(x)
        x = twice(f"down.{at}", ops.max_pool(x, 2, 2, 0))
    for at in range(depth):
        up = ops.conv_transpose(x, p[f"up.{at}.weight"]) + p[f"up.{at}.bias"]
        x = twice(f"merge.{at}", ops.concat([kept.pop(), up], 3))
    return conv(ops, p, "last", x) + p["last.bias"]


def layer_norm(ops: Any, p: Arrays, name: str, x: Any) -> Any:
    """Layer normalization of the last axis."""
    mean = ops.mean(x, (-1,), keep=True)
    variance = ops.mean((x - mean) ** 2, (-1,), keep=True)
    return (x - mean) * ops.rsqrt(variance + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]


def attention(ops: Any, q: Any, k: Any, v: Any, mask: Any) -> Any:
    """Of (N, heads, L, D); ``mask`` says what is seen, None everything."""
    scores = q @ ops.swap(k) * q.shape[-1] ** -0.5
    if mask is not None:
        scores = ops.where(mask, scores, -1e30)
    return ops.softmax(scores) @ v


def split(ops: Any, x: Any, heads: int) -> Any:
    """(N, L, heads * D) -> (N, heads, L, D)."""
    batch, length, width = x.shape
    return ops.transpose(ops.reshape(x, (batch, length, heads, width // heads)), (0, 2, 1, 3))


def join(ops: Any, x: Any) -> Any:
    """(N, heads, L, D) -> (N, L, heads * D)."""
    batch, heads, length, width = x.shape
    return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (batch, length, heads * width))


def gpt(ops: Any, p: Arrays, tokens: Any, layers: int, heads: int) -> Any:
    """Logits of every position."""
    length = tokens.shape[1]
    mask = ops.tril(length)
    x = ops.take(p["tokens.weight"], tokens) + p["places.weight"][:length]
    for at in range(layers):
        name = f"blocks.{at}"
        y = linear(p, f"{name}.attention.qkv", layer_norm(ops, p, f"{name}.norm_1", x))
        q, k, v = (split(ops, part, heads) for part in ops.thirds(y))
        x = x + linear(p, f"{name}.attention.out", join(ops, attention(ops, q, k, v, mask)))
        x = x + mlp(ops, p, name, x)
    return layer_norm(ops, p, "norm", x) @ ops.swap(p["tokens.weight"])


def mlp(ops: Any, p: Arrays, name: str, x: Any) -> Any:
    """The second half of a layer of GPT, before it is added."""
    return linear(p, f"{name}.down", ops.gelu(linear(p, f"{name}.up", layer_norm(ops, p, f"{name}.norm_2", x))))


def gpt_token(ops: Any, p: Arrays, token: Any, place: Any, caches: Any, heads: int) -> tuple[Any, Any]:
    """The logits that follow one token (N, 1) at ``place``, and the caches with its keys and values."""
    x = ops.take(p["tokens.weight"], token) + ops.row(p["places.weight"], place)
    kept, mask = [], ops.upto(caches[0][0].shape[2], place)
    for at, (keys, values) in enumerate(caches):
        name = f"blocks.{at}"
        y = linear(p, f"{name}.attention.qkv", layer_norm(ops, p, f"{name}.norm_1", x))
        q, k, v = (split(ops, part, heads) for part in ops.thirds(y))
        keys, values = ops.write(keys, k, place), ops.write(values, v, place)
        kept.append((keys, values))
        x = x + linear(p, f"{name}.attention.out", join(ops, attention(ops, q, keys, values, mask)))
        x = x + mlp(ops, p, name, x)
    return layer_norm(ops, p, "norm", x)[:, -1] @ ops.swap(p["tokens.weight"]), kept


def encoder(ops: Any, p: Arrays, tokens: Any, layers: int, heads: int) -> Any:
    """BERT's."""
    x = ops.take(p["tokens.weight"], tokens) + p["places.weight"][: tokens.shape[1]]
    x = layer_norm(ops, p, "norm", x)
    for at in range(layers):
        name = f"encoder.layers.{at}"
        y = x @ p[f"{name}.self_attn.in_proj_weight"] + p[f"{name}.self_attn.in_proj_bias"]
        q, k, v = (split(ops, part, heads) for part in ops.thirds(y))
        y = linear(p, f"{name}.self_attn.out_proj", join(ops, attention(ops, q, k, v, None)))
        x = layer_norm(ops, p, f"{name}.norm1", x + y)
        y = linear(p, f"{name}.linear2", ops.gelu(linear(p, f"{name}.linear1", x)))
        x = layer_norm(ops, p, f"{name}.norm2", x + y)
    return x


def classifier(ops: Any, p: Arrays, tokens: Any) -> Any:
    """The LSTM's last state, classified."""
    x = ops.take(p["embedding.weight"], tokens)
    x = x @ p["lstm.weight_ih_l0"] + (p["lstm.bias_ih_l0"] + p["lstm.bias_hh_l0"])
    weight = p["lstm.weight_hh_l0"]

    def step(state: Any, part: Any) -> Any:
        h, c = state
        i, f, g, o = ops.quarters(part + h @ weight)
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
        return ops.sigmoid(o) * ops.tanh(c), c

    zeros = ops.zeros((x.shape[0], weight.shape[0]))
    h, _ = ops.scan(step, (zeros, zeros), ops.transpose(x, (1, 0, 2)))
    return linear(p, "head", h)


def cross_entropy(ops: Any, logits: Any, targets: Any) -> Any:
    """The mean over all but the last axis."""
    return -ops.mean(ops.pick(ops.log_softmax(logits), targets), None)


def forward(ops: Any, name: str, p: Arrays, x: Any, new: Arrays | None) -> Any:
    """The model of this name; ``new`` where it is trained."""
    if name in DEPTHS:
        return resnet(ops, p, x, DEPTHS[name], name == "resnet18", new)
    if name in GPTS:
        return gpt(ops, p, x, *GPTS[name][:2])
    if name == "unet":
        return unet(ops, p, x, UNET[3], new)
    return encoder(ops, p, x, *BERT[:2]) if name == "bert" else mobilenet(ops, p, x)
