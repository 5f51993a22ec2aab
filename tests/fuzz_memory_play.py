"""Programs of :mod:`fuzz_memory` played on PyTorch and on weft: what every name shows then, and what is different.

A program is text, so that what fails can be printed, dropped line by line (:func:`shrunk`) and run by hand.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from fuzz_steps import World, compiled_text, error_name, run_step, said
from fuzz_steps import shrunk as shrunk_program
from torch._C._autograd import CreationMeta, _get_creation_meta

import weft as wf


@dataclass(frozen=True)
class Program:
    """Lines, a function of lines that is called twice (in all modes but ``eager``), and lines after that.

    ``mode`` is one of FORMS; ``results`` are what the function returns: names, or the loss of a gradient.
    """

    mode: str
    before: tuple[str, ...]
    parameters: tuple[str, ...] = ()
    body: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    def steps(self, looks: bool = False) -> list[str]:
        """Its lines, the function as one of them. ``looks``: with a look at the function's names after its lines."""
        if self.mode == "eager" or not self.calls:
            return [*self.before, *self.after]
        return [*self.before, self.function(looks), *self.calls, *self.after]

    def function(self, looks: bool = False) -> str:
        """``def f(a0): ...`` and what is made of it."""
        result = " + ".join(self.results)
        if self.mode == "compiled":
            result = ", ".join(self.results) + "," * (len(self.results) == 1)
        body = (
            [part for line in self.body for part in (line, "look({**globals(), **locals()})")] if looks else self.body
        )
        lines = [*body, f"return {result}"]
        indented = [f"    {part}" for line in lines for part in line.split("\n")]
        numbers = f"({', '.join(str(i) for i in range(len(self.parameters)))},)"
        return "\n".join([f"def f({', '.join(self.parameters)}):", *indented, FORMS[self.mode].format(numbers=numbers)])


# What is made of the function in each mode.
FORMS = {
    "eager": "",
    "compiled": "f = m.compile(f)",
    "grad": "f = m.grad(f, {numbers})",
    "grad of compiled": "f = m.grad(m.compile(f), {numbers})",
    "compiled grad": "f = m.compile(m.grad(f, {numbers}))",
    "second grad": "f = m.grad(m.compile(squared(m.grad(m.compile(f), {numbers}))), {numbers})",
}


def text_of(program: Program, library: str = "wf") -> str:
    """The program as a file that runs: with ``weft as m``, or with PyTorch."""
    imports = "import weft as m" if library == "wf" else "import torch as m\nm.compile = lambda f: f  # eager"
    return "\n".join([imports, HELPERS, "", *program.steps()])


HELPERS = '''import numpy as np

def array(shape, dtype, first):
    """Numbers that differ from each other and from those of another ``first``."""
    count = int(np.prod(shape))
    if dtype == "bool":
        return ((np.arange(count) * 3 + first) % 5 < 2).reshape(shape)
    if dtype == "int64":
        return ((np.arange(count) * 3 + first) % 7 - 3).reshape(shape)
    return ((np.arange(count) * 0.377 + first * 0.1234) % 3 - 1.4).reshape(shape).astype(dtype)

def new(shape, dtype, first):
    return m.tensor(array(shape, dtype, first))

def own(result):
    return result

def squared(function):
    return lambda *a: sum((g * g).sum() for g in function(*a))'''


# --- the two libraries --------------------------------------------------------------------------------------------


class Torch:
    """PyTorch under the names that programs use: a compiled function is the function."""

    __name__ = "torch"

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def compile(function: Callable[..., Any]) -> Callable[..., Any]:
        """The function."""
        return function

    @staticmethod
    def grad(function: Callable[..., Any], numbers: Sequence[int]) -> Callable[..., Any]:
        """The gradients of a loss; zeros for arguments that it does not hang on."""

        def gradients(*args: torch.Tensor) -> tuple[torch.Tensor, ...]:
            inner = [args[i].requires_grad for i in numbers]  # of a gradient around this one
            given = list(args)
            for i in numbers:
                given[i] = args[i].view_as(args[i]) if args[i].requires_grad else args[i].detach().requires_grad_()
            leaves = [given[i] for i in numbers]
            edges = [torch.autograd.graph.get_gradient_edge(leaf) for leaf in leaves]  # a written view gets a new one
            with torch.enable_grad():
                loss = function(*given)
            if not loss.requires_grad:
                return tuple(torch.zeros_like(leaf) for leaf in leaves)
            found = torch.autograd.grad(loss, edges, allow_unused=True, create_graph=any(inner))
            return tuple(
                torch.zeros_like(leaf) if g is None else g.clone(memory_format=torch.contiguous_format)
                for leaf, g in zip(leaves, found, strict=True)
            )

        return gradients


