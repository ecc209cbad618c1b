"""The reference backend: each instruction in plain NumPy on strided views of its buffers.

With ``precision="float64"`` every floating value is kept and computed in float64, in an array of its own:
the oracle that other backends, and this one, are tested against.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.backends.backend import (
    Array,
    Outcome,
    Ran,
    Steps,
    aligned,
    check_index,
    formatted,
    round_up,
)
from lazyflow.runtime.dimensions import MAX_EXTENT, evaluate, parse
from lazyflow.runtime.errors import OutOfRangeError
from lazyflow.runtime.scalars import Body, stored

Step: TypeAlias = Callable[[list[Array]], None]  # takes the views of a binding
Key: TypeAlias = tuple[str, tuple[tuple[str, int], ...]]

_KEPT_BINDINGS = 32


class NumpyBackend:
    """Runs a verified document on NumPy arrays.

    Args:
        document: The plan.
        constants: The array of each of its constants.
        precision: None, or "float64".
    """

    name = "numpy"
    whole = False

    def __init__(
        self, document: schema.Document, constants: Mapping[str, Array], precision: str | None = None
    ) -> None:
        self.document = document
        self.precision = precision
        self.prepared = 0
        self.constants = {
            c.name: np.ascontiguousarray(constants[c.name], stored(dtypes.ALL[c.dtype], precision))
            for c in document.constants
        }
        self.variables: dict[str, Array] = {}
        self.arena = aligned(0)
        self._programs = {program.name: program for program in document.programs}
        self._bodies: dict[tuple[tuple[schema.Call, ...], int, tuple[int, ...]], Body] = {}  # shared
        self._prepared: dict[str, dict[int, Body]] = {}
        self._bindings: dict[Key, _Binding] = {}
        self._printed: dict[tuple[str, int], bytes] = {}

    def place(self, variables: Mapping[str, Array]) -> None:
        """Let the variables live in these arrays."""
        self.variables = dict(variables)
        self._bindings.clear()

    def run(self, program: str, feeds: Mapping[str, Array], sizes: Mapping[str, int]) -> Outcome:
        """Run a program once."""
        binding = self._bind(program, sizes)
        with np.errstate(all="ignore"):
            fetches, printed = binding.run(feeds)
        lines = []
        for index, value in printed.items():
            instruction = binding.program.instructions[index]
            if isinstance(instruction, schema.Print) and self._says(instruction, (program, index), value):
                lines.append(formatted(instruction.text, value))
        return fetches, lines

    def run_steps(self, program: str, steps: Steps, every: bool) -> Ran:
        """Run one step."""
        fetches, lines = self.run(program, steps.feeds(0), steps.sizes)
        return Ran(1, [fetches], lines)

    def _says(self, instruction: schema.Print, key: tuple[str, int], value: Array) -> bool:
        seen, self._printed[key] = self._printed.get(key), value.tobytes()
        return not instruction.on_change or seen != self._printed[key]

    def _bind(self, name: str, sizes: Mapping[str, int]) -> _Binding:
        key = (name, tuple(sorted(sizes.items())))
        binding = self._bindings.get(key)
        if binding is not None:
            return binding
        program = self._programs[name]
        slots = [round_up(evaluate(_size(slot), sizes)) for slot in program.slots]
        if sum(slots) > self.arena.size and self.precision is None:
            self._bindings.clear()  # their views keep the old arena alive
            self.arena = aligned(sum(slots))
        if len(self._bindings) >= _KEPT_BINDINGS:
            del self._bindings[next(iter(self._bindings))]
        binding = self._bindings[key] = _Binding(self, program, self._prepare(program), sizes, slots)
        return binding

    def _prepare(self, program: schema.Program) -> dict[int, Body]:
        if program.name not in self._prepared:
            self.prepared += 1
            bodies = self._prepared[program.name] = {}
            for index, step in enumerate(program.instructions):
                if isinstance(step, schema.Kernel):
                    results = tuple(write.value for write in step.writes)
                    bodies[index] = self._body(step.body, len(step.reads), results)
                elif isinstance(step, schema.KernelBatch):
                    arity = len(step.segments[0].reads) + len(step.columns)
                    bodies[index] = self._body(step.body, arity, step.results)
        return self._prepared[program.name]

    def _body(self, calls: tuple[schema.Call, ...], arity: int, results: tuple[int, ...]) -> Body:
        key = (calls, arity, results)
        if key not in self._bodies:
            self._bodies[key] = Body(calls, arity, results, precision=self.precision)
        return self._bodies[key]


def _size(extent: schema.Extent) -> Any:
    return parse(extent) if isinstance(extent, str) else extent


class _Fed(NamedTuple):
    """A view that is made anew in every run, of the array that is fed."""

    view: int
    name: str
    space: tuple[int, ...]
    dtype: dtypes.DType
    offset: int
    steps: tuple[int, ...]


class _Binding:
    """A program for given sizes: strided views of all that it touches, and a step per instruction."""

    def __init__(
        self,
        backend: NumpyBackend,
        program: schema.Program,
        bodies: Mapping[int, Body],
        sizes: Mapping[str, int],
        slots: Sequence[int],
    ) -> None:
        self.backend = backend
        self.program = program
        self.sizes = sizes
        self.bodies = bodies
        self.views: list[Any] = []
        self.groups: list[tuple[int, int]] = []  # views of group indices, and how many groups there are
        self.printed: dict[int, Array] = {}
        self._starts = np.cumsum([0, *slots]).tolist()
        self._fed: list[_Fed] = []
        self._own: dict[int, Array] = {}
        self._steps = [self._step(i, item) for i, item in enumerate(program.instructions)]
        self._fetches = {f.name: self.view(f.source, self.shape(f.shape)) for f in program.fetches}

    def run(self, feeds: Mapping[str, Array]) -> tuple[dict[str, Array], dict[int, Array]]:
        """Fetches and printed values of one run."""
        views = self.views
        self.printed = {}
        try:
            for view, name, space, dtype, offset, steps in self._fed:
                views[view] = np.ndarray(space, dtype, _raw(feeds[name]), offset, steps)
            self._check_groups()
            for step in self._steps:
                step(views)
            fetches = {name: np.array(views[view], order="C") for name, view in self._fetches.items()}
            return fetches, self.printed
        finally:
            for fed in self._fed:
                views[fed.view] = None  # the caller's arrays are not kept alive

    def _check_groups(self) -> None:
        for view, groups in self.groups:
            if not 0 <= self.views[view] < groups:
                found = int(self.views[view])
                raise OutOfRangeError(f"group index {found} is outside of its optimizer's {groups} groups")

    def _step(self, index: int, instruction: schema.AnyInstruction) -> Step:
        step = _STEPS[type(instruction)](self, index, instruction)
        if instruction.when is None:
            return step
        when = self.view(schema.Access(buffer=instruction.when), ())

        def guarded(views: list[Array]) -> None:
            if views[when]:
                step(views)

        return guarded

    def size(self, extent: schema.Extent) -> int:
        """The value of an extent."""
        return extent if isinstance(extent, int) else evaluate(parse(extent), self.sizes)

    def shape(self, extents: schema.Extents) -> tuple[int, ...]:
        """The values of extents."""
        return tuple(self.size(extent) for extent in extents)

    def strides(self, access: schema.Access) -> tuple[int, ...]:
        """The strides of an access, in elements."""
        return tuple(self.size(stride) for stride in access.strides)

    def dtype(self, access: schema.Access) -> dtypes.DType:
        """The dtype in which the accessed buffer is kept."""
        return stored(dtypes.ALL[self.program.buffers[access.buffer].dtype], self.backend.precision)

    def squeezed(self, access: schema.Access, space: tuple[int, ...]) -> int:
        """The view of an access over a space, with extent 1 on the axes along which it does not move."""
        strides = self.strides(access)
        return self._view(access, tuple(n if s else 1 for n, s in zip(space, strides, strict=True)), strides)

    def view(self, access: schema.Access, space: tuple[int, ...]) -> int:
        """The number of a view of an access over a space."""
        return self._view(access, space, self.strides(access))

    def _view(self, access: schema.Access, space: tuple[int, ...], strides: tuple[int, ...]) -> int:
        dtype = self.dtype(access)
        buffer = self.program.buffers[access.buffer]
        offset = self.size(access.offset) * dtype.itemsize
        steps = tuple(stride * dtype.itemsize for stride in strides)
        number = len(self.views)
        if buffer.place == "feed":
            self._fed.append(_Fed(number, buffer.name, space, dtype, offset, steps))
            self.views.append(None)
        else:
            memory, start = self._memory(access.buffer, buffer, dtype)
            self.views.append(np.ndarray(space, dtype, memory, start + offset, steps))
        return number

    def _memory(self, index: int, buffer: schema.Buffer, dtype: dtypes.DType) -> tuple[Array, int]:
        backend = self.backend
        if buffer.place == "variable":
            return _raw(backend.variables[buffer.name]), 0
        if buffer.place == "constant":
            return _raw(backend.constants[buffer.name]), 0
        if backend.precision is None:
            return backend.arena, self._starts[buffer.slot] + buffer.offset
        if index not in self._own:
            self._own[index] = np.zeros(self.size(buffer.size) * dtype.itemsize, np.uint8)
        return self._own[index], 0


def _raw(array: Array) -> Array:
    return array.reshape(-1).view(np.uint8)


# --- instructions -------------------------------------------------------------------------------------------


def _kernel(binding: _Binding, index: int, instruction: schema.Kernel) -> Step:
    space, inner, sizes = binding.shape(instruction.space), instruction.inner, binding.sizes
    reads = [binding.squeezed(access, space) for access in instruction.reads]
    writes = [binding.squeezed(write.to, space) for write in instruction.writes]
    body = binding.bodies[index]

    def step(views: list[Array]) -> None:
        results = body([views[read] for read in reads], space, inner, sizes)
        _write(views, writes, results, body.results, len(reads))

    return step


def _write(
    views: list[Array], writes: Sequence[int], results: list[Array], numbers: Sequence[int], arity: int
) -> None:
    if len(writes) > 1:  # an argument is a view of memory that an earlier write may change
        results = [np.array(r) if n < arity else r for n, r in zip(numbers, results, strict=True)]
    for write, result in zip(writes, results, strict=True):
        views[write][...] = result


def _kernel_batch(binding: _Binding, index: int, instruction: schema.KernelBatch) -> Step:
    body = binding.bodies[index]
    rows = [_rows(binding, access) for access in instruction.columns]
    columns = [binding.view(access, (n,)) for access, n in zip(instruction.columns, rows, strict=True)]
    segments = [_segment(binding, segment) for segment in instruction.segments]
    if rows:
        binding.groups += [(segment.group, min(rows)) for segment in segments]

    def step(views: list[Array]) -> None:
        for size, reads, writes, group in segments:
            row = int(views[group])
            arguments = [views[read] for read in reads] + [views[column][row] for column in columns]
            results = body(arguments, (size,), 1, binding.sizes)
            _write(views, writes, results, body.results, len(arguments))

    return step


class _Segment(NamedTuple):
    size: int
    reads: list[int]
    writes: list[int]
    group: int


def _segment(binding: _Binding, segment: schema.Segment) -> _Segment:
    reads, writes = (
        [binding.view(schema.Access(buffer=buffer, strides=(1,)), (segment.size,)) for buffer in buffers]
        for buffers in (segment.reads, segment.writes)
    )
    return _Segment(segment.size, reads, writes, binding.view(schema.Access(buffer=segment.group), ()))


def _rows(binding: _Binding, access: schema.Access) -> int:
    """How many rows a column has: all that there are numbers for, where it does not move."""
    (stride,) = binding.strides(access)
    behind = binding.size(binding.program.buffers[access.buffer].size) - binding.size(access.offset) - 1
    return behind // stride + 1 if stride else MAX_EXTENT


def _matmul(binding: _Binding, index: int, instruction: schema.MatMul) -> Step:
    batch = binding.shape(instruction.batch)
    m, n, k = binding.shape((instruction.m, instruction.n, instruction.k))
    a = binding.view(instruction.a, (*batch, m, k))
    b = binding.view(instruction.b, (*batch, k, n))
    out = binding.view(instruction.out, (*batch, m, n))
    half = binding.dtype(instruction.out) in dtypes.HALF

    def step(views: list[Array]) -> None:
        if half:  # half types are summed in float32
            views[out][...] = np.matmul(views[a].astype(np.float32), views[b].astype(np.float32))
        else:
            np.matmul(_for_blas(views[a]), _for_blas(views[b]), out=views[out])

    return step


def _for_blas(x: Array) -> Array:
    # BLAS takes matrices with one unit stride; NumPy would multiply any other by a plain loop
    return x if x.itemsize in x.strides[-2:] else np.ascontiguousarray(x)


class _Table:
    """The table of a gather or scatter: its axis first, then the axes of the space along which it moves."""

    def __init__(self, binding: _Binding, item: schema.Gather | schema.ScatterAdd) -> None:
        self.space = binding.shape(item.space)
        self.size = binding.size(item.axis_size)
        strides = binding.strides(item.table)
        self.moving = [axis for axis, stride in enumerate(strides) if stride]
        self.shape = (self.size, *(self.space[axis] for axis in self.moving))
        access = schema.Access(
            buffer=item.table.buffer,
            offset=item.table.offset,
            strides=(binding.size(item.axis_stride), *(strides[axis] for axis in self.moving)),
        )
        self.view = binding.view(access, self.shape)

    def positions(self, index: Array) -> tuple[Array, ...]:
        """What indexes the table so that the result has the space's shape."""
        grids = []
        for axis in self.moving:
            extents = [1] * len(self.space)
            extents[axis] = self.space[axis]
            grids.append(np.arange(self.space[axis]).reshape(extents))
        return (index.astype(np.intp), *grids)


