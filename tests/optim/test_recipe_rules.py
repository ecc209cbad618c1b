"""The whole recipe around every rule: what surrounds an update asks nothing of the rule inside."""

import numpy as np
import pytest

from lazyflow import optim
from optim.recipes import Fed, Loop, assert_equal, problem
from optim.specifications import SPECIFICATIONS

LAST = {spec.kind: spec for spec in SPECIFICATIONS if spec.kind.__module__.count(".") == 2}  # not the presets
MOVED_BY_A_SKIP = {"micro_steps", "updates", "skipped"}
RECIPE = {"accumulate": 2, "clip_value": 1.2, "clip_norm": 0.7, "skip_nonfinite": True}


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
@pytest.mark.parametrize("spec", LAST.values(), ids=lambda spec: spec.kind.__name__)
def test_everything_at_once(spec, backend):
    initial, gradients = problem(30, shapes=[(3, 2), (5,), (2, 3), ()])
    groups = [{**spec.options, "scale": 2.0}, {**spec.options, "frozen": True}]
    members = [0, 0, 0, 1]

    def make(params):
        rows = [[p for p, m in zip(params, members, strict=True) if m == i] for i in range(2)]
        return spec.kind([{"params": row, **g} for row, g in zip(rows, groups, strict=True)])

    training = Fed(make, initial, backend, average=optim.EMA(0.9), **RECIPE)
    loop = Loop(spec.loop, initial, groups, members, decay=0.9, **RECIPE)
    for step, row in enumerate(gradients):
        if step in (10, 17):
            row[step % 3][...] = np.inf if step == 10 else np.nan
        training.micro(row)
        loop.micro(row)
    assert loop.skipped == 2
    assert_equal(training.values, loop.values, rtol=1e-10)  # a step of Muon multiplies roundings
    assert_equal(training.kept("ema"), loop.averages, rtol=1e-10)
    assert training.clock("applied") == loop.applied == 13


@pytest.mark.parametrize("spec", LAST.values(), ids=lambda spec: spec.kind.__name__)
def test_a_skipped_step_leaves_every_byte(spec):
    initial, gradients = problem(3, shapes=[(3, 2), (5,)], dtype=np.float32)
    training = Fed(spec.make, initial, skip_nonfinite=True)
    training.micro(gradients[0])
    before = training.session.state_dict()
    gradients[1][0][0] = np.nan
    training.micro(gradients[1])
    after = training.session.state_dict()
    changed = {name for name in before if before[name].tobytes() != after[name].tobytes()}
    moved = {name.removeprefix(f"{training.optimizer.name}/") for name in changed}
    assert moved >= MOVED_BY_A_SKIP
    assert not [name for name in moved if name.startswith(("w0", "w1", "groups", "applied"))]
    training.micro(gradients[2])
    assert training.clock("applied") == 2
