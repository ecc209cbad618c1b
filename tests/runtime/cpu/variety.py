"""A program for guarded memory (see test_memory): instructions of every kind, at sizes around the lanes."""

import numpy as np

import lazyflow as lf
from lazyflow import nn, optim

F, rng = nn.functional, np.random.default_rng(0)


def run(results, rows, **arrays):
    """Each result of a graph over placeholders whose first axis is named."""
    with lf.Graph() as graph:
        feeds = {n: lf.placeholder(n, ("n", *a.shape[1:]), a.dtype) for n, a in arrays.items()}
        found = results(**feeds)
        graph.program("main", fetches={f"y{i}": y for i, y in enumerate(found)})
    session = lf.compile(graph).session("cpu")
    for count in rows:
        session.run("main", {n: a[:count] for n, a in arrays.items()})


def kernels(x):
    y = lf.transpose(x, (1, 0))
    yield lf.exp(y) * 2
    for axis in (0, 1):
        yield from (F.softmax(x, axis), lf.sum(x * x, axis), lf.max(x, axis), lf.argmax(x, axis))
    yield from (lf.mean(x), lf.concat([x, lf.tanh(x)], 1), lf.concat([x, x], 0), x[:, ::-1], x > 0)
    yield F.layer_norm(x, x.shape[1:]) + F.dropout(x, 0.5)


def products(x):
    y = lf.transpose(x, (1, 0))
    yield from (x @ y, y @ x, lf.sum(x @ y, 0))
    z = lf.reshape(lf.concat([x, x], 1), (x.shape[0], 2, x.shape[1]))
    yield from (z @ lf.transpose(z, (0, 2, 1)), lf.transpose(z, (0, 2, 1)) @ z)


def following(x, index):
    yield from (lf.take(x, index, 0), lf.gather(x, lf.expand_dims(index, 1), 1), lf.one_hot(index, 3))


def embedding(width, dtype):
    with lf.Graph() as graph:
        words = lf.placeholder("words", ("n", 3), lf.int32)
        model = nn.Embedding(9, width)
        loss = lf.mean(lf.cast(model(words), dtype) ** 2)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        with graph.program("train", fetches={"loss": loss}):
            loss.backward()
            optimizer.step()
    session = lf.compile(graph).session("cpu")
    for count in (1, 4):
        session.run("train", words=rng.integers(0, 9, (count, 3), np.int32))


for width in (1, 17, 70):
    x = rng.normal(size=(40, width))
    for dtype in (np.float32, np.float64):
        run(products, (1, 5, 40), x=x.astype(dtype))
    for dtype in (np.float32, np.float16):
        run(kernels, (1, 3, 17), x=x.astype(dtype))
    run(following, (1, 2, 18), x=x, index=np.zeros(40, np.int64))
    embedding(width, lf.float32)
run(kernels, (33_000,), x=rng.normal(size=(33_000, 3)).astype(np.float32))
print("whole")
