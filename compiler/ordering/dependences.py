"""What each instruction of a program needs: results of others, and old values of variables."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import networkx as nx

from lazyflow.compiler import primitives
from lazyflow.compiler.fusion.sources import is_view, memory_of
from lazyflow.compiler.graph import Op, Program, Value, Variable
from lazyflow.compiler.placement.layout import base_of
from lazyflow.runtime.dimensions import Size

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


def cycles(graph: nx.DiGraph[int]) -> Sequence[set[int]]:
    """The sets of nodes that cannot be ordered."""
    return [nodes for nodes in nx.strongly_connected_components(graph) if len(nodes) > 1]
