"""What each instruction of a program needs: results of others, and old values of variables."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import networkx as nx

from lazyflow.compiler import primitives
from lazyflow.compiler.graph import Op, Program, Value, Variable
from lazyflow.compiler.sources import is_view, memory_of

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
            self.reads.append(
                [s.attributes["variable"] for s in sources if s.primitive is primitives.variable]
            )
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

    def graph(self, hazards: Iterable[tuple[int, int, Variable]]) -> nx.DiGraph[int]:
        """The graph of kernels: an edge from each instruction to those that must come after it."""
        graph: nx.DiGraph[int] = nx.DiGraph()
        graph.add_nodes_from(range(len(self.ops)))
        graph.add_edges_from((n, number) for number, needed in enumerate(self.inputs) for n in needed)
        graph.add_edges_from((reader, writer) for reader, writer, _ in hazards)
        graph.add_edges_from(self._effects_after_failures())
        prints = [self.numbers[op] for op in self.program.effects if op.primitive is primitives.print_]
        graph.add_edges_from(itertools.pairwise(prints))
        return graph

    def _effects_after_failures(self) -> list[tuple[int, int]]:
        effects = [number for number, op in enumerate(self.ops) if op.primitive.effect]
        if not effects:
            return []
        first: dict[tuple[Value, object], int] = {}
        edges = []
        for number, op in enumerate(self.ops):
            if not op.primitive.can_fail:
                continue
            key = checked(op)
            known = first.setdefault(key, number)
            if known != number:  # the same index was found to be inside of an axis of the same size before
                edges.append((known, number))
            elif not self.late[number]:
                edges.append((number, BARRIER))
        return [*edges, *((BARRIER, number) for number in effects)] if edges else []


def checked(op: Op) -> tuple[Value, object]:
    """What can fail: the index in memory, and the size of the axis that it must lie in."""
    if op.primitive is primitives.check_index:
        return _index(op.inputs[0]), op.attributes["size"]
    shape = op.attributes["shape"] if op.primitive is primitives.scatter_add else op.inputs[0].shape
    return _index(op.inputs[1]), shape[op.attributes["axis"]]


def _index(value: Value) -> Value:
    """What an index looks at in whole; a slice is an index of its own."""
    while value.op.primitive.view and value.op.primitive is not primitives.slice_:
        value = value.op.inputs[0]
    return value


def cycles(graph: nx.DiGraph[int]) -> Sequence[set[int]]:
    """The sets of nodes that cannot be ordered."""
    return [nodes for nodes in nx.strongly_connected_components(graph) if len(nodes) > 1]
