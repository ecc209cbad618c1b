"""The user's source line: where an op, a variable or a program was written."""

from __future__ import annotations

import sys
from pathlib import PurePath

_INTERNAL = ("lazyflow.", "contextlib", "functools")


def user_line() -> str:
    """``file name:line`` of the nearest caller outside of lazyflow; never a path."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        module = frame.f_globals.get("__name__", "")
        if not module.startswith(_INTERNAL) and module != "lazyflow":
            break
        frame = frame.f_back
    return f"{_file_name(frame.f_code.co_filename)}:{frame.f_lineno}"


_names: dict[str, str] = {}


def _file_name(path: str) -> str:
    name = _names.get(path)
    if name is None:
        name = _names[path] = PurePath(path).name
    return name
