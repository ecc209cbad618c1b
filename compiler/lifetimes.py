"""How long each value of a program is needed, and which results can take the memory of what they replace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lazyflow.compiler import primitives
from lazyflow.compiler.arena import Span
from lazyflow.compiler.graph import Op, Program, Value
from lazyflow.compiler.layout import base_of, count, is_flat


class Lifetimes:
    """The memory that the instructions of a program need.

    Attributes:
        spans: One per piece of memory, by first instruction.
        pieces: The piece of each value that an instruction computes into the arena.
        in_place: Values that take the memory of another, which that instruction needs last.
    """

    def __init__(self, program: Program) -> None:
        self.spans: list[Span] = []
        self.pieces: dict[Value, int] = {}
        self.in_place: dict[Value, Value] = {}
        order = program.order or ()
        self._bases: dict[Value, Value] = {}
        self._last = self._last_uses(order, program)
        for position, op in enumerate(order):
            if not op.primitive.effect and not op.primitive.view:
                self._compute(position, op)

    def base(self, value: Value) -> Value:
        """The value whose memory this one looks at."""
        if not value.op.primitive.view:
            return value
        if value not in self._bases:
            self._bases[value] = base_of(value)[0]
        return self._bases[value]

    def _last_uses(self, order: Sequence[Op], program: Program) -> dict[Value, int]:
        last = {}
        for position, op in enumerate(order):
            for value in op.inputs:
                last[self.base(value)] = position
        for value in program.fetches.values():
            last[self.base(value)] = len(order)
        return last

    def _compute(self, position: int, op: Op) -> None:
        taken: set[int] = set()
        for value in op.outputs:
            last = max(self._last.get(value, position), position)
            replaced = next(
                (v for v in self._dying(position, op, value) if self.pieces[v] not in taken), None
            )
            if replaced is None:
                self.pieces[value] = len(self.spans)
                self.spans.append(Span(count(value.shape) * value.dtype.itemsize, position, last))
                continue
            piece = self.pieces[value] = self.pieces[replaced]
            taken.add(piece)
            self.in_place[value] = replaced
            self.spans[piece] = self.spans[piece]._replace(last=last)

    def _dying(self, position: int, op: Op, output: Value) -> Iterator[Value]:
        """What a result of a kernel can replace: read here last, at the index that is written."""
        if op.primitive is not primitives.kernel:
            return
        maps = op.attributes["maps"]
        own = maps[len(op.inputs) + output.index]
        for value, map_ in zip(op.inputs, maps[: len(op.inputs)], strict=True):
            base = self.base(value)
            if (
                base in self.pieces
                and self.spans[self.pieces[base]].last == position
                and map_ == own
                and value.shape == output.shape
                and base.dtype.itemsize == output.dtype.itemsize
                and count(base.shape) == count(value.shape)
                and is_flat(value)
                and sum(self.base(other) is base for other in op.inputs) == 1
                and written_last(op, output)
            ):
                yield base


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
