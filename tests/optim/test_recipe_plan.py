"""What the recipe becomes in a plan: one pass over memory, read from the instructions."""

from collections import Counter

import numpy as np
import pytest

import lazyflow as lf
from lazyflow import optim
from lazyflow.runtime import schema
from optim.specifications import SPECIFICATIONS

SHAPES = [(40, 30), (77,), (2, 3, 50)]  # each with more elements than anything else in the plan has
SMALLEST = 77

# recipe, and how often a run reads each gradient besides in updates: for norms and checks, in one kernel
RECIPES = [
    ({}, 0),
    ({"clip_value": 0.5}, 0),
    ({"average": optim.EMA(0.9)}, 0),
    ({"skip_nonfinite": True}, 1),
    ({"clip_norm": 1.0}, 1),
    ({"clip_norm": 1.0, "skip_nonfinite": True, "average": optim.SWA()}, 1),
    ({"clip_norm": 1.0, "clip_value": 0.5, "skip_nonfinite": True}, 1),
    ({"accumulate": 4, "weight": 3.0}, 0),
    ({"accumulate": 4, "clip_norm": 1.0, "skip_nonfinite": True, "average": optim.EMA(0.9)}, 1),
]
NORMS = ("LAMB", "LARS", "Adafactor", "Muon")  # their papers read a parameter or its gradient twice, or more
ELEMENTWISE = [spec for spec in SPECIFICATIONS if spec.kind.__name__ not in NORMS]


def build(make, scaled, **recipe):
    with lf.Graph() as graph:
        parameters = [lf.Parameter(np.ones(s, np.float32), name=f"w{i}") for i, s in enumerate(SHAPES)]
        optimizer = make(parameters)
        feeds = {w: lf.placeholder(f"g{i}", w.shape) for i, w in enumerate(parameters)}
        if scaled:
            recipe["loss_scale"] = optim.LossScaler()
        with graph.program("train"):
            optimizer.step(feeds, **recipe)
    return next(p for p in lf.compile(graph).document.programs if p.name == "train")


def reads(program):
    """How often batched updates, and how often other instructions, read each gradient."""
    names = {number: buffer.name for number, buffer in enumerate(program.buffers) if buffer.place == "feed"}
    updates, others = Counter(), Counter()
    for step in program.instructions:
        if isinstance(step, schema.KernelBatch):
            updates.update(names[n] for segment in step.segments for n in segment.reads if n in names)
        else:
            accesses = step.reads if isinstance(step, schema.Kernel) else [step.source]
            others.update(names[access.buffer] for access in accesses if access.buffer in names)
    return updates, others


@pytest.mark.parametrize("scaled", [False, True], ids=["", "scaled"])
@pytest.mark.parametrize(("recipe", "extra"), RECIPES, ids=[",".join(r) for r, _ in RECIPES])
def test_one_pass_over_memory(recipe, extra, scaled):
    program = build(lambda params: optim.AdamW(params, lr=0.1, weight_decay=0.1), scaled, **recipe)
    batches = [step for step in program.instructions if isinstance(step, schema.KernelBatch)]
    accumulates = "accumulate" in recipe
    assert len(batches) == 1 + accumulates  # all parameters are one kernel; a run adds or updates
    updates, kernels = reads(program)
    extra = max(extra, int(scaled))  # a dynamic scale checks
    assert updates == {f"g{i}": 1 + accumulates for i in range(len(SHAPES))}
    assert kernels == ({f"g{i}": 1 for i in range(len(SHAPES))} if extra else {})
    temporaries = [buffer for buffer in program.buffers if buffer.place == "arena"]
    assert all(isinstance(b.size, int) and b.size < SMALLEST for b in temporaries)


@pytest.mark.parametrize("spec", ELEMENTWISE, ids=str)
def test_every_elementwise_rule_is_one_pass(spec):
    recipe = {"clip_norm": 1.0, "skip_nonfinite": True, "average": optim.EMA(0.9)}
    program = build(spec.make, True, **recipe)
    updates, kernels = reads(program)
    assert set(updates.values()) == set(kernels.values()) == {1}
    assert all(b.size < SMALLEST for b in program.buffers if b.place == "arena")


def test_accumulating_and_updating_exclude_each_other():
    program = build(lambda params: optim.AdamW(params), False, accumulate=2)
    batches = [step for step in program.instructions if isinstance(step, schema.KernelBatch)]
    guards = [step.when for step in batches]
    assert None not in guards
    assert len(set(guards)) == 2


def test_control_is_when_and_nothing_else():
    program = build(optim.AdamW, True, accumulate=2, clip_norm=1.0, average=optim.EMA(0.9))
    kinds = {type(step) for step in program.instructions}
    assert kinds <= {schema.Kernel, schema.KernelBatch, schema.Copy}


PASSES = ["fold_constants", "simplify", "merge_common", "fuse", "batch_updates"]


def trained(skip):
    """The state after some runs of two optimizers with all parts of the recipe, one of them with a skip."""
    with lf.Graph() as graph:
        a, b = lf.Parameter([1.0, -2.0, 0.5], name="a"), lf.Parameter([0.3, 0.1], name="b")
        x, scaler = lf.placeholder("x", ()), optim.LossScaler(8.0, growth_interval=2)
        recipe = {"loss_scale": scaler, "clip_value": 0.7, "clip_norm": 1.0, "average": optim.EMA(0.9)}
        with graph.program("train") as program:
            scaler.scale(lf.sum(a * a * x) + lf.sum(b * x)).backward()
            optim.pytorch.AdamW([a], lr=0.1).step(accumulate=2, weight=lf.abs(x) + 1.0, **recipe)
            optim.SGD([b], lr=0.1, momentum=0.9).step(**recipe)
            program.fetch(a=a.next * 2.0)
    session = lf.compile(graph, skip=skip).session(backend="numpy")
    for x in (1.0, -2.0, 0.5, np.nan, 3.0, 0.25):
        session.run("train", x=np.float32(x))
    return session.state_dict()


@pytest.mark.parametrize("skip", [*([each] for each in PASSES), PASSES], ids=",".join)
def test_optional_passes_change_no_bit(skip):
    expected = trained([])
    assert int(expected["sgd/skipped"]) > 0
    for name, array in trained(skip).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_parts_that_are_not_asked_for_are_not_there():
    program = build(optim.SGD, False)
    names = {b.name.rpartition("/")[2] for b in program.buffers if b.place == "variable"}
    assert not names & {"accumulated", "weight", "skipped", "offender", "averaged", "ema"}
    assert all(step.when is None for step in program.instructions)
