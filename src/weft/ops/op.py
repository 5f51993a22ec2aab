"""How ops meet the rest: tracing primitives into graphs, and public functions that run by way of their graph.

- :func:`apply` appends one primitive to the trace that is being recorded. Primitives are never run directly.
- :func:`composite` makes a public function of a Python function over arrays. Called eagerly it is traced once for
  each signature and its graph runs as fused kernels; inside a capture its graph is inlined and its name kept.

The arrays that flow through here are Tensors; this layer needs of them only ``dtype``, ``shape``, ``_storage`` (a
:class:`~weft.graph.ir.Value` while tracing) and the operators. The tensor layer registers the class and the caller
with :func:`register`.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

from ..core.asked import unasked
from ..core.boundary import leave
from ..core.device import CPU, Device
from ..core.dtypes import DType
from ..core.errors import CaptureError, user_line
from ..core.shapes import Shape
from ..graph.ir import Graph, Node, Value, make_node
from ..graph.protocol import Primitive, TensorType

if TYPE_CHECKING:
    from ..tensor.tensor import Tensor  # one layer up: what a public function gives to whoever calls it

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")


class Array(Protocol):
    """What the bodies of ops see of a tensor."""

    _storage: Any

    @property
    def dtype(self) -> DType: ...
    @property
    def shape(self) -> Shape: ...
    @property
    def ndim(self) -> int: ...
    @property
    def device(self) -> Device: ...
    def __getitem__(self, key: Any, /) -> Array: ...
    def __add__(self, other: Any, /) -> Array: ...
    def __radd__(self, other: Any, /) -> Array: ...
    def __sub__(self, other: Any, /) -> Array: ...
    def __rsub__(self, other: Any, /) -> Array: ...
    def __mul__(self, other: Any, /) -> Array: ...
    def __rmul__(self, other: Any, /) -> Array: ...
    def __truediv__(self, other: Any, /) -> Array: ...
    def __rtruediv__(self, other: Any, /) -> Array: ...
    def __floordiv__(self, other: Any, /) -> Array: ...
    def __mod__(self, other: Any, /) -> Array: ...
    def __pow__(self, other: Any, /) -> Array: ...
    def __rpow__(self, other: Any, /) -> Array: ...
    def __and__(self, other: Any, /) -> Array: ...
    def __rand__(self, other: Any, /) -> Array: ...
    def __or__(self, other: Any, /) -> Array: ...
    def __ror__(self, other: Any, /) -> Array: ...
    def __xor__(self, other: Any, /) -> Array: ...
    def __rxor__(self, other: Any, /) -> Array: ...
    def __lshift__(self, other: Any, /) -> Array: ...
    def __rshift__(self, other: Any, /) -> Array: ...
    def __lt__(self, other: Any, /) -> Array: ...
    def __le__(self, other: Any, /) -> Array: ...
    def __gt__(self, other: Any, /) -> Array: ...
    def __ge__(self, other: Any, /) -> Array: ...
    def __eq__(self, other: Any, /) -> Array: ...  # type: ignore[override]
    def __ne__(self, other: Any, /) -> Array: ...  # type: ignore[override]
    def __neg__(self) -> Array: ...
    def __invert__(self) -> Array: ...


class Trace:
    """Nodes recorded so far, and the composites that are being inlined (their names go on the nodes)."""

    __slots__ = ("capture", "device", "name", "nodes", "plans", "scope", "where")

    def __init__(
        self,
        capture: Any = None,
        where: tuple[str, int] | None = None,
        name: str = "",
        device: Device = CPU,
        sized: bool = False,
    ):
        self.nodes: list[Node] = []
        # Plans of public functions for symbolic sizes, which nobody asks for later; None: all sizes are numbers.
        self.plans: dict[Any, Any] | None = {} if sized else None
        self.scope: tuple[str, ...] = ()
        self.capture = capture  # the user's capture (transforms.compile); None while a composite is traced
        self.where = where
        self.name = name  # of the function that is traced, for errors
        self.device = device  # where what is traced will run; the nodes do not know

    def add(self, op: Primitive, inputs: Sequence[Value], params: dict[str, Any]) -> Node:
        """Append one node; raises what its shape rule raises."""
        node = make_node(op, inputs, params, self.where or user_line(3), self.scope)
        self.nodes.append(node)
        return node


class _State(threading.local):
    """The trace that this thread records, if any."""

    trace: Trace | None = None


class _Hooks:
    """What the tensor layer registers."""

    __slots__ = ("call", "guarded", "value_of", "wrap")

    def __init__(self) -> None:
        self.wrap: Callable[[Value], Tensor] = _not_registered
        self.value_of: Callable[[Any, Trace], Value] = _not_registered
        self.call: Callable[[Composite, tuple[Any, ...], dict[str, Any]], Any] = _not_registered
        self.guarded: Callable[[Callable[..., Any]], Callable[..., Any]] = _not_registered


def _not_registered(*args: Any) -> Any:
    raise RuntimeError("weft.tensor is not imported")


state = _State()
hooks = _Hooks()


def register(
    wrap: Callable[[Value], Tensor],
    value_of: Callable[[Any, Trace], Value],
    call: Callable[[Composite, tuple[Any, ...], dict[str, Any]], Any],
    guarded: Callable[[Callable[..., Any]], Callable[..., Any]],
) -> None:
    """The tensor layer's side: wrap a Value, find an array's Value in a trace, call a composite, check the arguments of
    a public function that is none."""
    hooks.wrap, hooks.value_of, hooks.call, hooks.guarded = wrap, value_of, call, guarded


def current_trace() -> Trace | None:
    """The trace that records now."""
    return state.trace


def apply(op: Primitive, *arrays: Array, **params: Any) -> Tensor:
    """Record ``op`` over traced arrays; ``params`` are hashable. An op with several outputs gives a tuple."""
    trace = state.trace
    if trace is None:
        raise CaptureError(f"primitive {op} applied outside a trace; call the public function")
    outputs = trace.add(op, [hooks.value_of(a, trace) for a in arrays], params).outputs
    if len(outputs) == 1:
        return hooks.wrap(outputs[0])
    several: Any = tuple([hooks.wrap(v) for v in outputs])  # few ops have several: whoever applies one knows
    return several


_every: list[Composite] = []


def all_composites() -> list[Composite]:
    """Every public function defined so far."""
    return _every


class Composite:
    """A public function over arrays: see :func:`composite`."""

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        is_view: bool = False,
        gradient: Any = None,
        primitive: Primitive | None = None,
        reads_numbers: bool = False,
        public: bool = True,
    ):
        functools.update_wrapper(self, function)
        self.function = function
        self.name = name
        self.is_view = is_view  # whether its results may look at the operand's memory
        self.gradient: Callable[..., Any] | None = gradient  # from the result instead of the operand
        self.primitive = primitive  # that a table's entry made with it
        self.reads_numbers = reads_numbers  # whether a Python number among its operands decides what is computed
        self.is_public = public  # whether its module's namespace shows it: see registry.functions
        self.in_place = False  # whether it is an in-place form: its result requires grad where the operand did
        self.is_update = False  # whether its results are written over operands, and nothing is recorded
        parameters = inspect.signature(function).parameters
        self.takes_copy = "copy" in parameters  # the Array API's: what shares memory
        self.takes_device = "device" in parameters  # where the result is made: the caller sees to it, not the body
        # The place of an argument ``inplace``: the caller writes the result into the first operand, the body knows
        # nothing of it. 0: there is none.
        self.inplace_at = list(parameters).index("inplace") if "inplace" in parameters else 0
        self.operands = len(parameters)  # of what an entry made
        self.plans: dict[Any, Any] = {}  # the tensor layer's cache: signature -> traced graph and executable
        self.older: dict[Any, Any] = {}  # the same, of those that nobody has asked for of late
        self.families: dict[Any, Any] = {}  # the same for signatures that differ in sizes alone
        _every.append(self)
        self.quick: dict[Any, Any] = {}  # the same for calls with tensors alone that return one tensor: specs -> plan

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        trace = state.trace
        if trace is not None and trace.capture is None:  # inside another composite: its body, inline
            outer, trace.scope = trace.scope, (*trace.scope, self.name)
            try:
                return self.function(*args, **kwargs)
            finally:
                trace.scope = outer
        if trace is not None and trace.plans is not None:
            args, kwargs = unasked(args), unasked(kwargs)
        try:
            return hooks.call(self, args, kwargs)
        except Exception as error:
            leave(error, self.function, args, kwargs)
            raise

    def __reduce__(self) -> str:
        """By its name, as any function: a layer that holds one as its activation is copied, pickled, and shares it."""
        return self.function.__qualname__

    def __repr__(self) -> str:
        return f"<weft function {self.name}>"


@overload
def public(function: Callable[P, Array]) -> Callable[P, Tensor]: ...
@overload
def public(function: F) -> F: ...
def public(function: Any) -> Any:
    """Decorator: a public function that is no composite, because it looks at values or changes state. Its arguments are
    held to its signature as a composite's are."""
    ready: list[Callable[..., Any]] = []

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not ready:
            ready.append(hooks.guarded(function))
        return ready[0](*args, **kwargs)

    call.is_public = True  # type: ignore[attr-defined]
    return call


