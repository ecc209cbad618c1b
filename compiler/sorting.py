"""The order in which a rebuilt graph lists its ops."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from lazyflow.runtime.errors import GraphError


def stable_order(keys: Sequence[int], successors: Sequence[Sequence[int]]) -> list[int]:
    """The nodes, each behind its predecessors; of those that may come next, the one of lowest key.

    Args:
        keys: One number per node; ties go to the node of lower number.
        successors: For each node, the distinct nodes that must come after it.

    >>> stable_order([0, 1, 2], [[2], [], [1]])
    [0, 2, 1]
    """
    waiting = [0] * len(keys)
    for following in successors:
        for node in following:
            waiting[node] += 1
    ready = [(key, node) for node, key in enumerate(keys) if not waiting[node]]
    heapq.heapify(ready)
    result = []
    while ready:
        node = heapq.heappop(ready)[1]
        result.append(node)
        for following_node in successors[node]:
            waiting[following_node] -= 1
            if not waiting[following_node]:
                heapq.heappush(ready, (keys[following_node], following_node))
    if len(result) < len(keys):
        raise GraphError("order: the nodes depend on each other in a circle")
    return result
