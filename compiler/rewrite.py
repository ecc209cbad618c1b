"""The one traversal that rebuilds a graph: rules see an op with its new inputs and may replace it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from lazyflow.compiler.graph import Graph, Op, Program, Value


def clone(op: Op, inputs: Iterable[Value]) -> Op:
    """The same op with other inputs of the same types."""
    types = tuple([value.type for value in op.outputs])
    return Op(op.primitive, tuple(inputs), op.attributes, types, op.origins)


class Builder:
    """A graph being rebuilt: the new ops, and the values that stand for those that go."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.values: dict[Value, Value] = {}  # no entry: the value stays

    def append(self, op: Op) -> Op:
        """Add a new op."""
        self.ops.append(op)
        return op

    def map(self, value: Value) -> Value:
        """The new value in place of an old one."""
        return self.values.get(value, value)

    def renewed(self, op: Op, attributes: dict[str, Any] | None = None) -> Op:
        """The op with its new inputs and attributes; the op itself where nothing changed."""
        values = self.values
        if attributes is None and values.keys().isdisjoint(op.inputs):
            return op
        new = clone(op, [values.get(value, value) for value in op.inputs])
        new.attributes = op.attributes if attributes is None else attributes
        return new

    def program(self, program: Program, effects: dict[Op, Op]) -> Program:
        """The program over the new ops; ``effects`` gives the new ones of effects that changed."""
        fetches = {name: self.map(value) for name, value in program.fetches.items()}
        feeds = tuple(dict.fromkeys(map(self.map, program.feeds)))
        return Program(program.name, [effects.get(op, op) for op in program.effects], fetches, feeds)


def rewrite(
    graph: Graph,
    rule: Callable[[Op, Builder], Value | None] | None,
    bodies: Callable[[Graph], Graph] | None = None,
) -> Graph:
    """Rebuild the graph, asking ``rule`` about each op that is no effect and has one output.

    The rule sees the op with its new inputs, may append new ops to the builder, and returns the value that
    stands for the op's output, or None to leave it alone. The input graph is not changed; it is the result
    where nothing is to change.

    Args:
        graph: The graph to rebuild.
        rule: Called once per op, in order; None where only bodies are rebuilt.
        bodies: Rebuilds the body of update ops: once where several share it, so that they still do.
    """
    builder = Builder()
    untouched = builder.values.keys().isdisjoint
    effects: dict[Op, Op] = {}
    rebuilt: dict[Graph, Graph] = {}
    for op in graph.ops:
        if op.primitive.effect:
            new = effects[op] = builder.renewed(op, _rebuilt(op, rebuilt, bodies))
        else:
            new = op if untouched(op.inputs) else builder.renewed(op)
            replacement = rule(new, builder) if rule is not None and len(op.outputs) == 1 else None
            if replacement is not None:
                builder.values[op.outputs[0]] = replacement
                continue
        builder.ops.append(new)
        if new is not op:
            builder.values.update(zip(op.outputs, new.outputs, strict=True))
    if not builder.values and len(builder.ops) == len(graph.ops) and effects.keys() == set(effects.values()):
        return graph
    programs = {name: builder.program(program, effects) for name, program in graph.programs.items()}
    return graph.replaced(builder.ops, programs)


def _rebuilt(
    op: Op, rebuilt: dict[Graph, Graph], bodies: Callable[[Graph], Graph] | None
) -> dict[str, Any] | None:
    """The attributes of an update op with its new body; None where that has not changed."""
    body = op.attributes.get("body")
    if bodies is None or not isinstance(body, Graph):
        return None
    if body not in rebuilt:
        rebuilt[body] = bodies(body)
    return None if rebuilt[body] is body else op.attributes | {"body": rebuilt[body]}
