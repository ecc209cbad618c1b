"""Groups as data: what a live session changes between runs, compiling nothing and losing no state."""

from importlib import import_module

import numpy as np
import pytest

import lazyflow as lf
from lazyflow import optim
from lazyflow.runtime.backends.cpu import cpu
from lazyflow.runtime.errors import ArgumentError, ArgumentTypeError, StateError
from optim import papers
from optim.recipes import Fed, Loop, assert_equal, problem

BASE = {"betas": (0.8, 0.9), "eps": 1e-3}
GROUPS = [
    {**BASE, "lr": 0.05, "weight_decay": 0.1},
    {**BASE, "lr": 0.1, "weight_decay": 0.0, "scale": 0.5},
]
MEMBERS = [0, 1, 0]
RECIPE = {"accumulate": 2, "clip_norm": 0.8, "skip_nonfinite": True}


@pytest.fixture
def compilations(monkeypatch):
    """Counts what is compiled: graphs, and modules of the cpu backend, from the cache or not."""
    counted = []

    def count(owner, name):
        original = getattr(owner, name)

        def counting(*args, **kwargs):
            counted.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, counting)

    count(import_module("lazyflow.compile"), "compile_graph")
    count(cpu.Host, "load")
    return counted


def make(params):
    rows = [[params[0], params[2]], [params[1]]]
    return optim.pytorch.AdamW([{"params": p, **g} for p, g in zip(rows, GROUPS, strict=True)])


def pair(initial, backend="numpy"):
    training = Fed(make, initial, backend, average=optim.EMA(0.9), **RECIPE)
    return training, Loop(
        papers.adamw, initial, [dict(g) for g in GROUPS], list(MEMBERS), decay=0.9, **RECIPE
    )


def set_lr(groups, loop):
    groups[0]["lr"] = loop.groups[0]["lr"] = 0.2


def set_weight_decay(groups, loop):
    groups[1]["weight_decay"] = loop.groups[1]["weight_decay"] = 0.3


def set_betas(groups, loop):
    groups[0]["betas"] = loop.groups[0]["betas"] = (0.5, 0.7)


def set_scale(groups, loop):
    groups[1]["scale"] = loop.groups[1]["scale"] = 2.0


def freeze(groups, loop):
    groups[0]["frozen"] = loop.groups[0]["frozen"] = True


def thaw(groups, loop):
    groups[0]["frozen"] = loop.groups[0]["frozen"] = False


def move(groups, loop):
    groups.move("w0", 1)
    loop.members[0] = 1


CHANGES = [set_lr, set_weight_decay, set_betas, set_scale, freeze, move, thaw]


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_changes_in_a_live_session_compile_nothing_and_lose_nothing(backend, compilations):
    initial, gradients = problem(6 * (len(CHANGES) + 1))
    training, loop = pair(initial, backend)
    made = list(compilations)
    assert made.count("compile_graph") == 1
    for number, change in enumerate([None, *CHANGES]):
        if change is not None:
            change(training.session.groups["adamw"], loop)
        for row in gradients[6 * number : 6 * number + 6]:
            training.micro(row)
            loop.micro(row)
        assert_equal(training.values, loop.values)
        assert_equal(training.kept("ema"), loop.averages)
        if number == 0:
            made = list(compilations)  # kernels are compiled at the first run at the latest
    assert ("load" in made) == (backend == "cpu")
    assert compilations == made
    assert training.clock("applied") == loop.applied == 3 * (len(CHANGES) + 1)


def test_a_clip_threshold_is_data_too():
    initial, gradients = problem(4)
    training, loop = pair(initial)
    training.session.set("adamw/clip_norm", 0.25)
    loop.recipe["clip_norm"] = 0.25
    for row in gradients:
        training.micro(row)
        loop.micro(row)
    assert_equal(training.values, loop.values)


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_what_is_frozen_keeps_every_byte(backend):
    initial, gradients = problem(6)
    training, _ = pair(initial, backend)
    for row in gradients[:2]:
        training.micro(row)
    training.session.groups["adamw"][0]["frozen"] = True
    before = training.session.state_dict()
    for row in gradients[2:]:
        training.micro(row)
    after = training.session.state_dict()
    kept = [f"{w}{key}" for w in ("w0", "w2") for key in ("", "/exp_avg", "/exp_avg_sq", "/ema")]
    assert all(before[name].tobytes() == after[name].tobytes() for name in kept)
    assert before["w1"].tobytes() != after["w1"].tobytes()


