"""What callers give: arrays and numbers that must fit a dtype, or are refused by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lazyflow.runtime import dtypes
from lazyflow.runtime.dtypes import DType
from lazyflow.runtime.errors import FeedError, StateError, message

Array: TypeAlias = NDArray[Any]
Refusal: TypeAlias = type[FeedError] | type[StateError]


def as_array(value: object, dtype: DType, rank: int, what: str, error: Refusal) -> Array:
    """The value as an array that casts safely to ``dtype``: itself, if it is one.

    Where ``rank`` is 0, a Python or NumPy number of the same or a lower kind becomes an array of ``dtype``.

    Args:
        value: What the caller gave.
        dtype: The dtype that it must fit.
        rank: The number of axes that it must have.
        what: What it is for, to begin the error with, such as ``feed 'x'``.
        error: The class of error to raise.

    Raises:
        FeedError, StateError: as ``error`` says.
    """
    if rank == 0 and isinstance(value, bool | int | float | np.generic):
        return _number(value, dtype, what, error)
    if not isinstance(value, np.ndarray) or _is_masked(value):  # the mask would be lost
        raise error(_no_array(value, dtype, rank, what))
    if not np.can_cast(value.dtype, dtype, "safe"):
        raise error(
            message(
                f"{what}: {value.dtype.name} does not cast safely to {dtype.name}",
                expected=f"an array of {dtype.name}",
                hint=f"array.astype({spelled(dtype)}), where losing digits is meant",
            )
        )
    return value


def _is_masked(array: Array) -> bool:
    # asked of subclasses only, because numpy loads numpy.ma when it is first named
    return type(array) is not np.ndarray and isinstance(array, np.ma.MaskedArray)


def in_place(array: object, dtype: DType, what: str, error: Refusal) -> Array:
    """The array, which can be used as it is, without a copy.

    Raises:
        FeedError, StateError: as ``error`` says, if it is no array, not of the dtype, or not contiguous.
    """
    if not isinstance(array, np.ndarray):
        raise error(message(f"{what}: {type(array).__name__} is not a numpy array"))
    if array.dtype != dtype:
        expected = f"{dtype.name}: a bound array is used as it is"
        hint = f"array.astype({spelled(dtype)})"
        raise error(message(f"{what}: the array is {array.dtype.name}", expected=expected, hint=hint))
    if not (array.flags.c_contiguous and array.flags.aligned):
        raise error(message(f"{what}: the array is not contiguous", hint="np.ascontiguousarray(array)"))
    return array


def _number(value: bool | int | float | np.generic, dtype: DType, what: str, error: Refusal) -> Array:
    given = np.asarray(value).dtype if isinstance(value, np.generic) else np.dtype(type(value))
    plain = value.item() if isinstance(value, np.generic) else value
    if _kind(given) > dtypes.kind(dtype):
        raise error(message(f"{what}: {value!r} is of a higher kind than {dtype.name}", expected=dtype.name))
    with np.errstate(all="ignore"):
        try:
            array = np.asarray(plain, dtype)
        except OverflowError:
            array = None
    if array is None or (np.isfinite(plain) and not np.isfinite(array)):
        raise error(
            message(f"{what}: {value!r} is outside of the range of {dtype.name}", expected=dtype.name)
        )
    return array


def _kind(dtype: DType) -> int:
    if dtype in dtypes.FLOATING or np.issubdtype(dtype, np.floating):
        return 2
    if np.issubdtype(dtype, np.integer):
        return 1
    return 0 if dtype == dtypes.bool_ else 3


def _no_array(value: object, dtype: DType, rank: int, what: str) -> str:
    kind = "a list" if isinstance(value, list) else f"{type(value).__name__}"
    expected = f"a numpy array of {dtype.name}" + (", or a number" if rank == 0 else f" with {rank} axes")
    hint = (
        f"np.asarray(..., dtype={spelled(dtype)})" if isinstance(value, list | tuple | int | float) else None
    )
    return message(f"{what}: {kind} is not a plain numpy array", expected=expected, hint=hint)


def spelled(dtype: DType) -> str:
    """How to write a dtype in Python."""
    if dtype == dtypes.bfloat16:
        return "ml_dtypes.bfloat16"
    return "np.bool_" if dtype == dtypes.bool_ else f"np.{dtype.name}"


def closest(name: str, known: Iterable[str]) -> str | None:
    """A hint that names the known name that is most like ``name``, or None."""
    from difflib import get_close_matches  # a process without mistakes does not need it

    matches = get_close_matches(name, list(known), 1)
    return f"did you mean {matches[0]!r}?" if matches else None


def listed(names: Iterable[str], limit: int = 8) -> str:
    """The names in quotes, the first ``limit`` of them."""
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(repr(name) for name in names[:limit]) + more if names else "none"


def typed(dtype: str, shape: Iterable[int | str]) -> str:
    """An element type and a shape, as the front writes them.

    >>> typed("float32", ("batch",))
    'float32["batch"]'
    """
    return f"{dtype}[{show(shape)[1:-1].rstrip(',')}]"


def show(shape: Iterable[int | str]) -> str:
    """A shape as its user writes it: names of dimensions in quotes.

    >>> show(("batch", 64))
    '("batch", 64)'
    """
    parts = [f'"{size}"' if isinstance(size, str) else str(size) for size in shape]
    return f"({parts[0]},)" if len(parts) == 1 else f"({', '.join(parts)})"
