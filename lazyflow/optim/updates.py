"""What a traced rule becomes in a program: one update op per parameter, or ops of the program.

A rule that works on elements is the body of one update op per parameter; the compiler makes all of them one
kernel. A rule that looks at the shape needs what no kernel over elements can do: products of matrices, means
of rows, temporaries. Its ops are written out in the program, once per parameter, and one ``assign`` per
variable takes each result. So every pass treats them as it treats a layer: they fuse, their temporaries get
places in the arena, and ``plan.summary()`` shows both.
"""

from __future__ import annotations

from collections.abc import Sequence

from lazyflow.compiler import primitives
from lazyflow.compiler.graph import Origin, Value, make
from lazyflow.context import GraphContext, ProgramContext
from lazyflow.ops.elementwise import where
from lazyflow.ops.shaping import reshaped
from lazyflow.optim.trace import Rule
from lazyflow.tensor import Tensor
from lazyflow.variable import Variable


def append_effects(
    graph: GraphContext,
    program: ProgramContext,
    rule: Rule,
    variables: Sequence[Variable],
    inputs: Sequence[Value],
    groups: int,
    when: Tensor | None = None,
    elements: int = 1,
) -> None:
    """Append to a program the update of one parameter and its state.

    Args:
        graph: The graph of the program.
        program: The open program.
        rule: The parameter's rule.
        variables: The parameter and its state.
        inputs: The elements that the rule reads, the int32 scalar that holds the parameter's group, and the
            columns of the rule.
        groups: The number of groups, which is the length of each column.
        when: A bool scalar; where it is false nothing changes.
        elements: How many of the inputs are elements: the gradient, or what was accumulated of it.
    """
    origins = graph.origin(variables[0].name)
    guards = [] if when is None else [when.value]
    if rule.shape is None:
        attributes = {
            "body": rule.body,
            "variables": tuple(variable.ir for variable in variables),
            "elements": elements,
            "guarded": when is not None,
        }
        op = make(primitives.update, [*inputs, *guards], attributes, origins)
        graph.append(program.add_effect(op))
        return
    member, *columns = inputs[elements:]
    scalars = [_row(Tensor(graph, column), Tensor(graph, member), groups).value for column in columns]
    given = [*(variable.value for variable in variables), *inputs[:elements], *scalars]
    results = _written_out(graph, rule, given, origins)
    for variable, result in zip(variables, results, strict=True):
        attributes = {"variable": variable.ir, "guarded": when is not None}
        value = reshaped(Tensor(graph, result), variable.shape).value
        graph.append(program.add_effect(make(primitives.assign, [value, *guards], attributes, origins)))


def _written_out(
    graph: GraphContext, rule: Rule, given: Sequence[Value], origins: tuple[Origin, ...]
) -> list[Value]:
    """Append the ops of a rule's body; the next values of the parameter and its state."""
    values: dict[Value, Value] = {}
    left = iter(given)
    for op in rule.body.ops:
        if op.primitive is primitives.placeholder:
            values[op.output] = reshaped(Tensor(graph, next(left)), op.output.shape).value
        else:
            new = make(op.primitive, [values[value] for value in op.inputs], op.attributes, origins)
            values[op.output] = graph.append(new).output
    return [values[value] for value in rule.body.programs["update"].fetches.values()]


def _row(column: Tensor, member: Tensor, groups: int) -> Tensor:
    """The element of a column that belongs to a group, as a scalar: chosen, so that no index can fail."""
    chosen = column[-1]
    for index in range(groups - 1):
        chosen = where(member == index, column[index], chosen)
    return chosen
