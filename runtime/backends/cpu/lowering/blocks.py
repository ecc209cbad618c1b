"""Large reductions of parts of an array, or of named sizes: of blocks, then of what the blocks gave.

The length of blocks follows from the values of the shape: not from the number of threads, nor from which
sizes have names. Where one block is all, the result has the bits of a reduction that is not split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.backends.cpu.code.nest import Nest, as_size, contiguous
from lazyflow.runtime.backends.cpu.code.sizes import Sizing
from lazyflow.runtime.backends.cpu.lowering.bodies import BLOCK, MOST_BLOCKS, Body, rows_of_block
from lazyflow.runtime.backends.cpu.lowering.partial import split_whole
from lazyflow.runtime.backends.cpu.lowering.tasks import Tasks
from lazyflow.runtime.dimensions import Size, elements, evaluate
from lazyflow.runtime.dtypes import DType

_STEP = 64  # elements or rows that blocks are made of


class Part(NamedTuple):
    """A kernel, with what its nest needs beside it; see ``Tasks.add_nest``."""

    kernel: schema.Kernel
    parameters: tuple[Sizing, ...] = ()
    block: schema.Extent | None = None


def split_reduction(tasks: Tasks, kernel: schema.Kernel) -> list[Part]:
    """Kernels that compute the same; the kernel alone where it is not a large reduction."""
    whole = split_whole(tasks, kernel)
    if len(whole) > 1 or not _may_split(kernel):
        return [Part(each) for each in whole]
    blocks = _Blocks.of(tasks.nest(kernel))
    if blocks.static and blocks.count({}) == 1:
        return [Part(kernel)]
    length, count = tasks.parameter(0), tasks.parameter(1)
    if blocks.static:
        return _split(tasks, kernel, Part(kernel, (), blocks.length({})), blocks.count({}))
    return _split(tasks, kernel, Part(kernel, (blocks.length, blocks.count), length), count)


def _may_split(kernel: schema.Kernel) -> bool:
    """Whether a kernel makes one level of reductions alone, perhaps large ones."""
    outer = len(kernel.space) - kernel.inner
    count, size = elements(as_size(e) for e in kernel.space[:outer]), elements(map(as_size, kernel.space))
    if not kernel.inner or (isinstance(count, int) and 2 * count > MOST_BLOCKS):
        return False
    if isinstance(size, int) and size < 2 * BLOCK:
        return False
    body = Body(len(kernel.reads), kernel.body)
    moving = {number for number, read in enumerate(kernel.reads) if any(read.strides[outer:])}
    return (
        len(body.reductions()) == 1
        and body.splits()
        and not body.varying(moving).intersection(write.value for write in kernel.writes)
        and not any(any(write.to.strides[outer:]) for write in kernel.writes)
    )


class _Blocks(NamedTuple):
    """How reductions are cut.

    Attributes:
        inner: The elements of each.
        outer: How many there are.
        behind: The inner elements behind each of the first inner axis.
        columns: Whether lanes run across them.
    """

    inner: Size
    outer: Size
    behind: Size
    columns: bool

    @classmethod
    def of(cls, nest: Nest) -> _Blocks:
        """How the reductions of a nest are cut."""
        outer, inner = nest.extents[: nest.outer], nest.extents[nest.outer :]
        return cls(elements(inner), elements(outer), elements(inner[1:]), nest.columns)

    @property
    def static(self) -> bool:
        """Whether no size has a name."""
        return all(isinstance(size, int) for size in (self.inner, self.outer, self.behind))

    def length(self, values: Mapping[str, int]) -> int:
        """Elements of each block but the last."""
        inner, outer, behind = (evaluate(size, values) for size in (self.inner, self.outer, self.behind))
        if outer == 1:
            return inner if inner < 2 * BLOCK else behind * rows_of_block(inner // behind, behind)
        worth = (inner * outer if self.columns else inner) // BLOCK
        count = max(1, min(worth, MOST_BLOCKS // outer))
        return -(-inner // (count * _STEP)) * _STEP

    def count(self, values: Mapping[str, int]) -> int:
        """The number of blocks."""
        return -(-evaluate(self.inner, values) // self.length(values))


def _split(tasks: Tasks, kernel: schema.Kernel, cut: Part, count: schema.Extent) -> list[Part]:
    """The reduction of each block, whose number is the first axis, and that of what they give."""
    outer = kernel.space[: len(kernel.space) - kernel.inner]
    body = Body(len(kernel.reads), kernel.body)
    (values,) = body.reductions()
    partials = [_scratch(tasks, outer, dtypes.ALL[body.call(value).dtype]) for value in values]
    apart = contiguous((count, *outer))
    part = body.part(values, ())
    reads = [replace(kernel.reads[v], strides=(0, *kernel.reads[v].strides)) for v in part.reads]
    still = (0,) * kernel.inner
    places = [schema.Access(buffer=buffer, strides=(*apart, *still)) for buffer in partials]
    first = _kernel((count, *kernel.space), kernel.inner, reads, part.calls, part.results, places)

    def beside(access: schema.Access) -> schema.Access:
        return replace(access, strides=(*access.strides[: len(outer)], 0))

    over = body.over(values)
    results = [w.value + len(values) if w.value >= body.arity else w.value for w in kernel.writes]
    part = over.part(results, ())
    sources = [beside(read) for read in kernel.reads]
    sources += [schema.Access(buffer=buffer, strides=(*apart[1:], apart[0])) for buffer in partials]
    reads = [sources[v] for v in part.reads]
    places = [beside(write.to) for write in kernel.writes]
    second = _kernel((*outer, count), 1, reads, part.calls, part.results, places)
    return [cut._replace(kernel=first), Part(second, cut.parameters)]


def _scratch(tasks: Tasks, outer: schema.Extents, dtype: DType) -> int:
    """A buffer for what blocks give: there are several only where all that they give is no more than this."""
    count = elements(map(as_size, outer)) + MOST_BLOCKS
    return tasks.add_scratch((count if isinstance(count, int) else str(count),), dtype)


def _kernel(
    space: schema.Extents,
    inner: int,
    reads: Sequence[schema.Access],
    body: tuple[schema.Call, ...],
    results: Sequence[int],
    places: Sequence[schema.Access],
) -> schema.Kernel:
    writes = tuple(schema.Write(value=v, to=to) for v, to in zip(results, places, strict=True))
    return schema.Kernel(space=space, inner=inner, reads=tuple(reads), body=body, writes=writes)
