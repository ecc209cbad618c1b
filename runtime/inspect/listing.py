"""The text of a plan: one line per variable, instruction and fetch."""

from __future__ import annotations

from collections.abc import Iterable

from lazyflow.runtime import schema


def listing(document: schema.Document) -> str:
    """A plan as text, for people: what each program does, in order.

    >>> print(listing(schema.Document(name="empty")))
    plan empty
    """
    lines = [f"plan {document.name}"]
    lines += [f"variable {v.name}: {v.dtype}{_shape(v.shape)}" for v in document.variables]
    lines += [f"constant {c.name}: {c.dtype}{_shape(c.shape)}" for c in document.constants]
    for program in document.programs:
        lines += ["", f"program {program.name}"]
        lines += [f"  feed {f.name}: {f.dtype}{_shape(f.shape)}" for f in program.feeds]
        lines += [f"  {_instruction(document, program, item)}" for item in program.instructions]
        lines += [f"  fetch {f.name}: {f.dtype}{_shape(f.shape)}" for f in program.fetches]
    return "\n".join(lines)


def _shape(shape: Iterable[schema.Extent]) -> str:
    return "[" + ", ".join(str(size) for size in shape) + "]"


def _instruction(document: schema.Document, program: schema.Program, item: schema.AnyInstruction) -> str:
    names = dict.fromkeys(document.origins[row].name for row in item.origin)
    guard = f" when {_buffer(program, item.when)}" if item.when is not None else ""
    made = f"  # {', '.join(names)}" if names else ""
    return f"{_detail(program, item)}{guard}{made}"


def _detail(program: schema.Program, item: schema.AnyInstruction) -> str:
    match item:
        case schema.Kernel():
            reads = ", ".join(_buffer(program, access.buffer) for access in item.reads)
            writes = ", ".join(_buffer(program, write.to.buffer) for write in item.writes)
            calls = " ".join(call.op for call in item.body)
            return f"{writes} = kernel{_shape(item.space)}({reads}): {calls or 'copy'}"
        case schema.KernelBatch():
            targets = [_buffer(program, b) for segment in item.segments for b in segment.writes]
            shown = ", ".join(targets[:4]) + (", ..." if len(targets) > 4 else "")
            return f"{shown} = kernel_batch of {len(item.segments)} segments, {len(item.body)} calls each"
        case schema.MatMul():
            sizes = _shape((*item.batch, item.m, item.n, item.k))
            a, b = _buffer(program, item.a.buffer), _buffer(program, item.b.buffer)
            return f"{_buffer(program, item.out.buffer)} = matmul{sizes}({a}, {b})"
        case schema.Gather():
            table, index = _buffer(program, item.table.buffer), _buffer(program, item.index.buffer)
            return f"{_buffer(program, item.out.buffer)} = gather{_shape(item.space)}({table}, {index})"
        case schema.ScatterAdd():
            source, index = _buffer(program, item.source.buffer), _buffer(program, item.index.buffer)
            return (
                f"{_buffer(program, item.table.buffer)} = scatter_add{_shape(item.space)}({source}, {index})"
            )
        case schema.Check():
            return f"check {_buffer(program, item.index.buffer)} in 0..{item.size}"
        case schema.Copy():
            return f"{_buffer(program, item.to.buffer)} = {_buffer(program, item.source.buffer)}"
        case schema.Print():
            return f"print {item.text!r} {_buffer(program, item.source.buffer)}"


def _buffer(program: schema.Program, number: int) -> str:
    buffer = program.buffers[number]
    return buffer.name if buffer.name else f"%{number}"
