"""Rates and momenta that PyTorch 2.13 computed; tests/golden/pytorch/ has the script that recorded them."""

import json

import numpy as np
import pytest

import lazyflow as lf
from lazyflow.optim import pytorch
from optim.lr_scheduler.schedules import described
from repository import ROOT

RECORDED = json.loads((ROOT / "tests" / "golden" / "pytorch" / "lr_schedulers.json").read_text())
CASES = {case["id"]: case for case in RECORDED["cases"]}
STEPS = RECORDED["steps"]
BY_STEP = [name for name, case in CASES.items() if "metrics" not in case]
NEAR = {
    "rtol": 1e-13,
    "atol": 0,
}  # PyTorch multiplies its way from step to step: 4e-14 of the rate was measured


def optimizer_of(case):
    """The optimizer of a case, one parameter for each group."""
    names = [f"{case['id']}.{i}" for i in range(len(case["base_lrs"]))]
    groups = [
        {"params": [lf.Parameter([0.0], name=name)], "lr": lr}
        for name, lr in zip(names, case["base_lrs"], strict=True)
    ]
    more = {"momentum": 0.9} if case["optimizer"] in {"SGD", "RMSprop"} else {}
    return getattr(pytorch, case["optimizer"])(groups, name=f"{case['id']}.optimizer", **more)


def scheduler_of(case, optimizer):
    """The scheduler of a case; a product that depends on the step needs a table."""
    more = {"steps": case["table"]} if "table" in case else {}
    return described(case["scheduler"], optimizer, pytorch.lr_scheduler, **more)


def recorded(case):
    """The numbers of a case: by the name of what is driven, shape (steps, groups)."""
    cycled = "momentum" if case["optimizer"] in {"SGD", "RMSprop"} else "betas/0"
    keys = {"lr": "lr", "momentum": cycled}
    return {name: np.array(case[key]) for key, name in keys.items() if key in case}


def test_no_scheduler_is_missing_from_the_recording():
    recorded = {case["scheduler"]["type"] for case in CASES.values()}
    assert recorded == set(pytorch.lr_scheduler.__all__) - {"LRScheduler"}
    assert STEPS == 200


@pytest.mark.parametrize("name", BY_STEP)
def test_curve_is_what_pytorch_computes(name):
    case = CASES[name]
    scheduler, expected = scheduler_of(case, optimizer_of(case)), recorded(case)
    assert set(scheduler.drives) == set(expected)
    for option, numbers in expected.items():
        found = [scheduler.curve(STEPS, group, option=option) for group in range(numbers.shape[1])]
        np.testing.assert_allclose(np.transpose(found), numbers, **NEAR)


def all_in_one_program():
    """A graph with every case in one program; what it fetches is named CASE.OPTION.GROUP."""
    fetches, schedulers = {}, []
    with lf.Graph("recorded") as graph:
        for name, case in CASES.items():
            optimizer = optimizer_of(case)
            schedulers.append(scheduler_of(case, optimizer))
            for index, group in enumerate(optimizer.param_groups):
                fetches |= {f"{name}.{option}.{index}": group.value(option) for option in recorded(case)}
        metrics = {name: lf.placeholder(name, (), lf.float64) for name in CASES if name not in BY_STEP}
        with graph.program("epoch", fetches=fetches):
            for name, scheduler in zip(CASES, schedulers, strict=True):
                scheduler.step(*[metrics[name]] if name in metrics else [])
    return graph


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_one_plan_is_what_pytorch_computes(backend):
    session = lf.compile(all_in_one_program()).session(backend=backend)
    metrics = {name: case["metrics"] for name, case in CASES.items() if "metrics" in case}
    runs = [
        session.run("epoch", **{name: values[step] for name, values in metrics.items()})
        for step in range(STEPS)
    ]
    for name, case in CASES.items():
        for option, numbers in recorded(case).items():
            groups = range(numbers.shape[1])
            found = [[run[f"{name}.{option}.{group}"] for group in groups] for run in runs]
            np.testing.assert_allclose(found, numbers, **NEAR, err_msg=f"{name}: {option}")
