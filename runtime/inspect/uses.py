"""Which buffers an instruction reads and writes."""

from __future__ import annotations

from lazyflow.runtime import schema


def reads(item: schema.AnyInstruction) -> list[int]:
    """The buffers that an instruction reads, its condition aside; one may come twice."""
    match item:
        case schema.Kernel():
            return [access.buffer for access in item.reads]
        case schema.KernelBatch():
            scalars = [access.buffer for access in item.columns]
            return [b for segment in item.segments for b in (*segment.reads, segment.group)] + scalars
        case schema.MatMul():
            return [item.a.buffer, item.b.buffer]
        case schema.Gather():
            return [item.table.buffer, item.index.buffer]
        case schema.ScatterAdd():
            return [item.index.buffer, item.source.buffer]
        case schema.Check():
            return [item.index.buffer]
        case schema.Copy() | schema.Print():
            return [item.source.buffer]


def writes(item: schema.AnyInstruction) -> list[tuple[int, schema.Extents]]:
    """The buffers that an instruction writes, each with the extents that it writes over."""
    match item:
        case schema.Kernel(space=space):
            return [(write.to.buffer, _moving(write.to, space)) for write in item.writes]
        case schema.KernelBatch():
            return [(buffer, (segment.size,)) for segment in item.segments for buffer in segment.writes]
        case schema.MatMul(batch=batch, m=m, n=n):
            return [(item.out.buffer, _moving(item.out, (*batch, m, n)))]
        case schema.Gather(space=space):
            return [(item.out.buffer, _moving(item.out, space))]
        case schema.ScatterAdd(space=space):
            return [(item.table.buffer, (item.axis_size, *_moving(item.table, space)))]
        case schema.Copy(space=space):
            return [(item.to.buffer, _moving(item.to, space))]
        case schema.Check() | schema.Print():
            return []


def _moving(access: schema.Access, space: schema.Extents) -> schema.Extents:
    """The extents along which an access moves."""
    return tuple(extent for extent, stride in zip(space, access.strides, strict=True) if stride != 0)
