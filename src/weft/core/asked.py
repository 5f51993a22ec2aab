"""Symbolic sizes (symbolic.py) as a user's program sees them, which is written for numbers.

In a scope every question is answered as the example's number would answer it, equality too, and the answer is a guard.
What needs the number itself (``range``, a hash, text, a float) fixes it. On the way into an op they become plain sizes
again (:func:`unasked`). When the program has ended (``Sizes.closed``), nobody may ask any more.

Without a scope (a model that is saved for every size of an axis) there are no guards: a question that all sizes from 0
on answer alike has this answer, any other is a CaptureError. Text shows the symbol.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from math import ceil, floor, isfinite, prod
from numbers import Integral
from typing import Any

from .errors import CaptureError, user_line
from .symbolic import Dim, Sizes, SymDim, are_equal, scope_of

_NO_SCOPE = (
    "what is captured for every size of an axis, as a saved model is, cannot depend on it: give the axis one size, or "
    "compute with tensors, as wf.where does"
)


class Asked(SymDim):
    """A size as a user's program sees it: in a scope every question is answered as the example's number would answer
    it, equality too, and the answer is a guard. What needs the number itself (``range``, a hash, text, a float) fixes
    it.

    >>> n = asked(Sizes({"n": 10})["n"])
    >>> n == 10, n.scope, n + 1 > 4
    (True, Sizes(n == 10), True)
    """

    __slots__ = ()
    __class__ = property(lambda self: int)  # isinstance(n, int) holds, as of the number

    @property
    def _plain(self) -> SymDim:
        return SymDim(self.terms, self.scope)

    def __neg__(self) -> Any:
        return asked(-self._plain)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __pow__(self, other: Any) -> Any:
        if isinstance(other, int) and 1 <= other <= 4:
            return prod([self] * other)
        return int(self) ** unasked(other)

    def __rpow__(self, other: Any) -> Any:
        return other ** int(self)

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return -self if self < 0 else self

    __trunc__ = __floor__ = __ceil__ = __pos__

    def __round__(self, digits: int | None = None) -> Any:
        return self if digits is None or digits >= 0 else round(int(self), digits)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, complex) and not other.imag:
            other = other.real
        if isinstance(other, float) and other.is_integer():
            other = int(other)
        if not isinstance(other, (int, SymDim)):
            return NotImplemented
        difference = self._plain - unasked(other)
        if isinstance(difference, int):
            return not difference
        if self.scope is None:
            low, high = _ends(difference)
            if (low is not None and low > 0) or (high is not None and high < 0):
                return False
            raise self._undecided("==", other)
        return self._decide().is_zero(difference)

    def __ne__(self, other: object) -> bool:
        same = self.__eq__(other)
        return same if same is NotImplemented else not same

    def __le__(self, other: Any) -> bool:
        return not self > other

    def __ge__(self, other: Any) -> bool:
        return not self < other

    def __lt__(self, other: Any) -> bool:
        return self._ordered("<", other)

    def __gt__(self, other: Any) -> bool:
        return self._ordered(">", other)

    def _ordered(self, op: str, other: Any) -> bool:
        if not isinstance(other, (int, float, SymDim)):
            return NotImplemented
        other = unasked(other)
        if self.scope is not None or (isinstance(other, float) and not isfinite(other)):
            if self.scope is not None:
                self._decide()
            return self._plain < other if op == "<" else self._plain > other
        whole = other if not isinstance(other, float) else ceil(other) if op == "<" else floor(other)
        low, high = _ends(self._plain - whole if op == "<" else whole - self._plain)
        if (high is not None and high < 0) or (low is not None and low >= 0):
            return low is None or low < 0
        raise self._undecided(op, other)

    def __bool__(self) -> bool:
        return self != 0

    def __int__(self) -> int:
        if self.scope is None:
            raise CaptureError(f"the size {self} is symbolic: it has no number yet ({_NO_SCOPE})")
        scope = self._decide()
        for name in self._names():
            scope.lines.setdefault(name, user_line())
        return scope.fixed(self._plain)

    __index__ = __int__

    def __float__(self) -> float:
        return float(int(self))

    def __complex__(self) -> complex:
        return complex(int(self))

    def __hash__(self) -> int:
        return hash(int(self))

    def __repr__(self) -> str:
        return repr(self._plain if self.scope is None else int(self))

    def __format__(self, form: str) -> str:
        return format(repr(self) if self.scope is None else int(self), form)

    def __copy__(self) -> Asked:
        return self

    def __deepcopy__(self, memo: Any) -> Asked:
        return self  # a copy of the scope would be asked instead of it

    def __reduce__(self) -> Any:
        return int, (int(self),)

    def bit_length(self) -> int:
        """As an integer's."""
        return int(self).bit_length()

    def _names(self) -> set[str]:
        return {atom for atoms in self.terms for atom in atoms if isinstance(atom, str)}

    def _undecided(self, op: str, other: Any) -> CaptureError:
        return CaptureError(f"whether {self} {op} {other} holds is not known while the size is symbolic ({_NO_SCOPE})")

    def _decide(self) -> Sizes:
        """The scope, which is asked.

        Raises:
            CaptureError: its program has ended.
        """
        scope = scope_of(self)
        if scope.closed:
            low, high = scope.range_of(self._plain)
            if low is None or low != high:  # one that was asked for its number is that number
                raise CaptureError(
                    "a size that was read while a function was captured is used outside of it; read it from a tensor "
                    "there"
                )
        return scope


