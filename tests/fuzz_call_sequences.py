"""Random sequences of calls of one compiled function, whose arguments, captured tensors and gradients share memory in
another way at each call.

A program is lines of Python over ``wf`` and what HELPERS define. Its function is made once; then come lines that bind
names, attributes, keys and gradients to other tensors, and calls. All tensors have shape (3,), or are bases of (8,)
that these are windows of. A seed names a program, which is drawn while it is played without compilation: what a plain
function does is what a compiled one must do. What can be seen is compared after each call: values, who shares which
memory with whom, which names are one object, what requires grad, and the gradients that flow through each name.
"""

from __future__ import annotations

import random
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from fuzz_steps import World, compiled_text, error_name, run_step, said
from fuzz_steps import shrunk as shrunk_program

import weft as wf
from weft.tensor import tape

HELPERS = '''
class Holder:
    """Something with attributes."""

def new(first):
    return wf.arange(first, first + 8.0, dtype="float64")

def leaf(*numbers):
    return wf.tensor(numbers, dtype="float64").requires_grad_()

def still(tensor, start):
    with wf.no_grad():
        return tensor[start : start + 3]

w, p, q = leaf(2.0, 1.0, 0.5), leaf(1.0, 2.0, 3.0), leaf(0.5, 1.5, -1.0)
h, m, d, l = Holder(), wf.nn.Module(), {}, [None]
'''
BASES, LEAVES = ("x", "y", "g"), ("w", "p", "q")
PLACES = ("v", "c", "h.a", "h.b", "d['k']", "d['n']", "l[0]", "m.u")  # what else the function captures
STORED = tuple(place for place in PLACES if place[-1] in "abu]" and place != "l[0]")  # what the function stores in
GRADIENTS = ("p.grad", "q.grad")
LARGEST = 1e6


@dataclass(frozen=True)
class Program:
    """Lines, a function of lines, and lines after it, calls among them."""

    before: tuple[str, ...]
    parameters: tuple[str, ...] = ()
    body: tuple[str, ...] = ()
    results: tuple[str, ...] = ("v",)
    after: tuple[str, ...] = ()

    @property
    def function(self) -> str:
        """``def f(a0): ...`` and what is made of it."""
        lines = [*self.body, f"return {', '.join(self.results)},"]
        indented = [f"    {part}" for line in lines for part in line.split("\n")]
        return "\n".join([f"def f({', '.join(self.parameters)}):", *indented, "f = compiled(f)"])

    def steps(self) -> list[str]:
        """Its lines, the function as one of them."""
        return [*self.before, self.function, *self.after]


def text_of(program: Program) -> str:
    """The program as a file that runs."""
    head = "import weft as wf\n\ncompiled = wf.compile  # or, to compare: lambda f: f"
    return "\n".join([head, HELPERS, *program.steps()])


def beginning(compiled: bool) -> World:
    """What a program finds."""
    world: World = {"wf": wf, "compiled": wf.compile if compiled else lambda function: function}
    exec(compiled_text(HELPERS), world)
    return world


def is_call(step: str) -> bool:
    """Whether the line calls the function."""
    return " = f(" in step


# --- what can be seen ---------------------------------------------------------------------------------------------


def tensors_of(world: World) -> dict[str, wf.Tensor]:
    """Everything that shows a tensor."""
    results = sorted(name for name in world if re.fullmatch(r"r\d+", name))
    found = {}
    for name in (*BASES, *LEAVES, *PLACES, *results, *(f"{leaf}.grad" for leaf in LEAVES)):
        try:
            value = eval(name, world)
        except (NameError, AttributeError, KeyError):
            continue
        if isinstance(value, wf.Tensor):
            found[name] = value
    return found


def array_of(tensor: wf.Tensor) -> np.ndarray[Any, Any]:
    """The memory of a tensor."""
    return np.asarray(tensor.detach().numpy())


