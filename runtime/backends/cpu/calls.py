"""What writing any instruction of a program needs: addresses of its buffers, sizes, and calls of kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.backends.cpu.kernel import KernelFunction, Sizes
from lazyflow.runtime.backends.cpu.nest import Read, as_size, make_nest
from lazyflow.runtime.backends.cpu.writer import STORED, Writer
from lazyflow.runtime.dimensions import Size
from lazyflow.runtime.dtypes import DType


class Module:
    """The functions of a document's programs; equal kernels share one."""

    def __init__(self) -> None:
        self.functions: list[str] = []
        self.writers: list[Writer] = []
        self._names: dict[object, tuple[str, Size]] = {}

    def function(self, key: object, make: Callable[[str], tuple[str, Writer, Size]]) -> tuple[str, Size]:
        """The name of the function for a key, made on the first use, and the range of its first loop."""
        known = self._names.get(key)
        if known is None:
            name = f"part.{len(self._names)}"
            text, writer, extent = make(name)
            self.functions.append(text)
            self.writers.append(writer)
            known = self._names[key] = (name, extent)
        return known


class Calls:
    """Writes parts of the function of one program."""

    def __init__(self, program: schema.Program, module: Module) -> None:
        self.program = program
        self.module = module
        self.writer = Writer()
        self.sizes = Sizes(self.writer, program.dimensions)

    def dtype(self, access: schema.Access) -> DType:
        """The dtype of an access's buffer."""
        return dtypes.ALL[self.program.buffers[access.buffer].dtype]

    def read(self, access: schema.Access) -> Read:
        """What a nest needs to know of an access."""
        return Read(self.dtype(access), [as_size(s) for s in access.strides])

    def buffer(self, number: int) -> str:
        """The address of a buffer."""
        place = self.writer.let(f"getelementptr ptr, ptr %buffers, i64 {number}")
        return self.writer.let(f"load ptr, ptr {place}, !invariant.load !0")

    def address(self, access: schema.Access) -> str:
        """The address of an access's first element."""
        base = self.buffer(access.buffer)
        if access.offset == 0:
            return base
        offset = self.sizes[as_size(access.offset)]
        return self.writer.let(f"getelementptr {STORED[self.dtype(access)]}, ptr {base}, i64 {offset}")

    def call_nest(
        self,
        space: schema.Extents,
        inner: int,
        reads: Sequence[schema.Access],
        writes: Sequence[schema.Access],
        body: tuple[schema.Call, ...],
        results: list[int],
        late: bool,
    ) -> None:
        shapes = tuple((self.dtype(a), a.strides) for a in (*reads, *writes))
        key = (space, inner, len(reads), shapes, body, tuple(results), late, self.program.dimensions)

        def make(name: str) -> tuple[str, Writer, Size]:
            nest = make_nest(
                space, inner, [self.read(a) for a in reads], [self.read(a) for a in writes], body, results
            )
            function = KernelFunction(nest, self.program.dimensions, late)
            return function.text(name), function.writer, function.range

        name, extent = self.module.function(key, make)
        pointers = [f"ptr {self.address(a)}" for a in (*reads, *writes)]
        arguments = ", ".join([*pointers, "ptr %sizes", "i64 0", f"i64 {self.sizes[extent]}"])
        self.writer.line(f"call void @{name}({arguments})")

    def overlap(self, a: schema.Access, b: schema.Access) -> bool:
        """Whether two accesses may touch the same memory."""
        if a.buffer == b.buffer:
            return True
        first, second = self.program.buffers[a.buffer], self.program.buffers[b.buffer]
        if first.place != second.place:
            return False
        if first.place != "arena":
            return first.name == second.name
        if first.slot != second.slot:
            return False
        if not isinstance(first.size, int) or not isinstance(second.size, int):
            return True
        ends = [
            p.offset + p.size * dtypes.ALL[p.dtype].itemsize
            for p in (first, second)
            if isinstance(p.size, int)
        ]
        return first.offset < ends[1] and second.offset < ends[0]
