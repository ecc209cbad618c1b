"""The work of the training benchmarks: what is trained, its data, and the parameters that all begin with."""

from typing import NamedTuple

import numpy as np

RATE, DECAY_STEPS = 1e-3, 10_000


class Product(NamedTuple):
    """Products of matrices, m by k and k by n, as they lie: which of both is read transposed."""

    count: int
    m: int
    n: int
    k: int
    transposed: tuple[bool, bool] = (False, False)


class Mlp(NamedTuple):
    """Layers with ReLU between them, cross entropy, Adam with a cosine schedule."""

    widths: tuple[int, ...]
    batch: int

    def sizes(self):
        return [self.widths[i : i + 2] for i in range(len(self.widths) - 1)]

    def shapes(self):
        return [shape for i, o in self.sizes() for shape in ((o, i), (o,))]

    def feeds(self, rng):
        x = rng.normal(size=(self.batch, self.widths[0])).astype(np.float32)
        return {"x": x, "y": rng.integers(0, self.widths[-1], self.batch)}

    def products(self):
        steps = [product for i, o in self.sizes() for product in layer(self.batch, i, o)]
        return [steps[0], *steps[2:]]  # nobody asks for the gradient of the images


class Transformer(NamedTuple):
    """Blocks that normalize first, with exact GELU; mean squared error, Adam."""

    width: int
    heads: int
    length: int
    batch: int
    blocks: int

    def sizes(self):
        d = self.width
        return [(d, 3 * d), (d, d), (d, 4 * d), (4 * d, d)]

    def shapes(self):
        d = self.width
        mix, out, up, down = (((o, i), (o,)) for i, o in self.sizes())
        return [(d,), (d,), *mix, *out, (d,), (d,), *up, *down] * self.blocks

    def feeds(self, rng):
        shape = (self.batch, self.length, self.width)
        return {name: rng.normal(size=shape).astype(np.float32) for name in "xy"}

    def products(self):
        rows, pairs, length, depth = (
            self.batch * self.length,
            self.batch * self.heads,
            self.length,
            self.width // self.heads,
        )
        scores, mixed = (length, length, depth), (length, depth, length)
        attention = [
            Product(pairs, *scores, (False, True)),
            Product(pairs, *mixed),
            Product(pairs, *scores, (False, True)),  # gradient of the weights
            Product(pairs, *mixed, (True, False)),  # of the values
            Product(pairs, *mixed),  # of the queries
            Product(pairs, *mixed, (True, False)),  # of the keys
        ]
        return [
            *attention,
            *(product for size in self.sizes() for product in layer(rows, *size)),
        ] * self.blocks


class Logistic(NamedTuple):
    """Logistic regression: binary cross entropy of a linear function, SGD."""

    features: int
    batch: int

    def shapes(self):
        return [(1, self.features), (1,)]

    def feeds(self, rng):
        x = rng.normal(size=(self.batch, self.features)).astype(np.float32)
        return {"x": x, "y": rng.integers(0, 2, self.batch).astype(np.float32)}


WORKS = {
    "MLP 784-128-64-10, batch 64": Mlp((784, 128, 64, 10), 64),
    "MLP 784-1024-1024-10, batch 256": Mlp((784, 1024, 1024, 10), 256),
    "two transformer blocks d=128, batch 8": Transformer(128, 4, 64, 8, 2),
    "logistic regression, 64 features, batch 32": Logistic(64, 32),
}


def layer(rows, width, out):
    """The products of a linear layer's step: its result, the gradient of its input, that of its weight."""
    forward = Product(1, rows, out, width, (False, True))
    return [forward, Product(1, rows, width, out), Product(1, out, width, rows, (True, False))]


def data(work):
    """The feeds of a work, and the parameters in the order in which a module has them."""
    rng = np.random.default_rng(0)
    feeds = work.feeds(rng)
    scaled = [rng.normal(size=shape) / np.sqrt(shape[-1]) for shape in work.shapes()]
    return feeds, [array.astype(np.float32) for array in scaled]


class Call(NamedTuple):
    """A way to make steps: what makes them, how many at a time, and what turns its result into the loss."""

    step: object
    loss: object = float
    steps: int = 1
