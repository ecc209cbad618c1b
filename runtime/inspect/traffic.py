"""How many bytes each instruction reads and writes: distinct elements, each counted once per access."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.dimensions import Size
from lazyflow.runtime.inspect.words import as_size, total


class Traffic(NamedTuple):
    """Bytes that are read and written."""

    read: Size
    written: Size


def traffic(item: schema.AnyInstruction, buffers: Sequence[schema.Buffer]) -> Traffic:
    """The bytes that one instruction reads and writes, where its ``when`` is true."""
    meter = _Meter(buffers)
    match item:
        case schema.Kernel(space=space):
            return Traffic(
                meter.sum(dict.fromkeys(item.reads), space), meter.sum([w.to for w in item.writes], space)
            )
        case schema.KernelBatch():
            return _batch(item, meter)
        case schema.MatMul(batch=batch, m=m, n=n, k=k):
            read = meter.bytes(item.a, (*batch, m, k)) + meter.bytes(item.b, (*batch, k, n))
            return Traffic(read, meter.bytes(item.out, (*batch, m, n)))
        case schema.Gather(space=space):
            moved = meter.bytes(item.out, space)
            return Traffic(meter.bytes(item.index, space) + moved, moved)
        case schema.ScatterAdd(space=space):
            table = as_size(item.axis_size) * meter.bytes(item.table, space)
            read = meter.bytes(item.index, space) + meter.bytes(item.source, space)
            return Traffic(read + table, table)
        case schema.Check(space=space):
            return Traffic(meter.bytes(item.index, space), 0)
        case schema.Copy(space=space):
            return Traffic(meter.bytes(item.source, space), meter.bytes(item.to, space))
        case schema.Print(space=space):
            return Traffic(meter.bytes(item.source, space), 0)


def _batch(item: schema.KernelBatch, meter: _Meter) -> Traffic:
    """All segments; the few scalars of the groups are read once."""
    read, written = _elements(item, meter)
    groups = sum(meter.itemsize(segment.group) for segment in item.segments)
    scalars = total([groups, *(meter.buffer(access.buffer) for access in item.columns)])
    return Traffic(read + scalars, written)


def per_element(item: schema.KernelBatch, buffers: Sequence[schema.Buffer]) -> tuple[float, float]:
    """Bytes read and written for each element of the parameters, the scalars of their groups aside."""
    count = sum(segment.size for segment in item.segments)
    read, written = _elements(item, _Meter(buffers))
    return (read / count, written / count) if count else (0.0, 0.0)


def _elements(item: schema.KernelBatch, meter: _Meter) -> tuple[int, int]:
    read = sum(s.size * meter.itemsize(buffer) for s in item.segments for buffer in s.reads)
    written = sum(s.size * meter.itemsize(buffer) for s in item.segments for buffer in s.writes)
    return read, written


class _Meter:
    """Bytes behind accesses to a program's buffers."""

    def __init__(self, buffers: Sequence[schema.Buffer]) -> None:
        self.buffers = buffers

    def itemsize(self, buffer: int) -> int:
        return dtypes.ALL[self.buffers[buffer].dtype].itemsize

    def buffer(self, buffer: int) -> Size:
        return as_size(self.buffers[buffer].size) * self.itemsize(buffer)

    def bytes(self, access: schema.Access, space: schema.Extents) -> Size:
        """Those of the distinct elements: an axis along which the access does not move counts once."""
        count: Size = self.itemsize(access.buffer)
        for extent, stride in zip(space, access.strides, strict=True):
            count = count * (as_size(extent) if stride != 0 else 1)
        return count

    def sum(self, accesses: Iterable[schema.Access], space: schema.Extents) -> Size:
        return total(self.bytes(access, space) for access in accesses)
