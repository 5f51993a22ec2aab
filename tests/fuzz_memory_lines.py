"""Lines of random programs: how each is drawn, for the tensors that there are.

A maker gives the text of one line (or None: it found nothing to do), and :class:`Drawing` runs it on PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from fuzz_memory_drawing import Drawing, has_history, is_leaf

Shape = tuple[int, ...]

SHAPES: tuple[Shape, ...] = (
    (), (1,), (3,), (4,), (2, 3), (3, 2), (2, 2), (2, 1), (1, 3), (2, 3, 2), (2, 2, 2), (1, 2, 1, 2), (0,), (2, 0),
)  # fmt: skip
SHAPE_WEIGHTS = (2, 1, 3, 3, 6, 3, 3, 1, 1, 2, 1, 1, 1, 1)
BORROWED = 90  # numbers of the arrays that tensors lent, as opposed to those that tensors borrow
NUMBERS = ("0.5", "2.0", "-1.0", "1.5", "0.25", "-0.75")


# --- parts of lines -----------------------------------------------------------------------------------------------


def shown(shape: Sequence[int]) -> str:
    """``2, 3``."""
    return ", ".join(map(str, shape))


def made(d: Drawing, shape: Shape, dtype: str) -> str:
    """A new tensor."""
    return f"new({shape}, {dtype!r}, {d.below(30)})"


def dtype_of(tensor: torch.Tensor) -> str:
    """``float32``."""
    return str(tensor.dtype).removeprefix("torch.")


def constant(d: Drawing, tensor: torch.Tensor) -> str:
    """A number that fits the tensor."""
    if tensor.dtype == torch.bool:
        return str(d.pick(("True", "False")))
    return str(d.pick(NUMBERS if tensor.is_floating_point() else ("2", "-1", "3")))


def clashes(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether they reach over common memory in different ways: what PyTorch makes of writing the one is undefined."""
    if (one.data_ptr(), one.shape, one.stride()) == (other.data_ptr(), other.shape, other.stride()):
        return False
    return np.shares_memory(one.detach().numpy(), other.detach().numpy())


def broadcasts(shape: Sequence[int], target: Sequence[int]) -> bool:
    """Whether the one broadcasts to the other."""
    if len(shape) > len(target):
        return False
    return all(a in (1, b) for a, b in zip(reversed(shape), reversed(target), strict=False))


def operand(d: Drawing, target: torch.Tensor, part: str = "", shape: Sequence[int] | None = None) -> str:
    """What an in-place form on the target, or a part of it, may take: a tensor, part of one, or a number."""
    written = target
    if part:
        try:
            written = eval(part, d.world)
        except (RuntimeError, IndexError, TypeError):
            return constant(d, target)
    wanted = list(written.shape if shape is None else shape)
    if d.chance(25):
        return constant(d, target)
    same = d.chance(90)
    name = d.tensor(
        lambda t: (
            broadcasts(t.shape, wanted)
            and not clashes(t, written)
            and (t.dtype == target.dtype or (not same and t.is_floating_point() and target.is_floating_point()))
        )
    )
    if name is not None and d.chance(85):
        return name
    other = d.tensor(lambda t: t.dtype == target.dtype and t.dtype != torch.bool)
    if other is not None and d.chance(50):
        return f"{other}.sum() * 0.125" if target.is_floating_point() else f"{other}.sum()"
    return made(d, tuple(wanted if d.chance(80) else wanted[1:]), dtype_of(target))


def basic_index(d: Drawing, shape: Sequence[int]) -> tuple[str, list[int]]:
    """``1, :, 0:2, None``, and the shape that it gives."""
    parts: list[str] = []
    left: list[int] = []
    dots = d.below(len(shape) + 1) if d.chance(20) else None
    for axis, size in enumerate(shape):
        if axis == dots:
            parts.append("...")
        if d.chance(8):
            parts.append("None")
            left.append(1)
        if axis and dots is None and d.chance(35):
            left += shape[axis:]
            break
        way = d.below(10)
        if way < 4 and size:
            parts.append(str(d.below(size) - (size if d.chance(25) else 0)))
        elif way < 6:
            parts.append(":")
            left.append(size)
        else:
            step = 2 if d.chance(25) else 1
            first = d.below(size) if size and d.chance(60) else 0
            last = size if d.chance(60) else min(first + d.below(3), size)
            parts.append(f"{first or ''}:{'' if last == size else last}" + (f":{step}" if step > 1 else ""))
            left.append(len(range(size)[first:last:step]))
    return ", ".join(parts) or "...", left


