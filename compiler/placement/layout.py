"""Where the elements of views are: strides and offsets that follow from those of the value looked at."""

from __future__ import annotations

from functools import lru_cache

from lazyflow.compiler import primitives
from lazyflow.compiler.graph import Layout, Op, Value
from lazyflow.runtime.dimensions import Shape, Size, divide, elements


@lru_cache(maxsize=4096)
def count(shape: Shape) -> Size:
    """The number of elements of a shape."""
    return elements(shape)


@lru_cache(maxsize=4096)
def dense(shape: Shape) -> Shape:
    """The strides of a row-major array without gaps.

    >>> dense((2, 3, 4))
    (12, 4, 1)
    """
    strides: list[Size] = []
    step: Size = 1
    for extent in reversed(shape):
        strides.append(step)
        step = step * extent
    return tuple(reversed(strides))


def is_dense(shape: Shape, strides: Shape) -> bool:
    """Whether the strides are those of :func:`dense`, wherever an axis has more than one element."""
    step: Size = 1
    for extent, stride in zip(reversed(shape), reversed(strides), strict=True):
        if extent == 1:
            continue
        if stride != step:
            return False
        step = step * extent
    return True


def viewed(op: Op, layout: Layout) -> Layout | None:
    """The layout of a view's output, given that of its input; None where strides cannot express it."""
    shape = op.inputs[0].shape
    attributes = op.attributes
    primitive = op.primitive
    buffer, offset, strides = layout
    if primitive is primitives.reshape:
        reshaped = _reshaped(shape, strides, op.output.shape)
        return None if reshaped is None else Layout(buffer, offset, reshaped)
    if primitive is primitives.transpose:
        return Layout(buffer, offset, tuple(strides[axis] for axis in attributes["axes"]))
    if primitive is primitives.broadcast_to:
        return Layout(buffer, offset, broadcast(shape, strides, op.output.shape))
    if primitive is primitives.slice_:
        for start, stride in zip(attributes["starts"], strides, strict=True):
            offset = offset + start * stride if start else offset
        steps = zip(strides, attributes["steps"], strict=True)
        return Layout(buffer, offset, tuple(stride * step for stride, step in steps))
    return layout


def broadcast(shape: Shape, strides: Shape, target: Shape) -> Shape:
    """The strides over ``target``, to which ``shape`` broadcasts: 0 along the axes that repeat."""
    added = len(target) - len(shape)
    kept = (
        0 if extent == 1 and wanted != 1 else stride
        for extent, stride, wanted in zip(shape, strides, target[added:], strict=True)
    )
    return (0,) * added + tuple(kept)


def _reshaped(shape: Shape, strides: Shape, target: Shape) -> Shape | None:
    """The strides over ``target``: each of its axes must lie inside one run of evenly spaced elements."""
    if is_dense(shape, strides):
        return dense(target)
    runs = _runs(shape, strides)
    result: list[Size] = []
    extent: Size = 1
    stride: Size = 1
    for wanted in reversed(target):
        if wanted == 1:
            result.append(1)
            continue
        if extent == 1:
            extent, stride = runs.pop()
        rest = divide(extent, wanted)
        if rest is None:
            return None
        result.append(stride)
        extent, stride = rest, stride * wanted
    return tuple(reversed(result))


def _runs(shape: Shape, strides: Shape) -> list[tuple[Size, Size]]:
    """The axes that have several elements, with neighbours joined where one stride walks both."""
    runs: list[tuple[Size, Size]] = []
    for extent, stride in zip(shape, strides, strict=True):
        if extent == 1:
            continue
        if runs and runs[-1][1] == stride * extent:
            runs[-1] = (runs[-1][0] * extent, stride)
        else:
            runs.append((extent, stride))
    return runs


def base_of(value: Value) -> tuple[Value, list[Op]]:
    """The value whose memory a chain of views looks at, and the views from it outwards."""
    chain: list[Op] = []
    while value.op.primitive.view:
        chain.append(value.op)
        value = value.op.inputs[0]
    return value, chain[::-1]


def over_base(value: Value) -> Layout | None:
    """The layout of a value in its base, which is stored densely; None where strides cannot express it."""
    base, chain = base_of(value)
    layout: Layout | None = Layout(0, 0, dense(base.shape))
    for op in chain:
        if layout is None:
            return None
        layout = viewed(op, layout)
    return layout


def is_flat(value: Value) -> bool:
    """Whether the elements lie one after the other from the start of the value's base."""
    if not value.op.primitive.view:
        return True
    layout = over_base(value)
    return layout is not None and layout.offset == 0 and is_dense(value.shape, layout.strides)
