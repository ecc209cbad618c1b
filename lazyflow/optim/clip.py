"""Norms of gradients, and what to multiply gradients with so that a norm does not exceed a limit."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lazyflow.ops.elementwise import abs as absolute
from lazyflow.ops.elementwise import cast, minimum, sqrt, where
from lazyflow.ops.joining import stack
from lazyflow.ops.reduction import max as largest
from lazyflow.ops.reduction import min as smallest
from lazyflow.ops.reduction import sum as total
from lazyflow.ops.shaping import broadcast_to, iota, reshape
from lazyflow.runtime.dtypes import float64, int32
from lazyflow.tensor import Tensor

SMALL = 1e-6  # added to the norm, as in PyTorch and OneFlow


def norm_parts(gradients: Sequence[Tensor], p: float) -> Tensor:
    """What each gradient adds to a p-norm, summed in float64, (parameters,)."""
    return stack([_part(cast(gradient, float64), p) for gradient in gradients])


def group_norms(parts: Tensor, groups: Sequence[Tensor], count: int, p: float) -> Tensor:
    """The p-norm over all gradients of each group.

    Args:
        parts: What each gradient adds to it, (parameters,).
        groups: The int32 scalar that holds each parameter's group.
        count: The number of groups.
        p: A number > 0, or plus or minus infinity.

    Returns:
        Float64 tensor, shape (count,); 0 for a group without gradients (inf for the smallest of none).
    """
    mine = _memberships(groups, count)
    if p == math.inf:
        return largest(where(mine, parts, 0.0), axis=1)
    if p == -math.inf:
        return smallest(where(mine, parts, math.inf), axis=1)
    sums = total(where(mine, parts, 0.0), axis=1)
    return sqrt(sums) if p == 2.0 else sums ** (1.0 / p)


def _part(gradient: Tensor, p: float) -> Tensor:
    """What one gradient adds to the norm."""
    if math.isinf(p):
        return largest(absolute(gradient)) if p > 0 else smallest(absolute(gradient))
    return total(gradient * gradient if p == 2.0 else absolute(gradient) ** p)


def _memberships(groups: Sequence[Tensor], count: int) -> Tensor:
    """Whether a parameter is in a group, (count, parameters)."""
    return reshape(stack(groups), (1, -1)) == iota((count, 1), dtype=int32)


def of_members(column: Tensor, groups: Sequence[Tensor]) -> Tensor:
    """The number of each parameter's group.

    Args:
        column: Float64 tensor with one row per group.
        groups: The int32 scalar that holds each parameter's group.

    Returns:
        Float64 tensor, shape (parameters,).
    """
    rows = reshape(column, (-1, 1))
    return total(where(_memberships(groups, len(column)), rows, 0.0), axis=0)


def clip_coefficients(norms: Tensor, highest: Tensor, factor: Tensor) -> Tensor:
    """What to multiply the gradients of each group with, so that no norm exceeds the highest, (count,).

    Args:
        norms: The norm of each group, (count,).
        highest: The limit, (count,).
        factor: What the gradients are multiplied with besides, (count,).
    """
    return minimum(highest / (absolute(factor) * norms + SMALL), 1.0)


def global_coefficient(norms: Tensor, highest: Tensor, factor: Tensor, frozen: Tensor) -> Tensor:
    """What to multiply all gradients with, so that their norm does not exceed the highest, (count,).

    Args:
        norms: The norm of each group, (count,).
        highest: The limit, a scalar.
        factor: What the gradients of each group are multiplied with besides, (count,).
        frozen: 1 for groups that the norm leaves out, else 0, (count,).
    """
    scaled = factor * norms
    norm = sqrt(total(where(frozen > 0.5, 0.0, scaled * scaled)))
    return broadcast_to(minimum(highest / (norm + SMALL), 1.0), norms.shape)
