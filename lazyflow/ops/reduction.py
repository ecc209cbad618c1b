"""Functions that reduce axes: sum, mean, max, min, argmax, var, logsumexp.

Half types are summed in float32, integers and bools in int64. ``axis`` is None (all axes), an integer or a
tuple; axes may be named.
"""

from __future__ import annotations

from lazyflow.append import append
from lazyflow.compiler import primitives
from lazyflow.compiler.primitives import Primitive
from lazyflow.ops.comparison import eq, isfinite
from lazyflow.ops.elementwise import cast, exp, log, where
from lazyflow.ops.function import (
    Gradient,
    all_axes,
    attributes,
    composition,
    function,
    gradient_rule,
    no_gradient,
    number,
    one_axis,
    real,
    tensor,
)
from lazyflow.ops.shaping import broadcast_to, reshaped, size_of, stop_gradient
from lazyflow.runtime import dtypes
from lazyflow.runtime.dimensions import Shape, Size, elements
from lazyflow.runtime.dtypes import DType
from lazyflow.runtime.errors import ArgumentError
from lazyflow.tensor import Axis, Tensor, TensorLike


def _reduce(primitive: Primitive, x: Tensor, axis: Axis, keepdims: bool, call: str) -> Tensor:
    axes = all_axes(axis, x.ndim, call)
    return append(primitive, x, axes=axes, keepdims=bool(keepdims)) if axes else x


@function
def sum(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The sum over the given axes, or over all.

    Args:
        x: Tensor of any shape.
        axis: None, an integer or a tuple of them.
        keepdims: Whether the reduced axes stay, with size 1.

    Returns:
        Tensor of x's dtype; int64 for integers and bools.
    """
    operand = tensor(x, "sum")
    if not dtypes.is_floating(operand.dtype):
        operand = cast(operand, dtypes.int64)
    return _reduce(primitives.reduce_sum, operand, axis, keepdims, "sum")


@function
def max(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest element over the given axes, NaN if there is one; equals share the gradient evenly."""
    return _reduce(primitives.reduce_max, tensor(x, "max"), axis, keepdims, "max")


@function
def min(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest element over the given axes, NaN if there is one; equals share the gradient evenly."""
    return _reduce(primitives.reduce_min, tensor(x, "min"), axis, keepdims, "min")


@composition
def mean(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The mean over the given axes, or over all; of integers as float32.

    Args:
        x: Tensor of any shape.
        axis: None, an integer or a tuple of them.
        keepdims: Whether the reduced axes stay, with size 1.

    Returns:
        Tensor of x's dtype; half types are summed and divided in float32, then cast back.
    """
    operand = real(x, "mean")
    axes = all_axes(axis, operand.ndim, "mean")
    return cast(_mean(_widened(operand), axes, keepdims), operand.dtype)


def _widened(x: Tensor) -> Tensor:
    return cast(x, dtypes.float32) if x.dtype in dtypes.HALF else x


def _mean(x: Tensor, axes: tuple[int, ...], keepdims: bool, ddof: int = 0) -> Tensor:
    return sum(x, axes, keepdims) / count(elements(x.shape[axis] for axis in axes), x.dtype, ddof)


def count(extent: Size, dtype: DType, less: int = 0) -> Tensor:
    """A number of elements, less a number, as a divisor."""
    rest = extent - less
    return number(rest, dtype) if isinstance(rest, int) else cast(size_of(rest), dtype)


@composition
def var(x: TensorLike, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
    """The variance over the given axes, or over all: the mean of ``(x - mean(x))**2``.

    Args:
        x: Tensor of any shape.
        axis: None, an integer or a tuple of them.
        ddof: What is taken from the number of elements that divides: 1 for the sample variance.
        keepdims: Whether the reduced axes stay, with size 1.

    Returns:
        Tensor of x's dtype; float32 for integers. NaN or infinite where ``ddof`` leaves no element.
    """
    if isinstance(ddof, bool) or not isinstance(ddof, int) or ddof < 0:
        raise ArgumentError(f"var: ddof {ddof!r} is out of range; expected an integer >= 0")
    operand = real(x, "var")
    axes = all_axes(axis, operand.ndim, "var")
    wide = _widened(operand)
    centred = wide - _mean(wide, axes, keepdims=True)
    return cast(_mean(centred * centred, axes, keepdims, ddof), operand.dtype)


@composition
def logsumexp(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """``log(sum(exp(x)))`` over the given axes, without overflow: the largest element is taken out first.

    Args:
        x: Tensor of any shape.
        axis: None, an integer or a tuple of them.
        keepdims: Whether the reduced axes stay, with size 1.

    Returns:
        Tensor of x's dtype; float32 for integers. -inf where all elements are -inf.
    """
    operand = real(x, "logsumexp")
    axes = all_axes(axis, operand.ndim, "logsumexp")
    wide = _widened(operand)
    largest = stop_gradient(max(wide, axes, keepdims=True))  # it cancels, so its gradient would be a detour
    shift = where(isfinite(largest), largest, 0.0)
    total = log(sum(exp(wide - shift), axes, keepdims=True)) + shift
    kept = total if keepdims else reshaped(total, _without(operand.shape, axes))
    return cast(kept, operand.dtype)


def _without(shape: Shape, axes: tuple[int, ...]) -> Shape:
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


@function
def argmax(x: TensorLike, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The position of the first largest element, as int64; NaN counts as the largest.

    Args:
        x: Tensor of any shape.
        axis: The axis along which to search; None: in the flattened tensor.
        keepdims: Whether the searched axes stay, with size 1.
    """
    operand = tensor(x, "argmax")
    if axis is not None:
        axes = (one_axis(axis, operand.ndim, "argmax"),)
        return append(primitives.argmax, operand, axes=axes, keepdims=bool(keepdims))
    flat = reshaped(operand, (elements(operand.shape),))
    found = append(primitives.argmax, flat, axes=(0,), keepdims=False)
    return reshaped(found, (1,) * operand.ndim) if keepdims else found


def summed_to(x: Tensor, shape: Shape) -> Tensor:
    """``x`` summed over the axes along which ``shape`` was broadcast to x's shape."""
    if x.shape == shape:
        return x
    new = x.ndim - len(shape)
    grown = (axis for axis, size in enumerate(shape, start=new) if size == 1 and x.shape[axis] != 1)
    axes = (*range(new), *grown)
    return reshaped(append(primitives.reduce_sum, x, axes=axes, keepdims=False), shape)


# --- gradient rules ---------------------------------------------------------------------------------------

Gradients = tuple[Gradient, ...]


def _kept(reduced: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """A tensor of the shape of ``y`` with the reduced axes of ``x`` back, of size 1."""
    axes = attributes(y)["axes"]
    return reshaped(reduced, tuple(1 if axis in axes else size for axis, size in enumerate(x.shape)))


@gradient_rule(primitives.reduce_sum)
def _(dy: Tensor, y: Tensor, x: Tensor) -> Gradients:
    return (broadcast_to(_kept(dy, y, x), x.shape),)


@gradient_rule(primitives.reduce_max)
@gradient_rule(primitives.reduce_min)
def _(dy: Tensor, y: Tensor, x: Tensor) -> Gradients:
    chosen = cast(eq(x, _kept(y, y, x)), x.dtype)
    share = _kept(dy, y, x) / sum(chosen, attributes(y)["axes"], keepdims=True)
    return (chosen * share,)  # a product, so that NaN among the elements is not hidden


no_gradient(primitives.argmax)
