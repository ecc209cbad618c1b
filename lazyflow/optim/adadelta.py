"""Adadelta."""

from __future__ import annotations

from typing import Any

from lazyflow.ops.elementwise import sqrt
from lazyflow.optim.optimizer import Optimizer, State
from lazyflow.optim.options import Option, Scalar
from lazyflow.optim.trace import Next
from lazyflow.tensor import Tensor


class Adadelta(Optimizer):
    """Adadelta: steps of the size of recent steps, so that a rate is hardly needed.

    With gradient g, which holds weight_decay * p (L2), parameter p and learning rate lr:

        s = rho * s + (1 - rho) * g * g
        d = sqrt(x + eps) / sqrt(s + eps) * g
        x = rho * x + (1 - rho) * d * d
        p = p - lr * d

    Args:
        params: Parameters, or dicts with the key "params" and options of their own.
        lr: What the step is multiplied with, >= 0; the paper has none.
        rho: How much of the two means stays, in [0, 1].
        eps: Added to the means under the roots, >= 0; it starts the first steps.
        weight_decay: L2 penalty, >= 0.

    Source: Zeiler, "ADADELTA: An Adaptive Learning Rate Method", 2012, Algorithm 1.
    """

    lr: Option[Scalar] = Option(default=1.0, low=0.0)
    rho: Option[Scalar] = Option(default=0.9, low=0.0, high=1.0)
    eps: Option[Scalar] = Option(default=1e-6, low=0.0)
    weight_decay: Option[Scalar] = Option(default=0.0, low=0.0)

    def state(self, h: Any) -> tuple[str, ...]:
        return ("square_avg", "acc_delta")

    def update(self, p: Tensor, g: Tensor, lr: Tensor, t: Tensor, state: State, h: Any) -> Next:
        s, x = state
        s = h.rho * s + (1 - h.rho) * g * g
        d = sqrt(x + h.eps) / sqrt(s + h.eps) * g
        x = h.rho * x + (1 - h.rho) * d * d
        return p - lr * d, (s, x)
