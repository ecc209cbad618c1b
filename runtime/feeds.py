"""Feeds: what a run is given, checked against the placeholders of its program before anything runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.backends.backend import Steps
from lazyflow.runtime.dimensions import MAX_EXTENT, evaluate, names_of, parse
from lazyflow.runtime.errors import FeedError, message
from lazyflow.runtime.scalars import stored
from lazyflow.runtime.state import State
from lazyflow.runtime.steps import written
from lazyflow.runtime.values import Wanted, as_array, closest, count_axes, in_place, listed, show, typed

Array: TypeAlias = NDArray[Any]
Shapes: TypeAlias = tuple[tuple[int, ...], ...]

_PLAIN = 0x0101  # NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED, of an array's flags
_KEPT_SHAPES = 64


class Feeds:
    """The placeholders of one program.

    Args:
        program: The program.
        precision: None, or "float64" where floating values are kept in float64.
    """

    def __init__(self, program: schema.Program, precision: str | None) -> None:
        self.program = program
        self.rows = {feed.name: feed for feed in program.feeds}
        self.dtypes = {feed.name: stored(dtypes.ALL[feed.dtype], precision) for feed in program.feeds}
        self._solved: dict[Shapes, dict[str, int]] = {}  # shapes that fit, and the values of the dimensions

    def read(self, given: Mapping[str, object], state: State) -> tuple[Mapping[str, Array], dict[str, int]]:
        """The arrays that a backend may use, and the value of each dimension.

        Args:
            given: What the caller and the bound placeholders give.
            state: The variables, whose memory no feed may share.

        Raises:
            FeedError: if a feed is missing or unknown, or does not fit its placeholder.
        """
        usual = self._plain_shapes(given, state)
        if usual is not None:
            known = self._solved.get(usual)
            return given, self._sizes(usual) if known is None else known  # type: ignore[return-value]
        self.check_names(given)
        arrays: dict[str, Array] = {}
        for name, feed in self.rows.items():
            arrays[name] = as_array(given[name], self._wanted(feed, "feed"))
        sizes = self._sizes(tuple(array.shape for array in arrays.values()))
        return {name: self._usable(name, array, state) for name, array in arrays.items()}, sizes

    def _sizes(self, shapes: Shapes) -> dict[str, int]:
        """The value of each dimension, for shapes of all feeds."""
        if shapes not in self._solved:
            sizes = self._solve(dict(zip(self.rows, shapes, strict=True)))
            if len(self._solved) >= _KEPT_SHAPES:
                self._solved.clear()
            self._solved[shapes] = sizes
        return self._solved[shapes]

    @property
    def changed(self) -> set[str]:
        """The variables that the program changes."""
        program = self.program
        buffers = {number for step in program.instructions for number in written(step)}
        return {b.name for i, b in enumerate(program.buffers) if i in buffers and b.place == "variable"}

    def _plain_shapes(self, given: Mapping[str, object], state: State) -> Shapes | None:
        """The shapes of what is given where each is an array that a backend may use as it is, else None."""
        if len(given) != len(self.dtypes):
            return None
        shapes = []
        for name, dtype in self.dtypes.items():
            array = given.get(name)
            if type(array) is not np.ndarray or array.dtype is not dtype:
                return None
            if array.flags.num & _PLAIN != _PLAIN or state.overlaps(array):
                return None
            shapes.append(array.shape)
        return tuple(shapes)

    def held(self, stacked: Mapping[str, Array]) -> int:
        """The bytes that each run of stacked arrays takes beside them: of what must be cast or copied."""
        copied = [name for name, array in stacked.items() if not self._rows_are_plain(name, array)]
        return sum(stacked[name][0, ...].size * self.dtypes[name].itemsize for name in copied)

    def read_stacked(self, given: Mapping[str, object], stacked: Mapping[str, Array], state: State) -> Steps:
        """The same for several runs, of which some feeds hold a value each, along a further first axis.

        Args:
            given: What the caller and the bound placeholders give.
            stacked: What of that holds a value per run, for at least one; none is the memory of a variable.
            state: The variables.

        Raises:
            FeedError: as ``read``.
        """
        first = {**given, **{name: array[0, ...] for name, array in stacked.items()}}
        arrays, sizes = self.read(first, state)
        moving: dict[str, Array | list[Array]] = {
            name: array if self._rows_are_plain(name, array) else self._usable(name, array, state)
            for name, array in stacked.items()
        }
        runs = len(next(iter(stacked.values())))
        return Steps(runs, sizes, {n: a for n, a in arrays.items() if n not in moving}, moving)

    def _rows_are_plain(self, name: str, array: Array) -> bool:
        """Whether a backend may use each row of a stacked array as it is, however far apart they are."""
        plain = type(array) is np.ndarray and array.dtype == self.dtypes[name]
        return plain and array.flags.aligned and array[0, ...].flags.c_contiguous

    def check_bound(self, name: str, array: object) -> None:
        """Refuse an array that cannot stand for a placeholder in every run.

        Raises:
            FeedError: if it is not contiguous, or not exactly of the placeholder's dtype and static sizes.
        """
        array = in_place(array, self._wanted(self.rows[name], "bind"))
        self._check_extents(self.rows[name], array.shape)

    def _wanted(self, feed: schema.Feed, verb: str) -> Wanted:
        rank, dtype = len(feed.shape), self.dtypes[feed.name]
        return Wanted(f"{verb} {feed.name!r}", dtype, rank, FeedError, feed.location)

    def _usable(self, name: str, array: Array, state: State) -> Array:
        dtype = self.dtypes[name]
        usual = type(array) is np.ndarray and array.dtype == dtype and array.flags.num & _PLAIN == _PLAIN
        ready = array if usual else np.require(array, dtype, ["C", "ALIGNED", "ENSUREARRAY"])
        return ready.copy() if state.overlaps(ready) else ready

    def check_known(self, names: Iterable[str]) -> None:
        """Refuse names that are none of a placeholder.

        Raises:
            FeedError: naming the first.
        """
        for name in names:
            if name not in self.rows:
                has = f"feeds of program {self.program.name!r}: {listed(self.rows)}"
                hint = closest(name, self.rows) if isinstance(name, str) else "a feed is given by its name"
                raise FeedError(message(f"unknown feed {name!r}", expected=has, hint=hint))

    def check_names(self, given: Mapping[str, object]) -> None:
        """Refuse feeds of which one is unknown or missing.

        Raises:
            FeedError: naming it.
        """
        where = f"program {self.program.name!r}"
        self.check_known(given)
        missing = [feed for feed in self.program.feeds if feed.name not in given]
        if missing:
            feed = missing[0]
            raise FeedError(
                message(
                    f"{where}: missing feed {listed(f.name for f in missing)}",
                    expected=f"{feed.name}: {typed(feed.dtype, feed.shape)}",
                    made=f"at {feed.location}" if feed.location else None,
                )
            )

    def _solve(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        sizes: dict[str, int] = {}
        givers: dict[str, str] = {}  # dimension -> the feed that gave its value
        for name, shape in shapes.items():
            self._check_extents(self.rows[name], shape)
            for extent, size in zip(self.rows[name].shape, shape, strict=True):
                if extent not in self.program.dimensions or not isinstance(extent, str):
                    continue
                giver = givers.setdefault(extent, name)
                if sizes.setdefault(extent, size) != size:
                    raise FeedError(self._disagreement(extent, giver, sizes[extent], name, size))
        for name, shape in shapes.items():
            self._check_polynomials(self.rows[name], shape, sizes)
        return sizes

    def _check_extents(self, feed: schema.Feed, shape: tuple[int, ...]) -> None:
        what = f"feed {feed.name!r}"
        if len(shape) != len(feed.shape):
            headline = f"{what}: shape {show(shape)} has {count_axes(len(shape))}"
            raise FeedError(self._misshapen(feed, headline, _reshaped(feed, shape)))
        for axis, (extent, size) in enumerate(zip(feed.shape, shape, strict=True)):
            if isinstance(extent, int) and extent != size:
                raise FeedError(
                    self._misshapen(feed, f"{what}: axis {axis} is {size} in shape {show(shape)}")
                )
            if not 1 <= size <= MAX_EXTENT:
                reason = f"axis {axis} ({show((extent,))[1:-2]}) is {size or 'empty'}"
                made = f"at {feed.location}" if feed.location else None
                hint = None if size else "leave out the run"
                expected = f"a size from 1 to {MAX_EXTENT}"
                raise FeedError(message(f"{what}: {reason}", expected=expected, made=made, hint=hint))

    def _check_polynomials(self, feed: schema.Feed, shape: tuple[int, ...], sizes: Mapping[str, int]) -> None:
        for axis, (extent, size) in enumerate(zip(feed.shape, shape, strict=True)):
            if not isinstance(extent, str):
                continue
            polynomial = parse(extent)
            wanted = evaluate(polynomial, sizes)
            if wanted != size:
                values = ", ".join(f"{n}={sizes[n]}" for n in sorted(names_of([polynomial])))
                text = f"feed {feed.name!r}: axis {axis} is {size}, but {extent} is {wanted} with {values}"
                raise FeedError(self._misshapen(feed, text))

    def _disagreement(self, dimension: str, first: str, value: int, second: str, other: int) -> str:
        headline = f"{first} is {show(self.rows[first].shape)} with {dimension}={value}, "
        headline += f"{second} says {dimension}={other}"
        return message(
            headline,
            **{
                first: _made(self.rows[first]),
                second: _made(self.rows[second]),
            },
        )

    def _misshapen(self, feed: schema.Feed, headline: str, hint: str | None = None) -> str:
        made = f"at {feed.location}" if feed.location else None
        return message(headline, expected=typed(feed.dtype, feed.shape), made=made, hint=hint)


def _reshaped(feed: schema.Feed, shape: tuple[int, ...]) -> str | None:
    """What to write where another rank may hold what is meant: one row, or several axes for the last."""
    rank = len(feed.shape)
    if rank and shape == feed.shape[1:]:
        return "array[None], for one row"
    if not 0 < rank < len(shape):
        return None
    flat = (*shape[: rank - 1], math.prod(shape[rank - 1 :]))
    if flat[-1] not in (feed.shape[-1], shape[rank - 1]):  # a named axis is not made of several
        return None
    fits = all(isinstance(extent, str) or extent == n for extent, n in zip(feed.shape, flat, strict=True))
    return f"array.reshape{show(flat)}" if fits else None


def _made(feed: schema.Feed) -> str:
    place = f"  made at {feed.location}" if feed.location else ""
    return f"{typed(feed.dtype, feed.shape)}{place}"
