"""The kernels of fused.c, compiled for this host, and memory for them to work on."""

import ctypes
import math
import os
import subprocess
import tempfile
from functools import partial
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # C's threads must not spin while others work

import numpy as np

from lazyflow.runtime.backends.backend import aligned

FLAGS = ["-O3", "-march=native", "-fno-math-errno", "-ffp-contract=off", "-fopenmp", "-shared", "-fPIC"]
PART = 1 << 16
NUMBERS = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "decay": 0.01}
NUMBERS |= {"c1": 1.0, "c2": 1.0, "unscale": 1.0, "limit": 1.0, "share": 0.001}
ARRAYS = "pgabe"


class Part(ctypes.Structure):
    _fields_ = [*((name, ctypes.c_void_p) for name in ARRAYS), ("n", ctypes.c_long)]


class Numbers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_float) for name in NUMBERS]


def library():
    """The C kernels."""
    path = Path(tempfile.mkdtemp()) / "fused.so"
    source = Path(__file__).with_name("fused.c")
    subprocess.run(["gcc", *FLAGS, str(source), "-o", str(path), "-lm"], check=True)
    return ctypes.CDLL(str(path))


class Arrays:
    """float32 arrays in one block of the memory that variables live in, each aligned to a cache line."""

    def __init__(self, shapes):
        elements = sum(self._rounded(shape) for shape in shapes)
        self._block = aligned(4 * elements).view(np.float32)
        self._used = 0
        rng = np.random.default_rng(0)
        self.arrays = [self._take(shape, rng) for shape in shapes]

    @staticmethod
    def _rounded(shape):
        return -(-math.prod(shape) // 16) * 16

    def _take(self, shape, rng):
        array = self._block[self._used : self._used + math.prod(shape)].reshape(shape)
        self._used += self._rounded(shape)
        array[...] = rng.random(shape, np.float32) + 0.5
        return array


def bound(function, rows, threads):
    """A call of a kernel.

    Args:
        function: The kernel.
        rows: For each tensor the arrays that the kernel uses, in the order of ``ARRAYS``.
        threads: How many take part, where there is enough to do.
    """
    parts = []
    for row in rows:
        size = row[0].size
        for begin in range(0, size, PART):
            places = [array.ctypes.data + 4 * begin for array in row]
            parts.append(Part(*places, *[None] * (len(ARRAYS) - len(row)), min(PART, size - begin)))
    table, numbers = (Part * len(parts))(*parts), Numbers(*NUMBERS.values())
    alone = 1 if sum(row[0].size for row in rows) < PART else threads
    function.restype = None
    function.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_void_p, ctypes.c_int]
    call = partial(function, ctypes.addressof(table), len(parts), ctypes.addressof(numbers), alone)
    call.kept = table, numbers
    return call


def stream(c, rows, threads):
    """A call that reads and writes back all arrays: what memory allows, 8 bytes of each element."""
    return bound(c.stream, [[array] for row in rows for array in row], threads)
