"""Functions that join, cut and pad tensors along axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lazyflow.append import append
from lazyflow.compiler import primitives
from lazyflow.compiler.rules import show
from lazyflow.location import user_line
from lazyflow.ops.function import (
    Gradient,
    attributes,
    common,
    composition,
    function,
    gradient_rule,
    one_axis,
    stored,
    tensor,
)
from lazyflow.ops.shaping import expand_dims, iota, reshaped, size_of
from lazyflow.runtime.dimensions import Size
from lazyflow.runtime.errors import ArgumentError, ArgumentTypeError, GraphError, ShapeError, message
from lazyflow.tensor import Tensor, TensorLike


@function
def concat(tensors: Sequence[TensorLike], axis: int = 0) -> Tensor:
    """The tensors one after the other along an axis.

    Args:
        tensors: One or more, of shapes that are equal outside of the axis.
        axis: The axis along which they are joined; it may be named.

    Returns:
        Tensor of the promoted dtype; its size along ``axis`` is the sum of theirs.

    Example:
        >>> import lazyflow as lf
        >>> with lf.Graph():
        ...     lf.concat([lf.placeholder("x", ("batch", 3)), lf.zeros((2, 3))])
        <Tensor 'concat' float32[batch + 2, 3]>
    """
    operands = _operands("concat", tensors)
    position = one_axis(axis, operands[0].ndim, "concat")
    return operands[0] if len(operands) == 1 else append(primitives.concat, *operands, axis=position)


@composition
def stack(tensors: Sequence[TensorLike], axis: int = 0) -> Tensor:
    """Tensors of one shape joined along a new axis."""
    operands = _operands("stack", tensors)
    if any(operand.shape != operands[0].shape for operand in operands):
        shapes = " and ".join(show(operand.shape) for operand in operands[:8])
        raise ShapeError(message(f"stack: shapes differ: {shapes}", here=f"at {user_line()}"))
    return concat([expand_dims(operand, axis) for operand in operands], axis)


def _operands(call: str, tensors: Sequence[TensorLike]) -> list[Tensor]:
    if not isinstance(tensors, list | tuple) or not tensors:
        raise ArgumentTypeError(
            message(f"{call}: {tensors!r} is no list of tensors", here=f"at {user_line()}")
        )
    return common(call, *tensors)


@composition
def split(x: TensorLike, parts: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """The tensor cut into parts along a static axis.

    Args:
        x: Tensor of any shape.
        parts: The number of equal parts, or the size of each part.
        axis: The axis to cut.

    Returns:
        One Tensor per part.

    Raises:
        ShapeError: if the axis is named, or the parts do not make it up exactly.
    """
    operand = tensor(x, "split")
    position = one_axis(axis, operand.ndim, "split")
    extent = operand.shape[position]
    sizes = list(parts) if isinstance(parts, list | tuple) else _equal_parts(extent, parts)
    if not isinstance(extent, int) or any(size < 1 for size in sizes) or sum(sizes) != extent:
        raise ShapeError(
            message(
                f"split: {parts} does not make up axis {position} of {show(operand.shape)}",
                expected="a static axis, and a number that divides it or sizes >= 1 whose sum it is",
                tensor=operand.describe(),
                here=f"at {user_line()}",
            )
        )
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [along(operand, position, start, size) for start, size in zip(starts, sizes, strict=True)]


def _equal_parts(extent: Size, parts: object) -> list[int]:
    if isinstance(parts, bool) or not isinstance(parts, int):
        raise ArgumentTypeError(message(f"split: {parts!r} is no number of parts and no list of sizes"))
    return [extent // parts] * parts if parts > 0 and isinstance(extent, int) else []


def along(x: Tensor, axis: int, start: int, size: Size, step: int = 1) -> Tensor:
    """``size`` elements of one axis, from ``start`` by ``step``; all of the others."""
    rank = range(x.ndim)
    return append(
        primitives.slice_,
        x,
        starts=tuple(start if i == axis else 0 for i in rank),
        sizes=tuple(size if i == axis else x.shape[i] for i in rank),
        steps=tuple(step if i == axis else 1 for i in rank),
    )


@function
def pad(x: TensorLike, widths: Any, value: bool | int | float = 0) -> Tensor:
    """The tensor with a border of one value.

    Args:
        x: Tensor of any shape.
        widths: ``(before, after)`` per axis, or one pair, or one number, for all axes.
        value: The element of the border.
    """
    operand = tensor(x, "pad")
    try:
        pairs = np.broadcast_to(np.asarray(widths), (operand.ndim, 2))
    except ValueError:
        pairs = np.array([[-1, -1]])
    if pairs.dtype.kind not in "iu" or (pairs < 0).any():
        raise ArgumentError(
            message(
                f"pad: widths {widths!r} do not fit {show(operand.shape)}",
                expected="integers >= 0: (before, after) per axis, or one for all axes",
                here=f"at {user_line()}",
            )
        )
    low, high = (tuple(map(int, side)) for side in pairs.T)
    return operand if not pairs.any() else padded(operand, low, high, value)


def padded(x: Tensor, low: tuple[int, ...], high: tuple[int, ...], value: bool | int | float = 0) -> Tensor:
    """``pad`` by widths that are known to fit."""
    return append(primitives.pad, x, low=low, high=high, value=stored(value, x.dtype).item())


def padded_axis(x: Tensor) -> int | None:
    """The axis, if it is one alone, along which a tensor of a static size was padded with zeros."""
    if x.value.op.primitive is not primitives.pad or attributes(x)["value"] != 0:
        return None
    sides = zip(attributes(x)["low"], attributes(x)["high"], strict=True)
    axes = [axis for axis, widths in enumerate(sides) if any(widths)]
    return axes[0] if len(axes) == 1 and isinstance(x.shape[axes[0]], int) else None


def joined(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Fewer tensors with the same sum, of tensors that have a ``padded_axis``: parts that touch are one.

    So the gradients of all parts of ``split`` come to one ``concat``.
    """
    runs: list[list[_Part]] = []
    for part in sorted(map(_part, tensors), key=lambda part: part[:2]):
        if runs and runs[-1][-1].axis == part.axis and runs[-1][-1].stop == part.start:
            runs[-1].append(part)
        else:
            runs.append([part])
    return [_side_by_side(run) for run in runs]


