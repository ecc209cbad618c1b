"""Records what PyTorch's learning-rate schedulers compute: writes lr_schedulers.json beside this file.

Needs torch 2.13.0 and nothing else; the tests need the recording only. Each case is one optimizer and one
scheduler, stepped 199 times: the rates, and the momenta where they cycle, of 200 updates.

    python tests/golden/pytorch/record_lr_schedulers.py
"""

import json
import math
import warnings
from pathlib import Path

import torch
from torch.optim import lr_scheduler

STEPS = 200
MOMENTUM = {"SGD": "momentum", "RMSprop": "momentum"}


def case(name, kind, args=None, parts=(), lrs=(0.1,), optimizer="SGD", **more):
    """One case; ``parts`` are pairs of a class and its arguments."""
    scheduler = {"type": kind, "args": args or {}}
    if parts:
        scheduler["schedulers"] = [{"type": part, "args": given} for part, given in parts]
    return {"id": name, "scheduler": scheduler, "optimizer": optimizer, "base_lrs": list(lrs), **more}


TWO = {"lrs": (0.1, 0.025)}
CYCLE = {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 20}
ONCE = {"max_lr": 0.5, "total_steps": 200}
STILL = {"cycle_momentum": False}
WARM = ("LinearLR", {"start_factor": 0.1, "total_iters": 20})
NOISE = [math.exp(-step / 40) + 0.1 * math.sin(step * step) for step in range(STEPS)]

CASES = [
    case("step", "StepLR", {"step_size": 30}, **TWO),
    case("step-half", "StepLR", {"step_size": 7, "gamma": 0.5}),
    case("step-each", "StepLR", {"step_size": 1, "gamma": 0.99}),
    case("step-beyond", "StepLR", {"step_size": 250}),
    case("milestones", "MultiStepLR", {"milestones": [30, 80, 120]}, **TWO),
    case("milestones-half", "MultiStepLR", {"milestones": [1, 2, 5, 100, 199, 300], "gamma": 0.5}),
    case("milestones-at-0", "MultiStepLR", {"milestones": [0, 10], "gamma": 0.3}),
    case("constant", "ConstantLR", **TWO),
    case("constant-long", "ConstantLR", {"factor": 0.1, "total_iters": 150}),
    case("constant-short", "ConstantLR", {"factor": 0.5, "total_iters": 1}),
    case("linear", "LinearLR", **TWO),
    case("linear-up", "LinearLR", {"start_factor": 0.01, "end_factor": 0.9, "total_iters": 50}),
    case("linear-down", "LinearLR", {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 100}),
    case("linear-once", "LinearLR", {"start_factor": 0.5, "end_factor": 0.25, "total_iters": 1}),
    case("exponential", "ExponentialLR", {"gamma": 0.9}, **TWO),
    case("exponential-slow", "ExponentialLR", {"gamma": 0.999}),
    case("exponential-rising", "ExponentialLR", {"gamma": 1.01}),
    case("cosine", "CosineAnnealingLR", {"T_max": 200}, **TWO),
    case("cosine-wave", "CosineAnnealingLR", {"T_max": 30, "eta_min": 0.01}, **TWO),
    case("cosine-to-0-and-back", "CosineAnnealingLR", {"T_max": 25}),
    case("cosine-shortest", "CosineAnnealingLR", {"T_max": 1, "eta_min": 0.05}),
    case("polynomial", "PolynomialLR", **TWO),
    case("polynomial-square", "PolynomialLR", {"total_iters": 100, "power": 2.0}),
    case("polynomial-root", "PolynomialLR", {"total_iters": 150, "power": 0.5}),
    case("polynomial-beyond", "PolynomialLR", {"total_iters": 250, "power": 0.9}),
    case("lambda-power", "LambdaLR", {"lr_lambda": "0.95 ** step"}, **TWO),
    case("lambda-stairs", "LambdaLR", {"lr_lambda": "step // 30"}),
    case("lambda-inverse", "LambdaLR", {"lr_lambda": "1 / (step + 1)"}),
    case("lambda-if", "LambdaLR", {"lr_lambda": "(step + 1) / 10 if step < 10 else max(0.1, 0.98 ** step)"}),
    case("lambda-each", "LambdaLR", {"lr_lambda": ["0.9 ** step", "1 - step / 400"]}, **TWO),
    case("product-same", "MultiplicativeLR", {"lr_lambda": "0.97"}, **TWO),
    case("product", "MultiplicativeLR", {"lr_lambda": "1 - step / 1000"}, table=STEPS),
    case("product-each", "MultiplicativeLR", {"lr_lambda": ["0.9", "0.5 if step % 50 == 0 else 1.0"]}, **TWO,
         table=STEPS),
    case("restarts", "CosineAnnealingWarmRestarts", {"T_0": 10}, **TWO),
    case("restarts-doubling", "CosineAnnealingWarmRestarts", {"T_0": 7, "T_mult": 2, "eta_min": 0.001}),
    case("restarts-tripling", "CosineAnnealingWarmRestarts", {"T_0": 1, "T_mult": 3}),
    case("restarts-long", "CosineAnnealingWarmRestarts", {"T_0": 150, "eta_min": 0.02}),
    case("triangles", "CyclicLR", CYCLE | STILL),
    case("triangles-momentum", "CyclicLR", CYCLE),
    case("triangles-each", "CyclicLR", {"base_lr": [0.01, 0.001], "max_lr": [0.1, 0.05], "step_size_up": 13}
         | {"base_momentum": [0.7, 0.6], "max_momentum": [0.8, 0.99]}, **TWO),
    case("triangles-halving", "CyclicLR", CYCLE | {"step_size_down": 33, "mode": "triangular2"}),
    case("triangles-shrinking", "CyclicLR", CYCLE | {"mode": "exp_range", "gamma": 0.99}),
    case("triangles-by-cycle", "CyclicLR", CYCLE | {"scale_fn": "1 / (5 ** (step * 0.0001))"}),
    case("triangles-by-step", "CyclicLR", CYCLE | {"scale_fn": "0.995 ** step", "scale_mode": "iterations"}),
    case("triangles-adam", "CyclicLR", CYCLE | {"base_momentum": 0.75}, optimizer="Adam"),
    case("triangles-rmsprop", "CyclicLR", CYCLE, optimizer="RMSprop"),
    case("triangles-long", "CyclicLR", CYCLE | {"step_size_up": 2000}),
    case("once", "OneCycleLR", ONCE | STILL),
    case("once-momentum", "OneCycleLR", ONCE),
    case("once-each", "OneCycleLR", {"max_lr": [0.5, 0.1], "total_steps": 220, "pct_start": 0.1}
         | {"base_momentum": [0.7, 0.6], "max_momentum": [0.8, 0.99]}, **TWO),
    case("once-linear", "OneCycleLR", ONCE | {"anneal_strategy": "linear", "pct_start": 0.45}),
    case("once-three-phases", "OneCycleLR", ONCE | {"three_phase": True, "div_factor": 10.0}),
    case("once-three-linear", "OneCycleLR", ONCE | {"three_phase": True, "anneal_strategy": "linear"}
         | {"final_div_factor": 100.0, "pct_start": 0.25}),
    case("once-epochs", "OneCycleLR", {"max_lr": 0.5, "epochs": 10, "steps_per_epoch": 21}),
    case("once-adam", "OneCycleLR", ONCE, optimizer="Adam"),
    case("once-adamw-three-phases", "OneCycleLR", ONCE | {"three_phase": True}, optimizer="AdamW"),
    case("sequence", "SequentialLR", {"milestones": [20]},
         [("ConstantLR", {"factor": 0.1, "total_iters": 20}), ("ExponentialLR", {"gamma": 0.95})], **TWO),
    case("sequence-warm-cosine", "SequentialLR", {"milestones": [20]},
         [WARM, ("CosineAnnealingLR", {"T_max": 180, "eta_min": 0.001})], **TWO),
    case("sequence-of-three", "SequentialLR", {"milestones": [20, 100]},
         [WARM, ("StepLR", {"step_size": 25, "gamma": 0.5}), ("PolynomialLR", {"total_iters": 50})]),
    case("chain", "ChainedScheduler", {},
         [("ConstantLR", {"factor": 0.1, "total_iters": 20}), ("ExponentialLR", {"gamma": 0.95})], **TWO),
    case("chain-of-three", "ChainedScheduler", {},
         [WARM, ("MultiStepLR", {"milestones": [50, 150]}), ("CosineAnnealingLR", {"T_max": 220})]),
    case("plateau", "ReduceLROnPlateau", {"patience": 5}, **TWO, metrics=NOISE),
    case("plateau-max", "ReduceLROnPlateau", {"mode": "max", "factor": 0.5, "patience": 3, "cooldown": 4}
         | {"threshold": 0.01, "threshold_mode": "abs"}, metrics=[-value for value in NOISE]),
    case("plateau-lowest", "ReduceLROnPlateau", {"factor": 0.3, "patience": 0, "min_lr": [2e-3, 1e-3]}, **TWO,
         metrics=NOISE),
]  # fmt: skip


