"""Tensors as other values of the parameters make them: averages, say."""

from __future__ import annotations

from collections.abc import Mapping

from lazyflow.append import graph_of
from lazyflow.compiler.graph import Op, Value, make
from lazyflow.compiler.rules import Type
from lazyflow.location import user_line
from lazyflow.runtime.collector import uncollected
from lazyflow.runtime.errors import ShapeError, message
from lazyflow.tensor import Tensor


def read_with(tensor: Tensor, values: Mapping[Tensor, Tensor]) -> Tensor:
    """A tensor as it would be if parameters had other values. Pure: legal anywhere in an open graph.

    Appends the ops between them once more; all others are shared.

    Args:
        tensor: What follows from the parameters.
        values: In place of a parameter (or of any Tensor), a Tensor of its shape and dtype.

    Returns:
        A Tensor of the shape and dtype of ``tensor``; itself, where it follows from none of them.

    Raises:
        ShapeError: if one of the values has another shape or dtype.
        GraphError: if a Tensor is of another graph.

    Example:
        >>> import lazyflow as lf
        >>> with lf.Graph() as graph:
        ...     w, ema = lf.Parameter([1.0], name="w"), lf.Variable([3.0], name="ema")
        ...     doubled = 2.0 * w
        ...     _ = graph.program("p", fetches={"w": doubled, "ema": read_with(doubled, {w: ema})})
        >>> lf.compile(graph).session(backend="numpy").run("p")
        {'w': array([2.], dtype=float32), 'ema': array([6.], dtype=float32)}
    """
    for old, new in values.items():
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            types = f"{Type(old.shape, old.dtype)}, what stands for it {Type(new.shape, new.dtype)}"
            text = f"read_with: {old.name!r} is {types}"
            raise ShapeError(message(text, value=new.describe(), here=f"at {user_line()}"))
    graph = graph_of((tensor, *values, *values.values()), "read_with")
    found: dict[Value, Value] = {old.value: new.value for old, new in values.items()}
    with uncollected():
        for op in _behind(tensor.value, graph.ir.ops):
            if op.output in found or not any(value in found for value in op.inputs):
                continue
            copied = make(
                op.primitive, [found.get(value, value) for value in op.inputs], op.attributes, op.origins
            )
            graph.append(copied)
            found.update(zip(op.outputs, copied.outputs, strict=True))
    return Tensor(graph, found.get(tensor.value, tensor.value))


def _behind(value: Value, ops: list[Op]) -> list[Op]:
    """The pure ops from which a value follows, in order."""
    needed = {value.op}
    for op in reversed(ops):
        if op in needed:
            needed.update(each.op for each in op.inputs)
    return [op for op in ops if op in needed and not op.primitive.effect]
