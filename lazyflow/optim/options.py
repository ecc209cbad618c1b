"""Options of optimizers: each declared once, with its default and range, checked in one place.

An option is *data* where it is a number: a float64 scalar of the graph, also where the user wrote a number.
It is *structure* where it decides which terms an update has: flags, kinds, and whether an optional term is
there at all. Structure is plain Python.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from copy import copy
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, TypeAlias, TypeVar, dataclass_transform

import numpy as np

from lazyflow.habits import OF_OPTIM
from lazyflow.location import user_line
from lazyflow.runtime.dtypes import bool_, is_floating
from lazyflow.runtime.errors import ArgumentError, ArgumentTypeError, SymbolicError, message
from lazyflow.tensor import Tensor

Scalar: TypeAlias = float | Tensor
Pair: TypeAlias = tuple[Scalar, Scalar]

V = TypeVar("V")
_Number = int | float | np.integer | np.floating  # bool is refused by name


class Option(Generic[V]):
    """One option of an optimizer: a field of its class, an argument of its constructor, a key of its groups.

    Args:
        default: A number (data), a tuple of numbers (data), a bool (structure), or None (an optional number).
        low: The lowest number accepted.
        high: The highest number accepted.
        above: Numbers must be greater than this.
        below: Numbers must be less than this.
        absent: The number that means that the term is not there; ``h.OPTION`` is then None.
        fixed: Whether the number itself is structure: plain Python for the rule.
        kw_only: Whether the constructor takes it by keyword only.
    """

    def __init__(
        self,
        default: V,
        *,
        low: float | None = None,
        high: float | None = None,
        above: float | None = None,
        below: float | None = None,
        absent: float | None = None,
        fixed: bool = False,
        kw_only: bool = False,
    ) -> None:
        self.default = default
        self.low, self.high, self.above, self.below = low, high, above, below
        self.absent = absent
        self.fixed = fixed
        self.kw_only = kw_only
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, optimizer: Any, owner: type) -> Any:
        """The option itself of a class; of an optimizer, its value in the first group."""
        return self if optimizer is None else optimizer.param_groups[0][self.name]

    def __set__(self, optimizer: Any, value: V) -> None:
        raise SymbolicError(
            message(
                f"{optimizer.name}.{self.name} = {value!r}: an optimizer holds no numbers",
                hint=f'session.groups["{optimizer.name}"][0]["{self.name}"] = ..., in a live session',
            )
        )

    def but(self, default: V) -> Option[V]:
        """The same option with another default."""
        other = copy(self)
        other.default = default
        return other

    @property
    def is_flag(self) -> bool:
        """Whether it is a bool."""
        return isinstance(self.default, bool)

    @property
    def expected(self) -> str:
        """What is accepted, in words."""
        if self.is_flag:
            return "True or False"
        if isinstance(self.default, tuple):
            return f"{len(self.default)} numbers, each {self._range}"
        return f"a number {self._range}" + (", or None" if self.default is None else "")

    @property
    def range(self) -> tuple[float | str, float | str, bool, bool]:
        """Lowest, highest, and whether each of them is excluded, as a plan writes them."""
        low = self.low if self.above is None else self.above
        high = self.high if self.below is None else self.below
        return (
            "-inf" if low is None else low,
            "inf" if high is None else high,
            self.above is not None,
            self.below is not None,
        )

    @property
    def _range(self) -> str:
        low, high, above, below = self.range
        left = "(" if above or low == "-inf" else "["
        right = ")" if below or high == "inf" else "]"
        return f"in {left}{_short(low)}, {_short(high)}{right}"

    def check(self, value: object, owner: str, here: str) -> Any:
        """The value as the optimizer keeps it: float, tuple, bool, None (no such term), or a scalar Tensor.

        Raises:
            ArgumentTypeError: if it is of the wrong type.
            ArgumentError: if it is out of range, NaN or infinite.
        """
        if self.is_flag:
            if not isinstance(value, bool | np.bool_):
                raise self._error(ArgumentTypeError, value, "is no bool", owner, here)
            return bool(value)
        if not isinstance(self.default, tuple):
            return self._number(value, value, owner, here)
        if not isinstance(value, tuple | list) or len(value) != len(self.default):
            raise self._error(ArgumentTypeError, value, f"is not {len(self.default)} numbers", owner, here)
        return tuple(self._number(item, value, owner, here) for item in value)

    def _number(self, item: object, value: object, owner: str, here: str) -> float | Tensor | None:
        if item is None and self.default is None:
            return None
        if isinstance(item, Tensor) and not self.fixed and self._is_scalar(item):
            return item
        if isinstance(item, bool) or not isinstance(item, _Number):
            what = "is no scalar" if isinstance(item, Tensor) else "is no number"
            raise self._error(ArgumentTypeError, value, what, owner, here)
        number = float(item)
        if not self._holds(number):
            what = "is out of range" if math.isfinite(number) or self._holds(math.inf) else "is not finite"
            raise self._error(ArgumentError, value, what, owner, here)
        return None if number == self.absent else number

    def _is_scalar(self, tensor: Tensor) -> bool:
        return tensor.shape == () and is_floating(tensor.dtype)

    def _holds(self, number: float) -> bool:
        tests = (
            self.low is None or number >= self.low,
            self.high is None or number <= self.high,
            self.above is None or number > self.above,
            self.below is None or number < self.below,
        )
        return all(tests) and math.isfinite(number)

    def _error(
        self, kind: Callable[[str], ArgumentError], value: object, what: str, owner: str, here: str
    ) -> ArgumentError:
        return kind(message(f"{owner}: {self.name}={value!r} {what}", expected=self.expected, here=here))


class NormType(Option[float]):
    """The p of a norm: a number > 0, or plus or minus infinity."""

    @property
    def expected(self) -> str:
        """What is accepted, in words."""
        return "a number > 0, inf or -inf"

    def _holds(self, number: float) -> bool:
        return number > 0 or number == -math.inf


class Switch(Option[Any]):
    """A bool that is data: a live session sets it, and no term of the update comes or goes with it."""

    @property
    def is_flag(self) -> bool:
        """False: it is a scalar of the graph."""
        return False

    @property
    def expected(self) -> str:
        """What is accepted, in words."""
        return "True or False, or a bool scalar Tensor"

    def check(self, value: object, owner: str, here: str) -> Any:
        """The value as the optimizer keeps it: a bool, or a bool scalar Tensor.

        Raises:
            ArgumentTypeError: if it is neither.
        """
        if isinstance(value, bool | np.bool_):
            return bool(value)
        if isinstance(value, Tensor) and value.shape == () and value.dtype == bool_:
            return value
        raise self._error(ArgumentTypeError, value, "is no bool", owner, here)


def checked_scalar(name: str, value: object, owner: str, here: str, **bounds: float) -> Scalar:
    """A number in a range, or a floating scalar Tensor; ``bounds`` are those of :class:`Option`.

    Raises:
        ArgumentTypeError: if it is neither.
        ArgumentError: if it is out of range, NaN or infinite.
    """
    option = Option[Scalar](0.0, **bounds)  # type: ignore[arg-type]
    checked: Scalar = _checked(option, name, value, owner, here)
    return checked


def checked_number(name: str, value: object, owner: str, here: str, **bounds: float) -> float:
    """A number in a range.

    Raises:
        ArgumentTypeError, ArgumentError: as for ``checked_scalar``; a Tensor is refused too.
    """
    option = Option[float](0.0, fixed=True, **bounds)  # type: ignore[arg-type]
    return float(_checked(option, name, value, owner, here))


def checked_integer(name: str, value: object, owner: str, here: str, low: int) -> int:
    """An integer not below ``low``.

    Raises:
        ArgumentTypeError: if it is no integer.
        ArgumentError: if it is below.
    """
    rows = {"expected": f"an integer >= {low}", "here": f"at {here}"}
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ArgumentTypeError(message(f"{owner}: {name}={value!r} is no integer", **rows))
    if value < low:
        raise ArgumentError(message(f"{owner}: {name}={value!r} is out of range", **rows))
    return int(value)


def _checked(option: Option[Any], name: str, value: object, owner: str, here: str) -> Any:
    option.name = name
    return option.check(value, owner, f"at {here}")


def _short(bound: float | str) -> str:
    return bound if isinstance(bound, str) else f"{bound:g}"


def argument(*, default: Any = None, kw_only: bool = False) -> Any:
    """A field of the class that is an argument of the constructor and no option of groups."""
    return _Argument(default, kw_only)


class _Argument:
    """What ``argument`` leaves in the class; the constructor sets the attribute of the same name."""

    def __init__(self, default: Any, kw_only: bool) -> None:
        self.default = default
        self.kw_only = kw_only


@dataclass_transform(field_specifiers=(Option, NormType, Switch, argument))
class Declared:
    """A class whose fields are arguments of its constructor, in the order in which they stand.

    Type checkers read the same from the decorator: the fields are the one place where a name, its type, its
    default and its range are written.
    """

    options: ClassVar[Mapping[str, Option[Any]]] = {}
    __signature__: ClassVar[Signature] = Signature()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        fields: dict[str, Option[Any] | _Argument] = {}
        for owner in reversed(cls.__mro__):
            found = {n: value for n, value in vars(owner).items() if isinstance(value, Option | _Argument)}
            fields.update(found)
        cls.options = {name: field for name, field in fields.items() if isinstance(field, Option)}
        ordered = sorted(fields.items(), key=lambda item: item[1].kw_only)
        cls.__signature__ = Signature([_parameter(name, field) for name, field in ordered])

    if not TYPE_CHECKING:  # for a type checker, a name that is not declared stays an error

        def __getattr__(self, name: str) -> NoReturn:
            headline = f"{type(self).__name__!r} object has no attribute {name!r}"
            if name in OF_OPTIM:
                headline = message(headline, here=f"at {user_line()}", hint=OF_OPTIM[name])
            raise AttributeError(headline, name=name, obj=self)

    @classmethod
    def bind(cls, args: tuple[Any, ...], kwargs: dict[str, Any], here: str) -> dict[str, Any]:
        """The arguments by name, defaults filled in.

        Raises:
            ArgumentTypeError: if one is unknown, given twice, or too much.
        """
        try:
            bound = cls.__signature__.bind(*args, **kwargs)
        except TypeError as error:
            from difflib import get_close_matches  # a process without mistakes does not need it

            names = list(cls.__signature__.parameters)
            near = [get_close_matches(name, names, 1) for name in kwargs if name not in names]
            hint = f"did you mean {near[0][0]!r}?" if near and near[0] else None
            text = f"{cls.__name__}: {error}"
            raise ArgumentTypeError(message(text, expected=", ".join(names), hint=hint, here=here)) from None
        bound.apply_defaults()
        return bound.arguments


def _parameter(name: str, field: Option[Any] | _Argument) -> Parameter:
    kind = Parameter.KEYWORD_ONLY if field.kw_only else Parameter.POSITIONAL_OR_KEYWORD
    return Parameter(name, kind, default=field.default)
