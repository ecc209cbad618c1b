"""Pictures into files, of the kind that the suffix says."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from lazyflow.runtime.errors import ArgumentError, ArgumentTypeError, message
from lazyflow.runtime.inspect.dot import to_dot
from lazyflow.runtime.inspect.picture import Picture
from lazyflow.runtime.inspect.svg import to_svg

_WRITERS: dict[str, Callable[[str, Sequence[Picture]], str]] = {".dot": to_dot, ".svg": to_svg}


def writer(path: str | os.PathLike[str]) -> Callable[[str, Sequence[Picture]], str]:
    """What makes the text of a picture file.

    Raises:
        ArgumentError: if the suffix is not that of a picture.
        ArgumentTypeError: if it is no path.
    """
    if not isinstance(path, str | os.PathLike):
        raise ArgumentTypeError(message(f"draw: {path!r} is no path", expected="draw('picture.svg')"))
    suffix = Path(path).suffix.lower()
    if suffix not in _WRITERS:
        raise ArgumentError(
            message(
                f"draw: {os.fspath(path)!r} does not say what to draw",
                expected=f"a name that ends in {' or '.join(_WRITERS)}",
                hint="graphviz makes other kinds of a .dot file: dot -Tpdf picture.dot -o picture.pdf",
            )
        )
    return _WRITERS[suffix]


def write(path: str | os.PathLike[str], title: str, pictures: Sequence[Picture]) -> None:
    """Write pictures into a file: ``.svg``, or ``.dot`` for graphviz.

    Raises:
        ArgumentError: if the suffix is neither.
        OSError: if the file cannot be written.
    """
    text = writer(path)(title, pictures)
    Path(path).write_text(text, encoding="utf-8")
