"""Reductions of a whole array as reductions of blocks, then of what those gave: threads share the blocks.

The blocks depend on the shape alone, so the bits do not depend on the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.backends.cpu.code.nest import contiguous
from lazyflow.runtime.backends.cpu.lowering.bodies import BLOCK, Body, rows_of_block
from lazyflow.runtime.backends.cpu.lowering.tasks import Tasks


def split_whole(tasks: Tasks, kernel: schema.Kernel) -> list[schema.Kernel]:
    """Kernels that compute the same; the kernel alone where it is not a large reduction over all axes."""
    static = all(isinstance(extent, int) for extent in kernel.space)
    if not static or not 0 < kernel.inner == len(kernel.space):
        return [kernel]
    split = _Split(tasks, kernel)
    return list(split.kernels()) if split.worthwhile() else [kernel]


class _Split:
    """A kernel over static inner axes alone, whose first axis is cut into blocks of whole rows."""

    def __init__(self, tasks: Tasks, kernel: schema.Kernel) -> None:
        self.tasks, self.kernel = tasks, _simplified(kernel)
        self.body = Body(len(kernel.reads), kernel.body)
        self.space = tuple(extent for extent in self.kernel.space if isinstance(extent, int))
        self.rows = rows_of_block(self.space[0], math.prod(self.space[1:]))
        self.blocks, self.rest = divmod(self.space[0], self.rows)
        self.totals: dict[int, schema.Access] = {}  # of the reductions that are known

    def worthwhile(self) -> bool:
        """Whether there are enough blocks, in whatever order, and nothing is written that is read later."""
        kernel, writes = self.kernel, [write.to for write in self.kernel.writes]
        fixed = [to for to in writes if not any(to.strides)] if self._moving() else []
        return (
            math.prod(self.space) >= 2 * BLOCK
            and self.blocks >= 2
            and bool(self.body.reductions())
            and self.body.splits()
            and all(isinstance(access.offset, int) for access in (*kernel.reads, *writes))
            and all(isinstance(s, int) for access in kernel.reads for s in access.strides)
            and not any(self.tasks.overlap(read, to) for read in kernel.reads for to in fixed)
        )

    def _moving(self) -> list[schema.Write]:
        return [write for write in self.kernel.writes if any(write.to.strides)]

    def kernels(self) -> Iterator[schema.Kernel]:
        """Each level of reductions, block by block and then over blocks; then what moves with elements."""
        moving, levels = self._moving(), self.body.reductions()
        for values in levels:
            partials = [self._scratch(value, self.blocks + (self.rest > 0)) for value in values]
            yield self._block((self.blocks, self.rows), 0, values, partials)
            if self.rest:
                yield self._block((self.rest,), self.blocks, values, partials)
            last = values is levels[-1]
            writes = [write for write in self.kernel.writes if write not in moving] if last else []
            known = values if moving or not last else []
            yield self._over(values, partials, known, writes)
        if moving:
            part = self.body.part([write.value for write in moving], self.totals)
            reads = self._reads(part.reads, len(self.space))
            writes = [schema.Write(value=v, to=w.to) for v, w in zip(part.results, moving, strict=True)]
            yield schema.Kernel(space=self.space, reads=reads, body=part.calls, writes=tuple(writes))

    def _scratch(self, value: int, count: int) -> schema.Access:
        return schema.Access(
            buffer=self.tasks.add_scratch((count,), dtypes.ALL[self.body.call(value).dtype]), strides=(1,)
        )

    def _reads(self, values: Sequence[int], axes: int) -> tuple[schema.Access, ...]:
        fixed = (0,) * axes
        return tuple(
            replace(self.totals[v], strides=fixed) if v in self.totals else self.kernel.reads[v]
            for v in values
        )

    def _block(
        self, first: tuple[int, ...], block: int, values: Sequence[int], partials: Sequence[schema.Access]
    ) -> schema.Kernel:
        """Reduce blocks, from one on; the first axes of the space stand in the place of the kernel's."""
        part = self.body.part(values, self.totals)
        space = (*first, *self.space[1:])
        reads = []
        for read in self._reads(part.reads, len(self.space)):
            step, *others = (int(stride) for stride in read.strides)
            steps = (self.rows * step, step) if len(first) > 1 else (step,)
            start = int(read.offset) + block * self.rows * step
            reads.append(replace(read, offset=start, strides=(*steps, *others)))
        strides = (int(len(first) > 1), *(0,) * (len(space) - 1))
        targets = [replace(partial, offset=block, strides=strides) for partial in partials]
        writes = [schema.Write(value=v, to=to) for v, to in zip(part.results, targets, strict=True)]
        inner = len(self.space)
        return schema.Kernel(
            space=space, inner=inner, reads=tuple(reads), body=part.calls, writes=tuple(writes)
        )

    def _over(
        self,
        values: Sequence[int],
        partials: Sequence[schema.Access],
        known: Sequence[int],
        writes: Sequence[schema.Write],
    ) -> schema.Kernel:
        """Reduce what the blocks gave, keep what is to be known of it, and write what follows from it."""
        body, more = self.body.over(values), len(values)
        targets = [value + more if value >= self.body.arity else value for value in known]
        results = [w.value + more if w.value >= self.body.arity else w.value for w in writes]
        lower = {value + more: access for value, access in self.totals.items()}
        part = body.part([*targets, *results], lower)
        sources = dict(enumerate([*self.kernel.reads, *partials])) | lower
        reads = [
            replace(sources[v], strides=(int(v in range(self.body.arity, body.arity)),)) for v in part.reads
        ]
        self.totals |= {value: replace(self._scratch(value, 1), strides=(0,)) for value in known}
        places = [self.totals[value] for value in known] + [replace(w.to, strides=(0,)) for w in writes]
        return schema.Kernel(
            space=(self.blocks + (self.rest > 0),),
            inner=1,
            reads=tuple(reads),
            body=part.calls,
            writes=tuple(schema.Write(value=v, to=to) for v, to in zip(part.results, places, strict=True)),
        )


def _simplified(kernel: schema.Kernel) -> schema.Kernel:
    """The kernel over one axis where its arrays have no gaps; else without axes of one element."""
    accesses = [*kernel.reads, *(write.to for write in kernel.writes)]
    axes = [axis for axis, extent in enumerate(kernel.space) if extent != 1] or [0]
    space = tuple(kernel.space[axis] for axis in axes)
    steps = [tuple(access.strides[axis] for axis in axes) for access in accesses]
    if all(not any(strides) or strides == contiguous(space) for strides in steps):
        space = (math.prod(extent for extent in space if isinstance(extent, int)),)
        steps = [(int(any(strides)),) for strides in steps]
    changed = [replace(access, strides=strides) for access, strides in zip(accesses, steps, strict=True)]
    count = len(kernel.reads)
    writes = [replace(w, to=to) for w, to in zip(kernel.writes, changed[count:], strict=True)]
    return replace(kernel, space=space, inner=len(space), reads=tuple(changed[:count]), writes=tuple(writes))
