"""Test mode: each buffer ends at a page that cannot be touched: one element too far ends the process.

LAZYFLOW_GUARD_PAGES=1 turns it on. Runs are slow then, and each is a call of its own: variables, constants
and feeds are copied.
"""

from __future__ import annotations

import ctypes
import mmap
import os

import numpy as np

from lazyflow.runtime import dtypes
from lazyflow.runtime.backends.backend import Array

_NO_ACCESS = 0  # PROT_NONE


def guarded_mode() -> bool:
    """Whether the environment asks for it."""
    return os.environ.get("LAZYFLOW_GUARD_PAGES", "") == "1"


def guarded(elements: int, dtype: dtypes.DType) -> Array:
    """Memory for elements between two pages that cannot be touched; the last element ends at the second."""
    page = mmap.PAGESIZE
    nbytes = elements * dtype.itemsize
    inside = -(-nbytes // page) * page
    memory = mmap.mmap(-1, inside + 2 * page)
    array: Array = np.frombuffer(memory, np.uint8)  # keeps the mapping alive
    start = array.ctypes.data
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for place in (start, start + page + inside):
        if protect(place, page, _NO_ACCESS):
            raise OSError(ctypes.get_errno(), "mprotect")
    first = page + inside - nbytes
    return array[first : first + nbytes].view(dtype)
