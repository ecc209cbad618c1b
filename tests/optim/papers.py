"""Update rules as plain NumPy loops in float64, written from the papers, to compare the optimizers with.

Each takes the parameter, its gradient, its state (a dict, empty at first) and the step from 1, and returns
the next parameter.
"""

import numpy as np


def sgd(w, g, s, t, lr=0.001, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    """The documented equations: the velocity is a sum of steps."""
    g = g + weight_decay * w
    if momentum == 0:
        return w - lr * g
    s["momentum_buffer"] = momentum * s.get("momentum_buffer", 0.0) + lr * (1 - dampening) * g
    if nesterov:
        return w - (lr * g + momentum * s["momentum_buffer"])
    return w - s["momentum_buffer"]


def sgd_oneflow(w, g, s, t, lr=0.001, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    """OneFlow 0.9: the velocity is a sum of gradients."""
    g = g + weight_decay * w
    if momentum == 0:
        return w - lr * g
    s["momentum_buffer"] = momentum * s.get("momentum_buffer", 0.0) + (1 - dampening) * g
    return w - lr * (g + momentum * s["momentum_buffer"] if nesterov else s["momentum_buffer"])


def sgd_pytorch(w, g, s, t, lr=0.001, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    """PyTorch: as OneFlow, but the first velocity is the first gradient."""
    g = g + weight_decay * w
    if momentum == 0:
        return w - lr * g
    if "momentum_buffer" in s:
        s["momentum_buffer"] = momentum * s["momentum_buffer"] + (1 - dampening) * g
    else:
        s["momentum_buffer"] = g.copy()
    return w - lr * (g + momentum * s["momentum_buffer"] if nesterov else s["momentum_buffer"])


def adam(w, g, s, t, lr=0.001, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False, corrected=True):
    """Kingma and Ba, Algorithm 1, with eps beside the corrected root."""
    g = g + weight_decay * w
    s["exp_avg"] = betas[0] * s.get("exp_avg", 0.0) + (1 - betas[0]) * g
    s["exp_avg_sq"] = betas[1] * s.get("exp_avg_sq", 0.0) + (1 - betas[1]) * g**2
    v = s["exp_avg_sq"]
    if amsgrad:
        v = s["max_exp_avg_sq"] = np.maximum(s.get("max_exp_avg_sq", 0.0), v)
    first = s["exp_avg"] / (1 - betas[0] ** t) if corrected else s["exp_avg"]
    second = v / (1 - betas[1] ** t) if corrected else v
    return w - lr * first / (np.sqrt(second) + eps)


def adamw(w, g, s, t, lr=0.001, weight_decay=0.0, **options):
    """Loshchilov and Hutter, Algorithm 2: the decay stays out of the moments."""
    return adam(w, g, s, t, lr=lr, **options) - lr * weight_decay * w


def rmsprop(
    w, g, s, t, lr=0.001, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False, outside=False
):
    """Tieleman and Hinton, and Graves; ``outside`` is PyTorch's reading, of eps and of the velocity."""
    g = g + weight_decay * w
    s["square_avg"] = alpha * s.get("square_avg", 0.0) + (1 - alpha) * g**2
    variance = s["square_avg"]
    if centered:
        s["grad_avg"] = alpha * s.get("grad_avg", 0.0) + (1 - alpha) * g
        variance = variance - s["grad_avg"] ** 2
    direction = g / (np.sqrt(variance) + eps) if outside else g / np.sqrt(variance + eps)
    if momentum == 0:
        return w - lr * direction
    push = direction if outside else lr * direction
    s["momentum_buffer"] = momentum * s.get("momentum_buffer", 0.0) + push
    return w - (lr * s["momentum_buffer"] if outside else s["momentum_buffer"])
