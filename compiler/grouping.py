"""The grouping of a program's ops into kernels: which op joins which group."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lazyflow.compiler.graph import Op, Program, Value
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
from lazyflow.compiler.sorting import stable_order
from lazyflow.compiler.sources import Sources, is_kernel_op


class Grouping:
    """Assigns every op that is work to a unit, in one walk over the program."""

    def __init__(self, ops: Sequence[Op], sources: Sources, merge: bool) -> None:
        self.units: dict[Op, Unit] = {}
        self._sources = sources
        self._merge = merge
        for position, op in enumerate(ops):
            if is_kernel_op(op):
                if not sources.inline(op.output) or op.output in sources.wanted:
                    self._place(position, op)
            elif not op.primitive.leaf and not sources.is_view(op):
                self._instruction(position, op)

    def unit_of(self, value: Value) -> Unit | None:
        """The unit that computes what a value looks at; None for leaves."""
        unit = self.units.get(self._sources.memory(value).op)
        return unit.find() if unit is not None else None

    def needed(self, program: Program, ops: Iterable[Op]) -> set[Value]:
        """The values that are used outside of the unit that computes them."""
        needed = {self._sources.memory(value) for value in program.fetches.values()}
        for op in ops:
            own = self.units.get(op)
            if own is None:
                continue
            if own.extents is None:
                needed.update(map(self._sources.memory, op.inputs))
                continue
            sources = (self._sources.trace(value)[0] for value in op.inputs)
            outside = (
                s for s in sources if not self._sources.inline(s) and self.unit_of(s) is not own.find()
            )
            needed.update(map(self._sources.memory, outside))
        return needed

    def sorted(self) -> list[Unit]:
        """The units so that each stands behind those that it uses, and else as the user wrote them."""
        units = list(dict.fromkeys(unit.find() for unit in self.units.values()))
        numbers = {unit: number for number, unit in enumerate(units)}
        successors = []
        for number, unit in enumerate(units):
            users = dict.fromkeys(numbers[consumer.find()] for consumer in unit.consumers)
            users.pop(number, None)
            successors.append(list(users))
        return [units[number] for number in stable_order([unit.first for unit in units], successors)]

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
