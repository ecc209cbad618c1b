"""Shape and dtype rules that primitives share: named, so that a primitive is a row of names.

A rule takes the operands' types and the op's attributes and gives the type of the result, or raises
ShapeError or DTypeError with a headline that the front completes with names and lines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from lazyflow.runtime import dtypes
from lazyflow.runtime.dimensions import Shape, Size, elements
from lazyflow.runtime.dtypes import DType
from lazyflow.runtime.errors import DTypeError, ShapeError


class Type(NamedTuple):
    """The shape and dtype of a value."""

    shape: Shape
    dtype: DType

    def __str__(self) -> str:
        return f"{dtypes.NAMES[self.dtype]}[{', '.join(map(str, self.shape))}]"


Attributes: TypeAlias = Mapping[str, Any]
ShapeRule: TypeAlias = Callable[[Sequence[Type], Attributes], Shape]
DTypeRule: TypeAlias = Callable[[Sequence[Type], Attributes], DType]


def show(shape: Shape) -> str:
    """A shape in the words of messages: names are quoted, as users wrote them.

    >>> from lazyflow.runtime.dimensions import named
    >>> show((named("batch"), 64))
    '("batch", 64)'
    """
    parts = [str(size) if isinstance(size, int) else f'"{size}"' for size in shape]
    return f"({parts[0]},)" if len(parts) == 1 else f"({', '.join(parts)})"


# --- shapes -----------------------------------------------------------------------------------------------


def broadcast_shapes(shapes: Sequence[Shape]) -> Shape:
    """The NumPy broadcast of the shapes; only a literal 1 stretches.

    Raises:
        ShapeError: if two sizes of one axis differ and neither is 1.
    """
    first = shapes[0]
    if shapes.count(first) == len(shapes):
        return first
    rank = max(map(len, shapes))
    result: list[Size] = [1] * rank
    for shape in shapes:
        for axis, size in enumerate(shape, start=rank - len(shape)):
            if result[axis] == 1:
                result[axis] = size
            elif size not in (1, result[axis]):
                raise ShapeError(f"shapes do not broadcast: {' and '.join(map(show, shapes))}")
    return tuple(result)


def broadcast(types: Sequence[Type], attributes: Attributes) -> Shape:
    """The broadcast of all operands."""
    return broadcast_shapes([type_.shape for type_ in types])


def same_shape(types: Sequence[Type], attributes: Attributes) -> Shape:
    """The shape of the first operand."""
    return types[0].shape


def given_shape(types: Sequence[Type], attributes: Attributes) -> Shape:
    """The attribute ``shape``."""
    shape: Shape = attributes["shape"]
    return shape


def scalar(types: Sequence[Type], attributes: Attributes) -> Shape:
    """Rank 0."""
    return ()


def reduced(types: Sequence[Type], attributes: Attributes) -> Shape:
    """The operand's shape without ``axes``, or with 1 in their place where ``keepdims``."""
    axes, keepdims = attributes["axes"], attributes["keepdims"]
    shape = types[0].shape
    if any(not 0 <= axis < len(shape) for axis in axes) or len(set(axes)) != len(axes):
        raise ShapeError(f"reduction: axes {axes} do not name distinct axes of {show(shape)}")
    if keepdims:
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def reshaped(types: Sequence[Type], attributes: Attributes) -> Shape:
    """The attribute ``shape``, which must hold as many elements as the operand."""
    shape: Shape = attributes["shape"]
    if elements(shape) != elements(types[0].shape):
        raise ShapeError(
            f"reshape: {show(types[0].shape)} has {elements(types[0].shape)} elements, "
            f"{show(shape)} has {elements(shape)}"
        )
    return shape


def transposed(types: Sequence[Type], attributes: Attributes) -> Shape:
    """The operand's axes in the order of ``axes``."""
    shape, axes = types[0].shape, attributes["axes"]
    if sorted(axes) != list(range(len(shape))):
        raise ShapeError(f"transpose: axes {axes} are not a permutation of the axes of {show(shape)}")
    return tuple(shape[axis] for axis in axes)


def broadcast_to(types: Sequence[Type], attributes: Attributes) -> Shape:
    """The attribute ``shape``, to which the operand must broadcast."""
    shape: Shape = attributes["shape"]
    if broadcast_shapes([types[0].shape, shape]) != shape:
        raise ShapeError(f"broadcast_to: {show(types[0].shape)} does not broadcast to {show(shape)}")
    return shape


def sliced(types: Sequence[Type], attributes: Attributes) -> Shape:
    """``sizes`` elements per axis, from ``starts`` by ``steps``; an axis taken whole may be named."""
    shape, sizes = types[0].shape, attributes["sizes"]
    bounds = zip(shape, attributes["starts"], sizes, attributes["steps"], strict=True)
    for axis, (extent, start, size, step) in enumerate(bounds):
        if (start, size, step) == (0, extent, 1):
            continue
        if not isinstance(extent, int):
            raise ShapeError(f"slice: axis {axis} of {show(shape)} is named; only static axes can be sliced")
        last = start + (size - 1) * step
        if size < 1 or not (0 <= start < extent and 0 <= last < extent) or step == 0:
            raise ShapeError(f"slice: {start} to {last} by {step} is outside of axis {axis} of {show(shape)}")
    return tuple(sizes)