TORCH, WEFT = "torch", "weft"
_LIBRARIES: dict[str, Any] = {TORCH: Torch(), WEFT: wf}
_TENSOR: dict[str, type] = {TORCH: torch.Tensor, WEFT: wf.Tensor}


def beginning(library: str) -> World:
    """What a program finds: ``m``, ``np`` and the helpers."""
    world: World = {"m": _LIBRARIES[library], "look": looked_at}
    exec(compiled_text(HELPERS), world)
    if library == TORCH:

        def own(result: torch.Tensor) -> torch.Tensor:
            """Weft's results are row-major; PyTorch keeps their operands' order."""
            made = result.contiguous()
            if made is not result:
                world["copied"] = True
            return made

        world["own"] = own
    return world


# --- what is different on purpose ---------------------------------------------------------------------------------

WARNED = "on expanded tensors is deprecated"  # a warning that is made an error
# PyTorch's refusals that weft's documented rules do not share, by what PyTorch says. A program ends where one is met.
DIFFERENCES = {
    "outputs of split, chunk, unbind and iteration may be changed in place": "function that returns multiple views",
    "views that were made under no_grad may be changed in place": "was created in no_grad mode",
    "operands may overlap with the target": "refer to a single memory location",
    "steps of slices may be negative": "step must be greater than zero",
    "all in-place forms on expanded memory are refused, some of which PyTorch only warns of": WARNED,
}
# In the third, PyTorch says the same, with "more than one element", where the target itself overlaps.
_SHARED = "more than one element of the written-to tensor"


def documented(error: Exception | None) -> str | None:
    """Which documented difference an error of PyTorch's is."""
    text = str(error)
    if error is None or _SHARED in text:
        return None
    return next((what for what, phrase in DIFFERENCES.items() if phrase in text), None)


def permitted(error: Any, where: str) -> bool:
    """Whether it is an error of PyTorch's backward() that weft need not have."""
    said = str(error) if isinstance(error, Exception) else ""
    return any(text in said for text in PERMITTED) or ("backward" in where and _SHARED in said)


def between(error: Any, step: str, world: World) -> bool:
    """Whether PyTorch takes a view for a leaf because nobody has looked at it between the two writes of ``v[i] *= x``:
    ``t = v[i]; t *= x; v.grad_fn; v[i] = t`` it does."""
    found = re.match(r"(\w+)\[.*\] \S{1,2}= ", step)
    base = getattr(world.get(found[1]) if found else None, "_base", None)
    return base is not None and not (base.is_leaf and base.requires_grad) and "a leaf Variable" in str(error)


def looked_at(world: World) -> None:
    """Look at the history of every tensor. PyTorch brings that of a view up to date when it is asked for it, and until
    then refuses some in-place forms ("a leaf Variable") that it permits afterwards; so programs ask after every line.
    """
    for value in list(world.values()):
        if isinstance(value, torch.Tensor):
            hidden(value)


def hidden(value: Any) -> bool:
    """Whether PyTorch does not tell the history of this view: it was made under no_grad of a tensor that requires grad,
    or before that did (it says that it requires grad, and no gradient ever reaches it), or by split and the like, and
    its base was changed since. What weft says of it is not compared; values and who shares them are."""
    if not isinstance(value, torch.Tensor) or not value._is_view() or not value.requires_grad:
        return False
    if _get_creation_meta(value) == CreationMeta.NO_GRAD_MODE:
        return True
    try:
        return value.is_leaf and value._base is not None and value._base.requires_grad
    except RuntimeError:
        return True


def astray(step: str, world: World) -> bool:
    """Whether the line records what it does with such a view."""
    if step.startswith(("with m.no_grad", "def ", "del ")):
        return False
    return any(hidden(world.get(name)) for name in re.findall(r"\b[vua]\d+\b", step))


