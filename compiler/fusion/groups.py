"""Fusion groups: ops over one domain that can be one loop nest, and how they grow.

A group has a domain (the extents of its loops, without those of one element) and, once it holds a reduction,
the inner axes that its reductions run over. Each value in it lies on all axes of the domain, or on the outer
ones only (a row-level value).

Every unit of work (a group, or an op that is an instruction of its own) has a stage. A unit's stage is above
those of all units that it takes values from, and merging keeps that, so no cycle can arise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

from lazyflow.compiler.fusion.sources import Link
from lazyflow.compiler.graph import Op, Value
from lazyflow.runtime.dimensions import Shape, elements

Use: TypeAlias = tuple[Value, Link]  # a value of a group, and for each of its axes the axis of the user

LARGEST_GROUP = 250  # ops
LARGEST_ROW = 2**14  # elements of a row, where one row is the whole domain and is walked more than once
_MOST_CONSUMERS = 64  # above this, whether a group may move up is not looked into


class Unit:
    """Work that becomes one instruction, or a group of ops that becomes a kernel.

    Attributes:
        first: The position of its first op in the program.
        stage: Above the stages of all that it uses.
        phase: 1 where it needs what an effect of this run gives, else 0. Phases do not mix in a group, so
            that what runs before the effects and what runs after them stay apart.
        ops: What it computes, in any order.
        extents: The domain; None for an op that is no kernel op.
        inner: The axes of the domain that reductions run over; None as long as there is none.
        axes: For each value of the group, the domain's axis that each of its axes walks, or -1.
        inputs: The same of the inputs of reductions that stand for themselves, not on a value of the group.
        reads: The same of what comes from outside, each at its first use.
        consumers: The units that take values from it.
    """

    __slots__ = (
        "_parent",
        "axes",
        "consumers",
        "extents",
        "first",
        "inner",
        "inputs",
        "ops",
        "phase",
        "reads",
        "stage",
    )

    def __init__(self, first: int, stage: int, phase: int, extents: Shape | None = None) -> None:
        self.first = first
        self.stage = stage
        self.phase = phase
        self.ops: list[Op] = []
        self.extents = extents
        self.inner: frozenset[int] | None = None
        self.axes: dict[Value, Link] = {}
        self.inputs: dict[Op, Link] = {}
        self.reads: dict[Value, Link] = {}
        self.consumers: list[Unit] = []
        self._parent: Unit | None = None

    def find(self) -> Unit:
        """The unit that this one has become a part of."""
        root = self
        while root._parent is not None:
            root = root._parent
        while self._parent is not None:
            self._parent, self = root, self._parent
        return root

    @property
    def domain(self) -> Shape:
        """The extents of a group."""
        return self.extents or ()

    @property
    def rows(self) -> list[int]:
        """The axes of the domain that are not inner."""
        return [axis for axis in range(len(self.domain)) if axis not in (self.inner or ())]

    def has_long_row(self) -> bool:
        """Whether all axes are inner and too long to be walked twice by one row."""
        if self.rows or not self.domain:
            return False
        count = elements(self.domain)
        return not isinstance(count, int) or count > LARGEST_ROW

    def add(self, op: Op, axes: Link) -> None:
        """Take an op in."""
        self.ops.append(op)
        self.axes[op.output] = axes

    def absorb(self, other: Unit, axes: Sequence[int]) -> None:
        """Take a whole group in, whose axes are the given ones here."""
        self.first = min(self.first, other.first)
        self.stage = max(self.stage, other.stage)
        self.ops += other.ops
        if self.inner is None and other.inner is not None:
            self.inner = frozenset(axes[axis] for axis in other.inner)
        for value, link in other.axes.items():
            self.axes[value] = _through(link, axes)
        for op, link in other.inputs.items():
            self.inputs[op] = _through(link, axes)
        for value, link in other.reads.items():
            self.reads.setdefault(value, _through(link, axes))
        self.consumers += other.consumers
        other._parent = self
        other.ops, other.axes, other.consumers = [], {}, []

    def may_rise(self, stage: int, merged: Iterable[Unit]) -> bool:
        """Whether the stage may become the given one if these units become one with it."""
        if self.stage >= stage:
            return True
        if len(self.consumers) > _MOST_CONSUMERS:
            self.consumers = list(dict.fromkeys(unit.find() for unit in self.consumers))
            if len(self.consumers) > _MOST_CONSUMERS:
                return False
        merged = list(merged)
        return all(unit.stage > stage or unit in merged for unit in (c.find() for c in self.consumers))


def _through(link: Link, axes: Sequence[int]) -> Link:
    return tuple(axes[axis] if axis >= 0 else -1 for axis in link)


class Fit(NamedTuple):
    """How an op lies in a group: for each axis of its output the domain's axis or -1; on rows only or not."""

    unit: Unit
    axes: Link
    row: bool


def fit_element(unit: Unit, shape: Shape, uses: Sequence[Use]) -> Fit | None:
    """How an elementwise op of this shape, which uses these values of the group, lies in it; None: not."""
    to_output = [-1] * len(unit.domain)
    axes = [-1] * len(shape)
    for value, link in uses:
        for position, axis in enumerate(unit.axes[value]):
            if axis < 0:
                continue
            output = link[position]
            if to_output[axis] not in (-1, output) or axes[output] not in (-1, axis):
                return None
            to_output[axis], axes[output] = output, axis
    free = [axis for axis, extent in enumerate(shape) if extent != 1 and axes[axis] < 0]
    missing = [axis for axis, output in enumerate(to_output) if output < 0]
    row = bool(missing) and not free
    if not row and [unit.domain[axis] for axis in missing] != [shape[axis] for axis in free]:
        return None
    if not row and unit.has_long_row() and _uses_rows(unit, uses):
        return None
    for output, axis in zip(free, missing, strict=not row):
        axes[output] = axis
    return Fit(unit, tuple(axes), row)


