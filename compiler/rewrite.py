"""The one traversal that rebuilds a graph: rules see an op with its new inputs and may replace it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lazyflow.compiler.graph import Graph, Op, Program, Value


def clone(op: Op, inputs: Iterable[Value]) -> Op:
    """The same op with other inputs of the same types."""
    types = tuple(value.type for value in op.outputs)
    return Op(op.primitive, tuple(inputs), op.attributes, types, op.origins)


class Builder:
    """A graph being rebuilt: the new ops, and the new value of each old one."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.values: dict[Value, Value] = {}

    def append(self, op: Op) -> Op:
        """Add a new op."""
        self.ops.append(op)
        return op

    def map(self, value: Value) -> Value:
        """The new value in place of an old one."""
        return self.values[value]

    def keep(self, op: Op) -> Op:
        """Take an op over, with its new inputs; the op itself where nothing changed."""
        inputs = tuple(map(self.map, op.inputs))
        new = op if inputs == op.inputs else clone(op, inputs)
        self.values.update(zip(op.outputs, new.outputs, strict=True))
        return self.append(new)

    def program(self, program: Program, effects: dict[Op, Op]) -> Program:
        """The program over the new ops; ``effects`` maps old effect ops to new ones."""
        fetches = {name: self.map(value) for name, value in program.fetches.items()}
        feeds = tuple(dict.fromkeys(map(self.map, program.feeds)))
        return Program(program.name, [effects[op] for op in program.effects], fetches, feeds)


def rewrite(
    graph: Graph,
    rule: Callable[[Op, Builder], Value | None],
    bodies: Callable[[Graph], Graph] | None = None,
) -> Graph:
    """Rebuild the graph, asking ``rule`` about each op that is no effect and has one output.

    The rule sees the op with its new inputs, may append new ops to the builder, and returns the value that
    stands for the op's output, or None to leave it alone. The input graph is not changed.

    Args:
        graph: The graph to rebuild.
        rule: Called once per op, in order.
        bodies: Rebuilds the body of update ops: once where several share it, so that they still do.
    """
    builder = Builder()
    effects: dict[Op, Op] = {}
    rebuilt: dict[Graph, Graph] = {}
    for op in graph.ops:
        inputs = tuple(map(builder.map, op.inputs))
        new = op if inputs == op.inputs else clone(op, inputs)
        replacement = None if op.primitive.effect or len(op.outputs) != 1 else rule(new, builder)
        if replacement is not None:
            builder.values[op.output] = replacement
            continue
        body = op.attributes.get("body") if op.primitive.effect else None
        if bodies is not None and isinstance(body, Graph):
            rebuilt[body] = rebuilt.get(body) or bodies(body)
            new = clone(op, inputs)
            new.attributes = op.attributes | {"body": rebuilt[body]}
        builder.append(new)
        builder.values.update(zip(op.outputs, new.outputs, strict=True))
        if op.primitive.effect:
            effects[op] = new
    programs = {name: builder.program(program, effects) for name, program in graph.programs.items()}
    return graph.replaced(builder.ops, programs)
