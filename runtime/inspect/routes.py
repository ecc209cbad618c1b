"""Where lines run between boxes: along the points of the layers that they pass."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from lazyflow.runtime.inspect.picture import Arrow

Node: TypeAlias = tuple[str, int]  # a box (its key, 0), or the point where its lines pass layer n (key, n)


class Point(NamedTuple):
    """A place, in pixels from the top left."""

    x: float
    y: float


class Rectangle(NamedTuple):
    """Where a box is: its top left corner and its extents."""

    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        """The horizontal middle."""
        return self.x + self.width / 2


@dataclass
class Line:
    """The lines below one box: pieces between neighbouring points, and the ends that carry a head.

    Where ``up``, the heads point upwards, to the box: what it takes from a box further down.
    """

    source: str
    label: str
    dashed: bool
    up: bool
    pieces: dict[tuple[Point, Point], None] = field(default_factory=dict)
    heads: list[Point] = field(default_factory=list)


def node_at(rank: Mapping[str, int], key: str, number: int) -> Node:
    """What stands for a box's lines in a layer: the box itself, or the point that they pass."""
    return (key, 0) if number == rank[key] else (key, number)


class Router:
    """Leads lines from box to box along the points of the layers between."""

    def __init__(
        self,
        rank: Mapping[str, int],
        xs: Mapping[Node, float],
        tops: Sequence[float],
        bottoms: Sequence[float],
        places: Mapping[str, Rectangle],
    ) -> None:
        self.rank = rank
        self.xs = xs
        self.tops = tops
        self.bottoms = bottoms
        self.places = places

    def lines(self, arrows: Sequence[Arrow], labels: Mapping[str, str], up: bool) -> list[Line]:
        """One line per upper box; where ``up``, its arrows point to that box."""
        ends = {(a.target, a.source) if up else (a.source, a.target): a for a in arrows}
        ports = self._ports(ends)
        lines: dict[str, Line] = {}
        for (upper, lower), arrow in ends.items():
            line = lines.setdefault(upper, Line(upper, "" if up else labels[upper], arrow.dashed, up))
            points = self._points(upper, lower, ports[upper, lower])
            line.pieces.update(dict.fromkeys(pairwise(points)))
            line.heads.append(points[0] if up else points[-1])
        return list(lines.values())

    def _points(self, upper: str, lower: str, port: float) -> list[Point]:
        place = self.places[upper]
        first = self.rank[upper]
        points = [Point(place.middle, place.y + place.height)]
        if self.bottoms[first] > points[0].y:
            points.append(Point(place.middle, self.bottoms[first]))
        for number in range(first + 1, self.rank[lower]):
            x = self.xs[upper, number]
            points += [Point(x, self.tops[number]), Point(x, self.bottoms[number])]
        return [*points, Point(port, self.places[lower].y)]

    def _ports(self, ends: Iterable[tuple[str, str]]) -> dict[tuple[str, str], float]:
        """Where on the top of its lower box each arrow ends: spread in the order in which they come."""
        arriving: dict[str, list[tuple[float, str]]] = defaultdict(list)
        for upper, lower in ends:
            before = node_at(self.rank, upper, self.rank[lower] - 1)
            arriving[lower].append((self.xs[before], upper))
        ports = {}
        for lower, comers in arriving.items():
            place = self.places[lower]
            step = min(14.0, place.width * 0.7 / len(comers))
            for number, (_, upper) in enumerate(sorted(comers)):
                ports[upper, lower] = place.middle + (number - (len(comers) - 1) / 2) * step
        return ports
