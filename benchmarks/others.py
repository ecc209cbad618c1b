"""Updates of many tensors in other libraries, where they are installed; each on arrays of its own."""

import numpy as np


def torch_with(threads):
    """PyTorch, or None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(threads)
    return torch


def torch_parameters(torch, shapes):
    """Parameters that have gradients."""
    parameters = [torch.nn.Parameter(torch.rand(shape) + 0.5) for shape in shapes]
    for parameter in parameters:
        parameter.grad = torch.rand_like(parameter) + 0.5
    return parameters


def torch_update(torch, kind, shapes, **form):
    """A step of an optimizer; ``form`` is foreach=True or fused=True. None where there is no such form."""
    make = {
        "sgd": lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9, **form),
        "adam": lambda p: torch.optim.Adam(p, lr=1e-3, **form),
        "adamw": lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.01, **form),
    }
    if "fused" not in form:
        make["rmsprop"] = lambda p: torch.optim.RMSprop(p, lr=1e-3, alpha=0.999, **form)
    return make[kind](torch_parameters(torch, shapes)).step if kind in make else None


def torch_recipe(torch, shapes):
    """Unscale, clip by the global norm, fused AdamW, and the moving average of the parameters.

    The scale is 1, so that gradients, which PyTorch changes in place, do not vanish from step to step.
    """
    parameters = torch_parameters(torch, shapes)
    gradients = [parameter.grad for parameter in parameters]
    averages = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.01, fused=True)

    @torch.no_grad()
    def step():
        torch._foreach_mul_(gradients, 1.0)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        torch._foreach_lerp_(averages, parameters, 0.001)

    return step


def optax_update(kind, shapes):
    """A step of optax, compiled, in the memory of parameters and state; None where it is not installed."""
    try:
        import jax
        import optax
    except ImportError:
        return None
    rules = {
        "sgd": optax.sgd(1e-3, momentum=0.9),
        "rmsprop": optax.rmsprop(1e-3, decay=0.999),
        "adam": optax.adam(1e-3),
        "adamw": optax.adamw(1e-3, weight_decay=0.01),
    }
    rule = rules[kind]

    def update(parameters, state, gradients):
        updates, state = rule.update(gradients, state, parameters)
        return optax.apply_updates(parameters, updates), state

    rng = np.random.default_rng(0)
    parameters, gradients = (
        [jax.numpy.asarray(rng.random(shape, np.float32) + 0.5) for shape in shapes] for _ in range(2)
    )
    compiled = jax.jit(update, donate_argnums=(0, 1))
    kept = parameters, rule.init(parameters)

    def step():
        nonlocal kept
        kept = compiled(*kept, gradients)
        jax.block_until_ready(kept)

    return step