def _uses_rows(unit: Unit, uses: Sequence[Use]) -> bool:
    return any(sum(axis >= 0 for axis in unit.axes[value]) < len(unit.domain) for value, _ in uses)


def fit_reduction(unit: Unit, op: Op, use: Use) -> Fit | None:
    """How a reduction of a value of the group lies in it; None: not."""
    value, link = use
    of_input = [-1] * len(op.inputs[0].shape)
    for position, axis in enumerate(unit.axes[value]):
        if axis >= 0:
            of_input[link[position]] = axis
    whole = [axis for axis, extent in zip(of_input, op.inputs[0].shape, strict=True) if extent != 1]
    if sorted(whole) != list(range(len(unit.domain))):
        return None
    inner = frozenset(of_input[axis] for axis in op.attributes["axes"]) - {-1}
    if unit.inner is not None and unit.inner != inner:
        return None
    return Fit(unit, reduced_axes(op, of_input), row=True)


def reduced_axes(op: Op, of_input: Sequence[int]) -> Link:
    """The axes of a reduction's output, given those of its input."""
    reduced = op.attributes["axes"]
    if op.attributes["keepdims"]:
        return tuple(-1 if axis in reduced else at for axis, at in enumerate(of_input))
    return tuple(at for axis, at in enumerate(of_input) if axis not in reduced)


def unite(fits: Iterable[Fit], stage: int) -> Fit | None:
    """The fit of an op in one group made of those in which it fits, as far as they can be one.

    Args:
        fits: The fits, from the highest stage down.
        stage: The lowest stage that the op can have, for what it uses besides.

    Returns:
        The fit, whose group has the op's stage; None where the op needs a group of its own.
    """
    found: Fit | None = None
    for fit in fits:
        level = max(stage, found.unit.stage) if found else stage
        merged = [fit.unit, found.unit] if found else [fit.unit]
        joint = None
        if _may_rise(fit, level, merged):
            joint = merge(found, fit) if found else fit
        if joint is None:
            stage = max(stage, fit.unit.stage + 1)
        else:
            found = joint
    if found is None or not _may_rise(found, stage, [found.unit]):
        return None
    found.unit.stage = max(stage, found.unit.stage)
    return found


def _may_rise(fit: Fit, stage: int, merged: Iterable[Unit]) -> bool:
    """Whether a group may wait for what an op needs: the sum of a whole tensor not, for scalar work."""
    if fit.row and not fit.unit.rows and fit.unit.stage < stage:
        return False
    return fit.unit.may_rise(stage, merged)


def unite_siblings(unit: Unit, others: Iterable[Unit]) -> None:
    """Take in groups of the same stage that reduce the same axes of what this one reads."""
    for other in others:
        same_kind = (other.stage, other.phase) == (unit.stage, unit.phase) and other.inner
        if other is unit or not same_kind or len(unit.ops) + len(other.ops) >= LARGEST_GROUP:
            continue
        axes = _by_shared_read(unit, other)
        if axes is not None and frozenset(axes[axis] for axis in other.inner or ()) == unit.inner:
            unit.absorb(other, axes)


def _by_shared_read(unit: Unit, other: Unit) -> list[int] | None:
    """For each axis of the other domain the axis here, where both read a value along all their axes."""
    for value, there in other.reads.items():
        here = unit.reads.get(value, ())
        axes = [-1] * len(other.domain)
        for from_, to in zip(there, here, strict=False):
            if from_ >= 0:
                axes[from_] = to
        if sorted(axes) == list(range(len(unit.domain))):
            return axes
    return None


def merge(a: Fit, b: Fit) -> Fit | None:
    """The fit of an op in the union of two groups that it fits in, which is made; None: they do not unite."""
    if a.row and not b.row:
        a, b = b, a
    if len(a.unit.ops) + len(b.unit.ops) >= LARGEST_GROUP:
        return None
    axes = _as_rows(a, b) if b.row and not a.row else _paired(a, b)
    if axes is None:
        return None
    b.unit.absorb(a.unit, axes)
    return b


def _through_output(source: Fit, target: Fit) -> list[int]:
    """For each axis of one domain the axis of the other, where both are the output's; -1 elsewhere."""
    axes = [-1] * len(source.unit.domain)
    for here, there in zip(source.axes, target.axes, strict=True):
        if here >= 0:
            axes[here] = there
    return axes


def _as_rows(source: Fit, target: Fit) -> list[int] | None:
    """The axes of a domain among the rows of the other, unless it has reductions of its own."""
    return None if source.unit.inner else _through_output(source, target)


def _paired(source: Fit, target: Fit) -> list[int] | None:
    """The axes of one domain in the other, both walked by an output of the same level."""
    axes = _through_output(source, target)
    one, other = source.unit, target.unit
    if source.row:
        if not one.rows:
            return None  # sums of unrelated whole tensors would only wait for each other
        inner, theirs = sorted(one.inner or ()), sorted(other.inner or ())
        if [one.domain[axis] for axis in inner] != [other.domain[axis] for axis in theirs]:
            return None
        for axis, there in zip(inner, theirs, strict=True):
            axes[axis] = there
    if one.inner is not None and other.inner is not None:
        return axes if {axes[axis] for axis in one.inner} == other.inner else None
    return axes
