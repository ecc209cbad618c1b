"""Making ops: ``append``, the one way to add an op to a graph; constants and placeholders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lazyflow.compiler import primitives
from lazyflow.compiler.graph import Origin, make
from lazyflow.compiler.primitives import Primitive
from lazyflow.context import GraphContext, current_graph
from lazyflow.location import user_line
from lazyflow.runtime import dtypes
from lazyflow.runtime.dimensions import Dimension, Shape, Size, named
from lazyflow.runtime.dtypes import DType
from lazyflow.runtime.errors import ArgumentTypeError, DTypeError, GraphError, ShapeError, message
from lazyflow.tensor import Array, Tensor, TensorLike


def append(primitive: Primitive, *inputs: Tensor, **attributes: Any) -> Tensor:
    """Append an op of one output to the inputs' graph.

    Raises:
        GraphError: if the inputs are of different graphs, or the graph is compiled.
        ShapeError, DTypeError: if they do not fit the primitive, with their names and lines.
    """
    graph = graph_of(inputs, primitive.name)
    origins = graph.origin(primitive.name)
    try:
        op = make(primitive, [tensor.value for tensor in inputs], attributes, origins)
    except (ShapeError, DTypeError) as error:
        raise type(error)(_explain(str(error), primitive, inputs, origins[0].location)) from None
    return Tensor(graph, graph.append(op).output)


def graph_of(inputs: Sequence[Tensor], call: str) -> GraphContext:
    """The open graph, which is that of all inputs.

    Raises:
        GraphError: if it is not, or no graph is open.
    """
    graph = current_graph(call)
    for tensor in inputs:
        _ = tensor.value  # a Parameter is adopted by the open graph
        if tensor.graph is not graph:
            raise GraphError(
                message(
                    f"{call}: a Tensor of another graph",
                    tensor=tensor.describe(),
                    here=f"at {user_line()}",
                    expected=f"Tensors of graph {graph.ir.name!r}, got one of {tensor.graph.ir.name!r}",
                    hint="make it inside this graph, or feed its value through a placeholder",
                )
            )
    return graph


def element_type(dtype: object) -> DType:
    """The dtype that a user's ``dtype=`` means.

    Raises:
        DTypeError: if lazyflow has no such element type.
    """
    try:
        return dtypes.as_dtype(dtype)
    except DTypeError as error:
        raise DTypeError(message(str(error), here=f"at {user_line()}")) from None


def _explain(text: str, primitive: Primitive, inputs: Sequence[Tensor], location: str) -> str:
    headline = text if text.startswith(primitive.name) else f"{primitive.name}: {text}"
    rows = {letter: tensor.describe() for letter, tensor in zip("abcdefgh", inputs, strict=False)}
    return message(headline, **rows, here=f"at {location}")


def constant(value: Any, dtype: object = None, name: str | None = None) -> Tensor:
    """A value that is part of the graph.

    Args:
        value: A number, an array, or nested lists. Arrays keep their dtype; lists of numbers become float32;
            a Python float is float32, an int int64, a bool, or a list of them, bool.
        dtype: The element type, unless given by the value.
        name: Its name in drawings.

    Returns:
        A Tensor of the value's shape.
    """
    current_graph("constant")
    return constant_of(_as_array(value, None if dtype is None else element_type(dtype)), name)


def constant_of(array: Array, name: str | None = None) -> Tensor:
    """An array that nobody changes, as a constant."""
    graph = current_graph("constant")
    op = make(primitives.constant, (), {"value": array}, graph.origin(name or "constant"))
    return Tensor(graph, graph.append(op).output)


def _as_array(value: Any, dtype: DType | None) -> Array:
    if isinstance(value, Tensor):
        raise ArgumentTypeError(message("constant: a Tensor is no constant", tensor=value.describe()))
    if isinstance(value, list | tuple) and any(isinstance(item, Tensor) for item in value):
        raise ArgumentTypeError(
            message("constant: a list of Tensors is no constant", hint="lf.stack(tensors)")
        )
    try:
        array: Array = np.array(value)
    except ValueError as error:
        raise ArgumentTypeError(f"constant: {value!r} is not a list of numbers: {error}") from None
    if not array.size:
        raise ShapeError(f"constant: an array of shape {array.shape} is empty; sizes are at least 1")
    if dtype is None and not isinstance(value, np.ndarray | np.generic):
        kind = dtypes.kind(array.dtype) if array.dtype.name in dtypes.ALL else None
        if kind is None:
            raise ArgumentTypeError(f"constant: {value!r} is not a number, an array or a list of numbers")
        dtype = dtypes.float32 if kind and array.ndim else dtypes.DEFAULT_OF_KIND[kind]
    array = array.astype(dtype if dtype is not None else element_type(array.dtype))
    array.setflags(write=False)
    return array


def as_tensor(value: TensorLike, dtype: DType | None = None) -> Tensor:
    """A Tensor as it is; a number or an array as a constant."""
    return value if isinstance(value, Tensor) else constant(value, dtype)


def placeholder(name: str, shape: Sequence[int | str | Dimension], dtype: object = dtypes.float32) -> Tensor:
    """A Tensor whose array is given at run time.

    Args:
        name: The name of the feed, unique in the graph.
        shape: Sizes of the axes, each at least 1; a string names a dimension that is bound at run time.
        dtype: The element type.

    Raises:
        GraphError: if no graph is open, or the name is taken.
        ShapeError: if a size is no positive integer, name or Dimension.
    """
    graph = current_graph("placeholder")
    if not isinstance(name, str) or not name:
        raise ArgumentTypeError(f"placeholder: name {name!r} is not a name; expected a string")
    attributes = {"name": name, "shape": as_shape(shape, "placeholder"), "dtype": element_type(dtype)}
    feeds: dict[str, str] = graph.shared.setdefault("placeholders", {})
    if name in feeds:
        raise GraphError(
            message(
                f"placeholder: the name {name!r} is taken",
                first=f"made at {feeds[name]}",
                second=f"made at {user_line()}",
                hint="use the first one, or give another name",
            )
        )
    op = make(primitives.placeholder, (), attributes, (Origin(name, user_line()),))
    graph.append(op)
    feeds[name] = op.origins[0].location
    return Tensor(graph, op.output)


def as_shape(shape: Any, call: str) -> Shape:
    """A tuple of sizes from ints, names and Dimensions.

    Raises:
        ShapeError: if one of them is none of these, or below 1.
    """
    if isinstance(shape, int | str | Dimension):
        shape = (shape,)
    sizes: list[Size] = []
    for size in shape:
        if isinstance(size, str):
            size = named(size)
        if isinstance(size, np.integer):
            size = int(size)
        if (
            isinstance(size, bool)
            or not isinstance(size, int | Dimension)
            or (isinstance(size, int) and size < 1)
        ):
            raise ShapeError(
                message(
                    f"{call}: {size!r} in shape {tuple(shape)} is no size",
                    expected="integers >= 1, and strings that name dimensions bound at run time",
                    here=f"at {user_line()}",
                    hint='a name such as "batch", for a size that differs from run to run'
                    if size is None or size == -1
                    else None,
                )
            )
        sizes.append(size)
    return tuple(sizes)
