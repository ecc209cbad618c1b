"""Instructions that are one body over flat segments: batched updates, and reductions of whole arrays."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, TypeAlias

from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.backends.cpu.code.nest import contiguous
from lazyflow.runtime.backends.cpu.lowering.bodies import Body
from lazyflow.runtime.backends.cpu.lowering.items import Along, Operand, Stream
from lazyflow.runtime.backends.cpu.lowering.segments import Segments
from lazyflow.runtime.backends.cpu.lowering.tasks import Address, Shared, Tasks
from lazyflow.runtime.dimensions import MAX_EXTENT
from lazyflow.runtime.dtypes import DType

_Memory: TypeAlias = tuple[str, str | int]  # a place, and its name or its slot


class _Stretch(NamedTuple):
    """Memory that a segment touches: the bytes from start to end."""

    memory: _Memory
    start: int
    end: int
    segment: int


def segments_of(tasks: Tasks, run: Sequence[schema.AnyInstruction]) -> Segments | None:
    """The segments of instructions of one kind (see ``runs``) together; None where they need an order."""
    found = [
        segments_of_batch(tasks, item) if isinstance(item, schema.KernelBatch) else _of_kernel(tasks, item)
        for item in run
        if isinstance(item, schema.KernelBatch | schema.Kernel)
    ]
    joined = found[0]._replace(
        reads=[_joined(streams) for streams in zip(*(each.reads for each in found), strict=True)],
        writes=[_joined(streams) for streams in zip(*(each.writes for each in found), strict=True)],
        groups=[group for each in found for group in each.groups],
        sizes=[size for each in found for size in each.sizes],
    )
    return joined if _apart(tasks, joined) else None


def runs(tasks: Tasks) -> Iterator[tuple[int, list[schema.AnyInstruction]]]:
    """The program's instructions, those of one kind in a row together, and the number of the first."""
    number = 0
    for _, group in groupby(tasks.program.instructions, lambda item: _kind(tasks, item)):
        run = list(group)
        yield number, run
        number += len(run)


def _kind(tasks: Tasks, item: schema.Instruction) -> object:
    """What instructions have in common that differ in their segments alone; never equal for others."""
    if isinstance(item, schema.KernelBatch):
        first = item.segments[0]
        kinds = tuple(_dtype(tasks, number) for number in (*first.reads, *first.writes))
        return item.when, item.body, item.results, item.columns, kinds
    if isinstance(item, schema.Kernel) and _is_flat(item):
        moving = tuple(_moves(item, access) for access in item.reads)
        kinds = tuple(tasks.dtype(access) for access in _accesses(item))
        return item.when, item.body, tuple(write.value for write in item.writes), moving, kinds
    return object()


def segments_of_batch(tasks: Tasks, item: schema.KernelBatch) -> Segments:
    """The segments of one batch."""
    reads, writes = (
        [
            Stream(Operand(_dtype(tasks, buffers[0])), [(number, 0) for number in buffers])
            for buffers in zip(*each, strict=True)
        ]
        for each in ([s.reads for s in item.segments], [s.writes for s in item.segments])
    )
    reads += [
        Stream(Operand(tasks.dtype(column), Along.GROUPS, False, column.strides[0]), [tasks.address(column)])
        for column in item.columns
    ]
    groups = [(segment.group, 0) for segment in item.segments]
    sizes = [segment.size for segment in item.segments]
    return Segments(Body(len(reads), item.body), item.results, reads, writes, groups, sizes)


def _of_kernel(tasks: Tasks, item: schema.Kernel) -> Segments:
    fixed = [number for number, access in enumerate(item.reads) if not _moves(item, access)]
    results = [write.value for write in item.writes]
    part = Body(len(item.reads), item.body).part(results, (), last=fixed)

    def stream(access: schema.Access, along: Along) -> Stream:
        return Stream(Operand(tasks.dtype(access), along), [tasks.address(access)])

    reads = [stream(item.reads[v], Along.NOTHING if v in fixed else Along.ELEMENTS) for v in part.reads]
    writes = [stream(write.to, Along.NOTHING) for write in item.writes]
    body = Body(len(reads), part.calls)
    return Segments(body, part.results, reads, writes, (), [_size(item)])


