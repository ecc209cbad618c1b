"""Adan."""

from __future__ import annotations

from typing import Any, TypeAlias

from lazyflow.ops.elementwise import sqrt, where
from lazyflow.optim.optimizer import Optimizer, State
from lazyflow.optim.options import Option, Scalar
from lazyflow.optim.trace import Next
from lazyflow.tensor import Tensor

Triple: TypeAlias = tuple[Scalar, Scalar, Scalar]


class Adan(Optimizer):
    """Adan: Adam with Nesterov's look ahead, taken from the difference of successive gradients.

    With gradient g, the one before it h (its difference from g counts as 0 at first), parameter p, learning
    rate lr, and step t from 1:

        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * (g - h)
        n = beta3 * n + (1 - beta3) * (g + beta2 * (g - h))**2
        u = (m / c1 + beta2 * v / c2) / (sqrt(n / c3) + eps),   ci = 1 - betai**t
        p = (p - lr * u) / (1 + lr * weight_decay)

    Args:
        params: Parameters, or dicts with the key "params" and options of their own.
        lr: Learning rate, >= 0.
        betas: How much of the three means stays, each in [0, 1); the paper's letters stand for 1 - beta.
        eps: Added to the denominator, outside of the root, >= 0.
        weight_decay: Decay of the parameter by a proximal step, >= 0; decoupled.

    Source: Xie et al., "Adan: Adaptive Nesterov Momentum Algorithm for Faster Optimizing Deep Models", 2022,
    Algorithm 1, with the bias correction of the authors' code.
    """

    decoupled = True

    betas: Option[Triple] = Option(default=(0.98, 0.92, 0.99), low=0.0, below=1.0)
    eps: Option[Scalar] = Option(default=1e-8, low=0.0)
    weight_decay: Option[Scalar] = Option(default=0.0, low=0.0)

    def state(self, h: Any) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_diff", "exp_avg_sq", "previous_grad")

    def update(self, p: Tensor, g: Tensor, lr: Tensor, t: Tensor, state: State, h: Any) -> Next:
        m, v, n, previous = state
        beta1, beta2, beta3 = h.betas
        change = where(t == 1, 0.0, g - previous)
        ahead = g + beta2 * change
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * change
        n = beta3 * n + (1 - beta3) * ahead * ahead
        c1, c2, c3 = (1 - beta**t for beta in h.betas)
        u = (m / c1 + beta2 / c2 * v) / (sqrt(n) / sqrt(c3) + h.eps)
        return (p - lr * u) / (1 + lr * h.weight_decay), (m, v, n, g)
