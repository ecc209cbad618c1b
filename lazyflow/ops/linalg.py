"""Products of matrices."""

from __future__ import annotations

from lazyflow.append import append
from lazyflow.compiler import primitives
from lazyflow.compiler.rules import broadcast_shapes, show
from lazyflow.location import user_line
from lazyflow.ops.function import Gradient, common, function, gradient_rule
from lazyflow.ops.shaping import reshaped, swapaxes
from lazyflow.runtime import dtypes
from lazyflow.runtime.dimensions import elements
from lazyflow.runtime.errors import DTypeError, ShapeError, message
from lazyflow.tensor import Tensor, TensorLike


@function
def matmul(a: TensorLike, b: TensorLike) -> Tensor:
    """The matrix product ``a @ b``, as in NumPy.

    Args:
        a: Tensor of shape (..., n, k), or (k,).
        b: Tensor of shape (..., k, m), or (k,). Axes before the last two broadcast.

    Returns:
        Tensor of shape (..., n, m), without the axis that a vector does not have.

    Raises:
        ShapeError: if the inner dimensions differ, or an operand is a scalar.
        DTypeError: if the operands are integers.

    Example:
        >>> import lazyflow as lf
        >>> with lf.Graph():
        ...     x, w = lf.placeholder("x", ("batch", "words", 8)), lf.placeholder("w", (8, 3))
        ...     lf.matmul(x, w)
        <Tensor 'reshape' float32[batch, words, 3]>
    """
    x, w = common("matmul", a, b)
    _check(x, w)
    if x.ndim > 2 and w.ndim <= 2:  # one large product, whose gradient needs no sum over batches
        rows = reshaped(x, (elements(x.shape[:-1]), x.shape[-1]))
        return reshaped(_product(rows, w), (*x.shape[:-1], *w.shape[1:]))
    return _product(x, w)


def _product(a: Tensor, b: Tensor) -> Tensor:
    left = reshaped(a, (1, *a.shape)) if a.ndim == 1 else a
    right = reshaped(b, (*b.shape, 1)) if b.ndim == 1 else b
    y = append(primitives.matmul, left, right)
    rows = () if a.ndim == 1 else y.shape[-2:-1]
    columns = () if b.ndim == 1 else y.shape[-1:]
    return reshaped(y, (*y.shape[:-2], *rows, *columns))


def _check(a: Tensor, b: Tensor) -> None:
    rows = {"a": a.describe(), "b": b.describe(), "here": f"at {user_line()}"}
    if not dtypes.is_floating(a.dtype):
        hint = "cast an operand to a floating type, or sum a product"
        raise DTypeError(message(f"matmul: {a.dtype.name} is no floating type", **rows, hint=hint))
    if not a.ndim or not b.ndim:
        text = f"matmul: a scalar is no matrix: a is {show(a.shape)}, b is {show(b.shape)}"
        raise ShapeError(message(text, **rows, hint="a * b"))
    inner = b.shape[-2] if b.ndim > 1 else b.shape[0]
    if a.shape[-1] != inner:
        text = f"matmul: inner dimensions differ: a is {show(a.shape)}, b is {show(b.shape)}"
        expected = f"a.shape[-1] == b.shape[{-2 if b.ndim > 1 else 0}], got {a.shape[-1]} and {inner}"
        turned = b.ndim > 1 and a.shape[-1] == b.shape[-1]
        advice = "transpose one of them, as in matmul(a, b.T)" if turned else None
        raise ShapeError(message(text, expected=expected, **rows, hint=advice))
    try:
        broadcast_shapes([a.shape[:-2], b.shape[:-2]])
    except ShapeError:
        text = f"matmul: batch axes do not broadcast: a is {show(a.shape)}, b is {show(b.shape)}"
        raise ShapeError(message(text, **rows)) from None


@gradient_rule(primitives.matmul)
def _(dy: Tensor, y: Tensor, a: Tensor, b: Tensor) -> tuple[Gradient, ...]:
    return (
        lambda: append(primitives.matmul, dy, swapaxes(b, -1, -2)),
        lambda: append(primitives.matmul, swapaxes(a, -1, -2), dy),
    )
