"""Offsets and slots: which buffers share memory, given when each is needed."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from lazyflow.runtime.dimensions import Dimension, Size, at_least, evaluate

ALIGNMENT = 64
SMALL = (
    4096  # bytes: small buffers that live long would split the room for large ones, and have a region apart
)
TYPICAL = 64  # what a name counts where sizes are only compared for a good choice
_SEARCHED_BY_SIZE = 1024  # buffers: up to here the search by size, which is quadratic, is tried as well
_MOST_BOUNDS = 16  # sums that are kept as lower bounds
_COMPARED = 16  # sizes of free slots that are compared with a buffer's


class Span(NamedTuple):
    """A need for memory: bytes, from one instruction to another, both included."""

    size: Size
    first: int
    last: int


class Place(NamedTuple):
    """Where a span's bytes are."""

    slot: int
    offset: int


def typical(size: Size) -> int:
    """A size where every name is :data:`TYPICAL`."""
    return size if isinstance(size, int) else evaluate(size, dict.fromkeys(size.names, TYPICAL))


def place(spans: Sequence[Span]) -> tuple[list[Place], list[Size]]:
    """Places for spans, sorted by their first instruction, so that those that overlap in time share no byte.

    Returns:
        The place of each span, and the sizes of the slots. Spans of static size are in slot 0.
    """
    static = [number for number, span in enumerate(spans) if isinstance(span.size, int)]
    named = [number for number, span in enumerate(spans) if isinstance(span.size, Dimension)]
    offsets, peak = _offsets([spans[number] for number in static])
    slots: list[Size] = [peak] if static else []
    chosen, sizes = _slots([spans[number] for number in named])
    places = {number: Place(0, offset) for number, offset in zip(static, offsets, strict=True)}
    for number, slot in zip(named, chosen, strict=True):
        places[number] = Place(len(slots) + slot, 0)
    return [places[number] for number in range(len(spans))], slots + sizes


# --- static sizes: offsets ----------------------------------------------------------------------------------


