"""A kernel as a function: outer loops, passes over the inner axes, lanes.

The function takes the addresses of its accesses, the sizes of the named dimensions, and a range of the
points of its outer loops, so that several threads can share it. A sum has one accumulator per lane, folded
in a fixed order: its bits depend on the shape alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from lazyflow.runtime import dtypes
from lazyflow.runtime.backends.cpu.code.accumulator import Accumulator
from lazyflow.runtime.backends.cpu.code.lanes import apply, from_stored, rounded, to_stored
from lazyflow.runtime.backends.cpu.code.nest import COSTLY, GENERATORS, SCRATCH_LIMIT, Nest, Read, as_size
from lazyflow.runtime.backends.cpu.code.sizes import Sizes, Walk
from lazyflow.runtime.backends.cpu.code.writer import (
    COMPUTED,
    STORED,
    Writer,
    definition,
    number,
    splat,
    suffix,
    vector,
)
from lazyflow.runtime.dimensions import Size, elements

Values = dict[int, str]
_SHARED_LANES = 64
_SHORT_ROW = 4096  # elements that are not worth a second thread


class Reach(NamedTuple):
    """How many lanes a step has, how many of them values have that do not vary, and which are used."""

    width: int
    fixed_width: int
    mask: str | None = None


ROW = Reach(1, 1)


class KernelFunction:
    """Writes the function of one nest.

    Args:
        nest: The loops.
        names: The named dimensions of the program, in the order in which ``%sizes`` holds them.
        late_writes: Whether a write may touch memory that the nest reads; all then happen in the last pass.
        scalars: How many of the reads are given as values instead of addresses (the last ones).
    """

    def __init__(self, nest: Nest, names: Sequence[str], late_writes: bool, scalars: int = 0) -> None:
        self.nest = nest
        self.writer = Writer()
        self.sizes = Sizes(self.writer, names)
        self.scalars = scalars
        # a value that is the same along the inner axes is written once, unless its memory moves along them
        self.once = [all(s == 0 for s in write.strides[nest.outer :]) for write in nest.writes]
        spread = [v for v, once in zip(nest.results, self.once, strict=True) if not once]
        varying = [v for v, fixed in enumerate(nest.fixed) if not fixed]
        last = max((nest.stages[v] for v in (*varying, *spread)), default=0)
        self.write_stages = [last if late_writes else nest.stages[v] for v in nest.results]
        self.passes = last + 1
        self._scratch: dict[int, str] = {}  # rows of costly values that passes before have kept
        self._kept: dict[int, str] = {}  # those that this pass keeps

    def text(self, name: str) -> str:
        """The definition of the function under a name."""
        nest, writer = self.nest, self.writer
        if nest.columns:
            self._emit_columns()
        else:
            self._emit_rows()
        writer.line("ret void")
        given = nest.arity - self.scalars
        parameters = [f"ptr %a{i}" for i in range(given)]
        parameters += [f"{COMPUTED[nest.reads[i].dtype]} %a{i}" for i in range(given, nest.arity)]
        parameters += [f"ptr %w{i}" for i in range(len(nest.writes))]
        parameters += ["ptr %sizes", "i64 %begin", "i64 %end"]
        lines = "\n".join(["entry:", *writer.entry, *writer.lines])
        return f"define internal void @{name}({', '.join(parameters)}) #0 {{\n{lines}\n}}"

    def entry(self, name: str) -> str:
        """The same as a native function of a task (see ``tasks``)."""
        outer = Writer()
        accesses = [f"ptr {outer.argument(i)}" for i in range(self.nest.arity + len(self.nest.writes))]
        given = ", ".join([*accesses, "ptr %sizes", "i64 %begin", "i64 %end"])
        outer.line(f"call void @{name}.body({given})")
        outer.line("ret i64 0")
        return f"{self.text(f'{name}.body')}\n{definition(name, outer)}"

    @property
    def granule(self) -> int:
        """Where lanes run along the shared loop, threads take whole steps of them, and whole cache lines."""
        return _SHARED_LANES if self._shares_lanes else 1

    @property
    def range(self) -> Size:
        """The points that %begin and %end bound; 1 where the nest cannot be shared."""
        return elements(self._outer_loops) * self._behind

    @property
    def _outer_loops(self) -> list[Size]:
        nest = self.nest
        return [nest.extents[axis] for axis in range(nest.outer) if axis != nest.lane_axis]

    @property
    def _behind(self) -> Size:
        """How many points of the shared range each point of the outer loops stands for."""
        return self.nest.extents[self.nest.lane_axis] if self._shares_lanes else 1

    @property
    def _shares_lanes(self) -> bool:
        """Whether threads share the lane axis too: not where it is reduced, nor where it is short.

        Nor where a value is written once for the whole axis: one thread might read it after another wrote it.
        """
        nest = self.nest
        if not nest.columns and (nest.reduces or nest.inner > 1 or any(self.once)):
            return False
        extent = nest.extents[nest.lane_axis]
        short = isinstance(extent, int) and extent <= (_SHARED_LANES if nest.columns else _SHORT_ROW)
        return not (short and self._outer_loops)

    # --- rows: lanes run along an inner axis ---------------------------------------------------------------

    def _emit_rows(self) -> None:
        with self.sizes.walk(self._outer_loops, self._behind, "%begin", "%end") as outer:
            row: Values = {}
            self._compute_fixed(row, outer.indices, ROW, stage=0)
            for stage in range(self.passes):
                self._pass(stage, row, outer)
                self._compute_fixed(row, outer.indices, ROW, stage=stage + 1)
            self._write_fixed(row, outer.indices, ROW)

    def _pass(self, stage: int, row: Values, outer: Walk) -> None:
        wanted = self._wanted(stage)
        if not wanted:
            return
        nest, writer, width = self.nest, self.writer, self.nest.width
        totals = {v: Accumulator(nest, writer, self.sizes, v, width) for v in self._reduced_in(stage)}
        with self._inner_loops(outer) as (place, lanes):
            for lane, mask in self._lanes(*lanes):
                self._point(stage, wanted, row, place(lane), Reach(width, 1, mask), totals)
        for value, total in totals.items():
            row[value] = rounded(writer, 1, total.folded(), nest.dtype(value))
        self._scratch |= self._kept
        self._kept.clear()

    @contextmanager
    def _inner_loops(self, outer: Walk) -> Iterator[tuple[_Place, tuple[str, str]]]:
        """Loops over the inner axes without that of the lanes; yields also the bounds of the lanes."""
        nest, index = self.nest, outer.indices
        axes = [axis for axis in range(nest.outer, len(nest.extents)) if axis != nest.lane_axis]
        behind = 1 if nest.columns else nest.extents[nest.lane_axis]
        if not nest.columns and self._shares_lanes:
            begin, end = outer.begin, outer.end
        else:
            begin, end = self._block(index)
        with self.sizes.walk([nest.extents[axis] for axis in axes], behind, begin, end) as walk:
            inner = dict(zip(axes, walk.indices, strict=True))
            yield _Place(index, inner, len(nest.extents), nest.lane_axis), (walk.begin, walk.end)

    def _block(self, index: list[str]) -> tuple[str, str]:
        """The points of the inner axes that belong to a point of the outer ones: all, or those of a block."""
        nest, writer = self.nest, self.writer
        count = self.sizes[elements(nest.extents[nest.outer :])]
        if nest.block is None:
            return "0", count
        begin = writer.let(f"mul i64 {index[0]}, {self.sizes[nest.block]}")
        end = writer.let(f"add i64 {begin}, {self.sizes[nest.block]}")
        return begin, writer.extreme("smin", end, count)

    # --- columns: lanes run along an outer axis ------------------------------------------------------------

    def _emit_columns(self) -> None:
        nest = self.nest
        with self.sizes.walk(self._outer_loops, self._behind, "%begin", "%end") as outer:
            bounds = (outer.begin, outer.end)
            if not self._shares_lanes:
                bounds = ("0", self.sizes[nest.extents[nest.lane_axis]])
            for lane, mask in self._lanes(*bounds):
                index = [*outer.indices[: nest.lane_axis], lane, *outer.indices[nest.lane_axis :]]
                self._column(outer._replace(indices=index), Reach(nest.width, nest.width, mask))

    def _column(self, outer: Walk, reach: Reach) -> None:
        row: Values = {}
        self._compute_fixed(row, outer.indices, reach, stage=0)
        for stage in range(self.passes):
            wanted = self._wanted(stage)
            if wanted:
                totals = {
                    v: Accumulator(self.nest, self.writer, self.sizes, v, reach.width)
                    for v in self._reduced_in(stage)
                }
                with self._inner_loops(outer) as (place, _):
                    self._point(stage, wanted, row, place(None), reach, totals)
                for value, total in totals.items():
                    row[value] = rounded(self.writer, reach.width, total.load(), self.nest.dtype(value))
            self._compute_fixed(row, outer.indices, reach, stage=stage + 1)
        self._write_fixed(row, outer.indices, reach)

    def _lanes(self, start: str, stop: str) -> Iterator[tuple[str, str | None]]:
        """The code inside is written twice: for whole steps of all lanes, then with a mask for the rest."""
        writer, width = self.writer, self.nest.width
        static = start.isdecimal() and stop.isdecimal()
        if not static or int(stop) - int(start) >= width:
            with writer.loop(start, stop, width) as lane:
                yield lane, None
        if width == 1 or (static and (int(stop) - int(start)) % width == 0):
            return
        rest = writer.whole_steps(start, stop, width)
        with writer.branch(writer.let(f"icmp slt i64 {rest}, {stop}")):
            steps = ", ".join(f"i64 {lane}" for lane in range(width))
            type_ = vector("i64", width)
            each = writer.let(f"add {type_} {writer.splatted(rest, 'i64', width)}, <{steps}>")
            yield rest, writer.let(f"icmp slt {type_} {each}, {writer.splatted(stop, 'i64', width)}")

    # --- values --------------------------------------------------------------------------------------------

    def _reduced_in(self, stage: int) -> list[int]:
        nest = self.nest
        values = range(nest.arity, len(nest.stages))
        return [v for v in values if nest.is_reduction(v) and nest.stages[v] == stage + 1]

    def _written_in(self, stage: int) -> list[int]:
        return [i for i, once in enumerate(self.once) if not once and self.write_stages[i] == stage]

    def _wanted(self, stage: int) -> list[int]:
        """The values that a pass computes at each point, in order."""
        nest = self.nest
        stack = [nest.body[v - nest.arity].args[0] for v in self._reduced_in(stage)]
        stack += [nest.results[i] for i in self._written_in(stage)]
        seen: set[int] = set(stack)
        while stack:
            value = stack.pop()
            call = nest.call(value)
            if call is None or nest.fixed[value] or value in self._scratch:
                continue
            for argument in call.args:
                if argument not in seen:
                    seen.add(argument)
                    stack.append(argument)
        return sorted(seen)

    def _compute_fixed(self, row: Values, index: list[str], reach: Reach, stage: int) -> None:
        """The values of a stage that do not vary along the inner axes."""
        nest = self.nest
        place = [*index, *["0"] * nest.inner]
        for value, fixed in enumerate(nest.fixed):
            if fixed and nest.stages[value] == stage and value not in row and not nest.is_reduction(value):
                row[value] = self._value(value, row, place, reach, nest.lane_axis if nest.columns else -1)

    def _point(
        self,
        stage: int,
        wanted: list[int],
        row: Values,
        place: list[str],
        reach: Reach,
        totals: dict[int, Accumulator],
    ) -> None:
        """One step of a pass: loads, computes, accumulates, then stores."""
        nest, writer = self.nest, self.writer
        point: Values = {}
        for value in wanted:
            if value in row:
                spread = reach.width if reach.fixed_width == 1 else 1
                point[value] = writer.splatted(row[value], COMPUTED[nest.dtype(value)], spread)
            elif value in self._scratch:
                point[value] = self._load_scratch(value, place, reach.width)
            else:
                point[value] = self._value(value, point, place, reach, nest.lane_axis)
                self._keep(value, stage, point[value], place, reach.width)
        for value, total in totals.items():
            total.add(point[nest.body[value - nest.arity].args[0]], place, reach.mask)
        for i in self._written_in(stage):
            self._store(i, point[nest.results[i]], place, reach)

    def _value(self, value: int, known: Values, place: list[str], reach: Reach, lane_axis: int) -> str:
        nest, writer = self.nest, self.writer
        call = nest.call(value)
        if call is None:
            return self._load(value, place, reach, lane_axis)
        dtype = dtypes.ALL[call.dtype]
        if call.op in GENERATORS:
            return self._generated(value, place, reach.width, lane_axis)
        operand = nest.dtype(call.args[-1])
        return apply(writer, reach.width, call.op, [known[a] for a in call.args], operand, dtype)

    def _generated(self, value: int, place: list[str], width: int, lane_axis: int) -> str:
        nest, writer = self.nest, self.writer
        call = nest.body[value - nest.arity]
        type_ = COMPUTED[dtypes.ALL[call.dtype]]
        given = call.value if call.value is not None else 0
        if call.op == "literal":
            text = number(given, type_)
            return writer.splatted(rounded(writer, 1, text, dtypes.ALL[call.dtype]), type_, width)
        if call.op == "size":
            return writer.splatted(self.sizes[as_size(str(given))], "i64", width)
        axis = nest.axes[int(given)]
        result = writer.splatted(place[axis], "i64", width)
        if axis != lane_axis or width == 1:
            return result
        steps = ", ".join(f"i64 {lane}" for lane in range(width))
        return writer.let(f"add <{width} x i64> {result}, <{steps}>")

    # --- memory --------------------------------------------------------------------------------------------

    def _address(self, pointer: str, access: Read, place: list[str]) -> str:
        writer, offset = self.writer, "0"
        for stride, index in zip(access.strides, place, strict=True):
            if stride != 0 and index != "0":
                step = index if stride == 1 else writer.let(f"mul i64 {index}, {self.sizes[stride]}")
                offset = step if offset == "0" else writer.let(f"add i64 {offset}, {step}")
        return writer.let(f"getelementptr {STORED[access.dtype]}, ptr {pointer}, i64 {offset}")

    def _load(self, value: int, place: list[str], reach: Reach, lane_axis: int) -> str:
        writer, access, width = self.writer, self.nest.reads[value], reach.width
        if value >= self.nest.arity - self.scalars:
            return writer.splatted(f"%a{value}", COMPUTED[access.dtype], width)
        type_ = STORED[access.dtype]
        address = self._address(f"%a{value}", access, place)
        stride = access.strides[lane_axis] if width > 1 else 0
        align = access.dtype.itemsize
        if stride == 0:
            loaded = writer.splatted(writer.let(f"load {type_}, ptr {address}, align {align}"), type_, width)
        elif stride == 1 and reach.mask is None:
            loaded = writer.let(f"load {vector(type_, width)}, ptr {address}, align {align}")
        else:
            loaded = self._masked("load" if stride == 1 else "gather", access, address, stride, reach)
        return from_stored(writer, width, loaded, access.dtype)

    def _store(self, write: int, value: str, place: list[str], reach: Reach) -> None:
        writer, access, width = self.writer, self.nest.writes[write], reach.width
        type_ = STORED[access.dtype]
        stored = to_stored(writer, width, value, access.dtype)
        address = self._address(f"%w{write}", access, place)
        stride = access.strides[self.nest.lane_axis] if width > 1 else 1
        if stride == 1 and reach.mask is None:
            align = access.dtype.itemsize
            writer.line(f"store {vector(type_, width)} {stored}, ptr {address}, align {align}")
        else:
            self._masked("store" if stride == 1 else "scatter", access, address, stride, reach, stored)

    def _masked(
        self, kind: str, access: Read, address: str, stride: Size, reach: Reach, stored: str | None = None
    ) -> str:
        """Move the lanes of a mask (all without one), side by side or by a stride."""
        writer, width, type_ = self.writer, reach.width, STORED[access.dtype]
        place, kinds = f"ptr {address}", f"{suffix(type_, width)}.p0"
        if kind in ("gather", "scatter"):
            steps = ", ".join(f"i64 {lane}" for lane in range(width))
            apart = writer.splatted(self.sizes[stride], "i64", width)
            offsets = writer.let(f"mul <{width} x i64> {apart}, <{steps}>")
            places = writer.let(f"getelementptr {type_}, ptr {address}, <{width} x i64> {offsets}")
            place, kinds = f"{vector('ptr', width)} {places}", f"{suffix(type_, width)}.v{width}p0"
        chosen = reach.mask if reach.mask is not None else splat("true", "i1", width)
        mask, lanes = f"{vector('i1', width)} {chosen}", vector(type_, width)
        return writer.masked(f"{kind}.{kinds}", lanes, place, access.dtype.itemsize, mask, stored)

    def _write_fixed(self, row: Values, index: list[str], reach: Reach) -> None:
        nest = self.nest
        for i, value in enumerate(nest.results):
            if self.once[i]:
                self._store(i, row[value], [*index, *["0"] * nest.inner], reach)

    # --- costly values that a later pass needs again are kept in a row of scratch memory -------------------

    def _keep(self, value: int, stage: int, computed: str, place: list[str], width: int) -> None:
        nest = self.nest
        call, extent = nest.call(value), nest.extents[nest.lane_axis]
        small = isinstance(extent, int) and extent <= SCRATCH_LIMIT and nest.inner == 1 and not nest.columns
        if not small or call is None or call.op not in COSTLY or not self._needed_after(value, stage):
            return
        type_ = COMPUTED[nest.dtype(value)]
        if value not in self._kept:
            whole = -(-int(str(extent)) // nest.width) * nest.width
            self._kept[value] = self.writer.slot(f"[{whole} x {type_}], align 64")
        address = self.writer.let(
            f"getelementptr {type_}, ptr {self._kept[value]}, i64 {place[nest.lane_axis]}"
        )
        self.writer.line(f"store {vector(type_, width)} {computed}, ptr {address}, align 4")

    def _needed_after(self, value: int, stage: int) -> bool:
        return any(value in self._wanted(later) for later in range(stage + 1, self.passes))

    def _load_scratch(self, value: int, place: list[str], width: int) -> str:
        type_ = COMPUTED[self.nest.dtype(value)]
        address = self.writer.let(
            f"getelementptr {type_}, ptr {self._scratch[value]}, i64 {place[self.nest.lane_axis]}"
        )
        return self.writer.let(f"load {vector(type_, width)}, ptr {address}, align 4")


class _Place:
    """The index of each axis at a point of a pass."""

    def __init__(self, outer: list[str], inner: dict[int, str], axes: int, lane_axis: int) -> None:
        self._outer, self._inner, self._axes, self._lane_axis = outer, inner, axes, lane_axis

    def __call__(self, lane: str | None) -> list[str]:
        known = dict(enumerate(self._outer)) | self._inner
        if lane is not None:
            known[self._lane_axis] = lane
        return [known[axis] for axis in range(self._axes)]
