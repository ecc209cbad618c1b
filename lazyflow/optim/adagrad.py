"""Adagrad."""

from __future__ import annotations

from typing import Any

from lazyflow.ops.elementwise import sqrt
from lazyflow.optim.optimizer import Optimizer, State
from lazyflow.optim.options import Option, Scalar
from lazyflow.optim.trace import Next
from lazyflow.tensor import Tensor


class Adagrad(Optimizer):
    """Adagrad: gradients divided by the root of the sum of all their squares.

    With gradient g, which holds weight_decay * p (L2), parameter p, learning rate lr, and step t from 1:

        s = s + g * g
        p = p - lr / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps)

    Args:
        params: Parameters, or dicts with the key "params" and options of their own.
        lr: Learning rate, >= 0.
        lr_decay: How fast the rate falls with the number of updates, >= 0.
        weight_decay: L2 penalty, >= 0.
        initial_accumulator_value: What the sum starts from, >= 0.
        eps: Added to the denominator, outside of the root, >= 0.

    Source: Duchi, Hazan, Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
    Optimization", 2011, with the diagonal matrix; eps and lr_decay are later additions.
    """

    lr_decay: Option[Scalar] = Option(default=0.0, low=0.0)
    weight_decay: Option[Scalar] = Option(default=0.0, low=0.0)
    initial_accumulator_value: Option[float] = Option(default=0.0, low=0.0, fixed=True)
    eps: Option[Scalar] = Option(default=1e-10, low=0.0)

    def state(self, h: Any) -> dict[str, float]:
        return {"sum": h.initial_accumulator_value}

    def update(self, p: Tensor, g: Tensor, lr: Tensor, t: Tensor, state: State, h: Any) -> Next:
        s = state[0] + g * g
        lr = lr / (1 + (t - 1) * h.lr_decay)
        return p - lr * g / (sqrt(s) + h.eps), (s,)
