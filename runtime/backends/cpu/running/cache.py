"""Object code on disk, by content: a second process starts without compiling.

A file is a checksum and the code after it, written aside and renamed: a torn or damaged one is compiled anew.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

from lazyflow.runtime.backends.cpu.running.jit import Machine

MOST_BYTES = 256 << 20
_LOOK = 16  # of so many files written, one has the folder looked through: 30,000 take 0.3 s
_CHECKSUM = 32
_SUFFIX = ".object"
_ASKED = ("dimensions", "dtypes", "scalars", "schema")  # of lazyflow.runtime: what is written depends on them
_logger = logging.getLogger("lazyflow")


class Cache:
    """Object code for one host.

    Args:
        machine: The host's compiler.
        folder: Where the files are; None for LAZYFLOW_CACHE_DIR, or else the user's folder for caches.
        most_bytes: How much the folder may hold; the files that were used longest ago are removed.
    """

    def __init__(self, machine: Machine, folder: Path | None = None, most_bytes: int = MOST_BYTES) -> None:
        self.folder = folder or _default_folder()
        self.most_bytes = most_bytes
        self.compiled = 0  # how often there was none
        self._host = "\n".join([_own_version(), *machine.identity])

    def code(self, key: str, compile_: Callable[[], bytes]) -> bytes:
        """The object code for a key, compiled where there is none.

        Args:
            key: All that the code depends on, besides the host.
            compile_: Makes the code.
        """
        name = hashlib.sha256(f"{self._host}\n{key}".encode()).hexdigest()
        path = self.folder / f"{name}{_SUFFIX}"
        found = _read(path)
        if found is not None:
            return found
        self.compiled += 1
        code = compile_()
        try:
            self._write(path, code)
        except (OSError, NotImplementedError) as error:  # the latter where files cannot be locked
            hint = "LAZYFLOW_CACHE_DIR names another folder"
            _say_once(f"compiled code is not kept, and the next process compiles again: {error}; {hint}")
        return code

    def _write(self, path: Path, code: bytes) -> None:
        import tempfile  # only a process that compiles needs these two

        from filelock import FileLock

        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / "lock"):
            handle, aside = tempfile.mkstemp(dir=self.folder, suffix=".partial")
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(code).digest() + code)
            Path(aside).replace(path)
            if int(path.stem, 16) % _LOOK == 0:
                self._shrink(path)

    def _shrink(self, newest: Path) -> None:
        with os.scandir(self.folder) as entries:  # thousands, in time; a Path of each would take longer
            found = list(entries)
        # under the lock, so what is still called partial was left by a process that ended
        for entry in found:
            if entry.name.endswith(".partial"):
                Path(entry).unlink(missing_ok=True)
        files = [(entry, entry.stat()) for entry in found if entry.name.endswith(_SUFFIX)]
        total = sum(status.st_size for _, status in files)
        if total <= self.most_bytes:
            return
        for entry, status in sorted(files, key=lambda file: file[1].st_mtime_ns):
            if total <= self.most_bytes:
                break
            if entry.name != newest.name:
                Path(entry).unlink(missing_ok=True)
                total -= status.st_size


def _read(path: Path) -> bytes | None:
    try:
        data = path.read_bytes()
    except OSError:  # there is none, or none that we may read
        return None
    code = data[_CHECKSUM:]
    if not code or hashlib.sha256(code).digest() != data[:_CHECKSUM]:
        return None
    try:
        os.utime(path)  # used just now
    except OSError:  # removed by another process, or not ours: the code is good all the same
        return code
    return code


def _default_folder() -> Path:
    chosen = os.environ.get("LAZYFLOW_CACHE_DIR")
    if chosen:
        return Path(chosen)
    from platformdirs import user_cache_path  # only where no folder is given

    return user_cache_path("lazyflow")


@cache
def _own_version() -> str:
    """What the code generator is: the content of its files, and of those outside that it asks."""
    folder, digest = Path(__file__).parents[1], hashlib.sha256()
    outside = [folder.parents[1] / f"{name}.py" for name in _ASKED]
    for path in sorted([*folder.rglob("*.py"), *folder.rglob("*.ll"), *outside]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def _say_once(text: str) -> None:
    _logger.warning(text)
