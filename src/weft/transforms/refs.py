"""References: where the inputs of a captured graph come from at each run, and where what it writes goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..runtime import storage as storages
from ..tensor import tape
from ..tensor.spec import Spec
from ..tensor.tensor import Tensor, make


@dataclass(slots=True, eq=False)
class TensorRef:
    """A tensor that the function closes over."""

    tensor: Tensor

    @property
    def key(self) -> Any:
        """Equal for references to one thing."""
        return "tensor", id(self.tensor)

    def get(self, arguments: Sequence[Tensor]) -> Tensor | None:
        """The tensor as it is now."""
        return self.tensor


@dataclass(slots=True, eq=False)
class ArgumentRef:
    """The tensor that a call gives as its n-th."""

    position: int

    @property
    def key(self) -> Any:
        """Equal for references to one thing."""
        return "argument", self.position

    def get(self, arguments: Sequence[Tensor]) -> Tensor | None:
        """The tensor as it is now."""
        return arguments[self.position]


@dataclass(slots=True, eq=False)
class GradRef:
    """The gradient of a leaf that the function read or replaced: a leaf from outside, or that of the n-th argument."""

    leaf: tape.Leaf | None
    position: int = -1

    @property
    def key(self) -> Any:
        """Equal for references to one thing."""
        return "gradient", id(self.leaf), self.position

    def leaf_of(self, arguments: Sequence[Tensor]) -> tape.Leaf:
        """The leaf in a call with these arguments."""
        leaf = arguments[self.position]._node if self.leaf is None else self.leaf
        assert isinstance(leaf, tape.Leaf)
        return leaf

    def get(self, arguments: Sequence[Tensor]) -> Tensor | None:
        """The gradient as it is now."""
        return self.leaf_of(arguments).grad

    def set(self, arguments: Sequence[Tensor], gradient: Tensor | None) -> None:
        """Replace it."""
        self.leaf_of(arguments).grad = gradient


@dataclass(slots=True, eq=False)
class BaseRef:
    """The tensor that the n-th argument is a view of."""

    position: int

    @property
    def key(self) -> Any:
        """Equal for references to one thing."""
        return "base", self.position

    def get(self, arguments: Sequence[Tensor]) -> Tensor | None:
        """The tensor as it is now."""
        of = arguments[self.position]._view
        return None if of is None else of.base


@dataclass(slots=True, eq=False)
class FlatRef:
    """Bytes that several tensors show, as a flat tensor: from ``before`` bytes before the first element of one.
    ``others``: all of them, whose writes are counted apart."""

    member: TensorRef | ArgumentRef | GradRef
    before: int
    spec: Spec
    others: tuple[TensorRef | ArgumentRef | GradRef, ...]

    @property
    def key(self) -> Any:
        """Equal for references to one thing."""
        return "flat", self.member.key, self.before, self.spec

    def get(self, arguments: Sequence[Tensor]) -> Tensor | None:
        """A tensor over these bytes, as they are now."""
        member = self.member.get(arguments)
        if member is None:
            return None
        storage = member._storage
        return make(storages.wrap(storage.address - self.before, self.spec.nbytes, storage), self.spec, None, 0)


Ref = TensorRef | ArgumentRef | GradRef | BaseRef | FlatRef
