"""Parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from ...core.errors import ShapeError
from ...ops.pieces import concat
from ...ops.shape import reshape
from ...tensor.in_place import look_at
from ...tensor.tape import no_grad
from ...tensor.tensor import Tensor


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements of the parameters, one parameter behind the other: ``(n,)``.

    Example:
        >>> wf.nn.utils.parameters_to_vector([wf.ones((2, 2)), wf.zeros((1,))])
        Tensor([1., 1., 1., 1., 0.], dtype=float32)
    """
    found: Tensor = concat([reshape(p, (-1,)) for p in parameters], axis=0)
    return found


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Let the parameters be views of a vector, which has as many elements as all of them together.

    Raises:
        ShapeError: it has not; no parameter is changed.
    """
    listed = list(parameters)
    sizes = [p.numel() for p in listed]
    if vec.ndim != 1 or vec.shape[0] != sum(sizes):
        raise ShapeError(f"vector_to_parameters: vec {tuple(vec.shape)} for parameters of {sum(sizes)} elements")
    start = 0
    with no_grad():
        for p, size in zip(listed, sizes, strict=True):
            look_at(p, vec.detach()[start : start + size].view(p.shape))
            start += size
