"""The tree that modules are: walks over what is in and below one, and paths such as ``encoder.2.fc``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from ..tensor.tensor import Tensor
from .parameter import Parameter

if TYPE_CHECKING:
    from .module import Module


class Tree:
    """What a Module knows of its parts by way of its three tables."""

    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """``(path, module)`` of this module and everything below it, parents first; each module once.

        ``memo`` has the modules to leave out; those that were walked come in."""
        seen = {id(module) for module in memo or ()} if remove_duplicate else None
        for path, module in self._named_modules(seen, prefix):
            if memo is not None:
                memo.add(module)
            yield path, module

    def _named_modules(self, seen: set[int] | None, prefix: str) -> Iterator[tuple[str, Module]]:
        if seen is not None:
            if id(self) in seen:
                return
            seen.add(id(self))
        yield prefix, cast("Module", self)
        for name, module in self._modules.items():
            if module is not None:
                yield from module._named_modules(seen, f"{prefix}.{name}" if prefix else name)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """This module and everything below it."""
        return (module for _, module in self.named_modules(remove_duplicate=remove_duplicate))

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """``(name, module)`` of the direct submodules, each once."""
        seen: set[int] = set()
        for name, module in self._modules.items():
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[Module]:
        """The direct submodules."""
        return (module for _, module in self.named_children())

    def _named_members(
        self, table: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in (
            self._named_modules(set() if remove_duplicate else None, prefix) if recurse else [(prefix, self)]
        ):
            for name, value in module.__dict__[table].items():
                if value is None or (remove_duplicate and id(value) in seen):
                    continue
                seen.add(id(value))
                yield f"{path}.{name}" if path else name, value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """``(path, parameter)``; one that is shared comes once, under its first path."""
        return self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters of this module and, with ``recurse``, of those below."""
        return (parameter for _, parameter in self.named_parameters("", recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """``(path, buffer)``; one that is shared comes once, under its first path."""
        return self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers of this module and, with ``recurse``, of those below."""
        return (buffer for _, buffer in self.named_buffers("", recurse))

    def get_submodule(self, target: str) -> Module:
        """The module at a path such as ``encoder.2.fc``; the empty path is this module.

        Raises:
            AttributeError: there is none.
        """
        module = cast("Module", self)
        for name in target.split(".") if target else ():
            below = module._modules.get(name)
            if below is None:
                raise AttributeError(
                    f"{type(self).__name__} has no submodule {target!r}: {type(module).__name__} has no module {name!r}"
                )
            module = below
        return module

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put a module at a path such as ``encoder.2.fc``, in the place of the one that is there.

        Args:
            target: the path; all but its last part must be there.
            module: what is put there.
            strict: there has to be a module to replace.

        Raises:
            ValueError: the path is empty.
            AttributeError: there is no such module.
        """
        path, _, name = target.rpartition(".")
        if not name:
            raise ValueError(f"{type(self).__name__}.set_submodule: {target!r} is no path to a submodule")
        owner = self.get_submodule(path)
        if strict and owner._modules.get(name) is None:
            raise AttributeError(f"{type(self).__name__} has no submodule {target!r} to be replaced")
        owner.add_module(name, module)

    def _at(self, target: str, table: str, kind: str) -> Any:
        path, _, name = target.rpartition(".")
        found = self.get_submodule(path).__dict__[table].get(name)
        if found is None:
            raise AttributeError(f"{type(self).__name__} has no {kind} {target!r}")
        return found

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a path such as ``encoder.2.fc.weight``.

        Raises:
            AttributeError: there is none.
        """
        found: Parameter = self._at(target, "_parameters", "parameter")
        return found

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a path such as ``encoder.2.norm.running_mean``.

        Raises:
            AttributeError: there is none.
        """
        found: Tensor = self._at(target, "_buffers", "buffer")
        return found
