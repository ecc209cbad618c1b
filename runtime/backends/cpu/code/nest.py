"""A kernel's loops: which axes merge, which one runs along the lanes, what each stage computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.dimensions import Size, elements, parse
from lazyflow.runtime.dtypes import DType
from lazyflow.runtime.scalars import SCALARS

LANES = 16
COLUMN_LANES = 64  # so that a row of several cache lines is read at once
GENERATORS = ("literal", "size", "index")
COSTLY = frozenset(("exp", "expm1", "log", "log1p", "tanh", "erf", "sin", "cos", "pow", "philox"))
SCRATCH_LIMIT = 4096  # elements of a row that are kept between stages


def as_size(extent: schema.Extent) -> Size:
    """An extent of the document as a size."""
    return extent if isinstance(extent, int) else parse(extent)


def contiguous(space: schema.Extents) -> schema.Extents:
    """The strides of an array without gaps, as the document writes them."""
    steps = [elements(as_size(e) for e in space[axis + 1 :]) for axis in range(len(space))]
    return tuple(step if isinstance(step, int) else str(step) for step in steps)


@dataclass
class Read:
    """One access of a kernel: the dtype of its elements and its stride along each axis."""

    dtype: DType
    strides: list[Size]


@dataclass
class Nest:
    """A kernel with its axes merged where all accesses allow it.

    Attributes:
        extents: The axes that remain, outer ones first.
        inner: How many of the last axes the reductions run over.
        reads, writes: The accesses, over the remaining axes.
        axes: For each axis of the kernel's space that an "index" call names, where it is now.
        stages: For each value of the body, the pass over the inner axes that first can compute it.
        fixed: Whether each value is the same along all inner axes.
        block: Where it is given, the first axis numbers blocks of the inner axes: so many of their points.
    """

    extents: list[Size]
    inner: int
    reads: list[Read]
    writes: list[Read]
    body: tuple[schema.Call, ...]
    results: list[int]
    axes: dict[int, int] = field(default_factory=dict)
    stages: list[int] = field(default_factory=list)
    fixed: list[bool] = field(default_factory=list)
    lane_axis: int = 0
    width: int = LANES
    block: Size | None = None

    @property
    def arity(self) -> int:
        """The number of reads."""
        return len(self.reads)

    @property
    def outer(self) -> int:
        """The number of outer axes."""
        return len(self.extents) - self.inner

    @property
    def columns(self) -> bool:
        """Whether the lanes run along an outer axis while the inner axes are reduced one by one."""
        return self.inner > 0 and self.lane_axis < self.outer

    @property
    def reduces(self) -> bool:
        """Whether any value is reduced."""
        return any(self.is_reduction(value) for value in range(self.arity, self.arity + len(self.body)))

    def call(self, value: int) -> schema.Call | None:
        """The call that makes a value; None for a read."""
        return self.body[value - self.arity] if value >= self.arity else None

    def dtype(self, value: int) -> DType:
        """The dtype of a value."""
        call = self.call(value)
        return self.reads[value].dtype if call is None else dtypes.ALL[call.dtype]

    def is_reduction(self, value: int) -> bool:
        """Whether a value is reduced over the inner axes."""
        call = self.call(value)
        return call is not None and call.op not in GENERATORS and SCALARS[call.op].reduction


def make_nest(
    space: schema.Extents,
    inner: int,
    reads: list[Read],
    writes: list[Read],
    body: tuple[schema.Call, ...],
    results: list[int],
    block: Size | None = None,
) -> Nest:
    """The loops of a kernel; the accesses come with a stride for each axis of the space."""
    nest = Nest([as_size(e) for e in space], inner, reads, writes, body, results, block=block)
    indexed = {int(call.value or 0) for call in body if call.op == "index"}
    _merge_axes(nest, indexed if block is None else indexed | {0})
    if not nest.extents:
        nest.extents, nest.axes = [1], dict.fromkeys(indexed, 0)
        for access in (*nest.reads, *nest.writes):
            access.strides = [0]
    _choose_lanes(nest)
    _find_levels(nest)
    return nest


def _merge_axes(nest: Nest, indexed: set[int]) -> None:
    accesses = [*nest.reads, *nest.writes]
    outer = nest.outer
    kept: list[int] = []
    needed = indexed | _last_inner(nest)
    for axis in range(len(nest.extents)):
        if nest.extents[axis] == 1 and axis not in needed:
            continue
        last = kept[-1] if kept else None
        mergeable = last is not None and (last < outer) == (axis < outer) and not {last, axis} & indexed
        if mergeable and last is not None and _contiguous(accesses, last, axis, nest.extents[axis]):
            nest.extents[axis] = nest.extents[last] * nest.extents[axis]
            kept[-1] = axis
        else:
            kept.append(axis)
    nest.inner = sum(axis >= outer for axis in kept)
    nest.axes = {axis: kept.index(axis) for axis in sorted(indexed)}
    nest.extents = [nest.extents[axis] for axis in kept]
    for access in accesses:
        access.strides = [access.strides[axis] for axis in kept]


def _last_inner(nest: Nest) -> set[int]:
    """The axis that must stay for reductions to run over, where all inner axes have extent 1."""
    alone = nest.inner > 0 and all(extent == 1 for extent in nest.extents[nest.outer :])
    return {len(nest.extents) - 1} if alone else set()


def _contiguous(accesses: list[Read], first: int, second: int, extent: Size) -> bool:
    return all(a.strides[first] == a.strides[second] * extent for a in accesses)


def _choose_lanes(nest: Nest) -> None:
    """Lanes run along the axis on which most accesses move by one element, the last of equals.

    What does not move along the inner axes is accessed once for all of them: it counts only among equals.
    """
    accesses = [*nest.reads, *nest.writes]
    each = [a for a in accesses if nest.inner == 0 or any(s != 0 for s in a.strides[nest.outer :])]

    def score(axis: int) -> tuple[int, int, int]:
        return _adjacent(each, axis), _adjacent(accesses, axis), axis

    nest.lane_axis = max(range(nest.block is not None, len(nest.extents)), key=score)
    extent = nest.extents[nest.lane_axis]
    if nest.columns:
        nest.width = COLUMN_LANES  # each column is a sum of its own, whatever the lanes
    if isinstance(extent, int):
        while nest.width // 2 >= extent:  # lanes that are never used would fold in zeros: the same sums
            nest.width //= 2
    if any(call.op == "argmax" for call in nest.body):
        nest.width = 1
    if nest.inner == 0:  # a map: its lane axis is the pass, what does not vary along it is computed before
        order = [a for a in range(len(nest.extents)) if a != nest.lane_axis] + [nest.lane_axis]
        nest.extents = [nest.extents[a] for a in order]
        nest.axes = {axis: order.index(place) for axis, place in nest.axes.items()}
        for access in (*nest.reads, *nest.writes):
            access.strides = [access.strides[a] for a in order]
        nest.inner, nest.lane_axis = 1, len(order) - 1


def _adjacent(accesses: list[Read], axis: int) -> int:
    return sum(access.strides[axis] == 1 for access in accesses)


def _find_levels(nest: Nest) -> None:
    for value in range(nest.arity + len(nest.body)):
        call = nest.call(value)
        if call is None:
            nest.fixed.append(all(s == 0 for s in nest.reads[value].strides[nest.outer :]))
            nest.stages.append(0)
        elif call.op in GENERATORS:
            nest.fixed.append(call.op != "index" or nest.axes[int(call.value or 0)] < nest.outer)
            nest.stages.append(0)
        else:
            reduces = nest.is_reduction(value)
            nest.fixed.append(reduces or all(nest.fixed[a] for a in call.args))
            nest.stages.append(max((nest.stages[a] for a in call.args), default=0) + reduces)


def weight(body: Sequence[schema.Call]) -> int:
    """Scalar operations of a body at one point, costly ones counted as several."""
    return len(body) + 8 * sum(call.op in COSTLY for call in body)


def work(nest: Nest) -> Size:
    """Scalar operations of the whole nest: a measure of whether it is worth several threads."""
    points = elements(nest.extents[nest.block is not None :])
    return points * (weight(nest.body) + len(nest.reads) + len(nest.writes))
