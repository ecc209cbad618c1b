"""Comparison and logic of each element: bools, through which no gradient flows."""

from __future__ import annotations

from lazyflow.append import append
from lazyflow.compiler import primitives
from lazyflow.ops.function import common, function, no_gradient, real, tensor
from lazyflow.tensor import Tensor, TensorLike


@function
def eq(a: TensorLike, b: TensorLike) -> Tensor:
    """``a == b``, element by element, as bools."""
    return append(primitives.eq, *common("eq", a, b))


@function
def ne(a: TensorLike, b: TensorLike) -> Tensor:
    """``a != b``, element by element, as bools."""
    return append(primitives.ne, *common("ne", a, b))


@function
def lt(a: TensorLike, b: TensorLike) -> Tensor:
    """``a < b``, element by element, as bools."""
    return append(primitives.lt, *common("lt", a, b))


@function
def le(a: TensorLike, b: TensorLike) -> Tensor:
    """``a <= b``, element by element, as bools."""
    return append(primitives.le, *common("le", a, b))


@function
def gt(a: TensorLike, b: TensorLike) -> Tensor:
    """``a > b``, element by element, as bools."""
    return append(primitives.gt, *common("gt", a, b))


@function
def ge(a: TensorLike, b: TensorLike) -> Tensor:
    """``a >= b``, element by element, as bools."""
    return append(primitives.ge, *common("ge", a, b))


@function
def logical_and(a: TensorLike, b: TensorLike) -> Tensor:
    """``a & b`` of bools; for numbers write ``a != 0``."""
    return append(primitives.logical_and, tensor(a, "logical_and"), tensor(b, "logical_and"))


@function
def logical_or(a: TensorLike, b: TensorLike) -> Tensor:
    """``a | b`` of bools; for numbers write ``a != 0``."""
    return append(primitives.logical_or, tensor(a, "logical_or"), tensor(b, "logical_or"))


@function
def logical_not(x: TensorLike) -> Tensor:
    """``~x`` of bools; for numbers write ``x == 0``."""
    return append(primitives.logical_not, tensor(x, "logical_not"))


@function
def isfinite(x: TensorLike) -> Tensor:
    """Whether each element is neither infinite nor NaN, as bools."""
    return append(primitives.isfinite, real(x, "isfinite"))


no_gradient(primitives.eq, primitives.ne, primitives.lt, primitives.le, primitives.gt, primitives.ge)
no_gradient(primitives.logical_and, primitives.logical_or, primitives.logical_not, primitives.isfinite)
