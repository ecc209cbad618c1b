"""Bytes, sizes, origins and tables in words that a person reads at a glance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lazyflow.runtime import schema
from lazyflow.runtime.dimensions import Dimension, Size, parse

_UNITS = ("KiB", "MiB", "GiB", "TiB")


def as_size(extent: schema.Extent) -> Size:
    """The size that an extent of the schema writes."""
    return parse(extent) if isinstance(extent, str) else extent


def substitute(size: Size, values: Mapping[str, int]) -> Size:
    """The size with the given names replaced by their values; other names stay.

    >>> substitute(parse("2*batch*seq + 3"), {"batch": 4})
    8*seq + 3
    """
    if isinstance(size, int) or not values:
        return size
    total: Size = 0
    for monomial, coefficient in size.terms:
        term: Size = coefficient
        for name in monomial:
            term = term * values.get(name, Dimension((((name,), 1),)))
        total = total + term
    return total


def total(sizes: Iterable[Size]) -> Size:
    """The sum of the sizes."""
    result: Size = 0
    for size in sizes:
        result = result + size
    return result


def humanized(size: Size) -> str:
    """A number of bytes in the largest unit that keeps it above 1; a polynomial as it is.

    >>> humanized(512), humanized(36352), humanized(parse("256*batch"))
    ('512 B', '35.5 KiB', '256*batch B')
    """
    if isinstance(size, Dimension):
        return f"{size} B"
    if size < 1024:
        return f"{size} B"
    amount = float(size)
    for unit in _UNITS:
        amount /= 1024
        if amount < 1023.95 or unit == _UNITS[-1]:
            break
    return f"{amount:.1f} {unit}"


def counted(number: int, noun: str) -> str:
    """A count with its noun in the singular or the plural.

    >>> counted(1, "copy"), counted(12000, "kernel")
    ('1 copy', '12,000 kernels')
    """
    if number == 1:
        return f"1 {noun}"
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}{'es' if noun.endswith('h') else 's'}"
    return f"{number:,} {plural}"


def typed(dtype: str, shape: Iterable[Size | str]) -> str:
    """A type as the text forms write it: ``float32[batch, 64]``."""
    return f"{dtype}[{', '.join(map(str, shape))}]"


def clipped(text: str, width: int) -> str:
    """The text, with an ellipsis in place of what is beyond the width."""
    return text if len(text) <= width else f"{text[: width - 1].rstrip()}…"


def fitted(parts: Sequence[str], width: int) -> str:
    """As many of the parts as fit, at least one, and how many more there are.

    >>> fitted(("add", "maximum", "exp", "log"), 16), fitted(("maximum",), 4)
    ('add, maximum, +2', 'max…')
    """
    count = min(len(parts), width)
    while count:
        more = f", +{len(parts) - count}" if count < len(parts) else ""
        text = ", ".join(parts[:count]) + more
        if len(text) <= width or count == 1:
            return text if len(text) <= width else clipped(parts[0], width - len(more)) + more
        count -= 1
    return ""


def named_briefly(names: Sequence[str], width: int) -> str:
    """The names of ops, or where they do not fit, those of the layers and functions that they are part of.

    >>> names = ("0/linear/add", "1/relu/le", "1/relu/where", "1/relu/where/grad")
    >>> named_briefly(names, 60), named_briefly(names, 40)
    ('0/linear/add, 1/relu/le, 1/relu/where, 1/relu/where/grad', '0/linear, 1/relu, 1/relu/grad')
    """
    if len(names) > width or len(", ".join(names)) > width:
        names = tuple(dict.fromkeys(map(_part_of, names)))
    return fitted(names, width)


def _part_of(name: str) -> str:
    *scope, last = name.split("/")
    if last == "grad" and len(scope) > 1:
        return "/".join([*scope[:-1], last])
    return "/".join(scope) if scope and last != "grad" else name


def names_of(origins: Iterable[schema.Origin]) -> tuple[str, ...]:
    """The names of the user's ops, each once, in order."""
    return tuple(dict.fromkeys(origin.name for origin in origins))


def lines_of(origins: Iterable[schema.Origin]) -> tuple[str, ...]:
    """The user's lines, each once, in order; those of one file after its name.

    >>> lines_of([schema.Origin(name="a", location="m.py:3"), schema.Origin(name="b", location="m.py:7")])
    ('m.py:3,7',)
    """
    files: dict[str, dict[str, None]] = {}
    for origin in origins:
        file, _, line = origin.location.rpartition(":")
        if file:
            files.setdefault(file, {})[line] = None
    return tuple(f"{file}:{','.join(lines)}" for file, lines in files.items())


def aligned(rows: Sequence[Sequence[str]], right: Iterable[int] = (), gap: str = "  ") -> list[str]:
    """Rows as lines with aligned columns; those named in ``right`` are flush right, the last is not padded.

    >>> aligned([("a", "10 B"), ("total", "5 B")], right=[1])
    ['a      10 B', 'total   5 B']
    """
    flush = frozenset(right)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = (
            cell.rjust(width) if column in flush else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append(gap.join(cells).rstrip())
    return lines
