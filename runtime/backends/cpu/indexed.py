"""Gather, scatter_add and check: instructions that follow indices, as functions."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.backends.cpu.kernel import Sizes
from lazyflow.runtime.backends.cpu.lanes import apply, from_stored, to_stored
from lazyflow.runtime.backends.cpu.nest import LANES, Read, as_size
from lazyflow.runtime.backends.cpu.writer import STORED, Writer, is_unsigned, vector
from lazyflow.runtime.dimensions import Size
from lazyflow.runtime.dtypes import DType


@dataclass
class IndexFunction:
    """Writes ``i64 f(ptr a, ptr b, ptr c, ptr sizes, ptr fault)``; 1 where an index is out of range.

    ``reads`` are the instruction's accesses in the order of its fields: table, index, out or source.
    """

    item: schema.Gather | schema.ScatterAdd | schema.Check
    reads: Sequence[Read]
    names: tuple[str, ...]

    @property
    def key(self) -> object:
        """Equal for instructions that can share one function."""
        shape = tuple((r.dtype, tuple(r.strides)) for r in self.reads)
        return type(self.item), self.item.space, self._limit, self._step, shape, self.names

    @property
    def _limit(self) -> schema.Extent:
        return self.item.size if isinstance(self.item, schema.Check) else self.item.axis_size

    @property
    def _step(self) -> schema.Extent:
        return 0 if isinstance(self.item, schema.Check) else self.item.axis_stride

    def text(self, name: str) -> tuple[str, Writer, Size]:
        """The definition of the function under a name."""
        writer = Writer()
        sizes = Sizes(writer, self.names)
        extents = [as_size(e) for e in self.item.space]
        index = self.reads[0 if isinstance(self.item, schema.Check) else 1]
        together = self._moves_together(extents, index)
        if isinstance(self.item, schema.ScatterAdd):
            self._clear(writer, sizes)
        with ExitStack() as loops:
            looped = extents[:-1] if together else extents
            place = [loops.enter_context(writer.loop("0", sizes[e])) for e in looped]
            place += ["0"] if together else []
            found = self._checked(writer, sizes, index, place)
            if together:
                self._move_row(writer, sizes, place, found, extents[-1])
            elif not isinstance(self.item, schema.Check):
                self._move(writer, sizes, place, found, 1)
        writer.line("ret i64 0")
        pointers = ", ".join(f"ptr %a{i}" for i in range(len(self.reads)))
        head = f"define internal i64 @{name}({pointers}, ptr %sizes, ptr %fault) #0"
        lines = "\n".join(["entry:", *writer.entry, *writer.lines])
        return f"{head} {{\n{lines}\n}}", writer, 1

    def _moves_together(self, extents: list[Size], index: Read) -> bool:
        """Whether whole rows move: one index for the last axis, along which all memory is contiguous."""
        if isinstance(self.item, schema.Check) or not extents:
            return False
        table, moved = self.reads[0], self.reads[2]
        return index.strides[-1] == 0 and table.strides[-1] == 1 and moved.strides[-1] == 1

    def _checked(self, writer: Writer, sizes: Sizes, index: Read, place: list[str]) -> str:
        number = 0 if isinstance(self.item, schema.Check) else 1
        type_ = STORED[index.dtype]
        found = writer.let(f"load {type_}, ptr {_address(writer, sizes, f'%a{number}', index, place)}")
        if type_ != "i64":
            found = writer.let(f"{'zext' if is_unsigned(index.dtype) else 'sext'} {type_} {found} to i64")
        outside = writer.let(f"icmp uge i64 {found}, {sizes[as_size(self._limit)]}")
        with writer.branch(outside):
            writer.line(f"store i64 {found}, ptr %fault")
            writer.line("ret i64 1")
            writer.block(writer.fresh("unreached"))
        return found

    def _move_row(self, writer: Writer, sizes: Sizes, place: list[str], found: str, extent: Size) -> None:
        width = LANES
        with writer.loop("0", sizes[extent], width) as lane:
            self._move(writer, sizes, [*place[:-1], lane], found, width)
        with writer.loop(writer.whole_steps("0", sizes[extent], width), sizes[extent]) as lane:
            self._move(writer, sizes, [*place[:-1], lane], found, 1)

    def _move(self, writer: Writer, sizes: Sizes, place: list[str], found: str, width: int) -> None:
        table, moved = self.reads[0], self.reads[2]
        step = writer.let(f"mul i64 {found}, {sizes[as_size(self._step)]}")
        entry = writer.let(f"getelementptr {STORED[table.dtype]}, ptr %a0, i64 {step}")
        entry = _address(writer, sizes, entry, table, place)
        other = _address(writer, sizes, "%a2", moved, place)
        type_, align = vector(STORED[table.dtype], width), table.dtype.itemsize
        if isinstance(self.item, schema.Gather):
            value = writer.let(f"load {type_}, ptr {entry}, align {align}")
            writer.line(f"store {type_} {value}, ptr {other}, align {align}")
            return
        old, new = (writer.let(f"load {type_}, ptr {a}, align {align}") for a in (entry, other))
        total = _sum(writer, width, old, new, table.dtype)
        writer.line(f"store {type_} {total}, ptr {entry}, align {align}")

    def _clear(self, writer: Writer, sizes: Sizes) -> None:
        """Zero the table: its extent is that of the space with the indexed axis in place of the index."""
        writer.declarations.add("declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)")
        total = sizes[self._table_elements()]
        size = writer.let(f"mul i64 {total}, {self.reads[0].dtype.itemsize}")
        writer.line(f"call void @llvm.memset.p0.i64(ptr %a0, i8 0, i64 {size}, i1 false)")

    def _table_elements(self) -> Size:
        table = self.reads[0]
        total = as_size(self._limit)
        for stride, extent in zip(table.strides, self.item.space, strict=True):
            total = total * (as_size(extent) if stride != 0 else 1)
        return total


def _sum(writer: Writer, width: int, old: str, new: str, dtype: DType) -> str:
    parts = [from_stored(writer, width, x, dtype) for x in (old, new)]
    wide = dtypes.float32 if dtype in dtypes.HALF else dtype
    return to_stored(writer, width, apply(writer, width, "add", parts, wide, dtype), dtype)


def _address(writer: Writer, sizes: Sizes, pointer: str, access: Read, place: list[str]) -> str:
    offset = "0"
    for stride, index in zip(access.strides, place, strict=True):
        if stride != 0 and index != "0":
            step = writer.let(f"mul i64 {index}, {sizes[stride]}")
            offset = writer.let(f"add i64 {offset}, {step}")
    return writer.let(f"getelementptr {STORED[access.dtype]}, ptr {pointer}, i64 {offset}")


def index_function(
    item: schema.Gather | schema.ScatterAdd | schema.Check, reads: Sequence[Read], names: tuple[str, ...]
) -> IndexFunction:
    """The writer of the function of an instruction that follows indices."""
    return IndexFunction(item, reads, names)
