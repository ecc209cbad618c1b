"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from lazyflow.ops.elementwise import where
from lazyflow.optim.optimizer import Optimizer, State
from lazyflow.optim.options import Option, Scalar
from lazyflow.optim.trace import Next
from lazyflow.runtime.errors import ArgumentError, message
from lazyflow.tensor import Tensor


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum if asked for.

    With gradient g, which holds weight_decay * p (L2), parameter p and learning rate lr:

        p = p - lr * g                                    without momentum
        v = momentum * v + lr * (1 - dampening) * g       p = p - v            lr_in_velocity
        v = momentum * v + (1 - dampening) * g            p = p - lr * v       not lr_in_velocity

    The first of the two is the documented equation, in which a velocity keeps the rates that it was gathered
    with; the second is what PyTorch and later OneFlow do. With nesterov, the last step takes
    lr * g + momentum * v in place of v, or g + momentum * v in the second, where v is the new one.

    Args:
        params: Parameters, or dicts with the key "params" and options of their own.
        lr: Learning rate, >= 0.
        momentum: Share of the velocity that stays, >= 0; 0: no velocity is kept.
        dampening: Share of the gradient that stays out of the velocity, >= 0.
        weight_decay: L2 penalty, >= 0.
        nesterov: Whether to look ahead along the velocity; needs momentum > 0.
        lr_in_velocity: Whether the velocity is a sum of steps, not of gradients.
        first_undamped: Whether the first update leaves dampening out, as PyTorch does.
        decay_before_sign: Whether ``maximize`` negates the weight decay too, as OneFlow does.
        damped_nesterov: Whether nesterov may be combined with dampening, as OneFlow accepts.

    Source: Sutskever, Martens, Dahl, Hinton, "On the importance of initialization and momentum in deep
    learning", 2013.
    """

    momentum: Option[Scalar] = Option(default=0.0, low=0.0, absent=0.0)
    dampening: Option[Scalar] = Option(default=0.0, low=0.0)
    weight_decay: Option[Scalar] = Option(default=0.0, low=0.0)
    nesterov: Option[bool] = Option(default=False)
    lr_in_velocity: Option[bool] = Option(default=True, kw_only=True)
    first_undamped: Option[bool] = Option(default=False, kw_only=True)
    decay_before_sign: Option[bool] = Option(default=False, kw_only=True)
    damped_nesterov: Option[bool] = Option(default=False, kw_only=True)

    def check(self, h: SimpleNamespace, owner: str) -> None:
        if h.nesterov and h.momentum is None:
            text = f"{owner}: nesterov=True with momentum=0"
            raise ArgumentError(message(text, expected="momentum > 0", here=f"at {self.location}"))
        if h.nesterov and not h.damped_nesterov and not (isinstance(h.dampening, float) and h.dampening == 0):
            text = f"{owner}: nesterov=True with dampening={h.dampening!r}"
            raise ArgumentError(message(text, expected="dampening=0", here=f"at {self.location}"))

    def state(self, h: Any) -> tuple[str, ...]:
        return () if h.momentum is None else ("momentum_buffer",)

    def gradient(self, p: Tensor, g: Tensor, h: Any) -> Tensor:
        if h.maximize and h.decay_before_sign:
            return -self.decayed(p, self.scaled(g, h), h)
        return super().gradient(p, g, h)

    def update(self, p: Tensor, g: Tensor, lr: Tensor, t: Tensor, state: State, h: Any) -> Next:
        if h.momentum is None:
            return p - lr * g, ()
        (v,) = state
        share = 1 - h.dampening
        if h.first_undamped:
            share = where(t == 1, 1.0, share)
        if h.lr_in_velocity:
            v = h.momentum * v + lr * share * g
            return p - (lr * g + h.momentum * v if h.nesterov else v), (v,)
        v = h.momentum * v + share * g
        return p - lr * (g + h.momentum * v if h.nesterov else v), (v,)
