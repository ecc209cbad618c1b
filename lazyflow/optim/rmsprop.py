"""RMSprop."""

from __future__ import annotations

from typing import Any

from lazyflow.ops.elementwise import sqrt
from lazyflow.optim.optimizer import Optimizer, State
from lazyflow.optim.options import Option, Scalar
from lazyflow.optim.rounding import as_float32
from lazyflow.optim.trace import Next
from lazyflow.tensor import Tensor


class RMSprop(Optimizer):
    """RMSprop: gradients divided by the root of their running mean square.

    With gradient g, which holds weight_decay * p (L2), parameter p and learning rate lr:

        r = alpha * r + (1 - alpha) * g * g
        q = alpha * q + (1 - alpha) * g            centered: the variance r - q * q takes the place of r
        u = g / sqrt(r + eps)                      eps_inside_sqrt; otherwise g / (sqrt(r) + eps)
        p = p - lr * u                             without momentum
        v = momentum * v + lr * u,  p = p - v      lr_in_velocity
        v = momentum * v + u,  p = p - lr * v      not lr_in_velocity

    Args:
        params: Parameters, or dicts with the key "params" and options of their own.
        lr: Learning rate, >= 0.
        alpha: How much of the means stays, in [0, 1].
        eps: Added to the denominator, >= 0.
        weight_decay: L2 penalty, >= 0.
        momentum: Share of the velocity that stays, >= 0; 0: no velocity is kept.
        centered: Whether to divide by an estimate of the standard deviation.
        eps_inside_sqrt: Whether eps is added under the root, as documented and in OneFlow; PyTorch: outside.
        lr_in_velocity: Whether the velocity is a sum of steps, as documented; PyTorch: of directions.
        float32_betas: Whether alpha is rounded to float32, as OneFlow does.

    Source: Tieleman and Hinton, Lecture 6.5 of "Neural Networks for Machine Learning", 2012; Graves,
    "Generating Sequences With Recurrent Neural Networks", 2013, for the centered form and momentum.
    """

    alpha: Option[Scalar] = Option(default=0.99, low=0.0, high=1.0)
    eps: Option[Scalar] = Option(default=1e-8, low=0.0)
    weight_decay: Option[Scalar] = Option(default=0.0, low=0.0)
    momentum: Option[Scalar] = Option(default=0.0, low=0.0, absent=0.0)
    centered: Option[bool] = Option(default=False)
    eps_inside_sqrt: Option[bool] = Option(default=True, kw_only=True)
    lr_in_velocity: Option[bool] = Option(default=True, kw_only=True)
    float32_betas: Option[bool] = Option(default=False, kw_only=True)

    def state(self, h: Any) -> tuple[str, ...]:
        kept = (True, h.centered, h.momentum is not None)
        names = ("square_avg", "grad_avg", "momentum_buffer")
        return tuple(name for name, there in zip(names, kept, strict=True) if there)

    def update(self, p: Tensor, g: Tensor, lr: Tensor, t: Tensor, state: State, h: Any) -> Next:
        kept = dict(zip(self.state(h), state, strict=True))
        alpha = as_float32(h.alpha) if h.float32_betas else h.alpha
        r = kept["square_avg"] = alpha * kept["square_avg"] + (1 - alpha) * g * g
        if h.centered:
            q = kept["grad_avg"] = alpha * kept["grad_avg"] + (1 - alpha) * g
            r = r - q * q
        u = g / sqrt(r + h.eps) if h.eps_inside_sqrt else g / (sqrt(r) + h.eps)
        if h.momentum is not None:
            u = kept["momentum_buffer"] = h.momentum * kept["momentum_buffer"] + (
                lr * u if h.lr_in_velocity else u
            )
        step = u if h.momentum is not None and h.lr_in_velocity else lr * u
        return p - step, tuple(kept.values())