def _offsets(spans: Sequence[Span]) -> tuple[list[int], int]:
    """The offset of each span of static size, and the bytes that all need."""
    sizes = [-(-typical(span.size) // ALIGNMENT) * ALIGNMENT for span in spans]
    offsets = [0] * len(spans)
    start = 0
    for region in (
        [number for number, size in enumerate(sizes) if size <= SMALL],
        [number for number, size in enumerate(sizes) if size > SMALL],
    ):
        found, used = _best([spans[n] for n in region], [sizes[n] for n in region])
        for number, offset in zip(region, found, strict=True):
            offsets[number] = start + offset
        start += used
    ends = (offset + typical(span.size) for offset, span in zip(offsets, spans, strict=True))
    return offsets, max(ends, default=0)


def _best(spans: Sequence[Span], sizes: Sequence[int]) -> tuple[list[int], int]:
    """The better of two searches."""
    found, used = _in_time_order(spans, sizes)
    if len(spans) <= _SEARCHED_BY_SIZE and spans:
        other, needed = _by_size(spans, sizes)
        if needed < used:
            return other, needed
    return found, used


def _in_time_order(spans: Sequence[Span], sizes: Sequence[int]) -> tuple[list[int], int]:
    """Give each span, as it begins, the smallest free block that holds it."""
    free = _FreeBlocks()
    ending: list[tuple[int, int]] = []  # last instruction and number, sorted downwards
    offsets: list[int] = []
    for number, (span, size) in enumerate(zip(spans, sizes, strict=True)):
        while ending and -ending[-1][0] < span.first:
            gone = -ending.pop()[1]
            free.give(offsets[gone], sizes[gone])
        offsets.append(free.take(size))
        insort(ending, (-span.last, -number))
    return offsets, free.end


class _FreeBlocks:
    """The free bytes below ``end``, as blocks that do not touch each other."""

    def __init__(self) -> None:
        self.end = 0
        self._blocks: list[tuple[int, int]] = []  # start, size

    def take(self, size: int) -> int:
        """The start of the smallest block that is large enough; else the end grows."""
        fitting = [(length, start) for start, length in self._blocks if length >= size]
        if fitting:
            length, start = min(fitting)
            at = bisect_left(self._blocks, (start, 0))
            self._blocks[at : at + 1] = [(start + size, length - size)] if length > size else []
            return start
        start = self.end
        if self._blocks and sum(self._blocks[-1]) == self.end:
            start = self._blocks.pop()[0]
        self.end = start + size
        return start

    def give(self, start: int, size: int) -> None:
        """Free a block, and join it with its neighbours."""
        at = bisect_left(self._blocks, (start, 0))
        if at < len(self._blocks) and self._blocks[at][0] == start + size:
            size += self._blocks.pop(at)[1]
        if at and sum(self._blocks[at - 1]) == start:
            before = self._blocks.pop(at - 1)
            start, size = before[0], before[1] + size
            at -= 1
        self._blocks.insert(at, (start, size))


def _by_size(spans: Sequence[Span], sizes: Sequence[int]) -> tuple[list[int], int]:
    """Give each span, from the largest down, the lowest gap between those that it overlaps in time."""
    count = len(spans)
    first = np.array([span.first for span in spans])
    last = np.array([span.last for span in spans])
    start = np.zeros(count, np.int64)
    end = np.zeros(count, np.int64)
    placed = np.zeros(count, bool)
    for number in sorted(range(count), key=lambda n: (-sizes[n], n)):
        clash = np.flatnonzero(placed & (first <= last[number]) & (last >= first[number]))
        clash = clash[np.argsort(start[clash], kind="stable")]
        filled = np.concatenate([[0], np.maximum.accumulate(end[clash])])
        fitting = np.flatnonzero(start[clash] - filled[:-1] >= sizes[number])
        start[number] = filled[fitting[0]] if fitting.size else filled[-1]
        end[number] = start[number] + sizes[number]
        placed[number] = True
    return start.tolist(), int(end.max())


# --- named dimensions: slots --------------------------------------------------------------------------------


def _slots(spans: Sequence[Span]) -> tuple[list[int], list[Size]]:
    """The slot of each span, and the sizes of the slots; a slot is as large as its largest span, provably."""
    sizes: list[Size] = []
    free: dict[Size, list[int]] = {}
    ending: list[tuple[int, int]] = []  # last instruction and slot, sorted downwards
    chosen = []
    for span in spans:
        while ending and -ending[-1][0] < span.first:
            slot = -ending.pop()[1]
            free.setdefault(sizes[slot], []).append(slot)
        size = _fitting(span.size, free)
        if size is None:
            slot = len(sizes)
            sizes.append(span.size)
        else:
            slot = free[size].pop()
            if not free[size]:
                del free[size]
            sizes[slot] = size if at_least(size, span.size) else span.size
        insort(ending, (-span.last, -slot))
        chosen.append(slot)
    return chosen, sizes


def _fitting(size: Size, free: Collection[Size]) -> Size | None:
    """The free size that wastes least: the smallest that is large enough, else the largest that may grow."""
    if size in free:
        return size
    wanted = typical(size)
    by_waste = sorted(free, key=lambda other: _waste(typical(other), wanted))
    for other in by_waste[:_COMPARED]:
        if at_least(other, size) or at_least(size, other):
            return other
    return None


def _waste(has: int, wanted: int) -> tuple[bool, int]:
    return has < wanted, abs(has - wanted)


# --- what no placement can go below -------------------------------------------------------------------------


def lower_bound(spans: Sequence[Span], instructions: int) -> list[Size]:
    """The sums of bytes needed at once, at those instructions where no other sum is certainly as large."""
    columns: dict[tuple[str, ...], int] = {}
    changes: list[tuple[int, int, int]] = []
    for span in spans:
        terms = span.size.terms if isinstance(span.size, Dimension) else (((), span.size),)
        for monomial, coefficient in terms:
            column = columns.setdefault(monomial, len(columns))
            changes.append((span.first, column, coefficient))
            changes.append((span.last + 1, column, -coefficient))
    if not changes:
        return []
    table = np.zeros((instructions + 2, len(columns)), np.int64)
    where, which, amounts = (np.array(each) for each in zip(*changes, strict=True))
    np.add.at(table, (where, which), amounts)
    totals = np.cumsum(table, axis=0)
    weights = np.array([float(TYPICAL) ** len(monomial) for monomial in columns])
    rows = _maximal(totals[np.lexsort([*totals.T[::-1], -(totals @ weights)])])
    sizes = sorted((_polynomial(row, list(columns)) for row in rows), key=typical, reverse=True)
    return [size for n, size in enumerate(sizes) if not any(at_least(larger, size) for larger in sizes[:n])]


def _maximal(totals: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> list[list[int]]:
    """The first 16 rows of which no row before is at least as large in every column."""
    kept: list[list[int]] = []
    while len(totals) and len(kept) < _MOST_BOUNDS:
        top = totals[0]
        kept.append(top.tolist())
        totals = totals[(totals > top).any(axis=1)]
    return kept


def _polynomial(row: Sequence[int], monomials: Sequence[tuple[str, ...]]) -> Size:
    total: Size = 0
    for coefficient, monomial in zip(row, monomials, strict=True):
        if coefficient:
            total = total + (Dimension(((monomial, coefficient),)) if monomial else coefficient)
    return total
