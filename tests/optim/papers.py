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


def adagrad(w, g, s, t, lr=0.001, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10):
    """Duchi, Hazan and Singer, with the diagonal."""
    g = g + weight_decay * w
    s["sum"] = s.get("sum", initial_accumulator_value) + g**2
    return w - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(s["sum"]) + eps)


def adadelta(w, g, s, t, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0):
    """Zeiler, Algorithm 1."""
    g = g + weight_decay * w
    s["square_avg"] = rho * s.get("square_avg", 0.0) + (1 - rho) * g**2
    before = s.get("acc_delta", 0.0)
    delta = np.sqrt(before + eps) / np.sqrt(s["square_avg"] + eps) * g
    s["acc_delta"] = rho * before + (1 - rho) * delta**2
    return w - lr * delta


def lamb(
    w,
    g,
    s,
    t,
    lr=0.001,
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=0.0,
    adam_w_mode=True,
    do_bias_correction=True,
    oneflow=False,
):
    """You et al., Algorithm 2; ``oneflow`` leaves the decay out of the norm below the line."""
    if not adam_w_mode:
        g = g + weight_decay * w
    s["exp_avg"] = betas[0] * s.get("exp_avg", 0.0) + (1 - betas[0]) * g
    s["exp_avg_sq"] = betas[1] * s.get("exp_avg_sq", 0.0) + (1 - betas[1]) * g**2
    corrections = [1 - beta**t if do_bias_correction else 1.0 for beta in betas]
    direction = s["exp_avg"] / corrections[0] / (np.sqrt(s["exp_avg_sq"] / corrections[1]) + eps)
    decay = weight_decay * w if adam_w_mode else 0.0 * w
    below = np.linalg.norm(direction if oneflow else direction + decay)
    trust = np.linalg.norm(w) / below if below > 0 and np.linalg.norm(w) > 0 else 1.0
    return w - lr * trust * (direction + decay)


def lars(w, g, s, t, lr=0.1, momentum=0.9, weight_decay=0.0, trust_coefficient=0.001, eps=1e-8):
    """You, Gitman and Ginsburg, Algorithm 1."""
    size, slope = np.linalg.norm(w), np.linalg.norm(g)
    trust = trust_coefficient * size / (slope + weight_decay * size + eps) if size > 0 and slope > 0 else 1.0
    s["momentum_buffer"] = momentum * s.get("momentum_buffer", 0.0) + lr * trust * (g + weight_decay * w)
    return w - s["momentum_buffer"]


def adamax(w, g, s, t, lr=0.002, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    """Kingma and Ba, Algorithm 2, with PyTorch's eps."""
    g = g + weight_decay * w
    s["exp_avg"] = betas[0] * s.get("exp_avg", 0.0) + (1 - betas[0]) * g
    s["exp_inf"] = np.maximum(betas[1] * s.get("exp_inf", 0.0), np.abs(g) + eps)
    return w - lr / (1 - betas[0] ** t) * s["exp_avg"] / s["exp_inf"]


def radam(w, g, s, t, lr=0.001, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    """Liu et al., Algorithm 2, with the threshold of their code."""
    g = g + weight_decay * w
    s["exp_avg"] = betas[0] * s.get("exp_avg", 0.0) + (1 - betas[0]) * g
    s["exp_avg_sq"] = betas[1] * s.get("exp_avg_sq", 0.0) + (1 - betas[1]) * g**2
    mean = s["exp_avg"] / (1 - betas[0] ** t)
    longest = 2 / (1 - betas[1]) - 1
    length = longest - 2 * t * betas[1] ** t / (1 - betas[1] ** t)
    if length <= 5:
        return w - lr * mean
    variance = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    adaptive = np.sqrt(1 - betas[1] ** t) / (np.sqrt(s["exp_avg_sq"]) + eps)
    return w - lr * mean * np.sqrt(variance) * adaptive


def lion(w, g, s, t, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
    """Chen et al., Algorithm 2."""
    before = s.get("exp_avg", 0.0)
    direction = np.sign(betas[0] * before + (1 - betas[0]) * g)
    s["exp_avg"] = betas[1] * before + (1 - betas[1]) * g
    return w - lr * (direction + weight_decay * w)


def adan(w, g, s, t, lr=0.001, betas=(0.98, 0.92, 0.99), eps=1e-8, weight_decay=0.0):
    """Xie et al., Algorithm 1, with the bias correction of their code."""
    change = g - s.get("previous_grad", g)
    for name, beta, new in zip(
        ("exp_avg", "exp_avg_diff", "exp_avg_sq"),
        betas,
        (g, change, (g + betas[1] * change) ** 2),
        strict=True,
    ):
        s[name] = beta * s.get(name, 0.0) + (1 - beta) * new
    s["previous_grad"] = g
    first, second, third = (
        s[name] / (1 - beta**t)
        for name, beta in zip(("exp_avg", "exp_avg_diff", "exp_avg_sq"), betas, strict=True)
    )
    return (w - lr * (first + betas[1] * second) / (np.sqrt(third) + eps)) / (1 + lr * weight_decay)
