"""The jobs of ``ours.py`` in JAX and optax: ``in_jax.py mlp``, ``in_jax.py update 1000``."""

import math
import sys
import time
from itertools import pairwise

import jax
import numpy as np
import optax


def mlp(size):
    rng = np.random.default_rng(0)
    parameters = []
    for fan_in, fan_out in pairwise((784, 128, 64, 10)):
        limit = 1 / math.sqrt(fan_in)
        shapes = (fan_in, fan_out), (fan_out,)
        parameters.append([jax.numpy.asarray(rng.uniform(-limit, limit, s), "float32") for s in shapes])
    images, labels = rng.normal(size=(64, 784)).astype(np.float32), rng.integers(0, 10, 64)

    def loss(parameters, x, labels):
        for weight, bias in parameters[:-1]:
            x = jax.nn.relu(x @ weight + bias)
        weight, bias = parameters[-1]
        return optax.softmax_cross_entropy_with_integer_labels(x @ weight + bias, labels).mean()

    run(loss, optax.adam(optax.cosine_decay_schedule(1e-3, 10_000)), parameters, images, labels)


def deep(layers, width=8):
    rng = np.random.default_rng(0)
    shapes = (width, width), (width,)
    parameters = [[jax.numpy.asarray(rng.normal(size=s), "float32") for s in shapes] for _ in range(layers)]

    def loss(parameters, x, y):
        for weight, bias in parameters:
            x = jax.nn.relu(x @ weight + bias)
        return ((x - y) ** 2).mean()

    given = np.ones((4, width), np.float32)
    run(loss, optax.adam(1e-3), parameters, given, given)


def run(loss, rule, parameters, *given):
    """Compile a step, and make it."""

    def step(parameters, state, *given):
        value, gradients = jax.value_and_grad(loss)(parameters, *given)
        updates, state = rule.update(gradients, state, parameters)
        return optax.apply_updates(parameters, updates), state, value

    jax.block_until_ready(jax.jit(step, donate_argnums=(0, 1))(parameters, rule.init(parameters), *given))


def update(tensors):
    parameters = [jax.numpy.zeros((10, 10)) for _ in range(tensors)]
    gradients = [np.ones((10, 10), np.float32) for _ in range(tensors)]
    rule = optax.adamw(1e-3)

    def step(parameters, state, gradients):
        updates, state = rule.update(gradients, state, parameters)
        return optax.apply_updates(parameters, updates), state

    compiled = jax.jit(step, donate_argnums=(0, 1))
    jax.block_until_ready(compiled(parameters, rule.init(parameters), gradients))


if __name__ == "__main__":
    jax.devices()  # its backend is loaded now, as ours is
    start = time.perf_counter()
    {"mlp": mlp, "update": update, "deep": deep}[sys.argv[1]](int(sys.argv[2]) if sys.argv[2:] else 0)
    print(time.perf_counter() - start)
