"""Scalar bodies: IR ops written as the calls of :class:`lazyflow.runtime.schema.Call`.

Used by ``fuse`` for the kernels it makes and by ``batch_updates`` for the bodies of updates.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lazyflow.compiler import primitives
from lazyflow.compiler.graph import Graph, Op, Value
from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.dimensions import Size, elements
from lazyflow.runtime.dtypes import DType
from lazyflow.runtime.errors import GraphError


def number(value: Any) -> schema.Number:
    """A number as plans write it: non-finite floats are text.

    >>> number(np.float32(0.5)), number(float("-inf"))
    (0.5, '-inf')
    """
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, bool | int):
        return plain
    plain = float(plain)
    return plain if math.isfinite(plain) else str(plain)


class Body:
    """The calls of a body being written.

    Values are numbered while reads may still be added: a read is ``~position``, a call its position.
    """

    def __init__(self) -> None:
        self.calls: list[schema.Call] = []
        self._generated: dict[tuple[str, DType, str], int] = {}

    def call(self, op: str, args: tuple[int, ...], dtype: DType) -> int:
        """Append a call."""
        self.calls.append(schema.Call(op=op, args=args, dtype=dtypes.NAMES[dtype]))
        return len(self.calls) - 1

    def generate(self, op: str, value: schema.Number, dtype: DType) -> int:
        """A call without arguments; equal ones are written once."""
        key = (op, dtype, repr(value))
        if key not in self._generated:
            self.calls.append(schema.Call(op=op, dtype=dtypes.NAMES[dtype], value=value))
            self._generated[key] = len(self.calls) - 1
        return self._generated[key]

    def constant(self, op: Op) -> int:
        """The literal of a constant of one element."""
        return self.generate("literal", number(op.attributes["value"].reshape(())[()]), op.output.dtype)

    def size(self, size: Size) -> int:
        """The value of a dimension."""
        if isinstance(size, int):
            return self.generate("literal", size, dtypes.int64)
        return self.generate("size", str(size), dtypes.int64)

    def index(self, axis: int, dtype: DType) -> int:
        """The position on an axis of the space; 0 where the axis is none of the space's."""
        if axis < 0:
            return self.generate("literal", 0, dtype)
        position = self.generate("index", axis, dtypes.int64)
        return position if dtype == dtypes.int64 else self.call("cast", (position,), dtype)

    def element(self, op: Op, args: tuple[int, ...]) -> int:
        """The call of an elementwise op that has inputs."""
        return self.call(op.primitive.name, args, op.output.dtype)

    def reduction(self, op: Op, argument: int) -> int:
        """The call of a reduction over all inner axes."""
        return self.call(op.primitive.name, (argument,), op.output.dtype)

    def finished(self, reads: int) -> tuple[schema.Call, ...]:
        """The calls, with the numbers that they have behind that many reads."""
        return tuple(
            schema.Call(op=c.op, args=tuple(final(a, reads) for a in c.args), dtype=c.dtype, value=c.value)
            if c.args
            else c
            for c in self.calls
        )


def final(value: int, reads: int) -> int:
    """The number of a value once the number of reads is known."""
    return ~value if value < 0 else value + reads


def update_body(body: Graph) -> tuple[tuple[schema.Call, ...], tuple[int, ...]]:
    """The calls of an update's body and the numbers of the next values.

    Arguments are the body's placeholders in order. The inner axis is the flat segment.
    """
    placeholders = [op for op in body.ops if op.primitive is primitives.placeholder]
    writer = Body()
    values = {op.output: ~position for position, op in enumerate(placeholders)}
    program = body.programs["update"]
    for op in body.reachable([program]):
        if op.output not in values:
            values[op.output] = _in_update(writer, op, values)
    reads = len(placeholders)
    results = tuple(final(values[value], reads) for value in program.fetches.values())
    return writer.finished(reads), results


def _in_update(writer: Body, op: Op, values: dict[Value, int]) -> int:
    """The number of an op's value; a tensor of an update is flat or has one element."""
    primitive = op.primitive
    args = tuple(values[value] for value in op.inputs)
    if primitive is primitives.constant and op.attributes["value"].size == 1:
        return writer.constant(op)
    if primitive is primitives.size:
        size = op.attributes["size"]
        if isinstance(size, int):
            return writer.size(size)
        one = writer.generate("literal", 1, dtypes.int64)  # the segment's length: a sum of ones
        return writer.call("reduce_sum", (one,), dtypes.int64)
    if primitive is primitives.iota:
        axis = op.attributes["axis"]
        return writer.index(0 if op.output.shape[axis] != 1 else -1, op.output.dtype)
    if primitive is primitives.position:
        return writer.index(0 if elements(op.output.shape) != 1 else -1, dtypes.int64)
    if primitive.elementwise:
        return writer.element(op, args)
    if primitive.reduction:
        return _reduced_in_update(writer, op, args[0])
    if primitive.view and primitive is not primitives.slice_ and not primitive.can_fail:
        return args[0]
    raise GraphError(f"update: {primitive.name} cannot stand in the rule of an update, which is elementwise")


def _reduced_in_update(writer: Body, op: Op, argument: int) -> int:
    shape = op.inputs[0].shape
    if any(shape[axis] != 1 for axis in op.attributes["axes"]):
        return writer.reduction(op, argument)
    return writer.generate("literal", 0, op.output.dtype) if op.primitive is primitives.argmax else argument
