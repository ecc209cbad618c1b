"""A batched update: one body over the elements of many segments, cut into items of a fixed length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.backends.cpu.kernel import KernelFunction
from lazyflow.runtime.backends.cpu.lanes import from_stored
from lazyflow.runtime.backends.cpu.nest import Read, make_nest, weight
from lazyflow.runtime.backends.cpu.tasks import Address, Shared, Tasks, Written
from lazyflow.runtime.backends.cpu.writer import COMPUTED, STORED, Writer, definition
from lazyflow.runtime.dimensions import MAX_EXTENT
from lazyflow.runtime.dtypes import DType
from lazyflow.runtime.scalars import SCALARS

_LENGTH = "length"  # the one size that the body of a segment depends on
_ITEM = 32768  # elements that one thread updates at a time


@dataclass(frozen=True)
class BatchFunction:
    """Writes the function of a batched update; its range is that of the items.

    Its numbers are three per item: the segment, and where its elements begin and end. Its addresses are those
    of the columns, then for each segment of what it reads, what it writes, and of its group.
    """

    body: tuple[schema.Call, ...]
    results: tuple[int, ...]
    reads: tuple[DType, ...]
    columns: tuple[DType, ...]
    strides: tuple[schema.Extent, ...]
    writes: tuple[DType, ...]

    @property
    def width(self) -> int:
        """The number of addresses of a segment."""
        return len(self.reads) + len(self.writes) + 1

    @property
    def reduces(self) -> bool:
        """Whether the body reduces over a segment, which then is one item."""
        return any(call.op in SCALARS and SCALARS[call.op].reduction for call in self.body)

    def describe(self, name: str) -> tuple[Shared, Callable[[], Written]]:
        """What callers need to know of the function, and its text when it is asked for."""
        shared = Shared(name)
        return shared, lambda: self._written(shared)

    def _written(self, shared: Shared) -> Written:
        part = f"{shared.name}.segment"
        body = self._body()
        writer = Writer()
        text = body.text(part)
        length = writer.slot("i64")
        items = writer.argument(0)
        with writer.loop("%begin", "%end") as item:
            row = writer.let(f"mul i64 {item}, 3")
            segment, begin, end = (writer.element(items, "i64", row, i) for i in range(3))
            first = writer.let(
                f"add i64 {writer.let(f'mul i64 {segment}, {self.width}')}, {1 + len(self.columns)}"
            )
            pointers = [writer.element("%args", "ptr", first, i) for i in range(self.width)]
            group = writer.let(f"sext i32 {writer.let(f'load i32, ptr {pointers.pop()}')} to i64")
            writer.line(f"store i64 {end}, ptr {length}")
            given = [f"ptr {p}" for p in pointers[: len(self.reads)]]
            given += [self._scalar(writer, i, group) for i in range(len(self.columns))]
            given += [f"ptr {p}" for p in pointers[len(self.reads) :]]
            bounds = f"i64 {begin}, i64 {end}" if body.range != 1 else "i64 0, i64 1"
            writer.line(f"call void @{part}({', '.join(given)}, ptr {length}, {bounds})")
        writer.line("ret i64 0")
        writer.functions |= body.writer.functions
        writer.declarations |= body.writer.declarations
        return Written(f"{text}\n{definition(shared.name, writer)}", writer, shared)

    def _body(self) -> KernelFunction:
        reads = [Read(dtype, [1]) for dtype in self.reads] + [Read(dtype, [0]) for dtype in self.columns]
        writes = [Read(dtype, [1]) for dtype in self.writes]
        nest = make_nest((_LENGTH,), int(self.reduces), reads, writes, self.body, list(self.results))
        # variables are read and written in place
        return KernelFunction(nest, [_LENGTH], late_writes=True, scalars=len(self.columns))

    def _scalar(self, writer: Writer, column: int, group: str) -> str:
        dtype = self.columns[column]
        place = writer.let(f"mul i64 {group}, {self.strides[column]}")
        stored = writer.element(writer.argument(1 + column), STORED[dtype], place, 0)
        return f"{COMPUTED[dtype]} {from_stored(writer, 1, stored, dtype)}"


def add_batch(tasks: Tasks, item: schema.KernelBatch) -> None:
    """Call the function of a batched update."""
    first = item.segments[0]

    def kept(buffers: tuple[int, ...]) -> tuple[DType, ...]:
        return tuple(dtypes.ALL[tasks.program.buffers[number].dtype] for number in buffers)

    function = BatchFunction(
        item.body,
        item.results,
        kept(first.reads),
        kept(tuple(column.buffer for column in item.columns)),
        tuple(column.strides[0] for column in item.columns),
        kept(first.writes),
    )
    shared = tasks.module.function(("batch", function), function.describe)
    args: list[Address] = [tasks.address(column) for column in item.columns]
    numbers: list[int] = []
    for index, segment in enumerate(item.segments):
        args += [(buffer, 0) for buffer in (*segment.reads, *segment.writes, segment.group)]
        step = segment.size if function.reduces else _ITEM
        for begin in range(0, segment.size, max(1, step)):
            numbers += [index, begin, min(begin + step, segment.size)]
    total = sum(segment.size for segment in item.segments) * (weight(item.body) + function.width)
    tasks.add(shared._replace(extent=len(numbers) // 3, work=total), args, tuple(numbers))


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
