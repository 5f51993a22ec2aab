"""Random programs with state: statements that write tensors, and what the world outside holds on to meanwhile.

A :class:`Story` is data, like a program: the tensors that exist, the statements of a function over them (tensors that
it closes over, its arguments, names that it makes), and for each call what is passed in and what is held outside.
:func:`told` plays it eagerly or compiled and writes down everything that can be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from fuzz_programs import Below

import weft as wf
from weft.nn import functional as F

STATES, ARGUMENTS, NAMES, CALLS = 3, 2, 3, 4


class Statement(NamedTuple):
    """``verb`` applied to the tensor ``target`` with an expression over others."""

    verb: str
    target: int
    expr: str
    operands: tuple[int, int]


@dataclass(frozen=True)
class Story:
    """``starts``: how each state begins; ``calls``: for each call what the arguments are and what is held after."""

    size: int
    dtype: str
    starts: tuple[str, ...]
    body: tuple[Statement, ...]
    results: tuple[int, ...]
    calls: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]


EXPRESSIONS: dict[str, Callable[[wf.Tensor, wf.Tensor], wf.Tensor]] = {
    "sum": lambda x, y: x + y * 0.5,
    "product": lambda x, y: wf.tanh(x) * y,
    "same": lambda x, y: x,
    "copy": lambda x, y: wf.positive(x),
    "constant": lambda x, y: wf.full_like(x, 0.25),
    "transposed": lambda x, y: x.T * 0.5,
    "transposed view": lambda x, y: x.T,
    "flipped": lambda x, y: y - wf.flip(x, axis=0),
    "matmul": lambda x, y: (x @ y) * 0.125 + 1.0,
    "linear": lambda x, y: F.relu(x @ y.T + x[0]),
    "running": lambda x, y: wf.cumulative_sum(x, axis=0) * 0.25 - y,
    "softmax": lambda x, y: F.softmax(x, -1) + y * 0.0,
    "columns": lambda x, y: F.softmax(x, 0) - wf.mean(y, axis=0),
    "rows": lambda x, y: y[wf.remainder(wf.arange(x.shape[0]) * 3 + 1, x.shape[0])],
    "scattered": lambda x, y: wf.scatter_add(
        x, wf.remainder(wf.arange(5), x.shape[0]), wf.ones((5, x.shape[1]), dtype=x.dtype)
    ),
    "turned": lambda x, y: wf.concat([x[1:], y[:1]], axis=0),
    "chosen": lambda x, y: wf.where(x > y, x, wf.cos(y)),
    "centred": lambda x, y: x - wf.mean(x, axis=1, keepdims=True) * y,
    "sum of all": lambda x, y: x + wf.sum(y) * 0.01,
    "made": lambda x, y: x + wf.asarray(np.full(x.shape[1], 0.5), dtype=x.dtype),
}
VERBS = ("assign", "assign", "add", "multiply", "rows", "cells", "indexed", "name", "name", "alias", "object", "data")
OUTSIDE = ("fresh", "fresh", "fresh", "state 0", "state 1", "alias of 0", "view of 1", "last result", "twice", "array")
HELD = ("nothing", "nothing", "array of 0", "array of 1", "alias of 0", "row of 1", "results", "transpose of 2")
STARTS = ("fresh", "fresh", "fresh", "alias of 0", "array", "strided", "transposed", "window")


def draw_story(below: Below) -> Story:
    """A story of some ten statements."""

    def pick(items: Sequence[Any]) -> Any:
        return items[below(len(items))]

    everything = STATES + ARGUMENTS + NAMES
    body = []
    for _ in range(2 + below(10)):
        body.append(
            Statement(pick(VERBS), below(everything), pick(list(EXPRESSIONS)), (below(everything), below(everything)))
        )
    calls = []
    for _ in range(CALLS):
        calls.append((tuple(pick(OUTSIDE) for _ in range(ARGUMENTS)), tuple(pick(HELD) for _ in range(2))))
    return Story(
        pick((1, 2, 5, 17)),
        pick(("float32", "float32", "float64")),
        tuple(pick(STARTS) for _ in range(STATES)),
        tuple(body),
        tuple(below(everything) for _ in range(1 + below(3))),
        tuple(calls),
    )


def execute(story: Story, states: Sequence[wf.Tensor], arguments: Sequence[wf.Tensor]) -> list[wf.Tensor]:
    """The function: statements in order over states, arguments and names."""
    n = story.size
    names = [*states, *arguments, *(wf.full((n, n), float(i), dtype=story.dtype) for i in range(NAMES))]
    for verb, target, expr, (a, b) in story.body:
        local = STATES + ARGUMENTS + target % NAMES
        if verb == "alias":
            names[local] = names[a].detach()
        elif verb == "object":
            names[local] = names[a]
        elif verb == "data":
            names[local] = wf.tensor(np.full((n, n), 1.5), dtype=story.dtype)
        else:
            value = EXPRESSIONS[expr](names[a], names[b])
            if verb == "name":
                names[local] = value
            elif verb == "assign":
                names[target].assign(value)
            elif verb == "add":
                names[target] += value
            elif verb == "multiply":
                names[target] *= 0.5
            elif verb == "rows":
                names[target][n // 2 :] = value[n // 2 :]
            elif verb == "cells":
                names[target][::2, 0] = value[::2, n - 1]
            else:
                names[target][wf.asarray([n - 1, 0])] = value[:2] if n > 1 else value[0]
    return [names[i] for i in story.results]


def begin(story: Story, rng: np.random.Generator) -> list[wf.Tensor]:
    """The states."""
    n, states = story.size, []
    for start in story.starts:
        array = rng.uniform(-2, 2, (n, n)).astype(story.dtype)
        if start == "alias of 0" and states:
            states.append(states[0].detach())
        elif start == "array":
            states.append(wf.from_numpy(array))
        elif start == "strided":
            wide = np.zeros((n, 2 * n), story.dtype)
            wide[:, ::2] = array
            states.append(wf.tensor(wide)[:, ::2])
        elif start == "transposed":
            states.append(wf.tensor(array).T)
        elif start == "window":
            states.append(wf.tensor(np.stack([array, array + 1]))[1])
        else:
            states.append(wf.tensor(array))
    return states


def told(story: Story, compiled: bool, seed: int) -> list[Any]:
    """Everything that is seen while the story is played: states, arguments and results after each call, and what was
    held before."""
    rng = np.random.default_rng(seed)
    states = begin(story, rng)
    last: list[wf.Tensor] = []

    def function(*arguments: wf.Tensor) -> list[wf.Tensor]:
        return execute(story, states, arguments)

    run: Any = wf.compile(function) if compiled else function
    held: list[Any] = []
    seen: list[Any] = []
    for outside, after in story.calls:
        arguments: list[wf.Tensor] = []
        for what in outside:
            arguments.append(_argument(what, story, rng, states, last, arguments))
        try:
            with wf.no_grad():
                last = run(*arguments)
        except wf.WeftError as error:
            seen.append(type(error).__name__)
            continue
        seen += [image(t) for t in (*states, *arguments, *last)]
        objects = [*states, *arguments]
        seen.append([next((i for i, o in enumerate(objects) if o is t), None) for t in last])
        seen += [image(thing) for thing in held]  # what shares memory shows what was written
        for what in after:
            held += _held(what, states, last)
        if "results" not in after:
            del last[1:]
    return seen


def image(thing: Any) -> bytes:
    """The bytes of a tensor or an array."""
    return np.array(thing.numpy() if isinstance(thing, wf.Tensor) else thing, order="C").tobytes()


def _argument(
    what: str,
    story: Story,
    rng: np.random.Generator,
    states: list[wf.Tensor],
    last: list[wf.Tensor],
    before: list[wf.Tensor],
) -> wf.Tensor:
    n = story.size
    made = rng.uniform(-2, 2, (n, n)).astype(story.dtype)
    if what.startswith("state"):
        return states[int(what[-1])]
    if what == "alias of 0":
        return states[0].detach()
    if what == "view of 1":
        return wf.concat([states[1], states[1]], axis=0)[:n] if n > 1 else states[1][:]
    if what == "last result" and last:
        return last[0]
    if what == "twice" and before:
        return before[0]
    return wf.from_numpy(made) if what == "array" else wf.tensor(made)


def _held(what: str, states: list[wf.Tensor], last: list[wf.Tensor]) -> list[Any]:
    if what.startswith("array"):
        return [states[int(what[-1])].numpy()]
    if what == "alias of 0":
        return [states[0].detach()]
    if what == "row of 1":
        return [states[1][0]]
    if what == "transpose of 2":
        return [states[2].T]
    return [t.detach() for t in last] if what == "results" else []


# --- training: leaves, gradients and histories --------------------------------------------------------------------

LEAVES, HIDDEN = 2, 2
TRAINING = (
    "name",
    "name",
    "name",
    "assign",
    "add",
    "detach",
    "backward",
    "backward",
    "clear",
    "step",
    "halve",
    "grad",
    "both",
)
GIVEN = ("fresh", "fresh", "leaf", "leaf 0", "hidden 0", "detached 1", "computed", "twice")


@dataclass(frozen=True)
class Training:
    """A function over leaves that ask for gradients, hidden state with a history, arguments, and names."""

    size: int
    body: tuple[Statement, ...]
    results: tuple[int, ...]
    calls: tuple[tuple[str, ...], ...]


def draw_training(below: Below) -> Training:
    """Some eight statements, three calls."""

    def pick(items: Sequence[Any]) -> Any:
        return items[below(len(items))]

    everything = LEAVES + HIDDEN + ARGUMENTS + NAMES
    expressions = [e for e in EXPRESSIONS if e not in ("same", "constant")]
    body = tuple(
        Statement(pick(TRAINING), below(everything), pick(expressions), (below(everything), below(everything)))
        for _ in range(3 + below(8))
    )
    calls = tuple(tuple(pick(GIVEN) for _ in range(ARGUMENTS)) for _ in range(3))
    return Training(pick((2, 5)), body, tuple(below(everything) for _ in range(1 + below(2))), calls)


def train(
    story: Training, leaves: Sequence[wf.Tensor], hidden: Sequence[wf.Tensor], arguments: Sequence[wf.Tensor]
) -> Any:
    """The function."""
    n = story.size
    names = [*leaves, *hidden, *arguments, *(wf.full((n, n), 0.5 + i) for i in range(NAMES))]
    for verb, target, expr, (a, b) in story.body:
        leaf, local = leaves[target % LEAVES], len(names) - NAMES + target % NAMES
        value = EXPRESSIONS[expr](names[a], names[b]) * 0.5
        if verb in ("name", "both"):
            names[local] = value
        if verb in ("assign", "both"):
            hidden[target % HIDDEN].assign(value)
        elif verb == "add":
            names[LEAVES + target % (HIDDEN + ARGUMENTS)] += value
        elif verb == "detach":
            names[local] = names[a].detach()
        elif verb == "backward":
            loss = wf.tanh(value + leaves[0] * 0.1).sum()
            loss.backward()
            names[local] = wf.broadcast_to(loss.detach(), (n, n))
        elif verb == "clear":
            leaf.grad = None
        elif leaf.grad is None:
            continue
        elif verb == "step":
            with wf.no_grad():
                leaf.assign(leaf - leaf.grad * 0.1)
        elif verb == "halve":
            leaf.grad *= 0.5
        elif verb == "grad":
            names[local] = leaf.grad
    return [names[i] for i in story.results]


def _has_history(tensor: wf.Tensor) -> bool:
    """Whether gradients can flow back from it: not where backward() has freed what it came from."""
    return tensor.requires_grad and getattr(tensor._node, "saved", ()) is not None


def trained(story: Training, compiled: bool, seed: int) -> list[Any]:
    """What is seen: after each call the values, the gradients and what asks for gradients; at the end the gradients
    that flow back from everything. An error ends it."""
    rng = np.random.default_rng(seed)
    n = story.size

    def made(requires_grad: bool = False) -> wf.Tensor:
        return wf.tensor(rng.uniform(-1, 1, (n, n)).astype(np.float32), requires_grad=requires_grad)

    leaves, hidden = [made(True) for _ in range(LEAVES)], [made() for _ in range(HIDDEN)]

    def function(*arguments: wf.Tensor) -> Any:
        return train(story, leaves, hidden, arguments)

    run: Any = wf.compile(function) if compiled else function
    seen: list[Any] = []
    try:
        for given in story.calls:
            arguments: list[wf.Tensor] = []
            for what in given:
                choices = {"leaf 0": leaves[0], "hidden 0": hidden[0], "detached 1": leaves[1].detach()}
                if what == "twice" and arguments:
                    arguments.append(arguments[0])
                elif what == "computed":
                    arguments.append(leaves[1] * 0.5)
                else:
                    arguments.append(choices[what] if what in choices else made(what == "leaf"))
            results = run(*arguments)
            everything = [*leaves, *hidden, *arguments, *results]
            seen += [(image(t), _has_history(t), None if t.grad is None else image(t.grad)) for t in everything]
        total = sum(((t * 0.1).sum() for t in (*hidden, *results)), wf.asarray(0.0))
        if total.requires_grad:
            total.backward()
        # The gradient of a compiled function is one call: what several calls give a leaf is summed in another order,
        # and zero is what it gives to operands of results that nobody used.
        gradients = [np.zeros((n, n)) if t.grad is None else t.grad.numpy() for t in leaves]
        seen.append(np.concatenate(gradients))
    except wf.WeftError as error:
        seen.append(f"{type(error).__name__}: {error}")
    return seen
