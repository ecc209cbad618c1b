"""Arrays of callers in which variables and placeholders live, for as long as these are bound to them."""

from __future__ import annotations

import weakref
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lazyflow.runtime.backends.backend import address
from lazyflow.runtime.errors import StateError, message

Array: TypeAlias = NDArray[Any]


class Loan:
    """A caller's array that is used without a copy.

    Args:
        name: What is bound to it.
        given: The caller's array.

    Attributes:
        array: A view of our own: what the caller does to the shape and the dtype of theirs is not done to it.
        extent: Where its memory starts and ends.
    """

    def __init__(self, name: str, given: Array) -> None:
        self.name, self.given = name, given
        self.array: Array = given.view(np.ndarray)
        self.extent = _extent(given)
        # NumPy gives the memory of an array away, even with refcheck=False, unless a weak reference is held
        self._held = [weakref.ref(owner) for owner in _owners(given)]


class Loans(dict[str, Loan]):
    """The arrays that variables are bound to, by name; no two share memory."""

    def __init__(self) -> None:
        self._starts: list[int] = []  # of their memory, in order, and where each ends
        self._ends: list[int] = []

    def put(self, loan: Loan) -> None:
        """Add a loan, or exchange that of the same name."""
        self[loan.name] = loan
        places = sorted(each.extent for each in self.values())
        self._starts = [start for start, _ in places]
        self._ends = [end for _, end in places]

    def overlap(self, array: Array) -> bool:
        """Whether the memory between an array's first byte and its last may be lent."""
        if not self._starts:
            return False
        start, end = _extent(array)
        last = bisect_left(self._starts, end) - 1  # of those that start before the array ends
        return last >= 0 and self._ends[last] > start


def _extent(array: Array) -> tuple[int, int]:
    if not array.flags.c_contiguous:
        return np.lib.array_utils.byte_bounds(array)
    start = address(array)
    return start, start + array.nbytes


def check_changeable(loans: Iterable[Loan]) -> None:
    """Refuse to change what has become read-only since it was bound.

    Raises:
        StateError: naming the variable, before anything is changed.
    """
    for loan in loans:
        if not loan.given.flags.writeable:
            headline = f"variable {loan.name!r}: the array that it is bound to is read-only now"
            hint = f"array.flags.writeable = True, or session.bind({loan.name!r}, array.copy())"
            raise StateError(message(headline, expected="an array that can be changed", hint=hint))


def _owners(array: Array) -> Iterator[Array]:
    """The array, and those whose memory it shows."""
    owner: object = array
    while isinstance(owner, np.ndarray | memoryview):
        if isinstance(owner, np.ndarray):
            yield owner
        owner = owner.base if isinstance(owner, np.ndarray) else owner.obj