def array_index(d: Drawing, shape: Sequence[int], distinct: bool) -> tuple[str, list[int]] | None:
    """An index that holds an integer array, and the shape that it gives."""
    if not shape or 0 in shape:
        return None
    axis, count = d.below(len(shape)), 1 + d.below(3)
    choices = list(range(shape[axis]))
    d.rng.shuffle(choices)
    rows = choices[:count] if distinct else [d.pick(choices) for _ in range(count)]
    if d.chance(30):
        rows = [r - shape[axis] for r in rows]
    name = d.tensor(lambda t: t.dtype == torch.int64 and t.ndim == 1 and 0 < t.numel() < 4) if not distinct else None
    if name is not None and d.chance(50):
        return ":, " * axis + name, [*shape[:axis], d.world[name].numel(), *shape[axis + 1 :]]
    return ":, " * axis + f"m.tensor({rows})", [*shape[:axis], len(rows), *shape[axis + 1 :]]


def mask_for(d: Drawing, tensor: torch.Tensor, name: str, whole: bool = False) -> str | None:
    """A mask of the shape of the tensor, or of its first axes."""
    found = d.tensor(lambda t: t.dtype == torch.bool and t.ndim > 0 and t.shape == tensor.shape[: t.ndim])
    if found is not None and d.chance(60) and (not whole or d.world[found].shape == tensor.shape):
        return found
    if tensor.is_floating_point() and d.chance(60):
        return f"{name} > {d.pick(('0.0437', '-0.4391', '0.8713'))}"
    if not tensor.ndim:
        return None
    return f"m.tensor({[d.chance(60) for _ in range(tensor.shape[0])]})" if tensor.ndim == 1 or not whole else None


# --- views --------------------------------------------------------------------------------------------------------


def view_of(d: Drawing, name: str) -> str | None:
    """An expression that looks at the same memory, or copies where PyTorch does."""
    t = d.world[name]
    rank, shape = t.ndim, list(t.shape)
    axis = d.below(rank) if rank else 0
    sign = -rank if rank and d.chance(25) else 0
    way = d.pick(VIEWS)
    if way == "index":
        return f"{name}[{basic_index(d, shape)[0]}]"
    if way in ("reshape", "view"):
        found = [s for s in SHAPES if int(np.prod(s)) == t.numel()] + [(-1,), (t.numel(), 1)]
        wanted = list(d.pick(found))
        if wanted and t.numel() and d.chance(30):
            wanted[d.below(len(wanted))] = -1
        return f"{name}.{way}({shown(wanted) or '()'})"
    if way in ("T", "mT", "t()", "data", "detach()", "contiguous()", "clone()", "flatten()", "squeeze()"):
        if (way == "mT" and rank < 2) or (way in ("T", "t()") and rank != 2):
            return None
        return f"own({name}.clone())" if way == "clone()" else f"{name}.{way}"
    if way == "to":
        if not t.is_contiguous():
            return None
        return f"{name}.to(m.{d.pick(('float32', 'float64'))})" if t.is_floating_point() else f"{name}.to(m.int64)"
    if way == "permute":
        order = d.rng.sample(range(rank), rank)
        return f"{name}.permute({shown(order)})" if rank else None
    if way == "expand":
        wanted = [d.pick((2, 3)) if n == 1 and d.chance(70) else (-1 if d.chance(30) else n) for n in shape]
        front = [d.pick((1, 2))] if rank < 3 and d.chance(50) else []
        return f"{name}.expand({shown(front + wanted) or '()'})"
    if way == "unsqueeze":
        return f"{name}.unsqueeze({d.below(rank + 1) - (rank + 1 if d.chance(30) else 0)})"
    if rank == 0:
        return None
    if way == "squeeze":
        return f"{name}.squeeze({axis + sign})"
    if way in ("transpose", "swapaxes"):
        return f"{name}.{way}({axis + sign}, {d.below(rank)})"
    if way == "narrow":
        start = d.below(shape[axis] + 1)
        return f"{name}.narrow({axis + sign}, {start}, {d.below(shape[axis] - start + 1)})"
    if way == "select":
        return f"{name}.select({axis + sign}, {d.below(shape[axis])})" if shape[axis] else None
    if way == "diagonal":
        return f"{name}.diagonal({d.pick(('', '1', '-1', '0, 1, 0', '0, -2, -1'))})" if rank > 1 else None
    if way == "flatten":
        return f"{name}.flatten({axis}, {axis + d.below(rank - axis)})"
    return None


