"""A whole program as one native function: it runs every instruction, in order, and says where it failed.

    i64 program(ptr buffers, ptr sizes, ptr fault)

``buffers`` holds the address of each buffer of the program, then two per print instruction (its value and a
flag); ``sizes`` the values of the dimensions, in the program's order. The result is 0, or the number of the
instruction that failed plus 1, and ``fault`` then holds the offending index.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from lazyflow.runtime import schema
from lazyflow.runtime.backends.cpu.batch import batch_function
from lazyflow.runtime.backends.cpu.calls import Calls, Module
from lazyflow.runtime.backends.cpu.indexed import index_function
from lazyflow.runtime.backends.cpu.kernel import KernelFunction
from lazyflow.runtime.backends.cpu.nest import Read, as_size, make_nest
from lazyflow.runtime.backends.cpu.products import emit_product
from lazyflow.runtime.dimensions import Size


class ProgramFunction(Calls):
    """Writes the function of one program."""

    def __init__(self, program: schema.Program, module: Module) -> None:
        super().__init__(program, module)
        self.prints = [i for i, item in enumerate(program.instructions) if isinstance(item, schema.Print)]

    def write(self, name: str) -> None:
        """Add the function to the module, under a name."""
        writer = self.writer
        self._check_groups()
        for number, instruction in enumerate(self.program.instructions):
            with ExitStack() as stack:
                if instruction.when is not None:
                    flag = writer.let(f"load i8, ptr {self.buffer(instruction.when)}")
                    stack.enter_context(writer.branch(writer.let(f"icmp ne i8 {flag}, 0")))
                _EMIT[type(instruction)](self, number, instruction)
        writer.line("ret i64 0")
        lines = "\n".join(["entry:", *writer.entry, *writer.lines])
        head = f"define i64 @{name}(ptr %buffers, ptr %sizes, ptr %fault) #0"
        self.module.functions.append(f"{head} {{\n{lines}\n}}")
        self.module.writers.append(writer)

    # --- instructions --------------------------------------------------------------------------------------

    def kernel(self, number: int, item: schema.Kernel) -> None:
        """Call the function of a kernel."""
        results = [write.value for write in item.writes]
        targets = [write.to for write in item.writes]
        late = any(self.overlap(read, write) for read in item.reads for write in targets)
        self.call_nest(item.space, item.inner, item.reads, targets, item.body, results, late)

    def kernel_batch(self, number: int, item: schema.KernelBatch) -> None:
        """Call the function of a batched update."""
        columns = [f"ptr {self.address(c)}" for c in item.columns]
        self.writer.line(f"call void @{self._batch(number, item)}({', '.join(['ptr %buffers', *columns])})")

    def _batch(self, number: int, item: schema.KernelBatch) -> str:
        function = batch_function(self.program, item)
        return self.module.function(("batch", number, self.program.name), function.text)[0]

    def _check_groups(self) -> None:
        for number, item in enumerate(self.program.instructions):
            if isinstance(item, schema.KernelBatch):
                call = f"call i64 @{self._batch(number, item)}.check(ptr %buffers, ptr %fault)"
                self._fail_where(self.writer.let(call), number)

    def matmul(self, number: int, item: schema.MatMul) -> None:
        """Call BLAS for each matrix of the batch; a nest where the layout is none that BLAS takes."""
        emit_product(self, item)

    def copy(self, number: int, item: schema.Copy) -> None:
        """Copy through a nest without a body."""
        late = self.overlap(item.source, item.to)
        self.call_nest(item.space, 0, [item.source], [item.to], (), [0], late)

    def indexed(self, number: int, item: schema.Gather | schema.ScatterAdd | schema.Check) -> None:
        """Call the function of an instruction that follows indices."""
        parts = accesses(item)
        function = index_function(item, [self.read(a) for a in parts], self.program.dimensions)
        name, _ = self.module.function(function.key, function.text)
        pointers = [f"ptr {self.address(a)}" for a in parts]
        call = f"call i64 @{name}({', '.join([*pointers, 'ptr %sizes', 'ptr %fault'])})"
        self._fail_where(self.writer.let(call), number)

    def print(self, number: int, item: schema.Print) -> None:
        """Copy the value to where the session finds it after the run."""
        buffers = len(self.program.buffers)
        slot = buffers + 2 * self.prints.index(number)
        dtype = self.dtype(item.source)
        strides = _contiguous([as_size(e) for e in item.space])
        nest = make_nest(item.space, 0, [self.read(item.source)], [Read(dtype, strides)], (), [0])
        function = KernelFunction(nest, self.program.dimensions, late_writes=False)
        name = f"print.{number}.{len(self.module.functions)}"
        self.module.functions.append(function.text(name))
        self.module.writers.append(function.writer)
        target, flag = self.buffer(slot), self.buffer(slot + 1)
        extent = self.sizes[function.range]
        source = self.address(item.source)
        arguments = f"ptr {source}, ptr {target}, ptr %sizes, i64 0, i64 {extent}"
        self.writer.line(f"call void @{name}({arguments})")
        self.writer.line(f"store i8 1, ptr {flag}")

    def _fail_where(self, status: str, number: int) -> None:
        with self.writer.branch(self.writer.let(f"icmp ne i64 {status}, 0")):
            self.writer.line(f"ret i64 {number + 1}")
            self.writer.block(self.writer.fresh("unreached"))


def _contiguous(extents: list[Size]) -> list[Size]:
    strides: list[Size] = []
    step: Size = 1
    for extent in reversed(extents):
        strides.insert(0, step)
        step = step * extent
    return strides


def accesses(item: schema.Instruction) -> list[schema.Access]:
    """The accesses of an instruction, in the order of its fields."""
    found: list[schema.Access] = []
    for field in item.__struct_fields__:
        value = getattr(item, field)
        if isinstance(value, schema.Access):
            found.append(value)
        elif isinstance(value, tuple):
            found += [v for v in value if isinstance(v, schema.Access)]
            found += [v.to for v in value if isinstance(v, schema.Write)]
    return found


_EMIT: dict[type[schema.Instruction], Callable[..., None]] = {
    schema.Kernel: ProgramFunction.kernel,
    schema.KernelBatch: ProgramFunction.kernel_batch,
    schema.MatMul: ProgramFunction.matmul,
    schema.Gather: ProgramFunction.indexed,
    schema.ScatterAdd: ProgramFunction.indexed,
    schema.Check: ProgramFunction.indexed,
    schema.Copy: ProgramFunction.copy,
    schema.Print: ProgramFunction.print,
}
