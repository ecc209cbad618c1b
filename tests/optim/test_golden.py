"""Trajectories that OneFlow computed, step by step."""

import numpy as np
import pytest

from optim import golden

FAMILIES = [
    "sgd",
    "adam",
    "adamw",
    "rmsprop",
    "seed_literal",
    "sgd_seed_momentum",
    "param_groups",
    "clip_grad",
]
DIFFERENT = {
    "sgd/s-maximize-nomom-ignored": "OneFlow 0.9.0 ignores maximize where there is no momentum",
}
CASES = [c for c in golden.cases(*FAMILIES) if c["scheduler"] is None]
STATE = {"momentum_buf": "momentum_buffer"}


def mode(case):
    """What a case is compared with: ``lr_scale`` acts in OneFlow's graph mode only."""
    return "graph" if case["id"] == "param_groups/s-lr-scale-graph-only" else "eager"


@pytest.mark.parametrize("case", [c for c in CASES if c["id"] not in DIFFERENT], ids=lambda case: case["id"])
def test_trajectory(case):
    training = golden.training(case)
    expected = golden.expected(case, mode(case))
    rates = case["modes"][mode(case)]["lr"]
    tolerances = [tolerance(path) for path in zip(*expected, strict=True)]
    for step in range(case["steps"]):
        np.testing.assert_allclose(
            training.step(golden.gradients(case, step)),
            rates[step],
            rtol=1e-12 if mode(case) == "eager" else 1e-6,
        )
        for value, wanted, atol in zip(training.values, expected[step], tolerances, strict=True):
            np.testing.assert_allclose(value, wanted, rtol=0, atol=atol, err_msg=f"step {step}")


def tolerance(path):
    """A few roundings of the largest value, and of the largest distance moved."""
    moved = max(np.abs(value - path[0]).max() for value in path)
    return 4e-6 * np.abs(path).max() + 8e-6 * moved
