"""Bodies of kernels taken apart: how deep reductions are nested, and the part that computes chosen values."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.backends.cpu.code.nest import GENERATORS
from lazyflow.runtime.scalars import SCALARS

BLOCK = 16384  # elements that are reduced at a time, whatever the number of threads
MOST_BLOCKS = 1024  # of one array, or of several reductions together
_SPLIT = ("reduce_sum", "reduce_max", "reduce_min")


def rows_of_block(rows: int, width: int) -> int:
    """How many of an array's rows are reduced at a time."""
    return max(1, BLOCK // width, -(-rows // MOST_BLOCKS))


class Body(NamedTuple):
    """The calls of a kernel; its values are numbered the reads first."""

    arity: int
    calls: tuple[schema.Call, ...]

    def call(self, value: int) -> schema.Call:
        """The call that makes a value, which is no read."""
        return self.calls[value - self.arity]

    def reductions(self) -> list[list[int]]:
        """The reductions in order, each in a list with those that need as many others before them."""
        depths = [0] * self.arity
        found: list[list[int]] = []
        for value, call in enumerate(self.calls, self.arity):
            reduces = call.op not in GENERATORS and SCALARS[call.op].reduction
            depths.append(max((depths[a] for a in call.args), default=0) + reduces)
            if reduces:
                found += [[]] * (depths[-1] - len(found))
                found[depths[-1] - 1] = [*found[depths[-1] - 1], value]
        return found

    def splits(self) -> bool:
        """Whether all reductions may be made block by block: their order is free, and none is rounded."""
        reductions = [self.call(value) for level in self.reductions() for value in level]
        return (
            all(call.op in _SPLIT for call in reductions)
            and all(dtypes.ALL[call.dtype] not in dtypes.HALF for call in reductions)
            and all(call.op != "index" for call in self.calls)
        )

    def varying(self, reads: Collection[int]) -> set[int]:
        """The values that are not the same along the axes of reductions, where these reads are not."""
        found = set(reads)
        reduced = {value for level in self.reductions() for value in level}
        for value, call in enumerate(self.calls, self.arity):
            if value not in reduced and (call.op == "index" or found.intersection(call.args)):
                found.add(value)
        return found

    def over(self, values: Sequence[int]) -> Body:
        """The same with these reductions over further reads, which are behind the others."""
        more = len(values)

        def moved(value: int) -> int:
            return value if value < self.arity else value + more

        calls = [replace(call, args=tuple(map(moved, call.args))) for call in self.calls]
        for read, value in enumerate(values, self.arity):
            calls[value - self.arity] = replace(self.call(value), args=(read,))
        return Body(self.arity + more, tuple(calls))

    def part(self, targets: Sequence[int], given: Collection[int], last: Collection[int] = ()) -> Part:
        """What computes some values.

        Args:
            targets: The values.
            given: Values that are read instead of computed.
            last: Reads that come behind the others; those of ``given`` come behind them.
        """
        stack, seen = list(targets), set[int]()
        while stack:
            value = stack.pop()
            if value not in seen:
                seen.add(value)
                stack += self.call(value).args if value >= self.arity and value not in given else ()
        read = [v for v in seen if v < self.arity or v in given]
        read.sort(key=lambda v: (v in given, v in last, v))
        made = sorted(seen.difference(read))
        numbers = {value: number for number, value in enumerate([*read, *made])}
        calls = [replace(call, args=tuple(numbers[a] for a in call.args)) for call in map(self.call, made)]
        return Part(tuple(read), tuple(calls), tuple(numbers[value] for value in targets))


class Part(NamedTuple):
    """A part of a body: the values that it reads, by their old numbers, its calls, and its results."""

    reads: tuple[int, ...]
    calls: tuple[schema.Call, ...]
    results: tuple[int, ...]
