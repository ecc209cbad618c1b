"""Sums of a whole array as sums of blocks, then the sum of those: threads share the blocks.

The blocks depend on the shape alone, so the bits do not depend on the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.backends.cpu.nest import GENERATORS, contiguous
from lazyflow.runtime.backends.cpu.tasks import Tasks
from lazyflow.runtime.scalars import SCALARS

BLOCK = 16384  # elements
_SPLIT = ("reduce_sum", "reduce_max", "reduce_min")


def split_reduction(tasks: Tasks, kernel: schema.Kernel) -> list[schema.Kernel]:
    """Kernels that compute the same; the kernel alone where it is not a large reduction to scalars."""
    size = _size(kernel)
    if size < 2 * BLOCK:
        return [kernel]
    body = _Body(kernel)
    if not body.splits:
        return [kernel]
    blocks, rest = divmod(size, BLOCK)
    count = blocks + (rest > 0)
    partials = [
        schema.Access(buffer=tasks.add_scratch((count,), dtypes.ALL[body.call(value).dtype]), strides=(1,))
        for value in body.reductions
    ]
    kernels = [body.first((blocks, BLOCK), 0, [replace(p, strides=(1, 0)) for p in partials])]
    if rest:
        last = [replace(p, offset=blocks, strides=(0,)) for p in partials]
        kernels.append(body.first((rest,), blocks * BLOCK, last))
    return [*kernels, body.second(count, partials)]


def _size(kernel: schema.Kernel) -> int:
    static = [extent for extent in kernel.space if isinstance(extent, int)]
    whole = kernel.inner == len(kernel.space) == len(static)
    return math.prod(static) if whole else 0


class _Body:
    """A kernel over static inner axes alone: what varies along them, and what is reduced."""

    def __init__(self, kernel: schema.Kernel) -> None:
        self.kernel = kernel
        self.arity = len(kernel.reads)
        fixed = (0,) * len(kernel.space)
        self.varying = {i for i, read in enumerate(kernel.reads) if read.strides != fixed}
        self.reductions: list[int] = []
        for value, call in enumerate(kernel.body, self.arity):
            if call.op not in GENERATORS and SCALARS[call.op].reduction:
                self.reductions.append(value)
            elif call.op == "index" or self.varying.intersection(call.args):
                self.varying.add(value)
        self.needed = self._closure(self.call(value).args[0] for value in self.reductions)

    def call(self, value: int) -> schema.Call:
        """The call that makes a value."""
        return self.kernel.body[value - self.arity]

    @property
    def splits(self) -> bool:
        """Whether blocks can be reduced one by one: one stage, in order, on whole numbers of elements."""
        kernel = self.kernel
        results = [write.value for write in kernel.writes]
        strides = contiguous(kernel.space)
        return (
            bool(self.reductions)
            and not self.needed.intersection(self.reductions)
            and all(self.call(value).op in _SPLIT for value in self.reductions)
            and all(dtypes.ALL[self.call(value).dtype] not in dtypes.HALF for value in self.reductions)
            and all(call.op != "index" for call in kernel.body)
            and not self.varying.intersection(results)
            and all(kernel.reads[i].strides == strides for i in self.varying if i < self.arity)
            and all(not any(write.to.strides) for write in kernel.writes)
        )

    def _closure(self, values: Iterable[int]) -> set[int]:
        stack, seen = list(values), set[int]()
        while stack:
            value = stack.pop()
            if value not in seen:
                seen.add(value)
                stack += self.call(value).args if value >= self.arity else ()
        return seen

    def first(self, space: tuple[int, ...], start: int, to: Sequence[schema.Access]) -> schema.Kernel:
        """Reduce the blocks of ``space``, from the element ``start``."""
        reads = []
        for number, read in enumerate(self.kernel.reads):
            if number in self.varying and isinstance(read.offset, int):
                moved = contiguous(space)
                reads.append(replace(read, offset=read.offset + start, strides=moved))
            else:
                reads.append(replace(read, strides=(0,) * len(space)))
        chosen = sorted(v for v in {*self.needed, *self.reductions} if v >= self.arity)
        numbers = {v: v for v in range(self.arity)} | {v: self.arity + i for i, v in enumerate(chosen)}
        writes = [
            schema.Write(value=numbers[value], to=place)
            for value, place in zip(self.reductions, to, strict=True)
        ]
        return self._kernel(space, reads, [_renumbered(self.call(v), numbers) for v in chosen], writes)

    def second(self, count: int, partials: Sequence[schema.Access]) -> schema.Kernel:
        """Reduce what the blocks gave, and compute what follows from it."""
        kept = [i for i in range(self.arity) if i not in self.varying]
        reads = [*(replace(self.kernel.reads[i], strides=(0,)) for i in kept), *partials]
        chosen = [v for v in range(self.arity, self.arity + len(self.kernel.body)) if v not in self.varying]
        numbers = {v: i for i, v in enumerate(kept)} | {v: len(reads) + i for i, v in enumerate(chosen)}
        calls = []
        for value in chosen:
            call = self.call(value)
            if value in self.reductions:
                place = len(kept) + self.reductions.index(value)
                calls.append(replace(call, args=(place,)))
            else:
                calls.append(_renumbered(call, numbers))
        writes = [
            schema.Write(value=numbers[write.value], to=replace(write.to, strides=(0,)))
            for write in self.kernel.writes
        ]
        return self._kernel((count,), reads, calls, writes)

    @staticmethod
    def _kernel(
        space: tuple[int, ...],
        reads: Sequence[schema.Access],
        body: Sequence[schema.Call],
        writes: Sequence[schema.Write],
    ) -> schema.Kernel:
        return schema.Kernel(space=space, inner=1, reads=tuple(reads), body=tuple(body), writes=tuple(writes))


def _renumbered(call: schema.Call, numbers: dict[int, int]) -> schema.Call:
    return replace(call, args=tuple(numbers[a] for a in call.args))
