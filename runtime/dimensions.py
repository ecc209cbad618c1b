"""Dimensions: sizes of axes that are bound at run time, as integer polynomials in one canonical form.

A size is an ``int`` or a :class:`Dimension`; a Dimension is never constant, so equal sizes have equal forms.
Every name stands for an integer from 1 to 2**31 - 1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import product as cartesian
from typing import TypeAlias

from lazyflow.runtime.errors import ShapeError, SymbolicError, message

MAX_EXTENT = 2**31 - 1

Monomial: TypeAlias = tuple[str, ...]  # names in sorted order, repeated for powers; () is the constant
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class Dimension:
    """An integer polynomial of named sizes, such as ``batch`` or ``2*batch*seq + 1``.

    Supports ``+``, ``-`` and ``*`` with ints and other Dimensions; results that are constant are ints.

    >>> batch = named("batch")
    >>> batch * 2 + batch, (batch + 1) - batch
    (3*batch, 1)
    """

    __slots__ = ("_hash", "terms")

    terms: tuple[tuple[Monomial, int], ...]

    def __init__(self, terms: tuple[tuple[Monomial, int], ...]) -> None:
        self.terms = terms
        self._hash = hash(terms)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dimension) and self.terms == other.terms

    def __hash__(self) -> int:
        return self._hash

    def __add__(self, other: Size) -> Size:
        return _size(_terms(self), _terms(other), 1)

    __radd__ = __add__

    def __sub__(self, other: Size) -> Size:
        return _size(_terms(self), _terms(other), -1)

    def __rsub__(self, other: Size) -> Size:
        return _size(_terms(other), _terms(self), -1)

    def __mul__(self, other: Size) -> Size:
        total: dict[Monomial, int] = {}
        for (m1, c1), (m2, c2) in cartesian(_terms(self), _terms(other)):
            key = tuple(sorted(m1 + m2))
            total[key] = total.get(key, 0) + c1 * c2
        return _from_dict(total)

    __rmul__ = __mul__

    def __repr__(self) -> str:
        text = ""
        for monomial, coefficient in self.terms:
            sign = "-" if coefficient < 0 else "+"
            factors = list(monomial)
            if abs(coefficient) != 1 or not factors:
                factors.insert(0, str(abs(coefficient)))
            text += f" {sign} " + "*".join(factors)
        return text[3:] if text.startswith(" + ") else "-" + text[3:]

    __str__ = __repr__

    def __index__(self) -> int:
        raise SymbolicError(
            message(
                f"dimension {self}: its size is bound at run time; it is no number before",
                hint="shapes take it as it is: lf.zeros((x.shape[0], 3)); lf.size(x, 0) is it as a Tensor",
            )
        )

    @property
    def names(self) -> frozenset[str]:
        """The names that the polynomial depends on."""
        return frozenset(name for monomial, _ in self.terms for name in monomial)


Size: TypeAlias = int | Dimension
Shape: TypeAlias = tuple[Size, ...]


def _terms(size: Size) -> tuple[tuple[Monomial, int], ...]:
    if isinstance(size, Dimension):
        return size.terms
    return (((), size),) if size else ()


def _size(a: tuple[tuple[Monomial, int], ...], b: tuple[tuple[Monomial, int], ...], sign: int) -> Size:
    total = dict(a)
    for monomial, coefficient in b:
        total[monomial] = total.get(monomial, 0) + sign * coefficient
    return _from_dict(total)


def _from_dict(total: Mapping[Monomial, int]) -> Size:
    terms = tuple(sorted(((m, c) for m, c in total.items() if c), key=lambda term: (-len(term[0]), term[0])))
    if not terms:
        return 0
    if terms[0][0] == ():
        return terms[0][1]
    return Dimension(terms)


def named(name: str) -> Dimension:
    """The dimension called ``name`` (an identifier).

    Raises:
        ShapeError: if the name is no identifier.
    """
    if not isinstance(name, str) or not _NAME.match(name):
        raise ShapeError(f"dimension: {name!r} is not a name; expected an identifier such as 'batch'")
    return Dimension((((name,), 1),))


@lru_cache(maxsize=4096)
def parse(text: str) -> Size:
    """The size that ``str(size)`` wrote.

    Raises:
        ShapeError: if the text is not a polynomial in the form that ``str`` writes.

    >>> parse("2*batch*seq + 3").names == {"batch", "seq"}, parse("7")
    (True, 7)
    """
    total: Size = 0
    for sign, term in re.findall(r"([+-]?)\s*([^+\-\s]+)", text):
        factor: Size = -1 if sign == "-" else 1
        for part in term.split("*"):
            factor = factor * (int(part) if part.isascii() and part.isdecimal() else named(part))
        total = total + factor
    if str(total) != text:
        raise ShapeError(f"dimension: {text!r} is not in canonical form")
    return total


def names_of(sizes: Iterable[Size]) -> frozenset[str]:
    """All names that the sizes depend on."""
    return frozenset(name for size in sizes if isinstance(size, Dimension) for name in size.names)


def elements(shape: Iterable[Size]) -> Size:
    """The number of elements of a shape."""
    total: Size = 1
    for size in shape:
        total = total * size
    return total


def evaluate(size: Size, values: Mapping[str, int]) -> int:
    """The size where each name has the given value."""
    if isinstance(size, int):
        return size
    return sum(c * math.prod(values[name] for name in m) for m, c in size.terms)


def divide(a: Size, b: Size) -> Size | None:
    """``a / b`` where that is an exact polynomial, else None.

    >>> divide(named("batch") * 64, 64), divide(named("batch"), 2)
    (batch, None)
    """
    if isinstance(a, int) and isinstance(b, int):
        return a // b if b and a % b == 0 else None
    quotient: Size = 0
    lead = _terms(b)[0] if _terms(b) else None
    while lead is not None and a != 0:
        monomial, coefficient = _terms(a)[0]
        rest = _without(monomial, lead[0])
        if rest is None or coefficient % lead[1]:
            return None
        part = _from_dict({rest: coefficient // lead[1]})
        quotient, a = quotient + part, a - part * b
    return quotient if lead is not None else None


def _without(monomial: Monomial, factor: Monomial) -> Monomial | None:
    names = list(monomial)
    for name in factor:
        if name not in names:
            return None
        names.remove(name)
    return tuple(names)


def at_least(a: Size, b: Size) -> bool:
    """Whether ``a >= b`` is certain for all legal values of the names (False: not certain).

    Every name is written as ``1 + n``; where no coefficient of the difference is negative, it is certain.
    """
    difference = a - b
    if isinstance(difference, int):
        return difference >= 0
    shifted: Size = 0
    for monomial, coefficient in difference.terms:
        product: Size = coefficient
        for name in monomial:
            product = product * (named(name) + 1)
        shifted = shifted + product
    return all(coefficient >= 0 for _, coefficient in _terms(shifted))


def upper_bound(size: Size) -> int:
    """A number that the size never exceeds, with every name at its largest where it adds and at 1 else."""
    return sum(c * (MAX_EXTENT ** len(m) if c > 0 else 1) for m, c in _terms(size))
