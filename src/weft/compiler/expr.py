"""The scalar expression DAG: what one element of a kernel computes.

An expression says *what* is computed at one point of a kernel's iteration space; how many points are computed at a
time (lanes), in which order and on which machine is the renderer's business. The ops below are the whole language
that a renderer must know; everything else (exp, floor division, Philox ...) is written in it.

=============  ==============================================================================================
leaves         ``const`` (value), ``load`` (Access; with an argument, a bool: bounds of indices; only where
               it is true, else anything),
               ``index`` (Access: offset + sum of stride*axis index, int64),
               ``ref`` (number of an earlier reduction of the same kernel), ``acc`` (a contraction's sum), ``param`` (a
               number given at run time: in a kernel its value is the Slot that holds the bits)
float          add sub mul div neg abs sqrt fma floor ceil trunc rint copysign rem (C's fmod; exact)
integer        add sub mul neg and or xor not shl shr (arithmetic when signed) div rem (truncating; the divisor must
               not be 0 nor the quotient overflow: guard with ``where``, since lanes past the end compute as well, with
               zeros for what is loaded) mulhi (high half of the product) popcount clz
compare        eq ne lt le gt ge -> bool (ordered, except ``ne``, which is true for NaN)
bool           and or xor not
any            where(bool, a, b), cast (value -> value; float to int truncates and saturates, NaN gives 0; float to a
               narrower float rounds to nearest even), bitcast (same width),
               gather(index; Access, extent): indirect load, see :func:`gather`; table(index): constant look-up
functions      call (Function): one node for all that the function's body makes, until a renderer asks for it
=============  ==============================================================================================

Arithmetic exists for float32, float64, integers and bool alone. float16 and bfloat16 values can be loaded, stored,
selected and cast: an op on them is computed in float32 and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..core import dtypes as dt
from ..core.dtypes import DType


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Expr:
    """One node: ``op`` (see the table), result ``dtype``, ``args``, and ``value`` for what is no expression."""

    op: str
    dtype: DType
    args: tuple[Expr, ...] = ()
    value: Any = None

    def __repr__(self) -> str:
        """This node and its arguments' ops; a kernel's whole expressions are in ``describe(kernel)``."""
        value = "" if self.value is None else f" {self.value!r}"
        return f"{self.op}:{self.dtype.name}{value}({', '.join([a.op for a in self.args])})"

    def __add__(self, other: Any) -> Expr:
        return add(self, lift(other, self.dtype))

    def __radd__(self, other: Any) -> Expr:
        return add(lift(other, self.dtype), self)

    def __sub__(self, other: Any) -> Expr:
        return sub(self, lift(other, self.dtype))

    def __rsub__(self, other: Any) -> Expr:
        return sub(lift(other, self.dtype), self)

    def __mul__(self, other: Any) -> Expr:
        return mul(self, lift(other, self.dtype))

    def __rmul__(self, other: Any) -> Expr:
        return mul(lift(other, self.dtype), self)

    def __truediv__(self, other: Any) -> Expr:
        return div(self, lift(other, self.dtype))

    def __rtruediv__(self, other: Any) -> Expr:
        return div(lift(other, self.dtype), self)

    def __neg__(self) -> Expr:
        return neg(self)

    def __and__(self, other: Any) -> Expr:
        return and_(self, lift(other, self.dtype))

    def __or__(self, other: Any) -> Expr:
        return or_(self, lift(other, self.dtype))

    def __xor__(self, other: Any) -> Expr:
        return xor(self, lift(other, self.dtype))

    def __invert__(self) -> Expr:
        return not_(self)

    def __lshift__(self, other: Any) -> Expr:
        return shl(self, lift(other, self.dtype))

    def __rshift__(self, other: Any) -> Expr:
        return shr(self, lift(other, self.dtype))

    def __lt__(self, other: Any) -> Expr:
        return lt(self, lift(other, self.dtype))

    def __le__(self, other: Any) -> Expr:
        return le(self, lift(other, self.dtype))

    def __gt__(self, other: Any) -> Expr:
        return gt(self, lift(other, self.dtype))

    def __ge__(self, other: Any) -> Expr:
        return ge(self, lift(other, self.dtype))


def const(value: float | int | bool, dtype: DType) -> Expr:
    """A constant of ``dtype``; a float value is rounded to it when rendered."""
    return Expr("const", dtype, (), value)


def lift(value: Any, dtype: DType) -> Expr:
    """``value`` itself if it is an expression, else a constant of ``dtype``."""
    return value if isinstance(value, Expr) else const(value, dtype)


def leaf(op: str, dtype: DType, value: Any) -> Expr:
    """A leaf: ``load``, ``index``, ``ref`` or ``acc``."""
    return Expr(op, dtype, (), value)


def _unary(op: str) -> Callable[[Expr], Expr]:
    return lambda a: Expr(op, a.dtype, (a,))


def _binary(op: str) -> Callable[[Expr, Expr], Expr]:
    def build(a: Expr, b: Expr) -> Expr:
        assert a.dtype is b.dtype, (op, a.dtype, b.dtype)
        return Expr(op, a.dtype, (a, b))

    return build


def _compare(op: str) -> Callable[[Expr, Expr], Expr]:
    def build(a: Expr, b: Expr) -> Expr:
        assert a.dtype is b.dtype, (op, a.dtype, b.dtype)
        return Expr(op, dt.bool_, (a, b))

    return build


neg, abs_, sqrt = _unary("neg"), _unary("abs"), _unary("sqrt")
floor, ceil, trunc, rint = _unary("floor"), _unary("ceil"), _unary("trunc"), _unary("rint")
not_, popcount, clz = _unary("not"), _unary("popcount"), _unary("clz")
add, sub, mul, div, rem = _binary("add"), _binary("sub"), _binary("mul"), _binary("div"), _binary("rem")
and_, or_, xor = _binary("and"), _binary("or"), _binary("xor")
shl, shr, mulhi, copysign = _binary("shl"), _binary("shr"), _binary("mulhi"), _binary("copysign")
eq, ne, lt, le, gt, ge = (_compare(op) for op in ("eq", "ne", "lt", "le", "gt", "ge"))


def fma(a: Expr, b: Expr, c: Expr) -> Expr:
    """``a * b + c``, rounded once."""
    assert a.dtype is b.dtype is c.dtype, (a.dtype, b.dtype, c.dtype)
    return Expr("fma", a.dtype, (a, b, c))


def where(condition: Expr, a: Expr, b: Expr) -> Expr:
    """``a`` where ``condition`` holds, else ``b``; both are evaluated."""
    assert condition.dtype is dt.bool_ and a.dtype is b.dtype, (condition.dtype, a.dtype, b.dtype)
    return Expr("where", a.dtype, (condition, a, b))


def cast(a: Expr, dtype: DType) -> Expr:
    """``a`` converted to ``dtype``; anything to bool is ``!= 0``."""
    return a if a.dtype is dtype else Expr("cast", dtype, (a,))


def bitcast(a: Expr, dtype: DType) -> Expr:
    """The same bits read as ``dtype`` of the same width."""
    assert a.dtype.itemsize == dtype.itemsize, (a.dtype, dtype)
    return a if a.dtype is dtype else Expr("bitcast", dtype, (a,))


def table(values: Iterable[float | int], index: Expr, dtype: DType) -> Expr:
    """``values[index]`` of a constant table; ``index`` (int32 or int64) must be within it."""
    return Expr("table", dtype, (index,), tuple(values))


def gather(access: Any, indices: tuple[Expr, ...], steps: tuple[tuple[Any, Any], ...], dtype: DType) -> Expr:
    """Indirect load from ``access`` moved by ``sum(index_d * stride_d)`` elements.

    ``steps[d]`` is ``(extent, stride)`` of the indexed axis, each an int or a Slot. An index (int64) may be negative
    (counted from the end); one outside ``[-extent, extent)`` reads nothing, gives 0 and sets status bit 0.
    """
    return Expr("gather", dtype, indices, (access, steps))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Function:
    """A function of expressions, of so many instructions that it stays one node of whoever walks expressions.

    ``name`` is its identity in a kernel's text; ``body`` makes its expression of its operands and of constants alone.
    ``size`` is the number of instructions in that; ``order`` the operands in the order in which a walk of it meets
    them, which is that of the node's arguments: a walk of the node meets the same in the same order.
    """

    name: str
    body: Callable[..., Expr]
    size: int
    order: tuple[int, ...]

    def __call__(self, arguments: Sequence[Expr]) -> Expr:
        """The expression of a node's arguments."""
        return self.body(*[arguments[self.order.index(at)] for at in range(len(arguments))])

    def __repr__(self) -> str:
        return self.name


