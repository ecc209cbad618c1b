"""The user's source line: where an op, a variable or a program was written."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import PurePath

_INTERNAL = ("lazyflow.", "contextlib", "functools")


def user_line() -> str:
    """``file name:line`` of the nearest caller outside of lazyflow; never a path."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_internal(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    return f"{_file_name(frame.f_code.co_filename)}:{frame.f_lineno}"


@cache
def _is_internal(module: str) -> bool:
    return module.startswith(_INTERNAL) or module == "lazyflow"


@cache
def _file_name(path: str) -> str:
    return PurePath(path).name
