"""Records what PyTorch's training recipe computes: writes recipes.json beside this file.

Gradients of several micro-batches, a loss scale, clipping, an update that is skipped where a gradient is
not finite, and an average of the parameters, over 200 updates. Needs torch 2.13.0 and nothing else; the tests
need the recording only. The data are drawn by Python's ``random``, whose ``random()`` is the same everywhere.

    python tests/golden/pytorch/record_recipes.py
"""

import json
import random
from pathlib import Path

import torch
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

SHAPES = [(3, 2), (4,), ()]
UPDATES = 200
ROWS = [1, 2, 3, 4, 5, 10, 20, 50, 100, 150, 200]
SCALER = {"init_scale": 1024.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 20}
# the updates in which a micro-batch, the last one or another, gives an infinite gradient
BAD = [0, 3, 4, 37, 38, 39, 90, 151, 152, 198]

CASES = [
    {"optimizer": "AdamW", "options": {"lr": 0.01}, "accumulate": 4, "clip_norm": 0.5, "decay": 0.99},
    {
        "optimizer": "AdamW",
        "options": {"lr": 0.02, "weight_decay": 0.1, "amsgrad": True},
        "accumulate": 4,
        "clip_value": 0.3,
        "clip_norm": 0.8,
        "decay": 0.9,
    },
    {"optimizer": "SGD", "options": {"lr": 0.05, "momentum": 0.9}, "accumulate": 1, "clip_norm": 1.0},
    {"optimizer": "Adam", "options": {"lr": 0.01, "weight_decay": 0.1}, "accumulate": 3, "swa": True},
]


def draws(seed):
    """Numbers in [-1, 1), rounded to float32."""
    source = random.Random(seed)
    return lambda shape: torch.tensor(
        [2.0 * source.random() - 1.0 for _ in range(torch.Size(shape).numel())], dtype=torch.float32
    ).reshape(shape)


class Model(torch.nn.Module):
    """Parameters that are drawn to the data: half the squared distance."""

    def __init__(self, draw):
        super().__init__()
        self.values = torch.nn.ParameterList([torch.nn.Parameter(draw(shape)) for shape in SHAPES])

    def forward(self, data):
        return sum(0.5 * ((w - x) ** 2).sum() for w, x in zip(self.values, data, strict=True))


def flat(tensors):
    return [each.detach().flatten().tolist() for each in tensors]


def average(case, model):
    if "decay" in case:
        return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(case["decay"]))
    return AveragedModel(model)


def update(case, model, optimizer, scaler, draw, number):
    """One update; whether it was applied."""
    parameters = list(model.parameters())
    optimizer.zero_grad()
    for micro in range(case["accumulate"]):
        data = [draw(shape) for shape in SHAPES]
        if number in BAD and micro == number % case["accumulate"]:
            data[number % len(data)].view(-1)[0] = float("inf")
        scaler.scale(model(data) / case["accumulate"]).backward()
    scaler.unscale_(optimizer)
    if "clip_value" in case:
        clip_grad_value_(parameters, case["clip_value"])
    if "clip_norm" in case:
        clip_grad_norm_(parameters, case["clip_norm"])
    before = scaler.get_scale()
    scaler.step(optimizer)
    scaler.update()
    return scaler.get_scale() >= before


def record(seed, case):
    draw = draws(seed)
    model = Model(draw)
    optimizer = getattr(torch.optim, case["optimizer"])(model.parameters(), **case["options"])
    scaler = torch.amp.GradScaler("cpu", **SCALER)
    averaged = average(case, model)
    rows, averages, scales = [], [], []
    for number in range(UPDATES):
        if update(case, model, optimizer, scaler, draw, number):
            averaged.update_parameters(model)
        scales.append(scaler.get_scale())
        if number + 1 in ROWS:
            rows.append(flat(model.parameters()))
            averages.append(flat(averaged.module.parameters()))
    return {"seed": seed, **case, "scales": scales, "rows": rows, "averages": averages}


if __name__ == "__main__":
    recording = {
        "producer": f"PyTorch {torch.__version__.split('+')[0]}, CPU",
        "shapes": SHAPES,
        "updates": UPDATES,
        "steps": ROWS,
        "scaler": SCALER,
        "bad": BAD,
        "cases": [record(seed, case) for seed, case in enumerate(CASES)],
    }
    path = Path(__file__).with_name("recipes.json")
    path.write_text(json.dumps(recording, indent=None, separators=(",", ":")) + "\n", encoding="utf-8")
