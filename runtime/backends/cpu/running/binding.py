"""A program bound to memory, for given sizes: the job that the driver runs, and views of what it fetches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.backends.backend import Array, Bound, Steps, address, check_index
from lazyflow.runtime.backends.cpu.lowering.batch import count_groups
from lazyflow.runtime.backends.cpu.running.driver import JobWord
from lazyflow.runtime.backends.cpu.running.guard import guarded
from lazyflow.runtime.backends.cpu.running.table import Filled
from lazyflow.runtime.dimensions import Size, evaluate, parse
from lazyflow.runtime.errors import OutOfRangeError

_PATIENCE = 40_000_000  # nanoseconds after which several runs come back to Python
_MOST_STEPS = 4096  # of one call: rows of the table of what they are fed
_MOST_BYTES = 1 << 22  # of the fetches that one call keeps


class Memory(NamedTuple):
    """Where the buffers of a program live."""

    arena: Array
    starts: Sequence[int]  # of the slots, then of scratch memory, in bytes
    variables: Mapping[str, Array]
    constants: Mapping[str, Array]
    guarded: bool = False  # see ``guard``


class Natives(NamedTuple):
    """The addresses of what jobs use."""

    pool: int
    blas: int  # the words that keep its number of threads; 0 where there is nothing to keep
    functions: Sequence[int]  # of BLAS


class Binding:
    """The addresses of a program's buffers for given sizes.

    Attributes:
        job: The address of the job of one run.
        many: The address of that of several.
        shared: Whether they have work for more than one thread.
        prints: For each print instruction, its value.
        flags: For each, whether it ran.
    """

    def __init__(
        self,
        program: schema.Program,
        sizes: Mapping[str, int],
        filled: Filled,
        memory: Memory,
        natives: Natives,
    ) -> None:
        self.program, self.sizes = program, dict(sizes)
        self._filled = filled
        self._memory = [self._find(buffer, memory) for buffer in program.buffers]
        self._copied: list[tuple[int, Array]] = []  # buffers in guarded memory, and where their values are
        if memory.guarded:
            self._guard()
        self.shared = filled.shared
        self._scratch = [self._find_scratch(i, memory) for i in range(len(filled.table.scratch))]
        self.prints = {number: self._printed(number, i) for number, i in filled.table.printed.items()}
        self.flags = np.zeros(len(self.prints), np.uint8)
        self._fault = np.zeros(1, np.int64)
        self._fed = [i for i, buffer in enumerate(program.buffers) if buffer.place == "feed"]
        self._names = [program.buffers[i].name for i in self._fed]
        filled.place(self._bases(natives))
        self._patches = filled.patches(self._fed)
        self._feeds = np.zeros(max(1, len(self._fed)), np.int64)
        self._fed_words = self._feeds.data  # numpy takes longer to set an element
        self._jobs = np.stack([self._make_job(natives)] * 2)
        self.job, self.many = address(self._jobs[0]), address(self._jobs[1])
        fed = set(self._fed)
        self._kept: Bound | None = None  # what it was fed last
        own = [f for f in program.fetches if f.source.buffer not in fed]
        self._fetched_feeds = [f for f in program.fetches if f not in own]
        self._fetches = [(f.name, self.view(f.source, f.shape, {})) for f in own]
        blocks = not self._fetched_feeds and all(view.flags.c_contiguous for _, view in self._fetches)
        self._blocks = self._fetches if blocks else []  # what the driver can copy

    def _find(self, buffer: schema.Buffer, memory: Memory) -> Array | None:
        if buffer.place == "arena":
            start = memory.starts[buffer.slot] + buffer.offset
            return np.ndarray((self._value(buffer.size),), dtypes.ALL[buffer.dtype], memory.arena, start)
        if buffer.place == "variable":
            return memory.variables[buffer.name].reshape(-1)
        return memory.constants[buffer.name].reshape(-1) if buffer.place == "constant" else None

    def _find_scratch(self, number: int, memory: Memory) -> Array:
        nbytes = self._value(self._filled.table.scratch[number])
        if memory.guarded:
            return guarded(nbytes, dtypes.uint8)
        start = memory.starts[len(self.program.slots) + number]
        return memory.arena[start : start + nbytes]

    def _guard(self) -> None:
        for number, buffer in enumerate(self.program.buffers):
            usual = self._memory[number]
            self._memory[number] = guarded(self._value(buffer.size), dtypes.ALL[buffer.dtype])
            if usual is not None and buffer.place != "arena":
                self._copied.append((number, usual))

    def copy_in(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        """In guarded memory: take the values of variables and feeds; the feeds are those to use instead."""
        for number, usual in self._copied:
            self._memory[number][:] = usual  # type: ignore[index]
        instead = {}
        for number, name in zip(self._fed, self._names, strict=True):
            memory: Any = self._memory[number]
            memory[:] = feeds[name].reshape(-1)
            instead[name] = memory.reshape(feeds[name].shape)
        return instead

    def copy_out(self) -> None:
        """In guarded memory: give the variables their values."""
        for number, usual in self._copied:
            if self.program.buffers[number].place == "variable":
                usual[:] = self._memory[number]

    def _printed(self, number: int, scratch: int) -> Array:
        item: Any = self.program.instructions[number]
        dtype = dtypes.ALL[self.program.buffers[item.source.buffer].dtype]
        return self._scratch[scratch].view(dtype).reshape(tuple(self._value(e) for e in item.space))

    def _bases(self, natives: Natives) -> Array:
        """The address of each buffer, then of what stands for buffers; see ``Tasks``."""
        found = [0 if memory is None else address(memory) for memory in self._memory]
        found += [address(self.flags[i:]) for i in range(len(self.flags))]
        found += [address(self._fault), *natives.functions]
        found += [address(block) for block in self._scratch]
        found.append(address(self._filled.numbers))
        return np.array(found, np.int64)

    def _make_job(self, natives: Natives) -> Array:
        job = np.zeros(JobWord.SIZE, np.int64)
        rows = self._filled.rows
        job[JobWord.TASKS], job[JobWord.COUNT] = address(rows), len(rows)
        job[JobWord.POOL], job[JobWord.BLAS] = (
            natives.pool,
            natives.blas if self._filled.table.calls_blas else 0,
        )
        job[JobWord.PATCHES], job[JobWord.PATCH_COUNT] = address(self._patches), len(self._patches)
        job[JobWord.FEEDS], job[JobWord.FEED_STEP] = address(self._feeds), 0
        job[JobWord.STEPS], job[JobWord.NANOSECONDS] = 1, _PATIENCE
        job[JobWord.ADDRESSES] = address(self._filled.addresses)
        return job

    def _value(self, extent: schema.Extent | Size) -> int:
        return evaluate(parse(extent) if isinstance(extent, str) else extent, self.sizes)

    def feed(self, feeds: Mapping[str, Array]) -> None:
        """Take the addresses of what one run is fed."""
        if feeds is self._kept:
            return
        self._kept = None
        for position, name in enumerate(self._names):
            self._fed_words[position] = address(feeds[name])
        self._kept = feeds if isinstance(feeds, Bound) else None

    def feed_steps(self, steps: Steps, every: bool) -> dict[str, Array]:
        """Take the addresses of what several runs are fed; rows for the fetches of each, or none."""
        kept = self._blocks if every else []
        count = 1 if self.prints or (every and not kept) else min(steps.runs, _MOST_STEPS)
        if kept:
            count = max(1, min(count, _MOST_BYTES // sum(view.nbytes for _, view in kept)))
        job = self._jobs[1]
        job[JobWord.FEEDS], job[JobWord.FEED_STEP] = address(self._feeds), 0
        if steps.moving:
            self._table = np.empty((count, len(self._names)), np.int64)
            for position, name in enumerate(self._names):
                self._table[:, position] = _addresses(steps, name, count)
            job[JobWord.FEEDS], job[JobWord.FEED_STEP] = address(self._table), len(self._names)
        else:
            self.feed(steps.fixed)
        rows = {name: np.empty((count, *view.shape), view.dtype) for name, view in kept}
        copies = [(address(view), address(rows[name]), view.nbytes) for name, view in kept]
        self._copies = np.array(copies, np.int64)
        job[JobWord.STEPS] = count
        job[JobWord.COPIES], job[JobWord.COPY_COUNT] = address(self._copies), len(copies)
        return rows

    @property
    def done(self) -> int:
        """How many runs the last call has made."""
        return int(self._jobs[1, JobWord.DONE])

    def fetch(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """A fresh array per fetch."""
        fetches = {name: view.copy() for name, view in self._fetches}
        for fetch in self._fetched_feeds:
            fetches[fetch.name] = self.view(fetch.source, fetch.shape, feeds).copy()
        return fetches

    def fetch_steps(self, steps: Steps, done: int, rows: Mapping[str, Array]) -> list[dict[str, Array]]:
        """The fetches of each run if there are rows of them, else of the last."""
        if not rows:
            return [self.fetch(steps.feeds(done - 1))]
        # a caller that holds one row holds the block, which is not to be larger than what was run
        kept = {name: row if len(row) == done else row[:done].copy() for name, row in rows.items()}
        return [{name: row[run, ...] for name, row in kept.items()} for run in range(done)]

    def view(self, access: schema.Access, shape: schema.Extents, feeds: Mapping[str, Array]) -> Array:
        """What an access sees over a space."""
        buffer = self.program.buffers[access.buffer]
        memory = self._memory[access.buffer]
        if memory is None:
            memory = feeds[buffer.name].reshape(-1)
        dtype = dtypes.ALL[buffer.dtype]
        strides = tuple(self._value(s) * dtype.itemsize for s in access.strides)
        extents = tuple(self._value(e) for e in shape)
        offset = self._value(access.offset) * dtype.itemsize
        return np.ndarray(extents, dtype, memory.view(np.uint8), offset, strides)

    def explain(self, document: schema.Document, number: int, feeds: Mapping[str, Array]) -> None:
        """Raise the error of the instruction that failed."""
        item = self.program.instructions[number]
        if isinstance(item, schema.Gather | schema.ScatterAdd | schema.Check):
            limit = item.size if isinstance(item, schema.Check) else item.axis_size
            moving = zip(item.space, item.index.strides, strict=True)
            shape = tuple(extent if stride != 0 else 1 for extent, stride in moving)
            index = self.view(item.index, shape, feeds)
            check_index(index, self._value(limit), document, item)
        found = int(self._fault[0])
        if isinstance(item, schema.KernelBatch):
            groups = count_groups(self.program, item)
            raise OutOfRangeError(f"group index {found} is outside of its optimizer's {groups} groups")
        raise OutOfRangeError(f"instruction {number}: index {found} is outside of its axis")


def _addresses(steps: Steps, name: str, count: int) -> int | Array:
    """Where a feed of each run starts, or of all where it is one array."""
    arrays = steps.moving.get(name)
    if arrays is None:
        return address(steps.fixed[name])
    if isinstance(arrays, np.ndarray):
        return address(arrays) + arrays.strides[0] * np.arange(count)
    return np.fromiter(map(address, arrays), np.int64, count)
