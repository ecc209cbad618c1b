"""Functions over items: pieces of many segments that lie flat in memory, which threads share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from lazyflow.runtime import schema
from lazyflow.runtime.backends.cpu.code.kernel import KernelFunction
from lazyflow.runtime.backends.cpu.code.lanes import from_stored
from lazyflow.runtime.backends.cpu.code.nest import Read, make_nest, weight
from lazyflow.runtime.backends.cpu.code.writer import COMPUTED, STORED, Writer, definition
from lazyflow.runtime.backends.cpu.lowering.tasks import Address, Shared, Tasks, Written
from lazyflow.runtime.dtypes import DType
from lazyflow.runtime.scalars import SCALARS

_LENGTH = "length"  # the one size that a body depends on
_NUMBERS = 3  # per item

Item = tuple[int, int, int]  # a segment, and where its elements begin and end


class Along(Enum):
    """What the place of a read or a write moves with; but for elements it is one number per item."""

    ELEMENTS = auto()
    GROUPS = auto()  # the row of the segment's group
    SEGMENTS = auto()
    ITEMS = auto()
    NOTHING = auto()


class Operand(NamedTuple):
    """A read or a write of an item function.

    Attributes:
        dtype: The dtype of its elements.
        along: What its place moves with.
        own: Whether each segment has an address of its own; else there is one for all.
        stride: Elements from one group to the next.
    """

    dtype: DType
    along: Along = Along.ELEMENTS
    own: bool = True
    stride: schema.Extent = 1


class Stream(NamedTuple):
    """An operand with its addresses: one per segment, or one."""

    operand: Operand
    places: Sequence[Address]


@dataclass(frozen=True)
class ItemFunction:
    """Writes a function whose range is that of the items.

    Its numbers are those of the items. Its addresses are those that all segments share, then for each segment
    its own, with that of its group at the end. A body that reduces does so over each item.

    Attributes:
        body, results: What is computed and written, for each element or, where it is reduced, for each item.
        reads: The operands that it reads, those that move with elements first.
        writes: One per result.
        grouped: Whether segments have groups.
    """

    body: tuple[schema.Call, ...]
    results: tuple[int, ...]
    reads: tuple[Operand, ...]
    writes: tuple[Operand, ...]
    grouped: bool

    @property
    def operands(self) -> tuple[Operand, ...]:
        """What is read, then what is written."""
        return (*self.reads, *self.writes)

    @property
    def reduces(self) -> bool:
        """Whether the body reduces over an item."""
        return any(call.op in SCALARS and SCALARS[call.op].reduction for call in self.body)

    def describe(self, name: str) -> tuple[Shared, Callable[[], Written]]:
        """What callers need to know of the function, and its text when it is asked for."""
        shared = Shared(name)
        return shared, lambda: self._written(shared)

    def _written(self, shared: Shared) -> Written:
        part = f"{shared.name}.item"
        body = self._body()
        writer = Writer()
        text = body.text(part)
        length = writer.slot("i64")
        items = writer.argument(0)
        with writer.loop("%begin", "%end") as item:
            row = writer.let(f"mul i64 {item}, {_NUMBERS}")
            segment, begin, end = (writer.element(items, "i64", row, i) for i in range(_NUMBERS))
            given = self._given(writer, item, segment, begin)
            bounds = f"i64 {begin}, i64 {end}"
            if self.reduces:
                end, bounds = writer.let(f"sub i64 {end}, {begin}"), "i64 0, i64 1"
            writer.line(f"store i64 {end}, ptr {length}")
            writer.line(f"call void @{part}({', '.join(given)}, ptr {length}, {bounds})")
        writer.line("ret i64 0")
        writer.functions |= body.writer.functions
        writer.declarations |= body.writer.declarations
        return Written(f"{text}\n{definition(shared.name, writer)}", writer, shared)

    def _body(self) -> KernelFunction:
        scalars = sum(operand.along is not Along.ELEMENTS for operand in self.reads)
        reads, writes = (
            [Read(operand.dtype, [int(operand.along is Along.ELEMENTS)]) for operand in operands]
            for operands in (self.reads, self.writes)
        )
        nest = make_nest((_LENGTH,), int(self.reduces), reads, writes, self.body, list(self.results))
        # variables are read and written in place
        return KernelFunction(nest, [_LENGTH], late_writes=True, scalars=scalars)

    def _given(self, writer: Writer, item: str, segment: str, begin: str) -> list[str]:
        """The body's arguments for an item: numbers for reads that do not move with elements; addresses."""
        own = sum(operand.own for operand in self.operands) + self.grouped
        common = 1 + sum(not operand.own for operand in self.operands)
        first = writer.let(f"add i64 {writer.let(f'mul i64 {segment}, {own}')}, {common}")
        pointers = iter([writer.element("%args", "ptr", first, i) for i in range(own)])
        shared = iter([writer.argument(i) for i in range(1, common)])
        bases = [next(pointers if operand.own else shared) for operand in self.operands]
        places = {Along.SEGMENTS: segment, Along.ITEMS: item, Along.NOTHING: "0", Along.ELEMENTS: "0"}
        if self.reduces:
            places[Along.ELEMENTS] = begin
        if self.grouped:
            group = writer.let(f"load i32, ptr {next(pointers)}")
            places[Along.GROUPS] = writer.let(f"sext i32 {group} to i64")
        given = []
        for number, (operand, base) in enumerate(zip(self.operands, bases, strict=True)):
            scalar = number < len(self.reads) and operand.along is not Along.ELEMENTS
            given.append((_scalar if scalar else _pointer)(writer, operand, base, places[operand.along]))
        return given


def _pointer(writer: Writer, operand: Operand, base: str, place: str) -> str:
    return f"ptr {writer.let(f'getelementptr {STORED[operand.dtype]}, ptr {base}, i64 {place}')}"


def _scalar(writer: Writer, operand: Operand, base: str, place: str) -> str:
    row = writer.let(f"mul i64 {place}, {operand.stride}")
    stored = writer.element(base, STORED[operand.dtype], row, 0)
    return f"{COMPUTED[operand.dtype]} {from_stored(writer, 1, stored, operand.dtype)}"


class Computation(NamedTuple):
    """What is computed for each item; see ``ItemFunction``."""

    body: tuple[schema.Call, ...]
    results: tuple[int, ...]
    reads: Sequence[Stream]
    writes: Sequence[Stream]
    groups: Sequence[Address] = ()


def add_items(tasks: Tasks, what: Computation, items: Sequence[Item]) -> None:
    """Call a function over items, whose segments are numbered from 0."""
    if not items:
        return
    streams = [*what.reads, *what.writes]
    function = ItemFunction(
        what.body,
        what.results,
        tuple(stream.operand for stream in what.reads),
        tuple(stream.operand for stream in what.writes),
        bool(what.groups),
    )
    shared = tasks.module.function(("items", function), function.describe)
    args = [stream.places[0] for stream in streams if not stream.operand.own]
    own = [stream.places for stream in streams if stream.operand.own] + [what.groups] * bool(what.groups)
    args += [place for places in zip(*own, strict=True) for place in places]
    numbers = tuple(number for item in items for number in item)
    elements = sum(end - begin for _, begin, end in items)
    work = elements * (weight(what.body) + len(streams))
    tasks.add(shared._replace(extent=len(items), work=work), args, numbers)