VIEWS = (
    *("index",) * 7, *("view", "reshape") * 2, "T", "T", "mT", "t()", "transpose", "swapaxes", "permute", "expand",
    "expand", "narrow", "narrow", "select", "select", "diagonal", "squeeze", "squeeze()", "unsqueeze", "flatten",
    "flatten()", "detach()", "detach()", "data", "data", "contiguous()", "clone()", "to",
)  # fmt: skip


def make_view(d: Drawing) -> str | None:
    """``v3 = v1.T``."""
    name = d.tensor()
    text = name and view_of(d, name)
    return text and guarded(d, f"{d.fresh()} = {text}", 12)


def make_views(d: Drawing) -> str | None:
    """``v3, v4 = v1.chunk(2)``: several at once."""
    name = d.tensor(lambda t: t.ndim > 0 and 0 not in t.shape)
    if name is None:
        return None
    t = d.world[name]
    axis = d.below(t.ndim)
    size = t.shape[axis]
    if size > 3:
        return None
    way = d.pick(("split", "chunk", "unbind", "iterate", "sizes"))
    names = ", ".join(dict.fromkeys(d.fresh() for _ in range(size)))
    if names.count(",") + 1 != size:
        return None
    left = names + ("," if size == 1 else "")
    if way == "iterate":
        return f"{left} = {name}" if axis == 0 else None
    if way == "sizes":
        return f"{left} = {name}.split({[1] * size}, {axis})"
    return f"{left} = {name}.{way}({ {'split': '1, ', 'chunk': f'{size}, ', 'unbind': ''}[way] }{axis})"


def guarded(d: Drawing, text: str, percent: int) -> str:
    """Sometimes under no_grad."""
    return f"with m.no_grad(): {text}" if d.chance(percent) else text


# --- values of their own ------------------------------------------------------------------------------------------


def promotes_otherwise(t: torch.Tensor, other: object) -> bool:
    """Whether weft's result has another dtype: a tensor of rank 0 counts there like any tensor (from_pytorch.md)."""
    return isinstance(other, torch.Tensor) and other.dtype != t.dtype and bool(other.ndim) != bool(t.ndim)


FUNCTIONS = ("exp", "sigmoid", "tanh", "relu", "abs", "neg", "sin", "cos", "square", "sqrt")


def value_of(d: Drawing, name: str) -> str | None:
    """An expression whose result owns its memory."""
    t = d.world[name]
    if t.dtype == torch.bool:
        return d.pick((f"~{name}", f"{name} & {name}", f"{name}.sum()", f"{name}.any()"))
    if not t.is_floating_point():
        return d.pick((f"{name} + {operand(d, t)}", f"{name} * 2", f"-{name}", f"{name}.sum()", f"{name} > 0"))
    other = operand(d, t)
    if promotes_otherwise(t, d.world.get(other)):
        other = "0.5"
    way = d.pick(VALUES)
    if way == "function":
        function = d.pick(FUNCTIONS)
        return f"({name}.abs() + 1).sqrt()" if function == "sqrt" else f"{name}.{function}()"
    if way == "matmul":
        fits = d.tensor(lambda o: o.ndim == 2 and t.ndim == 2 and o.dtype == t.dtype and o.shape[0] == t.shape[1])
        return fits and f"{name} @ {fits}"
    if way == "gather":
        index = array_index(d, t.shape, False)
        return index and f"{name}[{index[0]}]"
    if way == "masked":
        mask = None if d.inside else mask_for(d, t, name)
        return mask and f"{name}[{mask}]"
    if way in ("where", "fill"):
        mask = mask_for(d, t, name, True)
        if mask is None:
            return None
        return f"m.where({mask}, {name}, {other})" if way == "where" else f"{name}.masked_fill({mask}, 0.5)"
    if way == "stack":
        same = d.tensor(lambda o: o.shape == t.shape and o.dtype == t.dtype)
        return f"m.stack([{name}, {same}])" if t.ndim < 3 else None
    axis = d.below(t.ndim) if t.ndim else None
    if way in ("sum axis", "mean axis", "cumsum", "softmax"):
        if axis is None or (way in ("mean axis", "softmax") and t.shape[axis] == 0):
            return None
        return f"{name}.{way.split()[0]}({axis})"
    return str(way).format(x=name, y=other)