# (name, body, dtypes of the operands) -> the function and its result's dtype, or None where it is but few nodes
_functions: dict[tuple[Any, ...], tuple[Function, DType] | None] = {}
FREE = ("const", "param", "ref")  # expressions that are no instruction of their own
FEW = 8  # instructions that are not worth a node which stands for them


def call(name: str, body: Callable[..., Expr], *operands: Expr) -> Expr:
    """``body(*operands)`` as one node, unless it is short."""
    key = (name, body, *[a.dtype for a in operands])
    if key not in _functions:
        _functions[key] = _function_of(name, body, [a.dtype for a in operands])
    found = _functions[key]
    if found is None:
        return body(*operands)
    function, dtype = found
    return Expr("call", dtype, tuple([operands[at] for at in function.order]), function)


def _function_of(name: str, body: Callable[..., Expr], dtypes: Sequence[DType]) -> tuple[Function, DType] | None:
    made = body(*[leaf("operand", dtype, at) for at, dtype in enumerate(dtypes)])
    nodes = topological([made])
    if any(not n.args and n.op not in ("const", "operand") for n in nodes):
        return None
    order = tuple([n.value for n in nodes if n.op == "operand"])
    size = instructions([n for n in nodes if n.op != "operand"])
    return (Function(name, body, size, order), made.dtype) if size > FEW and len(order) == len(dtypes) else None