# What a captured function cannot do, by what weft says; the program ends there, with nothing changed.
REFUSALS = (
    "which was recorded before the capture",
    "backward() inside a captured function reaches",
    "is kept with a gradient of its own",
    "there is no one tensor of which all are views",
)
NO_ARITHMETIC = "bool operands: wants an integer"  # weft has none on booleans
OVERWRITTEN = "modified by an inplace operation"  # what PyTorch and weft say of a saved value that was written
OWN_OVERWRITTEN = "changed in place since"
SECOND_TIME = "backward a second time through"  # weft frees the number of add_(x, alpha=2) as well
# What PyTorch's backward() refuses and weft's need not: it frees less, writes no expanded memory, and detach_() takes
# nothing away from what was kept. Of masks without elements its backward() says now and then that they are no masks;
# one that was written since, it counts anew.
PERMITTED = (
    "Trying to backward through the graph a second time",
    "detached in-place",
    "moved into the graph interior",
    "tensors used as indices must be",
    "cannot be broadcast to indexing result",
    "function that returns multiple views",
)
EXPANDED = "several elements of the tensor lie in one place of memory"
NO_GRADIENT = "only a floating leaf has a gradient to set"  # PyTorch keeps one for what was computed
# What a compiled function makes and returns a view of is gone: the result is no view, which may be detached in place,
# and is row-major.
NO_VIEW = ("Can't detach views in-place", "view size is not compatible")


# What makes a view that begins at another address than its base.
PARTS = r"\w\[|narrow|select|diagonal|split|chunk|unbind|\bfor\b"


# --- what can be seen ---------------------------------------------------------------------------------------------


def values_of(world: World, library: str) -> dict[str, Any]:
    """Names of tensors and arrays."""
    kinds = (_TENSOR[library], np.ndarray)
    return {name: world[name] for name in sorted(world) if isinstance(world[name], kinds)}


def array_of(value: Any) -> np.ndarray[Any, Any]:
    """A copy of the elements."""
    return np.array(value if isinstance(value, np.ndarray) else value.detach().numpy())


def seen(
    world: World, library: str, gradients: bool = True, skipped: Collection[str] = ()
) -> Iterator[tuple[str, Any]]:
    """What the names show: which are one object, values, dtypes, shapes, what asks for gradients, gradients."""
    values = values_of(world, library)
    yield "names", list(values)
    objects = list(values.values())
    yield "identity", [next(i for i, o in enumerate(objects) if o is value) for value in objects]
    for name, value in values.items():
        yield f"value of {name}", array_of(value)
        if not isinstance(value, np.ndarray) and name not in skipped:
            yield f"flags of {name}", (f"requires_grad={value.requires_grad}", f"is_leaf={value.is_leaf}")
            if gradients and value.is_leaf:
                yield f"grad of {name}", None if value.grad is None else array_of(value.grad)
                if value.grad is not None:
                    yield f"flags of {name}.grad", (value.grad.requires_grad,)


def walked(world: World, library: str, skipped: Collection[str] = ()) -> Iterator[tuple[str, Any]]:
    """The gradients that flow to the leaves from each name in turn, or that they do not."""
    values = {n: v for n, v in values_of(world, library).items() if n not in skipped and not isinstance(v, np.ndarray)}
    leaves = {n: v for n, v in values.items() if v.is_leaf and v.requires_grad}
    for name, value in values.items():
        if hidden(value):  # since a gradient was accumulated in what it shows
            return
        if not value.requires_grad or value.is_leaf:
            continue
        for leaf in leaves.values():
            leaf.grad = None
        error = run_step(f"({name} * 0.5).sum().backward(retain_graph=True)", world)
        yield f"raised: backward of {name}", error
        if error is None:
            for leaf_name, leaf in leaves.items():
                yield f"grad of {leaf_name} by {name}", None if leaf.grad is None else array_of(leaf.grad)


def probed(world: World, library: str) -> Iterator[tuple[str, Any]]:
    """Who shares memory: one element is written through one name, and all names are looked at."""
    values = values_of(world, library)
    before = {name: array_of(value) for name, value in values.items()}
    for number, (name, value) in enumerate(values.items()):
        array = before[name]
        if not array.size:
            continue
        at = tuple((number + axis) % size for axis, size in enumerate(array.shape))
        world["probe"], world["at"] = not array[at] if array.dtype == bool else 1000 + number, at
        error = run_step(
            f"{name}[at] = probe" if isinstance(value, np.ndarray) else f"{name}.detach()[at] = probe", world
        )
        after = {n: array_of(v) for n, v in values.items()}
        changed = {n: np.flatnonzero(a != before[n]).tolist() for n, a in after.items()}
        yield f"shares: {name} at {at}", error if error else {n: at for n, at in changed.items() if at}
        before = after


