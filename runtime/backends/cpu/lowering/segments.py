"""One body over many segments, each a flat array: batched updates, and reductions of many whole arrays.

Where the body reduces, a large segment is reduced in blocks, then over what the blocks gave: threads share
the blocks, which depend on sizes alone, so that bits do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from lazyflow.runtime import dtypes
from lazyflow.runtime.backends.cpu.lowering.bodies import BLOCK, Body
from lazyflow.runtime.backends.cpu.lowering.items import Along, Computation, Item, Operand, Stream, add_items
from lazyflow.runtime.backends.cpu.lowering.tasks import Address, Tasks

_ITEM = 32768  # elements that one thread updates at a time


class Segments(NamedTuple):
    """A body, and its segments.

    Attributes:
        body, results: What is computed.
        reads, writes: The operands, those that are read and move with elements first.
        groups: The group of each segment, where they have one.
        sizes: The number of elements of each segment.
    """

    body: Body
    results: tuple[int, ...]
    reads: Sequence[Stream]
    writes: Sequence[Stream]
    groups: Sequence[Address]
    sizes: Sequence[int]

    def chosen(self, numbers: Sequence[int]) -> Segments:
        """Some of the segments."""

        def some(streams: Sequence[Stream]) -> list[Stream]:
            return [
                s._replace(places=[s.places[n] for n in numbers]) if s.operand.own else s for s in streams
            ]

        groups = [self.groups[n] for n in numbers] if self.groups else ()
        sizes = [self.sizes[n] for n in numbers]
        return self._replace(reads=some(self.reads), writes=some(self.writes), groups=groups, sizes=sizes)

    def part(
        self, targets: Sequence[int], writes: Sequence[Stream], given: Mapping[int, Stream]
    ) -> Computation:
        """What computes some values, of which ``given`` are known."""
        part = self.body.part(targets, given)
        reads = [given[v] if v in given else self.reads[v] for v in part.reads]
        return Computation(part.calls, part.results, reads, writes, self.groups)


def add_segments(tasks: Tasks, whole: Segments) -> None:
    """Call what the body computes, for all segments."""
    if not whole.body.reductions():
        add_items(tasks, whole.part(whole.results, whole.writes, {}), list(_pieces(whole.sizes, _ITEM)))
        return
    splits = whole.body.splits()
    large = [number for number, size in enumerate(whole.sizes) if splits and size >= 2 * BLOCK]
    small = [number for number in range(len(whole.sizes)) if number not in set(large)]
    if small:
        chosen = whole.chosen(small)
        items = [(number, 0, size) for number, size in enumerate(chosen.sizes)]
        add_items(tasks, chosen.part(chosen.results, chosen.writes, {}), items)
    if large:
        _add_large(tasks, whole.chosen(large))


def _pieces(sizes: Sequence[int], step: int) -> Iterator[Item]:
    for number, size in enumerate(sizes):
        for begin in range(0, size, step):
            yield number, begin, min(begin + step, size)


def _add_large(tasks: Tasks, whole: Segments) -> None:
    """Reduce in blocks, level by level, then compute what is left."""
    given: dict[int, Stream] = {}
    for values in whole.body.reductions():
        given |= _reduced(tasks, whole, values, given)
    pairs = list(zip(whole.results, whole.writes, strict=True))
    for along in (Along.ELEMENTS, Along.NOTHING):
        mine = [(value, write) for value, write in pairs if write.operand.along is along]
        if mine:
            results, writes = zip(*mine, strict=True)
            step = _ITEM if along is Along.ELEMENTS else max(whole.sizes)
            add_items(tasks, whole.part(results, writes, given), list(_pieces(whole.sizes, step)))


def _reduced(
    tasks: Tasks, whole: Segments, values: Sequence[int], given: Mapping[int, Stream]
) -> dict[int, Stream]:
    """What reductions give for each segment, from what they give for each block."""
    calls = [whole.body.call(value) for value in values]
    kinds = [dtypes.ALL[call.dtype] for call in calls]
    blocks = list(_pieces(whole.sizes, BLOCK))
    partial = [(tasks.add_scratch((len(blocks),), kind), 0) for kind in kinds]
    total = [(tasks.add_scratch((len(whole.sizes),), kind), 0) for kind in kinds]

    def streams(places: Sequence[Address], along: Along) -> list[Stream]:
        return [Stream(Operand(k, along, own=False), [p]) for k, p in zip(kinds, places, strict=True)]

    add_items(tasks, whole.part(values, streams(partial, Along.ITEMS), given), blocks)
    again = tuple(replace(call, args=(number,)) for number, call in enumerate(calls))
    results = tuple(range(len(calls), 2 * len(calls)))
    reads, writes = streams(partial, Along.ELEMENTS), streams(total, Along.SEGMENTS)
    add_items(tasks, Computation(again, results, reads, writes), _ranges(blocks))
    return dict(zip(values, writes, strict=True))


def _ranges(blocks: Sequence[Item]) -> list[Item]:
    """Which of the blocks are those of each segment."""
    counts: dict[int, int] = {}
    for segment, _, _ in blocks:
        counts[segment] = counts.get(segment, 0) + 1
    found, first = [], 0
    for segment, count in counts.items():
        found.append((segment, first, first + count))
        first += count
    return found
