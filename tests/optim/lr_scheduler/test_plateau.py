"""ReduceLROnPlateau: a state machine in the graph, against a loop in plain Python."""

import itertools
import math

import numpy as np
import pytest

import lazyflow as lf
from lazyflow import optim
from lazyflow.optim.lr_scheduler import ReduceLROnPlateau
from lazyflow.runtime import load_plan
from optim.lr_scheduler.schedules import an_optimizer


def graph_of(optimizer=an_optimizer, rates=(1.0,), **args):
    with lf.Graph("plateau") as graph:
        metric = lf.placeholder("metric", (), lf.float64)
        made = optimizer(*rates)
        scheduler = ReduceLROnPlateau(made, **args)
        fetches = {f"lr{i}": group["lr"] for i, group in enumerate(made.param_groups)}
        with graph.program("epoch", fetches=fetches):
            scheduler.step(metric)
    return graph


def run(metrics, **args):
    session = lf.compile(graph_of(**args)).session(backend="numpy")
    return [float(session.run("epoch", metric=value)["lr0"]) for value in metrics]


DEFAULTS = {"mode": "min", "factor": 0.1, "patience": 10, "threshold": 1e-4, "threshold_mode": "rel"}
DEFAULTS |= {"cooldown": 0, "min_lr": 0.0, "eps": 1e-8}


def plain(metrics, **args):
    """PyTorch's algorithm, as its documentation has it; the rate that each step uses, from 1.0."""
    mode, factor, patience, threshold, threshold_mode, cooldown, min_lr, eps = (DEFAULTS | args).values()
    sign = -1 if mode == "min" else 1
    best, bad, cooling, lr, rates = -sign * math.inf, 0, 0, 1.0, []
    for metric in metrics:
        rates.append(lr)
        limit = best * (1 + sign * threshold) if threshold_mode == "rel" else best + sign * threshold
        if sign * metric > sign * limit:
            best, bad = metric, 0
        else:
            bad += 1
        if cooling > 0:
            cooling, bad = cooling - 1, 0
        if bad > patience:
            new = max(lr * factor, min_lr)
            lr = new if lr - new > eps else lr
            cooling, bad = cooldown, 0
    return rates


METRICS = [float(x) for x in np.random.default_rng(3).uniform(0.5, 1.0, 60).round(2)]
METRICS[20:23] = [math.nan, math.inf, -math.inf]
SETTINGS = [
    {"patience": patience, "cooldown": cooldown, "mode": mode, "threshold_mode": threshold_mode}
    for patience, cooldown, mode, threshold_mode in itertools.product(
        (0, 2), (0, 3), ("min", "max"), ("rel", "abs")
    )
]
MORE = [
    {},
    {"factor": 0.5, "patience": 1, "min_lr": 0.2},
    {"factor": 0.9, "patience": 0, "eps": 0.05},
    {"factor": 0.5, "patience": 0, "min_lr": 2.0},  # above the base rate: never reached
    {"patience": 0, "threshold": 0.2},
]


@pytest.mark.parametrize("settings", [*SETTINGS, *MORE], ids=str)
@pytest.mark.parametrize("metrics", [METRICS, METRICS[:20] * 3, [0.5] * 30], ids=["wild", "tame", "flat"])
def test_rates_are_those_of_the_algorithm(metrics, settings):
    # a power of the factor, where the loop multiplies again and again
    np.testing.assert_allclose(run(metrics, **settings), plain(metrics, **settings), rtol=1e-13)


def test_groups_have_their_own_lowest_rates():
    session = lf.compile(graph_of(rates=(1.0, 0.3), factor=0.5, patience=0, min_lr=[0.3, 0.1])).session(
        backend="numpy"
    )
    fetched = [session.run("epoch", metric=1.0) for _ in range(5)]
    assert [float(row["lr0"]) for row in fetched] == [1.0, 1.0, 0.5, 0.3, 0.3]
    assert [float(row["lr1"]) for row in fetched] == [0.3, 0.3, 0.15, 0.1, 0.1]


def test_base_rate_set_in_a_live_session_keeps_the_reductions():
    session = lf.compile(graph_of(factor=0.5, patience=0)).session(backend="numpy")
    for _ in range(4):
        session.run("epoch", metric=1.0)
    session.groups["sgd"][0]["lr"] = 16.0
    assert session.run("epoch", metric=1.0)["lr0"] == 2.0


