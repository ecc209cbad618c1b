"""The grouping of a program's ops into kernels: which op joins which group."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lazyflow.compiler.fusion.groups import (
    LARGEST_GROUP,
    Fit,
    Unit,
    Use,
    fit_element,
    fit_reduction,
    reduced_axes,
    unite,
    unite_siblings,
)
from lazyflow.compiler.fusion.sources import Sources, is_kernel_op
from lazyflow.compiler.graph import Op, Program, Value
from lazyflow.compiler.reasons import over, reason
from lazyflow.compiler.sorting import stable_order
from lazyflow.runtime import schema
from lazyflow.runtime.dimensions import Shape, elements

SMALL = 64  # elements: groups of one stage with so few are one kernel, for there is little else to save
FEW = 4  # groups that a new one is compared with, for each value that it reads


class Grouping:
    """Assigns every op that is work to a unit, in one walk over the program."""

    def __init__(self, ops: Sequence[Op], sources: Sources, merge: bool) -> None:
        self.units: dict[Op, Unit] = {}
        self.positions = {op: position for position, op in enumerate(ops)}
        self.reasons: list[schema.Reason] = []
        self._reads: dict[Op, list[Use]] = {}
        self._sources = sources
        self._merge = merge
        self._small: dict[tuple[int, int, Shape], Unit] = {}
        self._reductions: dict[Value, list[Unit]] = {}  # groups with reductions, by what they read
        for op, position in self.positions.items():
            if is_kernel_op(op):
                if not sources.inline(op.output) or op.output in sources.wanted:
                    self._place(position, op)
            elif not op.primitive.leaf and not sources.is_view(op):
                self._instruction(position, op)

    def memory(self, value: Value) -> Value:
        """The value that something computes or gives, at the bottom of a chain of views."""
        return self._sources.memory(value)

    def memories(self, values: Iterable[Value]) -> list[Value]:
        """The same of several values."""
        return self._sources.memories(values)

    def unit_of(self, value: Value) -> Unit | None:
        """The unit that computes what a value looks at; None for leaves."""
        unit = self.units.get(self._sources.memory(value).op)
        return unit.find() if unit is not None else None

    def needed(self, program: Program, units: Sequence[Unit]) -> set[Value]:
        """The values that are used outside of the unit that computes them.

        Ops that nothing needs are dropped from their groups on the way.

        Args:
            program: The program.
            units: All units, each behind those that it uses.
        """
        needed = set(self.memories(program.fetches.values()))
        for unit in reversed(units):
            if unit.extents is None:
                needed.update(self.memories(unit.ops[0].inputs))
                continue
            inside: set[Value] = set()
            kept = []
            for op in sorted(unit.ops, key=self.positions.__getitem__, reverse=True):
                if op.output in needed or op.output in inside:
                    kept.append(op)
                    inside.update(source for source, _ in self.reads(op))
            unit.ops = kept[::-1]
            needed.update(self.memories(inside.difference(unit.axes)))
        return needed

    def ordered(self) -> list[Unit]:
        """The units so that each stands behind those that it uses, and else as the user wrote them."""
        units = list(dict.fromkeys(unit.find() for unit in self.units.values()))
        numbers = {unit: number for number, unit in enumerate(units)}
        successors = []
        for number, unit in enumerate(units):
            users = dict.fromkeys([numbers[consumer.find()] for consumer in unit.consumers])
            users.pop(number, None)
            successors.append(list(users))
        return [units[number] for number in stable_order([unit.first for unit in units], successors)]

    def _producers(self, values: Iterable[Value]) -> list[Unit]:
        found = dict.fromkeys([self.units.get(value.op) for value in self.memories(values)])
        return list(dict.fromkeys([unit.find() for unit in found if unit is not None]))

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
        reads = self.reads(op)
        owners = [self.unit_of(value) for value, _ in reads]
        producers = list(dict.fromkeys([unit for unit in owners if unit is not None]))
        phase = max([unit.phase for unit in producers], default=0)
        fits = self._fits(op, reads, owners, phase) if self._merge else []
        joined = {fit.unit for fit in fits}
        fit = unite(fits, 1 + _highest(unit for unit in producers if unit not in joined))
        if fit is None:
            self._explain(op, reads)
            fit = _alone(op, Unit(position, 1 + _highest(u.find() for u in producers), phase, ()))
            fit = self._among_small(fit) if self._merge else fit
        if op.primitive.reduction and fit.unit.inner is None:
            fit.unit.inner = _inner(op, fit)
        fit.unit.add(op, fit.axes)
        for source, link in domain_reads(fit.unit, op, reads):
            fit.unit.reads.setdefault(source, link)
        self._attach(op, fit.unit, producers)
        if op.primitive.reduction and self._merge:
            self._among_siblings(fit.unit)

    def _explain(self, op: Op, reads: Sequence[Use]) -> None:
        """Say why a reduction stays apart from what it reduces."""
        unit = self.unit_of(reads[0][0]) if self._merge and op.primitive.reduction and reads else None
        if unit is not None and unit.inner:
            extents = [unit.domain[axis] for axis in sorted(unit.inner)]
            text = f"what it reduces is made by a kernel that reduces other axes, {over(extents)}"
            self.reasons.append(reason("fuse", "other_axes", text, op))

    def _among_small(self, fit: Fit) -> Fit:
        """The fit of an op that is alone in a group of the same stage, where both have few elements."""
        unit = fit.unit
        count = elements(unit.domain)
        if unit.inner is not None or not isinstance(count, int) or count > SMALL:
            return fit
        key = (unit.stage, unit.phase, unit.domain)
        other = self._small.setdefault(key, unit).find()
        if (other.stage, other.phase, other.domain) != key or other.inner or len(other.ops) >= LARGEST_GROUP:
            self._small[key] = other = unit
        return Fit(other, fit.axes, row=False)

    def _among_siblings(self, unit: Unit) -> None:
        """Unite a group with those that reduce the same input, and make it known to those to come."""
        known = (self._reductions.setdefault(value, []) for value in unit.reads)
        unite_siblings(unit, dict.fromkeys(other.find() for units in known for other in units[-FEW:]))
        for value in unit.reads:
            units = self._reductions.setdefault(value, [])
            if unit not in units[-FEW:]:
                units.append(unit)

    def _fits(self, op: Op, reads: Sequence[Use], owners: Sequence[Unit | None], phase: int) -> list[Fit]:
        """How the op lies in groups of a phase that compute its inputs, from the highest stage down."""
        used: dict[Unit, list[Use]] = {}
        for use, unit in zip(reads, owners, strict=True):
            if unit is not None and unit.phase == phase:
                used.setdefault(unit, []).append(use)
        fits = []
        for unit, uses in used.items():
            if len(unit.ops) >= LARGEST_GROUP or any(value not in unit.axes for value, _ in uses):
                continue
            if op.primitive.reduction:
                fit = fit_reduction(unit, op, uses[0])
            else:
                fit = fit_element(unit, op.output.shape, uses)
            if fit is not None:
                fits.append(fit)
        return sorted(fits, key=lambda fit: -fit.unit.stage)

    def reads(self, op: Op) -> list[Use]:
        """The sources that are not computed inline, over the op's output or, for a reduction, its input."""
        known = self._reads.get(op)
        if known is not None:
            return known
        rank = len(op.inputs[0].shape if op.primitive.reduction else op.output.shape)
        reads = self._reads[op] = []
        for value in op.inputs:
            source, link = self._sources.trace(value)
            if not self._sources.inline(source):
                added = rank - len(value.shape)
                reads.append((source, tuple(axis + added if axis >= 0 else -1 for axis in link)))
        return reads


def domain_reads(unit: Unit, op: Op, reads: Iterable[Use]) -> list[Use]:
    """What an op of a group reads from outside, and along which axes of the domain."""
    axes = unit.inputs.get(op, ()) if op.primitive.reduction else unit.axes[op.output]
    return [
        (source, tuple(axes[axis] if axis >= 0 else -1 for axis in link))
        for source, link in reads
        if source not in unit.axes
    ]


def _highest(units: Iterable[Unit]) -> int:
    return max([unit.stage for unit in units], default=0)


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
