"""fuse: elementwise ops and reductions become kernels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from lazyflow.compiler import primitives
from lazyflow.compiler.graph import Graph, Op, Program, Value, make
from lazyflow.compiler.groups import (
    LARGEST_GROUP,
    Fit,
    Unit,
    Use,
    fit_element,
    fit_reduction,
    reduced_axes,
    unite,
)
from lazyflow.compiler.kernels import KernelBody
from lazyflow.compiler.layout import over_base
from lazyflow.compiler.rewrite import clone
from lazyflow.compiler.sorting import stable_order
from lazyflow.compiler.sources import Sources, is_kernel_op, is_view, memory_of


def fuse(graph: Graph, merge: bool = True) -> Graph:
    """Make kernels of elementwise chains, and of reductions with what feeds and follows them.

    Args:
        graph: A graph without kernels.
        merge: Whether ops are grouped; else each becomes a kernel of its own.

    Returns:
        A graph without elementwise ops and reductions, in which each program has ops of its own.
    """
    writer = _Writer()
    programs = {}
    for program in graph.programs.values():
        ops = graph.reachable([program])
        sources = Sources(ops, program, deep=merge)
        units = _Grouping(ops, sources, merge)
        programs[program.name] = writer.program(program, ops, sources, units)
    leaves = [op for op in graph.ops if op in writer.leaves]
    return graph.replaced([*leaves, *writer.ops], programs)


class _Grouping:
    """Assigns every op that is work to a unit, in one walk over the program."""

    def __init__(self, ops: Sequence[Op], sources: Sources, merge: bool) -> None:
        self.units: dict[Op, Unit] = {}
        self._sources = sources
        self._merge = merge
        for position, op in enumerate(ops):
            if is_kernel_op(op):
                if not sources.inline(op.output) or op.output in sources.wanted:
                    self._place(position, op)
            elif not op.primitive.leaf and not is_view(op):
                self._instruction(position, op)

    def unit_of(self, value: Value) -> Unit | None:
        """The unit that computes what a value looks at; None for leaves."""
        unit = self.units.get(memory_of(value).op)
        return unit.find() if unit is not None else None

    def _producers(self, values: Iterable[Value]) -> list[Unit]:
        found = (self.unit_of(value) for value in values)
        return list(dict.fromkeys(unit for unit in found if unit is not None))

    def _instruction(self, position: int, op: Op) -> None:
        producers = self._producers(op.inputs)
        phase = max((unit.phase for unit in producers), default=0)
        unit = Unit(position, 1 + _highest(producers), 1 if op.primitive.effect else phase)
        unit.ops.append(op)
        self._attach(op, unit, producers)

    def _attach(self, op: Op, unit: Unit, producers: Iterable[Unit]) -> None:
        self.units[op] = unit
        for producer in producers:
            if producer.find() is not unit:
                producer.consumers.append(unit)

    def _place(self, position: int, op: Op) -> None:
        """Add an op to the units of its inputs where it fits, or else to a new one."""
        reads = self._reads(op)
        producers = self._producers(value for value, _ in reads)
        phase = max((unit.phase for unit in producers), default=0)
        fits = self._fits(op, reads, [u for u in producers if u.phase == phase]) if self._merge else []
        joined = {fit.unit for fit in fits}
        fit = unite(fits, 1 + _highest(unit for unit in producers if unit not in joined))
        if fit is None:
            fit = _alone(op, Unit(position, 1 + _highest(u.find() for u in producers), phase, ()))
        if op.primitive.reduction and fit.unit.inner is None:
            fit.unit.inner = _inner(op, fit)
        fit.unit.add(op, fit.axes)
        self._attach(op, fit.unit, producers)

    def _fits(self, op: Op, reads: Sequence[Use], units: Iterable[Unit]) -> list[Fit]:
        """How the op lies in groups that compute its inputs, from the highest stage down."""
        fits = []
        for unit in units:
            uses = [(value, link) for value, link in reads if self.unit_of(value) is unit]
            if len(unit.ops) >= LARGEST_GROUP or any(value not in unit.axes for value, _ in uses):
                continue
            if op.primitive.reduction:
                fit = fit_reduction(unit, op, uses[0])
            else:
                fit = fit_element(unit, op.output.shape, uses)
            if fit is not None:
                fits.append(fit)
        return sorted(fits, key=lambda fit: -fit.unit.stage)

    def _reads(self, op: Op) -> list[Use]:
        """The sources that are not computed inline, over the op's output or, for a reduction, its input."""
        rank = len(op.inputs[0].shape if op.primitive.reduction else op.output.shape)
        reads = []
        for value in op.inputs:
            source, link = self._sources.trace(value)
            if not self._sources.inline(source):
                added = rank - len(value.shape)
                reads.append((source, tuple(axis + added if axis >= 0 else -1 for axis in link)))
        return reads


