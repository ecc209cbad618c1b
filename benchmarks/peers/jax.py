"""The works in JAX and Optax: one compiled step, whose parameters and state are donated."""

import functools

import jax
import jax.numpy as jnp
import optax
from works import DECAY_STEPS, RATE, Call, Logistic, Mlp, data


def linear(x, weight, bias):
    return x @ weight.T + bias


def norm(x, weight, bias):
    centred = x - jnp.mean(x, -1, keepdims=True)
    variance = jnp.mean(centred * centred, -1, keepdims=True)
    return centred * jax.lax.rsqrt(variance + 1e-5) * weight + bias


def block(x, parameters, heads):
    w1, b1, w_mix, b_mix, w_out, b_out, w2, b2, w_up, b_up, w_down, b_down = parameters
    mixed = linear(norm(x, w1, b1), w_mix, b_mix).reshape(*x.shape[:2], 3, heads, -1)
    query, key, value = (mixed[:, :, i] for i in range(3))
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) * query.shape[-1] ** -0.5
    found = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), value).reshape(x.shape)
    x = x + linear(found, w_out, b_out)
    return x + linear(jax.nn.gelu(linear(norm(x, w2, b2), w_up, b_up), approximate=False), w_down, b_down)


def loss_of(work, parameters, x, y):
    if isinstance(work, Mlp):
        for i in range(0, len(parameters), 2):
            x = linear(x, *parameters[i : i + 2])
            x = jax.nn.relu(x) if i + 2 < len(parameters) else x
        return optax.softmax_cross_entropy_with_integer_labels(x, y).mean()
    if isinstance(work, Logistic):
        return optax.sigmoid_binary_cross_entropy(linear(x, *parameters)[:, 0], y).mean()
    for i in range(0, len(parameters), 12):
        x = block(x, parameters[i : i + 12], work.heads)
    return jnp.mean((x - y) ** 2)


def calls(work, threads):
    feeds, parameters = data(work)
    x, y = map(jnp.asarray, feeds.values())
    parameters = [jnp.asarray(value) for value in parameters]
    rate = optax.cosine_decay_schedule(RATE, DECAY_STEPS) if isinstance(work, Mlp) else RATE
    optimizer = (optax.sgd if isinstance(work, Logistic) else optax.adam)(rate)
    gradient = jax.value_and_grad(functools.partial(loss_of, work))

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def update(parameters, state, x, y):
        loss, gradients = gradient(parameters, x, y)
        changes, state = optimizer.update(gradients, state, parameters)
        return optax.apply_updates(parameters, changes), state, loss

    state = optimizer.init(parameters)

    def step():
        nonlocal parameters, state
        parameters, state, loss = update(parameters, state, x, y)
        return loss

    return {"jit": Call(step)}
