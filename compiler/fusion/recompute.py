"""Values that a later kernel computes anew, where that is cheap, instead of finding them in memory."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lazyflow.compiler.fusion.grouping import Grouping, domain_reads
from lazyflow.compiler.fusion.groups import LARGEST_GROUP, Unit
from lazyflow.compiler.fusion.sources import Link
from lazyflow.compiler.graph import Op, Program, Value
from lazyflow.compiler.placement.arena import typical
from lazyflow.compiler.placement.layout import count
from lazyflow.compiler.reasons import reason

LARGEST_CONE = 8  # ops that are computed anew for one value
_NEVER = 2**62  # the stage of what is used at the end


def recompute(program: Program, grouping: Grouping) -> None:
    """Let kernels compute anew what they would read from an earlier kernel.

    That is done where the value then needs no memory, and what it is computed from is in memory anyway for as
    long, or takes less of it. A costly op is not computed twice, but it moves where no other kernel needs it.
    """
    uses = _Uses(program, grouping)
    for value in sorted(uses.readers, key=lambda value: grouping.positions[value.op]):
        if value not in uses.pinned and not value.op.primitive.reduction:
            _try(value, uses, grouping)


class _Uses:
    """Where values are used, beyond the group that computes them."""

    def __init__(self, program: Program, grouping: Grouping) -> None:
        self.grouping = grouping
        self.readers: dict[Value, dict[Unit, set[Link]]] = {}  # groups that read a group's value, and how
        self.inside: dict[Value, set[Op]] = {}  # ops of the same group that use it
        self.pinned: set[Value] = set()  # what is in memory anyway
        self.last: dict[Value, int] = {}  # the highest stage that uses a value
        units = grouping.ordered()
        grouping.needed(program, units)
        for unit in units:
            if unit.extents is None:
                self._pin(unit.ops[0].inputs, unit.stage)
            for op in unit.ops if unit.extents is not None else ():
                self._note(op, unit)
        self._pin(program.fetches.values(), _NEVER)

    def _pin(self, values: Iterable[Value], stage: int) -> None:
        memories = self.grouping.memories(values)
        self.pinned.update(memories)
        for value in memories:
            if self.last.get(value, 0) < stage:
                self.last[value] = stage

    def _note(self, op: Op, unit: Unit) -> None:
        reads = self.grouping.reads(op)
        for source, _ in reads:
            if source in unit.axes:
                self.inside.setdefault(source, set()).add(op)
        for source, link in domain_reads(unit, op, reads):
            self.read(source, link, unit)

    def read(self, source: Value, link: Link, unit: Unit) -> None:
        """Note that a group reads a value from outside."""
        value = self.grouping.memory(source)
        self.last[value] = max(unit.stage, self.last.get(value, 0))
        producer = self.grouping.unit_of(value)
        if value is not source or producer is None or producer.extents is None:
            self.pinned.add(value)
        else:
            self.readers.setdefault(value, {}).setdefault(unit, set()).add(link)


class _Cone(NamedTuple):
    """Ops that lead to a value, last first, and what they read besides each other."""

    ops: list[Op]
    frontier: list[Value]
    moved: set[Op]  # the ops that the group does not need itself any more


def _try(value: Value, uses: _Uses, grouping: Grouping) -> None:
    """Let all readers of a value compute it, where that is right."""
    home = grouping.unit_of(value)
    readers = uses.readers[value]
    if home is None or not all(_reads_whole(unit, links) for unit, links in readers.items()):
        return
    units = list(readers)
    if any(unit.phase != home.phase or len(unit.ops) > LARGEST_GROUP - LARGEST_CONE for unit in units):
        return
    cone = _cone(value, home, units, uses)
    if cone is None or not _pays(value, cone, units, uses):
        return
    plans = [_axes(cone, value, next(iter(readers[unit])), unit, grouping) for unit in units]
    if any(plan is None for plan in plans):
        return
    del uses.readers[value]
    for unit, plan in zip(units, plans, strict=True):
        _apply(cone, unit, plan or {}, uses)
    text = f"computed where it is used later, from {len(cone.frontier)} other values, to need no memory"
    grouping.reasons.append(reason("fuse", "recomputed", text, value.op))


def _reads_whole(unit: Unit, links: set[Link]) -> bool:
    """Whether a group reads a value in one way, which walks all axes of its domain."""
    (link, *others) = links
    return not others and {axis for axis in link if axis >= 0} == set(range(len(unit.domain)))


def _cone(value: Value, home: Unit, readers: Sequence[Unit], uses: _Uses) -> _Cone | None:
    """The ops of a group that lead to a value of it and can be computed anew; None where they are many."""
    positions = uses.grouping.positions
    cone = _Cone([], [], set())
    waiting = [(-positions[value.op], 0, value)]
    seen = {value}
    while waiting:
        source = heapq.heappop(waiting)[-1]
        if not _joins(source, home, readers, cone, uses):
            cone.frontier.append(source)
            continue
        cone.ops.append(source.op)
        for each, _ in uses.grouping.reads(source.op):
            if each not in seen and not all(each in unit.axes for unit in readers):
                seen.add(each)
                heapq.heappush(waiting, (-positions[each.op], len(seen), each))
    return cone if cone.ops and len(cone.ops) <= LARGEST_CONE else None


def _joins(source: Value, home: Unit, readers: Sequence[Unit], cone: _Cone, uses: _Uses) -> bool:
    """Whether the op of a value belongs to the cone; else the cone reads the value."""
    op = source.op
    whole = sum(axis >= 0 for axis in home.axes.get(source, ())) == len(home.domain)
    if source not in home.axes or not whole or op.primitive.reduction or len(cone.ops) >= LARGEST_CONE:
        return False
    if cone.ops and (source in uses.pinned or source in uses.readers):
        return False
    if uses.inside.get(source, set()) <= cone.moved:
        cone.moved.add(op)
    return not op.primitive.costly or (op in cone.moved and len(readers) == 1)


def _pays(value: Value, cone: _Cone, readers: Sequence[Unit], uses: _Uses) -> bool:
    """Whether memory is saved or some writing at least, and hardly more is read."""
    own = _bytes(value)
    home = uses.grouping.unit_of(value)
    until = max(unit.stage for unit in readers)
    kept = longer = 0
    for source in cone.frontier:
        memory = uses.grouping.memory(source)
        there = memory in uses.pinned or memory in uses.readers
        # not there either: what this group computes anew itself, and a third group computes first
        if not there and (uses.grouping.unit_of(memory) is home or not memory.op.primitive.leaf):
            kept += _bytes(source)
        elif not memory.op.primitive.leaf and uses.last[memory] < until:
            longer += _bytes(source)
    heavy = [source for source in cone.frontier if 2 * _bytes(source) > own]
    reads = sum(source not in unit.reads for unit in readers for source in heavy)
    return 4 * kept <= own and longer <= own and reads <= len(readers) + (not longer)


def _bytes(value: Value) -> int:
    return typical(count(value.shape)) * value.dtype.itemsize


def _axes(cone: _Cone, value: Value, link: Link, unit: Unit, grouping: Grouping) -> dict[Value, Link] | None:
    """The axes of the reader's domain for all that the cone computes and reads; None where they disagree."""
    axes = {value: link}
    for op in cone.ops:
        own = axes[op.output]
        for source, along in grouping.reads(op):
            found = tuple(own[axis] if axis >= 0 else -1 for axis in along)
            if axes.setdefault(source, found) != found or unit.axes.get(source, found) != found:
                return None
    return axes


def _apply(cone: _Cone, unit: Unit, axes: dict[Value, Link], uses: _Uses) -> None:
    """Add a cone to a group that read its last value."""
    for op in reversed(cone.ops):
        if op.output not in unit.axes:
            unit.add(op, axes[op.output])
    for source in cone.frontier:
        if source in unit.axes:
            continue
        unit.reads.setdefault(source, axes[source])
        uses.read(source, axes[source], unit)
        producer = uses.grouping.unit_of(source)
        if producer is not None:
            producer.consumers.append(unit)
