"""What Python code computes from sizes, and ops whose results' sizes follow from windows, in captures of any shape."""

from __future__ import annotations

import math
from typing import Any

import pytest
from reported import Case, Reports, check, data, raised

import weft as wf
from weft import nn, optim
from weft.nn import functional as F

report = Reports()

NOT_YET: dict[str, str | int] = {}
KNOWN_WRONG: dict[str, str] = {}


@report("pytorch/pytorch#99514")
def the_root_of_a_size(compiled: Any) -> Any:
    """``int(n ** 0.5)`` patches on a side."""

    @compiled
    def run(x: Any) -> Any:
        side = int(x.shape[1] ** 0.5)
        return x[:, : side * side].reshape(-1, side, side).sum(axis=1) + wf.arange(side)

    return [run(data(2, n)) for n in (4, 9, 10, 15, 16, 25)]


@report("pytorch/pytorch#169602")
def a_size_that_is_padded_to_a_multiple(compiled: Any) -> Any:
    """``-1 * n % 4`` rows more, and away again."""

    @compiled
    def run(x: Any) -> Any:
        n = x.shape[0]
        padding = -1 * n % 4
        y = wf.concat([x, wf.zeros((padding, x.shape[1]))], axis=0) * 100.0
        if y.shape[0] <= n:
            return y * 3.0
        return y[:n] * 4.0, y.reshape(-1, 4, x.shape[1]).sum(axis=1)

    return [run(data(n, 3)) for n in (10, 11, 8, 13, 12, 9)]


@report("pytorch/pytorch#101014")
def a_padding_from_the_parity_of_a_size(compiled: Any) -> Any:
    """A convolution of stride 2 whose padding depends on whether the length is odd."""
    kernel = data(1, 1, 4)

    @compiled
    def run(x: Any) -> Any:
        padding = math.ceil((kernel.shape[-1] + x.shape[-1] % 2) / 2) - 1
        return F.conv1d(x, kernel, padding=padding, stride=2)

    return [run(data(1, 1, n)) for n in (175, 249, 250, 100, 101)]


@report("pytorch/pytorch#137220")
def the_logarithm_of_a_size(compiled: Any) -> Any:
    """``int(log2(n))`` is 4 for all sizes from 17 to 24, and then 5."""

    @compiled
    def run(x: Any) -> Any:
        return x + int(math.log2(x.shape[0])) + x.shape[0].bit_length()

    return [run(data(n)) for n in (17, 18, 20, 24, 32, 33)]


