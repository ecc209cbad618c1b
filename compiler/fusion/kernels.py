"""The kernel op of a fusion group: its body, its reads, and how they walk the space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from lazyflow.compiler import primitives
from lazyflow.compiler.fusion.groups import Unit
from lazyflow.compiler.fusion.sources import Link, Sources
from lazyflow.compiler.graph import Op, Origin, Value
from lazyflow.compiler.lower import Body, final
from lazyflow.runtime import dtypes
from lazyflow.runtime.dimensions import Shape, elements
from lazyflow.runtime.dtypes import DType

Read: TypeAlias = tuple[Value, Link]  # a source, and for each of its axes the domain's axis


class KernelBody:
    """Writes the body of a group's kernel; ops are added in order."""

    def __init__(self, unit: Unit, sources: Sources) -> None:
        self.reads: dict[Read, int] = {}
        self._unit = unit
        self._sources = sources
        self._body = Body()
        self._numbers: dict[Value, int] = {}
        self._inline: dict[Read, int] = {}
        inner = sorted(unit.inner or ())
        self._axes = [*unit.rows, *inner]  # the domain's axes in the order of the space
        self._inner = len(inner)

    def add(self, op: Op) -> None:
        """Write an op of the group."""
        unit = self._unit
        if op.primitive.reduction:
            axes = unit.inputs.get(op, ())
            self._numbers[op.output] = self._reduction(op, self._operand(op.inputs[0], axes))
        else:
            self._numbers[op.output] = self._element(op, unit.axes[op.output])

    def _reduction(self, op: Op, argument: int) -> int:
        if self._inner:
            return self._body.reduction(op, argument)
        return self._body.index(-1, op.output.dtype)  # argmax over one element

    def _element(self, op: Op, axes: Link) -> int:
        if op.primitive is primitives.constant:
            return self._body.constant(op)
        if op.primitive is primitives.size:
            return self._body.size(op.attributes["size"])
        if op.primitive is primitives.iota:
            axis = axes[op.attributes["axis"]]
            return self._index(axis, op.output.dtype)
        if op.primitive is primitives.position:
            return self._position(op.output.shape, axes)
        rank = len(axes)
        args = tuple(self._operand(value, axes[rank - len(value.shape) :]) for value in op.inputs)
        return self._body.element(op, args)

    def _index(self, axis: int, dtype: DType) -> int:
        """The position on an axis of the domain."""
        return self._body.index(self._axes.index(axis) if axis >= 0 else -1, dtype)

    def _position(self, shape: Shape, axes: Link) -> int:
        """The number of an element of this shape, whose axes walk these axes of the domain."""
        found = None
        for axis in reversed([axis for axis, at in enumerate(axes) if at >= 0]):
            step = self._index(axes[axis], dtypes.int64)
            stride = elements(shape[axis + 1 :])
            if stride != 1:
                step = self._body.call("mul", (step, self._body.size(stride)), dtypes.int64)
            found = step if found is None else self._body.call("add", (found, step), dtypes.int64)
        return self._index(-1, dtypes.int64) if found is None else found

    def _operand(self, value: Value, axes: Link) -> int:
        """The number of a value whose axes walk these axes of the domain."""
        source, link = self._sources.trace(value)
        if source in self._numbers and not self._sources.inline(source):
            return self._numbers[source]
        at = tuple(axes[axis] if axis >= 0 else -1 for axis in link)
        if self._sources.inline(source):
            if (source, at) not in self._inline:
                self._inline[source, at] = self._element(source.op, at)
            return self._inline[source, at]
        return ~self.reads.setdefault((source, at), len(self.reads))

    def kernel(self, inputs: Sequence[Value], outputs: Sequence[Value]) -> Op:
        """The op.

        Args:
            inputs: The new values in place of the sources of ``reads``.
            outputs: The values of the group that are used outside of it.
        """
        count = len(inputs)
        maps = [self._map(at) for _, at in self.reads]
        maps += [self._map(self._unit.axes[value]) for value in outputs]
        types = tuple(value.type for value in outputs)
        attributes = {
            "space": tuple(self._unit.domain[axis] for axis in self._axes),
            "inner": self._inner,
            "body": self._body.finished(count),
            "maps": tuple(maps),
            "results": tuple(final(self._numbers[value], count) for value in outputs),
            "types": types,
        }
        return Op(primitives.kernel, tuple(inputs), attributes, types, self._origins())

    def _map(self, at: Link) -> tuple[int, ...]:
        walked = {axis: position for position, axis in enumerate(at) if axis >= 0}
        return tuple(walked.get(axis, -1) for axis in self._axes)

    def _origins(self) -> tuple[Origin, ...]:
        return tuple(dict.fromkeys(origin for op in self._unit.ops for origin in op.origins))