def _is_flat(item: schema.Kernel) -> bool:
    """Whether a kernel reduces arrays without gaps, of known size, to scalars."""
    if not 0 < item.inner == len(item.space) or any(any(write.to.strides) for write in item.writes):
        return False
    known = [*item.space, *(access.offset for access in _accesses(item))]
    if not all(isinstance(extent, int) for extent in known):
        return False
    body, steps = Body(len(item.reads), item.body), _steps(item)
    varying = body.varying([number for number, access in enumerate(item.reads) if _moves(item, access)])
    return (
        bool(body.reductions())
        and all(_strides(item, access) in (steps, ()) for access in item.reads)
        and not any(write.value in varying for write in item.writes)
        and all(call.op not in ("index", "size") for call in item.body)
    )


def _accesses(item: schema.Kernel) -> list[schema.Access]:
    return [*item.reads, *(write.to for write in item.writes)]


def _size(item: schema.Kernel) -> int:
    return math.prod(extent for extent in item.space if isinstance(extent, int))


def _steps(item: schema.Kernel) -> schema.Extents:
    """The strides of an array without gaps, but for axes that have one element."""
    strides = contiguous(item.space)
    return tuple(s for s, extent in zip(strides, item.space, strict=True) if extent != 1)


def _strides(item: schema.Kernel, access: schema.Access) -> schema.Extents:
    """The access's strides, but for axes that have one element; none where it does not move."""
    strides = tuple(s for s, extent in zip(access.strides, item.space, strict=True) if extent != 1)
    return strides if any(strides) else ()


def _moves(item: schema.Kernel, access: schema.Access) -> bool:
    return bool(_strides(item, access))


def _joined(streams: Sequence[Stream]) -> Stream:
    first = streams[0]
    if not first.operand.own:
        return first
    return Stream(first.operand, [place for stream in streams for place in stream.places])


def _apart(tasks: Tasks, whole: Segments) -> bool:
    """Whether no segment touches what another one writes."""
    written = {_stretch(tasks, *each) for each in _places(whole, whole.writes)}
    # each segment may read what it writes: element by element, before
    read = {_stretch(tasks, *each) for each in _places(whole, whole.reads)} - written
    stretches = sorted([(stretch, True) for stretch in written] + [(stretch, False) for stretch in read])
    ends: dict[tuple[_Memory, bool], int] = {}  # how far what is written, or only read, reaches
    for (memory, start, end, _), writes in stretches:
        if start < ends.get((memory, True), 0) or (writes and start < ends.get((memory, False), 0)):
            return False
        ends[memory, writes] = max(end, ends.get((memory, writes), 0))
    return True


def _places(whole: Segments, streams: Sequence[Stream]) -> Iterator[tuple[Operand, Address, int, int]]:
    """Each place where an operand starts, how many elements of it are touched, and by which segment."""
    for operand, places in streams:
        if not operand.own:
            yield operand, places[0], MAX_EXTENT, -1
            continue
        for segment, (place, size) in enumerate(zip(places, whole.sizes, strict=True)):
            yield operand, place, size if operand.along is Along.ELEMENTS else 1, segment


def _stretch(tasks: Tasks, operand: Operand, place: Address, count: int, segment: int) -> _Stretch:
    number, offset = place
    buffer = tasks.program.buffers[number]
    in_arena = buffer.place == "arena"
    within = buffer.size if isinstance(buffer.size, int) else MAX_EXTENT
    # an offset with names is that of a column, of which all of the buffer counts
    start = (offset if isinstance(offset, int) else 0) + (buffer.offset if in_arena else 0)
    end = start + min(count, within) * operand.dtype.itemsize
    return _Stretch((buffer.place, buffer.slot if in_arena else buffer.name), start, end, segment)


def _dtype(tasks: Tasks, number: int) -> DType:
    return dtypes.ALL[tasks.program.buffers[number].dtype]


def add_group_check(tasks: Tasks, item: schema.KernelBatch) -> None:
    """Refuse the group index of a segment for which the columns have no row."""
    groups = count_groups(tasks.program, item)
    args: list[Address] = [(tasks.faults, 0), *((segment.group, 0) for segment in item.segments)]
    tasks.add(Shared("lazyflow.check_groups", len(item.segments)), args, (groups,))


def count_groups(program: schema.Program, item: schema.KernelBatch) -> int:
    """How many rows all columns have."""
    return min((_rows(program, access) for access in item.columns), default=MAX_EXTENT)


def _rows(program: schema.Program, access: schema.Access) -> int:
    """How many rows a column has; one that does not move has any number."""
    size, (stride,) = program.buffers[access.buffer].size, access.strides
    if not isinstance(stride, int) or not isinstance(size, int) or not isinstance(access.offset, int):
        return 1  # one row is what any size has
    return (size - access.offset - 1) // stride + 1 if stride else MAX_EXTENT
