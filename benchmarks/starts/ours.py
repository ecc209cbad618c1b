"""Jobs of lazyflow up to their first finished step; prints the seconds since its modules were loaded."""

import argparse
import time

import numpy as np

import lazyflow as lf
from lazyflow import nn, optim
from lazyflow.runtime.backends.cpu.cpu import CpuBackend


def mlp(folder):
    """The small MLP; its plan is saved where a folder is given."""
    with lf.Graph("mlp") as graph:
        x, labels = lf.placeholder("x", ("batch", 784)), lf.placeholder("labels", ("batch",), lf.int64)
        layers = [nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)]
        model = nn.Sequential(*layers)
        loss = nn.functional.cross_entropy(model(x), labels)
        optimizer = optim.Adam(model.parameters(), lr=1e-3)
        schedule = optim.lr_scheduler.CosineDecayLR(optimizer, 10_000)
        with graph.program("train", fetches={"loss": loss}):
            loss.backward()
            optimizer.step()
            schedule.step()
    plan = lf.compile(graph)
    if folder:
        plan.save(f"{folder}/mlp.lfplan")
    rng = np.random.default_rng(0)
    feeds = {"x": rng.normal(size=(64, 784)).astype(np.float32), "labels": rng.integers(0, 10, 64)}
    plan.session("cpu").run("train", feeds)


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


def deep(layers, width=8):
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("job", choices=("mlp", "update", "deep"))
    parser.add_argument("size", type=int, nargs="?")
    parser.add_argument("--save", default="", help="a folder for the plan of the MLP")
    arguments = parser.parse_args()
    del CpuBackend  # imported above because a session would load it, which is no compiling
    start = time.perf_counter()
    if arguments.job == "mlp":
        mlp(arguments.save)
    else:
        {"update": update, "deep": deep}[arguments.job](arguments.size)
    print(time.perf_counter() - start)
