"""order: when each instruction runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from lazyflow.compiler import primitives
from lazyflow.compiler.graph import Graph, Op, Program, Value, Variable, make
from lazyflow.compiler.ordering.dependences import Dependences, cycles, index_and_size
from lazyflow.compiler.ordering.scheduling import schedule
from lazyflow.compiler.placement.layout import base_of
from lazyflow.compiler.rewrite import clone
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
        late = dependences.unchecked()
        if late:
            ops, program = _with_checks(ops, program, late)
            dependences = Dependences(ops, program)
            _refuse(dependences.unchecked())
        copied = _copied(dependences)
        if copied or _fetched_before(program, dependences):
            ops, program = _with_copies(ops, program, copied, dependences)
            dependences = Dependences(ops, program)
        sequence = schedule(dependences, dependences.after(dependences.hazards()))
        new_ops.update(dict.fromkeys(ops))
        programs[program.name] = replace(program, order=sequence)
    return graph.replaced(list(new_ops), programs)


def _with_checks(ops: Iterable[Op], program: Program, late: Iterable[Op]) -> tuple[list[Op], Program]:
    """The program with the indices of ops that come after an effect checked by an op of its own before."""
    unchecked = set(late)
    rebuilt = _Rebuilt()
    for op in ops:
        if op not in unchecked or op.primitive is primitives.check_index:
            rebuilt.add(op, [rebuilt.values[value] for value in op.inputs])
            continue
        index, size = index_and_size(op)
        check = make(primitives.check_index, [rebuilt.values[index]], {"size": size}, op.origins)
        rebuilt.ops.append(check)
        rebuilt.add(op, [rebuilt.values[op.inputs[0]], check.output])
    return rebuilt.finished(program, rebuilt.values.__getitem__)


def _refuse(late: Iterable[Op]) -> None:
    for op in late:
        made = op.origins[0].location if op.origins else None
        raise GraphError(
            message(
                f"{op.primitive.name}: its index comes from an assignment of this run, so that it could fail "
                "after that has happened",
                made=f"at {made}" if made else None,
                hint="compute the index from the value before the run, or look it up in another program",
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
    after = dependences.after(hazards)
    while circles := cycles(after):
        after = {node: {n: None for n in after[node] if n in nodes} for nodes in circles for node in nodes}
        for nodes in circles:
            inside = [hazard for hazard in hazards if hazard[0] in nodes and hazard[1] in nodes]
            first = inside[0][2]
            gone = [hazard for hazard in inside if hazard[2] is first]
            hazards = [hazard for hazard in hazards if hazard not in gone]
            still = {(reader, writer) for reader, writer, _ in hazards}
            for pair in {(reader, writer) for reader, writer, _ in gone} - still:
                del after[pair[0]][pair[1]]
            copied.update((dependences.ops[reader], variable) for reader, _, variable in gone)
    return copied


def _assigns_itself(op: Op) -> bool:
    return op.primitive is primitives.assign and op.inputs[0].op.primitive is primitives.variable


def _old_value(value: Value) -> Variable | None:
    """The variable whose value from before the run this is, or is a view of."""
    op = base_of(value)[0].op
    return op.attributes["variable"] if op.primitive is primitives.variable else None


def _fetched_before(program: Program, dependences: Dependences) -> bool:
    return any(_old_value(value) in dependences.writers for value in program.fetches.values())


def _with_copies(
    ops: Iterable[Op], program: Program, copied: set[tuple[Op, Variable]], dependences: Dependences
) -> tuple[list[Op], Program]:
    """The program with reads, and fetches of assigned variables, taken from copies of the variables."""
    rebuilt = _Rebuilt()
    over: dict[Value, Value] = {}

    def copy_of(value: Value) -> Value:
        """The value over a copy of the variable that it looks at."""
        if value not in over:
            if value.op.primitive is primitives.variable:
                new = make(primitives.copy, [value], {}, value.op.origins)
            else:
                new = clone(value.op, [copy_of(value.op.inputs[0])])
            rebuilt.ops.append(new)
            over[value] = new.output
        return over[value]

    def fetched(value: Value) -> Value:
        return copy_of(value) if _old_value(value) in dependences.writers else rebuilt.values[value]

    for op in ops:
        from_copy = [(op, _old_value(value)) in copied for value in op.inputs]
        pairs = zip(op.inputs, from_copy, strict=True)
        rebuilt.add(op, [copy_of(value) if copy else rebuilt.values[value] for value, copy in pairs])
    return rebuilt.finished(program, fetched)


class _Rebuilt:
    """The ops of a program being rebuilt, and the new value of each old one."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.values: dict[Value, Value] = {}
        self._new: dict[Op, Op] = {}

    def add(self, op: Op, inputs: Sequence[Value]) -> None:
        """Take an op over with these inputs; the op itself where they are its own."""
        new = op if tuple(inputs) == op.inputs else clone(op, inputs)
        self._new[op] = new
        self.values.update(zip(op.outputs, new.outputs, strict=True))
        self.ops.append(new)

    def finished(self, program: Program, fetch: Callable[[Value], Value]) -> tuple[list[Op], Program]:
        """The ops that the program over them needs, and the program."""
        fetches = {name: fetch(value) for name, value in program.fetches.items()}
        new = replace(program, effects=[self._new[op] for op in program.effects], fetches=fetches)
        return Graph(ops=self.ops).reachable([new]), new
