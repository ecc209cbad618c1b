"""The instructions of a plan that each op becomes, once its values have layouts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from lazyflow.compiler import primitives
from lazyflow.compiler.graph import Op, Placement, Value
from lazyflow.compiler.lower import number
from lazyflow.compiler.placement.layout import broadcast, dense
from lazyflow.compiler.primitives import Primitive
from lazyflow.runtime import schema
from lazyflow.runtime.dimensions import Shape, Size


def extent(size: Size) -> schema.Extent:
    """A size as plans write it."""
    return size if isinstance(size, int) else str(size)


def extents(sizes: Iterable[Size]) -> schema.Extents:
    """Sizes as plans write them."""
    return tuple(extent(size) for size in sizes)


class Writing:
    """The layouts of a program's values, and the fields that instructions of one op share."""

    def __init__(self, placement: Placement) -> None:
        self.layouts = placement.layouts
        self.common: dict[str, Any] = {}

    def access(self, value: Value) -> schema.Access:
        """The access of a value over its own shape."""
        return self.walked(value, self.layouts[value].strides)

    def walked(self, value: Value, strides: Shape, offset: Size = 0) -> schema.Access:
        """An access with other strides, and an offset besides the value's."""
        layout = self.layouts[value]
        return schema.Access(
            buffer=layout.buffer, offset=extent(layout.offset + offset), strides=extents(strides)
        )

    def mapped(self, value: Value, axes: Sequence[int]) -> schema.Access:
        """The access over a space of which each axis walks an axis of the value, or none (-1)."""
        strides = self.layouts[value].strides
        return self.walked(value, tuple(strides[axis] if axis >= 0 else 0 for axis in axes))


Emitter: TypeAlias = Callable[[Writing, Op], list[schema.AnyInstruction]]
EMITTERS: dict[Primitive, Emitter] = {}


def _emits(primitive: Primitive) -> Callable[[Emitter], Emitter]:
    def register(emitter: Emitter) -> Emitter:
        EMITTERS[primitive] = emitter
        return emitter

    return register


@_emits(primitives.kernel)
def _kernel(w: Writing, op: Op) -> list[schema.AnyInstruction]:
    attributes = op.attributes
    maps = attributes["maps"]
    reads = len(op.inputs)
    writes = zip(op.outputs, maps[reads:], attributes["results"], strict=True)
    kernel = schema.Kernel(
        space=extents(attributes["space"]),
        inner=attributes["inner"],
        reads=tuple(w.mapped(value, axes) for value, axes in zip(op.inputs, maps[:reads], strict=True)),
        body=attributes["body"],
        writes=tuple(schema.Write(value=result, to=w.mapped(value, axes)) for value, axes, result in writes),
        **w.common,
    )
    return [kernel]


@_emits(primitives.update_batch)
def _update_batch(w: Writing, op: Op) -> list[schema.AnyInstruction]:
    attributes = op.attributes
    columns, elements = attributes["columns"], attributes["elements"]
    outputs = iter(op.outputs)
    inputs = iter(op.inputs[columns:])
    segments = []
    for variables, size in attributes["segments"]:
        writes = tuple(w.layouts[next(outputs)].buffer for _ in variables)
        reads = (*writes, *(w.layouts[next(inputs)].buffer for _ in range(elements)))
        group = w.layouts[next(inputs)].buffer
        segments.append(schema.Segment(size=size, reads=reads, writes=writes, group=group))
    batch = schema.KernelBatch(
        columns=tuple(w.walked(value, dense(value.shape)) for value in op.inputs[:columns]),
        body=attributes["body"],
        results=attributes["results"],
        segments=tuple(segments),
        **w.common,
    )
    return [batch]


@_emits(primitives.matmul)
def _matmul(w: Writing, op: Op) -> list[schema.AnyInstruction]:
    return [_product(w, op, w.layouts[op.output].strides, op.output.shape)]


@_emits(primitives.matmul_transposed)
def _matmul_transposed(w: Writing, op: Op) -> list[schema.AnyInstruction]:
    strides = w.layouts[op.output].strides
    places = [op.attributes["axes"].index(axis) for axis in range(len(strides))]
    shape = tuple(op.output.shape[place] for place in places)
    return [_product(w, op, tuple(strides[place] for place in places), shape)]


