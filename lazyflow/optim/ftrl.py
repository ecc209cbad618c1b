"""Ftrl."""

from __future__ import annotations

from typing import Any

from lazyflow.ops.elementwise import abs as absolute
from lazyflow.ops.elementwise import sign, where
from lazyflow.optim.optimizer import Optimizer, State
from lazyflow.optim.options import Option, Scalar
from lazyflow.optim.trace import Next
from lazyflow.tensor import Tensor


class Ftrl(Optimizer):
    """FTRL-Proximal: follows the regularised leader, so that an L1 penalty gives parameters that are 0.

    With gradient g, which holds weight_decay * p (L2), parameter p and learning rate lr:

        s = (n + g * g)**-lr_power,   r = n**-lr_power
        z = z + g - (s - r) / lr * p
        n = n + g * g
        p = -(z - sign(z) * l1) / ((s + beta) / lr + 2 * l2)     where |z| > l1
        p = 0                                                    elsewhere

    A parameter is what its sums make of it: its first value counts in shares, through z. At lr = 0 nothing
    moves.

    Args:
        params: Parameters, or dicts with the key "params" and options of their own.
        lr: Learning rate, >= 0.
        lr_power: How the rate falls with the sum of squares, <= 0; -0.5 is the paper's root, 0 is none.
        initial_accumulator_value: What the sum of squares starts from, >= 0.
        l1: L1 penalty, >= 0.
        l2: L2 penalty beside the proximal term, >= 0.
        beta: Added to the root, as in the paper, >= 0.
        weight_decay: L2 penalty in the gradient, >= 0.

    Source: McMahan et al., "Ad Click Prediction: a View from the Trenches", 2013, Algorithm 1, as TensorFlow
    reads it: the sum of squares starts at initial_accumulator_value, l2 counts twice, and the first value of
    a parameter need not be 0.
    """

    lr_power: Option[Scalar] = Option(default=-0.5, high=0.0)
    initial_accumulator_value: Option[float] = Option(default=0.1, low=0.0, fixed=True)
    l1: Option[Scalar] = Option(default=0.0, low=0.0)
    l2: Option[Scalar] = Option(default=0.0, low=0.0)
    beta: Option[Scalar] = Option(default=0.0, low=0.0)
    weight_decay: Option[Scalar] = Option(default=0.0, low=0.0)

    def state(self, h: Any) -> dict[str, float]:
        return {"accumulator": h.initial_accumulator_value, "linear": 0.0}

    def update(self, p: Tensor, g: Tensor, lr: Tensor, t: Tensor, state: State, h: Any) -> Next:
        n, z = state
        moves = lr > 0.0
        rate = where(moves, lr, 1.0)
        after = n + g * g
        s, r = (each**-h.lr_power for each in (after, n))
        linear = z + g - (s - r) / rate * p
        pull = linear - sign(linear) * h.l1
        # 0 below the line: no gradient has come yet, and nothing is penalised
        below = (s + h.beta) / rate + 2 * h.l2
        led = where(below > 0.0, -pull / where(below > 0.0, below, 1.0), p)
        led = where(absolute(linear) > h.l1, led, where(below > 0.0, 0.0, p))
        return where(moves, led, p), (where(moves, after, n), where(moves, linear, z))
