"""What the modules of this folder define: primitives by name, public functions by module.

Every list of ops is made from here, so that an op is named where it is defined and nowhere else.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import ModuleType

from ..graph.protocol import Primitive
from .op import Composite


@cache
def primitives() -> dict[str, Primitive]:
    """Every primitive by its name: those that a module names, and those that an entry made.

    Raises:
        ValueError: two primitives have one name.
    """
    found: dict[str, Primitive] = {}
    for module in _modules():
        for value in vars(module).values():
            primitive = value.primitive if isinstance(value, Composite) else value
            if isinstance(primitive, Primitive) and found.setdefault(primitive.name, primitive) is not primitive:
                raise ValueError(f"{module.__name__} has a second primitive called {primitive.name}")
    return found


def _modules() -> list[ModuleType]:
    folder = importlib.import_module(__package__)
    return [importlib.import_module(f"{__package__}.{m.name}") for m in pkgutil.iter_modules(folder.__path__)]
