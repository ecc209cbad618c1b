"""Lion."""

from __future__ import annotations

from typing import Any

from lazyflow.ops.elementwise import sign
from lazyflow.optim.optimizer import Optimizer, State
from lazyflow.optim.options import Option, Pair, Scalar
from lazyflow.optim.trace import Next
from lazyflow.tensor import Tensor


class Lion(Optimizer):
    """Lion: steps of one size, in the direction of the sign of a mean of gradients.

    With gradient g, parameter p and learning rate lr:

        u = sign(beta1 * m + (1 - beta1) * g)
        m = beta2 * m + (1 - beta2) * g
        p = p - lr * (u + weight_decay * p)

    Args:
        params: Parameters, or dicts with the key "params" and options of their own.
        lr: Learning rate, >= 0: the size of a step; 3 to 10 times smaller than Adam's.
        betas: How much of the mean counts in the direction, and how much of it stays, both in [0, 1).
        weight_decay: Share of the parameter that each step takes away, times lr, >= 0; decoupled.

    Source: Chen et al., "Symbolic Discovery of Optimization Algorithms", 2023, Algorithm 2.
    """

    decoupled = True

    lr: Option[Scalar] = Option(default=1e-4, low=0.0)
    betas: Option[Pair] = Option(default=(0.9, 0.99), low=0.0, below=1.0)
    weight_decay: Option[Scalar] = Option(default=0.0, low=0.0)

    def state(self, h: Any) -> tuple[str, ...]:
        return ("exp_avg",)

    def update(self, p: Tensor, g: Tensor, lr: Tensor, t: Tensor, state: State, h: Any) -> Next:
        (m,) = state
        beta1, beta2 = h.betas
        u = sign(beta1 * m + (1 - beta1) * g)
        m = beta2 * m + (1 - beta2) * g
        return p - lr * (u + h.weight_decay * p), (m,)
