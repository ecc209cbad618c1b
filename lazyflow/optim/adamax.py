"""Adamax."""

from __future__ import annotations

from typing import Any

from lazyflow.ops.elementwise import abs as absolute
from lazyflow.ops.elementwise import maximum
from lazyflow.optim.optimizer import Optimizer, State
from lazyflow.optim.options import Option, Pair, Scalar
from lazyflow.optim.trace import Next
from lazyflow.tensor import Tensor


class Adamax(Optimizer):
    """Adamax: Adam with the infinity norm in place of the second moment.

    With gradient g, which holds weight_decay * p (L2), parameter p, learning rate lr, and step t from 1:

        m = beta1 * m + (1 - beta1) * g
        u = max(beta2 * u, |g| + eps)
        p = p - lr / (1 - beta1**t) * m / u

    Args:
        params: Parameters, or dicts with the key "params" and options of their own.
        lr: Learning rate, >= 0.
        betas: How much of the mean and of the norm stays, both in [0, 1).
        eps: Added to the size of the gradient, > 0, so that nothing is divided by 0; the paper has none.
        weight_decay: L2 penalty, >= 0.

    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015, Algorithm 2.
    """

    lr: Option[Scalar] = Option(default=0.002, low=0.0)
    betas: Option[Pair] = Option(default=(0.9, 0.999), low=0.0, below=1.0)
    eps: Option[Scalar] = Option(default=1e-8, above=0.0)
    weight_decay: Option[Scalar] = Option(default=0.0, low=0.0)

    def state(self, h: Any) -> tuple[str, ...]:
        return ("exp_avg", "exp_inf")

    def update(self, p: Tensor, g: Tensor, lr: Tensor, t: Tensor, state: State, h: Any) -> Next:
        m, u = state
        beta1, beta2 = h.betas
        m = beta1 * m + (1 - beta1) * g
        u = maximum(beta2 * u, absolute(g) + h.eps)
        return p - lr / (1 - beta1**t) * m / u, (m, u)