@report("pytorch/pytorch#105524")
def halves_and_quarters_of_sizes_with_gradients(compiled: Any) -> Any:
    """Every second element, a half and the rest; gradients for lengths of any parity."""

    @compiled
    def run(x: Any) -> Any:
        n = x.shape[0]
        return (x[::2].sum() * x[n // 2 :].sum() + x[: n // 4].prod()) / (n - n // 3)

    found = []
    for n in (8, 9, 10, 11, 30):
        x = data(n).requires_grad_(True)
        y = run(x)
        y.backward()
        found += [y, x.grad]
    return found


@report("pytorch/pytorch#113393")
def a_check_that_compares_two_shapes(compiled: Any) -> Any:
    """Forward raises if the mask's shape is not that of the input."""

    @compiled
    def run(x: Any, mask: Any) -> Any:
        n, m = x.shape
        if mask.shape != (n, m):
            raise ValueError(f"the mask should be {(int(n), int(m))}, not {tuple(map(int, mask.shape))}")
        return x * mask

    shapes = (((1, 32), (1, 32)), ((1, 64), (1, 64)), ((2, 48), (2, 48)), ((2, 48), (2, 47)), ((5, 3), (5, 3)))
    return [raised(run, data(*a), data(*b, seed=1)) for a, b in shapes]


@report("pytorch/pytorch#125307")
def joined_pieces_that_are_viewed_by_rows(compiled: Any) -> Any:
    """``concat`` of a*s and b*s elements, viewed as (a + b, s)."""

    @compiled
    def run(x: Any, y: Any) -> Any:
        s = x.shape[1]
        joined = wf.concat([x.reshape(-1), y.reshape(-1)], axis=0)
        return joined.view(x.shape[0] + y.shape[0], s).cumsum(0)

    return [run(data(a, s), data(b, s)) for a, b, s in ((3, 2, 4), (5, 2, 4), (4, 6, 3), (1, 7, 5), (2, 2, 2))]


@report("pytorch/pytorch#133655")
def a_branch_on_divisibility(compiled: Any) -> Any:
    """One way where one size divides the other, another one where it does not."""

    @compiled
    def run(x: Any, y: Any) -> Any:
        n, m = x.shape[0], y.shape[0]
        if n % m == 0:
            return x.reshape(n // m, m) * y
        return x[: n - n % m].reshape(-1, m) - y

    sizes = ((6, 3), (8, 4), (7, 3), (9, 3), (9, 2), (4, 5), (10, 5))
    return [run(data(n), data(m, seed=1)) for n, m in sizes]


@report("tensorflow/tensorflow#38561", "tensorflow/tensorflow#38002", captures=2)
def convolutions_over_documents(compiled: Any) -> Any:
    """A training step of two convolutions over texts of other lengths each."""
    first, second = nn.Parameter(data(4, 3, 5) * 0.1), nn.Parameter(data(2, 4, 5, seed=1) * 0.1)
    opt = optim.SGD([first, second], lr=0.1)

    @compiled
    def step(x: Any) -> Any:
        opt.zero_grad()
        h = F.relu(F.conv1d(x, first, padding=2))
        loss = (F.conv1d(h, second, padding=2) ** 2).mean()
        loss.backward()
        opt.step()
        return loss

    return [[step(data(1, 3, n)).detach() for n in (20, 31, 12, 64, 33)], first, second]


@report("tensorflow/tensorflow#28760")
def a_recurrent_cell_over_time(compiled: Any) -> Any:
    """A loop over the length of a sequence that writes outputs; lengths differ."""
    cell = nn.Linear(5, 3)

    @compiled
    def run(x: Any) -> Any:
        state, outputs = wf.zeros((x.shape[0], 3)), []
        for t in range(x.shape[1]):
            state = wf.tanh(cell(wf.concat([x[:, t], state], axis=-1)))
            outputs.append(state)
        return wf.stack(outputs, axis=1), state

    return [run(data(b, n, 2)) for b, n in ((2, 3), (2, 5), (4, 5), (3, 1))]


@report("tensorflow/tensorflow#34907", captures=3)
def batches_of_every_size(compiled: Any) -> Any:
    """Sizes 1 to 40, once each."""
    net = nn.Linear(1, 1)
    run = compiled(lambda x: ((net(x) - 1.0) ** 2).mean())
    return [run(wf.ones((n, 1)) * 0.5) for n in range(1, 41)]


@report("pytorch/pytorch#174963", "pytorch/pytorch#185862")
def views_of_turned_memory(compiled: Any) -> Any:
    """Rolled, turned, sliced and made contiguous: values, strides and contiguity, for sizes 1 and more."""

    @compiled
    def run(x: Any) -> Any:
        y = wf.roll(x.permute(0, 3, 1, 2), -1, axis=0)
        z = y[:, :, :1].contiguous()
        return y, z, x[:, 1:].contiguous(), y.reshape(y.shape[0], -1)

    found = []
    for shape in ((2, 5, 2, 5), (3, 4, 2, 6), (1, 2, 1, 3), (4, 3, 3, 2)):
        results = run(data(*shape))
        found += [results, [list(y.stride()) for y in results], [y.is_contiguous() for y in results]]
    return found


@report("pytorch/pytorch#171452", "pytorch/pytorch#193966")
def a_convolution_of_a_turned_tensor(compiled: Any) -> Any:
    """``transpose`` before a convolution with groups; results' strides too."""
    kernel = data(4, 1, 3)

    @compiled
    def run(x: Any) -> Any:
        return F.conv1d(x.transpose(1, 2), kernel, padding=1, groups=4)

    found = []
    for b, n in ((2, 7), (2, 9), (3, 4), (1, 16)):
        y = run(data(b, n, 4))
        found += [y, list(y.stride())]
    return found


@report("pytorch/pytorch#90665")
def slices_of_an_input_as_an_input(compiled: Any) -> Any:
    """Windows of one large tensor, strided or not, of sizes that grow."""
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    run, base = compiled(net), data(6, 9, 8)
    return [run(base[:, :n, 2:6]) for n in (9, 5, 6)] + [run(base[:n, ::2, :4].contiguous()) for n in (6, 3, 4)]


@report("pytorch/pytorch#94775", "pytorch/pytorch#100987")
def pooling_with_ceil_mode(compiled: Any) -> Any:
    """Windows that begin beyond the input are none; sizes of every remainder."""

    @compiled
    def most(x: Any) -> Any:
        return F.max_pool2d(x, 1, stride=(2, 2), ceil_mode=True), F.max_pool2d(x, 3, 2, 1, ceil_mode=True)

    @compiled
    def mean(x: Any) -> Any:
        return F.avg_pool2d(x, 3, 2, 1, ceil_mode=True), F.avg_pool2d(x, 2, 3, ceil_mode=True, count_include_pad=False)

    found = []
    for h, w in ((6, 7), (6, 6), (7, 7), (8, 5), (9, 10)):
        x = data(1, 2, h, w).requires_grad_(True)
        results = (*most(x), *mean(x))
        sum((y * y).sum() for y in results).backward()
        found += [results, x.grad]
    return found


@report("pytorch/pytorch#193061")
def chained_norms_that_share_scale_and_shift(compiled: Any) -> Any:
    """Modulated layer norms whose scales and shifts are chunks of one table."""
    table = nn.Parameter(data(4, 8) * 0.1)

    @compiled
    def run(x: Any) -> Any:
        a, b, c, d = wf.chunk(table, 4, axis=0)
        x = F.layer_norm(x, (8,)) * (1.0 + a) + b
        x = F.layer_norm(wf.tanh(x), (8,)) * (1.0 + c) + d
        return (x * x * x).mean()

    found = []
    for n in (3, 5, 6, 17):
        table.grad = None
        loss = run(data(n, 8))
        loss.backward()
        found += [loss, table.grad.clone()]
    return found


@report("karpathy/nanoGPT#21", "paiml/entrenar#314")
def an_embedding_that_is_the_last_layer_too(compiled: Any) -> Any:
    """One weight for tokens and logits: its gradient has both parts, for texts of any length."""
    embed, head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
    head.weight = embed.weight
    opt = optim.AdamW([embed.weight], lr=0.1)

    @compiled
    def step(ids: Any) -> Any:
        opt.zero_grad()
        loss = F.cross_entropy(head(wf.tanh(embed(ids[:-1]))), ids[1:])
        loss.backward()
        opt.step()
        return loss

    found = []
    for n in (5, 7, 4, 12):
        found += [step(wf.arange(n) * 3 % 7).detach(), embed.weight.grad.clone(), head.weight is embed.weight]
    return [*found, head.weight]


@pytest.mark.parametrize("case", report.cases(NOT_YET, KNOWN_WRONG))
def test_what_is_computed_from_sizes_is_right_for_each(case: Case) -> None:
    check(case)
