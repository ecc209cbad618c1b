"""The proof that the instructions of a program are well formed, kind by kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.dtypes import DType
from lazyflow.runtime.errors import PlanError
from lazyflow.runtime.proofs import Accesses, Checked, Kind, Memory, Place
from lazyflow.runtime.scalars import SCALARS, fits_number

MAX_CALLS = 65536


class Touch(NamedTuple):
    """One access of an instruction, over its space."""

    access: schema.Access
    space: schema.Extents


class Touched(NamedTuple):
    """What an instruction reads and writes, and whether a read may be overwritten at the same place."""

    reads: list[Touch]
    writes: list[Touch]
    in_place: bool = False


def verify_steps(program: schema.Program, accesses: Accesses, origins: int) -> None:
    """Check every instruction, in order.

    Args:
        program: The program, whose buffers are verified.
        accesses: Proofs about its buffers.
        origins: The number of rows of the document's table of origins.

    Raises:
        PlanError: with the instruction and the reason.
    """
    memory, checked = Memory(accesses), Checked(accesses)
    effects = False
    for number, step in enumerate(program.instructions):
        try:
            _require(all(0 <= row < origins for row in step.origin), "an origin does not exist")
            targets = _verify_step(accesses, memory, step)
            if isinstance(step, schema.Gather | schema.ScatterAdd | schema.Check):
                _verify_index(checked, step, effects)
            for buffer in targets:
                checked.forget(buffer)
            effects = effects or any(program.buffers[b].place == "variable" for b in targets)
        except PlanError as reason:
            kind = type(step).__struct_config__.tag
            raise PlanError(f"program {program.name!r}, instruction {number} ({kind}): {reason}") from None
    _verify_groups(program)
    for fetch in program.fetches:
        memory.read([fetch.source.buffer])


def _verify_index(
    checked: Checked, step: schema.Gather | schema.ScatterAdd | schema.Check, effects: bool
) -> None:
    """Once a variable is changed, indices must be known to be inside of their axis."""
    size = step.size if isinstance(step, schema.Check) else step.axis_size
    if effects and not checked.knows(step.index, step.space, size):
        raise PlanError("it may fail after a variable is changed")
    if step.when is None:
        checked.add(step.index, step.space, size)


def _require(ok: bool, reason: str) -> None:
    if not ok:
        raise PlanError(reason)


def _verify_step(accesses: Accesses, memory: Memory, step: schema.AnyInstruction) -> list[int]:
    """The buffers that a well-formed instruction writes."""
    if step.when is not None:
        _require(
            accesses.check(schema.Access(buffer=step.when), ()) == dtypes.bool_, "`when` is no bool scalar"
        )
        memory.read([step.when])
    reads, writes, in_place = _RULES[type(step)](accesses, step)
    memory.read([touch.access.buffer for touch in reads])
    _verify_overlaps(accesses, reads, writes, in_place)
    targets = written(step)
    for buffer in targets:
        memory.write(buffer)
    return targets


def _verify_overlaps(accesses: Accesses, reads: list[Touch], writes: list[Touch], in_place: bool) -> None:
    """No write may reach what is read at another index, nor another write."""
    sources = [(accesses.place(*read), read) for read in reads] if writes else []
    targets: list[Place] = []
    for write in writes:
        place = accesses.place(*write)
        for source, read in sources:
            if place.overlaps(source) and not (in_place and _same_place(accesses, read, write)):
                clash = f"buffer {write.access.buffer} over buffer {read.access.buffer}, which it reads"
                raise PlanError(f"it writes {clash}")
        if any(place.overlaps(other) for other in targets):
            raise PlanError(f"two of its writes overlap, in buffer {write.access.buffer}")
        targets.append(place)


def _same_place(accesses: Accesses, a: Touch, b: Touch) -> bool:
    one, other = accesses.buffers[a.access.buffer], accesses.buffers[b.access.buffer]
    if accesses.dtypes[a.access.buffer].itemsize != accesses.dtypes[b.access.buffer].itemsize:
        return False
    moving = [axis for axis, extent in enumerate(a.space) if extent != 1]
    same = all(a.access.strides[axis] == b.access.strides[axis] for axis in moving)
    return same and (one.offset, a.access.offset) == (other.offset, b.access.offset)


# --- bodies -------------------------------------------------------------------------------------------------


def _body(
    accesses: Accesses, body: tuple[schema.Call, ...], arguments: list[Kind], rank: int, inner: int
) -> list[Kind]:
    """The kinds of all values of a body, arguments first; equal bodies are looked at once."""
    key = (body, tuple(arguments), rank, inner)
    if key not in accesses.bodies:
        _require(len(body) <= MAX_CALLS, f"a body of {len(body)} calls; the limit is {MAX_CALLS}")
        _require(0 <= inner <= rank, f"{inner} inner axes of {rank}")
        values = list(arguments)
        for call in body:
            values.append(_call(accesses, call, values, rank, inner))
        accesses.bodies[key] = values
    return accesses.bodies[key]


def _call(accesses: Accesses, call: schema.Call, values: list[Kind], rank: int, inner: int) -> Kind:
    dtype = dtypes.ALL.get(call.dtype)
    if dtype is None:
        raise PlanError(f"{call.dtype!r} is no dtype")
    if call.op in _GENERATORS:
        _require(not call.args, f"{call.op} takes no arguments")
        return Kind(dtype, _GENERATORS[call.op](accesses, call, dtype, rank))
    op = SCALARS.get(call.op)
    if op is None:
        raise PlanError(f"{call.op!r} is no scalar op")
    if call.value is not None:
        raise PlanError(f"{call.op} takes no value")
    if any(not 0 <= a < len(values) for a in call.args):
        raise PlanError(f"{call.op} takes a value that is made later")
    arguments = [values[a] for a in call.args]
    problem = op.mismatch([kind.dtype for kind in arguments], dtype)
    if problem is not None:
        raise PlanError(f"{call.op} {problem}")
    axes = 0
    for kind in arguments:
        axes |= kind.axes
    outer = (1 << (rank - inner)) - 1
    return Kind(dtype, axes & outer if op.reduction else axes)


def _literal(accesses: Accesses, call: schema.Call, dtype: DType, rank: int) -> int:
    if call.value is None or not fits_number(call.value, dtype):
        raise PlanError(f"literal {call.value!r} is no {dtype}")
    return 0


def _size(accesses: Accesses, call: schema.Call, dtype: DType, rank: int) -> int:
    _require(dtype == dtypes.int64 and isinstance(call.value, str), f"size {call.value!r} is no int64 size")
    accesses.size(str(call.value))
    return 0


def _index(accesses: Accesses, call: schema.Call, dtype: DType, rank: int) -> int:
    axis = call.value
    plain = isinstance(axis, int) and not isinstance(axis, bool)
    if not isinstance(axis, int) or not plain or dtype != dtypes.int64 or not 0 <= axis < rank:
        raise PlanError(f"index {axis!r} is no axis of {rank}, in int64")
    return 1 << axis


_GENERATORS: dict[str, Callable[[Accesses, schema.Call, DType, int], int]] = {
    "literal": _literal,
    "size": _size,
    "index": _index,
}


def _varies(access: schema.Access, space: schema.Extents) -> int:
    """The axes along which an access moves, as bits."""
    pairs = zip(access.strides, space, strict=True)
    return sum(1 << axis for axis, (stride, extent) in enumerate(pairs) if stride != 0 and extent != 1)


def _single(space: schema.Extents) -> int:
    """The axes that have one index, as bits."""
    return sum(1 << axis for axis, extent in enumerate(space) if extent == 1)


# --- kinds of instructions ----------------------------------------------------------------------------------


def _kernel(accesses: Accesses, step: schema.Kernel) -> Touched:
    space = step.space
    arguments = [Kind(accesses.check(read, space), _varies(read, space)) for read in step.reads]
    values = _body(accesses, step.body, arguments, len(space), step.inner)
    for write in step.writes:
        dtype = accesses.check_write(write.to, space, still=True)
        _require(0 <= write.value < len(values), f"value {write.value} does not exist")
        value = values[write.value]
        if value.dtype != dtype:
            raise PlanError(f"a {value.dtype} is written to a {dtype} buffer")
        still = value.axes & ~_varies(write.to, space) & ~_single(space)
        _require(not still, f"value {write.value} varies along an axis on which its write stands still")
    return Touched([Touch(r, space) for r in step.reads], [Touch(w.to, space) for w in step.writes], True)


def _kernel_batch(accesses: Accesses, step: schema.KernelBatch) -> Touched:
    _require(len(step.segments) > 0, "it has no segments")
    columns = [Kind(_column(accesses, column), 0) for column in step.columns]
    first = step.segments[0]
    shape = [accesses.dtype(b) for b in first.reads], [accesses.dtype(b) for b in first.writes]
    values = _body(accesses, step.body, [Kind(dtype, 1) for dtype in shape[0]] + columns, 1, 1)
    _require(all(0 <= r < len(values) for r in step.results), "a result does not exist")
    made = [values[result].dtype for result in step.results]
    _require(made == shape[1], "the results' dtypes are not those of the written buffers")
    owners: dict[str, int] = {}
    reads: list[int] = []
    for number, segment in enumerate(step.segments):
        found = _segment(accesses, segment)
        if found != shape:
            raise PlanError(f"segment {number} differs from the first in its dtypes")
        reads += [buffer for buffer in segment.reads if accesses.buffers[buffer].place == "arena"]
        for buffer in segment.writes:
            row = accesses.buffers[buffer]
            if row.place != "variable":
                raise PlanError(f"segment {number} writes no variable")
            if row.name in owners:
                raise PlanError(f"{row.name!r} is written twice")
            owners[row.name] = number
    _verify_owners(accesses, step, owners)
    flat = [schema.Access(buffer=buffer, strides=(1,)) for buffer in reads]
    return Touched([Touch(access, (1,)) for access in (*flat, *step.columns)], [])


def _column(accesses: Accesses, column: schema.Access) -> DType:
    strides = column.strides
    _require(
        len(strides) == 1 and isinstance(strides[0], int) and strides[0] >= 0, "a column has no one stride"
    )
    return accesses.check(column, (1,))


def _segment(accesses: Accesses, segment: schema.Segment) -> tuple[list[DType], list[DType]]:
    """The dtypes of what a segment reads and writes."""
    group = accesses.dtype(segment.group), accesses.buffers[segment.group]
    is_scalar = group[0] == dtypes.int32 and group[1].size == 1
    _require(
        is_scalar and group[1].place == "variable", "the group of a segment is no int32 variable of rank 0"
    )
    return (
        [accesses.check_flat(buffer, segment.size) for buffer in segment.reads],
        [accesses.check_flat(buffer, segment.size) for buffer in segment.writes],
    )


def _verify_owners(accesses: Accesses, step: schema.KernelBatch, owners: dict[str, int]) -> None:
    """Segments may run in any order: what one writes, no other reads, nor do the columns."""
    for number, segment in enumerate(step.segments):
        for buffer in segment.reads:
            row = accesses.buffers[buffer]
            if row.place == "variable" and owners.get(row.name, number) != number:
                raise PlanError(f"segment {number} reads {row.name!r}, which another segment writes")
    shared = [*{segment.group for segment in step.segments}, *(column.buffer for column in step.columns)]
    if step.when is not None:
        shared.append(step.when)
    for buffer in shared:
        row = accesses.buffers[buffer]
        if row.place == "variable" and row.name in owners:
            raise PlanError(f"{row.name!r} is read by all and written")


def _matmul(accesses: Accesses, step: schema.MatMul) -> Touched:
    spaces = (step.m, step.k), (step.k, step.n), (step.m, step.n)
    a, b, out = (Touch(x, (*step.batch, *s)) for x, s in zip((step.a, step.b, step.out), spaces, strict=True))
    kinds = {accesses.check(*a), accesses.check(*b), accesses.check_write(*out)}
    _require(len(kinds) == 1 and kinds <= dtypes.FLOATING, "its dtypes are not one floating type")
    return Touched([a, b], [out])


def _indexed(accesses: Accesses, step: schema.Gather | schema.ScatterAdd) -> tuple[Touch, Touch, DType]:
    """The index, and the table over the space and its axis; the dtype of the table."""
    index, space = Touch(step.index, step.space), (*step.space, step.axis_size)
    strides = (*step.table.strides, step.axis_stride)
    table = Touch(schema.Access(buffer=step.table.buffer, offset=step.table.offset, strides=strides), space)
    _require(len(step.table.strides) == len(step.space), "the table has not one stride per axis of the space")
    _require(dtypes.is_integer(accesses.check(*index)), "the index is of no integer type")
    return index, table, accesses.check(*table)


def _gather(accesses: Accesses, step: schema.Gather) -> Touched:
    index, table, dtype = _indexed(accesses, step)
    out = Touch(step.out, step.space)
    _require(accesses.check_write(*out) == dtype, "the dtypes of table and result differ")
    return Touched([index, table], [out])


def _scatter_add(accesses: Accesses, step: schema.ScatterAdd) -> Touched:
    index, table, dtype = _indexed(accesses, step)
    source = Touch(step.source, step.space)
    moving = [axis for axis, stride in enumerate(step.table.strides) if stride != 0]
    strides = (step.axis_stride, *(step.table.strides[axis] for axis in moving))
    extents = (step.axis_size, *(step.space[axis] for axis in moving))
    accesses.check_write(
        schema.Access(buffer=step.table.buffer, offset=step.table.offset, strides=strides), extents
    )
    _require(accesses.check(*source) == dtype, "the dtypes of table and source differ")
    _require(dtype != dtypes.bool_, "bools cannot be added")
    return Touched([index, source], [table])


def _check(accesses: Accesses, step: schema.Check) -> Touched:
    accesses.shape((step.size,))
    index = Touch(step.index, step.space)
    _require(dtypes.is_integer(accesses.check(*index)), "the index is of no integer type")
    return Touched([index], [])


def _copy(accesses: Accesses, step: schema.Copy) -> Touched:
    source, to = Touch(step.source, step.space), Touch(step.to, step.space)
    _require(accesses.check(*source) == accesses.check_write(*to), "the dtypes of source and target differ")
    return Touched([source], [to])


def _print(accesses: Accesses, step: schema.Print) -> Touched:
    source = Touch(step.source, step.space)
    dtype = accesses.check(*source)
    field = schema.PRINT_FIELD.search(step.text)
    if field is not None and field.group(1):
        whole = field.group(1).endswith("d")
        _require(not step.space, f"the format {field.group(1)!r} is for a scalar")
        _require(not (whole and dtypes.is_floating(dtype)), f"the format {field.group(1)!r} is for integers")
    return Touched([source], [])


_RULES: dict[type, Callable[[Accesses, Any], Touched]] = {
    schema.Kernel: _kernel,
    schema.KernelBatch: _kernel_batch,
    schema.MatMul: _matmul,
    schema.Gather: _gather,
    schema.ScatterAdd: _scatter_add,
    schema.Check: _check,
    schema.Copy: _copy,
    schema.Print: _print,
}


def _verify_groups(program: schema.Program) -> None:
    """Group indices are looked at once, before a program runs, so it must not change them."""
    buffers = program.buffers
    groups = {
        buffers[segment.group].name
        for step in program.instructions
        if isinstance(step, schema.KernelBatch)
        for segment in step.segments
    }
    changed = {buffers[b].name for step in program.instructions for b in written(step)} & groups
    _require(not changed, f"program {program.name!r} changes the group indices {sorted(changed)[:3]}")


def written(step: schema.AnyInstruction) -> list[int]:
    """The buffers that an instruction writes."""
    match step:
        case schema.Kernel():
            return [write.to.buffer for write in step.writes]
        case schema.KernelBatch():
            return [buffer for segment in step.segments for buffer in segment.writes]
        case schema.MatMul() | schema.Gather():
            return [step.out.buffer]
        case schema.ScatterAdd():
            return [step.table.buffer]
        case schema.Copy():
            return [step.to.buffer]
        case schema.Check() | schema.Print():
            return []
