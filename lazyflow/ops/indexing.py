"""Functions that pick elements by position: getitem, gather, take, one_hot."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazyflow.append import append, as_shape
from lazyflow.compiler import primitives
from lazyflow.compiler.rules import show
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
from lazyflow.runtime.dimensions import Dimension, Size, elements
from lazyflow.runtime.errors import ArgumentTypeError, DTypeError, ShapeError, message
from lazyflow.tensor import Tensor, TensorLike

# --- positions that are known while the graph is built ----------------------------------------------------


@function
def getitem(x: Tensor, index: Any) -> Tensor:
    """``x[index]``: integers, slices with steps, None and Ellipsis, on static axes; ``:`` on any axis.

    Raises:
        ShapeError: if a position lies outside of its axis, a slice is empty, or the axis is named.
        ArgumentTypeError: if the index is something else (see ``take`` and ``gather`` for Tensors).
    """
    items = _completed(index if isinstance(index, tuple) else (index,), x)
    bounds: list[tuple[int, Size, int]] = []
    shape: list[Size] = []
    for item in items:
        if item is None:
            shape.append(1)
            continue
        axis = len(bounds)
        bounds.append(_bounds(item, x, axis))
        if isinstance(item, slice):
            shape.append(bounds[-1][1])
    if all(bound == (0, size, 1) for bound, size in zip(bounds, x.shape, strict=True)):
        return reshaped(x, tuple(shape))
    starts, sizes, steps = (tuple(column) for column in zip(*bounds, strict=True))
    return reshaped(append(primitives.slice_, x, starts=starts, sizes=sizes, steps=steps), tuple(shape))


def _completed(items: tuple[Any, ...], x: Tensor) -> list[Any]:
    """One item per axis, and None for each new one."""
    dots = [i for i, item in enumerate(items) if item is Ellipsis]
    used = len([item for item in items if item is not None and item is not Ellipsis])
    if len(dots) > 1 or used > x.ndim:
        raise ShapeError(
            message(
                f"getitem: {used} positions for a tensor of rank {x.ndim}"
                if used > x.ndim
                else "getitem: more than one Ellipsis",
                tensor=x.describe(),
                here=f"at {user_line()}",
            )
        )
    rest = [slice(None)] * (x.ndim - used)
    at = dots[0] if dots else len(items)
    return [*items[:at], *rest, *items[at + 1 :]]


def _bounds(item: Any, x: Tensor, axis: int) -> tuple[int, Size, int]:
    """Start, number of elements and step along an axis."""
    extent = x.shape[axis]
    if isinstance(item, slice) and item == slice(None):
        return 0, extent, 1
    if isinstance(item, bool | np.bool_) or not isinstance(item, int | np.integer | slice):
        raise ArgumentTypeError(
            message(
                f"getitem: {_name(item)} is no position",
                expected="integers, slices, None, Ellipsis",
                tensor=x.describe(),
                here=f"at {user_line()}",
                hint="lf.take(x, index, axis) or lf.gather for an index made of numbers, lf.where for a mask",
            )
        )
    if not isinstance(extent, int):
        text = f"getitem: axis {axis} of {show(x.shape)} is named; only static axes can be sliced"
        hint = "lf.take(x, index, axis) takes positions that are computed"
        raise ShapeError(message(text, tensor=x.describe(), here=f"at {user_line()}", hint=hint))
    if isinstance(item, slice):
        return _slice_bounds(item, x, axis, extent)
    if not -extent <= item < extent:
        text = f"getitem: position {item} is outside of axis {axis} of {show(x.shape)}"
        raise ShapeError(message(text, tensor=x.describe(), here=f"at {user_line()}"))
    return int(item) % extent, 1, 1


def _slice_bounds(item: slice, x: Tensor, axis: int, extent: int) -> tuple[int, Size, int]:
    try:
        positions = range(*item.indices(extent))
    except (TypeError, ValueError) as error:
        text = f"getitem: {item} is no slice: {error}"
        raise ArgumentTypeError(message(text, tensor=x.describe(), here=f"at {user_line()}")) from None
    if not positions:
        text = f"getitem: {item} of axis {axis} of {show(x.shape)} is empty"
        raise ShapeError(message(text, tensor=x.describe(), here=f"at {user_line()}"))
    return positions[0], len(positions), positions.step if len(positions) > 1 else 1


def _name(item: Any) -> str:
    return "a Tensor" if isinstance(item, Tensor) else repr(item)


# --- positions that are computed --------------------------------------------------------------------------


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
    positions = tensor(index, call)
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
    positions = check_index(index, classes)
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
