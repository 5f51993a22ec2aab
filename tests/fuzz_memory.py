"""Random programs of views, in-place forms, autograd and functions, as text that runs on PyTorch and on weft alike.

A program is lines of Python over ``m``, which is either library, ``np`` and the helpers of :mod:`fuzz_memory_play`.
Names are ``v0, v1 ..`` (tensors), ``b0 ..`` (NumPy arrays), in a function ``a0 ..`` (its parameters) and ``u0 ..`` (its
own). A seed names a program: it is drawn while PyTorch runs it, so that shapes fit and values stay small; which steps
raise nevertheless is part of what is compared. The lines are those of :mod:`fuzz_memory_lines`.
"""

from __future__ import annotations

import random
import warnings
from dataclasses import replace

import torch
from fuzz_memory_drawing import Drawing
from fuzz_memory_lines import EAGER, INSIDE, LOSS, Maker, make_new
from fuzz_memory_play import TORCH, WARNED, Program, World, beginning, looked_at, run_step


def draw_steps(d: Drawing, count: int, makers: dict[Maker, int]) -> None:
    """So many steps more."""
    wanted = len(d.steps) + count
    for _ in range(20 * count):
        if len(d.steps) >= wanted or d.ended:
            break
        text = d.rng.choices(list(makers), list(makers.values()))[0](d)
        if text:
            d.try_step(text)


def draw_program(seed: int, mode: str) -> Program:
    """A program of five to some twenty lines."""
    rng = random.Random(f"{mode} {seed}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", f".*{WARNED}")
        d = Drawing(rng, lambda: beginning(TORCH))
        for _ in range(2 + d.below(2)):
            d.try_step(make_new(d))
        if mode == "eager":
            draw_steps(d, 4 + d.below(12), EAGER)
            return Program(mode, tuple(d.steps))
        draw_steps(d, 1 + d.below(5), EAGER)
        return draw_function(d, mode)


def draw_function(d: Drawing, mode: str) -> Program:
    """The rest of a program whose function is called twice."""
    loss = mode != "compiled"
    usable = d.tensors(lambda t: t.is_floating_point() and not t.requires_grad) if loss else d.tensors()
    before = tuple(d.steps)
    if not usable or d.ended:
        return Program("eager", before)
    arguments = [d.pick(usable) for _ in range(1 + d.below(3))]
    parameters = tuple(f"a{i}" for i in range(len(arguments)))

    def entered() -> World:
        """The world inside of the function at its first call."""
        world = beginning(TORCH)
        for text in before:
            run_step(text, world)
            looked_at(world)
        for parameter, argument in zip(parameters, arguments, strict=True):
            value = world[argument]
            world[parameter] = value.detach().requires_grad_() if loss else value
        if loss:
            for name in [n for n, t in world.items() if isinstance(t, torch.Tensor) and t.requires_grad]:
                if name[0] != "a":
                    del world[name]  # the gradients of what is around a gradient are not these programs' matter
        return world

    # What an inner gradient writes into its argument's memory is the outer one's matter: nobody says whose that is.
    f = Drawing(d.rng, entered, inside=True, loss=loss, constant=mode == "second grad")
    draw_steps(f, 2 + f.below(8), LOSS if loss else INSIDE)
    if loss:
        terms = [n for n in f.tensors(lambda t: t.is_floating_point()) if n[0] in "au"]
        results = tuple(f"({n} * {f.pick(('0.5', n))}).sum()" for n in terms)
    else:
        names = f.tensors()
        results = tuple(f.pick(names) for _ in range(1 + f.below(3)))
    program = Program(mode, before, parameters, tuple(f.steps), results)
    d.try_step(program.function(True))
    calls = []
    for number in range(2):
        if number and d.chance(35):
            arguments = [d.pick(d.tensors(lambda t, a=a: alike(t, d.world[a]))) for a in arguments]
        names = ", ".join(f"v{d.count + i}" for i in range(len(arguments if loss else results)))
        d.count += names.count(",") + 1
        calls.append(f"{names}{'' if ',' in names else ','} = f({', '.join(arguments)})")
        if not d.try_step(calls[-1]):
            calls.pop()
    at = len(d.steps)
    if not d.ended:
        draw_steps(d, d.below(4), EAGER)
    return replace(program, calls=tuple(calls), after=tuple(d.steps[at:]))


def alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether the one may be an argument instead of the other."""
    return (one.shape, one.dtype, one.requires_grad) == (other.shape, other.dtype, other.requires_grad)
