"""A plan as pictures: per program its instructions and the memory that leads from one to the next."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

from lazyflow.runtime import schema
from lazyflow.runtime.inspect.figures import kind_of, space_of
from lazyflow.runtime.inspect.files import write
from lazyflow.runtime.inspect.picture import Arrow, Box, Picture, grouped, scope_of_variable, scoped
from lazyflow.runtime.inspect.traffic import traffic
from lazyflow.runtime.inspect.uses import reads, writes
from lazyflow.runtime.inspect.words import (
    counted,
    fitted,
    humanized,
    lines_of,
    named_briefly,
    names_of,
    typed,
)

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
        self.sources: set[str] = set()
        self.scalars: set[str] = set()
        self.boxes: list[Box] = []
        self.arrows: dict[Arrow, None] = {}
        self.makers: dict[int, list[str]] = defaultdict(list)  # of what each buffer holds
        self.shapes: dict[int, schema.Extents] = {}

    def picture(self) -> Picture:
        """The program's boxes and arrows."""
        for number, item in enumerate(self.program.instructions):
            self._instruction(f"{number}", item)
        for fetch in self.program.fetches:
            key = f"fetch {fetch.name}"
            self.boxes.append(Box(key, "fetch", fetch.name, (typed(fetch.dtype, fetch.shape),)))
            self._connect(fetch.source.buffer, key)
        picture = Picture(f"program {self.program.name}", tuple(self.boxes), tuple(self.arrows))
        return _with_joined_scalars(picture, self.scalars)

    def _instruction(self, key: str, item: schema.AnyInstruction) -> None:
        for buffer in dict.fromkeys(_taken(item)):
            self._connect(buffer, key)
        if item.when is not None:
            self._connect(item.when, key, dashed=True)
        self.boxes.append(self._box(key, item))
        held = frozenset(reads(item))
        for buffer, shape in writes(item):
            # what is written in parts holds the values of several instructions
            kept = [] if buffer in held else self.makers[buffer]
            self.makers[buffer] = [*kept, key]
            self.shapes[buffer] = shape

    def _connect(self, buffer: int, key: str, dashed: bool = False) -> None:
        """Arrows to a box from what made the value that the buffer holds."""
        row = self.program.buffers[buffer]
        makers = self.makers[buffer]
        label = typed(row.dtype, self.shapes[buffer]) if makers else self._type(row)
        for maker in makers or [self._source(row)]:
            self.arrows[Arrow(maker, key, label, dashed)] = None

    def _source(self, buffer: schema.Buffer) -> str:
        """The box of a feed, variable or constant."""
        key = f"{buffer.place} {buffer.name}"
        if key not in self.sources:
            self.sources.add(key)
            kind = "parameter" if buffer.name in self.trainable else buffer.place
            scope = scope_of_variable(buffer.name)
            self.boxes.append(Box(key, kind, buffer.name, (self._type(buffer),), scope=scope))
            if kind == "variable" and buffer.size == 1:
                self.scalars.add(key)
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
        names = names_of(origins)
        kind = _KINDS[kind_of(item)]
        rows = (self.program.buffers[buffer] for buffer, _ in writes(item))
        assigned = [row.name for row in rows if row.place == "variable"]
        title = named_briefly(names, 40) or kind_of(item)
        if assigned and not isinstance(item, schema.KernelBatch):
            title, kind = fitted(assigned, 40), "effect"
        read, written = traffic(item, self.program.buffers)
        tooltip = [_headline(item), f"reads {humanized(read)}, writes {humanized(written)}"]
        tooltip += [f"{origin.name}  {origin.location}" for origin in origins[:30]]
        notes = tuple(note for note in (_headline(item), fitted(lines_of(origins), 40)) if note)
        scope = scoped(names[0])[1] if names else ()
        return Box(key, kind, title, notes, "\n".join(tooltip), scope)


def _taken(item: schema.AnyInstruction) -> list[int]:
    """The buffers from which arrows lead to an instruction: not what an update changes in place."""
    if not isinstance(item, schema.KernelBatch):
        return reads(item)
    own = {buffer for segment in item.segments for buffer in (*segment.writes, segment.group)}
    return [buffer for buffer in reads(item) if buffer not in own]


def _headline(item: schema.AnyInstruction) -> str:
    if isinstance(item, schema.KernelBatch):
        return f"kernel_batch {counted(len(item.segments), 'parameter')}"
    return f"{kind_of(item)} [{', '.join(map(str, space_of(item)))}]"


def _with_joined_scalars(picture: Picture, scalars: Collection[str]) -> Picture:
    """Join the scalar variables that the same instructions take: an optimizer has a dozen for each group."""
    targets: dict[str, list[str]] = defaultdict(list)
    for arrow in picture.arrows:
        targets[arrow.source].append(arrow.target)
    homes = {key: f"scalars of {', '.join(targets[key])}" for key in scalars if key in targets}
    sizes = Counter(homes.values())

    def home(box: Box) -> str:
        place = homes.get(box.key, box.key)
        return place if sizes[place] > 2 else box.key

    def merged(key: str, members: Sequence[Box]) -> Box:
        if len(members) == 1:
            return members[0]
        titles = tuple(box.title for box in members)
        return Box(key, "variable", f"{len(members)} scalars", (fitted(titles, 50),), "\n".join(titles))

    return grouped(picture, home, merged)
