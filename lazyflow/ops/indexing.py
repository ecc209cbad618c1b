"""Functions that pick elements by computed positions: gather, take, one_hot."""

from __future__ import annotations

import numpy as np

from lazyflow.append import append, as_shape
from lazyflow.compiler import primitives
from lazyflow.location import user_line
from lazyflow.ops.comparison import eq
from lazyflow.ops.elementwise import cast
from lazyflow.ops.function import (
    Gradient,
    attributes,
    composition,
    function,
    gradient_rule,
    no_gradient,
    one_axis,
    tensor,
)
from lazyflow.ops.shaping import expand_dims, iota, reshaped
from lazyflow.runtime import dtypes
from lazyflow.runtime.dimensions import Dimension, elements
from lazyflow.runtime.errors import DTypeError, message
from lazyflow.tensor import Tensor, TensorLike


@function
def take(x: TensorLike, index: TensorLike, axis: int | None = None) -> Tensor:
    """Whole slices of an axis, at computed positions, as ``numpy.take``.

    Args:
        x: Tensor of any shape.
        index: Integer tensor of any shape, each in [0, size of the axis).
        axis: The axis whose positions are taken; None: those of the flattened tensor.

    Returns:
        Tensor of x's shape with the axis replaced by the axes of ``index``.

    Raises:
        OutOfRangeError: while a program runs, if a position lies outside of the axis.

    Example:
        >>> import lazyflow as lf
        >>> with lf.Graph():
        ...     words, table = lf.placeholder("words", ("batch", 5), lf.int64), lf.zeros((1000, 8))
        ...     lf.take(table, words, axis=0)
        <Tensor 'gather' float32[batch, 5, 8]>
    """
    operand, positions = tensor(x, "take"), _positions(index, "take")
    if axis is None:
        operand, at = reshaped(operand, (elements(operand.shape),)), 0
    else:
        at = one_axis(axis, operand.ndim, "take")
    return append(primitives.gather, operand, positions, axis=at, along=False)


@function
def gather(x: TensorLike, index: TensorLike, axis: int = -1) -> Tensor:
    """One element of an axis for each element of ``index``, as ``numpy.take_along_axis``.

    Args:
        x: Tensor of any shape.
        index: Integer tensor of x's shape but for ``axis``, each in [0, size of the axis).
        axis: The axis whose positions are taken.

    Returns:
        Tensor of the shape of ``index``.

    Raises:
        OutOfRangeError: while a program runs, if a position lies outside of the axis.
    """
    operand, positions = tensor(x, "gather"), _positions(index, "gather")
    at = one_axis(axis, operand.ndim, "gather")
    return append(primitives.gather, operand, positions, axis=at, along=True)


def _positions(index: TensorLike, call: str) -> Tensor:
    positions = tensor(np.asarray(index) if isinstance(index, list | tuple) else index, call)
    if not dtypes.is_integer(positions.dtype):
        raise DTypeError(
            message(
                f"{call}: the index is {positions.dtype.name}; expected an integer type",
                index=positions.describe(),
                here=f"at {user_line()}",
                hint="lf.placeholder(name, shape, dtype=lf.int64), or index.astype(lf.int64)",
            )
        )
    return positions


@function
def check_index(x: TensorLike, size: int | Dimension) -> Tensor:
    """The same integers, where all lie in [0, size); else the run fails and changes nothing.

    Args:
        x: Integer tensor of any shape.
        size: How many positions there are.

    Raises:
        OutOfRangeError: while a program runs, if one lies outside.
    """
    (extent,) = as_shape((size,), "check_index")
    return append(primitives.check_index, _positions(x, "check_index"), size=extent)


@composition
def one_hot(index: TensorLike, size: int | Dimension, dtype: object = dtypes.float32) -> Tensor:
    """1 at the given position of a new last axis, 0 elsewhere.

    Args:
        index: Integer tensor of any shape, each in [0, size).
        size: The size of the new axis.
        dtype: The element type of the result.

    Returns:
        Tensor of shape ``(*index.shape, size)``.

    Raises:
        OutOfRangeError: while a program runs, if a position lies outside.
    """
    (classes,) = as_shape((size,), "one_hot")
    positions = check_index(_positions(index, "one_hot"), classes)
    return cast(eq(expand_dims(positions, -1), iota((classes,), dtype=positions.dtype)), dtype)


# --- gradient rules ---------------------------------------------------------------------------------------

Gradients = tuple[Gradient, ...]


@gradient_rule(primitives.gather)
def _(dy: Tensor, y: Tensor, x: Tensor, index: Tensor) -> Gradients:
    given = attributes(y)
    place = {"axis": given["axis"], "along": given["along"], "shape": x.shape}
    return append(primitives.scatter_add, dy, index, **place), None


@gradient_rule(primitives.scatter_add)
def _(dy: Tensor, y: Tensor, x: Tensor, index: Tensor) -> Gradients:
    given = attributes(y)
    return append(primitives.gather, dy, index, axis=given["axis"], along=given["along"]), None


no_gradient(primitives.check_index)