def concatenated(types: Sequence[Type], attributes: Attributes) -> Shape:
    """All operands one after the other along ``axis``."""
    axis = attributes["axis"]
    first = types[0].shape
    total: Size = 0
    for type_ in types:
        rest = type_.shape[:axis] + type_.shape[axis + 1 :]
        if len(type_.shape) != len(first) or rest != first[:axis] + first[axis + 1 :]:
            shapes = " and ".join(show(t.shape) for t in types[:8])
            raise ShapeError(f"concat: shapes differ outside of axis {axis}: {shapes}")
        total = total + type_.shape[axis]
    return (*first[:axis], total, *first[axis + 1 :])


def padded(types: Sequence[Type], attributes: Attributes) -> Shape:
    """``low`` elements before and ``high`` after, per axis."""
    shape, low, high = types[0].shape, attributes["low"], attributes["high"]
    if len(low) != len(shape) or len(high) != len(shape) or min((*low, *high), default=0) < 0:
        raise ShapeError(f"pad: widths {low} and {high} do not fit {show(shape)}")
    return tuple(size + before + after for size, before, after in zip(shape, low, high, strict=True))


def multiplied(types: Sequence[Type], attributes: Attributes) -> Shape:
    """NumPy's matmul of operands of rank 2 or more: batch axes broadcast."""
    a, b = types[0].shape, types[1].shape
    if len(a) < 2 or len(b) < 2:
        raise ShapeError(f"matmul: operands need rank 2 or more: a is {show(a)}, b is {show(b)}")
    if a[-1] != b[-2]:
        raise ShapeError(f"matmul: inner dimensions differ: a is {show(a)}, b is {show(b)}")
    return (*broadcast_shapes([a[:-2], b[:-2]]), a[-2], b[-1])


def gathered(types: Sequence[Type], attributes: Attributes) -> Shape:
    """The table's shape with ``axis`` replaced by the index's axes; where ``along``, the index's shape."""
    table, index, axis = types[0].shape, types[1].shape, attributes["axis"]
    if not 0 <= axis < len(table):
        raise ShapeError(f"gather: axis {axis} is not an axis of {show(table)}")
    if not attributes["along"]:
        return (*table[:axis], *index, *table[axis + 1 :])
    if len(index) != len(table) or any(
        a != b for i, (a, b) in enumerate(zip(table, index, strict=True)) if i != axis
    ):
        raise ShapeError(f"gather: {show(index)} and {show(table)} differ outside of axis {axis}")
    return index


def scattered(types: Sequence[Type], attributes: Attributes) -> Shape:
    """The attribute ``shape``: that of the table whose gather has the shape of the source."""
    shape: Shape = attributes["shape"]
    source, index = types
    if gathered([Type(shape, source.dtype), index], attributes) != source.shape:
        raise ShapeError(f"scatter_add: a source of {show(source.shape)} does not fit {show(shape)}")
    return shape


# --- dtypes -----------------------------------------------------------------------------------------------


def _expect(ok: bool, dtype: DType, expected: str) -> None:
    if not ok:
        raise DTypeError(f"{dtype.name} is not accepted; expected {expected}")


def same(types: Sequence[Type], attributes: Attributes) -> DType:
    """The dtype that all operands share."""
    first = types[0].dtype
    if any(type_.dtype != first for type_ in types):
        raise DTypeError(f"dtypes differ: {', '.join(type_.dtype.name for type_ in types)}")
    return first


def numeric(types: Sequence[Type], attributes: Attributes) -> DType:
    """The shared dtype, which is not bool."""
    dtype = same(types, attributes)
    _expect(dtype != dtypes.bool_, dtype, "a number type (cast bool first)")
    return dtype


def floating(types: Sequence[Type], attributes: Attributes) -> DType:
    """The shared dtype, which is a floating type."""
    dtype = same(types, attributes)
    _expect(dtypes.is_floating(dtype), dtype, "a floating type")
    return dtype


def logical(types: Sequence[Type], attributes: Attributes) -> DType:
    """Bool, of bool operands."""
    dtype = same(types, attributes)
    _expect(dtype == dtypes.bool_, dtype, "bool")
    return dtype


def compared(types: Sequence[Type], attributes: Attributes) -> DType:
    """Bool, of operands of one dtype."""
    same(types, attributes)
    return dtypes.bool_


def selected(types: Sequence[Type], attributes: Attributes) -> DType:
    """The dtype of the second and third operand; the first is bool."""
    _expect(types[0].dtype == dtypes.bool_, types[0].dtype, "a bool condition")
    return same(types[1:], attributes)


def given_dtype(types: Sequence[Type], attributes: Attributes) -> DType:
    """The attribute ``dtype``."""
    dtype: DType = attributes["dtype"]
    return dtype


def int64(types: Sequence[Type], attributes: Attributes) -> DType:
    """Always int64."""
    return dtypes.int64


def philox_words(types: Sequence[Type], attributes: Attributes) -> DType:
    """uint32, of int64 operands."""
    for type_ in types:
        _expect(type_.dtype == dtypes.int64, type_.dtype, "int64")
    return dtypes.uint32


def indexed(types: Sequence[Type], attributes: Attributes) -> DType:
    """The dtype of the first operand; the second is an integer index."""
    _expect(dtypes.is_integer(types[1].dtype), types[1].dtype, "an integer type")
    return types[0].dtype


def integer(types: Sequence[Type], attributes: Attributes) -> DType:
    """The operand's dtype, which is an integer type."""
    _expect(dtypes.is_integer(types[0].dtype), types[0].dtype, "an integer type")
    return types[0].dtype
