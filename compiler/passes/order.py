"""order: when each instruction runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import networkx as nx

from lazyflow.compiler import primitives
from lazyflow.compiler.dependences import Dependences, cycles
from lazyflow.compiler.graph import Graph, Op, Program, Value, Variable, make
from lazyflow.compiler.rewrite import clone
from lazyflow.compiler.scheduling import schedule
from lazyflow.compiler.sources import memory_of
from lazyflow.runtime.errors import GraphError, message


def order(graph: Graph) -> Graph:
    """Attach to each program the order of its instructions.

    Data comes before its use, readers of a variable's old value before what assigns it, and whatever can fail
    before every effect. A variable is copied where its old value is still needed after its next one exists.

    Args:
        graph: A graph behind ``batch_updates``.

    Returns:
        The graph with ``order`` set in its programs.

    >>> from lazyflow.compiler.text import from_text, to_text
    >>> print(to_text(order(from_text('''
    ...     %0 = variable name=w : float32[4, 4]
    ...     %1 = placeholder name=x : float32[4, 4]
    ...     assign name=w %1
    ...     %2 = matmul %0 %1 : float32[4, 4]
    ...     fetch w = %0
    ...     fetch y = %2'''))))
    %0 = variable name=w : float32[4, 4]
    %1 = placeholder name=x : float32[4, 4]
    assign name=w %1
    %2 = matmul %0 %1 : float32[4, 4]
    %3 = copy %0 : float32[4, 4]
    fetch w = %3
    fetch y = %2
    order %2 %3 !0
    """
    new_ops: dict[Op, None] = {}
    programs = {}
    for program in graph.programs.values():
        ops = graph.reachable([program])
        dependences = Dependences(ops, program)
        _refuse_late_failures(dependences)
        copied = _copied(dependences)
        if copied or _fetched_before(program, dependences):
            ops, program = _with_copies(ops, program, copied, dependences)
            dependences = Dependences(ops, program)
        sequence = schedule(dependences, dependences.graph(dependences.hazards()))
        new_ops.update(dict.fromkeys(ops))
        programs[program.name] = replace(program, order=sequence)
    return graph.replaced(list(new_ops), programs)


def _refuse_late_failures(dependences: Dependences) -> None:
    for op, late in zip(dependences.ops, dependences.late, strict=True):
        if late and op.primitive.can_fail:
            made = op.origins[0].location if op.origins else None
            raise GraphError(
                message(
                    f"{op.primitive.name}: needs what an assignment of this run gives, and could fail after "
                    "it has happened",
                    made=f"at {made}" if made else None,
                    hint="look up the value from before the run, or look it up in a program of its own",
                )
            )


def _copied(dependences: Dependences) -> set[tuple[Op, Variable]]:
    """The reads of old values that must be made from a copy: where no order of the ops keeps the value."""
    copied = {
        (op, variable)
        for number, op in enumerate(dependences.ops)
        for variable in dependences.reads[number]
        if dependences.writers.get(variable) == number and not _assigns_itself(op)
    }
    hazards = dependences.hazards()
    graph = dependences.graph(hazards)
    while circles := cycles(graph):
        graph = nx.DiGraph(graph.subgraph(set().union(*circles)))
        for nodes in circles:
            inside = [hazard for hazard in hazards if hazard[0] in nodes and hazard[1] in nodes]
            first = inside[0][2]
            gone = [hazard for hazard in inside if hazard[2] is first]
            graph.remove_edges_from((reader, writer) for reader, writer, _ in gone)
            hazards = [hazard for hazard in hazards if hazard not in gone]
            copied.update((dependences.ops[reader], variable) for reader, _, variable in gone)
    return copied


def _assigns_itself(op: Op) -> bool:
    return op.primitive is primitives.assign and op.inputs[0].op.primitive is primitives.variable


def _old_value(value: Value) -> Variable | None:
    """The variable whose value from before the run this is, or is a view of."""
    op = memory_of(value).op
    return op.attributes["variable"] if op.primitive is primitives.variable else None


def _fetched_before(program: Program, dependences: Dependences) -> bool:
    return any(_old_value(value) in dependences.writers for value in program.fetches.values())


def _with_copies(
    ops: Iterable[Op], program: Program, copied: set[tuple[Op, Variable]], dependences: Dependences
) -> tuple[list[Op], Program]:
    """The program with reads, and fetches of assigned variables, taken from copies of the variables."""
    copies = _Copies()
    effects: dict[Op, Op] = {}
    for op in ops:
        inputs = [
            copies.of(value) if (op, _old_value(value)) in copied else copies.values[value]
            for value in op.inputs
        ]
        new = op if tuple(inputs) == op.inputs else clone(op, inputs)
        copies.values.update(zip(op.outputs, new.outputs, strict=True))
        copies.ops.append(new)
        effects[op] = new
    fetches = {
        name: copies.of(value) if _old_value(value) in dependences.writers else copies.values[value]
        for name, value in program.fetches.items()
    }
    return copies.ops, replace(program, effects=[effects[op] for op in program.effects], fetches=fetches)


class _Copies:
    """A program being rebuilt, with copies of variables where they are asked for."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.values: dict[Value, Value] = {}
        self._copied: dict[Value, Value] = {}

    def of(self, value: Value) -> Value:
        """The value over a copy of the variable that it looks at."""
        if value not in self._copied:
            op = value.op
            if op.primitive is primitives.variable:
                new = make(primitives.copy, [value], {}, op.origins)
            else:
                new = clone(op, [self.of(op.inputs[0])])
            self.ops.append(new)
            self._copied[value] = new.output
        return self._copied[value]
