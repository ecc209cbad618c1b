"""Adafactor."""

from __future__ import annotations

import math
from typing import Any

from lazyflow.ops.elementwise import maximum, minimum, sqrt
from lazyflow.ops.reduction import mean
from lazyflow.optim.lamb import norm
from lazyflow.optim.optimizer import Optimizer, State
from lazyflow.optim.options import Option, Pair, Scalar
from lazyflow.optim.trace import Kept, Next
from lazyflow.tensor import Tensor


class Adafactor(Optimizer):
    """Adafactor: second moments kept as one number per row and one per column.

    With gradient g, parameter p of shape (..., rows, columns), learning rate lr, step t from 1, and
    RMS(x) = sqrt(mean(x * x)):

        b = t**beta2_decay,   rho = min(lr, 1 / sqrt(t)),   s = g * g + eps1
        r = (1 - b) * r + b * mean(s over columns)
        c = (1 - b) * c + b * mean(s over rows)
        u = g / sqrt(r * c / mean(r over rows))
        p = p - lr * weight_decay * p - max(eps2, RMS(p)) * rho * u / max(1, RMS(u) / d)

    A parameter with less than two axes has v = (1 - b) * v + b * s in place of r * c / mean(r). All p on the
    right are from before the update.

    Args:
        params: Parameters, or dicts with the key "params" and options of their own.
        lr: The largest relative step, >= 0; the rate itself only in the decay.
        beta2_decay: How fast the means grow long, <= 0.
        eps: Added to the squares, and the smallest RMS that a step is a share of; both >= 0.
        d: Largest RMS of a step before it is scaled, >= 1.
        weight_decay: Share of the parameter that each step takes away, times lr, >= 0; decoupled.
        eps_in_square: Whether eps1 is added to the squares, as in the paper; PyTorch: its square is the least
            second moment, and eps1 the least mean of r.

    Source: Shazeer and Stern, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost", 2018,
    Algorithms 4 to 6: relative steps, no first moment. Their sums over rows and columns are means here, which
    give the same u.
    """

    decoupled = True

    lr: Option[Scalar] = Option(default=0.01, low=0.0)
    beta2_decay: Option[Scalar] = Option(default=-0.8, high=0.0)
    eps: Option[Pair] = Option(default=(1e-30, 1e-3), low=0.0)
    d: Option[Scalar] = Option(default=1.0, low=1.0)
    weight_decay: Option[Scalar] = Option(default=0.0, low=0.0)
    eps_in_square: Option[bool] = Option(default=True, kw_only=True)

    def looks_at_shape(self, shape: tuple[int, ...], h: Any) -> bool:
        return True

    def state(self, h: Any) -> dict[str, Kept]:
        if len(h.shape) < 2:
            return {"variance": Kept()}
        *outer, rows, columns = h.shape
        return {"row_var": Kept(shape=(*outer, rows, 1)), "col_var": Kept(shape=(*outer, 1, columns))}

    def update(self, p: Tensor, g: Tensor, lr: Tensor, t: Tensor, state: State, h: Any) -> Next:
        eps1, eps2 = h.eps
        b = t**h.beta2_decay
        s = g * g + eps1 if h.eps_in_square else g * g
        if len(h.shape) < 2:
            v = (1 - b) * state[0] + b * s
            after: State = (v,)
        else:
            r = (1 - b) * state[0] + b * mean(s, axis=-1, keepdims=True)
            c = (1 - b) * state[1] + b * mean(s, axis=-2, keepdims=True)
            least = 0.0 if h.eps_in_square else eps1
            # divided first: the product of two small means is 0 in float32
            v = r / maximum(mean(r, axis=-2, keepdims=True), least) * c
            after = (r, c)
        u = g / sqrt(v if h.eps_in_square else maximum(v, eps1 * eps1))
        root = math.sqrt(math.prod(h.shape))
        step = maximum(eps2, norm(p) / root) * minimum(lr, 1 / sqrt(t)) / maximum(1.0, norm(u) / root / h.d)
        return p - lr * h.weight_decay * p - step * u, after
