"""Training steps of multilayer perceptrons: lazyflow, and PyTorch eager where it is installed, in turns.

    python benchmarks/mlp.py --rounds 15

Adam with a cosine schedule on random data of MNIST's shape. Each row: the medians of paired rounds.
"""

import argparse
import statistics
import time
from itertools import pairwise

import numpy as np

import lazyflow as lf
from lazyflow import nn, optim

SIZES = {
    "784-128-64-10, batch 64": ((784, 128, 64, 10), 64),
    "784-1024-1024-10, batch 256": ((784, 1024, 1024, 10), 256),
}


def data(batch):
    rng = np.random.default_rng(0)
    return rng.normal(size=(batch, 784)).astype(np.float32), rng.integers(0, 10, batch)


def ours(widths, batch):
    """A step of lazyflow."""
    with lf.Graph("mlp") as graph:
        x, labels = lf.placeholder("x", ("batch", widths[0])), lf.placeholder("labels", ("batch",), lf.int64)
        layers = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())]
        model = nn.Sequential(*layers[:-1])
        loss = nn.functional.cross_entropy(model(x), labels)
        optimizer = optim.Adam(model.parameters(), lr=1e-3)
        schedule = optim.lr_scheduler.CosineDecayLR(optimizer, 10_000)
        with graph.program("train", fetches={"loss": loss}):
            loss.backward()
            optimizer.step()
            schedule.step()
    session = lf.compile(graph).session("cpu")
    images, targets = data(batch)
    return lambda: session.run("train", x=images, labels=targets)


def theirs(widths, batch, threads):
    """The same in PyTorch, or None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    layers = [layer for pair in pairwise(widths) for layer in (torch.nn.Linear(*pair), torch.nn.ReLU())]
    model = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10_000)
    images, targets = (torch.from_numpy(array) for array in data(batch))

    def step():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), targets).backward()
        optimizer.step()
        schedule.step()

    return step


def timed(function, repeats):
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats


def main():
    parser = argparse.ArgumentParser(description="Times training steps of multilayer perceptrons.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    lf.set_num_threads(arguments.threads)
    print("| network | lazyflow ms | PyTorch eager ms | ratio |\n|---|---|---|---|")
    for name, (widths, batch) in SIZES.items():
        calls = [ours(widths, batch), theirs(widths, batch, arguments.threads)]
        calls = [call for call in calls if call is not None]
        repeats = [max(3, int(0.1 / timed(call, 5))) for call in calls]
        rounds = [
            [timed(*pair) for pair in zip(calls, repeats, strict=True)] for _ in range(arguments.rounds)
        ]
        middle = [f"{statistics.median(row[i] for row in rounds) * 1e3:.3g}" for i in range(len(calls))]
        ratio = f"{statistics.median(row[0] / row[1] for row in rounds):.2f}" if len(calls) > 1 else ""
        print("|", " | ".join([name, middle[0], *(middle[1:] or ["not installed"]), ratio]), "|", flush=True)


if __name__ == "__main__":
    main()