def _operator(name: str, reflected: bool) -> Callable[[Asked, Any], Any]:
    """An operator of a size and an integer, which gives a size; with another number it takes the size's own."""
    function = getattr(operator, name)
    whole = name in ("add", "sub", "mul", "floordiv", "mod")

    def apply(self: Asked, other: Any) -> Any:
        if not isinstance(other, (int, float, complex, SymDim)):
            return NotImplemented
        exact = whole or (name == "truediv" and self.scope is None)
        if exact and isinstance(other, (int, SymDim)):
            mine: Any = self._plain
            its: Any = unasked(other)
            if name in ("floordiv", "mod") and are_equal(mine if reflected else its, 0):
                raise ZeroDivisionError("integer division or modulo by zero")
        else:
            mine, its = int(self), int(other) if isinstance(other, SymDim) else other
        return asked(function(its, mine) if reflected else function(mine, its))

    return apply


for _name in ("add", "sub", "mul", "floordiv", "mod", "truediv", "and_", "or_", "xor", "lshift", "rshift"):
    setattr(Asked, f"__{_name.strip('_')}__", _operator(_name, False))
    setattr(Asked, f"__r{_name.strip('_')}__", _operator(_name, True))
Integral.register(Asked)


def _ends(size: Dim) -> tuple[int | None, int | None]:
    """The least and the greatest number of a size without a scope, whose names stand for 0 and more; None: none."""
    if isinstance(size, int):
        return size, size
    factors = [v for k, v in size.terms.items() if k]
    constant = size.terms.get((), 0)
    return constant if min(factors) > 0 else None, constant if max(factors) < 0 else None


def asked(size: Any) -> Any:
    """A size as a user's program sees it; anything else as it is."""
    return Asked(size.terms, size.scope) if size.__class__ is SymDim else size


def unasked(value: Any) -> Any:
    """``value`` with sizes as a user's program saw them, in any nesting of tuples, lists, dicts and slices, replaced by
    what Weft's own code asks."""
    kind = value.__class__
    if kind is tuple or kind is list:
        return kind([unasked(v) for v in value])
    if isinstance(value, Asked):
        return SymDim(value.terms, value.scope)
    if kind is dict:
        return {k: unasked(v) for k, v in value.items()}
    if kind is slice:
        return slice(unasked(value.start), unasked(value.stop), unasked(value.step))
    return value
