"""Scatter_add of whole rows: their places are sorted by the table's row, then threads share the table.

Each row of the table is the sum, in order, of what belongs to it: the bits of one row added after another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.backends.cpu.code.lanes import apply, from_stored, to_stored
from lazyflow.runtime.backends.cpu.code.nest import COLUMN_LANES, LANES, Read, as_size
from lazyflow.runtime.backends.cpu.code.sizes import Sizes
from lazyflow.runtime.backends.cpu.code.writer import (
    COMPUTED,
    STORED,
    Writer,
    definition,
    is_unsigned,
    vector,
)
from lazyflow.runtime.backends.cpu.lowering.tasks import Shared, Tasks, Written
from lazyflow.runtime.dimensions import Size, elements

_SHORT_ROW = 8  # elements; shorter ones are added one after another in the time that sorting takes


def moves_rows(item: schema.ScatterAdd) -> bool:
    """Whether one index sends a whole row into a table of such rows."""
    width = item.space[-1] if len(item.space) > 1 else 0
    return (
        (isinstance(width, str) or width >= _SHORT_ROW)
        and not any(item.table.strides[:-1])
        and item.table.strides[-1] == item.source.strides[-1] == 1
        and item.index.strides[-1] == 0
    )


def add_rows(tasks: Tasks, item: schema.ScatterAdd) -> None:
    """Call the two functions."""
    rows = elements(as_size(e) for e in item.space[:-1])
    counts = tasks.add_scratch((_text(as_size(item.axis_size) + 2),), dtypes.int64)
    places = tasks.add_scratch((_text(rows),), dtypes.int64)
    table, index, source = (tasks.read(a) for a in (item.table, item.index, item.source))
    names = tasks.program.dimensions
    sort = _Sort(index, tuple(source.strides), item.space[:-1], item.axis_size, names)
    shared = tasks.module.function(("sort rows", sort.key), sort.describe)
    tasks.add(shared, [tasks.address(item.index), (counts, 0), (places, 0), (tasks.faults, 0)])
    total = _Sum(table.dtype, item.space, item.axis_size, item.axis_stride, names)
    shared = tasks.module.function(("sum rows", total), total.describe)
    tasks.add(shared, [tasks.address(item.table), (counts, 0), (places, 0), tasks.address(item.source)])


def _text(size: Size) -> schema.Extent:
    return size if isinstance(size, int) else str(size)


@dataclass(frozen=True)
class _Sort:
    """Writes the function that sorts.

    Its addresses are those of the index, of the counts, of the sorted places, and where an index goes that is
    out of range. Afterwards the places of row r are those from count r on, up to count r + 1.
    """

    index: Read
    source: tuple[Size, ...]
    space: schema.Extents
    rows: schema.Extent
    names: tuple[str, ...]

    @property
    def key(self) -> object:
        """Equal for functions that are equal."""
        return self.index.dtype, tuple(self.index.strides), self.source, self.space, self.rows, self.names

    def describe(self, name: str) -> tuple[Shared, Callable[[], Written]]:
        """What callers need to know of the function, and its text when it is asked for."""
        shared = Shared(name)
        return shared, lambda: self._written(shared)

    def _written(self, shared: Shared) -> Written:
        writer = Writer()
        sizes = Sizes(writer, self.names)
        rows, counts, places = sizes[as_size(self.rows)], writer.argument(1), writer.argument(2)
        after = sizes[as_size(self.rows) + 2]
        with writer.loop("0", after) as row:
            writer.line(f"store i64 0, ptr {_element(writer, counts, row)}")
        with ExitStack() as loops:  # how many belong to each row, two places behind it
            found = self._found(writer, sizes, self._loops(writer, sizes, loops))
            with writer.branch(writer.let(f"icmp uge i64 {found}, {rows}")):
                writer.line(f"store i64 {found}, ptr {writer.argument(3)}")
                writer.line("ret i64 1")
                writer.block(writer.fresh("unreached"))
            _add(writer, counts, writer.let(f"add i64 {found}, 2"), "1")
        with writer.loop("2", after) as row:
            before = writer.element(counts, "i64", writer.let(f"sub i64 {row}, 1"), 0)
            _add(writer, counts, row, before)
        # the first free place of each row, which ends where that of the next began
        with ExitStack() as loops:
            point = self._loops(writer, sizes, loops)
            following = writer.let(f"add i64 {self._found(writer, sizes, point)}, 1")
            place = _element(writer, places, _add(writer, counts, following, "1"))
            writer.line(f"store i64 {_offset(writer, sizes, self.source[:-1], point)}, ptr {place}")
        writer.line("ret i64 0")
        return Written(definition(shared.name, writer), writer, shared)

    def _loops(self, writer: Writer, sizes: Sizes, loops: ExitStack) -> list[str]:
        return [loops.enter_context(writer.loop("0", sizes[as_size(extent)])) for extent in self.space]

    def _found(self, writer: Writer, sizes: Sizes, point: Sequence[str]) -> str:
        type_ = STORED[self.index.dtype]
        offset = _offset(writer, sizes, self.index.strides[:-1], point)
        found = writer.element(writer.argument(0), type_, offset, 0)
        if type_ == "i64":
            return found
        return writer.let(f"{'zext' if is_unsigned(self.index.dtype) else 'sext'} {type_} {found} to i64")


@dataclass(frozen=True)
class _Sum:
    """Writes the function that makes the table's rows: of zeros, or the sum of what belongs to them.

    Its addresses are those of the table, of the counts, of the sorted places, and of the source.
    """

    dtype: dtypes.DType
    space: schema.Extents
    rows: schema.Extent
    stride: schema.Extent
    names: tuple[str, ...]

    def describe(self, name: str) -> tuple[Shared, Callable[[], Written]]:
        """What callers need to know of the function, and its text when it is asked for."""
        width = as_size(self.space[-1])
        work = elements(as_size(e) for e in self.space) * 4 + as_size(self.rows) * width
        shared = Shared(name, as_size(self.rows), work)
        return shared, lambda: self._written(shared)

    def _written(self, shared: Shared) -> Written:
        writer = Writer()
        sizes = Sizes(writer, self.names)
        counts, width = writer.argument(1), sizes[as_size(self.space[-1])]
        with writer.loop("%begin", "%end") as row:
            bounds = (writer.element(counts, "i64", row, 0), writer.element(counts, "i64", row, 1))
            offset = writer.let(f"mul i64 {row}, {sizes[as_size(self.stride)]}")
            target = _element(writer, writer.argument(0), offset, STORED[self.dtype])
            start = "0"
            for lanes in (COLUMN_LANES, LANES, 1):
                with writer.loop(start, width, lanes) as column:
                    self._sum(writer, bounds, target, column, lanes)
                start = writer.whole_steps("0", width, lanes)
        writer.line("ret i64 0")
        return Written(definition(shared.name, writer), writer, shared)

    def _sum(self, writer: Writer, bounds: tuple[str, str], target: str, column: str, lanes: int) -> None:
        stored, computed = vector(STORED[self.dtype], lanes), vector(COMPUTED[self.dtype], lanes)
        align = self.dtype.itemsize
        wide = dtypes.float32 if self.dtype in dtypes.HALF else self.dtype
        total = writer.slot(computed)
        writer.line(f"store {computed} zeroinitializer, ptr {total}")
        with writer.loop(*bounds) as number:
            place = writer.element(writer.argument(2), "i64", number, 0)
            place = writer.let(f"add i64 {place}, {column}")
            address = _element(writer, writer.argument(3), place, STORED[self.dtype])
            loaded = writer.let(f"load {stored}, ptr {address}, align {align}")
            new = from_stored(writer, lanes, loaded, self.dtype)
            old = writer.let(f"load {computed}, ptr {total}")
            writer.line(
                f"store {computed} {apply(writer, lanes, 'add', [old, new], wide, wide)}, ptr {total}"
            )
        result = to_stored(writer, lanes, writer.let(f"load {computed}, ptr {total}"), self.dtype)
        address = _element(writer, target, column, STORED[self.dtype])
        writer.line(f"store {stored} {result}, ptr {address}, align {align}")


def _element(writer: Writer, base: str, index: str, type_: str = "i64") -> str:
    return writer.let(f"getelementptr {type_}, ptr {base}, i64 {index}")


def _add(writer: Writer, base: str, index: str, value: str) -> str:
    """Add to a number in memory; what it was before."""
    place = _element(writer, base, index)
    before = writer.let(f"load i64, ptr {place}")
    writer.line(f"store i64 {writer.let(f'add i64 {before}, {value}')}, ptr {place}")
    return before


def _offset(writer: Writer, sizes: Sizes, strides: Sequence[Size], point: Sequence[str]) -> str:
    offset = "0"
    for stride, index in zip(strides, point, strict=True):
        step = writer.let(f"mul i64 {index}, {sizes[stride]}")
        offset = writer.let(f"add i64 {offset}, {step}")
    return offset
