"""The figures of programs and their instructions: bytes, memory, members."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.backends.backend import round_up
from lazyflow.runtime.backends.cpu.forecast import scratch_sizes
from lazyflow.runtime.dimensions import Dimension, Size, at_least
from lazyflow.runtime.errors import ArgumentError, message
from lazyflow.runtime.inspect.traffic import per_element, traffic
from lazyflow.runtime.inspect.words import as_size, lines_of, names_of, substitute, total


@dataclass(frozen=True)
class Stored:
    """What some variables or constants hold.

    Attributes:
        count: How many they are.
        elements: Their elements together.
        bytes: Their bytes together.
    """

    count: int
    elements: int
    bytes: int


@dataclass(frozen=True)
class InstructionSummary:
    """One instruction of a program.

    Attributes:
        number: Its position in the program.
        kind: "kernel", "matmul", and so on.
        space: The extents that it runs over.
        members: The user's names of the ops that it computes.
        lines: The user's lines that wrote them.
        guarded: Whether it runs only where a condition holds.
        bytes_read: The distinct bytes that it reads.
        bytes_written: The distinct bytes that it writes.
        parameters: For ``kernel_batch``: how many parameters it updates.
        bytes_read_per_element: For ``kernel_batch``: the bytes read for each element of a parameter.
        bytes_written_per_element: The same for bytes written.
    """

    number: int
    kind: str
    space: tuple[Size, ...]
    members: tuple[str, ...]
    lines: tuple[str, ...]
    guarded: bool
    bytes_read: Size
    bytes_written: Size
    parameters: int = 0
    bytes_read_per_element: float = 0.0
    bytes_written_per_element: float = 0.0


@dataclass(frozen=True)
class ProgramSummary:
    """One program. Sizes are ints where the dimensions are given, polynomials of their names where not.

    Attributes:
        name: Its name.
        feeds: Its placeholders.
        fetches: What it returns.
        instructions: Its instructions, in order.
        peak_bytes: What the plan's buffers take: all memory besides feeds, variables and constants. Where
            dimensions are open, without what rounds the parts up to 64 bytes.
        scratch_bytes: What the arena of the cpu backend holds besides, so that threads can share large sums
            and the gradients of tables, and of what is printed.
        lower_bound: Bytes alive at once, below which no placement can go: the largest of these.
    """

    name: str
    feeds: tuple[schema.Feed, ...]
    fetches: tuple[schema.Fetch, ...]
    instructions: tuple[InstructionSummary, ...]
    peak_bytes: Size
    scratch_bytes: Size
    lower_bound: tuple[Size, ...]

    @property
    def bytes_read(self) -> Size:
        """What all instructions read."""
        return total(item.bytes_read for item in self.instructions)

    @property
    def bytes_written(self) -> Size:
        """What all instructions write."""
        return total(item.bytes_written for item in self.instructions)

    @property
    def lower_bound_bytes(self) -> int:
        """The lower bound as one number.

        Raises:
            ArgumentError: if dimensions that it depends on have no value.
        """
        if len(self.lower_bound) == 1 and isinstance(self.lower_bound[0], int):
            return self.lower_bound[0]
        names = sorted({n for size in self.lower_bound if isinstance(size, Dimension) for n in size.names})
        call = f"summary({', '.join(f'{name}=...' for name in names)})"
        raise ArgumentError(
            message(
                f"lower_bound_bytes: program {self.name!r} has open dimensions: {', '.join(names)}", hint=call
            )
        )

    @property
    def counts(self) -> dict[str, int]:
        """How many instructions of each kind there are."""
        return dict(Counter(item.kind for item in self.instructions))


def kind_of(item: schema.AnyInstruction) -> str:
    """The word for an instruction, as plans write it."""
    return str(type(item).__struct_config__.tag)


def space_of(item: schema.AnyInstruction) -> schema.Extents:
    """The extents that an instruction runs over; those of a batch of updates differ by segment."""
    match item:
        case schema.KernelBatch():
            return ()
        case schema.MatMul(batch=batch, m=m, n=n, k=k):
            return (*batch, m, n, k)
        case _:
            return item.space


def stored(items: Iterable[schema.Variable | schema.Constant]) -> Stored:
    """What the items hold together."""
    sizes = [(math.prod(item.shape), dtypes.ALL[item.dtype].itemsize) for item in items]
    return Stored(len(sizes), sum(n for n, _ in sizes), sum(n * itemsize for n, itemsize in sizes))


def program_figures(
    document: schema.Document, program: schema.Program, values: Mapping[str, int]
) -> ProgramSummary:
    """The figures of a program, for given values of some dimensions."""
    slots = [substitute(as_size(slot), values) for slot in program.slots]
    bounds = [substitute(as_size(bound), values) for bound in program.lower_bound]
    return ProgramSummary(
        name=program.name,
        feeds=program.feeds,
        fetches=program.fetches,
        instructions=tuple(
            _instruction(document, program, number, values) for number in range(len(program.instructions))
        ),
        peak_bytes=_rounded(slots),
        scratch_bytes=_rounded(substitute(size, values) for size in scratch_sizes(program)),
        lower_bound=_largest(bounds),
    )


def _rounded(sizes: Iterable[Size]) -> Size:
    return total(round_up(size) if isinstance(size, int) else size for size in sizes)


def _instruction(
    document: schema.Document, program: schema.Program, number: int, values: Mapping[str, int]
) -> InstructionSummary:
    item = program.instructions[number]
    read, written = traffic(item, program.buffers)
    batch = item if isinstance(item, schema.KernelBatch) else None
    read_each, written_each = per_element(batch, program.buffers) if batch else (0.0, 0.0)
    origins = [document.origins[row] for row in item.origin]
    return InstructionSummary(
        number=number,
        kind=kind_of(item),
        space=tuple(substitute(as_size(extent), values) for extent in space_of(item)),
        members=names_of(origins),
        lines=lines_of(origins),
        guarded=item.when is not None,
        bytes_read=substitute(read, values),
        bytes_written=substitute(written, values),
        parameters=len(batch.segments) if batch else 0,
        bytes_read_per_element=read_each,
        bytes_written_per_element=written_each,
    )


def _largest(sizes: Iterable[Size]) -> tuple[Size, ...]:
    """Those that no other is known to exceed."""
    kept: list[Size] = []
    for size in sizes:
        if not any(at_least(other, size) for other in kept):
            kept = [other for other in kept if not at_least(size, other)]
            kept.append(size)
    return tuple(kept) or (0,)
