"""Pictures in the language of graphviz."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lazyflow.runtime.inspect.picture import KINDS, Picture


def to_dot(title: str, pictures: Sequence[Picture]) -> str:
    """The pictures as one directed graph, a cluster for each where there are several.

    Nothing is left out: the text is for programs that can filter and lay out as much as they are given.
    """
    lines = [
        f"digraph {_quoted(title)} {{",
        f"  label={_quoted(title)}; labelloc=t; fontname=Helvetica;",
        '  node [shape=box, style="rounded,filled", fontname=Helvetica, fontsize=11];',
        "  edge [fontname=Helvetica, fontsize=9, color=gray50];",
    ]
    for number, picture in enumerate(pictures):
        if len(pictures) == 1:
            lines += _contents(picture, "")
            continue
        lines.append(f"  subgraph cluster_{number} {{")
        lines.append(f"    label={_quoted(picture.title)};")
        lines += (f"  {line}" for line in _contents(picture, f"{number} "))
        lines.append("  }")
    return "\n".join([*lines, "}", ""])


def _contents(picture: Picture, prefix: str) -> Iterator[str]:
    for box in picture.boxes:
        _, fill, stroke = KINDS[box.kind]
        label = _quoted("\n".join([box.title, *box.notes]))
        tooltip = _quoted(box.tooltip or box.title)
        yield (
            f"  {_quoted(prefix + box.key)} "
            f'[label={label}, tooltip={tooltip}, fillcolor="{fill}", color="{stroke}"];'
        )
    for arrow in picture.arrows:
        style = ", style=dashed" if arrow.dashed else ""
        ends = f"{_quoted(prefix + arrow.source)} -> {_quoted(prefix + arrow.target)}"
        yield f"  {ends} [label={_quoted(arrow.label)}{style}];"


def _quoted(text: str) -> str:
    """A string of the dot language; a backslash of the text is shown as one, a line break breaks the line."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", " ").replace("\0", " ")
    return '"' + plain.replace("\n", "\\n") + '"'
