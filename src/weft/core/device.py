"""Device: where tensors lie and are computed, by name: ``cpu``, ``cuda:1``.

A name alone: which devices there are, and what they can do, is the table of ``runtime/devices.py``.
"""

from __future__ import annotations

import threading
from typing import Any

from .errors import DeviceError
from .shapes import shown


class Device(str):
    """The name of a device: a string, with PyTorch's ``type`` and ``index``. Equal devices are one object.

    Args:
        device: ``"cpu"``, ``"kind"`` (its first one), ``"kind:index"``, or an object with ``type`` and ``index``.
        index: of the kind, where the name does not say it.

    As a context manager it is the default device of this thread: what is made without ``device=`` lies there.

    >>> import weft as wf
    >>> place = wf.device("cuda", 1)
    >>> place, place.type, place.index, place == "cuda:1"
    (device('cuda:1'), 'cuda', 1, True)
    >>> wf.device("cpu:0") is wf.zeros(2).device
    True

    Raises:
        DeviceError: it is no name of a device. (Whether it is there is asked where it is used.)
    """

    __slots__ = ("index", "number", "type")

    type: str
    """Its kind."""
    index: int | None  # type: ignore[assignment]  # a name has no use for what str has there
    """Its number among those of its kind; None for the CPU, of which there is one."""
    number: int
    """The same, 0 for the CPU."""

    def __new__(cls, device: Any, index: int | None = None) -> Device:
        if device.__class__ is Device and index is None:
            return device
        kind, number = _parts(device, index)
        name = kind if kind == "cpu" and not number else f"{kind}:{number}"
        found = _known.get(name)
        if found is None:
            made = str.__new__(cls, name)
            made.type, made.number, made.index = kind, number, None if name == "cpu" else number
            found = _known.setdefault(name, made)
        return found

    def __repr__(self) -> str:
        return f"device({str(self)!r})"

    def __str__(self) -> str:
        return str.__str__(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return Device, (str(self),)

    def __enter__(self) -> Device:
        chosen.before = (chosen.device, chosen.before)
        chosen.device = self
        return self

    def __exit__(self, *details: object) -> None:
        chosen.device, chosen.before = chosen.before


class _Chosen(threading.local):
    """The default device of a thread inside of ``with device:``, None outside; and what was before that."""

    device: Device | None = None
    before: Any = None


chosen = _Chosen()
_known: dict[str, Device] = {}


def _parts(device: Any, index: int | None) -> tuple[str, int]:
    """Kind and number of what names a device."""
    given = device
    if not isinstance(device, str):
        kind, number = getattr(device, "type", None), getattr(device, "index", None)  # of torch.device
        if not isinstance(kind, str) or not (number is None or isinstance(number, int)):
            raise DeviceError(f"{shown(given)} is not a device; devices are 'cpu', 'cuda', 'cuda:1'")
        device = kind if number is None else f"{kind}:{number}"
    kind, colon, number = device.partition(":")
    if index is not None:
        if colon or isinstance(index, bool) or not isinstance(index, int) or index < 0:
            raise DeviceError(f"{shown(given)} with index {shown(index)} is not a device; devices are 'cpu', 'cuda:1'")
        return kind, index
    if not kind.isidentifier() or (colon and not (number.isascii() and number.isdigit() and len(number) < 5)):
        raise DeviceError(f"{shown(given)} is not a device; devices are 'cpu', 'cuda', 'cuda:1'")
    return kind, int(number or 0)


CPU = Device("cpu")
