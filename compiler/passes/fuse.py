"""fuse: elementwise ops and reductions become kernels."""

from __future__ import annotations

from lazyflow.compiler.fusion.fused import ProgramWriter, turned_products
from lazyflow.compiler.fusion.grouping import Grouping
from lazyflow.compiler.fusion.recompute import recompute
from lazyflow.compiler.fusion.sources import Sources
from lazyflow.compiler.graph import Graph, Op


def fuse(graph: Graph, merge: bool = True) -> Graph:
    """Make kernels of elementwise chains, and of reductions with what feeds and follows them.

    Args:
        graph: A graph without kernels.
        merge: Whether ops are grouped; else each becomes a kernel of its own.

    Returns:
        A graph without elementwise ops and reductions, in which each program has ops of its own.

    An op joins a group of its inputs where the domains fit: the same elements, or the rows of what the group
    reduces. Two reductions of a group run over the same axes. Costly work is done once; what is cheap may be
    computed again in a later kernel, where that saves memory.

    >>> from lazyflow.compiler.text import from_text, to_text
    >>> print(to_text(fuse(from_text('''
    ...     %0 = placeholder name=x : float32[batch, 10]
    ...     %1 = exp %0 : float32[batch, 10]
    ...     %2 = reduce_sum %1 axes=(1,) keepdims=True : float32[batch, 1]
    ...     %3 = div %1 %2 : float32[batch, 10]
    ...     fetch y = %3'''))))
    %0 = placeholder name=x : float32[batch, 10]
    %1 = kernel %0 space=(batch, 10) inner=1
        body={1=exp 0 :float32; 2=reduce_sum 1 :float32; 3=div 1 2 :float32}
        maps=((0, 1), (0, 1)) results=(3,) : float32[batch, 10]
    fetch y = %1
    """
    new_ops: list[Op] = []
    leaves: set[Op] = set()
    programs, reasons = {}, list(graph.reasons)
    for program in graph.programs.values():
        ops = graph.reachable([program])
        sources = Sources(ops, program, deep=merge)
        writer = ProgramWriter(sources, turned_products(program, ops) if merge else {})
        grouping = Grouping(ops, sources, merge)
        if merge:
            recompute(program, grouping)
        programs[program.name] = writer.write(program, grouping)
        new_ops += writer.ops
        leaves |= writer.leaves
        reasons += grouping.reasons + writer.reasons
    return graph.replaced([op for op in graph.ops if op in leaves] + new_ops, programs, reasons=reasons)
