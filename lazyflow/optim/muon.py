"""Muon."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

from lazyflow.ops.elementwise import cast, maximum, sqrt
from lazyflow.ops.linalg import matmul
from lazyflow.ops.shaping import swapaxes
from lazyflow.optim.choices import Choice, Count
from lazyflow.optim.lamb import norm
from lazyflow.optim.optimizer import Optimizer, State
from lazyflow.optim.options import Option, Pair, Scalar
from lazyflow.optim.trace import Next
from lazyflow.runtime.dtypes import bfloat16
from lazyflow.tensor import Tensor

Triple: TypeAlias = tuple[Scalar, Scalar, Scalar]


class Muon(Optimizer):
    """Muon: momentum whose steps are made orthogonal, for matrices; AdamW for the rest.

    A parameter with two axes, (rows, columns), with gradient g, parameter p and learning rate lr:

        m = momentum * m + (1 - momentum) * g
        x = (1 - momentum) * g + momentum * m     with nesterov; without, x = m
        x = x / max(|x|, eps)
        x = a * x + (b * x x' + c * (x x')^2) x     ns_steps times: Newton and Schulz, of order five
        p = p - lr * weight_decay * p - lr * sqrt(max(1, rows / columns)) * x

    where x' is x transposed; a matrix with more rows than columns is transposed for the steps. They take
    x = U S V' near to U V', whose singular values are between 0.7 and 1.2. With adjust_lr_fn
    "match_rms_adamw" the last factor is 0.2 * sqrt(max(rows, columns)): the size of AdamW's steps.

    Every other parameter, and all of a group with orthogonalize=False (embeddings, the last layer), follow
    AdamW with bias correction, by the same lr and weight_decay:

        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        p = p - lr * weight_decay * p - lr * m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + adam_eps)

    Args:
        params: Parameters, or dicts with the key "params" and options of their own.
        lr: Learning rate, >= 0; groups can give the two rules rates of their own.
        weight_decay: Share of the parameter that each step takes away, times lr, >= 0; decoupled.
        momentum: How much of the mean of gradients stays, in [0, 1).
        nesterov: Whether to look ahead along the momentum.
        ns_coefficients: a, b and c.
        eps: Least norm that x is divided by, > 0.
        ns_steps: How many steps of Newton and Schulz are made, 1 to 99.
        adjust_lr_fn: "original" or "match_rms_adamw".
        orthogonalize: Whether matrices follow the first rule.
        betas: How much of each moment stays in the second rule, both in [0, 1).
        adam_eps: Added to the denominator of the second rule, >= 0.
        bfloat16_steps: Whether what the steps make is rounded to bfloat16, as in PyTorch.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024, with the defaults
    and the second rule of the authors' code; Liu et al., "Muon is Scalable for LLM Training", 2025, for
    match_rms_adamw.
    """

    decoupled = True

    weight_decay: Option[Scalar] = Option(default=0.0, low=0.0)
    momentum: Option[Scalar] = Option(default=0.95, low=0.0, below=1.0)
    nesterov: Option[bool] = Option(default=True)
    ns_coefficients: Option[Triple] = Option(default=(3.4445, -4.775, 2.0315))
    eps: Option[Scalar] = Option(default=1e-7, above=0.0)
    ns_steps: Option[int] = Count(default=5, low=1, high=99)
    adjust_lr_fn: Option[str] = Choice(default="original", among=("original", "match_rms_adamw"))
    orthogonalize: Option[bool] = Option(default=True, kw_only=True)
    betas: Option[Pair] = Option(default=(0.9, 0.95), low=0.0, below=1.0, kw_only=True)
    adam_eps: Option[Scalar] = Option(default=1e-10, low=0.0, kw_only=True)
    bfloat16_steps: Option[bool] = Option(default=False, kw_only=True)

    def looks_at_shape(self, shape: tuple[int, ...], h: Any) -> bool:
        return len(shape) == 2 and bool(h.orthogonalize)

    def state(self, h: Any) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq") if h.shape is None else ("momentum_buffer",)

    def update(self, p: Tensor, g: Tensor, lr: Tensor, t: Tensor, state: State, h: Any) -> Next:
        decayed = p - lr * h.weight_decay * p
        if h.shape is None:
            u, after = _adam(g, t, state, h)
            return decayed - lr * u, after
        rows, columns = h.shape
        m = h.momentum * state[0] + (1 - h.momentum) * g
        x = (1 - h.momentum) * g + h.momentum * m if h.nesterov else m
        ratio = math.sqrt(max(1.0, rows / columns))
        if h.adjust_lr_fn == "match_rms_adamw":
            ratio = 0.2 * math.sqrt(max(rows, columns))
        return decayed - lr * ratio * _orthogonal(x, h), (m,)


def _adam(g: Tensor, t: Tensor, state: State, h: Any) -> tuple[Tensor, State]:
    """Adam's direction, and its next moments."""
    m, v = state
    beta1, beta2 = h.betas
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    root = sqrt(v) / sqrt(1 - beta2**t)
    return m / (1 - beta1**t) / (root + h.adam_eps), (m, v)


def _orthogonal(x: Tensor, h: Any) -> Tensor:
    """A matrix with its singular values taken near to 1."""
    a, b, c = h.ns_coefficients
    rows, columns = h.shape
    rounded = _as_bfloat16 if h.bfloat16_steps else _as_it_is
    x = rounded(swapaxes(x, 0, 1) if rows > columns else x)
    x = rounded(x / maximum(rounded(norm(x)), h.eps))
    for _ in range(h.ns_steps):
        gram = rounded(matmul(x, swapaxes(x, 0, 1)))
        x = rounded(a * x + matmul(rounded(b * gram + c * matmul(gram, gram)), x))
    return swapaxes(x, 0, 1) if rows > columns else x


def _as_bfloat16(x: Tensor) -> Tensor:
    """The nearest bfloat16 numbers in the type of ``x``, in which products of bfloat16 add up anyway."""
    return cast(cast(x, bfloat16), x.dtype)


def _as_it_is(x: Tensor) -> Tensor:
    return x
