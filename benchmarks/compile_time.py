"""How long it takes to build and compile multilayer perceptrons of width 8 with Adam, phase by phase.

    python benchmarks/compile_time.py --layers 100 1000 --rounds 3

Prints the median of the rounds for each phase, and how the last depth compares with the first. The rounds of
the depths take turns, so that a machine that is busy for a while slows all of them. "build" and "lf.compile"
are what a user waits for; the phases of lf.compile come from a second run over the same graph.
"""

import argparse
import gc
import statistics
import time
from collections import defaultdict
from itertools import count

import lazyflow as lf
from lazyflow import nn, optim
from lazyflow.compiler.passes.emit import emit
from lazyflow.compiler.pipeline import stages
from lazyflow.runtime.verify import verify

WIDTH = 8


class Clock:
    """Times phases one after the other."""

    def __init__(self):
        self.phases = {}
        self.last = time.perf_counter()

    def lap(self, phase):
        now = time.perf_counter()
        self.phases[phase] = now - self.last
        self.last = now


def build(layers, clock):
    """An MLP with its training program."""
    with lf.Graph("deep") as graph:
        x = lf.placeholder("x", ("batch", WIDTH))
        y = lf.placeholder("y", ("batch", WIDTH))
        parts = [part for _ in range(layers) for part in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
        model = nn.Sequential(*parts)
        loss = nn.functional.mse_loss(model(x), y)
        optimizer = optim.Adam(model.parameters(), lr=1e-3)
        clock.lap("  forward")
        with graph.program("train", fetches={"loss": loss}):
            loss.backward()
            clock.lap("  backward")
            optimizer.step()
            clock.lap("  step")
    return graph


def run_passes(graph, clock):
    """The phases of lf.compile, over a graph that is complete because it is compiled already."""
    gc.disable()  # as lf.compile does
    numbers = count(1)
    final = None
    for name, stage in stages(graph.ir):
        clock.lap(f"  {next(numbers):>2} {name}")
        final = stage
    document, _ = emit(final)
    clock.lap("  emit")
    verify(document)
    clock.lap("  verify")
    gc.enable()


def measure(layers):
    """Seconds per phase, and the sizes of what was compiled."""
    gc.collect()
    clock = Clock()
    graph = build(layers, clock)
    building = sum(clock.phases.values())
    plan = lf.compile(graph)
    clock.lap("lf.compile")
    run_passes(graph, clock)
    phases = clock.phases
    compiling = phases.pop("lf.compile")
    ordered = {"total": building + compiling, "build": building}
    ordered |= {name: phases.pop(name) for name in ("  forward", "  backward", "  step")}
    ordered |= {"lf.compile": compiling} | phases
    sizes = {
        "ops": len(graph.ir.ops),
        "parameters": sum(variable.trainable for variable in graph.ir.variables),
        "instructions": sum(len(program.instructions) for program in plan.document.programs),
    }
    return ordered, sizes


def main():
    parser = argparse.ArgumentParser(description="Times building and compiling of deep MLPs with Adam.")
    parser.add_argument("--layers", type=int, nargs="+", default=[100, 1000], help="depths to compare")
    parser.add_argument("--rounds", type=int, default=3, help="how often each depth is measured")
    arguments = parser.parse_args()
    measure(2)  # imports and first calls are not what is measured
    times = defaultdict(lambda: defaultdict(list))
    sizes = {}
    for _ in range(arguments.rounds):
        for layers in arguments.layers:
            phases, sizes[layers] = measure(layers)
            for phase, seconds in phases.items():
                times[phase][layers].append(seconds)
    report(arguments.layers, times, sizes)


def report(depths, times, sizes):
    """One row per phase: milliseconds at each depth, and the last in terms of the first."""
    first, last = depths[0], depths[-1]
    print(f"{'':22}" + "".join(f"{f'{layers:,} layers':>16}" for layers in depths) + f"{'ratio':>10}")
    for name in sizes[first]:
        row = "".join(f"{sizes[layers][name]:16,}" for layers in depths)
        print(f"{name:22}{row}{sizes[last][name] / sizes[first][name]:10.1f}")
    for phase, per_depth in times.items():
        medians = {layers: statistics.median(seconds) for layers, seconds in per_depth.items()}
        row = "".join(f"{medians[layers] * 1e3:13.1f} ms" for layers in depths)
        print(f"{phase:22}{row}{medians[last] / medians[first]:10.1f}")


if __name__ == "__main__":
    main()
