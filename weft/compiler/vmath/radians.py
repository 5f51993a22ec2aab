"""sin, cos and tan of float64."""

from ..expr import Expr


def sin_double(x: Expr) -> Expr:
    raise NotImplementedError


def cos_double(x: Expr) -> Expr:
    raise NotImplementedError


def tan_double(x: Expr) -> Expr:
    raise NotImplementedError
