"""The typed document of a plan: immutable structs, no behaviour.

Sizes are ints or the text of a polynomial (``"64*batch"``), as :mod:`lazyflow.runtime.dimensions` writes it.
Buffers are numbered per program; an access names a buffer, an offset and a stride per axis, all in elements.
"""

from __future__ import annotations

import math
import re
from typing import TypeAlias

import msgspec

VERSION = (1, 0)  # major, minor: readers refuse a newer major version

Extent: TypeAlias = int | str
Extents: TypeAlias = tuple[Extent, ...]
PRINT_FIELD = re.compile(r"\{(?::(\d{0,2}(?:\.\d{1,2})?[efgd]))?\}")

Number: TypeAlias = bool | int | float | str  # non-finite floats are "inf", "-inf" and "nan"; sizes are text


class Struct(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Base of all structs of a plan."""


class Variable(Struct, frozen=True, kw_only=True):
    """A named value that outlives a run; ``initial`` fills it before the ``init`` program runs."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    trainable: bool = False
    initial: Number = 0


class Constant(Struct, frozen=True, kw_only=True):
    """An array that is part of the plan; its numbers stand in ``constants.safetensors``."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Buffer(Struct, frozen=True, kw_only=True):
    """The memory of one value: ``size`` elements of ``dtype``, in one of four places.

    place: "arena" (``slot``, and ``offset`` bytes inside it), "variable", "constant" or "feed" (``name``).
    """

    dtype: str
    size: Extent
    place: str
    name: str = ""
    slot: int = 0
    offset: int = 0


class Access(Struct, frozen=True, kw_only=True):
    """Where an index tuple finds its element: buffer[offset + sum(stride * index)]."""

    buffer: int
    offset: Extent = 0
    strides: Extents = ()


class Call(Struct, frozen=True, kw_only=True):
    """One scalar operation of a kernel body, or a reduction over the kernel's inner axes.

    ``args`` number the kernel's reads first, then the calls in order. ``value`` belongs to three ops without
    arguments: "literal" (the number), "size" (the text of a dimension), "index" (the axis of the space).
    """

    op: str
    args: tuple[int, ...] = ()
    dtype: str
    value: Number | None = None

    def __eq__(self, other: object) -> bool:
        """Calls that compute the same: 0.0 and -0.0 are equal numbers, but not equal literals."""
        if not isinstance(other, Call) or not Struct.__eq__(self, other):
            return False
        zeros = [value for value in (self.value, other.value) if isinstance(value, float) and value == 0.0]
        return len({math.copysign(1.0, zero) for zero in zeros}) < 2

    __hash__ = Struct.__hash__


class Write(Struct, frozen=True, kw_only=True):
    """One result of a kernel: which value of the body goes where."""

    value: int
    to: Access


class Origin(Struct, frozen=True, kw_only=True):
    """The user's op name and line ("train.py:41") that a value comes from."""

    name: str
    location: str = ""


class Instruction(Struct, frozen=True, kw_only=True, tag_field="kind"):
    """One step of a program. Where ``when`` names a bool scalar buffer that is false, it does nothing."""

    when: int | None = None
    origin: tuple[int, ...] = ()  # rows of Document.origins


class Kernel(Instruction, frozen=True, kw_only=True, tag="kernel"):
    """One loop nest over an index space: reads, a scalar body, writes.

    The last ``inner`` axes of ``space`` are those that the reductions of the body run over. A value that
    depends on no inner axis (a reduction, and what follows from it alone) exists once per outer index.
    A write may take the memory of a read with the same strides; the compiler lets only results do so that
    the last walk along the inner axes makes.
    """

    space: Extents
    inner: int = 0
    reads: tuple[Access, ...]
    body: tuple[Call, ...]
    writes: tuple[Write, ...]


class Segment(Struct, frozen=True, kw_only=True):
    """One parameter of a batched update: flat buffers of ``size`` elements, and the row of its group."""

    size: int
    reads: tuple[int, ...]  # buffers, one per element argument of the body
    writes: tuple[int, ...]  # buffers, one per result of the body
    group: int  # buffer of an int32 scalar: which row of the columns holds this segment's scalars


class KernelBatch(Instruction, frozen=True, kw_only=True, tag="kernel_batch"):
    """One body over many segments: the multi-tensor update.

    Body arguments: the segment's element reads, then one scalar per column, at the segment's group row.
    The space is the flat segment; reductions of the body run over the whole segment.
    """

    columns: tuple[Access, ...]
    body: tuple[Call, ...]
    results: tuple[int, ...]  # value numbers of the body, one per write of a segment
    segments: tuple[Segment, ...]


class MatMul(Instruction, frozen=True, kw_only=True, tag="matmul"):
    """out[batch, m, n] = sum over k of a[batch, m, k] * b[batch, k, n]; transposes are strides."""

    batch: Extents
    m: Extent
    n: Extent
    k: Extent
    a: Access
    b: Access
    out: Access


class Gather(Instruction, frozen=True, kw_only=True, tag="gather"):
    """out[s] = table[s with its position on the table's axis given by index[s]], for s in space.

    ``table.strides`` run over the space (0 on the axes that the index replaces); the index adds
    ``index * axis_stride`` elements and must lie in [0, axis_size).
    """

    space: Extents
    axis_size: Extent
    axis_stride: Extent
    table: Access
    index: Access
    out: Access


class ScatterAdd(Instruction, frozen=True, kw_only=True, tag="scatter_add"):
    """table = 0, then table[s with its position given by index[s]] += source[s], for s in space, in order."""

    space: Extents
    axis_size: Extent
    axis_stride: Extent
    table: Access
    index: Access
    source: Access


class Check(Instruction, frozen=True, kw_only=True, tag="check"):
    """Fails the run, before any effect, where an index lies outside of [0, size)."""

    space: Extents
    size: Extent
    index: Access


class Copy(Instruction, frozen=True, kw_only=True, tag="copy"):
    """to[s] = source[s] for s in space; the dtypes are equal."""

    space: Extents
    source: Access
    to: Access


class Print(Instruction, frozen=True, kw_only=True, tag="print"):
    """Writes a line into the session's output: ``text`` with the value in place of ``{}``, else after it.

    ``{:.4e}`` formats a scalar (digits, then one of e, f, g, d); no other field is known.
    """

    text: str
    space: Extents
    source: Access
    on_change: bool = False  # only where the value differs from the one printed last


AnyInstruction: TypeAlias = Kernel | KernelBatch | MatMul | Gather | ScatterAdd | Check | Copy | Print


class Feed(Struct, frozen=True, kw_only=True):
    """A placeholder of a program: the array that a run is given under ``name``."""

    name: str
    dtype: str
    shape: Extents
    buffer: int
    location: str = ""


class Fetch(Struct, frozen=True, kw_only=True):
    """A value that a run returns under ``name``."""

    name: str
    dtype: str
    shape: Extents
    source: Access


class Program(Struct, frozen=True, kw_only=True):
    """A named entry point: feeds in, instructions in order, fetches out.

    ``slots`` are the sizes in bytes of the parts of the arena; each starts at a multiple of 64 bytes.
    ``lower_bound`` is the largest sum of bytes alive at once, below which no placement can go.
    """

    name: str
    dimensions: tuple[str, ...] = ()
    feeds: tuple[Feed, ...] = ()
    fetches: tuple[Fetch, ...] = ()
    buffers: tuple[Buffer, ...] = ()
    instructions: tuple[AnyInstruction, ...] = ()
    slots: Extents = ()
    lower_bound: Extents = ()  # one sum per point of the program that no other is known to exceed


class Group(Struct, frozen=True, kw_only=True):
    """One parameter group of an optimizer: its settable numbers and its members."""

    scalars: dict[str, tuple[str, ...]]  # option -> its variable, or one per element of a tuple option
    options: dict[str, Number | tuple[Number, ...] | None] = {}  # structure: shown, not settable
    # option -> (lowest, highest, lowest excluded, highest excluded): what a live session may set
    ranges: dict[str, tuple[Number, Number, bool, bool]] = {}


class Optimizer(Struct, frozen=True, kw_only=True):
    """An optimizer's groups, for ``session.groups``."""

    name: str
    kind: str
    groups: tuple[Group, ...]
    members: dict[str, str]  # parameter -> the int32 variable that holds its group
    state: dict[str, tuple[str, ...]]  # parameter -> its state variables


class Reason(Struct, frozen=True, kw_only=True):
    """Why a pass did what it did: a code, plain words, and the op that it is about."""

    decision: str  # the pass: "fuse", "batch_updates", "place_buffers"
    code: str
    text: str
    about: str = ""


class Document(Struct, frozen=True, kw_only=True):
    """A whole plan. Origins, reasons and the source text are outside of its fingerprint."""

    version: tuple[int, int] = VERSION
    name: str
    variables: tuple[Variable, ...] = ()
    constants: tuple[Constant, ...] = ()
    programs: tuple[Program, ...] = ()
    optimizers: tuple[Optimizer, ...] = ()
    origins: tuple[Origin, ...] = ()
    reasons: tuple[Reason, ...] = ()
    source: str = ""
