"""OneFlow's recorded trajectories: the cases, and the optimizers and schedulers that they name."""

import json

import numpy as np

from lazyflow import optim
from optim.training import Training
from repository import ROOT

FOLDER = ROOT / "tests" / "golden" / "oneflow"
DOCUMENTED = {"seed_literal", "sgd_seed_momentum"}  # by the documented equations, not by OneFlow 0.9's


def cases(*families):
    """The cases of families of the golden data."""
    return [
        case for family in families for case in json.loads((FOLDER / f"{family}.json").read_text())["cases"]
    ]


def convention(case):
    """The module whose optimizers a case recorded."""
    return optim if case["id"].partition("/")[0] in DOCUMENTED else optim.oneflow


def number(value):
    """Non-finite numbers are text in the files."""
    return float(value) if value in ("inf", "-inf", "nan") else value


def optimizer(case, parameters):
    """The optimizer of a case."""
    groups = [
        {key: number(value) for key, value in group.items()}
        | {"params": [parameters[i] for i in group["params"]]}
        for group in case["groups"]
    ]
    return getattr(convention(case), case["optimizer"])(groups, **case["args"])


def gradients(case, step):
    """The gradient of each parameter in a step, None where it has none."""
    rows = zip(case["grads"][step], case["shapes"], strict=True)
    return [None if row is None else np.float32(row).reshape(shape) for row, shape in rows]


def present(case):
    """The sets of parameters that get a gradient together, in the order in which they come."""
    sets = [frozenset(i for i, g in enumerate(row) if g is not None) for row in case["grads"]]
    return [some for some in dict.fromkeys(sets) if some]


def scheduler(case, description, on):
    """The scheduler of a description, on an optimizer or a scheduler; LambdaLR's functions are text."""
    args = dict(description["args"])
    if "inner" in description:
        on = scheduler(case, description["inner"], on)
    if "lr_lambda" in args:
        args["lr_lambda"] = [eval(f"lambda step: {text}") for text in args["lr_lambda"]]
    return getattr(convention(case).lr_scheduler, description["type"])(on, **args)


def training(case):
    """The training of a case."""
    rows = zip(case["init"], case["shapes"], strict=True)

    def make(parameters):
        made = optimizer(case, parameters)
        return made, [scheduler(case, case["scheduler"], made)] if case["scheduler"] else []

    return Training(make, [np.float32(row).reshape(shape) for row, shape in rows], present(case))


def expected(case, mode):
    """The parameters after each step: a list per step of an array per parameter."""
    rows = case["modes"][mode]["params"]
    if isinstance(rows, str):
        return expected(case, rows.removeprefix("same as "))
    return [
        [np.float32(row).reshape(s) for row, s in zip(rows_, case["shapes"], strict=True)] for rows_ in rows
    ]
