"""Tasks: a program as a list of calls of native functions, and the functions that they share.

Every native function has one form, so that one loop runs any program, and threads can share any call:

    i64 function(ptr args, ptr sizes, i64 begin, i64 end)

``args`` holds addresses; where a task has numbers, the first is that of its block of them. ``sizes`` holds
the values of the program's dimensions, then those of the task's parameters. The result is 0, or 1 where an
index is out of range.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.backends.cpu.code.kernel import KernelFunction
from lazyflow.runtime.backends.cpu.code.nest import Nest, Read, as_size, make_nest, work
from lazyflow.runtime.backends.cpu.code.sizes import Sizing, within
from lazyflow.runtime.backends.cpu.code.writer import Writer
from lazyflow.runtime.dimensions import Size, elements
from lazyflow.runtime.dtypes import DType

BLAS_FUNCTIONS = 2  # as many as blas.NAMES
Address = tuple[int, Size]  # a buffer, and bytes from its start


@dataclass(frozen=True)
class Task:
    """One call of a native function.

    Attributes:
        function: Its name.
        args: The addresses that it takes.
        extent: The range of its first loop.
        work: Scalar operations of the whole range: what decides whether threads share it.
        granule: Where threads share it, each takes a multiple of this.
        numbers: The block of numbers that it takes.
        parameters: Sizes that belong to this call alone.
        when: A bool buffer; false means that the call is left out.
        number: The instruction that it is a part of.
        follows: Whether it may take on rows of the product that is the task before it, as they are done.
    """

    function: str
    args: tuple[Address, ...]
    extent: Sizing = 1
    work: Sizing = 0
    granule: int = 1
    numbers: tuple[Size, ...] = ()
    parameters: tuple[Sizing, ...] = ()
    when: int | None = None
    number: int = 0
    follows: bool = False


class Shared(NamedTuple):
    """A function of a module: its name, the range of its first loop, its work and its granule."""

    name: str
    extent: Sizing = 1
    work: Sizing = 0
    granule: int = 1


class Written(NamedTuple):
    """A function as text, with what it needs of others."""

    text: str
    writer: Writer
    shared: Shared


class Module:
    """The native functions of a document's programs; equal ones are one.

    Attributes:
        keys: What each function was made from, in order: equal keys mean equal machine code.
        bits: Of the registers that our own matrix products use; 0 where there are none.
    """

    def __init__(self, bits: int = 0) -> None:
        self.bits = bits
        self.keys: list[object] = []
        self._made: dict[object, Shared] = {}
        self._written: list[Callable[[], Written]] = []

    def function(
        self, key: object, describe: Callable[[str], tuple[Shared, Callable[[], Written]]]
    ) -> Shared:
        """The function for a key. Its text is written only where the machine code is not known already."""
        known = self._made.get(key)
        if known is None:
            known, write = describe(f"part.{len(self._made)}")
            self._made[key] = known
            self._written.append(write)
            self.keys.append(key)
        return known

    def written(self) -> list[Written]:
        """The text of every function."""
        return [write() for write in self._written]


class Tasks:
    """Gathers the tasks of one program.

    Attributes:
        faults: The number of the buffer that takes an index that is out of range.
        blas: The number of the first buffer that stands for a function of BLAS.
        scratch: The bytes of each further buffer that tasks need.
        prints: The number of each print instruction; and in ``printed``, which scratch takes its value.
    """

    def __init__(self, program: schema.Program, module: Module) -> None:
        self.program = program
        self.module = module
        self.tasks: list[Task] = []
        self.prints = [i for i, item in enumerate(program.instructions) if isinstance(item, schema.Print)]
        self.printed: dict[int, int] = {}
        self.faults = len(program.buffers) + len(self.prints)
        self.blas = self.faults + 1
        self.scratch: list[Size] = []
        self._kinds: list[DType] = []  # of scratch
        self.current = Task("", ())
        longest = max((len(name) for name in program.dimensions), default=0)
        self._prefix = "_" * (longest + 1)  # no dimension's name is as long

    def add(self, shared: Shared, args: Sequence[Address], numbers: tuple[Size, ...] = ()) -> None:
        """Call a function, as a part of the current instruction."""
        name, extent, work, granule = shared
        current = self.current
        task = Task(
            name,
            tuple(args),
            extent,
            work,
            granule,
            numbers,
            current.parameters,
            current.when,
            current.number,
            current.follows,
        )
        self.tasks.append(task)

    def add_scratch(self, space: schema.Extents, dtype: DType) -> int:
        """The number of a further buffer, whose content no other instruction minds."""
        self.scratch.append(elements(as_size(e) for e in space) * dtype.itemsize)
        self._kinds.append(dtype)
        return self.blas + BLAS_FUNCTIONS + len(self.scratch) - 1

    @property
    def bits(self) -> int:
        """Of the registers that our own matrix products use."""
        return self.module.bits

    @property
    def numbers(self) -> int:
        """The number of the buffer that stands for the block of numbers: the last."""
        return self.blas + BLAS_FUNCTIONS + len(self.scratch)

    def dtype(self, access: schema.Access) -> DType:
        """The dtype of an access's buffer."""
        if access.buffer >= self.blas + BLAS_FUNCTIONS:
            return self._kinds[access.buffer - self.blas - BLAS_FUNCTIONS]
        return dtypes.ALL[self.program.buffers[access.buffer].dtype]

    def read(self, access: schema.Access) -> Read:
        """What a nest needs to know of an access."""
        return Read(self.dtype(access), [as_size(s) for s in access.strides])

    def address(self, access: schema.Access) -> Address:
        """The address of an access's first element."""
        return access.buffer, as_size(access.offset) * self.dtype(access).itemsize

    def place(self, access: schema.Access) -> tuple[object, ...]:
        """What equal places have in common, whatever their buffers: memory, first byte, type."""
        buffer, dtype = self.program.buffers[access.buffer], self.dtype(access)
        start = as_size(access.offset) * dtype.itemsize
        if buffer.place == "arena":
            return buffer.slot, start + buffer.offset, dtype
        return buffer.place, buffer.name, start, dtype

    def nest(self, kernel: schema.Kernel, block: schema.Extent | None = None) -> Nest:
        """The loops of a kernel; see ``Nest`` for the block."""
        reads = [self.read(read) for read in kernel.reads]
        writes = [self.read(write.to) for write in kernel.writes]
        results = [write.value for write in kernel.writes]
        size = None if block is None else as_size(block)
        return make_nest(kernel.space, kernel.inner, reads, writes, kernel.body, results, size)

    def parameter(self, number: int) -> str:
        """The name under which a nest finds a parameter of its task."""
        return f"{self._prefix}{number}"

    def add_nest(
        self,
        kernel: schema.Kernel,
        late: bool,
        parameters: tuple[Sizing, ...] = (),
        block: schema.Extent | None = None,
    ) -> None:
        """Call the function of a kernel.

        Args:
            kernel: The kernel.
            late: Whether a write may touch memory that it reads.
            parameters: The values of the sizes that it knows by the names of parameters.
            block: See ``Nest``.
        """
        accesses = [*kernel.reads, *(write.to for write in kernel.writes)]
        results = [write.value for write in kernel.writes]
        shapes = tuple((self.dtype(a), a.strides) for a in accesses)
        names = (*self.program.dimensions, *map(self.parameter, range(len(parameters))))
        key = (kernel.space, kernel.inner, shapes, kernel.body, tuple(results), late, names, block)

        def describe(name: str) -> tuple[Shared, Callable[[], Written]]:
            nest = self.nest(kernel, block)
            function = KernelFunction(nest, names, late)
            shared = Shared(name, function.range, work(nest), function.granule)
            return shared, lambda: Written(function.entry(name), function.writer, shared)

        shared = self.module.function(key, describe)
        known = dict(zip(names[len(self.program.dimensions) :], parameters, strict=True))
        shared = shared._replace(extent=within(shared.extent, known), work=within(shared.work, known))
        plain = self.current
        if parameters:
            self.current = replace(plain, parameters=parameters)
        self.add(shared, [self.address(a) for a in accesses])
        self.current = plain

    def overlap(self, a: schema.Access, b: schema.Access) -> bool:
        """Whether two accesses may touch the same memory."""
        if a.buffer == b.buffer:
            return True
        if max(a.buffer, b.buffer) >= len(self.program.buffers):
            return False  # scratch
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