def function(text):
    """A function of the step, written as an expression."""
    return eval(f"lambda step: {text}")


def made(description, optimizer):
    """The scheduler that a case describes."""
    args = dict(description["args"])
    for name in ("lr_lambda", "scale_fn"):
        if name in args:
            given = args[name]
            args[name] = [function(text) for text in given] if isinstance(given, list) else function(given)
    kind = getattr(lr_scheduler, description["type"])
    if "schedulers" not in description:
        return kind(optimizer, **args)
    parts = [made(part, optimizer) for part in description["schedulers"]]
    return kind(parts) if description["type"] == "ChainedScheduler" else kind(optimizer, parts, **args)


def momentum(group):
    """The number of a group that cycles."""
    return group["betas"][0] if "betas" in group else group["momentum"]


def record(described):
    """The case with what was computed."""
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in described["base_lrs"]]
    kind = described["optimizer"]
    optimizer = getattr(torch.optim, kind)(groups, **({"momentum": 0.9} if kind in MOMENTUM else {}))
    scheduler = made(described["scheduler"], optimizer)
    rates, momenta = [], []
    for step in range(STEPS):
        rates.append([group["lr"] for group in optimizer.param_groups])
        momenta.append([momentum(group) for group in optimizer.param_groups])
        optimizer.step()
        if "metrics" in described:
            scheduler.step(described["metrics"][step])
        elif step < STEPS - 1:
            scheduler.step()
    cycles = described["scheduler"]["type"] in ("CyclicLR", "OneCycleLR")
    cycles = cycles and described["scheduler"]["args"].get("cycle_momentum", True)
    return described | {"lr": rates} | ({"momentum": momenta} if cycles else {})


def main():
    """Record all cases, one on each line."""
    warnings.simplefilter("ignore")  # of SequentialLR about its own calls
    lines = ",\n".join(json.dumps(record(described)) for described in CASES)
    version = torch.__version__.partition("+")[0]
    target = Path(__file__).with_name("lr_schedulers.json")
    target.write_text(f'{{"torch": "{version}", "steps": {STEPS}, "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
