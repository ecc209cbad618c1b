"""The tasks of a program as tables of 64-bit words: once per program, then filled in for given sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lazyflow.runtime.backends.backend import address
from lazyflow.runtime.backends.cpu.code.sizes import Sizing, value_of
from lazyflow.runtime.backends.cpu.code.tiling import PRODUCT, ProductWord, calls_blas, leaves_cache, tiled
from lazyflow.runtime.backends.cpu.lowering.tasks import Task, Tasks
from lazyflow.runtime.backends.cpu.running.driver import TaskWord
from lazyflow.runtime.dimensions import Size, named

Words: TypeAlias = NDArray[np.int64]

_WORTH_A_THREAD = 1 << 18  # scalar operations, so few that one thread takes them at a time
_SPREAD = 8  # chunks, enough for a small task; those of a large one are longer, as to claim one has its price
_LONGER = 4


class _Column:
    """Sizes, those that are numbers filled in once."""

    def __init__(self) -> None:
        self.sizes: list[Sizing] = []

    def finish(self) -> None:
        """No further sizes come."""
        self.known = np.array([s if isinstance(s, int) else 0 for s in self.sizes], np.int64)
        self.open = [(i, s) for i, s in enumerate(self.sizes) if not isinstance(s, int)]
        self.sizes.clear()

    def filled(self, values: Mapping[str, int]) -> Words:
        """All of them, for given values of the dimensions."""
        words = self.known.copy()
        for place, size in self.open:
            words[place] = value_of(size, values)
        return words


class _Tail(NamedTuple):
    """A task that may take on tiles of the product before it: its row, and where that one's numbers are."""

    row: int
    place: int


