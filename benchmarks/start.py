"""From a graph to its first step: AdamW over many tensors, and deep MLPs with Adam, cold and with a cache.

    python benchmarks/start.py --tensors 1000 --layers 1000

Each figure comes from a process of its own: the seconds from before the graph is built until the first step
has ended, imports left out. "cold" starts with an empty cache of compiled code, "warm" with a filled one.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import lazyflow as lf
from lazyflow import nn, optim


def update(tensors):
    """AdamW over tensors of 10 by 10, and a first update."""
    with lf.Graph("update") as graph:
        parameters = [lf.Parameter(0.0, (10, 10), name=f"w{i}") for i in range(tensors)]
        feeds = [lf.placeholder(f"g{i}", (10, 10)) for i in range(tensors)]
        optimizer = optim.AdamW(parameters, lr=1e-3)
        with graph.program("train"):
            optimizer.step(dict(zip(parameters, feeds, strict=True)))
    session = lf.compile(graph).session("cpu")
    gradient = np.ones((10, 10), np.float32)
    session.run("train", {f"g{i}": gradient for i in range(tensors)})


def network(layers, width=8):
    """An MLP with Adam, and a first step."""
    with lf.Graph("deep") as graph:
        x, y = lf.placeholder("x", ("batch", width)), lf.placeholder("y", ("batch", width))
        parts = [part for _ in range(layers) for part in (nn.Linear(width, width), nn.ReLU())]
        model = nn.Sequential(*parts)
        loss = nn.functional.mse_loss(model(x), y)
        optimizer = optim.Adam(model.parameters(), lr=1e-3)
        with graph.program("train", fetches={"loss": loss}):
            loss.backward()
            optimizer.step()
    session = lf.compile(graph).session("cpu")
    session.run("train", x=np.ones((4, width), np.float32), y=np.ones((4, width), np.float32))


def seconds(kind, size, folder):
    """The time of one process."""
    command = [sys.executable, str(Path(__file__)), "--only", kind, str(size)]
    environment = os.environ | {"LAZYFLOW_CACHE_DIR": folder}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(found.stdout)


def only(kind, size):
    start = time.perf_counter()
    {"update": update, "network": network}[kind](size)
    print(time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description="Times what comes before the second step.")
    parser.add_argument("--tensors", type=int, default=1000)
    parser.add_argument("--layers", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs=2, metavar=("KIND", "SIZE"), help="one measurement, in this process")
    arguments = parser.parse_args()
    if arguments.only:
        only(arguments.only[0], int(arguments.only[1]))
        return
    print("| work | cold s | warm s |\n|---|---|---|")
    work = [("update", arguments.tensors, "tensors, AdamW"), ("network", arguments.layers, "layers, Adam")]
    for kind, size, name in work:
        cold, warm = [], []
        for _ in range(arguments.rounds):
            with tempfile.TemporaryDirectory() as folder:
                cold.append(seconds(kind, size, folder))
                warm.append(seconds(kind, size, folder))
        print(f"| {size:,} {name} | {statistics.median(cold):.2f} | {statistics.median(warm):.2f} |")


if __name__ == "__main__":
    main()
