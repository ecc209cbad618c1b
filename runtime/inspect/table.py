"""The lines that a summary shows of each program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lazyflow.runtime.dimensions import Size, evaluate
from lazyflow.runtime.inspect.figures import InstructionSummary, ProgramSummary
from lazyflow.runtime.inspect.words import (
    aligned,
    clipped,
    counted,
    fitted,
    humanized,
    named_briefly,
    total,
    typed,
)

WIDTH = 110  # columns of a screen
_HEAD = ("", "instruction", "reads", "writes")
_GUESS = 64  # stands for every open dimension where instructions are compared by their bytes


def program_lines(program: ProgramSummary, rows: int) -> Iterator[str]:
    """A program: what goes in and out, its memory, and the ``rows`` instructions that move most bytes."""
    feeds = ", ".join(f"{feed.name}: {typed(feed.dtype, feed.shape)}" for feed in program.feeds)
    fetches = ", ".join(fetch.name for fetch in program.fetches)
    yield clipped(f"program {program.name}({feeds})" + (f" -> {fetches}" if fetches else ""), WIDTH)
    if not program.instructions:
        yield "  no instructions"
        return
    facts = [("instructions", _counts(program)), ("memory", _memory(program)), ("traffic", _traffic(program))]
    yield from (f"  {line}" for line in aligned(facts))
    yield from (f"  {line}" for line in _table(program, rows))


def _table(program: ProgramSummary, rows: int) -> list[str]:
    chosen = _largest(program.instructions, rows)
    figures = [_HEAD, *(row for item in chosen for row in _rows(item))]
    words: list[tuple[Sequence[str], Sequence[str]]] = [(("members",), ("lines",))]
    for item in chosen:
        words.append((item.members, item.lines))
        words += [((), ())] if item.parameters else []
    numbers = {item.number for item in chosen}
    rest = [item for item in program.instructions if item.number not in numbers]
    if rest:
        figures.append(_rest(rest))
        words.append(((), ()))
    left = aligned(figures, right=(0, 2, 3))
    width = WIDTH - 2 - max(map(len, left)) - 4
    places = min(max(len(", ".join(lines)) for _, lines in words), width // 3)
    right = [(named_briefly(members, width - places), fitted(lines, places)) for members, lines in words]
    return aligned([(start, *end) for start, end in zip(left, right, strict=True)])


def _counts(program: ProgramSummary) -> str:
    kinds = sorted(program.counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return f"{len(program.instructions):,}: " + ", ".join(counted(number, kind) for kind, number in kinds)


def _memory(program: ProgramSummary) -> str:
    bounds = [humanized(size) for size in program.lower_bound]
    bound = bounds[0] if len(bounds) == 1 else f"the largest of {len(bounds)} sums such as {bounds[0]}"
    scratch = f", scratch {humanized(program.scratch_bytes)}" if program.scratch_bytes else ""
    return f"peak {humanized(program.peak_bytes)}, lower bound {bound}{scratch}"


def _traffic(program: ProgramSummary) -> str:
    return f"reads {humanized(program.bytes_read)}, writes {humanized(program.bytes_written)} in a run"


def weight(item: InstructionSummary | ProgramSummary) -> int:
    """Bytes moved, to compare instructions and programs by."""
    return sum(_guess(size) for size in (item.bytes_read, item.bytes_written))


def _guess(size: Size) -> int:
    return size if isinstance(size, int) else evaluate(size, dict.fromkeys(size.names, _GUESS))


def _largest(items: Sequence[InstructionSummary], rows: int) -> list[InstructionSummary]:
    """Those that move most bytes, in the order of the program; all, where that costs no more lines."""
    if len(items) <= rows + 1:
        return list(items)
    chosen = sorted(items, key=lambda item: (-weight(item), item.number))[:rows]
    return sorted(chosen, key=lambda item: item.number)


def _rows(item: InstructionSummary) -> Iterator[tuple[str, ...]]:
    yield (
        str(item.number),
        _instruction(item),
        humanized(item.bytes_read),
        humanized(item.bytes_written),
    )
    if item.parameters:
        each = (item.bytes_read_per_element, item.bytes_written_per_element)
        yield ("", "  per element", *(f"{number:g} B" for number in each))


def _instruction(item: InstructionSummary) -> str:
    when = " when" if item.guarded else ""
    if item.parameters:
        return f"{item.kind} {counted(item.parameters, 'parameter')}{when}"
    return clipped(f"{item.kind} [{', '.join(map(str, item.space))}]{when}", 36)


def _rest(items: Sequence[InstructionSummary]) -> tuple[str, ...]:
    read = total(item.bytes_read for item in items)
    written = total(item.bytes_written for item in items)
    return ("", f"and {len(items):,} smaller", humanized(read), humanized(written))
