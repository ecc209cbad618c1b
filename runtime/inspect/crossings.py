"""The order of nodes within their layers: neighbours of neighbours side by side, so that few lines cross."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

N = TypeVar("N", bound=Hashable)

_MANY = 4000  # links above which a sweep is dear
_SWEEPS = 24


def ordered(layers: Sequence[Sequence[N]], links: Sequence[tuple[N, N]]) -> list[list[N]]:
    """The layers with their nodes in the order with the fewest crossings that was found.

    Args:
        layers: Nodes from top to bottom.
        links: Pairs of nodes of neighbouring layers, the upper one first.
    """
    above: dict[N, list[N]] = defaultdict(list)
    below: dict[N, list[N]] = defaultdict(list)
    for upper, lower in links:
        above[lower].append(upper)
        below[upper].append(lower)
    current = [list(layer) for layer in layers]
    best, fewest = current, _crossings(current, below)
    for sweep in range(_SWEEPS if len(links) < _MANY else _SWEEPS // 4):
        if fewest == 0:
            break
        current = _down(current, above) if sweep % 2 == 0 else _down(current[::-1], below)[::-1]
        crossings = _crossings(current, below)
        if crossings < fewest:
            best, fewest = current, crossings
    return best


def _down(layers: Sequence[Sequence[N]], near: Mapping[N, Iterable[N]]) -> list[list[N]]:
    """Sort each layer by where its neighbours stand in the layer before."""
    place: dict[N, float] = {}
    result = []
    for layer in layers:
        keys = {}
        for number, node in enumerate(layer):
            others = [place[other] for other in near[node]]
            keys[node] = sum(others) / len(others) if others else number / max(1, len(layer) - 1)
        new = sorted(layer, key=keys.__getitem__)
        place = {node: number / max(1, len(new) - 1) for number, node in enumerate(new)}
        result.append(new)
    return result


def _crossings(layers: Sequence[Sequence[N]], below: Mapping[N, Iterable[N]]) -> int:
    """How many pairs of links cross."""
    count = 0
    for number in range(len(layers) - 1):
        place = {node: at for at, node in enumerate(layers[number + 1])}
        seen: list[int] = []
        for node in layers[number]:
            ends = sorted(place[other] for other in below[node])
            count += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return count
