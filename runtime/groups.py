"""session.groups: the settable numbers of optimizers' parameter groups, in a live session."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NoReturn, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from lazyflow.runtime import schema
from lazyflow.runtime.dtypes import bool_
from lazyflow.runtime.errors import (
    ArgumentError,
    ArgumentTypeError,
    OutOfRangeError,
    StateError,
    message,
)
from lazyflow.runtime.state import State
from lazyflow.runtime.values import closest, listed

Option: TypeAlias = schema.Number | tuple[schema.Number, ...] | None
Guard: TypeAlias = Callable[[], AbstractContextManager[None]]  # refuses where the session runs elsewhere


class Group:
    """One parameter group: ``group["lr"]`` is the number that the next run uses."""

    def __init__(self, optimizer: schema.Optimizer, index: int, state: State, guard: Guard) -> None:
        self._optimizer = optimizer
        self._index = index
        self._state = state
        self._guard = guard
        self._row = optimizer.groups[index]

    def __getitem__(self, option: str) -> Option:
        """The value of an option: a float, a bool, a tuple of floats, or what is fixed in this plan."""
        if option in self._row.scalars:
            values = tuple(self._state.row(name).array.item() for name in self._row.scalars[option])
            return values[0] if self._is_scalar(option) else values
        if option in self._row.options:
            return self._row.options[option]
        raise ArgumentError(self._unknown(option))

    def __setitem__(self, option: str, value: bool | float | Sequence[float] | NDArray[Any]) -> None:
        """Set an option for the runs that follow; nothing is recompiled.

        Raises:
            ArgumentError: if the value is out of range, or of the wrong type, or no option has this name.
            StateError: if the option is structure, which is fixed when the graph is compiled.
        """
        if option not in self._row.scalars:
            if option in self._row.options:
                raise StateError(self._fixed(option))
            raise ArgumentError(self._unknown(option))
        names = self._row.scalars[option]
        if isinstance(value, np.ndarray):
            value = value.tolist()  # a number where it has no axes, as fetches do
        values = [value] if self._is_scalar(option) else value
        if isinstance(values, str) or not isinstance(values, Sequence) or len(values) != len(names):
            raise ArgumentTypeError(f"{option}: {value!r} is not a sequence of {len(names)} numbers")
        numbers = [self._checked(option, n, item) for n, item in zip(names, values, strict=True)]
        with self._guard():
            self._state.write(dict(zip(names, numbers, strict=True)))

    def __contains__(self, option: object) -> bool:
        return option in self._row.scalars or option in self._row.options

    def __iter__(self) -> Iterator[str]:
        yield from self._row.scalars
        yield from self._row.options

    def __repr__(self) -> str:
        options = ", ".join(f"{option}={self[option]!r}" for option in self)
        return f"<group {self._index} of {self._optimizer.name!r}: {options}; {len(self.members)} parameters>"

    @property
    def members(self) -> tuple[str, ...]:
        """The names of the parameters that are in this group now."""
        members = self._optimizer.members.items()
        return tuple(p for p, name in members if int(self._state.row(name).array) == self._index)

    def _is_scalar(self, option: str) -> bool:
        # a tuple option of one element is stored as OPTION/0
        names = self._row.scalars[option]
        return len(names) == 1 and not names[0].endswith(f"/{option}/0")

    def _checked(self, option: str, name: str, value: object) -> float:
        if self._state.row(name).dtype == bool_:
            if not isinstance(value, bool | np.bool_):
                raise ArgumentTypeError(message(f"{option}: {value!r} is no bool", expected="True or False"))
            return bool(value)
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
            raise ArgumentTypeError(f"{option}: {value!r} is not a number")
        low, high, above, below = self._row.ranges.get(option, ("-inf", "inf", False, False))
        number, lowest, highest = float(value), float(low), float(high)
        inside = lowest < number if above else lowest <= number
        inside = inside and (number < highest if below else number <= highest)
        if not (inside and math.isfinite(number)):
            brackets = (
                "(" if above or lowest == -math.inf else "[",
                ")" if below or highest == math.inf else "]",
            )
            expected = f"a finite number in {brackets[0]}{low}, {high}{brackets[1]}"
            raise ArgumentError(message(f"{option}: {value!r} is out of range", expected=expected))
        return number

    def _fixed(self, option: str) -> str:
        return message(
            f"{option}: cannot be changed in a live session: it decides which terms the update has",
            expected=f"{option}={self._row.options[option]!r}, as when the graph was compiled",
            hint=f"build the graph with another {option}, compile it, and load this session's state_dict()",
        )

    def _unknown(self, option: object) -> str:
        return message(
            f"{option!r} is no option of {self._optimizer.kind}",
            expected=listed(self),
            hint=closest(str(option), self),
        )


class Groups(Sequence[Group]):
    """The parameter groups of one optimizer."""

    def __init__(self, optimizer: schema.Optimizer, state: State, guard: Guard) -> None:
        self._optimizer = optimizer
        self._state = state
        self._guard = guard
        self._groups = [Group(optimizer, index, state, guard) for index in range(len(optimizer.groups))]

    @overload
    def __getitem__(self, index: int) -> Group: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Group]: ...
    def __getitem__(self, index: int | slice) -> Group | Sequence[Group]:
        """The group of a number, as of a list.

        Raises:
            ArgumentTypeError: if it is no number, such as an option's name.
            OutOfRangeError: if there is no such group.
        """
        try:
            return self._groups[index]
        except TypeError:
            raise self._no_number(index) from None
        except IndexError:
            headline = f"{self._optimizer.name}: group {index} does not exist; there are {len(self)}"
            raise OutOfRangeError(headline) from None

    def __setitem__(self, index: object, value: object) -> NoReturn:
        """Options are set in a group.

        Raises:
            ArgumentTypeError: always, with what to write.
        """
        raise self._no_number(index)

    def _no_number(self, index: object) -> ArgumentTypeError:
        name = self._optimizer.name
        option = index if isinstance(index, str) else "lr"
        headline = f"{name}: {index!r} is no number of a group"
        if isinstance(index, int):
            headline = f"{name}: group {index} is set option by option"
        return ArgumentTypeError(
            message(headline, hint=f"session.groups[{name!r}][0][{option!r}], for the first of {len(self)}")
        )

    def __len__(self) -> int:
        return len(self._groups)

    def __repr__(self) -> str:
        return f"<{len(self)} groups of {self._optimizer.name!r} ({self._optimizer.kind})>"

    @property
    def offender(self) -> str | None:
        """The parameter whose gradient was not finite when an update was skipped last; None: none was.

        None too where a gradient of another optimizer made the skip.
        """
        row = self._state.rows.get(f"{self._optimizer.name}/offender")
        place = -1 if row is None else int(row.array)
        return tuple(self._optimizer.members)[place] if place >= 0 else None

    def move(self, parameter: str, index: int) -> None:
        """Let a parameter belong to another group from the next run on; its state stays.

        Args:
            parameter: The parameter's name.
            index: The number of a group of equal structure.

        Raises:
            ArgumentError: if the optimizer has no such parameter or group.
            StateError: if the groups differ in structure.
        """
        members, name = self._optimizer.members, self._optimizer.name
        if parameter not in members:
            hint = closest(str(parameter), members)
            raise ArgumentError(message(f"{parameter!r} is no parameter of {name!r}", hint=hint))
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(self):
            raise ArgumentError(f"{name}: group {index!r} does not exist; there are {len(self)}")
        place = self._state.row(members[parameter]).array
        now, then = self._optimizer.groups[int(place)].options, self._optimizer.groups[index].options
        different = [option for option in {**now, **then} if now.get(option) != then.get(option)]
        if different:
            raise StateError(
                message(
                    f"{parameter!r} cannot move from group {int(place)} to {index}: they differ in structure",
                    expected=f"equal {listed(different)}",
                    hint="build the graph with it in that group, compile it, and load this state_dict()",
                )
            )
        with self._guard():
            self._state.write({members[parameter]: index})


class Optimizers(dict[str, Groups]):
    """The parameter groups of each optimizer, by its name."""

    def __missing__(self, name: object) -> Groups:
        raise ArgumentError(
            message(
                f"groups: no optimizer is named {name!r}",
                expected=listed(self),
                hint=closest(str(name), self),
            )
        )
