"""Adam and AdamW."""

from __future__ import annotations

from typing import Any

from lazyflow.ops.elementwise import maximum, sqrt
from lazyflow.optim.optimizer import Optimizer, State
from lazyflow.optim.options import Option, Pair, Scalar
from lazyflow.optim.rounding import as_float32
from lazyflow.optim.trace import Next
from lazyflow.tensor import Tensor


class Adam(Optimizer):
    """Adam: gradient steps scaled by running estimates of the gradient's first two moments.

    With gradient g, which holds weight_decay * p (L2), parameter p, learning rate lr, and step t from 1:

        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        p = p - lr / c1 * (m / (sqrt(v) / sqrt(c2) + eps))

    where c1 = 1 - beta1**t and c2 = 1 - beta2**t with bias correction, and 1 without, as in the documented
    equations; ``optim.oneflow`` and ``optim.pytorch`` have it. With amsgrad the largest v so far takes the
    place of v in the last line; the largest of the uncorrected ones.

    Args:
        params: Parameters, or dicts with the key "params" and options of their own.
        lr: Learning rate, >= 0.
        betas: How much of each moment stays, both in [0, 1).
        eps: Added to the denominator, outside of the root, >= 0.
        weight_decay: L2 penalty, >= 0.
        amsgrad: Whether the second moment never falls.
        do_bias_correction: Whether moments are divided by what they lack for having started at 0.
        float32_betas: Whether the moments weigh with float32 betas, as in OneFlow; powers never do.

    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015, Algorithm 1; Reddi, Kale,
    Kumar, "On the Convergence of Adam and Beyond", 2018, for amsgrad.
    """

    betas: Option[Pair] = Option(default=(0.9, 0.999), low=0.0, below=1.0)
    eps: Option[Scalar] = Option(default=1e-8, low=0.0)
    weight_decay: Option[Scalar] = Option(default=0.0, low=0.0)
    amsgrad: Option[bool] = Option(default=False)
    do_bias_correction: Option[bool] = Option(default=False)
    float32_betas: Option[bool] = Option(default=False, kw_only=True)

    def state(self, h: Any) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq", "max_exp_avg_sq") if h.amsgrad else ("exp_avg", "exp_avg_sq")

    def update(self, p: Tensor, g: Tensor, lr: Tensor, t: Tensor, state: State, h: Any) -> Next:
        m, v, *highest = state
        beta1, beta2 = map(as_float32, h.betas) if h.float32_betas else h.betas
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        after = [m, v]
        if h.amsgrad:
            after.append(maximum(highest[0], v))
        root = sqrt(after[-1])
        if h.do_bias_correction:
            c1, c2 = (1 - beta**t for beta in h.betas)
            lr, root = lr / c1, root / sqrt(c2)
        return p - lr * (m / (root + h.eps)), tuple(after)


class AdamW(Adam):
    """Adam with decoupled weight decay, which does not enter the moments.

    As ``Adam`` with a gradient free of weight decay, and with the parameter p from before the update:

        p = p - lr / c1 * (m / (sqrt(v) / sqrt(c2) + eps)) - lr * weight_decay * p

    Args:
        params: Parameters, or dicts with the key "params" and options of their own.
        lr: Learning rate, >= 0.
        betas: How much of each moment stays, both in [0, 1).
        eps: Added to the denominator, outside of the root, >= 0.
        weight_decay: Share of the parameter that each step takes away, times lr, >= 0.
        amsgrad: Whether the second moment never falls.
        do_bias_correction: Whether moments are divided by what they lack for having started at 0.
        float32_betas: Whether the moments weigh with float32 betas, as in OneFlow.

    Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019, Algorithm 2, where lr
    stands for the product of schedule and alpha in both terms.
    """

    decoupled = True

    def update(self, p: Tensor, g: Tensor, lr: Tensor, t: Tensor, state: State, h: Any) -> Next:
        stepped, after = super().update(p, g, lr, t, state, h)
        return stepped - lr * h.weight_decay * p, after
