"""Computes at compile time what depends on constants only."""

from __future__ import annotations

from lazyflow.compiler.graph import Graph, Op, Value, make
from lazyflow.compiler.interpret import evaluate
from lazyflow.compiler.primitives import constant
from lazyflow.compiler.rewrite import Builder, rewrite


def fold_constants(graph: Graph) -> Graph:
    """Compute every op whose inputs are all constants, in its own dtype, with the reference functions.

    A result with more elements than the inputs have together is left alone: a plan should not carry an array
    that is quickly made from a number. What can fail is left alone, so that it fails in the run; a random
    draw reads the seed, a variable, and so never folds.

    >>> from lazyflow.compiler.text import from_text, to_text
    >>> print(to_text(fold_constants(from_text('''
    ...     %0 = placeholder name=x : float32[4]
    ...     %1 = constant value=2.0 : float32[]
    ...     %2 = add %1 %1 : float32[]
    ...     %3 = mul %0 %2 : float32[4]
    ...     fetch y = %3'''))))
    %0 = placeholder name=x : float32[4]
    %1 = constant value=2.0 : float32[]
    %2 = constant value=4.0 : float32[]
    %3 = mul %0 %2 : float32[4]
    fetch y = %3
    """
    return rewrite(graph, _fold, bodies=fold_constants)


def _fold(op: Op, builder: Builder) -> Value | None:
    if not op.inputs or op.primitive.can_fail:
        return None
    if any(value.op.primitive is not constant for value in op.inputs) or not _fits(op):
        return None
    (result,) = evaluate(op, [value.op.attributes["value"] for value in op.inputs], {})
    return builder.append(make(constant, (), {"value": result.copy()}, op.origins)).output


def _fits(op: Op) -> bool:
    """Whether the result has a static size, no larger than that of the inputs together."""
    size = 1
    for extent in op.output.shape:
        if not isinstance(extent, int):
            return False
        size *= extent
    return size <= sum(int(value.op.attributes["value"].size) for value in op.inputs)
