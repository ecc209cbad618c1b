"""Element types: numpy dtypes under their names, and the promotion between them.

A dtype is a ``numpy.dtype``; ``bfloat16`` comes from ml_dtypes.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np

from lazyflow.runtime.errors import DTypeError, message

DType: TypeAlias = np.dtype[Any]

bool_: DType = np.dtype(np.bool_)
uint8: DType = np.dtype(np.uint8)
int8: DType = np.dtype(np.int8)
int16: DType = np.dtype(np.int16)
int32: DType = np.dtype(np.int32)
int64: DType = np.dtype(np.int64)
uint32: DType = np.dtype(np.uint32)
float16: DType = np.dtype(np.float16)
bfloat16: DType = np.dtype(ml_dtypes.bfloat16)
float32: DType = np.dtype(np.float32)
float64: DType = np.dtype(np.float64)

ALL: dict[str, DType] = {
    dtype.name: dtype
    for dtype in (bool_, uint8, int8, int16, int32, int64, uint32, float16, bfloat16, float32, float64)
}
NAMES: dict[DType, str] = {dtype: name for name, dtype in ALL.items()}  # numpy spells a name anew each time
FLOATING = frozenset((float16, bfloat16, float32, float64))
HALF = frozenset((float16, bfloat16))

_BOOL, _INTEGER, _FLOATING = 0, 1, 2
DEFAULT_OF_KIND = {_BOOL: bool_, _INTEGER: int64, _FLOATING: float32}


def as_dtype(dtype: object) -> DType:
    """The dtype meant by a lazyflow dtype, a numpy dtype or scalar type, or a name.

    Raises:
        DTypeError: if lazyflow has no such element type.

    >>> as_dtype("float32"), as_dtype(np.int64)
    (dtype('float32'), dtype('int64'))
    """
    if isinstance(dtype, str) and dtype in ALL:
        return ALL[dtype]
    if isinstance(dtype, np.dtype) and dtype in NAMES:
        return ALL[NAMES[dtype]]
    if dtype is not None:
        try:
            found = np.dtype(dtype)  # type: ignore[call-overload]
        except TypeError:
            found = None
        if found is not None and found.name in ALL and found.isnative:
            return ALL[found.name]
    raise DTypeError(message(f"dtype: {dtype!r} is not an element type of lazyflow", expected=", ".join(ALL)))


def kind(dtype: DType) -> int:
    """0 for bool, 1 for integers, 2 for floating types: the order of promotion."""
    if dtype in FLOATING:
        return _FLOATING
    return _BOOL if dtype == bool_ else _INTEGER


def is_floating(dtype: DType) -> bool:
    """Whether the dtype is a floating type."""
    return dtype in FLOATING


def is_integer(dtype: DType) -> bool:
    """Whether the dtype is an integer type; bool is none."""
    return kind(dtype) == _INTEGER


def join(a: DType, b: DType) -> DType:
    """The type of the same or the higher kind that holds both, as PyTorch joins two tensors' types."""
    if a == b:
        return a
    if kind(a) != kind(b):
        return a if kind(a) > kind(b) else b
    if a in HALF and b in HALF:
        return float32
    if kind(a) == _FLOATING:
        return a if a.itemsize > b.itemsize else b
    return as_dtype(np.promote_types(a, b))


def promote(operands: Iterable[tuple[DType, int]]) -> DType:
    """The common type of operands, each a dtype and a strength (2: an array, 1: rank 0, 0: a Python number).

    Weaker operands only matter where their kind is higher than that of all stronger ones; a Python number
    then stands for the default type of its kind.

    >>> promote([(float32, 2), (float64, 1)]), promote([(int32, 2), (float64, 0)])
    (dtype('float32'), dtype('float32'))
    """
    return _promoted(tuple(operands))


@cache
def _promoted(operands: tuple[tuple[DType, int], ...]) -> DType:
    best: list[DType | None] = [None, None, None]
    for dtype, strength in operands:
        known = best[strength]
        best[strength] = dtype if known is None else join(known, dtype)
    result: DType | None = None
    for strength in (2, 1, 0):
        candidate = best[strength]
        if candidate is None:
            continue
        if strength == 0:
            candidate = DEFAULT_OF_KIND[kind(candidate)]
        if result is None or kind(candidate) > kind(result):
            result = candidate
    if result is None:
        raise DTypeError("promote: no operands")
    return result
