"""Gather, scatter_add and check: instructions that follow indices, as functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from msgspec.structs import replace

from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.backends.cpu.code.lanes import apply, from_stored
from lazyflow.runtime.backends.cpu.code.nest import LANES, Read, as_size, contiguous
from lazyflow.runtime.backends.cpu.code.sizes import Sizes
from lazyflow.runtime.backends.cpu.code.writer import STORED, Writer, definition, is_unsigned, vector
from lazyflow.runtime.backends.cpu.lowering.scatter import add_rows, moves_rows
from lazyflow.runtime.backends.cpu.lowering.tasks import Shared, Tasks, Written
from lazyflow.runtime.dimensions import Size, elements


@dataclass(frozen=True)
class IndexFunction:
    """Writes the function of an instruction that follows indices.

    ``reads`` are the instruction's accesses in the order of its fields: table, index, out or source. Its
    addresses are theirs, then where an index goes that is out of range.
    """

    item: schema.Gather | schema.ScatterAdd | schema.Check
    reads: Sequence[Read]
    names: tuple[str, ...]

    @property
    def key(self) -> object:
        """Equal for instructions that can share one function."""
        shape = tuple((r.dtype, tuple(r.strides)) for r in self.reads)
        kind = type(self.item).__name__
        return kind, self.item.space, self._limit, self._step, shape, self.names

    @property
    def _limit(self) -> schema.Extent:
        return self.item.size if isinstance(self.item, schema.Check) else self.item.axis_size

    @property
    def _step(self) -> schema.Extent:
        return 0 if isinstance(self.item, schema.Check) else self.item.axis_stride

    @property
    def _looped(self) -> list[Size]:
        extents = [as_size(e) for e in self.item.space]
        return extents[:-1] if self._moves_together else extents

    def describe(self, name: str) -> tuple[Shared, Callable[[], Written]]:
        """What callers need to know of the function, and its text when it is asked for."""
        # sums into one place have one order: one thread makes them, but where the first loop moves the place
        still = isinstance(self.item, schema.ScatterAdd) and self.reads[0].strides[:1] == [0]
        alone = still or not self._looped
        moved = elements(as_size(e) for e in self.item.space)
        shared = Shared(name, 1 if alone else self._looped[0], moved * 4)
        return shared, lambda: self._written(shared)

    def _written(self, shared: Shared) -> Written:
        writer = Writer()
        sizes = Sizes(writer, self.names)
        index = self.reads[0 if isinstance(self.item, schema.Check) else 1]
        with ExitStack() as loops:
            place: list[str] = []
            for axis, extent in enumerate(self._looped):
                bounds = ("%begin", "%end") if axis == 0 and shared.extent != 1 else ("0", sizes[extent])
                place.append(loops.enter_context(writer.loop(*bounds)))
            found = self._checked(writer, sizes, index, place + ["0"] * self._moves_together)
            if self._moves_together:
                self._move_row(writer, sizes, place, found, as_size(self.item.space[-1]))
            elif not isinstance(self.item, schema.Check):
                self._move(writer, sizes, place, found, 1)
        writer.line("ret i64 0")
        return Written(definition(shared.name, writer), writer, shared)

    @property
    def _moves_together(self) -> bool:
        """Whether whole rows move: one index for the last axis, along which all memory is contiguous."""
        if isinstance(self.item, schema.Check) or not self.item.space:
            return False
        table, index, moved = self.reads
        return index.strides[-1] == 0 and table.strides[-1] == 1 and moved.strides[-1] == 1

    def _checked(self, writer: Writer, sizes: Sizes, index: Read, place: list[str]) -> str:
        number = 0 if isinstance(self.item, schema.Check) else 1
        type_ = STORED[index.dtype]
        found = writer.let(
            f"load {type_}, ptr {_address(writer, sizes, writer.argument(number), index, place)}"
        )
        if type_ != "i64":
            found = writer.let(f"{'zext' if is_unsigned(index.dtype) else 'sext'} {type_} {found} to i64")
        outside = writer.let(f"icmp uge i64 {found}, {sizes[as_size(self._limit)]}")
        with writer.branch(outside):
            writer.line(f"store i64 {found}, ptr {writer.argument(len(self.reads))}")
            writer.line("ret i64 1")
            writer.block(writer.fresh("unreached"))
        return found

    def _move_row(self, writer: Writer, sizes: Sizes, place: list[str], found: str, extent: Size) -> None:
        width = LANES
        with writer.loop("0", sizes[extent], width) as lane:
            self._move(writer, sizes, [*place, lane], found, width)
        with writer.loop(writer.whole_steps("0", sizes[extent], width), sizes[extent]) as lane:
            self._move(writer, sizes, [*place, lane], found, 1)

    def _move(self, writer: Writer, sizes: Sizes, place: list[str], found: str, width: int) -> None:
        table, moved = self.reads[0], self.reads[2]
        step = writer.let(f"mul i64 {found}, {sizes[as_size(self._step)]}")
        entry = writer.let(f"getelementptr {STORED[table.dtype]}, ptr {writer.argument(0)}, i64 {step}")
        entry = _address(writer, sizes, entry, table, place)
        other = _address(writer, sizes, writer.argument(2), moved, place)
        type_, align = vector(STORED[table.dtype], width), table.dtype.itemsize
        given, apart = vector(STORED[moved.dtype], width), moved.dtype.itemsize
        if isinstance(self.item, schema.Gather):
            value = writer.let(f"load {type_}, ptr {entry}, align {align}")
            writer.line(f"store {type_} {value}, ptr {other}, align {align}")
            return
        old = writer.let(f"load {type_}, ptr {entry}, align {align}")
        new = writer.let(f"load {given}, ptr {other}, align {apart}")
        new = from_stored(writer, width, new, moved.dtype)  # half types have a table of float32
        total = apply(writer, width, "add", [old, new], table.dtype, table.dtype)
        writer.line(f"store {type_} {total}, ptr {entry}, align {align}")


def _address(writer: Writer, sizes: Sizes, pointer: str, access: Read, place: list[str]) -> str:
    offset = "0"
    for stride, index in zip(access.strides, place, strict=True):
        if stride != 0 and index != "0":
            step = writer.let(f"mul i64 {index}, {sizes[stride]}")
            offset = writer.let(f"add i64 {offset}, {step}")
    return writer.let(f"getelementptr {STORED[access.dtype]}, ptr {pointer}, i64 {offset}")


def add_indexed(tasks: Tasks, item: schema.Gather | schema.ScatterAdd | schema.Check) -> None:
    """Call the function of an instruction that follows indices."""
    parts = [item.index]
    if not isinstance(item, schema.Check):
        parts = [item.table, item.index, item.out if isinstance(item, schema.Gather) else item.source]
    function = IndexFunction(item, [tasks.read(a) for a in parts], tasks.program.dimensions)
    shared = tasks.module.function(function.key, function.describe)
    tasks.add(shared, [*(tasks.address(a) for a in parts), (tasks.faults, 0)])


def add_scatter(tasks: Tasks, item: schema.ScatterAdd) -> None:
    """Zero the table, then add to it. Half types are summed in float32, in a table of its own."""
    if moves_rows(item):
        add_rows(tasks, item)
        return
    dtype = tasks.dtype(item.table)
    moving = [axis for axis, stride in enumerate(item.table.strides) if stride != 0]
    space = (item.axis_size, *(item.space[axis] for axis in moving))
    strides = (item.axis_stride, *(item.table.strides[axis] for axis in moving))
    table = replace(item.table, strides=strides)
    if dtype not in dtypes.HALF:
        _add_map(tasks, space, table, None)
        add_indexed(tasks, item)
        return
    wide = schema.Access(buffer=tasks.add_scratch(space, dtypes.float32), strides=contiguous(space))
    steps: list[schema.Extent] = [0] * len(item.space)
    for position, axis in enumerate(moving):
        steps[axis] = wide.strides[1 + position]
    _add_map(tasks, space, wide, None)
    summed = replace(wide, strides=tuple(steps))
    add_indexed(tasks, replace(item, table=summed, axis_stride=wide.strides[0]))
    _add_map(tasks, space, table, wide)


def _add_map(tasks: Tasks, space: schema.Extents, to: schema.Access, source: schema.Access | None) -> None:
    """Copy with a cast, or zero."""
    reads = () if source is None else (source,)
    op, value = ("literal", 0) if source is None else ("cast", None)
    call = schema.Call(op=op, args=tuple(range(len(reads))), dtype=tasks.dtype(to).name, value=value)
    writes = (schema.Write(value=len(reads), to=to),)
    tasks.add_nest(schema.Kernel(space=space, reads=reads, body=(call,), writes=writes), late=False)
