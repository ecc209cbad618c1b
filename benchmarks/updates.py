"""Optimizer updates of many tensors: lazyflow, C by hand over the same data, and other libraries, in turns.

    python benchmarks/updates.py --rounds 15 --sets "one of 16M" "ResNet-50" --peers fused

Each row gives the medians of paired rounds: C's time, and its ratio to that of moving the same bytes (the
floor); ``session.run`` with every gradient bound, and ``run_many`` per step, each over C; and other libraries
over ``run``, on arrays of their own ("none": not installed, or without such an update).
"""

import argparse
import math
import statistics

from native import Arrays, bound, library, stream
from others import optax_update, torch_update, torch_with
from shapes import SETS
from turns import median, ratio, turns

import lazyflow as lf
from lazyflow import optim

PEERS = {"foreach": "PyTorch foreach", "fused": "PyTorch fused", "optax": "optax"}

# name: the optimizer, its state per parameter in C's order, and the arrays that a step moves
KINDS = {
    "sgd": (lambda p: optim.SGD(p, lr=1e-3, momentum=0.9), 1, 5),
    "rmsprop": (lambda p: optim.RMSprop(p, lr=1e-3, alpha=0.999), 1, 5),
    "adam": (lambda p: optim.Adam(p, lr=1e-3), 2, 7),
    "adamw": (lambda p: optim.AdamW(p, lr=1e-3, weight_decay=0.01), 2, 7),
}


class Update:
    """One optimizer over one set of tensors, in lazyflow and in C."""

    def __init__(self, kind, shapes, threads):
        self.kind, self.threads = kind, threads
        make, states, self.moved = KINDS[kind]
        self.empty = [{}] * max(1, min(1000, 40_000_000 // sum(math.prod(shape) for shape in shapes)))
        with lf.Graph("update") as graph:
            parameters = [lf.Parameter(0.0, shape, name=f"w{i}") for i, shape in enumerate(shapes)]
            feeds = [lf.placeholder(f"g{i}", shape) for i, shape in enumerate(shapes)]
            optimizer = make(parameters)
            with graph.program("train"):
                optimizer.step(dict(zip(parameters, feeds, strict=True)))
        self.session = lf.compile(graph).session("cpu")
        self._bind(optimizer.table().state, shapes, states)

    def _bind(self, state, shapes, states):
        variables = self.session.backend.variables  # the memory that C works on too
        self.rows = []
        for i, gradient in enumerate(Arrays(shapes).arrays):
            self.session.bind(f"g{i}", gradient)
            self.rows.append([variables[f"w{i}"], gradient, *(variables[n] for n in state[f"w{i}"][:states])])

    def calls(self, c):
        """What takes turns, by name."""
        written = [row[:1] + row[2:] for row in self.rows]
        return {
            "c": bound(getattr(c, self.kind), self.rows, self.threads),
            "run": lambda: self.session.run("train"),
            "many": lambda: self.session.run_many("train", self.empty),
            "floor": stream(c, written, self.threads),
        }

    def of_bytes(self):
        """What the bytes of a step are to those of the floor's."""
        return self.moved / (2 * (len(self.rows[0]) - 1))


def peers_of(kind, shapes, threads, wanted):
    """Steps of other libraries, by name; None where there is none."""
    torch = torch_with(threads)
    found = dict.fromkeys(PEERS)
    if torch is not None and "foreach" in wanted:
        found["foreach"] = torch_update(torch, kind, shapes, foreach=True)
    if torch is not None and "fused" in wanted:
        found["fused"] = torch_update(torch, kind, shapes, fused=True)
    if "optax" in wanted:
        found["optax"] = optax_update(kind, shapes)
    return {name: call for name, call in found.items() if call is not None}


def measured(c, name, kind, arguments):
    """The cells of a row."""
    update = Update(kind, SETS[name], arguments.threads)
    peers = peers_of(kind, SETS[name], arguments.threads, arguments.peers)
    rounds = turns(update.calls(c) | peers, arguments.rounds)
    for row in rounds:
        row["many"] /= len(update.empty)
        row["floor"] *= update.of_bytes()
    cells = [f"{median(rounds, 'c') * 1e3:.4g}"]
    cells += [f"{ratio(rounds, *pair):.2f}" for pair in (("c", "floor"), ("run", "c"), ("many", "c"))]
    cells.append(f"{statistics.median(row['run'] - row['c'] for row in rounds) * 1e6:.1f}")
    return cells + [f"{ratio(rounds, peer, 'run'):.2f}" if peer in peers else "none" for peer in PEERS]


def main():
    parser = argparse.ArgumentParser(description="Times optimizer updates against C.")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    lf.set_num_threads(arguments.threads)
    c = library()
    heads = ["tensors", "update", "C ms", "C / floor", "run / C", "run_many / C", "run - C us"]
    heads += [f"{text} / run" for text in PEERS.values()]
    print("|", " | ".join(heads), "|")
    print("|" + "---|" * len(heads))
    for name in arguments.sets:
        for kind in arguments.kinds:
            print("|", " | ".join([name, kind, *measured(c, name, kind, arguments)]), "|", flush=True)


if __name__ == "__main__":
    main()
