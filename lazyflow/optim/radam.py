"""RAdam."""

from __future__ import annotations

from typing import Any

from lazyflow.ops.elementwise import sqrt, where
from lazyflow.optim.optimizer import Optimizer, State
from lazyflow.optim.options import Option, Pair, Scalar
from lazyflow.optim.trace import Next
from lazyflow.tensor import Tensor


class RAdam(Optimizer):
    """RAdam: Adam that takes plain momentum steps until its second moment can be trusted.

    With gradient g, which holds weight_decay * p (L2), parameter p, learning rate lr, and step t from 1:

        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        n = N - 2 * t * beta2**t / (1 - beta2**t),   N = 2 / (1 - beta2) - 1
        r = sqrt((n - 4) * (n - 2) * N / ((N - 4) * (N - 2) * n))
        p = p - lr * m / (1 - beta1**t) * r * sqrt(1 - beta2**t) / (sqrt(v) + eps)     where n > 5
        p = p - lr * m / (1 - beta1**t)                                                elsewhere

    Args:
        params: Parameters, or dicts with the key "params" and options of their own.
        lr: Learning rate, >= 0.
        betas: How much of each moment stays, both in [0, 1).
        eps: Added to the uncorrected root, as in PyTorch, >= 0.
        weight_decay: L2 penalty, >= 0.
        decoupled_weight_decay: Whether the decay stays out of the moments, as in AdamW.

    Source: Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond", 2020, Algorithm 2; the
    threshold is 5 as in the authors' code and PyTorch, 4 in the paper.
    """

    betas: Option[Pair] = Option(default=(0.9, 0.999), low=0.0, below=1.0)
    eps: Option[Scalar] = Option(default=1e-8, low=0.0)
    weight_decay: Option[Scalar] = Option(default=0.0, low=0.0)
    decoupled_weight_decay: Option[bool] = Option(default=False)

    def state(self, h: Any) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    def decayed(self, p: Tensor, d: Tensor, h: Any) -> Tensor:
        return d if h.decoupled_weight_decay else super().decayed(p, d, h)

    def update(self, p: Tensor, g: Tensor, lr: Tensor, t: Tensor, state: State, h: Any) -> Next:
        m, v = state
        beta1, beta2 = h.betas
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * t * beta2**t / (1 - beta2**t)
        trusted = length > 5
        n = where(trusted, length, longest)  # so that no root of a negative number is taken
        r = sqrt((n - 4) * (n - 2) * longest / ((longest - 4) * (longest - 2) * n))
        share = where(trusted, r * sqrt(1 - beta2**t), 1.0)
        root = where(trusted, sqrt(v) + h.eps, 1.0)
        stepped = p - lr / (1 - beta1**t) * share * m / root
        return stepped - lr * h.weight_decay * p if h.decoupled_weight_decay else stepped, (m, v)
