"""LAMB and LARS: rates of their own for each parameter, by its norm and that of its step."""

from __future__ import annotations

from typing import Any

from lazyflow.ops.elementwise import cast, sqrt, where
from lazyflow.ops.reduction import sum as total
from lazyflow.optim.optimizer import Optimizer, State
from lazyflow.optim.options import Option, Pair, Scalar
from lazyflow.optim.rounding import as_float32
from lazyflow.optim.trace import Next
from lazyflow.runtime.dtypes import float64
from lazyflow.tensor import Tensor


def norm(x: Tensor) -> Tensor:
    """The Euclidean norm of all elements, summed in float64; a float64 scalar."""
    wide = cast(x, float64)
    return sqrt(total(wide * wide))


class LAMB(Optimizer):
    """LAMB: Adam's directions, scaled so that a step is a share of the parameter's norm.

    With gradient g, parameter p, learning rate lr, and step t from 1:

        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        u = m / c1 / (sqrt(v / c2) + eps)
        p = p - lr * trust * (u + weight_decay * p),   trust = |p| / |u + weight_decay * p|

    where c1 = 1 - beta1**t and c2 = 1 - beta2**t with bias correction, and 1 without; trust is 1 where a norm
    is 0.

    Args:
        params: Parameters, or dicts with the key "params" and options of their own.
        lr: Learning rate, >= 0.
        betas: How much of each moment stays, both in [0, 1).
        eps: Added to the denominator, outside of the root, >= 0.
        weight_decay: Share of the parameter that a step takes away, times lr and trust, >= 0.
        adam_w_mode: Whether the decay is decoupled, as in the paper; False: it joins the gradient (L2).
        do_bias_correction: Whether moments are divided by what they lack for having started at 0.
        decay_in_trust: Whether the norm below the line includes the decay, as in the paper; OneFlow: not.
        float32_betas: Whether the moments weigh with float32 betas, as in OneFlow.

    Source: You et al., "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes", 2020,
    Algorithm 2, with the identity for the scaling function.
    """

    betas: Option[Pair] = Option(default=(0.9, 0.999), low=0.0, below=1.0)
    eps: Option[Scalar] = Option(default=1e-8, low=0.0)
    weight_decay: Option[Scalar] = Option(default=0.0, low=0.0)
    adam_w_mode: Option[bool] = Option(default=True)
    do_bias_correction: Option[bool] = Option(default=True)
    decay_in_trust: Option[bool] = Option(default=True, kw_only=True)
    float32_betas: Option[bool] = Option(default=False, kw_only=True)

    def state(self, h: Any) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    def decayed(self, p: Tensor, d: Tensor, h: Any) -> Tensor:
        return d if h.adam_w_mode else super().decayed(p, d, h)

    def update(self, p: Tensor, g: Tensor, lr: Tensor, t: Tensor, state: State, h: Any) -> Next:
        m, v = state
        beta1, beta2 = map(as_float32, h.betas) if h.float32_betas else h.betas
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        mean, root = m, sqrt(v)
        if h.do_bias_correction:
            c1, c2 = (1 - beta**t for beta in h.betas)
            mean, root = m / c1, root / sqrt(c2)
        u = mean / (root + h.eps)
        step = u + h.weight_decay * p if h.adam_w_mode else u
        above, below = norm(p), norm(step if h.decay_in_trust else u)
        trust = where((above > 0.0) & (below > 0.0), above / below, 1.0)
        return p - lr * trust * step, (m, v)


class LARS(Optimizer):
    """LARS: momentum whose rate is, for each parameter, a share of its norm over that of its gradient.

    With gradient g, parameter p and learning rate lr:

        d = g + weight_decay * p
        trust = trust_coefficient * |p| / (|g| + weight_decay * |p| + eps)
        v = momentum * v + lr * trust * d
        p = p - v

    where trust is 1 where |p| or |g| is 0.

    Args:
        params: Parameters, or dicts with the key "params" and options of their own.
        lr: Learning rate, >= 0.
        momentum: Share of the velocity that stays, >= 0.
        weight_decay: L2 penalty, >= 0.
        trust_coefficient: How far a step goes in shares of the norm, >= 0.
        eps: Added to the denominator of trust, >= 0.

    Source: You, Gitman, Ginsburg, "Large Batch Training of Convolutional Networks", 2017, Algorithm 1.
    """

    decoupled = True  # the decay enters the norms on its own

    lr: Option[Scalar] = Option(default=0.1, low=0.0)
    momentum: Option[Scalar] = Option(default=0.9, low=0.0)
    weight_decay: Option[Scalar] = Option(default=0.0, low=0.0)
    trust_coefficient: Option[Scalar] = Option(default=0.001, low=0.0)
    eps: Option[Scalar] = Option(default=1e-8, low=0.0)

    def state(self, h: Any) -> tuple[str, ...]:
        return ("momentum_buffer",)

    def update(self, p: Tensor, g: Tensor, lr: Tensor, t: Tensor, state: State, h: Any) -> Next:
        size, slope = norm(p), norm(g)
        share = h.trust_coefficient * size / (slope + h.weight_decay * size + h.eps)
        trust = where((size > 0.0) & (slope > 0.0), share, 1.0)
        v = h.momentum * state[0] + lr * trust * (g + h.weight_decay * p)
        return p - v, (v,)
