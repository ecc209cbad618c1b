"""BLAS by pointer: scipy.linalg.cython_blas, without the scipy.linalg package, which is slow to start."""

from __future__ import annotations

import ctypes
import importlib.machinery
import importlib.util
from pathlib import Path
from types import ModuleType

import llvmlite.binding as llvm

_NAMES = ("sgemm", "dgemm")
_loaded: list[ModuleType] = []


def load() -> None:
    """Let compiled code call BLAS as ``lazyflow_sgemm`` and ``lazyflow_dgemm``."""
    if _loaded:
        return
    module = _cython_blas()
    _loaded.append(module)  # unloading it would leave the pointers dangling
    for name in _NAMES:
        llvm.add_symbol(f"lazyflow_{name}", _address(module.__pyx_capi__[name]))


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
