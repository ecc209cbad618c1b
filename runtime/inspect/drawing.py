"""A plan as pictures: per program its instructions and the memory that leads from one to the next."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence

from lazyflow.runtime import schema
from lazyflow.runtime.inspect.figures import kind_of, space_of
from lazyflow.runtime.inspect.files import write
from lazyflow.runtime.inspect.picture import Arrow, Box, Picture
from lazyflow.runtime.inspect.traffic import traffic
from lazyflow.runtime.inspect.uses import reads, writes
from lazyflow.runtime.inspect.words import counted, fitted, humanized, lines_of, names_of, typed

_KINDS = {
    "kernel": "kernel",
    "kernel_batch": "update",
    "matmul": "matmul",
    "gather": "index",
    "scatter_add": "index",
    "check": "index",
    "copy": "shape",
    "print": "effect",
}


def draw(document: schema.Document, path: str | os.PathLike[str]) -> None:
    """Draw the programs of a plan into a file.

    Args:
        document: The plan.
        path: A name that ends in ``.svg``, or in ``.dot`` for graphviz.

    Raises:
        ArgumentError: if the suffix is neither.
        OSError: if the file cannot be written.
    """
    pictures = [_Drawing(document, program).picture() for program in document.programs]
    write(path, f"plan {document.name}", pictures)


class _Drawing:
    """The picture of one program, made by following what each buffer holds."""

    def __init__(self, document: schema.Document, program: schema.Program) -> None:
        self.document = document
        self.program = program
        self.trainable = {v.name for v in document.variables if v.trainable}
        self.sources: dict[str, Box] = {}
        self.boxes: list[Box] = []
        self.arrows: dict[Arrow, None] = {}
        self.makers: dict[int, list[str]] = defaultdict(list)  # of what each buffer holds
        self.shapes: dict[int, schema.Extents] = {}
        self.private = _private(program)

    def picture(self) -> Picture:
        """The program's boxes and arrows."""
        for number, item in enumerate(self.program.instructions):
            self._instruction(f"i{number}", item)
        for fetch in self.program.fetches:
            key = f"fetch {fetch.name}"
            self.boxes.append(Box(key, "fetch", fetch.name, (typed(fetch.dtype, fetch.shape),)))
            self._arrows_from(fetch.source.buffer, key)
        boxes = (*self.sources.values(), *self.boxes)
        return Picture(f"program {self.program.name}", boxes, tuple(self.arrows))

    def _instruction(self, key: str, item: schema.AnyInstruction) -> None:
        taken = [b for b in reads(item) if b not in self.private]
        for buffer in dict.fromkeys(taken):
            self._arrows_from(buffer, key)
        if item.when is not None:
            self._arrows_from(item.when, key, dashed=True)
        self.boxes.append(self._box(key, item))
        held = frozenset(reads(item))
        for buffer, shape in writes(item):
            # what is written in parts holds the values of several instructions
            kept = [] if buffer in held else self.makers[buffer]
            self.makers[buffer] = [*kept, key]
            self.shapes[buffer] = shape

    def _arrows_from(self, buffer: int, key: str, dashed: bool = False) -> None:
        row = self.program.buffers[buffer]
        makers = self.makers[buffer]
        label = typed(row.dtype, self.shapes[buffer]) if makers else self._type(row)
        for maker in makers or [self._source(row)]:
            self.arrows[Arrow(maker, key, label, dashed)] = None

    def _source(self, buffer: schema.Buffer) -> str:
        """The box of a feed, variable or constant."""
        key = f"{buffer.place} {buffer.name}"
        if key not in self.sources:
            kind = "parameter" if buffer.name in self.trainable else buffer.place
            self.sources[key] = Box(key, kind, buffer.name, (self._type(buffer),))
        return key

    def _type(self, buffer: schema.Buffer) -> str:
        tables: dict[str, Sequence[schema.Feed | schema.Variable | schema.Constant]] = {
            "feed": self.program.feeds,
            "variable": self.document.variables,
            "constant": self.document.constants,
        }
        for row in tables.get(buffer.place, ()):
            if row.name == buffer.name:
                return typed(row.dtype, row.shape)
        return typed(buffer.dtype, (buffer.size,))

    def _box(self, key: str, item: schema.AnyInstruction) -> Box:
        origins = [self.document.origins[row] for row in item.origin]
        names, lines = names_of(origins), lines_of(origins)
        notes = [_headline(item), fitted(lines, 40)]
        read, written = traffic(item, self.program.buffers)
        tooltip = [_headline(item), f"reads {humanized(read)}, writes {humanized(written)}"]
        tooltip += [f"{origin.name}  {origin.location}" for origin in origins[:30]]
        scope = tuple(names[0].split("/")[:-1]) if names else ()
        return Box(
            key,
            _KINDS[kind_of(item)],
            fitted(names, 40) or kind_of(item),
            tuple(note for note in notes if note),
            "\n".join(tooltip),
            scope,
        )


def _private(program: schema.Program) -> frozenset[int]:
    """The variables that only one batch of updates touches; they get no boxes, as its box counts them."""
    users: dict[int, set[int]] = defaultdict(set)
    batches = {n for n, item in enumerate(program.instructions) if isinstance(item, schema.KernelBatch)}
    for number, item in enumerate(program.instructions):
        for buffer in (*reads(item), *(written for written, _ in writes(item))):
            users[buffer].add(number)
    fetched = {fetch.source.buffer for fetch in program.fetches}
    return frozenset(
        buffer
        for buffer, numbers in users.items()
        if program.buffers[buffer].place == "variable"
        and len(numbers) == 1
        and numbers <= batches
        and buffer not in fetched
    )


def _headline(item: schema.AnyInstruction) -> str:
    if isinstance(item, schema.KernelBatch):
        return f"kernel_batch {counted(len(item.segments), 'parameter')}"
    return f"{kind_of(item)} [{', '.join(map(str, space_of(item)))}]"
