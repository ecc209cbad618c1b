"""The passes in order: Graph in, Plan out."""

from __future__ import annotations

from collections.abc import Callable, Collection

from lazyflow.compiler.graph import Graph
from lazyflow.compiler.passes.batch_updates import batch_updates
from lazyflow.compiler.passes.emit import Arrays, emit
from lazyflow.compiler.passes.fold_constants import fold_constants
from lazyflow.compiler.passes.fuse import fuse
from lazyflow.compiler.passes.merge_common import merge_common
from lazyflow.compiler.passes.order import order
from lazyflow.compiler.passes.place_buffers import place_buffers
from lazyflow.compiler.passes.prune import prune
from lazyflow.compiler.passes.simplify import simplify
from lazyflow.runtime import schema

OPTIONAL: dict[str, Callable[[Graph], Graph]] = {
    "fold_constants": fold_constants,
    "simplify": simplify,
    "merge_common": merge_common,
}


def compile_graph(graph: Graph, skip: Collection[str] = ()) -> tuple[schema.Document, Arrays]:
    """Compile a graph."""
    graph = prune(graph)
    for name, run in OPTIONAL.items():
        graph = graph if name in skip else run(graph)
    graph = fuse(prune(graph), "fuse" not in skip)
    graph = place_buffers(order(batch_updates(graph, "batch_updates" not in skip)))
    return emit(graph, "")
