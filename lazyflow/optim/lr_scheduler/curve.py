"""The curve of a schedule: the ops that a plan has for one step, evaluated on many steps at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from lazyflow.append import placeholder
from lazyflow.compiler import graph as ir
from lazyflow.compiler import primitives
from lazyflow.compiler.graph import Op, Value, make
from lazyflow.compiler.interpret import interpret
from lazyflow.context import GraphContext, opened
from lazyflow.runtime.dtypes import float64
from lazyflow.runtime.errors import GraphError, message
from lazyflow.tensor import Tensor

Rates = npt.NDArray[np.float64]


def evaluate(rate: Callable[[Tensor, Tensor], Tensor], base: float, steps: Rates, what: str) -> Rates:
    """The rate at each of the steps, with the bits that a plan computes on the ``numpy`` backend.

    Args:
        rate: From the base rate and the step, float64 scalars, to the rate.
        base: The base rate.
        steps: The steps.
        what: The schedule, for messages.

    Raises:
        GraphError: if the rate depends on something besides the base rate and the step.
    """
    graph = GraphContext("curve")
    graph.is_rule = True  # a variable of the user's would be adopted by it
    program = graph.ir.programs["curve"] = ir.Program("curve")
    with opened(graph):
        given = {"base": placeholder("base", (), float64), "step": placeholder("step", (), float64)}
        try:
            program.fetches["rate"] = rate(given["base"], given["step"]).value
        except GraphError as error:
            raise GraphError(
                message(
                    f"{what}: the rate depends on more than the base rate and the step",
                    because=str(error).splitlines()[0],
                    hint="fetch optimizer.lr in a program, and run it",
                )
            ) from None
    widened = _widened(graph.ir, given["step"].value, len(steps))
    if widened is not None:
        rates = interpret(widened, "curve", {"base": base, "step": steps})[0]["rate"]
        return np.array(np.broadcast_to(rates, steps.shape))
    each = [interpret(graph.ir, "curve", {"base": base, "step": step})[0]["rate"] for step in steps]
    return np.array(each, np.float64)


def _widened(graph: ir.Graph, step: Value, count: int) -> ir.Graph | None:
    """The same ops on ``count`` steps: all that follows from the step gets a first axis of this size.

    None where an op has no such reading.
    """
    result = ir.Graph(graph.name)
    values: dict[Value, Value] = {}
    varying: set[Value] = set()
    for op in graph.reachable():
        if op.output is step:
            attributes = op.attributes | {"shape": (count,)}
            new: Op | None = make(op.primitive, (), attributes, op.origins)
        elif varying.isdisjoint(op.inputs):
            new = make(op.primitive, [values[v] for v in op.inputs], op.attributes, op.origins)
        else:
            new = _with_first_axis(op, [(values[v], v in varying) for v in op.inputs], count, result)
        if new is None:
            return None
        if op.output is step or not varying.isdisjoint(op.inputs):
            varying.add(op.output)
        values[op.output] = result.append(new).output
    fetches = {name: values[value] for name, value in graph.programs["curve"].fetches.items()}
    result.programs["curve"] = ir.Program("curve", fetches=fetches)
    return result


def _with_first_axis(op: Op, inputs: Sequence[tuple[Value, bool]], count: int, graph: ir.Graph) -> Op | None:
    """The op on values of which those marked have the first axis."""
    attributes, given = op.attributes, [value for value, _ in inputs]
    if op.primitive.elementwise:
        rank = len(op.output.shape) + 1
        given = [_aligned(value, rank, count, graph) if varies else value for value, varies in inputs]
    elif op.primitive.reduction:
        attributes = attributes | {"axes": tuple(axis + 1 for axis in attributes["axes"])}
    elif op.primitive is not primitives.gather or attributes["axis"] or attributes["along"] or inputs[0][1]:
        return None
    return make(op.primitive, given, attributes, op.origins)


def _aligned(value: Value, rank: int, count: int, graph: ir.Graph) -> Value:
    """The value with axes of size 1 behind its first, so that it broadcasts as it did without it."""
    shape = (count, *(1,) * (rank - len(value.shape)), *value.shape[1:])
    if shape == value.shape:
        return value
    return graph.append(make(primitives.reshape, [value], {"shape": shape})).output