def differ(ours: Any, theirs: Any) -> bool:
    """Whether weft's is not PyTorch's."""
    if isinstance(theirs, Exception) or isinstance(ours, Exception):
        return not (isinstance(theirs, Exception) and isinstance(ours, OWN_ERRORS))
    if not isinstance(theirs, np.ndarray) or not isinstance(ours, np.ndarray):
        return type(ours) is not type(theirs) or bool(ours != theirs)
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return True
    if theirs.dtype.kind != "f":
        return bool((ours != theirs).any())
    with np.errstate(all="ignore"):  # float64 values may come from float32 ones
        return not np.allclose(ours, theirs, rtol=3e-5, atol=3e-4, equal_nan=True)


# What weft may raise where PyTorch raises: its own errors, and those of Python for calls that nobody can make.
OWN_ERRORS = (wf.WeftError, TypeError, NameError, IndexError, AttributeError)


# --- the comparison -----------------------------------------------------------------------------------------------


def failure(program: Program) -> str:
    """What weft does differently from PyTorch, or "". The first word says of what kind it is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", f".*{WARNED}")
        problem = _failure(program)
        if OVERWRITTEN in problem and "weft nothing" in problem:
            # Weft keeps less for backward than PyTorch, or old values: its gradients are those that PyTorch gives when
            # it keeps old values too.
            with torch.autograd.graph.allow_mutation_on_saved_tensors():
                problem = _failure(program, True)
        return problem


def knows_more(ours: World, theirs: World) -> bool:
    """Whether a gradient under ``create_graph`` has a history in PyTorch alone: weft knows that there is no more to
    follow, as in the gradient of abs."""
    for name, value in values_of(theirs, TORCH).items():
        if hidden(value) or not isinstance(value, torch.Tensor) or not value.is_leaf or value.grad is None:
            continue
        if value.grad.requires_grad:
            own = ours[name].grad
            if own is not None and not own.requires_grad:
                return True
    return False


def is_expanded(value: Any) -> bool:
    """Whether elements lie in one place."""
    return isinstance(value, torch.Tensor) and any(n > 1 and not s for n, s in zip(value.shape, value.stride()))


def has_empty(world: World) -> bool:
    """Whether there is a tensor without elements that requires grad, in PyTorch's world."""
    return any(isinstance(t, torch.Tensor) and not t.numel() and t.requires_grad for t in world.values())


def reads_what_it_writes(text: str) -> bool:
    """Whether a write by hand reads the same memory through ``.data``: PyTorch's gradient takes the new value for the
    old one, without a word, since it does not count what ``.data`` shows."""
    if re.search(r"\.data [-+*/]=|\.data\.\w+_\(", text):
        return True
    shown = re.findall(r"(\w+) = \w+\.data$", text, re.M)
    return any(re.search(rf"([-+*/]= |_\().*\b{name}\b", text) for name in shown)


