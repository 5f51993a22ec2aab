"""What the modules of this folder define: primitives by name, public functions by module.

Every list of ops is made from here, so that an op is named where it is defined and nowhere else.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

from ..graph.protocol import Primitive
from .op import Composite


@cache
def primitives() -> dict[str, Primitive]:
    """Every primitive by its name: those that a module names, and those that an entry made.

    Raises:
        ValueError: two primitives have one name.
    """
    found: dict[str, Primitive] = {}
    for module in map(_module, _names()):
        for value in vars(module).values():
            primitive = value.primitive if isinstance(value, Composite) else value
            if isinstance(primitive, Primitive) and found.setdefault(primitive.name, primitive) is not primitive:
                raise ValueError(f"{module.__name__} has a second primitive called {primitive.name}")
    return found


def functions(*names: str) -> dict[str, Callable[..., Any]]:
    """The public functions that modules of this folder define, by name: what a namespace for users shows of them."""
    return {
        name: value
        for module in map(_module, names)
        for name, value in vars(module).items()
        if not name.startswith("_")
        and getattr(value, "is_public", False)
        and (value.__module__, value.__name__) == (module.__name__, name)
    }


def entries(name: str, operands: int) -> dict[str, Composite]:
    """The functions of so many operands that are made of the entries of a module's tables, by name."""
    made = {n: f for n, f in functions(name).items() if isinstance(f, Composite)}
    return {n: f for n, f in made.items() if f.primitive is not None and f.operands == operands}


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{__package__}.{name}")


def _names() -> list[str]:
    import pkgutil  # `import weft` gets by without

    return [found.name for found in pkgutil.iter_modules(importlib.import_module(__package__).__path__)]
