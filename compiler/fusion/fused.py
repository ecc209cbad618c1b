"""The ops of a program after fusion: kernels in the place of groups, and copies where no view will do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from lazyflow.compiler import primitives
from lazyflow.compiler.fusion.grouping import Grouping
from lazyflow.compiler.fusion.groups import Unit
from lazyflow.compiler.fusion.kernels import KernelBody
from lazyflow.compiler.fusion.sources import Sources, is_view
from lazyflow.compiler.graph import Op, Program, Value, make
from lazyflow.compiler.placement.layout import is_flat, over_base
from lazyflow.compiler.reasons import over, reason
from lazyflow.compiler.rewrite import clone
from lazyflow.runtime import schema


class ProgramWriter:
    """Writes the ops of one program.

    Args:
        sources: What its kernels read.
        turned: The products that are written the other way round, with the transposes that use them.

    Attributes:
        ops: The new ops but for leaves, which programs share.
        leaves: The leaves that they use.
        reasons: Why products are turned and ops share a kernel.
    """

    def __init__(self, sources: Sources, turned: dict[Op, Op]) -> None:
        self.ops: list[Op] = []
        self.leaves: set[Op] = set()
        self.reasons: list[schema.Reason] = []
        self._effects: dict[Op, Op] = {}
        self._turned = turned
        self._sources = sources
        self._values: dict[Value, Value] = {}

    def write(self, program: Program, grouping: Grouping) -> Program:
        """Write all ops of the program, and give the program over them."""
        units = grouping.ordered()
        needed = grouping.needed(program, units)
        for unit in units:
            if unit.extents is None:
                self.instruction(unit.ops[0])
            elif unit.ops:
                self.kernel(unit, [op.output for op in unit.ops if op.output in needed])
        self.leaves.update(value.op for value in program.feeds)
        effects = [self._effects[op] for op in program.effects]
        fetches = {name: self.get(value) for name, value in program.fetches.items()}
        return replace(program, effects=effects, fetches=fetches)

    def get(self, value: Value) -> Value:
        """The new value; views and leaves are written where they are first used."""
        chain = []
        while value not in self._values and is_view(value.op):
            chain.append(value.op)
            value = value.op.inputs[0]
        if value.op in self._turned and value not in self._values:
            self._turn_back(value.op)
        if value not in self._values:
            self.leaves.add(value.op)
            self._values[value] = value
        for op in reversed(chain):
            self._values[op.output] = self._view(op, self._values[op.inputs[0]])
        return self._values[chain[0].output if chain else value]

    def _view(self, op: Op, source: Value) -> Value:
        if not op.primitive.view:  # a reduction over axes of one element
            return self._append(
                make(primitives.reshape, [source], {"shape": op.output.shape}, op.origins)
            ).output
        view = clone(op, [source])
        if op.primitive is primitives.reshape and over_base(view.output) is None:
            copied = self._append(make(primitives.copy, [source], {}, op.origins)).output
            view = clone(op, [copied])
        return self._append(view).output

    def _append(self, op: Op) -> Op:
        self.ops.append(op)
        return op

    def instruction(self, op: Op) -> None:
        """Write an op that is an instruction of its own."""
        if op in self._turned:
            self._turned_product(op, self._turned[op])
            return
        values = self._values
        inputs = [values[value] if value in values else self.get(value) for value in op.inputs]
        if op.when is not None and not is_flat(inputs[-1]):  # guards are named by their buffer alone
            inputs[-1] = self._append(make(primitives.copy, inputs[-1:], {}, op.origins)).output
        new = self._append(clone(op, inputs))
        self._values.update(zip(op.outputs, new.outputs, strict=True))
        if op.primitive.effect:
            self._effects[op] = new

    def _turned_product(self, op: Op, transpose: Op) -> None:
        """Write a product that is only used transposed, so that the transpose is what it stores."""
        axes = transpose.attributes["axes"]
        origins = (*op.origins, *transpose.origins)
        if _swaps(axes):
            swapped = [self._swapped(value) for value in reversed(op.inputs)]
            new = make(primitives.matmul, swapped, {}, origins)
        else:
            inputs = [self.get(value) for value in op.inputs]
            new = make(primitives.matmul_transposed, inputs, {"axes": axes}, origins)
        self._values[transpose.output] = self._append(new).output
        text = f"stored with its axes in the order {axes}, the only one in which it is used"
        self.reasons.append(reason("fuse", "turned", text, op))

    def _swapped(self, value: Value) -> Value:
        """The new value with its last two axes swapped."""
        if value.op.primitive is primitives.transpose and _swaps(value.op.attributes["axes"]):
            return self.get(value.op.inputs[0])
        rank = len(value.shape)
        axes = (*range(rank - 2), rank - 1, rank - 2)
        return self._append(make(primitives.transpose, [self.get(value)], {"axes": axes})).output

    def _turn_back(self, op: Op) -> None:
        """A view of a turned product as the user wrote it, for what reads it through an index."""
        transpose = self._turned[op]
        axes = transpose.attributes["axes"]
        back = tuple(axes.index(axis) for axis in range(len(axes)))
        new = make(primitives.transpose, [self._values[transpose.output]], {"axes": back}, op.origins)
        self._values[op.output] = self._append(new).output

    def kernel(self, unit: Unit, outputs: Sequence[Value]) -> None:
        """Write the kernel of a group."""
        body = KernelBody(unit, self._sources)
        for op in unit.ops:
            body.add(op)
        inputs = [self.get(source) for source, _ in body.reads]
        new = self._append(body.kernel(inputs, outputs))
        self._values.update(zip(outputs, new.outputs, strict=True))
        if len(unit.ops) > 1:
            rows = f" in rows of {over([unit.domain[a] for a in sorted(unit.inner)])}" if unit.inner else ""
            text = f"{len(unit.ops)} ops over {over(unit.domain)}{rows}"
            self.reasons.append(reason("fuse", "rows" if unit.inner else "elements", text, new))


def turned_products(program: Program, ops: Iterable[Op]) -> dict[Op, Op]:
    """Products that nothing but one transpose uses, with it; rows or columns must stay last for BLAS."""
    users: dict[Value, list[Op]] = {}
    for op in ops:
        for value in op.inputs:
            if value.op.primitive is primitives.matmul:
                users.setdefault(value, []).append(op)
    for value in program.fetches.values():
        users.pop(value, None)
    return {
        value.op: transpose
        for value, (transpose, *others) in users.items()
        if not others
        and transpose.primitive is primitives.transpose
        and transpose.attributes["axes"][-1] >= len(value.shape) - 2
    }


def _swaps(axes: Sequence[int]) -> bool:
    """Whether a transpose swaps the last two axes and nothing else."""
    rank = len(axes)
    return rank > 1 and tuple(axes) == (*range(rank - 2), rank - 1, rank - 2)
