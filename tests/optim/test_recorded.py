"""Trajectories that PyTorch 2.13 and optax 0.2.8 computed; the scripts beside the recordings made them."""

import inspect
import json

import numpy as np
import pytest

from lazyflow import optim
from optim.training import Training
from repository import ROOT


def recorded(system):
    """What a system computed, and its cases with their names."""
    found = json.loads((ROOT / "tests" / "golden" / system / "optimizers.json").read_text())
    return found, [pytest.param(case, id=name_of(case)) for case in found["cases"]]


def name_of(case):
    return f"{case['optimizer']}({','.join(f'{name}={value}' for name, value in case['options'].items())})"


PYTORCH, PYTORCH_CASES = recorded("pytorch")
OPTAX, OPTAX_CASES = recorded("optax")


def replay(module, recording, case):
    """The parameters after each recorded step, ours and theirs."""
    shapes = [recording["shapes"][i] for i in case["parameters"]]
    arrays = lambda rows: [  # noqa: E731
        np.float32(rows[i]).reshape(shape) for i, shape in zip(case["parameters"], shapes, strict=True)
    ]
    options = {name: tuple(v) if isinstance(v, list) else v for name, v in case["options"].items()}
    kind = getattr(module, case["optimizer"])
    training = Training(lambda params: kind(params, **options), arrays(recording["initial"]))
    rows = iter(case["rows"])
    for step, gradients in enumerate(recording["gradients"], start=1):
        training.step(arrays(gradients))
        if step in recording["steps"]:
            wanted = [np.float32(row).reshape(shape) for row, shape in zip(next(rows), shapes, strict=True)]
            yield step, training.values, wanted


def assert_equal(trajectory):
    """They are equal but for 200 roundings in float32."""
    for step, values, wanted in trajectory:
        for value, want in zip(values, wanted, strict=True):
            np.testing.assert_allclose(value, want, rtol=1e-5, atol=2e-5, err_msg=f"step {step}")


@pytest.mark.parametrize("case", PYTORCH_CASES)
def test_pytorch(case):
    assert_equal(replay(optim.pytorch, PYTORCH, case))


@pytest.mark.parametrize("case", OPTAX_CASES)
def test_optax(case):
    assert_equal(replay(optim, OPTAX, case))


def test_every_optimizer_of_the_pytorch_module_is_recorded():
    kinds = {name for name, value in vars(optim.pytorch).items() if inspect.isclass(value)}
    assert kinds == {case["optimizer"] for case in PYTORCH["cases"]}


def test_the_recordings_say_what_made_them():
    assert PYTORCH["made_with"].startswith("torch 2.13.0")
    assert OPTAX["made_with"] == "optax 0.2.8"
