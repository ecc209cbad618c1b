"""What callers give: arrays and numbers that must fit a dtype, or are refused by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lazyflow.runtime import dtypes
from lazyflow.runtime.dtypes import DType
from lazyflow.runtime.errors import FeedError, StateError, message

Array: TypeAlias = NDArray[Any]
Refusal: TypeAlias = type[FeedError] | type[StateError]


class Wanted(NamedTuple):
    """What a value of the caller is to be.

    Attributes:
        what: What it is for, with which errors begin, such as ``feed 'x'``.
        dtype: The dtype that it must fit.
        rank: The number of axes that it must have.
        error: The class of error to raise.
        location: The line that made what it is for, if it is known.
    """

    what: str
    dtype: DType
    rank: int
    error: Refusal
    location: str = ""

    def refusal(
        self, reason: str, expected: str | None = None, hint: str | None = None
    ) -> FeedError | StateError:
        """The error that says why a value does not fit."""
        made = f"at {self.location}" if self.location else None
        return self.error(message(f"{self.what}: {reason}", expected=expected, made=made, hint=hint))


def as_array(value: object, wanted: Wanted) -> Array:
    """The value as an array that casts safely to the dtype: itself, if it is one.

    For rank 0, a Python or NumPy number of the same or a lower kind becomes an array of the dtype.

    Raises:
        FeedError, StateError: if it is neither.
    """
    dtype = wanted.dtype
    if wanted.rank == 0 and isinstance(value, bool | int | float | np.generic):
        return _number(value, wanted)
    if not isinstance(value, np.ndarray) or _is_masked(value):  # the mask would be lost
        raise _no_array(value, wanted)
    if not np.can_cast(value.dtype, dtype, "safe"):
        kind = {"U": "str", "S": "bytes"}.get(value.dtype.kind, value.dtype.name)
        reason = f"{kind} does not cast safely to {dtype.name}"
        raise wanted.refusal(reason, f"an array of {dtype.name}", _conversion(value, dtype))
    return value


def _conversion(array: Array, dtype: DType) -> str | None:
    """What to write where an array does not cast safely."""
    integer = np.issubdtype(dtype, np.integer)
    if array.dtype.kind in "USO":
        number = f"np.unique(array, return_inverse=True)[1].astype({spelled(dtype)}), a number for each value"
        return number if integer else f"array.astype({spelled(dtype)}), where it holds numbers"
    if integer and np.issubdtype(array.dtype, np.inexact) and np.isnan(array).any():
        return "the array holds NaN, which no integer stands for: array[~np.isnan(array)] is without"
    if array.dtype.kind == "c":
        return f"array.real.astype({spelled(dtype)})"
    plain = array.dtype.kind in "biuf" or array.dtype.name in dtypes.ALL
    return f"array.astype({spelled(dtype)}), where losing digits is meant" if plain else None


def _is_masked(array: Array) -> bool:
    # asked of subclasses only, because numpy loads numpy.ma when it is first named
    return type(array) is not np.ndarray and isinstance(array, np.ma.MaskedArray)


def in_place(array: object, wanted: Wanted) -> Array:
    """The array, which can be used as it is, without a copy.

    Raises:
        FeedError, StateError: if it is no array, not of the dtype, or not contiguous.
    """
    dtype = wanted.dtype
    if not isinstance(array, np.ndarray) or _is_masked(array):
        expected = f"an array of {dtype.name}, which is used as it is"
        raise wanted.refusal(f"{type(array).__name__} is not a plain numpy array", expected)
    if array.dtype != dtype:
        expected = f"{dtype.name}: a bound array is used as it is"
        raise wanted.refusal(f"the array is {array.dtype.name}", expected, f"array.astype({spelled(dtype)})")
    if not (array.flags.c_contiguous and array.flags.aligned):
        raise wanted.refusal("the array is not contiguous and aligned", hint="array.copy()")
    return array


def _number(value: bool | int | float | np.generic, wanted: Wanted) -> Array:
    dtype = wanted.dtype
    given = np.asarray(value).dtype if isinstance(value, np.generic) else np.dtype(type(value))
    plain = value.item() if isinstance(value, np.generic) else value
    if _kind(given) > dtypes.kind(dtype):
        raise wanted.refusal(f"{value!r} is of a higher kind than {dtype.name}", dtype.name)
    with np.errstate(all="ignore"):
        try:
            array = np.asarray(plain, dtype)
        except OverflowError:
            array = None
    if array is None or (np.isfinite(plain) and not np.isfinite(array)):
        raise wanted.refusal(f"{value!r} is outside of the range of {dtype.name}", dtype.name)
    return array


def _kind(dtype: DType) -> int:
    if dtype in dtypes.FLOATING or np.issubdtype(dtype, np.floating):
        return 2
    if np.issubdtype(dtype, np.integer):
        return 1
    return 0 if dtype == dtypes.bool_ else 3


def _no_array(value: object, wanted: Wanted) -> FeedError | StateError:
    kind = "a list" if isinstance(value, list) else f"{type(value).__name__}"
    axes = ", or a number" if wanted.rank == 0 else f" with {count_axes(wanted.rank)}"
    known = isinstance(value, list | tuple | int | float)
    hint = f"np.asarray(..., dtype={spelled(wanted.dtype)})" if known else None
    reason = f"{kind} is not a plain numpy array"
    return wanted.refusal(reason, f"a numpy array of {wanted.dtype.name}{axes}", hint)


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


def count_axes(rank: int) -> str:
    """A number of axes in words.

    >>> count_axes(1), count_axes(2)
    ('1 axis', '2 axes')
    """
    return "1 axis" if rank == 1 else f"{rank} axes"


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
