"""Unscale, clip by the global norm, AdamW and a moving average: lazyflow, C by hand, and PyTorch, in turns.

    python benchmarks/recipe.py --rounds 15 --sets "ResNet-50" "GPT-2"

Each row gives medians of paired rounds. The floor is what memory allows: 40 bytes of each parameter (its
gradient read twice, for the norm and for the update; its value, two moments and average, read and written),
timed as five arrays that are read and written back.
"""

import argparse
import math

from native import Arrays, bound, library, stream
from others import torch_recipe, torch_update, torch_with
from shapes import SETS
from turns import median, ratio, turns

import lazyflow as lf
from lazyflow import optim

BYTES = 40
STEP_BYTES = 28  # of AdamW alone


def session_of(shapes):
    """A session, and for each tensor the arrays that C works on too."""
    with lf.Graph("recipe") as graph:
        parameters = [lf.Parameter(0.0, shape, name=f"w{i}") for i, shape in enumerate(shapes)]
        feeds = [lf.placeholder(f"g{i}", shape) for i, shape in enumerate(shapes)]
        optimizer = optim.AdamW(parameters, lr=1e-3, weight_decay=0.01)
        scaler = optim.StaticLossScaler(1.0)
        scaler.scale(lf.placeholder("loss", ()))
        with graph.program("train"):
            gradients = dict(zip(parameters, feeds, strict=True))
            optimizer.step(gradients, loss_scale=scaler, clip_norm=1.0, average=optim.EMA(0.999))
    session = lf.compile(graph).session("cpu")
    variables, state = session.backend.variables, optimizer.table().state
    rows = []
    for i, gradient in enumerate(Arrays(shapes).arrays):
        session.bind(f"g{i}", gradient)
        moments = (variables[name] for name in state[f"w{i}"][:2])
        rows.append([variables[f"w{i}"], gradient, *moments, variables[f"w{i}/ema"]])
    return session, rows


def calls_of(c, shapes, threads):
    """What takes turns, by name."""
    session, rows = session_of(shapes)
    calls = {
        "run": lambda: session.run("train"),
        "c": bound(c.recipe, rows, threads),
        "c step": bound(c.adamw, [row[:4] for row in rows], threads),
        "floor": stream(c, rows, threads),
    }
    torch = torch_with(threads)
    if torch is not None:
        calls["torch"] = torch_recipe(torch, shapes)
        calls["torch step"] = torch_update(torch, "adamw", shapes, fused=True)
    return calls


def main():
    parser = argparse.ArgumentParser(description="Times what surrounds an update, with the update.")
    parser.add_argument("--sets", nargs="+", default=["ResNet-50", "GPT-2"], choices=list(SETS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    lf.set_num_threads(arguments.threads)
    c = library()
    print(
        f"{arguments.threads} threads; by bytes alone, the recipe is {BYTES / STEP_BYTES:.2f} times AdamW\n"
    )
    heads = ["tensors", "GB/s", "floor ms", "lazyflow ms", "C ms", "run / floor", "run / C", "C / its AdamW"]
    heads += ["PyTorch ms", "its fused AdamW ms", "PyTorch / run"]
    print("|", " | ".join(heads), "|")
    print("|" + "---|" * len(heads))
    for name in arguments.sets:
        rounds = turns(calls_of(c, SETS[name], arguments.threads), arguments.rounds)
        moved = BYTES * sum(math.prod(shape) for shape in SETS[name])
        cells = [1e-9 * moved / median(rounds, "floor")]
        cells += [median(rounds, each) * 1e3 for each in ("floor", "run", "c")]
        cells += [ratio(rounds, *pair) for pair in (("run", "floor"), ("run", "c"), ("c", "c step"))]
        if "torch" in rounds[0]:
            cells += [median(rounds, "torch") * 1e3, median(rounds, "torch step") * 1e3]
            cells += [ratio(rounds, "torch", "run")]
        shown = [f"{cell:.3g}" for cell in cells]
        print(
            "|",
            " | ".join([name, *shown, *["not installed"] * (len(heads) - 1 - len(shown))]),
            "|",
            flush=True,
        )


if __name__ == "__main__":
    main()
