"""What ``run_many`` is given: the feeds of each run, or arrays that hold a value per run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lazyflow.runtime.backends.backend import Ran, Steps
from lazyflow.runtime.errors import FeedError, message
from lazyflow.runtime.feeds import Feeds
from lazyflow.runtime.values import count_axes, show

Array: TypeAlias = NDArray[Any]
Batches: TypeAlias = Iterable[Mapping[str, object]] | Mapping[str, Array]
Part: TypeAlias = list[Mapping[str, object]] | Mapping[str, Array]
Read: TypeAlias = Callable[[Mapping[str, object]], tuple[Mapping[str, Array], Mapping[str, int], bool]]

_MOST_RUNS = 1024  # of a group
_MOST_BYTES = 1 << 22  # of the arrays that a group holds in place of a caller's: casts and copies


def count_runs(batches: Mapping[str, Array], placeholders: Feeds) -> int:
    """How many runs stacked arrays are for.

    Raises:
        FeedError: if one is unknown, has not the rank of its placeholder and one more, or they differ in
            length.
    """
    placeholders.check_known(batches)
    lengths: dict[str, int] = {}
    for name, array in batches.items():
        rank = len(placeholders.rows[name].shape)
        if not isinstance(array, np.ndarray) or array.ndim != rank + 1:
            raise _not_stacked(name, array, rank)
        lengths[name] = len(array)
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise FeedError(f"run_many: the feeds hold different numbers of runs: {counts}")
    return next(iter(lengths.values()), 0)


def _not_stacked(name: str, value: object, rank: int) -> FeedError:
    headline = f"run_many: feed {name!r} does not hold one value per run"
    found, hint = type(value).__name__, None
    if isinstance(value, list | tuple):
        found = f"a {found} of {len(value)}"
        hint = f"np.stack(...) of the values of all runs, or a list of feeds: [{{{name!r}: ...}}, ...]"
    elif isinstance(value, np.ndarray):
        found = f"{value.dtype.name} of shape {show(value.shape)}"
        hint = f"array[None] for one run, or a list of feeds: [{{{name!r}: array}}, ...]"
    expected = f"a numpy array with {count_axes(rank + 1)}, the first of which is the run"
    return FeedError(message(headline, expected=expected, found=found, hint=hint))


def unstacked(batches: Mapping[str, Array], runs: int) -> Iterator[dict[str, Array]]:
    """The feeds of each run."""
    for run in range(runs):
        yield {name: array[run, ...] for name, array in batches.items()}


def in_blocks(stacked: Mapping[str, Array], runs: int, held: int) -> Iterator[Mapping[str, Array]]:
    """Stacked arrays, so many runs at a time that these take few bytes beside them.

    Args:
        stacked: Arrays whose first axis is the run.
        runs: How many there are; at least one.
        held: The bytes that each of them takes.
    """
    count = max(1, min(runs, _MOST_BYTES // held)) if held else runs
    for start in range(0, runs, count):
        yield {name: array[start : start + count] for name, array in stacked.items()}


def parted(batches: Iterable[Mapping[str, object]], count: int) -> Iterator[Part]:
    """The batches, as many at a time as ``count``; an error of theirs comes after those that they gave."""
    iterator = iter(batches)
    part: list[Mapping[str, object]] = []
    try:
        for batch in iterator:
            part.append(batch)
            if len(part) == count:
                yield part
                part = []
    except Exception:
        if part:
            yield part
        raise
    if part:
        yield part


def grouped(batches: Iterable[Mapping[str, object]], read: Read) -> Iterator[Steps]:
    """The runs of batches, those of equal sizes together.

    Args:
        batches: The feeds of each run.
        read: Gives the arrays of a batch, the values of its dimensions, and whether the runs before it change
            what it holds: it is asked again when they have happened.

    Raises:
        FeedError: as ``read``, when the runs before have been given out.
    """
    group = _Group()
    for batch in batches:
        try:
            arrays, sizes, changing = read(batch)
        except Exception:
            yield from group.steps()
            raise
        if changing or sizes != group.sizes or group.full:
            yield from group.steps()
            group = _Group()
            if changing:
                arrays, sizes, _ = read(batch)
        group.add(arrays, sizes, copied=arrays is not batch)
    yield from group.steps()


class Results:
    """What the runs gave so far.

    Args:
        every: Whether to keep the fetches of all of them, or of the last.
    """

    def __init__(self, every: bool) -> None:
        self.every = every
        self.runs = 0
        self.fetches: list[dict[str, Array]] = []

    def add(self, ran: Ran) -> None:
        """Take what further runs gave."""
        self.runs += ran.runs
        if not self.every:
            self.fetches.clear()
        self.fetches += ran.fetches


class _Group:
    """Runs of equal sizes."""

    def __init__(self) -> None:
        self.sizes: Mapping[str, int] | None = None
        self._runs: list[Mapping[str, Array]] = []
        self._copied = 0

    @property
    def full(self) -> bool:
        return len(self._runs) >= _MOST_RUNS or self._copied >= _MOST_BYTES

    def add(self, arrays: Mapping[str, Array], sizes: Mapping[str, int], copied: bool) -> None:
        self.sizes = sizes
        self._runs.append(arrays)
        if copied:
            self._copied += sum(array.nbytes for array in arrays.values())

    def steps(self) -> Iterator[Steps]:
        """The runs, if there are any."""
        if self._runs and self.sizes is not None:
            moving: dict[str, Array | list[Array]] = {
                name: [arrays[name] for arrays in self._runs] for name in self._runs[0]
            }
            yield Steps(len(self._runs), self.sizes, {}, moving)
