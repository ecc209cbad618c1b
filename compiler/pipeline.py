"""The passes in order: Graph in, Plan out."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import NamedTuple, TypeAlias

from lazyflow.compiler.graph import Graph, Op
from lazyflow.compiler.passes.batch_updates import batch_updates
from lazyflow.compiler.passes.emit import Arrays, emit
from lazyflow.compiler.passes.fold_constants import fold_constants
from lazyflow.compiler.passes.fuse import fuse
from lazyflow.compiler.passes.merge_common import merge_common
from lazyflow.compiler.passes.order import order
from lazyflow.compiler.passes.place_buffers import place_buffers
from lazyflow.compiler.passes.prune import prune
from lazyflow.compiler.passes.simplify import simplify
from lazyflow.compiler.passes.validate import validate
from lazyflow.compiler.primitives import placeholder, variable
from lazyflow.runtime import schema
from lazyflow.runtime.errors import ArgumentError, GraphError, message

Run: TypeAlias = Callable[[Graph], Graph]

FULL_CHECKS = "LAZYFLOW_CHECK"  # set in the environment, it infers all types again after each pass


class Pass(NamedTuple):
    """A pass, and what stands in for it where it is left out; None where it never is."""

    name: str
    run: Run
    without: Run | None = None


def _unchanged(graph: Graph) -> Graph:
    return graph


PASSES = (
    Pass("validate", validate),
    Pass("prune", prune),
    Pass("fold_constants", fold_constants, _unchanged),
    Pass("simplify", simplify, _unchanged),
    Pass("merge_common", merge_common, _unchanged),
    Pass("prune", prune),
    Pass("fuse", fuse, partial(fuse, merge=False)),
    Pass("batch_updates", batch_updates, partial(batch_updates, merge=False)),
    Pass("order", order),
    Pass("place_buffers", place_buffers),
)
OPTIONAL = tuple(each.name for each in PASSES if each.without is not None)


def compile_graph(
    graph: Graph, skip: Collection[str] = (), check: bool = False
) -> tuple[schema.Document, Arrays]:
    """Compile a graph.

    Args:
        graph: The graph as the user built it; it is not changed.
        skip: Names of optional passes to leave out; the numbers are the same.
        check: Whether to infer all types again after each pass, which takes as long as the passes.

    Returns:
        The document of the plan, and the array of each of its constants.

    Raises:
        GraphError: if the graph is not well formed.
        ShapeError: if a program mentions a dimension that none of its feeds binds.
    """
    *_, (_, final) = stages(graph, skip, check)
    return emit(final)


def stages(graph: Graph, skip: Collection[str] = (), check: bool = False) -> Iterator[tuple[str, Graph]]:
    """The name of each pass and the graph behind it, checked; arguments as for :func:`compile_graph`.

    >>> from lazyflow.compiler.text import from_text
    >>> graph = from_text('''
    ...     %0 = constant value=2.0 : float32[]
    ...     %1 = placeholder name=x : float32[3]
    ...     %2 = mul %0 %0 : float32[]
    ...     %3 = mul %1 %2 : float32[3]
    ...     fetch y = %3''')
    >>> for name, stage in stages(graph):
    ...     print(name, len(stage.ops))
    validate 4
    prune 4
    fold_constants 4
    simplify 4
    merge_common 4
    prune 3
    fuse 2
    batch_updates 2
    order 2
    place_buffers 2
    """
    unknown = sorted(set(skip) - set(OPTIONAL))
    if unknown:
        expected = f"some of {', '.join(OPTIONAL)}"
        raise ArgumentError(message(f"skip: {', '.join(unknown)}: no optional pass", expected=expected))
    full = check or bool(os.environ.get(FULL_CHECKS))
    for name, run, without in PASSES:
        before = graph.ops
        graph = without(graph) if without is not None and name in skip else run(graph)
        if full or graph.ops is not before:  # else it left the ops as they are
            fault = find_fault(graph, full)
            if fault is not None:
                raise GraphError(f"{name}: the graph that it made is not well formed: {fault}")
        yield name, graph


def find_fault(graph: Graph, full: bool = False) -> str | None:
    """What makes a graph not well formed, or None: ops behind those that they use, nothing missing.

    Args:
        graph: Any graph, between any two passes.
        full: Whether to infer all types again.
    """
    known = set(graph.variables)
    seen: set[Op] = set()
    for op in graph.ops:
        for value in op.inputs:
            if value.op not in seen:
                return f"{op.primitive} uses the result of {value.op.primitive}, which does not stand before"
        seen.add(op)
        if op.primitive is variable or op.primitive.effect:
            touched = (op.attributes["variable"],) if op.primitive is variable else op.assigned
            if not known.issuperset(touched):
                return f"{op.primitive} touches a variable that is not in the table"
        if full and op.primitive.infer([v.type for v in op.inputs], op.attributes) != _types(op):
            return f"{op.primitive} has types {_types(op)}, which its inputs do not give"
    for program in graph.programs.values():
        for op in (*program.roots(), *(program.order or ())):
            if op not in seen:
                return f"program {program.name} names {op.primitive}, which is not in the graph"
        if any(value.op.primitive is not placeholder for value in program.feeds):
            return f"program {program.name} has a feed that is no placeholder"
    return None


def _types(op: Op) -> tuple[object, ...]:
    return tuple(value.type for value in op.outputs)