def test_memory_is_kept_with_the_plan(tmp_path):
    plan = lf.compile(graph_of(factor=0.5, patience=2, cooldown=1))
    session = plan.session(backend="numpy")
    for value in METRICS[:9]:
        session.run("epoch", metric=value)
    plan.save(tmp_path / "p.lfplan", state=session)
    other = load_plan(tmp_path / "p.lfplan").session(backend="numpy")
    for value in METRICS[9:30]:
        assert session.run("epoch", metric=value) == other.run("epoch", metric=value)
    names = {name for name in session.state_dict() if "plateau" in name}
    assert names == {f"sgd/plateau/{name}" for name in ("best", "bad", "cooldown", "reductions/0")}


class Skipping(optim.SGD):
    """An optimizer whose update is applied where a variable of the test says so."""

    def applied_in(self, program):
        known = program.graph.shared
        if "applied" not in known:
            known["applied"] = lf.placeholder("applied", (), lf.bool_)
        return known["applied"]


def test_memory_does_not_move_where_the_update_was_not_applied():
    def make(lr):
        return Skipping([lf.Parameter([0.0], name="w")], lr=lr)

    session = lf.compile(graph_of(make, factor=0.5, patience=0)).session(backend="numpy")
    session.run("epoch", metric=1.0, applied=True)
    before = session.state_dict()
    session.run("epoch", metric=5.0, applied=False)
    after = session.state_dict()
    assert all((before[name] == after[name]).all() for name in before)
    assert session.run("epoch", metric=5.0, applied=True)["lr0"] == 1.0
    assert session.run("epoch", metric=5.0, applied=True)["lr0"] == 0.5


def test_loss_of_the_program_is_a_metric(capsys):
    with lf.Graph("loss") as graph:
        w = lf.Parameter([4.0], name="w")
        loss = lf.sum(w * w)
        optimizer = optim.SGD([w], lr=1.0)  # too much: w and -w in turn
        scheduler = ReduceLROnPlateau(optimizer, factor=0.25, patience=1, verbose=True)
        with graph.program("train", fetches={"loss": loss}):
            loss.backward()
            optimizer.step()
            scheduler.step(loss)
    session = lf.compile(graph).session(backend="numpy")
    losses = [float(session.run("train")["loss"]) for _ in range(5)]
    assert losses == [16.0, 16.0, 16.0, 16.0, 4.0]
    assert [line[-11:] for line in capsys.readouterr().out.splitlines()] == ["1.0000e+00.", "2.5000e-01."]


def test_there_is_no_clock_to_read():
    optimizer = an_optimizer()
    with pytest.raises(lf.ArgumentError, match="the rate is no function of a step"):
        ReduceLROnPlateau(optimizer, clock=optimizer.updates)


def test_there_is_no_curve():
    with pytest.raises(lf.GraphError, match=r"ReduceLROnPlateau\.curve: .* more than the base rate"):
        ReduceLROnPlateau(an_optimizer()).curve(3)


@pytest.mark.parametrize("metric", [None, 0.5, "loss", np.float32(0.5)], ids=str)
def test_metric_that_is_no_tensor(metric):
    with lf.Graph("metric") as graph:
        scheduler = ReduceLROnPlateau(an_optimizer())
        refused = pytest.raises(lf.ArgumentTypeError, match=r"metric=.* is no Tensor")
        with graph.program("epoch"), refused as error:
            scheduler.step(metric)
    assert 'lf.placeholder("metric", ())' in str(error.value)


@pytest.mark.parametrize(("shape", "dtype"), [((1,), lf.float32), ((), lf.int64), ((), lf.bool_)])
def test_metric_that_is_no_floating_scalar(shape, dtype):
    with lf.Graph("metric") as graph:
        scheduler, metric = ReduceLROnPlateau(an_optimizer()), lf.placeholder("m", shape, dtype)
        with graph.program("epoch"), pytest.raises(lf.ArgumentTypeError, match="no floating scalar"):
            scheduler.step(metric)


def test_step_outside_of_a_program():
    with lf.Graph("none"):
        scheduler, metric = ReduceLROnPlateau(an_optimizer()), lf.placeholder("m", ())
        with pytest.raises(lf.GraphError, match="outside of a program"):
            scheduler.step(metric)
