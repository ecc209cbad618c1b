"""What the functions of this room ask of their arguments."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lazyflow.location import user_line
from lazyflow.ops.elementwise import cast
from lazyflow.runtime import dtypes
from lazyflow.runtime.errors import ArgumentError, ArgumentTypeError, message
from lazyflow.tensor import Tensor


def widened(x: Tensor) -> Tensor:
    """The tensor in a type fit for sums and exponentials: half types in float32."""
    return cast(x, dtypes.float32) if x.dtype in dtypes.HALF else x


def check_number(call: str, name: str, value: object, low: float, high: float = math.inf) -> float:
    """A plain number within limits, both included.

    Raises:
        ArgumentTypeError: if it is no number.
        ArgumentError: if it is out of range, or NaN.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ArgumentTypeError(
            message(f"{call}: {name} {value!r} is no number", expected="a float", here=f"at {user_line()}")
        )
    if not low <= value <= high:
        limits = f"a number >= {low}" if high == math.inf else f"{low} <= {name} <= {high}"
        raise ArgumentError(
            message(f"{call}: {name} {value!r} is out of range", expected=limits, here=f"at {user_line()}")
        )
    return float(value)


def check_size(call: str, name: str, value: object) -> int:
    """A static size.

    Raises:
        ArgumentTypeError: if it is no integer.
        ArgumentError: if it is below 1.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise ArgumentTypeError(message(f"{call}: {name} {value!r} is no integer", here=f"at {user_line()}"))
    if value < 1:
        raise ArgumentError(
            message(
                f"{call}: {name} {value} is out of range",
                expected="an integer >= 1",
                here=f"at {user_line()}",
            )
        )
    return value


def check_choice(call: str, name: str, value: object, choices: Sequence[str]) -> None:
    """Raise ArgumentError where the value is none of the choices."""
    if value not in choices:
        raise ArgumentError(
            message(
                f"{call}: {name} {value!r} is none of its values",
                expected=" or ".join(map(repr, choices)),
                here=f"at {user_line()}",
            )
        )
