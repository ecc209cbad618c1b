"""The works in lazyflow: a run per step, several steps in a call, and the bare products."""

import numpy as np
from works import DECAY_STEPS, RATE, Call, Logistic, Mlp, data

import lazyflow as lf
from lazyflow import nn, optim

TOGETHER = 200  # steps in a call of run_many


class Block(nn.Module):
    """Attention and a feed-forward network, each after a normalization and around a shortcut."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.first, self.mix = nn.LayerNorm(width), nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.second, self.up = nn.LayerNorm(width), nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def attention(self, x):
        batch, length, width = x.shape

        def headed(part):
            return part.reshape((batch, length, self.heads, width // self.heads)).transpose((0, 2, 1, 3))

        query, key, value = map(headed, lf.split(self.mix(x), 3, axis=-1))
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.out(mixed.transpose((0, 2, 1, 3)).reshape((batch, length, width)))

    def forward(self, x):
        x = x + self.attention(self.first(x))
        return x + self.down(nn.functional.gelu(self.up(self.second(x))))


def built(work):
    """The model, and its loss as a function of its result and the targets."""
    if isinstance(work, Mlp):
        layers = [nn.Linear(i, o) for i, o in work.sizes()]
        parts = [part for layer in layers for part in (layer, nn.ReLU())]
        return nn.Sequential(*parts[:-1]), nn.functional.cross_entropy
    if isinstance(work, Logistic):
        loss = nn.functional.binary_cross_entropy_with_logits
        return nn.Linear(work.features, 1), lambda z, y: loss(lf.squeeze(z, -1), y)
    return nn.Sequential(*(Block(work.width, work.heads) for _ in range(work.blocks))), nn.functional.mse_loss


def calls(work, threads):
    lf.set_num_threads(threads)
    feeds, values = data(work)
    with lf.Graph("training") as graph:
        x, y = (lf.placeholder(n, ("batch", *a.shape[1:]), a.dtype) for n, a in feeds.items())
        model, criterion = built(work)
        loss = criterion(model(x), y)
        parameters = list(model.parameters())
        make = optim.SGD if isinstance(work, Logistic) else optim.pytorch.Adam
        optimizer = make(parameters, lr=RATE)
        schedule = None
        if isinstance(work, Mlp):
            schedule = optim.lr_scheduler.CosineDecayLR(optimizer, DECAY_STEPS)
        with graph.program("train", fetches={"loss": loss}):
            loss.backward()
            optimizer.step()
            if schedule is not None:
                schedule.step()
    session = lf.compile(graph).session("cpu")
    for parameter, value in zip(parameters, values, strict=True):
        session.set(parameter.name, value)
    found = {"run": Call(lambda: session.run("train", feeds), taken)}
    if isinstance(work, Logistic):
        stacked = {name: np.stack([array] * TOGETHER) for name, array in feeds.items()}
        found["run_many"] = Call(lambda: session.run_many("train", stacked), taken, TOGETHER)
    else:
        found["products"] = products(work)
    return found


def taken(result):
    return float(result["loss"])


def products(work):
    """The bare products of a step, one after the other."""
    rng = np.random.default_rng(0)
    with lf.Graph("products") as graph, graph.program("multiply"):
        for i, product in enumerate(work.products()):
            shapes = ((product.m, product.k), (product.k, product.n))
            factors = []
            for name, shape, flipped in zip("ab", shapes, product.transposed, strict=True):
                stored = (product.count, *(reversed(shape) if flipped else shape))
                array = rng.normal(size=stored).astype(np.float32)
                factor = lf.Variable(array, name=f"{name}{i}")
                factors.append(lf.swapaxes(factor, 1, 2) if flipped else factor)
            out = lf.Variable(0.0, (product.count, product.m, product.n), name=f"out{i}")
            out.assign(factors[0] @ factors[1])
    session = lf.compile(graph).session("cpu")
    return Call(lambda: session.run("multiply"), lambda _: None)
