"""Symbolic sizes: polynomials with integer coefficients over atoms, and scopes, which decide what is asked of them.

An *atom* is the name of a size, or an integer function of sizes that no polynomial says (:class:`Call`: a floor
division, the smaller of two, how a kernel is cut into units). Sums, differences and products are exact, and equal
polynomials have one form: ``4*n`` is the stride that an axis of ``n`` elements of 4 needs, whoever computed it.

Without a scope, a comparison that does not hold for every size of at least 1 is a CaptureError. In a scope
(:class:`Sizes`: an example for each name) all are answered, so that code for numbers runs on sizes as it is:

- ``a == b`` says whether they are one polynomial. "Not known to be equal" is the general case: what a program does
  then is right for equal sizes too. It is noted nowhere.
- ``a < b`` and the like are answered as the examples have it, and noted as a *guard* unless they hold for all sizes in
  question. For sizes that keep every guard, the program would have taken the same way.
- ``int(a)``, ``range(a)`` give the example and guard that it is this very number: nothing bakes a number in unseen.
- ``a // b``, ``a % b``, :func:`least` and :func:`computed` are sizes again, without a guard.

What no result depends on (which of two loops to walk first) may look at :func:`typical`, and guards nothing.

That is how Weft's own code asks. A user's program, which knows nothing of symbols, gets sizes of asked.py.

size_program.py computes sizes, and whether the guards hold, from numbers for the names.

>>> n = Sizes({"n": 10})["n"]
>>> 4 * n // 2, (n + 7) // 8, n > 2 * n
(2*n, ((7 + n) // 8), False)
>>> n < 64, n.scope
(True, Sizes(2 <= n <= 63))
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from math import ceil, floor, gcd, isfinite
from typing import Any

from .errors import CaptureError

Range = tuple[int | None, int | None]  # least and greatest value, both included; None: not known
_ANY: Range = (None, None)


class Call:
    """``function(*arguments)``, an integer; with ``item``, this item of the tuple that it gives."""

    __slots__ = ("_hash", "_text", "arguments", "function", "item")

    def __init__(self, function: Callable[..., Any], arguments: tuple[Dim, ...], item: int | None = None):
        self.function, self.arguments, self.item = function, arguments, item
        self._hash = hash((function, arguments, item))
        self._text: str | None = None

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Call)
            and self._hash == other._hash
            and (self.function, self.item, self.arguments) == (other.function, other.item, other.arguments)
        )

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        if self._text is None:
            if self.function is operator.floordiv:
                self._text = " // ".join(str(a) if str(a).isalnum() else f"({a})" for a in self.arguments)
            else:
                item = "" if self.item is None else f"[{self.item}]"
                name = getattr(self.function, "__name__", type(self.function).__name__)
                self._text = f"{name}({', '.join(map(str, self.arguments))}){item}"
        return self._text


Atom = str | Call


class SymDim:
    """A symbolic size: ``constant + sum(coefficient * product of atoms)``. ``scope``, if any, decides about it."""

    __slots__ = ("_hash", "scope", "terms")

    def __init__(self, terms: Mapping[tuple[Atom, ...], int], scope: Sizes | None = None):
        kept = {k: v for k, v in terms.items() if v}
        # Their atoms are names (str), in a scope also Calls.
        self.terms: dict[tuple[Any, ...], int] = kept if len(kept) < 2 else dict(sorted(kept.items(), key=_order))
        self.scope = scope
        self._hash = hash(tuple(self.terms.items()))

    @staticmethod
    def named(name: str) -> SymDim:
        """The size called ``name``."""
        return SymDim({(name,): 1})

    @staticmethod
    def _terms(value: Any) -> Mapping[tuple[Atom, ...], int]:
        return value.terms if isinstance(value, SymDim) else {(): int(value)}

    def _make(self, terms: Mapping[tuple[Atom, ...], int], other: Any = None) -> Dim:
        made = SymDim(terms, self.scope or (other.scope if isinstance(other, SymDim) else None))
        if set(made.terms) <= {()}:
            return made.terms.get((), 0)
        return made

    def __add__(self, other: Any) -> Dim:
        if not isinstance(other, (int, SymDim)):
            return NotImplemented
        if isinstance(other, int) and not other:
            return self
        total = dict(self.terms)
        for k, v in self._terms(other).items():
            total[k] = total.get(k, 0) + v
        return self._make(total, other)

    __radd__ = __add__

    def __neg__(self) -> Dim:
        return self * -1

    def __sub__(self, other: Any) -> Dim:
        if not isinstance(other, (int, SymDim)):
            return NotImplemented
        return self + -1 * other

    def __rsub__(self, other: Any) -> Dim:
        if not isinstance(other, (int, SymDim)):
            return NotImplemented
        return -1 * self + other

    def __mul__(self, other: Any) -> Dim:
        if not isinstance(other, (int, SymDim)):
            return NotImplemented
        if isinstance(other, int):  # nearly always, and nearly always 1
            return (
                self
                if other == 1
                else SymDim({k: v * other for k, v in self.terms.items()}, self.scope)
                if other
                else 0
            )
        total: dict[tuple[Atom, ...], int] = {}
        for a, x in self.terms.items():
            for b, y in self._terms(other).items():
                key = a + b
                if a and b:
                    key = tuple(sorted(key, key=str))
                total[key] = total.get(key, 0) + x * y
        return self._make(total, other)

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Dim:
        if not isinstance(other, (int, SymDim)):
            return NotImplemented
        if isinstance(other, SymDim) and other.scope is not None:
            _require_divisor(self, other)
        if other == self:
            return 1
        whole, rest = self._divided(self._terms(other))
        if not rest:
            return self._make(whole, other)
        if (self.scope or getattr(other, "scope", None)) is None:
            raise CaptureError(
                f"({self}) // {other} is not a whole number for every size: this axis must have one size, not a name"
            )
        left = self._make(rest, other)
        return self._make(whole, other) + (
            left // other if isinstance(left, int) and isinstance(other, int) else self._call(left, other)
        )

    def __rfloordiv__(self, other: Any) -> Dim:
        if self.scope is None:
            raise CaptureError(f"{other} // {self} is not a whole number for every size")
        _require_divisor(other, self)
        return self._call(other, self)

    @staticmethod
    def _call(dividend: Dim, divisor: Dim) -> Dim:
        before = _quotient(dividend)
        if before is not None and isinstance(divisor, int) and divisor > 0:
            dividend, divisor = before[0], before[1] * divisor
        made: Dim = computed(operator.floordiv, dividend, divisor)
        return made

    def _divided(self, by: Mapping[tuple[Atom, ...], int]) -> tuple[dict[tuple[Atom, ...], int], dict[Any, int]]:
        """The terms that ``by``, of one term, divides for every size, divided; and the others."""
        whole: dict[tuple[Atom, ...], int] = {}
        rest: dict[tuple[Atom, ...], int] = {}
        if len(by) > 1:
            return {}, dict(self.terms)
        ((names, coefficient),) = by.items()
        for k, v in self.terms.items():
            left = list(k)
            for name in names:
                if name not in left:
                    break
                left.remove(name)
            else:
                if v % coefficient == 0:
                    whole[tuple(left)] = v // coefficient
                    continue
            rest[k] = v
        return whole, rest

    def __truediv__(self, other: Any) -> float:
        if isinstance(other, (int, SymDim)) and other != 0:
            whole, rest = self._divided(self._terms(other))
            if not rest and set(whole) == {()}:
                return float(whole[()])
        return int(self) / (int(other) if isinstance(other, SymDim) else other)

    def __rtruediv__(self, other: Any) -> float:
        found: float = other / int(self)
        return found

    def __mod__(self, other: Any) -> Dim:
        return self - other * (self // other)

    def __rmod__(self, other: Any) -> Dim:
        if self.scope is None:
            raise CaptureError(f"{other} % {self} is not a whole number for every size")
        rest: Dim = other - self * (other // self)
        return rest

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, SymDim) and self.terms == other.terms and self.scope is other.scope)

    def __hash__(self) -> int:
        return self._hash

    def _compared(self, op: str, other: Any) -> bool:
        """Whether ``self < other``, or ``self > other``."""
        scope = self.scope or (other.scope if isinstance(other, SymDim) else None)
        if isinstance(other, float) and not isfinite(other):
            return other > 0 if op == "<" else other < 0
        if isinstance(other, float) and scope is not None:
            other = ceil(other) if op == "<" else floor(other)
        if isinstance(other, (int, SymDim)):
            difference = self - other if op == "<" else other - self
            if isinstance(difference, int):
                return difference < 0
            if scope is not None:
                return scope.is_negative(difference)
        raise CaptureError(f"whether {self} {op} {other} holds is not known while the size is symbolic")

    @property
    def _is_count(self) -> bool:
        """Whether it is at least 1 because names are, unless a scope knows better."""
        return self.scope is None and all(v > 0 for v in self.terms.values())

    def __lt__(self, other: Any) -> bool:
        if not isinstance(other, SymDim) and other <= 1 and self._is_count:
            return False
        return self._compared("<", other)

    def __gt__(self, other: Any) -> bool:
        if not isinstance(other, SymDim) and other < 1 and self._is_count:
            return True
        return self._compared(">", other)

    def __le__(self, other: Any) -> bool:
        return self == other or not self > other

    def __ge__(self, other: Any) -> bool:
        return self == other or not self < other

    def __int__(self) -> int:
        if self.scope is None:
            raise CaptureError(f"the size {self} is symbolic: it has no number yet")
        return self.scope.fixed(self)

    __index__ = __int__

    def __repr__(self) -> str:
        parts = []
        for names, coefficient in self.terms.items():
            text = "*".join(n if isinstance(n, str) else f"({n})" for n in names)
            parts.append(str(coefficient) if not names else text if coefficient == 1 else f"{coefficient}*{text}")
        return " + ".join(parts)

    def substitute(self, sizes: Mapping[str, Dim]) -> Dim:
        """The size with names replaced by numbers or other sizes; names not in ``sizes`` stay."""
        total: Dim = 0
        for atoms, coefficient in self.terms.items():
            product: Dim = coefficient
            for atom in atoms:
                product = product * self._replaced(atom, sizes)
            total = total + product
        return total

    def _replaced(self, atom: Atom, sizes: Mapping[str, Dim]) -> Dim:
        if isinstance(atom, str):
            return sizes[atom] if atom in sizes else SymDim({(atom,): 1}, self.scope)
        arguments = [a.substitute(sizes) if isinstance(a, SymDim) else a for a in atom.arguments]
        if atom.item is None:
            found: Dim = computed(atom.function, *arguments)
        else:
            found = computed_items(atom.function, arguments, atom.item + 1)[atom.item]
        return found


Dim = int | SymDim


def _order(term: tuple[tuple[Atom, ...], int]) -> tuple[str, ...]:
    return tuple(map(str, term[0]))


def computed(function: Callable[..., Any], *arguments: Any) -> Any:
    """``function(*arguments)``, an integer: the number where all arguments are numbers, else a size. Equal functions
    must give equal numbers, whenever they are called.

    Raises:
        CaptureError: a size is in no scope.
    """
    scope = _common_scope(arguments)
    return function(*arguments) if scope is None else SymDim({(Call(function, arguments),): 1}, scope)


def computed_items(function: Callable[..., Any], arguments: Iterable[Any], count: int) -> tuple[Any, ...]:
    """As :func:`computed`, of a function that gives a tuple: its first ``count`` integers."""
    arguments = tuple(arguments)
    scope = _common_scope(arguments)
    if scope is None:
        return tuple(function(*arguments)[:count])
    return tuple([SymDim({(Call(function, arguments, item),): 1}, scope) for item in range(count)])


def _require_divisor(dividend: Dim, divisor: SymDim) -> None:
    """That the divisor is not 0: noted, if it is not known."""
    if not divisor < 0 and not divisor > 0:
        raise ZeroDivisionError(f"{dividend} // {divisor}")


def _common_scope(sizes: Iterable[Any]) -> Sizes | None:
    scope = None
    for size in sizes:
        if isinstance(size, SymDim):
            scope = scope_of(size)
    return scope


def least(a: Dim, b: Dim) -> Dim:
    """The smaller of two sizes."""
    if isinstance(a, int) and isinstance(b, int):
        return min(a, b)
    low, high = _range_of(a - b)
    if high is not None and high <= 0:
        return a
    found: Dim = b if low is not None and low >= 0 else computed(min, a, b)
    return found


def greatest(*sizes: Dim) -> Dim:
    """The greatest of one or several sizes."""
    if not any(isinstance(size, SymDim) for size in sizes):
        return max(sizes)
    kept: list[Dim] = []
    for size in dict.fromkeys(sizes):
        if any(_is_at_least(k, size) for k in kept):
            continue
        kept = [*(k for k in kept if not _is_at_least(size, k)), size]
    found: Dim = kept[0] if len(kept) == 1 else computed(max, *kept)
    return found


def _is_at_least(a: Dim, b: Dim) -> bool:
    """Whether ``a >= b`` holds for all sizes in question."""
    low, _ = _range_of(a - b)
    return low is not None and low >= 0


def typical(size: Dim) -> int:
    """The number itself, or its example: for choices that no result depends on."""
    return size if isinstance(size, int) else scope_of(size).value(size)


def undecided(size: Any) -> bool:
    """Whether it is a symbolic size of which nothing can be asked."""
    return isinstance(size, SymDim) and size.scope is None


def are_equal(a: Dim, b: Dim) -> bool:
    """Whether two sizes are equal. In a scope that is decided, and a guard, for where it makes another program; of
    symbols without a scope, whether they are one polynomial."""
    difference = a - b
    if isinstance(difference, int):
        return not difference
    return difference.scope is not None and difference.scope.is_zero(difference)


def scope_of(size: SymDim) -> Sizes:
    if size.scope is None:
        raise CaptureError(f"the size {size} is symbolic: it has no number yet")
    return size.scope


def _range_of(size: Dim) -> Range:
    return (size, size) if isinstance(size, int) else scope_of(size).range_of(size)


# --- scopes -------------------------------------------------------------------------------------------------------


class Sizes:
    """A scope: an example for each name, and the guards noted so far.

    A name of example 0 or 1 is that number, and no other: so many things are different there (what is broadcast, what
    is empty) that these sizes are worth programs of their own. Others are at least 2.
    """

    __slots__ = ("_negative", "_values", "closed", "examples", "guards", "interned", "lines", "not_zero")

    def __init__(self, examples: Mapping[str, int]):
        self.examples = dict(examples)
        self.closed = False  # whether the program that Asked sizes were for has ended
        self.not_zero: dict[SymDim, None] = {}  # guards of another kind
        self.lines: dict[str, tuple[str, int] | None] = {}  # where a user's program asked for a name's number
        self.interned: dict[Any, Any] = {}  # what others keep one of for equal sizes, as long as the scope lasts
        self._values: dict[Atom, int] = {}
        self._values.update(examples)
        self._negative: dict[SymDim, bool] = {}  # what was asked, and stays true
        # Of polynomials without a constant whose coefficients have no common divisor, the first of them positive.
        self.guards: dict[SymDim, Range] = {}
        for name, number in self.examples.items():
            self.add(name, number)

    def add(self, name: str, number: int) -> Dim:
        """A further name, and its size."""
        self.examples[name] = self._values[name] = number
        self.guards[SymDim({(name,): 1}, self)] = (2, None) if number > 1 else (number, number)
        return self[name]

    def __getitem__(self, name: str) -> Dim:
        """The size of this name."""
        number = self.examples[name]
        return SymDim({(name,): 1}, self) if number > 1 else number

    def __repr__(self) -> str:
        return f"Sizes({', '.join(self.lines_of_guards())})"

    def lines_of_guards(self) -> list[str]:
        """What sizes must be for the programs of this scope: ``2 <= n <= 512``."""
        lines = []
        for size, (low, high) in self.guards.items():
            if low == high:
                lines.append(f"{size} == {low}")
            else:
                lines.append(f"{'' if low is None else f'{low} <= '}{size}{'' if high is None else f' <= {high}'}")
        return lines + [f"{size} != 0" for size in self.not_zero]

    def value(self, size: Dim) -> int:
        """The number for the examples."""
        if isinstance(size, int):
            return size
        total = 0
        for atoms, coefficient in size.terms.items():
            for atom in atoms:
                known = self._values.get(atom)
                if known is None:
                    if isinstance(atom, str):
                        raise CaptureError(f"the size {atom} is none of {', '.join(self.examples)}")
                    found = atom.function(*map(self.value, atom.arguments))
                    known = self._values[atom] = found if atom.item is None else found[atom.item]
                coefficient *= known
            total += coefficient
        return total

    def is_negative(self, size: SymDim) -> bool:
        """Whether the size is below 0: noted, unless it holds for all sizes that keep the guards."""
        found = self._negative.get(size)
        if found is None:
            found = self._negative[size] = self._is_negative(self._without_factors(size))
        return found

    def _is_negative(self, size: SymDim) -> bool:
        low, high = self.range_of(size)
        if high is not None and high < 0:
            return True
        if low is not None and low >= 0:
            return False
        found = self.value(size) < 0
        self._note(size, (None, -1) if found else (0, None))
        return found

    def is_zero(self, size: SymDim) -> bool:
        """Whether the size is 0: noted, unless it holds for all sizes that keep the guards."""
        low, high = self.range_of(size)
        if low == high == 0 or (low is not None and low > 0) or (high is not None and high < 0):
            return low == high == 0
        found = self.value(size) == 0
        if found:
            self._note(size, (0, 0))
        else:
            self.not_zero[size] = None
        return found

    def limit(self, name: str, least: int, greatest: int | None) -> None:
        """Guard that the size of a name is in a range."""
        size = self[name]
        if isinstance(size, SymDim):
            self._note(size, (max(least, 2), greatest))

    def fixed_names(self) -> set[str]:
        """The names that stand for one number."""
        ends = {name: self.guards[SymDim({(name,): 1}, self)] for name in self.examples}
        return {name for name, (low, high) in ends.items() if low is not None and low == high}

    def _without_factors(self, size: SymDim) -> SymDim:
        """A size of the same sign, without atoms of at least 1 that are in all terms: ``m*n - n`` is ``m - 1``."""
        first, *others = size.terms
        common = [a for a in dict.fromkeys(first) if all(a in k for k in others) and (self._atom_range(a)[0] or 0) > 0]
        if not common or not others:
            return size
        terms = {}
        for key, coefficient in size.terms.items():
            left = list(key)
            for atom in common:
                left.remove(atom)
            terms[tuple(left)] = coefficient
        return self._without_factors(SymDim(terms, self))

    def fixed(self, size: SymDim) -> int:
        """The number for the examples, which it has from now on."""
        number = self.value(size)
        self._note(size, (number, number))
        return number

    def range_of(self, size: SymDim) -> Range:
        """Between which numbers the size is."""
        low, high = self._terms_range(size)
        plain, factor, constant = _normal(size)
        known = self.guards.get(plain)
        if known is not None:
            ends = [None if end is None else end * factor + constant for end in known]
            start, stop = ends if factor > 0 else ends[::-1]
            low = start if low is None else low if start is None else max(low, start)
            high = stop if high is None else high if stop is None else min(high, stop)
        return low, high

    def _terms_range(self, size: SymDim) -> Range:
        total_low: int | None = 0
        total_high: int | None = 0
        for atoms, coefficient in size.terms.items():
            low: int | None = 1
            high: int | None = 1
            for atom in atoms:
                first, last = self._atom_range(atom)
                if first is None or first < 0:
                    if len(atoms) > 1:
                        return _ANY
                    low, high = first, last
                    break
                low = None if low is None else low * first
                high = None if high is None or last is None else high * last
            ends = [None if end is None else end * coefficient for end in (low, high)]
            low, high = ends if coefficient > 0 else ends[::-1]
            total_low = None if total_low is None or low is None else total_low + low
            total_high = None if total_high is None or high is None else total_high + high
        return total_low, total_high

    def _atom_range(self, atom: Atom) -> Range:
        known = self.guards.get(SymDim({(atom,): 1}, self), _ANY)
        if isinstance(atom, str) or atom.item is not None:
            return known
        found, ranges = _ANY, _RANGES.get(atom.function)
        if ranges is not None:
            found = ranges(*map(_range_of, atom.arguments))
        low, high = known
        return (
            found[0] if low is None else low if found[0] is None else max(low, found[0]),
            found[1] if high is None else high if found[1] is None else min(high, found[1]),
        )

    def _note(self, size: SymDim, range_: Range) -> None:
        """Guard that the size is within the range."""
        plain, factor, constant = _normal(size)
        low, high = (None if end is None else end - constant for end in range_)
        if factor < 0:
            low, high, factor = (None if high is None else -high), (None if low is None else -low), -factor
        low = None if low is None else -(-low // factor)
        high = None if high is None else high // factor
        before = _quotient(plain)
        if before is not None:  # low <= a // b is low * b <= a
            low = None if low is None else low * before[1]
            high = None if high is None else high * before[1] + before[1] - 1
            self._note(before[0], (low, high))
            return
        first, last = self.guards.get(plain, _ANY)
        self.guards[plain] = (
            low if first is None else first if low is None else max(low, first),
            high if last is None else last if high is None else min(high, last),
        )


def _normal(size: SymDim) -> tuple[SymDim, int, int]:
    """(polynomial, factor, constant): ``size = factor * polynomial + constant``, as the keys of guards are."""
    terms = dict(size.terms)
    constant = terms.pop((), 0)
    factor = gcd(*terms.values())
    if next(iter(terms.values())) < 0:
        factor = -factor
    if factor == 1 and not constant:
        return size, 1, 0
    return SymDim({k: v // factor for k, v in terms.items()}, size.scope), factor, constant


def _quotient(size: Dim) -> tuple[SymDim, int] | None:
    """(a, b) of a size that is ``a // b``, b being a number above 0."""
    if isinstance(size, SymDim) and list(size.terms.values()) == [1]:
        ((atom, *more),) = size.terms
        if not more and isinstance(atom, Call) and atom.function is operator.floordiv:
            a, b = atom.arguments
            if isinstance(a, SymDim) and isinstance(b, int) and b > 0:
                return a, b
    return None


def _quotients(a: Range, b: Range) -> Range:
    (low, high), (first, last) = a, b
    if first is None or first < 1:
        return _ANY
    if first == last:
        return None if low is None else low // first, None if high is None else high // first
    return (0 if low is not None and low >= 0 else None), (None if high is None or high < 0 else high // first)


def _least_of(*ranges: Range) -> Range:
    lows, highs = [low for low, _ in ranges], [high for _, high in ranges if high is not None]
    return None if None in lows else min(lows), min(highs) if highs else None  # type: ignore[type-var]


def _greatest_of(*ranges: Range) -> Range:
    lows, highs = [low for low, _ in ranges if low is not None], [high for _, high in ranges]
    return max(lows) if lows else None, None if None in highs else max(highs)  # type: ignore[type-var]


_RANGES: dict[Callable[..., Any], Callable[..., Range]] = {
    operator.floordiv: _quotients,
    min: _least_of,
    max: _greatest_of,
}
