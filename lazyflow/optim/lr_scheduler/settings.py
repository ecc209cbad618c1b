"""Settings of schedulers: each declared once, with its default and range, checked in one place.

They are structure, fixed when the graph is compiled: plain Python numbers, and no Tensors.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, NoReturn, TypeVar, overload

import numpy as np

from lazyflow.optim.options import Option, argument
from lazyflow.runtime.dtypes import int64
from lazyflow.runtime.errors import ArgumentError, ArgumentTypeError
from lazyflow.tensor import Tensor

REQUIRED: Any = inspect.Parameter.empty  # a setting without a default

V = TypeVar("V")


def required() -> Any:
    """A field of the class that is the argument of the constructor without which there is no scheduler."""
    return argument(default=REQUIRED, kw_only=False)


_LARGEST = 2**53  # up to here every integer is a float64


class Setting(Option[V]):
    """One setting of a scheduler: a field of its class and an argument of its constructor."""

    def __init__(
        self,
        default: V = REQUIRED,
        *,
        low: float | None = None,
        high: float | None = None,
        above: float | None = None,
        below: float | None = None,
        kw_only: bool = False,
    ) -> None:
        super().__init__(default, low=low, high=high, above=above, below=below, kw_only=kw_only)

    @overload
    def __get__(self, scheduler: None, owner: type) -> Setting[V]: ...
    @overload
    def __get__(self, scheduler: object, owner: type) -> V: ...
    def __get__(self, scheduler: Any, owner: type) -> Any:
        """The setting itself of a class; of a scheduler, its value."""
        return self if scheduler is None else scheduler.__dict__[self.name]

    def __set__(self, scheduler: Any, value: Any) -> None:
        here = f"at {scheduler.location}"
        scheduler.__dict__[self.name] = self.check(value, type(scheduler).__name__, here)

    def _refuse_type(self, value: object, what: str, owner: str, here: str) -> NoReturn:
        raise self._error(ArgumentTypeError, value, what, owner, here)

    def _refuse_range(self, value: object, owner: str, here: str) -> NoReturn:
        raise self._error(ArgumentError, value, "is out of range", owner, here)

    @property
    def _or_none(self) -> str:
        return ", or None" if self.default is None else ""


class Number(Setting[V]):
    """A finite number in a range."""

    @property
    def expected(self) -> str:
        """What is accepted, in words."""
        return f"a number {self._range}{self._or_none}"

    def check(self, value: object, owner: str, here: str) -> Any:
        """The number as a float; None where that is the default."""
        return None if value is None and self.default is None else self._checked(value, value, owner, here)

    def _checked(self, item: object, value: object, owner: str, here: str) -> float:
        if isinstance(item, bool | np.bool_) or not isinstance(item, int | float | np.integer | np.floating):
            self._refuse_type(value, "is no number", owner, here)
        try:
            number = float(item)
        except OverflowError:
            self._refuse_range(value, owner, here)
        if not math.isfinite(number):
            raise self._error(ArgumentError, value, "is not finite", owner, here)
        if not self._holds(number):
            self._refuse_range(value, owner, here)
        return number


class Integer(Setting[V]):
    """An integer in a range; also below 2**53, so that steps and counts are exact in float64."""

    @property
    def expected(self) -> str:
        """What is accepted, in words."""
        return f"an integer in [{self.low:g}, 2**53]{self._or_none}"

    def check(self, value: object, owner: str, here: str) -> Any:
        """The integer; None where that is the default."""
        if value is None and self.default is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            self._refuse_type(value, "is no integer", owner, here)
        if value > _LARGEST or not self._holds(int(value)):
            self._refuse_range(value, owner, here)
        return int(value)


class Flag(Setting[bool]):
    """True or False."""


class Choice(Setting[str]):
    """One of a few words: the default, or one of the others."""

    def __init__(self, *, default: str, others: tuple[str, ...]) -> None:
        super().__init__(default)
        self.words = (default, *others)

    @property
    def expected(self) -> str:
        """What is accepted, in words."""
        return " or ".join(f'"{word}"' for word in self.words)

    def check(self, value: object, owner: str, here: str) -> str:
        """The word."""
        if not isinstance(value, str):
            self._refuse_type(value, "is no string", owner, here)
        if value not in self.words:
            raise self._error(ArgumentError, value, "is not known", owner, here)
        return value


class Milestones(Setting[V]):
    """Steps in increasing order, from any iterable that has an order."""

    def __init__(self, default: V = REQUIRED, *, low: int) -> None:
        super().__init__(default, low=low)

    @property
    def expected(self) -> str:
        """What is accepted, in words."""
        return f"integers >= {self.low:g} in increasing order"

    def check(self, value: object, owner: str, here: str) -> tuple[int, ...]:
        """The steps as a tuple."""
        if isinstance(value, str | bytes | set | frozenset | Tensor) or not isinstance(value, Iterable):
            self._refuse_type(value, "is no list of steps", owner, here)
        steps = tuple(value)
        if not steps and isinstance(value, Iterator):
            raise self._error(ArgumentError, value, "gives nothing: was it used before?", owner, here)
        if any(isinstance(step, bool) or not isinstance(step, int | np.integer) for step in steps):
            self._refuse_type(steps, "are not all integers", owner, here)
        if any(step > _LARGEST or not self._holds(int(step)) for step in steps):
            self._refuse_range(steps, owner, here)
        if any(later <= step for step, later in pairwise(steps)):
            raise self._error(ArgumentError, steps, "do not increase", owner, here)
        return tuple(map(int, steps))


class PerGroup(Number[V]):
    """A finite number for all parameter groups, or a list with one for each: kept as one for each.

    Args:
        or_none: Whether None is accepted, also where it is not the default.
    """

    def __init__(self, default: V = REQUIRED, *, low: float, or_none: bool = False) -> None:
        super().__init__(default, low=low)
        self.or_none = or_none

    @property
    def expected(self) -> str:
        """What is accepted, in words."""
        none = ", None" if self.or_none else ""
        return f"a number {self._range}{none}, or a list of one per parameter group"

    def __set__(self, scheduler: Any, value: Any) -> None:
        owner, here = type(scheduler).__name__, f"at {scheduler.location}"
        count = len(scheduler.optimizer.param_groups)
        if isinstance(value, list | tuple):
            if len(value) != count:
                raise self._error(
                    ArgumentError, value, f"has {len(value)} numbers for {count} groups", owner, here
                )
            numbers: tuple[float | None, ...] = tuple(
                self._checked(item, value, owner, here) for item in value
            )
        else:
            absent = value is None and self.or_none
            numbers = (None if absent else self._checked(value, value, owner, here),) * count
        scheduler.__dict__[self.name] = numbers


class Clock(Setting[Tensor | None]):
    """The int64 scalar that a scheduler reads as its step."""

    @property
    def expected(self) -> str:
        """What is accepted, in words."""
        return "an int64 scalar Tensor, such as optimizer.updates, or None: the schedule's own"

    def __get__(self, scheduler: Any, owner: type) -> Any:
        """The clock given, or the optimizer's clock for its schedule."""
        if scheduler is None:
            return self
        given = scheduler.__dict__[self.name]
        return scheduler.own_clock if given is None else given

    def check(self, value: object, owner: str, here: str) -> Tensor | None:
        """The Tensor, or None."""
        if value is not None and not isinstance(value, Tensor):
            self._refuse_type(value, "is no Tensor", owner, here)
        if value is not None and (value.shape != () or value.dtype != int64):
            self._refuse_type(value, "is no int64 scalar", owner, here)
        return value
