"""NAdam."""

from __future__ import annotations

from typing import Any

from lazyflow.ops.elementwise import sqrt
from lazyflow.optim.optimizer import Optimizer, State
from lazyflow.optim.options import Option, Pair, Scalar
from lazyflow.optim.trace import Next
from lazyflow.tensor import Tensor


class NAdam(Optimizer):
    """NAdam: Adam with Nesterov's look ahead, whose momentum grows with the steps.

    With gradient g, which holds weight_decay * p (L2), parameter p, learning rate lr, and step t from 1:

        mu(t) = beta1 * (1 - 0.5 * 0.96**(t * momentum_decay))
        P = P * mu(t)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        u = (1 - mu(t)) / (1 - P) * g + mu(t + 1) / (1 - P * mu(t + 1)) * m
        p = p - lr * u / (sqrt(v / (1 - beta2**t)) + eps)

    P, the product of all momenta so far, is 1 at first. It is kept once per group, in float64, and moves with
    the applied updates.

    Args:
        params: Parameters, or dicts with the key "params" and options of their own.
        lr: Learning rate, >= 0.
        betas: How much of each moment stays, both in [0, 1).
        eps: Added to the denominator, outside of the root, >= 0.
        weight_decay: L2 penalty, >= 0.
        momentum_decay: How fast the momentum grows from beta1 / 2 to beta1, >= 0.
        decoupled_weight_decay: Whether the decay stays out of the moments, as in AdamW.

    Source: Dozat, "Incorporating Nesterov Momentum into Adam", 2016, as PyTorch reads it: the first moment
    weighs with beta1, not with mu(t).
    """

    lr: Option[Scalar] = Option(default=0.002, low=0.0)
    betas: Option[Pair] = Option(default=(0.9, 0.999), low=0.0, below=1.0)
    eps: Option[Scalar] = Option(default=1e-8, low=0.0)
    weight_decay: Option[Scalar] = Option(default=0.0, low=0.0)
    momentum_decay: Option[Scalar] = Option(default=0.004, low=0.0)
    decoupled_weight_decay: Option[bool] = Option(default=False)

    def state(self, h: Any) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    def group_state(self, h: Any) -> dict[str, float]:
        return {"mu_product": 1.0}

    def next_group_state(self, lr: Tensor, t: Tensor, h: Any) -> dict[str, Tensor]:
        return {"mu_product": h.mu_product * _momentum(t, h)}

    def decayed(self, p: Tensor, d: Tensor, h: Any) -> Tensor:
        return d if h.decoupled_weight_decay else super().decayed(p, d, h)

    def update(self, p: Tensor, g: Tensor, lr: Tensor, t: Tensor, state: State, h: Any) -> Next:
        m, v = state
        beta1, beta2 = h.betas
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        mu, ahead = _momentum(t, h), _momentum(t + 1, h)
        product = h.mu_product * mu
        u = (1 - mu) / (1 - product) * g + ahead / (1 - product * ahead) * m
        stepped = p - lr * (u / (sqrt(v) / sqrt(1 - beta2**t) + h.eps))
        return stepped - lr * h.weight_decay * p if h.decoupled_weight_decay else stepped, (m, v)


def _momentum(t: Tensor, h: Any) -> Tensor:
    momentum: Tensor = h.betas[0] * (1.0 - 0.5 * 0.96 ** (t * h.momentum_decay))
    return momentum
