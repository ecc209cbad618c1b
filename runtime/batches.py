"""What ``run_many`` is given: the feeds of each run, or arrays that hold a value per run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lazyflow.runtime.errors import FeedError, message
from lazyflow.runtime.feeds import Feeds

Array: TypeAlias = NDArray[Any]
Batches: TypeAlias = Iterable[Mapping[str, object]] | Mapping[str, Array]


def count_runs(batches: Mapping[str, Array], placeholders: Feeds) -> int:
    """How many runs stacked arrays are for.

    Raises:
        FeedError: if one has not the rank of its placeholder and one more, or they differ in length.
    """
    lengths: dict[str, int] = {}
    for name, array in batches.items():
        rank = len(placeholders.rows[name].shape) + 1 if name in placeholders.rows else None
        if not isinstance(array, np.ndarray) or (rank is not None and array.ndim != rank):
            expected = f"a numpy array with {rank} axes, the first of which is the run"
            raise FeedError(
                message(f"run_many: feed {name!r} does not hold one value per run", expected=expected)
            )
        lengths[name] = len(array)
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise FeedError(f"run_many: the feeds hold different numbers of runs: {counts}")
    return next(iter(lengths.values()), 0)


def unstacked(batches: Mapping[str, Array], runs: int) -> Iterator[dict[str, Array]]:
    """The feeds of each run."""
    for run in range(runs):
        yield {name: array[run, ...] for name, array in batches.items()}