def test_what_is_frozen_neither_skips_nor_enters_the_norm():
    initial, gradients = problem(2)
    training, loop = pair(initial)
    freeze(training.session.groups["adamw"], loop)
    gradients[0][0][...] = np.nan
    gradients[1][2][...] = 1e6
    for row in gradients:
        training.micro(row)
        loop.micro(row)
    assert loop.applied == 1
    assert_equal(training.values, loop.values)


def test_scalars_of_a_frozen_group_stay():
    with lf.Graph() as graph:
        w = lf.Parameter([1.0], name="w")
        optimizer = optim.NAdam([w], frozen=True)
        with graph.program("train"):
            optimizer.step({w: w * 1.0})
    session = lf.compile(graph).session(backend="numpy")
    session.run("train")
    assert session.get("nadam/groups/0/mu_product") == 1.0


def test_frozen_may_follow_from_a_tensor():
    with lf.Graph() as graph:
        w = lf.Parameter([0.0], name="w")
        micro_steps = lf.Variable(0, name="runs")
        optimizer = optim.SGD([w], lr=1.0, frozen=micro_steps < 2)
        with graph.program("train"):
            optimizer.step({w: w * 0.0 - 1.0})
            micro_steps.assign(micro_steps + 1)
    session = lf.compile(graph).session(backend="numpy")
    values = []
    for _ in range(4):
        session.run("train")
        values.append(float(session.get("w")[0]))
    assert values == [0.0, 0.0, 1.0, 2.0]


def test_frozen_is_a_bool():
    training, _ = pair(problem(0)[0])
    group = training.session.groups["adamw"][0]
    assert group["frozen"] is False
    for value in (1, 1.0, "yes", None):
        with pytest.raises(ArgumentTypeError, match=r"frozen: .* is no bool"):
            group["frozen"] = value
    with pytest.raises(ArgumentTypeError, match="lr: True is not a number"):
        group["lr"] = True
    group["frozen"] = np.bool_(True)
    assert group["frozen"] is True


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_what_is_out_of_range_is_refused_and_changes_nothing(value):
    training, _ = pair(problem(0)[0])
    group = training.session.groups["adamw"][0]
    with pytest.raises(ArgumentError, match=r"lr: .* is out of range"):
        group["lr"] = value
    assert group["lr"] == 0.05


def test_structure_is_refused_with_the_reason():
    training, _ = pair(problem(0)[0])
    group = training.session.groups["adamw"][0]
    for option, value in (("amsgrad", True), ("clip_grad_max_norm", 1.0), ("maximize", True)):
        with pytest.raises(StateError, match=f"{option}: cannot be changed in a live session: it decides"):
            group[option] = value


def test_groups_of_other_structure_take_no_members():
    with lf.Graph() as graph:
        a, b = lf.Parameter([1.0], name="a"), lf.Parameter([1.0], name="b")
        optimizer = optim.Adam([{"params": [a]}, {"params": [b], "amsgrad": True}])
        with graph.program("train"):
            optimizer.step({a: a * 1.0, b: b * 1.0})
    groups = lf.compile(graph).session(backend="numpy").groups["adam"]
    with pytest.raises(StateError, match="cannot move from group 0 to 1: they differ in structure") as caught:
        groups.move("a", 1)
    assert "amsgrad" in str(caught.value)


def test_all_of_it_is_kept_with_the_plan(tmp_path):
    initial, gradients = problem(8)
    training, loop = pair(initial)
    for row in gradients[:3]:  # in the middle of a group of micro-batches
        training.micro(row)
        loop.micro(row)
    training.session.groups["adamw"][0]["frozen"] = loop.groups[0]["frozen"] = True
    training.plan.save(tmp_path / "plan.lfplan", state=training.session)
    training.session = lf.load_plan(tmp_path / "plan.lfplan").session(backend="numpy")
    for row in gradients[3:]:
        training.micro(row)
        loop.micro(row)
    assert_equal(training.values, loop.values)
    assert training.session.groups["adamw"].offender is None
