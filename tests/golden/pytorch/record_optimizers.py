"""Records what PyTorch's optimizers compute: writes optimizers.json beside this file.

Needs torch 2.13.0 and nothing else; the tests need the recording only. Each case is one optimizer that makes
200 float32 updates by the same gradients, and the parameters after some of them.

    python tests/golden/pytorch/record_optimizers.py
"""

import json
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import torch

SHAPES = [(3, 2), (4,), (2, 3)]
MATRICES = [0, 2]
STEPS = 200
ROWS = [1, 2, 3, 4, 5, 6, 8, 10, 20, 50, 100, 200]

CASES = [
    ("SGD", {}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.05}),
    ("SGD", {"lr": 0.1, "momentum": 0.5, "maximize": True, "weight_decay": 0.1}),
    ("Adam", {}),
    ("Adam", {"lr": 0.02, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.02, "betas": (0.5, 0.6), "amsgrad": True}),
    ("Adam", {"lr": 0.02, "maximize": True}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.02, "betas": (0.8, 0.9), "weight_decay": 0.1, "amsgrad": True}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.02, "alpha": 0.9, "eps": 1e-2, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.02, "centered": True, "eps": 1e-3}),
    ("RMSprop", {"lr": 0.02, "momentum": 0.9, "centered": True, "eps": 1e-2}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1}),
    ("Adagrad", {"lr": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.5, "eps": 1e-3, "weight_decay": 0.1}),
    ("Adamax", {}),
    ("Adamax", {"lr": 0.02, "betas": (0.8, 0.9), "weight_decay": 0.1}),
    ("NAdam", {}),
    ("NAdam", {"lr": 0.02, "betas": (0.8, 0.9), "momentum_decay": 0.1, "weight_decay": 0.1}),
    ("NAdam", {"lr": 0.02, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {}),
    ("RAdam", {"lr": 0.02, "betas": (0.8, 0.99), "eps": 1e-3, "weight_decay": 0.1}),
    ("RAdam", {"lr": 0.02, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("Adafactor", {}),
    ("Adafactor", {"lr": 0.2, "beta2_decay": -0.5, "weight_decay": 0.1}),
    ("Adafactor", {"lr": 0.05, "d": 1.5, "eps": (0.1, 0.5)}),
    ("Muon", {}),
    ("Muon", {"lr": 0.02, "momentum": 0.5, "nesterov": False}),
    ("Muon", {"lr": 0.02, "adjust_lr_fn": "match_rms_adamw", "weight_decay": 0.01}),
]
# the steps of Newton and Schulz in float32, where PyTorch casts to bfloat16: the same rule, compared closely
CLOSE = [(kind, {**options, "bfloat16_steps": False}) for kind, options in CASES if kind == "Muon"]


def numbers(tensor):
    """The elements, with the nine digits that tell any two float32 numbers apart."""
    return [float(f"{x:.9g}") for x in tensor.flatten().tolist()]


def trajectory(kind, options, initial, gradients):
    """The parameters after each step of ``ROWS``."""
    which = MATRICES if kind == "Muon" else range(len(SHAPES))
    params = [torch.nn.Parameter(initial[i].clone()) for i in which]
    given = {name: value for name, value in options.items() if name != "bfloat16_steps"}
    optimizer = getattr(torch.optim, kind)(params, **given)
    wide = mock.patch.object(torch.Tensor, "bfloat16", torch.Tensor.clone)
    rows = []
    with wide if "bfloat16_steps" in options else nullcontext():
        for step, row in enumerate(gradients, start=1):
            for parameter, i in zip(params, which, strict=True):
                parameter.grad = row[i].clone()
            optimizer.step()
            if step in ROWS:
                rows.append([numbers(parameter.detach()) for parameter in params])
    return {"optimizer": kind, "options": options, "parameters": list(which), "rows": rows}


def main():
    """Write the recording."""
    torch.manual_seed(0)
    initial = [torch.randn(shape) for shape in SHAPES]
    gradients = [[torch.randn(shape) for shape in SHAPES] for _ in range(STEPS)]
    recorded = {
        "made_with": f"torch {torch.__version__}",
        "shapes": SHAPES,
        "initial": [numbers(tensor) for tensor in initial],
        "gradients": [[numbers(tensor) for tensor in row] for row in gradients],
        "steps": ROWS,
        "cases": [trajectory(kind, options, initial, gradients) for kind, options in CASES + CLOSE],
    }
    path = Path(__file__).with_name("optimizers.json")
    path.write_text(
        json.dumps(recorded, separators=(",", ":")).replace('{"optimizer"', '\n{"optimizer"') + "\n"
    )


if __name__ == "__main__":
    main()