def _product(w: Writing, op: Op, strides: Shape, shape: Shape) -> schema.MatMul:
    """The product of this shape, written to the output with these strides."""
    a, b = op.inputs
    *batch, m, n = shape

    def operand(value: Value) -> schema.Access:
        strides = w.layouts[value].strides
        outer = broadcast(value.shape[:-2], strides[:-2], tuple(batch))
        return w.walked(value, (*outer, *strides[-2:]))

    return schema.MatMul(
        batch=extents(batch),
        m=extent(m),
        n=extent(n),
        k=extent(a.shape[-1]),
        a=operand(a),
        b=operand(b),
        out=w.walked(op.output, strides),
        **w.common,
    )


def _table_and_index(w: Writing, op: Op, table: Value, index: Value) -> dict[str, Any]:
    """What gather and scatter_add share. The space has the index's axes in place of the table's."""
    axis = op.attributes["axis"]
    strides, positions = w.layouts[table].strides, w.layouts[index].strides
    before, after = strides[:axis], strides[axis + 1 :]
    if op.attributes["along"]:
        over_table, over_index = (*before, 0, *after), positions
    else:
        over_table = (*before, *(0,) * len(positions), *after)
        over_index = (*(0,) * len(before), *positions, *(0,) * len(after))
    return {
        "axis_size": extent(table.shape[axis]),
        "axis_stride": extent(strides[axis]),
        "table": w.walked(table, over_table),
        "index": w.walked(index, over_index),
        **w.common,
    }


@_emits(primitives.gather)
def _gather(w: Writing, op: Op) -> list[schema.AnyInstruction]:
    table, index = op.inputs
    fields = _table_and_index(w, op, table, index)
    return [schema.Gather(space=extents(op.output.shape), out=w.access(op.output), **fields)]


@_emits(primitives.scatter_add)
def _scatter_add(w: Writing, op: Op) -> list[schema.AnyInstruction]:
    source, index = op.inputs
    fields = _table_and_index(w, op, op.output, index)
    return [schema.ScatterAdd(space=extents(source.shape), source=w.access(source), **fields)]


@_emits(primitives.check_index)
def _check(w: Writing, op: Op) -> list[schema.AnyInstruction]:
    size = extent(op.attributes["size"])
    return [schema.Check(space=extents(op.output.shape), size=size, index=w.access(op.output), **w.common)]


@_emits(primitives.copy)
def _copy(w: Writing, op: Op) -> list[schema.AnyInstruction]:
    return [_copied(w, op.inputs[0], w.access(op.output))]


def _copied(w: Writing, source: Value, to: schema.Access) -> schema.Copy:
    return schema.Copy(space=extents(source.shape), source=w.access(source), to=to, **w.common)


@_emits(primitives.assign)
def _assign(w: Writing, op: Op) -> list[schema.AnyInstruction]:
    to = w.access(op.output)
    source = w.access(op.inputs[0])
    return [] if source == to else [_copied(w, op.inputs[0], to)]


@_emits(primitives.concat)
def _concat(w: Writing, op: Op) -> list[schema.AnyInstruction]:
    axis = op.attributes["axis"]
    strides = w.layouts[op.output].strides
    copies: list[schema.AnyInstruction] = []
    start: Size = 0
    for value in op.inputs:
        copies.append(_copied(w, value, w.walked(op.output, strides, start * strides[axis])))
        start = start + value.shape[axis]
    return copies


@_emits(primitives.pad)
def _pad(w: Writing, op: Op) -> list[schema.AnyInstruction]:
    strides = w.layouts[op.output].strides
    offset: Size = 0
    for low, stride in zip(op.attributes["low"], strides, strict=True):
        offset = offset + low * stride
    literal = schema.Call(op="literal", dtype=op.output.dtype.name, value=number(op.attributes["value"]))
    fill = schema.Kernel(
        space=extents(op.output.shape),
        reads=(),
        body=(literal,),
        writes=(schema.Write(value=0, to=w.access(op.output)),),
        **w.common,
    )
    return [fill, _copied(w, op.inputs[0], w.walked(op.output, strides, offset))]


@_emits(primitives.print_)
def _print(w: Writing, op: Op) -> list[schema.AnyInstruction]:
    value = op.inputs[0]
    return [
        schema.Print(
            text=op.attributes["text"],
            space=extents(value.shape),
            source=w.access(value),
            on_change=op.attributes["on_change"],
            **w.common,
        )
    ]
