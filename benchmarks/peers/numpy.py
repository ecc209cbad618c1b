"""NumPy: logistic regression by hand, and the bare products of the other works."""

import numpy as np
from works import RATE, Call, Logistic, data


def by_hand(work):
    feeds, (weight, bias) = data(work)
    x, y = feeds.values()
    weight, bias = weight[0], bias[0]

    def step():
        nonlocal weight, bias
        z = x @ weight + bias
        power = np.exp(-np.abs(z))
        loss = np.mean(np.maximum(z, 0.0) - z * y + np.log1p(power))
        gradient = (np.where(z >= 0.0, 1.0, power) / (1.0 + power) - y) * np.float32(1.0 / len(y))
        weight = weight - np.float32(RATE) * (gradient @ x)
        bias = bias - np.float32(RATE) * gradient.sum()
        return loss

    return step


def calls(work, threads):
    if isinstance(work, Logistic):
        return {"by hand": Call(by_hand(work))}
    rng = np.random.default_rng(0)
    triples = []
    for product in work.products():
        factors = []
        shapes = ((product.m, product.k), (product.k, product.n))
        for shape, flipped in zip(shapes, product.transposed, strict=True):
            stored = rng.normal(size=(product.count, *(reversed(shape) if flipped else shape)))
            stored = stored.astype(np.float32)
            factors.append(stored.swapaxes(1, 2) if flipped else stored)
        triples.append((*factors, np.empty((product.count, product.m, product.n), np.float32)))

    def step():
        for a, b, out in triples:
            np.matmul(a, b, out=out)

    return {"products": Call(step, lambda _: None)}