VALUES = (
    "{x} + {y}", "{x} - {y}", "{x} * {y}", "{x} * {y}", "{x} * {x}", "{x} / 2.0", "{x} / ({x} * {x} + 1)",
    "1.0 - {x}", "{x} ** 2", "{x}.sum()", "{x}.clamp(-1.0, 1.0)", "{x} * {x}.sum()", "{x} > 0.0437",
    "function", "function", "function", "matmul", "gather", "masked", "where", "fill", "stack",
    "sum axis", "mean axis", "cumsum", "softmax",
)  # fmt: skip


def make_value(d: Drawing) -> str | None:
    """``v3 = v1 * v2``."""
    name = d.floating() if d.chance(85) else d.tensor()
    text = name and value_of(d, name)
    return text and guarded(d, f"{d.fresh()} = own({text})", 8)


def make_new(d: Drawing) -> str:
    """A tensor that was not there."""
    shape = d.rng.choices(SHAPES, SHAPE_WEIGHTS)[0]
    kind = d.pick(("float32",) * 6 + ("float64",) * 3 + ("int64", "bool"))
    name = d.fresh()
    if kind.startswith("float") and d.chance(45) and not d.loss:
        return f"{name} = {made(d, shape, kind)}.requires_grad_()"
    if d.chance(12) and not d.inside:
        lent = f"array({shape}, {kind!r}, {d.below(30)})"
        # PyTorch's asarray takes an array of rank 0 as a number.
        way = d.pick(("from_numpy", "asarray")) if shape else "from_numpy"
        return f"b{name[1:]} = {lent}; {name} = m.{way}(b{name[1:]})"
    return f"{name} = {made(d, shape, kind)}"


def make_mistake(d: Drawing) -> str | None:
    """What nobody can do."""
    name = d.tensor()
    if name is None:
        return None
    t = d.world[name]
    wrong = made(d, (*t.shape[:-1], 5), dtype_of(t))
    return str(d.pick((
        f"{name}.add_({wrong})", f"{name} {'+=' if assignable(d, name) else '+'} {wrong}", f"{name}.copy_({wrong})",
        f"{name}[...] = {wrong}", f"{name}.view(7)", f"{name}.expand(7, 7, 7, 7, 7)", f"{name}[9] = 0",
        f"{name}[:, :, :, :, :]", f"{name}[0:1, 9]", f"{name}.fill_({wrong})",
f"{name}.expand(2, *{name}.shape).mul_(2)", f"{name}.select(0, 5)",
        f"{name}.mul_({name}.unsqueeze(0))", f"{name}.narrow(0, 1, 5)",
        f"{name}.masked_fill_(m.tensor([True] * 5), 1)", f"{name}[m.tensor([True] * 5)] = 1", f"{name}.split(-1)",
    )))  # fmt: skip


def make_index(d: Drawing) -> str:
    """A tensor to index with."""
    rows = [d.below(2) for _ in range(1 + d.below(3))]
    return f"{d.fresh()} = m.tensor({rows})" if d.chance(60) else f"{d.fresh()} = m.tensor({[bool(r) for r in rows]})"


# --- in place -----------------------------------------------------------------------------------------------------


def part_of(d: Drawing, name: str) -> str:
    """The tensor, or an expression for a view of it."""
    t = d.world[name]
    way = d.below(10)
    if way < 6 or not t.ndim:
        return name
    if way == 6:
        return f"{name}.{d.pick(('detach()', 'data', 'view(-1)', 'T'))}"
    return f"{name}[{basic_index(d, t.shape)[0]}]"


