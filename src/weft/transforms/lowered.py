"""What a compiled function comes to for certain types of arguments, without data: ``wf.compile(f).lower(*specs)``.

The arguments of the capture are tensors that have a spec and no memory. A size that is a name becomes a symbol of the
capture, with an example that the plan is made for (:func:`example`); the capture serves calls of any size that keep its
guards, as one that a call has made.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..compiler.kernels import Kernel
from ..core.errors import ArgumentError, ShapeError
from ..core.files import write_atomically
from ..core.shapes import Shape, substitute
from ..core.symbolic import SymDim
from ..graph.executable import kernels_of as launched
from ..graph.ir import Graph, Value
from ..graph.protocol import TensorType
from ..graph.simplify import simplify
from ..runtime.devices import default_device
from ..tensor.create import is_array
from ..tensor.spec import spec_of
from ..tensor.tensor import Tensor, make
from .explain import Explanation, described
from .tables import count
from .tree import flatten, unflatten

if TYPE_CHECKING:
    from .entry import Entry

_EXAMPLES = (64, 96, 160, 224, 352, 416, 544, 608)  # 32 times a prime: names that may differ do


class Lowered:
    """A compiled function for certain types: captured, lowered, compiled, and not run.

    sizes: the numbers of sizes that were names, which figures are for; calls may have others. graph: simplified;
    kernels: in order (Python code that computes an op is none).
    """

    def __init__(self, name: str, entry: Entry):
        self.name, self._entry = name, entry
        self.sizes: Mapping[str, int] = entry.sizes

    @property
    def graph(self) -> Graph:
        """The graph, simplified; ``print`` it."""
        return simplify(self._entry.captured.whole)

    @property
    def kernels(self) -> list[Kernel]:
        """In order: ``print(k)``, ``k.llvm()``, ``k.asm()``."""
        return kernels_of(self._entry)

    @property
    def flops(self) -> int:
        """Of a run."""
        return sum(row.flops for row in self.explain().rows)

    @property
    def nbytes(self) -> int:
        """That the kernels of a run read and write."""
        return sum(row.nbytes for row in self.explain().rows)

    @property
    def arena_nbytes(self) -> int:
        """Memory of a run for intermediate values."""
        return max(int(substitute(exe.plan.arena_nbytes, sizes)) for exe, sizes in self._entry.parts())

    def explain(self, html: str | os.PathLike[str] | None = None) -> Explanation:
        """The table of kernels, without times: nothing is run. ``html``: also write a page, as ``f.explain`` does.

        Raises:
            OSError: the page cannot be written; what was there stays.
        """
        found = described(self._entry.parts())
        if html is not None:
            write_page(html, self.name, self._entry, found)
        return found

    def __repr__(self) -> str:
        rows = self.explain().rows
        figures = f"{count(sum(r.flops for r in rows))} flops, {count(sum(r.nbytes for r in rows))}B moved"
        sizes = "".join(f" {name}={number}" for name, number in self.sizes.items())
        return f"<lowered {self.name}:{sizes} {len(rows)} kernels, {figures}, arena {count(self.arena_nbytes)}B>"


def write_page(path: str | os.PathLike[str], name: str, entry: Entry, told: Explanation) -> None:
    """Write the page of an entry."""
    from .pages import explain_page

    write_atomically(path, explain_page(name, told, entry.parts(), entry.captured).encode())


def kernels_of(entry: Entry) -> list[Kernel]:
    """The kernels of an entry, in order."""
    return [kernel for exe, _ in entry.parts() for kernel in launched(exe.launches)]


class Standing:
    """Arguments that tensors without memory stand for.

    args, kwargs: with these in place of specs. named: (number of the tensor, axis) -> name, of sizes that are names.

    Args:
        ranges: what is known of names: the least and the greatest number.

    Raises:
        ShapeError: a size is an expression of names.
        ArgumentError: more names than there are examples for.
    """

    def __init__(
        self, specs: Sequence[Any], kwspecs: Mapping[str, Any], ranges: Mapping[str, tuple[int, int | None]]
    ) -> None:
        self.named: dict[tuple[int, int], str] = {}
        self._examples: dict[str, int] = {}
        self._numbers = itertools.count()
        self._ranges = ranges
        self.args = tuple([self._standing(tree) for tree in specs])
        self.kwargs = {name: self._standing(tree) for name, tree in kwspecs.items()}

    def _standing(self, tree: Any) -> Any:
        leaves, form = flatten(tree)
        return unflatten(form, [self._leaf(leaf) for leaf in leaves])

    def _leaf(self, leaf: Any) -> Any:
        if isinstance(leaf, Tensor) or is_array(leaf):
            next(self._numbers)
            return leaf
        if not isinstance(leaf, TensorType):
            return leaf
        number = next(self._numbers)
        shape: Shape = tuple([self._size(size, (number, axis), leaf) for axis, size in enumerate(leaf.shape)])
        return make(Value(TensorType(leaf.dtype, shape)), spec_of(leaf.dtype, shape, None, default_device()), None, 0)

    def _size(self, size: Any, place: tuple[int, int], spec: TensorType) -> int:
        if not isinstance(size, SymDim):
            return int(size)
        name = str(size)
        if not name.isidentifier():
            raise ShapeError(f"lower: the size {name} of {spec!r} is computed from names; give it a name of its own")
        self.named[place] = name
        if name not in self._examples:
            self._examples[name] = self._example(name)
        return self._examples[name]

    def _example(self, name: str) -> int:
        """A number for a name: one of its range that no other name has, if there is one; 0 and 1 are no examples."""
        least, greatest = self._ranges.get(name, (0, None))
        most = _EXAMPLES[-1] + least if greatest is None else greatest
        tried = [n for n in (*_EXAMPLES, *(least + n for n in _EXAMPLES), most, max(least, 2)) if least <= n <= most]
        free = [n for n in tried if n > 1 and n not in self._examples.values()]
        if not free:
            raise ArgumentError(
                f"lower: no size of 2 and more is left for {name}; give numbers instead of names, or wider ranges"
            )
        return free[0]
