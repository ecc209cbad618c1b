"""Attention."""

from __future__ import annotations

import math

from lazyflow.compiler.rules import show
from lazyflow.location import user_line
from lazyflow.nn.activation import softmax
from lazyflow.nn.arguments import check_number
from lazyflow.nn.dropout import dropout
from lazyflow.ops.elementwise import where
from lazyflow.ops.function import composition, real
from lazyflow.ops.linalg import matmul
from lazyflow.ops.shaping import iota, swapaxes
from lazyflow.runtime import dtypes
from lazyflow.runtime.errors import ArgumentError, ShapeError, message
from lazyflow.tensor import Tensor, TensorLike


@composition
def scaled_dot_product_attention(
    query: TensorLike,
    key: TensorLike,
    value: TensorLike,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """``softmax(query @ key.T * scale + mask) @ value``: a mean of the values, weighted by likeness.

    Args:
        query: Tensor of shape (..., length, features).
        key: Tensor of shape (..., positions, features).
        value: Tensor of shape (..., positions, width).
        attn_mask: Bool tensor, true where a query may look at a position, or a float tensor to add to the
            products; broadcast to (..., length, positions). A query that may look nowhere gives NaN.
        dropout_p: The probability that a weight is dropped, in every program that runs this.
        is_causal: Whether query i looks at positions 0 to i only; excludes ``attn_mask``.
        scale: The factor of the products; ``1 / sqrt(features)`` unless given.

    Returns:
        Tensor of shape (..., length, width).

    Source: Vaswani et al., "Attention Is All You Need", 2017.
    """
    call = "scaled_dot_product_attention"
    q, k, v = real(query, call), real(key, call), real(value, call)
    _check(q, k, v)
    if is_causal and attn_mask is not None:
        raise ArgumentError(
            message(
                f"{call}: is_causal and attn_mask exclude each other",
                mask=attn_mask.describe(),
                here=f"at {user_line()}",
            )
        )
    factor = _scale(q, scale)
    scores = matmul(q * factor, swapaxes(k, -1, -2))
    mask = _causal(scores) if is_causal else attn_mask
    if mask is not None:
        scores = where(mask, scores, -math.inf) if mask.dtype == dtypes.bool_ else scores + mask
    weights = dropout(softmax(scores), dropout_p)
    return matmul(weights, v)


def _check(q: Tensor, k: Tensor, v: Tensor) -> None:
    ranks = min(x.ndim for x in (q, k, v)) >= 2
    if not ranks or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        shapes = f"query is {show(q.shape)}, key is {show(k.shape)}, value is {show(v.shape)}"
        raise ShapeError(
            message(
                f"scaled_dot_product_attention: {shapes}",
                expected="(..., length, features), (..., positions, features), (..., positions, width)",
                query=q.describe(),
                key=k.describe(),
                value=v.describe(),
                here=f"at {user_line()}",
            )
        )


def _scale(q: Tensor, scale: float | None) -> float:
    if scale is not None:
        return check_number("scaled_dot_product_attention", "scale", scale, -math.inf)
    features = q.shape[-1]
    if not isinstance(features, int):
        raise ShapeError(
            message(
                f"scaled_dot_product_attention: the features of {show(q.shape)} are not static",
                query=q.describe(),
                hint="give scale=",
            )
        )
    return 1.0 / math.sqrt(features)


def _causal(scores: Tensor) -> Tensor:
    """True where the position is not after the query."""
    shape = scores.shape[-2:]
    return iota(shape, 1) <= iota(shape, 0)