def instructions(nodes: Iterable[Expr]) -> int:
    """Rough number of instructions that the nodes are."""
    return sum([n.value.size if n.op == "call" else 1 for n in nodes if n.op not in FREE])


def expanded(roots: Iterable[Expr]) -> list[Expr]:
    """The expressions with the bodies of functions in the places of their calls."""
    return rebuild(roots, lambda node, arguments: node.value(arguments) if node.op == "call" else None)


def topological(roots: Iterable[Expr], known: Collection[int] = ()) -> list[Expr]:
    """Every node that the roots reach, arguments before their users, each once. Nodes whose ``id`` is ``known`` are
    left out, and what only they reach."""
    order: list[Expr] = []
    seen: set[Expr] = set()
    stack: list[Expr | None] = list(roots)
    stack.reverse()
    while stack:
        node = stack.pop()
        if node is None:  # all that the node below the mark needs is in order
            order.append(stack.pop())  # type: ignore[arg-type]
            continue
        if node in seen or (known and id(node) in known):
            continue
        seen.add(node)
        if node.args:
            stack += (node, None)
            stack += node.args[::-1]
        else:
            order.append(node)
    return order


def rebuild(roots: Iterable[Expr], change: Callable[[Expr, tuple[Expr, ...]], Expr | None]) -> list[Expr]:
    """The expressions with nodes replaced: ``change(node, new arguments)`` gives the replacement, or None to keep the
    node over its new arguments. Shared nodes stay shared."""
    roots = list(roots)
    known: dict[Expr, Expr] = {}
    for node in topological(roots):
        arguments = tuple([known[a] for a in node.args])
        changed = change(node, arguments)
        if changed is None:  # expressions are equal when they are identical
            changed = node if arguments == node.args else Expr(node.op, node.dtype, arguments, node.value)
        known[node] = changed
    return [known[r] for r in roots]
