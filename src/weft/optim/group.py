"""Parameter groups: dicts of options, of which those that schedules move are also tensors.

A captured training step reads the learning rate by reference, as it reads parameters: changing it compiles nothing
and is honoured by the next step. The same holds of the momentum, the betas and the weight decay. The user sees floats.
The other options are Python numbers on which a captured step is specialised; reading one during a capture, one of
these too, makes a guard. An optimizer that only wants to know whether there is a momentum asks :meth:`ParamGroup.has`.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from typing import Any

from ..core.device import CPU, Device
from ..core.dtypes import float64
from ..core.errors import StateError
from ..ops.op import suspended
from ..ops.operands import Late
from ..tensor import guards
from ..tensor.create import asarray
from ..tensor.placing import to_device
from ..tensor.tensor import Tensor

_BY_REFERENCE = ("lr", "momentum", "weight_decay", "betas")


class ParamGroup(dict[str, Any]):
    """Options by name; ``tensor(name, device)`` is the float64 tensor of rank 0 behind one that is held by reference.
    It lies where it was asked for last. The numbers of a tuple are held one by one: ``tensor("betas.1")``.

    A tensor that is given as learning rate is kept as it is, and read back as a tensor.
    """

    def __init__(self, options: Mapping[str, Any]):
        super().__init__()
        self._tensors: dict[str, Tensor] = {}
        self._is_set: dict[str, bool] = {}
        # The first numbers of tuples lie here, and in the dict what was given: a captured step that computes one stores
        # a number, where it could store no tuple of such. Who reads the option gets both together.
        self._first: dict[str, Any] = {}
        self.update(options)

    def __getitem__(self, name: str) -> Any:
        return guards.read(self, name, self._plain(name))

    def _plain(self, name: str) -> Any:
        value = dict.__getitem__(self, name)
        return (self._first[name], *value[1:]) if name in self._first else value

    def __iter__(self) -> Iterator[str]:  # so that dict(group) asks for the items
        return dict.__iter__(self)

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        """The options with their names."""
        return {name: self._plain(name) for name in self}.items()

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        """The options."""
        return {name: self._plain(name) for name in self}.values()

    def get(self, name: str, default: Any = None) -> Any:
        """The option, or ``default``."""
        if name not in self:
            return default
        return self[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if isinstance(value, list) and name in _BY_REFERENCE:
            value = tuple(value)  # a list could change without a word
        if guards.is_recording():
            guards.before_write(self, name, value)
        super().__setitem__(name, value)
        guards.bump()
        if name not in _BY_REFERENCE:
            return
        self._first.pop(name, None)
        if isinstance(value, tuple) and value and all(map(_is_number, value)):
            self.set_first(name, value[0])
            for k, number in enumerate(value[1:], 1):
                self._hold(f"{name}.{k}", number)
            self._let_go(name, len(value))
        elif not _is_number(value):  # an optimizer of the user's may have options of its own under the name
            self._let_go(name)
        else:
            self._note(self._is_set, name, isinstance(value, (Tensor, Late)) or value != 0)
            self._hold(name, value)

    def _let_go(self, name: str, since: int = 0) -> None:
        """Hold no number of an option by reference; of a tuple, none from one number on."""
        if not since:
            self._first.pop(name, None)
            self._is_set.pop(name, None)
        for held in list(self._tensors):
            option, _, number = held.partition(".")
            if option == name and int(number or 0) >= since:
                del self._tensors[held]

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        self._let_go(name)
        guards.bump()

    def pop(self, name: str, *default: Any) -> Any:
        """The option, which is removed, or ``default``."""
        if default and name not in self:
            return default[0]
        value = self[name]
        del self[name]
        return value

    def __eq__(self, other: object) -> bool:
        return dict(self) == (dict(other) if isinstance(other, ParamGroup) else other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None

    def __repr__(self) -> str:
        return repr(dict(self))

    def set_first(self, name: str, value: Any) -> None:
        """Another first number for an option that is a tuple."""
        guards.before_write(self._first, name, value)
        self._first[name] = value
        guards.bump()
        self._hold(f"{name}.0", value)

    def _note(self, table: dict[str, Any], name: str, value: Any) -> None:
        if name not in table or not guards.same(table[name], value):
            guards.before_write(table, name, value)
            table[name] = value

    def _hold(self, name: str, value: Any) -> None:
        """Let the tensor behind a number be worth it."""
        if isinstance(value, Tensor):
            if value.ndim:
                raise StateError(f"{name} is a tensor of shape {value.shape}; it must have rank 0")
            self._tensors[name] = value
            return
        held = self._tensors.get(name)
        if isinstance(value, Late) and held is not None:  # a captured step computes it
            held.assign(asarray(value, dtype=held.dtype))
            return
        if held is None or held.requires_grad or held.dtype is not float64:
            with suspended():  # it must outlive a capture that is going on
                self._tensors[name] = asarray(float(value), dtype=float64, device=CPU)
        else:
            held.assign(asarray(float(value), dtype=float64, device=held.device))

    def setdefault(self, name: str, default: Any = None) -> Any:
        """The option, set to ``default`` if it was not there."""
        if name not in self:
            self[name] = default
        return self[name]

    def update(self, *args: Any, **options: Any) -> None:
        """Set several options."""
        for name, value in dict(*args, **options).items():
            self[name] = value

    def __reduce__(self) -> tuple[Any, ...]:
        return ParamGroup, (dict(self),)

    def has(self, name: str) -> bool:
        """Whether an option that is held by reference is not zero: all that a captured step is specialised on."""
        return guards.read(self._is_set, name, self._held(self._is_set, name))

    def tensor(self, name: str, device: Device = CPU) -> Tensor:
        """The tensor behind a number, on a device; one that the user gave stays where it is."""
        held: Tensor = self._held(self._tensors, name)
        if held._spec.device is not device and not self._is_given(name):
            with suspended():
                held = self._tensors[name] = to_device(held, device)
            guards.bump()
        return guards.read(self._tensors, name, held)

    def _held(self, table: Mapping[str, Any], name: str) -> Any:
        if name not in table:
            option = name.partition(".")[0]
            if option not in self:
                raise StateError(f"a parameter group has no {option!r}, which its optimizer reads")
            value = self._plain(option)
            raise StateError(f"{option} of a parameter group is {value!r}; its optimizer reads {name} as a number")
        return table[name]

    def _is_given(self, name: str) -> bool:
        option, _, number = name.partition(".")
        value = self._plain(option)
        return isinstance(value[int(number)] if number else value, Tensor)


def _is_number(value: Any) -> bool:
    return isinstance(value, (Tensor, Late)) or hasattr(value, "__float__")
