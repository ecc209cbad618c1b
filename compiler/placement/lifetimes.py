"""How long each value of a program is needed, and which results can take the memory of what they replace."""

from __future__ import annotations

from collections.abc import Iterator

from lazyflow.compiler import primitives
from lazyflow.compiler.graph import Op, Program, Value, Variable
from lazyflow.compiler.placement.arena import Span
from lazyflow.compiler.placement.layout import base_of, count, is_flat


class Lifetimes:
    """The memory that the instructions of a program need.

    Attributes:
        spans: One per piece of memory, by first instruction.
        pieces: The piece of each value that an instruction computes into the arena.
        in_place: Values that take the memory of another, which that instruction needs last.
        assigned: Values that are computed into the memory of the variable that they are the next value of.
    """

    def __init__(self, program: Program) -> None:
        self.spans: list[Span] = []
        self.pieces: dict[Value, int] = {}
        self.in_place: dict[Value, Value] = {}
        self.assigned: dict[Value, Variable] = {}
        self._order = program.order or ()
        self._bases: dict[Value, Value] = {}
        self._last = self._last_uses(program)
        self._find_assigned()
        for position, op in enumerate(self._order):
            if not op.primitive.effect and not op.primitive.view:
                self._compute(position, op)

    def base(self, value: Value) -> Value:
        """The value whose memory this one looks at."""
        if not value.op.primitive.view:
            return value
        if value not in self._bases:
            self._bases[value] = base_of(value)[0]
        return self._bases[value]

    def _last_uses(self, program: Program) -> dict[Value, int]:
        last = {}
        for position, op in enumerate(self._order):
            for value in op.inputs:
                last[self.base(value)] = position
        for value in program.fetches.values():
            last[self.base(value)] = len(self._order)
        return last

    def _find_assigned(self) -> None:
        """Find values that can be made in the memory that they are assigned to."""
        failing = max((n for n, op in enumerate(self._order) if op.primitive.can_fail), default=-1)
        positions = {op: position for position, op in enumerate(self._order)}
        leaves = [base for base in self._last if base.op.primitive is primitives.variable]
        old = {base.op.attributes["variable"]: base for base in leaves}
        for op in self._order:
            if op.primitive is not primitives.assign or op.when is not None:
                continue
            variable = op.attributes["variable"]
            value = self.base(op.inputs[0])
            made = positions.get(value.op, -1)
            if (
                made > failing
                and value not in self.assigned
                and not value.op.primitive.effect
                and _is_all(op.inputs[0], value)
                and self._may_replace(value, made, old.get(variable))
            ):
                self.assigned[value] = variable

    def _may_replace(self, value: Value, made: int, before: Value | None) -> bool:
        """Whether nothing needs the value from before once this one is made."""
        if before is None or self._last[before] < made:
            return True
        return self._last[before] == made and self._replaces(value, before)

    def _compute(self, position: int, op: Op) -> None:
        taken: set[int] = set()
        for value in op.outputs:
            if value in self.assigned:
                continue
            last = max(self._last.get(value, position), position)
            replaced = next((v for v in self._dying(position, value) if self.pieces[v] not in taken), None)
            if replaced is None:
                self.pieces[value] = len(self.spans)
                self.spans.append(Span(count(value.shape) * value.dtype.itemsize, position, last))
                continue
            piece = self.pieces[value] = self.pieces[replaced]
            taken.add(piece)
            self.in_place[value] = replaced
            self.spans[piece] = self.spans[piece]._replace(last=last)

    def _dying(self, position: int, output: Value) -> Iterator[Value]:
        """The values in the arena whose memory a result can take, as it is not needed after."""
        if output.op.primitive is primitives.kernel:
            for base in dict.fromkeys(self.base(value) for value in output.op.inputs):
                piece = self.pieces.get(base)
                if piece is not None and self.spans[piece].last == position and self._replaces(output, base):
                    yield base

    def _replaces(self, output: Value, base: Value) -> bool:
        """Whether a kernel reads each element of a value only at the index that writes the output's."""
        op = output.op
        reads = [number for number, value in enumerate(op.inputs) if self.base(value) is base]
        if op.primitive is not primitives.kernel or len(reads) != 1:
            return False
        value, maps = op.inputs[reads[0]], op.attributes["maps"]
        return (
            maps[reads[0]] == maps[len(op.inputs) + output.index]
            and value.shape == output.shape
            and base.dtype.itemsize == output.dtype.itemsize
            and _is_all(value, base)
            and written_last(op, output)
        )


def _is_all(value: Value, base: Value) -> bool:
    """Whether a value is all of what it looks at, in the same order."""
    return value is base or (count(value.shape) == count(base.shape) and is_flat(value))


def written_last(op: Op, output: Value) -> bool:
    """Whether a kernel makes this result in its last walk along the inner axes, so that none reads after it.

    Kernels without inner axes walk once. Row-level results of others are written apart from the elements.
    """
    attributes = op.attributes
    if not attributes["inner"]:
        return True
    walks, moves = _walks(op)
    result: int = attributes["results"][output.index]
    return moves[result] and walks[result] == max(w for w, m in zip(walks, moves, strict=True) if m)


def _walks(op: Op) -> tuple[list[int], list[bool]]:
    """For each value of a body the walk along the inner axes that makes it, and whether it varies there."""
    attributes = op.attributes
    maps = attributes["maps"][: len(op.inputs)]
    outer = len(attributes["space"]) - attributes["inner"]
    walks = [0] * len(maps)
    moves = [any(axis >= 0 for axis in map_[outer:]) for map_ in maps]
    for call in attributes["body"]:
        reduces = call.op in primitives.PRIMITIVES and primitives.PRIMITIVES[call.op].reduction
        walks.append(max((walks[arg] for arg in call.args), default=0) + reduces)
        if call.op == "index":
            moves.append(call.value >= outer)
        else:
            moves.append(not reduces and any(moves[arg] for arg in call.args))
    return walks, moves
