"""Functions that view elements in other shapes, and tensors made of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lazyflow.append import append, as_shape, element_type
from lazyflow.compiler import primitives
from lazyflow.compiler.rules import show
from lazyflow.location import user_line
from lazyflow.ops.function import (
    Gradient,
    all_axes,
    attributes,
    check_open,
    composition,
    function,
    gradient_rule,
    no_gradient,
    number,
    one_axis,
    tensor,
)
from lazyflow.runtime import dtypes
from lazyflow.runtime.dimensions import Dimension, Shape, Size, divide, elements
from lazyflow.runtime.dtypes import DType
from lazyflow.runtime.errors import ArgumentError, ShapeError, message
from lazyflow.tensor import Axis, Tensor, TensorLike

# --- views ------------------------------------------------------------------------------------------------


@function
def reshape(x: TensorLike, shape: Any) -> Tensor:
    """The same elements, in the same order, in another shape.

    Args:
        x: Tensor of any shape.
        shape: Sizes: integers, names or Dimensions; one may be -1 and is computed from the others.

    Returns:
        Tensor of that shape.

    Raises:
        ShapeError: if the number of elements differs, or -1 does not divide exactly.

    Example:
        >>> import lazyflow as lf
        >>> with lf.Graph():
        ...     lf.reshape(lf.placeholder("x", ("batch", 8, 8)), (-1, 16))
        <Tensor 'reshape' float32[4*batch, 16]>
    """
    operand = tensor(x, "reshape")
    sizes = shape if isinstance(shape, list | tuple) else (shape,)
    holes = [axis for axis, size in enumerate(sizes) if isinstance(size, int | np.integer) and size == -1]
    if len(holes) > 1:
        raise ShapeError(message(f"reshape: {tuple(sizes)} has more than one -1", here=f"at {user_line()}"))
    if not holes:
        return reshaped(operand, as_shape(sizes, "reshape"))
    known = as_shape([size for axis, size in enumerate(sizes) if axis != holes[0]], "reshape")
    missing = divide(elements(operand.shape), elements(known))
    if missing is None:
        raise ShapeError(
            message(
                f"reshape: {show(operand.shape)} does not divide into {tuple(sizes)}",
                expected=f"a multiple of {elements(known)} elements, got {elements(operand.shape)}",
                tensor=operand.describe(),
                here=f"at {user_line()}",
            )
        )
    return reshaped(operand, (*known[: holes[0]], missing, *known[holes[0] :]))


def reshaped(x: Tensor, shape: Shape) -> Tensor:
    """``x`` in a shape that is known to be one; ``x`` itself where it has it."""
    return x if x.shape == shape else append(primitives.reshape, x, shape=shape)


@function
def transpose(x: TensorLike, axes: Sequence[int] | None = None) -> Tensor:
    """The axes in another order.

    Args:
        x: Tensor of any shape.
        axes: The axis of ``x`` that each axis of the result is; reversed unless given.
    """
    operand = tensor(x, "transpose")
    if axes is None:
        order = tuple(range(operand.ndim))[::-1]
    else:
        order = tuple(one_axis(axis, operand.ndim, "transpose") for axis in axes)
    if order == tuple(range(operand.ndim)):
        return operand
    return append(primitives.transpose, operand, axes=order)


@function
def swapaxes(x: TensorLike, a: int, b: int) -> Tensor:
    """The axes ``a`` and ``b`` exchanged."""
    operand = tensor(x, "swapaxes")
    order = list(range(operand.ndim))
    first, second = one_axis(a, operand.ndim, "swapaxes"), one_axis(b, operand.ndim, "swapaxes")
    order[first], order[second] = second, first
    return transpose(operand, order)


@function
def broadcast_to(x: TensorLike, shape: Any) -> Tensor:
    """The elements repeated along new axes and along axes of size 1, without a copy.

    Args:
        x: Tensor of any shape.
        shape: Sizes: integers, names or Dimensions.
    """
    operand, sizes = tensor(x, "broadcast_to"), as_shape(shape, "broadcast_to")
    return operand if operand.shape == sizes else append(primitives.broadcast_to, operand, shape=sizes)


@function
def expand_dims(x: TensorLike, axis: Axis) -> Tensor:
    """New axes of size 1, at the given positions of the result."""
    operand = tensor(x, "expand_dims")
    count = len(axis) if isinstance(axis, list | tuple) else 1
    axes = all_axes(axis, operand.ndim + count, "expand_dims")
    sizes = iter(operand.shape)
    shape = tuple(1 if i in axes else next(sizes) for i in range(operand.ndim + count))
    return reshaped(operand, shape)


@function
def squeeze(x: TensorLike, axis: Axis = None) -> Tensor:
    """Without the given axes of size 1, or without all of them.

    Raises:
        ShapeError: if one of the axes given has another size.
    """
    operand = tensor(x, "squeeze")
    axes = all_axes(axis, operand.ndim, "squeeze")
    ones = [i for i in axes if operand.shape[i] == 1]
    if axis is not None and len(ones) != len(axes):
        raise ShapeError(
            message(
                f"squeeze: axis {axis} of {show(operand.shape)} is not of size 1",
                tensor=operand.describe(),
                here=f"at {user_line()}",
            )
        )
    return reshaped(operand, tuple(size for i, size in enumerate(operand.shape) if i not in ones))


@composition
def stop_gradient(x: TensorLike) -> Tensor:
    """The same values, taken as a constant by gradients."""
    operand = tensor(x, "stop_gradient")
    result = append(primitives.reshape, operand, shape=operand.shape)
    result.graph.shared.setdefault("stopped", set()).add(result.value)
    return result


# --- constants --------------------------------------------------------------------------------------------


@function
def full(shape: Any, value: bool | int | float, dtype: object = None) -> Tensor:
    """One number everywhere.

    Args:
        shape: Sizes: integers, names or Dimensions.
        value: The number.
        dtype: The element type; float32, int64 or bool by the number's kind unless given.
    """
    return _filled("full", shape, value, dtype)


def _filled(call: str, shape: Any, value: bool | int | float, dtype: object) -> Tensor:
    check_open(call)
    sizes = as_shape(shape, call)
    return broadcast_to(tensor(value, call) if dtype is None else number(value, element_type(dtype)), sizes)


@function
def zeros(shape: Any, dtype: object = dtypes.float32) -> Tensor:
    """Zeros of the given shape."""
    return _filled("zeros", shape, 0, dtype)


@function
def ones(shape: Any, dtype: object = dtypes.float32) -> Tensor:
    """Ones of the given shape."""
    return _filled("ones", shape, 1, dtype)


@function
def full_like(x: Tensor, value: bool | int | float, dtype: object = None) -> Tensor:
    """One number, in the shape of ``x`` and in its dtype unless another is given."""
    operand = tensor(x, "full_like")
    return full(operand.shape, value, operand.dtype if dtype is None else dtype)


@function
def zeros_like(x: Tensor, dtype: object = None) -> Tensor:
    """Zeros in the shape of ``x``."""
    return full_like(x, 0, dtype)


@function
def ones_like(x: Tensor, dtype: object = None) -> Tensor:
    """Ones in the shape of ``x``."""
    return full_like(x, 1, dtype)


@function
def iota(shape: Any, axis: int = 0, dtype: object = dtypes.int64) -> Tensor:
    """The position of each element along an axis: 0, 1, 2, ...

    Args:
        shape: Sizes: integers, names or Dimensions.
        axis: The axis that is counted.
        dtype: The element type.
    """
    sizes = as_shape(shape, "iota")
    position = one_axis(axis, len(sizes), "iota")
    return append(primitives.iota, shape=sizes, dtype=element_type(dtype), axis=position)


@composition
def arange(
    start: float | Dimension, stop: float | None = None, step: float = 1, dtype: object = None
) -> Tensor:
    """The numbers ``start, start + step, ...`` below ``stop``; from 0 where only one is given.

    Args:
        start: The first number; the stop (which may be a Dimension) where it is the only one.
        stop: Where to end, exclusive.
        step: The distance, not 0.
        dtype: int64 where all numbers are integers, else float32, unless given.
    """
    numbers = [n for n in (start, stop, step) if not isinstance(n, Dimension)]
    floats = any(isinstance(n, float) for n in numbers if n is not None)
    found = element_type(dtype if dtype is not None else dtypes.float32 if floats else dtypes.int64)
    if isinstance(start, Dimension) or stop is None:
        count = start if isinstance(start, Dimension) else _count(0, start, step)
        return iota((count,), dtype=found)
    positions = iota((_count(start, stop, step),), dtype=found)
    return _affine(positions, start, step, found)


def _count(start: int | float, stop: int | float, step: int | float) -> int:
    count = int(np.ceil((stop - start) / step)) if step else 0
    if count < 1:
        raise ArgumentError(
            message(
                f"arange: {start} to {stop} by {step} is empty",
                expected="at least one number",
                here=f"at {user_line()}",
            )
        )
    return count


def _affine(x: Tensor, start: int | float, step: int | float, dtype: DType) -> Tensor:
    scaled = x if step == 1 else append(primitives.mul, x, number(step, dtype))
    return scaled if start == 0 else append(primitives.add, scaled, number(start, dtype))


@function
def size(x: TensorLike, axis: int | None = None) -> Tensor:
    """The size of an axis, or the number of elements, as an int64 scalar; named ones too."""
    operand = tensor(x, "size")
    if axis is None:
        return size_of(elements(operand.shape))
    return size_of(operand.shape[one_axis(axis, operand.ndim, "size")])


def size_of(extent: Size) -> Tensor:
    """A size as an int64 scalar."""
    return number(extent, dtypes.int64) if isinstance(extent, int) else append(primitives.size, size=extent)


# --- gradient rules ---------------------------------------------------------------------------------------

Gradients = tuple[Gradient, ...]


@gradient_rule(primitives.reshape)
def _(dy: Tensor, y: Tensor, x: Tensor) -> Gradients:
    return (reshaped(dy, x.shape),)


@gradient_rule(primitives.transpose)
def _(dy: Tensor, y: Tensor, x: Tensor) -> Gradients:
    return (transpose(dy, [int(axis) for axis in np.argsort(attributes(y)["axes"])]),)


@gradient_rule(primitives.broadcast_to)
def _(dy: Tensor, y: Tensor, x: Tensor) -> Gradients:
    return (dy,)  # summed to the shape of x, as all gradients are


@gradient_rule(primitives.copy)
def _(dy: Tensor, y: Tensor, x: Tensor) -> Gradients:
    return (dy,)


no_gradient(primitives.iota, primitives.size)