def in_place(d: Drawing, name: str) -> str | None:
    """A statement that writes into the memory of the tensor."""
    t = d.world[name]
    if t.dtype == torch.bool:
        return d.pick((f"{name}.fill_(True)", f"{name}[{basic_index(d, t.shape)[0]}] = False", f"{name}.zero_()"))
    target = part_of(d, name)
    way = d.pick(WRITES if t.is_floating_point() else INTEGER_WRITES)
    if way == "operator":
        if target == name and name in d.world and not assignable(d, name):
            return None
        if target != name and "[" not in target:
            target = name + ".data"
        symbol = d.pick(("+", "-", "*") if not t.is_floating_point() else ("+", "-", "*", "*", "/"))
        other = constant(d, t) if symbol == "/" else operand(d, t, target)
        return f"{target} {symbol}= {other}"
    if way == "method":
        other, verb = operand(d, t, target), d.pick(("add_", "sub_", "mul_", "copy_"))
        return None if verb == "copy_" and other == target else f"{target}.{verb}({other})"
    if way == "alpha":
        other = operand(d, t, target)
        return other in d.world and f"{target}.{d.pick(('add_', 'sub_'))}({other}, alpha={constant(d, t)})"
    if way == "function":
        return f"{target}.{d.pick(FUNCTIONS)}_()"
    if way == "constant":
        return f"{target}.{d.pick(('zero_()', 'fill_(0.5)', 'clamp_(-0.5, 0.5)', 'div_(2.0)', 'clamp_(min=0.0)'))}"
    if way == "integers":
        return f"{target}.{d.pick(('zero_()', 'fill_(2)', 'clamp_(-2, 2)', 'neg_()', 'abs_()'))}"
    if way == "masked_fill_":
        mask = mask_for(d, t, name, True)
        return mask and f"{name}.masked_fill_({mask}, {constant(d, t)})"
    if way == "out":
        left, right = operand(d, t), operand(d, t)
        if left in d.world and d.world[left].shape != t.shape:
            return None  # PyTorch warns, and makes the target another shape
        return f"m.{d.pick(('add', 'multiply', 'subtract'))}({left}, {right}, out={name})" if left in d.world else None
    if way == "rows":
        verb = d.pick(("mul_(2.0)", "add_(1.0)", "zero_()", "neg_()"))
        return f"for r in {name}: r.{verb}" if t.ndim and t.is_floating_point() else None
    return assignment(d, name, way)


def assignment(d: Drawing, name: str, way: str) -> str | None:
    """``v1[0] = v2``."""
    t = d.world[name]
    if way == "mask":
        mask = mask_for(d, t, name)
        if mask is None:
            return None
        if not d.inside and d.chance(25):
            return f"{name}[{mask}] *= 2"
        own = f"{name}.sum() * 0.1" if t.is_floating_point() else f"{name}.sum()"
        return f"{name}[{mask}] = {constant(d, t) if d.chance(80) else own}"
    update = "" if d.chance(70) else d.pick(("+", "*", "-"))
    found = array_index(d, t.shape, True) if way == "array" else basic_index(d, t.shape)
    if found is None:
        return None
    index, shape = found
    value = operand(d, t, "", shape) if way == "array" else operand(d, t, f"{name}[{index}]")
    if value == name:
        return None
    if way == "array" and value in d.world and np.shares_memory(d.array(value), d.array(name)):
        return None
    if way == "array" and value in d.world and d.world[value].dtype != t.dtype:
        return None  # PyTorch does not cast here
    return f"{name}[{index}] {update}= {value}"


def assignable(d: Drawing, name: str) -> bool:
    """Whether ``name += ..`` may stand here: in a function that makes a name its own."""
    return not d.inside or name[0] in "au"


WRITES = (
    *("operator",) * 6, *("method",) * 6, *("basic",) * 6, "array", "array", "mask", "mask", "alpha", "function",
    "function", "function", "constant", "constant", "masked_fill_", "out", "rows",
)  # fmt: skip
INTEGER_WRITES = ("operator", "operator", "method", "method", "basic", "basic", "array", "mask", "integers", "out")


def make_write(d: Drawing) -> str | None:
    """``v1.add_(v2)``."""
    name = d.tensor()
    text = name and in_place(d, name)
    if not text:
        return None
    t = d.world[name]
    leaf = t.requires_grad and (is_leaf(t) or (t._base is not None and t._base.is_leaf))
    if text.startswith("for "):
        return f"with m.no_grad():\n    {text}" if d.chance(90 if leaf else 15) else text
    return guarded(d, text, 85 if leaf else 18)


# --- autograd -----------------------------------------------------------------------------------------------------


def make_backward(d: Drawing) -> str | None:
    """``(v3 * v3).sum().backward()``."""
    name = d.tensor(lambda t: t.requires_grad)
    if name is None:
        return None
    loss = d.pick((f"{name}.sum()", f"({name} * 0.5).sum()", f"({name} * {name}).sum()", f"{name}.tanh().mean()"))
    if 0 in d.world[name].shape:
        loss = f"{name}.sum()"
    options = d.pick(("", "", "retain_graph=True", "retain_graph=True", "create_graph=True"))
    if d.chance(15):
        return f"{name}.backward(m.ones_like({name}){', ' * bool(options)}{options})"
    return f"{loss}.backward({options})"


