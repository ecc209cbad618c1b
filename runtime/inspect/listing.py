"""The text of a plan: every program, instruction by instruction, in the user's words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lazyflow.runtime import schema
from lazyflow.runtime.inspect.figures import space_of
from lazyflow.runtime.inspect.words import aligned, counted, fitted, lines_of, named_briefly, names_of, typed

_WIDTH = 110
_INDENT = " " * 10
_PLAIN = ("literal", "size")  # calls that are their value
_LONGEST = 1000  # lines; of a longer text the middle is left out


def listing(document: schema.Document) -> str:
    """The text of a plan: its variables, and per program what each instruction reads, computes and writes.

    Memory is written by name: ``x`` a feed, a variable or a constant; ``%4`` buffer 4 of the program.
    Of a very long text the middle is left out, and a line says so.
    """
    lines = list(_lines(document))
    return "\n".join(shortened(lines))


def shortened(lines: Sequence[str], longest: int = _LONGEST) -> list[str]:
    """The lines, without those in the middle where there are too many."""
    if len(lines) <= longest:
        return list(lines)
    head, tail = longest * 3 // 4, longest // 4
    return [*lines[:head], f"# ... {len(lines) - head - tail:,} lines are not shown ...", *lines[-tail:]]


def _lines(document: schema.Document) -> Iterator[str]:
    programs = ", ".join(program.name for program in document.programs)
    yield f'plan "{document.name}": programs {programs or "none"}'
    stored: list[schema.Variable | schema.Constant] = [*document.variables, *document.constants]
    if stored:
        yield ""
        rows = [(_word(item), typed(item.dtype, item.shape), item.name) for item in stored]
        yield from aligned(rows)
    for program in document.programs:
        yield ""
        yield from _program(document, program)


def _word(item: schema.Variable | schema.Constant) -> str:
    if isinstance(item, schema.Constant):
        return "constant"
    return "parameter" if item.trainable else "variable"


def _program(document: schema.Document, program: schema.Program) -> Iterator[str]:
    feeds = ", ".join(f"{feed.name}: {typed(feed.dtype, feed.shape)}" for feed in program.feeds)
    yield f"program {program.name}({feeds})"
    names = [buffer.name or f"%{number}" for number, buffer in enumerate(program.buffers)]
    for number, item in enumerate(program.instructions):
        yield from _instruction(document, number, item, names)
    for fetch in program.fetches:
        yield f"  return {fetch.name}: {typed(fetch.dtype, fetch.shape)} = {names[fetch.source.buffer]}"


def _instruction(
    document: schema.Document, number: int, item: schema.AnyInstruction, names: Sequence[str]
) -> Iterator[str]:
    origins = [document.origins[row] for row in item.origin]
    words = f"{named_briefly(names_of(origins), 60)} {fitted(lines_of(origins), 36)}".strip()
    head = f"{number:4}  {_headline(item, names)}"
    if item.when is not None:
        head += f" when {names[item.when]}"
    comment = f"# {words}" if words else ""
    if len(head) + len(comment) + 2 <= _WIDTH:
        yield f"{head}  {comment}".rstrip()
    else:
        yield head
        yield f"{_INDENT}{comment}"
    if isinstance(item, schema.Kernel | schema.KernelBatch):
        yield from _body(item, names)


def _headline(item: schema.AnyInstruction, names: Sequence[str]) -> str:
    space = f"over [{', '.join(map(str, space_of(item)))}]"

    def at(access: schema.Access) -> str:
        return names[access.buffer]

    match item:
        case schema.Kernel(inner=inner):
            axes = f" {inner} axes" if inner > 1 else " axis"
            return f"kernel {space}" + (f", reducing the last{axes}" if inner else "")
        case schema.KernelBatch():
            elements = sum(segment.size for segment in item.segments)
            segments = counted(len(item.segments), "parameter")
            return f"kernel_batch over {segments}, {counted(elements, 'element')}"
        case schema.MatMul(k=k):
            space = f"over [{', '.join(map(str, (*item.batch, item.m, item.n)))}], summing {k}"
            return f"{at(item.out)} = matmul {at(item.a)} {at(item.b)} {space}"
        case schema.Gather():
            return f"{at(item.out)} = gather {at(item.table)} at {at(item.index)} {space}"
        case schema.ScatterAdd():
            return f"{at(item.table)} = scatter_add {at(item.source)} at {at(item.index)} {space}"
        case schema.Check(size=size):
            return f"check 0 <= {at(item.index)} < {size} {space}"
        case schema.Copy():
            return f"{at(item.to)} = copy {at(item.source)} {space}"
        case schema.Print():
            return f"print {item.text!r} {at(item.source)}"


def _body(item: schema.Kernel | schema.KernelBatch, names: Sequence[str]) -> Iterator[str]:
    """The scalar calls, wrapped; a batch shows the memory of its first segment."""
    if isinstance(item, schema.Kernel):
        values = [names[access.buffer] for access in item.reads]
        results = [(write.value, names[write.to.buffer]) for write in item.writes]
    else:
        first = item.segments[0]
        values = [names[b] for b in (*first.reads, *(access.buffer for access in item.columns))]
        results = list(zip(item.results, (names[buffer] for buffer in first.writes), strict=True))
    parts: list[str] = []
    for call in item.body:
        if call.op in _PLAIN:
            values.append(str(call.value))
            continue
        values.append(f"t{len(parts)}")
        parts.append(f"{values[-1]} = {_call(call, values)}")
    parts += [f"{target} = {values[value]}" for value, target in results]
    yield from (f"{_INDENT}{line}" for line in _filled(parts, _WIDTH - len(_INDENT)))


def _filled(parts: Sequence[str], width: int) -> Iterator[str]:
    """The parts with semicolons between them, as many to a line as fit."""
    line = ""
    for part in parts:
        if line and len(line) + len(part) + 2 > width:
            yield line
            line = ""
        line += f"; {part}" if line else part
    yield line


def _call(call: schema.Call, values: Sequence[str]) -> str:
    value = [] if call.value is None else [str(call.value)]
    dtype = [call.dtype] if call.op == "cast" else []
    return " ".join([call.op, *(values[arg] for arg in call.args), *value, *dtype])
