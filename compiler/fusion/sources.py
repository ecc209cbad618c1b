"""What kernel ops read: views that an index can absorb are, and what is cheap is computed anew."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from lazyflow.compiler import primitives
from lazyflow.compiler.graph import Op, Program, Value
from lazyflow.runtime.dimensions import Shape

Link: TypeAlias = tuple[int, ...]  # for each axis of a source, the axis of the value that walks it, or -1

LARGEST_INLINE = 8  # ops that are computed anew in each kernel that uses them


class Sources:
    """For every value of a program: the source that kernels read for it, and whether they compute it inline.

    Transposes, broadcasts and reshapes that add or remove axes of one element are absorbed: a kernel reads
    what they look at along other axes. Constants of one element, sizes, ``iota`` and cheap ops on nothing but
    these are inline: each kernel that uses them computes them.

    Args:
        ops: The program's ops in order.
        program: The program.
        deep: Whether ops on inline values may be inline; else only those without inputs.
    """

    def __init__(self, ops: Sequence[Op], program: Program, deep: bool) -> None:
        self._links: dict[Value, tuple[Value, Link]] = {}
        self._inline: dict[Value, int] = {}
        self._memory: dict[Value, Value] = {}
        self.wanted: set[Value] = set()  # sources that something other than a kernel needs in memory
        for op in ops:
            if is_view(op):  # in order, so that no chain of views is walked twice
                self.trace(op.output)
                self._memory[op.output] = self.memory(op.inputs[0])
        self._note_wanted(ops, program)
        for op in ops:
            if op.primitive is primitives.constant and op.attributes["value"].size == 1:
                self._inline[op.output] = 0
            elif op.primitive.elementwise and not op.primitive.costly and (deep or not op.inputs):
                self._note_inline(op)

    def _note_inline(self, op: Op) -> None:
        if op.inputs and op.output in self.wanted:
            return
        counts = [self._inline.get(self.trace(value)[0], LARGEST_INLINE) for value in op.inputs]
        if sum(counts) < LARGEST_INLINE:
            self._inline[op.output] = sum(counts) + 1

    def _note_wanted(self, ops: Iterable[Op], program: Program) -> None:
        self.wanted.update(self.memories(program.fetches.values()))
        for op in ops:
            if is_kernel_op(op):
                sources = (self.trace(value)[0] for value in op.inputs)
                self.wanted.update(self._memory[source] for source in sources if source in self._memory)
            elif not self.is_view(op):
                self.wanted.update(self.memories(op.inputs))

    def is_view(self, op: Op) -> bool:
        """Whether the op of this program is no work at all."""
        return bool(op.outputs) and op.output in self._memory

    def memory(self, value: Value) -> Value:
        """The value that something computes or gives, at the bottom of a chain of views."""
        return self._memory.get(value, value)

    def memories(self, values: Iterable[Value]) -> list[Value]:
        """The same of several values."""
        memory = self._memory.get
        return [memory(value, value) for value in values]

    def inline(self, source: Value) -> bool:
        """Whether kernels compute the source anew."""
        return source in self._inline

    def trace(self, value: Value) -> tuple[Value, Link]:
        """The source that a kernel reads for a value, and how its axes lie on the value's."""
        known = self._links.get(value)
        if known is not None:
            return known
        step = _absorbed(value.op)
        if step is None:
            link = tuple(axis if extent != 1 else -1 for axis, extent in enumerate(value.shape))
            result = (value, link)
        else:
            source, inner = self.trace(value.op.inputs[0])
            result = (source, tuple(step[axis] if axis >= 0 else -1 for axis in inner))
        self._links[value] = result
        return result


def is_view(op: Op) -> bool:
    """Whether the op is no work at all: its output is its input's memory. A check of an index is work."""
    return (op.primitive.view and not op.primitive.can_fail) or _reduces_nothing(op)


def is_kernel_op(op: Op) -> bool:
    """Whether the op becomes part of a kernel."""
    return op.primitive.elementwise or (op.primitive.reduction and not _reduces_nothing(op))


def memory_of(value: Value) -> Value:
    """The value that something computes or gives, at the bottom of a chain of views."""
    while is_view(value.op):
        value = value.op.inputs[0]
    return value


def _reduces_nothing(op: Op) -> bool:
    """Whether a reduction runs over axes of one element only, and so gives its input."""
    if not op.primitive.reduction or op.primitive is primitives.argmax:
        return False
    shape = op.inputs[0].shape
    return all(shape[axis] == 1 for axis in op.attributes["axes"])


def _absorbed(op: Op) -> Link | None:
    """For each axis of a view's input the output's axis, or -1 for one element; None: not absorbed."""
    primitive = op.primitive
    if primitive is primitives.transpose:
        axes = op.attributes["axes"]
        order: list[int] = [0] * len(axes)
        for position, axis in enumerate(axes):
            order[axis] = position
        return tuple(order)
    if primitive is primitives.broadcast_to:
        shape = op.inputs[0].shape
        added = len(op.output.shape) - len(shape)
        return tuple(-1 if extent == 1 else axis + added for axis, extent in enumerate(shape))
    if primitive is primitives.reshape or _reduces_nothing(op):
        return _same_but_for_ones(op.inputs[0].shape, op.output.shape)
    return None


def _same_but_for_ones(shape: Shape, target: Shape) -> Link | None:
    walked = [axis for axis, extent in enumerate(target) if extent != 1]
    if [extent for extent in shape if extent != 1] != [target[axis] for axis in walked]:
        return None
    remaining = iter(walked)
    return tuple(-1 if extent == 1 else next(remaining) for extent in shape)
