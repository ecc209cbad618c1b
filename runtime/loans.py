"""Arrays of callers in which variables and placeholders live, for as long as these are bound to them."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lazyflow.runtime.errors import StateError, message

Array: TypeAlias = NDArray[Any]


class Loan:
    """A caller's array that is used without a copy.

    Args:
        name: What is bound to it.
        given: The caller's array.

    Attributes:
        array: A view of our own: what the caller does to the shape and the dtype of theirs is not done to it.
    """

    def __init__(self, name: str, given: Array) -> None:
        self.name, self.given = name, given
        self.array: Array = given.view(np.ndarray)
        # NumPy gives the memory of an array away, even with refcheck=False, unless a weak reference is held
        self._held = [weakref.ref(owner) for owner in _owners(given)]


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
