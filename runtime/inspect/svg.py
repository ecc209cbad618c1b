"""Pictures as SVG: one file without scripts, fonts or anything else from outside."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape

from lazyflow.runtime.inspect.layout import (
    LINE,
    PADDING,
    Arranged,
    arrange,
    notes_of,
    title_of,
)
from lazyflow.runtime.inspect.picture import KINDS, Box, Picture, readable
from lazyflow.runtime.inspect.routes import Line, Point, Rectangle

_MARGIN, _BETWEEN, _HEAD, _HEADING = 24.0, 56.0, 74.0, 30.0
_STYLE = """
text { font-family: "DejaVu Sans", Verdana, Arial, sans-serif; fill: #1c1917; }
.title { font-size: 18px; font-weight: bold; }
.heading { font-size: 14px; font-weight: bold; }
.quiet { font-size: 11px; fill: #57534e; }
.name { font-size: 12px; font-weight: 600; text-anchor: middle; }
.note, .type { font-size: 10px; text-anchor: middle; font-family: "DejaVu Sans Mono", Menlo, monospace; }
.note { fill: #44403c; }
.type { font-size: 9.5px; fill: #57534e;
  stroke: #ffffff; stroke-width: 4px; stroke-linejoin: round; paint-order: stroke; }
.line { fill: none; stroke: #a8a29e; stroke-width: 1.2px; }
.dashed { stroke-dasharray: 4 3; }
.head { fill: #78716c; stroke: none; }
"""
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # what XML cannot hold


def to_svg(title: str, pictures: Sequence[Picture]) -> str:
    """The pictures side by side, below a title and a legend.

    Args:
        title: What the whole shows.
        pictures: Each with a heading of its own where there are several.

    Returns:
        The text of an SVG file.
    """
    arranged = [arrange(readable(picture)) for picture in pictures]
    legend, legend_width = _legend(arranged)
    corners, across, down = _packed([_extent(each) for each in arranged])
    width = max(across, legend_width, 11.0 * len(title)) + 2 * _MARGIN
    height = down + _HEAD + 2 * _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
        f' viewBox="0 0 {width:.0f} {height:.0f}">',
        f"<style>{_STYLE}</style>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text class="title" x="{_MARGIN:g}" y="{_MARGIN + 14:g}">{_text(title)}</text>',
        *legend,
    ]
    for each, (x, y) in zip(arranged, corners, strict=True):
        parts += _panel(each, _MARGIN + x, _MARGIN + _HEAD + y)
    return "\n".join([*parts, "</svg>", ""])


def _extent(each: Arranged) -> Point:
    """Width and height of a picture with its heading."""
    words = max(7.5 * len(each.picture.title), 6.5 * len(each.picture.note))
    return Point(max(each.width, words), each.height + _HEADING)


def _packed(extents: Sequence[Point]) -> tuple[list[Point], float, float]:
    """The corners of the pictures in columns as high as the highest picture, and the extents of all."""
    highest = max((extent.y for extent in extents), default=0.0)
    corners: list[Point] = []
    left, right, y = 0.0, 0.0, 0.0
    for extent in extents:
        if y and y + extent.y > highest:
            left, y = right + _BETWEEN, 0.0
        corners.append(Point(left, y))
        right = max(right, left + extent.x)
        y += extent.y + _BETWEEN
    return corners, right, highest


def _text(text: str) -> str:
    return escape(_FORBIDDEN.sub("�", text))


def _legend(arranged: Sequence[Arranged]) -> tuple[list[str], float]:
    used = {box.kind for each in arranged for box in each.picture.boxes}
    parts, x, y = [], _MARGIN, _MARGIN + 32
    for kind, (name, fill, stroke) in KINDS.items():
        if kind not in used:
            continue
        parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="12" height="12" rx="3" fill="{fill}" stroke="{stroke}"/>'
            f'<text class="quiet" x="{x + 17:g}" y="{y + 10:g}">{_text(name)}</text>'
        )
        x += 34 + 6.4 * len(name)
    return parts, x - _MARGIN


def _panel(each: Arranged, left: float, top: float) -> Iterator[str]:
    picture = each.picture
    yield f'<g transform="translate({left:g} {top:g})">'
    yield f'<text class="heading" x="0" y="0">{_text(picture.title)}</text>'
    if picture.note:
        yield f'<text class="quiet" x="0" y="15">{_text(picture.note)}</text>'
    yield f'<g transform="translate(0 {_HEADING:g})">'
    for line in each.lines:
        yield from _line(line)
    for box in picture.boxes:
        yield from _box(box, each.places[box.key])
    for line in each.lines:
        yield from _label(line, each.places[line.source])
    yield "</g></g>"


def _line(line: Line) -> Iterator[str]:
    path = "".join(_piece(start, end) for start, end in line.pieces)
    style = "line dashed" if line.dashed else "line"
    yield f'<path class="{style}" d="{path}"/>'
    back = 7 if line.up else -7
    heads = "".join(f"M{x:.1f} {y:.1f}l-3.5 {back}h7z" for x, y in line.heads)
    yield f'<path class="head" d="{heads}"/>'


def _piece(start: Point, end: Point) -> str:
    move = f"M{start.x:.1f} {start.y:.1f}"
    if abs(start.x - end.x) < 0.5:
        return f"{move}V{end.y:.1f}"
    middle = (start.y + end.y) / 2
    return f"{move}C{start.x:.1f} {middle:.1f} {end.x:.1f} {middle:.1f} {end.x:.1f} {end.y:.1f}"


def _box(box: Box, place: Rectangle) -> Iterator[str]:
    _, fill, stroke = KINDS[box.kind]
    dash = ' stroke-dasharray="5 4"' if box.kind == "elision" else ""
    tooltip = f"<title>{_text(box.tooltip or box.title)}</title>"
    yield (
        f'<g>{tooltip}<rect x="{place.x:.1f}" y="{place.y:.1f}" width="{place.width:.1f}" '
        f'height="{place.height:.1f}" rx="6" fill="{fill}" stroke="{stroke}"{dash}/>'
    )
    y = place.y + PADDING / 2 + LINE - 2
    yield f'<text class="name" x="{place.middle:.1f}" y="{y:.1f}">{_text(title_of(box))}</text>'
    for number, note in enumerate(notes_of(box), start=1):
        yield (
            f'<text class="note" x="{place.middle:.1f}" y="{y + number * LINE - 1:.1f}">{_text(note)}</text>'
        )
    yield "</g>"


def _label(line: Line, place: Rectangle) -> Iterator[str]:
    if line.label:
        y = place.y + place.height + 14
        yield f'<text class="type" x="{place.middle:.1f}" y="{y:.1f}">{_text(line.label)}</text>'