class _Decorator(Protocol):
    @overload
    def __call__(self, function: Callable[P, Array], /) -> Callable[P, Tensor]: ...
    @overload
    def __call__(self, function: F, /) -> F: ...


@overload
def composite(function: Callable[P, Array], /) -> Callable[P, Tensor]: ...
@overload
def composite(function: F, /) -> F: ...
@overload
def composite(
    *,
    name: str | None = None,
    view: bool = False,
    gradient: Callable[..., Any] | None = None,
    reads_numbers: bool = False,
    public: bool = True,
) -> _Decorator: ...
def composite(
    function: Any = None,
    *,
    name: str | None = None,
    view: bool = False,
    gradient: Callable[..., Any] | None = None,
    reads_numbers: bool = False,
    public: bool = True,
) -> Any:
    """Decorator: a function over arrays that is traced once per signature and runs as one graph.

    Arrays may be given positionally, by keyword, or in a list or tuple; every other argument is static and must be
    hashable. The body sees traced arrays (``dtype``, ``shape``, operators, other composites, :func:`apply`); its
    Python control flow may depend on static arguments, dtypes and shapes, never on values. It returns an array or a
    tuple of arrays.

    ``view``: its results look at the memory of the operand where strides can say so; all others own theirs.

    ``gradient(result, g, *arguments)``, of a function of one array: that array's cotangent, written in terms of the
    result, which is then what is kept for it. Without it the body is differentiated, and what that needs is computed
    again from the operand.

    ``reads_numbers``, of a function of two operands that stands for an operator: what it computes depends on a number
    that is one of them, which is therefore no tensor of rank 0.

    ``public=False``: methods use it; the namespace of its module does not show it.
    """
    if function is None:
        return lambda f: Composite(f, name or f.__name__, view, gradient, None, reads_numbers, public)
    return Composite(function, name or function.__name__)


def trace_function(
    function: Callable[..., Any], types: Sequence[TensorType], name: str, device: Device = CPU
) -> tuple[Graph, bool]:
    """The graph of ``function`` over inputs of the given types, and whether it returned a tuple."""
    outer = state.trace
    trace = Trace(None, user_line(2), name, device)
    inputs = [Value(t) for t in types]
    state.trace = trace
    try:
        result = function(*[hooks.wrap(v) for v in inputs])
        several = isinstance(result, (tuple, list))
        outputs = [hooks.value_of(r, trace) for r in (result if several else (result,))]
    finally:
        state.trace = outer
    return Graph(name, inputs, trace.nodes, outputs), several


class suspended:
    """Context manager: ops run eagerly although a capture is going on. For state that is made on first use, which
    must exist outside of the graph that is being captured."""

    def __enter__(self) -> None:
        self.trace, state.trace = state.trace, None

    def __exit__(self, *details: object) -> None:
        state.trace = self.trace
