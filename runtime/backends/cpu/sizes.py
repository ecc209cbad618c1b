"""Sizes inside native functions."""

from __future__ import annotations

from collections.abc import Sequence

from lazyflow.runtime.backends.cpu.writer import Writer
from lazyflow.runtime.dimensions import Dimension, Size


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
