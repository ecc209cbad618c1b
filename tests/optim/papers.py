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


def radam(w, g, s, t, lr=0.001, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled_weight_decay=False):
    """Liu et al., Algorithm 2, with the threshold of their code."""
    if decoupled_weight_decay:
        return radam(w, g, s, t, lr, betas, eps) - lr * weight_decay * w
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


def nadam(
    w,
    g,
    s,
    t,
    lr=0.002,
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=0.0,
    momentum_decay=0.004,
    decoupled_weight_decay=False,
):
    """Dozat, with PyTorch's first moment; the product of momenta is formed anew in every step."""
    if not decoupled_weight_decay:
        g = g + weight_decay * w
    momenta = [betas[0] * (1 - 0.5 * 0.96 ** (k * momentum_decay)) for k in range(1, t + 2)]
    s["exp_avg"] = betas[0] * s.get("exp_avg", 0.0) + (1 - betas[0]) * g
    s["exp_avg_sq"] = betas[1] * s.get("exp_avg_sq", 0.0) + (1 - betas[1]) * g**2
    gradient = (1 - momenta[-2]) / (1 - np.prod(momenta[:-1])) * g
    ahead = momenta[-1] / (1 - np.prod(momenta)) * s["exp_avg"]
    decay = lr * weight_decay * w if decoupled_weight_decay else 0.0
    return w - decay - lr * (gradient + ahead) / (np.sqrt(s["exp_avg_sq"] / (1 - betas[1] ** t)) + eps)


def ftrl(
    w,
    g,
    s,
    t,
    lr=0.001,
    lr_power=-0.5,
    initial_accumulator_value=0.1,
    l1=0.0,
    l2=0.0,
    beta=0.0,
    weight_decay=0.0,
):
    """McMahan et al., Algorithm 1, with the sums that TensorFlow keeps, one element after the other."""
    g = g + weight_decay * w
    before = s.get("accumulator", np.full_like(w, initial_accumulator_value))
    after = s["accumulator"] = before + g**2
    s["linear"] = s.get("linear", 0.0) + g - (after**-lr_power - before**-lr_power) / lr * w
    result = np.zeros_like(w)
    for i in np.ndindex(w.shape):
        z = s["linear"][i]
        if abs(z) > l1:
            result[i] = -(z - np.sign(z) * l1) / ((beta + after[i] ** -lr_power) / lr + 2 * l2)
    return result


def _rms(x):
    return np.sqrt(np.mean(x**2))


def adafactor(
    w, g, s, t, lr=0.01, beta2_decay=-0.8, eps=(1e-30, 1e-3), d=1.0, weight_decay=0.0, pytorch=False
):
    """Shazeer and Stern, Algorithms 4 and 5; ``pytorch`` bounds the second moment from below."""
    kept = 1 - t**beta2_decay
    square = g**2 if pytorch else g**2 + eps[0]
    if w.ndim < 2:
        v = s["variance"] = kept * s.get("variance", 0.0) + (1 - kept) * square
    else:
        rows = s["row_var"] = kept * s.get("row_var", 0.0) + (1 - kept) * square.mean(-1, keepdims=True)
        columns = s["col_var"] = kept * s.get("col_var", 0.0) + (1 - kept) * square.mean(-2, keepdims=True)
        whole = rows.mean(-2, keepdims=True)
        v = rows * columns / (np.maximum(whole, eps[0]) if pytorch else whole)
    u = g / np.sqrt(np.maximum(v, eps[0] ** 2) if pytorch else v)
    share = max(eps[1], _rms(w)) * min(lr, 1 / np.sqrt(t))
    return w * (1 - lr * weight_decay) - share * u / max(1.0, _rms(u) / d)


def muon(
    w,
    g,
    s,
    t,
    lr=0.001,
    weight_decay=0.0,
    momentum=0.95,
    nesterov=True,
    ns_coefficients=(3.4445, -4.775, 2.0315),
    eps=1e-7,
    ns_steps=5,
    adjust_lr_fn="original",
    orthogonalize=True,
    betas=(0.9, 0.95),
    adam_eps=1e-10,
):
    """Jordan et al.: the steps of Newton and Schulz as a polynomial of the singular values."""
    if w.ndim != 2 or not orthogonalize:
        return adamw(w, g, s, t, lr=lr, weight_decay=weight_decay, betas=betas, eps=adam_eps)
    m = s["momentum_buffer"] = momentum * s.get("momentum_buffer", 0.0) + (1 - momentum) * g
    left, values, right = np.linalg.svd(
        (1 - momentum) * g + momentum * m if nesterov else m, full_matrices=False
    )
    values = values / max(np.sqrt((values**2).sum()), eps)
    a, b, c = ns_coefficients
    for _ in range(ns_steps):
        values = a * values + b * values**3 + c * values**5
    ratio = np.sqrt(max(1, w.shape[0] / w.shape[1]))
    if adjust_lr_fn == "match_rms_adamw":
        ratio = 0.2 * np.sqrt(max(w.shape))
    return w - lr * weight_decay * w - lr * ratio * left @ np.diag(values) @ right


def schedule_free_adamw(
    w, g, s, t, lr=0.0025, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, warmup_steps=0.0
):
    """Defazio et al., Algorithm 1: z and x as the paper keeps them, beside what is compared."""
    x, z = s.get("_x", w), s.get("_z", w)
    s["exp_avg_sq"] = betas[1] * s.get("exp_avg_sq", 0.0) + (1 - betas[1]) * g**2
    rate = lr * np.sqrt(1 - betas[1] ** t) * (min(1.0, t / warmup_steps) if warmup_steps else 1.0)
    z = z - rate * g / (np.sqrt(s["exp_avg_sq"]) + eps) - rate * weight_decay * w
    s["_rates"] = [*s.get("_rates", []), rate]
    share = rate**2 / np.sum(np.square(s["_rates"]))
    x = (1 - share) * x + share * z
    y = (1 - betas[0]) * z + betas[0] * x
    s.update(_x=x, _z=z, lead=y - z)
    return y
