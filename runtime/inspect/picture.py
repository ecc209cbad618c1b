"""A picture before it is drawn: boxes, the arrows between them, and how many of them can be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from lazyflow.runtime.inspect.words import fitted

LARGEST = 400  # boxes that a picture shows; of a larger one, boxes are joined by scope

# kind of a box: what the legend calls it, its fill and its line
KINDS: dict[str, tuple[str, str, str]] = {
    "feed": ("placeholder", "#dbeafe", "#2563eb"),
    "parameter": ("parameter", "#fef3c7", "#b45309"),
    "variable": ("variable", "#fef9e7", "#ca8a04"),
    "constant": ("constant", "#f1f5f9", "#64748b"),
    "elementwise": ("elementwise", "#dcfce7", "#15803d"),
    "reduction": ("reduction", "#ccfbf1", "#0f766e"),
    "shape": ("view or copy", "#f8fafc", "#94a3b8"),
    "matmul": ("matmul", "#ede9fe", "#6d28d9"),
    "index": ("gather, scatter, check", "#fce7f3", "#be185d"),
    "kernel": ("kernel", "#dcfce7", "#15803d"),
    "update": ("update", "#ffedd5", "#c2410c"),
    "effect": ("assign or print", "#ffedd5", "#c2410c"),
    "fetch": ("fetch", "#e0e7ff", "#4338ca"),
    "program": ("program", "#e0e7ff", "#4338ca"),
    "scope": ("several ops", "#f5f5f4", "#57534e"),
    "elision": ("left out", "#ffffff", "#a8a29e"),
}


@dataclass(frozen=True)
class Box:
    """A node of a picture.

    Attributes:
        key: Its identity in the picture.
        kind: A key of ``KINDS``, which gives its colours.
        title: The user's name for it.
        notes: Lines below the title.
        tooltip: What more can be said, where the pointer rests on it.
        scope: The path of names that it stands in, outermost first.
    """

    key: str
    kind: str
    title: str
    notes: tuple[str, ...] = ()
    tooltip: str = ""
    scope: tuple[str, ...] = ()


@dataclass(frozen=True)
class Arrow:
    """A value that goes from one box to another; ``label`` is its type."""

    source: str
    target: str
    label: str = ""
    dashed: bool = False


@dataclass(frozen=True)
class Picture:
    """Boxes in the order of the computation, and arrows between them."""

    title: str
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    note: str = ""


def scoped(name: str) -> tuple[str, tuple[str, ...]]:
    """The title and the scope of an op called ``name``; gradients have scopes apart from what they are of.

    >>> scoped("encoder/linear/matmul"), scoped("encoder/linear/matmul/grad")
    (('matmul', ('encoder', 'linear')), ('matmul/grad', ('encoder gradients', 'linear')))
    """
    parts = name.split("/")
    own = 2 if parts[-1] == "grad" else 1
    scope, title = parts[:-own], "/".join(parts[-own:])
    if own == 2 and scope:
        scope[0] += " gradients"
    return title, tuple(scope)


def scope_of_variable(name: str) -> tuple[str, ...]:
    """The scope of a variable: that of the module which holds it."""
    return tuple(name.replace("/", ".").split(".")[:-1])


def readable(picture: Picture, largest: int = LARGEST) -> Picture:
    """The picture with at most ``largest`` boxes: joined by scope, and then with its middle left out.

    The note says what was done.
    """
    total = len(picture.boxes)
    if total <= largest:
        return picture
    deepest = max(len(box.scope) for box in picture.boxes)
    for depth in range(deepest, 0, -1):
        joined = _joined(picture, depth)
        if len(joined.boxes) <= largest:
            return replace(joined, note=f"{total:,} boxes, joined by scope into {len(joined.boxes):,}")
    return _without_middle(_joined(picture, 1), total, largest)


def _joined(picture: Picture, depth: int) -> Picture:
    """Boxes whose scopes begin with the same ``depth`` names become one."""

    def home(box: Box) -> str:
        return f"scope {'/'.join(box.scope[:depth])}" if box.scope else box.key

    def merged(key: str, members: Sequence[Box]) -> Box:
        if len(members) == 1:
            return replace(members[0], key=key)
        scope = members[0].scope[:depth]
        titles = tuple(dict.fromkeys(box.title for box in members))
        notes = (f"{len(members):,} ops", fitted(titles, 30))
        return Box(key, "scope", "/".join(scope), notes, _listed(members), scope)

    return grouped(picture, home, merged)


def _without_middle(picture: Picture, total: int, largest: int) -> Picture:
    """Only the first and the last boxes, with one that stands for all between."""
    half = (largest - 1) // 2
    kept = {box.key for box in (*picture.boxes[:half], *picture.boxes[-half:])}
    left_out = len(picture.boxes) - len(kept)

    def home(box: Box) -> str:
        return box.key if box.key in kept else "elision"

    def merged(key: str, members: Sequence[Box]) -> Box:
        if key != "elision":
            return members[0]
        return Box(key, "elision", f"… {left_out:,} boxes are not shown …", (), _listed(members))

    joined = f", joined by scope into {len(picture.boxes):,}" if len(picture.boxes) < total else ""
    note = f"{total:,} boxes{joined}, of which the first and the last {half} are shown"
    return replace(grouped(picture, home, merged), note=note)


def grouped(
    picture: Picture, home: Callable[[Box], str], merged: Callable[[str, Sequence[Box]], Box]
) -> Picture:
    """The picture with boxes joined.

    Args:
        picture: The picture.
        home: The key of the box that a box goes into; a joined box stands where its last member stood.
        merged: The box of this key for these members.
    """
    homes = {box.key: home(box) for box in picture.boxes}
    groups: dict[str, list[Box]] = {}
    for box in picture.boxes:
        members = groups.pop(homes[box.key], [])
        groups[homes[box.key]] = members
        members.append(box)
    boxes = tuple(merged(key, members) for key, members in groups.items())
    arrows = (replace(a, source=homes[a.source], target=homes[a.target]) for a in picture.arrows)
    return replace(picture, boxes=boxes, arrows=_thinned(a for a in arrows if a.source != a.target))


def _thinned(arrows: Iterable[Arrow]) -> tuple[Arrow, ...]:
    """One arrow per pair of boxes; it counts its values where they are several."""
    pairs: dict[tuple[str, str], list[Arrow]] = {}
    for arrow in arrows:
        pairs.setdefault((arrow.source, arrow.target), []).append(arrow)
    return tuple(
        parts[0] if len(parts) == 1 else replace(parts[0], label=f"{len(parts):,} values")
        for parts in pairs.values()
    )


def _listed(members: Sequence[Box], limit: int = 12) -> str:
    lines = [" ".join((box.title, *box.notes[:1])) for box in members[:limit]]
    return "\n".join([*lines, f"and {len(members) - limit:,} more"] if len(members) > limit else lines)
