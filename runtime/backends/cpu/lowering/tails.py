"""Kernels that take on each tile of a matrix product as soon as it is done, while it is in cache.

The thread that has made a tile runs the kernel over its rows before it makes another tile. So the kernel must
write nothing that the product has yet to read, and touch of what it writes only the place that it is at.
"""

from __future__ import annotations

from msgspec.structs import replace

from lazyflow.runtime import schema
from lazyflow.runtime.backends.cpu.code.nest import as_size, contiguous
from lazyflow.runtime.backends.cpu.code.tiling import leaves_cache
from lazyflow.runtime.backends.cpu.lowering.tasks import Tasks
from lazyflow.runtime.dimensions import Size, elements


def may_follow(tasks: Tasks, product: schema.MatMul, kernel: schema.Kernel) -> bool:
    """Whether the kernel behind a product may run over some rows of the result before others are there."""
    shape = (*product.batch, product.m, product.n)
    size = _points(shape)
    if kernel.when != product.when or _points(kernel.space) != size:
        return False
    if isinstance(size, int) and not leaves_cache(size * tasks.dtype(product.out).itemsize):
        return False
    number = _result(product, kernel) if _side_by_side(product.out, shape) else None
    if number is None or not _keeps_apart(tasks, product, kernel, kernel.reads[number]):
        return False
    nest = tasks.nest(kernel)
    order = [elements(nest.extents[axis + 1 :]) for axis in range(len(nest.extents))]
    return not nest.columns and nest.reads[number].strides == order


def _points(space: schema.Extents) -> Size:
    return elements(as_size(extent) for extent in space)


def _moving(access: schema.Access, space: schema.Extents) -> list[schema.Extent]:
    """The strides of the axes that have more than one element."""
    return [stride for stride, extent in zip(access.strides, space, strict=True) if extent != 1]


def _side_by_side(access: schema.Access, space: schema.Extents) -> bool:
    """Whether elements lie one behind the other in the order of the space's points."""
    return _moving(access, space) == _moving(replace(access, strides=contiguous(space)), space)


def _result(product: schema.MatMul, kernel: schema.Kernel) -> int | None:
    """The read that is, at each point of the kernel, the element of the product's result of that number."""
    place = product.out.buffer, product.out.offset
    for number, read in enumerate(kernel.reads):
        if (read.buffer, read.offset) == place and _side_by_side(read, kernel.space):
            return number
    return None


def _keeps_apart(tasks: Tasks, product: schema.MatMul, kernel: schema.Kernel, found: schema.Access) -> bool:
    """Whether points of the kernel touch nothing that another point, or a later tile, reads or writes."""
    writes = [write.to for write in kernel.writes]
    touched = [*kernel.reads, *writes]

    def alike(a: schema.Access, b: schema.Access) -> bool:
        return not tasks.overlap(a, b) or (
            tasks.place(a) == tasks.place(b) and _moving(a, kernel.space) == _moving(b, kernel.space)
        )

    return (
        all(alike(access, found) for access in touched)
        and all(alike(write, access) for write in writes for access in touched)
        and not any(tasks.overlap(write, read) for write in writes for read in (product.a, product.b))
    )
