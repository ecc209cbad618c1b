"""Scalars rounded as other systems round them."""

from __future__ import annotations

from lazyflow.ops.elementwise import cast
from lazyflow.runtime.dtypes import float32, float64
from lazyflow.tensor import Tensor


def as_float32(scalar: Tensor) -> Tensor:
    """The float32 number nearest to a scalar, in float64."""
    return cast(cast(scalar, float32), float64)
