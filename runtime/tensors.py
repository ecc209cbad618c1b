"""Named arrays as bytes in the safetensors format: the same arrays give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors.numpy import save

from lazyflow.runtime import dtypes
from lazyflow.runtime.errors import PlanError, StateError

Array: TypeAlias = NDArray[Any]

_NAMES = {
    "BOOL": dtypes.bool_,
    "U8": dtypes.uint8,
    "I8": dtypes.int8,
    "I16": dtypes.int16,
    "I32": dtypes.int32,
    "I64": dtypes.int64,
    "U32": dtypes.uint32,
    "F16": dtypes.float16,
    "BF16": dtypes.bfloat16,
    "F32": dtypes.float32,
    "F64": dtypes.float64,
}


def to_bytes(arrays: Mapping[str, Array]) -> bytes:
    """The arrays as a safetensors file."""
    contiguous = {name: np.array(array, order="C", copy=None) for name, array in sorted(arrays.items())}
    return save(contiguous, {"format": "lazyflow"})  # more than one key would be written in random order


def from_bytes(data: bytes, what: str, error: type[PlanError] | type[StateError]) -> dict[str, Array]:
    """The arrays of a safetensors file.

    Raises:
        PlanError, StateError: as ``error`` says, if the data are not such a file.
    """
    try:
        entries = safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as reason:
        raise error(f"{what}: not a safetensors file: {reason}") from None
    arrays: dict[str, Array] = {}
    for name, entry in entries:
        if entry["dtype"] not in _NAMES:
            raise error(f"{what}: {name!r} has dtype {entry['dtype']}, which is not one of lazyflow's")
        dtype = _NAMES[entry["dtype"]]
        array = np.frombuffer(entry["data"], dtype).reshape(entry["shape"])
        # a file may hold other bytes than 0 and 1, with which NumPy's bools misbehave
        arrays[name] = array.view(np.uint8) != 0 if dtype == dtypes.bool_ else array
    return arrays
