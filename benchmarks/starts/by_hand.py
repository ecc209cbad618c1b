"""A step of the small MLP by hand in numpy: forward, backward, Adam with a cosine schedule."""

import math
import time
from itertools import pairwise

import numpy as np

start = time.perf_counter()
rng = np.random.default_rng(0)
x, labels = rng.normal(size=(64, 784)).astype(np.float32), rng.integers(0, 10, 64)
layers = []
for fan_in, fan_out in pairwise((784, 128, 64, 10)):
    limit = 1 / math.sqrt(fan_in)
    shapes = (fan_out, fan_in), (fan_out,)
    layers.append([rng.uniform(-limit, limit, shape).astype(np.float32) for shape in shapes])
moments = [[(np.zeros_like(p), np.zeros_like(p)) for p in layer] for layer in layers]

inputs = [x]
for number, (weight, bias) in enumerate(layers):
    out = inputs[-1] @ weight.T + bias
    inputs.append(np.maximum(out, 0) if number < len(layers) - 1 else out)
powers = np.exp(inputs[-1] - inputs[-1].max(axis=1, keepdims=True))
delta = powers / powers.sum(axis=1, keepdims=True)
loss = -np.log(delta[np.arange(64), labels]).mean()
delta[np.arange(64), labels] -= 1
delta /= 64
gradients = []
for number in reversed(range(len(layers))):
    gradients.insert(0, (delta.T @ inputs[number], delta.sum(axis=0)))
    if number:
        delta = (delta @ layers[number][0]) * (inputs[number] > 0)
rate = 1e-3 * 0.5 * (1 + math.cos(math.pi * 0 / 10_000))
for layer, given, kept in zip(layers, gradients, moments, strict=True):
    for p, g, (m, v) in zip(layer, given, kept, strict=True):
        m *= 0.9
        m += 0.1 * g
        v *= 0.999
        v += 0.001 * g * g
        p -= rate * m / (np.sqrt(v) + 1e-8)
print(time.perf_counter() - start)
