"""Options that are structure: one of some names, or a count."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazyflow.optim.options import Option
from lazyflow.runtime.errors import ArgumentError, ArgumentTypeError


class Choice(Option[Any]):
    """One of some names; None is the default.

    Args:
        default: The name unless given.
        among: All names.
    """

    def __init__(self, *, default: str, among: tuple[str, ...]) -> None:
        super().__init__(default, fixed=True)
        self.among = among

    @property
    def expected(self) -> str:
        """What is accepted, in words."""
        return " or ".join(map(repr, self.among))

    def check(self, value: object, owner: str, here: str) -> str:
        """The name.

        Raises:
            ArgumentTypeError: if it is no string.
            ArgumentError: if it is none of them.
        """
        if value is None:
            return str(self.default)
        if not isinstance(value, str):
            raise self._error(ArgumentTypeError, value, "is no name", owner, here)
        if value not in self.among:
            raise self._error(ArgumentError, value, "is unknown", owner, here)
        return value


class Count(Option[Any]):
    """An integer in a range.

    Args:
        default: The count unless given.
        low: The lowest accepted.
        high: The highest accepted.
    """

    def __init__(self, *, default: int, low: int, high: int) -> None:
        super().__init__(default, low=low, high=high, fixed=True)

    @property
    def expected(self) -> str:
        """What is accepted, in words."""
        return f"an integer {self._range}"

    def check(self, value: object, owner: str, here: str) -> int:
        """The integer.

        Raises:
            ArgumentTypeError: if it is none.
            ArgumentError: if it is out of range.
        """
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise self._error(ArgumentTypeError, value, "is no integer", owner, here)
        if not self._holds(float(value)):
            raise self._error(ArgumentError, value, "is out of range", owner, here)
        return int(value)
