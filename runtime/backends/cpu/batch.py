"""A batched update as a function: one loop over the segments, one body over each segment's elements."""

from __future__ import annotations

from dataclasses import dataclass

from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.backends.cpu.kernel import KernelFunction
from lazyflow.runtime.backends.cpu.lanes import from_stored
from lazyflow.runtime.backends.cpu.nest import Read, make_nest
from lazyflow.runtime.backends.cpu.writer import COMPUTED, STORED, Writer
from lazyflow.runtime.dimensions import MAX_EXTENT, Size
from lazyflow.runtime.dtypes import DType
from lazyflow.runtime.scalars import SCALARS

_LENGTH = "length"  # the one size that the body of a segment depends on


@dataclass
class BatchFunction:
    """Writes ``void batch(ptr buffers, ptr column...)`` and ``i64 batch.check(ptr buffers, ptr fault)``.

    The check gives 1 where the group index of a segment is out of range; it is made before any effect.
    """

    item: schema.KernelBatch
    reads: list[DType]
    columns: list[DType]
    writes: list[DType]
    groups: int

    def text(self, name: str) -> tuple[str, Writer, Size]:
        """The definition of the function under a name."""
        part = f"{name}.segment"
        body = self._body()
        definitions = [self._tables(name), body.text(part), self._check(name)]
        writer = Writer()
        length = writer.slot("i64")
        with writer.loop("0", str(len(self.item.segments))) as segment:
            pointers = [self._pointer(writer, name, segment, i) for i in range(self._width)]
            group = self._group(writer, pointers.pop())
            scalars = [self._scalar(writer, i, group) for i in range(len(self.columns))]
            place = writer.let(f"getelementptr i64, ptr @{name}.sizes, i64 {segment}")
            count = writer.let(f"load i64, ptr {place}")
            writer.line(f"store i64 {count}, ptr {length}")
            given = [f"ptr {p}" for p in pointers[: len(self.reads)]]
            given += scalars + [f"ptr {p}" for p in pointers[len(self.reads) :]]
            end = count if body.range != 1 else "1"
            writer.line(f"call void @{part}({', '.join(given)}, ptr {length}, i64 0, i64 {end})")
        writer.line("ret void")
        columns = "".join(f", ptr %column{i}" for i in range(len(self.columns)))
        writer.functions |= body.writer.functions
        writer.declarations |= body.writer.declarations
        definitions.append(_definition(f"void @{name}(ptr %buffers{columns})", writer))
        return "\n".join(definitions), writer, 1

    @property
    def _width(self) -> int:
        return len(self.reads) + len(self.writes) + 1

    def _tables(self, name: str) -> str:
        segments = self.item.segments
        rows = [[*s.reads, *s.writes, s.group] for s in segments]
        table = ", ".join(f"i32 {number}" for row in rows for number in row)
        sizes = ", ".join(f"i64 {segment.size}" for segment in segments)
        return (
            f"@{name}.buffers = private constant [{len(segments) * self._width} x i32] [{table}]\n"
            f"@{name}.sizes = private constant [{len(segments)} x i64] [{sizes}]"
        )

    def _check(self, name: str) -> str:
        writer = Writer()
        with writer.loop("0", str(len(self.item.segments))) as segment:
            group = self._group(writer, self._pointer(writer, name, segment, self._width - 1))
            with writer.branch(writer.let(f"icmp uge i64 {group}, {self.groups}")):
                writer.line(f"store i64 {group}, ptr %fault")
                writer.line("ret i64 1")
                writer.block(writer.fresh("unreached"))
        writer.line("ret i64 0")
        return _definition(f"i64 @{name}.check(ptr %buffers, ptr %fault)", writer)

    def _body(self) -> KernelFunction:
        reads = [Read(dtype, [1]) for dtype in self.reads] + [Read(dtype, [0]) for dtype in self.columns]
        reduces = any(call.op in SCALARS and SCALARS[call.op].reduction for call in self.item.body)
        writes = [Read(dtype, [1]) for dtype in self.writes]
        nest = make_nest((_LENGTH,), int(reduces), reads, writes, self.item.body, list(self.item.results))
        # variables are read and written in place
        return KernelFunction(nest, [_LENGTH], late_writes=True, scalars=len(self.columns))

    def _pointer(self, writer: Writer, name: str, segment: str, position: int) -> str:
        row = writer.let(f"mul i64 {segment}, {self._width}")
        place = writer.let(f"add i64 {row}, {position}")
        place = writer.let(f"getelementptr i32, ptr @{name}.buffers, i64 {place}")
        number = writer.let(f"sext i32 {writer.let(f'load i32, ptr {place}')} to i64")
        return writer.let(f"load ptr, ptr {writer.let(f'getelementptr ptr, ptr %buffers, i64 {number}')}")

    def _group(self, writer: Writer, pointer: str) -> str:
        return writer.let(f"sext i32 {writer.let(f'load i32, ptr {pointer}')} to i64")

    def _scalar(self, writer: Writer, column: int, group: str) -> str:
        dtype = self.columns[column]
        (stride,) = self.item.columns[column].strides
        place = writer.let(f"mul i64 {group}, {stride}")
        place = writer.let(f"getelementptr {STORED[dtype]}, ptr %column{column}, i64 {place}")
        value = from_stored(writer, 1, writer.let(f"load {STORED[dtype]}, ptr {place}"), dtype)
        return f"{COMPUTED[dtype]} {value}"


def _definition(head: str, writer: Writer) -> str:
    lines = "\n".join(["entry:", *writer.entry, *writer.lines])
    return f"define internal {head} #0 {{\n{lines}\n}}"


def batch_function(program: schema.Program, item: schema.KernelBatch) -> BatchFunction:
    """The writer of a batched update's function."""
    first = item.segments[0]

    def dtype(number: int) -> DType:
        return dtypes.ALL[program.buffers[number].dtype]

    columns = [dtype(access.buffer) for access in item.columns]
    groups = min((_rows(program, access) for access in item.columns), default=MAX_EXTENT)
    return BatchFunction(
        item, [dtype(n) for n in first.reads], columns, [dtype(n) for n in first.writes], groups
    )


def _rows(program: schema.Program, access: schema.Access) -> int:
    """How many rows a column has; one that does not move has any number."""
    size, (stride,) = program.buffers[access.buffer].size, access.strides
    if not isinstance(stride, int) or not isinstance(size, int) or not isinstance(access.offset, int):
        return 1  # one row is what any size has
    return (size - access.offset - 1) // stride + 1 if stride else MAX_EXTENT
