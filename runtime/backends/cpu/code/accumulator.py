"""Reductions on lanes: one accumulator per lane, folded in a fixed order.

The largest and smallest of floating numbers are found by comparisons, which miss NaN; whether there was one
is noted beside them. A maximum that minds NaN takes several instructions, each of which waits for the others.
"""

from __future__ import annotations

import math

from lazyflow.runtime import dtypes
from lazyflow.runtime.backends.cpu.code.lanes import Lanes, apply
from lazyflow.runtime.backends.cpu.code.nest import Nest
from lazyflow.runtime.backends.cpu.code.sizes import Sizes
from lazyflow.runtime.backends.cpu.code.writer import Writer, suffix, vector

_COMPARED = {"reduce_max": "ogt", "reduce_min": "olt"}


class Accumulator:
    """A reduction on lanes, in memory that LLVM turns into registers."""

    def __init__(self, nest: Nest, writer: Writer, sizes: Sizes, value: int, width: int) -> None:
        call = nest.body[value - nest.arity]
        self.op, self.width, self.writer, self.nest, self.sizes = call.op, width, writer, nest, sizes
        self.dtype = nest.dtype(call.args[0])
        wide = dtypes.float32 if self.dtype in dtypes.HALF else self.dtype
        self.lanes = Lanes(self.writer, width, wide)
        self.slot = self.writer.slot(self.lanes.type)
        self.writer.line(f"store {self.lanes.type} {self.lanes.number(self._neutral())}, ptr {self.slot}")
        self.odd = ""  # where floating numbers are compared: the lanes that have met NaN
        if self.op in _COMPARED and self.dtype in dtypes.FLOATING:
            self.odd = self.writer.slot(vector("i1", width))
            self.writer.line(f"store {vector('i1', width)} zeroinitializer, ptr {self.odd}")
        self.position = self.writer.slot("i64") if self.op == "argmax" else ""
        if self.position:
            self.writer.line(f"store i64 -1, ptr {self.position}")

    def _neutral(self) -> bool | int | float:
        if self.op == "reduce_sum":
            return 0
        lowest = self.op in ("reduce_max", "argmax")
        if self.dtype in dtypes.FLOATING:
            return float("-inf") if lowest else float("inf")
        if self.dtype == dtypes.bool_:
            return not lowest
        bits = 8 * int(self.dtype.itemsize)
        if self.lanes.unsigned:
            return 0 if lowest else (1 << bits) - 1
        return -(1 << (bits - 1)) if lowest else (1 << (bits - 1)) - 1

    def load(self) -> str:
        """What has been gathered."""
        if self.op == "argmax":
            return self.writer.let(f"load i64, ptr {self.position}")
        value = self._load()
        return self.lanes.select(self._load_odd(), self.lanes.number(math.nan), value) if self.odd else value

    def _load(self) -> str:
        return self.writer.let(f"load {self.lanes.type}, ptr {self.slot}")

    def _load_odd(self) -> str:
        return self.writer.let(f"load {vector('i1', self.width)}, ptr {self.odd}")

    def add(self, x: str, place: list[str], mask: str | None) -> None:
        """Take one more element per lane."""
        if self.op == "argmax":
            self._add_position(x, place)
            return
        if mask is not None:
            x = self.lanes.select(mask, x, self.lanes.number(self._neutral()))
        total = self._combine(self.lanes, self._load(), x)
        self.writer.line(f"store {self.lanes.type} {total}, ptr {self.slot}")
        if self.odd:
            odd = self.lanes.bools("or", self._load_odd(), self.lanes.compare("uno", x, x))
            self.writer.line(f"store {vector('i1', self.width)} {odd}, ptr {self.odd}")

    def _combine(self, lanes: Lanes, a: str, b: str) -> str:
        if self.odd:
            return lanes.select(lanes.compare(_COMPARED[self.op], b, a), b, a)
        name = {"reduce_sum": "add", "reduce_max": "maximum", "reduce_min": "minimum"}[self.op]
        if lanes.scalar == "i1":
            return lanes.op("or" if name == "maximum" else "and", a, b)
        return apply(self.writer, lanes.width, name, [a, b], lanes.dtype, lanes.dtype)

    def folded(self) -> str:
        """All lanes combined, halves with halves: the order is fixed."""
        value, width = self._load() if self.odd else self.load(), self.width
        while width > 1:
            half = width // 2
            parts = []
            for start in (0, half):
                lanes = ", ".join(f"i32 {start + i}" for i in range(half))
                type_ = vector(self.lanes.scalar, width)
                parts.append(
                    self.writer.let(
                        f"shufflevector {type_} {value}, {type_} poison, <{half} x i32> <{lanes}>"
                    )
                )
            width = half
            if width == 1:
                parts = [
                    self.writer.let(f"extractelement <1 x {self.lanes.scalar}> {part}, i64 0")
                    for part in parts
                ]
            value = self._combine(Lanes(self.writer, width, self.lanes.dtype), *parts)
        return self._minding_nan(value) if self.odd else value

    def _minding_nan(self, value: str) -> str:
        """One value, or NaN where a lane has met it."""
        odd, lane = self._load_odd(), Lanes(self.writer, 1, self.lanes.dtype)
        if self.width > 1:
            name = f"llvm.vector.reduce.or.{suffix('i1', self.width)}"
            odd = self.writer.call("i1", name, f"{vector('i1', self.width)} {odd}")
        return lane.select(odd, lane.number(math.nan), value)

    def _add_position(self, x: str, place: list[str]) -> None:
        """Keep the first of the largest; NaN counts as largest."""
        writer, lanes, nest = self.writer, self.lanes, self.nest
        best = writer.let(f"load {lanes.type}, ptr {self.slot}")
        known = writer.let(f"load i64, ptr {self.position}")
        first = writer.let(f"icmp eq i64 {known}, -1")
        better = apply(writer, 1, "gt", [x, best], lanes.dtype, dtypes.bool_)
        if lanes.floating:
            is_nan, was_nan = lanes.compare("uno", x, x), lanes.compare("ord", best, best)
            better = lanes.bools("or", better, lanes.bools("and", is_nan, was_nan))
        better = lanes.bools("or", better, first)
        position = "0"
        for axis in range(nest.outer, len(nest.extents)):
            scaled = writer.let(f"mul i64 {position}, {self.sizes[nest.extents[axis]]}")
            position = writer.let(f"add i64 {scaled}, {place[axis]}")
        writer.line(f"store {lanes.type} {lanes.select(better, x, best)}, ptr {self.slot}")
        chosen = writer.let(f"select i1 {better}, i64 {position}, i64 {known}")
        writer.line(f"store i64 {chosen}, ptr {self.position}")
