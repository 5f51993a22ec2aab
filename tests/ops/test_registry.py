"""The registry misses no op and confuses none."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from typing import Any

import pytest

from weft.graph.protocol import Map, Primitive
from weft.ops import elementwise, registry

# In a process of its own, for this one's heap holds millions of objects.
ALIVE = """
import gc, json, weft
from weft.graph.protocol import Primitive
from weft.ops import registry
known = registry.primitives()
alive = [p for p in gc.get_objects() if type(p) is Primitive and p.infer.__module__.startswith("weft.ops.")]
print(json.dumps([len(alive), [p.name for p in alive if known.get(p.name) is not p]]))
"""


def test_every_primitive_is_known_by_its_name() -> None:
    """Also those that no module names: an entry of a table keeps its primitive to itself."""
    done = subprocess.run([sys.executable, "-c", ALIVE], capture_output=True, text=True, check=True)
    alive, unknown = json.loads(done.stdout)
    assert alive > 70
    assert unknown == []


def test_two_primitives_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    second: Any = types.ModuleType("weft.ops.second")
    second.ADD = Primitive("add", lambda params, x: x, Map(lambda params, x: x))
    monkeypatch.setattr(registry, "_module", {"elementwise": elementwise, "second": second}.get)
    monkeypatch.setattr(registry, "_names", lambda: ["elementwise", "second"])
    with pytest.raises(ValueError, match=r"weft\.ops\.second has a second primitive called add"):
        registry.primitives.__wrapped__()


def test_an_entry_keeps_its_primitive() -> None:
    assert elementwise.add.primitive is registry.primitives()["add"]
    assert elementwise.floor.primitive.kinds == ("float",)  # on integers it is the identity


def test_a_namespace_shows_the_public_functions_of_its_modules_alone() -> None:
    modules = ("elementwise", "pieces", "reduction", "shape")
    shown = registry.functions(*modules)
    assert len(shown) == sum(len(registry.functions(m)) for m in modules)  # none hides one
    assert {"hypot", "where", "sum", "repeat", "broadcast_arrays"} <= set(shown)
    assert not {"clone", "cast", "max_with_index", "binary_operands", "_repeat"} & set(shown)
    assert shown["hypot"] is registry.entries("elementwise", 2)["hypot"]
    assert "where" not in registry.entries("elementwise", 3)  # no entry made it
