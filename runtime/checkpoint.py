"""The values of all variables on disk: one safetensors file, written aside and renamed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from numpy.typing import NDArray

from lazyflow.runtime.errors import StateError
from lazyflow.runtime.files import replace_file
from lazyflow.runtime.tensors import from_bytes, to_bytes

Array: TypeAlias = NDArray[Any]


def write_checkpoint(path: str | os.PathLike[str], values: Mapping[str, Array]) -> None:
    """Write the values to ``path``; whatever happens, the path holds either the old file or the new one.

    Raises:
        OSError: if the file cannot be written.
    """
    replace_file(Path(path), to_bytes(values))


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Array]:
    """The values that ``write_checkpoint`` wrote.

    Raises:
        OSError: if the file cannot be read.
        StateError: if it is no checkpoint.
    """
    return from_bytes(Path(path).read_bytes(), f"checkpoint {str(path)!r}", StateError)
