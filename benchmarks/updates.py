"""Optimizer updates of many tensors: lazyflow against C written by hand, over the same data, in turns.

    python benchmarks/updates.py --rounds 15 --sets "one of 16M" "ResNet-50"

Each row gives the medians of paired rounds: times of C, of ``session.run`` with every gradient bound, and of
``run_many`` per step; their ratios; and C's time over that of moving the same bytes (the floor).
"""

import argparse
import ctypes
import math
import mmap
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # C's threads must not spin while ours work

import numpy as np
from shapes import SETS

import lazyflow as lf
from lazyflow import optim

HERE = Path(__file__).parent
FLAGS = ["-O3", "-march=native", "-fno-math-errno", "-ffp-contract=off", "-fopenmp", "-shared", "-fPIC"]
PART = 1 << 16
NUMBERS = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "decay": 0.01, "scale": 1.0}
NUMBERS |= {"c1": 1.0, "c2": 1.0}

# name: the optimizer, its state per parameter in C's order, and the arrays that a step moves
KINDS = {
    "sgd": (lambda p: optim.SGD(p, lr=1e-3, momentum=0.9), 1, 5),
    "rmsprop": (lambda p: optim.RMSprop(p, lr=1e-3, alpha=0.999), 1, 5),
    "adam": (lambda p: optim.Adam(p, lr=1e-3), 2, 7),
    "adamw": (lambda p: optim.AdamW(p, lr=1e-3, weight_decay=0.01), 2, 7),
}


class Part(ctypes.Structure):
    _fields_ = [*((name, ctypes.c_void_p) for name in "pgab"), ("n", ctypes.c_long)]


class Numbers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_float) for name in NUMBERS]


def library():
    """The C kernels, compiled for this host."""
    path = Path(tempfile.mkdtemp()) / "fused.so"
    subprocess.run(["gcc", *FLAGS, str(HERE / "fused.c"), "-o", str(path), "-lm"], check=True)
    return ctypes.CDLL(str(path))


class Arrays:
    """float32 arrays in one block of huge pages, each aligned to a cache line."""

    def __init__(self, elements):
        memory = mmap.mmap(-1, 4 * elements + (1 << 21))
        memory.madvise(getattr(mmap, "MADV_HUGEPAGE", 14))
        self.block = np.frombuffer(memory, np.float32)
        self.used = 0

    def take(self, shape, rng):
        size = math.prod(shape)
        array = self.block[self.used : self.used + size].reshape(shape)
        self.used += -(-size // 16) * 16
        array[...] = rng.random(shape, np.float32) + 0.5
        return array


class Update:
    """One optimizer over one set of tensors, in lazyflow and in C."""

    def __init__(self, c, kind, shapes, threads):
        make, states, self.moved = KINDS[kind]
        self.elements = sum(math.prod(shape) for shape in shapes)
        with lf.Graph("update") as graph:
            parameters = [lf.Parameter(0.0, shape, name=f"w{i}") for i, shape in enumerate(shapes)]
            feeds = [lf.placeholder(f"g{i}", shape) for i, shape in enumerate(shapes)]
            optimizer = make(parameters)
            with graph.program("train"):
                optimizer.step(dict(zip(parameters, feeds, strict=True)))
        self.session = lf.compile(graph).session("cpu")
        self._bind(optimizer.table().state, shapes, states)
        self.run_c = self._prepare(getattr(c, kind), threads)

    def _bind(self, state, shapes, states):
        rng = np.random.default_rng(0)
        memory = Arrays(sum(-(-math.prod(shape) // 16) * 16 for shape in shapes))
        variables = self.session.backend.variables  # the memory that C works on too
        self.rows = []
        for i, shape in enumerate(shapes):
            gradient = memory.take(shape, rng)
            self.session.bind(f"g{i}", gradient)
            self.rows.append([variables[f"w{i}"], gradient, *(variables[n] for n in state[f"w{i}"][:states])])

    def _prepare(self, function, threads):
        parts = []
        for row in self.rows:
            size = row[0].size
            for begin in range(0, size, PART):
                places = [array.ctypes.data + 4 * begin for array in row]
                places += [None] * (4 - len(places))
                parts.append(Part(*places, min(PART, size - begin)))
        table, numbers = (Part * len(parts))(*parts), Numbers(*NUMBERS.values())
        alone = 1 if self.elements < 1 << 16 else threads
        function.restype = None
        function.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_void_p, ctypes.c_int]
        self.kept = table, numbers
        given = ctypes.addressof(table), len(parts), ctypes.addressof(numbers), alone
        return lambda: function(*given)


def timed(function, repeats):
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats


def floor(c, threads):
    """Seconds per byte of updates in place."""
    size = 1 << 26
    memory = Arrays(size).take((size,), np.random.default_rng(0))
    parts = [Part(memory.ctypes.data + 4 * i, None, None, None, PART) for i in range(0, size, PART)]
    table, numbers = (Part * len(parts))(*parts), Numbers(*NUMBERS.values())
    given = ctypes.byref(table), ctypes.c_long(len(parts)), ctypes.byref(numbers), ctypes.c_int(threads)
    c.stream(*given)
    return min(timed(lambda: c.stream(*given), 3) for _ in range(5)) / (8 * size)


def measure(update, rounds):
    """Seconds per step of C, of run, and of run_many, a triple per round."""
    empty = [{}] * max(1, min(1000, 40_000_000 // update.elements))
    calls = {
        "c": update.run_c,
        "run": lambda: update.session.run("train"),
        "many": lambda: update.session.run_many("train", empty),
    }
    once = {name: timed(call, 2) for name, call in calls.items()}
    found = []
    for _ in range(rounds):
        row = {name: timed(call, max(1, int(0.03 / once[name]))) for name, call in calls.items()}
        row["many"] /= len(empty)
        found.append(row)
    return found


def main():
    parser = argparse.ArgumentParser(description="Times optimizer updates against C.")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    lf.set_num_threads(arguments.threads)
    c = library()
    per_byte = floor(c, arguments.threads)
    print(f"floor: {1e-9 / per_byte:.1f} GB/s read and written in place, {arguments.threads} threads\n")
    print("| tensors | update | C ms | C / floor | run / C | run_many / C | run - C us |")
    print("|---|---|---|---|---|---|---|")
    for name in arguments.sets:
        for kind in arguments.kinds:
            update = Update(c, kind, SETS[name], arguments.threads)
            rounds = measure(update, arguments.rounds)
            middle = {key: statistics.median(r[key] for r in rounds) for key in ("c", "run", "many")}
            run, many = (statistics.median(r[key] / r["c"] for r in rounds) for key in ("run", "many"))
            least = per_byte * 4 * update.moved * update.elements
            cells = [f"{middle['c'] * 1e3:.4g}", f"{middle['c'] / least:.2f}", f"{run:.2f}", f"{many:.2f}"]
            apart = (middle["run"] - middle["c"]) * 1e6
            print("|", " | ".join([name, kind, *cells, f"{apart:.1f}"]), "|", flush=True)


if __name__ == "__main__":
    main()