class Table:
    """What of a program's tasks does not depend on sizes and addresses.

    Attributes:
        bases: For each address, the buffer that it starts from.
        scratch: The bytes of each buffer of scratch memory.
        printed: For each print instruction, which of these takes its value.
        calls_blas: Whether a task does.
        tails: The tasks that may take on tiles of the product before them.
    """

    def __init__(self, program: Tasks, functions: Mapping[str, int]) -> None:
        tasks, dimensions, count = program.tasks, program.program.dimensions, program.numbers
        self.scratch, self.printed = program.scratch, program.printed
        self.calls_blas = any(calls_blas(task.function) for task in tasks)
        self._offsets, self._numbers = _Column(), _Column()
        self._extents, self._work = _Column(), _Column()
        self._rows = np.zeros((len(tasks), TaskWord.SIZE), np.int64)
        self._tiled: list[tuple[int, int]] = []  # tasks, and where their numbers are
        self.tails: list[_Tail] = []
        bases: list[int] = []
        self._numbers.sizes += [named(name) for name in dimensions]
        for row, task in zip(self._rows, tasks, strict=True):
            row[TaskWord.FUNCTION] = functions[task.function]
            row[TaskWord.STATUS] = task.number + 1
            row[TaskWord.SIZES] = self._place_sizes(task, dimensions)
            if task.when is not None:
                row[TaskWord.WHEN] = len(bases)
                self._address(bases, task.when, 0)
            row[TaskWord.ARGS] = len(bases)
            if task.numbers:
                self._address(bases, count, 8 * len(self._numbers.sizes))
                if task.function.startswith(PRODUCT):
                    self._tiled.append((len(self._extents.sizes), len(self._numbers.sizes)))
                self._numbers.sizes += task.numbers
            if task.follows:
                self.tails.append(_Tail(len(self._extents.sizes), self._tiled[-1][1]))
            bases += [buffer for buffer, _ in task.args]
            self._offsets.sizes += [offset for _, offset in task.args]
            self._extents.sizes.append(task.extent)
            self._work.sizes.append(task.work)
        self.bases = np.array(bases, np.intp)
        self._granules = np.array([task.granule for task in tasks], np.int64)
        self._guarded = np.array([task.when is not None for task in tasks], np.bool_)
        for column in (self._offsets, self._numbers, self._extents, self._work):
            column.finish()

    def _address(self, bases: list[int], buffer: int, offset: Size) -> None:
        bases.append(buffer)
        self._offsets.sizes.append(offset)

    def _place_sizes(self, task: Task, dimensions: Sequence[str]) -> int:
        if not task.parameters:
            return 0
        place = len(self._numbers.sizes)
        self._numbers.sizes += [*self._numbers.sizes[: len(dimensions)], *task.parameters]
        return place

    def fill(self, values: Mapping[str, int]) -> Filled:
        """The table for given values of the dimensions."""
        numbers, extents = self._numbers.filled(values), self._extents.filled(values)
        for row, place in self._tiled:
            extents[row] *= tiled(extents[row].item(), numbers[place : place + ProductWord.SIZE])
        work = self._work.filled(values)
        self._join(numbers, extents, work)
        rows, granules = self._rows.copy(), self._granules
        rows[:, TaskWord.EXTENT] = extents
        rows[:, TaskWord.CHUNK] = -(-extents // (self._chunks(extents, work) * granules)) * granules
        return Filled(self, numbers, self._offsets.filled(values), rows)

    def _join(self, numbers: Words, extents: Words, work: Words) -> None:
        """Let tasks take on tiles of the product before them, where these are whole rows of a large result.

        Not where fewer threads would find a part of the task than of the task alone.
        """
        chunks, word = self._chunks(extents, work), ProductWord
        for row, place in self.tails:
            product = numbers[place : place + word.SIZE]
            count = extents[row - 1] // product[word.TILES] * product[word.M]  # rows of all matrices
            whole = product[word.ACROSS] == 1 and count > 1 and extents[row] % count == 0
            large = leaves_cache(int(count * product[word.C_ROW]))
            if large and whole and extents[row - 1] >= min(chunks[row], _SPREAD):
                product[word.TAIL] = self._rows[row, TaskWord.FUNCTION]
                product[word.TAIL_STEP] = extents[row] // count
                work[row - 1] += work[row]
                extents[row] = 0

    def _chunks(self, extents: Words, work: Words) -> Words:
        """How many parts threads find of each task."""
        pieces = work // _WORTH_A_THREAD
        most = np.maximum(np.minimum(pieces, _SPREAD), pieces // _LONGER)
        return np.maximum(1, np.minimum(extents, most))

    @property
    def guarded(self) -> NDArray[np.bool_]:
        """Which tasks have a ``when``."""
        return self._guarded


class Filled:
    """The table for given sizes; addresses are still to come.

    Attributes:
        addresses: The table of addresses.
    """

    def __init__(self, table: Table, numbers: Words, offsets: Words, rows: Words) -> None:
        self.table = table
        self.numbers, self.offsets, self.rows = numbers, offsets, rows
        self.addresses = np.zeros(max(1, len(offsets)), np.int64)
        start = address(self.addresses)
        rows[:, TaskWord.ARGS] = start + 8 * rows[:, TaskWord.ARGS]
        rows[:, TaskWord.WHEN] = np.where(table.guarded, start + 8 * rows[:, TaskWord.WHEN], 0)
        rows[:, TaskWord.SIZES] = address(numbers) + 8 * rows[:, TaskWord.SIZES]
        for row, place in table.tails:
            numbers[place + ProductWord.TAIL_ARGS] = rows[row, TaskWord.ARGS]
            numbers[place + ProductWord.TAIL_SIZES] = rows[row, TaskWord.SIZES]

    @property
    def shared(self) -> bool:
        """Whether a task is long enough for more than one thread."""
        return bool((self.rows[:, TaskWord.EXTENT] > self.rows[:, TaskWord.CHUNK]).any())

    def place(self, bases: Words) -> None:
        """Fill in the addresses, from those of all buffers; see ``Table.bases``."""
        if len(self.offsets):
            self.addresses[:] = bases[self.table.bases] + self.offsets

    def patches(self, fed: Sequence[int]) -> Words:
        """For each address in a fed buffer: its place, which of the fed buffers, and bytes from its start."""
        numbers = np.full(1 + max([*fed, self.table.bases.max(initial=0)]), -1)
        numbers[list(fed)] = range(len(fed))
        found = numbers[self.table.bases]
        places = np.flatnonzero(found >= 0)
        return np.stack([places, found[places], self.offsets[places]], axis=1)
