"""BLAS by pointer: that of scipy.linalg.cython_blas, without its packages, which are slow to start."""

from __future__ import annotations

import ctypes
import importlib.machinery
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lazyflow.runtime.backends.backend import address
from lazyflow.runtime.backends.cpu.running.driver import BlasWord

NAMES = ("sgemm", "dgemm")
_SPELLINGS = ("scipy_{}_", "{}_")  # in libraries whose sizes have 32 bits
_SETTINGS = ("scipy_openblas_{}_num_threads", "openblas_{}_num_threads")
_SUFFIXES = ("", "64_")


class Blas:
    """The functions of BLAS, as addresses, and what jobs keep of the number of its threads.

    Attributes:
        functions: Those of NAMES.
        words: See ``BlasWord``; without functions that set and tell the number, it has one thread, or its own
            way to choose them.
    """

    def __init__(self) -> None:
        path = _path()
        library = ctypes.CDLL(path) if path is not None else None
        functions = _symbols(library, [[s.format(name) for name in NAMES] for s in _SPELLINGS])
        if library is None or functions is None:
            from scipy.linalg import cython_blas  # laid out, or linked, in a way that we do not know

            library = ctypes.CDLL(cython_blas.__file__)
            capsules = vars(cython_blas)["__pyx_capi__"]
            functions = [_address(capsules[name]) for name in NAMES]
        self._library = library  # unloading it would leave the addresses dangling
        self.functions = functions
        spellings = [[p.format(verb) + s for verb in ("set", "get")] for p in _SETTINGS for s in _SUFFIXES]
        self.words = np.zeros(BlasWord.SIZE, np.int64)
        self.words[[BlasWord.SET, BlasWord.GET]] = _symbols(library, spellings) or [0, 0]
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._leave)

    @property
    def kept(self) -> int:
        """The address of the words; 0 where there is nothing to keep."""
        return address(self.words) if self.words[BlasWord.SET] else 0

    def _leave(self) -> None:
        """In the child of a process: the jobs of other threads are not there to end."""
        words = self.words
        if words[BlasWord.JOBS]:
            ctypes.CFUNCTYPE(None, ctypes.c_int)(int(words[BlasWord.SET]))(int(words[BlasWord.SAVED]))
        words[[BlasWord.LOCK, BlasWord.JOBS]] = 0


def _path() -> str | None:
    """The file of scipy.linalg.cython_blas, found without an import."""
    spec = importlib.util.find_spec("scipy")
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        for suffix in importlib.machinery.EXTENSION_SUFFIXES:
            path = Path(folder) / "linalg" / f"cython_blas{suffix}"
            if path.exists():
                return str(path)
    return None


def _symbols(library: ctypes.CDLL | None, spellings: Sequence[Sequence[str]]) -> list[int] | None:
    """The addresses of the first names that are all in the library, or in those that it is linked with."""
    for names in spellings:
        found = [getattr(library, name, None) for name in names]
        addresses = [ctypes.cast(f, ctypes.c_void_p).value or 0 for f in found if f is not None]
        if len(addresses) == len(names):
            return addresses
    return None


def _address(capsule: object) -> int:
    name = ctypes.pythonapi.PyCapsule_GetName
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    address: int = pointer(capsule, name(capsule))
    return address