def looked_at(world: World) -> Iterator[tuple[str, Any]]:
    """What the names show."""
    tensors = tensors_of(world)
    names, objects = list(tensors), list(tensors.values())
    yield "names", names
    yield "identity", {name: names[next(i for i, o in enumerate(objects) if o is t)] for name, t in tensors.items()}
    arrays = {name: array_of(tensor) for name, tensor in tensors.items()}
    for name, array in arrays.items():
        yield f"value of {name}", array.copy()
    for name, tensor in tensors.items():
        yield f"flags of {name}", f"requires_grad={tensor.requires_grad}, is_leaf={is_leaf(tensor)}"
    for at, name in enumerate(names):
        shared = {}
        for other in names[at + 1 :]:
            if np.may_share_memory(arrays[name], arrays[other]):
                shared[other] = _address(arrays[other]) - _address(arrays[name]), arrays[other].strides
        yield f"memory of {name}", shared
    yield from gradients(world, tensors)


def is_leaf(tensor: wf.Tensor) -> bool:
    """Whether it was not computed. (A view that no history can follow is whatever it was when it was looked at.)"""
    return tensor.is_leaf and not isinstance(tensor._node, tape.Stale)


def _address(array: np.ndarray[Any, Any]) -> int:
    return int(array.__array_interface__["data"][0])


def gradients(world: World, tensors: dict[str, wf.Tensor]) -> Iterator[tuple[str, Any]]:
    """The gradients that flow to the leaves from each name in turn, or that they do not; nothing is changed."""
    leaves = [tensor for name, tensor in tensors.items() if name in LEAVES]
    before = [leaf.grad for leaf in leaves]
    for name, tensor in tensors.items():
        if not tensor.requires_grad or is_leaf(tensor):
            continue
        for leaf in leaves:
            leaf.grad = None
        error = run_step(f"({name} * 0.5).sum().backward(retain_graph=True)", world)
        # No gradient is one of zeros: a write with a history gives one to all views of the base in plain code, in
        # compiled code to those that overlap with what is written, or were captured.
        found = [np.zeros(3) if leaf.grad is None else array_of(leaf.grad) for leaf in leaves]
        yield f"gradients from {name}", error or found
    for leaf, gradient in zip(leaves, before, strict=True):
        leaf.grad = gradient


# --- what is different on purpose ---------------------------------------------------------------------------------

# What captured code refuses and a plain function does (docs/from_pytorch.md), by what it says. A program ends there.
REFUSALS = (
    "which was recorded before the capture",
    "backward() inside a captured function reaches",
    "there is no one tensor of which all are views",
    "is kept in a list",
)
# A write is counted for all of a block by a plain function, for the values that it changes by a compiled one, which
# counts those by way of x.data too: either may refuse a backward() that the other does.
OVERWRITTEN = "changed in place since"
# What a plain function refuses and a compiled one need not: views that no history can follow, where they do not overlap
# with what was written (a write to one ends the program); backward() with a number that a call has kept, and freed.
STALE = "a view that was made under no_grad"
PERMITTED = (STALE, "the values it needs were freed by the first")


def differ(got: Any, expected: Any, close: bool = False) -> bool:
    """Whether a compiled function leaves something else than a plain one."""
    if isinstance(got, Exception) or isinstance(expected, Exception):
        return type(got) is not type(expected)
    if isinstance(expected, list) and isinstance(got, list):
        return len(got) != len(expected) or any(differ(a, b, True) for a, b in zip(got, expected, strict=True))
    if not isinstance(expected, np.ndarray) or not isinstance(got, np.ndarray):
        return type(got) is not type(expected) or bool(got != expected)
    if got.shape != expected.shape or got.dtype != expected.dtype:
        return True
    # Where three overlapping views meet in one base, the terms of a gradient are added in another order.
    return not (np.allclose(got, expected, rtol=1e-12) if close else np.array_equal(got, expected))


