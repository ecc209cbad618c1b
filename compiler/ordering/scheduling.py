"""The order of instructions that frees memory soonest, among those that the graph of kernels allows."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from lazyflow.compiler.graph import Op, Value
from lazyflow.compiler.ordering.dependences import BARRIER, After, Dependences, waiting
from lazyflow.compiler.placement.arena import typical
from lazyflow.compiler.placement.layout import base_of, count

_FEW = 8  # users: with more, a value is not freed by the choice between two of them


def schedule(dependences: Dependences, after: After) -> tuple[Op, ...]:
    """The instructions in order: next is what frees more than it needs, else the earliest of the program.

    Where the earliest shares an input with another that could run as well, the one that needs less is first.
    Names count as a typical number.

    Args:
        dependences: The instructions of a program.
        after: Their order, as far as it is given: without cycles.
    """
    return tuple(dependences.ops[n] for n in _Schedule(dependences, after).run() if n != BARRIER)


class _Schedule:
    """A list schedule over numbered instructions."""

    def __init__(self, dependences: Dependences, after: After) -> None:
        self._after = after
        self._waiting = waiting(after)
        self._done: set[int] = set()
        self._earliest: list[int] = []
        self._freeing: list[tuple[int, int]] = []
        self._inputs: dict[int, list[Value]] = {BARRIER: []}
        self._made: dict[int, int] = {BARRIER: 0}
        self._users: dict[Value, list[int]] = {}
        self._bytes: dict[Value, int] = {}
        for number, op in enumerate(dependences.ops):
            self._note(number, op)
        self._left = {value: len(users) for value, users in self._users.items()}
        for value in dependences.program.fetches.values():
            self._left[base_of(value)[0]] = -1  # never freed

    def _note(self, number: int, op: Op) -> None:
        self._made[number] = 0
        if not op.primitive.effect and not op.primitive.view:
            for value in op.outputs:
                self._bytes[value] = typical(count(value.shape)) * value.dtype.itemsize
            self._made[number] = sum(self._bytes[value] for value in op.outputs)
        bases = dict.fromkeys(base_of(value)[0] for value in op.inputs)
        self._inputs[number] = [base for base in bases if base in self._bytes]
        for base in self._inputs[number]:
            self._users.setdefault(base, []).append(number)

    def run(self) -> Iterator[int]:
        """The numbers in order."""
        for first in [number for number, before in self._waiting.items() if not before]:
            self._enable(first)
        while (number := self._next()) is not None:
            self._done.add(number)
            yield number
            for value in self._inputs[number]:
                self._use(value)
            for following in self._after[number]:
                self._waiting[following] -= 1
                if not self._waiting[following]:
                    self._enable(following)

    def _enable(self, number: int) -> None:
        heapq.heappush(self._earliest, number)
        self._look_at(number)

    def _look_at(self, number: int) -> None:
        """Note an instruction that can run, if it frees memory."""
        growth = self._growth(number)
        if growth < 0:
            heapq.heappush(self._freeing, (growth, number))

    def _growth(self, number: int) -> int:
        """By how many bytes the memory in use grows when the instruction has run."""
        freed = sum(self._bytes[value] for value in self._inputs[number] if self._left[value] == 1)
        return self._made[number] - freed

    def _use(self, value: Value) -> None:
        self._left[value] -= 1
        if self._left[value] == 1:
            last = next(user for user in self._users[value] if user not in self._done)
            if not self._waiting[last]:
                self._look_at(last)

    def _next(self) -> int | None:
        while self._freeing:
            freeing = heapq.heappop(self._freeing)[1]
            if freeing not in self._done:
                return freeing
        while self._earliest and self._earliest[0] in self._done:
            heapq.heappop(self._earliest)
        if not self._earliest:
            return None
        return min(self._rivals(self._earliest[0]), key=lambda number: (self._growth(number), number))

    def _rivals(self, number: int) -> set[int]:
        """The instruction, and those that could run instead and use one of its inputs."""
        shared = (self._users[value] for value in self._inputs[number])
        users = {user for group in shared if len(group) <= _FEW for user in group}
        return {number} | {user for user in users if user not in self._done and not self._waiting[user]}
