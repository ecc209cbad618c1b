"""fuse: elementwise ops and reductions become kernels."""

from __future__ import annotations

from lazyflow.compiler.fused import ProgramWriter, turned_products
from lazyflow.compiler.graph import Graph, Op
from lazyflow.compiler.grouping import Grouping
from lazyflow.compiler.recompute import recompute
from lazyflow.compiler.sources import Sources


def fuse(graph: Graph, merge: bool = True) -> Graph:
    """Make kernels of elementwise chains, and of reductions with what feeds and follows them.

    Args:
        graph: A graph without kernels.
        merge: Whether ops are grouped; else each becomes a kernel of its own.

    Returns:
        A graph without elementwise ops and reductions, in which each program has ops of its own.
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
