"""``x[index]``: elements by positions that are known while the graph is built."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazyflow.append import append
from lazyflow.compiler import primitives
from lazyflow.compiler.rules import show
from lazyflow.location import user_line
from lazyflow.ops.function import function
from lazyflow.ops.joining import part
from lazyflow.ops.shaping import reshaped
from lazyflow.runtime.dimensions import Dimension, Size, at_least
from lazyflow.runtime.errors import ArgumentTypeError, ShapeError, message
from lazyflow.tensor import Tensor


@function
def getitem(x: Tensor, index: Any) -> Tensor:
    """``x[index]``: integers, slices, None and Ellipsis; steps other than 1 on static axes.

    On a named axis a position must lie inside for every size that the axis can have: ``x[-1]`` does.

    Raises:
        ShapeError: if a position lies outside of its axis, or may do so, or a slice is empty, or may be.
        ArgumentTypeError: if the index is something else (see ``take`` and ``gather`` for Tensors).
    """
    x, items = _cut_named(x, _completed(index if isinstance(index, tuple) else (index,), x))
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


def _cut_named(x: Tensor, items: list[Any]) -> tuple[Tensor, list[Any]]:
    """The parts that are taken of named axes, and what is left to be taken of them."""
    left, axis = list(items), 0
    for i, item in enumerate(items):
        if item is None:
            continue
        if not isinstance(x.shape[axis], int):
            _check_item(item, x, axis)
            start, count = _named_bounds(item, x, axis)
            left[i] = slice(None) if isinstance(item, slice) else 0
            x = x if count == x.shape[axis] else part(x, axis, start, count)
        axis += 1
    return x, left


def _named_bounds(item: Any, x: Tensor, axis: int) -> tuple[Size, Size]:
    """Start and number of elements along a named axis, certain to lie inside of it."""
    extent = x.shape[axis]
    if not isinstance(item, slice):
        start = _place(int(item), extent)
        stop = start + 1
    else:
        start = _place(0 if item.start is None else item.start, extent)
        stop = _place(extent if item.stop is None else item.stop, extent)
    certain = at_least(start, 0) and at_least(stop, start + 1) and at_least(extent, stop)
    if not certain or (isinstance(item, slice) and item.step not in (None, 1)):
        what = "only static axes have steps" if certain else f"not every size of it holds {_spelled(item)}"
        raise ShapeError(
            message(
                f"getitem: axis {axis} of {show(x.shape)} is named; {what}",
                tensor=x.describe(),
                here=f"at {user_line()}",
                hint="lf.take(x, index, axis) takes positions that are computed",
            )
        )
    return start, stop - start


def _place(position: Size, extent: Size) -> Size:
    return extent + position if isinstance(position, int) and position < 0 else position


def _bounds(item: Any, x: Tensor, axis: int) -> tuple[int, Size, int]:
    """Start, number of elements and step along an axis; all of it where it is named."""
    extent = x.shape[axis]
    if not isinstance(extent, int) or (isinstance(item, slice) and item == slice(None)):
        return 0, extent, 1
    _check_item(item, x, axis)
    if isinstance(item, slice):
        return _slice_bounds(item, x, axis, extent)
    if not -extent <= item < extent:
        text = f"getitem: position {item} is outside of axis {axis} of {show(x.shape)}"
        raise ShapeError(message(text, tensor=x.describe(), here=f"at {user_line()}"))
    return int(item) % extent, 1, 1


def _check_item(item: Any, x: Tensor, axis: int) -> None:
    if isinstance(item, bool | np.bool_) or not isinstance(item, int | np.integer | slice):
        raise ArgumentTypeError(
            message(
                f"getitem: {_spelled(item)} is no position",
                expected="integers, slices, None, Ellipsis",
                tensor=x.describe(),
                here=f"at {user_line()}",
                hint="lf.take(x, index, axis) or lf.gather for an index made of numbers, lf.where for a mask",
            )
        )
    if isinstance(item, slice) and not isinstance(x.shape[axis], int):
        bounds = (item.start, item.stop, item.step)
        if not all(bound is None or isinstance(bound, int | Dimension) for bound in bounds):
            text = f"getitem: {_spelled(item)} is no slice: bounds are integers, sizes or None"
            raise ArgumentTypeError(message(text, tensor=x.describe(), here=f"at {user_line()}"))


def _slice_bounds(item: slice, x: Tensor, axis: int, extent: int) -> tuple[int, Size, int]:
    try:
        positions = range(*item.indices(extent))
    except (TypeError, ValueError) as error:
        text = f"getitem: {_spelled(item)} is no slice: {error}"
        raise ArgumentTypeError(message(text, tensor=x.describe(), here=f"at {user_line()}")) from None
    if not positions:
        text = f"getitem: {_spelled(item)} of axis {axis} of {show(x.shape)} is empty"
        raise ShapeError(message(text, tensor=x.describe(), here=f"at {user_line()}"))
    return positions[0], len(positions), positions.step if len(positions) > 1 else 1


def _spelled(item: Any) -> str:
    """A position as its user writes it between the brackets."""
    if not isinstance(item, slice):
        return "a Tensor" if isinstance(item, Tensor) else repr(item)
    start, stop = ("" if bound is None else repr(bound) for bound in (item.start, item.stop))
    return f"{start}:{stop}" + ("" if item.step is None else f":{item.step!r}")
