"""BLAS by pointer: scipy.linalg.cython_blas, without the scipy.linalg package, which is slow to start."""

from __future__ import annotations

import ctypes
import importlib.machinery
import importlib.util
from pathlib import Path
from types import ModuleType

NAMES = ("sgemm", "dgemm")
_SETTINGS = ("scipy_openblas_{}_num_threads", "openblas_{}_num_threads")
_SUFFIXES = ("", "64_")


class Blas:
    """The functions of BLAS, as addresses.

    Attributes:
        functions: Those of NAMES.
        setters: Those that set and tell the number of its threads, or zeros: it has one thread then, or its
            own way to choose them.
    """

    def __init__(self) -> None:
        self._module = _cython_blas()  # unloading it would leave the addresses dangling
        self.functions = [_address(self._module.__pyx_capi__[name]) for name in NAMES]
        self.setters = _thread_setters(self._module)


def _thread_setters(module: ModuleType) -> tuple[int, int]:
    """Looked up from the module's own library, which looks into those that it is linked with."""
    library = ctypes.CDLL(module.__file__)
    for pattern in _SETTINGS:
        for suffix in _SUFFIXES:
            names = [pattern.format(verb) + suffix for verb in ("set", "get")]
            found = [getattr(library, name, None) for name in names]
            addresses = [ctypes.cast(f, ctypes.c_void_p).value or 0 for f in found if f is not None]
            if len(addresses) == len(names):
                return addresses[0], addresses[1]
    return 0, 0


def _cython_blas() -> ModuleType:
    spec = importlib.util.find_spec("scipy")
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        for suffix in importlib.machinery.EXTENSION_SUFFIXES:
            path = Path(folder) / "linalg" / f"cython_blas{suffix}"
            if path.exists():
                return _load_extension(path)
    from scipy.linalg import cython_blas  # laid out in a way that we do not know

    return cython_blas


def _load_extension(path: Path) -> ModuleType:
    loader = importlib.machinery.ExtensionFileLoader("scipy.linalg.cython_blas", str(path))
    spec = importlib.util.spec_from_loader("scipy.linalg.cython_blas", loader)
    if spec is None:
        raise ImportError(f"cannot load {path.name}")
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def _address(capsule: object) -> int:
    name = ctypes.pythonapi.PyCapsule_GetName
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    address: int = pointer(capsule, name(capsule))
    return address
