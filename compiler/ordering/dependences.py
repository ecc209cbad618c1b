"""What each instruction of a program needs: results of others, and old values of variables."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TypeAlias

from lazyflow.compiler import primitives
from lazyflow.compiler.fusion.sources import is_view, memory_of
from lazyflow.compiler.graph import Op, Program, Value, Variable
from lazyflow.compiler.placement.layout import base_of
from lazyflow.runtime.dimensions import Size

After: TypeAlias = dict[int, dict[int, None]]  # the graph of kernels: a set that keeps its order per node

BARRIER = -1  # the node between the last op that can fail and the first effect


class Dependences:
    """The instructions of a program by number, and what each needs.

    Args:
        ops: The program's ops in order.
        program: The program.

    Attributes:
        ops: Those that are instructions: neither leaves nor views.
        inputs: For each instruction the numbers of those whose results it takes.
        reads: For each instruction the variables of which it takes the value from before the run.
        late: For each instruction whether it needs what an effect gives.
    """

    def __init__(self, ops: Iterable[Op], program: Program) -> None:
        self.program = program
        self.ops = [op for op in ops if not op.primitive.leaf and not is_view(op)]
        self.numbers = {op: number for number, op in enumerate(self.ops)}
        self.inputs: list[list[int]] = []
        self.reads: list[list[Variable]] = []
        self.late: list[bool] = []
        for op in self.ops:
            sources = dict.fromkeys(memory_of(value).op for value in op.inputs)
            numbers = [self.numbers[source] for source in sources if not source.primitive.leaf]
            self.inputs.append(numbers)
            bases = dict.fromkeys(base_of(value)[0].op for value in op.inputs)
            self.reads.append([b.attributes["variable"] for b in bases if b.primitive is primitives.variable])
            self.late.append(any(self.late[n] or self.ops[n].primitive.effect for n in numbers))
        self.writers = {v: number for number, op in enumerate(self.ops) for v in op.assigned}

    def hazards(self) -> list[tuple[int, int, Variable]]:
        """Readers of old values with the writers that must come after them, where data does not tell so."""
        found = []
        supplied = {number: set(self.inputs[number]) for number in set(self.writers.values())}
        for reader, variables in enumerate(self.reads):
            for variable in variables:
                writer = self.writers.get(variable)
                if writer is not None and reader != writer and reader not in supplied[writer]:
                    found.append((reader, writer, variable))
        return found

    def after(self, hazards: Iterable[tuple[int, int, Variable]]) -> After:
        """The graph of kernels: for each instruction those that must come after it."""
        failures = self._effects_after_failures()
        after: After = {number: {} for number in range(len(self.ops))}
        if failures:
            after[BARRIER] = {}
        for number, needed in enumerate(self.inputs):
            for before in needed:
                after[before][number] = None
        prints = [self.numbers[op] for op in self.program.effects if op.primitive is primitives.print_]
        waits = ((reader, writer) for reader, writer, _ in hazards)
        for before, number in itertools.chain(waits, failures, itertools.pairwise(prints)):
            after[before][number] = None
        return after

    def _effects_after_failures(self) -> list[tuple[int, int]]:
        effects = [number for number, op in enumerate(self.ops) if op.primitive.effect]
        if not effects:
            return []
        first: dict[tuple[Value, object], int] = {}
        edges = []
        for number, op in enumerate(self.ops):
            if not op.primitive.can_fail:
                continue
            known = first.setdefault(_checked(op), number)
            if known != number:  # the same index was found to be inside of an axis of the same size before
                edges.append((known, number))
            else:
                edges.append((number, BARRIER))
        return [*edges, *((BARRIER, number) for number in effects)] if edges else []

    def unchecked(self) -> list[Op]:
        """Ops that need what an effect gives and could then fail, as nothing has checked their index."""
        failing = [(op, late) for op, late in zip(self.ops, self.late, strict=True) if op.primitive.can_fail]
        known = {_checked(op) for op, late in failing if not late}
        return [op for op, late in failing if late and _checked(op) not in known]


def index_and_size(op: Op) -> tuple[Value, Size]:
    """What of an op can fail: its index, and the size of the axis that it must lie in."""
    if op.primitive is primitives.check_index:
        return op.inputs[0], op.attributes["size"]
    shape = op.attributes["shape"] if op.primitive is primitives.scatter_add else op.inputs[0].shape
    return op.inputs[1], shape[op.attributes["axis"]]


def _checked(op: Op) -> tuple[Value, Size]:
    """The index that an op looks at in whole, and the size; a slice is an index of its own."""
    value, size = index_and_size(op)
    while value.op.primitive.view and value.op.primitive is not primitives.slice_:
        value = value.op.inputs[0]
    return value, size


def waiting(after: After) -> dict[int, int]:
    """For each node of a graph of kernels how many come before it."""
    counts = dict.fromkeys(after, 0)
    for following in after.values():
        for node in following:
            counts[node] += 1
    return counts


def cycles(after: After) -> list[set[int]]:
    """The sets of nodes that cannot be ordered."""
    left = waiting(after)
    free = [node for node, before in left.items() if not before]
    while free:
        node = free.pop()
        del left[node]
        for following in after[node]:
            left[following] -= 1
            if not left[following]:
                free.append(following)
    if not left:
        return []
    import networkx as nx  # it takes longer to load than most graphs to compile, and few have a circle

    graph = nx.DiGraph((node, following) for node in left for following in after[node] if following in left)
    return [nodes for nodes in nx.strongly_connected_components(graph) if len(nodes) > 1]