def untouched(what: str, wanted: Any, now: Any, theirs: dict[str, Any]) -> bool:
    """Whether it is the history of a view that does not overlap with what was written: a plain function gives it to all
    views of a base, a compiled one to those that were captured or overlap. No gradient flows there."""
    name = what.partition(" ")[2].partition(" ")[2]
    gradient = theirs.get(f"gradients from {name}")
    zero = isinstance(gradient, list) and not any(part.any() for part in gradient)
    if what.startswith("flags"):
        lost = "requires_grad=True" in wanted and "requires_grad=False" in now
        return lost and (zero or isinstance(gradient, Exception))
    if what.startswith("gradients"):
        return (now == "nothing" and zero) or (
            any(text in str(wanted) for text in PERMITTED) and not isinstance(now, Exception)
        )
    return False


def kept(what: str, now: Any, agreed: dict[str, Any], step: str) -> bool:
    """Whether it is a gradient that stays what it was after an earlier call, while the step writes by way of x.data: a
    plain function reads what the memory holds by then, a compiled one may have a copy, of arguments that overlap."""
    return ".data" in step and what.startswith("gradients") and what in agreed and not differ(now, agreed[what], True)


def failure(program: Program) -> str:
    """What compiled calls do differently, or "". What stands before the colon says of what kind it is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of captures for each of many patterns
        return _failure(program)


def _failure(program: Program) -> str:
    plain, compiled, calls, agreed = beginning(False), beginning(True), 0, dict[str, Any]()
    for step in program.steps():
        expected = run_step(step, plain)
        before = dict(looked_at(compiled)) if is_call(step) and expected is not None else {}
        got = run_step(step, compiled)
        if isinstance(got, wf.CaptureError) and any(text in str(got) for text in REFUSALS):
            return ""
        if OVERWRITTEN in f"{got} {expected}" or (got is None and STALE in str(expected)):
            return ""
        if differ(got, expected):
            return f"raised {error_name(got)} for {error_name(expected)}: `{step}`: {said(got)}, plain {said(expected)}"
        if expected is not None and is_call(step):  # a plain function has done a part, a compiled one nothing
            changed = [what for what, now in looked_at(compiled) if differ(now, before.get(what), True)]
            return f"half: `{step}` raised and changed {changed}" if changed else ""
        if not is_call(step):
            continue
        calls += 1
        theirs, ours = dict(looked_at(plain)), dict(looked_at(compiled))
        for what, wanted in theirs.items():
            now = ours.get(what, "nothing")
            if OVERWRITTEN in f"{now} {wanted}" or untouched(what, wanted, now, theirs):
                continue
            if kept(what, now, agreed, step):
                continue
            if differ(now, wanted, what.startswith("gradients") or what.endswith(".grad")):
                return f"{what}: after call {calls}: {said(now)}, plain {said(wanted)}"
        agreed = ours
    return ""


def kind_of(problem: str) -> str:
    """The same kind while a program shrinks is the same defect."""
    head = problem.partition(":")[0]
    return head if head.startswith("raised") else head.partition(" ")[0]


def shrunk(program: Program, fails: Callable[[Program], str] = failure) -> Program:
    """The program without the lines that the failure does not need."""
    kind = kind_of(fails(program))
    parts = ("after", "body", "results", "before")
    return shrunk_program(program, parts, lambda less: kind_of(fails(less)) == kind)


def report(program: Program, seed: int) -> str:
    """What a test shows of a program that fails: the smallest one, as a file that runs, and what is different."""
    small = shrunk(program)
    return f"seed {seed}: {failure(small)}\n{text_of(small)}"


# --- drawing ------------------------------------------------------------------------------------------------------


@dataclass
class Drawing:
    """A program that is being drawn: the steps so far, and the world of a plain function after them."""

    rng: random.Random
    steps: list[str] = field(default_factory=list)
    world: World = field(default_factory=lambda: beginning(False))
    locals: list[str] = field(default_factory=list)  # names inside of the function
    results: int = 0

    def chance(self, percent: int) -> bool:
        """True so often."""
        return self.rng.random() * 100 < percent

    def pick(self, items: Sequence[str]) -> str:
        """One of them."""
        return self.rng.choice(items)

    def try_step(self, text: str) -> bool:
        """Run one more step; whether it is kept. One that raises seldom is, and then nothing comes after it."""
        error = run_step(text, self.world)
        if (error is None and self._small()) or (error is not None and is_call(text) and self.chance(4)):
            self.steps.append(text)
            return True
        self.world = beginning(False)
        for step in self.steps:
            run_step(step, self.world)
        return False

    def _small(self) -> bool:
        arrays = [array_of(tensor) for tensor in tensors_of(self.world).values()]
        return all(bool((np.abs(array) < LARGEST).all()) for array in arrays)


def window(d: Drawing) -> str:
    """Three elements of a base, in one of the ways in which a tensor may show them."""
    base, at = d.pick(BASES), d.rng.randrange(6)
    part = f"[{at}:{at + 3}]"
    if at < 3 and d.chance(15):
        part = f"[{at}:{at + 6}:2]"
    form = "{b}{s}" if d.chance(50) else d.pick(("{b}.detach(){s}", "{b}.data{s}", "still({b}, {a})", "{b}{s}.clone()"))
    return form.format(b=base, s=part, a=at)


def outside(d: Drawing) -> str:
    """A tensor of shape (3,) that is there before a call."""
    way = d.rng.randrange(10)
    if way < 5:
        return window(d)
    if way < 7:
        return d.pick(PLACES) + d.pick(("", "", "[:]", ".detach()", ".view(3)"))
    if way == 7:
        return d.pick(("p.detach()", "q.data", "p.detach()[:]", "p.clone()", "q * w"))
    if way == 8:
        return d.pick(GRADIENTS) + d.pick(("", "", "[:]", ".detach()"))
    return f"r{d.rng.randrange(d.results)}" if d.results else "new(3.0)[2:5]"


def again(d: Drawing, before: str) -> str:
    """An argument like that of the last call, maybe elsewhere in its base: the same graph may hold for it."""
    part = re.search(r"\[(\d):(\d)\]", before)
    if part is None or d.chance(60):
        return before
    at = d.rng.randrange(6)
    return before.replace(part[0], f"[{at}:{at + 3}]")


def binding(d: Drawing) -> str:
    """A line between calls: a name, attribute, key or gradient comes to be another tensor."""
    way = d.rng.randrange(10)
    if way < 5:
        return f"{d.pick(PLACES if d.chance(50) else STORED)} = {outside(d)}"
    if way < 7:
        return gradient(d, outside(d))
    if way == 7:
        return f"{d.pick(BASES)} = new({d.rng.randrange(1, 4)}.0){d.pick(('', ' * w[0]'))}"
    return d.pick(
        (
            "p.data = p.data * 1.0",
            "q.data = p.data",
            f"p.data = {window(d)}",
            "p.requires_grad_(False)",
            "p.requires_grad_()",
            "g.add_(1.0)",
            "h.a, h.b = h.b, h.a",
        )
    )


def gradient(d: Drawing, value: str) -> str:
    """A gradient comes to be another tensor."""
    others = ("p.grad = q.grad", "p.grad = None", "p.grad = q.grad = new(1.0)[1:4]", "p.grad, q.grad = g[0:3], g[2:5]")
    return d.pick(others) if d.chance(60) else f"{d.pick(GRADIENTS)} = {value}"


def inside(d: Drawing) -> str:
    """A tensor of shape (3,) that the function sees."""
    if d.locals and d.chance(65):
        return d.pick(d.locals)
    if d.chance(15):
        return d.pick(("p", "q", "w", *GRADIENTS))
    return d.pick(PLACES) if d.chance(75) else window(d)


def form(d: Drawing) -> str:
    """An in-place form."""
    target, other = inside(d), inside(d)
    text = d.pick(
        (
            "{t}.add_({o})",
            "{t}.add_(10.0)",
            "{t}.mul_(0.5)",
            "{t}.mul_(w)",
            "{t}.copy_({o})",
            "{t}.copy_({o} * w)",
            "{t}[0] = 7.0",
            "{t}[1:].sub_({o}[:2])",
            "{t}.add_({o}.sum())",
            "{t}.detach().add_(1.0)",
        )
    ).format(t=target, o=other)
    return f"with wf.no_grad():\n    {text}" if d.chance(25) else text


def line(d: Drawing) -> str:
    """A line of the function."""
    way = d.rng.randrange(20)
    if way < 9:
        return form(d)
    if way < 13:
        name, value = f"u{len(d.locals)}", inside(d)
        text = d.pick(("{s}[:]", "{s}.detach()", "{s} * 2.0", "{s} + {o}", "{s} * w", "{s}.view(3)"))
        text = f"{name} = {text.format(s=value, o=inside(d))}"
        d.locals.append(name)
        return text
    if way < 16:
        return f"{d.pick(STORED)} = {inside(d)}"
    if way == 16:
        return d.pick(("h.a, d['k'] = d['k'], h.a", f"l[0] = {d.pick(PLACES)}", f"d['n'] = {d.pick(PLACES)}"))
    if way == 17:
        return gradient(d, inside(d))
    if way == 18:
        return f"with wf.no_grad():\n    {d.pick((*LEAVES, *GRADIENTS))}.{d.pick(('zero_()', 'mul_(0.5)'))}"
    return f"((p * {inside(d)}).sum() + (q * {inside(d)} * 2.0).sum()).backward()"


def result(d: Drawing) -> str:
    """What the function returns."""
    return inside(d) + d.pick(("", "", " * 1.0", "[:]", ".detach()", " + p"))


def draw_program(seed: int) -> Program:
    """A function of one to five lines, and two to five calls."""
    d = Drawing(random.Random(f"calls {seed}"))
    for base in BASES:
        d.try_step(f"{base} = new({d.rng.randrange(1, 4)}.0){' * w[0]' if base != 'g' and d.chance(40) else ''}")
    for place in PLACES:
        while not d.try_step(f"{place} = {window(d)}"):
            pass
    for _ in range(d.rng.randrange(3)):
        d.try_step(gradient(d, outside(d)))
    before = tuple(d.steps)
    while True:
        d.locals = [f"a{i}" for i in range(1 + d.chance(70))]
        program = Program(before, tuple(d.locals))
        body = tuple(line(d) for _ in range(d.rng.randrange(1, 6)))
        program = replace(program, body=body, results=tuple(result(d) for _ in range(d.rng.choice((1, 1, 2)))))
        d.steps = [*before]
        d.try_step(program.function)
        calls = draw_calls(d, program)
        if calls > 1:
            return replace(program, after=tuple(d.steps[len(before) + 1 :]))


def draw_calls(d: Drawing, program: Program) -> int:
    """The lines after the function; how many calls are among them."""
    calls, d.results, last = 0, 0, ["g[0:3]" for _ in program.parameters]
    for number in range(d.rng.randrange(2, 6)):
        for _ in range(d.rng.choice((0, 0, 1, 2)) if number else 0):
            d.try_step(binding(d))
        for _ in range(3):
            names = [f"r{(d.results + i) % 4}" for i in range(len(program.results))]
            arguments = [again(d, old) if number and d.chance(55) else outside(d) for old in last]
            call = f"{', '.join(names)}, = f({', '.join(arguments)})"
            if d.try_step(f"with wf.no_grad():\n    {call}" if d.chance(15) else call):
                calls, last = calls + 1, arguments
                d.results = min(d.results + len(names), 4)
                break
        if not calls:
            break
    return calls