class _Part(NamedTuple):
    """Where the elements of a padded tensor stand along an axis."""

    axis: int
    start: int
    stop: int
    padded: Tensor


def _part(x: Tensor) -> _Part:
    axis = padded_axis(x)
    if axis is None:
        raise GraphError(f"joined: {x.name} is no part")
    extent: Any = x.shape[axis]
    return _Part(axis, attributes(x)["low"][axis], extent - attributes(x)["high"][axis], x)


def _side_by_side(run: list[_Part]) -> Tensor:
    axis, first, last = run[0].axis, run[0].padded, run[-1].padded
    if len(run) == 1:
        return first
    whole = concat([Tensor(part.padded.graph, part.padded.value.op.inputs[0]) for part in run], axis)
    low, high = attributes(first)["low"], attributes(last)["high"]
    return padded(whole, low, high) if any(low) or any(high) else whole


# --- gradient rules ---------------------------------------------------------------------------------------

Gradients = tuple[Gradient, ...]


@gradient_rule(primitives.concat)
def _(dy: Tensor, y: Tensor, *inputs: Tensor) -> Gradients:
    axis = attributes(y)["axis"]
    start: Size = 0
    result: list[Gradient] = []
    for x in inputs:
        result.append(lambda start=start, x=x: part(dy, axis, start, x.shape[axis]))  # type: ignore[misc]
        start = start + x.shape[axis]
    return tuple(result)


def part(x: Tensor, axis: int, start: Size, extent: Size) -> Tensor:
    """``extent`` elements of an axis that may be named, from ``start``."""
    if isinstance(x.shape[axis], int) and isinstance(start, int):
        return along(x, axis, start, extent)
    index = iota((extent,)) + size_of(start)  # strides cannot start at a size that is bound at run time
    return append(primitives.gather, x, index, axis=axis, along=False)


@gradient_rule(primitives.pad)
def _(dy: Tensor, y: Tensor, x: Tensor) -> Gradients:
    for axis, before in enumerate(attributes(y)["low"]):
        if dy.shape[axis] != x.shape[axis]:
            dy = part(dy, axis, before, x.shape[axis])
    return (dy,)


@gradient_rule(primitives.slice_)
def _(dy: Tensor, y: Tensor, x: Tensor) -> Gradients:
    given = attributes(y)
    for axis, (start, step) in enumerate(zip(given["starts"], given["steps"], strict=True)):
        dy = _scattered(dy, axis, start, step, x.shape[axis])
    return (dy,)


def _scattered(dy: Tensor, axis: int, start: int, step: int, extent: Size) -> Tensor:
    """The elements of one axis at ``start, start + step, ...`` of an axis of zeros."""
    count = dy.shape[axis]
    if count == extent and step == 1:
        return dy
    if not isinstance(count, int) or not isinstance(extent, int):
        raise ShapeError(f"slice: axis {axis} of {show(dy.shape)} is named")
    if step < 0:
        dy = along(dy, axis, count - 1, count, -1)
        start, step = start + (count - 1) * step, -step
    if count > 1 and step > 1:
        dy = _spread(dy, axis, step)
    low, high = [0] * dy.ndim, [0] * dy.ndim
    low[axis] = start
    high[axis] = extent - start - (1 + (count - 1) * step)
    return padded(dy, tuple(low), tuple(high)) if low[axis] or high[axis] else dy


def _spread(x: Tensor, axis: int, step: int) -> Tensor:
    """``step - 1`` zeros between the elements of an axis."""
    before, count, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    apart = reshaped(x, (*before, count, 1, *after))
    high = tuple(step - 1 if i == axis + 1 else 0 for i in range(apart.ndim))
    joined = reshaped(padded(apart, (0,) * apart.ndim, high), (*before, count * step, *after))
    return along(joined, axis, 0, count * step - (step - 1))