def _gather(binding: _Binding, index: int, instruction: schema.Gather) -> Step:
    table = _Table(binding, instruction)
    where = binding.squeezed(instruction.index, table.space)
    out = binding.view(instruction.out, table.space)
    index_strides = binding.strides(instruction.index)
    whole = not any(index_strides[axis] for axis in table.moving)  # each index takes a whole row of the table
    axes = [axis for axis in range(len(table.space)) if axis not in table.moving] + table.moving
    still = tuple(table.space[a] if index_strides[a] else 1 for a in axes[: len(axes) - len(table.moving)])

    def step(views: list[Array]) -> None:
        check_index(views[where], table.size, binding.backend.document, instruction)
        if whole:
            rows = views[where].transpose(axes).reshape(still)
            views[out].transpose(axes)[...] = views[table.view][rows]
        else:
            views[out][...] = views[table.view][table.positions(views[where])]

    return step


def _scatter_add(binding: _Binding, index: int, instruction: schema.ScatterAdd) -> Step:
    table = _Table(binding, instruction)
    where = binding.squeezed(instruction.index, table.space)
    source = binding.view(instruction.source, table.space)
    dtype = binding.dtype(instruction.table)
    wide = dtypes.float32 if dtype in dtypes.HALF else dtype
    count = math.prod(table.shape)

    def step(views: list[Array]) -> None:
        check_index(views[where], table.size, binding.backend.document, instruction)
        flat = np.ravel_multi_index(table.positions(views[where]), table.shape)
        total = np.zeros(count, wide)
        # one flat axis: that is where NumPy's add.at, which adds in order, is fast
        np.add.at(total, np.broadcast_to(flat, table.space).ravel(), views[source].ravel().astype(wide))
        views[table.view][...] = total.reshape(table.shape)

    return step


def _check(binding: _Binding, index: int, instruction: schema.Check) -> Step:
    size = binding.size(instruction.size)
    where = binding.squeezed(instruction.index, binding.shape(instruction.space))
    return lambda views: check_index(views[where], size, binding.backend.document, instruction)


def _copy(binding: _Binding, index: int, instruction: schema.Copy) -> Step:
    space = binding.shape(instruction.space)
    source, to = binding.view(instruction.source, space), binding.view(instruction.to, space)

    def step(views: list[Array]) -> None:
        views[to][...] = views[source]

    return step


def _print(binding: _Binding, index: int, instruction: schema.Print) -> Step:
    source = binding.view(instruction.source, binding.shape(instruction.space))

    def step(views: list[Array]) -> None:
        binding.printed[index] = views[source].copy()

    return step


_STEPS: dict[type, Callable[[_Binding, int, Any], Step]] = {
    schema.Kernel: _kernel,
    schema.KernelBatch: _kernel_batch,
    schema.MatMul: _matmul,
    schema.Gather: _gather,
    schema.ScatterAdd: _scatter_add,
    schema.Check: _check,
    schema.Copy: _copy,
    schema.Print: _print,
}
