"""Where the boxes and arrows of a picture go: layers from top to bottom, ordered so that few arrows cross.

Each box gets a layer below all that it takes values from. An arrow that passes several layers is led through
them along points; all arrows of one box share theirs, so that a value is one line that branches.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf

from lazyflow.runtime.inspect.crossings import ordered
from lazyflow.runtime.inspect.picture import Arrow, Box, Picture
from lazyflow.runtime.inspect.routes import Line, Node, Rectangle, Router, node_at
from lazyflow.runtime.inspect.words import clipped, fitted

TITLE_WIDTH, NOTE_WIDTH = 8.2, 6.05  # of a character of 12 and 10 pixels
LINE, PADDING = 14.0, 9.0
GAP_X, GAP_Y, LABEL_Y = 22.0, 30.0, 16.0
LANE = 10.0  # between lines that pass a layer
_SWEEPS = 16
_LONGEST_TITLE = 44
_WIDEST = 10  # boxes beside each other
_FARTHEST = 48  # layers that a line may pass


@dataclass(frozen=True)
class Arranged:
    """A picture with places."""

    picture: Picture
    width: float
    height: float
    places: Mapping[str, Rectangle]
    lines: Sequence[Line]


def title_of(box: Box) -> str:
    """The title as it is written into the box."""
    return clipped(box.title, _LONGEST_TITLE)


def notes_of(box: Box) -> list[str]:
    """The notes as they are written into the box."""
    return [clipped(note, _LONGEST_TITLE + 6) for note in box.notes]


def arrange(picture: Picture) -> Arranged:
    """Give every box and arrow of a picture its place."""
    rank = _ranks([box.key for box in picture.boxes], _edges(*_directed(picture)))
    picture = _without_far(picture, rank)
    forward, backward = _directed(picture)
    edges = _edges(forward, backward)
    layers, links = _with_points(rank, edges)
    layers = ordered(layers, links)
    labels = _labels(picture)
    widths = {(box.key, 0): _width(box, labels[box.key]) for box in picture.boxes}
    xs = _columns(layers, links, widths)
    tops, bottoms = _rows(layers, {box.key: box for box in picture.boxes}, labels)
    places = {
        box.key: Rectangle(
            xs[box.key, 0] - widths[box.key, 0] / 2, tops[rank[box.key]], widths[box.key, 0], _height(box)
        )
        for box in picture.boxes
    }
    router = Router(rank, xs, tops, bottoms, places)
    lines = router.lines(forward, labels, up=False) + router.lines(backward, labels, up=True)
    width = max((place.x + place.width for place in places.values()), default=0.0)
    return Arranged(picture, max([width, *xs.values()]), bottoms[-1] if bottoms else 0.0, places, lines)


def _directed(picture: Picture) -> tuple[list[Arrow], list[Arrow]]:
    """The arrows to later boxes, and those to earlier ones."""
    position = {box.key: number for number, box in enumerate(picture.boxes)}
    forward = [a for a in picture.arrows if position[a.source] < position[a.target]]
    return forward, [a for a in picture.arrows if position[a.source] > position[a.target]]


def _edges(forward: Iterable[Arrow], backward: Iterable[Arrow]) -> list[tuple[str, str]]:
    """Pairs of boxes, the upper one first."""
    return [(a.source, a.target) for a in forward] + [(a.target, a.source) for a in backward]


def _without_far(picture: Picture, rank: Mapping[str, int]) -> Picture:
    """Arrows that would pass too many layers become notes of the boxes that they lead to."""
    titles = {box.key: box.title for box in picture.boxes}
    far: dict[str, list[str]] = defaultdict(list)
    near = []
    for arrow in picture.arrows:
        if abs(rank[arrow.target] - rank[arrow.source]) <= _FARTHEST:
            near.append(arrow)
        else:
            far[arrow.target].append(titles[arrow.source])
    boxes = (
        replace(box, notes=(*box.notes, f"takes {fitted(far[box.key], 30)}")) if box.key in far else box
        for box in picture.boxes
    )
    return replace(picture, boxes=tuple(boxes), arrows=tuple(near)) if far else picture


def _labels(picture: Picture) -> dict[str, str]:
    """What is written below each box: the types of its values, unless the box says them itself."""
    notes = {box.key: box.notes for box in picture.boxes}
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for arrow in picture.arrows:
        if arrow.label and arrow.label not in notes[arrow.source]:
            found[arrow.source][arrow.label] = None
    labels: dict[str, str] = defaultdict(str)
    for source, each in found.items():
        labels[source] = ", ".join(each) if len(each) <= 2 else f"{len(each)} types"
    return labels


def _width(box: Box, label: str) -> float:
    notes = max(map(len, [*notes_of(box), label]))
    return max(len(title_of(box)) * TITLE_WIDTH, notes * NOTE_WIDTH, 40.0) + 2 * PADDING


def _height(box: Box) -> float:
    return LINE * (1 + len(box.notes)) + PADDING + 3


# --- layers -----------------------------------------------------------------------------------------------


def _ranks(keys: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Each box below its sources, by the longest path; then just above the first box that needs it."""
    sources: dict[str, list[str]] = defaultdict(list)
    targets: dict[str, list[str]] = defaultdict(list)
    for source, target in edges:
        sources[target].append(source)
        targets[source].append(target)
    rank: dict[str, int] = {}
    for key in keys:
        rank[key] = max((rank[source] + 1 for source in sources[key]), default=0)
    for key in reversed(keys):
        if targets[key]:
            rank[key] = min(rank[target] for target in targets[key]) - 1
    seen: Counter[int] = Counter()
    rows: dict[str, tuple[int, int]] = {}  # a layer of many boxes becomes several
    for key in keys:
        rows[key] = (rank[key], seen[rank[key]] // _WIDEST)
        seen[rank[key]] += 1
    used = {row: place for place, row in enumerate(sorted(set(rows.values())))}
    return {key: used[row] for key, row in rows.items()}


def _with_points(
    rank: Mapping[str, int], edges: Iterable[tuple[str, str]]
) -> tuple[list[list[Node]], list[tuple[Node, Node]]]:
    """The layers with the points that lines pass, and the links between neighbouring layers."""
    layers: list[list[Node]] = [[] for _ in range(max(rank.values(), default=-1) + 1)]
    for key, number in rank.items():
        layers[number].append((key, 0))
    links: dict[tuple[Node, Node], None] = {}
    reached = dict(rank)  # how far down the points of each box go
    for source, target in edges:
        for number in range(reached[source] + 1, rank[target]):
            links[node_at(rank, source, number - 1), (source, number)] = None
            layers[number].append((source, number))
            reached[source] = number
        links[node_at(rank, source, rank[target] - 1), (target, 0)] = None
    return layers, list(links)


# --- places -----------------------------------------------------------------------------------------------


def _columns(
    layers: Sequence[Sequence[Node]], links: Iterable[tuple[Node, Node]], widths: Mapping[Node, float]
) -> dict[Node, float]:
    """The horizontal middle of each node: near its neighbours, in the order of its layer, without overlap."""
    above: dict[Node, list[Node]] = defaultdict(list)
    below: dict[Node, list[Node]] = defaultdict(list)
    for upper, lower in links:
        above[lower].append(upper)
        below[upper].append(lower)
    spaces = [[0.0, *(_space(left, right, widths) for left, right in pairwise(layer))] for layer in layers]
    x: dict[Node, float] = {}
    for layer, space in zip(layers, spaces, strict=True):
        left = -sum(space) / 2
        for node, gap in zip(layer, space, strict=True):
            left += gap
            x[node] = left
    numbers = range(len(layers))
    for sweep in range(_SWEEPS):
        near = (above, below)[sweep % 2]
        for number in numbers if sweep % 2 == 0 else reversed(numbers):
            both = sweep >= _SWEEPS - 4
            wanted = [_wanted(node, near, above, below, both, x) for node in layers[number]]
            x.update(zip(layers[number], _packed(wanted, spaces[number], layers[number]), strict=True))
    _straighten(layers, spaces, x)
    left = min((x[node] - widths.get(node, LANE) / 2 for node in x), default=0.0)
    return {node: place - left for node, place in x.items()}


def _space(left: Node, right: Node, widths: Mapping[Node, float]) -> float:
    """The distance between the middles of neighbours."""
    boxes = left in widths or right in widths
    return (widths.get(left, 0.0) + widths.get(right, 0.0)) / 2 + (GAP_X if boxes else LANE)


def _wanted(
    node: Node,
    near: Mapping[Node, list[Node]],
    above: Mapping[Node, list[Node]],
    below: Mapping[Node, list[Node]],
    both: bool,
    x: Mapping[Node, float],
) -> float:
    """Where a node would like to be: the middle of its neighbours; a point of a line, straight below it."""
    if node[1] and above[node]:
        line = [*above[node], *(other for other in below[node] if other[1])]
        return sum(x[other] for other in line) / len(line)
    others = [*above[node], *below[node]] if both else near[node]
    return sum(x[other] for other in others) / len(others) if others else x[node]


def _packed(wanted: Sequence[float], spaces: Sequence[float], layer: Sequence[Node]) -> list[float]:
    """The places nearest to the wanted ones that keep the order and the spaces (isotonic regression)."""
    shift, shifts = 0.0, []
    for space in spaces:
        shift += space
        shifts.append(shift)
    blocks: list[tuple[float, float, int]] = []  # mean, weight, length
    for want, offset, node in zip(wanted, shifts, layer, strict=True):
        mean, weight, length = want - offset, 4.0 if node[1] else 1.0, 1
        while blocks and blocks[-1][0] > mean:
            other, others, count = blocks.pop()
            mean = (mean * weight + other * others) / (weight + others)
            weight, length = weight + others, length + count
        blocks.append((mean, weight, length))
    means = [mean for mean, _, length in blocks for _ in range(length)]
    return [mean + offset for mean, offset in zip(means, shifts, strict=True)]


def _straighten(
    layers: Sequence[Sequence[Node]], spaces: Sequence[Sequence[float]], x: dict[Node, float]
) -> None:
    """Move the points of each line onto one vertical, for as many layers as its neighbours leave room."""
    runs: dict[str, tuple[list[Node], float, float]] = {}
    for layer, space in zip(layers, spaces, strict=True):
        for at, node in enumerate(layer):
            key, number = node
            if not number:
                continue
            low = x[layer[at - 1]] + space[at] if at else -inf
            high = x[layer[at + 1]] - space[at + 1] if at + 1 < len(layer) else inf
            run, lowest, highest = runs.pop(key, ([], -inf, inf))
            if max(low, lowest) > min(high, highest):
                run, lowest, highest = [], -inf, inf
            runs[key] = ([*run, node], max(low, lowest), min(high, highest))
            middle = sum(x[other] for other in runs[key][0]) / len(runs[key][0])
            place = min(max(middle, runs[key][1]), runs[key][2])
            x.update(dict.fromkeys(runs[key][0], place))


def _rows(
    layers: Sequence[Sequence[Node]], boxes: Mapping[str, Box], labels: Mapping[str, str]
) -> tuple[list[float], list[float]]:
    """The top of each layer, and how far down its boxes with their labels reach."""
    tops: list[float] = []
    bottoms: list[float] = []
    for layer in layers:
        here = [boxes[key] for key, number in layer if number == 0]
        tops.append(bottoms[-1] + GAP_Y if bottoms else 0.0)
        heights = (_height(box) + (LABEL_Y if labels[box.key] else 0.0) for box in here)
        bottoms.append(tops[-1] + max(heights, default=0.0))
    return tops, bottoms
