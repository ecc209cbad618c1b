"""Sizes inside native functions, and loops over spaces of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple, TypeAlias

from lazyflow.runtime.backends.cpu.code.writer import Writer
from lazyflow.runtime.dimensions import Dimension, Size, elements, evaluate

# a size, or what computes it from the dimensions
Sizing: TypeAlias = Size | Callable[[Mapping[str, int]], int]


def value_of(sizing: Sizing, values: Mapping[str, int]) -> int:
    """A size for given values of the dimensions."""
    return sizing(values) if callable(sizing) else evaluate(sizing, values)


def within(size: Sizing, known: Mapping[str, Sizing]) -> Sizing:
    """A size in which some names stand for what is computed from the dimensions."""
    if not isinstance(size, Dimension) or not size.names & known.keys():
        return size

    def computed(values: Mapping[str, int]) -> int:
        return evaluate(size, {**values, **{name: value_of(s, values) for name, s in known.items()}})

    return computed


class Walk(NamedTuple):
    """A point of some axes, and the range of the points behind it, counted from its own first one."""

    indices: list[str]
    begin: str
    end: str


class Sizes:
    """The values of sizes inside a function: computed once, in its first block, from the named dimensions."""

    def __init__(self, writer: Writer, names: Sequence[str]) -> None:
        self.writer = writer
        self.names = names
        self._known: dict[Size, str] = {}

    def __getitem__(self, size: Size) -> str:
        if isinstance(size, int):
            return str(size)
        if size not in self._known:
            with self.writer.at_entry():
                self._known[size] = self._compute(size)
        return self._known[size]

    def _compute(self, size: Dimension) -> str:
        writer, total = self.writer, "0"
        for monomial, coefficient in size.terms:
            product = str(coefficient)
            for name in monomial:
                place = writer.let(f"getelementptr i64, ptr %sizes, i64 {self.names.index(name)}")
                product = writer.let(f"mul i64 {product}, {writer.let(f'load i64, ptr {place}')}")
            total = writer.let(f"add i64 {total}, {product}")
        return total

    @contextmanager
    def walk(self, extents: Sequence[Size], behind: Size, begin: str, end: str) -> Iterator[Walk]:
        """Nested loops over a part of a space, whose points are numbered with the last axis fastest.

        Args:
            extents: The axes that are looped over.
            behind: How many points of the space each of theirs stands for.
            begin: The first point of the space that belongs to the part.
            end: The first that does not belong to it any more.
        """
        writer, indices = self.writer, list[str]()
        whole = begin == "0" and end == self[elements(extents) * behind]
        with ExitStack() as loops:
            for axis, extent in enumerate(extents):
                step = self[elements(extents[axis + 1 :]) * behind]
                if whole:
                    indices.append(loops.enter_context(writer.loop("0", self[extent])))
                    begin, end = "0", step
                elif step in ("0", "1"):
                    indices.append(loops.enter_context(writer.loop(begin, end)))
                    begin, end = "0", step
                else:
                    first = writer.let(f"udiv i64 {begin}, {step}")
                    last = writer.let(f"udiv i64 {writer.let(f'add i64 {end}, {self._less(step)}')}, {step}")
                    indices.append(loops.enter_context(writer.loop(first, last)))
                    passed = writer.let(f"mul i64 {indices[-1]}, {step}")
                    begin = writer.extreme("smax", writer.let(f"sub i64 {begin}, {passed}"), "0")
                    end = writer.extreme("smin", writer.let(f"sub i64 {end}, {passed}"), step)
            yield Walk(indices, begin, end)

    def _less(self, size: str) -> str:
        return str(int(size) - 1) if size.isdecimal() else self.writer.let(f"sub i64 {size}, 1")