def _highest(units: Iterable[Unit]) -> int:
    return max((unit.stage for unit in units), default=0)


def _alone(op: Op, unit: Unit) -> Fit:
    """The fit of an op in a new group, whose domain is that of the op."""
    shape = op.inputs[0].shape if op.primitive.reduction else op.output.shape
    walked = [axis for axis, extent in enumerate(shape) if extent != 1]
    unit.extents = tuple(shape[axis] for axis in walked)
    axes = tuple(walked.index(axis) if extent != 1 else -1 for axis, extent in enumerate(shape))
    if not op.primitive.reduction:
        return Fit(unit, axes, row=False)
    unit.inner = frozenset(axes[axis] for axis in op.attributes["axes"]) - {-1}
    unit.inputs[op] = axes
    return Fit(unit, reduced_axes(op, axes), row=True)


def _inner(op: Op, fit: Fit) -> frozenset[int]:
    """The domain's axes that the reduction, the first of its group, runs over."""
    return frozenset(range(len(fit.unit.domain))) - set(fit.axes)


class _Writer:
    """Writes the new ops of all programs; leaves are shared by them."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.leaves: set[Op] = set()

    def program(self, program: Program, ops: Sequence[Op], sources: Sources, grouping: _Grouping) -> Program:
        """Append the ops of a program, and give the program over them."""
        writer = _ProgramWriter(self, sources)
        positions = {op: position for position, op in enumerate(ops)}
        needed = _needed(program, ops, sources, grouping)
        for unit in _sorted(ops, grouping):
            unit.ops.sort(key=positions.__getitem__)
            if unit.extents is None:
                writer.instruction(unit.ops[0])
            else:
                writer.kernel(unit, [op.output for op in unit.ops if op.output in needed])
        self.leaves.update(value.op for value in program.feeds)
        effects = [writer.effects[op] for op in program.effects]
        fetches = {name: writer.get(value) for name, value in program.fetches.items()}
        return replace(program, effects=effects, fetches=fetches)


class _ProgramWriter:
    """The new values of one program."""

    def __init__(self, writer: _Writer, sources: Sources) -> None:
        self.effects: dict[Op, Op] = {}
        self._writer = writer
        self._sources = sources
        self._values: dict[Value, Value] = {}

    def get(self, value: Value) -> Value:
        """The new value; views and leaves are written where they are first used."""
        chain = []
        while value not in self._values and is_view(value.op):
            chain.append(value.op)
            value = value.op.inputs[0]
        if value not in self._values:
            self._writer.leaves.add(value.op)
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
        self._writer.ops.append(op)
        return op

    def instruction(self, op: Op) -> None:
        """Write an op that is an instruction of its own."""
        new = self._append(clone(op, [self.get(value) for value in op.inputs]))
        self._values.update(zip(op.outputs, new.outputs, strict=True))
        if op.primitive.effect:
            self.effects[op] = new

    def kernel(self, unit: Unit, outputs: Sequence[Value]) -> None:
        """Write the kernel of a group."""
        body = KernelBody(unit, self._sources)
        for op in unit.ops:
            body.add(op)
        inputs = [self.get(source) for source, _ in body.reads]
        new = self._append(body.kernel(inputs, outputs))
        self._values.update(zip(outputs, new.outputs, strict=True))


def _needed(program: Program, ops: Iterable[Op], sources: Sources, grouping: _Grouping) -> set[Value]:
    """The values that are used outside of the unit that computes them."""
    needed = {memory_of(value) for value in program.fetches.values()}
    for op in ops:
        own = grouping.units.get(op)
        if own is None:
            continue
        for value in op.inputs:
            if own.extents is None:
                needed.add(memory_of(value))
                continue
            source = sources.trace(value)[0]
            if not sources.inline(source) and grouping.unit_of(source) is not own.find():
                needed.add(memory_of(source))
    return needed


def _sorted(ops: Sequence[Op], grouping: _Grouping) -> list[Unit]:
    """The units so that each stands behind those that it uses, and else as the user wrote them."""
    units = list(dict.fromkeys(unit.find() for op in ops if (unit := grouping.units.get(op)) is not None))
    numbers = {unit: number for number, unit in enumerate(units)}
    successors = []
    for number, unit in enumerate(units):
        users = dict.fromkeys(numbers[consumer.find()] for consumer in unit.consumers)
        users.pop(number, None)
        successors.append(list(users))
    return [units[number] for number in stable_order([unit.first for unit in units], successors)]
