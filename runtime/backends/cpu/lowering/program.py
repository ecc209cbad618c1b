"""A program as tasks: each instruction becomes the calls that do it, in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from msgspec.structs import replace as replace_field

from lazyflow.runtime import schema
from lazyflow.runtime.backends.cpu.code.nest import contiguous
from lazyflow.runtime.backends.cpu.code.tiling import PRODUCT
from lazyflow.runtime.backends.cpu.lowering.batch import add_group_check, runs, segments_of, segments_of_batch
from lazyflow.runtime.backends.cpu.lowering.blocks import split_reduction
from lazyflow.runtime.backends.cpu.lowering.indexed import add_indexed, add_scatter
from lazyflow.runtime.backends.cpu.lowering.products import add_product, as_computed
from lazyflow.runtime.backends.cpu.lowering.segments import add_segments
from lazyflow.runtime.backends.cpu.lowering.tails import may_follow
from lazyflow.runtime.backends.cpu.lowering.tasks import Module, Shared, Task, Tasks

_STREAM = 2  # the argument of philox that tells one draw from another


def program_tasks(program: schema.Program, module: Module) -> Tasks:
    """The tasks of a program, whose functions are added to the module."""
    tasks = Tasks(program, module)
    for number, item in enumerate(program.instructions):
        if isinstance(item, schema.KernelBatch):  # before any effect, also of a batch that is left out
            tasks.current = Task("", (), number=number)
            add_group_check(tasks, item)
    for number, run in runs(tasks):
        tasks.current = Task("", (), number=number, when=run[0].when)
        together = segments_of(tasks, run) if len(run) > 1 else None
        if together is not None:
            add_segments(tasks, together)
            continue
        for position, item in enumerate(run):
            tasks.current = replace(tasks.current, number=number + position, follows=False)
            _ADD[type(item)](tasks, item)
    return tasks


def _add_kernel(tasks: Tasks, item: schema.Kernel) -> None:
    parts = split_reduction(tasks, item)
    if len(parts) == 1 and parts[0].block is None:
        tasks.current = replace(tasks.current, follows=_follows(tasks, item))
    for kernel, parameters, block in parts:
        late = any(tasks.overlap(read, write.to) for read in kernel.reads for write in kernel.writes)
        body, streams = _parametrized(tasks, kernel, len(parameters))
        tasks.add_nest(replace_field(kernel, body=body), late, (*parameters, *streams), block)


def _follows(tasks: Tasks, item: schema.Kernel) -> bool:
    before = tasks.current.number - 1
    product = tasks.program.instructions[before] if before >= 0 else None
    if not isinstance(product, schema.MatMul) or not tasks.tasks[-1].function.startswith(PRODUCT):
        return False
    return may_follow(tasks, as_computed(product), item)


def _parametrized(
    tasks: Tasks, item: schema.Kernel, known: int
) -> tuple[tuple[schema.Call, ...], tuple[int, ...]]:
    """The body with the streams of its draws as parameters: kernels that differ in them alone are one.

    ``known`` says how many parameters the kernel has already.
    """
    arity = len(item.reads)
    streams = {call.args[_STREAM] - arity for call in item.body if call.op == "philox"}
    others = {
        a - arity
        for call in item.body
        for i, a in enumerate(call.args)
        if (call.op, i) != ("philox", _STREAM)
    }
    others |= {write.value - arity for write in item.writes}
    body = list(item.body)
    parameters: list[int] = []
    for position in sorted(streams - others):
        call = body[position] if position >= 0 else None
        if call is not None and call.op == "literal":
            name = tasks.parameter(known + len(parameters))
            body[position] = schema.Call(op="size", dtype="int64", value=name)
            parameters.append(int(call.value or 0))
    return tuple(body), tuple(parameters)


def _add_batch(tasks: Tasks, item: schema.KernelBatch) -> None:
    add_segments(tasks, segments_of_batch(tasks, item))


def _add_copy(tasks: Tasks, item: schema.Copy) -> None:
    kernel = schema.Kernel(
        space=item.space, reads=(item.source,), body=(), writes=(schema.Write(value=0, to=item.to),)
    )
    tasks.add_nest(kernel, tasks.overlap(item.source, item.to))


def _add_print(tasks: Tasks, item: schema.Print) -> None:
    """Copy the value to where the backend finds it after the run, and raise a flag."""
    number = tasks.current.number
    tasks.printed[number] = len(tasks.scratch)
    value = tasks.add_scratch(item.space, tasks.dtype(item.source))
    to = schema.Access(buffer=value, strides=contiguous(item.space))
    writes = (schema.Write(value=0, to=to),)
    tasks.add_nest(schema.Kernel(space=item.space, reads=(item.source,), body=(), writes=writes), late=False)
    tasks.add(Shared("lazyflow.flag"), [(len(tasks.program.buffers) + tasks.prints.index(number), 0)])


_ADD: dict[type[schema.Instruction], Callable[..., None]] = {
    schema.Kernel: _add_kernel,
    schema.KernelBatch: _add_batch,
    schema.MatMul: add_product,
    schema.Gather: add_indexed,
    schema.ScatterAdd: add_scatter,
    schema.Check: add_indexed,
    schema.Copy: _add_copy,
    schema.Print: _add_print,
}