def _failure(program: Program, keeps: bool = False) -> str:
    """``keeps``: PyTorch keeps the old values of what is written, so that weft may refuse more than it. So it may where
    compiled code writes through ``x.data``, which is counted there."""
    keeps = keeps or (program.mode != "eager" and any(".data" in step for step in program.steps()))
    theirs, ours, ended = beginning(TORCH), beginning(WEFT), False
    text = "\n".join(program.steps())
    freed = "alpha=" in text
    # In PyTorch's gradients old and new values are mixed where it keeps the old ones: it looks for them by the address
    # of what is written, misses those of parts, and takes ``.data`` for its source. So it is where a function gets, or
    # makes, what ``.data`` shows.
    strays = keeps and (program.mode != "eager" or re.search(PARTS, text) is not None or ".data" in text)
    strays = strays or reads_what_it_writes(text)
    gradients = set(re.findall(r"\w+(?=[^=\n]* = f\()", "\n".join(program.calls))) if "grad" in program.mode else set()
    rebound = set(re.findall(r"(\w+)\.data = ", text))  # on the tape they stay views of what was their base
    for step, looking in zip(program.steps(), program.steps(True), strict=True):
        if astray(step, theirs):
            break
        expected = run_step(looking, theirs)
        looked_at(theirs)
        if documented(expected):  # some of it may be done
            theirs = beginning(TORCH)
            for each in program.steps(True)[: program.steps().index(step)]:
                run_step(each, theirs)
                looked_at(theirs)
            break
        calls = step in program.calls
        # What is written is a copy of what PyTorch keeps, or PyTorch does not count what is written.
        keeps = keeps or "copied" in theirs
        skipped = {name for name, value in theirs.items() if hidden(value)}
        before = dict(seen(ours, WEFT, True, skipped)) if calls else {}
        got = run_step(step, ours)
        if isinstance(got, wf.CaptureError) and calls and any(text in str(got) for text in REFUSALS):
            expected = got  # in eager code it is none
        if (keeps and OWN_OVERWRITTEN in str(got)) or (freed and SECOND_TIME in str(got)) or NO_ARITHMETIC in str(got):
            return ""
        if got is None and (permitted(expected, step) or between(expected, step, theirs)):
            return ""
        if program.mode != "eager" and got is None and any(text in str(expected) for text in NO_VIEW):
            return ""
        if EXPANDED in str(got) and any(is_expanded(t) for t in theirs.values()):
            return ""  # which PyTorch does not refuse where each element gets its own value
        if NO_GRADIENT in str(got) and expected is None:
            return ""
        if differ(got, expected):
            kinds = f"{error_name(expected)}, {error_name(got)}"
            return f"raised: {kinds}: `{step}`: weft {said(got)}, PyTorch {said(expected)}"
        if expected is not None and calls and not program.mode.startswith("compiled"):
            return ""  # several calls
        if expected is not None and calls:
            changed = [n for n, v in seen(ours, WEFT, True, skipped) if differ(v, before.get(n, "nothing"))]
            return f"half: `{step}` raised and changed {changed}" if changed else ""
        ended = expected is not None and "backward" in step
        if ended or knows_more(ours, theirs):  # after an error, which gradients it had reached is not told
            break
    skipped = {name for name, value in theirs.items() if hidden(value) or name in rebound}
    looks: list[Callable[[World, str], Iterator[tuple[str, Any]]]] = [
        lambda world, library: seen(world, library, not ended, skipped),
        lambda world, library: iter(()) if ended else walked(world, library, skipped),
        probed,
    ]
    for look in looks:
        for (what, expected), (ours_what, got) in zip(look(theirs, TORCH), look(ours, WEFT), strict=False):
            if (keeps and OWN_OVERWRITTEN in str(got)) or (freed and SECOND_TIME in str(got)):
                break
            is_gradient = what.startswith("grad of") or what.removeprefix("value of ") in gradients
            if is_gradient and strays:
                continue
            zeros = isinstance(expected, np.ndarray) and not expected.any()
            if is_gradient and zeros and program.mode == "second grad":
                continue  # Torch.grad asks for the edge of a view, which gets another when its memory is written
            if permitted(expected, what) and got is None:
                break
            if what.endswith(".grad") and (expected, got) == ((True,), (False,)):
                continue
            if what.endswith(".grad") and (expected, got) == ((False,), (True,)) and has_empty(theirs):
                continue  # what comes through a written view without elements is a constant in PyTorch
            if what != ours_what or differ(got, expected):
                return f"{what}: weft {said(got)}, PyTorch {said(expected)}"
    return ""


def kind_of(problem: str) -> str:
    """``value``, ``raised``, ...: the same kind while a program shrinks is the same defect."""
    return problem.partition(": `")[0] if problem.startswith("raised: ") else problem.partition(" ")[0]


def shrunk(program: Program, fails: Callable[[Program], str] = failure) -> Program:
    """The program without the lines that the failure does not need."""
    kind = kind_of(fails(program))
    parts = ("after", "calls", "results", "body", "before")
    return shrunk_program(program, parts, lambda less: kind_of(fails(less)) == kind)


def report(program: Program, seed: int) -> str:
    """What a test shows of a program that fails: the smallest one, and what is different."""
    small = shrunk(program)
    return f"seed {seed}, {program.mode}: {failure(small)}\n" + "\n".join(small.steps())
