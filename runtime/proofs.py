"""What the verifier proves about sizes, accesses and memory, for all legal values of the dimension names."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import permutations
from typing import NamedTuple

from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.dimensions import Shape, Size, at_least, parse, upper_bound
from lazyflow.runtime.dtypes import DType
from lazyflow.runtime.errors import PlanError, ShapeError

MAX_RANK = 32
MAX_NUMBER = 2**48  # of an extent, an offset or a stride: sums and products of a few stay inside of int64
_MAX_TEXT, _MAX_TERMS, _MAX_DEGREE = 256, 32, 6  # of a polynomial: proofs expand products of a few


def size_of(extent: schema.Extent, names: frozenset[str]) -> Size:
    """An extent as a Size.

    Raises:
        PlanError: if it is no polynomial of the names, in canonical form, or too large.
    """
    if isinstance(extent, int):
        if not -MAX_NUMBER <= extent <= MAX_NUMBER:
            raise PlanError(f"size {extent} is beyond the limit of {MAX_NUMBER}")
        return extent
    if len(extent) > _MAX_TEXT:
        raise PlanError(f"size of {len(extent)} characters; the limit is {_MAX_TEXT}")
    try:
        size = parse(extent)
    except ShapeError as error:
        raise PlanError(str(error)) from None
    if isinstance(size, int):
        raise PlanError(f"size {extent!r} is a number written as text")
    if not size.names <= names:
        raise PlanError(f"size {extent!r} mentions a name that is no dimension of the program")
    if any(abs(coefficient) > MAX_NUMBER for _, coefficient in size.terms):
        raise PlanError(f"size {extent!r} has a number beyond the limit of {MAX_NUMBER}")
    return _bounded(size)


def _bounded(size: Size) -> Size:
    if isinstance(size, int):
        return size
    degree = max(len(monomial) for monomial, _ in size.terms)
    if len(size.terms) > _MAX_TERMS or degree > _MAX_DEGREE:
        limits = f"{_MAX_TERMS} terms of degree {_MAX_DEGREE}"
        raise PlanError(f"a size has {len(size.terms)} terms of degree {degree}; the limits are {limits}")
    return size


def elements_of(shape: Shape) -> Size:
    """The number of elements of a shape.

    Raises:
        PlanError: if it is beyond the limits of a size.
    """
    total: Size = 1
    for size in shape:
        total = _bounded(total * size)
    return total


class Span(NamedTuple):
    """The lowest and the highest element that an access reaches."""

    low: Size
    high: Size


def span(offset: Size, strides: Shape, space: Shape) -> Span:
    """The elements that an access reaches over a space of positive extents.

    Raises:
        PlanError: if the direction of a stride is not certain.
    """
    low = high = offset
    for stride, extent in zip(strides, space, strict=True):
        reach = stride * (extent - 1)
        if stride if isinstance(stride, int) and stride > 0 else at_least(stride, 0):
            high = high + reach
        elif at_least(0, stride):
            low = low + reach
        else:
            raise PlanError(f"stride {stride} may be positive or negative")
    return Span(low, high)


def injective(axes: Sequence[tuple[Size, Size]]) -> bool:
    """Whether different indices certainly reach different elements; axes are pairs of stride and extent."""
    axes = [(stride if at_least(stride, 0) else 0 - stride, extent) for stride, extent in axes if extent != 1]
    covered: Size = 0  # the largest distance between two elements that the axes so far reach
    for stride, extent in sorted(axes, key=lambda axis: upper_bound(axis[0])):
        if not at_least(stride, covered + 1):
            return False
        covered = covered + stride * (extent - 1)
    return True


class Kind(NamedTuple):
    """What is known of a value of a body: its dtype, and the axes along which it varies, as bits."""

    dtype: DType
    axes: int


class Place(NamedTuple):
    """A range of bytes: what holds it ("w" of the variables, slot 2, ...), from, up to; None: to the end."""

    holder: tuple[str, str | int]
    start: int
    end: int | None

    def overlaps(self, other: Place) -> bool:
        """Whether they may share a byte."""
        if self.holder != other.holder:
            return False
        return (self.end is None or other.start < self.end) and (other.end is None or self.start < other.end)


class Accesses:
    """The buffers of one program, and proofs about accesses to them; equal questions are answered once.

    Attributes:
        bodies: The kinds of the values of the kernel bodies that were looked at, by what they follow from.
    """

    def __init__(self, program: schema.Program) -> None:
        self.bodies: dict[tuple[tuple[schema.Call, ...], tuple[Kind, ...], int, int], list[Kind]] = {}
        self.buffers = program.buffers
        self.names = frozenset(program.dimensions)
        self.dtypes: list[DType] = [dtypes.ALL[buffer.dtype] for buffer in program.buffers]
        self._sizes: dict[schema.Extent, Size] = {}
        self._positive: set[schema.Extent] = set()
        self._shapes: dict[schema.Extents, Shape] = {}
        self._large: set[tuple[schema.Extent, schema.Extent]] = set()  # sizes, and counts that they reach
        self._fits: dict[tuple[Size, schema.Extent], bool] = {}
        self._ends: dict[tuple[schema.Extent, int, int], Size] = {}
        self._spans: dict[tuple[schema.Extent, schema.Extents, schema.Extents, schema.Extent], Span] = {}
        self._injective: dict[tuple[schema.Extents, schema.Extents, bool], bool] = {}

    def size(self, extent: schema.Extent) -> Size:
        """An extent as a Size."""
        if extent not in self._sizes:
            self._sizes[extent] = size_of(extent, self.names)
        return self._sizes[extent]

    def shape(self, extents: schema.Extents) -> Shape:
        """Extents as Sizes, of which each is 1 or more.

        Raises:
            PlanError: if there are too many, or one is not certainly positive.
        """
        known = self._shapes.get(extents)
        if known is not None:
            return known
        if len(extents) > MAX_RANK:
            raise PlanError(f"{len(extents)} axes; the limit is {MAX_RANK}")
        for extent in extents:
            if extent not in self._positive:
                if not at_least(self.size(extent), 1):
                    raise PlanError(f"extent {extent} is not certainly 1 or more")
                self._positive.add(extent)
        self._shapes[extents] = tuple(self._sizes[extent] for extent in extents)
        return self._shapes[extents]

    def end(self, buffer: schema.Buffer, itemsize: int) -> Size:
        """The first byte of its slot behind a buffer."""
        key = (buffer.size, itemsize, buffer.offset)
        if key not in self._ends:
            self._ends[key] = self.size(buffer.size) * itemsize + buffer.offset
        return self._ends[key]

    def fits(self, end: Size, slot: schema.Extent) -> bool:
        """Whether a slot certainly has as many bytes."""
        if (end, slot) not in self._fits:
            self._fits[end, slot] = at_least(self.size(slot), end)
        return self._fits[end, slot]

    def dtype(self, buffer: int) -> DType:
        """The dtype of a buffer.

        Raises:
            PlanError: if there is no such buffer.
        """
        if not 0 <= buffer < len(self.buffers):
            raise PlanError(f"buffer {buffer} does not exist")
        return self.dtypes[buffer]

    def check(self, access: schema.Access, space: schema.Extents) -> DType:
        """The dtype of an access that stays inside of its buffer.

        Raises:
            PlanError: if that is not certain.
        """
        dtype = self.dtype(access.buffer)
        if len(access.strides) != len(space):
            raise PlanError(f"an access has {len(access.strides)} strides over {len(space)} axes")
        size = self.buffers[access.buffer].size
        key = (access.offset, access.strides, space, size)
        if key not in self._spans:
            low, high = found = self._span(access, space)
            if not (at_least(low, 0) and at_least(self.size(size) - 1, high)):
                where = f"elements {low} to {high} of buffer {access.buffer}, which has {size}"
                raise PlanError(f"an access may leave its buffer: {where}")
            self._spans[key] = found
        return dtype

    def check_flat(self, buffer: int, count: schema.Extent) -> DType:
        """The dtype of a buffer of which so many elements, from the first, are touched.

        Raises:
            PlanError: if it is not certain that it has as many.
        """
        dtype, size = self.dtype(buffer), self.buffers[buffer].size
        if (size, count) not in self._large:
            (needed,) = self.shape((count,))
            if not at_least(self.size(size), needed):
                where = f"elements 0 to {needed - 1} of buffer {buffer}, which has {size}"
                raise PlanError(f"an access may leave its buffer: {where}")
            self._large.add((size, count))
        return dtype

    def _span(self, access: schema.Access, space: schema.Extents) -> Span:
        strides = tuple(self.size(stride) for stride in access.strides)
        return span(self.size(access.offset), strides, self.shape(space))

    def check_write(self, access: schema.Access, space: schema.Extents, still: bool = False) -> DType:
        """The dtype of an access that may be written to.

        Args:
            access: The access.
            space: The extents that it runs over.
            still: Whether it may stand still along axes: what is written does not vary along them.

        Raises:
            PlanError: if it may leave its buffer, reaches an element twice, or its buffer is only read.
        """
        self.dtype(access.buffer)
        place = self.buffers[access.buffer].place
        if place not in ("arena", "variable"):
            raise PlanError(f"buffer {access.buffer} is written, but it is a {place}")
        dtype = self.check(access, space)
        key = (access.strides, space, still)
        if key not in self._injective:
            strides = [self.size(stride) for stride in access.strides]
            axes = [(s, n) for s, n in zip(strides, self.shape(space), strict=True) if s != 0 or not still]
            self._injective[key] = injective(axes)
        if not self._injective[key]:
            raise PlanError(f"a write with strides {access.strides} may reach an element twice")
        return dtype

    def place(self, access: schema.Access, space: schema.Extents) -> Place:
        """The bytes that a checked access may touch; as exact as its numbers are known."""
        whole = self.whole(access.buffer)
        low, high = self._spans[access.offset, access.strides, space, self.buffers[access.buffer].size]
        if not (isinstance(low, int) and isinstance(high, int)):
            return whole
        itemsize = self.dtypes[access.buffer].itemsize
        return Place(whole.holder, whole.start + low * itemsize, whole.start + (high + 1) * itemsize)

    def whole(self, buffer: int) -> Place:
        """The bytes of a buffer."""
        row = self.buffers[buffer]
        if row.place != "arena":
            return Place((row.place, row.name), 0, None)
        end = self.end(row, self.dtypes[buffer].itemsize)
        return Place(("arena", row.slot), row.offset, end if isinstance(end, int) else None)


class Memory:
    """Which arena buffers hold their value at one point of a program.

    The others were not written yet, or their memory was written since, as that of another buffer.
    """

    def __init__(self, accesses: Accesses) -> None:
        self._accesses = accesses
        self._live: set[int] = set()
        self._ranges: dict[
            tuple[str, str | int], list[tuple[int, float, int]]
        ] = {}  # start, end, buffer: disjoint

    def read(self, buffers: Sequence[int]) -> None:
        """Refuse to read a buffer that does not hold its value.

        Raises:
            PlanError: if one does not.
        """
        for buffer in buffers:
            if buffer not in self._live and self._accesses.buffers[buffer].place == "arena":
                raise PlanError(
                    f"buffer {buffer} is read before it is written, or after its memory was reused"
                )

    def write(self, buffer: int) -> None:
        """From now on the buffer holds a value, and those that it overlaps hold none."""
        if buffer in self._live or self._accesses.buffers[buffer].place != "arena":
            return
        place = self._accesses.whole(buffer)
        start, end = place.start, float("inf") if place.end is None else place.end
        ranges = self._ranges.setdefault(place.holder, [])
        first = bisect_left(ranges, (start,))
        if first and ranges[first - 1][1] > start:
            first -= 1
        last = first
        while last < len(ranges) and ranges[last][0] < end:
            self._live.discard(ranges[last][2])
            last += 1
        ranges[first:last] = [(start, end, buffer)]
        self._live.add(buffer)


class Checked:
    """Which indices were found to lie inside of their axis, and cannot fail any more."""

    def __init__(self, accesses: Accesses) -> None:
        self._accesses = accesses
        self._sizes: dict[int, dict[tuple[Size, frozenset[tuple[Size, Size]]], list[Size]]] = {}

    def knows(self, index: schema.Access, space: schema.Extents, size: schema.Extent) -> bool:
        """Whether all elements of an index are known to lie in [0, size)."""
        known = self._sizes.get(index.buffer, {}).get(self._elements(index, space), [])
        return any(at_least(self._accesses.size(size), other) for other in known)

    def add(self, index: schema.Access, space: schema.Extents, size: schema.Extent) -> None:
        """From now on they are known to."""
        known = self._sizes.setdefault(index.buffer, {})
        known.setdefault(self._elements(index, space), []).append(self._accesses.size(size))

    def forget(self, buffer: int) -> None:
        """The buffer holds other indices now."""
        if not self._sizes:
            return
        row = self._accesses.buffers[buffer]
        same = [
            b for b in self._sizes if row.place == "variable" and self._accesses.buffers[b].name == row.name
        ]
        for known in (buffer, *same):
            self._sizes.pop(known, None)

    def _elements(
        self, access: schema.Access, space: schema.Extents
    ) -> tuple[Size, frozenset[tuple[Size, Size]]]:
        """What an access reaches, in one form for all ways to walk through it."""
        strides = [self._accesses.size(stride) for stride in access.strides]
        pairs = zip(strides, self._accesses.shape(space), strict=True)
        axes = [(stride, extent) for stride, extent in pairs if stride != 0 and extent != 1]
        joined = True
        while joined:
            joined = False
            for inner, outer in permutations(axes, 2):
                if outer[0] == inner[0] * inner[1]:
                    axes = [axis for axis in axes if axis not in (inner, outer)]
                    axes.append((inner[0], inner[1] * outer[1]))
                    joined = True
                    break
        return self._accesses.size(access.offset), frozenset(axes)
