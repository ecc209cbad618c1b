"""Files that are either old or new, never half written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def replace_file(path: Path, data: bytes) -> None:
    """Write a file aside, flush it to the disk, and rename it to ``path``.

    Raises:
        OSError: if the file cannot be written; ``path`` is as it was.
    """
    import tempfile  # a process that only reads does not need it

    with _naming(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        aside = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            aside.chmod(_mode(path))
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        _flush_folder(path.parent)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let errors of the system name the file that is asked for, not the one that is written aside."""
    try:
        yield
    except OSError as error:
        reason = error.strerror
        if not path.parent.is_dir():
            reason = f"{reason}: there is no folder {str(path.parent)!r}"
        raise OSError(error.errno, reason, str(path)) from error


def _mode(path: Path) -> int:
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _flush_folder(folder: Path) -> None:
    if os.name != "posix":
        return  # elsewhere a folder cannot be opened; the rename is as durable as the system makes it
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