def make_gradient(d: Drawing) -> str | None:
    """What is done to, and with, gradients."""
    name = d.tensor(lambda t: is_leaf(t) and t.requires_grad)
    if name is None:
        return None
    t = d.world[name]
    if t.grad is None or not t.grad.is_contiguous():
        return f"{name}.grad = {made(d, tuple(t.shape), dtype_of(t))}" if d.chance(30) else None
    return str(d.pick((
        f"{d.fresh()} = {name}.grad",
        f"{d.fresh()} = {name}.grad",
        f"{name}.grad = None",
        f"{name}.grad.zero_()",
        f"{name}.grad.mul_(0.5)",
        f"{name}.grad *= 0.5",
        f"{name}.grad = {name}.grad * 2",
        f"with m.no_grad(): {name}.sub_({name}.grad, alpha=0.1)",
        f"with m.no_grad(): {name} -= 0.1 * {name}.grad" if assignable(d, name) else None,
        f"{name}.data.add_({name}.grad, alpha=-0.1)",
        f"({name}.grad * {name}).sum().backward()",
    )))  # fmt: skip


def make_history(d: Drawing) -> str | None:
    """Which tensors ask for gradients."""
    name = d.floating()
    if name is None:
        return None
    t = d.world[name]
    way = d.below(6)
    # With views of it alive, what PyTorch does with their history hangs on who looked at it when.
    related = [o for o in map(d.world.__getitem__, d.tensors()) if o is not t and relatives(o, t)]
    if way < 2 and is_leaf(t) and not t.requires_grad and not related:
        return f"{name}.requires_grad_()"
    related = [o for o in related if o.requires_grad]
    if way == 2 and not related:
        return f"{name}.detach_()"
    if way == 3 and is_leaf(t) and t.requires_grad:
        return f"{name}.requires_grad_(False)"
    if way == 4 and not related and not (t.requires_grad and d.tensors(has_history)):
        # What NumPy lent is copied by weft.
        lent = [a for n, a in d.world.items() if isinstance(a, np.ndarray) and int(n[1:]) < BORROWED]
        other = d.tensor(
            lambda o: (
                (o.dtype, o.shape, o.requires_grad) == (t.dtype, t.shape, False)
                and not any(np.shares_memory(a, o.numpy()) for a in lent)
            )
        )
        return f"{name}.data = {other or made(d, tuple(t.shape), dtype_of(t))}"
    return None


def relatives(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether one is a view of the other, or both are of a third."""
    return (one if one._base is None else one._base) is (other if other._base is None else other._base)


def make_other(d: Drawing) -> str | None:
    """Names that go or are two, and arrays that share."""
    if d.inside:
        return None
    name = d.tensor()
    arrays = [n for n, a in d.world.items() if isinstance(a, np.ndarray)]
    way = d.below(7)
    if name is None:
        return None
    if way < 2 and len(d.tensors()) > 3:
        return f"del {name}"
    if way == 2:
        return f"{d.fresh()} = {name}"
    if way == 3:
        return f"b{d.count + BORROWED} = {name}.detach().numpy()"
    if arrays:
        array = d.pick(arrays)
        value = d.world[array]
        return f"{array}[...] = {constant(d, torch.from_numpy(np.zeros_like(value)))}"
    return None


Maker = Callable[[Drawing], str | None]
# How often each is drawn: in programs, in functions that are compiled, in losses whose gradient is taken.
EAGER: dict[Maker, int] = {
    make_view: 30, make_views: 4, make_value: 20, make_new: 5, make_index: 2, make_write: 36, make_backward: 4,
    make_gradient: 6, make_history: 5, make_other: 5, make_mistake: 2,
}  # fmt: skip
INSIDE: dict[Maker, int] = {
    make_view: 30, make_views: 3, make_value: 20, make_new: 3, make_write: 36, make_backward: 2, make_gradient: 3,
    make_mistake: 1,
}  # fmt: skip
LOSS: dict[Maker, int] = {make_view: 30, make_views: 3, make_value: 25, make_new: 3, make_write: 40, make_mistake: 1}
